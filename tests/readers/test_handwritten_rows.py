"""Rows as hand-written loops print and dump them: every form, finite for a while and then NaN, has
to give its metric under the right role, on the step axis, with the first NaN at the right step."""

# ruff: noqa: E501
from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
from reading import of_type
from textlogs import read_text

from nanautopsy.autopsy import analyze
from nanautopsy.model import Series, SeriesRole

Form = Callable[[int, str], str]
LAST, FIRST_BAD = 29, 21

LOGS: dict[str, tuple[SeriesRole, Form]] = {
    "bracketed it": ("loss", lambda i, x: f"[it {i:>5}] elbo {x} rec 12.1 kl 0.3"),
    "norm in bars": ("grad_norm", lambda i, x: f"[it {i:>5}] elbo -3.2 rec 12.1 kl 0.3 |g| {x}"),
    "tabs": ("grad_norm", lambda i, x: f"{i}\tloss 0.5\tgrad {x}\tlr 3e-03"),
    "semicolons": ("loss", lambda i, x: f"{i}; loss={x}; gnorm=0.3"),
    "msle alone": ("loss", lambda i, x: f"Epoch {i}/400 - msle: {x}"),
    "batch of an epoch": ("loss", lambda i, x: f"epoch 001: {i:6} / 500 loss={x}, ppl=10, gnorm=2"),
    "episodes": ("loss", lambda i, x: f"episode {i} | policy_loss {x} | entropy 0.3 | kl 0.01"),
    "gn": (
        "grad_norm",
        lambda i, x: f"{i}%|##  | {i}/100 [00:01<00:50, 1.2it/s, loss=0.3, gn={x}]",
    ),
    "a formula without a colon": ("loss", lambda i, x: f"epoch 1 step {i} mse {x}"),
    "a letter": ("loss", lambda i, x: f"[flow] t={i:03d} bpd {x} |g| 3.2"),
    "json in a log": ("loss", lambda i, x: f'INFO:root:{{"step": {i}, "loss": {_json(x)}}}'),
}
ROWS: dict[str, tuple[SeriesRole, Form]] = {
    "one letter": ("loss", lambda i, x: f'{{"t": {i}, "train_loss": {_json(x)}}}'),
    "formula alone": ("loss", lambda i, x: f'{{"iter": {i}, "l1": {_json(x)}, "y_std": 1.5}}'),
    "counter inside": ("loss", lambda i, x: f'{{"m": {{"step": {i}, "loss": {_json(x)}}}}}'),
}
LAYERS: dict[str, tuple[str, str, Form]] = {
    "a quantity of a path": (
        "train.log", "layers.2", lambda i, x: f"step {i} loss 2.1 act_rms[layers.0]=1.0 act_rms[layers.2]={x}",
    ),
    "cells of names and numbers": (
        "train.log", "body.2", lambda i, x: f"step {i} | loss 2.1 | act_max/body.0 1.9 | act_max/body.2 {x}",
    ),
    "gradients behind a leading step": (
        "train.log", "Dense_1/kernel", lambda i, x: f"{i}: loss=2.1 grads/Dense_0/kernel=1.2 grads/Dense_1/kernel={x}",
    ),
    "nested objects": (
        "m.jsonl", "layers.1", lambda i, x: f'{{"step": {i}, "loss": 2.1, "act_norm": {{"layers.0": 1.0, "layers.1": {_json(x)}}}}}',
    ),
    "a row for each layer": (
        "acts.csv", "layers.1", lambda i, x: ("" if i else "step,layer,max_abs\n") + f"{i},layers.0,1.0\n{i},layers.1,{x}",
    ),
}  # fmt: skip


def _json(text: str) -> str:
    return text.replace("nan", "NaN")


def _check(path: Path, role: SeriesRole, form: Form) -> None:
    values = ["nan" if i >= FIRST_BAD else f"{2.3 / (1 + 0.02 * i):.4f}" for i in range(LAST + 1)]
    path.write_text("".join(form(i, x) + "\n" for i, x in enumerate(values)))
    autopsy = analyze(path.parent)
    (series,) = (s for s in autopsy.run.by_role(role) if not all(map(math.isfinite, s.values)))
    assert autopsy.verdict == "non-finite"
    assert autopsy.onset is not None and autopsy.onset.step == FIRST_BAD
    assert list(series.steps[[0, -1]]) == [0, LAST]


@pytest.mark.parametrize("name", LOGS)
def test_lines(tmp_path: Path, name: str) -> None:
    _check(tmp_path / "train.log", *LOGS[name])


@pytest.mark.parametrize("name", ROWS)
def test_objects(tmp_path: Path, name: str) -> None:
    _check(tmp_path / "history.jsonl", *ROWS[name])


@pytest.mark.parametrize("name", LAYERS)
def test_layers(tmp_path: Path, name: str) -> None:
    file, layer, form = LAYERS[name]
    values = ["nan" if i >= FIRST_BAD else f"{1 + 0.01 * (i % 5):.4f}" for i in range(LAST + 1)]
    (tmp_path / file).write_text("".join(form(i, x) + "\n" for i, x in enumerate(values)))
    onset = analyze(tmp_path).onset
    assert onset is not None and (onset.step, onset.layer) == (FIRST_BAD, layer)


