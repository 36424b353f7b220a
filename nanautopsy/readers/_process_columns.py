"""Columns that name the process that wrote a row: where the name changes, a new one went on.

``run_id``, ``attempt``, ``slurm_job_id``, ``pid`` and the like stay what they are for as long as a
process lives. A table to which the next one appends says so of a resume that no line tells. A value
that comes back belongs to writers that alternate, and one whose steps begin anew to another run.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nanautopsy.model import LogEvent, Source
from nanautopsy.wording import phrase

_NAME = re.compile(
    r"(?:run|launch|session|process|worker_?group)_?(?:id|uuid|no|number|idx|index|nr)"
    r"|(?:n_|num_)?(?:re)?(?:attempts?|starts?|launch(?:es)?)(?:_?(?:id|no|number|idx|index|count|nr))?"
    r"|(?:slurm_?)?job_?(?:id|no|number)|slurm_?restart_?count|p_?id|incarnation|resumes?(?:_?count)?",
    re.IGNORECASE,
)
_MOST = 50
"""More names than this are no processes that follow each other."""
_MOST_CHARACTERS = 80


@dataclass(slots=True)
class _Part:
    """The rows of one process."""

    value: str
    first: int
    last: int


class ProcessColumns:
    """Collects what such columns of one file say."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._parts: dict[str, list[_Part]] = {}

    def see(self, row: Mapping[str, Any], step: int) -> None:
        """One row, and the step at which it stands."""
        for name in names_in(row):
            self._take(name, row[name], step)

    def see_block(
        self,
        names: Sequence[str],
        columns: Sequence[Sequence[Any]],
        steps: NDArray[np.int64],
    ) -> None:
        """Many rows, given by column."""
        for name in names_in(names):
            column = columns[names.index(name)]
            for i, value in enumerate(column):
                self._take(name, value, int(steps[i]))

    def _take(self, name: str, value: Any, step: int) -> None:
        text = "" if value is None or isinstance(value, float) else str(value).strip()
        parts = self._parts.setdefault(name, [])
        if not text or len(text) > _MOST_CHARACTERS or len(parts) > _MOST:
            return
        if parts and parts[-1].value == text:
            parts[-1].last = max(parts[-1].last, step)
        else:
            parts.append(_Part(text, step, step))

    def events(self) -> Iterator[LogEvent]:
        """A resume for each process behind the first, by the column with the fewest changes."""
        told = [(name, parts) for name, parts in self._parts.items() if _follow(parts)]
        if not told:
            return
        name, parts = min(told, key=lambda item: len(item[1]))
        for before, part in pairwise(parts):
            yield LogEvent(
                "run-resumed",
                phrase(
                    "{name} is {new} from step {step} on, and {old} up to there",
                    name=name,
                    new=part.value,
                    old=before.value,
                    step=part.first,
                ),
                Source(self._path, tag=name, step=part.first),
                before.last,
                step_exact=True,
            )


def names_in(names: Iterable[str]) -> list[str]:
    """The columns among them that name a process."""
    return [name for name in names if _NAME.fullmatch(name.rpartition("/")[2])]


def _follow(parts: Sequence[_Part]) -> bool:
    """Whether several processes wrote one after the other, each where the one before had come
    to."""
    values = {part.value for part in parts}
    if not 1 < len(parts) <= _MOST or len(values) < len(parts):
        return False
    return all(
        before.first < after.first <= 2 * before.last - before.first
        for before, after in pairwise(parts)
    )
