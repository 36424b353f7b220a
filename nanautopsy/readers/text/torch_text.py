"""What torch, numpy, JAX and TensorFlow say when a number goes wrong.

Samples::

    RuntimeError: Function 'SqrtBackward0' returned nan values in its 0th output.
    RuntimeError: probability tensor contains either `inf`, `nan` or element < 0
    ValueError: Expected parameter logits (Tensor of shape (1, 2)) of distribution \
Categorical(logits: torch.Size([1, 2])) to satisfy the constraint ..., but found invalid values:
    NanCheck.cu:15: checkForNaN: block: [0,0,0], thread: [3,0,0] Assertion `!isnan(val)` failed.
    /a/b.py:42: RuntimeWarning: divide by zero encountered in log                         (numpy)
    FloatingPointError: invalid value (nan) encountered in jit(train_step)                  (JAX)
    InvalidArgumentError: loss : Tensor had NaN values                                       (TF)
    !!! Detected Infinity or NaN in output 0 of graph op "Log" (# of outputs: 1) !!!          (TF)
    RuntimeError: The total norm of order 2.0 for gradients from `parameters` is non-finite, so \
it cannot be clipped.

Anomaly mode warns before it raises, with the traceback of the forward call: its last frame is the
line of the program that made the bad number.
"""

from __future__ import annotations

import re

from nanautopsy.readers.text.dialect import Dialect, Handler, Line, Log, Take

_FORWARD = re.compile(r"Error detected in (\w+)\. (?:Traceback of forward call|No forward pass)")
_FRAME = re.compile(r'\s*File "([^"]+)", line (\d+), in (.+)')
_MEMORY = "torch"
_MOST_FRAMES = 400
_BACKWARD = re.compile(r"Function '(\w+)' returned (nan|inf)[\w ]* in its (\d+)(?:th|st|nd|rd)?")
_WARNING = re.compile(
    r"RuntimeWarning: (divide by zero|overflow|invalid value|underflow) encountered in (\S+)"
)
_DISTRIBUTION = re.compile(
    r"Expected parameter (\w+) \(.{0,200} of distribution (\w+)\(.{0,300}but found invalid values"
)
_JAX = re.compile(r"[Ii]nvalid (?:nan )?value \((nan|inf)\) encountered in (.+?)(?:\. |\.?$)")
_JAX_JIT = "Invalid nan value encountered in the output of"
_TF = re.compile(r"Tensor had (NaN|Inf)(?: and (?:NaN|Inf))? values")
_TF_OUTPUT = re.compile(
    r"!!! Detected (Infinity or NaN|Infinity|NaN) in output \d+ of .{0,30}op (.{1,80}?) \(#"
)
_NORM = re.compile(r"total norm of order \S+ for gradients from .{0,60} is non-finite")


def _on_forward(log: Log, line: Line) -> None:
    """Keep the last frame of the forward call until anomaly mode raises."""
    function = _FORWARD.search(line.text)
    frame: list[str] = []

    def take(line: Line) -> Take:
        text = line.text
        found = _FRAME.match(text)
        if found is not None:
            frame[:] = [f"{found[1]}:{found[2]}"]
            return Take.MORE
        if frame and len(frame) == 1 and text.startswith("    "):
            frame.append(text.strip()[:200])
        if "(Triggered" in text:
            return Take.LAST
        return Take.MORE if text[:1] in (" ", "\t") else Take.NOT_MINE

    def end() -> None:
        if function is not None and frame:
            log.memory[_MEMORY] = (function[1], ": ".join(frame))

    log.follow(line, take, end, _MOST_FRAMES)


def _on_backward(log: Log, line: Line) -> None:
    match = _BACKWARD.search(line.text)
    if match is None:
        return
    forward = log.memory.get(_MEMORY)
    made_at = forward[1] if isinstance(forward, tuple) and forward[0] == match[1] else None
    log.event(
        "backward-nonfinite",
        line,
        function=match[1],
        value=match[2],
        output=int(match[3]),
        forward=made_at,
    )


def _on_distribution(log: Log, line: Line) -> None:
    """torch.distributions checks what a policy's network gives it."""
    match = _DISTRIBUTION.search(line.text)
    if match is not None:
        log.event("sampling-assert", line, quantity=match[1], distribution=match[2])


def _on_collective(log: Log, line: Line) -> None:
    """``TORCH_NCCL_NAN_CHECK=1``: a rank was about to send a NaN."""
    log.event("nonfinite-text", line, value="nan", quantity="tensor", operation="collective")


def _on_sampling(log: Log, line: Line) -> None:
    log.event("sampling-assert", line, quantity="probabilities")


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
        value = "nan" if "NaN" in match[0] else "inf"
        log.event("nonfinite-text", line, value=value, quantity="tensor")


def _on_tf_output(log: Log, line: Line) -> None:
    """``tf.debugging.enable_check_numerics``."""
    match = _TF_OUTPUT.search(line.text)
    if match is not None:
        value = "inf" if match[1] == "Infinity" else "nan"
        operation = match[2].strip("\"'")
        log.event("nonfinite-text", line, value=value, quantity="operation", operation=operation)


def _on_norm(log: Log, line: Line) -> None:
    if _NORM.search(line.text):
        log.event("nonfinite-text", line, value="nan", quantity="gradient")


_BY_WORD: tuple[tuple[str, Handler, re.Pattern[str] | None], ...] = (
    ("returned nan", _on_backward, _BACKWARD),
    ("returned inf", _on_backward, _BACKWARD),
    ("traceback of forward call", _on_forward, None),
    ("probability tensor contains", _on_sampling, None),
    ("but found invalid values", _on_distribution, _DISTRIBUTION),
    ("`!isnan(val)` failed", _on_collective, None),
    ("runtimewarning:", _on_numpy, _WARNING),
    ("encountered in", _on_jax, re.compile(f"{_JAX.pattern}|{_JAX_JIT}")),
    ("tensor had ", _on_tf, _TF),
    ("!!! detected ", _on_tf_output, _TF_OUTPUT),
    ("for gradients from", _on_norm, _NORM),
)
"""Word, what reads its line, and what else the line must hold: others say it in words of their
own."""


def _plan(line: Line, lower: str) -> Handler | None:
    for word, handler, pattern in _BY_WORD:
        if word in lower and (pattern is None or pattern.search(line.text)):
            return handler
    return None


DIALECT = Dialect(
    name="torch", triggers=tuple(word for word, _, _ in _BY_WORD), plan=_plan, statement=True
)
