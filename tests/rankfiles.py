"""Reading checkpoints of many ranks, for their tests."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from reading import of_type, problems_of, read_artifact

from nanautopsy.discover import discover
from nanautopsy.model import Checkpoint, Record, TensorHealth
from nanautopsy.readers.interface import Reader


def records_in(reader: Reader, run: Path, under: str = "") -> list[Record]:
    """What the reader gives of its only artifact whose path begins with ``under``."""
    found = [a for a in discover(run, [reader]).artifacts if a.path.startswith(under)]
    (artifact,) = found
    return read_artifact(reader, artifact)


def checkpoint_of(records: Iterable[Record]) -> Checkpoint:
    """The only checkpoint."""
    (checkpoint,) = of_type(records, Checkpoint)
    return checkpoint


def by_name(checkpoint: Checkpoint) -> dict[str, TensorHealth]:
    """Its tensors."""
    return {tensor.name: tensor for tensor in checkpoint.tensors}


def texts_of(records: Iterable[Record]) -> list[str]:
    """The problems' texts."""
    return [problem.text for problem in problems_of(records)]


def copied(fixture: Path, folder: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(fixture, folder / "run"))
