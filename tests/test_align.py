"""Everything on one step axis: restarts, ranks, copies, row numbers, nulls, absurd counters."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest
from fakes import NOTHING, artifact
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from nanautopsy.align import align
from nanautopsy.model import (
    Axis,
    Checkpoint,
    ConfigRecord,
    EnvironmentRecord,
    LogEvent,
    Problem,
    Reading,
    Record,
    Run,
    Scalar,
    Series,
    Source,
)

NAN, INF = float("nan"), float("inf")
pytestmark = pytest.mark.filterwarnings("error")
"""A warning that numpy prints would be output below the command line."""

_QUADRATIC = 30.0
"""Seconds. No benchmark: what takes so long here would take hours on a real run."""


def points(
    tag: str,
    steps: Sequence[int] | np.ndarray,
    values: Sequence[float | None] | np.ndarray | None = None,
    *,
    path: str = "log",
    times: Sequence[float] | None = None,
    axis: Axis = "step",
    rank: int | None = None,
) -> Series:
    """A series as a reader gives it; ``None`` is a null."""
    listed = np.arange(len(steps), dtype=float) + 1 if values is None else values
    missing = np.array([value is None for value in listed], dtype=bool)
    return Series(
        tag,
        np.asarray(steps, dtype=np.int64),
        np.array([NAN if v is None else v for v in listed], dtype=np.float64),
        Source(path, tag=tag),
        times=None if times is None else np.asarray(times, dtype=np.float64),
        missing=missing if missing.any() else None,
        axis=axis,
        rank=rank,
    )


def aligned(*records: Record, kind: str = "fake") -> Run:
    """The run of one artifact that gave these records."""
    found = artifact()
    found = type(found)(found.path, kind, found.reader, found.members, found.bytes)
    return align("run", NOTHING, [Reading(found, records, ())])


def only(run: Run) -> Series:
    (series,) = run.series
    return series


def steps_of(series: Series) -> list[int]:
    return series.steps.tolist()


# --- one series -----------------------------------------------------------------------------------


def test_one_point_and_no_point() -> None:
    run = aligned(points("loss", [7], [2.5]), points("empty", []))
    assert (only(run).tag, steps_of(only(run))) == ("loss", [7])
    assert run.notes == ()


def test_all_nan_stays_all_nan() -> None:
    series = only(aligned(points("loss", [1, 2, 3], [NAN] * 3)))
    assert np.isnan(series.values).all()
    assert series.role == "loss"


def test_the_role_and_the_layer_are_told() -> None:
    series = only(aligned(points("grad_norm/layers.0.mlp", [1])))
    assert (series.role, series.layer) == ("layer_gradient", "layers.0.mlp")


def test_the_last_of_several_points_at_a_step_counts() -> None:
    series = only(aligned(points("loss", [1, 2, 2, 3], [4, 3, 2, 1])))
    assert series.values.tolist() == [4, 2, 1]


def test_a_step_with_one_nan_part_was_nan() -> None:
    series = only(aligned(points("loss", [1, 2, 2, 2, 3], [4, 3, INF, NAN, 1])))
    assert series.values.tolist() == [4, INF, 1]


def test_nulls_are_neither_zero_nor_nan() -> None:
    run = aligned(points("loss", [1, 2, 3], [4, None, 2]), points("lr", [1, 2], [None, 1]))
    assert [steps_of(s) for s in run.series] == [[1, 3], [2]]
    assert run.notes == ("log: 2 null values of 'loss', 'lr' are missing values, not NaN",)


def test_nothing_but_nulls_is_nothing() -> None:
    run = aligned(points("loss", [1, 2], [None, None]))
    assert run.series == ()
    assert "2 null values" in run.notes[0]


def test_one_note_tells_of_the_nulls_of_many_metrics() -> None:
    run = aligned(*(points(f"m{i}", [1], [None]) for i in range(500)))
    assert run.notes == (
        "log: 500 null values of 'm0', 'm1', 'm2' and 497 more are missing values, not NaN",
    )


# --- restarts -------------------------------------------------------------------------------------


def test_a_restart_in_the_file_replaces_what_it_logs_again() -> None:
    steps = [10, 20, 30, 40, 20, 30, 40, 50]
    run = aligned(points("loss", steps, [9, 8, NAN, NAN, 7, 6, 5, 4]))
    assert steps_of(only(run)) == [10, 20, 30, 40, 50]
    assert only(run).values.tolist() == [9, 7, 6, 5, 4]
    assert run.notes == (
        "log: logged again from step 20 on by a later attempt, which counts; 3 points of 'loss' "
        "are set aside, 2 of them non-finite",
    )


def test_the_last_of_three_attempts_counts() -> None:
    steps = [1, 2, 3, 4, 5, 3, 4, 5, 6, 5, 6, 7]
    run = aligned(points("loss", steps, range(12)))
    assert only(run).values.tolist() == [0, 1, 5, 6, 9, 10, 11]


def test_an_attempt_that_was_broken_off_replaces_nothing() -> None:
    first = [3.0] * 30 + [NAN] * 10
    run = aligned(points("loss", [*range(40), 0, 1], [*first, 3, 3]))
    assert only(run).values[-1] != only(run).values[-1]
    assert len(only(run)) == 40
    assert run.notes == (
        "log: an attempt that begins again at step 0 was broken off; its 2 points of 'loss' are "
        "set aside",
    )


def test_a_short_attempt_that_died_counts() -> None:
    run = aligned(points("loss", [*range(40), 20, 21], [*range(40), 5, NAN]))
    assert steps_of(only(run)) == list(range(22))
    assert np.isnan(only(run).values[-1])


def test_one_note_tells_of_all_series_of_a_restart() -> None:
    steps = [1, 2, 3, 2, 3]
    run = aligned(*(points(tag, steps) for tag in ("loss", "lr", "grad_norm")))
    assert run.notes == (
        "log: logged again from step 2 on by a later attempt, which counts; 6 points of 'loss' "
        "and 2 other series are set aside",
    )


def test_a_late_point_is_no_restart() -> None:
    run = aligned(points("loss", [10, 20, 30, 25, 40, 50], [6, 5, NAN, 3, 2, 1]))
    assert steps_of(only(run)) == [10, 20, 25, 30, 40, 50]
    assert np.isnan(only(run).values[3])
    assert run.notes == ()


def test_files_of_one_writer_in_time_are_attempts() -> None:
    first = points("loss", [1, 2, 3], [3, NAN, NAN], path="runs/events.out.tfevents.1.a.7.0",
                   times=[10, 11, 12])  # fmt: skip
    second = points("loss", [2, 3, 4], [2, 1, 1], path="runs/events.out.tfevents.2.a.9.0",
                    times=[20, 21, 22])  # fmt: skip
    for order in ([first, second], [second, first]):
        series = only(aligned(*order))
        assert steps_of(series) == [1, 2, 3, 4]
        assert series.values.tolist() == [3, 2, 1, 1]
        assert series.times is not None
        assert series.times.tolist() == [10, 20, 21, 22]


def test_files_that_overlap_in_time_are_ranks() -> None:
    ranks = [
        points("loss", [1, 2, 3], [3, 2, 1 + i], path=f"events.out.tfevents.1.a.{i}.0",
               times=[10, 11, 12])
        for i in range(4)
    ]  # fmt: skip
    run = aligned(*ranks)
    assert [s.source.path for s in run.series] == [s.source.path for s in ranks]
    assert run.notes == ()


def test_clocks_that_differ_a_little_are_one_after_the_other() -> None:
    hours = [3600.0 * i for i in range(5)]
    first = points("loss", [0, 1, 2, 3, 4], path="events.out.tfevents.1.a.1.0", times=hours)
    second = points("loss", [4, 5, 6, 7, 8], path="events.out.tfevents.2.b.1.0",
                    times=[hours[-1] - 30 + t for t in hours])  # fmt: skip
    run = aligned(first, second)
    assert steps_of(only(run)) == list(range(9))
    assert any("begins 30 s before" in note for note in run.notes)
    parallel = replace(second, steps=first.steps, values=second.values + 1)
    assert len(aligned(first, parallel).series) == 2
    late = replace(second, times=second.times - 900)  # type: ignore[operator]
    assert len(aligned(first, late).series) == 2


@pytest.mark.parametrize(
    ("path", "rank"),
    [
        ("logs/rank_3/train.log", 3),
        ("metrics_rank12.jsonl", 12),
        ("logs/none_abc/attempt_0/5/stderr.log", 5),
        ("rank1/x-rank2.log", 2),
        ("attempt_0/5/train.log", None),
        ("ranking/log.txt", None),
        ("franked3.log", None),
    ],
)
def test_files_are_called_after_their_rank(path: str, rank: int | None) -> None:
    event = LogEvent("traceback", "x", Source(path, line=3))
    run = aligned(points("loss", [1], path=path), event)
    assert (only(run).rank, run.events[0].rank) == (rank, rank)


def test_ranks_of_one_file_stay_apart() -> None:
    run = aligned(points("loss", [1, 2], rank=0), points("loss", [1, 2], [5, NAN], rank=1))
    assert [s.rank for s in run.series] == [0, 1]


def test_text_logs_beside_each_other_are_not_one_run() -> None:
    run = aligned(
        points("loss", [1, 2], path="a.log"), points("loss", [1, 2], [8, 9], path="b.log")
    )
    assert len(run.series) == 2


def test_times_that_are_not_known_do_not_matter() -> None:
    first = points("loss", [1, 2, 1, 2], times=[NAN, NAN, NAN, NAN])
    assert steps_of(only(aligned(first))) == [1, 2]


# --- counters that are no axis --------------------------------------------------------------------


def test_a_counter_within_epochs_is_replaced_by_the_number_of_the_point() -> None:
    steps = [0, 10, 20, 30] * 5
    series = only(aligned(points("loss", steps)))
    assert series.axis == "record"
    assert steps_of(series) == list(range(20))


def test_epochs_that_do_not_start_at_the_same_step() -> None:
    # Every tenth step of all, in epochs of 25 steps.
    steps = [s % 25 for s in range(0, 200, 10)]
    assert only(aligned(points("loss", steps))).axis == "record"


def test_three_epochs_of_equal_length() -> None:
    assert only(aligned(points("loss", [1, 2, 3, 4] * 3))).axis == "record"


def test_retries_from_the_beginning_that_get_further_are_attempts() -> None:
    steps = [*range(10), *range(30), *range(50), *range(100)]
    series = only(aligned(points("loss", steps)))
    assert (series.axis, steps_of(series)) == ("step", list(range(100)))


def test_writers_that_interleave_keep_their_steps() -> None:
    generator = np.random.default_rng(3)
    steps = np.arange(4000) // 4 + generator.integers(-2, 3, 4000)
    values = np.ones(4000)
    values[steps == 700] = NAN
    series = only(aligned(points("loss", steps, values)))
    assert series.axis == "step"
    assert steps_of(series) == sorted(set(steps.tolist()))
    assert series.steps[np.isnan(series.values)].tolist() == [700]


def test_two_ranks_that_interleave() -> None:
    steps = [1, 2, 1, 3, 2, 4, 3, 5, 4, 5]
    series = only(aligned(points("loss", steps, [1, 1, 1, 1, 1, 1, 1, NAN, 1, 1])))
    assert steps_of(series) == [1, 2, 3, 4, 5]
    assert np.isnan(series.values[-1])


# --- copies ---------------------------------------------------------------------------------------


def test_a_state_saved_again_is_a_copy() -> None:
    states = [
        points("loss", range(10, n + 1, 10), [1000.0 / s for s in range(10, n + 1, 10)],
               path=f"checkpoint-{n}/trainer_state.json")
        for n in (100, 200, 300)
    ]  # fmt: skip
    series = only(aligned(*states))
    assert series.source.path == "checkpoint-300/trainer_state.json"
    assert len(series) == 30


def test_a_state_with_other_values_is_no_copy() -> None:
    long = points("loss", [1, 2, 3], [3, NAN, 1], path="a/trainer_state.json")
    assert (
        len(aligned(long, points("loss", [1, 2], [3, 2], path="b/trainer_state.json")).series) == 2
    )
    assert (
        len(aligned(long, points("loss", [1, 2], [3, NAN], path="b/trainer_state.json")).series)
        == 1
    )


def test_a_state_that_is_one_line_of_json_keeps_its_steps() -> None:
    state = points("loss", range(10, 60, 10), [5, 4, 3, 2, 1], path="trainer_state.json")
    series = only(aligned(replace(state, lines=np.ones(5, dtype=np.int64))))
    assert steps_of(series) == [10, 20, 30, 40, 50]


def test_many_ranks_are_compared_in_time() -> None:
    ranks = [points("loss", [1, 2, 3], [i, 2, 1], path=f"rank{i}.log") for i in range(2000)]
    begin = time.perf_counter()
    assert len(aligned(*ranks).series) == 2000
    assert time.perf_counter() - begin < _QUADRATIC


# --- a tracker's row numbers ----------------------------------------------------------------------


def wandb(*series: Series, axes: Mapping[str, Scalar] | None = None) -> Run:
    """The run of one W&B file; ``axes`` is what the program declared with define_metric."""
    declared = [ConfigRecord("wandb_axes", axes, Source("log"))] if axes else []
    return aligned(*series, *declared, kind="wandb")


def test_the_logged_step_replaces_the_row_number() -> None:
    run = wandb(
        points("train/loss", [0, 1, 2, 4], [4, 3, 2, 1]),
        points("train/global_step", [0, 1, 2, 3, 4], [10, 20, 30, 30, 40]),
        points("eval/loss", [3], [3.0]),
    )
    assert {s.tag: steps_of(s) for s in run.series} == {
        "train/loss": [10, 20, 30, 40],
        "train/global_step": [0, 1, 2, 3, 4],
        "eval/loss": [30],
    }
    assert run.notes == (
        "log: steps are those of 'train/global_step', not the tracker's row numbers",
    )


def test_a_row_without_the_counter_belongs_to_the_step_before_it() -> None:
    run = wandb(points("loss", [5, 6]), points("global_step", [1, 5], [100, 200]))
    assert steps_of(run.series[0]) == [200]


def test_what_the_program_declared_as_its_axis_is_the_axis() -> None:
    run = wandb(
        points("loss", [0, 1], [2, 1]),
        points("val/acc", [0, 1], [0.1, 0.2]),
        points("my_counter", [0, 1], [50, 100]),
        points("global_step", [0, 1], [7, 8]),
        axes={"*": "global_step", "loss": "my_counter", "val/*": "epoch"},
    )
    assert {s.tag: steps_of(s) for s in run.series}["loss"] == [50, 100]
    assert {s.tag: steps_of(s) for s in run.series}["val/acc"] == [7, 8]


def test_a_counter_logged_now_and_then_is_interpolated() -> None:
    run = wandb(
        points("loss", range(300), np.linspace(4, 1, 300)),
        points("iter", [0, 100, 200], [0, 100, 200]),
        points("val/loss", [0, 100, 200], [4, 3, 2]),
    )
    assert steps_of(run.series[0]) == list(range(300))
    run = wandb(points("loss", range(300)), points("iter", [0, 100, 200], [0, 1000, 2000]))
    assert steps_of(run.series[0]) == list(range(0, 3000, 10))
    assert run.notes[-1] == "log: steps are interpolated where 'iter' was not logged"


def test_a_resumed_counter_goes_back_to_its_checkpoint() -> None:
    counts = [10, 20, 30, 40, 20, 30, 40, 50]
    run = wandb(points("loss", range(8), range(8)), points("global_step", range(8), counts))
    assert steps_of(run.series[0]) == [10, 20, 30, 40, 50]
    assert run.series[0].values.tolist() == [0, 4, 5, 6, 7]
    assert any("logged again from step 20" in note for note in run.notes)


@pytest.mark.parametrize(
    "counts",
    [[1, 2, 1, 2], [0.5, 1.5, 2.5, 3.5], [1, NAN, 3, 4], [1, INF, 3, 4], [1e18, 2e18, 3e18, 4e300]],
)
def test_what_is_no_counter_is_not_used(counts: list[float]) -> None:
    run = wandb(points("loss", range(4)), points("step", range(4), counts))
    assert steps_of(run.series[0]) == [0, 1, 2, 3]
    assert "no steady counter" in run.notes[0]


def test_nulls_in_the_counter_do_not_matter() -> None:
    run = wandb(points("loss", range(3)), points("global_step", range(3), [10, None, 30]))
    assert steps_of(run.series[0]) == [10, 30]


def test_an_event_files_own_steps_are_kept() -> None:
    run = aligned(points("loss", [5, 6]), points("step", [5, 6], [1, 2]), kind="tensorboard")
    assert steps_of(run.series[0]) == [5, 6]
    assert run.notes == ()


# --- records and samples --------------------------------------------------------------------------


def _settings(**values: Scalar) -> ConfigRecord:
    return ConfigRecord("training", values, Source("args.json"))


def test_records_are_counted_in_logging_steps() -> None:
    run = aligned(
        points("loss", [0, 1, 2], axis="record"),
        points("accuracy", [0, 1, 2], axis="record"),
        _settings(logging_steps=10),
    )
    assert [(s.tag, s.axis, steps_of(s)) for s in run.series] == [
        ("loss", "step", [0, 10, 20]),
        ("accuracy", "record", [0, 1, 2]),
    ]
    assert run.notes == (
        "log: states no steps; counted as every 10 steps (args.json: logging_steps)",
    )


@pytest.mark.parametrize("interval", [0, -5, 0.5, NAN, INF, 1e300, "many", None, True, 10**400])
def test_an_absurd_interval_is_not_used(interval: Scalar) -> None:
    run = aligned(points("loss", [0, 1], axis="record"), _settings(logging_steps=interval))
    assert (only(run).axis, steps_of(only(run))) == ("record", [0, 1])


def test_deepspeeds_monitor_counts_samples() -> None:
    series = points("Train/Samples/lr", [32, 64, 96])
    assert only(aligned(series)).axis == "samples"
    run = aligned(series, ConfigRecord("deepspeed", {"train_batch_size": 32}, Source("ds.json")))
    assert (only(run).axis, steps_of(only(run))) == ("step", [1, 2, 3])
    assert "counts samples; steps of 32 samples (ds.json: train_batch_size)" in run.notes[0]


def test_megatrons_twin_over_samples_is_dropped() -> None:
    run = aligned(points("lm loss", [1, 2]), points("lm loss vs samples", [64, 128]))
    assert only(run).tag == "lm loss"
    alone = only(aligned(points("lm loss vs samples", [64, 128])))
    assert alone.axis == "samples"


# --- any input ------------------------------------------------------------------------------------

_STEPS = st.one_of(
    st.integers(-3, 12),
    st.sampled_from([2**62, -(2**62), 2**63 - 1, -(2**63)]),
)
_VALUES = st.sampled_from([NAN, INF, -INF, 0.0, 1.5, 1e308, 1e18])


@st.composite
def any_series(draw: st.DrawFn, tag: str = "loss") -> Series:
    n = draw(st.integers(0, 25))
    steps = draw(st.lists(_STEPS, min_size=n, max_size=n))
    values: list[float | None] = draw(
        st.lists(st.one_of(st.none(), _VALUES), min_size=n, max_size=n)
    )
    times = draw(
        st.none() | st.lists(st.sampled_from([NAN, 1.0, 2.0, 3.0]), min_size=n, max_size=n)
    )
    return points(
        draw(st.sampled_from([tag, "train/global_step", "lr", "Train/Samples/lr"])), steps, values,
        times=times,
        path=draw(st.sampled_from(["log", "events.out.tfevents.1", "events.out.tfevents.2"])),
        axis=draw(st.sampled_from(["step", "record", "epoch", "samples"])),
        rank=draw(st.sampled_from([None, 0, 1])),
    )  # fmt: skip


@settings(max_examples=60)
@given(st.lists(any_series(), max_size=5), st.sampled_from(["wandb", "tensorboard"]))
def test_any_input_gives_strictly_rising_steps(series: list[Series], kind: str) -> None:
    run = aligned(*series, _settings(logging_steps=10, train_batch_size=4), kind=kind)
    for one in run.series:
        assert len(one) > 0
        assert (one.steps[1:] > one.steps[:-1]).all()
        assert one.missing is None
        assert one.times is None or len(one.times) == len(one)


@given(arrays.arrays(np.int64, st.integers(1, 30), elements=st.integers(0, 9)), st.data())
def test_a_step_is_bad_when_one_of_its_points_is(steps: np.ndarray, data: st.DataObject) -> None:
    steps = np.sort(steps)
    values = data.draw(
        arrays.arrays(np.float64, len(steps), elements=st.sampled_from([NAN, INF, 1.0, 2.0]))
    )
    series = only(aligned(points("loss", steps, values)))
    assert steps_of(series) == sorted(set(steps.tolist()))
    bad = set(steps[~np.isfinite(values)].tolist())
    assert set(series.steps[~np.isfinite(series.values)].tolist()) == bad


@given(any_series())
def test_aligning_again_changes_nothing(series: Series) -> None:
    first = aligned(series)
    assume(first.series)
    again = aligned(*first.series)
    assert [steps_of(s) for s in again.series] == [steps_of(s) for s in first.series]
    for one, other in zip(first.series, again.series, strict=True):
        assert np.array_equal(one.values, other.values, equal_nan=True)


@pytest.mark.parametrize(
    "steps",
    [
        np.arange(1_000_000),
        np.arange(1_000_000) // 8,
        np.arange(1_000_000) % 1000,
        np.concatenate([np.arange(0, n * 10_000) for n in range(1, 14)]),
        np.random.default_rng(0).permutation(1_000_000),
    ],
    ids=["rising", "eight points a step", "epochs", "attempts", "shuffled"],
)
def test_a_million_points_are_aligned_at_once(steps: np.ndarray) -> None:
    values = np.random.default_rng(1).normal(size=len(steps))
    series = points("loss", steps, values)
    begin = time.perf_counter()
    aligned(series)
    assert time.perf_counter() - begin < _QUADRATIC


# --- what is not a series -------------------------------------------------------------------------


def test_checkpoints_stand_in_order_of_their_step() -> None:
    checkpoints = [
        Checkpoint(f"c{name}", "safetensors", step, ())
        for name, step in (("10", 10), ("2", None), ("9", 9), ("1", None), ("0", 0))
    ]
    assert [c.step for c in aligned(*checkpoints).checkpoints] == [0, 9, 10, None, None]
    assert [c.path for c in aligned(*checkpoints).checkpoints][-2:] == ["c1", "c2"]


def test_versions_that_differ_are_conflicts() -> None:
    run = aligned(
        EnvironmentRecord(Source("a.txt"), {"torch": "2.1.0"}, {"gpu": "T4"}),
        EnvironmentRecord(Source("b.txt"), {"torch": "2.2.0", "numpy": "1.26"}, {"gpu": "A100"}),
        EnvironmentRecord(Source("c.txt"), {"torch": "2.1.0"}),
    )
    assert run.packages["torch"].version == "2.1.0"
    assert run.packages["torch"].conflicts == (("2.2.0", Source("b.txt")),)
    assert run.environment["gpu"].value == "T4"


def test_settings_stand_under_the_kind_of_their_record() -> None:
    run = aligned(_settings(seed=1))
    assert run.config["training.seed"].value == 1
    assert run.config["training.seed"].source.path == "args.json"


def test_events_keep_their_order() -> None:
    events = [
        LogEvent("run-started", "a", Source("log")),
        LogEvent("traceback", "b", Source("log")),
    ]
    assert aligned(*events).events == tuple(events)


def test_every_artifact_is_reported_with_what_went_wrong() -> None:
    damaged = Problem("ends inside a record", Source("a.log", offset=5))
    discovery = type(NOTHING)(
        (),
        (("notes.md", 3),),
        (Problem("cannot be read: Permission denied", Source("locked")),),
        ("the x reader failed at y",),
    )
    readings = [
        Reading(artifact("a.log"), (points("loss", [1]),), (damaged,), digest="sha256:1"),
        Reading(artifact("b.log"), (), (), skipped="not metrics"),
        Reading(artifact("c.log"), (), (damaged,), skipped=damaged.text),
    ]
    run = align("run", discovery, readings, ["an entry point did not load"])
    assert [(r.path, r.status, r.problems) for r in run.artifacts] == [
        ("a.log", "partly-read", ("a.log at byte 5: ends inside a record",)),
        ("b.log", "skipped", ("not metrics",)),
        ("c.log", "skipped", ("a.log at byte 5: ends inside a record",)),
        ("locked", "skipped", ("cannot be read: Permission denied",)),
        ("notes.md", "skipped", ("no reader knows this kind of file",)),
    ]
    assert run.notes == ("an entry point did not load", "the x reader failed at y")


@pytest.mark.parametrize(
    ("tag", "rank"),
    [
        ("loss/rank0", 0),
        ("loss/rank_12", 12),
        ("rank3/loss", 3),
        ("train/loss_rank1", 1),
        ("ranking_loss", None),
        ("loss/rank", None),
        ("lora_rank8", 8),
    ],
)
def test_ranks_in_tags(tag: str, rank: int | None) -> None:
    (one,) = aligned(points(tag, [1, 2])).series
    assert one.rank == rank
