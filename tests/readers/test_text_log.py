"""The text log reader as a whole: real programs' logs, and what must hold for any file."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanautopsy.model import (
    Artifact,
    ConfigRecord,
    EnvironmentRecord,
    FileHead,
    LogEvent,
    Problem,
    Record,
    Series,
)
from nanautopsy.readers.text_log import READER

FIXTURES = Path(__file__).parents[1] / "fixtures" / "text"
REAL = Path(__file__).parents[3] / "shared" / "real"


def read_file(path: Path) -> list[Record]:
    """All records of one file."""
    size = path.stat().st_size
    return list(
        READER.read(Artifact(path.name, "text-log", "text-log", ((path.name, path),), size))
    )


def series_of(records: Iterable[Record]) -> dict[tuple[str, str], Series]:
    """By tag and axis; these logs have one rank."""
    return {(r.tag, r.axis): r for r in records if isinstance(r, Series)}


def events_of(records: Iterable[Record], kind: str) -> list[LogEvent]:
    """The events of one kind."""
    return [r for r in records if isinstance(r, LogEvent) and r.kind == kind]


@pytest.fixture
def read_text(tmp_path: Path):  # type: ignore[no-untyped-def]
    """Read a text as a log."""

    def read(text: str) -> list[Record]:
        path = tmp_path / "train.log"
        path.write_text(text, encoding="utf-8", newline="")
        return read_file(path)

    return read


# --- real logs ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["hf_unbuffered", "hf_buffered"])
def test_trainer_rows_stand_at_the_trainers_own_steps(name: str) -> None:
    history = json.loads((FIXTURES / f"{name}.history.json").read_text())
    found = series_of(read_file(FIXTURES / f"{name}.log"))
    for tag in ("loss", "grad_norm", "learning_rate", "eval_loss"):
        rows = [row for row in history if tag in row]
        series = found[tag, "step"]
        assert series.steps.tolist() == [row["step"] for row in rows], tag
        expected = np.array([float(row[tag]) for row in rows])
        np.testing.assert_allclose(series.values, expected, rtol=1e-3)
    assert np.isnan(found["loss", "step"].values).any()
    final = found["train_loss", "step"]
    assert final.steps.tolist() == [24]


def test_trainer_lines_are_cited() -> None:
    path = FIXTURES / "hf_unbuffered.log"
    lines = path.read_bytes().decode().split("\n")
    loss = series_of(read_file(path))["loss", "step"]
    assert loss.lines is not None
    for line in loss.lines.tolist():
        assert "'loss'" in lines[line - 1]


def test_load_report_names_the_keys() -> None:
    records = read_file(FIXTURES / "load_report.log")
    (new,) = events_of(records, "weights-newly-initialized")
    assert new.data["keys"] == ("score.weight",)
    assert new.data["count"] == 1
    assert new.data["model_class"] == "GPT2ForSequenceClassification"
    assert new.data["checkpoint"] == "saved"
    (mismatch,) = events_of(records, "weights-mismatched")
    assert mismatch.data["keys"] == ("transformer.wte.weight",)


def test_anomaly_mode_names_the_function() -> None:
    records = read_file(FIXTURES / "anomaly.log")
    (event,) = events_of(records, "backward-nonfinite")
    assert event.data["function"] == "SqrtBackward0"
    (traceback,) = events_of(records, "traceback")
    assert traceback.data["exception"] == "RuntimeError"
    assert traceback.source.line == event.source.line


HEALTHY = {
    "bigscience-out": "bigscience-out/**/*.out",
    "dsx-chat-step1": "dsx-chat-step1/**/*.log",
    "dsx-randomltd-ok": "dsx-randomltd-ok/**/*.log",
    "llava-pbs": "llava-pbs/**/*.o*",
    "caffe-bad-div": "caffe-bad-div/**/*.log",
    "d2-gdp": "d2-gdp/**/log.txt",
}


@pytest.mark.real
@pytest.mark.parametrize("pattern", HEALTHY.values(), ids=HEALTHY.keys())
def test_finite_public_logs_give_nothing_nonfinite(pattern: str) -> None:
    paths = sorted(REAL.glob(pattern))
    if not paths:
        pytest.skip("public artifacts are not here")
    for path in paths:
        records = read_file(path)
        assert not [r for r in records if isinstance(r, Problem)]
        assert not events_of(records, "nonfinite-text")
        for series in series_of(records).values():
            assert np.isfinite(series.values).all(), (path, series.tag)


@pytest.mark.real
def test_public_nan_log() -> None:
    paths = sorted(REAL.glob("dsx-randomltd-nan/**/*.log"))
    if not paths:
        pytest.skip("public artifacts are not here")
    found = series_of(read_file(paths[0]))
    series = found["Perplexity", "step"]
    assert series.steps[np.isnan(series.values)].tolist()[0] == 4


@pytest.mark.real
def test_public_trainer_log_counts_every_step() -> None:
    paths = sorted(REAL.glob("llava-pbs/**/lora_1.5-13b.o6884402"))
    if not paths:
        pytest.skip("public artifacts are not here")
    series = series_of(read_file(paths[0]))["loss", "step"]
    assert series.steps.tolist() == list(range(1, 2632))


# --- any file -----------------------------------------------------------------------------------


def finite_points(records: Iterable[Record]) -> set[tuple[str, float, int]]:
    """(tag, value, line) of every point."""
    found = set()
    for series in records:
        if isinstance(series, Series):
            assert series.lines is not None
            values = np.nan_to_num(series.values, nan=-1e300).tolist()
            found |= {
                (series.tag, value, line)
                for value, line in zip(values, series.lines.tolist(), strict=True)
            }
    return found


def test_truncation_loses_no_earlier_point(tmp_path: Path) -> None:
    data = (FIXTURES / "hf_unbuffered.log").read_bytes()
    path = tmp_path / "cut.log"
    whole = finite_points(read_file(FIXTURES / "hf_unbuffered.log"))
    for cut in range(0, len(data), 7):
        path.write_bytes(data[:cut])
        line = data.count(b"\n", 0, cut)
        kept = finite_points(read_file(path)) if cut else set()
        earlier = {point for point in whole if point[2] <= line and point[0] == "loss"}
        assert earlier <= kept, cut


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=3000))
def test_random_bytes_never_raise(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("random") / "x.log"
    path.write_bytes(data)
    read_file(path)
    READER.claim(FileHead("x.log", len(data), data))


WORDS = st.sampled_from(
    "loss: =nan inf step epoch Epoch 1/5 {'loss': 'nan', 'epoch': 0.5} 12/400 | [00:01<00:02, it/s]"
    " -1.5e3 tensor( ) iteration OVERFLOW! Skipping step. Attempted loss scale: 65536, reducing to"
    " Some weights of were not initialized LOAD REPORT Traceback (most recent call last):"
    " \n \r \x1b[0m === [ ] ( ) , ; Namespace( lr=0.1 json = { } 0x1f 1,234 🙂".split(" ")
)


@settings(max_examples=150, deadline=None)
@given(st.lists(WORDS, max_size=80), st.sampled_from([" ", "", "\n"]))
def test_shuffled_log_words_never_raise(
    tmp_path_factory: pytest.TempPathFactory, parts: list[str], between: str
) -> None:
    path = tmp_path_factory.mktemp("words") / "x.log"
    path.write_text(between.join(parts), encoding="utf-8", newline="")
    assert not [r for r in read_file(path) if isinstance(r, Problem)]


def test_overlong_line_is_read_in_pieces(tmp_path: Path) -> None:
    path = tmp_path / "long.log"
    path.write_bytes(b"step 1 loss: 2.5\n" + b"x" * (5 << 20) + b"\nstep 2 loss: nan\n")
    records = read_file(path)
    (problem,) = [r for r in records if isinstance(r, Problem)]
    assert "longer than 1 MiB" in problem.text
    assert problem.source.line == 2
    series = series_of(records)["loss", "step"]
    assert series.steps.tolist() == [1, 2]
    assert series.lines is not None and series.lines.tolist() == [1, 3]


def test_gzip_and_its_truncation(tmp_path: Path) -> None:
    text = "".join(f"step {i} loss: {i / 7:.6f}\n" for i in range(20000)).encode()
    packed = gzip.compress(text)
    path = tmp_path / "train.log.gz"
    path.write_bytes(packed)
    assert READER.claim(FileHead(path.name, len(packed), packed[:65536])) is not None
    assert len(series_of(read_file(path))["loss", "step"]) == 20000
    path.write_bytes(packed[: len(packed) // 2])
    records = read_file(path)
    assert [r for r in records if isinstance(r, Problem)]
    assert len(series_of(records)["loss", "step"]) > 1000


def test_hole_where_a_log_was_cut_while_open(tmp_path: Path) -> None:
    path = tmp_path / "train.log"
    path.write_bytes(bytes(3 << 20) + b"step 1 loss: 2.5\nstep 2 loss: nan\n" + bytes(100))
    assert READER.claim(FileHead("train.log", path.stat().st_size, bytes(65536))) is not None
    records = read_file(path)
    (problem,) = [r for r in records if isinstance(r, Problem)]
    assert problem.source.offset == 0
    assert series_of(records)["loss", "step"].steps.tolist() == [1, 2]


def test_sparse_file_ends_soon(tmp_path: Path) -> None:
    path = tmp_path / "train.log"
    with open(path, "wb") as file:
        file.write(b"step 1 loss: 2.5\n")
        file.truncate(1 << 40)
        file.seek(1 << 39)
        file.write(b"\nstep 2 loss: nan\n")
    assert series_of(read_file(path))["loss", "step"].steps.tolist() == [1, 2]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "latin-1"])
def test_encodings(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "train.log"
    path.write_bytes("naïve run\r\nstep 7, loss: nan\r\n".encode(encoding))
    series = series_of(read_file(path))["loss", "step"]
    assert series.steps.tolist() == [7]
    assert series.lines is not None and series.lines.tolist() == [2]
    assert READER.claim(FileHead("train.log", 10, path.read_bytes())) is not None


@pytest.mark.parametrize(
    ("name", "head", "confidence"),
    [
        ("train.log", b"hello\n", 30),
        ("job.o6884402", b"hello\n", 30),
        ("nohup.out", b"hello\n", 30),
        ("slurm-123.err", b"hello\n", 30),
        ("log.txt", b"hello\n", 20),
        ("anything", b"hello\n", 10),
        ("train.py", b"print(1)\n", None),
        ("merges.txt", b"a b\n", None),
        ("vocab.txt", b"a\nb\n", None),
        ("requirements.txt", b"torch\n", None),
        ("config.json", b"{}", None),
        ("metrics.csv", b"a,b\n", None),
        ("weights.log", b"\x00\x01\x02", None),
        ("empty.log", b"", None),
        ("garbled.log", b"step 1 loss 2.0\n" * 400 + bytes(range(256)) * 8, 30),
        ("garbled.dat", b"step 1 loss 2.0\n" * 400 + bytes(range(256)) * 8, None),
        ("weights.bin", bytes(range(256)), None),
    ],
)
def test_claims(name: str, head: bytes, confidence: int | None) -> None:
    claim = READER.claim(FileHead(name, len(head), head))
    assert (None if claim is None else claim.confidence) == confidence


def test_garbage_behind_a_log_costs_nothing_of_it(tmp_path: Path) -> None:
    text = "".join(f"step {i} loss 2.0\n" for i in range(400))
    (tmp_path / "train.log").write_bytes(text.encode() + bytes(range(256)) * 8)
    records = read_file(tmp_path / "train.log")
    (loss,) = [r for r in records if isinstance(r, Series) and r.tag == "loss"]
    (problem,) = [r for r in records if isinstance(r, Problem)]
    assert len(loss) == 400
    assert (problem.source.line, problem.source.offset) == (401, len(text))


def test_garbage_behind_a_short_log_leaves_it_a_log() -> None:
    """Less than a page in all: what a node that died appends may be a good part of it."""
    head = b"[train] iter=5 nll=nan gnorm=nan lr=1e-05\n" * 20 + bytes(range(256))
    assert READER.claim(FileHead("stdout_r0.log", len(head), head)) is not None
    assert READER.claim(FileHead("weights.bin", len(head), head)) is None


def test_public_deepspeed_configuration_and_version() -> None:
    paths = sorted(REAL.glob("dsx-randomltd-nan/**/*.log"))
    if not paths:
        pytest.skip("public artifacts are not here")
    records = read_file(paths[0])
    packages = [r.packages for r in records if isinstance(r, EnvironmentRecord)]
    assert any(p.get("deepspeed", "").startswith("0.7.3") for p in packages)
    configs = [r.values for r in records if isinstance(r, ConfigRecord) and r.kind == "deepspeed"]
    assert any(values.get("train_batch_size") == 8 for values in configs)
