"""What a checkpoint holds before anything is measured: names, shapes, and where the bytes lie.

Readers of checkpoints yield one :class:`StoredCheckpoint` each, from headers and indices alone;
:mod:`nanautopsy.checkpoints.examine` decides which of them are measured, and how deeply.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from nanautopsy.checkpoints.data_file import DataFile

Holds: TypeAlias = Literal["model", "optimizer", "adapter", "unknown"]
Part: TypeAlias = Literal["parameter", "buffer", "master", "moment", "state"]
"""``master``: the fp32 copy that a mixed-precision optimizer steps. ``moment``: optimizer state of
one parameter. ``state``: any other tensor (random generators, schedulers, counters)."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Elements of one tensor that lie together in one file.

    The elements of a tensor may be spread over many pieces: a slice of a flattened parameter in
    each rank's file (DeepSpeed ZeRO), a box of it in each shard (torch.distributed.checkpoint).
    """

    file: DataFile
    offset: int
    """Byte of the piece's first element (index 0 in every dimension)."""
    shape: tuple[int, ...]
    """Of this piece."""
    strides: tuple[int, ...] | None = None
    """Distance between neighbors of each dimension, in elements, never negative; 0 repeats one
    element. ``None``: row-major without gaps."""
    origin: tuple[int, ...] | int = 0
    """Where the piece begins in the whole tensor. A tuple: the corner of a box with as many
    dimensions as the tensor. An integer: the row-major index of its first element; the others
    follow it."""
    rank: int | None = None
    """The rank that wrote it, where its file's name or content says."""


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor that can be measured."""

    name: str
    """As the artifact names it. Optimizer state whose parameter is known:
    ``<parameter>.<moment>``, otherwise ``state.<index>.<moment>``."""
    dtype: str
    """A key of :data:`nanautopsy.checkpoints.formats.FORMATS`."""
    shape: tuple[int, ...]
    pieces: tuple[Piece, ...]
    """Disjoint; together the tensor, unless some are lost. Empty for a tensor of no elements."""
    part: Part = "parameter"
    parameter: str | None = None
    """Name of the parameter that a ``master`` or ``moment`` belongs to, where it is known."""
    moment: str | None = None
    """``exp_avg``, ``exp_avg_sq``, ``momentum_buffer``, ``mu``, ... as the artifact calls it."""
    index: int | None = None
    """Number of the parameter in the optimizer's own count, where only that is stated."""
    big_endian: bool = False

    @property
    def numel(self) -> int:
        """Number of elements."""
        count = 1
        for size in self.shape:
            count *= size
        return count


@dataclass(frozen=True, slots=True)
class StoredCheckpoint:
    """The tensors that were saved at one moment, not yet looked at."""

    path: str
    """Relative path of its file, or of the directory that holds its files."""
    kind: str
    """Container format: ``safetensors``, ``torch``, ``deepspeed-zero``, ``npz``, ..."""
    step: int | None
    """From a directory or file name, or from content; ``None`` when nothing says."""
    tensors: tuple[StoredTensor, ...]
    """Names are unique."""
    holds: Holds = "model"
    missing: tuple[str, ...] = ()
    """Names of tensors that should be there and cannot be read."""
    state: Mapping[str, str | int | float | bool | None] = field(default_factory=dict)
    """Numbers that the checkpoint states beside its tensors, under these names where it has
    them: ``loss_scale``, ``skipped_steps``, ``overflow``, ``global_step``, ``epoch``,
    ``learning_rate``, ``loss``, ``growth_tracker``, ``last_epoch``, ``world_size``,
    ``zero_stage``."""
    groups: tuple[int, ...] = ()
    """How many parameters each group of its optimizer counts, in order, where that is stated."""
