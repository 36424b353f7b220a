"""What programs say that pick what fits out of a checkpoint by themselves.

Samples::

    restored 12/38 parameters from /models/base.pt
    Loaded 0 of 291 tensors
    Missing keys: ['head.weight', 'head.bias']
    params not in checkpoint, left as constructed: ['mask_token', 'decoder.weight']
    213 keys of the checkpoint were not found in the model
    skip loading head.weight: checkpoint shape (1000, 768) vs model (10, 768)
    model.pt does not match the model: missing ['blocks.0.w'], unexpected ['layers.0.w']
    state dict: 14 missing, 3 unexpected
      unexpected: layers.0.scales, layers.0.zeros, layers.1.scales
    missing keys in source state_dict: head.fc.weight, head.fc.bias                  (mmengine)
    Transferred 319/355 items from pretrained weights                             (Ultralytics)
    Filter out ctc.weight from pretrained dict because of name not found in target dict  (ESPnet)
    A total of 2 objects could not be loaded.                                            (Keras)
    Ignoring checkpoint entry layers_0/post_norm/scale (no such parameter in the model)
    14 leaves only in model, 6 only in checkpoint
"""

from __future__ import annotations

import re

from nanautopsy.readers.text.dialect import Dialect, Handler, Line, Log, Take
from nanautopsy.readers.text.load_report import REPORT_LINES, Keys

