"""Pickle opcodes that put a number, a text or a byte string onto the stack."""

from __future__ import annotations

import codecs
import struct
from collections.abc import Callable
from typing import TypeAlias

from nanautopsy.checkpoints.pickles.machine import Machine
from nanautopsy.checkpoints.pickles.records import BytesAt, Lost

Operation: TypeAlias = Callable[[Machine], None]

UINT32 = struct.Struct("<I")
_LEFT_IN_FILE = 4096
"""Longer byte strings are not read: the arrays of a pickle lie in them."""
_LONGEST_NUMBER = 512
"""Bytes or digits. Long numbers take quadratic time; a random generator's have 17."""


def packed(layout: str) -> Operation:
    pack = struct.Struct(layout)

    def read(machine: Machine) -> None:
        machine.stack.append(pack.unpack(machine.take(pack.size))[0])

    return read


def long_number(machine: Machine, size: int) -> None:
    if size > _LONGEST_NUMBER:
        machine.skip(size)
        machine.note(f"a number of {size} bytes; not read")
        machine.stack.append(Lost("a number too long to read"))
    else:
        machine.stack.append(int.from_bytes(machine.take(size), "little", signed=True))


def decimal(machine: Machine) -> None:
    """INT and LONG: digits to the end of the line; INT also spells booleans."""
    line = machine.line().strip().removesuffix(b"L")
    if line in (b"00", b"01"):
        machine.stack.append(line == b"01")
        return
    try:
        if len(line) > _LONGEST_NUMBER:
            raise ValueError
        machine.stack.append(int(line))
    except ValueError:
        machine.note(f"a number of {len(line)} characters that cannot be read")
        machine.stack.append(Lost("an unreadable number"))


def float_line(machine: Machine) -> None:
    line = machine.line()
    try:
        machine.stack.append(float(line[:_LONGEST_NUMBER]))
    except ValueError:
        machine.note("a number that cannot be read")
        machine.stack.append(Lost("an unreadable number"))


def counted(size_bytes: int, keep: Callable[[Machine, int], None]) -> Operation:
    return lambda machine: keep(machine, int.from_bytes(machine.take(size_bytes), "little"))


def text(machine: Machine, size: int) -> None:
    if not machine.has_room_for_text(size):
        machine.skip(size)
        machine.note(f"a text of {size} bytes; not read")
        machine.stack.append(Lost("a text too long to read"))
        return
    machine.stack.append(machine.take(size).decode("utf-8", "backslashreplace"))


def binunicode(machine: Machine) -> None:
    """BINUNICODE, on the fast path while the text lies in the block."""
    block, at = machine.block, machine.at
    if at + 4 <= len(block):
        size = UINT32.unpack_from(block, at)[0]
        end = at + 4 + size
        if end <= len(block) and machine.has_room_for_text(size):
            machine.at = end
            machine.stack.append(block[at + 4 : end].decode("utf-8", "backslashreplace"))
            return
    text(machine, int.from_bytes(machine.take(4), "little"))


def binint1(machine: Machine) -> None:
    """BININT1, the number of a small size or stride."""
    at = machine.at
    if at >= len(machine.block):
        machine.fill(1)
        at = 0
    machine.at = at + 1
    machine.stack.append(machine.block[at])


def byte_string(machine: Machine, size: int) -> None:
    if size > _LEFT_IN_FILE or not machine.has_room_for_text(size):
        machine.made()
        machine.stack.append(BytesAt(machine.offset, size))
        machine.skip(size)
        return
    machine.stack.append(machine.take(size))


def python2_string(machine: Machine, size: int) -> None:
    """Text or bytes, Python 2 did not tell; valid UTF-8 is taken for text."""
    byte_string(machine, size)
    if isinstance(machine.stack[-1], bytes):
        machine.stack[-1] = _as_text(machine.stack[-1])


def _as_text(data: bytes) -> str | bytes:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data


def quoted(machine: Machine) -> None:
    line = machine.line().strip()
    if len(line) >= 2 and line[:1] == line[-1:] and line[:1] in (b"'", b'"'):
        line = line[1:-1]
    try:
        data, _ = codecs.escape_decode(line)
    except ValueError:
        data = line
    machine.stack.append(_as_text(bytes(data)))


def raw_unicode(machine: Machine) -> None:
    line = machine.line()
    try:
        machine.stack.append(line.decode("raw-unicode-escape"))
    except UnicodeDecodeError:
        machine.stack.append(line.decode("latin-1"))
