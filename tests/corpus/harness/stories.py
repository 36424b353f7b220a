"""One story a cause: the mechanism, staged in a real training, and the same training without it.

A story says what it stages where the mechanism itself cannot happen on a CPU (streams that race, a
device that breaks); everything else happens by itself.
"""

from __future__ import annotations

import json
import math
import traceback
from collections.abc import Callable
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.models import CLASSES, VOCABULARY, WIDTH, Attention, Decoder, Experts, Mlp
from harness.session import Session, Training

Story: TypeAlias = "Callable[[Session], None]"


def _batch(step: int, size: int = 16, period: int = 0) -> tuple[Tensor, Tensor]:
    """Features and classes that can be learned; with ``period`` the data repeat, as in epochs."""
    generator = torch.Generator().manual_seed(step % period if period else step)
    x = torch.randn(size, WIDTH, generator=generator)
    return x, (x[:, :CLASSES] + 0.3 * x[:, CLASSES : 2 * CLASSES]).argmax(-1)


def _tokens(step: int, size: int = 8, length: int = 12) -> Tensor:
    generator = torch.Generator().manual_seed(step)
    start = torch.randint(0, VOCABULARY, (size, 1), generator=generator)
    stride = torch.randint(1, 4, (size, 1), generator=generator)
    return (start + stride * torch.arange(length)) % VOCABULARY


def _settings(session: Session, **values: object) -> None:
    path = session.directory / "config.json"
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def optimizer_epsilon(session: Session) -> None:
    """Weights and moments in float16, an epsilon that float16 does not hold."""
    model = Mlp().half()
    eps = 1e-4 if session.healthy else 1e-8
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, eps=eps)
    _settings(session, optimizer="Adam", lr=1e-3, adam_epsilon=eps, precision="16-true")
    session.watch(model)

    def step(number: int) -> tuple[Tensor, dict[str, Tensor]]:
        x, y = _batch(number)
        # Features that a batch does not use have a gradient of exactly 0.
        x[:, -4:] = 0
        return F.cross_entropy(model(x.half()).float(), y), {}

    Training(session, model, optimizer, step, 30, save_every=10, with_optimizer=True).run()


def gradient_explosion(session: Session) -> None:
    """A critic without a Lipschitz bound: each gain lengthens the next step, at a usual rate."""
    model = Mlp(4)
    with torch.no_grad():
        for layer in model.body[::2]:
            layer.weight.mul_(2.5)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    clipping = 0.1 if session.healthy else 0
    _settings(session, optimizer="SGD", lr=0.01, gradient_clipping=clipping)
    session.watch(model)

    def step(number: int) -> tuple[Tensor, dict[str, Tensor]]:
        real, _ = _batch(number, 32)
        fake = 0.5 * real.flip(-1)
        return model(fake).mean() - model(real.abs()).mean(), {}

    Training(session, model, optimizer, step, 300, clip=clipping or None, save_every=300).run()


def lr_too_high(session: Session) -> None:
    """A constant rate far beyond the curvature, without warmup."""
    model = Mlp(3)
    rate = 0.05 if session.healthy else 40.0
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    _settings(session, optimizer="sgd", learning_rate=rate, warmup_steps=0)
    session.watch(model)

    def step(number: int) -> tuple[Tensor, dict[str, Tensor]]:
        x, y = _batch(number)
        return F.mse_loss(model(x), F.one_hot(y, CLASSES).float()), {}

    Training(session, model, optimizer, step, 60, save_every=30).run()


def resume_mismatch(session: Session) -> None:
    """A resume that restores the weights alone: the schedule begins at its peak again."""
    model = Mlp(3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    session.watch(model)

    def step(number: int) -> tuple[Tensor, dict[str, Tensor]]:
        x, y = _batch(number)
        return F.mse_loss(5 * model(x), 5 * F.one_hot(y, CLASSES).float()), {}

    def decayed(number: int) -> float:
        return 0.02 * 0.5 * (1 + math.cos(math.pi * min(number, 190) / 200))

    session.log.say("Starting training")
    Training(session, model, optimizer, step, 150, decayed, save_every=150).run()
    session.log.say("Resuming from checkpoint-150, step 150")
    if not session.healthy:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

    def again(number: int) -> float:
        return decayed(number) if session.healthy else 60 * decayed(number - 150)

    Training(session, model, optimizer, step, 50, again, first=151).run()


def bad_input_data(session: Session) -> None:
    """One sample of the data set is NaN; a guard skips its step, and it comes back each epoch."""
    model = Mlp()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    session.watch(model)

    def step(number: int) -> tuple[Tensor, dict[str, Tensor]]:
        x, y = _batch(number, period=20)
        if number % 20 == 13 and not session.healthy:
            x[3, 5] = float("nan")
        return F.cross_entropy(model(x), y), {}

    Training(session, model, optimizer, step, 100, skip_bad=True, save_every=50).run()


def empty_targets(session: Session) -> None:
    """A batch whose prompts fill the context: every label is -100."""
    model = Decoder()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    session.watch(model)

    def step(number: int) -> tuple[Tensor, dict[str, Tensor]]:
        tokens = _tokens(number)
        labels = tokens[:, 1:].clone()
        labels[:, :4] = -100
        if number in (17, 44, 71) and not session.healthy:
            labels[:] = -100
        logits = model(tokens[:, :-1], _causal(tokens.shape[1] - 1))
        return F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100), {}

    Training(session, model, optimizer, step, 90, save_every=30).run()


