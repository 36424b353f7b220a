"""One test for each line shape that a program documents, with value, step and place.

The lines of transformers, torch, numpy and JAX are also read from real logs (tests/fixtures/text).
Transcribed from the programs' sources or public logs, since they need GPUs or heavy installations:
Megatron-LM and its forks, gpt-neox, fairseq, icefall, ColossalAI, InternEvo, apex, Lightning's older
checks, TensorFlow's check_numerics, YOLO, Stable-Baselines3, ms-swift, LLaMA-Factory, TRL, verl.
"""

# ruff: noqa: E501
from __future__ import annotations

import math
from pathlib import Path

import pytest
from reading import of_type
from textlogs import events_of, points_of, read_text, same

from nanautopsy.model import ConfigRecord, EnvironmentRecord, LogEvent

NAN, INF = math.nan, math.inf
MEGATRON = (
    " iteration       20/     100 | consumed samples:          160 | elapsed time per iteration (ms): 812.3"
    " | learning rate: 1.500E-06 | global batch size:     8 |{loss} loss scale: 65536.0 |{norm}"
    " number of skipped iterations: {skipped:3d} | number of nan iterations: {nan:3d} |\n"
)

METRICS = [
    # (name, text, tag, axis, steps, values)
    ("megatron nan iterations", MEGATRON.format(loss=" lm loss: 9.8E+00 |", norm="", skipped=3, nan=2), "number of nan iterations", "step", [20], [2.0]),
    ("megatron fork that prints nan", MEGATRON.format(loss=" lm loss: nan |", norm=" grad norm: nan |", skipped=0, nan=0), "lm loss", "step", [20], [NAN]),
    ("megatron-deepspeed", " iteration       20/   55000 | consumed samples:         5120 | consumed tokens:     10485760 | elapsed time per iteration (s): 12.34 | learning rate: 1.500E-06 | global batch size:   256 | lm loss: 9.876543E+00 | loss scale: 4096.0 | grad norm: 12.345 | num zeros: 0.0 | number of skipped iterations:   0 | number of nan iterations:   0 | samples per second: 20.746 | TFLOPs: 33.03 |", "grad norm", "step", [20], [12.345]),
    ("megatron moe", " [2024-05-01 10:00:00] iteration       20/     100 | elapsed time per iteration (ms): 812.3 | throughput per GPU (TFLOP/s/GPU): 300.1 | learning rate: 1.500000E-06 | global batch size:     8 | lm loss: 9.8E+00 | load_balancing_loss: nan | loss scale: 1.0 | grad norm: 12.345 | num zeros: 12 | params norm: 100.1 | number of skipped iterations:   0 | number of nan iterations:   0 |", "load_balancing_loss", "step", [20], [NAN]),
    ("megatron validation", "-----------\n validation loss at iteration 1000 on validation set | lm loss value: nan | lm loss PPL: NAN | \n-----------", "validation lm loss value", "step", [1000], [NAN]),
    ("ms-swift", "{'loss': 2.1, 'token_acc': 0.5, 'grad_norm': nan, 'learning_rate': 1e-05, 'memory(GiB)': 12.3, 'train_speed(iter/s)': 0.5, 'epoch': 0.1, 'global_step/max_steps': '10/100', 'percentage': '10.00%', 'elapsed_time': '20s', 'remaining_time': '3m'}", "grad_norm", "step", [10], [NAN]),
    ("LLaMA-Factory", "[INFO|2025-05-01 10:00:00] llamafactory.train.callbacks:143 >> {'loss': 0.0, 'learning_rate': 4.9e-05, 'epoch': 0.31, 'throughput': 1234.5}", "loss", "record", [1], [0.0]),
    ("TRL GRPO", "{'loss': 0.0, 'grad_norm': nan, 'learning_rate': 1e-06, 'reward': 0.5, 'frac_reward_zero_std': 0.5, 'kl': nan, 'epoch': 0.01}", "kl", "record", [1], [NAN]),
    ("TRL DPO", "{'loss': 0.6931, 'grad_norm': nan, 'rewards/chosen': nan, 'logps/chosen': nan, 'logits/chosen': nan, 'epoch': 0.0}", "logits/chosen", "record", [1], [NAN]),
    ("axolotl", "  1%|          | 1/100 [00:01<01:40,  1.0s/it]{'loss': 0.0, 'grad_norm': nan, 'learning_rate': 1e-05, 'epoch': 0.01}", "grad_norm", "step", [1], [NAN]),
    ("verl numpy", "step:1 - actor/entropy:np.float64(nan) - actor/pg_loss:nan - actor/grad_norm:nan - training/global_step:1", "actor/entropy", "step", [1], [NAN]),
    ("OpenRLHF", "Train epoch [1/1]:  10%|#   | 12/100 [00:10<01:00,  1.2it/s, gpt_loss=nan, loss_mean=nan, lr=1e-6]", "gpt_loss", "step", [12], [NAN]),
    ("trlx", "[losses/total_loss: nan | losses/policy_loss: nan]:   1%| | 12/1000 [00:10<10:00]", "losses/total_loss", "step", [12], [NAN]),
    ("accelerate example", "epoch 0: perplexity: nan eval_loss: nan", "eval_loss", "epoch", [0], [NAN]),
    ("composer", "[epoch=1][batch=1/3]:\n\t Train time/epoch: 0\n\t Train loss/train/total: nan", "Train loss/train/total", "step", [1], [NAN]),
    ("OLMo", "2024-01-01 10:00:00.123\thost:0\tolmo.train:816\tINFO\t[step=12/739328]\n    train/CrossEntropyLoss=nan\n    optim/total_grad_norm=nan", "train/CrossEntropyLoss", "step", [12], [NAN]),
    ("torchtune", "Step 12 | loss:nan lr:2e-05 tokens_per_second_per_gpu:123.4 grad_norm:nan", "grad_norm", "step", [12], [NAN]),
    ("open_clip", "2023-01-01,10:00:00 | INFO | Train Epoch: 0 [  5120/10968539 (0%)] Data (t): 1.200 Batch (t): 3.100, 100.2/s LR: 0.000001 Logit Scale: 14.286 Contrastive_loss: nan (nan) Loss: nan (nan)", "Loss", "step", [5120], [NAN]),
    ("timm", "Train: 0 [   0/1251 (  0%)]  Loss: nan (nan)  Time: 3.510s,   36.47/s  (3.510s,   36.47/s)  LR: 1.000e-06", "Loss", "step", [0], [NAN]),
    ("MAE", "Epoch: [0]  [ 20/312]  eta: 0:05:10  lr: 0.000001  loss: nan (nan)  loss_ce: 0.7432 (0.8123)  time: 1.0000  max mem: 3456", "loss", "step", [20], [NAN]),
    ("kohya", "steps:   1%|          | 12/1000 [00:10<10:00,  1.2it/s, avr_loss=nan]", "avr_loss", "step", [12], [NAN]),
    ("MindSpore", "epoch: 1 step: 100, loss is 2.3\nepoch: 1 step: 101, loss is nan", "loss", "step", [100, 101], [2.3, NAN]),
    ("Paddle", "[2023-01-01 10:00:00,000] [    INFO] - loss: nan, learning_rate: 1e-05, global_step: 10, current_memory_allocated: 1.2", "loss", "step", [10], [NAN]),
    ("nvidia dll", "DLL 2020-05-30 07:35:01.358301 - Training Epoch: 0 Training Iteration: 12  average_loss : nan  step_loss : nan  learning_rate : 0.0001", "step_loss", "step", [12], [NAN]),
    ("keras epoch", "Epoch 1/5\n100/100 - 3s - loss: nan - accuracy: 0.1 - val_loss: nan - val_accuracy: 0.1 - 3s/epoch - 30ms/step", "val_loss", "step", [100], [NAN]),
    ("fairseq scaler", "2024-01-01 10:00:00 | INFO | fairseq.trainer | NOTE: gradient overflow detected, ignoring gradient, setting loss scale to: 64.0", "loss_scale", "record", [0], [64.0]),
    ("YOLOv5 results.txt", "     0/299     3.88G   0.08017    0.0508   0.02634    0.1573        45       640  0.001  0.002  0.0003  0.0001  0.07  0.04  0.02\n     1/299     3.88G       nan       nan       nan       nan        45       640      0      0       0       0   nan   nan   nan", "val/box_loss", "epoch", [0, 1], [0.07, NAN]),
    ("YOLOv5 5.0 console", "     Epoch   gpu_mem       box       obj       cls    labels  img_size\n     0/299     3.88G       nan    0.0508   0.02634        45       640: 100%|##########| 5/5 [00:01<00:00,  4.63it/s]", "box_loss", "step", [5], [NAN]),
    ("W&B summary", "global_step: 7 loss: 2.5\nwandb: Run summary:\nwandb:     best_loss inf\nwandb: train/grad_norm nan\nwandb:", "train/grad_norm", "step", [7], [NAN]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "tag", "axis", "steps", "values"),
    [case[1:] for case in METRICS],
    ids=[case[0] for case in METRICS],
)
def test_metrics(
    tmp_path: Path, text: str, tag: str, axis: str, steps: list[int], values: list[float]
) -> None:
    found = points_of(read_text(tmp_path, text + "\n"))
    assert (tag, axis) in found, found
    assert same(found[tag, axis], steps, values), found


