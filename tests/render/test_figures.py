"""What the figures show of a series, and that any series can be drawn."""

from __future__ import annotations

import re
from dataclasses import replace
from xml.etree import ElementTree as ET

import factories
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from nanautopsy.model import Autopsy, Series
from nanautopsy.render._clean import cleaned
from nanautopsy.render._curves import MAX_POINTS, thin, views
from nanautopsy.render._layers import MAX_LAYERS, strips
from nanautopsy.render._svg import COLORS
from nanautopsy.render.figures import draw


def of(*series: Series, onset: int | None = None) -> Autopsy:
    """A result with just these series."""
    failing = factories.failing()
    assert failing.onset is not None
    where = None if onset is None else replace(failing.onset, step=onset, last_finite=onset - 1)
    return replace(failing, run=replace(failing.run, series=series), onset=where, findings=())


def test_a_long_run_is_shown_around_the_onset_and_as_a_whole() -> None:
    window, whole = views(factories.failing())
    assert (window.first, window.last) == (1004, 1304)
    assert (whole.first, whole.last) == (1, 1500)
    assert [panel.title for panel in whole.panels] == [
        "Loss",
        "Gradient norm",
        "Learning rate",
        "Loss scale",
    ]


def test_a_short_run_is_one_figure() -> None:
    assert len(views(factories.diverged())) == 1


def test_epochs_and_steps_do_not_share_an_axis() -> None:
    steps = factories.series("loss", [1, 2], [1, 2], "loss")
    epochs = factories.series("epoch_loss", [1, 2], [1, 2], "loss", axis="epoch")
    (view,) = views(of(steps, epochs, epochs))
    assert view.axis == "step"
    assert [c.label for c in view.panels[0].curves] == ["loss"]
    (alone,) = views(of(epochs))
    assert alone.axis == "epoch"


def test_namesakes_are_told_apart() -> None:
    def one(path: str, rank: int | None = None) -> Series:
        return factories.series("loss", [1, 2], [1, 2], "loss", path, rank=rank)

    (view,) = views(of(one("a/x/events.1"), one("a/y/events.1")))
    assert [c.label for c in view.panels[0].curves] == ["loss (x)", "loss (y)"]
    (view,) = views(of(one("log", 0), one("log", 1)))
    assert [c.label for c in view.panels[0].curves] == ["loss (rank 0)", "loss (rank 1)"]
    (view,) = views(of(one("a"), one("a")))
    assert [c.label for c in view.panels[0].curves] == ["loss (a)", "loss (a)"]


def test_explicit_nulls_are_not_nan() -> None:
    series = factories.series(
        "loss", [1, 2, 3], [1, np.nan, 3], "loss", missing=np.array([False, True, False])
    )
    (view,) = views(of(series))
    assert view.panels[0].curves[0].steps.tolist() == [1, 3]


def test_the_series_in_which_the_onset_was_seen_is_always_drawn() -> None:
    others = [factories.series(f"loss{i}", range(9), range(9), "loss") for i in range(6)]
    cited = factories.series(
        "grad_norm", [1204], [np.nan], "loss", "checkpoint-1200/trainer_state.json"
    )
    (view,) = views(replace(of(*others, cited), onset=factories.failing().onset))
    assert view.panels[0].curves[0].label == "grad_norm"
    assert view.panels[0].left_out == 3


@given(
    npst.arrays(np.float64, st.integers(1, 5000), elements=st.floats(width=64)),
    st.integers(10, 300),
)
@settings(max_examples=60, deadline=None)
def test_thinning_keeps_extremes_and_what_is_not_finite(values: np.ndarray, limit: int) -> None:
    kept = thin(values, limit)
    assert len(kept) <= max(limit, 7)
    assert (np.diff(kept) > 0).all()
    shown = values[kept]
    finite = values[np.isfinite(values)]
    if len(finite):
        assert shown[np.isfinite(shown)].min() == finite.min()
        assert shown[np.isfinite(shown)].max() == finite.max()
    for test in (np.isnan, np.isposinf, np.isneginf):
        assert test(values).any() == test(shown).any()


