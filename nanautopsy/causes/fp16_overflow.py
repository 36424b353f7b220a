"""Activations, gradients or weights grow past 65504, where float16 ends.

What happens: float16 has five exponent bits; its largest finite value is 65504. A sum or product
beyond it is Inf, and Inf - Inf or 0 * Inf in the next operation is NaN. Models that were trained
in bfloat16 (float32's range, fewer digits) hold activations that float16 cannot: T5, Gemma,
Qwen2, SDXL's VAE. A dynamic loss scaler protects gradients only: it skips the step and halves
the scale, and where the forward pass itself overflows it halves at every step to its minimum.
Without a scaler the first Inf gradient goes straight into the weights.

Evidence for: float16 in the configuration; Inf before NaN; magnitudes near 65504, or some ten
thousands in one layer and Inf in another at the same step; a loss scale that only falls; a model
published in bfloat16; no trace of a scaler.

Evidence against: compute in bfloat16 or float32; gradients at their usual level until a sudden NaN,
as a bad batch gives; a learning-rate jump, newly initialized blocks or growing attention logits
right before, which explain the magnitude; weights that were bad before any update.

Confirm: run a few steps in bfloat16 or float32 with all else equal; `--debug underflow_overflow`
in the transformers Trainer names the first module.

Fix: bfloat16 where the hardware has it (compute capability 8.0 and above; a T4 or V100 only
emulates it), float32 for the module that overflows, or fp16 autocast with a GradScaler and
float32 weights.
"""

from __future__ import annotations

from nanautopsy import thresholds
from nanautopsy.causes._half import (
    half_weights,
    kept_by_scaler,
    skipped_before,
    survivor,
    updated_soundly,
)
from nanautopsy.causes._half_evaluation import half_evaluation, weigh_evaluation
from nanautopsy.causes._half_magnitudes import overflowed, weigh_magnitudes
from nanautopsy.causes._start import weigh_untouched
from nanautopsy.causes.interface import Case, Cause, Weighing, quiet
from nanautopsy.circumstances import at_first_steps, calm_before, gradients_were_finite_at
from nanautopsy.model import Assessment, Checkpoint, Finding, Source
from nanautopsy.signal import shown
from nanautopsy.wording import phrase


def _assess(case: Case) -> Assessment:
    if half_evaluation(case) is not None:
        weighing = Weighing()
        weigh_evaluation(case, weighing)
        return weighing.fired()
    dtype = case.fact("compute_dtype")
    half = half_weights(case)
    collapse = case.found("loss-scale-collapse")
    skips = case.found("overflow-skips")
    if dtype is not None and dtype.value in ("BF16", "F32") and not (collapse or skips):
        name = "float32"
        if dtype.value == "BF16":
            name = phrase("bfloat16, which has float32's range")
        return quiet(
            phrase("the run computes in {name} ({source})", name=name, source=dtype.source)
        )
    cast = case.states("parameter_dtype", "F16")
    marks = (
        case.found("float16-grid", "ends-at-float16-max", "steps-skipped")
        or case.run.events_of("magnitude-near-limit")
        or overflowed(case)
    )
    if dtype is None and not (collapse or skips or half or cast or marks):
        return Assessment(
            "not-applicable",
            reason=phrase(
                "nothing says that the run computes in float16: no precision in the "
                "configuration, no loss scaler in the log, no float16 weights saved"
            ),
        )
    weighing = Weighing()
    if dtype is not None and dtype.value == "F16":
        weighing.speaks_for(
            thresholds.MODERATE, phrase("the run computes in float16"), dtype.source
        )
        if cast is None and half is None:
            _weigh_model(case, weighing)
        sound = survivor(case)
        if sound is not None:
            weighing.speaks_for(
                thresholds.MODERATE,
                phrase(
                    "the weights of {path} are finite and the loss is not: the forward pass "
                    "itself overflows, and every step is skipped",
                    path=sound.path,
                ),
                Source(sound.path),
            )
    elif half is not None and dtype is None:
        weighing.speaks_for(
            thresholds.MODERATE,
            phrase("the weights of {path} are float16", path=half.path),
            Source(half.path),
        )
    elif dtype is None and cast is not None:
        weighing.speaks_for(thresholds.MODERATE, phrase("the weights are float16"), cast.source)
    if dtype is None and half is None:
        _weigh_grid(case, weighing)
    if cast is not None or half is not None:
        _weigh_model(case, weighing)
    _weigh_scaler(case, half, weighing)
    weigh_magnitudes(case, weighing)
    _weigh_onset(case, weighing)
    _weigh_history(case, weighing)
    _weigh_rivals(case, weighing)
    return weighing.fired(remedies=_remedies(case))


