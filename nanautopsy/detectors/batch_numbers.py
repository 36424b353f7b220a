"""Logged numbers of a batch that reach a value at which a formula has no result.

A mean over targets of which there are none, a softmax over keys of which there are none, a
logarithm of what is 0: counts that fall to 0, counts of defects that rise from 0, and quantities
that were positive and are not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from nanautopsy import thresholds
from nanautopsy.detectors.interface import Detector
from nanautopsy.experts import has_experts
from nanautopsy.model import Finding, Run, Series
from nanautopsy.quantities import position
from nanautopsy.signal import shown
from nanautopsy.tag_words import words
from nanautopsy.wording import Phrase, phrase

_Words = frozenset[str]
_SPAN = frozenset("dur durs duration durations".split())
_EXTREME_OF = re.compile(r"(p|q|prob|var|sigma|std|det|len|deg|cos)(min|max)")
"""A quantity and its extreme in one word: ``teacher_pmin``."""
_BOUNDED = frozenset("y target targets label labels prob probs p pred preds".split())
_PERCENT = 100.0
_ROUNDED_ONE = 1 + 1e-5
"""What a cosine of float32 vectors comes to at most."""


def _of(text: str) -> _Words:
    return frozenset(text.split())


_TARGET = _of(
    "target targets label labels labeled labelled valid supervised unmasked trainable answer"
    " response completion positive positives pos pair pairs foreground fg matched boxes objects"
    " annotations gt matches keypoints instances triplets anchors"
)
_COUNT = _of(
    "num n count number tokens token tok toks targets labels positions pixels px pair pairs"
    " positives anchors boxes objects annotations matches keypoints instances triplets nodes"
)
_SHARE = _of("ratio fraction frac share pct percent coverage density prop proportion rate")
_PATCHES = _of("patches patch tokens toks positions pos frames nodes spans")
_LEARNED_FROM = _of(
    "tokens tok toks ntok ntoks ntokens px pixels pairs anchors boxes objects positions gt mask"
    " events uncensored triplets matches keypoints instances fg foreground"
)
"""What losses are means over."""
_OF_LOSS = (_of("loss tokens"), _of("loss toks"), _of("num loss tokens"), _of("n loss tokens"))
_SECTIONS = _of("train training batch step")
"""What a tag is filed under."""
_LEARNED = _of("supervised labeled labelled unmasked annotated")
"""What a count of targets is called without a noun."""
_SUMMED = _of("sum count n num")
_NOT_TARGETS = _of(
    "loss acc accuracy ignored masked vocab classes class length len lr grad norm ratio fraction"
    " frac max min mean std val validation eval test sec second seconds time total seen processed"
    " weight size pad padded padding gen generated keys key kv image causal"
)
_LENGTH = _of("len lens length lengths seqlen seqlens keys key kv")
_TOKENS = _of("tokens toks")
_ELEMENTS = _of(
    "points pts npts frames nframes nodes edges neighbors neighbours hist history words chars"
    " residues atoms degree deg patches voxels items clicks lines vertices"
)
"""Of which a sample is made."""
_SAMPLES = _of("samples graphs clouds sequences documents docs clips users sessions nodes")
_NO_ELEMENTS = _of(
    "max longest total seen processed sec second time lr loss grad norm per masked mask"
)
_OF_EXPERTS = _of("expert experts router moe gate load")
_LEAST = _of("min minimum shortest smallest least")
_ROWS = _of("rows row queries query sequences seqs samples sentences positions")
_EMPTIED = _of("masked empty without unattended blocked dead")
_PADDING = _of("pad pads padded padding")
_NOT_PADDING = _of("id side multiple mode token_id loss")
_ARGUMENT = _of(
    "min minimum std stddev sigma sigma2 var variance scale rate prob probability p density det"
    " determinant denominator denom"
)
_COSINE = _of("cos cosine cosines cosang cosangle costheta dot")
_EXTREME = _of("min max minimum maximum largest highest abs")
_POSITIVE = _of("std stddev sigma sigma2 var variance prob probability density rate scale")
"""What is negative by its definition nowhere."""
_NO_ARGUMENT = _of(
    "lr learning loss grad grads gradient reward rewards return advantage entropy acc accuracy kl"
    " score margin logit logits log logstd logvar fp time sec gpu mem best weight weights"
)


_NEITHER = (
    _NO_ARGUMENT | _LENGTH | _ELEMENTS | _of("img image input inp x y pixel mel label labels")
)


@dataclass(frozen=True, slots=True)
class _Rule:
    """What a number is, by the words of its tag, and the value that leaves no result."""

    finding: str
    names: Callable[[_Words], bool]
    first: Callable[[np.ndarray], int | None]
    usual: Phrase


def _fallen(values: np.ndarray) -> int | None:
    """The first 0 of a whole number that is 1 or more as a rule."""
    empty = np.flatnonzero(values == 0)
    if not len(empty) or float(np.median(values)) < 1 or (values != np.floor(values)).any():
        return None
    return int(empty[0])


def _risen(values: np.ndarray) -> int | None:
    """The first number above 0 of one that was 0 up to then."""
    above = np.flatnonzero(values > 0)
    if not len(above) or above[0] < thresholds.INPUT_HISTORY or (values < 0).any():
        return None
    return int(above[0])


def _left(values: np.ndarray) -> int | None:
    """The first number of 0 or less of one that was positive up to then."""
    below = np.flatnonzero((values <= 0) & np.isfinite(values))
    return int(below[0]) if len(below) and below[0] >= thresholds.INPUT_HISTORY else None


def _left_fractions(values: np.ndarray) -> int | None:
    """The same of numbers that are not all whole, as counts and lengths are."""
    known = values[np.isfinite(values)]
    return None if (known == np.floor(known)).all() else _left(values)


def _reached(values: np.ndarray) -> int | None:
    """The first 1 of shares that were below it up to then."""
    full = np.flatnonzero(values == 1)
    if not len(full) or full[0] < thresholds.INPUT_HISTORY:
        return None
    before = values[: full[0]]
    return int(full[0]) if ((before >= 0) & (before < 1)).all() else None


def _aligned(values: np.ndarray) -> int | None:
    """The first cosine of 1 or -1 of those that lay between them up to then; rounding may lead a
    little past."""
    sizes = np.abs(values)
    at = np.flatnonzero((sizes >= 1) & (sizes <= _ROUNDED_ONE))
    if not len(at) or at[0] < thresholds.INPUT_HISTORY:
        return None
    return int(at[0]) if (sizes[: at[0]] < 1).all() else None


def _ended(values: np.ndarray) -> int | None:
    """The first 0 of a length that was above 0 up to then."""
    empty = np.flatnonzero(values == 0)
    return int(empty[0]) if len(empty) and empty[0] >= thresholds.INPUT_HISTORY else None


def _at_bound(values: np.ndarray) -> int | None:
    """The first 0 or 1 of a share that was between them up to then."""
    at = np.flatnonzero((values == 0) | (values == 1))
    if not len(at) or at[0] < thresholds.INPUT_HISTORY:
        return None
    known = values[: at[0] + 1]
    return int(at[0]) if ((known >= 0) & (known <= 1)).all() else None


def _at_one(values: np.ndarray) -> int | None:
    """The first cosine of 1 or more in magnitude, of which the others were below it."""
    ends = np.flatnonzero(np.abs(values) >= 1)
    return int(ends[0]) if len(ends) and ends[0] >= thresholds.INPUT_HISTORY else None


def _negative(values: np.ndarray) -> int | None:
    """The first negative number."""
    below = np.flatnonzero(values < 0)
    return int(below[0]) if len(below) else None


def _vanished(values: np.ndarray) -> int | None:
    """The first 0 of a share that was above 0 up to then."""
    empty = np.flatnonzero(values == 0)
    if not len(empty) or empty[0] < thresholds.INPUT_HISTORY:
        return None
    known = values[np.isfinite(values)]
    return int(empty[0]) if (known >= 0).all() and (known <= _PERCENT).all() else None


def _is_share(have: _Words) -> bool:
    """``fg``, ``pos_ratio``, ``mask_frac``: how much of the batch is learned from."""
    named = have & (_TARGET | _of("mask masked event")) - _of("answer response completion")
    if have & _NOT_TARGETS - _SHARE - _of("masked"):
        return False
    return bool(named) and (bool(have & _SHARE) or have <= _of("fg foreground gt train batch"))


def is_element(have: _Words) -> bool:
    """Whether they are those of how many elements a sample has."""
    if have & _NO_ELEMENTS:
        return False
    return bool(have & _ELEMENTS) and bool(have & (_LEAST | _SUMMED | _of("number")))


def _is_target(have: _Words) -> bool:
    if ("mask" in have and have & _SUMMED) or have - _SECTIONS in _OF_LOSS:
        return True
    if have & _LEARNED and have <= _LEARNED | _SECTIONS:
        return True
    if "masked" in have and have & _PATCHES and not have & _NOT_TARGETS - _of("masked frac"):
        return True  # what a model of masked patches predicts
    if have & _NOT_TARGETS:
        return False
    return bool(have & _TARGET and have & _COUNT) or bool(have & _LEARNED_FROM)


def is_length(have: _Words) -> bool:
    """Whether the words are those of a shortest length, or a count of keys."""
    least = have & _LEAST or have & {"valid", "visible"}
    length = have & _LENGTH or (have & _TOKENS and not have & _OF_EXPERTS)
    return "shortest" in have or bool(length and least)


def _is_highest_probability(have: _Words) -> bool:
    return bool(have & _of("max maximum largest highest")) and bool(
        have & _of("p prob probs probability probabilities proba sigmoid")
    )


def _is_cosine(have: _Words) -> bool:
    extreme = have & (_LEAST | _of("max maximum largest"))
    return bool(have & _of("cos cosine cosines") and extreme) and not have & _NO_ARGUMENT


_RULES = (
    _Rule("no-targets", _is_target, _fallen, phrase("{usual} as a rule")),
    _Rule("no-targets", _is_share, _vanished, phrase("{usual} as a rule")),
    _Rule("no-keys", is_length, _fallen, phrase("{usual} as a rule")),
    _Rule(
        "no-keys",
        lambda have: bool(have & _ROWS and have & _EMPTIED),
        _risen,
        phrase("0 up to then"),
    ),
    _Rule("no-elements", is_element, _fallen, phrase("{usual} as a rule")),
    _Rule(
        "no-elements",
        lambda have: bool(have & _SAMPLES and have & _of("empty isolated")),
        _risen,
        phrase("0 up to then"),
    ),
    _Rule(
        "no-elements",
        lambda have: bool(have & _SPAN and have & _LEAST),
        _ended,
        phrase("{usual} as a rule"),
    ),
    _Rule(
        "left-domain",
        lambda have: bool(have & _BOUNDED and have & _of("min max")) and not have & _of("loss len"),
        _at_bound,
        phrase("between 0 and 1 up to then"),
    ),
    _Rule("no-elements", lambda have: have == {"isolated"}, _risen, phrase("0 up to then")),
    _Rule(
        "padding-begins",
        lambda have: bool(have & _PADDING) and not have & _NOT_PADDING,
        _risen,
        phrase("0 up to then"),
    ),
    _Rule("left-domain", _is_cosine, _at_one, phrase("below 1 up to then")),
    _Rule("left-domain", _is_highest_probability, _reached, phrase("below 1 up to then")),
    _Rule(
        "left-domain",
        lambda have: bool(have & _COSINE and have & _EXTREME) and not have & _NO_ARGUMENT,
        _aligned,
        phrase("below 1 up to then"),
    ),
    _Rule(
        "left-domain",
        lambda have: bool(have & _POSITIVE) and not have & _NO_ARGUMENT,
        _negative,
        phrase("cannot be negative"),
    ),
    _Rule(
        "left-domain",
        lambda have: bool(have & _ARGUMENT - _LEAST) and not have & _NEITHER,
        _left,
        phrase("positive up to then"),
    ),
    _Rule(
        "left-domain",
        lambda have: bool(have & _ARGUMENT & _LEAST) and not have & _NEITHER,
        _left_fractions,
        phrase("positive up to then"),
    ),
)


def _detect(run: Run) -> Iterator[Finding]:
    mixture = has_experts(run)
    for series in run.by_role("other", "counter"):
        have = _apart(words(series.tag.replace("w/o", "without")))
        if mixture and have & _TOKENS:
            have |= _OF_EXPERTS  # the fewest tokens may be those of an expert
        for rule in _RULES:
            index = rule.first(series.values) if len(series) > 1 and rule.names(have) else None
            if index is not None:
                yield _finding(rule, series, index)
                break


def _apart(parts: Iterable[str]) -> _Words:
    joined = [m.groups() if (m := _EXTREME_OF.fullmatch(word)) else (word,) for word in parts]
    return frozenset(word for words_of in joined for word in words_of)


def _finding(rule: _Rule, series: Series, index: int) -> Finding:
    usual = phrase(rule.usual, usual=shown(float(np.median(series.values))))
    return Finding(
        id=rule.finding,
        text=phrase(
            "{tag} is {value} at {place}, and {usual}",
            tag=series.tag,
            value=shown(float(series.values[index])),
            place=position(series.axis, int(series.steps[index])),
            usual=usual,
        ),
        source=series.at(index),
        step=int(series.steps[index]),
        last_good=int(series.steps[index - 1]) if index else None,
        data={"tag": series.tag, "axis": series.axis, "value": float(series.values[index])},
    )


DETECTOR = Detector("batch-numbers", _detect)
