"""Which term of the loss turned non-finite alone, while the terms beside it were still finite."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from nanautopsy.detectors.interface import Detector
from nanautopsy.detectors.rl_metrics import is_reinforcement
from nanautopsy.experts import has_experts, is_auxiliary
from nanautopsy.model import Finding, Run, Series
from nanautopsy.objectives import is_named_total, is_total, parts_of
from nanautopsy.quantities import position
from nanautopsy.signal import first_nonfinite, kind_of, shown
from nanautopsy.tag_words import words
from nanautopsy.wording import phrase, shortlist

_DATA_FREE = frozenset(
    "kl kld kldiv divergence entropy ent prior reg regularizer regularization regularisation "
    "penalty commitment commit codebook temperature smoothness sparsity norm".split()
)
"""Words of terms that compare a model's output with no target, so that no bad target reaches
them."""
_TAUGHT = frozenset("distill distillation distil kd teacher student soft label labels".split())
"""Words of divergences from something that is handed in."""


_TERMS = (
    _DATA_FREE
    | frozenset(
        "recon reconstruction rec l1 l2 mae huber bce focal dice iou giou bbox box cls obj dfl "
        "perceptual lpips ssim tv consistency cycle identity style content contrastive alignment "
        "distill aux residual pde bc ic physics ctc adv gan triplet margin focal giou mask keypoint"
        " contrast".split()
    )
    | _TAUGHT - {"label", "labels", "soft", "teacher", "student"}
)
"""Words by which terms of a loss are logged without the word itself."""
_PARTS = frozenset("train training batch step loss losses weighted raw mean avg".split())


def _is_term(tag: str) -> bool:
    """Whether all words of a tag are those of a term."""
    have = frozenset(word for word in words(tag) if not word.isdigit()) - _PARTS
    return bool(have) and have <= _TERMS


def _detect(run: Run) -> Iterator[Finding]:
    by_writer: dict[tuple[str, str, int | None], list[Series]] = {}
    for series in run.by_role("loss"):
        by_writer.setdefault((series.source.path, series.axis, series.rank), []).append(series)
    strangers: dict[tuple[str, str, int | None], list[Series]] = {}
    for series in [] if is_reinforcement(run) else run.by_role("other"):
        writer = series.source.path, series.axis, series.rank
        if series.layer is not None or writer not in by_writer:
            continue
        if _is_term(series.tag):
            by_writer[writer].append(series)
        else:
            strangers.setdefault(writer, []).append(series)
    for key, losses in by_writer.items():
        losses.extend(_added_up(losses, strangers.get(key, [])))
    for losses in by_writer.values():
        finding = _alone(run, losses)
        if finding is not None:
            yield finding


def _added_up(losses: list[Series], others: list[Series]) -> list[Series]:
    """Those of the others that are terms by their numbers, whatever their names: with the losses
    they add up to the total. Asked where one of them turned with it."""
    for total in losses:
        dead = first_nonfinite(total)
        if dead is None or not is_named_total(total.tag):
            continue
        step = int(total.steps[dead])
        if any((i := first_nonfinite(s)) is not None and s.steps[i] == step for s in others):
            known = {id(s) for s in losses}
            beside = [s for s in losses if s is not total]
            return [s for s in parts_of(total, [*beside, *others]) if id(s) not in known]
    return []


def _alone(run: Run, losses: list[Series]) -> Finding | None:
    terms = [s for s in losses if not is_total(s, losses)]
    turned = [(s, i) for s in terms if (i := first_nonfinite(s)) is not None]
    if not turned:
        return None
    step = min(int(s.steps[i]) for s, i in turned)
    first = [(s, i) for s, i in turned if int(s.steps[i]) == step]
    # What is called the loss and was finite there does not hold the term.
    beside = [s for s in losses if _finite_at(s, step) and (s in terms or _ends_badly(s))]
    if len(first) != 1 or not beside:
        return None
    series, index = first[0]
    others = shortlist([s.tag for s in beside], 3)
    return Finding(
        id="loss-term-alone",
        text=phrase(
            "of the terms of the loss only {tag} is {value} at {place}; {others} are finite there",
            tag=series.tag,
            value=shown(float(series.values[index])),
            place=position(series.axis, step),
            others=others,
        ),
        source=series.at(index),
        step=step,
        last_good=int(series.steps[index - 1]) if index else None,
        data={
            "tag": series.tag,
            "value": kind_of(float(series.values[index])),
            "axis": series.axis,
            "others": tuple(s.tag for s in beside),
            "router": is_auxiliary(series.tag) and has_experts(run),
            "data_free": _is_data_free(series.tag),
        },
    )


def _is_data_free(tag: str) -> bool:
    have = frozenset(words(tag))
    return bool(have & _DATA_FREE) and not have & _TAUGHT


def _finite_at(series: Series, step: int) -> bool:
    """Finite and not exactly 0, which a filter prints for what is not."""
    at = np.flatnonzero(series.steps == step)
    values = series.values[at]
    return bool(len(at)) and bool((np.isfinite(values) & (values != 0.0)).all())


def _ends_badly(series: Series) -> bool:
    return len(series) > 0 and not np.isfinite(series.values[-1])


DETECTOR = Detector("loss-terms", _detect)
