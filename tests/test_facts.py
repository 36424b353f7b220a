"""Canonical facts from the settings that real programs write, and the traps among them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanautopsy import analyze
from nanautopsy.command_line import settings_in
from nanautopsy.facts import FACTS, derive
from nanautopsy.gpus import compute_capability
from nanautopsy.model import ConfigRecord, EnvironmentRecord, Fact, LogEvent, Scalar, Series, Source
from nanautopsy.setting_conflicts import machine_conflicts, setting_conflicts
from nanautopsy.spellings import dtype_name, number, truth


def record(kind: str, line: int | None = None, /, **values: Scalar) -> ConfigRecord:
    """Settings of one kind; ``__`` in a name stands for a dot."""
    flat = {name.replace("__", "."): value for name, value in values.items()}
    return ConfigRecord(kind, flat, Source(f"{kind}.json", line=line))


def facts_of(*records: ConfigRecord, command: str | None = None) -> Mapping[str, Fact]:
    environments = []
    if command is not None:
        environments.append(EnvironmentRecord(Source("meta.json"), facts={"command": command}))
    return derive(records, environments, (), ())


def values_of(*records: ConfigRecord, command: str | None = None) -> dict[str, Scalar]:
    return {name: fact.value for name, fact in facts_of(*records, command=command).items()}


def compute(*records: ConfigRecord, command: str | None = None) -> Scalar:
    return values_of(*records, command=command).get("compute_dtype")


# --- spellings ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        ("fp16", "F16"), ("float16", "F16"), ("half", "F16"), ("torch.float16", "F16"),
        ("torch.half", "F16"), (16, "F16"), ("16", "F16"), ("16-mixed", "F16"),
        ("16-true", "F16"), ("fp16-mixed", "F16"), ("amp_fp16", "F16"), ("mixed_float16", "F16"),
        ("<class 'numpy.float16'>", "F16"), ("dtype('float16')", "F16"), ("'fp16'", "F16"),
        ("BF16", "BF16"), ("bfloat16", "BF16"), ("torch.bfloat16", "BF16"), ("bf16-mixed", "BF16"),
        ("bf16-true", "BF16"), ("amp_bf16", "BF16"), ("amp_bfloat16", "BF16"),
        ("pure_bf16", "BF16"), ("mixed_bfloat16", "BF16"), ("jnp.bfloat16", "BF16"),
        ("<class 'jax.numpy.bfloat16'>", "BF16"), (" bfloat16 ", "BF16"),
        ("fp32", "F32"), ("float32", "F32"), ("torch.float32", "F32"), (32, "F32"),
        ("32-true", "F32"), ("float", "F32"), ("np.float32", "F32"),
        ("no", None), ("auto", None), ("", None), (None, None), (True, None), (False, None),
        ("fp8", None), ("64", None), ("high", None), ("int8", None), (4, None), ("16 bits", None),
        ("float16 and more", None), ("transformer_engine", None), ("float64", None),
        ("fp16 (model.half())", "F16"), ("float32 (default)", "F32"), ("(fp16)", None),
    ],
)  # fmt: skip
def test_names_of_dtypes(value: Scalar, dtype: str | None) -> None:
    assert dtype_name(value) == dtype


@given(st.one_of(st.text(), st.integers(), st.floats(), st.booleans(), st.none()))
def test_any_value_has_an_answer(value: Scalar) -> None:
    assert dtype_name(value) in ("F16", "BF16", "F32", None)
    assert truth(value) in (True, False, None)
    assert number(value) is None or isinstance(number(value), float)


@pytest.mark.parametrize(
    ("value", "expected"),
    [("1e-5", 1e-5), (" 3 ", 3.0), (10**400, None), ("auto", None), (True, None)],
)
def test_numbers(value: Scalar, expected: float | None) -> None:
    assert number(value) == expected


# --- precision: who says it and how --------------------------------------------------------------

HF_OFF = {"fp16": False, "bf16": False, "fp16_full_eval": False, "bf16_full_eval": False,
          "half_precision_backend": "auto", "fp16_opt_level": "O1", "tf32": None}  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "dtype"),
    [
        ({"training.fp16": True}, "F16"),
        ({"training.fp16": "True"}, "F16"),
        ({"training.fp16": "true", "training.bf16": "false"}, "F16"),
        ({"training.fp16": False, "training.bf16": True}, "BF16"),
        ({"training.bf16": "auto", "training.fp16": None}, None),
        ({"training.precision": "16-mixed"}, "F16"),
        ({"training.precision": "bf16-true"}, "BF16"),
        ({"training.precision": 16}, "F16"),
        ({"training.precision": "32-true"}, "F32"),
        ({"training.trainer.precision": "bf16-mixed"}, "BF16"),
        ({"training.mixed_precision": "fp16"}, "F16"),
        ({"training.mixed_precision": "bf16"}, "BF16"),
        ({"training.mixed_precision": "no"}, None),
        ({"deepspeed.fp16.enabled": True}, "F16"),
        ({"deepspeed.fp16.enabled": "true"}, "F16"),
        ({"deepspeed.bf16.enabled": True, "deepspeed.fp16.enabled": False}, "BF16"),
        ({"deepspeed.bfloat16.enabled": True}, "BF16"),
        ({"deepspeed.fp16.enabled": "auto", "deepspeed.bf16.enabled": "auto"}, None),
        ({"deepspeed.fp16_enabled": False, "deepspeed.bfloat16_enabled": True}, "BF16"),
        ({"training.training.mixed_precision_param": "bfloat16",
          "training.training.mixed_precision_reduce": "float32"}, "BF16"),
        ({"log.bf16": True, "log.fp16": False, "log.params_dtype": "torch.bfloat16"}, "BF16"),
        ({"log.params_dtype": "torch.float32", "log.fp16": True}, "F16"),
        ({"training.dtype": "bfloat16"}, "BF16"),
        ({"training.dtype": "bf16"}, "BF16"),
        ({"training.common.fp16": True, "training.common.bf16": False}, "F16"),
        ({"training.model.fsdp_config.mixed_precision.param_dtype": "bf16",
          "training.model.fsdp_config.mixed_precision.reduce_dtype": "fp32"}, "BF16"),
        ({"training.param_dtype": "float32", "training.dtype": "bfloat16"}, "BF16"),
        ({"training.precision": "amp_bf16"}, "BF16"),
        ({"training.precision": "amp_bfloat16"}, "BF16"),
        ({"training.pure_bf16": True}, "BF16"),
        ({"training.full_fp16": "true"}, "F16"),
        ({"training.amp": True, "training.amp_dtype": "bfloat16"}, "BF16"),
        ({"training.fp16_run": True}, "F16"),
    ],
)  # fmt: skip
def test_precision_in_many_programs_words(
    settings: Mapping[str, Scalar], dtype: str | None
) -> None:
    kinds: dict[str, dict[str, Scalar]] = {}
    for key, value in settings.items():
        kind, _, name = key.partition(".")
        kinds.setdefault(kind, {})[name] = value
    assert compute(*(ConfigRecord(k, v, Source(k)) for k, v in kinds.items())) == dtype


def test_flags_that_are_off_are_no_evidence_for_float32() -> None:
    assert "compute_dtype" not in facts_of(record("training", **HF_OFF))
    assert "compute_dtype" not in facts_of(record("training", fp16=False))


def test_both_flags_set_say_nothing() -> None:
    assert compute(record("training", fp16=True, bf16=True)) is None


def test_amp_without_a_dtype_is_float16_with_a_scaler() -> None:
    values = values_of(record("training", amp=True, device="0", optimizer="auto", lr0=0.01))
    assert values["compute_dtype"] == "F16"
    assert values["loss_scaler"] == "dynamic"
    assert values["learning_rate"] == 0.01
    assert "optimizer" not in values
    assert "compute_dtype" not in facts_of(record("training", amp=True, device="cpu"))
    assert "compute_dtype" not in facts_of(record("training", amp=False))
    assert compute(record("training", SOLVER__AMP__ENABLED=True)) == "F16"


def test_the_source_quotes_the_setting_as_it_stands() -> None:
    fact = facts_of(record("training", per_device_train_batch_size=2, fp16="True"))["compute_dtype"]
    assert fact.source == Source("training.json", excerpt="fp16: True")


# --- precision: traps -----------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["torch_dtype", "dtype"])
def test_the_models_own_dtype_is_not_what_the_run_computes_in(key: str) -> None:
    model = {key: "bfloat16", "architectures.0": "LlamaForCausalLM", "model_type": "llama",
             "rms_norm_eps": 1e-6}  # fmt: skip
    for kind in ("model", "wandb", "training"):
        values = values_of(ConfigRecord(kind, {**HF_OFF, **model}, Source("config.yaml")))
        assert "compute_dtype" not in values
        assert "adam_epsilon" not in values
        assert values["published_dtype"] == "BF16"
        assert values["architecture"] == "LlamaForCausalLM"
        assert values["model_type"] == "llama"


def test_a_trackers_copy_of_a_model_in_bfloat16_does_not_hide_fp16() -> None:
    settings = {
        "torch_dtype": "bfloat16",
        "architectures.0": "Qwen2ForCausalLM",
        "text_config.dtype": "bfloat16",
        "dtype": "bfloat16",
        "fp16": True,
        "bf16": False,
    }
    values = values_of(ConfigRecord("wandb", settings, Source("config.yaml")))  # fmt: skip
    assert (values["compute_dtype"], values["published_dtype"]) == ("F16", "BF16")


@pytest.mark.parametrize(
    "key",
    [
        "text_config.dtype", "vision_config.torch_dtype", "model.vision_config.dtype",
        "actor_rollout_ref.rollout.dtype", "generation.dtype", "eval.precision",
        "inference.precision", "data.dtype", "teacher.dtype",
    ],
)  # fmt: skip
def test_the_dtype_of_a_part_is_not_the_runs(key: str) -> None:
    assert compute(ConfigRecord("training", {key: "float16"}, Source("x"))) is None


def test_a_quantized_models_compute_dtype_yields_to_the_flag() -> None:
    settings = {"quantization_config.bnb_4bit_compute_dtype": "float16", "bf16": True}
    assert compute(ConfigRecord("wandb", settings, Source("x"))) == "BF16"


def test_fp16_for_evaluation_alone_is_not_fp16() -> None:
    assert compute(record("training", fp16=False, fp16_full_eval=True)) is None


def test_auto_in_the_engine_leaves_it_to_the_arguments() -> None:
    engine = record("deepspeed", fp16__enabled="auto", bf16__enabled="auto",
                    gradient_clipping="auto", zero_optimization__stage=2,
                    optimizer__params__lr="auto", train_batch_size="auto")  # fmt: skip
    arguments = record("training", fp16=False, bf16=True, max_grad_norm=1.0, learning_rate=2e-5)
    for order in ((engine, arguments), (arguments, engine)):
        values = values_of(*order)
        assert values["compute_dtype"] == "BF16"
        assert values["gradient_clipping"] == 1.0
        assert values["learning_rate"] == 2e-5
        assert values["zero_stage"] == 2
        assert "train_batch_size" not in values


# --- who is believed ------------------------------------------------------------------------------


def test_the_engine_comes_before_the_arguments_and_these_before_the_tracker() -> None:
    records = [
        record("other", fp16=True, gradient_clipping=4.0),
        record("wandb", fp16=True, gradient_clipping=3.0),
        record("log", bf16=True, gradient_clipping=2.0),
        record("training", bf16=True, max_grad_norm=1.0),
        record("deepspeed", fp16__enabled=True, gradient_clipping=0.5),
    ]
    assert values_of(*records)["gradient_clipping"] == 0.5
    assert compute(*records) == "F16"
    assert values_of(*records[:4])["gradient_clipping"] == 1.0
    assert compute(*records[:4]) == "BF16"
    assert values_of(*records[:3])["gradient_clipping"] == 2.0
    assert values_of(*records[:2])["gradient_clipping"] == 3.0


def test_what_the_program_printed_comes_before_a_file_that_may_be_unused() -> None:
    unused = record("deepspeed", zero_optimization__stage=3)
    printed = record("deepspeed", 120, zero_optimization__stage=2)
    assert values_of(unused, printed)["zero_stage"] == 2
    assert facts_of(unused, printed)["zero_stage"].source.line == 120


def test_a_setting_of_the_run_comes_before_one_of_its_parts() -> None:
    settings = {"ema.lr": 1.0, "head.optimizer.lr": 2.0, "lr": 3.0}
    assert values_of(ConfigRecord("training", settings, Source("x")))["learning_rate"] == 3.0


def test_last_values_of_metrics_are_no_settings() -> None:
    summary = record("wandb_summary", lr=0.0, learning_rate=0.0, epsilon=0.3, precision=32)
    axes = record("wandb_axes", optimizer="global_step")
    assert values_of(summary, axes) == {}


# --- other facts ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "fact", "value"),
    [
        ({"optim": "adamw_torch"}, "optimizer", "adamw_torch"),
        ({"optimizer.type": "AdamW"}, "optimizer", "AdamW"),
        ({"optimizer.name": "AdamW", "optimizer.lr": 8e-4}, "optimizer", "AdamW"),
        ({"optimizer": None}, "optimizer", None),
        ({"optimizer.lr": 8e-4}, "learning_rate", 8e-4),
        ({"learning_rate": "5e-5"}, "learning_rate", 5e-5),
        ({"actor.optim.lr": 1e-6}, "learning_rate", 1e-6),
        ({"learning-rate": 0.1}, "learning_rate", 0.1),
        ({"lr": True}, "learning_rate", None),
        ({"adam_epsilon": 1e-8, "epsilon": 0.2}, "adam_epsilon", 1e-8),
        ({"epsilon": 0.2}, "adam_epsilon", None),
        ({"label_smoother.epsilon": 0.1}, "adam_epsilon", None),
        ({"model.norm.eps": 1e-5}, "adam_epsilon", None),
        ({"optimizer.params.eps": 1e-8}, "adam_epsilon", 1e-8),
        ({"optimizer.eps": 1e-15}, "adam_epsilon", 1e-15),
        ({"adam_eps": 1e-6}, "adam_epsilon", 1e-6),
        ({"eps": 1e-7}, "adam_epsilon", 1e-7),
        ({"max_grad_norm": 1.0}, "gradient_clipping", 1.0),
        ({"gradient_clip_val": None}, "gradient_clipping", None),
        ({"gradient_clip_val": 0.5}, "gradient_clipping", 0.5),
        ({"clip_grad": 1.0}, "gradient_clipping", 1.0),
        ({"training.max_norm": 1.0}, "gradient_clipping", 1.0),
        ({"grad_clip_norm": 1.0}, "gradient_clipping", 1.0),
        ({"clipnorm": 2.0}, "gradient_clipping", 2.0),
        ({"SOLVER.CLIP_GRADIENTS.CLIP_VALUE": 1.0}, "gradient_clipping", 1.0),
        ({"warmup_steps": 100}, "warmup_steps", 100.0),
        ({"scheduler.params.warmup_num_steps": "auto"}, "warmup_steps", None),
        ({"lr_warmup_iters": 10}, "warmup_steps", 10.0),
        ({"lr_scheduler_type": "cosine"}, "lr_schedule", "cosine"),
        ({"accumulate_grad_batches": 4}, "gradient_accumulation", 4.0),
        ({"gradient_accumulation_steps": 8}, "gradient_accumulation", 8.0),
        ({"logging_steps": 10}, "logging_steps", 10.0),
        ({"log_interval": 100}, "logging_steps", 100.0),
        ({"logging_nan_inf_filter": True}, "logging_nan_inf_filter", True),
        ({"logging_nan_inf_filter": "False"}, "logging_nan_inf_filter", False),
        ({"deepspeed.zero_optimization.stage": 3}, "zero_stage", 3.0),
        ({"deepspeed_config.zero_stage": 2}, "zero_stage", 2.0),
        ({"zero_optimization.overlap_comm": "true"}, "overlap_comm", True),
        ({"zero_optimization.overlap_comm": "auto"}, "overlap_comm", None),
        ({"zero_optimization.reduce_bucket_size": 5e8}, "reduce_bucket_size", 5e8),
        ({"bf16.check_grad_overflow": False}, "bf16_check_grad_overflow", False),
        ({"zero_optimization.offload_optimizer.device": "cpu"}, "offload_optimizer", "cpu"),
        ({"zero_optimization.offload_optimizer.device": "none"}, "offload_optimizer", None),
        ({"_attn_implementation": "eager"}, "attention", "eager"),
        ({"attn_implementation": None}, "attention", None),
        ({"torch_compile": False}, "compile", False),
        ({"dynamo_config.dynamo_backend": "INDUCTOR"}, "compile", True),
        ({"dynamo_config.dynamo_backend": "NO"}, "compile", False),
        ({"use_flash_attn": True}, "attention", "flash_attention_2"),
        ({"use_flash_attn": False}, "attention", None),
        ({"flash_attn": "fa2"}, "attention", "flash_attention_2"),
        ({"flash_attn": "auto"}, "attention", None),
        ({"flash_attn": "sdpa"}, "attention", "sdpa"),
        ({"train_batch_size": 64}, "train_batch_size", 64.0),
        ({"fp16.loss_scale": 0}, "loss_scaler", None),
        ({"fp16.loss_scale": 1024}, "loss_scaler", "static"),
        ({"loss_scale": "dynamic"}, "loss_scaler", "dynamic"),
        ({"fp16": True}, "loss_scaler", None),
        ({"fp16": True, "per_device_train_batch_size": 8}, "loss_scaler", "dynamic"),
        ({"fp16": True, "initial_loss_scale": 1e9, "loss_scale": None}, "loss_scaler", "dynamic"),
        ({"fp16": True, "initial_loss_scale": 1e9, "loss_scale": 1024}, "loss_scaler", "static"),
        ({"fp16": False, "fp16_init_scale": 128}, "loss_scaler", None),
        ({"common.fp16_init_scale": 128}, "loss_scale_initial", 128.0),
        ({"fp16.initial_scale_power": 16}, "loss_scale_initial", 65536.0),
        ({"fp16.initial_scale_power": 1e9}, "loss_scale_initial", None),
        ({"fp16.loss_scale": 512}, "loss_scale_initial", 512.0),
        ({"amp.opt_level": "O2"}, "compute_dtype", "F16"),
        ({"AMP_OPT_LEVEL": "O0"}, "compute_dtype", "F32"),
        ({"fp16_opt_level": "O1"}, "compute_dtype", None),
        ({"params_dtype": "torch.bfloat16"}, "parameter_dtype", "BF16"),
        ({"model.param_dtype": "float32"}, "parameter_dtype", "F32"),
        ({"mixed_precision.param_dtype": "bfloat16"}, "parameter_dtype", None),
        ({"trainer.precision": "bf16-true"}, "parameter_dtype", "BF16"),
        ({"trainer.precision": "bf16-mixed"}, "parameter_dtype", None),
        ({"pure_bf16": True}, "parameter_dtype", "BF16"),
        ({"pure_bf16": False}, "parameter_dtype", None),
        ({"optim.mu_dtype": "bfloat16"}, "optimizer_state_dtype", "BF16"),
        ({"optim": "adamw_bnb_8bit"}, "optimizer_state_dtype", "U8"),
        ({"adam_beta2": 0.95}, "adam_beta2", 0.95),
        ({"optimizer.params.betas.0": 0.9, "optimizer.params.betas.1": 0.95}, "adam_beta2", 0.95),
        ({"adam_betas": "(0.9, 0.98)"}, "adam_beta1", 0.9),
        ({"adam_betas": "x"}, "adam_beta1", None),
        ({"weight_decay": "0.1"}, "weight_decay", 0.1),
        ({"warmup_ratio": 0.03}, "warmup_ratio", 0.03),
        ({"precision": "16-mixed"}, "loss_scaler", "dynamic"),
        ({"trainer.precision": 16}, "loss_scaler", "dynamic"),
        ({"precision": "16-true"}, "loss_scaler", None),
        ({"precision": "bf16-mixed"}, "loss_scaler", None),
        ({"mixed_precision": "fp16"}, "loss_scaler", "dynamic"),
        ({"fp16.enabled": True, "fp16.loss_scale": 0}, "loss_scaler", "dynamic"),
        ({"fp16.enabled": True, "fp16.loss_scale": 128}, "loss_scaler", "static"),
        ({"fp16.enabled": "auto"}, "loss_scaler", None),
        ({"dtype": "float16"}, "loss_scaler", None),
    ],
)  # fmt: skip
def test_settings_become_facts(settings: Mapping[str, Scalar], fact: str, value: Scalar) -> None:
    found = facts_of(ConfigRecord("training", settings, Source("x"))).get(fact)
    assert (None if found is None else found.value) == value


def test_settings_that_have_no_use_are_left_out() -> None:
    assert values_of(record("training", seed=1, output_dir="x", lr_end=0.0)) == {}


@given(
    st.dictionaries(
        st.text(max_size=30), st.one_of(st.text(), st.integers(), st.floats(), st.none())
    )
)
def test_any_settings_give_facts_or_none(values: dict[str, Scalar]) -> None:
    for kind in ("training", "deepspeed", "model", "wandb", "log", "x"):
        assert set(derive([ConfigRecord(kind, values, Source("x"))], (), (), ())) <= FACTS


def test_twenty_thousand_settings_are_looked_through() -> None:
    settings: dict[str, Scalar] = {f"section{i}.deeper.setting{i}": i for i in range(20_000)}
    assert values_of(ConfigRecord("wandb", {**settings, "fp16": True}, Source("x"))) == {
        "compute_dtype": "F16"
    }


# --- the launch command ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "dtype"),
    [
        ("train.py --fp16", "F16"),
        ("train.py --fp16 True --lr 1e-4", "F16"),
        ("train.py --fp16=False --bf16=true", "BF16"),
        ("train.py --bf16 --output_dir x", "BF16"),
        ("train.py --no-fp16", None),
        ("train.py --fp16 False", None),
        ("accelerate launch --mixed_precision fp16 train.py", "F16"),
        ("train.py --precision=bf16-mixed", "BF16"),
        ("train.py trainer.precision=16-mixed +model.size=7b", "F16"),
        ("train.py --dtype float16 --compile", "F16"),
        ("train.py --amp", "F16"),
        ("train.py --fp16_full_eval", None),
        ("train.py --run_name fp16", None),
        ("train.py --torch_dtype bfloat16", None),
        ("train.py fp16", None),
        ("fp16.py", None),
    ],
)
def test_precision_on_the_command_line(command: str, dtype: str | None) -> None:
    assert compute(command=command) == dtype


def test_the_command_overrides_the_file_but_not_the_engine() -> None:
    file, engine = (
        record("training", lr=1.0, max_grad_norm=1.0),
        record("deepspeed", gradient_clipping=2.0),
    )
    values = values_of(file, engine, command="train.py --lr 3e-4 --max_grad_norm 5")
    assert (values["learning_rate"], values["gradient_clipping"]) == (3e-4, 2.0)
    source = facts_of(command="train.py --lr 3e-4")["learning_rate"].source
    assert source == Source("meta.json", excerpt="lr: 3e-4")


def test_settings_in_a_command() -> None:
    command = "python -m train --a-b 1 --c='x y' --flag --neg -0.5 -z 3 model.d=4 --no-e --a-b 2"
    assert settings_in(command) == {
        "m": "train", "a_b": "2", "c": "x y", "flag": True, "neg": "-0.5", "z": "3",
        "model.d": "4", "e": False,
    }  # fmt: skip
    assert settings_in('train.py --name "cut off') == {"name": '"cut'}


@given(st.text())
def test_any_command_has_settings_or_none(command: str) -> None:
    settings_in(command)


# --- facts from events and series ----------------------------------------------------------------


def _series(tag: str, *values: float, path: str = "log", role: str = "other") -> Series:
    return Series(
        tag, np.arange(len(values)), np.array(values, dtype=float), Source(path, tag=tag), role=role
    )  # type: ignore[arg-type]


def test_a_skipped_step_shows_a_dynamic_scaler() -> None:
    event = LogEvent("overflow-skipped", "OVERFLOW!", Source("train.log", line=4))
    fact = derive((), (), [event], ())["loss_scaler"]
    assert (fact.value, fact.source.line) == ("dynamic", 4)


def test_a_loss_scale_that_moves_shows_a_dynamic_scaler() -> None:
    moving = _series("loss_scale", 65536, 32768, role="loss_scale")
    still = _series("loss_scale", 1, 1, role="loss_scale")
    assert derive((), (), (), [moving])["loss_scaler"].value == "dynamic"
    assert "loss_scaler" not in derive((), (), (), [still])


@pytest.mark.parametrize(
    ("tags", "is_trainer"),
    [
        ({"loss": [3, 2], "learning_rate": [1, 1], "epoch": [0.1, 0.2]}, True),
        ({"train/loss": [3], "train/learning_rate": [1], "train/epoch": [0.5]}, True),
        ({"train_runtime": [9], "train_samples_per_second": [3]}, True),
        # Keras's CSVLogger has the same columns, and whole epochs.
        ({"loss": [3, 2], "learning_rate": [1, 1], "epoch": [0, 1]}, False),
        ({"loss": [3, 2], "epoch": [0.1, 0.2]}, False),
        ({"loss": [3, 2], "lr": [1, 1], "epoch": [0.1, 0.2]}, False),
    ],
)
def test_the_trainer_is_known_by_its_set_of_tags(
    tags: Mapping[str, list[float]], is_trainer: bool
) -> None:
    series = [_series(tag, *values) for tag, values in tags.items()]
    assert ("trainer" in derive((), (), (), series)) is is_trainer


def test_tags_of_different_files_do_not_make_a_trainer() -> None:
    series = [
        _series("loss", 3, path="a"),
        _series("learning_rate", 1, path="b"),
        _series("epoch", 0.5, path="c"),
    ]
    assert "trainer" not in derive((), (), (), series)


def test_the_trainer_is_known_by_its_settings() -> None:
    fact = facts_of(record("wandb", per_device_train_batch_size=8))["trainer"]
    assert fact.source.excerpt == "per_device_train_batch_size: 8"


# --- the sample runs ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("minigemini-deepspeed", {"compute_dtype": "BF16", "zero_stage": 2, "overlap_comm": True,
                                  "gradient_clipping": 1, "trainer": "transformers"}),
        ("minigemini-deepspeed-healthy", {"overlap_comm": False}),
        ("nanovlm-fp16", {"compute_dtype": "F16", "published_dtype": "BF16"}),
        ("nanovlm-fp16-healthy", {"compute_dtype": "BF16"}),
        ("paligemma-zero-projector", {"compute_dtype": "F32", "learning_rate": 0.005}),
        ("qwen25vl-attention", {"compute_dtype": "F16", "attention": "eager",
                                "model_type": "qwen2_5_vl", "trainer": "transformers"}),
        ("blip2-opt-wrong-checkpoint", {"architecture": "Blip2ForConditionalGeneration"}),
        ("lr-spike", {"optimizer": "SGD", "compute_dtype": "F32"}),
    ],
)  # fmt: skip
def test_facts_of_the_sample_runs(
    sample_runs: Path, name: str, expected: Mapping[str, Scalar]
) -> None:
    facts = analyze(sample_runs / name).run.facts
    assert {fact: facts[fact].value for fact in expected} == expected


def test_no_precision_is_stated_where_none_was(sample_runs: Path) -> None:
    assert "compute_dtype" not in analyze(sample_runs / "blip2-opt-wrong-checkpoint").run.facts


# --- machines ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "capability"),
    [
        ("NVIDIA A100-SXM4-80GB", "8.0"),
        ("Tesla V100-SXM2-32GB", "7.0"),
        ("Tesla T4", "7.5"),
        ("Tesla P100-PCIE-16GB", "6.0"),
        ("NVIDIA H100 80GB HBM3", "9.0"),
        ("NVIDIA GH200 480GB", "9.0"),
        ("NVIDIA H200", "9.0"),
        ("NVIDIA B200", "10.0"),
        ("NVIDIA GB200", "10.0"),
        ("NVIDIA L40S", "8.9"),
        ("NVIDIA L4", "8.9"),
        ("NVIDIA A10G", "8.6"),
        ("NVIDIA A40", "8.6"),
        ("NVIDIA GeForce RTX 2080 Ti", "7.5"),
        ("NVIDIA GeForce RTX 3090", "8.6"),
        ("NVIDIA GeForce RTX 4090", "8.9"),
        ("NVIDIA GeForce RTX 5090", "12.0"),
        ("NVIDIA RTX A6000", "8.6"),
        ("NVIDIA RTX 6000 Ada Generation", "8.9"),
        ("GeForce GTX 1080 Ti", "6.1"),
        ("Tesla K80", "3.7"),
        ("AMD Instinct MI250X", None),
        ("Ascend910B2", None),
        ("Apple M4", None),
        ("cpu", None),
    ],
)
def test_compute_capability(name: str, capability: str | None) -> None:
    assert compute_capability(name) == capability
    found = derive((), [EnvironmentRecord(Source("x"), facts={"gpu": name})], (), ())
    assert ("compute_capability" in found) == (capability is not None)


# --- disagreement --------------------------------------------------------------------------------


def conflicts(*records: ConfigRecord) -> list[str]:
    return list(setting_conflicts(records, (), derive(records, (), (), ())))


def test_settings_that_disagree_are_told() -> None:
    engine = ConfigRecord("deepspeed", {"bf16.enabled": True}, Source("ds.json"))
    trainer = ConfigRecord("training", {"fp16": True, "optim": "adamw_torch"}, Source("args"))
    tracker = ConfigRecord("wandb", {"optimizer": "AdamW", "lr": 1e-3}, Source("run.wandb"))
    assert conflicts(engine, trainer, tracker) == [
        "compute_dtype: BF16 (ds.json: bf16.enabled: True) is taken; there is also F16 (args: "
        "fp16: True)"
    ]
    rates = [ConfigRecord("log", {"lr": 10.0**-i}, Source(f"{i}.log")) for i in range(6)]
    (note,) = conflicts(*rates)
    assert note.endswith("and 2 more") and note.startswith("learning_rate: 1.0 (0.log")


def test_a_scaler_of_another_run_is_not_at_work() -> None:
    bf16 = ConfigRecord("training", {"bf16": True, "initial_loss_scale": 2.0**32}, Source("a"))
    fp16 = ConfigRecord("training", {"fp16": True, "initial_loss_scale": 2.0**32}, Source("b"))
    assert "loss_scaler" not in derive([bf16, fp16], (), (), ())
    assert derive([fp16, bf16], (), (), ())["loss_scaler"].value == "dynamic"


def test_what_agrees_in_other_words_is_no_conflict() -> None:
    one = ConfigRecord("deepspeed", {"optimizer.type": "AdamW", "lr": "1e-4"}, Source("a"))
    two = ConfigRecord("training", {"optim": "adamw_torch_fused", "lr": 0.0001}, Source("b"))
    assert conflicts(one, two) == [] and conflicts() == []


def test_machines_that_disagree_are_told() -> None:
    records = [
        EnvironmentRecord(Source("a"), facts={"python": "3.10.12", "gpu": "A100-SXM4-80GB"}),
        EnvironmentRecord(Source("b"), facts={"python": "3.10", "gpu": "NVIDIA A100-SXM4-80GB"}),
        EnvironmentRecord(Source("c"), facts={"python": "3.11.2", "host": "n1"}),
    ]
    assert list(machine_conflicts(records)) == [
        "python: 3.10.12 (a) is taken; there is also 3.11.2 (c)"
    ]
