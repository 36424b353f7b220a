"""One browser a file of tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from browser.chromium import Browser


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One browser for all tests of this file."""
    found = Browser(tmp_path_factory.mktemp("browser"))
    yield found
    found.driver.quit()
