"""The command line: what goes where, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import factories
import pytest
from click.testing import CliRunner, Result

from nanautopsy import __version__, analyze
from nanautopsy.cli import nanautopsy
from nanautopsy.discover import NothingToRead
from nanautopsy.outputs import (
    SUFFIXES,
    Output,
    UnclearOutput,
    default_path,
    plan,
    render,
    write_file,
)

REPORT = Path("reports/run.html")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current directory with a run beside it, and an analysis that needs no reading."""
    where = tmp_path / "somewhere"
    where.mkdir()
    monkeypatch.chdir(where)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "train.log").write_text("step 1 loss nan\n", encoding="utf-8")
    result = {"run": factories.failing(), "healthy": factories.healthy()}

    def analyze(
        path: str, *, redact: bool = True, progress: object = None, **more: object
    ) -> object:
        if callable(progress):
            progress(f"reading {path}")
        if "nope" in path:
            raise NothingToRead(f"{path}: no such file or directory")
        if "broken" in path:
            raise RuntimeError("oh")
        if "slow" in path:
            raise KeyboardInterrupt
        return result["healthy" if "healthy" in path else "run"]

    monkeypatch.setattr("nanautopsy.autopsy.analyze", analyze)
    return tmp_path / "run"


def call(*arguments: str | Path) -> Result:
    """Run the command as the console script does, but for the exit."""
    return CliRunner().invoke(nanautopsy, [str(argument) for argument in arguments])


def files() -> list[str]:
    """All files under the current directory."""
    return sorted(str(path) for path in Path().rglob("*") if path.is_file())


# --- what goes where --------------------------------------------------------------------------


def test_the_default_is_a_verdict_and_a_report(run: Path) -> None:
    result = call("analyze", run)
    assert result.exit_code == 0
    assert result.stdout.startswith("nanautopsy 0.1.0: runs/llama-fp16\nNON-FINITE: ")
    assert result.stderr == f"Report: {REPORT}\n"
    assert files() == [str(REPORT)]
    assert REPORT.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_json_alone_prints_exactly_the_document(run: Path) -> None:
    result = call("analyze", run, "--format", "json")
    assert json.loads(result.stdout)["verdict"] == "non-finite"
    assert result.stderr == ""
    assert files() == []


@pytest.mark.parametrize(("name", "start"), [("md", "<!-- nanautopsy"), ("text", "nanautopsy 0")])
def test_one_format_for_reading_is_printed(run: Path, name: str, start: str) -> None:
    result = call("analyze", run, "--format", name)
    assert result.stdout.startswith(start)
    assert files() == []


def test_html_alone_goes_to_its_file(run: Path) -> None:
    result = call("analyze", run, "--format", "html")
    assert result.stdout == ""
    assert files() == [str(REPORT)]


def test_several_formats_go_to_files_and_only_text_is_printed(run: Path) -> None:
    result = call("analyze", run, "--format", "json", "--format", "text", "--format", "md")
    assert result.stdout.startswith("nanautopsy 0")
    assert files() == ["reports/run.json", "reports/run.md"]


def test_files_take_the_format_of_their_suffix(run: Path) -> None:
    result = call("analyze", run, "-o", "a/x.html", "-o", "x.MD", "-o", "x.json", "-o", "x.txt")
    assert result.stdout.startswith("nanautopsy 0")  # the verdict is still printed
    assert files() == ["a/x.html", "x.MD", "x.json", "x.txt"]
    assert Path("x.txt").read_text(encoding="utf-8") == result.stdout
    assert result.stderr.splitlines() == [
        f"Report: {name}" for name in ("a/x.html", "x.MD", "x.json", "x.txt")
    ]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], [("text", None), ("html", "reports/run.html")]),
        (["-o", "-"], [("text", None)]),
        (["-o", "-", "--format", "json"], [("json", None)]),
        (["-o", "-", "--format", "html"], [("html", None)]),
        (["-o", "x", "--format", "md"], [("md", "x")]),
        (["-o", "x.html", "-o", "-"], [("html", "x.html"), ("text", None)]),
        (["-o", "x.html", "--format", "html"], [("html", "x.html")]),
        (["-o", "x.html", "--format", "json"], [("html", "x.html"), ("json", None)]),
        (["-o", "x.md", "-o", "-", "--format", "md", "--format", "json"],
         [("md", "x.md"), ("json", None)]),
        (["--format", "json", "--format", "json"], [("json", None)]),
        (["--format", "html", "--format", "text"], [("html", "reports/run.html"), ("text", None)]),
        (["-q"], [("html", "reports/run.html")]),
        (["-q", "-o", "x.json"], [("json", "x.json")]),
        (["-q", "--format", "text"], [("text", None)]),
    ],
)  # fmt: skip
def test_the_plan(run: Path, arguments: list[str], expected: list[tuple[str, str | None]]) -> None:
    named = [v for k, v in pairwise(arguments) if k == "-o"]
    formats = [v for k, v in pairwise(arguments) if k == "--format"]
    outputs = plan("../run", named, formats, quiet="-q" in arguments)
    assert outputs == tuple(Output(f, None if p is None else Path(p)) for f, p in expected)
    assert sum(output.path is None for output in outputs) <= 1


