"""Training loops: one each of plain torch, accelerate and Lightning, over any course."""

from __future__ import annotations

import json
from contextlib import nullcontext
from typing import Any

import torch
from torch import nn

from harness.course import Course, ModuleNumbers, cast
from harness.session import Session


def write_settings(session: Session, course: Course) -> None:
    """``config.json``, where the course has settings."""
    if course.settings:
        path = session.directory / "config.json"
        path.write_text(json.dumps(course.settings, indent=2) + "\n", encoding="utf-8")


def torch_loop(session: Session, course: Course, first: int = 1, watch: bool = True) -> None:
    """A loop as people write it; with ``fp16`` a gradient scaler that says when it skips."""
    model, log = course.model, session.log
    if course.precision == "half":
        model.half()
    if watch:
        session.watch(model)
        write_settings(session, course)
    optimizer = course.make_optimizer()
    scaler = torch.amp.GradScaler(
        "cpu",
        65536.0,
        growth_interval=course.probe_every,
        enabled=course.precision == "fp16",
    )
    kinds = {"fp16": torch.float16, "bf16": torch.bfloat16}
    numbers, recorder = ModuleNumbers(course), session.recorder
    kept = optimizer if course.with_optimizer else None
    if course.save_every and first == 1:
        session.save(0, model, kept)
    for step in range(first, first + course.steps):
        recorder.step = step
        for group in optimizer.param_groups:
            group["lr"] = course.rate_at(step)
        if step in course.say:
            log.say(course.say[step])
        optimizer.zero_grad()
        batch = course.batch(step)
        if course.precision == "half":
            batch = cast(batch, torch.float16)
        used = kinds.get(course.precision)
        with torch.autocast("cpu", used) if used else nullcontext():
            loss, terms = course.measure(model, batch, step)
        recorder.see_loss(loss)
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        course.after_backward(step)
        norm = total_norm(model)
        skipped = bool(course.skip_bad and not torch.isfinite(norm))
        scale = scaler.get_scale()
        if scale <= 1 or not torch.isfinite(loss):
            # What overflows only because it was scaled is no failure.
            recorder.see_gradients()
        row = {"loss": loss.item(), "grad_norm": norm.item(), "lr": course.rate_at(step)}
        row |= {tag: float(value) for tag, value in terms.items()} | numbers.row()
        if course.clip is not None:
            nn.utils.clip_grad_norm_(model.parameters(), course.clip)
        if not skipped:
            scaler.step(optimizer)
            recorder.see_update(optimizer)
        scaler.update()
        if course.precision == "fp16":
            row["loss_scale"] = scaler.get_scale()
            if scaler.get_scale() < scale:
                log.say(f"step {step}: non-finite gradients, skipped; scale {scaler.get_scale()}")
        if step % course.every == 0:
            log.row(step, row)
        bad = not (torch.isfinite(loss) and torch.isfinite(norm))
        if (course.save_every and step % course.save_every == 0) or (bad and course.stop_at_bad):
            session.save(step, model, kept)
        if bad and course.stop_at_bad:
            log.say(f"Loss is {loss.item()}, gradient norm {norm.item()}, stopping training")
            return


def total_norm(model: nn.Module) -> torch.Tensor:
    """Of all gradients."""
    gradients = [p.grad.double() for p in model.parameters() if p.grad is not None]
    return torch.sqrt(torch.stack([g.square().sum() for g in gradients]).sum())


def accelerate_loop(
    session: Session, course: Course, first: int = 1, restore: Any = None, watch: bool = True
) -> None:
    """Accelerator with prepared model and optimizer, and its ``save_state`` folders."""
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)
    precision = {"fp32": "no", "bf16": "bf16"}[course.precision]
    accelerator = Accelerator(cpu=True, mixed_precision=precision)
    if watch:
        session.watch(course.model)
        write_settings(session, course)
        session.log.say(f"{accelerator.state!r}".strip())
    numbers, recorder = ModuleNumbers(course), session.recorder
    model, optimizer = accelerator.prepare(course.model, course.make_optimizer())
    if restore is not None:
        restore(accelerator)
    for step in range(first, first + course.steps):
        recorder.step = step
        for group in optimizer.param_groups:
            group["lr"] = course.rate_at(step)
        if step in course.say:
            session.log.say(course.say[step])
        loss, terms = course.measure(model, course.batch(step), step)
        recorder.see_loss(loss)
        accelerator.backward(loss)
        course.after_backward(step)
        recorder.see_gradients()
        row = {"loss": loss.item(), "grad_norm": total_norm(model).item()}
        row |= {"lr": course.rate_at(step)} | {tag: float(v) for tag, v in terms.items()}
        row |= numbers.row()
        if course.clip is not None:
            accelerator.clip_grad_norm_(model.parameters(), course.clip)
        if not (course.skip_bad and not torch.isfinite(torch.tensor(row["grad_norm"]))):
            optimizer.step()
            recorder.see_update(optimizer.optimizer)
        optimizer.zero_grad()
        if step % course.every == 0:
            session.log.row(step, row)
        if course.save_every and step % course.save_every == 0:
            accelerator.save_state(str(session.directory / f"step_{step}"))
            for path in session.directory.rglob("random_states_*.pkl"):
                path.unlink()
    accelerator.free_memory()
