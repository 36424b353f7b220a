"""A non-finite loss that the logged number hides.

The transformers Trainer with ``logging_nan_inf_filter`` (default since 4.11) prints the running
mean, which is 0.0 when every micro-batch since the last log was non-finite.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from nanautopsy import thresholds
from nanautopsy.detectors.interface import Detector
from nanautopsy.model import Finding, Run, Series
from nanautopsy.signal import shown
from nanautopsy.tag_words import words
from nanautopsy.versions import is_before
from nanautopsy.wording import phrase

_REWARDS = frozenset("reward rewards advantage advantages return returns".split())
_FILTER_SINCE = "4.11.0"
"""First transformers release with the filter (transformers#13619)."""


def _detect(run: Run) -> Iterator[Finding]:
    losses = [s for s in run.by_role("loss") if s.axis in ("step", "record")]
    for norm in run.by_role("grad_norm"):
        for loss in losses:
            if loss.axis == norm.axis:
                zero = _zero_beside_nan(loss, norm) or _zero_beside_zero(run, loss, norm)
                if zero is not None:
                    yield zero
    if not run.by_role("grad_norm"):
        for loss in losses:
            zero = _falls_to_zero(run, loss)
            if zero is not None:
                yield zero


def _zero_beside_nan(loss: Series, norm: Series) -> Finding | None:
    """Loss exactly 0.0 at a step whose grad norm is non-finite."""
    common, at_loss, at_norm = np.intersect1d(loss.steps, norm.steps, return_indices=True)
    zero, sound = loss.values[at_loss] == 0.0, np.isfinite(norm.values[at_norm])
    masked = zero & ~sound
    # A loss that is usually 0.0 beside sound gradients too hides nothing by being 0.0.
    if not masked.any() or (sound.any() and zero[sound].mean() > 0.5):
        return None
    first = int(masked.argmax())
    index = int(at_loss[first])
    if not np.isfinite(loss.values[index:]).all():
        return None  # What is shown later is not hidden.
    before = loss.values[:index]
    before = before[np.isfinite(before) & (before != 0.0)]
    history = phrase(" from the first point on")
    if len(before):
        history = phrase(" after {before}", before=shown(float(before[-1])))
    return Finding(
        id="masked-loss",
        text=phrase(
            "{loss} is exactly 0.0{history} while {norm} is {value} at step {step}: "
            "the logged loss hides a non-finite one",
            loss=loss.tag,
            history=history,
            norm=norm.tag,
            value=shown(float(norm.values[int(at_norm[first])])),
            step=int(common[first]),
        ),
        source=loss.at(index),
        step=int(common[first]),
        last_good=int(loss.steps[index - 1]) if index else None,
        data={
            "count": int(masked.sum()),
            "persistent": bool(masked[first:].all()),
            "points": len(common),
            "axis": loss.axis,
        },
    )


def _zero_beside_zero(run: Run, loss: Series, norm: Series) -> Finding | None:
    """Loss and grad norm exactly 0.0 at single steps between ordinary ones, in a Trainer's log.

    A mean over no label at all is 0/0: the loss is NaN, its gradient 0. An objective that may be
    zero (a reward's) is small beside it, too.
    """
    if not _is_trainer(run) or len(loss) < 3 or len(loss) != len(norm):
        return None
    if not np.array_equal(loss.steps, norm.steps) or not np.isfinite(loss.values).all():
        return None
    zero = (loss.values == 0.0) & (norm.values == 0.0)
    if zero.all():
        return _nothing_but_zero(run, loss, norm)
    if not zero.any() or zero[0] or zero[-1]:
        return None
    first = int(zero.argmax())
    after = first + int((~zero[first:]).argmax())
    around = min(float(loss.values[first - 1]), float(loss.values[after]))
    if around < thresholds.ORDINARY_LOSS or float(np.median(loss.values)) < around / 10:
        return None
    return Finding(
        id="masked-loss",
        text=phrase(
            "{loss} and {norm} are exactly 0.0 at step {step}, between {before} and {after}: the "
            "Trainer's filter prints 0.0 for a non-finite loss, and only a batch without a label "
            "has no gradient",
            loss=loss.tag,
            norm=norm.tag,
            step=int(loss.steps[first]),
            before=shown(float(loss.values[first - 1])),
            after=shown(float(loss.values[after])),
        ),
        source=loss.at(first),
        step=int(loss.steps[first]),
        last_good=int(loss.steps[first - 1]),
        data={
            "count": int(zero.sum()),
            "persistent": False,
            "no_gradient": True,
            "points": len(zero),
            "axis": loss.axis,
        },
    )


def _nothing_but_zero(run: Run, loss: Series, norm: Series) -> Finding | None:
    """Loss and grad norm exactly 0.0 from the first point to the last: no batch had a label. An
    advantage that is 0 for all samples does it too, where rewards are logged."""
    if any(_REWARDS & frozenset(words(s.tag)) for s in run.series):
        return None
    return Finding(
        id="masked-loss",
        text=phrase(
            "{loss} and {norm} are exactly 0.0 at all {n} points: the Trainer's filter prints 0.0 "
            "for a non-finite loss, and only batches without a label have no gradient",
            loss=loss.tag,
            norm=norm.tag,
            n=len(loss),
        ),
        source=loss.at(0),
        step=int(loss.steps[0]),
        data={
            "count": len(loss),
            "persistent": True,
            "no_gradient": True,
            "points": len(loss),
            "axis": loss.axis,
        },
    )


def _falls_to_zero(run: Run, loss: Series) -> Finding | None:
    """Without a grad norm: a loss that drops to exactly 0.0 for good, in a Trainer's log."""
    if not _is_trainer(run):
        return None
    zero = loss.values == 0.0
    if not zero.any() or not zero[-1]:
        return None
    first = len(zero) - int((~zero[::-1]).argmax()) if (~zero).any() else 0
    if first == 0 or len(zero) - first < 2 or not np.isfinite(loss.values[first - 1]):
        return None
    if loss.values[first - 1] < 10 * np.finfo(np.float16).eps:
        return None
    return Finding(
        id="masked-loss",
        text=phrase(
            "{tag} falls from {before} to exactly 0.0 at step {step} and stays there: the "
            "Trainer's filter prints 0.0 for a non-finite loss",
            tag=loss.tag,
            before=shown(float(loss.values[first - 1])),
            step=int(loss.steps[first]),
        ),
        source=loss.at(first),
        step=int(loss.steps[first]),
        last_good=int(loss.steps[first - 1]),
        data={
            "count": len(zero) - first,
            "persistent": True,
            "points": len(zero),
            "axis": loss.axis,
        },
    )


def _is_trainer(run: Run) -> bool:
    """Whether the transformers Trainer wrote the log with its filter on.

    Its default is on from 4.11.0 on; where no version was read, such a release is assumed.
    """
    flag = run.facts.get("logging_nan_inf_filter")
    if flag is not None:
        return bool(flag.value)
    package = run.packages.get("transformers")
    if package is not None and is_before(package.version, _FILTER_SINCE):
        return False
    return "trainer" in run.facts


DETECTOR = Detector("masked-loss", _detect)
