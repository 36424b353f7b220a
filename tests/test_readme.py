"""The README says what the code does."""

from __future__ import annotations

import pytest
from readme import BLOCKS, README, current


@pytest.mark.parametrize("name", BLOCKS)
def test_the_block_is_current(name: str) -> None:
    text = README.read_text(encoding="utf-8")
    assert current(name, text) == BLOCKS[name](), "python -m tests.readme writes it anew"


def test_its_commands_stand_behind_their_markers() -> None:
    text = README.read_text(encoding="utf-8")
    for marker in ("<!-- analyze-command -->\n```bash\n", "<!-- test-command -->\n```bash\n"):
        assert text.count(marker) == 1