@pytest.mark.parametrize(
    ("named", "formats"),
    [
        (["x"], []),
        (["-", "-"], []),
        (["-"], ["json", "md"]),
        (["x"], ["json", "md"]),
        (["x.html", "x"], ["html"]),
    ],
)
def test_unclear_plans_are_refused(named: list[str], formats: list[str]) -> None:
    with pytest.raises(UnclearOutput):
        plan("run", named, formats)


def test_evidence_is_never_replaced(run: Path) -> None:
    (run / "trainer_state.json").write_text("{}", encoding="utf-8")
    result = call("analyze", run, "-o", run / "trainer_state.json")
    assert result.exit_code == 2
    assert (run / "trainer_state.json").read_text(encoding="utf-8") == "{}"


@pytest.mark.parametrize("suffix", ["html", "md", "json", "txt"])
def test_an_earlier_report_is_replaced_even_inside_the_run(run: Path, suffix: str) -> None:
    target = run / f"autopsy.{suffix}"
    assert call("analyze", run, "-o", target).exit_code == 0
    assert call("analyze", run, "-o", target).exit_code == 0


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("runs/exp 1", "exp_1.html"),
        ("train.log", "train.log.html"),
        ("/", "run.html"),
        ("a/..", None),
        (".hidden", "hidden.html"),
    ],
)
def test_default_names(path: str, name: str | None) -> None:
    assert default_path(path, "html").parent == Path("reports")
    if name:
        assert default_path(path, "html").name == name


def test_files_appear_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "x.html"
    write_file(target, "old")
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        write_file(target, "new")
    assert target.read_text(encoding="utf-8") == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["x.html"]


def test_a_file_that_cannot_be_written_is_one_line(run: Path) -> None:
    Path("file").write_text("", encoding="utf-8")
    result = call("analyze", run, "-o", "file/x.html")
    assert result.exit_code == 2
    assert result.stderr.startswith("nanautopsy: file/x.html: cannot be written")
    assert len(result.stderr.splitlines()) == 1


# --- how it ends ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "option", "status"),
    [("run", [], 0), ("run", ["--exit-code"], 1), ("healthy", ["--exit-code"], 0)],
)
def test_exit_status(run: Path, name: str, option: list[str], status: int) -> None:
    assert call("analyze", run.parent / name, *option).exit_code == status


def test_nothing_readable(run: Path) -> None:
    result = call("analyze", "nope\x1b[31m\nx")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr == "nanautopsy: nope x: no such file or directory\n"
    assert files() == []


def test_an_interruption_is_one_line(run: Path) -> None:
    result = call("analyze", "slow")
    assert (result.exit_code, result.stderr) == (130, "nanautopsy: interrupted\n")


def test_verbose_tells_progress_and_problems(run: Path) -> None:
    result = call("analyze", run, "-v", "--format", "json")
    assert f"reading {run}" in result.stderr
    assert "train.log: line 99001 is cut off in the middle" in result.stderr
    assert "Steps 900 to 950 were logged twice" in result.stderr
    json.loads(result.stdout)


def test_quiet_is_quiet(run: Path) -> None:
    result = call("analyze", run, "-q")
    assert (result.stdout, result.stderr) == ("", "")
    assert files() == [str(REPORT)]


