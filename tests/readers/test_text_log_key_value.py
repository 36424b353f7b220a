"""Metric lines of programs that the reader does not know."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from reading import of_type
from textlogs import events_of, log_series, points_of, read_text, same

from nanautopsy.model import LogEvent, Series
from nanautopsy.readers.text.words import counter_kind, is_loss, is_metric, words

NAN = math.nan

# ruff: noqa: E501
LINES = [
    # (name, text, tag, axis, steps, values)
    (
        "nanoVLM",
        "Step: 120, Loss: nan, Tokens/s: 512.30, Accuracy: 0.1234",
        "Loss",
        "step",
        [120],
        [NAN],
    ),
    (
        "nanoVLM epoch",
        "Epoch 1/5, Train Loss: nan | Time: 12.30s | T/s: 900.10",
        "Train Loss",
        "epoch",
        [1],
        [NAN],
    ),
    (
        "nanoVLM new",
        "Epoch: 3, Step: 1200/5000, Train Loss: nan | Time: 3.0s",
        "Train Loss",
        "step",
        [1200],
        [NAN],
    ),
    ("nanoGPT eval", "step 250: train loss 1.9000, val loss 2.0", "val loss", "step", [250], [2.0]),
    ("nanoGPT", "iter 10: loss nan, time 27.55ms, mfu 12.00%", "loss", "step", [10], [NAN]),
    ("equals", "step=7 loss=0.32 lr=1e-4", "lr", "step", [7], [1e-4]),
    ("bars", "epoch 3 | loss 2.0552 | grad_norm 16.27", "grad_norm", "epoch", [3], [16.27]),
    (
        "torchtitan",
        "[titan] 2025-05-21 16:49:48,549 - root - INFO - \x1b[31mstep: 10  \x1b[32mloss:  7.12345  \x1b[33mgrad_norm:  1.2345  \x1b[36mmemory: 12.34GiB(15.60%)  tps: 1,234  mfu: 4.00%\x1b[39m",
        "loss",
        "step",
        [10],
        [7.12345],
    ),
    (
        "torchtitan old copy",
        "[titan] 2025-05-21 16:49:48,549 - root - INFO - [31mstep: 10  [32mloss:      nan  [39m",
        "loss",
        "step",
        [10],
        [NAN],
    ),
    (
        "torchtitan validation",
        "[titan] 2025-05-21 16:49:48,549 - root - INFO - validate step: 20  loss:      nan  memory: 1.34GiB(1.60%)",
        "validate loss",
        "step",
        [20],
        [NAN],
    ),
    (
        "NeMo",
        "Training epoch 0, iteration 28/99 | lr: 5.6e-06 | global_batch_size: 32 | global_step: 28 | reduced_train_loss: nan | train_step_timing in s: 0.189 | consumed_samples: 928 | val_loss: 2.861",
        "reduced_train_loss",
        "step",
        [28],
        [NAN],
    ),
    (
        "NeMo Automodel",
        "2026-03-04 18:53:48 | INFO | root | step 0 | epoch 0 | loss 2.0552 | grad_norm 16.2790 | lr 5.00e-06 | mem 40.47 GiB | tps 26.97(3.37/gpu) | num_label_tokens 1686",
        "grad_norm",
        "step",
        [0],
        [16.279],
    ),
    (
        "NeMo validation",
        "[val] step 3 | epoch 0 | loss nan | lr 5.00e-06 | num_label_tokens 279002",
        "val loss",
        "step",
        [3],
        [NAN],
    ),
    (
        "verl",
        "step:3663 - global_seqlen/min:1166.000 - critic/kl:nan - actor/pg_loss:nan - actor/grad_norm:nan - actor/lr:0.000 - critic/score/mean:0.000",
        "actor/grad_norm",
        "step",
        [3663],
        [NAN],
    ),
    (
        "Keras",
        "Epoch 2/5\n 123/1000 [==>...........................] - ETA: 0s - loss: nan - accuracy: 0.1",
        "loss",
        "step",
        [1123],
        [NAN],
    ),
    (
        "Keras 3",
        "Epoch 1/2\n\x1b[1m  3/10\x1b[0m \x1b[32m━━━━━━\x1b[0m\x1b[37m━━━━━━━━━━━━━━\x1b[0m \x1b[1m0s\x1b[0m 10ms/step - accuracy: 0.1 - loss: nan",
        "loss",
        "step",
        [3],
        [NAN],
    ),
    (
        "Lightning",
        "Epoch 0:  10%|█         | 10/100 [00:01<00:09,  9.9it/s, v_num=0, train_loss_step=nan.0, lr=0.1]",
        "train_loss_step",
        "step",
        [10],
        [NAN],
    ),
    (
        "Lightning -inf",
        "Epoch 1:  10%|█         | 10/100 [00:01<00:09,  9.9it/s, v_num=0, train_loss=-inf.]",
        "train_loss",
        "step",
        [10],
        [-math.inf],
    ),
    (
        "Caffe",
        "I0124 14:44:45.779719 32217 solver.cpp:237] Iteration 20, loss = 27.5",
        "loss",
        "step",
        [20],
        [27.5],
    ),
    (
        "Caffe lr",
        "I0124 14:44:45.779839 32217 sgd_solver.cpp:106] Iteration 20, lr = 0.01",
        "lr",
        "step",
        [20],
        [0.01],
    ),
    ("big_vision", "\x1b[35m[12]\x1b[0m training_loss = nan", "training_loss", "step", [12], [NAN]),
    ("EasyEdit", "loss/total                      : nan", "loss/total", "record", [0], [NAN]),
    ("MNIST", "Train Epoch: 1 [640/60000 (1%)]\tLoss: 2.297", "Loss", "step", [640], [2.297]),
    (
        "ImageNet",
        "Epoch: [0][  10/5005]\tTime  0.300 ( 0.500)\tData  0.0 (0.1)\tLoss 6.9 (7.0)\tAcc@1   0.00 (  0.10)",
        "Loss",
        "step",
        [10],
        [6.9],
    ),
    (
        "mmdetection",
        "2022-01-01 10:00:00,123 - mmdet - INFO - Epoch [2][50/7330]\tlr: 1.978e-03, eta: 4:20:12, time: 0.300, memory: 2000, loss_cls: 0.51, loss_bbox: nan, loss: nan",
        "loss_bbox",
        "step",
        [7380],
        [NAN],
    ),
    (
        "detectron2",
        "[01/23 18:09:16] d2.utils.events INFO:  eta: 0:12:12  iter: 19  total_loss: nan  loss_cls: 1.2  time: 0.4  data_time: 0.1  lr: 3e-05  max_mem: 3000M",
        "total_loss",
        "step",
        [19],
        [NAN],
    ),
    (
        "fairseq",
        '2024-01-01 10:00:00 | INFO | train_inner | {"epoch": 1, "update": 0.5, "loss": "nan", "gnorm": "inf", "loss_scale": "0.0001", "num_updates": "100"}',
        "gnorm",
        "step",
        [100],
        [math.inf],
    ),
    (
        "GAN",
        "[Epoch 1/200] [Batch 3/938] [D loss: 0.69] [G loss: nan]",
        "G loss",
        "step",
        [3],
        [NAN],
    ),
    (
        "diffusers",
        "Steps:  12%|█▏        | 12/100 [00:10<01:00,  1.2it/s, lr=1e-5, step_loss=nan]",
        "step_loss",
        "step",
        [12],
        [NAN],
    ),
    ("carried", "Loss after epoch 3: 0.25", "Loss", "epoch", [3], [0.25]),
    ("carried step", "Average loss at step 2000: 5.3", "Average loss", "step", [2000], [5.3]),
    (
        "TensorFlow",
        "INFO:tensorflow:loss = nan, step = 301 (0.5 sec)",
        "loss",
        "step",
        [301],
        [NAN],
    ),
    (
        "word LM",
        "| epoch   1 |   200/ 2983 batches | lr 5.00 | ms/batch 18.49 | loss  8.14 | ppl  3436.98",
        "ppl",
        "step",
        [200],
        [3436.98],
    ),
    ("perplexity", "Step at 4 with Perplexity: nan", "Perplexity", "step", [4], [NAN]),
    (
        "tensor",
        "step 5 loss: tensor(nan, device='cuda:0', grad_fn=<NllLossBackward0>)",
        "loss",
        "step",
        [5],
        [NAN],
    ),
    ("numpy", "step 5 loss: np.float32(nan)", "loss", "step", [5], [NAN]),
    ("visual c", "iter 5: loss = -1.#IND", "loss", "step", [5], [NAN]),
    ("c", "iter 5: loss = -nan(ind), lr = 0.1", "loss", "step", [5], [NAN]),
    ("huge", "step 5 loss: 1.5e+38", "loss", "step", [5], [1.5e38]),
    ("negative", "step 5 loss: -1.5", "loss", "step", [5], [-1.5]),
    ("camel", "globalStep: 5, gradNorm: 0.5", "gradNorm", "step", [5], [0.5]),
    ("heading", "Epoch 3\n  train loss: nan\n", "train loss", "epoch", [3], [NAN]),
    (
        "mmengine",
        "Epoch(train)  [2][ 50/1000]  base_lr: 1e-3 lr: 1e-3 eta: 1:00:00 time: 0.5 data_time: 0.1 memory: 200 grad_norm: nan  loss: nan  loss_cls: 0.5",
        "loss_cls",
        "step",
        [1050],
        [0.5],
    ),
    (
        "rich bar",
        "Epoch 0/9 ━━━━━━━━━━━━━━━━ 10/100 0:00:01 • 0:00:09 9.9it/s v_num: 0.000 train_loss: nan",
        "train_loss",
        "step",
        [10],
        [NAN],
    ),
    (
        "XGBoost",
        "[10]\tvalidation_0-logloss:nan\tvalidation_1-logloss:0.5",
        "validation_0-logloss",
        "step",
        [10],
        [NAN],
    ),
    (
        "fairseq text",
        "epoch 001 | loss 9.5 | nll_loss 8.8 | ppl 456.7 | wps 10000 | num_updates 100 | lr 1e-5 | gnorm inf | loss_scale 64",
        "gnorm",
        "step",
        [100],
        [math.inf],
    ),
    (
        "icefall",
        "Epoch 1, batch 50, loss[loss=nan, simple_loss=0.5, over 2000 frames.], tot_loss[loss=0.6, over 2 frames.], batch size: 30, lr: 1e-3, grad_scale: 8.0",
        "loss",
        "step",
        [50],
        [NAN],
    ),
    (
        "OpenNMT",
        "Step 50/100000; acc: 4.3; ppl: nan; xent: 10.27; lr: 0.00006; 1000/2000 tok/s",
        "ppl",
        "step",
        [50],
        [NAN],
    ),
    (
        "MaxText",
        "completed step: 5, seconds: 0.882, TFLOP/s/device: 80.1, Tokens/s/device: 100, total_weights: 8192, loss: nan",
        "loss",
        "step",
        [5],
        [NAN],
    ),
    (
        "llm.c",
        "step   10/18865 | loss nan (+1.2z)| norm 1.5 (+0.1z)| lr 1e-4 | 300 ms | 30% bf16 MFU | 1000 tok/s",
        "norm",
        "step",
        [10],
        [1.5],
    ),
    (
        "modded-nanogpt",
        "step:125/1750 val_loss:nan train_time:10ms step_avg:80.1ms",
        "val_loss",
        "step",
        [125],
        [NAN],
    ),
    (
        "in-line rank",
        "2025-02-20 00:46:13,777 DEBUG TRAIN Batch 7/100 loss nan lr 0.00055784 grad_norm nan rank 2",
        "grad_norm",
        "step",
        [7],
        [NAN],
    ),
    ("seconds", "iter 5, loss 0.5, cost: 669.2 sec", "loss", "step", [5], [0.5]),
    (
        "YOLO",
        "      Epoch    GPU_mem   box_loss   cls_loss   dfl_loss  Instances       Size\n       1/40      2.27G      1.325     0.8057        nan         45        768: 100%|##########| 5/5 [00:01<00:00,  4.63it/s]",
        "dfl_loss",
        "step",
        [5],
        [NAN],
    ),
    (
        "fastai",
        "epoch     train_loss  valid_loss  accuracy  time\n0         2.345       nan         0.123     00:05\n1         2.245       nan         0.123     00:05",
        "valid_loss",
        "epoch",
        [0, 1],
        [NAN, NAN],
    ),
    (
        "skorch",
        "  epoch    train_loss    valid_acc     dur\n-------  ------------  -----------  ------\n      1           nan       0.1000  0.0500",
        "train_loss",
        "epoch",
        [1],
        [NAN],
    ),
    (
        "notebook",
        "Step\tTraining Loss\tValidation Loss\n10\tnan\tNo log\n20\tnan\t1.5",
        "Training Loss",
        "step",
        [10, 20],
        [NAN, NAN],
    ),
    ("rank prefix", "[default0]:step: 3 loss: nan", "loss", "step", [3], [NAN]),
    ("ray", "(WorkerDict pid=1234) step:3 - loss:nan", "loss", "step", [3], [NAN]),
    (
        "pdsh",
        "worker-3: [2023-04-18 01:46:52,554] [INFO] [x.py:1:f] step: 3 loss: nan",
        "loss",
        "step",
        [3],
        [NAN],
    ),
]


@pytest.mark.parametrize(
    ("text", "tag", "axis", "steps", "values"),
    [line[1:] for line in LINES],
    ids=[line[0] for line in LINES],
)
def test_metric_lines(
    tmp_path: Path, text: str, tag: str, axis: str, steps: list[int], values: list[float]
) -> None:
    found = points_of(read_text(tmp_path, text + "\n"))
    assert (tag, axis) in found, found
    assert same(found[tag, axis], steps, values), found


NO_METRIC = [
    "INFO: inference of nanoVLM, information about banana: 3",
    "finance: 3 nanoseconds: 4",
    "TrainConfig(lr=1e-3, steps=100, loss=0.5, epoch=3)",
    "Namespace(lr=0.001, epochs=10, step=5, loss_weight=0.1, loss=0.5)",
    "python train.py --lr 1e-3 --step 5 --loss 0",
    "  --loss 0.5 \\",
    "Saved model to /x/epoch=3-step=100-val_loss=0.32.ckpt",
    "step 5: restored /x/model-loss-0.5.pt",
    "    loss = 0.5 * mse + 3",
    '  "loss_scale": 0,',
    "loss_scale ................... 0",
    "batch_size: 32, step_size: 5, weight_decay: 0.1",
    "router_aux_loss_coef: 0.001",
    "label_smoothing_loss_weight: 0.1",
    "EarlyStopping best_loss: inf",
    "Validation loss decreased (inf --> 0.693147).  Saving model ...",
    "number of nan iterations: 0",
    "2023-04-18 01:46:52 version 1.2.3 of 2.1.0+cu118 id 3f2a1b",
    "Total optimization steps = 400",
    "save_steps=500, eval_steps=100, logging_steps=10, warmup_steps=0, max_steps=1000",
    "{'lr': 0.001, 'epochs': 10, 'steps': 100}",
    "{'epoch': 10, 'lr': 0.1, 'batch_size': 32}",
    "logging_nan_inf_filter=True, step=5",
    "ETA: nan, iter 5, time: inf s",
    "grad_norm_clip: 1.0",
    "torch==2.1.0",
]


@pytest.mark.parametrize("text", NO_METRIC)
def test_lines_that_are_no_metrics(tmp_path: Path, text: str) -> None:
    records = read_text(tmp_path, text + "\n")
    assert not of_type(records, Series)
    assert not events_of(records, "nonfinite-text")


def test_batches_within_epochs_are_unfolded(tmp_path: Path) -> None:
    lines = [
        f"Epoch {epoch}/3 [{batch}/100] loss: {epoch + batch / 1000:.3f}"
        for epoch in (1, 2, 3)
        for batch in (0, 50)
    ]
    found = points_of(read_text(tmp_path, "\n".join(lines)))
    assert found["loss", "step"][0] == [0, 50, 100, 150, 200, 250]


def test_steps_that_start_again_with_each_epoch_are_unfolded(tmp_path: Path) -> None:
    lines = [f"epoch {e} step {s}/40 loss {1.5}" for e in range(3) for s in (10, 20, 30, 40)]
    found = points_of(read_text(tmp_path, "\n".join(lines)))
    assert found["loss", "step"][0] == list(range(10, 121, 10))


def test_steps_that_start_again_without_a_total_are_only_numbered(tmp_path: Path) -> None:
    lines = [f"epoch {e} iter {s} loss {1.5}" for e in range(3) for s in (10, 20, 30)]
    found = points_of(read_text(tmp_path, "\n".join(lines)))
    assert found["loss", "record"][0] == list(range(9))


def test_global_steps_beside_epochs_stay(tmp_path: Path) -> None:
    lines = [f"epoch {s // 30} step {s}/100 loss {1.5}" for s in range(10, 101, 10)]
    found = points_of(read_text(tmp_path, "\n".join(lines)))
    assert found["loss", "step"][0] == list(range(10, 101, 10))


def test_restart_keeps_both_attempts_in_order(tmp_path: Path) -> None:
    lines = [f"step {s} loss {1.5}" for s in (10, 20, 30, 10, 20)]
    found = points_of(read_text(tmp_path, "\n".join(lines)))
    assert found["loss", "step"][0] == [10, 20, 30, 10, 20]


def test_many_rows_of_one_epoch_are_only_numbered(tmp_path: Path) -> None:
    text = "".join(f"Epoch {e} - Batch loss: {b}.5\n" for e in (1, 2) for b in range(5))
    assert points_of(read_text(tmp_path, text))["Batch loss", "record"][0] == list(range(10))


def test_numbers_with_their_sign(tmp_path: Path) -> None:
    text = "".join(f"step {i} loss_D={v:+.2f} gp={v:+.3f}\n" for i, v in enumerate((0.5, -0.25, 1)))
    points = points_of(read_text(tmp_path, text))
    assert points[("loss_D", "step")] == ([0, 1, 2], [0.5, -0.25, 1.0])
    assert points[("gp", "step")] == ([0, 1, 2], [0.5, -0.25, 1.0])


def test_ranks_within_lines(tmp_path: Path) -> None:
    text = "".join(f"Batch {b}/9 loss {r}.5 rank {r}\n" for b in range(4) for r in (1, 0))
    assert {s.rank for s in of_type(read_text(tmp_path, text), Series)} == {0, 1}


def test_ranks_are_kept_apart(tmp_path: Path) -> None:
    text = "".join(f"[rank{r}]: step {s} loss {r}.5\n" for s in (1, 2) for r in (0, 1))
    series = of_type(read_text(tmp_path, text), Series)
    assert {(s.rank, tuple(s.values.tolist())) for s in series} == {
        (0, (0.5, 0.5)),
        (1, (1.5, 1.5)),
    }


def test_srun_labels_are_ranks(tmp_path: Path) -> None:
    text = "".join(f"{r}: step {s} loss {r}.5\n" for s in range(5) for r in (0, 1))
    series = of_type(read_text(tmp_path, text), Series)
    assert {s.rank for s in series} == {0, 1}
    assert all(s.steps.tolist() == [0, 1, 2, 3, 4] for s in series)


def test_thousands_of_equal_lines_are_read_like_the_first(tmp_path: Path) -> None:
    text = "".join(
        f"2024-01-01 10:00:{i % 60:02d} - INFO - step {i} loss: {-i / 7:.4e}, lr: {i}e-05\n"
        for i in range(1, 3000)
    )
    found = log_series(read_text(tmp_path, text))
    loss, rate = found["loss", "step"], found["lr", "step"]
    assert loss.steps.tolist() == list(range(1, 3000))
    assert loss.values.tolist() == [float(f"{-i / 7:.4e}") for i in range(1, 3000)]
    assert rate.values.tolist() == [float(f"{i}e-05") for i in range(1, 3000)]
    assert loss.lines is not None and loss.lines.tolist() == list(range(1, 3000))


def test_a_nan_among_equal_lines_is_seen(tmp_path: Path) -> None:
    lines = [f"step {i} loss: {1.5}" for i in range(50)]
    lines[20] = "step 20 loss: nan"
    lines[30] = "step 30 loss: -inf"
    values = points_of(read_text(tmp_path, "\n".join(lines)))["loss", "step"][1]
    assert math.isnan(values[20]) and values[30] == -math.inf
    assert sum(math.isfinite(v) for v in values) == 48


def test_carriage_returns_share_their_physical_line(tmp_path: Path) -> None:
    text = "start\r\nstep 1 loss 1.5\rstep 2 loss 2.5\rstep 3 loss 3.5\nstep 4 loss 4.5\n"
    series = log_series(read_text(tmp_path, text))["loss", "step"]
    assert series.steps.tolist() == [1, 2, 3, 4]
    assert series.lines is not None and series.lines.tolist() == [2, 2, 2, 3]


def test_a_nan_metric_is_a_point_and_no_event(tmp_path: Path) -> None:
    records = read_text(tmp_path, "step 1 loss: nan\nstep 2 loss: nan\n")
    assert not of_type(records, LogEvent)


@pytest.mark.parametrize(
    ("name", "parts"),
    [("gradNorm", ("grad", "norm")), ("lm loss", ("lm", "loss")), ("PPL", ("ppl",)),
     ("train/grad_norm", ("train", "grad", "norm")), ("Acc@1", ("acc",))],
)  # fmt: skip
def test_words(name: str, parts: tuple[str, ...]) -> None:
    assert words(name) == parts


def test_names() -> None:
    assert counter_kind("global_step") == "global"
    assert counter_kind("Iteration") == "step"
    assert counter_kind("mini_batch") == "batch"
    assert counter_kind("Epoch") == "epoch"
    for name in ("ms/step", "save_steps", "batch_size", "num epochs", "max_steps", "time per step"):
        assert counter_kind(name) is None, name
    for name in ("loss", "val_loss", "lm loss", "perplexity", "grad norm", "gnorm"):
        assert is_loss(name), name
    for name in ("loss_scale", "blossom", "norm_eps"):
        assert not is_loss(name), name
    for name in ("learning rate", "lr", "loss_scale", "accuracy", "reward/mean"):
        assert is_metric(name), name
    for name in ("time", "memory", "seed", "tokens"):
        assert not is_metric(name), name


# --- names and counters of few programs -----------------------------------------------------------


def text_of(line: str, *rows: tuple[int, str]) -> str:
    return "".join(line.format(step, value) + "\n" for step, value in rows)


ROWS = ((100, "2.5"), (200, "nan"), (300, "1.5"))


@pytest.mark.parametrize(
    ("line", "tag"),
    [
        ("it={} bce: {}", "bce"),
        ("it: {} mse: {}", "mse"),
        ("step {} |g| {}", "|g|"),
        ("step {} loss 0.5 ||g||: {}", "||g||"),
        ("it {} | mse 0.5 | \u2016g\u2016 {}", "||g||"),
        ("step {} |grad|={}", "|grad|"),
        ("step {} gnorm {}", "gnorm"),
        ("   {} loss={} lr=0.1", "loss"),
        ("    {} | loss {} |", "loss"),
        ("{:6d}  loss: {}  acc: 0.5", "loss"),
        ("{{'iter': {}, 'loss': {}, 'lr': 0.1}}", "loss"),
        ("{{'iter_num': {}, 'train_loss': {}}}", "train_loss"),
        ("第{}步 loss: {}", "loss"),
        ("第 {} 步，损失 {}", "损失"),
        ("步数: {}, 损失: {}", "损失"),
        ("步数：{}，损失：{}，学习率：1e-4", "损失"),
        ("迭代 {}: 损失值 {}, 梯度范数 0.5", "损失值"),
        ("step {} loss: {} — see above", "loss"),
    ],
)
def test_a_row_of_any_program(tmp_path: Path, line: str, tag: str) -> None:
    found = points_of(read_text(tmp_path, text_of(line, *ROWS)))
    assert same(found[tag, "step"], [100, 200, 300], [2.5, math.nan, 1.5])


@pytest.mark.parametrize("line", ["Epoch {} 训练损失: {}", "第{}轮 损失={}"])
def test_chinese_epochs(tmp_path: Path, line: str) -> None:
    (points,) = points_of(read_text(tmp_path, text_of(line, (1, "2.5"), (2, "nan")))).items()
    assert points[0][1] == "epoch" and points[1][0] == [1, 2]


def test_a_leading_number_that_does_not_rise_is_no_step(tmp_path: Path) -> None:
    text = "".join(f"{n} loss=0.5 lr=0.1\n" for n in (32, 8, 16, 7))
    assert set(points_of(read_text(tmp_path, text))) == {("loss", "record"), ("lr", "record")}
    assert not points_of(read_text(tmp_path, "32 files with loss=0.5 found\n"))


@pytest.mark.parametrize(
    ("eta", "value"),
    [("0.001", 0.001), ("1e-3", 0.001), ("0:01:02", None), ("12.5s", None), ("120", None)]
    + [("1 day, 3:02:01", None), ("02:11", None), ("3h12m", None)],
)
def test_a_remaining_time_is_no_learning_rate(
    tmp_path: Path, eta: str, value: float | None
) -> None:
    text = "".join(f"step {i}: loss: {i}.5 eta: {eta} momentum: 0.9\n" for i in range(4))
    found = points_of(read_text(tmp_path, text))
    assert found["loss", "step"][0] == list(range(4))
    values = found.get(("eta", "step"), ([], []))[1]
    assert values == ([] if value is None else [value] * 4)


def test_a_negative_number_in_a_cell(tmp_path: Path) -> None:
    row = "step {} lm_loss 1.69 router/max_logit 2.17 router/min_logit {}\n"
    records = read_text(tmp_path, row.format(1, "-3.18") + row.format(2, "-96.3"))
    assert points_of(records)["router/min_logit", "step"] == ([1, 2], [-3.18, -96.3])
