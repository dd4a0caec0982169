# SPDX-License-Identifier: GPL-2.0
"""Rows, findings and totals: the judges of all verbs fill them, output.py prints them."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from .guest import Guest
from .results import Planned, Results
from .sections import Fault
from .verdict import CaseResult, Outcome, Reason, Verdict


@dataclass(frozen=True)
class Cell:
    """A case in one guest: the verdict after it was compared with the expected one, and the bare result."""
    column: str
    guest: str
    verdict: Verdict
    reason: Reason
    result: CaseResult


@dataclass(frozen=True)
class Row:
    """A case on one architecture, in every column of its table."""
    topic: str
    case: str
    arch: str
    cells: tuple[Cell, ...]
    outcome: Outcome
    verdict: Verdict        # of the row: of the cell that decided it
    reason: Reason
    mutant: str = ''
    notes: tuple[str, ...] = ()

    def cell(self, column: str) -> Cell:
        """The cell of a column, which the row must have."""
        return next(cell for cell in self.cells if cell.column == column)


@dataclass(frozen=True)
class Benchmark:
    """A benchmark's figures. base, series and whole are instructions; a ratio of two has `ratio` and `other` only.

    series is the kernel that the limit holds for: the whole series, or the series through a topic. base is the base, or
    the series through the topic `since`.
    """
    topic: str
    arch: str
    name: str
    limit: str
    outcome: Outcome
    reason: Reason
    base: int | None = None
    series: int | None = None
    whole: int | None = None        # of the whole series
    unit: str = ''
    ratio: float | None = None
    other_arch: str = ''
    other: float | None = None
    since: str = ''


@dataclass(frozen=True)
class Finding:
    """A fault that belongs to no row: it counts as one failure."""
    guest: str
    text: str
    fault: Fault | None = None
    state: Verdict | None = None
    section: str | None = None


@dataclass
class Judgement:
    """The judgement of a verb's results."""
    rows: list[Row] = field(default_factory=list)
    benchmarks: list[Benchmark] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    guests: list[tuple[Planned, Guest]] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)    # printed, and not counted

    def add_findings(self, findings: Iterable[Finding]) -> None:
        """Add those that are new."""
        for finding in findings:
            if finding not in self.findings:
                self.findings.append(finding)

    def count(self, *outcomes: Outcome) -> int:
        return sum(item.outcome in outcomes for item in [*self.rows, *self.benchmarks])

    @property
    def passed(self) -> int:
        return self.count(Outcome.PASSED)

    @property
    def failed(self) -> int:
        return self.count(Outcome.FAILED, Outcome.STALE) + len(self.findings)

    @property
    def skipped(self) -> int:
        return self.count(Outcome.SKIPPED)

    @property
    def stale(self) -> int:
        return self.count(Outcome.STALE)

    @property
    def is_good(self) -> bool:
        """Something passed, and nothing failed."""
        return self.passed > 0 and not self.failed


def guest_findings(guest: Guest, label: str = '', wanted: frozenset[str] = frozenset()) -> list[Finding]:
    """The faults of a guest as a whole. In the sections `wanted` complaints and problems are expected."""
    label = label or guest.name
    found = []
    if guest.state is not Verdict.PASS:
        text = f'{label}: {guest.state.value}; see console, and qemu, in {guest.folder.path}'
        found.append(Finding(guest.name, text, Fault.STATE, guest.state))
    splats = guest.splats
    first = next((i for i, s in enumerate(splats) if s.section in wanted), len(splats))
    # what follows a wanted splat outside of any section is its consequence: a processor that is lost
    unwanted = [s for i, s in enumerate(splats) if s.section not in wanted and not (i > first and s.section is None)]
    for splat in unwanted[:3]:
        text = f'{label}: SPLAT in {splat.section or "boot"}: {splat.line}; see {guest.folder.path}/console'
        found.append(Finding(guest.name, text, Fault.SPLAT, section=splat.section))
    for problem in guest.problems:
        if problem.section not in wanted:
            found.append(Finding(guest.name, f'{label}: {problem.text}', problem.fault, section=problem.section))
    return found


def stale_findings(results: Results) -> list[Finding]:
    """A guest whose result is not of today's inputs."""
    return [Finding(name, f'stale: {name}: {reason}') for name, reason in results.stale.items()]
