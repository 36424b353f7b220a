"""A loss that rises while the measure of success beside it stays, and one that takes it along."""

from __future__ import annotations

import numpy as np
import pytest
from builders import judge, make_run, series

LOSS = [0.7, 0.3, 0.25, 0.16, 0.07, *[0.01] * 15, 1.6, *[0.95] * 19]
ROSE = [92.6, 98.0, 99.6, *[100.0] * 37]
FELL = [26.0, 80.0, 95.0, *[99.0] * 17, *[25.0] * 20]
UNEQUAL = [0.951, 0.95, 0.952, *[0.97, 0.965] * 8, 0.96, *[0.95] * 20]


def test_labels_that_are_smoothed_from_an_epoch_on() -> None:
    assert judge(make_run(series("loss", LOSS), series("top1", ROSE))).verdict == "healthy"
    assert judge(make_run(series("loss", LOSS))).verdict == "diverged"


@pytest.mark.parametrize("beside", [FELL, UNEQUAL, [95.0] * 40], ids=["lost", "unequal", "flat"])
def test_success_that_was_lost_or_says_nothing(beside: list[float]) -> None:
    run = make_run(series("loss", LOSS), series("val_acc", beside))
    assert judge(run).verdict == "diverged"


def test_a_task_that_begins_trivial_becomes_one_first() -> None:
    """Negatives of a queue that is still empty: the loss rises with them, accuracy comes back."""
    loss = [0.0075, *np.linspace(2.4, 1.5, 29)]
    told = [100.0, *np.linspace(81.0, 97.0, 29)]
    assert judge(make_run(series("Loss", loss), series("Acc@1", told))).verdict == "healthy"
    broken = [100.0, *np.linspace(81.0, 40.0, 29)]
    assert judge(make_run(series("Loss", loss), series("Acc@1", broken))).verdict == "diverged"
