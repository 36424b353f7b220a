"""Archives of the layouts that people have, made of the sample runs' own files."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from nanautopsy.read import load_readers
from nanautopsy.scan.find_runs import find_runs
from nanautopsy.scan.kinds import Kinds, Told
from nanautopsy.scan.limits import Limits
from nanautopsy.scan.parts import FoundRun
from nanautopsy.scan.results import Known, ScanResult
from nanautopsy.scan.tree import open_tree

SAMPLES = Path(__file__).resolve().parents[2] / "sample_runs"
LOG = SAMPLES / "nanovlm-fp16" / "train.log"
EVENTS = next((SAMPLES / "lr-spike" / "runs").iterdir())
WEIGHTS = SAMPLES / "lr-spike" / "checkpoints" / "step_50.safetensors"
TRAINER = SAMPLES / "minigemini-deepspeed" / "output"
WANDB = next((SAMPLES / "qwen25vl-attention" / "wandb").iterdir())
CONFIG = SAMPLES / "lr-spike" / "config.yaml"
FINITE_METRICS = "epoch,step,train_loss\n0,0,2.5\n0,1,2.25\n1,2,2.0\n"


def lay(root: Path, files: dict[str, Path | str]) -> Path:
    """Copies (of a path) and texts, by their place below ``root``."""
    for name, content in files.items():
        target = root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, str):
            target.write_text(content)
        elif content.is_dir():
            shutil.copytree(content, target)
        else:
            shutil.copyfile(content, target)
    return root


def found(root: Path | str, **limits: object) -> dict[str, FoundRun]:
    """The runs by their root."""
    tree = open_tree(str(root))
    runs = list(find_runs(Kinds(tree, load_readers().parts), Limits(**limits)))  # type: ignore[arg-type]
    assert len({run.root for run in runs}) == len(runs)
    return {run.root: run for run in runs}


class Shelf:
    """Keeps what a catalog keeps, in memory."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], ScanResult] = {}
        self.files: dict[str, Told] = {}
        self.writes = 0

    def known(self, archive: str) -> dict[str, Known]:
        return {
            root: Known(result.fingerprint, result.rules, result.outcome)
            for (where, root), result in self.kept.items()
            if where == archive
        }

    def record(self, results: Iterable[ScanResult]) -> None:
        for result in results:
            self.kept[result.archive, result.root] = result
            self.writes += 1

    def forget(self, archive: str, roots: Iterable[str]) -> None:
        for root in roots:
            self.kept.pop((archive, root), None)

    def kinds(self, archive: str, asking: str) -> dict[str, Told]:
        return dict(self.files)

    def keep_kinds(self, archive: str, asking: str, told: Iterable[tuple[str, Told]]) -> None:
        self.files.update(told)

    def forget_kinds(self, archive: str, paths: Iterable[str]) -> None:
        for path in list(paths):
            del self.files[path]

    def records(self, archive: str, root: str) -> bytes:
        return self.kept[archive, root].records
