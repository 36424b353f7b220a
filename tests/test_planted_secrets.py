"""Secrets planted in a run's artifacts are in none of its reports; ordinary values are."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import pytest
from secrets_kinds import ORDINARY, kinds, private_key

from nanautopsy import analyze
from nanautopsy.model import Autopsy
from nanautopsy.outputs import render
from nanautopsy.redact import redact
from nanautopsy.render import issue

KINDS = kinds()
FORMATS = ("text", "html", "md", "json")


def run(root: Path, planted: Iterable[str]) -> Path:
    """A log that goes NaN right after the planted lines."""
    lines = [f"step {n} loss 2.5 grad_norm 1.25" for n in range(1, 40)]
    bad = [f"step {n} loss nan grad_norm nan" for n in range(40, 50)]
    root.mkdir(exist_ok=True)
    (root / "train.log").write_text("\n".join([*lines, *planted, *bad]) + "\n")
    return root


def everything(autopsy: Autopsy) -> str:
    return "".join([*(render(autopsy, name) for name in FORMATS), issue.render(autopsy)])


def test_there_are_enough_kinds() -> None:
    assert len(KINDS) >= 50


@pytest.mark.parametrize("name", KINDS)
def test_no_secret_of_a_log_is_in_any_report(name: str, tmp_path: Path) -> None:
    line, secret = KINDS[name]
    autopsy = analyze(run(tmp_path, [line]))
    shown = everything(autopsy)
    assert secret not in shown
    assert autopsy.redactions
    assert "step 39 loss 2.5" in shown


@pytest.mark.parametrize("name", KINDS)
def test_no_secret_of_settings_commands_and_tracebacks(name: str, tmp_path: Path) -> None:
    line, secret = KINDS[name]
    run(tmp_path, ["Traceback (most recent call last):", f"ValueError: {line}"])
    (tmp_path / "config.json").write_text(json.dumps({"note": line, "lr": 0.1, "seen": [line]}))
    (tmp_path / "run.sh").write_text(f"#!/bin/bash\nexport NOTE='{line}'\npython train.py --lr 1\n")
    assert secret not in everything(analyze(tmp_path))


def test_a_private_key_over_many_lines(tmp_path: Path) -> None:
    short = "abcDEF123=="
    begin, *body, end = private_key()
    autopsy = analyze(run(tmp_path, [begin, *body, short, end, "step 39 done"]))
    shown = everything(autopsy)
    assert not [line for line in (*body, short) if line in shown]
    assert "step 39 done" in shown


def test_ordinary_values_stay(tmp_path: Path) -> None:
    shown = render(analyze(run(tmp_path, ORDINARY)), "json")
    assert [value for value in ORDINARY if value not in shown] == []


def test_hiding_again_changes_nothing(tmp_path: Path) -> None:
    lines = [line for line, _ in list(KINDS.values())[:18]]
    once = analyze(run(tmp_path, lines))
    assert render(redact(once), "json").replace(" ", "") == render(once, "json").replace(" ", "")


def test_hostile_text_takes_linear_time() -> None:
    from nanautopsy.redact import Redactor

    redactor = Redactor()
    redactor.seal()
    for piece in (
        "a",
        "A1a",
        "-----BEGIN ",
        "cookie: ",
        "sig=",
        '"username": "',
        "eyJ",
        "sk-",
        "@.",
    ):
        redactor.text(piece * (200_000 // len(piece)))
