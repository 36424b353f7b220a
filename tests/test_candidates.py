"""What looks non-finite and is no failure of training."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from builders import INF, NAN, event, judge, make_run, series

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


def test_a_warning_beside_a_metric_without_a_value() -> None:
    said = event("nonfinite-text", "RuntimeWarning: invalid value", quantity="warning", value="nan")
    score = series("dev pearson", [NAN] * 3 + [0.1] * 27)
    assert judge(make_run(series("loss", GOOD), score, said)).verdict == "healthy"
    dead = series("loss", GOOD[:20] + [NAN] * 10)
    assert judge(make_run(dead, score, said)).verdict == "non-finite"


def test_inputs_that_were_skipped() -> None:
    said = event("nonfinite-text", "NaN in batch, skipping", 7, quantity="input", value="nan")
    used = event("nonfinite-text", "NaN in batch", 7, quantity="input", value="nan")
    assert judge(make_run(series("loss", GOOD), said)).verdict == "healthy"
    assert judge(make_run(series("loss", GOOD), used)).verdict == "non-finite"


def test_gradients_of_what_is_not_trained() -> None:
    frozen, trained = series("grad/a.weight", [NAN] * 30), series("grad/b.weight", GOOD)
    assert judge(make_run(series("loss", GOOD), frozen, trained)).verdict == "healthy"
    # All of the others turn at once: nothing tells the layer.
    dead = make_run(
        series("loss", GOOD[:20] + [NAN] * 10),
        frozen,
        *(series(f"grad/{name}.weight", GOOD[:20] + [NAN] * 10) for name in "bc"),
    )
    onset = judge(dead).onset
    assert onset is not None and onset.step == 21 and not onset.layers


def test_a_gradient_that_is_written_only_when_it_is_bad() -> None:
    late = series("grad/a.weight", [float("inf")], [29])
    other = series("grad/b.weight", [0.1], [29])
    short = series("loss", GOOD[:29])
    assert judge(make_run(short, late, other)).verdict == "non-finite"


def test_norms_that_are_computed_at_every_fourth_micro_batch() -> None:
    norms = series("grad_norm", [0.5 if i % 4 == 3 else NAN for i in range(30)])
    assert judge(make_run(series("loss", GOOD), norms)).verdict == "healthy"
    often = series("grad_norm", [NAN if i % 4 == 3 else 0.5 for i in range(30)])
    assert judge(make_run(series("loss", GOOD), often)).verdict == "non-finite"
    dead = series("grad_norm", [0.5 if i % 4 == 3 and i < 20 else NAN for i in range(30)])
    assert judge(make_run(series("loss", GOOD[:21] + [NAN] * 9), dead)).verdict == "non-finite"


def test_a_ratio_of_weights_that_had_no_value_yet() -> None:
    ratio = series("snr/a.weight", [float("inf"), *GOOD[1:]])
    assert judge(make_run(series("loss", GOOD), ratio)).verdict == "healthy"
    norm = series("param_norm/a.weight", [1.0] * 20 + [NAN] * 10)
    assert judge(make_run(series("loss", GOOD), norm)).verdict == "non-finite"


def test_an_evaluation_that_is_mostly_infinite_behind_its_first_numbers() -> None:
    good = series("train/loss", GOOD)
    over = [1.5, 1.4, 1.3, INF, 1.3, *[INF] * 12, 1.3]
    steps = list(range(5, 5 * len(over) + 1, 5))
    assert judge(make_run(good, series("val/loss", over, steps))).verdict == "non-finite"
    once = [1.5, 1.4, 1.3, INF, *[1.3] * 14]
    assert judge(make_run(good, series("val/loss", once, steps))).verdict == "healthy"
    between = [1.5, INF, INF, INF, INF, 1.3, *[INF] * 11, 1.2]
    assert judge(make_run(good, series("val/loss", between, steps))).verdict == "healthy"