def test_redaction_is_handed_on(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []

    def analyze(
        path: str, *, redact: bool = True, progress: object = None, **more: object
    ) -> object:
        seen.append(redact)
        return factories.healthy()

    monkeypatch.setattr("nanautopsy.autopsy.analyze", analyze)
    call("analyze", run)
    call("analyze", run, "--no-redact")
    assert seen == [True, False]


def test_explain_lists_and_shows_pages() -> None:
    listed = call("explain").stdout
    assert "fp16-overflow" in listed
    causes, _, issues = listed.partition("\n\n")
    assert "deepspeed-zero2-overlap-race" not in causes
    assert "deepspeed-zero2-overlap-race" in issues
    for line in listed.splitlines():
        name = line.partition(" ")[0]
        if not line or line.startswith("Known issues"):
            continue
        shown = call("explain", name)
        assert shown.exit_code == 0
        assert shown.stdout.startswith(f"{name}\n\n")
    unknown = call("explain", "gremlins")
    assert unknown.exit_code == 2
    assert unknown.stderr.startswith("nanautopsy: gremlins: no such cause; known are ")
    assert unknown.stderr.count("\n") == 1


def test_explain_gives_every_page_at_once() -> None:
    everything = call("explain", "--all").stdout
    document = call("explain", "--all", "--format", "md").stdout
    for line in call("explain").stdout.splitlines():
        name = line.partition(" ")[0]
        if line and not line.startswith("Known issues"):
            assert f"{name}\n\n" in everything
            assert f"### {name}\n\n" in document
    assert "**Evidence against:** " in document
    assert call("explain", "zero-init", "--all").exit_code == 2
    assert call("explain", "--format", "md").exit_code == 2


OWN_ISSUE = """
id: our-kernel
title: our kernel is wrong
package: torch
affected: ">=1"
status: confirmed
date: 2026-01
conditions:
  - {fact: learning_rate, above: 0}
signature: [nonfinite-loss]
telling: strong
remedies: ["Use another kernel."]
links: [https://example.com/1]
"""


def _run_with_versions(tmp_path: Path) -> Path:
    run = tmp_path / "run"
    run.mkdir()
    rows = [{"step": i, "loss": "NaN" if i > 6 else 2 - i / 10} for i in range(12)]
    (run / "metrics.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (run / "requirements.txt").write_text("torch==2.3.0\n")
    (run / "config.json").write_text('{"learning_rate": 0.001, "max_steps": 12}')
    return run


def test_a_team_has_its_own_known_issues(tmp_path: Path) -> None:
    run, own = _run_with_versions(tmp_path), tmp_path / "issues"
    own.mkdir()
    (own / "kernel.yaml").write_text(OWN_ISSUE)
    (own / "broken.yaml").write_text("id: [")
    args = ("analyze", str(run), "--format", "json", "-o", "-")
    told = call(*args, "--known-issues", str(own))
    assert told.exit_code == 0
    assert told.stderr.count("\n") == 1
    assert "broken.yaml: no known issue: " in told.stderr
    assert "our kernel is wrong" in json.loads(told.stdout)["causes"][0]["title"]
    assert not json.loads(call(*args).stdout)["causes"]


def test_no_directory_of_known_issues(tmp_path: Path) -> None:
    run = _run_with_versions(tmp_path)
    told = call("analyze", str(run), "--known-issues", str(tmp_path / "none"))
    assert told.exit_code == 2
    assert "no such directory of known issues" in told.stderr


def test_known_issues_from_python(tmp_path: Path) -> None:
    run, own = _run_with_versions(tmp_path), tmp_path / "issues"
    own.mkdir()
    (own / "kernel.yaml").write_text(OWN_ISSUE)
    (own / "broken.yaml").write_text("id: [")
    autopsy = analyze(run, known_issues=own)
    assert autopsy.causes[0].id == "version-bug"
    assert any("broken.yaml" in note for note in autopsy.run.notes)


# --- as a process -----------------------------------------------------------------------------


def process(*arguments: str, **more: object) -> subprocess.CompletedProcess[str]:
    """The real thing."""
    return subprocess.run(
        [sys.executable, "-m", "nanautopsy", *arguments],
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        **more,  # type: ignore[call-overload]
    )


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A run with one log, read by the real readers."""
    run = tmp_path / "small"
    run.mkdir()
    rows = [f"{{'loss': {'nan' if i > 5 else 2 - i / 10}, 'epoch': {i / 10}}}" for i in range(12)]
    (run / "train.log").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return run


def test_version_and_help() -> None:
    assert process("--version").stdout == f"nanautopsy {__version__}\n"
    assert "analyze" in process("--help").stdout


@pytest.mark.parametrize(
    "arguments",
    [("analyze",), ("analyze", "x", "--format", "pdf"), ("analyze", "x", "-o", "y"), ("nope",)]
    + [("analyze", "does-not-exist"), ("--nope",), ("analyze", "x", "y")],
)
def test_wrong_usage_is_one_line_and_2(arguments: tuple[str, ...], tmp_path: Path) -> None:
    result = process(*arguments, cwd=tmp_path)
    assert result.returncode == 2
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith("nanautopsy: ")


def test_a_defect_is_one_line_and_no_traceback(tmp_path: Path) -> None:
    code = (
        "import nanautopsy.autopsy, sys\n"
        "def broken(*a, **k): raise RuntimeError('oh')\n"
        "nanautopsy.autopsy.analyze = broken\n"
        "sys.argv = ['nanautopsy', 'analyze', '.']\n"
        "from nanautopsy.cli import main\nmain()"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert result.returncode == 70
    assert result.stderr.startswith("nanautopsy: a defect of nanautopsy, please report it: Runtime")
    assert len(result.stderr.splitlines()) == 1


def test_a_real_run_from_the_current_directory(small: Path) -> None:
    result = process("analyze", ".", "--exit-code", cwd=small)
    assert result.returncode == 1, result.stderr
    assert "NON-FINITE" in result.stdout
    assert (small / "reports" / "small.html").is_file()


def test_an_earlier_report_is_no_evidence(small: Path) -> None:
    (small / "train.log").write_text(
        "".join(f"{{'loss': {2 - i / 100}, 'epoch': {i / 10}}}\n" for i in range(12)), "utf-8"
    )
    before = json.loads(process("analyze", ".", "--format", "json", cwd=small).stdout)
    for suffix in ("html", "md", "json", "txt"):
        write_file(small / f"r.{suffix}", render(factories.failing(), SUFFIXES[f".{suffix}"]))
    after = json.loads(process("analyze", ".", "--format", "json", cwd=small).stdout)
    assert before["verdict"] == after["verdict"] == "healthy"
    assert [a["path"] for a in after["run"]["artifacts"] if a["status"] == "read"] == ["train.log"]
    assert process("analyze", "r.json", cwd=small).returncode == 2


def test_nothing_leaks_in_any_format(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    secrets = ["hf_" + "aB3" * 12, "AKIA" + "Q7" * 8, "hunter2swordfish9", "node17x", "mallory"]
    lines = [
        f"/home/mallory/venv/bin/python train.py --hub_token {secrets[0]}",
        f"AWS_ACCESS_KEY_ID={secrets[1]} on node17x by mallory, 10.11.12.13, mallory@example.org",
        *(f"{{'loss': {'nan' if i > 5 else 2 - i / 10}, 'epoch': {i / 10}}}" for i in range(12)),
        f"RuntimeError: cannot log in to https://mallory:{secrets[2]}@10.11.12.13/x on node17x",
    ]
    (run / "train.log").write_text("\n".join(lines), encoding="utf-8")
    config = {"hub_token": secrets[0], "password": secrets[2], "output_dir": "/home/mallory/out"}
    (run / "args.json").write_text(json.dumps(config), encoding="utf-8")
    (run / "events.out.tfevents.1760000000.node17x.42.0").write_bytes(b"damaged")
    names = ["r.html", "r.md", "r.json", "r.txt"]
    arguments = [part for name in names for part in ("-o", name)]
    assert process("analyze", "run", *arguments, "-q", cwd=tmp_path).returncode == 0
    for name in names:
        text = (tmp_path / name).read_text(encoding="utf-8")
        for secret in [*secrets, "10.11.12.13", "/home/", "example.org"]:
            assert secret not in text, (name, secret)
    shown = process("analyze", "run", "--no-redact", "--format", "json", cwd=tmp_path).stdout
    assert secrets[0] in shown


@pytest.mark.parametrize("name", ["text", "json"])
def test_a_closed_pipe_ends_quietly(small: Path, name: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "nanautopsy", "analyze", str(small), "--format", name]
    done = subprocess.run(
        command, stdout=writer, stderr=subprocess.PIPE, cwd=small.parent, check=False
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


def test_an_encoding_without_the_characters_is_no_obstacle(small: Path) -> None:
    target = small.parent / "läuft-中"
    small.rename(target)
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    result = process("analyze", str(target), cwd=target.parent, env=environment)
    assert result.returncode == 0, result.stderr


@pytest.mark.skipif(not hasattr(signal, "SIGINT") or os.name == "nt", reason="no signals")
def test_ctrl_c(tmp_path: Path) -> None:
    code = (
        "import nanautopsy.autopsy, sys, time\n"
        "def slow(*a, **k): print('ready', flush=True); time.sleep(60)\n"
        "nanautopsy.autopsy.analyze = slow\n"
        "sys.argv = ['nanautopsy', 'analyze', '.']\n"
        "from nanautopsy.cli import main\nmain()"
    )
    running = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
    )
    assert running.stdout is not None
    assert running.stdout.readline() == "ready\n"
    time.sleep(0.1)
    running.send_signal(signal.SIGINT)
    _, errors = running.communicate(timeout=20)
    assert (running.returncode, errors.strip()) == (130, "nanautopsy: interrupted")


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['nanautopsy', '--help']\n"
        "from nanautopsy.cli import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "heavy = {'numpy', 'pandas', 'matplotlib', 'tensorboard', 'rich', 'jinja2', 'yaml'}\n"
        "print(heavy & set(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "set()"
