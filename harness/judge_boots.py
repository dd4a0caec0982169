# SPDX-License-Identifier: GPL-2.0
"""Judge guests that only had to boot and end."""

from .judgement import Cell, Judgement, Row, guest_findings
from .results import Results
from .topics import Topic
from .verdict import CaseResult, Outcome, Reason, Verdict


def judge_boots(results: Results, _: dict[str, Topic]) -> Judgement:
    """A row for each guest. The findings are remarks: the row counts them."""
    judgement = Judgement()
    for planned in results.planned:
        guest = results.guest(planned, with_tests=False)
        judgement.guests.append((planned, guest))
        findings = guest_findings(guest)
        judgement.remarks += [finding.text for finding in findings]
        verdict = guest.state
        if verdict is Verdict.PASS and findings:
            verdict = Verdict.SPLAT if guest.splats else Verdict.NO_RESULT
        outcome = results.outcome(Outcome.PASSED if verdict is Verdict.PASS else Outcome.FAILED, planned.name)
        reason = Reason.EXPECTED if verdict is Verdict.PASS else Reason.UNEXPECTED
        cell = Cell('state', planned.name, verdict, reason, CaseResult(verdict, reason))
        judgement.rows.append(Row('', f'boot {planned.name}', planned.arch, (cell,), outcome, verdict, reason))
    return judgement
