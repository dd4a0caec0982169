# SPDX-License-Identifier: GPL-2.0
"""A kernel of four files, and a topic on it, for the tests of tree, export, apply and post."""

import os
import shutil
import subprocess

from support import TOP, CommandTest, write

TREE = TOP / 'scripts/tree'
EXPORT = TOP / 'scripts/export'
APPLY = TOP / 'scripts/apply'
POST = TOP / 'scripts/post'
LINES = 'one\ntwo\nthree\nfour\nfive\nsix\nseven\n'
HEAD = 'From: A <a@invalid>\nDate: Fri, 20 Nov 2026 00:00:00 +0000\nSubject: [PATCH] '
FIX = HEAD + '''fix

Why.

Fixes: 123456789abc ("x")
---
diff --git a/mm/memory.c b/mm/memory.c
--- a/mm/memory.c
+++ b/mm/memory.c
@@ -3,3 +3,3 @@
 three
-four
+FOUR
 five
'''
TEST = HEAD + '''test

Why.
---
diff --git a/Kbuild b/Kbuild
--- a/Kbuild
+++ b/Kbuild
@@ -0,0 +1 @@
+obj-y += mm/whole.o
diff --git a/mm/whole.c b/mm/whole.c
new file mode 100644
--- /dev/null
+++ b/mm/whole.c
@@ -0,0 +1 @@
+int whole;
'''
FIX_DATA = 'fix group=alone trigger=user evidence=seen case=selftest:s.a stable=6.1'


class SmallTreeTest(CommandTest):
    """self.kernel is the base, self.topics has the topic demo, self.linux is the tree that tree() makes."""

    def setUp(self):
        super().setUp()
        self.kernel = self.work / 'kernel'
        self.repo = self.work / 'repo'
        self.topics = self.repo / 'topics'
        self.linux = self.work / 'out/linux'
        self.make_kernel(self.kernel, 4)
        write(self.topics / 'order', 'demo\n')
        write(self.topics / 'demo/series', f'0001-fix.patch {FIX_DATA}\n0002-test.patch test base\n')
        write(self.topics / 'demo/0001-fix.patch', FIX)
        write(self.topics / 'demo/0002-test.patch', TEST)
        write(self.repo / 'mm/whole.c', 'int whole;\n')
        self.env |= {'KERNEL_SRC': str(self.kernel), 'TOPICS': str(self.topics), 'CACHE': str(self.work / 'cache'),
                     'GIT_CONFIG_GLOBAL': '/dev/null', 'GIT_CONFIG_SYSTEM': '/dev/null'}

    def make_kernel(self, folder, sublevel):
        """A kernel source tree."""
        write(folder / 'Makefile', f'VERSION = 7\nPATCHLEVEL = 3\nSUBLEVEL = {sublevel}\n')
        write(folder / 'mm/memory.c', LINES)
        write(folder / '.gitignore', '')
        write(folder / 'Kbuild', '')

    def tree(self):
        """Make out/linux, with its files."""
        return self.does(TREE, 'checkout')

    def git(self, *args, repo=None):
        """The output of a git command that has to succeed."""
        return self.does('git', '-C', repo or self.linux, '-c', 'user.name=x', '-c', 'user.email=x@invalid', *args).strip()

    def edit(self, path, old, new):
        """Replace text that is there once."""
        text = path.read_text()
        self.assertEqual(text.count(old), 1, f'{old!r} in {path}')
        path.write_text(text.replace(old, new))

    def edit_linux(self, message, path='mm/memory.c', old='six', new='SIX'):
        """A commit on the series in out/linux."""
        self.edit(self.linux / path, old, new)
        self.git('commit', '-qam', message)

    def add_linux(self, message, path, text):
        """A commit on the series that adds a file, or changes it."""
        write(self.linux / path, text)
        self.git('add', path)
        self.git('commit', '-qm', message)

    def snapshot(self):
        """What the repository holds: text by path."""
        return {str(p.relative_to(self.repo)): (p.read_text(), os.access(p, os.X_OK))
                for p in sorted(self.repo.rglob('*')) if p.is_file()}

    def series(self, topic='demo'):
        return (self.topics / topic / 'series').read_text().splitlines()

    def refs(self):
        return self.git('for-each-ref')

    def stub_git(self, refused):
        """A git that fails for one subcommand."""
        git = shutil.which('git')
        self.stub('git', f'#!/bin/sh\nfor word; do [ "$word" != {refused} ] || exit 1; done\nexec {git} "$@"\n')

    def user_kernel(self):
        """A kernel with a commit and no identity, as a user has it: (folder, id of its HEAD)."""
        mine = self.work / 'mine'
        shutil.copytree(self.kernel, mine)
        subprocess.run(['git', '-C', mine, 'init', '-q'], check=True, env=self.env)
        self.git('add', '-A', repo=mine)
        self.git('commit', '-qm', 'start', repo=mine)
        return mine, self.git('rev-parse', 'HEAD', repo=mine)
