"""Producing ahead changes nothing but when."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from nanautopsy.scan.ahead import ahead


def test_the_same_items_in_the_same_order() -> None:
    assert list(ahead(iter(range(1000)), 7)) == list(range(1000))


def test_not_more_than_asked_for_lie_ready() -> None:
    produced: list[int] = []

    def items() -> Iterator[int]:
        for number in range(100):
            produced.append(number)
            yield number

    taken = ahead(items(), 5)
    next(taken)
    time.sleep(0.3)
    assert len(produced) <= 7
    assert list(taken) == list(range(1, 100))


def test_an_error_comes_after_what_was_produced() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise OSError("gone")

    taken = ahead(items(), 5)
    assert next(taken) == 1
    with pytest.raises(OSError, match="gone"):
        next(taken)


def test_who_stops_asking_leaves_no_thread() -> None:
    before = threading.active_count()
    taken = ahead(iter(range(10**9)), 5)
    next(taken)
    taken.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before
