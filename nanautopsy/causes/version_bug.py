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
from nanautopsy.known_issues import KnownIssue, load, matches_version
from nanautopsy.model import Assessment, Finding
from nanautopsy.onset import at_first_steps


def _assess(case: Case) -> Assessment:
    best: tuple[float, Assessment] | None = None
    in_range: list[str] = []
    for issue in case.known_issues or load():
        package = case.run.packages.get(issue.package)
        if package is None or not matches_version(issue, package.version):
            continue
        in_range.append(f"{issue.package} {package.version} ({issue.id})")
        assessment = _assess_issue(case, issue)
        if assessment is not None:
            weight = sum(e.strength if e.supports else -e.strength for e in assessment.evidence)
            if best is None or weight > best[0]:
                best = weight, assessment
    if best is not None:
        return best[1]
    if in_range:
        return quiet(
            "in range of a known defect, but its configuration or its signature is not there, or "
            "they have many other causes: " + ", ".join(in_range)
        )
    return quiet("no version that was read is in the range of a known defect")


def _assess_issue(case: Case, issue: KnownIssue) -> Assessment | None:
    """The defect's evidence when version, configuration and signature are all there."""
    if issue.telling == "context" or any(c.refused(case.run) for c in issue.conditions):
        return None
    signature = _signature(case, issue)
    if signature is None:
        return None
    version, condition, mark = _STRENGTHS[issue.telling]
    package = case.run.packages[issue.package]
    weighing = Weighing()
    weighing.speaks_for(
        version if issue.status == "confirmed" else thresholds.WEAK,
        f"{issue.package} {package.version} is in the affected range {issue.affected}",
        package.source,
    )
    for needed in issue.needed:
        fact = needed.met(case.run)
        if fact is not None:
            weighing.speaks_for(condition, f"the defect needs {needed.text}", fact.source)
    weighing.speaks_for(mark, f"its signature: {signature.text}", signature.source)
    for other, source in package.conflicts:
        if not matches_version(issue, other):
            weighing.speaks_against(
                thresholds.MODERATE, f"another artifact says {issue.package} {other}", source
            )
    title = f"known defect of {issue.package} {package.version}: {issue.title}"
    return weighing.fired(issue.remedies, issue.links, title)


_STRENGTHS = {
    "strong": (thresholds.MODERATE, thresholds.MODERATE, thresholds.STRONG),
    "moderate": (thresholds.WEAK, thresholds.WEAK, thresholds.MODERATE),
}
"""Of the version, of each condition and of the signature, by how telling these are together."""


def _signature(case: Case, issue: KnownIssue) -> Finding | None:
    """A finding of the defect's signature, where the onset is as the defect makes it."""
    if not _onset_fits(case, issue):
        return None
    there = {f.id for f in case.findings}
    if not there.issuperset(issue.also) or not there.isdisjoint(issue.without):
        return None
    # The signature may unfold over the first steps after the onset (grad norm, then loss).
    found = [f for f in case.findings if f.id in issue.signature]
    if issue.one_rank:
        found = [f for f in found if isinstance(f.data.get("rank"), int)]
    return found[0] if found else None


def _onset_fits(case: Case, issue: KnownIssue) -> bool:
    onset = case.onset
    if onset is None:
        return False
    if issue.after_good_steps:
        if onset.last_finite is None or onset.last_finite < issue.after_good_steps:
            return False
    if issue.within_first_steps and not at_first_steps(case.run, onset):
        return False
    if issue.quantity and onset.quantity not in issue.quantity:
        return False
    return issue.value is None or onset.value == issue.value


CAUSE = Cause(
    id="version-bug",
    title="a known defect of a library version",
    assess=_assess,
    needs=(Need("list of library versions", lambda run: bool(run.packages)),),
    remedies=("Run once with a release outside the affected range to confirm.",),
    references=(),
)
