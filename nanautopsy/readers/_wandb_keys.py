"""Telling apart the few keys that a run's many items have."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

_Ints = NDArray[np.int64]
_Words = NDArray[np.uint64]

_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


@dataclass(slots=True)
class _OfLength:
    """The keys of one length that were seen."""

    hashes: _Words
    """(k,) ascending."""
    words: _Words
    """(k, words) the keys' bytes, filled up with zeros."""
    texts: list[bytes] = field(default_factory=list)


class Keys:
    """The keys of one file."""

    def __init__(self) -> None:
        self._known: dict[int, _OfLength] = {}

    def groups(
        self, data: NDArray[np.uint8], starts: _Ints, ends: _Ints
    ) -> Iterator[tuple[bytes, _Ints]]:
        """(key, (n,) which of the items have it, ascending). A key comes once or, where its hash
        is also another's, several times."""
        lengths = (ends - starts).astype(np.uint8)
        order = np.argsort(lengths, kind="stable")
        counts = np.bincount(lengths)
        stops = np.cumsum(counts)
        for length in np.flatnonzero(counts).tolist():
            chosen = order[stops[length] - counts[length] : stops[length]]
            yield from self._of_length(length, data, starts, chosen)

    def _of_length(
        self, length: int, data: NDArray[np.uint8], starts: _Ints, chosen: _Ints
    ) -> Iterator[tuple[bytes, _Ints]]:
        if not length:
            return
        windows: NDArray[np.void] = np.ndarray(
            (len(data) - length + 1,), f"V{length}", data, strides=(1,)
        )
        width = -(-length // 8)
        padded = np.zeros((len(chosen), width * 8), dtype=np.uint8)
        padded[:, :length] = windows[starts[chosen]].view(np.uint8).reshape(-1, length)
        words = padded.view(np.uint64)
        known = self._known.setdefault(
            length, _OfLength(np.zeros(0, np.uint64), np.zeros((0, width), np.uint64))
        )
        which = _look_up(known, words, length)
        same = (words == known.words[which]).all(axis=1)
        counts = np.bincount(which, minlength=len(known.texts))
        order = np.argsort(which.astype(np.uint16) if len(counts) < 65536 else which, kind="stable")
        stops = np.cumsum(counts)
        for key in np.flatnonzero(counts).tolist():
            items = order[stops[key] - counts[key] : stops[key]]
            right = same[items]
            yield known.texts[key], chosen[items if right.all() else items[right]]
        for item in np.flatnonzero(~same).tolist():
            yield padded[item, :length].tobytes(), chosen[item : item + 1]


def _look_up(known: _OfLength, words: _Words, length: int) -> _Ints:
    """(n,) the key that each can only be, once those that are new are known."""
    hashes = words[:, 0].copy()
    for column in range(1, words.shape[1]):
        hashes *= _MULTIPLIER
        hashes ^= words[:, column]
    place: _Ints = np.searchsorted(known.hashes, hashes)
    new = place == len(known.hashes)
    place[new] = 0
    if len(known.hashes):
        new |= known.hashes[place] != hashes
    if new.any():
        fresh = np.flatnonzero(new)
        fresh = fresh[np.unique(hashes[fresh], return_index=True)[1]]
        texts = [words[i].tobytes()[:length] for i in fresh.tolist()]
        every = np.concatenate([known.hashes, hashes[fresh]])
        order = np.argsort(every, kind="stable")
        known.hashes = every[order]
        known.words = np.concatenate([known.words, words[fresh]])[order]
        texts = [*known.texts, *texts]
        known.texts = [texts[i] for i in order.tolist()]
        place = np.searchsorted(known.hashes, hashes)
    return place
