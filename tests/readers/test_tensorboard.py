"""Event files: every point of every writer, and everything that survives damage."""

from __future__ import annotations

import gzip
import json
import math
import random
import struct
from pathlib import Path

import numpy as np
import pytest
from eventfiles import HEADER_EVENT, event_file, frame, scalar
from hypothesis import given, settings
from hypothesis import strategies as st
from reading import SHARED, of_type, problems_of, read_file, same_values, series_of
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import crc32c

from nanautopsy.model import ConfigRecord, FileHead, LogEvent, Record, Series, Skipped
from nanautopsy.readers import _crc32c
from nanautopsy.readers._record_chain import Chain, length_crcs
from nanautopsy.readers._scalar_templates import ScalarTemplates
from nanautopsy.readers.tensorboard import READER

Factory = pytest.TempPathFactory
FIXTURES = Path(__file__).parents[1] / "fixtures" / "tensorboard"
NAME = "events.out.tfevents.1700000000.host.1.0"


def read(data: bytes, tmp_path: Path) -> list[Record]:
    path = tmp_path / NAME
    path.write_bytes(data)
    return read_file(READER, path)


def read_slowly(data: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Record]:
    """The same without templates: every record goes through the real parser."""
    with monkeypatch.context() as patch:
        nothing = lambda _, frames: ([], np.arange(len(frames.starts)))  # noqa: E731
        patch.setattr(ScalarTemplates, "decode", nothing)
        return read(data, tmp_path)


def as_text(records: list[Record]) -> list[object]:
    """Records in a form that compares, NaN included."""
    return [
        (r.tag, r.steps.tolist(), [repr(v) for v in r.values], list(map(repr, r.times)))  # type: ignore[arg-type]
        if isinstance(r, Series)
        else r
        for r in records
    ]


# --- what the real writers write ----------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(json.loads((FIXTURES / "expected.json").read_text())))
def test_every_scalar_of_real_writers(name: str) -> None:
    expected = json.loads((FIXTURES / "expected.json").read_text())[name]
    found = series_of(read_file(READER, FIXTURES / name, name))
    scalars = {tag: series for tag, series in found.items() if "#" not in tag}
    assert set(scalars) == set(expected)
    for tag, points in expected.items():
        assert scalars[tag].steps.tolist() == [int(step) for step, _ in points]
        assert same_values(scalars[tag].values, [float(value) for _, value in points])
        assert scalars[tag].source.path == name


def test_points_are_those_of_tensorboard_itself(tmp_path: Path) -> None:
    chance = random.Random(7)
    events = [
        scalar(tag, step, chance.choice([chance.gauss(0, 1), math.nan, -math.inf]), chance.random())
        for step in [*range(0, 400), *range(16_300, 16_500), 2**31, 2**40]
        for tag in ("loss", "grad_norm/layer.10", "grad_norm/layer.11", "lr")
    ]
    (tmp_path / NAME).write_bytes(event_file(events))
    accumulator = EventAccumulator(str(tmp_path), size_guidance={"scalars": 0})
    accumulator.Reload()
    found = series_of(read_file(READER, tmp_path / NAME))
    assert set(found) == set(accumulator.Tags()["scalars"])
    for tag, series in found.items():
        theirs = accumulator.Scalars(tag)
        assert series.steps.tolist() == [point.step for point in theirs]
        assert same_values(series.values, (point.value for point in theirs))
        assert same_values(series.times, (point.wall_time for point in theirs))  # type: ignore[arg-type]


def test_histograms_show_nonfinite_elements() -> None:
    path = next((FIXTURES / "torch").glob("*.0"))
    found = series_of(read_file(READER, path))
    assert found["weights/layer.0#nonfinite"].values.tolist() == [0, 0, 2]
    assert same_values(found["weights/layer.0#max"].values, [5, 5, math.nan])
    x = series_of(read_file(READER, next((FIXTURES / "tensorboardx").iterdir())))
    assert x["h#nonfinite"].values.tolist() == [1]
    tf = series_of(read_file(READER, next((FIXTURES / "tensorflow").iterdir())))
    assert same_values(tf["kernel#max"].values, [4, math.nan])
    assert tf["kernel#nonfinite"].values.tolist() == [0, 1]


