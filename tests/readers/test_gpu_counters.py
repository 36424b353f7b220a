"""What nvidia-smi counted while a run went on."""

from __future__ import annotations

from pathlib import Path

import pytest

from nanautopsy import analyze
from nanautopsy.model import LogEvent

HEADER = "timestamp, index, name, utilization.gpu [%], ecc.errors.corrected.volatile.total, "
HEADER += "ecc.errors.uncorrected.volatile.total\n"


def _events(folder: Path, counts: list[tuple[int, int, int]]) -> tuple[LogEvent, ...]:
    rows = "".join(
        f"2025/01/14 03:19:{10 + i:02d}.000, {gpu}, NVIDIA A100-SXM4-40GB, 98 %, {mended}, {lost}\n"
        for i, (gpu, mended, lost) in enumerate(counts)
    )
    (folder / "nvidia_smi.csv").write_text(HEADER + rows)
    lines = [f"step {i} loss {2.5 - i / 99:.4f} gradnorm 0.5 lr 0.1" for i in range(20)]
    (folder / "train.log").write_text("\n".join([*lines, "step 20 loss nan gradnorm nan lr 0.1\n"]))
    return analyze(folder).run.events_of("hardware-error")


def test_errors_that_memory_could_not_correct(tmp_path: Path) -> None:
    (event,) = _events(tmp_path, [(0, 3, 0), (1, 3, 0), (0, 9, 0), (1, 3, 2)])
    assert event.text == (
        "GPU 1: uncorrectable errors went from 0 to 2 (ecc.errors.uncorrected.volatile.total)"
    )
    assert event.source.line == 5
    assert analyze(tmp_path).causes[0].id == "hardware-fault"


@pytest.mark.parametrize(
    "counts", [[(0, 3, 0), (0, 9, 0)], [(0, 3, 2), (0, 3, 2)], [(0, 3, 2), (1, 3, 5)]]
)
def test_what_is_no_rise(counts: list[tuple[int, int, int]], tmp_path: Path) -> None:
    assert not _events(tmp_path, counts)