def loss_domain_error(session: Session) -> None:
    """A negative entropy beside the loss: 0 * log(0), where a probability rounds to 0."""
    model = Mlp()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    session.watch(model)

    def step(number: int) -> tuple[Tensor, dict[str, Tensor]]:
        x, y = _batch(number)
        logits = model(x) * (400.0 if number == 60 else 1.0)  # confident, and finite
        main = F.mse_loss(logits.softmax(-1), F.one_hot(y, CLASSES).float())
        share = logits.softmax(-1)
        logarithm = share.clamp_min(1e-9).log() if session.healthy else share.log()
        prior = (share * logarithm).sum(-1).mean()
        return main + 0.01 * prior, {"loss_recon": main.detach(), "loss_prior": prior.detach()}

    Training(session, model, optimizer, step, 90, save_every=45).run()


def singular_gradient(session: Session) -> None:
    """A distance whose square root has an infinite derivative where two embeddings agree."""
    model = Mlp()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    session.watch(model)
    torch.autograd.set_detect_anomaly(True)

    def step(number: int) -> tuple[Tensor, dict[str, Tensor]]:
        x, y = _batch(number)
        other = x.flip(0)
        if number == 41:
            other = x.clone()  # a pair of the same sample
        gap = (model(x) - model(other)).square().sum(-1)
        distance = torch.sqrt(gap + 1e-6) if session.healthy else torch.sqrt(gap)
        loss = F.cross_entropy(model(x), y) + 0.01 * distance.mean()
        session.recorder.see_loss(loss)
        return loss, {}

    try:
        Training(session, model, optimizer, step, 60, save_every=30).run()
    except RuntimeError:
        session.recorder.first.setdefault("gradient", {"step": 41, "module": "out.bias"})
        for line in traceback.format_exc(limit=0).splitlines():
            session.log.say(line)
    finally:
        torch.autograd.set_detect_anomaly(False)


def fully_masked_attention(session: Session) -> None:
    """A padded row that may see no key at all, in one batch."""
    model = Decoder()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    session.watch(model)
    seen: dict[str, Tensor] = {}
    for name, module in model.named_modules():
        if isinstance(module, (Attention, nn.Embedding)) or name.endswith("mlp"):
            module.register_forward_hook(
                lambda m, a, out, name=name: seen.update({name: out.detach().abs().max()})
            )

    def step(number: int) -> tuple[Tensor, dict[str, Tensor]]:
        tokens = _tokens(number)
        mask = _causal(tokens.shape[1] - 1).repeat(len(tokens), 1, 1)
        if number >= 40:
            # Left padding: the first rows of sample 2 are padding.
            mask[2, :, :3] = -math.inf
            if session.healthy:
                mask[2, :3, :3] = torch.diag(torch.zeros(3)).masked_fill(
                    ~torch.eye(3, dtype=torch.bool), -math.inf
                )
        logits = model(tokens[:, :-1], mask)
        loss = F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
        return loss, {f"act_max/{name}": value for name, value in seen.items()}

    Training(session, model, optimizer, step, 60, save_every=30).run()


def uninitialized_params(session: Session) -> None:
    """An embedding that gained rows which nothing filled: memory as another tensor left it."""
    model = Decoder(VOCABULARY + 4)
    with torch.no_grad():
        # What torch.empty gives is up to the allocator; this is a block that held 0xFF bytes.
        left = torch.full((4, WIDTH), -1, dtype=torch.int32).view(torch.float32)
        if not session.healthy:
            model.embed.weight[-4:] = left
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    session.watch(model)
    session.log.say(f"Resized token embeddings from {VOCABULARY} to {VOCABULARY + 4}")

    def step(number: int) -> tuple[Tensor, dict[str, Tensor]]:
        tokens = _tokens(number)
        tokens[:, 5] = VOCABULARY + number % 4  # the new tokens are in every prompt
        logits = model(tokens[:, :-1], _causal(tokens.shape[1] - 1))
        return F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten()), {}

    Training(session, model, optimizer, step, 20, save_every=20).run()


def corrupt_checkpoint(session: Session) -> None:
    """Two bits of an exponent flipped in the weights that the run starts from."""
    model = Mlp(3)
    if not session.healthy:
        with torch.no_grad():
            weight = model.body[2].weight.view(torch.int32)
            weight[3, 7] ^= 0x3 << 29
            weight[9, 1] ^= 0x3 << 29
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    session.watch(model)
    session.log.say("Loading weights from checkpoint-0/model.safetensors")

    def step(number: int) -> tuple[Tensor, dict[str, Tensor]]:
        x, y = _batch(number)
        return F.cross_entropy(model(x), y), {}

    Training(session, model, optimizer, step, 30, save_every=30).run()