def test_texts_and_hparams_are_settings() -> None:
    configs = of_type(read_file(READER, next((FIXTURES / "torch").glob("*.0"))), ConfigRecord)
    by_kind = {config.kind: config.values for config in configs}
    assert by_kind["training"] == {"learning_rate": 5e-05, "fp16": True, "optim": "adamw"}
    assert by_kind["model"] == {"hidden_size": 8, "rope.theta": 10000.0}
    assert by_kind["tensorboard_text"] == {"num_layers": "12"}
    (hparams,) = of_type(read_file(READER, next((FIXTURES / "hparams").glob("*.3"))), ConfigRecord)
    assert (hparams.kind, dict(hparams.values)) == ("hparams", {"lr": 0.1, "name": "x", "amp": 1})


def test_a_restart_is_an_event() -> None:
    (event,) = of_type(read_file(READER, next((FIXTURES / "torch").glob("*.1"))), LogEvent)
    assert (event.kind, event.step, event.step_exact) == ("run-started", 15, True)


@pytest.mark.parametrize(
    ("dtype", "fields", "value"),
    [
        (1, {"float_val": [1.5]}, 1.5),
        (2, {"double_val": [math.inf]}, math.inf),
        (19, {"half_val": [0x3E00]}, 1.5),
        (14, {"half_val": [0x3FC0]}, 1.5),
        (1, {"tensor_content": struct.pack("<f", 1.5)}, 1.5),
        (2, {"tensor_content": struct.pack("<d", -2.5)}, -2.5),
        (19, {"tensor_content": b"\x00\x7e"}, math.nan),
        (14, {"tensor_content": b"\x80\x7f"}, math.inf),
        (1, {"tensor_content": b"\0\0\0"}, None),
        (3, {"int_val": [-3]}, -3),
        (4, {"int_val": [200]}, 200),
        (9, {"int64_val": [-(2**40)]}, -(2.0**40)),
        (10, {"bool_val": [True]}, 1),
        (22, {"uint32_val": [2**32 - 1]}, 2**32 - 1),
        (23, {"uint64_val": [2**63]}, 2.0**63),
        (24, {"float8_val": b"\x7c"}, math.inf),
        (25, {"tensor_content": b"\x7f"}, math.nan),
        (25, {"tensor_content": b"\xfe"}, -448),
        (25, {"tensor_content": b"\x01"}, 2.0**-9),
        (9, {"tensor_content": struct.pack("<q", -7)}, -7),
        (6, {"tensor_content": b"\xff"}, -1),
        (10, {"tensor_content": b"\x01"}, 1),
        (7, {"string_val": [b"3"]}, None),
        (8, {"scomplex_val": [1.0, 2.0]}, None),
        (1, {}, None),
    ],
)
@pytest.mark.parametrize("count", [1, 40])
def test_scalar_tensors(
    dtype: int, fields: dict[str, object], value: float | None, count: int, tmp_path: Path
) -> None:
    events = []
    for step in range(count):
        event = Event(wall_time=1.0, step=step)
        tensor = event.summary.value.add(tag="t").tensor
        tensor.dtype = dtype
        for name, content in fields.items():
            if isinstance(content, bytes):
                setattr(tensor, name, content)
            else:
                getattr(tensor, name).extend(content)
        events.append(event)
    found = series_of(read(event_file(events), tmp_path))
    if value is None:
        assert found == {}
    else:
        assert same_values(found["t"].values, [value] * count)


def test_several_values_in_one_event(tmp_path: Path) -> None:
    events = []
    for step in range(50):
        event = scalar("a", step, step)
        event.summary.value.add(tag="b", simple_value=-step)
        event.summary.value.add(tag="a", simple_value=0.5)
        events.append(event)
    found = series_of(read(event_file(events), tmp_path))
    assert found["b"].values.tolist() == [-step for step in range(50)]
    assert found["a"].values.tolist() == [v for step in range(50) for v in (step, 0.5)]


