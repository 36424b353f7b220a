"""Which setting states which fact: the names that programs give to their settings."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from nanautopsy.model import Scalar
from nanautopsy.spellings import (
    apex_level,
    bits,
    device_for,
    device_kind,
    dtype_name,
    element,
    flag_for,
    flag_unless_no,
    flash_attention,
    is_asked,
    number,
    policy_dtype,
    power_of_two,
    pure_precision,
    text,
    truth,
)


@dataclass(frozen=True, slots=True)
class Rule:
    """A setting whose dotted key, in full or from any dot on, matches becomes the fact."""

    fact: str
    key: re.Pattern[str]
    convert: Callable[[Scalar], Scalar]
    of_model: bool | None
    """True: asked only of a model's own settings; False: only of others; None: of all."""


def _rule(
    fact: str, keys: str, convert: Callable[[Scalar], Scalar], of_model: bool | None = None
) -> Rule:
    """``keys``: regular expression for the tail of the key, in lower case with ``_``."""
    return Rule(fact, re.compile(rf"(?:^|\.)(?:{keys})$"), convert, of_model)


RULES = (
    _rule("evaluation_dtype", r"fp16_full_eval", flag_for("F16")),
    _rule("evaluation_dtype", r"bf16_full_eval", flag_for("BF16")),
    _rule("published_dtype", r"torch_dtype|published_dtype", dtype_name),
    _rule("published_dtype", r"dtype", dtype_name, True),
    _rule("compute_dtype", r"mixed_precision(_type)?|precision", dtype_name, False),
    _rule(
        "compute_dtype", r"((jmp|mp|dtype|precision|mixed_precision)_)?policy", policy_dtype, False
    ),
    _rule(
        "compute_dtype",
        r"(amp|autocast|compute|train\w*|activation)_?dtype|mixed_precision\.param_dtype"
        r"|mixed_precision_param|bnb_4bit_compute_dtype|params_dtype|dtype_mm",
        dtype_name,
        False,
    ),
    _rule("compute_dtype", r"(use_)?amp|amp_(precision|type)|autocast", dtype_name, False),
    _rule("compute_dtype", r"dtype", dtype_name, False),
    _rule("compute_dtype", r"param_dtype", dtype_name, False),
    _rule("compute_dtype", r"(amp_?)?opt_level", apex_level, False),
    _rule("parameter_dtype", r"params_dtype|parameter_dtype|weights?_dtype", dtype_name, False),
    _rule("parameter_dtype", r"(?<!mixed_precision\.)param_dtype", dtype_name, False),
    _rule("parameter_dtype", r"precision", pure_precision, False),
    _rule("parameter_dtype", r"pure_bf16|full_bf16|bf16_full", flag_for("BF16"), False),
    _rule("parameter_dtype", r"pure_fp16|full_fp16|fp16_full", flag_for("F16"), False),
    _rule(
        "optimizer_state_dtype",
        r"optim(izer)?_(states?_)?dtype|states?_dtype|exp_avg_dtype|mu_dtype|momentum_dtype",
        dtype_name,
        False,
    ),
    _rule(
        "optimizer",
        r"optim|optimizer|optim(izer)?\.(type|name|_target_)|optimizer_(name|type)|opt",
        text,
        False,
    ),
    _rule(
        "learning_rate",
        r"learning_rate|lr|(base|init|initial|peak|max)_lr|lr_(max|peak|base)|lr0|optimizer\.params\.lr",
        number,
        False,
    ),
    _rule(
        "adam_epsilon",
        r"adam_?w?_?eps(ilon)?|optim\w*\.(\w+\.)?(adam_)?eps(ilon)?|opt_eps|(?<!\.)eps",
        number,
        False,
    ),
    _rule("adam_beta1", r"adam_?w?_?beta_?1|beta_?1|b1|(adam_)?betas\.0", number, False),
    _rule("adam_beta2", r"adam_?w?_?beta_?2|beta_?2|b2|(adam_)?betas\.1", number, False),
    _rule("adam_beta1", r"(adam_)?betas", element(0), False),
    _rule("adam_beta2", r"(adam_)?betas", element(1), False),
    _rule("weight_decay", r"weight_decay|wd", number, False),
    _rule("momentum", r"(\w*optim\w*|train\w*|solver|sgd)\.(\w+\.)?momentum", number, False),
    _rule("momentum", r"(?<!\.)momentum", number, False),  # elsewhere often a BatchNorm's
    _rule(
        "loss_scale_initial",
        r"initial_loss_scale|init_loss_scale|init(ial)?_scale|\w*fp16_init_scale|grad_scaler_init",
        number,
        False,
    ),
    _rule("loss_scale_initial", r"initial_scale_power", power_of_two, False),
    _rule("warmup_ratio", r"warmup_(ratio|proportion|fraction)", number, False),
    _rule(
        "gradient_clipping",
        r"max_grad(ient)?_norm|gradient_clipping|clip_grad(ient)?s?|gradient_clip_val|grad_clip"
        r"|clip_norm|grad_clip_norm|clip_grad_norm|clip_max_norm|max_norm|clipnorm"
        r"|clip_gradients\.clip_value|gradient_clip_norm",
        number,
        False,
    ),
    _rule(
        "warmup_steps",
        r"(lr_)?warmup_(steps|iters|updates)|num_warmup_steps|warmup_num_steps",
        number,
        False,
    ),
    _rule(
        "lr_schedule",
        r"lr_scheduler_type|lr_scheduler|scheduler|lr_decay_style|lr_schedule|scheduler\.type",
        text,
        False,
    ),
    _rule(
        "gradient_accumulation",
        r"gradient_accumulation_steps|grad_accum\w*|accumulate_grad_batches|accumulation_steps"
        r"|update_freq(\.0)?",
        number,
        False,
    ),
    _rule("train_batch_size", r"train_batch_size|global_batch_size", number, False),
    _rule("logging_steps", r"logging_steps|log_interval|log_every(_n_steps)?", number, False),
    _rule("logging_nan_inf_filter", r"logging_nan_inf_filter", truth),
    _rule("zero_stage", r"zero_optimization[._]stage|zero_stage|zero_config\.stage", number, False),
    _rule("overlap_comm", r"overlap_comm", truth),
    _rule("reduce_bucket_size", r"reduce_bucket_size", number),
    _rule("bf16_check_grad_overflow", r"(bf16|bfloat16)\.check_grad_overflow", truth),
    _rule("offload_optimizer", r"offload_optimizer\.device|offload_optimizer", text, False),
    _rule("attention", r"_?attn_implementation(_internal)?|attention_backend|attn_impl", text),
    _rule("attention", r"use_flash_att(ention|n)(_2)?|flash_att(ention|n)(_2)?", flash_attention),
    _rule("compile", r"torch_compile|compile|compile_model|compile\.enable", truth),
    _rule("compile", r"dynamo_backend", flag_unless_no, False),
    _rule("device", r"device|device_type|accelerator|platform", device_kind),
    _rule("ram_efficient_loading", r"(fsdp_)?cpu_ram_efficient_loading", truth),
    _rule("device", r"use_mps_device", device_for("mps")),
    _rule("tensor_parallel", r"tensor_(model_)?parallel(_size|_degree)|tp_size", number, False),
    _rule("pipeline_parallel", r"pipeline_(model_)?parallel(_size|_degree)|pp_size", number, False),
    _rule(
        "micro_batch_size",
        r"per_device_train_batch_size|(train_)?micro_batch_size(_per_gpu)?|local_batch_size",
        number,
        False,
    ),
    _rule("quantization_bits", r"load_in_4_?bit", bits(4)),
    _rule("quantization_bits", r"load_in_8_?bit", bits(8)),
    _rule("quantization_bits", r"quantization_bits?", number, False),
    _rule(
        "fp8", r"fp8|fp8_(format|recipe|hybrid|e4m3)|enable_fp8(_linear)?|fp8\.enabled", is_asked
    ),
    _rule("model_type", r"model_type", text),
    _rule("architecture", r"architectures\.0|architectures", text),
)

