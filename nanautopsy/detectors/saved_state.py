"""Numbers that checkpoints state beside their tensors: a loss that was not finite at the save."""

from __future__ import annotations

import math
from collections.abc import Iterator

from nanautopsy.checkpoints.lineages import in_order
from nanautopsy.detectors.interface import Detector
from nanautopsy.model import Finding, Run, Source
from nanautopsy.wording import phrase

_LOSS = "loss"


def _detect(run: Run) -> Iterator[Finding]:
    """The first saved loss that is not finite; a best value so far is no loss, it begins at Inf."""
    stated = [c for c in in_order(run.checkpoints) if isinstance(c.state.get(_LOSS), float)]
    values = [float(c.state[_LOSS] or 0.0) for c in stated]
    bad = [i for i, value in enumerate(values) if not math.isfinite(value)]
    if not bad:
        return
    first = stated[bad[0]]
    good = [c.step for c in stated[: bad[0]] if c.step is not None]
    value = values[bad[0]]
    yield Finding(
        id="nonfinite-loss",
        text=phrase("{path} was saved with loss = {value}", path=first.path, value=value),
        source=Source(first.path),
        step=first.step,
        last_good=good[-1] if good else None,
        data={
            "tag": _LOSS,
            "value": "nan" if math.isnan(value) else "inf" if value > 0 else "-inf",
            "persistent": bad[-1] == len(values) - 1,
        },
    )


DETECTOR = Detector("saved-state", _detect)
