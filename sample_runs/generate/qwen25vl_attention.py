"""A Qwen2.5-VL fine-tune whose attention scores grow until float16 cannot hold them.

The story is QwenLM/Qwen2.5-VL#1077 (now QwenLM/Qwen3-VL): after fine-tuning, ``attn_weights`` of
the eager attention are NaN. The thread ends without a root cause; a maintainer asked whether
training was in bf16, which points to "trained in bf16, run in float16". A retold version, "bf16 has
the smaller range", is false: bf16 reaches 3.4e38 as float32 does, with fewer digits; float16 ends
at 65504. So scores that outgrow a format outgrow float16.

What happens here, in order:

1. The learning rate of the query and key projections is 0.6 where 0.0006 was meant (other weights:
   0.002), with no weight decay. Adam moves each weight by about the learning rate whatever the size
   of its gradient: the norms of both projections grow in every layer, and scores grow with their
   product. Once the softmax is saturated larger scores change nothing, so the loss does not object.
2. Eager attention computes ``query @ key.T`` in float16 and only then multiplies by
   ``1 / sqrt(head_dim)``. The largest product of the last layer passes 65504 and becomes Inf,
   which is when the scaled scores pass 65504 / sqrt(24), about 13400.
3. The softmax is computed in float32, which does not help: a row with +Inf gives Inf - Inf = NaN.
   Attention output, residual stream and loss are NaN in the same forward pass. Until that step
   every other activation stays below 300.
4. Training is in float16 autocast over float32 weights without a gradient scaler, so nothing skips
   the step: clipping by a NaN norm makes all gradients NaN, and all trained weights after them.

What differs from the report: it failed at inference, with a model of 3 billion parameters; this one
is the same modeling code (transformers 5.23.0, ``attn_implementation="eager"``) with 50 thousand
parameters, a vision tower that is frozen and not used, and a task of text only (repeat a sequence
of tokens, some of them wrong). The learning rate is our reason for the growth; the thread has none.
The logged ``attention/max_logit`` is the largest scaled score as the model computes it.

The healthy twin has 0.0006, the intended learning rate, and nothing else is different.

Nothing in the published files is written by hand. Environment: Python 3.11, ``torch==2.13.0``
(CPU), ``transformers==5.23.0``, ``wandb==0.31.0``.
"""

from __future__ import annotations

import argparse
import copy
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from _neutral import HOST, USER, neutral_run, publish

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from transformers import Qwen2_5_VLForConditionalGeneration

SAMPLE = "qwen25vl-attention"
VOCAB, HALF = 64, 12  # a sequence is HALF tokens, a separator and the same tokens again
SEPARATOR, FIRST_TOKEN, LAST_TOKEN = 3, 4, 60
HIDDEN, LAYERS = 48, 3
STEPS, SAVE_STEPS = 90, 30
BASE_STEPS = 70  # of training before the run that is recorded: its base model
CONFIG = {
    "learning_rate": 2e-3,
    "attention_learning_rate": 0.6,
    "warmup_steps": 60,
    "weight_decay": 0.0,
    "max_grad_norm": 1.0,
    "per_device_train_batch_size": 16,
    "max_steps": STEPS,
    "fp16": True,
    "attn_implementation": "eager",
    "seed": 42,
}


def make_model() -> Qwen2_5_VLForConditionalGeneration:
    """A Qwen2.5-VL of 50 thousand parameters; the vision tower is as small as it can be."""
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": VOCAB,
            "hidden_size": HIDDEN,
            "intermediate_size": HIDDEN,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "max_position_embeddings": 64,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10000.0,
                "mrope_section": [4, 4, 4],
            },
            "tie_word_embeddings": True,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "pad_token_id": 0,
        },
        vision_config={
            "depth": 1,
            "hidden_size": 8,
            "intermediate_size": 8,
            "num_heads": 2,
            "out_hidden_size": HIDDEN,
            "fullatt_block_indexes": [0],
            "patch_size": 4,
            "spatial_merge_size": 1,
            "window_size": 8,
        },
        image_token_id=60,
        video_token_id=61,
        vision_start_token_id=62,
        vision_end_token_id=63,
        tie_word_embeddings=True,
        attn_implementation="eager",
    )
    model = Qwen2_5_VLForConditionalGeneration(config)
    model.model.visual.requires_grad_(False)
    return model


def batch(generator: torch.Generator) -> dict[str, Tensor]:
    """Sequences that are said twice, the second time with one token in eight replaced."""
    import torch

    size = (CONFIG["per_device_train_batch_size"], HALF)
    said = torch.randint(FIRST_TOKEN, LAST_TOKEN, size, generator=generator)
    noise = torch.randint(FIRST_TOKEN, LAST_TOKEN, size, generator=generator)
    wrong = torch.rand(size, generator=generator) < 0.125
    separator = torch.full((size[0], 1), SEPARATOR)
    tokens = torch.cat([said, separator, torch.where(wrong, noise, said)], dim=1)
    labels = tokens.clone()
    labels[:, : HALF + 1] = -100
    return {"input_ids": tokens, "labels": labels}


