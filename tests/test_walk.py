#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Walking through a plan: stages, interruption, DRY=1, GDB=1; records of stages, stale results. QEMU is a stub."""

import json
import os
import shutil
import signal
import subprocess
import time
from unittest import mock

from booting import JOB, SETTINGS, GuestTest
from support import TOP, CommandTest, main, write

from harness.plan import GuestPlan, Plan


class Walks(GuestTest):
    """Walking through a plan."""

    def test_walk(self):
        times = self.work / 'times'
        self.says(0, '^guest g of t +[0-9]+s +[0-9]+ core-s$', TOP / 'scripts/walk', 't', STAGE_TIMES=times)
        self.assertRegex(times.read_text(), r'^\d+\.\d\t\d+\.\d\tguest g of t\n$')
        self.assertIn('in all', self.does(TOP / 'scripts/times', STAGE_TIMES=times))

    def test_stage_that_fails(self):
        (self.out / 'kernel/x86_64-debug-series/image').unlink()
        status, out, _ = self.run_command(TOP / 'scripts/walk', 't')
        self.assertEqual(status, 1)
        self.assertRegex(out, r'FAILED\n  \| harness: no kernel .*\n  full log: .*/log/guest-g-of-t.log\n$')

    def two_guests(self):
        plan = Plan('t', {'verb': 'run', 'flavour': 'debug'})
        for name in ('g', 'h'):
            plan.guest(GuestPlan(name, 'x86_64', 'series', JOB, SETTINGS))
        with mock.patch.dict(os.environ, OUT=str(self.out)):
            plan.write()

    def test_guests_at_once(self):
        """Two guests, each of which waits for the other."""
        self.two_guests()
        meet = ('here=${verdict%.new/verdict}; touch "$OUT/at.${here##*/}"; '
                'until [ -e "$OUT/at.g" ] && [ -e "$OUT/at.h" ]; do sleep 0.1; done; echo complete >"$verdict"')
        self.says(0, '^2 guests of t from g ', TOP / 'scripts/walk', 't', GUESTS='2', DO=meet)
        self.assertEqual([(self.out / f'result/t/{name}/ended').read_text() for name in 'gh'], ['exit 0\n', 'exit 0\n'])

    def test_guests_one_after_the_other(self):
        self.two_guests()
        out = self.does(TOP / 'scripts/walk', 't')
        self.assertIn('guest g of t', out)
        self.assertIn('guest h of t', out)

    def test_guests_that_are_no_number(self):
        self.refuses("GUESTS='x': want a number", TOP / 'scripts/walk', 't', GUESTS='x')

    def test_step_that_is_none(self):
        write(self.out / 'result/t/plan', 'fly away\n')
        self.refuses("plan: 'fly away' is not a step; make the plan again", TOP / 'scripts/walk', 't')

    def test_interrupted(self):
        """A walk that is ended takes QEMU along, leaves the earlier result, and the next walk boots the guest again."""
        self.boot()
        self.plan(MEMORY='4096')
        process = subprocess.Popen([TOP / 'scripts/walk', 't'], stdout=subprocess.DEVNULL,
                                   env={**self.env, 'DO': 'echo $$ >"$OUT/pid"; exec sleep 60'})
        deadline = time.monotonic() + 20
        while not (self.out / 'pid').exists() or not (self.out / 'pid').read_text().strip():
            self.assertLess(time.monotonic(), deadline, 'QEMU did not start')
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(20), 128 + signal.SIGTERM)
        with self.assertRaises(ProcessLookupError):
            while time.monotonic() < deadline:
                os.kill(int((self.out / 'pid').read_text()), 0)
                time.sleep(0.05)
        self.assertEqual(self.ended(), 'exit 0')
        self.assertTrue(self.boots_again())
        self.assertFalse(self.folder.with_name('g.new').exists())

    def test_dry_run(self):
        write(self.out / 'result/t/plan', 'tree\nbuild x86_64 debug series\nroot x86_64\nguest g\n')
        lines = self.does(TOP / 'scripts/walk', 't', DRY='1').splitlines()
        self.assertEqual(lines[:3], [f'{TOP}/scripts/tree', f'{TOP}/scripts/kernel x86_64 debug series', f'{TOP}/scripts/root x86_64'])
        self.assertRegex(lines[3], '^qemu-system-x86_64 -machine pc .* -m 2048M.* -append .*mm.end=reboot hugepages=16')
        self.assertEqual(self.boots(), 0)


