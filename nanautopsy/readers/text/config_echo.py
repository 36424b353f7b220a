"""Settings that a program prints when it starts: a record of configuration, never a metric.

Samples::

    Namespace(lr=0.001, betas=(0.9, 0.95), fp16=True)                       (argparse)
    TrainConfig(lr_mp=0.002, max_grad_norm=None, compile=False)             (a dataclass)
    TrainingArguments(                                                      (transformers)
    adam_epsilon=1e-08,
    )
    optimizer: Adam(lr=0.001, betas=(0.9, 0.999), eps=1e-08)
    AdamW (                                                                 (torch)
    Parameter Group 0
        eps: 1e-08
    )
    ------------------------ arguments ------------------------             (Megatron)
      adam_eps ........................................ 1e-08
    Model config GPT2Config {                                               (transformers)
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from nanautopsy.model import ConfigRecord, Scalar, Source
from nanautopsy.readers._flatten import flatten
from nanautopsy.readers._python_repr import load_repr
from nanautopsy.readers.text.deepspeed import scalar
from nanautopsy.readers.text.dialect import Dialect, Handler, Line, Log, Take
from nanautopsy.readers.text.json_block import follow_json

_CALL = re.compile(
    r"(?<![\w.])((?:\w+\.)*\w*(?:Namespace|Config|Configuration|Cfg|Args|Arguments|Params|Parameters|Options"
    r"|Settings|HParams))\((?=\s*\w+=|\s*$)"
)
_MADE = re.compile(
    r"(?<!\w)((?:Fused)?(?:Adam\w*|NAdam|RAdam|SGD|RMSprop|Adagrad|Adafactor|Lion|LAMB))"
    r"\((?=(?:params=[^,]*, )?\w+=)"
)
"""``Adam(lr=0.001, eps=1e-08)``, as programs write what they made."""
_OPTIMIZER = re.compile(r"^\s*(\w+) \(\s*$")
_GROUP_LINE = re.compile(r"\s*(\w+): (.+?)\s*$")
_DOTTED = re.compile(r"\s*([A-Za-z_][\w.]*) \.{2,} ?(.*)")
_ARGUMENTS = re.compile(r"-{4} (?:MEGATRON )?arguments -{4}", re.IGNORECASE)
_MODEL_CONFIG = re.compile(r"(?:Model config|loading configuration) \w* ?\{\s*$|Config \{\s*$")
_MEMBER = re.compile(
    r"<?(?:SchedulerType|OptimizerNames|\w*Strategy)\.([A-Z][A-Z0-9_]*)(?:: '([^']*)')?>?"
)
"""Members of transformers' enumerations: ``SchedulerType.LINEAR``, and with their value."""
_ORIGIN = re.compile(r"\.*(?:updated|default)$")
"""gpt-neox says where a value comes from: ``lr ... 0.0006......updated``."""
_SEEN = "config_echo"
_MAX_TEXT = 1 << 18
_MAX_ITEMS = 4000
_MAX_LINES = 4000
_MOST_RECORDS = 200


def emit(log: Log, line: Line, kind: str, values: dict[str, Scalar]) -> None:
    """Report settings that begin on this line, once a log."""
    seen = log.memory.setdefault(_SEEN, set())
    mark = hash(tuple(values.items()))
    if not values or not isinstance(seen, set) or mark in seen or len(seen) >= _MOST_RECORDS:
        return  # every rank prints the same
    seen.add(mark)
    source = Source(log.path, line=line.number, excerpt=line.excerpt)
    log.out.append(ConfigRecord(kind, values, source))


def _on_call(log: Log, line: Line) -> None:
    text = line.raw[:_MAX_TEXT].decode("utf-8", "replace")
    made = _MADE.search(text)
    match = _CALL.search(text) or made
    if match is None:
        return
    prefix = "optimizer." if match is made else ""
    named: dict[str, Scalar] = {"optimizer.name": match[1]} if prefix else {}
    pieces = [text[match.end() :]]
    origin = line
    depth = 1 + _depth(pieces[0])

    def end() -> None:
        found = dict(list(items("".join(pieces), prefix))[:_MAX_ITEMS])
        emit(log, origin, "log", named | found if found else {})

    if depth <= 0:
        end()
        return
    size = len(pieces[0])

    def take(line: Line) -> Take:
        nonlocal depth, size
        text = line.text
        pieces.append(" " + text)
        size += len(text)
        depth += _depth(text)
        return Take.LAST if depth <= 0 or size > _MAX_TEXT else Take.MORE

    log.follow(line, take, end, _MAX_LINES)


def _depth(text: str) -> int:
    return sum(text.count(c) for c in "([{") - sum(text.count(c) for c in ")]}")


