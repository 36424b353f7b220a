"""One YAML file to one :class:`KnownIssue`, or a line that says what is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nanautopsy.known_issues.conditions import SUBJECTS, TESTS, Condition
from nanautopsy.model import Scalar

TELLING = ("strong", "moderate", "context")
STATUSES = ("reported", "confirmed")
_REQUIRED = frozenset(
    "id title package affected status date signature remedies links telling".split()
)
_OPTIONAL = frozenset(
    "what fixed_in conditions also without after_good_steps within_first_steps one_rank quantity "
    "value".split()
)
_ID = re.compile(r"[a-z0-9]+(-[a-z0-9.]+)*")
_DATE = re.compile(r"20\d\d-(0[1-9]|1[0-2])(-\d\d)?")
_VALUES = ("nan", "inf", "-inf")


class UnclearIssue(ValueError):
    """A file that is no known issue; the text names the field."""


@dataclass(frozen=True, slots=True)
class KnownIssue:
    """One defect of a library."""

    id: str
    title: str
    package: str
    """PEP 503 name."""
    affected: str
    """PEP 440 range."""
    fixed_in: str | None
    status: str
    """``reported`` by users, or ``confirmed`` by a maintainer or in the source of two releases."""
    date: str
    conditions: tuple[Condition, ...]
    signature: tuple[str, ...]
    """Findings, any of which is its mark."""
    remedies: tuple[str, ...]
    links: tuple[str, ...]
    telling: str = "context"
    """How far version, configuration and signature together tell it from everything else:
    ``strong``, ``moderate``, or ``context``, which is mentioned and never named as the cause."""
    what: str = ""
    also: tuple[str, ...] = ()
    """Findings that must be there beside the signature."""
    without: tuple[str, ...] = ()
    """Findings that speak for something else, and rule it out."""
    after_good_steps: int = 0
    """Finite steps that come before it."""
    within_first_steps: bool = False
    """It shows in the first steps or never."""
    one_rank: bool = False
    """The damage is in one rank's part alone."""
    quantity: tuple[str, ...] = ()
    """What turns first, one of these (``loss``, ``grad_norm``, ``gradients``, ...)."""
    value: str | None = None
    """``nan``, ``inf`` or ``-inf``: the first bad value."""

    @property
    def needed(self) -> tuple[Condition, ...]:
        """The conditions that must be stated."""
        return tuple(c for c in self.conditions if not c.is_exclusion)


def parse(raw: Any) -> KnownIssue:
    """A loaded document as an issue; raises :class:`UnclearIssue`."""
    if not isinstance(raw, Mapping):
        raise UnclearIssue("it is no mapping of fields")
    missing, unknown = (
        sorted(_REQUIRED - raw.keys()),
        sorted(str(key) for key in raw.keys() - _REQUIRED - _OPTIONAL),
    )
    if missing:
        raise UnclearIssue(f"{', '.join(missing)} is missing")
    if unknown:
        raise UnclearIssue(f"{', '.join(unknown)} is no field that is known")
    conditions = raw.get("conditions") or []
    if not isinstance(conditions, list):
        raise UnclearIssue("conditions is no list")
    issue = KnownIssue(
        id=_matching(raw, "id", _ID),
        title=_text(raw, "title"),
        package=_package(_text(raw, "package")),
        affected=_range(_text(raw, "affected"), "affected"),
        fixed_in=None if raw.get("fixed_in") is None else _text(raw, "fixed_in"),
        status=_one_of(raw, "status", STATUSES),
        date=_matching(raw, "date", _DATE),
        conditions=tuple(_condition(one) for one in conditions),
        signature=_texts(raw, "signature"),
        remedies=_texts(raw, "remedies"),
        links=_texts(raw, "links"),
        telling=_one_of(raw, "telling", TELLING),
        what=_text(raw, "what") if "what" in raw else "",
        also=_texts(raw, "also"),
        without=_texts(raw, "without"),
        after_good_steps=_count(raw, "after_good_steps"),
        within_first_steps=raw.get("within_first_steps") is True,
        one_rank=raw.get("one_rank") is True,
        quantity=_texts(raw, "quantity"),
        value=_one_of(raw, "value", _VALUES) if "value" in raw else None,
    )
    _check(issue)
    return issue


def _check(issue: KnownIssue) -> None:
    if not (issue.signature and issue.remedies and issue.links):
        raise UnclearIssue("signature, remedies and links must name something")
    if issue.after_good_steps and issue.within_first_steps:
        raise UnclearIssue("after_good_steps and within_first_steps exclude each other")
    if issue.telling != "context" and not issue.needed:
        raise UnclearIssue(f"telling: {issue.telling} needs a condition that must be stated")


def _condition(raw: Any) -> Condition:
    if not isinstance(raw, Mapping):
        raise UnclearIssue(f"conditions: {raw!r} is no mapping")
    subjects = [key for key in SUBJECTS if key in raw]
    tests = [key for key in TESTS if key in raw]
    if len(subjects) != 1 or len(tests) != 1 or len(raw) != 2:
        raise UnclearIssue(
            f"conditions: one of {', '.join(SUBJECTS)} and one of {', '.join(TESTS)} are needed, "
            f"not {', '.join(map(str, raw))}"
        )
    subject, test, value = subjects[0], tests[0], raw[tests[0]]
    if (subject == "package") != (test == "within"):
        raise UnclearIssue("conditions: within is for packages, and packages for within")
    if test == "one_of":
        if not isinstance(value, list) or not value or not all(map(_is_plain, value)):
            raise UnclearIssue("conditions: one_of needs a list of values")
        value = tuple(value)
    elif not _is_plain(value):
        raise UnclearIssue(f"conditions: {test} needs a single value")
    name = str(raw[subject])
    if subject == "package":
        return Condition(subject, _package(name), test, _range(str(value), "conditions: within"))
    return Condition(subject, name, test, value)


def _is_plain(value: Any) -> bool:
    return isinstance(value, (str, int, float, bool))


def _package(name: str) -> str:
    from packaging.utils import canonicalize_name

    return str(canonicalize_name(name))


def _range(text: str, field: str) -> str:
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    try:
        SpecifierSet(text)
    except InvalidSpecifier:
        raise UnclearIssue(f"{field}: {text!r} is no range of versions (PEP 440)") from None
    return text


def _text(raw: Mapping[str, Any], field: str) -> str:
    value: Scalar = raw[field]
    if not isinstance(value, str) or (not value.strip() and field != "affected"):
        raise UnclearIssue(f"{field} is no text")
    return value.strip()


def _texts(raw: Mapping[str, Any], field: str) -> tuple[str, ...]:
    value = raw.get(field) or []
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise UnclearIssue(f"{field} is no list of texts")
    return tuple(value)


def _matching(raw: Mapping[str, Any], field: str, pattern: re.Pattern[str]) -> str:
    value = str(raw[field])
    if not pattern.fullmatch(value):
        raise UnclearIssue(f"{field}: {value!r} is not as it should be ({pattern.pattern})")
    return value


def _one_of(raw: Mapping[str, Any], field: str, known: tuple[str, ...]) -> str:
    value = str(raw[field])
    if value not in known:
        raise UnclearIssue(f"{field}: {value!r} is none of {', '.join(known)}")
    return value


def _count(raw: Mapping[str, Any], field: str) -> int:
    value = raw.get(field, 0)
    if type(value) is not int or value < 0:
        raise UnclearIssue(f"{field} is no number of steps")
    return value
