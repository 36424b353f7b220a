"""The result for machines: schema version 1, described by ``nanautopsy/schema/autopsy-1.json``.

Strict JSON: a number that JSON cannot hold is the string ``"nan"``, ``"inf"`` or ``"-inf"``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from nanautopsy.model import (
    Autopsy,
    Checkpoint,
    Evidence,
    Fact,
    Finding,
    Onset,
    Package,
    Quote,
    RankedCause,
    Series,
)
from nanautopsy.render._clean import cleaned
from nanautopsy.render._facts import summarize, tensor_note, worst_first
from nanautopsy.render._json_values import present, source_values, strict, tensor_values

SCHEMA_VERSION = "1"
MAX_TENSORS = 100
"""Remarkable tensors that one checkpoint lists; ``remarkable`` counts them all."""


def render(autopsy: Autopsy) -> str:
    """The JSON document, with a line end."""
    return json.dumps(document(autopsy), indent=2, allow_nan=False) + "\n"


def document(autopsy: Autopsy) -> dict[str, Any]:
    """What :func:`render` writes, before it is text."""
    plain: dict[str, Any] = strict(to_dict(cleaned(autopsy)))
    return plain


def to_dict(autopsy: Autopsy) -> dict[str, Any]:
    """The document as plain dictionaries and lists; it may still hold NaN."""
    run = autopsy.run
    return {
        "schema_version": SCHEMA_VERSION,
        "nanautopsy_version": autopsy.version,
        "run": {
            "path": run.path,
            "artifacts": [
                present(asdict(artifact) | {"problems": list(artifact.problems)}, "digest")
                for artifact in run.artifacts
            ],
            "notes": list(run.notes),
        },
        "verdict": autopsy.verdict,
        "headline": autopsy.headline,
        "onset": None if autopsy.onset is None else _onset(autopsy.onset),
        "causes": [_cause(cause) for cause in autopsy.causes],
        "considered": [_cause(cause) for cause in autopsy.considered],
        "findings": [_finding(finding) for finding in autopsy.findings],
        "timeline": [
            {"step": e.step, "time": e.time, "text": e.text, "source": source_values(e.source)}
            for e in autopsy.timeline
        ],
        "coverage": {
            "seen": list(autopsy.coverage.seen),
            "missing": [asdict(missing) for missing in autopsy.coverage.missing],
        },
        "environment": {
            "packages": {name: _package(package) for name, package in run.packages.items()},
            "facts": _facts(run.environment),
        },
        "config": _facts(run.config),
        "facts": _facts(run.facts),
        "series": [_series(series) for series in run.series],
        "checkpoints": [_checkpoint(checkpoint) for checkpoint in run.checkpoints],
        "quotes": [_quote(quote) for quote in autopsy.quotes],
        "redactions": sum(autopsy.hidden.values()),
        "hidden": dict(autopsy.hidden),
    }


def _onset(onset: Onset) -> dict[str, Any]:
    return {
        "step": onset.step,
        "interval": [onset.last_finite, onset.step],
        "axis": onset.axis,
        "quantity": onset.quantity,
        "value": onset.value,
        "persistent": onset.persistent,
        "layer": onset.layer,
        "layers": list(onset.layers),
        "rank": onset.rank,
        "masked": onset.masked,
        "how": onset.how,
        "source": source_values(onset.source),
    }


def _quote(quote: Quote) -> dict[str, Any]:
    about = asdict(quote) | {"lines": list(quote.lines), "cited": list(quote.cited)}
    return present(about, "onset")


def _cause(cause: RankedCause) -> dict[str, Any]:
    return {
        "id": cause.id,
        "title": cause.title,
        "probability": cause.probability,
        "status": cause.status,
        "evidence": [_evidence(evidence) for evidence in cause.evidence],
        "remedies": list(cause.remedies),
        "references": list(cause.references),
    } | ({"reason": cause.reason} if cause.reason else {})


def _evidence(evidence: Evidence) -> dict[str, Any]:
    return {
        "for": evidence.supports,
        "strength": evidence.strength,
        "text": evidence.text,
        "source": source_values(evidence.source),
    }


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "id": finding.id,
        "role": finding.role,
        "step": finding.step,
        "last_good": finding.last_good,
        "layer": finding.layer,
        "text": finding.text,
        "source": source_values(finding.source),
        "data": dict(finding.data),
    }


def _facts(facts: Mapping[str, Fact]) -> dict[str, Any]:
    return {
        key: {"value": fact.value, "source": source_values(fact.source)}
        for key, fact in facts.items()
    }


def _package(package: Package) -> dict[str, Any]:
    conflicts = [
        {"version": version, "source": source_values(source)}
        for version, source in package.conflicts
    ]
    known = {"version": package.version, "source": source_values(package.source)}
    return known | ({"conflicts": conflicts} if conflicts else {})


def _series(series: Series) -> dict[str, Any]:
    about = {
        "tag": series.tag,
        "role": series.role,
        "axis": series.axis,
        "layer": series.layer,
        "rank": series.rank,
        "source": source_values(series.source),
    }
    return present(about, "layer", "rank") | asdict(summarize(series))


def _checkpoint(checkpoint: Checkpoint) -> dict[str, Any]:
    remarkable = [tensor for tensor in worst_first(checkpoint) if tensor_note(tensor)]
    about = {
        "path": checkpoint.path,
        "kind": checkpoint.kind,
        "step": checkpoint.step,
        "holds": checkpoint.holds,
        "depth": checkpoint.depth,
        "inferred": checkpoint.inferred or None,
        "state": dict(checkpoint.state) or None,
        "tensors": len(checkpoint.tensors),
        "nonfinite_tensors": len(checkpoint.nonfinite),
        "unread_tensors": list(checkpoint.missing),
        "remarkable": len(remarkable),
        "worst": [tensor_values(tensor) for tensor in remarkable[:MAX_TENSORS]],
    }
    return present(about, "inferred", "state")
