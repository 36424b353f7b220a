"""A MEND edit run that is given a BLIP-2 checkpoint where it needs the plain OPT inside it.

The story is zjunlp/EasyEdit#526: ``train_MEND_Blip2OPT_VQA()`` prints ``NAN in logits!!!`` at every
step. The reporter had changed only ``name`` and ``tokenizer_name`` in the hparams, to
``Salesforce/blip2-opt-2.7b``; the upstream file names an ``opt-2.7b``.

What happens here, in order:

1. ``OPTForCausalLM.from_pretrained(name, dtype=torch.float16)``, float16 being hard-coded as it is
   in EasyEdit, reads a ``config.json`` whose architecture is ``Blip2ForConditionalGeneration``.
   transformers finds the OPT settings nested in it, so all shapes fit and nothing is refused.
2. The keys of the checkpoint begin with ``language_model.``, ``vision_model.``, ``qformer.`` and so
   on, none with ``model.decoder.``. The load report lists them all as UNEXPECTED and every weight
   of the OPT as MISSING, "newly initialized".
3. In transformers 5.8.0 and 5.8.1 that initialization reads
   ``init.normal_(module.weight.float(), ...)``. In float32 ``float()`` returns the weight itself;
   in float16 it returns a copy, the copy is filled and dropped, and the weight of each linear layer
   stays what ``torch.empty_like`` gave (huggingface/transformers#46002). Embeddings and norms are
   initialized well.
4. Uninitialized float16 memory is NaN, Inf or up to 65504 somewhere: the logits are NaN in the very
   first forward pass, before any update, and no step ever updates anything.

What differs from the report: the thread never states how the weights became NaN, and its time was
that of transformers 4. A fresh OPT that *is* initialized (std 0.02) has finite float16 logits and a
loss of ln(vocabulary): 4.57.6, 5.5.4 and 5.23.0 give 5.04 with this very checkpoint, so the release
matters here. All runs of these samples use torch's deterministic mode, which fills uninitialized
memory with NaN; without it some hundreds of weights were NaN or Inf, the largest others about
65000, and the logits NaN in ten of ten loads. The model is tiny, there is no vision tower (edits
are text only), and the editor keeps of MEND only what counts: learned matrices on both sides of
the gradient of two layers, and a learned step size for each.

The healthy twin names the plain OPT, saved from the very same weights: the language model inside
the BLIP-2 checkpoint is its copy. Same script, same release, same float16.

Nothing in the published files is written by hand. Environment: Python 3.11, ``torch==2.13.0``
(CPU), ``transformers==5.8.1``.
"""

from __future__ import annotations

import argparse
import logging
import os
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from _neutral import neutral_run, publish

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn
    from transformers import OPTConfig, OPTForCausalLM

SAMPLE = "blip2-opt-wrong-checkpoint"
SUBJECTS, RELATIONS, OBJECTS = 48, 4, 96
FIRST_TOKEN = 4  # OPT keeps the ids before it for padding, beginning, end and unknown
VOCAB = FIRST_TOKEN + SUBJECTS + RELATIONS + OBJECTS
STEPS = 80
PACKAGES = ("huggingface_hub", "numpy", "safetensors", "tokenizers", "torch", "transformers")
HPARAMS = Path("hparams/TRAINING/MEND/blip2.yaml")
HPARAMS_TEXT = """\
# Model
device: cpu

name: {name}
model_name: blip2
model_class: Blip2OPT
tokenizer_class: GPT2Tokenizer
tokenizer_name: {name}
inner_params:
- model.decoder.layers.1.fc1.weight
- model.decoder.layers.1.fc2.weight

# Method
alg: MEND
lr: 3e-3
edit_lr: 1e-3
seed: 42
cedit: 1.0
cloc: 0.3

# Train
batch_size: 1
accumulate_bs: 4
max_iters: {steps}
log_interval: 1
half: False
opt: Adam
grad_clip: 100.

# Output
results_dir: ./results
"""

LOG = logging.getLogger("train_mend")


def facts(count: int, generator: torch.Generator) -> Tensor:
    """Rows (beginning, subject, relation, object) of a world with one object per pair."""
    import torch

    subject = torch.randint(0, SUBJECTS, (count,), generator=generator)
    relation = torch.randint(0, RELATIONS, (count,), generator=generator)
    truth = torch.randint(0, OBJECTS, (SUBJECTS, RELATIONS), generator=torch.manual_seed(5))
    base = torch.tensor([0, SUBJECTS, SUBJECTS + RELATIONS]) + FIRST_TOKEN
    rows = torch.stack([subject, relation, truth[subject, relation]], dim=1) + base
    return torch.cat([torch.full((count, 1), 2), rows], dim=1)


