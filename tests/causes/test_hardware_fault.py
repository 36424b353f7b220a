"""What a driver says of broken memory counts; a counter that stands at zero does not."""

from __future__ import annotations

from dataclasses import replace

import pytest
from builders import NAN, checkpoint, event, named_cause, series, tensor

from nanautopsy.model import Checkpoint

LOSS = series("loss", [2.0, 1.9, 1.8, 1.9, 1.8, NAN, NAN])


@pytest.mark.parametrize(
    "text",
    [
        "NVRM: Xid (PCI:0000:3b:00): 48, DBE (double bit error) 0x2",
        "EDAC MC0: 1 UE uncorrectable error on CPU_SrcID#0",
    ],
)
def test_broken_memory(text: str) -> None:
    assert named_cause(LOSS, event("hardware-error", text, 5)) == "hardware-fault"


def test_a_count_of_the_past_needs_a_second_sign() -> None:
    count = event("hardware-error", "DRAM Uncorrectable                : 12")
    assert named_cause(LOSS, count) is None
    ranks = [replace(LOSS, rank=0), replace(series("loss", [*[2.0] * 6, NAN]), rank=1)]
    assert named_cause(*ranks, count) == "hardware-fault"


@pytest.mark.parametrize(
    "text",
    [
        "Uncorrectable ECC errors: 0",
        "GPU 0: double bit ECC error count 0, XID none",
        "ECC Errors: volatile double bit: 0",
        "0 uncorrectable errors",
        "dcgm: Uncorrectable ECC errors since boot: 0",
    ],
)
def test_a_counter_at_zero(text: str) -> None:
    assert named_cause(LOSS, event("hardware-error", text, 1)) is None


def _saved(step: int, **counts: float) -> Checkpoint:
    sound = [tensor(f"layers.{i}.weight", (64, 32)) for i in range(3)]
    return checkpoint(step, *sound, tensor("layers.3.weight", (64, 32), **counts))


def test_an_element_that_turned_between_two_checkpoints() -> None:
    loss = series("loss", [2.0] * 44 + [NAN] * 10)
    flipped = _saved(45, nan=1, first_nonfinite=167)
    assert named_cause(loss, _saved(44), flipped) == "hardware-fault"


def test_a_row_or_a_column_is_a_gradients() -> None:
    loss = series("loss", [2.0] * 44 + [NAN] * 10)
    row = _saved(45, nan=32, first_nonfinite=160)
    assert named_cause(loss, _saved(44), row) != "hardware-fault"
    assert named_cause(series("loss", [2.0] * 54), _saved(44), _saved(45)) is None


def test_an_absurd_element_is_no_cascade_where_all_else_is_sound() -> None:
    """It was saved behind the onset; but a bad gradient would have spoilt whole rows."""
    loss = series("loss", [2.0] * 44 + [NAN] * 10)
    sound = [tensor(f"layers.{i}.weight", (64, 32)) for i in range(3)]
    before = checkpoint(40, *sound, tensor("layers.3.weight", (64, 32), max_abs=0.5, rms=0.1))
    after = checkpoint(50, *sound, tensor("layers.3.weight", (64, 32), max_abs=9e37, rms=2e36))
    assert named_cause(loss, before, after) == "hardware-fault"


def test_what_the_memory_corrected_is_no_error() -> None:
    ranks = [replace(LOSS, rank=0), replace(series("loss", [*[2.0] * 6, NAN]), rank=1)]
    text = "GPU 2: 14 single-bit (corrected) ECC errors since boot"
    assert named_cause(*ranks, event("hardware-error", text, 5)) is None


def states(step: int, bad: dict[str, float], moment: float = 0.0) -> list[Checkpoint]:
    """A save of a model of three weights and of the optimizer's moments."""
    names = ("h.0.norm.weight", "h.1.norm.weight", "head.weight")
    weights = [tensor(n, (24,), **(bad if n == names[1] else {})) for n in names]
    moments = [
        replace(
            tensor(f"{n}.exp_avg", (24,), nan=moment), part="moment", parameter=n, moment="exp_avg"
        )
        for n in names
    ]
    held = Checkpoint(f"it-{step}/optimizer.pt", "torch", step, tuple(moments), "optimizer")
    return [Checkpoint(f"it-{step}/model.pt", "torch", step, tuple(weights)), held]


def test_one_element_that_no_update_made() -> None:
    assert named_cause(*states(100, {}), *states(200, {"nan": 1})) == "hardware-fault"
    assert named_cause(*states(100, {}), *states(200, {"nan": 1}, moment=1)) is None
    assert named_cause(*states(100, {}), *states(200, {"nan": 3})) is None
    half = {"nan": 1, "dtype": "F16"}
    assert named_cause(*states(100, {}), *states(200, half)) != "hardware-fault"  # type: ignore[arg-type]
    assert named_cause(*states(100, {}), states(200, {"nan": 1})[0]) is None, "no moments"


def copies(step: int, *bad: int, sharded: bool = False) -> list[Checkpoint]:
    """What four ranks saved of one model, or each of its own part."""
    return [
        Checkpoint(
            f"replica_rank{rank}_iter{step}.pt",
            "torch",
            step,
            (
                tensor("a", rms=0.5 + step / 1000 + (rank / 100 if sharded else 0)),
                tensor("b", nan=4 if rank in bad else 0),
            ),
        )
        for rank in range(4)
    ]


def test_one_copy_of_equal_ones() -> None:
    assert named_cause(*copies(100), *copies(200, 2)) == "hardware-fault"
    assert named_cause(*copies(100), *copies(200, 1, 2)) is None, "a batch's reaches all"
    assert named_cause(*copies(100, sharded=True), *copies(200, 2, sharded=True)) is None
