"""Comparing what was measured with what a format's own library reads back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from reading import of_type

from nanautopsy.model import Checkpoint, Problem, Record, Skipped


def checkpoint_of(records: Iterable[Record]) -> Checkpoint:
    """The only checkpoint among the records."""
    (checkpoint,) = of_type(records, Checkpoint)
    return checkpoint


def check_expected(checkpoint: Checkpoint, expected: dict[str, Any]) -> None:
    """Names, shapes, counts and magnitudes, all of them and no other."""
    assert {tensor.name for tensor in checkpoint.tensors} == set(expected)
    for tensor in checkpoint.tensors:
        wanted = expected[tensor.name]
        assert list(tensor.shape) == wanted["shape"], tensor.name
        for field in ("nan", "pos_inf", "neg_inf", "zero", "max_abs"):
            assert getattr(tensor, field) == wanted[field], (tensor.name, field)
        first = wanted["first_nonfinite"]
        assert tensor.first_nonfinite == (None if first is None else tuple(first)), tensor.name
        if wanted["rms"] is not None:
            assert tensor.rms == pytest.approx(wanted["rms"], rel=1e-7)


def check_damaged(records: list[Record], expected: dict[str, Any]) -> None:
    """Nothing but documented records, and of the original tensors no other value than theirs.

    Every tensor that is listed neither as readable nor as missing must be explained by a problem.
    """
    assert all(isinstance(record, (Checkpoint, Problem, Skipped)) for record in records)
    found = of_type(records, Checkpoint)
    for problem in of_type(records, Problem):
        assert "\n" not in problem.text and problem.source.path
    if not found:
        assert of_type(records, Skipped)
        return
    (checkpoint,) = found
    known = {tensor.name: tensor for tensor in checkpoint.tensors}
    if set(expected) - set(known):
        assert of_type(records, Problem)
    for name in set(known) & set(expected):
        assert known[name].nan == expected[name]["nan"], name
        assert list(known[name].shape) == expected[name]["shape"], name
