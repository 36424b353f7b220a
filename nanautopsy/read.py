"""Running the readers: records out, and every failure a problem instead of a crash."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from nanautopsy.checkpoints.data_file import DataFile
from nanautopsy.model import Artifact, Problem, Reading, Record, Skipped, Source
from nanautopsy.plugins import Parts, load_parts
from nanautopsy.readers.interface import Reader
from nanautopsy.wording import phrase

MEMORY_RAN_OUT = "memory ran out while this was read"
_DIGEST_WHOLE_BYTES = 64 << 20
_DIGEST_END_BYTES = 1 << 20


def load_readers() -> Parts:
    """Our readers, then third parties'; a name belongs to the first that has it."""
    loaded = load_parts(
        ("nanautopsy.readers", "nanautopsy.checkpoints"), "READER", "nanautopsy.readers"
    )
    readers: dict[str, Reader] = {}
    problems = list(loaded.problems)
    for part in loaded.parts:
        name = getattr(part, "name", None)
        whole = callable(getattr(part, "claim", None)) and callable(getattr(part, "read", None))
        if not isinstance(name, str) or not whole:
            problems.append(
                phrase("{part!r:.200} is no reader: it lacks name, claim or read", part=part)
            )
        elif name in readers:
            problems.append(phrase("a second reader named {name!r} is left out", name=name))
        else:
            readers[name] = part
    return Parts(tuple(readers.values()), tuple(problems))


def read(artifact: Artifact, readers: Mapping[str, Reader], *, digest: bool = True) -> Reading:
    """All that one artifact gives; what a failing reader had yielded before is kept.

    ``digest``: identify the content, for which it must be local.
    """
    records: list[Record] = []
    problems: list[Problem] = []
    skipped: str | None = None
    try:
        for record in readers[artifact.reader].read(artifact):
            if isinstance(record, Problem):
                problems.append(record)
            elif isinstance(record, Skipped):
                skipped = record.reason
            else:
                records.append(record)
    except OSError as error:
        problems.append(
            Problem(
                phrase("cannot be read: {error}", error=error.strerror or error),
                Source(artifact.path),
            )
        )
    except MemoryError:
        problems.append(Problem(MEMORY_RAN_OUT, Source(artifact.path)))
    except Exception as error:
        told = " ".join(f"{type(error).__name__}: {error}".split())
        text = phrase("the {reader} reader failed: {error}", reader=artifact.reader, error=told)
        problems.append(Problem(text, Source(artifact.path)))
    if not records and problems and skipped is None:
        skipped = problems[0].text
    identity = _digest(artifact) if digest else None
    return Reading(artifact, tuple(records), tuple(problems), skipped, identity)


def _digest(artifact: Artifact) -> str | None:
    """Identify the input: the whole content up to 64 MiB a file, else its size and ends."""
    digest = hashlib.sha256()
    try:
        sizes = [file.size for file in artifact.files]
        whole = max(sizes, default=0) <= _DIGEST_WHOLE_BYTES
        for file in artifact.files:
            _feed(digest, file, whole)
    except OSError:
        return None
    return ("sha256:" if whole else "sha256-ends:") + digest.hexdigest()


def _feed(digest: hashlib._Hash, file: DataFile, whole: bool) -> None:
    with file.open() as handle:
        if whole:
            while block := handle.read(1 << 20):
                digest.update(block)
            return
        size = handle.seek(0, 2)
        digest.update(str(size).encode())
        handle.seek(0)
        digest.update(handle.read(_DIGEST_END_BYTES) or b"")
        handle.seek(max(0, size - _DIGEST_END_BYTES))
        digest.update(handle.read(_DIGEST_END_BYTES) or b"")
