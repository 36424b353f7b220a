"""Statements of precision in logs, and lines that only look like them."""

from __future__ import annotations

from pathlib import Path

import pytest
from reading import of_type
from textlogs import read_text

from nanautopsy import analyze
from nanautopsy.model import ConfigRecord


def _dtype(tmp_path: Path, line: str) -> object:
    log = tmp_path / "train.log"
    log.write_text(f"{line}\nstep: 1 loss: 2.5\nstep: 2 loss: 2.4\n", encoding="utf-8")
    fact = analyze(log).run.facts.get("compute_dtype")
    return None if fact is None else fact.value


@pytest.mark.parametrize(
    ("line", "dtype"),
    [
        ("Mixed precision: autocast dtype torch.float16", "F16"),
        ("INFO - AMP enabled, dtype torch.float16", "F16"),
        ("Using 16bit Automatic Mixed Precision (AMP)", "F16"),
        ("Using bfloat16 Automatic Mixed Precision (AMP)", "BF16"),
        ("Mixed precision compatibility check (mixed_float16): OK", "F16"),
        ("Mixed precision compatibility check (mixed_bfloat16): OK", "BF16"),
        ("Keras 3.15.1 backend jax policy mixed_float16", "F16"),
        ("global dtype policy: mixed_bfloat16", "BF16"),
        ("jmp policy p=f32,c=f16,o=f32", "F16"),
        ("Policy(param_dtype=dtype('float32'), compute_dtype=dtype('float16'))", "F16"),
        ("compute_dtype=<class 'jax.numpy.float16'> param_dtype=float32", "F16"),
        ("Namespace(mp_policy='params=float32,compute=bfloat16,output=float16', lr=0.1)", "BF16"),
        ("training precision = bf16", "BF16"),
        ("compute dtype: float32", "F32"),
        ("param dtype: torch.float16", "F16"),
        ("Using torch.float16 autocast (no scaler)", "F16"),
        ("parameters are float16, optimizer Adam(lr=0.001, eps=1e-08)", "F16"),
        ("parameters are torch.float16: True", "F16"),
        ("model cast to bfloat16", "BF16"),
    ],
)
def test_what_is_stated(tmp_path: Path, line: str, dtype: str) -> None:
    assert _dtype(tmp_path, line) == dtype


@pytest.mark.parametrize(
    "line",
    [
        "Using auto half precision backend",
        "mixed precision choices: fp16, bf16",
        "UserWarning: precision fp16 is not supported on cpu",
        "If you see NaN, try precision bf16",
        "tensor([nan], dtype=torch.float16)",
        "loading checkpoint with dtype torch.float16",
        "usage: train.py [--precision fp16]",
        "damp factor 16, example float16",
    ],
)
def test_what_is_not(tmp_path: Path, line: str) -> None:
    assert _dtype(tmp_path, line) is None


@pytest.mark.parametrize(
    ("line", "scaler"),
    [
        ("Mixed precision compatibility check (mixed_float16): OK", True),
        ("Mixed precision compatibility check (mixed_bfloat16): OK", False),
        ("Using 16bit Automatic Mixed Precision (AMP)", True),
        ("compute dtype: float16", False),
    ],
)
def test_who_states_float16_with_a_scaler_beside_it(
    tmp_path: Path, line: str, scaler: bool
) -> None:
    log = tmp_path / "train.log"
    log.write_text(f"{line}\nstep: 1 loss: 2.5\nstep: 2 loss: 2.4\n", encoding="utf-8")
    assert ("loss_scaler" in analyze(log).run.facts) is scaler


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("attn implementation: flash_attention_2", "flash_attention_2"),
        ("attention backend = sdpa", "sdpa"),
        ("INFO - model loaded with attn_implementation=eager", "eager"),
        ("Using FlashAttention-2", "flash_attention_2"),
        ("Flash attention is not installed, using sdpa instead", None),
        ("pip install flash-attn to try flash attention 2", None),
    ],
)
def test_attention(line: str, kind: str | None, tmp_path: Path) -> None:
    found = of_type(read_text(tmp_path, line + "\n"), ConfigRecord)
    assert [r.values["attn_implementation"] for r in found] == ([kind] if kind else [])