def test_negative_steps_and_missing_wall_times(tmp_path: Path) -> None:
    events = [scalar("a", step, 1.0, time) for step in range(-20, 20) for time in (0.0, 2.0)]
    found = series_of(read(event_file(events), tmp_path))
    assert found["a"].steps.tolist() == [step for step in range(-20, 20) for _ in range(2)]
    assert found["a"].times is not None and found["a"].times.tolist() == [0.0, 2.0] * 40


def test_a_tensor_of_one_number_of_any_rank(tmp_path: Path) -> None:
    event = Event(wall_time=1.0, step=3)
    for tag, shape in (("one", [1]), ("also", [1, 1]), ("two", [2]), ("none", [0])):
        tensor = event.summary.value.add(tag=tag).tensor
        tensor.dtype = 1
        for size in shape:
            tensor.tensor_shape.dim.add(size=size)
        tensor.float_val.append(0.5)
    found = series_of(read(event_file([event]), tmp_path))
    assert {tag: one.values.tolist() for tag, one in found.items()} == {"one": [0.5], "also": [0.5]}


@pytest.mark.parametrize(
    ("fields", "nonfinite"),
    [
        ({"min": -1, "max": 2, "num": 10, "sum": 3, "bucket": [4, 6]}, 0),
        ({"min": -1, "max": 2, "num": 10, "sum": math.nan, "bucket": [4, 3]}, 3),
        ({"min": -1, "max": 2, "num": 10, "sum": math.nan, "bucket": [4, 6]}, 1),
        ({"min": -1, "max": math.inf, "num": 10, "sum": math.inf, "bucket": [4, 6]}, 1),
        ({"min": -1, "max": 1e308, "num": 10, "sum": math.inf, "bucket": [4, 6]}, 0),
        ({"min": 0, "max": 1, "num": 1.0, "sum": 1, "bucket": [0.3, 0.7000000001]}, 0),
        ({"min": 0, "max": 1, "num": 2e9, "sum": 1, "bucket": [1e9, 1e9 - 1]}, 0),
        ({"min": 0, "max": 1, "num": 2, "sum": 1, "bucket": [1e308, 1e308, -math.inf]}, math.nan),
        ({"min": 0, "max": 1, "num": math.nan, "sum": 1, "bucket": [1]}, math.nan),
    ],
)
def test_old_histograms(fields: dict[str, object], nonfinite: float, tmp_path: Path) -> None:
    event = Event(wall_time=1.0, step=3)
    histo = event.summary.value.add(tag="h").histo
    for name, content in fields.items():
        if isinstance(content, list):
            getattr(histo, name).extend(content)
        else:
            setattr(histo, name, content)
    histo.bucket_limit.extend(range(len(histo.bucket)))
    found = series_of(read(event_file([event]), tmp_path))
    assert same_values(found["h#nonfinite"].values, [nonfinite])


def test_final_metrics_of_hparams_stand_at_no_step() -> None:
    (path,) = (p for p in (FIXTURES / "hparams").iterdir() if series_of(read_file(READER, p)))
    found = series_of(read_file(READER, path))
    assert found["final"].axis == "record"


# --- templates give what the parser gives -------------------------------------------------------


