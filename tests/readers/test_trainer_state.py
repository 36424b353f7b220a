"""trainer_state.json of real Trainers, and of crashes in the middle of writing it."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reading import SHARED, head_of, of_type, problems_of, read_file, series_of

from nanautopsy.model import ConfigRecord, Record
from nanautopsy.readers import _json_scan
from nanautopsy.readers._json_scan import Damaged, JsonScan
from nanautopsy.readers.trainer_state import READER

FIXTURES = Path(__file__).parents[1] / "fixtures" / "trainer_state"
FILES = sorted(FIXTURES.glob("*/trainer_state.json"))
WHOLE = (FIXTURES / "5.23.0-filtered" / "trainer_state.json").read_bytes()


def read(data: bytes, tmp_path: Path) -> list[Record]:
    path = tmp_path / "trainer_state.json"
    path.write_bytes(data)
    return read_file(READER, path)


def points(rows: list[dict[str, Any]], key: str) -> list[tuple[int, float]]:
    return [(row["step"], row[key]) for row in rows if key in row]


def same(a: list[tuple[int, float]], b: list[tuple[int, float]]) -> bool:
    return len(a) == len(b) and all(
        x[0] == y[0] and (x[1] == y[1] or (math.isnan(x[1]) and math.isnan(y[1])))
        for x, y in zip(a, b, strict=True)
    )


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.parent.name)
def test_series_are_what_json_reads(path: Path) -> None:
    records = read_file(READER, path)
    series = series_of(records)
    rows = json.loads(path.read_text(encoding="utf-8"))["log_history"]
    keys = {key for row in rows for key in row} - {"step"}
    assert set(series) == keys
    for key, one in series.items():
        got = list(zip(one.steps.tolist(), one.values.tolist(), strict=True))
        assert same(got, points(rows, key)), key
    assert not problems_of(records)


def test_the_filter_hides_the_loss_but_not_the_gradient_norm() -> None:
    filtered = series_of(read_file(READER, FIXTURES / "5.23.0-filtered" / "trainer_state.json"))
    assert filtered["loss"].values[4:].tolist() == [0.0] * 4
    assert all(math.isnan(value) for value in filtered["grad_norm"].values[4:])
    plain = series_of(read_file(READER, FIXTURES / "5.23.0-unfiltered" / "trainer_state.json"))
    assert math.isnan(plain["loss"].values[4]) and plain["loss"].steps[4] == 5


def test_lines_point_at_the_rows() -> None:
    loss = series_of(read_file(READER, FILES[0]))["loss"]
    lines = FILES[0].read_text(encoding="utf-8").splitlines()
    assert loss.lines is not None
    for line in loss.lines:
        assert lines[line - 1].strip() == "{"


def test_settings_become_a_record_without_the_bests(tmp_path: Path) -> None:
    data = WHOLE.replace(b'"best_metric": null', b'"best_metric": Infinity')
    (config,) = of_type(read(data, tmp_path), ConfigRecord)
    assert config.kind == "trainer_state"
    assert (config.values["max_steps"], config.values["logging_steps"]) == (8, 1)
    parts = {key.partition(".")[0] for key in config.values}
    assert not parts & {"best_metric", "stateful_callbacks", "log_history"}


def test_benign_infinity_is_no_series(tmp_path: Path) -> None:
    data = WHOLE.replace(b'"best_metric": null', b'"best_metric": Infinity')
    assert not any(
        math.isinf(v) for s in series_of(read(data, tmp_path)).values() for v in s.values
    )


@given(st.integers(0, len(WHOLE)))
@settings(deadline=None, max_examples=200)
def test_truncation_loses_only_what_is_cut(
    tmp_path_factory: pytest.TempPathFactory, size: int
) -> None:
    records = read(WHOLE[:size], tmp_path_factory.mktemp("cut"))
    whole_rows = WHOLE[:size].count(b'"learning_rate"')
    series = {one.tag: one for one in records if hasattr(one, "tag")}
    got = len(series["learning_rate"]) if "learning_rate" in series else 0
    assert whole_rows - 1 <= got <= whole_rows
    intact = WHOLE[:size].rstrip().endswith(b"}") and size >= len(WHOLE.rstrip())
    assert bool(problems_of(records)) == (not intact)


def test_problem_names_place_and_rows(tmp_path: Path) -> None:
    cut = WHOLE.index(b'"step": 3') + 4
    (problem,) = problems_of(read(WHOLE[:cut], tmp_path))
    assert problem.text == "log_history ends in the middle after 2 rows"
    assert problem.source.line == WHOLE[:cut].count(b"\n") - 4
    assert WHOLE[problem.source.offset :].startswith(b"{")


def test_rows_after_damage_are_found_again(tmp_path: Path) -> None:
    at = WHOLE.index(b'"step": 3')
    damaged = WHOLE[:at] + b"\0\0\0\0\0" + WHOLE[at + 5 :]
    records = read(damaged, tmp_path)
    series = series_of(records)
    assert series["learning_rate"].steps.tolist() == [1, 2, 4, 5, 6, 7, 8]
    assert len(problems_of(records)) == 1


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b"null", b'{"log_history": 3}', b'{"log_history": [1, null, []]}', b"{}"]
    + [b'{"log_history": [{"step": "x", "loss": 1}]}', b'{"log_history"', b'{"a": 1 "b"'],
)
def test_odd_content_is_survived(tmp_path: Path, data: bytes) -> None:
    read(data, tmp_path)


def test_a_row_without_step_is_numbered(tmp_path: Path) -> None:
    data = b'{"log_history": [{"loss": 1.0, "step": 5}, {"train_loss": 2.0}]}'
    series = series_of(read(data, tmp_path))
    assert (series["train_loss"].axis, series["train_loss"].steps.tolist()) == ("record", [1])
    assert (series["loss"].axis, series["loss"].steps.tolist()) == ("step", [5])


def test_claims_by_name_or_by_content(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    path.write_bytes(WHOLE)
    assert READER.claim(head_of(path)) is not None
    path.write_text('{"loss": 1}')
    assert READER.claim(head_of(path)) is None


# --- the scanner --------------------------------------------------------------------------------

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=15,
)


@given(st.dictionaries(st.text(max_size=6), VALUES, max_size=5), st.integers(1, 40), st.booleans())
@settings(deadline=None)
def test_scanning_in_small_reads_equals_loading(
    table: dict[str, Any], block: int, ascii_only: bool
) -> None:
    text = json.dumps(table, indent=1, ensure_ascii=ascii_only).encode("utf-8", "replace")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_json_scan, "_READ_BYTES", block)
        scan = JsonScan(io.BytesIO(text))
        got = {key: scan.value() for key in scan.members()}
    assert json.dumps(got) == json.dumps(json.loads(text))


@given(st.binary(max_size=80), st.integers(1, 9))
@settings(deadline=None)
def test_scanning_anything_ends(data: bytes, block: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_json_scan, "_READ_BYTES", block)
        for before in (b"", b'{"log_history": [', b'{"a": [{"step": 1}, '):
            scan = JsonScan(io.BytesIO(before + data))
            try:
                for _ in scan.members():
                    for _ in scan.elements():
                        pass
            except Damaged as damage:
                assert damage.line >= 1 and damage.offset >= 0


def test_a_value_without_end_is_not_collected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_json_scan, "_READ_BYTES", 1000)
    monkeypatch.setattr(_json_scan, "_LONGEST_VALUE", 10_000)
    scan = JsonScan(io.BytesIO(b'{"a": "' + b"x" * 1_000_000))
    with pytest.raises(Damaged):
        for _ in scan.members():
            scan.value()
    assert scan.offset == 6


@pytest.mark.real
@pytest.mark.skipif(not SHARED.exists(), reason="public artifacts are not here")
def test_public_runs_read_without_loss() -> None:
    paths = sorted((SHARED / "lf-ok-glm2").rglob("trainer_state.json"))
    assert len(paths) > 10
    for path in paths:
        records = read_file(READER, path)
        rows = json.loads(path.read_text(encoding="utf-8"))["log_history"]
        assert len(series_of(records)["loss"]) == len(points(rows, "loss"))
        assert not problems_of(records)
