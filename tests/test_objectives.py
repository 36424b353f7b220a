"""The whole objective among the losses of one writer: by its name, or because it is their sum."""

from __future__ import annotations

import numpy as np
import pytest
from builders import NAN, detect, make_run, series

from nanautopsy.objectives import is_total, parts_of

RANDOM = np.random.default_rng(5)
RECON = 2.0 * 0.97 ** np.arange(60) + RANDOM.normal(0, 0.02, 60)
PRIOR = 0.05 * np.arange(60) + RANDOM.normal(0, 0.05, 60) + 0.2
SUM = RECON + 0.01 * PRIOR


def printed(values: np.ndarray, digits: int) -> list[float]:
    return [float(f"{v:.{digits}g}") for v in values]


@pytest.mark.parametrize("digits", [3, 5, 17])
def test_a_sum_with_a_light_weight_under_any_name(digits: int) -> None:
    weight = 0.5 if digits == 3 else 0.01
    nll = series("train.nll", printed(RECON + weight * PRIOR, digits))
    terms = [series("recon", printed(RECON, digits)), series("kl", printed(PRIOR, digits))]
    losses = [nll, *terms]
    assert [is_total(s, losses) for s in losses] == [True, False, False]


def test_a_name_is_enough() -> None:
    assert is_total(series("train/total_loss", [1.0, 2.0]), [])


def test_what_only_falls_together_is_no_sum() -> None:
    other = series("distance", 3.0 * 0.95 ** np.arange(60) + RANDOM.normal(0, 0.2, 60))
    assert not is_total(other, [other, series("recon", RECON), series("kl", PRIOR)])


def test_too_few_points_show_no_sum() -> None:
    short = slice(0, 9)
    losses = [series("nll", SUM[short]), series("recon", RECON[short]), series("kl", PRIOR[short])]
    assert not is_total(losses[0], losses)


def test_a_term_that_turned_with_its_sum_turned_alone() -> None:
    nll, kl = SUM.copy(), PRIOR.copy()
    nll[50:], kl[50:] = NAN, NAN
    recon = RECON.copy()
    recon[51:] = NAN
    run = make_run(series("nll", nll), series("kl_loss", kl), series("recon_loss", recon))
    (alone,) = [f for f in detect(run) if f.id == "loss-term-alone"]
    assert alone.data["tag"] == "kl_loss"


def test_terms_that_turn_together_tell_nothing() -> None:
    columns = [SUM.copy(), PRIOR.copy(), RECON.copy()]
    for column in columns:
        column[50:] = NAN
    run = make_run(*(series(t, c) for t, c in zip(("nll", "kl", "recon"), columns, strict=True)))
    assert not [f for f in detect(run) if f.id == "loss-term-alone"]


def test_which_terms_add_up_to_it() -> None:
    rng = np.random.default_rng(1)
    one, other, stranger = (rng.uniform(0.5, 1.5, 80) for _ in range(3))
    terms = [series("a", list(one)), series("b", list(other)), series("c", list(stranger))]
    total = series("loss", list(one + 0.1 * other))
    assert [s.tag for s in parts_of(total, terms)] == ["a", "b"]
    assert parts_of(series("loss", list(one - 0.1 * other)), terms) == []
