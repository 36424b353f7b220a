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
from dataclasses import replace

from nanautopsy.readers.text.counters import counters_of
from nanautopsy.readers.text.dialect import Dialect, Handler, Line
from nanautopsy.readers.text.fields import Field, fields
from nanautopsy.readers.text.foreign_words import LOSSES
from nanautopsy.readers.text.metric_row import Row
from nanautopsy.readers.text.nonfinite_text import said_value
from nanautopsy.readers.text.row_phases import with_phase
from nanautopsy.readers.text.rows import Basis
from nanautopsy.readers.text.shared_names import shared
from nanautopsy.readers.text.thousands import joined
from nanautopsy.readers.text.vagueness import is_vague
from nanautopsy.readers.text.words import (
    counter_kind,
    is_best,
    is_gradient,
    is_group_rate,
    is_loss,
    is_metric,
    is_objective,
    is_plural,
    is_setting,
    may_join,
    words,
)

_MAX_POINTS = 256
_FEWEST_STRANGERS = 2
"""Numbers with a fraction, or NaN, that make a row where no name is known: ``gen=2.1, mel=0.4``; or
``step 3: total 2.5 cls 2.1 aux 0.4``, where nothing but such names stands between numbers."""
_NOT_A_ROW = re.compile(
    # A file named by its metrics: best-epoch=3-val_loss=0.41.ckpt.
    r"[=_-]\d+(?:\.\d+)?[^\s,;|]*\.(?:ckpt|pth?|bin|safetensors|npz|h5|tar|msgpack|onnx)\b"
    r"|(?:^|\s)--[A-Za-z]"  # a command
    r"|^\s*(?:\w+\.)*\w*[a-z](?:Error|Exception): "
    r"|\b[A-Za-z]*(?:Namespace|Config|Args|Arguments|Params|Options|Settings|Optimizer)\("
    r"|(?<!\w)[A-Za-z]\w*\([^()]{0,200}\b(?:in|out)_features="  # a module
    r"|\bParameter Group\b|^\s*(?:if|for|while|assert|return|raise|print|def|import|from)\b"
)
_SOURCE = re.compile(r"\.(?:pyx?|cc?|cpp|cxx|cuh?|hpp|rs|go|jl|kt|java|scala|lua)(?::\w+)?$")
"""``train.py:42``, ``train.py:main:42``"""
_SKIPS = re.compile(r"\bskip(?:s|ped|ping)?\b", re.IGNORECASE)
_MODULE = re.compile(r"\([a-z_]\w*:$")
_COORDINATES = frozenset("dp pp tp cp sp dp_rank pp_rank tp_rank cp_rank ep_rank".split())
"""Where a process stands in the parallel layout: nanotron's ``[INFO|DP=0|PP=0|TP=0]``."""
_GROUP = re.compile(r"([A-Za-z][\w/.]*)['\"]?\s*[=:]\s*[{[]['\"]?[^{}[\]=]*$")
_GROUP_CHARACTERS = 200
"""Before a number, in which its name and its group's stand."""
_NUMBERED = re.compile(r"['\"]\d*_([A-Za-z]\w*)['\"]\s*:\s*-?$")
_SPLITS = frozenset("train training val valid validation eval test dev".split())
_SCALED = re.compile(r"\s?([KMGTBP])(?=\s*(?:$|[|,;)\]]))")
_ITERATIONS = re.compile(r"([kM]?)it/")
"""Behind the count of a bar that is written as a line: ``on:train 12.0kit/100kit rate:1.2it/s``."""
_SCALES = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "B": 1e9, "T": 1e12, "P": 1e15}
_CELL = re.compile(
    r"(?:[|,;]\s*|\s-\s+|\s{2,})[A-Za-z][\w/.]*(?: (?:abs)?max| amax| norm| rms| std)?\s+[+-]?$"
    r"|(?:\|\s*|\s{2,})[A-Za-z][\w/.]*(?: [A-Za-z][\w/.]*){1,2}\s+[+-]?$"
)
"""A cell of a delimited row that is a name and its number: ``| scale 1024 |``."""
_PAIR = re.compile(r"\s+(?=\S*[_/.])[A-Za-z][\w/.]*\s+[+-]?")
"""The same without a delimiter, where the name is no word of a sentence: ``batch_max 3.2``."""
_STATISTIC = r"(?:\s(?:abs_?max|max|min|amax|norm|rms|std|mean))?"
_WORD = re.compile(rf"%?\s+[^\W\d_]\w*{_STATISTIC}\s+[+-]?")
"""Nothing but a metric's name between two numbers: ``loss 2.5 scale 1024 input max 3.1``."""
_WORD_OR_PAIR = re.compile(
    rf"/|[:%]?\s+(?!(?:of|in|on|at|to|from|after|by|for)\s)[A-Za-z][\w/.]*{_STATISTIC}\s+[+-]?"
)
_FEWEST_WORDS = 3
"""Names between numbers, and nothing else, that make a row of them, as no sentence is."""
_RANGE = re.compile(r"\.{2,3}-?\d+(?:\.\d+)?(?=[\s,;|)\]]|$)")
"""What stands behind the first of a range."""
_LEAST = frozenset("min minimum shortest smallest fewest".split())
_SIZES = frozenset(
    "len lens length lengths seqlen seqlens tokens toks keys labels targets frames words points"
    " nodes edges boxes pairs".split()
)
_TERSE = frozenset("lr acc accuracy kl reward entropy norm sse mse hinge huber mape smape".split())
_UNIT = re.compile(
    r"\s?(?:s|[\u00b5\u03bc]s|secs?|seconds?|ms|min|minutes?|h|hrs?|hours?|[KMGT]i?B|it/s"
    r"|[\w]+/s(?:ec)?)(?![\w])|\s?\u6beb?\u79d2"  # milli-, second
)
_SPAN = re.compile(
    r"^(?:audio|utt|clip|wav|speech|segment)?[ _/.]?(?:dur|durs|duration|durations|len|length)"
    r"[ _/.](?:min|max|mean|avg)$|^(?:min|max|mean|avg)[ _/.](?:\w+_)?(?:dur|duration|len|length)$",
    re.IGNORECASE,
)
"""How long a batch's samples are, which no program takes: ``dur_min 0.32s``."""
_ENDS_VALUE = re.compile(
    r"\s*(?:$|\\[nrt]|:(?=\s)|[,;|)%\]}\"'>!.(]|\s{2,}|[A-Za-z-](?![\d])|/\w)|\s+[A-Za-z(\[]|\s*[^\x00-\x7f]"
)
_EXPLAINED = re.compile(
    r"\s*\((?:no|empty|0|none|not|without|undefined|skipped|n/a|disabled|off|unused)\b",
    re.IGNORECASE,
)
"""Behind a NaN that is none of the model's: ``worst group loss: nan (empty group)``."""
_COUNTER = re.compile(r"\b(?:global_)?(?:step|iter(?:ation)?|epoch|update|batch)\b", re.IGNORECASE)
"""Where a row begins, behind the name of its log, which may be ``potential``."""
_SETTINGS = frozenset("lr momentum decay warmup dropout patience betas".split())
"""Words beside which a batch is a size: ``epochs=4, batch=16, lr0=0.01, momentum=0.937``."""
_RANKS = frozenset(("rank", "global_rank", "global rank"))
_WRAPPED = re.compile(r"\b(?:tensor|[Aa]rray|float(?:16|32|64))\(\s*$")
"""A number as Python prints an object that holds it: ``loss tensor(nan, device='cuda:0')``."""
_DEVICE = re.compile(r"\bDevice ?[=:] ?(?:xla|cuda|npu|hpu|tpu):$")


