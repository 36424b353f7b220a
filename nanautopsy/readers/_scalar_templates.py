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
from nanautopsy.readers._scalar_layout import Layout, layout_of
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
    """The templates of one layout, found by a hash of the bytes that repeat."""

    layout: Layout
    hashes: NDArray[np.uint64] = field(default_factory=lambda: np.zeros(0, np.uint64))
    """(t,) ascending."""
    fixed: NDArray[np.uint64] = field(init=False)
    """(words, t) the bytes that repeat."""
    crcs: NDArray[np.uint32] = field(default_factory=lambda: np.zeros(0, np.uint32))
    """(t,) checksum of each template with zeros for the bytes that differ."""
    tags: list[tuple[str, ...] | None] = field(default_factory=list)
    """``None``: payloads with this hash are left to the caller."""

    def __post_init__(self) -> None:
        self.fixed = np.zeros((len(self.layout.mask), 0), dtype=np.uint64)

    def decode(self, group: _Group) -> tuple[list[Points], NDArray[np.int64]]:
        """Points, and which of the group's payloads are left."""
        masked = group.words[: len(self.layout.mask)] & self.layout.mask[:, None]
        which = np.zeros(len(group.records), dtype=np.int64)
        good = self._same(masked, which) if len(self.tags) == 1 else which.astype(np.bool_)
        if not good.all():
            which = self._find(group, masked)
            if not self.tags:
                return [], np.arange(len(which))
            good = self._same(masked, which)
        good &= self.layout.crcs(group.rows, self.crcs, which) == _stored(group, self.layout)
        if None in self.tags:
            good &= np.array([tags is not None for tags in self.tags])[which]
        left = np.flatnonzero(~good)
        if len(left):
            chosen = np.flatnonzero(good)
            group, which = group.take(chosen), which[chosen]
        return list(self._points(group, which)), left

    def _points(self, group: _Group, which: NDArray[np.int64]) -> Iterator[Points]:
        steps, times, values = self.layout.numbers(group.rows)
        counts = np.bincount(which, minlength=len(self.tags))
        order = np.argsort(which.astype(np.uint16), kind="stable")
        ends = np.cumsum(counts)
        for t in np.flatnonzero(counts).tolist():
            chosen = order[ends[t] - counts[t] : ends[t]]
            for tag, column in zip(self.tags[t] or (), values, strict=True):
                yield Points(
                    tag, group.records[chosen], steps[chosen], column[chosen], times[chosen]
                )

    def _same(self, masked: NDArray[np.uint64], which: NDArray[np.int64]) -> NDArray[np.bool_]:
        """(n,) whether the bytes that repeat are those of the template (n,) ``which``."""
        fixed = self.fixed if len(self.tags) == 1 else self.fixed[:, which]
        return np.asarray((masked == fixed).all(axis=0))

    def _find(self, group: _Group, masked: NDArray[np.uint64]) -> NDArray[np.int64]:
        """(n,) the template that each payload most likely has, once new ones are learnt."""
        hashes: NDArray[np.uint64] = (masked * self.layout.multipliers[:, None]).sum(
            axis=0, dtype=np.uint64
        )
        place = self._place(hashes)
        new = np.flatnonzero(self.hashes[place] != hashes) if self.tags else place
        if len(new):
            self._learn(group, masked, hashes, new)
            place = self._place(hashes)
        return place

    def _place(self, hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
        if not self.tags:
            return np.arange(len(hashes))
        return np.minimum(np.searchsorted(self.hashes, hashes), len(self.hashes) - 1)

    def _learn(
        self,
        group: _Group,
        masked: NDArray[np.uint64],
        hashes: NDArray[np.uint64],
        new: NDArray[np.int64],
    ) -> None:
        """Make templates of the hashes that are new: those of the payloads ``new``."""
        first = new[np.unique(hashes[new], return_index=True)[1]]
        if len(first) > 64 + len(new) // 4 or len(first) + len(self.tags) > _MOST_TEMPLATES:
            return  # What should repeat does not: another layout, or garbage.
        length = self.layout.length
        payloads = [group.rows[i, :length].tobytes() for i in first.tolist()]
        found = [layout_of(payload) for payload in payloads]
        tags = [f[1] if f is not None and f[0] == self.layout else None for f in found]
        crcs = np.array([_crc32c.of_bytes(payload) for payload in payloads], dtype=np.uint32)
        crcs = self.layout.crcs(group.rows[first], crcs, np.arange(len(first)))
        self.fixed = np.hstack([self.fixed, masked[:, first]])
        self.hashes = np.concatenate([self.hashes, hashes[first]])
        self.crcs = np.concatenate([self.crcs, crcs])
        self.tags = [*self.tags, *tags]
        order = np.argsort(self.hashes, kind="stable")
        self.hashes, self.crcs = self.hashes[order], self.crcs[order]
        self.fixed = np.ascontiguousarray(self.fixed[:, order])
        self.tags = [self.tags[t] for t in order.tolist()]


def _stored(group: _Group, layout: Layout) -> NDArray[np.uint32]:
    """(n,) the payload CRCs that the file states, unmasked."""
    raw = np.ascontiguousarray(group.rows[:, layout.length : layout.length + FOOTER])
    return _crc32c.unmask(raw.view("<u4")[:, 0].astype(np.uint32))
