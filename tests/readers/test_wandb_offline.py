"""W&B run files: all that was logged, and all that survives damage."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from reading import SHARED, of_type, problems_of, read_file, same_values, series_of
from wandbfiles import BLOCK, field, history, item, old_run, run_file

from nanautopsy.model import (
    ConfigRecord,
    EnvironmentRecord,
    FileHead,
    LogEvent,
    Record,
    Series,
    Skipped,
)
from nanautopsy.readers.wandb_offline import READER, output_lines

Factory = pytest.TempPathFactory
FIXTURES = Path(__file__).parents[1] / "fixtures" / "wandb"
(REAL_RUN,) = FIXTURES.glob("offline-run-*/*.wandb")
EXPECTED = json.loads((FIXTURES / "expected.json").read_text())


def read(data: bytes, tmp_path: Path) -> list[Record]:
    path = tmp_path / "run-abcd.wandb"
    path.write_bytes(data)
    return read_file(READER, path)


def points_of(records: list[Record]) -> set[tuple[str, int, str]]:
    return {
        (series.tag, int(step), repr(float(value)))
        for series in of_type(records, Series)
        for step, value in zip(series.steps, series.values, strict=True)
    }


VERSIONS = sorted(path.name for path in (FIXTURES / "versions").iterdir())


def rows_of(version: str) -> list[dict[str, str]]:
    """What that version's own reader read: path to JSON text, row by row."""
    rows: list[dict[str, str]] = json.loads(
        (FIXTURES / "versions" / version / "expected.json").read_text()
    )
    return rows


def numbers_in(tag: str, text: str) -> list[tuple[str, float | None]]:
    """(tag, number or null) of a JSON text, those inside dictionaries too."""

    def walk(tag: str, value: object) -> list[tuple[str, float | None]]:
        if isinstance(value, dict):
            inner = [] if "_type" in value else value.items()
            return [found for key, item in inner for found in walk(f"{tag}.{key}", item)]
        if value is None or isinstance(value, (bool, float)):
            return [(tag, None if value is None else float(value))]
        return []

    return walk(tag, json.loads(text, parse_int=float))


@pytest.mark.parametrize("version", VERSIONS)
def test_old_versions_give_what_their_own_reader_gives(version: str) -> None:
    path = FIXTURES / "versions" / version / "run-abcd1234.wandb"
    records = read_file(READER, path)
    expected: dict[str, list[tuple[int, float | None]]] = {}
    for step, row in enumerate(rows_of(version)):
        assert row["_step"] == str(step)
        for name, text in row.items():
            tag = name.replace("/", ".").replace("|", "/")
            histogram = tag.startswith("gradients/")
            for inner, number in [] if histogram else numbers_in(tag, text):
                if inner not in ("_step", "_timestamp"):
                    expected.setdefault(inner, []).append((step, number))
    found = series_of(records)
    assert {tag for tag in found if "#" not in tag} == set(expected)
    for tag, points in expected.items():
        series = found[tag]
        assert series.steps.tolist() == [step for step, _ in points]
        nulls = [number is None for _, number in points]
        assert (
            np.zeros(len(nulls)) if series.missing is None else series.missing
        ).tolist() == nulls
        kept = [i for i, null in enumerate(nulls) if not null]
        theirs = [repr(points[i][1]) for i in kept]
        assert [repr(float(series.values[i])) for i in kept] == theirs
        assert series.times is not None and set(series.times.tolist()) == {1_700_000_000.5}
    assert found["gradients/fc.weight#count"].values.tolist() == [20.0] * 4
    assert found["gradients/fc.weight#max_abs"].values.tolist() == [1.0, 4.0, 7.0, 10.0]
    assert list(output_lines(path)) == [f"step {step}" for step in range(12)]
    (environment,) = of_type(records, EnvironmentRecord)
    assert environment.packages == {"wandb": version}
    assert not problems_of(records)


