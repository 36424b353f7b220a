"""Runs built in memory, for the stages that take a Run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nanautopsy.causes.interface import Case
from nanautopsy.diagnose import diagnose, load_causes
from nanautopsy.facts import derive
from nanautopsy.model import (
    Checkpoint,
    ConfigRecord,
    Fact,
    Finding,
    LogEvent,
    Package,
    Run,
    Scalar,
    Series,
    Source,
    TensorHealth,
)
from nanautopsy.onset import Located, locate
from nanautopsy.plugins import load_parts
from nanautopsy.roles import classify

NAN, INF = float("nan"), float("inf")


def series(tag: str, values: Sequence[float], steps: Sequence[int] | None = None) -> Series:
    """A series with the role that its tag gives it, steps from 1 on."""
    role, layer = classify(tag)
    at = np.arange(1, len(values) + 1) if steps is None else np.asarray(steps)
    return Series(
        tag, at.astype(np.int64), np.asarray(values, dtype=np.float64), Source("log", tag=tag),
        role=role, layer=layer,
    )  # fmt: skip


def tensor(name: str, shape: tuple[int, ...] = (4, 4), **counts: float) -> TensorHealth:
    """A sound float32 tensor, or what ``counts`` make of it."""
    numel = int(np.prod(shape))
    zero = int(counts.pop("zero", 0))
    values: dict[str, object] = {
        "dtype": "F32", "nan": 0, "pos_inf": 0, "neg_inf": 0, "zero": zero,
        "max_abs": 0.0 if zero == numel else 1.0, "rms": 0.0 if zero == numel else 0.5,
        "format_max": 3.4e38, "first_nonfinite": None, "path": "model.safetensors",
    }  # fmt: skip
    values |= counts
    return TensorHealth(name=name, shape=shape, **values)  # type: ignore[arg-type]


def checkpoint(step: int | None, *tensors: TensorHealth) -> Checkpoint:
    """One checkpoint."""
    return Checkpoint(f"checkpoint-{step}", "safetensors", step, tensors)


def event(kind: str, text: str = "", step: int | None = None, **data: object) -> LogEvent:
    """One log event."""
    return LogEvent(kind, text or kind, Source("train.log", line=7), step, data=data)  # type: ignore[arg-type]


def make_run(
    *parts: Series | Checkpoint | LogEvent,
    config: Mapping[str, Mapping[str, Scalar]] | None = None,
    packages: Mapping[str, str] | None = None,
) -> Run:
    """A run of these parts; ``config`` maps a kind (training, deepspeed, model) to settings."""
    all_series = tuple(p for p in parts if isinstance(p, Series))
    events = tuple(p for p in parts if isinstance(p, LogEvent))
    records = [
        ConfigRecord(kind, values, Source(f"{kind}.json"))
        for kind, values in (config or {}).items()
    ]
    return Run(
        path="run",
        artifacts=(),
        series=all_series,
        events=events,
        checkpoints=tuple(p for p in parts if isinstance(p, Checkpoint)),
        config={
            f"{r.kind}.{key}": Fact(value, r.source)
            for r in records
            for key, value in r.values.items()
        },
        facts=derive(records, (), events, all_series),
        packages={
            name: Package(name, version, Source("requirements.txt"))
            for name, version in (packages or {}).items()
        },
        environment={},
    )


def detect(run: Run) -> list[Finding]:
    """The findings of every detector."""
    parts = load_parts(("nanautopsy.detectors",), "DETECTOR").parts
    return [finding for detector in parts for finding in detector.detect(run)]


def judge(run: Run) -> Located:
    """Verdict and onset."""
    return locate(run, detect(run))


def case_of(run: Run) -> Case:
    """What a cause is given."""
    located = judge(run)
    return Case(run, located.findings, located.onset, located.verdict)


def named_cause(*parts: Series | Checkpoint | LogEvent, **more: Any) -> str | None:
    """Id of the cause that is named first for a run of these parts; ``None``: undetermined."""
    causes = diagnose(case_of(make_run(*parts, **more)), load_causes().parts).causes
    return causes[0].id if causes else None
