"""A course in Lightning: CSVLogger's or TensorBoardLogger's numbers, .ckpt files.

A session whose style is ``dict`` logs to TensorBoard, any other to CSV; the session's own log has
only what the program says.
"""

from __future__ import annotations

import logging
import shutil
import warnings
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from harness.course import Course, ModuleNumbers, cast
from harness.loops import total_norm, write_settings
from harness.session import Session
from harness.tasks import Batch

HERE = Path("/tmp/run-of-lightning")
"""Checkpoints hold the absolute path of their directory, so it is a neutral one."""


class Batches(torch.utils.data.Dataset[tuple[Any, ...]]):
    """A course's batches, with their numbers."""

    def __init__(self, course: Course, first: int) -> None:
        self.course, self.first = course, first

    def __len__(self) -> int:
        return self.course.steps

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        return self.first + index, *self.course.batch(self.first + index)


class Learner(L.LightningModule):
    """Trains a course and shows the recorder what it does."""

    def __init__(self, session: Session, course: Course, first: int) -> None:
        super().__init__()
        self.net = course.model
        self.course, self.recorder, self.log_file = course, session.recorder, session.log
        self.numbers = ModuleNumbers(course)
        self.number = self.first = first
        if course.settings:
            self.save_hyperparameters(course.settings)

    def training_step(self, batch: Any, index: int) -> torch.Tensor:
        self.number = int(batch[0])
        self.recorder.step = self.global_step  # as Lightning counts, from 0
        if self.number in self.course.say:
            self.log_file.say(self.course.say[self.number])
        for group in self.optimizers().param_groups:  # type: ignore[union-attr]
            group["lr"] = self.course.rate_at(self.number)
        data: Batch = tuple(batch[1:])
        if self.course.precision == "half":
            data = cast(data, torch.float16)
        loss, terms = self.course.measure(self.net, data, self.number)
        self.recorder.see_loss(loss)
        self.log("train_loss", loss)
        self.log_dict({f"train_{name}": term.detach() for name, term in terms.items()})
        return loss

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        self.course.after_backward(self.number)
        self.recorder.see_gradients()
        self.log("grad_2.0_norm_total", total_norm(self.net).float())
        self.log("lr", self.course.rate_at(self.number))
        self.log_dict({tag: torch.tensor(value) for tag, value in self.numbers.row().items()})

    def on_train_batch_end(self, *args: Any) -> None:
        self.recorder.see_update(self.optimizers().optimizer)  # type: ignore[union-attr]

    def configure_optimizers(self) -> Any:
        return self.course.make_optimizer()


def lightning_loop(session: Session, course: Course, first: int = 1, watch: bool = True) -> None:
    """``Trainer.fit`` in a directory that becomes the run's; a resume logs to ``version_1``."""
    version = int(first > 1)
    warnings.filterwarnings("ignore")
    for name in ("lightning", "lightning.pytorch"):
        logging.getLogger(name).setLevel(logging.ERROR)
    if course.precision == "half":
        course.model.half()
    if watch:
        session.watch(course.model)
        write_settings(session, course)
    shutil.rmtree(HERE, ignore_errors=True)
    board = session.style.startswith("dict")
    logger: Any = (
        TensorBoardLogger(str(HERE), name="tb", version=version)
        if board
        else CSVLogger(str(HERE), version=version)
    )
    saved = HERE / "checkpoints"
    callbacks: list[Any] = []
    if course.save_every:
        callbacks.append(
            ModelCheckpoint(saved, every_n_train_steps=course.save_every, save_top_k=-1)
        )
    trainer = L.Trainer(
        accelerator="cpu",
        max_steps=course.steps,
        precision={"fp32": "32-true", "bf16": "bf16-mixed", "half": "16-true"}[course.precision],
        gradient_clip_val=course.clip,
        logger=logger,
        callbacks=callbacks,
        enable_checkpointing=bool(callbacks),
        log_every_n_steps=course.every,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    learner = Learner(session, course, first)
    trainer.fit(learner, torch.utils.data.DataLoader(Batches(course, first), batch_size=None))
    shutil.copytree(HERE, session.directory, dirs_exist_ok=True)
    session.log.say(f"`Trainer.fit` stopped: `max_steps={course.steps}` reached.")
