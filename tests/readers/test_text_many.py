"""Lines taken many at a time: the same records as one by one, and nothing taken for what it is
not."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from nanautopsy.model import LogEvent, Record, Series
from nanautopsy.readers.text import records, skeletons
from nanautopsy.readers.text.blocks import Block, blocks
from nanautopsy.readers.text.dialect import Dialect, Line
from nanautopsy.readers.text.dialects import DIALECTS
from nanautopsy.readers.text.numbers import SPLIT
from nanautopsy.readers.text.patterns import pattern_of
from nanautopsy.readers.text.prefilter import Prefilter
from nanautopsy.readers.text.records import records_of
from nanautopsy.readers.text.segments import DIGITS, Segments
from nanautopsy.readers.text.skeletons import NOISE, Skeletons

FIXTURE = Path(__file__).parents[1] / "fixtures" / "deepspeed_log"


def plain(found: Iterable[Record]) -> list[object]:
    """Records as values that compare, NaN equal to NaN."""
    shown: list[object] = []
    for record in found:
        if isinstance(record, Series):
            assert record.lines is not None
            values = list(map(repr, record.values.tolist()))
            points = record.steps.tolist(), values, record.lines.tolist()
            shown.append((record.tag, record.axis, record.rank, points))
        else:
            shown.append(repr(record))
    return shown


def in_blocks(text: bytes, size: int) -> Iterator[Block]:
    """Whole lines, about so many bytes of them at a time."""
    line = 1
    while text:
        end = text.find(b"\n", size) + 1 or len(text)
        yield Block(text[:end], line)
        line += text.count(b"\n", 0, end)
        text = text[end:]


def both_ways(text: bytes, monkeypatch: pytest.MonkeyPatch, size: int = 700) -> None:
    """Reads the text with and without taking lines together."""
    monkeypatch.setattr(records, "_SHORTEST_RUN", 10**9)
    alone = plain(records_of("x", in_blocks(text, size)))
    for shortest, slice_of in ((1, 40), (3, 2048)):
        monkeypatch.setattr(records, "_SHORTEST_RUN", shortest)
        monkeypatch.setattr(records, "_SLICE", slice_of)
        assert plain(records_of("x", in_blocks(text, size))) == alone


NUMBER = st.one_of(
    st.integers(0, 10**19).map(str),
    st.floats(0, 1e30).map(repr),
    st.floats(0, 1).map(lambda x: f"{x:.3g}"),
    st.sampled_from(["nan", "-inf", "-1.5", "3.", "1e400", "0", "007"]),
)
KINDS = st.sampled_from(
    [
        "step {} | loss {} | grad_norm {}",
        "step {} | loss -{} | grad_norm {}",
        "[rank{0:.1}]: step {0} loss: {1}",
        "2025-03-01 10:00:0{0:.1},123 - INFO - Step: {0}, Loss: {1}, lr: {2}",
        "Epoch {0}/{1} loss {2}",
        "Epoch [2][{}/100]  loss: {}, eta: {}",
        "Epoch {:.2}",
        "batch {} loss {}",
        "epoch=0/micro_step={0}/global_step={0}, RunningAvgSamplesPerSec={1}",
        "[Rank 0] step={0}, skipped={1:.2}, lr=[{2}, {2}], mom=[(0.9, 0.95)]",
        "[deepspeed] OVERFLOW! Rank 0 Skipping step. Attempted loss scale: {}, reducing to {}",
        "val loss: {}",
        "loss is nan at step {}",
        "time (ms) | fwd: {} | step: {}",
        "{{'loss': {}, 'epoch': {}}}",
        " iteration {0}/ 100 | lm loss: {1} | number of skipped iterations: {2:.1} |",
        "Traceback (most recent call last):\n  step {}\nValueError: {}",
        "layer{:.1} loss: {} step {}",
        "Iteration: {} (loss={}) [{}/s]",
        "\r 12%|##   | {0}/400 [01:00<03:11,  4.6it/s]",
        "\r 12%|##   | {0:.1}/7 [01:00<03:11,  4.6it/s]",
        "\r 12%|##   | {0}/400 [01:00<03:11, 4.6it/s]{{'loss': {1}, 'epoch': {2}}}",
    ]
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(KINDS, st.lists(st.tuples(NUMBER, NUMBER, NUMBER), min_size=1, max_size=25)),
        max_size=12,
    )
)
def test_lines_together_say_what_they_say_alone(
    parts: list[tuple[str, list[tuple[str, str, str]]]],
) -> None:
    lines = [kind.format(*numbers) for kind, rows in parts for numbers in rows]
    with pytest.MonkeyPatch.context() as monkeypatch:
        both_ways("\n".join(lines * 3).encode(), monkeypatch)


def test_interleaved_lines_together(monkeypatch: pytest.MonkeyPatch) -> None:
    text = ""
    for i in range(300):
        text += f"[rank{i % 4}]: step {i // 4} loss: {i / 7} lr: {1 / (i + 1):.2e}\n"
        text += f"step: {i}, skipped: {i % 3}, val loss: {i * 0.25}\n" if i % 5 == 0 else ""
        text += f"Epoch {i // 50}\n" if i % 50 == 0 else ""
        text += f"batch {i % 50}/50 loss {i / 3:.4f}\n"
        text += f"Skipping step. Attempted loss scale: {i} OVERFLOW!\n" if i % 31 == 0 else ""
    both_ways(text.encode(), monkeypatch)
    both_ways(text.replace("\n", "\r\n").encode(), monkeypatch, 3000)


def test_deepspeed_says_what_its_engine_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    path = FIXTURE / "train.log"
    kept = {row[0]: row for row in json.loads((FIXTURE / "expected.json").read_text())}
    found = list(records_of("train.log", blocks(path)))
    series = {s.tag: s for s in found if isinstance(s, Series)}
    for tag, column in (("skipped_steps", 1), ("learning_rate", 2)):
        steps = series[tag].steps.tolist()
        assert steps == [0, *range(2, 41, 2)]
        expected = [kept[step][column] for step in steps[1:]]
        np.testing.assert_array_equal(series[tag].values[1:], expected)
    overflows = [e for e in found if isinstance(e, LogEvent) and e.kind == "overflow-skipped"]
    assert len(overflows) == kept[40][1]
    both_ways(path.read_bytes(), monkeypatch)


@settings(suppress_health_check=[HealthCheck.filter_too_much], max_examples=30)
@given(st.lists(NUMBER, min_size=3, max_size=3), st.lists(NUMBER, min_size=3, max_size=3))
def test_numbers_are_those_of_the_line(first: list[str], second: list[str]) -> None:
    lines = ["a {} b: {}, c={}".format(*numbers).encode() for numbers in (first, second)]
    assume(lines[0].translate(None, DIGITS) == lines[1].translate(None, DIGITS))
    pattern = pattern_of(lines[0], SPLIT.split(lines[0]), False)
    found = pattern.numbers(lambda skip: [line[skip:] for line in lines])
    assume(pattern.count)
    parts = [SPLIT.split(line) for line in lines]
    if found is None:
        assert parts[0][::2] != parts[1][::2]
        return
    for i in range(found.width):
        assert found.column(i).tolist() == [float(p[2 * i + 1]) for p in parts]


@pytest.mark.parametrize(
    ("sample", "other"),
    [
        (b"x=1,y=2,z", b"1x=,y=2,z"),
        (b"x=1,y=2,z", b"x=12,y=,z"),
        (b"loss 1 step 2", b"lo1ss  step 2"),
        (b"loss 1 -2", b"loss 12 -"),
        (b"a: 1 e 5 b: 2", b"a: 1 e  b: 52"),
        (b"step 1-2 loss 3", b"step 12- loss 3"),
    ],
)
def test_digits_elsewhere_are_another_shape(sample: bytes, other: bytes) -> None:
    pattern = pattern_of(sample, SPLIT.split(sample), False)
    assert pattern.numbers(lambda skip: [sample[skip:], sample[skip:]]) is not None
    assert pattern.numbers(lambda skip: [sample[skip:], other[skip:]]) is None


def test_skeletons_are_forgotten_before_they_fill_the_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(skeletons, "_MAX_KEPT_BYTES", 5000)
    known = Skeletons(["loss"])
    for begin in range(0, 1000, 10):
        texts = [f"{chr(97 + i % 26)}{'b' * i}loss".encode() for i in range(begin, begin + 10)]
        lines = [*texts, b"quiet", b"q" * 9000, b"loss" + b"q" * 9000]
        numbers = known.numbers(Segments(b"\n".join(lines), 1))
        assert numbers is not None
        assert (numbers[:10] > 1).all() and numbers[10] == numbers[11] == NOISE
        assert len(known.texts) < 40
    log = "".join(f"{'abcdefgh'[i % 8] * (i % 40)} step {i} loss {i}.5\n" for i in range(2000))
    (loss,) = [r for r in records_of("x", in_blocks(log.encode(), 999)) if isinstance(r, Series)]
    assert loss.steps.tolist() == list(range(2000))


WORD = st.text("abcdefg ", min_size=3, max_size=12)


@settings(max_examples=80, deadline=None)
@given(
    st.lists(
        st.one_of(
            WORD,
            WORD.map("{} epoch".format),
            st.builds("{} step {} loss {}".format, WORD, st.integers(0, 99), NUMBER),
            st.builds("step {} loss {}".format, st.integers(0, 99), NUMBER),
            st.sampled_from(["Epoch", "Epoch 3", "loss is nan", "fp16: True", "batch", "bf16"]),
            st.just("Traceback (most recent call last):\n  step 3\nValueError: x"),
        ),
        max_size=150,
    )
)
def test_prose_says_what_a_log_of_the_same_lines_says(lines: list[str]) -> None:
    text = "\n".join(lines).encode()
    with pytest.MonkeyPatch.context() as monkeypatch:
        log = plain(records_of("x", in_blocks(text, 200)))
        monkeypatch.setattr(skeletons, "_FEWEST", 1)
        monkeypatch.setattr(skeletons, "_STRANGE", 0.0)
        for wanted in (0.25, 1.0):
            monkeypatch.setattr(skeletons, "_WANTED", wanted)
            assert plain(records_of("x", in_blocks(text, 200))) == log


def test_prose_is_not_learned_and_left_again() -> None:
    known = Skeletons(["loss", "step"], ["step"])
    letters = [f"{i:b}".translate({48: 97, 49: 98}) for i in range(3000)]
    prose = Segments("\n".join(f"{word} some step" for word in letters).encode(), 1)
    for _ in range(3):
        numbers = known.numbers(prose)
        assert numbers is None or not numbers.any()
        assert not known.texts
    counted = Segments(b"\n".join(b"step %d" % i for i in range(3000)), 1)
    for _ in range(2):
        numbers = known.numbers(counted)
        assert numbers is not None and (numbers == numbers[0]).all() and numbers[0] > 1
        assert known.texts == [b"step "]
    silent = Segments("\n".join(letters).encode(), 1)
    assert known.numbers(silent) is not None
    assert known.numbers(silent) is None


def test_everyday_words_make_no_candidates() -> None:
    """A line of prose costs a look at its bytes and no more: no dialect asks for its words."""
    prose = (
        b"the model reads a bunch of words and writes what it found into another file again "
        b"there was nothing to say about it so that we took more of them for this time "
    )
    without_digits = str.maketrans("", "", "0123456789")  # as the lines are compared
    triggers = [w.translate(without_digits) for dialect in DIALECTS for w in dialect.triggers]
    quiet = [w.translate(without_digits) for dialect in DIALECTS for w in dialect.counters]
    assert min(map(len, triggers)) > 1
    words = prose.split()
    pairs = [first + b" " + second for first in words for second in words]
    found = Prefilter(triggers, quiet).candidates([prose, *pairs])
    assert not found.any(), [
        line for line, kind in zip([prose, *pairs], found, strict=True) if kind
    ]


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
def test_a_long_line_takes_linear_time(dialect: Dialect) -> None:
    """Shapes that make careless patterns quadratic; a line is read up to 16 KB."""

    def seconds(text: str, size: int) -> float:
        line = Line(1, (text * (size // len(text))).encode() + b" norm=nan", False)
        began = time.process_time()
        dialect.plan(line, line.text.lower())
        return time.process_time() - began

    for text in ("a.", "a_", "['a']", "grad norm ", "Adam(", "labels ", "layer 1 ", "sqrt(", "1: "):
        # Four times the text: 4 where a pattern is linear, 16 where it is quadratic. What takes
        # less than five milliseconds is noise.
        ratios = (seconds(text, 16_000) / max(seconds(text, 4_000), 5e-3) for _ in range(9))
        assert any(ratio < 10 for ratio in ratios), text
