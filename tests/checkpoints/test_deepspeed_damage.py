"""DeepSpeed checkpoints with files lost, cut short, overwritten or left by another save."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rankfiles import by_name, checkpoint_of, copied, records_in, texts_of
from reading import of_type, problems_of, read_artifact

from nanautopsy.checkpoints.deepspeed_zero import READER
from nanautopsy.checkpoints.stored import StoredCheckpoint
from nanautopsy.discover import discover
from nanautopsy.model import Checkpoint, Record, Skipped

FIXTURES = Path(__file__).parents[1] / "fixtures" / "deepspeed"
TAG = "global_step3"
RANK_1 = "bf16_zero_pp_rank_1_mp_rank_00_optim_states.pt"
RANK_0 = RANK_1.replace("rank_1", "rank_0", 1)
MODEL = "mp_rank_00_model_states.pt"


def copy_of(name: str, folder: Path) -> Path:
    return copied(FIXTURES / name, folder)


def records_of(run: Path) -> list[Record]:
    return records_in(READER, run, TAG + "/")


def test_a_missing_rank_costs_its_own_elements_only(tmp_path: Path) -> None:
    run = copy_of("zero2-bf16-planted", tmp_path)
    (run / TAG / RANK_0).unlink()
    records = records_of(run)
    checkpoint = checkpoint_of(records)
    assert texts_of(records)[0] == "no readable optimizer file of rank 0 of 2"
    assert "a.weight.master' with 7 of 35" in texts_of(records)[1]
    # a.weight begins on rank 0 and ends on rank 1; gain and a.bias lie on rank 0 alone.
    lost = {f"{p}.{k}" for p in ("gain", "a.bias") for k in ("master", "exp_avg", "exp_avg_sq")}
    assert set(checkpoint.missing) == lost
    planted = by_name(checkpoint)["b.weight.master"]
    assert (planted.first_nonfinite, planted.rank) == ((1, 4), 1)
    weights = {t.name for t in checkpoint.tensors if t.part == "parameter"}
    assert len(weights) == 7


def test_the_last_rank_alone_is_still_mapped(tmp_path: Path) -> None:
    """Its vectors are stored without their padding, so that they do not say how long a part is."""
    run = copy_of("zero1-elastic", tmp_path)
    (run / TAG / "zero_pp_rank_0_mp_rank_00_optim_states.pt").unlink()
    whole = by_name(checkpoint_of(records_of(FIXTURES / "zero1-elastic")))
    tensors = by_name(checkpoint_of(records_of(run)))
    for name in ("b.weight.master", "norm.bias.exp_avg", "b.bias.exp_avg_sq"):
        assert tensors[name].max_abs == whole[name].max_abs


def test_a_missing_rank_of_stage_three(tmp_path: Path) -> None:
    run = copy_of("zero3-bf16-planted", tmp_path)
    (run / TAG / RANK_0).unlink()
    checkpoint = checkpoint_of(records_of(run))
    planted = by_name(checkpoint)["b.weight.master"]
    assert (planted.first_nonfinite, planted.rank) == ((1, 4), 1)
    # Of a single element, the second rank holds padding alone.
    assert set(checkpoint.missing) == {"gain.master", "gain.exp_avg", "gain.exp_avg_sq"}


def test_stage_three_without_optimizer_files_has_lost_its_weights(tmp_path: Path) -> None:
    run = copy_of("zero3-bf16-planted", tmp_path)
    for path in (run / TAG).glob("*optim_states.pt"):
        path.unlink()
    records = records_of(run)
    assert len(checkpoint_of(records).missing) == 7
    assert texts_of(records) == ["the optimizer files, which hold all 7 weights, are not here"]


def test_a_file_of_a_larger_save_is_not_mixed_in(tmp_path: Path) -> None:
    run = copy_of("zero2-bf16-planted", tmp_path)
    shutil.copy(run / TAG / RANK_1, run / TAG / RANK_1.replace("rank_1", "rank_2", 1))
    records = records_of(run)
    text = "is of rank 2, but 2 ranks share the state: left by another save, not used"
    assert texts_of(records) == [text]
    assert by_name(checkpoint_of(records)) == by_name(
        checkpoint_of(records_of(FIXTURES / "zero2-bf16-planted"))
    )


def test_without_param_shapes_the_slice_mappings_name_the_parameters(tmp_path: Path) -> None:
    run = copy_of("zero2-bf16-planted", tmp_path)
    (run / TAG / MODEL).unlink()
    records = records_of(run)
    planted = by_name(checkpoint_of(records))["b.weight.master"]
    # The shape is told by the lost file alone.
    assert (planted.shape, planted.first_nonfinite, planted.rank) == ((21,), (11,), 1)


def test_round_robin_mappings_are_not_believed(tmp_path: Path) -> None:
    run = copy_of("zero2-round-robin", tmp_path)
    (run / TAG / MODEL).unlink()
    records = records_of(run)
    (text,) = texts_of(records)
    assert text.startswith(
        "optimizer group 0: which parameter each element belongs to is not known"
    )
    (bad,) = [t for t in checkpoint_of(records).nonfinite if t.part == "master"]
    assert (bad.name, bad.parameter, bad.nonfinite) == ("group.0.master", None, 1)


def test_a_map_that_the_weights_deny_is_not_used(tmp_path: Path) -> None:
    """Weights of another save: names and shapes agree, numbers do not."""
    run = copy_of("zero2-bf16-planted", tmp_path)
    (artifact,) = discover(run, [READER]).artifacts
    (stored,) = of_type(READER.read(artifact), StoredCheckpoint)
    path = run / TAG / MODEL
    data = bytearray(path.read_bytes())
    for tensor in stored.tensors:
        if tensor.part == "parameter":
            begin = tensor.pieces[0].offset
            data[begin : begin + 2 * tensor.numel] = bytes(range(2 * tensor.numel))
    path.write_bytes(data)
    records = records_of(run)
    assert [text.partition(": ")[0] for text in texts_of(records)] == [
        "optimizer group 0",
        "optimizer group 1",
    ]
    assert all("the weights differ from" in text for text in texts_of(records))
    masters = [t for t in checkpoint_of(records).tensors if t.part == "master"]
    assert [(t.name, t.parameter, t.nan) for t in masters] == [
        ("group.0.master", None, 1),
        ("group.1.master", None, 0),
    ]


def test_one_weight_that_differs_is_no_wrong_map(tmp_path: Path) -> None:
    run = copy_of("zero2-bf16-planted", tmp_path)
    (artifact,) = discover(run, [READER]).artifacts
    (stored,) = of_type(READER.read(artifact), StoredCheckpoint)
    (bias,) = [t for t in stored.tensors if t.name == "a.bias"]
    path = run / TAG / MODEL
    data = bytearray(path.read_bytes())
    data[bias.pieces[0].offset] ^= 0x80
    path.write_bytes(data)
    records = records_of(run)
    assert texts_of(records) == []
    assert "b.weight.master" in by_name(checkpoint_of(records))


@pytest.mark.parametrize("name", ["empty", "pointer", "list", "text"])
def test_a_file_that_is_none_is_one_problem(tmp_path: Path, name: str) -> None:
    run = copy_of("zero2-bf16-planted", tmp_path)
    content = {
        "empty": b"",
        "pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 5957\n",
        "list": b"\x80\x02]q\x00.",
        "text": b"this is not a checkpoint\n",
    }[name]
    (run / TAG / RANK_1).write_bytes(content)
    records = records_of(run)
    assert sum(p.source.path == f"{TAG}/{RANK_1}" for p in problems_of(records)) == 1
    assert "no readable optimizer file of rank 1 of 2" in texts_of(records)
    assert by_name(checkpoint_of(records))["gain.master"].nonfinite == 0


def test_nothing_readable_is_skipped(tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / TAG).mkdir(parents=True)
    (run / TAG / MODEL).write_bytes(b"")
    (artifact,) = discover(run, [READER]).artifacts
    records = read_artifact(READER, artifact)
    assert of_type(records, Checkpoint) == []
    assert [skipped.reason for skipped in of_type(records, Skipped)] == ["the file is empty"]


def test_a_vector_that_was_cut_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    run = copy_of("zero3-fp32-subgroups", tmp_path)
    path = run / TAG / "zero_pp_rank_0_mp_rank_00_optim_states.pt"
    whole = by_name(checkpoint_of(records_of(run)))
    data = path.read_bytes()
    fewer = []
    for end in range(len(data) - 64, 0, -256):
        os.truncate(path, end)
        records = records_of(run)
        assert problems_of(records)
        tensors = by_name(checkpoint_of(records))
        fewer.append(len(tensors))
        for name, tensor in tensors.items():
            if tensor.part in ("master", "moment") and tensor.parameter is not None:
                assert tensor.shape == whole[name].shape
                assert tensor.max_abs is None or tensor.max_abs <= (whole[name].max_abs or 0)
    assert fewer[0] >= fewer[-1]
    # The other rank holds slices of six parameters; the seventh has a single element.
    assert min(fewer) == 6 * 3 + len(["mask"])


def test_a_lost_layer_is_missing(tmp_path: Path) -> None:
    run = copy_of("pipeline", tmp_path)
    (run / TAG / "layer_02-model_states.pt").unlink()
    records = records_of(run)
    assert checkpoint_of(records).missing == ("2.weight", "2.bias")
    assert texts_of(records) == [
        "2 weights that the model file lists are in no file here, the first is '2.weight'"
    ]


def test_a_lost_pipeline_stage_is_said(tmp_path: Path) -> None:
    run = copy_of("pipeline", tmp_path)
    (run / TAG / "mp_rank_01_model_states.pt").unlink()
    assert texts_of(records_of(run)) == ["model files of 1 of 2 model-parallel parts are here"]


def test_ranks_of_different_saves_show_by_their_steps(tmp_path: Path) -> None:
    run = copy_of("zero2-bf16-planted", tmp_path)
    (artifact,) = discover(run, [READER]).artifacts
    path = run / TAG / RANK_1
    data = path.read_bytes()
    three, two = b"\x00\x00@@", b"\x00\x00\x00@"
    # The only element of a storage of its own, aligned as torch aligns every storage.
    places = [i for i in range(0, len(data), 64) if data[i : i + 4] == three]
    assert len(places) == 2
    path.write_bytes(data[: places[0]] + two + data[places[0] + 4 :])
    (problem,) = problems_of(READER.read(artifact))
    assert problem.source.path == f"{TAG}/{RANK_1}" or problem.source.path == f"{TAG}/{RANK_0}"
    assert "files of different saves" in problem.text


def test_payloads_are_reported_and_inert(tmp_path: Path) -> None:
    run = copy_of("zero2-bf16-planted", tmp_path)
    payload = b"cos\nsystem\n(S'exit 1'\ntR."
    (run / TAG / MODEL).write_bytes(b"\x80\x02}U\x06module" + payload[:-1] + b"s.")
    records = records_of(run)
    assert any("tries to call os.system('exit 1')" in text for text in texts_of(records))
    assert by_name(checkpoint_of(records))["b.weight.master"].nan == 1


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    which=st.sampled_from([RANK_0, RANK_1, MODEL]),
    at=st.integers(0, 6000),
    bits=st.integers(1, 255),
    count=st.integers(1, 4),
)
def test_flipped_bytes_raise_nothing(
    tmp_path_factory: pytest.TempPathFactory, which: str, at: int, bits: int, count: int
) -> None:
    run = copy_of("zero2-bf16-planted", tmp_path_factory.mktemp("flipped"))
    path = run / TAG / which
    data = bytearray(path.read_bytes())
    for i in range(count):
        data[(at + 97 * i) % len(data)] ^= bits
    path.write_bytes(data)
    checkpoint = checkpoint_of(records_of(run))
    untouched = {RANK_0, RANK_1, MODEL} - {which}
    assert {tensor.path.rpartition("/")[2] for tensor in checkpoint.tensors} >= untouched - {RANK_0}


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(which=st.sampled_from([RANK_0, RANK_1, MODEL]), end=st.integers(0, 6000))
def test_files_cut_anywhere_raise_nothing(
    tmp_path_factory: pytest.TempPathFactory, which: str, end: int
) -> None:
    run = copy_of("zero2-bf16-planted", tmp_path_factory.mktemp("cut"))
    path = run / TAG / which
    if end >= path.stat().st_size:
        return
    os.truncate(path, end)
    records = records_of(run)
    assert problems_of(records)
    checkpoint_of(records)
