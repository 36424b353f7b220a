"""The catalog: what scans found, one row a run, in SQLite or a shared PostgreSQL.

===============  ==============================================================================
``location``     where a catalog is: a path or a URL
``trouble``      what can go wrong, in one line
``connection``   engines, transactions and retries
``tables``       the tables; ``migrations`` bring older catalogs to them; ``schema`` decides which
``rows``         a result of a scan as rows
``store``        :class:`Catalog`
===============  ==============================================================================
"""

from nanautopsy.scan.catalog.location import DEFAULT
from nanautopsy.scan.catalog.store import Catalog
from nanautopsy.scan.catalog.trouble import CatalogTrouble

__all__ = ["DEFAULT", "Catalog", "CatalogTrouble"]
