"""The inspect command: what is found, what is said of it, and what goes where."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import stfiles
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st
from reading import SHARED
from stfiles import floats

import nanautopsy as package
from nanautopsy import inspect
from nanautopsy.cli import nanautopsy
from nanautopsy.commands.inspect import FORMATS, SORT_KEYS
from nanautopsy.discover import NothingToRead
from nanautopsy.inspection import Inspection
from nanautopsy.own_reports import is_own_report
from nanautopsy.progress_bar import ProgressBar
from nanautopsy.render import inspect_csv, inspect_json, inspect_text
from nanautopsy.render._columns import Column, table
from nanautopsy.render._inspect_rows import SORTS

NAN, INF = float("nan"), float("inf")
HALF_MAX = 65504.0


def call(*arguments: str | Path) -> Result:
    """Run the command as the console script does, but for the exit."""
    return CliRunner().invoke(nanautopsy, ["inspect", *map(str, arguments)])


def weights(*, bad: bool = False, scale: float = 1.0) -> dict[str, np.ndarray]:
    """A small model: an embedding, two layers, a head, and a causal mask."""
    rng = np.random.default_rng(3)
    tensors = {
        "model.embed.weight": rng.normal(size=(10, 4)).astype(np.float16),
        "model.layers.2.mlp.weight": (scale * rng.normal(size=(4, 4))).astype(np.float32),
        "model.layers.10.mlp.weight": rng.normal(size=(4, 4)).astype(np.float32),
        "lm_head.weight": rng.normal(size=(10, 4)).astype(np.float32),
        "model.layers.2.attn.mask": np.triu(np.full((4, 4), -INF, np.float32), 1),
    }
    if bad:
        tensors["model.layers.10.mlp.weight"][1, 2:] = NAN
        tensors["lm_head.weight"][8:] = INF
    return tensors


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Twelve checkpoints of which the last five are bad, and what else a run leaves behind."""
    root = tmp_path / "run"
    for k in range(1, 13):
        path = root / f"checkpoint-{100 * k}" / "model.safetensors"
        stfiles.write(path, weights(bad=k >= 8, scale=float(k)))
    (root / "train.log").write_text("step 1 loss 2.0\n", encoding="utf-8")
    return root


# --- what is measured and said -------------------------------------------------------------------


def test_a_history_is_bisected(run: Path) -> None:
    result = inspect(run)
    (history,) = result.histories
    assert [m.checkpoint.step for m in history.members] == [100 * k for k in range(1, 13)]
    assert history.first_bad is not None and history.first_bad.checkpoint.step == 800
    assert history.last_good is not None and history.last_good.checkpoint.step == 700
    assert history.good_again is None
    assert history.first_bad.damage == ("model.layers.10.mlp.weight", "lm_head.weight")
    assert history.first_bad.by_design == ("model.layers.2.attn.mask",)
    unread = [m for m in history.members if m.condition == "unmeasured"]
    assert len(unread) >= 5
    assert all(m.checkpoint.inferred for m in unread)
    assert all(m.listed == 5 for m in unread)
    assert result.failed


def test_everything_reads_everything(run: Path) -> None:
    (history,) = inspect(run, everything=True).histories
    conditions = [m.condition for m in history.members]
    assert conditions == ["finite"] * 7 + ["non-finite"] * 5


def test_a_restart_from_a_good_one(tmp_path: Path) -> None:
    for k, bad in enumerate((False, True, False)):
        stfiles.write(tmp_path / f"step_{k}" / "model.safetensors", weights(bad=bad))
    (history,) = inspect(tmp_path).histories
    assert history.good_again is not None and history.good_again.checkpoint.step == 2
    assert "good again: step_2" in inspect_text.render(inspect(tmp_path))


def test_depths(run: Path) -> None:
    path = run / "checkpoint-100"
    shallow, full = inspect(path), inspect(path, depth="full")
    embed = {t.name: t for t in shallow.inspected[0].checkpoint.tensors}["model.embed.weight"]
    assert embed.depth == "finite" and embed.rms is None and embed.headroom is not None
    embed = {t.name: t for t in full.inspected[0].checkpoint.tensors}["model.embed.weight"]
    assert embed.depth == "full" and embed.rms is not None and embed.subnormal == 0


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        (["*.mlp.weight"], {"model.layers.2.mlp.weight", "model.layers.10.mlp.weight"}),
        (["layers.10"], {"model.layers.10.mlp.weight"}),
        (["embed", "lm_head.*"], {"model.embed.weight", "lm_head.weight"}),
    ],
)
def test_filters(run: Path, filters: list[str], names: set[str]) -> None:
    (member,) = inspect(run / "checkpoint-800", filters=filters).inspected
    assert {tensor.name for tensor in member.checkpoint.tensors} == names
    assert member.listed == len(names)


