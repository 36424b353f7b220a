"""Two suspicious things in one run, of which one is the cause; in all frameworks of the corpus."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from harness import faults, tasks
from harness.course import Terms
from harness.lightning_loop import lightning_loop
from harness.loops import accelerate_loop, torch_loop
from harness.session import Session
from harness.staged import Staged
from harness.stories_benign import LowRank
from harness.stories_courses import XID_48, XID_95
from harness.tasks import Batch, Task

Train = Callable[[Session], None]


def pinned(session: Session, *pins: str) -> None:
    """``requirements.txt`` of the run."""
    (session.directory / "requirements.txt").write_text("\n".join(pins) + "\n", encoding="utf-8")


def old_release(loop: Callable[..., None], task: Task) -> Train:
    """A bad sample each epoch; the pinned releases have known defects that need other settings."""

    def train(session: Session) -> None:
        pinned(session, "torch==2.5.0", "transformers==4.41.2", "deepspeed==0.13.1", "numpy==1.26")
        loop(session, faults.bad_sample(task, session.healthy, period=14, at=6, value=math.inf))

    return train


def spike_then_weights(task: Task, name: str) -> Train:
    """The rate jumps for three steps and training recovers; sixty steps later averaged weights
    are loaded of which two exponents are flipped."""

    def train(session: Session) -> None:
        def rate(step: int) -> float:
            return 0.01 * (12.0 if 20 <= step < 23 else 1.0)

        course = faults.plain(task, optimizer="sgd", rate=rate, steps=80, save_every=80, clip=1.0)
        torch_loop(session, course)
        weight = course.model.get_submodule(name).weight
        assert isinstance(weight, Tensor)
        if not session.healthy:
            with torch.no_grad():
                bits = weight.view(torch.int32).flatten()
                bits[3] ^= 0x3 << 29
                bits[11] ^= 0x3 << 29
        session.save(81, course.model)
        session.log.say("Loading averaged weights from checkpoint-81/model.safetensors")
        course.steps, course.save_every = 30, 0
        torch_loop(session, course, first=82, watch=False)

    return train


def scaled_then_log(task: Task) -> Train:
    """A gradient scaler skips a few steps as usual; later a term of the loss takes log(0)."""

    def train(session: Session) -> None:
        course = faults.log_of_zero(task, session.healthy, at=58)
        torch_loop(session, replace(course, precision="fp16", settings={"fp16": True}))

    return train


def mask_then_jump(loop: Callable[..., None], task: Task) -> Train:
    """A mask of -Inf lies among the saved buffers, as it should; then the rate jumps."""

    def train(session: Session) -> None:
        course = faults.rate_jump(task, session.healthy, factor=1e6, momentum=0.9)
        mask = torch.full((12, 12), -math.inf).triu(1)
        course.model.register_buffer("causal_mask", mask)
        loop(session, course)

    return train


def high_then_resume(task: Task, high: float, factor: float) -> Train:
    """A rate ten times the usual that does well for the whole first run; the resume restores the
    weights alone and begins the schedule again at its peak, in other units."""

    def train(session: Session) -> None:
        def rate(step: int) -> float:
            return high * 0.5 * (1 + math.cos(math.pi * min(step, 80) / 85))

        course = faults.plain(task, optimizer="sgd", momentum=0.8, rate=rate, steps=80)
        course.save_every = 80
        torch_loop(session, course)
        session.log.say("Resuming from checkpoint-80: optimizer state not found, starting fresh")
        course.rate = rate if session.healthy else lambda step: factor * rate(step - 80)
        course.steps, course.save_every = 40, 0
        torch_loop(session, course, first=81, watch=False)

    return train


def zeros_then_device(loop: Callable[..., None], task: Task, line: str, zero: str) -> Train:
    """A layer that starts from zeros, by design; later the device fails and its driver says so."""

    def train(session: Session) -> None:
        course = faults.device_fault(task, session.healthy, at=48, line=line)
        for parameter in course.model.get_submodule(zero).parameters():
            nn.init.zeros_(parameter)
        loop(session, course)

    return train


def adapters_then_jump(task: Task) -> Train:
    """LoRA starts from zeros, by design; later the rate jumps."""

    def train(session: Session) -> None:
        course = faults.rate_jump(task, session.healthy, at=50, factor=1e8)
        for layer in course.model.layers:  # type: ignore[union-attr]
            layer.o_proj = LowRank(layer.o_proj)  # type: ignore[union-attr]
        torch_loop(session, course)

    return train


def clipped_then_empty(loop: Callable[..., None], task: Task) -> Train:
    """Gradients that are clipped at each step from far above the limit; batches of no labels."""

    def train(session: Session) -> None:
        course = faults.no_labels(task, session.healthy, steps=(33, 66), clip=0.01)
        loop(session, replace(course, settings={"max_grad_norm": 0.01, "ignore_index": -100}))

    return train


def guess_then_sample(loop: Callable[..., None], task: Task) -> Train:
    """A framework's own words speculate about the learning rate; the data are bad."""

    def train(session: Session) -> None:
        course = faults.bad_sample(task, session.healthy, period=15, at=8)
        hint = (
            "Hint: if the loss becomes NaN, this might be caused by a learning rate that is too "
            "high or by float16; try to lower it or use bf16."
        )
        loop(session, replace(course, say={1: hint}))

    return train


