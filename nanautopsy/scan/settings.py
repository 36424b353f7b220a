"""What a scan is asked to do, as it travels to the workers."""

from __future__ import annotations

from dataclasses import dataclass

from nanautopsy.scan.tree import Entry


@dataclass(frozen=True, slots=True)
class Settings:
    """The same for every run of a scan."""

    archive: str
    """Path or URL to open; a URL may hold secrets."""
    address: str
    """The archive's name in a catalog, without secrets."""
    redact: bool = True
    redact_urls: bool = False
    roles: tuple[str, ...] = ()
    known_issues: str | None = None
    """A directory of defects beside the package's own."""


@dataclass(frozen=True, slots=True)
class Job:
    """One run to analyze."""

    settings: Settings
    root: str
    files: tuple[Entry, ...]
    fingerprint: str
    rules: str
    records: bytes = b""
    """What was read before, where it only has to be judged again."""

    @property
    def size(self) -> int:
        """Bytes of its files."""
        return sum(file.size for file in self.files)
