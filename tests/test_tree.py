#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""scripts/fetch and scripts/tree: the base, the commits of the series, and refused input."""

import hashlib
import os
import shutil
import unittest

from small_tree import FIX, HEAD, TREE, SmallTreeTest
from support import TOP, main, write

UPPER = HEAD + '''upper

Why.
---
diff --git a/mm/memory.c b/mm/memory.c
--- a/mm/memory.c
+++ b/mm/memory.c
@@ -5,3 +5,3 @@
-FIVE
+V
 six
 seven
'''
FIVE = UPPER.replace('upper', 'five').replace('-FIVE\n+V\n', '-five\n+FIVE\n')


class Base(SmallTreeTest):
    """Where the base comes from."""

    def nothing_left(self):
        left = [p.name for p in (self.work / 'out').glob('*') if p.name not in ('tree.lock', 'build')]
        self.assertEqual(left, [])

    def test_other_version(self):
        other = self.work / 'other'
        self.make_kernel(other, 3)
        self.refuses(r'is Linux 7\.3\.3, and the series applies to 7\.3\.4', TREE, KERNEL_SRC=other)
        self.nothing_left()

    def test_no_kernel(self):
        self.refuses('not a kernel source tree', TREE, KERNEL_SRC=self.repo)
        self.nothing_left()

    def test_no_folder(self):
        self.refuses('KERNEL_SRC=.*/gone is not a folder', TREE, KERNEL_SRC=self.work / 'gone')

    def test_another_base_than_before(self):
        self.tree()
        other = self.work / 'other'
        self.make_kernel(other, 4)
        self.refuses('set KERNEL_SRC= as then', TREE, KERNEL_SRC=other)

    def test_damaged_tarball(self):
        base_mk = dict(line.split('=', 1) for line in (TOP / 'base.mk').read_text().splitlines() if '=' in line)
        write(self.work / 'cache' / f'{base_mk["BASE_PACKAGE_VERSION"]}-{base_mk["BASE_TARBALL"]}', 'damaged\n')
        self.refuses('is damaged', TOP / 'scripts/fetch', self.work / 'base', KERNEL_SRC='')
        self.assertFalse((self.work / 'base').exists())

    def test_package_that_cannot_be_unpacked(self):
        deb = self.work / 'x.deb'
        deb.write_text('')
        shutil.copytree(TOP / 'scripts', self.work / 'copy/scripts')
        write(self.work / 'copy/scripts/debs', f'echo {deb}\n')
        lines = (TOP / 'base.mk').read_text().splitlines()
        checksum = hashlib.sha256(b'').hexdigest()
        write(self.work / 'base.mk', ''.join(
            (f'BASE_DEB_SHA256={checksum}' if line.startswith('BASE_DEB_SHA256=') else line) + '\n' for line in lines))
        self.stub('apt-get', '#!/bin/sh\n')
        self.stub('dpkg-deb', '#!/bin/sh\nexit 2\n')
        self.refuses('could not be unpacked into .*; is there space', self.work / 'copy/scripts/fetch', self.work / 'base',
                     KERNEL_SRC='', BASE_MK=self.work / 'base.mk')
        self.assertFalse((self.work / 'base').exists())
        self.assertEqual(list((self.work / 'cache').glob('*')), [])

    def test_full_disk(self):
        self.stub('df', '#!/bin/sh\necho "Filesystem 1M-blocks Used Available Capacity Mounted"\necho "x 100 99 1 99% /"\n')
        self.refuses('1 MiB free and 8000 MiB are needed', TREE)
        self.nothing_left()

    def test_unknown_argument(self):
        self.refuses("unknown argument of tree 'nope'", TREE, 'nope')

    def test_debian_gitignore_ignores_nothing(self):
        write(self.kernel / '.gitignore', '*.o\n/*\n!/debian/\n')
        self.tree()
        self.assertEqual(self.git('show', 'refs/mm/base:.gitignore'), '*.o')


