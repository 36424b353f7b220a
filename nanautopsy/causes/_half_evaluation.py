"""An evaluation in float16 of a model that trains in a wider format."""

from __future__ import annotations

import numpy as np

from nanautopsy import thresholds
from nanautopsy.causes.interface import Case, Weighing
from nanautopsy.model import Fact
from nanautopsy.wording import phrase


def half_evaluation(case: Case) -> Fact | None:
    """What says that the model is cast to float16 for evaluation, where only that is non-finite:
    ``fp16_full_eval`` of transformers' Trainer."""
    onset = case.onset
    cast = case.states("evaluation_dtype", "F16")
    if cast is None or onset is None or onset.quantity != "eval_loss":
        return None
    losses = [s for s in case.run.by_role("loss") if len(s)]
    sound = bool(losses) and all(np.isfinite(s.values).all() for s in losses)
    return cast if sound else None


def weigh_evaluation(case: Case, weighing: Weighing) -> None:
    """The same weights give a finite loss in training, and none in float16."""
    cast = half_evaluation(case)
    if cast is None:
        return
    weighing.speaks_for(
        thresholds.DECISIVE,
        phrase(
            "the model is cast to float16 for evaluation ({source}): only there the loss is "
            "non-finite",
            source=cast.source,
        ),
        cast.source,
    )
