"""Files that go on where another ends, and those that only stand beside it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from builders import series

from nanautopsy.continuations import continuations
from nanautopsy.model import Series, Source


def written(path: str, steps: range, start: float | None = None) -> Series:
    one = replace(series("loss", [1.0] * len(steps), steps), source=Source(path, tag="loss"))
    times = None if start is None else start + np.arange(len(steps), dtype=np.float64)
    return replace(one, times=times)


def test_a_numbered_file_that_goes_on() -> None:
    parts = [written("metrics_0.csv", range(0, 50)), written("metrics_1.csv", range(50, 80))]
    (event,) = continuations(parts)
    assert (event.kind, event.step, event.source.path) == ("run-resumed", 49, "metrics_1.csv")


def test_an_event_file_that_repeats_the_steps_since_the_checkpoint() -> None:
    parts = [
        written("tb/events.out.tfevents.1.host", range(0, 50), 0.0),
        written("tb/events.out.tfevents.2.host", range(40, 80), 1000.0),
    ]
    (event,) = continuations(parts)
    assert event.step == 39


@pytest.mark.parametrize(
    ("second", "steps"),
    [
        ("metrics_1.csv", range(0, 50)),  # another trial or rank
        ("metrics_1.csv", range(40, 80)),  # nothing says which was written first
        ("metrics_1.csv", range(500, 550)),  # part of another run
        ("other/metrics_1.csv", range(50, 80)),
        ("second.csv", range(45, 80)),
        ("second.csv", range(55, 80)),
    ],
)
def test_files_that_only_stand_beside_it(second: str, steps: range) -> None:
    assert not continuations([written("metrics_0.csv", range(0, 50)), written(second, steps)])


def test_a_log_of_another_name_that_begins_with_the_next_point() -> None:
    parts = [written("train.log", range(2, 42, 2)), written("resumed.log", range(42, 80, 2))]
    assert [event.step for event in continuations(parts)] == [40]


def test_a_sibling_directory_that_goes_on() -> None:
    parts = [
        written("logs/version_0/metrics.csv", range(0, 50)),
        written("logs/version_1/metrics.csv", range(50, 80)),
    ]
    assert [event.step for event in continuations(parts)] == [49]


def test_a_log_that_repeats_its_last_steps() -> None:
    steps = [*range(0, 50), *range(40, 80)]
    one = replace(series("loss", [1.0] * 90, steps), source=Source("log.jsonl", tag="loss"))
    (event,) = continuations([one])
    assert event.step == 39
    epochs = replace(one, steps=np.array([*range(50), *range(40)]))
    assert not continuations([epochs])


def test_ranks_that_write_at_the_same_time() -> None:
    parts = [
        written("tb/events.out.tfevents.1.a", range(0, 50), 0.0),
        written("tb/events.out.tfevents.1.b", range(1, 51), 0.5),
    ]
    assert not continuations(parts)
