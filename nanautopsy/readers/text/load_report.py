"""What transformers says of weights that did not find their place when a model was loaded.

Samples, up to 4.57 (a warning, the list on one line; pretty-printed lists span several)::

    Some weights of the model checkpoint at gpt2 were not used when initializing M: ['a', 'b']
    Some weights of M were not initialized from the model checkpoint at gpt2 and are newly \
initialized: ['score.weight']
    Some weights of M were not initialized from the model checkpoint at gpt2 and are newly \
initialized because the shapes did not match:
    - score.weight: found shape torch.Size([3, 2]) in the checkpoint and torch.Size([2, 2]) in \
the model instantiated

and from 5.0 a table::

    GPT2ForSequenceClassification LOAD REPORT from: gpt2
    Key          | Status     |
    -------------+------------+-
    score.weight | MISSING    |
    h.{0, 1}.ln_1.bias | UNEXPECTED |

    Notes:

torch warns of a parameter on the meta device, which loading leaves without memory::

    UserWarning: for adapter.weight: copying from a non-meta parameter in the checkpoint to a meta \
parameter in the current model, which is a no-op.

Keras warns of what ``load_weights(skip_mismatch=True)`` left out, with one example::

    A total of 3 objects could not be loaded. Example error message for object <Dense name=block1, \
built=True>:

torch prints what ``load_state_dict(strict=False)`` returns::

    _IncompatibleKeys(missing_keys=['score.weight'], unexpected_keys=['lm_head.weight'])
"""

from __future__ import annotations

import math
import re
from itertools import islice, product

from nanautopsy.readers.text.dialect import Dialect, Handler, Line, Log, Take

_MAX_KEYS = 200
_NOT_USED = re.compile(
    r"Some weights of the (?:PyTorch )?model checkpoint at (.+?) were not used when initializing"
    r" (?:the \w+ model )?(\w+)"
)
_NEW = re.compile(
    r"Some weights of (?:the \w+ model )?(\w+) were not initialized from the "
    r"(?:\w+ )?model(?: checkpoint)?(?: at (.+?))? and are newly initialized"
    r"( because the shapes did not match)?"
)
_KEY = re.compile(r"'([^']{1,300})'")
_MISMATCH = re.compile(r"- (\S+): found shape .*? in the checkpoint and")
_REPORT = re.compile(r"(?:\b(\w+) )?LOAD REPORT(?: from:?\s*(.+))?")
_ROW = re.compile(
    r"\s*(\S(?:.{0,300}?\S)?)\s*\|\s*(UNEXPECTED|MISSING|MISMATCH|CONVERSION|OWNED|SKIPPED)\b"
)
_MERGED = re.compile(r"\{(\d{1,6}(?:\.\.\.\d{1,6}|(?:, \d{1,6})+))\}")
_MAX_MERGED = 10_000
_EVENTS = {
    "MISSING": "weights-newly-initialized",
    "UNEXPECTED": "weights-not-used",
    "MISMATCH": "weights-mismatched",
}
REPORT_LINES = 200_000
"""A table lists one key a line: more than any model has."""


def _on_warning(log: Log, line: Line) -> None:
    text = line.text
    unused = _NOT_USED.search(text)
    if unused is not None:
        _list(log, line, "weights-not-used", unused.end(), unused[1], unused[2])
        return
    new = _NEW.search(text)
    if new is None:
        return
    if new[3] is None:
        _list(log, line, "weights-newly-initialized", new.end(), new[2], new[1])
        return
    _mismatches(log, line, new[2], new[1])


def _list(
    log: Log, line: Line, kind: str, at: int, checkpoint: str | None, model_class: str
) -> None:
    """The bracketed names behind the message, on this line or the next ones."""
    text = line.raw.decode("utf-8", "replace")[at:]
    keys = Keys()
    keys.extend(_KEY.findall(text))
    origin = line

    def end() -> None:
        log.event(
            kind,
            origin,
            keys=keys.names,
            count=keys.count,
            checkpoint=checkpoint,
            model_class=model_class,
        )

    def take(line: Line) -> Take:
        if not line.text.strip().startswith(("'", '"', "]", "[")):
            return Take.NOT_MINE
        keys.extend(_KEY.findall(line.text))
        return Take.LAST if "]" in line.text else Take.MORE

    if "[" in text and "]" not in text:
        log.follow(line, take, end, REPORT_LINES)
    else:
        end()


