# SPDX-License-Identifier: GPL-2.0
"""The texts of a posting: notes below '---' of a mail, the cover letter, the list to confirm, the private report."""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

from .errors import HarnessError, read_text
from .post_facts import Facts, Mail, concerns, mail_of, verdict_of
from .post_people import Recipients
from .post_plan import MOST_PATCHES, Part, Route, crossing, label_of, number_of
from .topics import Kind, Patch, Topic, all_patches

WIDTH = 75
TRIGGERS = {'user': 'any user can trigger it', 'root': 'root can trigger it', 'none': 'no way to trigger it is known'}


def wrap(text: str, indent: str = '') -> str:
    """Words in lines of at most WIDTH columns. A word is never split."""
    lines, line = [], ''
    for word in text.split():
        if line and len(indent) + len(line) + 1 + len(word) > WIDTH:
            lines.append(indent + line)
            line = ''
        line = f'{line} {word}'.strip()
    return '\n'.join([*lines, indent + line]) if line else ''


def case_text(topics: dict[str, Topic], case: str) -> str:
    """Which patch adds the case of a fix."""
    program = case.partition(':')[2].partition('.')[0]
    wanted = f'/{program}.c' if case.startswith('selftest:') else f'"{program}"'
    for patch in all_patches(topics):
        mail = mail_of(topics, patch)
        if patch.kind is Kind.TEST and (any(file.endswith(wanted) for file in mail.files) or f'+\t.name = {wanted}' in mail.text):
            return f"Test: {case}, which '{mail.subject}' adds."
    return f'Test: {case}.'


def seen_text(program: str, seen: Sequence[dict]) -> str:
    """What a reproducer said on stock kernels."""
    answers: dict[str, list[str]] = {}
    for entry in seen:
        outcome = entry['results'].get(program)
        if outcome:
            answers.setdefault(outcome, []).append(f'{entry["version"]} {entry["arch"]}')
    if not answers:
        return f'Reproducer {program}: not run on stock kernels yet.'
    return f'Reproducer {program} on stock kernels: ' + '; '.join(f'{what}: {", ".join(who)}' for what, who in answers.items()) + '.'


def fix_note(topics: dict[str, Topic], patch: Patch, facts: Facts) -> str:
    """For a reviewer of a fix: how the bug was seen, its test, and stock kernels. No reproducer of a security bug."""
    verdict = verdict_of(patch, mail_of(topics, patch), facts)
    lines = ['Seen on v7.3.4.' if patch.values['evidence'] == 'seen' else 'Found by code inspection; not seen on v7.3.4.']
    if verdict.crosses:
        return wrap(f'{lines[0]} A reproducer is available to maintainers who ask for it.') + '\n'
    if patch.values['case'] != 'none':
        lines.append(case_text(topics, patch.values['case']))
    if verdict.reproducer:
        lines.append(seen_text(verdict.reproducer, facts.seen))
    elif verdict.reason:
        lines.append(f'No program shows it: {verdict.reason}')
    return ''.join(wrap(line) + '\n' for line in lines)


def footer(needed: Sequence[tuple[str, str]], base: str, change: str) -> str:
    """Where a series applies, in words and for programs. `needed` has subject and patch id of each prerequisite."""
    lines = []
    if needed:
        lines += ['This applies on top of:', *(f'  {subject}' for subject, _ in needed), '']
    if base:
        lines.append(f'base-commit: {base}')
    lines += [f'prerequisite-patch-id: {name}' for _, name in needed]
    return '\n'.join([*lines, f'change-id: {change}']) + '\n'


def change_id(part: Part, previous: str, date: str) -> str:
    """The id that the versions of a series share, as b4 writes it."""
    found = re.search(r'^change-id: (\S+)$', previous, re.M)
    if found:
        return found.group(1)
    digest = hashlib.sha256(''.join(p.file for p in part.patches).encode()).hexdigest()
    return f'{date}-{part.folder}-{digest[:12]}'


def cover_of(part: Part, disclosure: str) -> str:
    """The text of a cover letter: subject, empty line, body; '' for a single patch."""
    if len(part.patches) == 1:
        return ''
    own = part.topic.folder / f'cover-{part.name}.txt'
    path = own if own.is_file() else part.topic.folder / 'cover.txt'
    name = f'topics/{part.topic.name}/{path.name}'
    text = read_text(path)
    if not text:
        raise HarnessError(f'{name} is missing; write it: Subject: in the first line, then the letter')
    if not text.startswith('Subject: '):
        raise HarnessError(f"{name} has to start with 'Subject: '")
    subject, _, body = text.removeprefix('Subject: ').partition('\n')
    if part.name and path is not own:
        numbers = ' '.join(str(int(number_of(p))) for p in part.patches)
        body = '\n' + wrap(f'This posting has the {part.name} of a topic: its patches {numbers}, here 1 to {len(part.patches)}. '
                           'The letter below is that of the whole topic, and has the numbers of the topic.') + '\n' + body
    if disclosure:
        body = body.rstrip() + '\n\n' + disclosure.rstrip() + '\n'
    return f'{subject}\n\n{body.strip()}\n'


