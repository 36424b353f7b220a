"""Magnitudes near 65504, where float16 ends, and numbers that went past it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nanautopsy import thresholds
from nanautopsy.causes._half import survivor
from nanautopsy.causes.interface import Case, Weighing
from nanautopsy.checkpoints.damage import weights
from nanautopsy.layers import in_forward_order
from nanautopsy.model import Run, Series, TensorHealth
from nanautopsy.signal import index_at, shown, up_to
from nanautopsy.tag_words import words
from nanautopsy.wording import phrase

_ACTIVATION = frozenset("act acts activation activations hidden logit logits".split())
"""Words of a number that is taken over a whole forward pass."""


def overflowed(case: Case) -> TensorHealth | None:
    """A saved float16 tensor that holds Inf and no NaN: nothing else of the model is non-finite, so
    that it was what it held that grew too large."""
    for checkpoint in case.run.checkpoints:
        bad = [t for t in weights(checkpoint) if t.nonfinite]
        if bad:
            alone = all(t.dtype == "F16" and not t.nan for t in bad)
            return bad[0] if alone and len(bad) < len(weights(checkpoint)) else None
    return None


def weigh_magnitudes(case: Case, weighing: Weighing) -> None:
    death = case.death
    _weigh_ends(case, weighing)
    _weigh_stated(case, weighing)
    whole = [s for s in case.run.by_role("other") if not _ACTIVATION.isdisjoint(words(s.tag))]
    for series in (*case.run.by_role("layer_activation"), *whole):
        values = series.values if death is None else series.values[series.steps <= death]
        finite = np.abs(values[np.isfinite(values)])
        if len(finite) and finite.max() >= thresholds.FP16_NEAR_MAX:
            index = int(np.nanargmax(np.where(np.isfinite(values), np.abs(values), -1)))
            weighing.speaks_for(
                thresholds.DECISIVE,
                phrase(
                    "{layer} reaches {largest}, at float16's maximum of {limit:.0f}",
                    layer=series.layer or series.tag,
                    largest=shown(float(finite.max())),
                    limit=thresholds.FP16_MAX,
                ),
                series.at(index),
            )
            break
    _weigh_depth(case, weighing)
    dtype, sound = case.fact("compute_dtype"), survivor(case)
    half = dtype is not None and dtype.value == "F16"
    for series in case.run.by_role("grad_norm") if half else ():
        before = up_to(series, death)
        if len(before) and thresholds.FP16_LARGE <= before[-1]:
            weighing.speaks_for(
                thresholds.MODERATE,
                phrase(
                    "{tag} was {last} right before: gradients of that size are near the maximum "
                    "of {limit:.0f}",
                    tag=series.tag,
                    last=shown(float(before[-1])),
                    limit=thresholds.FP16_MAX,
                ),
                series.source,
            )
            break
    for finding in case.findings:
        # What sound weights show after the death was there before: every step is skipped since.
        kept = sound is not None and finding.source.path == sound.path
        if finding.id != "low-fp16-headroom" or (finding.role == "cascade" and not kept):
            continue
        largest = finding.data.get("max_abs")
        beyond = isinstance(largest, float) and largest > thresholds.FP16_MAX
        strength = thresholds.DECISIVE if half and beyond else thresholds.STRONG
        weighing.speaks_for(strength, finding.text, finding.source)


def _weigh_depth(case: Case, weighing: Weighing) -> None:
    """In front of the first bad layer of a float16 forward pass, magnitudes that rise from layer to
    layer: what is multiplied once more ends past the maximum. Bad data have no such order."""
    onset = case.onset
    if onset is None or onset.step is None or onset.quantity != "activations":
        return
    if case.states("compute_dtype", "F16") is None:
        return
    rising = _risen_in_front(case.run, onset.step, onset.layers)
    if rising is not None:
        first, last = rising
        weighing.speaks_for(
            thresholds.MODERATE,
            phrase(
                "at step {step} magnitudes rise from {low} in {first} to {high} in {last}, and the "
                "layer behind it is the first that is non-finite",
                step=onset.step,
                low=shown(_size(first, onset.step)),
                first=first.layer or first.tag,
                high=shown(_size(last, onset.step)),
                last=last.layer or last.tag,
            ),
            last.source,
        )


def _risen_in_front(run: Run, step: int, bad: Sequence[str]) -> tuple[Series, Series] | None:
    """The first and the last of the layers that are finite at ``step``, if each is larger than the
    one before it and the last is many times the first."""
    logged = {s.layer: s for s in run.by_role("layer_activation") if s.layer}
    order = in_forward_order(list(logged))
    end = min((order.index(name) for name in bad if name in logged), default=0)
    front = [logged[name] for name in order[:end]]
    sizes = [_size(series, step) for series in front]
    if len(front) < 2 or not np.isfinite(sizes).all() or not (np.diff(sizes) > 0).all():
        return None
    risen = sizes[-1] >= thresholds.GROWTH_FACTOR * sizes[0] > 0
    return (front[0], front[-1]) if risen else None


def _size(series: Series, step: int) -> float:
    index = index_at(series, step)
    return float("nan") if index is None else abs(float(series.values[index]))


def _weigh_stated(case: Case, weighing: Weighing) -> None:
    """What the program itself says of a magnitude beside the maximum, up to the onset."""
    for event in case.run.events_of("magnitude-near-limit"):
        value, late = event.data.get("value"), case.death
        if late is not None and (event.step is None or event.step > late):
            continue
        if isinstance(value, float) and value >= thresholds.FP16_LARGE:
            near = value >= thresholds.FP16_MAX / 2
            weighing.speaks_for(
                thresholds.STRONG if near else thresholds.MODERATE,
                phrase("the program says so: {line}", line=event.text),
                event.source,
            )
            return


def _weigh_ends(case: Case, weighing: Weighing) -> None:
    """What rose up to the maximum and was Inf then; or a saved tensor that did."""
    for finding in case.found("ends-at-float16-max")[:1]:
        value = finding.data.get("value")
        near = isinstance(value, float) and abs(value) >= thresholds.FP16_MAX / 2
        near = near and not finding.data.get("beside")  # another layer's number, at that step
        weighing.speaks_for(
            thresholds.DECISIVE if near else thresholds.STRONG, finding.text, finding.source
        )
    tensor = overflowed(case)
    if tensor is not None:
        grown = case.found("low-fp16-headroom", "weight-growth")
        known = any(f.layer == tensor.name for f in grown)
        weighing.speaks_for(
            thresholds.DECISIVE if known else thresholds.STRONG,
            phrase(
                "{tensor} is float16 and holds Inf and no NaN in {path}",
                tensor=tensor.name,
                path=tensor.path,
            ),
            tensor.at(),
        )
