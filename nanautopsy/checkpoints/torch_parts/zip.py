"""Where the members of a zip archive lie, intact or cut short; nothing is ever extracted.

Layout: PKWARE's APPNOTE 6.3, sections 4.3 to 4.5. ``torch.save`` stores its members uncompressed.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field
from itertools import pairwise

from nanautopsy.checkpoints.data_file import DataFile, Handle, MemoryFile
from nanautopsy.checkpoints.torch_parts.salvage import LOCAL, LOCAL_HEADER, STREAMED, walk

_CENTRAL = b"PK\x01\x02"
_CENTRAL_HEADER = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_END64_LOCATOR = struct.Struct("<4sIQI")
_END64 = struct.Struct("<4sQ2H2I4Q")
_MOST_DIRECTORY_BYTES = 256 << 20
_MOST_MEMBERS = 1_000_000
_LONGEST_NAME = 4096
_ALIGNMENT = 64
_MOST_PADDING = _ALIGNMENT + 32
"""Bytes of padding and of a zip64 field behind a member's name."""
_MOST_INFLATED = 64 << 20
"""Bytes of a compressed pickle; torch compresses none."""


class BadZip(ValueError):
    """The archive cannot be read; the text says why."""


@dataclass(slots=True)
class Member:
    """One member, as its headers describe it."""

    name: str
    header: int
    """Byte of the file at which its local header starts."""
    stored: int
    """Bytes that it takes in the file."""
    size: int
    """Bytes of its content."""
    method: int
    """0: stored as it is."""
    data: int | None = None
    """Byte of the file at which its content starts, where that is known already."""
    streamed: bool = False
    """A data descriptor follows the content."""
    crc: int | None = None
    """CRC-32 of the content, where the central directory was read."""


@dataclass(slots=True)
class Archive:
    """The members of one archive in the range [begin, end) of a file."""

    file: DataFile
    begin: int
    end: int
    members: dict[str, Member] = field(default_factory=dict)
    """By full name; of several with one name the last, as Python's zipfile takes it."""
    twice: list[Member] = field(default_factory=list)
    """Members hidden behind a later one of the same name."""
    problems: list[tuple[str, int]] = field(default_factory=list)
    """(text, byte of the file)."""

    def add(self, member: Member) -> None:
        """List a member."""
        hidden = self.members.get(member.name)
        if hidden is not None:
            self.twice.append(hidden)
            if len(self.twice) == 1:
                text = f"the archive names {member.name[:200]!r} more than once"
                self.problems.append((text, member.header))
        self.members[member.name] = member

    def start_of(self, member: Member, handle: Handle) -> int:
        """Byte of the file at which the content starts. Raises :class:`BadZip`."""
        if member.data is None:
            handle.seek(member.header)
            head = handle.read(LOCAL_HEADER.size) or b""
            if len(head) < LOCAL_HEADER.size or head[:4] != LOCAL:
                raise BadZip(f"no member starts at byte {member.header}")
            name_size, extra_size = LOCAL_HEADER.unpack(head)[9:]
            member.data = member.header + LOCAL_HEADER.size + name_size + extra_size
        return member.data

    def content(self, member: Member) -> tuple[DataFile, int, int]:
        """(file, begin, end) of a member's content, inflated into memory where it is deflated.

        Raises :class:`BadZip`, and ``OSError`` when the file cannot be read.
        """
        label = f"member {member.name[:200]!r}"
        with self.file.open() as handle:
            start = self.start_of(member, handle)
            if member.method == 0:
                return self.file, start, min(start + member.stored, self.end)
            if member.method != 8:
                raise BadZip(
                    f"member {member.name[:200]!r} is compressed by method {member.method}"
                )
            handle.seek(start)
            packed = handle.read(min(member.stored, _MOST_INFLATED)) or b""
        inflater = zlib.decompressobj(-15)
        try:
            data = inflater.decompress(packed, _MOST_INFLATED)
        except zlib.error as error:
            raise BadZip(f"{label} cannot be inflated: {error}") from None
        if inflater.unconsumed_tail:
            raise BadZip(
                f"member {member.name[:200]!r} inflates to more than {_MOST_INFLATED} bytes"
            )
        return MemoryFile(self.file.path, data), 0, len(data)


def read_archive(file: DataFile, begin: int = 0, end: int | None = None) -> Archive:
    """List the members. Raises :class:`BadZip` when there is none, ``OSError`` from the file."""
    archive = Archive(file, begin, file.size if end is None else min(end, file.size))
    with file.open() as handle:
        try:
            _read_directory(archive, handle)
        except BadZip as error:
            archive.members.clear()
            archive.twice.clear()
            archive.problems.append((f"{error}; members are found one after the other", begin))
            for found in walk(handle, archive.begin, archive.end, _MOST_MEMBERS):
                archive.add(
                    Member(
                        found.name,
                        found.header,
                        found.stored,
                        found.size,
                        found.method,
                        found.data,
                    )
                )
    if not archive.members:
        raise BadZip("no member of the archive can be found")
    return archive


