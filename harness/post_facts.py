# SPDX-License-Identifier: GPL-2.0
"""The facts that make post needs: mails of patches, topics/posting.toml, reproducers/fixes.toml and seen.json.

Each fact is checked where it is used: a fact that is missing, or that contradicts another, is an error.
"""

import json
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .errors import HarnessError, need_text, read_text
from .expectations import Tests
from .series_check import check_fix, check_mail
from .topics import Kind, Patch, Topic

# stable-kernel-rules.rst: "It cannot be bigger than 100 lines, with context."
STABLE_LINES = 100
CONTEXT = re.compile(r'[ +\-@]')
# What a Verdict takes from fixes.toml.
VERDICT = ('boundary', 'why', 'reproducer', 'reason', 'no_stable')


@dataclass(frozen=True)
class Person:
    """Somebody who knows the code, as a public source names them; without an address if they have left."""
    name: str
    address: str
    seen: str

    @property
    def contact(self) -> str:
        return f'{self.name} <{self.address}>'


@dataclass(frozen=True)
class Commit:
    """A commit of a Fixes: tag."""
    subject: str
    author: Person


@dataclass(frozen=True)
class Verdict:
    """What reproducers/fixes.toml says of a fix."""
    boundary: str
    why: str
    reproducer: str = ''
    reason: str = ''
    no_stable: str = ''

    @property
    def crosses(self) -> bool:
        """Does the fix, or a part of it, cross a trust boundary?"""
        return self.boundary != 'no'


@dataclass(frozen=True)
class Mail:
    """A stored patch: subject, message without it, trailers, the files of its diff, and the diff's lines with context."""
    subject: str
    body: str
    trailers: tuple[tuple[str, str], ...]
    files: tuple[str, ...]
    lines: int
    text: str = field(repr=False)

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.trailers if key == name]

    @property
    def for_stable(self) -> bool:
        return any('stable@' in value for value in self.values('Cc'))


@dataclass(frozen=True)
class Facts:
    """topics/posting.toml, fixes.toml and seen.json; patches are named by topic and subject."""
    commits: dict[str, Commit]
    threads: dict[str, list[Person]]
    visible: dict[tuple[str, str], str]
    verdicts: dict[tuple[str, str], Verdict]
    seen: list[dict[str, object]]


def read_mail(path: Path) -> Mail:
    """Split a stored patch."""
    text = need_text(path)
    head, _, rest = text.partition('\n\n')
    found = re.search(r'^Subject: (.*(?:\n[ \t].*)*)', head, re.M)
    if not found:
        raise HarnessError(f'{path} has no Subject:')
    subject = re.sub(r'^\[PATCH[^]]*\] ', '', ' '.join(found.group(1).split()))
    body, _, diff = rest.partition('\n---\n')
    last = body.rstrip().rpartition('\n\n')[2]
    trailers = re.findall(r'^([A-Z][A-Za-z-]+): (.+)$', last, re.M)
    names = re.findall(r'^(?:--- a|\+\+\+ b)/(\S+)', diff, re.M)
    lines = diff.partition('\n@@ ')[2].splitlines()
    return Mail(subject, body, tuple(trailers), tuple(dict.fromkeys(names)), sum(bool(CONTEXT.match(line)) for line in lines), text)


def mail_of(topics: dict[str, Topic], patch: Patch) -> Mail:
    return read_mail(topics[patch.topic].folder / patch.file)


def _toml(path: Path) -> dict:
    try:
        return tomllib.loads(need_text(path))
    except tomllib.TOMLDecodeError as error:
        raise HarnessError(f'{path}: {error}') from error


def _need(entry: dict, where: str, *keys: str) -> None:
    """An error unless an entry has the keys."""
    for key in keys:
        if not entry.get(key):
            raise HarnessError(f'{where} has no {key}; see the comment at its top')


def _person(entry: dict, where: str) -> Person:
    """An entry with name, address and the public source of the address, or left = "why"."""
    _need(entry, f'{where}: {entry.get("name", "an entry")}', *(('name', 'seen') if entry.get('left') else ('name', 'address', 'seen')))
    return Person(entry['name'], entry.get('address', ''), entry['seen'])


