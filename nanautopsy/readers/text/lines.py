"""One line of a log without the decoration that terminals, launchers and loggers put on it."""

from __future__ import annotations

import re
from itertools import pairwise

import numpy as np

_EXCERPT = 500
_ESCAPES = re.compile(
    rb"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b\r\n]{0,200}(?:\x07|\x1b\\)|[()][A-Z0-9])"
)
_STRAY_COLORS = re.compile(rb"\[(?:[0-9]|[34][0-9]|9[0-7]|[34]8;5;\d{1,3})m")
_SAMPLE = 65536
_COLORED = re.compile(rb"[^\r\n]*\[(?:0|39)m[^\r\n]*")
_BACKSPACES = re.compile(rb"\x08+")
_BEHIND_BAR = re.compile(rb"\[\d\d:\d\d[\d:]*[<,][^\]\r\n]*\](?=[A-Za-z0-9\[{])")

_PREFIX = re.compile(
    rb"(?:\s*(?:"
    rb"\[(?:rank|default|trainer|worker)\d{1,5}\]:"  # torchrun --tee, torch's own exceptions
    rb"|\[\d+,\d{1,5}\]<std(?:out|err)>:"  # mpirun --tag-output
    rb"|\(\w{1,64} pid=\d+(?:, ip=[\d.a-f:]+)?\)"  # ray
    rb"|[\w.-]{1,64}: (?=\[(?:\d{4}-|rank|default))"  # pdsh
    rb"|\[?(?:\d{4}-\d\d-\d\d[ T])?\d\d?:\d\d(?::\d\d(?:[.,]\d+)?|[AP]M)(?:Z| ?[+-]\d\d:?\d\d)?\]?"
    rb" \[?(?:VRB|TRC|DBG|INF|WRN|ERR|FTL)\]?(?= )"  # Serilog, zerolog: INF is a level there
    rb"|\[\d{4}-\d\d-\d\d[ T][\d:.,]+\]"
    rb"|\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?(?::(?= ))?"
    rb"|\[\d\d/\d\d \d\d:\d\d:\d\d [\w.-]{1,64}\]:(?= )(?: (?:WARNING|ERROR)(?= ))?"  # detectron2
    rb"|\[?\d\d/\d\d(?:/\d{2,4})? \d\d:\d\d:\d\d(?:\.\d+)?\]?"
    rb"|[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d(?: [\w.-]+ [\w./@-]+(?:\[\d+\])?:(?= ))?"  # syslog
    rb"|\[\d\d:\d\d:\d\d\]"
    rb"|\[NeMo [IWED] \d{4}-\d\d-\d\d \d\d:\d\d:\d\d [\w.<>-]{1,64}:\d+\]"
    rb"|\[[\w.-]{1,64}\](?= \d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d+ \()"  # ESPnet: its host, and
    rb"|\([\w.]{1,80}:\d+\) (?:DEBUG|INFO|WARNING|ERROR):(?= )"  # its module
    rb"|\| (?:DEBUG|INFO|WARNING|ERROR) \| [\w.]{1,64} \|(?= )"  # fairseq
    rb"|\[(?:INFO|WARNING|ERROR|DEBUG)\|[\w./]+:\d+\]"  # transformers
    rb"|(?:DEBUG|INFO|WARNING|ERROR):[\w.]+:"  # logging.basicConfig
    rb"|[\w.]{1,40} (?:DEBUG|INFO|WARNING|ERROR|CRITICAL):(?= )"
    rb"|\[?(?:DEBUG|INFO|WARNING|WARN|ERROR|CRITICAL)\]?(?= |:|\|)(?:: (?!\w+:))?"
    rb"|\[[\w.]{1,64}\]\[(?:INFO|WARNING|ERROR|DEBUG|CRITICAL)\](?: -(?= ))?"  # Hydra
    rb"|\[[\w.]+:\d+:[\w<>]*\]"  # DeepSpeed: [file.py:line:function]
    rb"|[IWEF]\d{4,8} \d\d:\d\d:\d\d(?:\.\d+)? +\d+ (?:[\w.]+ )?[\w./]+:\d+\]"  # glog, DINOv2
    rb"|\[titan\]|- root -|>>|\|(?= )|-(?= (?:[A-Z]+|\w+(?:\.\w+)*) - )"
    rb"))+ ?"  # what stands behind may be indented, as a traceback's lines are
)
_MAY_HAVE_PREFIX = frozenset(b"[(0123456789IWEFDC \t")
_RANK = re.compile(
    rb"\[(?:rank|default|trainer|worker)(?P<torch>\d{1,5})\]:|\[\d+,(?P<mpi>\d{1,5})\]<std"
)
_LABEL = re.compile(
    rb" {0,4}(?:(?:worker|rank|task|proc|process|gpu)[-_ ]?)?(?P<task>\d{1,5}): "
    rb"|\[(?P<mpich>\d{1,5})\] "  # mpiexec -l, -prepend-rank
    rb"|\[(?:worker|rank|proc|gpu)[-_ ]?(?P<named>\d{1,5})\]:? "
    rb"|\((?P<share>\d{1,4})/\d{1,4}\) "  # as well a batch of so many: see _speak_in_turn
    rb"|(?!(?:epoch|step|iter|fold|layer|batch|stage|trial|phase|round|level|train|val|test|eval)\w*"
    rb"[^:]*:)(?=[^\s:]*\d)[A-Za-z0-9][\w.-]{0,63}: ",  # the machine's name: pdsh, mpirun
    re.IGNORECASE,
)
_FIRST_NUMBER = re.compile(rb"\d+(?:\.\d+)?")
_LABELLED_LINES = 200
_LABELLED_SHARE = 0.9
_FEWEST_LABELLED = 5


