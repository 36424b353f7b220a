"""How well the corpus is judged: ``python tests/corpus/score.py`` prints the tables.

Each answer is asked only where the kept artifacts can tell it, which ``harness/knowable.py``
decided before. A step counts as met when it lies in the interval that the onset gives; a layer
when the onset names the module; a cause when it is named first, or among the first three that
fired. Nothing here knows how a run was made.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from nanautopsy.autopsy import analyze
from nanautopsy.model import Autopsy, RankedCause

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from harness.knowable import origin  # noqa: E402

PARTS = ("tune", "test")
BINS = (0.0, 0.2, 0.5, 0.7, 0.9, 1.0)

_REACHED = ("loss", "gradient", "norm")
"""Kinds of values that a failing step ends in."""


@dataclass(frozen=True)
class Judged:
    """One run's truth beside what was said of it."""

    truth: dict[str, Any]
    autopsy: Autopsy

    def asks(self, what: str) -> bool:
        """Whether ``verdict``, ``step``, ``layer`` or ``cause`` can be told."""
        return bool(self.truth["knowable"][what])

    @property
    def verdict_is_right(self) -> bool:
        """Healthy runs are left alone, failed ones are not."""
        return self.autopsy.failed == (self.truth["cause"] is not None)

    @property
    def named(self) -> str | None:
        """The first cause."""
        return self.autopsy.causes[0].id if self.autopsy.causes else None

    @property
    def is_wrong(self) -> bool:
        """Whether another cause than the true one is named."""
        return self.named not in (None, self.truth["cause"])

    @property
    def ranked(self) -> Sequence[RankedCause]:
        """All causes that fired, most probable first, those below the floor too."""
        below = [c for c in self.autopsy.considered if c.status == "fired"]
        below.sort(key=lambda cause: -cause.probability)
        return [*self.autopsy.causes, *below]

    @property
    def probability(self) -> float:
        """Of the first cause; 0 where none fired."""
        return self.ranked[0].probability if self.ranked else 0.0

    @property
    def first_is_right(self) -> bool:
        """Whether the most probable cause is the true one, named or not."""
        return bool(self.ranked) and self.ranked[0].id == self.truth["cause"]

    @property
    def in_top_three(self) -> bool:
        """Whether the true cause is among the three most probable."""
        return self.truth["cause"] in [cause.id for cause in self.ranked[:3]]

    @property
    def step_is_right(self) -> bool:
        """Whether the first non-finite step lies in the onset's interval.

        That is the step of the first non-finite value at all, or of the first loss or gradient:
        weights turn at the end of a step, and the next one computes with them; an activation
        may be clamped and reach the loss steps later.
        """
        first = {kind: seen["step"] for kind, seen in self.truth["first"].items()}
        reached = [step for kind, step in first.items() if kind in _REACHED]
        onset = self.autopsy.onset
        if onset is None or onset.step is None or not first:
            return False
        return any(
            (onset.last_finite is None or onset.last_finite < step) and step <= onset.step
            for step in (min(first.values()), *([min(reached)] if reached else []))
        )

    @property
    def layer_is_right(self) -> bool:
        """Whether a module that was first (``origin``) is among the onset's first three."""
        onset = self.autopsy.onset
        said = onset.layers[:3] if onset is not None else ()
        modules = origin(self.truth["first"])
        return any(
            module == name or name.startswith(module + ".") or module.startswith(name + ".")
            for name in map(_module, said)
            for module in modules
        )


def _module(name: str) -> str:
    for suffix in (".weight", ".bias", ".kernel"):
        name = name.removesuffix(suffix)
    return name.replace("/", ".")


def judged() -> Iterator[Judged]:
    """Every run of the corpus."""
    for path in sorted((HERE / "truth").glob("*.json")):
        truth = json.loads(path.read_text(encoding="utf-8"))
        yield Judged(truth, analyze(HERE / "runs" / truth["id"]))


def table(results: list[Judged]) -> str:
    """Markdown: totals of both parts, by artifact set, calibration, then a row a cause."""
    parts = [[r for r in results if r.truth["part"] == part] for part in PARTS]
    keeps = sorted({r.truth["keep"] for r in results})
    blocks = [
        f"{len(results)} runs, judged where their artifacts can tell.",
        _totals([("all", results), *zip(PARTS, parts, strict=True)]),
        "By artifact set:",
        _totals([(keep, [r for r in results if r.truth["keep"] == keep]) for keep in keeps]),
        "By framework:",
        _totals(
            [
                (name, [r for r in results if r.truth["framework"] == name])
                for name in sorted({r.truth["framework"] for r in results})
            ]
        ),
        "Layers, by what shows them:",
        _layers([("all", results), *zip(PARTS, parts, strict=True)]),
        *(
            block
            for part, runs in zip(PARTS, parts, strict=True)
            for block in (
                f"Reliability of the first cause's probability, failed runs, {part} part:",
                _reliability(_failed(runs)),
            )
        ),
        "By cause, where it is knowable:",
        _by_cause([r for r in results if r.asks("cause")]),
        f"Other answers than the true one, {PARTS[0]} part:",
        _confusions(parts[0]),
        f"Other answers than the true one, {PARTS[1]} part (counted without its runs, so that "
        "nothing is fitted to them):",
        _confusions(parts[1]),
        "Runs of the tuning part that miss something:",
        "\n".join(f"- {line}" for line in misses(parts[0])) or "- none",
    ]
    return "\n\n".join(blocks) + "\n"


