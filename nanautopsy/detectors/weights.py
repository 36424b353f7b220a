"""What the checkpoints hold: non-finite tensors, all-zero weights, magnitudes near fp16's end."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from nanautopsy import thresholds
from nanautopsy.checkpoints.damage import damaged, is_mask
from nanautopsy.detectors.interface import Detector
from nanautopsy.model import Checkpoint, Finding, Run, Source, TensorHealth
from nanautopsy.signal import shown

_ZERO_BY_DESIGN = re.compile(
    r"lora_(B|embedding_B)|adaln|ada_ln|modulation|zero_conv|zero_module|controlnet|zero_init"
    r"|rezero|layer_?scale|(^|\.)gamma\d?$|skip_?init|resid\w*_?scale|gate(_\w+)?\.(weight|bias)$",
    re.IGNORECASE,
)
_OFFSET = re.compile(
    r"(^|[._/])(bias|b|beta|pos_?emb\w*|position\w*|token_type\w*|running_\w+|cls_?token|mask\w*)$"
    r"|(^|[._/])bias([._/]|$)|state|buffer|cache",
    re.IGNORECASE,
)
"""Offsets, position tables and buffers, which start at zero by custom."""
_NUMBER = re.compile(r"(?:^|(?<=[./]))\d+(?=[./])")
"""A block's number in a name."""
_SPREAD_SHARE = 0.5
"""Share of the tensors beyond which damage has spread."""
_LISTED = 5


def _detect(run: Run) -> Iterator[Finding]:
    models = [c for c in run.checkpoints if c.tensors]
    # Where some say their step, one that says none has no place in the order.
    with_step = [c for c in models if c.step is not None]
    if any(damaged(c) for c in with_step) or not any(damaged(c) for c in models):
        models = with_step or models
    yield from _nonfinite(models)
    yield from _zero_weights(models)
    yield from _near_fp16_max(models)


def _nonfinite(checkpoints: list[Checkpoint]) -> Iterator[Finding]:
    """The first checkpoint with damaged tensors, against the last good one before it."""
    for i, checkpoint in enumerate(checkpoints):
        bad = damaged(checkpoint)
        if not bad:
            continue
        good = [c.step for c in checkpoints[:i] if not damaged(c) and c.step is not None]
        floats = [t for t in checkpoint.tensors if t.format_max is not None]
        everything = len(bad) == len(floats)
        text = (
            f"{len(bad)} of {len(floats)} tensors of {checkpoint.path} hold non-finite values: "
            + ("all of them" if everything and len(bad) > 1 else _names(bad))
        )
        first = bad[0]
        yield Finding(
            id="nonfinite-parameters",
            text=text + ("" if checkpoint.step is None else f" (step {checkpoint.step})"),
            source=first.at(),
            step=checkpoint.step,
            last_good=max(good) if good else None,
            layer=first.name if _tells_layer(bad, floats) else None,
            data={
                "tensors": tuple(t.name for t in bad),
                "everything": everything,
                "tells_layer": _tells_layer(bad, floats),
                "value": "nan" if any(t.nan for t in bad) else "inf",
                "persistent": all(damaged(later) for later in checkpoints[i:]),
                "holds": checkpoint.holds,
                "first_checkpoint": i == 0,
            },
        )
        return


def _tells_layer(bad: list[TensorHealth], floats: list[TensorHealth]) -> bool:
    """Whether the damage is still where it arose.

    One NaN gradient turns every trained tensor NaN throughout within a step or two (the norm, the
    clip coefficient and the next forward pass all spread it); what is left then is only what was
    frozen. Damage in a few tensors, or in some elements of fewer than half, has not spread.
    """
    share = len(bad) / len(floats)
    partly = any(t.nonfinite < t.numel for t in bad)
    return len(bad) == 1 or share <= (_SPREAD_SHARE if partly else _SPREAD_SHARE / 2)


def _names(tensors: list[TensorHealth]) -> str:
    names = ", ".join(t.name for t in tensors[:_LISTED])
    more = len(tensors) - _LISTED
    return names + (f" and {more} more" if more > 0 else "")


def _zero_weights(checkpoints: list[Checkpoint]) -> Iterator[Finding]:
    """Weight matrices of the first checkpoint that are zero throughout.

    Vectors (biases, norm offsets) are zero by custom, and so are the weights that close a
    residual branch (LoRA B, adaLN, zero convolutions, the last projection of every block): the
    latter are reported as by design.
    """
    if not checkpoints:
        return
    first = checkpoints[0]
    zero = [t for t in first.tensors if t.all_zero and _is_matrix(t)]
    repeated = _repeated(zero, first.tensors)
    for by_design in (False, True):
        some = [
            t
            for t in zero
            if (t.name in repeated or bool(_ZERO_BY_DESIGN.search(t.name))) is by_design
        ]
        if some:
            note = ", as such layers are initialized by design" if by_design else ""
            yield Finding(
                id="zero-weight",
                text=f"{_names(some)} in {first.path}: every element is zero{note}",
                source=Source(some[0].path, tensor=some[0].name),
                step=first.step,
                layer=some[0].name,
                data={"tensors": tuple(t.name for t in some), "by_design": by_design},
            )


def _repeated(zero: list[TensorHealth], tensors: Sequence[TensorHealth]) -> set[str]:
    """Zero weights that several blocks have at the same place, beside weights that are not zero.

    A zero that every block repeats is an initializer's choice, the end of a residual branch; a
    projector or head that was left at zero stands alone.
    """
    live = {_block(t.name) for t in tensors if _is_matrix(t) and not t.all_zero}
    places = Counter(_NUMBER.sub("#", t.name) for t in zero if _block(t.name) in live)
    return {t.name for t in zero if places[_NUMBER.sub("#", t.name)] > 1}


def _block(name: str) -> str:
    """The name up to its first number: ``h.0.`` of ``h.0.attn.c_proj.weight``; else the name."""
    match = _NUMBER.search(name)
    return name[: match.end()] if match else name


def _is_matrix(tensor: TensorHealth) -> bool:
    """A weight that a product reads; an offset may have several dimensions too (JAX)."""
    return len(tensor.shape) >= 2 and bool(tensor.format_max) and not _OFFSET.search(tensor.name)


def _near_fp16_max(checkpoints: list[Checkpoint]) -> Iterator[Finding]:
    """The tensor of a sound checkpoint that comes nearest to float16's maximum."""
    for checkpoint in reversed(checkpoints):
        if damaged(checkpoint):
            continue
        large = [t for t in checkpoint.tensors if (t.max_abs or 0.0) >= thresholds.FP16_LARGE]
        large = [t for t in large if t.format_max is not None and not is_mask(t)]
        if large:
            worst = max(large, key=lambda t: t.max_abs or 0.0)
            yield Finding(
                id="low-fp16-headroom",
                text=f"{worst.name} reaches {shown(worst.max_abs or 0.0)} in {checkpoint.path}; "
                f"float16 ends at {thresholds.FP16_MAX:.0f}",
                source=Source(worst.path, tensor=worst.name),
                step=checkpoint.step,
                layer=worst.name,
                data={"max_abs": worst.max_abs, "count": len(large)},
            )
        return


DETECTOR = Detector("weights", _detect)
