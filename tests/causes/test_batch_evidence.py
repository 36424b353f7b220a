"""Numbers and sentences about the batch that died: which cause each of them speaks for, and that
they say nothing where they stand elsewhere too."""

from __future__ import annotations

import pytest
from builders import INF, NAN, case_of, checkpoint, event, make_run, named_cause, series, tensor

from nanautopsy.model import LogEvent, Series

DEAD = [2.0] * 20 + [NAN] * 5
"""From step 21 on."""
ONCE = [2.0] * 20 + [NAN] + [2.0] * 4


def count(usual: float, there: float) -> list[float]:
    return [usual] * 20 + [there] + [usual] * 4


@pytest.mark.parametrize(
    ("tag", "usual", "there", "cause"),
    [
        ("n_tok", 48, 0, "empty-targets"),
        ("num_pos", 7, 0, "empty-targets"),
        ("valid_px", 240, 0, "empty-targets"),
        ("n_pos_pairs", 12, 0, "empty-targets"),
        ("events", 9, 0, "empty-targets"),
        ("masked patches", 17, 0, "empty-targets"),
        ("fg", 0.14, 0, "empty-targets"),
        ("label_frac", 0.5, 0, "empty-targets"),
        ("n_triplets", 30, 0, "empty-targets"),
        ("n_frames_min", 5, 0, "bad-input-data"),
        ("pts/min", 9, 0, "bad-input-data"),
        ("isolated", 0, 1, "bad-input-data"),
        ("dur_min", 0.75, 0, "bad-input-data"),
        ("y_max", 0.93, 1.0, "loss-domain-error"),
        ("p_min", 0.02, 0.0, "loss-domain-error"),
        ("empty_graphs", 0, 1, "bad-input-data"),
        ("inp max", 2.4, INF, "bad-input-data"),
        ("rows w/o keys", 0, 1, "fully-masked-attention"),
        ("shortest", 5, 0, "fully-masked-attention"),
        ("seq_len/min", 5, 0, "fully-masked-attention"),
        ("valid_keys_min", 6, 0, "fully-masked-attention"),
        ("mask/rows_without_keys", 0, 8, "fully-masked-attention"),
        ("x_nan_frac", 0, 0.01, "bad-input-data"),
        ("input/inf_count", 0, 3, "bad-input-data"),
        ("x_std", 1.0, 0, "bad-input-data"),
    ],
)
def test_a_number_of_the_batch_that_died(tag: str, usual: float, there: float, cause: str) -> None:
    assert named_cause(series("loss", DEAD), series(tag, count(usual, there))) == cause
    harmless = count(usual, there)
    harmless[8] = there
    assert named_cause(series("loss", DEAD), series(tag, harmless)) is None
    well = make_run(series("loss", [2.0] * 25), series(tag, count(usual, there)))
    assert case_of(well).verdict == "healthy"


def test_what_is_negative_by_no_definition() -> None:
    loss = series("gauss_nll", [2.0, 1.9, NAN, NAN, NAN, NAN])
    assert named_cause(loss, series("sigma2_min", [0.3, 0.1, -0.2, -0.3, -0.2, -0.1])) == (
        "loss-domain-error"
    )
    logs = series("log_std_min", [0.3, 0.1, -0.2, -0.3, -0.2, -0.1])
    assert named_cause(loss, logs) is None


@pytest.mark.parametrize("tag", ["rate_min", "sigma2_min", "p_true/min", "min_scale"])
def test_an_argument_that_left_its_domain(tag: str) -> None:
    loss = [2.0] * 20 + [INF] + [NAN] * 4
    argument = series(tag, [0.3] * 20 + [0.0] + [NAN] * 4)
    assert named_cause(series("loss", loss), argument) == "loss-domain-error"
    early = series(tag, [0.3] * 8 + [0.0] + [0.3] * 11 + [0.0] + [NAN] * 4)
    assert named_cause(series("loss", loss), early) is None, "it was 0 before, and did no harm"


def test_padding_that_begins_where_gradients_turn() -> None:
    loss = series("loss", [2.0] * 21 + [NAN] * 4)
    norm = series("grad_norm", [1.0] * 20 + [NAN] * 5)
    eager = {"model": {"attn_implementation": "eager"}}
    first = series("padded_tokens", [0.0] * 20 + [6.0] * 5)
    always = series("padded_tokens", [3.0] * 20 + [6.0] * 5)
    assert named_cause(loss, norm, first, config=eager) == "fully-masked-attention"
    assert named_cause(loss, norm, always, config=eager) != "fully-masked-attention"


