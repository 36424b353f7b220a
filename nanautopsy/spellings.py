"""Values of settings in any of the spellings that configuration files use."""

from __future__ import annotations

import re
from collections.abc import Callable

from nanautopsy.model import Scalar

_WRAPPED = re.compile(
    r"(?:<class\s*|dtype\()?['\"]?(?:(?:torch|jnp|jax\.numpy|np|numpy|tf|ml_dtypes|dtype)\.)*"
    r"([a-z0-9_-]+)['\"]?[>)]?"
)
_PRECISION = re.compile(
    r"(?:(?:amp|mixed|pure|full)[-_])?(bf16|bfloat16|fp16|float16|half|f16|16|fp32|float32|float|f32"
    r"|32)(?:[-_](?:mixed|true|pure|full))?"
)
"""``16-mixed`` and ``32-true`` are Lightning's, ``amp_bf16`` Composer's and OpenCLIP's,
``mixed_float16`` Keras's."""
_REMARK = re.compile(r"(?<=[\w-])\s+\([^()]*(?:\(\))?[^()]*\)$")
"""``fp16 (model.half())``"""
_DTYPES = {
    **dict.fromkeys(("fp16", "float16", "half", "f16", "16"), "F16"),
    **dict.fromkeys(("bf16", "bfloat16"), "BF16"),
    **dict.fromkeys(("fp32", "float32", "float", "f32", "32"), "F32"),
}
_POLICY = re.compile(r"(?:^|[,;( ])c(?:ompute)?(?:_dtype)?\s*=\s*['\"]?([a-z]*\d{2})\b")
_MOST_POWER = 64
_NOT_STATED = ("", "none", "null", "auto", "~")


def dtype_name(value: Scalar) -> str | None:
    """F16, BF16 or F32 for any of the usual spellings (``torch.float16``, ``16-mixed``, ...).

    ``no`` (accelerate's word for *no autocast*) is none: the weights' own dtype decides then.
    """
    if isinstance(value, bool) or value is None:
        return None
    wrapped = _WRAPPED.fullmatch(_REMARK.sub("", str(value).strip().lower()))
    found = None if wrapped is None else _PRECISION.fullmatch(wrapped[1])
    return None if found is None else _DTYPES[found[1]]


def policy_dtype(value: Scalar) -> str | None:
    """What a policy computes in: jmp's ``params=float32,compute=float16,output=float32`` and its
    short form ``p=f32,c=f16,o=f32``; else what :func:`dtype_name` reads."""
    found = _POLICY.search(str(value).lower())
    return dtype_name(value) if found is None else dtype_name(found[1])


def truth(value: Scalar) -> bool | None:
    """A flag's value in any spelling; ``None`` for ``auto`` and for what is no flag."""
    if isinstance(value, bool):
        return value
    lowered = str(value).strip().lower()
    if lowered in ("true", "1", "yes", "on"):
        return True
    if lowered in ("false", "0", "no", "off", "none"):
        return False
    return None


def number(value: Scalar) -> float | None:
    """A number in any spelling; ``None`` for ``auto`` and for what is none."""
    if isinstance(value, bool) or value is None:
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def text(value: Scalar) -> str | None:
    """A word; ``None`` where the setting says that nothing is set, or leaves it to others."""
    words = str(value).strip()
    return None if value is None or words.lower() in _NOT_STATED else words


def pure_precision(value: Scalar) -> str | None:
    """The dtype of Lightning's ``bf16-true`` and Composer's ``pure``: parameters in it too."""
    words = str(value).lower()
    return dtype_name(value) if "true" in words.split("-") or "pure" in words else None


def apex_level(value: Scalar) -> str | None:
    """What NVIDIA's apex computes in at ``O1``: its levels from O1 on are float16."""
    return {"O0": "F32", "O1": "F16", "O2": "F16", "O3": "F16"}.get(str(value).upper())


def flag_for(dtype: str) -> Callable[[Scalar], Scalar]:
    """A reader of flags that stand for a dtype when they are set."""
    return lambda value: dtype if truth(value) else None


def element(place: int) -> Callable[[Scalar], Scalar]:
    """A reader of one number of a printed pair: ``(0.9, 0.98)``."""

    def read(value: Scalar) -> float | None:
        parts = str(value).strip("()[] ").split(",")
        return number(parts[place]) if isinstance(value, str) and len(parts) == 2 else None

    return read


def power_of_two(value: Scalar) -> float | None:
    """65536 of DeepSpeed's ``initial_scale_power: 16``."""
    power = number(value)
    return None if power is None or not 0 <= power <= _MOST_POWER else 2.0**power


def flag_unless_no(value: Scalar) -> bool | None:
    """Whether accelerate's ``dynamo_backend`` names one: ``INDUCTOR``, not ``NO``."""
    words = text(value)
    return None if words is None else words.lower() not in ("no", "false", "disable", "disabled")


def flash_attention(value: Scalar) -> str | None:
    """The attention that a flag or LLaMA-Factory's ``flash_attn: fa2`` asks for."""
    if truth(value) is not None:
        return "flash_attention_2" if truth(value) else None
    words = text(value)
    named = {"fa2": "flash_attention_2", "fa3": "flash_attention_3", "disabled": "eager"}
    return None if words is None else named.get(words.lower(), words)


_DEVICE = re.compile(r"(cuda|mps|npu|tpu|xla|xpu|hpu|rocm)(?::\d+)?")


def device_kind(value: Scalar) -> str | None:
    """What computes, for ``cuda:0`` and the like.

    ``cpu`` is none: it is what parts are offloaded to, and ``gpu`` may be anyone's.
    """
    match = _DEVICE.fullmatch(str(value).strip().lower())
    return None if match is None else {"xla": "tpu"}.get(match[1], match[1])


def device_for(kind: str) -> Callable[[Scalar], Scalar]:
    """A reader of flags that choose a device when they are set."""
    return lambda value: kind if truth(value) else None


def bits(width: int) -> Callable[[Scalar], Scalar]:
    """A reader of flags that load weights in so many bits when they are set."""
    return lambda value: width if truth(value) else None


def is_asked(value: Scalar) -> bool | None:
    """Whether a flag is set, or a choice made (``fp8: hybrid``); ``None`` where nothing is said."""
    words = text(value)
    if words is None:
        return None
    flag = truth(value)
    return True if flag is None else flag
