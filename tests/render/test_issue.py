"""The issue report: what maintainers ask, in their order, and text that stays text."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import factories
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from nanautopsy import analyze
from nanautopsy.cli import nanautopsy
from nanautopsy.commands.issue import PROJECTS as OFFERED
from nanautopsy.languages import Language, translated
from nanautopsy.model import Autopsy, Quote
from nanautopsy.render._gfm import MAX_CHARACTERS
from nanautopsy.render._open_questions import PROJECTS
from nanautopsy.render.issue import TITLE_CHARACTERS, render, title

SAMPLES = Path(__file__).resolve().parents[2] / "sample_runs"
ALL = [
    factories.failing,
    factories.healthy,
    factories.diverged,
    factories.undetermined,
    factories.no_cause,
    factories.all_nan,
    factories.empty,
    factories.hostile,
]
PARSER = MarkdownIt("commonmark", {"html": True}).enable("table")


def headings(text: str) -> list[str]:
    tokens = PARSER.parse(text)
    return [tokens[i + 1].content for i, t in enumerate(tokens) if t.tag == "h3" and t.nesting == 1]


@pytest.fixture(scope="module")
def overlap() -> Autopsy:
    return analyze(SAMPLES / "minigemini-deepspeed")


@pytest.mark.parametrize("make", ALL)
@pytest.mark.parametrize("project", PROJECTS)
def test_every_result_gives_a_report_that_fits(make: Callable[[], Autopsy], project: str) -> None:
    text = render(make(), project=project)
    assert len(text) < MAX_CHARACTERS + 500
    assert text.count("<details>") == text.count("</details>")


def test_the_lines_before_and_after_the_onset_are_there(overlap: Autopsy) -> None:
    (fence,) = [t for t in PARSER.parse(render(overlap)) if t.type == "fence"]
    lines = fence.content.rstrip("\n").split("\n")
    marked = [i for i, line in enumerate(lines) if line.startswith(">")]
    assert marked == [20]
    assert len(lines) == 26
    assert "'grad_norm': nan" in lines[20]


def test_what_maintainers_ask_is_answered_or_asked(overlap: Autopsy) -> None:
    text = render(overlap)
    assert "| deepspeed | 0.14.2 |" in text
    assert "| overlap_comm | true |" in text
    assert "- [x] First non-finite module or parameter" in text
    assert "- [ ] Command line" in text
    assert "- [ ] Is it gone without overlapped communication?" in text
    assert "wider format" not in text  # it computes in bfloat16
    assert "3 of 21 tensors are non-finite" in text


def test_the_order_is_that_of_the_project(overlap: Autopsy) -> None:
    deepspeed, generic = (headings(render(overlap, project=p)) for p in ("deepspeed", "generic"))
    assert deepspeed[:2] == ["Environment", "Settings that matter"]
    assert generic[0] == "First non-finite"
    assert sorted(deepspeed) == sorted(generic)


def test_a_title_is_one_line_of_a_length_that_fits() -> None:
    for make in ALL:
        said = title(make())
        assert "\n" not in said
        assert len(said) <= TITLE_CHARACTERS
    assert title(factories.failing()).count("(") >= 1


def test_chinese(overlap: Autopsy) -> None:
    zh = Language("zh")
    text = render(translated(overlap, zh), language=zh)
    assert "### 首个非有限值" in text
    assert "'grad_norm': nan" in text
    assert "Open questions" not in text


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.text(max_size=80),
            st.sampled_from(["```", "~~~~", "</details>", "<script>", "@torvalds", "#1", "`" * 9]),
        ),
        min_size=1,
        max_size=30,
    )
)
def test_no_line_of_a_log_leaves_its_fence(lines: list[str]) -> None:
    lines = [line.replace("\n", " ") for line in lines]
    quote = Quote("train.log", 1, tuple(lines), (1,), onset=1)
    text = render(replace(factories.failing(), quotes=(quote,)))
    tokens = PARSER.parse(text)
    (fence,) = [t for t in tokens if t.type == "fence"]
    assert fence.content.count("\n") == min(len(lines), 6)
    assert headings(text)[-1] == "Open questions"


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(nanautopsy, ["issue", *arguments])
    return result.exit_code, result.output


def test_the_command_line() -> None:
    sample = str(SAMPLES / "lr-spike")
    status, text = run(sample)
    assert status == 0
    assert text.startswith("<!-- nanautopsy")
    assert run(sample, "--title") == (0, "The loss went Inf at step 125 (lr-spike)\n")
    assert run(sample, "--title", "--exit-code")[0] == 1
    assert tuple(OFFERED) == PROJECTS


def test_publishing_names_needs_a_yes() -> None:
    sample = str(SAMPLES / "lr-spike")
    status, text = run(sample, "--no-redact")
    assert status == 2
    assert "add --yes" in text
    assert run(sample, "--no-redact", "--yes")[0] == 0


def test_nothing_to_read(tmp_path: Path) -> None:
    status, text = run(str(tmp_path / "nothing"))
    assert status == 2
    assert not re.search("Traceback", text)


def test_a_file_of_the_run_is_not_replaced(tmp_path: Path) -> None:
    log = tmp_path / "train.log"
    log.write_text("step 1 loss 2.0\nstep 2 loss nan\n")
    assert run(str(tmp_path), "-o", str(log))[0] == 2
    assert log.read_text().startswith("step 1")
    assert run(str(tmp_path), "-o", str(tmp_path / "issue.md"))[0] == 0
    assert (tmp_path / "issue.md").read_text().startswith("<!-- nanautopsy")
