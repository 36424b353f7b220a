"""A grad norm that is exactly sqrt(n): DeepSpeed's mark for a non-finite gradient.

DeepSpeed replaces a non-finite norm of a parameter group by -1, so that the global norm of n
groups is reported as sqrt(n): 1.0, 1.4142135623730951 (the Trainer's two groups), 1.7320508. Read
in its sources: stage 1 and 2 in 0.9.2 to 0.13.1, stage 3 in 0.9.2 to 0.12.6, all again from 0.16.6
on; in between the path on the GPU gives NaN, and the path of offloaded optimizers -1 throughout.
Reports of 1.4142135623730951 from 0.14.0 exist (DeepSpeed#5347), so no version rules the mark out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from nanautopsy import thresholds
from nanautopsy.detectors.interface import Detector
from nanautopsy.model import Finding, Run, Series
from nanautopsy.signal import stretches
from nanautopsy.wording import counted, phrase


def _detect(run: Run) -> Iterator[Finding]:
    losses = [s for s in run.by_role("loss") if s.axis in ("step", "record")]
    for norm in run.by_role("grad_norm"):
        zero = np.isin(norm.steps, _zero_steps(losses))
        for groups in range(1, thresholds.SENTINEL_MAX_GROUPS + 1):
            finding = _of_groups(run, norm, zero, groups)
            if finding is not None:
                yield finding
                break


def _zero_steps(losses: list[Series]) -> NDArray[np.int64]:
    """Steps at which a training loss is exactly 0.0, as a filter prints what is NaN, or NaN."""
    steps = [loss.steps[(loss.values == 0.0) | np.isnan(loss.values)] for loss in losses]
    return np.concatenate(steps) if steps else np.zeros(0, dtype=np.int64)


def _of_groups(run: Run, norm: Series, zero: NDArray[np.bool_], groups: int) -> Finding | None:
    """The first stretch of sqrt(``groups``) that is no accident."""
    mark = math.sqrt(groups)
    exact = np.abs(norm.values - mark) <= thresholds.SENTINEL_RELATIVE * mark
    # The console of transformers 5 prints four significant digits.
    rounded = norm.values == float(f"{mark:.4g}")
    deepspeed = _is_deepspeed(run)
    for hit, is_exact in ((exact, True), (rounded, False)):
        for start, end in stretches(hit):
            sure = is_exact and math.isqrt(groups) ** 2 != groups
            if _is_sentinel(sure, deepspeed, end - start, bool(zero[start:].any())):
                return _finding(run, norm, hit, start, groups)
    return None


def _is_sentinel(sure: bool, deepspeed: bool, repeats: int, zero_loss: bool) -> bool:
    """How many repeats tell the sentinel from a norm that happens to be there.

    An irrational root to seven digits is no accident where DeepSpeed runs; elsewhere it must
    repeat. A whole or rounded root is what clipping and printing give too: it must repeat, with a
    loss of 0.0 or NaN from then on.
    """
    if sure:
        return deepspeed or repeats >= 2
    return deepspeed and zero_loss and repeats >= thresholds.SENTINEL_REPEATS


def _finding(run: Run, norm: Series, hit: NDArray[np.bool_], first: int, groups: int) -> Finding:
    count = int(hit[first:].sum())
    package = run.packages.get("deepspeed")
    version = phrase("DeepSpeed (version not stated)")
    if package:
        version = phrase("deepspeed {version}", version=package.version)
    of_groups = counted(groups, "1 parameter group", "{n} parameter groups")
    return Finding(
        id="gradient-sentinel",
        text=phrase(
            "{tag} is {value!r} = sqrt({groups}) at step "
            "{step} ({count} times): {version} reports a non-finite gradient of "
            "{of_groups} so",
            tag=norm.tag,
            value=float(norm.values[first]),
            groups=groups,
            step=int(norm.steps[first]),
            count=count,
            version=version,
            of_groups=of_groups,
        ),
        source=norm.at(first),
        step=int(norm.steps[first]),
        last_good=int(norm.steps[first - 1]) if first else None,
        data={
            "groups": groups,
            "count": count,
            "persistent": bool((hit | ~np.isfinite(norm.values))[first:].all()),
            "position": first,
            "axis": norm.axis,
        },
    )


def _is_deepspeed(run: Run) -> bool:
    return (
        "zero_stage" in run.facts
        or "deepspeed" in run.packages
        or any(key.startswith("deepspeed.") for key in run.config)
    )


DETECTOR = Detector("gradient-sentinel", _detect)
