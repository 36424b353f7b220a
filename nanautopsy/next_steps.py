"""What to collect next: the experiment that decides between the causes that compete."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

from nanautopsy import thresholds
from nanautopsy.causes.interface import Case
from nanautopsy.circumstances import at_first_steps
from nanautopsy.experiments import EXPERIMENTS, advice_at
from nanautopsy.frameworks import framework_of
from nanautopsy.known_issues import KnownIssue
from nanautopsy.known_issues.match import possible
from nanautopsy.model import MissingEvidence, RankedCause
from nanautopsy.wording import Phrase, phrase

_DECIDES: Mapping[str, str] = {
    "attention-overflow": "attention-logits",
    "bad-input-data": "same-batch",
    "communication-race": "no-overlap",
    "corrupt-checkpoint": "weights-at-start",
    "empty-targets": "count-targets",
    "fp16-overflow": "wider-format",
    "fully-masked-attention": "mask-rows",
    "gradient-explosion": "layer-norms",
    "hardware-fault": "other-device",
    "loss-domain-error": "loss-terms",
    "lr-spike": "every-step",
    "lr-too-high": "lower-rate",
    "moe-router": "router",
    "optimizer-epsilon": "optimizer-state",
    "resume-mismatch": "fresh-state",
    "rl-collapse": "policy",
    "singular-gradient": "backward-function",
    "uninitialized-params": "weights-at-start",
    "version-bug": "other-version",
    "wrong-checkpoint": "weights-at-start",
    "zero-init": "weights-at-start",
}
"""The experiment that confirms or refutes one cause, whatever its rival is."""

_PAIRS: Mapping[frozenset[str], str] = {
    frozenset(pair): experiment
    for experiment, pairs in {
        "same-batch": (
            ("bad-input-data", "communication-race"),
            ("bad-input-data", "hardware-fault"),
            ("bad-input-data", "gradient-explosion"),
            ("bad-input-data", "lr-too-high"),
            ("bad-input-data", "version-bug"),
        ),
        "nan-check": (
            ("communication-race", "hardware-fault"),
            ("communication-race", "singular-gradient"),
        ),
        "no-overlap": (("communication-race", "version-bug"),),
        "first-module": (
            ("attention-overflow", "fp16-overflow"),
            ("attention-overflow", "loss-domain-error"),
            ("fp16-overflow", "loss-domain-error"),
            ("bad-input-data", "loss-domain-error"),
            ("bad-input-data", "fully-masked-attention"),
            ("uninitialized-params", "wrong-checkpoint"),
            ("zero-init", "uninitialized-params"),
        ),
        "backward-function": (
            ("singular-gradient", "fully-masked-attention"),
            ("singular-gradient", "zero-init"),
            ("singular-gradient", "gradient-explosion"),
        ),
        "wider-format": (
            ("fp16-overflow", "lr-too-high"),
            ("fp16-overflow", "gradient-explosion"),
            ("fp16-overflow", "bad-input-data"),
            ("fp16-overflow", "version-bug"),
        ),
        "every-step": (
            ("lr-spike", "lr-too-high"),
            ("lr-spike", "gradient-explosion"),
            ("lr-spike", "resume-mismatch"),
            ("bad-input-data", "lr-spike"),
        ),
        "lower-rate": (("lr-too-high", "gradient-explosion"),),
        "count-targets": (
            ("empty-targets", "bad-input-data"),
            ("empty-targets", "fully-masked-attention"),
        ),
    }.items()
    for pair in pairs
}
"""For a pair of causes the experiment whose outcome differs most between them."""


def next_steps(
    case: Case, causes: Sequence[RankedCause], considered: Sequence[RankedCause]
) -> tuple[MissingEvidence, ...]:
    """Deciding experiments for a run that failed without a sure answer, most useful first."""
    if case.verdict not in ("non-finite", "diverged"):
        return ()
    if causes and causes[0].probability >= thresholds.SURE_ANSWER:
        return ()
    fired = [c.id for c in (*causes, *considered) if c.status == "fired"]
    rivals = _rivals(case, fired)
    steps = [_experiment(case, _instead(case, key), pair) for key, pair in _chosen(rivals)]
    known = [_for_issue(issue) for issue in possible(case)[:_MOST_ISSUES]]
    return (*steps[:_MOST_STEPS], *known)


_MOST_STEPS = 3
_MOST_ISSUES = 2
_MOST_RIVALS = 4


def _chosen(rivals: Sequence[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Each experiment once, for the pair that it decides; the likeliest pairs first."""
    told: set[str] = set()
    pairs = sorted(combinations(range(len(rivals)), 2), key=lambda pair: (sum(pair), pair))
    for i, j in pairs:
        key = deciding(rivals[i], rivals[j])
        if key not in told:
            told.add(key)
            yield key, (rivals[i], rivals[j])
    if len(rivals) == 1 and rivals[0] in _DECIDES:
        yield _DECIDES[rivals[0]], (rivals[0],)


