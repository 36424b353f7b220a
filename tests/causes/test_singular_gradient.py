"""Infinite derivatives: a finite loss, NaN gradients, and a name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from builders import INF, NAN, checkpoint, event, judge, make_run, named_cause, series, tensor

from nanautopsy import analyze
from nanautopsy.circumstances import sound_gradients_beside
from nanautopsy.model import LogEvent, Scalar

CALM = [2.0, 1.9, 2.1, 1.8, 1.9, 1.7, 1.8, 1.6, 1.7, 1.6]


def said(function: str) -> LogEvent:
    return event("backward-nonfinite", f"Function '{function}' returned nan", 11, function=function)


@pytest.mark.parametrize("function", ["SqrtBackward0", "LinalgVectorNormBackward0", "DivBackward0"])
def test_named_by_anomaly_mode(function: str) -> None:
    parts = series("loss", [*CALM, 1.5]), series("grad_norm", [*[1.0] * 10, NAN])
    assert named_cause(*parts, said(function)) == "singular-gradient"


def test_named_without_any_curve() -> None:
    assert named_cause(said("SqrtBackward0")) == "singular-gradient"


BACKWARD = series("loss", [*CALM, 1.5, NAN]), series("grad_norm", [*[1.0] * 10, NAN, NAN])
"""Gradients at their usual level that turn NaN one step before the loss."""


def test_a_sudden_nan_beside_a_finite_loss_was_made_by_the_backward_pass() -> None:
    run = make_run(*BACKWARD)
    assert named_cause(*BACKWARD) == "singular-gradient"
    onset = judge(run).onset
    assert onset is not None
    assert "the backward pass is where it arose" in onset.how


@pytest.mark.parametrize(
    "norms",
    [
        [*[1.0] * 10, INF, NAN],  # past a maximum
        [*[1.0] * 5, *[4.0**i for i in range(5)], NAN, NAN],  # grown
        [NAN] * 12,  # from the first step on, as zeros, masks and weights give it
    ],
)
def test_gradients_that_are_no_such_thing(norms: list[float]) -> None:
    parts = series("loss", [*CALM, 1.5, NAN]), series("grad_norm", norms)
    assert named_cause(*parts) != "singular-gradient"


@pytest.mark.parametrize(
    "config",
    [
        {"training": {"fp16": True}},
        {"deepspeed": {"zero_optimization.stage": 2, "zero_optimization.overlap_comm": True}},
    ],
)
def test_what_else_spoils_gradients(config: dict[str, dict[str, bool | int]]) -> None:
    assert named_cause(*BACKWARD, config=config) != "singular-gradient"


def test_one_rank_alone_is_no_singular_point() -> None:
    ranks = [replace(series("grad_norm", [*[1.0] * 11, 1.0]), rank=r) for r in range(3)]
    ranks[1] = replace(BACKWARD[1], rank=1)
    assert named_cause(BACKWARD[0], *ranks) != "singular-gradient"


@pytest.mark.parametrize("function", ["SoftmaxBackward0", "MmBackward0", "AddmmBackward0"])
def test_other_operations(function: str) -> None:
    parts = series("loss", [*CALM, 1.5]), series("grad_norm", [*[1.0] * 10, NAN])
    assert named_cause(*parts, said(function)) != "singular-gradient"


def test_a_square_hands_on_what_the_forward_pass_gave_it() -> None:
    assert named_cause(said("PowBackward0")) is None
    parts = series("loss", [*CALM, 1.5]), series("grad_norm", [*[1.0] * 10, NAN])
    assert named_cause(*parts, said("PowBackward0")) == "singular-gradient"


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        ("n = (x ** 2).sum(-1) ** 0.5", "singular-gradient"),
        ("d = torch.pow(x, 1 / 3)", "singular-gradient"),
        ("loss = (pred.log() - y).pow(2).mean()", None),
        ("y = x ** 3", None),
    ],
)
def test_the_line_of_the_forward_call_tells_the_power(code: str, cause: str | None) -> None:
    text = "Function 'PowBackward0' returned nan"
    place = {"function": "PowBackward0", "forward": f"m.py:17: {code}"}
    assert named_cause(event("backward-nonfinite", text, 11, **place)) == cause


@pytest.mark.parametrize("function", ["MulBackward0", "LogBackward0", "ExpBackward0"])
def test_the_branch_that_where_does_not_take(function: str) -> None:
    place = "m.py:49: h = -torch.where(p > 0, p * torch.log(p), zero).sum(-1).mean()"
    said = event("backward-nonfinite", f"Function '{function}' returned nan", 11, function=function)
    told = replace(said, data={**said.data, "forward": place})
    assert named_cause(series("objective", CALM), told) == "singular-gradient"
    assert named_cause(series("objective", CALM), said) != "singular-gradient"


def test_without_a_loss_what_dies_after_the_gradient_was_finite() -> None:
    norm = series("grad_norm", [*[1.0] * 10, NAN, NAN])
    assert named_cause(series("nats/train", [*CALM, 1.5, NAN]), norm) == "singular-gradient"
    for other in ([*CALM, NAN, NAN], [*CALM, 1.5, 1.5]):  # with it; not at all
        assert named_cause(series("nats/train", other), norm) != "singular-gradient"


def test_a_published_model_has_no_such_point() -> None:
    config = {"model": {"model_type": "llama"}}
    assert named_cause(*BACKWARD, config=config) != "singular-gradient"


@pytest.mark.parametrize("after", [[0.0] * 6, [1.4] * 6])
def test_a_loss_that_never_shows_the_nan_may_hide_one(after: list[float]) -> None:
    norms = [*[1.0] * 10, NAN, *([0.0] * 6 if after[0] == 0 else [NAN] * 6)]
    parts = series("loss", [*CALM, 1.5, *after]), series("grad_norm", norms)
    assert named_cause(*parts) != "singular-gradient"


def test_where_single_batches_do_it_their_numbers_may_be_at_fault() -> None:
    norms = [*[1.0] * 10, NAN, *[1.0] * 8, NAN, *[1.0] * 3]
    parts = series("loss", [*CALM, *[1.5] * 13]), series("grad_norm", norms)
    assert named_cause(*parts) is None


def test_a_loss_of_zero_that_shows_nan_later_was_zero() -> None:
    parts = series("loss", [*CALM, 0.0, NAN, NAN]), series("grad_norm", [*[1.0] * 10, *[NAN] * 3])
    onset = judge(make_run(*parts)).onset
    assert onset is not None and onset.quantity == "grad_norm"
    assert named_cause(*parts) == "singular-gradient"


def test_what_the_line_itself_says_of_the_loss() -> None:
    text = "Gradient of encoder.2.weight is nan at step 11 (forward loss 0.85 was finite)"
    told = event("nonfinite-text", text, 11, quantity="gradient", value="nan", forward_sound=True)
    said = event("nonfinite-text", text, 11, quantity="gradient", value="nan")
    assert named_cause(series("loss", CALM), told) == "singular-gradient"
    assert named_cause(series("loss", CALM), said) != "singular-gradient"


@pytest.mark.parametrize(
    ("function", "code", "named"),
    [
        ("VarBackward0", "loss = torch.sqrt(z.var(1)).mean()", True),
        ("MulBackward0", "d = torch.sqrt(a * a + b)", True),
        ("PowBackward0", "d = torch.sqrt(((a - b) ** 2).sum(-1))", True),
        ("PowBackward0", "loss = (torch.sqrt(a + 1) - b) ** 2", False),
        ("MulBackward0", "loss = (w * pred).mean()", False),
        ("MmBackward0", "y = h @ w / torch.sqrt(d)", False),
    ],
)
def test_a_root_whose_own_backward_was_inf_and_no_nan(
    function: str, code: str, named: bool
) -> None:
    data = {"function": function, "forward": f"m.py:12: {code}"}
    said = event("backward-nonfinite", f"Function '{function}' returned nan", 11, **data)
    assert (named_cause(series("loss", CALM), said) == "singular-gradient") is named


def test_a_power_by_a_tensor_is_no_square() -> None:
    assert named_cause(said("PowBackward1")) == "singular-gradient"
    assert named_cause(said("PowBackward0")) is None


def test_a_guard_that_skips_most_batches_keeps_the_loss_sound() -> None:
    """The loss stays finite because nothing bad goes into the weights."""
    steps = list(range(0, 300, 10))
    loss = series("loss", [0.5 - s / 1000 for s in steps], steps)
    norm = series("gnorm", [0.5 + s % 3 / 10 for s in steps[:14]], steps[:14])
    bad = [
        event(
            "nonfinite-text", f"bad gradient, loss was 0.1, batch {s} skipped", s,
            value="nan", quantity="gradient", forward_sound=True,
        )
        for s in range(140, 300)
    ]  # fmt: skip
    assert named_cause(loss, norm, *bad) == "singular-gradient"
    assert named_cause(loss, norm, *bad, config={"training": {"fp16": True}}) != "singular-gradient"


def test_a_variance_hands_on_no_nan_of_the_forward_pass() -> None:
    """The loss's own backward function would have been the first."""
    assert named_cause(said("VarBackward0")) == "singular-gradient"


