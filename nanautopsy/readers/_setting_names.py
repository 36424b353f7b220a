"""Names of settings that only a training has, as the common programs spell them."""

from __future__ import annotations

TRAINING_KEYS = frozenset(
    """
    learning_rate lr base_lr max_lr min_lr peak_lr batch_size train_batch_size micro_batch_size
    global_batch_size per_device_train_batch_size num_train_epochs num_epochs max_epochs epochs
    n_epochs max_steps total_steps train_steps num_steps training_steps max_iters train_iters
    warmup warmup_steps warmup_ratio warmup_iters lr_warmup_steps lr_scheduler lr_scheduler_type
    lr_decay_iters optimizer optim weight_decay wd momentum gradient_accumulation_steps
    accumulate_grad_batches max_grad_norm grad_clip grad_clip_norm gradient_clip_val clip_grad
    gradient_clipping fp16 bf16 precision mixed_precision amp adam_beta1 adam_beta2 adam_epsilon
    beta1 beta2 betas deepspeed distributed_type gradient_checkpointing finetuning_type
    num_experts num_local_experts n_routed_experts num_experts_per_tok experts_per_token moe_top_k
    lr0 lrf opt bs init_lr initial_lr
    warmup_epochs clip_norm update_freq adam_eps micro_batch zero_stage opt_level
    param_dtype compute_dtype weights_dtype
    """.split()
)
"""In lower case with ``_``."""
