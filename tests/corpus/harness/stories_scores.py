"""Attention scores that overflow, wrong checkpoints, zeros that are divided, releases that fail."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib import metadata
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness import faults, tasks
from harness.course import Course, Terms
from harness.loops import accelerate_loop, torch_loop
from harness.models import Attention, Mlp
from harness.models_more import CrossAttention
from harness.session import Session, Training
from harness.staged import Staged
from harness.stories import _batch, _settings, _tokens
from harness.tasks import Batch, Task


def growing_queries(task: Task, healthy: bool, growth: float = 1.12, **more: Any) -> Course:
    """Staged: nothing decays the projections of queries and keys, which grow with each step; in
    float16 their product passes 65504, long after the softmax was saturated."""
    course = faults.plain(task, steps=90, save_every=30, **more)
    largest: dict[str, Tensor] = {}

    def loss(model: nn.Module, batch: Batch, step: int) -> tuple[Tensor, Terms]:
        if not healthy:
            with torch.no_grad():
                for module in model.modules():
                    grow(module, growth)
        value = task.loss(model, batch)
        for name, module in model.named_modules():
            if isinstance(module, CrossAttention):
                largest[name] = torch.tensor(module.largest)
        return value, {f"attn_logits_max/{name}": v for name, v in largest.items()}

    for name, module in course.model.named_modules():
        if isinstance(module, Attention):
            module.softmax.register_forward_pre_hook(
                lambda m, args, name=name: largest.update(
                    {name: torch.nan_to_num(args[0].detach().float(), neginf=0.0).abs().max()}
                )
            )
    used = {"fp16": "float16", "half": "float16"}.get(course.precision, "float32")
    settings = {"precision": course.precision, "autocast_dtype": used, "weight_decay": 0}
    return replace(course, loss=loss, settings=settings)


def grow(module: nn.Module, growth: float) -> None:
    """The projections of queries and keys of an attention."""
    if isinstance(module, CrossAttention):
        module.q_proj.weight.mul_(growth)
        module.k_proj.weight.mul_(growth)
    if isinstance(module, Attention):
        module.qkv.weight[: 2 * len(module.qkv.weight) // 3].mul_(growth)


def foreign_weights(task: Task, other: nn.Module, gain: float) -> Callable[[Session], None]:
    """Weights of another model, by ``load_state_dict(strict=False)``: some names agree by chance,
    their magnitudes belong to another normalization, and float16 does not hold what they give."""

    def train(session: Session) -> None:
        course = faults.plain(
            task, precision="half", optimizer="sgd", rate=lambda step: 1e-3, steps=25
        )
        course.save_every = 25
        with torch.no_grad():
            for parameter in other.parameters():
                if parameter.dim() > 1:
                    parameter.mul_(gain)
        source = course.model if session.healthy else other
        state = {name: tensor.clone() for name, tensor in source.state_dict().items()}
        found = course.model.load_state_dict(
            {
                name: tensor
                for name, tensor in state.items()
                if name not in course.model.state_dict()
                or tensor.shape == course.model.state_dict()[name].shape
            },
            strict=False,
        )
        session.log.say("Loading pretrained weights from backbone.pth")
        session.log.say(str(found))
        torch_loop(session, course)

    return train


class Other(nn.Module):
    """A network whose middle has the names of :class:`Convolutions` and nothing else of it."""

    def __init__(self) -> None:
        super().__init__()
        self.patch_embed = nn.Conv2d(3, 8, 2)
        self.conv1 = nn.Conv2d(8, 8, 3, padding=1)
        self.conv2 = nn.Conv2d(8, 8, 3, padding=1)
        self.bn1, self.bn2 = nn.BatchNorm2d(8), nn.BatchNorm2d(8)
        self.classifier = nn.Linear(8, 10)


class OtherDense(nn.Module):
    """A network that shares the names of an MLP's body."""

    def __init__(self) -> None:
        super().__init__()
        self.body = Mlp(2).body
        self.scale = nn.Linear(16, 16)
        self.lm_head = nn.Linear(16, 32)


def zero_divided(session: Session) -> None:
    """A first convolution of zeros before a division by the features' own spread: 0/0."""
    task = tasks.DENOISER
    course = faults.plain(task, steps=20, save_every=20)
    model = course.model
    if not session.healthy:
        for parameter in model.conv_in.parameters():  # type: ignore[union-attr]
            nn.init.zeros_(parameter)

    def standardize(module: nn.Module, args: Any, output: Tensor) -> Tensor:
        return (output - output.mean()) / output.std()

    model.conv_in.register_forward_hook(standardize)  # type: ignore[union-attr]
    course.settings = {"conv_in_init": "zeros", "normalize": "standardize", "learning_rate": 2e-3}
    torch_loop(session, course)


