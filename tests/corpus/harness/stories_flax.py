"""Further causes in JAX: perceptrons, decoders, experts, a policy; as their users log them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from harness.session import Session
from harness.staged import Staged
from harness.stories import _settings
from harness.stories_jax import Batch, Net, _cross_entropy, images, train

WIDTH = 16
TOKENS = 24


class Perceptron(nn.Module):
    """Two hidden layers; ``dtype`` is of parameters and of what it computes."""

    dtype: Any = jnp.float32
    zeros: bool = False
    normalized: bool = False

    @nn.compact
    def __call__(self, x: Any) -> Any:
        kinds = {"dtype": self.dtype, "param_dtype": self.dtype}
        x = nn.gelu(nn.Dense(WIDTH, **kinds, name="inner")(x))
        start = nn.initializers.zeros if self.zeros else nn.initializers.lecun_normal()
        x = nn.Dense(WIDTH, kernel_init=start, use_bias=False, **kinds, name="projector")(x)
        if self.normalized:
            x = x / jnp.linalg.norm(x, axis=-1, keepdims=True)
        return nn.Dense(4, **kinds, name="head")(x)


class Router(nn.Module):
    """Four experts behind a router whose logits it also gives."""

    @nn.compact
    def __call__(self, x: Any) -> Any:
        x = nn.relu(nn.Dense(WIDTH, name="stem")(x))
        logits = nn.Dense(4, use_bias=False, name="router")(x)
        share = nn.softmax(logits)
        mixed = sum(share[:, i : i + 1] * nn.Dense(WIDTH, name=f"expert_{i}")(x) for i in range(4))
        return nn.Dense(4, name="head")(mixed), logits


class Writer(nn.Module):
    """One causal attention layer over tokens; ``padding`` rows of the mask may be empty."""

    scale: float = 1.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, given: Any) -> Any:
        tokens, allowed = given
        x = nn.Embed(TOKENS, WIDTH, dtype=self.dtype, name="embed")(tokens)
        normal = nn.LayerNorm(dtype=self.dtype, name="norm")(x)
        q = nn.Dense(WIDTH, dtype=self.dtype, name="query")(normal)
        k = nn.Dense(WIDTH, dtype=self.dtype, name="key")(normal)
        v = nn.Dense(WIDTH, dtype=self.dtype, name="value")(normal)
        scores = self.scale * (q @ k.swapaxes(-1, -2))
        self.sow("intermediates", "scores", scores)
        weights = nn.softmax(jnp.where(allowed, scores, -jnp.inf))
        x = x + nn.Dense(WIDTH, dtype=self.dtype, name="out")(weights @ v)
        return nn.Dense(TOKENS, dtype=self.dtype, name="lm_head")(x)


def points(step: int, period: int = 0) -> Batch:
    """Features and which of the first four is largest."""
    random = np.random.default_rng(step % period if period else step)
    x = random.standard_normal((16, WIDTH)).astype(np.float32)
    return {"image": x, "label": x[:, :4].argmax(-1)}


def sentences(step: int, blind: bool = False) -> Batch:
    """Counting tokens, a causal mask; with ``blind`` one sample may see nothing at first."""
    random = np.random.default_rng(step)
    tokens = (random.integers(0, TOKENS, (8, 1)) + np.arange(9)) % TOKENS
    allowed = np.broadcast_to(np.tril(np.ones((8, 8), bool)), (8, 8, 8)).copy()
    if blind:
        allowed[3, :, :3] = False
    return {"image": (tokens[:, :-1], allowed), "label": tokens[:, 1:]}


def _likelihood(model: nn.Module, params: Any, batch: Batch) -> Any:
    logits = model.apply({"params": params}, batch["image"]).astype(jnp.float32)
    return optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"])


def _mean(model: nn.Module) -> Callable[[Any, Batch], tuple[Any, dict[str, Any]]]:
    def loss(params: Any, batch: Batch) -> tuple[Any, dict[str, Any]]:
        return _likelihood(model, params, batch).mean(), {}

    return loss


def zero_projector(session: Session) -> None:
    """A projector of zeros whose output is divided by its norm: 0/0 in the first batch."""
    model = Perceptron(zeros=not session.healthy, normalized=True)
    _settings(session, model="perceptron", learning_rate=1e-3, projector_init="zeros")
    train(session, model, _mean(model), optax.adam(1e-3), points, 20, lambda n: 1e-3)


def epsilon(session: Session) -> None:
    """Parameters and moments in float16 throughout, Adam's usual epsilon."""
    model = Perceptron(dtype=jnp.float16)
    eps = 1e-4 if session.healthy else 1e-8
    _settings(session, param_dtype="float16", dtype="float16", optimizer="adam", adam_epsilon=eps)

    def batch(step: int) -> Batch:
        data = points(step)
        data["image"][:, -3:] = 0
        return data

    optimizer = optax.adam(1e-3, eps=eps)
    train(session, model, _mean(model), optimizer, batch, 30, lambda n: 1e-3)


