"""The LevelDB log framing of ``.wandb`` files: whole records out, whatever is broken between.

Blocks of 32 KiB count from the start of the file; chunks of ``CRC, length, type, payload`` never
cross a block, and a record is one FULL chunk or FIRST, MIDDLE, ..., LAST (LevelDB
``doc/log_format.md``). W&B puts seven bytes in front and uses the plain CRC-32 (IEEE, unmasked)
over type and payload (wandb ``sdk/internal/datastore.py``, checked on files of 0.12 to 0.31).

Since every block begins with a chunk, many blocks are walked side by side.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from nanautopsy.readers import _crc32_join
from nanautopsy.readers._damage import Damage
from nanautopsy.readers._record_chain import unaligned
from nanautopsy.wording import phrase

MAGIC = b":W&B"
_FILE_HEADER = 7
_BLOCK = 32768
_BATCH, _HEADER = 128 * _BLOCK, 7
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4
_LOST = 0
"""In the place of chunks that are broken."""
LARGEST_RECORD = 64 << 20
"""Longer records are dropped: history rows are kilobytes; summaries with tables tens of MB."""
MARGIN = 32
"""Bytes that can be read before and behind every record."""
_MANY_CHUNKS = 2000
"""Fewer are checked one by one."""


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Whole records of one stretch of the file, in its order."""

    data: NDArray[np.uint8]
    """With at least :data:`MARGIN` bytes in front of and behind each record."""
    starts: NDArray[np.int64]
    """(n,) where each begins in ``data``."""
    lengths: NDArray[np.int64]
    """(n,) bytes."""
    offsets: NDArray[np.int64]
    """(n,) where the first chunk of each stands in the file."""

    def record(self, i: int) -> bytes:
        """The bytes of one record."""
        start = int(self.starts[i])
        return self.data[start : start + int(self.lengths[i])].tobytes()


@dataclass(frozen=True, slots=True, eq=False)
class _Chunks:
    """Good chunks, and the places where chunks were lost, in order."""

    places: NDArray[np.int64]
    """(n,) where each chunk's header stands in the batch."""
    sizes: NDArray[np.int64]
    kinds: NDArray[np.uint8]


def batches(file: BinaryIO, damage: Damage) -> Iterator[Batch]:
    """The whole records of ``file``, in file order.

    After a bad chunk reading goes on at the next block; a record with a piece missing is dropped.
    Each loss is one note in ``damage``.
    """
    assembly, offset = _Assembly(damage), 0
    while raw := file.read(_BATCH):
        data = np.zeros(len(raw) + 2 * MARGIN, dtype=np.uint8)
        data[MARGIN:-MARGIN] = np.frombuffer(raw, dtype=np.uint8)
        blocks = _Blocks(data, len(raw), offset, damage)
        batch = assembly.take(data, blocks.chunks(), offset - MARGIN)
        if len(batch.starts):
            yield batch
        offset += len(raw)
    assembly.end()


