"""What the tensors of a saved tree are, from their paths: parameters, moments or other state.

JAX programs save nested mappings: ``params/...`` beside ``opt_state/0/mu/...``, whose leaves repeat
the parameters' own paths behind ``mu`` (optax) or before ``grad_ema`` (the old flax.optim, t5x).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from nanautopsy.checkpoints.formats import FORMATS
from nanautopsy.checkpoints.stored import Holds, Part, StoredTensor

_MOMENTS = frozenset(
    {"mu", "nu", "nu_max", "m", "v", "v_row", "v_col", "trace", "ema", "acc_grads", "velocity"}
    | {"exp_avg", "exp_avg_sq", "max_exp_avg_sq", "momentum", "momentum_buffer", "square_avg"}
    | {"grad_ema", "grad_sq_ema", "sum_of_squares", "accumulator", "momentums", "velocities"}
)
_OPTIMIZERS = frozenset(
    {"opt", "optim", "optimizer", "opt_state", "opt_states", "optimizer_state", "optimizer_states"}
    | {"optimizer_weights", "param_states", "optstate"}
)
_BUFFER_ENDS = frozenset({"moving_mean", "moving_variance", "seed_generator_state"})
_BUFFERS = frozenset({"batch_stats", "buffers", "batch_norm_stats"})
_STATE = frozenset(
    {"step", "steps", "epoch", "count", "chrono", "rng", "rngs", "key", "prng", "dropout_rng"}
    | {"iter", "iteration", "global_step", "data", "loss_scale", "dynamic_scale", "seed", "metrics"}
    | {"lr", "learning_rate", "update", "updates"}
)
_PARAMETERS = frozenset({"params", "param", "target", "model", "model_weights", "layers"})
_PARAMETER_ENDS = frozenset(
    {"kernel", "weight", "weights", "bias", "scale", "embedding", "embeddings", "gamma", "beta"}
    | {"w", "b", "recurrent_kernel", "depthwise_kernel", "moving_mean", "moving_variance", "cls"}
)
_MOST_DROPPED = 4
"""Levels above a parameter's module that its moments may lack."""

_MOST_LEVELS = 40
_MOST_DATA_BYTES = 256 << 20
"""Arrays without names of parameters are read as far as a moment suffices for it."""

Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Role:
    part: Part
    moment: str | None = None
    parameter: str | None = None


def with_roles(tensors: Sequence[tuple[Path, StoredTensor]]) -> tuple[StoredTensor, ...]:
    """The tensors with part, moment and parameter told from their paths."""
    kinds = [_kind(path, tensor) for path, tensor in tensors]
    owners = _suffixes(
        (path, tensor.name)
        for (path, tensor), kind in zip(tensors, kinds, strict=True)
        if kind == "parameter"
    )
    roles = [
        _in_optimizer(path, owners) if kind is None else _Role(kind)
        for (path, _), kind in zip(tensors, kinds, strict=True)
    ]
    return tuple(
        replace(tensor, part=role.part, moment=role.moment, parameter=role.parameter)
        for (_, tensor), role in zip(tensors, roles, strict=True)
    )


def like_parameters(paths: Iterable[Path]) -> bool:
    """Whether at least half of the names are such as programs give to parameters."""
    answers = [_like_parameter(tuple(part.lower() for part in path)) for path in paths]
    return 2 * sum(answers) >= len(answers) > 0


def holds_of(tensors: Sequence[StoredTensor]) -> Holds:
    """A tree with parameters holds a model, whatever lies beside them."""
    parts = {tensor.part for tensor in tensors}
    if parts & {"parameter", "buffer"}:
        return "model"
    return "optimizer" if "moment" in parts else "unknown"


def too_much_data(tensors: Iterable[StoredTensor]) -> str | None:
    """Why arrays that are likely data are left unread; ``None`` where reading them costs little."""
    nbytes = sum(FORMATS[tensor.dtype].nbytes(tensor.numel) for tensor in tensors)
    if nbytes <= _MOST_DATA_BYTES:
        return None
    return f"{nbytes} bytes of arrays without names of parameters: taken for data, not read"


def _like_parameter(path: Path) -> bool:
    if any(part in _OPTIMIZERS or part in ("params", "batch_stats") for part in path):
        return True
    words = path[-1].replace("-", "_").replace(".", "_").split("_") if path else []
    last = words[-1].partition(":")[0] if words else ""
    # A bare "weights" or "w" is as often a column of data as a parameter of a module.
    qualified = len(path) > 1 or len(words) > 1
    return last in _PARAMETER_ENDS and (qualified or last in ("kernel", "bias"))


def _kind(path: Path, tensor: StoredTensor) -> Part | None:
    """The part of a tensor outside the optimizer's state; ``None`` inside."""
    lower = [part.lower() for part in path]
    if lower and lower[0] in _OPTIMIZERS and "target" in lower[1:3]:
        return "parameter"
    inner = {"opt_state", "opt_states", "optimizer_state", "optimizer_states", "param_states"}
    if lower and (lower[0] in _OPTIMIZERS or inner.intersection(lower)):
        return None
    if _BUFFERS.intersection(lower[:2]) or (lower and lower[-1] in _BUFFER_ENDS):
        return "buffer"
    if not lower or lower[0] in _STATE or lower[-1] in ("step", "count", "rng"):
        return "state"
    return "parameter" if FORMATS[tensor.dtype].maximum is not None else "buffer"


def _suffixes(parameters: Iterable[tuple[Path, str]]) -> Mapping[Path, str | None]:
    """The parameter that each end of a path means; ``None`` where several compete."""
    owners: dict[Path, tuple[int, str | None]] = {}
    for path, name in parameters:
        for dropped in range(min(len(path), _MOST_DROPPED + 1)):
            end = path[dropped:]
            # An average of the weights beside them has the same ends.
            rank = dropped if not dropped or path[0].lower() in _PARAMETERS else dropped + 100
            known = owners.get(end)
            if known is None or rank < known[0]:
                owners[end] = (rank, name)
            elif rank == known[0]:
                owners[end] = (rank, None)
    return {end: name for end, (_, name) in owners.items()}


def _in_optimizer(path: Path, owners: Mapping[Path, str | None]) -> _Role:
    found = _Role("state")
    for i, part in enumerate(path):
        if part.lower() not in _MOMENTS:
            continue
        behind = path[i + 1 :]
        if behind:
            owner = owners.get(behind)
        else:
            ends = (owners.get(path[start:i]) for start in range(max(0, i - _MOST_LEVELS), i))
            owner = next((name for name in ends if name), None)
        if owner:
            return _Role("moment", part, owner)
        if found.moment is None and i:
            found = _Role("moment", part)
    return found
