"""What several renderers derive from an Autopsy in the same way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from nanautopsy import thresholds
from nanautopsy.checkpoints.damage import is_mask
from nanautopsy.languages import ENGLISH, Language
from nanautopsy.model import (
    Autopsy,
    Checkpoint,
    Evidence,
    Finding,
    Onset,
    Series,
    Source,
    TensorHealth,
)
from nanautopsy.quantities import position
from nanautopsy.render._format import percent
from nanautopsy.wording import Phrase, counted, listed, phrase

VALUE_NAMES = {"nan": "NaN", "inf": "Inf", "-inf": "-Inf"}
VERDICT_WORDS = {
    "non-finite": phrase("Non-finite"),
    "diverged": phrase("Diverged"),
    "healthy": phrase("Healthy"),
    "undetermined": phrase("Undetermined"),
}
QUANTITIES = {
    "loss": phrase("loss"),
    "gradients": phrase("gradients"),
    "parameters": phrase("parameters"),
    "activations": phrase("activations"),
    "attention logits": phrase("attention logits"),
    "optimizer moments": phrase("optimizer moments"),
    "probabilities": phrase("sampling probabilities"),
    "grad_norm": phrase("gradient norm"),
    "eval_loss": phrase("evaluation loss"),
    "learning_rate": phrase("learning rate"),
    "loss_scale": phrase("loss scale"),
}
_STRENGTHS = (
    (thresholds.DECISIVE, phrase("decisive")),
    (thresholds.STRONG, phrase("strong")),
    (thresholds.MODERATE, phrase("moderate")),
)
UNDETERMINED = phrase("Undetermined: no cause has enough evidence")
WORTH_NAMING = 0.1
"""Probability from which a cause below the floor is mentioned beside *undetermined*."""
STATUS_WORDS = {
    "fired": phrase("below the floor"),
    "quiet": phrase("no sign of it"),
    "not-applicable": phrase("not applicable"),
    "failed": phrase("its rule failed"),
}

ARTIFACT_STATUS = {
    "read": phrase("read"),
    "partly-read": phrase("partly read"),
    "skipped": phrase("skipped"),
}


def run_name(path: str) -> str:
    """The run's name: the last part of its path that is a name."""
    parts = [part for part in path.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    return parts[-1] if parts and parts != ["~"] else "run"


def verdict_word(autopsy: Autopsy) -> Phrase:
    """The verdict as a heading."""
    return VERDICT_WORDS[autopsy.verdict]


def headline(autopsy: Autopsy, language: Language = ENGLISH) -> str:
    """The verdict and the headline of a result in ``language``, the verdict said once."""
    word = verdict_word(autopsy)
    if not autopsy.headline:
        return language.say(word)
    if autopsy.headline.lower().startswith(language.say(word).lower()):
        return autopsy.headline
    return language.say(phrase("{verdict}: {headline}", verdict=word, headline=autopsy.headline))


def what(onset: Onset) -> Phrase:
    """What was seen, and whether it stayed."""
    quantity = QUANTITIES.get(onset.quantity, onset.quantity)
    return phrase(
        "{quantity} {value}; {after}",
        quantity=quantity,
        value=VALUE_NAMES.get(onset.value, onset.value),
        after=after(onset),
    )


def after(onset: Onset) -> Phrase:
    """What became of it, and whether the log shows it."""
    text = phrase("it stayed so") if onset.persistent else phrase("finite again later")
    return phrase("{after}; the logged loss hid it", after=text) if onset.masked else text


def when(onset: Onset) -> Phrase:
    """The step and the interval in which it happened."""
    if onset.step is None and onset.last_finite is not None:
        return phrase(
            "after {place}, the last finite one; no artifact says at which step",
            place=position(onset.axis, onset.last_finite),
        )
    if onset.step is None:
        return phrase("at a step that no artifact names")
    if onset.last_finite is None:
        return phrase(
            "{place}; nothing finite was seen before it", place=position(onset.axis, onset.step)
        )
    return phrase(
        "{place} (last finite: {before})",
        place=position(onset.axis, onset.step),
        before=onset.last_finite,
    )


def where(onset: Onset) -> str:
    """The layer and the rank, or that nothing tells."""
    text = onset.layer or phrase("layer not known")
    if len(onset.layers) > 1:
        text = phrase("{layer} (first of {n} layers)", layer=text, n=len(onset.layers))
    if onset.rank is None:
        return text
    return phrase("{layer}; rank {rank}", layer=text, rank=onset.rank)


def why(autopsy: Autopsy) -> str:
    """The most probable cause in a line; empty when nothing failed."""
    if autopsy.causes:
        best = autopsy.causes[0]
        return phrase(
            "{title} ({probability})", title=best.title, probability=percent(best.probability)
        )
    return undetermined(autopsy) if autopsy.failed else ""


def undetermined(autopsy: Autopsy) -> Phrase:
    """That no cause is named, and which comes nearest."""
    return phrase("{undetermined}{nearest}", undetermined=UNDETERMINED, nearest=nearest(autopsy))


def nearest(autopsy: Autopsy) -> str:
    """The likeliest of the causes below the floor, to follow :data:`UNDETERMINED`."""
    best = max(autopsy.considered, key=lambda cause: cause.probability, default=None)
    if best is None or best.probability < WORTH_NAMING:
        return ""
    return phrase(
        "; the nearest is {cause} with {probability}",
        cause=best.id,
        probability=percent(best.probability),
    )


def how_sure(autopsy: Autopsy) -> str:
    """The certainty in words, from the ranked causes."""
    if not autopsy.causes:
        return ""
    best, *rest = autopsy.causes
    odds = [
        phrase("{probability} for {cause}", probability=percent(c.probability), cause=c.id)
        for c in (best, *rest[:1])
    ]
    against = sum(not e.supports for e in best.evidence)
    return phrase(
        "{odds}; {n} facts for it, {against} against",
        odds=listed(odds, ", then "),
        n=len(best.evidence) - against,
        against=against,
    )


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
    return phrase("weak")


def safe_link(url: str) -> bool:
    """Whether a reference may become a link: the web, and nothing else."""
    return url.startswith(("https://", "http://")) and not any(c.isspace() for c in url)


def place(source: Source) -> str:
    """The source in one line, without its excerpt."""
    return str(source)


def hidden(counts: Mapping[str, int]) -> Phrase:
    """What was hidden, by its kind; empty when nothing was."""
    return listed(_HIDDEN[kind](n) for kind, n in counts.items() if kind in _HIDDEN)


_HIDDEN: Mapping[str, Callable[[int], Phrase]] = {
    "secret": lambda n: counted(n, "{n} key or password", "{n} keys and passwords"),
    "email": lambda n: counted(n, "{n} e-mail address", "{n} e-mail addresses"),
    "user": lambda n: counted(n, "{n} user name", "{n} user names"),
    "home": lambda n: counted(n, "{n} home directory", "{n} home directories"),
    "host": lambda n: counted(n, "{n} host name", "{n} host names"),
    "ip": lambda n: counted(n, "{n} private address", "{n} private addresses"),
    "mac": lambda n: counted(n, "{n} hardware address", "{n} hardware addresses"),
    "bucket": lambda n: counted(n, "{n} bucket", "{n} buckets"),
    "url": lambda n: counted(n, "{n} internal URL", "{n} internal URLs"),
}


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
        return BY_DESIGN if is_mask(tensor) else phrase("non-finite")
    if tensor.all_zero:
        return phrase("all zero")
    headroom = tensor.headroom
    if headroom is not None and headroom < LOW_HEADROOM:
        return phrase("low headroom")
    return ""


BY_DESIGN = phrase("by design")
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
