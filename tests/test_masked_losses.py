"""Losses that a Trainer printed as 0.0 from the first step to the last."""

from __future__ import annotations

from dataclasses import replace

import pytest
from builders import NAN, case_of, event, judge, make_run, named_cause, series

from nanautopsy.model import Fact, Run, Source

ZEROS = series("loss", [0.0] * 12), series("grad_norm", [0.0] * 12)


def by_trainer(run: Run) -> Run:
    return replace(run, facts={**run.facts, "trainer": Fact("transformers", Source("log"))})


def test_nothing_but_zeros_of_a_trainer() -> None:
    said = event("labels-mismatch", "tokenization mismatch: 102 vs. 104. (ignored)")
    case = case_of(by_trainer(make_run(*ZEROS, said)))
    assert case.verdict == "non-finite"
    assert case.onset is not None
    assert (case.onset.step, case.onset.masked) == (1, True)


@pytest.mark.parametrize("more", [(), (series("reward", [0.0] * 12),)])
def test_zeros_that_are_what_they_are(more: tuple[object, ...]) -> None:
    """In a loop without a filter, and where equal rewards leave no advantage."""
    run = make_run(*ZEROS, *more)
    assert judge(by_trainer(run) if more else run).verdict == "healthy"


def test_the_mean_of_a_run_is_not_its_first_step() -> None:
    """As the Trainer prints it at the end of a log that names no step."""
    rows = [replace(series("loss", [2.0, NAN, NAN, NAN]), axis="record")]
    mean = replace(series("train_loss", [NAN], [0]), axis="record")
    onset = judge(make_run(*rows, mean)).onset
    assert onset is not None
    assert onset.step == 2
    assert named_cause(mean) is None
