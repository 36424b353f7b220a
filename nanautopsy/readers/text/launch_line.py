"""The command that started the run, where the log shows it.

Samples::

    + python train.py --fp16 --lr 2e-3                                    (bash -x, Slurm)
    [2024-03-01 10:00:00,000] [INFO] [runner.py:568:main] cmd = /usr/bin/python3 -u -m \
deepspeed.launcher.launch --master_port=29500 train.py --bf16            (DeepSpeed's launcher)
    run sh: `torchrun --nproc_per_node 4 sft.py --torch_dtype float16`      (ms-swift)
    $ FORCE_TORCHRUN=1 llamafactory-cli train train.yaml
    $ python -m axolotl.cli.train config.yml
    $ torchrun --nproc_per_node=8 train.py --precision bf16

Advice ("run `python ...`", "usage: ...") is no command that was run.
"""

from __future__ import annotations

import re

from nanautopsy.model import EnvironmentRecord, Source
from nanautopsy.readers.text.dialect import Dialect, Handler, Line, Log

_COMMAND = re.compile(
    r"(?:^\s*(?:\++|\$|>>?|#)?\s*|\bcmd\s*=\s*|\b(?:command(?: line)?|run sh)\s*[:=]\s*[`'\"]?)"
    r"((?:[A-Z_]+=\S+ )*"
    r"(?:(?:[\w./-]*/)?(?:python[\d.]*|torchrun|deepspeed|srun|mpirun|horovodrun|accelerate)"
    r"\s[^`]*?(?:\S\.py|(?<=\s)-m \w[\w.]*)(?![\w.])[^`]*"
    r"|(?:llamafactory-cli|swift|axolotl|tune|litgpt|fairseq-(?:hydra-)?train|xtuner)\s[^`]*)"
    r")[`'\"]?$",
    re.IGNORECASE,
)
_SETTING = re.compile(r"(?:^|\s)--?[A-Za-z]|\s\+{0,2}[\w.]+=\S|\.(?:ya?ml|json|toml)\b")
"""What makes a command worth keeping: options, overrides, or the file that holds them."""
_ADVICE = re.compile(
    r"\b(?:usage|please|try|example|e\.g\.|run the|instead|you can|should)\b", re.I
)
_MEMORY = "launch-line"


def _on_command(log: Log, line: Line) -> None:
    match = _COMMAND.search(line.text)
    if match is None or not _SETTING.search(match[1]) or _ADVICE.search(line.text):
        return
    if log.memory.setdefault(_MEMORY, line.number) != line.number:
        return  # a relaunch repeats it; the first one started the run
    source = Source(log.path, line=line.number, excerpt=line.excerpt)
    log.out.append(EnvironmentRecord(source, facts={"command": match[1].strip()}))


def _plan(line: Line, lower: str) -> Handler | None:
    return _on_command if len(line.text) <= 8000 else None


DIALECT = Dialect(
    name="launch-line",
    triggers=(".py ", " -m ", "-cli ", "fairseq-", "swift ", "axolotl ", "tune run", "litgpt "),
    plan=_plan,
)
