"""The artifacts of a run behind a URL: checkpoints stay there and are read in ranges, all else is
brought to a local folder, file by file and not more than :data:`MOST_BYTES`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from nanautopsy._remote_fetch import file_system_fetch
from nanautopsy._remote_ranges import RemoteHandle
from nanautopsy.checkpoints.data_file import Location
from nanautopsy.discover import Discovery, claim_all
from nanautopsy.model import Artifact, Problem, Source
from nanautopsy.readers.interface import Reader
from nanautopsy.remote import Explain, Listed, RemotePath, heads, reach
from nanautopsy.scan.settings import Job

MOST_BYTES = 4 << 30
"""Of one run's logs, tables and settings together."""
_BLOCK = 4 << 20


def discover_remote(
    job: Job, names: Iterable[tuple[str, str]], readers: Sequence[Reader], folder: Path
) -> Discovery:
    """What lies under the run's root, its smaller artifacts copied into ``folder``."""
    url = job.settings.archive
    file_system, root = reach(url)
    sizes = {file.path: file.size for file in job.files}
    explain = Explain(url)
    listed = []
    for name, path in names:
        whole = f"{root.rstrip('/')}/{path}"
        fetch = file_system_fetch(file_system, whole, explain)
        listed.append((name, Listed(whole, fetch, sizes[path])))
    problems: list[Problem] = []
    discovery = claim_all(heads(listed, problems), readers, problems)
    brought = _Bringing(folder, problems, MOST_BYTES)
    far = {reader.name for reader in readers if _reads_ranges(reader)}
    artifacts = [one if one.reader in far else brought(one) for one in discovery.artifacts]
    return replace(
        discovery,
        artifacts=tuple(one for one in artifacts if one.members),
        problems=tuple(problems),
    )


def _reads_ranges(reader: Reader) -> bool:
    """Checkpoints alone are read wherever they lie."""
    return type(reader).__module__.startswith("nanautopsy.checkpoints.")


class _Bringing:
    """Copies artifacts, within what is left of a budget."""

    def __init__(self, folder: Path, problems: list[Problem], budget: int) -> None:
        self._folder, self._problems, self._left = folder, problems, budget

    def __call__(self, artifact: Artifact) -> Artifact:
        members = [(path, self._copied(path, place)) for path, place in artifact.members]
        return replace(artifact, members=tuple((p, there) for p, there in members if there))

    def _copied(self, path: str, place: Location) -> Location | None:
        if not isinstance(place, RemotePath):
            return place
        if place.source.size > self._left:
            text = f"not fetched: more than {MOST_BYTES >> 30} GiB of logs and tables in one run"
            self._problems.append(Problem(text, Source(path)))
            return None
        self._left -= place.source.size
        # Names of a run may lead out of its folder; those that do lie beside it here.
        there = self._folder / path.replace("..", "__")
        there.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(there, "wb") as target, RemoteHandle(place.source) as handle:
                while block := handle.read(_BLOCK):
                    target.write(block)
        except OSError as error:
            text = f"cannot be fetched: {error.strerror or error}"
            self._problems.append(Problem(text, Source(path)))
            return None
        return there
