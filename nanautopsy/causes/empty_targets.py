"""A batch without a single target: the mean over nothing is 0/0.

What happens: cross-entropy with ``reduction="mean"`` divides by the number of targets that are not
ignored. When every label of a batch is -100 (a prompt that fills the whole context, a template
that masks the answer too, a shard of one context-parallel rank) that number is 0 and the loss is
NaN. Its gradient is exactly 0, so the weights stay sound and the next batch is fine: it looks far
worse than it is. torch does so by design since 1.11. The Trainer's filter prints 0.0 instead.

Evidence for: loss NaN (or 0.0 under the Trainer's filter) at single steps with a gradient norm of
exactly 0; finite losses right after although nothing skips steps; later checkpoints sound;
messages that a sample's labels were all masked; a logged count of targets that is 0 there, or any
number that is 0 exactly where the loss is NaN; a quotient by the sum of a mask that is NaN first.

Evidence against: the gradients are NaN at that step; the loss stays non-finite; it is Inf and
not NaN; a loss scaler or the program skips bad steps (a guard that leaves out the backward pass
leaves a norm of 0 and sound weights too).

Confirm: count the labels that are not ignored in the batch of that step.

Fix: drop samples whose targets are cut off, raise the maximum length, mend the template; or divide
by ``max(1, number of targets)``.
"""

from __future__ import annotations

import re

import numpy as np

from nanautopsy import thresholds
from nanautopsy.causes.interface import Case, Cause, Need, Weighing, quiet
from nanautopsy.checkpoints.damage import damaged
from nanautopsy.model import Assessment, Finding, Source
from nanautopsy.quantities import quantity_words
from nanautopsy.wording import phrase


def _assess(case: Case) -> Assessment:
    weighing = Weighing()
    said = case.found("labels-mismatch")
    there = any(f.data.get("there") for f in said)
    masked = [f for f in case.found("masked-loss") if f.data.get("no_gradient")]
    isolated = [f for f in case.found("isolated-losses") if f.data.get("value") == "nan"]
    counted = _counted(case)
    divided = _divided(case)
    if not (said or masked or isolated or counted or divided):
        return quiet(
            phrase("no loss is NaN at single steps, and nothing says that labels are missing")
        )
    for finding in said[:1]:
        # Said here and there, of single samples, it harms no batch.
        telling = thresholds.STRONG if masked or isolated else thresholds.WEAK
        if finding.data.get("before") and _at_once(case):
            telling = thresholds.STRONG
        weighing.speaks_for(thresholds.DECISIVE if there else telling, finding.text, finding.source)
    if counted is not None:
        weighing.speaks_for(thresholds.DECISIVE, counted.text, counted.source)
    if divided is not None:
        weighing.speaks_for(
            thresholds.DECISIVE,
            phrase(
                "{finding}, at {code}: it divides by a count of targets, which is 0",
                finding=divided.text,
                code=_code(divided),
            ),
            divided.source,
        )
    for finding in masked[:1]:
        weighing.speaks_for(thresholds.DECISIVE, finding.text, finding.source)
    for finding in isolated[:1]:
        _weigh_isolated(case, finding, counted is not None, weighing)
    # A quotient of one's own, a sum over a count of 0, has a gradient of 0/0 as well.
    summed = any(f.data.get("summed") for f in isolated)
    told = there or counted is not None or divided is not None or bool(masked) or summed
    if case.onset is not None and case.onset.persistent and not (told or _kept_by_trainer(case)):
        weighing.speaks_against(
            thresholds.STRONG,
            phrase(
                "{quantity} stays non-finite; a batch without targets leaves the "
                "weights as they were",
                quantity=quantity_words(case.onset.quantity),
            ),
            case.onset.source,
        )
    return weighing.fired()


_BY_COUNT = re.compile(
    r"/\s*\(?\s*(?P<by>(?:[\w.]+\()?[\w.\[\]]*(?:mask|valid|weights?|pad|label|target|pos|fg)[^/]{0,60}"
    r"|(?:\w+\.)?(?:n|num|count)_\w+[^/]{0,20})",
    re.IGNORECASE,
)
"""A quotient by the sum of a mask, or by a number that is named as a count."""
_COUNTS = re.compile(r"\bsum\b|\bcount|\b(?:n|num|count)_\w+", re.IGNORECASE)
_NEVER_ZERO = re.compile(r"clamp|maximum|\bmax\(|\beps|clip|\+\s*(?:1e-|\d)|1e-", re.IGNORECASE)


