"""Numbers and versions that checkpoints state: step, epoch, loss, loss scale, learning rate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nanautopsy.checkpoints.torch_objects import Storages
from nanautopsy.checkpoints.torch_parts.settings import number_of
from nanautopsy.model import Scalar

_FACTS: Mapping[str, tuple[str, ...]] = {
    "global_step": (
        "global_step",
        "global_steps",
        "iteration",
        "iter_num",
        "num_updates",
        "iter",
        "step",
        "it",
    ),
    "epoch": ("epoch", "current_epoch"),
    "loss": ("loss", "train_loss"),
    "skipped_steps": ("skipped_steps",),
}
"""Name of a fact to the keys that state it, the surest first."""
_ALSO_IN = ("meta", "trainer_state", "train_state", "extra_state", "progress")
_PACKAGES: Mapping[str, str] = {
    "pytorch-lightning_version": "pytorch-lightning",
    "lightning_version": "lightning",
    "ds_version": "deepspeed",
    "deepspeed_version": "deepspeed",
    "transformers_version": "transformers",
    "torch_version": "torch",
    "pytorch_version": "torch",
    "mmengine_version": "mmengine",
    "mmcv_version": "mmcv",
    "mmdet_version": "mmdet",
    "mmseg_version": "mmsegmentation",
    "accelerate_version": "accelerate",
    "composer_version": "mosaicml",
}
"""Key to the package whose version it states."""


def facts_of(root: dict[Any, Any], storages: Storages) -> dict[str, Scalar]:
    """The numbers that the top level states, and the mappings that are known to hold such."""
    facts: dict[str, Scalar] = {}
    history = root.get("optimizer_history")  # fairseq
    last = history[-1] if isinstance(history, list) and history else None
    for table in (root, *(root.get(key) for key in _ALSO_IN), last):
        if not isinstance(table, dict):
            continue
        for fact, keys in _FACTS.items():
            for key in keys:
                number = number_of(table.get(key), storages)
                if number is not None and not isinstance(number, bool):
                    facts.setdefault(fact, number)
                    break
    return facts


def note_facts(table: dict[Any, Any], storages: Storages, facts: dict[str, Scalar]) -> None:
    """Add what a loss scaler's or a scheduler's state dict says; of several the first counts."""
    if "scale" in table and any(key in table for key in _SCALER):
        _note(facts, "loss_scale", table["scale"], storages)
        for key in ("_growth_tracker", "growth_tracker"):
            _note(facts, "growth_tracker", table.get(key), storages)
    elif "loss_scale" in table and "unskipped" in table:  # apex
        _note(facts, "loss_scale", table["loss_scale"], storages)
    elif "last_epoch" in table and any(key in table for key in _SCHEDULER):
        _note(facts, "last_epoch", table["last_epoch"], storages)
        rates = table.get("_last_lr")
        if isinstance(rates, (list, tuple)) and rates:
            _note(facts, "learning_rate", rates[0], storages)


_SCALER = ("growth_factor", "backoff_factor", "_growth_tracker", "growth_tracker")
_SCHEDULER = ("base_lrs", "_last_lr", "_step_count")


def _note(facts: dict[str, Scalar], name: str, value: Any, storages: Storages) -> None:
    number = number_of(value, storages)
    if number is not None and not isinstance(number, bool):
        facts.setdefault(name, number)


def versions_of(root: dict[Any, Any]) -> dict[str, str]:
    """Package to version, as the top level and ``meta`` state them."""
    found: dict[str, str] = {}
    for table in (root, root.get("meta")):
        if isinstance(table, dict):
            for key, package in _PACKAGES.items():
                version = table.get(key)
                if isinstance(version, str) and 0 < len(version) < 60:
                    found.setdefault(package, version)
    return found
