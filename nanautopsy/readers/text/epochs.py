"""Steps of batches that are counted within their epoch, where the log does not say how many there
are in one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


def every_batch(epoch: Ints, n: Ints) -> Ints | None:
    """Steps where each batch of several whole epochs has its row, so that all are as long."""
    begins = np.flatnonzero(np.diff(epoch, prepend=epoch[0] - 1))
    lengths = np.diff(begins)
    if len(lengths) < 1 or len(set(lengths.tolist())) > 1 or len(n) - begins[-1] > lengths[0]:
        return None
    expected = np.arange(len(n)) - np.repeat(begins, np.diff(begins, append=len(n))) + n[0]
    whole = (n == expected).all() and (np.diff(epoch[begins]) == 1).all() and n[0] in (0, 1)
    return np.arange(len(n)) + n[0] if whole and epoch[0] in (0, 1) else None
