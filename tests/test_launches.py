"""Ranks that were started more than once: each launch is compared within itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nanautopsy import analyze


def write(folder: Path, name: str, parts_at: int | None, dies_at: int) -> None:
    """Two ranks that print a reduced gradient, equal until one of them reads too early."""
    (folder / name).mkdir(parents=True)
    drawn = np.random.default_rng(5)
    sums = drawn.normal(size=60)
    for rank in range(2):
        lines = []
        for i, value in enumerate(sums[: dies_at + 5]):
            own = value + (0.3 * rank if parts_at is not None and i >= parts_at else 0.0)
            norm = "nan" if i >= dies_at else f"{abs(own):.4f}"
            total = "+nan" if i >= dies_at else f"{own:+.5f}"
            loss = "nan" if i > dies_at else f"{1 + 0.1 * drawn.random():.4f}"
            lines.append(
                f"[rank{rank}] it {i} loss {loss} grad_sum {total} grad_norm(after reduce) {norm}"
            )
        (folder / name / f"rank{rank}.log").write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize(("parts_at", "cause"), [(26, "communication-race"), (None, None)])
def test_each_launch_is_compared_within_itself(
    tmp_path: Path, parts_at: int | None, cause: str | None
) -> None:
    write(tmp_path, "launch_a", parts_at, 48)
    write(tmp_path, "launch_b", parts_at, 40)
    result = analyze(tmp_path)
    norms = [s for s in result.run.series if s.tag == "grad_norm"]
    sums = [s for s in result.run.series if s.tag == "grad_sum"]
    assert [len(s) for s in (*norms, *sums)] == [53, 53, 45, 45] * 2
    assert any(f.id == "ranks-disagree" for f in result.findings) is (parts_at is not None)
    named = result.causes[0].id if result.causes else None
    assert (named == "communication-race") is (cause is not None)
