"""What kind of report a dictionary of the Hugging Face Trainer is, by its keys."""

from __future__ import annotations

from collections.abc import Mapping

from nanautopsy.readers.text.hf_steps import RowKind
from nanautopsy.readers.text.words import words


def is_logged(values: Mapping[str, str]) -> bool:
    """Whether it looks like what a program's own call of ``Trainer.log`` prints: anything, to which
    the Trainer adds its epoch, the last."""
    keys = list(values)
    if len(keys) < 2 or keys[-1] != "epoch":
        return False
    return "." in values["epoch"] or any("loss" in words(key) for key in keys)


def kind_of(values: Mapping[str, str]) -> RowKind:
    """Of a report of training or of an evaluation, or of a program's own between them."""
    if "loss" in values or "learning_rate" in values:
        return "train"
    evaluated = any(key.startswith("eval_") or key.endswith("runtime") for key in values)
    return "aside" if is_logged(values) and not evaluated else "eval"
