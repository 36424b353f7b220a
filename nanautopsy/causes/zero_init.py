"""An all-zero layer feeds a normalization, a division or a mask.

What happens: a weight matrix that is zero throughout gives an output that is exactly zero. That
alone is harmless. But where a normalization reads it, its backward pass multiplies by
1/sqrt(variance + eps) with a variance of zero: about 1e3 for eps = 1e-6, once for every
normalization on the way. Tokens that see nothing but zeros (a fully causal mask over image
tokens) stay zero through every block, so the factors compound and the gradient leaves float32
within a few layers, while the loss, which does not pass there in that direction, is finite. A
division by the norm or deviation itself, without an epsilon, is 0/0 in the forward pass already.

Evidence for: a weight matrix of zeros in the first checkpoint, or in the table of parameters that
the program prints before it trains; gradients non-finite at the very first step beside a finite
loss; the zero layer among the first non-finite ones.

Evidence against: the zero layer closes a residual branch, where zeros are meant (LoRA B, adaLN,
ControlNet's zero convolutions); the loss itself was non-finite first, Inf above all; training ran
for a while before.

Confirm: read the layer's weight before the first step; initialize it with small random values
for one step.

Fix: initialize the layer randomly, or load the pretrained weights that it should have had.
"""

from __future__ import annotations

import numpy as np

from nanautopsy import thresholds
from nanautopsy.causes.interface import Case, Cause, Need, Weighing, quiet
from nanautopsy.circumstances import at_first_steps, loss_was_finite_at
from nanautopsy.detectors.zero_weights import parameter_sizes
from nanautopsy.model import Assessment, Finding, Run
from nanautopsy.quantities import quantity_words
from nanautopsy.signal import index_at
from nanautopsy.wording import phrase


def _assess(case: Case) -> Assessment:
    zero = [f for f in case.found("zero-weight") if not f.data.get("by_design")]
    onset = case.onset
    if not zero:
        by_design = case.found("zero-weight")
        return quiet(
            phrase("the only all-zero weights are so by design ({layer})", layer=by_design[0].layer)
            if by_design
            else phrase("no weight matrix is all zero in the first checkpoint")
        )
    if onset is None or onset.step is None:
        return quiet(phrase("an all-zero weight is there, but no step is known for the failure"))
    before = [f for f in zero if f.step is None or f.step <= onset.step]
    if not before:
        return quiet(phrase("the all-zero weight appears only after the onset"))
    if not at_first_steps(case.run, onset):
        # What a zero does to a normalization it does at the first backward pass.
        return quiet(
            phrase(
                "training was finite until step {last_finite} with the zeros in place",
                last_finite=onset.last_finite,
            )
        )
    weighing = Weighing()
    finding = before[0]
    weighing.speaks_for(thresholds.STRONG, finding.text, finding.source)
    _weigh_order(case, weighing)
    _weigh_place(case, finding, weighing)
    dtype = case.states("compute_dtype", "F16")
    if dtype is not None:
        weighing.speaks_against(
            thresholds.MODERATE,
            phrase("the run computes in float16, where Inf has commoner causes"),
            dtype.source,
        )
    return weighing.fired(
        remedies=(phrase("Initialize {layer} with small random values.", layer=finding.layer),)
    )


def _weigh_order(case: Case, weighing: Weighing) -> None:
    onset = case.onset
    assert onset is not None and onset.step is not None
    gradients_first = onset.quantity in ("grad_norm", "gradient", "gradients")
    if gradients_first and loss_was_finite_at(case.run, onset.step):
        weighing.speaks_for(
            thresholds.STRONG,
            phrase(
                "gradients are non-finite at step {step} while the loss there is finite: the "
                "backward pass is where it arises",
                step=onset.step,
            ),
            onset.source,
        )
    elif not gradients_first and _turned_within_a_row(case):
        weighing.speaks_against(
            thresholds.WEAK,
            phrase(
                "loss and gradients turned between two logged rows: which was first is not seen"
            ),
            onset.source,
        )
    elif not gradients_first and onset.value == "nan" and onset.quantity == "loss":
        weighing.speaks_against(
            thresholds.MODERATE,
            phrase(
                "the loss is NaN first: zeros give that only where they are divided by their own "
                "size, without an epsilon"
            ),
            onset.source,
        )
    elif not gradients_first and (_saw_gradients(case) or onset.last_finite is None):
        weighing.speaks_against(
            thresholds.STRONG,
            phrase(
                "{quantity} turned non-finite first; a layer of zeros gives finite outputs",
                quantity=quantity_words(onset.quantity),
            ),
            onset.source,
        )
    weighing.speaks_for(
        thresholds.MODERATE,
        phrase("it happened at step {step}, before training changed the weights", step=onset.step),
        onset.source,
    )


def _turned_within_a_row(case: Case) -> bool:
    """Whether steps without a row lie before the first non-finite one, which holds gradients too:
    they may have turned in an earlier step than the loss."""
    onset = case.onset
    assert onset is not None and onset.step is not None
    norms = [(s, index_at(s, onset.step)) for s in case.run.by_role("grad_norm")]
    beside = any(i is not None and not np.isfinite(s.values[i]) for s, i in norms)
    return beside and onset.step > 1 and onset.step - (onset.last_finite or 0) > 1


def _saw_gradients(case: Case) -> bool:
    """Whether gradients were logged; where none were, a finite loss before says nothing of them."""
    return bool(case.run.by_role("grad_norm", "layer_gradient"))


def _weigh_place(case: Case, finding: Finding, weighing: Weighing) -> None:
    onset = case.onset
    assert onset is not None
    tensors = finding.data.get("tensors", ())
    zero = [str(name) for name in tensors] if isinstance(tensors, tuple) else []
    touched = [layer for layer in onset.layers if any(_same_layer(layer, name) for name in zero)]
    if touched:
        weighing.speaks_for(
            thresholds.MODERATE,
            phrase(
                "{touched} is among the first layers with non-finite gradients", touched=touched[0]
            ),
            onset.source,
        )


def _same_layer(one: str, other: str) -> bool:
    """Whether two names mean one layer: equal up to a parameter's suffix and a prefix."""
    short, long = sorted((_module(one), _module(other)), key=len)
    return long == short or long.endswith(("." + short, "/" + short))


def _module(name: str) -> str:
    for suffix in (".weight", ".kernel", "/kernel", ".bias"):
        name = name.removesuffix(suffix)
    return name


def _can_tell(run: Run) -> bool:
    printed = bool(run.events_of("zero-parameter")) or bool(parameter_sizes(run))
    return printed or any(c.tensors for c in run.checkpoints)


CAUSE = Cause(
    id="zero-init",
    title=phrase("a layer of zeros in front of a normalization"),
    assess=_assess,
    needs=(Need(phrase("checkpoint"), _can_tell),),
    remedies=(
        phrase(
            "Initialize the layer with small random values, or load the pretrained weights that it "
            "should have had."
        ),
        phrase(
            "Check the flag that chooses the initializer: in big_vision `head_zeroinit=True`, the "
            "default, means zeros."
        ),
    ),
    references=("https://github.com/google-research/big_vision/issues/129",),
)
