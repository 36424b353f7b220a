"""One run: its directory, its log, its hooks and the loop that trains it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from harness.logs import Log, open_log
from harness.truth import Recorder

Step = Callable[[int], tuple[Tensor, dict[str, Tensor]]]
"""Step number in; the loss, and other numbers to log, out."""


@dataclass
class Session:
    """What a story trains with."""

    directory: Path
    style: str
    healthy: bool
    log: Log = field(init=False)
    recorder: Recorder = field(init=False)

    def __post_init__(self) -> None:
        self.log = open_log(self.style, self.directory)

    def watch(self, model: nn.Module) -> None:
        """Put the hooks in."""
        self.recorder = Recorder(model)
        self.recorder.see_parameters()

    def save(self, step: int, model: nn.Module, optimizer: Any = None) -> None:
        """A checkpoint: ``checkpoint-<step>/`` with weights and, where given, optimizer state."""
        from safetensors.torch import save_file

        target = self.directory / f"checkpoint-{step}"
        target.mkdir(exist_ok=True)
        tensors = {name: t.detach().clone() for name, t in model.state_dict().items()}
        save_file(tensors, str(target / "model.safetensors"), metadata={"format": "pt"})
        if optimizer is not None:
            torch.save(optimizer.state_dict(), target / "optimizer.pt")


@dataclass
class Training:
    """How a story trains."""

    session: Session
    model: nn.Module
    optimizer: torch.optim.Optimizer
    step: Step
    steps: int
    rate: Callable[[int], float] | None = None
    """Learning rate of a step; ``None``: the optimizer's own."""
    clip: float | None = None
    skip_bad: bool = False
    """Leave out updates whose gradients are not finite."""
    save_every: int = 0
    with_optimizer: bool = False
    every: int = 1
    """Steps between logged rows."""
    first: int = 1
    after_backward: Callable[[int], None] = lambda step: None

    def run(self) -> None:
        """Train and log; a NaN stops nothing."""
        recorder, log = self.session.recorder, self.session.log
        if self.save_every and self.first == 1:
            self._save(0)
        for step in range(self.first, self.first + self.steps):
            recorder.step = step
            if self.rate is not None:
                for group in self.optimizer.param_groups:
                    group["lr"] = self.rate(step)
            self.optimizer.zero_grad()
            loss, others = self.step(step)
            recorder.see_loss(loss)
            loss.backward()
            self.after_backward(step)
            recorder.see_gradients()
            norm = _norm(self.model)
            if self.clip is not None:
                nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
            if not (self.skip_bad and not torch.isfinite(norm)):
                self.optimizer.step()
                recorder.see_update(self.optimizer)
            if step % self.every == 0:
                row = {"loss": loss.item(), "grad_norm": norm.item()}
                row["lr"] = self.optimizer.param_groups[0]["lr"]
                log.row(step, row | {tag: float(value) for tag, value in others.items()})
            if self.save_every and step % self.save_every == 0:
                self._save(step)

    def _save(self, step: int) -> None:
        self.session.save(step, self.model, self.optimizer if self.with_optimizer else None)


def _norm(model: nn.Module) -> Tensor:
    gradients = [p.grad.double() for p in model.parameters() if p.grad is not None]
    return torch.sqrt(sum(g.square().sum() for g in gradients))