@pytest.mark.parametrize(
    ("kind", "cause"),
    [
        ("labels-mismatch", "empty-targets"),
        ("empty-sequence", "fully-masked-attention"),
        ("odd-sample", "bad-input-data"),
    ],
)
def test_a_sentence_about_the_batch_that_died(kind: str, cause: str) -> None:
    losses = series("loss", ONCE), series("grad_norm", [1.0] * 25)
    there = event(kind, "the sentence", 20)
    elsewhere = event(kind, "the sentence", 6)
    assert named_cause(*losses, there) == cause
    assert named_cause(series("loss", DEAD), there) == cause
    assert named_cause(series("loss", DEAD), there, elsewhere) is None


def test_a_guard_that_names_the_same_batch() -> None:
    losses = series("loss", [2.0] * 40)

    def guard(step: int, batch: int) -> object:
        said = f"epoch 0: skipping batch {batch}: non-finite loss (nan)"
        return event("nonfinite-text", said, step, value="nan", quantity="loss", batch=batch)

    assert named_cause(losses, guard(9, 13), guard(19, 13), guard(29, 13)) == "bad-input-data"
    assert named_cause(losses, guard(9, 13), guard(19, 4), guard(29, 13)) is None


def test_a_ctc_loss_without_an_alignment() -> None:
    loss = [2.0] * 20 + [INF] + [NAN] * 4
    norm = series("grad_norm", [1.0] * 20 + [NAN] * 5)
    assert named_cause(series("ctc_loss", loss), norm) == "bad-input-data"
    assert named_cause(series("loss", loss), norm) is None


@pytest.mark.parametrize(
    ("path", "cause"),
    [("/home/u/denoise/transforms.py", "bad-input-data"), ("/home/u/metrics.py", None)],
)
def test_numpy_warns_where_data_are_prepared(path: str, cause: str | None) -> None:
    said = f"{path}:2: RuntimeWarning: invalid value encountered in divide"
    warning = event("nonfinite-text", said, 20, value="nan", quantity="warning", operation="divide")
    losses = series("loss", DEAD), series("grad_norm", [1.0] * 20 + [NAN] * 5)
    assert named_cause(*losses, warning) == cause


def test_a_softmax_that_is_the_first() -> None:
    def said(layer: str, module: str) -> object:
        return event(
            "nonfinite-text", f"first non-finite output in {layer} ({module})", 21,
            value="nan", quantity="activations", layer=layer, module_class=module,
        )  # fmt: skip

    loss = series("loss", DEAD)
    assert named_cause(loss, said("layers.0.attn.softmax", "Softmax")) == "fully-masked-attention"
    assert named_cause(loss, said("layers.0.attn.out", "Linear")) is None


def test_a_softmax_that_met_the_inf_of_a_mask() -> None:
    """As the debugging aid of transformers shows it: largest magnitudes, -Inf among them."""

    def dump(size: float) -> list[Series]:
        tags = {"q.output": size, "softmax.input[0]": INF, "softmax.output": NAN}
        return [
            series(f"activation_max/layers.0.self_attn.{tag}", [value], [21])
            for tag, value in tags.items()
        ]

    loss = series("loss", [2.0] * 20)
    assert named_cause(loss, *dump(2.5)) == "fully-masked-attention"
    assert named_cause(loss, *dump(900.0)) != "fully-masked-attention"


@pytest.mark.parametrize(
    ("tag", "usual", "there"),
    [("depth/largest", 9.5, INF), ("log_price", 2.0, -INF), ("std", 1, 3e19)],
)
def test_what_is_odd_only_where_it_died_is_no_matter_of_weights(
    tag: str, usual: float, there: float
) -> None:
    """They are broken from there on."""
    norms = series("grad_norm", [1.0] * 20 + [NAN] * 5)
    assert named_cause(series("loss", DEAD), series(tag, count(usual, there))) == "bad-input-data"
    stays = series(tag, [usual] * 20 + [there] * 5)
    assert named_cause(series("loss", DEAD), norms, stays) is None
    early = count(usual, there)
    early[8] = there
    assert named_cause(series("loss", DEAD), norms, series(tag, early)) is None


@pytest.mark.parametrize("tag", ["active_tokens", "n_gt", "loss_mask_sum"])
def test_what_a_mean_is_taken_over(tag: str) -> None:
    assert named_cause(series("loss", DEAD), series(tag, count(12, 0))) == "empty-targets"


def test_a_sample_of_nothing_where_there_is_attention() -> None:
    weights = checkpoint(20, tensor("attn.in_proj_weight"), tensor("head.weight"))
    frames = series("n_frames_min", count(5, 0))
    assert named_cause(series("loss", DEAD), frames, weights) == "fully-masked-attention"


def test_a_target_that_is_longer_than_its_input() -> None:
    loss = series("ctc_loss", [2.0] * 20 + [INF] + [NAN] * 4)
    frames = series("frames", [24.0] * 25)
    longest = series("longest transcript", count(9, 31))
    assert named_cause(loss, frames, longest) == "bad-input-data"
    shorter = series("longest transcript", count(9, 23))
    run = make_run(loss, frames, shorter)
    assert not case_of(run).found("target-too-long")


