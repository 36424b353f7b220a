"""The bytes of a pickle, through a window that moves on."""

from __future__ import annotations

from nanautopsy.checkpoints.data_file import Handle

_WINDOW = 1 << 20
_LONGEST_LINE = 16 << 20


class EndOfBytes(Exception):
    """The input ends where the pickle does not."""


class Window:
    """Reads forward from ``begin``, never past ``end``; only the current window is held."""

    def __init__(self, handle: Handle, begin: int, end: int) -> None:
        handle.seek(begin)
        self._handle = handle
        self._end = end
        self.base = begin
        """Byte of the file at which ``block`` starts."""
        self.block = b""
        self.at = 0
        """Where in ``block`` the next byte is."""

    @property
    def offset(self) -> int:
        """Byte of the file that comes next."""
        return self.base + self.at

    def fill(self, wanted: int) -> None:
        """Have ``wanted`` bytes in ``block`` from ``at`` on, or raise :class:`EndOfBytes`."""
        if wanted > self._end - self.offset:
            raise EndOfBytes
        kept = [self.block[self.at :]]
        self.base, self.at = self.offset, 0
        have = len(kept[0])
        while have < wanted:
            room = self._end - self.base - have
            block = self._handle.read(min(room, max(_WINDOW, min(wanted - have, 16 * _WINDOW))))
            if not block:
                self.block = b"".join(kept)
                raise EndOfBytes
            kept.append(block)
            have += len(block)
        self.block = b"".join(kept)

    def take(self, count: int) -> bytes:
        """The next ``count`` bytes."""
        end = self.at + count
        if end > len(self.block):
            self.fill(count)
            end = count
        taken = self.block[self.at : end]
        self.at = end
        return taken

    def line(self) -> bytes:
        """What comes before the next newline, which is passed."""
        while (end := self.block.find(b"\n", self.at)) < 0:
            have = len(self.block) - self.at
            if have > _LONGEST_LINE:
                raise EndOfBytes
            self.fill(have + 1)
        taken = self.block[self.at : end]
        self.at = end + 1
        return taken

    def skip(self, count: int) -> None:
        """Pass ``count`` bytes without reading them."""
        if count > self._end - self.offset:
            raise EndOfBytes
        if self.at + count <= len(self.block):
            self.at += count
            return
        self.base, self.block, self.at = self.offset + count, b"", 0
        self._handle.seek(self.base)