BOX = """----------------------------------------
| rollout/                |            |
|    ep_rew_mean          | 9.19       |
| time/                   |            |
|    iterations           | {n}          |
|    total_timesteps      | {t}       |
| train/                  |            |
|    learning_rate        | 0.0003     |
|    loss                 | {loss}        |
----------------------------------------
"""


def test_boxed_tables(tmp_path: Path) -> None:
    text = BOX.format(n=1, t=2048, loss=0.5) + BOX.format(n=2, t=4096, loss="nan")
    found = points_of(read_text(tmp_path, text))
    assert same(found["train/loss", "step"], [2048, 4096], [0.5, NAN])
    assert found["train/learning_rate", "step"] == ([2048, 4096], [0.0003, 0.0003])
    flat = "----------------\n| nupdates   | 3   |\n| value_loss | nan |\n----------------\n"
    assert same(points_of(read_text(tmp_path, flat))["value_loss", "step"], [3], [NAN])
    assert not points_of(read_text(tmp_path, "----------------\n| Package | 3 |\n| a | 4.5 |\n"))


EVENTS = [
    # (name, text, kind, step, rank, data)
    ("megatron counts nan", MEGATRON.format(loss=" lm loss: 9.8E+00 |", norm="", skipped=3, nan=2), "nonfinite-text", 20, None, {"quantity": "loss", "iterations": 2}),
    ("megatron never had a loss", MEGATRON.format(loss="", norm=" grad norm: nan |", skipped=0, nan=0), "nonfinite-text", 20, None, {"quantity": "loss", "vanished": ()}),
    ("megatron rerun, gradient", "Unexpected result nan on rank 3 at iteration #12 invocation #1 (message='found NaN in local grad norm for bucket #7 in backward pass before data-parallel communication collective')", "nonfinite-text", 12, 3, {"value": "nan", "quantity": "gradient"}),
    ("megatron rerun, loss", "Unexpected result inf on rank 3 at iteration #12 invocation #1 (message='found Inf in local forward loss calculation')", "nonfinite-text", 12, 3, {"value": "inf", "quantity": "loss"}),
    ("megatron rerun disabled", "RuntimeError: Rank 3, node h, device 0, iteration 12: Unexpected result nan (message='found NaN in local forward loss calculation')", "nonfinite-text", 12, 3, {"quantity": "loss", "node": "h"}),
    ("megatron 2023-08", "Rank 3: found NaN in local grad norm in backwards pass. Device: 0, node: n1", "nonfinite-text", None, 3, {"quantity": "gradient", "node": "n1"}),
    ("megatron core 0.6", "AssertionError: Rank 5: found NaN in local grad norm in backward pass before data-parallel communication collective. Device: 5, node: n1", "nonfinite-text", None, 5, {"quantity": "gradient"}),
    ("megatron transient", "Rank 0, node n, device 1, iteration #5: Possible transient error!", "hardware-error", 5, 0, {}),
    ("megatron persistent", "Rank 0, node n, device 1, iteration #5: Possible persistent error!", "hardware-error", 5, 0, {}),
    ("megatron second rerun", "Rank 0, node n, device 1, iteration #5: Second rerun: unexpected result is not reproducible on a different GPU, therefore was likely incorrect!", "hardware-error", 5, 0, {"rerun": "second", "reproducible": False}),
    ("megatron reproducible", "Rank 0, node n, device 1, iteration #5: First rerun: unexpected result is reproducible within the tolerance (nan = nan). Need to rerun on a different GPU to verify correctness.!", "nonfinite-text", 5, 0, {"reproducible": True}),
    ("lightning stop", "Monitored metric val_loss = nan is not finite. Previous best value was inf. Signaling Trainer to stop.", "nonfinite-text", None, None, {"value": "nan", "quantity": "loss"}),
    ("lightning parameters", "ValueError: Detected nan and/or inf values in `model.layer.weight`. Check your forward pass for numerically unstable operations.", "nonfinite-text", None, None, {"quantity": "parameters", "layer": "model.layer.weight"}),
    ("fairseq skip", "2024-01-01 10:00:00 | INFO | fairseq.trainer | NOTE: gradient overflow detected, ignoring gradient, setting loss scale to: 64.0", "overflow-skipped", None, None, {"scale_after": 64.0}),
    ("fairseq 0.9 skip", "| WARNING: overflow detected, setting loss scale to: 64.0", "overflow-skipped", None, None, {"scale_after": 64.0}),
    ("fairseq end", "FloatingPointError: Minimum loss scale reached (0.0001). Your loss is probably exploding. Try lowering the learning rate, using gradient clipping or increasing the batch size.", "loss-scale-minimum", None, None, {"scale": 0.0001}),
    ("fairseq detector", "2024-01-01 10:00:00 | WARNING | fairseq.nan_detector | NaN detected in output of encoder.layers.3, shape: torch.Size([2, 8]), forward input max: 1.0, input min: -1.0", "nonfinite-text", None, None, {"layer": "encoder.layers.3"}),
    ("fairseq gradients", "FloatingPointError: gradients are Nan/Inf", "nonfinite-text", None, None, {"value": "nan", "quantity": "gradient"}),
    ("icefall end", "RuntimeError: grad_scale is too small, exiting: 5.960464477539063e-08", "loss-scale-minimum", None, None, {"scale": 5.960464477539063e-08}),
    ("ColossalAI", "                    INFO     colossalai - colossalai - INFO: Found overflow. Skip step", "overflow-skipped", None, None, {}),
    ("ColossalAI ZeRO", "                             inf during ShardedOptimV2 step                     ", "overflow-skipped", None, None, {}),
    ("InternEvo", "2023-07-07 12:26:58,293 WARNING hybrid_zero_optim.py:600 in step -- Overflow occurs, please check it.", "overflow-skipped", None, None, {}),
    ("espnet", "[gpu028:0/1] 2023-01-01 10:00:00,123 (trainer:663) WARNING: The grad norm is nan. Skipping updating the model.", "nonfinite-text", None, None, {"quantity": "gradient"}),
    ("nccl check", "/pytorch/torch/csrc/distributed/c10d/NanCheck.cu:15: checkForNaN: block: [0,0,0], thread: [3,0,0] Assertion `!isnan(val)` failed.", "nonfinite-text", None, None, {"value": "nan", "operation": "collective"}),
    ("torch.distributions", "ValueError: Expected parameter logits (Tensor of shape (1, 2)) of distribution Categorical(logits: torch.Size([1, 2])) to satisfy the constraint IndependentConstraint(Real(), 1), but found invalid values:", "sampling-assert", None, None, {"quantity": "logits", "distribution": "Categorical"}),
    ("TF op", 'InvalidArgumentError: !!! Detected Infinity or NaN in output 0 of graph op "Log" (# of outputs: 1) !!!', "nonfinite-text", None, None, {"value": "nan", "operation": "Log"}),
    ("TF both", "InvalidArgumentError: LossTensor is inf or nan. : Tensor had Inf and NaN values", "nonfinite-text", None, None, {"value": "nan"}),
    ("JAX sharded", "FloatingPointError: Invalid value (nan) encountered in sharded computation.", "nonfinite-text", None, None, {"operation": "sharded computation"}),
    ("JAX de-optimized", "FloatingPointError: invalid value (nan) encountered in jit(f). Because jax_config.debug_nans.value is set, the de-optimized function did not produce invalid values during its execution.", "nonfinite-text", None, None, {"operation": "jit(f)"}),
    ("MindSpore", "epoch: 1 step: 101, loss is nan", "nonfinite-text", 101, None, {"quantity": "loss"}),
    ("Xid", "[123.4] NVRM: Xid (PCI:0000:07:00): 63, pid='<unknown>', name=<unknown>, Row Remapper: New row", "hardware-error", None, None, {"xid": 63}),
    ("Xid on bus 13", "NVRM: Xid (PCI:0000:13:00): 79, pid=31, GPU has dropped out", "hardware-error", None, None, {"xid": 79}),
    ("ECC", "torch.AcceleratorError: CUDA error: uncorrectable ECC error encountered", "hardware-error", None, None, {}),
    ("NCCL and InfiniBand", "node1:123:456 [3] NCCL WARN NET/IB : Got completion from peer with status=12 opcode=0 len=0 vendor err 129 (error)", "hardware-error", None, None, {}),
    ("device loss", "allennlp.common.ConfigurationError: nan loss encountered", "nonfinite-text", None, None, {"quantity": "loss"}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "kind", "step", "rank", "data"),
    [case[1:] for case in EVENTS],
    ids=[case[0] for case in EVENTS],
)
def test_events(
    tmp_path: Path,
    text: str,
    kind: str,
    step: int | None,
    rank: int | None,
    data: dict[str, object],
) -> None:
    found = events_of(read_text(tmp_path, text + "\n"), kind)
    assert len(found) == 1, found
    assert (found[0].step, found[0].rank) == (step, rank)
    assert {key: found[0].data.get(key) for key in data} == data
    assert found[0].source.line == 1


