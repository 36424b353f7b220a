"""Points of many tags that arrive in blocks and one by one, put in file order at the end."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nanautopsy.model import Series, Source

_MOST_TAGS = 100_000

_Block = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]


@dataclass(slots=True)
class _Track:
    blocks: list[_Block] = field(default_factory=list)
    offsets: array[int] = field(default_factory=lambda: array("q"))
    steps: array[int] = field(default_factory=lambda: array("q"))
    values: array[float] = field(default_factory=lambda: array("d"))
    times: array[float] = field(default_factory=lambda: array("d"))

    def columns(self) -> _Block:
        """Offsets, steps, values and times, in order of offset."""
        singles = (
            np.array(self.offsets, dtype=np.int64),
            np.array(self.steps, dtype=np.int64),
            np.array(self.values, dtype=np.float64),
            np.array(self.times, dtype=np.float64),
        )
        offsets, steps, values, times = (
            np.concatenate(column) for column in zip(*self.blocks, singles, strict=True)
        )
        if (np.diff(offsets) < 0).any():
            order = np.argsort(offsets, kind="stable")
            return offsets[order], steps[order], values[order], times[order]
        return offsets, steps, values, times


class Tracks:
    """Collects points by tag: 32 bytes a point, of at most 100 000 tags."""

    def __init__(self, path: str) -> None:
        self.left_out = 0
        """Points of tags beyond those."""
        self._path = path
        self._tracks: dict[str, _Track] = {}

    def add(self, tag: str, offset: int, step: int, value: float, time: float) -> None:
        """One point; ``offset`` says where in the file it stands."""
        track = self._track(tag, 1)
        if track is None:
            return
        track.offsets.append(offset)
        track.steps.append(step)
        track.values.append(value)
        track.times.append(time)

    def add_block(
        self,
        tag: str,
        offsets: NDArray[np.int64],
        steps: NDArray[np.int64],
        values: NDArray[np.float64],
        times: NDArray[np.float64],
    ) -> None:
        """Points (n,) of one tag."""
        track = self._track(tag, len(steps))
        if track is not None:
            track.blocks.append((offsets, steps, values, times))

    def series(self) -> Iterator[Series]:
        """The series, in the order in which their tags first stand in the file."""
        done: list[tuple[int, Series]] = []
        for tag in list(self._tracks):
            offsets, steps, values, times = self._tracks.pop(tag).columns()
            source = Source(self._path, tag=tag)
            done.append((int(offsets[0]), Series(tag, steps, values, source, times=times)))
        yield from (series for _, series in sorted(done, key=_first))

    def _track(self, tag: str, points: int) -> _Track | None:
        track = self._tracks.get(tag)
        if track is None:
            if len(self._tracks) >= _MOST_TAGS:
                self.left_out += points
                return None
            track = self._tracks[tag] = _Track()
        return track


def _first(item: tuple[int, Any]) -> int:
    return item[0]
