"""How nanautopsy's own reports and catalogs begin.

A report may lie in the run directory the next time. It quotes the run, so reading it as evidence
would let an analysis confirm itself; and it may be replaced, while evidence may not.
"""

from __future__ import annotations

import re

_BEGINNINGS = re.compile(
    rb"nanautopsy \d+\.\d+\S*: "  # text
    rb"|<!-- nanautopsy "  # Markdown
    rb'|\{\s*"schema_version": "\d+",\s*"nanautopsy_version": '  # JSON
    rb"|checkpoint,checkpoint_step,tensor,|tensor,tensor_change,identical,"  # CSV
    rb'|(?s:<!doctype html>.{0,200}?<meta name="generator" content="nanautopsy )'
)


CATALOG_ID = 0x6E616E61
"""``nana``: the application id in the header of a catalog in SQLite."""
_SQLITE = b"SQLite format 3\0"
_ID_AT = 68
"""Of SQLite's header: four bytes, big-endian (SQLite's file format, section 1.3)."""


def is_own_report(head: bytes) -> bool:
    """Whether a file with this first block is a report or a catalog that nanautopsy wrote."""
    if head.startswith(_SQLITE):
        return head[_ID_AT : _ID_AT + 4] == CATALOG_ID.to_bytes(4, "big")
    return _BEGINNINGS.match(head) is not None
