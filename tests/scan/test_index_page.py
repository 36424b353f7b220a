"""``scan --html`` and ``runs --html``: the page on disk, and the reports beside it."""

from __future__ import annotations

import os
import re
import sqlite3
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from scan.archives import FINITE_METRICS, LOG, SAMPLES, lay
from scan.made_runs import kept, made

import nanautopsy
from nanautopsy.cli import nanautopsy as command
from nanautopsy.scan.catalog import Catalog
from nanautopsy.scan.overview.overview import overview_of

CONFIG = "output_dir: /home/evangeline/out\nlearning_rate: 0.1\nnum_train_epochs: 3\n"


def call(*arguments: object) -> Result:
    return CliRunner().invoke(command, [*map(str, arguments)])


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    root = tmp_path / "archive"
    lay(root, {"exp/dead/train.log": LOG, "exp/dead/config.yaml": CONFIG})
    lay(root, {"exp/fine/metrics.csv": FINITE_METRICS})
    for path in root.rglob("*"):
        os.utime(path, (1_700_000_000, 1_700_000_000))
    return root


def hrefs(page: Path) -> set[str]:
    """Links to other files."""
    return {link for link in re.findall(r'href="([^"#]+)"', page.read_text()) if link}


def test_a_scan_writes_the_page_and_the_reports_of_what_died(archive: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    result = call("scan", archive, "--catalog", tmp_path / "c.db", "--html", site, "--jobs", 1)
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1] == f"Index: {site}/index.html (1 report)"
    (link,) = hrefs(site / "index.html")
    assert re.fullmatch(r"reports/exp-dead-[0-9a-f]{10}\.html", link)
    report = (site / link).read_text()
    assert 'data-verdict="non-finite"' in report
    assert "evangeline" not in report
    assert "No report: the run did not die" in (site / "index.html").read_text()


def test_reports_are_written_once(archive: Path, tmp_path: Path) -> None:
    catalog, site = tmp_path / "c.db", tmp_path / "site"
    call("scan", archive, "--catalog", catalog, "--html", site)
    (report,) = (site / "reports").iterdir()
    report.write_text(report.read_text().replace("</body>", "kept</body>"))
    with sqlite3.connect(catalog) as database:
        ((scanned,),) = database.execute("select scanned_at from runs where verdict != 'healthy'")
    os.utime(report, (scanned, scanned))
    call("scan", archive, "--catalog", catalog, "--html", site)
    assert "kept</body>" in report.read_text()
    call("scan", archive, "--catalog", catalog, "--html", site, "--lang", "zh")
    assert {path.name.count(".") for path in (site / "reports").iterdir()} == {1, 2}
    os.utime(report, (scanned - 60, scanned - 60))
    call("scan", archive, "--catalog", catalog, "--html", site)
    assert "kept</body>" not in report.read_text()
    report.write_text(
        report.read_text().replace(f"nanautopsy {nanautopsy.__version__}", "nanautopsy 0.0")
    )
    os.utime(report, (scanned, scanned))
    call("scan", archive, "--catalog", catalog, "--html", site)
    assert f"nanautopsy {nanautopsy.__version__}" in report.read_text()


@pytest.mark.parametrize(("wanted", "count"), [("failed", 1), ("all", 2), ("none", 0)])
def test_which_reports(archive: Path, tmp_path: Path, wanted: str, count: int) -> None:
    page = tmp_path / "runs.html"
    options = ("--catalog", tmp_path / "c.db", "--html", page, "--reports", wanted)
    assert call("scan", archive, *options).exit_code == 0
    links = hrefs(page)
    assert len(links) == count
    assert all((tmp_path / link).is_file() for link in links)
    assert all(link.startswith("runs-reports/") for link in links)


def test_a_page_of_a_catalog_without_its_artifacts(tmp_path: Path) -> None:
    catalog = tmp_path / "c.db"
    call("scan", SAMPLES, "--catalog", catalog, "--exclude", "*-*vl-*", "--quiet")
    page = tmp_path / "spikes.html"
    result = call("runs", "--catalog", catalog, "--cause", "lr-spike", "--html", page)
    assert result.exit_code == 0
    assert result.stdout == f"Index: {page} (1 report)\n"
    text = page.read_text()
    assert "<dt>Only</dt><dd>cause=lr-spike</dd>" in text
    assert "<h1>The one run died.</h1>" in text


def test_what_is_no_page_of_ours_is_not_replaced(archive: Path, tmp_path: Path) -> None:
    page = tmp_path / "thesis.html"
    page.write_text("<!doctype html><p>mine")
    result = call("scan", archive, "--catalog", tmp_path / "c.db", "--html", page)
    assert result.exit_code == 2
    assert "would replace a file that is no page of nanautopsy's" in result.stderr
    assert page.read_text().endswith("mine")
    assert not (tmp_path / "c.db").exists()


