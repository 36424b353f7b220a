"""Lines of metrics that any program prints: named numbers beside a step, iteration or epoch.

Samples, each from a public program::

    Step: 120, Loss: nan, Tokens/s: 512.30, Accuracy: 0.1234                      (nanoVLM)
    iter 10: loss nan, time 27.55ms, mfu 12.00%                                   (nanoGPT)
    Epoch [1][50/7330]  lr: 1.978e-03, eta: 4:20:12, loss_cls: 0.51, loss: nan    (mmdetection)
    123/1000 [==>...........] - ETA: 0s - loss: nan - accuracy: 0.1               (Keras)
    I0124 14:44:45.779719 32217 solver.cpp:237] Iteration 20, loss = 33.6845      (Caffe)
    step  3 | epoch 0 | loss 2.0552 | grad_norm 16.2790 | lr 5.00e-06             (NeMo Automodel)
    Epoch 0:  10%|# | 10/100 [00:01<00:09, 9.9it/s, train_loss_step=nan.0]        (Lightning)

No product is known here by name: a line is a row when it holds a counter and a metric, or follows a
heading with a counter, or holds a loss and nothing that looks like a setting.
"""

from __future__ import annotations

import math
import re

from nanautopsy.readers.text.dialect import Dialect, Handler, Line
from nanautopsy.readers.text.fields import Field, fields
from nanautopsy.readers.text.metric_row import Row
from nanautopsy.readers.text.metric_row import value as value
from nanautopsy.readers.text.rows import Basis
from nanautopsy.readers.text.words import (
    counter_kind,
    is_best,
    is_loss,
    is_metric,
    is_plural,
    is_setting,
    may_join,
    words,
)

_MAX_POINTS = 256
_NOT_A_ROW = re.compile(
    # A file named by its metrics: best-epoch=3-val_loss=0.41.ckpt.
    r"[=_-]\d+(?:\.\d+)?[^\s,;|]*\.(?:ckpt|pth?|bin|safetensors|npz|h5|tar|msgpack|onnx)\b"
    r"|(?:^|\s)--[A-Za-z]"  # a command
    r"|\b[A-Za-z]*(?:Namespace|Config|Args|Arguments|Params|Options|Settings|Optimizer)\("
    r"|(?<!\w)[A-Za-z]\w*\([^()]{0,200}\b(?:in|out)_features="  # a module
    r"|\bParameter Group\b|^\s*(?:if|for|while|assert|return|raise|print|def|import|from)\b"
)
_PHASE = re.compile(
    r"(?<![\w/.\-])(val|valid|validate|validation|validating|test|testing|eval|evaluate|evaluation"
    r"|evaluating|dev)(?![\w/.\-])",
    re.IGNORECASE,
)
_CELL = re.compile(r"(?:[|,;]\s*|\s-\s+)[A-Za-z][\w/.]*\s+$")
"""A cell of a delimited row that is a name and its number: ``| scale 1024 |``."""
_TERSE = frozenset("lr acc accuracy kl reward entropy norm".split())
_UNIT = re.compile(
    r"\s?(?:s|[\u00b5\u03bc]s|secs?|seconds?|ms|min|minutes?|h|hrs?|hours?|[KMGT]i?B|it/s"
    r"|[\w]+/s(?:ec)?)(?![\w])|\s?\u6beb?\u79d2"  # milli-, second
)
_ENDS_VALUE = re.compile(
    r"\s*(?:$|[,;|)%\]}\"'>!.(]|\s{2,}|[A-Za-z-](?![\d])|/\w)|\s+[A-Za-z(\[]|\s*[^\x00-\x7f]"
)
_BARE = re.compile(r"^\s*\[?\s*$|[\[|━─╸╺]\s*$")
_LEADS = re.compile(r"\s+(?:\|\s*)?[A-Za-z|][\w/|.\- ]{0,40}?(?:[:=]|\s$|\s+$)|\s*\|\s*[A-Za-z]")
"""Behind a step that stands at the beginning of the line without a name."""
_ORDINAL = re.compile(r"\s*个?(步|轮|次迭代|批)")
_ORDINALS = {"步": "step", "次迭代": "step", "轮": "epoch", "批": "batch"}
_RANKS = frozenset(("rank", "global_rank", "global rank"))
_SLASH = re.compile(r"\s*(?:/|of|out of)\s*")


def _plan(line: Line, lower: str) -> Handler | None:
    text = line.text
    if _NOT_A_ROW.search(text):
        return None
    found = fields(line.parts)
    basis, family, used = _counters(found, text)
    n, total, epoch = used
    points = _points(found, basis is not None, {id(f) for f in used if f is not None})
    quoted = text.lstrip().startswith(('"', "'"))  # a member of an object printed over lines
    if not points and (basis is None or family == "bracket" or quoted):
        return None
    if basis is Basis.LEADING and not any(is_loss(key) for key, _ in points):
        return None
    doubtful = "{'" in text or '{"' in text or any(f and is_plural(f.key) for f in (n, epoch))
    if doubtful and not any(is_loss(key) for key, _ in points):
        return None
    tagged: dict[str, Field] = {}
    for tag, field in _with_phase(points, found):
        tagged.setdefault(tag, field)
    rank = next((f for f in found if f.key.lower() in _RANKS and f.index >= 0), None)
    return Row(basis, family, n, total, epoch, tuple(tagged), tuple(tagged.values()), rank)