def target_of(part: Part, mails: Sequence[Mail]) -> str:
    """The tree that takes the part."""
    folders = {file.split('/')[1] if file.startswith('arch/') else '' for mail in mails for file in mail.files if file != 'MAINTAINERS'}
    if len(folders) == 1 and '' not in folders:
        return f'the tree of {folders.pop()}'
    if all(p.kind is Kind.FIX for p in part.patches) and all(mail.for_stable for mail in mails):
        return 'mm-hotfixes'
    return 'mm-unstable'


def confirmations(topics: dict[str, Topic], part: Part, facts: Facts, route: Route, disclosure: str) -> list[str]:
    """What only the poster can say, a line each."""
    lines = [f'The tree that is asked to take this: {target_of(part, [mail_of(topics, p) for p in part.patches])}.',
             'You have read each patch, can answer for it, and certify its origin (submitting-patches.rst, DCO).',
             'You have built and tested the patches on the tree that they are for: the results here are those of v7.3.4.']
    if not disclosure:
        lines.append('generated-content.rst asks which tools had which part, and how you tested: say it by DISCLOSURE=FILE, or in reply '
                     'to review.')
    if len(part.patches) > MOST_PATCHES:
        lines.append(f'{len(part.patches)} patches; submitting-patches.rst wants about {MOST_PATCHES}: post parts, see GROUP=.')
    if route is Route.PUBLIC:
        lines += [f"'{subject}' crosses a trust boundary, and is to be public: it is known in public, or an AI tool found it "
                  '(security-bugs.rst). Do not attach a reproducer.' for subject in crossing(topics, part, facts)]
    if route is Route.PRIVATE:
        lines.append('No AI tool had a part in finding the bug: security-bugs.rst has such a bug treated as public; then say '
                     'ROUTE=public, and share no reproducer.')
    if route is Route.PUBLIC and any(p.kind is Kind.TEST for p in part.patches):
        lines.append('The tests here trigger bugs that cross a trust boundary: post them after the fixes are merged.')
    for patch in part.patches:
        mail = mail_of(topics, patch)
        lines += [f'{label_of(patch)} {mail.subject}: {concern}' for concern in concerns(patch, mail, facts)]
        if (patch.topic, mail.subject) in facts.visible:
            lines.append(f'{label_of(patch)} {mail.subject}: users see a change, man-pages get a patch or a notice: '
                         f'{facts.visible[patch.topic, mail.subject]}')
    return lines


def private_report(topics: dict[str, Topic], part: Part, facts: Facts, who: Recipients, mails: Sequence[Path]) -> str:
    """The plain-text report that security-bugs.rst asks for, with the temporary section on top."""
    text = ['[Remove this section before you send the report.', f' To: {", ".join(who.to)}', f' Cc: {", ".join(who.cc)}',
            ' No list gets the report or the patches. Send plain text, inline; see email-clients.rst. Send it to yourself first.]', '']
    for patch in part.patches:
        mail = mail_of(topics, patch)
        verdict = verdict_of(patch, mail, facts)
        body = mail.body.rpartition('\n\n')[0].strip()
        text += [f'Problem: {mail.subject}', '', body, '', wrap(f'Impact: {verdict.why}'),
                 f'Affected: v{patch.values["stable"].lstrip("v")} to v7.3.4.',
                 wrap(f'Conditions: {TRIGGERS[patch.values["trigger"]]}; '
                      f'{"seen" if patch.values["evidence"] == "seen" else "found by code inspection, not seen"} on v7.3.4.'),
                 'Reproducer: available to the recipients of this report who ask for it.', '']
    return '\n'.join([*text, 'The fix is in the mails that follow:', *(f'  {path.name}' for path in mails)]) + '\n'


def insert(path: Path, headers: str, note: str, end: str) -> None:
    """Add header lines, a note below '---' (before the diffstat) and lines at the end of a mail that git has written."""
    head, _, body = path.read_text(encoding='utf-8').partition('\n\n')
    if note:
        message, _, rest = body.partition('\n---\n')
        body = f'{message}\n---\n{note}\n{rest}'
    if end:
        body = body.rstrip('\n') + f'\n\n---\n{end}'
    path.write_text(f'{head}\n{headers}\n{body}', encoding='utf-8')
