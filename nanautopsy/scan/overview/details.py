"""Settings and package versions of runs, asked for when they are needed and kept then."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select

from nanautopsy.scan.catalog.tables import DOCUMENTS, PACKAGES
from nanautopsy.scan.packing import unpack

MOST_SETTINGS = 2_000
"""Of one run."""
_AT_ONCE = 200
"""Runs in one statement."""
_RESULTS = (
    *("config.wandb_summary.", "config.trainer_state.", "config.wandb_axes."),
    *("environment.runtime", "environment.command", "environment.program"),
    "environment.executable",
)
"""Beginnings of what a run came to, or what it was called by: no choice of how to train."""
_LABELS = re.compile(
    r"(?:^|[._/\-\s])(?:name|names|title|notes?|tags?|description|path|paths|dir|dirs|directory|root"
    r"|folder|file|files|filename|url|uri|endpoint|id|ids|uuid|hash|seed|seeds|random_state|date"
    r"|time|timestamp|created_at|host|hostname|ip|port|pid|user|username|entity|group|token|key"
    r"|job|version_number|_timestamp|_runtime|_step)$",
    re.IGNORECASE,
)
"""Names of settings whose values tell runs apart without saying how they trained. A seed is among
them: another seed is another try, not another way."""

_CHOICES = re.compile(
    r"(?:model|dataset|data|tokenizer|optimi[sz]er|optim|schedule|scheduler|sched|loss|activation"
    r"|init|backbone|arch|architecture|norm|metric|algorithm|policy|attention)"
    r"[._-]?(?:name|name_or_path|path|type)$",
    re.IGNORECASE,
)
"""Names of a thing that is chosen by name: ``schedule.name``, ``model_name_or_path``."""


@dataclass(frozen=True, slots=True)
class Details:
    """What one run says of how it trained."""

    settings: Mapping[str, str | float]
    """By name; numbers as such, truth values and all else as text."""
    packages: Mapping[str, str]


class AllDetails:
    """The details of runs, by their keys in the catalog."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._known: dict[int, Details] = {}

    def of(self, keys: Iterable[int]) -> list[Details]:
        """The details of each run, in order; empty ones where nothing is known."""
        wanted = list(keys)
        missing = [key for key in dict.fromkeys(wanted) if key not in self._known]
        for start in range(0, len(missing), _AT_ONCE):
            self._load(missing[start : start + _AT_ONCE])
        return [self._known[key] for key in wanted]

    def _load(self, keys: Sequence[int]) -> None:
        packed = select(DOCUMENTS.c.run_id, DOCUMENTS.c.settings)
        settings = {
            key: _settings(value)
            for key, value in self._connection.execute(packed.where(DOCUMENTS.c.run_id.in_(keys)))
        }
        packages: dict[int, dict[str, str]] = defaultdict(dict)
        columns = (PACKAGES.c.run_id, PACKAGES.c.name, PACKAGES.c.version)
        for key, name, version in self._connection.execute(
            select(*columns).where(PACKAGES.c.run_id.in_(keys))
        ):
            packages[key][str(name)] = str(version)
        for key in keys:
            self._known[key] = Details(settings.get(key, {}), packages[key])


def _settings(packed: bytes | None) -> dict[str, str | float]:
    """The settings that say how a run trained, without those that say nothing (``null``); a
    damaged value counts as none."""
    if packed is None:
        return {}
    try:
        values = unpack(bytes(packed))
    except ValueError:
        return {}
    if not isinstance(values, dict):
        return {}
    chosen = [(n, v) for n, v in values.items() if not n.startswith(_RESULTS)]
    stated = [(n, v) for n, v in chosen[:MOST_SETTINGS] if v is not None]
    return {n: _plain(v) for n, v in stated if _CHOICES.search(n) or not _LABELS.search(n)}


def _plain(value: Any) -> str | float:
    """``"1e-4"`` and ``0.0001`` are one value; ``true`` and ``1`` are two."""
    if isinstance(value, bool):
        return "true" if value else "false"
    try:
        return float(value)
    except (ValueError, TypeError, OverflowError):
        return str(value)