_SHARE = re.compile(
    r"\b(?:load(?:ed|ing)|restored|restoring|initiali[sz]ed|copied|matched|found|transferred)\b"
    r"\W{0,3}(?:weights? (?:for|of)\s+)?(\d{1,7})\s*(?:/|of|out of)\s*(\d{1,7})\s+(?:\w+ )?"
    r"(?:param(?:eter)?s?|tensors?|keys?|weights?|layers?|modules?|variables?|arrays?|leaves"
    r"|entries|from (?:the )?(?:pre-?trained|checkpoint|weights))\b",
    re.IGNORECASE,
)
_SHARE_FIRST = re.compile(
    r"(?<![\w.])(\d{1,7})\s*(?:/|of|out of)\s*(?:the )?(\d{1,7})\s+(?:\w+ )?"
    r"(?:param(?:eter)?s?|tensors?|keys?|weights?|layers?|modules?|variables?|arrays?|leaves"
    r"|entries)"
    r"\b (?:(?:were|are|was|could be) )?(?:load(?:ed)?|restored|initiali[sz]ed|copied|matched|found"
    r"|taken|used|transferred|from)\b",
    re.IGNORECASE,
)
_BARE = (
    r"\b{0}\b(?: (?:ones|names|tensors|entries|params?|parameters?|weights|leaves|arrays?|keys?))?"
    r"(?: (?:in|from) (?:the )?(?:file|checkpoint|ckpt|model|source|target|archive"
    r"|state(?:_dict)?))?"
    r"(?:\s*[:=]?\s*(?=[\[{{]\s*['\"\w])|\s*[:=]\s*(?:(\d{{1,7}})\b|(?=\w+\.[\w.]+\w, )))"
    r"|(?<![\w.])(\d{{1,7}}) {0}(?=\s*(?:$|[,;/.)&]|and\b))"
)
"""A list or a count behind or before the word alone, as programs that compare key sets print it;
that it is of keys, the other words of the line say."""
_LEFT_AS_IS = (
    r"\b(?:left|kept|remain(?:ing|s)?|stay(?:ing|s)?) (?:at|as|with|on) (?:their |its )?"
    r"(?:initial|random|fresh|init|built|construct|creat|default|declar)\w*(?: \w+)?\s*:\s*"
    r"(?=[\[{(]\s*(?:['\"]\w|\w+[./]))"
)
_ONLY_IN = (
    r"(?<![\w.])(\d{{1,7}})(?: (?:leaves|leaf|keys?|param\w*|tensors?|arrays?|entries|weights))? "
    r"(?:are |is |exist )?only in (?:the )?{0}\b"
)
_OF_STATE = re.compile(r"optim|schedul|slot|moment|accumulator|scaler", re.IGNORECASE)
_OF_KEYS = re.compile(
    r"keys?\b|state[_ ]?dict|\bload(?:ed|ing)?\b|checkpoint|ckpt|weights|\bmodel\b|tensors|param",
    re.IGNORECASE,
)
_WORDS = (
    r"(?:[_ ](?:lora|adapter|model|weight|param\w*|state[_ ]?dict))?[_ ]key(?:s\b|\(s\)|\b)"
    r"(?: in (?:the )?\w+)?(?: ?\(\d{1,7}\)(?=:))?(?!=)"
)
_IN_BRACKETS = re.compile(r"[_ ]keys?(?: in (?:the )?\w+)? ?\((\d{1,7})\):", re.IGNORECASE)
"""``Missing keys (24): blocks.0.w, blocks.1.w, ...``"""
_OWN_WORDS = (
    (
        "weights-newly-initialized",
        re.compile(
            rf"(?:(\d{{1,7}})\s+)?\bmissing{_WORDS}(?:\s*:\s*(\d{{1,7}})\b)?"
            r"|(\d{1,7}) keys? (?:are |were )?missing\b|\bmissing (\d{1,7}) keys?\b"
            rf"|{_BARE.format('missing')}|{_LEFT_AS_IS}|\bweights (?:of|in) [^\[:]{{1,80}}?"
            rf" not initiali[sz]ed\b"
            r"|(\d{1,7}) (?:objects?|layers?|variables?) could not be loaded\b"
            rf"|{_ONLY_IN.format('(?:model|target|template|tree|module)')}"
            r"|\b(?:keys|param\w*|weights|tensors|modules) (?:absent|missing"
            r"|not (?:found|present|contained|available)) (?:in|from) (?:the )?(?:\w+ ){0,2}"
            r"(?:checkpoint|ckpt|state(?:[_ ]?dict)?|file|snapshot|archive)\s*:\s*(?=[\[{(])",
            re.IGNORECASE,
        ),
    ),
    (
        "weights-not-used",
        re.compile(
            rf"(?:(\d{{1,7}})\s+)?\bunexpected{_WORDS}(?:\s*:\s*(\d{{1,7}})\b)?"
            r"|(\d{1,7}) keys? (?:are |were )?unexpected\b|\bunexpected (\d{1,7}) keys?\b"
            r"|\b(?:weights|keys|tensors|param\w*) (?:from|of|in) [^\[:]{1,80}?\bnot used\b"
            rf"|{_BARE.format('(?:unexpected|unused|extra)')}"
            r"|\bnot (?:consumed|used|needed|matched|taken)\b\s*:\s*(?=[\[{(]\s*['\"]?\w+[./])"
            r"|(?:(\d{1,7})\s+)?\bkeys? (?:in|of|from) (?:the )?(?:checkpoint|state_?dict)\b"
            r".{0,20}\bnot (?:found|in|used|present|matched)\b"
            rf"|{_ONLY_IN.format('(?:checkpoint|ckpt|file|source|archive|saved tree)')}",
            re.IGNORECASE,
        ),
    ),
)
_OF_ALL = re.compile(r"\s*(?:/|of|out of)\s*(?:the )?(\d{1,7})\b")
"""Behind a count: of how many."""
_QUOTED = re.compile(r"['\"]([^'\"]{1,300})['\"]")
_BRACKET = re.compile(r"[\[{(]([^\[\]{}()]*)[\]})]")
_BARE_LIST = re.compile(r"\bstate[_ ]?dict\s*:\s*([A-Za-z_][\w.]*(?:,\s*[A-Za-z_][\w.]*)*)\s*$")
_NAME = re.compile(r"(?<![\w./])[A-Za-z_]\w*(?:[./]\w+)+")
_LISTED = re.compile(
    r"\W*(?:(missing|unexpected|unused|extra)\b(?: \w+)?\s*[:=]\W*)?"
    rf"({_NAME.pattern}['\"]?(?:[,;]? ['\"]?{_NAME.pattern}['\"]?)*)\W*(?:and \d+ more.*)?$",
    re.IGNORECASE,
)
"""A line of keys alone, or behind the word for them."""
_SKIPPED = re.compile(
    r"(?:\bskip(?:ping|ped)?\b|\bignor(?:ing|ed)\b|\bsize mismatch for\b|\bshape mismatch\b)"
    r"(?: (?:loading|key|param(?:eter)?|weight|layer|tensor|for))*[ :'\"`]+([A-Za-z_][\w.]*\.\w+)"
    r"\b.*(?:shape|size|\()"
    r"|^\W*(?:\w+ ){0,2}['\"`]?([A-Za-z_]\w*(?:[./]\w+)+)['\"`]?\s*[:|,-]?\s.*?"
    r"[(\[]\d+(?:, ?\d+)*,?[)\]].{1,40}[(\[]\d+(?:, ?\d+)*,?[)\]].*?"
    r"\b(?:left out|skipp?(?:ed|ing)|ignor(?:ed|ing)|not (?:loaded|copied|restored|used)"
    r"|mismatch\w*"
    r"|differ(?:s|ent)?|dropped|discarded|kept|re-?init\w*)\b",
    re.IGNORECASE,
)

