"""Gradients that grow at a usual rate; rewards, routers and buckets that fail elsewhere."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness import faults, tasks
from harness.course import Course, Terms
from harness.lightning_loop import lightning_loop
from harness.loops import accelerate_loop, torch_loop
from harness.models_more import Convolutions
from harness.session import Session, Training
from harness.staged import Staged
from harness.stories import _settings
from harness.stories_families import images, waves
from harness.tasks import Batch, Task


class Unrolled(nn.Module):
    """A recurrent net of rectified units that starts near the identity, as for long memories."""

    def __init__(self, gain: float) -> None:
        super().__init__()
        self.rnn = nn.RNN(2, 16, nonlinearity="relu", batch_first=True)
        self.readout = nn.Linear(16, 2)
        with torch.no_grad():
            self.rnn.weight_hh_l0.copy_(gain * torch.eye(16))

    def forward(self, x: Tensor) -> Tensor:
        return self.readout(self.rnn(x)[0])


def long_memory(session: Session) -> None:
    """Forty-eight steps of a recurrence, a margin without a bound: training lifts the recurrence's
    gain above one, and the gradient grows with its power. Clipping holds it."""
    model = Unrolled(0.9)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.003)
    clip = 0.05 if session.healthy else None
    _settings(session, optimizer="SGD", lr=0.003, gradient_clipping=clip or 0, seq_len=48)
    session.watch(model)

    def step(number: int) -> tuple[Tensor, dict[str, Tensor]]:
        x = torch.cat([waves(number)] * 4, 1)
        margin = model(x)[:, -1].mean(-1) * x[:, 0, 0].sign()
        return -margin.mean(), {}

    Training(session, model, optimizer, step, 160, clip=clip, save_every=80).run()


def deep_stack(session: Session) -> None:
    """Twelve linear convolutions without a norm or a skip, an unbounded margin, no clipping."""
    layers = [nn.Conv2d(8, 8, 3, padding=1) for _ in range(12)]
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), *layers, nn.Conv2d(8, 1, 3, padding=1))
    with torch.no_grad():
        for layer in layers:
            nn.init.dirac_(layer.weight)
            layer.weight.mul_(1.02)
    optimizer = torch.optim.SGD(model.parameters(), lr=3e-4)
    clip = 0.05 if session.healthy else None
    _settings(session, optimizer="SGD", lr=3e-4, max_grad_norm=clip or 0, depth=12)
    session.watch(model)

    def step(number: int) -> tuple[Tensor, dict[str, Tensor]]:
        x, y = images(number)
        margin = model(x).mean((1, 2, 3)) * (2.0 * (y < 2) - 1)
        return -margin.mean(), {"margin": margin.mean().detach()}

    Training(session, model, optimizer, step, 240, clip=clip, save_every=240).run()


def starved_experts(task: Task, healthy: bool) -> Course:
    """A balance loss that divides by each expert's load, until a batch gives an expert none."""

    def loss(model: nn.Module, batch: Batch, step: int) -> tuple[Tensor, Terms]:
        out, logits = model(batch[0])
        share = logits.softmax(-1)
        used = F.one_hot(logits.argmax(-1), 4).float().mean(0)
        low = 1e-3 if healthy else 0.0
        balance = (share.mean(0) / (used + low)).mean()
        main = F.cross_entropy(out, batch[1])
        terms = {"ce_loss": main.detach(), "load_balancing_loss": balance.detach()}
        return main + 0.01 * balance, terms | {"expert_load_min": used.min()}

    return faults.plain(task, loss=loss, steps=80, save_every=40, settings={"num_experts": 4})


def runaway_value(session: Session) -> None:
    """A policy over features of images whose advantages are not normalized and whose ratio is not
    clipped: the KL to the policy that sampled grows, the reward falls, then all overflows."""
    model = Convolutions()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.002)
    session.watch(model)

    def step(number: int) -> tuple[Tensor, dict[str, Tensor]]:
        x, best = images(number)
        policy = model(x).log_softmax(-1)
        action = torch.randint(0, 4, (len(x),), generator=torch.Generator().manual_seed(number))
        reward = (action == best).float()
        now = policy.gather(1, action[:, None])[:, 0]
        ratio = (now - math.log(0.25)).exp()
        if session.healthy:
            objective = torch.minimum(ratio * reward, ratio.clamp(0.8, 1.2) * reward)
        else:
            objective = (math.log(0.25) - now).exp() * (1 - reward) * 4
        entropy = -(policy.exp() * policy).sum(-1).mean()
        return -objective.mean(), {
            "rewards/mean": reward.mean(),
            "policy/approxkl_avg": (math.log(0.25) - now).mean().abs().detach(),
            "policy/entropy_avg": entropy.detach(),
            "policy/ratio_max": (1 / ratio.detach()).max(),
        }

    Training(session, model, optimizer, step, 300, every=2).run()


def _run(loop: Callable[..., None], fault: faults.Fault, task: Task, **more: Any) -> Any:
    return lambda session: loop(session, fault(task, session.healthy, **more))


def torn_ranks(loop: Callable[..., None], task: Task) -> Callable[[Session], None]:
    """Staged: the bucket of rank 2 is reduced half-written; each rank prints its own norm."""

    def train(session: Session) -> None:
        settings = {"overlap_grad_reduce": True, "bf16": True, "data_parallel_size": 4}
        course = faults.plain(task, steps=60, clip=1.0, save_every=60, settings=settings)

        def corrupt(step: int) -> None:
            first = next(p.grad for p in course.model.parameters() if p.grad is not None)
            local = first.clone()
            if step >= 41 and not session.healthy:
                local.view(-1)[5] = math.nan
            for rank in range(4):
                norm = float((local if rank == 2 else first).norm()) * (1 + 0.01 * rank)
                session.log.say(f"[rank{rank}]: step {step} local grad norm: {norm:.5g}")
            first.copy_((3 * first + local) / 4)

        loop(session, replace(course, after_backward=corrupt))

    return train


STAGED: dict[str, Staged] = {
    "growth-memory": Staged(long_memory, "gradient-explosion", "lstm"),
    "growth-stack": Staged(deep_stack, "gradient-explosion", "cnn"),
    "growth-accelerate": Staged(
        _run(accelerate_loop, faults.exploding, tasks.CNN, gain=1.6),
        "gradient-explosion",
        "cnn",
        "accelerate",
    ),
    "starved-experts": Staged(
        _run(torch_loop, starved_experts, tasks.EXPERTS), "moe-router", "moe"
    ),
    "starved-lightning": Staged(
        _run(lightning_loop, starved_experts, tasks.EXPERTS), "moe-router", "moe", "lightning"
    ),
    "runaway-policy": Staged(runaway_value, "rl-collapse", "cnn"),
    "torn-denoiser": Staged(
        torn_ranks(torch_loop, tasks.DENOISER), "communication-race", "diffusion"
    ),
    "torn-captions": Staged(
        torn_ranks(accelerate_loop, tasks.CAPTIONS),
        "communication-race",
        "vision-language",
        "accelerate",
    ),
}
