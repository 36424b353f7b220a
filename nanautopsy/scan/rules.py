"""What names the rules by which a run was judged: digests of their sources.

``READERS.JUDGES``: when the first part differs, artifacts are read again; when only the second
does, what was read of them is judged again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from functools import lru_cache
from importlib.metadata import entry_points
from pathlib import Path

import nanautopsy
from nanautopsy.scan.settings import Settings

_JUDGES = (
    *("detectors/", "causes/", "known_issues/", "candidates.", "coverage.", "diagnose."),
    *("experiments.", "headline.", "next_steps.", "onset.", "thresholds.", "timeline."),
    *(
        "redact",
        "rewrite.",
        "wording.",
        "render/json.",
        "render/_json_values.",
    ),
    *("render/_facts.", "render/_clean.", "scan/signature.", "scan/waste."),
)
"""Beginnings of the paths of sources that see only a ``Run``."""
_NEITHER = (
    *("cli.", "commands/", "explain.", "inspection.", "languages", "outputs.", "progress_bar."),
    *("render/", "scan/"),
)
"""Of those that change no result; all others read."""


def rules_of(settings: Settings) -> str:
    """The digest pair of this installation under these settings. Raises ``OSError``."""
    readers, judges = _own()
    third = sorted(
        {(e.name, e.value, _version(e)) for e in entry_points(group="nanautopsy.readers")}
    )
    causes = sorted(
        {(e.name, e.value, _version(e)) for e in entry_points(group="nanautopsy.causes")}
    )
    read = _digest(
        [readers, repr(third), repr(settings.roles), repr((settings.redact, settings.redact_urls))]
    )
    return f"{read}.{_digest([judges, repr(causes), *_issues(settings.known_issues)])}"


def asking_of(settings: Settings) -> str:
    """Likewise of what decides what a file records, before anything is read of it."""
    source = Path(__file__).with_name("evidence.py").read_text(encoding="utf-8")
    return _digest([rules_of(settings).partition(".")[0], source])


def same_readers(known: str, now: str) -> bool:
    """Whether what was read under the one is what the other would read."""
    return known.partition(".")[0] == now.partition(".")[0]


@lru_cache(maxsize=1)
def _own() -> tuple[str, str]:
    root = Path(nanautopsy.__file__).parent
    readers, judges = [], []
    for path in sorted(root.rglob("*")):
        if path.suffix not in (".py", ".yaml"):
            continue
        name = path.relative_to(root).as_posix()
        told = f"{name}\n{path.read_text(encoding='utf-8')}"
        if name.startswith(_JUDGES):
            judges.append(told)
        elif not name.startswith(_NEITHER) or name == "scan/stored_run.py":
            readers.append(told)
    return _digest([nanautopsy.__version__, *readers]), _digest(judges)


def _issues(directory: str | None) -> Iterator[str]:
    """Sources of the user's own known issues."""
    for path in sorted(Path(directory).glob("*.y*ml")) if directory else ():
        yield path.read_text(encoding="utf-8", errors="replace")


def _version(entry: object) -> str:
    distribution = getattr(entry, "dist", None)
    return "" if distribution is None else str(distribution.version)


def _digest(texts: Iterable[str]) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for text in texts:
        digest.update(text.encode("utf-8", "surrogateescape") + b"\0")
    return digest.hexdigest()
