"""Whether a row is of training or of an evaluation, as its heading or its sections say."""

from __future__ import annotations

import re
from collections.abc import Iterator

from nanautopsy.readers.text.fields import Field

_SECTION = re.compile(r"\[(train|training|val|valid|validation|test|eval|dev)\]\s", re.IGNORECASE)
_PHASE = re.compile(
    r"(?<![\w/.\-])(val|valid|validate|validation|validating|test|testing|eval|evaluate|evaluation"
    r"|evaluating|dev)(?![\w/.\-])",
    re.IGNORECASE,
)


def with_phase(
    points: list[tuple[str, Field]], found: list[Field]
) -> tuple[tuple[str, Field], ...]:
    """Tags of a validation line say so, as its heading does."""
    if not points:
        return ()
    sections = [_SECTION.search(field.before) for field in found]
    if sum(section is not None for section in sections) > 1:
        return tuple(_by_section(points, found))
    heading = ""
    for field in found:
        heading += field.before + " "
        if field is points[0][1]:
            break
    phase = _PHASE.search(heading)
    if phase is None or _PHASE.search(points[0][0].replace("_", " ")):
        return tuple(points)
    return tuple((f"{phase[1]} {key}", field) for key, field in points)


def _by_section(points: list[tuple[str, Field]], found: list[Field]) -> Iterator[tuple[str, Field]]:
    """Tags of a line that reports training and validation: ``[train] loss=2.1, [valid] loss=3``."""
    phases, current = {}, ""
    for field in found:
        if section := _SECTION.search(field.before):
            current = section[1]
        phases[id(field)] = current
    for key, field in points:
        phase = phases[id(field)]
        yield (f"{phase} {key}" if _PHASE.fullmatch(phase) else key), field
