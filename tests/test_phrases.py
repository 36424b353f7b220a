"""Whatever the package says of a run is a phrase, so that it can be said in another language."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gallery import SAMPLE_RUNS, sample_names

from nanautopsy import analyze
from nanautopsy.diagnose import load_causes
from nanautopsy.experiments import EXPERIMENTS
from nanautopsy.known_issues import load
from nanautopsy.model import Autopsy
from nanautopsy.rewrite import Place, rewrite
from nanautopsy.wording import Phrase

PACKAGE = Path(__file__).resolve().parent.parent / "nanautopsy"
CORPUS = Path(__file__).parent / "corpus" / "runs"

SAID = {
    ("Autopsy", "headline"),
    ("Onset", "how"),
    ("Finding", "text"),
    ("Evidence", "text"),
    ("RankedCause", "title"),
    ("RankedCause", "remedies"),
    ("RankedCause", "reason"),
    ("TimelineEntry", "text"),
    ("Coverage", "seen"),
    ("MissingEvidence", "what"),
    ("MissingEvidence", "why_it_matters"),
    ("MissingEvidence", "how_to_collect"),
    ("Run", "notes"),
    ("ArtifactReport", "problems"),
}
"""Fields of a result that hold words of ours."""


def said(autopsy: Autopsy) -> Iterator[tuple[tuple[str, str], str]]:
    """(dataclass and field, text) of every text of ours that is not empty."""
    found: list[tuple[tuple[str, str], str]] = []

    def visit(leaf: Any, place: Place) -> Any:
        if isinstance(leaf, str) and leaf and (place.owner, place.field) in SAID:
            found.append(((place.owner, place.field), leaf))
        return leaf

    rewrite(autopsy, visit)
    yield from found


def runs() -> list[Path]:
    samples = [SAMPLE_RUNS / name for name in sample_names()]
    corpus = sorted(path for path in CORPUS.iterdir() if path.is_dir())
    return [*samples, *corpus[:: max(1, len(corpus) // 12)]]


@pytest.mark.parametrize("path", runs(), ids=lambda path: path.name)
def test_what_is_said_of_a_run_is_a_phrase(path):
    plain = {place: text for place, text in said(analyze(path)) if not isinstance(text, Phrase)}
    assert plain == {}


def test_what_a_cause_says_of_itself_is_a_phrase():
    causes = load_causes().parts
    texts = [text for cause in causes for text in (cause.title, *cause.remedies)]
    texts += [need.what for cause in causes for need in cause.needs]
    assert [text for text in texts if not isinstance(text, Phrase)] == []


def test_experiments_and_known_defects_are_phrases():
    texts = [text for one in EXPERIMENTS.values() for text in (one.outcome, *one.how.values())]
    texts += [text for issue in load() for text in (issue.title, issue.what, *issue.remedies)]
    assert [text for text in texts if not isinstance(text, Phrase)] == []


def _untranslatable(tree: ast.AST) -> Iterator[int]:
    """Lines on which a template stands where no tool finds it: inside an f-string, or as one, or
    behind a name."""
    makers = {"phrase": (0,), "counted": (1, 2)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            for inner in ast.walk(node):
                if isinstance(inner, ast.Call) and _name(inner) in makers:
                    yield inner.lineno
        if isinstance(node, ast.Call) and _name(node) in makers:
            yield from (
                node.lineno
                for i in makers[_name(node)]
                if i < len(node.args) and isinstance(node.args[i], (ast.JoinedStr, ast.BinOp))
            )


def _name(call: ast.Call) -> str:
    return call.func.id if isinstance(call.func, ast.Name) else ""


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.relative_to(PACKAGE).as_posix()
)
def test_templates_stand_where_they_can_be_collected(path: Path) -> None:
    assert list(_untranslatable(ast.parse(path.read_text(encoding="utf-8")))) == []


def test_a_template_in_an_f_string_is_found() -> None:
    for code in (
        "f\"{phrase('a {b}', b=1)} c\"",
        'phrase(f"a {b}")',
        'phrase("a " + b)',
        'counted(n, "one", f"{n}")',
    ):
        assert list(_untranslatable(ast.parse(code))) == [1]
    assert list(_untranslatable(ast.parse('phrase("a {b}", b=f"{c}")'))) == []
