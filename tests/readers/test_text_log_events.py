"""Occurrences that a log states: NaN in words, tracebacks, memory, hardware, life of the run."""

# ruff: noqa: E501
from __future__ import annotations

from pathlib import Path

import pytest
from reading import of_type
from textlogs import events_of, points_of, read_text

from nanautopsy.model import EVENT_KINDS, ConfigRecord, EnvironmentRecord, LogEvent

SAID = [
    ("NAN in logits!!!", "nan", "logits"),
    ("Loss is nan, stopping training", "nan", "loss"),
    ("Loss is NaN", "nan", "loss"),
    ("Loss is not finite (global_avg_loss=nan) at step 3. Stopping training.", "nan", "loss"),
    ("RuntimeError: training_loss became nan or inf somewhere within steps [0 - 50]", "nan", "loss"),
    ("ERROR:tensorflow:Model diverged with loss = NaN.", "nan", "loss"),
    ("tensorflow.python.training.basic_session_run_hooks.NanLossDuringTrainingError: NaN loss during training.", "nan", "loss"),
    ("ValueError: The loss returned in `training_step` is nan.", "nan", "loss"),
    ("Monitored metric val_loss = nan is not finite. Previous best value was 0.300. Signaling Trainer to stop.", "nan", "loss"),
    ("NaN or Inf found in input tensor.", "nan", "value"),
    ("AssertionError: Rank 3: found NaN in local grad norm in backward pass before data-parallel communication collective. Device: 3, node: n1", "nan", "gradient"),
    ("Unexpected result nan on rank 3 at iteration #12 invocation #1 (message='found NaN in local forward loss calculation')", "nan", "loss"),
    ("RuntimeError: Rank 3, node h, device 0, iteration 12: Unexpected result nan (message='found NaN in local grad norm for bucket #7 in backward pass before data-parallel communication collective')", "nan", "gradient"),
    ("NaN detected in output of encoder.layers.3, shape: torch.Size([2, 8]), forward", "nan", "activations"),
    ("Batch 5: Invalid loss, terminating training", "nan", "loss"),
    ("pass 2 tensor(nan, device='cuda:0', grad_fn=<CopyBackwards>)", "nan", "value"),
    ("hidden_states mean: nan max: nan", "nan", "activations"),
    ("/a/b.py:42: RuntimeWarning: divide by zero encountered in log", "inf", "warning"),
    ("/a/b.py:42: RuntimeWarning: invalid value encountered in true_divide", "nan", "warning"),
    ("FloatingPointError: invalid value (nan) encountered in jit(train_step)", "nan", "operation"),
    ("Invalid nan value encountered in the output of a jax.jit function. Calling the de-optimized version.", "nan", "operation"),
    ("tensorflow.python.framework.errors_impl.InvalidArgumentError: loss : Tensor had NaN values", "nan", "tensor"),
    ("RuntimeError: The total norm of order 2.0 for gradients from `parameters` is non-finite, so it cannot be clipped. To disable this error", "nan", "gradient"),
    ("ValueError: autodetected range of [nan, nan] is not finite", "nan", None),
    ("FloatingPointError: Loss became infinite or NaN at iteration=20!", "nan", "loss"),
    ("WARNING:root:NaN or Inf found in gradients, skipping step", "nan", "gradient"),
    ("Warning: gradient contains inf, value clipped", "inf", "gradient"),
    ("Gradients are NaN in model.layers.3.mlp.down_proj", "nan", "gradient"),
    ("Non-finite loss encountered", "nan", "loss"),
    ("loss is nan!", "nan", "loss"),
    ("Training stopped: loss went to nan", "nan", "loss"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "value", "quantity"), SAID)
def test_the_program_says_nan(tmp_path: Path, text: str, value: str, quantity: str | None) -> None:
    events = events_of(read_text(tmp_path, text + "\n"), "nonfinite-text")
    assert len(events) == 1, events
    assert events[0].data["value"] == value
    if quantity is not None:
        assert events[0].data.get("quantity") == quantity
    assert events[0].source.excerpt == text