@pytest.mark.parametrize("version", VERSIONS)
def test_old_runs_cut_short_keep_every_point_before(version: str, tmp_path: Path) -> None:
    data = (FIXTURES / "versions" / version / "run-abcd1234.wandb").read_bytes()
    before: set[tuple[str, int, str]] = set()
    for cut in range(7, len(data), 211):
        points = points_of(read(data[:cut], tmp_path))
        assert before <= points
        before = points


def as_text(records: list[Record]) -> list[str]:
    """Series in a form that compares, NaN included."""
    return sorted(
        f"{s.tag} {s.axis} {s.steps.tolist()} {s.values.tolist()} {s.times} {s.missing}"
        for s in of_type(records, Series)
    )


# --- what wandb itself wrote --------------------------------------------------------------------


def test_every_value_that_was_logged() -> None:
    found = series_of(read_file(READER, REAL_RUN))
    rows = EXPECTED["rows"]
    for tag in ("train/loss", "train/grad_norm", "train/global_step", "a.b", "overflow"):
        assert found[tag].steps.tolist() == list(range(len(rows)))
        assert same_values(found[tag].values, (float(row[tag]) for row in rows))
        assert found[tag].times is not None
        assert found[tag].times.tolist() == [1.7e9 + i for i in range(len(rows))]
        assert found[tag].axis == "step"
    inner = [row["nested"]["inner"]["value"] for row in rows]
    assert same_values(found["nested.inner.value"].values, inner)
    assert found["late"].steps.tolist() == [9, 10, 11]
    assert found["nothing"].missing is not None and found["nothing"].missing.all()
    assert "note" not in found and "_step" not in found and "_timestamp" not in found


def test_watched_gradients_vanish_where_they_are_nan() -> None:
    found = series_of(read_file(READER, REAL_RUN))
    assert found["gradients/2.bias#count"].steps.tolist() == [2, 5, 8, 11]
    assert found["gradients/0.weight#count"].steps.tolist() == [2, 5]
    assert found["gradients/0.weight#count"].values.tolist() == [12, 12]
    assert (found["gradients/0.weight#max_abs"].values > 0).all()


def test_config_environment_axes_and_exit() -> None:
    records = read_file(READER, REAL_RUN)
    configs = {record.kind: dict(record.values) for record in of_type(records, ConfigRecord)}
    assert configs == {
        "wandb": {
            "lr": 1e-4,
            "model.layers.0": 1,
            "model.layers.1": 2,
            "model.name": "tiny",
            "fp16": True,
        },
        "wandb_axes": {"train/*": "train/global_step"},
    }
    (environment,) = of_type(records, EnvironmentRecord)
    assert environment.packages == {"wandb": "0.31.0"}
    assert environment.facts == {
        "os": "Linux-6.1-x86_64-with-glibc2.36",
        "python": "3.11.7",
        "program": "train.py",
        "command": "train.py --lr 1e-4",
        "host": "host",
        "username": "user",
        "gpu": "NVIDIA A100-SXM4-80GB",
        "gpu_count": "2",
        "gpu_architecture": "Ampere",
        "cuda": "12.4",
        "git_remote": "https://example.org/repo.git",
        "git_commit": "0" * 40,
    }
    (event,) = of_type(records, LogEvent)
    assert (event.kind, event.data["exit_code"]) == ("run-finished", 1)
    assert not problems_of(records)


def test_what_the_run_printed() -> None:
    assert list(output_lines(REAL_RUN)) == [f"step {i}" for i in range(12)]


_VALUES = st.one_of(
    st.floats().map(json.dumps),
    st.floats(-1e6, 1e6).map(json.dumps),
    st.integers().map(str),
    st.sampled_from(['"x"', "null", "true", "{}", "-", "[1, NaN]", "1e-05", "0.00", '"NaN"']),
)
_PATHS = st.one_of(
    st.sampled_from(["_step", "_runtime", "_timestamp", "train/loss", "train/long_name"]),
    st.text(min_size=1, max_size=200),
    st.lists(st.text(max_size=9), min_size=1, max_size=3),
)


