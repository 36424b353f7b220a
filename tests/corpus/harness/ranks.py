"""One rank of a DeepSpeed run: ``python -m harness.ranks STORY HEALTHY DIRECTORY WORK``.

Rank 0 prints ``ROW {...}`` for the numbers of a step; all else that it prints is what the program
and DeepSpeed say. Each rank leaves what its hooks saw in ``first-<rank>.json``.

float16 is declared to be supported: torch computes it on any CPU, and DeepSpeed asks only
for speed.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from harness.session import Session

HARNESS = Path(__file__).resolve().parent
CHATTER = re.compile(r"Gloo\]|shm_comm_op|all_gather|reduce_scatter|requires_grad=True|return func")
RANKS = 2


def launch(session: Session, story: str) -> None:
    """Train a story of ``stories_deepspeed`` with two ranks, into the session's log and truth."""
    from harness.truth import Recorder

    work = Path(tempfile.mkdtemp())
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    environment = os.environ | {
        "DS_ACCELERATOR": "cpu",
        "WORLD_SIZE": str(RANKS),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
        "PYTHONWARNINGS": "ignore",
        "PYTHONPATH": os.pathsep.join(
            [str(HARNESS.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
        ),
    }
    own = [story, str(int(session.healthy)), str(session.directory), str(work)]
    outputs = [open(work / f"rank-{rank}.txt", "w+", encoding="utf-8") for rank in range(RANKS)]
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "harness.ranks", *own],
            env=environment | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        for rank, output in enumerate(outputs)
    ]
    ended = [process.wait(timeout=120) for process in processes]
    outputs[0].seek(0)
    if any(ended):
        raise SystemExit(f"{story}: a rank ended with {ended}; see {work}")
    losses: list[float] = []
    for line in outputs[0].read().splitlines():
        if line.startswith("ROW "):
            row = json.loads(line[4:])
            losses.append(row["loss"])
            session.log.row(row.pop("step"), row)
        elif line.strip() and not CHATTER.search(line):
            session.log.say(neutral(line, session.directory))
    session.recorder = Recorder.__new__(Recorder)
    session.recorder.first = merged(work)
    session.recorder.losses = losses
    for path in session.directory.rglob("zero_to_*.py"):
        path.unlink()
    shutil.rmtree(work)


def neutral(line: str, directory: Path) -> str:
    """Without the places of the machine that trained it."""
    line = line.replace(str(directory), "output").replace(str(HARNESS.parent), "/workspace")
    return re.sub(r"/[^\s'\"]*?/site-packages", "/opt/conda/lib/python3.11/site-packages", line)


def merged(work: Path) -> dict[str, dict[str, Any]]:
    """The first of each kind over the ranks."""
    found: dict[str, dict[str, Any]] = {}
    for rank in range(RANKS):
        seen = json.loads((work / f"first-{rank}.json").read_text(encoding="utf-8"))
        for kind, place in seen.items():
            if kind not in found or place["step"] < found[kind]["step"]:
                found[kind] = place | {"rank": rank}
    return found


def main(story: str, healthy: str, directory: str, work: str) -> None:
    """Train as one rank."""
    import torch
    from deepspeed.accelerator import get_accelerator

    torch.set_num_threads(1)
    torch.manual_seed(7)
    get_accelerator().is_fp16_supported = lambda: True
    logging.getLogger("DeepSpeed").setLevel(logging.INFO)
    from harness.deepspeed_loop import train_rank
    from harness.stories_deepspeed import ENGINES

    rank = int(os.environ["RANK"])
    first = train_rank(ENGINES[story], healthy == "1", Path(directory), rank)
    (Path(work) / f"first-{rank}.json").write_text(json.dumps(first), encoding="utf-8")
    sys.stdout.flush()
    os._exit(0)  # an interpreter that ends in order may wait for a rank that is gone


if __name__ == "__main__":
    main(*sys.argv[1:])