NOT_SAID = [
    "WARNING: this might become NaN if lr is large",
    "using nan_to_num on the logits",
    "NaN-safe softmax is enabled",
    "--check-for-nan-in-loss-and-grad",
    "  check_for_nan_in_loss_and_grad .................. True",
    "logging_nan_inf_filter=True,",
    "number of nan iterations: 0",
    "    if torch.isnan(loss).any():",
    "    assert not torch.isnan(loss), 'loss is nan'",
    "    raise ValueError('loss is nan')",
    "terminate_on_nan: False",
    "No NaNs found in gradients",
    "no inf or nan detected",
    "Found 0 NaN values in dataset",
    "EarlyStopping: best score is inf",
    "val_loss improved from inf to 0.5, saving model",
    "Epoch 00001: val_loss improved from inf to 0.31337, saving model to x.h5",
    "[INFO] information about inference with nanoGPT is found",
    "RerunStateMachine initialized in mode RerunMode.DISABLED",
    "Loss spikes may be caused by NaN in the data",
    "You should check for nan in your inputs",
    "replacing nan with zero",
    "FutureWarning: the default fillna value is nan",
    "max_length is inf",
    "patience=inf",
    "model: banana, finance, infinite scroll",
    "Infinity Fabric is found",
    "underflow encountered RuntimeWarning: underflow encountered in exp",
    "WARNING: utt 3 is too short: its ctc loss is inf and was zeroed (zero_infinity=True)",
    "2 utterances whose loss is inf are excluded",
]


@pytest.mark.parametrize("text", NOT_SAID)
def test_speculation_and_code_are_no_evidence(tmp_path: Path, text: str) -> None:
    records = read_text(tmp_path, text + "\n")
    assert not [e for e in of_type(records, LogEvent) if e.kind == "nonfinite-text"], records


def test_a_sentence_of_what_was_handled_is_no_row(tmp_path: Path) -> None:
    text = "batch 5: its ctc loss is inf and was zeroed\nbatch 10, loss: 2.5\n"
    assert points_of(read_text(tmp_path, text)) == {("loss", "step"): ([10], [2.5])}


def test_step_rank_and_layer_that_a_line_names(tmp_path: Path) -> None:
    text = "\n".join(
        (
            "Unexpected result nan on rank 3 at iteration #12 invocation #1 (message='found NaN in local grad norm')",
            "[rank5]: NaN detected in output of encoder.layers.3, shape: torch.Size([2, 8])",
            "RuntimeError: training_loss became nan or inf somewhere within steps [100 - 150]",
        )
    )
    first, second, third = events_of(read_text(tmp_path, text), "nonfinite-text")
    assert (first.step, first.step_exact, first.rank) == (12, True, 3)
    assert (second.rank, second.data["layer"]) == (5, "encoder.layers.3")
    assert (third.step, third.step_exact, third.data["after_step"]) == (150, False, 100)


def test_an_event_stands_at_the_last_step(tmp_path: Path) -> None:
    text = "step 7 loss 2.5\nNAN in logits!!!\nEpoch 1 [3/100] loss 1.5\nNAN in logits!!!\n"
    first, second = events_of(read_text(tmp_path, text), "nonfinite-text")
    assert (first.step, first.step_exact) == (7, False)
    assert (second.step, second.step_exact) == (3, False)


@pytest.mark.parametrize(
    "text", ['    "profile_step": 1,', "  0%|          | 1/3 [00:00<?, ?it/s]", "pre-step: 1.5"]
)
def test_what_names_no_step(tmp_path: Path, text: str) -> None:
    (event,) = events_of(read_text(tmp_path, f"{text}\nNAN in logits!!!\n"), "nonfinite-text")
    assert event.step is None


def test_rerun_machine(tmp_path: Path) -> None:
    text = (
        "Rank 0, node n, device 1, iteration #5: First rerun: unexpected result is not reproducible within the tolerance (nan != 1.5)!\n"
        "Rank 0, node n, device 1, iteration #5: Possible transient error!\n"
    )
    events = events_of(read_text(tmp_path, text), "hardware-error")
    assert events[0].data["reproducible"] is False
    assert (events[0].step, events[0].rank) == (5, 0)


