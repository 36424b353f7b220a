"""Forward order of layers: what a forward pass meets first, told from names alone."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanautopsy.layers import as_met, forward_key, in_forward_order

ORDERS: dict[str, list[str]] = {
    "llama": [
        "model.embed_tokens.weight",
        "model.layers.0.input_layernorm.weight",
        "model.layers.0.self_attn.q_proj.weight",
        "model.layers.0.self_attn.o_proj.weight",
        "model.layers.0.post_attention_layernorm.weight",
        "model.layers.0.mlp.gate_proj.weight",
        "model.layers.0.mlp.down_proj.weight",
        "model.layers.2.input_layernorm.weight",
        "model.layers.10.mlp.up_proj.weight",
        "model.layers.10.mlp.down_proj.weight",
        "model.norm.weight",
        "lm_head.weight",
    ],
    "gemma 2": [
        "model.embed_tokens.weight",
        "model.layers.3.input_layernorm.weight",
        "model.layers.3.self_attn.k_proj.weight",
        "model.layers.3.self_attn.o_proj.weight",
        "model.layers.3.post_attention_layernorm.weight",
        "model.layers.3.pre_feedforward_layernorm.weight",
        "model.layers.3.mlp.up_proj.weight",
        "model.layers.3.mlp.down_proj.weight",
        "model.layers.3.post_feedforward_layernorm.weight",
        "model.norm.weight",
    ],
    "mixtral": [
        "model.layers.1.self_attn.v_proj.weight",
        "model.layers.1.self_attn.o_proj.weight",
        "model.layers.1.post_attention_layernorm.weight",
        "model.layers.1.block_sparse_moe.gate.weight",
        "model.layers.1.block_sparse_moe.experts.7.w1.weight",
        "model.layers.1.block_sparse_moe.experts.0.w2.weight",
        "model.layers.2.self_attn.q_proj.weight",
    ],
    "gpt2": [
        "transformer.wpe.weight",
        "transformer.wte.weight",
        "transformer.h.0.ln_1.weight",
        "transformer.h.0.attn.c_attn.weight",
        "transformer.h.0.attn.c_proj.weight",
        "transformer.h.0.ln_2.weight",
        "transformer.h.0.mlp.c_fc.weight",
        "transformer.h.0.mlp.c_proj.weight",
        "transformer.h.11.ln_1.weight",
        "transformer.ln_f.weight",
        "lm_head.weight",
    ],
    "gpt-neox": [
        "gpt_neox.embed_in.weight",
        "gpt_neox.layers.0.input_layernorm.weight",
        "gpt_neox.layers.0.attention.query_key_value.weight",
        "gpt_neox.layers.0.attention.dense.weight",
        "gpt_neox.layers.0.post_attention_layernorm.weight",
        "gpt_neox.layers.0.mlp.dense_h_to_4h.weight",
        "gpt_neox.layers.0.mlp.dense_4h_to_h.weight",
        "gpt_neox.final_layer_norm.weight",
        "embed_out.weight",
    ],
    "opt": [
        "model.decoder.embed_tokens.weight",
        "model.decoder.layers.0.self_attn_layer_norm.weight",
        "model.decoder.layers.0.self_attn.k_proj.weight",
        "model.decoder.layers.0.self_attn.out_proj.weight",
        "model.decoder.layers.0.final_layer_norm.weight",
        "model.decoder.layers.0.fc1.weight",
        "model.decoder.layers.0.fc2.weight",
        "model.decoder.layers.1.fc1.weight",
        "model.decoder.final_layer_norm.weight",
        "lm_head.weight",
    ],
    "t5": [
        "shared.weight",
        "encoder.block.0.layer.0.layer_norm.weight",
        "encoder.block.0.layer.0.SelfAttention.q.weight",
        "encoder.block.0.layer.0.SelfAttention.o.weight",
        "encoder.block.0.layer.1.layer_norm.weight",
        "encoder.block.0.layer.1.DenseReluDense.wi_0.weight",
        "encoder.block.0.layer.1.DenseReluDense.wo.weight",
        "encoder.block.11.layer.0.SelfAttention.v.weight",
        "encoder.final_layer_norm.weight",
        "decoder.block.0.layer.0.SelfAttention.q.weight",
        "decoder.block.0.layer.1.EncDecAttention.k.weight",
        "decoder.block.0.layer.2.DenseReluDense.wi_1.weight",
        "decoder.final_layer_norm.weight",
        "lm_head.weight",
    ],
    "bart": [
        "model.encoder.embed_tokens.weight",
        "model.encoder.layers.0.self_attn.k_proj.weight",
        "model.encoder.layers.5.fc2.weight",
        "model.decoder.layers.0.self_attn.q_proj.weight",
        "model.decoder.layers.0.self_attn.out_proj.weight",
        "model.decoder.layers.0.encoder_attn.q_proj.weight",
        "model.decoder.layers.0.encoder_attn.out_proj.weight",
        "model.decoder.layers.0.fc1.weight",
    ],
    "bert": [
        "bert.embeddings.word_embeddings.weight",
        "bert.encoder.layer.0.attention.self.query.weight",
        "bert.encoder.layer.0.attention.output.dense.weight",
        "bert.encoder.layer.0.intermediate.dense.weight",
        "bert.encoder.layer.0.output.dense.weight",
        "bert.encoder.layer.1.attention.self.key.weight",
        "bert.pooler.dense.weight",
        "classifier.weight",
    ],
    "llava": [
        "model.vision_tower.vision_model.embeddings.patch_embedding.weight",
        "model.vision_tower.vision_model.encoder.layers.0.layer_norm1.weight",
        "model.vision_tower.vision_model.encoder.layers.0.self_attn.q_proj.weight",
        "model.vision_tower.vision_model.encoder.layers.23.mlp.fc2.weight",
        "model.vision_tower.vision_model.post_layernorm.weight",
        "model.mm_projector.0.weight",
        "model.mm_projector.2.weight",
        "model.layers.0.self_attn.q_proj.weight",
        "model.layers.31.mlp.down_proj.weight",
        "model.norm.weight",
        "lm_head.weight",
    ],
    "qwen2-vl": [
        "model.visual.patch_embed.proj.weight",
        "model.visual.blocks.0.norm1.weight",
        "model.visual.blocks.0.attn.qkv.weight",
        "model.visual.blocks.0.attn.proj.weight",
        "model.visual.blocks.0.norm2.weight",
        "model.visual.blocks.0.mlp.fc1.weight",
        "model.visual.blocks.31.mlp.fc2.weight",
        "model.visual.merger.mlp.0.weight",
        "model.language_model.layers.0.self_attn.q_proj.weight",
        "model.language_model.norm.weight",
        "lm_head.weight",
    ],
    "paligemma in jax": [
        "img/embedding/kernel",
        "img/Transformer/encoderblock_0/LayerNorm_0/scale",
        "img/Transformer/encoderblock_0/MultiHeadDotProductAttention_0/query/kernel",
        "img/Transformer/encoderblock_0/MultiHeadDotProductAttention_0/out/kernel",
        "img/Transformer/encoderblock_0/LayerNorm_1/scale",
        "img/Transformer/encoderblock_0/MlpBlock_0/Dense_0/kernel",
        "img/Transformer/encoderblock_0/MlpBlock_0/Dense_1/kernel",
        "img/Transformer/encoderblock_10/LayerNorm_0/scale",
        "img/Transformer/encoder_norm/scale",
        "img/head/kernel",
        "llm/embedder/input_embedding",
        "llm/layers/0/pre_attention_norm/scale",
        "llm/layers/0/attn/q_einsum/w",
        "llm/layers/0/attn/attn_vec_einsum/w",
        "llm/layers/0/pre_ffw_norm/scale",
        "llm/layers/0/mlp/gating_einsum",
        "llm/layers/0/mlp/linear",
        "llm/layers/2/attn/kv_einsum/w",
        "llm/final_norm/scale",
    ],
    "flax": [
        "params/token_embedder/embedding",
        "params/decoder/layers_0/self_attention/query/kernel",
        "params/decoder/layers_0/mlp/wi_0/kernel",
        "params/decoder/layers_0/mlp/wo/kernel",
        "params/decoder/layers_11/self_attention/query/kernel",
        "params/decoder/decoder_norm/scale",
        "params/decoder/logits_dense/kernel",
    ],
    "resnet": [
        "conv1.weight",
        "bn1.weight",
        "layer1.0.conv1.weight",
        "layer1.0.bn1.weight",
        "layer1.0.conv2.weight",
        "layer1.0.bn2.running_var",
        "layer1.0.conv3.weight",
        "layer1.0.downsample.0.weight",
        "layer1.1.conv1.weight",
        "layer1.10.conv1.weight",
        "layer2.0.conv1.weight",
        "fc.weight",
    ],
    "resnet in flax": [
        "conv_init/kernel",
        "ResNetBlock_0/Conv_0/kernel",
        "ResNetBlock_0/BatchNorm_0/scale",
        "ResNetBlock_0/Conv_1/kernel",
        "ResNetBlock_9/Conv_0/kernel",
        "ResNetBlock_10/Conv_0/kernel",
        "head/kernel",
    ],
    "vgg": [
        "features.0.weight",
        "features.3.weight",
        "features.28.bias",
        "classifier.0.weight",
        "classifier.6.weight",
    ],
    "swin": [
        "patch_embed.proj.weight",
        "layers.0.blocks.0.norm1.weight",
        "layers.0.blocks.0.attn.qkv.weight",
        "layers.0.blocks.1.norm1.weight",
        "layers.2.blocks.17.mlp.fc1.weight",
        "norm.weight",
        "head.weight",
    ],
    "diffusion unet": [
        "conv_in.weight",
        "down_blocks.0.resnets.0.conv1.weight",
        "down_blocks.2.resnets.0.conv1.weight",
        "mid_block.resnets.0.conv1.weight",
        "up_blocks.1.resnets.0.conv1.weight",
        "conv_norm_out.weight",
        "conv_out.weight",
    ],
    "mlp": ["fc1.weight", "fc2.weight", "fc10.weight"],
    "sequential": ["0.weight", "2.weight", "10.weight"],
}


@pytest.mark.parametrize("family", ORDERS)
def test_forward_order(family: str) -> None:
    expected = ORDERS[family]
    for seed in range(5):
        shuffled = random.Random(seed).sample(expected, len(expected))
        assert in_forward_order(shuffled) == expected


@pytest.mark.parametrize("family", ORDERS)
def test_the_order_does_not_depend_on_a_prefix_of_all(family: str) -> None:
    wrapped = [f"module._orig_mod.{name}" for name in ORDERS[family]]
    assert in_forward_order(wrapped[::-1]) == wrapped


def test_repeats_are_dropped() -> None:
    assert in_forward_order(["b", "a", "b"]) == ["a", "b"]
    assert in_forward_order([]) == []


@given(st.lists(st.text(max_size=80)))
def test_any_names_have_an_order(names: list[str]) -> None:
    ordered = in_forward_order(names)
    assert sorted(ordered) == sorted(set(names))
    assert ordered == sorted(ordered, key=forward_key)


@pytest.mark.parametrize(
    "name", ["layers." + "9" * 5000, "a" * 200_000, "attn" * 20_000, "q_" * 50_000]
)
def test_a_name_of_any_length_is_ordered_at_once(name: str) -> None:
    assert in_forward_order([name, "x"])


@pytest.mark.parametrize(
    ("listed", "order"),
    [
        (["mid", "dec", "readout"], ["mid", "dec", "readout"]),
        (["mid", "dec", "lm_head", "wte"], ["wte", "mid", "dec", "lm_head"]),
        (["layers.1.fc", "layers.0.fc"], ["layers.0.fc", "layers.1.fc"]),
        (["Dense_0", "Dense_10", "Dense_2"], ["Dense_0", "Dense_2", "Dense_10"]),
    ],
    ids=["names that tell nothing", "ends are known", "numbers tell", "sorted as JAX sorts"],
)
def test_the_order_of_a_program(listed: list[str], order: list[str]) -> None:
    assert as_met(listed) == order
