"""Pickles as data: every protocol, hostile structure, and nothing ever called."""

from __future__ import annotations

import collections
import datetime
import enum
import io
import pathlib
import pickle
import pickletools
import random
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanautopsy.checkpoints.data_file import MemoryFile
from nanautopsy.checkpoints.pickle_data import (
    BytesAt,
    Call,
    Global,
    Lost,
    OddKey,
    PersistentId,
    Unpickled,
    interpret,
)
from nanautopsy.checkpoints.pickles.opcodes import OPCODES

PROTOCOLS = range(6)


class Color(enum.Enum):
    RED = "red"


class Plain:
    def __init__(self) -> None:
        self.x = 1
        self.y = [1, 2]


class Slotted:
    __slots__ = ("a",)

    def __init__(self) -> None:
        self.a = 3


class Names(dict[str, int]):
    pass


def read(data: bytes) -> Unpickled:
    return interpret(MemoryFile("x.pkl", data))


DATA: dict[str, Any] = {
    "numbers": [1, 255, 65535, -3, 2**40, 2**70, -(2**200), 2.5, float("inf"), True, None],
    "tuples": [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)],
    "sets": [{1, 2}, frozenset([3]), set()],
    "bytes": [b"", b"abc\xff", b"z" * 300, bytearray(b"xyz")],
    "ordered": collections.OrderedDict(a=1, b=2),
    "default": collections.defaultdict(list, {1: [2]}),
    "complex": 1 + 2j,
    "text": "ünï\ncode" + "x" * 300,
    "random": random.Random(3).getstate()[1][:20],
    "keys": {1: 2, (1, "a"): 3, None: 4, b"k": 5, 2.5: 6},
}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_plain_data_comes_back_as_itself(protocol: int) -> None:
    found = read(pickle.dumps(DATA, protocol))
    assert found.complete
    assert found.problems == ()
    assert found.value == DATA


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_harmless_objects_become_plain(protocol: int) -> None:
    moment = datetime.datetime(2024, 1, 2, 3, 4, 5, 6)
    path = pathlib.PurePosixPath("/a/b")
    queue = collections.deque([1, 2], maxlen=3)
    found = read(pickle.dumps([moment, moment.date(), path, queue], protocol))
    assert found.value == [moment.isoformat(), moment.date().isoformat(), "/a/b", [1, 2]]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_instances_of_unknown_classes_keep_their_attributes(protocol: int) -> None:
    color, plain, cls = read(pickle.dumps([Color.RED, Plain(), Plain], protocol)).value
    assert isinstance(color, Call)
    assert color.function == Global(__name__, "Color")
    assert color.args == ("red",)
    assert isinstance(plain, Call)
    assert plain.attributes == {"x": 1, "y": [1, 2]}
    assert cls == Global(__name__, "Plain")


@pytest.mark.parametrize("protocol", range(2, 6))
def test_slots_and_subclasses_of_dict(protocol: int) -> None:
    slotted, names = read(pickle.dumps([Slotted(), Names(a=1, b=2)], protocol)).value
    assert slotted.attributes == {"a": 3}
    assert names.pairs == [("a", 1), ("b", 2)]


def test_long_byte_strings_stay_in_the_file() -> None:
    data = pickle.dumps({"small": b"s" * 4096, "large": b"l" * 70_000}, 4)
    found = read(data).value
    assert found["small"] == b"s" * 4096
    assert isinstance(found["large"], BytesAt)
    assert data[found["large"].offset :][: found["large"].size] == b"l" * 70_000


def test_persistent_ids_and_shared_objects() -> None:
    class Pickler(pickle.Pickler):
        def persistent_id(self, thing: Any) -> Any:
            return ("storage", thing.stop) if isinstance(thing, range) else None

    buffer = io.BytesIO()
    shared = [1]
    Pickler(buffer, 2).dump([range(3), shared, shared])
    found = read(buffer.getvalue()).value
    assert isinstance(found[0], PersistentId)
    assert found[0].value[0] == "storage"
    assert found[1] is found[2]


def test_several_pickles_back_to_back() -> None:
    data = pickle.dumps(1, 2) + pickle.dumps("two", 0) + pickle.dumps([3], 5)
    file = MemoryFile("x.pkl", data)
    values, at = [], 0
    while at < len(data):
        found = interpret(file, at)
        values.append(found.value)
        at = found.end
    assert values == [1, "two", [3]]


def test_members_of_enumerations_that_are_looked_up_by_name() -> None:
    data = b"\x80\x02cbuiltins\ngetattr\ncmine\nColor\nX\x03\x00\x00\x00RED\x86R."
    assert read(data).value == Global("mine", "Color.RED")


def test_every_opcode_of_every_protocol_is_known() -> None:
    assert set(OPCODES) == {ord(opcode.code) for opcode in pickletools.opcodes}


