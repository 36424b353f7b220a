"""What looks non-finite and is no failure of training."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from builders import NAN, event, judge, make_run, series

GOOD = [2.0 - 0.01 * i for i in range(30)]


def test_a_term_that_is_not_added_yet() -> None:
    total, late = series("train/loss", GOOD), series("train/aux_loss", [NAN] * 5 + [0.1] * 25)
    assert judge(make_run(total, late)).verdict == "healthy"


def test_a_term_that_takes_the_total_along() -> None:
    bad = [NAN if i == 7 else v for i, v in enumerate(GOOD)]
    run = make_run(series("train/loss", bad), series("train/aux_loss", bad))
    assert judge(run).verdict == "non-finite"


def test_a_term_that_stays_non_finite_counts() -> None:
    total, term = series("train/loss", GOOD), series("train/aux_loss", [0.1] * 20 + [NAN] * 10)
    assert judge(make_run(total, term)).verdict == "non-finite"


def test_what_is_said_before_a_sound_training() -> None:
    loss = series("loss", GOOD)
    told = event("nonfinite-text", "found 12 NaN rows, imputed", quantity="input", value="nan")
    before = replace(loss, source=replace(told.source, line=20), lines=np.arange(20, 50))
    assert judge(make_run(before, told)).verdict == "healthy"
    after = replace(before, lines=np.arange(1, 31) - 30)
    assert judge(make_run(after, told)).verdict == "non-finite"
