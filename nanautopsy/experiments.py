"""Experiments that tell causes apart, in the words of each framework.

In a ``how``, ``{step}`` and ``{iteration}`` stand for the one that failed with its number,
``{onset}`` for the number alone, and ``{batch}`` for the name of a file; braces that are meant are
doubled.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nanautopsy.wording import Phrase, phrase


@dataclass(frozen=True, slots=True)
class Experiment:
    """Something to run or to record."""

    outcome: str
    """How its result decides."""
    how: Mapping[str, str]
    """By framework (:data:`nanautopsy.frameworks.FRAMEWORKS`); ``any`` is the fallback."""


EXPERIMENTS: Mapping[str, Experiment] = {
    "same-batch": Experiment(
        phrase(
            "the same batch fails again on its own when the data are at fault, and passes otherwise"
        ),
        {
            "trainer": phrase(
                "in a subclass of Trainer: def training_step(self, model, inputs, *rest): "
                "torch.save(inputs, f'batch-{{self.state.global_step}}.pt'); return "
                "super().training_step(model, inputs, *rest), and keep the file of {step}"
            ),
            "lightning": phrase(
                "def on_train_batch_start(self, batch, batch_idx): "
                "torch.save(batch, f'batch-{{self.global_step}}.pt'), and keep the file of {step}"
            ),
            "jax": phrase("np.savez('{batch}.npz', **batch) before the update of {step}"),
            "keras": phrase(
                "resume before {step} with the same order of data and np.savez the batch"
            ),
            "megatron": phrase("torch.save what get_batch returns at {iteration}, on every rank"),
            "any": phrase(
                "torch.save(batch, '{batch}.pt') before the forward pass of {step}; "
                "load it, run it alone, and ask torch.isfinite(x).all() of each input"
            ),
        },
    ),
    "first-module": Experiment(
        phrase("it names the first module that is not finite, and how large its inputs were"),
        {
            "trainer": phrase("resume before {step} with --debug underflow_overflow"),
            "lightning": phrase("Trainer(detect_anomaly=True), resumed before {step}"),
            "jax": phrase("JAX_DEBUG_NANS=1, resumed before {step}"),
            "keras": phrase("tf.debugging.enable_check_numerics() before the model is built"),
            "megatron": phrase(
                "--check-for-nan-in-loss-and-grad, and forward hooks on every layer"
            ),
            "any": phrase(
                "from transformers.debug_utils import DebugUnderflowOverflow; "
                "DebugUnderflowOverflow(model), resumed before {step}; or a forward hook a module"
            ),
        },
    ),
    "backward-function": Experiment(
        phrase("it names the operation whose derivative is not finite while the loss still is"),
        {
            "lightning": phrase("Trainer(detect_anomaly=True), resumed before {step}"),
            "jax": phrase("JAX_DEBUG_NANS=1 and jax.disable_jit() around {step}"),
            "keras": phrase("tf.debugging.enable_check_numerics() before the model is built"),
            "any": phrase("torch.autograd.set_detect_anomaly(True), resumed before {step}"),
        },
    ),
    "forward-call": Experiment(
        phrase("it names the line of the forward pass whose derivative was NaN"),
        {
            "any": phrase(
                "keep what anomaly mode prints to stderr (python train.py 2> stderr.log): a "
                "warning with the traceback of the forward call stands there"
            ),
        },
    ),
    "wider-format": Experiment(
        phrase(
            "bfloat16 ends at 3.4e38: an overflow of float16 is gone there, anything else is not"
        ),
        {
            "trainer": phrase("resume before {step} with --bf16 in place of --fp16"),
            "lightning": phrase("Trainer(precision='bf16-mixed'), resumed before {step}"),
            "deepspeed": phrase(
                "ds_config: bf16: {{enabled: true}}, fp16: {{enabled: false}}, for the steps "
                "to {onset}"
            ),
            "megatron": phrase("--bf16 in place of --fp16, from the checkpoint before {iteration}"),
            "jax": phrase("compute in jnp.bfloat16 (dtype=) from the checkpoint before {step}"),
            "keras": phrase("keras.mixed_precision.set_global_policy('mixed_bfloat16')"),
            "any": phrase(
                "torch.autocast('cuda', dtype=torch.bfloat16) without a GradScaler, resumed "
                "before {step}; float32 where the GPU has no bfloat16"
            ),
        },
    ),
    "no-overlap": Experiment(
        phrase("a race is gone without overlap, and comes at another step in every run"),
        {
            "trainer": phrase(
                "zero_optimization: overlap_comm: false in the DeepSpeed config (without "
                "DeepSpeed: CUDA_LAUNCH_BLOCKING=1), for 100 steps past {onset}"
            ),
            "deepspeed": phrase(
                "zero_optimization: overlap_comm: false, for 100 steps past {onset}"
            ),
            "megatron": phrase(
                "leave out --overlap-grad-reduce and --overlap-param-gather for 100 "
                "iterations past {onset}"
            ),
            "any": phrase("CUDA_LAUNCH_BLOCKING=1 for 100 steps past {onset}"),
        },
    ),
    "nan-check": Experiment(
        phrase(
            "it stops at the first rank that sends a NaN: one rank or host alone is no matter of "
            "data"
        ),
        {
            "jax": phrase(
                "log jnp.isfinite of the gradients of each device before they are averaged"
            ),
            "any": phrase(
                "TORCH_NCCL_NAN_CHECK=1 in the environment of every rank, twice over {onset}"
            ),
        },
    ),
    "other-device": Experiment(
        phrase("a broken device fails the batch that another device passes"),
        {
            "any": phrase(
                "run the batch of {step} on another GPU, and on this one: nvidia-smi -q -d "
                "ECC,ROW_REMAPPER and dmesg | grep -i xid"
            ),
        },
    ),
    "lower-rate": Experiment(
        phrase("a divergence comes later or not at all; NaN at the same step has another cause"),
        {
            "trainer": phrase("resume before {step} with a tenth of --learning_rate"),
            "jax": phrase("resume before {step} with optax.scale(0.1) at the end of the chain"),
            "any": phrase("resume before {step} with a tenth of the learning rate"),
        },
    ),
    "every-step": Experiment(
        phrase(
            "growth over many steps is a divergence; from one step to the next it is a batch, a "
            "kernel or a race"
        ),
        {
            "trainer": phrase("resume before {step} with --logging_steps 1"),
            "lightning": phrase(
                "Trainer(log_every_n_steps=1), LearningRateMonitor, and log grad_norm"
            ),
            "deepspeed": phrase(
                "steps_per_print: 1 and engine.get_global_grad_norm(), before {step}"
            ),
            "megatron": phrase("--log-interval 1 before {iteration}"),
            "jax": phrase(
                "log optax.global_norm(grads) and the rate for every step before {onset}"
            ),
            "any": phrase("log loss, gradient norm and learning rate of every step before {onset}"),
        },
    ),
    "layer-norms": Experiment(
        phrase("the layer whose gradient grows first is the one that explodes"),
        {
            "jax": phrase("log jax.tree.map(jnp.linalg.norm, grads) for the steps before {onset}"),
            "any": phrase(
                "log p.grad.norm() of every named parameter for the steps before {onset}"
            ),
        },
    ),
    "weights-at-start": Experiment(
        phrase("weights that are bad before the first step were loaded or initialized so"),
        {
            "trainer": phrase(
                "trainer.save_model('step-0') before trainer.train(), then `nanautopsy "
                "inspect step-0`; keep the console output of from_pretrained"
            ),
            "jax": phrase(
                "save the parameters before the first update, then `nanautopsy inspect` them"
            ),
            "keras": phrase(
                "model.save_weights('0.weights.h5') before fit, `nanautopsy inspect` it"
            ),
            "any": phrase("save the weights before the first step, then `nanautopsy inspect` them"),
        },
    ),
    "count-targets": Experiment(
        phrase("a batch whose count is 0 has a NaN mean and zero gradients"),
        {
            "keras": phrase("log tf.reduce_sum(sample_weight) of every batch"),
            "jax": phrase("log the sum of the loss mask of every batch"),
            "any": phrase("log (labels != -100).sum() of every batch, and of the one at {step}"),
        },
    ),
    "mask-rows": Experiment(
        phrase("a row without any key is 0/0; where every row has one, the mask is not it"),
        {
            "jax": phrase("assert mask.any(-1).all() on the combined mask of the batch of {step}"),
            "any": phrase(
                "assert mask.any(-1).all() on the combined mask of the batch of {step}; "
                "run it with a batch of one, and with attn_implementation='eager'"
            ),
        },
    ),
    "attention-logits": Experiment(
        phrase(
            "logits that grow to the end of the format, or above some hundreds, are attention's own"
        ),
        {
            "any": phrase(
                "log the largest |q @ k.T| / sqrt(d) of every layer for the steps before {onset}"
            ),
        },
    ),
    "loss-terms": Experiment(
        phrase("the term that is not finite first names the expression"),
        {"any": phrase("log every term of the loss, and the extremes of what it is computed from")},
    ),
    "fresh-state": Experiment(
        phrase("what breaks only with the resumed state was lost or changed in it"),
        {
            "trainer": phrase(
                "resume once from the checkpoint, once from its weights alone with warmup, "
                "both with --logging_steps 1"
            ),
            "any": phrase(
                "load the weights alone, without optimizer, scaler and scheduler, with warmup; "
                "compare learning rate, loss scale and loss over the first steps"
            ),
        },
    ),
    "optimizer-state": Experiment(
        phrase(
            "an epsilon that its format rounds to 0, or second moments that are all 0, divide by 0"
        ),
        {
            "jax": phrase(
                "print the dtypes of the optimizer state and optax.adam's eps; repeat with 1e-4"
            ),
            "any": phrase(
                "print the dtype of exp_avg_sq, its share of zeros, and eps; repeat with "
                "eps=1e-4 or states in float32"
            ),
        },
    ),
    "router": Experiment(
        phrase("router logits grow, or one expert takes all, before the loss turns"),
        {
            "any": phrase(
                "log the largest router logit, the auxiliary loss and the load of every expert"
            )
        },
    ),
    "policy": Experiment(
        phrase("a policy that ran away shows it in KL and ratio before the loss"),
        {"any": phrase("log KL, ratio, entropy and clip fraction of every update before {onset}")},
    ),
    "other-version": Experiment(
        phrase("a defect of a release is gone in one outside its range"),
        {
            "any": phrase(
                "pip freeze > requirements.txt, then train to {step} again with the release before"
            )
        },
    ),
}


def advice_at(how: str, step: int | None) -> Phrase:
    """The advice for this step; in words where it is not known."""
    if step is None:
        return phrase(
            how,
            step=phrase("the failing step"),
            iteration=phrase("the failing iteration"),
            batch="batch",
            onset=phrase("the onset"),
        )
    return phrase(
        how,
        step=phrase("step {step}", step=step),
        iteration=phrase("iteration {step}", step=step),
        batch=f"batch-{step}",
        onset=step,
    )
