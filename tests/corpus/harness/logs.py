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


def open_log(style: str, directory: Path) -> Log:
    """The log of a style: ``bars``, ``pairs``, ``dict``, ``csv``, ``jsonl``, ``board``, ``wandb``;
    after a colon, how its tags are named: ``slash`` or ``camel``."""
    style, _, naming = style.partition(":")
    log = _open(style, directory)
    return Named(log, {"slash": slash, "camel": camel}[naming]) if naming else log


def _open(style: str, directory: Path) -> Log:
    shapes = {"bars": bars, "pairs": pairs, "dict": dictionary}
    if style in shapes:
        return Console(directory, shapes[style], "stdout.log")
    if style == "wandb":
        return Offline(directory)
    return Board(directory) if style == "board" else WithTable(directory, style)
