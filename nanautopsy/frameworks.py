"""Which program trained: whose flags and words advice is given in."""

from __future__ import annotations

import re

from nanautopsy.model import Run

FRAMEWORKS = ("trainer", "megatron", "deepspeed", "lightning", "jax", "keras", "any")
"""``any`` is plain torch."""
_OF_JAX = frozenset({"flax-msgpack", "orbax"})
"""Kinds of artifacts."""
_OPTAX = re.compile(r"optax(?:_\w+)?")
"""Settings that choose an optimizer of JAX, as big_vision's ``optax_name``."""
_OF_MEGATRON = frozenset({"tensor_model_parallel_size", "use_distributed_optimizer"})


def framework_of(run: Run) -> str:
    """One of :data:`FRAMEWORKS`: the outermost program, since its flags are what a user sets."""
    packages = run.packages.keys()
    if "trainer" in run.facts:
        return "trainer"
    tails = {key.rpartition(".")[2].replace("-", "_") for key in run.config}
    if "megatron-core" in packages or tails & _OF_MEGATRON:
        return "megatron"
    if {"lightning", "pytorch-lightning"} & packages:
        return "lightning"
    if any(key.startswith("deepspeed.") for key in run.config) or "deepspeed" in packages:
        return "deepspeed"
    if "torch" not in packages:
        of_jax = any(a.kind in _OF_JAX for a in run.artifacts) or any(map(_OPTAX.fullmatch, tails))
        if {"jax", "flax"} & packages or of_jax:
            return "jax"
        if {"keras", "tensorflow"} & packages:
            return "keras"
    return "any"
