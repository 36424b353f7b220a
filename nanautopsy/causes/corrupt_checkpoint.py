"""The weights that the run started from are damaged: a shard cut short, bits flipped.

What happens: a download or a save was interrupted, a disk or a copy flipped bits, one shard is of
another save. Loaders check headers, not contents: a flipped exponent bit makes 1e38 of a weight,
a page of another file makes NaN. The run starts from there.

Evidence for: the container of the checkpoint that was loaded is damaged (cut short, shards missing
or overlapping); a handful of values in a single tensor, or one stretch of it that does not end with
a row, is non-finite or absurd before the first step, or in the checkpoint that was loaded right
before it; the first loss is absurd; the sizes contradict the index; the program says that a
checksum does not match; the bytes of an absurd tensor do not have the checksum that their archive
states, and the next checkpoint is broken.

Evidence against: the damaged file was written at or after the onset, by a run that was dying;
training was finite for long, or its first loss was ordinary with these weights; many tensors are
non-finite throughout.

Confirm: compare checksums with the source, or ``nanautopsy inspect`` the file that was loaded.

Fix: download or copy it again; keep checksums beside the shards.
"""

from __future__ import annotations

import re
from itertools import pairwise

import numpy as np

from nanautopsy import thresholds
from nanautopsy.causes._start import (
    SOON,
    dead_with_what_was_loaded,
    finite_before,
    from_before,
    loaded_before,
    trained_until,
    was_loaded,
    was_loaded_then,
    was_sound,
)
from nanautopsy.causes.interface import Case, Cause, Need, Weighing, quiet
from nanautopsy.checkpoints.lineages import lineages
from nanautopsy.circumstances import at_first_steps
from nanautopsy.model import ArtifactReport, Assessment, Checkpoint, Finding, Run, Source
from nanautopsy.signal import shown
from nanautopsy.wording import phrase

_DAMAGE = re.compile(
    r"cut short|truncat|overlap|checksum|CRC|corrupt|names shard|cannot be read|bytes at byte"
)


def _assess(case: Case) -> Assessment:
    weighing = Weighing()
    absurd = case.found("absurd-weight")
    for finding in case.found("nonfinite-parameters"):
        elements = finding.data.get("elements")
        few = isinstance(elements, int) and elements <= thresholds.HANDFUL
        if any(f.layer == finding.layer and not f.data.get("few") for f in absurd):
            continue  # the other numbers of this tensor are garbage too
        if few and finding.data.get("first_checkpoint") and from_before(case, finding.step):
            weighing.speaks_for(
                thresholds.STRONG,
                phrase(
                    "{finding}: {elements} elements in all, before training",
                    finding=finding.text,
                    elements=elements,
                ),
                finding.source,
            )
        elif few and was_loaded(case, finding.source.path):
            _weigh_flipped(case, finding, weighing)
        elif _is_stretch(finding) and from_before(case, finding.step):
            weighing.speaks_for(
                thresholds.STRONG,
                phrase(
                    "{finding}: {elements} elements in one stretch that begins and ends within "
                    "rows, before training",
                    finding=finding.text,
                    elements=elements,
                ),
                finding.source,
            )
    for finding in absurd:
        if finding.data.get("few") and from_before(case, finding.step):
            weighing.speaks_for(thresholds.STRONG, finding.text, finding.source)
        elif finding.data.get("few") and was_loaded(case, finding.source.path):
            _weigh_flipped(case, finding, weighing)
    for finding in case.found("flipped-weight"):
        if was_loaded(case, str(finding.data.get("path"))):
            _weigh_flipped(case, finding, weighing)
    for event in case.run.events_of("checkpoint-damaged")[:1]:
        weighing.speaks_for(
            thresholds.STRONG,
            phrase("the program says that its weights are damaged: {line}", line=event.text),
            event.source,
        )
    damaged = _damaged_start(case) or _rewritten(case)
    if damaged is not None:
        report, text = damaged
        weighing.speaks_for(
            # No optimizer writes bytes past the archive's own checksum.
            thresholds.DECISIVE if _CHECKSUM.search(text) else thresholds.STRONG,
            phrase(
                "{path}, which the run started from, is damaged: {text}",
                path=report.path,
                text=text,
            ),
            Source(report.path),
        )
    if not weighing.evidence:
        return quiet(phrase("no checkpoint from before the onset is damaged"))
    _weigh_conversion(case, weighing)
    onset = case.onset
    _weigh_first_loss(case, weighing)
    if onset is not None and onset.step is not None:
        if at_first_steps(case.run, onset) and not was_sound(case):
            dead_with_what_was_loaded(onset, weighing)
        elif was_loaded_then(case):
            pass  # what was finite before was so with other weights
        elif onset.last_finite is not None and trained_until(case, onset.last_finite):
            finite_before(onset, thresholds.MODERATE, weighing)
    return weighing.fired()


