"""A Gemma fine-tune on DeepSpeed ZeRO-2 whose loss falls to 0.0 after a dozen good steps.

The story is MiniGemini (JIA-Lab-research/MGM#42 and #123; DeepSpeed#5242, #5347): stage 2 trains
normally for about ten steps, then every line says ``loss 0.0`` and ``grad_norm nan``. The cure was
``deepspeed==0.11.1``; the bisection in DeepSpeed#5242 found 0.12.3 good and 0.12.4 bad, and that
``overlap_comm: false`` cures it too.

What happens, in order:

1. While a bucket of bf16 gradients is being reduced on another stream, backward already writes
   into it again. A stretch of the bucket then holds arbitrary words, some of them NaN or Inf.
2. The all-reduce spreads that stretch to every rank. The norm over the gradients is Inf or NaN;
   this release computes ``0 * norm`` to mask it, so it reports NaN, and because ``NaN > 1`` is
   false nothing is clipped.
3. bf16 has no loss scaler and this release has no overflow check for it: the optimizer steps.
   NaN is in the weights, the next forward pass spreads it over everything.
4. The Trainer's ``logging_nan_inf_filter`` replaces each NaN loss by the mean of the finite ones
   since the last log line. With ``logging_steps=1`` there are none: it prints 0.0.

What differs from the reports: the model is a tiny Gemma without a vision tower, on two CPU
processes with gloo. A CPU has no streams, so step 1 cannot happen by itself and is the only thing
staged here: on one rank, in one step, a stretch of the bucket is overwritten with random words just
before the engine reduces it (``overwrite_bucket``). Everything after it is done by the real
DeepSpeed 0.14.2, a release in the reported range, and by the real Trainer. The healthy twin has
``overlap_comm: false`` and no overwritten bucket; all else is the same.

Nothing in the published files is written by hand. Environment: Python 3.11, ``torch==2.13.0``
(CPU), ``transformers==4.39.3``, ``accelerate==0.28.0``, ``numpy<2`` and ``deepspeed==0.14.2``,
installed with ``DS_BUILD_OPS=0 pip install --no-deps --no-build-isolation``. At its first start
DeepSpeed compiles a small communication op and says so in the log: run twice for a clean one.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from _neutral import neutral_run, publish

if TYPE_CHECKING:
    from torch import Tensor

SAMPLE = "minigemini-deepspeed"
RANKS = 2
STEPS = 24
BAD_STEP = 12  # optimizer step, counted from 1, in whose backward pass the bucket is overwritten
BAD_RANK = 1
BAD_BUCKET = 1  # buckets of one backward pass, counted from 0; the last layers come first
STRETCH = slice(1024, 4096)
VOCAB = 192
LENGTH = 32
PACKAGES = (
    "accelerate",
    "deepspeed",
    "numpy",
    "safetensors",
    "tokenizers",
    "torch",
    "transformers",
)


def ds_config(overlap_comm: bool) -> dict[str, object]:
    """The ZeRO-2 file of the LLaVA family, with smaller buckets for a smaller model."""
    return {
        "bf16": {"enabled": "auto"},
        "train_micro_batch_size_per_gpu": "auto",
        "train_batch_size": "auto",
        "gradient_accumulation_steps": "auto",
        "gradient_clipping": "auto",
        "zero_optimization": {
            "stage": 2,
            "overlap_comm": overlap_comm,
            "contiguous_gradients": True,
            "sub_group_size": 1e9,
            "reduce_bucket_size": 8000,
        },
    }


def token_sequences(count: int) -> list[dict[str, Tensor]]:
    """Sequences in which the next token mostly follows from the last one: easy to learn."""
    import torch

    generator = torch.Generator().manual_seed(11)
    successor = torch.randperm(VOCAB, generator=generator)
    tokens = torch.randint(3, VOCAB, (count, LENGTH), generator=generator)
    follow = torch.rand(count, LENGTH, generator=generator) < 0.9
    for position in range(1, LENGTH):
        known = successor[tokens[:, position - 1]]
        tokens[:, position] = torch.where(follow[:, position], known, tokens[:, position])
    return [{"input_ids": row, "labels": row} for row in tokens]


def overwrite_bucket(step: int, bucket: int, stretch: slice) -> None:
    """Let this rank's gradient bucket hold random words when the engine comes to reduce it."""
    import torch
    from deepspeed.runtime.zero.stage_1_and_2 import DeepSpeedZeroOptimizer

    reduce_bucket = DeepSpeedZeroOptimizer.average_tensor
    finish_step = DeepSpeedZeroOptimizer.step
    now = {"step": 1, "bucket": 0}

    def average_tensor(self: DeepSpeedZeroOptimizer, tensor: Tensor) -> None:
        if now == {"step": step, "bucket": bucket}:
            words = torch.Generator().manual_seed(step)
            tensor[stretch].view(torch.int16).random_(-(2**15), 2**15, generator=words)
        now["bucket"] += 1
        reduce_bucket(self, tensor)

    def count_step(self: DeepSpeedZeroOptimizer, *args: object, **kwargs: object) -> None:
        finish_step(self, *args, **kwargs)
        now.update(step=now["step"] + 1, bucket=0)

    DeepSpeedZeroOptimizer.average_tensor = average_tensor
    DeepSpeedZeroOptimizer.step = count_step


