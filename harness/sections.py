# SPDX-License-Identifier: GPL-2.0
"""The sections of a guest's ktap, each judged into cases."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import Enum

from .ktap import KunitTools, Leaf, ktap_only, parse_list, plan_errors
from .splats import Splat
from .verdict import CaseResult, Reason, Verdict

# The status of timeout(1), and of a program that its SIGTERM ended.
ENDED_BY_LIMIT = (124, 143)
KSFT_SKIP = 4


@dataclass(frozen=True)
class Section:
    """A part of the ktap. status is init's word on its exit, None if init did not get there."""
    name: str
    lines: list[str]
    status: int | None
    is_complete: bool
    splats: tuple[Splat, ...] = ()      # the kernel's complaints while it ran
    in_log: bool = True                 # the kernel log shows it from begin to end


class Fault(Enum):
    """The kind of a problem of a section or a guest."""
    STATE = 'the guest did not end well'
    LOST_MESSAGES = 'the kernel log has lost messages'
    NOT_IN_LOG = 'a section is not in the kernel log'
    CPUS = 'the guest has other CPUs than asked for'
    ABSENT = 'a test is not in the guest'
    LIMIT = 'a section was ended after its limit'
    CUT_OFF = 'a section was cut off'
    NO_TEST = 'a section has no test'
    INCONSISTENT = 'plan, results and exit status contradict each other'
    SPLAT = 'the kernel complained'


@dataclass(frozen=True)
class Problem:
    """A fault of a guest, in the section of that name if there is one."""
    section: str | None
    fault: Fault
    text: str


@dataclass
class Cases:
    """The cases of sections as they are judged."""
    results: dict[str, CaseResult] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    lists: dict[str, list[str]] = field(default_factory=dict)    # by program: the cases that it has


def split_sections(lines: list[str], prefix: str) -> Iterator[tuple[str, list[str], bool]]:
    """(name, lines, complete) of the sections that have the prefix, without it."""
    name: str | None = None
    body: list[str] = []
    for line in lines:
        mark = re.match(r'#### (begin|end) (\S+)$', line)
        if mark and not mark.group(2).startswith(prefix):
            continue
        own = mark.group(2)[len(prefix):] if mark else ''
        if mark and mark.group(1) == 'begin':
            if name is not None:
                yield name, body, False
            name, body = own, []
        elif mark and own == name:
            yield own, body, True
            name = None
        elif name is not None:
            body.append(line)
    if name is not None:
        yield name, body, False


def judge_section(cases: Cases, section: Section, tools: KunitTools, state: Verdict, is_um: bool) -> None:
    """Add the cases of one section; state is the guest's."""
    if section.name.startswith('suite:'):
        Suite(cases, section, tools).judge()
    elif section.name.startswith('list:'):
        judge_list(cases, section)
    else:
        judge_tests(cases, section, tools, state, is_um)


def judge_list(cases: Cases, section: Section) -> None:
    """The output of a program's -l."""
    try:
        if not section.is_complete or section.status != KSFT_SKIP:
            raise ValueError(f'ended with {section.status}')
        found = parse_list(section.lines)
    except ValueError as error:
        cases.problems.append(Problem(section.name, Fault.INCONSISTENT, f'{section.name}: {error}'))
        return
    if not found:
        cases.problems.append(Problem(section.name, Fault.NO_TEST, f'{section.name} printed no test'))
    cases.lists[section.name.partition(':')[2]] = found


def case_name(section: str, leaf: Leaf) -> str:
    """KIND:PROGRAM.CASE"""
    if section == 'kunit' or section.startswith('kunit:'):
        return 'kunit:' + '.'.join(leaf.path)
    if section.startswith('selftest:'):
        return section.partition('.')[0] + '.' + leaf.name
    return section + '.' + leaf.name


def inconsistencies(section: Section, leaves: list[Leaf], is_um: bool) -> list[str]:
    """The faults that spoil every case of the section: no single case is to blame for them."""
    ktap = ktap_only(section.lines)
    wrong = plan_errors(ktap)
    blamed = any(leaf.parsed not in (Verdict.PASS, Verdict.SKIP) for leaf in leaves)
    all_skipped = all(leaf.parsed is Verdict.SKIP for leaf in leaves)
    if section.status and not blamed and not all_skipped:
        wrong.append(f'ended with {section.status} and no failed case')
    if not blamed and any(re.match(r' *not ok ', line) for line in ktap):
        wrong.append('a failed result that belongs to no case')
    if any(re.match(r'Bail out!', line.strip()) for line in ktap):
        wrong.append('Bail out!')
    if is_um and len([line for line in section.lines if re.match(r'K?TAP version', line)]) != 1:
        wrong.append('not one KTAP text')
    return wrong


def splat_result(section: Section, said: CaseResult) -> CaseResult:
    """The kernel complained: that is the verdict, whatever the test said."""
    first = section.splats[0]
    return replace(said, verdict=Verdict.SPLAT, reason=Reason.KERNEL_SPLAT, said=said.verdict,
                   splat=first.message, note=first.line)


def spoiled(section: Section, said: CaseResult, wrong: list[str], state: Verdict) -> CaseResult:
    """The verdict on a case whose test said this, after the rules of its section."""
    if section.splats:
        return splat_result(section, said)
    if wrong:
        return replace(said, verdict=Verdict.NO_RESULT, reason=Reason.PLAN, note=wrong[0])
    if not section.in_log:
        return replace(said, verdict=Verdict.NO_RESULT, reason=Reason.NOT_IN_LOG, note='not in the kernel log')
    if not section.is_complete:
        verdict = state if state is not Verdict.PASS else Verdict.NO_RESULT
        return replace(said, verdict=verdict, reason=Reason.CUT_OFF, note='cut off')
    return said


