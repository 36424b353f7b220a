"""Text logs of any program: standard output, logger files, batch system output, packed or not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from nanautopsy.model import Artifact, Claim, FileHead, LogEvent, Record, Series
from nanautopsy.readers.text.blocks import blocks, unpacked_head
from nanautopsy.readers.text.records import records_of

_LOG_NAME = re.compile(
    r"\.(?:log|out|err|stdout|stderr|[oe]\d+)(?:[._-]?\d+)?$|^(?:nohup|stdout|stderr|std_log)\b"
    r"|\.log[._-]",
    re.IGNORECASE,
)
_TEXT_NAME = re.compile(r"\.txt$", re.IGNORECASE)
_OTHER_NAME = re.compile(
    r"\.(?:pyi?|ipynb|md|rst|jsonl?|ndjson|ya?ml|csv|tsv|toml|cfg|ini|conf|sh|bash|zsh|ps1|bat|html?"
    r"|xml|svg|js|mjs|ts|tsx|jsx|css|scss|cc?|cpp|cxx|cuh?|h|hpp|java|kt|scala|go|rs|rb|pl|php|lua"
    r"|jl|r|m|swift|sql|tex|bib|lock|patch|diff|proto|prototxt|pbtxt|j2|jinja2?|template|model|vocab"
    r"|bpe|tokens|index|env|properties|gradle|cmake|mk|wandb|tfevents.*|pdf|eps|ps|srt|vtt|obj|ply)$"
    r"|^(?:merges|vocab|requirements|constraints|license|licence|copying|notice|authors|readme"
    r"|changelog|manifest|sources|dependency_links|top_level|entry_points|labels|classes|notes?|todo"
    r"|faq|troubleshooting|ideas)"
    r"\b.*\.txt$|^(?:license|licence|copying|notice|authors|readme|changelog|notes?|todo|makefile"
    r"|dockerfile"
    r"|jenkinsfile|procfile|latest|checkpoint|\..*)$",
    re.IGNORECASE,
)
_PACKED_NAME = re.compile(r"\.(?:gz|bz2|xz|zst|zstd)$", re.IGNORECASE)
_HOLE = re.compile(rb"\0{64,}")
_ATTEMPT = re.compile(r"(?:^|/)attempt_\d{1,5}/(\d{1,5})/(?:stdout|stderr)\.log(?:\.\w+)?$")
_RANK_NAME = re.compile(r"(?<![A-Za-z])(?:global[_-]?|worker[_-]?)?rank[_-]?(\d{1,5})(?!\d)", re.I)
_PROCESS_NAME = re.compile(r"^(?:\w+[_.-])?(?:worker|proc(?:ess)?|gpu)[_-]?(\d{1,5})\.\w+$", re.I)
_LATIN_SHARE = 0.1
_CONTROL_SHARE = 0.02
_BEGINNING = 4096
"""Bytes: a page, which is what file systems lose and disks garble at once."""
_CONTROLS = bytes(c for c in range(32) if c not in b"\t\n\r\x0b\x0c\x08\x07\x1b") + b"\x7f"


class TextLog:
    """Reads every log that is text, with low confidence so that any other reader goes first."""

    name = "text-log"

    def claim(self, file: FileHead) -> Claim | None:
        """By being text, and not by name a source, a table or a tokenizer's list."""
        name = _PACKED_NAME.sub("", file.name)
        if file.size == 0 or _OTHER_NAME.search(name):
            return None
        is_log = _LOG_NAME.search(name) is not None
        head = unpacked_head(file.head)
        if not (is_log if head is None else _may_be_read(head, is_log)):
            return None
        confidence = 30 if is_log else 20 if _TEXT_NAME.search(name) else 10
        return Claim("text-log", confidence)

    def read(self, artifact: Artifact) -> Iterator[Record]:
        """Series, events, configuration and environment."""
        rank = rank_of(artifact.path, artifact.location)
        for record in records_of(artifact.path, blocks(artifact.location)):
            if rank is not None and isinstance(record, (Series, LogEvent)) and record.rank is None:
                yield replace(record, rank=rank)
            else:
                yield record


READER = TextLog()


def rank_of(path: str, location: Path) -> int | None:
    """The rank whose log it is, where its name says so: ``attempt_0/3/stderr.log``,
    ``train_rank3.log``, ``slurm-123-rank_3.out``, ``worker-3.txt``.

    A number behind ``rank`` may as well be that of a low-rank adapter: it is taken for a process
    only where the file of rank 0 lies beside it.
    """
    if attempt := _ATTEMPT.search(path):
        return int(attempt[1])
    name = path.rpartition("/")[2]
    named = _RANK_NAME.search(name) or _PROCESS_NAME.match(name)
    if named is None:
        return None
    zero = named.string[: named.start(1)] + "0" * len(named[1]) + named.string[named.end(1) :]
    single = named.string[: named.start(1)] + "0" + named.string[named.end(1) :]
    beside = any(location.with_name(name).is_file() for name in (zero, single))
    return int(named[1]) if beside else None


def _may_be_read(head: bytes, is_log: bool) -> bool:
    """A log may have been damaged behind its beginning, where other files are what they are."""
    beginning = head[: min(_BEGINNING, len(head) // 2)]  # of a short one, too
    return _is_text(head, is_log) or (is_log and _is_text(beginning, is_log))


def _is_text(head: bytes, may_be_hole: bool) -> bool:
    """``may_be_hole``: by its name a log, which may begin with a long hole."""
    if not head:
        return False
    head = _HOLE.sub(b"", head)
    if not head:
        return may_be_hole
    if b"\0" in head:
        return False
    controls = len(head) - len(head.translate(None, _CONTROLS))
    if controls > _CONTROL_SHARE * len(head):
        return False
    text = head.decode("utf-8", "replace")
    # The head may end inside a character.
    return text.count("�") <= max(1, _LATIN_SHARE * len(text))
