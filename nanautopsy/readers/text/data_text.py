"""Lines in which the program says what is odd about its data: no label left, a text of no token,
an image of one color.

Samples::

    WARNING: tokenization mismatch: 102 vs. 104. (ignored)                              (LLaVA)
    ZeroDivisionError: Unsloth: All labels in your dataset are -100.                   (Unsloth)
    example 812: prompt length 2071 >= max_length 2048, the response was truncated away
    batch 41 contains 1 empty sequence (length 0 after tokenization)
    12 query rows have no visible key
    img_00231.png: constant image (std=0)
    could not decode 0412.jpg, using zeros
    depth_0031.exr: 40 invalid pixels
    decoded 0 frames from clip_0412.mp4

Whether it did harm is told by what stands beside it. What was left out or filled in does none.
"""

from __future__ import annotations

import re

from nanautopsy.readers.text.dialect import Dialect, Handler, Line, Log

_LABEL = (
    r"(?:labels?|targets?|answers?|responses?|completions?|annotations?|ground[ -]truths?"
    r"|(?:label|target|response|completion|answer|assistant|supervised|masked|trainable|output)"
    r"[ _-](?:tokens?|pixels?|positions?)|positives?|positive (?:pairs?|anchors?|samples?)|boxes)"
)
_SEQUENCE = (
    r"(?:sequences?|texts?|captions?|prompts?|sentences?|documents?|utterances?|contexts?"
    r"|strings?|neighbou?rhoods?)"
)
_SAMPLE = (
    r"(?:images?|img|inputs?|feats?|x|samples?|examples?|frames?|records?|rows?|files?|clips?|videos?"
    r"|audio|utts?|utterances?"
    r"|waveforms?|signals?|spectrograms?|scans?|volumes?|patches|columns?|features?|channels?"
    r"|sensors?|readings?|graphs?|point clouds?|depth|pixels?|edges?|nodes?|shards?"
    r"|[\w/-]+\.(?:png|jpe?g|tiff?|exr|npy|npz|wav|flac|mp4|csv|parquet|pt|h5|json))"
)
_ELEMENTS = (
    r"(?:frames?|points?|nodes?|edges?|pixels?|atoms?|voxels?|vertices|items?|interactions?|clicks?"
    r"|neighbou?rs?|words?|residues?|audio samples?)"
)
_LEVEL = (
    r"\b(?:(?:peak|max(?:imum)?|min(?:imum)?|abs ?max|largest|highest)[ _-](?:abs(?:olute)? )?"
    r"(?:amplitudes?|intensit(?:y|ies)|pixel(?: values?)?|sample values?|input values?"
    r"|sound pressure|waveform)"
    r"|(?:amplitude|intensity|waveform|pixel|audio)[ _-](?:peak|max(?:imum)?|abs ?max|range))"
)
"""How far what is fed reaches: ``peak amplitude``."""
_NO_LEVEL = r"(?:nan|inf(?:inity)?|\d(?:\.\d+)?e\+(?:[1-9]\d))\b"
_DRAWN = r"[-+]?\d+\.\d*[1-9][\d.e+-]*"
"""A number that was measured; the ends of a domain are whole: ``[0, inf]``."""
_ONE_END = (
    rf"(?:[-+]?inf|nan)\s*(?:,|\.\.|to)\s*{_DRAWN}|{_DRAWN}\s*(?:,|\.\.|to)\s*(?:[-+]?inf|nan)"
)
"""One end is not finite: ``[-inf, 1.32]``; where neither is, it is the range of a space."""
_RANGE = (
    rf"\b{_SAMPLE}\b(?:(?!mask|scores?\b|logit|att(?:n|ention)|loss|grad|space).){{0,60}}"
    rf"\brange\s*[=:]?\s*(?:[\[(]\s*)?(?:{_ONE_END})(?![\w.])"
)
_SUMS_TO_0 = (
    r"(?:[. ]?(?:sum|any)(?:\([^()]*\))?(?:\.\w+\(\))*|[ _]total)\s*(?:==?|is|:)?\s*"
    r"(?:0(?!\.?\d)(?:\.0*)?|False)\b"
)
_WHOLE = (
    r"(?:histor(?:y|ies)|sessions?|clips?|videos?|audio|waveforms?|graphs?|(?:point )?clouds?"
    r"|windows?|scans?|mesh(?:es)?|molecules?|trajector(?:y|ies)|bags?|baskets?|transcripts?)"
)
_KINDS: tuple[tuple[str, re.Pattern[str]], ...] = (
    (
        "labels-mismatch",
        re.compile(
            r"tokenization mismatch: \d+ vs|labels in your dataset are -100"
            rf"|\b(?:no|zero|0|without(?: any| a)?)\s+(?:[\w-]+\s+){{0,2}}{_LABEL}\b"
            rf"|\b(?:all|every|entire)\s+(?:of\s+)?(?:the\s+|its\s+)?{_LABEL}\s+(?:\w+\s+){{0,2}}"
            r"(?:masked|ignored|-100|truncated|removed|cut|dropped|empty)"
            rf"|\b{_LABEL}\s+(?:is|are|was|were|got)\s+(?:\w+\s+){{0,2}}?(?:all|entirely|fully"
            r"|completely)\s+(?:\w+\s+){0,2}?(?:masked|ignored|-100|ignore_?index|empty|padding)"
            rf"|\b{_LABEL}\s*(?:==?|all)\s*(?:-100|ignore_?index)\b"
            rf"|\bonly (?:ignored|masked|-100|ignore_?index) {_LABEL}\b"
            rf"|\b{_LABEL}\b[^.;:]{{0,40}}\b(?:truncated|cut off|cut away|masked out|empty|lost)\b"
            rf"|\bempty {_LABEL}\b"
            rf"|\b(?:all|every)\s+(?:of\s+)?(?:the\s+)?{_LABEL}\b[^.;]{{0,40}}"
            r"\b(?:ignore_index|equals? -100)"
            r"|\b(?:n|num)_?(?:tok(?:en)?s?|labels?|targets?|valid\w*|pos(?:itives?)?|pairs)"
            r"\s*[=:]\s*0\b(?!\.\d)"
            r"|\b(?:loss|label|target|response|completion|answer|supervision)[ _]?mask"
            rf"{_SUMS_TO_0}",
            re.IGNORECASE,
        ),
    ),
    (
        "empty-sequence",
        re.compile(
            rf"\b(?:empty|zero[- ]length|0[- ]length) (?:\w+ )?{_SEQUENCE}\b"
            rf"|\b{_SEQUENCE}\b[^.;]{{0,30}}\b(?:(?:is|are) empty|(?:length|len)\s*[:=]?\s*0\b)"
            r"|\b(?:fully|completely|entirely)[- ](?:masked|padded)\b"
            r"|\b(?:rows?|quer(?:y|ies)|positions?|tokens?|samples?|sequences?)\b[^.;]{0,30}"
            r"\b(?:no|without(?: any| a)?|zero)\s+(?:\w+\s+){0,2}(?:keys?|unmasked \w+)\b"
            rf"|\b{_SEQUENCE}\b[^.;]{{0,20}}\b(?:has|have|with) no tokens\b"
            r"|\b(?:attention[ _])?mask\b[^.;]{0,30}\ball\b[ -]?"
            r"(?:0s?|zeros?|false|masked|padding)\b"
            r"|\b\w*len(?:gth)?s?\s*[=:]\s*[\[(](?:[^\])]*[\s,])?0(?=[\s,\])])"
            r"|\b[1-9]\d* (?:empty|dead|all-masked) (?:query )?rows?\b"
            r"|\b[1-9]\d* (?:[\w-]+ )?(?:rows?|quer(?:y|ies))"
            r" (?:(?:of|with|that are|are|were) )?(?:all|only|entirely|nothing but)[ -]+-?inf\b"
            rf"|\b(?:attention|attn|padding|key|src|source|input)[ _](?:\w+_)?mask{_SUMS_TO_0}"
            r"|\battention\b[^.;]{0,12}\brows?\b[^.;]{0,12}\bnan\b"
            r"|\bmin[_ ]?(?:deg(?:ree)?|neighbou?rs)\s*[=:]\s*0\b(?!\.\d)"
            r"|\ball[- ]padding\b|\bonly (?:of )?padding\b",
            re.IGNORECASE,
        ),
    ),
    (
        "odd-sample",
        re.compile(
            rf"\b(?:constant|blank|all[- ]?zeros?|all[- ]black|silent|flat|degenerate"
            rf"|corrupt(?:ed)?|broken|malformed|invalid|damaged) (?:\w+ )?{_SAMPLE}\b"
            rf"|\b{_SAMPLE}\b.{{0,60}}\b(?:std|stddev|variance|range|norm|max|sum)\s*(?:is|=+|:)?"
            r"\s*0(?:\.0*)?(?![.\d])"
            rf"|\b{_SAMPLE}\b.{{0,20}}\b(?:contains?|has|have|with)\b.{{0,12}}\b(?:nan|inf)s?\b(?!\s*[:=])"
            rf"|\b{_SAMPLE}\b(?:(?!loss|grad|nll).){{0,60}}\b(?:max|min|peak|rms|mean|std|sum|absmax)"
            r"\s*[=:]\s*-?(?:nan|inf)\b"
            rf"|{_RANGE}"
            rf"|{_LEVEL}\s*(?:is|of|[=:])?\s*[-+]?{_NO_LEVEL}"
            rf"|\b{_SAMPLE}\b.{{0,40}}\b(?:(?:is|are) (?:all )?(?:constant|zeros?|blank|silent"
            r"|corrupt(?:ed)?|invalid|broken)|coincide|out of range|outside)\b"
            rf"|\b(?:could not|cannot|can't|failed to|unable to) (?:\w+ )?(?:decode|read|parse)\b"
            rf".{{0,40}}{_SAMPLE}"
            rf"|\b{_SAMPLE}\b[^;|]{{0,40}}\b(?:n_|num_)?(?:nan|inf)s?"
            r"(?:[ _]count\s*[=:]?|\s*[=:])\s*[1-9]\d*\b(?!\.\d)"
            r"|\b[1-9]\d* (?:null|NaN|non-finite|nonfinite) (?:values?|entries|cells)\b"
            r"|\b[1-9]\d* missing\b(?!\W+(?:and )?\d+ (?:unexpected|unused|extra)\b)"
            r"(?! (?:\w+ )?(?:keys?|files?|tensors?|param\w*|modules?|weights?))"
            rf"|\b(?:an? |[1-9]\d* )?empty (?:\w+ )?{_WHOLE}\b(?! (?:cache|dir|folder|list))"
            r"|\b(?:sizes|(?:n|num)_(?:points|pts|nodes|edges|frames|words|items|atoms))"
            r"\s*[=:]\s*[\[(](?:[^\])]*[\s,])?0(?=[\s,\])])"
            rf"|\b{_WHOLE}\b[^.;|]{{0,30}}\b(?:is|are|was|were) empty\b"
            rf"|\b(?:has|have|with|contains?|found|decoded|got|read|loaded|left|only)\s+"
            rf"(?:0|no|zero)\s+(?:\w+\s+)?{_ELEMENTS}\b(?!\s*/)"
            rf"|\b(?:label|target|class)s?\b.{{0,30}}\bout of (?:range|bounds)\b"
            rf"|\b[1-9]\d* invalid (?:\w+ )?(?:values?|entries|cells|{_SAMPLE})\b",
            re.IGNORECASE,
        ),
    ),
)
_PARAMETER = re.compile(
    r"(?<![\w.])[A-Za-z_][\w.]*"
    r"(?:lora_[AB]|weight|bias|kernel|embeddings?|_proj|_emb|_table)[\w.]*\b"
    r"[^;|]{0,40}\b(?:abs ?max|max|norm|std|rms)\s*[=:]?\s*\d(?:\.\d+)?e\+(?:[2-9]\d|\d{3,})\b",
    re.IGNORECASE,
)
"""With a statistic of 1e20 or more."""
_HARMLESS = re.compile(
    r"\b(?:skip(?:s|ped|ping)?(?! (?:the |this )?(?:update|step|optimi[sz]er))"
    r"|drop(?:s|ped|ping)?|filter\w*|replac\w+|fill(?:s|ed|ing)?|imput\w+"
    r"|interpolat\w+|remov(?:ed|ing)|discard\w*|exclud\w+|clamp\w*|clip(?:ped|ping)?)\b",
    re.IGNORECASE,
)
"""What is done with the sample instead of training on it; a response that was removed is lost."""