def _remedies(case: Case) -> tuple[str, ...]:
    """Where the GPU has no bfloat16, what to do instead of using it."""
    capability = case.fact("compute_capability")
    if capability is None or int(str(capability.value).partition(".")[0]) >= 8:
        return ()
    return (
        phrase(
            "This GPU (compute capability {capability}) only emulates bfloat16: train in float32, "
            "or keep the module that overflows in float32 under autocast with a GradScaler.",
            capability=capability.value,
        ),
    )


def _weigh_grid(case: Case, weighing: Weighing) -> None:
    """Nothing states the format, but the numbers have it."""
    for finding in case.found("float16-grid")[:1]:
        weighing.speaks_for(thresholds.MODERATE, finding.text, finding.source)


def _weigh_model(case: Case, weighing: Weighing) -> None:
    published = case.fact("published_dtype")
    if published is not None and published.value == "BF16":
        weighing.speaks_for(
            thresholds.STRONG,
            phrase("the model was published in bfloat16, whose range float16 does not have"),
            published.source,
        )


def _weigh_scaler(case: Case, half: Checkpoint | None, weighing: Weighing) -> None:
    """A scaler that only falls; or float16 with no scaler at all."""
    collapse = case.found("loss-scale-collapse")
    if collapse:
        strength = thresholds.DECISIVE if collapse[0].data.get("from_start") else thresholds.STRONG
        weighing.speaks_for(strength, collapse[0].text, collapse[0].source)
        return
    scaled = [s for s in case.run.by_role("loss_scale") if (s.values > 1).any()]
    for finding in case.found("steps-skipped")[:1] if scaled else ():
        weighing.speaks_for(
            thresholds.STRONG,
            phrase(
                "{finding}, with {tag} at {value}",
                finding=finding.text,
                tag=scaled[0].tag,
                value=shown(float(scaled[0].values[-1])),
            ),
            finding.source,
        )
    kept = kept_by_scaler(case)
    if kept is not None:
        weighing.speaks_for(
            thresholds.MODERATE,
            phrase(
                "{tag} stays non-finite though a loss scaler keeps every such gradient out of the "
                "weights: the forward pass itself overflows",
                tag=kept.tag,
            ),
            kept.source,
        )
    if "loss_scaler" in case.run.facts or case.found("overflow-skips"):
        return
    dtype = case.fact("compute_dtype")
    # A run that went on after its loss was non-finite has something that skips such steps.
    if case.onset is not None and not case.onset.persistent:
        return
    if skipped_before(case) or updated_soundly(case):
        return
    # DeepSpeed brings a scaler of its own for float16 weights; the Trainer brings torch's, which
    # refuses them.
    deepspeed = any(key.startswith("deepspeed.") for key in case.run.config)
    if half is not None and not deepspeed and (dtype is None or dtype.value == "F16"):
        weighing.speaks_for(
            thresholds.MODERATE,
            phrase(
                "torch's GradScaler does not take the gradients of float16 weights, so none was "
                "used"
            ),
            Source(half.path),
        )
    elif (
        dtype is not None
        and dtype.value == "F16"
        and not (deepspeed or "trainer" in case.run.facts)
    ):
        weighing.speaks_for(
            thresholds.MODERATE,
            phrase(
                "no trace of a loss scaler: the first gradient that overflows goes into the weights"
            ),
            dtype.source,
        )


