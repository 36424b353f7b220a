"""What the harness says can be told: where it began, by whose name, and which weights show it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from corpus.score import HERE  # noqa: F401  (puts the harness on the path)
from harness.knowable import AUDIT, TELLS, Damage, audited, cause_by_kinds, knowable, names, origin


def seen(**places: tuple[int, str]) -> dict[str, Any]:
    return {kind: {"step": step, "module": module} for kind, (step, module) in places.items()}


@pytest.mark.parametrize(
    ("first", "modules"),
    [
        ({}, set()),
        (seen(forward=(7, "layers.0.attn"), gradient=(7, "head.weight")), {"layers.0.attn"}),
        (seen(gradient=(7, "lstm.bias_hh_l0"), forward=(8, "lstm")), {"lstm"}),
        (seen(parameter=(0, "embed.weight"), forward=(1, "norm")), {"embed", "norm"}),
        (seen(optimizer=(3, "body.0.weight.exp_avg"), parameter=(3, "out.bias")), {"out"}),
        (seen(loss=(3, "loss"), parameter=(4, "out.bias")), set()),
    ],
)
def test_the_first_kind_of_the_first_step_is_the_origin(
    first: dict[str, Any], modules: set[str]
) -> None:
    assert origin(first) == modules


def test_a_module_is_named_by_itself_or_by_the_one_around_it(tmp_path: Path) -> None:
    (tmp_path / "train.log").write_text("act_max/layers.0.attn nan\nattn_logits/cross_attn inf\n")
    named = names(tmp_path)
    assert named("layers.0.attn.softmax")
    assert named("cross_attn.score")
    assert not named("layers.1.attn.softmax")
    assert not named("head")


def save(path: Path, **tensors: list[float]) -> Damage:
    np.savez(path, **{name: np.array(values, np.float32) for name, values in tensors.items()})
    return Damage.of(path)


def test_damage_is_confined_until_it_has_spread(tmp_path: Path) -> None:
    good, bad = [1.0, 2.0], [1.0, float("nan")]
    names_of = ("a.w", "b.w", "c.w", "d.w")
    one = save(tmp_path / "one.npz", **dict.fromkeys(names_of, good) | {"b.w": bad})
    assert one.is_confined and one.modules == {"b"}
    assert not save(tmp_path / "all.npz", **dict.fromkeys(names_of, bad)).is_confined
    assert not save(tmp_path / "none.npz", **dict.fromkeys(names_of, good)).is_confined


def test_a_mask_of_minus_infinity_is_no_damage(tmp_path: Path) -> None:
    damage = save(tmp_path / "m.npz", **{"a.w": [1.0], "a.mask": [0.0, float("-inf")]})
    assert not damage.modules


def test_what_is_not_kept_cannot_be_asked(tmp_path: Path) -> None:
    truth = {
        "keep": "curves",
        "first": seen(loss=(5, "loss")),
        "cause": "singular-gradient",
        "sees_layers": False,
        "hidden": None,
    }
    told = knowable(truth, tmp_path)
    assert told["verdict"] and told["step"] and not told["cause"] and not told["layer"]
    assert knowable(truth | {"keep": "log"}, tmp_path)["cause"]
    assert not knowable(truth | {"keep": "log", "hidden": "no trace"}, tmp_path)["cause"]
    assert not knowable(truth | {"keep": "checkpoints"}, tmp_path)["verdict"]


def test_each_cause_is_told_by_something() -> None:
    assert len(TELLS) == 21 and all(TELLS.values())


def test_the_audit_stands_above_the_rule_where_both_differ() -> None:
    for name, told in audited().items():
        text = (AUDIT.parent / "truth" / f"{name}.json").read_text(encoding="utf-8")
        truth = json.loads(text)
        assert truth["knowable"]["cause"] == told
        assert cause_by_kinds(truth) != told, f"{name}: the rule says so already"
