"""The loss leaves its own domain: log(0), 0/0, exp of a large number.

What happens: ``log`` of a probability that rounded to 0 is -Inf, ``x / x.sum()`` of nothing is NaN,
``exp`` of more than 88.7 is Inf in float32. The network is sound; the formula behind it is not.
Most often one term of the loss does it while the terms beside it are fine.

Evidence for: one term is non-finite first and alone; anomaly mode names the backward function of a
logarithm, an exponential or a divergence and the loss was non-finite too; a warning names the
operation; the loss is Inf before anything grew; a variance, a rate or a probability that was logged
is 0 or negative there, and was positive up to then.

Evidence against: loss or gradients grew before; float16 signs of overflow; the gradients were
non-finite while the loss was finite; the term compares with a target, which may be NaN itself; it
is a router's.

Confirm: print the arguments of the term at that batch; ``torch.autograd.set_detect_anomaly(True)``.

Fix: use the stable form (``log_softmax``, ``binary_cross_entropy_with_logits``, ``logsumexp``,
``log1p``), or clamp the argument inside the logarithm or the quotient, in float32.
"""

from __future__ import annotations

import re

import numpy as np

from nanautopsy import thresholds
from nanautopsy.causes.interface import Case, Cause, Weighing, quiet
from nanautopsy.circumstances import backward_made_it, loss_was_finite_at, own_backward
from nanautopsy.experts import has_experts, is_routing
from nanautopsy.model import Assessment, Finding, Run
from nanautopsy.quantities import quantity_words
from nanautopsy.signal import index_at
from nanautopsy.tag_words import words
from nanautopsy.wording import phrase

_FUNCTION = re.compile(
    r"^(Log(?!Softmax|Sumexp|addexp)\w*|Log1P|Logit|Xlogy|BinaryCrossEntropy(?!WithLogits)\w*|KlDiv"
    r"|Exp|Expm1|Lgamma|Digamma|PoissonNllLoss|GaussianNll\w*|Erfinv|Atanh)Backward\d*$",
    re.IGNORECASE,
)
"""Backward functions of operations whose own value is non-finite outside their domain."""
_OPERATION = re.compile(
    r"^(log\w*|exp\w*|div|divide|true_divide|reciprocal|pow|power|xlogy|a(?:cos|sin)|acosh|atanh"
    r"|erf_inv|lgamma|digamma)$",
    re.I,
)
_SINGLE = re.compile(
    r"^(log\w*|pow|power|xlogy|a(?:cos|sin)|acosh|atanh|erf_inv|lgamma|digamma)$", re.I
)
"""Those that have no other way to a NaN; 0/0 is what normalizing an empty input gives too."""
_QUOTIENT = re.compile(
    r"(?:loss|nll|\bce\b|err|likelihood|iou|dice)[^=]*/|/[^=]*(?:loss|err)", re.I
)
"""A source line that divides what is minimized."""
_LOGARITHM = frozenset(
    "log logp logps logprob logprobs logratio odds entropy nll logdet loglik likelihood".split()
)
_DIVERGENCE = frozenset("kl kld kldiv kd js jsd divergence distill distillation distil".split())
"""Words of terms that take the logarithm of probabilities that are handed in."""


def _assess(case: Case) -> Assessment:
    weighing = Weighing()
    for finding in case.found("loss-term-alone")[:1]:
        _weigh_term(case, finding, weighing)
    _weigh_function(case, weighing)
    for finding in case.found("reported-nonfinite"):
        operation = finding.data.get("operation")
        # What was said long before, while the loss was finite, was said of something else.
        near = finding.role == "initiating" and finding.data.get("quantity") != "gradient"
        if near and isinstance(operation, str) and _OPERATION.match(operation):
            # An exception ends the run at the first result that is NaN of operands that are not.
            raised = finding.data.get("quantity") == "operation" and (
                _SINGLE.match(operation) or _QUOTIENT.search(str(finding.data.get("code", "")))
            )
            weighing.speaks_for(
                thresholds.STRONG if raised else thresholds.MODERATE, finding.text, finding.source
            )
            break
    _weigh_value(case, weighing)
    _weigh_logarithm(case, weighing)
    # Beside a finite loss the edge that was reached is one of the derivative alone.
    behind = case.onset is not None and backward_made_it(case.run, case.onset)
    domain = () if behind else case.at_onset("left-domain", since=True)
    for finding in [f for f in domain if not _is_router(case.run, f)][:1]:
        weighing.speaks_for(
            thresholds.STRONG,
            phrase("{finding}: no logarithm, root or quotient takes it", finding=finding.text),
            finding.source,
        )
    if not any(evidence.supports for evidence in weighing.evidence):
        return quiet(
            phrase("no term of the loss was non-finite alone, and no operation of it is named")
        )
    _weigh_rivals(case, weighing)
    return weighing.fired()


def _is_router(run: Run, finding: Finding) -> bool:
    """Whether it is about the router of a mixture of experts, which is a cause of its own."""
    return has_experts(run) and is_routing(str(finding.source.tag))


def _is_divergence(finding: Finding) -> bool:
    return bool(_DIVERGENCE & frozenset(words(str(finding.data.get("tag")))))


