"""The weights of another model were loaded.

What happens: a loader that finds no tensor for a parameter initializes it anew and says so in a
warning; tensors of the file that fit no parameter are left out. When the checkpoint belongs to
another architecture, or holds the model under a prefix (`language_model.`), most blocks start
from random values: the loss begins at the level of chance, or non-finite in half precision, and
nothing of the learning rate explains it.

Evidence for: "newly initialized" lists the model's blocks, or half of what a checkpoint of the run
holds, not just a head; "not used" lists keys that differ from them by a prefix only; a model that
lies beside the run has the same tensors under other names, and other numbers in them;
`architectures` in the checkpoint's config.json is not the class that was built, or the library says
that a model of one type became another; the matrices of the first checkpoint reach exactly 127, as
integers without their scales do; the program says that the weights were made for another model; the
first loss is many times what the source had; layers of the checkpoint's blocks have no place in the
model, and the first loss is one that no sound weights give; non-finite at the first step.

Evidence against: only a head, pooler or classifier is new, which fine-tuning does on purpose; the
run learned for a while; a file of weights could not be read, which leaves keys out too.

Confirm: load the checkpoint with its own class and compare the key lists.

Fix: point the model's name at the checkpoint of that model, or load the composite model and take
its submodule.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from nanautopsy import thresholds
from nanautopsy.causes._start import weigh_time
from nanautopsy.causes.interface import Case, Cause, Need, Weighing, quiet
from nanautopsy.detectors.base_weights import base_weights
from nanautopsy.detectors.integer_weights import integer_weights
from nanautopsy.model import Assessment, Finding, Run
from nanautopsy.signal import shown
from nanautopsy.wording import Phrase, phrase

_LOAD_EVENTS = ("weights-newly-initialized", "weights-not-used", "weights-mismatched")
_MANY = 10
"""Parameters that are more than a head has."""


def _assess(case: Case) -> Assessment:
    new = [f for f in case.found("newly-initialized") if not f.data.get("only_added")]
    mismatched = case.found("weights-mismatched")
    unused = case.found("weights-not-used")
    weighing = Weighing()
    for finding in new:
        _weigh_new(finding, weighing)
    for finding in mismatched:
        # A head of another size is new on purpose; blocks of another size are another model's.
        other = thresholds.WEAK if finding.data.get("only_heads") else thresholds.MODERATE
        strength = thresholds.STRONG if _is_core(finding) else other
        weighing.speaks_for(strength, finding.text, finding.source)
    _weigh_architecture(case, new, weighing)
    for event in case.run.events_of("weights-of-another")[:1]:
        weighing.speaks_for(
            thresholds.MODERATE if event.data.get("types") else thresholds.STRONG,
            phrase("the program says so: {line}", line=event.text),
            event.source,
        )
    for finding in [f for f in unused if f.data.get("quantized")][:1]:
        weighing.speaks_for(
            thresholds.STRONG,
            phrase(
                "{finding}, among them the scales of weights that are stored as integers",
                finding=finding.text,
            ),
            finding.source,
        )
        unused = ()
    for finding in case.found("integer-weights", "base-renamed"):
        whole = finding.data.get("whole")
        strength = thresholds.DECISIVE if whole else thresholds.STRONG
        weighing.speaks_for(strength, finding.text, finding.source)
    _weigh_left(case, unused, weighing)
    told = bool(weighing.evidence)
    level = _weigh_level(case, weighing)
    if not weighing.evidence:
        return quiet(_nothing(case.run))
    if unused:
        # A model that lost blocks, and a file that has others: they are two models.
        other = any(_int(f, "blocks") for f in new) and _int(unused[0], "blocks")
        strength = thresholds.STRONG if other else thresholds.MODERATE
        weighing.speaks_for(strength, unused[0].text, unused[0].source)
    if told or not level:
        _weigh_damage(case, weighing)
    if not level:
        weigh_time(case, weighing, sound=True)
    return weighing.fired()


def _weigh_left(case: Case, unused: Sequence[Finding], weighing: Weighing) -> None:
    """Layers of the checkpoint's blocks that the model that was built does not have, and a first
    loss that no sound weights give: the others were trained to work with them."""
    left = [f for f in unused if _int(f, "blocks") >= thresholds.CORE_SHARE_NEW * _int(f, "count")]
    if not left or not any(f.data.get("keys") for f in left):
        return
    if case.onset is not None and case.onset.last_finite is None and _is_core(left[0]):
        # A smaller model may take the first blocks of a larger one on purpose.
        weighing.speaks_for(
            thresholds.MODERATE,
            phrase("{finding}, among them whole blocks", finding=left[0].text),
            left[0].source,
        )
        return
    for series in case.run.by_role("loss"):
        at = int(series.steps[0]) if len(series) else thresholds.FIRST_ROW
        if at <= thresholds.FIRST_STEPS and abs(series.values[0]) > thresholds.FIRST_LOSS_MAX:
            weighing.speaks_for(
                thresholds.STRONG,
                phrase(
                    "{left}, layers of its blocks, and with the others {tag} begins at {first}",
                    left=left[0].text,
                    tag=series.tag,
                    first=shown(float(series.values[0])),
                ),
                left[0].source,
            )
            return


def _weigh_level(case: Case, weighing: Weighing) -> bool:
    """A first loss far above what the source of the weights had: then they show at once, however
    long the run takes to die of them."""
    for finding in case.found("level-lost"):
        factor = finding.data.get("factor")
        far = isinstance(factor, float) and factor >= thresholds.LEVEL_LOST**2
        # Another task may have a loss of another size.
        strength = thresholds.STRONG if far else thresholds.MODERATE
        weighing.speaks_for(strength, finding.text, finding.source)
        death, start = case.death, finding.step
        if death is not None and start is not None and 0 <= death - start <= thresholds.FIRST_ROW:
            weighing.speaks_for(
                thresholds.MODERATE,
                phrase("it began within {steps} steps of it", steps=death - start + 1),
                finding.source,
            )
        return True
    return False


def _weigh_damage(case: Case, weighing: Weighing) -> None:
    for event in case.run.events_of("checkpoint-damaged")[:1]:
        weighing.speaks_against(
            thresholds.STRONG,
            phrase("a damaged file leaves keys out as well: {line}", line=event.text),
            event.source,
        )


def _weigh_new(finding: Finding, weighing: Weighing) -> None:
    """How much of the model is new, and whether the checkpoint has it under another name."""
    listed, blocks = _int(finding, "listed"), _int(finding, "blocks")
    renamed = _int(finding, "renamed")
    if renamed and renamed >= thresholds.CORE_SHARE_NEW * listed:
        # Another part of the same make, as the decoder of another task, has the same endings.
        by_ending = bool(finding.data.get("by_ending"))
        weighing.speaks_for(
            thresholds.STRONG if by_ending else thresholds.DECISIVE,
            phrase(
                "{finding}; the checkpoint holds {renamed} of them under another prefix "
                "({example_old} for {example_new})",
                finding=finding.text,
                renamed=renamed,
                example_old=finding.data.get("example_old"),
                example_new=finding.data.get("example_new"),
            ),
            finding.source,
        )
    elif blocks and blocks >= thresholds.CORE_SHARE_NEW * listed:
        weighing.speaks_for(thresholds.STRONG, finding.text, finding.source)
    elif _int(finding, "count") >= thresholds.CORE_SHARE_NEW * (_int(finding, "total") or np.inf):
        weighing.speaks_for(thresholds.STRONG, finding.text, finding.source)
    elif not listed and _int(finding, "count") >= _MANY:
        weighing.speaks_for(thresholds.MODERATE, finding.text, finding.source)
    elif listed or _int(finding, "total"):
        weighing.speaks_for(thresholds.WEAK, finding.text, finding.source)


def _is_core(finding: Finding) -> bool:
    """Whether most of the several tensors are of the model's blocks."""
    return _int(finding, "blocks") >= thresholds.CORE_SHARE_NEW * _int(finding, "count") > 1


