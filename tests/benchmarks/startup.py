"""Start-up beside its peer: ``nanautopsy --help`` over ``python -c "import click"``.

``python tests/benchmarks/startup.py`` prints the medians of whole processes and their ratio, the
two run in turn so that a machine whose speed drifts does not favor one.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

RUNS = 20
OURS = [sys.executable, "-m", "nanautopsy", "--help"]
PEER = [sys.executable, "-c", "import click"]


def seconds(command: list[str]) -> float:
    """Wall time of one process."""
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    """Print medians and ratio."""
    pairs = [(seconds(OURS), seconds(PEER)) for _ in range(RUNS + 2)][2:]
    ours, peer = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(a / b for a, b in pairs)
    print(f"nanautopsy --help  {ours * 1e3:7.1f} ms")
    print(f"import click       {peer * 1e3:7.1f} ms")
    print(f"ratio              {ratio:7.2f}    (target: at most 2)")


if __name__ == "__main__":
    main()
