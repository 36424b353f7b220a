"""The router of a mixture of experts, or its balance loss, overflows.

What happens: router logits have nothing that bounds them; they grow until softmax is one-hot and,
in half precision, until exp or their square (the z-loss) is Inf. The balance loss divides by
counts that are 0 for an expert without tokens, or multiplies by the number of experts.

Evidence for: the router or its auxiliary loss is non-finite first, while the main loss is still
finite; router logits grow before it.

Evidence against: the router turned together with everything else; the model has no experts.

Confirm: log the largest router logit and the tokens per expert; set the auxiliary coefficient to 0
for a hundred steps.

Fix: compute the router in float32, add a z-loss, warm the auxiliary coefficient up, or lower the
router's learning rate.
"""

from __future__ import annotations

import re

from nanautopsy import thresholds
from nanautopsy.causes.interface import Case, Cause, Need, Weighing, quiet
from nanautopsy.model import Assessment, Run
from nanautopsy.roles import words

_ROUTER = re.compile(r"(^|[._/])(router|gating|moe_gate|gate(?=[._/](weight|wg|kernel|$)))", re.I)
_EXPERTS = re.compile(r"(num|n)_?(local_|routed_)?experts|(^|[._/])experts?[._/\d]", re.IGNORECASE)
_AUXILIARY = frozenset("aux auxiliary router balance balancing load z zloss".split())


def _assess(case: Case) -> Assessment:
    weighing = Weighing()
    onset = case.onset
    if onset is not None and onset.layer is not None and _ROUTER.search(onset.layer):
        weighing.speaks_for(
            thresholds.STRONG,
            f"the first non-finite layer is the router {onset.layer}",
            onset.source,
        )
    for finding in case.found("loss-term-alone", "nonfinite-metric"):
        if frozenset(words(str(finding.data.get("tag", "")))) & _AUXILIARY:
            weighing.speaks_for(thresholds.STRONG, finding.text, finding.source)
            break
    for finding in case.found("weight-growth"):
        if finding.layer is not None and _ROUTER.search(finding.layer):
            weighing.speaks_for(thresholds.MODERATE, finding.text, finding.source)
    if not weighing.evidence:
        return quiet("neither the router nor its auxiliary loss was non-finite first")
    if onset is not None and len(onset.layers) > 1:
        others = [name for name in onset.layers if not _ROUTER.search(name)]
        if len(others) > len(onset.layers) / 2:
            weighing.speaks_against(
                thresholds.MODERATE,
                f"{len(others)} other layers were non-finite at the same step",
                onset.source,
            )
    return weighing.fired()


def _has_experts(run: Run) -> bool:
    names = [*run.config, *(s.layer or s.tag for s in run.series)]
    names += [t.name for c in run.checkpoints[:1] for t in c.tensors]
    tags = (frozenset(words(s.tag)) for s in run.series)
    return any(_EXPERTS.search(name) or _ROUTER.search(name) for name in names) or any(
        {"aux", "loss"} <= tag or "router" in tag for tag in tags
    )


CAUSE = Cause(
    id="moe-router",
    title="the router of a mixture of experts overflows",
    assess=_assess,
    needs=(Need("sign of a mixture of experts", _has_experts),),
    remedies=(
        "Compute router logits and their softmax in float32, and add a z-loss on them.",
        "Raise the auxiliary coefficient slowly, and divide by `max(1, tokens)` per expert.",
    ),
    references=(
        "https://github.com/AI-Hypercomputer/maxtext/issues/3864",
        "https://github.com/jingyaogong/minimind/issues/567",
        "https://arxiv.org/abs/2202.08906",
    ),
)
