"""Package names and versions from the files of pip, conda, uv, Poetry and their kin.

Every parser takes the text and gives PEP 503 names to versions, local parts kept, as they are
pinned exactly; a range (``torch>=2.0``) is no version and gives nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, TypeAlias

from nanautopsy.readers import _yaml

Packages: TypeAlias = dict[str, str]

_PIN = re.compile(
    r"(?P<name>[A-Za-z0-9][\w.-]*)\s*(?:\[[\w,. -]*\])?\s*={2,3}\s*(?P<version>[\w.+!-]+)"
    r"\s*(?:[;#\\].*)?"
)
_AT_URL = re.compile(r"[A-Za-z0-9][\w.-]*\s*(?:\[[\w,. -]*\])?\s*@\s*\S+")
_WHEEL = re.compile(r"/(?P<name>[A-Za-z0-9_.]+)-(?P<version>\d[\w.+!]*)-[\w.]+-\w+-[\w.]+\.whl")
_OTHER_REQUIREMENT = re.compile(
    r"[A-Za-z0-9][\w.-]*\s*(?:\[[\w,. -]*\])?\s*(?:(?:[<>~!]=?|\^)[\w.,<>=~!* +-]+)?(?:\s*[;#].*)?|"
    r"-[-a-z]+\b.*|--hash=.*"
)
_CONDA_PIN = re.compile(r"([\w.-]+)\s*={1,2}\s*(\d[\w.!+]*)(?:\s*=[\w.*]+)?")
_CONDA_ARCHIVES = (".conda", ".tar.bz2")
_LONGEST_LINE = 500
"""Longer lines are no requirement, and would keep the patterns busy."""
_LOCK_BLOCK = re.compile(r"^\[\[packages?\]\]\s*$", re.MULTILINE)
_LOCK_FIELD = r'^%s\s*=\s*"([^"\n]+)"'


def normalize(name: str) -> str:
    """PEP 503."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _of_conda(name: str) -> str:
    """conda calls torch by the project's name."""
    name = normalize(name)
    return "torch" if name == "pytorch" else name


def pinned_share(text: str) -> tuple[int, float]:
    """How many lines pin a version, and which part of all lines could be requirements."""
    lines = [line.strip() for line in text.splitlines()]
    lines = [line[:_LONGEST_LINE] for line in lines if line and not line.startswith("#")]
    pins = sum(1 for line in lines if _PIN.fullmatch(line) or _AT_URL.fullmatch(line))
    others = sum(1 for line in lines if _OTHER_REQUIREMENT.fullmatch(line))
    return pins, (pins + others) / max(1, len(lines))


def from_requirements(text: str) -> Packages:
    """``pip freeze`` and requirements files; a wheel's URL tells its version too."""
    packages = {}
    for line in text.splitlines():
        line = line.strip()
        if len(line) > _LONGEST_LINE:
            continue
        found = _PIN.fullmatch(line) or (_WHEEL.search(line) if " @ " in line else None)
        if found:
            packages[normalize(found["name"])] = found["version"]
    return packages


def from_pip_list(text: str) -> Packages:
    """The table of ``pip list``."""
    packages = {}
    for line in text.splitlines():
        parts = line.split()
        if len(parts) >= 2 and parts[1][:1].isdigit():
            packages[normalize(parts[0])] = parts[1]
    return packages


def from_pip_json(text: str) -> Packages:
    """``pip list --format json``, and the same of ``conda list``."""
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return {
        normalize(row["name"]): row["version"]
        for row in rows
        if isinstance(row, dict)
        and isinstance(row.get("name"), str)
        and isinstance(row.get("version"), str)
    }


def from_versions_json(text: str) -> Packages:
    """Names and versions that a program wrote as one object, itself or a member of another."""
    try:
        outer = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(outer, dict):
        return {}
    members = [outer, *(inner for inner in outer.values() if isinstance(inner, dict))]
    return {
        normalize(name): version
        for member in members
        for name, version in member.items()
        if isinstance(version, str) and re.fullmatch(r"\d+(?:\.\d+)+[\w.+-]*", version)
    }


def from_conda_list(text: str) -> Packages:
    """The table of ``conda list``: name, version, build, channel. What pip installed wins."""
    packages: Packages = {}
    from_pip: Packages = {}
    for line in text.splitlines():
        parts = line.split()
        if len(parts) >= 3 and not line.startswith("#"):
            target = from_pip if parts[-1] == "pypi" else packages
            target[_of_conda(parts[0])] = parts[1]
    return packages | from_pip


def from_conda_explicit(text: str) -> Packages:
    """``conda list --explicit``: one URL a line."""
    packages = {}
    for line in text.splitlines():
        file = line.partition("#")[0].strip().rpartition("/")[2]
        for archive in _CONDA_ARCHIVES:
            parts = file.removesuffix(archive).rsplit("-", 2)
            if file.endswith(archive) and len(parts) == 3:
                packages[_of_conda(parts[0])] = parts[1]
    return packages


def from_conda_yaml(text: str) -> Packages:
    """``environment.yml``: ``name=version=build`` and a nested pip list, which wins."""
    try:
        document = _yaml.load(text)
    except _yaml.YamlDamage as error:
        document = error.rest
    except ValueError:
        return {}
    entries = document.get("dependencies") if isinstance(document, dict) else None
    packages: Packages = {}
    from_pip: Packages = {}
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, dict) and isinstance(entry.get("pip"), list):
            from_pip = from_requirements("\n".join(str(line) for line in entry["pip"]))
        elif isinstance(entry, str):
            found = _CONDA_PIN.fullmatch(entry[:_LONGEST_LINE].rpartition("::")[2].strip())
            if found:
                packages[_of_conda(found[1])] = found[2]
    return packages | from_pip


def from_lock(text: str) -> Packages:
    """TOML locks: ``[[package]]`` blocks. A package locked twice has no one version."""
    packages: Packages = {}
    forked = set()
    for block in _LOCK_BLOCK.split(text)[1:]:
        name = re.search(_LOCK_FIELD % "name", block, re.MULTILINE)
        version = re.search(_LOCK_FIELD % "version", block, re.MULTILINE)
        if name and version:
            key = normalize(name[1])
            if packages.setdefault(key, version[1]) != version[1]:
                forked.add(key)
    return {name: version for name, version in packages.items() if name not in forked}


def from_pipfile_lock(text: str) -> Packages:
    """``Pipfile.lock``: the default section."""
    try:
        section: Any = json.loads(text).get("default", {})
        return {
            normalize(name): entry["version"].removeprefix("==")
            for name, entry in section.items()
            if isinstance(entry, dict) and isinstance(entry.get("version"), str)
        }
    except (ValueError, AttributeError, RecursionError):
        return {}


Parser: TypeAlias = Callable[[str], Packages]
