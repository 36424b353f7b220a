"""Files of bare numbers that are called after a metric: ``train_loss.csv``, ``losses.txt``.

One number a line (``numpy.savetxt`` of a list of losses), or a counter and a number::

    0,2.3021
    1,2.2874

No header says what they are, so the file's name has to: one that names no metric of training is
not claimed. A file that is called a history may hold more columns behind its counter; what they
are is not known, so that they are ``column 2`` and on, to which ``--role`` gives a meaning::

    history.csv:  1,2.1123,0.2500,0.0050
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from math import isfinite

from nanautopsy.model import Artifact, Claim, FileHead, Record
from nanautopsy.readers._damage import Damage
from nanautopsy.readers._decode import decode_text
from nanautopsy.readers._line_blocks import Lines
from nanautopsy.readers._packed_head import plain_head, plain_name
from nanautopsy.readers.columns import Columns
from nanautopsy.readers.text.numbers import parse
from nanautopsy.roles import classify
from nanautopsy.wording import phrase

_EXTENSIONS = (".csv", ".tsv", ".txt", ".dat", ".log", ".out")
_SEPARATOR = re.compile(r"\s*[,;\t ]\s*")
_FEWEST = 3
"""Lines."""
_FITTING = 0.8
"""Share of the lines with as many numbers as the first: one may be cut off."""
_MOST_COLUMNS = 40
_HISTORY = re.compile(
    r"(?:^|[^a-z])(?:log|logs|history|progress|metrics?|curves?|monitor|stats)(?:[^a-z]|$)", re.I
)
"""Names of files in which a program notes how its training goes; ``train.csv`` may be the data."""
_ROLES = ("loss", "eval_loss", "grad_norm", "learning_rate", "loss_scale")


class NumberFileReader:
    """Claims files of numbers whose name is that of a metric or of a history."""

    name = "numbers"

    def claim(self, file: FileHead) -> Claim | None:
        plain = plain_head(file)
        if plain is None or not plain.name.lower().endswith(_EXTENSIONS):
            return None
        name = _tag(plain.name)
        most = 2 if classify(name)[0] in _ROLES else _MOST_COLUMNS if _HISTORY.search(name) else 0
        lines = decode_text(plain.head).splitlines()
        if plain.size > len(plain.head) and lines:
            lines.pop()
        rows = [_row(line) for line in lines if line.strip()]
        width = len(rows[0] or ()) if rows else 0
        alike = [row for row in rows if row is not None and len(row) == width]
        if not width or len(rows) < _FEWEST or len(alike) < _FITTING * len(rows):
            return None
        if width > most or (most > 2 and width < 3):
            return None
        if width > 1 and not _counts([row[0] for row in alike]):
            return None
        return Claim(self.name, 75)

    def read(self, artifact: Artifact) -> Iterator[Record]:
        """A series a column; a line that is none of the kind costs itself."""
        tag = _tag(plain_name(artifact.path))
        damage = Damage(artifact.path)
        columns = Columns(artifact.path)
        lines = Lines(artifact.location, damage=damage)
        count, width = 0, 0
        for text in _all(lines):
            row = _row(text)
            width = width or (len(row) if row else 0)
            if row is None or len(row) != width or not (width == 1 or isfinite(row[0])):
                if text.strip():
                    damage.note(phrase("no number on this line"), line=lines.line)
                continue
            step = count if width == 1 else int(row[0])
            for place, value in enumerate(row[1:] or row, 2):
                columns.add(
                    tag if width < 3 else f"column {place}",
                    step,
                    value,
                    line=lines.line,
                    axis="record" if width == 1 else "step",
                )
            count += 1
        yield from columns.series()
        yield from damage.problems()


READER = NumberFileReader()


def _all(lines: Lines) -> Iterator[str]:
    yield from lines
    if lines.tail is not None:
        yield lines.tail[1]


def _tag(path: str) -> str:
    return path.rpartition("/")[2].rpartition(".")[0]


def _row(text: str) -> list[float] | None:
    """The numbers of a line that holds nothing else."""
    cells = [parse(cell) for cell in _SEPARATOR.split(text.strip(), _MOST_COLUMNS)]
    numbers = [cell for cell in cells if cell is not None]
    return numbers if len(numbers) == len(cells) and numbers else None


def _counts(first: list[float]) -> bool:
    """Whether a column is a counter: whole numbers that rise."""
    known = [value for value in first if isfinite(value)]
    whole = all(value == int(value) >= 0 for value in known)
    return whole and all(a < b for a, b in pairwise(known))
