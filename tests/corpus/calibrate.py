"""How sure an answer may sound: ``python tests/corpus/calibrate.py`` fits it on the tuning part.

A cause's evidence gives it a share of the odds; the odds of that share, to the power of one number,
the sharpness, are those of its probability (temperature scaling, arXiv 1706.04599). The number
changes how sure answers sound, and neither which cause is first nor whether it is named. It is
fitted by cross-entropy on the failed runs of the tuning part alone; the test part only shows what
comes of it. What is fitted is whether the first cause is the true one. ``thresholds.SHARPNESS`` is
set from it by hand.

Second, for each level of strength: of the causes whose strongest piece of evidence has it, how many
are the true one. A level that is right less often than a weaker one is misnamed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from score import BINS, PARTS, Judged, judged

from nanautopsy import thresholds
from nanautopsy.model import RankedCause

LEVELS = ("WEAK", "MODERATE", "STRONG", "DECISIVE")
GRID = tuple(0.5 + 0.05 * i for i in range(51))
_LEAST = 1e-3


@dataclass(frozen=True)
class Answer:
    """What was said of one failed run."""

    share: float
    """Of the odds, of the first cause; 0 where none fired."""
    is_right: bool
    """Whether that one is the true one."""

    def probability(self, sharpness: float) -> float:
        """The share as a probability."""
        sure, rest = self.share**sharpness, (1.0 - self.share) ** sharpness
        return sure / (sure + rest)


def answer(run: Judged) -> Answer:
    """What was said of a run, before it was made a probability."""
    odds = [math.exp(log_odds(cause)) for cause in run.ranked]
    return Answer(odds[0] / (1.0 + sum(odds)) if odds else 0.0, run.first_is_right)


def log_odds(cause: RankedCause) -> float:
    """The prior and the evidence."""
    weights = (e.strength if e.supports else -e.strength for e in cause.evidence)
    return thresholds.PRIOR + sum(weights)


def cross_entropy(answers: Sequence[Answer], sharpness: float) -> float:
    """Mean surprise, in nats, at whether the first cause was the true one."""
    total = 0.0
    for one in answers:
        said = min(max(one.probability(sharpness), _LEAST), 1 - _LEAST)
        total -= math.log(said if one.is_right else 1 - said)
    return total / len(answers)


def brier(answers: Sequence[Answer], sharpness: float) -> float:
    """Mean square of what was said less 1 or 0."""
    return sum((a.probability(sharpness) - a.is_right) ** 2 for a in answers) / len(answers)


def fitted(answers: Sequence[Answer]) -> float:
    """The sharpness at which the answers surprise least."""
    return min(GRID, key=lambda sharpness: cross_entropy(answers, sharpness))


def reliability(answers: Sequence[Answer], sharpness: float) -> str:
    """Markdown: what was said, in ranges, against how often it was right."""
    lines = ["| said | runs | mean said | right |", "| --- | --- | --- | --- |"]
    for low, high in pairwise((*BINS[:-1], 1.0 + _LEAST)):
        own = [a for a in answers if low <= a.probability(sharpness) < high]
        if own:
            mean = sum(a.probability(sharpness) for a in own) / len(own)
            right = sum(a.is_right for a in own) / len(own)
            top = min(high, 1.0)
            lines.append(f"| {low:.1f} to {top:.1f} | {len(own)} | {mean:.2f} | {right:.2f} |")
    return "\n".join(lines)


def by_level(runs: Sequence[Judged]) -> str:
    """Markdown: of the causes whose strongest evidence has a level, the share that is true."""
    lines = ["| strongest evidence | causes | true |", "| --- | --- | --- |"]
    for name in LEVELS:
        level = getattr(thresholds, name)
        own = [
            cause.id == run.truth["cause"]
            for run in runs
            for cause in run.ranked
            if max((e.strength for e in cause.evidence if e.supports), default=0.0) == level
        ]
        if own:
            lines.append(f"| {name} | {len(own)} | {sum(own) / len(own):.2f} |")
    return "\n".join(lines)


def main() -> None:
    """Print the fit, then what it and the present number give."""
    runs = [run for run in judged() if run.truth["cause"] is not None]
    parts = {part: [run for run in runs if run.truth["part"] == part] for part in PARTS}
    best = fitted([answer(run) for run in parts["tune"]])
    print(f"fitted on the tuning part: {best:.2f}; in use: {thresholds.SHARPNESS:.2f}")
    for part, own in parts.items():
        answers = [answer(run) for run in own]
        for sharpness in dict.fromkeys((thresholds.SHARPNESS, best)):
            print(f"\n{part}, {len(own)} failed runs, sharpness {sharpness:.2f}:")
            print(f"Brier {brier(answers, sharpness):.3f}, ", end="")
            print(f"cross-entropy {cross_entropy(answers, sharpness):.3f}\n")
            print(reliability(answers, sharpness))
    print("\ntuning part, by level:\n")
    print(by_level(parts["tune"]))


if __name__ == "__main__":
    main()
