"""CSV files that people export from W&B.

* The line plot's download: first the x axis, then ``<run> - <metric>`` with ``__MIN`` and
  ``__MAX`` for each run. The tag is the metric, or the whole column name when the file holds
  several runs. A plot is binned to some 1500 points: the mean is taken as the value, but a NaN or
  infinity in any of the three is the bin's. So its first step is an upper bound.
* ``run.history()`` saved with pandas: a ``_step`` column and the metrics. It is sampled to 500
  rows unless asked otherwise, and pandas writes NaN as an empty cell, which is no value here.
* The table of runs, one row each, holds no history: it is skipped with that reason.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from nanautopsy.model import Artifact, Axis, Claim, FileHead, Record, Skipped
from nanautopsy.readers._damage import Damage
from nanautopsy.readers._json_numbers import parse_number
from nanautopsy.readers.columns import Columns
from nanautopsy.wording import phrase

_SEPARATOR = " - "
_LONGEST_LINE = 1 << 20
_NULLS = frozenset({"null", "none"})
_WALL_TIME = ("wall time", "_timestamp")


class _WandbExport:
    name = "wandb-export"

    def claim(self, file: FileHead) -> Claim | None:
        line, ended, _ = file.head.partition(b"\n")
        if b"," not in line or not (ended or file.size == len(file.head)) or b"\0" in line:
            return None
        header = _split(line.decode("utf-8-sig", "replace").rstrip("\r"))
        if _is_runs_table(header):
            return Claim("wandb-runs-table", 92)
        if _plot_columns(header):
            return Claim("wandb-plot", 95)
        return Claim("wandb-api", 92) if "_step" in header else None

    def read(self, artifact: Artifact) -> Iterator[Record]:
        if artifact.kind == "wandb-runs-table":
            yield Skipped(phrase("a table of W&B runs, one row each: it holds no history"))
            return
        columns, damage = Columns(artifact.path), Damage(artifact.path)
        header = next(_rows(artifact.location, Damage(artifact.path)), (1, []))[1]
        if artifact.kind == "wandb-plot":
            _read_plot(artifact.location, header, columns, damage)
        else:
            _read_history(artifact.location, header, columns, damage)
        yield from columns.series()
        yield from damage.problems()


def _split(line: str) -> list[str]:
    try:
        return next(csv.reader([line]), [])
    except csv.Error:
        return []


def _is_runs_table(header: Sequence[str]) -> bool:
    names = {name.lower() for name in header}
    return "state" in names and bool(names & {"name", "run_name", "run_id", "id"})


def _rows(location: Path, damage: Damage) -> Iterator[tuple[int, list[str]]]:
    """(line, cells) of each row, the header first. A row that is no CSV goes to ``damage``."""
    with open(location, encoding="utf-8-sig", errors="replace", newline="") as file:
        reader = csv.reader(iter(lambda: file.readline(_LONGEST_LINE), ""))
        while True:
            try:
                row = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                damage.note(phrase("is not CSV: {error}", error=error), line=reader.line_num)
                continue
            if row:
                yield reader.line_num, row


@dataclass(frozen=True, slots=True)
class _PlotColumn:
    """One metric of one run: places of its value, and of its least and largest in each bin."""

    run: str
    metric: str
    cells: tuple[int, ...]


def _plot_columns(header: Sequence[str]) -> list[_PlotColumn]:
    """The metrics of a plot's download; empty when the header is not that of one."""
    places = {name: i for i, name in enumerate(header)}
    found: list[_PlotColumn] = []
    plain = 0
    for name, place in places.items():
        if place == 0 or _SEPARATOR not in name:
            continue
        run, metric = name.rsplit(_SEPARATOR, 1)
        bounds = [places[name + end] for end in ("__MIN", "__MAX") if name + end in places]
        if len(bounds) == 2:
            found.append(_PlotColumn(run, metric, (place, *bounds)))
        elif not name.endswith(("__MIN", "__MAX")):
            plain += 1
            found.append(_PlotColumn(run, metric, (place,)))
    # Without the bounds only a file in which every column is of this form is one.
    if plain and (header[0].lower() not in ("step", "_step") or plain != len(header) - 1):
        return []
    return found


def _read_plot(location: Path, header: Sequence[str], columns: Columns, damage: Damage) -> None:
    plots = _plot_columns(header)
    several = len({plot.run for plot in plots}) > 1
    own_steps = {plot.run: plot.cells[0] for plot in plots if plot.metric == "_step"}
    shown = [plot for plot in plots if plot.metric != "_step"]
    axis = _axis(location, header[0])
    for row, (line, cells) in enumerate(_rows(location, damage), -1):
        if row < 0:
            continue
        x = parse_number(cells[0])
        time = x if header[0].lower() in _WALL_TIME else None
        for plot in shown:
            value = _binned([cells[i] for i in plot.cells if i < len(cells)])
            if value is None:
                continue
            column = own_steps.get(plot.run) if axis is None else 0
            known = column is not None and column < len(cells)
            step = _whole(parse_number(cells[column or 0])) if known else None
            tag = f"{plot.run}{_SEPARATOR}{plot.metric}" if several else plot.metric
            if step is not None:
                columns.add(tag, step, value, time=time, line=line, axis=axis or "step")
            elif axis is None:
                columns.add(tag, row, value, time=time, line=line, axis="record")
            else:
                damage.note(phrase("a row without a place on the x axis"), line=line)
                break


def _axis(location: Path, name: str) -> Axis | None:
    """What a plot's x axis counts; ``None`` when it is a time or is not in whole numbers."""
    lower = name.lower()
    if "time" in lower:
        return None
    for row, (_, cells) in enumerate(_rows(location, Damage(""))):
        x = parse_number(cells[0]) if row else None
        if x is not None and _whole(x) is None:
            return None
    if "epoch" in lower:
        return "epoch"
    return "samples" if "sample" in lower or "token" in lower else "step"


def _binned(cells: Sequence[str]) -> float | None:
    """The value of a bin from its mean, least and largest; ``None`` when the cell is empty."""
    numbers = [parse_number(cell) for cell in cells]
    for number in numbers:
        if number is not None and not math.isfinite(number):
            return number
    return numbers[0] if numbers else None


def _whole(number: float | None) -> int | None:
    if number is None or not math.isfinite(number) or number != int(number) or abs(number) > 2**62:
        return None
    return int(number)


def _read_history(location: Path, header: Sequence[str], columns: Columns, damage: Damage) -> None:
    places = {name: i for i, name in enumerate(header)}
    step_place, time_place = places["_step"], places.get("_timestamp")
    metrics = [(n, i) for n, i in places.items() if n not in ("", "_step", "_timestamp")]
    for row, (line, cells) in enumerate(_rows(location, damage), -1):
        if row < 0:
            continue
        numbers = [parse_number(cell) for cell in cells]
        numbers.extend([None] * (len(header) - len(numbers)))
        step = _whole(numbers[step_place])
        time = None if time_place is None else numbers[time_place]
        for name, i in metrics:
            # An empty cell says nothing; "null" says that there was no value.
            if numbers[i] is not None or (i < len(cells) and cells[i].strip().lower() in _NULLS):
                columns.add(
                    name,
                    row if step is None else step,
                    numbers[i],
                    time=time,
                    line=line,
                    axis="record" if step is None else "step",
                )


READER = _WandbExport()
