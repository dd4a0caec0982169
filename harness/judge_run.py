# SPDX-License-Identifier: GPL-2.0
"""Judge the series' own tests on base and series."""

import fnmatch
from collections.abc import Iterable

from .errors import HarnessError
from .expectations import Expectation, Tests, Want, read_tests
from .guest import Guest
from .judgement import Cell, Finding, Judgement, Row, guest_findings
from .results import COMMON, Planned, Results
from .sections import Fault
from .topics import Topic, check_topic
from .verdict import CaseResult, Outcome, Reason, Verdict


def compare_base(case: CaseResult, line: Expectation) -> tuple[Verdict, Reason]:
    """The verdict on a case on the base, compared with topics/*/tests. Reason.EXPECTED if it is as wanted."""
    # a line that says SKIP says nothing of the base
    if line.want is Want.SKIP or line.want is Want.RACE and case.verdict is Verdict.PASS:
        return case.verdict, Reason.EXPECTED
    if line.may_splat:
        if line.assertion_instead and case.failed_by(line.assertion_instead):
            return Verdict.FAIL, Reason.EXPECTED
        if case.verdict is not Verdict.SPLAT:
            return case.verdict, Reason.UNEXPECTED
        if not case.splat_has(line.splat):
            return case.verdict, Reason.OTHER_SPLAT
        return case.verdict, Reason.SPLAT_IN_SKIP if case.said is Verdict.SKIP else Reason.EXPECTED
    if line.want in (Want.FAIL, Want.RACE) and case.verdict is Verdict.FAIL:
        if case.failed_by(line.text):
            return Verdict.FAIL, Reason.EXPECTED
        return Verdict.NO_RESULT, Reason.OTHER_ASSERTION
    is_expected = case.verdict.value == line.want.value
    return case.verdict, Reason.EXPECTED if is_expected else Reason.UNEXPECTED


def unlisted_cases(lists: dict[str, list[str]], programs: Iterable[str], tests: Tests) -> list[Finding]:
    """Cases that a program has and topics/*/tests does not list, and patterns of `never:` that match none."""
    listed = {line.case for line in tests.expectations}
    found = []
    for program in sorted(set(programs)):
        if program not in lists:
            found.append(Finding('', f'{program}: no guest has listed its cases', Fault.ABSENT))
            continue
        names = [f'selftest:{program}.{name}' for name in lists[program]]
        never: set[str] = set()
        for pattern in [n.pattern for n in tests.never if n.program == program]:
            matched = fnmatch.filter(names, pattern)
            never.update(matched)
            if not matched or listed.intersection(matched):
                reason = 'a case that is listed' if matched else 'nothing'
                found.append(Finding('', f"'never: {pattern}' of topics/*/tests matches {reason}"))
        found += [Finding('', f'{name} is in the program and not in topics/*/tests')
                  for name in names if name not in listed and name not in never]
    return found


