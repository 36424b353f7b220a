"""Router logits, or the loss that balances experts, that grow until the end."""

from __future__ import annotations

from collections.abc import Iterator

from nanautopsy.detectors.growth import growth
from nanautopsy.detectors.interface import Detector
from nanautopsy.experts import ROUTER, has_experts, is_auxiliary
from nanautopsy.model import Finding, Run, Series
from nanautopsy.objectives import is_named_total


def _detect(run: Run) -> Iterator[Finding]:
    """The one that began first; ``leads``: before gradients and losses that are not its own."""
    routers = [s for s in run.series if _is_router(s)]
    if not routers or not has_experts(run):
        return
    grown = [f for s in routers if (f := growth(s)) is not None and f.step is not None]
    if not grown:
        return
    first = min(grown, key=lambda finding: finding.step or 0)
    rest = [s for s in run.by_role("loss", "grad_norm") if s not in routers]
    others = [f for s in rest if (f := growth(s)) is not None and f.step is not None]
    leads = all((first.step or 0) < (other.step or 0) for other in others)
    yield Finding(
        id="router-growth",
        text=first.text,
        source=first.source,
        step=first.step,
        last_good=first.last_good,
        layer=first.layer,
        data=dict(first.data) | {"leads": leads},
    )


def _is_router(series: Series) -> bool:
    if series.role in ("layer_gradient", "learning_rate", "loss_scale", "skipped_steps"):
        return False
    named = bool(ROUTER.search(series.layer or series.tag))
    auxiliary = is_auxiliary(series.tag) and series.role in ("loss", "other", "attention_logit")
    return (named or auxiliary) and not is_named_total(series.tag)


DETECTOR = Detector("router-growth", _detect)
