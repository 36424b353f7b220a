"""What lies under the dialects: blocks, the prefilter, prefixes, numbers, steps of the Trainer."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reading import of_type
from textlogs import log_series, points_of, read_log, read_text

from nanautopsy.model import LogEvent, Series
from nanautopsy.readers.text.blocks import BLOCK_BYTES, Block, blocks
from nanautopsy.readers.text.fields import fields
from nanautopsy.readers.text.lines import clean, excerpt, strip_prefix
from nanautopsy.readers.text.numbers import NONFINITE, SPLIT, parse
from nanautopsy.readers.text.prefilter import QUIET, TELLING, Prefilter
from nanautopsy.readers.text.segments import Segments

TRIGGERS = ("loss", "nan", "inf", "traceback (most recent", "overflow", "skipped=", "==", "epoch")
PREFILTER = Prefilter(TRIGGERS)
_WORD = re.compile(rb"nan(?![a-z])|inf(?![a-z])|==|loss|traceback \(most recent|overflow"
                   rb"|skipped=|epoch", re.IGNORECASE)  # fmt: skip

PIECES = st.sampled_from(
    [
        b"loss",
        b"LOSS",
        b"nan",
        b"NaN,",
        b"info",
        b"inf ",
        b"Traceback (most recent call",
        b"Overflow",
    ]
    + [
        b"skipped=3",
        b"==1.",
        b"==1a",
        b"\n",
        b"\r",
        b" ",
        b"los",
        b"s",
        b"x" * 20,
        b"\xff\xfe",
        b"ep",
    ]
    + [b"och", b"overflo", b"w", b"\0"]
)


@given(st.lists(PIECES, max_size=60).map(b"".join))
def test_no_line_with_a_trigger_is_passed_over(data: bytes) -> None:
    lines = data.split(b"\n")
    found = PREFILTER.candidates(lines).tolist()
    for line, is_candidate in zip(lines, found, strict=True):
        if _WORD.search(line + b" "):
            assert is_candidate, line


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (b"Epoch and inform", QUIET),
        (b"an Epoch with nan", TELLING),
        (b"nanny", 0),
        (b"x ==", TELLING),
        (b"epoch: losses", TELLING),
        (b"=", 0),
        (b"", 0),
    ],
)
def test_lines_with_counters_alone_are_told_apart(line: bytes, kind: int) -> None:
    found = Prefilter(TRIGGERS, quiet=["epoch"]).candidates([b"epo", line, b"ch"])
    assert found.tolist() == [0, kind, 0]


@given(st.lists(st.sampled_from([b"a1", b"\r", b"\n", b"\r\n", b"", b"x 2.5"])).map(b"".join))
def test_segments_are_the_pieces_between_line_ends(data: bytes) -> None:
    found = Segments(data, 7)
    pieces = data.replace(b"\r", b"\n").split(b"\n")
    assert [found[i] for i in range(len(found))] == pieces
    assert found.skeletons == [re.sub(rb"\d", b"", piece) for piece in pieces]
    lines = [7 + data.count(b"\n", 0, begin) for begin in found.begins.tolist()]
    assert found.numbers.tolist() == lines


def test_blocks_end_at_lines_and_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    data = b"".join(b"line %d %s\n" % (i, b"x" * (i % 997)) for i in range(9000))
    path.write_bytes(data)
    assert len(data) > 3 * BLOCK_BYTES
    found = list(blocks(path))
    assert all(isinstance(block, Block) for block in found)
    whole = [block for block in found if isinstance(block, Block)]
    assert b"".join(block.data for block in whole) == data
    line = 1
    for block in whole:
        assert block.first_line == line and block.data.endswith(b"\n")
        line += block.data.count(b"\n")


def test_points_and_followers_cross_blocks(tmp_path: Path) -> None:
    filler = "worker says something of no interest at all\n"
    text = "".join(f"step {i} loss {i}.5\n" if i % 100 == 0 else filler for i in range(60_000))
    cut = BLOCK_BYTES - 100
    text = text[: text.index("\n", cut) + 1]
    frames = "".join(f'  File "a.py", line {i}, in f\n    loss = {i}.5\n' for i in range(20))
    text += "Traceback (most recent call last):\n" + frames + "ValueError: x\nstep 9999 loss nan\n"
    path = tmp_path / "x.log"
    path.write_text(text)
    records = read_log(path)
    loss = log_series(records)["loss", "step"]
    assert loss.steps.tolist()[-1] == 9999 and math.isnan(loss.values[-1])
    rows = text.split("\n")
    assert loss.lines is not None
    for step, line in zip(loss.steps.tolist(), loss.lines.tolist(), strict=True):
        assert rows[line - 1].startswith(f"step {step} ")
    (event,) = [e for e in of_type(records, LogEvent) if e.kind == "traceback"]
    assert event.source.line is not None and rows[event.source.line - 1] == "ValueError: x"


SMALL = (
    "[2023-04-18 01:46:53,259] [INFO] [loss_scaler.py:181:update_scale] [deepspeed] OVERFLOW! Rank"
    " 0 Skipping step. Attempted loss scale: 65536, reducing to 32768\n"
    "[2023-04-18 01:48:13,710] [INFO] [logging.py:96:log_dist] [Rank 0] step=10, skipped=1,"
    " lr=[9.6e-06, 9.6e-06], mom=[(0.9, 0.95)]\n"
    "step 11 loss: 2.5, grad_norm: 1.25\nEpoch 2/3 [50/100] loss: nan\n"
    " iteration 20/ 100 | lm loss: 9.8E+00 | number of skipped iterations: 0 |\n"
    "{'loss': 1.5, 'epoch': 0.5}\n"
)


def test_truncation_at_each_byte_loses_no_earlier_point(tmp_path: Path) -> None:
    def points(text: str) -> set[tuple[str, str, int]]:
        return {
            (series.tag, repr(value), line)
            for series in of_type(read_text(tmp_path, text), Series)
            if series.lines is not None
            for value, line in zip(series.values.tolist(), series.lines.tolist(), strict=True)
        }

    whole = points(SMALL)
    assert len(whole) >= 9
    for size in range(1, len(SMALL)):
        complete = SMALL.count("\n", 0, size)
        assert {p for p in whole if p[2] <= complete} <= points(SMALL[:size]), size


@pytest.mark.parametrize(
    ("raw", "message", "rank"),
    [
        (b"[rank3]: step 1", b"step 1", 3),
        (b"[default0]:  File", b" File", 0),
        (b"[2023-04-18 01:46:53,259] [INFO] [x.py:1:f] step 1", b"step 1", None),
        (b"2025-02-20 00:46:13,777 DEBUG TRAIN Batch", b"TRAIN Batch", None),
        (b"(WorkerDict pid=12, ip=10.0.0.1) step:3", b"step:3", None),
        (b"worker-3: [2023-04-18 01:46:53,259] [INFO] step 1", b"step 1", None),
        (b"I0124 14:44:45.779719 32217 solver.cpp:237] Iteration 20", b"Iteration 20", None),
        (b"[INFO|trainer.py:1143] 2021-05-25 06:54:51,351 >> ***** Run", b"***** Run", None),
        (b"INFO:tensorflow:loss = 2", b"loss = 2", None),
        (b"  indented", b"  indented", None),
        (b"12: loss 3", b"12: loss 3", None),
    ],
)
def test_prefixes(raw: bytes, message: bytes, rank: int | None) -> None:
    assert strip_prefix(raw, False) == (message, rank)


def test_srun_prefix() -> None:
    assert strip_prefix(b"12: [rank3]: step 1", True) == (b"step 1", 12)


def test_terminal_escapes() -> None:
    assert clean(b"\x1b[1m\x1b[31mstep\x1b[0m 1\x1b]0;title\x07\x08\x08") == b"step 1"
    assert clean(b"[31mstep: 10 [39m[0m") == b"step: 10 "
    assert excerpt(b"\ta\x00b\xff ") == "a b\N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize(
    ("text", "value"),
    [("1.5", 1.5), ("-2e-05", -2e-5), (" nan ", math.nan), ("-Infinity", -math.inf)]
    + [("NaN", math.nan)]
    + [("nan.0", math.nan), ("-inf.", -math.inf), ("1.#QNAN", math.nan), ("-1.#INF", -math.inf)]
    + [("-nan(ind)", math.nan), ("1.#IND00", math.nan)],
)  # fmt: skip
def test_numbers(text: str, value: float) -> None:
    found = parse(text)
    assert found is not None and np.array_equal([found], [value], equal_nan=True)


@pytest.mark.parametrize(
    "text", ["", "1_000", "nanoGPT", "1.2.3", "0x1f", "info", "1,5", "nan nan"]
)
def test_no_numbers(text: str) -> None:
    assert parse(text) is None


@pytest.mark.parametrize(
    "text",
    ["nanoVLM", "INFO", "inference", "banana", "finance", "nan_to_num", "information.", "inf2"]
    + ["x.nan.y", "nano", "infer", "isnan", "dnan"],
)  # fmt: skip
def test_words_that_only_look_like_nan(text: str) -> None:
    assert NONFINITE.search(text) is None


def test_numbers_within_words_belong_to_the_word() -> None:
    line = b"v1.2.3 3f2a1b torch==2.1.0+cu118 layer3 mtp_1 0.5.ckpt cuda:0 12ms 1e-05 -0.5 8xA100"
    assert SPLIT.split(line)[1::2] == [b"0", b"12", b"1e-05", b"0.5"]


def test_fields_name_their_numbers() -> None:
    found = fields(SPLIT.split(b"Epoch [1/10], lr: 1e-3 loss=nan (0.5) grad norm: -inf"))
    assert [(f.key, f.explicit) for f in found] == [
        ("Epoch", False),
        ("", False),
        ("lr", True),
        ("loss", True),
        ("", False),
        ("grad norm", True),
    ]
    assert found[5].negative and found[5].const == math.inf


@given(st.text(max_size=200))
def test_any_text_has_fields(text: str) -> None:
    found = fields(SPLIT.split(text.encode("utf-8", "replace")))
    assert all(f.index >= 0 or not math.isfinite(f.const) for f in found)


def test_duplicate_rows_of_two_loggers_are_no_burst(tmp_path: Path) -> None:
    text = ""
    for n in (10, 20, 30):
        row = f"{{'loss': {n}.5, 'epoch': {n / 40}}}\n"
        text += f"\r 1%|#| {n}/40 [00:00<00:01, 4.6it/s]{row}{row}"
        text += f"\r 1%|#| {n}/40 [00:00<00:01, 4.6it/s]"
    assert points_of(read_text(tmp_path, text))["loss", "step"][0] == [10, 10, 20, 20, 30, 30]
