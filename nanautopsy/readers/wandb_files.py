"""The small files that W&B keeps beside its run file, or instead of one.

* ``config.yaml``: the config, one ``wandb`` record; the telemetry in it tells versions.
* ``wandb-metadata.json``: machine, command, commit.
* ``wandb-summary.json``: the last value of every key, as ``wandb_summary`` settings. A value
  that is NaN or infinite is a series of one point too, under its own key at the summary's
  ``_step``, with the step counters beside it: in a run whose history is gone it is all that
  shows the failure. A finite value is not: it may be older than ``_step``.
* ``wandb-history.jsonl``: the history itself, of versions before 0.10, which had no run file.
* ``wandb-events.jsonl``: those versions' measurements of processor and GPU; skipped.
* ``debug.log``: W&B's log of itself. It prints the config, in which NaN is still NaN: those
  settings are taken from it. The other debug logs are skipped; they say nothing of the run, and
  their network errors must not pass for the run's own.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from typing import Any

from nanautopsy.model import (
    Artifact,
    Claim,
    ConfigRecord,
    EnvironmentRecord,
    FileHead,
    Record,
    Scalar,
    Skipped,
    Source,
)
from nanautopsy.readers import _wandb_facts as wandb_facts
from nanautopsy.readers import _yaml
from nanautopsy.readers._damage import Damage
from nanautopsy.readers._flatten import flatten
from nanautopsy.readers._json_scan import Damaged, JsonScan
from nanautopsy.readers._python_repr import LONGEST_TEXT, load_repr
from nanautopsy.readers._wandb_values import NOT_METRICS, points, whole
from nanautopsy.readers.columns import Columns
from nanautopsy.wording import phrase

_COUNTER = re.compile(r"(?:\A|[/_.])step\Z")
_CONFIG_MARK = re.compile(rb"^(?:wandb_version|_wandb):", re.M)
_DEBUG_NAMES = frozenset({"debug.log", "debug-internal.log", "debug-core.log", "debug-cli.log"})
_DEBUG_MARK = re.compile(rb"wandb_setup\.py|wandb_init\.py|wandb_internal|wandb-core|W&B internal")
_LONGEST_ROW = 32 << 20
_NAMES = {
    "wandb-summary.json": "wandb-summary",
    "wandb-metadata.json": "wandb-metadata",
    "wandb-history.jsonl": "wandb-history",
    "wandb-events.jsonl": "wandb-events",
}


class _WandbFiles:
    name = "wandb-files"

    def claim(self, file: FileHead) -> Claim | None:
        if file.name in _NAMES:
            return Claim(_NAMES[file.name], 95)
        if file.name in _DEBUG_NAMES and _DEBUG_MARK.search(file.head):
            return Claim("wandb-debug", 90)
        if file.name == "config.yaml":
            if _CONFIG_MARK.search(file.head):
                return Claim("wandb-config", 95)
            if re.search(r"(?:\A|/)(?:offline-)?run-[^/]+/files\Z", file.directory):
                return Claim("wandb-config", 80)
        return None

    def read(self, artifact: Artifact) -> Iterator[Record]:
        readers: dict[str, Callable[[Artifact], Iterator[Record]]] = {
            "wandb-config": _config,
            "wandb-metadata": _metadata,
            "wandb-summary": _summary,
            "wandb-history": _history,
            "wandb-debug": _debug,
            "wandb-events": _events,
        }
        return readers[artifact.kind](artifact)


def _config(artifact: Artifact) -> Iterator[Record]:
    source, damage = Source(artifact.path), Damage(artifact.path)
    with open(artifact.location, "rb") as file:
        text = file.read(_yaml.LARGEST_TEXT + 1).decode("utf-8-sig", "replace")
    try:
        entries = _yaml.load(text)
    except _yaml.YamlDamage as error:
        damage.note(phrase("is not whole YAML: {error}", error=error))
        entries = error.rest
    except ValueError as error:
        yield Skipped(phrase("is not YAML: {error}", error=error))
        return
    if isinstance(entries, dict):
        entries = {key: _value_of(entry) for key, entry in entries.items()}
        private = entries.pop("_wandb", None)
        entries.pop("wandb_version", None)
        if entries:
            yield ConfigRecord("wandb", flatten(entries), source)
        if isinstance(private, dict):
            facts, packages = wandb_facts.from_private(private)
            yield EnvironmentRecord(source, packages, facts)
    elif entries is not None:
        damage.note(phrase("holds no settings"))
    yield from damage.problems()


def _value_of(entry: Any) -> Any:
    """W&B wraps each setting as ``{desc: ..., value: ...}``."""
    if isinstance(entry, dict) and "value" in entry and not set(entry) - {"value", "desc"}:
        return entry["value"]
    return entry


def _metadata(artifact: Artifact) -> Iterator[Record]:
    damage = Damage(artifact.path)
    facts = wandb_facts.from_metadata(_members(artifact, damage))
    if facts:
        yield EnvironmentRecord(Source(artifact.path), {}, facts)
    yield from damage.problems()


def _summary(artifact: Artifact) -> Iterator[Record]:
    damage = Damage(artifact.path)
    values = _members(artifact, damage)
    private = values.pop("_wandb", None)
    plain = {key: value for key, value in values.items() if not _is_media(value)}
    if plain:
        yield ConfigRecord("wandb_summary", flatten(plain), Source(artifact.path))
    if isinstance(private, dict) and "runtime" in private:
        facts = {"runtime_seconds": str(private["runtime"])}
        yield EnvironmentRecord(Source(artifact.path), {}, facts)
    step = whole(values.get("_step"))
    shown = [
        (tag, number)
        for key, value in values.items()
        if key not in NOT_METRICS
        for tag, number in points(key, value)
        if number is not None and (not math.isfinite(number) or _COUNTER.search(tag))
    ]
    if not all(math.isfinite(number) for _, number in shown):
        columns = Columns(artifact.path)
        for tag, number in shown:
            columns.add(tag, step or 0, number, axis="record" if step is None else "step")
        yield from columns.series()
    yield from damage.problems()


def _is_media(value: Any) -> bool:
    return isinstance(value, dict) and "_type" in value


def _members(artifact: Artifact, damage: Damage) -> dict[str, Any]:
    """The members of the JSON object in the file, as far as it is intact."""
    values: dict[str, Any] = {}
    with open(artifact.location, "rb") as file:
        scan = JsonScan(file)
        try:
            for key in scan.members():
                values[key] = scan.value()
        except Damaged as error:
            damage.note(phrase("is not whole JSON: {error}", error=error), error.offset, error.line)
    return values


def _history(artifact: Artifact) -> Iterator[Record]:
    columns, damage = Columns(artifact.path), Damage(artifact.path)
    with open(artifact.location, "rb") as file:
        number = 0
        while line := file.readline(_LONGEST_ROW):
            number += 1
            row = _row(line)
            if row is None:
                if line.strip():
                    damage.note(phrase("a line that is no JSON object"), line=number)
                continue
            step, time = whole(row.get("_step")), row.get("_timestamp")
            for key, value in row.items():
                if key in NOT_METRICS:
                    continue
                for tag, point in points(key, value):
                    columns.add(
                        tag,
                        number - 1 if step is None else step,
                        point,
                        time=float(time) if isinstance(time, (int, float)) else None,
                        line=number,
                        axis="record" if step is None else "step",
                    )
    yield from columns.series()
    yield from damage.problems()


def _events(artifact: Artifact) -> Iterator[Record]:
    yield Skipped(phrase("measurements of the machine: nothing of the training"))


def _debug(artifact: Artifact) -> Iterator[Record]:
    lost: dict[str, Scalar] = {}
    place = None
    with open(artifact.location, "rb") as file:
        number = 0
        while line := file.readline(LONGEST_TEXT):
            number += 1
            if line.startswith(b"config: {"):
                found = _nonfinite(line[len(b"config: ") :].decode("utf-8", "replace"))
                if found:
                    lost.update(found)
                    place = Source(artifact.path, line=number)
    if place is None:
        yield Skipped(phrase("W&B's log of itself"))
    else:
        yield ConfigRecord("wandb", lost, place)


def _nonfinite(text: str) -> dict[str, Scalar]:
    """The settings of a printed config that are NaN or infinite."""
    try:
        values = load_repr(text)
    except ValueError:
        return {}
    flat = flatten(values) if isinstance(values, dict) else {}
    return {
        key: value
        for key, value in flat.items()
        if isinstance(value, float) and not math.isfinite(value)
    }


def _row(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None


READER = _WandbFiles()
