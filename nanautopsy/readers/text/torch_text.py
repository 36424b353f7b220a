"""What torch, apex, numpy, JAX and TensorFlow say when a number goes wrong.

Samples::

    RuntimeError: Function 'SqrtBackward0' returned nan values in its 0th output.
    RuntimeError: probability tensor contains either `inf`, `nan` or element < 0
    Gradient overflow.  Skipping step, loss scaler 0 reducing loss scale to 32768.0        (apex)
    /a/b.py:42: RuntimeWarning: divide by zero encountered in log                         (numpy)
    FloatingPointError: invalid value (nan) encountered in jit(train_step)                  (JAX)
    InvalidArgumentError: loss : Tensor had NaN values                                       (TF)
    RuntimeError: The total norm of order 2.0 for gradients from `parameters` is non-finite, so \
it cannot be clipped.
"""

from __future__ import annotations

import re

from nanautopsy.readers.text.dialect import Dialect, Handler, Line, Log
from nanautopsy.readers.text.numbers import parse

_BACKWARD = re.compile(r"Function '(\w+)' returned (nan|inf)[\w ]* in its (\d+)(?:th|st|nd|rd)?")
_APEX = re.compile(
    r"Gradient overflow\.\s+Skipping step"
    r"(?:, loss scaler (\d+) reducing loss scale to ([\d.e+-]+))?"
)
_WARNING = re.compile(
    r"RuntimeWarning: (divide by zero|overflow|invalid value|underflow) encountered in (\S+)"
)
_JAX = re.compile(r"[Ii]nvalid (?:nan )?value \((nan|inf)\) encountered in (.+?)\.?$")
_JAX_JIT = "Invalid nan value encountered in the output of"
_TF = re.compile(r"Tensor had (NaN|Inf)(?: and (?:NaN|Inf))? values")
_NORM = re.compile(r"total norm of order \S+ for gradients from .{0,60} is non-finite")


def _on_backward(log: Log, line: Line) -> None:
    match = _BACKWARD.search(line.text)
    if match is not None:
        log.event(
            "backward-nonfinite", line, function=match[1], value=match[2], output=int(match[3])
        )


def _on_sampling(log: Log, line: Line) -> None:
    log.event("sampling-assert", line, quantity="probabilities")


def _on_apex(log: Log, line: Line) -> None:
    match = _APEX.search(line.text)
    if match is None:
        return
    scale = parse(match[2].rstrip(".")) if match[2] else None
    log.event("overflow-skipped", line, scale_after=scale)
    if scale is not None:
        row = log.rows.add_row(log.latest(), line.number, line.rank)
        log.rows.add("loss_scale", row, scale)


def _on_numpy(log: Log, line: Line) -> None:
    match = _WARNING.search(line.text)
    if match is None or match[1] == "underflow":
        return
    value = "nan" if match[1] == "invalid value" else "inf"
    log.event("nonfinite-text", line, value=value, quantity="warning", operation=match[2])


def _on_jax(log: Log, line: Line) -> None:
    text = line.text
    match = _JAX.search(text)
    if match is not None:
        log.event(
            "nonfinite-text", line, value=match[1], quantity="operation", operation=match[2][:80]
        )
    elif _JAX_JIT in text:
        log.event("nonfinite-text", line, value="nan", quantity="operation", operation="jit")


def _on_tf(log: Log, line: Line) -> None:
    match = _TF.search(line.text)
    if match is not None:
        log.event("nonfinite-text", line, value=match[1].lower(), quantity="tensor")


def _on_norm(log: Log, line: Line) -> None:
    if _NORM.search(line.text):
        log.event("nonfinite-text", line, value="nan", quantity="gradient")


_BY_WORD: tuple[tuple[str, Handler], ...] = (
    ("returned nan", _on_backward),
    ("returned inf", _on_backward),
    ("probability tensor contains", _on_sampling),
    ("gradient overflow.", _on_apex),
    ("runtimewarning:", _on_numpy),
    ("encountered in", _on_jax),
    ("tensor had ", _on_tf),
    ("for gradients from", _on_norm),
)


def _plan(line: Line, lower: str) -> Handler | None:
    for word, handler in _BY_WORD:
        if word in lower:
            return handler
    return None


DIALECT = Dialect(
    name="torch", triggers=tuple(word for word, _ in _BY_WORD), plan=_plan, statement=True
)
