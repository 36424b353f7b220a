"""TFRecord framing: whole records out, block by block, whatever is broken between them.

A record is ``uint64 length, masked CRC of the length, payload, masked CRC of the payload``, all
little-endian (TensorFlow ``lib/io/record_writer.h``). There is no marker to resynchronize on, so
after a bad header the next place is looked for whose length CRC is right.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedIOBase

import numpy as np
from numpy.typing import NDArray

from nanautopsy.readers import _crc32c
from nanautopsy.readers._damage import Damage
from nanautopsy.readers._record_chain import (
    FOOTER,
    HEADER,
    LARGEST_RECORD,
    OVERHEAD,
    Chain,
    length_crcs,
    unaligned,
)
from nanautopsy.wording import phrase

BLOCK_BYTES = 4 << 20
_FEW_BYTES = 4096
"""Less than this goes through the plain loop over bytes."""

_LENGTH = struct.Struct("<Q")


@dataclass(frozen=True, slots=True, eq=False)
class Frames:
    """Whole records with right length CRCs, inside one block of the file.

    ``data`` is only good until the next block is asked for.
    """

    data: NDArray[np.uint8]
    offset: int
    """Where ``data`` begins in the file, bytes."""
    starts: NDArray[np.int64]
    """(n,) where each payload begins in ``data``."""
    lengths: NDArray[np.int64]
    """(n,) bytes of each payload."""

    def payload(self, record: int) -> bytes:
        """The payload of one record."""
        start = int(self.starts[record])
        return self.data[start : start + int(self.lengths[record])].tobytes()

    def intact(self, records: NDArray[np.int64]) -> NDArray[np.bool_]:
        """(n,) whether the payload CRC of each of ``records`` is right."""
        data, starts, lengths = self.data, self.starts[records], self.lengths[records]
        ends = (starts + lengths)[:, None] + np.arange(FOOTER)
        stored = np.ascontiguousarray(data[ends]).view("<u4")[:, 0].astype(np.uint32)
        total = int(lengths.sum())
        if total < _FEW_BYTES:
            pairs = zip(starts.tolist(), lengths.tolist(), strict=True)
            crcs = [_crc32c.of_bytes(data[a : a + n].tobytes()) for a, n in pairs]
            return np.asarray(np.array(crcs, dtype=np.uint32) == _crc32c.unmask(stored))
        if total < len(data) // 2:
            # The work grows with the data handed in: leave out what nobody asked for.
            parts = [
                data[a : a + n] for a, n in zip(starts.tolist(), lengths.tolist(), strict=True)
            ]
            data = np.concatenate([data[:0], *parts])
            starts = np.cumsum(lengths) - lengths
        return np.asarray(_crc32c.crc32c(data, starts, lengths) == _crc32c.unmask(stored))


def frames(file: BufferedIOBase, damage: Damage) -> Iterator[Frames]:
    """The records of ``file``, read forward in blocks; what lies between goes to ``damage``."""
    reader, gaps, chain = _Reader(file), _Gaps(damage), Chain()
    while reader.fill():
        data = np.frombuffer(reader.buffer, dtype=np.uint8)
        starts, lengths, position = _chain(chain, reader.buffer, data)
        if len(data) - position >= HEADER and not _header_is_right(reader.buffer, position):
            more, more_lengths, end = _salvage(data, position, reader.offset, gaps)
            starts = np.concatenate([starts, more])
            lengths, position = np.concatenate([lengths, more_lengths]), end
        if len(starts):
            yield Frames(data, reader.offset, starts, lengths)
        place, rest = reader.offset + position, len(data) - position
        if rest < HEADER and not reader.ended:
            reader.keep(position, BLOCK_BYTES)
            continue
        length = _LENGTH.unpack_from(reader.buffer, position)[0] if rest >= HEADER else 0
        if length > LARGEST_RECORD:
            damage.note(phrase("a record of {size} bytes was not read", size=length), place)
            reader.skip(position, length + OVERHEAD)
        elif not reader.ended:
            reader.keep(position, length + OVERHEAD)
        else:
            content = bool(data[position:].any())
            if rest and not gaps.add(place, place + rest, content, only_more=True):
                text = phrase(
                    "ends inside a record: the last {n} bytes are not a whole one", n=rest
                )
                damage.note(text, place)
            break
    if reader.missing:
        damage.note(phrase("the file ends inside a record that was not read"), reader.offset)
    gaps.close()


def _salvage(
    data: NDArray[np.uint8], position: int, offset: int, gaps: _Gaps
) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """The whole records from ``position`` on, where there is no right header.

    Gives payload starts (n,), lengths (n,), and the place of a record that is not whole, or the
    end but for what may begin a header.
    """
    places, lengths = _all_headers(data, position)
    kept: list[int] = []
    for i, (place, length) in enumerate(zip(places.tolist(), lengths.tolist(), strict=True)):
        if place < position:
            continue  # Inside a record: its bytes happen to be a header.
        if place > position:
            gaps.add(offset + position, offset + place, bool(data[position:place].any()))
        position = place
        if place + length + OVERHEAD > len(data):
            break
        kept.append(i)
        position += length + OVERHEAD
    else:
        end = max(position, len(data) - HEADER + 1)
        gaps.add(offset + position, offset + end, bool(data[position:end].any()))
        position = end
    return places[kept] + HEADER, lengths[kept], position


class _Gaps:
    """Stretches of bytes that are no records, adjacent ones joined."""

    def __init__(self, damage: Damage) -> None:
        self._damage = damage
        self._begin = self._end = -1
        self._content = False

    def add(self, begin: int, end: int, content: bool, only_more: bool = False) -> bool:
        """Add a stretch that holds more than zeros or not; ``only_more``: if it joins the last."""
        if begin == self._end:
            self._end, self._content = end, self._content or content
            return True
        if only_more:
            return False
        if begin < end:
            self.close()
            self._begin, self._end, self._content = begin, end, content
        return True

    def close(self) -> None:
        """Report the last stretch."""
        size = self._end - self._begin
        if size:
            text = phrase("{size} bytes are no records", size=size)
            if not self._content:
                text = phrase("{size} bytes of zeros instead of records", size=size)
            self._damage.note(text, self._begin)
        self._begin = self._end = -1


class _Reader:
    """A window on a file that moves forward. Its memory is used again at each :meth:`fill`."""

    def __init__(self, file: BufferedIOBase) -> None:
        self._file = file
        self._wanted = BLOCK_BYTES
        self._memory = memoryview(bytearray(BLOCK_BYTES))
        self.buffer = self._memory[:0]
        self.offset = 0
        """Where ``buffer`` begins in the file."""
        self.ended = False
        self.missing = False
        """A skip led past the end."""

    def fill(self) -> bool:
        """Read until the wanted bytes are there or the file ends; False: there is none."""
        have, kept = len(self.buffer), self.buffer
        if self._wanted > len(self._memory):
            self._memory = memoryview(bytearray(self._wanted))
        self._memory[:have] = kept
        while have < self._wanted and not self.ended:
            count = self._read(self._memory[have : self._wanted])
            have += count
        self.buffer = self._memory[:have]
        return have > 0

    def _read(self, target: memoryview) -> int:
        count = self._file.readinto(target)
        self.ended = not count
        return count

    def keep(self, position: int, wanted: int) -> None:
        """Let go what lies before ``position``; want so many bytes next, at least a block."""
        self.buffer = self.buffer[position:]
        self.offset += position
        self._wanted = max(wanted, BLOCK_BYTES)

    def skip(self, position: int, count: int) -> None:
        """Go on ``count`` bytes after ``position``, reading what lies between."""
        self.keep(position, 0)
        left = count - len(self.buffer)
        self.keep(min(count, len(self.buffer)), 0)
        while left > 0 and not self.ended:
            passed = self._read(self._memory[: min(left, BLOCK_BYTES)])
            self.offset += passed
            left -= passed
        self.missing = left > 0


def _chain(
    chain: Chain, buffer: memoryview, data: NDArray[np.uint8]
) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """Follow the lengths from the start of ``buffer``.

    Gives payload starts (n,) and lengths (n,) of the whole records whose length CRC is right,
    and the position after the last of them.
    """
    places, sizes = chain.follow(buffer, data)
    lengths = sizes - OVERHEAD
    whole = places + sizes <= len(buffer)
    whole &= _crcs_are_right(data, places, lengths)
    count = len(whole) if whole.all() else int(np.argmin(whole))
    places, lengths = places[:count], lengths[:count]
    after = int(places[-1] + lengths[-1]) + OVERHEAD if count else 0
    return places + HEADER, lengths, after


def _crcs_are_right(
    data: NDArray[np.uint8], places: NDArray[np.int64], lengths: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """(n,) whether the headers at ``places`` hold the CRC of ``lengths``, and these are sane."""
    if not len(places):
        return np.zeros(0, dtype=np.bool_)
    stored = unaligned(data, "<u4")[places + 8]
    sane = lengths <= LARGEST_RECORD
    if sane.all():
        return np.asarray(length_crcs(lengths) == stored)
    return np.asarray(sane & (length_crcs(np.where(sane, lengths, 0)) == stored))


def begins_with_record(data: bytes) -> bool:
    """Whether a file that begins with ``data`` begins with a TFRecord's header."""
    return len(data) >= HEADER and _header_is_right(memoryview(data), 0)


def _header_is_right(buffer: memoryview, position: int) -> bool:
    stored: int = struct.unpack_from("<I", buffer, position + 8)[0]
    crc = _crc32c.of_bytes(bytes(buffer[position : position + 8]))
    return int(_crc32c.mask(np.array([crc], dtype=np.uint32))[0]) == stored


def _all_headers(
    data: NDArray[np.uint8], first: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Every place (n,) from ``first`` on with a right header of a record that is not empty, and
    the lengths (n,) that they state."""
    found = [(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))]
    for begin in range(first, len(data) - HEADER + 1, BLOCK_BYTES):
        end = min(begin + BLOCK_BYTES, len(data) - HEADER + 1)
        # The upper four bytes of a sane length are zero, so most places fall out at once.
        zero = data[begin + 4 : end + 7] == 0
        near = np.flatnonzero(zero[:-3] & zero[1:-2] & zero[2:-1] & zero[3:]) + begin
        lengths = unaligned(data, "<u4")[near].astype(np.int64)
        right = _crcs_are_right(data, near, lengths) & (lengths > 0)
        found.append((near[right], lengths[right]))
    places, lengths = (np.concatenate(column) for column in zip(*found, strict=True))
    return places, lengths
