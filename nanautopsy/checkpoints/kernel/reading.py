"""Files opened once and asked for bytes, by number."""

from __future__ import annotations

from nanautopsy.checkpoints.data_file import DataFile, Handle, MemoryFile


class Unreadable(OSError):
    """A file gave no bytes; the text says why."""


class Files:
    """The files of some tensors, each under a number of its own."""

    def __init__(self) -> None:
        self._numbers: dict[int, int] = {}
        self._equal: dict[object, int] = {}
        self._files: list[DataFile] = []
        self._sizes: list[int | str] = []

    def number(self, file: DataFile) -> int:
        """The number of a file; equal files have the same."""
        number = self._numbers.get(id(file))
        if number is None:
            # The bytes of a file in memory are neither hashed nor compared.
            key = (id(file.data), file.path) if isinstance(file, MemoryFile) else file
            try:
                number = self._equal.setdefault(key, len(self._files))
            except TypeError:
                number = len(self._files)
            if number == len(self._files):
                self._add(file)
            # The tensors hold the file, so that its id stays its own.
            self._numbers[id(file)] = number
        return number

    def _add(self, file: DataFile) -> None:
        self._files.append(file)
        try:
            self._sizes.append(file.size)
        except Exception as error:  # files may be any library's, far away
            self._sizes.append(reason(error))

    def size(self, number: int) -> int:
        """Bytes. Raises :class:`Unreadable`."""
        size = self._sizes[number]
        if isinstance(size, str):
            raise Unreadable(size)
        return size

    def open(self, number: int) -> Handle:
        """A new handle. May raise anything."""
        return self._files[number].open()


class Reader:
    """Reads from one file after the other; for one thread."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._number = -1
        self._handle: Handle | None = None

    def read(self, number: int, offset: int, buffer: memoryview) -> None:
        """Fill the buffer. Raises :class:`Unreadable`, also where the file ends too early."""
        try:
            if self._handle is None or number != self._number:
                self.close()
                self._handle, self._number = self._files.open(number), number
            self._handle.seek(offset)
            done = 0
            while done < len(buffer):
                got = self._handle.readinto(buffer[done:])
                if not got:
                    raise Unreadable(f"the file ends at byte {offset + done}")
                done += got
        except Unreadable:
            raise
        except Exception as error:  # files may be any library's, far away
            raise Unreadable(reason(error)) from error

    def close(self) -> None:
        """Close what is open."""
        handle, self._handle = self._handle, None
        if handle is not None:
            handle.__exit__(None, None, None)


def reason(error: Exception) -> str:
    """One line on why a file could not be read."""
    text = (isinstance(error, OSError) and error.strerror) or f"{type(error).__name__}: {error}"
    return " ".join(text.split())[:300]
