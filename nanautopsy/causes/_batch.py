"""What is known of the batch that died: its numbers, what the program says of it, whether it came
back."""

from __future__ import annotations

import re

import numpy as np

from nanautopsy import thresholds
from nanautopsy.causes.interface import Case, Weighing
from nanautopsy.circumstances import at_first_steps
from nanautopsy.detectors.attention import has_attention
from nanautopsy.model import Onset, Run
from nanautopsy.signal import shown, up_to
from nanautopsy.tag_words import words
from nanautopsy.wording import phrase

_OF_INPUT = re.compile(
    r"\b(inputs?|images?|pixels?|pixel_values|waveforms?|audio|features?|targets?|labels?|samples?"
    r"|ground truth|annotations?|dataset|data)\b|输入|数据|样本|标签",
    re.IGNORECASE,
)
_WARNED = re.compile(r"([^\s:]+\.py):\d+: RuntimeWarning: ")
_OF_LOADING = re.compile(
    r"feature|data(?:set|module|loader)?s?\b|_data|data_|loader|transform|augment|preproc|normali[sz]e|collat",
    re.IGNORECASE,
)
"""Files of programs that prepare batches; numpy warns in them, torch and JAX do not warn."""
_EXPLAINED = (
    "loss-term-alone", "backward-nonfinite", "no-targets", "no-keys", "left-domain",
    "grad-norm-growth", "loss-growth", "lr-jump", "loss-scale-collapse",
)  # fmt: skip
"""Beside these a sudden loss has another explanation."""


def weigh_batch(case: Case, weighing: Weighing) -> None:
    """Evidence that a batch holds what no formula stands; the case has an onset."""
    _weigh_statistics(case, weighing)
    _weigh_elements(case, weighing)
    _weigh_statements(case, weighing)
    _weigh_recurrence(case, weighing)
    _weigh_alignment(case, weighing)


def _weigh_statistics(case: Case, weighing: Weighing) -> None:
    """Numbers of the batch that were logged."""
    onset = case.onset
    assert onset is not None
    there = case.at_onset("odd-input")
    for finding in case.found("odd-input"):
        if finding.data.get("passing") and finding not in there:
            continue
        survived = onset.last_finite is not None and (
            finding.data.get("axis", "step") == onset.axis
            and finding.step is not None
            and finding.step < onset.last_finite
        )
        if survived and not finding.data.get("stays"):
            continue  # the loss was finite behind it
        if finding.step is None or onset.step is None or finding.step <= onset.step:
            if finding.data.get("stays"):
                weighing.speaks_for(
                    thresholds.WEAK,
                    phrase(
                        "{finding}; it stays so, as what is computed from weights does",
                        finding=finding.text,
                    ),
                    finding.source,
                )
            else:
                weighing.speaks_for(thresholds.DECISIVE, finding.text, finding.source)
            return


def _weigh_elements(case: Case, weighing: Weighing) -> None:
    """A sample of nothing: attention, where there is any, has no key in it then, which is a cause
    of its own."""
    for finding in case.at_onset("no-elements")[:1]:
        attends = has_attention(case.run)
        weighing.speaks_for(
            thresholds.WEAK if attends else thresholds.STRONG,
            phrase("{finding}: a sample of nothing, which no mean stands", finding=finding.text),
            finding.source,
        )


def _weigh_statements(case: Case, weighing: Weighing) -> None:
    """What the program says of its data."""
    for finding in case.found("reported-nonfinite"):
        if finding.data.get("quantity") == "input" and _OF_INPUT.search(
            finding.text.replace("_", " ")
        ):
            weighing.speaks_for(thresholds.DECISIVE, finding.text, finding.source)
            break
        path = _WARNED.search(finding.text)
        if finding.role == "initiating" and path and _OF_LOADING.search(path[1]):
            weighing.speaks_for(
                thresholds.STRONG,
                phrase("{finding}, where data are prepared", finding=finding.text),
                finding.source,
            )
            break
    for finding in case.found("odd-sample"):
        if finding.data.get("there"):
            weighing.speaks_for(
                thresholds.DECISIVE,
                phrase("{finding}, right where it died", finding=finding.text),
                finding.source,
            )
        elif finding.data.get("before"):
            known = _from_the_start(case) or finding.data.get("nonfinite")
            weighing.speaks_for(
                thresholds.STRONG if known else thresholds.MODERATE,
                phrase("{finding}, before training", finding=finding.text),
                finding.source,
            )
            _weigh_calm(case, weighing)


