"""What a program says of state beside the weights that a resume did not bring back.

Samples::

    Resuming from checkpoint-80: optimizer state not found, starting fresh
    KeyError('optim') -> optimizer starts fresh
    checkpoint has no entry optimizer (keys: model, epoch)
    6 parameter tensors restored, 0 of 6 accumulator slots restored
    8 of 8 momentum buffers had another shape and were zeroed
    scheduler restarted from step 0
    rec_0800.pt has no entry 'target_scaler', going on with identity
    resuming with model weights only

and of the circumstances under which what it loads was saved::

    ckpt_200.pt was saved with world_size=2, now 16
    checkpoint written by trainer v1.4, this is v2.0
"""

from __future__ import annotations

import re

from nanautopsy.readers.text.dialect import Dialect, Handler, Line, Log

_STATE = (
    r"(?:optimi[sz]ers?|optim|opt(?:im)?_state|(?:lr[_ ])?schedulers?"
    r"|(?:(?:lr|learning[ -]rate)[_ ])schedule"
    r"|(?:loss |grad(?:ient)? ?|amp )?scalers?|loss[_ ]scale|ema|exp_avg(?:_sq)?"
    r"|(?:(?:first|second|adam) )?moments?|accumulators?|slots?|momentum|velocity"
    r"|(?:momentum|velocity|moment|accumulator|slot) (?:buffers?|slots?|variables?)"
    r"|(?:(?:target|input|feature|reward|obs(?:ervation)?|state|data|label|y|x)[ _-])?"
    r"(?:normali[sz]ers?|scalers?)|(?:obs|ret|reward|input)_rms"
    r"|(?:obs(?:ervation)?|state|reward|ret(?:urn)?|input)[_ -](?:filters?|norm|stat(?:s|istics))"
    r"|running[ _](?:mean|stat\w*|norm\w*))"
)
_MORE = r"(?:[ _.-](?:states?|dict|file|entr(?:y|ies)|keys?|slots?|buffers?|variables?|\w+\.pt))*"
_GONE = (
    r"(?:(?:(?:is|are|was|were|could|has|have|had|will|be|been) )*"
    r"(?:not|never|n't) (?:be(?:en)? )?(?:found|restored|loaded|present|saved|in\b|carried"
    r"|available|used|recovered|included|kept|matched|match)"
    r"|(?:(?:is|are|was|were) )?(?:missing|lost|absent|dropped|discarded|empty)"
    r"|(?:is|are|was|were) (?:re-?set|reset|zeroed|cleared|skipped|ignored|re-?created|re-?built)"
    r"|filled with zeros|zero-?filled|re-?initiali[sz]ed"
    r"|(?:re-?)?start(?:s|ed|ing)? (?:over|anew|afresh|fresh|from (?:scratch|zero|(?:step"
    r" )?0\b)|at (?:zero|(?:step )?0\b))"
    r"|begins? (?:anew|afresh|fresh|from (?:scratch|zero))|mismatch)"
)
_PUT_ASIDE = (
    r"(?:missing|could not (?:load|restore|find|recover)|unable to (?:load|restore)"
    r"|failed to (?:load|restore)|(?:not|without) (?:loading|restoring)"
    r"|(?:skip|drop)p(?:ed|ing)|ignor(?:ed|ing)|discard(?:ed|ing)"
    r"|re-?initiali[sz](?:ed|ing)|re-?creat(?:ed|ing)|re-?build(?:ing)?|re-?set(?:ting)?)"
)
NOT_RESTORED = re.compile(
    rf"\b(?:no|without|lacks?)\s+(?:(?:any|an|the)\s+)?(?:saved {_STATE}|(?:entry|key|record)s? "
    rf"(?:for |of |named )?['\"`]?{_STATE}['\"`]?"
    rf"|['\"`]?{_STATE}['\"`]?(?:[ _.-](?:states?|dict|file|key|entry|\w+\.pt)"
    rf"| (?:was |were )?(?:found|loaded|restored|in\b)))"
    rf"|\b{_PUT_ASIDE}(?: (?:the|of|loading|saved|its))*\s+{_STATE}{_MORE}\b"
    r"(?! (?:every|each|after))(?!['\u2019]?s?[ ._-]*(?:steps?|updates?|iterations?)\b)"
    rf"|\b{_STATE}{_MORE}\b[\w ,.'\"()/>-]{{0,40}}\b{_GONE}"
    rf"|\b{_STATE}{_MORE}\s?[:=]\s?(?:(?:key|state|entry) )?{_GONE}"
    rf"|\b(?:fresh|new|empty|blank|re-?initiali[sz](?:ed|ing))\s+(?:the )?{_STATE}\b(?: state)?"
    rf"|\bKeyError\W{{1,3}}{_STATE}\b"
    r"|\bresum\w*\b.*\b(?:weights|model|params|parameters)(?: weights)?[ -]only\b"
    r"|\bresum\w*\b.*\bonly (?:the )?(?:model|net(?:work)?|weights|parameters)\b",
    re.IGNORECASE,
)
"""Sentences that say so; ``new optimizer`` alone counts only behind a resume, which the cause asks
for."""
_SHARE = re.compile(
    r"(?<![\w.])(?P<part>\d{1,7})\s*(?:/|of|out of)\s*(?P<whole>\d{1,7})\s+(?:\w+ ){0,2}?"
    rf"{_STATE}{_MORE}\b(?P<rest>.*)",
    re.IGNORECASE,
)
_OF_STATE = re.compile(
    rf"\b{_STATE}{_MORE}(?:\.\w{{2,7}})?\s*[:=(-]\s*"
    r"(?:(?:loaded|restored|matched|found|recovered)\s+)?"
    r"(?P<part>\d{1,7})\s*(?:/|of|out of)\s*(?P<whole>\d{1,7})\b"
    r"(?P<rest>.*)",
    re.IGNORECASE,
)
_BROUGHT = re.compile(r"\b(?:restored|loaded|matched|recovered|found|copied|kept)\b", re.I)
_LEFT = re.compile(
    r"\b(?:zeroed|missing|lost|reset|skipped|dropped|mismatch\w*|unmatched|ignored|discarded"
    r"|(?:an)?other shape|re-?initiali[sz]ed|not (?:restored|loaded|matched|found|in|present))\b",
    re.IGNORECASE,
)
_DENIED = re.compile(
    r"\b(?:no need|not need(?:ed)?|already|if|unless|would|should|will be|can be|use --|set --"
    r"|every \d+|no longer)\b|weights_only",
    re.IGNORECASE,
)
_VERB = (
    r"\b(?:saved|written|created|produced|made|stored|exported|trained|taken|wrote)\s+"
    r"(?:by|with|on|under|using|in|for|at)\s+"
)
_NUMBERED = r"(?:\w+[ =:]+)?v?(\d+(?:\.\d+)*)\b"
_ELSEWHERE = re.compile(
    rf"{_VERB}(?:\w+ ){{0,2}}?{_NUMBERED}(?P<unit>[ \w]{{0,20}})\W[^;]{{0,60}}?"
    r"\b(?:now|this(?: is| (?:run|trainer|code|job|process|version))?|current(?:ly)?|running"
    r"|resuming"
    rf"|loading|we (?:are|have|use))\b[^;]{{0,40}}?{_NUMBERED}"
    rf"|\b(?:format|version|layout|schema) v?(\d+(?:\.\d+)*)\b[^;]{{0,40}}"
    rf"\b(?:this|current|now|running|expected|code)\b[^;]{{0,40}}?{_NUMBERED}"
    rf"|\b(?:world[_ ]?size|num_(?:gpus|processes|replicas|hosts)|dp_size|(?:gpus|ranks"
    rf"|replicas|hosts)"
    r"(?= changed))\b[^;]{0,40}?\b(\d{1,6})\s*(?:->|=>|to|\u2192|vs\.?)\s*(\d{1,6})\b",
    re.IGNORECASE,
)
"""Two different numbers of what saved it and of what goes on: versions, or devices."""


