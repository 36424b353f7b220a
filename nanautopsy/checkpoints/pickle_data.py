"""Pickles read as data: opcodes are interpreted here, and nothing is imported or called, ever.

The opcodes are those of protocols 0 to 5 as Python's ``pickletools`` documents them. Every class
or function that a pickle names becomes a :class:`Global`, every call a :class:`Call`; the few
calls that only make plain data (``OrderedDict``, ``set``, ...) become that data. A pickle that is
cut short or damaged still gives all that it had built. What a hostile pickle would do is for
:mod:`nanautopsy.checkpoints.pickle_danger` to say.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nanautopsy.checkpoints.data_file import DataFile
from nanautopsy.checkpoints.pickles.machine import LOADERS, Broken, Machine
from nanautopsy.checkpoints.pickles.opcodes import OPCODES
from nanautopsy.checkpoints.pickles.records import (
    BytesAt,
    Call,
    Global,
    Lost,
    OddKey,
    PersistentId,
    Use,
)
from nanautopsy.checkpoints.pickles.source import EndOfBytes

__all__ = [
    "LOADERS",
    "BytesAt",
    "Call",
    "Global",
    "Lost",
    "OddKey",
    "PersistentId",
    "Unpickled",
    "Use",
    "interpret",
]


@dataclass(frozen=True, slots=True)
class Unpickled:
    """What one pickle holds."""

    value: Any
    """Its object, as far as it had been built; :class:`Lost` where nothing had."""
    begin: int
    end: int
    """Byte of the file after STOP, or at which reading gave up."""
    complete: bool
    """STOP was reached."""
    problems: tuple[tuple[str, int], ...]
    """(text, byte of the file)."""
    uses: Mapping[Global, Use]
    """Every class and function that is named, also where its object was thrown away."""
    computed: tuple[tuple[int, Any, tuple[Any, ...]], ...]
    """(byte, function, arguments) of calls of something that is itself the result of a call."""
    embedded: tuple[tuple[Global, bytes | BytesAt], ...]
    """(function, byte string) of calls that would load another pickle from it."""
    references: tuple[PersistentId, ...]
    """Every reference to something outside, in order; torch's storages among them."""
    patched: tuple[tuple[int, Global], ...]
    """(byte, what) of classes, functions or modules whose attributes are set."""


def interpret(file: DataFile, begin: int = 0, end: int | None = None) -> Unpickled:
    """Read the pickle that starts at byte ``begin`` of ``file`` and ends before ``end``.

    Byte strings longer than 4 KiB stay in the file (:class:`BytesAt`). Raises ``OSError`` when
    the file cannot be read, and nothing else.
    """
    with file.open() as handle:
        machine = Machine(handle, begin, file.size if end is None else min(end, file.size))
        complete = False
        try:
            machine.run(OPCODES)
            complete = True
        except EndOfBytes:
            machine.note(f"the pickle is cut short after {machine.offset - begin} bytes")
        except Broken as error:
            machine.note(str(error))
        value = machine.result()
    return Unpickled(
        value=value,
        begin=begin,
        end=machine.offset,
        complete=complete,
        problems=tuple(machine.problems),
        uses=machine.uses,
        computed=tuple(machine.computed),
        embedded=tuple(machine.embedded),
        references=tuple(machine.references),
        patched=tuple(machine.patched),
    )
