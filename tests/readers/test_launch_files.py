"""Scripts that launch a run, Hydra's overrides, and settings printed into a text file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reading import of_type, read_file

from nanautopsy import analyze
from nanautopsy.model import ConfigRecord, FileHead, Scalar
from nanautopsy.readers.config_files import READER as CONFIG
from nanautopsy.readers.launch_files import READER, _commands

SCRIPT = """#!/bin/bash
#SBATCH --gres=gpu:8
LR=1e-4   # tuned
export PRECISION="fp16"
pip install torch
python -m pip install -r requirements.txt
# python train.py --lr 9
torchrun --nproc_per_node=$GPUS train.py \\
    --${PRECISION} True --learning_rate $LR \\
    --out ${OUT:-runs} --seed $1 "$@"
"""


def settings_of(path: Path) -> list[Mapping[str, Scalar]]:
    return [record.values for record in of_type(read_file(READER, path), ConfigRecord)]


def test_a_script_s_command(tmp_path: Path) -> None:
    path = tmp_path / "train.sh"
    path.write_text(SCRIPT)
    (record,) = of_type(read_file(READER, path), ConfigRecord)
    assert record.values == {"fp16": "True", "learning_rate": "1e-4", "out": "runs"}
    assert (record.kind, record.source.line) == ("script", 8)
    assert record.source.excerpt is not None and record.source.excerpt.startswith(
        "torchrun --nproc"
    )


@pytest.mark.parametrize(
    ("name", "text", "settings"),
    [
        ("run.slurm", "srun python train.py --bf16 --lr=0.1\n", [{"bf16": True, "lr": "0.1"}]),
        ("job", "#!/usr/bin/env bash\ndeepspeed train.py --fp16\n", [{"fp16": True}]),
        ("a.sh", "cd x && CUDA_VISIBLE_DEVICES=0 python t.py lr=0.1\n", [{"lr": "0.1"}]),
        (
            "a.sh",
            "accelerate launch --mixed_precision fp16 t.py\r\n",
            [{"mixed_precision": "fp16"}],
        ),
        ("a.sh", "A=1\npython a.py --x $A\npython b.py --x $B\npython c.py -x 1\n", None),
    ],
)
def test_forms(tmp_path: Path, name: str, text: str, settings: list[Mapping[str, Scalar]]) -> None:
    path = tmp_path / name
    path.write_bytes(text.encode())
    assert settings_of(path) == (settings or [{"x": "1"}, {"x": "1"}])


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("setup.sh", "apt-get install x\npip install y\n"),
        ("train.py", "python train.py --x 1\n"),
        ("notes.txt", "torchrun train.py --x 1\n"),
        ("a.sh", "python x.py\0 --x 1\n"),
    ],
)
def test_what_launches_nothing(name: str, text: str) -> None:
    assert READER.claim(FileHead(name, len(text), text.encode())) is None


@given(st.text(alphabet="AB=$ {}()\\\n'\"`pythonx.-#;&|:", max_size=200))
def test_any_script_is_read(text: str) -> None:
    _commands(text)


def test_variables_that_double_are_bounded() -> None:
    text = "A=xxxxxxxx\n" + "A=$A$A\n" * 5000 + "python t.py --x $A\n"
    ((_, command),) = _commands(text)
    assert len(command) < 5000


def test_overrides_of_hydra(tmp_path: Path) -> None:
    folder = tmp_path / ".hydra"
    folder.mkdir()
    path = folder / "overrides.yaml"
    path.write_text("- trainer.precision=16-mixed\n- +optim.eps=1e-6\n- ~data\n")
    (record,) = of_type(read_file(READER, path, ".hydra/overrides.yaml"), ConfigRecord)
    assert record.values == {"trainer.precision": "16-mixed", "optim.eps": "1e-6"}
    path.write_text("[]\n")
    assert not of_type(read_file(READER, path, ".hydra/overrides.yaml"), ConfigRecord)


def test_a_script_counts_where_nothing_else_speaks(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("step,loss\n1,0.5\n2,0.4\n")
    (tmp_path / "train.sh").write_text("python train.py --fp16 --lr 0.1\n")
    assert analyze(tmp_path).run.facts["compute_dtype"].value == "F16"
    (tmp_path / "args.json").write_text('{"bf16": true, "lr": 0.1, "batch_size": 4}')
    run = analyze(tmp_path).run
    assert run.facts["compute_dtype"].value == "BF16"
    assert not any("is taken" in note for note in run.notes)
    (tmp_path / "args.json").unlink()
    (tmp_path / "other.sh").write_text("python train.py --bf16 --lr 0.2\n")
    assert "compute_dtype" not in analyze(tmp_path).run.facts


@pytest.mark.parametrize(
    ("name", "text", "settings"),
    [
        ("args.txt", "lr: 0.001\nfp16: True\nbatch_size: 32\n", {"lr": 0.001, "fp16": True}),
        (
            "train_opt.txt",
            "----------------- Options ---------------\n"
            "               batch_size: 4     \t[default: 1]\n                       lr: 0.0002\n",
            {"batch_size": 4, "lr": 0.0002},
        ),
        ("args.txt", "Namespace(lr=0.1, betas=(0.9, 0.95), epochs=3)\n", {"betas.1": 0.95}),
        ("config.txt", "lr = 1e-4\noptimizer = 'adam'\n", {"lr": 1e-4, "optimizer": "adam"}),
    ],
)
def test_settings_in_a_text_file(
    tmp_path: Path, name: str, text: str, settings: dict[str, Scalar]
) -> None:
    path = tmp_path / name
    path.write_text(text)
    (record,) = of_type(read_file(CONFIG, path), ConfigRecord)
    assert {key: record.values.get(key) for key in settings} == settings


@pytest.mark.parametrize(
    ("name", "text"),
    [("args.txt", "hello: world\n"), ("log.txt", "lr: 1\nfp16: True\n"), ("opt.txt", "")],
)
def test_texts_that_are_no_settings(name: str, text: str) -> None:
    assert CONFIG.claim(FileHead(name, len(text), text.encode())) is None
