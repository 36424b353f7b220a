"""Settings and machines on which the artifacts of one run disagree: told, not silently resolved."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from nanautopsy.facts import in_order, stated_by
from nanautopsy.model import ConfigRecord, EnvironmentRecord, Fact, Scalar
from nanautopsy.wording import phrase, shortlist

_COMPARED = (
    *("compute_dtype", "parameter_dtype", "loss_scaler", "loss_scale_initial", "optimizer"),
    *("learning_rate", "adam_epsilon", "adam_beta2", "gradient_clipping", "gradient_accumulation"),
    *("zero_stage", "overlap_comm", "attention", "logging_nan_inf_filter"),
)
"""Facts that decide a diagnosis and that different programs state in comparable words."""
_MACHINE = ("gpu", "python", "cuda", "driver")
_TOLERANCE = 1e-6
_TOLD = 3
_FAMILIES = re.compile(
    r"adafactor|adamw|nadam|radam|adamax|adam|sgd|lion|lamb|rmsprop|muon|adagrad|shampoo|sophia"
)


def setting_conflicts(
    configs: Iterable[ConfigRecord],
    environments: Sequence[EnvironmentRecord],
    facts: Mapping[str, Fact],
) -> Iterator[str]:
    """A note for each fact of which some record says something else than the one that counts."""
    others: dict[str, list[Fact]] = {}
    for record in in_order(configs, environments):
        if record.kind == "script":
            continue  # it need not be the one that was used
        for name, fact in stated_by(record).items():
            if name in _COMPARED and name in facts and _differ(facts[name].value, fact.value):
                others.setdefault(name, []).append(fact)
    for name, found in others.items():
        yield _note(name, facts[name], found)


def machine_conflicts(environments: Iterable[EnvironmentRecord]) -> Iterator[str]:
    """A note for each fact of the machine that two artifacts state differently."""
    first: dict[str, Fact] = {}
    others: dict[str, list[Fact]] = {}
    for record in environments:
        for name in _MACHINE:
            if name not in record.facts:
                continue
            fact = Fact(record.facts[name], record.source)
            known = first.setdefault(name, fact)
            if not _alike(str(known.value), str(fact.value)):
                others.setdefault(name, []).append(fact)
    for name, found in others.items():
        yield _note(name, first[name], found)


def _note(name: str, counts: Fact, others: Sequence[Fact]) -> str:
    told: dict[Scalar, str] = {}
    for fact in others:
        told.setdefault(fact.value, f"{fact.value} ({_place(fact)})")
    return phrase(
        "{name}: {value} ({place}) is taken; there is also {others}",
        name=name,
        value=counts.value,
        place=_place(counts),
        others=shortlist(list(told.values()), _TOLD),
    )


def _place(fact: Fact) -> str:
    place = str(fact.source)
    quoted = fact.source.excerpt
    return f"{place}: {quoted[:80]}" if quoted else place


def _differ(one: Scalar, other: Scalar) -> bool:
    if isinstance(one, (int, float)) and isinstance(other, (int, float)):
        return not math.isclose(one, other, rel_tol=_TOLERANCE)
    if isinstance(one, str) and isinstance(other, str):
        families = [_FAMILIES.search(value.lower()) for value in (one, other)]
        if all(families):
            return families[0][0] != families[1][0]  # type: ignore[index]
    return str(one).lower() != str(other).lower()


def _alike(one: str, other: str) -> bool:
    """Whether two say the same of a machine, one of them in more words: ``3.10`` and ``3.10.12``,
    ``A100-SXM4-80GB`` and ``NVIDIA A100-SXM4-80GB``."""
    one, other = one.lower(), other.lower()
    return one in other or other in one
