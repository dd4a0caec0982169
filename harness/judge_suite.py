# SPDX-License-Identifier: GPL-2.0
"""Judge the tree's own suite: a failure on the series is new if the base does not fail there.

With the guests of one variant only there is nothing to compare with, and every failure counts.
"""

from .judgement import Cell, Judgement, Row, guest_findings
from .results import Planned, Results
from .topics import Topic
from .verdict import CaseResult, Outcome, Reason, Verdict

ABSENT = CaseResult(Verdict.NO_RESULT, Reason.NOT_IN_GUEST, note='absent')


def compare(base: CaseResult | None, series: CaseResult | None) -> tuple[Outcome, Reason]:
    """The outcome of a case on the series, compared with the base. None is a case that a guest lacks."""
    if series is not None and not series.is_good:
        is_new = base is None or base.is_good
        return (Outcome.FAILED, Reason.NEW) if is_new else (Outcome.KNOWN, Reason.KNOWN)
    is_lost = series is None or series.verdict is Verdict.SKIP
    if base is not None and base.verdict is Verdict.PASS and is_lost:
        return Outcome.FAILED, Reason.NEW
    if series is None:
        return Outcome.KNOWN, Reason.KNOWN
    return alone(series)


def alone(result: CaseResult) -> tuple[Outcome, Reason]:
    """The outcome of a case that is compared with nothing."""
    if result.verdict is Verdict.PASS:
        return Outcome.PASSED, Reason.EXPECTED
    if result.verdict is Verdict.SKIP:
        return Outcome.SKIPPED, Reason.EXPECTED
    return Outcome.FAILED, Reason.UNEXPECTED


class SuiteJudge:
    """Judges out/result/kselftest."""

    def __init__(self, results: Results):
        self.results = results
        self.judgement = Judgement()

    def judge(self) -> Judgement:
        for planned in self.results.planned:
            guest = self.results.guest(planned)
            self.judgement.guests.append((planned, guest))
            self.judgement.add_findings(guest_findings(guest))
        variants = {planned.variant for planned in self.results.planned}
        for planned in self.results.planned:
            if {'base', 'series'} <= variants and planned.variant == 'series':
                self._compare(planned)
            elif not {'base', 'series'} <= variants:
                self._alone(planned)
        return self.judgement

    def _compare(self, planned: Planned) -> None:
        base_plan = self.results.find(planned.arch, 'base', planned.whats[0])
        base, series = self.results.guest(base_plan), self.results.guest(planned)
        for case in dict.fromkeys([*series.cases, *base.cases]):
            before, after = base.cases.get(case), series.cases.get(case)
            outcome, reason = compare(before, after)
            cells = (self._cell('base', base_plan, before or ABSENT), self._cell('series', planned, after or ABSENT))
            outcome = self.results.outcome(outcome, base_plan.name, planned.name)
            self.judgement.rows.append(Row('', case, planned.arch, cells, outcome, cells[1].verdict, reason))

    def _alone(self, planned: Planned) -> None:
        for case, result in self.results.guest(planned).cases.items():
            outcome, reason = alone(result)
            cell = self._cell(planned.variant, planned, result)
            outcome = self.results.outcome(outcome, planned.name)
            self.judgement.rows.append(Row('', case, planned.arch, (cell,), outcome, result.verdict, reason))

    @staticmethod
    def _cell(column: str, planned: Planned, result: CaseResult) -> Cell:
        return Cell(column, planned.name, result.verdict, result.reason, result)


def judge_suite(results: Results, _: dict[str, Topic]) -> Judgement:
    """Judge out/result/kselftest."""
    return SuiteJudge(results).judge()