def _first(path: str | list[str]) -> str:
    return path if isinstance(path, str) else path[0]


@st.composite
def _rows(draw: st.DrawFn) -> list[bytes]:
    """History records of which most share their keys, as a run's do, in any order."""
    paths = draw(st.lists(_PATHS, max_size=5, unique_by=_first))
    rows = []
    for _ in range(draw(st.integers(1, 20))):
        items = [item(path, draw(_VALUES)) for path in draw(st.permutations(paths))]
        if draw(st.integers(0, 9)) == 0:
            items.append(draw(st.binary(max_size=20)))
        tail = draw(st.sampled_from([b"", field(2, b""), field(2, field(1, 7)), b"\x12\x7f"]))
        rows.append(field(2, b"".join(field(1, one) for one in items) + tail))
    return rows


@settings(max_examples=200, deadline=None)
@given(rows=_rows())
def test_many_rows_at_once_give_what_one_by_one_gives(
    tmp_path_factory: Factory, rows: list[bytes]
) -> None:
    folder = tmp_path_factory.mktemp("run")
    data = run_file(rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nanautopsy.readers._wandb_items._FEWEST_ROWS", 1 << 40)
        slow = as_text(read(data, folder))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nanautopsy.readers._wandb_items._FEWEST_ROWS", 1)
        patch.setattr("nanautopsy.readers._decimal_text._FEWEST", 1)
        assert as_text(read(data, folder)) == slow


# --- the Python versions' form ------------------------------------------------------------------


def test_nested_values_under_one_key(tmp_path: Path) -> None:
    rows = [{"x": math.nan, "y": {"z": math.inf, "list": [1.0, math.nan]}, "_runtime": 2.5}]
    records = read(old_run(rows), tmp_path)
    found = series_of(records)
    assert same_values(found["x"].values, [math.nan])
    assert found["x"].times is not None and found["x"].times.tolist() == [1_600_000_002.5]
    assert found["y.z"].values.tolist() == [math.inf]
    assert same_values(found["y.list.1"].values, [math.nan])
    (config,) = of_type(records, ConfigRecord)
    assert dict(config.values) == {"lr": 0.1}
    (environment,) = of_type(records, EnvironmentRecord)
    assert environment.facts["python"] == "3.8.1"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"_type": "histogram", "values": [1, 2, 3], "bins": [-4, -1, 0, 2]}, (6.0, 4.0)),
        (
            {
                "_type": "histogram",
                "values": [1, 2],
                "packedBins": {"min": -1.0, "size": 2.5, "count": 2},
            },
            (3.0, 4.0),
        ),
    ],
)
def test_histograms(value: object, expected: tuple[float, float], tmp_path: Path) -> None:
    found = series_of(read(old_run([{"g": value}]), tmp_path))
    assert (found["g#count"].values[0], found["g#max_abs"].values[0]) == expected
    assert set(found) == {"g#count", "g#max_abs"}


def test_histograms_that_are_spread_over_items(tmp_path: Path) -> None:
    """As newer versions write them: every leaf an item of its own, in any order."""
    rows = []
    for step in range(40):
        parts = [
            item(["g", "packedBins", "min"], "-1"),
            item(["g", "packedBins", "size"], "2.5"),
            item(["g", "packedBins", "count"], "2"),
            item(["g", "values"], "[1,2]"),
            item(["g", "_type"], '"histogram"'),
            item(["image", "_type"], '"image-file"'),
            item(["image", "size"], "5"),
            item(["deep", "er", "x"], str(step)),
            item(["_step"], str(step)),
        ]
        random.Random(step).shuffle(parts)
        rows.append(field(1, step) + field(2, b"".join(field(1, part) for part in parts)))
    found = series_of(read(run_file(rows), tmp_path))
    assert set(found) == {"g#count", "g#max_abs", "deep.er.x"}
    assert found["g#count"].values.tolist() == [3.0] * 40
    assert found["g#max_abs"].values.tolist() == [4.0] * 40
    assert found["deep.er.x"].values.tolist() == found["deep.er.x"].steps.tolist()


