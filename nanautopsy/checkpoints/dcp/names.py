"""What a name in a distributed checkpoint stands for: a weight, a moment, anything else.

Habits: ``model.<name>`` and ``optim.state.<name>.<moment>`` (PyTorch's own helpers, torchtune,
accelerate), ``<name>`` and ``state.<name>.<moment>`` (flattened: torchtitan),
``optimizer.state.<moment>.<name>`` with ``fp32_param`` for the master copy (Megatron-Core).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from nanautopsy.checkpoints.stored import Part

_WRAPPERS = frozenset(
    {"app", "model", "module", "state_dict", "model_state_dict", "model_state", "net"}
)
"""Keys of a saved object around the model: no part of its tensors' names."""
_MASTERS = frozenset({"fp32_param", "param", "master_param", "master_weight", "main_param"})
_MOMENTS = frozenset(
    {"exp_avg", "exp_avg_sq", "max_exp_avg_sq", "exp_avg_diff", "exp_avg_sq_row"}
    | {"exp_avg_sq_col", "exp_inf", "momentum_buffer", "momentum", "square_avg", "grad_avg"}
    | {"acc_delta", "sum", "mu", "nu", "prev_grad", "step_size", "ax"}
)
_COUNTERS = frozenset({"step", "steps"})
_OPTIMIZER = re.compile(r"(chained_\d+\.)?optim(izer)?s?(_?\d+|_states?)?\.")
_MEGATRON = re.compile(r"(?:chained_\d+\.)?optimizer\.state\.(?P<moment>[a-z_0-9]+)\.(?P<name>.+)")
_FLAT = re.compile(r"(?:optim\w*\.)?state\.(?P<name>.+)\.(?P<moment>[A-Za-z_0-9]+)")
_STATES = frozenset(
    {"rng_state", "rng_states", "random_state", "random_states", "lr_scheduler", "lr_schedulers"}
    | {"opt_param_scheduler", "dataloader", "train_state", "param_groups", "grad_scaler"}
    | {"rerun_state_machine", "content_metadata", "num_floating_point_operations_so_far"}
)
"""First words of names under which no weights stand."""
_STATE_KEYS = _STATES | {
    "scheduler",
    "sampler",
    "scaler",
    "trainer",
    "args",
    "config",
    "extra_state",
}
"""The same for keys of the saved object; as words of a flat name they may be modules."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a tensor of that name is."""

    name: str
    """Under which it is reported."""
    part: Part
    parameter: str | None = None
    moment: str | None = None


def meaning_of(name: str, path: tuple[str, ...]) -> Meaning:
    """``path``: the keys that led to it in the saved object, or the name alone."""
    inner = _unwrapped(path)
    megatron = _MEGATRON.fullmatch(name)
    if megatron is not None and megatron["moment"] in _MOMENTS | _MASTERS | _COUNTERS:
        return _state(megatron["name"], megatron["moment"])
    if "state" in inner[:-2]:
        at = inner.index("state")
        return _state(inner[at + 1], ".".join(inner[at + 2 :]))
    flat = _FLAT.fullmatch(name)
    if flat is not None and flat["moment"] in _MOMENTS | _COUNTERS:
        return _state(flat["name"], flat["moment"])
    if _OPTIMIZER.match(name) or (len(inner) > 1 and inner[0] == "opt"):
        last = name.rpartition(".")[2]
        if last in _MASTERS:
            return Meaning(name, "master")
        return Meaning(name, "moment", moment=last) if last in _MOMENTS else Meaning(name, "state")
    if _is_state(inner) or name.endswith("_extra_state"):
        return Meaning(name, "state")
    return Meaning(".".join(inner), "parameter")


def _is_state(path: tuple[str, ...]) -> bool:
    if len(path) > 1 or "." not in path[0]:
        return path[0] in _STATE_KEYS
    return path[0].partition(".")[0] in _STATES


def _unwrapped(path: tuple[str, ...]) -> tuple[str, ...]:
    while len(path) > 1 and path[0] in _WRAPPERS:
        path = path[1:]
    return path


def _state(parameter: str, moment: str) -> Meaning:
    if moment in _MASTERS:
        return Meaning(f"{parameter}.master", "master", parameter)
    part: Part = "state" if moment in _COUNTERS else "moment"
    if moment in _COUNTERS:
        return Meaning(f"{parameter}.{moment}", part)
    return Meaning(f"{parameter}.{moment}", part, parameter, moment)