class Shell(GuestTest):
    """make boot."""

    def test_dry_run(self):
        line = self.does(TOP / 'scripts/boot', 'x86_64', DRY='1')
        self.assertRegex(line, '^qemu-system-x86_64 .*x86_64-debug-series/image .* -serial mon:stdio -append .* mm.shell.$')

    def test_gdb(self):
        lines = self.does(TOP / 'scripts/boot', 'x86_64', DRY='1', GDB='1', VARIANT='base').splitlines()
        self.assertRegex(lines[0], r"^gdb(-multiarch)? .*x86_64-debug-base/vmlinux -ex 'target remote :1234'$")
        self.assertRegex(lines[1], '-S -gdb tcp::1234$')

    def test_gdb_port(self):
        self.assertIn("'target remote :4321'", self.does(TOP / 'scripts/boot', 'x86_64', DRY='1', GDB='4321'))
        self.refuses("GDB='yes': want 1, or the port", TOP / 'scripts/boot', 'x86_64', GDB='yes')


class Stale(GuestTest):
    """make report: a result that is not of today's inputs is named, without a boot."""

    def setUp(self):
        super().setUp()
        self.linux = self.out / 'linux'
        write(self.linux / 'mm/a.c', 'int a;\n')
        write(self.linux / 'tools/x', '')
        self.git('init', '-q')
        self.commit()
        stamp = self.does(TOP / 'scripts/kernel', '--stamp', 'x86_64', 'debug', 'series')
        write(self.out / 'kernel/x86_64-debug-series/stamp', stamp)
        self.boot()

    def git(self, *words):
        self.does('git', '-C', self.linux, '-c', 'user.name=x', '-c', 'user.email=x@invalid', *words)

    def commit(self):
        self.git('add', '-A')
        self.git('commit', '-q', '-m', 'x')
        self.git('update-ref', 'refs/mm/series', 'HEAD')

    def stale(self):
        self.does(TOP / 'scripts/harness', 'stale', 't')
        self.assertEqual(self.boots(), 1)
        path = self.out / 'result/t/stale'
        return path.read_text() if path.exists() else ''

    def test_of_today(self):
        self.assertEqual(self.stale(), '')
        self.assertEqual(self.does(TOP / 'scripts/harness', 'planned'), 't\n')

    def test_another_source(self):
        write(self.linux / 'mm/a.c', 'int b;\n')
        self.commit()
        self.assertRegex(self.stale(), "^g\tthe kernel x86_64 debug series is not of today's source")

    def test_another_document(self):
        write(self.linux / 'Documentation/a.rst', 'words')
        self.commit()
        self.assertEqual(self.stale(), '')

    def test_another_program(self):
        self.manifest(**{'./tests/p': '5'})
        self.assertRegex(self.stale(), '^g\tthe result is absent, or of another kernel, program')

    def test_absent(self):
        shutil.rmtree(self.folder)
        self.assertRegex(self.stale(), '^g\tthe result is absent')

    def test_kernel_that_is_gone(self):
        shutil.rmtree(self.out / 'kernel')
        self.assertRegex(self.stale(), '^g\tthe kernel')

    def test_a_walk_ends_it(self):
        self.manifest(**{'./tests/p': '5'})
        self.stale()
        self.does(TOP / 'scripts/walk', 't')
        self.assertFalse((self.out / 'result/t/stale').exists())

    def test_the_tree_of_the_source_is_noted(self):
        meta = json.loads((self.folder / 'meta.json').read_text())
        self.assertEqual(meta['tree'], self.does('git', '-C', self.linux, 'rev-parse', 'HEAD^{tree}').strip())


