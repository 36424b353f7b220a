"""A derivative that is infinite where the value is fine: sqrt, norm, std or a quotient at 0.

What happens: the derivative of ``sqrt(x)`` at 0 is Inf, and the chain rule multiplies it by the
derivative of what is inside, often 0: ``Inf * 0`` is NaN. The same holds for norms, standard
deviations of equal numbers, ``acos`` at 1, ``x**p`` with p below 1, and for the branch that
``where`` does not take. The forward pass, and the loss, are finite.

Evidence for: gradients are NaN at a step whose loss is finite; anomaly mode names SqrtBackward,
NormBackward, StdBackward, PowBackward, DivBackward, AcosBackward or a factorization's; a deviation
or distance is 0, a cosine 1, at that step; an RMSE came to exactly 0 in the row before.

Evidence against: float16 with a loss scaler, whose backward pass overflows with a finite loss too;
gradients that grew before; another function in the trace; one rank alone; overlapped communication;
an all-zero layer at the first step.

Confirm: ``torch.autograd.set_detect_anomaly(True)`` for the batch, or ``jax.config.update(
"jax_debug_nans", True)``; it names the line of the forward pass.

Fix: put the epsilon inside the root (``sqrt(x + eps)``), not behind it; mask before the operation
(the double ``where``), not after it.
"""

from __future__ import annotations

import re

from nanautopsy import thresholds
from nanautopsy.causes._decomposition import is_decomposition
from nanautopsy.causes._forward_line import exponents, is_jax_root, is_smooth_power, shows_inf
from nanautopsy.causes._linear_backward import was_handed_inf, weigh_linear
from nanautopsy.causes._published import published
from nanautopsy.causes._roots import weigh_root_at_zero
from nanautopsy.causes._way_back import weigh_beside, weigh_edge, weigh_own_part
from nanautopsy.causes.interface import Case, Cause, Weighing, quiet
from nanautopsy.circumstances import (
    backward_made_it,
    calm_before,
    gradients_recovered,
    loss_was_finite_at,
    losses_that_hide,
    mostly_spoiled,
)
from nanautopsy.cross_entropies import is_cross_entropy
from nanautopsy.model import Assessment
from nanautopsy.wording import phrase

_FUNCTION = re.compile(
    r"^(Sqrt|Rsqrt|Norm|LinalgVectorNorm|LinalgMatrixNorm|Std|Var|StdMean|VarMean|Pow|Div|Reciprocal"
    r"|Acos|Asin|Acosh|Atan2|Cdist|PDist|PairwiseDistance|CosineSimilarity|Hypot|Linalg\w+|Svd|Symeig"
    r"|Cholesky|Normalize|Renorm)(Backward\w*)$",
    re.IGNORECASE,
)
"""Backward functions that are singular where their forward value is finite."""
_OFTEN_SOUND = re.compile(r"(Pow(?!Backward1)|Div)Backward", re.IGNORECASE)
"""Of these, the ones that a loss may end in, a squared error or an average: a NaN of the forward
pass shows in the loss's own backward function first, before any other is called. PowBackward1 is
of an exponent that is a tensor, and no square."""


def _assess(case: Case) -> Assessment:
    weighing = Weighing()
    for finding in case.found("backward-nonfinite"):
        function = str(finding.data.get("function", ""))
        masked = shows_inf(finding)
        if (_FUNCTION.match(function) and not is_smooth_power(finding)) or masked:
            finite = finding.step is not None and loss_was_finite_at(case.run, finding.step)
            ambiguous = (
                _OFTEN_SOUND.match(function)
                and not exponents(finding)
                and not masked
                and not is_cross_entropy(case.run)
            )
            handed_on = thresholds.MODERATE if ambiguous else thresholds.STRONG
            strength = thresholds.DECISIVE if finite else handed_on
            weighing.speaks_for(strength, finding.text, finding.source)
            place = finding.data.get("forward")
            if isinstance(place, str):
                weighing.speaks_for(
                    thresholds.WEAK,
                    phrase("its forward call stands at {place}", place=place),
                    finding.source,
                )
            break
    for finding in case.found("reported-nonfinite")[:1]:
        if finding.data.get("quantity") == "gradient" and "operation" in finding.data:
            weighing.speaks_for(
                thresholds.STRONG,
                phrase("{finding}: an operation of the backward pass", finding=finding.text),
                finding.source,
            )
    weigh_linear(case, weighing)
    _weigh_order(case, weighing)
    _weigh_search(case, weighing)
    if not weighing.evidence:
        weigh_root_at_zero(case, weighing)
    if not weighing.evidence:
        return quiet(
            phrase(
                "no backward function of a singular operation is named, and no gradient was "
                "non-finite beside a finite loss"
            )
        )
    _weigh_rivals(case, weighing)
    return weighing.fired()