_TAGS = st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=6, unique=True)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_templates_change_nothing(data: st.DataObject, tmp_path_factory: Factory) -> None:
    tags = data.draw(_TAGS)
    steps = data.draw(st.sampled_from([range(60), range(100, 160), range(16_360, 16_400)]))
    chance = random.Random(data.draw(st.integers(0, 2**32)))
    odd = data.draw(st.integers(0, 5))
    events = []
    for step in steps:
        for tag in tags:
            event = scalar(tag, step, chance.choice([1.0, math.nan, 3e38]), chance.random())
            if chance.random() < odd / 20:
                event.summary.value[0].metadata.display_name = "x" * chance.randrange(9)
            if chance.random() < odd / 40:
                event.summary.value[0].tensor.dtype = 1
                event.summary.value[0].tensor.float_val.append(2.0)
            events.append(event)
    raw = bytearray(event_file(events))
    for _ in range(data.draw(st.integers(0, 3))):
        raw[chance.randrange(len(raw))] ^= 1 << chance.randrange(8)
    folder = tmp_path_factory.mktemp("events")
    with pytest.MonkeyPatch.context() as patch:
        slow = as_text(read_slowly(bytes(raw), folder, patch))
    assert as_text(read(bytes(raw), folder)) == slow


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), shuffled=st.booleans(), tags=st.integers(1, 80))
def test_records_are_followed_whatever_their_lengths(
    tmp_path_factory: Factory, seed: int, shuffled: bool, tags: int
) -> None:
    """In rounds with runs of equal lengths, in any order, and with long records between."""
    chance = random.Random(seed)
    usual = [chance.choice([40, 41, 48])] * tags + [44, 61]
    lengths: list[int] = []
    while len(lengths) < 6000:
        chance.shuffle(usual) if shuffled else None
        lengths += usual
        lengths += [chance.randrange(200_000)] * (chance.random() < 0.01)
        lengths += [57] * (chance.random() < 0.01)
    crcs = length_crcs(np.array(lengths))
    parts = [
        struct.pack("<QI", length, int(crc)) + chance.randbytes(length) + bytes(4)
        for length, crc in zip(lengths, crcs, strict=True)
    ]
    buffer = memoryview(bytearray(b"".join(parts)))
    places, sizes = Chain().follow(buffer, np.frombuffer(buffer, dtype=np.uint8))
    assert sizes.tolist() == [length + 16 for length in lengths]
    assert places.tolist() == np.append(0, np.cumsum(sizes)[:-1]).tolist()


# --- damage -------------------------------------------------------------------------------------


def small_file() -> tuple[bytes, list[int]]:
    """A file of 40 scalars, and where each record begins."""
    events = [scalar(tag, step, step / 7) for step in range(20) for tag in ("loss", "grad_norm")]
    parts = [frame(event.SerializeToString()) for event in (HEADER_EVENT, *events)]
    begins = [sum(map(len, parts[:i])) for i in range(len(parts))]
    return b"".join(parts), begins


def points_of(records: list[Record]) -> set[tuple[str, int, float]]:
    return {
        (series.tag, int(step), float(value))
        for series in of_type(records, Series)
        for step, value in zip(series.steps, series.values, strict=True)
    }


def test_cut_at_every_byte_keeps_every_point_before(tmp_path: Path) -> None:
    data, begins = small_file()
    for cut in range(len(data) + 1):
        records = read(data[:cut], tmp_path)
        whole = sum(begin <= cut for begin in [*begins[2:], len(data)])
        assert len(points_of(records)) == whole
        assert len(problems_of(records)) == (0 if cut in (*begins, len(data)) else 1)
        for problem in problems_of(records):
            assert problem.source.offset == max(begin for begin in begins if begin < cut)


def test_every_flipped_byte_costs_its_own_record_only(tmp_path: Path) -> None:
    data, begins = small_file()
    everything = points_of(read(data, tmp_path))
    ends = [*begins[1:], len(data)]
    for place in range(0, len(data), 3):
        raw = bytearray(data)
        raw[place] ^= 0x41
        records = read(bytes(raw), tmp_path)
        lost = everything - points_of(records)
        assert points_of(records) <= everything
        assert len(lost) <= 1
        assert problems_of(records)
        hit = next(i for i, end in enumerate(ends) if place < end)
        for tag, step, _ in lost:
            assert hit == 1 + 2 * step + (tag == "grad_norm")


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300), st.integers(0, 2000), st.binary(max_size=60))
def test_garbage_never_raises(
    tmp_path_factory: Factory, junk: bytes, place: int, tail: bytes
) -> None:
    data, _ = small_file()
    folder = tmp_path_factory.mktemp("events")
    before = points_of(read(data[:place], folder))
    assert before <= points_of(read(data[:place] + junk + data[place:] + tail, folder))
    read(junk, folder)


