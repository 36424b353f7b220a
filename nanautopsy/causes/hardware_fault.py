"""One device computes wrongly.

What happens: memory whose errors are not corrected, a failing link or an overheated chip changes
numbers without a word. The same step, run elsewhere, is fine; the same rank fails again.

Evidence for: uncorrectable ECC errors, Xid lines of memory or link faults, machine checks before
the onset; the same step, computed again from the same state or by the attempt that resumed on
another machine, is finite; one replica whose parameters are no longer those of the others; one rank
first and alone, the same after restarts; between two checkpoints an element or two of one matrix
turned, or became absurdly large, and nothing else; one element of a tensor turned, while the
moments saved with it, of which an update would have made it, are finite; one rank's copy of the
weights is damaged, and the others' are sound.

Evidence against: every rank turns at the same step with grown gradients; the lines come after the
onset; the same step gives the same NaN again, on this device or another.

Confirm: ``nvidia-smi -q -d ECC,ROW_REMAPPER``, ``dcgmi diag -r 3``, dmesg; run the batch of the
failing step on another device.

Fix: take the node out, and resume from a checkpoint of before the first error.
"""

from __future__ import annotations

import re

from nanautopsy import thresholds
from nanautopsy.causes._once import weigh_once
from nanautopsy.causes.interface import Case, Cause, Weighing, quiet
from nanautopsy.checkpoints.damage import damaged_moments
from nanautopsy.model import Assessment, Finding, LogEvent, Run
from nanautopsy.wording import phrase

_WRONG_NUMBERS = re.compile(
    r"uncorrectable|double.?bit|fallen off the bus|Machine check|\[Hardware Error\]"
    r"|Xid\b.*?\b(?:48|63|64|74|79|92|94|95|119)\b|Possible (?:transient|persistent) error",
    re.IGNORECASE,
)
"""Xid 48, 63, 64, 92, 94 and 95 are memory errors, 74 NVLink, 79 a lost device, 119 a GSP timeout
(NVIDIA's Xid catalog); Xid 13, 31 and 43 are mostly a program's own faults."""

_COUNTER = re.compile(r"\buncorrectable(?: error)?\s*: \d", re.IGNORECASE)
"""What ``nvidia-smi -q`` has counted since the last restart, or ever: perhaps before this run."""

_NONE = re.compile(
    r"(?:errors?|counts?|ecc|bits?|xid|volatile|aggregate|total)\b(?:(?: \w+){1,3} ?[:=])?"
    r"[\s:=|(\[]*(?:0(?![\w.])|none\b|n/?a\b|off\b|disabled)"
    r"|\b(?:no|0|zero) (?:\w+ ){0,3}(?:errors?|xids?)\b",
    re.IGNORECASE,
)
"""A counter that stands at zero, as health checks print it."""

_MENDED = re.compile(
    r"\b(?:single.?bit|corrected|correctable|sbe)\b(?!.*\b(?:uncorrect|double))", re.IGNORECASE
)
"""Errors of which the memory itself restored the value."""


def _assess(case: Case) -> Assessment:
    weighing = Weighing()
    said = [e for e in case.run.events_of("hardware-error") if _is_before(case, e)]
    events = [e for e in said if not (_NONE.search(e.text) or _MENDED.search(e.text))]
    wrong = [e for e in events if _WRONG_NUMBERS.search(e.text)]
    if wrong:
        dated = [e for e in wrong if not _COUNTER.search(e.text)]
        wrong = dated or wrong
        weighing.speaks_for(
            thresholds.DECISIVE if dated else thresholds.MODERATE,
            phrase("the log shows a hardware error: {line}", line=wrong[0].text),
            wrong[0].source,
        )
    elif events:
        weighing.speaks_for(
            thresholds.WEAK,
            phrase("the log shows an error of a device: {line}", line=events[0].text),
            events[0].source,
        )
    for finding in case.found("nonfinite-parameters"):
        if finding.data.get("flipped") and finding.last_good is not None:
            weighing.speaks_for(
                thresholds.STRONG,
                phrase(
                    "{finding}: less than a row or a column, and sound at step {last_good}; a bad "
                    "gradient spoils a whole one",
                    finding=finding.text,
                    last_good=finding.last_good,
                ),
                finding.source,
            )
            break
        if finding.data.get("lone") and finding.last_good and _moments_sound(case.run, finding):
            weighing.speaks_for(
                thresholds.STRONG,
                phrase(
                    "{finding}: one element, while the moments of the optimizer that were saved "
                    "with it are finite: no update made it",
                    finding=finding.text,
                ),
                finding.source,
            )
            break
    for finding in case.found("rank-alone", "ranks-disagree")[:1]:
        weighing.speaks_for(thresholds.MODERATE, finding.text, finding.source)
        # A loss is computed before ranks exchange anything; a gradient may be spoilt there.
        if finding.data.get("again") and finding.data.get("what") == "loss":
            # Of equal values before, the same batches were fine the second time.
            once = case.found("not-reproducible")
            weighing.speaks_for(
                thresholds.STRONG if once else thresholds.MODERATE,
                phrase(
                    "rank {rank} was the first, and alone, in the attempts before as well, at "
                    "other steps: its device stayed, its batches did not",
                    rank=finding.data["rank"],
                ),
                finding.source,
            )
    _weigh_again(case, weighing)
    _weigh_replicas(case, weighing)
    _weigh_flipped(case, weighing)
    if not weighing.evidence:
        return quiet(
            phrase("no hardware error was logged before the onset, and no rank turned alone")
        )
    for finding in case.grew_alike("grad-norm-growth", "lr-jump", "loss-scale-collapse"):
        weighing.speaks_against(thresholds.STRONG, finding.text, finding.source)
    weigh_once(case, weighing)
    return weighing.fired()