def _code(finding: Finding) -> str:
    """The program's own line at which the operation stands that was NaN first."""
    return str(finding.data.get("code") or finding.data.get("forward") or "")


def _divided(case: Case) -> Finding | None:
    """A quotient that was NaN first, of which the source line shows that it is by a count."""
    for finding in case.found("reported-nonfinite", "backward-nonfinite"):
        name = str(finding.data.get("operation") or finding.data.get("function") or "")
        by = _BY_COUNT.search(_code(finding)) if re.match(r"(?:true_)?div", name, re.I) else None
        if by and _COUNTS.search(by["by"]) and not _NEVER_ZERO.search(by["by"]):
            return finding
    return None


def _at_once(case: Case) -> bool:
    """Whether the loss is NaN from one point to the next, and nothing else is or was."""
    onset = case.onset
    if onset is None or onset.quantity != "loss" or onset.value != "nan":
        return False
    if case.states("compute_dtype", "F16") is not None:
        return False  # which overflows at once as well
    grown = case.found("loss-growth", "grad-norm-growth", "lr-jump", "loss-scale-collapse")
    ends = case.run.by_role("grad_norm")
    return not grown and all(np.isfinite(s.values).all() for s in ends)


def _kept_by_trainer(case: Case) -> bool:
    """Whether the transformers Trainer logs the sum that keeps the NaN of one step: it subtracts
    from it what it has logged, and NaN less NaN is NaN. Gradients or weights tell of more."""
    trainer = case.fact("trainer")
    more = ("nonfinite-grad-norm", "nonfinite-parameters", "nonfinite-moments")
    if trainer is None or any(f.id in more for f in case.findings):
        return False
    return case.onset is not None and case.onset.quantity == "loss"


def _counted(case: Case) -> Finding | None:
    """A count of targets that is 0 at the onset: where such a batch is harmless, the loss is not
    their mean, and the count was 0 before."""
    if case.onset is None or case.onset.value != "nan":
        return None
    return next(iter(case.at_onset("no-targets", "zero-beside-nan")), None)


def _weigh_isolated(case: Case, finding: Finding, counted: bool, weighing: Weighing) -> None:
    gradient = finding.data.get("gradient")
    if gradient == "zero":
        # Not decisive: a guard that leaves out the backward pass shows a norm of 0 as well.
        weighing.speaks_for(thresholds.STRONG, finding.text, finding.source)
    elif gradient == "non-finite" and counted:
        return
    elif gradient == "non-finite":
        weighing.speaks_against(
            thresholds.STRONG,
            phrase("{finding}: a mean over nothing has no gradient", finding=finding.text),
            finding.source,
        )
        return
    else:
        weighing.speaks_for(thresholds.MODERATE, finding.text, finding.source)
    skipper = case.fact("loss_scaler")
    if skipper is not None and gradient != "zero":
        weighing.speaks_against(
            thresholds.MODERATE,
            phrase(
                "a loss scaler skips steps with non-finite gradients, which leaves the same picture"
            ),
            skipper.source,
        )
    sound = _sound_after(case, finding)
    if sound is not None and gradient != "zero":  # of a gradient of 0 it is a consequence
        weighing.speaks_for(
            thresholds.WEAK,
            phrase(
                "the weights of {path} are finite: the step did them no harm, or was left out",
                path=sound,
            ),
            Source(sound),
        )


def _sound_after(case: Case, finding: Finding) -> str | None:
    later = [
        c
        for c in case.run.checkpoints
        if c.step is not None and finding.step is not None and c.step >= finding.step and c.tensors
    ]
    return next((c.path for c in later if not damaged(c)), None)


CAUSE = Cause(
    id="empty-targets",
    title=phrase("a batch in which every label is ignored"),
    assess=_assess,
    needs=(Need(phrase("training loss"), lambda run: bool(run.by_role("loss") or run.events)),),
    remedies=(
        phrase(
            "Count `(labels != -100).sum()` per batch; drop samples for which it is 0, or raise "
            "the maximum length so that the answer is not cut off."
        ),
        phrase("Sum the losses and divide by `max(1, count)` instead of taking the mean."),
    ),
    references=(
        "https://github.com/pytorch/pytorch/issues/70348",
        "https://github.com/pytorch/pytorch/issues/116349",
        "https://github.com/haotian-liu/LLaVA/issues/1166",
    ),
)
