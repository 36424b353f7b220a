"""Which checkpoint a run says was its last complete one."""

from __future__ import annotations

from pathlib import Path

import pytest
from reading import head_of, of_type, problems_of, read_file

from nanautopsy.checkpoints.latest_tags import READER
from nanautopsy.model import ConfigRecord


def run_with(folder: Path, name: str, tag: str, *directories: str) -> Path:
    for directory in directories:
        (folder / directory).mkdir()
    (folder / name).write_text(tag)
    return folder / name


@pytest.mark.parametrize(
    ("name", "tag", "directories"),
    [
        ("latest", "global_step6", ("global_step2", "global_step4", "global_step6")),
        ("latest", "global_step10", ("global_step9", "global_step10")),
        ("latest", "best", ("global_step9", "best")),
        ("latest", "global_step6\n", ("global_step6", "global_step8_universal")),
        ("latest_universal", "global_step6_universal", ("global_step6_universal", "global_step8")),
        ("latest_checkpointed_iteration.txt", "100\n", ("iter_0000050", "iter_0000100")),
        ("latest_checkpointed_iteration.txt", "release", ("release",)),
    ],
)
def test_the_newest_tag_is_no_problem(
    tmp_path: Path, name: str, tag: str, directories: tuple[str, ...]
) -> None:
    records = read_file(READER, run_with(tmp_path, name, tag, *directories))
    assert problems_of(records) == []
    (config,) = of_type(records, ConfigRecord)
    assert config.values == {"latest": tag.strip()}


@pytest.mark.parametrize(
    ("name", "tag", "directories", "text"),
    [
        ("latest", "global_step6", (), "names 'global_step6', which is not here"),
        (
            "latest",
            "global_step6",
            ("global_step4",),
            "names 'global_step6', which is not here; 'global_step4' is",
        ),
        (
            "latest",
            "global_step9",
            ("global_step9", "global_step10"),
            "names 'global_step9', but 'global_step10' is here too: its save was not completed, "
            "or training went back",
        ),
        (
            "latest_checkpointed_iteration.txt",
            "50",
            ("iter_0000050", "iter_0000100"),
            "names 'iter_0000050', but 'iter_0000100' is here too: its save was not completed, "
            "or training went back",
        ),
    ],
)
def test_another_tag_is_a_problem(
    tmp_path: Path, name: str, tag: str, directories: tuple[str, ...], text: str
) -> None:
    (problem,) = problems_of(read_file(READER, run_with(tmp_path, name, tag, *directories)))
    assert problem.text == text
    assert (problem.source.path, problem.source.line) == (name, 1)


@pytest.mark.parametrize("content", ["", "two words", "a/b", "x" * 300, "\x00\x01", "../etc\n"])
def test_other_files_of_that_name_are_left_alone(tmp_path: Path, content: str) -> None:
    path = tmp_path / "latest"
    path.write_text(content)
    assert READER.claim(head_of(path)) is None


def test_a_name_of_digits_without_end_is_compared(tmp_path: Path) -> None:
    path = run_with(tmp_path, "latest", "9" * 200, "8" * 200)
    assert len(problems_of(read_file(READER, path))) == 1
