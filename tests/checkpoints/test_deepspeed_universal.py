"""Universal checkpoints, converted by DeepSpeed's own tool."""

from __future__ import annotations

import json
from pathlib import Path

from rankfiles import checkpoint_of, copied, records_in
from reading import problems_of

from nanautopsy.checkpoints.deepspeed_universal import READER
from nanautopsy.discover import discover
from nanautopsy.model import Record

FIXTURE = Path(__file__).parents[1] / "fixtures" / "deepspeed" / "universal"


def records_of(run: Path) -> list[Record]:
    return records_in(READER, run)


def test_every_state_is_the_one_that_torch_loads() -> None:
    records = records_of(FIXTURE)
    assert problems_of(records) == []
    checkpoint = checkpoint_of(records)
    assert checkpoint.path == "global_step3_universal/zero"
    assert (checkpoint.step, checkpoint.holds, checkpoint.missing) == (3, "optimizer", ())
    tensors = {tensor.path: tensor for tensor in checkpoint.tensors}
    expected = json.loads((FIXTURE / "expected.json").read_text())["universal"]
    assert {path for path in tensors if not path.endswith("step.pt")} == set(expected)
    for path, facts in expected.items():
        tensor = tensors[path]
        parameter, state = path.split("/")[-2:]
        counts = (tensor.nan, tensor.neg_inf, tensor.zero)
        assert counts == tuple(facts.get(key, 0) for key in ("nan", "neg_inf", "zero"))
        assert (list(tensor.shape), tensor.max_abs) == (facts["shape"], facts["max_abs"])
        if parameter == "mask":
            assert (tensor.name, tensor.part) == ("mask", "parameter")
        elif state == "fp32.pt":
            assert (tensor.name, tensor.part) == (f"{parameter}.master", "master")
        else:
            moment = state.removesuffix(".pt")
            assert (tensor.name, tensor.part) == (f"{parameter}.{moment}", "moment")
            assert (tensor.parameter, tensor.moment) == (parameter, moment)


def test_the_planted_value_is_where_it_was_planted() -> None:
    bad = [t for t in checkpoint_of(records_of(FIXTURE)).nonfinite if t.name != "mask"]
    assert {t.name for t in bad} == {"b.weight.master", "b.weight.exp_avg"}
    assert {t.first_nonfinite for t in bad} == {(1, 4)}


def test_a_damaged_file_costs_its_own_tensor_only(tmp_path: Path) -> None:
    run = copied(FIXTURE, tmp_path)
    broken = run / "global_step3_universal" / "zero" / "a.weight" / "exp_avg.pt"
    broken.write_bytes(broken.read_bytes()[:300])
    records = records_of(run)
    assert checkpoint_of(records).missing == ("a.weight.exp_avg",)
    assert (
        len(checkpoint_of(records).tensors) == len(checkpoint_of(records_of(FIXTURE)).tensors) - 1
    )
    assert {p.source.path for p in problems_of(records)} == {
        "global_step3_universal/zero/a.weight/exp_avg.pt"
    }


def test_other_files_in_directories_called_zero_are_left_alone(tmp_path: Path) -> None:
    for name in ("zero/model/weights.pt", "zero/run1/last.pt", "zero/a/b/fp32.pt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"PK\x03\x04")
    assert discover(tmp_path, [READER]).artifacts == ()