SILENT = [
    # Large, spiky or merely odd is not NaN; the program's advice is none either.
    "Unexpected result 123.4 on rank 3 at iteration #12 invocation #1 (message='Spiky loss')",
    "Unexpected result 123.4 on rank 3 at iteration #12 invocation #1 (message='found unexpected large grads in bucket #3')",
    MEGATRON.format(loss=" lm loss: 9.8E+00 |", norm="", skipped=0, nan=0),
    MEGATRON.format(loss="", norm=" grad norm: 1.5 |", skipped=0, nan=0),
    MEGATRON.format(loss="", norm=" grad norm: 0.0 |", skipped=1, nan=0),
    "Training went well. Check for nan values if you change the data.",
    "Loss decreased. If you see nan, lower the learning rate.",
    "buffer overflow detected, terminated",
    "Nov 20 10:00:00 node kernel: NVRM: Xid (PCI:0000:07:00): 13, Graphics Exception: ESR 0x50d730=0x20",
    "[1.2] NVRM: Xid (PCI:0000:07:00): 31, pid=1234, name=python, Ch 00000008, MMU Fault: ENGINE GRAPHICS",
    "torch.distributed.DistBackendError: NCCL error in: ProcessGroupNCCL.cpp:1970, unhandled cuda error, NCCL version 2.20.5",
    "ncclRemoteError: A call failed possibly due to a network error or a remote process exiting prematurely.",
    "[rank3]:[E1120 10:00:00.123 ProcessGroupNCCL.cpp:616] [Rank 3] Watchdog caught collective operation timeout: WorkNCCL(SeqNum=123, OpType=ALLREDUCE) ran for 600012 milliseconds before timing out.",
    "wandb: Run summary:\nwandb: best_loss inf",
    "     1/299     3.88G   0.08017    0.0508",
]


