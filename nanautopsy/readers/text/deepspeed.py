"""What DeepSpeed prints: skipped steps, loss scales, progress, throughput, configuration, version.

Samples (prefix ``[2023-04-18 01:48:13,710] [INFO] [logging.py:96:log_dist] [Rank 0]`` left out)::

    [deepspeed] OVERFLOW! Rank 0 Skipping step. Attempted loss scale: 65536, reducing to 32768
    [deepspeed] OVERFLOW! Rank 0 Skipping step. Attempted loss scale: 65536, but hysteresis is 2. \
Reducing hysteresis to 1
    [deepscale] OVERFLOW! Rank 0 Skipping step. Attempted loss scale: 65536, reducing to 32768.0
    [deepspeed] fp16 dynamic loss scale overflow! Skipping step. Attempted loss scale: 8, reducing \
to 4
    Grad overflow on iteration 2            (then, on a line of its own:)
    Reducing dynamic loss scale from 65536 to 32768.0
    Exception: Current loss scale already at minimum - cannot decrease scale anymore. Exiting run.
    step=110, skipped=6, lr=[9.64e-06, 9.64e-06], mom=[(0.9, 0.95), (0.9, 0.95)]
    steps: 10 loss: nan iter time (s): 0.321 samples/sec: 99.7
    DeepSpeed info: version=0.14.0, git-hash=unknown, git-branch=unknown
      zero_enabled ................. True

An overflow line names no step; it belongs to the steps behind the last one that was stated.
"""

from __future__ import annotations

import re

from nanautopsy.model import ConfigRecord, EnvironmentRecord, Scalar, Source
from nanautopsy.readers.text.dialect import Dialect, Handler, Line, Log, Take
from nanautopsy.readers.text.fields import Field, fields
from nanautopsy.readers.text.json_block import follow_json
from nanautopsy.readers.text.metric_row import Row
from nanautopsy.readers.text.numbers import parse
from nanautopsy.readers.text.rows import Basis, Counter

_NUMBER = r"([0-9]+(?:\.[0-9]*)?(?:e[+-]?[0-9]+)?|nan|inf)"
_OVERFLOW = re.compile(
    r"(?:\[(?:deepspeed|deepscale)\]\s*)?(?:OVERFLOW!|fp16 dynamic loss scale overflow!)"
    r"(?:\s*Rank (\d+))?\s*Skipping step\."
    rf"(?:\s*Attempted loss scale: {_NUMBER}(?:, reducing to {_NUMBER})?)?",
    re.IGNORECASE,
)
_GRAD_OVERFLOW = re.compile(r"(?<!No )\bGrad overflow on iteration:? (\d+)")
_REDUCING = re.compile(rf"(?:Reducing|Increasing) dynamic loss scale from {_NUMBER} to {_NUMBER}")
_DETECTED = re.compile(r"rank (\d+) detected overflow (\S+) in tensor (\S+)")
_PROGRESS = re.compile(r"\bstep=\d+, skipped=\d+, lr=\[")
_PROGRESS_TAGS = {"skipped": "skipped_steps", "lr": "learning_rate"}
_PIPELINE = re.compile(rf"\bsteps: (\d+) loss: (-?{_NUMBER})\b.*iter time \(s\)")
_VERSION = re.compile(r"DeepSpeed info: version=([0-9][\w.+-]*)")
_ECHO = re.compile(r"\s*([A-Za-z_]\w*) \.{3,} (.*)")
_STRANGERS = 200
_OVERFLOW_PAIR = "deepspeed overflow line"
_BOOLEANS = frozenset(("True", "False"))


def _on_overflow(log: Log, line: Line) -> None:
    match = _OVERFLOW.search(line.text)
    if match is None:
        return
    rank, before, after = match.groups()
    _skipped(log, line, parse(before or ""), parse(after or ""), rank=rank)


def _skipped(
    log: Log,
    line: Line,
    before: float | None,
    after: float | None,
    *,
    rank: str | None = None,
) -> None:
    log.event(
        "overflow-skipped",
        line,
        rank=None if rank is None else int(rank),
        scale_before=before,
        scale_after=after,
    )
    scale = before if after is None else after
    if scale is not None:
        _scale_point(log, line, scale)


def _scale_point(log: Log, line: Line, scale: float) -> None:
    row = log.rows.add_row(log.latest(), line.number, line.rank)
    log.rows.add("loss_scale", row, scale)


def _on_grad_overflow(log: Log, line: Line) -> None:
    """The fused optimizer says it in two lines; every rank prints both."""
    if _GRAD_OVERFLOW.search(line.text) is None:
        return
    # Its own counter stands still on a skipped step, so its number names no step.
    log.event("overflow-skipped", line)
    log.memory[_OVERFLOW_PAIR] = line.number


