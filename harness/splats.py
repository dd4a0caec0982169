# SPDX-License-Identifier: GPL-2.0
"""The kernel log of a guest: complaints of the kernel, each with the section of the test that ran."""

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from .arch import TOP
from .errors import HarnessError, need_text

SPLAT = re.compile(
    r'WARNING: |\bBUG: |\bBUG \S+ \(|kernel BUG at|KASAN: |UBSAN: |KFENCE: |KCSAN: |kmemleak: |Oops|'
    r'general protection fault|Unable to handle kernel|Bad (page (state|map)|swap)|Call [Tt]race:|'
    r'bad (pte|pmd|pud|p4d|pgd)\b|page allocation failure|non-static key|'
    r'rcu: INFO: |INFO: task .* blocked for more than|soft lockup|hard LOCKUP|'
    r'page_table_check|possible (recursive|circular) locking|inconsistent lock state|'
    r'suspicious RCU usage|sleeping function called from invalid context')
PANIC = re.compile(r'Kernel panic - not syncing')
LOST = re.compile(r'printk messages dropped')
STAMP = re.compile(r'^\[ *[0-9.]+\](\[[^]]*\])? ')
# A report of WARN() begins and ends, its first line, and lines that say where and how the kernel got there.
REPORT = re.compile(r'^-+\[ cut here \]-+$|^---\[ end trace ')
WARNING = re.compile(r'WARNING: ')
PLACE = re.compile(r' *(Call [Tt]race:|(RIP|pc|lr|epc) ?:|(\? )?\S+\+0x[0-9a-f]+/0x[0-9a-f]+)')
MARK = re.compile(r'mm: (begin|end) (\S+)')


@dataclass(frozen=True)
class Rule:
    """A line of guest/splats: a complaint that the kernel may print, on base as well."""
    regex: re.Pattern[str]
    reason: str


@dataclass(frozen=True)
class Splat:
    """A complaint. section is None outside of all sections; message has the line before it, too."""
    section: str | None
    line: str
    message: str


@dataclass
class Log:
    """The kernel log, read. `begun` and `ended` name the sections whose marks it has."""
    lines: list[str]
    panicked: bool = False
    lost_messages: bool = False
    begun: set[str] = field(default_factory=set)
    ended: set[str] = field(default_factory=set)
    splats: list[Splat] = field(default_factory=list)
    allowed: set[str] = field(default_factory=set)      # the rules of guest/splats that matched

    def has_section(self, name: str) -> bool:
        """Does the log show where the section begins and ends?"""
        return name in self.begun and name in self.ended


def read_rules(path: Path | None = None) -> list[Rule]:
    """guest/splats, or the file that SPLATS= in the environment names: REGEX<TAB>REASON, a line each."""
    path = path or Path(os.environ.get('SPLATS') or TOP / 'guest' / 'splats')
    rules = []
    for number, line in enumerate(need_text(path).splitlines(), 1):
        if not line.strip() or line.startswith('#'):
            continue
        regex, _, reason = line.partition('\t')
        if not reason.strip():
            raise HarnessError(f"guest/splats:{number}: '{regex}' has no reason")
        try:
            rules.append(Rule(re.compile(regex), reason.strip()))
        except re.error as error:
            raise HarnessError(f"guest/splats:{number}: '{regex}' is no regular expression: {error}") from error
    return rules


def read_log(text: str, rules: list[Rule]) -> Log:
    """Find the sections and the complaints of a kernel log."""
    log = Log([STAMP.sub('', line) for line in text.splitlines()])
    section: str | None = None
    report: list[str] = []      # the rules that allow the warning whose report this is
    for number, line in enumerate(log.lines):
        mark = MARK.match(line)
        if mark:
            is_begin = mark.group(1) == 'begin'
            (log.begun if is_begin else log.ended).add(mark.group(2))
            section = mark.group(2) if is_begin else None
        if mark or REPORT.search(line):
            report = []
        log.panicked |= bool(PANIC.search(line))
        log.lost_messages |= bool(LOST.search(line))
        if not SPLAT.search(line):
            continue
        matched = [rule.regex.pattern for rule in rules if rule.regex.search(line)]
        if WARNING.match(line):
            report = matched
        elif PLACE.match(line):
            matched = matched or report
        log.allowed.update(matched)
        if not matched:
            # WARN() prints its message before the line with the place
            before = log.lines[number - 1] if number and not log.lines[number - 1].startswith('mm: ') else ''
            log.splats.append(Splat(section, line.strip(), f'{before}\n{line}'))
    return log
