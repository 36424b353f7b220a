"""What checkpoints say: weights, moments, masters, states, and what is so by design."""

from __future__ import annotations

from dataclasses import replace

import pytest
from builders import INF, NAN, checkpoint, detect, judge, make_run, named_cause, series, tensor

from nanautopsy.checkpoints.damage import damaged, weights
from nanautopsy.model import BadRows, Checkpoint, Finding, Run, TensorHealth

MATRIX = (4, 4)


def bad(name: str, count: int = 1, **more: object) -> TensorHealth:
    first = (0, 0)
    return replace(
        tensor(name, MATRIX, nan=count, first_nonfinite=first),  # type: ignore[arg-type]
        **more,  # type: ignore[arg-type]
    )


def moment(name: str, moment: str = "exp_avg", **counts: float) -> TensorHealth:
    health = tensor(f"{name}.{moment}", MATRIX, **counts)
    return replace(health, part="moment", parameter=name, moment=moment)


def optimizer(step: int, *tensors: TensorHealth) -> Checkpoint:
    return Checkpoint(f"checkpoint-{step}/optimizer.pt", "torch", step, tensors, "optimizer")


def model(step: int, *tensors: TensorHealth) -> Checkpoint:
    return Checkpoint(f"checkpoint-{step}/model.safetensors", "safetensors", step, tensors)


def found(run: Run, kind: str) -> list[Finding]:
    return [finding for finding in detect(run) if finding.id == kind]


LAYERS = ["model.embed_tokens.weight", "model.layers.2.mlp.up.weight", "model.layers.10.mlp.weight"]


def test_what_turned_is_told_in_forward_order() -> None:
    good = [tensor(name) for name in [*LAYERS, "a", "b", "c", "lm_head.weight"]]
    turned = [bad(LAYERS[2]), bad(LAYERS[1]), *good[3:], good[0]]
    run = make_run(model(100, *good), model(200, *turned))
    (finding,) = found(run, "nonfinite-parameters")
    assert finding.data["tensors"] == (LAYERS[1], LAYERS[2])
    assert (finding.last_good, finding.step, finding.layer) == (100, 200, LAYERS[1])
    assert judge(run).onset is not None


def test_only_new_rows_are_named() -> None:
    embedding = bad("embed.weight", bad_rows=BadRows(2, ((32000, 32002),), True))
    embedding = replace(embedding, shape=(32002, 4))
    run = make_run(model(0, embedding, *(tensor(name) for name in "abc")))
    (finding,) = found(run, "nonfinite-parameters")
    assert "rows 32000 to 32001 of 32002" in finding.text


def test_every_row_is_no_row_pattern() -> None:
    whole = bad("w", bad_rows=BadRows(4, ((0, 4),), True))
    (finding,) = found(make_run(model(0, whole, tensor("b"))), "nonfinite-parameters")
    assert "row" not in finding.text and finding.data["rows"] == ""


def test_moments_before_their_parameters() -> None:
    weights = [tensor(name) for name in LAYERS]
    run = make_run(
        model(100, *weights),
        optimizer(100, *(moment(name) for name in LAYERS)),
        model(200, *weights),
        optimizer(200, moment(LAYERS[0]), moment(LAYERS[1], nan=3), moment(LAYERS[2])),
    )
    (finding,) = found(run, "nonfinite-moments")
    assert finding.data["parameters_finite"] is True
    assert (finding.layer, finding.last_good) == (LAYERS[1], 100)
    located = judge(run)
    assert located.verdict == "non-finite"
    assert located.onset is not None
    assert located.onset.quantity == "optimizer moments"
    assert located.onset.layer == LAYERS[1]


def test_parameters_speak_before_moments_of_the_same_save() -> None:
    run = make_run(
        model(100, *(tensor(n) for n in LAYERS)),
        model(200, *(bad(n, 16) for n in LAYERS)),
        optimizer(200, *(moment(n, nan=16) for n in LAYERS)),
    )
    onset = judge(run).onset
    assert onset is not None and onset.quantity == "parameters" and onset.layer is None


