"""What several renderers derive from an Autopsy in the same way."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from nanautopsy import thresholds
from nanautopsy.checkpoints.damage import is_mask
from nanautopsy.model import (
    Autopsy,
    Checkpoint,
    Evidence,
    Finding,
    Onset,
    RankedCause,
    Series,
    Source,
    TensorHealth,
)
from nanautopsy.render._format import percent

VALUE_NAMES = {"nan": "NaN", "inf": "Inf", "-inf": "-Inf"}
VERDICT_WORDS = {
    "non-finite": "Non-finite",
    "diverged": "Diverged",
    "healthy": "Healthy",
    "undetermined": "Undetermined",
}
QUANTITIES = {
    "grad_norm": "gradient norm",
    "eval_loss": "evaluation loss",
    "learning_rate": "learning rate",
    "loss_scale": "loss scale",
}
_STRENGTHS = (
    (thresholds.DECISIVE, "decisive"),
    (thresholds.STRONG, "strong"),
    (thresholds.MODERATE, "moderate"),
)
UNDETERMINED = "Undetermined: no cause has enough evidence"
WORTH_NAMING = 0.1
"""Probability from which a cause below the floor is mentioned beside *undetermined*."""
STATUS_WORDS = {
    "fired": "below the floor",
    "quiet": "no sign of it",
    "not-applicable": "not applicable",
    "failed": "its rule failed",
}


def run_name(path: str) -> str:
    """The run's name: the last part of its path that is a name."""
    parts = [part for part in path.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    return parts[-1] if parts and parts != ["~"] else "run"


def verdict_word(autopsy: Autopsy) -> str:
    """The verdict as a heading."""
    return VERDICT_WORDS.get(autopsy.verdict, autopsy.verdict)


def headline(autopsy: Autopsy) -> str:
    """The verdict and the headline, the verdict said once."""
    word = verdict_word(autopsy)
    if not autopsy.headline:
        return word
    said = autopsy.headline.lower().startswith(word.lower())
    return autopsy.headline if said else f"{word}: {autopsy.headline}"


def what(onset: Onset) -> str:
    """What was seen, and whether it stayed."""
    quantity = QUANTITIES.get(onset.quantity, onset.quantity)
    return f"{quantity} {VALUE_NAMES.get(onset.value, onset.value)}; {after(onset)}"


def after(onset: Onset) -> str:
    """What became of it, and whether the log shows it."""
    text = "it stayed so" if onset.persistent else "finite again later"
    return text + "; the logged loss hid it" if onset.masked else text


def when(onset: Onset) -> str:
    """The step and the interval in which it happened."""
    if onset.step is None:
        return "at a step that no artifact names"
    if onset.last_finite is None:
        return f"{onset.axis} {onset.step}; nothing finite was seen before it"
    return f"{onset.axis} {onset.step} (last finite: {onset.last_finite})"


def where(onset: Onset) -> str:
    """The layer and the rank, or that nothing tells."""
    text = onset.layer or "layer not known"
    if len(onset.layers) > 1:
        text += f" (first of {len(onset.layers)} layers)"
    return text if onset.rank is None else f"{text}; rank {onset.rank}"


def why(autopsy: Autopsy) -> str:
    """The most probable cause in a line; empty when nothing failed."""
    if autopsy.causes:
        return f"{autopsy.causes[0].title} ({percent(autopsy.causes[0].probability)})"
    return UNDETERMINED + nearest(autopsy) if autopsy.failed else ""


def nearest(autopsy: Autopsy) -> str:
    """The likeliest of the causes below the floor, to follow :data:`UNDETERMINED`."""
    best = max(autopsy.considered, key=lambda cause: cause.probability, default=None)
    if best is None or best.probability < WORTH_NAMING:
        return ""
    return f"; the nearest is {best.id} with {percent(best.probability)}"


def how_sure(autopsy: Autopsy) -> str:
    """The certainty in words, from the ranked causes."""
    if not autopsy.causes:
        return ""
    best, *rest = autopsy.causes
    text = f"{percent(best.probability)} for {best.id}"
    if rest:
        text += f", then {percent(rest[0].probability)} for {rest[0].id}"
    against = sum(not e.supports for e in best.evidence)
    return f"{text}; {len(best.evidence) - against} facts for it, {against} against"


def initiating(autopsy: Autopsy) -> Finding | None:
    """The earliest finding that started it, or by which the run is called diverged."""
    found = [f for f in autopsy.findings if f.role == "initiating" or f.id == "diverged-loss"]
    return min(found, key=lambda f: (f.step is None, f.step or 0)) if found else None


def by_strength(evidence: Iterable[Evidence], supports: bool) -> list[Evidence]:
    """The evidence of one side, the strongest first."""
    side = [e for e in evidence if e.supports is supports]
    return sorted(side, key=lambda e: -e.strength)


def strength_word(evidence: Evidence) -> str:
    """The name of the evidence's strength."""
    for least, word in _STRENGTHS:
        if evidence.strength >= least:
            return word
    return "weak"


def anchor(cause: RankedCause) -> str:
    """The cause's id, fit to be an HTML id."""
    return "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "-" for c in cause.id)


def safe_link(url: str) -> bool:
    """Whether a reference may become a link: the web, and nothing else."""
    return url.startswith(("https://", "http://")) and not any(c.isspace() for c in url)


def place(source: Source) -> str:
    """The source in one line, without its excerpt."""
    return str(source)


# --- series -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SeriesSummary:
    """One series in numbers."""

    points: int
    first_step: int | None
    last_step: int | None
    nonfinite: int
    first_nonfinite_step: int | None
    smallest: float | None
    largest: float | None
    last: float | None


def recorded(series: Series) -> np.ndarray:
    """(n,) True where a point holds a number or NaN: not where the artifact holds null."""
    if series.missing is None:
        return np.ones(len(series), dtype=np.bool_)
    return ~series.missing


def summarize(series: Series) -> SeriesSummary:
    """Count what is recorded; explicit nulls are not."""
    keep = recorded(series)
    steps, values = series.steps[keep], series.values[keep]
    finite = np.isfinite(values)
    bad = np.flatnonzero(~finite)
    good = values[finite]
    return SeriesSummary(
        points=len(values),
        first_step=int(steps[0]) if len(steps) else None,
        last_step=int(steps[-1]) if len(steps) else None,
        nonfinite=len(bad),
        first_nonfinite_step=int(steps[bad[0]]) if len(bad) else None,
        smallest=float(good.min()) if len(good) else None,
        largest=float(good.max()) if len(good) else None,
        last=float(values[-1]) if len(values) else None,
    )


# --- tensors ----------------------------------------------------------------------------------


def tensor_note(tensor: TensorHealth) -> str:
    """What is remarkable about a tensor; empty when nothing is."""
    if tensor.nonfinite:
        return BY_DESIGN if is_mask(tensor) else "non-finite"
    if tensor.all_zero:
        return "all zero"
    headroom = tensor.headroom
    if headroom is not None and headroom < LOW_HEADROOM:
        return "low headroom"
    return ""


BY_DESIGN = "by design"
"""Note of an additive mask, whose -Inf is what it is for."""

LOW_HEADROOM = 16.0
"""Headroom below which the table marks a tensor: four doublings from overflow. It marks only; it
decides nothing."""


def worst_first(checkpoint: Checkpoint) -> list[TensorHealth]:
    """Non-finite tensors, then all-zero ones, then those nearest to overflow."""
    return sorted(checkpoint.tensors, key=badness)


def badness(tensor: TensorHealth) -> tuple[int, float, str]:
    """Sort key, the worst first."""
    if tensor.nonfinite and is_mask(tensor):
        return (3, 0.0, tensor.name)
    if tensor.nonfinite:
        return (0, -tensor.nonfinite / tensor.numel, tensor.name)
    if tensor.all_zero:
        return (1, 0.0, tensor.name)
    headroom = tensor.headroom
    return (2, float("inf") if headroom is None else headroom, tensor.name)
