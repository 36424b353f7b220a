"""Two suspicious things in one run, of which one is the cause."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from harness.models import CLASSES as MLP_CLASSES
from harness.models import Experts, Mlp
from harness.models_more import Denoiser, Recurrent, VisionLanguage
from harness.session import Session, Training
from harness.staged import Staged
from harness.stories import _batch, _settings
from harness.stories_benign import LowRank
from harness.stories_families import Given, _denoise, noisy, waves


def experts_decoy(session: Session) -> None:
    """A router that runs away, long after a rate that rose twentyfold and did no harm."""
    model = Experts()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
    _settings(session, num_experts=4, router_aux_loss_coef=0.01, optimizer="sgd")
    session.watch(model)

    def step(number: int) -> Given:
        x, y = _batch(number)
        if number > 60:
            with torch.no_grad():
                model.router.weight.mul_(1.3)
        out, logits = model(x)
        aux = torch.exp(logits).sum(-1).log().square().mean()
        main = F.cross_entropy(out, y)
        return main + 0.01 * aux, {"ce_loss": main.detach(), "router_aux_loss": aux.detach()}

    Training(
        session, model, optimizer, step, 100, lambda n: 0.001 if n < 20 else 0.02, save_every=50
    ).run()


def critic_decoy(session: Session) -> None:
    """An unbounded critic, in a run that also says NaN in an evaluation of no samples."""
    model = Mlp(4)
    with torch.no_grad():
        for layer in model.body[::2]:
            layer.weight.mul_(2.5)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    _settings(session, optimizer="SGD", lr=0.01, gradient_clipping=0)
    session.watch(model)

    def step(number: int) -> Given:
        real, _ = _batch(number, 32)
        loss = model(0.5 * real.flip(-1)).mean() - model(real.abs()).mean()
        return loss, {"eval_bleu": torch.tensor(float("nan"))} if number == 5 else {}

    Training(session, model, optimizer, step, 300, save_every=300).run()


def jump_decoy(session: Session) -> None:
    """A rate that jumps two thousandfold; a layer of zeros at the output, which is harmless."""
    model = Mlp(3)
    nn.init.zeros_(model.out.weight)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
    session.watch(model)

    def step(number: int) -> Given:
        x, y = _batch(number)
        return F.mse_loss(5 * model(x), 5 * F.one_hot(y, MLP_CLASSES).float()), {}

    def rate(number: int) -> float:
        return 0.02 if number < 70 else 40.0

    Training(session, model, optimizer, step, 110, rate, save_every=55).run()


def bad_sample_decoy(session: Session) -> None:
    """A NaN sample each epoch; and a gradient spike that clipping caught, between two of them."""
    model = Mlp()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    session.watch(model)

    def step(number: int) -> Given:
        x, y = _batch(number, period=20)
        if number % 20 == 13:
            x[3, 5] = float("nan")
        scale = 200.0 if number == 25 else 1.0
        return scale * F.cross_entropy(model(x), y), {}

    Training(session, model, optimizer, step, 100, clip=1.0, skip_bad=True, save_every=50).run()


def bit_flip_decoy(session: Session) -> None:
    """Flipped exponents in the weights that are loaded, in a run with a steep, harmless warmup."""
    model = Denoiser()
    with torch.no_grad():
        weight = model.mid.weight.view(torch.int32)
        weight[3, 2, 0, 0] ^= 0x3 << 29
        weight[6, 1, 1, 1] ^= 0x3 << 29
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    session.watch(model)
    session.log.say("Loading weights from checkpoint-0/model.safetensors")

    def step(number: int) -> Given:
        return _denoise(model, *noisy(number)), {}

    Training(
        session, model, optimizer, step, 30, lambda n: 0.01 * min(1, n / 3), save_every=30
    ).run()


def fault_decoy(session: Session) -> None:
    """Memory of the device fails; a benign warning of float16 and a spike stand earlier."""
    model = Recurrent()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    session.watch(model)

    def step(number: int) -> Given:
        x = waves(number)
        out = model(x[:, :-1])
        if number == 30:
            session.log.say("UserWarning: fp16 is not supported on this device, float32 is used")
            out = 6 * out
        if number >= 61:
            broken = torch.ones_like(out)
            broken[1, 2] = float("nan")
            out = out * broken
        if number == 61:
            session.log.say(
                "[91823.220] NVRM: Xid (PCI:0000:5e:00): 48, pid=2214, DBE (double bit error) (ecc)"
            )
        return F.mse_loss(out, x[:, 1:]), {}

    Training(session, model, optimizer, step, 80, save_every=40).run()


def adapter_decoy(session: Session) -> None:
    """LoRA starts from zeros, by design; a broken image comes back each epoch and is skipped."""
    model = VisionLanguage(blocks=3)
    for layer in model.layers:
        layer.qkv = LowRank(layer.qkv)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    session.watch(model)

    def step(number: int) -> Given:
        generator = torch.Generator().manual_seed(number % 16)
        patches = torch.randn(8, 6, 16, generator=generator)
        if number % 16 == 9:
            patches[1, 2, 3] = float("inf")
        tokens = (torch.randint(0, 24, (8, 1), generator=generator) + torch.arange(7)) % 24
        logits = model(patches, tokens[:, :-1])
        return F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten()), {}

    Training(session, model, optimizer, step, 64, skip_bad=True, save_every=32).run()


def resume_decoy(session: Session) -> None:
    """A resume that restores everything; eighty steps later one loss term takes log(0)."""
    model = Mlp()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    session.watch(model)

    def step(number: int) -> Given:
        x, y = _batch(number)
        logits = model(x) * (500.0 if number == 141 else 1.0)
        main = F.mse_loss(logits.softmax(-1), F.one_hot(y, MLP_CLASSES).float())
        share = logits.softmax(-1)
        prior = (share * share.log()).sum(-1).mean()
        terms = {"loss_main": main.detach(), "loss_entropy": prior.detach()}
        return main + 0.01 * prior, terms

    Training(session, model, optimizer, step, 60, save_every=60, with_optimizer=True).run()
    session.log.say("Resuming from checkpoint-60, step 60 (model, optimizer, scheduler)")
    Training(session, model, optimizer, step, 100, first=61, save_every=50).run()


STAGED: dict[str, Staged] = {
    "experts-decoy": Staged(
        experts_decoy, "moe-router", "moe", decoy="the rate rose twentyfold, long before"
    ),
    "critic-decoy": Staged(
        critic_decoy, "gradient-explosion", "mlp", decoy="an evaluation metric is NaN at step 5"
    ),
    "jump-decoy": Staged(
        jump_decoy, "lr-spike", "mlp", decoy="the output layer is zero at step 0, by design"
    ),
    "bad-sample-decoy": Staged(
        bad_sample_decoy, "bad-input-data", "mlp", decoy="a gradient spike that was clipped"
    ),
    "bit-flip-decoy": Staged(
        bit_flip_decoy, "corrupt-checkpoint", "diffusion", decoy="a steep warmup of three steps"
    ),
    "fault-decoy": Staged(
        fault_decoy, "hardware-fault", "lstm", decoy="a warning of float16 and a recovered spike"
    ),
    "adapter-decoy": Staged(
        adapter_decoy, "bad-input-data", "vision-language", decoy="LoRA's zeros at step 0"
    ),
    "resume-decoy": Staged(
        resume_decoy, "loss-domain-error", "mlp", decoy="a resume that restored everything"
    ),
}