def _totals(columns: Sequence[tuple[str, list[Judged]]]) -> str:
    rows: dict[str, Callable[[list[Judged]], str]] = {
        "runs, failed and well": lambda runs: f"{len(_failed(runs))} + {len(_well(runs))}",
        "with a decoy": lambda runs: str(sum(r.truth["decoy"] is not None for r in runs)),
        "verdict right": lambda runs: _share(runs, "verdict", lambda r: r.verdict_is_right),
        "false alarms": lambda runs: str(sum(r.autopsy.failed for r in _well(runs))),
        "step in the interval": lambda runs: _share(runs, "step", lambda r: r.step_is_right),
        "layer named": lambda runs: _share(runs, "layer", lambda r: r.layer_is_right),
        "cause named first": lambda runs: _share(
            runs, "cause", lambda r: r.named == r.truth["cause"]
        ),
        "cause in the first three": lambda runs: _share(runs, "cause", lambda r: r.in_top_three),
        "another cause named": lambda runs: str(sum(r.is_wrong for r in runs)),
        "undetermined, of the failed": lambda runs: _of([r.named is None for r in _failed(runs)]),
        "Brier score, of the failed": lambda runs: _brier(_failed(runs)),
    }
    lines = ["| | " + " | ".join(name for name, _ in columns) + " |"]
    lines.append("| --- |" + " --- |" * len(columns))
    for title, cell in rows.items():
        lines.append(f"| {title} | " + " | ".join(cell(runs) for _, runs in columns) + " |")
    return "\n".join(lines)


def _failed(runs: list[Judged]) -> list[Judged]:
    return [r for r in runs if r.truth["cause"] is not None]


def _well(runs: list[Judged]) -> list[Judged]:
    return [r for r in runs if r.truth["cause"] is None]


def _share(runs: list[Judged], what: str, right: Callable[[Judged], bool]) -> str:
    return _of([right(r) for r in runs if r.asks(what)])


def _of(hits: list[bool]) -> str:
    return f"{sum(hits)} of {len(hits)}" if hits else "-"


def _brier(runs: list[Judged]) -> str:
    """Mean square of the first cause's probability less 1 or 0, right or wrong."""
    if not runs:
        return "-"
    return f"{sum((r.probability - r.first_is_right) ** 2 for r in runs) / len(runs):.2f}"


def _reliability(runs: list[Judged]) -> str:
    lines = ["| said | runs | mean said | right |", "| --- | --- | --- | --- |"]
    for low, high in pairwise(BINS):
        own = [r for r in runs if low <= r.probability < high or r.probability == high == 1.0]
        if own:
            mean = sum(r.probability for r in own) / len(own)
            right = sum(r.first_is_right for r in own) / len(own)
            lines.append(f"| {low:.1f} to {high:.1f} | {len(own)} | {mean:.1f} | {right:.2f} |")
    return "\n".join(lines)


def _by_cause(runs: list[Judged]) -> str:
    lines = ["| cause | runs | named first | undetermined | another |"]
    lines.append("| --- | --- | --- | --- | --- |")
    for cause, count in sorted(Counter(r.truth["cause"] for r in runs).items()):
        own = [r for r in runs if r.truth["cause"] == cause]
        right = sum(r.named == cause for r in own)
        none = sum(r.named is None for r in own)
        others = ", ".join(sorted({str(r.named) for r in own if r.is_wrong}))
        lines.append(f"| {cause} | {count} | {right} | {none} | {others} |")
    return "\n".join(lines)


def _layers(columns: Sequence[tuple[str, list[Judged]]]) -> str:
    lines = ["| | " + " | ".join(name for name, _ in columns) + " |"]
    lines.append("| --- |" + " --- |" * len(columns))
    shown = (("the log's numbers or words", "layer_in_log"), ("weights", "layer_in_weights"))
    for title, what in shown:
        cells = [_share(runs, what, lambda r: r.layer_is_right) for _, runs in columns]
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _confusions(runs: list[Judged]) -> str:
    """Truth and what was named first instead, counted; where the cause or the verdict is asked."""
    counted = Counter(
        (r.truth["cause"] or "well", r.named or ("undetermined" if r.truth["cause"] else "failed"))
        for r in runs
        if (r.asks("cause") and r.named != r.truth["cause"])
        or (r.truth["cause"] is None and r.autopsy.failed)
        or r.is_wrong
    )
    lines = ["| true | named | runs |", "| --- | --- | --- |"]
    lines += [f"| {true} | {said} | {n} |" for (true, said), n in sorted(counted.items())]
    return "\n".join(lines)


def misses(runs: list[Judged]) -> list[str]:
    """A line for each run of which something was told wrongly or not at all."""
    lines = []
    for r in runs:
        missed = [
            what
            for what, right in (
                ("verdict", r.verdict_is_right),
                ("step", r.step_is_right),
                ("layer", r.layer_is_right),
                ("cause", r.named == r.truth["cause"]),
            )
            if r.asks(what) and not right
        ]
        if missed or r.is_wrong:
            about = r.truth["cause"] or f"well, {r.truth['benign'] or r.truth['healthy_twin_of']}"
            said = f"{r.autopsy.verdict}, {r.named or 'no cause'}"
            what = f"misses {', '.join(missed)}" if missed else "names another cause"
            lines.append(f"{r.truth['id']} ({about}; {r.truth['keep']}) {what}: {said}")
    return lines


def main() -> None:
    """Print the tables; with ``--write``, keep them in ``score.md``."""
    results = list(judged())
    text = table(results)
    print(text)
    if "--write" in sys.argv:
        (HERE / "score.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
