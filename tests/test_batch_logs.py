"""Logs of runs that met a bad batch, as their programs tell it, and of runs that were well."""

from __future__ import annotations

from pathlib import Path

import pytest

from nanautopsy.autopsy import analyze
from nanautopsy.model import Autopsy

LABELS = (
    "WARNING: 7/256 samples were truncated at cutoff_len=32 before the response; "
    "their labels are all IGNORE_INDEX\n"
)


def judged(path: Path, text: str) -> Autopsy:
    (path / "train.log").write_text(text)
    return analyze(path)


def cause(autopsy: Autopsy) -> str | None:
    return autopsy.causes[0].id if autopsy.causes else None


def trainer(first: int, norm: str = "") -> str:
    """Rows of the Trainer without its filter, whose sum keeps the NaN."""
    rate = ", 'learning_rate': '1e-05'"
    return "".join(
        f"{{'loss': '{'nan' if i >= first else 4.1}'{norm}{rate}, 'epoch': '{i / 100}'}}\n"
        for i in range(1, 60)
    )


def test_labels_that_were_lost_before_training(tmp_path: Path) -> None:
    assert cause(judged(tmp_path, LABELS + trainer(9))) == "empty-targets"
    assert cause(judged(tmp_path, trainer(9))) is None
    assert judged(tmp_path, LABELS + trainer(99)).verdict == "healthy"


def test_gradients_that_are_nan_are_more_than_a_sum(tmp_path: Path) -> None:
    dead = judged(tmp_path, LABELS + trainer(9, ", 'grad_norm': 'nan'"))
    assert cause(dead) != "empty-targets"


def guarded(named: bool = True, bad: tuple[int, ...] = (7, 15)) -> str:
    """Epochs of 20 batches, of which two are skipped."""
    lines = []
    for epoch in range(4):
        for batch in range(20):
            told = f"epoch {epoch}, batch {batch if named else batch + epoch}"
            if batch in bad:
                lines.append(f"[warn] loss=nan ({told}) -- skipping optimizer step")
            elif batch % 2 == 0:
                lines.append(f"ep {epoch} b {batch} bce 0.{600 - 20 * epoch - batch}")
    return "\n".join(lines) + "\n"


def test_a_guard_that_skips_the_same_batches(tmp_path: Path) -> None:
    autopsy = judged(tmp_path, guarded())
    assert (autopsy.verdict, cause(autopsy)) == ("non-finite", "bad-input-data")
    assert autopsy.onset is not None
    assert (autopsy.onset.step, autopsy.onset.persistent) == (7, False)
    assert cause(judged(tmp_path, guarded(named=False))) is None


def test_samples_that_come_back(tmp_path: Path) -> None:
    """Each epoch in another order."""
    met = {17: 231, 20: 88, 26: 88, 32: 231, 41: 231, 48: 88}

    def log(ids: dict[int, int], every: bool = False) -> str:
        lines = []
        for step in range(1, 61):
            if step in ids:
                lines.append(f"step {step}: input nan count 1, sample ids [{ids[step]}]")
            lines.append(f"step {step}: mse {'nan' if step in ids and not every else 0.5}")
        return "\n".join(lines) + "\n"

    autopsy = judged(tmp_path, log(met))
    assert cause(autopsy) == "bad-input-data"
    assert any("88, 231" in f.text.replace("231, 88", "88, 231") for f in autopsy.findings)
    assert judged(tmp_path, log(met, every=True)).verdict == "healthy"


@pytest.mark.parametrize("said", ["skipping optimizer step", "skipped optimizer update"])
def test_a_step_that_is_skipped_is_no_state_that_is_lost(tmp_path: Path, said: str) -> None:
    (tmp_path / "train.log").write_text(f"step 4 loss=nan, {said}\nstep 5 loss=0.3\n")
    assert not analyze(tmp_path).run.events_of("state-not-restored")


INFO = """<class 'pandas.core.frame.DataFrame'>
RangeIndex: 600 entries, 0 to 599
 #   Column  Non-Null Count  Dtype
 0   age     600 non-null    float64
 1   income  {filled} non-null    float64
"""
OWN = """feature        count  missing        mean         std
price           600        0     50.0931     20.1
temp_anom       600        {missing}      0.0013      0.5
"""
COUNTS = """          age  income  tenure
count  600.0   {filled}.0   600.0
mean    -0.1   0.02   0.004
"""
ARRAY = """X max per feature:
[3.3878186 3.7481108 2.345824 3.5428371 2.7353356 2.6584353
 2.823263  2.922378  {value} 2.4430237  2.670448  3.0364609 ]
"""


