"""The flat numbers of W&B's history records, a whole batch at a time.

Most of a run file is history items as ``key, value_json`` with a number for the value. They are
walked in all rows of a batch side by side: the first item of each, then the second, and so on.
What is not of that form (nested dictionaries, histograms, texts, what is broken) is handed out as
bytes for the parser that takes anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from nanautopsy.readers import _decimal_text
from nanautopsy.readers import _protowire as wire
from nanautopsy.readers._leveldb_log import Batch
from nanautopsy.readers._record_chain import unaligned
from nanautopsy.readers._wandb_keys import Keys

_Ints = NDArray[np.int64]

_ITEM, _STEP = 0x0A, 0x12
"""Keys of a history record's fields 1 and 2."""
_KEY, _NESTED_KEY = 0x0A, 0x12
_VALUE_JSON = 0x0182
_NULL = int.from_bytes(b"null", "little")
_LONGEST_KEY = 120
_FEWEST_ROWS = 8
"""Fewer rows that still have items are left to the other parser."""


@dataclass(frozen=True, slots=True, eq=False)
class Numbers:
    """Points of one key out of one batch."""

    key: bytes
    """The item's fields in front of its value, as they stand in the file."""
    rows: _Ints
    """(n,) which of the batch's history rows each is from."""
    values: NDArray[np.float64]
    missing: NDArray[np.bool_]
    """(n,) an explicit null."""


@dataclass(slots=True)
class _Items:
    """Items that were found: (n,) places in the batch."""

    rows: list[_Ints] = field(default_factory=list)
    keys: list[_Ints] = field(default_factory=list)
    key_ends: list[_Ints] = field(default_factory=list)
    values: list[_Ints] = field(default_factory=list)
    value_ends: list[_Ints] = field(default_factory=list)
    deep: list[NDArray[np.bool_]] = field(default_factory=list)
    """Inside a dictionary."""


