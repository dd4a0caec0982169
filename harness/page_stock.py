# SPDX-License-Identifier: GPL-2.0
"""What the page shows of reproducers/: the bug of each topic, its fixes, and the stock kernels that have the bugs."""

import json
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import HarnessError, need_text

NOT_RUN = 'not run'


@dataclass(frozen=True)
class Bug:
    """An entry of fixes.toml; without `has_patch` the series has the bug, too."""
    topic: str
    name: str
    has_patch: bool
    reproducer: str
    answers: tuple[str, ...]    # of each stock kernel, as in seen.json

    @property
    def is_affected(self) -> bool:
        """Does a stock kernel show it?"""
        return 'AFFECTED' in self.answers


@dataclass(frozen=True)
class Stock:
    """Stock kernels, and what the reproducers said on each."""
    kernels: tuple[str, ...]    # VERSION ARCH
    packages: tuple[str, ...]
    bugs: tuple[Bug, ...]
    sentences: dict[str, str]   # {topic: the bug that it fixes}

    def shown(self) -> list[Bug]:
        """Those that a reproducer shows, by topic."""
        return sorted((bug for bug in self.bugs if bug.reproducer), key=lambda bug: list(self.sentences).index(bug.topic))

    def fixes(self, topic: str) -> list[Bug]:
        """The fixes of a topic that have a patch."""
        return [bug for bug in self.bugs if bug.topic == topic and bug.has_patch]

    def affected(self, topic: str = '') -> tuple[int, int, int]:
        """Bugs of a topic, or of all, that have a reproducer: (those that a stock kernel shows, all, those that never ran)"""
        shown = [bug for bug in self.shown() if topic in ('', bug.topic)]
        return sum(bug.is_affected for bug in shown), len(shown), sum(set(bug.answers) <= {NOT_RUN} for bug in shown)


def read_bug(entry: dict[str, Any], seen: list[dict[str, Any]]) -> Bug:
    """An entry of fixes.toml with its answers."""
    reproducer = entry.get('reproducer', '')
    answers = tuple(kernel['results'].get(reproducer, NOT_RUN) for kernel in seen) if reproducer else ()
    return Bug(entry['topic'], entry.get('subject') or entry['title'], 'subject' in entry, reproducer, answers)


def read_stock(folder: Path, topics: Iterable[str]) -> Stock:
    """fixes.toml and seen.json of the folder; every topic has to have its sentence."""
    try:
        fixes = tomllib.loads(need_text(folder / 'fixes.toml'))
        seen = json.loads(need_text(folder / 'seen.json'))
    except ValueError as error:
        raise HarnessError(f'fixes.toml or seen.json of {folder} cannot be read: {error}') from error
    sentences = fixes.get('topics', {})
    for topic in topics:
        if topic not in sentences:
            raise HarnessError(f"{folder}/fixes.toml: [topics] lacks '{topic}'; add the bug that it fixes, in a sentence")
    for entry in fixes.get('fix', []):
        if entry['topic'] not in sentences:
            raise HarnessError(f"{folder}/fixes.toml: a fix of unknown topic '{entry['topic']}'; choose one of: {' '.join(sentences)}")
    return Stock(tuple(f"{kernel['version']} {kernel['arch']}" for kernel in seen), tuple(kernel['package'] for kernel in seen),
                 tuple(read_bug(entry, seen) for entry in fixes.get('fix', [])), {topic: sentences[topic] for topic in topics})
