"""What the kept artifacts can tell, decided before any rule is run.

The rule, in the order of the questions:

- *verdict*: a failure can be told where something kept shows it: numbers (a curve or a log) of a
  run whose loss or gradient was non-finite or which diverged, or a checkpoint that holds
  non-finite weights. Nothing ever excuses an alarm on a run that did well.
- *step*: the verdict is knowable and something was non-finite. Checkpoints bound it.
- *layer*: the story logs its modules one by one, so that the first can be told from those that it
  spoiled, and something kept has that module's name; or a kept checkpoint is non-finite in some of
  its tensors, at most half of them, which is how damage looks before a step has spread it.
- *cause*: at least one of the sets of kinds in ``TELLS`` is kept, and the story does not say why it
  is hidden all the same. A curve that is ordinary up to a sudden NaN tells no cause; words,
  settings or weights must.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

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
    shares = [share_of_bad_tensors(path) for path in weights_of(run)]
    in_numbers = "numbers" in kinds and ("loss" in first or "gradient" in first or not first)
    verdict = in_numbers or any(shares)
    layers = {
        "layer_in_log": truth["sees_layers"] and any(map(names(run), origin(first))),
        "layer_in_weights": any(0 < share <= 0.5 for share in shares),
    }
    told = {name: verdict and bool(first) and shown for name, shown in layers.items()}
    return {
        "verdict": verdict,
        "step": verdict and bool(first),
        "layer": any(told.values()),
        "cause": verdict
        and truth["hidden"] is None
        and any(tells <= kinds for tells in TELLS[truth["cause"]]),
    } | told


def origin(first: Mapping[str, Mapping[str, Any]]) -> set[str]:
    """Modules that were non-finite first: of the earliest step, and there of the earliest kind of
    what a step computes. Weights that were loaded so (step 0) stand beside what they spoiled."""
    if not first:
        return set()
    start = min(place["step"] for place in first.values())
    order = ("forward", "gradient", "parameter", "optimizer")
    early = [k for k in order if k in first and first[k]["step"] == start]
    if start == 0:
        early = [k for k in order if k in first and first[k]["step"] <= 1]
        return {first[kind]["module"] for kind in early if kind in ("forward", "parameter")}
    return {first[kind]["module"] for kind in early[:1]}


def names(run: Path) -> Callable[[str], bool]:
    """Whether something kept has the name of a module or of the one around it (an attention, of its
    softmax); event files hold tags as plain bytes."""
    kept = [path.read_bytes() for path in run.rglob("*") if path.is_file()]
    read = b"\n".join(data for data in kept if not data.startswith(b"PK")).replace(b"/", b".")

    def found(module: str) -> bool:
        name = module.removesuffix(".weight").removesuffix(".bias").replace("/", ".")
        parent = name.rpartition(".")[0]
        return name.encode() in read or ("." in parent and parent.encode() in read)

    return found


def weights_of(run: Path) -> list[Path]:
    """Files of weights, in any format that a run of the corpus saves."""
    patterns = ("*.safetensors", "pytorch_model.bin", "*.ckpt", "*model_states.pt", "*.msgpack")
    found = {path for pattern in patterns for path in run.rglob(pattern)}
    found |= {p for p in run.rglob("*.pt") if p.name in ("model.pt", "last.pt", "best.pt")}
    return sorted(found | set(run.rglob("*.npz")))


def share_of_bad_tensors(path: Path) -> float:
    """Of the tensors of a file, the share that holds a NaN or Inf (0 to 1)."""
    import numpy as np

    arrays = [a for a in _arrays(path) if a.size and a.dtype.kind == "f"]
    return sum(not np.isfinite(a).all() for a in arrays) / len(arrays) if arrays else 0.0


def _arrays(path: Path) -> list[Any]:
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return _leaves(load_file(path))
        except SafetensorError:
            return []
    if path.suffix == ".msgpack":
        from flax import serialization

        return _leaves(serialization.msgpack_restore(path.read_bytes()))
    if path.suffix == ".npz":
        import numpy as np

        with np.load(path) as kept:
            return [kept[name] for name in kept.files]
    import torch

    saved = torch.load(path, weights_only=False, map_location="cpu")
    for name in ("state_dict", "module", "model"):
        if isinstance(saved, dict) and isinstance(saved.get(name), dict):
            saved = saved[name]
    return _leaves(saved)


def _leaves(tree: Any) -> list[Any]:
    if isinstance(tree, dict):
        return [leaf for value in tree.values() for leaf in _leaves(value)]
    if hasattr(tree, "detach"):
        return [tree.detach().float().numpy()] if tree.is_floating_point() else []
    return [tree] if hasattr(tree, "dtype") else []
