"""Tiny models of further families: vision with language, convolution, recurrence, translation."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

SIDE = 8
CLASSES = 4
WIDTH = 16


class Rms(nn.Module):
    """Root-mean-square normalization, epsilon 1e-6."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6) * self.weight


class PreNormBlock(nn.Module):
    """Causal attention and MLP without biases, so that a token of zeros stays zero."""

    def __init__(self) -> None:
        super().__init__()
        self.input_norm, self.post_norm = Rms(), Rms()
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH, bias=False)
        self.o_proj = nn.Linear(WIDTH, WIDTH, bias=False)
        self.up = nn.Linear(WIDTH, 32, bias=False)
        self.down = nn.Linear(32, WIDTH, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.input_norm(x)).chunk(3, -1)
        seen = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).tril()
        scores = (q @ k.mT / math.sqrt(WIDTH)).masked_fill(~seen, -math.inf)
        x = x + self.o_proj(scores.softmax(-1) @ v)
        return x + self.down(torch.nn.functional.gelu(self.up(self.post_norm(x))))


class VisionLanguage(nn.Module):
    """Patches through an encoder and a projector, as tokens before the text."""

    def __init__(self, vocabulary: int = 24, blocks: int = 9) -> None:
        super().__init__()
        self.vision_tower = nn.Sequential(nn.Linear(16, WIDTH), nn.GELU(), nn.Linear(WIDTH, WIDTH))
        self.multi_modal_projector = nn.Linear(WIDTH, WIDTH, bias=False)
        self.embed_tokens = nn.Embedding(vocabulary, WIDTH)
        self.layers = nn.ModuleList([PreNormBlock() for _ in range(blocks)])
        self.norm = Rms()
        self.lm_head = nn.Linear(WIDTH, vocabulary, bias=False)

    def forward(self, patches: Tensor, tokens: Tensor) -> Tensor:
        image = self.multi_modal_projector(self.vision_tower(patches))
        x = torch.cat([image, self.embed_tokens(tokens)], 1)
        for layer in self.layers:
            x = layer(x)
        return self.lm_head(self.norm(x[:, patches.shape[1] :]))


class Convolutions(nn.Module):
    """Three convolutions and a linear classifier over SIDE x SIDE images."""

    def __init__(self, channels: int = 8) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, channels, 3, padding=1)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.fc = nn.Linear(channels, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        x = x + torch.relu(self.conv1(x))
        x = x + torch.relu(self.conv2(x))
        return self.fc(x.mean((-1, -2)))


class Recurrent(nn.Module):
    """An LSTM that predicts the next value of a series."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(2, WIDTH, batch_first=True)
        self.readout = nn.Linear(WIDTH, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.readout(self.lstm(x)[0])


class CrossAttention(nn.Module):
    """Attention to ``memory``; keeps the largest score of its last call in ``largest``."""

    def __init__(self) -> None:
        super().__init__()
        self.q_proj, self.k_proj = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.v_proj, self.out_proj = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.score = nn.Identity()  # for the hooks
        self.largest = 0.0

    def forward(self, x: Tensor, memory: Tensor, mask: Tensor | None = None) -> Tensor:
        scores = self.score(self.q_proj(x) @ self.k_proj(memory).mT)
        self.largest = float(scores.detach().abs().max())
        if mask is not None:
            scores = scores + mask
        weights = (scores.float() / math.sqrt(WIDTH)).softmax(-1)
        return self.out_proj(weights.to(x.dtype) @ self.v_proj(memory))


class Translator(nn.Module):
    """An encoder layer, a decoder layer, cross-attention between them."""

    def __init__(self, vocabulary: int = 24) -> None:
        super().__init__()
        self.shared = nn.Embedding(vocabulary, WIDTH)
        self.encoder_attn, self.encoder_norm = CrossAttention(), nn.LayerNorm(WIDTH)
        self.decoder_attn, self.decoder_norm = CrossAttention(), nn.LayerNorm(WIDTH)
        self.cross_attn, self.cross_norm = CrossAttention(), nn.LayerNorm(WIDTH)
        self.lm_head = nn.Linear(WIDTH, vocabulary)

    def forward(self, source: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
        memory, x = self.shared(source), self.shared(target)
        normal = self.encoder_norm(memory)
        memory = memory + self.encoder_attn(normal, normal, mask)
        normal = self.decoder_norm(x)
        causal = torch.full((x.shape[1],) * 2, -math.inf).triu(1)
        x = x + self.decoder_attn(normal, normal, causal)
        x = x + self.cross_attn(self.cross_norm(x), memory, mask)
        return self.lm_head(x)


class Denoiser(nn.Module):
    """A residual convolution net that is told the time, as a diffusion model is."""

    def __init__(self, channels: int = 8) -> None:
        super().__init__()
        self.time_embed = nn.Linear(1, channels)
        self.conv_in = nn.Conv2d(1, channels, 3, padding=1)
        self.mid = nn.Conv2d(channels, channels, 3, padding=1)
        self.modulation = nn.Linear(channels, 2 * channels)
        self.conv_out = nn.Conv2d(channels, 1, 3, padding=1)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        hidden = self.conv_in(x)
        scale, shift = self.modulation(self.time_embed(time)).chunk(2, -1)
        changed = hidden * (1 + scale[..., None, None]) + shift[..., None, None]
        hidden = hidden + self.mid(torch.nn.functional.silu(changed))
        return self.conv_out(hidden)
