"""More that looks bad and is not: zeros, spikes, skips, resumes and curricula that do well."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from harness import faults, tasks
from harness.course import Course, Terms
from harness.lightning_loop import lightning_loop
from harness.loops import accelerate_loop, torch_loop
from harness.models import CLASSES, Mlp
from harness.session import Session, Training
from harness.staged import Staged
from harness.stories import _batch
from harness.tasks import Batch, Task


def memorized(task: Task, healthy: bool) -> Course:
    """Sixteen samples, over and over: the loss falls until it is printed as 0."""
    return faults.plain(
        task, period=1, steps=220, optimizer="adam", rate=lambda step: 0.02, every=2, save_every=110
    )


def overfitted(task: Task, healthy: bool) -> Course:
    """The training loss falls; the evaluation loss rises severalfold."""
    course = faults.plain(task, period=2, steps=160, rate=lambda step: 0.01, every=4)

    def loss(model: nn.Module, batch: Batch, step: int) -> tuple[Tensor, Terms]:
        with torch.no_grad():
            unseen = task.loss(model, task.batch(9_000 + step % 7))
        return task.loss(model, batch), {"eval_loss": unseen}

    return replace(course, loss=loss, save_every=160)


def growing_lengths(task: Task, healthy: bool) -> Course:
    """A sum over the sequence, whose length doubles twice, as the log says."""

    def loss(model: nn.Module, batch: Batch, step: int) -> tuple[Tensor, Terms]:
        length = 64 if step <= 40 else 128 if step <= 80 else 256
        return task.loss(model, batch) * length * 8, {"seq_len": torch.tensor(float(length))}

    say = {
        41: "Curriculum: sequence length 64 -> 128",
        81: "Curriculum: sequence length 128 -> 256",
    }
    return faults.plain(task, loss=loss, say=say, steps=120, clip=1.0, save_every=60)


def slow_recovery(task: Task, healthy: bool) -> Course:
    """A shift of the data lifts the loss tenfold; it takes forty steps to come back."""

    def spoil(step: int, batch: Batch) -> Batch:
        scale = 1.0 if step < 50 else 1.0 + 5.0 * math.exp(-(step - 50) / 10)
        return tuple(t * scale if t.is_floating_point() else t for t in batch)

    return faults.plain(task, spoil=spoil, steps=130, clip=1.0, save_every=65)


def regular_skips(task: Task, healthy: bool) -> Course:
    """float16 whose scaler probes a doubled scale every few steps and skips all along."""

    def loss(model: nn.Module, batch: Batch, step: int) -> tuple[Tensor, Terms]:
        return task.loss(model, batch) * 40.0, {}

    return faults.plain(
        task, precision="fp16", loss=loss, steps=150, clip=1.0, save_every=75, probe_every=12
    )


def masked(task: Task, healthy: bool) -> Course:
    """A causal mask of -Inf among the buffers that are saved."""
    course = faults.plain(task, steps=60, save_every=30)
    course.model.register_buffer("attn_mask", torch.full((8, 8), -math.inf).triu(1))
    return course


def zero_residual(task: Task, healthy: bool) -> Course:
    """The last layer of a side branch starts from zeros, as ControlNet's do."""
    course = faults.plain(task, steps=70, save_every=35, settings={"zero_conv": True})
    side = nn.Conv2d(1, 8, 1)
    nn.init.zeros_(side.weight)
    nn.init.zeros_(side.bias if side.bias is not None else side.weight)
    course.model.zero_convs = nn.ModuleList([side])

    def add(module: nn.Module, args: Any, output: Tensor) -> Tensor:
        return output + side(args[0])

    course.model.conv_in.register_forward_hook(add)  # type: ignore[union-attr]
    return course


def full_resume(session: Session) -> None:
    """Killed and resumed with everything, by accelerate's own state; the log repeats ten steps."""

    def rate(step: int) -> float:
        return 3e-3 * min(1.0, step / 10) * 0.5 * (1 + math.cos(math.pi * step / 140))

    course = faults.plain(tasks.LSTM, steps=70, rate=rate, save_every=60, clip=1.0)
    accelerate_loop(session, course)
    session.log.say("Terminated")
    session.log.say("Resuming from step_60: model, optimizer, scheduler, sampler restored")
    course.steps, course.save_every = 60, 0
    accelerate_loop(
        session,
        course,
        first=61,
        watch=False,
        restore=lambda accelerator: accelerator.load_state(str(session.directory / "step_60")),
    )


def no_advantage(session: Session) -> None:
    """A policy that already gets every reward: groups have no spread, so the loss is 0 from the
    first step to the last."""
    model = Mlp(2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)
    session.watch(model)

    def step(number: int) -> tuple[Tensor, dict[str, Tensor]]:
        x, _ = _batch(number)
        policy = model(x).log_softmax(-1)
        action = torch.randint(0, CLASSES, (4, len(x)))
        reward = torch.ones(4, len(x))
        advantage = (reward - reward.mean(0)) / (reward.std(0) + 1e-4)
        now = policy.expand(4, -1, -1).gather(2, action[..., None])[..., 0]
        ratio = (now - now.detach()).exp()
        spread = reward.std(0)
        return -(ratio * advantage).mean(), {
            "reward": reward.mean(),
            "reward_std": spread.mean(),
            "frac_reward_zero_std": (spread == 0).float().mean(),
            "kl": torch.tensor(0.0),
            "entropy": -(policy.exp() * policy).sum(-1).mean().detach(),
        }

    Training(session, model, optimizer, step, 50, save_every=50).run()