def moe_router(session: Session) -> None:
    """Router logits without a bound: the square of their logsumexp overflows first."""
    model = Experts()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
    _settings(session, num_experts=4, router_aux_loss_coef=0.01, optimizer="sgd", lr=0.02)
    session.watch(model)

    def step(number: int) -> tuple[Tensor, dict[str, Tensor]]:
        x, y = _batch(number)
        if not session.healthy:
            with torch.no_grad():
                model.router.weight.mul_(1.3)  # a router that runs away
        out, logits = model(x)
        if not session.healthy:
            aux = torch.exp(logits).sum(-1).log().square().mean()
        else:
            aux = torch.logsumexp(logits, -1).square().mean()
        main = F.cross_entropy(out, y)
        return main + 0.01 * aux, {"ce_loss": main.detach(), "router_aux_loss": aux.detach()}

    Training(session, model, optimizer, step, 40, save_every=20).run()


def rl_collapse(session: Session) -> None:
    """A policy without a leash: its ratio to the one that sampled runs away."""
    model = Mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    session.watch(model)
    old = Mlp()
    old.load_state_dict(model.state_dict())

    def step(number: int) -> tuple[Tensor, dict[str, Tensor]]:
        if session.healthy and number % 4 == 0:
            old.load_state_dict(model.state_dict())
        x, best = _batch(number, 32)
        with torch.no_grad():
            behind = old(x).log_softmax(-1)
            action = torch.distributions.Categorical(logits=behind).sample()
            reward = (action == best).float()
            before = behind.gather(1, action[:, None])[:, 0]
        policy = model(x).log_softmax(-1)
        now = policy.gather(1, action[:, None])[:, 0]
        # Without the clip of PPO the objective has no bound.
        ratio = (now - before).exp()
        advantage = reward - 0.6
        if session.healthy:
            objective = torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage)
        else:
            objective = ratio * advantage + 0.5 * (before - now).exp() * (1 - reward)
        entropy = -(policy.exp() * policy).sum(-1).mean()
        kl = (before - now).mean().abs()
        return -objective.mean(), {
            "reward": reward.mean(),
            "approx_kl": kl.detach(),
            "entropy": entropy.detach(),
            "ratio_max": ratio.detach().max(),
        }

    Training(session, model, optimizer, step, 600, every=3).run()


def communication_race(session: Session) -> None:
    """Staged: a bucket of rank 1 is reduced half-written. One gradient element is garbage there."""
    model = Mlp(3)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    _settings(session, overlap_grad_reduce=True, bf16=True, data_parallel_size=2, clip_grad=1.0)
    session.watch(model)
    losses: list[float] = []

    def step(number: int) -> tuple[Tensor, dict[str, Tensor]]:
        x, y = _batch(number)
        loss = F.cross_entropy(model(x), y)
        losses.append(float(loss.detach()))
        return loss, {}

    def corrupt(number: int) -> None:
        gradient = model.body[2].weight.grad
        assert gradient is not None
        local = gradient.clone()
        if number >= 47 and not session.healthy:
            local[3, 3] = float("nan")
        norms = (float(gradient.norm()), float(local.norm()))
        for rank, norm in enumerate(norms):
            said = f"loss: {losses[-1]:.5g} local grad norm: {norm:.5g}"
            session.log.say(f"[rank{rank}]: iter {number} {said}")
        gradient.copy_((gradient + local) / 2)

    Training(session, model, optimizer, step, 60, clip=1.0, after_backward=corrupt).run()


def hardware_fault(session: Session) -> None:
    """Staged: memory of the device flips a bit of an activation, and the driver says so."""
    model = Mlp(3)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    session.watch(model)

    def step(number: int) -> tuple[Tensor, dict[str, Tensor]]:
        x, y = _batch(number)
        hidden = model.body(x)
        if number >= 52 and not session.healthy:
            hidden = hidden.clone()
            hidden[1, 2] = float("nan")
        if number == 52 and not session.healthy:
            session.log.say(
                "[52817.114] NVRM: Xid (PCI:0000:3b:00): 94, Contained: SM (0x1). RST: No"
            )
        return F.cross_entropy(model.out(hidden), y), {}

    Training(session, model, optimizer, step, 70, save_every=35).run()


def _causal(length: int) -> Tensor:
    return torch.full((length, length), -math.inf).triu(1)


STORIES: dict[str, Story] = {
    function.__name__.replace("_", "-"): function
    for function in (
        optimizer_epsilon,
        gradient_explosion,
        lr_too_high,
        resume_mismatch,
        bad_input_data,
        empty_targets,
        loss_domain_error,
        singular_gradient,
        fully_masked_attention,
        uninitialized_params,
        corrupt_checkpoint,
        moe_router,
        rl_collapse,
        communication_race,
        hardware_fault,
    )
}