# --- the central directory ----------------------------------------------------------------------


def _read_directory(archive: Archive, handle: Handle) -> None:
    offset, size, count, shift = _find_directory(archive, handle)
    if size > _MOST_DIRECTORY_BYTES or count > _MOST_MEMBERS:
        raise BadZip(f"the archive claims {count} members in {size} bytes of directory")
    handle.seek(offset)
    table = handle.read(size) or b""
    at = 0
    while at + _CENTRAL_HEADER.size <= len(table) and table[at : at + 4] == _CENTRAL:
        member, at = _central_entry(table, at, shift)
        if member.header + member.stored > archive.end or member.header < archive.begin:
            text = f"member {member.name[:200]!r} lies outside the file"
            archive.problems.append((text, offset + at))
        else:
            archive.add(member)
    if not archive.members:
        raise BadZip("the archive's directory is damaged")
    _check_overlaps(archive)
    _place_contents(archive)


def _find_directory(archive: Archive, handle: Handle) -> tuple[int, int, int, int]:
    """(first byte, bytes, members, what to add to each offset) of the central directory."""
    tail_size = min(archive.end - archive.begin, _END.size + 65535)
    tail_start = archive.end - tail_size
    handle.seek(tail_start)
    tail = handle.read(tail_size) or b""
    found = tail.rfind(b"PK\x05\x06")
    if found < 0 or len(tail) - found < _END.size:
        raise BadZip("the archive's directory is missing: the file was cut short")
    _, _, _, _, count, size, offset, _ = _END.unpack_from(tail, found)
    end = tail_start + found
    locator = found - _END64_LOCATOR.size
    if locator >= 0 and tail[locator : locator + 4] == b"PK\x06\x07":
        end64 = _END64_LOCATOR.unpack_from(tail, locator)[2] + archive.begin
        handle.seek(min(end64, archive.end))
        record = handle.read(_END64.size) or b""
        if len(record) == _END64.size and record[:4] == b"PK\x06\x06":
            count, size, offset = _END64.unpack(record)[7:]
            end = end64
    start = end - size
    if start < archive.begin:
        raise BadZip("the archive's directory is damaged")
    # Something may stand before the archive, or the archive within something.
    return start, size, count, start - offset


def _central_entry(table: bytes, at: int, shift: int) -> tuple[Member, int]:
    fields = _CENTRAL_HEADER.unpack_from(table, at)
    method, stored, size = fields[4], fields[8], fields[9]
    name_size, extra_size, comment_size, header = fields[10], fields[11], fields[12], fields[16]
    at += _CENTRAL_HEADER.size
    name = table[at : at + min(name_size, _LONGEST_NAME)].decode("utf-8", "backslashreplace")
    extra = table[at + name_size : at + name_size + extra_size]
    if 0xFFFFFFFF in (stored, size, header):
        size, stored, header = _zip64(extra, size, stored, header)
    at += name_size + extra_size + comment_size
    streamed = bool(fields[3] & STREAMED)
    return Member(name, header + shift, stored, size, method, streamed=streamed, crc=fields[7]), at


def _zip64(extra: bytes, size: int, stored: int, header: int) -> tuple[int, int, int]:
    """The numbers that did not fit into 32 bits, in the order in which they are kept."""
    values = [size, stored, header]
    at = 0
    while at + 4 <= len(extra):
        tag, length = struct.unpack_from("<HH", extra, at)
        body = extra[at + 4 : at + 4 + length]
        if tag == 1:
            numbers = iter(struct.unpack(f"<{len(body) // 8}Q", body[: len(body) // 8 * 8]))
            values = [next(numbers, v) if v == 0xFFFFFFFF else v for v in values]
            break
        at += 4 + length
    return values[0], values[1], values[2]


def _place_contents(archive: Archive) -> None:
    """Say where contents start, as far as the directory alone proves it.

    ``torch.save`` aligns every content to 64 bytes, counted from its first header (the archive may
    lie within a file), and ends it with a data descriptor, which others do not
    (NumPy). A place that fits its own header in front and the next header behind is the right
    one, and a read of each local header is saved: far away, a request each.
    """
    members = sorted((*archive.members.values(), *archive.twice), key=lambda m: m.header)
    for member, following in pairwise(members):
        if not member.streamed:
            continue
        earliest = member.header + LOCAL_HEADER.size + len(member.name.encode())
        for descriptor in (16, 24):
            start = following.header - descriptor - member.stored
            is_aligned = (start - members[0].header) % _ALIGNMENT == 0
            if is_aligned and 0 <= start - earliest < _MOST_PADDING:
                member.data = start


def _check_overlaps(archive: Archive) -> None:
    reached, last = archive.begin, ""
    for member in sorted((*archive.members.values(), *archive.twice), key=lambda m: m.header):
        if member.header < reached and member.stored:
            text = f"members {last[:200]!r} and {member.name[:200]!r} overlap"
            archive.problems.append((text, member.header))
            return
        if member.header + member.stored > reached:
            reached, last = member.header + member.stored, member.name
