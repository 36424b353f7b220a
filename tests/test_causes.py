"""Each cause against runs built in memory: the mechanism fires it, its look-alikes do not."""

from __future__ import annotations

import importlib
import math

import pytest
from builders import INF, NAN, case_of, checkpoint, event, make_run, series, tensor

from nanautopsy import thresholds
from nanautopsy.causes.interface import Case, Cause, Weighing
from nanautopsy.diagnose import Diagnosis, calibrated, diagnose, load_causes
from nanautopsy.model import Assessment, Run, Source

CAUSES = load_causes().parts
BLOCKS = tuple(f"model.decoder.layers.{i}.fc1.weight" for i in range(4))


def verdict_of(run: Run) -> Diagnosis:
    return diagnose(case_of(run), CAUSES)


def first(run: Run) -> str | None:
    named = verdict_of(run).causes
    return named[0].id if named else None


def status(run: Run, cause: str) -> str:
    diagnosis = verdict_of(run)
    return next(c.status for c in (*diagnosis.causes, *diagnosis.considered) if c.id == cause)


@pytest.mark.parametrize("cause", CAUSES, ids=lambda cause: cause.id)
def test_every_cause_is_named_as_its_file_and_explains_itself(cause: Cause) -> None:
    module = importlib.import_module("nanautopsy.causes." + cause.id.replace("-", "_"))
    assert module.CAUSE is cause
    page = module.__doc__ or ""
    for part in ("What happens:", "Evidence for:", "Evidence against:", "Confirm:", "Fix:"):
        assert part in page
    assert cause.title
    assert cause.remedies


@pytest.mark.parametrize("cause", CAUSES, ids=lambda cause: cause.id)
def test_no_cause_fires_on_a_healthy_run(cause: Cause) -> None:
    run = make_run(
        series("loss", [3.0, 2.5, 2.2, 2.0, 1.9, 1.8, 1.7, 1.6]),
        series("learning_rate", [1e-6, 1e-5, 1e-4, 1e-3, 1e-3, 1e-3, 1e-3, 1e-3]),
        checkpoint(0, tensor("head.weight", zero=16)),
        event("weights-newly-initialized", keys=BLOCKS, count=4),
        config={"training": {"fp16": True}, "deepspeed": {"zero_optimization.stage": 2}},
        packages={"deepspeed": "0.14.0"},
    )
    assert status(run, cause.id) in ("quiet", "not-applicable")


# --- zero-init ----------------------------------------------------------------------------------


def _zero_projector(*, loss: list[float], norm: list[float], name: str = "img/head/kernel") -> Run:
    return make_run(
        series("training_loss", loss),
        series("l2_grads", norm),
        checkpoint(0, tensor(name, zero=16), tensor("llm/layers/0/mlp/linear")),
    )


def test_zero_projector_with_nan_gradients_at_the_first_step() -> None:
    assert first(_zero_projector(loss=[4.6, NAN], norm=[NAN, NAN])) == "zero-init"


def test_a_zero_layer_is_no_cause_when_the_loss_went_first() -> None:
    assert first(_zero_projector(loss=[INF, NAN], norm=[NAN, NAN])) != "zero-init"


def test_a_zero_layer_is_no_cause_of_a_late_death() -> None:
    healthy = [4.0 - 0.01 * i for i in range(200)]
    run = _zero_projector(loss=[*healthy, NAN], norm=[*[1.0] * 199, NAN, NAN])
    assert status(run, "zero-init") == "quiet"


@pytest.mark.parametrize(
    "name",
    ["layers.0.q_proj.lora_B.weight", "blocks.3.adaLN_modulation.1.weight", "zero_convs.0.weight"],
)
def test_zeros_by_design_are_context(name: str) -> None:
    run = _zero_projector(loss=[4.6, NAN], norm=[NAN, NAN], name=name)
    assert status(run, "zero-init") == "quiet"


@pytest.mark.parametrize(("blocks", "expected"), [(4, "quiet"), (1, "fired")])
def test_zeros_that_every_block_repeats_are_by_design(blocks: int, expected: str) -> None:
    weights = [
        tensor(f"h.{i}.attn.{name}.weight", zero=16 if name == "c_proj" and i < blocks else 0)
        for i in range(4)
        for name in ("c_attn", "c_proj")
    ]
    run = make_run(
        series("loss", [4.6, NAN]), series("grad_norm", [NAN, NAN]), checkpoint(0, *weights)
    )
    assert status(run, "zero-init") == expected


