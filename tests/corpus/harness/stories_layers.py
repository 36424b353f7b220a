"""Runs whose artifacts show where it began: dumps, activations, gradients, weights of the onset."""

from __future__ import annotations

import contextlib
import logging
import math
import traceback
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from harness import faults, tasks
from harness.course import Course, Terms
from harness.lightning_loop import lightning_loop
from harness.loops import accelerate_loop, torch_loop
from harness.session import Session
from harness.staged import Staged
from harness.stories import _settings
from harness.stories_courses import XID_48, XID_95
from harness.tasks import Batch, Task


def broken_module(
    task: Task, healthy: bool, name: str = "", at: int = 44, line: str = XID_48, **more: Any
) -> Course:
    """Staged: from a step on the device spoils an element of what one module gives."""
    course = faults.plain(task, shows="activations", save_every=30, steps=60, **more)
    seen = {"step": 0}

    def loss(model: nn.Module, batch: Batch, step: int) -> tuple[Tensor, Terms]:
        seen["step"] = step
        return task.loss(model, batch), {}

    def spoil(module: nn.Module, args: Any, output: Tensor) -> Tensor | None:
        if seen["step"] < at or healthy:
            return None
        changed = output.clone()
        changed[0, ..., -1] = math.nan
        return changed

    course.model.get_submodule(name).register_forward_hook(spoil)
    return replace(course, loss=loss, say={} if healthy else {at: line})


def gradients_of_a_branch(task: Task, healthy: bool, body: str = "", at: int = 36) -> Course:
    """A pull between features of two views of a sample, whose root has no derivative where they
    agree: gradients of the body turn NaN, those of the head do not."""
    course = faults.plain(task, shows="gradients", steps=50, save_every=0, stop_at_bad=True)

    def loss(model: nn.Module, batch: Batch, step: int) -> tuple[Tensor, Terms]:
        main = task.loss(model, batch)
        features = model.get_submodule(body)
        other = batch[0] if step == at else batch[0].roll(1, 0)
        near, far = (value_of(features(x)) for x in (batch[0], other))
        gap = (near - far).square().flatten(1).sum(-1)
        pull = torch.sqrt(gap + (1e-6 if healthy else 0.0)).mean()
        return main + 0.01 * pull, {"loss_pull": pull.detach()}

    return replace(course, loss=loss)


def value_of(output: Any) -> Tensor:
    """Of a module that may give more than a tensor."""
    value: Tensor = output[0] if isinstance(output, tuple) else output
    return value


def traced(fault: Callable[..., Course], task: Task, **more: Any) -> Callable[[Session], None]:
    """Train; then, as people do, once more with anomaly mode from where it ended."""

    def train(session: Session) -> None:
        course = fault(task, session.healthy, **more)
        torch_loop(session, course)
        if session.healthy:
            return
        step = session.recorder.first["gradient"]["step"]
        again = fault(task, False, **more)
        session.log.say(f"Running step {step} again under detect_anomaly")
        try:
            with torch.autograd.set_detect_anomaly(True):
                again.measure(again.model, again.batch(step), step)[0].backward()
        except RuntimeError:
            for text in traceback.format_exc(limit=0).splitlines():
                session.log.say(text)

    return train


def first_updates(task: Task, healthy: bool) -> Course:
    """Adam in float16 with an epsilon that it does not hold, saved after each of few steps."""
    return replace(faults.tiny_epsilon(task, healthy), steps=3, save_every=1)


def empty_rows(task: Task, healthy: bool, table: str = "embed", rows: int = 2) -> Course:
    """New rows of an embedding that nothing filled, as ``torch.empty`` may leave them."""
    course = faults.plain(task, steps=20, save_every=20)
    weight = course.model.get_submodule(table).weight
    assert isinstance(weight, Tensor)
    if not healthy:
        with torch.no_grad():
            weight[-rows:] = torch.full_like(weight[-rows:], -1, dtype=torch.int32).view(
                torch.float32
            )
    course.say = {1: f"The new vocabulary has {rows} more tokens; embeddings were resized"}
    return course


def empty_layer(task: Task, healthy: bool, name: str = "") -> Course:
    """A layer that the checkpoint did not have, left as memory was: absurd values, not NaN."""
    course = faults.plain(task, steps=20, save_every=20)
    weight = course.model.get_submodule(name).weight
    assert isinstance(weight, Tensor)
    if not healthy:
        with torch.no_grad():
            bits = torch.full_like(weight, 0x7E7E7E7E, dtype=torch.int32)
            weight.copy_(bits.view(torch.float32))
    course.say = {1: f"{name}.weight: not in the checkpoint, newly initialized"}
    return course


