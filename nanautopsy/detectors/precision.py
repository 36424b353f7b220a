"""Formats that were really used, where saved tensors contradict or sharpen what settings say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from nanautopsy.checkpoints.damage import weights
from nanautopsy.detectors.interface import Detector
from nanautopsy.model import Checkpoint, Finding, Run, Source, TensorHealth
from nanautopsy.wording import Phrase, phrase

_NARROW = frozenset({"F16", "BF16"})
_NATIVE_BFLOAT16 = (8, 0)
"""NVIDIA compute capability from which bfloat16 is computed; before it is emulated, though
``torch.cuda.is_bf16_supported()`` says True (nanoVLM#50)."""


@dataclass(frozen=True, slots=True)
class Saved:
    """The formats in which training saved its state, each that of most elements."""

    checkpoint: Checkpoint
    parameters: str
    moments: str | None
    masters: str | None

    @property
    def text(self) -> Phrase:
        """In words."""
        return phrase(
            "{path} holds parameters in {parameters}{moments}{masters}",
            path=self.checkpoint.path,
            parameters=self.parameters,
            moments=phrase(", moments in {dtype}", dtype=self.moments) if self.moments else "",
            masters=phrase(", a master copy in {dtype}", dtype=self.masters)
            if self.masters
            else "",
        )


def saved(run: Run) -> Saved | None:
    """What the first model that training saved, and the state beside it, are in."""
    own = [c for c in run.checkpoints if c.step and c.tensors]
    for checkpoint in own:
        parameters = _format(t for t in weights(checkpoint) if t.part == "parameter")
        if parameters is not None and checkpoint.holds == "model":
            state = [t for c in own if c.step == checkpoint.step for t in c.tensors]
            return Saved(
                checkpoint,
                parameters,
                _format(t for t in state if t.part == "moment" and t.numel > 1),
                _format(t for t in state if t.part == "master"),
            )
    return None


def _detect(run: Run) -> Iterator[Finding]:
    yield from _narrow(run)
    yield from _emulated(run)


def _narrow(run: Run) -> Iterator[Finding]:
    """Parameters that are updated in 16 bits: their moments are too, with no wider copy."""
    found = saved(run)
    if found is None or found.parameters not in _NARROW or found.masters is not None:
        return
    if found.moments in _NARROW:
        yield Finding(
            id="updates-in-16-bits",
            text=phrase("{saved}, and no wider copy: updates are computed in it", saved=found.text),
            source=Source(found.checkpoint.path),
            step=found.checkpoint.step,
            data={"parameters": found.parameters, "moments": found.moments},
        )


def _format(tensors: Iterable[TensorHealth]) -> str | None:
    """The format of most of them, by elements."""
    sizes: Counter[str] = Counter()
    for tensor in tensors:
        if tensor.format_max is not None:
            sizes[tensor.dtype] += tensor.numel
    return sizes.most_common(1)[0][0] if sizes else None


def _emulated(run: Run) -> Iterator[Finding]:
    capability, dtype = run.facts.get("compute_capability"), run.facts.get("compute_dtype")
    if capability is None or dtype is None or dtype.value != "BF16":
        return
    level = tuple(int(part) for part in str(capability.value).split(".") if part.isdigit())
    if level and level < _NATIVE_BFLOAT16:
        yield Finding(
            id="bfloat16-emulated",
            text=phrase(
                "the run asks for bfloat16 on a GPU of compute capability {capability}, which "
                "only emulates it: some programs compute in float16 or float32 instead",
                capability=capability.value,
            ),
            source=capability.source,
            data={"capability": str(capability.value)},
        )


DETECTOR = Detector("precision", _detect)
