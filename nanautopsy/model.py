"""The vocabulary: what flows between the stages, as frozen dataclasses.

``discover`` gives :class:`Artifact`; readers give records (:class:`Series`, :class:`LogEvent`,
:class:`ConfigRecord`, :class:`EnvironmentRecord`, :class:`StoredCheckpoint`, :class:`Problem`,
:class:`Skipped`); ``checkpoints.examine`` measures the stored checkpoints, each into a
:class:`Checkpoint`; ``align`` makes one :class:`Run` of them; detectors give :class:`Finding`;
``onset`` gives :class:`Onset`; causes give :class:`Assessment`; ``diagnose`` gives
:class:`Autopsy`, which is all that a renderer sees.

Units: ``step`` is the run's own step (optimizer step where that is known), ``time`` is seconds
since the Unix epoch, ``rank`` counts from 0, ``line`` counts from 1, ``offset`` is in bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from nanautopsy.checkpoints.data_file import DataFile, Location, data_file
from nanautopsy.checkpoints.stored import Holds, Part, StoredCheckpoint

Scalar: TypeAlias = str | int | float | bool | None
Axis: TypeAlias = Literal["step", "epoch", "samples", "record"]
Verdict: TypeAlias = Literal["non-finite", "diverged", "healthy", "undetermined"]
FindingRole: TypeAlias = Literal["initiating", "cascade", "context"]
AssessmentStatus: TypeAlias = Literal["fired", "quiet", "not-applicable", "failed"]
ArtifactStatus: TypeAlias = Literal["read", "partly-read", "skipped"]
NonFinite: TypeAlias = Literal["nan", "inf", "-inf"]
Depth: TypeAlias = Literal["finite", "full"]
"""How far a tensor was measured. ``finite``: non-finite values and the largest magnitude."""
SeriesRole: TypeAlias = Literal[
    "loss",
    "eval_loss",
    "grad_norm",
    "learning_rate",
    "loss_scale",
    "skipped_steps",
    "layer_gradient",
    "layer_parameter",
    "layer_activation",
    "attention_logit",
    "counter",
    "other",
]


# --- where a fact stands ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Source:
    """The place that a statement cites: file and line, tag and step, or tensor and index."""

    path: str
    """Path of the artifact relative to the run directory, with forward slashes."""
    line: int | None = None
    tag: str | None = None
    step: int | None = None
    tensor: str | None = None
    index: tuple[int, ...] | None = None
    """Element of the tensor, unravelled."""
    offset: int | None = None
    """Byte offset, for damage."""
    excerpt: str | None = None
    """The quoted text, one line, as it stands in the artifact (control characters removed)."""

    def __str__(self) -> str:
        text = self.path
        if self.line is not None:
            text += f":{self.line}"
        if self.tag is not None:
            text += f" {self.tag}"
        if self.step is not None:
            text += f"@{self.step}"
        if self.tensor is not None:
            text += f" {self.tensor}"
        if self.index is not None:
            text += "[" + ", ".join(str(i) for i in self.index) + "]"
        if self.offset is not None:
            text += f" at byte {self.offset}"
        return text


# --- discover ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FileHead:
    """What a reader sees of a file when it is asked whether the file is its own."""

    path: str
    """Relative to the run directory, with forward slashes."""
    size: int
    """Bytes."""
    head: bytes
    """The first block, at most :data:`nanautopsy.discover.HEAD_BYTES`."""

    @property
    def name(self) -> str:
        """The base name."""
        return self.path.rsplit("/", 1)[-1]

    @property
    def directory(self) -> str:
        """The directory part, empty for a file at the top."""
        return self.path.rsplit("/", 1)[0] if "/" in self.path else ""


@dataclass(frozen=True, slots=True)
class Claim:
    """A reader's wish to read a file."""

    kind: str
    """Artifact kind, as the report shows it: ``tensorboard``, ``text-log``, ..."""
    confidence: int
    """0 to 100. Certain magic bytes: 90 and above; a telling name and shape: 50 to 80; a guess
    that any text file would satisfy: below 20. The highest claim wins."""
    group: str | None = None
    """Files of one directory with equal kind and group are one artifact (shards with their
    index). ``None``: the file stands alone."""
    root: str | None = None
    """The directory that is the artifact (relative, empty for the top), where its files lie in
    directories below: files of equal kind, group and root are one artifact wherever they lie."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """One input file, or a group of files that belong together, claimed by one reader."""

    path: str
    """Relative to the run directory; of a group, its first member."""
    kind: str
    reader: str
    """Name of the reader that claimed it."""
    members: tuple[tuple[str, Location], ...]
    """(relative path, location) of each file, in natural order. Only checkpoints are read from
    a place that is not a local path: see :func:`nanautopsy.checkpoints.data_file.data_file`."""
    bytes: int
    """Total size of the members."""

    @property
    def location(self) -> Path:
        """Where the first member lies. Raises ``OSError`` when that is far away."""
        place = self.members[0][1]
        if not isinstance(place, Path):
            raise OSError("only checkpoints are read from afar")
        return place

    @property
    def files(self) -> tuple[DataFile, ...]:
        """The members, wherever they lie."""
        return tuple(data_file(path, location) for path, location in self.members)


# --- records: what readers give -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Problem:
    """Something of an artifact that could not be read, or not be trusted."""

    text: str
    source: Source


@dataclass(frozen=True, slots=True)
class Skipped:
    """An artifact was not read at all, and why."""

    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """One metric over steps, in the order in which it was written."""

    tag: str
    """The name under which the artifact holds it."""
    steps: NDArray[np.int64]
    """(n,) in units of ``axis``."""
    values: NDArray[np.float64]
    """(n,) the logged numbers; NaN here means that the artifact says NaN."""
    source: Source
    times: NDArray[np.float64] | None = None
    """(n,) seconds since the Unix epoch."""
    lines: NDArray[np.int64] | None = None
    """(n,) line of each point in ``source.path``, for text artifacts."""
    missing: NDArray[np.bool_] | None = None
    """(n,) True where the artifact holds an explicit null: not a number, not NaN."""
    axis: Axis = "step"
    """What ``steps`` counts. ``record``: nothing in the artifact says; the n-th record."""
    rank: int | None = None
    begins: tuple[int, ...] = ()
    """Points behind the first at which another training begins: folds, sweeps in one log."""
    role: SeriesRole = "other"
    """What the metric is; given by ``align``."""
    layer: str | None = None
    """Module or parameter path inside a per-layer tag; given by ``align``."""
    earlier_deaths: tuple[int, ...] = ()
    """First non-finite steps of attempts that a later one replaced; given by ``align``."""
    replayed: tuple[int, ...] = ()
    """Of each of these, how many points right before it the attempt that replaced it has again, at
    equal values, being finite where the first was not; 0 where it differs or died as well."""

    def __len__(self) -> int:
        return len(self.steps)

    def at(self, i: int) -> Source:
        """The place of point ``i``."""
        line = None if self.lines is None else int(self.lines[i])
        return Source(self.source.path, line=line, tag=self.tag, step=int(self.steps[i]))


@dataclass(frozen=True, slots=True)
class LogEvent:
    """A discrete occurrence that a log states."""

    kind: str
    """One of :data:`EVENT_KINDS`."""
    text: str
    """One line that says it, from the log."""
    source: Source
    step: int | None = None
    """Step that the line itself names, or that the log stood at; see ``step_exact``."""
    step_exact: bool = False
    time: float | None = None
    rank: int | None = None
    data: Mapping[str, Scalar | tuple[str, ...]] = field(default_factory=dict)
    """What the line says, by name: ``scale_before``, ``scale_after``, ``keys``, ..."""


EVENT_KINDS: Mapping[str, str] = {
    "overflow-skipped": "A loss scaler found a non-finite gradient and skipped the step. "
    "data: scale_before, scale_after (absent when the line does not say).",
    "loss-scale-minimum": "The loss scaler gave up at its minimum.",
    "weights-newly-initialized": "Parameters were not in the checkpoint that was loaded. "
    "data: keys (tuple), count, checkpoint, model_class.",
    "weights-not-used": "The checkpoint held keys that the model does not have. "
    "data: keys (tuple), count, checkpoint, model_class.",
    "weights-mismatched": "A checkpoint tensor had another shape. data: keys, count.",
    "nonfinite-text": "The program itself says that something is NaN or Inf. "
    "data: value (nan|inf), quantity (logits, loss, gradient, ...), layer when it names one.",
    "magnitude-near-limit": "The program names a magnitude beside float16's maximum. "
    "data: value, layer when it names one.",
    "backward-nonfinite": "Anomaly mode names a backward function. data: function.",
    "sampling-assert": "Sampling from probabilities that are NaN, Inf or negative.",
    "run-started": "The program says that training starts. data: model, total_steps.",
    "run-resumed": "The program says that it resumes. data: checkpoint, step, epoch.",
    "rate-set": "The program says that it sets the learning rate. data: value, before (where it "
    "says so).",
    "weights-loaded": "The program says that it loads weights. data: checkpoint.",
    "checkpoint-damaged": "The program says that a file of weights is not what it should be.",
    "state-not-restored": "The program says that state beside the weights was not restored.",
    "weights-of-another": "The program says that the weights were made for another model.",
    "embeddings-resized": "The program says that a vocabulary grew; not what new rows hold.",
    "level-stated": "The program says which loss the source of its weights had. data: tag, value.",
    "saved-elsewhere": "The program says that other code, or another number of devices, saved what "
    "it resumes from.",
    "run-finished": "The program says that training is complete.",
    "checkpoint-saved": "data: checkpoint.",
    "traceback": "A Python exception ended something. data: exception, message.",
    "out-of-memory": "Memory ran out.",
    "hardware-error": "XID, ECC or NCCL hardware lines.",
    "step-rerun": "The program computed a step again from the same state. data: reproducible.",
    "replicas-differ": "Parameters that should be equal on all ranks are not, says the program; "
    "rank: the one that is alone.",
    "host-named": "The machine on which the attempt runs. data: host.",
    "stage-changed": "The program says that it goes on with another stage, curriculum or data set.",
    "labels-mismatch": "A sample's labels were all masked, says the program.",
    "empty-sequence": "The program says that a text is empty, or that a row has nothing to attend.",
    "absurd-parameter": "The program prints a parameter's magnitude that no initializer gives.",
    "zero-parameter": "The program prints, before its metrics, a matrix of zeros. data: layer.",
    "odd-sample": "The program says that a sample is unreadable, constant or out of range.",
}


@dataclass(frozen=True, slots=True)
class ConfigRecord:
    """Settings that one artifact states."""

    kind: str
    """``deepspeed``, ``model``, ``training``, ``wandb``, ``adapter``, ..."""
    values: Mapping[str, Scalar]
    """Flat: dotted path to scalar. List elements by number (``betas.0``)."""
    source: Source


@dataclass(frozen=True, slots=True)
class EnvironmentRecord:
    """What one artifact says of the machine and the software."""

    source: Source
    packages: Mapping[str, str] = field(default_factory=dict)
    """PEP 503 normalized name to version, local part kept (``2.1.0+cu118``)."""
    facts: Mapping[str, str] = field(default_factory=dict)
    """``python``, ``os``, ``gpu``, ``gpu_count``, ``cuda``, ``command``, ``program``, ``host``,
    ``username``, ..."""


@dataclass(frozen=True, slots=True)
class BadRows:
    """In which rows (indices of the first dimension) a tensor's non-finite elements lie."""

    count: int
    """Rows that hold at least one."""
    ranges: tuple[tuple[int, int], ...]
    """(first, past the last) of each run of neighboring rows, at most 16 runs."""
    whole: bool
    """Every element of each of these rows is non-finite."""


