"""Which step a checkpoint belongs to, as the names of its file and directories say.

======================================  =====  =================================================
name                                    step   habit of
======================================  =====  =================================================
``checkpoint-500``, ``checkpoint_500``    500  HF Trainer, flax
``global_step500``                        500  DeepSpeed
``iter_0000500``, ``iter_500.pth``        500  Megatron, mmengine
``epoch=3-step=500.ckpt``                 500  Lightning
``step_500``, ``step-500``, ``step500``   500  accelerate examples, torchtitan, kohya
``it0000500``, ``net_it500.pt``           500  some
``500_steps``, ``10k-iters``                n  many
``ckpt_500.pt``, ``model.ckpt-500``       500  nanoGPT forks, TensorFlow 1
``model_0004999.pth``                    4999  detectron2
``checkpoint.bv-000000500``               500  big_vision
``checkpoint_3_500.pt``                   500  fairseq: epoch, updates
``checkpoints/500``                       500  orbax
``checkpoints/0050000.pt``              50000  DiT
``ep3-ba500-rank0.pt``                    500  composer: epoch, batches
``opt500000.pt``, ``ema_500000.pt``    500000  guided-diffusion
``0000500_adapters.safetensors``          500  MLX
``streaming_params_500``                  500  EasyLM
``G_500.pth``, ``D_500.pth``              500  VITS
``init.pt``, ``model_initial.ckpt``         0  many: before training
``checkpoint3.pt``, ``epoch_3``             –  fairseq, many: an epoch is not a step
``model_1``, ``model_224``, ``llama-7b``    –  a number, but of something else
``00001-of-00007``, ``rank_3``              –  shards and ranks
``hf_model_0001_0.pt``                      –  torchtune: shard, epoch
``ckpt-20231105-103000``                    –  a date
``max_steps_1000``, ``every_500_steps``     –  a setting in a run's name
======================================  =====  =================================================

The component nearest to the file wins. TensorFlow's ``ckpt-5`` and accelerate's automatic
``checkpoint_5`` count saves under names that elsewhere count steps; a name alone cannot tell.
"""

from __future__ import annotations

import re

_SHARD = re.compile(r"\d+-of-\d+")
_DECIMAL = re.compile(r"\d+\.\d+")
_TOKEN = re.compile(r"[a-z0-9]+")
_GLUED = re.compile(r"([a-z]+)(\d+k?)|(\d+)([a-z]{2,})")
_NUMBER = re.compile(r"(\d{1,9})(k?)")
"""No run makes a milliard steps: longer numbers are times and hashes."""
_DATE = re.compile(r"(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])")

_STEP_WORDS = frozenset(
    {"step", "steps", "globalstep", "iter", "iters", "iteration", "iterations", "itr"}
    | {"update", "updates"}
)
_SAVE_WORDS = frozenset({"checkpoint", "ckpt", "chkpt", "chkp"})
_SETTING_WORDS = frozenset(
    {"max", "num", "total", "warmup", "save", "eval", "log", "logging", "every", "per", "decay"}
    | {"accumulation", "accum", "inference", "diffusion", "rollout", "sampling", "n"}
)
_STEP_PARENTS = frozenset({"checkpoint", "checkpoints", "ckpt", "ckpts", "steps", "iterations"})
_MODEL_WORDS = frozenset(
    {"model", "net", "network", "opt", "ema", "params", "state", "agent", "policy"}
)
_FILE = re.compile(r"(\d+)\.(?:pt|pth|bin|ckpt|safetensors|npz|msgpack|pkl)")
_HABITS = (
    re.compile(r"ep\d+-ba(\d{1,9})(?:[-.].*)?"),
    re.compile(r"(\d{6,9})_adapters\.\w+"),
    re.compile(r"[gd]_(\d{1,9})\.pth"),
    re.compile(r"streaming_(?:params|train_state)_(\d{1,9})"),
    re.compile(r"(?:.*[-_.])?it_?(0\d{2,8}|\d{3,7})(?:[-_.][^\d]*)?"),
)
"""Whole names that a single program gives, and iterations cut down to two letters."""
_UNTRAINED = re.compile(
    r"(?:(?:model|ckpt|checkpoint|weights|params|state)[-_.]?)?(?:init|initial|untrained)"
    r"(?:[-_.]?(?:model|ckpt|checkpoint|weights|params|state))?(?:\.\w+)?"
)
_MODEL_STEP = re.compile(r"0\d{2,}|\d{5,}|\d+00")
"""``model_1`` is a second model, ``model_224`` a picture's size; ``model_0004999`` is a step, as
a number with leading zeros, of five digits, or in hundreds."""