def _counters(
    found: list[Field], text: str
) -> tuple[Basis | None, str, tuple[Field | None, Field | None, Field | None]]:
    """The best counter of the line: basis, its name, and (number, total, epoch)."""
    best: dict[str, tuple[Field, Field | None]] = {}
    for i, field in enumerate(found):
        kind = _kind(found, i)
        if kind is None or kind in best:
            continue
        best[kind] = (field, _total(found, i))
    epoch = best.get("epoch", (None, None))[0]
    for kind, basis in (
        ("global", Basis.STEP),
        ("step", Basis.COUNTER),
        ("batch", Basis.BATCH),
        ("bare", Basis.BATCH),
        ("bracket", Basis.COUNTER),
        ("leading", Basis.LEADING),
    ):
        if kind in best:
            n, total = best[kind]
            name = " ".join(words(n.key)) or kind
            return basis, name + ("" if epoch is None else " in epoch"), (n, total, epoch)
    if epoch is not None:
        return Basis.EPOCH, "epoch", (None, None, epoch)
    return None, "", (None, None, None)


def _kind(found: list[Field], i: int) -> str | None:
    field = found[i]
    if field.index >= 0 and field.whole and (ordinal := _ORDINAL.match(field.after)):
        if field.before.rstrip().endswith("第"):
            return _ORDINALS[ordinal[1]]
    if field.index < 0 or field.negative or field.after[:1].isalpha() or field.after[:1] == "%":
        return None
    if field.key:
        kind = counter_kind(field.key)
        if not field.whole and kind != "epoch":
            return None
        if kind == "step" and words(field.key) == ("it",) and not field.explicit:
            # An English word, unless the line begins with it.
            return kind if field.before.strip().lower() == "it" else None
        return kind
    if field.explicit or not _BARE.search(field.before):
        return None
    total = _total(found, i)
    if total is None and i == 0 and field.before.strip() == "[" and field.after[:1] == "]":
        return "bracket"
    if total is None and i == 0 and not field.before.strip() and _LEADS.match(field.after):
        return "leading" if field.whole else None
    if total is None or total.after.lstrip()[:1] in ("/", ":"):
        return None
    return "bare"


def _total(found: list[Field], i: int) -> Field | None:
    """The field behind ``/`` or ``of``."""
    if i + 1 < len(found) and found[i + 1].index >= 0 and _SLASH.fullmatch(found[i + 1].before):
        return found[i + 1]
    return None


def _points(found: list[Field], counted: bool, used: set[int]) -> list[tuple[str, Field]]:
    """The metrics of the line with their tags; empty when it is no row of metrics."""
    points: list[tuple[str, Field]] = []
    joining: list[tuple[str, Field]] = []
    for i, field in enumerate(found):
        if id(field) in used or counter_kind(field.key) is not None:
            continue
        key, explicit = field.key, field.explicit
        if not key and explicit and i > 0 and id(found[i - 1]) in used:
            key = found[i - 1].carried
        if not key or not _usable(field) or (is_best(key) and field.const == math.inf):
            continue
        named = explicit or is_loss(key) or not _TERSE.isdisjoint(words(key))
        if is_metric(key) and (named or (counted and _CELL.search(field.before))):
            points.append((key, field))
        elif explicit and counted and (may_join(key) or (key == "eta" and not field.whole)):
            joining.append((key, field))
    if not counted:
        points = [p for p in points if not is_setting(p[0]) and p[1].explicit]
        return points[:_MAX_POINTS]
    if not any(is_loss(key) for key, _ in points):
        return points[:_MAX_POINTS]
    order = {id(field): place for place, field in enumerate(found)}
    return sorted(points + joining, key=lambda p: order[id(p[1])])[:_MAX_POINTS]


def _usable(field: Field) -> bool:
    """Whether the number ends where it ends: no unit, no arithmetic, no fraction."""
    after = field.after
    if after[:1].isalpha() or after[:1] == "_" or after.lstrip()[:1] in ("*", "+", "^", "="):
        return False
    if _UNIT.match(after):
        return False
    if after[:1] == "/" or after[:2] == " /":
        return False
    return _ENDS_VALUE.match(after) is not None


def _with_phase(
    points: list[tuple[str, Field]], found: list[Field]
) -> tuple[tuple[str, Field], ...]:
    """Tags of a validation line say so, as its heading does."""
    if not points:
        return ()
    heading = ""
    for field in found:
        heading += field.before + " "
        if field is points[0][1]:
            break
    phase = _PHASE.search(heading)
    if phase is None or _PHASE.search(points[0][0].replace("_", " ")):
        return tuple(points)
    return tuple((f"{phase[1]} {key}", field) for key, field in points)


DIALECT = Dialect(
    name="key-value",
    triggers=(
        "loss", "step", "iter", "epoch", "norm", "perplexity", "ppl", "nll", "update", "batch",
        "it/s, ", "s/it, ", "it=", "it:", "bce", "损失",
    ),
    plan=_plan,
    metrics=True,
    counters=("step", "iter", "epoch", "update", "batch", "it=", "it:"),
)  # fmt: skip
