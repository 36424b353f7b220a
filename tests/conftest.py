"""Fixtures that several areas share: public artifacts, sample runs, a user without rights."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from hypothesis import settings

import nanautopsy

# A busy machine makes an example slow; that is no failure.
settings.register_profile("nanautopsy", deadline=None)
settings.load_profile("nanautopsy")

CHECKOUT = Path(__file__).resolve().parents[1]
_NOBODY = 65534
"""User id of nobody on Linux."""


@pytest.fixture(scope="session")
def real() -> Path:
    """The folder of public artifacts; the test skips where it is absent."""
    named = os.environ.get("NANAUTOPSY_REAL")
    folder = Path(named) if named else CHECKOUT.parent / "shared" / "real"
    if not folder.is_dir():
        pytest.skip("the public artifacts are not here")
    return folder


@pytest.fixture(scope="session")
def sample_runs() -> Path:
    """The sample runs of the checkout."""
    return CHECKOUT / "sample_runs"


@pytest.fixture(scope="session")
def everything_imported() -> None:
    """Readers import what they need when they run; a user without rights may not reach it."""
    from nanautopsy import analyze

    for name in ("lr-spike", "minigemini-deepspeed"):
        analyze(CHECKOUT / "sample_runs" / name)


@pytest.fixture
def unprivileged(everything_imported: None) -> Callable[[], AbstractContextManager[None]]:
    """Makes file permissions count, also where the tests run as root."""

    @contextmanager
    def acting() -> Iterator[None]:
        if os.geteuid() != 0:
            yield
            return
        os.seteuid(_NOBODY)
        try:
            if not os.access(Path(nanautopsy.__file__).parent, os.R_OK, effective_ids=True):
                pytest.skip("root's own folder: a user without rights cannot reach the package")
            yield
        finally:
            os.seteuid(0)

    return acting


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """An empty directory that an unprivileged user can reach, which ``tmp_path`` is not."""
    folder = Path(tempfile.mkdtemp(prefix="nanautopsy-"))
    folder.chmod(0o755)
    yield folder
    for path in [folder, *folder.rglob("*")]:
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o755)
    shutil.rmtree(folder)
