"""Marks of float16 in logged numbers, and counters that keep step with the steps."""

from __future__ import annotations

import numpy as np
import pytest
from builders import INF, NAN, checkpoint, detect, judge, make_run, named_cause, series, tensor

from nanautopsy.detectors.float16_marks import is_on_grid

GENERATOR = np.random.default_rng(5)
VALUES = GENERATOR.uniform(1.0, 9.0, 12)
RISING = [2.0e4 * 1.06**i for i in range(20)]


@pytest.mark.parametrize(
    ("values", "on_grid"),
    [
        (VALUES.astype(np.float16), True),
        (VALUES.astype(np.float32), False),
        (np.round(VALUES, 3), False),
        (np.array([34304.0, 55776.0, 41280.0, 47136.0, 52000.0, 38944.0, 60032.0]), True),
        (np.array([0.5, 0.25, 0.125, 0.0625]), False),  # of any format
        (np.arange(1.0, 40.0), False),
        (np.array([NAN, INF]), False),
    ],
)
def test_the_grid_of_float16(values: np.ndarray, on_grid: bool) -> None:
    assert is_on_grid(values.astype(np.float64)) is on_grid


def test_bfloat16_has_a_grid_of_its_own() -> None:
    bits = VALUES.astype(np.float32).view(np.uint32) & np.uint32(0xFFFF0000)
    assert not is_on_grid(bits.view(np.float32).astype(np.float64))


def ends(*values: float) -> bool:
    run = make_run(series("recon_loss", list(values)))
    return any(finding.id == "ends-at-float16-max" for finding in detect(run))


def test_what_rises_to_the_maximum_and_is_inf_met_the_end_of_float16() -> None:
    assert ends(*RISING, INF)
    assert ends(*[-value for value in RISING], -INF)


@pytest.mark.parametrize(
    "values",
    [
        [*RISING, NAN],
        [*RISING, 8.1e4, INF],  # beyond it, and finite
        [3.0e4, 2.9e4, 3.1e4, 3.0e4, 2.9e4, INF],  # at its usual level
        [20.0, 21.0, 19.0, 20.0, 4.0e4, INF],  # in one leap, as anything explodes
        [2.0 * 1.05**i for i in range(40)] + [INF],
    ],
)
def test_other_ways_to_inf(values: list[float]) -> None:
    assert not ends(*values)


def test_nothing_states_the_format_but_the_loss_has_it() -> None:
    held = [float(np.float16(v)) for v in RISING]
    assert named_cause(series("loss", [*held, INF, INF, INF])) == "fp16-overflow"


def test_a_run_in_bfloat16_is_not_doubted() -> None:
    loss = series("loss", [*RISING, INF, INF])
    assert named_cause(loss, config={"training": {"dtype": "bfloat16"}}) != "fp16-overflow"


def test_a_saved_buffer_that_float16_could_not_hold() -> None:
    before = checkpoint(4, *_parts(5.4e4))
    after = checkpoint(5, *_parts(5.4e4, pos_inf=1, first_nonfinite=(3,)))
    assert named_cause(before, after) == "fp16-overflow"


def test_a_model_that_is_nan_throughout_tells_nothing_of_its_buffers() -> None:
    parts = [tensor(f"{i}.weight", dtype="F16", nan=16, first_nonfinite=(0,)) for i in range(3)]
    assert named_cause(checkpoint(5, *parts)) is None


def _parts(largest: float, **more: object) -> list:
    half = {"dtype": "F16", "format_max": 65504.0}
    sound = [tensor(f"{i}.weight", **half) for i in range(3)]  # type: ignore[arg-type]
    buffer = tensor("1.running_var", (16,), max_abs=largest, **half, **more)  # type: ignore[arg-type]
    return [*sound, buffer]


STEPS = list(range(10, 160, 10))
LOSS = series("train_loss", [90.0 + i % 3 for i in range(15)], STEPS)
SCALE = series("loss_scale", [65536.0] * 15, STEPS)


def test_a_static_scale_that_overflows_at_every_step() -> None:
    counter = series("overflows", [s - s // 40 for s in STEPS], STEPS)
    assert named_cause(LOSS, SCALE, counter) == "fp16-overflow"


@pytest.mark.parametrize(
    ("tag", "counts"),
    [
        ("overflows", [0, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 5, 6, 6]),
        ("overflows", [10, 20, 25, 25, 25, 25, 25, 26, 26, 26, 27, 27, 27, 27, 27]),
        ("nan_elements", [40 * s for s in STEPS]),
        ("nan_grad_frac", [float(s) for s in STEPS]),
        ("skipped", [float(s) for s in STEPS]),
        ("nan_labels", [float(s) for s in STEPS]),
        ("inf_steps", [float(s) for s in STEPS]),
    ],
)
def test_counters_of_sound_runs(tag: str, counts: list[float]) -> None:
    run = make_run(LOSS, SCALE, series(tag, counts, STEPS))
    assert judge(run).verdict != "non-finite"


def test_a_scaler_that_keeps_the_weights_leaves_the_forward_pass() -> None:
    loss = series("loss", [2.3, 8.0, 83.4] + [NAN] * 14)
    config = {"deepspeed": {"fp16.enabled": True, "fp16.loss_scale": 0}}
    assert named_cause(loss, config=config) == "fp16-overflow"
    assert named_cause(loss, config={"training": {"bf16": True}}) != "fp16-overflow"


def test_a_rise_that_was_logged_once_an_epoch_may_have_gone_on_to_anywhere() -> None:
    loss = series("loss", [*RISING, INF], [1000 * i for i in range(21)])
    assert named_cause(loss) is None