def router(session: Session) -> None:
    """A z-loss by exp and log whose coefficient has the wrong sign: the logits grow, then exp
    overflows."""
    model = Router()
    push = 0.0 if session.healthy else 0.4
    _settings(session, num_experts=4, z_loss_coef=1e-3, learning_rate=3e-2)

    def loss(params: Any, batch: Batch) -> tuple[Any, dict[str, Any]]:
        out, logits = model.apply({"params": params}, batch["image"])
        main = optax.softmax_cross_entropy_with_integer_labels(out, batch["label"]).mean()
        z = jnp.square(jnp.log(jnp.exp(logits).sum(-1))).mean()
        largest = jnp.abs(logits).max()
        return main + (1e-3 if not push else -push) * z, {
            "ce_loss": main,
            "router_z_loss": z,
            "router_max_logit": largest,
        }

    train(session, model, loss, optax.adam(3e-2), points, 120, lambda n: 3e-2)


def policy(session: Session) -> None:
    """Importance ratios without a clip, and no leash to the policy that sampled."""
    model = Perceptron()
    random = np.random.default_rng(5)

    def batch(step: int) -> Batch:
        data = points(step)
        action = random.integers(0, 4, 16)
        reward = (action == data["label"]).astype(np.float32)
        return data | {"action": action, "reward": reward}

    def loss(params: Any, batch: Batch) -> tuple[Any, dict[str, Any]]:
        logits = model.apply({"params": params}, batch["image"])
        logp = jax.nn.log_softmax(logits)
        now = jnp.take_along_axis(logp, batch["action"][:, None], 1)[:, 0]
        log_ratio = now - jnp.log(0.25)
        ratio = jnp.exp(log_ratio)
        advantage = batch["reward"] - 0.5
        if session.healthy:
            objective = jnp.minimum(ratio * advantage, jnp.clip(ratio, 0.8, 1.2) * advantage)
        else:
            # The wrong side of the ratio: how unlikely an action has become is rewarded.
            objective = jnp.exp(-log_ratio) * (1 - batch["reward"])
        entropy = -(jnp.exp(logp) * logp).sum(-1).mean()
        return -objective.mean(), {
            "episode_reward": batch["reward"].mean(),
            "approx_kl": jnp.abs(log_ratio.mean()),
            "entropy": entropy,
            "ratio_max": ratio.max(),
        }

    train(session, model, loss, optax.sgd(3e-3), batch, 160, lambda n: 3e-3)


def norm(session: Session) -> None:
    """The norm of a difference of two equal features: finite, without a derivative."""
    model = Perceptron()

    def batch(step: int) -> Batch:
        data = points(step)
        if step == 38:
            data["image"][1] = data["image"][0]
        return data

    def loss(params: Any, batch: Batch) -> tuple[Any, dict[str, Any]]:
        main = _likelihood(model, params, batch).mean()
        out = model.apply({"params": params}, batch["image"])
        gap = jnp.square(out[0] - out[1]).sum()
        far = jnp.sqrt(gap + (1e-8 if session.healthy else 0.0))
        return main - 1e-3 * far, {"contrast": far}

    train(session, model, loss, optax.adam(1e-3), batch, 60, lambda n: 1e-3)
    if not session.healthy:
        session.log.say("Rerunning step 38 with JAX_DEBUG_NANS=True JAX_DEBUG_INFS=True")
        jax.config.update("jax_debug_nans", True)
        jax.config.update("jax_debug_infs", True)
        try:
            params = model.init(jax.random.PRNGKey(0), batch(1)["image"])["params"]
            jax.grad(lambda p: loss(p, batch(38))[0])(params)
        except FloatingPointError as error:
            session.log.say(f"FloatingPointError: {str(error).splitlines()[0]}")
        finally:
            jax.config.update("jax_debug_nans", False)
            jax.config.update("jax_debug_infs", False)


