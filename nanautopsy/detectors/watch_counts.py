"""Elements that were left out of a histogram because they were not finite.

``wandb.watch`` drops non-finite elements before it bins a gradient or parameter, and leaves the
key out when nothing is left. So a histogram that holds fewer elements than before, or that is
missing from a row in which its siblings stand, tells of non-finite elements in exactly that layer.

TensorBoard's histograms state how many elements there were and hold fewer: the reader gives the
difference as ``<tag>#nonfinite``. Most writers say NaN for the extremes then, which speaks for
itself; this is for those that leave NaN out of the extremes as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from nanautopsy.detectors.interface import Detector
from nanautopsy.model import Finding, Run, Series
from nanautopsy.wording import counted, phrase

_SUFFIX = "#count"
_STATED = "#nonfinite"
_ID = {
    "layer_gradient": "nonfinite-layer-gradient",
    "layer_parameter": "nonfinite-layer-parameter",
}
_STATED_ID = {**_ID, "layer_activation": "nonfinite-layer-activation"}


@dataclass(frozen=True, slots=True)
class _Loss:
    """The first step at which a layer's histogram lacks elements."""

    series: Series
    step: int
    last_good: int | None
    missing: int
    persistent: bool
    """The whole histogram is missing, or it lacks elements from then on."""


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
            losses = [loss for loss in losses if not loss.persistent]
        for step in sorted({loss.step for loss in losses}):
            together = [loss for loss in losses if loss.step == step]
            yield _finding(name, together, len(together) == len(counts))
    for role, name in _STATED_ID.items():
        yield from _stated(run, role, name)


def _stated(run: Run, role: str, name: str) -> Iterator[Finding]:
    """Where histograms whose extremes are finite state elements that are not."""
    series = [s for s in run.series if s.role == role and s.layer and s.tag.endswith(_STATED)]
    shown = {
        (s.source.path, s.tag.rpartition("#")[0])
        for s in run.series
        if s.role == role and s.tag.endswith(("#max", "#min")) and not np.isfinite(s.values).all()
    }
    hidden = [s for s in series if (s.source.path, s.tag.removesuffix(_STATED)) not in shown]
    losses = [loss for one in hidden if (loss := _first_stated(one)) is not None]
    for step in sorted({loss.step for loss in losses}):
        together = [loss for loss in losses if loss.step == step]
        yield _finding(name, together, len(together) == len(series))


def _first_stated(series: Series) -> _Loss | None:
    bad = np.flatnonzero(series.values > 0)
    if not len(bad):
        return None
    first = int(bad[0])
    last_good = int(series.steps[first - 1]) if first else None
    stays = bool((series.values[first:] > 0).all())
    return _Loss(series, int(series.steps[first]), last_good, int(series.values[first]), stays)


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
    tag = first.series.tag
    if tag.endswith(_STATED):
        text = phrase(
            "the histogram of {tag} holds {n} elements fewer than it counts at step {step}: those "
            "are not finite",
            tag=tag.removesuffix(_STATED),
            n=first.missing,
            step=first.step,
        )
    else:
        text = phrase(
            "the histogram of {tag} {what} at step {step}: watch leaves out what is not finite",
            tag=tag.removesuffix(_SUFFIX),
            what=phrase("is missing")
            if first.persistent
            else counted(first.missing, "lacks 1 element", "lacks {n} elements"),
            step=first.step,
        )
    if len(losses) > 1:
        text = counted(
            len(losses) - 1,
            "{first} (and 1 other layer at that step)",
            "{first} (and {n} other layers at that step)",
            first=text,
        )
    place = first.step if tag.endswith(_STATED) else first.last_good or 0
    last = int(np.searchsorted(first.series.steps, place))
    return Finding(
        id=name,
        text=text,
        source=first.series.at(min(last, len(first.series) - 1)),
        step=first.step,
        last_good=first.last_good,
        layer=first.series.layer,
        data={
            "value": "nan",
            "tag": tag,
            "axis": first.series.axis,
            "layers": tuple(str(loss.series.layer) for loss in losses),
            "everything": all_layers,
            "persistent": first.persistent,
        },
    )


DETECTOR = Detector("watch-counts", _detect)