def _instead(case: Case, key: str) -> str:
    """What to do in place of what the run has done already."""
    named = case.run.events_of("backward-nonfinite")
    if key == "backward-function" and named and not any("forward" in e.data for e in named):
        return "forward-call"
    return key


def deciding(first: str, second: str) -> str:
    """The key of the experiment between two causes, the likelier one first."""
    pair = _PAIRS.get(frozenset((first, second)))
    return pair or _DECIDES.get(first) or _DECIDES.get(second) or "first-module"


def _rivals(case: Case, fired: Sequence[str]) -> list[str]:
    """The causes that compete: those that fired, then those that such an onset usually has."""
    usual = _usual(case)
    return list(dict.fromkeys([*fired, *usual]))[:_MOST_RIVALS]


def _usual(case: Case) -> Iterator[str]:
    """What is worth asking first, by what is known of precision, onset and growth."""
    found = {f.id for f in case.findings if f.role != "cascade"}
    onset = case.onset
    if found & {"grad-norm-growth", "loss-growth", "diverged-loss"}:
        yield from ("lr-too-high", "gradient-explosion")
    if "isolated-losses" in found:
        yield from ("empty-targets", "bad-input-data")
    if onset is not None and at_first_steps(case.run, onset):
        yield from ("uninitialized-params", "bad-input-data", "fully-masked-attention")
    if case.states("compute_dtype", "F16"):
        yield "fp16-overflow"
    if onset is not None and onset.quantity in ("grad_norm", "gradients"):
        yield from ("singular-gradient", "fully-masked-attention")
    if case.states("overlap_comm", True) or "rank-alone" in found:
        yield "communication-race"
    yield from ("bad-input-data", "singular-gradient")


def _experiment(case: Case, key: str, rivals: Sequence[str]) -> MissingEvidence:
    experiment = EXPERIMENTS[key]
    how = experiment.how.get(framework_of(case.run), experiment.how["any"])
    advice = advice_at(how, _step(case))
    return MissingEvidence(_tells(rivals), experiment.outcome, advice, experiment=True)


def _tells(rivals: Sequence[str]) -> Phrase:
    if len(rivals) == 1:
        return phrase("what confirms or refutes {cause}", cause=rivals[0])
    return phrase("what tells {cause} from {rival}", cause=rivals[0], rival=rivals[1])


def _step(case: Case) -> int | None:
    """The failing step, where something counts steps."""
    counted = case.onset is None or case.onset.axis == "step"
    return case.death if counted else None


def _for_issue(issue: KnownIssue) -> MissingEvidence:
    return MissingEvidence(
        phrase("whether the known issue {id} is at work", id=issue.id),
        phrase("version and settings are those of it: {title}", title=issue.title),
        issue.remedies[0],
        experiment=True,
    )