def head_then_rate(loop: Callable[..., None], task: Task, rate: float, head: str) -> Train:
    """A head is newly initialized, as for each new task; the rate is far beyond the curvature."""

    def train(session: Session) -> None:
        course = faults.rate_too_high(task, session.healthy, rate=rate, usual=0.1)
        text = (
            f"Some weights were not initialized from the pretrained file and are newly "
            f"initialized: ['{head}.weight', '{head}.bias']"
        )
        loop(session, replace(course, say={1: text}))

    return train


def metric_then_labels(task: Task) -> Train:
    """A metric is NaN until there was an evaluation; a batch has no label."""

    def train(session: Session) -> None:
        course = faults.no_labels(task, session.healthy, steps=(40, 61))

        def loss(model: nn.Module, batch: Batch, step: int) -> tuple[Tensor, Terms]:
            value = task.loss(model, batch)
            best = torch.tensor(math.nan) if step < 20 else torch.tensor(2.5)
            return value, {"best_val_loss_so_far": best}

        lightning_loop(session, replace(course, loss=loss))

    return train


def _both(train: Train, about: str, task: Task, framework: str, decoy: str, **more: Any) -> Staged:
    return Staged(train, about, task.family, framework, decoy=decoy, **more)


OLD = "releases with known defects that need other settings"
SPIKE = "a rate that jumped for three steps, long before"
SKIPS = "a gradient scaler's skipped steps"
MASK = "a mask of -Inf in the checkpoints"
HIGH = "a rate that is high and did well"
ZEROS = "a layer of zeros at step 0, by design"
CLIPPED = "gradients that are always clipped"
GUESS = "words that speculate about the rate and float16"
HEAD = "a head that is newly initialized"

STAGED: dict[str, Staged] = {
    "two-old-decoder": _both(
        old_release(torch_loop, tasks.CAPTIONS), "bad-input-data", tasks.CAPTIONS, "torch", OLD
    ),
    "two-old-cnn": _both(
        old_release(accelerate_loop, tasks.CNN), "bad-input-data", tasks.CNN, "accelerate", OLD
    ),
    "two-weights-mlp": _both(
        spike_then_weights(tasks.MLP, "body.2"), "corrupt-checkpoint", tasks.MLP, "torch", SPIKE
    ),
    "two-weights-denoiser": _both(
        spike_then_weights(tasks.DENOISER, "mid"),
        "corrupt-checkpoint",
        tasks.DENOISER,
        "torch",
        SPIKE,
    ),
    "two-scaled-mlp": _both(
        scaled_then_log(tasks.MLP), "loss-domain-error", tasks.MLP, "torch", SKIPS
    ),
    "two-scaled-denoiser": _both(
        scaled_then_log(tasks.DENOISER), "loss-domain-error", tasks.DENOISER, "torch", SKIPS
    ),
    "two-mask-decoder": _both(
        mask_then_jump(torch_loop, tasks.DECODER), "lr-spike", tasks.DECODER, "torch", MASK
    ),
    "two-mask-translator": _both(
        mask_then_jump(accelerate_loop, tasks.TRANSLATOR),
        "lr-spike",
        tasks.TRANSLATOR,
        "accelerate",
        MASK,
    ),
    "two-high-mlp": _both(
        high_then_resume(tasks.MLP, 0.5, 4e3), "resume-mismatch", tasks.MLP, "torch", HIGH
    ),
    "two-high-lstm": _both(
        high_then_resume(tasks.LSTM, 0.3, 3e3), "resume-mismatch", tasks.LSTM, "torch", HIGH
    ),
    "two-zeros-captions": _both(
        zeros_then_device(torch_loop, tasks.CAPTIONS, XID_48, "lm_head"),
        "hardware-fault",
        tasks.CAPTIONS,
        "torch",
        ZEROS,
    ),
    "two-zeros-denoiser": _both(
        zeros_then_device(lightning_loop, tasks.DENOISER, XID_95, "modulation"),
        "hardware-fault",
        tasks.DENOISER,
        "lightning",
        ZEROS,
    ),
    "two-adapters-captions": _both(
        adapters_then_jump(tasks.CAPTIONS), "lr-spike", tasks.CAPTIONS, "torch", ZEROS
    ),
    "two-clipped-decoder": _both(
        clipped_then_empty(accelerate_loop, tasks.DECODER),
        "empty-targets",
        tasks.DECODER,
        "accelerate",
        CLIPPED,
    ),
    "two-clipped-translator": _both(
        clipped_then_empty(torch_loop, tasks.TRANSLATOR),
        "empty-targets",
        tasks.TRANSLATOR,
        "torch",
        CLIPPED,
    ),
    "two-guess-mlp": _both(
        guess_then_sample(accelerate_loop, tasks.MLP),
        "bad-input-data",
        tasks.MLP,
        "accelerate",
        GUESS,
    ),
    "two-guess-lstm": _both(
        guess_then_sample(torch_loop, tasks.LSTM), "bad-input-data", tasks.LSTM, "torch", GUESS
    ),
    "two-head-decoder": _both(
        head_then_rate(torch_loop, tasks.DECODER, 3e4, "head"),
        "lr-too-high",
        tasks.DECODER,
        "torch",
        HEAD,
    ),
    "two-head-cnn": _both(
        head_then_rate(lightning_loop, tasks.CNN, 3e4, "fc"),
        "lr-too-high",
        tasks.CNN,
        "lightning",
        HEAD,
    ),
    "two-metric-decoder": _both(
        metric_then_labels(tasks.DECODER),
        "empty-targets",
        tasks.DECODER,
        "lightning",
        "a metric that is NaN until the first evaluation",
    ),
}
