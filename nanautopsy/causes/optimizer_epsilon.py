"""Adam's epsilon is zero in float16, and so are the squares of small gradients.

What happens: float16 holds nothing below 6e-8. The usual epsilon of 1e-8 becomes 0, and the square
of any gradient below 2.4e-4 does too; the update ``m / (sqrt(v) + eps)`` is then 0/0, NaN, for a
weight without gradient (an embedding row that the batch does not use), or x/0, Inf, for the
others. Loss and gradients were fine; the first update kills the weights. It needs weights and
optimizer state in float16: autocast, or a float32 master copy, is safe; bfloat16 holds 1e-8.

Evidence for: optimizer moments saved in float16, second moments of zero beside first moments that
are not; float16 weights trained without a scaler or master copy; Adam with an epsilon below 6e-8;
a finite loss at the first step and NaN right after the first updates.

Evidence against: float32 moments; an epsilon of 6e-8 and more; an optimizer without a quotient; a
GradScaler (torch's refuses float16 gradients); training that was finite for long; gradients that
were non-finite before the weights, or weights before any update.

Confirm: print ``p.dtype`` and ``state["exp_avg_sq"].dtype`` after the first step.

Fix: float32 weights with autocast, or a float32 master copy; if it must be, ``eps=1e-4``.
"""

from __future__ import annotations

import re

from nanautopsy import thresholds
from nanautopsy.causes._half import half_weights
from nanautopsy.causes._start import weigh_untouched
from nanautopsy.causes.interface import Case, Cause, Weighing, quiet
from nanautopsy.circumstances import (
    at_first_steps,
    died_in_the_first_step,
    gradients_were_finite_at,
)
from nanautopsy.detectors.precision import saved
from nanautopsy.model import Assessment, Checkpoint, Fact, Source, TensorHealth
from nanautopsy.quantities import quantity_words
from nanautopsy.wording import phrase

_ADAM = re.compile(r"adam|lamb|adan|rmsprop|adagrad|lion8", re.IGNORECASE)
"""Optimizers whose update is a quotient by the root of second moments and an epsilon."""
_SQUARES = re.compile(r"exp_avg_sq|(^|[._/])nu($|[._/])|second_moment|(^|[._/])v$")

_MIXED = re.compile(r"amp|autocast|mixed|fp16\W+true", re.IGNORECASE)
"""Float16 for the computation alone; the weights stay wider."""


def _assess(case: Case) -> Assessment:
    optimizer = case.fact("optimizer")
    if optimizer is not None and not _ADAM.search(str(optimizer.value)):
        return quiet(
            phrase(
                "the optimizer is {optimizer}, which divides by no small number",
                optimizer=optimizer.value,
            )
        )
    epsilon = case.fact("adam_epsilon")
    if epsilon is not None and isinstance(epsilon.value, (int, float)):
        if epsilon.value >= thresholds.ADAM_EPSILON_MIN:
            return quiet(
                phrase("Adam's epsilon is {stated:g}, which float16 holds", stated=epsilon.value)
            )
        if epsilon.value == 0 and optimizer is not None:
            return _assess_zero(case, epsilon)
    moments = [(c, t) for c in case.run.checkpoints for t in _moments(c)]
    wide = [(c, t) for c, t in moments if t.dtype in ("F32", "F64", "BF16")]
    if wide and not any(t.dtype == "F16" for _, t in moments):
        return quiet(
            phrase(
                "the optimizer state is {dtype} ({path})",
                dtype=wide[0][1].dtype,
                path=wide[0][0].path,
            )
        )
    weighing = Weighing()
    _weigh_moments(case, moments, weighing)
    half = half_weights(case)
    scaler = case.fact("loss_scaler")
    if half is not None and scaler is None and not moments:
        weighing.speaks_for(
            thresholds.STRONG,
            phrase(
                "the weights of {path} are float16, and nothing shows a scaler or a master copy",
                path=half.path,
            ),
            Source(half.path),
        )
    stated = case.states("parameter_dtype", "F16")
    if stated is not None and half is None and scaler is None and not moments:
        weighing.speaks_for(
            thresholds.MODERATE if optimizer is None else thresholds.STRONG,
            phrase("the weights are float16, and nothing shows a scaler or a master copy"),
            stated.source,
        )
    if not weighing.evidence and scaler is None:
        _weigh_computed(case, weighing)
    if not weighing.evidence:
        return quiet(phrase("nothing shows weights and optimizer state in float16"))
    _weigh_masters(case, weighing)
    _weigh_epsilon(case, weighing)
    _weigh_time(case, bool(moments) or half is not None, weighing)
    if scaler is not None:
        weighing.speaks_against(
            thresholds.STRONG,
            phrase("a loss scaler is at work, which float16 weights do not go with"),
            scaler.source,
        )
    weigh_untouched(case, weighing)
    for finding in case.found("grad-norm-growth", "loss-growth", "lr-jump"):
        weighing.speaks_against(
            thresholds.STRONG, phrase("{finding}, before it", finding=finding.text), finding.source
        )
    return weighing.fired()


