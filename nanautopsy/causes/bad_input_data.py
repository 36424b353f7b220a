"""A batch holds NaN, Inf or absurd values.

What happens: one bad number in an input or a target reaches the loss through every layer, and
the backward pass carries it into every weight; from the next step on all is NaN, whatever comes.
Where steps with non-finite gradients are skipped (a loss scaler, a guard), the run goes on, and
meets the same sample again in the next epoch.

Evidence for: logged statistics of the input are non-finite or absurd at the onset; the program
says that the input is bad; a sample has no element, or a target is longer than its input; a number
is odd only at that step, and as usual behind it while the weights are broken; the failure comes
back at the same distance, once an epoch, in the same batches or with the same samples, or at the
same step of another attempt; nothing grew before it, no Inf came first, and the model has no
attention that a mask could empty.

Evidence against: loss, gradients or weights grew before; float16 with a scaler that falls; a
learning rate that jumped; the failure is there from the first step on, and for every batch.

Confirm: run the batch of that step alone in float32 and ask ``torch.isfinite(x).all()`` of every
input; search the whole data set for non-finite values.

Fix: clean the data, or drop samples that are not finite before they are batched.
"""

from __future__ import annotations

import numpy as np

from nanautopsy import thresholds
from nanautopsy.causes._batch import weigh_batch
from nanautopsy.causes.interface import Case, Cause, Weighing, quiet
from nanautopsy.detectors.attention import ATTENTION, QUERY_KEY
from nanautopsy.model import Assessment, Source
from nanautopsy.peaks import peaks_at
from nanautopsy.signal import shown, up_to
from nanautopsy.wording import phrase

_FEWEST_WEIGHTS = 4
"""Weights that are a model, and no adapter or head."""


def _assess(case: Case) -> Assessment:
    onset = case.onset
    if onset is None:
        return quiet(phrase("nothing is non-finite, and a bad batch leaves more than a high loss"))
    weighing = Weighing()
    weigh_batch(case, weighing)
    for finding in case.found("isolated-losses"):
        if finding.data.get("gradient") == "zero":
            weighing.speaks_against(
                thresholds.STRONG,
                phrase("{finding}, which a bad number is not", finding=finding.text),
                finding.source,
            )
        elif finding.data.get("value") == "inf":
            weighing.speaks_for(
                thresholds.WEAK,
                phrase(
                    "{finding}: single batches do it, or a formula that has no bound for them",
                    finding=finding.text,
                ),
                finding.source,
            )
        elif finding.data.get("gradient") == "non-finite":
            weighing.speaks_for(
                thresholds.MODERATE,
                phrase("{finding}: single batches do it", finding=finding.text),
                finding.source,
            )
        break
    for finding in case.found("rank-alone")[:1]:
        if finding.data.get("what") == "loss":
            weighing.speaks_for(
                thresholds.MODERATE,
                phrase(
                    "{finding}: ranks share their weights, and differ in their data",
                    finding=finding.text,
                ),
                finding.source,
            )
    _weigh_suddenness(case, weighing)
    if not any(evidence.supports for evidence in weighing.evidence):
        return quiet(
            phrase("nothing that was logged tells a bad batch from another sudden failure")
        )
    _weigh_rivals(case, weighing)
    return weighing.fired()


def _weigh_suddenness(case: Case, weighing: Weighing) -> None:
    """Everything at its usual level up to the last point before the onset."""
    onset = case.onset
    assert onset is not None
    if case.found("isolated-losses"):
        return  # what is alone is sudden
    if onset.step is None or onset.quantity not in ("loss", "activations", "logits"):
        return
    calm: str | None = None
    for series in case.run.by_role("loss", "grad_norm"):
        before = np.abs(up_to(series, onset.step))
        if len(before) < thresholds.DIVERGED_MIN_POINTS:
            continue
        usual = float(np.median(before))
        if before[-1] > thresholds.SUDDEN_FACTOR * usual:
            return
        if series.role == "grad_norm":
            calm = phrase(
                "{tag} was {before} right before, median {usual}",
                tag=series.tag,
                before=shown(float(before[-1])),
                usual=shown(usual),
            )
    if calm is None:
        return
    weighing.speaks_for(
        thresholds.MODERATE,
        phrase("it came from one step to the next: {calm}", calm=calm),
        onset.source,
    )
    if onset.layer is not None or case.found("backward-nonfinite", "loss-term-alone"):
        return  # something says where it arose
    if onset.value == "nan" and onset.last_finite == onset.step - 1:
        weighing.speaks_for(
            thresholds.WEAK,
            phrase("it is NaN at once, with no Inf before it, and every step is logged"),
            onset.source,
        )
    _weigh_model(case, weighing)


def _weigh_model(case: Case, weighing: Weighing) -> None:
    """A model without attention has no mask that could leave a row empty; its weights tell. Of
    several processes one may have sent the number to the others."""
    if "zero_stage" in case.run.facts or any(s.rank is not None for s in case.run.series):
        return
    for checkpoint in case.run.checkpoints:
        names = [t.name for t in checkpoint.tensors if t.part == "parameter"]
        if len(names) < _FEWEST_WEIGHTS:
            continue
        if not any(ATTENTION.search(name) or QUERY_KEY.search(name) for name in names):
            weighing.speaks_for(
                thresholds.WEAK,
                phrase(
                    "no weight of {path} is one of attention, so that no mask did it",
                    path=checkpoint.path,
                ),
                Source(checkpoint.path),
            )
        return


def _weigh_rivals(case: Case, weighing: Weighing) -> None:
    odd = [f.step for f in case.found("odd-input") if f.step is not None]
    for finding in case.found("loss-growth", "grad-norm-growth", "lr-jump", "loss-scale-collapse"):
        if odd and finding.step is not None and finding.step >= min(odd):
            continue  # the batch did that
        weighing.speaks_against(
            thresholds.STRONG,
            phrase("{finding}, before the onset", finding=finding.text),
            finding.source,
        )
    for finding in case.found("loss-term-alone")[:1]:
        weighing.speaks_against(
            thresholds.WEAK,
            phrase("{finding}, where a bad input reaches every term", finding=finding.text),
            finding.source,
        )
    if case.onset is not None and not odd:
        for series, index in peaks_at(case.run, case.onset):
            weighing.speaks_against(
                thresholds.MODERATE,
                phrase(
                    "{tag} is {value} there, finite and higher than ever before: something grew",
                    tag=series.tag,
                    value=shown(float(series.values[index])),
                ),
                series.at(index),
            )
            break
    half = case.states("compute_dtype", "F16")
    if half is not None and not case.found("odd-input"):
        weighing.speaks_against(
            thresholds.MODERATE,
            phrase("the run computes in float16, which overflows too"),
            half.source,
        )
    for finding in case.found("masked-loss", "gradient-sentinel"):
        if finding.data.get("no_gradient"):
            weighing.speaks_against(thresholds.STRONG, finding.text, finding.source)


CAUSE = Cause(
    id="bad-input-data",
    title=phrase("non-finite or absurd values in a batch"),
    assess=_assess,
    remedies=(
        phrase(
            "Save the batch of the failing step and ask `torch.isfinite(x).all()` of every tensor "
            "in it, inputs and targets."
        ),
        phrase("Check the whole data set once, offline; drop or mend what is not finite."),
    ),
    references=(
        "https://github.com/prs-eth/Marigold/issues/111",
        "https://github.com/dusty-nv/jetson-inference/issues/1629",
        "https://github.com/k2-fsa/icefall/issues/135",
    ),
)
