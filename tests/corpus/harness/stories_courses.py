"""Faults crossed with tasks, in plain torch, accelerate and Lightning."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from harness import faults, tasks
from harness.course import Course, Terms
from harness.lightning_loop import lightning_loop
from harness.loops import accelerate_loop, torch_loop
from harness.session import Session
from harness.staged import Staged
from harness.tasks import Batch, Task

LOOPS: dict[str, Callable[..., None]] = {
    "torch": torch_loop,
    "accelerate": accelerate_loop,
    "lightning": lightning_loop,
}
XID_48 = "[77120.402] NVRM: Xid (PCI:0000:1a:00): 48, pid=911, Double Bit ECC Error (DBE)"
XID_95 = "[10942.880] NVRM: Xid (PCI:0000:c1:00): 95, pid=3321, Uncontained: LTC TAG"


def _run(framework: str, fault: faults.Fault, task: Task, **more: Any) -> Callable[..., None]:
    def train(session: Session) -> None:
        LOOPS[framework](session, fault(task, session.healthy, **more))

    return train


def restored_weights_only(framework: str, task: Task, factor: float) -> Callable[..., None]:
    """A resume that restores the weights: momentum is lost and the schedule begins anew, far above
    where it had come to."""

    def train(session: Session) -> None:
        loop = LOOPS[framework]

        def decayed(step: int) -> float:
            return 0.02 * 0.5 * (1 + math.cos(math.pi * min(step, 130) / 140))

        course = faults.plain(task, optimizer="sgd", momentum=0.9, rate=decayed, steps=90)
        course.save_every = 90
        session.log.say("Starting training from scratch")
        loop(session, course)
        session.log.say("Resuming training from step 90: loaded model weights")

        def again(step: int) -> float:
            return decayed(step) if session.healthy else factor * decayed(step - 90)

        course.rate, course.steps, course.save_every = again, 40, 0
        loop(session, course, first=91, watch=False)

    return train


def half_growth(task: Task, healthy: bool, **more: Any) -> Course:
    """Autocast to float16 with a gradient scaler; inputs brighten until activations overflow and
    the scale halves for good."""

    def spoil(step: int, batch: Batch) -> Batch:
        return batch if healthy else (batch[0] * 1.3**step, *batch[1:])

    settings = {"fp16": True, "learning_rate": 1e-3, "max_grad_norm": 1.0}
    return faults.plain(
        task,
        precision="fp16",
        optimizer="sgd",
        rate=lambda step: 1e-3,
        clip=1.0,
        spoil=spoil,
        steps=70,
        save_every=35,
        settings=settings,
        **more,
    )


def stale_scaler(task: Task, healthy: bool) -> Course:
    """float16 with a scaler that starts at 65536 and skips as it should."""
    return faults.plain(task, precision="fp16", clip=1.0, steps=90, save_every=45)


def hard_batches(task: Task, healthy: bool, **more: Any) -> Course:
    """Two batches whose loss is far above all others; training goes on."""

    def loss(model: nn.Module, batch: Batch, step: int) -> tuple[Tensor, Terms]:
        value = task.loss(model, batch)
        return value * (60.0 if step in (38, 71) else 1.0), {}

    return faults.plain(task, loss=loss, clip=1.0, steps=110, save_every=55, **more)


def below_zero(task: Task, healthy: bool) -> Course:
    """A likelihood that is sharp: the loss falls below zero and on."""

    def loss(model: nn.Module, batch: Batch, step: int) -> tuple[Tensor, Terms]:
        return task.loss(model, batch) - 0.05 * step, {}

    return faults.plain(task, loss=loss, steps=90, save_every=90)


def second_stage(task: Task, healthy: bool, framework: str = "") -> Course:
    """A second stage, announced, has a further objective: the loss is fourfold for good."""

    def loss(model: nn.Module, batch: Batch, step: int) -> tuple[Tensor, Terms]:
        main = task.loss(model, batch)
        if step <= 60:
            return main, {}
        return main + 5.0 + (faults.model_score(model, batch) - 1).square().mean(), {}

    say = {61: "Entering stage 2/2 (joint objective): unfreezing, new loss weights"}
    return faults.plain(task, loss=loss, say=say, steps=120, save_every=60)


def climb(task: Task, healthy: bool) -> Course:
    """The rate rises from 1e-8 to its peak within six steps."""

    def rate(step: int) -> float:
        return task.rate * 10 ** (min(step, 6) - 6.0) if step < 60 else task.rate * 0.5

    return faults.plain(task, rate=rate, steps=90, save_every=45, clip=1.0)


def cut_short(task: Task, healthy: bool) -> Course:
    """Ends by a signal in the middle of training."""
    say = {
        41: "Received signal 15: SIGTERM, saving checkpoint and exiting",
        42: "slurmstepd: error: *** JOB 771204 ON node17 CANCELLED AT 2026-03-04T18:53:48 ***",
    }
    return faults.plain(task, steps=42, save_every=20, say=say)


def undefined_scores(task: Task, healthy: bool) -> Course:
    """Evaluation metrics that are NaN until the first evaluation has been."""

    def loss(model: nn.Module, batch: Batch, step: int) -> tuple[Tensor, Terms]:
        value = task.loss(model, batch)
        best = torch.tensor(math.nan) if step < 30 else value.detach()
        return value, {"best_val_score": best}

    return faults.plain(task, loss=loss, steps=80, save_every=40)


def _bad(framework: str, about: str, fault: faults.Fault, task: Task, **more: Any) -> Staged:
    kept = {k: more.pop(k) for k in ("decoy", "sees_layers", "hidden") if k in more}
    return Staged(_run(framework, fault, task, **more), about, task.family, framework, **kept)


def _well(framework: str, about: str, fault: faults.Fault, task: Task, benign: str) -> Staged:
    return Staged(_run(framework, fault, task), about, task.family, framework, benign=benign)


HIGH = faults.rate_too_high
STAGED: dict[str, Staged] = {
    "accelerate-sample-mlp": _bad("accelerate", "bad-input-data", faults.bad_sample, tasks.MLP),
    "accelerate-huge-lstm": _bad("accelerate", "bad-input-data", faults.huge_sample, tasks.LSTM),
    "accelerate-jump-cnn": _bad("accelerate", "lr-spike", faults.rate_jump, tasks.CNN, factor=1e6),
    "accelerate-jump-decoder": _bad(
        "accelerate", "lr-spike", faults.rate_jump, tasks.DECODER, factor=1e6, momentum=0.9
    ),
    "accelerate-rate-mlp": _bad("accelerate", "lr-too-high", HIGH, tasks.MLP, rate=3e4, usual=0.1),
    "accelerate-rate-lstm": _bad(
        "accelerate", "lr-too-high", HIGH, tasks.LSTM, rate=500.0, usual=0.1
    ),
    "accelerate-labels-translator": _bad(
        "accelerate", "empty-targets", faults.no_labels, tasks.TRANSLATOR
    ),
    "accelerate-labels-decoder": _bad(
        "accelerate", "empty-targets", faults.no_labels, tasks.DECODER, steps=(19, 58)
    ),
    "accelerate-blind-translator": _bad(
        "accelerate",
        "fully-masked-attention",
        faults.blind_row,
        tasks.TRANSLATOR,
        sees_layers=True,
    ),
    "accelerate-exploding-mlp": _bad(
        "accelerate", "gradient-explosion", faults.exploding, tasks.MLP, gain=2.5
    ),
    "accelerate-log-decoder": _bad(
        "accelerate", "loss-domain-error", faults.log_of_zero, tasks.DECODER
    ),
    "accelerate-log-denoiser": _bad(
        "accelerate", "loss-domain-error", faults.log_of_zero, tasks.DENOISER
    ),
    "accelerate-resume-decoder": Staged(
        restored_weights_only("accelerate", tasks.DECODER, 2e5),
        "resume-mismatch",
        "decoder",
        "accelerate",
    ),
    "accelerate-device-decoder": _bad(
        "accelerate", "hardware-fault", faults.device_fault, tasks.DECODER, line=XID_95
    ),
    "torch-resume-lstm": Staged(
        restored_weights_only("torch", tasks.LSTM, 4e3), "resume-mismatch", "lstm"
    ),
    "torch-resume-denoiser": Staged(
        restored_weights_only("torch", tasks.DENOISER, 1e3), "resume-mismatch", "diffusion"
    ),
    "lightning-resume-cnn": Staged(
        restored_weights_only("lightning", tasks.CNN, 4e4),
        "resume-mismatch",
        "cnn",
        "lightning",
    ),
    "torch-epsilon-cnn": _bad("torch", "optimizer-epsilon", faults.tiny_epsilon, tasks.CNN),
    "torch-epsilon-decoder": _bad("torch", "optimizer-epsilon", faults.tiny_epsilon, tasks.DECODER),
    "lightning-epsilon-mlp": _bad("lightning", "optimizer-epsilon", faults.tiny_epsilon, tasks.MLP),
    "torch-scaler-mlp": _bad("torch", "fp16-overflow", half_growth, tasks.MLP),
    "torch-scaler-cnn": _bad(
        "torch", "fp16-overflow", half_growth, tasks.CNN, shows="activations", sees_layers=True
    ),
    "lightning-sample-captions": _bad(
        "lightning", "bad-input-data", faults.huge_sample, tasks.CAPTIONS, factor=1e39
    ),
    "lightning-jump-decoder": _bad(
        "lightning", "lr-spike", faults.rate_jump, tasks.DECODER, factor=1e6
    ),
    "lightning-rate-decoder": _bad(
        "lightning", "lr-too-high", HIGH, tasks.DECODER, rate=3e4, usual=0.1
    ),
    "lightning-rate-lstm": _bad(
        "lightning", "lr-too-high", HIGH, tasks.LSTM, rate=500.0, usual=0.1
    ),
    "lightning-labels-translator": _bad(
        "lightning", "empty-targets", faults.no_labels, tasks.TRANSLATOR, steps=(31, 64)
    ),
    "lightning-blind-translator": _bad(
        # CSVLogger sorts its columns: which of the modules was first is lost.
        "lightning",
        "fully-masked-attention",
        faults.blind_row,
        tasks.TRANSLATOR,
    ),
    "lightning-device-cnn": _bad(
        "lightning", "hardware-fault", faults.device_fault, tasks.CNN, line=XID_48
    ),
    "torch-huge-denoiser": _bad(
        "torch", "bad-input-data", faults.huge_sample, tasks.DENOISER, shows="activations"
    ),
    "torch-log-cnn": _bad("torch", "loss-domain-error", faults.log_of_zero, tasks.CNN, at=33),
    # Well by design.
    "torch-half-denoiser": _well(
        "torch", "fp16-overflow", stale_scaler, tasks.DENOISER, "a gradient scaler at work"
    ),
    "torch-half-mlp": _well(
        "torch", "fp16-overflow", stale_scaler, tasks.MLP, "a gradient scaler at work"
    ),
    "accelerate-spikes-decoder": _well(
        "accelerate", "gradient-explosion", hard_batches, tasks.DECODER, "two spikes that pass"
    ),
    "lightning-spikes-cnn": _well(
        "lightning", "gradient-explosion", hard_batches, tasks.CNN, "two spikes that pass"
    ),
    "torch-negative-denoiser": _well(
        "torch", "loss-domain-error", below_zero, tasks.DENOISER, "a loss below zero"
    ),
    "lightning-negative-mlp": _well(
        "lightning", "loss-domain-error", below_zero, tasks.MLP, "a loss below zero"
    ),
    "torch-stages-cnn": _well(
        "torch", "gradient-explosion", second_stage, tasks.CNN, "a stage whose loss is larger"
    ),
    "torch-stages-mlp": _well(
        "torch", "gradient-explosion", second_stage, tasks.MLP, "a stage whose loss is larger"
    ),
    "accelerate-stages-decoder": _well(
        "accelerate",
        "gradient-explosion",
        second_stage,
        tasks.DECODER,
        "a stage whose loss is larger",
    ),
    "lightning-stages-lstm": _well(
        "lightning", "gradient-explosion", second_stage, tasks.LSTM, "a stage whose loss is larger"
    ),
    "accelerate-climb-mlp": _well("accelerate", "lr-spike", climb, tasks.MLP, "a steep warmup"),
    "lightning-climb-translator": _well(
        "lightning", "lr-spike", climb, tasks.TRANSLATOR, "a steep warmup"
    ),
    "accelerate-cut-cnn": _well(
        "accelerate", "hardware-fault", cut_short, tasks.CNN, "killed by a signal"
    ),
    "torch-cut-experts": _well(
        "torch", "hardware-fault", cut_short, tasks.EXPERTS, "killed by a signal"
    ),
    "torch-undefined-captions": _well(
        "torch", "empty-targets", undefined_scores, tasks.CAPTIONS, "a metric that is not yet"
    ),
    "lightning-undefined-decoder": _well(
        "lightning", "empty-targets", undefined_scores, tasks.DECODER, "a metric that is not yet"
    ),
}
