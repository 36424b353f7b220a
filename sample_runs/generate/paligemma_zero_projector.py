"""NaN gradients at the first step of a PaliGemma-like model whose image projector is all zeros.

The story is google-research/big_vision#129. The user made the attention mask fully causal (two
lines at the end of ``embed_image_and_text``) and did not load pretrained weights for the SigLIP ->
Gemma projector. In ``big_vision/models/vit.py`` the option ``head_zeroinit`` defaults to True, and
True means that the Dense layer ``head``, here the projector, starts as zeros. Gradients were NaN at
step 1; ``head_zeroinit=False`` cured it.

The mechanism, in float32 throughout:

* A zero projector makes every image token exactly 0. Under the usual prefix mask image tokens
  also attend to the prompt and become non-zero in the first block. Fully causal, they see only
  image tokens before them: V is 0, the block has no biases, GeGLU(0) = 0. So they stay exactly 0
  through all 18 blocks. The forward pass, and the loss, are finite and ordinary.
* The text tokens attend to them, so a gradient flows back into them. RMSNorm is
  x / sqrt(mean(x^2) + 1e-6); at x = 0 its backward multiplies by 1e3. Only one of the two norms
  of a block takes part: the one before attention (the path over V). GeGLU has derivative 0 at 0,
  so the branch of the other norm passes nothing. The gradient grows by about 1e3 a block on the
  way down and leaves float32's range, 3.4e38, in the 14th block from the top (``layers/4``).
* The weights of the upper blocks do not notice: their gradient is a product with the normalized
  activation, which is 0. Below the overflow it is 0 * Inf = NaN, and the zeros of the causal mask
  times Inf bring the NaN to the text tokens as well. Adam writes it into the weights, and the
  loss is NaN from the second step on.

Two controls, run once with this script, agree: with the usual prefix mask the gradient norm at
step 1 is 2e3, with ``big_neg = -10`` (the report's workaround: a little text leaks into the image
tokens) it is 2e7, both finite.

What differs from the report: a tiny model with random weights and synthetic images instead of
``pt_224.npz`` on a TPU; fewer heads; per-parameter gradient norms are logged; and the upstream
trainer stops at its first log line with ``RuntimeError: l2_grads became nan or inf``, while this
loop goes on to its last step. Depth, norms, initializers, parameter names, Adam, clipping at
global norm 1.0 (which turns one NaN into all NaN) and log format follow big_vision.

The healthy twin has ``head_zeroinit=False`` and nothing else changed: same mask, same seed.

    python paligemma_zero_projector.py            # both
    python paligemma_zero_projector.py --twin failing
"""

from __future__ import annotations

import _neutral  # isort: skip  (before jax: it sets the thread counts)

import argparse
import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import logging
from safetensors.numpy import save_file
from tensorboardX import SummaryWriter

SAMPLE = "paligemma-zero-projector"
TOTAL_STEPS = 10
BATCH_SIZE = 8
TEXT_LEN = 8
CLASSES = 8
BIG_NEG = -2.3819763e38  # as in big_vision/models/ppp/gemma.py


def get_config(*, head_zeroinit: bool) -> dict[str, Any]:
    """The training configuration, with big_vision's names."""
    return {
        "seed": 0,
        "total_steps": TOTAL_STEPS,
        "input": {"batch_size": BATCH_SIZE, "res": 16, "text_len": TEXT_LEN},
        "optax_name": "scale_by_adam",
        "lr": 5e-3,
        "wd": 3e-7,
        "grad_clip_norm": 1.0,
        "schedule": {"decay_type": "cosine", "warmup_steps": 2},
        "model_name": "proj.paligemma.paligemma",
        "model_init": None,
        "model": {
            "mask_ar": "ones",
            "img": {
                "width": 16,
                "depth": 2,
                "mlp_dim": 32,
                "num_heads": 2,
                "patch_size": [4, 4],
                "pool_type": "none",
                "head_zeroinit": head_zeroinit,
                "dtype_mm": "float32",
            },
            "llm": {
                "variant": "gemma_tiny",
                "width": 16,
                "depth": 18,
                "mlp_dim": 16,
                "num_heads": 2,
                "num_kv_heads": 1,
                "head_dim": 8,
                "norm_eps": 1e-6,
                "vocab_size": 64,
                "embed_dtype": "float32",
                "scan": False,
            },
        },
        "log_training_steps": 1,
        "log_grad_norms_steps": 5,
        "ckpt_steps": TOTAL_STEPS,
    }


def fan_in(in_axis: tuple[int, ...], out_axis: tuple[int, ...]) -> nn.initializers.Initializer:
    """Gemma's initializer: truncated normal, variance 1 / fan-in; other axes are batch axes."""
    return nn.initializers.variance_scaling(
        1.0, "fan_in", "truncated_normal", in_axis=in_axis, out_axis=out_axis
    )


