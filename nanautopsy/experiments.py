"""Experiments that tell causes apart, in the words of each framework.

``{step}`` stands for the step of the onset.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Experiment:
    """Something to run or to record."""

    outcome: str
    """How its result decides."""
    how: Mapping[str, str]
    """By framework (:data:`nanautopsy.frameworks.FRAMEWORKS`); ``any`` is the fallback."""


EXPERIMENTS: Mapping[str, Experiment] = {
    "same-batch": Experiment(
        "the same batch fails again on its own when the data are at fault, and passes otherwise",
        {
            "trainer": "in a subclass of Trainer: def training_step(self, model, inputs, *rest): "
            "torch.save(inputs, f'batch-{self.state.global_step}.pt'); return "
            "super().training_step(model, inputs, *rest), and keep the file of step {step}",
            "lightning": "def on_train_batch_start(self, batch, batch_idx): "
            "torch.save(batch, f'batch-{self.global_step}.pt'), and keep the file of step {step}",
            "jax": "np.savez('batch-{step}.npz', **batch) before the update of step {step}",
            "keras": "resume before step {step} with the same order of data and np.savez the batch",
            "megatron": "torch.save what get_batch returns at iteration {step}, on every rank",
            "any": "torch.save(batch, 'batch-{step}.pt') before the forward pass of step {step}; "
            "load it, run it alone, and ask torch.isfinite(x).all() of each input",
        },
    ),
    "first-module": Experiment(
        "it names the first module that is not finite, and how large its inputs were",
        {
            "trainer": "resume before step {step} with --debug underflow_overflow",
            "lightning": "Trainer(detect_anomaly=True), resumed before step {step}",
            "jax": "JAX_DEBUG_NANS=1, resumed before step {step}",
            "keras": "tf.debugging.enable_check_numerics() before the model is built",
            "megatron": "--check-for-nan-in-loss-and-grad, and forward hooks on every layer",
            "any": "from transformers.debug_utils import DebugUnderflowOverflow; "
            "DebugUnderflowOverflow(model), resumed before step {step}; or a forward hook a module",
        },
    ),
    "backward-function": Experiment(
        "it names the operation whose derivative is not finite while the loss still is",
        {
            "lightning": "Trainer(detect_anomaly=True), resumed before step {step}",
            "jax": "JAX_DEBUG_NANS=1 and jax.disable_jit() around step {step}",
            "keras": "tf.debugging.enable_check_numerics() before the model is built",
            "any": "torch.autograd.set_detect_anomaly(True), resumed before step {step}",
        },
    ),
    "wider-format": Experiment(
        "bfloat16 ends at 3.4e38: an overflow of float16 is gone there, anything else is not",
        {
            "trainer": "resume before step {step} with --bf16 in place of --fp16",
            "lightning": "Trainer(precision='bf16-mixed'), resumed before step {step}",
            "deepspeed": "ds_config: bf16: {enabled: true}, fp16: {enabled: false}, for the steps "
            "to {step}",
            "megatron": "--bf16 in place of --fp16, from the checkpoint before iteration {step}",
            "jax": "compute in jnp.bfloat16 (dtype=) from the checkpoint before step {step}",
            "keras": "keras.mixed_precision.set_global_policy('mixed_bfloat16')",
            "any": "torch.autocast('cuda', dtype=torch.bfloat16) without a GradScaler, resumed "
            "before step {step}; float32 where the GPU has no bfloat16",
        },
    ),
    "no-overlap": Experiment(
        "a race is gone without overlap, and comes at another step in every run",
        {
            "trainer": "zero_optimization: overlap_comm: false in the DeepSpeed config (without "
            "DeepSpeed: CUDA_LAUNCH_BLOCKING=1), for 100 steps past {step}",
            "deepspeed": "zero_optimization: overlap_comm: false, for 100 steps past {step}",
            "megatron": "leave out --overlap-grad-reduce and --overlap-param-gather for 100 "
            "iterations past {step}",
            "any": "CUDA_LAUNCH_BLOCKING=1 for 100 steps past {step}",
        },
    ),
    "nan-check": Experiment(
        "it stops at the first rank that sends a NaN: one rank or host alone is no matter of data",
        {
            "jax": "log jnp.isfinite of the gradients of each device before they are averaged",
            "any": "TORCH_NCCL_NAN_CHECK=1 in the environment of every rank, twice over {step}",
        },
    ),
    "other-device": Experiment(
        "a broken device fails the batch that another device passes",
        {
            "any": "run the batch of step {step} on another GPU, and on this one: nvidia-smi -q -d "
            "ECC,ROW_REMAPPER and dmesg | grep -i xid",
        },
    ),
    "lower-rate": Experiment(
        "a divergence comes later or not at all; NaN at the same step has another cause",
        {
            "trainer": "resume before step {step} with a tenth of --learning_rate",
            "jax": "resume before step {step} with optax.scale(0.1) at the end of the chain",
            "any": "resume before step {step} with a tenth of the learning rate",
        },
    ),
    "every-step": Experiment(
        "growth over many steps is a divergence; from one step to the next it is a batch, a kernel "
        "or a race",
        {
            "trainer": "resume before step {step} with --logging_steps 1",
            "lightning": "Trainer(log_every_n_steps=1), LearningRateMonitor, and log grad_norm",
            "deepspeed": "steps_per_print: 1 and engine.get_global_grad_norm(), before step {step}",
            "megatron": "--log-interval 1 before iteration {step}",
            "jax": "log optax.global_norm(grads) and the rate for every step before {step}",
            "any": "log loss, gradient norm and learning rate of every step before {step}",
        },
    ),
    "layer-norms": Experiment(
        "the layer whose gradient grows first is the one that explodes",
        {
            "jax": "log jax.tree.map(jnp.linalg.norm, grads) for the steps before {step}",
            "any": "log p.grad.norm() of every named parameter for the steps before {step}",
        },
    ),
    "weights-at-start": Experiment(
        "weights that are bad before the first step were loaded or initialized so",
        {
            "trainer": "trainer.save_model('step-0') before trainer.train(), then `nanautopsy "
            "inspect step-0`; keep the console output of from_pretrained",
            "jax": "save the parameters before the first update, then `nanautopsy inspect` them",
            "keras": "model.save_weights('0.weights.h5') before fit, `nanautopsy inspect` it",
            "any": "save the weights before the first step, then `nanautopsy inspect` them",
        },
    ),
    "count-targets": Experiment(
        "a batch whose count is 0 has a NaN mean and zero gradients",
        {
            "keras": "log tf.reduce_sum(sample_weight) of every batch",
            "jax": "log the sum of the loss mask of every batch",
            "any": "log (labels != -100).sum() of every batch, and of the one at step {step}",
        },
    ),
    "mask-rows": Experiment(
        "a row without any key is 0/0; where every row has one, the mask is not it",
        {
            "jax": "assert mask.any(-1).all() on the combined mask of the batch of step {step}",
            "any": "assert mask.any(-1).all() on the combined mask of the batch of step {step}; "
            "run it with a batch of one, and with attn_implementation='eager'",
        },
    ),
    "attention-logits": Experiment(
        "logits that grow to the end of the format, or above some hundreds, are attention's own",
        {
            "any": "log the largest |q @ k.T| / sqrt(d) of every layer for the steps before {step}",
        },
    ),
    "loss-terms": Experiment(
        "the term that is not finite first names the expression",
        {"any": "log every term of the loss, and the extremes of what it is computed from"},
    ),
    "fresh-state": Experiment(
        "what breaks only with the resumed state was lost or changed in it",
        {
            "trainer": "resume once from the checkpoint, once from its weights alone with warmup, "
            "both with --logging_steps 1",
            "any": "load the weights alone, without optimizer, scaler and scheduler, with warmup; "
            "compare learning rate, loss scale and loss over the first steps",
        },
    ),
    "optimizer-state": Experiment(
        "an epsilon that its format rounds to 0, or second moments that are all 0, divide by 0",
        {
            "jax": "print the dtypes of the optimizer state and optax.adam's eps; repeat with 1e-4",
            "any": "print the dtype of exp_avg_sq, its share of zeros, and eps; repeat with "
            "eps=1e-4 or states in float32",
        },
    ),
    "router": Experiment(
        "router logits grow, or one expert takes all, before the loss turns",
        {"any": "log the largest router logit, the auxiliary loss and the load of every expert"},
    ),
    "policy": Experiment(
        "a policy that ran away shows it in KL and ratio before the loss",
        {"any": "log KL, ratio, entropy and clip fraction of every update before {step}"},
    ),
    "other-version": Experiment(
        "a defect of a release is gone in one outside its range",
        {"any": "pip freeze > requirements.txt, and the steps to {step} with the release before"},
    ),
}
