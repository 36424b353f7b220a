"""The messages inside a ``.wandb`` file, read by field number.

Numbers from wandb ``proto/wandb_internal.proto`` and ``wandb_telemetry.proto``, 0.12 to 0.31;
what a number means has not changed between them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from nanautopsy.readers import _protowire as wire
from nanautopsy.readers._wandb_values import parse_json

HISTORY, SUMMARY, OUTPUT, CONFIG = 2, 3, 4, 5
TELEMETRY, METRIC, OUTPUT_RAW, RUN, EXIT, ENVIRONMENT = 10, 12, 13, 17, 18, 26
_WANTED = frozenset(
    {HISTORY, SUMMARY, OUTPUT, CONFIG, TELEMETRY, METRIC, OUTPUT_RAW, RUN, EXIT, ENVIRONMENT}
)
_MOST_ITEMS = 200_000


def record(payload: bytes) -> tuple[int, bytes] | None:
    """(kind, message) of a Record; ``None`` for a kind that is not read here.

    Raises :class:`~nanautopsy.readers._protowire.WireError`.
    """
    for number, kind, value in wire.fields(payload):
        if kind == wire.LEN and number in _WANTED:
            return number, wire.submessage(value)
    return None


def items(message: bytes, field: int = 1) -> dict[str, Any]:
    """The key-value items of a history, summary or config message as one nested mapping.

    Older versions hold nested values as JSON under one key, newer ones spread them over items
    with a path; both come out nested. An item whose JSON is broken is left out.
    """
    tree: dict[str, Any] = {}
    add_items(tree, message, field)
    return tree


def add_items(tree: dict[str, Any], message: bytes, field: int = 1) -> None:
    """Like :func:`items`, into ``tree``, which keeps what came before a broken field.

    Raises :class:`~nanautopsy.readers._protowire.WireError` there.
    """
    for count, (number, kind, value) in enumerate(wire.fields(message)):
        if number != field or kind != wire.LEN or count > _MOST_ITEMS:
            continue
        try:
            path, item = _item(wire.submessage(value))
        except ValueError:
            continue
        branch = tree
        for part in path[:-1]:
            below = branch.setdefault(part, {})
            if not isinstance(below, dict):
                below = branch[part] = {}
            branch = below
        if path:
            branch[path[-1]] = item


def _item(message: bytes) -> tuple[list[str], Any]:
    """(path, value) of a HistoryItem, SummaryItem or ConfigItem.

    Raises :class:`ValueError`. Fields 3 to 8 are the typed values that wandb 0.31 declares for
    history beside the JSON text.
    """
    key: str | None = None
    path: list[str] = []
    item: Any = None
    for number, _, value in wire.fields(message):
        if number == 16 or number == 8:
            item = parse_json(wire.text(value))
        elif number == 1:
            key = wire.text(value)
        elif number == 2:
            path.append(wire.text(value))
        elif number == 4:
            item = bool(wire.signed(value))
        elif number == 5:
            item = wire.zigzag(value)
        elif number == 6:
            item = wire.double(value)
        elif number == 7:
            item = wire.text(value)
    return path or ([] if key is None else [key]), item


def removed(message: bytes) -> Iterator[str]:
    """The top-level keys that a config message removes."""
    for number, kind, value in wire.fields(message):
        if number == 2 and kind == wire.LEN:
            path, _ = _item(wire.submessage(value))
            if len(path) == 1:
                yield path[0]


def numbers(message: bytes) -> dict[int, int]:
    """Field number to signed integer, of the varint fields."""
    return {n: wire.signed(v) for n, kind, v in wire.fields(message) if kind == wire.VARINT}


def texts(message: bytes) -> dict[int, list[str]]:
    """Field number to texts, of the length-delimited fields (messages come out as noise)."""
    found: dict[int, list[str]] = {}
    for number, kind, value in wire.fields(message):
        if kind == wire.LEN:
            found.setdefault(number, []).append(wire.text(value))
    return found


def parts(message: bytes, field: int) -> list[bytes]:
    """The sub-messages under one field number."""
    return [
        wire.submessage(value)
        for number, kind, value in wire.fields(message)
        if number == field and kind == wire.LEN
    ]


def timestamp(message: bytes) -> float:
    """A google.protobuf.Timestamp in seconds since the Unix epoch."""
    found = numbers(message)
    return found.get(1, 0) + found.get(2, 0) / 1e9
