#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""affected.py with stubs of apt, gcc and QEMU."""

import gzip
import json
import struct
import sys

from support import TOP, CommandTest, main, write

REPRODUCERS = TOP / 'reproducers'
sys.path.insert(0, str(REPRODUCERS))
import fixes  # noqa: E402
import guests  # noqa: E402
import report  # noqa: E402
from guests import Outcome  # noqa: E402

AFFECTED = REPRODUCERS / 'affected.py'
PROGRAMS = sorted(p for p in REPRODUCERS.glob('*.c') if p.stem != 'init')

# A guest: each reproducer says what STUB has for it ("NAME=WORD"), or that the kernel is right.
QEMU = '''#!/usr/bin/python3
import os, sys
args = sys.argv
console = open(args[args.index('-serial') + 1].removeprefix('file:'), 'w')
stub = dict(w.split('=') for w in os.environ.get('STUB', '').split())
image = open(args[args.index('-kernel') + 1], 'rb').read()
if b'STUB=' in image:
    stub['kernel'] = image.split(b'STUB=')[1].decode()
cmdline = args[args.index('-append') + 1]
say = lambda text: print('[ 1.0] affected: ' + text, file=console)
if stub.get('kernel') == 'qemu':
    sys.exit('qemu: no such machine')
if stub.get('kernel') == 'no-initramfs':
    print('Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)', file=console)
    sys.exit(0)
if stub.get('kernel') == 'no-tmpfs':
    say('missing tmpfs: No such device')
say('version Linux version 6.12.9+deb13-cloud-amd64 (gcc) #1 SMP Debian 6.12.9-1 (2026-01-01)')
times = int(next(w for w in cmdline.split() if w.startswith('N=')).removeprefix('N='))
for number, name in [(n, name) for name in cmdline.split(' -- ')[1].split() for n in range(times)]:
    word = stub.get(name, 'right')
    say('begin ' + name)
    if word == 'splat':
        print('[ 1.0] WARNING: CPU: 0 PID: 1 at mm/x.c:1 f+0x1/0x2', file=console)
    if word == 'race':
        say('say ' + name + ' 10 attempts, 2 overlaps, 0 writes lost')
    if word == 'once':
        word = 'right' if number else 'wrong'
    if word == 'died':
        print('[ 1.0] BUG: Bad page state in process x', file=console)
        print('[ 1.0] Kernel panic - not syncing: Fatal exception', file=console)
        sys.exit(0)
    if word == 'few' and 'SECONDS=60' not in cmdline:
        say('say ' + name + ' cannot say: too few overlaps: 3 of 100 wanted')
        say('end ' + name + ' 2')
        continue
    status, text = {'right': (0, 'not affected: good'), 'race': (0, 'not affected: good'),
                    'splat': (0, 'not affected: good'), 'few': (0, 'not affected: good'), 'wrong': (1, 'AFFECTED: bad'),
                    'feature': (2, 'cannot say: no such feature: X'), 'cannot': (2, 'cannot say: open: EPERM')}[word]
    say('say ' + name + ' ' + text)
    say('end ' + name + ' ' + str(status))
say('complete')
'''

GCC = '''#!/bin/sh
for word; do
	[ "$before" != -o ] || : >"$word"
	before=$word
done
'''

# Two kernels of each series; the packages that LEFT names have left the mirror.
APT_CACHE = '''#!/usr/bin/python3
import os, sys
names = ['linux-image-6.1.0-8-cloud-amd64', 'linux-image-6.1.0-9-cloud-amd64', 'linux-image-6.12.9+deb13-cloud-amd64',
         'linux-image-6.12.10+deb13-cloud-amd64', 'linux-image-6.12.11+deb13-rt-amd64', 'linux-image-7.3.4+deb13-cloud-amd64',
         'linux-binary-7.3.4+deb13-cloud-amd64', 'linux-image-7.2.5+deb13-cloud-amd64', 'linux-image-cloud-amd64']
if 'pkgnames' in sys.argv:
    print('\\n'.join(n for n in names if os.environ.get('GONE', 'nothing') not in n))
else:
    name = sys.argv[-1]
    number = name.split('-')[2].split('+')[0]
    print('Package: ' + name + '\\nVersion: ' + ('6.1.19' + name.split('-')[3] if number == '6.1.0' else number) + '-1')
'''

APT_GET = '''#!/usr/bin/python3
import os, subprocess, sys
if 'indextargets' in sys.argv:
    print('http://mirror.invalid/debian/')
elif 'download' in sys.argv:
    package = sys.argv[-1]
    if os.environ.get('LEFT', 'nothing') in package:
        sys.exit('E: Failed to fetch ' + package + ' 404 Not Found')
    name, version = package.split('=')
    os.makedirs('tree/DEBIAN')
    os.makedirs('tree/boot')
    with open('tree/DEBIAN/control', 'w') as f:
        f.write('Package: linux-x\\nVersion: 1\\nArchitecture: all\\nMaintainer: x <x@example.org>\\nDescription: x\\n')
    with open('tree/boot/vmlinuz-x', 'wb') as f:
        f.write(bytes(0x202) + b'HdrS' + bytes(64))
    subprocess.run(['dpkg-deb', '-b', 'tree', name + '_' + version + '_amd64.deb'], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(['rm', '-r', 'tree'], check=True)
'''


