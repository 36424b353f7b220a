"""Roles that a user gives to metrics, and roles that a metric's values decide.

A name decides most roles (:mod:`nanautopsy.roles`). Where it cannot, ``--role ROLE=PATTERN`` says
it: a pattern is a tag in which ``*`` stands for anything and ``{layer}`` for the layer, compared
without regard to case. The first pattern that fits a tag counts, before everything else.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import get_args

import numpy as np

from nanautopsy.directory_roles import of_evaluation
from nanautopsy.model import Series, SeriesRole
from nanautopsy.objectives import parts_of
from nanautopsy.roles import EVALUATION, FORMULAS, classify
from nanautopsy.tag_words import words
from nanautopsy.wording import phrase

ROLES: tuple[SeriesRole, ...] = get_args(SeriesRole)
_LAYER = "{layer}"
_LARGEST_RATE = 0.05
"""A learning rate called ``eta`` is taken for one up to here; remaining time is mostly more. Usual
rates are 1e-1 (plain SGD on images) at most, and 1e-2 and less for all adaptive optimizers."""
_SMALLEST_SCALE = 1024.0
"""A ``scale`` that is always a power of two and reaches this is a loss scale: scalers start at
2**16 or 2**32 (torch, apex, DeepSpeed) and halve and double; a model's own scales do not."""
_PHASES: Mapping[str, SeriesRole] = {
    **dict.fromkeys(("train", "training", "trn", "tr"), "loss"),
    **dict.fromkeys(("val", "valid", "validation", "dev", "test"), "eval_loss"),
}
"""Numbers that are called by the data they were measured on alone: ``epoch 3 train 0.41 val 0.52``
are losses or accuracies."""
_PHASE_POINTS = 6
_PERCENT = 100.0
_TERMS = frozenset(
    "box cls dfl obj rpn kl recon reg adv dice focal iou giou aux pde bc ic residual physics"
    " boundary".split()
)
"""Terms of losses, by names that say nothing alone."""
_TOTAL = frozenset("total overall sum train training batch".split())
_SCALE_WORDS = frozenset({"scale", "train", "fp", "opt", "optimizer", "mixed", "precision", "16"})


class UnclearRole(ValueError):
    """A text that gives no role to a pattern."""


@dataclass(frozen=True, slots=True)
class RolePattern:
    """A role for every tag that fits."""

    role: SeriesRole
    text: str
    expression: re.Pattern[str]


def parse_roles(specifications: Iterable[str]) -> tuple[RolePattern, ...]:
    """``["loss=my/criterion*", "layer_gradient=gn/{layer}"]`` as patterns, in their order.

    Raises :class:`UnclearRole`, with a line that says what is wrong, for one that is none.
    """
    return tuple(map(_parsed, specifications))


def _parsed(specification: str) -> RolePattern:
    role, separator, pattern = specification.partition("=")
    role, pattern = role.strip(), pattern.strip()
    if not separator or not pattern:
        raise UnclearRole(f"{specification!r} is not ROLE=PATTERN, such as loss=train/*criterion")
    if role not in ROLES:
        raise UnclearRole(f"{role!r} is no role; known are {', '.join(ROLES)}")
    if pattern.count(_LAYER) > 1:
        raise UnclearRole(f"{pattern!r} names the layer twice")
    parts = [
        "(?P<layer>.+?)" if piece == _LAYER else ".*" if piece == "*" else re.escape(piece)
        for piece in re.split(r"(\*|\{layer\})", pattern)
    ]
    expression = re.compile("".join(parts), re.IGNORECASE | re.DOTALL)
    return RolePattern(role, pattern, expression)


