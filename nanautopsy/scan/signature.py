"""The fingerprint of a failure: runs that died alike share it.

It is readable, and holds no step, path or number of the run: what was named as the cause (or,
undetermined, the findings that initiated the failure), which quantity became what, the class of
the first layer (``layers.*.mlp.up_proj``), the format that was computed in, and the exception.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from nanautopsy.model import Autopsy

_LONGEST = 200
_NUMBER = re.compile(r"(?<![A-Za-z])\d+")
_PARAMETER = re.compile(r"[./](?:weight|bias|kernel|scale|embedding)$")
_FROM_OUTSIDE = re.compile(
    r"Interrupt|SystemExit|HTTP|Connection|BrokenPipe|Timeout|CommError|FileNotFound|Permission"
)
"""Exceptions that somebody or something beside the training raised."""


def signature_of(autopsy: Autopsy) -> str:
    """The fingerprint; empty for a run that did not fail."""
    return " ".join(_parts(autopsy))[:_LONGEST] if autopsy.failed else ""


def _parts(autopsy: Autopsy) -> Iterator[str]:
    onset, run = autopsy.onset, autopsy.run
    if autopsy.causes:
        yield autopsy.causes[0].id
    else:
        initiating = {f.id for f in autopsy.findings if f.role == "initiating"}
        yield "undetermined:" + "+".join(sorted(initiating)[:3])
    if onset is not None:
        yield f"{onset.quantity}={onset.value}".replace(" ", "-")
        if onset.layer:
            yield layer_class(onset.layer)
    else:
        yield autopsy.verdict
    dtype = run.facts.get("compute_dtype")
    if dtype is not None:
        yield str(dtype.value)
    for event in run.events_of("traceback"):
        exception = str(event.data.get("exception") or "").rpartition(".")[2]
        if exception and not _FROM_OUTSIDE.search(exception):
            yield exception
            break


def layer_class(layer: str) -> str:
    """A layer's name without its number: ``layers.7.mlp.weight`` is of ``layers.*.mlp``."""
    return _NUMBER.sub("*", _PARAMETER.sub("", layer))