class Commits(SmallTreeTest):
    """The commits that tree makes."""

    def setUp(self):
        super().setUp()
        self.tree()

    def test_series_is_checked_out(self):
        self.assertEqual(self.git('symbolic-ref', '--short', 'HEAD'), 'series')
        self.assertIn('FOUR', (self.linux / 'mm/memory.c').read_text())
        self.assertEqual(self.git('status', '--porcelain'), '')

    def test_base_variant_has_the_test_and_no_fix(self):
        self.git('diff', '--quiet', 'refs/mm/base', 'refs/mm/test', '--', 'mm/memory.c')
        self.git('cat-file', '-e', 'refs/mm/test:mm/whole.c')

    def test_notes_have_the_data(self):
        notes = self.git('log', '--notes=topic', '--format=%N', 'refs/mm/base..refs/mm/series').split('\n\n')
        self.assertEqual([n.strip() for n in notes],
                         ['topic: demo test base', f'topic: demo {self.series()[0].split(" ", 1)[1]}'])

    def test_same_commits_each_time(self):
        before = self.git('rev-parse', 'refs/mm/series', 'refs/mm/alone/demo', 'refs/mm/test')
        shutil.rmtree(self.work / 'out')
        self.tree()
        self.assertEqual(self.git('rev-parse', 'refs/mm/series', 'refs/mm/alone/demo', 'refs/mm/test'), before)

    def test_second_tree_makes_no_commit(self):
        self.stub_git('mailinfo')
        self.tree()

    def test_other_whole_file(self):
        before = self.refs()
        (self.repo / 'mm/whole.c').write_text('int other;\n')
        self.refuses('mm/whole.c is not the file that the patches make; edit it in out/linux and run make export', TREE)
        self.assertEqual(self.refs(), before)

    def test_whole_file_that_is_missing(self):
        (self.repo / 'mm/whole.c').unlink()
        self.refuses('mm/whole.c is not the file that the patches make', TREE)

    def test_whole_file_of_another_mode(self):
        (self.repo / 'mm/whole.c').chmod(0o755)
        self.refuses('mm/whole.c is not the file that the patches make', TREE)

    def test_alone_is_without_other_topics(self):
        write(self.topics / 'upper/series', '0001-five.patch development\n')
        write(self.topics / 'upper/0001-five.patch', FIVE)
        write(self.topics / 'order', 'demo\nupper\n')
        self.tree()
        self.assertIn('FOUR', self.git('show', 'refs/mm/series:mm/memory.c'))
        alone = self.git('show', 'refs/mm/alone/upper:mm/memory.c')
        self.assertIn('FIVE', alone)
        self.assertNotIn('FOUR', alone)
        write(self.topics / 'order', 'demo\nupper needs: demo\n')
        self.tree()
        self.assertEqual(self.git('rev-parse', 'refs/mm/alone/upper'), self.git('rev-parse', 'refs/mm/series'))

    def test_topic_that_needs_more_than_order_says(self):
        write(self.topics / 'lower/series', '0001-five.patch development\n')
        write(self.topics / 'lower/0001-five.patch', FIVE)
        write(self.topics / 'upper/series', '0001-upper.patch development\n')
        write(self.topics / 'upper/0001-upper.patch', UPPER)
        write(self.topics / 'order', 'demo\nlower\nupper\n')
        self.refuses('upper without the topics that it does not need: .*name the topic that is missing in topics/order', TREE)

    def test_needs_that_come_later(self):
        write(self.topics / 'upper/series', '0001-five.patch development\n')
        write(self.topics / 'upper/0001-five.patch', FIVE)
        write(self.topics / 'order', 'upper needs: demo\ndemo\n')
        self.refuses('upper needs demo, which does not come before it', TREE)

    def test_order_with_unknown_topic(self):
        write(self.topics / 'order', 'demo\nmisspelt\n')
        self.refuses('names misspelt, and there is no', TREE)