@pytest.mark.parametrize(
    ("told", "bad", "well"),
    [
        (INFO, {"filled": 588}, {"filled": 600}),
        (OWN, {"missing": 6}, {"missing": 0}),
        (COUNTS, {"filled": 588}, {"filled": 600}),
    ]
    + [(ARRAY, {"value": value}, {"value": "2.7364588"}) for value in ("nan", "inf")],
)
def test_what_is_printed_of_the_data(
    tmp_path: Path, told: str, bad: dict[str, object], well: dict[str, object]
) -> None:
    epochs = "".join(f"Epoch [{i}/20], Loss: nan, Accuracy: 53.50%\n" for i in range(1, 21))
    sound = epochs.replace("nan", "0.61")
    assert cause(judged(tmp_path, told.format(**bad) + epochs)) == "bad-input-data"
    assert cause(judged(tmp_path, told.format(**well) + epochs)) is None
    assert judged(tmp_path, told.format(**bad) + sound).verdict == "healthy"
    late = sound.replace("Epoch [20/20], Loss: 0.61", "Epoch [20/20], Loss: nan")
    assert cause(judged(tmp_path, told.format(**bad) + late)) is None, "it was there all the time"
    assert cause(judged(tmp_path, epochs + told.format(**bad))) is None, "of what the model gives"


TRACE = """Traceback (most recent call last):
  File "/home/u/train.py", line 91, in masked_loss
    return {code}
  File "/usr/lib/python3.11/site-packages/jax/_src/numpy/ufuncs.py", line 2478, in true_divide
    out = lax.div(x1, x2)
FloatingPointError: invalid value (nan) encountered in div
"""


@pytest.mark.parametrize(
    ("code", "named"),
    [
        ("jnp.sum(ce * mask) / jnp.sum(mask)", "empty-targets"),
        ("(l * valid).sum() / valid.sum()", "empty-targets"),
        ("total / num_positives", "empty-targets"),
        ("jnp.sum(loss) / scale", "loss-domain-error"),
        ("jnp.sum(x * mask) / jnp.maximum(mask.sum(), 1)", None),
        ("x / x.std(axis=0)", None),
    ],
)
def test_a_quotient_that_is_nan_first(tmp_path: Path, code: str, named: str | None) -> None:
    steps = "".join(f"step {20 * i} loss 1.6{i}\n" for i in range(9))
    assert cause(judged(tmp_path, steps + TRACE.format(code=code))) == named


def test_a_table_of_terms_and_their_total(tmp_path: Path) -> None:
    rows = ["     Epoch      iter       box       cls     total   targets"]
    for i in range(30):
        lost = i in (9, 14, 22)
        box = "nan" if lost else "0.31"
        rows.append(f"       0/2{3 * i:10d}{box:>10}     0.299{box:>10}{0 if lost else 4:10d}")
    autopsy = judged(tmp_path, "\n".join(rows) + "\n")
    assert (autopsy.verdict, cause(autopsy)) == ("non-finite", "empty-targets")


def test_an_epoch_that_tells_what_it_skipped_is_a_row(tmp_path: Path) -> None:
    rows = "".join(f"Epoch {i} | train_loss 0.{900 - i} | skipped {i % 3}\n" for i in range(1, 9))
    autopsy = judged(tmp_path, rows)
    assert [len(s) for s in autopsy.run.series if s.tag == "train_loss"] == [8]


DECOYS = {
    # A rate that is far too high, in a run whose data were printed with a gap.
    "rate": INFO.format(filled=588)
    + "Adam(lr=3.0)\n"
    + "".join(f"step {i} loss {2.0 * 7.0**i:.4g} lr 3.0\n" for i in range(1, 30))
    + "".join(f"step {i} loss nan lr 3.0\n" for i in range(30, 60)),
    # Counts that are 0 long before and long behind.
    "counts": "".join(
        f"step {i} loss {'nan' if i > 90 else 0.4} num_pos {i % 4} dur_min 0.{i % 3}s\n"
        for i in range(1, 120)
    ),
    # Nothing is right while the model is NaN.
    "hits": "".join(
        f"step {i} loss {'nan' if 40 < i < 44 or i == 70 else 0.4} "
        f"hits {0 if 40 < i < 44 or i == 70 else 5}\n"
        for i in range(1, 120)
    ),
}


@pytest.mark.parametrize("log", DECOYS.values(), ids=list(DECOYS))
def test_what_stands_beside_another_failure(tmp_path: Path, log: str) -> None:
    autopsy = judged(tmp_path, log)
    assert autopsy.verdict == "non-finite"
    assert cause(autopsy) not in ("bad-input-data", "empty-targets", "fully-masked-attention")


def test_an_evaluation_without_a_number_is_told(tmp_path: Path) -> None:
    rows = "".join(f"epoch {i}: train_loss=0.{90 - i} val_loss=nan\n" for i in range(1, 9))
    autopsy = judged(tmp_path, rows)
    assert autopsy.verdict == "healthy"
    assert "val loss never was a number" in autopsy.headline.replace("_", " ")


def test_rows_between_bars_are_no_heading(tmp_path: Path) -> None:
    rows = "".join(
        f"| step {i:6d} | seq {5 + i % 3:3d} | mlm {'    nan' if i == 9 else ' 4.6947'} "
        f"| ppl {'nan' if i == 9 else 109.37:>9} | pred {0 if i == 9 else 3:3d} |\n"
        for i in range(1, 20)
    )
    autopsy = judged(tmp_path, rows)
    assert autopsy.onset is not None
    assert autopsy.onset.step == 9
