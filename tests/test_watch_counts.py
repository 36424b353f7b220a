"""Histograms of ``wandb.watch`` that lack elements name the layer."""

from __future__ import annotations

from builders import NAN, judge, make_run, series

from nanautopsy.model import Series


def _counts(layer: str, counts: list[float], steps: list[int] | None = None):  # type: ignore[no-untyped-def]
    return series(f"gradients/{layer}#count", counts, steps)


def test_a_histogram_that_lost_an_element_names_its_layer() -> None:
    located = judge(
        make_run(
            series("loss", [2.0, 1.9, 1.8, NAN]),
            _counts("0.weight", [16, 16, 15, 15]),
            _counts("2.weight", [8, 8, 8, 8]),
        )
    )
    assert located.onset is not None
    assert located.onset.step == 3
    assert located.onset.layer == "0.weight"


def test_a_histogram_that_is_gone_while_its_siblings_go_on() -> None:
    located = judge(
        make_run(
            series("loss", [2.0, 1.9, 1.8, NAN]),
            _counts("0.weight", [16, 16], [1, 2]),
            _counts("2.bias", [8, 8, 8, 8], [1, 2, 3, 4]),
        )
    )
    assert located.onset is not None
    assert (located.onset.step, located.onset.layer) == (3, "0.weight")


def test_histograms_that_all_end_together_say_nothing() -> None:
    located = judge(
        make_run(
            series("loss", [2.0, 1.9, 1.8, 1.7]),
            _counts("0.weight", [16, 16], [1, 2]),
            _counts("2.bias", [8, 8], [1, 2]),
        )
    )
    assert located.verdict == "healthy"


def test_steady_counts_are_healthy() -> None:
    run = make_run(series("loss", [2.0, 1.9]), _counts("0.weight", [16, 16]))
    assert judge(run).verdict == "healthy"


def test_a_frozen_layer_is_no_failure() -> None:
    run = make_run(
        series("loss", [2.0, 1.9, 1.8, 1.7]),
        _counts("0.weight", [16, 16], [1, 2]),
        _counts("2.bias", [8, 8, 8, 8], [1, 2, 3, 4]),
    )
    assert judge(run).verdict == "healthy"


def _stated(layer: str, counts: list[float], extreme: float = 1.0) -> list[Series]:
    tag = f"weights/{layer}"
    extremes = [extreme if count else 1.0 for count in counts]
    return [series(f"{tag}#nonfinite", counts), series(f"{tag}#max", extremes)]


def test_a_histogram_that_states_more_than_it_holds_names_its_layer() -> None:
    located = judge(
        make_run(
            series("loss", [2.0, 1.9, 1.8, NAN]),
            *_stated("layer.0.weight", [0, 0, 3, 3]),
            *_stated("layer.1.weight", [0, 0, 0, 0]),
        )
    )
    assert located.onset is not None
    assert (located.onset.step, located.onset.layer) == (3, "layer.0.weight")


def test_whole_histograms_are_healthy() -> None:
    run = make_run(series("loss", [2.0, 1.9]), *_stated("layer.0.weight", [0, 0]))
    assert judge(run).verdict == "healthy"


def test_histograms_of_losses_are_no_loss() -> None:
    run = make_run(
        series("loss", [2.0, 1.9, 1.8, 1.7]),
        series("train/loss#nonfinite", [0, 0, 0, 0]),
        series("train/loss#min", [0, 0, 0, 0]),
    )
    assert judge(run).verdict == "healthy"
    assert {s.role for s in run.series if "#" in s.tag} == {"other"}
