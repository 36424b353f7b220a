"""Parameters that nothing ever initialized: they hold what the memory held before.

What happens: ``torch.empty`` and ``resize_`` reserve memory and fill nothing in. Whatever stood
there becomes weights: zeros if one is lucky, else NaN patterns, 1e38 or subnormal dust. It
happens to rows that a resized embedding gained, to keys that a checkpoint lacked and that no
initializer covers, to shards that were never filled from rank 0.

Evidence for: the first checkpoint is non-finite only in new rows, in whole tensors, or only in the
keys that the library listed as newly initialized; torch says that a parameter stayed on the meta
device; the program prints a parameter that is non-finite or absurd before training, or a curve of
its size begins so; absurd magnitudes in one of those, in a tensor that an earlier file holds
smaller and ordinary, or huge ones beside tiny ones; a vocabulary grew, no word of what the new rows
hold, and nothing finite was ever seen; only ranks other than 0 are affected; it is non-finite from
the first step on.

Evidence against: training was finite for long with these weights; the damage is all over; the
new keys are a head whose values are ordinary; the file was damaged, or another model's.

Confirm: load the model, train nothing, and ask every parameter ``isfinite().all()``.

Fix: initialize the new rows or keys explicitly (``nn.init``), cover the module in
``_init_weights``, or load a checkpoint that has them.
"""

from __future__ import annotations

import re

from nanautopsy import thresholds
from nanautopsy.causes._start import from_before, weigh_time
from nanautopsy.causes._unfilled import are_unfilled_rows, are_unread, weigh_own, weigh_resized
from nanautopsy.causes.interface import Case, Cause, Need, Weighing, quiet
from nanautopsy.detectors.absurd_curves import has_parameter_sizes
from nanautopsy.detectors.load_report import keys_of
from nanautopsy.known_issues.match import possible
from nanautopsy.model import Assessment, Finding, LogEvent, Run
from nanautopsy.places import is_before_training
from nanautopsy.wording import phrase


def _assess(case: Case) -> Assessment:
    weighing = Weighing()
    new = {k for e in case.run.events_of("weights-newly-initialized") for k in keys_of(e)}
    for finding in case.found("nonfinite-parameters"):
        if finding.data.get("first_checkpoint"):
            _weigh_damage(case, finding, new, weighing)
            break
    for finding in case.found("absurd-weight"):
        within = _within(finding, new)
        if finding.data.get("few") and not within:
            continue
        # Of a run that trained, huge numbers beside tiny ones may be its own.
        garbage = finding.data.get("garbage") and from_before(case, finding.step)
        told = within or _is_grown(finding) or garbage
        weighing.speaks_for(
            thresholds.STRONG if told else thresholds.MODERATE,
            _absurd_text(finding, within),
            finding.source,
        )
        break
    _weigh_statement(case, new, weighing)
    _weigh_curve(case, weighing)
    weigh_resized(case, weighing)
    weigh_own(case, weighing)
    for event in case.run.events_of("weights-newly-initialized"):
        if event.data.get("meta"):
            weighing.speaks_for(
                thresholds.STRONG,
                phrase("a parameter without memory was not filled: {line}", line=event.text),
                event.source,
            )
            break
    if not weighing.evidence:
        return quiet(
            phrase(
                "no parameter of the first checkpoint is non-finite or absurd in its new part alone"
            )
        )
    _weigh_other_model(case, weighing)
    if not _only_rows(case) and not are_unfilled_rows(case):
        weigh_time(case, weighing)
    _weigh_defect(case, weighing)
    return weighing.fired()


def _statements(run: Run) -> list[LogEvent]:
    """What the program says of parameters, non-finite or absurd, before it trained."""
    said = run.events_of("nonfinite-text", "absurd-parameter")
    return [
        e
        for e in said
        if e.kind == "absurd-parameter" or _is_of_parameter(e)
        if is_before_training(run, e) or _BEFORE.search(e.text)
    ]


