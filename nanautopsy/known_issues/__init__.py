"""Known library defects, as data: one YAML file each, beside this module or in a team's directory.

Fields: ``id`` (the file's name), ``title``, ``what`` (the mechanism), ``package`` (PEP 503 name),
``affected`` (PEP 440 range), ``fixed_in``, ``status`` (reported or confirmed), ``date``,
``conditions`` (:mod:`nanautopsy.known_issues.conditions`), ``signature`` (findings, any of which
is it), ``also`` (findings that must be there too), ``without`` (findings that rule it out),
``after_good_steps``, ``within_first_steps``, ``one_rank``, ``quantity``, ``value`` (of the onset),
``telling`` (strong, moderate or context), ``remedies``, ``links``. Each is described at
:class:`nanautopsy.known_issues.parse.KnownIssue`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from nanautopsy.known_issues.conditions import Condition
from nanautopsy.known_issues.parse import KnownIssue, UnclearIssue, parse
from nanautopsy.versions import is_within
from nanautopsy.wording import listed, phrase

__all__ = [
    "Catalog",
    "Condition",
    "KnownIssue",
    "UnclearIssue",
    "load",
    "matches_version",
    "merged",
    "page",
    "read_directory",
]

SUFFIXES = (".yaml", ".yml")
LARGEST_FILE = 1 << 20
"""Bytes; an issue has a few thousand."""


@dataclass(frozen=True, slots=True)
class Catalog:
    """What a directory of issues holds."""

    issues: tuple[KnownIssue, ...]
    problems: tuple[str, ...]
    """A line for each file that could not be used."""


@cache
def load() -> tuple[KnownIssue, ...]:
    """Every issue of the package, by id."""
    entries = [e for e in files("nanautopsy.known_issues").iterdir() if e.name.endswith(".yaml")]
    issues = [_ours(parse(_document(entry.read_text(encoding="utf-8")))) for entry in entries]
    return tuple(sorted(issues, key=lambda issue: issue.id))


def _ours(issue: KnownIssue) -> KnownIssue:
    """With its texts as phrases, which a team's are not."""
    return replace(
        issue,
        title=phrase(issue.title),
        what=phrase(issue.what),
        remedies=tuple(phrase(text) for text in issue.remedies),
    )


def read_directory(path: str | Path) -> Catalog:
    """A team's own issues, by id; a file that is none becomes a problem.

    Raises :class:`NotADirectoryError` when there is no such directory. Of two files with one id
    the first counts. An id that the package has replaces the package's issue.
    """
    directory = Path(path)
    if not directory.is_dir():
        raise NotADirectoryError(f"{path}: no such directory of known issues")
    issues: dict[str, KnownIssue] = {}
    problems = []
    for entry in sorted(directory.iterdir()):
        if entry.suffix not in SUFFIXES:
            continue
        try:
            issue = parse(_document(_text(entry)))
        except OSError as error:
            problems.append(
                phrase(
                    "{entry}: cannot be read: {error}",
                    entry=entry,
                    error=error.strerror or error,
                )
            )
        except ValueError as error:
            problems.append(phrase("{entry}: no known issue: {error}", entry=entry, error=error))
        else:
            if issue.id in issues:
                problems.append(
                    phrase(
                        "{entry}: no known issue: {id} is in another file already",
                        entry=entry,
                        id=issue.id,
                    )
                )
            issues.setdefault(issue.id, issue)
    if not issues and not problems:
        problems.append(
            phrase(
                "{path}: no known issues: no {suffixes} file",
                path=path,
                suffixes=listed(SUFFIXES, " or "),
            )
        )
    return Catalog(tuple(issues[name] for name in sorted(issues)), tuple(problems))


def _text(entry: Path) -> str:
    """A team's file; what is no plain file, or is too large to be an issue, is not opened."""
    if not entry.is_file():
        raise UnclearIssue("it is no plain file")
    if entry.stat().st_size > LARGEST_FILE:
        raise UnclearIssue(f"it has more than {LARGEST_FILE} bytes")
    return entry.read_text(encoding="utf-8")


def merged(own: Iterable[KnownIssue]) -> tuple[KnownIssue, ...]:
    """The package's issues and a team's, which replace those of the same id."""
    issues = {issue.id: issue for issue in (*load(), *own)}
    return tuple(issues[name] for name in sorted(issues))


def matches_version(issue: KnownIssue, version: str) -> bool:
    """Whether a version string lies in the affected range; one that cannot be parsed does not."""
    return is_within(version, issue.affected)


def page(issue: KnownIssue) -> str:
    """The text that explains one issue."""
    fixed = f", fixed in {issue.fixed_in}" if issue.fixed_in else ""
    needs = "; ".join(c.text for c in issue.conditions) or "no particular setting"
    lines = [
        issue.id,
        "",
        f"{_sentence(issue.title)}.",
        *(["", *_wrapped(issue.what)] if issue.what else []),
        "",
        f"Package: {issue.package} {issue.affected}{fixed} ({issue.status}, {issue.date})",
        f"Needs: {needs}",
        f"Shows as: {_signature(issue)}",
        "Alone: "
        + {
            "strong": "named as the cause when version, settings and findings are all there",
            "moderate": "likely when version, settings and findings are all there",
            "context": "mentioned, never named as the cause: its signs have many other causes",
        }[issue.telling],
        "",
        "Fix:",
        *(f"  {line}" for remedy in issue.remedies for line in _wrapped(remedy)),
        "",
        "References:",
        *(f"  {link}" for link in issue.links),
    ]
    return "\n".join(lines)


def _sentence(title: str) -> str:
    """With a capital, except for names that have their own spelling (cuDNN, clip_by_norm)."""
    word = title.split()[0]
    return title[0].upper() + title[1:] if word.isalpha() and word.islower() else title


def _signature(issue: KnownIssue) -> str:
    parts = [" or ".join(issue.signature)]
    parts += [f"with {name}" for name in issue.also]
    parts += [f"without {name}" for name in issue.without]
    parts += ["in one rank alone"] if issue.one_rank else []
    parts += [f"{' or '.join(issue.quantity)} first"] if issue.quantity else []
    parts += [f"first value {issue.value}"] if issue.value else []
    parts += [f"after {issue.after_good_steps} good steps"] if issue.after_good_steps else []
    parts += ["within the first steps"] if issue.within_first_steps else []
    return ", ".join(parts)


def _wrapped(text: str) -> list[str]:
    import textwrap

    return textwrap.wrap(text, 96)


def _document(text: str) -> Any:
    from nanautopsy.readers._yaml import load as load_yaml

    return load_yaml(text)
