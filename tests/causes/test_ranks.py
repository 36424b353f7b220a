"""One rank alone: its loss speaks of its data, its gradient beside a sound loss of a race."""

from __future__ import annotations

from dataclasses import replace

from builders import INF, NAN, named_cause, series

from nanautopsy.model import Series

OVERLAP = {"training": {"overlap_grad_reduce": True, "bf16": True}}
CALM = [1.0, 1.1, 0.9, 1.0, 1.2, 0.8, 1.1, 0.9, 1.0, 1.1, 0.9, 1.0, 1.1, 0.9, 1.0, 1.1, 1.0, 1.0]


def ranks(tag: str, first: list[float], second: list[float]) -> tuple[Series, ...]:
    return replace(series(tag, first), rank=0), replace(series(tag, second), rank=1)


def test_a_gradient_beside_a_finite_loss_is_a_race() -> None:
    parts = (
        *ranks("loss", [*CALM, 1.0, NAN], [*CALM, 1.0, NAN]),
        *ranks("grad_norm", [*CALM, 1.0, NAN], [*CALM, NAN, NAN]),
    )
    assert named_cause(*parts, config=OVERLAP) == "communication-race"


def test_a_loss_alone_is_that_ranks_batch() -> None:
    parts = (
        *ranks("loss", [*CALM, 1.0, NAN], [*CALM, NAN, NAN]),
        *ranks("grad_norm", [*CALM, NAN, NAN], [*CALM, NAN, NAN]),
    )
    assert named_cause(*parts, config=OVERLAP) == "bad-input-data"


def test_a_gradient_without_its_loss_tells_neither() -> None:
    parts = (
        series("loss", [*CALM, 1.0, NAN]),
        *ranks("grad_norm", [*CALM, 1.0, NAN], [*[c + 0.05 for c in CALM], NAN, NAN]),
    )
    assert named_cause(*parts, config=OVERLAP) is None


def shared(
    losses: list[float], norms: list[float], config: dict[str, dict[str, bool]]
) -> str | None:
    """Ranks that log their losses in tags of their own, and one norm of the reduced gradient."""
    parts = (
        replace(series("loss/rank0", losses), rank=0),
        replace(series("loss/rank1", losses), rank=1),
        series("grad_norm", norms),
    )
    return named_cause(*parts, config=config)


def test_a_reduced_gradient_that_stays_inf_beside_sound_losses() -> None:
    sound, dead = [*CALM, *[1.0] * 8], [*CALM, *[INF] * 8]
    assert shared(sound, dead, OVERLAP) == "communication-race"
    assert shared(sound, dead, {"training": {"bf16": True}}) != "communication-race"
    once = [*CALM, INF, *[1.0] * 7]
    assert shared(sound, once, OVERLAP) != "communication-race"
    lost = [*CALM, 1.0, *[NAN] * 7]
    assert shared(lost, dead, OVERLAP) != "communication-race"


NORMS = [0.5 + 0.01 * i for i in range(20)]


def test_a_reduced_norm_that_ranks_no_longer_share_is_a_race() -> None:
    """Two of three ranks, so that none is alone."""
    torn = [*NORMS[:18], NAN, NAN]
    parts = [replace(series("grad_norm", n), rank=r) for r, n in enumerate((NORMS, torn, torn))]
    assert named_cause(series("loss", [*CALM, 1.0, NAN]), *parts, config=OVERLAP) == (
        "communication-race"
    )


def test_norms_that_ranks_never_shared_and_ones_that_turn_together_tell_nothing() -> None:
    dead = [*NORMS[:18], NAN, NAN]
    own = [[n + 0.001 * r for n in dead] for r in range(3)]
    own[0][18] = 0.7
    for norms in (own, [dead] * 3):
        parts = [replace(series("grad_norm", n), rank=r) for r, n in enumerate(norms)]
        named = named_cause(series("loss", [*CALM, 1.0, NAN]), *parts, config=OVERLAP)
        assert named != "communication-race"


ZERO2 = {
    "deepspeed": {"zero_optimization.stage": 2, "zero_optimization.overlap_comm": True},
    "training": {"bf16": True, "world_size": 8},
}


def test_the_overlap_that_is_known_for_it_where_no_version_was_read() -> None:
    parts = series("loss", [*CALM, 1.0, NAN]), series("grad_norm", [*CALM, NAN, NAN])
    assert named_cause(*parts, config=ZERO2) == "communication-race"
    first = {**ZERO2, "deepspeed": {**ZERO2["deepspeed"], "zero_optimization.stage": 1}}
    alone = {**ZERO2, "training": {"bf16": True, "world_size": 1}}
    for config in (first, alone):
        assert named_cause(*parts, config=config) != "communication-race"
    fixed = named_cause(*parts, config=ZERO2, packages={"deepspeed": "0.18.0"})
    assert fixed != "communication-race"


def test_a_rank_that_was_first_in_each_attempt_has_a_bad_device() -> None:
    sound, bad = ranks("loss", [*CALM, 1.0, NAN], [*CALM, NAN, NAN])
    known = (replace(sound, earlier_deaths=(6, 9)), replace(bad, earlier_deaths=(5, 8)))
    assert named_cause(*known) == "hardware-fault"
    same = (replace(sound, earlier_deaths=(20, 20)), replace(bad, earlier_deaths=(19, 19)))
    assert named_cause(*same) != "hardware-fault", "the same step is the same batch"
    other = (replace(sound, earlier_deaths=(6,)), replace(bad, earlier_deaths=(7,)))
    assert named_cause(*other) != "hardware-fault", "another rank was the first before"
