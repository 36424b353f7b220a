"""How well the corpus is judged: ``python tests/corpus/score.py`` prints the table.

A truth's step counts as met when it lies in the interval that the onset gives; its cause when it
is named first. Nothing here knows how a run was made.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nanautopsy.autopsy import analyze
from nanautopsy.model import Autopsy

HERE = Path(__file__).resolve().parent


_COMPUTED = ("forward", "loss", "gradient")
"""What a step computes from its batch; weights and moments turn at the end of it, unless they were
loaded so (step 0)."""


@dataclass(frozen=True)
class Judged:
    """One run's truth beside what was said of it."""

    truth: dict[str, Any]
    autopsy: Autopsy

    @property
    def verdict_is_right(self) -> bool:
        """Healthy runs are left alone, failed ones are not."""
        return self.autopsy.failed == (self.truth["cause"] is not None)

    @property
    def named(self) -> str | None:
        """The first cause."""
        return self.autopsy.causes[0].id if self.autopsy.causes else None

    @property
    def step_is_right(self) -> bool | None:
        """Whether the first non-finite step lies in the onset's interval; ``None``: not to tell."""
        first = self.truth["first"]
        steps = [s["step"] for kind, s in first.items() if kind in _COMPUTED or not s["step"]]
        steps = steps or [s["step"] for s in first.values()]
        onset = self.autopsy.onset
        if not steps or self.autopsy.verdict != "non-finite":
            return None
        if onset is None or onset.step is None:
            return False
        return (onset.last_finite is None or onset.last_finite < min(steps)) and (
            min(steps) <= onset.step
        )


def judged() -> Iterator[Judged]:
    """Every run of the corpus."""
    for path in sorted((HERE / "truth").glob("*.json")):
        truth = json.loads(path.read_text(encoding="utf-8"))
        yield Judged(truth, analyze(HERE / "runs" / truth["id"]))


def table(results: list[Judged]) -> str:
    """Markdown: totals, then a row a cause."""
    failed = [r for r in results if r.truth["cause"] is not None]
    healthy = [r for r in results if r.truth["cause"] is None]
    steps = [r.step_is_right for r in failed if r.step_is_right is not None]
    lines = [
        f"{len(results)} runs: {len(failed)} failed, {len(healthy)} healthy.",
        "",
        f"- verdict right: {sum(r.verdict_is_right for r in results)} of {len(results)}",
        f"- false alarms on healthy runs: {sum(r.autopsy.failed for r in healthy)}",
        f"- first step inside the interval: {sum(map(bool, steps))} of {len(steps)}",
        f"- cause named first: {sum(r.named == r.truth['cause'] for r in failed)} of {len(failed)}",
        f"- another cause named: {sum(r.named not in (None, r.truth['cause']) for r in failed)}",
        "",
        "| cause | runs | named first | undetermined | another |",
        "| --- | --- | --- | --- | --- |",
    ]
    for cause, runs in sorted(Counter(r.truth["cause"] for r in failed).items()):
        own = [r for r in failed if r.truth["cause"] == cause]
        right = sum(r.named == cause for r in own)
        none = sum(r.named is None for r in own)
        others = ", ".join(sorted({r.named for r in own if r.named not in (None, cause)}))
        lines.append(f"| {cause} | {runs} | {right} | {none} | {others} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Print the table; with ``--write``, keep it in ``score.md``."""
    results = list(judged())
    text = table(results)
    print(text)
    for result in results:
        right = result.named == result.truth["cause"] and result.verdict_is_right
        if not right or result.step_is_right is False:
            said = f"{result.autopsy.verdict}, {result.named}: {result.autopsy.headline}"
            print(f"{result.truth['id']} ({result.truth['cause']}): {said}")
    if "--write" in sys.argv:
        (HERE / "score.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