def _int(finding: Finding, name: str) -> int:
    value = finding.data.get(name)
    return value if isinstance(value, int) else 0


def _weigh_architecture(case: Case, new: list[Finding], weighing: Weighing) -> None:
    """The class that was built against the one that the checkpoint's config names."""
    stated = case.fact("architecture")
    built = next((str(f.data["model_class"]) for f in new if f.data.get("model_class")), "")
    if stated is None or not built:
        return
    name = str(stated.value)
    if not _are_related(_family(built), _family(name)):
        weighing.speaks_for(
            thresholds.STRONG,
            phrase(
                "the checkpoint is a {name} (config.json), the program built {built}",
                name=name,
                built=built,
            ),
            stated.source,
        )


def _are_related(one: str, other: str) -> bool:
    """Whether one name builds on the other: ViTWithAttnPool is a ViT."""
    return bool(one and other) and (one.startswith(other) or other.startswith(one))


def _family(class_name: str) -> str:
    """The model family in a class name: ``OPTForCausalLM`` is OPT."""
    return re.split(r"For[A-Z]|Model|LMHead", class_name, maxsplit=1)[0].lower()


def _nothing(run: Run) -> Phrase:
    if run.events_of(*_LOAD_EVENTS):
        return phrase("only a head was newly initialized, as for fine-tuning")
    return phrase("nothing that was read tells that the weights are another model's")


def _has_report(run: Run) -> bool:
    said = run.events_of(*_LOAD_EVENTS, "weights-of-another", "level-stated")
    return bool(said) or any(integer_weights(run)) or any(base_weights(run))


CAUSE = Cause(
    id="wrong-checkpoint",
    title=phrase("the weights of another model were loaded"),
    assess=_assess,
    needs=(Need(phrase("load report of the weights"), _has_report),),
    remedies=(
        phrase(
            "Compare `architectures` in the checkpoint's config.json with the class that is built."
        ),
        phrase("Treat `newly initialized` for anything but a head as an error."),
    ),
    references=(
        "https://github.com/zjunlp/EasyEdit/issues/526",
        "https://github.com/haotian-liu/LLaVA/issues/886",
    ),
)