def test_a_filter_that_matches_nothing_is_said(run: Path) -> None:
    result = call(run / "checkpoint-800", "--filter", "decoder")
    assert result.exit_code == 2
    assert "no tensor matches decoder; there are 5" in result.stderr


def test_overflow_in_fp16(tmp_path: Path) -> None:
    path = stfiles.write(
        tmp_path / "m.safetensors", {"a.weight": floats(7e4), "b.weight": floats(2)}
    )
    text = call(path).stdout
    assert "In fp16 1 tensor would overflow, most of all a.weight (max |x| 70,000)" in text
    assert text.splitlines()[-2].endswith("overflows")
    (member,) = inspect(path).inspected
    by_name = {tensor.name: tensor for tensor in member.checkpoint.tensors}
    assert by_name["a.weight"].fp16_headroom == pytest.approx(HALF_MAX / 7e4)


def test_a_mask_alone_is_no_failure(tmp_path: Path) -> None:
    tensors = weights()
    result = call(stfiles.write(tmp_path / "m.safetensors", tensors), "--exit-code")
    assert result.exit_code == 0
    assert "FINITE: 5 tensors" in result.stdout
    assert "no NaN or Inf but 1 by design" in result.stdout


# --- paths ---------------------------------------------------------------------------------------


def test_the_step_is_seen_in_the_directory_that_was_named(run: Path) -> None:
    for path in (run / "checkpoint-800", run / "checkpoint-800" / "model.safetensors"):
        (member,) = inspect(path).inspected
        assert member.checkpoint.step == 800
        assert member.checkpoint.path == "checkpoint-800/model.safetensors"


def test_globs_and_lists_of_files_are_one_history(run: Path) -> None:
    by_glob = inspect(run / "checkpoint-*" / "*.safetensors")
    by_name = inspect(sorted(run.glob("checkpoint-*/*.safetensors")))
    twice = inspect([run, run / "checkpoint-100"])
    assert by_glob.inspected == by_name.inspected == twice.inspected == inspect(run).inspected


def test_a_recursive_glob(run: Path) -> None:
    assert len(inspect(run.parent / "**" / "model.safetensors").inspected) == 12


def test_shards_that_are_named_one_by_one_come_together(tmp_path: Path) -> None:
    paths = [
        stfiles.write(tmp_path / f"model-0000{i}-of-00002.safetensors", {f"t{i}": floats(i)})
        for i in (1, 2)
    ]
    (member,) = inspect(paths).inspected
    assert member.listed == 2


def test_files_in_different_trees(tmp_path: Path) -> None:
    one = stfiles.write(tmp_path / "a" / "x" / "one.safetensors", {"w": floats(1)})
    two = stfiles.write(tmp_path / "b" / "two.safetensors", {"w": floats(1)})
    paths = [m.checkpoint.path for m in inspect([one, two]).inspected]
    assert paths == ["a/x/one.safetensors", "b/two.safetensors"]


def test_a_relative_path_and_a_file_url(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run / "checkpoint-100")
    assert inspect("model.safetensors").inspected[0].checkpoint.step == 100
    assert inspect("../checkpoint-200").inspected[0].checkpoint.step == 200
    assert inspect((run / "checkpoint-300").as_uri()).inspected[0].checkpoint.step == 300


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("nope", "no such file or directory"),
        ("nope*", "nothing matches"),
        ("train.log", "no checkpoint that can be read (the file is of another kind)"),
        ("empty", "no checkpoint that can be read"),
        ("cut.safetensors", "cut short inside the header"),
    ],
)
def test_nothing_to_read(run: Path, path: str, said: str) -> None:
    (run / "empty").mkdir()
    (run / "cut.safetensors").write_bytes(stfiles.content(weights())[:40])
    result = call(run / path)
    assert result.exit_code == 2
    assert said in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert result.stdout == ""


def test_damage_is_told_and_the_rest_is_read(tmp_path: Path) -> None:
    data = stfiles.content({f"w{i}": floats(*range(50)) for i in range(3)})
    (tmp_path / "model.safetensors").write_bytes(data[:-10])
    result = call(tmp_path)
    assert result.exit_code == 0
    assert "model.safetensors at byte" in result.stderr and "cut short" in result.stderr
    assert "no NaN or Inf in what could be read" in result.stdout
    assert "1 tensor of model.safetensors could not be read: w" in result.stdout


