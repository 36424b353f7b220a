"""An inspection for a terminal: the answer first, then the worst tensors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from nanautopsy.inspection import History, Inspected, Inspection
from nanautopsy.model import TensorHealth
from nanautopsy.render._clean import clean, one_line
from nanautopsy.render._columns import Column, aside, table
from nanautopsy.render._console import console, printed
from nanautopsy.render._format import count
from nanautopsy.render._inspect_cells import (
    index_text,
    number_or_blank,
    percent_text,
    ratio,
    rows_text,
    sizes_text,
)
from nanautopsy.render._inspect_diff import diff_lines
from nanautopsy.render._inspect_rows import Row, in_order, telling_rows
from nanautopsy.render._inspect_words import (
    headline,
    least_headroom,
    remarks,
    verdict,
    worst,
)

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

TOP = 20
"""Tensors that are shown unless more are asked for: with the rest, about a screen."""
MIN_WIDTH = 40
_MOST_LINES = 30
"""Members of one history that are shown."""
_COLORS = {"non-finite": "red", "finite": "green", "unmeasured": "yellow"}


def render(
    inspection: Inspection,
    *,
    width: int | None = None,
    color: bool = False,
    sort: str = "worst",
    top: int | None = None,
) -> str:
    """The report as lines of at most ``width`` columns, or as long as they are.

    ``sort``: a key of :data:`nanautopsy.render._inspect_rows.SORTS`; ``top``: how many tensors,
    0 for all, by default :data:`TOP`.
    """
    width = None if width is None else max(MIN_WIDTH, width)
    to = console(width or 1000, color=color)
    lines = list(_title(inspection, to, width))
    limit = TOP if top is None else top
    if inspection.diff is not None:
        lines += diff_lines(inspection.diff, width, limit)
    else:
        lines += _history_lines(inspection, width)
        lines += _tensor_lines(inspection, width, sort, limit)
    return printed(lines, to)


def _title(inspection: Inspection, to: Console, width: int | None) -> Iterator[Text]:
    from nanautopsy import __version__

    names = ", ".join(inspection.paths[:3]) + (" ..." if len(inspection.paths) > 3 else "")
    against = "" if inspection.against is None else f" against {inspection.against}"
    yield from _wrapped(f"nanautopsy {__version__}: {names}{against}", "dim", to, width)
    yield from _wrapped(
        headline(inspection), f"bold {_COLORS.get(verdict(inspection), '')}".strip(), to, width
    )
    for remark in remarks(inspection):
        yield from _wrapped(remark, "", to, width)


def _wrapped(text: str, style: str, to: Console, width: int | None) -> Iterator[Text]:
    from rich.text import Text

    line = Text(one_line(clean(text)), style=style)
    yield from ([line] if width is None else line.wrap(to, width, tab_size=1))


# --- histories ----------------------------------------------------------------------------------


def _history_lines(inspection: Inspection, width: int | None) -> Iterator[Text]:
    """What each checkpoint is, where there are several."""
    from rich.text import Text

    if len(inspection.inspected) < 2:
        return
    alone: list[Inspected] = []
    for number_, history in enumerate(inspection.histories):
        if len(history.members) > 1 and (number_ == 0 or history.first_bad is not None):
            yield Text()
            yield from _one_history(history, width)
        else:
            alone.append(history.telling)
    if alone:
        yield Text()
        yield from _members(alone[:_MOST_LINES], width)
        if len(alone) > _MOST_LINES:
            yield aside(f"... and {len(alone) - _MOST_LINES} more", width)


def _one_history(history: History, width: int | None) -> Iterator[Text]:

    measured = [member for member in history.members if member.condition != "unmeasured"]
    shown = _near_the_turn(measured, history)
    heading, *lines = _members(shown, width)
    yield heading
    for member, line, after in zip(shown, lines, [*shown[1:], None], strict=True):
        yield line
        between = _between(history.members, member, after)
        if between:
            yield aside(between, width)
    if len(shown) < len(measured):
        yield aside(f"... {len(measured) - len(shown)} more that were read", width)


def _between(members: Sequence[Inspected], one: Inspected, other: Inspected | None) -> str:
    """How many members between two that were read were not, and what they may be."""
    if other is None:
        return ""
    many = members.index(other) - members.index(one) - 1
    if not many:
        return ""
    same = one.condition == other.condition
    guess = f"{one.condition} on both sides" if same else "one side is finite, the other is not"
    return f"... {many} not read: {guess}"


def _near_the_turn(shown: Sequence[Inspected], history: History) -> Sequence[Inspected]:
    if len(shown) <= _MOST_LINES:
        return shown
    bad = history.first_bad
    middle = len(shown) - 1 if bad is None else shown.index(bad)
    start = max(0, min(middle - _MOST_LINES // 2, len(shown) - _MOST_LINES))
    return shown[start : start + _MOST_LINES]


def _members(members: Sequence[Inspected], width: int | None) -> list[Text]:
    checkpoints = [member.checkpoint for member in members]
    paths = [checkpoint.path for checkpoint in checkpoints]
    if len(paths) > 1 and len({path.rpartition("/")[2] for path in paths}) == 1:
        # All are .../model.safetensors: what differs is the directory.
        paths = [path.rpartition("/")[0] or path for path in paths]
    columns = [
        Column("checkpoint", tuple(paths), 100, name=True),
        Column("step", tuple("" if c.step is None else str(c.step) for c in checkpoints), 80),
        Column("holds", tuple(c.holds for c in checkpoints), 50),
        Column("tensors", tuple(str(m.listed) for m in members), 60),
        Column("non-finite", tuple(str(len(m.damage)) for m in members), 90),
        Column("unread", tuple(str(len(c.missing) or "") for c in checkpoints), 70),
        Column("headroom", tuple(ratio(least_headroom(m)) for m in members), 40),
        Column("worst tensor", tuple(worst(m) for m in members), 30, name=True),
    ]
    return table(columns, width, ["red" if m.damage else "" for m in members])


# --- tensors --------------------------------------------------------------------------------------


def _tensor_lines(
    inspection: Inspection, width: int | None, sort: str, limit: int
) -> Iterator[Text]:
    from rich.text import Text

    rows = telling_rows(inspection)
    if not rows:
        return
    shown = in_order(rows, sort, limit or None)
    yield Text()
    if len(inspection.inspected) > len(inspection.histories):
        paths = [h.telling.checkpoint.path for h in inspection.histories]
        more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
        yield aside(f"Tensors of {paths[0]}{more}", width)
    any_bad = any(row.tensor.nonfinite for row in rows)
    yield from table(_tensor_columns(shown, any_bad), width, [_style(row) for row in shown])
    left = len(rows) - len(shown)
    if left:
        hidden = sum(map(_damaged, rows)) - sum(map(_damaged, shown))
        what = f", {hidden} of them non-finite" if hidden else ", all finite"
        yield aside(f"... {count(left, 'more tensor')}{what} (--top 0 shows all)", width)


def _style(row: Row) -> str:
    if row.tensor.nonfinite and not row.by_design:
        return "red"
    return "yellow" if row.note else ""


def _tensor_columns(rows: Sequence[Row], any_bad: bool) -> list[Column]:
    """Every column that an inspection can show, in order.

    Without ``any_bad`` there is nothing to count.
    """
    tensors = [row.tensor for row in rows]
    several = len({t.path for t in tensors}) > 1

    def many(value: int, numel: int) -> str:
        if not any_bad:
            return ""
        return "all" if value == numel > 1 else f"{value:,}"

    def part(value: int | None, numel: int) -> str:
        fraction = None if value is None or not numel else value / numel
        return "" if fraction is None else percent_text(fraction)

    def column(heading: str, cells: Sequence[str], importance: int) -> Column:
        return Column(heading, tuple(cells), importance)

    parts = [t.moment or (t.part if t.part != "parameter" else "") for t in tensors]
    firsts = [index_text(t.first_nonfinite) for t in tensors]
    return [
        Column("tensor", tuple(t.name for t in tensors), 100, name=True),
        column("dtype", [t.dtype for t in tensors], 62),
        column("shape", [sizes_text(t.shape) for t in tensors], 56),
        column("NaN", [many(t.nan, t.numel) for t in tensors], 98),
        column("+Inf", [many(t.pos_inf, t.numel) for t in tensors], 96),
        column("-Inf", [many(t.neg_inf, t.numel) for t in tensors], 94),
        column("first bad", firsts, 70),
        column("bad rows", [rows_text(t) for t in tensors], 58),
        column("max |x|", [number_or_blank(t.max_abs) for t in tensors], 90),
        column("headroom", [ratio(t.headroom) for t in tensors], 80),
        column("in fp16", _in_fp16(tensors), 76),
        column("note", [row.note if not _damaged(row) else "" for row in rows], 64),
        column("zero", [part(t.zero, t.numel) for t in tensors], 50),
        column("RMS", [number_or_blank(t.rms) for t in tensors], 48),
        column("min |x|", [number_or_blank(t.min_abs) for t in tensors], 44),
        column("subnormal", [part(t.subnormal, t.numel) for t in tensors], 46),
        column("part", parts, 40),
        column("rank", ["" if t.rank is None else str(t.rank) for t in tensors], 66),
        Column("file", tuple(t.path for t in tensors) if several else ("",), 30, name=True),
    ]


def _damaged(row: Row) -> bool:
    return row.tensor.nonfinite > 0 and not row.by_design


def _in_fp16(tensors: Sequence[TensorHealth]) -> list[str]:
    """Headroom after a cast to float16; blank where all are float16."""
    if all(t.dtype == "F16" or t.format_max is None for t in tensors):
        return [""] * len(tensors)
    rooms = [t.fp16_headroom for t in tensors]
    return ["overflows" if room is not None and room < 1 else ratio(room) for room in rooms]
