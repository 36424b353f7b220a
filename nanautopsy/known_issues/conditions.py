"""What a known defect needs of a run's configuration, as its YAML file says it.

A condition names a ``fact`` (:data:`nanautopsy.facts.FACTS`), a ``setting`` (the tail of a dotted
key, ``-`` and ``_`` alike, as ``optimizer.fused``) or another ``package``, and says of it one of:

``is: V``          it is stated to be V; truth values and numbers in any spelling
``one_of: [V, W]`` it is stated to be one of these
``above: N`` ``at_least: N`` ``less_than: N``  a number so; versions (``7.5``) compare by parts
``within: RANGE``  the package's version lies in a PEP 440 range (``""``: it is installed)
``unless: V``      nothing states that it is V: what is not stated does not speak against

All but ``unless`` must be stated: what no artifact says is not met.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from nanautopsy.model import Fact, Run, Scalar
from nanautopsy.spellings import number, truth
from nanautopsy.versions import is_within
from nanautopsy.wording import listed, phrase

SUBJECTS = ("fact", "setting", "package")
TESTS = ("is", "one_of", "above", "at_least", "less_than", "within", "unless")


@dataclass(frozen=True, slots=True)
class Condition:
    """One thing that the defect needs."""

    subject: str
    """``fact``, ``setting`` or ``package``."""
    name: str
    test: str
    """One of :data:`TESTS`."""
    value: Scalar | tuple[Scalar, ...]

    @property
    def is_exclusion(self) -> bool:
        """Whether it only says where the defect is not."""
        return self.test == "unless"

    def holds(self, value: Scalar) -> bool:
        """Whether a stated value meets it; for an exclusion, whether it leaves the defect open."""
        if self.test == "within":
            return not self.value or is_within(str(value), str(self.value))
        if self.test == "unless":
            return not _same(value, self.value)
        if self.test in ("is", "one_of"):
            return any(_same(value, one) for one in self.values)
        return self._compares(value)

    @property
    def values(self) -> tuple[Scalar, ...]:
        """What is asked for, one or several."""
        return self.value if isinstance(self.value, tuple) else (self.value,)

    @property
    def text(self) -> str:
        """In words."""
        words = listed([_word(value) for value in self.values], " or ")
        if self.test == "within":
            return f"{self.name} {words}".rstrip()
        if self.test == "unless":
            return phrase("{name} not {values}", name=self.name, values=words)
        sign = {"above": ">", "at_least": ">=", "less_than": "<"}.get(self.test, "=")
        return phrase("{name} {sign} {values}", name=self.name, sign=sign, values=words)

    def stated(self, run: Run) -> tuple[Fact, ...]:
        """Every value that the run states for it."""
        return tuple(self._stated(run))

    def met(self, run: Run) -> Fact | None:
        """The statement that meets it; ``None`` also for an exclusion, which nothing needs to
        state."""
        if self.is_exclusion:
            return None
        return next((fact for fact in self.stated(run) if self.holds(fact.value)), None)

    def refused(self, run: Run) -> bool:
        """Whether the run cannot have the defect by this condition."""
        if self.is_exclusion:
            return any(not self.holds(fact.value) for fact in self.stated(run))
        return self.met(run) is None

    def _stated(self, run: Run) -> Iterator[Fact]:
        if self.subject == "fact":
            fact = run.facts.get(self.name)
            if fact is not None:
                yield fact
        elif self.subject == "package":
            package = run.packages.get(self.name)
            if package is not None:
                yield Fact(package.version, package.source)
        else:
            tail = "." + _plain(self.name)
            yield from (f for key, f in run.config.items() if _plain(f".{key}").endswith(tail))

    def _compares(self, value: Scalar) -> bool:
        stated, asked = _parts(value), _parts(self.values[0])
        if not stated or not asked:
            return False
        if self.test == "less_than":
            return stated < asked
        return stated > asked if self.test == "above" else stated >= asked


def _same(stated: Scalar, asked: Scalar | tuple[Scalar, ...]) -> bool:
    if isinstance(asked, bool):
        return truth(stated) is asked
    if isinstance(asked, (int, float)):
        return number(stated) == asked
    return str(stated).strip().lower() == str(asked).strip().lower()


def _parts(value: Scalar | tuple[Scalar, ...]) -> tuple[float, ...]:
    """A number, or the parts of a dotted one: capability 12.1 is above 8.9, 8.10 above 8.9."""
    if isinstance(value, str) and value.count(".") and value.replace(".", "").isdigit():
        return tuple(float(part) for part in value.split("."))
    read = None if isinstance(value, tuple) else number(value)
    return () if read is None or read != read else (read,)


def _plain(key: str) -> str:
    return key.lower().replace("-", "_")


def _word(value: Scalar) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
