# SPDX-License-Identifier: GPL-2.0
"""Checks the data of the patches in topics/*/series against their mails and against topics/*/tests.

    python3 -m harness.series_check

topics.py checks each line by itself: the kind, and that a fix says all that it has to say.
"""

import sys
from collections import Counter
from pathlib import Path

from .errors import HarnessError, need_text
from .expectations import Tests, Want, read_tests
from .topics import Kind, Patch, Topic, all_patches, read_order, read_series, topics_folder


def has_fixes(mail: str) -> bool:
    """Does the message of a mail have a line "Fixes: "?"""
    message = mail.split('\n---\n', 1)[0]
    return any(line.startswith('Fixes: ') for line in message.splitlines())


def check_mail(patch: Patch, path: Path) -> None:
    """An error unless the kind of the patch agrees with its mail."""
    where = f'topics/{patch.topic}/{patch.file}'
    if has_fixes(need_text(path)) != (patch.kind is Kind.FIX):
        if patch.kind is Kind.FIX:
            raise HarnessError(f"{where} is a fix and has no 'Fixes:'; name the commit that it fixes, or change its kind in series")
        raise HarnessError(f"{where} has 'Fixes:' and is no fix; change its kind in series, and say there what a fix has to say")


def check_fix(patch: Patch, tests: Tests) -> None:
    """An error unless the facts of a fix agree with each other and with topics/*/tests."""
    where, facts = f'topics/{patch.topic}/series: {patch.file}', patch.values
    lines = [e for e in tests.expectations if e.case == facts['case']]
    if facts['case'] != 'none' and not lines:
        raise HarnessError(f"{where}: topics/*/tests has no case '{facts['case']}'")
    if facts['evidence'] == 'seen':
        if not any(e.want not in (Want.PASS, Want.SKIP) for e in lines):
            raise HarnessError(f"{where}: evidence=seen wants case= to be one that does not pass on base; "
                               f"'{facts['case']}' is none, say evidence=inspection")
        if facts['trigger'] == 'none':
            raise HarnessError(f'{where}: evidence=seen and trigger=none contradict each other; say trigger=user or trigger=root')


def check_order(topic: Topic, patches: list[Patch]) -> None:
    """An error unless fixes come first, and series and folder have the same patches."""
    other = ''
    for patch in patches:
        if patch.kind is not Kind.FIX:
            other = patch.file
        elif other:
            raise HarnessError(f'topics/{topic.name}/series: {patch.file} is a fix and comes after {other}; fixes come first')
    listed = Counter(patch.file for patch in patches)
    for file, times in listed.items():
        if times > 1:
            raise HarnessError(f'topics/{topic.name}/series: {file} is there twice')
    for path in sorted(topic.folder.glob('*.patch')):
        if path.name not in listed:
            raise HarnessError(f'topics/{topic.name}/series does not name {path.name}; add it, or remove the patch')


def check_groups(patches: list[Patch]) -> None:
    """An error if a group has one fix only: that is group=alone."""
    groups = Counter(p.values['group'] for p in patches if p.kind is Kind.FIX)
    for patch in patches:
        group = patch.values.get('group', 'alone')
        if group != 'alone' and groups[group] == 1:
            raise HarnessError(f"topics/{patch.topic}/series: {patch.file}: group '{group}' has no other fix; say group=alone")


def check_series(folder: Path) -> Counter[Kind]:
    """Check all topics; return how many patches each kind has."""
    topics = read_order(folder)
    tests = read_tests(topics)
    for topic in topics.values():
        patches = read_series(topic)
        check_order(topic, patches)
        for patch in patches:
            check_mail(patch, topic.folder / patch.file)
            if patch.kind is Kind.FIX:
                check_fix(patch, tests)
    patches = all_patches(topics)
    check_groups(patches)
    return Counter(patch.kind for patch in patches)


def main() -> int:
    """Print how many patches of each kind there are, or the first error."""
    try:
        kinds = check_series(topics_folder())
    except HarnessError as error:
        print(f'series: {error}', file=sys.stderr)
        return 1
    print(f'{kinds.total()} patches: ' + ', '.join(f'{number} {kind.value}' for kind, number in kinds.items()))
    return 0


if __name__ == '__main__':
    sys.exit(main())
