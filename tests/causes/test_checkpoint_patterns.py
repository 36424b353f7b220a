"""What damage looks like in saved tensors, and which cause each pattern speaks for."""

from __future__ import annotations

from dataclasses import replace

import pytest
from builders import (
    INF,
    NAN,
    checkpoint,
    detect,
    event,
    judge,
    make_run,
    named_cause,
    series,
    tensor,
)

from nanautopsy.model import BadRows, Checkpoint, Run, TensorHealth

LAYERS = [f"model.layers.{i}.mlp.up_proj.weight" for i in range(6)]
CALM = [2.0 + 0.05 * (i % 3) for i in range(30)]
DIED = series("loss", [*CALM, *[NAN] * 10])


def sound() -> list[TensorHealth]:
    return [tensor(name) for name in LAYERS]


def bad(name: str, count: int = 16, **more: object) -> TensorHealth:
    return replace(tensor(name, nan=count, first_nonfinite=(0, 0)), **more)  # type: ignore[arg-type]


def layer_of(run: Run) -> str | None:
    onset = judge(run).onset
    assert onset is not None
    return onset.layer


def test_everything_at_once_tells_no_layer_and_no_cause() -> None:
    """One NaN gradient does that to every weight, whatever made it."""
    parts = DIED, checkpoint(20, *sound()), checkpoint(40, *(bad(name) for name in LAYERS))
    assert layer_of(make_run(*parts)) is None
    assert named_cause(*parts) is None


def test_one_layer_is_where_it_arose() -> None:
    turned = [bad(LAYERS[3]), *(tensor(name) for name in LAYERS if name != LAYERS[3])]
    parts = DIED, checkpoint(20, *sound()), checkpoint(31, *turned)
    assert layer_of(make_run(*parts)) == LAYERS[3]
    # One layer alone has many causes; none may be made up for it.
    assert named_cause(*parts) is None


def test_only_the_new_rows_of_an_embedding() -> None:
    rows = BadRows(4, ((100, 104),), True)
    grown = bad("embed_tokens.weight", 4 * 8, shape=(104, 8), bad_rows=rows)
    parts = checkpoint(0, grown, *sound()), series("loss", [NAN] * 10)
    assert named_cause(*parts) == "uninitialized-params"
    assert layer_of(make_run(*parts)) == "embed_tokens.weight"


def test_rows_that_training_broke_were_sound_before() -> None:
    """The same rows, finite in the first checkpoint: not memory that nobody filled."""
    rows = BadRows(4, ((100, 104),), True)
    table = tensor("embed_tokens.weight", (104, 8))
    broken = bad("embed_tokens.weight", 4 * 8, shape=(104, 8), bad_rows=rows)
    parts = DIED, checkpoint(0, table, *sound()), checkpoint(40, broken, *sound())
    assert named_cause(*parts) != "uninitialized-params"


@pytest.mark.parametrize(("keys", "named"), [((LAYERS[2],), True), ((LAYERS[4],), False)])
def test_only_the_missing_keys(keys: tuple[str, ...], named: bool) -> None:
    start = [bad(n) if n == LAYERS[2] else tensor(n) for n in LAYERS]
    said = event("weights-newly-initialized", keys=keys, count=len(keys))
    found = named_cause(checkpoint(0, *start), said, series("loss", [NAN] * 10))
    assert (found == "uninitialized-params") is named


def zero_parts(step: int, *ranks_bad: int) -> Checkpoint:
    """Optimizer state of two ranks, one partition each; bad partitions in the given ranks."""
    parts = []
    for rank in (0, 1):
        for moment in ("exp_avg", "exp_avg_sq", "fp32"):
            name = f"{LAYERS[rank]}.{moment}"
            health = bad(name) if rank in ranks_bad else tensor(name)
            part = "master" if moment == "fp32" else "moment"
            parts.append(
                replace(health, part=part, parameter=LAYERS[rank], moment=moment, rank=rank)  # type: ignore[arg-type]
            )
    return Checkpoint(f"global_step{step}", "deepspeed-zero", step, tuple(parts), "optimizer")


BF16_ZERO2 = {"deepspeed": {"zero_optimization.stage": 2, "bf16.enabled": True}}