def reward_crash(session: Session) -> None:
    """A reward that falls away in the middle and comes back; objective clipped, KL small."""
    model = Mlp(2)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    session.watch(model)

    def step(number: int) -> tuple[Tensor, dict[str, Tensor]]:
        x, best = _batch(number, 32)
        policy = model(x).log_softmax(-1)
        action = torch.distributions.Categorical(logits=policy.detach()).sample()
        hard = 60 <= number < 85
        reward = (action == best).float() - (3.0 if hard else 0.0)
        now = policy.gather(1, action[:, None])[:, 0]
        ratio = (now - now.detach()).exp()
        advantage = reward - reward.mean()
        objective = torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage)
        entropy = -(policy.exp() * policy).sum(-1).mean()
        return -objective.mean() - 0.01 * entropy, {
            "rollout/ep_rew_mean": reward.mean(),
            "train/entropy": entropy.detach(),
            "train/approx_kl": (0.5 * (now - now.detach()).square()).mean().detach(),
        }

    Training(session, model, optimizer, step, 140, clip=0.5, every=2).run()


def adversaries(session: Session) -> None:
    """A generator and a critic whose losses swing through zero and never settle."""
    critic = Mlp(2)
    maker = Mlp(2)
    pair = nn.ModuleDict({"critic": critic, "generator": maker})
    optimizer = torch.optim.Adam(pair.parameters(), lr=2e-3, betas=(0.5, 0.9))
    session.watch(pair)

    def step(number: int) -> tuple[Tensor, dict[str, Tensor]]:
        real, _ = _batch(number, 32)
        made = maker(real.flip(0)).repeat(1, 2)
        score_real, score_made = critic(real).mean(), critic(made.detach()).mean()
        loss_critic = torch.relu(1 - score_real) + torch.relu(1 + score_made)
        for parameter in critic.parameters():
            parameter.requires_grad_(False)
        loss_maker = -critic(made).mean()
        for parameter in critic.parameters():
            parameter.requires_grad_(True)
        return loss_critic + loss_maker, {
            "loss_D": loss_critic.detach(),
            "loss_G": loss_maker.detach(),
        }

    Training(session, pair, optimizer, step, 160, clip=5.0, every=2).run()


def _well(
    loop: Callable[..., None], about: str, fault: faults.Fault, task: Task, benign: str
) -> Staged:
    framework = {accelerate_loop: "accelerate", lightning_loop: "lightning"}.get(loop, "torch")
    return Staged(
        lambda session: loop(session, fault(task, True)),
        about,
        task.family,
        framework,
        benign=benign,
    )


ZERO = "a loss that is printed as 0"
EVALUATION = "an evaluation loss that rises"
CURRICULUM = "a curriculum whose loss is larger"
SHIFT = "a shift of the data that is learned"
SKIPS = "a gradient scaler that probes"
MASK = "a mask of -Inf in the checkpoints"

STAGED: dict[str, Staged] = {
    "quiet-memorized-mlp": _well(torch_loop, "empty-targets", memorized, tasks.MLP, ZERO),
    "quiet-memorized-cnn": _well(lightning_loop, "empty-targets", memorized, tasks.CNN, ZERO),
    "quiet-overfitted-decoder": _well(
        accelerate_loop, "lr-too-high", overfitted, tasks.DECODER, EVALUATION
    ),
    "quiet-overfitted-cnn": _well(torch_loop, "lr-too-high", overfitted, tasks.CNN, EVALUATION),
    "quiet-lengths-decoder": _well(
        torch_loop, "gradient-explosion", growing_lengths, tasks.DECODER, CURRICULUM
    ),
    "quiet-lengths-experts": _well(
        torch_loop, "gradient-explosion", growing_lengths, tasks.EXPERTS, CURRICULUM
    ),
    "quiet-lengths-translator": _well(
        accelerate_loop, "gradient-explosion", growing_lengths, tasks.TRANSLATOR, CURRICULUM
    ),
    "quiet-shift-lstm": _well(torch_loop, "bad-input-data", slow_recovery, tasks.LSTM, SHIFT),
    "quiet-shift-denoiser": _well(
        lightning_loop, "bad-input-data", slow_recovery, tasks.DENOISER, SHIFT
    ),
    "quiet-skips-cnn": _well(torch_loop, "fp16-overflow", regular_skips, tasks.CNN, SKIPS),
    "quiet-skips-captions": _well(
        torch_loop, "fp16-overflow", regular_skips, tasks.CAPTIONS, SKIPS
    ),
    "quiet-mask-decoder": _well(
        lightning_loop, "fully-masked-attention", masked, tasks.DECODER, MASK
    ),
    "quiet-mask-translator": _well(
        accelerate_loop, "fully-masked-attention", masked, tasks.TRANSLATOR, MASK
    ),
    "quiet-zero-convs": _well(
        torch_loop, "zero-init", zero_residual, tasks.DENOISER, "zero convolutions of a ControlNet"
    ),
    "quiet-resume": Staged(
        full_resume, "resume-mismatch", "lstm", "accelerate", benign="a resume with everything"
    ),
    "quiet-no-advantage": Staged(
        no_advantage, "rl-collapse", "rl", benign="a loss of 0 by the objective"
    ),
    "quiet-reward": Staged(reward_crash, "rl-collapse", "rl", benign="a reward that comes back"),
    "quiet-adversaries": Staged(
        adversaries, "gradient-explosion", "gan", benign="losses that swing through zero"
    ),
}
