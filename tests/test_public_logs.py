"""Whole logs in the formats of public programs: what is read from them, and what is concluded."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from textlogs import points_of, read_text, same

import nanautopsy
from nanautopsy.model import Autopsy

NAN = math.nan

# ruff: noqa: E501
READ: list[tuple[str, str, dict[tuple[str, str], tuple[list[int], list[float]]]]] = [
    (
        "Darknet",
        " 7: 31.500000, 33.250000 avg loss, 0.000100 rate, 4.250000 seconds, 448 images, 9.5 hours left\n"
        "Loaded: 0.000031 seconds\n"
        " 8: -nan, -nan avg loss, 0.000100 rate, 4.500000 seconds, 512 images, 9.4 hours left\n",
        {
            ("loss", "step"): ([7, 8], [31.5, NAN]),
            ("avg_loss", "step"): ([7, 8], [33.25, NAN]),
            ("lr", "step"): ([7, 8], [1e-4, 1e-4]),
        },
    ),
    (
        "llm.c",
        "s:0 tel:10.9970\ns:0 eval:0.2500\ns:0 trl:11.0000 lr:0.000001 norm:15.50\n"
        "s:1 trl:nan lr:0.000002 norm:nan\n",
        {
            ("val_loss", "step"): ([0], [10.997]),
            ("eval_accuracy", "step"): ([0], [0.25]),
            ("train_loss", "step"): ([0, 1], [11.0, NAN]),
            ("lr", "step"): ([0, 1], [1e-6, 2e-6]),
            ("grad_norm", "step"): ([0, 1], [15.5, NAN]),
        },
    ),
    (
        "build-nanogpt",
        "0 val 10.9500\n0 hella 0.2450\n0 train 10.955000\n1 train 9.500000\n2 train nan\n",
        {
            ("val_loss", "step"): ([0], [10.95]),
            ("hella_accuracy", "step"): ([0], [0.245]),
            ("train_loss", "step"): ([0, 1, 2], [10.955, 9.5, NAN]),
        },
    ),
    (
        "Deeplearning4j",
        "09:15:00.250 [main] INFO org.deeplearning4j.optimize.listeners.ScoreIterationListener - Score at iteration 40 is 0.75\n"
        "09:15:01.500 [main] INFO org.deeplearning4j.optimize.listeners.ScoreIterationListener - Score at iteration 50 is NaN\n",
        {("score_loss", "step"): ([40, 50], [0.75, NAN])},
    ),
    (
        "rlpyt",
        "2021-02-03 04:05:06.100000  | loss/Average                    0.5\n"
        "2021-02-03 04:05:06.200000  | StepsPerSecond                  88\n"
        "2021-02-03 04:06:06.100000  | loss/Average                    nan\n",
        {("loss/Average", "record"): ([0, 1], [0.5, NAN])},
    ),
    (
        "Marian",
        "[2021-01-01 01:02:03] Ep. 1 : Up. 500 : Sen. 31,997 : Cost 9.25000000 : Time 20.50s : 7000.25 words/s\n"
        "[2021-01-01 01:03:03] Ep. 1 : Up. 1000 : Sen. 63,850 : Cost nan : Time 20.50s : 7000.25 words/s\n",
        {("cost", "step"): ([500, 1000], [9.25, NAN])},
    ),
    (
        "nnU-Net",
        "2023-04-05 06:07:08.123456: Epoch 7 \n"
        "2023-04-05 06:07:08.123500: Current learning rate: 0.25 \n"
        "2023-04-05 06:09:08.123456: train_loss -0.5 \n"
        "2023-04-05 06:09:09.123456: val_loss nan \n"
        "2023-04-05 06:09:09.223456: Epoch 8 \n"
        "2023-04-05 06:11:08.123456: train_loss -0.75 \n",
        {
            ("train_loss", "epoch"): ([7, 8], [-0.5, -0.75]),
            ("val_loss", "epoch"): ([7], [NAN]),
        },
    ),
    (
        "OpenNMT-py before version 0.4",
        "Epoch  2,   100/  400; acc:  12.50; ppl: 500.25; xent:   6.25; 3000 src tok/s; 3100 tgt tok/s;   50 s elapsed\n"
        "Epoch  2,   150/  400; acc:   0.00; ppl:    nan; xent:    nan; 3000 src tok/s; 3100 tgt tok/s;   75 s elapsed\n",
        {
            ("acc", "step"): ([500, 550], [12.5, 0.0]),
            ("ppl", "step"): ([500, 550], [500.25, NAN]),
            ("xent", "step"): ([500, 550], [6.25, NAN]),
        },
    ),
    (
        "CycleGAN",
        "(epoch: 1, iters: 100, time: 0.250, data: 0.125) D_A: 0.500 idt_A: 1.5 \n"
        "(epoch: 1, iters: 200, time: 0.250, data: 0.125) D_A: nan idt_A: nan \n",
        {
            ("D_A", "step"): ([100, 200], [0.5, NAN]),
            ("idt_A", "step"): ([100, 200], [1.5, NAN]),
        },
    ),
    (
        "spaCy",
        "E    #       LOSS TOK2VEC  LOSS NER  ENTS_F  SCORE \n"
        "---  ------  ------------  --------  ------  ------\n"
        "  0       0          0.00     31.25    0.00    0.00\n"
        "  0     200         12.50       nan   40.25    0.40\n",
        {
            ("LOSS TOK2VEC", "step"): ([0, 200], [0.0, 12.5]),
            ("LOSS NER", "step"): ([0, 200], [31.25, NAN]),
            ("ENTS_F", "step"): ([0, 200], [0.0, 40.25]),
            ("SCORE", "step"): ([0, 200], [0.0, 0.4]),
        },
    ),
    (
        "OpenRLHF",
        "Episode [1/2]:   5%|#    | 3/60 [02:30<45:00, 50.0s/it, pg=-0.125, kl=0.25, act_lr=1e-6]\n"
        "Episode [1/2]:   7%|#    | 4/60 [03:20<44:00, 50.0s/it, pg=nan, kl=nan, act_lr=1e-6]\n",
        {
            ("pg", "step"): ([3, 4], [-0.125, NAN]),
            ("kl", "step"): ([3, 4], [0.25, NAN]),
            ("act_lr", "step"): ([3, 4], [1e-6, 1e-6]),
        },
    ),
    (
        "batches of a later epoch alone, as icefall logs them",
        "2022-01-02 03:04:05,678 INFO [train.py:800] (0/8) Epoch 4, batch 50, tot_loss[loss=0.25, over 900.50 frames. ], batch size: 8\n"
        "2022-01-02 03:05:05,678 INFO [train.py:800] (0/8) Epoch 4, batch 100, tot_loss[loss=inf, over 900.50 frames. ], batch size: 9\n",
        {("loss", "step"): ([50, 100], [0.25, math.inf])},
    ),
    (
        "flashlight",
        "epoch:        1 | nupdates:         2000 | lr: 0.250000 | loss:   31.25000 | train-TER: 88.50\n"
        "epoch:        1 | nupdates:         3000 | lr: 0.250000 | loss:        nan | train-TER: 100.00\n",
        {
            ("lr", "step"): ([2000, 3000], [0.25, 0.25]),
            ("loss", "step"): ([2000, 3000], [31.25, NAN]),
            ("train-TER", "step"): ([2000, 3000], [88.5, 100.0]),
        },
    ),
    (
        "Tacotron 2",
        "Train loss 8 5.250000 Grad Norm 7.500000 4.03s/it\n"
        "Train loss 9 nan Grad Norm nan 4.03s/it\nValidation loss 1000:  0.375000  \n",
        {
            ("train_loss", "step"): ([8, 9], [5.25, NAN]),
            ("grad_norm", "step"): ([8, 9], [7.5, NAN]),
            ("val_loss", "step"): ([1000], [0.375]),
        },
    ),
    (
        "WaveGlow",
        "41:\t-5.250000000\n42:\tnan\n",
        {("loss", "step"): ([41, 42], [-5.25, NAN])},
    ),
    (
        "pytorch-yolo2",
        "80: nGT 31, recall 22, proposals 0, loss: x 2.125, y 1.5, total 67.250000\n"
        "96: nGT 30, recall 20, proposals 0, loss: x nan, y nan, total nan\n",
        {("total_loss", "step"): ([80, 96], [67.25, NAN])},
    ),
    (
        "DCGAN",
        "[0/5][1582/1583] Loss_D: 0.5000 Loss_G: 1.2500\n[1/5][1/1583] Loss_D: nan Loss_G: nan\n",
        {
            ("Loss_D", "step"): ([1582, 1584], [0.5, NAN]),
            ("Loss_G", "step"): ([1582, 1584], [1.25, NAN]),
        },
    ),
    (
        "torch-ngp",
        "loss=0.5 (0.75) lr=0.25: :  85% 85/100 [00:00<00:00, 98.50it/s]\n"
        "loss=nan (nan) lr=0.25: :  86% 86/100 [00:00<00:00, 98.50it/s]NaN or Inf found in input tensor.\n",
        {("loss", "step"): ([85, 86], [0.5, NAN]), ("lr", "step"): ([85, 86], [0.25, 0.25])},
    ),
    (
        "WeNet",
        "".join(
            f"2023-01-02 03:04:05,678 DEBUG TRAIN Batch 0/{batch} loss {loss} lr 0.00025 rank 0\n"
            for batch, loss in ((100, "9.5"), (200, "8.5"), (300, "nan"))
        ),
        {
            ("loss", "step"): ([100, 200, 300], [9.5, 8.5, NAN]),
            ("lr", "step"): ([100, 200, 300], [0.00025] * 3),
        },
    ),
    (
        "DeePMD-kit",
        "#  step      rmse_trn    rmse_e_trn    rmse_f_trn         lr\n"
        "      0      2.50e+00      1.25e-01      1.50e+00    1.0e-03\n"
        "   1000           nan      1.25e-01           nan    1.0e-03\n",
        {
            ("rmse_trn", "step"): ([0, 1000], [2.5, NAN]),
            ("rmse_e_trn", "step"): ([0, 1000], [0.125, 0.125]),
            ("rmse_f_trn", "step"): ([0, 1000], [1.5, NAN]),
            ("lr", "step"): ([0, 1000], [1e-3, 1e-3]),
        },
    ),
    (
        "a table with epochs and iterations",
        "  ep    it    loss    lr\n   0    10     2.5  0.25\n   0    20     nan  0.25\n",
        {("loss", "step"): ([10, 20], [2.5, NAN]), ("lr", "step"): ([10, 20], [0.25, 0.25])},
    ),
    (
        "LitGPT",
        "Epoch 1 | iter 36 step 9 | loss train: 2.5, val: n/a | iter time: 300.25 ms (step)\n"
        "Epoch 1 | iter 40 step 10 | loss train: nan, val: n/a | iter time: 300.25 ms (step)\n",
        {("loss train", "step"): ([9, 10], [2.5, NAN])},
    ),
    (
        "signs",
        "🔥 Step 5/50 — loss=0.5 📉 | ⏱ 0.25s\n🔥 Step 10/50 — loss=nan 📉 | ⏱ 0.25s\n",
        {("loss", "step"): ([5, 10], [0.5, NAN])},
    ),
    (
        "nested dictionaries",
        "{'epoch': 3, 'train': {'loss': 0.5, 'acc': 0.75}, 'val': {'loss': nan, 'acc': 0.5}}\n",
        {
            ("train.loss", "epoch"): ([3], [0.5]),
            ("train.acc", "epoch"): ([3], [0.75]),
            ("val.loss", "epoch"): ([3], [NAN]),
            ("val.acc", "epoch"): ([3], [0.5]),
        },
    ),
    (
        "rounds of clients",
        "[client 2] round 7 local loss 0.5\n[client 0] round 8 local loss nan\n",
        {("local loss", "step"): ([7, 8], [0.5, NAN])},
    ),
    (
        "a number sign and dashes",
        "Epoch #1 Loss: 0.5\nEpoch #2 Loss: nan\nTest loss at epoch 2 - 0.75\n",
        {("Loss", "epoch"): ([1, 2], [0.5, NAN]), ("Test loss", "epoch"): ([2], [0.75])},
    ),
    (
        "PaddleOCR",
        "[2024/01/02 03:04:05] ppocr INFO: epoch: [1/20], global_step: 10, lr: 0.000500, acc: 0.125000, loss: 4.500000, avg_samples: 8.0\n"
        "[2024/01/02 03:04:06] ppocr INFO: epoch: [1/20], global_step: 20, lr: 0.000500, acc: 0.000000, loss: nanxxx, avg_samples: 8.0\n",
        {
            ("lr", "step"): ([10, 20], [5e-4, 5e-4]),
            ("acc", "step"): ([10, 20], [0.125, 0.0]),
            ("loss", "step"): ([10, 20], [4.5, NAN]),
            ("avg_samples", "step"): ([10, 20], [8.0, 8.0]),
        },
    ),
    (
        "names that are of no list",
        "Epoch [1/9] Recon: 0.500 | Phys: 0.125\nEpoch [2/9] Recon: nan | Phys: nan\n",
        {
            ("Recon", "epoch"): ([1, 2], [0.5, NAN]),
            ("Phys", "epoch"): ([1, 2], [0.125, NAN]),
        },
    ),
    (
        "a bar with the terms of two players",
        "Epoch 3:  50%|#####     | 5/10 [00:05<00:05,  1.0it/s, mel=0.500, disc=2.5, gen=2.25]\n",
        {
            ("mel", "step"): ([25], [0.5]),
            ("disc", "step"): ([25], [2.5]),
            ("gen", "step"): ([25], [2.25]),
        },
    ),
]


@pytest.mark.parametrize(("text", "expected"), [r[1:] for r in READ], ids=[r[0] for r in READ])
def test_rows(
    tmp_path: Path, text: str, expected: dict[tuple[str, str], tuple[list[int], list[float]]]
) -> None:
    found = points_of(read_text(tmp_path, text))
    assert found.keys() == expected.keys()
    for key, (steps, values) in expected.items():
        assert same(found[key], steps, values), (key, found[key])


def _analyze(tmp_path: Path, text: str) -> Autopsy:
    (tmp_path / "train.log").write_text(text, encoding="utf-8")
    return nanautopsy.analyze(tmp_path)


def _causes(autopsy: Autopsy) -> list[str]:
    return [cause.id for cause in autopsy.causes if cause.status == "fired"]


def test_the_writers_warning_is_not_about_the_data(tmp_path: Path) -> None:
    """tensorboardX warns of every number that is to be logged; its "input" is that number."""
    rows = "".join(f"step {i} loss {2 - i / 100:.3f}\n" for i in range(20))
    warned = "NaN or Inf found in input tensor.\n"
    died = _analyze(tmp_path, rows + warned + "step 20 loss nan\n" + warned)
    assert died.verdict == "non-finite"
    assert died.onset is not None and died.onset.step == 20
    assert "bad-input-data" not in _causes(died)


def test_the_writers_warning_beside_a_sound_run(tmp_path: Path) -> None:
    rows = [f"step {i} loss {2 - i / 100:.3f}\n" for i in range(40)]
    rows.insert(9, "NaN or Inf found in input tensor.\n")
    assert _analyze(tmp_path, "".join(rows)).verdict == "healthy"


def test_a_program_that_says_the_data_are_bad_is_still_believed(tmp_path: Path) -> None:
    rows = "".join(f"step {i} loss {2 - i / 100:.3f}\n" for i in range(20))
    died = _analyze(tmp_path, rows + "NaN found in input images\nstep 20 loss nan\n")
    assert _causes(died)[0] == "bad-input-data"


def test_a_sentence_about_the_loss_is_of_the_next_step(tmp_path: Path) -> None:
    """The loss of the last row stands there, and is finite."""
    text = (
        "INFO:tensorflow:loss = 1.75, step = 300 (9.1 sec)\n"
        "INFO:tensorflow:loss = 1.5, step = 400 (9.1 sec)\n"
        "ERROR:tensorflow:Model diverged with loss = NaN.\n"
    )
    onset = _analyze(tmp_path, text).onset
    assert onset is not None
    assert (onset.last_finite, onset.step) == (400, 500)


def test_a_scaler_that_gives_up_where_epochs_are_logged(tmp_path: Path) -> None:
    """It falls behind the last row, not from the row before."""
    row = "| epoch {:03d} | loss {} | num_updates {} | lr 0.0005 | gnorm 0.5 | loss_scale 0.500\n"
    halved = "".join(
        f"| WARNING: overflow detected, setting loss scale to: {0.5 / 2**i}\n" for i in range(1, 14)
    )
    text = row.format(1, 4.5, 500) + row.format(2, 4.25, 1000) + halved
    died = _analyze(tmp_path, text + "FloatingPointError: Minimum loss scale reached (0.0001).\n")
    assert died.onset is not None
    assert (died.onset.last_finite, died.onset.step) == (500, 1000)


def _training(first: float, last: float) -> str:
    rows = (f"epoch={i} loss={first + (last - first) * i / 19:.3f}\n" for i in range(20))
    return "".join(rows)


def test_several_trainings_in_one_log_are_judged_one_by_one(tmp_path: Path) -> None:
    """An ablation whose last data set is harder."""
    folds = [_training(0.5, 0.02)] * 6 + [_training(3.0, 1.5)] * 3
    assert _analyze(tmp_path, "".join(folds)).verdict == "healthy"


def test_a_training_that_diverges_behind_others(tmp_path: Path) -> None:
    folds = [_training(0.5, 0.02)] * 6 + [_training(0.5, 9.0)]
    assert _analyze(tmp_path, "".join(folds)).verdict == "diverged"


def _scattered(level: float, top: float) -> str:
    losses = [7.36] + [top if i % 3 == 0 else level + i % 5 for i in range(40)]
    rows = (f"solver.cpp:237] Iteration {20 * i}, loss = {x:.4f}\n" for i, x in enumerate(losses))
    return "".join(rows)


def test_a_softmax_that_gives_its_label_nothing_is_no_noise(tmp_path: Path) -> None:
    """Caffe's 87.3365 beside losses that scatter as those of small batches do."""
    assert _analyze(tmp_path, _scattered(12.0, 87.3365)).verdict == "diverged"


