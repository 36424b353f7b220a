"""Broken and hostile input, from the directory to the report: what is readable is used, what is
not is listed, and nothing ends in a traceback, a hang or a program that was run."""

from __future__ import annotations

import json
import os
import pickle
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from eventfiles import event_file, scalar
from safetensors.numpy import save

from nanautopsy import analyze
from nanautopsy.cli import main
from nanautopsy.discover import NothingToRead
from nanautopsy.model import Autopsy

Unprivileged = Callable[[], AbstractContextManager[None]]
RunCli = Callable[..., tuple[int, str, str]]

LOG = "".join(f"step {i} loss {4 / i:.4f}\n" for i in range(1, 21))
ROWS = "".join(f'{{"step": {i}, "loss": {4 / i}}}\n' for i in range(1, 21))


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> RunCli:
    """Runs the command line in this process: exit status, standard output, standard error."""

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["nanautopsy", *map(str, arguments)])
        try:
            main()
            status: object = 0
        except SystemExit as end:
            status = end.code
        written = capsys.readouterr()
        return int(status or 0), written.out, written.err  # type: ignore[call-overload]

    return run


def problems(autopsy: Autopsy) -> dict[str, tuple[str, ...]]:
    """What is listed for each artifact that was not read in full."""
    return {a.path: a.problems for a in autopsy.run.artifacts if a.status != "read"}


def lengths(autopsy: Autopsy) -> dict[str, int]:
    """Points of the longest series of each tag."""
    return {s.tag: len(s) for s in sorted(autopsy.run.series, key=len)}


def render_all(autopsy: Autopsy) -> None:
    """Every format takes the result, and every one can be written as UTF-8."""
    from nanautopsy.outputs import render

    for name in ("text", "md", "json", "html"):
        text = render(autopsy, name)
        assert text.encode("utf-8")
        if name == "json":
            json.loads(text, parse_constant=pytest.fail)


def is_one_line(text: str) -> bool:
    return text.endswith("\n") and text.count("\n") == 1 and "Traceback" not in text


# --- nothing to read: one line, status 2 ----------------------------------------------------------


def _missing(folder: Path) -> Path:
    return folder / "no-such-run"


def _empty(folder: Path) -> Path:
    return folder


def _only_empty_folders(folder: Path) -> Path:
    (folder / "logs" / "deeper").mkdir(parents=True)
    return folder


def _nothing_known(folder: Path) -> Path:
    (folder / "photo.jpg").write_bytes(b"\xff\xd8\xff\xe0" + bytes(range(256)) * 40)
    (folder / "notes").write_bytes(b"")
    return folder


def _a_binary_file(folder: Path) -> Path:
    (folder / "core.123").write_bytes(b"\x7fELF" + os.urandom(5000))
    return folder / "core.123"


def _an_event_file_of_garbage(folder: Path) -> Path:
    (folder / "events.out.tfevents.1.host").write_bytes(b"\xde\xad\xbe\xef" * 4000)
    return folder


def _a_pipe(folder: Path) -> Path:
    os.mkfifo(folder / "train.log")
    return folder / "train.log"


def _a_loop(folder: Path) -> Path:
    (folder / "run").symlink_to("run")
    return folder / "run"


def _a_dangling_link(folder: Path) -> Path:
    (folder / "run").symlink_to("gone")
    return folder / "run"


def _only_a_link_out(folder: Path) -> Path:
    (folder / "passwd").symlink_to("/etc/passwd")
    return folder


def _a_name_with_a_line_end(folder: Path) -> Path:
    (folder / "a\nb\x1b[31m").mkdir()
    return folder / "a\nb\x1b[31m"


NOTHING = [
    (_missing, "no such file or directory"),
    (_empty, "holds no file"),
    (_only_empty_folders, "holds no file"),
    (_nothing_known, "nothing readable: notes: no reader knows this kind of file (and 1 more)"),
    (_a_binary_file, "no reader knows this kind of file"),
    (_an_event_file_of_garbage, "nothing readable: events.out.tfevents.1.host: "),
    (_a_pipe, "not a regular file"),
    (_a_loop, "nothing readable: run: cannot be read: "),
    (_a_dangling_link, "nothing readable: run: cannot be read: No such file"),
    (_only_a_link_out, "passwd: a link out of the run directory; not followed"),
    (_a_name_with_a_line_end, "holds no file"),
]


