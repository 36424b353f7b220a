"""Counts with commas between their thousands: ``step 12,000 / 120,000  loss 2.1``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from nanautopsy.readers.text.fields import Field


def joined(found: Sequence[Field], numbers: Sequence[bytes]) -> list[Field]:
    """The fields, of which those are one that a comma alone stands between, and three digits
    behind it: for named whole numbers, since a list has commas as well."""
    whole: list[Field] = []
    i = 0
    while i < len(found):
        field = found[i]
        end = i + 1
        if _begins(field, numbers):
            while end < len(found) and _goes_on(found[end], numbers):
                end += 1
            if end > i + 1:
                field = replace(field, groups=end - i - 1, after=found[end - 1].after)
        whole.append(field)
        i = end
    return whole


def _begins(field: Field, numbers: Sequence[bytes]) -> bool:
    named = bool(field.key) or field.before.strip() in ("/", "of")
    return named and field.whole and field.index >= 0 and len(numbers[field.index]) <= 3


def _goes_on(field: Field, numbers: Sequence[bytes]) -> bool:
    return (
        field.before == "," and field.whole and field.index >= 0 and len(numbers[field.index]) == 3
    )
