"""Causes in Lightning: CSVLogger's table, .ckpt files, what its progress leaves in the log."""

from __future__ import annotations

import logging
import shutil
import warnings
from pathlib import Path
from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor, nn

from harness.models import CLASSES, Mlp
from harness.session import Session
from harness.staged import Staged
from harness.stories import _batch


class Batches(torch.utils.data.Dataset[tuple[Tensor, Tensor, Tensor]]):
    """Whole batches by number."""

    def __len__(self) -> int:
        return 400

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        return (*_batch(index + 1), torch.tensor(index + 1))


class Module(L.LightningModule):
    """Watches itself; subclasses say what the loss is."""

    def __init__(self, session: Session, net: nn.Module, lr: float, **hparams: Any) -> None:
        super().__init__()
        self.net = net
        self.seen = session.recorder
        self.save_hyperparameters({"lr": lr, **hparams})
        self.rate = lr

    def losses(self, x: Tensor, y: Tensor, number: int) -> dict[str, Tensor]:
        """The terms; they are added."""
        raise NotImplementedError

    def training_step(self, batch: Any, index: int) -> Tensor:
        x, y, number = batch[0][0], batch[1][0], int(batch[2])
        self.seen.step = self.global_step
        terms = self.losses(x, y, number)
        total = torch.stack(list(terms.values())).sum()
        self.seen.see_loss(total)
        if len(terms) > 1:
            self.log_dict({f"train/{name}": term for name, term in terms.items()})
        self.log("train/loss", total)
        return total

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        self.seen.see_gradients()
        norms = [p.grad.norm() for p in self.net.parameters() if p.grad is not None]
        self.log("grad_2.0_norm_total", torch.stack(norms).norm())
        self.log("lr-SGD", self.rate)

    def on_train_batch_end(self, *args: Any) -> None:
        self.seen.see_parameters()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.net.parameters(), lr=self.rate)


class Critic(Module):
    """A critic whose gain nothing bounds."""

    def losses(self, x: Tensor, y: Tensor, number: int) -> dict[str, Tensor]:
        return {"critic": self.net(0.5 * x.flip(-1)).mean() - self.net(x.abs()).mean()}


class Autoencoder(Module):
    """Reconstruction and a divergence that takes a logarithm of a variance."""

    def losses(self, x: Tensor, y: Tensor, number: int) -> dict[str, Tensor]:
        code = self.net(x)
        if number == 67:
            code = code - code  # a batch of one sample, centered by its own mean
        variance = code.var(0) + (1e-6 if self.hparams["floor"] else 0.0)
        prior = (variance - variance.log() - 1).mean()
        return {"recon": F.mse_loss(code, x[:, :CLASSES]), "kl": 0.01 * prior}


class Plain(Module):
    """Classification."""

    def losses(self, x: Tensor, y: Tensor, number: int) -> dict[str, Tensor]:
        scale = 40.0 if number in (60, 110) else 1.0
        return {"ce": F.cross_entropy(self.net(scale * x), y)}


def _fit(session: Session, module: Module, steps: int, clip: float | None = None) -> None:
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning").setLevel(logging.ERROR)
    # Checkpoints hold the absolute path of their directory, so it is a neutral one.
    here = Path("/tmp/run")
    shutil.rmtree(here, ignore_errors=True)
    target = here / "lightning_logs"
    trainer = L.Trainer(
        accelerator="cpu",
        max_steps=steps,
        gradient_clip_val=clip,
        logger=CSVLogger(str(here), version=0),
        callbacks=[
            ModelCheckpoint(target / "checkpoints", every_n_train_steps=steps // 2, save_top_k=-1)
        ],
        log_every_n_steps=1,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, torch.utils.data.DataLoader(Batches(), batch_size=1))
    shutil.copytree(here, session.directory, dirs_exist_ok=True)
    session.log.say(f"`Trainer.fit` stopped: `max_steps={steps}` reached.")


def _net(session: Session, depth: int, gain: float = 1.0) -> Mlp:
    net = Mlp(depth)
    with torch.no_grad():
        for layer in net.body[::2]:
            layer.weight.mul_(gain)
    session.watch(net)
    return net


def critic(session: Session) -> None:
    """The critic, clipped or not."""
    net = _net(session, 4, 2.5)
    clip = 0.1 if session.healthy else None
    _fit(session, Critic(session, net, 0.01, gradient_clip_val=clip), 200, clip)


def autoencoder(session: Session) -> None:
    """log(0) of a variance, unless there is a floor."""
    _fit(session, Autoencoder(session, _net(session, 2), 0.01, floor=session.healthy), 120)


def spikes(session: Session) -> None:
    """Two hard batches that training survives."""
    _fit(session, Plain(session, _net(session, 2), 0.02), 160, 1.0)


STAGED: dict[str, Staged] = {
    "lightning-critic": Staged(critic, "gradient-explosion", "mlp", "lightning"),
    "lightning-autoencoder": Staged(autoencoder, "loss-domain-error", "mlp", "lightning"),
    "lightning-spikes": Staged(
        spikes, "gradient-explosion", "mlp", "lightning", benign="two spikes that pass"
    ),
}