_BEFORE = re.compile(
    r"\b(?:before|prior to|at|on) (?:the )?(?:fit(?:ting)?|train(?:ing)?|first step|step 0"
    r"|start|init\w*|load\w*)\b"
    r"|\bafter (?:the )?(?:load|init|resiz|restor|build|construct|convers|materializ)\w*",
    re.IGNORECASE,
)
"""Words that say that no step had been made."""
_PARAMETER = re.compile(r"(?:^|[./])(?:\w*_)?(?:weight|bias|kernel|embedding|scale)$")
_OF_OTHERS = re.compile(r"grad|output|activ|input", re.IGNORECASE)


def _is_of_parameter(event: LogEvent) -> bool:
    """Whether what is said to be non-finite is a parameter, by its name where nothing else says."""
    quantity, layer = event.data.get("quantity"), event.data.get("layer")
    if quantity in (None, "tensor", "value") and isinstance(layer, str):
        return bool(_PARAMETER.search(layer)) and not _OF_OTHERS.search(event.text)
    return quantity == "parameters"


def _weigh_statement(case: Case, new: set[str], weighing: Weighing) -> None:
    """A parameter that the program found bad before it trained."""
    said = _statements(case.run)
    if not said:
        return
    event = said[0]
    if str(event.data.get("layer") or "") in new:
        weighing.speaks_for(
            thresholds.DECISIVE,
            phrase("{line}: it was newly initialized", line=event.text),
            event.source,
        )
    else:
        loaded = bool(case.run.events_of("weights-loaded", "run-resumed"))
        weighing.speaks_for(
            thresholds.WEAK if loaded else thresholds.STRONG,
            phrase("before training: {line}", line=event.text),
            event.source,
        )
    ranks = {e.rank for e in said} - {None}
    if ranks and 0 not in ranks:
        weighing.speaks_for(
            thresholds.MODERATE,
            phrase("rank 0, from which the others are filled, is not among them"),
            event.source,
        )


def _weigh_curve(case: Case, weighing: Weighing) -> None:
    """A logged size of parameters that is absurd where the curves begin."""
    for finding in case.found("absurd-start")[:1]:
        weighing.speaks_for(thresholds.STRONG, finding.text, finding.source)


_TABLE = re.compile(r"emb|wte|(^|[._/])(tok\w*|vocab\w*)([._/]|$)", re.IGNORECASE)
_GROWN = re.compile(_TABLE.pattern + r"|lm_head|classifier|score|(^|[._/])head([._/]|$)", re.I)


def _is_grown(finding: Finding) -> bool:
    """Tables and heads are what gains rows, or is added, after an initializer ran; a table and the
    head of the same vocabulary gain them together."""
    if finding.data.get("grown") or (finding.data.get("one_count") and finding.step == 0):
        return True
    return finding.layer is not None and bool(_GROWN.search(finding.layer))


def _absurd_text(finding: Finding, within: bool) -> str:
    if finding.data.get("grown"):
        return phrase("{finding}; a smaller one was ordinary", finding=finding.text)
    if within:
        return phrase("{finding}, and it was newly initialized", finding=finding.text)
    return finding.text


def _weigh_damage(case: Case, finding: Finding, new: set[str], weighing: Weighing) -> None:
    rows = finding.data.get("rows")
    if finding.data.get("everything"):
        return
    if _within(finding, new):
        weighing.speaks_for(
            thresholds.DECISIVE,
            phrase(
                "{finding}: just the parameters that were newly initialized", finding=finding.text
            ),
            finding.source,
        )
    elif are_unread(case, finding):
        weighing.speaks_for(
            thresholds.DECISIVE,
            phrase(
                "of {layer} only {rows} are non-finite, throughout: the last ones, which training "
                "had not read up to then, since it went on finite behind them",
                layer=finding.layer,
                rows=rows,
            ),
            finding.source,
        )
    elif rows and finding.data.get("whole_rows") and finding.step == 0:
        weighing.speaks_for(
            thresholds.STRONG,
            phrase(
                "of {layer} only {rows} are non-finite, throughout, before training",
                layer=finding.layer,
                rows=rows,
            ),
            finding.source,
        )
    elif finding.data.get("throughout") and finding.step == 0:
        weighing.speaks_for(
            thresholds.MODERATE,
            phrase(
                "{finding}: whole tensors before training, and the others sound",
                finding=finding.text,
            ),
            finding.source,
        )
    rank = finding.data.get("rank")
    if isinstance(rank, int) and rank > 0 and finding.step == 0:
        weighing.speaks_for(
            thresholds.MODERATE,
            phrase("only rank {rank}'s part is non-finite", rank=rank),
            finding.source,
        )


