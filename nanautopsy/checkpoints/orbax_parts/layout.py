"""Which files of an Orbax checkpoint are which, and to which directory they belong.

Names: https://orbax.readthedocs.io/en/latest/guides/checkpoint/checkpoint_format.html. One
artifact is one directory that holds a saved tree; its arrays lie in directories below it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from nanautopsy.checkpoints.orbax_parts.ocdbt_frames import MANIFEST_MAGIC
from nanautopsy.model import Claim, FileHead

KIND = "orbax"
UNFINISHED = re.compile(r"(?:^|[./_-])(?:orbax-checkpoint-tmp|tmp-checkpoint)(?:[-/]|$)")
"""Orbax saves into such a directory and renames it when it is whole."""
_DATA_FILE = re.compile(r"(?:(?P<root>.+?)/)??(?:ocdbt\.process_\d+/)?d/[0-9a-f]{32}")
_MANIFEST = re.compile(
    r"(?:(?P<root>.+?)/)??(?:ocdbt\.process_\d+/)?manifest\.(?:ocdbt|[0-9a-f]{16})"
)
_CHUNK_3 = re.compile(r"(?:(?P<root>.+?)/)??[^/]+/c(?:/\d+)*")
_CHUNK_2 = re.compile(r"(?:(?P<root>.+?)/)??[^/]+/\d+(?:\.\d+)*")
_NESTED_2 = re.compile(r"(?:(?P<root>.+?)/)??[^/]*[.~][^/]*/\d+(?:/\d+)+")
"""Chunks in directories of their own, below a name that joins a path."""
_CHUNKS = (_CHUNK_3, _NESTED_2, _CHUNK_2)
_ARRAY = re.compile(r"(?:(?P<root>.+?)/)??[^/]+/(?:\.zarray|\.zattrs|zarr\.json)")
_BESIDE = re.compile(
    r"(?:(?P<root>.+?)/)??(?:_METADATA|_sharding|_CHECKPOINT_METADATA|commit_success\.txt|"
    r"array_metadatas/process_\d+|metrics/(?:metrics|commit_success\.txt))"
)
_COMPRESSED = (b"\x28\xb5\x2f\xfd", b"\x1f\x8b")
"""How a zstd frame and a gzip member begin."""


def claim_of(file: FileHead) -> Claim | None:
    """The claim to a file of a saved tree, judged by its place, its name and its first bytes."""
    head = file.head
    if head.startswith(MANIFEST_MAGIC):
        return _claim(_MANIFEST, file, 95)
    if _DATA_FILE.fullmatch(file.path):
        return _claim(_DATA_FILE, file, 92)
    if file.name in (".zarray", ".zattrs", "zarr.json"):
        return _claim(_ARRAY, file, 92)
    if _BESIDE.fullmatch(file.path):
        structured = head.lstrip()[:1] == b"{" or file.name == "commit_success.txt"
        return _claim(_BESIDE, file, 92) if structured or not file.size else None
    chunk = next((p for p in _CHUNKS if p.fullmatch(file.path)), None)
    if chunk is None:
        return None
    if head.startswith(_COMPRESSED):
        return _claim(chunk, file, 85)
    # A shard's chunks are compressed one by one, and end in an index.
    inside = chunk is _CHUNK_3 or any(byte < 9 or byte > 126 for byte in head[:64])
    return _claim(chunk, file, 35) if inside else None


def _claim(pattern: re.Pattern[str], file: FileHead, confidence: int) -> Claim | None:
    match = pattern.fullmatch(file.path)
    return Claim(KIND, confidence, root=match["root"] or "") if match else None


def root_of(paths: Iterable[str]) -> str:
    """The directory to which all of an artifact's files were claimed."""
    listed = list(paths)
    for pattern in (_MANIFEST, _DATA_FILE, _ARRAY, _BESIDE, *_CHUNKS):
        for match in map(pattern.fullmatch, listed):
            if match is not None:
                return match["root"] or ""
    return ""
