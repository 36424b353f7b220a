"""What each pickle opcode does to a :class:`Machine`, as ``pickletools`` documents them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from nanautopsy.checkpoints.pickles.literals import (
    Operation,
    binint1,
    binunicode,
    byte_string,
    counted,
    decimal,
    float_line,
    long_number,
    packed,
    python2_string,
    quoted,
    raw_unicode,
    text,
)
from nanautopsy.checkpoints.pickles.machine import Broken, Machine, Stopped
from nanautopsy.checkpoints.pickles.memo import (
    binget,
    long_binget,
    long_binput,
    memo_number,
    recall,
    remember,
)
from nanautopsy.checkpoints.pickles.plain import as_key
from nanautopsy.checkpoints.pickles.records import Lost


def _push(value: Any) -> Operation:
    return lambda machine: machine.stack.append(value)


# --- containers ---------------------------------------------------------------------------------


def _new(kind: Callable[[], Any]) -> Operation:
    def make(machine: Machine) -> None:
        machine.made()
        machine.stack.append(kind())

    return make


def _gathered(kind: Callable[[list[Any]], Any]) -> Operation:
    def make(machine: Machine) -> None:
        machine.made()
        items = machine.since_mark()
        machine.stack.append(kind(items))

    return make


def _short_tuple(count: int) -> Operation:
    def make(machine: Machine) -> None:
        machine.made()
        stack = machine.stack
        if len(stack) - count < (machine.marks[-1] if machine.marks else 0):
            raise Broken("takes an object from an empty stack")
        stack[-count:] = [tuple(stack[-count:])]

    return make


def _dict(machine: Machine) -> None:
    machine.made()
    items = machine.since_mark()
    machine.stack.append({})
    machine.assign(machine.stack[-1], items)


def _append(machine: Machine) -> None:
    item = machine.pop()
    machine.append(machine.top(), [item])


def _appends(machine: Machine) -> None:
    items = machine.since_mark()
    machine.append(machine.top(), items)


def _setitem(machine: Machine) -> None:
    value, key = machine.pop(), machine.pop()
    machine.assign(machine.top(), [key, value])


def _setitems(machine: Machine) -> None:
    items = machine.since_mark()
    machine.assign(machine.top(), items)


# --- stack and memo -----------------------------------------------------------------------------


def _mark(machine: Machine) -> None:
    machine.marks.append(len(machine.stack))


def _pop(machine: Machine) -> None:
    if machine.marks and machine.marks[-1] == len(machine.stack):
        machine.marks.pop()
    else:
        machine.pop()


def _pop_mark(machine: Machine) -> None:
    machine.since_mark()


def _dup(machine: Machine) -> None:
    machine.stack.append(machine.top())


# --- names and calls ----------------------------------------------------------------------------


def _global(machine: Machine) -> None:
    module = machine.line().decode("utf-8", "backslashreplace")
    name = machine.line().decode("utf-8", "backslashreplace")
    machine.stack.append(machine.name(module, name))


def _stack_global(machine: Machine) -> None:
    name, module = machine.pop(), machine.pop()
    machine.stack.append(machine.name(module, name))


def _reduce(machine: Machine) -> None:
    args, function = machine.pop(), machine.pop()
    machine.stack.append(machine.call(function, args))


def _new_object_ex(machine: Machine) -> None:
    kwargs, args, cls = machine.pop(), machine.pop(), machine.pop()
    kwargs = kwargs if isinstance(kwargs, dict) else {}
    machine.stack.append(machine.call(cls, args, kwargs or None))


def _inst(machine: Machine) -> None:
    _global(machine)
    cls = machine.stack.pop()
    machine.stack.append(machine.call(cls, tuple(machine.since_mark())))


def _obj(machine: Machine) -> None:
    items = machine.since_mark()
    if not items:
        raise Broken("makes an object of no class")
    machine.stack.append(machine.call(items[0], tuple(items[1:])))


def _build(machine: Machine) -> None:
    state = machine.pop()
    machine.build(state)


def _persistent(machine: Machine) -> None:
    machine.stack.append(machine.refer(machine.pop()))


def _persistent_text(machine: Machine) -> None:
    machine.stack.append(machine.refer(machine.line().decode("utf-8", "backslashreplace")))


def _extension(machine: Machine, code: int) -> None:
    machine.stack.append(machine.name("copyreg._extension_registry", str(code)))


def _buffer(machine: Machine) -> None:
    machine.note("refers to a buffer outside the file")
    machine.stack.append(Lost("a buffer outside the file"))


# --- the rest -----------------------------------------------------------------------------------


def _protocol(machine: Machine) -> None:
    version = machine.take(1)[0]
    if version > 5:
        machine.note(f"pickle protocol {version} is unknown")


def _nothing(machine: Machine) -> None:
    """READONLY_BUFFER changes nothing of what is read."""


def _frame(machine: Machine) -> None:
    machine.take(8)  # a frame only says how much to read at once


def _stop(machine: Machine) -> None:
    machine.stack = [machine.pop()]
    machine.marks.clear()
    raise Stopped


_NAMES: Mapping[str, Operation] = {
    "(": _mark,
    ".": _stop,
    "0": _pop,
    "1": _pop_mark,
    "2": _dup,
    "F": float_line,
    "G": packed(">d"),
    "I": decimal,
    "J": packed("<i"),
    "K": binint1,
    "L": decimal,
    "M": packed("<H"),
    "N": _push(None),
    "P": _persistent_text,
    "Q": _persistent,
    "R": _reduce,
    "S": quoted,
    "T": counted(4, python2_string),
    "U": counted(1, python2_string),
    "V": raw_unicode,
    "X": binunicode,
    "a": _append,
    "b": _build,
    "c": _global,
    "d": _dict,
    "}": _new(dict),
    "e": _appends,
    "g": lambda machine: recall(machine, memo_number(machine)),
    "h": binget,
    "j": long_binget,
    "i": _inst,
    "l": _gathered(list),
    "]": _new(list),
    "o": _obj,
    "p": lambda machine: remember(machine, memo_number(machine)),
    "q": counted(1, remember),
    "r": long_binput,
    "s": _setitem,
    "t": _gathered(tuple),
    ")": _push(()),
    "u": _setitems,
    "B": counted(4, byte_string),
    "C": counted(1, byte_string),
    "\x80": _protocol,
    "\x81": _reduce,
    "\x82": counted(1, _extension),
    "\x83": counted(2, _extension),
    "\x84": counted(4, _extension),
    "\x85": _short_tuple(1),
    "\x86": _short_tuple(2),
    "\x87": _short_tuple(3),
    "\x88": _push(True),
    "\x89": _push(False),
    "\x8a": counted(1, long_number),
    "\x8b": counted(4, long_number),
    "\x8c": counted(1, text),
    "\x8d": counted(8, text),
    "\x8e": counted(8, byte_string),
    "\x8f": _new(set),
    "\x90": _appends,
    "\x91": _gathered(lambda items: frozenset(map(as_key, items))),
    "\x92": _new_object_ex,
    "\x93": _stack_global,
    "\x94": lambda machine: remember(machine, len(machine.memo)),
    "\x95": _frame,
    "\x96": counted(8, byte_string),
    "\x97": _buffer,
    "\x98": _nothing,
}
OPCODES: Mapping[int, Operation] = {ord(code): operation for code, operation in _NAMES.items()}
"""Opcode to what it does."""