def _weigh_computed(case: Case, weighing: Weighing) -> None:
    """Where no weight is in sight: a run in float16 without autocast, whose weights are too, or
    gradients that have the format; and a first update that nothing but its epsilon explains."""
    onset, computed = case.onset, case.states("compute_dtype", "F16")
    last = None if onset is None else onset.last_finite
    if onset is None or last is None or not gradients_were_finite_at(case.run, last):
        return
    if not at_first_steps(case.run, onset):
        return
    if computed is not None and not _MIXED.search(computed.source.excerpt or ""):
        weighing.speaks_for(
            thresholds.MODERATE,
            phrase("the run computes in float16, and nothing shows autocast or a loss scaler"),
            computed.source,
        )
    for finding in case.found("float16-grid")[:1]:
        if str(finding.data.get("tag")) in {s.tag for s in case.run.by_role("grad_norm")}:
            weighing.speaks_for(thresholds.MODERATE, finding.text, finding.source)


def _assess_zero(case: Case, epsilon: Fact) -> Assessment:
    """Without an epsilon the format does not matter."""
    weighing = Weighing()
    weighing.speaks_for(
        thresholds.STRONG,
        phrase("Adam's epsilon is 0: where a gradient is 0, so is what it is divided by"),
        epsilon.source,
    )
    _weigh_time(case, True, weighing)
    return weighing.fired()


def _moments(checkpoint: Checkpoint) -> list[TensorHealth]:
    return [
        t
        for t in checkpoint.tensors
        if t.part == "moment" and t.format_max is not None and t.shape and t.numel > 1
    ]


def _weigh_masters(case: Case, weighing: Weighing) -> None:
    """A float32 master copy is what the update is computed on."""
    formats = saved(case.run)
    if formats is not None and formats.masters in ("F32", "F64", "BF16"):
        weighing.speaks_against(thresholds.STRONG, formats.text, Source(formats.checkpoint.path))


def _weigh_moments(
    case: Case, moments: list[tuple[Checkpoint, TensorHealth]], weighing: Weighing
) -> None:
    half = [(c, t) for c, t in moments if t.dtype == "F16"]
    if not half:
        return
    checkpoint, tensor = half[0]
    weighing.speaks_for(
        thresholds.STRONG,
        phrase("the optimizer state of {path} is float16", path=checkpoint.path),
        tensor.at(),
    )
    vanished = [t for _, t in half if _SQUARES.search(t.name) and t.all_zero]
    if vanished:
        weighing.speaks_for(
            thresholds.MODERATE,
            phrase(
                "{vanished} is zero throughout: the squares of its gradients are below what "
                "float16 holds",
                vanished=vanished[0].name,
            ),
            vanished[0].at(),
        )


def _weigh_epsilon(case: Case, weighing: Weighing) -> None:
    stated, optimizer = case.fact("adam_epsilon"), case.fact("optimizer")
    if stated is None and optimizer is not None and _ADAM.search(str(optimizer.value)):
        weighing.speaks_for(
            thresholds.WEAK,
            phrase(
                "no epsilon is stated for {optimizer}, and its default of {default:g} is 0 in "
                "float16",
                optimizer=optimizer.value,
                default=thresholds.ADAM_EPSILON_DEFAULT,
            ),
            optimizer.source,
        )
    if stated is not None and isinstance(stated.value, (int, float)):
        weighing.speaks_for(
            thresholds.MODERATE,
            phrase("Adam's epsilon is {stated:g}, which is 0 in float16", stated=stated.value),
            stated.source,
        )


def _weigh_time(case: Case, state: bool, weighing: Weighing) -> None:
    """The first updates do it, from a loss and a gradient that are finite."""
    onset = case.onset
    if onset is None or onset.step is None:
        return
    trained = onset.last_finite is not None and onset.last_finite > thresholds.FIRST_STEPS
    if trained and not at_first_steps(case.run, onset):
        weighing.speaks_against(
            thresholds.STRONG,
            phrase("training was finite until step {last_finite}", last_finite=onset.last_finite),
            onset.source,
        )
    elif onset.last_finite is not None:
        # Where neither gradients nor state are in sight, the former may have been Inf before.
        seen = state or gradients_were_finite_at(case.run, onset.last_finite)
        weighing.speaks_for(
            thresholds.MODERATE if seen else thresholds.WEAK,
            phrase(
                "all was finite at step {last_finite}, and not at {step}: the first updates did it",
                last_finite=onset.last_finite,
                step=onset.step,
            ),
            onset.source,
        )
    if onset.last_finite is None:
        first = onset.step <= 1 and onset.axis == "step"
        first = first or died_in_the_first_step(case.run, onset)
        gradients = onset.quantity in ("grad_norm", "gradient", "gradients")
        if gradients or (first and onset.quantity in ("loss", "activations")):
            weighing.speaks_against(
                thresholds.DECISIVE if first else thresholds.MODERATE,
                phrase(
                    "{quantity} was non-finite before any update",
                    quantity=quantity_words(onset.quantity),
                )
                if first
                else phrase("the gradients were non-finite first"),
                onset.source,
            )


CAUSE = Cause(
    id="optimizer-epsilon",
    title=phrase("Adam's epsilon vanishes in float16"),
    assess=_assess,
    remedies=(
        phrase(
            "Keep weights in float32 and compute under autocast (`precision='16-mixed'`, not "
            "`'16-true'`), or keep a float32 master copy."
        ),
        phrase("If weights must be float16: `eps=1e-4`, or bfloat16, which holds 1e-8."),
    ),
    references=(
        "https://github.com/NVIDIA/apex/issues/240",
        "https://github.com/keras-team/keras/issues/11860",
        "https://github.com/google-deepmind/optax/issues/1754",
    ),
)