def step_of(path: str) -> int | None:
    """The step that ``path`` (relative, forward slashes) names, or ``None``."""
    parts = [part.lower() for part in path.split("/")]
    for i in range(len(parts) - 1, -1, -1):
        step = _step_of_name(parts[i])
        if step is None and i and parts[i - 1] in _STEP_PARENTS:
            step = _number(_stem(parts[i]))
        if step is not None:
            return step
    return None


def names_step(path: str) -> bool:
    """Whether a step or an iteration is named by that word."""
    split = (_tokens(part.lower()) for part in path.split("/"))
    return any(not _STEP_WORDS.isdisjoint(tokens) for tokens, _ in split)


def _stem(name: str) -> str:
    """A file's name without its extension where the number in it can hardly be an epoch."""
    match = _FILE.fullmatch(name)
    return match[1] if match and _MODEL_STEP.fullmatch(match[1]) else name


def _step_of_name(name: str) -> int | None:
    """The step in one path component, the surest habit first."""
    if _UNTRAINED.fullmatch(name):
        return 0
    for habit in _HABITS:
        match = habit.fullmatch(name)
        if match is not None:
            return int(match[1])
    tokens, glued = _tokens(_DECIMAL.sub(" . ", _SHARD.sub(" . ", name)))
    for find in (_after_step_word, _before_step_word, _after_save_word):
        step = find(tokens, glued)
        if step is not None:
            return step
    return None


def _tokens(name: str) -> tuple[list[str], frozenset[int]]:
    """Words and numbers in order, and the places of numbers glued to the word before them."""
    tokens: list[str] = []
    glued: set[int] = set()
    for run in _TOKEN.findall(name):
        split = _GLUED.fullmatch(run)
        if split is None:
            tokens.append(run)
        elif split[1]:
            glued.add(len(tokens) + 1)
            tokens += [split[1], split[2]]
        else:
            tokens += [split[3], split[4]]
    return tokens, frozenset(glued)


def _number(token: str) -> int | None:
    """The count that a token is, thousands resolved; ``None`` for words, dates and hashes."""
    match = _NUMBER.fullmatch(token)
    if match is None or (len(match[1]) == 8 and _DATE.fullmatch(match[1])):
        return None
    return int(match[1]) * (1000 if match[2] else 1)


def _after_step_word(tokens: list[str], glued: frozenset[int]) -> int | None:
    for i in range(1, len(tokens)):
        is_setting = i > 1 and tokens[i - 2] in _SETTING_WORDS
        if tokens[i - 1] in _STEP_WORDS and not is_setting:
            step = _number(tokens[i])
            if step is not None:
                return step
    return None


def _before_step_word(tokens: list[str], glued: frozenset[int]) -> int | None:
    for i in range(len(tokens) - 1):
        is_setting = i > 0 and tokens[i - 1] in _SETTING_WORDS
        if tokens[i + 1] in _STEP_WORDS and not is_setting and i not in glued:
            step = _number(tokens[i])
            if step is not None:
                return step
    return None


def _after_save_word(tokens: list[str], glued: frozenset[int]) -> int | None:
    for i, token in enumerate(tokens):
        rest = tokens[i + 1 :]
        if token in _SAVE_WORDS:
            if rest and rest[0] in ("bv", "npz"):
                rest = rest[1:]
            if not rest or (token == "checkpoint" and i + 1 in glued):
                continue
            if token == "checkpoint" and len(rest) > 1 and rest[0].isdigit():
                updates = _number(rest[1])
                if updates is not None and _number(rest[0]) is not None:
                    return updates
        elif not (token in _MODEL_WORDS and rest and _MODEL_STEP.fullmatch(rest[0])):
            continue
        elif tokens[:1] == ["hf"] or (token != "model" and len(rest[0]) < 5):
            continue
        step = _number(rest[0])
        if step is not None:
            return step
    return None
