"""Non-finite values that the program itself reports, and the errors that they end in."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from nanautopsy import thresholds
from nanautopsy.asides import has_moving_siblings, is_aside
from nanautopsy.detectors.interface import Detector
from nanautopsy.layers import from_the_loss
from nanautopsy.model import Finding, LogEvent, Run, Series
from nanautopsy.places import interval, place_of
from nanautopsy.scaler_skips import is_scaled
from nanautopsy.signal import index_at
from nanautopsy.wording import phrase

_KINDS = (
    ("backward-nonfinite", phrase("anomaly mode names a backward function")),
    ("sampling-assert", phrase("sampling met probabilities that are NaN, Inf or negative")),
    ("hardware-error", phrase("the log shows a hardware error")),
)
_WEAK = {
    "warning": phrase("an arithmetic warning"),
    "value": phrase("the program prints a non-finite value"),
}
"""Statements that need not be about training, by the quantity that they name."""

_RAISED = ("backward-nonfinite", "sampling-assert")
"""Statements that are exceptions, and end a run that does not catch them."""

_COMPILED = ("jit", "pjit", "shard_map", "pmap")
_SKIPS = re.compile(r"\b(?:skip(?:s|ped|ping)?|dropped|discarded|ignored)\b", re.IGNORECASE)


def _detect(run: Run) -> Iterator[Finding]:
    for kind, said in _KINDS:
        events = run.events_of(kind)
        if events:
            yield _finding(run, kind, said, events)
    statements = run.events_of("nonfinite-text")
    plain = tuple(e for e in statements if e.data.get("quantity") not in _WEAK)
    lasting = tuple(e for e in plain if not _was_survived(run, e))
    plain = lasting or plain
    said = phrase("the program reports a non-finite value")
    aside = tuple(e for e in plain if is_aside(e))
    for events in (tuple(e for e in plain if e not in aside), aside):
        if events:
            finding = _finding(run, "reported-nonfinite", said, events)
            if events is aside:
                finding = replace(finding, data=dict(finding.data) | {"aside": True})
            yield finding
    for quantity, said in _WEAK.items():
        events = tuple(e for e in statements if e.data.get("quantity") == quantity)
        if events:
            finding = _finding(run, "reported-nonfinite", said, events)
            if quantity == "value" and has_moving_siblings(events):
                finding = replace(finding, data=dict(finding.data) | {"beside_moving": True})
            yield finding


def _was_survived(run: Run, event: LogEvent) -> bool:
    """Whether the statement is of a gradient whose step was skipped, after which a scaler went on:
    a loss and a gradient were finite later."""
    if event.data.get("quantity") != "gradient" or not _SKIPS.search(event.text):
        return False
    if event.step is None or not is_scaled(run):
        return False
    after = [
        [np.isfinite(s.values[s.steps > event.step]).any() for s in run.by_role(role) if len(s)]
        for role in ("loss", "grad_norm")
    ]
    return any(after[0]) and (not after[1] or any(after[1]))


def _placed(run: Run, event: LogEvent) -> tuple[int | None, bool]:
    """The step of what a line says, and whether the run ended with it."""
    if event.step is None and event.kind in _RAISED:
        losses = [s for s in run.by_role("loss", "grad_norm") if len(s) and s.axis == "step"]
        return _after_the_last(losses), True
    return place_of(run, event)


def _epoch_of(run: Run, event: LogEvent) -> int | None:
    """The epoch that the line names, where rows of whole epochs are all that the run logged."""
    epoch = event.data.get("epoch")
    losses = [s for s in run.by_role("loss", "grad_norm") if len(s)]
    alone = bool(losses) and all(s.axis == "epoch" for s in losses)
    return epoch if event.step is None and alone and isinstance(epoch, int) else None


def _after_the_last(losses: list[Series]) -> int | None:
    """The step that an exception ended: the one after the last that was logged elsewhere, where
    everything was still finite."""
    if not losses or not all(np.isfinite(s.values).all() for s in losses):
        return None
    longest = max(losses, key=len)
    usual, last = interval(longest), int(np.diff(longest.steps[-2:]).sum())
    return int(longest.steps[-1]) + (min(usual, last) if last > 0 else usual)


def _last_good(run: Run, event: LogEvent, step: int | None) -> int | None:
    """The last step that was logged before the one that the statement is of."""
    if step == event.step:
        return _sound_before(run, step)
    if event.step is not None or step is None:
        return event.step
    losses = run.by_role("loss", "grad_norm")
    return max(int(s.steps[-1]) for s in losses if len(s) and s.axis == "step")


def _sound_before(run: Run, step: int | None) -> int | None:
    """The last step before it at which a loss or gradient norm was logged, if all of them were
    finite up to there."""
    if step is None:
        return None
    logged = [s for s in run.by_role("loss", "grad_norm") if s.axis == "step"]
    before = [s for s in logged if len(s) and s.steps[0] < step]
    if not before or not all(np.isfinite(s.values[s.steps < step]).all() for s in before):
        return None
    return max(int(s.steps[s.steps < step][-1]) for s in before)


def _finding(run: Run, kind: str, said: str, events: tuple[LogEvent, ...]) -> Finding:
    first = _stated(events)
    partial = _is_partial(events)
    epoch = _epoch_of(run, first)
    first = first if epoch is None else replace(first, step=epoch, step_exact=True)
    step, ended = _placed(run, first)
    if partial and not ended and step is not None and first.step == step - 1:
        # All of them are bad at a step whose loss is.
        step = first.step if _loss_was_lost(run, step) else step
    times = phrase(" ({n} times)", n=len(events)) if len(events) > 1 else ""
    layers = _layers(events, partial or not _loss_was_lost(run, step))
    data = dict(first.data) | {"count": len(events), "step_exact": first.step_exact}
    data["layers"] = tuple(layers)
    here = [e.source.line for e in events if e.source.path == first.source.path]
    if len(here) == len(events):
        data["last_line"] = max((line for line in here if line is not None), default=None)
    data |= {"axis": "epoch"} if epoch is not None else {}
    function = data.get("function")
    if function is not None:
        # Standard output may quote what standard error traces.
        traced = [e for e in events if e.data.get("function") == function and "forward" in e.data]
        data |= {"forward": traced[0].data["forward"]} if traced else {}
    if str(data.get("operation", "")).startswith(_COMPILED):
        # JAX says that of a compiled function before it runs it again, to find the operation.
        named = (e for e in events if e.step == first.step and "operation" in e.data)
        inner = [e for e in named if not str(e.data["operation"]).startswith(_COMPILED)]
        if inner:
            first, data = inner[0], data | dict(inner[0].data)
    if all(_SKIPS.search(e.text) for e in events):
        data["skipped"] = True
        data["frequent"] = _is_frequent(run, events)
    if partial:
        data["partial"] = True
    if ended:
        data["persistent"] = True
    return Finding(
        id=kind,
        text=phrase("{said}{times}: {line}", said=said, times=times, line=first.text),
        source=first.source,
        step=step,
        last_good=_last_good(run, first, step),
        layer=layers[0] if layers else None,
        data=data,
    )


def _is_frequent(run: Run, skips: tuple[LogEvent, ...]) -> bool:
    """Whether steps were skipped oftener than a settled loss scale is probed."""
    steps = [int(s.steps[i]) for s in run.by_role("loss") if len(s) for i in (0, -1)]
    if not steps:
        return False
    begun = min(steps) + thresholds.SCALER_WARMUP_SKIPS
    late = [e for e in skips if e.step is not None and e.step > begun]
    probes = (max(steps) - begun) // thresholds.SCALE_LEAST_INTERVAL
    return len(late) >= thresholds.RECURRENCES and len(late) > probes + 1


def _stated(events: tuple[LogEvent, ...]) -> LogEvent:
    """The first one, with the step that another of its moment names."""
    first = events[0]
    exact = any(e.step_exact and e.step == first.step and e.kind == first.kind for e in events)
    return replace(first, step_exact=True) if exact else first


_SHARE = re.compile(
    r"(?<![\w:.])(\d+)(?:\s?(?:/|of)\s?| (?:[\w-]+ ){1,3}(?:in|of|out of) )(\d+)\b(?! (?:nan|inf))",
    re.IGNORECASE,
)


def _is_partial(events: tuple[LogEvent, ...]) -> bool:
    """Whether gradients of some layers are said to be bad first, and later of more: those of the
    others were finite then, as they are where the loss is."""
    named = [e for e in events if e.data.get("quantity") == "gradient"]
    if not named:
        return False
    share = _SHARE.search(named[0].text)
    if share is not None and 0 < int(share[1]) < int(share[2]):
        return True
    first = {name for e in _first_pass(named) for name in _names(e)}
    later = {name for e in named if _moment(e) != _moment(named[0]) for name in _names(e)}
    return bool(first) and first < later


def _first_pass(named: Sequence[LogEvent]) -> list[LogEvent]:
    """The statements of the first step, without those of a pass that followed before another row
    was logged: it begins with what the passes behind that row begin with."""
    together = [e for e in named if _moment(e) == _moment(named[0])]
    later = next((e for e in named if _moment(e) != _moment(named[0]) and _names(e)), None)
    if later is None:
        return together
    again = (i for i, e in enumerate(together) if i and _names(e) == _names(later))
    return together[: next(again, len(together))]


def _moment(event: LogEvent) -> tuple[object, object]:
    """Step and epoch that the line is of."""
    return event.step, event.data.get("epoch")


def _layers(events: tuple[LogEvent, ...], in_backward: bool) -> list[str]:
    """What is named at the first step at which something is, the first layer first.

    A hook that says that a layer's input was finite tells it alone: what hooks say of the others
    is of what they were given. A gradient's names are in the order of the backward pass, those of
    a forward pass in that in which the program met them; beside a loss that is not finite, all
    gradients are NaN, and the name of one tells nothing.
    """
    named = [e for e in events if _names(e)]
    together = _first_pass(named) if named else []
    told = [e for e in together if e.data.get("sound_input")]
    if told:
        return list(_names(told[0]))
    names = list(dict.fromkeys(name for e in together for name in _names(e)))
    if len(names) <= 1 or together[0].data.get("quantity") != "gradient":
        return names
    if not in_backward or any(e.data.get("layers_cut") for e in together):
        return []
    return from_the_loss(names)


def _names(event: LogEvent) -> tuple[str, ...]:
    listed, layer = event.data.get("layers"), event.data.get("layer")
    if isinstance(listed, tuple):
        return listed
    return (layer,) if isinstance(layer, str) else ()


def _loss_was_lost(run: Run, step: int | None) -> bool:
    """Whether a training loss was logged at that step, and none that is finite."""
    if step is None:
        return False
    at = [s.values[i] for s in run.by_role("loss") if (i := index_at(s, step)) is not None]
    return bool(at) and not np.isfinite(at).any()


DETECTOR = Detector("reported", _detect)
