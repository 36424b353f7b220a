"""What an inspection says in sentences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from nanautopsy.checkpoint_diff import CheckpointDiff
from nanautopsy.inspection import History, Inspected, Inspection
from nanautopsy.model import TensorHealth
from nanautopsy.render._format import count, scalar, size
from nanautopsy.render._inspect_cells import number_or_blank, ratio
from nanautopsy.render._inspect_rows import is_counter
from nanautopsy.wording import shortlist

_TIGHT_HEADROOM = 1e6
"""Headroom of a tensor's own format that is worth a word; that of float32 and bfloat16 is vast."""
_NAMES = 3
_STATES = ("epoch", "loss", "learning_rate", "loss_scale", "skipped_steps", "overflow")


def verdict(inspection: Inspection) -> str:
    """The answer in one word."""
    if inspection.failed:
        return "non-finite"
    if inspection.diff is not None:
        return "finite"
    measured = any(m.checkpoint.tensors for m in inspection.inspected)
    return "finite" if measured else "unmeasured"


def headline(inspection: Inspection) -> str:
    """The verdict, and what and where in a sentence."""
    if inspection.diff is not None:
        return _diff_headline(inspection.diff)
    if inspection.failed:
        return f"NON-FINITE: {_damage(inspection.histories[0])}"
    telling = [history.telling for history in inspection.histories]
    tensors, nbytes = sum(t.listed for t in telling), sum(t.bytes for t in telling)
    if verdict(inspection) == "unmeasured":
        return "NOTHING MEASURED: no tensor could be read"
    many = len(inspection.inspected)
    where = f" in the last of {many} checkpoints" if many > len(telling) == 1 else ""
    lost = " in what could be read" if any(t.checkpoint.missing for t in telling) else ""
    harmless = sum(len(t.by_design) for t in telling)
    but = f" but {harmless} by design" if harmless else ""
    return f"FINITE: {count(tensors, 'tensor')}, {size(nbytes)}{where}; no NaN or Inf{but}{lost}"


def remarks(inspection: Inspection) -> Iterator[str]:
    """The sentences behind it, the most important first."""
    if inspection.diff is not None:
        yield from _diff_remarks(inspection.diff)
        return
    first = inspection.histories[0].first_bad
    if first is not None and len(first.damage) > 1:
        yield f"Then, in forward order: {_listed(first.damage[1:])}"
    others = [history for history in inspection.histories[1:] if history.first_bad is not None]
    for history in others[:_NAMES]:
        yield f"Also non-finite: {_damage(history)}"
    if len(others) > _NAMES:
        yield f"Also non-finite: {len(others) - _NAMES} more, below"
    telling = [history.telling for history in inspection.histories]
    yield from _headrooms(telling)
    yield from _harmless(telling)
    for member in telling:
        if member.checkpoint.missing:
            lost = member.checkpoint.missing
            yield (
                f"{count(len(lost), 'tensor')} of {member.checkpoint.path} could not be read: "
                + (_listed(lost))
            )
    yield from _states(telling)
    yield from _effort(inspection)


# --- damage -------------------------------------------------------------------------------------


def _damage(history: History) -> str:
    """Since when, how much of it, and where first."""
    bad = history.first_bad
    if bad is None:
        return ""
    path, step = bad.checkpoint.path, bad.checkpoint.step
    by_name = {tensor.name: tensor for tensor in bad.checkpoint.tensors}
    first = by_name[bad.damage[0]]
    many = f"{len(bad.damage)} of {count(bad.listed, 'tensor')}"
    text = f"{many} of {path}" + (f" (step {step})" if step is not None else "")
    text += (
        f"; first in forward order: {_place(first)}"
        if len(bad.damage) > 1
        else f": {_place(first)}"
    )
    if len(history.members) == 1:
        return text
    good, again = history.last_good, history.good_again
    text += f"; last good: {good.checkpoint.path}" if good else "; none before it is good"
    return text + (f"; good again: {again.checkpoint.path}" if again else "")


def _place(tensor: TensorHealth) -> str:
    kinds = [
        f"{'all' if many == tensor.numel else f'{many:,}'} {kind}"
        for kind, many in (("NaN", tensor.nan), ("+Inf", tensor.pos_inf), ("-Inf", tensor.neg_inf))
        if many
    ]
    at = tensor.first_nonfinite
    where = "" if at is None else f" from [{', '.join(map(str, at))}] on"
    rank = "" if tensor.rank is None else f", rank {tensor.rank}"
    return f"{tensor.name} ({', '.join(kinds)}{where}{rank})"


# --- what is near to damage -----------------------------------------------------------------------


