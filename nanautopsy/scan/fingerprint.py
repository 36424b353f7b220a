"""What tells whether a run changed since it was scanned.

Paths, sizes and times of its files decide (of an object store its tags), which needs no reading.
Times lie in two ways. A file that was written within seconds of the listing may be written again
without its size and time changing: such a run's fingerprint is marked and never matches, so that
the next scan reads it again. And a copy, a checkout or a restored backup may change times without
changing content, or keep them while content changes: ``--check-content`` digests the files (those
over 1 MiB by size and both ends) and lets only that decide, where both scans did.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable

from nanautopsy.scan.tree import Entry, Tree

_FRESH_SECONDS = 2.0
"""The coarsest time stamp that file systems keep: FAT's."""
_WHOLE_BYTES = 1 << 20
_FRESH = "fresh:"


def fingerprint_of(files: Iterable[Entry], now: float | None = None) -> str:
    """By paths, sizes and times. ``now``: seconds since the epoch when the files were listed."""
    digest = hashlib.blake2b(digest_size=16)
    latest = 0
    for file in sorted(files, key=lambda file: file.path):
        stamp = file.stamp
        digest.update(f"{file.path}\0{file.size}\0{stamp}\0".encode("utf-8", "surrogateescape"))
        if stamp.isdigit():
            latest = max(latest, int(stamp))
    return ("" if is_settled(str(latest), now) else _FRESH) + digest.hexdigest()


def is_settled(stamp: str, now: float | None = None) -> bool:
    """Whether a file with this stamp cannot change any more without its stamp changing."""
    if not stamp.isdigit():
        return bool(stamp)
    return int(stamp) / 1e9 <= (time.time() if now is None else now) - _FRESH_SECONDS


def with_content(fingerprint: str, tree: Tree, files: Iterable[Entry]) -> str:
    """The fingerprint and the digest of the contents. A file that cannot be read counts as such."""
    digest = hashlib.blake2b(digest_size=16)
    for file in sorted(files, key=lambda file: file.path):
        digest.update(f"{file.path}\0{file.size}\0".encode("utf-8", "surrogateescape"))
        try:
            for block in tree.sample(file, _WHOLE_BYTES):
                digest.update(block)
        except OSError:
            digest.update(b"unreadable")
    return f"{fingerprint}+{digest.hexdigest()}"


def is_same(known: str, now: str) -> bool:
    """Whether two fingerprints are of the same state."""
    (times, _, content), (times_now, _, content_now) = known.partition("+"), now.partition("+")
    if content and content_now:
        return content == content_now
    return times == times_now and not times.startswith(_FRESH)
