"""Writing TensorBoard event files with TensorBoard's own messages and checksum."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c

HEADER_EVENT = Event(wall_time=1.7e9, file_version="brain.Event:2")


def frame(payload: bytes) -> bytes:
    """One TFRecord."""
    length = struct.pack("<Q", len(payload))
    return b"".join(
        [length, _crc(length), payload, _crc(payload)],
    )


def _crc(data: bytes) -> bytes:
    return struct.pack("<I", masked_crc32c(data))


def scalar(tag: str, step: int, value: float, time: float = 1.7e9) -> Any:
    """An old-style scalar event."""
    event = Event(wall_time=time, step=step)
    event.summary.value.add(tag=tag, simple_value=value)
    return event


def event_file(events: Iterable[Any]) -> bytes:
    """A whole file, with its version header."""
    return b"".join(frame(event.SerializeToString()) for event in (HEADER_EVENT, *events))