_DROPPED = re.compile(
    r"\b(?:filter(?:ed|ing)? out|drop(?:ped|ping)?|discard(?:ed|ing)?|remov(?:ed|ing)"
    r"|skip(?:ped|ping)?|ignor(?:ed|ing)|exclud(?:ed|ing))"
    r"(?: (?:the|key|param(?:eter)?|weight|layer|tensor))*[ :'\"`]+"
    r"([A-Za-z_]\w*(?:[./]\w+)+)['\"`]?.{0,60}?"
    r"\b(?:not (?:found |present |used |existing )?in|no (?:such \w+|match\w*|place|counterpart) in"
    r"|(?:absent|missing) (?:from|in)|unknown to)\b"
    r".{0,24}\b(?:target|model|network|module|net|architecture)\b",
    re.IGNORECASE,
)
"""A tensor of the checkpoint that the model has no place for."""
_OF_TENSORS = re.compile(
    r"\b(?:\w{0,20}dict|checkpoint|ckpt|pre-?trained|weights?|keys?|param\w*|tensors?)\b", re.I
)


_PLACE = r"[A-Za-z_]\w*(?:[./]\w+)+(?<!\.json)(?<!\.txt)(?<!\.yml)(?<!\.yaml)(?<!\.py)"
_UNPLACED = re.compile(
    r"\b(?:ignor|skipp?|drop?p)(?:ed|ing)\b(?! load)[^.;:(]{0,40}?[ '\"`]"
    rf"(?P<first>{_PLACE})['\"`]?[\s:,(-]+(?:\w+ )?"
    r"(?:no such \w+|not in|no (?:matching |such )?(?:param\w*|place|variable)|unknown|unexpected"
    r"|has no) ?(?:param\w*|place|variable|counterpart)? ?(?:in )?(?:the )?(?:model|module|target"
    r"|tree)\b"
    rf"|(?P<second>{_PLACE})['\"`]?[\s:,(-]+(?:is |are )?(?:in (?:the )?(?:checkpoint|ckpt"
    rf"|file) but )?"
    r"not (?:a |part of )?(?:in |used by )?(?:the )?(?:model|module|target)\b(?!\w*\.)",
    re.IGNORECASE,
)
"""One tensor of the checkpoint that the model has no place for."""
_NOT_TAKEN = re.compile(
    rf"(?P<first>{_PLACE})['\"`]?\W{{1,3}}(?:was |is )?not (?:restored|loaded|copied|taken)\b"
    r".{0,12}\b(?:shape|size)s?\b.*\d",
    re.IGNORECASE,
)


def _on_share(log: Log, line: Line) -> None:
    """How many of the model's parameters a loader found."""
    share = _SHARE.search(line.text) or _SHARE_FIRST.search(line.text)
    if share is None:
        return
    found, total = int(share[1]), int(share[2])
    if found < total:
        log.event("weights-newly-initialized", line, count=total - found, total=total)


def _on_keys(log: Log, line: Line) -> None:
    """Keys that a program lists, or counts, by itself; a count's keys may stand below it."""
    text = line.raw.decode("utf-8", "replace")
    found = [(match, kind) for kind, words in _OWN_WORDS if (match := words.search(text))]
    found.sort(key=lambda pair: pair[0].start())
    ends = [match.start() for match, _ in found[1:]] + [len(text)]
    counts: dict[str, int] = {}
    totals: dict[str, int | None] = {}
    listed: dict[str, Keys] = {}
    for (match, kind), end in zip(found, ends, strict=True):
        keys = listed.setdefault(kind, Keys())
        part = text[match.start() : end]
        keys.extend(_QUOTED.findall(part) or _unquoted(part))
        said = _IN_BRACKETS.search(part)
        group = said[1] if said else next((group for group in match.groups() if group), None)
        counts[kind] = int(group or 0)
        share = _OF_ALL.match(text, match.end()) if counts[kind] else None
        totals[kind] = int(share[1]) if share else None

    def take(line: Line) -> Take:
        match = _LISTED.match(line.text)
        kind = _kind_of(match[1]) if match and match[1] else next(reversed(listed))
        if match is None or kind not in listed or listed[kind].count >= counts[kind]:
            return Take.NOT_MINE
        listed[kind].extend(_NAME.findall(match[2]))
        return Take.MORE

    def end_of_list() -> None:
        for kind, keys in listed.items():
            if count := max(counts[kind], keys.count):
                log.event(kind, line, keys=keys.names, count=count, total=totals[kind])

    if any(counts[kind] > keys.count for kind, keys in listed.items()):
        log.follow(line, take, end_of_list, REPORT_LINES)
    else:
        end_of_list()