def test_losses_that_scatter_around_a_low_beginning(tmp_path: Path) -> None:
    assert _analyze(tmp_path, _scattered(12.0, 90.0)).verdict == "healthy"


def test_seconds_of_loading_are_no_input(tmp_path: Path) -> None:
    """``data: 0.125`` beside a loss that is NaN says nothing of the data."""
    died = _analyze(tmp_path, "time: 0.250, data: 0.125, grad_ratio: nan\n" * 3)
    assert "bad-input-data" not in _causes(died)


def _accuracies(values: list[float]) -> str:
    rows = (f"Epoch {i}: Validation Accuracy: {x:.2f}%\n" for i, x in enumerate(values))
    return "".join(rows)


def test_an_accuracy_that_rises_is_sound_without_a_loss(tmp_path: Path) -> None:
    text = _accuracies([7.25, 12.5, 30.0, 55.25, 71.0, 80.5])
    assert _analyze(tmp_path, text).verdict == "healthy"


def test_an_accuracy_that_stands_still_tells_nothing(tmp_path: Path) -> None:
    text = _accuracies([7.25, 12.5, 10.0, 10.0, 10.0, 10.0, 10.0])
    assert _analyze(tmp_path, text).verdict == "undetermined"


def test_names_and_numbers_with_single_spaces(tmp_path: Path) -> None:
    """``scale`` falls where the norm is Inf: a scaler that skips."""
    rows = "".join(
        f"[{i:05d}] loss {4 - i / 50:.3f} scale {32768 if i < 9 else 16384} gnorm"
        f" {'inf' if i == 9 else '1.25'}\n"
        for i in range(40)
    )
    assert _analyze(tmp_path, rows).verdict == "healthy"