def items(text: str, prefix: str = "") -> Iterator[tuple[str, Scalar]]:
    """``name=value`` pairs up to the closing parenthesis, flat: tuples and lists by number, nested
    calls by dotted name."""
    for piece in split_top(text):
        name, sign, value = piece.partition("=")
        name, value = name.strip().strip("'\""), value.strip()
        if not sign or not re.fullmatch(r"[A-Za-z_][\w.-]*", name):
            continue
        yield from _flat(prefix + name, value, 0)


def _flat(name: str, value: str, depth: int) -> Iterator[tuple[str, Scalar]]:
    if value == "None":
        yield name, None
        return
    member = _MEMBER.fullmatch(value)
    if member is not None:
        yield name, member[2] or member[1].lower()
        return
    if value[:1] == "{":
        try:
            printed = load_repr(value)
        except ValueError:
            return
        if isinstance(printed, dict):
            yield from flatten(printed, name).items()
        return
    if depth < 4 and value[:1] in "([" and value[-1:] in ")]" and len(value) > 2:
        for i, piece in enumerate(split_top(value[1:-1])):
            if piece.strip():
                yield from _flat(f"{name}.{i}", piece.strip(), depth + 1)
        return
    call = re.match(r"(?:\w+\.)*[A-Z]\w*\((?=\w+=)", value)
    if depth < 4 and call is not None and value.endswith(")"):
        for piece in split_top(value[call.end() : -1]):
            inner, sign, text = piece.partition("=")
            if sign and inner.strip().isidentifier():
                yield from _flat(f"{name}.{inner.strip()}", text.strip(), depth + 1)
        return
    if value in ("''", '""'):
        yield name, ""
    elif (setting := scalar(value)) is not None:
        yield name, setting


def split_top(text: str) -> Iterator[str]:
    """Split at commas outside brackets and quotes, and stop where the enclosing bracket closes."""
    depth = 0
    quote = ""
    begin = 0
    for i, c in enumerate(text):
        if quote:
            if c == quote and text[i - 1] != "\\":
                quote = ""
        elif c in "'\"":
            quote = c
        elif c in "([{":
            depth += 1
        elif c in ")]}":
            depth -= 1
            if depth < 0:
                yield text[begin:i]
                return
        elif c == "," and depth == 0:
            yield text[begin:i]
            begin = i + 1
    yield text[begin:]


def _on_optimizer(log: Log, line: Line) -> None:
    """torch prints ``AdamW (``, its groups, and ``)``."""
    match = _OPTIMIZER.match(line.text)
    if match is None:
        return
    values: dict[str, Scalar] = {}
    group = ""
    origin = line

    def take(line: Line) -> Take:
        nonlocal group
        text = line.whole.decode("utf-8", "replace")
        if text.strip() == ")":
            return Take.LAST
        if text.startswith("Parameter Group "):
            group = text.strip().rpartition(" ")[2]
            return Take.MORE
        found = _GROUP_LINE.fullmatch(text)
        if not group or found is None or not text.startswith(" "):
            return Take.MORE if group and not text.strip() else Take.NOT_MINE
        values.update(_flat(f"optimizer.{group}.{found[1]}", found[2], 0))
        return Take.MORE

    def end() -> None:
        if values:
            emit(log, origin, "log", {"optimizer.name": match[1], **values})

    log.follow(line, take, end, _MAX_LINES)


def _on_arguments(log: Log, line: Line) -> None:
    values: dict[str, Scalar] = {}
    origin = line
    misses = 0

    def take(line: Line) -> Take:
        nonlocal misses
        found = _DOTTED.fullmatch(line.text)
        if found is None:
            misses += 1
            return Take.ASIDE if misses < 20 and "end of" not in line.text else Take.NOT_MINE
        values.update(_flat(found[1], _ORIGIN.sub("", found[2].strip()), 0))
        return Take.MORE

    log.follow(line, take, lambda: emit(log, origin, "log", values), _MAX_LINES)


def _on_model_config(log: Log, line: Line) -> None:
    follow_json(log, line, "model")


def _plan(line: Line, lower: str) -> Handler | None:
    text = line.text
    if _ARGUMENTS.search(text):
        return _on_arguments
    if _MODEL_CONFIG.search(text):
        return _on_model_config
    if _CALL.search(text) or _MADE.search(text):
        return _on_call
    name = _OPTIMIZER.match(text)
    optimizers = ("adam", "sgd", "lion", "adafactor", "rmsprop", "lamb", "muon", "optim")
    if name is not None and any(word in name[1].lower() for word in optimizers):
        return _on_optimizer
    return None


DIALECT = Dialect(
    name="config-echo",
    triggers=("namespace(", "config(", "configuration(", "cfg(", "args(", "arguments(", "params(",
              "parameters(", "options(", "settings(", "hparams(", " arguments ---", "config {",
              "adam", "sgd", "lion", "adafactor", "rmsprop", "lamb", "adagrad", "muon (", "optim"),
    plan=_plan,
)  # fmt: skip
