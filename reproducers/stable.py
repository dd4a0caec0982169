# SPDX-License-Identifier: GPL-2.0
"""Do the stable tags of the fixes, the programs' comments and the results on stock kernels agree?"""

import re
import tomllib
from pathlib import Path

import fixes
import seen
from fixes import Fix
from guests import Outcome
from seen import numbers


def releases(path: Path = fixes.HERE / 'fixes.toml') -> dict[str, str]:
    """The first release that has each commit of a Fixes: tag."""
    return tomllib.loads(path.read_text())['releases']


def of_tags(fix: Fix, mail: str, known: dict[str, str]) -> list[str]:
    """stable= against Fixes: and Cc: stable of the mail."""
    lines = []
    tags = re.findall(r'^Fixes: ([0-9a-f]+) ', mail, re.M)
    lines += [f'fixes.toml has no release of {tag}' for tag in tags if tag not in known]
    first = min((known[tag] for tag in tags if tag in known), key=numbers, default=fix.since)
    if first != fix.since:
        lines.append(f'stable={fix.since}, and the first commit of its Fixes: tags is in {first}')
    has_cc = bool(re.search(r'^Cc: <?stable@', mail, re.M))
    if not has_cc and not fix.no_stable:
        lines.append('has neither "Cc: stable" nor no_stable= in fixes.toml')
    if has_cc and fix.no_stable:
        lines.append('has "Cc: stable", and no_stable= in fixes.toml')
    return lines


def of_results(fix: Fix, entries: list[dict]) -> list[str]:
    """The first release with the bug against stock kernels."""
    lines = []
    since = fix.shown_since or fix.since
    for entry in entries:
        outcome = entry['results'].get(fix.reproducer)
        has_bug = numbers(entry['version']) >= numbers(since) and entry['arch'] in (fix.arches or [entry['arch']])
        if outcome == Outcome.AFFECTED.value and not has_bug or outcome == Outcome.RIGHT.value and has_bug:
            lines.append(f'{entry["version"]} {entry["arch"]} is {outcome}, and {fix.reproducer} is since {since}')
    if fix.differs and not lines:
        return ['has differs= in fixes.toml, and nothing differs']
    return [] if fix.differs else lines


def disagreements(all_fixes: list[Fix], entries: list[dict] | None = None, topics: Path = fixes.TOPICS,
                  known: dict[str, str] | None = None) -> list[str]:
    """A line for each."""
    found = []
    for fix in all_fixes:
        patch = fix.patch(topics) if fix.subject else None
        lines = of_tags(fix, patch.read_text(), releases() if known is None else known) if patch else []
        if fix.reproducer:
            lines += of_results(fix, seen.load() if entries is None else entries)
            comment = (fixes.HERE / f'{fix.reproducer}.c').read_text().split('*/')[0]
            if (fix.shown_since or fix.since) not in re.findall(r'since (\d+(?:\.\d+)+)', comment):
                lines.append(f'the first comment of {fix.reproducer}.c does not say "since {fix.shown_since or fix.since}"')
        found += [f'{fix.topic}: {fix.name}: {line}' for line in lines]
    return found
