"""A learning rate that a warm restart multiplies by 256, at step 121 of 200.

The story is a common slip, not one report. The schedule is a cosine with warm restarts: from its
peak down to 1/16 of it in 120 steps, then back to the peak. Whoever wrote the restart thought of it
as "multiply by peak / final", which is right for the current learning rate. ``LambdaLR`` multiplies
the *initial* one. So the restart goes to 16 times the peak instead of to the peak: from 0.0016 to
0.4 in one step. Shape and phase of the second cycle are right, only its unit is wrong.

The mechanism: gradient descent with momentum is stable while learning rate times curvature stays
below a bound. The weights at step 120 sit where the small learning rate led them, far too sharp
for 0.4. The first step at the new rate still has a normal loss and gradient (they belong to the
weights before it); then both grow from step to step, faster than exponentially, as the gradient of
a deep ReLU network with a squared loss is a product of its weights. Float32 lasts five steps.

The healthy twin shows that the height alone does not kill: same model, data, seed, optimizer and no
clipping in either, but a linear warmup over the same 120 steps to the same 0.4. On the way up the
network moves to where the curvature allows it, and ends with a lower loss. Nothing differs but the
function given to ``LambdaLR``.

    python lr_spike.py            # both
    python lr_spike.py --twin failing
"""

from __future__ import annotations

import _neutral  # isort: skip  (before torch: it sets the thread counts)

import argparse
import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import torch.nn as nn
import yaml
from safetensors.torch import save_file
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.tensorboard import SummaryWriter

SAMPLE = "lr-spike"


def get_config(schedule: str) -> dict[str, Any]:
    """What config.yaml holds."""
    settings = {
        "cosine_with_restarts": {"cycle_steps": 120, "final_factor": 1 / 16},
        "linear_warmup": {"warmup_steps": 120, "decay_steps": 80, "peak_factor": 16.0},
    }
    return {
        "seed": 1,
        "model": {"in_features": 16, "width": 32, "hidden_layers": 5, "out_features": 4},
        "data": {"train_samples": 2048, "eval_samples": 512, "batch_size": 256},
        "optimizer": {"name": "SGD", "lr": 0.025, "momentum": 0.9, "weight_decay": 0.0},
        "lr_scheduler": {"name": schedule, **settings[schedule]},
        "max_grad_norm": None,
        "precision": "float32",
        "max_steps": 200,
        "log_layers_every": 2,
        "eval_every": 25,
        "save_every": 50,
    }


def cosine_with_restarts(cycle_steps: int, final_factor: float) -> Callable[[int], float]:
    """From the peak to final_factor of it, and back to the peak at the start of each cycle."""

    def factor(step: int) -> float:
        cycle, position = divmod(step, cycle_steps)
        cosine = 0.5 * (1 + math.cos(math.pi * position / cycle_steps))
        decayed = final_factor + (1 - final_factor) * cosine
        return decayed if cycle == 0 else decayed / final_factor

    return factor


def linear_warmup(
    warmup_steps: int, decay_steps: int, peak_factor: float
) -> Callable[[int], float]:
    """Linearly up to peak_factor, then a cosine down to 0."""

    def factor(step: int) -> float:
        if step < warmup_steps:
            return peak_factor * (step + 1) / warmup_steps
        progress = min(1.0, (step - warmup_steps) / decay_steps)
        return peak_factor * 0.5 * (1 + math.cos(math.pi * progress))

    return factor


SCHEDULES = {"cosine_with_restarts": cosine_with_restarts, "linear_warmup": linear_warmup}


class MLP(nn.Module):
    """Linear layers with ReLU between them, He-initialized."""

    def __init__(self, in_features: int, width: int, hidden_layers: int, out_features: int) -> None:
        super().__init__()
        sizes = [in_features] + [width] * (hidden_layers + 1)
        self.layers = nn.ModuleList(
            nn.Linear(fan_in, fan_out) for fan_in, fan_out in pairwise(sizes)
        )
        self.head = nn.Linear(width, out_features)
        for layer in (*self.layers, self.head):
            nn.init.normal_(layer.weight, std=math.sqrt(2 / layer.in_features))
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x).relu()
        return self.head(x)


def make_data(cfg: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """Inputs and the outputs of a random tanh network for them, scaled to unit variance."""
    generator = torch.Generator().manual_seed(0)
    samples = cfg["data"]["train_samples"] + cfg["data"]["eval_samples"]
    features, targets = cfg["model"]["in_features"], cfg["model"]["out_features"]
    x = torch.randn(samples, features, generator=generator)
    hidden = torch.tanh(x @ torch.randn(features, 32, generator=generator))
    y = hidden @ torch.randn(32, targets, generator=generator)
    return x, y / y.std()


def train(workdir: Path, cfg: dict[str, Any]) -> None:
    """Train, logging to TensorBoard at every step and saving every ``save_every``."""
    (workdir / "config.yaml").write_text(yaml.safe_dump(cfg, sort_keys=False))
    (workdir / "checkpoints").mkdir()
    x, y = make_data(cfg)
    split = cfg["data"]["train_samples"]
    torch.manual_seed(cfg["seed"])
    model = MLP(**cfg["model"])
    settings = dict(cfg["optimizer"])
    optimizer = getattr(torch.optim, settings.pop("name"))(model.parameters(), **settings)
    settings = dict(cfg["lr_scheduler"])
    scheduler = LambdaLR(optimizer, SCHEDULES[settings.pop("name")](**settings))
    writer = SummaryWriter(str(workdir / "runs"))

    generator = torch.Generator().manual_seed(5)
    for step in range(1, cfg["max_steps"] + 1):
        index = torch.randint(split, (cfg["data"]["batch_size"],), generator=generator)
        loss = nn.functional.mse_loss(model(x[index]), y[index])
        optimizer.zero_grad()
        loss.backward()
        norms = {name: p.grad.norm() for name, p in model.named_parameters()}
        writer.add_scalar("train/loss", loss.item(), step)
        writer.add_scalar("train/grad_norm", torch.stack([*norms.values()]).norm().item(), step)
        writer.add_scalar("train/learning_rate", scheduler.get_last_lr()[0], step)
        if step % cfg["log_layers_every"] == 0:
            for name, norm in norms.items():
                writer.add_scalar(f"grad_norm/{name}", norm.item(), step)
        optimizer.step()
        scheduler.step()
        if step % cfg["eval_every"] == 0:
            with torch.no_grad():
                eval_loss = nn.functional.mse_loss(model(x[split:]), y[split:])
            writer.add_scalar("eval/loss", eval_loss.item(), step)
        if step % cfg["save_every"] == 0:
            save_file(model.state_dict(), workdir / "checkpoints" / f"step_{step}.safetensors")
    writer.close()


def main() -> None:
    """Make the failing sample, the healthy one, or both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--twin", choices=("failing", "healthy", "both"), default="both")
    twin = parser.parse_args().twin
    for name, schedule in (
        (SAMPLE, "cosine_with_restarts"),
        (f"{SAMPLE}-healthy", "linear_warmup"),
    ):
        if twin == "both" or (twin == "healthy") == (schedule == "linear_warmup"):
            workdir = _neutral.neutral_run("mlp")
            train(workdir, get_config(schedule))
            _neutral.publish(workdir, name)


if __name__ == "__main__":
    main()
