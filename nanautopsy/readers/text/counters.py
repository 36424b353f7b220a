"""Which numbers of a line count: the step, the batch within its epoch, the epoch.

Beside what names itself, forms of public programs, in which it does not::

    Train: 3 [  50/1251 (  4%)]  Loss: 6.9                    (timm: an epoch, then its batches)
    Train: [3/300][50/1251]  loss 6.9                         (Swin Transformer)
    Training  [   10/125000]  total_loss: 11.0                (DINOv2)
    [3/25][100/1583] Loss_D: 0.5 Loss_G: 1.2                  (DCGAN)
    [1,  2000] loss: 2.196                                    (PyTorch's tutorials)
    loss=0.5 (0.6) lr=0.01: :  86% 86/100 [00:00<00:00        (torch-ngp)
    epoch 001:     41 / 500 loss=6.9                      (fairseq)
    2|1234|Loss: 2.3:  10%|#         | 10/100 [               (torchtune: an epoch, then the step)
    3epoch:train:901-1000batch: iter_time=0.1, loss=2.3       (ESPnet)
    [train]   31  loss 2.3                                (a tag, and the step)
    |    12 | mse 0.0113 | lr 2.0e-03 |
    i=31 loss=2.3
    第 3 轮 损失 2.3
"""

from __future__ import annotations

import re

from nanautopsy.readers.text.fields import Field
from nanautopsy.readers.text.rows import Basis
from nanautopsy.readers.text.words import counter_kind, is_loss, words

_BARE = re.compile(r"^\s*\[?\s*$|[\[|━─╸╺]\s*$")
_HASH = re.compile(r"(?:^|[\s\]])#$")
"""``14:34:16 #212 xent=nan``"""
_BEGINS_IT = re.compile(r"(?:^|[-|\]:])\s*\[?it\s+$", re.IGNORECASE)
_THING = re.compile(r"\s*([A-Za-z]+)\s+#?")
_PLACES = frozenset(
    "rank gpu device node worker process client host fold seed trial run model task layer block"
    " head stage group member config param line level rate loss lr"
    " class label sample example image video token row column horizon size width depth".split()
)
"""What is numbered and not counted."""
_SHARE = re.compile(r"%\s+")
"""Behind the percentage of a progress bar that is not drawn."""
_LEADS = re.compile(
    r"\s+(?:\|\s*)?[A-Za-z|][\w/|.\- ]{0,40}?(?:[:=]|\s$|\s+$)|(?:\s*[|;]\s*|:\s+)[A-Za-z]"
)
"""Behind a step that stands at the beginning of the line without a name."""
_TAGGED = re.compile(
    r"\s*(?:\[(?:train|training|trn|fit)\]:?\s+|\|\s*[A-Za-z][\w.-]{0,24}\s*\|\s*)", re.IGNORECASE
)
_LETTERS = frozenset("bisu")
"""Batch, iteration, step and update."""
_CELL_ENDS = re.compile(r"\s*\|\s+[A-Za-z]")
_ORDINAL = re.compile(r"\s*个?(步|轮|次迭代|批)")
_ORDINALS = {"步": "step", "次迭代": "step", "轮": "epoch", "批": "batch"}
_SLASH = re.compile(r"\s*(?:/|of|out of)\s*")
_TRAIN = frozenset((("train",), ("training",)))
_BEGINS = re.compile(r"(?:^|\s)$")
_OPEN = re.compile(r"\s*\[\s*$")
_NEXT_OPEN = re.compile(r"\s*\]\s*\[\s*$")
_NEXT = re.compile(r"\s*\]\s+\[?\s*$")
"""Between epoch and batch, at the beginning of a line: ``[2/30]  12/400 loss 0.3``."""
_PHASE_OPEN = re.compile(
    r"(?:^|[\s|,;])(?:train(?:ing)?|val(?:id(?:ation)?)?|eval|test|iter(?:ation)?|step|it)\[\s*$",
    re.IGNORECASE,
)
"""``Train[29] bce 0.7``"""
_PIPED = re.compile(r"\|[A-Za-z][\w ]*:\s*$")
_ESPNET_BATCHES = re.compile(r"epoch:train:$")
_ESPNET_RESULTS = re.compile(r"epoch results: \[")

