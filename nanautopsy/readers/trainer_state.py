"""The Hugging Face Trainer's ``trainer_state.json``: its log history and its own settings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np

from nanautopsy.model import Artifact, Axis, Claim, ConfigRecord, FileHead, Record, Source
from nanautopsy.readers._cell_columns import Nested, numbers_of, steps_of
from nanautopsy.readers._damage import Damage
from nanautopsy.readers._flatten import flatten
from nanautopsy.readers._json_numbers import leaves
from nanautopsy.readers._json_scan import Damaged, JsonScan
from nanautopsy.readers._step_keys import step_number
from nanautopsy.readers.columns import Columns
from nanautopsy.wording import phrase

_NO_SETTINGS = frozenset({"best_metric", "best_model_checkpoint", "stateful_callbacks"})
"""``best_metric`` starts as Infinity by design; the callbacks' state holds such bests too."""
_FEWEST_ALIKE, _MOST_ALIKE = 8, 4096
"""Rows of equal fields that are added together."""
_MOST_DAMAGE = 1000
"""Places of damage in one file after which the rest is not searched for rows."""


class TrainerStateReader:
    """Rows of ``log_history`` become series at their ``step``; damage costs only its row."""

    name = "trainer-state"

    def claim(self, file: FileHead) -> Claim | None:
        if not file.name.endswith(".json"):
            return None
        if file.name == "trainer_state.json":
            return Claim(self.name, 90)
        if b'"log_history"' in file.head and b'"global_step"' in file.head:
            return Claim(self.name, 80)
        return None

    def read(self, artifact: Artifact) -> Iterator[Record]:
        columns = Columns(artifact.path)
        damage = Damage(artifact.path)
        settings: dict[str, Any] = {}
        with open(artifact.location, "rb") as file:
            scan = JsonScan(file)
            try:
                for key in scan.members():
                    if key == "log_history":
                        if not _read_history(scan, columns, damage):
                            break
                    elif key in _NO_SETTINGS:
                        scan.value()
                    else:
                        settings[key] = scan.value()
            except Damaged as error:
                text = phrase("the file {error}: what follows is lost", error=error)
                damage.note(text, offset=error.offset, line=error.line)
        yield from damage.problems()
        yield from columns.series()
        flat = flatten(settings)
        if flat:
            yield ConfigRecord("trainer_state", flat, Source(artifact.path))


READER = TrainerStateReader()


def _read_history(scan: JsonScan, columns: Columns, damage: Damage) -> bool:
    """Rows until the array ends, which is True; after damage, those that can be found again."""
    rows = 0
    try:
        for alike in _alike(scan.elements()):
            if not _add_alike(columns, alike):
                for place, (row, line) in enumerate(alike):
                    _add_row(columns, row, rows + place, line)
            rows += len(alike)
        return True
    except Damaged as error:
        text = phrase("log_history {error} after {rows} rows", error=error, rows=rows)
        damage.note(text, offset=error.offset, line=error.line)
    failures = 0
    while failures < _MOST_DAMAGE and scan.skip_to("{"):
        line = scan.line
        try:
            row = scan.value()
        except Damaged:
            failures += 1
            continue
        # Without its step, an object found past damage may be a part of anything.
        if isinstance(row, dict) and "step" in row:
            _add_row(columns, row, rows, line)
            rows += 1
    return False


_Rows: TypeAlias = "list[tuple[Any, int]]"
"""Rows and their lines."""


def _alike(elements: Iterator[tuple[Any, int]]) -> Iterator[_Rows]:
    """Elements in runs of equal fields; what was read before damage is given before it is."""
    run: _Rows = []
    names: tuple[str, ...] = ()
    while True:
        try:
            row, line = next(elements)
        except StopIteration:
            break
        except Damaged:
            if run:
                yield run
            raise
        fields = tuple(row) if isinstance(row, dict) else ()
        if run and (fields != names or len(run) >= _MOST_ALIKE):
            yield run
            run = []
        run.append((row, line))
        names = fields
    if run:
        yield run


def _add_alike(columns: Columns, rows: _Rows) -> bool:
    """Add rows of equal fields at once; False, and nothing done, where that cannot be."""
    first = rows[0][0]
    if len(rows) < _FEWEST_ALIKE or not isinstance(first, dict) or "step" not in first:
        return False
    names = [name for name in first if name not in ("step", "best_metric")]
    try:
        steps = steps_of([row["step"] for row, _ in rows])
        found = [numbers_of([row[name] for row, _ in rows], frozenset()) for name in names]
    except Nested:
        return False
    if steps is None:
        return False
    lines = np.array([line for _, line in rows], dtype=np.int64)
    for name, numbers in zip(names, found, strict=True):
        if len(numbers.values):
            at = slice(None) if numbers.rows is None else numbers.rows
            columns.add_block(
                name, steps[at], numbers.values, lines=lines[at], missing=numbers.nulls
            )
    return True


def _add_row(columns: Columns, row: Any, record: int, line: int) -> None:
    if not isinstance(row, dict):
        return
    step = step_number(row.get("step"))
    axis: Axis = "record" if step is None else "step"
    place = record if step is None else step
    for tag, value in leaves(row):
        if tag != "step":
            columns.add(tag, place, value, line=line, axis=axis)
