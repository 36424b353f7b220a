"""Where on the way back from a finite loss a gradient turned: what reached the edge of its domain,
which layers were sound, and which of several parts of a model it was."""

from __future__ import annotations

from nanautopsy import thresholds
from nanautopsy.causes.interface import Case, Weighing
from nanautopsy.circumstances import is_calm, own_backward, sound_gradients_beside
from nanautopsy.model import Onset
from nanautopsy.wording import phrase


def weigh_own_part(case: Case, onset: Onset, weighing: Weighing) -> None:
    """Of parts that train in turn, the one whose gradients turned beside its own finite loss."""
    norm = own_backward(case.run, onset)
    if norm is None:
        return
    weighing.speaks_for(
        thresholds.MODERATE,
        phrase(
            "{tag} is non-finite at step {step} while the loss of that part is finite",
            tag=norm.tag,
            step=onset.step,
        ),
        norm.source,
    )
    if is_calm(norm, onset.step):
        weighing.speaks_for(
            thresholds.MODERATE,
            phrase(
                "{tag} was at its usual level right before; gradients turned NaN in one step, "
                "without Inf",
                tag=norm.tag,
            ),
            norm.source,
        )


def weigh_beside(case: Case, step: int, weighing: Weighing) -> None:
    """Layers nearer to the loss whose gradients were finite: it arose on the way back."""
    sound = sound_gradients_beside(case.run, step)
    said = [f for f in case.found("reported-nonfinite") if f.data.get("partial")]
    if sound is not None:
        weighing.speaks_for(
            thresholds.MODERATE,
            phrase("{tag} is finite there: it arose on the way back from the loss", tag=sound.tag),
            sound.source,
        )
    elif said and said[0].step == step:
        weighing.speaks_for(
            thresholds.MODERATE,
            phrase(
                "{finding}: those of the others are finite, so that it arose on the way back from "
                "the loss",
                finding=said[0].text,
            ),
            said[0].source,
        )


def weigh_edge(case: Case, weighing: Weighing) -> None:
    """A number that reached the edge of its domain at that very step, a distance or a variance of
    0, a cosine of 1: a root or an arc cosine is finite there, and its derivative is not."""
    onset = case.onset
    for finding in case.at_onset("left-domain"):
        at_edge = abs(float(str(finding.data.get("value")))) in (0.0, 1.0)
        if at_edge and onset is not None and finding.step == onset.step:
            weighing.speaks_for(
                thresholds.STRONG,
                phrase(
                    "{finding}: a root or an angle is finite there, and its derivative is not",
                    finding=finding.text,
                ),
                finding.source,
            )
            return
