"""Environment facts from the places where W&B keeps them, under our names for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nanautopsy.readers import _wandb_proto as proto

_FACTS = {
    1: "os",
    2: "python",
    6: "program",
    12: "host",
    13: "username",
    14: "executable",
    18: "gpu",
    25: "cuda",
}
_PACKAGES = {"cli_version": "wandb", "huggingface_version": "transformers"}


def from_environment(message: bytes) -> dict[str, str]:
    """Facts of an EnvironmentRecord (wandb 0.20 and later)."""
    texts = proto.texts(message)
    facts = {name: texts[number][0] for number, name in _FACTS.items() if texts.get(number)}
    if "python" in facts:
        facts["python"] = facts["python"].removeprefix("CPython ")
    if "program" in facts:
        facts["command"] = " ".join([facts["program"], *texts.get(5, [])])
    numbers = proto.numbers(message)
    if 19 in numbers:
        facts["gpu_count"] = str(numbers[19])
    for gpu in proto.parts(message, 24)[:1]:
        described = proto.texts(gpu)
        if 4 in described:
            facts["gpu_architecture"] = described[4][0]
    for git in proto.parts(message, 9):
        facts.update(git_facts(proto.texts(git)))
    return facts


def git_facts(texts: Mapping[int, list[str]]) -> dict[str, str]:
    """``git_remote`` and ``git_commit`` of a GitRepoRecord."""
    names = {1: "git_remote", 2: "git_commit"}
    return {name: texts[number][0] for number, name in names.items() if texts.get(number)}


def from_telemetry(message: bytes) -> tuple[dict[str, str], dict[str, str]]:
    """(facts, packages) of a TelemetryRecord."""
    texts = proto.texts(message)
    named = {4: "python_version", 5: "cli_version", 6: "huggingface_version"}
    return from_private({name: texts[n][0] for n, name in named.items() if texts.get(n)})


def from_private(values: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, str]]:
    """(facts, packages) of the ``_wandb`` entry of a config.

    ``huggingface_version`` is transformers' own ``__version__`` (wandb ``sdk/wandb_init.py``).
    """
    packages = {package: str(values[key]) for key, package in _PACKAGES.items() if values.get(key)}
    python = values.get("python_version")
    return ({"python": str(python)} if python else {}), packages


def from_metadata(values: Mapping[str, Any]) -> dict[str, str]:
    """Facts of a ``wandb-metadata.json``, of the Python (to 0.18) and the Go form."""
    facts: dict[str, str] = {}
    for name in ("os", "python", "program", "host", "username", "executable", "gpu", "gpu_count"):
        if isinstance(values.get(name), (str, int)) and values[name] != "":
            facts[name] = str(values[name])
    if "python" in facts:
        facts["python"] = facts["python"].removeprefix("CPython ")
    cuda = values.get("cudaVersion") or values.get("cuda")
    if isinstance(cuda, str):
        facts["cuda"] = cuda
    arguments = values.get("args")
    if "program" in facts:
        extra = [str(part) for part in arguments] if isinstance(arguments, list) else []
        facts["command"] = " ".join([facts["program"], *extra])
    gpus = values.get("gpu_nvidia") or values.get("gpu_devices")
    if isinstance(gpus, list) and gpus and isinstance(gpus[0], Mapping):
        facts.setdefault("gpu", str(gpus[0].get("name", "")))
        if isinstance(gpus[0].get("architecture"), str):
            facts["gpu_architecture"] = gpus[0]["architecture"]
    git = values.get("git")
    if isinstance(git, Mapping):
        for key in ("remote", "commit"):
            if isinstance(git.get(key), str):
                facts[f"git_{key}"] = git[key]
    return {name: fact for name, fact in facts.items() if fact}