@pytest.mark.parametrize(("build", "words"), NOTHING, ids=[b.__name__ for b, _ in NOTHING])
def test_nothing_to_read(
    tmp_path: Path, cli: RunCli, build: Callable[[Path], Path], words: str
) -> None:
    path = build(tmp_path)
    with pytest.raises(NothingToRead) as error:
        analyze(path)
    assert words in str(error.value)
    status, out, err = cli("analyze", path)
    assert (status, out) == (2, "")
    assert is_one_line(err)
    assert words in err
    assert "\x1b" not in err


def test_a_directory_that_may_not_be_listed(
    open_folder: Path, unprivileged: Unprivileged, cli: RunCli
) -> None:
    open_folder.chmod(0)
    with unprivileged():
        status, _, err = cli("analyze", open_folder)
    assert status == 2
    assert is_one_line(err)
    assert "directory cannot be read: Permission denied" in err


# --- part of it can be read: status 0, the rest is listed -----------------------------------------


def _truncated_events(folder: Path) -> None:
    whole = event_file(scalar("loss", i, 4 / i) for i in range(1, 21))
    (folder / "events.out.tfevents.1.host").write_bytes(whole[:-7])


def _events_with_a_lying_length(folder: Path) -> None:
    whole = event_file(scalar("loss", i, 4 / i) for i in range(1, 20))
    (folder / "events.out.tfevents.1.host").write_bytes(
        whole + struct.pack("<Q", 2**62) + b"x" * 40
    )


def _half_a_json_line(folder: Path) -> None:
    (folder / "metrics.jsonl").write_text(ROWS + '{"step": 21, "loss": 0.1')


def _half_a_trainer_state(folder: Path) -> None:
    state = {"global_step": 20, "log_history": [{"step": i, "loss": 4 / i} for i in range(1, 21)]}
    text = json.dumps(state)
    (folder / "trainer_state.json").write_text(text[: text.index('"step": 20') + 4])


def _safetensors_with_a_lying_header(folder: Path) -> None:
    (folder / "train.log").write_text(LOG)
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", 2**62) + b'{"a":{}}')


def _safetensors_cut(folder: Path) -> None:
    whole = save({"a": np.ones(4, np.float32), "b": np.ones(4000, np.float32)})
    (folder / "model.safetensors").write_bytes(whole[:-8000])
    (folder / "train.log").write_text(LOG)


def _a_link_loop(folder: Path) -> None:
    (folder / "train.log").write_text(LOG)
    (folder / "again").symlink_to(".")


def _a_pipe_beside_it(folder: Path) -> None:
    (folder / "train.log").write_text(LOG)
    os.mkfifo(folder / "fifo.log")


def _wandb_cut(folder: Path) -> None:
    (folder / "train.log").write_text(LOG)
    (folder / "run-1.wandb").write_bytes(b":W&B\xe1\xbe\x00" + os.urandom(300))


def _settings_cut(folder: Path) -> None:
    (folder / "train.log").write_text(LOG)
    (folder / "ds_config.json").write_text('{"zero_optimization": {"stage": 2}, "bf16": {"enab')


PARTLY: list[tuple[Callable[[Path], None], str, int, str]] = [
    (_truncated_events, "loss", 19, "events.out.tfevents.1.host"),
    (_events_with_a_lying_length, "loss", 19, "events.out.tfevents.1.host"),
    (_half_a_json_line, "loss", 20, "metrics.jsonl"),
    (_half_a_trainer_state, "loss", 19, "trainer_state.json"),
    (_safetensors_with_a_lying_header, "loss", 20, "model.safetensors"),
    (_safetensors_cut, "loss", 20, "model.safetensors"),
    (_a_link_loop, "loss", 20, "again"),
    (_a_pipe_beside_it, "loss", 20, "fifo.log"),
    (_wandb_cut, "loss", 20, "run-1.wandb"),
    (_settings_cut, "loss", 20, "ds_config.json"),
]