def _kind_of(word: str) -> str:
    return "weights-newly-initialized" if word.lower() == "missing" else "weights-not-used"


def _unquoted(text: str) -> list[str]:
    """The names of a list that is printed without quotes; behind ``state_dict:`` they may be those
    of a model's own parameters (mmengine)."""
    text = re.sub(r",?\s*(?:\.\.\.|\u2026)\s*$", "", text.rstrip().rstrip(",;"))
    bracket = None if _IN_BRACKETS.search(text) else _BRACKET.search(text)
    if bracket is None and (bare := _BARE_LIST.search(text)):
        return re.split(r",\s*", bare[1])
    listed = text.partition(":")[2] if bracket is None else bracket[1]
    names = re.split(r",\s*", listed.strip())
    return names if all(_NAME.fullmatch(name) for name in names) else []


def _dropped(text: str) -> re.Match[str] | None:
    """What is left out: a tensor, where the line speaks of tensors, and no sample of the data."""
    return _DROPPED.search(text) if _OF_TENSORS.search(text) else None


def _on_skipped(log: Log, line: Line) -> None:
    """One line for each tensor of another shape: one event for those that follow each other."""
    keys = Keys()
    origin = line

    def take(line: Line) -> Take:
        match = _SKIPPED.search(line.text)
        if match is None:
            return Take.NOT_MINE
        keys.add(match[1] or match[2])
        return Take.MORE

    def end() -> None:
        log.event("weights-mismatched", origin, keys=keys.names, count=keys.count)

    take(line)
    log.follow(line, take, end, REPORT_LINES)


def _one_by_one(kind: str, pattern: re.Pattern[str]) -> Handler:
    """A reader of lines that name one tensor each: those that follow each other are one event."""

    def on_line(log: Log, line: Line) -> None:
        keys = Keys()
        origin = line

        def take(line: Line) -> Take:
            match = pattern.search(line.text)
            if match is None:
                return Take.NOT_MINE
            keys.add(next(filter(None, match.groups())))
            return Take.MORE

        def end() -> None:
            log.event(kind, origin, keys=keys.names, count=keys.count)

        take(line)
        log.follow(line, take, end, REPORT_LINES)

    return on_line


def _plan(line: Line, lower: str) -> Handler | None:
    text = line.text
    if "incompatiblekeys(" in lower or "some weights of" in lower or "example error mess" in lower:
        return None
    if not _OF_STATE.search(text) and (_SHARE.search(text) or _SHARE_FIRST.search(text)):
        return _on_share
    if _dropped(text) is not None:
        return _one_by_one("weights-not-used", _DROPPED)
    if _SKIPPED.search(text) is not None:
        return _on_skipped
    for kind, pattern in (("weights-not-used", _UNPLACED), ("weights-mismatched", _NOT_TAKEN)):
        if len(text) <= 400 and pattern.search(text) is not None:
            return _one_by_one(kind, pattern)
    named = any(pattern.search(text) for _, pattern in _OWN_WORDS)
    listed = _NAME.search(text) is not None
    return _on_keys if named and (listed or _OF_KEYS.search(text)) else None


DIALECT = Dialect(
    name="load-words",
    triggers=(
        "missing key", "missing_key", "unexpected key", "unexpected_key", "keys in", "keys of",
        "keys from", "key in", "missing", "unexpected", " leaves", " entries",
        "left at", "left out", "not consumed", "differ", "not be loaded", "not used",
        "not initiali", " parameters", " params", " tensors", " keys", " weights", " layers",
        " modules", " variables", " arrays", "skip", "ignor", "mismatch",
        "not restored", "not copied",
        "transferred", "filter out", "filtered out", "discarding", "dropping key", "absent",
    ),
    plan=_plan,
)  # fmt: skip
