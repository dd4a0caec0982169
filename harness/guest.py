# SPDX-License-Identifier: GPL-2.0
"""Load the folder that a guest has left. Nothing is written here."""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .arch import Arch
from .errors import HarnessError, read_text
from .ktap import KunitTools
from .sections import Cases, Fault, Problem, Section, judge_section, split_sections
from .splats import Log, Rule, Splat, read_log
from .verdict import CaseResult, Reason, Verdict


@dataclass
class Folder:
    """The files of a guest's folder. meta is None if the folder does not say how the guest was made."""
    path: Path
    exists: bool
    ended: str
    smp: str
    verdict: list[str]
    ktap: list[str]
    log: Log
    meta: dict[str, Any] | None


@dataclass
class Guest:
    """A guest, judged. Its splats and problems have the names of their sections."""
    name: str
    folder: Folder
    state: Verdict
    cases: dict[str, CaseResult] = field(default_factory=dict)
    splats: list[Splat] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    ran: dict[str, int] = field(default_factory=dict)           # exit status by section
    lists: dict[str, list[str]] = field(default_factory=dict)   # cases by program, as `list PROGRAM` printed them
    allowed: set[str] = field(default_factory=set)              # the rules of guest/splats that matched

    def case(self, name: str) -> CaseResult:
        """A case's result, also if the guest has none."""
        if name in self.cases:
            return self.cases[name]
        if self.state is not Verdict.PASS:
            return CaseResult(self.state, Reason.NOT_REACHED, note='did not get there')
        return CaseResult(Verdict.NO_RESULT, Reason.NOT_IN_GUEST, note='not in this guest')


def read_folder(path: Path, rules: list[Rule]) -> Folder:
    """Read a guest's files; absent ones are empty."""
    meta = None
    if (path / 'meta.json').is_file():
        try:
            meta = json.loads(read_text(path / 'meta.json'))
        except ValueError as error:
            raise HarnessError(f'{path}/meta.json is not JSON: {error}; remove {path} and run the guest again') from error
        if not isinstance(meta, dict):
            raise HarnessError(f'{path}/meta.json is not an object; remove {path} and run the guest again')
    return Folder(path, path.is_dir(), read_text(path / 'ended').strip(), read_text(path / 'smp').strip(),
                  read_text(path / 'verdict').splitlines(), read_text(path / 'ktap').splitlines(),
                  read_log(read_text(path / 'console'), rules), meta)


def guest_state(folder: Folder, arch: Arch) -> Verdict:
    """Did the guest as a whole end as it has to?"""
    if not folder.exists:
        return Verdict.NO_RESULT
    if folder.ended == 'timeout':
        return Verdict.TIMEOUT
    if folder.log.panicked:
        return Verdict.PANIC
    if folder.ended != 'exit 0' or arch.has_qemu and folder.verdict[-1:] != ['complete']:
        return Verdict.NO_RESULT
    return Verdict.PASS


def load_guest(folder: Folder, arch: Arch, tools: KunitTools | None, mutant: str = '') -> Guest:
    """Judge a guest. Without tools only its state is judged, not its tests.

    With a mutant only the sections MUTANT/NAME count: the guest chose one mutant after the other.
    """
    guest = Guest(folder.path.name, folder, guest_state(folder, arch))
    if not folder.exists:
        return guest
    prefix = f'{mutant}/' if mutant and arch.has_qemu else ''
    guest.allowed = folder.log.allowed
    guest.splats = [Splat(_own(s.section, prefix) or s.section, s.line, s.message) for s in folder.log.splats]
    if folder.log.lost_messages:
        guest.problems.append(Problem(None, Fault.LOST_MESSAGES, 'NO-RESULT: the kernel log has lost messages'))
    unheard = _read_verdict(guest, prefix)
    if not tools:
        return guest
    cases = Cases(problems=guest.problems)
    for section in _sections(guest, arch, prefix, unheard):
        judge_section(cases, section, tools, guest.state, not arch.has_qemu)
    guest.cases, guest.lists = cases.results, cases.lists
    return guest


def _own(section: str | None, prefix: str) -> str | None:
    """The name of a section without the prefix; None if it has another."""
    return section[len(prefix):] if section is not None and section.startswith(prefix) else None


def _read_verdict(guest: Guest, prefix: str) -> set[str]:
    """Take over the lines of init. Return the sections that the kernel log does not show."""
    unheard, folder = set(), guest.folder
    for line in folder.verdict:
        words = line.split()
        if words[:1] == ['ran'] and len(words) == 3 and re.fullmatch(r'\d+', words[2]):
            own = _own(words[1], prefix)
            if own is None:
                continue
            guest.ran[own] = int(words[2])
            if not folder.log.has_section(words[1]):
                unheard.add(own)
                guest.problems.append(Problem(own, Fault.NOT_IN_LOG, f'NO-RESULT: {own} is not in the kernel log'))
        elif words[:1] == ['cpus'] and words[1:] != [folder.smp]:
            text = f'NO-RESULT: {" ".join(words[1:])} CPUs and not {folder.smp}'
            guest.problems.append(Problem(None, Fault.CPUS, text))
        elif words[:1] == ['absent'] and len(words) > 1:
            guest.problems.append(Problem(words[1], Fault.ABSENT, f'{words[1]} is not in this guest'))
    return unheard


def _sections(guest: Guest, arch: Arch, prefix: str, unheard: set[str]) -> list[Section]:
    """The sections of the ktap; of UML the console is the only one, and every complaint is of it."""
    if not arch.has_qemu:
        is_complete = guest.state is Verdict.PASS
        return [Section('kunit', guest.folder.log.lines, 0, is_complete, tuple(guest.splats))]
    return [Section(name, lines, guest.ran.get(name) if is_complete else None, is_complete and name in guest.ran,
                    tuple(s for s in guest.splats if s.section == name), name not in unheard)
            for name, lines, is_complete in split_sections(guest.folder.ktap, prefix)]