class RMSNorm(nn.Module):
    """x / rms(x) * (1 + scale)."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        scale = self.param("scale", nn.initializers.zeros_init(), (x.shape[-1],))
        var = jnp.mean(jnp.square(x), axis=-1, keepdims=True)
        return x * jnp.reciprocal(jnp.sqrt(var + 1e-6)) * (1 + scale)


class Einsum(nn.Module):
    """A weight named ``w``, as Gemma's checkpoints have it."""

    shape: tuple[int, ...]
    w_init: nn.initializers.Initializer

    @nn.compact
    def __call__(self, eqn: str, x: jax.Array) -> jax.Array:
        return jnp.einsum(eqn, x, self.param("w", self.w_init, self.shape))


def apply_rope(x: jax.Array) -> jax.Array:
    """Rotary positions for x [B, L, H, D]."""
    half = x.shape[-1] // 2
    timescale = 10_000 ** (2.0 / x.shape[-1] * jnp.arange(half))
    radians = (jnp.arange(x.shape[1])[:, None] / timescale)[None, :, None, :]
    x1, x2 = jnp.split(x, 2, axis=-1)
    sin, cos = jnp.sin(radians), jnp.cos(radians)
    return jnp.concatenate([x1 * cos - x2 * sin, x2 * cos + x1 * sin], axis=-1)


