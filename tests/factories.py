"""Finished results built by hand, for the tests of what comes after the diagnosis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from nanautopsy.model import (
    ArtifactReport,
    Autopsy,
    Checkpoint,
    Coverage,
    Evidence,
    Fact,
    Finding,
    LogEvent,
    MissingEvidence,
    Onset,
    Package,
    Quote,
    RankedCause,
    Run,
    Scalar,
    Series,
    Source,
    TensorHealth,
    TimelineEntry,
)

LOG = "train.log"
STATE = "checkpoint-1200/trainer_state.json"
EVENTS = "runs/events.out.tfevents.1760000000.trainbox17.4242.0"
ONSET = 1204


def series(
    tag: str,
    steps: Sequence[int] | np.ndarray,
    values: Sequence[float] | np.ndarray,
    role: str = "other",
    path: str = EVENTS,
    **more: object,
) -> Series:
    """One metric with its role given."""
    return Series(
        tag=tag,
        steps=np.asarray(steps, dtype=np.int64),
        values=np.asarray(values, dtype=np.float64),
        source=Source(path, tag=tag),
        role=role,  # type: ignore[arg-type]
        **more,  # type: ignore[arg-type]
    )


def tensor(name: str, shape: tuple[int, ...] = (64, 64), **more: object) -> TensorHealth:
    """A healthy half-precision tensor, but for what ``more`` says."""
    values: dict[str, object] = {
        "name": name,
        "dtype": "F16",
        "shape": shape,
        "nan": 0,
        "pos_inf": 0,
        "neg_inf": 0,
        "zero": 0,
        "max_abs": 3.5,
        "rms": 0.02,
        "format_max": 65504.0,
        "first_nonfinite": None,
        "path": "checkpoint-1200/model.safetensors",
    }
    return TensorHealth(**(values | more))  # type: ignore[arg-type]


def facts(values: Mapping[str, Scalar], source: Source) -> dict[str, Fact]:
    """Each value as a fact from one place."""
    return {key: Fact(value, source) for key, value in values.items()}


def missing(number: int = 3) -> tuple[MissingEvidence, ...]:
    """Evidence that was not available."""
    entries = (
        MissingEvidence(
            "gradient norms of single layers",
            "the first layer to overflow would name the cause",
            "torch.autograd.set_detect_anomaly(True)",
        ),
        MissingEvidence(
            "a checkpoint from before the onset",
            "headroom per tensor shows whether the weights were already close to 65504",
            "save_steps=100, save_total_limit=3",
        ),
        MissingEvidence(
            "the values of the batch at step 1204",
            "an absurd input would explain a sudden onset",
            "log input min, max and mean, for example:\n"
            "for name, value in batch.items():\n    print(name, value.float().abs().max())",
        ),
    )
    return entries[:number]


def _curves(onset: int) -> tuple[Series, ...]:
    generator = np.random.default_rng(7)
    steps = np.arange(1, 1501)
    loss = 2.1 * np.exp(-steps / 500) + 0.4 + generator.normal(0, 0.02, steps.size)
    grown = np.clip(np.exp((steps - onset + 40) / 6), 1, 1e4)
    loss = np.where(steps > onset - 40, loss * np.minimum(grown, 30) ** 0.5, loss)
    loss = np.where(steps >= onset, 0.0, loss)  # the Trainer's filter hides NaN as 0.0
    grad = generator.lognormal(0, 0.2, steps.size) * grown
    grad = np.where(steps == onset - 1, np.inf, np.where(steps >= onset, np.nan, grad))
    rate = 2e-4 * np.minimum(steps / 100, 1) * (1 - steps / 3000)
    drops = np.searchsorted([1180, 1188, 1195, 1199, 1202, 1203, 1204], steps, side="right")
    scale = 65536.0 * 0.5**drops
    return (
        series("train/loss", steps, loss, "loss"),
        series("eval/loss", steps[99::100], [*np.linspace(2, 0.6, 12), *[np.nan] * 3], "eval_loss"),
        series("train/grad_norm", steps, grad, "grad_norm"),
        series("train/learning_rate", steps, rate, "learning_rate"),
        series("loss_scale", steps, scale, "loss_scale", LOG),
    )


def _layer_curves(onset: int, layers: int = 24) -> tuple[Series, ...]:
    steps = np.arange(onset - 60, onset + 20, 2)
    found = []
    for i in range(layers):
        values = 10.0 ** ((steps - onset) / 25 + i / 12)
        values = np.where(steps >= onset + max(0, 17 - i), np.nan, values)
        layer = f"model.layers.{i}.self_attn.q_proj"
        tag = f"gradients/{layer}"
        found.append(series(tag, steps, values, "layer_gradient", layer=layer))
    return tuple(found)


def _checkpoints() -> tuple[Checkpoint, ...]:
    good = tuple(
        tensor(
            f"model.layers.{i}.{part}.weight",
            max_abs=0.5 * 1.5**i,
            path="checkpoint-1100/model.safetensors",
        )
        for i in range(24)
        for part in ("self_attn.q_proj", "self_attn.k_proj", "mlp.down_proj")
    )
    bad = tuple(replace(t, path="checkpoint-1200/model.safetensors") for t in good)
    broken = tensor(
        "model.layers.17.self_attn.q_proj.weight",
        nan=4000,
        pos_inf=96,
        max_abs=65000.0,
        first_nonfinite=(0, 3),
    )
    zero = tensor("model.projector.weight", zero=4096, max_abs=0.0, rms=0.0)
    bad = (*(broken if t.name == broken.name else t for t in bad), zero)
    return (
        Checkpoint("checkpoint-1100", "safetensors", 1100, good),
        Checkpoint("checkpoint-1200", "safetensors", 1200, bad, missing=("lm_head.weight",)),
    )


def _causes() -> tuple[RankedCause, ...]:
    return (
        RankedCause(
            "fp16-overflow",
            "A value grew past 65504, the largest that fp16 holds",
            0.86,
            "fired",
            (
                Evidence(
                    True,
                    2.5,
                    "the gradient norm was Inf at step 1203, one step before NaN",
                    Source(STATE, line=4012, tag="grad_norm", step=1203),
                ),
                Evidence(
                    True,
                    2.0,
                    "the loss scale was halved 7 times in 24 steps and ended at 512",
                    Source(
                        LOG,
                        line=90211,
                        excerpt="[deepspeed] OVERFLOW! Rank 0 Skipping step. "
                        "Attempted loss scale: 1024, reducing to 512",
                    ),
                ),
                Evidence(True, 1.2, "fp16 is enabled", Source("ds_config.json", line=14)),
                Evidence(
                    False,
                    0.6,
                    "67 of 73 tensors kept a headroom above 1000 at step 1100",
                    Source("checkpoint-1100/model.safetensors", tensor="model.layers.3.mlp"),
                ),
            ),
            (
                "Train in bfloat16: set `bf16=True` and `fp16=False`, if the GPU has it.",
                "If it must be fp16, clip with `max_grad_norm=1.0` and raise "
                "`loss_scale_window` to 1000.",
            ),
            ("https://pytorch.org/docs/stable/amp.html", "javascript:alert(1)"),
        ),
        RankedCause(
            "attention-overflow",
            "Attention logits grew past what the format or softmax can hold",
            0.09,
            "fired",
            (
                Evidence(
                    True,
                    1.0,
                    "model.layers.17.self_attn.q_proj is the first layer with a NaN",
                    Source(
                        "checkpoint-1200/model.safetensors",
                        tensor="model.layers.17.self_attn.q_proj.weight",
                        index=(0, 3),
                    ),
                ),
            ),
            ("Normalize queries and keys (`qk_layernorm=True`).",),
            (),
        ),
    )


def _considered() -> tuple[RankedCause, ...]:
    def quiet(cause: str, title: str, reason: str, status: str = "quiet") -> RankedCause:
        return RankedCause(cause, title, 0.0, status, (), (), (), reason)  # type: ignore[arg-type]

    return (
        quiet("lr-spike", "The learning rate jumped", "the learning rate never jumped"),
        quiet(
            "hardware-fault",
            "One device computed wrongly",
            "only one rank was logged",
            "not-applicable",
        ),
        quiet("rl-collapse", "The policy collapsed", "KeyError: 'kl'", "failed"),
    )


def _timeline() -> tuple[TimelineEntry, ...]:
    start = 1_760_000_000.0
    return (
        TimelineEntry(None, start, "training starts", Source(LOG, line=12)),
        TimelineEntry(1100, start + 5500, "checkpoint saved", Source(LOG, line=80001)),
        TimelineEntry(1180, start + 5900, "first skipped step", Source(LOG, line=88011)),
        TimelineEntry(1203, None, "gradient norm Inf", Source(STATE, line=4012)),
        TimelineEntry(1204, start + 6020, "gradient norm NaN; logged loss 0.0", Source(STATE)),
        TimelineEntry(1500, start + 7500, "training complete", Source(LOG, line=99000)),
    )


def _run() -> Run:
    config = {
        "training.learning_rate": 2e-4,
        "training.fp16": True,
        "training.logging_nan_inf_filter": True,
        "training.max_grad_norm": None,
        "deepspeed.fp16.loss_scale_window": 100,
        "model.hidden_size": 2048,
        "model.pad_token": "<pad>",
    }
    environment = {"python": "3.11.9", "gpu": "NVIDIA V100-SXM2-32GB", "gpu_count": "8"}
    return Run(
        path="runs/llama-fp16",
        artifacts=(
            ArtifactReport(STATE, "trainer-state", 812_331, "read", (), "sha256:" + "ab" * 32),
            ArtifactReport(EVENTS, "tensorboard", 5_120_004, "read", (), "sha256:" + "cd" * 32),
            ArtifactReport(
                LOG,
                "text-log",
                9_412_990,
                "partly-read",
                ("line 99001 is cut off in the middle",),
                "sha256:" + "ef" * 32,
            ),
            ArtifactReport(
                "checkpoint-1200/optimizer.pt",
                "torch-zip",
                2_000_000_000,
                "skipped",
                ("the zip directory is missing: the file is truncated",),
            ),
        ),
        series=_curves(ONSET) + _layer_curves(ONSET),
        events=(
            LogEvent("overflow-skipped", "OVERFLOW! Skipping step", Source(LOG, line=90211), 1204),
            LogEvent("run-resumed", "resuming", Source(LOG, line=70000), 1050),
            LogEvent("checkpoint-saved", "saved", Source(LOG, line=80001), 1100),
        ),
        checkpoints=_checkpoints(),
        config=facts(config, Source("ds_config.json")),
        facts=facts({"precision": "fp16", "optimizer": "adamw"}, Source("ds_config.json", line=14)),
        packages={
            "torch": Package(
                "torch",
                "2.1.0+cu118",
                Source(LOG, line=3),
                (("2.0.1", Source("requirements.txt", line=1)),),
            ),
            "transformers": Package("transformers", "4.31.0", Source("config.json", line=30)),
        },
        environment=facts(environment, Source("wandb-metadata.json")),
        notes=("Steps 900 to 950 were logged twice; the later attempt was kept.",),
    )


def failing() -> Autopsy:
    """A run that went NaN with a masked loss, and all that a report can show of it."""
    layer = "model.layers.17.self_attn.q_proj"
    source = Source(STATE, line=4013, tag="grad_norm", step=ONSET)
    return Autopsy(
        run=_run(),
        verdict="non-finite",
        headline=f"The gradient norm turned NaN at step {ONSET}, first in {layer}.",
        onset=Onset(
            step=ONSET,
            last_finite=1202,
            quantity="grad_norm",
            value="nan",
            persistent=True,
            layer=layer,
            layers=(layer, "model.layers.18.self_attn.q_proj", "model.layers.16.self_attn.q_proj"),
            rank=None,
            masked=True,
            how="The gradient norm is logged at every step; the logged loss became 0.0 there, "
            "because logging_nan_inf_filter hides NaN.",
            source=source,
        ),
        causes=_causes(),
        considered=_considered(),
        findings=(
            Finding(
                "nonfinite-gradient",
                "the gradient norm turned NaN",
                source,
                ONSET,
                1202,
                layer,
                "initiating",
                {"value": "nan", "points": 297},
            ),
            Finding("masked-loss", "the loss is 0.0 from 1204 on", Source(STATE, line=4013), ONSET),
        ),
        timeline=_timeline(),
        coverage=Coverage(
            ("loss", "gradient norm", "learning rate", "loss scale", "checkpoints"), missing()
        ),
        version="0.1.0",
        quotes=(
            Quote(
                LOG,
                90209,
                (
                    "{'loss': 0.41, 'grad_norm': 913.7}",
                    "step 1203 took 5.1 s",
                    "[deepspeed] OVERFLOW! Rank 0 Skipping step. "
                    "Attempted loss scale: 1024, reducing to 512",
                    "{'loss': 0.0, 'grad_norm': nan}",
                ),
                (90211,),
                90211,
            ),
        ),
    )


def healthy() -> Autopsy:
    """A run in which nothing is wrong."""
    steps = np.arange(0, 500, 10)
    run = Run(
        path="runs/healthy",
        artifacts=(ArtifactReport(LOG, "text-log", 20_000, "read"),),
        series=(series("loss", steps, 2 * np.exp(-steps / 200), "loss", LOG),),
        events=(),
        checkpoints=(),
        config={},
        facts={},
        packages={},
        environment={},
    )
    return Autopsy(
        run=run,
        verdict="healthy",
        headline="Every loss from step 0 to 490 is finite and the run did not diverge.",
        onset=None,
        causes=(),
        considered=(),
        findings=(),
        timeline=(),
        coverage=Coverage(("loss",), missing(1)),
        version="0.1.0",
    )


def diverged() -> Autopsy:
    """Always finite, and destroyed."""
    result = healthy()
    steps = np.arange(0, 500, 10)
    loss = np.where(steps < 200, 2 * np.exp(-steps / 200), 60.0 + steps)
    source = Source(LOG, line=21, tag="loss", step=200)
    finding = Finding(
        "diverged-loss", "the loss jumped to 260 and stayed there", source, 200, 190, None
    )
    return replace(
        result,
        run=replace(
            result.run,
            path="runs/diverged",
            series=(series("loss", steps, loss, "loss", LOG),),
        ),
        verdict="diverged",
        headline="The loss jumped from 0.77 to 260 at step 200 and did not come back.",
        findings=(replace(finding, role="initiating"),),
    )


def undetermined() -> Autopsy:
    """Artifacts that cannot tell."""
    result = healthy()
    return replace(
        result,
        run=replace(result.run, path="runs/unknown", series=()),
        verdict="undetermined",
        headline="No loss, gradient norm or checkpoint was found: this cannot be told.",
        coverage=Coverage((), missing()),
        considered=_considered(),
    )


def no_cause() -> Autopsy:
    """Non-finite, and no cause reached the floor."""
    return replace(failing(), causes=(), considered=(*_causes(), *_considered()))


def all_nan() -> Autopsy:
    """Not one finite number anywhere."""
    result = failing()
    steps = np.arange(5)
    nothing = np.full(5, np.nan)
    curves = tuple(
        series(role, steps, nothing, role)
        for role in ("loss", "grad_norm", "learning_rate", "loss_scale")
    )
    layer = series("g/a", steps, nothing, "layer_gradient", layer="a")
    dead = tensor("a", nan=4096, max_abs=None, rms=None, first_nonfinite=(0, 0))
    onset = result.onset
    assert onset is not None
    return replace(
        result,
        run=replace(
            result.run,
            series=(*curves, layer),
            checkpoints=(Checkpoint("c", "npz", None, (dead,)),),
            config=facts({"a.x": float("nan"), "a.y": float("-inf")}, Source("c.yaml")),
        ),
        onset=replace(onset, step=0, last_finite=None),
    )


def empty() -> Autopsy:
    """Nothing but the path."""
    run = Run("", (), (), (), (), {}, {}, {}, {})
    return Autopsy(run, "undetermined", "", None, (), (), (), (), Coverage((), ()), "0.1.0")


HOSTILE = (
    "\x1b[31mred\x1b[0m \x1b]8;;http://evil\x07link\x1b]8;;\x07 [bold]x[/bold] [link=file:///]y[/] "
    "</script><script>alert(1)</script> <img src=x onerror=alert(1)> {{7*7}} {% raw %} "
    "\u202eabc\u202c \u200b\x00\x07\x9b31m ``` `` ` ~~~ | pipe | **b** _i_ [t](javascript:x) "
    "<!-- c --> $\\frac{1}{2}$ @everyone #1 \ud800 \U000e0041 & &amp; \" ' \\ 中文 é "
    "\r\n# head\n> q"
)


def hostile(text: str = HOSTILE) -> Autopsy:
    """``text`` in every place that can hold a string."""
    from nanautopsy.rewrite import Place, rewrite

    ours = {"verdict", "value", "status", "role", "supports", "holds", "axis", "dtype", "kind"}
    ours |= {"part", "depth"}

    def visit(leaf: object, place: Place) -> object:
        if not isinstance(leaf, str) or (place.field in ours and place.owner != "Fact"):
            return leaf
        if place.owner == "Fact" and not place.is_key and place.field == "value":
            return text
        return f"{leaf} {text}"

    return rewrite(failing(), visit)
