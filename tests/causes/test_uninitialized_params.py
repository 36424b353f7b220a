"""Memory that nothing filled: new rows of an embedding, read when their token first appears."""

from __future__ import annotations

from builders import NAN, checkpoint, named_cause, series, tensor

from nanautopsy.model import BadRows, TensorHealth


def embedding(*rows: int) -> TensorHealth:
    bad = BadRows(len(rows), ((rows[0], rows[-1] + 1),), True)
    return tensor(
        "tok.weight", (108, 4), nan=4 * len(rows), bad_rows=bad, first_nonfinite=4 * rows[0]
    )


def test_new_rows_that_are_read_late() -> None:
    loss = series("loss", [2.3] * 11 + [NAN] * 20)
    parts = checkpoint(0, embedding(*range(100, 108)), tensor("head.weight", (4, 4)))
    assert named_cause(loss, parts) == "uninitialized-params"


def test_rows_of_a_trained_checkpoint_are_no_such_sign() -> None:
    loss = series("loss", [2.3] * 11 + [NAN] * 20)
    parts = checkpoint(12, embedding(*range(100, 108)), tensor("head.weight", (4, 4)))
    assert named_cause(loss, parts) != "uninitialized-params"