class Root(CommandTest):
    """scripts/root, with stub packages."""

    def setUp(self):
        super().setUp()
        self.top = self.work / 'top'
        for name in ('scripts', 'guest'):
            shutil.copytree(TOP / name, self.top / name)
        shutil.copy(TOP / 'base.mk', self.top)
        write(self.top / 'scripts/debs', '#!/bin/sh\necho x.deb\n')
        self.stub('dpkg-deb', '#!/bin/sh\nmkdir -p "$3/bin"; echo busybox >"$3/bin/busybox"; echo bash >"$3/bin/bash-static"\n')
        write(self.work / 'out/user/x86_64/tests/p', 'a program')

    def test_the_same_files_make_the_same_archive(self):
        archives = []
        for when in (1000000, 2000000):
            os.utime(self.work / 'out/user/x86_64/tests/p', (when, when))
            self.does(self.top / 'scripts/root', 'x86_64')
            archives.append((self.work / 'out/root/x86_64.cpio').read_bytes())
        self.assertEqual(*archives)

    def test_manifest(self):
        self.does(self.top / 'scripts/root', 'x86_64')
        paths = [line.split()[1] for line in (self.work / 'out/root/x86_64.manifest').read_text().splitlines()]
        self.assertEqual(paths, ['./bin/busybox', './init', './tests/p'])

    def test_suite(self):
        write(self.work / 'out/user/x86_64/kselftest/mm/cow', 'a program')
        self.does(self.top / 'scripts/root', 'x86_64', 'kselftest')
        manifest = (self.work / 'out/root/x86_64-kselftest.manifest').read_text()
        self.assertIn('./kselftest/mm/cow', manifest)
        self.assertIn('./bin/bash', manifest)

    def test_without_a_root(self):
        self.refuses('um has no root: its kernel is a program of the host', self.top / 'scripts/root', 'um')


class Records(CommandTest):
    """result.json of stages, and their sum."""

    def harness(self, *words):
        return (TOP / 'scripts/harness', *words)

    def test_counts_of_a_command(self):
        self.does(*self.harness('record', 'a', 'echo', '3 passed, 0 failed, 1 skipped'))
        result = json.loads((self.work / 'out/result/a/result.json').read_text())
        self.assertEqual((result['passed'], result['failed'], result['skipped']), (3, 0, 1))

    def test_command_without_counts(self):
        self.does(*self.harness('record', 'a', 'true'))
        self.says(0, '^1 passed, 0 failed, 0 skipped$', *self.harness('total', 'a'))

    def test_command_that_fails(self):
        self.says(1, 'FAILED', *self.harness('record', 'a', 'false'))
        self.says(1, '^0 passed, 1 failed, 0 skipped$', *self.harness('total', 'a'))

    def test_counts_of_a_command_that_fails(self):
        self.says(3, 'FAILED', *self.harness('record', 'a', 'sh', '-c', 'echo 2 passed, 0 failed, 0 skipped; exit 3'))
        self.says(1, '^2 passed, 1 failed, 0 skipped$', *self.harness('total', 'a'))

    def test_sum(self):
        self.does(*self.harness('record', 'a', 'echo', '3 passed, 0 failed, 1 skipped'))
        self.does(*self.harness('record', 'b', 'true'))
        self.says(0, '^4 passed, 0 failed, 1 skipped$', *self.harness('total', 'a', 'b'))

    def test_part_without_a_result(self):
        self.does(*self.harness('record', 'a', 'true'))
        self.says(1, '^gone: no result$', *self.harness('total', 'a', 'gone'))
        self.says(1, '^1 passed, 1 failed, 0 skipped$', *self.harness('total', 'a', 'gone'))

    def test_total_names_failures(self):
        """The end of a long log says which case failed, and how."""
        cell = {'column': 'series', 'verdict': 'SPLAT', 'reason': 'unexpected', 'splat': 'WARNING: x', 'note': None}
        case = {'case': 'selftest:a.b', 'arch': 'um', 'mutant': None, 'outcome': 'failed', 'columns': [cell]}
        finding = {'guest': 'um-series', 'section': None, 'fault': 'splat', 'text': 'BUG: y'}
        write(self.work / 'out/result/a/result.json', json.dumps({'passed': 0, 'failed': 2, 'skipped': 0, 'cases': [case],
                                                                  'findings': [finding]}))
        self.says(1, '^a: failed selftest:a.b um: series SPLAT unexpected WARNING: x$', *self.harness('total', 'a'))
        self.says(1, '^a: um-series splat BUG: y$', *self.harness('total', 'a'))

    def test_unknown_command(self):
        self.says(2, "invalid choice: 'nope'", *self.harness('nope'))


if __name__ == '__main__':
    main()
