"""From blocks of text to records: the dialects at work on the candidate lines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from nanautopsy.model import Problem, Record, Source
from nanautopsy.readers.text.blocks import Block, Damage
from nanautopsy.readers.text.dialect import Line, Log
from nanautopsy.readers.text.dialects import DIALECTS
from nanautopsy.readers.text.hf_dict import steps_of
from nanautopsy.readers.text.lines import clean, is_decorated, is_srun
from nanautopsy.readers.text.prefilter import Prefilter, line_numbers, segments
from nanautopsy.readers.text.shapes import Shapes

_PREFILTER = Prefilter(trigger for dialect in DIALECTS for trigger in dialect.triggers)


def records_of(path: str, stream: Iterable[Block | Damage]) -> Iterator[Record]:
    """What the blocks of one log say, as records that cite ``path``."""
    log = Log(path)
    shapes = Shapes(DIALECTS)
    srun: bool | None = None
    for block in stream:
        if isinstance(block, Block):
            if srun is None:
                srun = is_srun(block.data[:65536])
            _scan(log, shapes, block, srun)
        else:
            log.out.append(Problem(block.text, Source(path, line=block.line, offset=block.offset)))
        yield from log.out
        log.out.clear()
    log.end_following()
    yield from log.out
    resolved = log.rows.resolve(lambda rows, epochs: steps_of(log).resolve(rows, epochs))
    yield from log.rows.series(path, resolved)
    yield from log.events(resolved)


def _scan(log: Log, shapes: Shapes, block: Block, srun: bool) -> None:
    """Handle the candidate lines of a block, and every line while somebody follows."""
    data = block.data
    begins, ends = _PREFILTER.candidates(data)
    begin_list, end_list = begins.tolist(), ends.tolist()
    numbers = line_numbers(data, block.first_line, begins)
    decorated = is_decorated(data)
    position = 0
    if log.following:
        position = _follow(log, shapes, block, 0, srun)
    for begin, end, number in zip(begin_list, end_list, numbers, strict=True):
        if begin < position:
            continue
        segment = data[begin:end]
        shapes.handle(log, clean(segment) if decorated else segment, number, srun)
        if log.following:
            position = _follow(log, shapes, block, end + 1, srun)


def _follow(log: Log, shapes: Shapes, block: Block, position: int, srun: bool) -> int:
    """Offer line after line from ``position``; returns where the ordinary scan goes on."""
    data = block.data
    if position >= len(data):
        return position
    rest = data[position:]
    first = block.first_line + data.count(b"\n", 0, position)
    begins, ends = segments(rest)
    numbers = line_numbers(rest, first, begins)
    for begin, end, number in zip(begins.tolist(), ends.tolist(), numbers, strict=True):
        if begin == end == len(rest):
            break
        line = Line(number, clean(rest[begin:end]), srun)
        if not log.offer(line):
            shapes.handle_line(log, line)
        if not log.following:
            return position + int(end) + 1
    return len(data)
