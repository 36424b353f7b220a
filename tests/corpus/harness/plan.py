"""Every run of the corpus: which story, which variant, which logging habit, what is kept."""

from __future__ import annotations

import importlib
import sys
from dataclasses import dataclass

from harness.staged import Keep, Staged

STYLES = ("bars", "csv", "board", "pairs", "jsonl", "dict")
FAMILIES = {
    "empty-targets": "decoder",
    "fully-masked-attention": "decoder",
    "uninitialized-params": "decoder",
    "moe-router": "moe",
    "rl-collapse": "rl",
}
"""Of the first fifteen stories; the others train an MLP."""
MODULES = (
    "stories_families",
    "stories_decoys",
    "stories_benign",
    "stories_trainer",
    "stories_jax",
    "stories_lightning",
    "stories_loading",
)
NAMES_LAYERS = frozenset({"fully-masked-attention"})


@dataclass(frozen=True)
class Recipe:
    """One run."""

    id: str
    story: str
    staged: Staged
    healthy: bool
    style: str
    seed: int
    keep: Keep = "all"


def first_stories() -> dict[str, Staged]:
    """The fifteen stories of plain torch loops, each named as its cause."""
    from harness.stories import STORIES

    return {
        cause: Staged(train, cause, FAMILIES.get(cause, "mlp"), sees_layers=cause in NAMES_LAYERS)
        for cause, train in STORIES.items()
    }


def recipes() -> list[Recipe]:
    """Each of the first stories fails twice and does well twice; then the runs of ``MORE``."""
    stories = first_stories()
    found: list[Recipe] = []
    for i, cause in enumerate(stories):
        for variant in range(4):
            style = STYLES[(i + variant) % len(STYLES)]
            number = len(found) + 1
            name, healthy = f"run-{number:04}", variant % 2 == 1
            found.append(Recipe(name, cause, stories[cause], healthy, style, 100 + number))
    stories |= further_stories()
    for number, (story, variant_name, style, keep) in enumerate(MORE, len(found) + 1):
        if story not in stories:
            continue
        staged, healthy = stories[story], variant_name == "well"
        found.append(Recipe(f"run-{number:04}", story, staged, healthy, style, 100 + number, keep))
    return found


def further_stories() -> dict[str, Staged]:
    """Those of the other modules, by name. A framework that is not installed has none."""
    found: dict[str, Staged] = {}
    for name in MODULES:
        try:
            found |= importlib.import_module(f"harness.{name}").STAGED
        except ModuleNotFoundError as missing:
            print(f"no {name}: {missing}", file=sys.stderr)
    return found