def test_one_contiguous_slice_of_one_ranks_partition() -> None:
    """DeepSpeed before 0.19.3 did not look for Inf in bfloat16 gradients of a partition."""
    parts = DIED, zero_parts(20), zero_parts(40, 1)
    (finding,) = [f for f in detect(make_run(*parts)) if f.id == "nonfinite-moments"]
    assert finding.data["rank"] == 1
    old = named_cause(*parts, config=BF16_ZERO2, packages={"deepspeed": "0.15.0"})
    new = named_cause(*parts, config=BF16_ZERO2, packages={"deepspeed": "0.19.4"})
    assert old == "version-bug"
    assert new != "version-bug"


def test_the_partitions_of_all_ranks_are_no_such_sign() -> None:
    parts = DIED, zero_parts(20), zero_parts(40, 0, 1)
    named = named_cause(*parts, config=BF16_ZERO2, packages={"deepspeed": "0.15.0"})
    assert named != "version-bug"


def test_a_few_flipped_values_before_training() -> None:
    flipped = bad(LAYERS[1], 2, shape=(64, 64))
    parts = checkpoint(0, flipped, *(tensor(n) for n in LAYERS if n != LAYERS[1]))
    assert named_cause(parts, series("loss", [NAN] * 10)) == "corrupt-checkpoint"


def test_a_few_values_that_training_broke_are_no_flips() -> None:
    flipped = bad(LAYERS[1], 2, shape=(64, 64))
    later = checkpoint(31, flipped, *(tensor(n) for n in LAYERS if n != LAYERS[1]))
    assert named_cause(DIED, checkpoint(0, *sound()), later) != "corrupt-checkpoint"


def moments(step: int, *turned: str, value: str = "nan") -> Checkpoint:
    parts = []
    for name in LAYERS:
        count = {value: 16, "first_nonfinite": (0, 0)} if name in turned else {}
        health = tensor(f"{name}.exp_avg_sq", **count)  # type: ignore[arg-type]
        parts.append(replace(health, part="moment", parameter=name, moment="exp_avg_sq"))
    return Checkpoint(f"checkpoint-{step}/optimizer.pt", "torch", step, tuple(parts), "optimizer")


def weights_of(step: int) -> Checkpoint:
    return replace(checkpoint(step, *sound()), path=f"checkpoint-{step}/model.safetensors")


def test_moments_before_their_parameters() -> None:
    """A finite weight beside a moment that is not: the gradient was Inf, the update zero."""
    parts = (
        weights_of(20), moments(20), weights_of(40), moments(40, LAYERS[2], value="pos_inf"),
        series("loss", CALM),
    )  # fmt: skip
    run = make_run(*parts)
    (finding,) = [f for f in detect(run) if f.id == "nonfinite-moments"]
    assert finding.data["parameters_finite"] is True
    onset = judge(run).onset
    assert onset is not None
    assert (onset.quantity, onset.value, onset.layer) == ("optimizer moments", "inf", LAYERS[2])
    assert named_cause(*parts) is None


def test_sound_moments_are_healthy() -> None:
    parts = weights_of(20), moments(20), weights_of(40), moments(40), series("loss", CALM)
    assert judge(make_run(*parts)).verdict == "healthy"


def test_float16_moments_that_vanish_are_epsilons() -> None:
    """Squares of gradients below 6e-8 are zero in float16: the update divides by nothing."""
    state = [
        replace(
            tensor(f"{n}.exp_avg_sq", dtype="F16", zero=16), part="moment", parameter=n,
            moment="exp_avg_sq",
        )
        for n in LAYERS
    ]  # fmt: skip
    kept = Checkpoint("checkpoint-1/optimizer.pt", "torch", 1, tuple(state), "optimizer")
    parts = kept, series("loss", [2.3, NAN, NAN, NAN])
    assert named_cause(*parts, config={"training": {"adam_epsilon": 1e-8}}) == "optimizer-epsilon"
    assert named_cause(*parts, config={"training": {"adam_epsilon": 1e-4}}) != "optimizer-epsilon"


def test_a_first_loss_of_inf_beside_sound_weights_is_not_theirs() -> None:
    parts = checkpoint(0, *sound()), series("loss", [INF, NAN, NAN])
    assert named_cause(*parts) not in ("corrupt-checkpoint", "uninitialized-params")