def test_zeros_at_the_end_are_one_problem(tmp_path: Path) -> None:
    data, _ = small_file()
    records = read(data + bytes(9_000_000), tmp_path)
    assert len(points_of(records)) == 40
    (problem,) = problems_of(records)
    assert problem.text == "9000000 bytes of zeros instead of records"
    assert problem.source.offset == len(data)


def test_records_after_a_long_stretch_of_garbage(tmp_path: Path) -> None:
    data, _ = small_file()
    junk = random.Random(1).randbytes(9_000_000)
    records = read(data + junk + frame(scalar("later", 5, 1.0).SerializeToString()), tmp_path)
    assert len(points_of(records)) == 41
    (problem,) = problems_of(records)
    assert problem.text == "9000000 bytes are no records"


@pytest.mark.parametrize("size", [70_000_000, 2**40, 2**63, 2**64 - 1])
def test_a_length_that_lies(size: int, tmp_path: Path) -> None:
    data, _ = small_file()
    length = struct.pack("<Q", size)
    crc = int(_crc32c.mask(np.array([_crc32c.of_bytes(length)], dtype=np.uint32))[0])
    records = read(data + length + struct.pack("<I", crc) + b"x" * 1000, tmp_path)
    assert len(points_of(records)) == 40
    assert problems_of(records)


def test_a_large_record_between_scalars(tmp_path: Path) -> None:
    graph = Event(wall_time=1.0, graph_def=bytes(range(256)) * 30_000)
    data = event_file([scalar("a", 0, 1.0), graph, scalar("a", 1, 2.0)])
    records = read(data, tmp_path)
    assert series_of(records)["a"].values.tolist() == [1, 2]
    assert not problems_of(records)


def test_line_ends_that_were_translated(tmp_path: Path) -> None:
    """A transfer as text breaks every record; it must neither take long nor invent values."""
    data = event_file([scalar("a", step, step / 3) for step in range(20_000)])
    records = read(data.replace(b"\n", b"\r\n"), tmp_path)
    assert points_of(records) == set()
    assert len(problems_of(records)) == 21


def test_every_length_checksum_is_wrong(tmp_path: Path) -> None:
    raw = bytearray(event_file([scalar("a", step, step / 3) for step in range(20_000)]))
    place = 0
    while place < len(raw):
        raw[place + 9] ^= 1
        place += 16 + int.from_bytes(raw[place : place + 8], "little")
    records = read(bytes(raw), tmp_path)
    assert points_of(records) == set()
    assert [problem.text for problem in problems_of(records)] == [
        f"{len(raw)} bytes are no records"
    ]


def test_every_other_record_is_lost(tmp_path: Path) -> None:
    raw = bytearray(event_file([scalar("a", step, step / 3) for step in range(20_000)]))
    place, count = 0, 0
    while place < len(raw):
        size = 16 + int.from_bytes(raw[place : place + 8], "little")
        if count % 2:
            raw[place + 9] ^= 1
        place, count = place + size, count + 1
    records = read(bytes(raw), tmp_path)
    assert series_of(records)["a"].steps.tolist() == list(range(1, 20_000, 2))


def test_problems_do_not_grow_without_end(tmp_path: Path) -> None:
    bad = frame(scalar("a", 1, 1.0).SerializeToString())[:-1] + b"?"
    records = read(event_file([]) + bad * 1000, tmp_path)
    assert len(problems_of(records)) == 21
    assert problems_of(records)[-1].text == "980 more problems of this file"


