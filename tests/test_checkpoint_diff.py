"""What changed from one checkpoint to another."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
import stfiles
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from stfiles import floats

from nanautopsy import inspect
from nanautopsy.checkpoint_diff import CheckpointDiff, TensorDiff, Unclear, compare
from nanautopsy.checkpoints.data_file import MemoryFile
from nanautopsy.checkpoints.formats import FORMATS
from nanautopsy.checkpoints.stored import Piece, StoredCheckpoint, StoredTensor
from nanautopsy.cli import nanautopsy
from nanautopsy.element_diff import ElementDiff, compare_elements
from nanautopsy.inspection import Inspection

NAN, INF = float("nan"), float("inf")


def diff_of(
    tmp_path: Path, before: dict[str, np.ndarray], after: dict[str, np.ndarray]
) -> CheckpointDiff:
    """The comparison of two safetensors files."""
    result = both(tmp_path, before, after)
    assert result.diff is not None
    return result.diff


def both(tmp_path: Path, before: dict[str, np.ndarray], after: dict[str, np.ndarray]) -> Inspection:
    old = stfiles.write(tmp_path / "step_1" / "model.safetensors", before)
    new = stfiles.write(tmp_path / "step_2" / "model.safetensors", after)
    return inspect(new, against=old)


def by_name(diff: CheckpointDiff) -> dict[str, TensorDiff]:
    return {tensor.name: tensor for tensor in diff.tensors}


# --- tensor by tensor -----------------------------------------------------------------------------


def test_the_same_is_identical(tmp_path: Path) -> None:
    tensors = {"a": floats(1, 2, NAN), "b": floats(0)}
    diff = diff_of(tmp_path, tensors, tensors)
    assert all(tensor.identical for tensor in diff.tensors)
    assert by_name(diff)["a"].elements == ElementDiff(0, 0.0, 0, None)


def test_what_came_went_and_changed(tmp_path: Path) -> None:
    before = {"gone": floats(1), "a": floats(1, -2), "shape": floats(1, 2), "type": floats(1)}
    after = {
        "new": floats(1),
        "a": floats(1, -6),
        "shape": floats(1, 2, 3),
        "type": np.array([1], np.float16),
    }
    diff = diff_of(tmp_path, before, after)
    tensors = by_name(diff)
    assert [t.name for t in diff.only_before] == ["gone"]
    assert [t.name for t in diff.only_after] == ["new"]
    assert tensors["shape"].reshaped and tensors["type"].reshaped
    assert tensors["shape"].why_not == "another format or shape"
    assert tensors["a"].growth == 3.0
    assert tensors["a"].elements == ElementDiff(1, 4.0, 0, (1,))
    assert not diff.damage


def test_what_turned_is_in_forward_order(tmp_path: Path) -> None:
    names = ["lm_head.weight", "model.layers.10.w", "model.layers.2.w", "model.embed.weight"]
    before = {name: floats(1, 2) for name in names}
    after = {name: floats(1, NAN) for name in names[:3]} | {names[3]: floats(1, 2)}
    result = both(tmp_path, before, after)
    assert result.diff is not None and result.failed
    assert [t.name for t in result.diff.turned] == [names[2], names[1], names[0]]
    assert by_name(result.diff)[names[1]].elements == ElementDiff(1, 0.0, 1, (1,))


def test_masks_and_healing_are_no_damage(tmp_path: Path) -> None:
    before = {"bias": floats(0.5, -INF), "w": floats(NAN)}
    after = {"bias": floats(0.25, -INF), "w": floats(1)}
    result = both(tmp_path, before, after)
    assert result.diff is not None
    assert result.diff.damage == () and not result.failed
    assert by_name(result.diff)["w"].healed


def test_wrappers_of_names_are_looked_through(tmp_path: Path) -> None:
    diff = diff_of(tmp_path, {"module.w": floats(1)}, {"_orig_mod.w": floats(1)})
    (tensor,) = diff.tensors
    assert tensor.name == "_orig_mod.w" and tensor.identical


def test_a_tensor_that_cannot_be_read_is_neither_new_nor_gone(tmp_path: Path) -> None:
    tensors = {"a": floats(1), "b": floats(*range(100))}
    old = stfiles.write(tmp_path / "step_1" / "model.safetensors", tensors)
    new = stfiles.write(tmp_path / "step_2" / "model.safetensors", tensors)
    new.write_bytes(new.read_bytes()[:-8])
    result = inspect(new, against=old)
    assert result.diff is not None
    names = {t.name for t in (*result.diff.only_before, *result.diff.only_after)}
    assert not names
    assert any("cut short" in problem.text for problem in result.problems)


def test_a_history_is_unclear(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        stfiles.write(tmp_path / f"step_{step}" / "model.safetensors", {"w": floats(step)})
    with pytest.raises(Unclear, match="3 checkpoints on one side"):
        inspect(tmp_path / "step_1", against=tmp_path)
    arguments = ["inspect", str(tmp_path / "step_1"), "--against", str(tmp_path)]
    result = CliRunner().invoke(nanautopsy, arguments)
    assert result.exit_code == 2
    assert "name one of them" in result.output


# --- the command ----------------------------------------------------------------------------------


def test_the_command_in_every_format(tmp_path: Path) -> None:
    both(tmp_path, {"a": floats(1), "b": floats(1)}, {"a": floats(NAN), "b": floats(4)})
    arguments = ["inspect", str(tmp_path / "step_2"), "--against", str(tmp_path / "step_1")]
    text = CliRunner().invoke(nanautopsy, [*arguments, "--exit-code"])
    assert text.exit_code == 1
    assert "TURNED NON-FINITE: 1 of 2 tensors" in text.stdout
    assert "1 -> 4" in text.stdout
    document = json.loads(CliRunner().invoke(nanautopsy, [*arguments, "--format", "json"]).stdout)
    assert document["verdict"] == "non-finite"
    assert document["diff"]["turned_nonfinite"] == ["a"]
    assert document["diff"]["tensors"][1]["max_abs_ratio"] == 4.0
    out = CliRunner().invoke(nanautopsy, [*arguments, "--format", "csv"]).stdout
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [row["nonfinite_after"] for row in rows] == ["1", "0"]
    assert rows[1]["largest_difference"] == "3.0"


def test_the_same_says_so(tmp_path: Path) -> None:
    both(tmp_path, {"a": floats(1)}, {"a": floats(1)})
    arguments = ["inspect", str(tmp_path / "step_2"), "--against", str(tmp_path / "step_1")]
    assert (
        "IDENTICAL: 1 tensor, every element equal"
        in CliRunner().invoke(nanautopsy, arguments).stdout
    )


# --- element by element ---------------------------------------------------------------------------


def stored(values: np.ndarray, dtype: str, *, big_endian: bool = False) -> StoredTensor:
    """A tensor in memory."""
    raw = values.byteswap() if big_endian else values
    shape = values.shape
    piece = Piece(MemoryFile("x", raw.tobytes()), 0, shape)
    return StoredTensor("t", dtype, shape, (piece,), big_endian=big_endian)


_ARRAYS = hnp.array_shapes(max_dims=3, max_side=6).flatmap(
    lambda shape: st.tuples(
        *(hnp.arrays(np.float32, shape, elements=st.floats(width=32)) for _ in range(2))
    )
)


@given(_ARRAYS, st.booleans())
def test_it_agrees_with_numpy(arrays: tuple[np.ndarray, np.ndarray], big_endian: bool) -> None:
    a, b = arrays
    found, why_not = compare_elements(stored(a, "F32"), stored(b, "F32", big_endian=big_endian))
    assert found is not None and not why_not
    changed = ~((a == b) | (np.isnan(a) & np.isnan(b)))
    assert found.differing == int(changed.sum())
    assert found.turned == int((np.isfinite(a) & ~np.isfinite(b)).sum())
    finite = np.isfinite(a) & np.isfinite(b)
    distance = np.abs(a[finite].astype(np.float64) - b[finite].astype(np.float64))
    if finite.any() and not (a.tobytes() == b.tobytes() and not big_endian):
        assert found.largest == distance.max()
    first = tuple(int(i) for i in np.argwhere(changed)[0]) if changed.any() else None
    assert found.first == first


@pytest.mark.parametrize("dtype", [name for name in FORMATS if FORMATS[name].bits >= 8])
def test_every_format_can_be_compared(dtype: str) -> None:
    format = FORMATS[dtype]
    width = format.bits // 8
    a = np.zeros((3, width), np.uint8)
    b = a.copy()
    b[1, 0] = 1
    pieces = [Piece(MemoryFile("x", data.tobytes()), 0, (3,)) for data in (a, b)]
    one, other = (StoredTensor("t", dtype, (3,), (piece,)) for piece in pieces)
    found, _ = compare_elements(one, other)
    assert found is not None and found.differing == 1 and found.first == (1,)


def test_slices_in_several_files_are_one_tensor() -> None:
    values = np.arange(10, dtype=np.float32)
    data = values.tobytes()
    pieces = (
        Piece(MemoryFile("r0", data[:16]), 0, (4,), origin=0, rank=0),
        Piece(MemoryFile("r1", data[16:]), 0, (6,), origin=4, rank=1),
    )
    spread = StoredTensor("t", "F32", (10,), pieces)
    changed = values.copy()
    changed[7] = 0
    found, _ = compare_elements(spread, stored(changed, "F32"))
    assert found == ElementDiff(1, 7.0, 0, (7,))


def test_what_does_not_lie_row_by_row_is_said() -> None:
    values = np.arange(6, dtype=np.float32)
    piece = Piece(MemoryFile("x", values.tobytes()), 0, (2, 3), strides=(1, 2))
    column_major = StoredTensor("t", "F32", (2, 3), (piece,))
    found, why_not = compare_elements(column_major, column_major)
    assert found is None and why_not == "its elements do not lie row by row"


def test_a_file_that_ends_early_is_said() -> None:
    values = np.arange(6, dtype=np.float32)
    short = StoredTensor("t", "F32", (6,), (Piece(MemoryFile("x", values.tobytes()[:9]), 0, (6,)),))
    found, why_not = compare_elements(short, stored(values, "F32"))
    assert found is None and "could be compared" in why_not


def test_scalars_and_empty_tensors() -> None:
    scalar = np.array(2.0, np.float32)
    found, _ = compare_elements(stored(scalar, "F32"), stored(scalar + 1, "F32"))
    assert found == ElementDiff(1, 1.0, 0, ())
    empty = StoredTensor("t", "F32", (0, 3), ())
    found, _ = compare_elements(empty, empty)
    assert found is not None and found.differing == 0


def test_large_tensors_are_compared_in_blocks() -> None:
    a = np.zeros(700_001, np.float32)
    b = a.copy()
    b[-1] = 5.0
    found, _ = compare_elements(stored(a, "F32"), stored(b, "F32"))
    assert found == ElementDiff(1, 5.0, 0, (700_000,))


def test_optimizer_state_beside_the_model_is_compared_too() -> None:
    def checkpoint(path: str, value: float, holds: str) -> StoredCheckpoint:
        tensor = stored(floats(value), "F32")
        name = "w" if holds == "model" else "w.exp_avg"
        named = StoredTensor(name, "F32", (1,), tensor.pieces)
        return StoredCheckpoint(path, "torch", 1, (named,), holds=holds)  # type: ignore[arg-type]

    sides = [
        [checkpoint("model.pt", value, "model"), checkpoint("optimizer.pt", value, "optimizer")]
        for value in (1.0, 2.0)
    ]
    diff = compare(*sides)
    assert [t.name for t in diff.tensors] == ["w", "w.exp_avg"]
    assert diff.before == diff.after == ("model.pt", "optimizer.pt")