def _mismatches(log: Log, line: Line, checkpoint: str | None, model_class: str) -> None:
    keys = Keys()
    origin = line

    def end() -> None:
        log.event(
            "weights-mismatched",
            origin,
            keys=keys.names,
            count=keys.count,
            checkpoint=checkpoint,
            model_class=model_class,
        )

    def take(line: Line) -> Take:
        match = _MISMATCH.search(line.text)
        if match is None:
            return Take.NOT_MINE
        keys.add(match[1])
        return Take.MORE

    log.follow(line, take, end, REPORT_LINES)


def _numbers(text: str) -> range | list[int]:
    first, dots, last = text.partition("...")
    if dots:
        return range(int(first), int(last) + 1) if int(last) - int(first) < _MAX_MERGED else []
    return [int(number) for number in text.split(",")]


class Keys:
    """Names, the first of them kept, all of them counted."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self.count = 0

    def add(self, name: str) -> None:
        self.count += 1
        if len(self._names) < _MAX_KEYS:
            self._names.append(name)

    def add_merged(self, name: str) -> None:
        """A row of the table: from 5.0 on, keys that differ only in numbers share one, written
        ``h.{0, 1}.ln.weight`` for up to ten of them and ``h.{0...31}.ln.weight`` for more."""
        sets = [_numbers(match[1]) for match in _MERGED.finditer(name)]
        if not sets or any(not numbers for numbers in sets):
            self.add(name)
            return
        template = _MERGED.sub("{}", name.replace("{}", ""))
        total = math.prod(map(len, sets))
        room = max(_MAX_KEYS - len(self._names), 0)
        for chosen in islice(product(*sets), room):
            self._names.append(template.format(*chosen))
        self.count += total

    def extend(self, names: list[str]) -> None:
        for name in names:
            self.add(name)

    def __bool__(self) -> bool:
        return self.count > 0

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._names)


def _on_report(log: Log, line: Line) -> None:
    heading = _REPORT.search(line.text)
    if heading is None:
        return
    checkpoint = heading[2].strip() if heading[2] else None
    model_class = heading[1]
    found = {status: Keys() for status in _EVENTS}
    origin = line

    def take(line: Line) -> Take:
        row = _ROW.match(line.text)
        if row is not None:
            if row[2] in found:
                found[row[2]].add_merged(row[1])
            return Take.MORE
        rule = line.text.strip("-+| ") == "" or line.text.lstrip().startswith("Key")
        return Take.MORE if rule else Take.NOT_MINE

    def end() -> None:
        for status, keys in found.items():
            if keys:
                log.event(
                    _EVENTS[status],
                    origin,
                    text=f"{heading[0].strip()}: {status}",
                    keys=keys.names,
                    count=keys.count,
                    checkpoint=checkpoint,
                    model_class=model_class,
                    table=True,
                )

    log.follow(line, take, end, REPORT_LINES)


def _on_incompatible(log: Log, line: Line) -> None:
    text = line.raw.decode("utf-8", "replace")
    for name, kind in _INCOMPATIBLE:
        listed = re.search(rf"{name}=\[([^\]]*)\]", text)
        keys = Keys()
        keys.extend(_KEY.findall(listed[1]) if listed else [])
        if keys:
            log.event(kind, line, keys=keys.names, count=keys.count)


def _on_meta(log: Log, line: Line) -> None:
    named = _META.search(line.text)
    if named is not None:
        log.event("weights-newly-initialized", line, keys=(named[1],), count=1, meta=True)


_META = re.compile(
    r"for (\S+): copying from a non-meta parameter in the checkpoint to a meta parameter"
)
_INCOMPATIBLE = (
    ("missing_keys", "weights-newly-initialized"),
    ("unexpected_keys", "weights-not-used"),
)


_KERAS = re.compile(
    r"\btotal of (\d{1,7}) objects could not be loaded\. Example error message for object "
    r"<\w+ name=([\w/.-]+)"
)
"""Each has another shape, or other variables."""


def _on_keras(log: Log, line: Line) -> None:
    found = _KERAS.search(line.text)
    if found is not None:
        log.event("weights-mismatched", line, keys=(found[2],), count=int(found[1]))


def _plan(line: Line, lower: str) -> Handler | None:
    if _KERAS.search(line.text) is not None:
        return _on_keras
    if "incompatiblekeys(" in lower:
        return _on_incompatible
    if "load report" in lower:
        return _on_report
    if _META.search(line.text) is not None:
        return _on_meta
    if "some weights of" in lower and (_NOT_USED.search(line.text) or _NEW.search(line.text)):
        return _on_warning
    return None


DIALECT = Dialect(
    name="load-report",
    triggers=(
        "some weights of",
        "load report",
        "incompatiblekeys(",
        "to a meta parameter",
        "objects could not be loaded",
    ),
    plan=_plan,
)
