"""Layers below a heading, in lists, in dictionaries, and in the rows of JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from nanautopsy.autopsy import analyze
from nanautopsy.model import Autopsy
from nanautopsy.readers.text.headed_rows import heading

NAMES = ("stem", "blocks.0.norm", "blocks.1.fc", "blocks.2.norm", "head")
DEAD, STEPS = 12, 14
"""The first bad step; there the forward pass turns in ``blocks.1.fc``, and so does the backward
pass, with what lies before it."""


def shown(bad: bool, step: int) -> str:
    return "nan" if bad else f"{0.5 + 0.01 * step:.3f}"


def acts(step: int) -> list[str]:
    return [shown(step > DEAD or (step == DEAD and i >= 2), step) for i in range(len(NAMES))]


def grads(step: int) -> list[str]:
    return [shown(step > DEAD or (step == DEAD and i <= 2), step) for i in range(len(NAMES))]


def judged(tmp_path: Path, form: Callable[[int], str]) -> Autopsy:
    (tmp_path / "train.log").write_text("".join(form(step) for step in range(1, STEPS + 1)))
    return analyze(tmp_path)


def below(title: str, row: str, values: Callable[[int], list[str]]) -> Callable[[int], str]:
    """A row of the run, whose loss turns a step after the gradients, then the layers."""
    late = values is grads

    def form(step: int) -> str:
        loss = shown(step > DEAD if late else step >= DEAD, step)
        pairs = zip(NAMES, values(step), strict=True)
        rows = "".join(row.format(l=name, v=value) for name, value in pairs)
        return f"step {step} loss {loss}\n{title}\n{rows}"

    return form


@pytest.mark.parametrize(
    "form",
    [
        below("activations:", "    {l:10s} mean {v} std {v} absmax {v}\n", acts),
        below("layer outputs (rms)", "  {l} = {v}\n", acts),
        below("  grad norms:", "    {l}.weight: {v}\n", grads),
        below("per-parameter gradient norms", "  - {l}.weight | {v}\n", grads),
        below("dumping norms of all gradients:", " '{l}.weight': tensor({v}),\n", grads),
        below("parameter     |w|    |g|", "{l}.weight     0.51     {v}\n", grads),
        below("", "  act_rms[{l}] = {v}\n", acts),
        below("", "  {l} | min={v} max={v} mean={v}\n", acts),
        below("gradients by parameter (2-norm):", "  0.{l}: {v}  # of 5\n", grads),
        below("", "  grad_norm[{l}.weight] -> {v}\n", grads),
    ],
)
def test_the_first_layer_is_told(tmp_path: Path, form: Callable[[int], str]) -> None:
    onset = judged(tmp_path, form).onset
    assert onset is not None and onset.step == DEAD
    assert onset.layers and onset.layers[0].removeprefix("0.").startswith("blocks.1.fc")


def test_a_dictionary_below_its_heading(tmp_path: Path) -> None:
    def form(step: int) -> str:
        loss = shown(step > DEAD, step)
        pairs = zip(NAMES, grads(step), strict=True)
        inside = ", ".join(f"'{name}.weight': tensor({value})" for name, value in pairs)
        return f"[Rank 0] step {step} loss {loss}\n[Rank 0] norms of gradients\n{{{inside}}}\n"

    onset = judged(tmp_path, form).onset
    assert onset is not None and onset.step == DEAD
    assert onset.layers[0] == "blocks.1.fc.weight"


def test_a_list_of_objects_in_a_row(tmp_path: Path) -> None:
    with open(tmp_path / "debug.jsonl", "w") as file:
        for step in range(1, STEPS + 1):
            items = [
                {"name": name, "absmax": float(value), "n": 3}
                for name, value in zip(NAMES, acts(step), strict=True)
            ]
            loss = float(shown(step >= DEAD, step))
            file.write(json.dumps({"step": step, "loss": loss, "layers": items}) + "\n")
    onset = analyze(tmp_path).onset
    assert onset is not None and onset.step == DEAD
    assert onset.layers[0] == "blocks.1.fc"


def test_layers_by_number_and_part_behind_a_logger(tmp_path: Path) -> None:
    def form(step: int) -> str:
        head = "[2026-01-02 10:00:00,123][train][INFO] - "
        rows = "".join(
            f"{head}  L{i:02d} {part:4s} | amax={acts(step)[2 * i + j]} | nan=0\n"
            for i in range(2)
            for j, part in enumerate(("attn", "ffn"))
        )
        return f"{head}step={step} loss={shown(step >= DEAD, step)}\n{rows}"

    onset = judged(tmp_path, form).onset
    assert onset is not None and onset.step == DEAD
    assert onset.layers == ("L01.attn", "L01.ffn")


def test_a_heading_whose_row_stands_below(tmp_path: Path) -> None:
    def form(step: int) -> str:
        rows = "".join(f" '{n}.weight': {v},\n" for n, v in zip(NAMES, grads(step), strict=True))
        loss = shown(step > DEAD, step)
        return f"[{step}] gradient norms by parameter:\n{rows}[{step}] loss: {loss}\n"

    onset = judged(tmp_path, form).onset
    assert onset is not None and onset.step == DEAD
    assert onset.layers[0] == "blocks.1.fc.weight"


def test_columns_of_layers_in_a_file_that_says_what_they_are(tmp_path: Path) -> None:
    names = ("conv1", "layers.0.mlp.weight", "layers.1.mlp.weight", "head.weight")
    rows = ["step,loss," + ",".join(names)]
    for step in range(1, STEPS + 1):
        dead = [step > DEAD or (step == DEAD and i <= 1) for i in range(len(names))]
        cells = [shown(step > DEAD, step), *(shown(bad, step) for bad in dead)]
        rows.append(f"{step}," + ",".join(cells))
    (tmp_path / "grad_norms.csv").write_text("\n".join(rows) + "\n")
    onset = analyze(tmp_path).onset
    assert onset is not None and onset.step == DEAD
    assert onset.layers == ("layers.0.mlp.weight", "conv1")


@pytest.mark.parametrize(
    "text",
    [
        "gradient clipping: 1.0",
        "number of parameters: 123",
        "weights: imagenet",
        "grad_norm 0.3 loss 2.0:",
        "loading weights from model.pt",
        "grad norm: nan",
    ],
)
def test_what_is_no_heading(text: str) -> None:
    assert heading(text) is None


def test_settings_below_a_heading_are_no_layers(tmp_path: Path) -> None:
    def form(step: int) -> str:
        settings = "loss weights:\n  alpha: 0.5\n  beta: inf\n"
        return f"{settings}step {step} loss {shown(False, step)}\n"

    autopsy = judged(tmp_path, form)
    assert autopsy.verdict == "healthy"
    assert not any(s.layer for s in autopsy.run.series)
