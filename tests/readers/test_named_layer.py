"""Which module a line of prose names, in the words of hooks that people write."""

from __future__ import annotations

from pathlib import Path

import pytest
from textlogs import events_of, read_text

from nanautopsy.readers.text.named_layer import layer

NAMED = [
    ("[hook] decoder.layers.2.mlp output contains NaN", "decoder.layers.2.mlp"),
    ("first non-finite module: model.layers.1.self_attn (forward)", "model.layers.1.self_attn"),
    ("NaN in forward output of blocks.3.attn.qkv", "blocks.3.attn.qkv"),
    ("Found NaN in output of module encoder.block.1.layer.0 (Linear)", "encoder.block.1.layer.0"),
    ("Inf detected in layer4.1.conv2 activations at step 12", "layer4.1.conv2"),
    ("non-finite gradient in h.3.attn.c_attn.weight", "h.3.attn.c_attn.weight"),
    ("NaN gradient: decoder.layers.0.fc1.weight.grad", "decoder.layers.0.fc1.weight"),
    ("detected nan in 'params/Dense_1/kernel' gradient", "params/Dense_1/kernel"),
    ("non-finite values in encoder/layer_2/self_attention", "encoder/layer_2/self_attention"),
    ("module=decoder.1.cross_attn stat=absmax value=nan", "decoder.1.cross_attn"),
    ("NaN detected in output of encoder.layers.3, shape: torch.Size([2, 8])", "encoder.layers.3"),
    ("NaN in blocks[3].attn", "blocks[3].attn"),
    ("Gradients are NaN in layer fc2", "fc2"),
    ("module 'norm' produced inf", "norm"),
    ("backward hook: decoder.out grad_output[0] has 320 nan / 320", "decoder.out"),
    ("[overflow] step 22 module=blocks.2 out: inf=403", "blocks.2"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "name"), NAMED)
def test_modules(text: str, name: str) -> None:
    assert layer(text) == name


@pytest.mark.parametrize(
    "text",
    [
        "loss is NaN in train.py:42",
        "NaN found in checkpoint out/model.pt",
        "found inf in torch.float16 tensor",
        "Loss is nan, stopping training",
        "NaN/Inf in the gradients",
        "train/loss is nan",
        "see https://example.org/layers/0/attn about nan",
        "saved nan batch to /data/runs/layer.0/batch.pt",
        "torch 2.1.0 found nan",
        "layers were nan",
        "nan in nohup.out",
        "see slurm-123.out for nan",
    ],
)
def test_what_is_no_module(text: str) -> None:
    assert layer(text) is None


def test_words_that_a_library_uses_too(tmp_path: Path) -> None:
    """``encountered in`` is JAX's, ``returned nan`` torch's; others say so as well."""
    text = (
        "step 1 loss: 2.5\n"
        "RuntimeError: NaN encountered in module 'head.proj' during forward\n"
        "step 2 loss: 2.4\n"
        "layer decoder.1.mlp returned nan\n"
    )
    first, second = events_of(read_text(tmp_path, text), "nonfinite-text")
    assert (first.data["layer"], second.data["layer"]) == ("head.proj", "decoder.1.mlp")