@pytest.mark.parametrize(("tag", "named"), [("train_acc", True), ("lr", False)])
def test_a_power_is_no_loss_of_classes(tag: str, named: bool) -> None:
    parts = series("loss", CALM), series(tag, [0.5] * 10)
    assert (named_cause(*parts, said("PowBackward0")) == "singular-gradient") is named


def test_the_trace_of_a_search_behind_the_death() -> None:
    """JAX's ``debug_nans``, run again with weights that are NaN by now."""
    trace = event(
        "nonfinite-text", "FloatingPointError: invalid value (nan) encountered in mul", 12,
        value="nan", quantity="gradient", operation="mul",
        forward="main.py:7: dist = jnp.sqrt((dx**2).sum(-1))",
    )  # fmt: skip
    parts = series("mse", [0.36, NAN, NAN]), series("gnorm", [NAN, NAN, NAN])
    assert named_cause(*parts, trace) == "singular-gradient"
    power = replace(trace, data={**trace.data, "forward": "main.py:7: d = jnp.power(s2, 0.5)"})
    assert named_cause(*parts, power) == "singular-gradient"
    square = replace(trace, data={**trace.data, "forward": "main.py:7: d = jnp.power(s, 2.0)"})
    assert named_cause(*parts, square) is None
    assert named_cause(*parts) is None


