"""Bytes that changed since an archive was written."""

from __future__ import annotations

import io
import zipfile
from dataclasses import replace

import numpy as np
from builders import tensor

from nanautopsy.checkpoints.checksums import broken_checksums
from nanautopsy.checkpoints.data_file import MemoryFile
from nanautopsy.checkpoints.stored import Piece, StoredCheckpoint, StoredTensor

VALUES = np.linspace(0.1, 0.4, 16, dtype=np.float32)
HIT = tensor("w", max_abs=1e30, rms=2.5e29)


def archive(*, flipped: bool, summed: bool = True) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as target:
        target.writestr("m/version", b"3\n")
        target.writestr("m/data/0", VALUES.tobytes())
    raw = bytearray(buffer.getvalue())
    at = raw.find(VALUES.tobytes())
    if flipped:
        raw[at + 7] ^= 0x40
    if not summed:  # a writer that leaves all checksums out
        for name in (b"m/version", b"m/data/0"):
            entry = raw.rfind(name) - 46
            raw[entry + 16 : entry + 20] = b"\xef\xbe\xad\xde"
    return bytes(raw)


def stored(data: bytes) -> StoredCheckpoint:
    start = data.find(VALUES.tobytes()[8:]) - 8
    piece = Piece(MemoryFile("m.pt", data), start, (4, 4))
    return StoredCheckpoint("m.pt", "torch", None, (StoredTensor("w", "F32", (4, 4), (piece,)),))


def test_a_bit_that_flipped_in_the_file() -> None:
    others = [tensor("a"), tensor("b")]
    (problem,) = broken_checksums(stored(archive(flipped=True)), [HIT, *others])
    assert "'w'" in problem.text and "checksum" in problem.text
    assert not broken_checksums(stored(archive(flipped=False)), [HIT, *others])


def test_what_is_ordinary_is_not_summed_up() -> None:
    data = stored(archive(flipped=True))
    assert not broken_checksums(data, [tensor("w"), tensor("a"), tensor("b")])


def test_a_writer_that_sums_up_nothing() -> None:
    data = stored(archive(flipped=True, summed=False))
    assert not broken_checksums(data, [HIT, tensor("a"), tensor("b")])


def test_other_containers_state_none() -> None:
    data = replace(stored(archive(flipped=True)), kind="npz")
    assert not broken_checksums(data, [HIT, tensor("a"), tensor("b")])
