"""What a tiny model learns, by family: so that one fault can be staged in any of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.models import Decoder, Experts, Mlp
from harness.models_more import Convolutions, Denoiser, Recurrent, Translator, VisionLanguage
from harness.stories import _batch, _causal, _tokens
from harness.stories_families import images, noisy, pairs_of_sentences, waves

Batch = tuple[Tensor, ...]


@dataclass(frozen=True)
class Task:
    """A model with its data and its loss."""

    family: str
    make: Callable[[], nn.Module]
    batch: Callable[[int], Batch]
    """Of a step; the same number gives the same batch."""
    loss: Callable[[nn.Module, Batch], Tensor]
    rate: float
    """With which Adam trains it."""


def _classify(model: nn.Module, batch: Batch) -> Tensor:
    out = model(batch[0])
    return F.cross_entropy(out.float(), batch[1])


def _continue(model: nn.Module, batch: Batch) -> Tensor:
    """Next tokens, of labels that may be ignored."""
    tokens, labels = batch
    mask = _causal(tokens.shape[1]).to(next(model.parameters()).dtype)
    logits = model(tokens, mask)
    return F.cross_entropy(logits.float().flatten(0, 1), labels.flatten())


def _next_tokens(step: int) -> Batch:
    tokens = _tokens(step)
    return tokens[:, :-1], tokens[:, 1:].clone()


def _translate(model: nn.Module, batch: Batch) -> Tensor:
    source, target, labels, mask = batch
    logits = model(source, target, mask)
    return F.cross_entropy(logits.float().flatten(0, 1), labels.flatten())


def _sentences(step: int) -> Batch:
    """Source, what the decoder is given, labels, an additive mask over the source."""
    source, target = pairs_of_sentences(step)
    mask = torch.zeros(8, 1, 6)
    mask[:, :, 5] = -math.inf
    return source, target[:, :-1], target[:, 1:].clone(), mask


def _forecast(model: nn.Module, batch: Batch) -> Tensor:
    return F.mse_loss(model(batch[0]).float(), batch[1].float())


def _series(step: int) -> Batch:
    x = waves(step)
    return x[:, :-1], x[:, 1:]


def _denoise(model: nn.Module, batch: Batch) -> Tensor:
    x, noise, time = batch
    share = time[..., None, None]
    return F.mse_loss(model((1 - share) * x + share * noise, time).float(), noise.float())


def _captions(step: int) -> Batch:
    generator = torch.Generator().manual_seed(step)
    patches = torch.randn(8, 6, 16, generator=generator)
    tokens = (torch.randint(0, 24, (8, 1), generator=generator) + torch.arange(7)) % 24
    return patches, tokens[:, :-1], tokens[:, 1:].clone()


def _caption(model: nn.Module, batch: Batch) -> Tensor:
    logits = model(batch[0], batch[1])
    return F.cross_entropy(logits.float().flatten(0, 1), batch[2].flatten())


def _route(model: nn.Module, batch: Batch) -> Tensor:
    return F.cross_entropy(model(batch[0])[0].float(), batch[1])


MLP = Task("mlp", lambda: Mlp(3), _batch, _classify, 2e-3)
CNN = Task("cnn", Convolutions, images, _classify, 2e-3)
LSTM = Task("lstm", Recurrent, _series, _forecast, 3e-3)
DECODER = Task("decoder", Decoder, _next_tokens, _continue, 3e-3)
TRANSLATOR = Task("encoder-decoder", Translator, _sentences, _translate, 2e-3)
DENOISER = Task("diffusion", Denoiser, noisy, _denoise, 2e-3)
CAPTIONS = Task("vision-language", lambda: VisionLanguage(blocks=3), _captions, _caption, 2e-3)
EXPERTS = Task("moe", Experts, _batch, _route, 2e-3)