def _epochs(losses: list[float]) -> str:
    return "".join(f"epoch {i} train_loss={x:.4f}\n" for i, x in enumerate(losses))


def test_a_log_that_ends_while_the_loss_explodes(tmp_path: Path) -> None:
    run = _analyze(tmp_path, _epochs([0.9, 0.6, 0.5, 0.7, 4.5, 88.0, 1200.0, 40000.0]))
    assert run.verdict == "diverged"


@pytest.mark.parametrize(
    "losses",
    [
        [0.9, 0.6, 0.5, 0.7, 0.6, 0.5, 0.6, 400.0],  # one point may be a spike
        [0.02, 0.03, 0.05, 0.1, 0.2, 0.41, 0.85, 1.7],  # a term that is being turned up
    ],
)
def test_a_log_that_ends_high(tmp_path: Path, losses: list[float]) -> None:
    assert _analyze(tmp_path, _epochs(losses)).verdict == "healthy"


def test_a_number_behind_nan_is_no_denial(tmp_path: Path) -> None:
    """``nan, lr: 0.001`` is not ``nans: 0``."""
    died = _analyze(tmp_path, "e:0,b:30,l:nan,lr:0.001,gn:nan\n")
    assert died.verdict == "non-finite"
    assert _analyze(tmp_path, "nan gradients: 0, lr: 0.001\n").verdict == "undetermined"