# --- fp16-overflow ------------------------------------------------------------------------------


def test_a_bfloat16_model_in_float16_from_the_first_step() -> None:
    run = make_run(
        series("loss", [NAN, NAN, NAN]),
        config={"log": {"autocast_dtype": "torch.float16"}, "model": {"torch_dtype": "bfloat16"}},
    )
    assert first(run) == "fp16-overflow"


GROWING = [1.0 * 1.2**i for i in range(20)]
STEADY = [1.0 + 0.01 * (i % 3) for i in range(20)]


@pytest.mark.parametrize(
    ("norms", "expected"), [(GROWING, "fp16-overflow"), (STEADY, None)], ids=["grown", "sudden"]
)
def test_float16_explains_growth_better_than_a_sudden_nan(
    norms: list[float], expected: str | None
) -> None:
    run = make_run(
        series("loss", [*STEADY, NAN, NAN]),
        series("grad_norm", [*norms, NAN, NAN]),
        config={"training": {"fp16": True}},
    )
    assert first(run) == expected


@pytest.mark.parametrize(("dtype", "expected"), [("F16", "fp16-overflow"), ("F32", None)])
def test_float16_weights_that_a_run_saved_tell_its_precision(
    dtype: str, expected: str | None
) -> None:
    saved = [tensor(f"h.{i}.weight", dtype=dtype, format_max=65504.0, nan=16) for i in range(3)]
    run = make_run(
        series("loss", [*STEADY, NAN]), series("grad_norm", [*GROWING, NAN]), checkpoint(21, *saved)
    )
    assert first(run) == expected


def test_a_run_that_goes_on_after_a_nan_loss_does_skip_steps() -> None:
    run = make_run(series("loss", [*STEADY, NAN, *STEADY]), config={"training": {"fp16": True}})
    assert first(run) is None


def test_a_loss_scale_that_only_falls() -> None:
    skips = [
        event("overflow-skipped", scale_before=2.0**k, scale_after=2.0 ** (k - 1), step=16 - k)
        for k in range(16, 0, -1)
    ]
    run = make_run(*skips, event("loss-scale-minimum", step=16))
    assert first(run) == "fp16-overflow"


@pytest.mark.parametrize("flag", [{"bf16": True}, {"mixed_precision": "bf16"}, {"precision": "32"}])
def test_float16_is_not_blamed_where_it_is_not_used(flag: dict[str, bool | str]) -> None:
    run = make_run(series("loss", [3.0, NAN, NAN]), config={"training": flag})
    assert status(run, "fp16-overflow") == "quiet"


def test_without_a_word_on_precision_it_does_not_apply() -> None:
    run = make_run(series("loss", [3.0, NAN, NAN]))
    assert status(run, "fp16-overflow") == "not-applicable"
    assert first(run) is None


def test_activations_at_the_end_of_float16_decide() -> None:
    run = make_run(
        series("loss", [3.0, 2.9, 2.8, NAN]),
        series("activation_max/layers.3.mlp", [9e3, 3e4, 6.4e4, INF]),
        config={"training": {"fp16": True}},
    )
    assert first(run) == "fp16-overflow"


@pytest.mark.parametrize(("step", "supports"), [(30, True), (10, False)])
def test_weights_that_outlive_the_loss_tell_a_forward_overflow(step: int, supports: bool) -> None:
    run = make_run(
        series("loss", [*STEADY, *[NAN] * 12]),
        series("grad_norm", [INF, INF, *GROWING[2:], *[NAN] * 12]),
        checkpoint(step, tensor("h.0.weight"), tensor("h.1.weight")),
        config={"training": {"fp16": True}},
    )
    assert (first(run) == "fp16-overflow") is supports


def test_steps_that_were_skipped_are_a_trace_of_a_scaler() -> None:
    run = make_run(
        series("loss", [9.0, 8.0, 8.5, 9.0, NAN, NAN]),
        series("grad_norm", [INF, 40.0, 50.0, 60.0, NAN, NAN]),
        config={"log": {"compute_dtype": "fp16"}},
    )
    diagnosis = verdict_of(run)
    cause = next(c for c in (*diagnosis.causes, *diagnosis.considered) if c.id == "fp16-overflow")
    assert not any("no trace" in e.text for e in cause.evidence)


# --- attention-overflow -------------------------------------------------------------------------