class Attention(nn.Module):
    """Multi-query attention without biases."""

    num_heads: int
    num_kv_heads: int
    features: int
    head_dim: int

    def setup(self) -> None:
        n, k, d, h = self.num_heads, self.num_kv_heads, self.features, self.head_dim
        self.q_einsum = Einsum((n, d, h), fan_in((1,), (0, 2)))
        self.kv_einsum = Einsum((2, k, d, h), fan_in((2,), (0, 1, 3)))
        self.attn_vec_einsum = Einsum((n, h, d), fan_in((0, 1), (2,)))

    def __call__(self, x: jax.Array, mask: jax.Array) -> jax.Array:
        q = apply_rope(self.q_einsum("BTD,NDH->BTNH", x)) * self.head_dim**-0.5
        k, v = self.kv_einsum("BSD,2KDH->2BSKH", x)
        k = apply_rope(k)
        b, t, n, h = q.shape
        q = q.reshape(b, t, self.num_kv_heads, n // self.num_kv_heads, h)
        logits = jnp.einsum("BTKGH,BSKH->BKGTS", q, k)
        probs = jax.nn.softmax(jnp.where(mask, logits, BIG_NEG), axis=-1)
        encoded = jnp.einsum("BKGTS,BSKH->BTKGH", probs, v).reshape(b, t, n, h)
        return self.attn_vec_einsum("BTNH,NHD->BTD", encoded)


class FeedForward(nn.Module):
    """GeGLU without biases."""

    hidden_dim: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        d, h = x.shape[-1], self.hidden_dim
        gating = self.param("gating_einsum", fan_in((1,), (0, 2)), (2, d, h))
        linear = self.param("linear", fan_in((0,), (1,)), (h, d))
        return jnp.dot(nn.gelu(jnp.dot(x, gating[0])) * jnp.dot(x, gating[1]), linear)


class Block(nn.Module):
    """A pre-norm transformer block."""

    num_heads: int
    num_kv_heads: int
    features: int
    head_dim: int
    hidden_dim: int

    def setup(self) -> None:
        self.pre_attention_norm = RMSNorm()
        self.attn = Attention(self.num_heads, self.num_kv_heads, self.features, self.head_dim)
        self.pre_ffw_norm = RMSNorm()
        self.mlp = FeedForward(self.hidden_dim)

    def __call__(self, x: jax.Array, mask: jax.Array) -> jax.Array:
        x = x + self.attn(self.pre_attention_norm(x), mask)
        return x + self.mlp(self.pre_ffw_norm(x))


class Gemma(nn.Module):
    """The decoder: embeds text, appends it to the image tokens, returns the text's logits."""

    cfg: Any

    @nn.compact
    def __call__(self, zimg: jax.Array, tokens: jax.Array) -> jax.Array:
        cfg = self.cfg
        embedding = self.param(
            "embedder/input_embedding",
            nn.initializers.variance_scaling(1.0, "fan_in", "normal", in_axis=1, out_axis=0),
            (cfg["vocab_size"], cfg["width"]),
        )
        ztxt = embedding[tokens] * jnp.sqrt(cfg["width"])
        x = jnp.concatenate([zimg, ztxt], axis=1)
        length = x.shape[1]
        # mask_ar is 1 everywhere: a token attends to itself and to what is before it.
        mask_ar = jnp.ones(length, jnp.int32)
        position = jnp.cumsum(mask_ar)
        mask = position[None, :] <= position[:, None]
        for layer in range(cfg["depth"]):
            x = Block(
                cfg["num_heads"],
                cfg["num_kv_heads"],
                cfg["width"],
                cfg["head_dim"],
                cfg["mlp_dim"],
                name=f"layers/{layer}",
            )(x, mask)
        x = RMSNorm(name="final_norm")(x)
        return jnp.dot(x[:, zimg.shape[1] :], embedding.T)


class ViT(nn.Module):
    """The image encoder, a small SigLIP: patches, learned positions, blocks, ``head``."""

    cfg: Any
    num_classes: int

    @nn.compact
    def __call__(self, image: jax.Array) -> jax.Array:
        cfg = self.cfg
        xavier = {"kernel_init": nn.initializers.xavier_uniform()}
        patch = tuple(cfg["patch_size"])
        x = nn.Conv(cfg["width"], patch, strides=patch, padding="VALID", name="embedding")(image)
        x = x.reshape(x.shape[0], -1, x.shape[-1])
        std = 1 / np.sqrt(cfg["width"])
        x = x + self.param("pos_embedding", nn.initializers.normal(std), (1, *x.shape[1:]))
        for layer in range(cfg["depth"]):
            block = f"Transformer/encoderblock_{layer}"
            y = nn.LayerNorm(name=f"{block}/LayerNorm_0")(x)
            attention = nn.MultiHeadDotProductAttention(
                cfg["num_heads"], name=f"{block}/MultiHeadDotProductAttention_0", **xavier
            )
            x = x + attention(y, y)
            y = nn.LayerNorm(name=f"{block}/LayerNorm_1")(x)
            y = nn.Dense(cfg["mlp_dim"], name=f"{block}/MlpBlock_0/Dense_0", **xavier)(y)
            x = x + nn.Dense(cfg["width"], name=f"{block}/MlpBlock_0/Dense_1", **xavier)(nn.gelu(y))
        x = nn.LayerNorm(name="Transformer/encoder_norm")(x)
        kw = {"kernel_init": nn.initializers.zeros} if cfg["head_zeroinit"] else {}
        return nn.Dense(self.num_classes, name="head", **kw)(x)


class PaliGemma(nn.Module):
    """Image tokens first, then text, through one decoder."""

    cfg: Any

    def setup(self) -> None:
        self.img = ViT(self.cfg["img"], self.cfg["llm"]["width"])
        self.llm = Gemma(self.cfg["llm"])

    def __call__(self, image: jax.Array, text: jax.Array) -> jax.Array:
        return self.llm(self.img(image), text)


def batches(cfg: dict[str, Any]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Noisy images of a few kinds, each kind with its own caption."""
    rng = np.random.default_rng(cfg["seed"])
    res, vocab = cfg["input"]["res"], cfg["model"]["llm"]["vocab_size"]
    prototypes = rng.normal(size=(CLASSES, res, res, 3))
    captions = rng.integers(1, vocab, size=(CLASSES, TEXT_LEN))
    captions[:, 0] = 0  # the same first token for all: only the image tells the caption
    while True:
        kind = rng.integers(CLASSES, size=cfg["input"]["batch_size"])
        noise = rng.normal(size=(len(kind), res, res, 3))
        yield (prototypes[kind] + 0.3 * noise).astype(np.float32), captions[kind].astype(np.int32)


def flatten(tree: Any) -> dict[str, jax.Array]:
    """Parameters under their path, as in big_vision's npz files."""
    return flax.traverse_util.flatten_dict(tree, sep="/")


def l2(tree: Any) -> jax.Array:
    """The Euclidean norm over a whole tree."""
    return jnp.sqrt(sum(jnp.sum(leaf * leaf) for leaf in jax.tree.leaves(tree)))


class MetricWriter:
    """Log line, metrics file (as big_vision writes them) and event file for each measurement."""

    def __init__(self, workdir: Path) -> None:
        self.fname = workdir / "big_vision_metrics.txt"
        self.events = SummaryWriter(str(workdir / "tb"))
        self.step_start(0)

    def step_start(self, step: int) -> None:
        self.step, self.step_metrics = step, {}

    def measure(self, name: str, value: Any) -> None:
        value = float(value)
        logging.info("\u001b[35m[%d]\u001b[0m %s = %s", self.step, name, value)
        self.step_metrics[name] = value
        self.events.add_scalar(name, value, self.step)

    def step_end(self) -> None:
        with self.fname.open("a") as f:
            f.write(json.dumps({"step": self.step, **self.step_metrics}) + "\n")

    def close(self) -> None:
        self.events.close()


def train(workdir: Path, cfg: dict[str, Any]) -> None:
    """Train, logging and saving as big_vision's PaliGemma trainer does."""
    start = time.monotonic()
    note = "\u001b[33mNOTE\u001b[0m: %s"
    hello = f"Hello from process {jax.process_index()} holding "
    hello += f"{jax.local_device_count()}/{jax.device_count()} devices and "
    logging.info("\u001b[33m%swriting to workdir %s.\u001b[0m", hello, workdir)
    logging.info("The config:\n%s", json.dumps(cfg, indent=2))
    (workdir / "config.json").write_text(json.dumps(cfg, indent=2) + "\n")
    mw = MetricWriter(workdir)

    logging.info(note, f"Initializing {cfg['model_name']} model...")
    model = PaliGemma(flax.core.freeze(cfg["model"]))
    data = batches(cfg)
    image, text = next(data)
    logging.info(note, f"Initialize model from {cfg['model_init'] or 'scratch'}...")
    params = jax.jit(model.init)(jax.random.PRNGKey(cfg["seed"]), image, text[:, :-1])["params"]
    schedule = optax.warmup_cosine_decay_schedule(
        0.0, cfg["lr"], cfg["schedule"]["warmup_steps"], cfg["total_steps"] + 1
    )
    tx = optax.chain(
        optax.clip_by_global_norm(cfg["grad_clip_norm"]),
        optax.scale_by_adam(),
        optax.add_decayed_weights(cfg["wd"]),
        optax.scale_by_learning_rate(lambda count: schedule(count + 1)),
    )
    opt = tx.init(params)
    mw.measure("num_params", sum(leaf.size for leaf in jax.tree.leaves(params)))

    @jax.jit
    def update_fn(params: Any, opt: Any, image: jax.Array, text: jax.Array) -> Any:
        def loss_fn(params: Any) -> jax.Array:
            logp = jax.nn.log_softmax(model.apply({"params": params}, image, text[:, :-1]))
            return -jnp.mean(jnp.take_along_axis(logp, text[:, 1:, None], axis=-1))

        loss, grads = jax.value_and_grad(loss_fn)(params)
        updates, opt = tx.update(grads, opt, params)
        params = optax.apply_updates(params, updates)
        measurements = {
            "training_loss": loss,
            "l2_grads": l2(grads),
            "l2_params": l2(params),
            "l2_updates": l2(updates),
        }
        norms = {name: jnp.linalg.norm(g) for name, g in flatten(grads).items()}
        return params, opt, measurements, norms

    def save(step: int) -> None:
        path = workdir / "checkpoints" / f"step_{step}" / "model.safetensors"
        path.parent.mkdir(parents=True)
        save_file({name: np.asarray(leaf) for name, leaf in flatten(params).items()}, path)
        logging.info(note, f"Saved checkpoint {path.relative_to(workdir)}")

    save(0)
    logging.info(note, "Starting training loop, compiling the first step...")
    for step in range(1, cfg["total_steps"] + 1):
        mw.step_start(step)
        params, opt, measurements, norms = update_fn(params, opt, image, text)
        mw.measure("global_schedule", schedule(step) / cfg["lr"])
        mw.measure("learning_rate", schedule(step))
        for name, value in measurements.items():
            mw.measure(name, value)
        if step <= 2 or step % cfg["log_grad_norms_steps"] == 0:
            for name, value in norms.items():
                mw.events.add_scalar(f"grad_norm/{name}", float(value), step)
        mw.measure("uptime", time.monotonic() - start)
        mw.measure("examples_seen", step * cfg["input"]["batch_size"])
        mw.measure("progress", step / cfg["total_steps"])
        mw.step_end()
        if step % cfg["ckpt_steps"] == 0:
            save(step)
        image, text = next(data)
    logging.info(note, f"Done!\nSteps:{cfg['total_steps']}/{cfg['total_steps']} [100.0%]")
    mw.close()


def main() -> None:
    """Make the failing sample, the healthy one, or both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--twin", choices=("failing", "healthy", "both"), default="both")
    twin = parser.parse_args().twin
    logging.use_absl_handler()
    logging.set_verbosity(logging.INFO)
    for name, zeroinit in ((SAMPLE, True), (f"{SAMPLE}-healthy", False)):
        if twin == "both" or (twin == "healthy") == (not zeroinit):
            workdir = _neutral.neutral_run("paligemma")
            log = (workdir / "train.log").open("w", encoding="utf-8")
            with log, contextlib.redirect_stderr(log):  # python train.py 2> train.log
                train(workdir, get_config(head_zeroinit=zeroinit))
            _neutral.publish(workdir, name)


if __name__ == "__main__":
    main()
