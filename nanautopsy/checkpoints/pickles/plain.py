"""Calls that only make plain data: done here by hand, so that a reader meets Python's own types.

Nothing that the pickle names is looked up: each of these functions is ours.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

from nanautopsy.checkpoints.pickles.records import BytesAt, Call, Global, Lost, OddKey, PersistentId

_SMALL_INT = 1 << 60
"""From here on integers can be made to share one hash, which makes a dictionary crawl."""
_KEY_ITEMS = 64
_HASHABLE = frozenset(
    {str, bytes, bool, float, complex, type(None), Global, Call, PersistentId, Lost, OddKey}
    | {BytesAt, frozenset}
)

Maker: TypeAlias = Callable[[tuple[Any, ...]], Any]
NOT_PLAIN = object()
"""What a maker returns for arguments that it does not understand."""


def as_key(value: Any) -> Any:
    """``value`` if a dictionary may hold it as a key, else an :class:`OddKey` around it."""
    kind = type(value)
    if kind is str or kind in _HASHABLE:
        return value
    if kind is int:
        return value if -_SMALL_INT < value < _SMALL_INT else OddKey(value)
    # Hashing a tuple goes down into it without a limit.
    if kind is tuple and len(value) <= _KEY_ITEMS and all(map(_is_simple, value)):
        return value
    return OddKey(value)


def _is_simple(value: Any) -> bool:
    if type(value) is tuple:
        return len(value) <= _KEY_ITEMS and all(type(item) in _IN_TUPLE for item in value)
    return type(value) in _IN_TUPLE


_IN_TUPLE = _HASHABLE | {int}


def set_pairs(target: dict[Any, Any], pairs: Iterable[tuple[Any, Any]]) -> None:
    """Assign each pair, whatever its key is."""
    for key, value in pairs:
        target[as_key(key)] = value


def _ordered_dict(args: tuple[Any, ...]) -> Any:
    if not args:
        return {}
    source = args[0]
    if isinstance(source, dict):
        return dict(source)
    if isinstance(source, (list, tuple)) and all(
        isinstance(pair, (list, tuple)) and len(pair) == 2 for pair in source
    ):
        made: dict[Any, Any] = {}
        set_pairs(made, ((pair[0], pair[1]) for pair in source))
        return made
    return NOT_PLAIN


def _default_dict(args: tuple[Any, ...]) -> Any:
    return {} if len(args) <= 1 else _ordered_dict(args[1:])


def _sequence(args: tuple[Any, ...]) -> Any:
    if not args:
        return []
    return list(args[0]) if isinstance(args[0], (list, tuple, set, frozenset)) else NOT_PLAIN


def _tuple(args: tuple[Any, ...]) -> Any:
    made = _sequence(args)
    return made if made is NOT_PLAIN else tuple(made)


def _set(args: tuple[Any, ...]) -> Any:
    made = _sequence(args)
    return made if made is NOT_PLAIN else set(map(as_key, made))


def _frozenset(args: tuple[Any, ...]) -> Any:
    made = _set(args)
    return made if made is NOT_PLAIN else frozenset(made)


def _encoded(args: tuple[Any, ...]) -> Any:
    """``_codecs.encode(text, 'latin1')``: how protocol 2 spells bytes."""
    if not args or not isinstance(args[0], str):
        return NOT_PLAIN
    coding = str(args[1]).lower().replace("-", "").replace("_", "") if len(args) > 1 else "utf8"
    if coding not in ("latin1", "iso88591", "utf8", "ascii"):
        return NOT_PLAIN
    try:
        return args[0].encode("latin-1" if coding in ("latin1", "iso88591") else "utf-8")
    except UnicodeError:
        return NOT_PLAIN


def _bytes(args: tuple[Any, ...]) -> Any:
    if not args:
        return b""
    value = args[0]
    if isinstance(value, BytesAt):
        return value
    if isinstance(value, str) and len(args) > 1:
        return _encoded(args)
    if isinstance(value, (bytes, bytearray)):
        return bytes(value)
    if isinstance(value, (list, tuple)) and all(type(n) is int and 0 <= n < 256 for n in value):
        return bytes(value)
    return NOT_PLAIN


def _number(kind: type[Any]) -> Maker:
    def make(args: tuple[Any, ...]) -> Any:
        if not args:
            return kind()
        if all(isinstance(part, (int, float)) and abs(part) < 1e300 for part in args):
            try:
                return kind(*args)
            except (ValueError, TypeError, OverflowError):
                return NOT_PLAIN
        return args[0] if type(args[0]) is kind and len(args) == 1 else NOT_PLAIN

    return make


def _text(args: tuple[Any, ...]) -> Any:
    if not args:
        return ""
    return args[0] if len(args) == 1 and isinstance(args[0], str) else NOT_PLAIN


def _path(args: tuple[Any, ...]) -> Any:
    if not all(isinstance(part, str) for part in args):
        return NOT_PLAIN
    return "/".join(part.rstrip("/") or part for part in args).replace("//", "/") or "."


def _moment(args: tuple[Any, ...]) -> Any:
    """``datetime.datetime`` from its ten packed bytes, as ISO text."""
    packed = args[0] if args else None
    if isinstance(packed, str):
        packed = packed.encode("latin-1", "replace")
    try:
        if isinstance(packed, bytes) and len(packed) == 10:
            month = packed[2] & 0x7F  # the highest bit says "second of two equal hours"
            microsecond = int.from_bytes(packed[7:10], "big")
            year = int.from_bytes(packed[:2], "big")
            day, hour, minute, second = packed[3:7]
            when = datetime.datetime(year, month, day, hour, minute, second, microsecond)
            return when.isoformat()
        if isinstance(packed, bytes) and len(packed) == 4:
            year = int.from_bytes(packed[:2], "big")
            return datetime.date(year, packed[2], packed[3]).isoformat()
    except ValueError:
        pass
    return NOT_PLAIN


def _reconstructed(args: tuple[Any, ...]) -> Any:
    """``copyreg._reconstructor(cls, base, state)``: what protocols 0 and 1 say for an instance."""
    if len(args) != 3 or not isinstance(args[0], Global):
        return NOT_PLAIN
    cls, base, state = args
    if PLAIN.get(str(cls)) is not None:
        return PLAIN[str(cls)](() if state is None else (state,))
    made = Call(cls, () if state is None else (state,))
    if isinstance(base, Global) and isinstance(state, dict):
        made.args, made.pairs = (), list(state.items())
    elif isinstance(base, Global) and isinstance(state, (list, tuple)):
        made.args, made.items = (), list(state)
    return made


def _new_object(args: tuple[Any, ...]) -> Any:
    return Call(args[0], tuple(args[1:])) if args else NOT_PLAIN


def _new_object_ex(args: tuple[Any, ...]) -> Any:
    if len(args) != 3 or not isinstance(args[1], tuple) or not isinstance(args[2], dict):
        return NOT_PLAIN
    return Call(args[0], args[1], args[2])


_BUILTINS: Mapping[str, Maker] = {
    "list": _sequence,
    "tuple": _tuple,
    "set": _set,
    "frozenset": _frozenset,
    "dict": _ordered_dict,
    "bytes": _bytes,
    "bytearray": _bytes,
    "int": _number(int),
    "long": _number(int),
    "float": _number(float),
    "bool": _number(bool),
    "complex": _number(complex),
    "str": _text,
    "unicode": _text,
}
PLAIN: Mapping[str, Maker] = {
    **{f"builtins.{name}": maker for name, maker in _BUILTINS.items()},
    **{f"__builtin__.{name}": maker for name, maker in _BUILTINS.items()},
    "collections.OrderedDict": _ordered_dict,
    "collections.defaultdict": _default_dict,
    "collections.deque": _sequence,
    "torch.Size": _tuple,
    "_codecs.encode": _encoded,
    **{
        f"{module}.{name}Path": _path
        for module in ("pathlib", "pathlib._local")
        for name in ("Posix", "Windows", "PurePosix", "PureWindows", "", "Pure")
    },
    "datetime.datetime": _moment,
    "datetime.date": _moment,
    **{
        f"{module}.{name}": maker
        for module in ("copyreg", "copy_reg")
        for name, maker in (
            ("_reconstructor", _reconstructed),
            ("__newobj__", _new_object),
            ("__newobj_ex__", _new_object_ex),
        )
    },
}
"""Dotted name to the function that makes the same from the same arguments."""