def _weigh_onset(case: Case, weighing: Weighing) -> None:
    onset = case.onset
    if onset is None or onset.step is None:
        return
    if onset.value in ("inf", "-inf"):
        weighing.speaks_for(
            thresholds.MODERATE,
            phrase("Inf came before NaN, as past a format's maximum"),
            onset.source,
        )
    forward = onset.quantity not in ("grad_norm", "gradient", "gradients", "parameters")
    # After a sound step, gradients and all, it was an update that made the difference.
    last = onset.last_finite
    updated = last is not None and gradients_were_finite_at(case.run, last)
    if forward and onset.persistent and at_first_steps(case.run, onset) and not updated:
        weighing.speaks_for(
            thresholds.MODERATE,
            phrase(
                "the forward pass is non-finite from step {step} on, before training could "
                "have changed the weights",
                step=onset.step,
            ),
            onset.source,
        )


def _weigh_history(case: Case, weighing: Weighing) -> None:
    """Magnitudes that grew up to the end; or gradients at their usual level until a sudden NaN,
    which a bad batch gives and an overflow seldom does."""
    onset = case.onset
    if onset is None or onset.step is None or case.found("loss-scale-collapse"):
        return
    grown = [f for f in case.found("loss-growth", "grad-norm-growth") if _below_float32(f)]
    if grown:
        weighing.speaks_for(
            thresholds.WEAK,
            phrase(
                "{grown}: magnitudes grew, and ended far below float32's maximum",
                grown=grown[0].text,
            ),
            grown[0].source,
        )
    if grown or survivor(case) is not None:
        return
    norm = calm_before(case.run, onset)
    if norm is not None and norm.role == "grad_norm" and onset.value == "nan":
        weighing.speaks_against(
            thresholds.WEAK,
            phrase("{tag} was at its usual level right before, and no Inf was seen", tag=norm.tag),
            norm.source,
        )


def _below_float32(growth: Finding) -> bool:
    """Whether the last finite value is far below float32's maximum, even squared."""
    last = growth.data.get("to")
    return isinstance(last, float) and last < thresholds.FLOAT32_SQUARE_MAX


def _weigh_rivals(case: Case, weighing: Weighing) -> None:
    """Facts that explain the magnitude without float16 being at fault first."""
    weigh_untouched(case, weighing)
    for finding in case.found("lr-jump", "projection-growth"):
        weighing.speaks_against(
            thresholds.MODERATE,
            phrase("{finding}, which explains the magnitudes", finding=finding.text),
            finding.source,
        )
    for finding in case.found("weights-not-used"):
        if finding.data.get("quantized"):
            weighing.speaks_against(thresholds.STRONG, finding.text, finding.source)
    for finding in case.found("integer-weights"):
        weighing.speaks_against(thresholds.STRONG, finding.text, finding.source)
    for finding in case.found("newly-initialized"):
        if finding.data.get("blocks"):
            weighing.speaks_against(thresholds.MODERATE, finding.text, finding.source)


CAUSE = Cause(
    id="fp16-overflow",
    title=phrase("float16 overflow: values past 65504"),
    assess=_assess,
    remedies=(
        phrase(
            "Train in bfloat16 (`bf16=True`, `torch.autocast(dtype=torch.bfloat16)`) on hardware "
            "with compute capability 8.0 or above; elsewhere in float32."
        ),
        phrase(
            "If it must be float16: float32 weights, autocast, and a GradScaler around the step."
        ),
        phrase(
            "Find the module: `--debug underflow_overflow`, or forward hooks that print the "
            "largest magnitude."
        ),
    ),
    references=(
        "https://github.com/huggingface/nanoVLM/issues/50",
        "https://github.com/huggingface/transformers/issues/14189",
        "https://github.com/pytorch/pytorch/issues/40497",
    ),
)
