"""What a pickle would do to whoever loads it: said, never done.

A pickle is a program. Reading it as data (:mod:`.pickle_data`) runs none of it; here the names of
what it wanted to call are compared with those that give away the machine. Names that are only
mentioned count too: a function can be handed to another one. An unknown class or function raises
no alarm, since checkpoints are full of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from nanautopsy.checkpoints.pickle_data import BytesAt, Call, Global, Unpickled
from nanautopsy.checkpoints.pickles.danger_tables import (
    BUILTIN_NAMES,
    BUILTINS,
    CODE,
    DUNDERS,
    HARMLESS,
    MODULES,
    MODULES_BEHIND,
    PATTERNS,
    VERBS,
)
from nanautopsy.wording import phrase

_LONGEST_ARGUMENT = 60
_MOST_ARGUMENTS = 3


def dangers(pickles: Iterable[Unpickled]) -> Iterator[tuple[str, int]]:
    """(what a pickle tries to do, byte of its file), each name once."""
    said: set[str] = set()
    for pickle in pickles:
        for text, offset, key in _of_pickle(pickle):
            if key not in said:
                said.add(key)
                yield text, offset


def is_dangerous(name: Global, called: bool = True) -> bool:
    """Whether calling it, or handing it to what calls it, gives away the machine."""
    attributes = name.name.split(".")
    if not DUNDERS.isdisjoint(attributes) or not MODULES_BEHIND.isdisjoint(attributes):
        return True
    if name.module in BUILTINS:
        return attributes[0] in BUILTIN_NAMES
    path = str(name)
    if _inside(path, HARMLESS):
        return False
    if _inside(path, MODULES) or any(pattern.fullmatch(path) for pattern in PATTERNS):
        return True
    return called and attributes[-1] in VERBS


def _of_pickle(pickle: Unpickled) -> Iterator[tuple[str, int, str]]:
    for name, use in pickle.uses.items():
        if _inside(str(name), CODE):
            text = phrase("this file carries program code, by {name}", name=_printable(str(name)))
            yield text, use.offset, "code"
        elif is_dangerous(name, use.calls > 0 or name.module == _OBJECT):
            offset, text = use.offset, phrase("this file refers to {name}", name=_shown(name))
            if use.samples:
                offset, args = use.samples[0]
                text = phrase(
                    "this file tries to call {name}({arguments})",
                    name=_shown(name),
                    arguments=_arguments(args),
                )
            yield text, offset, str(name)
    for offset, function, args in pickle.computed:
        if isinstance(function, (Call, BytesAt)):
            what = _shown(function)
            text = phrase(
                "this file tries to call what {name} returns, with ({arguments})",
                name=what,
                arguments=_arguments(args),
            )
            yield text, offset, what
    for offset, name in pickle.patched:
        text = phrase("this file tries to change {name}", name=_shown(name))
        yield text, offset, f"{name} changed"


_OBJECT = "<object>"
"""What stands for the module where an attribute of an object is looked up."""


def _inside(path: str, names: frozenset[str]) -> bool:
    """Whether ``path`` or anything that it lies in is one of ``names``."""
    while path:
        if path in names:
            return True
        path = path.rpartition(".")[0]
    return False


# --- for the message ----------------------------------------------------------------------------


def _arguments(args: tuple[Any, ...]) -> str:
    shown = [_shown(value) for value in args[:_MOST_ARGUMENTS]]
    return ", ".join(shown + ["..."] * (len(args) > _MOST_ARGUMENTS))


def _shown(value: Any) -> str:
    """One argument on one short line."""
    if isinstance(value, Global):
        return _printable(str(value))
    if isinstance(value, Call):
        inner = value.function
        return (_printable(str(inner)) if isinstance(inner, Global) else "a call") + "(...)"
    if isinstance(value, (str, bytes)):
        return _cut(repr(value[:_LONGEST_ARGUMENT]), len(value) > _LONGEST_ARGUMENT)
    if value is None or isinstance(value, (bool, float)):
        return repr(value)
    if isinstance(value, int):
        return repr(value) if abs(value) < 10**18 else "a large number"
    if isinstance(value, BytesAt):
        return f"{value.size} bytes"
    if isinstance(value, (list, tuple)) and value and isinstance(value[0], (str, bytes, Global)):
        more = ", ..." if len(value) > 1 else ""
        return f"[{_shown(value[0])}{more}]"
    return f"a {type(value).__name__}"


def _printable(text: str) -> str:
    return _cut("".join(c if c.isprintable() else "?" for c in text[:200]), len(text) > 200)


def _cut(text: str, was_longer: bool) -> str:
    return text + "..." if was_longer else text
