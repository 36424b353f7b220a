"""Which kind of W&B record each record of a batch is, found without parsing one by one.

A record begins with its number, where the version writes one, and goes on with the one field that
holds its message (wandb ``proto/wandb_internal.proto``). What does not begin so is ``UNUSUAL``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nanautopsy.readers._leveldb_log import Batch
from nanautopsy.readers._record_chain import unaligned

UNUSUAL = 0
_NUMBER_KEY = 0x08
_LONGEST_NUMBER = 10
_LEN = 2


@dataclass(frozen=True, slots=True, eq=False)
class Kinds:
    """(n,) each record's field number and where its message stands in the batch."""

    kinds: NDArray[np.int64]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]


def kinds_of(batch: Batch) -> Kinds:
    """The kinds of all records of a batch."""
    data, ends = batch.data, batch.starts + batch.lengths
    places = _behind_number(data, batch.starts)
    heads = unaligned(data, "<u8")[np.minimum(places, ends)]
    keys = (heads & np.uint64(0x7F)).astype(np.int64)
    long = (heads & np.uint64(0x80)) != 0
    keys += np.where(long, (heads >> np.uint64(1)) & np.uint64(0x3F80), np.uint64(0)).astype(
        np.int64
    )
    # Two bytes of a key at most, then up to four of a length.
    sound = ~(long & ((heads & np.uint64(0x8000)) != 0)) & ((keys & 7) == _LEN)
    heads = np.where(long, heads >> np.uint64(16), heads >> np.uint64(8))
    sizes = np.zeros(len(heads), dtype=np.int64)
    widths = np.zeros(len(heads), dtype=np.int64)
    going = sound
    for i in range(4):
        byte = (heads >> np.uint64(8 * i)) & np.uint64(0xFF)
        part = ((byte & np.uint64(0x7F)) << np.uint64(7 * i)).astype(np.int64)
        sizes += np.where(going, part, 0)
        widths += going
        going = going & (byte >= 0x80)
    starts = places + 1 + long + widths
    sound &= ~going & (starts + sizes <= ends) & (places < ends)
    return Kinds(np.where(sound, keys >> 3, UNUSUAL), starts, starts + sizes)


def _behind_number(data: NDArray[np.uint8], places: NDArray[np.int64]) -> NDArray[np.int64]:
    numbered = data[places] == _NUMBER_KEY
    places = places + numbered
    going = numbered
    for _ in range(_LONGEST_NUMBER):
        going = going & (data[places] >= 0x80)
        if not going.any():
            break
        places = places + going
    behind: NDArray[np.int64] = places + numbered
    return behind
