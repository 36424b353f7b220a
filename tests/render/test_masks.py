"""A mask's -Inf is shown as what it is, and never in red."""

from __future__ import annotations

from builders import tensor

from nanautopsy.model import Checkpoint
from nanautopsy.render._facts import BY_DESIGN, tensor_note, worst_first

MASK = tensor("mask", (8,), neg_inf=3, zero=5, max_abs=0.0)
BROKEN = tensor("w", (8,), nan=1, max_abs=1.0)
SOUND = tensor("v", (8,), max_abs=1.0)


def test_a_mask_is_by_design() -> None:
    assert tensor_note(MASK) == BY_DESIGN
    assert tensor_note(BROKEN) == "non-finite"


def test_a_mask_stands_behind_what_is_broken_and_what_is_sound() -> None:
    ordered = worst_first(Checkpoint("c", "safetensors", 1, (MASK, SOUND, BROKEN)))
    assert [t.name for t in ordered] == ["w", "v", "mask"]
