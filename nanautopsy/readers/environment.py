"""Which software and machine: package lists, lock files and the reports of environment tools."""

from __future__ import annotations

import re
from collections.abc import Iterator

from nanautopsy.model import Artifact, Claim, EnvironmentRecord, FileHead, Record, Skipped, Source
from nanautopsy.readers import _package_lists as lists
from nanautopsy.readers._decode import decode_text
from nanautopsy.readers._package_lists import Packages, Parser, normalize
from nanautopsy.wording import phrase

_MOST_BYTES = 16 << 20
"""Lock files of large projects reach some megabytes."""
_LOCKED = "locked versions, not necessarily the installed ones"

_LIST_NAME = re.compile(
    r".*requirements.*\.(?:txt|in|lock)|constraints.*\.txt|.*freeze.*\.txt|"
    r"(?:pip|packages|installed)[\w-]*\.txt|.*pip[-_]list.*",
    re.IGNORECASE,
)
_LOCK_NAME = re.compile(r"(?:uv|poetry|pdm)\.lock|pylock(?:\..*)?\.toml")
_YAML_NAME = re.compile(r".*(?:environment|conda|env).*\.ya?ml", re.IGNORECASE)
_JSON_NAME = re.compile(
    r".*(?:environment|env|versions?|packages|system|software).*\.json", re.IGNORECASE
)
_JSON_VERSION = re.compile(
    r'"(?:torch|jax|tensorflow|transformers|deepspeed|lightning)"\s*:\s*"\d+\.\d'
)
_REPORT = re.compile(
    rb"Collecting environment information\.\.\.|PyTorch version: .*\n.*Is debug build|"
    rb"- `(?:transformers|Accelerate|diffusers|accelerate)` version|"
    rb"Diffusers version: |DeepSpeed general environment info|\| NVIDIA-SMI "
)
_TRAINING_LINE = re.compile(rb"\b(?:loss|epoch|iter(?:ation)?)\b", re.IGNORECASE)
"""A log may start with such a report; then it is a log."""
_ESCAPE = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_UNKNOWN = ("", "N/A", "NA", "None", "Could not collect", "not installed", "Not found", "not found")

_VERSION = r"([0-9][\w.+!-]*)"
_PACKAGE_LINES = (
    re.compile(rf"^- [`']?([\w-]+)[`']? version(?: \([^)]*\))?: {_VERSION}", re.MULTILINE),
    re.compile(rf"^\[pip3?\]\s+([\w.-]+)==+{_VERSION}", re.MULTILINE),
    re.compile(rf"^\[conda\]\s+([\w.-]+)\s+{_VERSION}", re.MULTILINE),
    re.compile(rf"^(PyTorch|torch|deepspeed) version[ .:]+{_VERSION}", re.MULTILINE),
    re.compile(rf"^(deepspeed) info [ .]+ {_VERSION}", re.MULTILINE),
)
_FACT_LINES = {
    "python": re.compile(r"^(?:- )?Python version: (\d+\.\d+[\w.]*)", re.MULTILINE),
    "os": re.compile(r"^(?:OS|- Platform|Platform): (.+)", re.MULTILINE),
    "cuda": re.compile(
        r"^(?:CUDA used to build PyTorch: |torch cuda version [ .]*)(\d[\w.]*)", re.MULTILINE
    ),
    "cuda_runtime": re.compile(r"^CUDA runtime version: (\d[\w.]*)", re.MULTILINE),
    "driver": re.compile(r"(?:Nvidia driver version: |Driver Version: )(\d[\w.]*)"),
    "cuda_driver": re.compile(r"Driver Version: \S+\s+CUDA Version: (\d[\w.]*)"),
    "cudnn": re.compile(r"^cuDNN version: (.+)", re.MULTILINE),
    "nvcc": re.compile(r"^nvcc version [ .]*(\d[\w.]*)", re.MULTILINE),
}
_GPU = re.compile(
    r"^(?:GPU models and configuration: |GPU )?(?:GPU )?\d+: (.+)|"
    r"^- (?:GPU|PyTorch accelerator|Using GPU) type: (.+)|^- GPU type: (.+)|"
    r"^\|[ ]{1,9}\d+[ ]{1,9}((?:NVIDIA|Tesla|GeForce|Quadro|AMD)[\w .-]{0,60}?)"
    r"\s{1,60}(?:On|Off|N/A)\s*\|",
    re.MULTILINE,
)
_DISTRIBUTIONS = {"pytorch": "torch"}


