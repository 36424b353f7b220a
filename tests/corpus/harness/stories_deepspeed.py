"""Causes in DeepSpeed engines of two real ranks over gloo."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

from torch import Tensor, nn

from harness import faults, tasks
from harness.course import Course, Terms
from harness.deepspeed_loop import Engine
from harness.ranks import launch
from harness.session import Session
from harness.staged import Staged
from harness.tasks import Batch, Task


def _ranked(course: Course, rank: int) -> Course:
    course.spread = lambda step: rank
    return course


def warming(task: Task, healthy: bool, rank: int) -> Course:
    """The dynamic scale starts at 2**24 and halves until gradients fit."""
    return _ranked(
        faults.plain(task, steps=60, precision="fp16", clip=1.0, save_every=60, every=2), rank
    )


def bright(task: Task, healthy: bool, rank: int) -> Course:
    """Inputs that grow with each step, until the activations in float16 pass 65504."""

    def spoil(step: int, batch: Batch) -> Batch:
        return batch if healthy else (batch[0] * 1.25**step, *batch[1:])

    return _ranked(
        faults.plain(
            task, steps=70, precision="fp16", clip=1.0, save_every=70, spoil=spoil, optimizer="sgd"
        ),
        rank,
    )


def one_rank(task: Task, healthy: bool, rank: int, precision: Any = "bf16") -> Course:
    """Rank 1 alone meets a sample with Inf in each epoch; the program prints what it saw."""
    course = faults.bad_sample(task, healthy or rank == 0, value=math.inf, period=18, at=11)
    for step in range(11, 80, 18):
        if not healthy:
            course.say = dict(course.say) | {
                step: f"[rank1] WARNING data: non-finite values in sample {1000 + 11 * 8 + 2}"
            }
    course.precision, course.steps = precision, 60
    return _ranked(course, rank)


def jump(task: Task, healthy: bool, rank: int) -> Course:
    """A schedule that jumps ten thousandfold."""
    return _ranked(
        faults.rate_jump(
            task, healthy, at=50, factor=3e5, base=1e-3, precision="bf16", steps=80, save_every=80
        ),
        rank,
    )


def reset(task: Task, healthy: bool, rank: int) -> Course:
    """A resume without optimizer and scheduler state: the schedule begins anew, in the units of
    the run before, far above what it had come to."""

    def rate(step: int) -> float:
        slow = 0.05 * 0.5 * (1 + math.cos(math.pi * min(step, 90) / 100))
        return slow if step <= 50 or healthy else 400.0

    return _ranked(
        faults.plain(task, steps=100, rate=rate, optimizer="sgd", momentum=0.9, save_every=100),
        rank,
    )


def lone_device(task: Task, healthy: bool, rank: int) -> Course:
    """Staged: the device of rank 1 gives NaN, and its driver says so."""
    line = "[41882.731] NVRM: Xid (PCI:0000:b1:00): 79, pid=40312, GPU has fallen off the bus."
    course = faults.device_fault(task, healthy or rank == 0, at=44, line="", steps=60)
    course.say = {} if healthy else {44: line}
    course.precision = "bf16"
    return _ranked(course, rank)


def torn_bucket(task: Task, healthy: bool, rank: int) -> Course:
    """Staged: an element of rank 1's bucket is garbage when it is reduced, though each loss is
    good until then."""

    def loss(model: nn.Module, batch: Batch, step: int) -> tuple[Tensor, Terms]:
        value = task.loss(model, batch)
        if step >= 39 and rank == 1 and not healthy:
            value.register_hook(lambda gradient: gradient * math.nan)
        return value, {}

    return _ranked(
        faults.plain(task, loss=loss, precision="bf16", clip=1.0, steps=60, save_every=60), rank
    )


def unchecked(task: Task, healthy: bool, rank: int) -> Course:
    """One gradient of bfloat16 is infinite on one rank for a step; a scaler would have skipped
    it, and the release does not look."""

    def loss(model: nn.Module, batch: Batch, step: int) -> tuple[Tensor, Terms]:
        value = task.loss(model, batch)
        if step == 33 and rank == 1 and not healthy:
            value.register_hook(lambda gradient: gradient * 3e38)
            value = value * 100.0
        return value, {}

    return _ranked(faults.plain(task, loss=loss, precision="bf16", steps=50, save_every=50), rank)


OLD = "deepspeed==0.19.2"
"""The last releases that do not check gradients of bfloat16 for Inf."""
ENGINES: dict[str, Engine] = {
    "engine-warming-mlp": Engine(
        partial(warming, tasks.MLP), 1, {"fp16": {"initial_scale_power": 24}}
    ),
    "engine-warming-cnn": Engine(
        partial(warming, tasks.CNN), 2, {"fp16": {"initial_scale_power": 26}}, sentinel=True
    ),
    "engine-warming-translator": Engine(
        partial(warming, tasks.TRANSLATOR), 3, {"fp16": {"initial_scale_power": 22}}
    ),
    "engine-bright-mlp": Engine(partial(bright, tasks.MLP), 1, sentinel=True),
    "engine-bright-cnn": Engine(partial(bright, tasks.CNN), 2),
    "engine-bright-captions": Engine(partial(bright, tasks.CAPTIONS), 1),
    "engine-one-rank-mlp": Engine(partial(one_rank, tasks.MLP), 2, every_rank=True),
    "engine-one-rank-cnn": Engine(partial(one_rank, tasks.CNN, precision="fp32"), 1),
    "engine-jump-lstm": Engine(partial(jump, tasks.LSTM), 0),
    "engine-jump-decoder": Engine(partial(jump, tasks.DECODER), 3),
    "engine-reset-cnn": Engine(
        partial(reset, tasks.CNN),
        1,
        resume=lambda healthy: {
            "load_optimizer_states": healthy,
            "load_lr_scheduler_states": healthy,
        },
    ),
    "engine-device-lstm": Engine(partial(lone_device, tasks.LSTM), 1, every_rank=True),
    "engine-unchecked-decoder": Engine(partial(unchecked, tasks.DECODER), 2),
    "engine-torn-decoder": Engine(
        partial(torn_bucket, tasks.DECODER),
        2,
        {"zero_optimization": {"overlap_comm": True, "contiguous_gradients": True}},
        every_rank=True,
    ),
    "engine-torn-cnn": Engine(
        partial(torn_bucket, tasks.CNN),
        2,
        {"zero_optimization": {"overlap_comm": True, "reduce_bucket_size": 5000}},
        every_rank=True,
    ),
}


def _staged(story: str, about: str, family: str, **more: Any) -> Staged:
    def train(session: Session) -> None:
        launch(session, story)

    return Staged(train, about, family, "deepspeed", **more)


WARMING = "the dynamic loss scale finds its size"
STAGED: dict[str, Staged] = {
    "engine-warming-mlp": _staged("engine-warming-mlp", "fp16-overflow", "mlp", benign=WARMING),
    "engine-warming-cnn": _staged("engine-warming-cnn", "fp16-overflow", "cnn", benign=WARMING),
    "engine-warming-translator": _staged(
        "engine-warming-translator", "fp16-overflow", "encoder-decoder", benign=WARMING
    ),
    "engine-bright-mlp": _staged("engine-bright-mlp", "fp16-overflow", "mlp"),
    "engine-bright-cnn": _staged("engine-bright-cnn", "fp16-overflow", "cnn"),
    "engine-bright-captions": _staged("engine-bright-captions", "fp16-overflow", "vision-language"),
    "engine-one-rank-mlp": _staged("engine-one-rank-mlp", "bad-input-data", "mlp"),
    "engine-one-rank-cnn": _staged("engine-one-rank-cnn", "bad-input-data", "cnn"),
    "engine-jump-lstm": _staged("engine-jump-lstm", "lr-spike", "lstm"),
    "engine-jump-decoder": _staged("engine-jump-decoder", "lr-spike", "decoder"),
    "engine-reset-cnn": _staged("engine-reset-cnn", "resume-mismatch", "cnn"),
    "engine-device-lstm": _staged("engine-device-lstm", "hardware-fault", "lstm"),
    "engine-torn-decoder": _staged("engine-torn-decoder", "communication-race", "decoder"),
    "engine-unchecked-decoder": _staged(
        "engine-unchecked-decoder", "version-bug", "decoder", needs=OLD
    ),
    "engine-torn-cnn": _staged("engine-torn-cnn", "communication-race", "cnn"),
}
