"""The figures of the pages as inline SVG: each only where there is something to see in it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from nanautopsy.languages import ENGLISH, Language
from nanautopsy.model import Autopsy
from nanautopsy.render.figures.svg import Drawing

if TYPE_CHECKING:
    from nanautopsy.scan.overview.calendar import Calendar


def draw(autopsy: Autopsy, language: Language = ENGLISH) -> tuple[Drawing, ...]:
    """Every figure that a cleaned result allows, in the order of the report."""
    from nanautopsy.render.figures.curves import draw_curves
    from nanautopsy.render.figures.health import draw_health
    from nanautopsy.render.figures.layers import draw_layers, draw_ranks
    from nanautopsy.render.figures.scale import draw_scale

    with _styled():
        makers = (draw_curves, draw_scale, draw_layers, draw_ranks, draw_health)
        return tuple(drawing for make in makers for drawing in make(autopsy, language))


def draw_overview(calendar: Calendar, language: Language = ENGLISH) -> Drawing:
    """Causes over time, of the index page."""
    from nanautopsy.render.figures.calendar import draw_calendar

    with _styled():
        return draw_calendar(calendar, language)


@contextmanager
def _styled() -> Iterator[None]:
    import matplotlib as mpl

    from nanautopsy.render.figures.style import style

    with mpl.rc_context(style()), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # glyphs that the measuring font lacks
        yield