def _weigh_other_model(case: Case, weighing: Weighing) -> None:
    """Blocks that have no place in the model, beside blocks that it lacks: it was given another
    model's file, and that parameters are new follows from it."""
    lacks = any(f.data.get("blocks") for f in case.found("newly-initialized"))
    for finding in case.found("weights-not-used")[:1]:
        if lacks and finding.data.get("blocks"):
            weighing.speaks_against(thresholds.MODERATE, finding.text, finding.source)
    for finding in case.found("base-renamed"):
        weighing.speaks_against(thresholds.MODERATE, finding.text, finding.source)
    for event in case.run.events_of("checkpoint-damaged")[:1]:
        weighing.speaks_against(
            thresholds.MODERATE,
            phrase("a file of weights was damaged: {line}", line=event.text),
            event.source,
        )


def _only_rows(case: Case) -> bool:
    """Whether only whole rows are damaged before training: those of an embedding are read when
    their token appears, which may be late, and what grew may have grown in the middle."""
    absurd = [f for f in case.found("absurd-weight") if not f.data.get("few")]
    if absurd and absurd[0].data.get("grown"):
        return True
    if absurd and absurd[0].step == 0 and absurd[0].layer and _TABLE.search(absurd[0].layer):
        return True
    damage = [f for f in case.found("nonfinite-parameters") if f.data.get("first_checkpoint")]
    if damage and are_unread(case, damage[0]):
        return True
    if not damage or damage[0].step != 0:
        return False
    return bool(damage[0].data.get("rows")) and bool(damage[0].data.get("whole_rows"))


def _within(finding: Finding, new: set[str]) -> bool:
    """Whether every tensor of the finding was newly initialized."""
    tensors = finding.data.get("tensors", ())
    return bool(new) and isinstance(tensors, tuple) and set(map(str, tensors)) <= new


def _weigh_defect(case: Case, weighing: Weighing) -> None:
    """A defect of the library that leaves parameters so says more than that they were left so."""
    for issue in possible(case):
        if issue.telling == "strong" and "newly-initialized" in issue.signature:
            weighing.speaks_against(
                thresholds.MODERATE,
                phrase(
                    "{package} {version} leaves them so by a known defect ({issue})",
                    package=issue.package,
                    version=case.run.packages[issue.package].version,
                    issue=issue.id,
                ),
                case.run.packages[issue.package].source,
            )
            return


def _can_tell(run: Run) -> bool:
    said = run.events_of("weights-newly-initialized")
    told = bool(_statements(run)) or any(e.data.get("meta") or e.data.get("table") for e in said)
    told = told or bool(run.events_of("embeddings-resized")) or has_parameter_sizes(run)
    return told or any(c.tensors for c in run.checkpoints)


CAUSE = Cause(
    id="uninitialized-params",
    title=phrase("parameters that were never initialized"),
    assess=_assess,
    needs=(Need(phrase("checkpoint"), _can_tell),),
    remedies=(
        phrase(
            "Initialize new rows and keys explicitly, and assert `isfinite` on every parameter "
            "before the first step."
        ),
        phrase("After `resize_token_embeddings`, set the new rows to the mean of the old ones."),
    ),
    references=(
        "https://github.com/huggingface/transformers/issues/35437",
        "https://github.com/huggingface/transformers/issues/45050",
        "https://github.com/allenai/longformer/issues/115",
    ),
)
