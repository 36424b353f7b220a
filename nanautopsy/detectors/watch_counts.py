"""Elements that W&B's ``watch`` left out of its histograms: they were not finite.

``wandb.watch`` drops non-finite elements before it bins a gradient or parameter, and leaves the
key out when nothing is left. So a histogram that holds fewer elements than before, or that is
missing from a row in which its siblings stand, tells of non-finite elements in exactly that layer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from nanautopsy.detectors.interface import Detector
from nanautopsy.model import Finding, Run, Series

_SUFFIX = "#count"
_ID = {
    "layer_gradient": "nonfinite-layer-gradient",
    "layer_parameter": "nonfinite-layer-parameter",
}


@dataclass(frozen=True, slots=True)
class _Loss:
    """The first step at which a layer's histogram lacks elements."""

    series: Series
    step: int
    last_good: int | None
    missing: int
    everything: bool
    """The whole histogram is missing."""


def _detect(run: Run) -> Iterator[Finding]:
    for role, name in _ID.items():
        counts = [
            s
            for s in run.series
            if s.role == role
            and s.tag.endswith(_SUFFIX)
            and s.layer
            and len(s)
            and np.isfinite(s.values).all()
        ]
        losses = [loss for series in counts if (loss := _first_loss(series, counts)) is not None]
        if not _died(run):
            # A frozen layer, an idle expert or a killed process leaves keys out too.
            losses = [loss for loss in losses if not loss.everything]
        for step in sorted({loss.step for loss in losses}):
            together = [loss for loss in losses if loss.step == step]
            yield _finding(name, together, len(together) == len(counts))


def _died(run: Run) -> bool:
    """Whether anything else of the run is non-finite."""
    series = run.by_role("loss", "grad_norm", "eval_loss")
    return any(not np.isfinite(s.values).all() for s in series) or any(
        tensor.nonfinite for c in run.checkpoints for tensor in c.tensors
    )


def _first_loss(series: Series, siblings: Sequence[Series]) -> _Loss | None:
    whole = float(series.values.max())
    fewer = np.flatnonzero(series.values < whole)
    # A parameter that grew (resized embeddings) held fewer elements before, not after.
    fewer = fewer[fewer > int(series.values.argmax())]
    rows = np.unique(np.concatenate([s.steps for s in siblings]))
    gone = rows[(rows > series.steps[0]) & ~np.isin(rows, series.steps)]
    first_fewer = int(series.steps[fewer[0]]) if len(fewer) else None
    first_gone = int(gone[0]) if len(gone) else None
    candidates = [step for step in (first_fewer, first_gone) if step is not None]
    if not candidates:
        return None
    step = min(candidates)
    before = series.steps[series.steps < step]
    absent = step == first_gone
    missing = int(whole) if absent else int(whole - series.values[fewer[0]])
    return _Loss(series, step, int(before[-1]) if len(before) else None, missing, absent)


def _finding(name: str, losses: Sequence[_Loss], all_layers: bool) -> Finding:
    first = losses[0]
    what = "is missing" if first.everything else f"lacks {first.missing} elements"
    text = (
        f"the histogram of {first.series.tag.removesuffix(_SUFFIX)} {what} at step {first.step}: "
        "watch leaves out what is not finite"
    )
    if len(losses) > 1:
        text += f" (and {len(losses) - 1} other layers at that step)"
    last = int(np.searchsorted(first.series.steps, first.last_good or 0))
    return Finding(
        id=name,
        text=text,
        source=first.series.at(min(last, len(first.series) - 1)),
        step=first.step,
        last_good=first.last_good,
        layer=first.series.layer,
        data={
            "value": "nan",
            "tag": first.series.tag,
            "axis": first.series.axis,
            "layers": tuple(str(loss.series.layer) for loss in losses),
            "everything": all_layers,
            "persistent": first.everything,
        },
    )


DETECTOR = Detector("watch-counts", _detect)