OCCURRENCES = [
    ("RuntimeError: Function 'PowBackward0' returned nan values in its 0th output.", "backward-nonfinite"),
    ("RuntimeError: Function 'SqrtBackward' returned nan values in its 0th output.", "backward-nonfinite"),
    ("RuntimeError: probability tensor contains either `inf`, `nan` or element < 0", "sampling-assert"),
    ("TensorCompare.cu:110: _assert_async_cuda_kernel: block: [0,0,0], thread: [0,0,0] Assertion `probability tensor contains either `inf`, `nan` or element < 0` failed.", "sampling-assert"),
    ("torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB", "out-of-memory"),
    ("slurmstepd: error: Detected 1 oom-kill event(s) in step 1.batch cgroup.", "out-of-memory"),
    ("[ 12.3] NVRM: Xid (PCI:0000:07:00): 79, pid=1234, GPU has fallen off the bus.", "hardware-error"),
    ("RuntimeError: CUDA error: uncorrectable ECC error encountered", "hardware-error"),
    ("***** Running training *****", "run-started"),
    ("INFO: Starting training", "run-started"),
    ("  Continuing training from global step 500", "run-resumed"),
    ("  successfully loaded checkpoint from /ckpt at iteration 1000", "run-resumed"),
    ("Resuming training from checkpoint /a/checkpoint-500", "run-resumed"),
    ("Resumed from /a/last.ckpt", "run-resumed"),
    ("resume from: out/step300 , load_optim=False", "run-resumed"),
    ("[INFO] Loaded checkpoint ckpt/step_100.pt (model only)", "run-resumed"),
    ("Loading latest checkpoint from /a/iter_300.pth", "run-resumed"),
    ("Training completed. Do not forget to share your model on huggingface.co/models =)", "run-finished"),
    ("`Trainer.fit` stopped: `max_epochs=5` reached.", "run-finished"),
    ("Saving model checkpoint to out/checkpoint-500", "checkpoint-saved"),
    ("  successfully saved checkpoint at iteration    2000 to /ckpt", "checkpoint-saved"),
    ("[2023-01-01 10:00:00,000] [INFO] [torch_checkpoint_engine.py:27:save] [Torch] Saving out/global_step100/x.pt...", "checkpoint-saved"),
    ("WARNING: tokenization mismatch: 102 vs. 104. (ignored)", "labels-mismatch"),
    ("ZeroDivisionError: Unsloth: All labels in your dataset are -100. Training losses will be all 0.", "labels-mismatch"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "kind"), OCCURRENCES)
def test_occurrences(tmp_path: Path, text: str, kind: str) -> None:
    events = of_type(read_text(tmp_path, text + "\n"), LogEvent)
    assert kind in {e.kind for e in events}, events
    assert {e.kind for e in events} <= set(EVENT_KINDS)
    assert "nonfinite-text" not in {e.kind for e in events}


def test_saved_and_resumed_steps(tmp_path: Path) -> None:
    text = (
        "  successfully saved checkpoint at iteration    2000 to /ckpt\n"
        "Saving model checkpoint to out/checkpoint-2500\n"
        "Continuing training from global step 2500\n"
    )
    records = read_text(tmp_path, text)
    first, second = events_of(records, "checkpoint-saved")
    assert (first.step, first.data["checkpoint"]) == (2000, "/ckpt")
    assert (second.step, second.data["checkpoint"]) == (2500, "out/checkpoint-2500")
    assert events_of(records, "run-resumed")[0].step == 2500


def test_the_same_words_of_all_ranks_are_one_occurrence(tmp_path: Path) -> None:
    text = "***** Running training *****\n" * 8
    assert len(events_of(read_text(tmp_path, text), "run-started")) == 1


def test_source_lines_of_a_traceback_are_no_metrics(tmp_path: Path) -> None:
    text = (
        "step 1 loss: 2.5\n"
        "Traceback (most recent call last):\n"
        '  File "train.py", line 120, in <module>\n'
        "    step = 5; loss = 0.5\n"
        "             ^^^^^^^^^^\n"
        '  File "x.py", line 3, in f\n'
        "    epoch 3 loss: nan\n"
        "ValueError: bad loss: 3.5\n"
        "step 2 loss: 2.25\n"
    )
    records = read_text(tmp_path, text)
    assert points_of(records)["loss", "step"] == ([1, 2], [2.5, 2.25])
    (event,) = events_of(records, "traceback")
    assert (event.source.line, event.data["exception"]) == (8, "ValueError")
    assert event.data["message"] == "bad loss: 3.5"


def test_tracebacks_of_several_ranks_are_apart(tmp_path: Path) -> None:
    lines = [
        "[rank0]: Traceback (most recent call last):",
        "[rank1]: Traceback (most recent call last):",
        '[rank0]:   File "a.py", line 1, in f',
        '[rank1]:   File "a.py", line 1, in f',
        "[rank0]:     raise ValueError(x)",
        "[rank0]: ValueError: a",
        "[rank1]:     raise KeyError(x)",
        "[rank1]: KeyError: 'b'",
    ]
    found = events_of(read_text(tmp_path, "\n".join(lines)), "traceback")
    assert {(e.rank, e.data.get("exception")) for e in found} >= {(1, "KeyError")}


