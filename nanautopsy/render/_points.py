"""The points of series that a report cites, each between its neighbors."""

from __future__ import annotations

import numpy as np

from nanautopsy.model import Autopsy, Series
from nanautopsy.render._anchors import Anchors, cited, point_key
from nanautopsy.render._facts import recorded
from nanautopsy.render._format import number
from nanautopsy.render._table import Row, Table, capped, code, integer, table, text
from nanautopsy.render._table import number as number_cell
from nanautopsy.signal import index_at
from nanautopsy.wording import phrase

AROUND = 2
"""Points shown to each side of a cited one."""
MAX_POINTS = 200


def cited_points(autopsy: Autopsy, anchors: Anchors) -> Table:
    """What was logged there, and just before and after."""
    series = {(s.source.path, s.tag): s for s in reversed(autopsy.run.series)}
    wanted: dict[tuple[str, str | None], set[int]] = {}
    for source in cited(autopsy):
        found = series.get((source.path, source.tag or ""))
        at = None if found is None or source.step is None else index_at(found, source.step)
        if at is not None:
            wanted.setdefault((source.path, source.tag), set()).add(at)
    everything = [
        (series[path, tag or ""], i, i in chosen)
        for (path, tag), chosen in wanted.items()
        for i in _with_neighbors(series[path, tag or ""], chosen)
    ]
    shown, left_out = capped(everything, MAX_POINTS)
    rows = [_row(one, i, is_cited, anchors) for one, i, is_cited in shown]
    headings = (
        phrase("Series"),
        phrase("Step"),
        phrase("Value"),
        phrase("Cited"),
        phrase("Source"),
    )
    return table(phrase("Cited points"), headings, rows, left_out)


def _with_neighbors(series: Series, chosen: set[int]) -> list[int]:
    near = {j for i in chosen for j in range(i - AROUND, i + AROUND + 1)}
    known = recorded(series)
    return sorted(i for i in near if 0 <= i < len(series) and known[i])


def _row(series: Series, i: int, is_cited: bool, anchors: Anchors) -> Row:
    place = series.at(i)
    value = float(series.values[i])
    anchor = anchors.give(point_key(place), f"{series.tag}-{place.step}") if is_cited else ""
    return Row(
        (
            code(series.tag),
            integer(place.step),
            number_cell(value, number(value), bad=not np.isfinite(value)),
            text(phrase("cited") if is_cited else ""),
            code(str(place), href=anchors.line_href(place)),
        ),
        anchor,
    )
