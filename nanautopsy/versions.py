"""Questions to version strings, by PEP 440."""

from __future__ import annotations


def is_before(version: str, release: str) -> bool:
    """Whether ``version`` is older than ``release``; one that cannot be parsed is not."""
    from packaging.version import InvalidVersion, Version

    try:
        return Version(version) < Version(release)
    except InvalidVersion:
        return False


def is_within(version: str, specifiers: str) -> bool:
    """Whether ``version`` lies in a range; one that cannot be parsed does not."""
    from packaging.specifiers import SpecifierSet
    from packaging.version import InvalidVersion, Version

    try:
        return SpecifierSet(specifiers).contains(Version(version), prereleases=True)
    except InvalidVersion:
        return False