def _on_scale_change(log: Log, line: Line) -> None:
    match = _REDUCING.search(line.text)
    if match is None:
        return
    before, after = parse(match[1]), parse(match[2])
    pair = log.memory.pop(_OVERFLOW_PAIR, None)
    if after is not None:
        if match[0].startswith("Reducing") and isinstance(pair, int) and line.number - pair <= 3:
            log.amend_last_event(scale_before=before, scale_after=after)
        elif match[0].startswith("Reducing"):
            log.event("overflow-skipped", line, scale_before=before, scale_after=after)
        _scale_point(log, line, after)


def _on_detected(log: Log, line: Line) -> None:
    match = _DETECTED.search(line.text)
    if match is None:
        return
    value = "nan" if "nan" in match[2].lower() else "inf"
    log.event(
        "nonfinite-text",
        line,
        rank=int(match[1]),
        value=value,
        quantity="gradient",
        tensor=match[3],
    )


def _on_pipeline(log: Log, line: Line) -> None:
    match = _PIPELINE.search(line.text)
    value = parse(match[2]) if match else None
    if match is None or value is None:
        return
    step = int(match[1])
    log.step_is(step)
    row = log.rows.add_row(Counter(Basis.STEP, step), line.number, line.rank)
    log.rows.add("loss", row, value)


def _on_minimum(log: Log, line: Line) -> None:
    log.event("loss-scale-minimum", line)


def _on_version(log: Log, line: Line) -> None:
    match = _VERSION.search(line.text)
    if match is not None:
        source = Source(log.path, line=line.number, excerpt=line.excerpt)
        log.out.append(EnvironmentRecord(source, packages={"deepspeed": match[1]}))


def _on_configuration(log: Log, line: Line) -> None:
    """The ``name ..... value`` lines under ``DeepSpeedEngine configuration:``."""
    values: dict[str, Scalar] = {}
    source = Source(log.path, line=line.number, excerpt=line.excerpt)

    strangers = 0

    def take(line: Line) -> Take:
        nonlocal strangers
        match = _ECHO.fullmatch(line.text)
        if match is None:
            # Nested objects are printed over several lines between the settings.
            strangers += 1
            return Take.ASIDE if strangers <= _STRANGERS else Take.NOT_MINE
        strangers = 0
        setting = scalar(match[2].strip())
        if setting is not None:
            values[match[1]] = setting
        return Take.MORE

    def end() -> None:
        if values:
            log.out.append(ConfigRecord("deepspeed", dict(values), source))

    log.follow(line, take, end, 1000)


def scalar(text: str) -> Scalar:
    """A printed Python scalar; ``None`` for anything else."""
    if text in _BOOLEANS:
        return text == "True"
    if len(text) > 200 or not text or text in ("None", "..."):
        return None
    number = parse(text)
    if number is not None:
        return int(number) if re.fullmatch(r"[+-]?\d{1,18}", text) else number
    if text[0] in "[{(<":
        return None
    return text.strip("'\"")


def _on_json(log: Log, line: Line) -> None:
    follow_json(log, line, "deepspeed")


_BY_WORD: tuple[tuple[str, Handler], ...] = (
    ("skipping step.", _on_overflow),
    ("grad overflow on iteration", _on_grad_overflow),
    ("dynamic loss scale from", _on_scale_change),
    ("detected overflow", _on_detected),
    ("iter time (s)", _on_pipeline),
    ("loss scale already at minimum", _on_minimum),
    ("deepspeed info: version", _on_version),
    ("configuration:", _on_configuration),
    ("json = {", _on_json),
)


def _plan_progress(line: Line) -> Handler | None:
    """``skipped`` counts from the start of the run; of the rates the first group's is kept."""
    if _PROGRESS.search(line.text) is None:
        return None
    found: dict[str, Field] = {}
    for field in fields(line.parts):
        found.setdefault(field.key, field)
    points = {tag: found[key] for key, tag in _PROGRESS_TAGS.items() if key in found}
    tags, values = tuple(points), tuple(points.values())
    return Row(Basis.STEP, "deepspeed step", found["step"], None, None, tags, values)


def _plan(line: Line, lower: str) -> Handler | None:
    if "skipped=" in lower and (progress := _plan_progress(line)) is not None:
        return progress
    for word, handler in _BY_WORD:
        if word in lower:
            return handler
    return None


DIALECT = Dialect(
    name="deepspeed",
    triggers=("skipped=", *(word for word, _ in _BY_WORD)),
    plan=_plan,
    metrics=True,
)
