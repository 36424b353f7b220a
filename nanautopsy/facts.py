"""Canonical facts: the settings that decide a diagnosis, derived once from every configuration.

Each fact keeps the place that says it. Names:

``compute_dtype``      F16, BF16 or F32: what the forward pass computes in (autocast, engine)
``published_dtype``    dtype in which the loaded model was published (``torch_dtype``)
``loss_scaler``        dynamic, static or none
``optimizer`` ``learning_rate`` ``adam_epsilon`` ``gradient_clipping`` ``warmup_steps``
``lr_schedule`` ``gradient_accumulation`` ``logging_steps`` ``logging_nan_inf_filter``
``zero_stage`` ``overlap_comm`` ``reduce_bucket_size`` ``bf16_check_grad_overflow``
``trainer``            transformers, where its Trainer (or a subclass) wrote what was read
``offload_optimizer`` ``attention`` ``compile`` ``model_type`` ``architecture`` ``train_batch_size``
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from nanautopsy.model import ConfigRecord, EnvironmentRecord, Fact, LogEvent, Scalar, Series

_DTYPES = {
    "F16": {
        "fp16",
        "float16",
        "half",
        "f16",
        "16",
        "16-mixed",
        "16-true",
        "amp-fp16",
        "torch.half",
    },
    "BF16": {"bf16", "bfloat16", "bf16-mixed", "bf16-true", "amp-bf16"},
    "F32": {"fp32", "float32", "float", "f32", "32", "32-true", "no", "full"},
}


def dtype_name(value: Scalar) -> str | None:
    """F16, BF16 or F32 for any of the usual spellings (``torch.float16``, ``16-mixed``, ...)."""
    text = str(value).strip().strip("'\"").lower()
    text = text.removeprefix("torch.").removeprefix("jnp.").removeprefix("dtype.")
    for name, spellings in _DTYPES.items():
        if text in spellings:
            return name
    return None


def truth(value: Scalar) -> bool | None:
    """A flag's value in any spelling; ``None`` for ``auto`` and for what is no flag."""
    if isinstance(value, bool):
        return value
    text = str(value).strip().lower()
    if text in ("true", "1", "yes", "on"):
        return True
    if text in ("false", "0", "no", "off", "none"):
        return False
    return None


def number(value: Scalar) -> float | None:
    """A number in any spelling; ``None`` for ``auto`` and for what is none."""
    if isinstance(value, bool) or value is None:
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def _text(value: Scalar) -> str | None:
    text = str(value).strip()
    return None if value is None or text.lower() in ("", "none", "null", "auto") else text


@dataclass(frozen=True, slots=True)
class _Rule:
    """A setting whose dotted key, in full or from any dot on, matches becomes the fact."""

    fact: str
    keys: str
    """Regular expression for the tail of the key, in lower case."""
    convert: Callable[[Scalar], Scalar]
    not_kinds: frozenset[str] = frozenset()
    only_kinds: frozenset[str] = frozenset()


_MODEL = frozenset({"model", "adapter", "generation"})

_RULES = (
    _Rule("published_dtype", r"torch_dtype|published_dtype", dtype_name),
    _Rule("published_dtype", r"dtype", dtype_name, only_kinds=_MODEL),
    _Rule(
        "compute_dtype",
        r"mixed_precision|precision|(amp|autocast|compute|train\w*|param|activation)_?dtype"
        r"|bnb_4bit_compute_dtype|dtype|mp_policy|mixed_precision_type",
        dtype_name,
        not_kinds=_MODEL,
    ),
    _Rule("optimizer", r"optim|optimizer|optimizer\.type|optimizer\.name|optimizer_name", _text),
    _Rule(
        "learning_rate", r"learning_rate|lr|base_lr|peak_lr|max_lr|optimizer\.params\.lr", number
    ),
    _Rule(
        "adam_epsilon", r"adam_epsilon|adam_eps|optimizer\.params\.eps|eps|epsilon", number, _MODEL
    ),
    _Rule(
        "gradient_clipping",
        r"max_grad_norm|gradient_clipping|clip_grad|gradient_clip_val|grad_clip|clip_norm"
        r"|grad_clip_norm|clip_grad_norm|max_norm",
        number,
    ),
    _Rule("warmup_steps", r"warmup_steps|num_warmup_steps|warmup_iters|warmup_num_steps", number),
    _Rule("lr_schedule", r"lr_scheduler_type|lr_scheduler|scheduler|lr_decay_style", _text),
    _Rule("gradient_accumulation", r"gradient_accumulation_steps|grad_accum\w*", number),
    _Rule("train_batch_size", r"train_batch_size|global_batch_size", number),
    _Rule("logging_steps", r"logging_steps|log_interval|log_every(_n_steps)?", number),
    _Rule("logging_nan_inf_filter", r"logging_nan_inf_filter", truth),
    _Rule("zero_stage", r"zero_optimization\.stage|zero_stage|zero_config\.stage", number),
    _Rule("overlap_comm", r"overlap_comm", truth),
    _Rule("reduce_bucket_size", r"reduce_bucket_size", number),
    _Rule("bf16_check_grad_overflow", r"(bf16|bfloat16)\.check_grad_overflow", truth),
    _Rule("offload_optimizer", r"offload_optimizer\.device|offload_optimizer", _text),
    _Rule("attention", r"_?attn_implementation(_internal)?|attention_backend|attn_impl", _text),
    _Rule("compile", r"torch_compile|compile|compile_model", truth),
    _Rule("model_type", r"model_type", _text),
    _Rule("architecture", r"architectures\.0|architectures", _text),
)

