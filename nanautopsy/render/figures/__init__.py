"""The report's figures as inline SVG: each only where there is something to see in it."""

from __future__ import annotations

import warnings

from nanautopsy.languages import ENGLISH, Language
from nanautopsy.model import Autopsy
from nanautopsy.render.figures.svg import Drawing


def draw(autopsy: Autopsy, language: Language = ENGLISH) -> tuple[Drawing, ...]:
    """Every figure that a cleaned result allows, in the order of the report."""
    import matplotlib as mpl

    from nanautopsy.render.figures.curves import draw_curves
    from nanautopsy.render.figures.health import draw_health
    from nanautopsy.render.figures.layers import draw_layers, draw_ranks
    from nanautopsy.render.figures.scale import draw_scale
    from nanautopsy.render.figures.style import style

    with mpl.rc_context(style()), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # glyphs that the measuring font lacks
        makers = (draw_curves, draw_scale, draw_layers, draw_ranks, draw_health)
        return tuple(drawing for make in makers for drawing in make(autopsy, language))
