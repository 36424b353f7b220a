"""What the runs of a catalog tell together: calendar, rates, groups and what differs."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from postgres import start
from scan.made_runs import DAY, SCANNED, archive_of_many, made, overview

from nanautopsy.scan.catalog import Catalog
from nanautopsy.scan.overview.calendar import Calendar
from nanautopsy.scan.overview.differences import Comparison, Difference
from nanautopsy.scan.overview.overview import Overview, overview_of
from nanautopsy.scan.overview.rates import Rate
from nanautopsy.scan.query import Filters
from nanautopsy.scan.results import ScanResult


def calendar(folder: Path, *ages: float | None) -> Calendar | None:
    """Of runs that died so many days before the scan."""
    results = [
        made(f"r{i}", "lr-spike", ended=None if age is None else SCANNED - DAY * age)
        for i, age in enumerate(ages)
    ]
    return overview(folder, results).calendar


@pytest.mark.parametrize(
    ("oldest", "unit", "count", "first"),
    [
        (2, "day", 3, "2025-03-01"),
        (100, "week", 16, "2024-11-18"),
        (400, "month", 15, "2024-01"),
        (5000, "year", 15, "2011"),
    ],
)
def test_the_calendar_has_every_period(
    tmp_path: Path, oldest: float, unit: str, count: int, first: str
) -> None:
    found = calendar(tmp_path, 0, oldest)
    assert found is not None
    assert (found.unit, found.periods[0], len(found.periods)) == (unit, first, count)
    assert len(set(found.periods)) == count
    assert list(found.periods) == sorted(found.periods)
    ((cause, row),) = found.deaths
    assert cause == "lr-spike"
    assert (row[0], row[-1], sum(row)) == (1, 1, 2)


def test_times_that_no_clock_gives_are_not_drawn(tmp_path: Path) -> None:
    found = calendar(tmp_path, 1, None, -5000, 15_000)
    assert found is not None
    assert (found.timed, found.untimed) == (1, 3)


def test_no_death_with_a_time_no_calendar(tmp_path: Path) -> None:
    assert calendar(tmp_path, None) is None


@pytest.mark.parametrize(
    ("failed", "judged", "low", "high"),
    # As scipy.stats.binomtest(failed, judged).proportion_ci(method="wilson") gives them.
    [
        (0, 10, 0.0, 0.277533),
        (5, 10, 0.236593, 0.763407),
        (10, 10, 0.722467, 1.0),
        (3, 4, 0.300642, 0.954413),
    ],
)
def test_the_interval_is_wilsons(failed: int, judged: int, low: float, high: float) -> None:
    assert Rate(failed, judged).interval == pytest.approx((low, high), abs=2e-6)


def test_no_run_no_rate() -> None:
    assert Rate(0, 0).interval == (0.0, 1.0)
    assert Rate(0, 0).is_uncertain


def test_rates_are_out_of_judged_runs_with_the_version(tmp_path: Path) -> None:
    results = [
        made("a", "lr-spike", packages={"torch": "2.1.0+cu118", "certifi": "1"}),
        made("b", packages={"torch": "2.1.0+cu121"}),
        made("c", verdict="undetermined", packages={"torch": "2.1.0"}),
        *(made(f"d{i}", packages={"torch": "2.10.0"}) for i in range(12)),
        made("e", packages={"torch": "2.9.1", "deepspeed": "nightly"}),
        made("f", "lr-spike"),
    ]
    rates = overview(tmp_path, results).rates
    torch, deepspeed = rates.libraries
    assert [one.version for one in torch.versions] == ["2.1.0", "2.9.1", "2.10.0"]
    assert torch.versions[0].rate == Rate(1, 2)
    assert torch.versions[0].undetermined == 1
    assert [one.rate.is_uncertain for one in torch.versions] == [True, True, False]
    assert deepspeed.name == "deepspeed"
    assert rates.told == 15
    assert rates.overall == Rate(2, 16)


# --- groups and differences -----------------------------------------------------------------------


def died(root: str, **more: Any) -> ScanResult:
    return made(root, "lr-spike", **more)


def comparison(folder: Path, results: list[ScanResult]) -> Comparison | None:
    (group,) = overview(folder, results).groups.groups
    return group.comparison


def settings(**changed: Any) -> dict[str, Any]:
    base = {"batch": 8, "depth": 12, "width": 64, "heads": 4, "lr": 0.1}
    return base | changed


def test_groups_are_by_signature_the_largest_first(tmp_path: Path) -> None:
    results = [made(f"a{i}", "lr-spike") for i in range(3)]
    results += [made("b", "fp16-overflow"), made("c"), made("d", verdict="diverged")]
    found = overview(tmp_path, results).groups.groups
    assert [(group.signature, len(group.runs)) for group in found] == [
        ("lr-spike loss=nan", 3),
        ("fp16-overflow loss=nan", 1),
        ("undetermined loss=nan", 1),
    ]


def test_what_differs_consistently(tmp_path: Path) -> None:
    results = [
        died("exp/a", settings=settings(lr=1.0, warmup=0), packages={"torch": "2.1.0"}),
        died("exp/b", settings=settings(lr=2.0, warmup=10), packages={"torch": "2.1.0"}),
        made("exp/c", settings=settings(lr="1e-1", warmup=10), packages={"torch": "2.2.0"}),
        made("exp/d", settings=settings(lr=0.05, warmup=20), packages={"torch": "2.2.0"}),
        made("other/e", settings=settings(lr=5.0)),
    ]
    found = comparison(tmp_path, results)
    assert found is not None
    assert (found.basis, found.place, found.dead, found.healthy) == ("folder", "exp", 2, 2)
    assert found.same == 5
    lr, torch = sorted(found.differences, key=lambda one: one.name)
    assert lr.name == "config.lr"
    assert dict(lr.dead) == {1.0: 1, 2.0: 1}
    assert dict(lr.healthy) == {0.1: 1, 0.05: 1}
    assert torch == Difference("package", "torch", (("2.1.0", 2),), (("2.2.0", 2),))


@pytest.mark.parametrize(
    ("dead", "healthy", "differs"),
    [
        ([1.0, 1.0], [2.0, 2.0], True),
        ([1.0, 3.0], [2.0, 2.0], False),
        ([1.0, 2.0], [2.0, 2.0], False),
        (["fp16", "fp16"], ["bf16", "fp32"], True),
        ([True, True], [False, False], True),
        ([None, None], [False, False], False),
    ],
)
def test_consistent_is_apart(
    tmp_path: Path, dead: list[Any], healthy: list[Any], differs: bool
) -> None:
    results = [died(f"exp/a{i}", settings=settings(x=value)) for i, value in enumerate(dead)]
    results += [made(f"exp/b{i}", settings=settings(x=value)) for i, value in enumerate(healthy)]
    found = comparison(tmp_path, results)
    assert found is not None
    assert [one.name for one in found.differences] == (["config.x"] if differs else [])


@pytest.mark.parametrize(
    "name", ["seed", "run_name", "output.dir", "wandb/id", "trainer_state.global_step", "hostname"]
)
def test_names_seeds_and_results_are_not_compared(tmp_path: Path, name: str) -> None:
    results = [
        died("exp/a", settings=settings(**{name: 1})),
        made("exp/b", settings=settings(**{name: 2})),
    ]
    found = comparison(tmp_path, results)
    assert found is not None
    assert found.differences == ()


@pytest.mark.parametrize("name", ["schedule.name", "optimizer_name", "model_name_or_path"])
def test_what_is_chosen_by_name_is_compared(tmp_path: Path, name: str) -> None:
    results = [
        died("exp/a", settings=settings(**{name: "a"})),
        made("exp/b", settings=settings(**{name: "b"})),
    ]
    found = comparison(tmp_path, results)
    assert found is not None
    assert [one.name for one in found.differences] == [f"config.{name}"]


def test_labels_that_no_two_runs_share_say_nothing(tmp_path: Path) -> None:
    results = [died(f"exp/a{i}", settings=settings(flavor=f"a{i}")) for i in range(4)]
    results += [made(f"exp/b{i}", settings=settings(flavor=f"b{i}")) for i in range(4)]
    found = comparison(tmp_path, results)
    assert found is not None
    assert found.differences == ()


def test_other_trainings_of_a_folder_are_not_compared(tmp_path: Path) -> None:
    results = [
        died("exp/a", settings=settings()),
        made("exp/b", settings={"batch": 1, "depth": 2, "width": 3, "heads": 4, "lr": 5}),
    ]
    assert comparison(tmp_path, results) is None


def test_an_archive_may_be_one_experiment(tmp_path: Path) -> None:
    results = [died("a", settings=settings(lr=9.0)), made("b", settings=settings())]
    found = comparison(tmp_path, results)
    assert found is not None
    assert (found.basis, found.place) == ("folder", ".")


def test_the_most_alike_are_compared(tmp_path: Path) -> None:
    wide = {f"s{i}": i for i in range(30)}
    results = [
        died("exp/a", settings=wide | {"lr": 9.0}),
        made("exp/twin", settings=wide | {"lr": 1.0}),
        *(made(f"exp/bare{i}", settings={"s1": 1, "lr": 9.0}) for i in range(9)),
    ]
    found = comparison(tmp_path, results)
    assert found is not None
    assert found.healthy == 1
    assert [one.name for one in found.differences] == ["config.lr"]


def test_the_script_and_architecture_come_second(tmp_path: Path) -> None:
    same: dict[str, Any] = {"program": "/x/train.py", "model": "GPT2"}
    results = [
        died("x/one/a", settings=settings(lr=9.0), **same),
        made("y/two/b", settings=settings(), **same),
        made("y/two/c", settings=settings(), program="train.py", model="T5"),
    ]
    found = comparison(tmp_path, results)
    assert found is not None
    assert (found.basis, found.place, found.healthy) == ("program", "train.py GPT2", 1)


def test_twins_by_settings_come_last(tmp_path: Path) -> None:
    wide = {f"s{i}": i for i in range(8)}
    results = [
        died("x/one/a", settings=wide | {"x": 1}),
        made("y/two/b", settings=wide | {"x": 2}),
        made("y/two/c", settings={name: value + 1 for name, value in wide.items()}),
    ]
    found = comparison(tmp_path, results)
    assert found is not None
    assert (found.basis, found.healthy) == ("settings", 1)
    assert [one.name for one in found.differences] == ["config.x"]


def test_one_setting_in_several_spellings_is_one_difference(tmp_path: Path) -> None:
    spelled = {"training.lr": 3.0, "optimizer.0.rate": 3.0, "training.fp16": True, "a.fp16": True}
    other = {"training.lr": 2.0, "optimizer.0.rate": 2.0, "training.fp16": False, "a.fp16": False}
    results = [
        died("exp/a", settings=settings(**spelled)),
        made("exp/b", settings=settings(**other)),
    ]
    found = comparison(tmp_path, results)
    assert found is not None
    assert [(one.name, one.also) for one in found.differences] == [
        ("config.training.lr", ("config.optimizer.0.rate",)),
        ("config.training.fp16", ("config.a.fp16",)),
    ]


def test_damaged_settings_count_as_none(tmp_path: Path) -> None:
    import sqlite3

    results = [died("exp/a", settings=settings()), made("exp/b", settings=settings())]
    assert comparison(tmp_path, results) is not None
    with sqlite3.connect(tmp_path / "catalog.db") as database:
        database.execute("update documents set settings = x'00'")
    with Catalog.open(tmp_path / "catalog.db") as catalog:
        (group,) = overview_of(catalog).groups.groups
    assert group.comparison is None


def test_filters_choose_the_runs(tmp_path: Path) -> None:
    results = [made("a", "lr-spike"), made("b", archive="/elsewhere")]
    found = overview(tmp_path, results, Filters(archive="/elsewhere"))
    assert [run.root for run in found.runs] == ["b"]


def test_the_dead_come_first_and_the_latest_lead(tmp_path: Path) -> None:
    results = [
        made("fine", ended=SCANNED),
        made("old", "lr-spike", ended=SCANNED - 9 * DAY),
        made("new", "lr-spike", ended=SCANNED - DAY),
        made("torn", outcome="crashed", reason="x"),
    ]
    found: Overview = overview(tmp_path, results)
    assert [run.root for run in found.runs] == ["new", "old", "torn", "fine"]
    when = found.runs[0].when
    assert when is not None
    assert datetime.fromtimestamp(when, timezone.utc).date().isoformat() == "2025-03-02"


def test_postgresql_tells_the_same(tmp_path: Path) -> None:
    def told(place: Path | str) -> Overview:
        with Catalog.open(place) as catalog:
            catalog.record(archive_of_many())
            return overview_of(catalog)

    def without_keys(one: Overview) -> str:
        return re.sub(r"\bid=\d+", "", repr(replace(one, catalog="")))

    with start() as server:
        if server is None:
            pytest.skip("no PostgreSQL server is installed")
        assert without_keys(told(server.new_database())) == without_keys(told(tmp_path / "c.db"))