_FP16_FLAG = re.compile(r"(^|\.)((use_)?(fp16|half|float16)|fp16[._]enabled|fp16\.fp16)$")
_BF16_FLAG = re.compile(r"(^|\.)((use_)?(bf16|bfloat16)|(bf16|bfloat16)[._]enabled)$")
_STATIC_SCALE = re.compile(r"(^|\.)(fp16\.)?(static_)?loss_scale$")


def derive(
    configs: Iterable[ConfigRecord],
    environments: Iterable[EnvironmentRecord],
    events: Iterable[LogEvent],
    series: Sequence[Series],
) -> Mapping[str, Fact]:
    """The canonical facts; what nothing states is absent. The first record that states one wins.

    Training and engine configurations are asked before logs and trackers, which repeat them.
    """
    order = {"deepspeed": 0, "training": 1, "log": 2, "wandb": 3}
    ordered = sorted(configs, key=lambda record: order.get(record.kind, 4))
    facts: dict[str, Fact] = {}
    for record in ordered:
        _from_config(record, facts)
    for environment in environments:
        _from_command(environment, facts)
    _loss_scaler(events, series, facts)
    _trainer(ordered, series, facts)
    return facts


def _from_config(record: ConfigRecord, facts: dict[str, Fact]) -> None:
    flags: dict[str, str] = {}
    for key, value in record.values.items():
        lowered = key.lower().replace("-", "_")
        if record.kind not in _MODEL:
            if truth(value) and _FP16_FLAG.search(lowered):
                flags["F16"] = key
            elif truth(value) and _BF16_FLAG.search(lowered):
                flags["BF16"] = key
            elif _STATIC_SCALE.search(lowered):
                scale = number(value)
                # 0 asks for a dynamic scale, and 1 scales nothing.
                if scale not in (None, 0.0, 1.0):
                    facts.setdefault("loss_scaler", _fact("static", record, key, value))
        for rule in _RULES:
            if record.kind in rule.not_kinds or (
                rule.only_kinds and record.kind not in rule.only_kinds
            ):
                continue
            if rule.fact not in facts and re.search(rf"(?:^|\.)(?:{rule.keys})$", lowered):
                converted = rule.convert(value)
                if converted is not None:
                    facts[rule.fact] = _fact(converted, record, key, value)
    # A flag that is set says more than a dtype that may be a default.
    if len(flags) == 1:
        dtype, key = next(iter(flags.items()))
        known = facts.get("compute_dtype")
        if known is None or known.source.path == record.source.path:
            facts["compute_dtype"] = _fact(dtype, record, key, True)


def _fact(value: Scalar, record: ConfigRecord, key: str, raw: Scalar) -> Fact:
    return Fact(value, replace(record.source, excerpt=f"{key}: {raw}"))


def _from_command(environment: EnvironmentRecord, facts: dict[str, Fact]) -> None:
    command = environment.facts.get("command", "")
    flag = re.search(r"(?:^|\s)--(fp16|bf16)(?:[\s=]+(\w+))?(?=\s|$)", command)
    if flag and truth(flag[2] or "true") is not False and "compute_dtype" not in facts:
        dtype = "F16" if flag[1] == "fp16" else "BF16"
        facts["compute_dtype"] = Fact(dtype, replace(environment.source, excerpt=flag[0].strip()))


def _loss_scaler(
    events: Iterable[LogEvent], series: Iterable[Series], facts: dict[str, Fact]
) -> None:
    """A loss scale that moves, or a step skipped for overflow, shows a dynamic scaler at work."""
    if "loss_scaler" in facts:
        return
    for event in events:
        if event.kind in ("overflow-skipped", "loss-scale-minimum"):
            facts["loss_scaler"] = Fact("dynamic", event.source)
            return
    for one in series:
        if one.role == "loss_scale" and len(one) > 1 and (one.values != one.values[0]).any():
            facts["loss_scaler"] = Fact("dynamic", one.source)
            return


_TRAINER_SETTINGS = re.compile(r"(^|\.)(per_device_train_batch_size|logging_nan_inf_filter)$")
_TRAINER_TAGS = (
    frozenset({"loss", "learning_rate", "epoch"}),
    frozenset({"train/loss", "train/learning_rate", "train/epoch"}),
    frozenset({"train_runtime", "train_samples_per_second"}),
)
"""What the transformers Trainer logs together: on the console and in its state, to trackers, and
in its summary."""


def _trainer(
    configs: Iterable[ConfigRecord], series: Iterable[Series], facts: dict[str, Fact]
) -> None:
    """Whether the transformers Trainer wrote this: its own settings, or its own set of tags."""
    for record in configs:
        key = next((key for key in record.values if _TRAINER_SETTINGS.search(key)), None)
        if key is not None:
            facts["trainer"] = _fact("transformers", record, key, record.values[key])
            return
    tags: dict[str, set[str]] = {}
    for one in series:
        tags.setdefault(one.source.path, set()).add(one.tag)
        if any(known <= tags[one.source.path] for known in _TRAINER_TAGS):
            facts["trainer"] = Fact("transformers", one.source)
            return
