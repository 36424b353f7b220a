"""Versions and machine as programs print them: environment reports and banners.

Samples::

    torch==2.1.0+cu118                                        (pip freeze, whole lines)
    [pip3] torch==2.1.0+cu118                                 (torch.utils.collect_env)
    PyTorch version: 2.1.0+cu118                              (torch.utils.collect_env)
    - `transformers` version: 4.41.0                          (transformers env)
    - PyTorch version (GPU?): 2.1.0+cu118 (True)              (transformers env)
    deepspeed info ................... 0.14.0, unknown        (ds_report)
    wandb: Tracking run with wandb version 0.16.6             (wandb)
    | NVIDIA-SMI 535.104.05   Driver Version: 535.104.05   CUDA Version: 12.2     |
    |   0  Tesla T4            Off  | 00000000:00:04.0 Off |                    0 |
    torch 2.4.0+cu121 | python 3.11
    Environment: torch=2.5.0 deepspeed=0.13.1
    GPU 0: NVIDIA A100-SXM4-80GB
    GPU 0,1,2,3             Tesla V100-SXM2-32GB (arch=7.0)       (detectron2, a table)
    YOLOv5 v6.0 torch 1.9.0+cu111 CUDA:0 (Tesla V100-SXM2-16GB, 16160.5MB)
    \\\\   /|    GPU: Tesla T4. Max memory: 14.748 GB.             (Unsloth)
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from nanautopsy.model import EnvironmentRecord, Source
from nanautopsy.readers.text.dialect import Dialect, Handler, Line, Log

_VERSION = r"v?(\d+(?:\.\d+)+[\w.+!-]*|\d+\.dev[\w+.-]*)"
_FREEZE = re.compile(
    r"(?:\[(?:pip3?|conda)\] )?([A-Za-z0-9][\w.-]*)(?:==| +(?=\d))(\d[\w.+!-]*)(?:\s+\S+){0,2}\s*"
)
_BACKTICK = re.compile(rf"- `([\w-]+)` version: {_VERSION}")
_NAMES = {
    "pytorch": "torch",
    "torch": "torch",
    "huggingface_hub": "huggingface-hub",
    "tensorflow": "tensorflow",
}
_PACKAGES = (
    "pytorch|torch|torchvision|transformers|accelerate|deepspeed|peft|trl|datasets|tokenizers"
    "|flash[-_ ]?attn|bitsandbytes|xformers|triton|numpy|jax|jaxlib|flax|optax|lightning"
    "|pytorch[-_]lightning|tensorflow|keras|apex|megatron[-_.]core|unsloth|wandb"
    "|huggingface[-_]hub|safetensors|detectron2"
)
_NAMED = re.compile(
    rf"(?<![\w./-])(?<!build )({_PACKAGES})\s{{0,9}}(?:version|info)?"
    rf"\s{{0,9}}(?:\((?:GPU|accelerator)\?\))?\s{{0,9}}(?:[:=@]|\.{{3,}})?\s{{0,9}}{_VERSION}(?![\w/])",
    re.IGNORECASE,
)
_ULTRALYTICS = re.compile(r"\bPython-(\d[\d.]+) torch-(\d[\w.+]*)")
_NOT_STATED = re.compile(
    r">|<|\b(?:requires?|required|available|upgrade|minimum|recommended|at least|deprecated|removed"
    r"|since|introduced|compatible|supports?|tested|untested|should|must|newer|older|from version"
    r"|expected|until|compiled|built)\b",
    re.IGNORECASE,
)
_GPU = (
    r"^GPU 0(?:,\d+)*(?::\s*|\s{3,})(\S.{0,80}?)(?: \((?:UUID|arch).*)?$|^- GPU type: (.+)$"
    r"|\bCUDA:0 \(([A-Za-z][^,()]{2,60})(?:,|\))|\bGPU: ([A-Z][\w -]{2,50})\. Max memory"
    r"|^\|\s+0\s+((?:NVIDIA |Tesla |GeForce |Quadro )?[A-Z][\w ./-]*?)\s{2,}(?:On|Off)\b"
)
_FACTS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("python", re.compile(r"\bPython version\s*[:.]+\s*(\d+\.\d+[\w.+]*)|"
                          r"\bPython-(\d+\.\d+[\d.]*) torch-", re.I)),
    ("os", re.compile(r"^(?:OS|- Platform): (\S.{0,100})")),
    ("cuda", re.compile(r"CUDA used to build PyTorch: (\S+)|torch cuda version \.+ (\S+)")),
    ("cudnn", re.compile(r"cuDNN version: (\d\S{0,40})")),
    ("driver", re.compile(r"Nvidia driver version: (\S+)|Driver Version: (\S+)")),
    ("cuda_driver", re.compile(r"Driver Version: \S+\s+CUDA Version: (\S+)")),
    ("gpu", re.compile(_GPU)),
    ("mixed_precision", re.compile(r"^\s*-?\s*mixed_precision: (\w+)\s*$")),
)  # fmt: skip
_SEEN = "environment_text"
_BANNERS = ("torch", "transformers", "deepspeed", "accelerate", "jax", "lightning")


def normalize(name: str) -> str:
    """PEP 503, with the names that people print instead."""
    name = re.sub(r"[-_. ]+", "-", name).lower()
    return _NAMES.get(name, name)


def _report(log: Log, line: Line, packages: Mapping[str, str], facts: Mapping[str, str]) -> None:
    """Each statement once a log."""
    seen = log.memory.setdefault(_SEEN, set())
    if not isinstance(seen, set):
        return
    new_packages = {k: v for k, v in packages.items() if (k, v) not in seen}
    new_facts = {k: v for k, v in facts.items() if (k, v) not in seen}
    if (not new_packages and not new_facts) or len(seen) > 5000:
        return
    seen.update(new_packages.items(), new_facts.items())
    source = Source(log.path, line=line.number, excerpt=line.excerpt)
    log.out.append(EnvironmentRecord(source, packages=new_packages, facts=new_facts))


def _on_freeze(log: Log, line: Line) -> None:
    match = _frozen(line.text)
    if match is not None:
        _report(log, line, {normalize(match[1]): match[2]}, {})


def _frozen(text: str) -> re.Match[str] | None:
    return _FREEZE.fullmatch(text.strip()) if "==" in text or "[conda]" in text else None


def _on_named(log: Log, line: Line) -> None:
    packages = {normalize(name): version for name, version in _named(line.text)}
    _report(log, line, packages, _facts(line.text))


def _named(text: str) -> list[tuple[str, str]]:
    matches = (*_BACKTICK.finditer(text), *_NAMED.finditer(text))
    named = [(m[1], m[2].rstrip(".,;:)")) for m in matches]
    return named + [("torch", m[2]) for m in _ULTRALYTICS.finditer(text)]


def _facts(text: str) -> dict[str, str]:
    found = {}
    for name, pattern in _FACTS:
        match = pattern.search(text.strip())
        if match is not None:
            found[name] = next(group for group in match.groups() if group).strip()
    return found


def _plan(line: Line, lower: str) -> Handler | None:
    text = line.text
    if len(text) > 1000:
        return None
    if _frozen(text):
        return _on_freeze
    if _NOT_STATED.search(text):
        return None
    return _on_named if _named(text) or _facts(text) else None


DIALECT = Dialect(
    name="environment",
    triggers=(*(f"=={digit}" for digit in range(10)), " version", "version:", "os: ", "gpu type",
              "cuda:0 (", "gpu: ", "gpu 0,", " torch-",
              "cuda used to build", "gpu 0:",
              "platform: ", "mixed_precision", "deepspeed info", "torch:", "transformers:",
              *(f"{name}{sign}" for sign in " =@" for name in _BANNERS),
              "nvidia ", "tesla ", "geforce ", "[conda] "),
    plan=_plan,
)  # fmt: skip
