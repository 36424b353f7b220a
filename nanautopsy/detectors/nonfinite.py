"""NaN and Inf in the logged series."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from nanautopsy.detectors.interface import Detector
from nanautopsy.mask_buffers import is_mask_buffer
from nanautopsy.model import Finding, Run, Series
from nanautopsy.quantities import position
from nanautopsy.scaler_skips import skipped_points
from nanautopsy.signal import first_nonfinite, kind_of, last_finite_before, persistent, shown
from nanautopsy.untrained import is_untrained
from nanautopsy.wording import Phrase, counted, phrase

_ID = {
    "loss": "nonfinite-loss",
    "eval_loss": "nonfinite-eval-loss",
    "grad_norm": "nonfinite-grad-norm",
    "layer_gradient": "nonfinite-layer-gradient",
    "layer_parameter": "nonfinite-layer-parameter",
    "layer_activation": "nonfinite-layer-activation",
    "attention_logit": "nonfinite-attention-logit",
    "loss_scale": "nonfinite-loss-scale",
    "learning_rate": "nonfinite-learning-rate",
    "other": "nonfinite-metric",
}


def _detect(run: Run) -> Iterator[Finding]:
    per_layer: dict[tuple[str, int, bool], list[tuple[Series, int]]] = {}
    for logged in run.by_role(*_ID):  # type: ignore[arg-type]
        series = _unsaturated(logged)
        index = first_nonfinite(series)
        if index is None or _is_benign(series) or _is_summary(series, run):
            continue
        if is_mask_buffer(series, run.series) or is_untrained(series, run):
            continue
        index, skipped = _beyond_skips(run, series, index)
        if series.layer is None:
            finding = _marked(_finding(series, index), skipped)
            yield _gone_on(finding) if _is_told_when_bad(run, series) else finding
        else:
            place = (_ID[series.role], int(series.steps[index]), skipped)
            per_layer.setdefault(place, []).append((series, index))
    for (_, _, skipped), members in sorted(per_layer.items()):
        yield _marked(_together(run, members), skipped)


def _unsaturated(series: Series) -> Series:
    """A layer's series with Inf where it holds float32's largest number, which ``nan_to_num``
    makes of it: nothing is that number by itself."""
    least = _FLOAT32_MAX * (1 - _PRINTED)
    forward = series.role in ("attention_logit", "layer_activation")
    if not forward or series.layer is None or not len(series):
        return series
    if np.fmax.reduce(series.values) < least and np.fmin.reduce(series.values) > -least:
        return series
    sizes = np.abs(series.values)
    saturated = (sizes >= least) & (sizes <= _FLOAT32_MAX * (1 + _PRINTED))
    infinite = np.copysign(np.inf, series.values)
    return replace(series, values=np.where(saturated, infinite, series.values))


_FLOAT32_MAX = float(np.finfo(np.float32).max)
_PRINTED = 5e-6
"""What six printed digits leave of it."""


def _beyond_skips(run: Run, series: Series, index: int) -> tuple[int, bool]:
    """Index of the first non-finite gradient that is no skipped step; ``index`` and True, when
    all of them are skipped steps."""
    if series.role not in ("grad_norm", "layer_gradient"):
        return index, False
    rest = ~np.isfinite(series.values) & ~skipped_points(run, series)
    return (int(rest.argmax()), False) if rest.any() else (index, True)


def _is_told_when_bad(run: Run, series: Series) -> bool:
    """Whether it is a guard's, which prints the loss of bad batches alone, and another loss stands
    behind all of them that is finite from the first point to the last."""
    if series.role != "loss" or series.lines is None or np.isfinite(series.values).any():
        return False
    last = int(series.lines[-1])
    return any(
        s.lines is not None
        and s.source.path == series.source.path
        and len(s) > len(series)
        and int(s.lines[-1]) > last
        and np.isfinite(s.values).all()
        and s.values.any()
        for s in run.by_role("loss")
    )


def _gone_on(finding: Finding) -> Finding:
    return replace(finding, data=dict(finding.data) | {"persistent": False})


def _marked(finding: Finding, skipped: bool) -> Finding:
    return replace(finding, data=dict(finding.data) | {"skipped": True}) if skipped else finding


def _together(run: Run, members: list[tuple[Series, int]]) -> Finding:
    """One finding for all the layers whose first non-finite point lies at one step."""
    # A layer may have several series (extremes of a histogram), which turn together.
    layers = list(dict.fromkeys(s.layer for s, _ in members if s.layer is not None))
    role = members[0][0].role
    everything = set(layers) == {
        s.layer for s in run.by_role(role) if s.layer is not None and not is_untrained(s, run)
    }
    finding = _finding(*members[0])
    text = finding.text
    others = len(layers) - 1
    if others and everything:
        text = counted(
            others,
            "{first} (and 1 other layer at that step, which are all there are)",
            "{first} (and {n} other layers at that step, which are all there are)",
            first=text,
        )
    elif others:
        text = counted(
            others,
            "{first} (and 1 other layer at that step)",
            "{first} (and {n} other layers at that step)",
            first=text,
        )
    data = dict(finding.data) | {"layers": tuple(layers), "everything": everything}
    data["persistent"] = all(persistent(s, i) for s, i in members)
    return replace(finding, text=text, data=data)


def _is_benign(series: Series) -> bool:
    """A perplexity of Inf is exp of a large finite loss; it says nothing of its own."""
    tag = series.tag.lower()
    return ("ppl" in tag or "perplexity" in tag) and not np.isnan(series.values).any()


def _is_summary(series: Series, run: Run) -> bool:
    """A mean over the whole run, told once at its end beside the numbers that it was made of."""
    return (
        len(series) == 1
        and series.axis == "record"
        and any(
            len(other) > 1 and other.axis == "record" and other.source.path == series.source.path
            for other in run.by_role("loss")
        )
    )


def _finding(series: Series, index: int) -> Finding:
    good = last_finite_before(series, index)
    value = kind_of(float(series.values[index]))
    step = int(series.steps[index])
    stays = persistent(series, index)
    after = series.values[index:]
    text = phrase(
        "{tag} is {value} at {place}{then}{before}",
        tag=series.tag,
        value=shown(float(series.values[index])),
        place=position(series.axis, step),
        then=_then(after, stays),
        before=""
        if good is None
        else phrase(
            "; last finite {value} at {step}",
            value=shown(float(series.values[good])),
            step=int(series.steps[good]),
        ),
    )
    return Finding(
        id=_ID[series.role],
        text=text,
        source=series.at(index),
        step=step,
        last_good=None if good is None else int(series.steps[good]),
        layer=series.layer,
        data={
            "value": value,
            "persistent": stays,
            "tag": series.tag,
            "axis": series.axis,
            "count": int((~np.isfinite(after)).sum()),
            "points": len(series),
            "rank": series.rank,
            "position": index,
        },
    )


def _then(after: NDArray[np.float64], stays: bool) -> Phrase:
    """What follows the first non-finite point."""
    if stays:
        return phrase(" and stays non-finite") if len(after) > 1 else phrase(", its last point")
    return counted(
        int((~np.isfinite(after)).sum()),
        ", then finite again (1 non-finite point in all)",
        ", then finite again ({n} non-finite points in all)",
    )


DETECTOR = Detector("nonfinite", _detect)
