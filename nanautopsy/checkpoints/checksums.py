"""Whether absurd numbers of a checkpoint are what was written: the CRC-32 of the archive's members.

``torch.save`` writes the checksum of every member, and ``torch.load`` checks none. All of a file is
too much to sum up; the storages that hold a few absurd or non-finite numbers are not.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from statistics import median_low

from nanautopsy import thresholds
from nanautopsy.checkpoints._safetensors_header import quote
from nanautopsy.checkpoints.data_file import BLOCK_BYTES, Handle
from nanautopsy.checkpoints.stored import StoredCheckpoint, StoredTensor
from nanautopsy.checkpoints.torch_parts.zip import Archive, BadZip, Member, read_archive
from nanautopsy.model import Problem, Source, TensorHealth
from nanautopsy.wording import phrase

_MOST_TENSORS = 4
_MOST_BYTES = 256 << 20
"""Of one member: a second of reading."""


def broken_checksums(
    stored: StoredCheckpoint, measured: Sequence[TensorHealth | Problem]
) -> list[Problem]:
    """One problem for each suspicious tensor whose bytes are not those that were written."""
    if stored.kind != "torch":
        return []
    healths = [m for m in measured if isinstance(m, TensorHealth)]
    wanted = {t.name for t in _suspicious(healths)}
    problems = []
    for tensor in [t for t in stored.tensors if t.name in wanted][:_MOST_TENSORS]:
        try:
            if _differs(tensor):
                problems.append(_problem(tensor))
        except (BadZip, OSError):
            return problems
    return problems


def _suspicious(tensors: Sequence[TensorHealth]) -> list[TensorHealth]:
    """Those with a handful of non-finite elements, or with an absurd magnitude."""
    sizes = [t.max_abs for t in tensors if t.max_abs and t.format_max is not None]
    usual = median_low(sizes) if sizes else 0.0
    return [
        t
        for t in tensors
        if t.format_max is not None
        and (
            0 < t.nonfinite <= min(thresholds.HANDFUL, t.numel - 1)
            or (t.max_abs or 0.0) >= thresholds.ABSURD_WEIGHT * usual > 0
        )
    ]


def _differs(tensor: StoredTensor) -> bool:
    if not tensor.pieces:
        return False
    piece = tensor.pieces[0]
    archive = read_archive(piece.file)
    with piece.file.open() as handle:
        own = _member_at(archive, piece.offset, handle)
        if own is None or own.stored > _MOST_BYTES or _is_sound(archive, own, handle):
            return False
        # A writer that sums up nothing leaves every checksum wrong.
        others = sorted((m for m in archive.members.values() if m is not own), key=_size)
        return any(_is_sound(archive, other, handle) for other in others[:3])


def _size(member: Member) -> int:
    return member.stored or _MOST_BYTES


def _member_at(archive: Archive, offset: int, handle: Handle) -> Member | None:
    for member in archive.members.values():
        if member.method == 0 and member.header <= offset:
            start = archive.start_of(member, handle)
            if start <= offset < start + member.stored:
                return member
    return None


def _is_sound(archive: Archive, member: Member, handle: Handle) -> bool:
    """Whether the content has the checksum that is stated, where one is."""
    if member.crc is None or member.method != 0:
        return False
    handle.seek(archive.start_of(member, handle))
    left, crc = member.stored, 0
    while left > 0:
        block = handle.read(min(left, BLOCK_BYTES))
        if not block:
            return False
        crc, left = zlib.crc32(block, crc), left - len(block)
    return crc == member.crc


def _problem(tensor: StoredTensor) -> Problem:
    piece = tensor.pieces[0]
    return Problem(
        phrase(
            "tensor {name}: its bytes do not have the checksum with which they were written",
            name=quote(tensor.name),
        ),
        Source(piece.file.path, tensor=tensor.name),
    )
