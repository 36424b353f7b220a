"""How near the weights come to float16's maximum."""

from __future__ import annotations

from collections.abc import Iterator

from nanautopsy import thresholds
from nanautopsy.checkpoints.damage import damaged, is_mask, weights
from nanautopsy.checkpoints.lineages import in_order
from nanautopsy.detectors.interface import Detector
from nanautopsy.model import Finding, Run, Source
from nanautopsy.signal import shown
from nanautopsy.wording import phrase


def _detect(run: Run) -> Iterator[Finding]:
    """The weight of the last sound checkpoint that comes nearest."""
    sound = [c for c in in_order(run.checkpoints) if weights(c) and not damaged(c)]
    if not sound:
        return
    last = sound[-1]
    large = [t for t in weights(last) if (t.max_abs or 0.0) >= thresholds.FP16_LARGE]
    large = [t for t in large if not is_mask(t)]
    if large:
        worst = max(large, key=lambda t: t.max_abs or 0.0)
        yield Finding(
            id="low-fp16-headroom",
            text=phrase(
                "{tensor} reaches {max_abs} in {path}; float16 ends at {largest:.0f}",
                tensor=worst.name,
                max_abs=shown(worst.max_abs or 0.0),
                path=last.path,
                largest=thresholds.FP16_MAX,
            ),
            source=Source(worst.path, tensor=worst.name),
            step=last.step,
            layer=worst.name,
            data={"max_abs": worst.max_abs, "count": len(large)},
        )


DETECTOR = Detector("fp16-headroom", _detect)
