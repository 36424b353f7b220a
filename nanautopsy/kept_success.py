"""Whether a run can still do what it had learned, by the measures of success that it logs."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from nanautopsy import thresholds
from nanautopsy.model import Run, Series
from nanautopsy.tag_words import words

_SUCCESS = frozenset(
    "acc accuracy top1 top5 f1 auc auroc iou miou map bleu rouge dice precision recall psnr score"
    " fscore uas las chrf mrr ndcg spearman pearson mcc kappa ssim".split()
)
"""Words of metrics that rise with success and do not depend on how the loss is defined."""


def keeps_success(run: Run, series: Series) -> bool:
    """Whether the same writer logs a measure of success that rose, and ends where it had come to.

    A loss that is redefined (smoothed labels, mixed inputs, another reduction) may rise under a
    model that is as good as before; one that was destroyed falls back to where it began.
    """
    return any(
        _kept(other.values[np.isfinite(other.values)])
        for other in run.by_role("other")
        if (other.source.path, other.axis) == (series.source.path, series.axis)
        and not _SUCCESS.isdisjoint(_success_words(other.tag))
    )


def never_rose(run: Run, series: Series) -> bool:
    """Whether a measure of success is logged, by the same writer if that logs any, and it never
    left its beginning."""
    measures = [o for o in run.by_role("other") if not _SUCCESS.isdisjoint(_success_words(o.tag))]
    own = [o for o in measures if (o.source.path, o.axis) == (series.source.path, series.axis)]
    beside = [other.values[np.isfinite(other.values)] for other in own or measures]
    return bool(beside) and all(_stayed(values) for values in beside)


def _stayed(values: np.ndarray) -> bool:
    if len(values) <= thresholds.EARLY_POINTS:
        return False
    first, last = float(np.median(values[:3])), float(np.median(values[-3:]))
    ceiling = 1.0 if values.max() <= 1 else 100.0
    return last - first <= (1 - thresholds.SUCCESS_KEPT) * (ceiling - first)


def _success_words(tag: str) -> tuple[str, ...]:
    """Words of a tag, with a number joined to the word before it: ``top1``, ``f1``."""
    parts = words(tag)
    return (*parts, *(a + b for a, b in pairwise(parts) if b.isdigit()))


def _kept(values: np.ndarray) -> bool:
    width = max(3, int(len(values) * thresholds.DIVERGED_TAIL))
    if len(values) < max(thresholds.DIVERGED_MIN_POINTS, 3 * width):
        return False
    first, last = float(np.median(values[:3])), float(np.median(values[-width:]))
    # The best of several points, so that one lucky batch is none.
    smooth = np.convolve(values, np.ones(3) / 3, mode="valid")
    best, ceiling = float(smooth.max()), 1.0 if values.max() <= 1 else 100.0
    if best >= thresholds.SUCCESS_KEPT * ceiling:
        # A task that begins trivial (a queue of negatives that is still empty) becomes one first.
        first = min(first, float(smooth[: len(smooth) // 3].min()))
    learned = best - first
    fewer_errors = best <= ceiling and learned >= (ceiling - first) / 2
    if learned <= 0 or not (learned >= thresholds.SUCCESS_LEARNED * abs(best) or fewer_errors):
        return False
    return last - first >= thresholds.SUCCESS_KEPT * learned
