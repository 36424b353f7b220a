"""TensorBoard event files (``*tfevents*``): every point, nothing sampled.

Series, each with its wall times:

* scalars under their tag, whether written as ``simple_value`` or as a tensor of one number;
* histograms as ``<tag>#max``, ``<tag>#min`` and ``<tag>#nonfinite`` (how many elements were left
  out of the buckets): a writer states NaN and Inf elements there and nowhere else.

Settings: JSON texts (transformers writes ``args`` and ``model_config``), plain texts (Megatron
writes one per argument), and the hparams plugin. A session-log START, which restarted writers
leave at the step from which they purge, is a ``run-started`` event. Images, audio and graphs are
stepped over. One file is one artifact; nothing is merged here.
"""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Iterator
from dataclasses import replace
from io import BufferedIOBase, BufferedReader
from typing import Any

from nanautopsy.model import (
    Artifact,
    Claim,
    ConfigRecord,
    FileHead,
    LogEvent,
    Record,
    Scalar,
    Series,
    Skipped,
    Source,
)
from nanautopsy.readers import _tensorboard_values as values
from nanautopsy.readers._damage import LFS_POINTER, Damage
from nanautopsy.readers._flatten import flatten
from nanautopsy.readers._scalar_templates import ScalarTemplates
from nanautopsy.readers._tfrecord import Frames, begins_with_record, frames
from nanautopsy.readers._tracks import Tracks
from nanautopsy.wording import phrase

_GZIP = b"\x1f\x8b"
_NOT_TEXT = (_GZIP, LFS_POINTER)
_MOST_GROWTH = 200
_LEAST_ROOM = 1 << 30
"""Bytes, and times the compressed size: the larger is what is read of a compressed file."""
_TEXT_KINDS = {"args": "training", "model_config": "model"}
_TEXT_SUFFIX = "/text_summary"
_TEXT_ROOM = 8 << 20
"""Characters of all texts that are kept."""
_MOST_TEXTS = 2000
_SESSION_START = 1


class _TensorBoard:
    name = "tensorboard"

    def claim(self, file: FileHead) -> Claim | None:
        if file.name.endswith(".profile-empty"):
            return None
        if begins_with_record(file.head) and b"brain.Event:" in file.head[:48]:
            return Claim("tensorboard", 98)
        if "tfevents" not in file.name:
            return None
        usual = file.name.startswith("events.out.tfevents.")
        binary = b"\0" in file.head[:512] or file.head.startswith(_NOT_TEXT)
        return Claim("tensorboard", 90) if usual or binary or not file.head else None

    def read(self, artifact: Artifact) -> Iterator[Record]:
        with open(artifact.location, "rb") as raw:
            start = raw.read(len(LFS_POINTER))
            raw.seek(0)
            if start == LFS_POINTER:
                yield Skipped(phrase("a Git LFS pointer; the event file itself is not here"))
                return
            collected = _Collected(artifact.path)
            file: BufferedIOBase = _Unzipped(raw) if start.startswith(_GZIP) else raw
            try:
                for block in frames(file, collected.damage):
                    collected.add(block)
            except (OSError, EOFError, zlib.error) as error:
                collected.damage.note(phrase("reading ended early: {error}", error=error))
        yield from collected.records()


class _Unzipped(gzip.GzipFile):
    """A compressed event file that cannot grow without end."""

    def __init__(self, raw: BufferedReader) -> None:
        super().__init__(fileobj=raw)
        self._room = max(_LEAST_ROOM, _MOST_GROWTH * os.fstat(raw.fileno()).st_size)

    def readinto(self, target: Any) -> int:
        """Like the base class; raises :class:`OSError` where no event file would be so long."""
        count = super().readinto(target)
        self._room -= count
        if self._room < 0:
            raise OSError("it expands to more than an event file can")
        return count


