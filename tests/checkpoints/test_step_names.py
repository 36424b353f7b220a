"""Steps out of names: the documented table, and names that must not give one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanautopsy.checkpoints.step_names import step_of


@pytest.mark.parametrize(
    ("path", "step"),
    [
        ("checkpoint-500/model.safetensors", 500),
        ("out/checkpoint_500", 500),
        ("checkpoint-500/global_step498/mp_rank_00_model_states.pt", 498),
        ("global_step500/zero_pp_rank_0_mp_rank_00_optim_states.pt", 500),
        ("iter_0000500/mp_rank_00/model_optim_rng.pt", 500),
        ("work/iter_500.pth", 500),
        ("checkpoints/epoch=3-step=500.ckpt", 500),
        ("epoch=3-step=500-val_loss=0.32.ckpt", 500),
        ("val_loss=0.32-step=10.ckpt", 10),
        ("step_500/model.safetensors", 500),
        ("checkpoint/step-500/__0_0.distcp", 500),
        ("lora-step00000500.safetensors", 500),
        ("step500.pt", 500),
        ("ppo_500_steps.zip", 500),
        ("10k-iters.pt", 10_000),
        ("step-20k", 20_000),
        ("ckpt_500.pt", 500),
        ("ckpt-500k.pt", 500_000),
        ("model.ckpt-500.data-00000-of-00001", 500),
        ("model_0004999.pth", 4999),
        ("model_500.pt", 500),
        ("iter-5000-ckpt.pth", 5000),
        ("checkpoint_epoch_12_step_340.pt", 340),
        ("rl_model_20000_steps.zip", 20_000),
        ("model_00500/model.safetensors", 500),
        ("checkpoint.bv-000000500", 500),
        ("it0000500/model.safetensors", 500),
        ("net_it500.pt", 500),
        ("q_net_00500.npz", 500),
        ("checkpoint.npz-000010000", 10_000),
        ("checkpoint_3_500.pt", 500),
        ("checkpoints/500/default/_METADATA", 500),
        ("checkpoint-500/model-00001-of-00007.safetensors", 500),
        ("tmp-checkpoint-500/model.safetensors", 500),
        ("unet-checkpoint-500-ema.pt", 500),
        ("iteration_12", 12),
        ("global-step-7.pt", 7),
        ("step_0", 0),
        ("CHECKPOINT-8", 8),
        ("checkpoint-5/checkpoint-10/model.safetensors", 10),
        ("lr-0.001-step-7.pt", 7),
        ("checkpoints/0050000.pt", 50_000),
        ("checkpoints/10500/items/_METADATA", 10_500),
        ("ep3-ba500-rank0.pt", 500),
        ("ep0-ba1500/ep0-ba1500-rank3.pt", 1500),
        ("opt500000.pt", 500_000),
        ("ema_0.9999_500000.pt", 500_000),
        ("model500000.pt", 500_000),
        ("0000500_adapters.safetensors", 500),
        ("streaming_params_500", 500),
        ("G_2500.pth", 2500),
        ("step1000-tokens4B/model.pt", 1000),
        ("megatron_gpt--val_loss=2.10-step=500-consumed_samples=9000.0.ckpt", 500),
        ("global_step_500/actor/model_world_size_2_rank_0.pt", 500),
        ("best_model_12500.pth", 12_500),
        ("model_init.pt", 0),
        ("checkpoints/init/params.msgpack", 0),
    ],
)
def test_habits(path: str, step: int) -> None:
    assert step_of(path) == step


@pytest.mark.parametrize(
    "path",
    [
        "",
        "model.safetensors",
        "model-00001-of-00007.safetensors",
        "pytorch_model-00003-of-00004.bin",
        "checkpoint3.pt",
        "checkpoint_best.pt",
        "checkpoint-last/model.safetensors",
        "epoch_3/model.safetensors",
        "epoch=3.ckpt",
        "model_1.safetensors",
        "vit_model_224.safetensors",
        "checkpoint_e12.pt",
        "model-350m/model.safetensors",
        "outputs/2023-11-05/12-00-00/last.ckpt",
        "llama-7b/model.safetensors",
        "v2/model.safetensors",
        "lightning_logs/version_12/last.ckpt",
        "20231105/model.safetensors",
        "ckpt-20231105-103000.pt",
        "ckpt-20231105.pt",
        "checkpoint-1700000000.pt",
        "checkpoint-9f8e7d.pt",
        "run_max_steps_1000/model.safetensors",
        "save_every_500_steps/model.safetensors",
        "warmup_steps500/model.safetensors",
        "rank_3/model.safetensors",
        "mp_rank_00_model_states.pt",
        "seed_42/model.safetensors",
        "layer_05-model_00-model_states.pt",
        "stepwise-12/model.safetensors",
        "hf_model_0001_0.pt",
        "checkpoints/5.pt",
        "checkpoints/50.pt",
        "ema_5.pt",
        "opt_125.pt",
        "opt-1300m/model.safetensors",
        "ep3-rank0.pt",
        "consolidated.00.pth",
        "weights.05-0.32.hdf5",
        "cp-0005.ckpt",
        "gemma-2b-it/model.safetensors",
        "epoch50.pt",
        "network-snapshot-000500.pkl",
        "checkpoint_last.pt",
    ],
)
def test_no_step(path: str) -> None:
    assert step_of(path) is None


@given(st.text(max_size=60))
def test_any_text_is_answered(path: str) -> None:
    step = step_of(path)
    assert step is None or step >= 0
