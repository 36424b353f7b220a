"""Results of scans that never were, for what looks at many of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from nanautopsy.scan.catalog import Catalog
from nanautopsy.scan.overview.overview import Overview, overview_of
from nanautopsy.scan.query import Filters
from nanautopsy.scan.results import Outcome, ScanResult, Waste

ARCHIVE = "/shared/runs"
SCANNED = 1_741_000_000.0
"""2025-03-03."""
DAY = 86_400.0


def made(
    root: str,
    cause: str | None = None,
    *,
    verdict: str | None = None,
    archive: str = ARCHIVE,
    signature: str | None = None,
    ended: float | None = SCANNED - DAY,
    onset: int | None = 812,
    layer: str | None = None,
    packages: Mapping[str, str] | None = None,
    settings: Mapping[str, Any] | None = None,
    program: str | None = None,
    model: str | None = None,
    waste: Waste | None = None,
    outcome: Outcome = "analyzed",
    reason: str = "",
) -> ScanResult:
    """A run that died of ``cause``; without one, a healthy run, or of another verdict."""
    verdict = verdict or ("non-finite" if cause else "healthy")
    failed = verdict in ("non-finite", "diverged")
    config = {name: {"value": value} for name, value in (settings or {}).items()}
    facts = {} if model is None else {"architecture": {"value": model}}
    machine = {} if program is None else {"program": {"value": program}}
    document: dict[str, Any] = {
        "nanautopsy_version": "0.1.0",
        "verdict": verdict,
        "headline": "",
        "onset": {"step": onset, "quantity": "loss", "layer": layer} if failed else None,
        "causes": [{"id": cause, "probability": 0.93}] if cause else [],
        "findings": [],
        "run": {"artifacts": []},
        "facts": facts,
        "config": config,
        "environment": {
            "packages": {name: {"version": said} for name, said in (packages or {}).items()},
            "facts": machine,
        },
    }
    if signature is None and failed:
        signature = f"{cause or 'undetermined'} loss=nan"
    return ScanResult(
        archive,
        root,
        "f",
        "r",
        outcome,
        SCANNED,
        0.5,
        1000,
        reason=reason,
        document=document if outcome == "analyzed" else None,
        signature=signature or "",
        waste=waste or Waste(900, 88 if failed else None, None, ended, 120.0 if failed else None),
    )


def kept(path: Path, results: Iterable[ScanResult]) -> Path:
    """A catalog of these results."""
    with Catalog.open(path) as catalog:
        catalog.record(results)
    return path


def overview(
    folder: Path, results: Iterable[ScanResult], filters: Filters | None = None
) -> Overview:
    """What these results tell together."""
    with Catalog.open(kept(folder / "catalog.db", results)) as catalog:
        return overview_of(catalog, filters)


def archive_of_many() -> list[ScanResult]:
    """Some of everything: causes, versions, dates, groups with healthy counterparts, runs that
    were not read."""
    results = []
    for i in range(24):
        cause = ("fp16-overflow", "lr-spike", "zero-init")[i % 3]
        results.append(
            made(
                f"exp{i % 3}/seed{i}",
                cause,
                ended=SCANNED - 20 * DAY * i - DAY,
                onset=100 + i,
                layer=f"model.layers.{i}.mlp" if i % 2 else None,
                packages={"torch": "2.1.0+cu118", "deepspeed": f"0.1{i % 4}.0"},
                settings={"training.lr": 0.01, "training.batch": 8, "training.seed": i},
                program="train.py",
                model="LlamaForCausalLM",
            )
        )
    results += [
        made(
            f"exp{i % 3}/fine{i}",
            ended=SCANNED - 15 * DAY * i - DAY,
            packages={"torch": "2.2.0", "deepspeed": f"0.1{i % 4}.0"},
            settings={"training.lr": 0.0001, "training.batch": 8, "training.seed": 90 + i},
            program="train.py",
            model="LlamaForCausalLM",
        )
        for i in range(30)
    ]
    results += [
        made("lonely", "moe-router", layer="moe.gate", ended=None),
        made("lost", verdict="undetermined", ended=None),
        made("flat", verdict="diverged", onset=None),
        made("slow", outcome="timed-out", reason="not done in 60 s"),
        made("torn", outcome="unreadable", reason="torn: nothing readable: <b>a.log</b>"),
    ]
    return results


def states() -> dict[str, list[ScanResult]]:
    """Catalogs of every kind, by name."""
    many = archive_of_many()
    torn = made("torn", outcome="crashed", reason="a defect")
    return {
        "many": many,
        "empty": [],
        "all healthy": [made(f"fine{i}") for i in range(3)],
        "all died": [made(f"r{i}", "lr-spike") for i in range(3)],
        "one died": [made("r", "lr-spike")],
        "one healthy": [made("r")],
        "one undetermined": [made("r", verdict="undetermined")],
        "one not read": [torn],
        "no times": [made(f"r{i}", "lr-spike", ended=None, waste=Waste()) for i in range(3)],
        "several archives": [made("r", "lr-spike"), made(".", archive="/other"), torn],
        "unknown cause": [made("r", "of-a-third-party", layer="x" * 200)],
    }
