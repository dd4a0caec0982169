#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""The commands of HOWTO/*.md, in the order of each page, on the real patches of vma-flags.

The kernel is small: of the base it has the files that these patches change. A block "sh" has to succeed. A block "sh guest"
runs with DRY=1, and has to print the command line of a guest. Links have to lead to files.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

from support import TOP, CommandTest, main, write

PAGES = sorted((TOP / 'HOWTO').glob('*.md'))
TOPIC = 'vma-flags'
COPIED = ('scripts', 'harness', 'guest', 'configs', 'reproducers')
# The topic on top: a change of vma-flags must not end up in it.
LATER = '''From: A <a@invalid>
Date: Fri, 20 Nov 2026 00:00:00 +0000
Subject: [PATCH] later

Later.
---
diff --git a/Documentation/later.rst b/Documentation/later.rst
new file mode 100644
--- /dev/null
+++ b/Documentation/later.rst
@@ -0,0 +1 @@
+later
'''
BLOCK = re.compile(r'^```sh( guest)?\n(.*?)^```$', re.M | re.S)


def base_tree():
    """A git repository that has the base: $LINUX, $OUT/linux or out/linux."""
    places = [os.environ.get('LINUX'), f"{os.environ.get('OUT') or TOP / 'out'}/linux"]
    return next(Path(place) for place in places if place and (Path(place) / '.git').exists())


class Pages(CommandTest):
    """A copy of the repository with vma-flags and a small topic on top: self.top."""

    def setUp(self):
        super().setUp()
        self.top, self.kernel = self.work / 'top', self.work / 'kernel'
        for name in COPIED:
            shutil.copytree(TOP / name, self.top / name, ignore=shutil.ignore_patterns('__pycache__'))
        for name in ('Makefile', 'base.mk', 'topics/mutants.patch'):
            (self.top / name).parent.mkdir(exist_ok=True)
            shutil.copy(TOP / name, self.top / name)
        shutil.copytree(TOP / 'topics' / TOPIC, self.top / 'topics' / TOPIC)
        write(self.top / 'topics/order', f'{TOPIC}\nlater\n')
        write(self.top / 'topics/later/series', '0001-later.patch documentation\n')
        write(self.top / 'topics/later/tests', '')
        write(self.top / 'topics/later/0001-later.patch', LATER)
        write(self.top / 'Documentation/later.rst', 'later\n')
        self.make_kernel()
        self.env |= {'KERNEL_SRC': str(self.kernel), 'CACHE': str(self.work / 'cache'), 'OUT': str(self.top / 'out'),
                     'GIT_CONFIG_GLOBAL': '/dev/null', 'GIT_CONFIG_SYSTEM': '/dev/null'}
        # DRY=1 needs no compiler and no QEMU
        write(self.top / 'scripts/packages', '#!/bin/sh\n')

    def make_kernel(self):
        """The files of the base that the patches change; and those that the series adds whole, in the repository."""
        patches = [*(self.top / 'topics').glob('*.patch'), *(self.top / 'topics' / TOPIC).rglob('*.patch')]
        paths = {path for patch in patches for path in re.findall(r'^diff --git a/(\S+)', patch.read_text(), re.M)}
        for path in sorted(paths | {'Makefile', 'mm/memory.c', 'Kbuild', '.gitignore'}):
            shown = subprocess.run(['git', '-C', base_tree(), 'show', f'refs/mm/base:{path}'], capture_output=True, text=True, check=False)
            if not shown.returncode:
                write(self.kernel / path, shown.stdout)
            elif (TOP / path).is_file():
                write(self.top / path, (TOP / path).read_text())

    def run_page(self, name, **files):
        """Run the commands of a page in one shell; the output of those that need a guest has to have its command line."""
        for path, text in files.items():
            write(self.top / path, text)
        script, guests = ['set -e'], []
        for guest, text in BLOCK.findall((TOP / 'HOWTO' / f'{name}.md').read_text()):
            if guest:
                guests.append((self.work / f'guest{len(guests)}', text))
                text = f'(\nexport DRY=1\n{text}) >{guests[-1][0]}\n'
            script.append(text)
        self.assertGreater(len(script), 1, 'no commands')
        status, out, err = self.run_command('bash', '-c', '\n'.join(script), cwd=self.top)
        self.assertEqual(status, 0, f'{name}.md:\n{out}{err}')
        for path, text in guests:
            self.assertRegex(path.read_text(), r'(?m)^(qemu-system-\S+ -|\S+/image )', f'{text} prints no guest')
        self.assertEqual([path.name for path in (self.top / 'topics/later').glob('*.patch')], ['0001-later.patch'])
        return out

    def patch(self, name):
        """The text of the only patch whose name ends so."""
        path, = (self.top / 'topics').rglob(f'*-{name}.patch')
        return path.read_text()

    def test_case(self):
        self.run_page('case')
        self.assertIn('\tunmap_two(test, RX, RX, VM_EXEC);', (self.top / 'mm/tests/mmu_gather_kunit.c').read_text())
        self.assertIn('+\tKUNIT_CASE(flush_rx_rx),', self.patch('mm-tests-KUnit-tests-for-the-VMA-flags-of-mmu_gather'))
        self.assertEqual(len(list((self.top / f'topics/{TOPIC}/mutants').iterdir())),
                         len(list((TOP / f'topics/{TOPIC}/mutants').iterdir())))

    def test_mutant(self):
        out = self.run_page('mutant')
        self.assertRegex(out, r'vma-unnamed\.patch')
        self.assertIn('+\tif (!mm_mutant("vma-unnamed"))', self.patch('vma-unnamed'))

    def test_patch(self):
        out = self.run_page('patch')
        self.assertRegex(out, r'remove-a-doubled-verb-from-a-comment\.patch development')
        self.assertIn('Never cleared before the gather ends', self.patch('mm-mmu_gather-flush-freed-page-tables-for-every-VMA'))

    def test_topic(self):
        out = self.run_page('topic')
        self.assertRegex(out, r'(?m)^gather-doc$')
        self.assertTrue((self.top / 'Documentation/mm/mmu_gather.rst').is_file())

    def test_architecture(self):
        out = self.run_page('architecture')
        self.assertRegex(out, r'(?m)^ppc64le$')

    def test_failing_guest(self):
        self.does(self.top / 'scripts/tree', cwd=self.top)
        out = self.run_page('failing-guest', **{
            'out/result/debug/summary.txt': 'not as wanted: kunit:mmu_gather_unmap.munmap_rx_rw x86_64\n',
            'out/result/debug/x86_64-series/console': '[ 1.0] mm: begin kunit:mmu_gather_unmap\nBUG: x\n[ 1.1] mm: end kunit:mmu_gather_unmap\n',
            'out/kernel/x86_64-debug-series/README': 'decode_stacktrace.sh\n'})
        self.assertRegex(out, 'not as wanted(.|\n)*BUG: x(.|\n)*decode_stacktrace.sh')


class Text(CommandTest):
    """The pages as text."""

    def test_every_page_has_a_test(self):
        for page in PAGES:
            name = page.stem.replace('-', '_')
            self.assertTrue(name == 'README' or hasattr(Pages, f'test_{name}'), f'no test of {page.name}')

    def test_links(self):
        for page in [*PAGES, TOP / 'README.md']:
            for link in re.findall(r'\]\(([^)#]+)\)', page.read_text()):
                self.assertTrue(link.startswith('https://') or (page.parent / link).exists(), f'{page.name}: {link}')


if __name__ == '__main__':
    main()
