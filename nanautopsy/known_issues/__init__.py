"""Known library defects, as data: one YAML file each, beside this module.

Fields: ``id``, ``title``, ``package`` (PEP 503 name), ``affected`` (PEP 440 range), ``fixed_in``,
``status`` (reported or confirmed), ``date``, ``conditions`` (facts that must be stated so),
``signature`` (findings, any of which is it), ``after_good_steps`` (finite steps that come before
it), ``within_first_steps`` (it shows at once or never), ``remedies``, ``links``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from nanautopsy.model import Scalar
from nanautopsy.versions import is_within


@dataclass(frozen=True, slots=True)
class Condition:
    """A canonical fact that the defect needs."""

    fact: str
    value: Scalar = None
    """Exact value; with ``above`` unset."""
    above: float | None = None
    """The fact must be a number greater than this."""

    def holds(self, value: Scalar) -> bool:
        """Whether a stated value meets it."""
        if self.above is not None:
            return type(value) in (int, float) and value > self.above  # type: ignore[operator]
        return value == self.value

    @property
    def text(self) -> str:
        """In words."""
        return (
            f"{self.fact} > {self.above:g}"
            if self.above is not None
            else (f"{self.fact} = {str(self.value).lower()}")
        )


@dataclass(frozen=True, slots=True)
class KnownIssue:
    """One defect."""

    id: str
    title: str
    package: str
    affected: str
    fixed_in: str | None
    status: str
    date: str
    conditions: tuple[Condition, ...]
    signature: tuple[str, ...]
    after_good_steps: int
    within_first_steps: bool
    remedies: tuple[str, ...]
    links: tuple[str, ...]


@cache
def load() -> tuple[KnownIssue, ...]:
    """Every issue of the package, by id."""
    import yaml

    texts = [
        entry.read_text(encoding="utf-8")
        for entry in files("nanautopsy.known_issues").iterdir()
        if entry.name.endswith(".yaml")
    ]
    return tuple(sorted((_issue(yaml.safe_load(text)) for text in texts), key=lambda i: i.id))


def _issue(raw: Mapping[str, Any]) -> KnownIssue:
    conditions = tuple(
        Condition(str(c["fact"]), c.get("is"), c.get("above")) for c in raw.get("conditions", ())
    )
    return KnownIssue(
        id=raw["id"],
        title=raw["title"],
        package=raw["package"],
        affected=raw["affected"],
        fixed_in=raw.get("fixed_in"),
        status=raw["status"],
        date=str(raw["date"]),
        conditions=conditions,
        signature=tuple(raw["signature"]),
        after_good_steps=int(raw.get("after_good_steps", 0)),
        within_first_steps=bool(raw.get("within_first_steps", False)),
        remedies=tuple(raw["remedies"]),
        links=tuple(raw["links"]),
    )


def matches_version(issue: KnownIssue, version: str) -> bool:
    """Whether a version string lies in the affected range; one that cannot be parsed does not."""
    return is_within(version, issue.affected)
