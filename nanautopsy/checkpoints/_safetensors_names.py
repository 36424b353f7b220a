"""What the names of safetensors files and of the tensors in them tell."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from nanautopsy.checkpoints.stored import Holds, Part, StoredTensor

EXTENSION = ".safetensors"
_SHARD = re.compile(
    r"(?:shard-(?P<rank>\d{1,6})-)?(?P<stem>.+?)[-_.]?(?P<number>\d{3,6})-of-(?P<total>\d{3,6})"
    r"(?P<variant>\.\w+)?\.safetensors"
)
_INDEX = re.compile(r"(?P<stem>.+)\.safetensors\.index(?P<variant>\.\w+)?\.json")
_MOMENT = re.compile(
    r"(?P<parameter>.+)[._/](?P<moment>exp_avg|exp_avg_sq|max_exp_avg_sq|momentum_buffer|"
    r"square_avg|exp_inf|mu|nu)"
)
_MOMENT_ENDS = ("exp_avg", "exp_avg_sq", "momentum_buffer", "square_avg", "exp_inf")
_STATE_STARTS = ("state", "optim")
_STATE = re.compile(r"(?:optim(?:izer)?[._/])?state[._/](?P<rest>.+)")


@dataclass(frozen=True, slots=True)
class Role:
    """What a tensor is, as its name says."""

    part: Part = "parameter"
    parameter: str | None = None
    moment: str | None = None
    index: int | None = None


_PLAIN = Role()


def group_of(name: str) -> str:
    """What a shard, its index and a single file of the same stem share."""
    found = _INDEX.fullmatch(name) or _SHARD.fullmatch(name)
    if found is not None:
        return found["stem"] + (found["variant"] or "")
    return name.removesuffix(EXTENSION)


def is_index(name: str) -> bool:
    """Whether a file is the index of a sharded save."""
    return _INDEX.fullmatch(name) is not None


def shard_numbers(path: str) -> tuple[int, int] | None:
    """(number, how many) of a shard."""
    found = _SHARD.fullmatch(path.rpartition("/")[2])
    return (int(found["number"]), int(found["total"])) if found else None


def rank_of(path: str) -> int | None:
    """The rank, from 0, whose part of the tensors a file of torch.distributed.checkpoint holds."""
    found = _SHARD.fullmatch(path.rpartition("/")[2])
    return int(found["rank"]) - 1 if found and found["rank"] and int(found["rank"]) else None


def role_of(name: str) -> Role:
    """Of an optimizer's tensor its moment, and the parameter by name or number."""
    if not name.startswith(_STATE_STARTS) and not name.endswith(_MOMENT_ENDS):
        return _PLAIN
    state = _STATE.fullmatch(name)
    found = _MOMENT.fullmatch(state["rest"] if state else name)
    if found is None or (state is None and found["moment"] in ("mu", "nu")):
        return Role("state") if state else _PLAIN
    parameter = found["parameter"]
    if parameter.isdecimal() and len(parameter) < 8:
        return Role("moment", None, found["moment"], int(parameter))
    return Role("moment", parameter, found["moment"])


def holds_of_files(path: str, tensors: Iterable[StoredTensor]) -> Holds:
    """What a checkpoint holds, by the name of its file and the parts of its tensors."""
    name = path.rpartition("/")[2]
    listed = list(tensors)
    if name.startswith("adapter"):
        return "adapter"
    if "optim" in name:
        return "optimizer"
    if not listed:
        return "unknown"
    state = sum(tensor.part in ("moment", "state") for tensor in listed)
    if state * 2 >= len(listed):
        return "optimizer"
    return "adapter" if all("lora" in tensor.name.lower() for tensor in listed) else "model"