def dumped(make: Callable[[bool], tuple[Any, Callable[[int], dict[str, Tensor]]]]) -> Any:
    """float16 with transformers' DebugUnderflowOverflow, whose dump goes to the log."""

    def train(session: Session) -> None:
        from transformers.debug_utils import DebugUnderflowOverflow

        logging.getLogger("transformers").setLevel(logging.ERROR)
        model, batch = make(session.healthy)
        _settings(session, fp16=True, torch_dtype="float16", learning_rate=1e-3)
        session.watch(model)
        recorder = session.recorder
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
        with contextlib.redirect_stdout(session.log.file):  # type: ignore[attr-defined]
            DebugUnderflowOverflow(model, max_frames_to_save=12)
            for step in range(1, 31):
                recorder.step = step
                if not session.healthy:
                    with torch.no_grad():
                        for name, parameter in model.named_parameters():
                            if name.endswith(("wo.weight", "c_proj.weight")):
                                parameter.mul_(2.0)  # what nothing decays
                optimizer.zero_grad()
                try:
                    loss = model(**batch(step)).loss
                except ValueError as error:
                    print(f"ValueError: {error}")
                    return
                recorder.see_loss(loss)
                loss.backward()
                recorder.see_gradients()
                optimizer.step()
                session.log.row(step, {"loss": loss.item(), "lr": 1e-3})

    return train


def _rows(step: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(step)
    tokens = (torch.randint(1, 30, (4, 1), generator=generator) + torch.arange(10)) % 30 + 1
    return {"input_ids": tokens, "labels": tokens.clone()}


def t5(healthy: bool) -> tuple[Any, Callable[[int], dict[str, Tensor]]]:
    """A translation model of one layer each, in float16."""
    from transformers import T5Config, T5ForConditionalGeneration

    config = T5Config(
        vocab_size=32,
        d_model=16,
        d_kv=8,
        d_ff=32,
        num_layers=2,
        num_heads=2,
        decoder_start_token_id=0,
    )
    return T5ForConditionalGeneration(config).half(), _rows


def gpt2(healthy: bool) -> tuple[Any, Callable[[int], dict[str, Tensor]]]:
    """A language model of two layers, in float16."""
    from harness.stories_trainer import language_model

    return language_model().half(), _rows


def _run(loop: Callable[..., None], fault: faults.Fault, task: Task, **more: Any) -> Any:
    return lambda session: loop(session, fault(task, session.healthy, **more))


STAGED: dict[str, Staged] = {
    "module-mlp": Staged(
        _run(torch_loop, broken_module, tasks.MLP, name="body.2"),
        "hardware-fault",
        "mlp",
        sees_layers=True,
    ),
    "module-experts": Staged(
        _run(torch_loop, broken_module, tasks.EXPERTS, name="experts.2", line=XID_95),
        "hardware-fault",
        "moe",
        sees_layers=True,
    ),
    "module-cnn": Staged(
        _run(lightning_loop, broken_module, tasks.CNN, name="fc"),
        "hardware-fault",
        "cnn",
        "lightning",
        sees_layers=True,
    ),
    "module-lstm": Staged(
        _run(accelerate_loop, broken_module, tasks.LSTM, name="readout", line=XID_95),
        "hardware-fault",
        "lstm",
        "accelerate",
        sees_layers=True,
    ),
    "module-denoiser": Staged(
        _run(torch_loop, broken_module, tasks.DENOISER, name="mid"),
        "hardware-fault",
        "diffusion",
        sees_layers=True,
    ),
    "branch-mlp": Staged(
        traced(gradients_of_a_branch, tasks.MLP, body="body"),
        "singular-gradient",
        "mlp",
        sees_layers=True,
    ),
    "branch-cnn": Staged(
        traced(gradients_of_a_branch, tasks.CNN, body="stem"),
        "singular-gradient",
        "cnn",
        sees_layers=True,
    ),
    "branch-lstm": Staged(
        traced(gradients_of_a_branch, tasks.LSTM, body="lstm"),
        "singular-gradient",
        "lstm",
        sees_layers=True,
    ),
    "updates-mlp": Staged(_run(torch_loop, first_updates, tasks.MLP), "optimizer-epsilon", "mlp"),
    "updates-captions": Staged(
        _run(torch_loop, first_updates, tasks.CAPTIONS), "optimizer-epsilon", "vision-language"
    ),
    "updates-lightning": Staged(
        _run(lightning_loop, first_updates, tasks.CNN), "optimizer-epsilon", "cnn", "lightning"
    ),
    "rows-decoder": Staged(
        _run(accelerate_loop, empty_rows, tasks.DECODER),
        "uninitialized-params",
        "decoder",
        "accelerate",
        hidden="no weights of the start are kept",
    ),
    "rows-translator": Staged(
        _run(torch_loop, empty_rows, tasks.TRANSLATOR, table="shared"),
        "uninitialized-params",
        "encoder-decoder",
    ),
    "layer-captions": Staged(
        _run(torch_loop, empty_layer, tasks.CAPTIONS, name="multi_modal_projector"),
        "uninitialized-params",
        "vision-language",
    ),
    "layer-lstm": Staged(
        _run(torch_loop, empty_layer, tasks.LSTM, name="readout"), "uninitialized-params", "lstm"
    ),
    "dump-t5": Staged(
        dumped(t5), "fp16-overflow", "encoder-decoder", "transformers", sees_layers=True
    ),
    "dump-gpt2": Staged(dumped(gpt2), "fp16-overflow", "decoder", "transformers", sees_layers=True),
}