def test_a_generator_or_scheduler_state_is_no_damage() -> None:
    state = replace(bad("rng_state"), part="state")
    assert judge(make_run(model(100, tensor("w"), state))).verdict == "healthy"


def test_constant_minus_infinity_is_by_design() -> None:
    bias = tensor("logits_bias", (8,), neg_inf=3)
    run = make_run(model(100, tensor("w"), bias), model(200, tensor("w"), bias))
    assert judge(run).verdict == "healthy"
    grown = make_run(
        model(100, tensor("w"), bias), model(200, tensor("w"), replace(bias, neg_inf=5))
    )
    assert judge(grown).verdict == "non-finite"


@pytest.mark.parametrize("value", ["nan", "pos_inf"])
def test_a_constant_nan_is_not_by_design(value: str) -> None:
    broken = tensor("w2", (8,), **{value: 3})
    run = make_run(model(100, tensor("w"), broken), model(200, tensor("w"), broken))
    assert judge(run).verdict == "non-finite"


def test_an_open_bound_is_by_design() -> None:
    bound = tensor("range_upper", (), pos_inf=1)
    run = make_run(model(100, tensor("w"), bound), model(200, tensor("w"), bound))
    assert judge(run).verdict == "healthy"
    dead = make_run(model(100, tensor("w"), bound), model(200, tensor("w", nan=16), bound))
    onset = judge(dead).onset
    assert onset is not None and onset.step == 200
    first = make_run(model(100, tensor("w", nan=3), bound), model(200, tensor("w", nan=16), bound))
    onset = judge(first).onset
    assert onset is not None and onset.step == 100


def test_a_mask_is_known_at_the_finite_depth_too() -> None:
    mask = replace(tensor("m", (8,), neg_inf=3), zero=None, max_abs=0.0, depth="finite")
    assert not damaged(model(1, mask))
    assert damaged(model(1, replace(mask, max_abs=1.0)))


def test_masters_are_the_weights_where_no_others_were_saved() -> None:
    empty = tensor("w", (0,))
    master = replace(bad("w.fp32", rank=1), part="master", parameter="w")
    other = replace(tensor("v.fp32"), part="master", parameter="v", rank=0)
    saved = Checkpoint("global_step5", "deepspeed-zero", 5, (empty, master, other))
    assert weights(saved) == [master, other]
    (finding,) = found(make_run(saved), "nonfinite-parameters")
    assert (finding.layer, finding.data["rank"]) == ("w", 1)
    onset = judge(make_run(saved)).onset
    assert onset is not None and onset.rank == 1


def test_two_models_side_by_side_are_judged_apart() -> None:
    def saved(name: str, step: int, *tensors: TensorHealth) -> Checkpoint:
        return Checkpoint(f"{name}_{step}.pth", "torch", step, tensors)

    run = make_run(
        saved("D", 100, tensor("d")),
        saved("G", 100, bad("g"), tensor("g2")),
        saved("D", 200, tensor("d")),
        saved("G", 200, bad("g"), tensor("g2")),
    )
    (finding,) = found(run, "nonfinite-parameters")
    assert finding.data["persistent"] is True and finding.data["first_checkpoint"] is True


def test_an_unread_checkpoint_says_nothing() -> None:
    unread = Checkpoint("checkpoint-150", "safetensors", 150, (), depth=None, inferred="not read")
    run = make_run(checkpoint(100, tensor("w")), unread, checkpoint(200, bad("w"), tensor("v")))
    onset = judge(run).onset
    assert onset is not None and onset.last_finite == 100


def states(*values: float, name: str = "loss_scale") -> list[Checkpoint]:
    return [replace(model(100 * i, tensor("w")), state={name: v}) for i, v in enumerate(values)]


def test_a_loss_scale_that_only_checkpoints_tell() -> None:
    (finding,) = found(make_run(*states(65536.0, 65536.0, 1.0)), "loss-scale-collapse")
    assert "checkpoints" in finding.text
    assert not found(make_run(*states(65536.0, 32768.0, 16384.0)), "loss-scale-collapse")
    assert not found(make_run(*states(1.0, 1.0, 1.0)), "loss-scale-collapse")