MORE: tuple[tuple[str, str, str, Keep], ...] = (
    # What a part of the artifacts still tells.
    ("optimizer-epsilon", "fails", "csv", "checkpoints"),
    ("gradient-explosion", "fails", "jsonl", "curves"),
    ("lr-too-high", "fails", "bars", "log"),
    ("resume-mismatch", "fails", "pairs", "log"),
    ("bad-input-data", "fails", "board:slash", "curves"),
    ("hardware-fault", "fails", "dict", "log"),
    ("corrupt-checkpoint", "fails", "csv", "checkpoints"),
    ("uninitialized-params", "well", "bars", "checkpoints"),
    ("loss-domain-error", "fails", "jsonl:camel", "curves"),
    ("optimizer-epsilon", "well", "pairs", "checkpoints"),
    ("rl-collapse", "fails", "board", "curves"),
    ("rl-collapse", "well", "csv", "curves"),
    # The older causes, in other models.
    ("zero-projector", "fails", "bars", "all"),
    ("zero-projector", "well", "board:slash", "all"),
    ("half-convolution", "fails", "pairs", "all"),
    ("half-convolution", "well", "csv:camel", "all"),
    ("growing-scores", "fails", "jsonl:slash", "all"),
    ("growing-scores", "well", "wandb", "all"),
    ("lstm-rate-jump", "fails", "wandb", "all"),
    ("lstm-rate-jump", "fails", "board:slash", "curves"),
    ("lstm-rate-jump", "well", "dict", "log"),
    ("denoiser-rate", "fails", "wandb:slash", "all"),
    ("denoiser-rate", "well", "bars", "all"),
    ("denoiser-sample", "fails", "csv:slash", "all"),
    ("denoiser-sample", "fails", "dict", "log"),
    ("denoiser-sample", "well", "jsonl", "curves"),
    ("translator-mask", "fails", "bars", "all"),
    ("translator-mask", "well", "pairs", "log"),
    ("experts-decoy", "fails", "jsonl", "all"),
    ("critic-decoy", "fails", "csv:slash", "all"),
    ("jump-decoy", "fails", "pairs", "all"),
    ("bad-sample-decoy", "fails", "bars", "all"),
    ("bit-flip-decoy", "fails", "board", "all"),
    ("fault-decoy", "fails", "bars", "all"),
    # What only looks bad.
    ("scaler-warmup", "well", "bars", "all"),
    ("scaler-warmup", "well", "pairs", "log"),
    ("recovered-spike", "well", "csv:slash", "all"),
    ("recovered-spike", "well", "wandb", "curves"),
    ("minus-inf-mask", "well", "jsonl", "all"),
    ("low-rank-zeros", "well", "board:slash", "all"),
    ("low-rank-zeros", "well", "bars", "checkpoints"),
    ("modulation-zeros", "well", "dict", "all"),
    ("steep-warmup", "well", "csv", "all"),
    ("steep-warmup", "well", "board:camel", "curves"),
    ("restarts", "well", "bars", "all"),
    ("empty-evaluation", "well", "jsonl", "all"),
    ("empty-evaluation", "well", "csv", "curves"),
    ("killed", "well", "bars", "all"),
    ("stage-change", "well", "wandb:slash", "all"),
    ("stage-change", "well", "bars", "log"),
    ("cyclic-rate", "well", "board", "curves"),
    ("large-loss", "well", "pairs", "log"),
    # Other frameworks.
    ("trainer-rate", "fails", "dict", "all"),
    ("trainer-rate", "well", "pairs", "all"),
    ("trainer-labels", "fails", "dict", "all"),
    ("trainer-labels", "fails", "pairs", "curves"),
    ("trainer-labels", "well", "dict", "log"),
    ("trainer-epsilon", "fails", "dict", "all"),
    ("trainer-epsilon", "well", "pairs", "all"),
    ("trainer-jump", "fails", "dict", "curves"),
    ("trainer-jump", "well", "dict", "log"),
    ("trainer-undefined", "well", "dict", "all"),
    ("trainer-undefined", "well", "pairs", "curves"),
    ("trainer-t5", "well", "dict", "all"),
    ("jax-jump", "fails", "csv", "all"),
    ("jax-jump", "fails", "board:slash", "curves"),
    ("jax-jump", "well", "jsonl", "all"),
    ("jax-half", "fails", "bars", "all"),
    ("jax-half", "well", "csv", "all"),
    ("jax-logarithm", "fails", "jsonl:slash", "all"),
    ("jax-logarithm", "well", "board", "curves"),
    ("jax-broken-image", "fails", "wandb", "curves"),
    ("jax-broken-image", "fails", "pairs", "log"),
    ("jax-broken-image", "well", "bars", "all"),
    ("jax-warmup", "well", "board:camel", "all"),
    ("jax-warmup", "well", "csv:slash", "curves"),
    ("lightning-critic", "fails", "bars", "all"),
    ("lightning-critic", "well", "bars", "all"),
    ("lightning-autoencoder", "fails", "bars", "curves"),
    ("lightning-autoencoder", "well", "bars", "all"),
    ("lightning-spikes", "well", "bars", "curves"),
    ("lightning-spikes", "well", "bars", "checkpoints"),
    ("adapter-decoy", "fails", "jsonl:slash", "all"),
    ("resume-decoy", "fails", "bars", "all"),
    ("composite-loaded", "fails", "pairs", "all"),
    ("composite-loaded", "fails", "bars", "log"),
    ("composite-loaded", "well", "dict", "all"),
    ("new-head", "fails", "bars", "all"),
    ("new-head", "well", "pairs", "all"),
)
"""Story, ``fails`` or ``well``, style (``writer:naming``), what is kept."""