STATEMENTS = {
    "AssertionError: nan after encoder.block.4.layer.1.wo": "encoder.block.4.layer.1.wo",
    "[debug] output of block3.conv2 has inf (max=inf min=-3.1)": "block3.conv2",
}


@pytest.mark.parametrize("line", STATEMENTS)
def test_statements(tmp_path: Path, line: str) -> None:
    rows = "".join(f"step {i} loss 2.1\n" for i in range(FIRST_BAD))
    (tmp_path / "train.log").write_text(f"{rows}{line}\n")
    autopsy = analyze(tmp_path)
    assert autopsy.verdict == "non-finite"
    assert autopsy.onset is not None and autopsy.onset.layer == STATEMENTS[line]


def test_pairs_without_a_sign_beside_a_loss(tmp_path: Path) -> None:
    rows = "".join(
        f"step {i} loss 2.1 batch_max 3.{i} took 5 of 9 data_max nan\n" for i in range(9)
    )
    (tmp_path / "train.log").write_text(rows)
    tags = [series.tag for series in analyze(tmp_path).run.series]
    assert tags == ["loss", "batch_max", "data_max"]


@pytest.mark.parametrize(
    "line", ["sample 00123.wav has non-finite values", "Warning: target has NaN at row 41"]
)
def test_what_is_said_of_the_data(tmp_path: Path, line: str) -> None:
    rows = "".join(f"step {i} loss 2.1\n" for i in range(9))
    (tmp_path / "train.log").write_text(f"{rows}{line}\n")
    assert [cause.id for cause in analyze(tmp_path).causes] == ["bad-input-data"]


def test_a_letter_does_not_make_a_history_of_a_dataset(tmp_path: Path) -> None:
    rows = "".join(f'{{"i": {i}, "score": 0.5, "text": "some words"}}\n' for i in range(20))
    (tmp_path / "data.jsonl").write_text(rows)
    (tmp_path / "train.log").write_text("step 1 loss 2.3\nstep 2 loss 2.2\n")
    assert [series.tag for series in analyze(tmp_path).run.series] == ["loss"]


def test_a_box_has_what_the_policy_earns(tmp_path: Path) -> None:
    box = (
        "| rollout/                |          |\n|    ep_rew_mean          | {}      |\n"
        "| train/                  |          |\n|    approx_kl            | 0.01     |\n"
        "|    total_timesteps      | {}      |\n" + "-" * 38 + "\n"
    )
    text = "-" * 38 + "\n" + "".join(box.format(i, 2048 * i) for i in range(1, 9))
    (tmp_path / "train.log").write_text(text)
    tags = [series.tag for series in analyze(tmp_path).run.series]
    assert tags == ["rollout/ep_rew_mean", "train/approx_kl"]


def test_tables_in_boxes_and_headings_with_commas(tmp_path: Path) -> None:
    rows = "".join(
        f"\u2502 {i:<4} \u2502 {'nan' if i >= FIRST_BAD else 0.5:<11} \u2502\n" for i in range(30)
    )
    head = "\u250f\u2501\u2501\u2513\n\u2503 step \u2503 poisson_nll \u2503 grad \u2503\n\u2521\u2501\u2501\u2529\n"
    (tmp_path / "train.log").write_text(head + rows.replace(" \u2502\n", " \u2502 0.1 \u2502\n"))
    assert analyze(tmp_path).onset.step == FIRST_BAD  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ["train.log", "history.csv"])
def test_batches_of_epochs_in_columns(tmp_path: Path, name: str) -> None:
    """A batch is counted anew in each epoch: rows count on."""
    rows = [f"{e},{b},{'nan' if (e, b) >= (3, 4) else 0.5},0.1" for e in range(5) for b in range(8)]
    lead = "reading data\n" if name == "train.log" else ""
    (tmp_path / name).write_text(lead + "\n".join(["epoch,batch,recon,kld", *rows]) + "\n")
    onset = analyze(tmp_path).onset
    assert onset is not None
    assert onset.step in (28, 29)


def test_a_letter_that_counts_and_a_range_of_lengths(tmp_path: Path) -> None:
    lengths = [3, 4, 3, 5, 3, 4, 6, 3, 3, 4, 0, 3]
    rows = "".join(
        f"2026-02-11 09:01:{i:02d} | b {i:04d} | src len {n}..13 | xent {3.5 - 0.01 * i:.3f}"
        f" | gn 0.3 | 1021 tok/s\n"
        for i, n in enumerate(lengths)
    )
    found = {one.tag: one for one in of_type(read_text(tmp_path, rows), Series)}
    assert found["src len min"].values.tolist() == lengths
    assert found["xent"].steps.tolist() == list(range(12))


def test_a_letter_in_a_sentence_counts_nothing(tmp_path: Path) -> None:
    rows = "".join(f"b {i} is done, xent 3.{i}\n" for i in range(4))
    assert not [s for s in of_type(read_text(tmp_path, rows), Series) if s.axis == "step"]
