"""What the line of the forward call shows of an operation that a backward trace names."""

from __future__ import annotations

import re

from nanautopsy.model import Finding, LogEvent

_MASKED = re.compile(r"\bwhere\(")
"""A choice between branches on the line of the forward call: the one that is not taken has a
gradient too, of 0 times what may be Inf."""
_PLAIN = re.compile(r"(Mul|Var|VarMean|Sum|Mean|Sub|Add|Square)Backward", re.IGNORECASE)
_ROOT = re.compile(
    r"\b(?:r?sqrt|norm|a(?:rc)?cos|a(?:rc)?sin|cbrt|hypot)\("
    # The fractional power of a sum, a mean or a clamped number; of the exponent no more is needed.
    r"|(?:\*\*\s*|\bpow(?:er)?\([^,()]*(?:\([^()]*\)[^,()]*)*,\s*|\.pow\()"
    r"(?:\(?\s*1(?:\.0?)?\s*/|0?\.\d|-0?\.\d)"
)
_SQUARED = re.compile(r"\*\*\s*2|\bpow\([^()]*2\)|\bsquare\(")
"""Had the forward pass been NaN, the root's own backward function, which comes before theirs, would
have been the first."""
_POWER = re.compile(r"(?:\*\*|\bpow\((?:[^(),]*,)?)\s*\(?\s*(-?\d*\.?\d+)(?:\s*/\s*(\d*\.?\d+))?")
"""``x ** 0.5``, ``x.pow(2)``, ``torch.pow(x, 1 / 3)``"""


def is_jax_root(event: LogEvent) -> bool:
    """Whether JAX's ``debug_nans`` names a product in the backward pass of a line with a root."""
    place = str(event.data.get("forward", ""))
    return event.data.get("operation") in ("mul", "div") and _ROOT.search(place) is not None


def shows_inf(finding: Finding | LogEvent) -> bool:
    """Whether the line of the forward call shows where an Inf comes from that the named function
    multiplies by 0: a branch that is not taken, or a root behind it."""
    place, function = str(finding.data.get("forward", "")), str(finding.data.get("function", ""))
    if _MASKED.search(place):
        return True
    if _PLAIN.match(function):
        return _ROOT.search(place) is not None
    return function.startswith("Pow") and _is_root_of_squares(place)


def _is_root_of_squares(place: str) -> bool:
    """Whether what a root is taken of is squared: at 0 the root hands on an Inf, times 0."""
    for root in _ROOT.finditer(place):
        squared = _SQUARED.search(place, root.end())
        if squared is not None and root[0].endswith("("):
            between = place[root.end() : squared.start()]
            if between.count("(") >= between.count(")"):
                return True
    return False


def is_smooth_power(finding: Finding) -> bool:
    """Whether the line of the forward call raises to powers of 1 and more: their derivative is
    finite, so the NaN came in from the forward pass."""
    found = exponents(finding)
    return bool(found) and min(found) >= 1


def exponents(finding: Finding) -> list[float]:
    """Of a power in the backward trace, those that stand on the line of its forward call."""
    place = str(finding.data.get("forward", ""))
    if not str(finding.data.get("function", "")).startswith("Pow"):
        return []
    found = _POWER.findall(place)
    return [float(top) / float(bottom or 1) for top, bottom in found if float(bottom or 1)]
