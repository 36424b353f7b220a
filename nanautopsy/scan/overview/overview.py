"""All that the runs of a catalog tell together."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from nanautopsy.scan.catalog import Catalog
from nanautopsy.scan.overview.calendar import Calendar, calendar_of
from nanautopsy.scan.overview.details import AllDetails
from nanautopsy.scan.overview.groups import Groups, groups_of
from nanautopsy.scan.overview.rates import Rates, rates_of
from nanautopsy.scan.overview.runs import ListedRun, listed
from nanautopsy.scan.query import Filters


@dataclass(frozen=True, slots=True)
class Overview:
    """What an index page says; a frozen value, so that it is redacted and cleaned as a whole."""

    catalog: str
    """Where the runs were listed from, without secrets."""
    filters: Filters
    runs: tuple[ListedRun, ...]
    """Those that died first, the latest leading, then the undetermined, then the healthy."""
    calendar: Calendar | None
    rates: Rates
    groups: Groups

    @property
    def failed(self) -> tuple[ListedRun, ...]:
        """The runs that died."""
        return tuple(run for run in self.runs if run.failed)

    @property
    def unread(self) -> tuple[ListedRun, ...]:
        """The runs that could not be analyzed."""
        return tuple(run for run in self.runs if run.verdict is None)

    @property
    def verdicts(self) -> Counter[str]:
        """Runs by verdict."""
        return Counter(run.verdict for run in self.runs if run.verdict is not None)

    @property
    def causes(self) -> Counter[str]:
        """Runs that died by first cause."""
        return Counter(run.died_of for run in self.failed)


def overview_of(catalog: Catalog, filters: Filters | None = None) -> Overview:
    """What the runs that fit the filters tell, as the catalog names them.

    Raises :class:`~nanautopsy.scan.query.UnclearQuery` and
    :class:`~nanautopsy.scan.catalog.CatalogTrouble`.
    """
    filters = filters or Filters()
    with catalog.reading() as connection:
        runs = tuple(listed(connection, filters))
        return Overview(
            catalog.label,
            filters,
            runs,
            calendar_of(runs),
            rates_of(connection, runs),
            groups_of(runs, AllDetails(connection)),
        )
