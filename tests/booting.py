# SPDX-License-Identifier: GPL-2.0
"""What the tests of booting share: a plan with one guest, its kernel and its root; QEMU is a stub."""

import os
import sys
from unittest import mock

from support import TOP, CommandTest, write

sys.path.insert(0, str(TOP))

from harness.plan import GuestPlan, Plan  # noqa: E402

# Ends at once with a complete verdict, and notes each boot; it runs $DO before, if that is set.
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
        return self.does(TOP / 'scripts/guest', 't', '/'.join(('g', *copy)), **env)

    def boots(self):
        path = self.out / 'boots'
        return len(path.read_text().splitlines()) if path.exists() else 0

    def ended(self):
        return (self.folder / 'ended').read_text().strip()

    def boots_again(self):
        before = self.boots()
        self.boot()
        return self.boots() - before == 1
