"""A step computed twice, and replicas compared: what a fault of a device leaves in logs."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from textlogs import events_of, read_text

from nanautopsy import analyze
from nanautopsy.model import Autopsy


def judged(folder: Path, lines: list[str]) -> Autopsy:
    (folder / "train.log").write_text("\n".join(lines) + "\n")
    return analyze(folder)


def rows(first: int, last: int, *, seed: int = 0, host: str = "") -> list[str]:
    """Steps of a training whose losses depend on the step alone."""
    drawn = random.Random(seed)
    made = [(drawn.uniform(0.2, 0.4), drawn.uniform(0.4, 0.7)) for _ in range(last + 1)]
    return [
        f"{host}step {i} | loss {made[i][0]:.4f} | grad norm {made[i][1]:.4f} | lr 1.0e-03"
        for i in range(first, last + 1)
    ]


@pytest.mark.parametrize(
    ("line", "reproducible"),
    [
        ("step 70 | replay 1/3: loss 0.2245 gradient norm 0.6978", False),
        ("re-ran step 70 on the identical batch: grad norm 1.93 (first attempt: nan)", False),
        ("recomputed the same micro-batch: the result differs from the first run", False),
        ("the NaN at step 70 is not reproducible on identical inputs", False),
        ("rerun of step 70 with saved state: loss is finite", False),
        ("recomputing micro-batch of step 131: local_gnorm first inf second 0.0482", False),
        ("rerunning the batch gives nan again", True),
        ("replayed step 70 on the same batch: gradient norm nan", True),
        ("step 70 reproduced on another GPU with the same batch", True),
    ],
)
def test_what_the_second_time_gave(line: str, reproducible: bool, tmp_path: Path) -> None:
    (event,) = events_of(read_text(tmp_path, line + "\n"), "step-rerun")
    assert event.data["reproducible"] is reproducible


@pytest.mark.parametrize(
    "line",
    [
        "replay buffer: 10000 transitions, loss 0.31",
        "results may not be reproducible: cudnn.benchmark is on",
        "set the same seed so that rerunning gives the same loss",
        "learning rate differs between param groups",
        "If the loss is nan again, rerun with --detect-anomaly",
        "all ranks loaded the same data",
    ],
)
def test_what_says_nothing_of_a_second_time(line: str, tmp_path: Path) -> None:
    assert not events_of(read_text(tmp_path, line + "\n"), "step-rerun")


def test_finite_at_the_second_time_is_a_device(tmp_path: Path) -> None:
    said = [
        "step 70 | non-finite gradient norm (nan). Replaying the same micro-batches ...",
        "step 70 | replay 1/2: loss 0.2245 gradient norm 0.6978",
        "step 70 | replay 2/2: loss 0.2245 gradient norm 0.6978",
    ]
    autopsy = judged(tmp_path, rows(1, 69) + said)
    assert autopsy.causes[0].id == "hardware-fault"


def test_nan_again_is_none(tmp_path: Path) -> None:
    said = [
        "step 70 | non-finite gradient norm (nan). Replaying the same micro-batches ...",
        "step 70 | replay 1/1: loss nan gradient norm nan",
    ]
    autopsy = judged(tmp_path, rows(1, 69) + said)
    assert "hardware-fault" not in {cause.id for cause in autopsy.causes}


def test_sound_on_another_machine(tmp_path: Path) -> None:
    """The attempt that resumed has the same numbers again, and a finite one where it was NaN."""
    first = ["node list: gpu13", *rows(1, 74), "step 75 | loss nan | grad norm nan | lr 1.0e-03"]
    again = ["node list: gpu04", "resuming from ckpt/60.pt (step 60)", *rows(61, 120)]
    autopsy = judged(tmp_path, first + again)
    (found,) = (f for f in autopsy.findings if f.id == "not-reproducible")
    assert found.step == 75 and found.data["elsewhere"] is True


def test_another_attempt_with_other_numbers_replays_nothing(tmp_path: Path) -> None:
    first = ["node list: gpu13", *rows(1, 74), "step 75 | loss nan | grad norm nan | lr 1.0e-03"]
    again = ["node list: gpu04", "resuming from ckpt/60.pt (step 60)", *rows(61, 120, seed=1)]
    assert "not-reproducible" not in {f.id for f in judged(tmp_path, first + again).findings}


def test_a_replica_that_is_no_longer_like_the_others(tmp_path: Path) -> None:
    sums = " ".join(f"dp{i}={'09c2e5b1' if i == 2 else '7d1f03aa'}" for i in range(4))
    said = [
        f"ERROR replica consistency check at step 80: MISMATCH {sums}",
        "step 81 | loss nan | grad norm nan | lr 1.0e-03",
    ]
    sound = "INFO replica consistency check at step 40: ok (crc32 7d1f03aa on 4/4 replicas)"
    autopsy = judged(tmp_path, [*rows(1, 40), sound, *rows(41, 80), *said])
    found = [f for f in autopsy.findings if f.id == "replicas-differ"]
    assert [f.data["rank"] for f in found] == [2]
    assert autopsy.causes[0].id == "hardware-fault"
    healthy = judged(tmp_path, [*rows(1, 40), sound, *rows(41, 80)])
    assert not [f for f in healthy.findings if f.id == "replicas-differ"]


@pytest.mark.parametrize(
    ("line", "rank"),
    [
        ("param checksum of rank 2 differs from rank 0 (0x8f3a != 0x77aa)", 2),
        ("weights hash mismatch across replicas: rank0=8f3a11 rank1=8f3a11 rank2=77aa01", 2),
        ("parameters out of sync: checksums differ on 3 ranks", None),
    ],
)
def test_which_replica_differs(line: str, rank: int | None, tmp_path: Path) -> None:
    (event,) = events_of(read_text(tmp_path, line + "\n"), "replicas-differ")
    assert event.rank == rank


def test_what_grows_behind_a_disagreement_is_no_growth_of_the_training(tmp_path: Path) -> None:
    drawn = random.Random(0)
    lines = []
    for step in range(1, 81):
        norm = drawn.uniform(0.4, 0.6)
        for rank in drawn.sample(range(4), 4):
            odd = rank == 2 and step >= 60
            reduced = norm * 2.0 ** (step - 59) if odd else norm
            text = "nan" if odd and step > 75 else f"{reduced:.5f}"
            lines.append(
                f"({rank}/4) step={step} loss={drawn.uniform(1, 2):.4f} |g| after reduce={text}"
            )
    autopsy = judged(tmp_path, lines)
    assert autopsy.causes[0].id == "communication-race"


def test_batches_in_parentheses_are_no_ranks(tmp_path: Path) -> None:
    lines = [f"({b}/4) loss {2 - e / 9:.2f} grad norm 0.{b}1" for e in range(9) for b in range(4)]
    assert all(s.rank is None for s in judged(tmp_path, lines).run.series)