def test_words_of_the_server_and_media(tmp_path: Path) -> None:
    row = {
        "a": "NaN",
        "b": "-Infinity",
        "image": {"_type": "image-file", "size": 5},
        "text": "nano",
        "huge": 10**400,
    }
    found = series_of(read(old_run([row]), tmp_path))
    assert set(found) == {"a", "b", "huge"}
    assert math.isnan(found["a"].values[0])
    assert found["huge"].values[0] == math.inf


def test_typed_items(tmp_path: Path) -> None:
    """Fields that wandb 0.31 declares beside the JSON text."""
    items = [
        item("_step", "4"),
        field(2, "flag") + field(4, 1),
        field(2, "count") + field(5, 5),
        field(2, "half") + bytes([6 << 3 | 1]) + b"\0\0\0\0\0\0\xe0\x3f",
        field(2, "word") + field(7, "NaN"),
        field(2, "json") + field(8, '{"deep": 2}'),
    ]
    row = field(2, b"".join(field(1, one) for one in items))
    found = series_of(read(run_file([row]), tmp_path))
    values = {tag: float(series.values[0]) for tag, series in found.items()}
    assert math.isnan(values.pop("word"))
    assert values == {"flag": 1.0, "count": -3.0, "half": 0.5, "json.deep": 2.0}
    assert found["half"].steps.tolist() == [4]


def test_a_summary_counts_only_without_history(tmp_path: Path) -> None:
    update = b"".join(field(1, item(k, v)) for k, v in {"_step": "7", "acc": "NaN"}.items())
    summary = field(3, update)
    found = series_of(read(run_file([summary]), tmp_path))
    assert found["acc"].steps.tolist() == [7] and math.isnan(found["acc"].values[0])
    with_history = read(run_file([history({"_step": 0, "x": 1}), summary]), tmp_path)
    assert set(series_of(with_history)) == {"x"}


def test_rows_without_a_step_are_counted(tmp_path: Path) -> None:
    found = series_of(read(run_file([history({"x": i}) for i in range(3)]), tmp_path))
    assert found["x"].axis == "record" and found["x"].steps.tolist() == [0, 1, 2]


def test_config_changes_and_removals(tmp_path: Path) -> None:
    changes = [
        field(5, field(1, item("a", "1")) + field(1, item("b", '{"c": 2}'))),
        field(5, field(1, item("a", "3")) + field(2, item("b", "null"))),
    ]
    (config,) = of_type(read(run_file(changes), tmp_path), ConfigRecord)
    assert dict(config.values) == {"a": 3}


def test_resumed_runs_say_so(tmp_path: Path) -> None:
    (event,) = of_type(
        read(run_file([field(17, field(14, 30) + field(18, 1))]), tmp_path), LogEvent
    )
    assert (event.kind, event.step, event.data["step"]) == ("run-resumed", 30, 30)


def test_lines_of_two_streams_are_kept_apart(tmp_path: Path) -> None:
    def raw(stream: int, text: str) -> bytes:
        return field(13, (field(1, 1) if stream else b"") + field(3, text))

    pieces = [raw(1, "step "), raw(0, "warn"), raw(1, "1\nst"), raw(0, "ing\n"), raw(1, "ep 2")]
    path = tmp_path / "run.wandb"
    path.write_bytes(run_file(pieces))
    assert list(output_lines(path)) == ["step 1", "warning", "step 2"]


