"""A policy that runs away from where it was sampled: KL, ratio or logits blow up.

What happens: importance ratios are exponentials of differences of log-probabilities; when the
policy moves far from the one that sampled, they overflow, or the entropy falls to 0 and a
log-probability becomes -Inf. Reward hacking, a KL coefficient that is too small and stale or
re-tokenized samples lead there.

A value that is fitted to its own maximum (no target network, a discount of 1) runs away the same
way: past all that returns can add up to.

Evidence for: KL, the ratio or the clip fraction rises far above its history, or the entropy
vanishes, before loss and gradients; one update moves the policy by ten nats; predicted values pass
all rewards; the reward is lost again for good; sampling fails with "probability
tensor contains either inf, nan or element < 0".

Evidence against: the policy's metrics were ordinary up to the onset; KL had risen steadily and
levelled off, as a divergence from the reference does in a sound run; no reinforcement learning.

Confirm: plot KL, entropy and reward before the onset; recompute the sampled tokens'
log-probabilities with the training model and compare.

Fix: a larger KL coefficient or a smaller learning rate, clipping of ratios and log-ratios, fresh
samples, original token ids instead of re-tokenized text.
"""

from __future__ import annotations

from nanautopsy import thresholds
from nanautopsy.causes.interface import Case, Cause, Need, Weighing, quiet
from nanautopsy.circumstances import at_first_steps
from nanautopsy.detectors.rl_metrics import is_reinforcement
from nanautopsy.model import Assessment
from nanautopsy.wording import phrase


def _assess(case: Case) -> Assessment:
    weighing = Weighing()
    for finding in case.found("policy-divergence")[:1]:
        if not finding.data.get("running"):
            weighing.speaks_for(
                thresholds.WEAK, phrase("{finding}, steadily", finding=finding.text), finding.source
            )
            continue
        weighing.speaks_for(thresholds.STRONG, finding.text, finding.source)
        if finding.data.get("far"):
            weighing.speaks_for(
                thresholds.MODERATE,
                phrase(
                    "{tag} is past {limit:g}: the policies hardly overlap any more",
                    tag=finding.data.get("tag"),
                    limit=thresholds.KL_FAR,
                ),
                finding.source,
            )
    for finding in case.found("value-runaway", "update-divergence", "reward-lost")[:1]:
        weighing.speaks_for(thresholds.STRONG, finding.text, finding.source)
    for finding in case.found("entropy-collapse")[:1]:
        weighing.speaks_for(thresholds.MODERATE, finding.text, finding.source)
    for finding in case.found("sampling-assert")[:1]:
        weighing.speaks_for(thresholds.MODERATE, finding.text, finding.source)
    if not weighing.evidence:
        return quiet(phrase("KL, ratio and entropy were at their usual level up to the onset"))
    onset = case.onset
    if onset is not None and onset.step is not None and at_first_steps(case.run, onset):
        weighing.speaks_against(
            thresholds.STRONG,
            phrase("it was non-finite at step {step}, before a policy could move", step=onset.step),
            onset.source,
        )
    for finding in case.found("lr-jump", "loss-scale-collapse"):
        weighing.speaks_against(thresholds.MODERATE, finding.text, finding.source)
    return weighing.fired()


CAUSE = Cause(
    id="rl-collapse",
    title=phrase("the policy collapsed"),
    assess=_assess,
    needs=(Need(phrase("metric of a policy and its reward"), is_reinforcement),),
    remedies=(
        phrase(
            "Raise the KL coefficient, lower the learning rate, or stop an epoch early when KL "
            "passes its target."
        ),
        phrase(
            "Clamp log-ratios before the exponential, and train on the sampled token ids "
            "themselves."
        ),
    ),
    references=(
        "https://github.com/volcengine/verl/issues/747",
        "https://github.com/huggingface/trl/issues/6166",
        "https://github.com/modelscope/ms-swift/issues/3136",
    ),
)
