"""Decompositions of matrices, whose derivative is infinite where two of their values are equal."""

from __future__ import annotations

import re

from nanautopsy.model import Finding, LogEvent

_NAMES = re.compile(r"^(?:svd|svdvals|eigh?|eigvalsh?|matrix_norm)$")
"""The derivative of singular and eigenvectors divides by the differences of the values: of a matrix
that is 0, as the product of an adapter's two is at the start, all of them are equal."""


def is_decomposition(said: Finding | LogEvent) -> bool:
    """Whether torch says that one was handed what is not finite. That the forward pass before was
    finite is asked elsewhere: then the matrix was made of weights which its own gradient broke."""
    return bool(_NAMES.match(str(said.data.get("operation"))))