@pytest.mark.parametrize("text", SILENT)
def test_what_says_nothing_of_nan(tmp_path: Path, text: str) -> None:
    events = of_type(read_text(tmp_path, text + "\n"), LogEvent)
    kinds = {event.kind for event in events}
    spoken = {"nonfinite-text", "loss-scale-minimum", "sampling-assert", "hardware-error"}
    assert not kinds & spoken, events
    if "number of skipped iterations:   1" not in text:
        assert "overflow-skipped" not in kinds


def test_anomaly_mode_names_the_forward_line(tmp_path: Path) -> None:
    text = (
        "/x/torch/autograd/graph.py:744: UserWarning: Error detected in SqrtBackward0. Traceback of forward call that caused the error:\n"
        '  File "/x/train.py", line 90, in <module>\n    main()\n'
        '  File "/x/model.py", line 31, in forward\n    y = torch.sqrt(x)\n'
        " (Triggered internally at ../torch/csrc/autograd/python_anomaly_mode.cpp:111.)\n"
        "Traceback (most recent call last):\n"
        '  File "a.py", line 1, in <module>\n    loss.backward()\n'
        "RuntimeError: Function 'SqrtBackward0' returned nan values in its 0th output.\n"
    )
    (event,) = events_of(read_text(tmp_path, text), "backward-nonfinite")
    assert event.data["forward"] == "/x/model.py:31: y = torch.sqrt(x)"
    library = (
        '  File "/e/site-packages/torch/_tensor.py", line 39, in wrapped\n    return f(self)\n'
    )
    inner = text.replace(" (Triggered", library + " (Triggered")
    (event,) = events_of(read_text(tmp_path, inner), "backward-nonfinite")
    assert event.data["forward"] == "/x/model.py:31: y = torch.sqrt(x)"
    other = text.replace("Error detected in Sqrt", "Error detected in Pow")
    assert "forward" not in events_of(read_text(tmp_path, other), "backward-nonfinite")[0].data