def read_facts(folder: Path) -> Facts:
    """The facts of the topics in a folder; reproducers/ is beside it."""
    where = 'topics/posting.toml'
    posting, fixes = _toml(folder / 'posting.toml'), _toml(folder.parent / 'reproducers/fixes.toml')
    commits = {name: Commit(entry.get('subject', ''), _person(entry, where)) for name, entry in posting.get('commits', {}).items()}
    threads: dict[str, list[Person]] = {}
    for entry in posting.get('thread', []):
        _need(entry, f'{where}: a [[thread]]', 'topic')
        threads.setdefault(entry['topic'], []).append(_person(entry, where))
    verdicts = {}
    for entry in fixes.get('fix', []):
        if 'subject' in entry:
            _need(entry, f'reproducers/fixes.toml: {entry["subject"]}', 'topic', 'boundary', 'why')
            verdicts[entry['topic'], entry['subject']] = Verdict(**{key: entry[key] for key in VERDICT if key in entry})
    visible = {}
    for entry in posting.get('visible', []):
        _need(entry, f'{where}: a [[visible]]', 'topic', 'subject', 'why')
        visible[entry['topic'], entry['subject']] = entry['why']
    seen = json.loads(read_text(folder.parent / 'reproducers/seen.json') or '[]')
    return Facts(commits, threads, visible, verdicts, seen)


def fixes_of(mail: Mail) -> list[tuple[str, str]]:
    """The commits of the Fixes: tags: (id, subject)."""
    found = []
    for value in mail.values('Fixes'):
        match = re.fullmatch(r'([0-9a-f]{12,40}) \("(.*)"\)', value)
        if not match:
            raise HarnessError(f"'Fixes: {value}' of '{mail.subject}' is not understood; want 12 digits of the id, and (\"the subject\")")
        found.append((match.group(1), match.group(2)))
    return found


def check_tags(mail: Mail, facts: Facts) -> None:
    """An error unless each Fixes: tag is a commit that a public source shows."""
    for name, subject in fixes_of(mail):
        commit = facts.commits.get(name[:12])
        if not commit:
            raise HarnessError(f"Fixes: {name} of '{mail.subject}' is not known; add the commit to topics/posting.toml, with a public "
                               'source, or correct the tag')
        if commit.subject != subject:
            raise HarnessError(f"Fixes: {name} of '{mail.subject}' has another subject than topics/posting.toml: '{commit.subject}'; "
                               'correct the one that is wrong')


def verdict_of(patch: Patch, mail: Mail, facts: Facts) -> Verdict:
    """What fixes.toml says of a fix: it has to say something."""
    verdict = facts.verdicts.get((patch.topic, mail.subject))
    if not verdict:
        raise HarnessError(f"reproducers/fixes.toml has no entry for '{mail.subject}' of {patch.topic}; say there whether the bug "
                           'crosses a trust boundary')
    if verdict.boundary not in ('no', 'yes', 'part'):
        raise HarnessError(f"reproducers/fixes.toml: boundary of '{mail.subject}' is '{verdict.boundary}'; want no, yes or part")
    return verdict


def check_patches(topics: dict[str, Topic], patches: Sequence[Patch], tests: Tests, facts: Facts) -> None:
    """An error unless the facts of each patch are complete and agree."""
    for patch in patches:
        path = topics[patch.topic].folder / patch.file
        check_mail(patch, path)
        mail = read_mail(path)
        if patch.kind is not Kind.FIX:
            continue
        check_fix(patch, tests)
        check_tags(mail, facts)
        verdict_of(patch, mail, facts)


def concerns(patch: Patch, mail: Mail, facts: Facts) -> list[str]:
    """What a poster has to decide about a fix before it goes out."""
    if patch.kind is not Kind.FIX:
        return []
    verdict, found = verdict_of(patch, mail, facts), []
    if mail.for_stable and mail.lines > STABLE_LINES:
        found.append(f'{mail.lines} lines with context; stable-kernel-rules.rst wants at most {STABLE_LINES}')
    if mail.for_stable and patch.values['evidence'] == 'inspection' and patch.values['trigger'] == 'none':
        found.append('Cc: stable, and nobody has seen the bug: stable-kernel-rules.rst takes no theoretical race without an '
                     'explanation of how it can be exploited')
    if not mail.for_stable:
        found.append(f'no Cc: stable: {verdict.no_stable or "reproducers/fixes.toml does not say why"}')
    found.append(f'crosses a trust boundary: {verdict.boundary}. {verdict.why}')
    return found
