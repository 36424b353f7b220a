"""Translation models in the transformers Trainer, whose filter hides a NaN loss or does not."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import T5Config, T5ForConditionalGeneration

from harness.session import Session
from harness.staged import Staged
from harness.stories_trainer import SIZE, fit, language_model


def translator() -> T5ForConditionalGeneration:
    """A T5 of one layer each."""
    return T5ForConditionalGeneration(
        T5Config(
            vocab_size=32,
            d_model=16,
            d_kv=8,
            d_ff=32,
            num_layers=1,
            num_heads=2,
            decoder_start_token_id=0,
        )
    )


def half(session: Session) -> None:
    """float16 throughout, and feed-forward weights that nothing decays: the product passes 65504;
    the Trainer logs the loss as 0."""
    model = translator().half()
    model.config.dtype = torch.float16

    def change(index: int, row: dict[str, Tensor]) -> None:
        if index % SIZE == 0 and not session.healthy:
            with torch.no_grad():
                for name, parameter in model.named_parameters():
                    if name.endswith(("wi.weight", "wo.weight")):
                        parameter.mul_(1.35)

    fit(session, model, 40, change, optim="sgd", learning_rate=1e-3, save_steps=10)


def labels(session: Session) -> None:
    """Whole batches without a label, in a Trainer that is told not to filter its losses."""

    def change(index: int, row: dict[str, Tensor]) -> None:
        row["labels"][:2] = -100
        if index // SIZE in (17, 29) and not session.healthy:
            row["labels"][:] = -100

    fit(
        session,
        translator(),
        40,
        change,
        learning_rate=3e-3,
        logging_nan_inf_filter=False,
    )


def jump(session: Session) -> None:
    """A schedule of the user's own whose second piece is in other units."""
    model = translator()

    def optimizers() -> tuple[Any, Any]:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)

        def factor(step: int) -> float:
            return 1e7 if step >= 22 and not session.healthy else 1.0 - step / 80

        return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, factor)

    fit(
        session,
        model,
        40,
        optimizers=optimizers,
        max_grad_norm=0.0,
        logging_nan_inf_filter=False,
    )


def rate(session: Session) -> None:
    """Plain gradient descent at a constant rate of a hundred thousand, sparsely logged."""
    fit(
        session,
        translator(),
        40,
        optim="sgd",
        learning_rate=0.1 if session.healthy else 1e7,
        lr_scheduler_type="constant",
        max_grad_norm=0.0,
        logging_steps=2,
    )


def flipped(session: Session) -> None:
    """Weights that are loaded with two flipped exponents, in a language model."""
    model = language_model()
    if not session.healthy:
        with torch.no_grad():
            bits = model.transformer.h[1].mlp.c_fc.weight.view(torch.int32)
            bits[2, 7] ^= 1 << 30
            bits[9, 30] ^= 1 << 30
    model.save_pretrained(session.directory / "checkpoint-0")
    session.log.say("loading weights file checkpoint-0/model.safetensors")
    fit(session, model, 20, optim="sgd", learning_rate=1e-2)


def long_way(session: Session) -> None:
    """A one-cycle schedule, sparse rows, evaluation losses, gradients of which some spike."""

    def change(index: int, row: dict[str, Tensor]) -> None:
        if index // SIZE in (21, 37):
            row["labels"] = (row["labels"] * 7 + 3) % 32  # a page in another language

    fit(
        session,
        translator(),
        50,
        change,
        metrics=lambda prediction: {"bleu": 0.0},
        eval_strategy="steps",
        eval_steps=10,
        learning_rate=5e-3,
        lr_scheduler_type="cosine",
        warmup_steps=15,
        logging_steps=1,
        weight_decay=0.1,
    )


def all_ignored_tail(session: Session) -> None:
    """Long prompts: most labels of each row are ignored, never all of a batch."""

    def change(index: int, row: dict[str, Tensor]) -> None:
        row["labels"][: 11 if index % 2 else 6] = -100

    fit(session, language_model(), 40, change, learning_rate=3e-3, max_grad_norm=0.5)


STAGED: dict[str, Staged] = {
    "seq2seq-half": Staged(half, "fp16-overflow", "encoder-decoder", "trainer"),
    "seq2seq-labels": Staged(labels, "empty-targets", "encoder-decoder", "trainer"),
    "seq2seq-jump": Staged(jump, "lr-spike", "encoder-decoder", "trainer"),
    "seq2seq-rate": Staged(rate, "lr-too-high", "encoder-decoder", "trainer"),
    "trainer-flipped": Staged(flipped, "corrupt-checkpoint", "decoder", "trainer"),
    "seq2seq-long": Staged(
        long_way, "gradient-explosion", "encoder-decoder", "trainer", benign="spikes that pass"
    ),
    "trainer-prompts": Staged(
        all_ignored_tail, "empty-targets", "decoder", "trainer", benign="labels mostly ignored"
    ),
}
