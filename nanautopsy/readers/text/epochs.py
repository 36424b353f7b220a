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


def from_the_end(n: Ints, total: Ints) -> Ints | None:
    """Steps of a counter that starts again each time that it has come to its total, as one within
    epochs that only headings name does: ``Step 30/30`` and then ``Step 10/30``. An attempt that
    died, and was begun anew, did not come to its end."""
    falls = np.flatnonzero(np.diff(n) < 0)
    if not len(falls) or total[0] <= 0 or (total != total[0]).any() or n.max() > total[0]:
        return None
    rising = np.diff(n)[np.diff(n) > 0]
    gap = int(rising.max()) if len(rising) else int(total[0])
    ended = (n[falls] + gap > total[0]).all()
    begun = (n[falls + 1] <= gap).all()
    if not ended or not begun:
        return None
    return n + int(total[0]) * np.cumsum(np.diff(n, prepend=n[0]) < 0)