def test_empty_header_only_pointer_and_gzip(tmp_path: Path) -> None:
    assert read(b"", tmp_path) == []
    assert read(event_file([]), tmp_path) == []
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
    (skipped,) = read(pointer, tmp_path)
    assert isinstance(skipped, Skipped)
    data, _ = small_file()
    assert len(points_of(read(gzip.compress(data), tmp_path))) == 40
    packed = bytearray(gzip.compress(data))
    assert problems_of(read(bytes(packed[:-200]), tmp_path))
    packed[len(packed) // 2] ^= 0x55
    assert problems_of(read(bytes(packed), tmp_path))


def test_a_bomb_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, _ = small_file()
    path = tmp_path / NAME
    path.write_bytes(gzip.compress(data + bytes(30_000_000)))
    monkeypatch.setattr("nanautopsy.readers.tensorboard._LEAST_ROOM", 20_000_000)
    records = read_file(READER, path)
    assert len(points_of(records)) == 40
    assert any("expands" in problem.text for problem in problems_of(records))


def test_claims() -> None:
    header = frame(HEADER_EVENT.SerializeToString())
    assert READER.claim(FileHead("logs/renamed.bin", 40, header)) is not None
    assert READER.claim(FileHead(f"logs/{NAME}", 0, b"")) is not None
    assert READER.claim(FileHead(f"logs/{NAME}.profile-empty", 40, header)) is None
    assert READER.claim(FileHead("train.log", 5, b"hello")) is None
    assert READER.claim(FileHead("read_tfevents.py", 12, b"import struct")) is None
    assert READER.claim(FileHead(f"{NAME}.gz", 40, gzip.compress(header))) is not None
    damaged = b"\xff" + header[1:]
    assert READER.claim(FileHead(NAME, 40, damaged)) is not None


def test_session_log_without_start_is_nothing(tmp_path: Path) -> None:
    stop = Event(wall_time=1.0, step=3, session_log=SessionLog(status=SessionLog.STOP))
    assert read(event_file([stop]), tmp_path) == []


def test_a_writer_that_gets_every_checksum_wrong(tmp_path: Path) -> None:
    raw = bytearray(event_file([scalar("a", step, float(step)) for step in range(20)]))
    place = 0
    while place < len(raw):
        place += 16 + int.from_bytes(raw[place : place + 8], "little")
        raw[place - 1] ^= 1
    records = read(bytes(raw), tmp_path)
    assert series_of(records)["a"].values.tolist() == list(range(20))
    (problem,) = problems_of(records)
    assert problem.text == "no record's checksum is right; what they hold is taken as it stands"


def test_tags_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nanautopsy.readers._tracks._MOST_TAGS", 50)
    events = [scalar(f"tag {i % 60}", i, 1.0) for i in range(600)]
    records = read(event_file(events), tmp_path)
    assert len(series_of(records)) == 50
    (problem,) = problems_of(records)
    assert problem.text == "100 points of further tags are left out"


# --- checksums ----------------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=2000), st.data())
def test_crc_of_ranges(raw: bytes, data: st.DataObject) -> None:
    ends = data.draw(st.lists(st.tuples(*[st.integers(0, len(raw))] * 2), max_size=9))
    starts = np.array([min(pair) for pair in ends], dtype=np.int64)
    lengths = np.array([abs(a - b) for a, b in ends], dtype=np.int64)
    found = _crc32c.crc32c(np.frombuffer(raw, dtype=np.uint8), starts, lengths)
    theirs = [crc32c(raw[min(pair) : max(pair)]) for pair in ends]
    assert found.tolist() == theirs
    assert _crc32c.unmask(_crc32c.mask(found)).tolist() == theirs
    assert _crc32c.of_bytes(raw) == crc32c(raw)


# --- public artifacts ---------------------------------------------------------------------------


@pytest.mark.real
@pytest.mark.skipif(not SHARED.is_dir(), reason="the public artifacts are not here")
@pytest.mark.parametrize("name", ["astra-temp1decay1", "megatron-tb", "tensorboard-testdata"])
def test_public_files_are_read_whole(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = sorted(path for path in (SHARED / name).rglob("*tfevents*") if path.is_file())
    assert paths
    for path in paths:
        records = read_file(READER, path)
        assert not problems_of(records)
        with monkeypatch.context() as patch:
            nothing = lambda _, frames: ([], np.arange(len(frames.starts)))  # noqa: E731
            patch.setattr(ScalarTemplates, "decode", nothing)
            assert as_text(read_file(READER, path)) == as_text(records)