_NAMED = re.compile(
    r"\b(?:global[ _])?(?:batch|step|iter(?:ation)?|update)(?:[ _](?:idx|index|no|num(?:ber)?))?"
    r"\.?\s*[=:#]?\s*(\d{1,9})\b(?![.\d])(?!\s*(?:%|empty|samples|sequences|items))",
    re.IGNORECASE,
)
"""Which batch the line is about."""
_RANGED = re.compile(_RANGE, re.IGNORECASE)
_FIRST_EPOCH = re.compile(r"\bepoch\s*[:=#]?\s*0\b(?!\.\d|/\d)", re.IGNORECASE)
_NUMBER = re.compile(r"\b\d+(?:\.\d+)?\b")


def kind_of(text: str) -> str | None:
    """Which oddity the line states, ``None`` for no oddity or one that was dealt with."""
    for kind, pattern in _KINDS:
        found = pattern.search(text)
        if found is not None:
            rest = text[: found.start()] + text[found.end() :]
            return None if _HARMLESS.search(rest) else kind
    return "absurd-parameter" if _PARAMETER.search(text) else None


def _on_line(log: Log, line: Line) -> None:
    text = line.text[:2000]
    kind = kind_of(text)
    if kind is not None:
        named = _NAMED.search(text)
        batch = int(named[1]) if named else None
        first = _FIRST_EPOCH.search(text) is not None  # its batches are the run's steps
        ends = _RANGED.search(text) is not None
        log.event(kind, line, step=batch if first else None, batch=batch, nonfinite=ends)


