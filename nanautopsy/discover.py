"""A directory (or one file) in, artifacts out, each claimed by one reader."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from nanautopsy.checkpoints.data_file import Location
from nanautopsy.model import Artifact, Claim, FileHead, Problem, Source
from nanautopsy.own_reports import is_own_report
from nanautopsy.readers.interface import Reader
from nanautopsy.wording import phrase

HEAD_BYTES = 65536
"""The first block shown to readers: two W&B blocks, and more than any header that tells."""

SKIPPED_DIRECTORIES = frozenset({".git", "__pycache__", ".ipynb_checkpoints", "node_modules"})


class NothingToRead(Exception):
    """The path does not exist, or holds no file at all."""


@dataclass(frozen=True, slots=True)
class Discovery:
    """What lies in the run directory."""

    artifacts: tuple[Artifact, ...]
    unclaimed: tuple[tuple[str, int], ...]
    """(relative path, bytes) of files that no reader knows."""
    problems: tuple[Problem, ...]
    """Directories and files that could not be looked into."""
    notes: tuple[str, ...] = ()
    """Readers that failed when they were asked whether a file is theirs."""


@dataclass(frozen=True, slots=True)
class _Claimed:
    path: str
    location: Location
    size: int
    reader: str
    claim: Claim


def natural_key(text: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key under which ``layer.10`` follows ``layer.9``.

    Digits are compared by their count, then as text: a name may hold more of them than Python
    makes a number of.
    """
    parts = re.split(r"([0-9]+)", text)
    return tuple(
        (0, len(part.lstrip("0")), part.lstrip("0")) if i % 2 else (1, 0, part)
        for i, part in enumerate(parts)
        if part
    )


def discover(root: Path, readers: Sequence[Reader]) -> Discovery:
    """Walk ``root`` and let the readers claim its files.

    Links that lead out of the directory, links back into a directory above, pipes and devices
    are not followed; each is a problem. Raises :class:`NothingToRead` for a path that is not
    there or that holds no file.
    """
    if not os.path.lexists(root):
        raise NothingToRead(f"{root}: no such file or directory")
    problems: list[Problem] = []
    discovery = claim_all(heads(files(root, problems), problems), readers, problems)
    if not (discovery.artifacts or discovery.unclaimed or discovery.problems):
        raise NothingToRead(f"{root}: the directory holds no file")
    return discovery


def claim_all(
    shown: Iterable[tuple[FileHead, Location]], readers: Sequence[Reader], problems: list[Problem]
) -> Discovery:
    """Ask the readers which of the files are theirs, wherever these lie.

    ``problems`` belongs to the files' source, which may still add to it.
    """
    failures: dict[str, list[str]] = {}
    claimed: list[_Claimed] = []
    unclaimed: list[tuple[str, int]] = []
    for head, location in shown:
        best = None if is_own_report(head.head) else _best_claim(head, readers, failures)
        if best is None:
            unclaimed.append((head.path, head.size))
        else:
            claimed.append(_Claimed(head.path, location, head.size, best[0], best[1]))
    notes = [
        phrase("{text} (and at {n} more files)", text=texts[0], n=len(texts) - 1)
        if len(texts) > 1
        else texts[0]
        for texts in failures.values()
    ]
    return Discovery(tuple(_group(claimed)), tuple(unclaimed), tuple(problems), tuple(notes))


def heads(
    found: Iterable[tuple[str, Path]], problems: list[Problem]
) -> Iterator[tuple[FileHead, Path]]:
    """The first block of each local file that has one."""
    for relative, location in found:
        try:
            head = _head(relative, location)
        except OSError as error:
            problems.append(
                Problem(phrase("cannot be read: {error}", error=error.strerror), Source(relative))
            )
            continue
        if head is None:
            problems.append(Problem(phrase("not a regular file; not read"), Source(relative)))
        else:
            yield head, location


