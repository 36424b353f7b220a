"""A known defect of a library version.

What happens: some releases corrupt gradients, masks or weights under a certain configuration.
The catalog of such defects is data (nanautopsy/known_issues), each with the versions, the
configuration that it needs and the signature that it leaves.

Evidence for: the version is in the range, and the configuration is the one that it needs, and
the signature is seen. All three together; a version in range alone is context.

Evidence against: another version; the configuration switches the defective path off; the
signature is not there.

Confirm: run a release outside the range, or switch off the setting that the defect needs.

Fix: upgrade or pin as the issue says.
"""

from __future__ import annotations

from nanautopsy import thresholds
from nanautopsy.causes.interface import Case, Cause, Need, Weighing, quiet
from nanautopsy.known_issues import Condition, KnownIssue, load, matches_version
from nanautopsy.model import Assessment, Fact, Finding
from nanautopsy.onset import at_first_steps


def _assess(case: Case) -> Assessment:
    best: tuple[float, Assessment] | None = None
    in_range: list[str] = []
    for issue in load():
        package = case.run.packages.get(issue.package)
        if package is None or not matches_version(issue, package.version):
            continue
        in_range.append(f"{issue.package} {package.version} ({issue.id})")
        assessment = _assess_issue(case, issue)
        if assessment is not None:
            weight = sum(e.strength for e in assessment.evidence)
            if best is None or weight > best[0]:
                best = weight, assessment
    if best is not None:
        return best[1]
    if in_range:
        return quiet(
            "in range of a known defect, but without its configuration or its signature: "
            + ", ".join(in_range)
        )
    return quiet("no version that was read is in the range of a known defect")


def _assess_issue(case: Case, issue: KnownIssue) -> Assessment | None:
    """The defect's evidence when version, configuration and signature are all there."""
    stated = [(condition, _stated(case, condition)) for condition in issue.conditions]
    signature = _signature(case, issue)
    if signature is None or any(fact is None for _, fact in stated):
        return None
    package = case.run.packages[issue.package]
    weighing = Weighing()
    weighing.speaks_for(
        thresholds.MODERATE,
        f"{issue.package} {package.version} is in the affected range {issue.affected}",
        package.source,
    )
    for condition, fact in stated:
        if fact is not None:
            weighing.speaks_for(
                thresholds.MODERATE, f"the defect needs {condition.text}", fact.source
            )
    weighing.speaks_for(thresholds.STRONG, f"its signature: {signature.text}", signature.source)
    for other, source in package.conflicts:
        if not matches_version(issue, other):
            weighing.speaks_against(
                thresholds.MODERATE, f"another artifact says {issue.package} {other}", source
            )
    title = f"known defect of {issue.package} {package.version}: {issue.title}"
    return weighing.fired(issue.remedies, issue.links, title)


def _stated(case: Case, condition: Condition) -> Fact | None:
    fact = case.fact(condition.fact)
    return fact if fact is not None and condition.holds(fact.value) else None


def _signature(case: Case, issue: KnownIssue) -> Finding | None:
    """A finding of the defect's signature, at the onset, after enough good steps."""
    onset = case.onset
    if onset is None:
        return None
    if issue.after_good_steps and not _trained_before(case, issue.after_good_steps):
        return None
    if issue.within_first_steps and not at_first_steps(case.run, onset):
        return None
    # The signature may unfold over the first steps after the onset (grad norm, then loss).
    found = [f for f in case.findings if f.id in issue.signature]
    return found[0] if found else None


def _trained_before(case: Case, steps: int) -> bool:
    onset = case.onset
    return onset is not None and onset.last_finite is not None and onset.last_finite >= steps


CAUSE = Cause(
    id="version-bug",
    title="a known defect of a library version",
    assess=_assess,
    needs=(Need("list of library versions", lambda run: bool(run.packages)),),
    remedies=("Run once with a release outside the affected range to confirm.",),
    references=(),
)