class RunJudge:
    """Judges out/result/FLAVOUR."""

    def __init__(self, results: Results, topics: dict[str, Topic]):
        self.results, self.request = results, results.request
        check_topic(topics, self.request.topic)
        self.tests = read_tests(topics)
        self.judgement = Judgement()
        self.guests: dict[str, tuple[Planned, Guest]] = {}
        self.ran: set[str] = set()          # the cases with a result that counts
        self.panicked: set[str] = set()     # the guests whose panic is the end of an expected splat

    def judge(self) -> Judgement:
        request = self.request
        lines = self.tests.select(request.flavour, request.topic, request.test)
        for line in lines:
            for arch in [arch for arch in line.archs if arch in request.archs]:
                self.judgement.rows.append(self._row(line, arch))
        if not self.judgement.rows:
            raise HarnessError(f"no test matches TEST='{request.test}' TOPIC='{request.topic}' on "
                               f"{' '.join(request.archs)}; see topics/*/tests")
        for planned in self.results.planned:
            self._guest(planned)
        self.judgement.guests = list(self.guests.values())
        self._find()
        return self.judgement

    def _guest(self, planned: Planned) -> Guest:
        if planned.name not in self.guests:
            self.guests[planned.name] = planned, self.results.guest(planned)
        return self.guests[planned.name][1]

    def _base_of(self, line: Expectation, arch: str) -> Planned:
        """KUnit tests cannot run on the plain base, and cases that may splat run apart from the others."""
        if line.may_splat:
            return self.results.find(arch, 'base', line.case)
        return self.results.find(arch, 'test' if line.is_kunit else 'base')

    def _row(self, line: Expectation, arch: str) -> Row:
        base_plan, series_plan = self._base_of(line, arch), self.results.find(arch, 'series')
        if line.want is Want.ABSENT:
            return self._absent_row(line, arch, series_plan)
        base, series = self._guest(base_plan).case(line.case), self._guest(series_plan).case(line.case)
        verdict, reason = compare_base(base, line)
        is_good = reason is Reason.EXPECTED
        if is_good and base.verdict is Verdict.SPLAT and line.spoils_guest and base_plan.whats == (line.case,):
            self.panicked.add(base_plan.name)
            if self._guest(base_plan).state is Verdict.PANIC:
                reason = Reason.THEN_PANIC
        outcome, notes = self._outcome(line, base, series, is_good)
        if outcome is Outcome.PASSED or outcome is Outcome.SKIPPED and line.want is Want.SKIP:
            self.ran.add(line.case)
        series_good = series.verdict.value == ('SKIP' if line.want is Want.SKIP else 'PASS')
        cells = (Cell('base', base_plan.name, verdict, reason, base),
                 Cell('series', series_plan.name, series.verdict,
                      Reason.EXPECTED if series_good or outcome is Outcome.SKIPPED else Reason.UNEXPECTED, series))
        decided = cells[0] if outcome is Outcome.FAILED and not is_good else cells[1]
        return Row(line.topic, line.case, arch, cells,
                   self.results.outcome(outcome, base_plan.name, series_plan.name),
                   decided.verdict, decided.reason, notes=notes)

    def _absent_row(self, line: Expectation, arch: str, planned: Planned) -> Row:
        """A case that base cannot have: no guest of base is looked at."""
        series = self._guest(planned).case(line.case)
        is_good = series.verdict is Verdict.PASS
        if is_good:
            self.ran.add(line.case)
        cells = (Cell('base', '', Verdict.NO_RESULT, Reason.NOT_ON_BASE, CaseResult(Verdict.NO_RESULT, Reason.NOT_ON_BASE)),
                 Cell('series', planned.name, series.verdict, Reason.EXPECTED if is_good else Reason.UNEXPECTED, series))
        outcome = Outcome.PASSED if is_good else Outcome.FAILED
        notes = () if is_good else ('series: want PASS' + (f'; {series.note}' if series.note else ''),)
        return Row(line.topic, line.case, arch, cells, self.results.outcome(outcome, planned.name), series.verdict,
                   cells[1].reason, notes=notes)

    @staticmethod
    def _outcome(line: Expectation, base: CaseResult, series: CaseResult, is_good: bool) -> tuple[Outcome, tuple[str, ...]]:
        """How a row counts, and the notes on it."""
        if line.want is Want.SKIP:
            if series.verdict is Verdict.SKIP:
                return Outcome.SKIPPED, (line.text,)
            return Outcome.FAILED, (f'series: want SKIP, {line.text}',)
        if base.verdict is Verdict.SKIP and series.verdict is Verdict.SKIP:
            return Outcome.SKIPPED, (series.note,)
        if is_good and series.verdict is Verdict.PASS:
            return Outcome.PASSED, ()
        notes = []
        if not is_good:
            by = f" by '{line.text}'" if line.text else ''
            notes.append(f'base: want {line.want.value}{by}' + (f'; {base.note}' if base.note else ''))
        if series.verdict is not Verdict.PASS:
            notes.append('series: want PASS' + (f'; {series.note}' if series.note else ''))
        return Outcome.FAILED, tuple(notes)

    def _find(self) -> None:
        """The faults that belong to no row."""
        judgement, request = self.judgement, self.request
        lists: dict[str, list[str]] = {}
        for planned, guest in self.guests.values():
            wanted = frozenset(w for w in planned.whats if w != COMMON)
            findings = guest_findings(guest, wanted=wanted)
            if planned.name in self.panicked:
                findings = [f for f in findings if f.state is not Verdict.PANIC]
            judgement.add_findings(findings)
            for program, names in guest.lists.items():
                lists[program] = list(dict.fromkeys([*lists.get(program, []), *names]))
        programs = {row.case.partition(':')[2].partition('.')[0] for row in judgement.rows
                    if row.case.startswith('selftest:')}
        judgement.add_findings(unlisted_cases(lists, programs, self.tests))
        judgement.add_findings(self._always_skipped())
        judgement.add_findings(self._only_on_series())
        judgement.add_findings(self._unlisted_results(self.tests.of_flavour(request.flavour)))

    def _always_skipped(self) -> list[Finding]:
        """A case that is skipped in every guest tests nothing, unless topics/*/tests expects that."""
        rows: dict[str, list[Row]] = {}
        for row in self.judgement.rows:
            rows.setdefault(row.case, []).append(row)
        return [Finding('', f'{name} was skipped in every guest') for name, here in rows.items()
                if name not in self.ran and all(r.cell('series').result.verdict is Verdict.SKIP for r in here)]

    def _only_on_series(self) -> list[Finding]:
        """guest/splats is for complaints of the base: a rule that matches on the series alone hides a bug."""
        found = []
        for planned, guest in self.guests.values():
            if planned.variant != 'series':
                continue
            on_base = set().union(*(g.allowed for p, g in self.guests.values()
                                    if p.arch == planned.arch and p.variant in ('base', 'test')))
            found += [Finding(guest.name, f"{guest.name}: '{rule}' of guest/splats does not happen on base")
                      for rule in sorted(guest.allowed - on_base)]
        return found

    def _unlisted_results(self, lines: list[Expectation]) -> list[Finding]:
        """A case that ran, of a suite or fixture that has listed cases there."""
        listed = {(arch, line.case) for line in lines for arch in line.archs}
        groups = {(arch, case.rsplit('.', 1)[0]) for arch, case in listed}
        return [Finding(guest.name, f'{guest.name}: {case} ran and is not in topics/*/tests')
                for planned, guest in self.guests.values() for case in guest.cases
                if (planned.arch, case) not in listed and (planned.arch, case.rsplit('.', 1)[0]) in groups]


def judge_run(results: Results, topics: dict[str, Topic]) -> Judgement:
    """Judge out/result/FLAVOUR."""
    return RunJudge(results, topics).judge()
