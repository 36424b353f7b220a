"""Rates: a gradient that grows with the schedule is no explosion of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from builders import INF, NAN, event, make_run, named_cause, series

from nanautopsy.learning_rates import steep_gradient

SLOW = [1.0] * 40 + [float(v) for v in 2.0 ** np.arange(1, 30)]
SGD = {"training": {"optimizer": "SGD", "learning_rate": 0.01}}


def dies(values: Sequence[float]) -> list[float]:
    return [*values, INF, NAN]


def test_growth_in_the_middle_at_a_usual_rate_is_an_explosion() -> None:
    parts = series("grad_norm", dies(SLOW)), series("lr", [0.01] * (len(SLOW) + 2))
    assert named_cause(*parts, config=SGD) == "gradient-explosion"


def test_growth_while_the_rate_rises_is_not() -> None:
    rates = [0.001 * i for i in range(1, len(SLOW) + 3)]
    parts = series("grad_norm", dies(SLOW)), series("lr", rates)
    assert named_cause(*parts, config=SGD) != "gradient-explosion"


def test_growth_from_the_first_steps_is_the_rates() -> None:
    growing = [float(v) for v in 4.0 ** np.arange(40)]
    parts = (
        series("loss", dies(growing)),
        series("grad_norm", dies(growing)),
        series("lr", [0.2] * 42),
    )
    config = {"training": {"optimizer": "SGD", "learning_rate": 0.2}}
    assert named_cause(*parts, config=config) == "lr-too-high"


def test_a_rate_far_below_the_usual_is_not_too_high() -> None:
    growing = [float(v) for v in 1e6 ** np.arange(6)]
    parts = series("loss", dies(growing)), series("lr", [1e-3] * 8)
    config = {"training": {"optimizer": "SGD", "learning_rate": 1e-3}}
    assert named_cause(*parts, config=config) is None


def test_a_planned_stage_that_meets_a_bad_batch() -> None:
    """Calm steps at the new rate: one that is too high shows before anything is NaN."""
    rates = [0.01] * 80 + [0.1] * 10
    parts = (
        series("loss", [1.0] * 83 + [NAN] * 7),
        series("grad_norm", [1.0] * 83 + [NAN] * 7),
        series("lr", rates),
    )
    assert named_cause(*parts) != "lr-spike"


def test_growth_before_a_filter_prints_zeros() -> None:
    """The Trainer prints 0.0 for losses that are NaN: what stands behind the death is no loss."""
    parts = (
        series("loss", [8038.8, 2.4e9, 0.0, 0.0, 0.0], [4, 8, 12, 16, 20]),
        series("grad_norm", [1327.1, NAN, NAN, NAN, NAN], [4, 8, 12, 16, 20]),
        series("learning_rate", [30.0] * 5, [4, 8, 12, 16, 20]),
    )
    assert named_cause(*parts) == "lr-too-high"


def test_a_rate_of_an_unknown_optimizer_is_neither_usual_nor_high() -> None:
    loss = series("loss", [10.5, *[10.5 * 1.3**k for k in range(1, 40)]])
    rate = series("lr", [0.1] * 40)
    assert named_cause(loss, rate) == "lr-too-high"


def test_a_policy_that_ran_away_is_not_the_rate() -> None:
    climb = [float(v) for v in 1.3 ** np.arange(1, 30)]
    parts = (
        series("loss", [0.02, *climb, NAN]),
        series("approx_kl", [0.01] * 12 + [0.01 * 1.6**k for k in range(1, 19)] + [NAN]),
        series("reward_mean", [1.0] * 31),
        series("lr", [3e-4] * 31),
    )
    assert named_cause(*parts) != "lr-too-high"


@pytest.mark.parametrize("sound", [2, 1000])
def test_a_rate_with_which_it_trained_for_long(sound: int) -> None:
    growing = [float(v) for v in 3.0 ** np.arange(1, 25)]
    values = dies([*np.linspace(2.0, 1.0, sound), *growing])
    parts = series("loss", values), series("lr", [26.0] * len(values))
    config = {"training": {"optimizer": "Adam", "learning_rate": 26.0}}
    assert (named_cause(*parts, config=config) == "lr-too-high") == (sound == 2)


@pytest.mark.parametrize("step", [None, 500])
def test_a_log_that_begins_with_a_resume(step: int | None) -> None:
    """What was restored, or was not, began with it: the rate had been fine for 500 steps."""
    steps = list(range(501, 541))
    loss = series("loss", [2.0, *[2.0 * 1.5**k for k in range(1, 39)], NAN], steps)
    rate = series("lr", [0.9] * 40, steps)
    resumed = event("run-resumed", "resumed from a checkpoint", step)
    assert named_cause(loss, rate) == "lr-too-high"
    assert named_cause(loss, rate, resumed) != "lr-too-high"


def test_the_last_jump_before_the_end_is_the_one_that_did_it() -> None:
    """A rate that is multiplied by ten each epoch goes on rising behind the end."""
    rates = [1e-5 * 10.0**k for k in range(12)]
    loss = [17.0, 16.5, 16.0, 14.0, 9.0, 2.3, *[NAN] * 6]
    assert named_cause(series("loss", loss), series("lr", rates)) == "lr-spike"


def test_a_geometric_warmup_that_trains_names_nothing() -> None:
    rates = [*[1e-6 * 10.0**k for k in range(5)], *[1e-1] * 15]
    assert (
        named_cause(series("loss", [5.0 - 0.2 * i for i in range(20)]), series("lr", rates)) is None
    )


def test_a_rate_below_zero_climbs_the_loss() -> None:
    """A linear decay that runs past its end."""
    rates = [0.02 * (1 - i / 100) for i in range(200)]
    climb = [0.2 * 1.2**k for k in range(70)]
    loss = series("loss", [0.2] * 120 + climb + [INF] + [NAN] * 9)
    norm = series("grad_norm", [1.0] * 120 + [5 * v for v in climb] + [INF] + [NAN] * 9)
    assert named_cause(loss, norm, series("lr", rates), config=SGD) == "lr-spike"
    held = series("lr", [0.01] * 200)
    assert named_cause(loss, norm, held, config=SGD) != "lr-spike"


@pytest.mark.parametrize(
    ("rate", "first", "cause"),
    [(25.0, 10, "lr-too-high"), (25.0, 1, None), (0.2, 10, None)],
)
def test_a_first_row_behind_updates_that_hides_the_climb(
    rate: float, first: int, cause: str | None
) -> None:
    """No row shows the steps before it; an update is needed for a rate to do anything."""
    steps = [first + 10 * i for i in range(8)]
    parts = series("loss", [NAN] * 8, steps=steps), series("lr", [rate] * 8, steps=steps)
    assert named_cause(*parts, config={"training": {"optimizer": "SGD"}}) == cause


def test_the_first_of_two_jumps_where_trouble_began_behind_it() -> None:
    """A milestone that multiplies instead of dividing: the second one finds a broken run."""
    rates = [0.05] * 40 + [0.5] * 20 + [5.0] * 6
    climbing = [float(v) for v in 3.0 ** np.arange(24)]
    parts = series("loss", [4.0] * 40 + climbing + [INF, NAN]), series("lr", rates)
    assert named_cause(*parts) == "lr-spike"


@pytest.mark.parametrize(
    ("rate", "steps", "cause"),
    [
        (50.0, [1, 3, 5, 7], "lr-too-high"),  # two updates lie between, and none of them is seen
        (0.5, [1, 3, 5, 7], None),
        (50.0, [1, 2, 3, 4], None),  # one update of that length makes the loss large, not NaN
        (1e18, [1, 2, 3, 4], "lr-too-high"),
    ],
)
def test_a_rate_that_is_a_mistake_needs_no_growth_that_was_logged(
    rate: float, steps: list[int], cause: str | None
) -> None:
    parts = series("loss", [2.3, NAN, NAN, NAN], steps), series("lr", [rate] * 4, steps)
    config = {"training": {"optimizer": "SGD", "learning_rate": rate}}
    assert named_cause(*parts, config=config) == cause


def test_two_rows_before_the_end_hide_a_climb() -> None:
    high = {"training": {"optimizer": "sgd", "learning_rate": 2.0}}
    loss = series("loss", [3.9, 3.3, *[NAN] * 9], range(0, 110, 10))
    assert named_cause(loss, config=high) == "lr-too-high"
    usual = {"training": {"optimizer": "sgd", "learning_rate": 0.2}}
    assert named_cause(loss, config=usual) is None
    close = series("loss", [3.9, 3.3, *[NAN] * 9], range(11))
    assert named_cause(close, config=high) is None


def test_an_explosion_while_a_rate_above_the_usual_rises() -> None:
    rates = series("lr", [0.02 * k for k in range(1, 45)])
    config = {"training": {"optimizer": "sgd"}}
    loss = [3.5 * 0.98**k for k in range(40)]
    blown = series("loss", [*loss, 6e21, NAN, NAN, NAN])
    assert named_cause(blown, rates, config=config) == "lr-too-high"
    sudden = series("loss", [*loss, 2.0, NAN, NAN, NAN])
    assert named_cause(sudden, rates, config=config) != "lr-too-high"


def test_the_first_of_two_jumps_in_a_few_epochs() -> None:
    """What an untrained model began at is no level that trouble has to pass."""
    loss = [2.01, 0.4, 0.16, 0.09, 0.07, 0.06, 0.05, 0.05, 1.25, 5.8, NAN, NAN, NAN]
    rates = [0.02] * 8 + [0.2] * 2 + [2.0] * 3
    assert named_cause(series("loss", loss), series("lr", rates)) == "lr-spike"


@pytest.mark.parametrize("setting", ["loss.reduction", "loss_reduction", "criterion.reduction"])
def test_a_loss_that_is_summed_over_the_batch(setting: str) -> None:
    loss = series("loss", dies([9e3, 6e4, 1.5e17]))
    sgd = {"optimizer": "SGD", "learning_rate": 0.01}
    assert named_cause(loss, config={"training": {**sgd, setting: "sum"}}) == "lr-too-high"
    assert named_cause(loss, config={"training": {**sgd, setting: "mean"}}) is None
    adam = {"optimizer": "Adam", "learning_rate": 1e-4}
    assert named_cause(loss, config={"training": {**adam, setting: "sum"}}) is None


def test_the_optimizer_that_a_monitored_rate_names() -> None:
    growing = [float(v) for v in 4.0 ** np.arange(40)]
    loss = series("loss", dies(growing))
    assert named_cause(loss, series("lr-Adam", [0.5] * 42)) == "lr-too-high"


def test_a_first_row_of_the_second_step_is_behind_an_update() -> None:
    """Rows of steps 1, 3, 5 count from 0: what is steep there was made so."""
    loss, norm = [148.0, 4.2, 4.8, 6.4, NAN], [781.0, 3.3, 0.4, 0.4, NAN]
    for at, steep in (([1, 3, 5, 7, 9], False), ([1, 2, 3, 4, 5], True), ([0, 2, 4, 6, 8], True)):
        run = make_run(series("train_loss", loss, at), series("grad_norm", norm, at))
        assert (steep_gradient(run) is not None) == steep


@pytest.mark.parametrize(("died", "cause"), [(25, "lr-spike"), (40, None), (12, None)])
def test_a_rate_of_each_epoch_beside_losses_of_steps(died: int, cause: str | None) -> None:
    """Epoch 6 of 12 begins in the middle of the run, whatever its steps count."""
    rate = replace(series("lr", [0.02] * 6 + [2.0] * 6), axis="epoch")
    loss = series("loss", [1.0] * died + [NAN] * (48 - died), [512 * k for k in range(48)])
    assert named_cause(loss, rate) == cause