def _plan(line: Line, lower: str) -> Handler | None:
    text = line.text
    if _NOT_A_ROW.search(text):
        return None
    found = joined(fields(line.parts), line.numbers)
    found = _grouped(shared([_ranged(_scaled(_without_place(field))) for field in found]))
    if is_vague(text):
        # "its loss is inf and was zeroed" is a sentence, and no number of the row.
        row = _COUNTER.search(text)
        if row is None or is_vague(text[row.start() :]):
            found = [f for f in found if f.explicit or f.index >= 0 or _WRAPPED.search(f.before)]
    basis, family, used = counters_of(found)
    n, total, epoch = used
    if basis is None and said_value(text) is not None:
        return None  # a sentence: nonfinite_text's
    bad = any(field.index < 0 and not math.isfinite(field.const) for field in found)
    if bad and total is None and basis in (Basis.BATCH, Basis.EPOCH) and _SKIPS.search(text):
        return None  # a guard's, which speaks only of batches that are bad
    points = _points(found, basis is not None, {id(f) for f in used if f is not None})
    if n is not None and words(n.key) == ("batch",) and _only_rates(points, total):
        return None  # lr=0.01 batch=64
    quoted = text.lstrip().startswith(('"', "'"))  # a member of an object printed over lines
    if not points and (basis is None or family == "bracket" or quoted):
        return None
    if basis is Basis.LEADING and not any(map(is_objective, (key for key, _ in points))):
        return None
    alone = n is None or epoch is None  # iters: 100 may be a setting; beside an epoch it counts
    plural = alone and any(f and is_plural(f.key) for f in (n, epoch))
    doubtful = "{'" in text or '{"' in text or plural
    if doubtful and not any(is_loss(key) for key, _ in points):
        return None
    tagged: dict[str, Field] = {}
    for tag, field in with_phase(points, found):
        tagged.setdefault(tag, field)
    rank = next((f for f in found if f.key.lower() in _RANKS and f.index >= 0), None)
    rank = rank or _of_device(found)
    return Row(basis, family, n, total, epoch, tuple(tagged), tuple(tagged.values()), rank)


