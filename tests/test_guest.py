#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Booting the guests of a plan: how a guest ends, which results are kept, DRY=1, GDB=1. QEMU is a stub."""

import json
import os
import signal
import subprocess
import sys
import time
from unittest import mock

from support import TOP, CommandTest, main, write

sys.path.insert(0, str(TOP))

from harness.plan import GuestPlan, Plan  # noqa: E402

# Ends at once with a complete verdict, and notes each boot; $DO is what it does before.
QEMU = '''#!/bin/sh
[ "$1" != --version ] || { echo "QEMU emulator version ${QEMU_SAYS:-7.2.22} (Debian)"; exit; }
echo boot >>"$OUT/boots"
for word; do
	case $word in
	file,id=verdict,path=*) verdict=${word#*path=} ;;
	file:*) console=${word#file:} ;;
	esac
done
eval "${DO:-echo complete >\\"\\$verdict\\"}"
'''
SETTINGS = {'KERNEL': 'x86_64 debug series', 'ROOT': 'x86_64', 'TIMEOUT': '20', 'SMP': '2', 'MEMORY': '2048', 'MACHINE': 'pc',
            'CPU': 'max', 'APPEND': 'hugepages=16'}
JOB = ('kunit s', 'selftest p 60 a')


class GuestTest(CommandTest):
    """A plan with one guest, its kernel and its root."""

    def setUp(self):
        super().setUp()
        self.out = self.work / 'out'
        self.stub('qemu-system-x86_64', QEMU)
        write(self.out / 'kernel/x86_64-debug-series/image', 'an image')
        write(self.out / 'kernel/x86_64-debug-series/config', 'CONFIG_A=y')
        write(self.out / 'kernel/x86_64-debug-series/compiler', 'gcc 12\n')
        write(self.out / 'root/x86_64.cpio', '')
        self.manifest()
        self.plan()
        self.folder = self.out / 'result/t/g'

    def manifest(self, **changes):
        digests = {'./init': '1', './bin/busybox': '2', './tests/p': '3', './tests/q': '4', **changes}
        write(self.out / 'root/x86_64.manifest', ''.join(f'{digest}  {path}\n' for path, digest in digests.items()))

    def plan(self, job=JOB, **changes):
        plan = Plan('t', {'verb': 'run', 'flavour': 'debug'})
        plan.guest(GuestPlan('g', 'x86_64', 'series', tuple(job), {**SETTINGS, **changes}))
        with mock.patch.dict(os.environ, OUT=str(self.out)):
            plan.write()

    def boot(self, *copy, **env):
        return self.does(TOP / 'scripts/guest', 't', 'g', *copy, **env)

    def boots(self):
        path = self.out / 'boots'
        return len(path.read_text().splitlines()) if path.exists() else 0

    def ended(self):
        return (self.folder / 'ended').read_text().strip()

    def boots_again(self):
        before = self.boots()
        self.boot()
        return self.boots() - before == 1


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

    def test_unknown_command(self):
        self.says(2, "invalid choice: 'nope'", *self.harness('nope'))


if __name__ == '__main__':
    main()