def _growing_attention(layer: str, factor: float = 40.0) -> Run:
    steps = range(1, 7)
    grown = [factor ** (i / 5) for i in range(6)]
    names = ("self_attn.q_proj", "self_attn.k_proj", "mlp.up_proj", "mlp.down_proj", "o_proj")
    norms = [
        series(f"weights_norm/model.layers.0.{n}", grown if "q_" in n or "k_" in n else [1.0] * 6)
        for n in names
    ]
    return make_run(
        series("train/loss", [3, 2.9, 2.8, 2.8, 2.9, NAN], steps=list(steps)),
        series(f"activation_max/{layer}", [1, 5, 20, 200, 4000, INF]),
        series("activation_max/model.layers.0.input", [1.0] * 6),
        *norms,
        config={"training": {"fp16": True}},
    )


def test_growing_queries_and_keys_outrank_plain_float16() -> None:
    run = _growing_attention("model.layers.0.self_attn")
    assert first(run) == "attention-overflow"


def test_attention_is_not_blamed_when_the_mlp_went_first() -> None:
    assert first(_growing_attention("model.layers.0.mlp.act")) != "attention-overflow"


def test_attention_that_did_not_grow_is_quiet() -> None:
    run = _growing_attention("model.layers.0.self_attn", factor=1.2)
    assert status(run, "attention-overflow") == "quiet"


# --- lr-spike -----------------------------------------------------------------------------------


def _jump_at(jump: int, death: int, length: int = 60, factor: float = 100.0) -> Run:
    rates = [1e-3 * (factor if i >= jump else 1.0) for i in range(1, length + 1)]
    loss = [
        2.0 if i < jump or i >= death else 2.0 * 3.0 ** (i - jump) for i in range(1, length + 1)
    ]
    loss = [NAN if i + 1 >= death else v for i, v in enumerate(loss)]
    return make_run(series("train/loss", loss), series("train/lr", rates))


def test_the_rate_jumps_and_the_loss_follows() -> None:
    assert first(_jump_at(jump=40, death=48)) == "lr-spike"


@pytest.mark.parametrize("tag", ["learn_rate", "step_size"])
def test_the_rate_is_known_by_other_words(tag: str) -> None:
    rates = [1e-3] * 30 + [1.0] * 10
    assert first(make_run(series("mse", [2.0] * 31 + [NAN] * 9), series(tag, rates))) == "lr-spike"


def test_a_jump_after_death_is_no_cause() -> None:
    assert first(_jump_at(jump=50, death=40)) != "lr-spike"


def test_a_jump_that_nothing_followed_is_no_cause() -> None:
    rates = [1e-3 if i < 30 else 1e-1 for i in range(60)]
    loss = [2.0 + 0.1 * (i % 2) if i < 50 else NAN for i in range(60)]
    run = make_run(series("train/loss", loss), series("train/lr", rates))
    assert first(run) is None


def test_a_warmup_is_no_jump() -> None:
    rates = [1e-3 * min(1.0, i / 20) for i in range(0, 60)]
    run = make_run(series("loss", [*[2.0] * 50, *[NAN] * 10]), series("lr", rates))
    assert status(run, "lr-spike") == "quiet"


def test_a_cyclic_schedule_is_no_jump() -> None:
    rates = [1e-3 * (0.5 + 0.5 * math.cos(math.pi * (i % 20) / 20)) + 1e-6 for i in range(60)]
    run = make_run(series("loss", [*[2.0] * 50, *[NAN] * 10]), series("lr", rates))
    assert status(run, "lr-spike") == "quiet"


def test_without_a_rate_the_spike_does_not_apply() -> None:
    assert status(make_run(series("loss", [2.0, NAN])), "lr-spike") == "not-applicable"


# --- version-bug --------------------------------------------------------------------------------

_OVERLAP = {"zero_optimization.stage": 2, "zero_optimization.overlap_comm": True}


def _masked(version: str, zero: dict[str, int | bool]) -> Run:
    return make_run(
        series("loss", [*[2.0] * 10, *[0.0] * 5]),
        series("grad_norm", [*[1.1] * 9, *[NAN] * 6]),
        config={"deepspeed": zero | {"bf16.enabled": True}},
        packages={"deepspeed": version},
    )


def test_version_condition_and_signature_together() -> None:
    assert first(_masked("0.14.0", _OVERLAP)) == "version-bug"


@pytest.mark.parametrize("version", ["0.12.3", "0.14.3", "0.17.1"])
def test_a_version_out_of_range_is_quiet(version: str) -> None:
    assert status(_masked(version, _OVERLAP), "version-bug") == "quiet"