def _weigh_order(case: Case, weighing: Weighing) -> None:
    """Gradients that turned NaN from their usual level while the forward pass was finite."""
    onset = case.onset
    if onset is None or onset.step is None:
        return
    if not backward_made_it(case.run, onset):
        weigh_own_part(case, onset, weighing)
        return
    weighing.speaks_for(
        thresholds.MODERATE,
        phrase(
            "gradients are non-finite at step {step} while the loss there is finite",
            step=onset.step,
        ),
        onset.source,
    )
    weigh_edge(case, weighing)
    weigh_beside(case, onset.step, weighing)
    if gradients_recovered(case.run, onset) and not mostly_spoiled(case.run, onset):
        weighing.speaks_against(
            thresholds.WEAK,
            phrase("steps behind it are sound: single batches do it, and their numbers may be bad"),
            onset.source,
        )
    # Where such steps are skipped the weights stay sound, and so does the loss.
    skips = any(f.data.get("skipped") for f in case.found("reported-nonfinite"))
    hidden = None if skips else losses_that_hide(case.run, onset)
    if hidden is not None:
        weighing.speaks_against(
            thresholds.WEAK,
            phrase(
                "{tag} stays finite while gradients do not: something may hide a NaN of the "
                "forward pass",
                tag=hidden.tag,
            ),
            hidden.source,
        )
    for finding in case.at_onset("left-domain")[:1] if onset.value == "nan" else ():
        weighing.speaks_for(
            thresholds.STRONG,
            phrase(
                "{finding}: a value that the loss can take, where a root, a norm or an angle has "
                "no derivative",
                finding=finding.text,
            ),
            finding.source,
        )
    calm = calm_before(case.run, onset)
    if calm is not None and onset.value == "nan":
        weighing.speaks_for(
            thresholds.MODERATE,
            phrase(
                "{tag} was at its usual level right before; gradients turned NaN in one step, "
                "without Inf",
                tag=calm.tag,
            ),
            calm.source,
        )


def _weigh_search(case: Case, weighing: Weighing) -> None:
    """A trace of a later search for the NaN: where gradients turned first beside a finite loss, the
    line that it shows says why, whatever the weights had become by then."""
    onset = case.onset
    if onset is None or onset.step is None or not backward_made_it(case.run, onset):
        return
    for event in case.run.events_of("backward-nonfinite", "nonfinite-text"):
        if event.step is None or event.step < onset.step:
            continue
        if shows_inf(event) or is_jax_root(event) or is_decomposition(event):
            weighing.speaks_for(thresholds.STRONG, event.text, event.source)
            return


def _weigh_rivals(case: Case, weighing: Weighing) -> None:
    for finding in case.found("backward-nonfinite"):
        function = str(finding.data.get("function", ""))
        told = shows_inf(finding) or was_handed_inf(finding)
        if not _FUNCTION.match(function) and not told:
            weighing.speaks_against(thresholds.STRONG, finding.text, finding.source)
    for finding in case.at_onset("nonfinite-metric")[:1]:
        if finding.data.get("value") in ("inf", "-inf") and finding.last_good is not None:
            weighing.speaks_against(
                thresholds.MODERATE,
                phrase("{finding}: the forward pass held it", finding=finding.text),
                finding.source,
            )
    for finding in case.found("grad-norm-growth", "loss-scale-collapse", "overflow-skips"):
        weighing.speaks_against(thresholds.MODERATE, finding.text, finding.source)
    half = case.states("compute_dtype", "F16")
    if half is not None:
        weighing.speaks_against(
            thresholds.MODERATE,
            phrase(
                "the run computes in float16, whose backward pass overflows with a finite loss too"
            ),
            half.source,
        )
    for finding in case.found("rank-alone", "ranks-disagree")[:1]:
        weighing.speaks_against(
            thresholds.MODERATE,
            phrase("{finding}: not every rank", finding=finding.text),
            finding.source,
        )
    for finding in case.near_onset("not-reproducible")[:1]:
        weighing.speaks_against(
            thresholds.STRONG,
            phrase("{finding}: arithmetic does the same each time", finding=finding.text),
            finding.source,
        )
    overlap = case.states("overlap_comm", True)
    if overlap is not None:
        weighing.speaks_against(
            thresholds.MODERATE,
            phrase("communication overlaps with computation, which spoils gradients too"),
            overlap.source,
        )
    model = published(case)
    if model is not None:
        weighing.speaks_against(
            thresholds.MODERATE,
            phrase(
                "the model is a published one ({model}), without such a point", model=model.value
            ),
            model.source,
        )
    for finding in case.found("zero-weight"):
        if not finding.data.get("by_design"):
            weighing.speaks_against(
                thresholds.WEAK,
                phrase("{finding}, which has such a point too", finding=finding.text),
                finding.source,
            )


CAUSE = Cause(
    id="singular-gradient",
    title=phrase("an operation whose derivative is infinite at 0"),
    assess=_assess,
    remedies=(
        phrase(
            "Put the epsilon inside the root or the norm: `torch.sqrt(x.square().sum() + eps)`."
        ),
        phrase("Where a mask hides the bad values, mask the argument before the operation too."),
    ),
    references=(
        "https://github.com/pytorch/pytorch/issues/2421",
        "https://github.com/jax-ml/jax/issues/5798",
        "https://github.com/richzhang/PerceptualSimilarity/issues/121",
    ),
)
