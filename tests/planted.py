"""Runs whose artifacts hold lines that nobody may see, by the kind of artifact."""

from __future__ import annotations

import argparse
import io
import json
import pickle
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import yaml
from eventfiles import Event, event_file, scalar
from safetensors.numpy import save_file
from wandbfiles import field, history, item, run_file

Lines = Sequence[str]


def log(root: Path, planted: Lines) -> None:
    """A log that goes NaN right after the lines."""
    before = [f"step {n} loss 2.5 grad_norm 1.25" for n in range(1, 40)]
    after = [f"step {n} loss nan grad_norm nan" for n in range(40, 50)]
    (root / "train.log").write_text("\n".join([*before, *planted, *after]) + "\n")


def colored(root: Path, planted: Lines) -> None:
    """The same in color, each word for itself, and its second half in another."""
    words = [line.replace(" ", "\x1b[0m \x1b[32m") for line in planted]
    halves = [f"{x[: len(x) // 2]}\x1b[1;33m{x[len(x) // 2 :]}" for x in planted]
    log(root, [f"\x1b[32m{line}\x1b[0m" for line in (*words, *halves)])


def colored_tags(root: Path, lines: Lines) -> None:
    """Tags of an event file with escapes in them."""
    events = [scalar("loss", n, 2.5) for n in range(20)]
    events += [scalar(f"\x1b[32m{line[:-9]}\x1b[1m{line[-9:]}", 1, float("nan")) for line in lines]
    (root / "events.out.tfevents.1700000000.gpu-box-17.42.0").write_bytes(event_file(events))


def traceback(root: Path, lines: Lines) -> None:
    """Errors whose messages hold them."""
    for line in lines:
        head = ["Traceback (most recent call last):", '  File "train.py", line 3, in <module>']
        with open(root / "err.log", "a") as file:
            file.write("\n".join([*head, f"    {line}", f"RuntimeError: {line}", ""]))


def configs(root: Path, lines: Lines) -> None:
    """Settings of JSON and YAML files: values, and lists of them."""
    notes = {f"note_{i}": line for i, line in enumerate(lines)}
    (root / "config.json").write_text(json.dumps({"lr": 0.1, "seen": list(lines), **notes}))
    (root / "hparams.yaml").write_text(yaml.safe_dump({"lr": 0.1, "nested": notes}))


def command_lines(root: Path, lines: Lines) -> None:
    """A launch script, and the requirements that W&B keeps."""
    exports = [f"export NOTE{i}='{line}'" for i, line in enumerate(lines)]
    commands = [f"python train.py --lr 1 --note '{line}'" for line in lines]
    (root / "run.sh").write_text("\n".join(["#!/bin/bash", *exports, *commands]) + "\n")


def wandb_run(root: Path, lines: Lines) -> None:
    """An offline run: the records, and the files beside them."""
    run = root / "wandb" / "offline-run-20250101_101010-ab12cd34"
    files = run / "files"
    files.mkdir(parents=True)
    config = b"".join(field(1, item(f"note{i}", json.dumps(x))) for i, x in enumerate(lines))
    about = field(1, "ab12cd34") + field(4, config) + field(17, field(1, 1_600_000_000))
    rows = [history({"_step": n, "loss": 2.5}) for n in range(20)]
    (run / "run-ab12cd34.wandb").write_bytes(run_file([field(21, b""), field(17, about), *rows]))
    metadata = {"os": "Linux", "python": "3.11", "program": "train.py", "args": list(lines)}
    metadata |= {"git": {"remote": lines[0], "commit": "0" * 40}, "host": "gpu-box-17"}
    (files / "wandb-metadata.json").write_text(json.dumps(metadata))
    values = {f"note{i}": {"value": line, "desc": None} for i, line in enumerate(lines)}
    (files / "config.yaml").write_text(yaml.safe_dump({"wandb_version": 1, **values}))
    (files / "output.log").write_text("\n".join([*lines, "step 1 loss 2.5"]) + "\n")


def event_texts(root: Path, lines: Lines) -> None:
    """Texts and tags of an event file, as ``add_text`` and ``add_hparams`` write them."""
    events = [scalar("loss", n, 2.5) for n in range(20)]
    for i, line in enumerate(lines):
        text = Event(wall_time=1.7e9, step=1)
        value = text.summary.value.add(tag=f"note_{i}/text_summary")
        value.metadata.plugin_data.plugin_name = "text"
        value.tensor.dtype = 7
        value.tensor.string_val.append(line.encode())
        events += [text, scalar(line, 1, float("nan"))]
    (root / "events.out.tfevents.1700000000.gpu-box-17.42.0").write_bytes(event_file(events))


def checkpoint_metadata(root: Path, lines: Lines) -> None:
    """Texts beside the tensors of a safetensors file, and names of tensors."""
    notes = {f"note{i}": line for i, line in enumerate(lines)}
    weights = {f"layers.{i}.{line}": np.full(4, np.nan, "f4") for i, line in enumerate(lines)}
    save_file(weights, root / "model.safetensors", metadata=notes)


def pickled_arguments(root: Path, lines: Lines) -> None:
    """The arguments that a torch checkpoint holds beside its tensors."""
    notes = {f"note{i}": line for i, line in enumerate(lines)}
    held = {"args": argparse.Namespace(lr=0.1, **notes), "hyper_parameters": notes, "epoch": 1}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("archive/data.pkl", pickle.dumps(held, protocol=2))
        file.writestr("archive/version", "3\n")
    (root / "checkpoint_1.pt").write_bytes(buffer.getvalue())


def notebook(root: Path, lines: Lines) -> None:
    """A notebook with its outputs."""
    output = {"output_type": "stream", "name": "stdout", "text": [f"{line}\n" for line in lines]}
    cell = {"cell_type": "code", "source": list(lines), "outputs": [output], "metadata": {}}
    (root / "train.ipynb").write_text(json.dumps({"cells": [cell], "nbformat": 4}))


def trainer_state(root: Path, lines: Lines) -> None:
    """A Trainer's own record, with names of metrics that nobody expects."""
    rows = [{"step": n, "loss": 2.5, "epoch": n / 10} for n in range(1, 20)]
    rows += [{"step": 20, line: 1.0} for line in lines]
    state = {"log_history": rows, "global_step": 20, "best_model_checkpoint": lines[0]}
    (root / "trainer_state.json").write_text(json.dumps(state))


PLACES: Mapping[str, Callable[[Path, Lines], None]] = {
    made.__name__: made
    for made in (
        *(
            log,
            colored,
            colored_tags,
            traceback,
            configs,
            command_lines,
            wandb_run,
            event_texts,
            checkpoint_metadata,
        ),
        *(pickled_arguments, trainer_state, notebook),
    )
}
UNREAD = frozenset({"notebook"})
"""Of these nothing is read, so that nothing can be shown."""


def plant(root: Path, place: str, lines: Lines) -> Path:
    """A run that failed, with the lines in one kind of artifact."""
    root.mkdir(parents=True, exist_ok=True)
    if place not in ("log", "colored"):
        log(root, ())
    PLACES[place](root, lines)
    return root