Used = tuple["Field | None", "Field | None", "Field | None"]
"""Number, total and epoch."""


def counters_of(found: list[Field]) -> tuple[Basis | None, str, Used]:
    """The best counter of a line: its basis and its name, and the fields that it takes."""
    if (special := _epoch_and_more(found)) is not None:
        return special
    best: dict[str, tuple[Field, Field | None]] = {}
    for i, field in enumerate(found):
        kind = _kind(found, i)
        if kind is None or (kind in best and not _is_better(field, best[kind][0])):
            continue
        best[kind] = (field, _total(found, i))
    if "bare" in best and "episode" in best and best["episode"][1] is not None:
        best.setdefault("epoch", best.pop("episode"))  # Episode [1/2]:  5%|#  | 3/64 [
    epoch = best.get("epoch", (None, None))[0]
    for kind, basis in (
        ("global", Basis.STEP),
        ("step", Basis.COUNTER),
        ("batch", Basis.BATCH),
        ("episode", Basis.COUNTER),
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


def _is_better(field: Field, other: Field) -> bool:
    """Of LitGPT's ``iter 40 step 10``, the optimizer's steps."""
    return words(field.key)[-1:] == ("step",) and words(other.key)[-1:] in (("iter",), ("it",))


def _epoch_and_more(found: list[Field]) -> tuple[Basis, str, Used] | None:
    """Where an epoch without a name stands in front, or has its name behind."""
    if len(found) > 2 and found[0].whole and found[1].whole and not found[0].before.strip():
        if found[1].before == "|" and _PIPED.fullmatch(found[2].before):
            return Basis.COUNTER, "step in epoch", (found[1], None, found[0])
    if len(found) > 2 and found[0].whole and found[1].whole and found[0].before.strip() == "[":
        if found[1].before.strip() == "," and found[1].after[:1] == "]" and not found[1].key:
            return Basis.COUNTER, "batch in epoch", (found[1], None, found[0])
    for i, field in enumerate(found[:-2]):
        total = _total(found, i)
        if total is None or field.key or not field.before.endswith("["):
            continue
        batches = _total(found, i + 2)
        leads = i == 0 and field.before.strip() == "[" and _NEXT.fullmatch(total.after)
        if batches is not None and (leads or _NEXT_OPEN.fullmatch(total.after)):
            return Basis.BATCH, "batch in epoch", (found[i + 2], batches, field)
    for i, field in enumerate(found):
        if not field.whole or field.negative or not _BEGINS.search(field.before):
            continue
        if _ESPNET_RESULTS.match(field.after):
            return Basis.EPOCH, "epoch", (None, None, field)
        if _ESPNET_BATCHES.fullmatch(field.after) and i + 2 < len(found):
            last = found[i + 2]
            if last.before == "-" and last.whole:
                return Basis.BATCH, "batch in epoch", (last, None, field)
    return None


def _kind(found: list[Field], i: int) -> str | None:
    field = found[i]
    if field.index >= 0 and field.whole and (ordinal := _ORDINAL.match(field.after)):
        if field.before.rstrip().endswith("第"):
            return _ORDINALS[ordinal[1]]
    if field.index < 0 or field.negative or field.after[:1].isalpha() or field.after[:1] == "%":
        return None
    if i == 0 and field.whole and field.after[:1] == "]" and _PHASE_OPEN.search(field.before):
        return "step"
    if field.key:
        kind = counter_kind(field.key)
        terse = field.key == "t" and field.before.endswith("t=")
        terse |= field.key in ("i", "k") and field.before.strip() == f"{field.key}="
        if kind is None and i == 0 and terse:
            return "step" if field.whole else None
        if kind is None and i == 0 and field.whole and _is_letter(field):
            return "leading"
        if kind is None and words(field.key) in _TRAIN:
            return _of_training(found, i)
        if kind is None and i == 0 and field.whole and _counts_things(field):
            return "leading" if _total(found, i) is None else None
        if not field.whole and kind != "epoch":
            return None
        if kind == "step" and words(field.key) == ("it",) and not field.explicit:
            # An English word, unless the line begins with it.
            return kind if _BEGINS_IT.search(field.before) else None
        return kind
    if _is_batch_of_epoch(found, i):
        return "bare"
    total = _total(found, i)
    of_bar = total is not None and total.after.startswith(" [") and _SHARE.fullmatch(field.before)
    if i == 0 and total is None and field.whole and _TAGGED.fullmatch(field.before):
        return "leading" if _LEADS.match(field.after) else None
    known = of_bar or _BARE.search(field.before) or _HASH.search(field.before)
    if field.explicit or not (known or _counts_things(field)):
        return None
    if total is None and i == 0 and field.before.strip() == "[" and field.after[:1] == "]":
        return "bracket"
    if total is None and field.whole and _HASH.search(field.before):
        return "bracket"
    if total is None and i == 0 and field.whole and _counts_things(field):
        return "leading"
    if total is None and i == 0 and field.before.strip() in ("", "|") and _LEADS.match(field.after):
        return "leading" if field.whole else None
    if total is None or total.after.lstrip()[:1] in ("/", ":"):
        return None
    return "bare"


def _is_letter(field: Field) -> bool:
    """Behind one letter in the first cell of a line: ``b 0078 | xent 3.7``."""
    alone = field.before.strip().lower() == field.key.lower() and field.key.lower() in _LETTERS
    return alone and _CELL_ENDS.match(field.after) is not None


def _counts_things(field: Field) -> bool:
    """Behind what is trained on, at the beginning of the line: ``subgraph  146: loss nan``."""
    thing = _THING.fullmatch(field.before)
    if thing is None or thing[1].lower() in _PLACES:
        return False
    behind = _FIRST_NAME.match(field.after) if thing[1].lower() in _DRAWN else None
    return field.after[:2] == ": " or (behind is not None and is_loss(behind[1]))


_FIRST_NAME = re.compile(r"\s+(?:[|,-]\s*)?([A-Za-z][\w/]*)\s*[:=]?\s*$")
"""``part 141 loss nan``"""
_DRAWN = frozenset(
    "part partition cluster graph subgraph chunk shard window segment game match pass cycle tick"
    " minibatch mb gen generation pair query session rollout trajectory".split()
)
"""What is drawn one after the other to be trained on, where no colon stands behind the number."""


def _is_batch_of_epoch(found: list[Field], i: int) -> bool:
    behind_epoch = (
        i > 0
        and found[i].before.strip() in (":", ",")
        and counter_kind(found[i - 1].key) == "epoch"
    )
    return behind_epoch and _total(found, i) is not None


def _of_training(found: list[Field], i: int) -> str | None:
    """What a number counts that is named ``Train`` and nothing else."""
    field = found[i]
    total = _total(found, i)
    behind = i + (1 if total is None else 2)
    if not field.whole or behind > len(found):
        return None
    counts_batches = behind < len(found) and _total(found, behind) is not None
    if total is None:
        return "epoch" if counts_batches and _OPEN.fullmatch(field.after) else None
    if not field.before.rstrip().endswith("["):
        return None
    return "epoch" if counts_batches and _NEXT_OPEN.fullmatch(total.after) else "bare"


def _total(found: list[Field], i: int) -> Field | None:
    """The field behind ``/`` or ``of``."""
    if i + 1 < len(found) and found[i + 1].index >= 0 and _SLASH.fullmatch(found[i + 1].before):
        return found[i + 1]
    return None
