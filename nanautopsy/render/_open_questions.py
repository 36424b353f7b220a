"""What maintainers will ask next, each with what answers it: the checklist of an issue report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nanautopsy.experiments import EXPERIMENTS, advice_at
from nanautopsy.frameworks import framework_of
from nanautopsy.model import Autopsy
from nanautopsy.quantities import position
from nanautopsy.render import _issue_facts
from nanautopsy.wording import listed, phrase

PROJECTS = ("deepspeed", "transformers", "pytorch", "megatron", "lightning", "jax", "generic")
"""Whose maintainers a report is for."""
_OF_FRAMEWORK = {
    "trainer": "transformers",
    "megatron": "megatron",
    "deepspeed": "deepspeed",
    "lightning": "lightning",
    "jax": "jax",
    "keras": "generic",
    "any": "pytorch",
}


@dataclass(frozen=True, slots=True)
class Question:
    """An item of the checklist."""

    text: str
    answer: str
    """Empty: the reporter must still find out."""
    how: str = ""


def project_of(autopsy: Autopsy) -> str:
    """Whose maintainers a report on this run goes to, where nobody says."""
    return _OF_FRAMEWORK[framework_of(autopsy.run)]


def questions(autopsy: Autopsy, project: str) -> list[Question]:
    """Those of every project, then those that this one's maintainers ask."""
    asked = [make(autopsy) for make in (_versions, _precision, _command, _first, _layer)]
    keys = [*_EXPERIMENTS_OF[project], "same-batch"]
    facts = autopsy.run.facts
    if "overlap_comm" in facts and facts["overlap_comm"].value is True:
        keys.insert(0, "no-overlap")
    tried = [
        _experiment(autopsy, key)
        for key in dict.fromkeys(keys)
        if key != "wider-format" or not _is_wide(autopsy)
    ]
    return [*asked, _again(autopsy), *tried, _minimal()]


def _is_wide(autopsy: Autopsy) -> bool:
    """Whether the run computes in a format that has float32's range."""
    dtype = autopsy.run.facts.get("compute_dtype")
    return dtype is not None and dtype.value in ("BF16", "F32")


_EXPERIMENTS_OF: Mapping[str, tuple[str, ...]] = {
    "deepspeed": ("no-overlap", "other-version", "wider-format"),
    "transformers": ("wider-format", "first-module", "other-version"),
    "pytorch": ("backward-function", "other-version"),
    "megatron": ("nan-check", "other-device"),
    "lightning": ("wider-format", "backward-function"),
    "jax": ("backward-function", "wider-format"),
    "generic": ("first-module", "wider-format"),
}
"""What each project's maintainers asked for in their threads, most often first."""

_WHAT: Mapping[str, str] = {
    "same-batch": phrase("Does the batch of the failing step fail on its own?"),
    "first-module": phrase("Which module is non-finite first in the forward pass?"),
    "backward-function": phrase("Which backward function is non-finite first?"),
    "wider-format": phrase("Is it gone in a wider format?"),
    "no-overlap": phrase("Is it gone without overlapped communication?"),
    "nan-check": phrase("Which rank sends the first non-finite value?"),
    "other-device": phrase("Does it follow the device?"),
    "other-version": phrase("Is it gone with another version?"),
}


def _experiment(autopsy: Autopsy, key: str) -> Question:
    experiment = EXPERIMENTS[key]
    how = experiment.how.get(framework_of(autopsy.run), experiment.how["any"])
    step = None
    if autopsy.onset is not None and autopsy.onset.axis == "step":
        step = autopsy.onset.step
    return Question(_WHAT[key], "", advice_at(how, step))


_COLLECT: Mapping[str, str] = {
    "jax": "python -c 'import jax; jax.print_environment_info()'",
    "any": "python -m torch.utils.collect_env",
}
"""What prints the versions and the devices, by framework."""


def _versions(autopsy: Autopsy) -> Question:
    lacking = _issue_facts.missing_versions(autopsy)
    text = phrase("Versions, GPU and driver")
    if lacking is None:
        return Question(text, phrase("see the environment above"))
    how = phrase(
        "add what no artifact states ({lacking}): `{command}`",
        lacking=lacking,
        command=f"{_COLLECT.get(framework_of(autopsy.run), _COLLECT['any'])} && pip freeze",
    )
    return Question(text, "", how)


def _precision(autopsy: Autopsy) -> Question:
    known = _issue_facts.precision(autopsy)
    text = phrase("Precision of parameters, compute and optimizer state")
    if "compute_dtype" not in autopsy.run.facts:
        how = phrase("say the dtype of the weights, autocast or not, and whether a scaler is used")
        return Question(text, "", how)
    return Question(
        text, listed([phrase("{name} {value}", name=row.name, value=row.value) for row in known])
    )


def _command(autopsy: Autopsy) -> Question:
    row = _issue_facts.command(autopsy)
    text = phrase("Command line")
    if row is None:
        return Question(text, "", phrase("add the whole command, and what differs from the recipe"))
    return Question(text, phrase("see above"))


def _first(autopsy: Autopsy) -> Question:
    onset = autopsy.onset
    text = phrase("First non-finite step, and in the forward or the backward pass")
    if onset is None or onset.step is None:
        return Question(text, "", phrase("log loss and gradient norm at every step"))
    backward = onset.quantity in ("grad_norm", "gradients", "gradient")
    forward = onset.quantity in ("loss", "activations", "logits", "attention logits", "attention")
    side = phrase("not told by what was read")
    if backward:
        side = phrase("the backward pass")
    elif forward:
        side = phrase("the forward pass")
    answer = phrase("{place}; {side}", place=position(onset.axis, onset.step), side=side)
    return Question(text, answer)


def _layer(autopsy: Autopsy) -> Question:
    text = phrase("First non-finite module or parameter, and rank")
    onset = autopsy.onset
    if onset is not None and onset.layer:
        rank = "" if onset.rank is None else phrase("; rank {rank}", rank=onset.rank)
        return Question(text, phrase("{layer}{rank}", layer=onset.layer, rank=rank))
    first = _experiment(autopsy, "first-module")
    return Question(text, "", first.how)


def _again(autopsy: Autopsy) -> Question:
    text = phrase("Does it come back at the same step after a restart, and on another GPU?")
    how = phrase("resume twice from the last sound checkpoint, with the same seed and data order")
    return Question(text, "", how)


def _minimal() -> Question:
    text = phrase("A minimal reproduction")
    how = phrase("the smallest script, or the saved batch with one forward and backward pass")
    return Question(text, "", how)
