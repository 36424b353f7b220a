"""The rows of the report's tables, before any HTML; those of tensors stand apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from nanautopsy.model import Autopsy, Axis, FindingRole, Series, SeriesRole, Source
from nanautopsy.render._anchors import Anchors, cited, setting_key, setting_name
from nanautopsy.render._facts import ARTIFACT_STATUS, SeriesSummary, summarize
from nanautopsy.render._format import moment, number, scalar, size
from nanautopsy.render._issue_facts import PACKAGES
from nanautopsy.render._table import Cell, Row, Table, capped, code, integer, table, text
from nanautopsy.render._table import number as number_cell
from nanautopsy.wording import Phrase, listed, phrase

_FINDING_ROLES: Mapping[FindingRole, Phrase] = {
    "initiating": phrase("initiating"),
    "cascade": phrase("cascade"),
    "context": phrase("context"),
}
_ROLES: Mapping[SeriesRole, Phrase] = {
    "loss": phrase("loss"),
    "eval_loss": phrase("eval loss"),
    "grad_norm": phrase("grad norm"),
    "learning_rate": phrase("learning rate"),
    "loss_scale": phrase("loss scale"),
    "skipped_steps": phrase("skipped steps"),
    "layer_gradient": phrase("layer gradient"),
    "layer_parameter": phrase("layer parameter"),
    "layer_activation": phrase("layer activation"),
    "attention_logit": phrase("attention logit"),
    "counter": phrase("counter"),
}
MAX_SETTINGS = 1000
IN_JSON = phrase("All of them: `nanautopsy analyze RUN_DIR --format json`.")
"""Where the rows are that a table leaves out."""


def timeline(autopsy: Autopsy, anchors: Anchors) -> Table:
    """The run's story."""
    shown, left_out = capped(autopsy.timeline)
    rows = [
        Row(
            (
                integer(e.step),
                Cell(moment(e.time), e.time),
                text(e.text),
                code(str(e.source), href=anchors.href(e.source)),
            )
        )
        for e in shown
    ]
    headings = (phrase("Step"), phrase("Time"), phrase("What happened"), phrase("Source"))
    return table(phrase("Timeline"), headings, rows, left_out, IN_JSON)


def findings(autopsy: Autopsy, anchors: Anchors) -> Table:
    """What the detectors observed: first what the onset's own are, should not all find room."""
    order = sorted(autopsy.findings, key=lambda f: f.role == "cascade")
    chosen, left_out = capped(order)
    shown = autopsy.findings if not left_out else chosen
    rows = [
        Row(
            (
                integer(f.step),
                Cell(_FINDING_ROLES[f.role], bad=f.role == "initiating"),
                text(f.text),
                text(f.layer or ""),
                code(str(f.source), href=anchors.href(f.source)),
            )
        )
        for f in shown
    ]
    headings = (
        phrase("Step"),
        phrase("Role"),
        phrase("What was observed"),
        phrase("Layer"),
        phrase("Source"),
    )
    return table(phrase("Findings"), headings, rows, left_out, IN_JSON)


def environment(autopsy: Autopsy) -> Table:
    """Canonical facts, the machine, and library versions: those that threads ask for first."""
    run = autopsy.run
    rows = [
        _stated(key, scalar(fact.value), fact.source)
        for facts in (run.facts, run.environment)
        for key, fact in facts.items()
    ]
    first = {name: i for i, name in enumerate(PACKAGES)}
    for package in sorted(run.packages.values(), key=lambda p: first.get(p.name, len(first))):
        others = listed([f"{version} ({source})" for version, source in package.conflicts])
        value: str = package.version
        if others:
            value = phrase("{version}; elsewhere {others}", version=value, others=others)
        rows.append(_stated(package.name, value, package.source))
    shown, left_out = capped(rows)
    headings = (phrase("Name"), phrase("Value"), phrase("Source"))
    return table(phrase("Environment"), headings, shown, left_out, IN_JSON)


