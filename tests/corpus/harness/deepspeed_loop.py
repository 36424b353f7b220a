"""A course in a DeepSpeed engine, as one of its ranks."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import deepspeed
import torch

from harness.course import Course, cast
from harness.truth import Recorder

DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}


@dataclass(frozen=True)
class Engine:
    """A course and the engine's settings."""

    course: Callable[[bool, int], Course]
    """Of whether the run is to do well, and of the rank."""
    stage: int = 1
    config: dict[str, Any] = field(default_factory=dict)
    """Laid over the usual ds_config."""
    sentinel: bool = False
    """Whether a non-finite norm is logged as -1."""
    every_rank: bool = False
    """Whether both ranks print their own loss."""
    resume: Callable[[bool], dict[str, bool]] | None = None
    """Arguments of ``load_checkpoint`` at half of the steps."""


def ds_config(engine: Engine, course: Course) -> dict[str, Any]:
    """As a user writes it."""
    config: dict[str, Any] = {
        "train_micro_batch_size_per_gpu": 8,
        "gradient_accumulation_steps": 1,
        "steps_per_print": 10,
        "optimizer": {
            "type": "SGD" if course.optimizer == "sgd" else "Adam",
            "params": {"lr": course.rate_at(1)}
            | (
                {"momentum": course.momentum}
                if course.optimizer == "sgd"
                else {"eps": course.eps, "torch_adam": True}
            ),
        },
        "zero_optimization": {"stage": engine.stage},
        "zero_allow_untested_optimizer": True,
    }
    if course.clip is not None:
        config["gradient_clipping"] = course.clip
    if course.precision == "fp16":
        config["fp16"] = {"enabled": True, "initial_scale_power": 16, "hysteresis": 1}
    if course.precision == "bf16":
        config["bf16"] = {"enabled": True}
    for key, value in engine.config.items():
        config[key] = (config.get(key, {}) | value) if isinstance(value, dict) else value
    return config


def train_rank(engine: Engine, healthy: bool, directory: Path, rank: int) -> dict[str, Any]:
    """Train; gives what the hooks of this rank saw first."""
    deepspeed.init_distributed(dist_backend="gloo")
    course = engine.course(healthy, rank)
    config = ds_config(engine, course)
    if rank == 0:
        (directory / "ds_config.json").write_text(json.dumps(config, indent=2) + "\n")
        pins = f"torch=={torch.__version__}\ndeepspeed=={deepspeed.__version__}\n"
        (directory / "requirements.txt").write_text(pins)
    recorder = Recorder(course.model)
    recorder.see_parameters()
    watch = Watch(course, recorder)
    made, *_ = deepspeed.initialize(
        model=course.model, model_parameters=course.model.parameters(), config=dict(config)
    )
    half = course.steps // 2
    for step in range(1, course.steps + 1):
        recorder.step = step
        if engine.resume is not None and step == half + 1:
            made.save_checkpoint(str(directory), tag=f"global_step{half}")
            torch.distributed.barrier()
            if rank == 0:
                print(f"Loading checkpoint global_step{half}, resuming at step {step}", flush=True)
            course.model = engine.course(True, rank).model
            recorder.model, watch = course.model, Watch(course, recorder)
            made, *_ = deepspeed.initialize(
                model=course.model, model_parameters=course.model.parameters(), config=dict(config)
            )
            made.load_checkpoint(str(directory), tag=f"global_step{half}", **engine.resume(healthy))
        try:
            row = one_step(made, course, step, watch, rank)
        except Exception as error:
            if rank == 0:
                print(f"[rank0]: {type(error).__name__}: {error}", flush=True)
            break
        if engine.sentinel and not math.isfinite(row["grad_norm"]):
            row["grad_norm"] = -1.0
        if engine.every_rank:
            losses = [torch.zeros(1) for _ in range(2)]
            torch.distributed.all_gather(losses, torch.tensor([row["loss"]]))
            row |= {f"loss/rank{i}": float(value) for i, value in enumerate(losses)}
        if rank == 0 and step % course.every == 0:
            print("ROW " + json.dumps({"step": step, **row}), flush=True)
    else:
        made.save_checkpoint(str(directory), tag=f"global_step{made.global_steps}")
    return recorder.first


def one_step(made: Any, course: Course, step: int, watch: Watch, rank: int) -> dict[str, float]:
    """Forward, backward, update; what is logged of it."""
    recorder = watch.recorder
    if step in course.say and rank == 0:
        print(course.say[step], flush=True)
    for group in made.optimizer.param_groups:
        group["lr"] = course.rate_at(step)
    batch = cast(course.batch(step), DTYPES[course.precision])
    loss, terms = course.measure(made, batch, step)
    loss = loss.float()
    scale = scale_of(made)
    recorder.see_loss(loss)
    # What overflows only because it was scaled is no failure.
    watch.open = scale is None or scale <= 1 or not torch.isfinite(loss.detach())
    made.backward(loss)
    made.step()
    recorder.see_parameters()
    norm = made.get_global_grad_norm()
    row = {"loss": float(loss.detach()), "grad_norm": math.nan if norm is None else float(norm)}
    row["lr"] = course.rate_at(step)
    if scale is not None:
        row["loss_scale"] = float(scale_of(made) or 0)
    return row | {tag: float(value) for tag, value in terms.items()}


def scale_of(made: Any) -> float | None:
    """The loss scale, where float16 has one."""
    if not made.fp16_enabled():
        return None
    scaler = getattr(made.optimizer, "loss_scaler", made.optimizer)
    return float(scaler.cur_scale)


class Watch:
    """Shows the recorder the gradients of this rank as they come, nearest to the output first."""

    def __init__(self, course: Course, recorder: Recorder) -> None:
        self.recorder, self.open = recorder, False
        for name, parameter in course.model.named_parameters():
            parameter.register_hook(self._look(name))

    def _look(self, name: str) -> Callable[[torch.Tensor], None]:
        def look(gradient: torch.Tensor) -> None:
            if self.open:
                self.recorder.see("gradient", name, gradient)

        return look
