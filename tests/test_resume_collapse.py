"""A loss thrown up where the run resumed, or non-finite in its first row there."""

from __future__ import annotations

import numpy as np
from builders import NAN, checkpoint, event, judge, make_run, named_cause, series, tensor

RESUMED = event("run-resumed", "Loading checkpoint from /results/step300", 40)
LEARNED = [*np.geomspace(3.9, 1.7, 30), *([1.7, 1.8, 1.6, 1.75, 1.65] * 2)]
SWINGS = [170.0, 9.0, 14.0, 44.0, 3.2, 2.9, 2.8, 2.8]


def test_a_loss_that_swings_behind_the_resume() -> None:
    loss = series("train/CrossEntropyLoss", [*LEARNED, *SWINGS])
    located = judge(make_run(loss, RESUMED))
    assert located.verdict == "diverged"
    assert named_cause(loss, RESUMED) == "resume-mismatch"
    assert judge(make_run(loss)).verdict == "healthy"  # no line says that anything was resumed


def test_another_objective_whose_level_is_higher() -> None:
    calm = [170.0 * 0.97**k for k in range(12)]
    assert judge(make_run(series("loss", [*LEARNED, *calm]), RESUMED)).verdict == "healthy"


def test_a_bump_that_comes_back() -> None:
    back = [170.0, 9.0, 14.0, 44.0, 3.2, 2.0, 1.7, 1.7]
    assert judge(make_run(series("loss", [*LEARNED, *back]), RESUMED)).verdict == "healthy"


def test_the_first_row_behind_a_resume_is_not_finite() -> None:
    loss = series("loss", [*LEARNED, NAN, NAN, NAN])
    rate = series("lr", [0.1] * 43)
    assert named_cause(loss, rate, RESUMED) == "resume-mismatch"
    assert named_cause(loss, rate) != "resume-mismatch"


def test_later_rows_are_no_arrival() -> None:
    loss = series("loss", [*LEARNED, 1.7, 1.7, NAN, NAN])
    assert named_cause(loss, RESUMED) != "resume-mismatch"


def test_a_checkpoint_that_was_broken_when_it_was_saved() -> None:
    loss = series("loss", [*LEARNED, NAN, NAN, NAN])
    broken = checkpoint(40, tensor("a.weight", nan=16), tensor("b.weight", nan=16))
    assert named_cause(loss, RESUMED, broken) != "resume-mismatch"


def test_a_loss_that_begins_anew_where_the_run_resumed() -> None:
    """Weights that were not restored are those of an initializer."""
    anew = [3.9, 3.85, 3.8, 3.6, 3.7, 3.6, 3.5, 3.3, 3.2, 3.1]
    loss = series("loss", [*LEARNED, *anew])
    assert judge(make_run(loss, RESUMED)).verdict == "diverged"
    assert judge(make_run(loss)).verdict == "healthy"
    learns = series("loss", [*LEARNED, *anew, 2.6, 2.2, 1.9, 1.8])
    assert judge(make_run(learns, RESUMED)).verdict == "healthy"
    higher = series("loss", [*LEARNED, *(2 * value for value in anew)])
    assert judge(make_run(higher, RESUMED)).verdict == "healthy"


def test_a_stage_that_begins_where_the_run_resumed() -> None:
    stage = event("stage-changed", "stage 2: training on another corpus", 40)
    loss = series("loss", [*LEARNED, 3.9, 3.85, 3.8, 3.6, 3.7, 3.6, 3.5, 3.3, 3.2, 3.1])
    assert judge(make_run(loss, RESUMED, stage)).verdict == "healthy"


def test_a_noisier_objective() -> None:
    noisy = [90.0, 40.0, 85.0, 50.0, 30.0, 60.0, 25.0, 40.0, 20.0, 25.0]
    assert judge(make_run(series("loss", [*LEARNED, *noisy]), RESUMED)).verdict == "healthy"
