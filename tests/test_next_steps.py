"""What to collect next: an experiment for every pair of causes, in the words of the framework."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from typing import Any

import pytest
from builders import NAN, case_of, event, make_run, series

from nanautopsy.causes.interface import Case
from nanautopsy.coverage import cover
from nanautopsy.diagnose import diagnose, load_causes
from nanautopsy.experiments import EXPERIMENTS
from nanautopsy.frameworks import FRAMEWORKS, framework_of
from nanautopsy.model import ArtifactReport, MissingEvidence, RankedCause
from nanautopsy.next_steps import deciding, next_steps

IDS = [cause.id for cause in load_causes().parts]
SUDDEN = series("loss", [2.0 + 0.01 * (i % 3) for i in range(40)] + [NAN] * 5)


def ranked(cause: str, probability: float) -> RankedCause:
    return RankedCause(cause, cause, probability, "fired", (), (), ())


def steps(case: Case, *fired: RankedCause) -> tuple[MissingEvidence, ...]:
    named = tuple(c for c in fired if c.probability >= 0.5)
    return next_steps(case, named, tuple(c for c in fired if c not in named))


@pytest.mark.parametrize("cause", IDS)
def test_every_cause_has_a_deciding_experiment(cause: str) -> None:
    assert deciding(cause, "another") in EXPERIMENTS
    (first, *_) = steps(case_of(make_run(SUDDEN)), ranked(cause, 0.4))
    assert cause in first.what


def test_every_pair_has_one() -> None:
    assert {deciding(a, b) for a, b in combinations(IDS, 2)} <= set(EXPERIMENTS)
    assert deciding("fp16-overflow", "lr-too-high") == deciding("lr-too-high", "fp16-overflow")


@pytest.mark.parametrize("key", EXPERIMENTS)
def test_an_experiment_is_whole(key: str) -> None:
    experiment = EXPERIMENTS[key]
    assert experiment.outcome
    assert "any" in experiment.how
    assert set(experiment.how) <= set(FRAMEWORKS)
    assert all("\n" not in how for how in experiment.how.values())


@pytest.mark.parametrize(
    ("pair", "words"),
    [
        (("bad-input-data", "communication-race"), "torch.save(batch"),
        (("communication-race", "hardware-fault"), "TORCH_NCCL_NAN_CHECK=1"),
        (("fp16-overflow", "lr-too-high"), "torch.bfloat16"),
        (("singular-gradient", "fully-masked-attention"), "set_detect_anomaly(True)"),
        (("attention-overflow", "fp16-overflow"), "DebugUnderflowOverflow"),
    ],
)
def test_the_experiment_depends_on_which_causes_compete(pair: tuple[str, str], words: str) -> None:
    first, *_ = steps(case_of(make_run(SUDDEN)), ranked(pair[0], 0.4), ranked(pair[1], 0.3))
    assert first.what == f"what tells {pair[0]} from {pair[1]}"
    assert words in first.how_to_collect


TRAINER = {"per_device_train_batch_size": 1}


@pytest.mark.parametrize(
    ("config", "packages", "framework", "words"),
    [
        ({"training": TRAINER}, {"deepspeed": "0.1"}, "trainer", "--debug underflow_overflow"),
        ({}, {"pytorch-lightning": "2.0"}, "lightning", "detect_anomaly=True"),
        ({}, {"jax": "0.4"}, "jax", "JAX_DEBUG_NANS=1"),
        ({}, {"keras": "3.0"}, "keras", "enable_check_numerics"),
        ({}, {"megatron-core": "0.14"}, "megatron", "--check-for-nan-in-loss-and-grad"),
        ({"command": {"tensor-model-parallel-size": 2}}, {}, "megatron", "--check-for-nan"),
        ({"deepspeed": {"steps_per_print": 1}}, {}, "deepspeed", "DebugUnderflowOverflow"),
        ({}, {"torch": "2.1", "jax": "0.4"}, "any", "DebugUnderflowOverflow"),
        ({}, {}, "any", "DebugUnderflowOverflow"),
    ],
)
def test_in_the_words_of_the_framework(
    config: Any, packages: dict[str, str], framework: str, words: str
) -> None:
    run = make_run(SUDDEN, config=config, packages=packages)
    assert framework_of(run) == framework
    first, *_ = steps(case_of(run), ranked("attention-overflow", 0.4), ranked("fp16-overflow", 0.3))
    assert words in first.how_to_collect


def test_it_names_the_step() -> None:
    first, *_ = steps(case_of(make_run(SUDDEN)), ranked("bad-input-data", 0.4))
    assert "41" in first.how_to_collect
    assert "{step}" not in first.how_to_collect


def test_it_says_so_where_no_step_is_known() -> None:
    only = replace(case_of(make_run(SUDDEN)), onset=None, findings=())
    for cause in IDS:
        for step in steps(only, ranked(cause, 0.4)):
            assert "step the" not in step.how_to_collect
            assert "{" not in step.how_to_collect.replace("bf16: {", "").replace("fp16: {", "")
            assert "None" not in step.how_to_collect


def test_a_sure_answer_needs_none() -> None:
    case = case_of(make_run(SUDDEN))
    assert steps(case, ranked("fp16-overflow", 0.9)) == ()
    assert steps(case, ranked("fp16-overflow", 0.6), ranked("lr-too-high", 0.2))


def test_a_healthy_run_needs_none() -> None:
    assert next_steps(case_of(make_run(series("loss", [2.0, 1.9, 1.8]))), (), ()) == ()


def test_an_undetermined_run_is_asked_what_such_an_onset_usually_is() -> None:
    overlapped = {"deepspeed": {"zero_optimization.overlap_comm": True, "bf16.enabled": True}}
    run = make_run(SUDDEN, config=overlapped)
    asked = steps(case_of(run))
    assert asked[0].what == "what tells communication-race from bad-input-data"
    assert len(asked) <= 3


def test_known_issues_that_fit_are_asked_about() -> None:
    run = make_run(
        SUDDEN, packages={"torch": "2.4.0"}, config={"model": {"attn_implementation": "sdpa"}}
    )
    known = [s for s in steps(case_of(run)) if "known issue" in s.what]
    assert [s.what for s in known] == [
        "whether the known issue torch-sdpa-fully-masked-row is at work"
    ]
    assert "torch 2.5" in known[0].how_to_collect


def test_they_come_before_what_is_missed() -> None:
    case = case_of(make_run(SUDDEN))
    diagnosis = diagnose(case, load_causes().parts)
    asked = next_steps(case, diagnosis.causes, diagnosis.considered)
    coverage = cover(case.run, case.verdict, case.onset, asked)
    assert coverage.missing[: len(asked)] == asked
    assert len(coverage.missing) > len(asked)


def test_what_the_run_has_done_already_is_not_asked_for() -> None:
    text = "Function 'PowBackward0' returned nan"
    said = event("backward-nonfinite", text, function="PowBackward0")
    asked = " ".join(step.how_to_collect for step in steps(case_of(make_run(said))))
    assert "stderr.log" in asked and "set_detect_anomaly" not in asked


def test_a_setting_of_optax_or_a_checkpoint_of_flax_tells_jax() -> None:
    optax = make_run(config={"training": {"optax_name": "scale_by_adam"}})
    assert framework_of(optax) == "jax"
    artifact = ArtifactReport("checkpoint_5", "flax-msgpack", 9, "read")
    assert framework_of(replace(make_run(), artifacts=(artifact,))) == "jax"
    assert framework_of(make_run(config={"training": {"name": "adam"}})) == "any"
