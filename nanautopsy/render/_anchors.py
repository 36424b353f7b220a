"""The ids of a report's parts, and which part shows the place that a statement cites."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TypeAlias

from nanautopsy.model import Autopsy, Source

Key: TypeAlias = tuple[str | int | None, ...]
_LONGEST = 60
"""Characters of an id; the end of a path tells more than its beginning."""


class Anchors:
    """Readable ids, each given once, by what they stand for."""

    def __init__(self, reserved: Iterable[str]) -> None:
        self._taken = set(reserved)
        self._ids: dict[Key, str] = {}

    def give(self, key: Key, name: str) -> str:
        """An id for ``key``: ``name``, made fit to be one, with a number where it is taken.
        Nothing when ``key`` has its id already: no two parts of a page share one."""
        if key in self._ids:
            return ""
        wanted = re.sub(r"[^A-Za-z0-9._-]+", "-", name)[-_LONGEST:].strip("-") or "part"
        chosen, number = wanted, 2
        while chosen in self._taken:
            chosen, number = f"{wanted}-{number}", number + 1
        self._taken.add(chosen)
        self._ids[key] = chosen
        return chosen

    def alias(self, key: Key, anchor: str) -> None:
        """Let ``key`` stand for a part that has its id already."""
        self._ids.setdefault(key, anchor)

    def get(self, key: Key) -> str:
        """The id that was given, or nothing."""
        return self._ids.get(key, "")

    def hrefs(self, source: Source) -> list[str]:
        """Links to the parts that show the place, the most exact first: the line, the point, the
        tensor; where none of these is shown, the setting, the checkpoint or the artifact."""
        exact = (
            self.get(line_key(source.path, source.line)),
            self.get(point_key(source)),
            self.get(tensor_key(source.path, source.tensor)),
        )
        whole = (
            self.get(setting_key(source.path, setting_name(source)))
            or self.get(("checkpoint", source.path))
            or self.get(("artifact", source.path))
        )
        found = [anchor for anchor in exact if anchor] or [anchor for anchor in (whole,) if anchor]
        return [f"#{anchor}" for anchor in found]

    def line_href(self, source: Source) -> str:
        """A link to the line alone, or nothing."""
        anchor = self.get(line_key(source.path, source.line))
        return f"#{anchor}" if anchor and source.line is not None else ""

    def href(self, source: Source) -> str:
        """The most exact of these links, or nothing."""
        return next(iter(self.hrefs(source)), "")


def line_key(path: str, line: int | None) -> Key:
    """A line of a text artifact."""
    return ("line", path, line)


def point_key(source: Source) -> Key:
    """A point of a series."""
    return ("point", source.path, source.tag, source.step)


def tensor_key(path: str, name: str | None) -> Key:
    """A tensor, in the file that holds it."""
    return ("tensor", path, name)


def setting_key(path: str, name: str) -> Key:
    """A setting, in the file that states it."""
    return ("setting", path, name)


def setting_name(source: Source) -> str:
    """Of what is quoted of a configuration, ``optimizer.eps: 1e-08``, the name."""
    name, colon, _ = (source.excerpt or "").partition(": ")
    return name if colon and source.tag is None and source.tensor is None else ""


def cited(autopsy: Autopsy) -> Iterator[Source]:
    """Every place that the report cites, what decides first."""
    if autopsy.onset is not None:
        yield autopsy.onset.source
    for cause in (*autopsy.causes, *autopsy.considered):
        yield from (evidence.source for evidence in cause.evidence)
    yield from (finding.source for finding in autopsy.findings)
    yield from (entry.source for entry in autopsy.timeline)
