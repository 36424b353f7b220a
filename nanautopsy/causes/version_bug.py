"""A known defect of a library version.

What happens: some releases corrupt gradients, masks or weights under a certain configuration.
The catalog of such defects is data (nanautopsy/known_issues), each with the versions, the
configuration that it needs and the signature that it leaves.

Evidence for: the version is in the range, and the configuration is the one that it needs, and
the signature is seen. All three together; a version in range alone is context. So is a defect whose
settings and signature are too common to tell it from others; it is only mentioned.

Evidence against: another version; the configuration switches the defective path off; the
signature is not there.

Confirm: run a release outside the range, or switch off the setting that the defect needs.

Fix: upgrade or pin as the issue says.
"""

from __future__ import annotations

from nanautopsy import thresholds
from nanautopsy.causes.interface import Case, Cause, Need, Weighing, quiet
from nanautopsy.known_issues import KnownIssue, matches_version
from nanautopsy.known_issues.match import configured, in_range, possible, signature
from nanautopsy.model import Assessment
from nanautopsy.wording import phrase, shortlist


def _assess(case: Case) -> Assessment:
    best: tuple[float, Assessment] | None = None
    seen: list[str] = []
    for issue in in_range(case):
        version = case.run.packages[issue.package].version
        seen.append(f"{issue.package} {version} ({issue.id})")
        assessment = _assess_issue(case, issue)
        if assessment is not None:
            weight = sum(e.strength if e.supports else -e.strength for e in assessment.evidence)
            if best is None or weight > best[0]:
                best = weight, assessment
    if best is not None:
        return best[1]
    fitting = [issue.id for issue in possible(case)]
    if fitting:
        return quiet(
            phrase(
                "version and settings are those of {issues}, but what is seen has many "
                "other causes",
                issues=shortlist(fitting, _MOST_NAMES),
            )
        )
    if seen:
        return quiet(
            phrase(
                "in range of a known defect, but without its configuration or its signature: "
                "{seen}",
                seen=shortlist(seen, _MOST_NAMES),
            )
        )
    return quiet(phrase("no version that was read is in the range of a known defect"))


_MOST_NAMES = 4


def _assess_issue(case: Case, issue: KnownIssue) -> Assessment | None:
    """The defect's evidence when version, configuration and signature are all there."""
    if issue.telling == "context" or not configured(case, issue):
        return None
    mark = signature(case, issue)
    if mark is None:
        return None
    version, condition, shown = _STRENGTHS[issue.telling]
    package = case.run.packages[issue.package]
    weighing = Weighing()
    weighing.speaks_for(
        version if issue.status == "confirmed" else thresholds.WEAK,
        phrase(
            "{package} {version} is in the affected range {affected}",
            package=issue.package,
            version=package.version,
            affected=issue.affected,
        ),
        package.source,
    )
    for needed in issue.needed:
        fact = needed.met(case.run)
        if fact is not None:
            weighing.speaks_for(
                condition, phrase("the defect needs {needed}", needed=needed.text), fact.source
            )
    weighing.speaks_for(shown, phrase("its signature: {mark}", mark=mark.text), mark.source)
    for other, source in package.conflicts:
        if not matches_version(issue, other):
            weighing.speaks_against(
                thresholds.MODERATE,
                phrase(
                    "another artifact says {package} {other}", package=issue.package, other=other
                ),
                source,
            )
    title = phrase(
        "known defect of {package} {version}: {title}",
        package=issue.package,
        version=package.version,
        title=issue.title,
    )
    return weighing.fired(issue.remedies, issue.links, title)


_STRENGTHS = {
    "strong": (thresholds.MODERATE, thresholds.MODERATE, thresholds.STRONG),
    "moderate": (thresholds.WEAK, thresholds.WEAK, thresholds.MODERATE),
}
"""Of the version, of each condition and of the signature, by how telling these are together."""


CAUSE = Cause(
    id="version-bug",
    title=phrase("a known defect of a library version"),
    assess=_assess,
    needs=(Need(phrase("list of library versions"), lambda run: bool(run.packages)),),
    remedies=(phrase("Run once with a release outside the affected range to confirm."),),
    references=(),
)
