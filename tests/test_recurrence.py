"""Attempts that die at the same step, or at another one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from builders import NAN, case_of, make_run, named_cause, series

from nanautopsy import analyze
from nanautopsy.attempts import merge_attempts

LOSS = [3.0 - 0.01 * i for i in range(40)]


def attempts(*deaths: int) -> str:
    """A log of attempts from step 20 on, after a first one from 0; each dies where it is told."""
    lines, start = [], 0
    for death in deaths:
        for step in range(start, death + 1):
            loss = "nan" if step == death else f"{LOSS[step]:.4f}"
            norm = "nan" if step == death else "1.02"
            lines.append(f"step {step} loss {loss} grad_norm {norm}")
        lines.append("restarting from step 20")
        start = 20
    return "\n".join(lines) + "\n"


def test_the_deaths_of_attempts_that_were_replaced() -> None:
    steps = [*range(8), *range(4, 8)]
    values = [*LOSS[:7], NAN, *LOSS[4:7], NAN]
    ((one,), _) = merge_attempts([series("loss", values, steps)])
    assert one.earlier_deaths == (7,)
    ((well,), _) = merge_attempts([series("loss", LOSS[:12], steps)])
    assert well.earlier_deaths == ()


@pytest.mark.parametrize(("deaths", "cause"), [((33, 33, 33), "bad-input-data"), ((33, 37), None)])
def test_the_same_step_again(tmp_path: Path, deaths: tuple[int, ...], cause: str | None) -> None:
    (tmp_path / "train.log").write_text(attempts(*deaths))
    autopsy = analyze(tmp_path)
    assert autopsy.onset is not None
    assert autopsy.onset.step == deaths[-1]
    assert (autopsy.causes[0].id if autopsy.causes else None) == cause


def test_what_grew_before_is_no_matter_of_data() -> None:
    growing = [*LOSS[:20], *(3.0 * 3**k for k in range(8)), NAN]
    norms = [*([1.0] * 20), *(10.0**k for k in range(8)), NAN]
    loss = replace(series("loss", growing), earlier_deaths=(29, 29))
    assert named_cause(loss, series("grad_norm", norms)) != "bad-input-data"
    assert case_of(make_run(loss)).found("died-again")
