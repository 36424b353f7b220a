"""Which evidence was there, which was not, and how to collect it the next time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from nanautopsy.frameworks import framework_of
from nanautopsy.model import Coverage, MissingEvidence, Onset, Run, Verdict
from nanautopsy.wording import Phrase, counted, phrase


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
        told = kind.seen(run)
        if told is not None:
            seen.append(told)
        elif verdict != "healthy" and kind.needed(run, onset):
            how = kind.how.get(framework, kind.how["any"])
            missing.append(MissingEvidence(kind.what, kind.why, how))
    return Coverage(tuple(seen), tuple(missing))


def _series(*roles: str, name: Phrase) -> Callable[[Run], str | None]:
    def seen(run: Run) -> str | None:
        found = [s for s in run.series if s.role in roles and len(s)]
        if not found:
            return None
        points = sum(len(s) for s in found)
        return phrase(
            "{name}: {what}, {points}",
            name=name,
            what=phrase("{n} series", n=len(found)) if len(found) > 1 else found[0].tag,
            points=counted(points, "{n} point", "{n} points"),
        )

    return seen


def _checkpoints(run: Run) -> str | None:
    measured = [c for c in run.checkpoints if c.tensors]
    if not measured:
        return None
    tensors = sum(len(c.tensors) for c in measured)
    unread = sum(c.depth is None for c in run.checkpoints)
    return phrase(
        "checkpoints: {n} read, {tensors}{more}",
        n=len(measured),
        tensors=counted(tensors, "{n} tensor", "{n} tensors"),
        more=phrase("; {n} between them not read", n=unread) if unread else "",
    )


def _configuration(run: Run) -> str | None:
    n = len(run.config)
    return counted(n, "configuration: {n} setting", "configuration: {n} settings") if n else None


def _packages(run: Run) -> str | None:
    n = len(run.packages)
    if not n:
        return None
    return counted(n, "library versions: {n} package", "library versions: {n} packages")


def _precision(run: Run) -> str | None:
    fact = run.facts.get("compute_dtype")
    return (
        phrase("precision: {dtype} ({source})", dtype=fact.value, source=fact.source)
        if fact
        else None
    )


def _log(run: Run) -> str | None:
    logs = [r for r in run.artifacts if r.kind == "text-log" and r.status != "skipped"]
    n = len(logs)
    return counted(n, "console output: {n} file", "console output: {n} files") if n else None


_KINDS = (
    _Kind(
        phrase("training loss"),
        _series("loss", name=phrase("training loss")),
        phrase("without it neither the step nor the order of events can be told"),
        {
            "trainer": phrase(
                "keep trainer_state.json, or set --report_to tensorboard --logging_steps 1"
            ),
            "lightning": phrase("self.log('train_loss', loss, on_step=True) with a CSVLogger"),
            "any": phrase("print(f'step: {step} loss: {loss.item()}') for every step, into a file"),
        },
    ),
    _Kind(
        phrase("gradient norm"),
        _series("grad_norm", name=phrase("gradient norm")),
        phrase(
            "it tells whether the backward pass or the forward pass went first, and whether it grew"
        ),
        {
            "trainer": phrase("transformers 4.38 and later log grad_norm; set --logging_steps 1"),
            "deepspeed": phrase("log engine.get_global_grad_norm() after engine.step()"),
            "lightning": phrase(
                "Trainer(gradient_clip_val=1.0) and log grad_norm(self, norm_type=2)"
            ),
            "jax": phrase("log optax.global_norm(grads)"),
            "any": phrase(
                "log torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0), which returns it"
            ),
        },
    ),
    _Kind(
        phrase("learning rate"),
        _series("learning_rate", name=phrase("learning rate")),
        phrase("a jump in the schedule is a common cause, and easy to rule out"),
        {
            "lightning": phrase("add the callback LearningRateMonitor(logging_interval='step')"),
            "any": phrase("log scheduler.get_last_lr()[0] beside the loss"),
        },
    ),
    _Kind(
        phrase("loss scale"),
        _series("loss_scale", name=phrase("loss scale")),
        phrase("in float16 it tells a search for the scale from a collapse"),
        {
            "deepspeed": phrase("set steps_per_print: 1, or a tensorboard block in ds_config"),
            "any": phrase("log scaler.get_scale() after scaler.update()"),
        },
        lambda run, onset: _is_float16(run),
    ),
    _Kind(
        phrase("per-layer norms or activations"),
        _series(
            "layer_gradient",
            "layer_parameter",
            "layer_activation",
            "attention_logit",
            name=phrase("per-layer series"),
        ),
        phrase("they name the layer that went first"),
        {
            "trainer": phrase(
                "run the steps before the onset again with --debug underflow_overflow"
            ),
            "jax": phrase("log the norm of every leaf: jax.tree.map(jnp.linalg.norm, grads)"),
            "any": phrase("log p.grad.norm() of every named parameter, or call wandb.watch(model)"),
        },
        lambda run, onset: onset is None or onset.layer is None,
    ),
    _Kind(
        phrase("checkpoints"),
        _checkpoints,
        phrase(
            "the last good and the first bad one show which tensors turned, and what grew before"
        ),
        {
            "trainer": phrase("--save_steps below the onset, with --save_safetensors"),
            "any": phrase("save weights as safetensors at step 0 and every few hundred steps"),
        },
    ),
    _Kind(
        phrase("precision of the forward pass"),
        _precision,
        phrase(
            "float16 ends at 65504 and bfloat16 at 3.4e38: it decides which overflow is possible"
        ),
        {
            "any": phrase(
                "keep the configuration that says it (ds_config.json, training arguments), or "
                "print the autocast dtype at the start"
            ),
        },
    ),
    _Kind(
        phrase("configuration"),
        _configuration,
        phrase("known defects need a certain configuration"),
        {"any": phrase("keep the launch command and the configuration files in the run directory")},
    ),
    _Kind(
        phrase("library versions"),
        _packages,
        phrase("known defects are bound to versions"),
        {"any": phrase("python -m pip freeze > requirements.txt in the run directory")},
    ),
    _Kind(
        phrase("console output"),
        _log,
        phrase("warnings at loading, overflow lines and tracebacks stand nowhere else"),
        {"any": phrase("start training with 2>&1 | tee train.log")},
    ),
)


def _is_float16(run: Run) -> bool:
    fact = run.facts.get("compute_dtype")
    return fact is not None and fact.value == "F16"
