"""An Inf that came out of weights and inputs which could not give one in float32.

A layer with weights sums products of them: no sum of a million products exceeds a million times the
largest weight times the largest input. Where that bound is far below float32's maximum (and
bfloat16's, which is the same) and the output is Inf all the same, the sum was kept in float16.
transformers' ``DebugUnderflowOverflow`` prints all three of a module.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from nanautopsy import thresholds
from nanautopsy.detectors.interface import Detector
from nanautopsy.model import Finding, Run, Series
from nanautopsy.signal import index_at, shown
from nanautopsy.wording import phrase

_MOST_TERMS = 1e6
"""Products in one sum: ten times the widest layers and vocabularies."""
_FAR_BELOW = 1e30
"""A bound that leaves eight decades to float32's maximum, 3.4e38."""


def _detect(run: Run) -> Iterator[Finding]:
    by_tag = {s.tag: s for s in run.by_role("layer_activation")}
    for tag, output in by_tag.items():
        module, dot, what = tag.rpartition(".")
        if not dot or not what.startswith("output"):
            continue
        infinite = np.flatnonzero(np.isinf(output.values))
        if not len(infinite):
            continue
        index = int(infinite[0])
        finding = _finding(by_tag, module, output, index)
        if finding is not None:
            yield finding
            return


def _finding(
    by_tag: Mapping[str, Series], module: str, output: Series, index: int
) -> Finding | None:
    step = int(output.steps[index])
    weight = _largest(by_tag.get(f"{module}.weight"), step)
    fed = _largest(by_tag.get(f"{module}.input[0]"), step)
    if weight is None or fed is None or weight * fed * _MOST_TERMS >= _FAR_BELOW:
        return None
    if weight * fed * _MOST_TERMS < thresholds.FP16_MAX:
        return None  # such a module sums nothing up
    return Finding(
        id="ends-at-float16-max",
        text=phrase(
            "{tag} is Inf at step {step} with weights up to {weight} and inputs up to {fed}: their "
            "sums leave float16 and no other format",
            tag=output.tag,
            step=step,
            weight=shown(weight),
            fed=shown(fed),
        ),
        source=output.at(index),
        step=step,
        layer=output.layer,
        data={"axis": output.axis, "value": float(thresholds.FP16_MAX)},
    )


def _largest(series: Series | None, step: int) -> float | None:
    """The number of that step, where it is finite."""
    index = None if series is None else index_at(series, step)
    if series is None or index is None or not np.isfinite(series.values[index]):
        return None
    return float(abs(series.values[index]))


DETECTOR = Detector("weighted-sums", _detect)
