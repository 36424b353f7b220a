"""What really happened: the first non-finite value of each kind, seen by hooks while training."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn


@dataclass
class Recorder:
    """Watches one model; ``first`` maps a kind to the step and module of its first NaN or Inf."""

    model: nn.Module
    first: dict[str, dict[str, Any]] = field(default_factory=dict)
    step: int = 0
    losses: list[float] = field(default_factory=list)
    """Of each step, as it was computed."""

    def __post_init__(self) -> None:
        for name, module in self.model.named_modules():
            if name and not list(module.children()):
                module.register_forward_hook(self._watch_forward(name))

    def _watch_forward(self, name: str) -> Callable[..., None]:
        def look(module: nn.Module, args: Any, output: Any) -> None:
            for tensor in _tensors(output):
                self.see("forward", name, tensor)

        return look

    def see_loss(self, loss: Tensor) -> None:
        """The loss of this step."""
        self.losses.append(float(loss.detach()))
        self.see("loss", "loss", loss)

    def see_gradients(self) -> None:
        """After the backward pass; the module nearest to the output is the first of it."""
        for name, parameter in reversed(list(self.model.named_parameters())):
            if parameter.grad is not None:
                self.see("gradient", name, parameter.grad)

    def see_parameters(self) -> None:
        """The weights as they are."""
        for name, parameter in self.model.named_parameters():
            self.see("parameter", name, parameter)

    def see_update(self, optimizer: torch.optim.Optimizer) -> None:
        """After the optimizer's step."""
        self.see_parameters()
        for name, parameter in self.model.named_parameters():
            for key, value in optimizer.state.get(parameter, {}).items():
                if isinstance(value, Tensor):
                    self.see("optimizer", f"{name}.{key}", value)

    def see(self, kind: str, name: str, tensor: Tensor) -> None:
        if kind in self.first or not tensor.is_floating_point():
            return
        if not bool(torch.isfinite(tensor.detach()).all()):
            self.first[kind] = {"step": self.step, "module": name}


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from _tensors(item)


def diverged(losses: list[float]) -> bool:
    """Whether always finite losses end far above where they had been or had started.

    Medians of five; far is threefold of the distance between start and best, at least.
    """
    if len(losses) < 10 or not all(map(math.isfinite, losses)):
        return False
    medians = [median(losses[i : i + 5]) for i in range(len(losses) - 4)]
    return medians[-1] > max(3 * medians[0], medians[0] + 3 * (medians[0] - min(medians)))
