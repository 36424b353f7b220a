"""The Hugging Face Trainer's ``trainer_state.json``: its log history and its own settings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from nanautopsy.model import Artifact, Axis, Claim, ConfigRecord, FileHead, Record, Source
from nanautopsy.readers._damage import Damage
from nanautopsy.readers._flatten import flatten
from nanautopsy.readers._json_numbers import leaves, number_of
from nanautopsy.readers._json_scan import Damaged, JsonScan
from nanautopsy.readers.columns import Columns

_NO_SETTINGS = frozenset({"best_metric", "best_model_checkpoint", "stateful_callbacks"})
"""``best_metric`` starts as Infinity by design; the callbacks' state holds such bests too."""
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
                text = f"the file {error}: what follows is lost"
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
        for row, line in scan.elements():
            _add_row(columns, row, rows, line)
            rows += 1
        return True
    except Damaged as error:
        text = f"log_history {error} after {rows} rows"
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


def _add_row(columns: Columns, row: Any, record: int, line: int) -> None:
    if not isinstance(row, dict):
        return
    step = number_of(row.get("step"))
    known = step is not None and step == step and abs(step) < 2**53
    axis: Axis = "step" if known else "record"
    place = int(step) if known and step is not None else record
    for tag, value in leaves(row):
        if tag != "step":
            columns.add(tag, place, value, line=line, axis=axis)