@pytest.mark.parametrize(("first", "named"), [(2.09, True), (3.0, False)])
def test_a_power_beside_a_loss_that_begins_at_chance(first: float, named: bool) -> None:
    """The logarithm of eight classes, which the last matrix has: no squared error."""
    start = checkpoint(0, tensor("body.weight", (16, 16)), tensor("out.weight", (8, 16)))
    parts = series("loss", [first, *CALM]), said("PowBackward0"), start
    assert (named_cause(*parts) == "singular-gradient") is named


@pytest.mark.parametrize(("classes", "named"), [(8, True), (40, False)])
def test_a_power_beside_a_loss_that_begins_at_the_chance_that_settings_state(
    classes: int, named: bool
) -> None:
    parts = series("loss", [2.09, *CALM]), said("PowBackward0")
    config: dict[str, dict[str, Scalar]] = {"training": {"model.num_classes": classes}}
    assert (named_cause(*parts, config=config) == "singular-gradient") is named


@pytest.mark.parametrize(
    ("function", "output", "named"),
    [
        ("AddmmBackward0", 0, True),  # the bias: a sum over what came in
        ("AddmmBackward0", 2, False),  # the weight: the input may be NaN where a mask hides it
        ("ConvolutionBackward0", 2, True),
        ("SoftmaxBackward0", 0, False),
    ],
)
def test_a_linear_function_that_was_handed_inf(function: str, output: int, named: bool) -> None:
    data = {"function": function, "value": "nan", "output": output}
    text = f"Function '{function}' returned nan values in its {output}th output."
    said = event("backward-nonfinite", text, 11, **data)
    norm = series("grad_norm", [1.0, 1.1] * 5)
    assert (named_cause(series("loss", CALM), norm, said) == "singular-gradient") is named
    grown = series("grad_norm", [1.0, 1.1] * 4 + [1e3, 1e6])
    assert named_cause(series("loss", CALM), grown, said) != "singular-gradient"


def test_a_class_of_its_own_on_a_published_base_has_a_loss_of_its_own() -> None:
    def named(architecture: str) -> str | None:
        config = {"model": {"model_type": "bert", "architectures": [architecture]}}
        return named_cause(*BACKWARD, config=config)

    assert named("BertForMaskedLM") is None
    assert named("BertModel") == named("GeoRegressor") == "singular-gradient"


