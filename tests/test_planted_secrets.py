"""Secrets planted in a run's artifacts are in none of its reports; ordinary values are."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import pytest
from planted import PLACES, UNREAD, plant
from secrets_kinds import ORDINARY, kinds, people, private_key

from nanautopsy import analyze
from nanautopsy.languages import Language, translated
from nanautopsy.model import Autopsy
from nanautopsy.outputs import render
from nanautopsy.redact import redact
from nanautopsy.render import issue

KINDS = kinds()
PEOPLE = people()
FORMATS = ("text", "html", "md", "json")
LANGUAGES = (Language("en"), Language("zh"))


def everything(autopsy: Autopsy) -> str:
    """All reports in all languages, and once more as JSON says it without its escapes."""
    shown = [render(autopsy, name, language=one) for name in FORMATS for one in LANGUAGES]
    shown += [issue.render(translated(autopsy, one), language=one) for one in LANGUAGES]
    shown.append(json.dumps(json.loads(render(autopsy, "json")), ensure_ascii=False))
    return "\n".join(shown)


def left(secrets: Iterable[str], shown: str) -> list[str]:
    """Those that can be read, as they are or as JSON writes them."""
    return [s for s in secrets if s in shown or json.dumps(s)[1:-1] in shown]


def test_there_are_enough_kinds() -> None:
    assert len(KINDS) >= 50


@pytest.mark.parametrize("name", KINDS)
def test_no_secret_of_a_log_is_in_any_report(name: str, tmp_path: Path) -> None:
    line, secret = KINDS[name]
    autopsy = analyze(plant(tmp_path, "log", [line]))
    shown = everything(autopsy)
    assert left([secret], shown) == []
    assert autopsy.hidden["secret"]
    assert "step 39 loss 2.5" in shown


@pytest.mark.parametrize("place", PLACES)
def test_no_secret_of_any_artifact_is_in_any_report(place: str, tmp_path: Path) -> None:
    lines = [line for line, _ in (*KINDS.values(), *PEOPLE.values())]
    secrets = [secret for _, secret in (*KINDS.values(), *PEOPLE.values())]
    run = plant(tmp_path, place, lines)
    bare = left(secrets, everything(analyze(run, redact=False)))
    assert bool(bare) is (place not in UNREAD), "what is planted is read"
    assert left(secrets, everything(analyze(run))) == []


@pytest.mark.parametrize("place", PLACES)
def test_no_secret_of_any_artifact_is_in_a_catalog(place: str, tmp_path: Path) -> None:
    from click.testing import CliRunner

    from nanautopsy.cli import nanautopsy
    from nanautopsy.scan.catalog import Catalog

    lines = [line for line, _ in (*KINDS.values(), *PEOPLE.values())]
    secrets = [secret for _, secret in (*KINDS.values(), *PEOPLE.values())]
    archive, catalog = tmp_path / "archive", str(tmp_path / "catalog.db")
    plant(archive / "run", place, lines)
    runner = CliRunner()
    for _ in range(2):
        scanned = runner.invoke(
            nanautopsy, ["scan", str(archive), "--catalog", catalog, "-q", "--jobs", "1"]
        )
        assert scanned.exit_code == 0, scanned.output
    for format_name in ("csv", "json", "table"):
        asked = ["runs", "--catalog", catalog, "--format", format_name, "--columns", "all"]
        shown = runner.invoke(nanautopsy, asked).output
        assert "non-finite" in shown
        assert left(secrets, shown) == []
    from nanautopsy.scan.stored_run import unpack

    with Catalog.open(catalog) as opened:
        stored = unpack(opened.records(str(archive), "run"))
    assert left(secrets, f"{stored.run}{stored.quotes}") == []


def test_a_private_key_over_many_lines(tmp_path: Path) -> None:
    short = "abcDEF123=="
    begin, *body, end = private_key()
    autopsy = analyze(plant(tmp_path, "log", [begin, *body, short, end, "step 39 done"]))
    shown = everything(autopsy)
    assert not [line for line in (*body, short) if line in shown]
    assert "step 39 done" in shown


def test_ordinary_values_stay(tmp_path: Path) -> None:
    shown = render(analyze(plant(tmp_path, "log", ORDINARY)), "json")
    assert [value for value in ORDINARY if value not in shown] == []


def test_hiding_again_changes_nothing(tmp_path: Path) -> None:
    lines = [line for line, _ in [*KINDS.values()][:18]]
    once = analyze(plant(tmp_path, "log", lines))
    assert render(redact(once), "json").replace(" ", "") == render(once, "json").replace(" ", "")


def hidden_run(folder: Path) -> Autopsy:
    lines = [KINDS[name][0] for name in ("huggingface", "github")]
    lines += [PEOPLE[name][0] for name in ("email", "home", "team", "nccl", "mac", "ipv6")]
    return analyze(plant(folder, "log", lines))


def test_what_was_hidden_is_counted_by_kind(tmp_path: Path) -> None:
    autopsy = hidden_run(tmp_path)
    counts = {"secret": 2, "email": 1, "user": 2, "home": 1, "host": 1, "ip": 2, "mac": 1}
    assert autopsy.hidden == counts
    told = json.loads(render(autopsy, "json"))
    assert told["hidden"] == autopsy.hidden
    assert told["redactions"] == sum(autopsy.hidden.values())
    for format_name in ("html", "md", "text"):
        shown = " ".join(render(autopsy, format_name).split())
        assert "2 keys and passwords, 1 e-mail address, 2 user names" in shown
