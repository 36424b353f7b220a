"""Bad batches: told by statistics, statements, recurrence or the lack of anything else in the
model, never by suddenness alone."""

from __future__ import annotations

import pytest
from builders import INF, NAN, case_of, checkpoint, event, make_run, named_cause, series, tensor

CALM = [2.0, 1.9, 2.1, 1.8, 1.9, 1.7, 1.8, 1.6, 1.7, 1.6] * 2
NORMS = [1.0, 1.1, 0.9, 1.2, 1.0] * 4


def test_an_input_that_was_nan() -> None:
    parts = series("loss", [*CALM, NAN, NAN]), series("batch/input_max", [3.0] * 20 + [NAN, 3.0])
    assert named_cause(*parts) == "bad-input-data"


def test_an_absurd_input() -> None:
    parts = series("loss", [*CALM, INF, NAN]), series("input_absmax", [3.0] * 20 + [9e7, 3.0])
    assert named_cause(*parts) == "bad-input-data"


def test_the_program_says_so() -> None:
    said = event("nonfinite-text", "NaN found in input images!", 21, value="nan", quantity="input")
    assert named_cause(series("loss", [*CALM, NAN, NAN]), said) == "bad-input-data"


def test_the_same_place_each_epoch() -> None:
    loss, norm = list(CALM * 2), list(NORMS * 2)
    for at in (6, 16, 26):
        loss[at] = norm[at] = NAN
    assert named_cause(series("loss", loss), series("grad_norm", norm)) == "bad-input-data"


def test_suddenness_alone_is_not_enough() -> None:
    assert named_cause(series("loss", [*CALM, NAN]), series("grad_norm", [*NORMS, NAN])) is None


def test_growth_speaks_against() -> None:
    growing = [*NORMS, *(10.0**k for k in range(1, 8)), NAN]
    loss = [*CALM, *(3.0 * 2**k for k in range(7)), NAN]
    assert named_cause(series("loss", loss), series("grad_norm", growing)) != "bad-input-data"


def test_pixels_of_another_range_are_another_data_set() -> None:
    run = make_run(series("loss", CALM), series("input_max", [1.0] * 10 + [255.0] * 10))
    assert case_of(run).verdict == "healthy"
    assert not case_of(run).found("odd-input")


def test_a_statistic_that_stays_nan_is_computed_from_weights() -> None:
    loss = [2.0] * 20 + [NAN] * 6
    back = [1.0] * 20 + [NAN] + [1.0] * 5
    assert named_cause(series("loss", loss), series("input/std", back)) == "bad-input-data"
    assert named_cause(series("loss", loss), series("target/std", [1.0] * 20 + [NAN] * 6)) is None
    assert named_cause(series("loss", loss), series("features/norm", back)) == "bad-input-data"
    assert (
        named_cause(series("loss", loss), series("features/norm", [1.0] * 20 + [NAN] * 6)) is None
    )


def test_a_huge_batch_explains_the_growth_that_it_makes() -> None:
    loss = [2.0] * 20 + [4e24] + [NAN] * 5
    peak = [1.0] * 20 + [2e12] + [1.0] * 5
    assert named_cause(series("loss", loss), series("inputs/abs_max", peak)) == "bad-input-data"


def test_every_so_many_steps_may_be_the_programs_own_doing() -> None:
    def guarded(first: int) -> str | None:
        bad = range(first, 100, 20)
        loss = [NAN if step in bad else 2.0 for step in range(1, 101)]
        norm = [NAN if step in bad else 1.0 for step in range(1, 101)]
        return named_cause(series("loss", loss), series("grad_norm", norm))

    assert guarded(13) == "bad-input-data"
    assert guarded(20) is None


SUDDEN = series("loss", [*CALM, NAN, NAN]), series("grad_norm", [*NORMS, NAN, NAN])
PLAIN = ("net.0.weight", "net.2.weight", "net.4.weight", "head.weight")


@pytest.mark.parametrize(
    ("names", "cause"),
    [
        (PLAIN, "bad-input-data"),
        (("conv1.weight", "bn1.weight", "layer1.0.conv2.weight", "fc.weight"), "bad-input-data"),
        (("h.0.attn.c_attn.weight", "h.0.mlp.c_fc.weight", "wte.weight", "ln_f.weight"), None),
        (("layers.0.q_proj.weight", "layers.0.fc1.weight", "emb.weight", "out.weight"), None),
        (PLAIN[:1], None),
    ],
)
def test_a_model_in_which_no_mask_can_do_it(names: tuple[str, ...], cause: str | None) -> None:
    start = checkpoint(10, *(tensor(name) for name in names))
    assert named_cause(*SUDDEN, start) == cause


def test_an_inf_first_or_steps_between_are_no_elimination() -> None:
    start = checkpoint(10, *(tensor(name) for name in PLAIN))
    rows = [10 * k for k in range(1, 23)]
    sparse = series("loss", [*CALM, NAN, NAN], rows), series("grad_norm", [*NORMS, NAN, NAN], rows)
    assert named_cause(*sparse, start) is None
    first = series("loss", [*CALM, INF, NAN]), series("grad_norm", [*NORMS, NAN, NAN])
    assert named_cause(*first, start) is None


def test_what_names_its_place_is_no_bad_batch() -> None:
    start = checkpoint(10, *(tensor(name) for name in PLAIN))
    said = event(
        "backward-nonfinite", "Function 'SqrtBackward0' returned nan", 21, function="SqrtBackward0"
    )
    assert named_cause(*SUDDEN, start, said) == "singular-gradient"


def test_a_metric_at_its_highest_speaks_against_a_batch() -> None:
    sudden = series("loss", [2.0] * 24 + [NAN] * 3), series("grad_norm", [1.0] * 24 + [NAN] * 3)
    model = checkpoint(20, *(tensor(f"fc{i}.weight") for i in range(5)))
    assert named_cause(*sudden, model) == "bad-input-data"
    grown = series("hidden_max", [10.0 + 0.1 * (i % 7) for i in range(24)] + [14.3, NAN, NAN])
    assert named_cause(*sudden, model, grown) is None
    fed = series("input_max", [10.0 + 0.1 * (i % 7) for i in range(24)] + [14.3, 9.0, 9.0])
    assert named_cause(*sudden, model, fed) == "bad-input-data"


@pytest.mark.parametrize("tag", ["x_absmax", "batch/mean", "mel_max"])
def test_more_names_of_what_is_fed(tag: str) -> None:
    odd = series(tag, [3.0] * 20 + [NAN, 3.0])
    assert named_cause(series("loss", [*CALM, NAN, NAN]), odd) == "bad-input-data"


def test_statistics_of_batch_normalization_are_no_inputs() -> None:
    odd = series("batch_norm_mean", [3.0] * 20 + [NAN, 3.0])
    assert named_cause(series("loss", [*CALM, NAN, NAN]), odd) is None
