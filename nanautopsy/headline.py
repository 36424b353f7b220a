"""The verdict in one sentence."""

from __future__ import annotations

from collections.abc import Sequence

from nanautopsy.model import Finding, Onset, Verdict
from nanautopsy.quantities import position
from nanautopsy.wording import phrase

_QUANTITIES = {
    "loss": phrase("The loss"),
    "eval_loss": phrase("The evaluation loss"),
    "grad_norm": phrase("The gradient norm"),
    "gradients": phrase("The gradients"),
    "parameters": phrase("The parameters"),
    "activations": phrase("The activations"),
    "attention logits": phrase("The attention logits"),
    "logits": phrase("The logits"),
    "probabilities": phrase("The sampling probabilities"),
    "gradient": phrase("A gradient"),
    "tensor": phrase("A tensor"),
    "value": phrase("A printed value"),
    "operation": phrase("The result of an operation"),
    "warning": phrase("The result of an operation"),
    "attention": phrase("The attention"),
    "input": phrase("The input"),
    "reported": phrase("A value"),
}
"""As onset and the text log call them; the tag of a metric stands for itself."""
_VALUES = {"nan": "NaN", "inf": "Inf", "-inf": "-Inf"}


def headline(
    verdict: Verdict, onset: Onset | None, findings: Sequence[Finding], *, loss_read: bool = True
) -> str:
    """What died, when and where; or that nothing did. ``loss_read``: whether there was a loss."""
    if verdict == "healthy" and not loss_read:
        return phrase("Healthy: nothing that was read is non-finite.")
    never = [f for f in findings if f.id == "nonfinite-eval-loss" and f.last_good is None]
    if verdict == "healthy" and never:
        return phrase(
            "Healthy in training, whose loss is finite throughout; {tag} never was a number.",
            tag=str(never[0].data.get("tag")),
        )
    if verdict == "healthy":
        return phrase("Healthy: nothing that was read is non-finite, and the loss did not diverge.")
    if verdict == "diverged":
        diverged = next(f for f in findings if f.id == "diverged-loss")
        return phrase("Diverged while finite: {finding}.", finding=diverged.text)
    if onset is None:
        return phrase("Undetermined: nothing that was read tells whether the run stayed finite.")
    quantity = _QUANTITIES.get(onset.quantity) or phrase("{tag}", tag=onset.quantity)
    return phrase(
        "{quantity} went {value} {when}{where}{after}.",
        quantity=quantity,
        value=_VALUES[onset.value],
        when=_when(onset),
        where=phrase(", first in {layer}", layer=onset.layer) if onset.layer else "",
        after=_after(onset),
    )


def _when(onset: Onset) -> str:
    if onset.step is None and onset.last_finite is not None:
        return phrase("after {place}", place=position(onset.axis, onset.last_finite))
    if onset.step is None:
        return phrase("at a step that no artifact states")
    if onset.last_finite is not None and onset.step - onset.last_finite > 1:
        return phrase(
            "by {place} (last finite at {before})",
            place=position(onset.axis, onset.step),
            before=position(onset.axis, onset.last_finite),
        )
    return phrase("at {place}", place=position(onset.axis, onset.step))


def _after(onset: Onset) -> str:
    if onset.masked:
        return phrase("; the logged numbers hide it")
    return "" if onset.persistent else phrase("; finite values follow")