def train(staged: bool) -> None:
    """One rank: fine-tune a tiny Gemma with the Trainer on the DeepSpeed engine."""
    import torch
    import torch.distributed.elastic.agent.server.api as elastic_api
    from torch.distributed.elastic.utils.distributed import get_socket_with_port

    # DeepSpeed 0.14.2 imports this helper by the name it had in the torch of its time.
    elastic_api._get_socket_with_port = get_socket_with_port
    import deepspeed
    from transformers import GemmaConfig, GemmaForCausalLM, Trainer, TrainingArguments, set_seed

    torch.set_num_threads(1)
    deepspeed.init_distributed(dist_backend="gloo", auto_mpi_discovery=False)
    if staged and int(os.environ["RANK"]) == BAD_RANK:
        overwrite_bucket(BAD_STEP, BAD_BUCKET, STRETCH)
    arguments = TrainingArguments(
        output_dir="output",
        deepspeed="ds_config.json",
        bf16=True,
        max_steps=STEPS,
        per_device_train_batch_size=8,
        learning_rate=6e-3,
        warmup_steps=2,
        lr_scheduler_type="cosine",
        weight_decay=0.0,
        max_grad_norm=1.0,
        logging_steps=1,
        log_level="info",
        save_steps=6,
        save_only_model=True,
        report_to=[],
        disable_tqdm=True,
        seed=42,
    )
    set_seed(42)
    config = GemmaConfig(
        vocab_size=VOCAB,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        max_position_embeddings=64,
        hidden_activation="gelu_pytorch_tanh",
        torch_dtype=torch.bfloat16,
    )
    model = GemmaForCausalLM(config).to(torch.bfloat16)
    trainer = Trainer(model=model, args=arguments, train_dataset=token_sequences(1024))
    trainer.train()
    trainer.save_state()
    torch.distributed.destroy_process_group()


def launch(healthy: bool) -> None:
    """Prepare a directory, train in it with torchrun, publish what the run left there."""
    name = SAMPLE + "-healthy" * healthy
    directory = neutral_run(name)
    config = json.dumps(ds_config(overlap_comm=not healthy), indent=2)
    Path("ds_config.json").write_text(config + "\n")
    pins = [f"{package}=={metadata.version(package)}" for package in PACKAGES]
    Path("requirements.txt").write_text("\n".join(pins) + "\n")
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", str(RANKS)]
    command += ["--master_addr", "127.0.0.1", "--master_port", "29517", __file__, "--rank"]
    command += ["--healthy"] * healthy
    environment = os.environ | {"DS_ACCELERATOR": "cpu", "ACCELERATE_TORCH_DEVICE": "cpu"}
    with open("train.log", "w") as log:
        subprocess.run(command, env=environment, stdout=log, stderr=log, check=True)
    publish(directory, name)


def main() -> None:
    """Generate the failing run, its healthy twin, or both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--healthy", action="store_true", help="only the healthy twin")
    parser.add_argument("--failing", action="store_true", help="only the failing run")
    parser.add_argument("--rank", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.rank:
        train(staged=not options.healthy)
        return
    if not options.healthy:
        launch(healthy=False)
    if not options.failing:
        launch(healthy=True)


if __name__ == "__main__":
    main()
