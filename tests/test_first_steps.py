"""What belongs to the first steps, and where an exception that states no step ended a run."""

from __future__ import annotations

import pytest
from builders import INF, NAN, checkpoint, event, judge, make_run, named_cause, series, tensor

from nanautopsy.circumstances import at_first_steps

ZERO = checkpoint(0, tensor("connector.weight", zero=16), tensor("head.weight"))
CALM = [2.0, 1.9, 2.1, 1.8, 1.9, 1.7, 1.8, 1.6, 1.7, 1.6]
RAISED = "RuntimeError: Function 'SqrtBackward0' returned nan values in its 0th output."


@pytest.mark.parametrize(("row", "early"), [(5, True), (10, True), (50, False)])
def test_the_first_row_of_a_log_with_a_row_every_few_steps(row: int, early: bool) -> None:
    run = make_run(series("loss", [NAN] * 4, steps=[row * k for k in range(1, 5)]))
    onset = judge(run).onset
    assert onset is not None
    assert at_first_steps(run, onset) is early


def test_the_second_row_is_not() -> None:
    run = make_run(series("loss", [2.0, NAN, NAN], steps=[5, 10, 15]))
    onset = judge(run).onset
    assert onset is not None
    assert not at_first_steps(run, onset)


def test_zeros_whose_step_was_not_logged() -> None:
    """Loss and gradients turned between two rows: gradients may have been first."""
    steps = [5, 10, 15]
    rows = series("loss", [NAN] * 3, steps), series("grad_norm", [NAN] * 3, steps)
    assert named_cause(ZERO, *rows) == "zero-init"
    inf = series("loss", [INF] * 3), series("grad_norm", [NAN] * 3)
    assert named_cause(ZERO, *inf) is None


def test_zeros_that_are_divided_by_their_own_size() -> None:
    """0/0 in the forward pass: the loss is NaN at once."""
    every = series("loss", [NAN] * 3), series("grad_norm", [NAN] * 3)
    assert named_cause(ZERO, *every) == "zero-init"
    sound = checkpoint(0, tensor("connector.weight"), tensor("head.weight"))
    assert named_cause(sound, *every) is None


def test_an_exception_without_a_step_ends_the_step_after_the_last_row() -> None:
    said = event("backward-nonfinite", RAISED, None, function="SqrtBackward0")
    onset = judge(make_run(series("loss", CALM), said)).onset
    assert onset is not None
    assert (onset.last_finite, onset.step, onset.quantity) == (10, 11, "gradients")


def test_rows_that_are_not_finite_say_more() -> None:
    said = event("backward-nonfinite", RAISED, None, function="SqrtBackward0")
    onset = judge(make_run(series("loss", [*CALM, NAN]), said)).onset
    assert onset is not None
    assert (onset.last_finite, onset.step, onset.quantity) == (10, 11, "loss")
