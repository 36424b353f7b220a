"""The run's story in order of its steps."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

from nanautopsy.checkpoints.damage import damaged
from nanautopsy.model import Finding, Onset, Run, Source, TimelineEntry
from nanautopsy.wording import phrase

_STORY_EVENTS = {
    "run-started": phrase("training starts"),
    "run-resumed": phrase("resumes from a checkpoint"),
    "run-finished": phrase("training ends"),
    "loss-scale-minimum": phrase("the loss scaler gives up at its minimum"),
    "weights-newly-initialized": phrase("weights are newly initialized"),
    "traceback": phrase("ends in an exception"),
    "out-of-memory": phrase("runs out of memory"),
    "hardware-error": phrase("hardware error"),
}
_STORY_FINDINGS = {
    "lr-jump",
    "loss-growth",
    "grad-norm-growth",
    "overflow-skips",
    "loss-scale-collapse",
    "masked-loss",
    "gradient-sentinel",
    "diverged-loss",
    "nonfinite-loss",
    "nonfinite-grad-norm",
    "nonfinite-eval-loss",
    "nonfinite-parameters",
    "nonfinite-moments",
}
_ENDINGS = frozenset({"run-finished", "traceback", "out-of-memory", "hardware-error"})
"""Events that close the story where the log does not say their step."""
_MOST = 40
"""Entries; a run that has more shows the first of them, and the last."""


def tell(run: Run, findings: Sequence[Finding], onset: Onset | None) -> tuple[TimelineEntry, ...]:
    """What happened, one entry a step and kind, earliest first.

    Entries without a step lead, but for those that end a run.
    """
    events = list(_events(run))
    opening = [e for kind, e in events if e.step is None and kind not in _ENDINGS]
    ending = [e for kind, e in events if e.step is None and kind in _ENDINGS]
    placed = [e for _, e in events if e.step is not None]
    placed += [*_checkpoints(run, onset), *_observed(findings), *_ends(run)]
    placed.sort(key=lambda e: e.step or 0)
    entries = [*opening, *placed, *ending]
    return tuple(entries if len(entries) <= _MOST else [*entries[: _MOST - 1], entries[-1]])


def _events(run: Run) -> Iterator[tuple[str, TimelineEntry]]:
    """(kind, entry) of the first event of each kind."""
    told: set[str] = set()
    for event in run.events:
        words = _STORY_EVENTS.get(event.kind)
        if words is not None and event.kind not in told:
            told.add(event.kind)
            quoted = phrase("{what}: {line}", what=words, line=event.text) if event.text else words
            yield event.kind, TimelineEntry(event.step, event.time, quoted, event.source)


def _checkpoints(run: Run, onset: Onset | None) -> Iterator[TimelineEntry]:
    """The last sound checkpoint; the first damaged one is a finding."""
    with_step = [c for c in run.checkpoints if c.step is not None and c.tensors]
    sound = [c for c in with_step if not damaged(c)]
    if onset is not None and onset.step is not None:
        sound = [c for c in sound if (c.step or 0) <= (onset.step or 0)]
    if sound and onset is not None:
        text = phrase("last sound checkpoint: {path}", path=sound[-1].path)
        yield TimelineEntry(sound[-1].step, None, text, Source(sound[-1].path))


def _observed(findings: Iterable[Finding]) -> Iterator[TimelineEntry]:
    told: set[tuple[str, int]] = set()
    for finding in findings:
        if finding.id not in _STORY_FINDINGS or finding.step is None:
            continue
        if (finding.id, finding.step) not in told:
            told.add((finding.id, finding.step))
            yield TimelineEntry(finding.step, None, finding.text, finding.source)


def _ends(run: Run) -> Iterator[TimelineEntry]:
    losses = [s for s in run.by_role("loss") if len(s) and s.axis == "step"]
    if losses:
        longest = max(losses, key=lambda s: int(s.steps[-1]))
        time = None if longest.times is None else float(longest.times[-1])
        time = time if time is not None and math.isfinite(time) else None
        text = phrase("last logged point of {tag}", tag=longest.tag)
        yield TimelineEntry(int(longest.steps[-1]), time, text, longest.at(len(longest) - 1))
