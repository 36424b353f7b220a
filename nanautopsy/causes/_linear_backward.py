"""What anomaly mode says when it names a function whose own derivative is finite everywhere."""

from __future__ import annotations

import re

from nanautopsy import thresholds
from nanautopsy.causes.interface import Case, Weighing
from nanautopsy.circumstances import calm_before
from nanautopsy.model import Finding
from nanautopsy.wording import phrase

_OUTPUTS = (
    (re.compile(r"^(?:Addmm|Addmv|Baddbmm|Addbmm)Backward\d*$"), (0, 1)),
    (re.compile(r"^(?:Mm|Mv|Linear|Expand|Embedding|EmbeddingBag|Repeat)Backward\d*$"), (0,)),
    (re.compile(r"^(?:Mkldnn|Mps|Cudnn)?Convolution\w*Backward\d*$"), (0, 2)),
    (re.compile(r"^(?:Add|Sub)Backward\d*$"), (0, 1)),
)
"""Functions that are linear in their input, and which of their results are made of the gradient
that comes in and of weights alone: the bias, a sum over it, and the input, of a layer. (The
gradient of its weight holds the input as well, which may be NaN where a mask hides it.)"""


def was_handed_inf(finding: Finding) -> bool:
    """Whether the first NaN of the backward pass was made of an Inf that came from above.

    Anomaly mode asks every function in turn, so all those behind it gave no NaN, and a forward pass
    that held one would have shown in the loss's own. Weights are finite, or the loss were not. Then
    only sums of +Inf and -Inf, or Inf times 0, are left.
    """
    function, output = str(finding.data.get("function", "")), finding.data.get("output")
    return finding.data.get("value") == "nan" and any(
        name.match(function) and output in outputs for name, outputs in _OUTPUTS
    )


def weigh_linear(case: Case, weighing: Weighing) -> None:
    """The first NaN in such a function, with nothing grown before it: a derivative was infinite,
    since growth takes more than a step to leave float32."""
    calm = None if case.onset is None else calm_before(case.run, case.onset)
    for finding in case.found("backward-nonfinite")[:1]:
        if calm is None or not was_handed_inf(finding):
            continue
        weighing.speaks_for(
            thresholds.MODERATE,
            phrase(
                "{finding} It is linear, so that the gradient which came in was Inf already",
                finding=finding.text,
            ),
            finding.source,
        )
        weighing.speaks_for(
            thresholds.MODERATE,
            phrase(
                "{tag} was at its usual level right before: nothing grew until it overflowed",
                tag=calm.tag,
            ),
            calm.source,
        )
