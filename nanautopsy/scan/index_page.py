"""Writing an index page: where it goes, the reports beside it, and the page itself."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nanautopsy import __version__
from nanautopsy.outputs import UnclearOutput, is_ours, write_file
from nanautopsy.redact import redact_value
from nanautopsy.render.index import Linked, render
from nanautopsy.scan.catalog import Catalog
from nanautopsy.scan.overview.overview import overview_of
from nanautopsy.scan.query import Filters
from nanautopsy.scan.reports import Shelf

_SUFFIXES = (".html", ".htm")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page and its reports go."""

    page: Path
    reports: Path

    @classmethod
    def of(cls, name: str) -> Place:
        """``FILE.html`` and ``FILE-reports/``, or ``DIR/index.html`` and ``DIR/reports/``."""
        path = Path(name)
        if path.suffix.lower() in _SUFFIXES and not path.is_dir():
            return cls(path, path.with_name(f"{path.stem}-reports"))
        return cls(path / "index.html", path / "reports")

    def prepare(self) -> None:
        """Make sure, before the work, that the page can be written.

        Raises :class:`~nanautopsy.outputs.UnclearOutput` where it would replace something else,
        and ``OSError``.
        """
        if os.path.lexists(self.page) and not is_ours(self.page):
            raise UnclearOutput(
                f"{self.page}: would replace a file that is no page of nanautopsy's"
            )
        self.page.parent.mkdir(parents=True, exist_ok=True)
        if not os.access(self.page.parent, os.W_OK):
            raise PermissionError(13, "Permission denied", str(self.page))


def write_index(
    catalog: Catalog,
    page: Path,
    shelf: Shelf,
    filters: Filters | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Linked:
    """Write the page and the reports that it links to, and say which these are.

    ``progress`` is told how many of the reports that are due are done. Raises
    :class:`~nanautopsy.scan.query.UnclearQuery`,
    :class:`~nanautopsy.scan.catalog.CatalogTrouble` and ``OSError``.
    """
    raw = overview_of(catalog, filters)
    settings = shelf.settings
    shown = redact_value(raw, urls=settings.redact_urls)[0] if settings.redact else raw
    linked = shelf.fill(catalog, raw.runs, shown.runs, progress)
    write_file(page, render(shown, linked, version=__version__, language=shelf.language))
    return linked
