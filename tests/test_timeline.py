"""The run's story: what stands in it, in which order, and how much of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from builders import NAN, checkpoint, event, judge, make_run, series, tensor

from nanautopsy.model import Finding, Run, Source, TimelineEntry
from nanautopsy.timeline import tell


def told(run: Run) -> tuple[TimelineEntry, ...]:
    located = judge(run)
    return tell(run, located.findings, located.onset)


def texts(entries: Sequence[TimelineEntry]) -> list[str]:
    return [entry.text for entry in entries]


def test_nothing_to_tell() -> None:
    assert told(make_run()) == ()


def test_the_story_runs_from_its_start_to_its_end() -> None:
    entries = told(
        make_run(
            series("loss", [3, 2, NAN, NAN], steps=[10, 20, 30, 40]),
            checkpoint(15, tensor("a.weight")),
            event("run-started", "***** Running training *****"),
            event("traceback", "ValueError: nan"),
            event("run-resumed", "resuming", step=5),
        )
    )
    assert [entry.step for entry in entries] == [None, 5, 15, 30, 40, None]
    assert texts(entries)[0] == "training starts: ***** Running training *****"
    assert texts(entries)[2] == "last sound checkpoint: checkpoint-15"
    assert texts(entries)[-2] == "last logged point of loss"
    assert texts(entries)[-1] == "ends in an exception: ValueError: nan"


def test_an_end_whose_step_is_known_stands_there() -> None:
    entries = told(make_run(series("loss", [3, 2]), event("traceback", "E", step=1)))
    assert [entry.step for entry in entries] == [1, 2]


def test_each_kind_of_event_is_told_once() -> None:
    skipped = [event("traceback", f"rank {i}", step=9) for i in range(8)]
    assert texts(told(make_run(*skipped))) == ["ends in an exception: rank 0"]


def test_ranks_that_die_at_one_step_are_one_entry() -> None:
    ranks = [replace(series("loss", [3, NAN]), rank=i) for i in range(8)]
    assert [entry.step for entry in told(make_run(*ranks))] == [2, 2]


def test_a_long_story_keeps_its_end() -> None:
    run = make_run(series("loss", np.linspace(3, 1, 100).tolist()))
    findings = [Finding("lr-jump", f"jump {i}", Source("log"), step=i) for i in range(90)]
    entries = tell(run, findings, None)
    assert len(entries) == 40
    assert entries[-1].text == "last logged point of loss"


def test_a_checkpoint_after_the_onset_is_not_the_last_sound_one() -> None:
    run = make_run(
        series("loss", [3, NAN, 2], steps=[10, 20, 30]),
        checkpoint(10, tensor("a.weight")),
        checkpoint(30, tensor("a.weight")),
    )
    assert "last sound checkpoint: checkpoint-10" in texts(told(run))


def test_a_time_that_is_not_known_is_none() -> None:
    loss = replace(series("loss", [3.0, 2.0]), times=np.array([1.0, NAN]))
    assert told(make_run(loss))[-1].time is None
    loss = replace(loss, times=np.array([1.0, 2.0]))
    assert told(make_run(loss))[-1].time == 2.0