def test_an_optimizer_as_it_was_made(tmp_path: Path) -> None:
    text = "parameters are float16, optimizer Adam(lr=0.001, betas=(0.9, 0.999), eps=1e-08)\n"
    values = [record.values for record in of_type(read_text(tmp_path, text), ConfigRecord)]
    made = next(v for v in values if "optimizer.name" in v)
    assert (made["optimizer.name"], made["optimizer.eps"]) == ("Adam", 1e-08)
    assert {"param_dtype": "float16"} in values


CONFIGS = [
    ("fairseq", "2024-01-01 10:00:00 | INFO | fairseq_cli.train | {'_name': None, 'common': {'fp16': True, 'fp16_init_scale': 128}, 'optimization': {'lr': [0.0005], 'clip_norm': 0.0}}", {"common.fp16": True, "optimization.lr.0": 0.0005}),
    ("dict", "Config: {'lr': 0.001, 'batch_size': 32, 'optimizer': 'adam'}", {"lr": 0.001, "optimizer": "adam"}),
    ("torchtitan", '[titan] 2025-05-21 16:49:48,549 - root - INFO - Running with args: {"optimizer": {"name": "AdamW", "lr": 0.0003}, "training": {"mixed_precision_param": "bfloat16"}}', {"optimizer.lr": 0.0003, "training.mixed_precision_param": "bfloat16"}),
    ("json over lines", "Running with configs: {\n  \"optimizer\": {\n    \"name\": \"AdamW\",\n    \"lr\": 0.0003\n  }\n}", {"optimizer.name": "AdamW"}),
    ("axolotl", "[DEBUG] [axolotl.utils.config.log:44] [PID:1] config:\n{\n  \"bf16\": true,\n  \"learning_rate\": 0.0002\n}", {"bf16": True, "learning_rate": 0.0002}),
    ("YOLO", "engine/trainer: task=detect, model=yolov8n.pt, epochs=100, amp=True, lr0=0.01, optimizer=auto", {"amp": True, "optimizer": "auto"}),
    ("YOLOv5", "hyperparameters: lr0=0.01, lrf=0.01, momentum=0.937, weight_decay=0.0005", {"lr0": 0.01}),
    ("Trainer's enumerations", "TrainingArguments(\nlr_scheduler_type=<SchedulerType.COSINE: 'cosine'>,\noptim=OptimizerNames.ADAMW_TORCH,\naccelerator_config={'split_batches': False},\n)", {"lr_scheduler_type": "cosine", "optim": "adamw_torch", "accelerator_config.split_batches": False}),
    ("gpt-neox", "-------------------- arguments --------------------\n  fp16 ............................ {'enabled': True, 'loss_scale': 0}updated\n  lr .............................. 0.0006......updated\n---------------- end of arguments ----------------", {"fp16.enabled": True, "lr": 0.0006}),
    ("apex", "After processing overrides, optimization options are:\nenabled                : True\nopt_level              : O2\nloss_scale             : dynamic", {"amp.opt_level": "O2", "amp.loss_scale": "dynamic"}),
    ("accelerate", "Mixed precision type: fp16", {"compute_dtype": "fp16"}),
    ("Lightning", "Using bfloat16 Automatic Mixed Precision (AMP)", {"compute_dtype": "bf16-mixed"}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "values"), [case[1:] for case in CONFIGS], ids=[case[0] for case in CONFIGS]
)
def test_configuration(tmp_path: Path, text: str, values: dict[str, object]) -> None:
    (record,) = of_type(read_text(tmp_path, text + "\n"), ConfigRecord)
    assert {key: record.values.get(key) for key in values} == values


