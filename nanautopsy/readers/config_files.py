"""Settings files: DeepSpeed, model, adapter and training configs in JSON, YAML and TOML."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from nanautopsy.model import (
    Artifact,
    Claim,
    ConfigRecord,
    FileHead,
    Problem,
    Record,
    Scalar,
    Skipped,
    Source,
)
from nanautopsy.readers import _yaml
from nanautopsy.readers._decode import decode_text
from nanautopsy.readers._flatten import flatten
from nanautopsy.readers._loose_json import load_loose_json
from nanautopsy.readers._setting_names import TRAINING_KEYS
from nanautopsy.wording import phrase

_MOST_BYTES = 4 << 20
_EXTENSIONS = (".json", ".yaml", ".yml", ".toml", ".json5", ".hjson")

_Loaded: TypeAlias = "tuple[Any, str | None]"
"""What a text holds, and what was wrong with it."""

RECORD_KINDS: Mapping[str, str] = {
    "deepspeed-config": "deepspeed",
    "model-config": "model",
    "adapter-config": "adapter",
    "generation-config": "generation",
    "training-config": "training",
}
"""Artifact kind to the kind of its :class:`~nanautopsy.model.ConfigRecord`."""

_NOT_SETTINGS = re.compile(
    r"(?:.*tokenizer.*|vocab|.*special_tokens.*|added_tokens|merges|.*preprocessor.*|processor_.*|"
    r"package(?:-lock)?|tsconfig|pyrightconfig|wandb-.*|.*\.index|.*results?|.*dataset_info|"
    r"chat_template|conda.*|environment.*|docker-compose.*|\.pre-commit.*|mkdocs|pyproject|hydra|"
    r"overrides|.*golden.*|.*\.ipynb|index)\.\w+",
    re.IGNORECASE,
)
_TRAINING_NAME = re.compile(
    r"(?:.*hparams|.*hyper[-_]?param(?:eter)?s?|(?:.*[-_])?(?:training|train)?[-_]?args(?:[-_].*)?|"
    r"(?:.*[-_.])?(?:train|training|finetune|pretrain|experiment|exp|run|sft|dpo|default)"
    r"[-_]?(?:config|cfg|params|opts?|settings)|config|cfg|params|opts?|settings)\.\w+",
    re.IGNORECASE,
)
_DEEPSPEED_KEYS = frozenset(
    {"zero_optimization", "train_micro_batch_size_per_gpu", "zero_allow_untested_optimizer"}
    | {"steps_per_print", "wall_clock_breakdown", "zero_force_ds_cpu_optimizer"}
)
_MODEL_KEYS = frozenset(
    {"model_type", "architectures", "_diffusers_version", "transformers_version"}
)
_LLAMA_KEYS = ("dim", "n_layers", "n_heads")
_CALL = re.compile(r"\s*(?:\w+\.)*\w*(?:Namespace|Args|Arguments|Config|Params|Options)\(")
_TEXT_LINE = re.compile(r"\s*([A-Za-z_][\w.-]*)\s*[:=]\s*(\S.*?)(?:\s*\[default: .*\])?\s*")
_FEWEST = 2
"""Settings that only a training has, below which a text is none of its settings."""
_MOST_TEXT = 1 << 16
_KEY = re.compile(r"""(?:^|[{,\s])["']?([A-Za-z][\w-]*)["']?\s*[:=]""")


class ConfigReader:
    """Claims by a telling name and by keys that only such settings have."""

    name = "config"

    def claim(self, file: FileHead) -> Claim | None:
        if file.name.lower().endswith(".txt"):
            return _claim_text(file)
        if not file.name.lower().endswith(_EXTENSIONS) or not file.size:
            return None
        keys = _top_keys(file)
        if file.name == "adapter_config.json":
            return Claim("adapter-config", 85)
        if file.name == "generation_config.json":
            return Claim("generation-config", 85)
        if keys & _DEEPSPEED_KEYS or (
            re.match(r"(?:ds|deepspeed)[-_.]", file.name) and file.name.endswith("json")
        ):
            return Claim("deepspeed-config", 85)
        if _NOT_SETTINGS.fullmatch(file.name):
            return None
        if "wandb_version" in keys or "_wandb" in keys:
            return None
        if keys & _MODEL_KEYS or keys.issuperset(_LLAMA_KEYS):
            return Claim("model-config", 75 if "config" in file.name else 55)
        named = _TRAINING_NAME.fullmatch(file.name) is not None
        telling = len(_keys_of_text(file.head) & TRAINING_KEYS)
        if telling >= 2 or (telling == 1 and named):
            # Above one row of metrics, which settings with a number of steps look like.
            return Claim("training-config", 80 if named else 45)
        return Claim("training-config", 40) if named else None

    def read(self, artifact: Artifact) -> Iterator[Record]:
        """One ``ConfigRecord``; a damaged file gives what stands before the damage."""
        source = Source(artifact.path)
        if artifact.bytes > _MOST_BYTES:
            yield Skipped(
                phrase("{bytes} bytes is too much for settings; not parsed", bytes=artifact.bytes)
            )
            return
        text = decode_text(artifact.location.read_bytes())
        extension = artifact.path.rpartition(".")[2].lower()
        value, problem = _LOADERS.get(extension, _load_json)(text)
        if problem is not None:
            yield Problem(problem, source)
        if isinstance(value, dict) and value:
            flat = _merged(flatten(value))
            yield ConfigRecord(RECORD_KINDS[artifact.kind], flat, source)


def _claim_text(file: FileHead) -> Claim | None:
    """``args.txt``, ``opt.txt``: settings that a program printed into a file of their own."""
    if _TRAINING_NAME.fullmatch(file.name) is None or file.size > _MOST_TEXT:
        return None
    settings, _ = _load_text(decode_text(file.head))
    names = {key.rpartition(".")[2].lower().replace("-", "_") for key in settings or ()}
    return Claim("training-config", 70) if len(names & TRAINING_KEYS) >= _FEWEST else None


def _load_text(text: str) -> _Loaded:
    """``name: value`` and ``name = value`` lines, or a printed namespace."""
    from nanautopsy.readers.text.config_echo import items

    call = _CALL.match(text)
    if call is not None:
        return dict(items(text[call.end() :])), None
    values: dict[str, Any] = {}
    for line in text.splitlines():
        match = _TEXT_LINE.fullmatch(line)
        if match is not None:
            values.update(items(f"{match[1]}={match[2].strip()}"))
    return values, None


def _top_keys(file: FileHead) -> frozenset[str]:
    """The keys of the outermost object; of all levels when the head does not hold it whole."""
    if file.size <= len(file.head) and file.name.endswith("json"):
        try:
            value = json.loads(file.head)
        except (ValueError, RecursionError):
            return _keys_of_text(file.head)
        return frozenset(value) if isinstance(value, dict) else frozenset()
    if file.name.endswith((".yaml", ".yml")):
        lines = file.head.decode("utf-8", "replace")
        return frozenset(re.findall(r"^([A-Za-z_][\w-]*)\s*:", lines, re.MULTILINE))
    return _keys_of_text(file.head)


def _keys_of_text(head: bytes) -> frozenset[str]:
    text = head.decode("utf-8", "replace")
    return frozenset(key.replace("-", "_").lower() for key in _KEY.findall(text))


def _merged(flat: dict[str, Scalar]) -> dict[str, Scalar]:
    """YAML's merge keys resolved: what stands under ``<<`` yields to what stands beside it."""
    merged = {path: value for path, value in flat.items() if "<<." not in path}
    for path, value in flat.items():
        merged.setdefault(path.replace("<<.", ""), value)
    return merged


def _load_json(text: str) -> _Loaded:
    try:
        return load_loose_json(text)
    except ValueError as error:
        return None, str(error)


def _load_yaml(text: str) -> _Loaded:
    try:
        return _yaml.load(text), None
    except _yaml.YamlDamage as error:
        return error.rest, f"not whole YAML: {error}"
    except ValueError as error:
        return None, f"not YAML: {error}"


def _load_toml(text: str) -> _Loaded:
    try:
        import tomllib  # type: ignore[import-not-found,unused-ignore]
    except ModuleNotFoundError:
        return None, "reading TOML needs Python 3.11 or newer"
    try:
        return tomllib.loads(text), None
    except (ValueError, RecursionError) as error:
        return None, f"not TOML: {error}"


_LOADERS = {"txt": _load_text, "yaml": _load_yaml, "yml": _load_yaml, "toml": _load_toml}

READER = ConfigReader()