def test_events_are_capped(tmp_path: Path) -> None:
    path = tmp_path / "train.log"
    line = "[deepspeed] OVERFLOW! Rank 0 Skipping step. Attempted loss scale: 8, reducing to 4\n"
    path.write_text(line * 20_010)
    from textlogs import read_log

    records = read_log(path)
    assert len(events_of(records, "overflow-skipped")) == 20_000
    (problem,) = [r for r in records if hasattr(r, "text") and not isinstance(r, LogEvent)]
    assert problem.text == "10 more overflow-skipped lines than the 20000 kept"


def test_excerpt_is_printable_and_short(tmp_path: Path) -> None:
    text = "\x1b[31mNAN in logits!!!\x1b[0m\t\x07" + "x" * 5000
    (event,) = events_of(read_text(tmp_path, text), "nonfinite-text")
    quoted = event.source.excerpt
    assert quoted is not None and quoted.isprintable() and len(quoted) == 500


# --- configuration and environment --------------------------------------------------------------


def configs(tmp_path: Path, text: str) -> list[dict[str, object]]:
    """Settings of each record."""
    return [dict(r.values) for r in of_type(read_text(tmp_path, text), ConfigRecord)]


def test_configuration_on_one_line(tmp_path: Path) -> None:
    text = "TrainConfig(lr_mp=0.002, betas=(0.9, 0.95), max_grad_norm=None, compile=False, name='a, b', opt=Adam(eps=1e-08))\n"
    assert configs(tmp_path, text) == [
        {
            "lr_mp": 0.002,
            "betas.0": 0.9,
            "betas.1": 0.95,
            "max_grad_norm": None,
            "compile": False,
            "name": "a, b",
            "opt.eps": 1e-08,
        }
    ]


def test_configuration_over_several_lines(tmp_path: Path) -> None:
    text = "TrainingArguments(\n_n_gpu=1,\nadam_epsilon=1e-08,\nfp16=True,\n)\nstep 1 loss 2.5\n"
    assert configs(tmp_path, text) == [{"_n_gpu": 1, "adam_epsilon": 1e-08, "fp16": True}]


def test_optimizer_and_model_configuration(tmp_path: Path) -> None:
    text = (
        "AdamW (\nParameter Group 0\n    betas: (0.9, 0.999)\n    eps: 1e-08\n    lr: 0.001\n)\n"
        'Model config GPT2Config {\n  "n_embd": 8,\n  "torch_dtype": "float16"\n}\n'
    )
    optimizer, model = configs(tmp_path, text)
    assert optimizer["optimizer.0.eps"] == 1e-08 and optimizer["optimizer.name"] == "AdamW"
    assert model == {"n_embd": 8, "torch_dtype": "float16"}


def test_megatron_arguments(tmp_path: Path) -> None:
    text = (
        "------------------------ arguments ------------------------\n"
        "  adam_eps ........................................ 1e-08\n"
        "  fp16 ............................................ True\n"
        "-------------------- end of arguments ---------------------\n"
    )
    assert configs(tmp_path, text) == [{"adam_eps": 1e-08, "fp16": True}]


ENVIRONMENTS = [
    ("torch==2.1.0+cu118", {"torch": "2.1.0+cu118"}, {}),
    ("[pip3] numpy==1.26.4", {"numpy": "1.26.4"}, {}),
    ("PyTorch version: 2.1.0+cu118", {"torch": "2.1.0+cu118"}, {}),
    ("- `transformers` version: 4.41.0", {"transformers": "4.41.0"}, {}),
    ("- PyTorch version (GPU?): 2.1.0+cu118 (True)", {"torch": "2.1.0+cu118"}, {}),
    ("- Python version: 3.10.12", {}, {"python": "3.10.12"}),
    ("deepspeed info ................... 0.14.0, unknown, unknown", {"deepspeed": "0.14.0"}, {}),
    ("torch version .................... 2.1.0+cu118", {"torch": "2.1.0+cu118"}, {}),
    ("wandb: Tracking run with wandb version 0.16.6", {"wandb": "0.16.6"}, {}),
    ("GPU 0: NVIDIA A100-SXM4-80GB", {}, {"gpu": "NVIDIA A100-SXM4-80GB"}),
    (
        "|   0  Tesla T4            Off  | 00000000:00:04.0 Off |                    0 |",
        {},
        {"gpu": "Tesla T4"},
    ),
    ("CUDA used to build PyTorch: 11.8", {}, {"cuda": "11.8"}),
]