def _only_rates(points: list[tuple[str, Field]], total: Field | None) -> bool:
    """Whether nothing but learning rates, and settings of the kind, stands beside a number called
    batch: its size."""
    rates = [
        key
        for key, _ in points
        if not _SETTINGS.isdisjoint(words(key)) or {"learning", "rate"} <= {*words(key)}
    ]
    return total is None and bool(points) and len(rates) == len(points)


def _of_device(found: list[Field]) -> Field | None:
    """The number of the device that speaks: PyTorch/XLA's ``Training Device=xla:0/2``."""
    for field, behind in zip(found, [*found[1:], None], strict=True):
        if field.index >= 0 and field.whole and _DEVICE.search(field.before):
            return behind if behind is not None and behind.before == "/" else field
    return None


def _points(found: list[Field], counted: bool, used: set[int]) -> list[tuple[str, Field]]:
    """The metrics of the line with their tags; empty when it is no row of metrics."""
    points: list[tuple[str, Field]] = []
    joining: list[tuple[str, Field]] = []
    worded = len(found) > _FEWEST_WORDS and all(
        _WORD_OR_PAIR.fullmatch(f.before) for f in found[1:]
    )
    for i, field in enumerate(found):
        if id(field) in used or counter_kind(field.key) is not None:
            continue
        key, explicit = field.key, field.explicit
        if not key and i > 0 and id(found[i - 1]) in used and found[i - 1].carried:
            explicit = explicit or field.before.strip() == "-"
            key = found[i - 1].carried if explicit else ""
        if (
            not key
            or not _usable(field)
            or _is_count(found, i)
            or (is_best(key) and field.const == math.inf and not field.negative)
        ):
            continue
        named = explicit or is_gradient(key) or not _TERSE.isdisjoint(words(key))
        named = named or (is_objective(key) if counted else is_loss(key))
        cell = _CELL.search(field.before) or _PAIR.fullmatch(field.before)
        if cell is None and (worded or is_metric(key)):
            cell = _WORD.fullmatch(field.before)
        in_cell = counted and cell is not None
        if is_metric(key) and (named or in_cell):
            points.append((key, field))
        elif (
            counted
            and (explicit or in_cell)
            and key.lower() not in _RANKS
            and (may_join(key) or (key == "eta" and not field.whole))
        ):
            joining.append((key, field))
    if not counted:
        points = [
            p for p in points if p[1].explicit and (not is_setting(p[0]) or is_group_rate(p[0]))
        ]
        return points[:_MAX_POINTS]
    strangers = sum((field.explicit or worded) and not field.whole for _, field in joining)
    sizes = any(field.explicit and _is_least_size(key) for key, field in joining)
    if not points and strangers < _FEWEST_STRANGERS and not sizes:
        return []
    order = {id(field): place for place, field in enumerate(found)}
    return sorted(points + joining, key=lambda p: order[id(p[1])])[:_MAX_POINTS]


def _is_least_size(key: str) -> bool:
    """Whether it is the smallest of a batch's lengths or counts: ``hyp_len min=2``, a whole number
    that a row of its own may be printed for."""
    have = frozenset(words(key))
    return bool(have & _LEAST) and bool(have & _SIZES)


