"""What the library said while it loaded the weights: new, unused and mismatched keys."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from nanautopsy.checkpoints.damage import weights
from nanautopsy.detectors.interface import Detector
from nanautopsy.model import Finding, LogEvent, Run
from nanautopsy.wording import counted, phrase

_BLOCK = re.compile(
    r"(?:^|\.)(?:layers?|blocks?|h|layer|resblocks|block|decoder|encoder)"
    r"\.(?:\d+|\{[\d, .]+\})\."
    r"|(?:^|\.)(?!(?:\w*head|classifier|score|cls|pooler)\.)[A-Za-z_]\w*\.\d+\.(?=\w)"
    r"|(?:^|/)(?:\w*(?:layer|block|encoder|decoder|stage)s?)_?\d+/"
)
"""A numbered block, or a numbered member of anything but a head; the load report of transformers 5
folds numbers as ``layers.{0, 1}.``"""
_HEAD = re.compile(
    r"(^|[./])((\w+_)?(classifier|heads?|pooler|projector)|score|qa_outputs|cls|logits?_proj|classif"
    r"|logits?)([./]|$)"
    r"|^(?:module[./]|model[./]|params[./])?(?:fc|linear|out(?:put)?(?:_\w+)?|regress\w*|predict\w*)"
    r"[./](?:weight|bias|kernel)$"
)
"""A head by its name; the last layer of torchvision's models, and of many hand-written ones, stands
beside the body under a name that says less."""


_FILLED = re.compile(
    r"(?:^|[._])(?:weight|bias|kernel|gamma|beta|scale|embeddings?|original\d|running_mean"
    r"|running_var|num_batches_tracked)(?:_[vg]|_[ih]h_l\d+(?:_reverse)?)?$"
)
"""Ends of the names of what the layers of a library hold, and initialize themselves."""
_OF_INTEGERS = re.compile(
    r"\.(?:scales?|zeros|zero_points?|qweight|qzeros|g_idx|scb|absmax|quant_map|weight_scale\w*)$"
    r"|quant_state",
    re.IGNORECASE,
)
"""Keys beside weights that are stored as integers: GPTQ's, AWQ's, bitsandbytes', one's own."""
_LEFT = {
    "weights-not-used": (
        phrase("{n} checkpoint tensor has no place in the model"),
        phrase("{n} checkpoint tensors have no place in the model"),
    ),
    "weights-mismatched": (
        phrase("{n} checkpoint tensor differs in shape"),
        phrase("{n} checkpoint tensors differ in shape"),
    ),
}
"""What is said of one tensor, and of several."""


def _detect(run: Run) -> Iterator[Finding]:
    unused = run.events_of("weights-not-used")
    for event in run.events_of("weights-newly-initialized"):
        yield _new_weights(event, unused, _total(event) or _saved_total(run, keys_of(event)))
    for kind, (one, many) in _LEFT.items():
        for event in run.events_of(kind):
            yield Finding(
                id=kind,
                text=counted(_count(event), one, many),
                source=event.source,
                step=event.step,
                data={
                    "count": _count(event),
                    "keys": keys_of(event),
                    "blocks": len(_in_blocks(keys_of(event))),
                    "only_heads": _are_heads(keys_of(event)),
                    "quantized": any(map(_OF_INTEGERS.search, keys_of(event))),
                },
            )


def keys_of(event: LogEvent) -> tuple[str, ...]:
    """The parameter names that the event lists."""
    keys = event.data.get("keys", ())
    return keys if isinstance(keys, tuple) else ()


def _count(event: LogEvent) -> int:
    count = event.data.get("count")
    return count if isinstance(count, int) else len(keys_of(event))


def _new_weights(event: LogEvent, unused: tuple[LogEvent, ...], total: int) -> Finding:
    """Newly initialized keys: how many lie in the model's blocks, and how many of them the
    checkpoint does hold, under another prefix; ``total``: how many the model has, where known."""
    keys = keys_of(event)
    blocks = _in_blocks(keys)
    left = {tail_of(key) for other in unused for key in keys_of(other)}
    renamed = [key for key in keys if tail_of(key) in left] if left else []
    moved = not renamed and not _are_heads(keys) and _are_moved(keys, unused)
    if moved:
        renamed = list(keys)
    text = phrase("{count} parameters were newly initialized", count=_count(event))
    if total:
        text = phrase(
            "{count} of the model's {total} parameters were not loaded: {line}",
            count=_count(event),
            total=total,
            line=event.text,
        )
    if blocks:
        text = phrase(
            "{count} parameters were newly initialized, {blocks} listed ones of the model's blocks",
            count=_count(event),
            blocks=len(blocks),
        )
    return Finding(
        id="newly-initialized",
        text=text,
        source=event.source,
        step=event.step,
        layer=keys[0] if keys else None,
        data={
            "count": _count(event),
            "blocks": len(blocks),
            "listed": len(keys),
            "renamed": len(renamed),
            "by_ending": moved,
            "only_added": bool(keys) and all(_HEAD.search(k) or is_own(k) for k in keys),
            "model_class": str(event.data.get("model_class", "")),
            "checkpoint": str(event.data.get("checkpoint", "")),
            "total": total,
            "example_new": renamed[0] if renamed else "",
            "example_old": _same_tail(renamed[0], unused) if renamed else "",
        },
    )


def _in_blocks(keys: tuple[str, ...]) -> list[str]:
    return [key for key in keys if _BLOCK.search(key)]


def _are_heads(keys: tuple[str, ...]) -> bool:
    return bool(keys) and all(_HEAD.search(key) for key in keys)


def is_own(key: str) -> bool:
    """Whether it is a parameter that no layer of a library holds: a class of the program's own
    declares it, ``crf.transitions``, and has to fill it."""
    return not _FILLED.search(key) and not _BLOCK.search(key)


def _total(event: LogEvent) -> int:
    """How many parameters the model has, where the program says so."""
    total = event.data.get("total")
    return total if isinstance(total, int) else 0


def _saved_total(run: Run, keys: tuple[str, ...]) -> int:
    """How many the checkpoints of a model hold that has all of these."""
    for checkpoint in run.checkpoints if keys else ():
        names = {t.name for t in weights(checkpoint)}
        if names.issuperset(keys):
            return len(names)
    return 0


def tail_of(key: str) -> str:
    """The key from its block on: what stays when a prefix was added or taken away."""
    match = _BLOCK.search(key)
    return key[match.start() :].lstrip(".") if match else key.rpartition(".")[0] or key


def _are_moved(keys: tuple[str, ...], unused: tuple[LogEvent, ...]) -> bool:
    """Whether the checkpoint holds a tensor for each of them that ends in the same two names."""
    left = Counter(_ending(key) for event in unused for key in keys_of(event))
    return len(keys) > 1 and not Counter(map(_ending, keys)) - left


def _ending(key: str) -> str:
    return ".".join(key.split(".")[-2:])


def _same_tail(key: str, unused: tuple[LogEvent, ...]) -> str:
    held = [k for event in unused for k in keys_of(event)]
    same = [k for k in held if tail_of(k) == tail_of(key)]
    return next(iter(same or [k for k in held if _ending(k) == _ending(key)]), "")


DETECTOR = Detector("load-report", _detect)
