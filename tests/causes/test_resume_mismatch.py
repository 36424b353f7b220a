"""A resume that lost state makes something grow; a planned new stage does not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from builders import INF, NAN, detect, event, make_run, named_cause, series

from nanautopsy import analyze
from nanautopsy.model import Source

BEFORE = [1.0, 1.1, 0.9, 1.0, 1.1, 0.9, 1.0, 1.1, 0.9, 1.0] * 2
RESUMED = event("run-resumed", "Resuming from checkpoint-20, step 20", 20)
RATES = [1e-3] * 20 + [4e-3] * 8


def test_growth_from_the_resume_on() -> None:
    loss = [*BEFORE, 4.0, 16.0, 1e3, 1e6, 1e12, 1e24, INF, NAN]
    assert named_cause(series("loss", loss), series("lr", RATES), RESUMED) == "resume-mismatch"


def test_the_jump_is_the_resumes_and_no_spike_of_the_schedule() -> None:
    loss = [*BEFORE, 4.0, 16.0, 1e3, 1e6, 1e12, 1e24, INF, NAN]
    rates = [1e-3] * 20 + [0.5] * 8
    assert named_cause(series("loss", loss), series("lr", rates), RESUMED) == "resume-mismatch"


def test_a_new_stage_that_meets_a_bad_batch() -> None:
    loss = [*BEFORE, 2.2, 2.1, 2.0, 1.9, 1.9, 1.8, NAN, NAN]
    assert named_cause(series("loss", loss), series("lr", RATES), RESUMED) != "resume-mismatch"


def test_a_run_that_goes_on_in_a_log_of_its_own() -> None:
    loss = series("loss", [4.0, 16.0, 1e3, 1e6, 1e12, 1e24, INF, NAN], range(21, 29))
    later = replace(loss, source=Source("second.log", tag="loss"))
    assert named_cause(series("loss", BEFORE), later, RESUMED) == "resume-mismatch"
    assert named_cause(series("loss", BEFORE), later) != "resume-mismatch"


def test_a_second_event_file_is_a_resume() -> None:
    """Wrong moments break the weights in the first steps, at the same rate."""
    goes_on = event("run-resumed", "metrics_1.csv goes on where metrics_0.csv ends", 20)
    loss = series("loss", [*BEFORE, 1.0, 5e7, 1e10, 8e9, *[6e9 - i * 1e7 for i in range(40)]])
    rates = series("lr", [1e-3] * 64)
    assert named_cause(loss, rates, goes_on) == "resume-mismatch"


SAID = event("state-not-restored", "optimizer state not found in the checkpoint")
CLIMB = [2.0 * 1.4**k for k in range(25)]


def test_the_program_says_what_was_lost() -> None:
    """A log that begins with the resume holds nothing from before it."""
    steps = list(range(200, 226))
    resumed = event("run-resumed", "resumed from step 200", 200)
    loss = series("loss", [*CLIMB, NAN], steps)
    rate = series("lr", [1e-4] * 26, steps)
    assert named_cause(loss, rate, resumed, SAID) == "resume-mismatch"
    assert named_cause(loss, rate, resumed) != "resume-mismatch"


def test_what_was_lost_long_before_is_no_cause() -> None:
    loss = series("loss", [2.0] * 200 + [NAN])
    resumed = event("run-resumed", "resumed from step 1", 1)
    assert named_cause(loss, resumed, SAID) != "resume-mismatch"


def test_a_resume_at_an_epoch() -> None:
    """Whether the epoch that is named is the last one or the next."""
    values = [*BEFORE, *[1e6 + i for i in range(20)]]
    loss = replace(series("loss", values, range(40)), axis="epoch")
    for epoch in (19, 20):
        resumed = replace(event("run-resumed", "resumed"), data={"epoch": epoch})
        assert named_cause(loss, resumed) == "resume-mismatch"
    far = replace(event("run-resumed", "resumed"), data={"epoch": 5})
    assert named_cause(loss, far) != "resume-mismatch"


def test_a_rate_whose_first_row_has_the_step_of_the_resume() -> None:
    steps = [*range(0, 100, 5), 100, 105, 110]
    rates = series("lr", [1e-4] * 20 + [2.0] * 3, steps)
    loss = series("loss", [*BEFORE, 1.0, NAN, NAN], steps)
    resumed = event("run-resumed", "checkpoint loaded: iter 100", 100)
    assert named_cause(loss, rates, resumed) != "lr-spike"


def test_a_state_that_is_said_to_be_lost_and_nan_at_once() -> None:
    lost = event("state-not-restored", "exp_avg_sq missing in checkpoint, filled with zeros", 20)
    loss, norm = series("loss", [*BEFORE, 1.0, NAN, NAN]), series("grad_norm", [*BEFORE, 1.0, NAN])
    assert named_cause(loss, norm, RESUMED, lost) == "resume-mismatch"


def test_a_new_optimizer_of_a_run_that_begins_is_no_loss() -> None:
    """It counts where something was resumed, or where it speaks of a checkpoint itself."""
    loss = series("loss", [2.0, 9.0, 1e3, 1e6, 1e12, 1e24, NAN, NAN])
    rates = series("lr", [40.0] * 8)
    begun = event("state-not-restored", "No optimizer state found, using a fresh optimizer")
    newer = event("saved-elsewhere", "checkpoint written by v1.2, running v1.3")
    assert named_cause(loss, rates, begun) == "lr-too-high"
    assert named_cause(loss, rates, newer) == "lr-too-high"
    assert named_cause(loss, rates, begun, newer) == "lr-too-high"


def test_the_last_statement_before_the_failure_counts() -> None:
    early = event("state-not-restored", "no optimizer state in base.pt: new optimizer", 0)
    loss = series("loss", [*BEFORE, 4.0, 16.0, 1e3, 1e6, 1e12, 1e24, INF, NAN])
    late = event("state-not-restored", "optimizer state missing in checkpoint-20", 20)
    assert named_cause(loss, early, late) == "resume-mismatch"
    assert named_cause(loss, early) != "resume-mismatch"


def test_a_jump_that_is_logged_by_epochs_where_the_onset_counts_steps() -> None:
    epochs = series("mse", [25.0, 9.0, 4.0, 2.0, 1.0, NAN, NAN], range(7))
    by_epoch = series("lr", [9e-3, 7e-3, 5e-3, 4e-3, 3e-3, 0.2, 0.2], range(7))
    steps = list(range(10, 160, 10))
    parts = (
        replace(epochs, axis="epoch"),
        replace(by_epoch, axis="epoch"),
        series("opt/loss", [2.0] * 11 + [300.0, 9e9, NAN, NAN], steps),
        series("opt/lr", [3e-3] * 11 + [0.2] * 4, steps),
    )
    resumed = replace(event("run-resumed", "resume: start epoch 5"), data={"epoch": 5})
    assert named_cause(*parts, resumed) == "resume-mismatch"


def test_a_rate_that_jumped_at_a_resume_and_what_rose_behind_it_is_counted_once() -> None:
    """However many logs tell of the same rise, it is one sign for a jump of the schedule."""
    calm = [2.0 - 0.01 * i for i in range(40)]
    losses = [
        series(tag, [*calm, *[200.0 + i for i in range(40)]]) for tag in ("loss", "train/loss")
    ]
    norms = [series(tag, [*[1.0] * 40, *[90.0] * 40]) for tag in ("grad_norm", "train/grad_norm")]
    rate = series("learning_rate", [*[1e-3] * 40, *[2.0] * 40])
    parts = *losses, *norms, rate
    assert named_cause(*parts, event("run-resumed", "Resuming", 40)) == "resume-mismatch"
    assert named_cause(*parts) == "lr-spike"


def test_a_rate_that_two_decimals_show_as_zero() -> None:
    rates = [*[0.01] * 20, *[0.0] * 20, *[1.2] * 10]
    losses = [2.0] * 40 + [5e2, 7e5, 3e9, 6e18] + [NAN] * 6
    resumed = event("run-resumed", "Resuming from checkpoint-40, step 40", 40)
    assert named_cause(series("loss", losses), series("lr", rates), resumed) == "resume-mismatch"


def test_a_resume_that_two_lines_tell_of_is_told_once() -> None:
    loss = series("loss", [*BEFORE, 4.0, 16.0, 1e3, 1e6, 1e12, 1e24, INF, NAN])
    again = replace(RESUMED, text="Restored all states", source=Source("console.log", line=9))
    found = [f for f in detect(make_run(loss, RESUMED, again)) if f.id == "resume-jump"]
    assert len(found) == 1


def test_a_state_that_is_missing_behind_rows_of_training(tmp_path: Path) -> None:
    """No word of a resume: a run that begins has no rows in front of such a line."""
    rows = [f"t={i} mse={1.0 + i % 3 / 10} gnorm=0.5\n" for i in range(1, 41)]
    died = [f"t={41 + i} mse={v} gnorm={v}\n" for i, v in enumerate((3e2, 3e4, 9e7, "inf", "nan"))]
    said = "[state] obs_filter: key not in file, starting at count=0 mean=0 std=1\n"
    (tmp_path / "a.log").write_text("".join([*rows, said, *died]))
    assert analyze(tmp_path).causes[0].id == "resume-mismatch"
    (tmp_path / "a.log").write_text("".join([*rows, *died]))
    assert [c.id for c in analyze(tmp_path).causes][:1] != ["resume-mismatch"]