def judge_tests(cases: Cases, section: Section, tools: KunitTools, state: Verdict, is_um: bool) -> None:
    """A section of a KUnit suite, of one case of a selftest, or UML's whole console."""
    leaves, name = tools.leaves(section.lines), section.name
    if name.startswith('selftest:') and name.partition('.')[2] not in [leaf.name for leaf in leaves]:
        # one case is all that this section has: it was ended before it could say anything
        leaves = []
        silent = CaseResult(Verdict.NO_RESULT, Reason.SAID_NOTHING, note='said nothing')
        cases.results[name] = splat_result(section, silent) if section.splats else silent
    wrong = inconsistencies(section, leaves, is_um)
    for leaf in leaves:
        case = case_name(name, leaf)
        result = spoiled(section, leaf.result, wrong, state)
        if case in cases.results:
            result = CaseResult(Verdict.NO_RESULT, Reason.RAN_TWICE, note='ran twice')
        cases.results[case] = result
    if section.status in ENDED_BY_LIMIT:
        cases.problems.append(Problem(name, Fault.LIMIT, f'TIMEOUT of {name} in the guest'))
        for case, result in cases.results.items():
            if (case == name or case.startswith(name + '.')) and result.verdict is not Verdict.SPLAT:
                cases.results[case] = CaseResult(Verdict.TIMEOUT, Reason.LIMIT)
    if not leaves and section.is_complete:
        cases.problems.append(Problem(name, Fault.NO_TEST, f'{name} printed no test'))
    if wrong:
        cases.problems.append(Problem(name, Fault.INCONSISTENT, f'{name}: {wrong[0]}'))


@dataclass
class _Program:
    """A program of the tree's own suite: its output, and the words of run_vmtests.sh on it."""
    title: str
    lines: list[str] = field(default_factory=list)
    words: list[Verdict] = field(default_factory=list)


class Suite:
    """A category of the tree's own suite: a program after another, each with a KTAP text or none, and a
    word of run_vmtests.sh on it. Cases are NAME.PROGRAM and NAME.PROGRAM.CASE."""

    def __init__(self, cases: Cases, section: Section, tools: KunitTools):
        self.cases, self.section, self.tools, self.name = cases, section, tools, section.name

    def judge(self) -> None:
        programs = self._programs()
        for program in programs:
            for case, result in [*self._tests_of(program), (f'{self.name}.{program.title}', self._word_on(program))]:
                self._add(case, splat_result(self.section, result) if self.section.splats else result)
        self._check(programs)

    def _programs(self) -> list[_Program]:
        programs: list[_Program] = []
        for line in self.section.lines:
            mark = re.match(r'running (.+)$', line)
            word = re.match(r'\[(PASS|FAIL|SKIP)\]$', line)
            if mark:
                # mktemp's part of a name is another one in each run
                title = re.sub(r'(/tmp/\S*?)[A-Za-z0-9]{6}(?=\s|$)', r'\1', mark.group(1))
                programs.append(_Program(title.replace('./', '')))
            elif programs and word:
                programs[-1].words.append(Verdict(word.group(1)))
            elif programs:
                programs[-1].lines.append(line)
        return programs

    def _tests_of(self, program: _Program) -> Iterator[tuple[str, CaseResult]]:
        ktap = ktap_only(program.lines)
        wrong = plan_errors(ktap)
        for leaf in self.tools.leaves(program.lines) if ktap else []:
            result = leaf.result
            if wrong:
                result = replace(result, verdict=Verdict.NO_RESULT, reason=Reason.PLAN, note=wrong[0])
            yield f'{self.name}.{program.title}.{leaf.name}', result

    def _word_on(self, program: _Program) -> CaseResult:
        if len(program.words) == 1:
            return CaseResult(program.words[0], Reason.SAID, program.words[0])
        if self.section.status in ENDED_BY_LIMIT:
            return CaseResult(Verdict.TIMEOUT, Reason.LIMIT, note='cut off')
        return CaseResult(Verdict.NO_RESULT, Reason.CUT_OFF, note='cut off')

    def _add(self, case: str, result: CaseResult) -> None:
        """The tree's own tests may use a name again."""
        again = 1 + sum(c == case or c.startswith(case + ' (') for c in self.cases.results)
        self.cases.results[case + (f' ({again})' if again > 1 else '')] = result

    def _check(self, programs: list[_Program]) -> None:
        name, status, problems = self.name, self.section.status, self.cases.problems
        failed = any(case.startswith(name + '.') and result.verdict is Verdict.FAIL
                     for case, result in self.cases.results.items())
        if status in ENDED_BY_LIMIT:
            problems.append(Problem(name, Fault.LIMIT, f'TIMEOUT of {name} in the guest'))
        elif not self.section.is_complete:
            problems.append(Problem(name, Fault.CUT_OFF, f'{name} was cut off'))
        elif not programs and status != KSFT_SKIP:
            problems.append(Problem(name, Fault.NO_TEST, f'{name} ran no program'))
        elif status not in (0, KSFT_SKIP) and not failed:
            problems.append(Problem(name, Fault.INCONSISTENT, f'{name}: ended with {status} and no failed program'))
