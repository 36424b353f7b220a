"""Metric lines of public programs whose counters, units or stray numbers need care."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from textlogs import points_of, read_text

from nanautopsy.roles import classify

NAN = math.nan
Expected = dict[tuple[str, str], tuple[list[int], list[float]]]

# ruff: noqa: E501
FORMS: list[tuple[str, str, Expected]] = [
    (
        "logging, file and line",
        "2024-01-01 10:00:00 train.py:42 - INFO - step 1 loss: 2.5\n"
        "2024-01-01 10:00:01 train.py:42 - INFO - step 2 loss: nan\n",
        {("loss", "step"): ([1, 2], [2.5, NAN])},
    ),
    (
        "words, with a fraction and a share",
        "".join(f"iter {n} mpjpe {v} gnorm 0.5 of 159/160\n" for n, v in ((1, 0.9), (2, "nan"))),
        {("mpjpe", "step"): ([1, 2], [0.9, NAN]), ("gnorm", "step"): ([1, 2], [0.5, 0.5])},
    ),
    (
        "a label between bars",
        "".join(
            f"| denoise | {n:5d} | mse {v} | gnorm 0.5 |\n" for n, v in ((20, 0.9), (40, "nan"))
        ),
        {("mse", "step"): ([20, 40], [0.9, NAN]), ("gnorm", "step"): ([20, 40], [0.5, 0.5])},
    ),
    (
        "a list of layers",
        "[  20/4000] mlm=3.2 attn_max=(1680, 1860) lr=[0.1, 0.1]\n"
        "[  40/4000] mlm=2.7 attn_max=(3872, inf) lr=[0.1, 0.1]\n",
        {
            ("mlm", "step"): ([20, 40], [3.2, 2.7]),
            ("attn_max/0", "step"): ([20, 40], [1680, 3872]),
            ("attn_max/1", "step"): ([20, 40], [1860, math.inf]),
            ("lr", "step"): ([20, 40], [0.1, 0.1]),
        },
    ),
    (
        "Marian, with the norm and the rate",
        "[2025-03-04 09:13:05] Ep. 1 : Up. 20 : Sen. 1,160 : Cost 2.5 * 3,840 @ 192 after 3,840 : Time 5.97s : 833.53 words/s : gNorm 2.8 : L.r. 2.5e-02\n"
        "[2025-03-04 09:13:39] Ep. 1 : Up. 40 : Sen. 2,320 : Cost nan * 3,840 @ 192 after 7,680 : Time 6.00s : 846.68 words/s : gNorm nan : L.r. 5.0e-02\n",
        {
            ("cost", "step"): ([20, 40], [2.5, NAN]),
            ("grad_norm", "step"): ([20, 40], [2.8, NAN]),
            ("lr", "step"): ([20, 40], [0.025, 0.05]),
        },
    ),
    (
        "Marian without them",
        "[2025-03-04 09:13:05] Ep. 1 : Up. 20 : Sen. 1,160 : Cost 2.5 : Time 5.97s : 833.53 words/s\n",
        {("cost", "step"): ([20], [2.5])},
    ),
    (
        "VITS",
        "2025-03-04 09:13:05,123\tljs\tINFO\tTrain Epoch: 1 [25%]\n"
        "2025-03-04 09:13:05,124\tljs\tINFO\t[2.4, 2.1, 3.0, 18.2, 1.5, 1.2, 200, 0.0002]\n"
        "2025-03-04 09:14:05,124\tljs\tINFO\t[2.4, 2.1, 3.0, 17.5, 1.5, inf, 400, 0.0002]\n",
        {
            ("disc_loss", "step"): ([200, 400], [2.4, 2.4]),
            ("gen_loss", "step"): ([200, 400], [2.1, 2.1]),
            ("fm_loss", "step"): ([200, 400], [3.0, 3.0]),
            ("mel_loss", "step"): ([200, 400], [18.2, 17.5]),
            ("dur_loss", "step"): ([200, 400], [1.5, 1.5]),
            ("kl_loss", "step"): ([200, 400], [1.2, math.inf]),
            ("lr", "step"): ([200, 400], [0.0002, 0.0002]),
        },
    ),
    (
        "so-vits-svc",
        "2025-03-04 09:13:05,124\t44k\tINFO\tLosses: [2.4, 2.1, 3.0, 18.2, 1.2], step: 200, lr: 0.0001, reference_loss: 26.9\n"
        "2025-03-04 09:14:05,124\t44k\tINFO\tLosses: [nan, nan, nan, nan, nan], step: 400, lr: 0.0001, reference_loss: nan\n",
        {
            ("disc_loss", "step"): ([200, 400], [2.4, NAN]),
            ("gen_loss", "step"): ([200, 400], [2.1, NAN]),
            ("fm_loss", "step"): ([200, 400], [3.0, NAN]),
            ("mel_loss", "step"): ([200, 400], [18.2, NAN]),
            ("kl_loss", "step"): ([200, 400], [1.2, NAN]),
            ("lr", "step"): ([200, 400], [0.0001, 0.0001]),
            ("reference_loss", "step"): ([200, 400], [26.9, NAN]),
        },
    ),
    (
        "loguru",
        "2024-01-01 10:00:00.123 | INFO     | __main__:train:42 - step 1 loss: 2.5\n",
        {("loss", "step"): ([1], [2.5])},
    ),
    (
        "nanotron",
        "01/22/2025 10:12:23 [INFO|DP=0|PP=0|TP=0|node-0]: iteration: 5 / 100 | consumed_tokens: 1.31M | tokens_per_sec: 125K | lm_loss: 85.8G | lr: 0.00015 | grad_norm: 1.2K | cuda_memory_allocated: 2.1G\n"
        "01/22/2025 10:12:24 [INFO|DP=0|PP=0|TP=0|node-0]: iteration: 6 / 100 | consumed_tokens: 1.31M | tokens_per_sec: 125K | lm_loss: 1.8G | lr: 0.00015 | grad_norm: 1.5K | cuda_memory_allocated: 2.1G\n",
        {
            ("lm_loss", "step"): ([5, 6], [85.8e9, 1.8e9]),
            ("lr", "step"): ([5, 6], [0.00015, 0.00015]),
            ("grad_norm", "step"): ([5, 6], [1200.0, 1500.0]),
        },
    ),
    (
        "timm",
        "".join(
            f"Train: {epoch} [{batch:>4d}/1251 ({batch // 13:>3d}%)]  Loss: {loss} (6.9)  Time: 3.510s,   36.47/s  (3.510s,   36.47/s)  LR: 1.000e-06  Data: 0.000 (0.000)\n"
            for epoch, batch, loss in ((0, 0, "6.9"), (0, 1250, "6.5"), (1, 0, "nan"))
        ),
        {
            ("Loss", "step"): ([0, 1250, 1251], [6.9, 6.5, NAN]),
            ("LR", "step"): ([0, 1250, 1251], [1e-6, 1e-6, 1e-6]),
        },
    ),
    (
        "Swin Transformer",
        "[2021-04-11 12:00:00 swin](main.py 195): INFO Train: [0/300][0/1251]\teta 4:00:00 lr 0.000001\ttime 1.2 (1.2)\tloss 6.9 (6.9)\tgrad_norm 1.5 (1.5)\tmem 9000MB\n"
        "[2021-04-11 12:00:00 swin](main.py 195): INFO Train: [1/300][10/1251]\teta 4:00:00 lr 0.000001\ttime 1.2 (1.2)\tloss nan (nan)\tgrad_norm nan (nan)\tmem 9000MB\n",
        {
            ("lr", "step"): ([0, 1261], [1e-6, 1e-6]),
            ("loss", "step"): ([0, 1261], [6.9, NAN]),
            ("grad_norm", "step"): ([0, 1261], [1.5, NAN]),
        },
    ),
    (
        "InternLM",
        "step=3,loss=11.364,lr=4e-06,grad_norm={'0_default': 2.5, '1_fp32': 0.1}\n"
        "step=4,loss=11.364,lr=4e-06,grad_norm={'0_default': nan, '1_fp32': 0.1}\n",
        {
            ("loss", "step"): ([3, 4], [11.364, 11.364]),
            ("lr", "step"): ([3, 4], [4e-6, 4e-6]),
            ("grad_norm.default", "step"): ([3, 4], [2.5, NAN]),
            ("grad_norm.fp32", "step"): ([3, 4], [0.1, 0.1]),
        },
    ),
    (
        "torchtune",
        "1|19|Loss: 2.25:  19%|#9        | 19/100 [00:30<02:00,  1.5s/it]\r"
        "1|20|Loss: nan:  20%|##        | 20/100 [00:30<02:00,  1.5s/it]\n",
        {("Loss", "step"): ([19, 20], [2.25, NAN])},
    ),
    (
        "PyTorch tutorials",
        "[1,  2000] loss: 2.196 acc: 18.4%\n[1,  4000] loss: nan acc: 10.0%\n",
        {
            ("loss", "step"): ([2000, 4000], [2.196, NAN]),
            ("acc", "step"): ([2000, 4000], [18.4, 10.0]),
        },
    ),
    (
        "ESPnet",
        "[node1] 2023-01-01 10:00:00,123 (trainer:737) INFO: 1epoch:train:1-100batch: iter_time=0.1, loss_ctc=3.5, loss=3.0\n"
        "[node1] 2023-01-01 10:00:00,123 (trainer:737) INFO: 1epoch:train:101-200batch: iter_time=0.1, loss_ctc=nan, loss=nan\n"
        "[node1] 2023-01-01 10:00:00,123 (trainer:338) INFO: 1epoch results: [train] iter_time=0.1, loss=nan, time=3 seconds, [valid] loss=3.5, time=3 seconds\n",
        {
            ("loss_ctc", "step"): ([100, 200], [3.5, NAN]),
            ("loss", "step"): ([100, 200], [3.0, NAN]),
            ("loss", "epoch"): ([1], [NAN]),
            ("valid loss", "epoch"): ([1], [3.5]),
        },
    ),
    (
        "DINOv2",
        "I20230816 10:22:33 12345 dinov2 helpers.py:102] Training  [    0/125000]  eta: 1 day, 3:00:00  total_loss: 11.0 (11.0)  time: 0.8  data: 0.01  max mem: 30000\n"
        "I20230816 10:22:34 12345 dinov2 helpers.py:102] Training  [   10/125000]  eta: 1 day, 3:00:00  total_loss: nan (nan)  time: 0.8  data: 0.01  max mem: 30000\n",
        {("total_loss", "step"): ([0, 10], [11.0, NAN])},
    ),
    (
        "rsl_rl",
        "".join(
            f"                       Learning iteration {i}/1500                       \n\n"
            "                       Computation: 12345 steps/s (collection: 1.2s, learning 0.3s)\n"
            f"               Value function loss: {loss}\n"
            "                    Surrogate loss: -0.0029\n"
            for i, loss in enumerate(("0.5", "0.25", "nan"))
        ),
        {
            ("Value function loss", "step"): ([0, 1, 2], [0.5, 0.25, NAN]),
            ("Surrogate loss", "step"): ([0, 1, 2], [-0.0029] * 3),
        },
    ),
]


@pytest.mark.parametrize(
    ("text", "expected"), [form[1:] for form in FORMS], ids=[form[0] for form in FORMS]
)
def test_forms(tmp_path: Path, text: str, expected: Expected) -> None:
    found = points_of(read_text(tmp_path, text))
    assert set(found) == set(expected)
    for key, (steps, values) in expected.items():
        assert found[key][0] == steps, key
        assert np.allclose(found[key][1], values, rtol=1e-12, equal_nan=True), key


def test_espnet_epochs_of_unknown_length_give_no_steps(tmp_path: Path) -> None:
    lines = [
        f"{epoch}epoch:train:{batch - 99}-{batch}batch: loss=2.5\n"
        for epoch in (1, 2)
        for batch in (100, 200)
    ]
    assert set(points_of(read_text(tmp_path, "".join(lines)))) == {("loss", "record")}


@pytest.mark.parametrize(
    ("line", "tag"),
    [
        # A metric beside a colon, and losses by phase, are no places in a source.
        ("step 3 train:loss: 2.5", "train:loss"),
        ("epoch 3 loss: 2.5 train: 0.5 val: 0.6", "train"),
        ("step:3 - actor/kl:0.1 - actor/loss:0.5", "actor/kl"),
        ("step 3 metrics={'loss': 2.5}", "loss"),
        ("step 3 loss: 2.5 grad: {'norm': 0.5}", "norm"),
    ],
)
def test_not_taken_for_places_or_groups(tmp_path: Path, line: str, tag: str) -> None:
    found = points_of(read_text(tmp_path, line + "\n" + line.replace("3", "4") + "\n"))
    assert tag in {name for name, _ in found}, found


def test_a_unit_of_memory_is_no_factor(tmp_path: Path) -> None:
    found = points_of(read_text(tmp_path, "step 3 | loss: 2.5 | mem: 85.8G | reserved: 1.2K\n"))
    assert set(found) == {("loss", "step")}


def test_grouped_gradient_norms_are_no_layers() -> None:
    assert classify("grad_norm.default") == ("grad_norm", None)
