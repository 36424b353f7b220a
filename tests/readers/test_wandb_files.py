"""The small files beside a W&B run file."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reading import SHARED, head_of, of_type, problems_of, read_file, same_values, series_of

from nanautopsy.model import ConfigRecord, EnvironmentRecord, FileHead, Record, Skipped
from nanautopsy.readers.wandb_files import READER

Factory = pytest.TempPathFactory

CONFIG = """\
wandb_version: 1

_wandb:
    desc: null
    value:
        cli_version: 0.16.6
        huggingface_version: 4.39.3
        python_version: 3.10.14
        t:
            1:
            - 1
lr:
    desc: null
    value: 1e-05
model:
    value:
        layers: [2, 3]
        name: !!python/object:os.system tiny
bad:
    value: .nan
value:
    value: 7
"""

ALIASES = "_wandb: {}\nb0: &b0 [0]\n" + "".join(
    f"b{i}: &b{i} [{', '.join([f'*b{i - 1}'] * 9)}]\n" for i in range(1, 13)
)
"""A few lines that stand for nine to the twelfth numbers."""

METADATA = {
    "os": "Linux-6.1",
    "python": "CPython 3.12.1",
    "args": ["--fp16", "True"],
    "program": "train.py",
    "git": {"remote": "https://example.org/r.git", "commit": "c0ffee"},
    "host": "host",
    "username": "user",
    "gpu": "",
    "gpu_count": 2,
    "gpu_nvidia": [{"name": "Tesla V100", "memoryTotal": "1", "architecture": "Volta"}],
    "cudaVersion": "12.2",
    "memory": {"total": "1"},
}


def read(name: str, content: str | bytes, tmp_path: Path) -> list[Record]:
    path = tmp_path / name.rpartition("/")[2]
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_file(READER, path, name)


# --- config.yaml --------------------------------------------------------------------------------


def test_config(tmp_path: Path) -> None:
    records = read("run-1/files/config.yaml", CONFIG, tmp_path)
    (config,) = of_type(records, ConfigRecord)
    assert config.kind == "wandb"
    values = dict(config.values)
    assert math.isnan(values.pop("bad"))  # type: ignore[arg-type]
    assert values == {
        "lr": 1e-05,
        "model.layers.0": 2,
        "model.layers.1": 3,
        "model.name": "tiny",
        "value": 7,
    }
    (environment,) = of_type(records, EnvironmentRecord)
    assert environment.packages == {"wandb": "0.16.6", "transformers": "4.39.3"}
    assert environment.facts == {"python": "3.10.14"}


def test_config_cut_at_every_byte(tmp_path: Path) -> None:
    known: set[str] = set()
    for cut in range(len(CONFIG)):
        records = read("files/config.yaml", CONFIG[:cut], tmp_path) if cut > 14 else []
        keys = {key for config in of_type(records, ConfigRecord) for key in config.values}
        known |= keys
        if CONFIG[:cut].endswith("layers: [2, 3]\n"):
            assert {"lr", "model.layers.1"} <= keys
        if cut > CONFIG.index("model:") + 6:
            assert any(key.startswith("lr") for key in keys)
    assert "value" in known


@pytest.mark.parametrize(
    "text",
    [
        "_wandb:\n" + "[" * 100_000,
        "_wandb: {}\n" + "- " * 100_000,
        "_wandb: &a [*a]\n",
        ALIASES,
        "_wandb: {}\nx: &a {k: v}\ny: {<<: [*a, *a]}\n",
        "_wandb: {}\n? [1, 2]\n: 3\n",
        "_wandb: {}\nd: 2001-99-99\n",
        "_wandb: {}\nn: " + "9" * 10_000,
        "_wandb:\n\x00",
        "_wandb:",
        "_wandb: 3\nplain",
    ],
)
def test_hostile_yaml(text: str, tmp_path: Path) -> None:
    for record in read("config.yaml", text, tmp_path):
        if isinstance(record, ConfigRecord):
            assert len(record.values) <= 20_000


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=200))
def test_garbage_never_raises(tmp_path_factory: Factory, junk: bytes) -> None:
    folder = tmp_path_factory.mktemp("files")
    for name in ("wandb-summary.json", "wandb-metadata.json", "wandb-history.jsonl"):
        read(name, junk, folder)
        read(name, b'{"a": NaN, "b": ' + junk, folder)
    read("config.yaml", b"wandb_version: 1\n" + junk, folder)


# --- summary, metadata, history -----------------------------------------------------------------


def test_a_nonfinite_summary_is_a_point(tmp_path: Path) -> None:
    text = (
        '{"_step": 12, "_wandb": {"runtime": 5}, "loss": NaN, "acc": 0.5, "train/global_step": 120,'
        ' "grad": {"norm": -Infinity}, "image": {"_type": "image-file", "size": 3}, "none": null}'
    )
    records = read("files/wandb-summary.json", text, tmp_path)
    found = series_of(records)
    assert set(found) == {"loss", "grad.norm", "train/global_step"}
    assert found["loss"].steps.tolist() == [12] and found["loss"].axis == "step"
    assert same_values(found["loss"].values, [math.nan])
    assert found["loss"].source.path == "files/wandb-summary.json"
    (config,) = of_type(records, ConfigRecord)
    assert config.kind == "wandb_summary"
    assert set(config.values) == {"_step", "loss", "acc", "train/global_step", "grad.norm", "none"}


def test_a_finite_summary_is_context_only(tmp_path: Path) -> None:
    records = read("wandb-summary.json", '{"loss": 0.5, "_step": 3, "step": 3}', tmp_path)
    assert [type(record) for record in records] == [ConfigRecord]


def test_a_cut_summary(tmp_path: Path) -> None:
    records = read("wandb-summary.json", '{"_step": 3, "loss": NaN, "acc": 0.', tmp_path)
    assert set(series_of(records)) == {"loss"}
    assert len(problems_of(records)) == 1


def test_metadata(tmp_path: Path) -> None:
    (environment,) = read("wandb-metadata.json", json.dumps(METADATA), tmp_path)
    assert isinstance(environment, EnvironmentRecord)
    assert environment.facts == {
        "os": "Linux-6.1",
        "python": "3.12.1",
        "program": "train.py",
        "command": "train.py --fp16 True",
        "host": "host",
        "username": "user",
        "gpu": "Tesla V100",
        "gpu_architecture": "Volta",
        "gpu_count": "2",
        "cuda": "12.2",
        "git_remote": "https://example.org/r.git",
        "git_commit": "c0ffee",
    }


def test_old_history(tmp_path: Path) -> None:
    lines = [
        '{"loss": 1.0, "n": {"x": 2}, "_step": 0, "_timestamp": 1600000000, "_runtime": 1}',
        '{"loss": NaN, "_step": 5}',
        "",
        '{"loss": "Infinity", "_step": 6}',
        '{"loss": 3, "_st',
    ]
    records = read("wandb-history.jsonl", "\n".join(lines), tmp_path)
    found = series_of(records)
    assert found["loss"].steps.tolist() == [0, 5, 6]
    assert same_values(found["loss"].values, [1, math.nan, math.inf])
    assert found["loss"].lines is not None and found["loss"].lines.tolist() == [1, 2, 4]
    assert found["n.x"].times is not None and found["n.x"].times.tolist() == [1.6e9]
    (problem,) = problems_of(records)
    assert problem.source.line == 5


def test_claims(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("lr: 1\n")
    assert READER.claim(head_of(path)) is None
    claim = READER.claim(head_of(path, "wandb/offline-run-20231114_221320-ab/files/config.yaml"))
    assert claim is not None and claim.kind == "wandb-config"
    assert READER.claim(FileHead("x/wandb-metadata.json", 2, b"{}")) is not None
    assert READER.claim(FileHead("x/requirements.txt", 2, b"a==1")) is None


def test_yaml_that_is_none_is_skipped(tmp_path: Path) -> None:
    (skipped,) = read("config.yaml", "_wandb: " + "[" * 500, tmp_path)
    assert isinstance(skipped, Skipped)


# --- W&B's own logs -----------------------------------------------------------------------------

DEBUG = """\
2026-01-01 00:00:00,000 INFO    MainThread:1 [wandb_setup.py:_flush():81] Loading settings
2026-01-01 00:00:00,001 INFO    MainThread:1 [wandb_init.py:init():789] called with sweep_config: {}
config: {'lr': nan, 'model': {'clip': -inf, 'layers': [1, 2]}, 'device': device(type='cuda')}
2026-01-01 00:00:00,002 INFO    MainThread:1 [wandb_run.py:_atexit_cleanup():1] got exitcode: 1
"""


def test_a_debug_log_restores_nonfinite_settings(tmp_path: Path) -> None:
    (config,) = read("logs/debug.log", DEBUG, tmp_path)
    assert isinstance(config, ConfigRecord)
    values = dict(config.values)
    assert math.isnan(values.pop("lr"))  # type: ignore[arg-type]
    assert values == {"model.clip": -math.inf}
    assert config.source.line == 3


@pytest.mark.parametrize("config", ["{'a': 1}", "{(", "{" * 5000, "{'a': " + "-" * 50_000 + "1}"])
def test_other_debug_logs_are_skipped(config: str, tmp_path: Path) -> None:
    text = DEBUG.replace(DEBUG.splitlines()[2], f"config: {config}")
    (skipped,) = read("logs/debug.log", text, tmp_path)
    assert isinstance(skipped, Skipped)


def test_a_debug_log_of_something_else_is_not_claimed() -> None:
    assert READER.claim(FileHead("logs/debug.log", 11, b"step 1 loss nan")) is None


# --- public artifacts ---------------------------------------------------------------------------


@pytest.mark.real
@pytest.mark.skipif(not SHARED.is_dir(), reason="the public artifacts are not here")
def test_a_public_run_without_its_run_file() -> None:
    (path,) = (SHARED / "cs6910-mom-nan").rglob("wandb-summary.json")
    found = series_of(read_file(READER, path))
    assert set(found) == {"train_loss", "val_loss"}
    (path,) = (SHARED / "lf-fp16-a").rglob("config.yaml")
    (config,) = of_type(read_file(READER, path), ConfigRecord)
    assert config.values["fp16"] is True and config.values["rms_norm_eps"] == 1e-05


def test_measurements_of_the_machine_are_no_history(tmp_path: Path) -> None:
    line = '{"system.gpu.0.temp": NaN, "loss": NaN, "_wandb": true, "_timestamp": 1.6e9}\n'
    (skipped,) = read("wandb-events.jsonl", line, tmp_path)
    assert isinstance(skipped, Skipped)
