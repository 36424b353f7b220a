"""Finding the parts that are one file each: readers, detectors, causes, renderers.

A part is a module inside one of our packages that defines the expected attribute, so adding one
is adding its file. Third parties add theirs through entry points that load such an object.
"""

from __future__ import annotations

import pkgutil
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from nanautopsy.wording import phrase


@dataclass(frozen=True, slots=True)
class Parts:
    """What was found, and what failed to load."""

    parts: tuple[Any, ...]
    problems: tuple[str, ...]


def load_parts(packages: tuple[str, ...], attribute: str, group: str | None = None) -> Parts:
    """Collect ``attribute`` of every public module of ``packages``, then of entry points.

    A third party's part that does not load becomes a problem; one of our own raises, since that
    is a defect of this package.
    """
    found: list[Any] = []
    problems: list[str] = []
    for package in packages:
        module = import_module(package)
        for info in sorted(pkgutil.iter_modules(module.__path__), key=lambda m: m.name):
            if info.name.startswith("_"):
                continue
            part = getattr(import_module(f"{package}.{info.name}"), attribute, None)
            if part is not None:
                found.append(part)
    if group is not None:
        # A package that is installed twice (once editable) names its entry points twice.
        for entry in {(e.name, e.value): e for e in entry_points(group=group)}.values():
            try:
                found.append(entry.load())
            except (Exception, SystemExit) as error:
                problems.append(
                    phrase(
                        "{group} entry point {name!r} did not load: {error}",
                        group=group,
                        name=entry.name,
                        error=" ".join(f"{type(error).__name__}: {error}".split()),
                    )
                )
    return Parts(tuple(found), tuple(problems))
