"""What the names of files and folders say of a run, and what a file's head says where they do not.

Only names that programs give are known here; a name that a person gave decides nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from nanautopsy.checkpoints.data_file import DataFile
from nanautopsy.checkpoints.step_names import step_of
from nanautopsy.discover import claim_all
from nanautopsy.model import FileHead
from nanautopsy.readers.interface import Reader
from nanautopsy.scan.tree import Entry, Folder, Tree

LOG_FOLDERS = frozenset(
    "logs log tb tensorboard tensorboard_logs tb_logs tblogs runs wandb lightning_logs csv_logs "
    "events summaries train_logs training_logs output outputs results metrics history "
    "mlruns".split()
)
"""Names that programs give to a folder that holds one kind of a run's records."""
CHECKPOINT_FOLDERS = frozenset(
    "checkpoints checkpoint ckpts ckpt weights models model saved_models save saves".split()
)
_TRAINING = frozenset({"train", "training"})
_EVALUATION = frozenset({"eval", "evaluation", "val", "valid", "validation", "test", "dev"})
_CHECKPOINT = re.compile(
    r"\.(?:safetensors|pt|pth|ckpt|bin|npz|npy|msgpack|h5|hdf5|keras|distcp|eqx|th|index|pdparams)$"
    r"|^(?:\.metadata|_METADATA|manifest\.ocdbt|checkpoint|\.zarray|zarr\.json)$"
    r"|^checkpoint[_-]?\d+$|\.data-\d+-of-\d+$"
)
_LOG = re.compile(
    r"(?:\.(?:log|out|err|o\d+|e\d+)(?:\.\d+|\.rank_?\d+)?|^(?:std(?:out|err)|nohup|console|log)(?:\.txt)?"
    r"(?:\.rank_?\d+)?)(?:\.(?:gz|zst|bz2|xz))?$",
    re.IGNORECASE,
)
_TABLE = re.compile(r"\.(?:csv|tsv|jsonl|ndjson|parquet|json|txt)(?:\.(?:gz|zst))?$", re.IGNORECASE)
_DATABASE = re.compile(r"\.(?:db|sqlite3?)$", re.IGNORECASE)
_CONFIGURATION = re.compile(r"\.(?:ya?ml|toml|json|cfg|ini)$|^requirements[\w.-]*\.txt$")
_RECORD_KINDS = {
    "csv": "table",
    "json-metrics": "table",
    "parquet": "table",
    "mlflow": "table",
    "wandb-export": "table",
    "tensorboard": "events",
    "trainer-state": "state",
    "tracker-database": "database",
    "wandb": "wandb",
}
"""Readers whose artifacts record a training, and what they count as."""
_NAMES = 1 << 14
"""Names whose meaning is remembered: runs of an archive use the same ones."""
_ASKED_BYTES = 16384
"""Of a file's head, that readers are asked about: enough to tell what it records."""
_TABLE_OF_RUNS = "wandb-runs-table"
"""Artifact kind: a row a run, so no record of any one."""
_TRAINING_TEXT = re.compile(
    rb"(?:loss|perplexity|ppl|grad[ _-]?norm|lm[ _]loss|accuracy|epoch|iter(?:ation)?|step)\b"
    rb"[^\n]{0,40}?(?:\d|nan|inf)",
    re.IGNORECASE,
)
"""A line of a training log: a metric or counter with a number or what it became."""


@lru_cache(maxsize=_NAMES)
def named_kind(name: str) -> str:
    """What a file is by its name alone: ``events``, ``state``, ``wandb`` and ``checkpoint`` are
    sure; ``log``, ``table`` and ``database`` are to be looked into; ``configuration`` or nothing.
    """
    if "tfevents" in name and not name.endswith((".profile-empty", ".json")):
        return "events"
    if name == "trainer_state.json":
        return "state"
    if name.endswith(".wandb"):
        return "wandb"
    for kind, pattern in (("log", _LOG), ("checkpoint", _CHECKPOINT), ("database", _DATABASE)):
        if pattern.search(name):
            return kind
    if _CONFIGURATION.search(name) and not _TABLE.search(name):
        return "configuration"
    return "table" if _TABLE.search(name) else ""


def is_configuration(name: str) -> bool:
    """Whether a file of this name may hold settings or versions."""
    return _CONFIGURATION.search(name) is not None


def record_kind(tree: Tree, file: Entry, readers: Sequence[Reader]) -> str:
    """What a file records of a training, by its head (and a log's end); empty for nothing.

    Raises ``OSError``.
    """
    head = tree.head(file)
    if named_kind(file.name) == "log" and b"\0" not in head[:512] and head[:1] not in b"{[":
        return "log" if _tells_of_training(tree, file, head) else ""
    shown = [(FileHead(file.path, file.size, head[:_ASKED_BYTES]), _NOWHERE)]
    artifacts = claim_all(shown, readers, []).artifacts
    if not artifacts or artifacts[0].kind == _TABLE_OF_RUNS:
        return ""
    if artifacts[0].reader == "text-log":
        return "log" if _tells_of_training(tree, file, head) else ""
    return _RECORD_KINDS.get(artifacts[0].reader, "")


def _tells_of_training(tree: Tree, file: Entry, head: bytes) -> bool:
    """Raises ``OSError``. The end is asked for only where the head does not tell."""
    return bool(_TRAINING_TEXT.search(head) or _TRAINING_TEXT.search(tree.tail(file)))


class _Nowhere:
    """Stands for the place of a file that is only asked what it is."""

    def file(self, path: str) -> DataFile:
        raise OSError(f"{path}: not opened")


_NOWHERE = _Nowhere()


@lru_cache(maxsize=_NAMES)
def names_a_step(folder: str) -> bool:
    """Whether a folder's name says a training step: ``checkpoint-500``, ``global_step12``."""
    return step_of(folder) is not None


def whole_run(folder: Folder) -> str:
    """Why a folder is one run, with all that lies in it; empty where nothing says so."""
    names = {file.name for file in folder.files}
    below = set(folder.folders)
    if ".hydra" in below:
        return "a Hydra job (.hydra/)"
    if any(name.endswith(".wandb") for name in names):
        return "a W&B run (*.wandb)"
    if "files" in below and re.match(r"(?:offline-)?run-\d{8}_\d{6}-", _last(folder.path)):
        return "a W&B run directory"
    if "meta.yaml" in names and below & {"metrics", "params"}:
        return "an MLflow run (meta.yaml)"
    versions = {"hparams.yaml", "metrics.csv"} & names or any("tfevents" in n for n in names)
    if re.fullmatch(r"version_\d+", _last(folder.path)) and (versions or "checkpoints" in below):
        return "a Lightning version"
    return ""


def are_counterparts(names: Sequence[str]) -> bool:
    """Whether folders are the training and the evaluation of one run."""
    return all(map(is_counterpart, names)) and any(_last_word(n) in _TRAINING for n in names)


def is_counterpart(name: str) -> bool:
    """Whether a folder's name says training or evaluation: ``train``, ``loss_val``."""
    return _last_word(name) in _TRAINING | _EVALUATION


def _last_word(name: str) -> str:
    return re.split(r"[_-]", name.lower())[-1]


def _last(path: str) -> str:
    return path.rpartition("/")[2]
