"""Causes in the transformers Trainer: its state file, its checkpoints, its filter of NaN losses."""

from __future__ import annotations

import contextlib
import logging
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    T5Config,
    T5ForConditionalGeneration,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from harness.session import Session
from harness.staged import Staged

VOCABULARY = 32
LENGTH = 12
SIZE = 8


class Rows(torch.utils.data.Dataset[dict[str, Tensor]]):
    """Counting sequences; ``change`` may spoil the row of an index."""

    def __init__(self, count: int, change: Callable[[int, dict[str, Tensor]], None]) -> None:
        self.count, self.change = count, change

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(index)
        start = torch.randint(0, VOCABULARY, (1,), generator=generator)
        tokens = (start + torch.arange(LENGTH)) % VOCABULARY
        row = {"input_ids": tokens, "labels": tokens.clone()}
        self.change(index, row)
        return row


class Watch(TrainerCallback):
    """Shows the recorder what the Trainer does."""

    def __init__(self, session: Session) -> None:
        self.recorder = session.recorder

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.recorder.step = state.global_step + 1

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.recorder.see_gradients()

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.recorder.see_update(kwargs["optimizer"].optimizer)


def language_model() -> GPT2LMHeadModel:
    """A GPT-2 of eight thousand parameters."""
    return GPT2LMHeadModel(
        GPT2Config(vocab_size=VOCABULARY, n_positions=16, n_embd=16, n_layer=2, n_head=2)
    )


def fit(
    session: Session,
    model: Any,
    steps: int,
    change: Callable[[int, dict[str, Tensor]], None] = lambda index, row: None,
    optimizers: Callable[[], tuple[Any, Any]] = lambda: (None, None),
    metrics: Callable[[Any], dict[str, float]] | None = None,
    **settings: Any,
) -> None:
    """Train in the run's directory, print to its log, keep what the Trainer saves."""
    session.watch(model)
    model.register_forward_hook(lambda m, a, out: session.recorder.see_loss(out.loss))
    board = session.style == "pairs"
    here = Path.cwd()
    os.chdir(session.directory)
    os.environ["TENSORBOARD_LOGGING_DIR"] = "tb"
    try:
        arguments = TrainingArguments(
            output_dir=".",
            max_steps=steps,
            per_device_train_batch_size=SIZE,
            logging_steps=settings.pop("logging_steps", 1),
            save_steps=settings.pop("save_steps", steps // 2),
            report_to=["tensorboard"] if board else [],
            disable_tqdm=True,
            use_cpu=True,
            seed=11,
            **settings,
        )
        trainer = Trainer(
            model=model,
            args=arguments,
            train_dataset=Rows(SIZE * steps, change),
            eval_dataset=Rows(SIZE, change) if metrics else None,
            compute_metrics=metrics,
            optimizers=optimizers(),
            callbacks=[Watch(session)],
        )
        trainer._get_train_sampler = lambda dataset=None: None  # rows in their order
        logging.getLogger("transformers").setLevel(logging.ERROR)
        with contextlib.redirect_stdout(session.log.file):  # type: ignore[attr-defined]
            trainer.train()
        trainer.save_state()
    finally:
        os.chdir(here)
        for name in ("scheduler.pt", "rng_state.pth"):
            for path in session.directory.rglob(name):
                path.unlink()


def rate(session: Session) -> None:
    """Plain gradient descent at a rate of ten thousand, constant and without warmup."""
    fit(
        session,
        language_model(),
        40,
        optim="sgd",
        learning_rate=0.1 if session.healthy else 1e6,
        lr_scheduler_type="constant",
        max_grad_norm=0.0,
    )


def labels(session: Session) -> None:
    """Whole batches without a label: the mean over no tokens. The Trainer hides the NaN."""

    def change(index: int, row: dict[str, Tensor]) -> None:
        row["labels"][:3] = -100
        if index // SIZE in (12, 22, 31) and not session.healthy:
            row["labels"][:] = -100

    fit(session, language_model(), 40, change, learning_rate=3e-3)


def epsilon(session: Session) -> None:
    """A model loaded and updated in float16 throughout, with Adam's usual epsilon of 1e-8."""
    model = language_model().half()
    model.config.dtype = torch.float16
    eps = 1e-4 if session.healthy else 1e-8
    fit(session, model, 30, optim="adamw_torch", learning_rate=1e-3, adam_epsilon=eps)


def jump(session: Session) -> None:
    """A scheduler of the user's own that loses its decimal point at step 25."""
    model = language_model()

    def optimizers() -> tuple[Any, Any]:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)

        def factor(step: int) -> float:
            return 1e7 if step >= 25 and not session.healthy else 1.0 - step / 80

        return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, factor)

    fit(session, model, 40, optimizers=optimizers, max_grad_norm=0.0)


def undefined_metric(session: Session) -> None:
    """An evaluation whose metric divides by no positives: NaN beside a good loss."""
    fit(
        session,
        language_model(),
        40,
        metrics=lambda prediction: {"f1": math.nan, "accuracy": 0.5},
        eval_strategy="steps",
        eval_steps=10,
        learning_rate=3e-3,
    )


def late_report(session: Session) -> None:
    """Steep warmup of a translation model, clipped gradients far above the limit, sparse rows."""
    model = T5ForConditionalGeneration(
        T5Config(
            vocab_size=VOCABULARY,
            d_model=16,
            d_kv=8,
            d_ff=32,
            num_layers=1,
            num_heads=2,
            decoder_start_token_id=0,
        )
    )
    fit(
        session,
        model,
        60,
        learning_rate=1e-2,
        warmup_steps=4,
        logging_steps=5,
        max_grad_norm=0.1,
    )


STAGED: dict[str, Staged] = {
    "trainer-rate": Staged(rate, "lr-too-high", "decoder", "trainer"),
    "trainer-labels": Staged(labels, "empty-targets", "decoder", "trainer"),
    "trainer-epsilon": Staged(epsilon, "optimizer-epsilon", "decoder", "trainer"),
    "trainer-jump": Staged(jump, "lr-spike", "decoder", "trainer"),
    "trainer-undefined": Staged(
        undefined_metric, "empty-targets", "decoder", "trainer", benign="an undefined metric"
    ),
    "trainer-t5": Staged(
        late_report,
        "gradient-explosion",
        "encoder-decoder",
        "trainer",
        benign="steep warmup and gradients that are always clipped",
    ),
}