@pytest.mark.parametrize("own_log", [False, True])
def test_printed_lines_are_read_where_they_have_no_file(tmp_path: Path, own_log: bool) -> None:
    lines = "".join(f"step: {i} loss: {'nan' if i > 2 else 2.5}\n" for i in range(1, 5))
    if own_log:
        (tmp_path / "files").mkdir()
        (tmp_path / "files" / "output.log").write_text(lines)
    records = read(run_file([field(13, field(1, 1) + field(3, lines))]), tmp_path)
    printed = [one for tag, one in series_of(records).items() if tag == "loss"]
    assert [one.steps.tolist() for one in printed] == ([] if own_log else [[1, 2, 3, 4]])
    assert all(one.lines is not None and one.lines.tolist() == [1, 2, 3, 4] for one in printed)


# --- damage -------------------------------------------------------------------------------------


def small_run() -> bytes:
    return old_run([{"loss": 1.0 / (i + 1), "n": {"v": float(i)}} for i in range(12)])


def test_cut_at_every_byte_keeps_every_point_before(tmp_path: Path) -> None:
    data = small_run()
    everything = points_of(read(data, tmp_path))
    before: set[tuple[str, int, str]] = set()
    for cut in range(7, len(data) + 1):
        records = read(data[:cut], tmp_path)
        found = points_of(records)
        assert before <= found <= everything
        assert len(problems_of(records)) <= 1
        before = found
    assert before == everything


def test_cut_of_a_real_run_over_blocks(tmp_path: Path) -> None:
    data = REAL_RUN.read_bytes()
    before: set[tuple[str, int, str]] = set()
    for cut in sorted({*range(7, len(data), 997), *range(BLOCK - 20, BLOCK + 20), len(data)}):
        found = points_of(read(data[:cut], tmp_path))
        assert before <= found
        before = found


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 8))
def test_flipped_bytes_never_raise(tmp_path_factory: Factory, seed: int, count: int) -> None:
    chance = random.Random(seed)
    data = bytearray(REAL_RUN.read_bytes() if seed % 2 else small_run())
    for _ in range(count):
        data[chance.randrange(7, len(data))] ^= 1 << chance.randrange(8)
    records = read(bytes(data), tmp_path_factory.mktemp("run"))
    for problem in problems_of(records):
        assert problem.source.offset is not None
    path = tmp_path_factory.mktemp("run") / "run.wandb"
    path.write_bytes(bytes(data))
    list(output_lines(path))


@settings(max_examples=60, deadline=None)
@example([b"\x00"])
@given(st.lists(st.binary(max_size=120), max_size=8))
def test_records_of_garbage_never_raise(tmp_path_factory: Factory, payloads: list[bytes]) -> None:
    wrapped = [field(2, field(1, payload)) for payload in payloads]
    read(run_file([*payloads, *wrapped]), tmp_path_factory.mktemp("run"))


def test_a_bad_block_costs_only_itself(tmp_path: Path) -> None:
    rows = [{"loss": float(i), "pad": "x" * 900} for i in range(200)]
    data = bytearray(old_run(rows))
    data[BLOCK + 40] ^= 1
    records = read(bytes(data), tmp_path)
    kept = series_of(records)["loss"].steps.tolist()
    lost = sorted(set(range(200)) - set(kept))
    assert lost and lost == list(range(lost[0], lost[-1] + 1)) and len(lost) < 45
    assert kept[-1] == 199
    problems = problems_of(records)
    assert any("checksum" in p.text and p.source.offset is not None for p in problems)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), count=st.integers(0, 6))
