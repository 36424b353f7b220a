"""Canonical facts: the settings that decide a diagnosis, derived once from every configuration.

Each fact keeps the place that says it. Names:

``compute_dtype``      F16, BF16 or F32: what the forward pass computes in (autocast, engine)
``evaluation_dtype``   dtype to which the whole model is cast for evaluation only
``parameter_dtype``    dtype in which the parameters themselves are kept
``optimizer_state_dtype`` dtype of the optimizer's moments; U8 for 8-bit optimizers
``published_dtype``    dtype in which the loaded model was published (``torch_dtype``)
``loss_scaler``        dynamic, static or none
``loss_scale_initial`` what a scaler starts at
``compute_capability`` of the first NVIDIA GPU that is named
``optimizer`` ``learning_rate`` ``adam_epsilon`` ``adam_beta1`` ``adam_beta2`` ``weight_decay``
``momentum`` ``gradient_clipping`` ``warmup_steps`` ``warmup_ratio``
``lr_schedule`` ``gradient_accumulation`` ``logging_steps`` ``logging_nan_inf_filter``
``zero_stage`` ``overlap_comm`` ``reduce_bucket_size`` ``bf16_check_grad_overflow``
``trainer``            transformers, where its Trainer (or a subclass) wrote what was read
``device``             cuda, rocm, mps, npu, tpu, xpu or hpu: what computes
``fp8``                whether matrix products are in an 8-bit format
``quantization_bits``  of the frozen weights: 4 or 8
``tensor_parallel`` ``pipeline_parallel`` ``micro_batch_size`` ``ram_efficient_loading``
``offload_optimizer`` ``attention`` ``compile`` ``model_type`` ``architecture`` ``train_batch_size``

A flag that is off says nothing: ``fp16: false`` beside ``bf16: false`` leaves the precision to the
dtype in which the weights were loaded, so it is no evidence for float32.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

import numpy as np

from nanautopsy.command_line import settings_in
from nanautopsy.gpus import compute_capability, maker
from nanautopsy.model import ConfigRecord, EnvironmentRecord, Fact, LogEvent, Scalar, Series
from nanautopsy.setting_rules import (
    AMP_FLAG,
    BF16_FLAG,
    FP16_FLAG,
    LOSS_SCALE,
    RULES,
    SCALER_PROGRAMS,
    WITH_SCALER,
)
from nanautopsy.spellings import number, truth

FACTS = frozenset(
    "compute_dtype evaluation_dtype published_dtype loss_scaler optimizer learning_rate "
    "adam_epsilon gradient_clipping warmup_steps lr_schedule gradient_accumulation logging_steps "
    "logging_nan_inf_filter zero_stage overlap_comm reduce_bucket_size bf16_check_grad_overflow "
    "parameter_dtype optimizer_state_dtype loss_scale_initial compute_capability adam_beta1 "
    "adam_beta2 weight_decay momentum warmup_ratio trainer offload_optimizer "
    "device fp8 quantization_bits ram_efficient_loading tensor_parallel pipeline_parallel "
    "micro_batch_size attention compile model_type architecture train_batch_size".split()
)
"""Every name that :func:`derive` gives."""

_ORDER = {"deepspeed": 0, "command": 1, "training": 2, "log": 3, "wandb": 4}
"""Who is asked first: the engine, what the launch overrides, training settings, what the console
and trackers repeat of them; then all others."""
_MODEL = frozenset({"model", "adapter", "generation"})
_NO_SETTINGS = frozenset({"wandb_summary", "wandb_axes"})
"""Last values of metrics (``lr`` among them) and names of axes."""


_ELSEWHERE = re.compile(
    r"(^|\.)(\w*(text|vision|audio|speech|llm|language|image|encoder|decoder|qformer)\w*_config"
    r"|rollout|inference|generation|eval\w*|vllm|export|data|dataset\w*|teacher|reward\w*|ref)\."
)
"""Parts of a configuration whose dtype is not the one in which this run trains."""
_MODEL_DUMP = frozenset({"architectures.0", "architectures", "transformers_version"})
"""Keys of a model's config.json. The Trainer's W&B callback logs it beside its own arguments."""


def derive(
    configs: Iterable[ConfigRecord],
    environments: Sequence[EnvironmentRecord],
    events: Iterable[LogEvent],
    series: Sequence[Series],
) -> Mapping[str, Fact]:
    """The canonical facts; what nothing states is absent. The first record that states one wins.

    Of two records of one kind, one that the program printed comes before a file, which may be
    there without having been used.
    """
    ordered = in_order(configs, environments)
    facts: dict[str, Fact] = {}
    for record in ordered:
        _from_config(record, facts)
    _loss_scaler(events, series, facts)
    _trainer(ordered, series, facts)
    _of_eight_bits(facts)
    _of_the_gpu(environments, facts)
    _of_the_device(environments, facts)
    return facts


def in_order(
    configs: Iterable[ConfigRecord], environments: Iterable[EnvironmentRecord]
) -> list[ConfigRecord]:
    """The records that state settings, launch commands among them, in the order in which they are
    asked."""
    commands = [
        ConfigRecord("command", settings_in(one.facts["command"]), one.source)
        for one in environments
        if "command" in one.facts
    ]
    found = [record for record in (*configs, *commands) if record.kind not in _NO_SETTINGS]
    scripts = {record.source.path for record in found if record.kind == "script"}
    return sorted(
        # Of several scripts nothing says which one was used.
        (record for record in found if record.kind != "script" or len(scripts) == 1),
        key=lambda record: (_ORDER.get(record.kind, len(_ORDER)), record.source.line is None),
    )


def stated_by(record: ConfigRecord) -> dict[str, Fact]:
    """What one record alone says."""
    facts: dict[str, Fact] = {}
    _from_config(record, facts)
    return facts


def _of_eight_bits(facts: dict[str, Fact]) -> None:
    optimizer = facts.get("optimizer")
    if optimizer is not None and re.search(r"8_?bit", str(optimizer.value), re.IGNORECASE):
        facts.setdefault("optimizer_state_dtype", replace(optimizer, value="U8"))


def _of_the_gpu(environments: Iterable[EnvironmentRecord], facts: dict[str, Fact]) -> None:
    for record in environments:
        name = record.facts.get("gpu")
        capability = None if name is None else compute_capability(name)
        if capability is not None:
            source = replace(record.source, excerpt=record.source.excerpt or name)
            facts["compute_capability"] = Fact(capability, source)
            return


def _of_the_device(environments: Iterable[EnvironmentRecord], facts: dict[str, Fact]) -> None:
    """What computes, by the build of torch or the name of the GPU.

    ROCm calls itself ``cuda`` in settings, so its build of torch counts before them.
    """
    for record in environments:
        torch = record.packages.get("torch", "")
        if "+rocm" in torch:
            facts["device"] = Fact("rocm", replace(record.source, excerpt=f"torch {torch}"))
            return
        kind = maker(record.facts.get("gpu", ""))
        if kind is not None:
            facts.setdefault(
                "device", Fact(kind, replace(record.source, excerpt=record.facts["gpu"]))
            )


def _from_config(record: ConfigRecord, facts: dict[str, Fact]) -> None:
    # Of keys that match alike the shallowest counts: the run's own setting, not a component's.
    keys = sorted(
        ((key.lower().replace("-", "_"), key) for key in record.values),
        key=lambda pair: pair[0].count("."),
    )
    of_model = record.kind in _MODEL
    is_dump = not _MODEL_DUMP.isdisjoint(record.values)
    settled = "compute_dtype" in facts
    for rule in RULES:
        asked = rule.of_model in (None, of_model) or (rule.of_model and is_dump)
        if rule.fact in facts or not asked:
            continue
        for lowered, key in keys:
            if not rule.key.search(lowered):
                continue
            if rule.fact == "compute_dtype" and (
                _ELSEWHERE.search(lowered) or (is_dump and lowered.rpartition(".")[2] == "dtype")
            ):
                continue
            converted = rule.convert(record.values[key])
            if converted is not None:
                facts[rule.fact] = _fact(converted, record, key)
                break
    if not of_model:
        _from_scaling(record, keys, facts)
        _from_flags(record, keys, facts, settled)


_Keys: TypeAlias = "Sequence[tuple[str, str]]"
"""Each key of a record in lower case with ``_``, and as it stands."""


def _from_scaling(record: ConfigRecord, keys: _Keys, facts: dict[str, Fact]) -> None:
    known = facts.get("compute_dtype")
    # Where another record says bfloat16, this one's scaler is not at work, or is another run's.
    usable = known is None or known.value == "F16" or known.source.path == record.source.path
    programs = any(SCALER_PROGRAMS.search(lowered) for lowered, _ in keys)
    for lowered, key in keys:
        if LOSS_SCALE.search(lowered) and str(record.values[key]).lower() == "dynamic":
            facts.setdefault("loss_scaler", _fact("dynamic", record, key))
        elif LOSS_SCALE.search(lowered):
            scale = number(record.values[key])
            # 0 asks for a dynamic scale, and 1 scales nothing.
            if scale not in (None, 0.0, 1.0):
                facts.setdefault("loss_scaler", _fact("static", record, key))
                facts.setdefault("loss_scale_initial", _fact(scale, record, key))
    for lowered, key in keys:
        if not usable:
            break
        if WITH_SCALER.search(f"{lowered}={str(record.values[key]).lower()}"):
            facts.setdefault("loss_scaler", _fact("dynamic", record, key))
        elif programs and lowered == "fp16" and truth(record.values[key]):
            facts.setdefault("loss_scaler", _fact("dynamic", record, key))


def _from_flags(record: ConfigRecord, keys: _Keys, facts: dict[str, Fact], settled: bool) -> None:
    """Precision by one record's flags, unless another record settled it.

    A flag that is set says more than a dtype, which may be a default; two say nothing.
    """
    if settled:
        return
    flags: dict[str, str] = {}
    for lowered, key in keys:
        if not truth(record.values[key]) or _ELSEWHERE.search(lowered):
            continue
        if FP16_FLAG.search(lowered):
            flags.setdefault("F16", key)
        elif BF16_FLAG.search(lowered):
            flags.setdefault("BF16", key)
        elif AMP_FLAG.search(lowered):
            flags.setdefault("amp", key)
    amp = flags.pop("amp", None)
    if len(flags) == 1:
        dtype, key = next(iter(flags.items()))
        facts["compute_dtype"] = _fact(dtype, record, key)
    elif amp is not None and not flags and str(record.values.get("device", "")) != "cpu":
        facts.setdefault("compute_dtype", _fact("F16", record, amp))
        if facts["compute_dtype"].value == "F16":
            facts.setdefault("loss_scaler", _fact("dynamic", record, amp))


def _fact(value: Scalar, record: ConfigRecord, key: str) -> Fact:
    return Fact(value, replace(record.source, excerpt=f"{key}: {record.values[key]}"))


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
    """Whether the transformers Trainer wrote this: its own settings, or its own set of tags.

    Its epochs are fractions; in other writers' rows of these names they are whole.
    """
    for record in configs:
        key = next((key for key in record.values if _TRAINER_SETTINGS.search(key)), None)
        if key is not None:
            facts["trainer"] = _fact("transformers", record, key)
            return
    tags: dict[str, set[str]] = {}
    for one in series:
        if one.tag in ("epoch", "train/epoch") and not _has_fractions(one):
            continue
        tags.setdefault(one.source.path, set()).add(one.tag)
        if any(known <= tags[one.source.path] for known in _TRAINER_TAGS):
            facts["trainer"] = Fact("transformers", one.source)
            return


def _has_fractions(series: Series) -> bool:
    finite = series.values[np.isfinite(series.values)]
    return bool((finite != np.floor(finite)).any())
