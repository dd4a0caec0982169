# SPDX-License-Identifier: GPL-2.0
"""Judge mutants: each must be caught by every case that its patch names, in the way that it names."""

from .errors import HarnessError
from .guest import Guest
from .judgement import Cell, Finding, Judgement, Row, guest_findings
from .mutants import CaughtBy, Mutant, other_flavours, select_mutants
from .results import Planned, Results
from .topics import Topic
from .verdict import CaseResult, Outcome, Reason, Verdict

CAUGHT = (Reason.CAUGHT, Reason.CAUGHT_BY_KERNEL, Reason.CAUGHT_THEN_PANIC, Reason.CAUGHT_AT_BOOT)


def case_of(guest: Guest, name: str) -> CaseResult:
    """A case's result. A KUnit suite says nothing before its end: of a kernel that dies in it only the complaint is there."""
    case = guest.case(name)
    splats = [s for s in guest.splats if s.section == name.partition('.')[0]]
    if not name.startswith('kunit:') or case.reason is not Reason.NOT_REACHED or not splats:
        return case
    return CaseResult(Verdict.SPLAT, Reason.KERNEL_SPLAT, splat=splats[0].message, note=splats[0].line)


def judge_boot(line: CaughtBy, guest: Guest, clean: CaseResult) -> tuple[Verdict, Reason]:
    """Did the kernel say the text as it booted, whether the guest got to the case or panicked before it?"""
    state, first = guest.state, guest.splats[0] if guest.splats else None
    if clean.verdict is not Verdict.PASS:
        return Verdict.NO_RESULT, Reason.CLEAN_NOT_PASSED
    if state not in (Verdict.PASS, Verdict.PANIC):
        return state, Reason.NOT_REACHED
    if first and first.section is None and line.text in first.message:
        return state if state is Verdict.PANIC else Verdict.SPLAT, Reason.CAUGHT_AT_BOOT
    if state is Verdict.PANIC:
        return state, Reason.NOT_REACHED
    return (Verdict.SPLAT, Reason.OTHER_SPLAT) if first else (Verdict.PASS, Reason.SURVIVED)


def judge_catch(line: CaughtBy, guest: Guest, clean: CaseResult, case: CaseResult) -> tuple[Verdict, Reason]:
    """Did the case catch the mutant? guest is the mutant's, clean the case without a mutant."""
    if line.at_boot:
        return judge_boot(line, guest, clean)
    state = guest.state
    is_said = line.is_splat and case.splat_has(line.text)
    if state is Verdict.PANIC and clean.verdict is Verdict.PASS and is_said:
        return Verdict.PANIC, Reason.CAUGHT_THEN_PANIC
    if state is not Verdict.PASS:
        return state, Reason.NOT_REACHED
    if clean.verdict is not Verdict.PASS:
        return Verdict.NO_RESULT, Reason.CLEAN_NOT_PASSED
    if is_said:
        if case.said is not Verdict.SKIP:
            return Verdict.SPLAT, Reason.CAUGHT_BY_KERNEL
        return Verdict.SPLAT, Reason.SPLAT_IN_SKIP
    if case.verdict is Verdict.FAIL:
        if not line.is_splat and case.failed_by(line.text):
            return Verdict.FAIL, Reason.CAUGHT
        return Verdict.NO_RESULT, Reason.OTHER_ASSERTION
    if case.verdict is Verdict.PASS:
        return Verdict.PASS, Reason.SURVIVED
    if case.verdict is Verdict.SPLAT:
        return Verdict.SPLAT, Reason.OTHER_SPLAT
    return case.verdict, case.reason


class MutantsJudge:
    """Judges out/result/mutants-FLAVOUR."""

    def __init__(self, results: Results, topics: dict[str, Topic]):
        self.results, self.request = results, results.request
        self.mutants = select_mutants(topics, self.request.topic, self.request.mutant)
        self.judgement = Judgement()
        self.clean: dict[str, tuple[Planned, Guest]] = {}

    def judge(self) -> Judgement:
        judgement, flavour = self.judgement, self.request.flavour
        for mutant in self.mutants:
            for line in mutant.here(flavour):
                if line.arch in self.request.archs:
                    judgement.rows.append(self._row(mutant, line))
        if not judgement.rows:
            raise HarnessError(f"no mutant of FLAVOUR={flavour} matches MUTANT='{self.request.mutant}' "
                               f"TOPIC='{self.request.topic}'; see Caught-by in topics/*/mutants")
        judgement.guests = [(planned, self.results.guest(planned, with_tests=False)) for planned in self.results.planned]
        self._count()
        return judgement

    def _clean(self, arch: str) -> tuple[Planned, Guest]:
        """The guest without a mutant: nothing in it may fail."""
        if arch not in self.clean:
            planned = self.results.find(arch, 'mutants')
            guest = self.results.guest(planned)
            self.clean[arch] = planned, guest
            label = f'{arch} without a mutant'
            self.judgement.add_findings(guest_findings(guest, label))
            self.judgement.add_findings(Finding(guest.name, f'{label}: {name} {result.verdict.value}')
                                        for name, result in guest.cases.items() if not result.is_good)
        return self.clean[arch]

    def _row(self, mutant: Mutant, line: CaughtBy) -> Row:
        clean_plan, clean_guest = self._clean(line.arch)
        planned = self.results.find(line.arch, 'mutants', mutant.name)
        guest = self.results.guest(planned, mutant.name)
        clean, case = clean_guest.case(line.case), case_of(guest, line.case)
        verdict, reason = judge_catch(line, guest, clean, case)
        is_caught = reason in CAUGHT
        clean_reason = Reason.EXPECTED if clean.verdict is Verdict.PASS else Reason.UNEXPECTED
        cells = (Cell('without', clean_plan.name, clean.verdict, clean_reason, clean),
                 Cell('with', planned.name, verdict, reason, case))
        outcome = Outcome.PASSED if is_caught else Outcome.FAILED
        notes = (f'see {guest.folder.path}/console',) if reason is Reason.NOT_REACHED else ()
        return Row(mutant.topic, line.case, line.arch, cells, self.results.outcome(outcome, clean_plan.name, planned.name),
                   verdict, reason, mutant.name, notes)

    def _count(self) -> None:
        """The remarks below the table."""
        names = {row.mutant for row in self.judgement.rows}
        survivors = {row.mutant for row in self.judgement.rows if row.outcome is not Outcome.PASSED}
        self.judgement.remarks.append(f'{len(names) - len(survivors)} of {len(names)} mutants caught by every case they name')
        for flavour, others in sorted(other_flavours(self.mutants, self.request.flavour).items()):
            self.judgement.remarks.append(f'not run here: {" ".join(others)}; FLAVOUR={flavour} runs them')


def judge_mutants(results: Results, topics: dict[str, Topic]) -> Judgement:
    """Judge out/result/mutants-FLAVOUR."""
    return MutantsJudge(results, topics).judge()