def _weigh_flipped(case: Case, finding: Finding, weighing: Weighing) -> None:
    weighing.speaks_for(
        thresholds.STRONG,
        phrase("{finding}; the log says that it was loaded", finding=finding.text),
        finding.source,
    )
    death = case.death
    if death is not None and finding.step is not None and 0 <= death - finding.step <= SOON:
        weighing.speaks_for(
            thresholds.MODERATE,
            phrase("it began within {steps} steps of it", steps=death - finding.step + 1),
            finding.source,
        )
    elif loaded_before(case, finding):
        weighing.speaks_for(
            thresholds.MODERATE,
            phrase("no finite row stands between the load and the onset"),
            finding.source,
        )


def _weigh_conversion(case: Case, weighing: Weighing) -> None:
    """Several elements of half precision that are all Inf, none NaN: of a thousand patterns that
    are not finite one is Inf, so bits would have made NaN, and a conversion makes Inf."""
    for finding in case.found("nonfinite-parameters")[:1]:
        for checkpoint in case.run.checkpoints:
            for tensor in checkpoint.tensors:
                paths = (checkpoint.path, tensor.path)
                if finding.source.path not in paths or tensor.name != finding.source.tensor:
                    continue
                infinite = tensor.pos_inf + tensor.neg_inf
                if tensor.dtype == "F16" and tensor.nan == 0 and infinite > 1:
                    weighing.speaks_against(
                        thresholds.STRONG,
                        phrase(
                            "all {infinite} non-finite elements are Inf, as a conversion to "
                            "float16 leaves of larger numbers, where flipped bits leave NaN",
                            infinite=infinite,
                        ),
                        finding.source,
                    )


def _weigh_first_loss(case: Case, weighing: Weighing) -> None:
    """A finite first loss that no sound weights give."""
    for series in case.run.by_role("loss"):
        if len(series) and thresholds.FIRST_LOSS_MAX < abs(series.values[0]) < np.inf:
            weighing.speaks_for(
                thresholds.MODERATE,
                phrase(
                    "{tag} is {first} at its first point: the weights that were loaded give it",
                    tag=series.tag,
                    first=shown(float(series.values[0])),
                ),
                series.at(0),
            )
            return


def _is_stretch(finding: Finding) -> bool:
    """Whether the damage of a single tensor of the first checkpoint lies in neighboring rows
    without filling them, as a page of another file does; what nobody initialized is a whole
    tensor, or whole rows."""
    tensors = finding.data.get("tensors", ())
    return bool(
        finding.data.get("first_checkpoint")
        and isinstance(tensors, tuple)
        and len(tensors) == 1
        and finding.data.get("stretch")
    )


def _damaged_start(case: Case) -> tuple[ArtifactReport, str] | None:
    """The damage of the checkpoint that the run resumed from, or that lies before its start."""
    resumed = {
        str(e.data["checkpoint"]).rstrip("/").rpartition("/")[2]
        for e in case.run.events_of("run-resumed")
        if e.data.get("checkpoint")
    }
    for checkpoint in case.run.checkpoints:
        loaded = bool(resumed & set(checkpoint.path.split("/")))
        if not loaded and not (checkpoint.step == 0 and from_before(case, checkpoint.step)):
            continue
        for report in case.run.artifacts:
            if not _is_of(report, checkpoint):
                continue
            text = next((p for p in report.problems if _DAMAGE.search(p)), None)
            if text is not None:
                return report, text
    return None


_CHECKSUM = re.compile(r"do not have the checksum")


def _rewritten(case: Case) -> tuple[ArtifactReport, str] | None:
    """A checkpoint whose bytes changed since they were written, and behind which the next one of
    its kind is broken: the run went on from it."""
    first = next(iter(case.found("nonfinite-parameters")), None)
    for line in lineages([c for c in case.run.checkpoints if c.tensors]):
        for before, after in pairwise(line):
            own = [r for r in case.run.artifacts if _is_of(r, before)]
            text = next((p for r in own for p in r.problems if _CHECKSUM.search(p)), None)
            if text is not None and first is not None and first.source.path == after.path:
                return own[0], text
    return None


def _is_of(report: ArtifactReport, checkpoint: Checkpoint) -> bool:
    return report.path == checkpoint.path or report.path.startswith(checkpoint.path + "/")


def _can_tell(run: Run) -> bool:
    return bool(run.checkpoints) or bool(run.events_of("checkpoint-damaged"))


CAUSE = Cause(
    id="corrupt-checkpoint",
    title=phrase("the checkpoint that was loaded is damaged"),
    assess=_assess,
    needs=(Need(phrase("checkpoint"), _can_tell),),
    remedies=(
        phrase(
            "Fetch the file again and compare its checksum; `nanautopsy inspect` shows which "
            "tensor is affected."
        ),
    ),
    references=(
        "https://github.com/vllm-project/vllm/issues/53537",
        "https://github.com/ICTMCG/Make-Your-Anchor/issues/9",
        "https://github.com/huggingface/diffusers/issues/5316",
    ),
)
