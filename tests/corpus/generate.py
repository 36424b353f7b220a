"""Train the corpus again: ``python tests/corpus/generate.py [run id or story ...]``.

Every run trains in a fresh directory with fixed seeds and one thread; what it leaves goes to
``runs/<id>/``, less what its recipe does not keep; what its hooks saw goes to ``truth/<id>.json``.
Ids are numbers, so that no name tells the cause. ``--truth`` only states again, in the truths that
are there, what the recipes say and what the artifacts can tell. Ran with torch 2.13.0 (CPU),
tensorboard 2.21.0, wandb 0.31.0, safetensors 0.8.0, transformers 5.23.0 and 5.24.0, jax 0.10.2,
flax 0.12.8, accelerate 1.15.0, lightning 2.6.6, deepspeed 0.19.8, peft 0.21.2; a story that needs
another release says so.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

os.environ |= {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "JAX_PLATFORMS": "cpu",
    "USER": "trainer",
    "HOSTNAME": "localhost",
    "WANDB_MODE": "offline",
    "WANDB_SILENT": "true",
    "HF_HUB_OFFLINE": "1",
    "DS_ACCELERATOR": "cpu",
}
HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from harness.knowable import knowable  # noqa: E402
from harness.plan import Recipe, recipes  # noqa: E402
from harness.truth import diverged  # noqa: E402

CURVES = ("events.out.tfevents*", "metrics.csv", "metrics.jsonl", "*.wandb", "trainer_state.json")
WEIGHTS = ("*.safetensors", "*.pt", "*.bin", "*.msgpack", "*.npz", "*.ckpt")
LOGS = ("*.log",)
KEPT = {"log": LOGS, "checkpoints": WEIGHTS, "curves": CURVES}
"""Name patterns of what an artifact set keeps; of a console habit, the log is the curve."""


def generate(recipe: Recipe) -> None:
    """Train one run and keep what its recipe says, and what was true."""
    import torch
    from harness.session import Session

    torch.set_num_threads(1)
    torch.manual_seed(recipe.seed)
    directory = HERE / "runs" / recipe.id
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    session = Session(directory, recipe.style, recipe.healthy)
    recipe.staged.train(session)
    session.log.close()
    for path in directory.rglob("events.out.tfevents.*"):
        # The writer puts host and process into the name.
        path.rename(path.with_name("events.out.tfevents.1760000000.localhost.1.0"))
    first = session.recorder.first
    if recipe.healthy and first and not recipe.staged.excused:
        raise SystemExit(f"{recipe.id}, {recipe.story}, was to do well: {first}")
    if not recipe.healthy and not first and not diverged(session.recorder.losses):
        raise SystemExit(f"{recipe.id}, {recipe.story}, was to fail")
    drop(directory, recipe.keep)
    write_truth(recipe, first)


def drop(directory: Path, keep: str) -> None:
    """Remove what an artifact set does not hold."""
    if keep == "all":
        return
    for path in sorted(directory.rglob("*"), reverse=True):
        if path.is_dir():
            if not any(path.iterdir()):
                path.rmdir()
        elif not any(path.match(pattern) for pattern in KEPT[keep]):
            path.unlink()
    if not any(directory.iterdir()):
        raise SystemExit(f"{directory.name}: nothing is left of it with keep={keep}")


def write_truth(recipe: Recipe, first: dict[str, Any]) -> None:
    """``truth/<id>.json``: what happened, and what can be known of it."""
    staged = recipe.staged
    failed = not recipe.healthy
    truth: dict[str, Any] = {
        "id": recipe.id,
        "cause": staged.about if failed else None,
        "healthy_twin_of": None if failed else staged.about,
        "benign": staged.benign,
        "decoy": staged.decoy if failed else None,
        "verdict": "healthy" if not failed else "non-finite" if first else "diverged",
        "first": first,
        "part": staged.part,
        "family": staged.family,
        "framework": staged.framework,
        "keep": recipe.keep,
        "sees_layers": staged.sees_layers,
        "hidden": staged.hidden if failed else None,
        "style": recipe.style,
        "seed": recipe.seed,
    }
    truth["knowable"] = knowable(truth, HERE / "runs" / recipe.id)
    path = HERE / "truth" / f"{recipe.id}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(truth, indent=2) + "\n", encoding="utf-8")


def main(wanted: list[str]) -> None:
    """Train the runs named, or all; one that did not go as it should does not stop the others."""
    problems: list[str] = []
    only_truth = "--truth" in wanted
    names = {word for word in wanted if not word.startswith("-")}
    for recipe in recipes():
        if names and recipe.id not in names and recipe.story not in names:
            continue
        if only_truth:
            old = HERE / "truth" / f"{recipe.id}.json"
            if old.exists():
                write_truth(recipe, json.loads(old.read_text(encoding="utf-8"))["first"])
            continue
        if not _installed(recipe.staged.needs):
            print(f"{recipe.id} needs {recipe.staged.needs}", file=sys.stderr)
            continue
        try:
            generate(recipe)
        except (Exception, SystemExit) as problem:
            problems.append(f"{recipe.id} ({recipe.story}): {problem!r}")
            print(problems[-1], file=sys.stderr, flush=True)
    if problems:
        raise SystemExit(f"{len(problems)} did not go as they should")


def _installed(needs: str | None) -> bool:
    if needs is None:
        return True
    package, _, version = needs.partition("==")
    return metadata.version(package) == version


if __name__ == "__main__":
    main(sys.argv[1:])