class Console(CommandTest):
    """What the lines of a console mean."""

    def test_outcomes(self):
        for status, last, outcome in (('0', 'not affected: x', Outcome.RIGHT), ('1', 'AFFECTED: x', Outcome.AFFECTED),
                                      ('2', 'cannot say: no such feature: x', Outcome.NO_FEATURE),
                                      ('2', 'cannot say: x', Outcome.CANNOT_SAY), ('139', 'x', Outcome.CANNOT_SAY),
                                      ('stuck', 'x', Outcome.DIED)):
            text = f'affected: begin n\naffected: say n {last}\naffected: end n {status}\naffected: complete\n'
            self.assertIs(guests.parse(text).said['n'].outcome, outcome, status)

    def test_a_death_is_the_running_program_s(self):
        text = 'affected: begin a\naffected: end a 0\naffected: begin b\n[1] BUG: unable to handle page fault\n'
        said = guests.parse(text).said
        self.assertEqual((said['b'].outcome, said['b'].line), (Outcome.DIED, 'BUG: unable to handle page fault'))
        self.assertIs(said['a'].outcome, Outcome.RIGHT)

    def test_overlaps_of_several_runs(self):
        run = ('affected: begin a\naffected: say a 9 attempts, 60 overlaps, 0 lost\n'
               'affected: say a cannot say: too few overlaps: 60 of 100 wanted\naffected: end a 2\n')
        self.assertIs(guests.parse(run + 'affected: complete\n').said['a'].outcome, Outcome.CANNOT_SAY)
        said = guests.parse(2 * run + 'affected: complete\n').said['a']
        self.assertEqual((said.outcome, said.race), (Outcome.RIGHT, '18 attempts, 120 overlaps, 0 lost'))

    def test_a_program_that_said_nothing(self):
        said = guests.parse('affected: begin a\naffected: end a 139\naffected: complete\n').said['a']
        self.assertEqual((said.outcome, said.line), (Outcome.CANNOT_SAY, 'ended with status 139 and said nothing'))


class Images(CommandTest):
    """Images that QEMU does not take as they are."""

    def test_packed_images(self):
        plain = bytes(0x38) + b'ARM\x64' + bytes(64)
        packed = gzip.compress(plain)
        for name, data in (('gz', packed), ('zboot', b'MZ\0\0zimg' + struct.pack('<IIQ', 64, len(packed), 0)
                                            + b'gzip'.ljust(32, b'\0') + bytes(8) + packed), ('plain', plain)):
            with self.subTest(name=name):
                image = self.work / name
                image.write_bytes(data)
                unpacked = guests.plain_image(image, self.work / 'images')
                self.assertEqual(unpacked.read_bytes(), plain)
                self.assertEqual(guests.arch_of(image, unpacked).name, 'arm64')


class Machine(CommandTest):
    """What QEMU is told beside the kernel."""

    def test_nodes(self):
        self.assertEqual(sum(w == '-numa' for w in guests.two_nodes(guests.ARCHES['arm64'])), 2)
        self.assertEqual(guests.two_nodes(guests.ARCHES['riscv64']), [])

    def test_swap(self):
        self.assertEqual(guests.swap_disks(self.work), guests.swap_disks(self.work))
        self.assertEqual((self.work / 'swap.img').stat().st_size, guests.SWAP)
        self.assertIn(b'SWAPSPACE2', (self.work / 'swap.img').read_bytes()[:4096])


