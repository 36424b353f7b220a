"""Logging habits: each writes the numbers of a step in its own way."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol, TextIO

Row = Mapping[str, float]


class Log(Protocol):
    """Where a run writes."""

    def row(self, step: int, values: Row) -> None:
        """The numbers of one step."""

    def say(self, text: str) -> None:
        """A line of the program's own."""

    def close(self) -> None:
        """The end."""


class Console:
    """``step 12 | loss 1.234 | ...`` lines, and whatever else the program prints."""

    def __init__(self, directory: Path, shape: Callable[[int, Row], str], name: str) -> None:
        self.file: TextIO = open(directory / name, "w", encoding="utf-8")
        self.shape = shape

    def row(self, step: int, values: Row) -> None:
        self.say(self.shape(step, values))

    def say(self, text: str) -> None:
        self.file.write(text + "\n")

    def close(self) -> None:
        self.file.close()


class WithTable:
    """A console for words and a table (CSV or JSON lines) for numbers."""

    def __init__(self, directory: Path, kind: str) -> None:
        self.console = Console(directory, bars, "train.log")
        self.kind = kind
        self.path = directory / ("metrics.csv" if kind == "csv" else "metrics.jsonl")
        self.rows: list[dict[str, float]] = []

    def row(self, step: int, values: Row) -> None:
        self.rows.append({"step": step, **values})

    def say(self, text: str) -> None:
        self.console.say(text)

    def close(self) -> None:
        self.console.close()
        with open(self.path, "w", encoding="utf-8", newline="") as file:
            if self.kind == "csv":
                writer = csv.DictWriter(
                    file, list(dict.fromkeys(t for row in self.rows for t in row))
                )
                writer.writeheader()
                writer.writerows(self.rows)
            else:
                file.writelines(json.dumps(row) + "\n" for row in self.rows)


