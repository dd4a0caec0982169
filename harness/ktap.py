# SPDX-License-Identifier: GPL-2.0
"""KTAP: parsed by the base kernel's kunit_parser.py; here are the rules that kunit_parser forgives."""

import importlib
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import HarnessError
from .verdict import CaseResult, Reason, Verdict


@dataclass(frozen=True)
class Leaf:
    """One case of a KTAP text. `parsed` is kunit_parser's word, `result` has the directives, too."""
    path: tuple[str, ...]
    parsed: Verdict
    result: CaseResult

    @property
    def name(self) -> str:
        return self.path[-1]


class KunitTools:
    """tools/testing/kunit of a kernel tree."""

    def __init__(self, folder: Path):
        if not (folder / 'kunit_parser.py').is_file():
            raise HarnessError(f'no kunit_parser.py in {folder}; run make tree, or name a kernel\'s '
                               'tools/testing/kunit with --kunit')
        if str(folder) not in sys.path:
            sys.path.insert(0, str(folder))
        self.parser: Any = importlib.import_module('kunit_parser')
        self._quiet = importlib.import_module('kunit_printer').Printer(False)
        self._words = {self.parser.TestStatus.SUCCESS: Verdict.PASS,
                       self.parser.TestStatus.FAILURE: Verdict.FAIL,
                       self.parser.TestStatus.SKIPPED: Verdict.SKIP}
        self._no_case = (self.parser.TestStatus.NO_TESTS, self.parser.TestStatus.FAILURE_TO_PARSE_TESTS)

    def leaves(self, lines: list[str]) -> list[Leaf]:
        """Every case of a KTAP text, and the test's own word on it."""
        ktap = ktap_only(lines)
        test = self.parser.parse_run_tests(lines, self._quiet)
        return [self._leaf(path, leaf, ktap) for path, leaf in self._walk(test, ())]

    def _walk(self, test: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
        for sub in test.subtests:
            here = (*path, sub.name)
            if sub.subtests:
                yield from self._walk(sub, here)
            elif sub.status not in self._no_case:
                yield here, sub

    def _leaf(self, path: tuple[str, ...], test: Any, ktap: list[str]) -> Leaf:
        """The parser takes XFAIL for passed, and only upper-case directives: directive() decides."""
        parsed = verdict = self._words.get(test.status, Verdict.NO_RESULT)
        reason = Reason.CUT_OFF if verdict is Verdict.NO_RESULT else Reason.SAID
        note = (getattr(test, 'skip_reason', '') or '') if verdict is Verdict.SKIP else ''
        word = directive(ktap, path[-1])
        if word == 'SKIP':
            verdict, reason = Verdict.SKIP, Reason.SAID
        elif word:
            verdict, reason, note = Verdict.FAIL, Reason.DIRECTIVE, word
        return Leaf(path, parsed, CaseResult(verdict, reason, verdict, tuple(failures(test.log)), note=note))


def ktap_only(lines: list[str]) -> list[str]:
    """From the version line on; UML's kernel log ends where the KTAP does."""
    for number, line in enumerate(lines):
        if re.match(r'(K?TAP version \d+)$', line):
            return lines[number:]
    return []


def directive(lines: list[str], name: str) -> str:
    """SKIP, XFAIL, TODO or XPASS behind a result's name, in any case; '' if there is none."""
    for line in lines:
        mark = re.match(r' *(?:not )?ok \d+ (?:- )?(.*?)\s*# *(skip|xfail|todo|xpass)\b', line, re.I)
        if mark and mark.group(1) == name:
            return mark.group(2).upper()
    return ''


class _Plans:
    """The plans of a KTAP text by indentation: [planned, seen]."""

    def __init__(self) -> None:
        self.levels: dict[int, list[int | None]] = {}
        self.errors: list[str] = []

    def close(self, indent: int) -> None:
        """The levels that are further in have come to their end."""
        for level in [deep for deep in self.levels if deep > indent]:
            planned, seen = self.levels.pop(level)
            if planned is None:
                self.errors.append(f'{seen} results without a plan')
            elif planned != seen:
                self.errors.append(f'planned {planned}, saw {seen}')

    def plan(self, indent: int, planned: int) -> None:
        self.close(indent)
        if indent in self.levels and self.levels[indent][0] is not None:
            self.close(indent - 1)
        self.levels.setdefault(indent, [None, 0])[0] = planned

    def result(self, indent: int, number: int) -> None:
        self.close(indent)
        state = self.levels.setdefault(indent, [None, 0])
        state[1] = (state[1] or 0) + 1
        if number != state[1]:
            self.errors.append(f'result {number} where {state[1]} was due')


def plan_errors(lines: list[str]) -> list[str]:
    """The faults of the plans of a KTAP text. kunit_parser forgives more."""
    plans = _Plans()
    for line in lines:
        text = line.lstrip(' ')
        indent = len(line) - len(text)
        plan = re.match(r'1\.\.(\d+)(\s*#.*)?$', text)
        result = re.match(r'(not )?ok (\d+)\b', text)
        if plan:
            plans.plan(indent, int(plan.group(1)))
        elif result:
            plans.result(indent, int(result.group(2)))
    if not plans.levels:
        plans.errors.append('no plan and no result')
    plans.close(-1)
    return plans.errors


def failures(log: list[str]) -> list[str]:
    """The failed assertions of one case, each as one text."""
    blocks: list[str] = []
    for line in log:
        # kselftest_harness: the expectation, and then its handler's message
        said = re.match(r'\s*# \S+\.c:\d+:\w+:(Expected )?', line)
        if said and said.group(1):
            blocks.append(line)
        elif said and blocks:
            blocks[-1] += '\n' + line
        elif said:
            continue
        elif re.search(r'(EXPECTATION|ASSERTION) FAILED at', line):
            blocks.append(line)
        elif blocks and not line.lstrip().startswith('# ') and 'not ok' not in line:
            blocks[-1] += '\n' + line
        elif re.search(r'# .*(Expected|Assertion|not ok|FAIL|Bail out)', line):
            blocks.append(line)
    return blocks


def parse_list(lines: list[str]) -> list[str]:
    """The cases that a kselftest_harness program prints with -l: FIXTURE.TEST or FIXTURE.VARIANT.TEST.

    Each row is '%-20s %-25s %s' of fixture, variant and test. Variants and tests of a fixture are two
    columns beside each other, not pairs: every variant runs every test.
    """
    fixtures: list[tuple[str, list[str], list[str]]] = []
    for line in lines:
        # the heading, and messages of a program's setup
        if line.startswith(('#', '-----')) or not line.strip():
            continue
        fixture, rest = _column(line, 20)
        variant, test = _column(rest, 25)
        if fixture:
            fixtures.append((fixture, [], []))
        if not fixtures or ' ' in test or f'{fixture:20} {variant:25} {test}'.rstrip() != line.rstrip():
            raise ValueError(f"not a row of a kselftest's -l: '{line}'")
        if variant:
            fixtures[-1][1].append(variant)
        if test:
            fixtures[-1][2].append(test)
    return [f'{fixture}.{variant}.{test}' if variant else f'{fixture}.{test}'
            for fixture, variants, tests in fixtures for variant in variants or [''] for test in tests]


def _column(text: str, width: int) -> tuple[str, str]:
    """The first column of '%-WIDTHs ...', which may be longer than its width, and the rest."""
    if text.startswith(' '):
        return '', text[width + 1:]
    word = text.split(' ', 1)[0]
    return word, text[max(width, len(word)) + 1:]
