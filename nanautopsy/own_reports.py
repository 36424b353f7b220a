"""How nanautopsy's own reports begin.

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


def is_own_report(head: bytes) -> bool:
    """Whether a file with this first block is a report that nanautopsy wrote."""
    return _BEGINNINGS.match(head) is not None
