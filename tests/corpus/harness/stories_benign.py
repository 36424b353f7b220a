"""Runs that look bad and do well: nothing in them is to be called a failure."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.models import CLASSES, Decoder, Mlp
from harness.models_more import Convolutions, Denoiser, Recurrent, Translator, VisionLanguage
from harness.session import Session, Training
from harness.staged import Staged
from harness.stories import _batch, _causal, _settings, _tokens
from harness.stories_families import _denoise, images, noisy, pairs_of_sentences, waves

Given = tuple[Tensor, dict[str, Tensor]]


def scaler_warmup(session: Session) -> None:
    """A gradient scaler that starts at 2**32 and halves until gradients fit."""
    model = Convolutions()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**32, growth_interval=40)
    _settings(session, fp16=True, learning_rate=1e-3, initial_scale_power=32)
    session.watch(model)
    for number in range(1, 81):
        session.recorder.step = number
        x, y = images(number)
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.float16):
            logits = model(x)
        loss = F.cross_entropy(logits.float(), y)
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        norm = nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        before = scaler.get_scale()
        scaler.step(optimizer)
        scaler.update()
        if scaler.get_scale() < before:
            session.log.say(
                f"Gradient overflow.  Skipping step, loss scaler 0 reducing loss scale to "
                f"{scaler.get_scale()}"
            )
        row = {"loss": float(loss.detach()), "grad_norm": float(norm), "lr": 1e-3}
        session.log.row(number, row | {"loss_scale": scaler.get_scale()})
    session.save(80, model)


def recovered_spike(session: Session) -> None:
    """One hard batch: the loss is a hundredfold for a step, and training goes on."""
    model = Recurrent()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    session.watch(model)

    def step(number: int) -> Given:
        x = waves(number) * (15.0 if number in (44, 95) else 1.0)
        return F.mse_loss(model(x[:, :-1]), x[:, 1:]), {}

    Training(session, model, optimizer, step, 130, clip=1.0, save_every=65).run()


def minus_inf_mask(session: Session) -> None:
    """Masks of -Inf that leave each row a key, and their minimum in the log."""
    model = Translator()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    session.watch(model)

    def step(number: int) -> Given:
        source, target = pairs_of_sentences(number)
        mask = torch.zeros(8, 1, 6)
        mask[:, :, 4:] = -math.inf
        logits = model(source, target[:, :-1], mask)
        loss = F.cross_entropy(logits.flatten(0, 1), target[:, 1:].flatten())
        return loss, {"attention_mask_min": mask.min()}

    Training(session, model, optimizer, step, 60, save_every=30).run()


class LowRank(nn.Module):
    """A linear layer with an adapter whose second factor starts at zero."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.base_layer = base
        self.lora_A = nn.Linear(base.in_features, 4, bias=False)
        self.lora_B = nn.Linear(4, base.out_features, bias=False)
        nn.init.zeros_(self.lora_B.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.base_layer(x) + self.lora_B(self.lora_A(x))


def low_rank_zeros(session: Session) -> None:
    """LoRA: the B factors are zero at step 0, as they should."""
    model = VisionLanguage(blocks=3)
    for layer in model.layers:
        layer.qkv, layer.o_proj = LowRank(layer.qkv), LowRank(layer.o_proj)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    session.watch(model)

    def step(number: int) -> Given:
        generator = torch.Generator().manual_seed(number)
        patches = torch.randn(8, 6, 16, generator=generator)
        tokens = (torch.randint(0, 24, (8, 1), generator=generator) + torch.arange(7)) % 24
        logits = model(patches, tokens[:, :-1])
        return F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten()), {}

    Training(session, model, optimizer, step, 30, save_every=15).run()


def modulation_zeros(session: Session) -> None:
    """Modulation and last convolution of a denoiser start at zero, as in adaLN-Zero."""
    model = Denoiser()
    for module in (model.modulation, model.conv_out):
        nn.init.zeros_(module.weight)
        nn.init.zeros_(module.bias)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    session.watch(model)
    Training(
        session, model, optimizer, lambda n: (_denoise(model, *noisy(n)), {}), 50, save_every=25
    ).run()


def steep_warmup(session: Session) -> None:
    """The rate rises ten thousandfold within ten steps."""
    model = Convolutions()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    session.watch(model)

    def rate(number: int) -> float:
        return 1e-2 * 10 ** (min(number, 10) * 0.4 - 4)

    Training(
        session,
        model,
        optimizer,
        lambda n: (F.cross_entropy(model(images(n)[0]), images(n)[1]), {}),
        90,
        rate,
        save_every=45,
    ).run()