def test_statements_at_every_step_that_is_lost_and_nowhere_else() -> None:
    loss = [2.0] * 30
    for i in (9, 19, 24):
        loss[i] = NAN
    said = [event("odd-sample", "said", i + 1, exact=True) for i in (9, 19)]
    assert named_cause(series("loss", loss), *said) == "bad-input-data"
    harmless = event("odd-sample", "said", 4, exact=True)
    assert named_cause(series("loss", loss), harmless, *said) is None


def test_a_guard_that_names_the_same_batches_each_epoch() -> None:
    losses = series("loss", [2.0] * 90)

    def guards(*batches: int) -> list[LogEvent]:
        return [
            event("nonfinite-text", "said", 9 * (i + 1), value="nan", quantity="loss", batch=batch)
            for i, batch in enumerate(batches)
        ]

    assert named_cause(losses, *guards(17, 25, 17, 25, 17)) == "bad-input-data"
    assert named_cause(losses, *guards(17, 25, 25, 17)) is None
    assert named_cause(losses, *guards(17, 25, 17)) is None, "one of them came back"


def test_a_divergence_that_is_nan_while_training_goes_on() -> None:
    once = [0.3] * 20 + [NAN] + [0.3] * 10
    total, ce = series("train/loss", once), series("train/ce", [1.2] * 31)
    assert named_cause(total, ce, series("train/kd_kl", once)) == "loss-domain-error"
    assert named_cause(total, ce, series("train/box", once)) != "loss-domain-error"


def test_an_evaluation_that_never_had_a_number() -> None:
    never = series("val_loss", [NAN] * 6)
    assert case_of(make_run(series("loss", [2.0] * 20), never)).verdict == "healthy"
    turned = series("val_loss", [2.0, 1.9, NAN, NAN, NAN, NAN])
    assert case_of(make_run(series("loss", [2.0] * 20), turned)).verdict == "non-finite"
    dead = make_run(series("loss", [2.0] * 4 + [NAN] * 16), never)
    assert case_of(dead).verdict == "non-finite"


def test_a_count_that_is_zero_exactly_where_the_loss_is_nan() -> None:
    """By its numbers, whatever its name."""
    loss, mined = [2.0] * 40, [7.0, 3.0] * 20
    for i in (11, 24, 25, 33):
        loss[i], mined[i] = NAN, 0.0
    parts = series("triplet_loss", loss), series("mined", mined)
    assert named_cause(*parts) == "empty-targets"
    harmless = [*mined[:5], 0.0, *mined[6:]]
    assert named_cause(parts[0], series("mined", harmless)) is None
    assert named_cause(parts[0], series("correct", mined)) is None, "NaN is never right"
    well = make_run(series("triplet_loss", [2.0] * 40), series("mined", mined))
    assert case_of(well).verdict == "healthy"


def test_a_label_that_no_other_batch_has() -> None:
    highest = [9.0] * 20 + [10.0] + [9.0] * 4
    assert named_cause(series("loss", ONCE), series("labels_max", highest)) == "bad-input-data"
    rising = [float(i) for i in range(21)] + [20.0] * 4
    assert named_cause(series("loss", ONCE), series("labels_max", rising)) is None
    lowest = [0.0] * 20 + [-1.0] + [0.0] * 4
    assert named_cause(series("loss", ONCE), series("target/min", lowest)) == "bad-input-data"


def test_an_image_without_contrast() -> None:
    spread = [0.28] * 20 + [0.0] + [0.28] * 4
    assert named_cause(series("loss", DEAD), series("img_std_min", spread)) == "bad-input-data"


def test_a_logarithm_that_is_infinite_where_the_loss_is_finite() -> None:
    loss = series("loss", [0.1] * 18 + [NAN] * 4)
    norm = series("grad_norm", [1.0] * 17 + [NAN] * 5)
    odds = series("log_odds_chosen", [20.0] * 17 + [INF] + [NAN] * 4)
    assert named_cause(loss, norm, odds) == "loss-domain-error"
    assert named_cause(loss, norm) != "loss-domain-error"
    always = series("log_odds_chosen", [INF] * 17 + [INF] + [NAN] * 4)
    assert named_cause(loss, norm, always) != "loss-domain-error"


def test_a_place_in_the_data_that_a_statement_names() -> None:
    loss = series("loss", [2.0] * 32, [10 * i for i in range(32)])
    said = event("nonfinite-text", "pixel_values", 310, value="nan", quantity="input", batch=311)
    onset = case_of(make_run(loss, said)).onset
    assert onset is not None
    assert (onset.last_finite, onset.step) == (310, 311)
