"""On which machine an attempt runs, as launchers and programs print it.

Samples::

    node list: gpu13
    SLURM_NODELIST=gpu[04-05]
    hostname: ip-10-0-3-17
    Running on host gpu-b12
"""

from __future__ import annotations

import re

from nanautopsy.readers.text.dialect import Dialect, Handler, Line, Log

_HOST = re.compile(
    r"(?:\b(?:SLURM_(?:JOB_)?NODELIST|node[ _]?list|nodename|host[ _]?name)\b\s*[:=]?"
    r"|\brunning on(?: host| node)?:?|^\s*(?:host|node)\s*[:=])\s*"
    r"['\"]?((?=[\w.\[\],-]*\d)[A-Za-z][\w.\[\],-]*[\w\]])",
    re.IGNORECASE,
)


def _on_host(log: Log, line: Line) -> None:
    match = _HOST.search(line.text)
    if match is not None:
        log.event("host-named", line, host=match[1])


def _plan(line: Line, lower: str) -> Handler | None:
    return _on_host if len(line.text) <= 300 and _HOST.search(line.text) else None


DIALECT = Dialect(
    name="hosts",
    triggers=("nodelist", "node list", "node_list", "nodename", "hostname", "host name",
              "running on", "host: ", "host=", "node: ", "node="),
    plan=_plan,
)  # fmt: skip
