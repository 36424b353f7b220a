"""Causes in JAX: linen modules, optax, msgpack checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import serialization
from flax.traverse_util import flatten_dict

from harness.session import Session
from harness.staged import Staged
from harness.stories import _settings

Batch = dict[str, Any]
Loss = Callable[[Any, Batch], tuple[Any, dict[str, Any]]]


class Record:
    """The first non-finite value of each kind, as :class:`harness.truth.Recorder` has it."""

    def __init__(self) -> None:
        self.first: dict[str, dict[str, Any]] = {}
        self.step = 0
        self.losses: list[float] = []

    def see(self, kind: str, tree: Any, name: str = "") -> None:
        """Look through a tree of arrays."""
        if kind in self.first:
            return
        for path, leaf in flatten_dict({name: tree} if name else tree, sep="/").items():
            for array in leaf if isinstance(leaf, tuple) else (leaf,):
                if not np.isfinite(np.asarray(array, np.float32)).all():
                    self.first[kind] = {"step": self.step, "module": path}
                    return


class Net(nn.Module):
    """Convolution, two dense layers; ``dtype`` is what it computes in."""

    dtype: Any = jnp.float32
    gain: float = 1.0

    @nn.compact
    def __call__(self, x: Any) -> Any:
        x = nn.relu(nn.Conv(8, (3, 3), dtype=self.dtype, name="stem")(x))
        x = x.mean((1, 2)) * self.gain
        x = nn.relu(nn.Dense(16, dtype=self.dtype, name="hidden")(x))
        return nn.Dense(4, dtype=self.dtype, name="head")(x)


def images(step: int, period: int = 0) -> Batch:
    """Bright channels and which one it was."""
    random = np.random.default_rng(step % period if period else step)
    x = 0.3 * random.standard_normal((8, 8, 8, 3)).astype(np.float32)
    y = random.integers(0, 3, 8)
    x[np.arange(8), :, :, y] += 1
    return {"image": x, "label": y}


def train(
    session: Session,
    model: nn.Module,
    loss: Loss,
    optimizer: optax.GradientTransformation,
    batch: Callable[[int], Batch],
    steps: int,
    rate: Callable[[int], float],
    start: Any = None,
) -> None:
    """Train, log, save at half and at the end; ``start`` are parameters that were loaded."""
    record = Record()
    session.recorder = record  # type: ignore[assignment]
    params = start or model.init(jax.random.PRNGKey(0), batch(1)["image"])["params"]
    record.see("parameter", params)
    state = optimizer.init(params)
    save(session.directory, 0, params)
    gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))

    @jax.jit
    def update(params: Any, grads: Any, state: Any) -> tuple[Any, Any]:
        updates, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    for step in range(1, steps + 1):
        record.step = step
        data = batch(step)
        _, seen = model.apply({"params": params}, data["image"], capture_intermediates=True)
        seen = {
            name: value["__call__"]
            for name, value in seen["intermediates"].items()
            if name != "__call__" and isinstance(value, dict)
        }
        record.see("forward", seen)
        (value, others), grads = gradient(params, data)
        record.losses.append(float(value))
        record.see("loss", value, "loss")
        record.see("gradient", grads)
        norm = optax.global_norm(grads)
        record.see("norm", norm, "norm")
        params, state = update(params, grads, state)
        record.see("parameter", params)
        row = {"loss": float(value), "grad_norm": float(norm), "lr": rate(step - 1)}
        session.log.row(step, row | {tag: float(number) for tag, number in others.items()})
        if step % (steps // 2) == 0:
            save(session.directory, step, params)


def save(directory: Path, step: int, params: Any) -> None:
    """``checkpoint_<step>.msgpack``, the parameters."""
    target = directory / f"checkpoint_{step}.msgpack"
    target.write_bytes(serialization.to_bytes(jax.device_get(params)))


def _cross_entropy(model: nn.Module, params: Any, batch: Batch) -> Any:
    logits = model.apply({"params": params}, batch["image"]).astype(jnp.float32)
    return optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"]).mean()


def jump(session: Session) -> None:
    """Two schedules are joined, and the second is in other units."""
    late = 0.05 if session.healthy else 400.0
    schedule = optax.join_schedules(
        [optax.cosine_decay_schedule(0.2, 120), optax.constant_schedule(late)], [61]
    )
    model = Net()

    def loss(params: Any, batch: Batch) -> tuple[Any, dict[str, Any]]:
        out = model.apply({"params": params}, batch["image"])
        return jnp.square(out - jax.nn.one_hot(batch["label"], 4)).mean(), {}

    optimizer = optax.sgd(schedule)
    train(session, model, loss, optimizer, images, 100, lambda n: float(schedule(n)))


def half(session: Session) -> None:
    """Compute in float16 with a gain that the pooled features never needed: Inf, then NaN."""
    model = Net(dtype=jnp.float16, gain=1.0 if session.healthy else 6e4)
    _settings(session, dtype="float16", param_dtype="float32", learning_rate=3e-2, half=True)

    def loss(params: Any, batch: Batch) -> tuple[Any, dict[str, Any]]:
        _, seen = model.apply({"params": params}, batch["image"], capture_intermediates=True)
        largest = {
            f"activation_max/{name}": jnp.abs(value["__call__"][0].astype(jnp.float32)).max()
            for name, value in seen["intermediates"].items()
            if name != "__call__"
        }
        return _cross_entropy(model, params, batch), largest

    train(session, model, loss, optax.adam(3e-2), images, 40, lambda n: 3e-2)


def logarithm(session: Session) -> None:
    """A variance term takes the logarithm of a spread that is 0 in a batch of equal images."""
    model = Net()

    def batch(step: int) -> Batch:
        data = images(step)
        if step == 52:
            data["image"][:] = data["image"][:1]
        return data

    def loss(params: Any, batch: Batch) -> tuple[Any, dict[str, Any]]:
        main = _cross_entropy(model, params, batch)
        spread = jnp.square(batch["image"] - batch["image"][:1]).sum()
        logits = model.apply({"params": params}, batch["image"])
        spread = spread * jnp.square(logits).mean()
        floor = 1e-6 if session.healthy else 0.0
        diversity = -jnp.log(jnp.maximum(spread, floor))
        return main + 1e-3 * diversity, {"loss_ce": main, "loss_diversity": diversity}

    train(session, model, loss, optax.adam(1e-3), batch, 80, lambda n: 1e-3)


def broken_image(session: Session) -> None:
    """A NaN image each epoch, whose update ``apply_if_finite`` leaves out."""
    model = Net()

    def batch(step: int) -> Batch:
        data = images(step, period=18)
        if step % 18 == 11 and not session.healthy:
            data["image"][4, 2] = np.nan
        return data

    def loss(params: Any, batch: Batch) -> tuple[Any, dict[str, Any]]:
        return _cross_entropy(model, params, batch), {}

    optimizer = optax.apply_if_finite(optax.adamw(1e-3), 10)
    train(session, model, loss, optimizer, batch, 90, lambda n: 1e-3)


def warmup(session: Session) -> None:
    """One-cycle: three orders of magnitude up within eight steps, and a first loss of hundreds."""
    schedule = optax.warmup_cosine_decay_schedule(1e-5, 2e-2, 8, 90)
    model = Net(gain=400.0)

    def loss(params: Any, batch: Batch) -> tuple[Any, dict[str, Any]]:
        return _cross_entropy(model, params, batch), {}

    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule))
    train(session, model, loss, optimizer, images, 90, lambda n: float(schedule(n)))


STAGED: dict[str, Staged] = {
    "jax-jump": Staged(jump, "lr-spike", "cnn", "jax"),
    "jax-half": Staged(half, "fp16-overflow", "cnn", "jax", sees_layers=True),
    "jax-logarithm": Staged(logarithm, "loss-domain-error", "cnn", "jax"),
    "jax-broken-image": Staged(broken_image, "bad-input-data", "cnn", "jax"),
    "jax-warmup": Staged(
        warmup, "lr-spike", "cnn", "jax", benign="a steep warmup from a very high loss"
    ),
}
