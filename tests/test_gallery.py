"""``reports/`` is what the package renders today."""

from __future__ import annotations

import re

import pytest
from gallery import REPORTS, handbook, render_sample, sample_names


@pytest.mark.parametrize("name", sample_names())
def test_the_report_is_current(name: str) -> None:
    for file, content in render_sample(name).items():
        committed = (REPORTS / file).read_text(encoding="utf-8")
        assert _comparable(committed) == _comparable(content), "make gallery writes it anew"


def test_no_report_without_its_sample() -> None:
    names = {path.name.partition(".")[0] for path in REPORTS.iterdir()}
    assert names == set(sample_names())


def test_the_handbook_is_current() -> None:
    path, text = handbook()
    assert path.read_text(encoding="utf-8") == text, "make gallery writes it anew"


def _comparable(content: str) -> str:
    """Without the drawings, whose paths differ between versions of matplotlib."""
    return re.sub(r"<svg.*?</svg>", "<svg/>", content, flags=re.DOTALL)
