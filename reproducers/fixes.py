# SPDX-License-Identifier: GPL-2.0
"""fixes.toml: which fix crosses a trust boundary, and which reproducer shows it."""

import re
import sys
import tomllib
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from harness.topics import read_order, read_series  # noqa: E402

TOPICS = HERE.parent / 'topics'


class Boundary(Enum):
    """Does the bug cross a trust boundary?"""
    NO = 'no'
    YES = 'yes'
    PART = 'part'


class Shown(Enum):
    """How a bug is shown."""
    REPRODUCER = 'reproducer'
    WITHHELD = 'withheld; ask'
    CANNOT = 'cannot be shown'


@dataclass(frozen=True)
class Fix:
    """A fix of the series, or a bug whose fix is not in the series yet."""
    topic: str
    boundary: Boundary
    why: str
    case: str
    subject: str = ''
    title: str = ''
    reproducer: str = ''
    reason: str = ''
    files: tuple[str, ...] = ()
    alone: bool = False
    nodes: bool = False     # the reproducer wants two NUMA nodes
    arches: tuple[str, ...] = ()    # that have the bug; all if empty
    since: str = ''         # the first release with the bug
    shown_since: str = ''   # the first release where the program shows it, if that is a later one
    no_stable: str = ''     # why the patch has no "Cc: stable"
    differs: str = ''       # why a stock kernel disagrees with "since"

    @property
    def name(self) -> str:
        return self.subject or self.title

    @property
    def shown(self) -> Shown:
        if self.reproducer:
            return Shown.REPRODUCER
        return Shown.CANNOT if self.reason else Shown.WITHHELD

    def patch(self, topics: Path = TOPICS) -> Path | None:
        """The stored patch of that subject."""
        return next((p for p in patches_with_fixes(topics) if subject_of(p) == self.subject), None)

    def touched(self, topics: Path = TOPICS) -> set[str]:
        """Kernel files that the fix changes."""
        patch = self.patch(topics) if self.subject else None
        return touched_by(patch.read_text()) if patch else set(self.files)


def load(path: Path = HERE / 'fixes.toml', topics: Path = TOPICS) -> list[Fix]:
    """All entries, in the order of the runs.  A fix with a patch has "since" from topics/TOPIC/series (stable=)."""
    lines = {p.file: p.values for topic in read_order(topics).values() for p in read_series(topic)}
    since = {subject_of(p): lines.get(p.name, {}).get('stable', '') for p in patches_with_fixes(topics)}
    found = []
    for entry in tomllib.loads(path.read_text())['fix']:
        known = {'since': since.get(entry['subject'], '')} if 'subject' in entry else {}
        found.append(Fix(**{**entry, **known, 'boundary': Boundary(entry['boundary']), 'files': tuple(entry.get('files', ())),
                             'arches': tuple(entry.get('arches', ()))}))
    return found


def subject_of(patch: Path) -> str:
    """The subject of a stored patch, joined to one line, without [PATCH]."""
    found = re.search(r'^Subject: (.*(?:\n[ \t].*)*)', patch.read_text(), re.M)
    return re.sub(r'^\[PATCH[^]]*\] ', '', ' '.join(found.group(1).split())) if found else ''


def patches_with_fixes(topics: Path = TOPICS) -> list[Path]:
    """The stored patches that have a Fixes: tag."""
    return [p for p in sorted(topics.glob('*/*.patch')) if re.search(r'^Fixes: ', p.read_text(), re.M)]


def touched_by(diff: str) -> set[str]:
    """The files of a diff."""
    return set(re.findall(r'^\+\+\+ b/(\S+)', diff, re.M))


def debian_changes(fix: Fix, series: str, version: str, path: Path = HERE / 'debian.toml') -> str:
    """Do Debian's patches change files of the fix?  "no", or which, with the reason why that does not matter."""
    known = tomllib.loads(path.read_text()).get(series)
    if not known:
        return f'unknown; debian.toml has no {series}'
    lines = [f'{file}: {known["files"][file]}' for file in sorted(fix.touched()) if file in known['files']]
    if lines and version != known['version']:
        lines.append(f'seen in {known["version"]}')
    return '; '.join(lines) or 'no'


def table(fixes: list[Fix]) -> str:
    """The table of README.md."""
    lines = ['| topic | fix | trust boundary crossed? | shown by |', '|---|---|---|---|']
    for fix in sorted(fixes, key=lambda f: f.topic):
        shown = {Shown.REPRODUCER: f'`{fix.reproducer}`', Shown.WITHHELD: 'withheld; ask',
                 Shown.CANNOT: f'cannot be shown: {fix.reason}'}[fix.shown]
        patch = fix.name if fix.subject else f'{fix.name} (no fix yet)'
        lines.append(f'| {fix.topic} | {patch} | {fix.boundary.value}: {fix.why} | {shown} Case: {fix.case} |')
    return '\n'.join(lines) + '\n'
