"""Formats that were really used, what they can hold, and how large attention logits can be."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from builders import (
    INF,
    NAN,
    case_of,
    checkpoint,
    detect,
    event,
    make_run,
    named_cause,
    series,
    tensor,
)

from nanautopsy.causes import fp16_overflow
from nanautopsy.detectors.precision import saved
from nanautopsy.detectors.predicted_logits import predicted
from nanautopsy.model import Checkpoint, EnvironmentRecord, Run, Source, TensorHealth

WIDE, HEADS = 4096, 32
LLAMA = {"model": {"hidden_size": WIDE, "num_attention_heads": HEADS}}


def block(query: float, gain: float = 1.0, **norms: float) -> list[TensorHealth]:
    """One block with projections of this root mean square behind a norm of this gain."""
    name = "model.layers.0.{}.weight".format
    tensors = [
        tensor(name(f"self_attn.{kind}_proj"), (WIDE, WIDE), rms=query, max_abs=4 * query)
        for kind in "qk"
    ]
    tensors.append(tensor(name("input_layernorm"), (WIDE,), rms=gain, max_abs=gain))
    for kind, value in norms.items():
        tensors.append(tensor(name(f"self_attn.{kind}_norm"), (128,), rms=value, max_abs=value))
    return tensors


def logit(*tensors: TensorHealth) -> float:
    found = predicted(make_run(checkpoint(100, *tensors), config=LLAMA))
    assert found is not None
    value = found.data["value"]
    assert isinstance(value, float)
    return value


def test_a_sound_model_has_logits_of_tens() -> None:
    assert logit(*block(0.02)) == pytest.approx(0.02**2 * 4096 * 128**0.5)


def test_gains_count_squared_and_projections_as_a_product() -> None:
    assert logit(*block(0.02, gain=5.0)) == pytest.approx(25 * logit(*block(0.02)))
    assert logit(*block(0.06)) == pytest.approx(9 * logit(*block(0.02)))


def test_normalized_queries_and_keys_bound_them_whatever_the_projections_are() -> None:
    assert logit(*block(9.0, q=1.5, k=2.0)) == pytest.approx(3.0 * 128**0.5)


def test_the_prediction_is_what_random_weights_give() -> None:
    random = np.random.default_rng(0)
    width, head = 256, 32
    x = random.normal(size=(200, width))
    x /= np.sqrt((x**2).mean(axis=1, keepdims=True))
    query = random.normal(0, 0.1, (width, head))
    found = predicted(
        make_run(
            checkpoint(
                1,
                tensor("h.0.attn.q_proj.weight", (width, width), rms=0.1),
                tensor("h.0.attn.k_proj.weight", (width, width), rms=0.1),
            ),
            config={"model": {"head_dim": head}},
        )
    )
    assert found is not None
    aligned = float(((x @ query) ** 2).sum(axis=1).mean() / head**0.5)
    assert float(str(found.data["value"])) == pytest.approx(aligned, rel=0.1)


def test_a_damaged_checkpoint_and_a_model_without_attention_predict_nothing() -> None:
    bad = [replace(t, nan=1) for t in block(0.02)]
    assert predicted(make_run(checkpoint(100, *bad))) is None
    assert predicted(make_run(checkpoint(100, tensor("fc.weight"), tensor("out.weight")))) is None


def grown(query: float) -> str | None:
    """Named for logits that grew until the run died, with these projections saved before."""
    logits = series("attn/max_logit", [2.0**k for k in range(1, 18)])
    loss = series("loss", [2.0] * 17 + [NAN])
    start = checkpoint(1, *block(0.02), tensor("model.layers.0.mlp.up_proj.weight", rms=0.02))
    last = checkpoint(17, *block(query), tensor("model.layers.0.mlp.up_proj.weight", rms=0.02))
    return named_cause(logits, loss, start, last, config=LLAMA)


def test_predicted_logits_beside_logged_ones() -> None:
    assert grown(1.5) == "attention-overflow"


# --- formats ------------------------------------------------------------------------------------


def moments(step: int, dtype: str) -> Checkpoint:
    parts = [
        replace(tensor(f"{n}.{m}", dtype=dtype), part="moment", parameter=n, moment=m)
        for n in ("a.weight", "b.weight")
        for m in ("exp_avg", "exp_avg_sq")
    ]
    return Checkpoint(f"checkpoint-{step}/optimizer.pt", "torch", step, tuple(parts), "optimizer")


def model(step: int, dtype: str) -> Checkpoint:
    parts = tuple(tensor(n, dtype=dtype) for n in ("a.weight", "b.weight"))
    return Checkpoint(f"checkpoint-{step}/model.safetensors", "safetensors", step, parts)


def masters(step: int) -> Checkpoint:
    parts = [
        replace(tensor(f"{n}.master", dtype="F32"), part="master", parameter=n)
        for n in ("a.weight", "b.weight")
    ]
    return Checkpoint(f"checkpoint-{step}/masters.pt", "torch", step, tuple(parts), "optimizer")


def ids(run: Run) -> set[str]:
    return {finding.id for finding in detect(run)}


@pytest.mark.parametrize("dtype", ["F16", "BF16"])
def test_updates_that_are_computed_in_16_bits(dtype: str) -> None:
    run = make_run(model(10, dtype), moments(10, dtype))
    found = saved(run)
    assert found is not None
    assert (found.parameters, found.moments, found.masters) == (dtype, dtype, None)
    assert "updates-in-16-bits" in ids(run)


def test_wider_state_or_a_master_copy_is_what_mixed_precision_is() -> None:
    assert "updates-in-16-bits" not in ids(make_run(model(10, "F16"), moments(10, "F32")))
    assert "updates-in-16-bits" not in ids(
        make_run(model(10, "F16"), moments(10, "F16"), masters(10))
    )


@pytest.mark.parametrize(
    ("epsilon", "vanishes"), [(1e-8, True), (5.9e-8, True), (None, True), (6.1e-8, False)]
)
def test_an_epsilon_below_the_smallest_subnormal(epsilon: float | None, vanishes: bool) -> None:
    """float16's is 2**-24 = 5.96e-8."""
    settings = {"optimizer": "AdamW"} | ({} if epsilon is None else {"adam_epsilon": epsilon})
    loss = series("loss", [2.3, NAN, NAN, NAN])
    parts = loss, model(3, "F16"), moments(3, "F16")
    named = named_cause(*parts, config={"training": settings})
    assert (named == "optimizer-epsilon") is vanishes


