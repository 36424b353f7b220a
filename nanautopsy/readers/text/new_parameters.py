"""Lines that name one parameter each that a checkpoint did not give.

Samples::

    multi_modal_projector.weight: not in the checkpoint, newly initialized
    Param 'blocks.0.attn.qkv.weight' is missing from the checkpoint
    Randomly initialized: head.weight, head.bias
    head.kernel: no such array in the checkpoint, kept as created
    not in checkpoint, left as allocated: head/kernel

Lines that follow each other are one statement.
"""

from __future__ import annotations

import re

from nanautopsy.readers.text.dialect import Dialect, Handler, Line, Log, Take
from nanautopsy.readers.text.load_report import REPORT_LINES, Keys

_NAME = r"[A-Za-z_]\w*(?:[./]\w+)+"
_SOURCE = (
    r"(?:checkpoint|ckpt|state[_ ]?dict|pre-?trained (?:weights|model|file)|weights file"
    r"|(?:saved |restored )?(?:archive|snapshot))"
)
_AFTER = re.compile(
    rf"(?P<name>{_NAME})['\"`]?\s*(?:[:,(|-]\s*|\s)[^.;]{{0,20}}?\b(?:"
    rf"not (?:found |present |contained |available )?in (?:the )?{_SOURCE}"
    rf"|(?:missing|absent) (?:from|in) (?:the )?{_SOURCE}|no such \w+ in (?:the )?{_SOURCE}"
    r"|(?:newly|randomly|freshly) initiali[sz]ed|(?:left|kept) (?:at|as|with) (?:its )?"
    r"(?:random(?: init\w*)?|init\w*|created|built))\b",
    re.IGNORECASE,
)
_BEFORE = re.compile(
    rf"\b(?:(?:newly|randomly|freshly) initiali[sz](?:ed|ing)|(?:not (?:found |present )?in"
    rf"|missing (?:from|in)"
    rf"|absent (?:from|in)) (?:the )?{_SOURCE})"
    rf"(?:,? (?:so )?(?:left|kept|remains?|stays?|using|uses) (?:at|as|with"
    rf"|on)? ?(?:\w+ ?){{1,3}})?"
    rf"(?: (?:the|module|layer|param\w*|weights?|tensors?))*"
    rf"\s*[:=]?\s*[\[(]?(?P<names>['\"`]?{_NAME}['\"`]?(?:,\s*['\"`]?{_NAME}['\"`]?)*)",
    re.IGNORECASE,
)
_FILE = re.compile(r"\.(?:py|pth?|ckpt|bin|safetensors|npz|json|ya?ml|h5)\b", re.IGNORECASE)


def _names(text: str) -> list[str]:
    after = _AFTER.search(text)
    before = None if after else _BEFORE.search(text)
    found = [after["name"]] if after else re.findall(_NAME, before["names"]) if before else []
    return [name for name in found if not _FILE.search(name)]


def _on_line(log: Log, line: Line) -> None:
    keys, origin = Keys(), line

    def take(line: Line) -> Take:
        names = _names(line.text)
        keys.extend(names)
        return Take.MORE if names else Take.NOT_MINE

    def end() -> None:
        log.event("weights-newly-initialized", origin, keys=keys.names, count=keys.count)

    take(line)
    log.follow(line, take, end, REPORT_LINES)


def _plan(line: Line, lower: str) -> Handler | None:
    if len(line.text) > 2000 or "some weights of" in lower or not _names(line.text):
        return None
    return _on_line


DIALECT = Dialect(
    name="new-parameters",
    triggers=("initialized", "initialised", "initializing", "checkpoint", "state_dict",
              "state dict", "pretrained", " ckpt", "random"),
    plan=_plan,
)  # fmt: skip
