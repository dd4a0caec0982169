#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Booting the guests of a plan: how a guest ends, and which results are kept. QEMU is a stub."""

import json
import os
from unittest import mock

from booting import JOB, GuestTest
from support import TOP, main, write

from harness.plan import GuestPlan, Plan


class Ends(GuestTest):
    """How a guest ends."""

    def test_result(self):
        self.boot()
        self.assertEqual(self.ended(), 'exit 0')
        self.assertEqual(sorted(p.name for p in self.folder.iterdir()),
                         ['console', 'ended', 'job', 'key', 'ktap', 'meta.json', 'qemu', 'smp', 'verdict'])
        self.assertEqual((self.folder / 'job').read_text(), 'kunit s\nselftest p 60 a\n')

    def test_meta(self):
        self.boot()
        meta = json.loads((self.folder / 'meta.json').read_text())
        self.assertEqual((meta['qemu'], meta['compiler'], meta['arch'], meta['variant'], meta['job']),
                         ('7.2.22', 'gcc 12', 'x86_64', 'series', list(JOB)))
        self.assertEqual(len(meta['image_sha256']), 64)
        self.assertEqual(meta['key'], (self.folder / 'key').read_text().strip())

    def test_hang(self):
        self.plan(TIMEOUT='1')
        self.boot(DO='exec sleep 60')
        self.assertEqual(self.ended(), 'timeout')

    def test_hang_that_does_not_heed_a_signal(self):
        self.plan(TIMEOUT='1')
        self.boot(DO="trap '' TERM; while :; do sleep 1; done")
        self.assertEqual(self.ended(), 'timeout')

    def test_killed_by_somebody_else(self):
        self.boot(DO='kill -KILL $$')
        self.assertEqual(self.ended(), 'exit 137')

    def test_qemu_that_fails(self):
        self.boot(DO='echo no such machine >&2; exit 1')
        self.assertEqual(self.ended(), 'exit 1')
        self.assertIn('no such machine', (self.folder / 'qemu').read_text())

    def test_uml(self):
        write(self.out / 'kernel/um-debug-series/image', '#!/bin/sh\necho "KTAP version 1"; echo "$@"\n')
        (self.out / 'kernel/um-debug-series/image').chmod(0o755)
        plan = Plan('t', {'verb': 'run', 'flavour': 'debug'})
        plan.guest(GuestPlan('g', 'um', 'series', (), {'KERNEL': 'um debug series', 'TIMEOUT': '20', 'APPEND': 'mm_mutant=x'}))
        with mock.patch.dict(os.environ, OUT=str(self.out)):
            plan.write()
        self.boot()
        self.assertRegex((self.folder / 'console').read_text(), 'KTAP version 1\n.*kunit.enable=1 .* mm_mutant=x')
        self.assertFalse((self.folder / 'job').exists())
        self.assertIn('kept', self.boot())


class Refused(GuestTest):
    """What cannot be booted."""

    def refused(self, pattern, **env):
        self.refuses(pattern, TOP / 'scripts/guest', 't', 'g', **env)
        self.assertFalse(self.folder.exists())
        self.assertFalse(self.folder.with_name('g.new').exists())
        self.assertEqual(self.boots(), 0)

    def test_old_qemu(self):
        self.plan(QEMU_VERSION='10')
        self.refused('qemu-system-x86_64 has version 7.2.22, and this guest wants 10')

    def test_new_qemu(self):
        self.plan(QEMU_VERSION='10')
        self.boot(QEMU_SAYS='10.0.2')
        self.assertEqual(self.ended(), 'exit 0')

    def test_no_qemu(self):
        self.unstub('qemu-system-x86_64')
        for tool in ('sh', 'bash', 'dirname', 'uname', 'realpath', 'nproc'):
            (self.work / 'bin' / tool).symlink_to(f'/usr/bin/{tool}')
        self.refused("missing qemu-system-x86_64; run 'scripts/packages", PATH=self.work / 'bin')

    def test_no_kernel(self):
        (self.out / 'kernel/x86_64-debug-series/image').unlink()
        self.refused('no kernel .*x86_64-debug-series/image; build it first')

    def test_no_root(self):
        (self.out / 'root/x86_64.cpio').unlink()
        self.refused('no root .*/root/x86_64.cpio; run scripts/root x86_64')

    def test_unknown_disk(self):
        self.plan(DISKS='floppy:1')
        self.refused("unknown disk 'floppy:1'; want KIND:MIB with a KIND of: ext4 xfs swap")

    def test_disk_that_cannot_be_made(self):
        self.plan(DISKS='ext4:1')
        self.stub('mkfs.ext4', '#!/bin/sh\necho no space >&2\nexit 1\n')
        self.refused('mkfs.ext4 failed: no space; is there space in')

    def test_unknown_guest(self):
        self.refuses("unknown guest 'h'; .* has: g", TOP / 'scripts/guest', 't', 'h')