def zero_dora(session: Session) -> None:
    """DoRA over a projection of zeros: its magnitude is divided by the norm of nothing."""
    from peft import LoraConfig, get_peft_model

    base = Mlp(2)
    if not session.healthy:
        nn.init.zeros_(base.out.weight)
    config = LoraConfig(r=4, lora_alpha=8, target_modules=["out"], use_dora=True)
    model = get_peft_model(base, config)  # type: ignore[arg-type]
    (session.directory / "requirements.txt").write_text(
        f"peft=={metadata.version('peft')}\ntorch==2.13.0\n", encoding="utf-8"
    )
    _settings(session, peft_type="LORA", r=4, use_dora=True, target_modules=["out"])
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    session.watch(model)

    def step(number: int) -> tuple[Tensor, dict[str, Tensor]]:
        x, y = _batch(number)
        return F.cross_entropy(model(x), y), {}

    Training(session, model, optimizer, step, 20, save_every=20).run()


def zero_embedding(session: Session) -> None:
    """Tokens that start from zeros in front of a root-mean-square norm without an epsilon."""
    task = tasks.DECODER
    course = faults.plain(task, steps=20, save_every=20, rate=lambda step: 1e-3)
    embed = course.model.embed
    if not session.healthy:
        nn.init.zeros_(embed.weight)  # type: ignore[union-attr]
    embed.register_forward_hook(  # type: ignore[union-attr]
        lambda module, args, output: output / output.square().mean(-1, keepdim=True).sqrt()
    )
    course.settings = {"embedding_init": "zeros", "norm": "rms", "norm_eps": 0.0}
    torch_loop(session, course)


def constant_spread(task: Task, healthy: bool, at: int = 39) -> Course:
    """A penalty on the spread of a batch's scores, whose root has no derivative at no spread."""

    def loss(model: nn.Module, batch: Batch, step: int) -> tuple[Tensor, Terms]:
        main = task.loss(model, batch)
        same = tuple(t[:1].expand_as(t).contiguous() for t in batch) if step == at else batch
        score = faults.model_score(model, same)
        spread = ((score - score[0]).square().mean() + (1e-6 if healthy else 0.0)).sqrt()
        return main + 0.1 * spread, {"score_spread": spread.detach()}

    return faults.plain(task, loss=loss, steps=55, save_every=0, stop_at_bad=True)


def gradient_penalty(session: Session) -> None:
    """A critic's gradient penalty, of a critic that is flat: the norm of a gradient of zeros."""
    critic = Mlp(2)
    optimizer = torch.optim.Adam(critic.parameters(), lr=1e-3)
    session.watch(critic)
    session.log.say("Critic with gradient penalty, lambda 10, ReLU gate at 3")

    def step(number: int) -> tuple[Tensor, dict[str, Tensor]]:
        real, _ = _batch(number)
        real = real.requires_grad_()
        score = critic(real).mean(-1)
        if number == 31:
            score = torch.relu(score - 1e3)  # no sample passes the gate
        given = torch.autograd.grad(score.sum(), real, create_graph=True)[0]
        squares = given.square().sum(-1)
        norm = torch.sqrt(squares + 1e-12) if session.healthy else torch.sqrt(squares)
        penalty = (norm - 1).square().mean()
        loss = -critic(real).mean() * 0.1 + penalty
        session.recorder.see_loss(loss)
        return loss, {"penalty": penalty.detach()}

    try:
        Training(session, critic, optimizer, step, 30, save_every=30).run()
        with torch.autograd.set_detect_anomaly(True):
            Training(session, critic, optimizer, step, 15, first=31).run()
    except RuntimeError as error:
        place = {"step": session.recorder.step, "module": "out.bias"}
        session.recorder.first.setdefault("gradient", place)
        session.log.say("Traceback (most recent call last):")
        session.log.say(f"RuntimeError: {error}")


RELEASE = "transformers==5.8.1"


def _pins(session: Session) -> None:
    names = ("torch", "transformers", "numpy")
    pins = [f"{name}=={metadata.version(name)}" for name in names]
    (session.directory / "requirements.txt").write_text("\n".join(pins) + "\n", encoding="utf-8")


def _fine_tune(session: Session, model: Any, batch: Callable[[int], dict[str, Tensor]]) -> None:
    _pins(session)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    session.watch(model)

    def step(number: int) -> tuple[Tensor, dict[str, Tensor]]:
        return model(**batch(number)).loss.float(), {}

    Training(session, model, optimizer, step, 20, save_every=20).run()


def token_head(session: Session) -> None:
    """A tagger on a Llama in float16, whose head the release leaves as memory was."""
    from transformers import LlamaForCausalLM, LlamaForTokenClassification

    from harness.stories_loading import _load, text_config

    kind = LlamaForTokenClassification if session.healthy else LlamaForCausalLM
    kind(text_config()).half().save_pretrained(session.directory / "base")
    model = _load(session, LlamaForTokenClassification, "base")
    _fine_tune(session, model, lambda n: {"input_ids": _tokens(n), "labels": _tokens(n) % 2})