def _without_place(field: Field) -> Field:
    """Unnamed, where the number is that of a line of source or of a process."""
    key = field.key
    if not key or not field.whole:
        return field
    # loguru's main:train:42 - ...
    place = ":" in key and field.before.endswith(":") and field.after.startswith(" - ")
    # ESPnet's (trainer:737), and the first batch of its 3epoch:train:901-1000batch.
    place |= _MODULE.search(field.before) is not None and field.after[:1] == ")"
    place |= field.before == "epoch:train:"
    coordinate = key.lower() in _COORDINATES and field.before.endswith("=")
    if place or coordinate or (_SOURCE.search(key) and field.before.endswith(":")):
        return replace(field, key="", explicit=False)
    return field


def _grouped(found: list[Field]) -> list[Field]:
    """The members of a metric that is a dictionary, under its name: InternLM's
    ``grad_norm={'0_default': 2.5, '1_fp32': 0.1}`` gives ``grad_norm.default``; and those of a
    split of the data."""
    if not any("{" in field.before or "[" in field.before for field in found):
        return found
    named, group = [], ""
    for field in found:
        if "}" in field.before or "]" in field.before:
            group = ""
        if opened := _GROUP.search(re.split(r"[}\]]", field.before)[-1][-_GROUP_CHARACTERS:]):
            group = opened[1] if is_metric(opened[1]) or opened[1] in _SPLITS else ""
        numbered = _NUMBERED.search(field.before[-_GROUP_CHARACTERS:])
        inner = numbered[1] if numbered else field.key
        if group and inner and field.explicit and (group in _SPLITS or not is_metric(inner)):
            field = replace(field, key=f"{group}.{inner}")
        named.append(field)
    return named


def _ranged(field: Field) -> Field:
    """The first of ``src len 3..12`` as the least of what is named."""
    if not field.key or _RANGE.match(field.after) is None:
        return field
    return replace(field, key=f"{field.key} min", explicit=True, after=" ")


def _scaled(field: Field) -> Field:
    """With the factor that the letter behind it stands for: ``lm_loss: 85.8G``."""
    if field.index >= 0 and (counted := _ITERATIONS.fullmatch(field.after)):
        factor = _SCALES[counted[1]]
        return replace(field, key="it", explicit=True, after="/", whole=True, factor=factor)
    unit = _SCALED.match(field.after) if field.explicit and is_metric(field.key) else None
    return field if unit is None else replace(field, factor=_SCALES[unit[1]])


def _usable(field: Field) -> bool:
    """Whether the number ends where it ends: no unit, no arithmetic, no fraction."""
    if field.factor != 1.0:
        return True
    after = field.after
    if field.index < 0 and _EXPLAINED.match(after):
        return False
    if _SPAN.search(field.key) is not None and _UNIT.match(after):
        return True
    if after[:1].isalpha() or after[:1] == "_" or after.lstrip()[:1] in ("*", "+", "^", "="):
        return False
    if _UNIT.match(after):
        return False
    if after[:1] == "/" or after[:2] == " /":
        return False
    return _ENDS_VALUE.match(after) is not None


def _is_count(found: list[Field], i: int) -> bool:
    """Whether the word says what is counted by the number behind it: ``loss nan 0``."""
    if found[i].index >= 0 or found[i].explicit or found[i].after.strip() or i + 1 == len(found):
        return False
    behind = found[i + 1]
    return behind.whole and not behind.key and behind.after[:1] in ("", ",", ";", ")", "|", " ")


DIALECT = Dialect(
    name="key-value",
    triggers=(
        "reward", "return=", "[ep ", "loss", "step", "iter", "epoch", "norm", "perplexity", "ppl",
        "nll", "update", "batch",
        "it/s, ", "s/it, ", "it=", "it:", "[it ", "mse", "bce", "elbo", "msle", "mae", "bpd",
        "xent", "objective", "huber", "hinge", "recon", "infonce", "supcon", "contrastive", "focal",
        "ctc", "cox", "triplet", "pinball", "chamfer", "tversky", "ntxent", "crps", "orpo", "dpo",
        "mlm", "mpjpe", "ranknet", "listnet", "bpr", "episode", "|grad", "|g|", "qk", "/group",
        "rate_group", "lr (group", "] ce ", "| ce ", " ce=", " ce:", *LOSSES,
    ),
    plan=_plan,
    metrics=True,
    counters=("step", "iter", "epoch", "update", "batch", "it=", "it:", "[it ", "episode"),
)  # fmt: skip
