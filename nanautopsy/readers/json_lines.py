"""Metrics in JSON: an object a line, an array of rows, columns, or one result.

* ``json-lines``: LLaMA-Factory's ``trainer_log.jsonl``, ms-swift's ``logging.jsonl``, big_vision's
  ``big_vision_metrics.txt``, detectron2's and mmengine's ``metrics.json``, nanotron, OpenAI, ...
  Compressed ones as well, and those with a label before each object: DLLogger's ``DLLL {...}``,
  MLPerf's ``:::MLLOG {...}``.
* ``json-rows``: one array of such objects.
* ``json-columns``: one object of lists, as Keras' ``history`` is dumped.
* ``json-results``: ``all_results.json`` and the like, one value a metric.
* ``golden-values``: Megatron's ``{"lm loss": {"start_step", "values": {"1": 10.5, "5": "nan"}}}``.
  There the text "nan" stands for a step that was not logged, so it counts as missing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter
from typing import Any, cast

import numpy as np

from nanautopsy.model import Artifact, Claim, FileHead, Record
from nanautopsy.readers._damage import Damage
from nanautopsy.readers._decode import decode_text
from nanautopsy.readers._json_envelopes import opened, unlabelled, without_label
from nanautopsy.readers._json_messages import KEYS, Messages
from nanautopsy.readers._json_numbers import leaves, number_of
from nanautopsy.readers._json_scan import Damaged, JsonScan
from nanautopsy.readers._line_blocks import LineBlock, line_blocks
from nanautopsy.readers._metric_rows import MetricRows
from nanautopsy.readers._packed_head import plain_head
from nanautopsy.readers._step_keys import is_training_log, step_key, step_number
from nanautopsy.wording import phrase

_LONGEST_LINE = 16 << 20
_FEWEST_ALIKE = 8
"""Rows of equal fields in a row, from which on taking them together pays."""
_SPACE = "\ufeff \t\r\n\0"
_MOST_OBJECTS_A_LINE = 64
_JUDGED_LINES = 50
_RESULT_NAME = re.compile(
    r"(?:.*[-_.])?(?:results?|metrics?|summary|scores?|eval|history|log|losses)(?:[-_.].*)?\.json",
    re.IGNORECASE,
)
_COLUMN = re.compile(r'"([^"]{1,80})"\s*:\s*\[\s*(?:[-+\d.]|NaN|Infinity|null)')
_MESSAGE_KEYS = frozenset({"msg", "message", "levelname", "level"})


class JsonMetricsReader:
    """Claims what holds training metrics; a dataset or a service's log in JSON is not claimed."""

    name = "json-metrics"

    def claim(self, file: FileHead) -> Claim | None:
        plain = plain_head(file)
        claim = None if plain is None else self._claim(plain)
        is_log = plain is file or (claim is not None and claim.kind == "json-lines")
        return claim if is_log else None  # compressed values that fill a file are none

    def _claim(self, file: FileHead) -> Claim | None:
        head = unlabelled(file.head.removeprefix(b"\xef\xbb\xbf").lstrip())
        if head[:1] not in (b"{", b"["):
            return None
        lines = head.split(b"\n")
        if head[:1] == b"{" and _parse(lines[0]) is not None and len(lines) > 1 and lines[1]:
            return self._claim_lines(lines, file.size > len(file.head))
        bare = "." not in file.name and head[:1] == b"["  # Chainer's LogReport writes "log"
        if not (bare or file.name.lower().endswith((".json", ".jsonl", ".txt", ".log"))):
            return None
        if head[:1] == b"[":
            row = _first_object(head)
            names = [tag for tag, _ in leaves(row)] if row is not None else []
            known = row is not None and is_training_log(names) and step_key(row) is not None
            return Claim("json-rows", 70) if known else None
        return self._claim_object(file, head)

    def _claim_lines(self, lines: list[bytes], more: bool) -> Claim | None:
        """Most lines are objects, and some hold a metric beside a counter or a loss."""
        if more:
            lines = lines[:-1]  # cut by the end of the head
        lines = [line for line in lines[:_JUDGED_LINES] if line.strip()]
        rows = [row for row in map(_parse, lines) if row is not None]
        if len(rows) < 0.9 * len(lines) and len(lines) - len(rows) > 1:
            return None
        telling = [row for row in rows if _is_metric_row(row)]
        return Claim("json-lines", 85) if len(telling) >= max(1, len(rows) // 10) else None

    def _claim_object(self, file: FileHead, head: bytes) -> Claim | None:
        if b'"step_interval"' in head and re.search(rb'"values"\s*:\s*[{\[]', head):
            return Claim("golden-values", 90)
        first = _parse(head) if file.size <= len(file.head) else None
        if first is None:
            columns = _COLUMN.findall(decode_text(head))
        else:
            columns = [name for name, value in first.items() if _is_column(value)]
        if is_training_log(columns) and (first is None or len(columns) * 2 >= len(first)):
            return Claim("json-columns", 65)
        if first is not None and _is_metric_row(first):
            if step_key(first) is not None and b"\n" not in head.rstrip():
                return Claim("json-lines", 75)
            if _RESULT_NAME.fullmatch(file.name):
                return Claim("json-results", 80)
            return Claim("json-lines", 85) if file.name.endswith("jsonl") else None
        return None

    def read(self, artifact: Artifact) -> Iterator[Record]:
        """Series; damage costs the line or the value it stands in."""
        rows = MetricRows(artifact.path)
        damage = Damage(artifact.path)
        if artifact.kind == "json-lines":
            said = Messages(artifact.path)
            _read_lines(artifact, rows, damage, said)
            yield from said.records()
        else:
            _read_whole(artifact, rows, damage)
        yield from rows.records(damage)


READER = JsonMetricsReader()


# --- claims -------------------------------------------------------------------------------------


def _parse(line: bytes) -> dict[str, Any] | None:
    """The object that a line holds, or ``None``."""
    try:
        value = json.loads(without_label(decode_text(line)))
    except (ValueError, RecursionError):
        return None
    return opened(value) if isinstance(value, dict) else None


def _first_object(head: bytes) -> dict[str, Any] | None:
    try:
        value, _ = json.JSONDecoder().raw_decode(decode_text(head[1:]).lstrip())
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _is_metric_row(row: dict[str, Any]) -> bool:
    """A metric with a number; in a service's log only beside a counter."""
    names = [tag for tag, value in leaves(row) if value is not None]
    if not is_training_log(names):
        return False
    return not _MESSAGE_KEYS & row.keys() or step_key(names) is not None


def _is_column(value: Any) -> bool:
    """A list of numbers, some of which may be null at its beginning."""
    if not isinstance(value, list):
        return False
    first = next((item for item in value if item is not None), None)
    return first is not None and number_of(first) is not None


# --- an object a line ---------------------------------------------------------------------------


def _read_lines(artifact: Artifact, rows: MetricRows, damage: Damage, said: Messages) -> None:
    for block in line_blocks(artifact.location, _LONGEST_LINE, damage):
        texts = [without_label(line.strip(_SPACE)) for line in block.lines]
        found = _rows_of(texts)
        if found is not None:
            _add_all(rows, found, block.first_line, said)
            continue
        for place, text in enumerate(texts):
            if text:
                _add_line(text, block, place, rows, damage, said)


def _rows_of(texts: list[str]) -> list[dict[str, Any]] | None:
    """The object on each line, in one go; ``None`` where a line is not one whole object."""
    if not all(text[:1] == "{" and text[-1:] == "}" for text in texts):
        return None
    try:
        values = json.loads(f"[{','.join(texts)}]")
    except (ValueError, RecursionError):
        return None
    if len(values) != len(texts) or not all(isinstance(value, dict) for value in values):
        return None
    return [opened(value) for value in cast("list[dict[str, Any]]", values)]


def _add_all(
    rows: MetricRows, found: list[dict[str, Any]], first_line: int, said: Messages
) -> None:
    """Rows of equal fields that follow each other are added together."""
    line = first_line
    for names, group in groupby(found, tuple):
        alike = list(group)
        if KEYS.isdisjoint(names):
            said.step_at(alike[-1])
        else:
            for place, row in enumerate(alike):
                said.add(row, line + place)
        if len(alike) >= _FEWEST_ALIKE and len(names) > 1:
            columns = list(zip(*map(itemgetter(*names), alike), strict=True))
            lines = np.arange(line, line + len(alike))
            if rows.add_block(names, columns, lines):
                line += len(alike)
                continue
        for row in alike:
            rows.add(row, line)
            line += 1


def _add_line(
    text: str, block: LineBlock, place: int, rows: MetricRows, damage: Damage, said: Messages
) -> None:
    found, whole = _objects(text)
    for row in found:
        said.add(row, block.first_line + place)
        rows.add(row, block.first_line + place)
    if not whole:
        is_last = place == len(block.lines) - 1 and not block.whole
        damage.note(
            phrase("a line is cut off") if is_last else phrase("a line is not a whole JSON object"),
            offset=block.offset_of(place),
            line=block.first_line + place,
        )


def _objects(text: str) -> tuple[list[dict[str, Any]], bool]:
    """The objects in a line, and whether they are all of it.

    A restarted run appends to the half line that its predecessor left, so an object may begin
    anywhere.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        pass
    else:
        return ([opened(value)], True) if isinstance(value, dict) else ([], False)
    found: list[dict[str, Any]] = []
    decoder = json.JSONDecoder()
    at = text.find("{")
    for _ in range(_MOST_OBJECTS_A_LINE):
        if at < 0:
            break
        try:
            value, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            end = at + 1
        else:
            # A part of a cut object is an object too; only a row has a counter.
            if isinstance(value, dict) and step_key(value) is not None:
                found.append(value)
        at = text.find("{", end)
    return found, False


# --- the whole file is one value ----------------------------------------------------------------


def _read_whole(artifact: Artifact, rows: MetricRows, damage: Damage) -> None:
    with open(artifact.location, "rb") as file:
        scan = JsonScan(file)
        try:
            if artifact.kind == "json-rows":
                for row, line in scan.elements():
                    if isinstance(row, dict):
                        rows.add(row, line)
            elif artifact.kind == "golden-values":
                _read_golden(scan, rows)
            elif artifact.kind == "json-columns":
                _read_columns(scan, rows)
            else:
                rows.add({key: scan.value() for key in scan.members()})
        except Damaged as error:
            damage.note(
                phrase("the file {error}", error=error), offset=error.offset, line=error.line
            )


def _read_golden(scan: JsonScan, rows: MetricRows) -> None:
    for metric in scan.members():
        if scan.next_character() != "{":
            scan.value()
            continue
        stated: dict[str, int] = {}
        for key in scan.members():
            follows = scan.next_character()
            if key == "values" and follows == "{":
                for text in scan.members():
                    _add_golden(rows, metric, step_number(text), scan.line, scan.value())
            elif key == "values" and follows == "[":
                first, interval = stated.get("start_step", 0), stated.get("step_interval", 1)
                for position, (value, line) in enumerate(scan.elements()):
                    _add_golden(rows, metric, first + position * interval, line, value)
            else:
                stated[key] = step_number(scan.value()) or 0


def _add_golden(rows: MetricRows, metric: str, step: int | None, line: int, value: Any) -> None:
    if step is not None:
        not_logged = isinstance(value, str) and value.lower() == "nan"
        rows.columns.add(metric, step, None if not_logged else number_of(value), line=line)


def _read_columns(scan: JsonScan, rows: MetricRows) -> None:
    """Lists of equal length are columns; the one that counts steps places the others."""
    table: dict[str, list[Any]] = {}
    for key in scan.members():
        value = scan.value()
        if _is_column(value):
            table[key] = value
        elif isinstance(value, dict):
            nested = {f"{key}.{name}": item for name, item in value.items()}
            table.update({name: item for name, item in nested.items() if _is_column(item)})
    for position in range(max(map(len, table.values()), default=0)):
        rows.add(
            {name: column[position] for name, column in table.items() if position < len(column)}
        )
