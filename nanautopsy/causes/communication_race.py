"""Gradients are reduced while they are still written, or read before they have arrived.

What happens: overlapping communication with computation needs streams to wait for each other. One
missing wait, and a bucket is reduced with old or half-written gradients: a few elements of one
rank's part are garbage, now and then NaN, at another step in each run.

Evidence for: the gradient of one rank turns first and alone while that rank's loss is finite, or
one rank's part of the optimizer state does; a reduced number that had been the same on every rank
differs; overlapped communication is on with several ranks; it
comes from one step to the next, in a format that does not overflow; a restart fails elsewhere.

Evidence against: the loss of that rank turned with its gradient, as a bad batch of its own does;
every rank turns at once with grown gradients; a single process; a known defect of the installed
version explains it better (version-bug).

Confirm: ``overlap_comm: false`` (Megatron: without ``--overlap-grad-reduce``) for a hundred steps
past the onset; ``CUDA_LAUNCH_BLOCKING=1``.

Fix: switch the overlap off, or use a release in which it is mended.
"""

from __future__ import annotations

import numpy as np

from nanautopsy import thresholds
from nanautopsy.causes._once import weigh_once
from nanautopsy.causes.interface import Case, Cause, Need, Weighing, quiet
from nanautopsy.circumstances import backward_made_it, calm_before
from nanautopsy.model import Assessment, Fact, Finding, Run, Scalar
from nanautopsy.wording import phrase


def _assess(case: Case) -> Assessment:
    weighing = Weighing()
    for finding in case.found("rank-alone")[:1]:
        _weigh_alone(finding, weighing)
    for finding in case.found("nonfinite-moments", "nonfinite-parameters"):
        rank = finding.data.get("rank")
        if isinstance(rank, int) and not finding.data.get("everything"):
            weighing.speaks_for(
                thresholds.MODERATE,
                phrase(
                    "only rank {rank}'s part of the state is non-finite: {finding}",
                    rank=rank,
                    finding=finding.text,
                ),
                finding.source,
            )
            break
    for finding in case.found("ranks-disagree")[:1]:
        weighing.speaks_for(thresholds.STRONG, finding.text, finding.source)
    for finding in (*case.found("replicas-differ"), *case.near_onset("not-reproducible"))[:1]:
        weighing.speaks_for(thresholds.MODERATE, finding.text, finding.source)
    overlap = _overlap(case.run)
    if overlap is not None:
        _weigh_losses(case, weighing)
        _weigh_suspect(case, overlap, weighing)
    if not weighing.evidence:
        return quiet(phrase("nothing shows one rank, or one rank's part, that turned alone"))
    if overlap is not None:
        weighing.speaks_for(
            thresholds.MODERATE, phrase("communication overlaps with computation"), overlap.source
        )
    half = case.states("compute_dtype", "F16")
    if half is not None:
        weighing.speaks_against(
            thresholds.MODERATE, phrase("the run computes in float16, which overflows"), half.source
        )
    for finding in case.grew_alike("grad-norm-growth", "loss-growth", "lr-jump", "hardware-error"):
        weighing.speaks_against(thresholds.STRONG, finding.text, finding.source)
    weigh_once(case, weighing)
    return weighing.fired()


def _weigh_alone(finding: Finding, weighing: Weighing) -> None:
    """A loss is computed from a rank's own batch before anything is reduced; its gradient turns
    alone by a race only where its loss was sound."""
    if finding.data.get("what") == "loss":
        return
    if finding.data.get("own_loss_finite"):
        weighing.speaks_for(
            thresholds.MODERATE,
            phrase("{finding}, while that rank's loss is finite", finding=finding.text),
            finding.source,
        )
    else:
        weighing.speaks_for(
            thresholds.WEAK,
            phrase("{finding}; the loss of that rank is not known", finding=finding.text),
            finding.source,
        )


def _weigh_losses(case: Case, weighing: Weighing) -> None:
    """Gradients that are non-finite at every step from the onset on, while the loss of every rank
    is finite: neither batches nor weights do that. A parameter at a singular point does."""
    onset = case.onset
    if onset is None or onset.step is None or not onset.persistent:
        return
    if onset.quantity not in ("grad_norm", "gradient", "gradients"):
        return
    losses = [s for s in case.run.by_role("loss") if s.rank is not None and s.axis == onset.axis]
    after = [s.values[s.steps >= onset.step] for s in losses]
    ranks = {s.rank for s, values in zip(losses, after, strict=True) if len(values) > 1}
    if len(ranks) < 2 or not all(np.isfinite(values).all() for values in after):
        return
    weighing.speaks_for(
        thresholds.WEAK,
        phrase(
            "from step {step} on every gradient is non-finite, while the losses of all {count} "
            "ranks are finite: batches and weights are sound",
            step=onset.step,
            count=len(ranks),
        ),
        onset.source,
    )


def _weigh_suspect(case: Case, overlap: Fact, weighing: Weighing) -> None:
    """Gradients that turn NaN in one step beside a finite loss, where nothing tells whether the
    installed release is one of those whose overlap (DeepSpeed's at ZeRO stage 2) does that."""
    onset = case.onset
    known = case.run.packages.keys() & {"deepspeed", "megatron-core"}
    if onset is None or onset.value != "nan" or known or weighing.evidence:
        return
    if "overlap_comm" in case.run.facts and case.states("zero_stage", 2) is None:
        return
    calm = calm_before(case.run, onset)
    if backward_made_it(case.run, onset) and calm is not None and calm.role == "grad_norm":
        weighing.speaks_for(
            thresholds.WEAK,
            phrase(
                "gradients turned NaN in one step beside a finite loss, and no version tells "
                "whether the overlap is one that is known to do that"
            ),
            overlap.source,
        )


def _overlap(run: Run) -> Fact | None:
    """The setting that is on, DeepSpeed's or Megatron's."""
    fact = run.facts.get("overlap_comm")
    if fact is not None:
        return fact if fact.value is True else None
    for key, setting in run.config.items():
        if key.rpartition(".")[2] in ("overlap_grad_reduce", "overlap_param_gather"):
            if setting.value is True:
                return setting
    return None


def _several_ranks(run: Run) -> bool:
    return (
        any(s.rank for s in run.series)
        or any(len({t.rank for t in c.tensors}) > 1 for c in run.checkpoints)
        or any(_is_size(key) and _above_one(fact.value) for key, fact in run.config.items())
    )


def _is_size(key: str) -> bool:
    return key.rpartition(".")[2] in ("world_size", "num_processes", "data_parallel_size")


def _above_one(value: Scalar) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value > 1


CAUSE = Cause(
    id="communication-race",
    title=phrase("overlapped communication corrupts gradients"),
    assess=_assess,
    needs=(Need(phrase("sign of several ranks"), _several_ranks),),
    remedies=(
        phrase(
            "Switch the overlap off (`overlap_comm: false`, no `--overlap-grad-reduce`) and run "
            "past the onset."
        ),
        phrase("Set TORCH_NCCL_NAN_CHECK=1: it names the first rank that sends a NaN."),
    ),
    references=(
        "https://github.com/deepspeedai/DeepSpeed/issues/4298",
        "https://github.com/NVIDIA/Megatron-LM/issues/2301",
    ),
)
