"""Times that are written as text and say their time zone, as ISO 8601 and RFC 3339 have them.

One without a zone is some machine's local time: it cannot be set beside the clocks of other
artifacts, which count in UTC, so it is taken for no time at all.
"""

from __future__ import annotations

import re
from datetime import datetime, timezone

_ZONED = re.compile(
    r"\s*(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d):(\d\d)(?:[.,](\d{1,9}))? ?"
    r"(?:Z|UTC|([+-])(\d\d):?(\d\d))\s*",
    re.ASCII,
)


def clock_time(text: str) -> float | None:
    """Seconds since 1970 of ``2024-05-01T12:00:00.5+02:00``; ``None`` for anything else."""
    found = _ZONED.fullmatch(text)
    if found is None:
        return None
    year, month, day, hour, minute, second = (int(found[i]) for i in range(1, 7))
    try:
        moment = datetime(year, month, day, hour, minute, second, tzinfo=timezone.utc)
    except ValueError:
        return None
    seconds = moment.timestamp() + float(f"0.{found[7] or 0}")
    if found[8] is None:
        return seconds
    offset = 3600 * int(found[9]) + 60 * int(found[10])
    return seconds - offset if found[8] == "+" else seconds + offset
