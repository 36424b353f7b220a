"""The verdict in one sentence."""

from __future__ import annotations

from collections.abc import Sequence

from nanautopsy.model import Finding, Onset, Verdict

_QUANTITIES = {
    "loss": "The loss",
    "eval_loss": "The evaluation loss",
    "grad_norm": "The gradient norm",
    "gradients": "The gradients",
    "parameters": "The parameters",
    "activations": "The activations",
    "attention logits": "The attention logits",
    "logits": "The logits",
    "probabilities": "The sampling probabilities",
    "gradient": "A gradient",
    "tensor": "A tensor",
    "value": "A printed value",
    "operation": "The result of an operation",
    "warning": "The result of an operation",
    "attention": "The attention",
    "input": "The input",
    "reported": "A value",
}
"""As onset and the text log call them; the tag of a metric stands for itself."""
_VALUES = {"nan": "NaN", "inf": "Inf", "-inf": "-Inf"}


def headline(verdict: Verdict, onset: Onset | None, findings: Sequence[Finding]) -> str:
    """What died, when and where; or that nothing did."""
    if verdict == "healthy":
        return "Healthy: nothing that was read is non-finite, and the loss did not diverge."
    if verdict == "diverged":
        diverged = next(f for f in findings if f.id == "diverged-loss")
        return f"Diverged while finite: {diverged.text}."
    if onset is None:
        return "Undetermined: nothing that was read tells whether the run stayed finite."
    quantity = _QUANTITIES.get(onset.quantity, onset.quantity)
    what = f"{quantity} went {_VALUES[onset.value]}"
    where = f", first in {onset.layer}" if onset.layer else ""
    return f"{what} {_when(onset)}{where}{_after(onset)}."


def _when(onset: Onset) -> str:
    if onset.step is None:
        return "at a step that no artifact states"
    if onset.last_finite is not None and onset.step - onset.last_finite > 1:
        return f"by {onset.axis} {onset.step} (last finite at {onset.axis} {onset.last_finite})"
    return f"at {onset.axis} {onset.step}"


def _after(onset: Onset) -> str:
    if onset.masked:
        return "; the logged numbers hide it"
    return "" if onset.persistent else "; finite values follow"