def files(root: Path, problems: list[Problem], under: str = "") -> Iterator[tuple[str, Path]]:
    """(relative path, location) of every file, in natural order, without leaving ``root``.

    ``under``: what the relative paths begin with, empty or ending in a slash.
    """
    if not root.is_dir():
        yield under + root.name, root
        return
    real_root = os.path.realpath(root)
    pending = [(root, under, frozenset({real_root}))]
    while pending:
        directory, prefix, above = pending.pop()
        try:
            with os.scandir(directory) as listing:
                entries = sorted(listing, key=lambda entry: natural_key(entry.name))
        except OSError as error:
            source = Source(prefix.rstrip("/") or ".")
            problems.append(
                Problem(phrase("directory cannot be read: {error}", error=error.strerror), source)
            )
            continue
        below = []
        for entry in entries:
            relative = prefix + entry.name
            location = Path(entry.path)
            if entry.is_symlink() and leads_to_blob(entry.path):
                yield relative, location
                continue
            if entry.is_symlink():
                text = why_not_followed(entry.path, real_root, above)
                if text is not None:
                    problems.append(Problem(text, Source(relative)))
                continue
            if entry.is_dir():
                if entry.name not in SKIPPED_DIRECTORIES:
                    real = os.path.realpath(entry.path)
                    below.append((location, relative + "/", above | {real}))
            else:
                yield relative, location
        pending.extend(reversed(below))


def leads_to_blob(link: str) -> bool:
    """A link of the Hugging Face cache: ``<repo>/snapshots/<commit>/<file>`` to ``<repo>/blobs``.

    Layout: https://huggingface.co/docs/huggingface_hub/guides/manage-cache.
    """
    target = os.path.realpath(link)
    blobs, _ = os.path.split(target)
    snapshots = os.path.join(os.path.dirname(blobs), "snapshots") + os.sep
    inside = os.path.realpath(os.path.dirname(link)) + os.sep
    return (
        os.path.basename(blobs) == "blobs"
        and inside.startswith(snapshots)
        and os.path.isfile(target)
    )


def why_not_followed(link: str, real_root: str, above: frozenset[str]) -> str | None:
    """What is wrong with a link; ``None`` for one whose target the walk meets anyway."""
    target = os.path.realpath(link)
    if not os.path.exists(target):
        return "a link that leads nowhere"
    if os.path.commonpath([target, real_root]) != real_root:
        return "a link out of the run directory; not followed"
    return "a link loop; not followed" if target in above else None


def _head(relative: str, location: Path) -> FileHead | None:
    """The first block of a regular file; ``None`` for anything else."""
    status = location.stat()
    if not stat.S_ISREG(status.st_mode):
        return None
    with open(location, "rb") as file:
        return FileHead(relative, status.st_size, file.read(HEAD_BYTES))


def _best_claim(
    head: FileHead, readers: Sequence[Reader], failures: dict[str, list[str]]
) -> tuple[str, Claim] | None:
    """(reader, claim) of the most confident; a reader that fails is left out, and noted."""
    best: tuple[str, Claim] | None = None
    for reader in readers:
        try:
            claim = reader.claim(head)
            if claim is not None and not isinstance(claim, Claim):
                raise TypeError(f"a claim that is a {type(claim).__name__}")
            if claim is not None and (best is None or claim.confidence > best[1].confidence):
                best = (reader.name, claim)
        except Exception as error:
            text = (
                f"the {reader.name} reader failed at {head.path}: {type(error).__name__}: {error}"
            )
            failures.setdefault(reader.name, []).append(" ".join(text.split()))
    return best


def _group(claimed: Sequence[_Claimed]) -> Iterator[Artifact]:
    """One artifact a group, in order of each group's first member."""
    groups: dict[tuple[str, str, str, str], list[_Claimed]] = {}
    for item in claimed:
        claim = item.claim
        directory = item.path.rpartition("/")[0] if claim.root is None else claim.root
        alone = claim.group is None and claim.root is None
        name = item.path if alone else f"{directory}\0{claim.group}"
        groups.setdefault((item.reader, claim.kind, directory, name), []).append(item)
    for (reader, kind, _, _), items in groups.items():
        yield Artifact(
            path=items[0].path,
            kind=kind,
            reader=reader,
            members=tuple((item.path, item.location) for item in items),
            bytes=sum(item.size for item in items),
        )
