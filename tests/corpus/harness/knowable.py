"""What the kept artifacts can tell, decided before any rule is run.

The rule, in the order of the questions:

- *verdict*: a failure can be told where something kept shows it: numbers (a curve or a log) of a
  run whose loss or gradient was non-finite or which diverged, or a checkpoint that holds
  non-finite weights. Nothing ever excuses an alarm on a run that did well.
- *step*: the verdict is knowable and something was non-finite. Checkpoints bound it.
- *layer*: a kept log names modules; or a kept checkpoint is non-finite in some of its tensors, at
  most half of them, which is how damage looks before a step has spread it.
- *cause*: at least one of the sets of kinds in ``TELLS`` is kept. A curve that is ordinary up to a
  sudden NaN tells no cause; words, settings or weights must.
"""

from __future__ import annotations

from collections.abc import Mapping
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


def knowable(truth: Mapping[str, Any], run: Path) -> dict[str, bool]:
    """Whether verdict, step, layer and cause can be told from what was kept of a run."""
    kinds = KINDS[truth["keep"]]
    first = truth["first"]
    if truth["cause"] is None:
        return {"verdict": True, "step": False, "layer": False, "cause": False}
    shares = [share_of_bad_tensors(path) for path in sorted(run.rglob("*.safetensors"))]
    in_numbers = "numbers" in kinds and ("loss" in first or "gradient" in first or not first)
    verdict = in_numbers or any(shares)
    named = truth["sees_layers"] and truth["keep"] in ("all", "log")
    return {
        "verdict": verdict,
        "step": verdict and bool(first),
        "layer": verdict and bool(first) and (named or any(0 < share <= 0.5 for share in shares)),
        "cause": verdict and any(tells <= kinds for tells in TELLS[truth["cause"]]),
    }


def share_of_bad_tensors(path: Path) -> float:
    """Of the tensors of a safetensors file, the share that holds a NaN or Inf (0 to 1)."""
    import numpy as np
    from safetensors.numpy import load_file

    tensors = [t for t in load_file(path).values() if t.dtype.kind == "f" and t.size]
    return sum(not np.isfinite(t).all() for t in tensors) / len(tensors) if tensors else 0.0
