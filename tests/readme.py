"""The parts of README.md that come from the code: ``python -m tests.readme`` writes them anew."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

README = Path(__file__).resolve().parent.parent / "README.md"


def _help(command: str) -> str:
    """The help text of a command, as an 80-column terminal shows it."""
    from click.testing import CliRunner

    from nanautopsy.cli import nanautopsy

    result = CliRunner().invoke(nanautopsy, [command, "--help"], terminal_width=80)
    return f"```text\n{result.output.rstrip()}\n```"


def analyze_help() -> str:
    """The help text of ``analyze``, as an 80-column terminal shows it."""
    return _help("analyze")


def issue_help() -> str:
    """The help text of ``issue``, as an 80-column terminal shows it."""
    return _help("issue")


def scan_help() -> str:
    """The help text of ``scan``, as an 80-column terminal shows it."""
    return _help("scan")


def inspect_help() -> str:
    """The help text of ``inspect``, as an 80-column terminal shows it."""
    return _help("inspect")


def inspect_example() -> str:
    """What ``inspect`` says of a sample run."""
    from click.testing import CliRunner

    from nanautopsy.cli import nanautopsy

    path = "sample_runs/qwen25vl-attention"
    command = ["inspect", str(README.parent / path), "--top", "4", "-q"]
    output = CliRunner(env={"COLUMNS": "100"}).invoke(nanautopsy, command).output
    shown = output.replace(str(README.parent / path), path).rstrip()
    return f"```text\n$ nanautopsy inspect {path} --top 4\n{shown}\n```"


def readers_table() -> str:
    """One row a reader: its name and the first sentence of its module."""
    from nanautopsy.read import load_readers

    rows = ["| Reader | Artifacts |", "| --- | --- |"]
    for reader in load_readers().parts:
        page = importlib.import_module(type(reader).__module__).__doc__ or ""
        rows.append(f"| `{reader.name}` | {_first_sentence(page)} |")
    return "\n".join(rows)


def causes_table() -> str:
    """One row a cause."""
    from nanautopsy.diagnose import load_causes

    rows = ["| Cause | What happened |", "| --- | --- |"]
    for cause in load_causes().parts:
        page = importlib.import_module("nanautopsy.causes." + cause.id.replace("-", "_"))
        rows.append(f"| `{cause.id}` | {_first_sentence(page.__doc__ or '')} |")
    return "\n".join(rows)


def _first_sentence(page: str) -> str:
    paragraph = " ".join(page.strip().split("\n\n")[0].split())
    sentence = re.split(r"(?<=\.)\s", paragraph, maxsplit=1)[0]
    return sentence.replace("``", "`").replace("|", "\\|")


BLOCKS = {
    "analyze-help": analyze_help,
    "issue-help": issue_help,
    "inspect-example": inspect_example,
    "inspect-help": inspect_help,
    "scan-help": scan_help,
    "readers-table": readers_table,
    "causes-table": causes_table,
}


def current(name: str, text: str) -> str:
    """The block as it stands in the README, from its marker to the next heading or paragraph."""
    found = re.search(rf"<!-- {name} -->\n(.*?)\n<!-- end -->", text, re.DOTALL)
    return found[1] if found else ""


def main() -> None:
    """Write every block into the README."""
    text = README.read_text(encoding="utf-8")
    for name, make in BLOCKS.items():
        block = f"<!-- {name} -->\n{make()}\n<!-- end -->"
        pattern = rf"<!-- {name} -->\n.*?\n<!-- end -->"
        text = re.sub(pattern, lambda _, block=block: block, text, count=1, flags=re.DOTALL)  # type: ignore[misc]
    README.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
