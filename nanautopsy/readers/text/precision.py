"""What a program says of the precision that it computes in.

Samples::

    Mixed precision: autocast dtype torch.float16
    INFO - AMP enabled, dtype torch.float16
    Mixed precision compatibility check (mixed_float16): OK                        (Keras)
    global policy: mixed_float16
    Using 16bit Automatic Mixed Precision (AMP)                                    (Lightning)
    training precision = bf16
    param dtype: torch.float16
    parameters are torch.float16: True
    model cast to torch.float16
    dtype of weights: torch.float16
    model loaded, dtype = torch.float16
    Autoencoder in half precision
    jmp policy p=f32,c=f16,o=f32
    compute_dtype=<class 'jax.numpy.float16'> param_dtype=float32

A line that names two formats, or that advises, warns or asks, states nothing. The Trainer's "Using
auto half precision backend" stands for float16 and bfloat16 alike.
"""

from __future__ import annotations

import re
from dataclasses import replace

from nanautopsy.model import ConfigRecord, Source
from nanautopsy.readers.text.dialect import Dialect, Handler, Line, Log

_FORMAT = re.compile(
    r"(?<![\w.])(?:torch\.|jnp\.|jax\.numpy\.|np\.|numpy\.)?((?:mixed_)?b?float(?:16|32)|bf16|fp(?:16|32))(?!\w)",
    re.I,
)
_STATEMENT = re.compile(
    r"(?<![\w.])(?:amp|autocast\w*|mixed[ _-]precision|precision|compute[ _-]dtype|dtype)(?!\w)"
    r"[^|{}\[\]]{0,60}?(?<![\w.])(?:torch\.|jnp\.|jax\.numpy\.|np\.|numpy\.)?"
    r"(?:(?:mixed_)?b?float(?:16|32)|bf16|fp(?:16|32))(?!\w)"
    r"|(?<![\w.])(?:torch\.)?(?:b?float16|bf16|fp16) (?:autocast|amp|mixed[ _-]precision)\b"
    r"|\bpolicy\b[^|{}\[\]]{0,40}?(?<![\w.])mixed_b?float16(?!\w)",
    re.I,
)
_DTYPE = (
    r"(?:<class ')?(?:dtype\(')?['\"]?(?:torch\.|jnp\.|jax\.numpy\.|np\.|numpy\.)?"
    r"(b?f(?:loat)?(?:16|32)|fp(?:16|32))(?!\w)"
)
_COMPUTES = re.compile(
    rf"(?<![\w.])(?:compute|c)(?:_dtype)?['\"]?\s*[=:]\s*['\"]?{_DTYPE}", re.IGNORECASE
)
_HOLDS = re.compile(
    rf"(?<![\w.])(?:param(?:eter)?s?|p)(?:_dtype)?['\"]?\s*[=:]\s*['\"]?{_DTYPE}", re.IGNORECASE
)
"""The two halves of a policy, as jmp and flax name them; one letter counts beside the other."""
_LIGHTNING = re.compile(r"Using (16bit|bfloat16) (?:native )?Automatic Mixed Precision", re.I)
_NO_STATEMENT = re.compile(
    r"\b(?:if|when|unless|should|could|must|may|might|can(?:not|'t)?|recommend\w*|consider|instead"
    r"|warn\w*|deprecat\w*|support\w*|requires?|not|try|please|default\w*|available|eval\w*|infer\w*"
    r"|load\w*|checkpoint|weights?|tensor|usage|help|expected|got|error)\b|[?]|--\w"
    r"|<dtype:|\bConfig param |^\s+dtype\b",  # of one tensor, in a report on it; a setting
    re.I,
)
_CAST = re.compile(
    r"\b(?:param(?:eter)?s|model)\b(?: (?:is|are|was|were|now|cast|converted|moved|to|in))+ "
    r"(?:torch\.|jnp\.)?(b?float(?:16|32)|bf16|fp(?:16|32)|half)(?:[,;:)]|\s*$)",
    re.I,
)
_OF_WEIGHTS = re.compile(
    r"\bdtype of (?:the )?(?:model )?(?:weights|param(?:eter)?s|model)\b\W{0,4}(?:is |are )?"
    r"(?P<first>(?:torch\.|jnp\.)?(?:b?float(?:16|32)|bf16|fp(?:16|32)|half))(?!\w)"
    r"|\bmodel\b(?: (?:was|is))? (?:loaded|created|built|initiali[sz]ed|ready)\b[^?]{0,24}?"
    r"\bdtype\b\W{0,4}(?:is )?(?P<second>(?:torch\.|jnp\.)?(?:b?float(?:16|32)|bf16|fp(?:16|32)))"
    r"(?!\w)"
    r"|\bweights?[ _]dtype\W{1,4}(?P<third>(?:torch\.|jnp\.)?(?:b?float(?:16|32)|bf16|fp(?:16|32)))"
    r"(?!\w)",
    re.I,
)
"""What is said of the model as it stands, and of nothing that is only loaded."""
_HALF = re.compile(
    r"(?<!auto )(?<!auto_)\bhalf[ -]precision\b(?!\s*[:=]\s*(?:false|no|off|none|0))(?! backend)",
    re.I,
)
"""Two bytes for a number; who means bfloat16 says so."""
_NO_HALF = re.compile(
    r"\b(?:no|without|disabl\w*|off|false|bf16|bfloat\w*|b?float\d+|sav\w*|export\w*|stor\w*"
    r"|writ\w*|upload\w*|onnx|snapshot\w*)\b",
    re.I,
)
_PARAMETERS = re.compile(r"\bparam(?:eter)?s?[ _.'-]{0,3}(?:dtype|precision)", re.I)
_MEMORY = "precision"
_MOST = 4
"""Statements kept; a program that repeats itself says no more."""


