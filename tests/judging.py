# SPDX-License-Identifier: GPL-2.0
"""What the tests of the judges share: a result folder, guests in it, and their judgement, in this process."""

import contextlib
import json
import os
import shutil
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

from support import TOP, write

sys.path.insert(0, str(TOP))

from harness.cli_judge import judge  # noqa: E402
from harness.ktap import KunitTools  # noqa: E402
from harness.output import summary, write_files  # noqa: E402
from harness.results import read_results  # noqa: E402
from harness.splats import read_rules  # noqa: E402

GOOD = '    ok 1 one\n    ok 2 two\n'
BAD = '    # one: EXPECTATION FAILED at mm/x.c:1\n    Expected a == b, but\nthe rule\n    not ok 1 one\n    ok 2 two\n'
SKIPPED = '    ok 1 one # SKIP none\n    ok 2 two # SKIP none\n'
WARNING = '[ 1.05] the table is full\n[ 1.05] WARNING: mm/x.c:1 at f+0x1\n'
PANIC = '[ 2.0] Kernel panic - not syncing: x\n'


def kunit_tools() -> KunitTools:
    """The parser of a real kernel: $LINUX, $OUT/linux or out/linux. Without one every test is an error."""
    places = [os.environ.get('LINUX'), f"{os.environ.get('OUT') or TOP / 'out'}/linux"]
    folders = [Path(place) / 'tools/testing/kunit' for place in places if place]
    return KunitTools(next((f for f in folders if f.is_dir()), folders[-1]))


class Guest:
    """A guest's folder of a test; edit it to spoil it."""

    def __init__(self, path: Path):
        self.path = path

    def write(self, **files: str) -> 'Guest':
        for name, text in files.items():
            write(self.path / name, text)
        return self

    def read(self, name: str) -> str:
        return (self.path / name).read_text()

    def edit(self, name: str, old: str, new: str) -> 'Guest':
        """Replace text that must be there."""
        text = self.read(name)
        if old not in text:
            raise AssertionError(f'{name} lacks {old!r}:\n{text}')
        return self.write(**{name: text.replace(old, new)})

    def append(self, name: str, text: str) -> 'Guest':
        return self.write(**{name: self.read(name) + text})

    def cut(self, name: str, mark: str) -> 'Guest':
        """Remove everything from the line with the mark on."""
        text = self.read(name)
        return self.write(**{name: text[:text.rindex('\n', 0, text.index(mark)) + 1]})

    def remove(self, *names: str) -> 'Guest':
        for name in names:
            (self.path / name).unlink()
        return self


def section(name: str, text: str) -> str:
    return f'#### begin {name}\n{text}#### end {name}\n'


def marks(name: str, said: str = '') -> str:
    """The part of the kernel log that belongs to a section."""
    return f'[ 1.0] mm: begin {name}\n{said}[ 1.1] mm: end {name}\n'


def kunit_text(cases: str) -> str:
    """What debugfs shows of the suite s with two cases."""
    word = 'not ok' if 'not ok' in cases else 'ok'
    return f'KTAP version 1\n1..1\n    KTAP version 1\n    # Subtest: s\n    1..2\n{cases}{word} 1 s\n'


def selftest_text(case: str, word: str, said: str = '') -> str:
    return f'TAP version 13\n1..1\n{said}{word} 1 {case}\n'


class JudgeTest(unittest.TestCase):
    """self.results is a result folder, self.topics the topics; guests are added, spoiled and judged."""
    verb = 'run'

    @classmethod
    def setUpClass(cls) -> None:
        cls.tools = kunit_tools()

    def setUp(self) -> None:
        self.work = Path(tempfile.mkdtemp(prefix='mm-judge-'))
        self.addCleanup(shutil.rmtree, self.work)
        self.results, self.topics = self.work / 'result', self.work / 'topics'
        self.planned: list[tuple[str, str, str, str]] = []
        self.request = {'verb': self.verb, 'archs': ['x86_64'], 'flavour': 'debug'}
        write(self.topics / 'order', 't\n')
        stack = contextlib.ExitStack()
        self.addCleanup(stack.close)
        stack.enter_context(mock.patch.dict(os.environ, TOPICS=str(self.topics)))
        os.environ.pop('SPLATS', None)

    def plan(self, arch: str, variant: str, what: str = '-', name: str = '') -> Guest:
        """A guest of the plan, still without files; again with the same name for another `what`."""
        name = name or '-'.join([arch, variant] + ([what.partition(':')[2] or what] if what != '-' else []))
        if (name, arch, variant, what) not in self.planned:
            self.planned.append((name, arch, variant, what))
        return Guest(self.results / name)

    def good(self, guest: Guest, job: str = '', **files: str) -> Guest:
        """A guest that ended as it has to, with these files."""
        shutil.rmtree(guest.path, ignore_errors=True)
        return guest.write(**{'ended': 'exit 0\n', 'job': job, 'verdict': 'complete\n', 'console': '', 'ktap': '', **files})

    def kunit(self, guest: Guest, cases: str = GOOD) -> Guest:
        """A guest that ran the KUnit suite s."""
        return self.good(guest, verdict='ran kunit:s 0\ncomplete\n', console=marks('kunit:s'),
                         ktap=section('kunit:s', kunit_text(cases)))

    def judge(self, status: int, *patterns: str) -> str:
        """Judge, write the files, and find a line for each pattern in the summary."""
        write(self.results / 'request.json', json.dumps(self.request))
        write(self.results / 'guests', ''.join('\t'.join(line) + '\n' for line in self.planned))
        results = read_results(self.results, read_rules(), self.tools)
        judgement = judge(results)
        text = summary(results.request.verb, judgement)
        write_files(results, judgement, text)
        self.judgement, self.text = judgement, text
        self.assertEqual(0 if judgement.is_good else 1, status, text)
        for pattern in patterns:
            self.assertRegex(text, f'(?m){pattern}')
        return text

    def data(self) -> dict:
        """result.json of the last judgement."""
        return json.loads((self.results / 'result.json').read_text())