def image_head(session: Session) -> None:
    """A classifier on a ConvNeXt in float16, whose head the release leaves as memory was."""
    from transformers import ConvNextConfig, ConvNextForImageClassification, ConvNextModel

    from harness.stories_loading import _load
    from harness.tasks import images

    config = ConvNextConfig(
        num_channels=3,
        patch_size=2,
        num_stages=2,
        hidden_sizes=[8, 16],
        depths=[1, 1],
        num_labels=4,
    )
    kind = ConvNextForImageClassification if session.healthy else ConvNextModel
    kind(config).half().save_pretrained(session.directory / "base")
    model = _load(session, ConvNextForImageClassification, "base", num_labels=4)
    _fine_tune(
        session, model, lambda n: {"pixel_values": images(n)[0].half(), "labels": images(n)[1]}
    )


def foreign_seq2seq(session: Session) -> None:
    """A Bart is asked for, and what lies there is a T5: no name agrees, all is new."""
    from transformers import (
        BartConfig,
        BartForConditionalGeneration,
        T5Config,
        T5ForConditionalGeneration,
    )

    from harness.stories_loading import _load

    bart = BartConfig(
        vocab_size=32,
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        max_position_embeddings=32,
    )
    t5 = T5Config(
        vocab_size=32,
        d_model=16,
        d_kv=8,
        d_ff=32,
        num_layers=1,
        num_heads=2,
        decoder_start_token_id=0,
    )
    base = session.directory / "base"
    right = BartForConditionalGeneration(bart)
    (right if session.healthy else T5ForConditionalGeneration(t5)).half().save_pretrained(base)
    model = _load(session, BartForConditionalGeneration, "base", config=bart)
    _fine_tune(session, model, lambda n: {"input_ids": _tokens(n), "labels": _tokens(n)})


def foreign_decoder(session: Session) -> None:
    """A Llama is asked for, and what lies there is a GPT-2."""
    from transformers import LlamaForCausalLM

    from harness.stories_loading import _load, text_config
    from harness.stories_trainer import language_model

    right = LlamaForCausalLM(text_config())
    (right if session.healthy else language_model()).half().save_pretrained(
        session.directory / "base"
    )
    model = _load(session, LlamaForCausalLM, "base", config=text_config())
    _fine_tune(session, model, lambda n: {"input_ids": _tokens(n), "labels": _tokens(n)})


def _traced(task: Task) -> Any:
    from harness.stories_layers import traced

    return traced(constant_spread, task)


def _run(loop: Callable[..., None], fault: faults.Fault, task: Task, **more: Any) -> Any:
    return lambda session: loop(session, fault(task, session.healthy, **more))


STAGED: dict[str, Staged] = {
    "scores-decoder": Staged(
        _run(
            torch_loop,
            growing_queries,
            tasks.DECODER,
            precision="half",
            optimizer="sgd",
            rate=lambda step: 1e-3,
        ),
        "attention-overflow",
        "decoder",
        sees_layers=True,
    ),
    "scores-translator": Staged(
        _run(torch_loop, growing_queries, tasks.TRANSLATOR, precision="fp16", growth=1.14),
        "attention-overflow",
        "encoder-decoder",
        sees_layers=True,
    ),
    "scores-bare": Staged(
        _run(accelerate_loop, growing_queries, tasks.DECODER, growth=3.6),
        "attention-overflow",
        "decoder",
        "accelerate",
        sees_layers=True,
    ),
    "foreign-cnn": Staged(
        lambda session: foreign_weights(tasks.CNN, Other(), 400.0)(session),
        "wrong-checkpoint",
        "cnn",
    ),
    "foreign-mlp": Staged(
        lambda session: foreign_weights(tasks.MLP, OtherDense(), 300.0)(session),
        "wrong-checkpoint",
        "mlp",
    ),
    "zero-divided": Staged(zero_divided, "zero-init", "diffusion"),
    "zero-dora": Staged(zero_dora, "zero-init", "mlp"),
    "zero-embedding": Staged(zero_embedding, "zero-init", "decoder"),
    "spread-mlp": Staged(_traced(tasks.MLP), "singular-gradient", "mlp"),
    "spread-denoiser": Staged(_traced(tasks.DENOISER), "singular-gradient", "diffusion"),
    "gradient-penalty": Staged(gradient_penalty, "singular-gradient", "gan"),
    "token-head": Staged(token_head, "version-bug", "decoder", "transformers", needs=RELEASE),
    "image-head": Staged(image_head, "version-bug", "cnn", "transformers", needs=RELEASE),
    "foreign-seq2seq": Staged(
        foreign_seq2seq, "wrong-checkpoint", "encoder-decoder", "transformers", needs=RELEASE
    ),
    "foreign-decoder": Staged(
        foreign_decoder, "wrong-checkpoint", "decoder", "transformers", needs=RELEASE
    ),
}