@pytest.mark.parametrize(
    "text",
    [
        "{'loss': 0.5, 'lr': 0.1, 'batch_size': 4}",
        "{'epoch': 10, 'learning_rate': 0.1, 'loss': 1.5}",
        "{'a': 1, 'b': 2}",
        "Loading config:\nstep 1",
        "  dtype: <dtype: 'float32'>",
    ],
)
def test_what_is_no_configuration(tmp_path: Path, text: str) -> None:
    assert not of_type(read_text(tmp_path, text + "\n"), ConfigRecord)


MACHINES = [
    ("torch 2.4.0+cu121 | python 3.11", {"torch": "2.4.0+cu121"}, {}),
    ("Environment: torch=2.5.0 deepspeed=0.13.1", {"torch": "2.5.0", "deepspeed": "0.13.1"}, {}),
    ("YOLOv5 v6.0 torch 1.9.0+cu111 CUDA:0 (Tesla V100-SXM2-16GB, 16160.5MB)", {"torch": "1.9.0+cu111"}, {"gpu": "Tesla V100-SXM2-16GB"}),
    ("Ultralytics 8.3.0 Python-3.10.12 torch-2.3.0+cu121 CUDA:0 (Tesla T4, 15102MiB)", {"torch": "2.3.0+cu121"}, {"python": "3.10.12", "gpu": "Tesla T4"}),
    ("GPU 0,1,2,3             Tesla V100-SXM2-32GB (arch=7.0)", {}, {"gpu": "Tesla V100-SXM2-32GB"}),
    ("   \\\\   /|    GPU: Tesla T4. Max memory: 14.748 GB. Platform = Linux.", {}, {"gpu": "Tesla T4"}),
    ("run sh: `torchrun --nproc_per_node 4 /x/sft.py --torch_dtype float16`", {}, {"command": "torchrun --nproc_per_node 4 /x/sft.py --torch_dtype float16"}),
    ("$ python -m axolotl.cli.train config.yml", {}, {"command": "python -m axolotl.cli.train config.yml"}),
    ("+ FORCE_TORCHRUN=1 llamafactory-cli train examples/x.yaml", {}, {"command": "FORCE_TORCHRUN=1 llamafactory-cli train examples/x.yaml"}),
]  # fmt: skip