def test_headings_name_the_data_of_what_stands_below(tmp_path: Path) -> None:
    text = "".join(
        f"----- Epoch {i} -----\nTrain:\n    loss     : {train}\nValidation results:\n"
        f"    loss     : {valid}\n"
        for i, train, valid in ((1, 0.5, 0.75), (2, 0.25, NAN), (3, 0.125, NAN))
    )
    found = points_of(read_text(tmp_path, text))
    assert same(found["loss", "epoch"], [1, 2, 3], [0.5, 0.25, 0.125])
    assert same(found["validation loss", "epoch"], [1, 2, 3], [0.75, NAN, NAN])


def test_a_heading_is_over_where_a_line_counts(tmp_path: Path) -> None:
    text = "step 1\n[test]\nloss: 0.5\nstep 2\nloss: 0.25\n"
    found = points_of(read_text(tmp_path, text))
    assert same(found["test loss", "step"], [1], [0.5])
    assert same(found["loss", "step"], [2], [0.25])


def test_what_is_logged_right_behind_a_progress_bar(tmp_path: Path) -> None:
    bar = "Steps:   0%|          | {0}/900 [00:0{0}<07:30,  2.00it/s, lr=1e-5, loss={1}]"
    skip = "[2024-02-03 04:05:06,789] [INFO] [loss_scaler.py:183:update_scale] [deepspeed] OVERFLOW! Rank 0 Skipping step. Attempted loss scale: 16, reducing to 8\n"
    text = bar.format(1, 2.5) + "\r" + bar.format(2, "nan") + skip + bar.format(3, "nan") + "done\n"
    found = points_of(read_text(tmp_path, text))
    assert same(found["loss", "step"], [1, 2, 3], [2.5, NAN, NAN])
    assert found["loss_scale", "record"][1] == [8.0]


def test_a_list_in_a_progress_bar_does_not_end_it(tmp_path: Path) -> None:
    bar = " 10%|#         | {0}/10 [00:0{0}<00:10,  2.00it/s, lr=[0.5, 0.25], loss={1}]\r"
    found = points_of(read_text(tmp_path, bar.format(1, 2.5) + bar.format(2, 2.25) + "\n"))
    assert same(found["loss", "step"], [1, 2], [2.5, 2.25])