def test_many_problems_are_counted(tmp_path: Path) -> None:
    for i in range(30):
        data = stfiles.content({"a": floats(1), "b": floats(1, 2, 3)})
        (tmp_path / f"m{i}.safetensors").write_bytes(data[:-1])
    lines = call(tmp_path).stderr.splitlines()
    assert len(lines) == 21
    assert lines[-1] == "... and 10 more problems (--format json lists them all)"


def test_a_hostile_name_is_harmless(tmp_path: Path) -> None:
    path = stfiles.write(tmp_path / "m.safetensors", {"\x1b[31mred\x07\u202e": floats(NAN)})
    for arguments in ([], ["--format", "json"], ["--format", "csv"]):
        out = call(path, *arguments).stdout
        assert "\x1b" not in out and "\x07" not in out and "\u202e" not in out


_FIXTURES = Path(__file__).parent / "fixtures"
_SMALL = [
    path
    for area in ("safetensors", "torch", "numpy", "flax")
    for path in sorted((_FIXTURES / area).rglob("*"))
    if path.suffix in (".safetensors", ".pt", ".pth", ".bin", ".ckpt", ".npz", ".npy", ".msgpack")
    and path.stat().st_size < 64 << 10
]


@pytest.mark.skipif(not _SMALL, reason="no fixtures of checkpoints")
@given(st.sampled_from(_SMALL), st.data())
@settings(deadline=None, max_examples=60)
def test_broken_files_are_read_or_refused_in_a_line(path: Path, data: st.DataObject) -> None:
    content = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content))) :]
    for place in data.draw(st.lists(st.integers(0, max(0, len(content) - 1)), max_size=4)):
        if content:
            content[place] ^= data.draw(st.integers(1, 255))
    with tempfile.TemporaryDirectory() as folder:
        broken = Path(folder) / path.name
        broken.write_bytes(content)
        try:
            result = inspect(broken, depth=data.draw(st.sampled_from(["finite", "full"])))
        except NothingToRead as error:
            assert "\n" not in str(error)
            return
    for render in (inspect_text.render, inspect_json.render, inspect_csv.render):
        assert render(result)
    assert not any("reader failed" in problem.text for problem in result.problems)


# --- formats -------------------------------------------------------------------------------------


def test_json_holds_everything(run: Path) -> None:
    document = json.loads(call(run, "--format", "json").stdout)
    assert list(document)[:3] == ["schema_version", "nanautopsy_version", "command"]
    assert document["verdict"] == "non-finite"
    (history,) = document["histories"]
    assert history["first_bad"] == "checkpoint-800/model.safetensors"
    assert history["last_good"] == "checkpoint-700/model.safetensors"
    assert history["turned"] == ["model.layers.10.mlp.weight", "lm_head.weight"]
    bad = next(c for c in document["checkpoints"] if c["step"] == 800)
    assert bad["condition"] == "non-finite" and len(bad["tensors"]) == 5
    worst = bad["tensors"][0]
    assert worst["nan"] + worst["pos_inf"] > 0
    assert {"fp16_headroom", "headroom", "max_abs", "first_nonfinite", "bad_rows"} <= set(worst)


def test_csv_is_a_row_a_tensor(run: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(call(run / "checkpoint-800", "--format", "csv").stdout)))
    assert tuple(rows[0]) == inspect_csv.COLUMNS
    by_name = {row["tensor"]: row for row in rows}
    assert by_name["lm_head.weight"]["pos_inf"] == "8"
    assert by_name["lm_head.weight"]["first_nonfinite"] == "8x0"
    assert by_name["model.layers.2.attn.mask"]["note"] == "by design"
    assert by_name["model.embed.weight"]["rms"] == ""


@pytest.mark.parametrize("arguments", [[], ["--against", "checkpoint-700"]])
def test_reports_are_known_as_our_own(run: Path, arguments: list[str]) -> None:
    arguments = [str(run / a) if a.startswith("checkpoint") else a for a in arguments]
    for name in FORMATS:
        out = call(run / "checkpoint-800", *arguments, "--format", name).stdout
        assert is_own_report(out.encode()[:65536])


@pytest.mark.parametrize("name", ["a.json", "a.csv", "a.txt"])
def test_a_file_takes_the_format_of_its_suffix(run: Path, tmp_path: Path, name: str) -> None:
    result = call(run, "-o", tmp_path / name)
    assert result.stdout == ""
    assert result.stderr == f"Report: {tmp_path / name}\n"
    starts = {".json": "{", ".csv": "checkpoint,", ".txt": "nanautopsy "}
    assert (tmp_path / name).read_text().startswith(starts[Path(name).suffix])