def train_base(model: Qwen2_5_VLForConditionalGeneration) -> None:
    """What happened before the run: some training in float32 at a good learning rate."""
    import torch

    generator = torch.Generator().manual_seed(1)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=3e-3, weight_decay=0.0)
    for _ in range(BASE_STEPS):
        model(**batch(generator)).loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()


def watch_scores() -> dict[int, float]:
    """Note the largest attention score of each layer, as eager attention computes it."""
    import torch
    from transformers.models.qwen2_5_vl import modeling_qwen2_5_vl as modeling

    largest: dict[int, float] = {}
    eager = modeling.eager_attention_forward

    def watched(
        module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, **kwargs: Any
    ) -> Any:
        with torch.no_grad():
            keys = modeling.repeat_kv(key, module.num_key_value_groups)
            scores = torch.matmul(query, keys.transpose(2, 3)) * kwargs["scaling"]
            largest[module.layer_idx] = scores.max().item()
        return eager(module, query, key, value, mask, **kwargs)

    modeling.eager_attention_forward = watched
    return largest


def norms(model: Qwen2_5_VLForConditionalGeneration) -> dict[str, float]:
    """Norms of weights and gradients, before clipping and before the step."""
    found = {}
    for name, parameter in model.named_parameters():
        module, _, kind = name.rpartition(".")
        if kind == "weight" and name.split(".")[-2] in ("q_proj", "k_proj", "down_proj"):
            if parameter.grad is not None:
                found[f"weights_norm/{module}"] = parameter.detach().norm().item()
                found[f"grad_norm/{module}"] = parameter.grad.norm().item()
    return found


def train(config: dict[str, Any]) -> None:
    """Fine-tune with W&B offline, a sharded checkpoint every so many steps."""
    import torch
    import wandb

    torch.manual_seed(config["seed"])
    model = make_model()
    train_base(model)
    largest = watch_scores()
    run = wandb.init(
        project="qwen2.5-vl-sft",
        id="k3w8r5ze" if config["attention_learning_rate"] > 0.01 else "m9d2t6qa",
        config=config | {"model": model.config.to_diff_dict()},
        settings=wandb.Settings(
            host=HOST,
            username=USER,
            program="train.py",
            program_relpath="train.py",
            disable_git=True,
            save_code=False,
            x_disable_stats=True,
            x_disable_machine_info=True,
        ),
    )
    trained = {
        name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad
    }
    attention = [p for name, p in trained.items() if "q_proj" in name or "k_proj" in name]
    others = [p for name, p in trained.items() if "q_proj" not in name and "k_proj" not in name]
    optimizer = torch.optim.AdamW(
        [
            {"params": others, "lr": config["learning_rate"]},
            {"params": attention, "lr": config["attention_learning_rate"]},
        ],
        betas=(0.9, 0.95),
        weight_decay=config["weight_decay"],
    )
    warmup = config["warmup_steps"]
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda done: min(1.0, (done + 1) / warmup)
    )
    generator = torch.Generator().manual_seed(config["seed"])
    for step in range(1, STEPS + 1):
        with torch.autocast("cpu", dtype=torch.float16):
            loss = model(**batch(generator)).loss
        loss.backward()
        measured = norms(model)
        norm = torch.nn.utils.clip_grad_norm_(trained.values(), config["max_grad_norm"]).item()
        rates = scheduler.get_last_lr()
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
        run.log(
            {
                "train/loss": loss.item(),
                "train/grad_norm": norm,
                "train/learning_rate": rates[0],
                "train/global_step": step,
            }
            | {f"attention/max_logit/layers.{layer}": value for layer, value in largest.items()}
            | measured,
            step=step,
        )
        print(f"step {step}/{STEPS} loss {loss.item():.4f} grad_norm {norm:.4f}", flush=True)
        if step % SAVE_STEPS == 0:
            half = copy.deepcopy(model).half()
            half.save_pretrained(f"checkpoints/checkpoint-{step}", max_shard_size="40KB")
    run.finish()


def launch(healthy: bool) -> None:
    """Prepare a directory, train in it, publish what the run left there."""
    name = SAMPLE + "-healthy" * healthy
    directory = neutral_run(name)
    train(CONFIG | ({"attention_learning_rate": 6e-4} if healthy else {}))
    for path in Path("wandb").iterdir():
        if path.is_symlink():
            path.unlink()
    publish(directory, name)


def main() -> None:
    """Generate the failing run, its healthy twin, or both, each in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--healthy", action="store_true", help="only the healthy twin")
    parser.add_argument("--failing", action="store_true", help="only the failing run")
    options = parser.parse_args()
    if options.healthy or options.failing:
        launch(healthy=options.healthy)
        return
    for twin in ("--failing", "--healthy"):
        subprocess.run([sys.executable, __file__, twin], check=True)


if __name__ == "__main__":
    main()