def _weigh_calm(case: Case, weighing: Weighing) -> None:
    """A loss that was what it used to be, and NaN at the next point: the first batch with one of
    the values that the program had told of."""
    onset = case.onset
    if onset is None or onset.value != "nan" or onset.quantity != "loss" or case.found(*_EXPLAINED):
        return
    if _seen_before(case.run, onset):
        return
    for series in case.run.by_role("loss"):
        before = np.abs(up_to(series, onset.step))
        if series.tag != onset.source.tag or len(before) < thresholds.INPUT_HISTORY:
            continue
        if before[-1] <= thresholds.SUDDEN_FACTOR * float(np.median(before)):
            weighing.speaks_for(
                thresholds.MODERATE,
                phrase(
                    "{tag} was {before} right before, median {usual}",
                    tag=series.tag,
                    before=shown(float(before[-1])),
                    usual=shown(float(np.median(before))),
                ),
                onset.source,
            )
            return


def _seen_before(run: Run, onset: Onset) -> bool:
    """Whether an epoch had gone by, and all of the data with it."""
    if onset.axis == "epoch" or onset.step is None:
        return True
    for series in run.series:
        if "epoch" in words(series.tag) and series.axis == onset.axis:
            before = up_to(series, onset.step)
            if len(before) and before[-1] - before[0] >= 1:
                return True
    return any(
        s.axis == "epoch" and len(s) > 1 and s.source.path == onset.source.path
        for s in run.by_role("loss", "eval_loss", "other")
    )


def _from_the_start(case: Case) -> bool:
    """Whether the first batches, or the first rows that were logged, brought it."""
    onset = case.onset
    if onset is None or onset.last_finite is None or at_first_steps(case.run, onset):
        return True
    before = [len(up_to(s, onset.step)) for s in case.run.by_role("loss") if s.axis == onset.axis]
    return max(before, default=0) < thresholds.INPUT_HISTORY / 2


def _weigh_alignment(case: Case, weighing: Weighing) -> None:
    """A CTC loss of Inf: no path of the input is long enough for its target."""
    for finding in case.at_onset("target-too-long", since=True)[:1]:
        weighing.speaks_for(thresholds.DECISIVE, finding.text, finding.source)
    onset = case.onset
    if onset is None or onset.value != "inf" or onset.quantity != "loss":
        return
    tag = onset.source.tag or ""
    if "ctc" in words(tag):
        weighing.speaks_for(
            thresholds.STRONG,
            phrase("{tag} is Inf: a target longer than its input has no alignment", tag=tag),
            onset.source,
        )


def _weigh_recurrence(case: Case, weighing: Weighing) -> None:
    for finding in case.found("same-batch"):
        weighing.speaks_for(thresholds.DECISIVE, finding.text, finding.source)
    for finding in case.found("died-again"):
        if finding.data.get("same"):
            # A formula that left its domain does it again from the same seed, as data do.
            formula = case.at_onset("left-domain")
            weighing.speaks_for(
                thresholds.MODERATE if formula else thresholds.STRONG,
                phrase("{finding}: the same place in the data", finding=finding.text),
                finding.source,
            )
        else:
            weighing.speaks_against(thresholds.STRONG, finding.text, finding.source)
    for finding in case.found("isolated-losses"):
        period = finding.data.get("period")
        if not isinstance(period, int) or finding.step is None:
            continue
        if finding.step % period == 0:
            weighing.speaks_for(
                thresholds.WEAK,
                phrase(
                    "{finding}: the end of an epoch, or what the program does every so often",
                    finding=finding.text,
                ),
                finding.source,
            )
        else:
            weighing.speaks_for(
                thresholds.STRONG,
                phrase("{finding}: the same place in the data each time", finding=finding.text),
                finding.source,
            )
        return