def lost(text: str) -> bool:
    """Whether the line says that a state was not brought back."""
    share = _SHARE.search(text) or _OF_STATE.search(text)
    if share is not None:
        part, whole = int(share["part"]), int(share["whole"])
        if _LEFT.search(share["rest"]):
            return 0 < part <= whole
        if _BROUGHT.search(share["rest"]) or _BROUGHT.search(text[: share.start("part")]):
            return part < whole
    return NOT_RESTORED.search(text) is not None and _DENIED.search(text) is None


def elsewhere(text: str) -> bool:
    """Whether the line says that other code, or another number of devices, saved what it loads."""
    found = _ELSEWHERE.search(text)
    if found is None:
        return False
    numbers = [group for group in found.groups() if group and group[0].isdigit()]
    return len(numbers) == 2 and numbers[0] != numbers[1]


def _on_lost(log: Log, line: Line) -> None:
    if lost(line.text):
        log.event("state-not-restored", line)


def _on_elsewhere(log: Log, line: Line) -> None:
    if elsewhere(line.text):
        log.event("saved-elsewhere", line)


def _plan(line: Line, lower: str) -> Handler | None:
    text = line.text
    if len(text) > 600:
        return None
    counted = _SHARE.search(text) is not None or _OF_STATE.search(text) is not None
    if counted or lost(text):
        return _on_lost
    return _on_elsewhere if _ELSEWHERE.search(text) is not None else None


DIALECT = Dialect(
    name="lost-state",
    triggers=(
        "optimizer", "optimiser", "opt_state", "optim_state", "scheduler", "scaler", "ema state",
        "exp_avg", "moments", "momentum", "accumulator", " slots", "lr schedule", "rate schedule",
        "loss scale", "loss_scale", "'optim'", "resum", "world_size", "world size", "saved by",
        "saved with", "written by", "restor", "normalizer", "normaliser", "obs_rms", "running_m",
        "obs_filter", "obs filter", "observation filter", "obs_norm", "obs_stat", "reward_norm",
        "ret_norm",
    ),
    plan=_plan,
)  # fmt: skip