class Refused(SmallTreeTest):
    """Patches and work trees that tree does not take: out/linux stays as it was."""

    def setUp(self):
        super().setUp()
        self.tree()
        self.before = self.refs()

    def tearDown(self):
        self.assertEqual(self.refs(), self.before)
        super().tearDown()

    def change_fix(self, old, new):
        self.edit(self.topics / 'demo/0001-fix.patch', old, new)

    def test_patch_that_does_not_apply(self):
        self.change_fix('-four', '-4')
        self.refuses(r'demo/0001-fix.patch: does not apply .*; out/linux is as it was', TREE)

    def test_hunk_with_more_lines_than_it_counts(self):
        self.change_fix('+FOUR\n', '+FOUR\n+MORE\n')
        self.refuses('does not have the lines that it counts|does not apply', TREE)

    def test_patch_that_is_missing(self):
        (self.topics / 'demo/0001-fix.patch').unlink()
        self.refuses('demo/0001-fix.patch: no such patch', TREE)

    def test_patch_that_is_no_mail(self):
        write(self.topics / 'demo/0001-fix.patch', FIX.split('---\n', 1)[1])
        self.refuses('demo/0001-fix.patch: no From: or Subject:', TREE)

    def test_base_patch_that_needs_a_fix(self):
        self.edit(self.topics / 'demo/0002-test.patch', '---\ndiff --git a/Kbuild',
                  '---\ndiff --git a/mm/memory.c b/mm/memory.c\n--- a/mm/memory.c\n+++ b/mm/memory.c\n'
                  '@@ -4,3 +4,3 @@\n-FOUR\n+4\n five\n six\ndiff --git a/Kbuild')
        self.refuses("a patch with 'base' has to apply to the base alone", TREE)

    def test_uncommitted_changes(self):
        self.edit(self.linux / 'mm/whole.c', 'whole', 'edit')
        self.refuses('has uncommitted changes', TREE)

    def test_file_in_the_way(self):
        write(self.linux / 'mm/another.c', 'int mine;\n')
        write(self.repo / 'mm/another.c', 'int another;\n')
        with open(self.topics / 'demo/0002-test.patch', 'a', encoding='utf-8') as patch:
            patch.write('diff --git a/mm/another.c b/mm/another.c\nnew file mode 100644\n--- /dev/null\n'
                        '+++ b/mm/another.c\n@@ -0,0 +1 @@\n+int another;\n')
        self.refuses('cannot be switched .*; move that away', TREE)
        self.assertEqual((self.linux / 'mm/another.c').read_text(), 'int mine;\n')
        self.edit(self.linux / 'mm/whole.c', 'whole', 'edit')
        self.refuses('has uncommitted changes', TREE)
        self.assertEqual((self.linux / 'mm/whole.c').read_text(), 'int edit;\n')


class WorkTree(SmallTreeTest):
    """out/linux and out/src as work trees."""

    def test_commits_that_were_not_exported(self):
        self.tree()
        self.edit_linux('more')
        before = self.refs()
        self.refuses('not exported; run make export', TREE)
        self.assertEqual(self.refs(), before)

    def test_patch_without_a_diff_line(self):
        self.edit(self.topics / 'demo/0001-fix.patch', 'diff --git a/mm/memory.c b/mm/memory.c\n', '')
        self.tree()
        self.assertIn('FOUR', (self.linux / 'mm/memory.c').read_text())

    def test_files_come_with_checkout(self):
        self.does(TREE)
        self.assertFalse((self.linux / 'mm').exists())
        self.assertEqual(self.git('status', '--porcelain'), '')
        self.does(TREE, 'checkout')
        self.assertIn('FOUR', (self.linux / 'mm/memory.c').read_text())
        self.does(TREE)
        self.assertTrue((self.linux / 'mm/memory.c').exists())

    def source_at(self, commit):
        self.does('bash', '-c', f'. "{TOP}/scripts/lib.sh"; switch_source {commit}')
        return (self.work / 'out/src/mm/memory.c').read_text()

    def test_source_is_the_base(self):
        self.does(TREE)
        source = self.work / 'out/src'
        self.assertNotIn('FOUR', (source / 'mm/memory.c').read_text())
        self.assertEqual(self.git('status', '--porcelain', repo=source), '')
        self.assertEqual(self.git('rev-parse', 'HEAD', repo=source), self.git('rev-parse', 'refs/mm/base'))
        self.assertIn('FOUR', self.source_at('refs/mm/series'))
        self.assertNotIn('FOUR', self.source_at('refs/mm/base'))

    def test_source_that_was_removed_comes_back(self):
        self.does(TREE)
        shutil.rmtree(self.work / 'out/src')
        self.assertIn('FOUR', self.source_at('refs/mm/series'))

    def test_source_edits_are_not_kept(self):
        self.does(TREE)
        write(self.work / 'out/src/mm/memory.c', 'edit\n')
        self.assertIn('FOUR', self.source_at('refs/mm/series'))

    def test_rest_of_an_interrupted_run(self):
        write(self.work / 'out/linux.new.1/file', '')
        write(self.work / 'out/src.new.1/file', '')
        self.tree()
        self.assertEqual(sorted(p.name for p in (self.work / 'out').glob('*.new.*')), [])

    @unittest.skipIf(os.getuid() == 0, 'root can write everywhere')
    def test_folder_that_cannot_be_written(self):
        self.tree()
        self.refuses('cannot write to .*set TMPDIR=', TREE, TMPDIR=self.work / 'gone')


if __name__ == '__main__':
    main()
