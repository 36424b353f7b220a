"""Train the corpus again: ``python tests/corpus/generate.py [run id ...]``.

Every run trains in a fresh directory with fixed seeds and one thread; what it leaves goes to
``runs/<id>/``, what its hooks saw to ``truth/<id>.json``. Ids are numbers, so that no name tells
the cause. Ran with torch 2.13.0 (CPU), tensorboard 2.21.0, safetensors 0.8.0.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

STYLES = ("bars", "csv", "board", "pairs", "jsonl", "dict")


@dataclass(frozen=True)
class Recipe:
    """One run."""

    id: str
    cause: str
    healthy: bool
    style: str
    seed: int


def recipes() -> list[Recipe]:
    """Every run: each story fails twice and does well twice, in changing styles."""
    from harness.stories import STORIES

    found = []
    for i, cause in enumerate(STORIES):
        for variant in range(4):
            style = STYLES[(i + variant) % len(STYLES)]
            number = len(found) + 1
            found.append(Recipe(f"run-{number:04}", cause, variant % 2 == 1, style, 100 + number))
    return found


def generate(recipe: Recipe) -> None:
    """Train one run and keep what it left, and what was true."""
    import torch
    from harness.session import Session
    from harness.stories import STORIES

    torch.set_num_threads(1)
    torch.manual_seed(recipe.seed)
    directory = HERE / "runs" / recipe.id
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    session = Session(directory, recipe.style, recipe.healthy)
    STORIES[recipe.cause](session)
    session.log.close()
    for path in directory.rglob("events.out.tfevents.*"):
        # The writer puts host and process into the name.
        path.rename(path.with_name("events.out.tfevents.1760000000.localhost.1.0"))
    first = session.recorder.first
    truth = {
        "id": recipe.id,
        "cause": None if recipe.healthy else recipe.cause,
        "healthy_twin_of": recipe.cause if recipe.healthy else None,
        "verdict": "non-finite" if first else "healthy",
        "first": first,
        "style": recipe.style,
        "seed": recipe.seed,
    }
    path = HERE / "truth" / f"{recipe.id}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(truth, indent=2) + "\n", encoding="utf-8")


def main(wanted: list[str]) -> None:
    """Train the runs named, or all."""
    for recipe in recipes():
        if not wanted or recipe.id in wanted or recipe.cause in wanted:
            generate(recipe)


if __name__ == "__main__":
    main(sys.argv[1:])
