# SPDX-License-Identifier: GPL-2.0
"""Judge guests that ran several times: out/result/repeat/GUEST/1..N. A case has to say the same each time."""

import re
from collections import Counter
from collections.abc import Iterator

from .expectations import Want, read_tests
from .guest import Guest, load_guest, read_folder
from .judgement import Cell, Judgement, Row, guest_findings
from .results import COMMON, Planned, Results
from .topics import Topic
from .verdict import CaseResult, Outcome, Reason, Verdict

GUEST = 'the guest'     # the row of a guest as a whole
# A token of a result: results with different tokens are different.
Token = tuple[object, ...]


def case_token(case: CaseResult) -> Token:
    """The verdict, and by which assertion a case failed, without the figures in its text."""
    assertion = re.sub(r'0x[0-9a-f]+|\d+', 'N', case.assertions[0]) if case.assertions else ''
    return case.verdict, assertion if case.verdict is Verdict.FAIL else ''


def guest_token(guest: Guest) -> Token:
    """How the guest ended, and its faults outside of cases."""
    return guest.state, frozenset((f.fault, f.section) for f in guest_findings(guest))


def copies_of(results: Results, planned: Planned, mutant: str) -> list[Guest]:
    """Each copy of a guest. One that is not there has no result."""
    tools, arch = results.tools, results.arch(planned)
    return [load_guest(read_folder(results.folder / planned.name / str(copy), results.rules), arch, tools, mutant)
            for copy in range(1, results.request.n + 1)]


def make_row(planned: Planned, case: str, said: list[tuple[Token, CaseResult]], mutant: str, is_race: bool) -> Row:
    """A row with a cell for each different result; the column says how many copies have it."""
    counts = Counter(token for token, _ in said)
    cells = []
    for token, number in counts.most_common():
        copies = [str(i) for i, (t, _) in enumerate(said, 1) if t == token]
        result = next(r for t, r in said if t == token)
        cells.append(Cell(f'{number} of {len(said)}', f'{planned.name}/{copies[0]}', result.verdict, result.reason, result))
    if len(counts) == 1 and said[0][1].verdict is not Verdict.TIMEOUT:
        return Row('', case, planned.arch, tuple(cells), Outcome.PASSED, cells[0].verdict, Reason.EXPECTED, mutant)
    outcome = Outcome.KNOWN if is_race else Outcome.FAILED
    notes = ('RACE',) if is_race else ()
    return Row('', case, planned.arch, tuple(cells), outcome, cells[0].verdict, Reason.UNEXPECTED, mutant, notes)


def rows_of(results: Results, planned: Planned, mutant: str, races: set[tuple[str, str]]) -> Iterator[Row]:
    """The rows of a guest, or of one mutant in it."""
    copies = copies_of(results, planned, mutant)
    if mutant in ('', planned.whats[0]):
        states = [(guest_token(g), CaseResult(g.state, Reason.SAID)) for g in copies]
        # base cases that race may splat, and end the guest that is theirs alone
        own_race = any((planned.arch, what) in races for what in planned.whats)
        yield make_row(planned, GUEST, states, mutant, own_race)
    for case in dict.fromkeys(name for guest in copies for name in guest.cases):
        said = [(case_token(r), r) for r in (guest.case(case) for guest in copies)]
        is_race = planned.variant in ('base', 'test') and (planned.arch, case) in races
        yield make_row(planned, case, said, mutant, is_race)


def judge_repeat(results: Results, topics: dict[str, Topic]) -> Judgement:
    """A row for each guest, and for each case in it. A race may do either on the base."""
    lines = read_tests(topics).of_flavour(results.request.flavour)
    races = {(arch, line.case) for line in lines if line.want is Want.RACE for arch in line.archs}
    judgement = Judgement()
    for planned in results.planned:
        mutants = planned.whats if planned.variant == 'mutants' and planned.whats != (COMMON,) else ('',)
        for mutant in mutants:
            judgement.rows += [*rows_of(results, planned, mutant, races)]
        if planned.name in results.stale:
            judgement.remarks.append(f'{planned.name}: some copies are of other inputs than today\'s')
    return judgement
