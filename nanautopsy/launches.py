"""Which ranks ran together, where a run was started more than once."""

from __future__ import annotations

import re
from collections.abc import Iterable

from nanautopsy.model import Series
from nanautopsy.readers._step_keys import rank_of_tag


def of_ranks(series: Iterable[Series]) -> list[list[Series]]:
    """The series of several ranks that measure the same thing in the same launch.

    Files of ranks that ran together have the same path but for the rank:
    ``retry/rank0.log`` beside ``retry/rank1.log``.
    """
    by_tag: dict[tuple[str, str], list[Series]] = {}
    for one in series:
        if one.rank is not None:
            named = rank_of_tag(one.tag)
            tag = one.tag if named is None else named[0]
            by_tag.setdefault((tag, one.axis), []).append(one)
    groups: list[list[Series]] = []
    for together in by_tag.values():
        if len({s.rank for s in together}) == len(together):
            groups.append(together)
            continue
        by_path: dict[str, list[Series]] = {}
        for one in together:
            by_path.setdefault(_without_rank(one), []).append(one)
        groups.extend(by_path.values())
    return [group for group in groups if len({s.rank for s in group}) > 1]


def _without_rank(series: Series) -> str:
    own = [*re.finditer(rf"(?<!\d)0*{series.rank}(?!\d)", series.source.path)]
    path = series.source.path
    return f"{path[: own[-1].start()]}#{path[own[-1].end() :]}" if own else path
