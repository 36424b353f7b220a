"""The facts that maintainers ask for, as rows: versions, precision, settings, checkpoints."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from nanautopsy.checkpoints.damage import damaged, damaged_moments
from nanautopsy.model import Autopsy, Fact, Source
from nanautopsy.render._facts import worst_first
from nanautopsy.render._format import scalar
from nanautopsy.wording import Phrase, counted, listed, phrase, shortlist

PACKAGES = tuple(
    "torch jax jaxlib flax optax tensorflow keras transformers accelerate deepspeed megatron-core "
    "lightning pytorch-lightning peft trl flash-attn xformers bitsandbytes transformer-engine "
    "triton numpy".split()
)
"""The versions that threads ask for first (CASES, section 5)."""
MACHINE = ("python", "os", "gpu", "gpu_count", "driver", "cuda")
PRECISION = {
    "parameter_dtype": phrase("parameters"),
    "compute_dtype": phrase("compute"),
    "optimizer_state_dtype": phrase("optimizer state"),
    "published_dtype": phrase("model published in"),
    "loss_scaler": phrase("loss scaler"),
    "loss_scale_initial": phrase("initial loss scale"),
    "fp8": phrase("8-bit floating point"),
    "quantization_bits": phrase("bits of quantized weights"),
}
SETTINGS = (
    *("learning_rate", "lr_schedule", "warmup_steps", "warmup_ratio", "gradient_clipping"),
    *("micro_batch_size", "gradient_accumulation", "train_batch_size", "optimizer"),
    *("adam_epsilon", "adam_beta1", "adam_beta2", "weight_decay", "zero_stage", "overlap_comm"),
    *("reduce_bucket_size", "offload_optimizer", "tensor_parallel", "pipeline_parallel"),
    *("attention", "compile", "logging_steps", "logging_nan_inf_filter"),
)
MOST_TENSORS = 8


@dataclass(frozen=True, slots=True)
class Row:
    """A name, what is known, and where it stands."""

    name: str
    value: str
    source: Source


def versions(autopsy: Autopsy) -> list[Row]:
    """Libraries, machine and GPU, as far as they are known."""
    run = autopsy.run
    rows = [_fact(name, run.environment) for name in MACHINE if name in run.environment]
    if "compute_capability" in run.facts:
        rows.append(_fact("compute_capability", run.facts))
    for name in PACKAGES:
        package = run.packages.get(name)
        if package is not None:
            rows.append(Row(name, package.version, package.source))
    return rows


def precision(autopsy: Autopsy) -> list[Row]:
    """What parameters, compute and optimizer state were, and what scaled the loss."""
    facts = autopsy.run.facts
    return [
        Row(label, scalar(facts[name].value), facts[name].source)
        for name, label in PRECISION.items()
        if name in facts
    ]


def settings(autopsy: Autopsy) -> list[Row]:
    """The hyper-parameters and switches that decide such failures."""
    facts = autopsy.run.facts
    return [_fact(name, facts) for name in SETTINGS if name in facts]


def command(autopsy: Autopsy) -> Row | None:
    """The command line, where anything states it."""
    environment = autopsy.run.environment
    return _fact("command", environment) if "command" in environment else None


def checkpoint_facts(autopsy: Autopsy) -> Iterable[tuple[str, Source]]:
    """Sentences on load warnings and on each checkpoint that is not sound, and the last sound."""
    for kind in ("weights-newly-initialized", "weights-not-used", "weights-mismatched"):
        for event in autopsy.run.events_of(kind)[:2]:
            yield event.text, event.source
    sound: tuple[str, Source] | None = None
    for checkpoint in autopsy.run.checkpoints:
        if not checkpoint.tensors:
            continue
        bad = [*damaged(checkpoint), *damaged_moments(checkpoint)]
        if not bad:
            if checkpoint.holds == "model":
                text = phrase("{path}: every tensor is finite", path=checkpoint.path)
                sound = (text, Source(checkpoint.path))
            continue
        if sound is not None:
            yield sound
        ordered = [t for t in worst_first(checkpoint) if t in bad]
        places = [replace(tensor.at(), path="") for tensor in ordered]
        named = shortlist([str(place).strip() for place in places], MOST_TENSORS)
        if len(bad) == len(checkpoint.tensors):
            named = phrase("{first}, and so on in all others", first=str(places[0]).strip())
        yield (
            phrase(
                "{path}: {n} of {all} tensors are non-finite; first bad element: {named}",
                path=checkpoint.path,
                n=len(bad),
                all=len(checkpoint.tensors),
                named=named,
            ),
            Source(checkpoint.path),
        )
        return
    if sound is not None:
        yield sound


def _fact(name: str, facts: Mapping[str, Fact]) -> Row:
    fact = facts[name]
    value = fact.value
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return Row(name, scalar(value), fact.source)


def missing_versions(autopsy: Autopsy) -> Phrase | None:
    """What of the environment nothing states, in a list; ``None`` when all of it is known."""
    run = autopsy.run
    lacking: list[str] = []
    if not {"torch", "jax", "tensorflow"} & run.packages.keys():
        lacking.append(phrase("version of the framework"))
    if "python" not in run.environment:
        lacking.append("Python")
    if "gpu" not in run.environment:
        lacking.append(phrase("name of the GPU"))
    if "compute_capability" not in run.facts:
        lacking.append(phrase("compute capability"))
    if "driver" not in run.environment and "cuda" not in run.environment:
        lacking.append(phrase("driver and CUDA version"))
    return listed(lacking) if lacking else None


def batch_facts(autopsy: Autopsy) -> Sequence[tuple[str, Source]]:
    """What is known of the data: findings on inputs, labels and loss terms before the onset."""
    telling = ("odd-input", "isolated-losses", "loss-term-alone")
    found = [(f.text, f.source) for f in autopsy.findings if f.id in telling]
    mismatches = autopsy.run.events_of("labels-mismatch")
    if mismatches:
        text = counted(
            len(mismatches),
            "the log says once that a sample's labels are masked",
            "the log says {n} times that a sample's labels are masked",
        )
        found.append((text, mismatches[0].source))
    return found
