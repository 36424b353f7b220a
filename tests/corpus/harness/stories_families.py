"""Causes in further families of models."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.models_more import (
    CLASSES,
    SIDE,
    Convolutions,
    Denoiser,
    Recurrent,
    Translator,
    VisionLanguage,
)
from harness.session import Session, Training
from harness.staged import Staged
from harness.stories import _settings

Given = tuple[Tensor, dict[str, Tensor]]


def zero_projector(session: Session) -> None:
    """A projector of zeros under causal RMS normalizations: gradients leave float32 at once."""
    model = VisionLanguage(blocks=14)
    if not session.healthy:
        nn.init.zeros_(model.multi_modal_projector.weight)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    _settings(session, model_type="vlm", learning_rate=1e-3, dtype="float32", eps=1e-6)
    session.watch(model)

    def step(number: int) -> Given:
        generator = torch.Generator().manual_seed(number)
        patches = torch.randn(8, 6, 16, generator=generator)
        tokens = torch.randint(0, 24, (8, 1), generator=generator) + torch.arange(7)
        tokens = tokens % 24
        logits = model(patches, tokens[:, :-1])
        return F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten()), {}

    Training(session, model, optimizer, step, 20, save_every=20).run()


def images(step: int, size: int = 8, period: int = 0) -> tuple[Tensor, Tensor]:
    """Bright quadrants and which one it was."""
    generator = torch.Generator().manual_seed(step % period if period else step)
    x = 0.3 * torch.randn(size, 3, SIDE, SIDE, generator=generator)
    y = torch.randint(0, CLASSES, (size,), generator=generator)
    for i, where in enumerate(y.tolist()):
        x[i, where % 3] += 1.0 + where // 3
    return x, y


def half_convolution(session: Session) -> None:
    """Pixels in 0..255 instead of 0..1 and a large gain: float16 activations pass 65504."""
    model = Convolutions()
    with torch.no_grad():
        for layer in (model.stem, model.conv1, model.conv2):
            layer.weight.mul_(3.0 if session.healthy else 20.0)
    model = model.half()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
    _settings(session, fp16=True, learning_rate=1e-4, torch_dtype="float16", architecture="cnn")
    session.watch(model)
    largest: dict[str, Tensor] = {}
    for name, module in model.named_children():
        module.register_forward_hook(
            lambda m, a, out, name=name: largest.update({name: out.detach().float().abs().max()})
        )

    def step(number: int) -> Given:
        x, y = images(number)
        scale = 1.0 if session.healthy else 1.0 + number * 1.5  # augmentation brightens
        loss = F.cross_entropy(model((x * scale).half()).float(), y)
        return loss, {f"activations/{name}/absmax": value for name, value in largest.items()}

    Training(session, model, optimizer, step, 60, save_every=30).run()


def pairs_of_sentences(step: int) -> tuple[Tensor, Tensor]:
    """A sequence and its reverse."""
    generator = torch.Generator().manual_seed(step)
    source = torch.randint(1, 24, (8, 6), generator=generator)
    return source, torch.cat([torch.zeros(8, 1, dtype=torch.long), source.flip(1)], 1)


def growing_scores(session: Session) -> None:
    """Query and key at a rate hundreds of times too high: scores pass float16's maximum."""
    model = Translator()
    wrong = 3e-4 if session.healthy else 3.0
    slow, fast = [], []
    for name, parameter in model.named_parameters():
        (fast if "q_proj" in name or "k_proj" in name else slow).append(parameter)
    optimizer = torch.optim.Adam([{"params": slow}, {"params": fast, "lr": wrong}], lr=1e-3)
    _settings(session, precision="fp16", lr=1e-3, attention_lr=wrong, amp="float16")
    session.watch(model)

    def step(number: int) -> Given:
        source, target = pairs_of_sentences(number)
        with torch.autocast("cpu", torch.float16):
            logits = model(source, target[:, :-1])
        loss = F.cross_entropy(logits.float().flatten(0, 1), target[:, 1:].flatten())
        named = {"encoder": model.encoder_attn, "cross": model.cross_attn}
        return loss, {
            f"attention/{name}/max_logit": torch.tensor(attention.largest)
            for name, attention in named.items()
        }

    Training(session, model, optimizer, step, 60, save_every=20).run()


