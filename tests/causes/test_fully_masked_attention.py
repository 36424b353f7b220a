"""Rows without a key: NaN first in attention, without growth, or softmax by name."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from builders import INF, NAN, event, named_cause, series

from nanautopsy import analyze
from nanautopsy.model import Series


def cause_of(text: str) -> str | None:
    """The first cause of a log."""
    with TemporaryDirectory() as folder:
        Path(folder, "train.log").write_text(text)
        causes = analyze(folder).causes
    return causes[0].id if causes else None


CALM = [2.0, 1.9, 2.1, 1.8, 1.9, 1.7, 1.8, 1.6, 1.7, 1.6]


@pytest.mark.parametrize(
    "function", ["SoftmaxBackward0", "ScaledDotProductEfficientAttentionBackward0"]
)
def test_named_by_anomaly_mode(function: str) -> None:
    said = event("backward-nonfinite", f"Function '{function}' returned nan", 11, function=function)
    assert named_cause(series("loss", [*CALM, NAN]), said) == "fully-masked-attention"


def layers(attention: list[float]) -> tuple[Series, ...]:
    rest = [1.0] * 10 + [NAN, NAN]
    return (
        series("loss", [*CALM, NAN, NAN]),
        series("activations/model.layers.0.mlp", [1.0] * 11 + [NAN]),
        series("activations/model.layers.1.self_attn.o_proj", attention),
        series("activations/model.layers.1.mlp", rest),
    )


def test_attention_is_nan_first() -> None:
    assert named_cause(*layers([1.0] * 10 + [NAN, NAN])) == "fully-masked-attention"


def test_inf_first_is_an_overflow() -> None:
    assert named_cause(*layers([1.0] * 10 + [INF, NAN])) != "fully-masked-attention"


def test_another_layer_first() -> None:
    parts = list(layers([1.0] * 11 + [NAN]))
    assert named_cause(*parts) != "fully-masked-attention"


def test_grown_projections_are_attention_overflow() -> None:
    grown = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, NAN, NAN]
    flat = [1.0] * 10 + [NAN, NAN]
    weights = [
        series(f"weights_norm/model.layers.0.self_attn.{n}", grown if n[0] in "qk" else flat)
        for n in ("q_proj", "k_proj", "v_proj", "o_proj")
    ]
    parts = layers([1.0] * 10 + [NAN, NAN])
    assert named_cause(*parts, *weights) == "attention-overflow"


def test_the_first_layer_that_was_watched_need_not_be_the_first() -> None:
    """A bad batch reaches attention through an embedding that nobody logged."""
    parts = (
        series("loss", [*CALM, NAN, NAN]),
        series("activations/model.layers.0.self_attn", [1.0] * 10 + [NAN, NAN]),
        series("activations/model.layers.0.mlp", [1.0] * 10 + [NAN, NAN]),
    )
    assert named_cause(*parts) is None


def test_one_line_is_one_piece_of_evidence() -> None:
    said = event(
        "nonfinite-text", "NaN in output of layers.0.attn.o_proj", 11, step_exact=True,
        quantity="attention", value="nan", layer="layers.0.attn.o_proj",
    )  # fmt: skip
    assert named_cause(series("loss", [*CALM, NAN]), said) is None


def behind(query: list[float], output: str = "out") -> str | None:
    """Modules without *attention* in their names, as small models have them."""
    parts = (
        series("loss", [*CALM, NAN, NAN]),
        series("act_max/query", query),
        series(f"act_max/{output}", [1.0] * 10 + [NAN, NAN]),
        series("act_max/lm_head", [1.0] * 10 + [NAN, NAN]),
    )
    return named_cause(*parts)


def test_the_output_projection_is_nan_and_its_queries_are_not() -> None:
    assert behind([1.0] * 11 + [NAN]) == "fully-masked-attention"
    assert behind([1.0] * 10 + [NAN, NAN]) != "fully-masked-attention"
    assert behind([1.0] * 11 + [NAN], "fc1") != "fully-masked-attention"


def test_a_length_that_fell_to_0_in_rows_of_whole_numbers() -> None:
    """The program prints them beside its bar, every so often and where it is 0; counted from 0."""

    def named(shortest: int) -> str | None:
        sizes = "".join(f"[data] step {s} hyp_len min=2 max=7\n" for s in range(0, 50, 10))
        odd = f"[data] step 56 hyp_len min={shortest} max=7\n"
        rows = [f"step {s} loss {0.7 if s <= 56 else NAN} grad_norm 1.0" for s in range(2, 80, 2)]
        return cause_of(sizes + odd + "\n".join(rows))

    assert named(0) == "fully-masked-attention"
    assert named(2) != "fully-masked-attention"


def test_a_softmax_of_any_name_lies_in_attention() -> None:
    parts = (series("loss", [*CALM, NAN]), series("activations/blocks.0.softmax", [*CALM, NAN]))
    assert named_cause(*parts) == "fully-masked-attention"
