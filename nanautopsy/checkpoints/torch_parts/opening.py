"""Opening one of many torch files: what is wrong with it, or would be done by it, as problems."""

from __future__ import annotations

import re

from nanautopsy.checkpoints.data_file import DataFile
from nanautopsy.checkpoints.pickle_danger import dangers
from nanautopsy.checkpoints.torch_load import NotTorch, TorchFile, load_torch
from nanautopsy.model import Problem, Source
from nanautopsy.readers._damage import LFS_POINTER, Damage
from nanautopsy.wording import phrase


def open_torch(file: DataFile) -> tuple[TorchFile | None, list[Problem]]:
    """The file as far as it can be read, and its problems; ``None`` comes with at least one."""
    try:
        loaded = load_torch(file)
    except OSError as error:
        return None, [
            Problem(
                phrase("cannot be read: {error}", error=error.strerror or error),
                Source(file.path),
            )
        ]
    except NotTorch as error:
        return None, [Problem(_why_not(file, str(error)), Source(file.path, offset=0))]
    damage = Damage(file.path)
    for text, offset in (*loaded.problems, *dangers(loaded.pickles)):
        damage.note(text, offset=offset)
    return loaded, list(damage.problems())


def _why_not(file: DataFile, text: str) -> str:
    try:
        with file.open() as handle:
            head = handle.read(200) or b""
    except OSError:
        return text
    if not head:
        return phrase("the file is empty")
    if not head.startswith(LFS_POINTER):
        return text
    size = re.search(rb"^size (\d{1,18})$", head, re.MULTILINE)
    if size is None:
        return phrase("a Git LFS pointer: the content was not downloaded")
    return phrase(
        "a Git LFS pointer: the content of {size} bytes was not downloaded", size=int(size[1])
    )
