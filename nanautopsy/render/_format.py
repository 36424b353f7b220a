"""Numbers and values as every renderer shows them."""

from __future__ import annotations

import math
import unicodedata
from datetime import datetime, timezone

from nanautopsy.model import Scalar


def number(value: float | None) -> str:
    """Four significant digits; NaN and Inf by name; ``?`` for what is not known."""
    if value is None:
        return "?"
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Inf" if value > 0 else "-Inf"
    return f"{value:.4g}"


def percent(probability: float) -> str:
    """Whole percent; never ``0%`` or ``100%`` for what is neither."""
    if 0 < probability < 0.01:
        return "<1%"
    if 0.99 < probability < 1:
        return ">99%"
    return f"{100 * probability:.0f}%"


def size(count: int) -> str:
    """Bytes in the decimal units that disks are sold in."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 999.5:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 99.5 else f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} TB"


def moment(seconds: float | None) -> str:
    """A time in UTC; empty when there is none, or none that a calendar holds."""
    if seconds is None or not math.isfinite(seconds):
        return ""
    try:
        when = datetime.fromtimestamp(seconds, timezone.utc)
    except (OverflowError, ValueError, OSError):
        return ""
    return when.strftime("%Y-%m-%d %H:%M:%S UTC")


def thousands(count: int) -> str:
    """``1,204``."""
    return f"{count:,}"


def duration(seconds: float) -> str:
    """``45 s``, ``12 min``, ``3 h 20 min``, ``1,204 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours = minutes // 60
    return f"{hours} h {minutes % 60} min" if hours < 100 else f"{hours:,} h"


def scalar(value: Scalar) -> str:
    """A setting's value as its file would spell it in JSON, strings without their quotes."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else number(value)
    return str(value)


def count(many: int, one: str, several: str | None = None) -> str:
    """``1 step``, ``2 steps``."""
    return f"{many} {one if many == 1 else several or one + 's'}"


def shape(sizes: tuple[int, ...]) -> str:
    """``4096 x 512``; ``scalar`` for none."""
    return " × ".join(str(size) for size in sizes) or "scalar"


def middle_cut(text: str, width: int, mark: str = "…") -> str:
    """At most ``width`` characters, the middle left out: both ends of a layer's name tell."""
    if len(text) <= width:
        return text
    keep = max(2, width - len(mark))
    head = keep // 2
    return text[:head] + mark + text[len(text) - (keep - head) :]


def front_cut(text: str, width: int, mark: str = "…") -> str:
    """At most ``width`` characters, the beginning left out: the end tells the layer."""
    return text if len(text) <= width else mark + text[len(text) - max(1, width - len(mark)) :]


def end_cut(text: str, width: int, mark: str = "…") -> str:
    """At most ``width`` characters, the end left out at a space where there is one."""
    if len(text) <= width:
        return text
    head = text[: max(0, width - len(mark))]
    if head and unicodedata.east_asian_width(head[-1]) in "WF":
        return head + mark
    cut = head.rfind(" ")
    return (head[:cut] if cut > len(head) // 2 else head).rstrip() + mark
