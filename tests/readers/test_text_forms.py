"""The forms in which a log can lie there: encodings, compression, damage, ranks."""

from __future__ import annotations

import bz2
import gzip
import lzma
import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from reading import of_type, problems_of
from textlogs import points_of, read_log

from nanautopsy.model import Artifact, FileHead, LogEvent, Record, Series
from nanautopsy.readers.text import unpack
from nanautopsy.readers.text.blocks import encoding_of
from nanautopsy.readers.text.lines import is_labelled, strip_prefix
from nanautopsy.readers.text_log import READER

Pack = Callable[[bytes], bytes]
PACKERS: dict[str, Pack] = {
    "gz": gzip.compress,
    "bz2": lambda data: bz2.compress(data, 1),
    "xz": lzma.compress,
    "zst": zstandard.ZstdCompressor().compress,
}
_RANDOM = random.Random(0)
LINES = [f"step {i} loss: {_RANDOM.random():.6f} \N{EM DASH} naïve\n" for i in range(40_000)]
LOG = "".join(LINES)


def loss_of(records: list[Record]) -> Series:
    (loss,) = [s for s in of_type(records, Series) if s.tag == "loss"]
    return loss


def unclaimed(path: Path) -> list[Record]:
    """All records of a file that nobody may want."""
    artifact = Artifact(path.name, "text-log", READER.name, ((path.name, path),), 0)
    return list(READER.read(artifact))


@pytest.mark.parametrize("suffix", PACKERS)
def test_a_packed_log_is_read_up_to_where_it_breaks_off(tmp_path: Path, suffix: str) -> None:
    packed = PACKERS[suffix](LOG.encode())
    path = tmp_path / f"train.log.{suffix}"
    path.write_bytes(packed)
    assert READER.claim(FileHead(path.name, len(packed), packed[:65536])) is not None
    records = read_log(path)
    assert not problems_of(records)
    assert loss_of(records).steps.tolist() == list(range(len(LINES)))
    path.write_bytes(packed[: len(packed) * 3 // 4])
    records = read_log(path)
    assert [p for p in problems_of(records) if "break off" in p.text]
    found = loss_of(records)
    assert len(found) > len(LINES) // 3
    expected = [float(line.split()[3]) for line in LINES[: len(found) - 1]]
    assert found.values.tolist()[:-1] == expected


@pytest.mark.parametrize("suffix", PACKERS)
def test_a_damaged_packed_log_gives_what_stands_before(tmp_path: Path, suffix: str) -> None:
    packed = bytearray(PACKERS[suffix](LOG.encode()))
    middle = len(packed) // 2
    packed[middle : middle + 64] = bytes(64)
    path = tmp_path / f"train.log.{suffix}"
    path.write_bytes(packed)
    records = read_log(path)
    assert problems_of(records)
    if suffix != "xz":  # all of it is one block, and what liblzma has of it, it keeps
        assert len(loss_of(records)) > 5000


@pytest.mark.parametrize("suffix", PACKERS)
def test_members_one_behind_the_other(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"train.log.{suffix}"
    pack = PACKERS[suffix]
    path.write_bytes(pack(b"step 1 loss: 2.5\n") + pack(b"step 2 loss: nan\n") + bytes(512))
    records = read_log(path)
    assert loss_of(records).steps.tolist() == [1, 2] and not problems_of(records)
    path.write_bytes(pack(b"step 1 loss: 2.5\n") + b"garbage")
    records = read_log(path)
    assert loss_of(records).steps.tolist() == [1] and len(problems_of(records)) == 1


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(PACKERS)), st.binary(max_size=200), st.integers(0, 10))
def test_packed_garbage_never_raises(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, data: bytes, keep: int
) -> None:
    packed = PACKERS[suffix](b"step 1 loss: 2.5\n")[:keep] + data
    path = tmp_path_factory.mktemp("packed") / f"x.log.{suffix}"
    path.write_bytes(packed)
    READER.claim(FileHead(path.name, len(packed), packed))
    unclaimed(path)


def test_a_bomb_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpack, "_MAX_BYTES", 20 << 20)
    text = b"step 1 loss: 2.5\n" + b"\n" * (64 << 20)
    for suffix, pack in PACKERS.items():
        path = tmp_path / f"x.log.{suffix}"
        path.write_bytes(pack(text))
        with open(path, "rb") as file:
            pieces = [p for p in unpack.unpacked(file) if isinstance(p, bytes)]
        assert max(map(len, pieces)) < 40 << 20 and sum(map(len, pieces)) < 60 << 20


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig"])
def test_wide_encodings_with_and_without_mark(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "train.log"
    path.write_bytes(LOG[:100_000].encode(encoding))
    head = path.read_bytes()[:65536]
    assert READER.claim(FileHead("train.log", path.stat().st_size, head)) is not None
    records = read_log(path)
    assert not problems_of(records)
    found = loss_of(records)
    assert len(found) > 2000 and found.lines is not None
    assert found.lines.tolist() == list(range(1, len(found) + 1))


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "gbk", "shift-jis", "utf-8"])
def test_narrow_encodings_are_read_as_bytes(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "train.log"
    text = "".join(f"step {i} loss: {i}.5 \N{DEGREE SIGN}\n" for i in range(1000))
    path.write_bytes(text.encode(encoding, "replace"))
    assert points_of(read_log(path))["loss", "step"][0] == list(range(1000))
    assert encoding_of(path.read_bytes()) == (None, 0)


def test_truncated_wide_text_loses_no_earlier_point(tmp_path: Path) -> None:
    data = "step 1 loss: 2.5\nstep 2 loss: 1.5\nstep 3 loss: nan\n".encode("utf-16")
    path = tmp_path / "train.log"
    for size in range(40, len(data)):
        path.write_bytes(data[:size])
        assert len(loss_of(read_log(path))) >= (size - 2) // 34


def test_nul_bytes_and_carriage_returns(tmp_path: Path) -> None:
    bar = "\r 10%|#         | {0}/400 [00:01<00:02, 4.6it/s, loss={0}.5]"
    text = "\0" * 300 + "".join(bar.format(i) for i in range(1, 400)) + "\n\x1b[32mstep 7 "
    path = tmp_path / "train.log"
    path.write_bytes(text.encode() + b"loss\x1b[0m: nan\0\0")
    (series,) = [s for s in of_type(unclaimed(path), Series) if len(s) > 1]
    assert series.values.tolist()[:399] == [i + 0.5 for i in range(1, 400)]


# --- ranks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "label",
    ["[rank{}]: ", "[default{}]:", "[trainer{}]:", "{}: ", " {}: ", "worker-{}: ", "rank {}: "]
    + ["[1,{}]<stdout>:", "[{}] ", "[rank{}]:[2025-03-01 10:00:00,123] [INFO] "],
)
def test_labels_of_launchers_are_ranks(tmp_path: Path, label: str) -> None:
    path = tmp_path / "train.log"
    rows = [f"step {i} loss: {i + rank / 10} lr: 1e-05" for i in range(60) for rank in range(4)]
    order = random.Random(1).sample(range(4), 4)
    lines = [label.format(order[i % 4]) + row for i, row in enumerate(rows)]
    path.write_text("\n".join(lines))
    series = [s for s in of_type(read_log(path), Series) if s.tag == "loss"]
    assert sorted(s.rank for s in series if s.rank is not None) == [0, 1, 2, 3]
    for found in series:
        assert found.steps.tolist() == list(range(60))