@pytest.mark.parametrize(
    ("build", "tag", "count", "damaged"), PARTLY, ids=[b.__name__ for b, *_ in PARTLY]
)
def test_what_is_readable_is_used(
    tmp_path: Path,
    cli: RunCli,
    build: Callable[[Path], None],
    tag: str,
    count: int,
    damaged: str,
) -> None:
    build(tmp_path)
    autopsy = analyze(tmp_path)
    assert lengths(autopsy)[tag] == count
    assert autopsy.verdict == "healthy"
    assert list(problems(autopsy)) == [damaged]
    assert all("\n" not in text and "failed:" not in text for text in problems(autopsy)[damaged])
    assert problems(autopsy)[damaged]
    render_all(autopsy)

    status, out, err = cli("analyze", tmp_path, "--format", "json")
    assert (status, err) == (0, "")
    listed = {a["path"]: a for a in json.loads(out)["run"]["artifacts"]}
    assert listed[damaged]["status"] in ("partly-read", "skipped")
    assert listed[damaged]["problems"]


def test_an_unreadable_file_is_listed(
    open_folder: Path, unprivileged: Unprivileged, cli: RunCli
) -> None:
    (open_folder / "train.log").write_text(LOG)
    (open_folder / "locked.log").write_text(LOG)
    (open_folder / "locked.log").chmod(0)
    analyze(open_folder / "train.log")  # what is imported while it runs may be out of reach below
    with unprivileged():
        autopsy = analyze(open_folder)
        status, out, _ = cli("analyze", open_folder, "--format", "json")
    assert problems(autopsy) == {"locked.log": ("cannot be read: Permission denied",)}
    assert lengths(autopsy)["loss"] == 20
    assert status == 0
    assert "Permission denied" in out


def test_the_undamaged_half_of_a_checkpoint_is_judged(tmp_path: Path) -> None:
    _safetensors_cut(tmp_path)
    (checkpoint,) = analyze(tmp_path).run.checkpoints
    assert [t.name for t in checkpoint.tensors] == ["a"]
    assert checkpoint.missing == ("b",)


