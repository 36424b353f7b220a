"""Text logs of any program: standard output, logger files, batch system output, gzip'd or not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from nanautopsy.model import Artifact, Claim, FileHead, Problem, Record, Source
from nanautopsy.readers.text.blocks import Block, blocks, unpacked_head
from nanautopsy.readers.text.dialect import Line, Log
from nanautopsy.readers.text.dialects import DIALECTS
from nanautopsy.readers.text.hf_dict import steps_of
from nanautopsy.readers.text.lines import clean, is_decorated, is_srun
from nanautopsy.readers.text.prefilter import Prefilter, line_numbers, segments
from nanautopsy.readers.text.shapes import Shapes

_LOG_NAME = re.compile(
    r"\.(?:log|out|err|stdout|stderr|[oe]\d+)(?:[._-]?\d+)?$|^(?:nohup|stdout|stderr|std_log)\b"
    r"|\.log[._-]",
    re.IGNORECASE,
)
_TEXT_NAME = re.compile(r"\.txt$", re.IGNORECASE)
_OTHER_NAME = re.compile(
    r"\.(?:pyi?|ipynb|md|rst|jsonl?|ndjson|ya?ml|csv|tsv|toml|cfg|ini|conf|sh|bash|zsh|ps1|bat|html?"
    r"|xml|svg|js|mjs|ts|tsx|jsx|css|scss|cc?|cpp|cxx|cuh?|h|hpp|java|kt|scala|go|rs|rb|pl|php|lua"
    r"|jl|r|m|swift|sql|tex|bib|lock|patch|diff|proto|prototxt|pbtxt|j2|jinja2?|template|model|vocab"
    r"|bpe|tokens|index|env|properties|gradle|cmake|mk|wandb|tfevents.*|pdf|eps|ps|srt|vtt|obj|ply)$"
    r"|^(?:merges|vocab|requirements|constraints|license|licence|copying|notice|authors|readme"
    r"|changelog|manifest|sources|dependency_links|top_level|entry_points|labels|classes)"
    r"\b.*\.txt$|^(?:license|licence|copying|notice|authors|readme|changelog|makefile|dockerfile"
    r"|jenkinsfile|procfile|latest|checkpoint|\..*)$",
    re.IGNORECASE,
)
_HOLE = re.compile(rb"\0{64,}")
_LATIN_SHARE = 0.1
_CONTROL_SHARE = 0.02
_CONTROLS = bytes(c for c in range(32) if c not in b"\t\n\r\x0b\x0c\x08\x07\x1b") + b"\x7f"
_PREFILTER = Prefilter(trigger for dialect in DIALECTS for trigger in dialect.triggers)


class TextLog:
    """Reads every log that is text, with low confidence so that any other reader goes first."""

    name = "text-log"

    def claim(self, file: FileHead) -> Claim | None:
        """By being text, and not by name a source, a table or a tokenizer's list."""
        name = re.sub(r"\.gz$", "", file.name, flags=re.IGNORECASE)
        if file.size == 0 or _OTHER_NAME.search(name):
            return None
        is_log = _LOG_NAME.search(name) is not None
        if not _is_text(unpacked_head(file.head), is_log):
            return None
        confidence = 30 if is_log else 20 if _TEXT_NAME.search(name) else 10
        return Claim("text-log", confidence)

    def read(self, artifact: Artifact) -> Iterator[Record]:
        """Series, events, configuration and environment of each member."""
        for path, location in artifact.members:
            yield from _read(path, location)


READER = TextLog()


def _is_text(head: bytes, may_be_hole: bool) -> bool:
    """``may_be_hole``: by its name a log, which may begin with a long hole."""
    if not head:
        return False
    head = _HOLE.sub(b"", head)
    if not head:
        return may_be_hole
    if b"\0" in head:
        return False
    controls = len(head) - len(head.translate(None, _CONTROLS))
    if controls > _CONTROL_SHARE * len(head):
        return False
    text = head.decode("utf-8", "replace")
    # The head may end inside a character.
    return text.count("�") <= max(1, _LATIN_SHARE * len(text))


def _read(path: str, location: Path) -> Iterator[Record]:
    log = Log(path)
    shapes = Shapes(DIALECTS)
    srun: bool | None = None
    for block in blocks(location):
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
