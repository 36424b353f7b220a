"""Weight matrices of zeros throughout, in the first checkpoint or as the program prints them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from nanautopsy.checkpoints.damage import weights
from nanautopsy.checkpoints.lineages import in_order
from nanautopsy.detectors.interface import Detector
from nanautopsy.model import Finding, Run, Series, Source, TensorHealth
from nanautopsy.places import is_before_training
from nanautopsy.wording import phrase, shortlist

_ZERO_BY_DESIGN = re.compile(
    r"lora_(B|embedding_B)|adaln|ada_ln|modulation|zero_conv|zero_module|controlnet|zero_init"
    r"|rezero|layer_?scale|(^|\.)gamma\d?$|skip_?init|resid\w*_?scale|gate(_\w+)?\.(weight|bias)$",
    re.IGNORECASE,
)
_OFFSET = re.compile(
    r"(^|[._/])(bias|b|beta|pos_?emb\w*|position\w*|token_type\w*|running_\w+|cls_?token|mask\w*)$"
    r"|(^|[._/])(\w*_)?bias(_\w+)?([._/]|$)|state|buffer|cache",
    re.IGNORECASE,
)
"""Offsets, position tables and buffers, which start at zero by custom."""
_NUMBER = re.compile(r"(?:^|(?<=[./]))\d+(?=[./])")
"""A block's number in a name."""


def _detect(run: Run) -> Iterator[Finding]:
    """What is zero by custom, and what is not.

    Vectors (biases, norm offsets) are zero by custom, and so are the weights that close a
    residual branch (LoRA B, adaLN, zero convolutions, the last projection of every block): the
    latter are reported as by design.
    """
    measured = [c for c in in_order(run.checkpoints) if weights(c)]
    if not measured:
        yield from _printed(run)
        yield from _logged(run)
        return
    first = measured[0]
    zero = [t for t in weights(first) if t.all_zero and _is_matrix(t)]
    repeated = _repeated(zero, weights(first))
    for by_design in (False, True):
        some = [
            t
            for t in zero
            if (t.name in repeated or bool(_ZERO_BY_DESIGN.search(t.name))) is by_design
        ]
        if some:
            names = shortlist([t.name for t in some])
            note = phrase(", as such layers are initialized by design") if by_design else ""
            yield Finding(
                id="zero-weight",
                text=phrase(
                    "{names} in {path}: every element is zero{note}",
                    names=names,
                    path=first.path,
                    note=note,
                ),
                source=Source(some[0].path, tensor=some[0].name),
                step=first.step,
                layer=some[0].name,
                data={"tensors": tuple(t.name for t in some), "by_design": by_design},
            )


def _printed(run: Run) -> Iterator[Finding]:
    """Where no weights were kept: matrices of zeros in a table of parameters above the metrics."""
    said = [e for e in run.events_of("zero-parameter") if is_before_training(run, e)]
    named = [(str(e.data["layer"]), e) for e in said if not _OFFSET.search(str(e.data["layer"]))]
    places = Counter(_NUMBER.sub("#", name) for name, _ in named)
    for name, event in named:
        if not _ZERO_BY_DESIGN.search(name) and places[_NUMBER.sub("#", name)] == 1:
            yield Finding(
                id="zero-weight",
                text=phrase("the program prints a matrix of zeros: {line}", line=event.text),
                source=event.source,
                layer=name,
                data={"tensors": (name,), "by_design": False},
            )
            return


def _logged(run: Run) -> Iterator[Finding]:
    """A parameter's size that is exactly zero where the curves begin, beside others that are not;
    of the first step's loss it may stand in the row."""
    starts = [int(s.steps[0]) for s in run.by_role("loss", "grad_norm") if len(s)]
    sizes = [s for s in parameter_sizes(run) if not starts or s.steps[0] <= min(starts)]
    zero = [s for s in sizes if s.values[0] == 0 and not _OFFSET.search(str(s.layer))]
    places = Counter(_NUMBER.sub("#", str(s.layer)) for s in zero)
    for series in zero:
        name = str(series.layer)
        if len(zero) == len(sizes) or _ZERO_BY_DESIGN.search(name):
            continue
        if places[_NUMBER.sub("#", name)] == 1:
            yield Finding(
                id="zero-weight",
                text=phrase("{tag} is exactly 0 where training begins", tag=series.tag),
                source=series.at(0),
                step=int(series.steps[0]),
                layer=name,
                data={"tensors": (name,), "by_design": False},
            )
            return


_COUNTS = "#nonfinite"
"""How many of a histogram's elements were left out, as the TensorBoard reader names it."""


def parameter_sizes(run: Run) -> list[Series]:
    """The logged sizes of single parameters; histograms have counts beside them."""
    named = [s for s in run.by_role("layer_parameter") if len(s) and s.layer]
    return [s for s in named if not s.tag.endswith(_COUNTS)]


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


DETECTOR = Detector("zero-weights", _detect)
