"""Roles that users give, and roles that only the values of a metric tell."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from nanautopsy import analyze
from nanautopsy.cli import nanautopsy
from nanautopsy.model import Series, SeriesRole, Source
from nanautopsy.role_patterns import ROLES, UnclearRole, give_roles, parse_roles


def series(tag: str, values: Sequence[float] = (1.0, 2.0)) -> Series:
    steps = np.arange(len(values), dtype=np.int64)
    return Series(tag, steps, np.array(values, dtype=np.float64), Source("log", tag=tag))


def given_roles(tag: str, *roles: str) -> tuple[SeriesRole, str | None]:
    (one,) = give_roles([series(tag)], parse_roles(roles), [])
    return one.role, one.layer


def test_a_pattern_counts_before_the_name() -> None:
    assert given_roles("my/criterion", "loss=my/*") == ("loss", None)
    assert given_roles("MY/Criterion", "loss=my/criterion") == ("loss", None)
    assert given_roles("my/loss", "other=my/*", "loss=*") == ("other", None)
    assert given_roles("gn/enc.0.fc1/v", "layer_gradient=gn/{layer}/v") == (
        "layer_gradient",
        "enc.0.fc1",
    )
    assert given_roles("a.b", "loss=a?b") == ("other", None)


def test_a_pattern_that_fits_nothing_is_told() -> None:
    notes: list[str] = []
    give_roles([series("x")], parse_roles(["loss=criterion"]), notes)
    assert notes == ["no metric fits the pattern 'criterion' that was given for the role loss"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("loss", "is not ROLE=PATTERN"),
        ("loss=", "is not ROLE=PATTERN"),
        ("los=x", "'los' is no role; known are loss, eval_loss"),
        ("loss={layer}{layer}", "names the layer twice"),
    ],
)
def test_what_is_no_pattern(text: str, reason: str) -> None:
    with pytest.raises(UnclearRole, match=reason.replace("{", r"\{")):
        parse_roles([text])


@given(pattern=st.text(min_size=1), tag=st.text())
def test_any_pattern_is_compared(pattern: str, tag: str) -> None:
    if pattern.strip() and pattern.count("{layer}") < 2:
        assert given_roles(tag, f"loss={pattern}")[0] in ROLES
        assert given_roles(pattern.strip(), f"loss={pattern.strip()}") == ("loss", None) or (
            "{layer}" in pattern
        )


@pytest.mark.parametrize(
    ("tag", "values", "role"),
    [
        ("scale", [65536.0, 32768.0], "loss_scale"),
        ("train/scale", [2.0**32], "loss_scale"),
        ("scale", [14.28, 14.3], "other"),
        ("scale", [1.0, 0.5], "other"),
        ("image scale", [1024.0, 2048.0], "other"),
        ("scale", [float("nan")], "other"),
        ("eta", [1e-4, 9e-5], "learning_rate"),
        ("eta", [3600.0, 1800.0], "other"),
        ("eta", [1.5, 0.01], "other"),
        ("eta", [0.0, 0.01], "other"),
        ("eta_min", [1e-4], "other"),
        ("train", [0.69, 0.6, 0.5, 0.4, 0.3, 0.2], "loss"),
        ("val", [0.69, 0.6, 0.5, 0.4, 0.45, 0.5], "eval_loss"),
        ("train", [2.0, 9.0, 80.0, 4e3, 1e9, 1e12], "loss"),
        ("train", [0.5, 0.6, 0.7, 0.8, 0.9, 0.91], "other"),
        ("val", [51.0, 60.0, 70.0, 75.0, 78.0, 77.0], "other"),
    ],
)
def test_values_tell_what_a_name_cannot(tag: str, values: list[float], role: str) -> None:
    notes: list[str] = []
    (one,) = give_roles([series(tag, values)], (), notes)
    assert one.role == role
    assert len(notes) == (role == "learning_rate")


def test_roles_reach_the_run(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("step,criterion\n1,0.5\n2,nan\n3,nan\n")
    autopsy = analyze(tmp_path, roles=["loss=crit*"])
    assert autopsy.onset is not None and autopsy.onset.step == 2
    arguments = ["analyze", str(tmp_path), "--format", "json", "--role", "loss=crit*"]
    result = CliRunner().invoke(nanautopsy, arguments)
    assert result.exit_code == 0 and '"verdict": "non-finite"' in result.output
    refused = CliRunner().invoke(nanautopsy, ["analyze", str(tmp_path), "--role", "criterion"])
    assert refused.exit_code == 2 and "is not ROLE=PATTERN" in refused.output


@pytest.mark.parametrize(
    ("values", "role"),
    [
        ((5.243e5, 2.621e5, 1.311e5), "loss_scale"),
        ((524288.0, 262144.0), "loss_scale"),
        ((5.2e5, 2.7e5), "other"),
    ],
)
def test_a_scale_as_four_printed_digits_show_it(
    values: tuple[float, ...], role: SeriesRole
) -> None:
    (one,) = give_roles([series("scale", values)], [], [])
    assert one.role == role


@pytest.mark.parametrize("tag", ["smape", "train/l2err", "hinge", "rmse"])
def test_a_formula_is_the_loss_where_nothing_else_is(tmp_path: Path, tag: str) -> None:
    log = tmp_path / "progress.csv"
    log.write_text(f"step,{tag},grad_norm\n1,0.5,1.0\n2,0.4,1.1\n3,nan,1.2\n", encoding="utf-8")
    assert {s.tag: s.role for s in analyze(log).run.series}[tag] == "loss"
    log.write_text(f"step,{tag},loss\n1,0.5,1.0\n2,0.4,1.1\n3,nan,1.2\n", encoding="utf-8")
    assert {s.tag: s.role for s in analyze(log).run.series}[tag] == "other"


@pytest.mark.parametrize(("weight", "role"), [(0.5, "loss"), (None, "other")])
def test_a_total_is_the_loss_where_the_others_add_up_to_it(
    weight: float | None, role: SeriesRole
) -> None:
    hard = [1.3, 1.1, 1.2, 0.9, 1.0, 0.8, 0.95, 0.7] * 4
    soft = [0.9, 0.95, 0.8, 0.85, 0.6, 0.75, 0.7, 0.5, 0.55] * 4
    total = [
        h + (i % 5 if weight is None else weight * s)
        for i, (h, s) in enumerate(zip(hard, soft, strict=False))
    ]
    given = [series("total", total), series("hard", hard), series("soft", soft[: len(hard)])]
    assert give_roles(given, (), [])[0].role == role
