"""One large JSON object, member by member, in bounded memory, as far as it is intact."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from io import BufferedIOBase
from typing import Any

_READ_BYTES = 1 << 20
_LONGEST_VALUE = 16 << 20
"""Characters of one value that is still decoded."""
_SPACE = " \t\r\n"


class Damaged(ValueError):
    """The text is not JSON from byte ``offset``, line ``line``, on."""

    def __init__(self, text: str, offset: int, line: int) -> None:
        super().__init__(text)
        self.offset = offset
        self.line = line


class JsonScan:
    """A cursor over JSON text that is read as it is needed.

    The bare words NaN, Infinity and -Infinity are numbers, as Python writes them.
    """

    def __init__(self, file: BufferedIOBase) -> None:
        self._file = file
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._scan = json.JSONDecoder().raw_decode
        self._text = ""
        self._at = 0
        self._bytes_before = 0
        self._line = 1
        self._counted = 0
        self._ended = False
        if self.next_character() == "\ufeff":
            self._at += 1

    def members(self) -> Iterator[str]:
        """The keys of the object at the cursor, which stands at the key's value meanwhile.

        The caller must consume each value. Raises :class:`Damaged`.
        """
        self._expect("{")
        if self.next_character() == "}":
            self._at += 1
            return
        while True:
            key = self.value()
            if not isinstance(key, str):
                raise self._damaged("expected a key")
            self._expect(":")
            yield key
            if self.next_character() != ",":
                break
            self._at += 1
        self._expect("}")

    def elements(self) -> Iterator[tuple[Any, int]]:
        """(value, line) of each element of the array at the cursor. Raises :class:`Damaged`."""
        self._expect("[")
        if self.next_character() == "]":
            self._at += 1
            return
        while True:
            self.next_character()
            line = self.line
            yield self.value(), line
            if self.next_character() != ",":
                break
            self._at += 1
        self._expect("]")

    def value(self) -> Any:
        """Decode the value at the cursor and step over it. Raises :class:`Damaged`."""
        self.next_character()
        while True:
            try:
                value, end = self._scan(self._text, self._at)
            except RecursionError:
                raise self._damaged("nested too deeply") from None
            except ValueError as error:
                place = getattr(error, "pos", self._at)
                unfinished = place >= len(self._text) - 10 or "Unterminated" in str(error)
                if not unfinished or not self._grow():
                    what = "ends in the middle" if self._ended and unfinished else "is not JSON"
                    raise self._damaged(what) from None
                continue
            # A number may go on in what was not read yet, even behind "1e+".
            if len(self._text) - end <= 2 and isinstance(value, (int, float)) and self._grow():
                continue
            self._at = end
            return value

    def skip_to(self, mark: str) -> bool:
        """Move to the next ``mark`` past the cursor, over damage; False when there is none."""
        self._at += 1
        while True:
            found = self._text.find(mark, self._at)
            if found >= 0:
                self._at = found
                return True
            self._at = len(self._text)
            if not self._grow():
                return False

    @property
    def offset(self) -> int:
        """Byte offset of the cursor."""
        return self._bytes_before + len(self._text[: self._at].encode("utf-8", "replace"))

    @property
    def line(self) -> int:
        """Line of the cursor, from 1."""
        self._line += self._text.count("\n", self._counted, self._at)
        self._counted = self._at
        return self._line

    def next_character(self) -> str:
        """The next character that is not space, where the cursor then stands; "" at the end."""
        while True:
            while self._at < len(self._text) and self._text[self._at] in _SPACE:
                self._at += 1
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._grow():
                return ""

    def _expect(self, character: str) -> None:
        found = self.next_character()
        if found != character:
            raise self._damaged(f"expected {character!r}" if found else "ends in the middle")
        self._at += 1

    def _grow(self) -> bool:
        """Read more behind the cursor and forget what lies before it."""
        kept = len(self._text) - self._at
        if self._ended or kept > _LONGEST_VALUE:
            return False
        self._bytes_before = self.offset
        self._line = self.line
        block = self._file.read(max(_READ_BYTES, kept))
        self._ended = not block
        self._text = self._text[self._at :] + self._decode(block, final=not block)
        self._at = self._counted = 0
        return True

    def _damaged(self, text: str) -> Damaged:
        return Damaged(text, self.offset, self.line)