def give_roles(
    series: Sequence[Series], patterns: Sequence[RolePattern], notes: list[str]
) -> list[Series]:
    """Every series with its role and layer; what was decided by values is noted."""
    used: dict[RolePattern, int] = dict.fromkeys(patterns, 0)
    held_out = of_evaluation(series)
    named: list[Series] = []
    for one in series:
        found = _by_user(one.tag, used)
        role, layer = found if found is not None else classify(one.tag)
        if role == "loss" and found is None and (one.source.path, one.tag) in held_out:
            role = "eval_loss"
        if role == "other" and found is None:
            role = _by_values(one, notes)
        named.append(replace(one, role=role, layer=layer))
    if not any(one.role == "loss" for one in named):
        named = [_as_objective(one) for one in named]
    if not any(one.role == "loss" for one in named):
        named = [_as_sum(one, named) for one in named]
    terms = {one.source.path for one in named if one.role == "loss" or one.tag.lower() in _TERMS}
    named = [_as_total(one) if one.source.path in terms else one for one in named]
    notes.extend(
        phrase(
            "no metric fits the pattern {pattern!r} that was given for the role {role}",
            pattern=pattern.text,
            role=pattern.role,
        )
        for pattern, count in used.items()
        if not count
    )
    return named


def _falls(values: np.ndarray) -> bool:
    """Whether a number that training changes is minimized: it falls, or is past what a share or a
    percentage can be."""
    if len(values) < _PHASE_POINTS:  # whole numbers may count samples
        counted = (values == np.floor(values)).all()
        return bool(len(values) and not counted and values.max() > _PERCENT)
    first, *_, last = np.array_split(values, 3)
    return bool(np.median(last) < np.median(first)) or float(values.max()) > _PERCENT


def _by_user(tag: str, used: dict[RolePattern, int]) -> tuple[SeriesRole, str | None] | None:
    for pattern in used:
        match = pattern.expression.fullmatch(tag)
        if match is not None:
            used[pattern] += 1
            return pattern.role, match.groupdict().get("layer")
    return None


def _as_objective(one: Series) -> Series:
    """Where nothing is called a loss, the formula that is minimized is one."""
    parts = words(one.tag)
    spelled = frozenset(parts) | {"".join(parts[-3:])}  # l2err
    if one.role != "other" or not spelled & FORMULAS:
        return one
    return replace(one, role="eval_loss" if spelled & EVALUATION else "loss")


def _as_total(one: Series) -> Series:
    """What is called the total, and no count, beside terms of a loss."""
    parts = frozenset(words(one.tag))
    if one.role != "other" or not parts & {"total", "overall"} or not parts <= _TOTAL:
        return one
    finite = one.values[np.isfinite(one.values)]
    return replace(one, role="loss") if (finite != np.floor(finite)).any() else one


def _as_sum(one: Series, everything: Sequence[Series]) -> Series:
    """What is called the total, where nothing is called a loss: it is one by its numbers, when
    others of its writer, whatever their names, add up to it."""
    parts = frozenset(words(one.tag))
    if one.role != "other" or not parts & {"total", "overall"} or not parts <= _TOTAL:
        return one
    beside = [s for s in everything if s.source.path == one.source.path and s.rank == one.rank]
    others = [s for s in beside if s is not one and s.role == "other" and s.layer is None]
    return replace(one, role="loss") if parts_of(one, others) else one


def _by_values(one: Series, notes: list[str]) -> SeriesRole:
    """``scale``, ``eta`` and ``train`` have two meanings each; their values tell which."""
    parts = words(one.tag)
    if len(parts) == 1 and parts[0] in _PHASES:
        return _PHASES[parts[0]] if _falls(one.values[np.isfinite(one.values)]) else "other"
    if not parts or parts[-1] not in ("scale", "eta"):
        return "other"
    finite = one.values[np.isfinite(one.values)]
    if one.missing is not None or not len(finite) or (finite <= 0).any():
        return "other"
    if parts[-1] == "eta":
        if finite.max() > _LARGEST_RATE:
            return "other"
        notes.append(
            phrase(
                "{path}: {tag!r} is taken for the learning rate, since no value is"
                " above {limit}; were it remaining time, --role other={tag} would say so",
                path=one.source.path,
                tag=one.tag,
                limit=_LARGEST_RATE,
            )
        )
        return "learning_rate"
    if not _SCALE_WORDS.issuperset(parts) or finite.max() < _SMALLEST_SCALE:
        return "other"
    # A power of two, as far as four printed digits tell: 5.243e+05 is 2**19.
    powers = np.log2(finite)
    return "loss_scale" if (np.abs(powers - np.round(powers)) < 1e-3).all() else "other"
