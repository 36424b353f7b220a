"""Reports in boxes and columns, counters of unusual forms, and other languages than English."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from reading import of_type
from textlogs import events_of, points_of, read_text, same

from nanautopsy.model import ConfigRecord, Series
from nanautopsy.roles import classify

NAN = math.nan
Expected = dict[tuple[str, str], tuple[list[int], list[float]]]

# ruff: noqa: E501
FORMS: list[tuple[str, str, Expected]] = [
    (
        "rich",
        "".join(
            f"       Iteration {n}       \n┏━━━━━━━━━━━━━┳━━━━━━━┓\n┃ Metric      ┃ Value ┃\n┡━━━━━━━━━━━━━╇━━━━━━━┩\n"
            f"│ policy loss │ {loss}   │\n│ grad norm   │ 1.5   │\n└─────────────┴───────┘\n"
            for n, loss in ((10, "2.5"), (20, "nan"))
        ),
        {
            ("policy loss", "step"): ([10, 20], [2.5, NAN]),
            ("grad norm", "step"): ([10, 20], [1.5, 1.5]),
        },
    ),
    (
        "tabulate, simple",
        "".join(
            f"----------  {dashes}\nitr         {n}\nloss/total  {loss}\n----------  {dashes}\n"
            for n, loss, dashes in ((10, "2.11976", "-------"), (20, "nan", "---"))
        ),
        {("loss/total", "step"): ([10, 20], [2.11976, NAN])},
    ),
    (
        "tabulate, grid",
        "".join(
            f"+------------+---------+\n| itr        | {n}      |\n+------------+---------+\n| loss/total | {loss} |\n+------------+---------+\n"
            for n, loss in ((10, "2.11976"), (20, "nan    "))
        ),
        {("loss/total", "step"): ([10, 20], [2.11976, NAN])},
    ),
    (
        "MATLAB, trainNetwork with validation",
        "|======================================================================================================================|\n"
        "|  Epoch  |  Iteration  |  Time Elapsed  |  Mini-batch  |  Validation  |  Mini-batch  |  Validation  |  Base Learning  |\n"
        "|         |             |   (hh:mm:ss)   |   Accuracy   |   Accuracy   |     Loss     |     Loss     |      Rate       |\n"
        "|======================================================================================================================|\n"
        "|       1 |           1 |       00:00:00 |       12.50% |       13.10% |       2.5000 |       2.2500 |          0.0100 |\n"
        "|       1 |          50 |       00:00:09 |       25.00% |              |          NaN |              |          0.0100 |\n",
        {
            ("Mini-batch Accuracy", "step"): ([1, 50], [12.5, 25.0]),
            ("Validation Accuracy", "step"): ([1], [13.1]),
            ("Mini-batch Loss", "step"): ([1, 50], [2.5, NAN]),
            ("Validation Loss", "step"): ([1], [2.25]),
            ("Base Learning Rate", "step"): ([1, 50], [0.01, 0.01]),
        },
    ),
    (
        "a phase with its step in brackets",
        "Train[28] bce 0.700 l2 0.10\nTrain[29] bce nan l2 0.10\nValid[29] bce nan auc 0.5\n",
        {
            ("bce", "step"): ([28, 29], [0.7, NAN]),
            ("l2", "step"): ([28, 29], [0.1, 0.1]),
            ("Valid bce", "step"): ([29], [NAN]),
            ("Valid auc", "step"): ([29], [0.5]),
        },
    ),
    (
        "epoch in brackets, then the batch",
        "[1/3]   1/2 lr 1.0e-01 loss 2.5\n[1/3]   2/2 lr 1.0e-01 loss 2.25\n[2/3]   1/2 lr 1.0e-01 loss nan\n",
        {
            ("lr", "step"): ([1, 2, 3], [0.1, 0.1, 0.1]),
            ("loss", "step"): ([1, 2, 3], [2.5, 2.25, NAN]),
        },
    ),
    (
        "MindSpore, whose steps begin anew",
        "".join(
            f"epoch: {epoch} step: {step}, loss is {loss}\n"
            for epoch, step, loss in ((1, 1, 2.5), (1, 2, 2.25), (2, 1, 2.0), (2, 2, "nan"))
        ),
        {("loss", "step"): ([1, 2, 3, 4], [2.5, 2.25, 2.0, NAN])},
    ),
    (
        "levanter",
        "Progress on:train 900.0it/10.0kit rate:1.7it/s remaining:00:30 elapsed:00:29 postfix:loss=2.500\n"
        "Progress on:train 1.2kit/10.0kit rate:1.7it/s remaining:00:30 elapsed:00:29 postfix:loss=nan\n",
        {("postfix:loss", "step"): ([900, 1200], [2.5, NAN])},
    ),
    (
        "German",
        "Epoche 1 Schritt 10: Verlust = 2.5, Lernrate = 0.01\nEpoche 1 Schritt 20: Verlust = nan, Lernrate = 0.01\n",
        {
            ("Verlust", "step"): ([10, 20], [2.5, NAN]),
            ("Lernrate", "step"): ([10, 20], [0.01, 0.01]),
        },
    ),
    (
        "Russian",
        "Эпоха 1 | Шаг 10 | Потери: 2.5 | норма градиента: 1.5\nЭпоха 1 | Шаг 20 | Потери: nan | норма градиента: 1.5\n",
        {
            ("Потери", "step"): ([10, 20], [2.5, NAN]),
            ("норма градиента", "step"): ([10, 20], [1.5, 1.5]),
        },
    ),
    (
        "Japanese",
        "エポック 1 ステップ 10 損失: 2.5 学習率: 0.01\nエポック 1 ステップ 20 損失: nan 学習率: 0.01\n",
        {
            ("損失", "step"): ([10, 20], [2.5, NAN]),
            ("学習率", "step"): ([10, 20], [0.01, 0.01]),
        },
    ),
    (
        "French",
        "Étape 10 : perte = 2.5 (norme du gradient = 1.5, taux d'apprentissage = 0.01)\n"
        "Étape 20 : perte = nan (norme du gradient = 1.5, taux d'apprentissage = 0.01)\n",
        {
            ("perte", "step"): ([10, 20], [2.5, NAN]),
            ("norme du gradient", "step"): ([10, 20], [1.5, 1.5]),
            ("apprentissage", "step"): ([10, 20], [0.01, 0.01]),
        },
    ),
    (
        "Korean, without a sign between name and number",
        "에폭 1 스텝 10 손실 2.5 학습률 0.01\n에폭 1 스텝 20 손실 nan 학습률 0.01\n",
        {
            ("손실", "step"): ([10, 20], [2.5, NAN]),
            ("학습률", "step"): ([10, 20], [0.01, 0.01]),
        },
    ),
    (
        "tensors, as Python prints them",
        "step 10 loss tensor(2.5000, device='cuda:0', grad_fn=<AddBackward0>) gnorm tensor(1.5, device='cuda:0')\n"
        "step 20 loss tensor(nan, device='cuda:0', grad_fn=<AddBackward0>) gnorm tensor(nan, device='cuda:0')\n",
        {
            ("loss", "step"): ([10, 20], [2.5, NAN]),
            ("gnorm", "step"): ([10, 20], [1.5, NAN]),
        },
    ),
    (
        "pandas",
        "    step          loss     grad_norm   lr\n0     10  2.500000e+00  1.500000e+00  7.0\n1     20           NaN           NaN  7.0\n",
        {
            ("loss", "step"): ([10, 20], [2.5, NAN]),
            ("grad_norm", "step"): ([10, 20], [1.5, NAN]),
            ("lr", "step"): ([10, 20], [7.0, 7.0]),
        },
    ),
    (
        "syslog",
        "Mar  5 14:02:19 gpu07 python[41231]: it 5 | train/loss 2.5 | lr 0.5\n"
        "Mar  5 14:02:28 gpu07 python[41231]: it 10 | train/loss nan | lr 0.5\n",
        {
            ("train/loss", "step"): ([5, 10], [2.5, NAN]),
            ("lr", "step"): ([5, 10], [0.5, 0.5]),
        },
    ),
    (
        "Docker's JSON",
        '{"log":"step     5 loss 2.5 lr 2.5e-02\\n","stream":"stdout","time":"2024-03-05T14:02:19.1Z"}\n'
        '{"log":"step    10 loss nan lr 2.5e-02\\n","stream":"stdout","time":"2024-03-05T14:02:28.1Z"}\n',
        {
            ("loss", "step"): ([5, 10], [2.5, NAN]),
            ("lr", "step"): ([5, 10], [0.025, 0.025]),
        },
    ),
    (
        "commas between thousands",
        "".join(
            f"step {n:,} / 1,200,000  loss {loss}  tokens {n * 4096:,}\n"
            for n, loss in ((999, 2.5), (1000, 2.25), (1000000, NAN))
        ),
        {
            ("loss", "step"): ([999, 1000, 1000000], [2.5, 2.25, NAN]),
            ("tokens", "step"): ([999, 1000, 1000000], [4091904.0, 4096000.0, 4096000000.0]),
        },
    ),
    (
        "the terms of a loss behind the error that it raised (detectron2)",
        "[06/02 12:00:00 d2.utils.events]:  eta: 0:10:00  iter: 39  total_loss: 2.5  loss_cls: 1.5  lr: 0.01\n"
        "FloatingPointError: Loss became infinite or NaN at iteration=59!\n"
        "loss_dict = {'loss_cls': nan}\n",
        {
            ("total_loss", "step"): ([39], [2.5]),
            ("loss_cls", "step"): ([39, 59], [1.5, NAN]),
            ("lr", "step"): ([39], [0.01]),
        },
    ),
]


@pytest.mark.parametrize(("name", "text", "expected"), FORMS, ids=[form[0] for form in FORMS])
def test_form(name: str, text: str, expected: Expected, tmp_path: Path) -> None:
    found = points_of(read_text(tmp_path, text))
    assert found.keys() == expected.keys()
    for key, (steps, values) in expected.items():
        assert same(found[key], steps, values), key


@pytest.mark.parametrize(
    ("tag", "role"),
    [
        ("Verlust", "loss"),
        ("pérdida", "loss"),
        ("Потери", "loss"),
        ("損失", "loss"),
        ("손실", "loss"),
        ("Lernrate", "learning_rate"),
        ("скорость обучения", "learning_rate"),
        ("норма градиента", "grad_norm"),
        ("norme du gradient", "grad_norm"),
        ("norma del gradiente", "grad_norm"),
        ("superdad", "other"),
    ],
)
def test_roles_in_other_languages(tag: str, role: str) -> None:
    assert classify(tag)[0] == role


def test_a_table_has_a_column_of_ranks(tmp_path: Path) -> None:
    rows = [(10, 0, 2.5), (10, 1, 2.25), (20, 1, NAN), (20, 0, 2.0)]
    text = "".join(f"R{rank} | {step} | {loss}\n" for step, rank, loss in rows)
    series = of_type(read_text(tmp_path, f"rank | step | loss\n{text}"), Series)
    assert {(s.rank, s.tag, s.values[0]) for s in series} == {(0, "loss", 2.5), (1, "loss", 2.25)}


def test_a_device_of_xla_is_a_rank(tmp_path: Path) -> None:
    text = "".join(
        f"| Training Device=xla:0/{rank} Epoch=1 Step={step} Loss={step + rank}.5 Rate=6.4\n"
        for step in (10, 20)
        for rank in (1, 0)
    )
    losses = [s for s in of_type(read_text(tmp_path, text), Series) if s.tag == "Loss"]
    assert {(s.rank, s.values[0], len(s)) for s in losses} == {(0, 10.5, 2), (1, 11.5, 2)}


def test_a_list_has_commas_as_well(tmp_path: Path) -> None:
    found = points_of(read_text(tmp_path, "step 5 loss 2.5 sizes 1,234,567,20 lr 0.1\n"))
    assert found["loss", "step"] == ([5], [2.5])
    assert found["lr", "step"] == ([5], [0.1])


def test_a_table_of_settings_is_no_report(tmp_path: Path) -> None:
    text = (
        "┏━━━━━━━━━━━━━━━┳━━━━━━━┓\n┃ Setting       ┃ Value ┃\n┡━━━━━━━━━━━━━━━╇━━━━━━━┩\n"
        "│ learning rate │ 0.01  │\n│ batch size    │ 32    │\n└───────────────┴───────┘\n"
        "step 1 loss 2.5\n"
    )
    records = read_text(tmp_path, text)
    assert points_of(records).keys() == {("loss", "step")}
    settings = {k: v for record in of_type(records, ConfigRecord) for k, v in record.values.items()}
    assert settings == {"learning_rate": 0.01, "batch_size": 32}


def test_every_batch_has_to_be_logged_to_count_those_of_an_epoch(tmp_path: Path) -> None:
    """Of batches 20 and 40 of an epoch nobody knows how many there are."""
    rows = [(e, b) for e in (1, 2, 3) for b in (20, 40)]
    text = "".join(f"Epoch {e}, batch {b}, loss: 2.5\n" for e, b in rows)
    assert points_of(read_text(tmp_path, text)).keys() == {("loss", "record")}


def test_a_row_knows_its_step_better_than_its_words(tmp_path: Path) -> None:
    text = "".join(
        f"epoch: {epoch} step: {step}, loss is {'nan' if epoch > 1 else 2.5}\n"
        for epoch in (1, 2)
        for step in (1, 2, 3)
    )
    first, *_ = events_of(read_text(tmp_path, text), "nonfinite-text")
    assert first.step == 4


def test_maxtext_says_what_it_computes_in(tmp_path: Path) -> None:
    text = (
        "Config param adam_eps: 1e-08\nConfig param dtype: bfloat16\n"
        "Config param learning_rate: 3e-05\nConfig param weight_dtype: float32\n"
    )
    found = of_type(read_text(tmp_path, text), ConfigRecord)
    settings = {k: v for record in found for k, v in record.values.items()}
    assert settings["compute_dtype"] == "bfloat16"
    assert settings["weights_dtype"] == "float32"
    assert settings["learning_rate"] == 3e-05