def clean(raw: bytes) -> bytes:
    """Without terminal escapes and backspaces; line ends stay where they are."""
    if b"\x1b" in raw:
        raw = _ESCAPES.sub(b"", raw)
    if _has_reset(raw[:_SAMPLE]):
        raw = _COLORED.sub(_uncolored, raw)  # a copy that lost its escape characters
    return _BACKSPACES.sub(b"", raw) if b"\x08" in raw else raw


def apart(raw: bytes) -> bytes:
    """A message that stands right behind a progress bar, as a piece of its own.

    tqdm leaves the cursor behind its bar: what the program logs next goes on in the same line.
    """
    if b"it/s" not in raw and b"s/it" not in raw:
        return raw
    return _BEHIND_BAR.sub(rb"\g<0>\r", raw)


def _has_reset(raw: bytes) -> bool:
    """Whether ``[0m`` or ``[39m`` stands in it. Who uses colors uses them often. (Brackets are
    rarer than the zeros and letters that a search for the whole would stop at.)"""
    data = np.frombuffer(raw, dtype=np.uint8)
    behind = np.flatnonzero(data[:-3] == ord("[")) + 1
    first, second, third = (data[behind + i] for i in range(3))
    plain = (first == ord("0")) & (second == ord("m"))
    default = (first == ord("3")) & (second == ord("9")) & (third == ord("m"))
    return bool((plain | default).any()) or raw.endswith(b"[0m")


def _uncolored(line: re.Match[bytes]) -> bytes:
    return _STRAY_COLORS.sub(b"", line[0])


def prefix_of(raw: bytes, labelled: bool) -> tuple[int, slice | None]:
    """Length of what launchers and loggers put before the message, and where it names a rank.

    ``labelled``: the lines of the file begin with a label each: see :func:`is_labelled`.
    """
    end = 0
    rank: slice | None = None
    if labelled and (label := _LABEL.match(raw)):
        end = label.end()
        if label.lastgroup is not None:
            rank = slice(*label.span(label.lastgroup))
    if (
        end == len(raw)
        or (
            raw[end] not in _MAY_HAVE_PREFIX
            and raw[end + 9 : end + 10] != b":"  # syslog's time: `Mar  5 14:02:19`
            and b": [" not in raw[end : end + 70]
        )
    ):
        return end, rank
    match = _PREFIX.match(raw, end)
    if match is None:
        return end, rank
    if rank is None and (named := _RANK.search(raw, end, match.end())):
        rank = slice(*named.span(named.lastgroup or 0))
    return match.end(), rank


def strip_prefix(raw: bytes, labelled: bool) -> tuple[bytes, int | None]:
    """The message behind the prefix, and the rank that the prefix names."""
    end, rank = prefix_of(raw, labelled)
    return raw[end:] if end else raw, None if rank is None else int(raw[rank])


def is_labelled(head: bytes) -> bool:
    """Whether nearly every line of the beginning starts with the number of a task or the name of a
    machine, as ``srun -l``, ``pdsh`` and ``mpiexec -l`` write it."""
    lines = [line for line in head.splitlines()[:_LABELLED_LINES] if line.strip()]
    if len(lines) < _FEWEST_LABELLED:
        return False
    found = [label for label in map(_LABEL.match, lines) if label]
    if len(found) < _LABELLED_SHARE * len(lines):
        return False
    if any(label.lastgroup == "share" for label in found) and not _speak_in_turn(lines):
        return False
    labels = [label[0].strip() for label in found]
    if len(set(labels)) == 1:
        # As well an epoch; but a program that says its epoch says something else, too.
        return len(found) == len(lines) >= 4 * _FEWEST_LABELLED
    # A counter (`1: loss ...`, `2: loss ...`) starts its lines the same way, but it never repeats;
    # an epoch never goes back.
    back = sum(later < earlier for earlier, later in pairwise(map(_label_key, labels)))
    return len(set(labels)) <= len(labels) / 2 and back >= 2


def _speak_in_turn(lines: list[bytes]) -> bool:
    """Whether most lines and the next have the same first number behind labels that differ, as
    ranks do that say the same step."""
    labels = [label for label in map(_LABEL.match, lines) if label]
    first = [(m[0], _FIRST_NUMBER.search(m.string, m.end())) for m in labels]
    told = [(label, number[0] if number else b"") for label, number in first]
    same = sum(a[0] != b[0] and a[1] == b[1] != b"" for a, b in pairwise(told))
    return 2 * same >= len(told)


def _label_key(label: bytes) -> tuple[int, bytes]:
    return len(label), label


def excerpt(raw: bytes) -> str:
    """The line as a report quotes it: printable, at most 500 characters."""
    text = raw[: 4 * _EXCERPT].decode("utf-8", "replace").strip()
    if not text.isprintable():
        text = "".join(c if c.isprintable() else " " for c in text).strip()
    return text if len(text) <= _EXCERPT else text[: _EXCERPT - 1] + "…"