def test_unclear_outputs_and_evidence(run: Path) -> None:
    assert call(run, "-o", "x.html").exit_code == 2
    evidence = run / "train.log"
    result = call(run, "-o", evidence, "--format", "json")
    assert result.exit_code == 2 and "would replace a file of the run" in result.stderr
    assert evidence.read_text() == "step 1 loss 2.0\n"


def test_exit_status(run: Path) -> None:
    assert call(run).exit_code == 0
    assert call(run, "--exit-code").exit_code == 1
    assert call(run / "checkpoint-100", "--exit-code").exit_code == 0
    assert call(run / "checkpoint-800", "--filter", "embed", "--exit-code").exit_code == 0


def test_home_directories_are_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named = "/home/zaphod/run/model.safetensors"
    result = _inspection_of(tmp_path, [named])
    assert result.paths == ("~/run/model.safetensors",)
    assert result.hidden == {"home": 1}


def _inspection_of(tmp_path: Path, paths: list[str]) -> Inspection:
    """As if the paths had been named, without such a home on this machine."""
    from nanautopsy import inspection

    stfiles.write(tmp_path / "model.safetensors", {"zaphod.weight": floats(1)})
    plain = inspect(tmp_path, redact=False)
    hidden = inspection._hidden(inspection.replace(plain, paths=tuple(paths)))
    assert hidden.inspected[0].checkpoint.tensors == plain.inspected[0].checkpoint.tensors
    return hidden


def test_sort_keys_are_those_of_the_table() -> None:
    assert set(SORT_KEYS) == set(SORTS)


@pytest.mark.parametrize("key", SORT_KEYS)
def test_every_sort_key_sorts(run: Path, key: str) -> None:
    result = call(run / "checkpoint-800", "--full", "--sort", key, "--format", "csv")
    assert len(result.stdout.splitlines()) == 6


def test_sorting_by_what_only_full_tells_measures_it(run: Path) -> None:
    result = call(run / "checkpoint-800", "--sort", "rms", "--format", "csv")
    values = [row["rms"] for row in csv.DictReader(io.StringIO(result.stdout)) if row["rms"]]
    assert [float(v) for v in values] == sorted(map(float, values), reverse=True) and values


def test_the_worst_stands_first_and_masks_after_it(run: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(call(run / "checkpoint-800", "--format", "csv").stdout)))
    assert {row["tensor"] for row in rows[:2]} == {"lm_head.weight", "model.layers.10.mlp.weight"}
    assert rows[2]["tensor"] == "model.layers.2.attn.mask"


def test_forward_order_is_natural(run: Path) -> None:
    result = call(run / "checkpoint-800", "--sort", "forward", "--format", "csv")
    names = [row["tensor"] for row in csv.DictReader(io.StringIO(result.stdout))]
    assert names[0] == "model.embed.weight" and names[-1] == "lm_head.weight"
    assert names.index("model.layers.2.mlp.weight") < names.index("model.layers.10.mlp.weight")


def test_top(run: Path) -> None:
    result = call(run / "checkpoint-800", "--top", "1")
    assert result.stdout.splitlines()[-1] == (
        "... 4 more tensors, 1 of them non-finite (--top 0 shows all)"
    )
    assert "more tensor" not in call(run / "checkpoint-800", "--top", "0").stdout


# --- the terminal --------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [40, 60, 80, 100, 200])
def test_no_line_is_wider_than_the_terminal(run: Path, width: int) -> None:
    for result in (
        inspect(run, depth="full"),
        inspect(run / "checkpoint-800", against=run / "checkpoint-700"),
    ):
        lines = inspect_text.render(result, width=width).splitlines()
        assert max(map(len, lines)) <= width


def test_numbers_are_never_cut(run: Path) -> None:
    for width in (44, 60, 80):
        text = inspect_text.render(inspect(run / "checkpoint-800", depth="full"), width=width)
        assert "NaN" in text
        assert not re.search(r"\d\.\.\.", text)  # names lose their beginning


def test_columns_that_say_nothing_are_left_out(run: Path) -> None:
    good = inspect_text.render(inspect(run / "checkpoint-100", filters=["mlp", "lm_head"]))
    heading = next(line for line in good.splitlines() if line.startswith("tensor "))
    assert heading.split() == ["tensor", "dtype", "shape", "max", "|x|", "headroom", "in", "fp16"]


