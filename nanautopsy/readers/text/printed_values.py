"""Values printed for debugging that are NaN: the program states them, though as no metric.

Samples::

    pass 2 tensor(nan, device='cuda:0', grad_fn=<CopyBackwards>)         (DeepSpeedExamples)
    loss/total                      : nan                                (EasyEdit)
    hidden_states mean: nan max: nan
    tensor([[nan, nan, nan]], device='cuda:0', dtype=torch.float16)

An Inf printed so is left alone: masks and running minima hold it by design.
"""

from __future__ import annotations

import math
import re

from nanautopsy.readers.text.dialect import Dialect, Handler, Line, Log
from nanautopsy.readers.text.fields import Field, fields
from nanautopsy.readers.text.named_layer import layer
from nanautopsy.readers.text.named_quantity import quantity
from nanautopsy.readers.text.tensor_flags import is_counted
from nanautopsy.readers.text.vagueness import is_vague
from nanautopsy.readers.text.words import may_join

_TENSOR = re.compile(r"\b(?:tensor|Tensor|array|Array)\([\[\s]*-?nan\b")
_SETTING = re.compile(
    r"\b(?:(?:fill|default|na_|missing|placeholder|ignore|pad)\w*|(?:relative|cosine|ratio)\b)",
    re.IGNORECASE,
)
"""What is written where there is no value, and what has none over 0."""


_SCORE = re.compile(
    r"(?:^|[\W_\d])(?:k?fid|is|inception|au(?:ro)?c|auprc|m?ap\d*|f1|r2|psnr|ssim|lpips|bleu|rouge\w*|wer|cer"
    r"|m?iou|dice|ndcg|mrr|pearson|spearman|corr\w*|acc\w*|precision|recall|hit\w*|(?:val|valid|test|eval|best)\w*)"
    r"(?:$|[\W_])",
    re.IGNORECASE,
)
"""Scores that many programs compute every few epochs, and print as NaN until the first of them."""
_SOUND = 2
"""Finite numbers with a fraction beside a score that make the line a row of a sound training."""


def _on_line(log: Log, line: Line) -> None:
    text = line.text
    tensor = _TENSOR.search(text)
    if tensor is not None:
        text = text[: tensor.start()]
        named = text
    else:  # other numbers of the line are of other quantities
        named = ", ".join(field.key for field in _named(line))
    log.event(
        "nonfinite-text",
        line,
        value="nan",
        quantity=quantity(named) or "value",
        layer=layer(text),
        printed=True,
    )


def _plan(line: Line, lower: str) -> Handler | None:
    text = line.text
    if len(text) > 2000 or _SETTING.search(text) or is_counted(text):
        return None
    tensor = _TENSOR.search(text)
    if is_vague(text[: tensor.start()] if tensor else text):
        return None
    if tensor:
        return _on_line
    named = _named(line)
    return _on_line if named and not _is_unscored(line, named) else None


def _is_unscored(line: Line, bad: list[Field]) -> bool:
    """Whether only scores are NaN, beside numbers of training that are not."""
    sound = [f for f in fields(line.parts) if f.index >= 0 and f.explicit and not f.whole]
    return len(sound) >= _SOUND and all(_SCORE.search(field.key) for field in bad)


def _named(line: Line) -> list[Field]:
    """The fields that are NaN and have a name."""
    return [
        field
        for field in fields(line.parts)
        if field.index < 0
        and math.isnan(field.const)
        and field.explicit
        and field.key
        and may_join(field.key)
    ]


DIALECT = Dialect(
    name="printed-values",
    triggers=("nan", "tensor(nan", "nan,", "nan]"),
    plan=_plan,
    leftover=True,
    statement=True,
)
