"""Settings files as their libraries write them, as people edit them, and as crashes leave them."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reading import SHARED, head_of, of_type, problems_of, read_file

from nanautopsy.model import ConfigRecord, FileHead, Problem, Record, Skipped
from nanautopsy.readers._flatten import flatten
from nanautopsy.readers._loose_json import load_loose_json
from nanautopsy.readers.config_files import READER

FIXTURES = Path(__file__).parents[1] / "fixtures" / "config"
DEEPSPEED = """{
  // made by hand
  "train_micro_batch_size_per_gpu": "auto", # for the Trainer
  "fp16": {"enabled": true, "loss_scale": 0, "initial_scale_power": 16,},
  /* ZeRO */
  "zero_optimization": {"stage": 2, "note": "a // b, # c"},
}
"""


def read(text: str | bytes, tmp_path: Path, name: str) -> list[Record]:
    path = tmp_path / "file"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_file(READER, path, name)


def config_of(records: list[Record]) -> ConfigRecord:
    (config,) = of_type(records, ConfigRecord)
    return config


def kind_of(text: str, name: str) -> str | None:
    data = text.encode()
    claim = READER.claim(FileHead(name, len(data), data))
    return None if claim is None else claim.kind


def test_model_config() -> None:
    config = config_of(read_file(READER, FIXTURES / "gpt2" / "config.json"))
    assert config.kind == "model"
    assert config.values["model_type"] == "gpt2" and config.values["dtype"] == "float16"
    assert config.values["n_layer"] == 2 and config.values["layer_norm_epsilon"] == 1e-05


def test_nested_model_config_with_a_special_float() -> None:
    config = config_of(read_file(READER, FIXTURES / "llava" / "config.json"))
    assert config.values["layer_norm_limit"] == math.inf
    assert config.values["text_config.model_type"] == "llama"


def test_adapter_config() -> None:
    config = config_of(read_file(READER, FIXTURES / "adapter" / "adapter_config.json"))
    assert (config.kind, config.values["r"]) == ("adapter", 4)
    assert config.values["target_modules.0"] == "c_attn"


def test_yaml_tags_are_not_obeyed() -> None:
    config = config_of(read_file(READER, FIXTURES / "hparams.yaml"))
    assert config.kind == "training"
    assert config.values["lr"] == 1e-05 and config.values["limit"] == math.inf
    assert config.values["betas.1"] == 0.95 and config.values["schedule.0"] == "cosine"


def test_deepspeed_config_with_comments_and_trailing_commas(tmp_path: Path) -> None:
    records = read(DEEPSPEED, tmp_path, "zero2.json")
    config = config_of(records)
    assert config.kind == "deepspeed" and not problems_of(records)
    assert config.values["fp16.enabled"] is True and config.values["fp16.loss_scale"] == 0
    assert config.values["zero_optimization.note"] == "a // b, # c"
    assert config.values["train_micro_batch_size_per_gpu"] == "auto"


def test_cut_json_gives_what_is_complete(tmp_path: Path) -> None:
    cut = DEEPSPEED[: DEEPSPEED.index('"initial_scale_power"') + 8]
    records = read(cut, tmp_path, "ds_config.json")
    assert config_of(records).values["fp16.loss_scale"] == 0
    assert problems_of(records)[0].text.startswith("incomplete: ")


@pytest.mark.parametrize(
    ("name", "text", "kind"),
    [
        ("config.json", '{"model_type": "llama", "learning_rate": 1}', "model-config"),
        ("model_index.json", '{"_diffusers_version": "0.3"}', "model-config"),
        ("params.json", '{"dim": 8, "n_layers": 2, "n_heads": 2}', "model-config"),
        ("config.json", '{"lr": 0.1, "batch_size": 3}', "training-config"),
        ("args.json", '{"learning_rate": 0.1}', "training-config"),
        ("training_args.yaml", "output_dir: x\n", "training-config"),
        ("hparams.yaml", "{}\n", "training-config"),
        ("config.yaml", "optimizer:\n  lr: 0.1\n  weight_decay: 0\n", "training-config"),
        ("cfg_dump.yaml", "SOLVER:\n  BASE_LR: 0.1\n  MOMENTUM: 0.9\n", "training-config"),
        ("sft.yml", "learning_rate: 1e-4\nnum_train_epochs: 3\n", "training-config"),
        ("generation_config.json", '{"top_p": 1}', "generation-config"),
        ("ds_z3.json", "{", "deepspeed-config"),
        ("x.json", '{"zero_optimization": {}}', "deepspeed-config"),
    ],
)
def test_kinds(name: str, text: str, kind: str) -> None:
    assert kind_of(text, name) == kind


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("tokenizer_config.json", '{"model_type": "llama", "lr": 1, "optimizer": 2}'),
        ("vocab.json", '{"lr": 1, "optim": 2}'),
        ("special_tokens_map.json", "{}"),
        ("preprocessor_config.json", "{}"),
        ("package.json", '{"version": "1"}'),
        ("data.json", '{"a": 1}'),
        ("environment.yml", "dependencies:\n  - python\n"),
        ("docker-compose.yml", "services:\n"),
        ("ci.yaml", "on: push\njobs: x\n"),
        ("config.yaml", "wandb_version: 1\nlr:\n  value: 1\noptimizer:\n  value: x\n"),
        ("config.py", "lr = 1\noptimizer = 2\n"),
        ("config.json", ""),
    ],
)
def test_not_claimed(name: str, text: str) -> None:
    assert kind_of(text, name) is None


def test_yaml_exponents_merge_keys_and_booleans(tmp_path: Path) -> None:
    text = "base: &b {lr: 1e-4, wd: 0}\nrun:\n  <<: *b\n  wd: 0.1\nbf16: true\nlimit: .nan\n"
    values = config_of(read(text, tmp_path, "train.yaml")).values
    assert values["run.lr"] == 1e-4 and values["run.wd"] == 0.1
    assert values["bf16"] is True and math.isnan(float(str(values["limit"])))


def test_yaml_damage_keeps_what_stands_before(tmp_path: Path) -> None:
    text = "lr: 0.1\nbatch_size: 8\noptimizer:\n  name: [adam\n"
    records = read(text, tmp_path, "config.yaml")
    assert config_of(records).values["batch_size"] == 8
    assert "not whole YAML" in problems_of(records)[0].text


def test_yaml_bombs_end_quickly(tmp_path: Path) -> None:
    lines = ["lr: 1", "batch_size: 2", "a0: &a0 [[], []]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 30)]
    config = config_of(read("\n".join(lines), tmp_path, "config.yaml"))
    assert config.values["lr"] == 1
    deep = "lr: 1\nbatch_size: 2\nx: " + "[" * 50_000
    assert problems_of(read(deep, tmp_path, "config.yaml"))


def test_flatten_is_bounded() -> None:
    row: list[object] = []
    for _ in range(30):
        row = [row] * 9
    assert flatten({"a": row}) == {}
    assert len(flatten({"a": list(range(50_000))})) <= 20_000
    loop: dict[str, object] = {"x": 1}
    loop["self"] = loop
    assert flatten(loop)["self.self.x"] == 1


@pytest.mark.skipif(sys.version_info < (3, 11), reason="tomllib")
def test_toml(tmp_path: Path) -> None:
    text = '[optimizer]\nname = "AdamW"\nlr = 8e-4\n[training]\nsteps = 10\nmax_norm = 1.0\n'
    values = config_of(read(text, tmp_path, "train_config.toml")).values
    assert values["optimizer.lr"] == 8e-4 and values["training.steps"] == 10
    assert problems_of(read("[optimizer\nlr = 1", tmp_path, "train_config.toml"))


def test_huge_files_are_not_parsed(tmp_path: Path) -> None:
    text = '{"lr": 1, "batch_size": 2, "x": "' + "y" * (5 << 20) + '"}'
    assert "too much" in of_type(read(text, tmp_path, "config.json"), Skipped)[0].reason


def test_utf16_with_mark(tmp_path: Path) -> None:
    data = "\ufefflr: 0.1\nbatch_size: 8\n".encode("utf-16-le")
    assert config_of(read(data, tmp_path, "hparams.yaml")).values["lr"] == 0.1


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5), st.lists))
def test_strict_json_is_taken_as_it_is(value: object) -> None:
    assert load_loose_json(json.dumps(value)) == (value, None)


@given(st.integers(0, len(DEEPSPEED)))
def test_loose_json_cut_anywhere(size: int) -> None:
    try:
        value, problem = load_loose_json(DEEPSPEED[:size])
    except ValueError:
        return
    assert problem is not None or size >= len(DEEPSPEED) - 1
    assert isinstance(value, dict)


@given(st.binary(max_size=150), st.sampled_from(["config.json", "config.yaml", "hparams.toml"]))
@settings(deadline=None)
def test_any_bytes(tmp_path_factory: pytest.TempPathFactory, data: bytes, name: str) -> None:
    tmp_path = tmp_path_factory.mktemp("junk")
    for text in (data, b"lr: 1\nbatch_size: 2\n" + data, b'{"lr": 1, "optimizer": 2, ' + data):
        path = tmp_path / name
        path.write_bytes(text)
        if READER.claim(head_of(path)) is not None:
            for record in read_file(READER, path):
                assert isinstance(record, (ConfigRecord, Problem, Skipped))


@pytest.mark.real
@pytest.mark.skipif(not SHARED.exists(), reason="public artifacts are not here")
def test_public_adapter() -> None:
    (path,) = (SHARED / "lf-ok-news").rglob("adapter_config.json")
    assert config_of(read_file(READER, path)).values["lora_alpha"] == 16


def test_settings_on_one_line_with_a_number_of_steps_are_no_row_of_metrics() -> None:
    from nanautopsy.readers.json_lines import READER as METRICS

    head = b'{"optimizer": "AdamW", "lr": 0.001, "steps": 300, "seed": 1}'
    file = FileHead("args.json", len(head), head)
    settings, metrics = READER.claim(file), METRICS.claim(file)
    assert settings is not None
    assert metrics is None or metrics.confidence < settings.confidence