class Run(CommandTest):
    """affected.py with stubs."""

    def setUp(self):
        super().setUp()
        self.stub('qemu-system-x86_64', QEMU)
        self.stub('x86_64-linux-gnu-gcc', GCC)
        self.stub('apt-get', APT_GET)
        self.stub('apt-cache', APT_CACHE)
        self.env['CACHE'] = str(self.work / 'cache')
        self.image = self.work / 'vmlinuz'
        self.image.write_bytes(bytes(0x202) + b'HdrS' + bytes(64))

    def results(self):
        kernels = json.loads((self.work / 'out/affected/result.json').read_text())['kernels']
        return [{n: r['outcome'] for n, r in k['results'].items()} for k in kernels]

    def test_words(self):
        self.does(AFFECTED, '--kernel', self.image,
                  STUB='scan-mask=wrong ksm-wp=feature poison-fork=cannot guard-collapse=few')
        got = self.results()[0]
        self.assertEqual([got[n] for n in ('scan-mask', 'ksm-wp', 'poison-fork', 'guard-collapse', 'removed-written')],
                         ['AFFECTED', 'no such feature', 'cannot say', 'not affected', 'not affected'])
        self.assertEqual(set(got), {p.stem for p in PROGRAMS})
        self.assertIn('6.12.9 x86_64', (self.work / 'out/affected/table.md').read_text())

    def test_with_series(self):
        self.does(AFFECTED, '--with-series', '--kernel', self.image)
        self.does(AFFECTED, '--kernel', self.image, STUB='removed-written=wrong')
        for word in ('wrong', 'died', 'cannot', 'splat'):
            with self.subTest(word=word):
                self.refuses(r'removed-written: .*, with the series', AFFECTED, '--with-series', '--kernel', self.image,
                             STUB=f'removed-written={word}')
        self.assertIn('removed-written: the kernel said: WARNING: CPU: 0', (self.work / 'out/affected/table.md').read_text())

    def test_a_bug_without_a_fix_is_named(self):
        bug = fixes.Fix(topic='t', boundary=fixes.Boundary.NO, why='x', case='x', title='a bug', reproducer='scan-mask')
        self.assertIn('| t: `scan-mask` (no fix yet) |', report.table([bug], []))

    def test_several_runs(self):
        out = self.does(AFFECTED, '--times', '3', '--kernel', self.image, STUB='scan-mask=once ksm-wp=race')
        self.assertIn('`scan-mask` | AFFECTED (1 of 3)', out)
        self.assertIn('ksm-wp: 30 attempts, 6 overlaps, 0 writes lost', out)

    def test_bad_numbers(self):
        self.refuses("invalid int value: 'x'", AFFECTED, '--times', 'x')
        self.refuses('N=0 and --seconds 10 must be 1 or more', AFFECTED, '--times', '0')
        self.refuses("invalid choice: 'nope'", AFFECTED, '--arch', 'nope')

    def test_a_death_is_a_cell_and_the_others_go_on(self):
        out = self.does(AFFECTED, '--kernel', self.image, STUB='guard-collapse=died')
        got = self.results()[0]
        self.assertEqual((got['guard-collapse'], got['scan-mask']), ('kernel died', 'not affected'))
        self.assertIn('guard-collapse: kernel died: BUG: Bad page state in process x', out)

    def test_kernels_that_cannot_run(self):
        for word, line in (('no-initramfs', 'does not start an initramfs'), ('no-tmpfs', 'no tmpfs: No such device'),
                           ('qemu', 'no such machine')):
            with self.subTest(word=word):
                self.refuses(line, AFFECTED, '--kernel', self.image, STUB=f'kernel={word}')

    def test_the_other_kernels_go_on(self):
        for word, line in (('no-initramfs', 'does not start an initramfs'), ('no-tmpfs', 'no tmpfs: No such device'),
                           ('qemu', 'no such machine')):
            with self.subTest(word=word):
                bad = self.work / word
                bad.write_bytes(bytes(0x202) + b'HdrS' + f'STUB={word}'.encode())
                self.refuses(line, AFFECTED, '--kernel', bad, self.image)
                self.assertEqual([len(r) for r in self.results()], [0, len(PROGRAMS)])

    def test_wrong_images(self):
        self.refuses(r'nothing: No such file or directory; KERNEL= wants', AFFECTED, '--kernel', self.work / 'nothing')
        self.refuses(r'nothing: No such file', AFFECTED, '--kernel', self.work / 'nothing', self.image)
        self.assertEqual([bool(r) for r in self.results()], [False, True])
        write(self.work / 'text', 'not a kernel')
        for name, data in (('cut', gzip.compress(bytes(5000))[:-20]), ('zimg', b'MZ\0\0zimg'),
                           ('zimg2', b'MZ\0\0zimg' + struct.pack('<IIQ', 64, 9, 0) + b'gzip'.ljust(32, b'\0') + bytes(80))):
            (self.work / name).write_bytes(data)
            self.refuses(rf'{name} is (cut off or damaged|packed by)', AFFECTED, '--kernel', self.work / name)
        self.refuses(r'text is no kernel image', AFFECTED, '--kernel', self.work / 'text')
        self.refuses(r'unknown reproducer nothing', AFFECTED, '--only', 'nothing', '--kernel', self.image)

    def test_stock_kernels(self):
        out = self.does(AFFECTED, '--only', 'scan-mask')
        for package in ('linux-image-6.1.0-9-cloud-amd64', 'linux-image-6.12.10+deb13-cloud-amd64',
                        'linux-image-7.2.5+deb13-cloud-amd64', 'linux-binary-7.3.4+deb13-cloud-amd64'):
            self.assertIn(package, out)
        self.assertIn("Debian's patches: mm/memory.c: a line of EXPORT_SYMBOL_GPL", out)

    def test_a_package_that_left_the_mirror(self):
        self.refuses(r'7\.2\.5 x86_64: apt-get failed: E: Failed to fetch .* 404', AFFECTED, '--only', 'scan-mask', LEFT='7.2.5')
        self.assertEqual([bool(r) for r in self.results()], [True, False, True, True])

    def test_a_series_that_debian_has_not(self):
        self.says(0, r'Debian has no kernel 7\.2 for x86_64', AFFECTED, '--only', 'scan-mask', GONE='7.2.5')
        self.assertEqual(len(self.results()), 3)


if __name__ == '__main__':
    main()
