"""nanautopsy says when, where and why a training run went NaN, from what the run left behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

__version__ = "0.1.0"
__all__ = ["Autopsy", "Inspection", "__version__", "analyze", "catalog_frame", "inspect", "scan"]

if TYPE_CHECKING:
    from nanautopsy.autopsy import analyze
    from nanautopsy.inspection import Inspection, inspect
    from nanautopsy.model import Autopsy
    from nanautopsy.scan.query import catalog_frame
    from nanautopsy.scan.scan import scan


def __getattr__(name: str) -> object:
    """Import on first use, so that ``import nanautopsy`` stays instant."""
    if name == "analyze":
        from nanautopsy.autopsy import analyze

        return analyze
    if name in ("inspect", "Inspection"):
        from nanautopsy import inspection

        return getattr(inspection, name)
    if name == "scan":
        import nanautopsy.scan

        return nanautopsy.scan
    if name == "catalog_frame":
        from nanautopsy.scan.query import catalog_frame

        return catalog_frame
    if name == "Autopsy":
        from nanautopsy.model import Autopsy

        return Autopsy
    raise AttributeError(f"module 'nanautopsy' has no attribute {name!r}")
