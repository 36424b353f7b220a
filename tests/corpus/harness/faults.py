"""Faults that befall any task, each with the course that it does not befall.

A fault takes a task and whether the run is to do well, and gives the course.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from harness.course import Course, Terms
from harness.tasks import Batch, Task

Fault = Callable[[Task, bool], Course]


def plain(task: Task, healthy: bool = True, **changes: Any) -> Course:
    """Nothing befalls it."""
    return replace(Course(task, task.make()), **changes)


def bad_sample(
    task: Task, healthy: bool, value: float = math.nan, period: int = 16, at: int = 9, **more: Any
) -> Course:
    """A sample of the data set is bad; a guard skips its step, and each epoch brings it back."""

    def spoil(step: int, batch: Batch) -> Batch:
        if (step - 1) % period + 1 == at and not healthy:
            first = batch[0].clone()
            first[min(2, len(first) - 1), ..., -1] = value
            return first, *batch[1:]
        return batch

    changes = {"spoil": spoil, "period": period, "skip_bad": True, "save_every": 40} | more
    return plain(task, **changes)


def huge_sample(
    task: Task, healthy: bool, at: int = 47, factor: float = 1e25, **more: Any
) -> Course:
    """A batch in wrong units, far beyond all others, which the logged input statistics show."""

    def spoil(step: int, batch: Batch) -> Batch:
        if step == at and not healthy:
            return tuple(t * factor if t.is_floating_point() else t for t in batch)
        return batch

    def loss(model: nn.Module, batch: Batch, step: int) -> tuple[Tensor, Terms]:
        statistics = {"input_absmax": batch[0].abs().max(), "input_mean": batch[0].mean()}
        return task.loss(model, batch), statistics

    return plain(task, **({"spoil": spoil, "loss": loss, "save_every": 40} | more))


def rate_jump(task: Task, healthy: bool, at: int = 60, factor: float = 1e4, **more: Any) -> Course:
    """A schedule that is another one from a step on."""
    base = more.pop("base", 0.05)

    def rate(step: int) -> float:
        usual = base * 0.5 * (1 + math.cos(math.pi * step / 200))
        return usual if step < at or healthy else factor * usual

    changes = {"optimizer": "sgd", "rate": rate, "steps": 100, "save_every": 50} | more
    return plain(task, **changes)


def rate_too_high(task: Task, healthy: bool, rate: float, usual: float, **more: Any) -> Course:
    """A constant rate far beyond the curvature, without warmup."""
    used = usual if healthy else rate
    settings = {"optimizer": "sgd", "learning_rate": used, "warmup_steps": 0, "batch_size": 8}
    changes = {
        "optimizer": "sgd",
        "rate": lambda step: used,
        "steps": 50,
        "save_every": 25,
        "settings": settings,
    } | more
    return plain(task, **changes)


def device_fault(task: Task, healthy: bool, at: int = 52, line: str = "", **more: Any) -> Course:
    """Staged: the device gives a NaN from a step on, and its driver says what broke."""

    def loss(model: nn.Module, batch: Batch, step: int) -> tuple[Tensor, Terms]:
        value = task.loss(model, batch)
        if step >= at and not healthy:
            value = value * torch.tensor(math.nan)
        return value, {}

    say = {} if healthy else {at: line}
    return plain(task, **({"loss": loss, "say": say, "save_every": 35, "steps": 70} | more))


def no_labels(task: Task, healthy: bool, steps: tuple[int, ...] = (23, 51), **more: Any) -> Course:
    """Batches whose labels are all ignored."""

    def spoil(step: int, batch: Batch) -> Batch:
        at = 2 if len(batch) > 2 else 1
        labels = batch[at].clone()
        labels[:, :2] = -100
        if step in steps and not healthy:
            labels[:] = -100
        return *batch[:at], labels, *batch[at + 1 :]

    return plain(task, **({"spoil": spoil, "save_every": 40} | more))


def blind_row(task: Task, healthy: bool, at: int = 37, **more: Any) -> Course:
    """A translation whose source is padding throughout: no key may be seen."""

    def spoil(step: int, batch: Batch) -> Batch:
        mask = batch[3].repeat(len(batch[0]), 1, 1) if len(batch[3]) == 1 else batch[3].clone()
        if step >= at:
            mask[3, :, 1 if healthy else 0 :] = -math.inf
        return *batch[:3], mask

    changes = {"spoil": spoil, "shows": "activations", "steps": 60, "save_every": 30} | more
    return plain(task, **changes)


def log_of_zero(task: Task, healthy: bool, at: int = 57, **more: Any) -> Course:
    """A binary loss written by hand: log(1 - p), where p rounds to 1 on a confident step."""

    def loss(model: nn.Module, batch: Batch, step: int) -> tuple[Tensor, Terms]:
        main = task.loss(model, batch)
        score = model_score(model, batch) * (300.0 if step == at else 1.0)
        p = torch.sigmoid(score)
        low = 1e-6 if healthy else 0.0
        prior = -(torch.log((1 - p).clamp_min(low)) + torch.log(p.clamp_min(low))).mean()
        terms = {"loss_main": main.detach(), "loss_prior": prior.detach()}
        return main + 0.01 * prior, terms

    return plain(task, **({"loss": loss, "save_every": 40, "steps": 80} | more))


def model_score(model: nn.Module, batch: Batch) -> Tensor:
    """A number a sample: the mean of what the model gives for it."""
    inputs = batch[:2] if len(batch) > 2 else batch[:1]
    if len(batch) == 3 and batch[1].shape == batch[0].shape:
        inputs = (batch[0], batch[2])
    out = model(*inputs)
    out = out[0] if isinstance(out, tuple) else out
    return out.float().flatten(1).mean(1)


def root_of_zero(task: Task, healthy: bool, at: int = 41, **more: Any) -> Course:
    """A distance between two views of a sample, whose root has no derivative where they agree."""

    def loss(model: nn.Module, batch: Batch, step: int) -> tuple[Tensor, Terms]:
        main = task.loss(model, batch)
        other = (batch[0] if step == at else batch[0].flip(0), *batch[1:])
        gap = (model_score(model, batch) - model_score(model, other)).square()
        distance = torch.sqrt(gap + 1e-6) if healthy else torch.sqrt(gap)
        term = distance.mean()
        return main + 0.1 * term, {"consistency": term.detach()}

    return plain(task, **({"loss": loss, "steps": 60, "save_every": 30} | more))


def exploding(task: Task, healthy: bool, gain: float, **more: Any) -> Course:
    """An objective without a bound, which each step makes steeper; no clipping, a usual rate."""

    def loss(model: nn.Module, batch: Batch, step: int) -> tuple[Tensor, Terms]:
        near = model_score(model, (batch[0].abs(), *batch[1:]))
        far = model_score(model, (0.5 * batch[0].flip(-1), *batch[1:]))
        return (far - near).mean(), {}

    course = plain(task, loss=loss, optimizer="sgd", rate=lambda step: 0.01, steps=300)
    with torch.no_grad():
        for parameter in course.model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(gain)
    clip = 0.1 if healthy else None
    settings = {"optimizer": "SGD", "lr": 0.01, "gradient_clipping": clip or 0}
    return replace(course, clip=clip, settings=settings, **({"save_every": 100} | more))


def tiny_epsilon(task: Task, healthy: bool, **more: Any) -> Course:
    """Weights and moments in float16, an epsilon that float16 does not hold."""
    eps = 1e-4 if healthy else 1e-8

    def spoil(step: int, batch: Batch) -> Batch:
        first = batch[0].clone()
        if first.is_floating_point():
            first[..., -1] = 0  # a feature that is not used: its gradient is exactly 0
        return first, *batch[1:]

    settings = {"optimizer": "Adam", "lr": 1e-3, "adam_epsilon": eps, "precision": "16-true"}
    changes = {
        "optimizer": "adam",
        "rate": lambda step: 1e-3,
        "eps": eps,
        "precision": "half",
        "spoil": spoil,
        "steps": 30,
        "save_every": 10,
        "with_optimizer": True,
        "settings": settings,
    } | more
    return plain(task, **changes)