@dataclass(frozen=True, slots=True)
class TensorHealth:
    """Counts over one tensor's elements. Magnitudes are over its finite elements.

    What only a ``full`` measurement tells is ``None`` after a ``finite`` one.
    """

    name: str
    dtype: str
    """In safetensors spelling: F32, BF16, F16, F8_E4M3, I64, ..."""
    shape: tuple[int, ...]
    nan: int
    pos_inf: int
    neg_inf: int
    zero: int | None
    max_abs: float | None
    """Largest finite magnitude; ``None`` when no element is finite or there is none."""
    rms: float | None
    """Root mean square of the finite elements."""
    format_max: float | None
    """Largest finite value that the dtype holds; ``None`` for integers."""
    first_nonfinite: tuple[int, ...] | None
    """Unravelled index of the first NaN or Inf in row-major order."""
    path: str
    """Relative path of the file that holds it; of several, that of the first non-finite element."""
    subnormal: int | None = None
    """Elements that are not zero and smaller than the format's smallest normal number."""
    min_abs: float | None = None
    """Smallest magnitude that is not zero; ``None`` also when there is none."""
    bad_rows: BadRows | None = None
    """Of a tensor with two dimensions or more that holds non-finite elements."""
    part: Part = "parameter"
    parameter: str | None = None
    """Name of the parameter that an optimizer's tensor belongs to, where it is known."""
    moment: str | None = None
    """Of optimizer state: ``exp_avg``, ``exp_avg_sq``, ..."""
    rank: int | None = None
    """Rank whose file holds the first non-finite element, where the artifact tells ranks."""
    depth: Depth = "full"

    @property
    def numel(self) -> int:
        """Number of elements."""
        count = 1
        for size in self.shape:
            count *= size
        return count

    @property
    def nonfinite(self) -> int:
        """NaN, +Inf and -Inf together."""
        return self.nan + self.pos_inf + self.neg_inf

    @property
    def all_zero(self) -> bool:
        """Every element is zero (and there is at least one)."""
        if self.depth == "finite":
            return self.max_abs == 0.0 and not self.nonfinite
        return self.numel > 0 and self.zero == self.numel

    @property
    def headroom(self) -> float | None:
        """Format maximum over largest magnitude: how much larger it could grow."""
        if self.format_max is None or not self.max_abs:
            return None
        return self.format_max / self.max_abs

    @property
    def fp16_headroom(self) -> float | None:
        """How much larger it could grow if it were cast to float16; below 1 it overflows."""
        if self.format_max is None or not self.max_abs:
            return None
        return 65504.0 / self.max_abs

    def at(self) -> Source:
        """The place of the first non-finite element, or of the tensor."""
        return Source(self.path, tensor=self.name, index=self.first_nonfinite)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The tensors that were saved at one moment."""

    path: str
    """Relative path of its file, or of the directory that holds its shards."""
    kind: str
    """Container format: ``safetensors``, ..."""
    step: int | None
    """From a directory or file name, or from metadata; ``None`` when nothing says."""
    tensors: tuple[TensorHealth, ...]
    holds: Holds = "model"
    missing: tuple[str, ...] = ()
    """Names of tensors that should be there and could not be read."""
    state: Mapping[str, Scalar] = field(default_factory=dict)
    """Numbers stated beside the tensors: see :class:`StoredCheckpoint`."""
    depth: Depth | None = "full"
    """How far its tensors were measured; ``None``: not at all, and ``tensors`` is empty."""
    inferred: str = ""
    """Of a checkpoint that was not measured: what is inferred of it, and from which others."""

    @property
    def nonfinite(self) -> tuple[TensorHealth, ...]:
        """The tensors that hold a NaN or Inf."""
        return tuple(t for t in self.tensors if t.nonfinite)


Record: TypeAlias = (
    Series
    | LogEvent
    | ConfigRecord
    | EnvironmentRecord
    | StoredCheckpoint
    | Checkpoint
    | Problem
    | Skipped
)


@dataclass(frozen=True, slots=True)
class Reading:
    """All that came of one artifact."""

    artifact: Artifact
    records: tuple[Record, ...]
    problems: tuple[Problem, ...]
    skipped: str | None = None
    digest: str | None = None
    """``sha256:<hex>`` of the content, or ``sha256-ends:<hex>`` of size, first and last MiB."""

    @property
    def status(self) -> ArtifactStatus:
        """``read``, ``partly-read`` (there were problems) or ``skipped``."""
        if self.skipped is not None:
            return "skipped"
        return "partly-read" if self.problems else "read"


# --- align ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Fact:
    """One canonical setting, with the place that says so."""

    value: Scalar
    source: Source


@dataclass(frozen=True, slots=True)
class Package:
    """A library version, where it was read, and what other artifacts say instead."""

    name: str
    version: str
    source: Source
    conflicts: tuple[tuple[str, Source], ...] = ()


@dataclass(frozen=True, slots=True)
class ArtifactReport:
    """One artifact as the report lists it."""

    path: str
    kind: str
    bytes: int
    status: ArtifactStatus
    problems: tuple[str, ...] = ()
    digest: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """Everything that was read, on one step axis."""

    path: str
    """The run directory as the user gave it."""
    artifacts: tuple[ArtifactReport, ...]
    series: tuple[Series, ...]
    """With role and layer; each sorted by step, one point a step (the last attempt wins)."""
    events: tuple[LogEvent, ...]
    checkpoints: tuple[Checkpoint, ...]
    """In order of their step; those without a step last."""
    config: Mapping[str, Fact]
    """Every setting under ``<kind>.<dotted path>``."""
    facts: Mapping[str, Fact]
    """Canonical facts, derived once: see :mod:`nanautopsy.facts`."""
    packages: Mapping[str, Package]
    environment: Mapping[str, Fact]
    notes: tuple[str, ...] = ()
    """Ambiguities, stated: which steps were guessed, which attempts overlap."""

    def by_role(self, *roles: SeriesRole) -> tuple[Series, ...]:
        """The series that have one of the roles."""
        return tuple(s for s in self.series if s.role in roles)

    def events_of(self, *kinds: str) -> tuple[LogEvent, ...]:
        """The log events of these kinds, in order of reading."""
        return tuple(e for e in self.events if e.kind in kinds)


# --- detect -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Finding:
    """What a detector observed: what, when, where. It names no cause."""

    id: str
    """The observation, as detectors name it: ``nonfinite-loss``, ``loss-scale-collapse``, ..."""
    text: str
    source: Source
    step: int | None = None
    """First step at which it was seen."""
    last_good: int | None = None
    """Last step at which the same quantity was seen and was fine."""
    layer: str | None = None
    role: FindingRole = "context"
    """Given after the onset is known: what follows the onset is cascade."""
    data: Mapping[str, Scalar | tuple[str, ...]] = field(default_factory=dict)


# --- onset ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Onset:
    """The first non-finite step and layer."""

    step: int | None
    """First step at which it was seen; ``None`` when only an artifact without a step shows it."""
    last_finite: int | None
    quantity: str
    """loss, grad_norm, eval_loss, parameters, activations, logits, ..."""
    value: NonFinite
    persistent: bool
    """Whether it stayed non-finite to the end of what was logged."""
    layer: str | None
    layers: tuple[str, ...]
    """First non-finite layers, earliest first; empty when the artifacts cannot tell."""
    rank: int | None
    masked: bool
    """The logged loss hid it (0.0 or a running mean instead of NaN)."""
    how: str
    """How this is known, and how far, in a sentence."""
    source: Source
    axis: Axis = "step"
    """What ``step`` counts, where no artifact states steps."""


# --- assess and diagnose ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Evidence:
    """A quotable fact for or against a cause."""

    supports: bool
    """True: for the cause; False: against it."""
    strength: float
    """Log-odds, always positive; named in :mod:`nanautopsy.thresholds`."""
    text: str
    source: Source


@dataclass(frozen=True, slots=True)
class Assessment:
    """What one cause's rule says of the run."""

    status: AssessmentStatus
    evidence: tuple[Evidence, ...] = ()
    reason: str = ""
    """Why it is quiet, not applicable or failed."""
    remedies: tuple[str, ...] = ()
    """Advice for this run, before the cause's general remedies."""
    references: tuple[str, ...] = ()
    title: str = ""
    """What happened in this run, where that says more than the cause's own title."""