@pytest.mark.parametrize("host", ["node-{}", "ip-10-0-0-{}", "r{}i4n3", "10.0.0.{}"])
def test_names_of_machines_are_taken_away(host: str) -> None:
    lines = [f"{host.format(i % 3)}: step {i} loss: 1.5" for i in range(40)]
    assert is_labelled("\n".join(lines).encode())
    assert strip_prefix(lines[7].encode(), True) == (b"step 7 loss: 1.5", None)


@pytest.mark.parametrize(
    "line", ["{}: loss 0.5", "epoch{}: loss 0.5", "[{}] loss: 0.5", "train{}: 0.5", "fold-{}: x"]
)
def test_counters_are_no_labels(line: str) -> None:
    repeated = [line.format(i // 20) for i in range(150)]
    assert not is_labelled("\n".join(repeated).encode())
    assert not is_labelled("\n".join(line.format(i) for i in range(150)).encode())


@pytest.mark.parametrize(
    ("name", "others", "rank"),
    [
        ("run/attempt_0/3/stderr.log", [], 3),
        ("run/attempt_0/3/other.log", [], None),
        ("log_rank3.txt", ["log_rank0.txt"], 3),
        ("train.rank_12.log", ["train.rank_0.log"], 12),
        ("rank-003.log", ["rank-000.log"], 3),
        ("rank0.log", [], 0),
        ("global_rank_2.log", ["global_rank_0.log"], 2),
        ("lora_rank64.log", ["lora_rank8.log"], None),
        ("frank3.log", ["frank0.log"], None),
        ("train.log", [], None),
    ],
)
def test_files_of_ranks(tmp_path: Path, name: str, others: list[str], rank: int | None) -> None:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("step 1 loss: 2.5\nstep 2 loss: nan\n[rank7]: step 3 loss: 1.5\n")
    for other in others:
        path.with_name(other).write_text("")
    size = path.stat().st_size
    records = list(READER.read(Artifact(name, "text-log", READER.name, ((name, path),), size)))
    assert {s.rank for s in of_type(records, Series)} == {rank, 7}


# --- words ----------------------------------------------------------------------------------------

WORD = st.from_regex(r"[A-Za-z]{0,5}(?:nan|inf|NaN|Inf|INF|NAN)[A-Za-z]{0,8}", fullmatch=True)
NOT_WORDS = re.compile(r"(?:nan|nans|inf|infs|infinity|infinite|naninf|infnan|nanvalue)", re.I)
LINE = st.sampled_from(
    [
        "loss {0}",
        "step 5 loss {0} 0.5",
        "{0}: step 3, loss: 1.5",
        "INFO {0} loss: 2.5 at step 7",
        "loading {0} from {0}-{0}.bin",
        "grad norm of {0}=1.5, loss=0.25, step=8",
        "[{0}] iteration 10 | {0} loss: 0.5 |",
        "{{'loss': 1.5, '{0}': 2.0, 'epoch': 0.5}}",
        "{0}",
        "Epoch 3/5 {0}_loss: 0.5 - val_{0}: 0.25",
        "the {0} is {0}, {0}.{0}({0})",
    ]
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(LINE, WORD), max_size=6))
def test_words_that_hold_nan_or_inf_say_nothing(
    tmp_path_factory: pytest.TempPathFactory, parts: list[tuple[str, str]]
) -> None:
    lines = [line.format(word) for line, word in parts if not NOT_WORDS.fullmatch(word)]
    path = tmp_path_factory.mktemp("words") / "train.log"
    path.write_text("\n".join(lines))
    records = unclaimed(path)
    assert not [e for e in of_type(records, LogEvent) if "nonfinite" in e.kind], lines
    for series in of_type(records, Series):
        assert all(abs(value) < 10 for value in series.values.tolist()), lines
