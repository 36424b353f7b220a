"""Which implementation of attention a program says that it uses.

Samples::

    attn implementation: flash_attention_2
    attention backend = sdpa
    model loaded with attn_implementation=eager
    Using flash_attention_2 for attention
    Using FlashAttention-2                                                     (Megatron-DeepSpeed)
"""

from __future__ import annotations

import re

from nanautopsy.model import ConfigRecord, Source
from nanautopsy.readers.text.dialect import Dialect, Handler, Line, Log

_KIND = (
    r"['\"]?(flash[_ -]?att(?:entio)?n(?:[_ -]?[23])?|sdpa|eager|xformers|flex_attention)\b['\"]?"
)
_STATED = re.compile(
    rf"\b_?att(?:entio)?n[ _](?:implementation|impl|backend|kernel)(?: is)?\s*[:=]?\s*{_KIND}"
    rf"|\b(?:using|enabled|with) {_KIND}(?! (?:is|was|not))",
    re.IGNORECASE,
)
_NO_STATEMENT = re.compile(
    r"\b(?:if|should|could|can(?:not|'t)?|may|might|recommend\w*|consider|instead|not|without|try"
    r"|requires?|support\w*|install\w*|available|deprecat\w*|warn\w*|falling back|got|error)\b"
    r"|[?]|--\w",
    re.IGNORECASE,
)
_MEMORY = "attention_text"


def _on_line(log: Log, line: Line) -> None:
    kind = _named(line.text)
    if kind is None or log.memory.setdefault(_MEMORY, kind) != kind:
        return
    source = Source(log.path, line=line.number, excerpt=line.excerpt)
    log.out.append(ConfigRecord("log", {"attn_implementation": kind}, source))


def _named(text: str) -> str | None:
    """As Transformers spells it."""
    if len(text) > 300 or _NO_STATEMENT.search(text):
        return None
    found = _STATED.search(text)
    if found is None:
        return None
    kind = re.sub(r"[ -]", "_", (found[1] or found[2]).lower())
    version = re.search(r"[23]$", kind)
    if kind.startswith("flash"):
        return f"flash_attention_{version[0]}" if version else "flash_attention"
    return kind


def _plan(line: Line, lower: str) -> Handler | None:
    return _on_line if _named(line.text) else None


DIALECT = Dialect(
    name="attention",
    triggers=("attn impl", "attn_impl", "attention impl", "attention backend", "attn backend",
              "attention_backend", "attn_backend", "attention kernel", "flash_att", "flash-att",
              "flashatt", "flash att", "using sdpa", "with sdpa"),
    plan=_plan,
)  # fmt: skip