class Board:
    """A console for words and TensorBoard's event file for numbers."""

    def __init__(self, directory: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.console = Console(directory, bars, "train.log")
        self.writer = SummaryWriter(str(directory / "tb"))

    def row(self, step: int, values: Row) -> None:
        for tag, value in values.items():
            self.writer.add_scalar(tag, value, step, walltime=1.76e9 + step)

    def say(self, text: str) -> None:
        self.console.say(text)

    def close(self) -> None:
        self.writer.close()
        self.console.close()


class Offline:
    """A console for words and an offline run of Weights & Biases for numbers."""

    def __init__(self, directory: Path) -> None:
        import wandb

        self.console = Console(directory, bars, "train.log")
        settings = wandb.Settings(
            host="localhost",
            username="trainer",
            program="train.py",
            program_relpath="train.py",
            disable_git=True,
            save_code=False,
            console="off",
            x_disable_stats=True,
            x_disable_machine_info=True,
            run_id="t4k9w2xe",
            silent=True,
        )
        self.run = wandb.init(
            project="train", mode="offline", dir=str(directory), settings=settings
        )
        self.directory = directory

    def row(self, step: int, values: Row) -> None:
        self.run.log(dict(values), step=step)

    def say(self, text: str) -> None:
        self.console.say(text)

    def close(self) -> None:
        self.run.finish()
        self.console.close()
        for path in (self.directory / "wandb").iterdir():
            if path.is_symlink():
                path.unlink()
        shutil.rmtree(self.directory / "wandb" / "latest-run", ignore_errors=True)
        for path in (self.directory / "wandb").glob("debug*.log"):
            path.unlink()
        for path in (self.directory / "wandb").rglob("logs"):
            shutil.rmtree(path)


class Named:
    """A log whose tags follow another habit."""

    def __init__(self, log: Log, rename: Callable[[str], str]) -> None:
        self.log = log
        self.rename = rename

    def row(self, step: int, values: Row) -> None:
        self.log.row(step, {self.rename(tag): value for tag, value in values.items()})

    def say(self, text: str) -> None:
        self.log.say(text)

    def close(self) -> None:
        self.log.close()


def slash(tag: str) -> str:
    """``loss`` as ``train/loss``, ``lr`` as ``optim/lr``; other groups as they are."""
    if "/" in tag:
        return tag
    return f"optim/{tag}" if tag in ("lr", "grad_norm", "loss_scale") else f"train/{tag}"


def camel(tag: str) -> str:
    """``loss`` as ``trainLoss``, ``grad_norm`` as ``gradNorm``, ``lr`` as ``learningRate``."""
    full = {"loss": "train_loss", "lr": "learning_rate"}.get(tag, tag)
    head, *rest = full.split("_")
    return head + "".join(word.capitalize() for word in rest)


def bars(step: int, values: Row) -> str:
    """``step 12 | loss 1.234 | lr 0.001``"""
    return " | ".join([f"step {step}", *(f"{tag} {value:.6g}" for tag, value in values.items())])


def pairs(step: int, values: Row) -> str:
    """``iter=12 loss=1.234 lr=0.001``"""
    return " ".join([f"iter={step}", *(f"{tag}={value:.5g}" for tag, value in values.items())])


def dictionary(step: int, values: Row) -> str:
    """A Python dict, as a Trainer prints it."""
    return str({tag: round(value, 5) for tag, value in values.items()} | {"step": step})


def dots(tag: str) -> str:
    """``loss`` as ``train.loss``, ``lr`` as ``optimizer.learning_rate``."""
    full = {
        "loss": "train.loss",
        "lr": "optimizer.learning_rate",
        "grad_norm": "optimizer.total_grad_norm",
        "loss_scale": "amp.scale",
    }
    return full.get(tag, tag.replace("/", "."))


def capitals(tag: str) -> str:
    """``loss`` as ``Loss/train``, ``lr`` as ``LR``, ``grad_norm`` as ``GradNorm``."""
    full = {"loss": "Loss/train", "lr": "LR", "grad_norm": "GradNorm", "loss_scale": "Scale"}
    return full.get(tag, tag)


NAMINGS = {"slash": slash, "camel": camel, "dots": dots, "capitals": capitals}


def stamp(step: int) -> str:
    """A clock that moves a second a step."""
    return f"2026-03-04 18:{53 + step // 60 % 7:02}:{step % 60:02}"


def megatron(step: int, values: Row) -> str:
    """An iteration line of Megatron-LM."""
    rest = dict(values)
    loss, norm, rate = rest.pop("loss"), rest.pop("grad_norm"), rest.pop("lr")
    scale = rest.pop("loss_scale", 1.0)
    terms = "".join(f" {tag.replace('_', ' ')}: {value:.6E} |" for tag, value in rest.items())
    return (
        f" [{stamp(step)}] iteration {step:8d}/    1000 | consumed samples: {16 * step:12d} | "
        f"elapsed time per iteration (ms): 12.1 | learning rate: {rate:.6E} | "
        f"global batch size:    16 | lm loss: {loss:.6E} |{terms} loss scale: {scale:.1f} | "
        f"grad norm: {norm:.3f} | number of skipped iterations:   0 | "
        f"number of nan iterations:   0 |"
    )


def fairseq(step: int, values: Row) -> str:
    """A ``train_inner`` line of fairseq."""
    rest = dict(values)
    named = {"loss": rest.pop("loss"), "num_updates": step, "lr": rest.pop("lr")}
    named |= {"gnorm": rest.pop("grad_norm")} | rest
    told = ", ".join(f"{tag}={value:.4g}" for tag, value in named.items())
    return f"{stamp(step)} | INFO | train_inner | epoch 001: {step:6d} / 1000 {told}, wall=3"


def titan(step: int, values: Row) -> str:
    """A line of torchtitan, with the rate that it leaves out."""
    told = "  ".join(f"{tag}: {value:8.5f}" for tag, value in values.items())
    return f"[rank0]:[titan] {stamp(step)},549 - root - INFO - step: {step:2}  {told}  tps: 96,480"


def logger(step: int, values: Row) -> str:
    """A line of Python's logging."""
    told = ", ".join(f"{tag}: {value:.5f}" for tag, value in values.items())
    return f"{stamp(step)},120 INFO train.py:214 Step {step}/1000, {told}"


def nano(step: int, values: Row) -> str:
    """``iter 12: loss 2.3026, lr 1e-03, time 8.12ms``"""
    told = ", ".join(f"{tag} {value:.4g}" for tag, value in values.items())
    return f"iter {step}: {told}, time 8.12ms, mfu 1.03%"


SHAPES: dict[str, Callable[[int, Row], str]] = {
    "bars": bars,
    "pairs": pairs,
    "dict": dictionary,
    "megatron": megatron,
    "fairseq": fairseq,
    "titan": titan,
    "logger": logger,
    "nano": nano,
}


def open_log(style: str, directory: Path) -> Log:
    """The log of a style: one of ``SHAPES``, ``csv``, ``jsonl``, ``board`` or ``wandb``; after a
    colon, how its tags are named: one of ``NAMINGS``."""
    style, _, naming = style.partition(":")
    log = _open(style, directory)
    return Named(log, NAMINGS[naming]) if naming else log


def _open(style: str, directory: Path) -> Log:
    if style in SHAPES:
        return Console(directory, SHAPES[style], "stdout.log")
    if style == "wandb":
        return Offline(directory)
    return Board(directory) if style == "board" else WithTable(directory, style)
