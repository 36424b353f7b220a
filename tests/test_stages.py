"""A loss that steps up where the run says that it trains on something else is no divergence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from builders import event, judge, make_run, series
from textlogs import events_of, read_text

from nanautopsy.stages import stage_changes

NOISE = np.random.default_rng(3).normal(0, 0.15, 80)
EASY = [2.1 - 0.004 * i + 0.1 * NOISE[i] for i in range(40)]
HARD = [7.2 * (1 + NOISE[40 + i]) for i in range(40)]
CLIMBING = [7.2 * 1.05**i * (1 + 0.3 * NOISE[40 + i]) for i in range(40)]
RATE = series("lr", [1e-3] * 40 + [0.1] * 40)
LINE = event("stage-changed", "=== Stage 2: dataset hard-v2 ===", 40)


def test_threefold_at_a_stated_change_is_other_data() -> None:
    assert judge(make_run(series("loss", EASY + HARD), LINE)).verdict == "healthy"


def test_the_same_without_a_word_is_a_divergence() -> None:
    assert judge(make_run(series("loss", EASY + HARD))).verdict == "diverged"


def test_a_change_long_before_excuses_nothing() -> None:
    early = event("stage-changed", "Phase 1 starts", 5)
    assert judge(make_run(series("loss", EASY + HARD), early)).verdict == "diverged"


def test_a_loss_that_climbs_on_behind_a_change_diverged() -> None:
    assert judge(make_run(series("loss", EASY + CLIMBING), LINE)).verdict == "diverged"


def test_a_rate_that_jumps_with_the_stage_excuses_nothing() -> None:
    assert judge(make_run(series("loss", EASY + HARD), RATE, LINE)).verdict == "diverged"


def test_several_changes_add_up() -> None:
    levels = [2.1, 4.3, 8.8]
    losses = [level * (1 + 0.2 * NOISE[i]) for level in levels for i in range(30)]
    said = [event("stage-changed", f"Curriculum: length {n}", n) for n in (30, 60)]
    assert judge(make_run(series("loss", losses), *said)).verdict == "healthy"
    assert judge(make_run(series("loss", losses))).verdict == "diverged"


def test_a_loss_that_is_learned_behind_a_change() -> None:
    learned = [6 + 7 * float(np.exp(-i / 5)) for i in range(40)]
    assert judge(make_run(series("loss", EASY + learned), LINE)).verdict == "healthy"


def test_a_resume_with_other_data() -> None:
    resumed = event("run-resumed", "Resuming from step 40", 40)
    assert judge(make_run(series("loss", EASY + HARD), resumed)).verdict == "healthy"


@pytest.mark.parametrize("tag", ["curriculum/phase", "data/seq_len", "stage", "train/dataset_id"])
def test_a_metric_that_numbers_stages(tag: str) -> None:
    numbered = series(tag, [1.0] * 40 + [2.0] * 40)
    assert stage_changes(make_run(numbered)) == [40]
    assert judge(make_run(series("loss", EASY + HARD), numbered)).verdict == "healthy"


@pytest.mark.parametrize("tag", ["stage_loss", "phase/accuracy", "temperature"])
def test_a_metric_that_measures(tag: str) -> None:
    assert stage_changes(make_run(series(tag, [1.0] * 40 + [2.0] * 40))) == []


def test_a_metric_that_never_settles_numbers_nothing() -> None:
    assert stage_changes(make_run(series("mixture/entropy", list(range(80))))) == []


def test_words_of_every_step_are_no_stages() -> None:
    said = [event("stage-changed", "phase train starts", step) for step in range(1, 41)]
    assert stage_changes(make_run(*said)) == []


@pytest.mark.parametrize(
    "line",
    [
        "=== Stage 2: hard examples ===",
        "[10:00:01] Entering stage 2 of 3",
        "Curriculum: switching to sequence length 1024",
        "INFO - Phase 2 starts, lr unchanged",
        "Switching dataset to corpus-b",
        "Curriculum: sequence length 64 -> 128",
        "now training on data mixture B",
        ">>> Phase 3/4",
    ],
)
def test_lines_that_say_so(tmp_path: Path, line: str) -> None:
    text = f"step 10 loss: 2.5\n{line}\nstep 20 loss: 7.5\n"
    (said,) = events_of(read_text(tmp_path, text), "stage-changed")
    assert said.step == 10


@pytest.mark.parametrize(
    "line",
    [
        "zero_optimization stage 2 enabled",
        "Loading dataset shards: 100%",
        "Stage 2 accuracy 0.93",
        "pipeline stage=0 layers=12",
        "dataset size: 1000",
        "phase: train",
    ],
)
def test_lines_that_only_mention_them(tmp_path: Path, line: str) -> None:
    text = f"step 10 loss: 2.5\n{line}\nstep 20 loss: 7.5\n"
    assert not events_of(read_text(tmp_path, text), "stage-changed")


def test_every_stage_lifts_the_loss_and_none_climbs() -> None:
    """Sequences that double in length: the last stage lies far above the first one's level."""
    levels, length = [1.2, 3.0, 5.0, 7.0], 30
    loss = [level * (1 + 0.1 * NOISE[i]) for level in levels for i in range(length)]
    lengths = series("seq_len", [128.0 * 2**k for k in range(4) for _ in range(length)])
    assert judge(make_run(series("loss", loss), lengths)).verdict == "healthy"
    assert judge(make_run(series("loss", loss))).verdict == "diverged"
    climbs = [v * (1.0 if i < 90 else 1.15 ** (i - 90)) for i, v in enumerate(loss)]
    assert judge(make_run(series("loss", climbs), lengths)).verdict == "diverged"


@pytest.mark.parametrize("tag", ["d_loss", "train/loss_gen", "adv_loss"])
def test_a_loss_with_an_opponent_is_a_moving_target(tag: str) -> None:
    rising = [0.7 + i / 20 for i in range(80)]
    assert judge(make_run(series("loss", rising), series(tag, [0.6] * 80))).verdict == "healthy"
