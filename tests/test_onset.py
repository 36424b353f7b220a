"""Verdict and onset, from runs built in memory: what counts, what came first, what is benign."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from builders import INF, NAN, checkpoint, event, judge, make_run, series, tensor
from hypothesis import given
from hypothesis import strategies as st

from nanautopsy.model import ArtifactReport, Run, Source

FALLING = [4.0, 3.6, 3.3, 3.1, 3.0, 2.9, 2.85, 2.8, 2.77, 2.75, 2.74, 2.73]
NORMS = [1.3, 1.2, 1.1, 1.15, 1.0, 0.9, 0.95, 0.9, 0.85, 0.9, 0.8, 0.85]
FP16 = {"training": {"fp16": True}}


def test_a_falling_loss_is_healthy() -> None:
    located = judge(make_run(series("loss", FALLING), series("grad_norm", NORMS)))
    assert located.verdict == "healthy"
    assert located.onset is None


def test_nothing_to_judge_is_undetermined() -> None:
    assert judge(make_run(series("accuracy", [0.1, 0.2]))).verdict == "undetermined"


def test_the_interval_reaches_from_the_last_finite_to_the_first_nonfinite_step() -> None:
    located = judge(make_run(series("train/loss", [3, 2.5, NAN, NAN], steps=[10, 20, 30, 40])))
    onset = located.onset
    assert onset is not None
    assert (onset.step, onset.last_finite, onset.quantity) == (30, 20, "loss")
    assert onset.persistent
    assert onset.value == "nan"


def test_a_gradient_that_goes_first_is_the_onset() -> None:
    loss, norm = series("loss", [3, 2.5, 2.4, NAN]), series("grad_norm", [1, 1, INF, NAN])
    onset = judge(make_run(loss, norm)).onset
    assert onset is not None
    assert (onset.step, onset.quantity, onset.value) == (3, "grad_norm", "inf")


def test_within_one_step_the_loss_comes_before_its_gradient() -> None:
    loss, norm = series("loss", [3, 2.5, NAN]), series("grad_norm", [1, 1, NAN])
    onset = judge(make_run(loss, norm)).onset
    assert onset is not None
    assert (onset.step, onset.quantity) == (3, "loss")


def test_a_checkpoint_narrows_the_interval() -> None:
    onset = judge(
        make_run(
            series("loss", [3, 2.5, NAN], steps=[10, 60, 110]),
            checkpoint(50, tensor("h.0.weight"), tensor("h.1.weight")),
            checkpoint(100, tensor("h.0.weight"), tensor("h.1.weight", nan=3)),
        )
    ).onset
    assert onset is not None
    assert (onset.step, onset.last_finite) == (100, 60)
    assert onset.quantity == "parameters"
    assert onset.layer == "h.1.weight"


def test_a_checkpoint_that_is_nan_throughout_cannot_tell_the_layer() -> None:
    onset = judge(
        make_run(checkpoint(5, tensor("a.weight", nan=16), tensor("b.weight", nan=16)))
    ).onset
    assert onset is not None
    assert onset.layer is None
    assert "cannot tell the layer" in onset.how


def test_gradients_that_turn_all_at_once_tell_no_layer() -> None:
    layers = [series(f"grad_norm/layers.{i}.mlp", [1.0, NAN]) for i in range(4)]
    onset = judge(make_run(series("loss", [3.0, NAN]), *layers)).onset
    assert onset is not None
    assert onset.layers == ()


def test_a_backward_pass_is_poisoned_from_the_last_bad_layer_down() -> None:
    layers = [series(f"grad_norm/layers.{i}.mlp", [1.0, NAN if i < 3 else 1.0]) for i in range(6)]
    onset = judge(make_run(series("loss", [3.0, 2.9]), *layers)).onset
    assert onset is not None
    assert onset.layers == ("layers.2.mlp", "layers.1.mlp", "layers.0.mlp")


def test_loss_zero_beside_a_nan_norm_is_masked() -> None:
    onset = judge(
        make_run(series("loss", [3.1, 2.9, 0.0, 0.0]), series("grad_norm", [1, 1.2, NAN, NAN]))
    ).onset
    assert onset is not None
    assert onset.masked
    assert (onset.step, onset.quantity) == (3, "loss")


def test_loss_zero_beside_a_zero_norm_is_not() -> None:
    located = judge(
        make_run(series("loss", [0.5, 0.0, 0.0, 0.0]), series("grad_norm", [1, 0.0, 0.0, 0.0]))
    )
    assert located.verdict == "healthy"


TRAINER = {"training": {"per_device_train_batch_size": 8}}


def test_a_batch_without_a_label_is_masked_by_the_trainer() -> None:
    losses, norms = [*FALLING[:6], 0.0, *FALLING[7:]], [*NORMS[:6], 0.0, *NORMS[7:]]
    run = make_run(series("loss", losses), series("grad_norm", norms), config=TRAINER)
    onset = judge(run).onset
    assert onset is not None
    assert (onset.last_finite, onset.step, onset.masked, onset.persistent) == (6, 7, True, False)
    assert judge(make_run(series("loss", losses), series("grad_norm", norms))).verdict == "healthy"


def test_a_reward_that_gives_no_gradient_is_not_masked() -> None:
    losses, norms = [0.01, 0.0, 0.02, 0.0, 0.015, 0.01], [1.0, 0.0, 1.1, 0.0, 0.9, 1.0]
    run = make_run(series("loss", losses), series("grad_norm", norms), config=TRAINER)
    assert judge(run).verdict == "healthy"


def test_a_loss_of_zero_beside_sound_norms_hides_nothing() -> None:
    onset = judge(
        make_run(
            series("loss", [0.0] * 5),
            series("grad_norm", [0.0, 0.0, NAN, 0.0, 0.0]),
            config={"training": {"bf16": True}},
        )
    ).onset
    assert onset is not None
    assert (onset.step, onset.quantity, onset.masked) == (3, "grad_norm", False)


def test_an_arithmetic_warning_beside_a_finite_run_is_benign() -> None:
    warning = event("nonfinite-text", "divide by zero encountered", value="inf", quantity="warning")
    assert judge(make_run(series("loss", FALLING), warning)).verdict == "healthy"


def test_a_printed_value_stands_behind_what_was_measured_at_its_step() -> None:
    printed = event("nonfinite-text", "tensor(nan)", value="nan", quantity="value", step=4)
    onset = judge(make_run(series("eval_loss", [3.0, 2.9, 2.8, NAN, NAN]), printed)).onset
    assert onset is not None
    assert (onset.quantity, onset.last_finite, onset.step) == ("eval_loss", 3, 4)


def test_a_warning_does_not_hide_a_statement() -> None:
    warning = event("nonfinite-text", "divide by zero encountered", value="inf", quantity="warning")
    statement = event("nonfinite-text", "NAN in logits", value="nan", quantity="logits", step=3)
    located = judge(make_run(series("loss", FALLING), warning, statement))
    assert located.onset is not None
    assert located.onset.quantity == "logits"


def test_histogram_extremes_of_all_layers_tell_no_layer() -> None:
    edges = [
        series(f"gradients/layers.{i}.mlp#{edge}", [1.0, NAN])
        for i in range(3)
        for edge in ("max", "min")
    ]
    onset = judge(make_run(series("loss", [3.0, NAN]), *edges)).onset
    assert onset is not None
    assert onset.layers == ()


@pytest.mark.parametrize("groups", [2, 3, 5])
def test_the_deepspeed_sentinel_is_a_nonfinite_gradient(groups: int) -> None:
    mark = math.sqrt(groups)
    onset = judge(
        make_run(
            series("loss", [3.1, 2.9, 2.8, 0.0]),
            series("grad_norm", [0.9, 1.1, mark, mark]),
            config={"deepspeed": {"zero_optimization.stage": 2}},
        )
    ).onset
    assert onset is not None
    assert (onset.step, onset.quantity, onset.masked) == (3, "grad_norm", True)
    assert f"sqrt({groups})" in onset.how


def test_the_sentinel_is_read_from_seven_printed_digits() -> None:
    onset = judge(
        make_run(
            series("loss", [3.1, 2.9, 0.0]),
            series("grad_norm", [0.9, 1.1, 1.4142135]),
            config={"deepspeed": {"zero_optimization.stage": 2}},
        )
    ).onset
    assert onset is not None
    assert onset.step == 3


def test_the_sentinel_of_one_group_repeats_beside_a_loss_of_zero() -> None:
    onset = judge(
        make_run(
            series("loss", [3.1, 2.9, 2.8, 0.0, 0.0, 0.0]),
            series("grad_norm", [0.9, 1.0, 1.1, 1.0, 1.0, 1.0]),
            config={"deepspeed": {"zero_optimization.stage": 3}},
        )
    ).onset
    assert onset is not None
    assert onset.step == 4


def test_the_sentinel_is_read_from_four_printed_digits() -> None:
    onset = judge(
        make_run(
            series("loss", [3.1, 2.9, 2.8, 0.0, 0.0]),
            series("grad_norm", [0.9, 1.1, 1.414, 1.414, 1.414]),
            config={"deepspeed": {"zero_optimization.stage": 2}},
        )
    ).onset
    assert onset is not None
    assert (onset.step, onset.masked) == (3, True)


def test_one_rounded_root_is_no_sentinel() -> None:
    located = judge(
        make_run(
            series("loss", FALLING),
            series("grad_norm", [*NORMS[:5], 1.414, *NORMS[6:]]),
            config={"deepspeed": {"zero_optimization.stage": 2}},
        )
    )
    assert located.verdict == "healthy"


def test_before_the_filter_a_loss_of_zero_is_what_it_says() -> None:
    run = make_run(
        series("loss", [3.1, 2.9, 0.0, 0.0]),
        series("learning_rate", [1e-4] * 4),
        series("epoch", [0.1, 0.2, 0.3, 0.4]),
        packages={"transformers": "4.9.2"},
    )
    assert judge(run).verdict == "healthy"


def test_a_norm_clipped_to_one_is_no_sentinel() -> None:
    located = judge(
        make_run(
            series("loss", FALLING),
            series("grad_norm", [1.0] * 12),
            config={"deepspeed": {"zero_optimization.stage": 2}},
        )
    )
    assert located.verdict == "healthy"


def test_scaler_skips_at_the_start_are_benign() -> None:
    norms = [INF, INF, NAN, *NORMS[3:]]
    run = make_run(series("loss", FALLING), series("grad_norm", norms), config=FP16)
    assert judge(run).verdict == "healthy"


def test_scaler_skips_in_between_are_benign_in_float16() -> None:
    norms = [*NORMS[:6], INF, *NORMS[7:]]
    assert judge(make_run(series("loss", FALLING), series("grad_norm", norms), config=FP16)
                 ).verdict == "healthy"  # fmt: skip


def test_a_nan_norm_in_bfloat16_is_none_of_a_scaler() -> None:
    norms = [*NORMS[:6], NAN, *NORMS[7:]]
    located = judge(
        make_run(
            series("loss", FALLING),
            series("grad_norm", norms),
            config={"training": {"bf16": True}},
        )
    )
    assert located.verdict == "non-finite"
    assert located.onset is not None
    assert not located.onset.persistent


def test_the_search_for_a_scale_is_no_onset_of_a_later_death() -> None:
    losses = [*FALLING[:9], NAN, NAN, NAN]
    norms = [INF, NAN, INF, *NORMS[3:9], NAN, NAN, NAN]
    for config in (FP16, {}):
        onset = judge(
            make_run(series("loss", losses), series("grad_norm", norms), config=config)
        ).onset
        assert onset is not None
        assert (onset.last_finite, onset.step, onset.quantity) == (9, 10, "loss")


def test_probes_of_a_scale_are_benign_where_its_search_was_seen() -> None:
    losses = [*FALLING, *FALLING[-6:]]
    norms = [INF, INF, NAN, *NORMS[3:8], INF, *NORMS[3:8], INF, *NORMS[3:6]]
    assert judge(make_run(series("loss", losses), series("grad_norm", norms))
                 ).verdict == "healthy"  # fmt: skip


def test_a_single_bad_norm_without_a_scaler_counts() -> None:
    norms = [*NORMS[:6], INF, *NORMS[7:]]
    onset = judge(make_run(series("loss", FALLING), series("grad_norm", norms))).onset
    assert onset is not None
    assert (onset.step, onset.persistent) == (7, False)


@pytest.mark.parametrize(("last", "verdict"), [(2.71, "healthy"), (NAN, "non-finite")])
def test_a_log_that_says_of_skipped_gradients_what_they_are(last: float, verdict: str) -> None:
    norms = [INF, INF, INF, *NORMS[3:8], INF, *NORMS[9:]]
    said = [event("nonfinite-text", step=i, quantity="gradient", value="inf") for i in (1, 2, 3, 9)]
    run = make_run(series("loss", [*FALLING[:-1], last]), series("grad_norm", norms), *said)
    assert judge(run).verdict == verdict


@pytest.mark.parametrize(
    ("text", "verdict"),
    [("gradient is inf, skipping the update", "healthy"), ("gradient is inf", "non-finite")],
)
def test_a_gradient_that_the_program_says_it_skipped_is_benign(text: str, verdict: str) -> None:
    said = event("nonfinite-text", text, step=5, quantity="gradient", value="inf")
    assert judge(make_run(series("loss", FALLING), said)).verdict == verdict
    always = [replace(said, step=step) for step in range(1, len(FALLING) + 1)]
    assert judge(make_run(series("loss", FALLING), *always)).verdict == "non-finite"


@pytest.mark.parametrize(
    ("steps", "config", "verdict"),
    [
        ((5, 40, 80), None, "healthy"),  # one in the search at the beginning
        ((40,), None, "healthy"),
        ((40,), {"training": {"precision": "fp32"}}, "non-finite"),
        ((40,), FP16, "healthy"),
        ((30, 41, 55, 66, 77), None, "non-finite"),
        ((30, 41, 55, 66, 77), FP16, "healthy"),
    ],
)
def test_skips_that_no_loss_scale_explains(
    steps: tuple[int, ...], config: dict[str, dict[str, bool | str]] | None, verdict: str
) -> None:
    text = "non-finite gradient in fc.weight -> optimizer step skipped"
    said = [event("nonfinite-text", text, s, quantity="gradient", value="nan") for s in steps]
    losses = series("loss", [3.0 - i / 50 for i in range(90)])
    assert judge(make_run(losses, *said, config=config)).verdict == verdict


@pytest.mark.parametrize(("named", "step"), [(5, 5), (None, 6)])
def test_lines_of_one_moment_share_the_step_that_one_of_them_names(
    named: int | None, step: int
) -> None:
    said = event("nonfinite-text", "grad of fc has 56 NaN", 5, quantity="gradient", value="nan")
    end = replace(said, text="NaN gradients at iter 5", step=named, step_exact=named is not None)
    onset = judge(make_run(series("loss", FALLING), said, *([end] if named else []))).onset
    assert onset is not None and onset.step == step


def test_a_norm_that_is_never_finite_beside_one_that_always_is_counts_for_nothing() -> None:
    norms = series("grad_norm", NORMS), series("grad_norm_teacher", [NAN] * len(NORMS))
    assert judge(make_run(series("loss", FALLING), *norms)).verdict == "healthy"
    assert judge(make_run(series("loss", FALLING), norms[1])).verdict == "non-finite"


def test_a_loss_scale_that_collapses_late_does_so_where_its_last_fall_begins() -> None:
    scale = [2.0**15, 2.0**14, *[2.0**13] * 20, *[2.0 ** (12 - i) for i in range(16)]]
    losses = [*[3.0 - i / 40 for i in range(22)], *[NAN] * 16]
    onset = judge(make_run(series("loss", losses), series("loss_scale", scale), config=FP16)).onset
    assert onset is not None
    assert (onset.last_finite, onset.step, onset.quantity) == (22, 23, "loss")


def test_no_finite_values_follow_a_loss_scaler_that_gave_up() -> None:
    losses = series("loss", [3.0 - i / 40 for i in range(20)])
    onset = judge(make_run(losses, event("loss-scale-minimum", step=20), config=FP16)).onset
    assert onset is not None
    assert (onset.step, onset.persistent) == (20, True)


def test_a_layer_output_that_overflows_names_its_layer() -> None:
    run = make_run(
        series("loss", [3, 2.5, INF, NAN]),
        series("layers.4.out_absmax", [900, 2e3, 1e4, 3e4]),
        series("layers.5.out_absmax", [9e3, 5e4, INF, INF]),
    )
    onset = judge(run).onset
    assert onset is not None
    assert (onset.step, onset.quantity, onset.layer) == (3, "activations", "layers.5")


def test_skips_with_good_steps_between_collapse_in_their_last_stretch() -> None:
    steps = [*range(1, 18), *range(24, 28)]
    skips = [
        event("overflow-skipped", scale_after=2.0 ** (20 - i), step=step)
        for i, step in enumerate(steps)
    ]
    losses = [*[3.0 - i / 40 for i in range(24)], NAN, NAN, NAN]
    onset = judge(make_run(series("loss", losses), *skips)).onset
    assert onset is not None
    assert onset.step == 24


def test_a_log_without_steps_orders_its_loss_and_its_loss_scale() -> None:
    losses, scale = [NAN] * 20, [2.0 ** (15 - i) for i in range(20)]
    records = [
        replace(series(tag, values, steps=range(20)), axis="record")
        for tag, values in (("loss", losses), ("loss_scale", scale))
    ]
    onset = judge(make_run(*records)).onset
    assert onset is not None
    assert (onset.last_finite, onset.step, onset.quantity) == (None, 0, "loss")


def test_a_metric_that_dies_right_before_the_loss_is_the_onset() -> None:
    loss = series("loss", [3.0, 2.9, 2.8, 2.7, NAN, NAN])
    metric = series("approx_kl", [0.1, 0.1, 0.2, INF, NAN, NAN])
    onset = judge(make_run(loss, metric)).onset
    assert onset is not None
    assert (onset.last_finite, onset.step, onset.quantity) == (3, 4, "approx_kl")


def test_a_placeholder_metric_is_no_onset_of_the_loss() -> None:
    loss = series("loss", [3.0, 2.9, 2.8, 2.7, NAN, NAN])
    metric = series("extra", [0.1, NAN, NAN, NAN, NAN, NAN])
    onset = judge(make_run(loss, metric)).onset
    assert onset is not None
    assert (onset.step, onset.quantity) == (5, "loss")


def test_overflow_lines_that_go_up_and_down_are_benign() -> None:
    skips = [
        event("overflow-skipped", scale_before=65536, scale_after=32768, step=i)
        for i in range(0, 4000, 1000)
    ]
    assert judge(make_run(series("loss", FALLING), *skips)).verdict == "healthy"


def test_a_loss_scale_that_falls_to_its_minimum_is_not() -> None:
    skips = [
        event("overflow-skipped", scale_before=2.0**k, scale_after=2.0 ** (k - 1), step=17 - k)
        for k in range(16, 0, -1)
    ]
    located = judge(make_run(*skips, event("loss-scale-minimum", step=17)))
    assert located.verdict == "non-finite"


@pytest.mark.parametrize(
    ("first", "count", "verdict"), [(31, 30, "non-finite"), (31, 8, "healthy"), (1, 30, "healthy")]
)
def test_steps_skipped_in_a_row_to_the_end_exhaust_a_scale_that_nobody_tells(
    first: int, count: int, verdict: str
) -> None:
    loss = series("loss", [3.0 - 0.01 * i for i in range(60)])
    skips = [
        event("overflow-skipped", step=step)
        for step in range(first, first + count)
        for _ in range(2)  # two ranks say it
    ]
    located = judge(make_run(loss, *skips))
    assert located.verdict == verdict
    if located.onset is not None:
        assert located.onset.step == first


def test_evaluation_placeholders_before_the_first_evaluation_are_benign() -> None:
    run = make_run(series("loss", FALLING), series("val_loss", [NAN, NAN, 3.0, 2.9]))
    assert judge(run).verdict == "healthy"


def test_an_evaluation_loss_that_ends_nan_is_a_failure() -> None:
    run = make_run(series("loss", FALLING), series("eval_loss", [3.2, 3.0, NAN], steps=[4, 8, 12]))
    located = judge(run)
    assert located.onset is not None
    assert located.onset.quantity == "eval_loss"
    assert (located.onset.step, located.onset.last_finite) == (12, 8)


def test_perplexity_of_infinity_is_benign_and_nan_is_not() -> None:
    assert judge(make_run(series("loss", FALLING), series("eval/ppl", [INF, 90.0]))
                 ).verdict == "healthy"  # fmt: skip
    assert judge(make_run(series("eval/ppl", [80.0, NAN]))).verdict == "non-finite"


def test_mask_buffers_of_minus_infinity_are_benign() -> None:
    mask = tensor("h.0.attn.bias", neg_inf=6, first_nonfinite=(0, 1))
    assert judge(make_run(checkpoint(0, tensor("h.0.weight"), mask))).verdict == "healthy"


def test_a_buffer_of_zeros_and_minus_infinity_is_a_mask_under_any_name() -> None:
    mask = tensor("h.0.attn.causal", neg_inf=6, zero=10, max_abs=0.0)
    weight = tensor("h.0.attn.weight", neg_inf=6, zero=3)
    assert judge(make_run(checkpoint(0, mask, tensor("a.weight")))).verdict == "healthy"
    assert judge(make_run(checkpoint(0, weight, tensor("a.weight")))).verdict == "non-finite"


def test_an_unknown_metric_counts_only_where_nothing_better_is() -> None:
    odd = series("edge/odd", [1.0, NAN, 1.0])
    assert judge(make_run(odd)).verdict == "non-finite"
    assert judge(make_run(odd, series("loss", FALLING))).verdict == "healthy"


def test_a_measure_without_anything_to_measure_at_first() -> None:
    sharpe = [NAN, NAN, NAN, 0.3, 0.4, 0.5]
    assert judge(make_run(series("sharpe", sharpe))).verdict == "undetermined"
    assert judge(make_run(series("sharpe", [NAN] * 6))).verdict == "non-finite"
    absent = series("AP_banana", [NAN] * 6), series("AP", [0.1, 0.2, 0.3, 0.3, 0.4, 0.4])
    assert judge(make_run(*absent)).verdict == "undetermined"


def test_a_loss_that_climbs_and_stays_diverged() -> None:
    located = judge(
        make_run(series("loss", [7.4, 7.2, *[27.0, 40, 53, 71, 60, 55, 58, 61, 57, 59] * 2]))
    )
    assert located.verdict == "diverged"
    assert located.onset is None


def test_a_spike_that_comes_back_is_healthy() -> None:
    spike = [4.0, 3.5, 3.2, 3.0, 45.0, 30.0, 9.0, 4.0, 3.2, 2.9, 2.8, 2.7, 2.6, 2.6, 2.5, 2.5]
    assert judge(make_run(series("loss", spike))).verdict == "healthy"


LEARNS = [4.2 * 0.97**i + 0.8 for i in range(60)]
AT_CHANCE = [5.0 + 0.05 * (-1) ** i for i in range(40)]


NOISY = [
    *(
        2.3,
        1.6,
        5.1,
        11.2,
        5.8,
        4.1,
        5.6,
        6.8,
        3.3,
        3.7,
        3.9,
        2.5,
        4.4,
        8.9,
        3.2,
        3.3,
        7.3,
        2.2,
        7.0,
    ),
    *(
        2.6,
        3.2,
        10.5,
        8.0,
        2.7,
        1.8,
        7.1,
        3.0,
        4.1,
        1.9,
        3.5,
        6.0,
        4.2,
        5.8,
        8.4,
        7.5,
        8.6,
        10.1,
        4.3,
    ),
    *(9.3, 4.5),
]
"""A regression on batches of eight that has not learned yet; its first batch was an easy one."""


@pytest.mark.parametrize("points", [25, 30, 36, 40])
def test_a_noisy_loss_whose_first_value_was_a_low_draw_is_no_divergence(points: int) -> None:
    assert judge(make_run(series("loss", NOISY[:points]))).verdict == "healthy"


def test_noise_hides_no_divergence() -> None:
    values = [*NOISY[:20], *[v * 1e3 for v in NOISY[20:]]]
    assert judge(make_run(series("loss", values))).verdict == "diverged"


def test_a_loss_that_falls_back_to_chance_diverged() -> None:
    assert judge(make_run(series("loss", [*LEARNS, *AT_CHANCE]))).verdict == "diverged"


def test_back_at_chance_where_it_resumed() -> None:
    resumed = event("run-resumed", "second.log goes on where first.log ends", 60)
    run = make_run(series("loss", [*LEARNS, *AT_CHANCE]), resumed)
    assert judge(run).verdict == "diverged"
    learns = [5.0 * 0.97**i for i in range(40)]
    assert judge(make_run(series("loss", [*LEARNS, *learns]), resumed)).verdict == "healthy"


def test_back_at_chance_that_only_the_first_row_shows() -> None:
    """A run that learned within its first rows; its second is far below chance already."""
    learns = [1.38, 0.74, 0.41, 0.40, 0.26, *[0.1, 0.02, 0.3] * 12]
    resumed = event("run-resumed", "resumed", len(learns))
    lost = [21.5, *[1.42, 1.5, 1.38, 1.45] * 10]
    assert judge(make_run(series("loss", learns + lost), resumed)).verdict == "diverged"
    harder = [0.8, *[0.75, 0.7, 0.8, 0.72] * 10]
    assert judge(make_run(series("loss", learns + harder), resumed)).verdict == "healthy"


def test_a_loss_that_loses_most_behind_a_peak_diverged() -> None:
    values = [*LEARNS, 9.0, 7.0, *[v - 1.2 for v in AT_CHANCE]]
    assert judge(make_run(series("loss", values))).verdict == "diverged"


@pytest.mark.parametrize(
    "after",
    [
        [v - 1.2 for v in AT_CHANCE],
        [4.9 * 0.98**i for i in range(40)],
        [9.0, 5.0, *[LEARNS[-1]] * 38],
    ],
    ids=["new term", "new task", "spike"],
)
def test_a_step_up_that_is_no_collapse_is_healthy(after: list[float]) -> None:
    assert judge(make_run(series("loss", [*LEARNS, *after]))).verdict == "healthy"


@pytest.mark.parametrize("tag", ["q2_loss", "td_loss", "cum_loss"])
def test_values_and_running_sums_may_rise(tag: str) -> None:
    rising = [0.4 + i / 10 for i in range(40)]
    assert judge(make_run(series(tag, rising))).verdict == "healthy"


def test_a_running_sum_is_not_the_objective() -> None:
    climbs = [1.0 * 1.2**i for i in range(40)]
    run = make_run(series("inst_loss", climbs), series("cum_loss", [900 + v for v in climbs]))
    assert judge(run).verdict == "diverged"


@pytest.mark.parametrize(
    "beside", ["rollout/ep_rew_mean", "ep_ret", "contrastive_loss", "loss_disc"]
)
def test_a_moving_target_may_rise(beside: str) -> None:
    rising = [0.4 + i / 10 for i in range(40)]
    assert judge(make_run(series("loss", rising), series(beside, rising))).verdict == "healthy"


def test_a_game_whose_losses_rise_is_not_diverged() -> None:
    rising = [0.5, 0.6, 0.8, 1.5, 2.2, 3.0, 3.5, 4.0, 4.2, 4.4, 4.5, 4.6, 4.7, 4.7, 4.8, 4.8]
    assert judge(make_run(series("g_loss", rising))).verdict == "healthy"


def test_what_follows_the_onset_is_cascade() -> None:
    located = judge(make_run(series("loss", [3, 2, 2, NAN]), series("grad_norm", [1, 1, NAN, NAN])))
    roles = {f.id: f.role for f in located.findings}
    assert roles["nonfinite-grad-norm"] == "initiating"
    assert roles["nonfinite-loss"] == "cascade"


@given(
    st.lists(
        st.one_of(st.floats(0.1, 10), st.sampled_from([NAN, INF, -INF])), min_size=1, max_size=30
    )
)
def test_any_loss_gives_the_first_nonfinite_step(values: list[float]) -> None:
    located = judge(make_run(series("loss", values)))
    bad = [i for i, v in enumerate(values) if not math.isfinite(v)]
    if bad:
        assert located.onset is not None
        assert located.onset.step == bad[0] + 1
        assert located.onset.last_finite == (bad[0] or None)
    else:
        assert located.verdict in ("healthy", "diverged")


def staged(after: list[float]) -> Run:
    before = [2.1 - 0.002 * i + 0.02 * (i % 3) for i in range(40)]
    return make_run(series("loss", before + after))


def test_a_new_objective_that_is_being_learned_is_no_divergence() -> None:
    assert judge(staged([11.0 * 0.985**i for i in range(40)])).verdict == "healthy"


def test_no_new_objective_is_a_billion_times_the_old_one() -> None:
    resumed = event("run-resumed", "resuming from step 40", 40)
    before = [2.1 - 0.002 * i for i in range(40)]
    far = [7e9 * 0.97**i for i in range(40)]
    near = [140.0 * 0.97**i for i in range(40)]
    assert judge(make_run(series("loss", before + far), resumed)).verdict == "diverged"
    assert judge(make_run(series("loss", before + near), resumed)).verdict == "healthy"
    lost = [9e3 * 0.87**i for i in range(40)]  # a state that was lost where the run resumed
    assert judge(make_run(series("loss", before + lost), resumed)).verdict == "diverged"


def test_a_level_that_stays_after_a_jump_is_one() -> None:
    assert judge(staged([11.0 + 0.1 * (i % 3) for i in range(40)])).verdict == "diverged"


def test_a_message_without_a_step_comes_after_the_number_above_it() -> None:
    rows = replace(series("loss", [2.0, 1.9, 1.8], [4, 5, 6]), lines=np.array([1, 2, 9]))
    rows = replace(rows, source=Source("train.log", tag="loss"), axis="epoch")
    said = event("backward-nonfinite", "Function 'PowBackward0' returned nan", function="Pow")
    onset = judge(make_run(rows, said)).onset
    assert onset is not None and (onset.step, onset.last_finite, onset.axis) == (None, 5, "epoch")


def test_a_skip_that_the_log_states_is_none_of_the_run_that_dies_later() -> None:
    """The scaler says it of every search for its scale; the last ones are the death."""
    said = [
        event(
            "nonfinite-text", f"step {step}: non-finite gradients, skipped", step,
            quantity="gradient", value="nan",
        )
        for step in (3, 31, 32, 33)
    ]  # fmt: skip
    loss = series("loss", [2.0] * 30 + [NAN] * 5)
    norm = series("grad_norm", [1.0] * 2 + [NAN] + [1.0] * 27 + [NAN] * 5)
    onset = judge(make_run(loss, norm, *said, config=FP16)).onset
    assert onset is not None
    assert onset.step == 31


def test_a_scale_whose_rows_miss_that_it_moves() -> None:
    norm = series("grad_norm", [1.0, 1.1, INF, 0.9, 1.0, 1.1], [5, 10, 15, 20, 25, 30])
    loss = series("loss", [2.0, 1.9, 1.8, 1.7, 1.6, 1.5], [5, 10, 15, 20, 25, 30])
    scale = series("loss_scale", [16384.0] * 6, [5, 10, 15, 20, 25, 30])
    assert judge(make_run(loss, norm, scale)).verdict == "healthy"
    assert judge(make_run(loss, norm)).verdict == "non-finite"


def test_a_whole_sentinel_beside_a_loss_that_is_nan() -> None:
    """DeepSpeed reports the non-finite gradient of one group as 1."""
    norm = series("grad_norm", [0.53, 0.54, 0.58, 1.0, 1.0, 1.0, 1.0])
    loss = series("loss", [2.6, 2.5, 2.5, 2.5, NAN, NAN, NAN])
    deepspeed = {"deepspeed": {"zero_optimization.stage": 2}}
    onset = judge(make_run(loss, norm, config=deepspeed)).onset
    assert onset is not None
    assert (onset.last_finite, onset.step, onset.quantity) == (3, 4, "grad_norm")
    onset = judge(make_run(loss, norm)).onset
    assert onset is not None
    assert onset.step == 5


def test_a_log_that_could_not_be_read_may_tell_what_finite_weights_do_not() -> None:
    saved = make_run(checkpoint(0, tensor("a.weight", (4, 4))))
    unread = ArtifactReport("train.log", "unknown", 3000, "skipped")
    assert judge(saved).verdict == "healthy"
    assert judge(replace(saved, artifacts=(unread,))).verdict == "undetermined"
    picture = replace(unread, path="samples.png")
    assert judge(replace(saved, artifacts=(picture,))).verdict == "healthy"


@pytest.mark.parametrize(("last", "verdict"), [(4096.0, "healthy"), (2.0, "non-finite")])
def test_a_log_that_ends_within_the_search_for_a_scale(last: float, verdict: str) -> None:
    norms = series("grad_norm", [INF] * 4)
    scales = series("loss_scale", [last * 2.0 ** (4 - i) for i in range(1, 5)])
    assert judge(make_run(series("loss", [2.0] * 4), norms, scales)).verdict == verdict


def test_a_balancing_loss_that_rises_beside_a_sound_one_is_no_divergence() -> None:
    """No line says which of them is minimized; the weight of such a term is small."""
    sound = [2.1 - 0.002 * i for i in range(80)]
    balance = [1.2, *[57.0 - 0.5 * i for i in range(79)]]
    parts = series("ce_loss", sound), series("load_balancing_loss", balance)
    assert judge(make_run(*parts)).verdict == "healthy"
    assert judge(make_run(series("ce_loss", balance))).verdict == "diverged"


def test_an_evaluation_before_training_that_never_comes_back() -> None:
    """The rows of training begin behind the jump, and fall from there."""
    rows = series("train_loss", [1e10 / (i + 1) ** 2 for i in range(40)], [*range(4, 204, 5)])
    before = series("val_loss", [1.05, 1e8, 1e7, 3e6, 1e6], [0, 32, 64, 96, 128])
    assert judge(make_run(rows, before)).verdict == "diverged"
    sound = series("val_loss", [1.05, 2.0, 1.2, 0.9, 0.8], [0, 32, 64, 96, 128])
    assert judge(make_run(rows, sound)).verdict == "healthy"
