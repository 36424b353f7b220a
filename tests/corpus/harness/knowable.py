"""What the kept artifacts can tell, decided before any rule is run.

The rule, in the order of the questions:

- *verdict*: a failure can be told where something kept shows it: numbers (a curve or a log) of a
  run whose loss, gradient or logged activation was non-finite or which diverged, or a checkpoint
  that holds non-finite weights. Nothing ever excuses an alarm on a run that did well.
- *step*: the verdict is knowable and something was non-finite. Checkpoints bound it.
- *layer*: the story logs its modules one by one, so that the first can be told from those that it
  spoiled, and something kept has that module's name; or a kept checkpoint is non-finite in some of
  its tensors, at most half of them and of at most three modules, which is how damage looks before
  a step has spread it. Masks of -Inf are no damage.
- *cause*: at least one of the sets of kinds in ``TELLS`` is kept, and the story does not say why it
  is hidden all the same. A curve that is ordinary up to a sudden NaN tells no cause; words,
  settings or weights must.

Kinds are coarse: what was kept of every failed run was read besides, first without its truth, and
without what any rule says of it. Where it makes the true cause more probable than all others
together and the rule denies that, or the other way round, ``audit.csv`` says so with the reason,
and stands above the rule.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

AUDIT = Path(__file__).resolve().parent.parent / "audit.csv"
KINDS: Mapping[str, frozenset[str]] = {
    "all": frozenset({"numbers", "words", "weights", "settings"}),
    "log": frozenset({"numbers", "words"}),
    "checkpoints": frozenset({"weights"}),
    "curves": frozenset({"numbers"}),
}
"""What each artifact set holds. The programs print their numbers, so a log has those too."""

TELLS: Mapping[str, tuple[frozenset[str], ...]] = {
    cause: tuple(frozenset(kinds.split("+")) for kinds in sets)
    for cause, sets in {
        "attention-overflow": ("numbers+settings", "weights+settings"),
        "bad-input-data": ("numbers",),
        "communication-race": ("words+settings",),
        "corrupt-checkpoint": ("weights",),
        "empty-targets": ("numbers+weights",),
        "fp16-overflow": ("words+numbers", "weights+settings"),
        "fully-masked-attention": ("numbers+words",),
        "gradient-explosion": ("numbers+settings",),
        "hardware-fault": ("words",),
        "loss-domain-error": ("numbers",),
        "lr-spike": ("numbers",),
        "lr-too-high": ("numbers",),
        "moe-router": ("numbers",),
        "optimizer-epsilon": ("weights+settings",),
        "resume-mismatch": ("numbers+words",),
        "rl-collapse": ("numbers",),
        "singular-gradient": ("words",),
        "uninitialized-params": ("weights",),
        "version-bug": ("words+settings",),
        "wrong-checkpoint": ("words",),
        "zero-init": ("numbers+weights",),
    }.items()
}
"""Cause to the sets of kinds, any of which tells it; ``numbers`` are those that its story logs
(the rate, the router's loss, the reward)."""


QUESTIONS = ("verdict", "step", "layer", "layer_in_log", "layer_in_weights", "cause")


def knowable(truth: Mapping[str, Any], run: Path) -> dict[str, bool]:
    """Whether verdict, step, layer and cause can be told from what was kept of a run."""
    kinds = KINDS[truth["keep"]]
    first = truth["first"]
    if truth["cause"] is None:
        return dict.fromkeys(QUESTIONS, False) | {"verdict": True}
    damages = [Damage.of(path) for path in weights_of(run)]
    shown = {"loss", "gradient", "norm"} | ({"forward"} if truth["sees_layers"] else set())
    in_numbers = "numbers" in kinds and (not first or bool(shown & set(first)))
    verdict = in_numbers or any(damage.modules for damage in damages)
    layers = {
        "layer_in_log": truth["sees_layers"]
        and "numbers" in kinds
        and any(map(names(run), origin(first))),
        "layer_in_weights": any(damage.is_confined for damage in damages),
    }
    told = {name: verdict and bool(first) and shown for name, shown in layers.items()}
    return {
        "verdict": verdict,
        "step": verdict and bool(first),
        "layer": any(told.values()),
        "cause": verdict and audited().get(run.name, cause_by_kinds(truth)),
    } | told


def audited() -> dict[str, bool]:
    """Whether a run tells its cause, where the rule is wrong about it."""
    with open(AUDIT, encoding="utf-8", newline="") as file:
        return {row["run"]: row["told"] == "yes" for row in csv.DictReader(file)}


def cause_by_kinds(truth: Mapping[str, Any]) -> bool:
    """What the rule says of the cause, before the audit."""
    kinds = KINDS[truth["keep"]]
    return truth["hidden"] is None and any(tells <= kinds for tells in TELLS[truth["cause"]])


def origin(first: Mapping[str, Mapping[str, Any]]) -> set[str]:
    """Modules that were non-finite first: of the earliest step, and there of the earliest kind of
    what a step computes. Weights that were loaded so (step 0) stand beside what they spoiled."""
    if not first:
        return set()
    start = min(place["step"] for place in first.values())
    order = ("forward", "gradient", "parameter", "optimizer")
    early = [k for k in order if k in first and first[k]["step"] == start][:1]
    if start == 0:
        early = [k for k in ("forward", "parameter") if k in first and first[k]["step"] <= 1]
    return {_module(kind, first[kind]["module"]) for kind in early}


PARTS_AFTER = {"forward": 0, "gradient": 1, "parameter": 1, "optimizer": 2}
"""Parts after the module's name, by kind."""


def _module(kind: str, name: str) -> str:
    """Of what a hook named: a module, its parameter, or a moment of its parameter."""
    parts = name.replace("/", ".").split(".")
    return ".".join(parts[: len(parts) - PARTS_AFTER[kind]])


def names(run: Path) -> Callable[[str], bool]:
    """Whether something kept has the name of a module or of the one around it (an attention, of its
    softmax); event files hold tags as plain bytes."""
    kept = [path.read_bytes() for path in run.rglob("*") if path.is_file()]
    read = b"\n".join(data for data in kept if not data.startswith(b"PK")).replace(b"/", b".")

    def found(module: str) -> bool:
        parent = module.rpartition(".")[0]
        around = parent if "." in parent else f".{parent}"  # as the last part of a tag
        return module.encode() in read or (bool(parent) and around.encode() in read)

    return found


def weights_of(run: Path) -> list[Path]:
    """Files of weights, in any format that a run of the corpus saves."""
    patterns = ("*.safetensors", "pytorch_model.bin", "*.ckpt", "*model_states.pt", "*.msgpack")
    found = {path for pattern in patterns for path in run.rglob(pattern)}
    found |= {p for p in run.rglob("*.pt") if p.name in ("model.pt", "last.pt", "best.pt")}
    return sorted(found | set(run.rglob("*.npz")))


@dataclass(frozen=True)
class Damage:
    """What of a file of weights holds a NaN or +Inf; -Inf alone is a mask."""

    modules: frozenset[str]
    share: float
    """Of its tensors, 0 to 1."""

    @property
    def is_confined(self) -> bool:
        """Whether it still shows where it began."""
        return 0 < self.share <= 0.5 and len(self.modules) <= 3

    @classmethod
    def of(cls, path: Path) -> Damage:
        """Looks through a file; one that cannot be loaded shows nothing."""
        import numpy as np

        arrays = {n: a for n, a in _arrays(path).items() if a.size and a.dtype.kind == "f"}
        bad = {n for n, a in arrays.items() if (np.isnan(a) | np.isposinf(a)).any()}
        modules = frozenset(name.replace("/", ".").rpartition(".")[0] for name in bad)
        return cls(modules, len(bad) / len(arrays) if arrays else 0.0)


def _arrays(path: Path) -> dict[str, Any]:
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return _leaves(load_file(path))
        except SafetensorError:
            return {}
    if path.suffix == ".msgpack":
        from flax import serialization

        return _leaves(serialization.msgpack_restore(path.read_bytes()))
    if path.suffix == ".npz":
        import numpy as np

        with np.load(path) as kept:
            return {name: kept[name] for name in kept.files}
    import torch

    saved = torch.load(path, weights_only=False, map_location="cpu")
    for name in ("state_dict", "module", "model"):
        if isinstance(saved, dict) and isinstance(saved.get(name), dict):
            saved = saved[name]
    return _leaves(saved)


def _leaves(tree: Any, at: str = "") -> dict[str, Any]:
    if isinstance(tree, dict):
        inner = [_leaves(value, f"{at}.{key}" if at else str(key)) for key, value in tree.items()]
        return {name: leaf for leaves in inner for name, leaf in leaves.items()}
    if hasattr(tree, "detach"):
        return {at: tree.detach().float().numpy()} if tree.is_floating_point() else {}
    return {at: tree} if hasattr(tree, "dtype") else {}