def _moments_sound(run: Run, finding: Finding) -> bool:
    """Whether the weight's own moments of the same save were read, and every one is finite: a
    buffer has none. Where some are of no named parameter, whatever is called a weight has some."""
    beside = [c for c in run.checkpoints if c.step == finding.step]
    of = {t.parameter for c in beside for t in c.tensors if t.part == "moment"}
    named = finding.layer is not None and _TRAINED.search(finding.layer) is not None
    own = finding.layer in of or (None in of and named)
    return own and not any(damaged_moments(c) for c in beside)


_TRAINED = re.compile(r"(?:^|[._/])(?:weight|kernel|bias|scale|gamma|beta)$", re.IGNORECASE)


def _weigh_again(case: Case, weighing: Weighing) -> None:
    """What was NaN once and finite the next time. An attempt that resumed may have left out the
    batch; on another machine with equal values before, that is a second thought."""
    for finding in case.near_onset("not-reproducible")[:1]:
        sure = finding.data.get("stated") or finding.data.get("elsewhere")
        weighing.speaks_for(
            thresholds.STRONG if sure else thresholds.MODERATE, finding.text, finding.source
        )


def _weigh_replicas(case: Case, weighing: Weighing) -> None:
    for finding in case.found("replicas-differ")[:1]:
        weighing.speaks_for(thresholds.MODERATE, finding.text, finding.source)
        if isinstance(finding.data.get("rank"), int):
            weighing.speaks_for(
                thresholds.MODERATE,
                phrase(
                    "it is rank {rank} alone, while the others still agree bit by bit",
                    rank=finding.data["rank"],
                ),
                finding.source,
            )


def _weigh_flipped(case: Case, weighing: Weighing) -> None:
    """An element or two that became absurd between the last sound checkpoint and the next, though
    that was saved after the onset: a bad gradient would have spoilt whole rows. So this is no
    cascade."""
    onset = case.onset
    if onset is None or onset.last_finite is None:
        return
    for finding in case.findings:
        sound_until = finding.last_good
        if finding.id == "flipped-weight" and sound_until is not None and finding.step is not None:
            if sound_until <= onset.last_finite <= finding.step:
                weighing.speaks_for(
                    thresholds.STRONG,
                    phrase(
                        "{finding}, and nothing else: a bad gradient spoils more",
                        finding=finding.text,
                    ),
                    finding.source,
                )
                return


def _is_before(case: Case, event: LogEvent) -> bool:
    """Not after the onset, as far as both say when."""
    return event.step is None or case.death is None or event.step <= case.death


CAUSE = Cause(
    id="hardware-fault",
    title=phrase("a device computed wrongly"),
    assess=_assess,
    remedies=(
        phrase(
            "Exclude the node and resume from a checkpoint before the first error; run "
            "`dcgmi diag -r 3` on it."
        ),
        phrase("Set TORCH_NCCL_NAN_CHECK=1 to learn which rank sends the first NaN."),
    ),
    references=(
        "https://github.com/pytorch/torchtitan/issues/951",
        "https://docs.nvidia.com/deploy/xid-errors/",
    ),
)
