"""Every run of the corpus: which story, which variant, which logging habit, what is kept.

The runs stand in ``runs.csv``: ``fails`` or ``well``; the style as ``writer:naming``; the artifact
set. A run keeps its id for ever, so that no name tells the cause.
"""

from __future__ import annotations

import csv
import importlib
import sys
from dataclasses import dataclass
from pathlib import Path

from harness.staged import Keep, Staged

TABLE = Path(__file__).resolve().parent.parent / "runs.csv"
FAMILIES = {
    "empty-targets": "decoder",
    "fully-masked-attention": "decoder",
    "uninitialized-params": "decoder",
    "moe-router": "moe",
    "rl-collapse": "rl",
}
"""Of the first fifteen stories; the others train an MLP."""
MODULES = (
    "stories_families",
    "stories_decoys",
    "stories_benign",
    "stories_trainer",
    "stories_jax",
    "stories_lightning",
    "stories_loading",
    "stories_deepspeed",
    "stories_courses",
    "stories_flax",
    "stories_layers",
    "stories_two",
    "stories_scores",
    "stories_seq2seq",
    "stories_quiet",
    "stories_growth",
)
NAMES_LAYERS = frozenset({"fully-masked-attention"})


@dataclass(frozen=True)
class Recipe:
    """One run."""

    id: str
    story: str
    staged: Staged
    healthy: bool
    style: str
    seed: int
    keep: Keep = "all"


def first_stories() -> dict[str, Staged]:
    """The fifteen stories of plain torch loops, each named as its cause."""
    from harness.stories import STORIES

    return {
        cause: Staged(train, cause, FAMILIES.get(cause, "mlp"), sees_layers=cause in NAMES_LAYERS)
        for cause, train in STORIES.items()
    }


def recipes() -> list[Recipe]:
    """The rows of the table whose framework is installed."""
    stories = first_stories() | further_stories()
    with open(TABLE, encoding="utf-8", newline="") as file:
        return [
            Recipe(
                id=row["id"],
                story=row["story"],
                staged=stories[row["story"]],
                healthy=row["variant"] == "well",
                style=row["style"],
                seed=100 + int(row["id"].removeprefix("run-")),
                keep=row["keep"],  # type: ignore[arg-type]
            )
            for row in csv.DictReader(file)
            if row["story"] in stories
        ]


def further_stories() -> dict[str, Staged]:
    """Those of the other modules, by name. A framework that is not installed has none."""
    found: dict[str, Staged] = {}
    for name in MODULES:
        try:
            found |= importlib.import_module(f"harness.{name}").STAGED
        except ModuleNotFoundError as missing:
            print(f"no {name}: {missing}", file=sys.stderr)
    return found
