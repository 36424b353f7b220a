"""Decoding scalar events a whole block at a time.

A writer's scalar events differ from each other in the wall time, the step and the value; all
other bytes repeat. So the first event of a kind is parsed, the places of those three are noted,
and every other payload that has the same bytes elsewhere holds its numbers at the same places.
Its checksum is that of the first, changed by what the differing bytes contribute. What fits no
template, or fails its checksum, is left to the caller.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from nanautopsy.readers import _crc32c
from nanautopsy.readers._record_chain import FOOTER
from nanautopsy.readers._scalar_layout import Layout, bytes_at, layout_of
from nanautopsy.readers._tfrecord import Frames

_LONGEST = 512
"""Bytes of a payload; scalar events take some 50."""
_FEWEST = 8
"""Fewer payloads of a shape in a block are not worth a template."""
_MOST_FAMILIES = 4
_MOST_FAILURES = 3
_MOST_TEMPLATES = 20_000

# Of the payload's second word: field key after the wall time, and which of the next five bytes
# go on as a varint. Equal here means that a step takes equally many bytes.
_SHAPE = np.uint64(int.from_bytes(b"\0\xff\x80\x80\x80\x80\x80\0", "little"))


@dataclass(frozen=True, slots=True, eq=False)
class Points:
    """Points of one tag out of one block."""

    tag: str
    records: NDArray[np.int64]
    """(n,) which of the block's records each is from, ascending."""
    steps: NDArray[np.int64]
    values: NDArray[np.float64]
    times: NDArray[np.float64]
    """(n,) seconds since the Unix epoch."""


@dataclass(slots=True, eq=False)
class _Group:
    """Payloads of one block with equal length and shape."""

    frames: Frames
    records: NDArray[np.int64]
    rows: NDArray[np.uint8]
    """(n, width) payload, stored CRC, and what follows up to a multiple of eight."""
    words: NDArray[np.uint64]
    """(width / 8, n) the same."""

    def take(self, index: NDArray[np.int64]) -> _Group:
        if len(index) == len(self.records):
            return self
        return _Group(self.frames, self.records[index], self.rows[index], self.words[:, index])

    def stored(self, length: int) -> NDArray[np.uint32]:
        """(n,) the CRCs that the file states of payloads of ``length`` bytes, unmasked."""
        return _crc32c.unmask(bytes_at(self.words, length, FOOTER).astype(np.uint32))


