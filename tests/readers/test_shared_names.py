"""Numbers that share a name, counts of a whole, and lines that begin with what they count."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from nanautopsy.autopsy import analyze
from nanautopsy.model import Series

LINES = {
    "step {i} | loss 0.31 | inp min -2.32 max {x} | out 0.7": {"inp min": -2.32, "inp max": None},
    "#{i} xent=0.5 hist_len[min/mean/max]={x}/6.3/12": {"hist_len_min": None, "hist_len_max": 12},
    "iter {i}: loss 0.31, len (min/avg): 1/{x}": {"len_min": 1, "len_avg": None},
    "iter {i}: loss 0.31 mel range [-{x}, 1.61]": {"mel_min": None, "mel_max": 1.61},
    "iter {i} loss=0.31 x[min=-2.3, max={x}]": {"x min": -2.3, "x max": None},
    "step {i} loss 2.3 labels [0, {x}] classes 10": {"labels_min": 0, "labels_max": None},
    "step {i} loss 2.3 batch x\u2208[-2.1, {x}]": {"x_min": -2.1, "x_max": None},
    "{i:5d} loss 1.0 dur_min 0.{x}s dur_max 2.53s": {"dur_max": 2.53},
    "12:00:01 | INFO | main:train:58 - it {i} ranknet=0.7 pairs={x}": {
        "ranknet": 0.7, "pairs": None,
    },
    "INFO:mae:step {i} | recon 0.3 | masked patches {x} / 36": {"masked patches": None},
    "step {i}: loss 0.3, valid {x}/512": {"valid": None},
    "it {i:05d}  ctc 2.1  |g| 0.3  frames 24  longest transcript {x}": {
        "frames": 24, "longest transcript": None,
    },
    "subgraph {i:4d}: loss 0.4 edges 137 isolated {x} min_deg 2": {"isolated": None, "min_deg": 2},
}  # fmt: skip


def read(path: Path, form: str) -> dict[str, Series]:
    rows = [form.format(i=i, x=i + 1) for i in range(1, 9)]
    (path / "train.log").write_text("\n".join(rows) + "\n")
    return {series.tag: series for series in analyze(path).run.series}


@pytest.mark.parametrize("form", LINES)
def test_every_number_has_its_name(tmp_path: Path, form: str) -> None:
    found = read(tmp_path, form)
    for tag, usual in LINES[form].items():
        assert found[tag].axis == "step"
        values = found[tag].values.tolist()
        varying = [float(i + 1) for i in range(1, 9)]
        sign = -1.0 if "-{x}" in form else 1.0
        assert values == ([sign * v for v in varying] if usual is None else [usual] * 8)


@pytest.mark.parametrize(
    "form",
    [
        "step {i} loss 0.3 checked 2024/05/01",
        "step {i} loss 0.3 batch_max 3.1 took {x} of 9",
        "step {i} | loss 0.3 | mem {x}/24 GB",
        "step {i} | loss 0.3 | data {x}.5s | step_time_max 0.{x}s",
        "step {i}: loss 0.3 {x}/9 [00:01<00:02]",
    ],
)
def test_no_number_of_another_kind(tmp_path: Path, form: str) -> None:
    assert set(read(tmp_path, form)) <= {"loss", "batch_max"}


@pytest.mark.parametrize("place", ["rank", "fold", "layer"])
def test_a_place_is_no_step(tmp_path: Path, place: str) -> None:
    found = read(tmp_path, place + " {i}: loss 0.3 edges {x} pts 3 deg 4")
    assert all(series.axis != "step" for series in found.values())


def test_batches_of_whole_epochs_are_steps(tmp_path: Path) -> None:
    rows = [
        f"epoch {e} batch {b:2d} | cox {'nan' if (e, b) >= (1, 3) else 2.1} | events {b + 1}"
        for e in range(3)
        for b in range(7)
    ]
    (tmp_path / "train.log").write_text("\n".join(rows) + "\n")
    autopsy = analyze(tmp_path)
    assert autopsy.onset is not None
    assert (autopsy.onset.step, autopsy.onset.axis) == (10, "step")


def test_a_total_beside_its_terms_is_a_loss(tmp_path: Path) -> None:
    rows = [f"step {i} bce=0.3{i} dice=0.2 total=0.5{i} fg=0.1" for i in range(1, 9)]
    (tmp_path / "train.log").write_text(
        "\n".join([*rows, "step 9 bce=0.3 dice=nan total=nan fg=0"])
    )
    autopsy = analyze(tmp_path)
    assert autopsy.onset is not None
    assert autopsy.onset.step == 9
    assert autopsy.causes[0].id == "empty-targets"
    assert math.isnan(next(s for s in autopsy.run.series if s.tag == "total").values[-1])
