"""What a recipe trains: a story, what it stages, and in which family of models and framework."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

Keep = Literal["all", "log", "checkpoints", "curves"]
TEST_FRAMEWORKS = frozenset({"jax", "lightning"})
TEST_FAMILIES = frozenset({"cnn", "lstm", "encoder-decoder", "diffusion", "gan"})
TUNED_TOO = frozenset(
    {("jax", "decoder"), ("lightning", "decoder"), ("lightning", "vision-language")}
)
"""Framework and family that are for tuning, though the framework's other runs are held out."""


@dataclass(frozen=True)
class Staged:
    """A story with its truth, as far as it is known before training."""

    train: Callable[[Any], None]
    """Takes a :class:`harness.session.Session`; its ``healthy`` chooses the twin."""
    about: str
    """The cause that it stages, or that its benign course resembles."""
    family: str
    """Of the model."""
    framework: str = "torch"
    benign: str | None = None
    """What looks suspicious in it, where it never fails."""
    decoy: str | None = None
    """What else looks suspicious in its failing variant, and is not the cause."""
    sees_layers: bool = False
    """Whether its log names modules with numbers of their own."""
    hidden: str | None = None
    """Why its artifacts cannot tell the cause, where its kind of failure usually can be told."""
    excused: bool = False
    """Whether its benign course has non-finite values that no one would call a failure."""
    needs: str | None = None
    """The release that it must be trained with, as ``package==version``."""

    @property
    def part(self) -> str:
        """``tune`` or ``test``: by family and framework, so that no twin crosses the split."""
        held_out = self.framework in TEST_FRAMEWORKS or self.family in TEST_FAMILIES
        tuned = (self.framework, self.family) in TUNED_TOO
        return "test" if held_out and not tuned else "tune"