class ScalarTemplates:
    """What has been learnt of a file's scalar events so far."""

    def __init__(self) -> None:
        self._families: dict[tuple[int, int], list[_Family]] = {}
        self._failures: dict[tuple[int, int], int] = {}

    def decode(self, frames: Frames) -> tuple[list[Points], NDArray[np.int64]]:
        """Points by tag, and the records (ascending) that were not decoded."""
        points: list[Points] = []
        done = np.zeros(len(frames.starts), dtype=np.bool_)
        for length, group in _groups(frames):
            shapes = group.words[1] & _SHAPE
            while len(group.records) >= _FEWEST:
                same = shapes == shapes[0]
                chosen = group.take(np.flatnonzero(same))
                for part in self._decode(length, int(shapes[0]), chosen):
                    points.append(part)
                    done[part.records] = True
                others = np.flatnonzero(~same)
                if not len(others):
                    break
                group, shapes = group.take(others), shapes[others]
        return points, np.flatnonzero(~done)

    def _decode(self, length: int, shape: int, group: _Group) -> Iterator[Points]:
        if len(group.records) < _FEWEST or self._failures.get((length, shape), 0) > _MOST_FAILURES:
            return
        families = self._families.setdefault((length, shape), [])
        tried, decoded = 0, False
        while len(group.records):
            if tried == len(families) and not self._learn(families, length, group):
                break
            parts, left = families[tried].decode(group)
            yield from parts
            group = group.take(left)
            tried, decoded = tried + 1, decoded or bool(parts)
        if not decoded:
            self._failures[length, shape] = self._failures.get((length, shape), 0) + 1

    def _learn(self, families: list[_Family], length: int, group: _Group) -> bool:
        """Add a family for the first of some payloads that is a scalar event."""
        if len(group.records) < _FEWEST or len(families) == _MOST_FAMILIES:
            return False
        for i in (0, len(group.records) // 2, len(group.records) - 1):
            found = layout_of(group.rows[i, :length].tobytes())
            if found is not None and all(found[0] != family.layout for family in families):
                families.append(_Family(found[0]))
                return True
        return False


def _groups(frames: Frames) -> Iterator[tuple[int, _Group]]:
    """(length, group) for each payload length that is common in the block."""
    short = np.where(frames.lengths <= _LONGEST, frames.lengths, 0).astype(np.uint16)
    order = np.argsort(short, kind="stable")
    counts = np.bincount(short)
    ends = np.cumsum(counts)
    for length in np.flatnonzero(counts >= _FEWEST).tolist():
        if length < 16:
            continue
        records = order[ends[length] - counts[length] : ends[length]]
        width = -(-(length + FOOTER) // 8) * 8
        starts = frames.starts[records]
        fits = starts + width <= len(frames.data)
        if not fits.all():
            records, starts = records[fits], starts[fits]
        if len(records) < _FEWEST:
            continue
        windows: NDArray[np.void] = np.ndarray(
            (len(frames.data) - width + 1,), f"V{width}", frames.data, strides=(1,)
        )
        rows = windows[starts].view(np.uint8).reshape(len(records), width)
        words = np.ascontiguousarray(rows.view("<u8").T)
        yield length, _Group(frames, records, rows, words)


@dataclass(slots=True, eq=False)
class _Family:
    """The templates of one layout, found by their checksum.

    A payload's stated checksum, less what its differing bytes contribute, is that of the bytes
    that repeat. So one look-up finds the template, and that it is found says that the checksum is
    right, once the bytes that repeat are seen to be the template's.
    """

    layout: Layout
    crcs: NDArray[np.uint32] = field(default_factory=lambda: np.zeros(0, np.uint32))
    """(t,) checksum of each template with zeros for the bytes that differ, ascending."""
    fixed: NDArray[np.uint64] = field(init=False)
    """(words, t) the bytes that repeat."""
    tags: list[tuple[str, ...] | None] = field(default_factory=list)
    """``None``: payloads with this checksum are left to the caller."""

    def __post_init__(self) -> None:
        self.fixed = np.zeros((len(self.layout.mask), 0), dtype=np.uint64)

    def decode(self, group: _Group) -> tuple[list[Points], NDArray[np.int64]]:
        """Points, and which of the group's payloads are left."""
        crcs = self.layout.differences(group.rows) ^ group.stored(self.layout.length)
        which, good = self._find(crcs)
        if not good.all():
            self._learn(group, crcs, np.flatnonzero(~good))
            which, good = self._find(crcs)
        if not good.any():
            return [], np.arange(len(which))
        good &= self._same(group, which)
        left = np.flatnonzero(~good)
        if len(left):
            chosen = np.flatnonzero(good)
            group, which = group.take(chosen), which[chosen]
        return list(self._points(group, which)), left

    def _find(self, crcs: NDArray[np.uint32]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """(n,) the template that each payload can only have, and whether there is one."""
        if not self.tags:
            return np.zeros(len(crcs), dtype=np.int64), np.zeros(len(crcs), dtype=np.bool_)
        if len(self.tags) == 1:
            return np.zeros(len(crcs), dtype=np.int64), crcs == self.crcs[0]
        place = np.searchsorted(self.crcs, crcs)
        place[place == len(self.crcs)] = 0
        return place, self.crcs[place] == crcs

    def _same(self, group: _Group, which: NDArray[np.int64]) -> NDArray[np.bool_]:
        """(n,) whether the bytes that repeat are those of the template (n,) ``which``."""
        same = np.ones(len(which), dtype=np.bool_)
        for word, mask, fixed in zip(group.words, self.layout.mask, self.fixed, strict=False):
            same &= (word & mask) == (fixed[0] if len(fixed) == 1 else fixed[which])
        if None in self.tags:
            same &= np.array([tags is not None for tags in self.tags])[which]
        return same

    def _points(self, group: _Group, which: NDArray[np.int64]) -> Iterator[Points]:
        order = np.argsort(which.astype(np.uint16), kind="stable")
        records = group.records[order]
        steps, times, values = self.layout.numbers(group.words)
        steps, times, values = steps[order], times[order], [column[order] for column in values]
        ends = np.cumsum(np.bincount(which, minlength=len(self.tags)))
        begins = np.append(0, ends[:-1])
        for t in np.flatnonzero(ends > begins).tolist():
            part = slice(int(begins[t]), int(ends[t]))
            for tag, column in zip(self.tags[t] or (), values, strict=True):
                yield Points(tag, records[part], steps[part], column[part], times[part])

    def _learn(self, group: _Group, crcs: NDArray[np.uint32], unknown: NDArray[np.int64]) -> None:
        """Make templates of those of the ``unknown`` payloads whose checksum is right."""
        first = unknown[np.unique(crcs[unknown], return_index=True)[1]]
        if len(first) > 64 + len(unknown) // 4 or len(first) + len(self.tags) > _MOST_TEMPLATES:
            return  # What should repeat does not: another layout, or garbage.
        length = self.layout.length
        payloads = [group.rows[i, :length].tobytes() for i in first.tolist()]
        true = np.array([_crc32c.of_bytes(payload) for payload in payloads], dtype=np.uint32)
        right = true == group.take(first).stored(length)
        payloads = [payload for payload, so in zip(payloads, right.tolist(), strict=True) if so]
        first = first[right]
        if not len(first):
            return
        found = [layout_of(payload) for payload in payloads]
        self.tags += [f[1] if f is not None and f[0] == self.layout else None for f in found]
        masked = group.words[: len(self.layout.mask), first] & self.layout.mask[:, None]
        self.crcs = np.concatenate([self.crcs, crcs[first]])
        order = np.argsort(self.crcs, kind="stable")
        self.crcs = self.crcs[order]
        self.fixed = np.ascontiguousarray(np.hstack([self.fixed, masked])[:, order])
        self.tags = [self.tags[t] for t in order.tolist()]
