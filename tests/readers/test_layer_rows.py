"""Layers that stand in lines of their own: the forms of hooks, tables, and trees of JAX."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from textlogs import points_of, read_text

from nanautopsy.autopsy import analyze
from nanautopsy.model import Autopsy
from nanautopsy.readers.text.named_layer import layer

NAMES = ("Dense_0", "Dense_1", "Dense_2", "out")
LAST, STEPS = 12, 16
"""The first step whose backward pass is NaN: in Dense_2 and what lies before it, not in out."""


def shown(value: float) -> str:
    return "nan" if value != value else f"{value:.4f}"


def number(place: int, step: int) -> float:
    dead = step > LAST or (step == LAST and place <= 2)
    return float("nan") if dead else 0.2 + 0.05 * place + 0.003 * (step % 7)


def loss(step: int) -> str:
    return "nan" if step > LAST else f"{2.1 - 0.05 * step:.4f}"


def judged(tmp_path: Path, form: Callable[[int], str]) -> Autopsy:
    (tmp_path / "train.log").write_text("".join(form(step) for step in range(1, STEPS + 1)))
    return analyze(tmp_path)


def lines(row: str, title: str = "") -> Callable[[int], str]:
    """``{n}`` step, ``{l}`` layer, ``{i}`` its number, ``{v}`` value."""

    def form(step: int) -> str:
        rows = [
            row.format(n=step, l=name, i=i, v=shown(number(i, step)))
            for i, name in enumerate(NAMES)
        ]
        return f"step {step} loss {loss(step)}\n{title}" + "".join(rows)

    return form


@pytest.mark.parametrize(
    "form",
    [
        lines("  ['params']['{l}']['kernel']: |g|={v}\n"),
        lines("    grad .layers[{i}].weight norm {v}\n"),
        lines("grad[{l}] shape=(16, 16) min=-{v} max={v} mean={v}\n"),
        lines("{n}: {l}.weight.grad -> mean {v} std {v}\n"),
        lines("{l} kernel grad: mean={v}, max={v}\n"),
        lines("{l:<12} {v:>9}   1.2000\n", "layer        grad_norm   weight_norm\n"),
        lines("| {l} | {v} | {v} |\n", "| layer | grad norm | grad max |\n|---|---|---|\n"),
        lines("{l:<9}{v:>9} {v:>8}\n", "         grad_norm grad_max\n"),
        lambda n: f"step {n} loss {loss(n)} grads: ["
        + ", ".join(f"{name}:{shown(number(i, n))}" for i, name in enumerate(NAMES))
        + "]\n",
        lambda n: f"{{'step': {n}, 'loss': {loss(n)}, 'grad_norms': {{"
        + ", ".join(f"'{name}': {shown(number(i, n))}" for i, name in enumerate(NAMES))
        + "}}\n",
        lambda n: f"[{n}] loss={loss(n)} "
        + " ".join(f"gnorm/params/{x}/kernel={shown(number(i, n))}" for i, x in enumerate(NAMES))
        + "\n",
    ],
    ids=["keystr", "equinox", "brackets", "arrow", "words", "table", "markdown", "frame", "list",
         "dictionary", "slashes"],
)  # fmt: skip
def test_the_first_layer_of_the_backward_pass(tmp_path: Path, form: Callable[[int], str]) -> None:
    onset = judged(tmp_path, form).onset
    assert onset is not None
    assert onset.step == LAST
    assert onset.layers and ("Dense_2" in onset.layers[0] or "layers[2]" in onset.layers[0])


def test_layers_above_the_line_of_their_step(tmp_path: Path) -> None:
    def form(step: int) -> str:
        rows = "".join(
            f"grad {name}.weight norm {shown(number(i, step))}\n" for i, name in enumerate(NAMES)
        )
        return f"{rows}step {step} loss {loss(step)}\n"

    onset = judged(tmp_path, form).onset
    assert onset is not None and onset.step == LAST
    assert onset.layers[0] == "Dense_2.weight"


def test_more_layers_than_a_heading_speaks_for(tmp_path: Path) -> None:
    def form(step: int) -> str:
        rows = "".join(
            f"grad blocks.{i}.weight norm {'nan' if step >= LAST and i <= 50 else '0.2'}\n"
            for i in range(80)
        )
        return f"step {step} loss {loss(step)}\n{rows}"

    onset = judged(tmp_path, form).onset
    assert onset is not None and onset.step == LAST
    assert onset.layers[0] == "blocks.50.weight"


def test_a_healthy_run_with_the_same_lines_stays_healthy(tmp_path: Path) -> None:
    def form(step: int) -> str:
        rows = "".join(f"grad[{name}] min=-0.2 max=0.2{step}\n" for name in NAMES)
        return f"step {step} loss {2.1 - 0.05 * step:.4f}\n{rows}"

    autopsy = judged(tmp_path, form)
    assert autopsy.verdict == "healthy"
    assert {s.layer for s in autopsy.run.by_role("layer_gradient")} == set(NAMES)


@pytest.mark.parametrize(
    "line",
    [
        "actor.grad_norm: 0.3 critic.grad_norm: 0.2",
        "optimizer.weight_decay=0.01 max_norm=1.0",
        "[5] loss=2.1 gnorm/params/Dense_0/kernel=0.2 max=3.0",
    ],
)
def test_metrics_and_settings_are_no_layers(tmp_path: Path, line: str) -> None:
    autopsy = judged(tmp_path, lambda n: f"step {n} loss {2.1 - 0.05 * n:.4f}\n{line}\n")
    assert not {s.layer for s in autopsy.run.series} - {None, "Dense_0/kernel"}


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("NaN gradient in Dense_2 (grad_input)", "Dense_2"),
        ("!! Dense_2 forward output has 16/256 NaNs (input finite: True)", "Dense_2"),
        ("found inf in layer 3", "layer 3"),
        ("nan in lm_head", "lm_head"),
        ("nan loss in epoch3", None),
        ("NaN at step12 on rank_0", None),
    ],
)
def test_one_word_that_is_a_layers(line: str, named: str | None) -> None:
    assert layer(line) == named


@pytest.mark.parametrize(
    "said",
    [
        "NaN gradient in Dense_2 (grad_input)",
        "!! Dense_2 forward output has 16/256 NaNs (input finite: True)",
        "Dense_2 grad: nan 12.5% inf 0.0%",
        "Dense_2: isfinite=False",
        "AssertionError: [Chex] Assertion assert_tree_all_finite failed: Tree contains non-finite "
        "value: {'params': {'Dense_0': {'kernel': 'Finite'}, 'Dense_2': {'kernel': 'Nonfinite'}}}.",
    ],
)
def test_a_line_says_which(tmp_path: Path, said: str) -> None:
    def form(step: int) -> str:
        return f"step {step} loss {loss(step)}\n" + (f"{said}\n" if step == LAST else "")

    onset = judged(tmp_path, form).onset
    assert onset is not None and onset.step is not None
    assert LAST <= onset.step <= LAST + 1
    assert len(onset.layers) == 1 and "Dense_2" in onset.layers[0]


@pytest.mark.parametrize("sound", ["Dense_2 grad: nan 0.0% inf 0.0%", "Dense_2: isfinite=True"])
def test_a_line_says_that_all_is_well(tmp_path: Path, sound: str) -> None:
    form = f"step {{n}} loss 2.0{{n}}\n{sound}\n"
    assert judged(tmp_path, lambda n: form.format(n=n)).verdict == "healthy"


@pytest.mark.parametrize(
    "row",
    [
        "2025-03-04 10:00:0{n}.123 | INFO     | trainer.loop:_step:212 - step {n} - loss: 1.5{n},"
        " grad_norm: 2.23, lr: 1.00e-03\n",
        "core.trainer - step {n} - loss: 1.5{n}, grad_norm: 2.23\n",
    ],
)
def test_the_module_that_logs_is_no_layer(tmp_path: Path, row: str) -> None:
    found = points_of(read_text(tmp_path, "".join(row.format(n=n) for n in range(5))))
    assert found["loss", "step"][0] == [0, 1, 2, 3, 4]
    assert found["grad_norm", "step"][1] == [2.23] * 5


def test_a_column_counts_what_is_not_finite(tmp_path: Path) -> None:
    def form(bad: int) -> str:
        rows = [("embed", 1.92, 0), ("blocks.0.fc", 26130.0, 0), ("head", 3.1, bad)]
        table = [f"   {name:<14}{size:>10.4g}{n:>12d}" for name, size, n in rows]
        heading = f"   {'module':<14}{'absmax':>10}{'#nonfinite':>12}"
        steps = [
            "\n".join((f">> iter {step} | ce {2.1 if step < 40 else end}", heading, *table))
            for step, end in ((0, 2.1), (20, 2.0), (40, "nan" if bad else 1.9))
        ]
        return "\n".join(steps) + "\n"

    (tmp_path / "sick").mkdir()
    (tmp_path / "sick" / "out.txt").write_text(form(19).replace("19\n>>", " 0\n>>"))
    onset = analyze(tmp_path / "sick").onset
    assert onset is not None and (onset.step, onset.layer) == (40, "head")
    (tmp_path / "sound").mkdir()
    (tmp_path / "sound" / "out.txt").write_text(form(0))
    assert analyze(tmp_path / "sound").verdict == "healthy"


def test_a_mask_that_is_printed_is_no_activation(tmp_path: Path) -> None:
    text = "  blocks.0.attn.{}  shape (64, 64)  min -inf  max 0.000  mean -inf\n"
    assert not points_of(read_text(tmp_path, text.format("causal_mask")))
    assert points_of(read_text(tmp_path, text.format("out")))


@pytest.mark.parametrize(
    ("heading", "row"),
    [
        ("name            dtype      nan_count", "income          float64           12"),
        ("layer           fwd        inf", "block1          12.1       7.4"),
        ("module          params     nan", "block1          1200       0"),
    ],
)
def test_other_tables_count_nothing(tmp_path: Path, heading: str, row: str) -> None:
    steps = "\n".join(f"step {i} loss {2 - i / 10:.3f}" for i in range(8))
    (tmp_path / "train.log").write_text(f"{heading}\n{row}\n{steps}\n")
    assert analyze(tmp_path).verdict == "healthy"
