"""Names for numbered optimizer states: only where they are certain."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nanautopsy.checkpoints.data_file import MemoryFile
from nanautopsy.checkpoints.optimizer_names import name_moments
from nanautopsy.checkpoints.stored import Holds, Piece, StoredCheckpoint, StoredTensor

MODEL = {
    "wte.weight": (16, 4),
    "h.0.ln_1.weight": (4,),
    "h.0.attn.weight": (4, 4),
    "h.0.attn.bias": (4,),
    "h.1.ln_1.weight": (4,),
    "h.1.attn.weight": (4, 4),
    "h.1.attn.bias": (4,),
    "lm_head.weight": (32, 4),
}


def model(shapes: dict[str, tuple[int, ...]], kind: str = "torch", path: str = "c/m") -> object:
    tensors = tuple(StoredTensor(name, "F32", shape, ()) for name, shape in shapes.items())
    return StoredCheckpoint(f"{path}.bin", kind, 5, tensors)


def optimizer(
    shapes: list[tuple[int, ...]], path: str = "c/optimizer.pt", groups: tuple[int, ...] = ()
) -> StoredCheckpoint:
    holds: Holds = "optimizer"
    tensors = []
    for i, shape in enumerate(shapes):
        for moment, own in (("step", ()), ("exp_avg", shape), ("exp_avg_sq", shape)):
            tensors.append(
                StoredTensor(
                    f"state.{i}.{moment}", "F32", own, (), part="moment", moment=moment, index=i
                )
            )
    return StoredCheckpoint(path, "torch", 5, tuple(tensors), holds, groups=groups)


def names(*checkpoints: object) -> dict[int, str | None]:
    named = name_moments(checkpoints)  # type: ignore[arg-type]
    assert [c.path for c in named] == [c.path for c in checkpoints]  # type: ignore[attr-defined]
    (state,) = [c for c in named if c.holds == "optimizer"]
    return {t.index or 0: t.parameter for t in state.tensors if t.moment == "exp_avg"}


def test_one_group_in_order_of_registration() -> None:
    found = names(model(MODEL), optimizer(list(MODEL.values())))
    assert found == dict(enumerate(MODEL))


def test_decay_and_no_decay_groups() -> None:
    decay = [name for name in MODEL if name.endswith("weight") and "ln" not in name]
    order = decay + [name for name in MODEL if name not in decay]
    found = names(model(MODEL), optimizer([MODEL[name] for name in order]))
    assert found == dict(enumerate(order))


def test_the_moment_takes_the_name_of_its_parameter() -> None:
    (_, state) = name_moments([model(MODEL), optimizer(list(MODEL.values()))])  # type: ignore[list-item]
    first = {t.name for t in state.tensors if t.index == 0}
    assert first == {f"wte.weight.{moment}" for moment in ("step", "exp_avg", "exp_avg_sq")}


def test_sorted_weights_name_only_unique_shapes() -> None:
    found = names(model(MODEL, "safetensors"), optimizer(list(MODEL.values())))
    assert found[0] == "wte.weight" and found[7] == "lm_head.weight"
    assert {found[i] for i in range(1, 7)} == {None}


def test_another_shape_names_nothing_by_order() -> None:
    shapes = list(MODEL.values())
    shapes[3] = (5,)
    found = names(model(MODEL), optimizer(shapes))
    assert found[3] is None and found[2] is None


def test_groupings_that_disagree_name_only_what_they_share() -> None:
    shapes = {"a.weight": (4, 4), "norm.weight": (4, 4), "b.weight": (4, 4)}
    found = names(model(shapes), optimizer(list(shapes.values())))
    assert found == {0: "a.weight", 1: None, 2: None}


def test_a_model_of_another_directory_names_nothing() -> None:
    found = names(model(MODEL, path="other/m"), optimizer(list(MODEL.values())))
    assert set(found.values()) == {None}


def test_tied_weights_and_buffers_are_not_counted() -> None:
    saved = list(MODEL.items())
    piece = Piece(MemoryFile("c/m.bin", b""), 64, (16, 4))
    tensors = [StoredTensor(name, "F32", shape, ()) for name, shape in saved[:-1]]
    tensors[0] = StoredTensor("wte.weight", "F32", (16, 4), (piece,))
    tensors.insert(3, StoredTensor("h.0.attn.masked_bias", "F32", (), ()))
    tensors.append(StoredTensor("lm_head.weight", "F32", (16, 4), (piece,)))
    tied = StoredCheckpoint("c/m.bin", "torch", 5, tuple(tensors))
    found = names(tied, optimizer([shape for _, shape in saved[:-1]]))
    assert found == dict(enumerate(name for name, _ in saved[:-1]))


SQUARE = {f"layers.{i}.weight": (4, 4) for i in range(4)}


def test_one_group_is_in_order_of_registration_whatever_roles_there_are() -> None:
    shapes = {"a.weight": (4, 4), "norm.weight": (4, 4), "b.weight": (4, 4)}
    found = names(model(shapes), optimizer(list(shapes.values()), groups=(3,)))
    assert found == dict(enumerate(shapes))


def test_groups_of_equal_shapes_may_stand_in_any_order() -> None:
    """A layer-wise learning rate often begins with the last layer."""
    for groups in ((2, 2), (1, 1, 1, 1), (2, 1, 1)):
        found = names(model(SQUARE), optimizer(list(SQUARE.values()), groups=groups))
        assert set(found.values()) == {None}, groups


def test_the_head_before_the_backbone() -> None:
    shapes = {**SQUARE, "head.weight": (3, 4), "head.bias": (3,)}
    order = ["head.weight", "head.bias", *SQUARE]
    found = names(model(shapes), optimizer([shapes[n] for n in order], groups=(2, 4)))
    assert found == dict(enumerate(order))


def test_buffers_between_the_parameters_do_not_hide_their_order() -> None:
    shapes: dict[str, tuple[int, ...]] = {}
    for i in range(3):
        shapes |= {f"h.{i}.w": (4, 4), f"h.{i}.lookup": (9, 9), f"h.{i}.bias": (4,)}
    order = [name for name in shapes if "lookup" not in name]
    found = names(model(shapes), optimizer([shapes[n] for n in order], groups=(6,)))
    assert found == dict(enumerate(order))


def test_frozen_layers_that_look_like_the_others_leave_no_name() -> None:
    shapes = {**SQUARE, "head.weight": (3, 4)}
    found = names(model(shapes), optimizer([(4, 4), (4, 4), (3, 4)], groups=(3,)))
    assert found == {0: None, 1: None, 2: "head.weight"}


def test_of_two_models_the_one_counts_whose_order_fits() -> None:
    generator = {"up.weight": (4, 4), "out.weight": (3, 4), "out.bias": (3,)}
    critic = {"down.weight": (4, 4), "score.weight": (1, 4), "score.bias": (1,)}
    found = names(
        model(generator, path="c/netG"),
        model(critic, path="c/netD"),
        optimizer(list(critic.values()), groups=(3,)),
    )
    assert found == dict(enumerate(critic))


def test_an_averaged_copy_is_not_counted() -> None:
    shapes = {**MODEL, **{f"ema.{name}": shape for name, shape in MODEL.items()}}
    found = names(model(shapes), optimizer(list(MODEL.values()), groups=(len(MODEL),)))
    assert found == dict(enumerate(MODEL))


@given(st.lists(st.sampled_from([(4,), (4, 4), (8, 4), ()]), max_size=12), st.randoms())
def test_never_a_name_whose_shape_differs(shapes: list[tuple[int, ...]], random: object) -> None:
    named = {f"p{i}.weight": shape for i, shape in enumerate(shapes)}
    shuffled = list(named.values())
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    found = names(model(named), optimizer(shuffled))
    for index, name in found.items():
        assert name is None or named[name] == shuffled[index]


def test_state_that_bears_the_names_of_the_parameters() -> None:
    """A program's own dictionary of accumulators, which no ``param_groups`` tells from others."""
    weight = StoredTensor("out.weight", "F16", (1, 16), ())
    own = StoredTensor("optimizer.out.weight.sum", "F16", (1, 16), (), part="state")
    other = StoredTensor("env.out.weight.sum", "F16", (4,), (), part="state")
    (found,) = name_moments([StoredCheckpoint("a.pt", "torch", 5, (weight, own, other))])
    assert [(t.part, t.parameter, t.moment) for t in found.tensors] == [
        ("parameter", None, None),
        ("moment", "out.weight", "sum"),
        ("state", None, None),
    ]