def opt_config() -> OPTConfig:
    """An OPT of 25 thousand parameters."""
    from transformers import OPTConfig

    return OPTConfig(
        vocab_size=VOCAB,
        hidden_size=32,
        word_embed_proj_dim=32,
        ffn_dim=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=16,
        dropout=0.0,
    )


def prepare_checkpoints() -> None:
    """Teach an OPT the facts, then save it in float16 plain and as the heart of a BLIP-2."""
    import torch
    from transformers import (
        Blip2Config,
        Blip2ForConditionalGeneration,
        Blip2QFormerConfig,
        Blip2VisionConfig,
        OPTForCausalLM,
    )

    generator = torch.Generator().manual_seed(1)
    model = OPTForCausalLM(opt_config())
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
    for _ in range(300):
        tokens = facts(64, generator)
        model(tokens, labels=tokens).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.half().save_pretrained("hugging_cache/opt-tiny")
    config = Blip2Config(
        text_config=opt_config().to_dict(),
        vision_config=Blip2VisionConfig(
            hidden_size=24,
            intermediate_size=48,
            num_hidden_layers=1,
            num_attention_heads=2,
            image_size=28,
            patch_size=14,
        ).to_dict(),
        qformer_config=Blip2QFormerConfig(
            vocab_size=VOCAB,
            hidden_size=24,
            intermediate_size=48,
            num_hidden_layers=1,
            num_attention_heads=2,
            encoder_hidden_size=24,
        ).to_dict(),
        num_query_tokens=4,
    )
    blip2 = Blip2ForConditionalGeneration(config).half()
    blip2.language_model.load_state_dict(model.state_dict())
    blip2.save_pretrained("hugging_cache/blip2-opt-tiny")


def forward(model: OPTForCausalLM, tokens: Tensor, weights: dict[str, Tensor]) -> Tensor:
    """Logits for the object of each fact, with some weights replaced."""
    import torch
    from torch.func import functional_call

    logits = functional_call(model, weights, (tokens[:, :-1],), tie_weights=False).logits
    if torch.isnan(logits).any():
        print("NAN in logits!!!")
    return logits[:, -1]


def edit(
    model: OPTForCausalLM, editor: nn.ParameterDict, tokens: Tensor, names: list[str]
) -> dict[str, Tensor]:
    """The inner weights after the step that the editor makes of the gradient of one batch."""
    import torch
    from torch.nn.functional import cross_entropy

    inner = {name: model.get_parameter(name) for name in names}
    loss = cross_entropy(forward(model, tokens, inner), tokens[:, -1])
    edited = {}
    for name, gradient in zip(names, torch.autograd.grad(loss, inner.values()), strict=True):
        key = name.replace(".", "_")
        gradient = gradient.float()
        gradient = gradient / (gradient.square().mean().sqrt() + 1e-8)
        step = editor[f"{key}_left"] @ gradient @ editor[f"{key}_right"]
        edited[name] = inner[name] - (editor[f"{key}_lr"] * step).half()
    return edited


def make_editor(model: OPTForCausalLM, names: list[str], edit_lr: float) -> nn.ParameterDict:
    """The float32 parameters that are trained: for each inner weight two matrices and a step."""
    import torch

    editor = torch.nn.ParameterDict()
    for name in names:
        key = name.replace(".", "_")
        rows, columns = model.get_parameter(name).shape
        editor[f"{key}_left"] = torch.nn.Parameter(torch.eye(rows))
        editor[f"{key}_right"] = torch.nn.Parameter(torch.eye(columns))
        editor[f"{key}_lr"] = torch.nn.Parameter(torch.tensor(edit_lr))
    return editor


def safe_backward(loss: Tensor, parameters: list[Tensor], accumulate: int) -> None:
    """Add up the gradients unless one is not finite, as EasyEdit does."""
    import torch

    gradients = torch.autograd.grad(loss, parameters)
    inf = any(bool(gradient.isinf().any()) for gradient in gradients)
    nan = any(bool(gradient.isnan().any()) for gradient in gradients)
    if inf or nan:
        LOG.info(f"Skipping grad accumulation because inf: {inf} nan: {nan}")
        return
    for parameter, gradient in zip(parameters, gradients, strict=True):
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        parameter.grad += gradient / accumulate


