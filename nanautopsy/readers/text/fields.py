"""The named numbers of a line: ``loss: nan``, ``| lr 5.0e-06``, ``Epoch [1/10]``, ``12/400 [``."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from nanautopsy.readers.text.numbers import NONFINITE, word_value
from nanautopsy.readers.text.words import words

_WINDOW = 120
_MAX_FIELDS = 512
"""More numbers than a line of metrics has."""
_WRAPPER = re.compile(
    r"(?:\b(?:np\.|numpy\.|jnp\.)?(?:tensor|array|float(?:16|32|64)?|Array|DeviceArray|Tensor|"
    r"Decimal)\(|[\s\[\"'`#]|\$)+$"
)
_DELIMITERS = re.compile(
    r"[,;|{}\[\]()\t\"'<>*#!?]|\s{2,}|:\s+|:(?=[A-Z])|\s-\s|=+\s?|→|━|█|[，；、：。]"
)
_DASH = re.compile(r"[A-Za-z] -$")
_BARS = re.compile(
    r"(?:^|[^\w|])((\|{1,2})[A-Za-z\u2207\u03b8]\w{0,9}\2)"
    r"(?:_?[2\u2082])?(?: (?:total|norm|l2|all|global))?$"
)
_BARS_OF = re.compile(
    r"(?:^|[^\w|])"
    r"((\|{1,2})[A-Za-z\u2207]\w{0,9}\2 (?:before|after|pre|post)[ _-]?[A-Za-z_]{0,20})$"
)
"""The same with its moment: ``|g| after reduce=``."""
_OF_PATH = re.compile(r"([A-Za-z_]\w*)\[['\"]?(\w[\w./]*)['\"]?\]$")
"""A quantity of a part of the model: ``act_rms[layers.0]=``, ``act[4]=``."""
_OF_QUANTITY = re.compile(
    r"\b(grads?|gradients?|activations?|weights?|params?|logits?)"
    r" \(((?:l2[ -]?)?norm|(?:abs[ -]?)?max|absmax|rms|mean|std)$",
    re.IGNORECASE,
)
"""A statistic in parentheses behind what it is of: ``bad gradient (norm=nan)``."""
_RANKED = re.compile(r"[A-Za-z]@$")
_VALUE_FOLLOWS = re.compile(r"(?:\s*[:=]\s*|\s+)-?$")
"""Nothing but the space between a name and its number."""
_ORDINAL_END = re.compile(r"^\s*个?(?:步|轮|次迭代|批)\s+")
_LABEL = re.compile(
    r"\((?:tra?i?n?|val?|valid|te?st|eval|(?:after|before|pre|post)[ _-][a-z]{1,12})\)",
    re.IGNORECASE,
)
"""Behind a name: ``loss(train) 0.3``, ``grad_norm(after reduce) 0.6``."""
_STOP = frozenset(
    "with and the a an of is was were got has had on in from to by for while when info warning"
    " debug root this that reached at after its new my current metric monitored final finished"
    " then now over -".split()
)
_MEMBER = re.compile(r"\](?:[._](\w+))?\s?[=:]\s?-?$")
"""Between the index of a part and its number."""
_FEWEST_MEMBERS = 2
_OPENS = re.compile(r"([\w/.]+\s?[=:])\s?[(\[]\s*-?$")
_OF_GROUPS = frozenset("lr rate mom momentum beta betas".split())
"""Words of lists over parameter groups, of which the first stands for all."""
_GOES_ON = re.compile(r",\s*-?")
"""Between the numbers of a list."""
_PLUS = re.compile(r"(?<=[:=])\s*\+$|(?<=[A-Za-z_]\s)\+$")
"""Of a number that is written with its sign: ``loss=+0.31``, ``elbo +1.2``."""
_CARRIED = re.compile(r"([A-Za-z][\w/.\- ]*?)\s+(?:at|after|in|for|on|@)\s+[\w ]*$")


@dataclass(frozen=True, slots=True)
class Field:
    """One number of a line and what stands around it."""

    key: str
    """Its name, empty when it has none."""
    explicit: bool
    """``:`` or ``=`` stands between name and number."""
    index: int
    """Which of the line's numbers it is; -1 for a word such as ``nan``."""
    const: float
    """The value of such a word."""
    negative: bool
    before: str
    """Text between the field before and this one."""
    after: str
    """Text up to the next field."""
    whole: bool = False
    """In the line at hand it is written as a whole number."""
    carried: str = ""
    """A name that stands before this field and belongs to the next: ``loss at step 5: 0.3``."""
    factor: float = 1.0
    """What its unit stands for: 1000 for ``1.2K``."""
    groups: int = 0
    """How many numbers behind it are its lower digits: 1 for ``12,000``."""