@pytest.mark.parametrize(
    ("tag", "usual", "edge"),
    [("min_eigengap", 0.1, 0.0), ("dist_min", 0.4, 0.0), ("cos_angle_max", 0.98, 1.0)],
)
def test_a_number_at_the_edge_of_its_domain(tag: str, usual: float, edge: float) -> None:
    there = series(tag, [*[usual + 0.001 * (i % 3) for i in range(10)], edge, NAN])
    beside = series("min_norm", [*[0.3 + 0.01 * (i % 3) for i in range(10)], 0.32, NAN])
    half = {"training": {"fp16": True}}
    assert named_cause(*BACKWARD, there, config=half) == "singular-gradient"
    assert named_cause(*BACKWARD, beside, config=half) != "singular-gradient"


def test_a_layer_that_nan_switches_off_has_not_recovered() -> None:
    loss = series("loss", [*CALM, 1.5, NAN, NAN, NAN])
    off = series("grad_norm_enc", [*[1.0] * 10, NAN, NAN, 0.0, 0.0])
    assert named_cause(loss, off) == "singular-gradient"


def test_the_curve_places_what_the_program_says_of_the_loss() -> None:
    said = event("nonfinite-text", "loss is nan - stopping", 9, value="nan", quantity="loss")
    assert named_cause(*BACKWARD, said) == "singular-gradient"


@pytest.mark.parametrize(("share", "named"), [("2/4", True), ("4/4", False)])
def test_leaves_whose_gradients_were_sound(share: str, named: bool) -> None:
    """A row out of turn is printed for what stands below it; of float16 the layers beside tell."""
    rows = series("mse", [*CALM, 1.9], steps=[*range(0, 300, 30), 283])
    rows = replace(rows, lines=np.arange(1, 12), source=replace(rows.source, path="train.log"))
    text = f"18:27:59 non-finite grads in {share} leaves: ['encoder']['w']"
    said = event("nonfinite-text", text, 283, value="nan", quantity="gradient", layer="encoder/w")
    said = replace(said, source=replace(said.source, path="train.log", line=12))
    run = make_run(rows, said)
    located = judge(run)
    assert located.onset is not None
    assert located.onset.step == 283
    beside = [f for f in located.findings if f.data.get("partial")]
    assert bool(beside) is named
    assert named_cause(rows, said) == "singular-gradient"


def test_layers_nearer_to_the_loss_that_were_sound() -> None:
    parts = [*BACKWARD, series("grad_norms/head/kernel", [1.0] * 11 + [NAN])]
    parts.append(series("grad_norms/embed/kernel", [1.0] * 10 + [NAN, NAN]))
    beside = sound_gradients_beside(make_run(*parts), 11)
    assert beside is not None
    assert beside.layer == "head/kernel"
    assert named_cause(*parts) == "singular-gradient"
    assert sound_gradients_beside(make_run(*parts), 10) is None


def test_parts_that_train_in_turn() -> None:
    """The second part of a step sees what the first one's update did."""
    parts = (
        series("critic/loss", [*CALM, 1.5, NAN]),
        series("critic/grad_norm", [*[1.0] * 10, NAN, NAN]),
        series("gen/loss", [*CALM, NAN, NAN]),
    )
    assert named_cause(*parts) == "singular-gradient"
    both = (series("critic/loss", [*CALM, NAN, NAN]), *parts[1:])
    assert named_cause(*both) != "singular-gradient"


def test_a_root_that_was_minimized_to_nothing() -> None:
    def told(tag: str, *ends: float) -> str | None:
        falls = [0.3, 0.2, 0.25, 0.15, 0.1, 0.12, 0.08]
        return named_cause(replace(series(tag, [*falls, *ends, *[NAN] * 10]), role="loss"))

    assert told("rmsle", 0.0) == "singular-gradient"
    assert told("rmsle", 0.07) is None
    assert told("rmsle", 0.0, 0.1, 0.0) is None
    assert told("bce", 0.0) is None


def test_a_decomposition_that_was_handed_what_its_own_gradient_broke(tmp_path: Path) -> None:
    """A matrix of the forward pass and no input; the exception is of the next step."""
    raised = (
        "torch._C._LinAlgError: linalg.svd: The algorithm failed to converge because the input "
        "matrix contained non-finite values.\n"
    )

    def named(row: str) -> str | None:
        (tmp_path / "train.log").write_text(row + raised)
        causes = analyze(tmp_path).causes
        return causes[0].id if causes else None

    assert named("step 1 loss 4.165 grad_norm nan\n") == "singular-gradient"
    assert named("step 1 loss nan grad_norm nan\n") is None
    assert named("step 1 loss 4.165 grad_norm 0.31\n") is None