@pytest.mark.parametrize(("text", "packages", "facts"), MACHINES)
def test_machine(
    tmp_path: Path, text: str, packages: dict[str, str], facts: dict[str, str]
) -> None:
    (record,) = of_type(read_text(tmp_path, text + "\n"), EnvironmentRecord)
    assert dict(record.packages) == packages
    assert dict(record.facts) == facts


@pytest.mark.parametrize(
    "text",
    [
        "Downloading torch-2.3.0+cu121-cp310-cp310-linux_x86_64.whl",
        "please run python -m torch.distributed.run --nproc_per_node=8 train.py",
        "cuDNN version: Probably one of the following:",
    ],
)
def test_no_machine(tmp_path: Path, text: str) -> None:
    assert not of_type(read_text(tmp_path, text + "\n"), EnvironmentRecord)


def test_a_box_whose_names_stand_on_the_right(tmp_path: Path) -> None:
    """Spinning Up's logger."""
    rule = "-" * 39
    box = f"{rule}\n|             Epoch |               {{}} |\n|            LossPi |         {{}} |\n{rule}\n"
    records = read_text(tmp_path, box.format(0, -0.04) + box.format(1, -0.05))
    assert points_of(records)["LossPi", "step"] == ([0, 1], [-0.04, -0.05])
