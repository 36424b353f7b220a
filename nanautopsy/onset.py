"""When it died and where: the first non-finite step and layer, told from the findings."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np

from nanautopsy import thresholds
from nanautopsy.candidates import QUANTITY, axis_of, candidates_of
from nanautopsy.checkpoints.damage import damaged, damaged_moments
from nanautopsy.circumstances import backward_made_it
from nanautopsy.layers import as_met, in_forward_order
from nanautopsy.model import Axis, Finding, NonFinite, Onset, Run, Series, Source, Verdict
from nanautopsy.quantities import position
from nanautopsy.readers.text.words import is_metric
from nanautopsy.signal import point_above
from nanautopsy.wording import Phrase, phrase


@dataclass(frozen=True, slots=True)
class Located:
    """The verdict, the onset, and the findings with their roles."""

    verdict: Verdict
    onset: Onset | None
    findings: tuple[Finding, ...]


def locate(run: Run, findings: Sequence[Finding]) -> Located:
    """Decide what counts, which came first, and what is cascade."""
    candidates = candidates_of(run, findings)
    onset = _onset(run, candidates) if candidates else None
    roles = tuple(_with_role(f, f in candidates, onset) for f in findings)
    return Located(_verdict(run, onset, findings), onset, roles)


def _verdict(run: Run, onset: Onset | None, findings: Iterable[Finding]) -> Verdict:
    if onset is not None:
        return "non-finite"
    if any(f.id == "diverged-loss" for f in findings):
        return "diverged"
    seen = any(len(s) for s in run.by_role("loss", "eval_loss", "grad_norm"))
    seen = seen or any(map(_tells_of_learning, run.by_role("other")))
    if seen or (any(c.tensors for c in run.checkpoints) and not _has_unread_log(run)):
        return "healthy"
    return "undetermined"


_LOGS = re.compile(r"\.(?:log|out|err|wandb)(?:\.\d+)?$|tfevents", re.IGNORECASE)


def _has_unread_log(run: Run) -> bool:
    """Whether a log lies there that nothing was read of: it may tell what the weights do not."""
    return any(a.status == "skipped" and a.bytes and _LOGS.search(a.path) for a in run.artifacts)


def _tells_of_learning(series: Series) -> bool:
    """A metric that is finite and still moves, as none does that a NaN model computes."""
    values = series.values
    moving = (
        len(values) >= thresholds.MOVING_POINTS and float(np.ptp(values[-len(values) // 2 :])) > 0
    )
    return moving and bool(np.isfinite(values).all()) and is_metric(series.tag)


def _onset(run: Run, ordered: Sequence[Finding]) -> Onset:
    first = ordered[0]
    quantity = QUANTITY[first.id][0]
    if first.id in ("reported-nonfinite", "nonfinite-metric"):
        quantity = str(first.data.get("quantity") or first.data.get("tag") or quantity)
    masked = [f for f in ordered if f.id in ("masked-loss", "gradient-sentinel")]
    layers = _layers(ordered, first)
    last, axis = _last_finite(run, first, ordered), axis_of(first)
    if first.step is None and last is None:
        last, axis = _said_after(run, first.source) or (None, axis)
    rank = first.data.get("rank")
    onset = Onset(
        step=first.step,
        last_finite=last,
        quantity=quantity,
        value=_value(run, first, ordered),
        persistent=_persistent(run, ordered),
        layer=layers[0] if layers else None,
        layers=tuple(layers),
        rank=rank if isinstance(rank, int) else None,
        masked=bool(masked),
        how="",
        source=first.source,
        axis=axis,
    )
    backward = backward_made_it(run, onset)
    return replace(onset, how=_how(first, last, layers, masked, ordered, backward))


def _value(run: Run, first: Finding, ordered: Sequence[Finding]) -> NonFinite:
    """The first value itself; for a masked one, that of the grad norm beside it, else NaN."""
    for finding in (first, *ordered):
        value = finding.data.get("value")
        if finding.step == first.step and value in ("nan", "inf", "-inf"):
            return value  # type: ignore[return-value]
    return "nan"


def _persistent(run: Run, ordered: Sequence[Finding]) -> bool:
    """Whether the run ended non-finite: the last state of any loss, gradient or weight."""
    main = [f for f in ordered if QUANTITY[f.id][0] in ("loss", "grad_norm", "gradients")]
    main += [f for f in ordered if QUANTITY[f.id][0] == "parameters"]
    return any(bool(f.data.get("persistent")) for f in (main or ordered))


def _last_finite(run: Run, first: Finding, ordered: Sequence[Finding]) -> int | None:
    """Last step before the onset at which anything that died later was seen finite."""
    if first.step is None:
        return first.last_good
    if first.id in ("nonfinite-eval-loss", "nonfinite-metric"):
        return first.last_good
    together = [f for f in ordered if f.step == first.step and axis_of(f) == axis_of(first)]
    known = [f.last_good for f in together if f.last_good is not None]
    died = {f.id for f in ordered}
    if died & _OF_TRAINING:
        axis = axis_of(first)
        for series in run.by_role("loss", "grad_norm"):
            if series.axis == axis:
                good = series.steps[np.isfinite(series.values) & (series.steps < first.step)]
                known.extend([int(good.max())] if len(good) else [])
    known.extend(
        c.step
        for c in run.checkpoints
        if c.step is not None
        and c.step < first.step
        and c.tensors
        and not (damaged(c) or damaged_moments(c))
    )
    earlier = [step for step in known if step < first.step]
    return max(earlier) if earlier else None


_OF_TRAINING = {"nonfinite-loss", "nonfinite-grad-norm", "masked-loss", "gradient-sentinel"} | {
    "loss-scale-collapse"
}
"""Failures that a finite loss and gradient norm had not reached yet."""


def _said_after(run: Run, source: Source) -> tuple[int, Axis] | None:
    """Step and axis of the last number of training, if it is finite, that stands above a line in
    the same log."""
    found = point_above(run.by_role("loss", "grad_norm"), source)
    if found is None:
        return None
    series, index = found
    return (int(series.steps[index]), series.axis) if np.isfinite(series.values[index]) else None


def _layers(ordered: Sequence[Finding], first: Finding) -> list[str]:
    """The first non-finite layers, earliest first.

    Within one step a forward pass is poisoned from the first bad layer on, a backward pass from
    the last bad layer down. Checkpoints tell only when they are not damaged throughout.
    """
    per_layer = [
        f
        for f in ordered
        if f.layer and f.step is not None and f.id in _PER_LAYER and _tells_layer(f)
    ]
    # Layers that turned long after the onset are cascade: they cannot be the first ones.
    if per_layer and (first.step is None or per_layer[0].step == min(_steps(ordered, _PER_LAYER))):
        finding = per_layer[0]
        names = finding.data.get("layers", (finding.layer,))
        forward = as_met([str(n) for n in names] if isinstance(names, tuple) else [])
        return forward[::-1] if finding.id == "nonfinite-layer-gradient" else forward
    for finding in ordered:
        if finding.id in _STATED and finding.layer:
            told = finding.data.get("layers")
            return [str(n) for n in told] if isinstance(told, tuple) else [finding.layer]
    for finding in ordered:
        if finding.id in _SAVED and finding.data.get("tells_layer"):
            tensors = finding.data.get("tensors", ())
            return in_forward_order(list(tensors) if isinstance(tensors, tuple) else [])
    return []


_PER_LAYER = (
    "nonfinite-layer-activation",
    "nonfinite-attention-logit",
    "nonfinite-layer-gradient",
    "nonfinite-layer-parameter",
)


_STATED = ("reported-nonfinite", "backward-nonfinite")
"""What the program says."""
_SAVED = ("nonfinite-parameters", "nonfinite-moments")
"""What checkpoints show."""


def _steps(findings: Iterable[Finding], ids: Sequence[str]) -> list[int]:
    return [f.step for f in findings if f.id in ids and f.step is not None]


def _tells_layer(finding: Finding) -> bool:
    """Gradients and weights that turn all at once come from one bad number and say nothing of
    where; an activation is poisoned from its layer on even then."""
    forward = finding.id in ("nonfinite-layer-activation", "nonfinite-attention-logit")
    return forward or not finding.data.get("everything")


def _how(
    first: Finding,
    last: int | None,
    layers: Sequence[str],
    masked: Sequence[Finding],
    ordered: Sequence[Finding],
    backward: bool,
) -> str:
    """The onset's story in a sentence or three."""
    parts = [_ended(first.text)]
    if first.step is None:
        parts.append(phrase("No artifact says at which step."))
    elif last is not None and first.step - last > 1:
        parts.append(
            phrase(
                "It happened after {before} and by {place}.",
                before=position(axis_of(first), last),
                place=position(axis_of(first), first.step),
            )
        )
    elif last is None:
        parts.append(phrase("Nothing finite was seen before it."))
    if masked and first not in masked:
        parts.append(_ended(masked[0].text))
    if backward:
        parts.append(
            phrase("The loss of that step was finite: the backward pass is where it arose.")
        )
    if not layers:
        whole = any(f.id == "nonfinite-parameters" for f in ordered)
        parts.append(
            phrase("The first bad checkpoint is non-finite all over, so it cannot tell the layer.")
            if whole
            else phrase("No artifact tells the layer.")
        )
    return reduce(lambda said, more: phrase("{said} {more}", said=said, more=more), parts)


def _ended(text: str) -> Phrase:
    """As a sentence; a line that is quoted at its end may have its full stop."""
    return (
        phrase("{finding}", finding=text)
        if text.endswith(".")
        else phrase("{finding}.", finding=text)
    )


def _with_role(finding: Finding, counted: bool, onset: Onset | None) -> Finding:
    """Initiating at the onset, cascade after it, context before it and beside it."""
    if onset is None or onset.step is None or finding.step is None:
        return replace(finding, role="initiating" if counted else "context")
    if finding.step > onset.step:
        return replace(finding, role="cascade")
    return replace(finding, role="initiating" if counted else "context")