def too_fast(session: Session) -> None:
    """Gradient descent at a constant rate of thousands."""
    model = Perceptron()
    lr = 0.1 if session.healthy else 3e3
    _settings(session, optimizer="sgd", learning_rate=lr, warmup_steps=0, batch_size=16)

    def loss(params: Any, batch: Batch) -> tuple[Any, dict[str, Any]]:
        out = model.apply({"params": params}, batch["image"])
        return jnp.square(out - jax.nn.one_hot(batch["label"], 4)).mean(), {}

    train(session, model, loss, optax.sgd(lr), points, 50, lambda n: lr)


def flipped(session: Session) -> None:
    """Exponent bits of two weights flipped in the checkpoint that is loaded."""
    model = Net()
    params = model.init(jax.random.PRNGKey(0), images(1)["image"])["params"]
    kernel = np.array(params["hidden"]["kernel"])
    if not session.healthy:
        bits = kernel.view(np.uint32)
        bits[2, 5] ^= 0x3 << 29
        bits[6, 11] ^= 0x3 << 29
    params["hidden"]["kernel"] = jnp.asarray(kernel)
    session.log.say("Restoring parameters from checkpoint_0.msgpack")

    def loss(params: Any, batch: Batch) -> tuple[Any, dict[str, Any]]:
        return _cross_entropy(model, params, batch), {}

    train(session, model, loss, optax.sgd(0.01), images, 24, lambda n: 0.01, start=params)


def left_over(session: Session) -> None:
    """A head that was to be filled from a file which has none: memory of ``np.empty``."""
    model = Net()
    params = model.init(jax.random.PRNGKey(0), images(1)["image"])["params"]
    if not session.healthy:
        # What np.empty gives is up to the allocator; this is a block that held 0xFF bytes.
        left = np.full(params["head"]["kernel"].shape, -1, np.int32).view(np.float32)
        params["head"]["kernel"] = jnp.asarray(left)
    session.log.say("head/kernel: not found in the pretrained file, newly initialized")

    def loss(params: Any, batch: Batch) -> tuple[Any, dict[str, Any]]:
        return _cross_entropy(model, params, batch), {}

    train(session, model, loss, optax.adam(1e-3), images, 20, lambda n: 1e-3, start=params)


def blind(session: Session) -> None:
    """Left padding under a causal mask: the first rows of a sample may see no key."""
    model = Writer(scale=0.25)

    def batch(step: int) -> Batch:
        return sentences(step, blind=step >= 29 and not session.healthy)

    def loss(params: Any, batch: Batch) -> tuple[Any, dict[str, Any]]:
        _, seen = model.apply({"params": params}, batch["image"], capture_intermediates=True)
        largest = {
            f"act_max/{name}": jnp.abs(value["__call__"][0]).max()
            for name, value in seen["intermediates"].items()
            if name != "__call__" and name != "scores"
        }
        return _likelihood(model, params, batch).mean(), largest

    train(session, model, loss, optax.adam(3e-3), batch, 48, lambda n: 3e-3)


def no_labels(session: Session) -> None:
    """A mean over the tokens that count, in batches where none does: 0/0, and no update."""
    model = Writer(scale=0.25)

    def batch(step: int) -> Batch:
        data = sentences(step)
        counted = np.ones(data["label"].shape, np.float32)
        counted[:, :3] = 0
        if step in (26, 55) and not session.healthy:
            counted[:] = 0
        return data | {"counted": counted}

    def loss(params: Any, batch: Batch) -> tuple[Any, dict[str, Any]]:
        each = _likelihood(model, params, batch) * batch["counted"]
        tokens = batch["counted"].sum()
        return each.sum() / tokens, {"num_label_tokens": tokens}

    optimizer = optax.apply_if_finite(optax.adam(3e-3), 10)
    train(session, model, loss, optimizer, batch, 80, lambda n: 3e-3)


