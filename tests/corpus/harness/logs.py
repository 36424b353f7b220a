"""Logging habits: each writes the numbers of a step in its own way."""

from __future__ import annotations

import csv
import json
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
                writer = csv.DictWriter(file, list(self.rows[0]))
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
    """The log of a style: ``bars``, ``pairs``, ``dict``, ``csv``, ``jsonl`` or ``board``."""
    shapes = {"bars": bars, "pairs": pairs, "dict": dictionary}
    if style in shapes:
        return Console(directory, shapes[style], "stdout.log")
    return Board(directory) if style == "board" else WithTable(directory, style)