def test_a_table_drops_the_least_important_columns() -> None:
    columns = [
        Column("name", ("layer.with.a.long.name.weight",), 10, name=True),
        Column("a", ("123456",), 1),
        Column("b", ("7890123",), 2),
    ]
    wide, narrow = (table(columns, width, [""])[1].plain for width in (60, 40))
    assert wide.split() == ["layer.with.a.long.name.weight", "123456", "7890123"]
    assert narrow.endswith("7890123") and "123456" not in narrow
    assert narrow.startswith("...") or narrow.startswith("layer")


def test_color_is_an_addition(run: Path) -> None:
    result = inspect(run)
    plain = inspect_text.render(result, width=100)
    colored = inspect_text.render(result, width=100, color=True)
    assert "\x1b[" in colored and "\x1b[" not in plain
    stripped = re.sub(r"\x1b\[[0-9;]*m", "", colored)
    assert [line.rstrip() for line in stripped.splitlines()] == plain.splitlines()


def test_json_does_not_depend_on_color_or_width(run: Path) -> None:
    result = inspect(run)
    assert json.loads(inspect_json.render(result)) == json.loads(
        call(run, "--format", "json", "--no-color").stdout
    )


def test_a_pipe_that_closes_ends_quietly(run: Path) -> None:
    command = f"{sys.executable} -m nanautopsy inspect {run} --format json | head -c 10"
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True, timeout=60
    )
    assert done.stderr == ""
    assert done.stdout == '{\n  "schem'


def test_progress_is_for_eyes_only(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressBar() as bar:
        inspect(run, progress=bar)
    assert capsys.readouterr().err == ""


def test_progress_is_told_all_bytes(run: Path) -> None:
    class Meter:
        begun = 0
        done = 0

        def begin(self, path: str, nbytes: int) -> None:
            self.begun += nbytes

        def advance(self, nbytes: int) -> None:
            self.done += nbytes

    meter = Meter()
    inspect(run / "checkpoint-100", progress=meter)
    assert meter.begun == meter.done > 0


# --- the library and the start --------------------------------------------------------------------


def test_inspect_is_imported_on_first_use() -> None:
    assert package.Inspection is Inspection
    code = (
        "import sys, nanautopsy; assert 'numpy' not in sys.modules; "
        "from click.testing import CliRunner; from nanautopsy.cli import nanautopsy as c; "
        "r = CliRunner().invoke(c, ['inspect', '--help']); assert r.exit_code == 0, r.output; "
        "assert not {'numpy', 'fsspec', 'rich', 'aiohttp'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ}, timeout=60)


def test_local_files_need_no_fsspec(run: Path) -> None:
    code = (
        "import sys, nanautopsy; nanautopsy.inspect(sys.argv[1]); "
        "assert not {'fsspec', 'aiohttp'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(run)], check=True, timeout=60)


@pytest.mark.skipif(not SHARED.is_dir(), reason="no public artifacts beside the checkout")
@pytest.mark.parametrize("name", ["resnet-th", "safetensors-samples"])
def test_public_checkpoints_are_finite(name: str) -> None:
    result = inspect(SHARED / name)
    assert not result.failed and not result.problems
    assert all(member.condition == "finite" for member in result.inspected)


def test_the_error_of_a_missing_path_is_documented() -> None:
    with pytest.raises(NothingToRead):
        inspect("/nowhere/at/all")


def test_a_file_of_which_no_tensor_is_left_is_nothing_read(tmp_path: Path) -> None:
    """A script that asks for the exit status must not take it for a sound one."""
    path = tmp_path / "model.safetensors"
    stfiles.write(path, weights())
    data = path.read_bytes()
    path.write_bytes(data[: 9 + int.from_bytes(data[:8], "little")])
    result = call(path, "--exit-code")
    assert result.exit_code == 2
    assert "NOTHING MEASURED" in result.output
    whole = tmp_path / "whole"
    stfiles.write(whole / "model.safetensors", weights())
    assert call(path, whole, "--exit-code").exit_code == 0


def test_a_part_of_the_rows_comes_in_the_order_of_all(run: Path) -> None:
    """Names are compared only for the rows that may be shown."""
    measured = inspect(run, everything=True, depth="full")
    for sort in SORTS:
        every = json.loads(inspect_json.render(measured, sort=sort))["checkpoints"]
        first = json.loads(inspect_json.render(measured, sort=sort, top=3))["checkpoints"]
        assert [c["tensors"] for c in first] == [c["tensors"][:3] for c in every]
