"""Compressed tables and JSON lines: the same points as of the plain file, and bounded damage."""

from __future__ import annotations

import bz2
import gzip
import lzma
import math
from collections.abc import Callable
from pathlib import Path

import pytest
from reading import head_of, problems_of, read_file, same_values, series_of

from nanautopsy.model import FileHead
from nanautopsy.readers import json_lines, table
from nanautopsy.readers.interface import Reader

ROWS = 20_000
CSV = "step,loss,lr\n" + "".join(
    f"{i},{'nan' if i > 15_000 else 2 + i % 7},0.001\n" for i in range(ROWS)
)
JSONL = "".join(
    f'{{"step": {i}, "loss": {"NaN" if i > 15_000 else 2 + i % 7}, "lr": 0.001}}\n'
    for i in range(ROWS)
)
TEXTS = {"csv": (table.READER, CSV), "jsonl": (json_lines.READER, JSONL)}


def _zstd(data: bytes) -> bytes:
    zstandard = pytest.importorskip("zstandard")
    packed: bytes = zstandard.ZstdCompressor().compress(data)
    return packed


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "zst": _zstd,
}  # fmt: skip


@pytest.mark.parametrize("suffix", PACKERS)
@pytest.mark.parametrize("kind", TEXTS)
def test_same_points(tmp_path: Path, kind: str, suffix: str) -> None:
    reader, text = TEXTS[kind]
    path = tmp_path / f"metrics.{kind}.{suffix}"
    path.write_bytes(PACKERS[suffix](text.encode()))
    found = series_of(read_file(reader, path))
    assert found["loss"].axis == "step"
    assert found["loss"].steps.tolist() == list(range(ROWS))
    assert same_values(
        found["loss"].values, [math.nan if i > 15_000 else 2.0 + i % 7 for i in range(ROWS)]
    )
    assert found["loss"].lines is not None
    assert found["loss"].lines[10] == (12 if kind == "csv" else 11)


@pytest.mark.parametrize("kind", TEXTS)
def test_one_that_breaks_off_gives_its_beginning(tmp_path: Path, kind: str) -> None:
    reader, text = TEXTS[kind]
    path = tmp_path / f"metrics.{kind}.gz"
    packed = gzip.compress(text.encode())
    path.write_bytes(packed[: len(packed) // 2])
    records = read_file(reader, path)
    loss = series_of([r for r in records if r not in problems_of(records)])["loss"]
    assert 1000 < len(loss) < ROWS
    assert loss.steps.tolist() == list(range(len(loss)))
    assert "break off" in problems_of(records)[0].text


@pytest.mark.parametrize(
    ("reader", "name"), [(table.READER, "a.csv.gz"), (json_lines.READER, "a.jsonl.gz")]
)
def test_what_is_no_log_is_not_claimed(reader: Reader, name: str) -> None:
    for text in (b"name,address\nx,y\n", b'{"prompt": "a", "answer": "b"}\n' * 3, b"\0" * 99):
        packed = gzip.compress(text)
        assert reader.claim(FileHead(name, len(packed), packed)) is None
    assert reader.claim(FileHead(name, 30, b"\x1f\x8b" + b"\xff" * 28)) is None


def test_values_that_fill_a_file_are_left(tmp_path: Path) -> None:
    path = tmp_path / "results.json.gz"
    path.write_bytes(gzip.compress(b'[{"step": 1, "loss": 2.5}]'))
    assert json_lines.READER.claim(head_of(path)) is None


def test_monitor_names_its_metric_by_the_file(tmp_path: Path) -> None:
    path = tmp_path / "Train_Samples_loss_scale.csv.gz"
    path.write_bytes(gzip.compress(b"step,loss_scale\n10,65536\n20,32768\n"))
    (found,) = series_of(read_file(table.READER, path)).values()
    assert found.tag == "Train/Samples/loss_scale" and found.axis == "samples"