class EnvironmentReader:
    """Claims by name where the name is a convention, else by what the text is."""

    name = "environment"

    def claim(self, file: FileHead) -> Claim | None:
        if not file.size or (b"\0" in file.head[:4096] and file.head[:1] not in b"\xff\xfe"):
            return None
        if _LOCK_NAME.fullmatch(file.name) or file.name == "Pipfile.lock":
            return Claim(self.name, 85)
        text = decode_text(file.head)
        if _YAML_NAME.fullmatch(file.name):
            is_conda = re.search(r"^dependencies:", text, re.MULTILINE) is not None
            return Claim(self.name, 80) if is_conda else None
        if file.name.endswith((".py", ".json", ".csv", ".yaml", ".yml", ".toml", ".html")):
            if _JSON_NAME.fullmatch(file.name) and _JSON_VERSION.search(text):
                return Claim(self.name, 80)
            is_list = re.match(r'\s*\[\s*\{[^{}]*"version": *"', text) and '"name"' in text[:4096]
            return Claim(self.name, 60) if is_list else None
        if _parser_of(text) is not lists.from_requirements:
            return Claim(self.name, 80)
        if file.size <= len(file.head) and _REPORT.search(file.head):
            return None if _TRAINING_LINE.search(file.head) else Claim(self.name, 80)
        pins, share = lists.pinned_share(text)
        if _LIST_NAME.fullmatch(file.name) and share > 0.5:
            return Claim(self.name, 75)
        return Claim(self.name, 60) if pins >= 3 and share > 0.9 else None

    def read(self, artifact: Artifact) -> Iterator[Record]:
        """One ``EnvironmentRecord``, when anything in the file says a version or a machine."""
        if artifact.bytes > _MOST_BYTES:
            yield Skipped(
                phrase(
                    "{bytes} bytes is too much for a package list; not parsed", bytes=artifact.bytes
                )
            )
            return
        text = decode_text(artifact.location.read_bytes())
        name = artifact.path.rpartition("/")[2]
        facts: dict[str, str] = {}
        if _LOCK_NAME.fullmatch(name) or name == "Pipfile.lock":
            locks = lists.from_lock if name != "Pipfile.lock" else lists.from_pipfile_lock
            packages = locks(text)
            facts["packages_note"] = _LOCKED
        elif name.endswith((".yml", ".yaml")):
            packages = lists.from_conda_yaml(text)
        elif name.endswith(".json"):
            packages = lists.from_pip_json(text) or lists.from_versions_json(text)
        elif _REPORT.search(text.encode("utf-8", "replace")):
            packages, facts = _report(_ESCAPE.sub("", text))
        else:
            packages = _parser_of(text)(text)
        python = packages.pop("python", None)
        if python is not None:
            facts.setdefault("python", python)
        cuda = packages.get("pytorch-cuda") or packages.get("cudatoolkit")
        if cuda is not None:
            facts.setdefault("cuda", cuda)
        if packages.keys() or facts.keys() - {"packages_note"}:
            yield EnvironmentRecord(Source(artifact.path), packages, facts)
        else:
            yield Skipped(phrase("no exact version in it"))


def _parser_of(text: str) -> Parser:
    """The parser of a list that says itself what it is, else that of requirements."""
    if re.match(r"(?:\s*#.*\n)*\s*# packages in environment at ", text):
        return lists.from_conda_list
    if re.search(r"^@EXPLICIT\s*$", text, re.MULTILINE):
        return lists.from_conda_explicit
    if re.match(r"\s*Package\s+Version.*\n-+ -+", text):
        return lists.from_pip_list
    return lists.from_requirements


def _report(text: str) -> tuple[Packages, dict[str, str]]:
    """Packages and facts of an environment tool's report."""
    packages: Packages = {}
    for pattern in _PACKAGE_LINES:
        for name, version in pattern.findall(text):
            name = normalize(name)
            packages.setdefault(_DISTRIBUTIONS.get(name, name), version)
    facts = {}
    for fact, pattern in _FACT_LINES.items():
        found = pattern.search(text)
        if found is not None and found[1].strip() not in _UNKNOWN:
            facts[fact] = found[1].strip()
    gpus = ["".join(groups).strip() for groups in _GPU.findall(text)]
    gpus = [gpu for gpu in gpus if gpu not in _UNKNOWN]
    if gpus:
        facts["gpu"] = gpus[0]
        facts["gpu_count"] = str(len(gpus))
    if packages.get("python"):
        facts.setdefault("python", packages.pop("python"))
    return packages, facts


READER = EnvironmentReader()