def _plan(line: Line, lower: str) -> Handler | None:
    text = line.text[:2000]
    # Other lines of this shape hold other numbers.
    alike = (text, *(_NUMBER.sub(number, text) for number in "01"))
    return _on_line if any(kind_of(one) is not None for one in alike) else None


DIALECT = Dialect(
    name="data-text",
    triggers=(
        "tokenization mismatch", "labels in your dataset", "label", "target", "answer", "response",
        "completion", "annotation", "ground truth", "ground-truth", "positive", " boxes", "empty ",
        "length", "is empty", "masked", "padded", "padding", " key", "attention mask", "n_tok",
        "ntok", "num_", "n_pos", "n_valid", "attention_mask", "constant", "blank", "all zero",
        "all-zero", "black", "silent", "flat ", "degenerate", "corrupt", "broken", "malformed",
        "invalid", "damaged", "std", "variance", "decode", "read ", "parse", "missing", "coincide",
        "out of range", "outside", "nan=", "nan:", "inf=", "inf:", "len=", "lens=",
        "=nan", "=inf", "=-inf", "e+", "trainable", "supervised",
        "nan", "inf", "no tokens", "sizes", "_points", "_nodes", "mask", " frames", " points",
        " nodes", " edges", " voxels", " atoms", " vertices", "interactions", " clicks", "neighbo",
        " all false", "ignore_index", " null value", " null entr",
    ),
    plan=_plan,
)  # fmt: skip
