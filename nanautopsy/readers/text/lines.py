"""One line of a log without the decoration that terminals, launchers and loggers put on it."""

from __future__ import annotations

import re

_EXCERPT = 500
_ESCAPES = re.compile(
    rb"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]{0,200}(?:\x07|\x1b\\)|[()][A-Z0-9])"
)
_STRAY_COLORS = re.compile(rb"\[(?:[0-9]|[34][0-9]|9[0-7]|[34]8;5;\d{1,3})m")
_BACKSPACES = re.compile(rb"\x08+")

_PREFIX = re.compile(
    rb"(?:\s*(?:"
    rb"\[(?:rank|default)\d{1,5}\]:"  # torchrun: --log-dir, --tee, and torch's own exceptions
    rb"|\(\w{1,64} pid=\d+(?:, ip=[\d.a-f:]+)?\)"  # ray
    rb"|[\w.-]{1,64}: (?=\[(?:\d{4}-|rank|default))"  # pdsh
    rb"|\[\d{4}-\d\d-\d\d[ T][\d:.,]+\]"
    rb"|\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?(?::(?= ))?"
    rb"|\[?\d\d/\d\d(?:/\d{2,4})? \d\d:\d\d:\d\d(?:\.\d+)?\]?"
    rb"|\[\d\d:\d\d:\d\d\]"
    rb"|\[(?:INFO|WARNING|ERROR|DEBUG)\|[\w./]+:\d+\]"  # transformers
    rb"|(?:DEBUG|INFO|WARNING|ERROR):[\w.]+:"  # logging.basicConfig
    rb"|\[?(?:DEBUG|INFO|WARNING|WARN|ERROR|CRITICAL)\]?(?= |:|\|)(?:: (?!\w+:))?"
    rb"|\[[\w.]+:\d+:[\w<>]*\]"  # DeepSpeed: [file.py:line:function]
    rb"|[IWEF]\d{4,8} \d\d:\d\d:\d\d\.\d+ +\d+ [\w./]+:\d+\]"  # glog
    rb"|\[titan\]|- root -|>>|\|(?= )|-(?= (?:[A-Z]+|\w+(?:\.\w+)*) - )"
    rb"))+ ?"  # what stands behind may be indented, as a traceback's lines are
)
_MAY_HAVE_PREFIX = frozenset(b"[(0123456789IWEFDC \t")
_RANK = re.compile(rb"\[(?:rank|default)(\d{1,5})\]:")
_SRUN = re.compile(rb"(\d{1,5}): ")


def is_decorated(data: bytes) -> bool:
    """Whether anything in it is for :func:`clean` to remove."""
    return b"\x1b" in data or b"\x08" in data or b"[0m" in data or b"[39m" in data


def clean(raw: bytes) -> bytes:
    """Without terminal escapes and backspaces."""
    if b"\x1b" in raw:
        raw = _ESCAPES.sub(b"", raw)
    elif b"[0m" in raw or b"[39m" in raw:
        raw = _STRAY_COLORS.sub(b"", raw)  # a copy that lost its escape characters
    return _BACKSPACES.sub(b"", raw) if b"\x08" in raw else raw


def strip_prefix(raw: bytes, srun: bool) -> tuple[bytes, int | None]:
    """The message behind timestamps, levels and launcher labels, and the rank they name.

    ``srun``: the file is labelled by ``srun -l``, so ``12: `` at the start is a task number.
    """
    rank = None
    if srun and (task := _SRUN.match(raw)):
        rank = int(task[1])
        raw = raw[task.end() :]
    if not raw or (raw[0] not in _MAY_HAVE_PREFIX and b": [" not in raw[:70]):
        return raw, rank
    match = _PREFIX.match(raw)
    if match is None:
        return raw, rank
    if rank is None and (named := _RANK.search(raw, 0, match.end())):
        rank = int(named[1])
    return raw[match.end() :], rank


def is_srun(head: bytes) -> bool:
    """Whether nearly every line of the beginning starts with a task number."""
    lines = [line for line in head.split(b"\n")[:200] if line.strip()]
    if len(lines) < 5:
        return False
    tasks = [_SRUN.match(line) for line in lines]
    labelled = [int(task[1]) for task in tasks if task]
    # A counter (`1: loss ...`, `2: loss ...`) starts its lines the same way, but never repeats.
    return len(labelled) >= 0.9 * len(lines) and len(set(labelled)) <= len(labelled) / 2


def excerpt(raw: bytes) -> str:
    """The line as a report quotes it: printable, at most 500 characters."""
    text = raw[: 4 * _EXCERPT].decode("utf-8", "replace").strip()
    if not text.isprintable():
        text = "".join(c if c.isprintable() else " " for c in text).strip()
    return text if len(text) <= _EXCERPT else text[: _EXCERPT - 1] + "…"