def _policy(text: str) -> str | None:
    """What a line computes in that says apart what its parameters are: ``p=f32,c=f16,o=f32``."""
    computes, holds = _COMPUTES.search(text), _HOLDS.search(text)
    if computes is None or holds is None or computes.start() == holds.start():
        return None
    return computes[1].lower()


def _on_statement(log: Log, line: Line) -> None:
    policy = _policy(line.text)
    named = policy or _named(line.text)
    if named is None:
        return
    seen = log.memory.setdefault(_MEMORY, [])
    if not isinstance(seen, list) or named in seen or len(seen) >= _MOST:
        return
    seen.append(named)
    source = Source(log.path, line=line.number)
    stated_of_weights = any(p.search(line.text) for p in (_PARAMETERS, _CAST, _OF_WEIGHTS))
    of_weights = policy is None and stated_of_weights
    setting = "param_dtype" if of_weights else "compute_dtype"
    log.out.append(ConfigRecord("log", {setting: named}, replace(source, excerpt=line.excerpt)))


def _named(text: str) -> str | None:
    """The one format that the line states."""
    of_weights = _OF_WEIGHTS.search(text)
    if of_weights is not None:
        name = next(filter(None, of_weights.groups())).lower().rpartition(".")[2]
        return "fp16" if name == "half" else name
    if _NO_STATEMENT.search(text):
        return None
    lightning = _LIGHTNING.search(text)
    if lightning is not None:
        return "bf16-mixed" if lightning[1].lower() == "bfloat16" else "16-mixed"
    cast = _CAST.search(text)
    if cast is not None:
        return "fp16" if cast[1].lower() == "half" else cast[1].lower()
    if _HALF.search(text) and not _NO_HALF.search(text):
        return "fp16"
    if not _STATEMENT.search(text):
        return None
    formats = {found.lower() for found in _FORMAT.findall(text)}
    formats -= {f.removeprefix("mixed_") for f in formats if f.startswith("mixed_")}
    return formats.pop() if len(formats) == 1 else None


def _plan(line: Line, lower: str) -> Handler | None:
    stated = len(line.text) <= 300 and (_policy(line.text) or _named(line.text))
    return _on_statement if stated else None


DIALECT = Dialect(
    name="precision",
    triggers=("precision", "autocast", "amp ", "dtype", "float16", "bf16", "fp16", "half",
              "c=f16", "c=bf16",
              "to fp32", "to float32"),
    plan=_plan,
)  # fmt: skip