class _Blocks:
    """The blocks of one batch."""

    def __init__(self, data: NDArray[np.uint8], size: int, offset: int, damage: Damage) -> None:
        self._data = data
        self._shift = offset - MARGIN
        """From a place in ``data`` to one in the file."""
        self._damage = damage
        begins = np.arange(0, size, _BLOCK, dtype=np.int64)
        self._ends = np.minimum(begins + _BLOCK, size) + MARGIN
        self._begins = begins + MARGIN
        if offset == 0:
            self._begins[0] += _FILE_HEADER

    def chunks(self) -> _Chunks:
        """All chunks whose checksum is right, up to the first bad one of each block."""
        walked, reached = self._walk()
        places, sizes, kinds = (np.concatenate(column) for column in zip(*walked, strict=True))
        order = np.argsort(places, kind="stable")
        chunks = _Chunks(places[order], sizes[order], kinds[order])
        right = self._are_right(chunks, reached)
        lost: list[int] = []
        for block in sorted(set(((chunks.places[~right] - MARGIN) // _BLOCK).tolist())):
            first = self._first_wrong(chunks, right, block)
            self._note("a chunk whose checksum is wrong; reading goes on at the next block", first)
            right &= (chunks.places < first) | (chunks.places >= self._ends[block])
            reached[block] = self._ends[block]
            lost.append(first)
        lost.extend(self._note_ends(reached))
        return _Chunks(
            np.append(chunks.places[right], np.array(lost, dtype=np.int64)),
            np.append(chunks.sizes[right], np.zeros(len(lost), dtype=np.int64)),
            np.append(chunks.kinds[right], np.full(len(lost), _LOST, dtype=np.uint8)),
        )

    def _walk(self) -> tuple[list[tuple[NDArray[np.int64], ...]], NDArray[np.int64]]:
        """(places, sizes, kinds) of chunks, and how far each block goes on well."""
        nothing = np.zeros(0, dtype=np.int64)
        found: list[tuple[NDArray[np.int64], ...]] = [(nothing, nothing, nothing)]
        words, reached = unaligned(self._data, "<u8"), self._begins.copy()
        blocks = np.arange(len(reached))
        while len(blocks):
            blocks = blocks[reached[blocks] + _HEADER <= self._ends[blocks]]
            places = reached[blocks]
            heads = words[places]
            sizes = ((heads >> np.uint64(32)) & np.uint64(0xFFFF)).astype(np.int64)
            kinds = ((heads >> np.uint64(48)) & np.uint64(0xFF)).astype(np.int64)
            after = places + _HEADER + sizes
            good = (kinds >= _FULL) & (kinds <= _LAST) & (after <= self._ends[blocks])
            if not good.all():
                blocks, places, sizes = blocks[good], places[good], sizes[good]
                kinds, after = kinds[good], after[good]
            found.append((places, sizes, kinds))
            reached[blocks] = after
        return found, reached

    def _are_right(self, chunks: _Chunks, reached: NDArray[np.int64]) -> NDArray[np.bool_]:
        """(n,) whether the checksum of each chunk is right."""
        right = np.ones(len(chunks.places), dtype=np.bool_)
        if len(right) < _MANY_CHUNKS:
            doubtful = np.arange(len(right))
        else:
            good = self._blocks_are_right(chunks, reached)
            doubtful = np.flatnonzero(~good[(chunks.places - MARGIN) // _BLOCK])
        stored = unaligned(self._data, "<u4")[chunks.places[doubtful]]
        view = memoryview(self._data)  # type: ignore[arg-type]
        parts = zip(
            doubtful.tolist(),
            chunks.places[doubtful].tolist(),
            chunks.sizes[doubtful].tolist(),
            stored.tolist(),
            strict=True,
        )
        for i, place, size, crc in parts:
            right[i] = zlib.crc32(view[place + 6 : place + _HEADER + size]) == crc
        return right

    def _blocks_are_right(self, chunks: _Chunks, reached: NDArray[np.int64]) -> NDArray[np.bool_]:
        """(blocks,) whether the checksums of all of a block's chunks are right."""
        heads = unaligned(self._data, "<u8")[chunks.places]
        crcs = (heads & np.uint64(0xFFFFFFFF)).astype(np.uint32)
        lengths = chunks.sizes + 1
        blocks = (chunks.places - MARGIN) // _BLOCK
        # A header's first six bytes count too: as the part in front of the chunk's own bytes.
        six = np.full(len(heads), 6, dtype=np.int64)
        fours = _crc32_join.advance(crcs, six)
        twos = _crc32_join.advance(
            ((heads >> np.uint64(32)) & np.uint64(0xFFFF)).astype(np.uint32), six - 4
        )
        body = crcs ^ np.uint32(0xFFFFFFFF)
        body ^= _crc32_join.advance(fours ^ twos ^ np.uint32(0xFFFFFFFF), lengths)
        added = _crc32_join.advance(body, reached[blocks] - chunks.places - _HEADER - chunks.sizes)
        first = np.searchsorted(blocks, np.arange(len(reached)))
        full = first < np.append(first[1:], len(blocks))
        wholes = np.zeros(len(reached), dtype=np.uint32)
        wholes[full] = np.bitwise_xor.reduceat(added, first[full])
        wholes ^= _crc32_join.ends(reached - self._begins)
        view = memoryview(self._data)  # type: ignore[arg-type]
        pairs = zip(self._begins.tolist(), reached.tolist(), strict=True)
        actual = np.array([zlib.crc32(view[a:b]) for a, b in pairs], dtype=np.uint32)
        return np.equal(wholes, actual)

    def _first_wrong(self, chunks: _Chunks, right: NDArray[np.bool_], block: int) -> int:
        inside = (chunks.places >= self._begins[block]) & (chunks.places < self._ends[block])
        return int(chunks.places[inside & ~right][0])

    def _note_ends(self, reached: NDArray[np.int64]) -> Iterator[int]:
        """Say what stands where blocks do not go on; gives the places where chunks are lost."""
        for block in np.flatnonzero(reached < self._ends).tolist():
            place, end = int(reached[block]), int(self._ends[block])
            rest = self._data[place:end]
            if len(rest) < _HEADER:
                if rest.any():
                    self._note("ends inside a record", place)
            elif not rest[:_HEADER].any():
                what = "bytes that begin with zeros" if rest.any() else "bytes of zeros"
                self._note(f"{len(rest)} {what} instead of records", place)
            else:
                self._note(self._trouble(rest, end), place)
                yield place

    def _trouble(self, rest: NDArray[np.uint8], end: int) -> str:
        size = int(rest[4]) + 256 * int(rest[5])
        if size + _HEADER > len(rest):
            if (end - MARGIN) % _BLOCK:
                return "ends inside a record"
            return "a chunk that is longer than its block; reading goes on at the next block"
        return f"a chunk of unknown type {rest[6]}; reading goes on at the next block"

    def _note(self, text: str, place: int) -> None:
        self._damage.note(text, place + self._shift)


class _Assembly:
    """Puts the chunks of records together."""

    def __init__(self, damage: Damage) -> None:
        self._damage = damage
        self._parts: list[bytes] | None = None
        self._offset = 0
        self._size = 0
        self._whole: list[tuple[int, bytes]] = []

    def take(self, data: NDArray[np.uint8], chunks: _Chunks, shift: int) -> Batch:
        """The records that are complete with these chunks. ``shift``: from a place in ``data`` to
        one in the file."""
        alone = chunks.kinds == _FULL
        starts, lengths = chunks.places[alone] + _HEADER, chunks.sizes[alone]
        offsets = chunks.places[alone] + shift
        self._whole = []
        pieces = np.flatnonzero(~alone)
        pieces = pieces[np.argsort(chunks.places[pieces], kind="stable")]
        singles = chunks.places[alone]
        before = 0
        for i in pieces.tolist():
            place, size = int(chunks.places[i]), int(chunks.sizes[i])
            begun = int(np.searchsorted(singles, place))
            if self._parts is not None and begun > before:
                self._broken()  # A whole record stands between.
            before = begun
            content = data[place + _HEADER : place + _HEADER + size]
            self._piece(place + shift, int(chunks.kinds[i]), content)
        if self._parts is not None and before < len(singles):
            self._broken()
        return _batch(data, starts, lengths, offsets, self._whole)

    def _piece(self, offset: int, kind: int, content: NDArray[np.uint8]) -> None:
        if kind in (_FIRST, _LOST):
            if self._parts is not None:
                self._broken()
            if kind == _FIRST:
                self._parts, self._offset, self._size = [content.tobytes()], offset, len(content)
            return
        if self._parts is None:
            # The rest of a record whose beginning was lost, which was noted then.
            return
        self._size += len(content)
        if self._size > LARGEST_RECORD:
            self._damage.note(
                phrase("a record of more than {most} bytes", most=LARGEST_RECORD),
                self._offset,
            )
            self._parts = None
            return
        self._parts.append(content.tobytes())
        if kind == _LAST:
            self._whole.append((self._offset, b"".join(self._parts)))
            self._parts = None

    def _broken(self) -> None:
        self._damage.note(phrase("a record without its end"), self._offset)
        self._parts = None

    def end(self) -> None:
        """The file is over."""
        if self._parts is not None:
            self._damage.note(phrase("ends inside a record"), self._offset)


def _batch(
    data: NDArray[np.uint8],
    starts: NDArray[np.int64],
    lengths: NDArray[np.int64],
    offsets: NDArray[np.int64],
    joined: list[tuple[int, bytes]],
) -> Batch:
    """A batch of whole chunks and of records that were put together from several."""
    if not joined:
        return Batch(data, starts, lengths, offsets)
    more = np.array([len(content) for _, content in joined], dtype=np.int64)
    more_starts = len(data) + np.cumsum(more) - more
    pieces = [np.frombuffer(content, dtype=np.uint8) for _, content in joined]
    data = np.concatenate([data, *pieces, np.zeros(MARGIN, dtype=np.uint8)])
    offsets = np.append(offsets, np.array([offset for offset, _ in joined], dtype=np.int64))
    order = np.argsort(offsets, kind="stable")
    starts, lengths = np.append(starts, more_starts), np.append(lengths, more)
    return Batch(data, starts[order], lengths[order], offsets[order])
