"""Reading few members of a history, and claiming nothing that the others contradict."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from nanautopsy.checkpoints.bisection import READ_ALL, between, probe_history, spread

HISTORIES = st.lists(st.booleans(), min_size=1, max_size=200)


@given(HISTORIES, st.none() | st.integers(0, 199))
def test_any_history(bad: list[bool], hint: int | None) -> None:
    hint = None if hint is None else hint % len(bad)
    known = probe_history(len(bad), lambda member: bad[member], hint)
    assert all(known[member] == bad[member] for member in known)
    assert {0, len(bad) - 1} <= known.keys()
    limit = max(READ_ALL, 2 * math.ceil(math.log2(len(bad))) + 4) if len(bad) > 1 else 1
    assert len(known) <= limit
    found = [member for member in sorted(known) if known[member]]
    if found and found[0] > 0:
        assert known.get(found[0] - 1) is False
    if bad[-1]:
        assert found


@given(st.integers(1, 5000), st.data())
def test_a_history_that_turns_once_is_solved_exactly(count: int, data: st.DataObject) -> None:
    turn = data.draw(st.integers(0, count - 1))
    asked: list[int] = []

    def is_bad(member: int) -> bool:
        asked.append(member)
        return member >= turn

    known = probe_history(count, is_bad)
    assert min(member for member in known if known[member]) == turn
    assert len(asked) == len(set(asked)) <= max(READ_ALL, 2 + math.ceil(math.log2(count)))


def test_a_hint_at_the_turn_needs_four_reads() -> None:
    known = probe_history(1000, lambda member: member >= 700, hint=700)
    assert sorted(known) == [0, 699, 700, 999]


def test_a_sound_history_is_sampled_evenly() -> None:
    known = probe_history(65, lambda member: False)
    assert {0, 64, 32} <= known.keys()
    assert len(known) == 2 + 7


def test_neighbors_that_were_asked() -> None:
    assert between({0: False, 5: True}, 3) == (0, 5)
    assert between({3: False}, 1) == (None, 3)


def test_spread_is_even_and_bounded() -> None:
    assert spread(list(range(10)), 2) == [2, 7]
    assert spread([4, 5], 4) == [4, 5]
    assert spread([1, 2, 3], 0) == []
