"""Levels that are lost, where few rows or other numbers than a loss show it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from builders import (
    INF,
    NAN,
    checkpoint,
    detect,
    event,
    judge,
    make_run,
    named_cause,
    series,
    tensor,
)

from nanautopsy.model import Checkpoint, Source

EPOCHS = [2.08, 0.67, 0.22, 0.17]
RATES = [0.05] * 4


def verdict(*parts: object) -> str:
    return judge(make_run(*parts)).verdict  # type: ignore[arg-type]


def test_a_few_epochs_behind_a_rate_that_jumped() -> None:
    loss = series("loss", [*EPOCHS, 567.0, 2.36, 2.33, 2.32, 2.57, 2.55])
    rate = series("lr", [*RATES, *[0.5] * 6])
    assert verdict(loss, rate) == "diverged"
    assert named_cause(loss, rate) == "lr-spike"
    assert verdict(series("loss", [*EPOCHS, 567.0, 2.3, 1.8, 1.2, 0.7, 0.4]), rate) == "healthy"
    assert verdict(loss, series("lr", [0.05] * 10)) == "healthy"  # harder data, perhaps


RISING = [0.02 * k for k in range(1, 11)] + [0.2] * 5
TURNED = [2.65, 2.32, 2.40, 2.49, 2.39, 2.72, 3.25, 4.05, 3.92, 3.89, 3.94, 3.99, 3.96, 4.03, 4.0]


def test_a_loss_that_turns_while_the_rate_rises_on() -> None:
    loss = series("loss", TURNED)
    assert verdict(loss, series("lr", RISING)) == "diverged"
    assert named_cause(loss, series("lr", RISING)) == "lr-too-high"
    assert verdict(loss, series("lr", [0.1] * 15)) == "healthy"
    bump = [*TURNED[:9], 3.2, 2.8, 2.5, 2.3, 2.2, 2.1]
    assert verdict(series("loss", bump), series("lr", RISING)) == "healthy"


@pytest.mark.parametrize(("last", "told"), [(11.0, "diverged"), (70.0, "healthy")])
def test_a_first_loss_past_what_float32_can_square(last: float, told: str) -> None:
    loss = series("loss", [9.8e29, 3.3e24, 4.2e12, 4.1e9, 4.7, 2.8, 2.5, 2.4, 2.5])
    accuracy = series("acc", list(np.linspace(10.7, last, 9)))
    assert verdict(loss, accuracy) == told
    assert verdict(loss) == "healthy"


def test_players_that_run_away_together() -> None:
    up = [30.0 * 1.15**k for k in range(60)]
    critic, generator = series("D_loss", [-v for v in up]), series("G_loss", up)
    assert verdict(critic, generator) == "diverged"
    assert verdict(critic, series("G_loss", [30.0 + k for k in range(60)])) == "healthy"
    level = [3e4 + 100 * (-1) ** k for k in range(60)]
    assert verdict(series("D_loss", level), series("G_loss", level)) == "healthy"


def test_a_first_loss_behind_updates_that_no_objective_has() -> None:
    rate = series("lr", [0.6] * 4, [4, 9, 14, 19])
    loss = series("train_loss", [2.9e11, NAN, NAN, NAN], [4, 9, 14, 19])
    assert named_cause(loss, rate) == "lr-too-high"
    unscaled = series("train_loss", [2.9e5, NAN, NAN, NAN], [4, 9, 14, 19])
    assert named_cause(unscaled, rate) is None


def test_an_evaluation_far_above_its_epoch() -> None:
    loss, rate = series("loss", [2.4e4, NAN, NAN]), series("lr", [0.3] * 3)
    assert named_cause(loss, series("val_loss", [2.6e17, NAN, NAN]), rate) == "lr-too-high"
    assert named_cause(loss, series("val_loss", [2.6e4, NAN, NAN]), rate) is None


def test_weights_that_every_step_multiplies() -> None:
    norm = series("param_norm", [14.0 * 3.0**k for k in range(37)] + [NAN] * 20)
    loss = series("train_loss", [3.5 + 0.1 * (-1) ** k for k in range(37)] + [NAN] * 20)
    config = {"training": {"optimizer": "muon", "learning_rate": 0.05, "weight_decay": 45.0}}
    assert named_cause(norm, loss, config=config) == "lr-too-high"
    sound = series("param_norm", [14.0 + 0.3 * k for k in range(37)] + [NAN] * 20)
    config["training"]["weight_decay"] = 0.1
    assert named_cause(sound, loss, config=config) is None


@pytest.mark.parametrize(("momentum", "cause"), [(1.0, "lr-too-high"), (0.9, None)])
def test_a_momentum_that_forgets_nothing(momentum: float, cause: str | None) -> None:
    loss = series("loss", [4.0, 3.5, 3.1, 3.1, 3.1, 3.2, 3.8, 20.0, 480.0, 7e3, NAN, NAN])
    config = {"training": {"optimizer": "sgd", "learning_rate": 0.3, "momentum": momentum}}
    assert named_cause(loss, config=config) == cause


def test_the_momentum_of_a_normalization_is_none() -> None:
    run = make_run(config={"training": {"optim.momentum": 0.9, "model.bn.momentum": 1.0}})
    assert run.facts["momentum"].value == 0.9
    assert "momentum" not in make_run(config={"training": {"model.bn.momentum": 1.0}}).facts


def test_a_rate_that_rose_until_it_was_too_high() -> None:
    rates = [1e-3 * 1.35**k for k in range(32)]
    loss = [4.4 - 0.05 * k for k in range(29)] + [NAN] * 3
    assert named_cause(series("loss", loss), series("lr", rates)) == "lr-too-high"
    usual = [1e-4 * k for k in range(1, 33)]
    assert named_cause(series("loss", loss), series("lr", usual)) is None


def test_targets_that_nobody_scaled() -> None:
    loss = series("mse", [1.08e9, 5.9e21, INF, NAN], [0, 1, 2, 3])
    config = {"training": {"optimizer": "SGD", "learning_rate": 1e-4}}
    assert named_cause(loss, config=config) == "lr-too-high"
    config["training"]["optimizer"] = "Adam"
    assert named_cause(loss, config=config) is None


def test_growth_at_once_has_no_usual_level_behind_it() -> None:
    norm = series("grad_norm", [105.0, 3.4e9, *[3e8] * 12, 1e6, NAN])
    grown = [f for f in detect(make_run(norm)) if f.id == "grad-norm-growth"]
    assert grown
    assert grown[0].data["from"] == 105.0


def test_a_level_that_measures_nothing() -> None:
    """An energy without a bound, which has come to rest where float32 is coarse."""
    energy = [-1e-5 * 10.0**k for k in range(28)] + [-1e22, 3e21] * 40
    assert verdict(series("loss", energy)) == "diverged"
    assert verdict(series("loss", [3e9 * 0.99**k for k in range(100)])) == "healthy"


def test_a_cross_entropy_that_is_worse_than_guessing() -> None:
    nats = [58.0, 86.0, 88.0, 100.0, 99.0, 80.0, 70.0, 55.0, 44.0, 40.0, 38.0, 33.0]
    perplexity = series("ppl", [float(np.exp(v)) for v in nats])
    rate = series("lr", [60.0] * 12)
    assert verdict(series("loss", nats), perplexity) == "diverged"
    assert named_cause(series("loss", nats), perplexity, rate) == "lr-too-high"
    assert verdict(series("loss", nats)) == "healthy"  # a squared error, for all we know
    learned = [v / 8 for v in nats]
    other = series("ppl", [float(np.exp(v)) for v in learned])
    assert verdict(series("loss", learned), other) == "healthy"


@pytest.mark.parametrize(("last", "told"), [(0.1, "diverged"), (0.6, "healthy")])
def test_a_loss_that_was_thrown_up_and_learns_nothing(last: float, told: str) -> None:
    loss = series("loss", [2.3, 4.8e4, 2.3e3, 930.0, 5.2, *[2.35, 2.3, 2.4] * 10])
    accuracy = series("train_acc", list(np.linspace(0.1, last, 35)))
    assert verdict(loss, accuracy) == told
    learns = series("loss", [2.3, 4.8e4, 2.3e3, 930.0, *np.linspace(5, 0.5, 31)])
    assert verdict(learns, accuracy) == "healthy"


def test_a_climb_that_the_first_two_rows_hide() -> None:
    loss = series("loss", [1.38, NAN, NAN, NAN], [0, 5, 10, 15])
    config = {"training": {"optimizer": "sgd", "learning_rate": 5.0}}
    assert named_cause(loss, config=config) == "lr-too-high"
    bounded = {"training": {"optimizer": "adam", "learning_rate": 0.02}}
    assert named_cause(loss, config=bounded) is None  # ten steps of 0.02 break nothing
    usual = {"training": {"optimizer": "sgd", "learning_rate": 0.1}}
    assert named_cause(loss, config=usual) is None
    at_once = series("loss", [1.38, NAN, NAN, NAN], [0, 1, 2, 3])
    assert named_cause(at_once, config=config) is None


def test_saved_weights_that_grew_all_together() -> None:
    def saved(step: int, scale: float) -> Checkpoint:
        bad = 16 if scale > 1e30 else 0
        names = ("fc1.weight", "fc1.bias", "fc2.weight")
        return checkpoint(step, *(tensor(n, nan=bad, max_abs=scale) for n in names))

    rate = {"training": {"optimizer": "sgd", "learning_rate": 0.9}}
    sizes = (0.2, 3e5, 2e12, 1e31)
    grew = [saved(5 * k, size) for k, size in enumerate(sizes)]
    assert named_cause(*grew, config=rate) == "lr-too-high"
    stayed = [saved(5 * k, size) for k, size in enumerate((0.2, 0.5, 2.0, 1e31))]
    assert named_cause(*stayed, config=rate) != "lr-too-high"


def test_a_few_rows_around_chance_behind_a_rate_that_jumped() -> None:
    sound = [2.37, 2.51, 2.28, *[2.0 * 0.9**k for k in range(57)]]
    behind = [6.3, 59.3, 9.2, 2.73, 2.35, 2.61, 2.51, 2.58, 2.74, 2.59]
    rate = series("lr", [1e-3] * 60 + [0.5] * 10)
    assert named_cause(series("loss", sound + behind), rate) == "lr-spike"
    back = [6.3, 59.3, 9.2, 2.73, 2.0, 1.6, 1.1, 0.8, 0.6, 0.5]
    assert verdict(series("loss", sound + back), rate) == "healthy"


def test_rows_behind_a_resume_far_above_all_before() -> None:
    resumed = event("run-resumed", "restored params, step=32", 32)
    before = [9.1, 8.1, 5.1, *[5.0 * 0.8**k for k in range(17)], *[0.2, 0.23] * 6]
    loss = series("loss", [*before, 3353.0, 614.0, 78.0, 124.0, 264.0, 344.0, 10.8, 3.7])
    assert named_cause(loss, resumed) == "resume-mismatch"
    back = series("loss", [*before, 3353.0, 614.0, 78.0, 12.0, 2.6, 1.4, 0.5, 0.3])
    assert verdict(back, resumed) == "healthy"
    task = series("loss", [*before, 30.0, 28.0, 26.0, 24.0, 22.0, 20.0, 19.0, 18.0])
    assert verdict(task, resumed) == "healthy"


def test_a_loss_that_a_rising_rate_threw_up_before_it_came_to_rest_at_chance() -> None:
    rates = [0.02 * k for k in range(60)]
    loss = [1.871, 1.67, 1.39, 1.09, 1.2, 1.36, 1.24, 3.7, 2.35, 41.0, *[1.79176] * 50]
    assert named_cause(series("loss", loss), series("lr", rates)) == "lr-too-high"
    flat = series("lr", [1e-3] * 60)
    assert named_cause(series("loss", loss), flat) != "lr-too-high"


@pytest.mark.parametrize(("last", "told"), [(15.2, "diverged"), (70.0, "healthy")])
def test_a_loss_thrown_up_beside_another_files_measure(last: float, told: str) -> None:
    values = [2.3, 4.2e5, 6.3e4, 7.5, 3.8, *[2.5 + 0.1 * (k % 4) for k in range(30)]]
    measure = series("eval_top1", list(np.linspace(16.4, last, 6)))
    other = replace(measure, source=Source("summary.csv", tag="eval_top1"), axis="epoch")
    assert verdict(series("Loss", values), other) == told
    assert verdict(series("Loss", values)) == "healthy"


def test_a_loss_that_gave_back_what_it_had_learned_below_its_peak_rate() -> None:
    fell = [3.6 * 0.8**k for k in range(15)]
    loss = [
        *fell,
        *[0.16 * 1.2**k for k in range(14)],
        *[2.0 + 0.02 * (-1) ** k for k in range(20)],
    ]
    rates = [5e-5 * 1.25**k for k in range(29)] + [5e-5 * 1.25**28] * 20
    adam = {"training": {"optimizer": "adamw"}}
    assert verdict(series("loss", loss), series("lr", rates)) == "diverged"
    assert named_cause(series("loss", loss), series("lr", rates), config=adam) == "lr-too-high"
    sweep = series("lr", [5e-5 * 1.25**k for k in range(49)])
    assert verdict(series("loss", loss), sweep) == "healthy"
    back = [*loss[:35], *[2.0 * 0.85**k for k in range(14)]]
    assert verdict(series("loss", back), series("lr", rates)) == "healthy"
    assert verdict(series("loss", loss), series("lr", [0.02] * 49)) == "healthy"
    cycle = series("lr", [*[0.03 - 0.002 * k for k in range(15)], *rates[15:]])
    assert verdict(series("loss", loss), cycle) == "healthy"
