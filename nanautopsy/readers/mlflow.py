"""MLflow's file store: ``mlruns/<experiment>/<run>/`` with a file for each metric and parameter.

A metric's file holds a line for each value, ``timestamp value step``, the time in milliseconds;
before 1.0 without the step, and with a data set's name and digest behind it since 3.0 (MLflow,
``store/tracking/file_store.py``, ``_get_metric_from_line``). Slashes in a metric's name are
directories. A parameter's or a tag's file holds its value.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from nanautopsy.model import (
    Artifact,
    Claim,
    ConfigRecord,
    EnvironmentRecord,
    FileHead,
    Problem,
    Record,
    Skipped,
    Source,
)
from nanautopsy.readers import _yaml
from nanautopsy.readers._damage import Damage
from nanautopsy.readers._decode import decode_text
from nanautopsy.readers._json_numbers import parse_number
from nanautopsy.readers._line_blocks import LineBlock, line_blocks
from nanautopsy.readers._step_keys import step_number
from nanautopsy.readers.columns import Columns
from nanautopsy.wording import phrase

_PLACE = re.compile(
    r"(?P<run>(?:.*/)?[0-9a-f]{32}/|)(?P<kind>metrics|params|tags)/(?P<name>[^/].*)", re.DOTALL
)
"""Below a directory that is called by a run's id, or in the directory that was given itself."""
_POINT = re.compile(rb"\d{9,16} [-+.\w]{1,30}(?: -?\d{1,18}(?: \S+ \S+)?)?\r?(?:\n|$)")
_LONGEST_LINE = 1 << 16
_MOST_BYTES = 1 << 16
"""Of a parameter's value; MLflow allows 6000 characters."""
_FACTS = {
    "mlflow.source.name": "program",
    "mlflow.source.git.commit": "git_commit",
    "mlflow.user": "username",
}
_STATUS = {1: "RUNNING", 2: "SCHEDULED", 3: "FINISHED", 4: "FAILED", 5: "KILLED"}
"""MLflow, ``protos/service.proto``, ``RunStatus``."""


class MlflowReader:
    """Claims by the place of a file in the store and by what stands in it."""

    name = "mlflow"

    def claim(self, file: FileHead) -> Claim | None:
        if file.name == "meta.yaml":
            is_run = b"lifecycle_stage:" in file.head and b"artifact_uri:" in file.head
            return Claim("mlflow-run", 85) if is_run else None
        place = _PLACE.fullmatch(file.path)
        if place is None or b"\0" in file.head:
            return None
        if place["kind"] == "metrics":
            return Claim("mlflow-metrics", 85, "metrics") if _POINT.match(file.head) else None
        if file.size > _MOST_BYTES or "/" in place["name"]:
            return None
        if place["kind"] == "tags":
            return Claim("mlflow-tags", 80, "tags") if file.name.startswith("mlflow.") else None
        sure = bool(place["run"]) or "." not in file.name
        return Claim("mlflow-params", 80 if place["run"] else 40, "params") if sure else None

    def read(self, artifact: Artifact) -> Iterator[Record]:
        """Series of the metrics, settings of the parameters, facts of the tags."""
        if artifact.kind == "mlflow-metrics":
            for path, location in artifact.members:
                if isinstance(location, Path):
                    yield from _metric(path, location)
        elif artifact.kind == "mlflow-run":
            yield from _run(artifact)
        else:
            yield from _values(artifact)


READER = MlflowReader()


def _metric(path: str, location: Path) -> Iterator[Record]:
    place = _PLACE.fullmatch(path)
    columns = Columns(path)
    damage = Damage(path)
    for block in line_blocks(location, _LONGEST_LINE):
        for number, line in enumerate(block.lines):
            if line and not _add(columns, place["name"] if place else path, line, block, number):
                is_last = not block.whole and number == len(block.lines) - 1
                damage.note(
                    phrase("a line is cut off")
                    if is_last
                    else phrase("not a time, a value and a step"),
                    offset=block.offset_of(number),
                    line=block.first_line + number,
                )
    for series in columns.series():
        # A program that gives no step gets 0 for each.
        uncounted = len(series) > 1 and not series.steps.any()
        steps = np.arange(len(series), dtype=np.int64)
        yield replace(series, steps=steps, axis="record") if uncounted else series
    yield from damage.problems()


def _add(columns: Columns, tag: str, line: str, block: LineBlock, number: int) -> bool:
    """Add the point of a line; whether it is one. The last line of a file may be cut anywhere."""
    parts = line.split()
    cut = not block.whole and number == len(block.lines) - 1
    if len(parts) not in (2, 3, 5) or (cut and len(parts) == 2):
        return False
    time, value = parse_number(parts[0]), parse_number(parts[1])
    step = step_number(parts[2]) if len(parts) > 2 else 0
    if time is None or value is None or step is None:
        return False
    columns.add(tag, step, value, time=time / 1000, line=block.first_line + number)
    return True


def _run(artifact: Artifact) -> Iterator[Record]:
    """How the run ended, and by whom it was run."""
    try:
        values = _yaml.load(decode_text(artifact.location.read_bytes()[:_MOST_BYTES]))
    except _yaml.YamlDamage as error:
        yield Problem(phrase("not whole YAML: {error}", error=error), Source(artifact.path))
        values = error.rest
    except ValueError as error:
        yield Problem(phrase("not YAML: {error}", error=error), Source(artifact.path))
        return
    if not isinstance(values, dict):
        return
    status = values.get("status")
    known = {
        "status": _STATUS.get(status, str(status)) if isinstance(status, int) else None,
        "run_name": values.get("run_name"),
        "lifecycle_stage": values.get("lifecycle_stage"),
    }
    told = {name: str(value) for name, value in known.items() if value}
    if told:
        yield ConfigRecord("mlflow_run", told, Source(artifact.path))
    user = values.get("user_id")
    if isinstance(user, str) and user:
        yield EnvironmentRecord(Source(artifact.path), facts={"username": user})


def _values(artifact: Artifact) -> Iterator[Record]:
    """One record of all parameters or tags of a run."""
    values: dict[str, str] = {}
    for path, location in artifact.members:
        place = _PLACE.fullmatch(path)
        if place is not None and isinstance(location, Path):
            values[place["name"]] = decode_text(location.read_bytes()[:_MOST_BYTES]).strip()
    source = Source(artifact.path)
    if artifact.kind == "mlflow-params":
        yield ConfigRecord("mlflow", values, source)
        return
    facts = {_FACTS[name]: value for name, value in values.items() if name in _FACTS and value}
    if facts:
        yield EnvironmentRecord(source, facts=facts)
    else:
        yield Skipped(phrase("no tag that says anything of the run"))