def test_a_logged_loss_scale_is_told_once() -> None:
    logged = series("loss_scale", [65536.0, 65536.0] + [2.0**-k for k in range(3)])
    assert len(found(make_run(logged, *states(65536.0, 65536.0, 1.0)), "loss-scale-collapse")) == 1


def test_a_saved_loss() -> None:
    (finding,) = found(make_run(*states(1.5, NAN, NAN, name="loss")), "nonfinite-loss")
    assert (finding.step, finding.last_good, finding.data["persistent"]) == (100, 0, True)
    assert not found(make_run(*states(1.5, 1.4, name="loss")), "nonfinite-loss")
    assert not found(make_run(*states(INF, 1.4, name="best")), "nonfinite-loss")


def sized(step: int, **largest: float) -> Checkpoint:
    return model(step, *(tensor(name, max_abs=value) for name, value in largest.items()))


def test_the_weight_that_grew_alone() -> None:
    line = [sized(100, a=1.0, b=1.0, c=1.0), sized(200, a=9.0, b=1.1, c=1.2)]
    broken = model(300, bad("a"), tensor("b"), tensor("c"))
    (finding,) = found(make_run(*line, broken), "weight-growth")
    assert finding.layer == "a" and finding.data["ratio"] == 9.0
    assert not found(make_run(*line), "weight-growth"), "nothing is wrong with growing"
    together = [sized(100, a=1.0, b=1.0, c=1.0), sized(200, a=9.0, b=8.0, c=9.0)]
    assert not found(make_run(*together, broken), "weight-growth")


def test_what_grew_with_the_others_did_not_flip() -> None:
    few = tensor("a", (64, 64), max_abs=1.0e9, rms=1.0e9 / 64)
    before = model(100, tensor("a", (64, 64)), tensor("b"), tensor("c"))
    (finding,) = found(
        make_run(before, model(200, few, tensor("b"), tensor("c"))), "flipped-weight"
    )
    assert finding.layer == "a"
    together = model(200, few, tensor("b", max_abs=5.0e5), tensor("c", max_abs=2.0e6))
    assert not found(make_run(before, together), "flipped-weight")


def test_a_saved_loss_scale_ends_where_it_is_seen_at_its_end() -> None:
    (finding,) = found(make_run(*states(65536.0, 32768.0, 64.0, 1.0, 1.0)), "loss-scale-collapse")
    assert (finding.step, finding.last_good) == (300, 200)


def rates(*values: float) -> list[Checkpoint]:
    """Saves whose optimizer holds its rate as an array."""
    name = "opt_state/hyperparams/learning_rate"
    return [
        model(50 * i, tensor("w"), tensor(name, (), max_abs=v, part="state"))
        for i, v in enumerate(values)
    ]


def test_a_learning_rate_that_only_checkpoints_tell() -> None:
    dying = [*rates(0.01, 0.01, 0.01, 0.01, 50.0), model(250, bad("w"))]
    (finding,) = found(make_run(*dying), "lr-jump")
    assert (finding.step, finding.last_good) == (200, 150)
    assert named_cause(*dying) == "lr-spike"
    assert not found(make_run(*rates(0.001, 0.004, 0.008, 0.01, 0.008)), "lr-jump"), "a warmup"
    logged = series("lr", [0.01] * 5)
    assert not found(make_run(logged, *dying), "lr-jump"), "a logged rate tells more"


def test_moments_do_not_hide_projections_that_grew() -> None:
    def at(step: int, q: float, moments: float) -> Checkpoint:
        names = ("layers.1.q_proj.weight", "layers.1.mlp.weight", "head.weight")
        sizes = (q, 0.5, 0.5)
        own = [tensor(name, rms=size) for name, size in zip(names, sizes, strict=True)]
        state = [tensor(f"{i}.exp_avg", rms=moments, part="moment") for i in range(4)]
        return model(step, *own, *state)

    (finding,) = found(make_run(at(10, 0.5, 0.001), at(60, 4.0, 1.0)), "projection-growth")
    assert finding.data["others"] == 1.0
