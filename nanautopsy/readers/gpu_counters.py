"""What ``nvidia-smi --query-gpu=... --format=csv -l`` counted while a run went on.

Sample::

    timestamp, index, name, temperature.gpu, ecc.errors.uncorrected.volatile.total
    2025/01/14 03:19:46.000, 0, NVIDIA A100-SXM4-40GB, 61, 0
    2025/01/14 03:19:48.000, 0, NVIDIA A100-SXM4-40GB, 61, 2

A count of errors that memory could not correct is a hardware error where it rises between two rows
of a device (when, its local time without a zone does not tell); what it shows from the first row on
may be older than the run. Corrected errors changed no number.
Columns are those of ``nvidia-smi --help-query-gpu``.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator

from nanautopsy.model import Artifact, Claim, FileHead, LogEvent, Record, Skipped, Source
from nanautopsy.readers._damage import Damage
from nanautopsy.readers._decode import decode_text
from nanautopsy.readers._json_numbers import parse_number
from nanautopsy.readers._line_blocks import Lines
from nanautopsy.readers._packed_head import plain_head
from nanautopsy.wording import phrase

_COUNTER = re.compile(
    r"ecc\.errors\.uncorrected\.volatile\.\w+|remapped_rows\.(?:uncorrectable|failure)"
    r"|retired_pages\.double_bit\.count|retired_pages\.dbe"
)
_QUERIED = re.compile(r"(?:ecc\.errors|utilization\.gpu|temperature\.gpu|remapped_rows)\b")
_DEVICES = ("index", "gpu_bus_id", "pci.bus_id", "uuid", "gpu_uuid", "serial")


class GpuCountersReader:
    """Claims the table that nvidia-smi writes of its counters."""

    name = "gpu-counters"

    def claim(self, file: FileHead) -> Claim | None:
        plain = plain_head(file)
        if plain is None:
            return None
        header = decode_text(plain.head[:4096]).partition("\n")[0]
        is_table = "," in header and _QUERIED.search(header) and "timestamp" in header
        return Claim(self.name, 90) if is_table else None

    def read(self, artifact: Artifact) -> Iterator[Record]:
        """An event for each rise of a counter."""
        damage = Damage(artifact.path)
        lines = Lines(artifact.location, damage=damage)
        rows = csv.reader(lines, skipinitialspace=True)
        header = [name.split(" [")[0].strip() for name in next(rows, [])]
        columns = [i for i, name in enumerate(header) if _COUNTER.fullmatch(name)]
        if not columns:
            yield Skipped(phrase("no counter of errors in it"))
            return
        device = next((header.index(name) for name in _DEVICES if name in header), None)
        last: dict[tuple[str, int], float] = {}
        for cells in rows:
            if len(cells) != len(header):
                continue
            name = "" if device is None else cells[device].strip()
            for i in columns:
                count = parse_number(cells[i].strip())
                before = last.get((name, i))
                if count is None:
                    continue
                last[name, i] = count
                if before is not None and count > before:
                    text = phrase(
                        "GPU {device}: uncorrectable errors went from {before} to {count} "
                        "({counter})",
                        device=name,
                        before=int(before),
                        count=int(count),
                        counter=header[i],
                    )
                    source = Source(artifact.path, line=lines.line, excerpt=", ".join(cells)[:500])
                    yield LogEvent("hardware-error", text, source)
        yield from damage.problems()


READER = GpuCountersReader()
