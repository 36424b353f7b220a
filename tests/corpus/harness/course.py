"""How a task is trained, apart from the framework that does it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from harness.tasks import Batch, Task

Terms = dict[str, Tensor]


@dataclass
class Course:
    """One training. A fault changes some of it."""

    task: Task
    model: nn.Module
    steps: int = 80
    optimizer: Literal["sgd", "adam", "adamw"] = "adamw"
    rate: Callable[[int], float] | None = None
    """Of a step; the task's own where there is none."""
    momentum: float = 0.0
    eps: float = 1e-8
    clip: float | None = None
    precision: Literal["fp32", "fp16", "bf16", "half"] = "fp32"
    """``half`` is float16 throughout, the others are of autocast."""
    probe_every: int = 2000
    """Good steps after which a gradient scaler doubles its scale."""
    spoil: Callable[[int, Batch], Batch] = lambda step, batch: batch
    period: int = 0
    """Batches after which the data repeat; 0: never."""
    loss: Callable[[nn.Module, Batch, int], tuple[Tensor, Terms]] | None = None
    """Instead of the task's; also gives what else is logged."""
    after_backward: Callable[[int], None] = lambda step: None
    """May touch the gradients."""
    say: Mapping[int, str] = field(default_factory=dict)
    """What the program prints before a step."""
    skip_bad: bool = False
    """Leave out updates whose gradients are not finite."""
    stop_at_bad: bool = False
    """Save and stop where the loss or the gradient norm is not finite."""
    save_every: int = 0
    with_optimizer: bool = False
    every: int = 1
    settings: dict[str, Any] = field(default_factory=dict)
    """Of the run's config.json; none: no such file."""
    shows: Literal["", "activations", "gradients"] = ""
    """Numbers of each module that are logged."""
    spread: Callable[[int], int] = lambda step: 0
    """Added to the seed of a batch (a rank)."""

    def rate_at(self, step: int) -> float:
        """The learning rate of a step."""
        return self.task.rate if self.rate is None else self.rate(step)

    def batch(self, step: int) -> Batch:
        """Of a step, as it comes from the data set."""
        number = (step - 1) % self.period + 1 if self.period else step
        return self.spoil(step, self.task.batch(number + 10_000 * self.spread(step)))

    def measure(self, model: nn.Module, batch: Batch, step: int) -> tuple[Tensor, Terms]:
        """The loss and what else is logged."""
        if self.loss is not None:
            return self.loss(model, batch, step)
        return self.task.loss(model, batch), {}

    def make_optimizer(self) -> torch.optim.Optimizer:
        """Over the model's parameters."""
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        if self.optimizer == "sgd":
            return torch.optim.SGD(parameters, lr=self.rate_at(1), momentum=self.momentum)
        kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[self.optimizer]
        return kind(parameters, lr=self.rate_at(1), eps=self.eps)


class ModuleNumbers:
    """Absolute maxima of what each leaf module gives, or gradient norms, as a program logs them."""

    def __init__(self, course: Course) -> None:
        self.model, self.shows = course.model, course.shows
        self.largest: dict[str, float] = {}
        if self.shows == "activations":
            for name, module in self.model.named_modules():
                if name and not list(module.children()):
                    module.register_forward_hook(self._look(name))

    def _look(self, name: str) -> Callable[..., None]:
        def look(module: nn.Module, args: Any, output: Any) -> None:
            tensor = output[0] if isinstance(output, tuple) else output
            self.largest[name] = float(tensor.detach().float().abs().max())

        return look

    def row(self) -> dict[str, float]:
        """Of the step that was just computed."""
        if self.shows == "activations":
            return {f"act_max/{name}": value for name, value in self.largest.items()}
        if self.shows == "gradients":
            return {
                f"grad_norm/{name}": float(p.grad.norm())
                for name, p in self.model.named_parameters()
                if p.grad is not None
            }
        return {}


def cast(batch: Batch, dtype: torch.dtype) -> Batch:
    """With its floating-point tensors in ``dtype``."""
    return tuple(t.to(dtype) if t.is_floating_point() else t for t in batch)
