"""Marks that float16 leaves in numbers that are logged, whatever is said of the precision.

Three of them. A number that a float16 held is a multiple of its last binary place: losses of 34304
and 55776 are multiples of 32, and a norm of 0.150634765625 is one of 2**-13; wider formats hit
that grid by chance only. And a number that rises to some ten thousands and is Inf next has met the
end of float16 at 65504; float32 and bfloat16 hold 33 decades more. The same is seen along
the layers of one step, some ten thousands in one and Inf in another.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from nanautopsy import thresholds
from nanautopsy.detectors.interface import Detector
from nanautopsy.model import Finding, Run, Series, SeriesRole
from nanautopsy.signal import first_nonfinite, shown
from nanautopsy.wording import phrase

_COMPUTED: tuple[SeriesRole, ...] = ("loss", "grad_norm")
"""Where a fraction that is no rounding means something: shares of a batch are dyadic too."""
_BOUNDED: tuple[SeriesRole, ...] = ("loss", "eval_loss", "other", "layer_activation")
"""Numbers of a forward pass. A gradient under a loss scale is Inf far below the maximum, and
attention logits are told of by a detector of their own."""
_FLOAT32_PLACES, _FLOAT16_PLACES, _BFLOAT16_PLACES = 23, 10, 7
_SMALLEST_EXPONENT = -14
_MOST_DECIMALS = 17
_FINITE_POINTS = 4
_RECENT = 5
_SMOOTH = 2.0
"""Largest ratio of neighbours on the way up; a wider format would have to be crossed in one."""
_DENSE = 10
"""Steps up to which a smooth rise goes on as it was; over a hundred anything may happen."""
_RISEN = 1.5
"""The last finite value over the level of the first quarter."""


def _detect(run: Run) -> Iterator[Finding]:
    gridded = next((s for s in run.by_role(*_COMPUTED) if is_on_grid(s.values)), None)
    if gridded is not None:
        yield Finding(
            id="float16-grid",
            text=phrase(
                "each of the {n} finite values of {tag} is a number that float16 holds, such as "
                "{example}",
                n=int(np.isfinite(gridded.values).sum()),
                tag=gridded.tag,
                example=repr(float(gridded.values[np.isfinite(gridded.values)][-1])),
            ),
            source=gridded.source,
            data={"tag": gridded.tag, "axis": gridded.axis},
        )
    for series in run.by_role(*_BOUNDED):
        last = _last_before_the_end(series)
        if last is not None:
            yield Finding(
                id="ends-at-float16-max",
                text=phrase(
                    "{tag} rises to {value} at step {step} and is Inf next: float16 ends at "
                    "{largest:.0f}, other formats do not",
                    tag=series.tag,
                    value=shown(float(series.values[last])),
                    step=int(series.steps[last]),
                    largest=thresholds.FP16_MAX,
                ),
                source=series.at(last),
                step=int(series.steps[last + 1]),
                last_good=int(series.steps[last]),
                layer=series.layer,
                data={"axis": series.axis, "value": float(series.values[last])},
            )

    yield from _along_layers(run)


def _along_layers(run: Run) -> Iterator[Finding]:
    """The first step at which a layer holds Inf, beside others at some ten thousands."""
    layers = run.by_role("layer_activation")
    infinite = [(int(s.steps[i]), s, int(i)) for s in layers for i in np.flatnonzero(_inf(s))[:1]]
    if not infinite:
        return
    step, first, index = min(infinite, key=lambda found: found[0])
    finite = {
        s.tag: float(abs(s.values[at[0]]))
        for s in layers
        if len(at := np.flatnonzero((s.steps == step) & np.isfinite(s.values)))
    }
    if len(finite) < _FINITE_POINTS:
        return
    tag, largest = max(finite.items(), key=lambda pair: pair[1])
    if not thresholds.FP16_LARGE <= largest <= thresholds.FP16_MAX:
        return
    yield Finding(
        id="ends-at-float16-max",
        text=phrase(
            "{tag} is Inf at step {step}, where the largest finite one, {other}, is {value}: "
            "float16 ends at {largest:.0f}, other formats do not",
            tag=first.tag,
            step=step,
            other=tag,
            value=shown(largest),
            largest=thresholds.FP16_MAX,
        ),
        source=first.at(index),
        step=step,
        layer=first.layer,
        data={"axis": first.axis, "value": largest, "beside": True},
    )


def _inf(series: Series) -> NDArray[np.bool_]:
    return np.isinf(series.values)


def is_on_grid(values: NDArray[np.float64]) -> bool:
    """Whether float16 holds every finite value, bfloat16 does not, and chance would not do it.

    What is written with d decimals hits a grid of spacing s by chance once in ``s * 10**d``.
    """
    finite = np.unique(np.abs(values[np.isfinite(values) & (values != 0)]))
    if not len(finite) or finite[-1] > thresholds.FP16_MAX or not _holds(finite, _FLOAT16_PLACES):
        return False
    if _holds(finite, _BFLOAT16_PLACES):
        return False
    decimals = max(len(f"{v!r}".partition(".")[2]) for v in finite.tolist()[:_MOST_LOOKED_AT])
    if any("e" in repr(v) for v in finite.tolist()[:_MOST_LOOKED_AT]):
        decimals = _MOST_DECIMALS
    elif np.equal(finite, np.floor(finite)).all():
        decimals = 0
    written = np.maximum(10.0**-decimals, _spacing(finite, _FLOAT32_PLACES))
    chance = np.minimum(written / _spacing(finite, _FLOAT16_PLACES), 1.0)
    return bool(np.log10(chance).sum() <= thresholds.GRID_CHANCE)


_MOST_LOOKED_AT = 64
"""Values whose decimals are counted."""


def _spacing(values: NDArray[np.float64], places: int) -> NDArray[np.float64]:
    """Distance to the next number of a format with so many binary places."""
    exponent = np.floor(np.log2(values))
    if places == _FLOAT16_PLACES:
        exponent = np.maximum(exponent, _SMALLEST_EXPONENT)
    return np.asarray(2.0 ** (exponent - places))


def _holds(values: NDArray[np.float64], places: int) -> bool:
    scaled = values / _spacing(values, places)
    return bool((scaled == np.floor(scaled)).all())


def _last_before_the_end(series: Series) -> int | None:
    """Index of the last finite value, where the next is Inf and float16's maximum explains it."""
    end = first_nonfinite(series)
    if end is None or end < _FINITE_POINTS or not np.isinf(series.values[end]):
        return None
    if series.axis == "epoch" or series.steps[end] - series.steps[end - 1] > _DENSE:
        return None
    before = np.abs(series.values[:end])
    recent = before[-_RECENT:]
    if before[-1] < thresholds.FP16_LARGE or before.max() > thresholds.FP16_MAX:
        return None
    if not recent.all() or before[-1] < before.max() / _SMOOTH:
        return None
    ratios = recent[1:] / recent[:-1]
    first = float(np.median(before[: max(len(before) // 4, 1)]))
    risen = before[-1] >= _RISEN * first
    return end - 1 if risen and ratios.max() <= _SMOOTH else None


DETECTOR = Detector("float16-marks", _detect)
