"""The small file in which a trainer notes its last complete checkpoint.

DeepSpeed's ``latest`` and ``latest_universal`` hold a directory's name, Megatron's
``latest_checkpointed_iteration.txt`` a number. All are written last: one that names an older
checkpoint than the newest tells of a save that was not completed, or of a restart from before.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from nanautopsy.model import Artifact, Claim, ConfigRecord, FileHead, Problem, Record, Source
from nanautopsy.wording import phrase

_DEEPSPEED = ("latest", "latest_universal")
_MEGATRON = "latest_checkpointed_iteration.txt"
_TAG = re.compile(rb"[^\s/\\\x00-\x1f]{1,200}\s*")
_NUMBER = re.compile(r"\d+")
_LONGEST_NUMBER = 18
_MOST_ENTRIES = 100_000


class LatestReader:
    """Claims by name, when the content is one word."""

    name = "latest-tag"

    def claim(self, file: FileHead) -> Claim | None:
        named = file.name in _DEEPSPEED or file.name == _MEGATRON
        is_tag = file.size <= 256 and _TAG.fullmatch(file.head)
        return Claim(self.name, 60) if named and is_tag else None

    def read(self, artifact: Artifact) -> Iterator[Record]:
        """The tag, and a ``Problem`` where it is not here or not the newest."""
        if not isinstance(artifact.members[0][1], Path):
            return  # far away; what lies beside it is not seen from here
        (file,) = artifact.files
        with file.open() as handle:
            tag = (handle.read(256) or b"").decode("utf-8", "replace").strip()
        yield ConfigRecord("checkpoint", {"latest": tag}, Source(artifact.path, line=1))
        place = artifact.members[0][1]
        if not isinstance(place, Path):
            return  # what else lies far away is not listed here
        if place.name == _MEGATRON and tag.isdigit():
            tag = f"iter_{int(tag[:_LONGEST_NUMBER]):07d}"
        beside = _directories(place.parent)
        where = Source(artifact.path, line=1, excerpt=tag)
        alike = [name for name in beside if _pattern(name) == _pattern(tag)]
        newest = max(alike, key=_numbers, default=tag)
        if tag not in beside:
            text = phrase("names {tag!r}, which is not here", tag=tag)
            if alike:
                text = phrase(
                    "names {tag!r}, which is not here; {newest!r} is", tag=tag, newest=newest
                )
            yield Problem(text, where)
        elif _numbers(newest) > _numbers(tag):
            text = phrase(
                "names {tag!r}, but {newest!r} is here too: its save was not completed, or "
                "training went back",
                tag=tag,
                newest=newest,
            )
            yield Problem(text, where)


READER = LatestReader()


def _directories(parent: Path) -> list[str]:
    """Names of the directories beside the file."""
    found: list[str] = []
    with os.scandir(parent) as entries:
        for entry in entries:
            if len(found) >= _MOST_ENTRIES:
                break
            if entry.is_dir():
                found.append(entry.name)
    return found


def _pattern(name: str) -> str:
    return _NUMBER.sub("#", name)


def _numbers(name: str) -> tuple[int, ...]:
    return tuple(int(number[:_LONGEST_NUMBER]) for number in _NUMBER.findall(name))
