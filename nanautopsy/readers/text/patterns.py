"""Lines that differ only in their numbers: recognized, and their numbers taken, many at a time."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from nanautopsy.readers.text.lines import prefix_of
from nanautopsy.readers.text.numbers import SPLIT
from nanautopsy.readers.text.rows import Floats, Ints

_NUMBER = rb"([0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?)"
_SKIPPED_NUMBER = rb"[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?"
_RANK = rb"([0-9]{1,5})"
_OF_NUMBERS = b"0123456789.eE+-"
_BLANKS = b" \t"


@dataclass(frozen=True, slots=True, eq=False)
class Numbers:
    """The unsigned numbers of many lines of one shape, read where they are asked for."""

    words: Sequence[bytes]
    """Line after line."""
    width: int
    """Words of a line."""
    first: int
    """The place among them of the first number; before it may stand the rank."""

    def __len__(self) -> int:
        return len(self.words) // self.width

    def words_of(self, i: int) -> Sequence[bytes]:
        """The digits of the ``i``-th number of each line."""
        return self.words[self.first + i :: self.width]

    def column(self, i: int) -> Floats:
        """(lines,) the ``i``-th number of each line."""
        words = self.words_of(i)
        return np.fromiter(map(float, words), dtype=np.float64, count=len(words))

    @property
    def ranks(self) -> Ints | None:
        """(lines,) where the lines name it."""
        return self.column(-1).astype(np.int64) if self.first else None


@dataclass(frozen=True, slots=True)
class Pattern:
    """The shape of a line: its text, with numbers between."""

    one: re.Pattern[bytes]
    """Matches a whole line; captures the rank, where there is one, then the numbers."""
    ranked: bool
    """The launcher's prefix names a rank."""
    count: int
    """Numbers in a line, without those of its prefix."""
    prefix: int
    """Length of the prefix of the line that it was made of."""
    literals: tuple[bytes, ...] | None
    """Text before, between and after the numbers, where taking it away leaves them intact."""

    def numbers(self, lines: Callable[[int], list[bytes]]) -> Numbers | None:
        """Of lines whose skeletons are equal; ``None`` where one has another shape.

        ``lines`` gives them without their first bytes, as many as it is asked to leave out.
        """
        found = None
        if self.literals is not None and not self.ranked:
            # Of equal skeleton and with equal text behind it, so what is left out is the prefix.
            found = self._without_text(lines(self.prefix), self.literals)
        return self._captured(lines(0)) if found is None else found

    def _without_text(self, lines: list[bytes], literals: tuple[bytes, ...]) -> Numbers | None:
        """By replacing each literal: no character is looked at in Python."""
        head, *between, tail = literals
        text = b"\n".join(lines) + b"\n" + head
        if not text.startswith(head):
            return None
        text = text[len(head) :].replace(tail + b"\n" + head, b" ")
        for literal in sorted(set(between), key=len, reverse=True):
            if literal.strip(_BLANKS):
                text = text.replace(literal, b" ")
        words = text.split()
        if len(words) != len(lines) * self.count or text.translate(None, _OF_NUMBERS + _BLANKS):
            return None
        return Numbers(words, self.count, 0)

    def _captured(self, lines: Sequence[bytes]) -> Numbers | None:
        # Not kept: re holds those that are in use.
        many = re.compile(b"^" + self.one.pattern + b"\n", re.MULTILINE)
        found = many.findall(b"\n".join(lines) + b"\n")
        width = self.count + self.ranked
        if len(found) != len(lines) or not width:
            return None
        words = list(chain.from_iterable(found)) if width > 1 else found
        return Numbers(words, width, int(self.ranked))


def pattern_of(whole: bytes, parts: Sequence[bytes], labelled: bool) -> Pattern:
    """``parts``: text and numbers, alternating, of the line behind its prefix."""
    end, rank = prefix_of(whole, labelled)
    if rank is None:
        before = _skipped(whole[:end])
    else:
        before = _skipped(whole[: rank.start]) + _RANK + _skipped(whole[rank.stop : end])
    texts = parts[::2]
    body = before + _NUMBER.join(map(re.escape, texts))
    usable = len(texts) > 1 and all(_is_removable(text) for text in texts[1:-1])
    return Pattern(
        re.compile(body, re.DOTALL),
        rank is not None,
        len(texts) - 1,
        end,
        tuple(texts) if usable else None,
    )


def _skipped(text: bytes) -> bytes:
    return _SKIPPED_NUMBER.join(map(re.escape, SPLIT.split(text)[::2]))


def _is_removable(text: bytes) -> bool:
    """Whether it parts two numbers, and cannot stand inside one."""
    bare = text.strip(_BLANKS)
    return bool(bare.translate(None, _OF_NUMBERS)) if bare else bool(text)
