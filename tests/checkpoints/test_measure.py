"""Tensors in any number of pieces, laid out in any way, against the same tensor in one."""

from __future__ import annotations

import io
import itertools
import math
import zlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stored_tensors import check, judge, measured, troubled, whole

from nanautopsy.checkpoints._decoded_file import DecodedFile
from nanautopsy.checkpoints.data_file import LocalFile, MemoryFile
from nanautopsy.checkpoints.kernel import layout, plan
from nanautopsy.checkpoints.measure import measure_all
from nanautopsy.checkpoints.stored import Piece, StoredTensor
from nanautopsy.model import Depth, Problem, TensorHealth

depths = st.sampled_from(("finite", "full"))
SPECIAL = (1.0, -2.5, 0.0, 1e-41, math.nan, math.inf, -math.inf)


@pytest.fixture(params=["as in use", "blocks of 64 elements"])
def block_size(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the smallest blocks, a few hundred elements pass through every path."""
    if request.param != "as in use":
        monkeypatch.setattr(layout, "BLOCK_BYTES", 512)
        monkeypatch.setattr(layout, "_FAR_BYTES", 100)
        monkeypatch.setattr(plan, "JOB_BYTES", 1024)
        monkeypatch.setattr(plan, "_CALL_BYTES", 64)
        monkeypatch.setattr(plan, "SMALL_ELEMENTS", 8)


@st.composite
def arrays(draw: st.DrawFn, max_side: int = 9) -> np.ndarray:
    """Mostly ones, some special values, in up to four dimensions."""
    shape = tuple(draw(st.lists(st.integers(1, max_side), min_size=1, max_size=4)))
    array = np.ones(math.prod(shape), dtype=np.float32)
    for _ in range(draw(st.integers(0, 4))):
        begin = draw(st.integers(0, array.size - 1))
        array[begin : begin + draw(st.sampled_from([1, 3, 40]))] = draw(st.sampled_from(SPECIAL))
    return array.reshape(shape)


# --- one piece ----------------------------------------------------------------------------------


@pytest.mark.usefixtures("block_size")
def test_views_with_any_strides() -> None:
    @given(data=st.data(), array=arrays(), depth=depths)
    @settings(max_examples=150, deadline=None)
    def compare(data: st.DataObject, array: np.ndarray, depth: Depth) -> None:
        view = array
        for axis, size in enumerate(array.shape):
            step = data.draw(st.integers(1, 3))
            begin = data.draw(st.integers(0, size - 1))
            index = (slice(None),) * axis + (slice(begin, None, step),)
            view = view[index]
        view = view.transpose(data.draw(st.permutations(range(view.ndim))))
        if data.draw(st.booleans()):
            axis = data.draw(st.integers(0, view.ndim))
            view = np.expand_dims(view, axis)
            times = data.draw(st.sampled_from([1, 2, 5]))
            shape = (*view.shape[:axis], times, *view.shape[axis + 1 :])
            view = np.broadcast_to(view, shape)
        offset = view.__array_interface__["data"][0] - array.__array_interface__["data"][0]
        strides = tuple(s // 4 for s in view.strides)
        raw = array.tobytes()
        check(
            measured(whole(raw, "F32", view.shape, offset=offset, strides=strides), depth),
            view.astype(np.float64),
        )

    compare()


@pytest.mark.usefixtures("block_size")
@pytest.mark.parametrize("depth", ["finite", "full"])
@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.complex64])
def test_large_transposes_and_gaps(dtype: type, depth: Depth) -> None:
    array = np.ones((300, 700), dtype=dtype)
    array[7, 650] = np.nan
    array[250, 3] = np.inf
    name = {np.float32: "F32", np.float16: "F16", np.complex64: "C64"}[dtype]
    for view in (
        array.T,
        array[:, 640:],
        array[::3, ::5].T,
        array[249::2],
        np.asfortranarray(array),
    ):
        base = view if view.base is None else array
        size = view.itemsize
        raw = base.tobytes(order="A")
        offset = view.__array_interface__["data"][0] - base.__array_interface__["data"][0]
        strides = tuple(s // size for s in view.strides)
        got = measured(whole(raw, name, view.shape, offset=offset, strides=strides), depth)
        expected = judge(np.ascontiguousarray(view), name, depth)
        assert replace(got, rms=None) == replace(expected, rms=None)
        if depth == "full":
            assert got.rms == pytest.approx(expected.rms, rel=1e-6)


@pytest.mark.parametrize("shape", [(3000, 700), (700, 3000), (70, 100, 300)])
def test_damage_throughout_a_column_major_tensor(shape: tuple[int, ...]) -> None:
    strides = tuple(reversed(layout.row_major_strides(shape[::-1])))
    array = np.full(math.prod(shape), np.nan, dtype=np.float16)
    got = measured(whole(array.tobytes(), "F16", shape, strides=strides), "finite")
    assert got.nan == got.numel and got.first_nonfinite == (0,) * len(shape)
    assert got.bad_rows is not None and got.bad_rows.whole
    assert got.bad_rows.ranges == ((0, shape[0]),)
    array[: 600_000 - 5] = 1.0
    later = measured(whole(array.tobytes(), "F16", shape, strides=strides), "full")
    check(later, array.reshape(shape[::-1]).transpose().astype(np.float64))


def test_an_expanded_tensor_of_any_size_is_one_row() -> None:
    row = np.array([1, np.nan, 0, 3], dtype=np.float32).tobytes()
    got = measured(whole(row, "F32", (10**12, 4), strides=(0, 1)))
    assert (got.nan, got.zero, got.first_nonfinite) == (10**12, 10**12, (0, 1))
    assert got.rms == pytest.approx(math.sqrt(10 / 3))
    some = measured(whole(row, "F32", (5, 4), strides=(0, 1)))
    assert some.bad_rows is not None
    assert some.bad_rows.ranges == ((0, 5),) and not some.bad_rows.whole


# --- several pieces -----------------------------------------------------------------------------


@st.composite
def cuts(draw: st.DrawFn, size: int) -> list[tuple[int, int]]:
    places = sorted(draw(st.sets(st.integers(0, size), max_size=3)) | {0, size})
    return [(a, b) for a, b in itertools.pairwise(places)]


def file_of(array: np.ndarray, number: int) -> MemoryFile:
    return MemoryFile(f"rank{number}", array.tobytes())


@pytest.mark.usefixtures("block_size")
def test_boxes_in_several_files() -> None:
    @given(data=st.data(), array=arrays(), depth=depths)
    @settings(max_examples=100, deadline=None)
    def compare(data: st.DataObject, array: np.ndarray, depth: Depth) -> None:
        boxes = itertools.product(*(data.draw(cuts(size)) for size in array.shape))
        pieces = []
        for number, box in enumerate(data.draw(st.permutations(list(boxes)))):
            part = array[tuple(slice(a, b) for a, b in box)]
            corner = tuple(a for a, _ in box)
            stored, strides = part, None
            if data.draw(st.booleans()):  # column-major
                stored = part.T
                strides = tuple(s // 4 for s in np.asfortranarray(part).strides)
            pieces.append(Piece(file_of(stored, number), 0, part.shape, strides, corner, number))
        tensor = StoredTensor("t", "F32", array.shape, tuple(pieces))
        compare_pieces(tensor, array, depth)

    compare()


@pytest.mark.usefixtures("block_size")
def test_slices_of_the_flattened_tensor() -> None:
    @given(data=st.data(), array=arrays(), depth=depths)
    @settings(max_examples=100, deadline=None)
    def compare(data: st.DataObject, array: np.ndarray, depth: Depth) -> None:
        flat = array.reshape(-1)
        parts = data.draw(st.permutations(data.draw(cuts(flat.size))))
        pieces = [
            Piece(file_of(flat[a:b], n), 0, (b - a,), None, a, n) for n, (a, b) in enumerate(parts)
        ]
        compare_pieces(StoredTensor("t", "F32", array.shape, tuple(pieces)), array, depth)

    compare()


def compare_pieces(tensor: StoredTensor, array: np.ndarray, depth: Depth) -> None:
    got = measured(tensor, depth)
    check(got, array.astype(np.float64))
    assert got.path == f"rank{got.rank}"
    if got.first_nonfinite is None:
        return
    flat = int(np.ravel_multi_index(got.first_nonfinite, array.shape))
    (piece,) = [p for p in tensor.pieces if p.rank == got.rank]
    if isinstance(piece.origin, int):
        assert piece.origin <= flat < piece.origin + piece.shape[0]
    else:
        corner = zip(got.first_nonfinite, piece.origin, piece.shape, strict=True)
        assert all(o <= i < o + n for i, o, n in corner)


def test_an_expanded_slice_tells_no_rows() -> None:
    raw = np.array([np.nan], dtype=np.float32).tobytes()
    piece = Piece(MemoryFile("f", raw), 0, (6,), (0,), 3)
    ones = Piece(MemoryFile("g", np.ones(3, dtype=np.float32).tobytes()), 0, (3,), None, 0)
    got = measured(StoredTensor("t", "F32", (3, 3), (ones, piece)))
    assert got.nan == 6 and got.first_nonfinite == (1, 0) and got.bad_rows is None


# --- what cannot be read ------------------------------------------------------------------------


@pytest.mark.parametrize("count", [10, 200_000])
def test_a_tensor_cut_short_is_measured_as_far_as_it_goes(count: int) -> None:
    array = np.zeros(count, dtype=np.float32)
    raw = array.tobytes()[:-10]
    problem, health = troubled(whole(raw, "F32", (count,), path="a/b", name="x.y"), "finite")
    assert "'x.y'" in problem.text and f"3 of {count} elements" in problem.text
    assert (problem.source.path, problem.source.tensor, problem.source.offset) == ("a/b", "x.y", 0)
    assert health is not None and health.zero == count - 3 and health.depth == "full"
    assert not health.all_zero


def test_nothing_of_a_tensor_lies_in_the_file() -> None:
    problem, health = troubled(whole(b"1234", "F32", (3,), offset=400))
    assert health is None and "3 of 3 elements" in problem.text
    assert problem.source.offset == 400


def test_a_lost_piece_leaves_the_others() -> None:
    ones = np.ones(4, dtype=np.float32).tobytes()
    bad = np.array([1, np.inf, 1, 1], dtype=np.float32).tobytes()
    pieces = (
        Piece(MemoryFile("r0", ones), 0, (4,), None, 0, 0),
        Piece(LocalFile("r1", Path("/nonexistent/r1")), 0, (4,), None, 4, 1),
        Piece(MemoryFile("r2", bad), 0, (4,), None, 8, 2),
    )
    problem, health = troubled(StoredTensor("t", "F32", (12,), pieces), "finite")
    assert problem.source.path == "r1" and "4 of 12 elements" in problem.text
    assert health is not None and health.pos_inf == 1 and health.depth == "full"
    assert (health.first_nonfinite, health.path, health.rank) == ((9,), "r2", 2)
    unlisted = StoredTensor("t", "F32", (12,), pieces[:1])
    assert measured(unlisted, "finite").depth == "full"


@dataclass(frozen=True)
class ShrinkingFile:
    """Claims more than it gives."""

    path: str = "far"
    size: int = 10**9

    def open(self) -> io.BytesIO:
        return io.BytesIO(bytes(4000))


@dataclass(frozen=True)
class BrokenFile:
    """Fails in a library's own way."""

    path: str = "far"
    size: int = 10**9

    def open(self) -> io.BytesIO:
        raise KeyError("connection\nlost")


@pytest.mark.parametrize("count", [2000, 2_000_000])
def test_files_that_fail_while_read(count: int) -> None:
    tensor = StoredTensor("t", "F32", (count,), (Piece(ShrinkingFile(), 0, (count,)),))
    problem, health = troubled(tensor, "finite")
    assert health is None and "ends at byte 4000" in problem.text
    tensor = StoredTensor("t", "F32", (count,), (Piece(BrokenFile(), 0, (count,)),))
    problem, health = troubled(tensor)
    assert health is None and "connection" in problem.text and "\n" not in problem.text


def test_tensors_that_cannot_be_what_they_say() -> None:
    file = MemoryFile("f", bytes(400))
    for shape, piece in (
        ((4,), Piece(file, 0, (5,))),  # more than the tensor
        ((4,), Piece(file, 0, (2,), None, 3)),  # past its end
        ((4,), Piece(file, 0, (2,), None, -1)),
        ((4, 4), Piece(file, 0, (2, 2), None, (3, 0))),
        ((4, 4), Piece(file, 0, (2, 2), None, (0,))),
        ((4, 4), Piece(file, 0, (4, 4), (4,))),
        ((4, 4), Piece(file, 0, (4, 4), (-4, 1))),
        ((4, 4), Piece(file, -8, (4, 4))),
        ((4, 4), Piece(file, 0, (-4, -4))),
        ((4, 4), Piece(file, 0, (4, 4), (1, 1))),  # elements overlap
        ((2**40, 2**40), Piece(file, 0, (2**40, 2**40), (0, 0))),
    ):
        problem, health = troubled(StoredTensor("t", "F32", shape, (piece,)))
        assert health is None and problem.source.path == "f" and "\n" not in problem.text
    gapped = StoredTensor("t", "F4", (4, 4), (Piece(file, 0, (4, 4), (8, 1)),))
    assert troubled(gapped)[1] is None
    unknown = StoredTensor("t", "F5", (4,), (Piece(file, 0, (4,)),))
    assert "F5" in troubled(unknown)[0].text
    nowhere = StoredTensor("t", "F32", (4,), ())
    assert "none of it" in troubled(nowhere)[0].text


@given(
    shape=st.lists(st.integers(-2, 2**62), max_size=4),
    strides=st.none() | st.lists(st.integers(-1, 2**62), max_size=4),
    origin=st.integers(-3, 2**62) | st.lists(st.integers(-1, 9), max_size=4),
    offset=st.integers(-9, 2**62),
    dtype=st.sampled_from(["F32", "F16", "F4", "F6_E2M3", "C64", "I8"]),
    inside=st.booleans(),
)
@settings(max_examples=300, deadline=2000)
def test_any_numbers_are_survived(
    shape: list[int],
    strides: list[int] | None,
    origin: int | list[int],
    offset: int,
    dtype: str,
    inside: bool,
) -> None:
    if inside:
        shape, offset = [size % 9 for size in shape], offset % 500
        strides = None if strides is None else [step % 20 for step in strides]
    where = origin if isinstance(origin, int) else tuple(origin)
    steps = None if strides is None else tuple(strides)
    piece = Piece(MemoryFile("f", bytes(900)), offset, tuple(shape), steps, where)
    for whole_shape in (tuple(shape), (9, *shape)):
        for result in measure_all([StoredTensor("t", dtype, whole_shape, (piece,))], "full"):
            assert isinstance(result, (TensorHealth, Problem))


# --- many tensors -------------------------------------------------------------------------------


def mixed_file(folder: Path) -> tuple[Path, list[StoredTensor], list[np.ndarray]]:
    """Large, middling and tiny tensors, with odd gaps, some damaged."""
    generator = np.random.default_rng(3)
    path = folder / "weights"
    file = LocalFile("weights", path)
    arrays, tensors = [], []
    with open(path, "wb") as out:
        for number in range(400):
            shape = [(1100, 700), (33, 50), (7,), (), (2, 0, 3), (4, 5, 6), (90, 90)][number % 7]
            array = np.asarray(generator.standard_normal(shape)).astype(np.float16)
            if number % 10 == 3 and array.ndim:
                array[..., -1:] = np.nan
            out.write(b"x" * int(generator.integers(0, 3)))
            piece = Piece(file, out.tell(), array.shape)
            tensors.append(StoredTensor(f"t{number}", "F16", array.shape, (piece,)))
            arrays.append(array)
            out.write(array.tobytes())
    return path, tensors, arrays


@pytest.mark.parametrize("depth", ["finite", "full"])
def test_order_and_last_bit_on_any_number_of_threads(tmp_path: Path, depth: Depth) -> None:
    _, tensors, arrays = mixed_file(tmp_path)
    order = np.random.default_rng(1).permutation(len(tensors)).tolist()
    tensors = [tensors[i] for i in order]
    told: list[int] = []
    alone = list(measure_all(tensors, depth, told.append, threads=1))
    for number, result in zip(order, alone, strict=True):
        assert isinstance(result, TensorHealth) and result.name == f"t{number}"
        check(result, arrays[number].astype(np.float64))
    assert sum(told) == sum(array.nbytes for array in arrays)
    for threads in (2, 5):
        assert list(measure_all(tensors, depth, threads=threads)) == alone


def test_shared_storage_is_read_once(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(np.full(200_000, np.nan, dtype=np.float32).tobytes())
    opened: list[str] = []

    @dataclass(frozen=True)
    class Watched(LocalFile):
        def open(self):  # type: ignore[no-untyped-def]
            opened.append(self.path)
            return LocalFile.open(self)

    tensors = [
        StoredTensor(name, "F32", (200, 1000), (Piece(Watched("f", path), 0, (200, 1000)),), part)
        for name, part in (("embed.weight", "parameter"), ("head.weight", "buffer"))
    ]
    told: list[int] = []
    first, second = measure_all(tensors, "full", told.append)
    assert isinstance(second, TensorHealth) and second.name == "head.weight"
    assert second.part == "buffer" and second.nan == 200_000
    assert first == replace(second, name="embed.weight", part="parameter")
    assert opened == ["f"] and sum(told) == 1_600_000


def test_facts_of_the_stored_tensor_are_kept() -> None:
    tensor = replace(whole(bytes(4), "F32", (1,)), part="moment", parameter="a.b", moment="exp_avg")
    got = measured(tensor)
    assert (got.part, got.parameter, got.moment) == ("moment", "a.b", "exp_avg")


def test_an_abandoned_measurement_ends(tmp_path: Path) -> None:
    _, tensors, _ = mixed_file(tmp_path)
    results = measure_all(tensors, "full", threads=2)
    next(results)
    results.close()


def test_a_compressed_tensor_is_decompressed_once() -> None:
    array = np.ones(10_000_000, dtype=np.float32)
    array[9_000_000] = np.nan
    packed = zlib.compress(array.tobytes(), 1)
    opened: list[int] = []

    @dataclass(frozen=True)
    class Watched(MemoryFile):
        def open(self):  # type: ignore[no-untyped-def]
            opened.append(1)
            return MemoryFile.open(self)

    file = DecodedFile(Watched("f", packed), 0, len(packed), "zlib", array.nbytes)
    tensor = StoredTensor("t", "F32", array.shape, (Piece(file, 0, array.shape),))
    (got,) = measure_all([tensor], "full", threads=3)
    assert isinstance(got, TensorHealth) and got.first_nonfinite == (9_000_000,)
    assert len(opened) == 1