class Keys(GuestTest):
    """A result is kept as long as nothing that it depends on has changed."""

    def setUp(self):
        super().setUp()
        self.boot()

    def test_kept(self):
        self.assertIn('kept', self.boot())
        self.assertEqual(self.boots(), 1)

    def test_another_image(self):
        write(self.out / 'kernel/x86_64-debug-series/image', 'another image')
        self.assertTrue(self.boots_again())

    def test_a_program_of_the_job(self):
        self.manifest(**{'./tests/p': '5'})
        self.assertTrue(self.boots_again())

    def test_init(self):
        self.manifest(**{'./init': '5'})
        self.assertTrue(self.boots_again())

    def test_a_program_of_other_jobs(self):
        self.manifest(**{'./tests/q': '5'})
        self.assertFalse(self.boots_again())

    def test_the_whole_suite(self):
        self.plan(job=['suite thp 1800'])
        self.manifest(**{'./kselftest/mm/cow': '1'})
        self.boot()
        self.manifest(**{'./kselftest/mm/cow': '2'})
        self.assertTrue(self.boots_again())

    def test_another_job(self):
        self.plan(job=[*JOB, 'selftest p 60 b'])
        self.assertTrue(self.boots_again())

    def test_another_setting(self):
        self.plan(MEMORY='4096')
        self.assertTrue(self.boots_again())

    def test_another_plugin(self):
        write(self.out / 'plugin/p.so', 'a plugin')
        self.plan(PLUGIN='p')
        self.assertTrue(self.boots_again())
        self.assertFalse(self.boots_again())
        write(self.out / 'plugin/p.so', 'another')
        self.assertTrue(self.boots_again())

    def test_another_limit(self):
        self.plan(TIMEOUT='21')
        self.assertTrue(self.boots_again())

    def test_another_qemu(self):
        self.boot(QEMU_SAYS='10.0.2')
        self.assertEqual(self.boots(), 2)

    def test_the_same_plan_made_again(self):
        self.plan()
        self.assertFalse(self.boots_again())

    def test_force(self):
        self.boot(FORCE='1')
        self.assertEqual(self.boots(), 2)

    def test_an_interrupted_result_is_none(self):
        (self.folder / 'key').unlink()
        self.assertTrue(self.boots_again())


class NotData(GuestTest):
    """What a limit ended, or what has no result, runs again."""

    def again_after(self, do, **plan):
        self.plan(**plan)
        self.boot(DO=do)
        return self.boots_again()

    def test_timeout(self):
        self.assertTrue(self.again_after('exec sleep 60', TIMEOUT='1'))

    def test_test_that_timed_out(self):
        self.assertTrue(self.again_after('printf "ran selftest:p.a 124\\ncomplete\\n" >"$verdict"'))

    def test_cut_off(self):
        self.assertTrue(self.again_after('echo ran kunit:s 0 >"$verdict"'))

    def test_qemu_that_failed(self):
        self.assertTrue(self.again_after('exit 1'))

    def test_failure_is_data(self):
        self.assertFalse(self.again_after('printf "ran selftest:p.a 1\\ncomplete\\n" >"$verdict"'))

    def test_panic_is_data(self):
        self.assertFalse(self.again_after('echo "[ 1.0] Kernel panic - not syncing: x" >"$console"'))

    def test_repeated_guests_keep_what_timed_out(self):
        self.plan(TIMEOUT='1')
        self.boot('1', DO='exec sleep 60')
        self.assertIn('kept', self.boot('1'))
        self.boot('2')
        self.assertEqual(self.boots(), 2)


if __name__ == '__main__':
    main()
