"""Reports that the tools themselves wrote, in a file of their own and at the head of a log."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from reading import of_type, read_file
from textlogs import read_text

from nanautopsy.model import EnvironmentRecord
from nanautopsy.readers.environment import READER

FIXTURES = Path(__file__).parents[1] / "fixtures" / "environment"
EXPECTED = json.loads((FIXTURES / "expected.json").read_text())


@pytest.mark.parametrize("name", EXPECTED)
def test_a_report_in_its_own_file(name: str) -> None:
    (record,) = of_type(read_file(READER, FIXTURES / name), EnvironmentRecord)
    assert {key: record.packages.get(key) for key in EXPECTED[name]} == EXPECTED[name]
    if "env" in name:
        assert record.facts["python"] == "3.11.7"


@pytest.mark.parametrize("name", [n for n in EXPECTED if not n.startswith("pip_list")])
def test_a_report_in_a_log(tmp_path: Path, name: str) -> None:
    text = (FIXTURES / name).read_text() + "\nstep: 1 loss: 2.5\n"
    packages: dict[str, str] = {}
    for record in of_type(read_text(tmp_path, text), EnvironmentRecord):
        packages |= record.packages
    assert {key: packages.get(key) for key in EXPECTED[name]} == EXPECTED[name]
