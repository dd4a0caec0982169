# SPDX-License-Identifier: GPL-2.0
"""What the test files share: commands in a scratch folder, stub programs, a small kernel, TAP output.

Each tests/test_*.py runs alone, from any folder, and ends with main(): TAP with a plan, then
"N passed, N failed, N skipped".
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
# Settings of the caller's that would change what a script does.
SETTINGS = ('ARCH', 'TOPIC', 'TEST', 'MUTANT', 'VARIANT', 'KERNEL', 'PATCH', 'VERSION', 'KERNEL_SRC', 'OUT', 'CACHE', 'JOBS',
            'CATEGORY', 'TARGETS', 'LTP', 'LIBHUGETLBFS', 'FLAVOUR', 'APPEND', 'TIMEOUT', 'CASE_SECONDS', 'SPLATS', 'MAKEFLAGS', 'MAKELEVEL', 'SMP', 'MEMORY',
            'HOTPLUG', 'MACHINE', 'CPU', 'HUGETLB', 'QEMU_VERSION', 'FORCE', 'DRY', 'GDB', 'STAGE', 'N', 'GUESTS', 'STAGE_TIMES', 'TOPICS',
            'GROUP', 'AFTER', 'PREVIOUS', 'ROUTE', 'SIGNED_OFF_BY', 'ASSISTED_BY', 'DISCLOSURE')


class CommandTest(unittest.TestCase):
    """A test of commands. self.work is a folder of its own; self.env is what commands get."""

    def setUp(self):
        self.work = Path(tempfile.mkdtemp(prefix='mm-test-'))
        self.addCleanup(shutil.rmtree, self.work, ignore_errors=True)
        self.env = {k: v for k, v in os.environ.items() if k not in SETTINGS}
        self.env['OUT'] = str(self.work / 'out')

    def run_command(self, *command, cwd=TOP, **env):
        """Run it; return (status, standard output, standard error)."""
        done = subprocess.run([str(c) for c in command], cwd=cwd, env={**self.env, **{k: str(v) for k, v in env.items()}},
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr

    def does(self, *command, **env):
        """It succeeds; return its standard output."""
        status, out, err = self.run_command(*command, **env)
        self.assertEqual(status, 0, f'{command} failed:\n{out}{err}')
        return out

    def refuses(self, pattern, *command, **env):
        """It fails, and standard error is one line that matches the pattern."""
        status, out, err = self.run_command(*command, **env)
        said = f'{command} ended with {status}:\n{out}{err}'
        self.assertNotEqual(status, 0, said)
        self.assertEqual(len(err.splitlines()), 1, f'not one line: {said}')
        self.assertRegex(err, pattern)

    def says(self, status, pattern, *command, **env):
        """It ends with that status and prints a line that matches the pattern."""
        got, out, err = self.run_command(*command, **env)
        self.assertEqual(got, status, f'{command}:\n{out}{err}')
        self.assertTrue(re.search(pattern, out + err, re.M), f'no line matches {pattern!r}:\n{out}{err}')

    def stub(self, name, text):
        """A program of that name in front of the real one, for commands that run after this."""
        folder = self.work / 'bin'
        folder.mkdir(exist_ok=True)
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
        self.env['PATH'] = f'{folder}:{os.environ["PATH"]}'

    def unstub(self, name):
        (self.work / 'bin' / name).unlink()


def write(path, text):
    """Write a file, and the folders above it."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


class TapResult(unittest.TestResult):
    """TAP, a line a test; the reason of a failure as comments."""

    def __init__(self):
        super().__init__()
        self.number = self.passed = 0

    def _line(self, word, test, note=''):
        self.number += 1
        print(f'{word} {self.number} {test.id().removeprefix("__main__.")}{note}', flush=True)

    def _why(self, text):
        print(''.join(f'# {line}\n' for line in text.splitlines()), end='')

    def addSuccess(self, test):
        super().addSuccess(test)
        self.passed += 1
        self._line('ok', test)

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self._line('not ok', test)
        self._why(self.failures[-1][1])

    def addError(self, test, err):
        super().addError(test, err)
        self._line('not ok', test)
        self._why(self.errors[-1][1])

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self._line('ok', test, f' # SKIP {reason}')

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err is not None:
            self._line('not ok', subtest)
            self._why(''.join(self._exc_info_to_string(err, test)))


def run_suite(suite):
    """Run it with TAP output; return the exit status."""
    print(f'TAP version 13\n1..{suite.countTestCases()}', flush=True)
    result = TapResult()
    suite.run(result)
    failed = len(result.failures) + len(result.errors)
    print(f'{result.passed} passed, {failed} failed, {len(result.skipped)} skipped')
    return 1 if failed or not result.passed else 0


def main():
    """The end of a test file: all its tests, or those whose names hold a word of the command line."""
    tests = unittest.defaultTestLoader.loadTestsFromModule(sys.modules['__main__'])
    words = sys.argv[1:]
    chosen = unittest.TestSuite(t for group in tests for t in group if not words or any(w in t.id() for w in words))
    sys.exit(run_suite(chosen))