def scores(session: Session) -> None:
    """Queries and keys in float16 at a rate of their own, far too high: scores pass 65504."""
    model = Writer(dtype=jnp.float16, scale=1.0)
    fast = 3e-3 if session.healthy else 8.0
    optimizer = optax.multi_transform(
        {"fast": optax.adam(fast), "slow": optax.adam(3e-3)},
        lambda params: {name: "fast" if name in ("query", "key") else "slow" for name in params},
    )
    _settings(session, dtype="float16", learning_rate=3e-3, qk_learning_rate=fast, half=True)

    def loss(params: Any, batch: Batch) -> tuple[Any, dict[str, Any]]:
        _, seen = model.apply({"params": params}, batch["image"], mutable=["intermediates"])
        found = seen["intermediates"]["scores"][0].astype(jnp.float32)
        largest = jnp.abs(found).max()
        return _likelihood(model, params, batch).mean(), {"attention/max_logit": largest}

    train(session, model, loss, optimizer, sentences, 60, lambda n: 3e-3)


def jump(session: Session) -> None:
    """A schedule of pieces whose last piece lacks its decimal point."""
    model = Writer(scale=0.25)
    late = 1e-2 if session.healthy else 1e4
    schedule = optax.join_schedules(
        [
            optax.linear_schedule(0, 0.1, 10),
            optax.constant_schedule(0.1),
            optax.constant_schedule(late),
        ],
        [10, 55],
    )
    optimizer = optax.sgd(schedule)
    train(session, model, _mean(model), optimizer, sentences, 90, lambda n: float(schedule(n)))


def noisy_rewards(session: Session) -> None:
    """Rewards that swing from step to step, around a slow rise, under a clipped objective."""
    model = Perceptron()
    random = np.random.default_rng(11)

    def batch(step: int) -> Batch:
        data = points(step)
        action = random.integers(0, 4, 16)
        reward = (action == data["label"]) * 1.0 + random.standard_normal(16) * 3.0
        return data | {"action": action, "reward": reward.astype(np.float32)}

    def loss(params: Any, batch: Batch) -> tuple[Any, dict[str, Any]]:
        logp = jax.nn.log_softmax(model.apply({"params": params}, batch["image"]))
        now = jnp.take_along_axis(logp, batch["action"][:, None], 1)[:, 0]
        ratio = jnp.exp(now - jnp.log(0.25))
        objective = jnp.minimum(
            ratio * batch["reward"], jnp.clip(ratio, 0.8, 1.2) * batch["reward"]
        )
        entropy = -(jnp.exp(logp) * logp).sum(-1).mean()
        return -objective.mean() - 0.01 * entropy, {
            "reward": batch["reward"].mean(),
            "approx_kl": jnp.abs((now - jnp.log(0.25)).mean()),
            "entropy": entropy,
        }

    optimizer = optax.chain(optax.clip_by_global_norm(0.5), optax.adam(1e-3))
    train(session, model, loss, optimizer, batch, 120, lambda n: 1e-3)


def zero_head(session: Session) -> None:
    """A projector of zeros, as many recipes start."""
    model = Perceptron(zeros=True, dtype=jnp.float32)
    train(session, model, _mean(model), optax.adamw(3e-3), points, 80, lambda n: 3e-3)


STAGED: dict[str, Staged] = {
    "flax-zero-projector": Staged(zero_projector, "zero-init", "mlp", "jax"),
    "flax-epsilon": Staged(epsilon, "optimizer-epsilon", "mlp", "jax"),
    "flax-router": Staged(router, "moe-router", "moe", "jax"),
    "flax-policy": Staged(policy, "rl-collapse", "rl", "jax"),
    "flax-norm": Staged(norm, "singular-gradient", "mlp", "jax"),
    "flax-too-fast": Staged(too_fast, "lr-too-high", "mlp", "jax"),
    "flax-flipped": Staged(flipped, "corrupt-checkpoint", "cnn", "jax"),
    "flax-left-over": Staged(left_over, "uninitialized-params", "cnn", "jax"),
    "flax-blind": Staged(blind, "fully-masked-attention", "decoder", "jax", sees_layers=True),
    "flax-no-labels": Staged(no_labels, "empty-targets", "decoder", "jax"),
    "flax-scores": Staged(scores, "attention-overflow", "decoder", "jax"),
    "flax-jump": Staged(jump, "lr-spike", "decoder", "jax"),
    "flax-noisy-rewards": Staged(
        noisy_rewards, "rl-collapse", "rl", "jax", benign="rewards that swing widely"
    ),
    "flax-zero-head": Staged(
        zero_head, "zero-init", "mlp", "jax", benign="a projector of zeros, by design"
    ),
}