# --- strange content ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rows",
    [
        '{"step": 1e18, "loss": 1}\n{"step": 1e400, "loss": 2}\n',
        '{"step": NaN, "loss": 1}\n{"step": null, "loss": 2}\n',
        '{"step": -5, "loss": 1}\n{"step": "x", "loss": 2}\n{"step": 0.5, "loss": 2}\n',
        '{"step": ' + "9" * 400 + ', "loss": 1}\n{"step": 21, "loss": ' + "9" * 400 + "}\n",
        '{"step": 21, "loss": "1e999"}\n{"step": 22, "loss": [[[]]]}\n{"step": 23, "loss": {}}\n',
        '{"step": 1, "loss": 1, "loss": 2}\n[1, 2]\n"text"\n\n\n{}\n',
        '{"step": 1, "loss": 1, "lr": ' + "[" * 20_000 + "\n",
    ],
)
def test_absurd_numbers_are_survived(tmp_path: Path, cli: RunCli, rows: str) -> None:
    (tmp_path / "metrics.jsonl").write_text(ROWS + rows)
    (tmp_path / "config.json").write_text(
        '{"learning_rate": %s, "logging_steps": 1e999}' % ("9" * 400)
    )
    autopsy = analyze(tmp_path)
    assert lengths(autopsy)["loss"] >= 19
    render_all(autopsy)
    assert cli("analyze", tmp_path, "--format", "md")[0] == 0


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"\xff\xfe\x00",
        b"{" * 50_000,
        b"[" * 200_000,
        b'{"a":' * 20_000,
        b"a: &a [1]\n" + b"".join(b"b%d: &b%d [*a,*a,*a,*a,*a,*a]\n" % (i, i) for i in range(50)),
        b"loss: nan" * 100_000,
        bytes(range(256)) * 256,
        b"step,loss\n" + b"1," * 50_000,
        b"!!python/object/apply:os.system ['false']\n",
        b"\x80\x04\x95" + b"\xff" * 64,
    ],
    ids=lambda content: repr(content[:24]),
)
@pytest.mark.parametrize(
    "name",
    [
        "trainer_state.json", "config.json", "config.yaml", "hparams.yaml", "metrics.csv",
        "metrics.jsonl", "train.log", "requirements.txt", "run-1.wandb", "wandb-summary.json",
        "model.safetensors", "model.safetensors.index.json", "events.out.tfevents.1.h", "x.toml",
    ],
)  # fmt: skip
def test_any_content_under_any_name(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    (tmp_path / "good.jsonl").write_text(ROWS)
    autopsy = analyze(tmp_path)
    series = next(s for s in autopsy.run.series if s.source.path == "good.jsonl")
    assert len(series) == 20
    for texts in problems(autopsy).values():
        assert all("\n" not in text and "reader failed" not in text for text in texts)
    assert not any(f.id == "detector-failed" for f in autopsy.findings)
    assert not any(c.status == "failed" for c in autopsy.considered)


class _Evil:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("name", ["model.pt", "optimizer.bin", "training_args.bin", "data.pkl"])
@pytest.mark.parametrize("zipped", [False, True])
def test_no_pickle_is_ever_executed(tmp_path: Path, name: str, zipped: bool) -> None:
    marker, run = tmp_path / "executed", tmp_path / "run"
    run.mkdir()
    payload = pickle.dumps(_Evil(marker), protocol=2)
    if zipped:
        with zipfile.ZipFile(run / name, "w") as archive:
            archive.writestr("archive/data.pkl", payload)
            archive.writestr("archive/version", "3\n")
    else:
        (run / name).write_bytes(payload)
    (run / "train.log").write_text(LOG)
    analyze(run)
    assert not marker.exists()


@pytest.mark.parametrize(
    "name",
    ["new\nline.log", "right\u202eto-left.log", "\x1b[31mred.log", os.fsdecode(b"bytes-\xff.log")],
    ids=["newline", "bidi", "escape", "undecodable"],
)
def test_a_hostile_name_reaches_no_terminal(tmp_path: Path, cli: RunCli, name: str) -> None:
    (tmp_path / name).write_text(LOG + "step 21 loss nan\n")
    autopsy = analyze(tmp_path)
    assert autopsy.verdict == "non-finite"
    render_all(autopsy)
    for form in ("text", "md", "json"):
        status, out, err = cli("analyze", tmp_path, "--format", form, "--no-redact")
        assert (status, err) == (0, "")
        assert not {"\x1b", "\u202e", "\udcff"} & set(out)


def test_five_thousand_files(tmp_path: Path) -> None:
    for i in range(5000):
        (tmp_path / f"image-{i}.jpg").write_bytes(b"\xff\xd8\xff")
    (tmp_path / "train.log").write_text(LOG)
    autopsy = analyze(tmp_path)
    assert lengths(autopsy)["loss"] == 20
    assert len(autopsy.run.artifacts) == 5001


@pytest.mark.real
def test_every_public_artifact_is_survived(real: Path) -> None:
    for folder in sorted(path for path in real.iterdir() if path.is_dir()):
        try:
            autopsy = analyze(folder)
        except NothingToRead as error:
            assert "reader failed" not in str(error)
            continue
        assert not any("failed at" in note for note in autopsy.run.notes)
        for texts in problems(autopsy).values():
            assert not any("reader failed" in text for text in texts)
        assert not any(f.id == "detector-failed" for f in autopsy.findings)
        assert not any(c.status == "failed" for c in (*autopsy.causes, *autopsy.considered))


def test_the_program_itself_ends_as_promised(tmp_path: Path) -> None:
    _half_a_json_line(tmp_path)
    command = [sys.executable, "-m", "nanautopsy", "analyze"]
    gone = subprocess.run(
        [*command, tmp_path / "gone"], capture_output=True, text=True, check=False
    )
    assert (gone.returncode, gone.stdout) == (2, "")
    assert is_one_line(gone.stderr)
    done = subprocess.run(
        [*command, tmp_path, "--format", "json"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["verdict"] == "healthy"
