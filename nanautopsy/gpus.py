"""NVIDIA GPUs by name: their compute capability, and with it the formats that they compute in.

Source: NVIDIA, "CUDA GPU Compute Capability" (developer.nvidia.com/cuda-gpus) and its legacy list.
bfloat16 is computed natively from 8.0 on; before it is emulated, or refused.
"""

from __future__ import annotations

import re

_CAPABILITIES: tuple[tuple[str, str], ...] = (
    (r"GB10\b", "12.1"),
    (r"RTX PRO \d{4}.*Blackwell|RTX 50\d0", "12.0"),
    (r"[GH]?B300", "10.3"),
    (r"G?B[12]00", "10.0"),
    (r"G?H[12]00|H800|H20\b", "9.0"),
    (r"L40S?\b|\bL4\b|\bL2\b|\bL20\b|RTX 40\d0|RTX \d{4} Ada|RTX 4000 SFF", "8.9"),
    (r"Orin", "8.7"),
    (r"\bA40\b|\bA10G?\b|\bA16\b|\bA2\b|RTX A\d{3,4}|RTX 30\d0|\bA10M\b", "8.6"),
    (r"\bA[18]00\b|\bA30\b", "8.0"),
    (r"\bT4G?\b|RTX 20\d0|Quadro RTX|TITAN RTX|GTX 16\d0|\bT\d{3,4}\b", "7.5"),
    (r"Xavier", "7.2"),
    (r"V100|TITAN V\b|GV100", "7.0"),
    (r"\bP40\b|\bP4\b|\bP6\b|GTX 10\d0|TITAN Xp?\b|Quadro P\d{3,4}", "6.1"),
    (r"\bP100\b|GP100", "6.0"),
    (r"\bM60\b|\bM40\b|\bM4\b|GTX 9\d0|GTX TITAN X", "5.2"),
    (r"\bM10\b|GTX 750", "5.0"),
    (r"\bK80\b", "3.7"),
    (r"\bK40|\bK20", "3.5"),
)
_PATTERNS = tuple(
    (re.compile(pattern, re.IGNORECASE), capability) for pattern, capability in _CAPABILITIES
)


def compute_capability(name: str) -> str | None:
    """``8.0`` for ``NVIDIA A100-SXM4-80GB``; ``None`` for what is no NVIDIA GPU that is known."""
    if maker(name) is not None:
        return None
    return next((level for pattern, level in _PATTERNS if pattern.search(name)), None)


_MAKERS = tuple(
    (re.compile(pattern, re.IGNORECASE), kind)
    for pattern, kind in (
        (r"\bAMD\b|Instinct|\bMI\d{2,3}|Radeon", "rocm"),
        (r"Apple", "mps"),
        (r"Ascend", "npu"),
        (r"TPU", "tpu"),
        (r"Intel", "xpu"),
    )
)


def maker(name: str) -> str | None:
    """The device kind of another maker's accelerator; ``None`` for NVIDIA's and unknown ones."""
    return next((kind for pattern, kind in _MAKERS if pattern.search(name)), None)