def test_many_chunks_are_checked_together_as_one_by_one(
    tmp_path_factory: Factory, seed: int, count: int
) -> None:
    chance = random.Random(seed)
    raw = bytearray(old_run({"x": i, "pad": "p" * chance.randrange(90)} for i in range(2500)))
    for _ in range(count):
        raw[chance.randrange(len(raw))] ^= 1 << chance.randrange(8)
    folder = tmp_path_factory.mktemp("run")
    together = read(bytes(raw), folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nanautopsy.readers._leveldb_log._MANY_CHUNKS", 1 << 40)
        alone = read(bytes(raw), folder)
    assert as_text(together) == as_text(alone)
    assert [str(p) for p in problems_of(together)] == [str(p) for p in problems_of(alone)]
    assert bool(problems_of(together)) >= (len(series_of(together)["x"]) < 2500)


def test_a_zeroed_block_and_a_zeroed_tail(tmp_path: Path) -> None:
    rows = [{"loss": float(i), "pad": "x" * 900} for i in range(200)]
    data = bytearray(old_run(rows))
    data[2 * BLOCK : 3 * BLOCK] = bytes(BLOCK)
    records = read(bytes(data) + bytes(100_000), tmp_path)
    assert series_of(records)["loss"].steps.tolist()[-1] == 199
    assert any("zeros" in problem.text for problem in problems_of(records))


def test_a_record_longer_than_allowed_is_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nanautopsy.readers._leveldb_log.LARGEST_RECORD", 100_000)
    data = old_run([{"a": 1}, {"a": 2, "b": "x" * 200_000}, {"a": 3}])
    records = read(data, tmp_path)
    assert series_of(records)["a"].values.tolist() == [1, 3]
    assert len(problems_of(records)) == 1


def test_deep_json_and_many_problems_stay_bounded(tmp_path: Path) -> None:
    row = [item("_step", "0"), item("deep", "[" * 100_000), item("x", "1")]
    deep = field(2, b"".join(field(1, one) for one in row))
    records = read(run_file([deep, *[b"\xff"] * 500]), tmp_path)
    assert set(series_of(records)) == {"x"}
    assert len(problems_of(records)) == 21


def test_keys_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nanautopsy.readers._wandb_history._MOST_TAGS", 50)
    records = read(old_run([{f"key {i}": 1.0} for i in range(60)]), tmp_path)
    assert len(series_of(records)) == 50
    (problem,) = problems_of(records)
    assert problem.text == "10 points of further keys are left out"


def test_a_broken_header_and_a_pointer(tmp_path: Path) -> None:
    data = bytearray(small_run())
    data[1] ^= 1
    records = read(bytes(data), tmp_path)
    assert len(series_of(records)["loss"]) == 12
    assert [problem.source.offset for problem in problems_of(records)] == [0]
    assert read(b"", tmp_path) == []
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
    (skipped,) = read(pointer, tmp_path)
    assert isinstance(skipped, Skipped)


def test_claims() -> None:
    assert READER.claim(FileHead("a/renamed", 9, REAL_RUN.read_bytes()[:64])) is not None
    assert READER.claim(FileHead("a/run-x.wandb", 0, b"")) is not None
    assert READER.claim(FileHead("a/b.txt", 9, b"text :W&B")) is None


# --- public artifacts ---------------------------------------------------------------------------


@pytest.mark.real
@pytest.mark.skipif(not SHARED.is_dir(), reason="the public artifacts are not here")
@pytest.mark.parametrize(
    ("name", "tag", "step", "value"),
    [
        ("cs6910-mom-nan", "train_loss", 0, math.nan),
        ("cs6910b-inf", "loss", 1, math.inf),
        ("lf-fp16-a", "train/grad_norm", 0, math.nan),
        ("lf-single-nan-a", "train/grad_norm", 15, math.nan),
        ("wandb-nan-fixture", "edge/nan_inf", 1, math.nan),
    ],
)
def test_public_runs(name: str, tag: str, step: int, value: float) -> None:
    (path,) = (SHARED / name).rglob("*.wandb")
    series = series_of(read_file(READER, path))[tag]
    bad = [i for i, v in enumerate(series.values) if not math.isfinite(v)]
    assert series.steps[bad[0]] == step
    assert same_values([series.values[bad[0]]], [value])
