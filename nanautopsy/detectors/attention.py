"""Growth of the query and key projections, and of the attention logits they make."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import numpy as np

from nanautopsy import thresholds
from nanautopsy.checkpoints.damage import damaged, weights
from nanautopsy.detectors.interface import Detector
from nanautopsy.model import Finding, Run, Series, Source
from nanautopsy.signal import first_nonfinite, shown
from nanautopsy.wording import phrase

QUERY_KEY = re.compile(
    r"(^|[._/])(q|k|qk|qkv|query|key|query_key_value|c_attn|wq|wk|wqkv|in_proj|to_q|to_k)"
    r"(_?(proj|lin|linear|weight|kernel|dense))*($|[._/])",
    re.IGNORECASE,
)
"""Names of the projections that make attention logits, in the usual model families."""

ATTENTION = re.compile(r"(^|[._/\d])(self_?|cross_?)?(attn|attention|mha)", re.IGNORECASE)
"""Names of attention modules."""


def has_attention(run: Run) -> bool:
    """Whether the names of its weights or of its watched layers show attention."""
    tensors = (t.name for c in run.checkpoints for t in c.tensors)
    layers = (s.layer for s in run.series if s.layer is not None)
    return any(ATTENTION.search(name) or QUERY_KEY.search(name) for name in (*tensors, *layers))


def _detect(run: Run) -> Iterator[Finding]:
    yield from _logits(run)
    yield from _past_exponentials(run)
    for ratios, source, step, text in (_from_series(run), _from_checkpoints(run)):
        finding = _growth(ratios, source, step, text)
        if finding is not None:
            yield finding


def _logits(run: Run) -> Iterator[Finding]:
    """Logged attention logits that left the range of trained models before they ended."""
    deaths = _deaths(run)
    for series in run.by_role("attention_logit"):
        finite = np.isfinite(series.values)
        if deaths:
            finite &= series.steps < min(deaths)  # what stands behind is of broken weights
        end = int((~finite).argmax()) if not finite.all() else len(series)
        values = np.abs(series.values[:end])
        if len(values) and values[-1] >= thresholds.ATTENTION_LOGIT_LARGE:
            above = int((values >= thresholds.ATTENTION_LOGIT_LARGE).argmax())
            yield Finding(
                id="attention-logits-large",
                text=phrase(
                    "{tag} grows from {first} to {last} at step {step}",
                    tag=series.tag,
                    first=shown(float(values[0])),
                    last=shown(float(values[-1])),
                    step=int(series.steps[end - 1]),
                ),
                source=series.at(above),
                step=int(series.steps[above]),
                layer=series.layer,
                data={"to": float(values[-1]), "from": float(values[0])},
            )


def _past_exponentials(run: Run) -> Iterator[Finding]:
    """Logits that came to where exponentials end, for the first time, right before the death: a
    softmax that does not subtract its maximum is Inf / Inf there."""
    half = run.facts.get("compute_dtype")
    deaths = _deaths(run)
    if not deaths or (half is not None and half.value == "F16"):
        return
    for series in run.by_role("attention_logit"):
        until = series.values[series.steps <= min(deaths)]
        before = np.abs(until[np.isfinite(until)])
        reached = np.flatnonzero(before >= thresholds.FP32_EXP_MAX - thresholds.KEYS_LOG)
        ends = len(before) < len(series) and not np.isfinite(series.values[len(before) :]).any()
        last = len(before) - 1
        at_the_end = list(range(last + 1))[-len(reached) :] if len(reached) else []
        first_time = 0 < len(reached) <= thresholds.CALM_POINTS and reached.tolist() == at_the_end
        if not ends or last < thresholds.GROWTH_POINTS or not first_time:
            continue
        if before[last] < before.max():
            continue
        yield Finding(
            id="attention-logits-past-exp",
            text=phrase(
                "{tag} came to {value} right before, higher than ever: sums of exponentials of "
                "such logits are Inf from {reach} on",
                tag=series.tag,
                value=shown(float(series.values[last])),
                reach=shown(thresholds.FP32_EXP_MAX),
            ),
            source=series.at(last),
            step=int(series.steps[last]),
            layer=series.layer,
        )
        return


def _deaths(run: Run) -> list[int]:
    """Steps at which a loss turned non-finite."""
    return [int(s.steps[i]) for s in run.by_role("loss") if (i := first_nonfinite(s)) is not None]


_Growth = tuple[Mapping[str, float], Source | None, int | None, str]


def _from_series(run: Run) -> _Growth:
    """Ratio of last finite to first value for every logged parameter norm."""
    ratios: dict[str, float] = {}
    worst: tuple[float, Series, int] | None = None
    deaths = _deaths(run)
    for series in run.by_role("layer_parameter"):
        alive = np.isfinite(series.values)
        if deaths:
            alive &= series.steps <= min(deaths)
        finite = np.flatnonzero(alive)
        if series.layer is None or len(finite) < 2 or series.values[finite[0]] <= 0:
            continue
        # Growth counts up to the first non-finite point only.
        bad = np.flatnonzero(~np.isfinite(series.values))
        last = int(finite[finite < bad[0]][-1]) if len(bad) and bad[0] > 0 else int(finite[-1])
        ratio = float(series.values[last] / series.values[finite[0]])
        ratios[series.layer] = ratio
        if QUERY_KEY.search(series.layer) and (worst is None or ratio > worst[0]):
            worst = (ratio, series, last)
    if worst is None:
        return ratios, None, None, ""
    _, series, last = worst
    return ratios, series.at(last), int(series.steps[last]), series.tag


def _from_checkpoints(run: Run) -> _Growth:
    """Ratio of RMS between the first and the last sound checkpoint of the same tensors."""
    sound = [c for c in run.checkpoints if c.tensors and not damaged(c) and c.step is not None]
    if len(sound) < 2:
        return {}, None, None, ""
    first = {t.name: t for t in weights(sound[0]) if t.rms and len(t.shape) >= 2}
    ratios = {}
    worst: tuple[float, Source, str] | None = None
    for tensor in weights(sound[-1]):
        before = first.get(tensor.name)
        if before is None or not tensor.rms or not before.rms:
            continue
        ratio = tensor.rms / before.rms
        ratios[tensor.name] = ratio
        if QUERY_KEY.search(tensor.name) and (worst is None or ratio > worst[0]):
            worst = (ratio, Source(tensor.path, tensor=tensor.name), tensor.name)
    if worst is None:
        return ratios, None, None, ""
    return ratios, worst[1], sound[-1].step, phrase("RMS of {tensor}", tensor=worst[2])


def _growth(
    ratios: Mapping[str, float], source: Source | None, step: int | None, what: str
) -> Finding | None:
    """Query and key projections that grew while the other weights did not."""
    projections = [r for name, r in ratios.items() if QUERY_KEY.search(name)]
    others = [r for name, r in ratios.items() if not QUERY_KEY.search(name)]
    if source is None or not projections:
        return None
    largest = max(projections)
    usual = float(np.median(others)) if others else 1.0
    if largest < thresholds.PROJECTION_GROWTH * max(1.0, usual):
        return None
    return Finding(
        id="projection-growth",
        text=phrase(
            "{what} grows {largest:.3g} times by step {step}, while the other weights grow "
            "{usual:.3g} times (median)",
            what=what,
            largest=largest,
            step=step,
            usual=usual,
        ),
        source=source,
        step=step,
        layer=source.tensor or source.tag,
        data={"ratio": largest, "others": usual},
    )


DETECTOR = Detector("attention", _detect)
