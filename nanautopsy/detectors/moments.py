"""Optimizer states that are not finite, and whether their parameters still are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from nanautopsy.checkpoints.damage import damaged, damaged_moments, parameter_name
from nanautopsy.checkpoints.lineages import home, lineages, ordered_ones
from nanautopsy.detectors.interface import Detector
from nanautopsy.detectors.weights import one_rank, tells_layer
from nanautopsy.layers import in_forward_order
from nanautopsy.model import Checkpoint, Finding, Run
from nanautopsy.wording import phrase, shortlist


def _detect(run: Run) -> Iterator[Finding]:
    lines = lineages([c for c in run.checkpoints if _moments(c)])
    for line in ordered_ones(lines, lambda line: any(damaged_moments(c) for c in line)):
        first = next((i for i, c in enumerate(line) if damaged_moments(c)), None)
        if first is not None:
            yield _turned(run, line, first)


def _moments(checkpoint: Checkpoint) -> int:
    return sum(t.part in ("moment", "master") for t in checkpoint.tensors)


def _turned(run: Run, line: Sequence[Checkpoint], first: int) -> Finding:
    checkpoint = line[first]
    by_name = {t.name: t for t in damaged_moments(checkpoint)}
    bad = [by_name[name] for name in in_forward_order(list(by_name))]
    good = [c for c in line[:first] if c.step is not None]
    parameters = in_forward_order([parameter_name(t) for t in bad])
    telling = tells_layer(bad, _moments(checkpoint)) and all(t.parameter for t in bad)
    sound = _parameters_are_finite(run, checkpoint, set(parameters))
    return Finding(
        id="nonfinite-moments",
        text=phrase(
            "{bad} of {all} tensors of optimizer state in {path} hold non-finite values: "
            "{names}{sound}",
            bad=len(bad),
            all=_moments(checkpoint),
            path=checkpoint.path,
            names=shortlist([t.name for t in bad]),
            sound=phrase(", while the parameters are finite") if sound else "",
        ),
        source=bad[0].at(),
        step=checkpoint.step,
        last_good=good[-1].step if good else None,
        layer=parameters[0] if telling else None,
        data={
            "tensors": tuple(parameters),
            "moments": tuple(sorted({t.moment for t in bad if t.moment})),
            "everything": len(bad) == _moments(checkpoint),
            "tells_layer": telling,
            "value": "nan" if any(t.nan for t in bad) else "inf",
            "persistent": all(damaged_moments(later) for later in line[first:]),
            "parameters_finite": sound,
            "rank": one_rank(checkpoint, bad),
        },
    )


def _parameters_are_finite(run: Run, checkpoint: Checkpoint, names: set[str]) -> bool | None:
    """Whether the weights saved together with this state are finite; ``None``: not saved."""
    beside = [
        c
        for c in run.checkpoints
        if c.step == checkpoint.step and home(c.path) == home(checkpoint.path)
    ]
    known = {t.name for c in beside for t in c.tensors if t.part == "parameter" and t.numel}
    if not names & known:
        return None
    return not any(t.name in names for c in beside for t in damaged(c))


DETECTOR = Detector("moments", _detect)