class _Collected:
    """All that the file has given so far."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.damage = Damage(path)
        self._tracks = Tracks(path)
        self._templates = ScalarTemplates()
        self._checked: bool | None = None
        self._texts: dict[str, str] = {}
        self._text_room = _TEXT_ROOM
        self._hparams: dict[str, Scalar] = {}
        self._events: list[LogEvent] = []

    def add(self, block: Frames) -> None:
        """Take in the records of one block."""
        points, rest = self._templates.decode(block)
        places = block.offset + block.starts
        for part in points:
            self._tracks.add_block(
                part.tag, places[part.records], part.steps, part.values, part.times
            )
        intact = block.intact(rest)
        if self._checked is None:
            self._checked = bool(points) or bool(intact.any()) or not self._is_consistent(block)
        for record, right in zip(rest.tolist(), intact.tolist(), strict=True):
            offset = int(places[record])
            if self._checked and not right:
                self.damage.note(phrase("a record whose checksum is wrong"), offset)
                continue
            event = values.event_of(block.payload(record))
            if event is None:
                self.damage.note(phrase("a record that is no Event message"), offset)
            else:
                self._event(event, offset)

    def _is_consistent(self, block: Frames) -> bool:
        """Whether a block in which no checksum is right holds events all the same.

        Some writers sum wrongly throughout; TensorBoard, which does not look, shows their files.
        """
        payloads = (block.payload(record) for record in range(len(block.starts)))
        first = values.event_of(next(payloads))
        if first is None or not first.file_version.startswith("brain.Event:"):
            return False
        if len(block.starts) < 2 or any(values.event_of(payload) is None for payload in payloads):
            return False
        text = phrase("no record's checksum is right; what they hold is taken as it stands")
        self.damage.note(text, block.offset)
        return True

    def records(self) -> Iterator[Record]:
        """Series first, then settings, events and problems."""
        yield from self._series()
        if self._tracks.left_out:
            self.damage.note(
                phrase("{n} points of further tags are left out", n=self._tracks.left_out)
            )
        yield from self._settings()
        yield from self._events
        yield from self.damage.problems()

    def _series(self) -> Iterator[Series]:
        """What was logged; results of a whole run stand at no step.

        ``add_hparams`` opens a file of its own and writes the final metrics there, at step 0
        unless told otherwise (torch ``utils/tensorboard/writer.py``).
        """
        series = list(self._tracks.series())
        if self._hparams and all(len(one) == 1 and not one.steps[0] for one in series):
            series = [replace(one, axis="record") for one in series]
        yield from series

    def _event(self, event: Any, offset: int) -> None:
        what = event.WhichOneof("what")
        if what == "summary":
            for value in event.summary.value:
                for tag, number in self._value(value):
                    self._tracks.add(tag, offset, event.step, number, event.wall_time)
        elif what == "session_log" and event.session_log.status == _SESSION_START:
            source = Source(self.path, step=event.step)
            text = f"session log: START at step {event.step}"
            data: dict[str, Scalar | tuple[str, ...]] = {"step": event.step}
            self._events.append(
                LogEvent("run-started", text, source, event.step, True, event.wall_time, data=data)
            )

    def _value(self, value: Any) -> Iterator[tuple[str, float]]:
        """(tag, number) of what is numeric in a value; texts and settings are kept aside."""
        scalar = values.scalar_in(value)
        if scalar is not None:
            yield value.tag, scalar
            return
        which = value.WhichOneof("value")
        if which == "histo":
            for suffix, number in values.histogram_facts(value.histo):
                yield f"{value.tag}#{suffix}", number
        elif which == "tensor":
            for suffix, number in values.tensor_histogram_facts(value.tensor):
                yield f"{value.tag}#{suffix}", number
            self._text(value.tag, values.text_of(value.tensor))
        elif which is None and value.metadata.plugin_data.plugin_name == "hparams":
            self._hparams.update(values.hparams_of(value.metadata.plugin_data.content) or {})

    def _text(self, tag: str, text: str | None) -> None:
        tag = tag.removesuffix(_TEXT_SUFFIX)
        # The first says how the run began; later ones of the tag are samples or restarts.
        if text is None or tag in self._texts or len(self._texts) >= _MOST_TEXTS:
            return
        self._text_room -= len(text)
        if self._text_room >= 0:
            self._texts[tag] = text

    def _settings(self) -> Iterator[ConfigRecord]:
        plain: dict[str, Scalar] = {}
        for tag, text in self._texts.items():
            settings = values.json_settings(text)
            if settings is not None:
                kind = _TEXT_KINDS.get(tag.rsplit("/", 1)[-1], "tensorboard_text")
                yield ConfigRecord(kind, flatten(settings), Source(self.path, tag=tag))
            elif "\n" not in text.strip() and len(text) <= 1000:
                plain[tag] = text.strip()
        if plain:
            yield ConfigRecord("tensorboard_text", plain, Source(self.path))
        if self._hparams:
            yield ConfigRecord("hparams", self._hparams, Source(self.path))


READER = _TensorBoard()
