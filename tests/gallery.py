"""The rendered reports of every sample run: ``python -m tests.gallery`` writes them anew."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SAMPLE_RUNS = ROOT / "sample_runs"
REPORTS = ROOT / "reports"


def sample_names() -> list[str]:
    """Every sample run, twins included."""
    folders = (path for path in SAMPLE_RUNS.iterdir() if path.is_dir())
    return sorted(path.name for path in folders if path.name != "generate")


def render_sample(name: str) -> dict[str, str]:
    """File name to content of one sample's reports, as the command line renders them; of a run that
    failed in Chinese too."""
    from nanautopsy import analyze
    from nanautopsy.languages import Language, translated
    from nanautopsy.render import html, json, markdown

    # Reports name the run as it was given: relative to the checkout, wherever that lies.
    before = Path.cwd()
    os.chdir(ROOT)
    try:
        autopsy = analyze(f"sample_runs/{name}")
    finally:
        os.chdir(before)
    files = {
        f"{name}.html": html.render(autopsy),
        f"{name}.md": markdown.render(autopsy),
        f"{name}.json": json.render(autopsy),
    }
    if autopsy.failed:
        chinese = Language("zh")
        said = translated(autopsy, chinese)
        files[f"{name}.zh.html"] = html.render(said, language=chinese)
        files[f"{name}.zh.md"] = markdown.render(said, language=chinese)
    return files


def handbook() -> tuple[Path, str]:
    """Where the page of all causes lies, and what it should hold."""
    from nanautopsy.explain import handbook as make

    return ROOT / "docs" / "causes.md", make()


def main() -> None:
    """Write all of them; reports of samples that are gone are deleted."""
    REPORTS.mkdir(exist_ok=True)
    written = set()
    for name in sample_names():
        for file, content in render_sample(name).items():
            (REPORTS / file).write_text(content, encoding="utf-8")
            written.add(file)
        print(name)
    path, text = handbook()
    path.write_text(text, encoding="utf-8")
    for path in REPORTS.iterdir():
        if path.name not in written:
            path.unlink()


if __name__ == "__main__":
    main()
