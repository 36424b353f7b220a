"""What the figures show of a series, and that any series can be drawn."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from xml.etree import ElementTree as ET

import factories
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from nanautopsy.languages import ENGLISH
from nanautopsy.model import Autopsy, Series, Source
from nanautopsy.render._clean import cleaned
from nanautopsy.render.figures import draw
from nanautopsy.render.figures.health import health_map
from nanautopsy.render.figures.layers import MAX_ROWS, layer_strips, rank_strips
from nanautopsy.render.figures.marks import lanes, rate_changes
from nanautopsy.render.figures.scale import staircase
from nanautopsy.render.figures.svg import COLORS
from nanautopsy.render.figures.views import MAX_POINTS, thin, views


def of(*series: Series, onset: int | None = None) -> Autopsy:
    """A result with just these series."""
    failing = factories.failing()
    assert failing.onset is not None
    where = None if onset is None else replace(failing.onset, step=onset, last_finite=onset - 1)
    run = replace(failing.run, series=series, events=(), checkpoints=())
    return replace(failing, run=run, onset=where, findings=())


def test_a_long_run_is_shown_around_the_onset_and_as_a_whole() -> None:
    window, whole = views(factories.failing())
    assert (window.first, window.last) == (1004, 1304)
    assert (whole.first, whole.last) == (1, 1500)
    assert [panel.title for panel in whole.panels] == [
        "Loss",
        "Gradient norm",
        "Learning rate",
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
    for drawing in draw(of(factories.series("x", range(len(values)), values, role), onset=1)):
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
    (strip,) = layer_strips(factories.failing())
    assert strip.grid.names[0] == "model.layers.0.self_attn.q_proj"
    assert strip.grid.nonfinite.shape == (24, 40)
    assert strip.grid.nonfinite[17, -10:].all()
    assert not strip.grid.nonfinite[:, 0].any()


def test_of_many_layers_the_first_to_fail_are_shown() -> None:
    steps = np.arange(4)
    series = [
        factories.series(
            f"g{i}", steps, [1, 1, np.nan if i == 150 else 1, 1], "layer_gradient", layer=f"l{i}"
        )
        for i in range(200)
    ]
    (strip,) = layer_strips(of(*series))
    assert len(strip.grid.names) == MAX_ROWS
    assert "l150" in strip.grid.names
    (drawing,) = draw(of(*series))
    assert "60 of 200 are drawn" in drawing.caption
    assert "Not finite first: l150, at step 2." in drawing.svg


def test_ranks_by_steps() -> None:
    def norms(rank: int, values: list[float]) -> Series:
        return factories.series("norm", range(4), values, "grad_norm", rank=rank)

    (strip,) = rank_strips(of(norms(0, [1, 2, 3, np.nan]), norms(1, [1, 2, np.inf, np.nan])))
    assert strip.grid.names == ("rank 0", "rank 1")
    assert strip.grid.nonfinite.tolist() == [[False] * 3 + [True], [False] * 2 + [True] * 2]
    drawing = draw(of(norms(0, [1, 2, 3, 4]), norms(1, [1, 2, np.nan, 4])))[-1]
    assert drawing.caption.startswith("Not finite first: rank 1, at step 2.")
    assert rank_strips(of(norms(0, [1, 2, 3, 4]))) == []


def test_the_events_above_the_curves() -> None:
    shown = {str(lane.label): lane.steps.tolist() for lane in lanes(factories.failing(), 1, 1500)}
    assert shown == {"skipped": [1204], "resumed": [1050], "saved": [1100, 1200]}
    window = {str(lane.label) for lane in lanes(factories.failing(), 1150, 1210)}
    assert window == {"skipped", "saved"}


RATES = {
    "warmup": ([1e-5 * i for i in range(1, 11)], []),
    "cosine": (list(1e-3 * (1 + np.cos(np.linspace(0, 3, 40)))), []),
    "step decay": ([1e-3] * 5 + [1e-4] * 5, [5]),
    "spike": ([1e-3] * 5 + [1e-1] * 5, [5]),
    "zero first": ([0.0, 0.0, 1e-3, 1e-3], []),
    "with NaN": ([1e-3, np.nan, 1e-3, 1e-2, 1e-2], [3]),
    "one point": ([1e-3], []),
}


@pytest.mark.parametrize(("values", "changes"), RATES.values(), ids=RATES.keys())
def test_changes_of_the_learning_rate(values: list[float], changes: list[int]) -> None:
    assert rate_changes(factories.series("lr", range(len(values)), values)) == changes


def test_the_staircase_of_the_loss_scale() -> None:
    def scale(values: list[float]) -> Autopsy:
        return of(factories.series("scale", range(len(values)), values, "loss_scale"))

    stairs = staircase(scale([8.0, 8.0, 4.0, 4.0, 2.0]))
    assert stairs is not None
    assert stairs.steps[stairs.treads].tolist() == [2, 4]
    assert staircase(scale([8.0, 8.0, 8.0])) is None
    assert staircase(of()) is None
    (drawing,) = draw(scale([8.0, 4.0, np.nan, np.nan, 16.0]))
    assert "falls once and rises never, between 16 and 4" in drawing.caption
    assert [row.cells[0].text for row in drawing.data.rows] == ["1", "2", "4"]


def test_the_staircase_from_what_skipped_steps_say() -> None:
    failing = factories.failing()
    events = tuple(
        replace(failing.run.events[0], step=step, data={"scale_after": 2.0**-step})
        for step in (3, 1, 2)
    )
    stairs = staircase(replace(failing, run=replace(failing.run, series=(), events=events)))
    assert stairs is not None
    assert stairs.values.tolist() == [0.5, 0.25, 0.125]


def test_the_health_of_layers_over_checkpoints() -> None:
    found = health_map(factories.failing())
    assert found is not None
    assert len(found.checkpoints) == 2
    layer = "model.layers.17.self_attn"
    states = [found.state(layer, column) for column in (0, 1)]
    assert states == [3, 0]
    assert [found.state("model.projector", column) for column in (0, 1)] == [None, 1]
    assert found.layers.index("model.layers.2.mlp") < found.layers.index(layer)


def test_the_layers_of_a_large_model_are_joined() -> None:
    failing = factories.failing()
    tensors = tuple(
        factories.tensor(f"model.layers.{i}.mlp.{part}.weight")
        for i in range(48)
        for part in ("up", "down", "gate")
    )
    checkpoints = tuple(
        replace(failing.run.checkpoints[0], path=f"c-{step}", step=step, tensors=tensors)
        for step in (10, 20)
    )
    found = health_map(replace(failing, run=replace(failing.run, checkpoints=checkpoints)))
    assert found is not None
    assert len(found.layers) == 48
    assert found.layers[0] == "model.layers.0.mlp"


def test_one_checkpoint_is_no_map() -> None:
    failing = factories.failing()
    run = replace(failing.run, checkpoints=failing.run.checkpoints[:1])
    assert health_map(replace(failing, run=run)) is None


@pytest.mark.parametrize("make", [factories.failing, factories.all_nan, factories.diverged])
def test_every_figure_has_its_numbers_and_its_words(make: Callable[[], Autopsy]) -> None:
    drawings = draw(cleaned(make()))
    assert drawings
    for drawing in drawings:
        assert drawing.data.rows, drawing.name
        assert drawing.caption.endswith("."), drawing.caption
        assert all(len(row.cells) == len(drawing.data.headings) for row in drawing.data.rows)


def test_nothing_to_draw() -> None:
    assert draw(factories.undetermined()) == ()


@pytest.mark.parametrize(
    ("role", "tag", "dtype", "title"),
    [
        ("attention_logit", "max_logit", "F16", "headroom to 65504, the largest number of float16"),
        ("layer_activation", "max", "BF16", "headroom to 3.38953e+38, the largest number of bfl"),
        ("attention_logit", "mean_logit", "F16", "magnitude"),
        ("layer_gradient", "max_grad", "F16", "magnitude"),
        ("attention_logit", "max_logit", None, "magnitude"),
    ],
)
def test_headroom_where_the_format_is_known(
    role: str, tag: str, dtype: str | None, title: str
) -> None:
    values = np.array([2.0, 655.04])
    layers = [
        replace(factories.series(f"layer.{i}/{tag}", [1, 2], values, role=role), layer=f"layer.{i}")
        for i in range(2)
    ]
    autopsy = of(*layers, onset=2)
    facts = {} if dtype is None else factories.facts({"compute_dtype": dtype}, Source("a.json"))
    drawings = draw(replace(autopsy, run=replace(autopsy.run, facts=facts)), ENGLISH)
    (map_,) = [d for d in drawings if d.name.startswith("layers")]
    assert f": {title}" in map_.title
    shown = [cell.text for cell in map_.data.rows[0].cells]
    assert ("100" in shown) == (dtype == "F16" and title != "magnitude")
