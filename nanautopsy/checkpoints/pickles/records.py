"""What stands in for everything in a pickle that is no plain Python data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Global:
    """A class or function that the pickle names. It is a name and nothing else."""

    module: str
    name: str
    """Dotted for a nested class."""

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(slots=True, eq=False)
class Call:
    """What a pickle says to make by calling something; nobody ever calls it.

    Instances of classes look like this too: ``function`` is then the class. The last three
    fields grow while the pickle is read, since others may already refer to the same object.
    """

    function: Any
    """A :class:`Global`, or what another record stands for."""
    args: tuple[Any, ...] = ()
    kwargs: dict[Any, Any] | None = None
    state: Any = None
    """Argument of BUILD: an object's ``__dict__``, or a tuple of it and its slots."""
    items: Sequence[Any] = ()
    """What the pickle appends or adds to the object."""
    pairs: Sequence[tuple[Any, Any]] = ()
    """What the pickle assigns to its keys."""

    @property
    def attributes(self) -> dict[Any, Any]:
        """``state`` as a mapping of attributes, slots included; empty where it is none."""
        if isinstance(self.state, dict):
            return self.state
        found: dict[Any, Any] = {}
        if isinstance(self.state, tuple) and len(self.state) == 2:
            for part in self.state:
                if isinstance(part, dict):
                    found.update(part)
        return found


@dataclass(frozen=True, slots=True, eq=False)
class PersistentId:
    """A reference to something outside the pickle: in torch files, to a storage."""

    value: Any


@dataclass(frozen=True, slots=True)
class BytesAt:
    """A long byte string that was not read: where it lies in the file."""

    offset: int
    size: int


@dataclass(frozen=True, slots=True, eq=False)
class Lost:
    """Something that the file ended before, or that a limit forbids to read."""

    why: str


@dataclass(frozen=True, slots=True, eq=False)
class OddKey:
    """A key that Python's dictionaries would refuse, or that would make them slow."""

    value: Any


@dataclass(slots=True)
class Use:
    """What a pickle does with one :class:`Global`."""

    offset: int
    """Byte at which it is named first."""
    calls: int = 0
    samples: list[tuple[int, tuple[Any, ...]]] = field(default_factory=list)
    """(byte, arguments) of the first calls, at most :data:`SAMPLES`."""
    maker: Callable[[tuple[Any, ...]], Any] | None = None
    """Ours, that makes the same plain data."""
    is_getattr: bool = False
    is_loader: bool = False
    """It would load a pickle from its first argument."""


SAMPLES = 64