def test_a_place_that_cannot_be_written(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file" / "x", tmp_path / ("n" * 300), "a\0b"):
        result = call("scan", archive, "--catalog", tmp_path / "c.db", "--html", place)
        assert result.exit_code == 2
        assert len(result.stderr.splitlines()) == 1
        assert "cannot be written" in result.stderr


def test_a_page_is_no_run_of_the_archive_that_it_lies_in(archive: Path, tmp_path: Path) -> None:
    options = ("--catalog", tmp_path / "c.db", "--html", archive / "site")
    call("scan", archive, *options)
    again = call("scan", archive, *options)
    assert again.stdout.splitlines()[0] == "2 runs: 0 scanned, 2 unchanged"


def test_records_of_another_version_or_damaged_cost_their_report_alone(
    archive: Path, tmp_path: Path
) -> None:
    catalog, page = tmp_path / "c.db", tmp_path / "p.html"
    call("scan", archive, "--catalog", catalog)
    with sqlite3.connect(catalog) as database:
        database.execute("update documents set records = x'0102'")
    result = call("runs", "--catalog", catalog, "--html", page)
    assert result.stdout == f"Index: {page} (0 reports)\n"
    assert "No report: what was read is kept as another version keeps it" in page.read_text()


def test_a_report_that_hides_nothing_is_not_taken_for_one_that_does(
    archive: Path, tmp_path: Path
) -> None:
    catalog, site = tmp_path / "c.db", tmp_path / "site"
    call("scan", archive, "--catalog", catalog, "--no-redact")
    call("runs", "--catalog", catalog, "--html", site, "--no-redact")
    (shown,) = hrefs(site / "index.html")
    assert "evangeline" in (site / shown).read_text()
    call("runs", "--catalog", catalog, "--html", site)
    (hidden,) = hrefs(site / "index.html")
    assert "evangeline" not in (site / hidden).read_text()


def test_values_that_no_column_holds(archive: Path, tmp_path: Path) -> None:
    catalog = tmp_path / "c.db"
    call("scan", archive, "--catalog", catalog)
    columns = "reason verdict cause probability onset_step onset_layer signature program model"
    times = "started ended wasted_steps wasted_seconds scanned_at"
    for value in ("x'00ff'", "'<b>'", "1e999", "-7"):
        with sqlite3.connect(catalog) as database:
            for column in [*columns.split(), *times.split()]:
                database.execute(f"update runs set {column} = {value}")
            database.execute(f"update packages set version = {value}")
        page = tmp_path / "p.html"
        result = call("runs", "--catalog", catalog, "--html", page, "--reports", "all")
        assert (result.exit_code, result.exception) == (0, None)
        assert "<b>&lt;" not in page.read_text()


def test_a_file_with_the_name_of_a_report_is_left_alone(archive: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    options = ("--catalog", tmp_path / "c.db", "--html", site)
    call("scan", archive, *options)
    (report,) = (site / "reports").iterdir()
    report.write_text("mine")
    assert call("scan", archive, *options).exit_code == 0
    assert report.read_text() == "mine"
    assert hrefs(site / "index.html") == set()


def test_names_in_the_archives_path_are_hidden(tmp_path: Path) -> None:
    results = [
        made("evangeline-1/run", "lr-spike", archive="/home/evangeline/runs"),
        made("b", outcome="unreadable", reason="/home/evangeline/runs/b: gone"),
    ]
    catalog = kept(tmp_path / "c.db", results)
    call("runs", "--catalog", catalog, "--html", tmp_path / "p.html")
    assert "evangeline" not in (tmp_path / "p.html").read_text()


def test_it_takes_no_options_of_the_list(tmp_path: Path) -> None:
    catalog = kept(tmp_path / "c.db", [made("r")])
    for options in (["-o", "x"], ["--columns", "root"], ["--limit", "3"]):
        assert call("runs", "--catalog", catalog, "--html", tmp_path, *options).exit_code == 2
    assert call("runs", "--catalog", catalog, "--html", tmp_path, "--since", "May").exit_code == 2


def test_the_catalog_as_a_frame(tmp_path: Path) -> None:
    catalog = kept(tmp_path / "c.db", [made("a", "lr-spike"), made("b")])
    table = nanautopsy.catalog_frame(catalog)
    assert sorted(table["root"]) == ["a", "b"]
    assert list(nanautopsy.catalog_frame(catalog, cause="lr-spike")["root"]) == ["a"]
    with pytest.raises(TypeError):
        nanautopsy.catalog_frame(catalog, color="red")


def test_what_the_healthy_twins_of_the_samples_did_otherwise(tmp_path: Path) -> None:
    """Each sample died of one thing, and its twin differs in that."""
    catalog = tmp_path / "c.db"
    call("scan", SAMPLES, "--catalog", catalog, "--quiet")
    with Catalog.open(catalog, create=False) as opened:
        groups = overview_of(opened).groups.groups
    found = {
        group.cause: {one.name for one in group.comparison.differences}
        for group in groups
        if group.comparison is not None
    }
    assert found["version-bug"] == {"overlap_comm"}
    assert found["lr-spike"] == {"config.training.lr_scheduler.name"}
    assert found["attention-overflow"] == {"config.wandb.attention_learning_rate"}
    assert found["zero-init"] == {"config.training.model.img.head_zeroinit"}
    assert "compute_dtype" in found["fp16-overflow"]
    assert "architecture" in found["wrong-checkpoint"]


@pytest.mark.parametrize("option", [("--reports", "all"), ("--lang", "zh")])
@pytest.mark.parametrize("command", ["scan", "runs"])
def test_options_of_a_page_that_is_not_asked_for(
    archive: Path, tmp_path: Path, command: str, option: tuple[str, str]
) -> None:
    what = (archive,) if command == "scan" else ()
    result = call(command, *what, "--catalog", tmp_path / "c.db", *option)
    assert result.exit_code == 2
    assert f"{option[0]} is for the page that --html writes" in result.stderr
    assert not (tmp_path / "c.db").exists()
