"""Which evidence was there, which was not, and how to collect it the next time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from nanautopsy.frameworks import framework_of
from nanautopsy.model import Coverage, MissingEvidence, Onset, Run, Verdict


@dataclass(frozen=True, slots=True)
class _Kind:
    """A kind of evidence."""

    what: str
    seen: Callable[[Run], str | None]
    """A phrase that says how much there is, or ``None``."""
    why: str
    how: dict[str, str]
    """By framework; ``any`` is the fallback."""
    needed: Callable[[Run, Onset | None], bool] = lambda run, onset: True


def cover(
    run: Run,
    verdict: Verdict,
    onset: Onset | None,
    steps: Iterable[MissingEvidence] = (),
) -> Coverage:
    """What was seen; and, for a run that failed or cannot be judged, what was missed.

    ``steps``: what would decide between its causes (:mod:`nanautopsy.next_steps`); it comes first.
    """
    framework = framework_of(run)
    seen: list[str] = []
    missing = list(steps)
    for kind in _KINDS:
        phrase = kind.seen(run)
        if phrase is not None:
            seen.append(phrase)
        elif verdict != "healthy" and kind.needed(run, onset):
            how = kind.how.get(framework, kind.how["any"])
            missing.append(MissingEvidence(kind.what, kind.why, how))
    return Coverage(tuple(seen), tuple(missing))


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _series(*roles: str, name: str) -> Callable[[Run], str | None]:
    def seen(run: Run) -> str | None:
        found = [s for s in run.series if s.role in roles and len(s)]
        if not found:
            return None
        points = sum(len(s) for s in found)
        what = f"{len(found)} series" if len(found) > 1 else found[0].tag
        return f"{name}: {what}, {_counted(points, 'point')}"

    return seen


def _checkpoints(run: Run) -> str | None:
    measured = [c for c in run.checkpoints if c.tensors]
    if not measured:
        return None
    tensors = sum(len(c.tensors) for c in measured)
    unread = sum(c.depth is None for c in run.checkpoints)
    more = f"; {unread} between them not read" if unread else ""
    return f"checkpoints: {len(measured)} read, {_counted(tensors, 'tensor')}{more}"


def _configuration(run: Run) -> str | None:
    return f"configuration: {_counted(len(run.config), 'setting')}" if run.config else None


def _packages(run: Run) -> str | None:
    return f"library versions: {_counted(len(run.packages), 'package')}" if run.packages else None


def _precision(run: Run) -> str | None:
    fact = run.facts.get("compute_dtype")
    return f"precision: {fact.value} ({fact.source})" if fact else None


def _log(run: Run) -> str | None:
    logs = [r for r in run.artifacts if r.kind == "text-log" and r.status != "skipped"]
    return f"console output: {len(logs)} file{'s' if len(logs) > 1 else ''}" if logs else None


_KINDS = (
    _Kind(
        "training loss",
        _series("loss", name="training loss"),
        "without it neither the step nor the order of events can be told",
        {
            "trainer": "keep trainer_state.json, or set --report_to tensorboard --logging_steps 1",
            "lightning": "self.log('train_loss', loss, on_step=True) with a CSVLogger",
            "any": "print(f'step: {step} loss: {loss.item()}') for every step, into a file",
        },
    ),
    _Kind(
        "gradient norm",
        _series("grad_norm", name="gradient norm"),
        "it tells whether the backward pass or the forward pass went first, and whether it grew",
        {
            "trainer": "transformers 4.38 and later log grad_norm; set --logging_steps 1",
            "deepspeed": "log engine.get_global_grad_norm() after engine.step()",
            "lightning": "Trainer(gradient_clip_val=1.0) and log grad_norm(self, norm_type=2)",
            "jax": "log optax.global_norm(grads)",
            "any": "log torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0), which returns it",
        },
    ),
    _Kind(
        "learning rate",
        _series("learning_rate", name="learning rate"),
        "a jump in the schedule is a common cause, and easy to rule out",
        {
            "lightning": "add the callback LearningRateMonitor(logging_interval='step')",
            "any": "log scheduler.get_last_lr()[0] beside the loss",
        },
    ),
    _Kind(
        "loss scale",
        _series("loss_scale", name="loss scale"),
        "in float16 it tells a search for the scale from a collapse",
        {
            "deepspeed": "set steps_per_print: 1, or a tensorboard block in ds_config",
            "any": "log scaler.get_scale() after scaler.update()",
        },
        lambda run, onset: _is_float16(run),
    ),
    _Kind(
        "per-layer norms or activations",
        _series(
            "layer_gradient",
            "layer_parameter",
            "layer_activation",
            "attention_logit",
            name="per-layer series",
        ),
        "they name the layer that went first",
        {
            "trainer": "run the steps before the onset again with --debug underflow_overflow",
            "jax": "log the norm of every leaf: jax.tree.map(jnp.linalg.norm, grads)",
            "any": "log p.grad.norm() of every named parameter, or call wandb.watch(model)",
        },
        lambda run, onset: onset is None or onset.layer is None,
    ),
    _Kind(
        "checkpoints",
        _checkpoints,
        "the last good and the first bad one show which tensors turned, and what grew before",
        {
            "trainer": "--save_steps below the onset, with --save_safetensors",
            "any": "save weights as safetensors at step 0 and every few hundred steps",
        },
    ),
    _Kind(
        "precision of the forward pass",
        _precision,
        "float16 ends at 65504 and bfloat16 at 3.4e38: it decides which overflow is possible",
        {
            "any": "keep the configuration that says it (ds_config.json, training arguments), or "
            "print the autocast dtype at the start",
        },
    ),
    _Kind(
        "configuration",
        _configuration,
        "known defects need a certain configuration",
        {"any": "keep the launch command and the configuration files in the run directory"},
    ),
    _Kind(
        "library versions",
        _packages,
        "known defects are bound to versions",
        {"any": "python -m pip freeze > requirements.txt in the run directory"},
    ),
    _Kind(
        "console output",
        _log,
        "warnings at loading, overflow lines and tracebacks stand nowhere else",
        {"any": "start training with 2>&1 | tee train.log"},
    ),
)


def _is_float16(run: Run) -> bool:
    fact = run.facts.get("compute_dtype")
    return fact is not None and fact.value == "F16"