def fields(parts: list[bytes]) -> list[Field]:
    """All numbers of a line, finite or not, in order."""
    pieces: list[tuple[str, int, float, bool]] = []  # text before, index, constant, negative
    before = ""
    for i in range(0, min(len(parts), 2 * _MAX_FIELDS), 2):
        text = parts[i].decode("utf-8", "replace")
        start = 0
        if b"n" in parts[i] or b"N" in parts[i] or b"#" in parts[i]:
            for match in NONFINITE.finditer(text):
                pieces.append(
                    (text[start : match.start()], -1, word_value(match[2]), match[1] == "-")
                )
                start = match.end()
        before = text[start:]
        if i + 1 < len(parts):
            sign = before[-1:]
            pieces.append((before, i // 2, 0.0, sign == "-"))
            before = ""
    pieces, before = _with_ranks(pieces, before, parts)
    if not pieces:
        return []
    afters = [piece[0] for piece in pieces[1:]] + [before]
    found = [
        _field(before, index, const, negative, after, parts)
        for (before, index, const, negative), after in zip(pieces, afters, strict=True)
    ]
    if any(_MEMBER.match(f.before) for f in found[1:]):
        found = _members(found, parts)
    return _of_lists(found) if any(_OPENS.search(f.before[-_WINDOW:]) for f in found) else found


def _of_lists(found: list[Field]) -> list[Field]:
    """Numbers of a list, each under the list's name and its place: ``attn_max=(1680, 1860)``."""
    named, i = list(found), 0
    while i < len(found):
        opened = _OPENS.search(found[i].before[-_WINDOW:])
        end = i + 1
        while end < len(found) and _GOES_ON.fullmatch(found[end].before):
            end += 1
        name = name_before(opened[1])[0] if opened else ""
        closes = found[end - 1].after.lstrip()[:1] in (")", "]")
        of_parts = name and _OF_GROUPS.isdisjoint(words(name)) and end - i >= _FEWEST_MEMBERS
        if of_parts and closes:
            for place in range(i, end):
                named[place] = replace(found[place], key=f"{name}/{place - i}", explicit=True)
        i = end
    return named


def _members(found: list[Field], parts: list[bytes]) -> list[Field]:
    """Numbers of several parts of a model that are told apart by an index: ``act[0]=1.2 act[2]=3``.

    One alone may be another part on another line of the same shape.
    """
    named: dict[int, tuple[str, str]] = {}
    for i in range(1, len(found)):
        member, place = _MEMBER.match(found[i].before), found[i - 1]
        if member is None or not place.whole or not place.before.endswith("["):
            continue
        quantity = name_before(place.before[:-1] + "=")[0]
        if quantity:
            number = parts[2 * place.index + 1].decode("ascii", "replace")
            statistic = f"_{member[1]}" if member[1] else ""
            named[i] = (f"{quantity}{statistic}", number)
    if len({number for _, number in named.values()}) < _FEWEST_MEMBERS:
        return found
    for i, (quantity, number) in named.items():
        found[i] = replace(found[i], key=f"{quantity}/{number}", explicit=True)
        found[i - 1] = replace(found[i - 1], key="", explicit=False)
    return found


def _with_ranks(
    pieces: list[tuple[str, int, float, bool]], last: str, parts: list[bytes]
) -> tuple[list[tuple[str, int, float, bool]], str]:
    """With the rank that a measure is taken at as a part of its name: ``Acc@1  93.75``."""
    if not any(before.endswith("@") for before, *_ in pieces):
        return pieces, last
    kept: list[tuple[str, int, float, bool]] = []
    named = ""
    for i, (before, index, const, negative) in enumerate(pieces):
        text = named + before
        after = pieces[i + 1][0] if i + 1 < len(pieces) else last
        if index >= 0 and _RANKED.search(before) and _VALUE_FOLLOWS.match(after):
            named = text + parts[2 * index + 1].decode()
            continue
        kept.append((text, index, const, negative))
        named = ""
    return kept, named + last


def _field(
    before: str, index: int, const: float, negative: bool, after: str, parts: list[bytes]
) -> Field:
    key, explicit = name_before(before[:-1] if negative and index >= 0 else before)
    carried = _CARRIED.search(before[-_WINDOW:])
    name = _trim(_DELIMITERS.split(carried[1])[-1]) if carried else ""
    whole = index >= 0 and parts[2 * index + 1].rstrip(b".").isdigit()
    return Field(key, explicit, index, const, negative, before, after, whole, name)


def name_before(text: str) -> tuple[str, bool]:
    """(name, whether a separator follows it) at the end of the text before a number."""
    text = _PLUS.sub("", _WRAPPER.sub("", text[-_WINDOW:].replace("\u2016", "||")))
    if _DASH.search(text):
        text = text.rstrip("- ") + ":"  # of a name: loss - 0.3
    explicit = text.endswith((":", "=", "："))
    if explicit:
        if text.endswith(("==", "!=", "<=", ">=", "+=", "-=", "*=", "::")):
            return "", False
        text = _WRAPPER.sub("", text[:-1])
    elif text.endswith(("(", "+", "*", "<", ">", "/", "^")):
        return "", False
    if explicit and (of_path := _OF_PATH.search(text)):
        return f"{of_path[1]}/{of_path[2]}", explicit
    if explicit and (of_quantity := _OF_QUANTITY.search(text)):
        return f"{of_quantity[1]} {of_quantity[2]}", explicit
    if bars := _BARS.search(text.rstrip()) or _BARS_OF.search(text.rstrip()):
        return bars[1], explicit
    text = _LABEL.sub("", text)
    return _trim(_DELIMITERS.split(text)[-1]), explicit


def _trim(phrase: str) -> str:
    """The last words of a phrase, up to four, that can be a name."""
    words = _ORDINAL_END.sub("", phrase).split()
    while words and words[-1].lower() in ("of", "at", "is", "was", "="):
        words.pop()
    kept: list[str] = []
    for word in reversed(words[-4:]):
        # An arrow, a dash, an emoji; bytes that are no text are damage.
        is_sign = not any(map(str.isalnum, word)) and "\ufffd" not in word
        if is_sign or word.lower() in _STOP or word.endswith((".", ":")):
            break
        kept.append(word)
    name = " ".join(reversed(kept)).strip("-_.:/>&~ ")
    return name if name[:1].isalpha() or name[:1] == "_" else ""