# --- cut short, damaged ---------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_cut_at_every_byte(protocol: int) -> None:
    data = pickle.dumps({"first": 1, **DATA, "last": 2}, protocol)
    for length in range(len(data)):
        found = read(data[:length])
        assert not found.complete
        assert found.end <= length
        assert found.problems
    assert found.value["first"] == 1
    assert set(DATA) <= set(found.value)


def test_what_was_built_before_the_cut_is_given() -> None:
    data = pickle.dumps({"epoch": 3, "model": {"a": [1, 2], "b": {"c": 5}}, "rest": "x" * 99}, 2)
    found = read(data[:-50])
    assert found.value["epoch"] == 3
    assert found.value["model"] == {"a": [1, 2], "b": {"c": 5}}
    assert isinstance(found.value["rest"], Lost)
    assert found.problems[0][0].startswith("the pickle is cut short")


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_survived(data: bytes) -> None:
    read(data)
    read(b"\x80\x04" + data)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(sorted(OPCODES)), max_size=60), st.integers(0, 3))
def test_any_order_of_opcodes_is_survived(codes: list[int], fill: int) -> None:
    read(b"]}(K\x01" + b"".join(bytes([code]) + bytes(fill) for code in codes))


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_flipped_bytes_are_survived(data: st.DataObject) -> None:
    protocol = data.draw(st.sampled_from(list(PROTOCOLS)))
    damaged = bytearray(pickle.dumps([DATA, Plain()], protocol))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(damaged) - 1))
        damaged[at] ^= 1 << data.draw(st.integers(0, 7))
    read(bytes(damaged))


# --- hostile --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"\x80\x02X\xff\xff\xff\xffabc", "cut short"),
        (b"\x80\x04\x8d" + b"\xff" * 8 + b"abc", "cut short"),
        (b"\x80\x04\x8e" + b"\xff" * 7 + b"\x7fabc", "cut short"),
        (b"\x80\x02\x8b\xff\xff\xff\xff", "cut short"),
        (b"\x80\x02R.", "empty stack"),
        (b"\x80\x02u.", "MARK that is not there"),
        (b"\x80\x02h\x07.", "memo 7"),
        (b"\x80\x02j\xff\xff\xff\x7f.", "never stored"),
        (b"\x80\x02\xff", "no pickle opcode"),
        (b"\x80\x09N.", "protocol 9"),
        (b"\x80\x05\x97.", "outside the file"),
        (b"I" + b"9" * 1000 + b"\n.", "cannot be read"),
        (b"\x80\x02K\x01K\x02\x93.", "no text"),
    ],
)
def test_what_is_wrong_is_said(data: bytes, what: str) -> None:
    assert any(what in text for text, _ in read(data).problems)


def test_million_deep_structures() -> None:
    depth = 1_000_000
    assert read(b"\x80\x02" + b"]" * depth + b"a" * (depth - 1) + b".").complete
    deep_key = read(b"\x80\x02})" + b"\x85" * depth + b"K\x01s.")
    assert isinstance(next(iter(deep_key.value)), OddKey)
    nested = b"\x80\x02)q\x01" + b"cm\nf\nh\x01\x85Rq\x01" * 100_000 + b"."
    assert read(nested).complete


def test_cycles_and_doubling() -> None:
    cycle = read(b"\x80\x02]q\x00h\x00a.").value
    assert cycle[0] is cycle
    # Each level holds the one before twice: 2**1000 elements, were they counted.
    doubling = b"\x80\x02]" + b"2\x86" * 1000 + b"."
    assert read(doubling).complete


def test_keys_that_cannot_be_hashed_or_that_collide() -> None:
    found = read(pickle.dumps([1], 2)[:-1] + b"0}]K\x01s.")
    assert isinstance(next(iter(found.value)), OddKey)
    prime = 2**61 - 1
    colliding = pickle.dumps({prime * i: 1 for i in range(1, 2000)}, 2)
    assert len(read(colliding).value) == 1999


def test_copying_over_and_over_is_stopped() -> None:
    lines = b"".join(b"cbuiltins\nlist\nh\x00\x85R0" for _ in range(20_000))
    data = pickle.dumps(list(range(20_000)), 2)[:-1] + b"q\x00" + lines + b"."
    started = time.monotonic()
    found = read(data)
    assert any("over and over" in text for text, _ in found.problems)
    assert time.monotonic() - started < 30


def test_calls_that_would_allocate_do_not() -> None:
    for name, size in ((b"bytes", b"J\xff\xff\xff\x7f"), (b"range", b"M\xff\xff")):
        found = read(b"\x80\x02cbuiltins\n" + name + b"\n" + size + b"\x85R.")
        assert isinstance(found.value, Call)