@dataclass(frozen=True, slots=True)
class RankedCause:
    """A cause with its place among the others."""

    id: str
    title: str
    probability: float
    """0 to 1, after competition with the rival causes and with *something else*."""
    status: AssessmentStatus
    evidence: tuple[Evidence, ...]
    remedies: tuple[str, ...]
    references: tuple[str, ...]
    reason: str = ""


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    """One line of the run's story."""

    step: int | None
    time: float | None
    text: str
    source: Source


@dataclass(frozen=True, slots=True)
class MissingEvidence:
    """Something that could not be seen, and how to see it next time."""

    what: str
    why_it_matters: str
    how_to_collect: str
    experiment: bool = False
    """To be tried, to tell causes apart, instead of something that was not kept."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """Which evidence was available."""

    seen: tuple[str, ...]
    missing: tuple[MissingEvidence, ...]


@dataclass(frozen=True, slots=True)
class Quote:
    """Consecutive lines of one text artifact, around what the result cites."""

    path: str
    """Path of the artifact, as in :class:`Source`."""
    first: int
    """Number of the first line."""
    lines: tuple[str, ...]
    """Without their ends and without terminal escapes; a long one is cut, and ends with ``…``."""
    cited: tuple[int, ...]
    """Numbers of the lines that are cited, ascending."""
    onset: int | None = None
    """Number of the line that shows the first bad step, when it is one of these."""


@dataclass(frozen=True, slots=True, eq=False)
class Autopsy:
    """The finished result: all that a renderer sees."""

    run: Run
    verdict: Verdict
    headline: str
    """One sentence: what died, when, where."""
    onset: Onset | None
    causes: tuple[RankedCause, ...]
    """Fired, at or above the floor, most probable first; empty means undetermined."""
    considered: tuple[RankedCause, ...]
    """Every other cause, with the reason why it is not in ``causes``."""
    findings: tuple[Finding, ...]
    timeline: tuple[TimelineEntry, ...]
    coverage: Coverage
    version: str
    """nanautopsy's own."""
    quotes: tuple[Quote, ...] = ()
    """Lines of the text artifacts, in order of artifact and line; bounded, see
    :mod:`nanautopsy.quotes`."""
    hidden: Mapping[str, int] = field(default_factory=dict)
    """How many distinct things were hidden, by their kind: see :data:`nanautopsy.redact.KINDS`."""

    @property
    def failed(self) -> bool:
        """Whether the run is non-finite or diverged."""
        return self.verdict in ("non-finite", "diverged")

    def _repr_html_(self) -> str:
        """The report in a notebook: in a frame of its own, which reaches nothing around it."""
        from html import escape

        from nanautopsy.render.html import render

        return (
            f'<iframe srcdoc="{escape(render(self))}" sandbox="allow-scripts" '
            'title="nanautopsy report" width="100%" height="800" style="border: 0"></iframe>'
        )
