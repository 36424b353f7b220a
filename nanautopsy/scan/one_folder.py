"""The files of one folder that record a training: of one run, or of several beside each other.

``train.log`` and ``metrics.csv`` are one run; ``stdout.log`` and ``stderr.log``, ranks and
rotations too. What tells runs apart is what remains of a name without such words: ``run1.log``
and ``run2.log``, ``slurm-41.out`` and ``slurm-42.out``. Tables of one metric are told apart so
only when they have the same header: ``loss.csv`` beside ``lr.csv`` are two metrics of one run.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice

from nanautopsy.scan.evidence import named_kind
from nanautopsy.scan.kinds import Kinds
from nanautopsy.scan.tree import Entry, Folder, Tree

_PACKED = re.compile(r"\.(?:gz|zst|bz2|xz)$", re.IGNORECASE)
_ROTATED = re.compile(r"(\.(?:log|txt))[.-]?(?:\d{1,2}|\d{4}-\d\d-\d\d)$", re.IGNORECASE)
_RANK = re.compile(
    r"[._-]?(?:rank|worker|node|gpu|local_rank|proc(?:ess)?)[._-]?\d+", re.IGNORECASE
)
_JOB = re.compile(r"\.[oe](\d+)$")
_EXTENSION = re.compile(
    r"\.(?:log|out|err|txt|csv|tsv|jsonl?|ndjson|parquet|ya?ml|toml"
    r"|safetensors|pth?|ckpt|bin|npz|msgpack|h5|keras)$"
)
_TAG = re.compile(r"-tag-.*$")
"""Of TensorBoard's downloads: ``run-NAME-tag-METRIC.csv``."""
_ROLE_WORDS = frozenset(
    "train training trainer stdout stderr out err error errors log logs output console main debug "
    "info warning eval evaluation valid val validation test nohup metrics metric history progress "
    "results result state rank events launch".split()
)
_COLUMNS_OF_A_HISTORY = 4
"""A metric in a file of its own comes with a step, a time and a value: TensorBoard's download."""
_SURE = frozenset({"events", "state", "wandb"})


@dataclass(frozen=True, slots=True)
class Group:
    """Files of one folder that belong to one run."""

    stem: str
    """What tells the run from the others in its folder; empty when nothing does."""
    files: tuple[Entry, ...]
    kinds: frozenset[str]
    """What they record: ``events``, ``log``, ``table``, ...; never empty."""


@lru_cache(maxsize=1 << 14)
def stem_of(name: str) -> str:
    """What remains of a file's name without the words that tell no run from another."""
    name = _RANK.sub("", _ROTATED.sub(r"\1", _PACKED.sub("", name)))
    name = _EXTENSION.sub("", _JOB.sub(r".\1", _TAG.sub("", name)))
    words = [word for word in re.split(r"[._\- ]+", name.lower()) if word]
    return "-".join(word for word in words if word not in _ROLE_WORDS)


def groups_of(kinds: Kinds, folder: Folder) -> list[Group]:
    """The runs whose records lie directly in a folder, in order of their first file."""
    sure = [(file, kind) for file in folder.files if (kind := named_kind(file.name)) in _SURE]
    asked = [f for f in folder.files if named_kind(f.name) in ("log", "table", "database")]
    pairs = ((file, kinds.of(file)) for file in asked)
    if len({*({""} if sure else ()), *(stem_of(file.name) for file in asked)}) <= 1:
        # Nothing tells runs apart: that one file records a training is enough.
        first = sure or list(islice((pair for pair in pairs if pair[1]), 1))
        return [_group("", first)] if first else []
    told = [(file, kind) for file, kind in pairs if kind]
    by_stem: dict[str, list[tuple[Entry, str]]] = {}
    for file, kind in [*sure, *told]:
        stem = "" if kind in _SURE else stem_of(file.name)
        by_stem.setdefault(stem, []).append((file, kind))
    apart = _told_apart(kinds.tree, by_stem)
    if len([stem for stem in apart if stem]) <= 1:
        together = [pair for pairs in by_stem.values() for pair in pairs]
        return [_group("", together)] if together else []
    return [_group(stem, pairs) for stem, pairs in apart.items()]


def joined(groups: Iterable[Group]) -> Group:
    """All of them as one."""
    groups = list(groups)
    files = tuple(file for group in groups for file in group.files)
    return Group("", files, frozenset(kind for group in groups for kind in group.kinds))


def recorded(groups: Iterable[Group]) -> str:
    """The first files that record a training."""
    names = [file.name for group in groups for file in group.files]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _told_apart(
    tree: Tree, by_stem: dict[str, list[tuple[Entry, str]]]
) -> dict[str, list[tuple[Entry, str]]]:
    """Without the stems of tables of one metric that share their header with no other."""
    if len(by_stem) < 2:
        return by_stem
    headers: dict[bytes, set[str]] = {}
    for stem, pairs in by_stem.items():
        for file, kind in pairs:
            if kind == "table":
                headers.setdefault(_header(tree, file), set()).add(stem)
    histories = {
        stem
        for header, stems in headers.items()
        if len(stems) > 1 or len(re.split(rb"[,;\t]", header)) >= _COLUMNS_OF_A_HISTORY
        for stem in stems
    }
    apart: dict[str, list[tuple[Entry, str]]] = {}
    for stem, pairs in by_stem.items():
        alone = all(kind == "table" for _, kind in pairs) and stem not in histories
        apart.setdefault("" if alone else stem, []).extend(pairs)
    return apart


def _header(tree: Tree, file: Entry) -> bytes:
    """The first line of a table, or the keys of the first row of another."""
    try:
        line = tree.head(file).partition(b"\n")[0].strip()
    except OSError:
        return b""
    return b",".join(re.findall(rb'"([^"]*)"\s*:', line)) if line[:1] in b"[{" else line


def _group(stem: str, pairs: Iterable[tuple[Entry, str]]) -> Group:
    files = tuple(file for file, _ in pairs)
    return Group(stem, files, frozenset(kind for _, kind in pairs))