@pytest.mark.parametrize(("text", "packages", "facts"), ENVIRONMENTS)
def test_environment(
    tmp_path: Path, text: str, packages: dict[str, str], facts: dict[str, str]
) -> None:
    (record,) = of_type(read_text(tmp_path, text + "\n"), EnvironmentRecord)
    assert dict(record.packages) == packages
    assert dict(record.facts) == facts
    assert record.source.line == 1


@pytest.mark.parametrize(
    "text",
    [
        "sparse_attn requires a torch version >= 1.5 and < 2.0 but detected 2.1",
        "using untested triton version (2.1.0), only 1.0.0 is known to be compatible",
        "wandb: wandb version 0.17.0 is available!  To upgrade, please run:",
        "pip install torch>=2.0.0",
        "transformers.models.llama 1.5",
    ],
)
def test_versions_that_are_not_those_in_use(tmp_path: Path, text: str) -> None:
    assert not of_type(read_text(tmp_path, text + "\n"), EnvironmentRecord)


@pytest.mark.parametrize(
    "line",
    [
        "Loading checkpoint shards: 100%|##########| 2/2 [00:00<00:00, 3.1it/s]",
        "Loading checkpoint from pretrained model google/t5-small",
        "resume from: None",
        "resume from checkpoint: null",
        "Loaded checkpoint",
    ],
)
def test_no_resume(tmp_path: Path, line: str) -> None:
    records = read_text(tmp_path, f"step 1 loss 2.0\n{line}\nstep 2 loss 2.0\n")
    assert not events_of(records, "run-resumed")


@pytest.mark.parametrize(
    "line",
    [
        "warning: optimizer state not found in checkpoint, starting with a fresh optimizer",
        "Skipping loading of optimizer state",
        "No optimizer state in ckpt/step_200.pt",
        "lr_scheduler state was not restored",
        "Could not load optimizer.pt, continuing",
        "GradScaler state is missing",
    ],
)
def test_states_that_were_not_restored(tmp_path: Path, line: str) -> None:
    assert events_of(read_text(tmp_path, line + "\n"), "state-not-restored")


@pytest.mark.parametrize(
    "line",
    [
        "Optimizer: AdamW (lr: 0.001)",
        "Restored optimizer state from step 200",
        "loading optimizer and scheduler state",
        "new learning rate scheduler: cosine",
    ],
)
def test_states_that_were(tmp_path: Path, line: str) -> None:
    assert not events_of(read_text(tmp_path, line + "\n"), "state-not-restored")


def test_weights_that_are_loaded_on_the_way(tmp_path: Path) -> None:
    text = "step 81 loss: 2.5\nLoading averaged weights from checkpoint-81/model.safetensors\n"
    (said,) = events_of(read_text(tmp_path, text), "weights-loaded")
    assert (said.step, said.data["checkpoint"]) == (81, "checkpoint-81/model.safetensors")
    assert not events_of(read_text(tmp_path, "loading data from disk\n"), "weights-loaded")


def test_a_table_goes_on_behind_rows_without_numbers(tmp_path: Path) -> None:
    """transformers' DebugUnderflowOverflow writes None for what is no tensor."""
    text = (
        "Detected inf/nan during batch_number=20\n"
        "Last 2 forward frames:\n"
        "abs min  abs max  metadata\n"
        "                  h.0 GPT2Block\n"
        "0.00e+00 1.01e-01 input[0]\n"
        "     not a tensor input[1]\n"
        "             None input[2]\n"
        "1.41e-02 2.41e+04 output\n"
        "                  h.1.mlp.c_proj Conv1D\n"
        "3.04e+00      inf weight\n"
        "2.84e+01      inf output\n"
    )
    (said,) = events_of(read_text(tmp_path, text), "nonfinite-text")
    assert said.data["layer"] == "h.1.mlp.c_proj"


@pytest.mark.parametrize(
    "line",
    ["restored checkpoint from /ckpt/step_100", "Restoring the train state of step 100"],
)
def test_words_of_jax_for_a_resume(tmp_path: Path, line: str) -> None:
    text = f"step 100 loss: 2.5\n{line}\nstep 101 loss: 2.4\n"
    assert events_of(read_text(tmp_path, text), "run-resumed")


def test_a_state_of_optax_that_was_lost(tmp_path: Path) -> None:
    line = "WARNING: opt_state not in checkpoint; reinitializing optimizer state\n"
    assert events_of(read_text(tmp_path, line), "state-not-restored")