def _weigh_term(case: Case, finding: Finding, weighing: Weighing) -> None:
    """A term that turned alone: by its formula, by its target, or because it is a router's."""
    infinite = finding.data.get("value") in ("inf", "-inf")
    if infinite and _grew_into_it(case, finding):
        weighing.speaks_against(
            thresholds.STRONG,
            phrase("{finding}, towards which it grew", finding=finding.text),
            finding.source,
        )
        return
    if finding.data.get("router"):
        weighing.speaks_for(
            thresholds.WEAK,
            phrase("{finding}; it is a router's, which overflows", finding=finding.text),
            finding.source,
        )
        return
    if infinite or finding.data.get("data_free"):
        weighing.speaks_for(thresholds.STRONG, finding.text, finding.source)
    else:
        weighing.speaks_for(
            thresholds.MODERATE,
            phrase("{finding}; a target that is NaN does that too", finding=finding.text),
            finding.source,
        )
        if _is_divergence(finding) and case.found("isolated-losses"):
            weighing.speaks_for(
                thresholds.MODERATE,
                phrase(
                    "training went on behind it: of a divergence from what is handed in, the part "
                    "that no weight moves, p log p, is 0 log 0 where a probability is 0"
                ),
                finding.source,
            )
    if infinite:
        weighing.speaks_for(
            thresholds.MODERATE, phrase("it is Inf, as the logarithm of 0 is"), finding.source
        )


def _grew_into_it(case: Case, finding: Finding) -> bool:
    """Whether the term rose many times over from one row to the next right before it was Inf: the
    logarithm of 0 is Inf at once."""
    for series in case.run.series:
        if (series.source.path, series.tag) != (finding.source.path, finding.data.get("tag")):
            continue
        before = np.abs(series.values[series.steps < (finding.step or 0)])
        if len(before) > 1 and np.isfinite(before).all():
            return bool(before[-1] >= thresholds.GROWTH_FACTOR * before[-2])
    return False


def _weigh_function(case: Case, weighing: Weighing) -> None:
    for finding in case.found("backward-nonfinite"):
        function = str(finding.data.get("function", ""))
        if not _FUNCTION.match(function):
            continue
        step = finding.step
        if step is not None and loss_was_finite_at(case.run, step):
            weighing.speaks_for(
                thresholds.MODERATE,
                phrase("{finding}, with a finite loss", finding=finding.text),
                finding.source,
            )
        else:
            weighing.speaks_for(thresholds.DECISIVE, finding.text, finding.source)
        return


def _weigh_logarithm(case: Case, weighing: Weighing) -> None:
    """A logged logarithm that is Inf where the loss was finite: what it was taken of is 0."""
    finding = _infinite_logarithm(case)
    if finding is not None:
        weighing.speaks_for(
            thresholds.DECISIVE if _is_finite_there(case) else thresholds.STRONG,
            phrase("{finding}: a logarithm is Inf where its argument is 0", finding=finding.text),
            finding.source,
        )


def _infinite_logarithm(case: Case) -> Finding | None:
    for finding in case.at_onset("nonfinite-metric"):
        infinite = finding.data.get("value") in ("inf", "-inf") and finding.last_good is not None
        if infinite and _LOGARITHM & frozenset(words(str(finding.data.get("tag")))):
            return finding
    return None


def _is_finite_there(case: Case) -> bool:
    """Whether a loss that dies later was finite at the onset, on its axis."""
    onset = case.onset
    return onset is not None and any(
        s.axis == onset.axis
        and onset.step is not None
        and (i := index_at(s, onset.step)) is not None
        and np.isfinite(s.values[i])
        for s in case.run.by_role("loss")
    )


def _weigh_value(case: Case, weighing: Weighing) -> None:
    onset = case.onset
    if onset is None or onset.quantity != "loss" or onset.value not in ("inf", "-inf"):
        return
    if case.found("loss-growth", "grad-norm-growth", "diverged-loss"):
        return
    weighing.speaks_for(
        thresholds.MODERATE,
        phrase("the loss is Inf first, with nothing grown before it"),
        onset.source,
    )


def _weigh_rivals(case: Case, weighing: Weighing) -> None:
    for finding in case.found("loss-growth", "grad-norm-growth", "lr-jump", "loss-scale-collapse"):
        weighing.speaks_against(
            thresholds.STRONG,
            phrase("{finding}, before the onset", finding=finding.text),
            finding.source,
        )
    onset = case.onset
    behind = onset is not None and onset.quantity in ("grad_norm", "gradients", "parameters")
    if onset is not None and behind and _infinite_logarithm(case) is None:
        weighing.speaks_against(
            thresholds.MODERATE,
            phrase("{quantity} turned non-finite first", quantity=quantity_words(onset.quantity)),
            onset.source,
        )
    norm = None if onset is None else own_backward(case.run, onset)
    if norm is not None:
        weighing.speaks_against(
            thresholds.MODERATE,
            phrase("{tag} turned beside a loss of its part that was finite", tag=norm.tag),
            norm.source,
        )
    half = case.states("compute_dtype", "F16")
    if half is not None:
        weighing.speaks_against(
            thresholds.MODERATE,
            phrase("the run computes in float16, which overflows too"),
            half.source,
        )
    for finding in case.found("isolated-losses"):
        if finding.data.get("gradient") == "zero":
            weighing.speaks_against(thresholds.STRONG, finding.text, finding.source)


CAUSE = Cause(
    id="loss-domain-error",
    title=phrase("the loss formula leaves its domain"),
    assess=_assess,
    remedies=(
        phrase(
            "Use the fused, stable form of the loss (`log_softmax`, `*_with_logits`, "
            "`logsumexp`), in float32."
        ),
        phrase("Clamp inside the logarithm or the quotient (`x.clamp_min(eps)`), not after it."),
    ),
    references=(
        "https://github.com/huggingface/trl/issues/1473",
        "https://github.com/pytorch/pytorch/issues/22820",
    ),
)