def test_a_million_points_are_thinned_and_it_is_said() -> None:
    steps = np.arange(1_000_000)
    values = np.ones(1_000_000)
    values[777_777] = np.inf
    (drawing,) = draw(of(factories.series("loss", steps, values, "loss")))
    assert f"At most {MAX_POINTS} of 1000000 points" in drawing.caption
    assert "▲ Inf" in drawing.caption
    assert len(drawing.svg) < 200_000


EXTREMES = {
    "huge": [1e308, -1e308, 1e-308, 0.0],
    "subnormal": [5e-324, 1e-310, 1e-300],
    "one point": [1.0],
    "one NaN": [np.nan],
    "all infinite": [np.inf, -np.inf, np.inf],
    "constant zero": [0.0] * 5,
    "decades": [1e-8, 1.0, 1e8],
    "decades with zero": [0.0, 1e-8, 1.0, 1e8],
    "negative decades": [-1e-8, -1.0, -1e8],
    "spike": [1.0, 1.0, 1e30, np.nan],
}


@pytest.mark.parametrize("values", EXTREMES.values(), ids=EXTREMES.keys())
@pytest.mark.parametrize("role", ["loss", "loss_scale"])
def test_any_values_can_be_drawn(values: list[float], role: str) -> None:
    (drawing,) = draw(of(factories.series("x", range(len(values)), values, role), onset=1))
    ET.fromstring(drawing.svg)


@given(
    st.lists(
        st.tuples(
            st.integers(-(2**40), 2**40), st.floats(width=64, allow_nan=True, allow_infinity=True)
        ),
        min_size=1,
        max_size=30,
    )
)
@settings(max_examples=25, deadline=None)
def test_any_series_can_be_drawn(points: list[tuple[int, float]]) -> None:
    points = sorted(dict(points).items())
    steps, values = zip(*points, strict=True)
    layered = [
        factories.series(f"g{i}", steps, values, "layer_gradient", layer=f"l{i}") for i in range(2)
    ]
    drawings = draw(of(factories.series("x", steps, values, "grad_norm"), *layered, onset=0))
    for drawing in drawings:
        ET.fromstring(drawing.svg)


def test_the_svg_has_classes_for_colors_and_no_styles() -> None:
    for drawing in draw(cleaned(factories.hostile())):
        assert "style=" not in drawing.svg
        assert not any(color in drawing.svg for color in COLORS.values())
        assert "<metadata" not in drawing.svg
        root = ET.fromstring(drawing.svg)
        assert root.get("role") == "img"
        labels = (root.get("aria-labelledby") or "").split()
        texts = {e.get("id"): e.text for e in root if e.get("id") in labels}
        assert all(texts[label] for label in labels)


def test_the_figures_ids_do_not_meet() -> None:
    seen: set[str] = set()
    for drawing in draw(factories.failing()):
        own = set(re.findall(r'\bid="([^"]+)"', drawing.svg))
        assert not own & seen
        seen |= own
        used = set(re.findall(r'(?:url\(|href=")#([^)"]+)', drawing.svg))
        assert used <= own


def test_layers_by_steps() -> None:
    (strip,) = strips(factories.failing())
    assert strip.layers[0] == "model.layers.0.self_attn.q_proj"
    assert strip.nonfinite.shape == (24, 40)
    assert strip.nonfinite[17, -10:].all()
    assert not strip.nonfinite[:, 0].any()


def test_of_many_layers_the_first_to_fail_are_shown() -> None:
    steps = np.arange(4)
    series = [
        factories.series(
            f"g{i}", steps, [1, 1, np.nan if i == 150 else 1, 1], "layer_gradient", layer=f"l{i}"
        )
        for i in range(200)
    ]
    (strip,) = strips(of(*series))
    assert len(strip.layers) == MAX_LAYERS
    assert "l150" in strip.layers
    (drawing,) = draw(of(*series))
    assert "60 of 200 layers" in drawing.caption
    assert "l150 are the first that are not finite, at step 2" in drawing.svg


def test_nothing_to_draw() -> None:
    assert draw(factories.undetermined()) == ()
