"""A game whose two players run away together: no penalty bounds the critic.

The loss of one player is the success of the other, so that a single one that rises tells nothing.
Where both leave their level a hundredfold, the critic's slope has, and with it all gradients.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from nanautopsy import thresholds
from nanautopsy.detectors.interface import Detector
from nanautopsy.model import Finding, Run, Series
from nanautopsy.signal import shown
from nanautopsy.tag_words import words
from nanautopsy.wording import phrase

_CRITICS = frozenset({"d", "dis", "disc", "discriminator", "critic"})
_GENERATORS = frozenset({"g", "gen", "generator"})


def _detect(run: Run) -> Iterator[Finding]:
    sides: list[list[Series]] = [[], []]
    for series in run.by_role("loss"):
        have = frozenset(words(series.tag))
        for side, named in zip(sides, (_CRITICS, _GENERATORS), strict=True):
            if have & named and _ran_away(series):
                side.append(series)
    critics, generators = sides
    if not critics or not generators or critics[0].source.path != generators[0].source.path:
        return
    yield _finding(critics[0], generators[0])


def _ran_away(series: Series) -> bool:
    values = np.abs(series.values)
    if len(values) < thresholds.DIVERGED_MIN_POINTS or not np.isfinite(values).all():
        return False
    quarter = len(values) // 4
    usual = max(float(np.median(values[: max(3, quarter // 4)])), 1.0)
    tail = values[-max(3, int(len(values) * thresholds.DIVERGED_TAIL)) :]
    # A difference of two scores crosses 0 now and then.
    level = float(np.median(tail))
    grows = level >= thresholds.SUDDEN_FACTOR * float(np.median(values[quarter : 2 * quarter]))
    beyond = thresholds.GROWTH_FACTOR**2 * usual
    return level >= max(thresholds.GAME_LOST, beyond) and grows


def _finding(critic: Series, generator: Series) -> Finding:
    values = np.abs(critic.values)
    level = float(np.median(critic.values[-max(3, len(values) // 5) :]))
    usual = max(float(np.median(values[:3])), 1.0)
    inside = np.flatnonzero(values <= thresholds.GROWTH_FACTOR**2 * usual)
    start = min(int(inside[-1]) + 1, len(values) - 1) if len(inside) else 0
    return Finding(
        id="diverged-loss",
        text=phrase(
            "{tag} and {other} leave their level a hundredfold: {tag} ends at about {level}",
            tag=critic.tag,
            other=generator.tag,
            level=shown(level),
        ),
        source=critic.at(start),
        step=int(critic.steps[start]),
        last_good=int(critic.steps[start - 1]) if start else None,
        data={"from": float(critic.values[0]), "to": level, "best": float(values.min())},
    )


DETECTOR = Detector("game-runaway", _detect)