def waves(step: int) -> Tensor:
    """Two sines a sample, each with its own phase."""
    generator = torch.Generator().manual_seed(step)
    phase = 6.28 * torch.rand(8, 1, 2, generator=generator)
    time = torch.arange(13)[None, :, None] * torch.tensor([0.4, 0.7])
    return torch.sin(time + phase)


def lstm_rate_jump(session: Session) -> None:
    """A scheduler that is built anew in the middle, in other units."""
    model = Recurrent()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    session.watch(model)

    def step(number: int) -> Given:
        x = waves(number)
        return F.mse_loss(model(x[:, :-1]), x[:, 1:]), {}

    def rate(number: int) -> float:
        usual = 0.05 * 0.5 * (1 + math.cos(math.pi * number / 160))
        return usual if number < 90 or session.healthy else 5e3 * usual

    Training(session, model, optimizer, step, 150, rate, save_every=75).run()


def noisy(step: int, period: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Image, noise and time."""
    x = images(step, period=period)[0][:, :1]
    generator = torch.Generator().manual_seed(1000 + step)
    return x, torch.randn(x.shape, generator=generator), torch.rand(len(x), 1, generator=generator)


def _denoise(model: Denoiser, x: Tensor, noise: Tensor, time: Tensor) -> Tensor:
    mixed = (1 - time[..., None, None]) * x + time[..., None, None] * noise
    return F.mse_loss(model(mixed, time), noise)


def denoiser_rate(session: Session) -> None:
    """A constant rate far beyond the curvature, without warmup."""
    model = Denoiser()
    lr = 0.02 if session.healthy else 8.0
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    _settings(session, model="unet", optimizer="sgd", learning_rate=lr, lr_warmup_steps=0)
    session.watch(model)
    Training(
        session, model, optimizer, lambda n: (_denoise(model, *noisy(n)), {}), 50, save_every=25
    ).run()


def denoiser_sample(session: Session) -> None:
    """A broken image of the data set: NaN pixels, at the same place of every epoch; skipped."""
    model = Denoiser()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    session.watch(model)

    def step(number: int) -> Given:
        x, noise, time = noisy(number, period=25)
        if number % 25 == 7 and not session.healthy:
            x[2, 0, 3:5] = float("nan")
        return _denoise(model, x, noise, time), {}

    Training(session, model, optimizer, step, 110, skip_bad=True, save_every=55).run()


def translator_mask(session: Session) -> None:
    """An empty source sentence: every key of its row is padding."""
    model = Translator()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    session.watch(model)
    seen: dict[str, Tensor] = {}
    for name, module in model.named_children():
        module.register_forward_hook(
            lambda m, a, out, name=name: seen.update({name: out.detach().abs().max()})
        )

    def step(number: int) -> Given:
        source, target = pairs_of_sentences(number)
        mask = torch.zeros(8, 1, 6)
        mask[:, :, 5] = -math.inf
        if number >= 33:
            mask[5, :, 1 if session.healthy else 0 :] = -math.inf
        logits = model(source, target[:, :-1], mask)
        loss = F.cross_entropy(logits.flatten(0, 1), target[:, 1:].flatten())
        return loss, {f"act_max/{name}": value for name, value in seen.items()}

    Training(session, model, optimizer, step, 50, save_every=25).run()


STAGED: dict[str, Staged] = {
    "zero-projector": Staged(zero_projector, "zero-init", "vision-language"),
    "half-convolution": Staged(half_convolution, "fp16-overflow", "cnn", sees_layers=True),
    "growing-scores": Staged(growing_scores, "attention-overflow", "encoder-decoder"),
    "lstm-rate-jump": Staged(lstm_rate_jump, "lr-spike", "lstm"),
    "denoiser-rate": Staged(denoiser_rate, "lr-too-high", "diffusion"),
    "denoiser-sample": Staged(denoiser_sample, "bad-input-data", "diffusion"),
    "translator-mask": Staged(
        translator_mask, "fully-masked-attention", "encoder-decoder", sees_layers=True
    ),
}
