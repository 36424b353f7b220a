"""A result of a scan as rows of the catalog's tables."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from nanautopsy.scan.catalog.tables import ARTIFACTS, CAUSES, DOCUMENTS, FINDINGS, PACKAGES
from nanautopsy.scan.packing import pack
from nanautopsy.scan.results import ScanResult

Row = Mapping[str, Any]

_MOST_INTEGER = 2**63 - 1
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_STORED = re.compile(r"\\u(0000|d[89a-f][0-9a-f]{2})")
_PROGRAM = re.compile(r"[^\\/\s]+\.py\b")
"""A script's own name, whichever system its path is of."""


def stored(text: str) -> str:
    """``text`` without what a database cannot hold: NUL, and bytes of names that are not UTF-8.

    They are spelled out (``\\udcff``); :func:`given` takes that back, so that a run is found
    again under its name.
    """
    return _UNSTORABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def given(text: str) -> str:
    """What :func:`stored` was given."""
    return _STORED.sub(lambda match: chr(int(match[1], 16)), text)


def run_row(result: ScanResult) -> Row:
    """The row of ``runs``, without its key."""
    document: Mapping[str, Any] = result.document or {}
    onset = document.get("onset") or {}
    first: Mapping[str, Any] = next(iter(document.get("causes", ())), {})
    facts = document.get("facts", {})
    row = {
        "archive": result.archive,
        "root": result.root,
        "fingerprint": result.fingerprint,
        "rules": result.rules,
        "outcome": result.outcome,
        "reason": result.reason,
        "scanned_at": result.scanned_at,
        "seconds": result.seconds,
        "size": result.size,
        "version": document.get("nanautopsy_version"),
        "verdict": document.get("verdict"),
        "headline": document.get("headline"),
        "cause": first.get("id"),
        "probability": first.get("probability"),
        "onset_step": onset.get("step"),
        "onset_quantity": onset.get("quantity"),
        "onset_layer": onset.get("layer"),
        "signature": result.signature or None,
        "program": _program(document),
        "model": _value(facts, "architecture") or _value(facts, "model_type"),
    }
    waste = asdict(result.waste)
    row |= {"wasted_steps": waste.pop("steps"), "wasted_seconds": waste.pop("seconds")} | waste
    return _storable(row)


def detail_rows(result: ScanResult, run_id: int) -> Iterator[tuple[Any, Sequence[Row]]]:
    """The rows of each table in ``tables.DETAILS``."""
    document: Mapping[str, Any] = result.document or {}
    causes = [
        {"cause": c["id"], "probability": c["probability"]} for c in _list(document, "causes")
    ]
    findings = [
        {key: finding[key] for key in ("role", "step", "layer", "text")}
        | {"finding": finding["id"]}
        for finding in _list(document, "findings")
    ]
    artifacts = [
        {"path": a["path"], "kind": a["kind"], "size": a["bytes"], "status": a["status"]}
        for a in document.get("run", {}).get("artifacts", ())
    ]
    packages = [
        {"name": name, "version": package["version"]}
        for name, package in document.get("environment", {}).get("packages", {}).items()
    ]
    packed = {
        "document": result.packed or (None if result.document is None else pack(document)),
        "settings": None if result.document is None else pack(settings(document)),
        "records": result.records,
    }
    for table, rows in ((CAUSES, causes), (FINDINGS, findings), (ARTIFACTS, artifacts)):
        placed = [{"position": i} | row for i, row in enumerate(rows)]
        yield table, [{"run_id": run_id} | _storable(row) for row in placed]
    yield PACKAGES, [{"run_id": run_id} | _storable(row) for row in packages]
    yield DOCUMENTS, [{"run_id": run_id} | packed]


def settings(document: Mapping[str, Any]) -> dict[str, Any]:
    """The values of configuration, canonical facts and environment, without their sources.

    Facts stand under their name, settings under ``config.`` and the machine under
    ``environment.``.
    """
    parts = {
        "": document.get("facts", {}),
        "config.": document.get("config", {}),
        "environment.": document.get("environment", {}).get("facts", {}),
    }
    return {
        prefix + name: fact["value"] for prefix, facts in parts.items()
        for name, fact in facts.items()
    }  # fmt: skip


def _list(document: Mapping[str, Any], name: str) -> Sequence[Mapping[str, Any]]:
    rows: Sequence[Mapping[str, Any]] = document.get(name, ())
    return rows


def _value(facts: Mapping[str, Any], name: str) -> Any:
    return facts[name]["value"] if name in facts else None


def _program(document: Mapping[str, Any]) -> str | None:
    """The name of the script that trained."""
    facts = document.get("environment", {}).get("facts", {})
    for said in (_value(facts, "program"), _value(facts, "command")):
        names = _PROGRAM.findall(str(said or ""))
        if names:
            return str(names[0])
    return None


def _storable(row: Row) -> dict[str, Any]:
    """The row with values that every database takes."""
    return {name: _storable_value(value) for name, value in row.items()}


def _storable_value(value: Any) -> Any:
    if isinstance(value, str):
        return stored(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, int):
        return value if -_MOST_INTEGER <= value <= _MOST_INTEGER else None
    return value
