"""How many of the runs with a library's version died: rates, never counts alone.

A rate is out of the runs that died or are healthy; what is undetermined counts as neither. It
says which versions deaths came with, and nothing of why: a version comes with a project, its
people and their settings.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import sqrt

from packaging.version import InvalidVersion, Version
from sqlalchemy import Connection, select

from nanautopsy.scan.catalog.tables import PACKAGES
from nanautopsy.scan.overview.runs import ListedRun

FEW = 10
"""Judged runs below which a rate is called uncertain: its interval is then wider than half of all
that a rate can be."""
MOST_VERSIONS = 12
"""Of one library, those with the most runs."""
MOST_LIBRARIES = 20
_Z = 1.959964
"""Standard normal quantile of 95 percent, two-sided."""
_FRAMEWORKS = frozenset(
    """accelerate apex bitsandbytes deepspeed fairseq flash-attn flax jax jaxlib keras lightning
    megatron-core mlx numpy optax peft pytorch-lightning tensorflow torch transformer-engine
    transformers triton trl xformers""".split()
)
"""Libraries that compute a training step; those with known defects are looked at too."""


@dataclass(frozen=True, slots=True)
class Rate:
    """Runs that died, out of those that died or are healthy."""

    failed: int
    judged: int

    @property
    def share(self) -> float:
        """Between 0 and 1; 0 for no runs."""
        return self.failed / self.judged if self.judged else 0.0

    @property
    def is_uncertain(self) -> bool:
        """Whether there are too few runs to say much."""
        return self.judged < FEW

    @property
    def interval(self) -> tuple[float, float]:
        """Where the rate lies with 95 percent confidence: Wilson's score interval (1927), which
        holds for few runs and rates near 0 and 1."""
        if not self.judged:
            return 0.0, 1.0
        n, square = self.judged, _Z * _Z
        center = (self.share + square / (2 * n)) / (1 + square / n)
        spread = self.share * (1 - self.share) / n + square / (4 * n * n)
        half = _Z * sqrt(spread) / (1 + square / n)
        return max(0.0, center - half), min(1.0, center + half)


@dataclass(frozen=True, slots=True)
class VersionRate:
    """What became of the runs with one version."""

    version: str
    """Its public part: ``2.1.0`` of ``2.1.0+cu118``."""
    rate: Rate
    undetermined: int


@dataclass(frozen=True, slots=True)
class LibraryRates:
    """The versions of one library, the oldest first."""

    name: str
    versions: tuple[VersionRate, ...]
    left_out: int
    """Versions with fewer runs that are not listed."""


@dataclass(frozen=True, slots=True)
class Rates:
    """Deaths by library version."""

    libraries: tuple[LibraryRates, ...]
    """Those with several versions first, then those that most runs tell."""
    left_out: int
    """Libraries that fewer runs tell, and that are not listed."""
    overall: Rate
    told: int
    """Judged runs that tell the version of any of these libraries."""


def rates_of(connection: Connection, runs: Sequence[ListedRun]) -> Rates:
    """The rates among these runs."""
    by_id = {run.id: run for run in runs if run.verdict is not None}
    kept: dict[str, dict[str, list[ListedRun]]] = defaultdict(lambda: defaultdict(list))
    told: set[int] = set()
    for key, name, version in _versions(connection):
        run = by_id.get(key)
        if run is not None:
            kept[name][version].append(run)
            told.add(key)
    libraries = [_library(name, versions) for name, versions in kept.items()]
    libraries.sort(key=lambda one: (len(one.versions) < 2, -_judged(one), one.name))
    return Rates(
        tuple(libraries[:MOST_LIBRARIES]),
        max(0, len(libraries) - MOST_LIBRARIES),
        rate_of(runs),
        sum(by_id[key].failed or by_id[key].healthy for key in told),
    )


def rate_of(runs: Iterable[ListedRun]) -> Rate:
    """The rate among runs."""
    found = Counter((run.failed, run.healthy) for run in runs)
    failed = found[True, False]
    return Rate(failed, failed + found[False, True])


def _library(name: str, versions: Mapping[str, Sequence[ListedRun]]) -> LibraryRates:
    most = sorted(versions, key=lambda version: -len(versions[version]))[:MOST_VERSIONS]
    rates = []
    for version in sorted(most, key=_order):
        rate = rate_of(versions[version])
        rates.append(VersionRate(version, rate, len(versions[version]) - rate.judged))
    return LibraryRates(name, tuple(rates), len(versions) - len(most))


def _judged(library: LibraryRates) -> int:
    return sum(one.rate.judged for one in library.versions)


def _versions(connection: Connection) -> Iterator[tuple[int, str, str]]:
    """(run, library, version) of every run of the catalog."""
    names = sorted(_FRAMEWORKS | _with_known_defects())
    columns = (PACKAGES.c.run_id, PACKAGES.c.name, PACKAGES.c.version)
    query = select(*columns).where(PACKAGES.c.name.in_(names))
    for key, name, version in connection.execute(query):
        yield key, name, _public(str(version))


def _with_known_defects() -> frozenset[str]:
    from nanautopsy.known_issues import load

    return frozenset(issue.package for issue in load())


@cache
def _public(version: str) -> str:
    try:
        return Version(version).public
    except InvalidVersion:
        return version


def _order(version: str) -> tuple[int, Version | str]:
    """Versions by PEP 440, and behind them what is none."""
    try:
        return 0, Version(version)
    except InvalidVersion:
        return 1, version
