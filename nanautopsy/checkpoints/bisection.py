"""Finding where a history turns bad by reading few of its members."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

READ_ALL = 6
"""A history of so many members is read entirely: bisection would read nearly as many."""


def probe_history(
    count: int, is_bad: Callable[[int], bool], hint: int | None = None
) -> dict[int, bool]:
    """Ask ``is_bad`` of O(log ``count``) members until a turn is found; member to answer.

    Both ends are asked. When one is bad, the search goes on until a good member and the bad one
    behind it are neighbors (or the first member is bad). A later good member, as a restart
    leaves one, does not mislead it: the turn that is found was seen on both of its sides, though
    it need not be the only one. When both ends are good, the rest is sampled evenly, in as many
    reads as a search would have taken. ``hint``: a member at which a turn is expected, asked
    after the ends, with the one before it.
    """
    known: dict[int, bool] = {}

    def ask(member: int) -> bool:
        if member not in known:
            known[member] = is_bad(member)
        return known[member]

    if count <= READ_ALL:
        return {member: ask(member) for member in range(count)}
    ask(0)
    ask(count - 1)
    if hint is not None and ask(hint) and hint > 0:
        ask(hint - 1)
    reads = math.ceil(math.log2(count))
    while not any(known.values()) and len(known) < 2 + reads:
        ask(_middle_of_widest_gap(known))
    while (gap := _turn(known)) is not None and gap[1] - gap[0] > 1:
        ask((gap[0] + gap[1]) // 2)
    return known


def _turn(known: dict[int, bool]) -> tuple[int, int] | None:
    """The first bad member known and the last good one known before it."""
    bad = [member for member, answer in known.items() if answer]
    if not bad:
        return None
    first = min(bad)
    good = [member for member, answer in known.items() if not answer and member < first]
    return (max(good), first) if good else None


def _middle_of_widest_gap(known: dict[int, bool]) -> int:
    members = sorted(known)
    gaps = [(after - before, -before) for before, after in itertools.pairwise(members)]
    width, before = max(gaps)
    return -before + width // 2


def between(known: dict[int, bool], member: int) -> tuple[int | None, int | None]:
    """The nearest members asked before and after ``member``."""
    before = [other for other in known if other < member]
    after = [other for other in known if other > member]
    return max(before, default=None), min(after, default=None)


def spread(members: list[int], wanted: int) -> list[int]:
    """At most ``wanted`` of the members, evenly spaced."""
    if wanted <= 0 or not members:
        return []
    if len(members) <= wanted:
        return members
    return [members[(2 * i + 1) * len(members) // (2 * wanted)] for i in range(wanted)]
