"""What is measured, and against what it counts, in words."""

from __future__ import annotations

from collections.abc import Mapping

from nanautopsy.model import Axis
from nanautopsy.wording import Phrase, phrase

_QUANTITIES: Mapping[str, Phrase] = {
    "loss": phrase("the loss"),
    "eval_loss": phrase("the evaluation loss"),
    "grad_norm": phrase("the gradient norm"),
    "gradients": phrase("the gradients"),
    "parameters": phrase("the parameters"),
    "activations": phrase("the activations"),
    "attention logits": phrase("the attention logits"),
    "logits": phrase("the logits"),
    "probabilities": phrase("the sampling probabilities"),
    "optimizer moments": phrase("the optimizer's moments"),
    "gradient": phrase("a gradient"),
    "tensor": phrase("a tensor"),
    "value": phrase("a printed value"),
    "operation": phrase("the result of an operation"),
    "warning": phrase("the result of an operation"),
    "attention": phrase("the attention"),
    "input": phrase("the input"),
    "reported": phrase("a value"),
}
"""As onset and the text log call them; the tag of a metric stands for itself."""


def quantity_words(quantity: str) -> str:
    """An onset's quantity as it stands within a sentence."""
    return _QUANTITIES.get(quantity) or phrase("{tag}", tag=quantity)


def position(axis: Axis, number: int | str) -> Phrase:
    """A place on an axis: *step 12*, *epoch 3*; ``number`` may be several in a row."""
    return phrase(_POSITION[axis], number=number)


def every(axis: Axis, number: int) -> Phrase:
    """A distance that comes back, as the end of a clause."""
    return phrase(_EVERY[axis], number=number)


_POSITION: Mapping[Axis, Phrase] = {
    "step": phrase("step {number}"),
    "epoch": phrase("epoch {number}"),
    "samples": phrase("samples {number}"),
    "record": phrase("record {number}"),
}
_EVERY: Mapping[Axis, Phrase] = {
    "step": phrase(", every {number} steps"),
    "epoch": phrase(", every {number} epochs"),
    "samples": phrase(", every {number} samples"),
    "record": phrase(", every {number} records"),
}
