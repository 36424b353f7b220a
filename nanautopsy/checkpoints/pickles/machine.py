"""The state of a pickle being read: stack, memo, limits, and what it was seen to do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import repeat
from typing import Any

from nanautopsy.checkpoints.data_file import Handle
from nanautopsy.checkpoints.pickles.plain import NOT_PLAIN, PLAIN, as_key, set_pairs
from nanautopsy.checkpoints.pickles.records import (
    SAMPLES,
    BytesAt,
    Call,
    Global,
    Lost,
    PersistentId,
    Use,
)
from nanautopsy.checkpoints.pickles.source import Window

MOST_OPCODES = 12_000_000
"""Two hundred thousand tensors take six million."""
_MOST_OBJECTS = 4_000_000
"""Containers, records and memo entries; two hundred thousand tensors make three million."""
_MOST_WORK = 64_000_000
"""Elements and bytes copied by calls that make plain data."""
MOST_TEXT = 256 << 20
"""Bytes of text and short byte strings together; an array in a protocol-2 pickle is text."""
_MOST_PROBLEMS = 20
_MOST_COMPUTED = 256
_LONGEST_NAME = 1000
LOADERS = ("_load_from_bytes", "loads")
"""How the functions are called that load a pickle from a byte string."""
_GETATTR = frozenset({Global("builtins", "getattr"), Global("__builtin__", "getattr")})


class Broken(Exception):
    """Reading cannot go on; the text says why."""


class Stopped(Exception):
    """STOP was reached."""


class Machine(Window):
    """Interprets opcodes; :mod:`.pickles.opcodes` holds what each of them does."""

    def __init__(self, handle: Handle, begin: int, end: int) -> None:
        super().__init__(handle, begin, end)
        self.stack: list[Any] = []
        self.marks: list[int] = []
        """Heights of the stack at which a MARK stands."""
        self.memo: dict[int, Any] = {}
        self.problems: list[tuple[str, int]] = []
        self.uses: dict[Global, Use] = {}
        self._names: dict[tuple[str, str], Global] = {}
        self._use_of: dict[int, Use] = {}
        """By ``id`` of the one record that there is of each name."""
        self.computed: list[tuple[int, Any, tuple[Any, ...]]] = []
        self.patched: list[tuple[int, Global]] = []
        self.references: list[PersistentId] = []
        self.embedded: list[tuple[Global, Any]] = []
        """(function, byte string) of calls that would load another pickle."""
        self.here = begin
        """Byte of the opcode in work."""
        self._objects = _MOST_OBJECTS
        self._work = _MOST_WORK
        self._text = MOST_TEXT

    def run(self, opcodes: Mapping[int, Callable[[Machine], None]]) -> None:
        """Read to STOP. Raises :class:`Broken` or ``EndOfBytes`` before it."""
        table = [opcodes.get(code) for code in range(256)]
        try:
            for _ in repeat(None, MOST_OPCODES):
                at = self.at
                if at >= len(self.block):
                    self.fill(1)
                    at = 0
                self.here = self.base + at
                code = self.block[at]
                self.at = at + 1
                operation = table[code]
                if operation is None:
                    self.at = at
                    raise Broken(f"byte 0x{code:02x} is no pickle opcode")
                operation(self)
        except Stopped:
            return
        raise Broken(f"more than {MOST_OPCODES} opcodes; the rest is not read")

    def note(self, text: str) -> None:
        """Remember a problem at the opcode in work."""
        if len(self.problems) < _MOST_PROBLEMS:
            self.problems.append((text, self.here))

    # --- limits -----------------------------------------------------------------------------

    def made(self, count: int = 1) -> None:
        """Account for new containers, records and memo entries."""
        self._objects -= count
        if self._objects < 0:
            raise Broken(f"more than {_MOST_OBJECTS} objects; the rest is not read")

    def has_room_for_text(self, size: int) -> bool:
        """Whether ``size`` more bytes of text may be held; accounts for them if so."""
        if size > self._text:
            return False
        self._text -= size
        return True

    def _charge(self, args: tuple[Any, ...]) -> None:
        for value in args:
            if isinstance(value, (list, tuple, dict, set, frozenset, str, bytes)):
                self._work -= len(value)
        if self._work < 0:
            raise Broken("copies the same data over and over; the rest is not read")

    # --- the stack --------------------------------------------------------------------------

    def pop(self) -> Any:
        """The topmost object, which must lie above the last MARK."""
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise Broken("takes an object from an empty stack")
        return self.stack.pop()

    def top(self) -> Any:
        """The topmost object, left where it is."""
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise Broken("uses an object of an empty stack")
        return self.stack[-1]

    def since_mark(self) -> list[Any]:
        """Take everything above the last MARK, and the MARK."""
        if not self.marks:
            raise Broken("uses a MARK that is not there")
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    # --- what the opcodes have in common ----------------------------------------------------

    def name(self, module: Any, name: Any) -> Global:
        """A class or function that the pickle names."""
        if not isinstance(module, str) or not isinstance(name, str):
            self.note("names a class or function by something that is no text")
            module, name = _as_name(module), _as_name(name)
        module, name = module[:_LONGEST_NAME], name[:_LONGEST_NAME]
        found = self._names.get((module, name))
        if found is None:
            self.made()
            found = self._names[module, name] = Global(module, name)
            use = self.uses[found] = Use(self.here)
            use.maker = PLAIN.get(str(found))
            use.is_getattr = found in _GETATTR
            use.is_loader = name.endswith(LOADERS)
            self._use_of[id(found)] = use
        return found

    def call(self, function: Any, args: Any, kwargs: dict[Any, Any] | None = None) -> Any:
        """What stands for the result of a call."""
        self.made()
        args = args if isinstance(args, tuple) else (args,)
        use = self._use_of.get(id(function))
        if use is None:
            if len(self.computed) < _MOST_COMPUTED:
                self.computed.append((self.here, function, args))
            return Call(function, args, kwargs)
        use.calls += 1
        if use.calls <= SAMPLES:
            use.samples.append((self.here, args))
        if use.is_getattr and len(args) >= 2 and isinstance(args[1], str):
            found = self._attribute(args[0], args[1])
            if found is not None:
                return found
        if use.is_loader and args and isinstance(args[0], (bytes, BytesAt)):
            self.embedded.append((function, args[0]))
        if use.maker is not None and kwargs is None:
            self._charge(args)
            made = use.maker(args)
            if made is not NOT_PLAIN:
                return made
        return Call(function, args, kwargs)

    def _attribute(self, owner: Any, attribute: str) -> Global | None:
        """A nested class, or the member of an enumeration; of an object it is only noted."""
        if isinstance(owner, Global) and len(owner.name) < _LONGEST_NAME:
            return self.name(owner.module, f"{owner.name}.{attribute}")
        self.name("<object>", attribute)
        return None

    def refer(self, value: Any) -> PersistentId | Global:
        """A reference to something outside the pickle."""
        if isinstance(value, tuple) and len(value) > 1 and value[0] == "module":
            if isinstance(value[1], Global):  # torch before 1.6: a class, with its source
                return value[1]
        self.made()
        reference = PersistentId(value)
        self.references.append(reference)
        return reference

    def append(self, target: Any, items: list[Any]) -> None:
        """APPEND, APPENDS and ADDITEMS."""
        if isinstance(target, list):
            target.extend(items)
        elif isinstance(target, set):
            target.update(map(as_key, items))
        elif isinstance(target, Call):
            target.items = _grown(target.items, items)
        elif not isinstance(target, Lost):
            self.note("appends to something that is no list")

    def assign(self, target: Any, items: list[Any]) -> None:
        """SETITEM and SETITEMS: keys and values in turn."""
        pairs: Iterable[tuple[Any, Any]] = zip(items[::2], items[1::2], strict=False)
        if isinstance(target, dict):
            set_pairs(target, pairs)
        elif isinstance(target, Call):
            target.pairs = _grown(target.pairs, pairs)
        elif isinstance(target, Global):
            self.patched.append((self.here, target))
        elif not isinstance(target, Lost):
            self.note("assigns to the keys of something that is no dictionary")

    def build(self, state: Any) -> None:
        """BUILD: set the state of the topmost object."""
        target = self.top()
        if isinstance(target, Call):
            if target.state is None:
                target.state = state
        elif isinstance(target, Global):
            self.patched.append((self.here, target))
        # An OrderedDict's attributes (_metadata) say nothing of the run.

    def result(self) -> Any:
        """The object; where the pickle stopped early, what it had built, put together."""
        while self.marks:
            items = self.since_mark()
            target = self.stack[-1] if self.stack else None
            if isinstance(target, dict):
                _assign_cut(target, items)
            elif isinstance(target, list):
                target.extend(items)
            elif isinstance(target, Global):
                self.stack[-1] = Lost("cut short inside the arguments of a call")
        if not self.stack:
            return Lost("nothing had been built")
        first, rest = self.stack[0], self.stack[1:]
        if isinstance(first, dict):
            _assign_cut(first, rest)
        elif isinstance(first, list):
            first.extend(rest[:1])
        elif isinstance(first, Call) and first.state is None and rest:
            first.state = rest[0]
        return first


def _grown(held: Sequence[Any], more: Iterable[Any]) -> list[Any]:
    """``held`` as a list, itself if it is one, with ``more`` behind it."""
    grown = held if isinstance(held, list) else list(held)
    grown.extend(more)
    return grown


def _assign_cut(target: dict[Any, Any], items: list[Any]) -> None:
    """Keys and values in turn, of which the last value may be in parts, or missing."""
    at = 0
    while at < len(items):
        key, value = as_key(items[at]), items[at + 1 : at + 2]
        after = items[at + 2 : at + 3]
        # A function that waits for its arguments, which are no key.
        if not value or (
            isinstance(value[0], Global) and not (after and isinstance(after[0], str))
        ):
            target[key] = Lost("cut short")
            return
        target[key] = value[0]
        if isinstance(value[0], Call) and after and isinstance(after[0], dict):
            value[0].state = value[0].state or after[0]
            return
        at += 2


def _as_name(value: Any) -> str:
    if isinstance(value, (str, int)) and not isinstance(value, bool):
        return str(value) if isinstance(value, str) or abs(value) < 10**18 else "?"
    if isinstance(value, bytes):
        return value[:_LONGEST_NAME].decode("utf-8", "backslashreplace")
    return str(value) if isinstance(value, Global) else "?"
