"""Small questions to one series."""

from __future__ import annotations

import pytest
from builders import INF, NAN, series

from nanautopsy import signal


def test_the_first_and_the_last_good_point() -> None:
    loss = series("loss", [3, NAN, 2, INF])
    assert signal.first_nonfinite(loss) == 1
    assert signal.last_finite_before(loss, 1) == 0
    assert signal.last_finite_before(loss, 3) == 2
    assert signal.last_finite_before(loss, 0) is None
    assert signal.first_nonfinite(series("loss", [3, 2])) is None
    assert signal.first_nonfinite(series("loss", [])) is None


def test_what_stays() -> None:
    assert signal.persistent(series("loss", [3, NAN, INF]), 1)
    assert not signal.persistent(series("loss", [3, NAN, 2]), 1)


def test_values_up_to_a_step() -> None:
    loss = series("loss", [3, NAN, 2, 1], steps=[10, 20, 30, 40])
    assert signal.up_to(loss, 40).tolist() == [3, 2]
    assert signal.up_to(loss, None).tolist() == [3, 2, 1]
    assert signal.up_to(loss, 10).tolist() == []


def test_the_point_at_a_step() -> None:
    loss = series("loss", [3, 2, 1], steps=[10, 20, 30])
    assert signal.index_at(loss, 20) == 1
    assert [signal.index_at(loss, step) for step in (9, 15, 31)] == [None] * 3
    assert signal.index_at(series("loss", []), 1) is None


@pytest.mark.parametrize(
    ("value", "kind", "words"),
    [(NAN, "nan", "NaN"), (INF, "inf", "Inf"), (-INF, "-inf", "-Inf")],
)
def test_the_words_for_what_is_not_finite(value: float, kind: str, words: str) -> None:
    assert signal.kind_of(value) == kind
    assert signal.shown(value) == words


@pytest.mark.parametrize(
    ("value", "words"), [(0.0, "0"), (1e-12, "1e-12"), (65504.0, "6.55e+04"), (2.39143, "2.391")]
)
def test_a_number_has_four_digits(value: float, words: str) -> None:
    assert signal.shown(value) == words