@pytest.mark.parametrize(
    "zero",
    [
        {"zero_optimization.stage": 2, "zero_optimization.overlap_comm": False},
        {"zero_optimization.stage": 3, "zero_optimization.overlap_comm": True},
        {"zero_optimization.stage": 2},
    ],
)
def test_the_range_alone_is_context(zero: dict[str, int | bool]) -> None:
    assert status(_masked("0.14.0", zero), "version-bug") == "quiet"


def test_the_defect_needs_good_steps_before() -> None:
    run = make_run(
        series("loss", [0.0, 0.0]),
        series("grad_norm", [NAN, NAN]),
        config={"deepspeed": _OVERLAP},
        packages={"deepspeed": "0.14.0"},
    )
    assert status(run, "version-bug") == "quiet"


# --- wrong-checkpoint ---------------------------------------------------------------------------


def _loaded(new: tuple[str, ...], unused: tuple[str, ...] = (), **model: str) -> Run:
    events = [event("weights-newly-initialized", keys=new, count=len(new), **model)]
    if unused:
        events.append(event("weights-not-used", keys=unused, count=len(unused)))
    return make_run(series("loss", [NAN, NAN]), *events)


def test_blocks_that_the_checkpoint_holds_under_another_prefix() -> None:
    unused = tuple("language_model." + key for key in BLOCKS)
    assert first(_loaded(BLOCKS, unused)) == "wrong-checkpoint"


def test_blocks_that_are_new_are_enough_at_the_first_step() -> None:
    assert first(_loaded(BLOCKS)) == "wrong-checkpoint"


def test_a_new_classification_head_is_fine_tuning() -> None:
    run = _loaded(("classifier.weight", "classifier.bias"), ("lm_head.weight",))
    assert status(run, "wrong-checkpoint") == "quiet"


# --- ranking ------------------------------------------------------------------------------------


def _fixed(name: str, strength: float) -> Cause:
    def assess(case: Case) -> Assessment:
        weighing = Weighing()
        weighing.speaks_for(strength, "a fact", Source("log"))
        return weighing.fired()

    return Cause(name, name, assess, ("do",), ())


def test_rivals_share_the_probability() -> None:
    case = case_of(make_run(series("loss", [NAN])))
    alone = diagnose(case, [_fixed("a", 4.0)]).causes[0].probability
    both = diagnose(case, [_fixed("a", 4.0), _fixed("b", 4.0)])
    odds = math.exp(thresholds.PRIOR + 4.0)
    assert alone == pytest.approx(calibrated(odds / (1 + odds)), abs=1e-6)
    assert both.causes == ()
    shared = pytest.approx(calibrated(odds / (1 + 2 * odds)), abs=1e-6)
    assert [c.probability for c in both.considered] == [shared] * 2


def test_calibration_keeps_the_order_and_one_half_and_is_never_certain() -> None:
    shares = [0.0, 0.01, 0.3, 0.5, 0.6, 0.99, 1.0]
    said = [calibrated(share) for share in shares]
    assert said == sorted(said)
    assert (said[0], said[3], said[-1]) == (0.0, 0.5, thresholds.SUREST)
    assert said[2] < 0.3 and said[4] > 0.6


def test_below_the_floor_nothing_is_named() -> None:
    case = case_of(make_run(series("loss", [NAN])))
    assert diagnose(case, [_fixed("weak", thresholds.WEAK)]).causes == ()


def test_a_failing_rule_is_visible_and_stops_nothing() -> None:
    def broken(case: Case) -> Assessment:
        raise KeyError("gone")

    case = case_of(make_run(series("loss", [NAN])))
    diagnosis = diagnose(case, [Cause("broken", "t", broken, (), ()), _fixed("good", 9.0)])
    assert [c.id for c in diagnosis.causes] == ["good"]
    failed = diagnosis.considered[0]
    assert failed.status == "failed"
    assert "KeyError" in failed.reason


def test_gradients_near_float16s_maximum() -> None:
    climbing = series("grad_norm", [*[5e3 + 10 * i for i in range(30)], 1.8e4, NAN, NAN])
    loss = series("loss", [*[300.0] * 31, NAN, NAN])
    half = {"training": {"dtype": "float16"}}
    assert first(make_run(loss, climbing, config=half)) == "fp16-overflow"
    single = {"training": {"dtype": "float32"}}
    assert first(make_run(loss, climbing, config=single)) != "fp16-overflow"