def _headrooms(members: Sequence[Inspected]) -> Iterator[str]:
    weights = [
        tensor
        for member in members
        for tensor in member.checkpoint.tensors
        if tensor.part in ("parameter", "buffer", "master") and tensor.headroom is not None
    ]
    own = min(weights, key=lambda t: t.headroom or 0.0, default=None)
    if own is not None and (own.headroom or 0.0) < _TIGHT_HEADROOM:
        yield f"Least headroom: {ratio(own.headroom)} of {own.dtype}, {_largest(own)}"
    half = min(weights, key=lambda t: t.fp16_headroom or 0.0, default=None)
    if half is None or (half is own and own.dtype == "F16"):
        return
    over = sum((t.fp16_headroom or 1.0) < 1.0 for t in weights)
    if over:
        yield f"In fp16 {count(over, 'tensor')} would overflow, most of all {_largest(half)}"
    else:
        yield f"In fp16 the least headroom would be {ratio(half.fp16_headroom)}, {_largest(half)}"


def _largest(tensor: TensorHealth) -> str:
    return f"{tensor.name} (max |x| {number_or_blank(tensor.max_abs)})"


def _harmless(members: Sequence[Inspected]) -> Iterator[str]:
    names = [name for member in members for name in member.by_design]
    if names:
        verb = "holds" if len(names) == 1 else "hold"
        text = f"{count(len(names), 'tensor')} {verb} non-finite values by design (masks, state): "
        yield text + _listed(names)
    zero = [t for m in members for t in m.checkpoint.tensors if t.all_zero and _is_weight(t)]
    if zero:
        yield f"All zero: {_listed([t.name for t in zero])}"


def _is_weight(tensor: TensorHealth) -> bool:
    return tensor.part in ("parameter", "master") and tensor.format_max is not None


def _states(members: Sequence[Inspected]) -> Iterator[str]:
    """What the checkpoints state beside their tensors, where that bears on the damage."""
    stated: dict[str, str] = {}
    for member in members:
        for name in _STATES:
            value = member.checkpoint.state.get(name)
            if value is not None:
                stated.setdefault(name, scalar(value))
    if stated:
        yield "Saved with it: " + ", ".join(f"{name} {text}" for name, text in stated.items())


def _effort(inspection: Inspection) -> Iterator[str]:
    """How many members of the histories were read."""
    members = [m for h in inspection.histories if len(h.members) > 1 for m in h.members]
    unread = sum(m.condition == "unmeasured" for m in members)
    if unread:
        read = len(members) - unread
        text = f"{read} of {len(members)} checkpoints read"
        yield f"{text}, the others inferred (--all reads every one)"


def _listed(names: Sequence[str]) -> str:
    return shortlist(list(dict.fromkeys(names)), _NAMES)


def worst(member: Inspected) -> str:
    """Its damaged tensor that comes first, else the one nearest to overflow; empty for none."""
    if member.damage:
        return member.damage[0]
    tightest = min(_floats(member), key=lambda t: t.headroom or 0.0, default=None)
    return "" if tightest is None else tightest.name


def least_headroom(member: Inspected) -> float | None:
    """Of its tensors in their own formats."""
    return min((t.headroom for t in _floats(member) if t.headroom is not None), default=None)


def _floats(member: Inspected) -> list[TensorHealth]:
    tensors = member.checkpoint.tensors
    return [t for t in tensors if t.headroom is not None and not is_counter(t)]


# --- two checkpoints ------------------------------------------------------------------------------


def _diff_headline(diff: CheckpointDiff) -> str:
    common = [t for t in diff.tensors if t.before is not None and t.after is not None]
    same = sum(t.identical for t in common)
    turned = [t for t in diff.turned if t.name in set(diff.damage)]
    if turned:
        many = f"{len(turned)} of {count(len(common), 'tensor')}"
        names = _listed([tensor.name for tensor in turned])
        return f"TURNED NON-FINITE: {many}, first in forward order: {names}"
    if diff.damage:
        return f"NON-FINITE: {count(len(diff.damage), 'tensor')}, as before or new: " + (
            _listed(diff.damage)
        )
    if not common:
        return "NOTHING IN COMMON: no tensor is on both sides"
    if same == len(diff.tensors):
        return f"IDENTICAL: {count(same, 'tensor')}, every element equal"
    changed = len(common) - same
    return f"CHANGED: {changed} of {count(len(common), 'tensor')}; all finite"


def _diff_remarks(diff: CheckpointDiff) -> Iterator[str]:
    same = sum(t.identical for t in diff.tensors)
    if same and same < len(diff.tensors):
        yield f"Identical: {count(same, 'tensor')}"
    reshaped = [t.name for t in diff.tensors if t.reshaped]
    if reshaped:
        yield f"Another shape or format: {_listed(reshaped)}"
    for only, word in ((diff.only_before, "Gone"), (diff.only_after, "New")):
        if only:
            yield f"{word}: {count(len(only), 'tensor')}: {_listed([t.name for t in only])}"