def configuration(autopsy: Autopsy, anchors: Anchors) -> Table:
    """Every setting that was read; those that are cited are never left out."""
    wanted = {(source.path, setting_name(source)) for source in cited(autopsy)}
    rows: list[Row] = []
    for key, fact in autopsy.run.config.items():
        path, name = fact.source.path, key.partition(".")[2]
        is_cited = (path, name) in wanted or (path, key) in wanted
        if len(rows) < MAX_SETTINGS or is_cited:
            anchor = anchors.give(setting_key(path, name), f"setting-{key}") if is_cited else ""
            if anchor:
                anchors.alias(setting_key(path, key), anchor)
            rows.append(replace(_stated(key, scalar(fact.value), fact.source), anchor=anchor))
    left_out = len(autopsy.run.config) - len(rows)
    headings = (phrase("Setting"), phrase("Value"), phrase("Source"))
    return table(phrase("Configuration"), headings, rows, left_out, IN_JSON)


def _stated(name: str, value: str, source: Source) -> Row:
    return Row((text(name), text(value), code(str(source))))


def artifacts(autopsy: Autopsy, anchors: Anchors) -> Table:
    """What lay in the directory, and what could be read of it: what was not read whole first,
    should not all find room."""
    artifacts = autopsy.run.artifacts
    chosen, left_out = capped(sorted(artifacts, key=lambda a: a.status == "read"))
    rows = [
        Row(
            (
                code(a.path),
                text(a.kind),
                Cell(size(a.bytes), a.bytes),
                Cell(ARTIFACT_STATUS[a.status], bad=a.status != "read"),
                text(listed(a.problems, "; ")),
                code((a.digest or "")[:19]),
            ),
            anchors.give(("artifact", a.path), f"file-{a.path}"),
        )
        for a in (chosen if left_out else artifacts)
    ]
    headings = (
        phrase("Artifact"),
        phrase("Kind"),
        phrase("Size"),
        phrase("Status"),
        phrase("Problems"),
        phrase("Digest"),
    )
    return table(phrase("Artifacts"), headings, rows, left_out, IN_JSON)


def series(autopsy: Autopsy) -> Table:
    """Every series in numbers: those with non-finite points first, the earliest leading, then
    those whose role is known."""
    numbered = [(s, summarize(s)) for s in autopsy.run.series]
    shown, left_out = capped(sorted(numbered, key=_telling))
    rows = [_series_row(one, known) for one, known in shown]
    headings = (
        phrase("Tag"),
        phrase("Role"),
        phrase("Points"),
        one_axis(autopsy),
        phrase("Smallest"),
        phrase("Largest"),
        phrase("Non-finite"),
        phrase("First at"),
        phrase("Artifact"),
    )
    return table(phrase("Series"), headings, rows, left_out, IN_JSON)


def _telling(pair: tuple[Series, SeriesSummary]) -> tuple[bool, int, bool]:
    series, known = pair
    first = known.first_nonfinite_step
    return first is None, first or 0, series.role == "other"


def _series_row(one: Series, known: SeriesSummary) -> Row:
    reach: str = ""
    if known.points:
        reach = phrase("{first} to {last}", first=known.first_step, last=known.last_step)
    return Row(
        (
            text(one.tag),
            text(_ROLES.get(one.role, "")),
            integer(known.points),
            Cell(reach, known.first_step),
            number_cell(known.smallest, number(known.smallest)),
            number_cell(known.largest, number(known.largest)),
            integer(known.nonfinite, bad=True),
            integer(known.first_nonfinite_step, bad=True),
            code(one.source.path),
        )
    )


def one_axis(autopsy: Autopsy) -> str:
    """What the series count, where all count the same."""
    axes = {s.axis for s in autopsy.run.series}
    return _AXES[axes.pop()] if len(axes) == 1 else phrase("Steps, epochs or records")


_AXES: Mapping[Axis, Phrase] = {
    "step": phrase("Steps"),
    "epoch": phrase("Epochs"),
    "samples": phrase("Samples"),
    "record": phrase("Records"),
}