FP16_FLAG = re.compile(
    r"(^|\.)((use_|full_|pure_)?(fp16|half|float16)|fp16(\.enabled|\.fp16|_enabled|_run))$"
)
BF16_FLAG = re.compile(
    r"(^|\.)((use_|full_|pure_)?(bf16|bfloat16)|(bf16|bfloat16)(\.enabled|_enabled))$"
)
AMP_FLAG = re.compile(r"(^|\.)((use_|enable_|native_)?amp|amp\.enabled)$")
"""On without a dtype: torch.cuda.amp, whose default is float16, with a GradScaler (Ultralytics,
detectron2, timm)."""
SCALER_PROGRAMS = re.compile(
    r"(^|\.)(per_device_train_batch_size|initial_loss_scale|fp16_init_scale"
    r"|logging_nan_inf_filter)$"
)
"""Settings of programs that put a dynamic scaler beside ``fp16: true``, unless a loss scale is
given: the transformers Trainer (accelerate), Megatron-LM and fairseq."""
WITH_SCALER = re.compile(
    r"(^|\.)(precision=16|mixed_precision=(fp16|float16)|fp16(\.|_)enabled=true)$"
    r"|=(16-mixed|mixed_float16)$"
)
"""Settings whose program always puts a scaler beside its float16: Lightning, accelerate,
DeepSpeed, Keras's ``fit``. A static one says so on its own."""
LOSS_SCALE = re.compile(r"(^|\.)(static_)?loss_scale$")