def test_a_master_copy_holds_the_epsilon() -> None:
    loss = series("loss", [2.3, NAN, NAN, NAN])
    parts = loss, model(3, "F16"), moments(3, "F16"), masters(3)
    config = {"training": {"optimizer": "AdamW", "adam_epsilon": 1e-8}}
    assert named_cause(*parts, config=config) != "optimizer-epsilon"


def test_a_model_published_in_bfloat16_that_runs_in_float16() -> None:
    loss = series("loss", [NAN] * 5)
    runs = {"training": {"fp16": True}}
    published = {"model": {"torch_dtype": "bfloat16", "model_type": "qwen2"}}
    assert named_cause(loss, config=runs | published) == "fp16-overflow"
    same = {"training": {"bf16": True}}
    assert named_cause(loss, config=same | published) != "fp16-overflow"


def with_gpu(run: Run, name: str) -> Run:
    from nanautopsy.facts import derive
    from nanautopsy.model import ConfigRecord

    machine = EnvironmentRecord(Source("env.txt"), facts={"gpu": name})
    half = "fp16" if "training.fp16" in run.config else "bf16"
    record = ConfigRecord("training", {half: True}, Source("training.json"))
    return replace(run, facts=derive([record], [machine], run.events, run.series))


def test_bfloat16_below_compute_capability_8() -> None:
    run = make_run(series("loss", [2.0] * 5), config={"training": {"bf16": True}})
    assert "bfloat16-emulated" in ids(with_gpu(run, "Tesla T4"))
    assert "bfloat16-emulated" not in ids(with_gpu(run, "NVIDIA A100-SXM4-80GB"))


@pytest.mark.parametrize(("gpu", "advised"), [("Tesla T4", True), ("NVIDIA H100", False)])
def test_what_to_do_about_float16_where_there_is_no_bfloat16(gpu: str, advised: bool) -> None:
    run = make_run(
        series("loss", [INF, NAN, NAN]),
        event("overflow-skipped", step=1, scale_before=65536.0, scale_after=32768.0),
        config={"training": {"fp16": True}},
    )
    assessment = fp16_overflow.CAUSE.assess(case_of(with_gpu(run, gpu)))
    assert any("emulates bfloat16" in text for text in assessment.remedies) is advised


def test_headroom_to_65504_from_saved_weights() -> None:
    near = checkpoint(20, tensor("a.weight"), tensor("b.weight", max_abs=5.2e4))
    run = make_run(series("loss", [2.0] * 20), near)
    assert "low-fp16-headroom" in ids(run)
    loss = series("loss", [2.0] * 25 + [INF, NAN])
    assert named_cause(loss, near, config={"training": {"fp16": True}}) == "fp16-overflow"
    far = checkpoint(20, tensor("a.weight"), tensor("b.weight", max_abs=3.0))
    assert "low-fp16-headroom" not in ids(make_run(series("loss", [2.0] * 20), far))