def edit_step(
    model: OPTForCausalLM,
    editor: nn.ParameterDict,
    hparams: dict[str, Any],
    generator: torch.Generator,
) -> dict[str, float]:
    """Edit one fact, compare the edited model with the old one elsewhere, go backward."""
    import torch
    from torch.nn.functional import cross_entropy, kl_div

    wanted, local = facts(1, generator), facts(16, generator)
    wanted[:, -1] = torch.randint(VOCAB - OBJECTS, VOCAB, (1,), generator=generator)
    with torch.no_grad():
        before = forward(model, local, {}).float().log_softmax(-1)
    edited = edit(model, editor, wanted, hparams["inner_params"])
    outer = forward(model, wanted, edited).float()
    after = forward(model, local, edited).float().log_softmax(-1)
    loss_edit = cross_entropy(outer, wanted[:, -1])
    loss_loc = kl_div(after, before, log_target=True, reduction="batchmean")
    loss = hparams["cedit"] * loss_edit + hparams["cloc"] * loss_loc
    safe_backward(loss, list(editor.values()), hparams["accumulate_bs"])
    return {
        "loss/edit": loss_edit.item(),
        "loss/loc": loss_loc.item(),
        "loss/total": loss.item(),
        "edit/acc": (outer.argmax(-1) == wanted[:, -1]).float().mean().item(),
    }


def train() -> None:
    """Load what the hparams name, train the editor on it, save the state at the end."""
    import torch
    import yaml
    from transformers import OPTForCausalLM

    logging.basicConfig(
        format="%(asctime)s - %(levelname)s - %(name)s -   %(message)s",
        datefmt="%m/%d/%Y %H:%M:%S",
        level=logging.INFO,
    )
    torch.use_deterministic_algorithms(True)
    hparams = yaml.safe_load(HPARAMS.read_text())
    torch.manual_seed(hparams["seed"])
    LOG.info(f"Config: {hparams}")
    model = OPTForCausalLM.from_pretrained(hparams["name"], dtype=torch.float16)
    editor = make_editor(model, hparams["inner_params"], float(hparams["edit_lr"]))
    parameters = list(editor.values())
    optimizer = torch.optim.Adam(parameters, lr=float(hparams["lr"]))
    LOG.info(f"Building optimizer {type(optimizer)} with lr {hparams['lr']}")
    generator = torch.Generator().manual_seed(2)
    edits, started = hparams["accumulate_bs"], time.time()
    for step in range(1, hparams["max_iters"] + 1):
        began = time.time()
        infos = [edit_step(model, editor, hparams, generator) for _ in range(edits)]
        info = {key: sum(each[key] for each in infos) / edits for key in infos[0]}
        if parameters[0].grad is not None:
            clip = torch.nn.utils.clip_grad_norm_(
                parameters, hparams["grad_clip"], error_if_nonfinite=True
            )
            info["grad"] = clip.item()
            optimizer.step()
            optimizer.zero_grad()
        info["it_time"] = time.time() - began
        metrics = "; ".join(f"{key}: {value: 0.5f}" for key, value in info.items())
        print(f"Epoch: 0 Step: {step} {metrics}", flush=True)
    archive = {
        "model": {f"opt_model.{key}": value for key, value in model.state_dict().items()}
        | {f"editor.{key}": value.detach() for key, value in editor.items()},
        "opt": optimizer.state_dict(),
        "step": step,
        "elapsed_time": time.time() - started,
    }
    path = Path(hparams["results_dir"]) / "models" / hparams["alg"] / hparams["model_name"]
    path.parent.mkdir(parents=True)
    LOG.info(f"Saving model to {path}")
    torch.save(archive, path)
    LOG.info(f"Training complete after {step} steps.")


def launch(healthy: bool) -> None:
    """Prepare a directory, train in it, publish what the run left there and what it had read."""
    name = SAMPLE + "-healthy" * healthy
    directory = neutral_run(name)
    prepare_checkpoints()
    used, other = "hugging_cache/opt-tiny", "hugging_cache/blip2-opt-tiny"
    if not healthy:
        used, other = other, used
    HPARAMS.parent.mkdir(parents=True)
    HPARAMS.write_text(HPARAMS_TEXT.format(name=used, steps=STEPS))
    pins = [f"{package}=={metadata.version(package)}" for package in PACKAGES]
    Path("requirements.txt").write_text("\n".join(pins) + "\n")
    with open("train.log", "w") as log:
        command = [sys.executable, "-u", __file__, "--train"]
        subprocess.run(command, stdout=log, stderr=log, check=True)
    for path in Path(other).iterdir():
        path.unlink()
    os.rmdir(other)
    publish(directory, name)


def main() -> None:
    """Generate the failing run, its healthy twin, or both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--healthy", action="store_true", help="only the healthy twin")
    parser.add_argument("--failing", action="store_true", help="only the failing run")
    parser.add_argument("--train", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.train:
        train()
        return
    if not options.healthy:
        launch(healthy=False)
    if not options.failing:
        launch(healthy=True)


if __name__ == "__main__":
    main()