def restarts(session: Session) -> None:
    """Warm restarts, and a resume with everything restored after a signal."""
    model = Mlp()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    session.watch(model)

    def step(number: int) -> Given:
        x, y = _batch(number)
        return F.cross_entropy(model(x), y), {}

    def rate(number: int) -> float:
        return 3e-3 * 0.5 * (1.01 + math.cos(math.pi * (number % 40) / 40))

    Training(session, model, optimizer, step, 70, rate, save_every=70, with_optimizer=True).run()
    session.log.say("Received SIGUSR1, saving and requeueing")
    session.log.say("Resuming from checkpoint-70, step 70 (model, optimizer, scheduler)")
    Training(session, model, optimizer, step, 70, rate, first=71).run()


def empty_evaluation(session: Session) -> None:
    """Evaluation metrics that are NaN where nothing was there to measure."""
    model = Decoder()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    session.watch(model)

    def step(number: int) -> Given:
        tokens = _tokens(number)
        logits = model(tokens[:, :-1], _causal(tokens.shape[1] - 1))
        loss = F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
        undefined = torch.tensor(float("nan"))
        return loss, {"eval_rouge": undefined, "val/auc": undefined} if number % 20 == 0 else {}

    Training(session, model, optimizer, step, 80, save_every=40).run()


def killed(session: Session) -> None:
    """The scheduler ends the job in the middle of a line."""
    model = Mlp(3)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    session.watch(model)

    def step(number: int) -> Given:
        x, y = _batch(number)
        return F.cross_entropy(model(x), y), {}

    Training(session, model, optimizer, step, 47, save_every=20).run()
    session.log.say("slurmstepd: error: *** STEP 4411.0 ON node03 CANCELLED DUE TO TIME LIMIT ***")
    session.log.say("step 48 | los")


def stage_change(session: Session) -> None:
    """A curriculum: the second stage has another objective, whose loss is tenfold."""
    model = Mlp(3)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    session.watch(model)

    def step(number: int) -> Given:
        x, y = _batch(number)
        loss = F.cross_entropy(model(x), y)
        if number == 71:
            session.log.say("Stage 2: adding the regression objective")
        if number > 70:
            loss = loss + 10 * F.mse_loss(model(x), x[:, :CLASSES])
        return loss, {}

    Training(session, model, optimizer, step, 140, save_every=70).run()


def cyclic_rate(session: Session) -> None:
    """A sawtooth that jumps from its floor to its peak, every thirty steps."""
    model = Denoiser()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
    session.watch(model)

    def rate(number: int) -> float:
        return 0.05 * (1 - (number % 30) / 30) ** 3 + 1e-5

    Training(session, model, optimizer, lambda n: (_denoise(model, *noisy(n)), {}), 120, rate).run()


def large_loss(session: Session) -> None:
    """A sum over targets in their own large units: thousands, and falling."""
    model = Mlp()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    session.watch(model)

    def step(number: int) -> Given:
        x, _ = _batch(number)
        target = 300 * x[:, :CLASSES] + 100
        return F.mse_loss(100 * model(x), target, reduction="sum"), {}

    Training(session, model, optimizer, step, 100).run()


STAGED: dict[str, Staged] = {
    "scaler-warmup": Staged(
        scaler_warmup, "fp16-overflow", "cnn", benign="a gradient scaler finds its scale"
    ),
    "recovered-spike": Staged(
        recovered_spike, "gradient-explosion", "lstm", benign="two spikes that pass"
    ),
    "minus-inf-mask": Staged(
        minus_inf_mask, "fully-masked-attention", "encoder-decoder", benign="masks of -Inf"
    ),
    "low-rank-zeros": Staged(
        low_rank_zeros, "zero-init", "vision-language", benign="LoRA starts from zero"
    ),
    "modulation-zeros": Staged(
        modulation_zeros, "zero-init", "diffusion", benign="adaLN-Zero starts from zero"
    ),
    "steep-warmup": Staged(steep_warmup, "lr-spike", "cnn", benign="a steep warmup"),
    "restarts": Staged(restarts, "resume-mismatch", "mlp", benign="warm restarts and a resume"),
    "empty-evaluation": Staged(
        empty_evaluation, "empty-targets", "decoder", benign="undefined evaluation metrics"
    ),
    "killed": Staged(killed, "hardware-fault", "mlp", benign="killed by a time limit"),
    "stage-change": Staged(
        stage_change, "gradient-explosion", "mlp", benign="a stage whose loss is larger"
    ),
    "cyclic-rate": Staged(cyclic_rate, "lr-spike", "diffusion", benign="a sawtooth schedule"),
    "large-loss": Staged(large_loss, "lr-too-high", "mlp", benign="a loss in large units"),
}
