"""What was read of a run can be kept, and judged again."""

from __future__ import annotations

import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scan.archives import SAMPLES

from nanautopsy import analyze
from nanautopsy.autopsy import judge, load_rules
from nanautopsy.model import Run, Series, Source
from nanautopsy.redact import added
from nanautopsy.render.json import document
from nanautopsy.scan import stored_run
from nanautopsy.scan.stored_run import StaleRecords, pack, unpack

NAMES = sorted(path.name for path in SAMPLES.iterdir() if path.name != "generate")
ANY = analyze(SAMPLES / "lr-spike-healthy")
CORPUS = Path(__file__).resolve().parents[1] / "corpus" / "runs"


def packing(**parts: object) -> bytes:
    nothing: dict[str, object] = {
        **dict.fromkeys(("artifacts", "series", "events", "checkpoints"), ()),
        **{name: {} for name in ("config", "facts", "packages", "environment")},
    }
    run = Run(path="run", **(nothing | parts))  # type: ignore[arg-type]
    return pack(replace(ANY, run=run))


def loss(values: np.ndarray) -> Series:
    return Series("loss", np.arange(len(values)), values, Source("x"), role="loss")


@pytest.mark.parametrize("name", [*NAMES, *(f"../tests/corpus/runs/run-00{n}" for n in "1234")])
def test_new_rules_see_what_the_artifacts_showed(name: str) -> None:
    folder = SAMPLES / name
    if not folder.is_dir():
        folder = sorted(CORPUS.iterdir())[int(name[-1]) * 20]
    before = analyze(folder)
    stored = unpack(pack(before))
    assert stored.complete
    after = judge(stored.run, load_rules())
    hidden = added(after.hidden, stored.hidden)
    after = replace(after, hidden=hidden, quotes=stored.quotes)
    assert document(after) == document(before)


@given(st.lists(st.floats(width=64), max_size=50))
def test_numbers_come_back_bit_by_bit(values: list[float]) -> None:
    (series,) = unpack(packing(series=(loss(np.array(values, float)),))).run.series
    assert series.values.tobytes() == np.array(values, float).tobytes()


def test_a_huge_series_is_thinned_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored_run, "MOST_POINTS", 100)
    values = np.sin(np.arange(10_000.0))
    values[[1234, 5678]] = np.nan, 99.0
    stored = unpack(packing(series=(loss(values),)))
    (series,) = stored.run.series
    assert not stored.complete
    assert len(series) < 120
    assert {0, 9999, 1234, 5678} <= set(series.steps.tolist())
    assert np.isnan(series.values).sum() == 1


def test_what_is_too_large_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored_run, "MOST_BYTES", 1000)
    assert packing(series=(loss(np.zeros(1000)),)) == b""


@pytest.fixture(scope="module")
def packed() -> bytes:
    return pack(analyze(SAMPLES / "lr-spike"))


def test_other_fields_are_noticed(packed: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored_run, "_fields", lambda: "0badf00d")
    with pytest.raises(StaleRecords, match="another version"):
        unpack(packed)


@given(st.data())
def test_damage_is_noticed_or_harmless(packed: bytes, data: st.DataObject) -> None:
    plain = bytearray(zlib.decompress(packed))
    for _ in range(data.draw(st.integers(1, 5))):
        plain[data.draw(st.integers(0, len(plain) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(plain)))
    for damaged in (zlib.compress(bytes(plain)), zlib.compress(bytes(plain[:cut]))):
        try:
            assert isinstance(unpack(damaged).run, Run)
        except StaleRecords:
            continue


@pytest.mark.parametrize("records", [b"", b"x", b"\x80\x04.", zlib.compress(b"nothing\n")])
def test_anything_else_is_refused(records: bytes) -> None:
    with pytest.raises(StaleRecords):
        unpack(records)


def test_a_bomb_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored_run, "MOST_BYTES", 1 << 20)
    with pytest.raises(StaleRecords, match="too large"):
        unpack(zlib.compress(bytes(8 << 20)))