class HistoryBatch:
    """The history rows of one batch of records."""

    def __init__(self, batch: Batch, starts: _Ints, ends: _Ints, keys: Keys) -> None:
        """``starts`` and ``ends`` (n,): where the history messages stand in the batch's data;
        ``keys``: those of the file, which grow."""
        self._data = batch.data
        self._keys = keys
        self._starts, self._ends = starts, ends
        self._rest: dict[int, list[tuple[int, int]]] = {}

    def __len__(self) -> int:
        return len(self._starts)

    def message(self, row: int) -> bytes:
        """The whole history message of a row."""
        return self._bytes(int(self._starts[row]), int(self._ends[row]))

    def numbers(self) -> Iterator[Numbers]:
        """The plain numbers by key. Complete before :meth:`rest` is asked for."""
        items = self._walk()
        if not items.rows:
            return
        rows, keys, key_ends, begins, ends = (
            np.concatenate(column)
            for column in (items.rows, items.keys, items.key_ends, items.values, items.value_ends)
        )
        deep = np.concatenate(items.deep)
        order = np.argsort(rows.astype(np.uint16) if len(self) < 65536 else rows, kind="stable")
        rows, keys, key_ends, deep = rows[order], keys[order], key_ends[order], deep[order]
        begins, ends = begins[order], ends[order]
        values, known = _decimal_text.parse(self._data, begins, ends - begins)
        missing = (unaligned(self._data, "<u4")[begins] == _NULL) & (ends - begins == 4)
        known |= missing
        unread = np.zeros(len(self), dtype=np.bool_)
        unread[rows[~known]] = True
        unread[list(self._rest)] = True
        # A number inside a dictionary may be part of a histogram: that takes all of its items.
        known &= ~(deep & unread[rows])
        other = np.flatnonzero(~known)
        # An item's own key and length take two bytes in front of its fields.
        self._leave(rows[other], keys[other] - 2, ends[other])
        kept = np.flatnonzero(known)
        for key, chosen in self._keys.groups(self._data, keys[kept], key_ends[kept]):
            part = kept[chosen]
            yield Numbers(key, rows[part], values[part], missing[part])

    def rest(self) -> Iterator[tuple[int, bytes]]:
        """(row, the fields of its message that gave no plain number), in order of rows."""
        for row in sorted(self._rest):
            yield row, b"".join(self._bytes(*span) for span in sorted(self._rest[row]))

    def _bytes(self, start: int, end: int) -> bytes:
        return self._data[start:end].tobytes()

    def _walk(self) -> _Items:
        """Step through all rows' fields side by side."""
        items, words = _Items(), unaligned(self._data, "<u4")
        rows, places, ends = np.arange(len(self)), self._starts, self._ends
        while len(rows):
            more = places < ends
            if not more.all():
                rows, places, ends = rows[more], places[more], ends[more]
            if len(rows) < _FEWEST_ROWS:
                self._leave(rows, places, ends)
                break
            heads = words[places]
            after = places + 2 + ((heads >> np.uint32(8)) & np.uint32(0xFF)).astype(np.int64)
            tags = heads & np.uint32(0xFF)
            sound = ((heads & np.uint32(0x8000)) == 0) & (after <= ends)
            sound &= (tags == _ITEM) | (tags == _STEP)
            if not sound.all():
                after = np.where(sound, after, self._long_items(rows, places, ends, ~sound))
            item = np.flatnonzero(sound & (tags == _ITEM))
            self._take(items, rows[item], places[item], after[item], heads[item])
            places = after
        return items

    def _leave(self, rows: _Ints, places: _Ints, ends: _Ints) -> None:
        """Hand spans out to the other parser."""
        for row, place, end in zip(rows.tolist(), places.tolist(), ends.tolist(), strict=True):
            self._rest.setdefault(row, []).append((place, end))

    def _long_items(
        self, rows: _Ints, places: _Ints, ends: _Ints, which: NDArray[np.bool_]
    ) -> _Ints:
        """(n,) where each of the fields ends that are longer than 127 bytes; they are left."""
        after: _Ints = ends.copy()
        for i in np.flatnonzero(which).tolist():
            place, end = int(places[i]), int(ends[i])
            try:
                message = self._bytes(place, min(end, place + 16))
                key, size, width = message[0], *_length(message)
                whole = key == _ITEM and place + 1 + width + size <= end
            except (wire.WireError, IndexError):
                whole = False
            if whole:
                after[i] = place + 1 + width + size
            self._rest.setdefault(int(rows[i]), []).append((place, int(after[i])))
        return after

    def _take(
        self,
        items: _Items,
        rows: _Ints,
        places: _Ints,
        after: _Ints,
        heads: NDArray[np.uint32],
    ) -> None:
        """Note the key and the value of items, or leave what has another form."""
        words = unaligned(self._data, "<u4")
        tags = (heads >> np.uint32(16)) & np.uint32(0xFF)
        nested = tags == _NESTED_KEY
        key_ends = places + 4 + (heads >> np.uint32(24)).astype(np.int64)
        usual = (nested | (tags == _KEY)) & (key_ends + 3 <= after) & (heads < 0x80000000)
        ends = np.where(usual, key_ends, places)
        behind = words[ends]
        # A path of several keys, as a dictionary in a dictionary has.
        further = np.flatnonzero(usual & nested & ((behind & np.uint32(0xFF)) == _NESTED_KEY))
        while len(further):
            size = ((behind[further] >> np.uint32(8)) & np.uint32(0xFF)).astype(np.int64)
            ends[further] += 2 + size
            inside = (size < 0x80) & (ends[further] + 3 <= after[further])
            usual[further[~inside]] = False
            further = further[inside]
            behind[further] = words[ends[further]]
            further = further[(behind[further] & np.uint32(0xFF)) == _NESTED_KEY]
        usual &= (behind & np.uint32(0xFFFF)) == _VALUE_JSON
        sizes = ((behind >> np.uint32(16)) & np.uint32(0xFF)).astype(np.int64)
        usual &= (ends + 3 + sizes == after) & (ends - places <= _LONGEST_KEY)
        if not usual.all():
            other, kept = np.flatnonzero(~usual), np.flatnonzero(usual)
            self._leave(rows[other], places[other], after[other])
            rows, places, ends, after = rows[kept], places[kept], ends[kept], after[kept]
            key_ends = key_ends[kept]
        items.rows.append(rows)
        items.keys.append(places + 2)
        items.key_ends.append(ends)
        items.values.append(ends + 3)
        items.value_ends.append(after)
        items.deep.append(ends != key_ends)


def _length(message: bytes) -> tuple[int, int]:
    """A field's length and the bytes that state it. Raises :class:`IndexError`."""
    size = 0
    for width in range(1, 6):
        byte = message[width]
        size |= (byte & 0x7F) << 7 * (width - 1)
        if byte < 0x80:
            return size, width
    raise wire.WireError("a length of more than five bytes")


def path_of(key: bytes) -> list[str]:
    """The path that an item's key fields spell."""
    return [wire.text(value) for _, _, value in wire.fields(key)]
