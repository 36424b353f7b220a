"""Console rows without steps get those of the saved state."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from builders import NAN, event, series

from nanautopsy.console_steps import event_with_step, rows_of_consoles, with_steps
from nanautopsy.model import Series, Source

STATE_LOSS = [5.2783, 5.2677, 5.1854, 5.0193, 0.0]
CONSOLE_LOSS = [*STATE_LOSS, 0.0, 0.0]


def _state(tag: str, values: list[float], every: int = 10) -> Series:
    steps = [every * (i + 1) for i in range(len(values))]
    return replace(series(tag, values, steps), source=Source("out/trainer_state.json", tag=tag))


def _console(tag: str, values: list[float], first_line: int = 100) -> Series:
    lines = np.arange(first_line, first_line + len(values))
    plain = series(tag, values, list(range(len(values))))
    return replace(plain, source=Source("train.log", tag=tag), lines=lines, axis="record")


def with_state_steps(all_series: list[Series], notes: list[str]) -> list[Series]:
    consoles = rows_of_consoles(all_series, notes)
    return [with_steps(one, consoles.get(one.source.path)) for one in all_series]


def test_rows_take_the_steps_of_the_state_and_go_on_at_its_interval() -> None:
    notes: list[str] = []
    norm = _console("grad_norm", [1.0, 1.1, 1.2, 1.3, NAN, NAN, NAN])
    moved = with_state_steps(
        [_state("loss", STATE_LOSS), _console("loss", CONSOLE_LOSS), norm], notes
    )
    assert moved[1].steps.tolist() == [10, 20, 30, 40, 50, 60, 70]
    assert moved[2].steps.tolist() == moved[1].steps.tolist()
    assert moved[1].axis == "step"
    assert len(notes) == 1


def test_other_values_are_another_run() -> None:
    other = _console("loss", [4.0, 3.0, 2.0, 1.0])
    moved = with_state_steps([_state("loss", STATE_LOSS), other], [])
    assert moved[1].steps.tolist() == [0, 1, 2, 3]
    assert moved[1].axis == "record"


def test_a_constant_sequence_proves_nothing() -> None:
    moved = with_state_steps([_state("loss", [0.0] * 5), _console("loss", [0.0] * 5)], [])
    assert moved[1].axis == "record"


def test_an_evaluation_belongs_to_the_row_before_it() -> None:
    evaluation = replace(_console("eval_loss", [4.9]), lines=np.array([103]))
    moved = with_state_steps(
        [_state("loss", STATE_LOSS), _console("loss", CONSOLE_LOSS), evaluation], []
    )
    assert moved[2].steps.tolist() == [40]


def test_an_event_stands_at_the_row_before_it() -> None:
    rows = rows_of_consoles([_state("loss", STATE_LOSS), _console("loss", CONSOLE_LOSS)], [])
    at_102 = replace(event("checkpoint-saved"), source=Source("train.log", line=102))
    assert event_with_step(at_102, rows["train.log"]).step == 30
    assert event_with_step(replace(at_102, step=7, step_exact=True), rows["train.log"]).step == 7


def test_a_point_of_another_line_keeps_its_step() -> None:
    rate = replace(
        _console("learning_rate", [1.0, 2.0]), lines=np.array([50, 101]), axis="step",
        steps=np.array([0, 1]),
    )  # fmt: skip
    rows = rows_of_consoles([_state("loss", STATE_LOSS), _console("loss", CONSOLE_LOSS)], [])
    assert with_steps(rate, rows["train.log"]).steps.tolist() == [0, 20]
