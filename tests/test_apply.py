#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""scripts/apply: commits on a tree of the user's, or nothing."""

from small_tree import APPLY, HEAD, SmallTreeTest
from support import main, write

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


class ApplyTest(SmallTreeTest):
    """With a kernel of the user's, self.mine, that has one commit."""

    def setUp(self):
        super().setUp()
        self.mine, self.start = self.user_kernel()
        self.env |= {'KERNEL': str(self.mine), 'GIT_AUTHOR_NAME': 'u', 'GIT_AUTHOR_EMAIL': 'u@invalid'}

    def identity(self):
        self.git('config', 'user.name', 'u', repo=self.mine)
        self.git('config', 'user.email', 'u@invalid', repo=self.mine)

    def mine_git(self, *args):
        return self.git(*args, repo=self.mine)


class Applied(ApplyTest):
    """What apply makes."""

    def setUp(self):
        super().setUp()
        self.identity()

    def test_one_fix(self):
        self.does(APPLY, TOPIC='demo', PATCH='0001')
        self.assertEqual(self.mine_git('rev-list', '--count', f'{self.start}..'), '1')
        self.assertIn('FOUR\n', (self.mine / 'mm/memory.c').read_text())
        self.assertEqual(self.mine_git('log', '-1', '--format=%an %cn'), 'A u')

    def test_part_of_a_name(self):
        self.does(APPLY, TOPIC='demo', PATCH='test')
        self.assertEqual(self.mine_git('log', '-1', '--format=%s'), 'test')

    def test_everything(self):
        self.assertIn('2 patches on', self.does(APPLY))
        self.assertEqual((self.mine / 'mm/whole.c').read_text(), 'int whole;\n')
        self.assertEqual(self.mine_git('status', '--porcelain'), '')

    def test_offset(self):
        write(self.mine / 'mm/memory.c', 'zero\n' + (self.mine / 'mm/memory.c').read_text())
        self.mine_git('commit', '-qam', 'offset')
        self.does(APPLY, TOPIC='demo', PATCH='0001')

    def test_other_version_is_said(self):
        self.edit(self.mine / 'Makefile', 'SUBLEVEL = 4', 'SUBLEVEL = 9')
        self.mine_git('commit', '-qam', 'version')
        self.says(0, 'is Linux 7.3.9, the series was tested on 7.3.4', APPLY)


class Refused(ApplyTest):
    """What apply refuses: the user's tree stays as it was."""

    def tearDown(self):
        self.assertEqual(self.mine_git('rev-parse', 'HEAD'), self.start)
        super().tearDown()

    def test_without_kernel(self):
        self.refuses('say where', APPLY, KERNEL='')

    def test_something_else(self):
        self.refuses('not a git tree', APPLY, KERNEL=self.repo)

    def test_without_identity(self):
        self.refuses('does not know who commits', APPLY)

    def test_dirty_tree(self):
        self.identity()
        write(self.mine / 'Kbuild', 'dirt\n')
        self.refuses('has uncommitted changes', APPLY)

    def test_unknown_topic(self):
        self.identity()
        self.refuses("unknown TOPIC 'nope'", APPLY, TOPIC='nope')

    def test_unknown_patch(self):
        self.identity()
        self.refuses("no patch '0009'", APPLY, TOPIC='demo', PATCH='0009')

    def test_patch_0(self):
        self.identity()
        self.refuses("no patch '0'", APPLY, TOPIC='demo', PATCH='0')

    def test_patch_without_topic(self):
        self.identity()
        self.refuses('PATCH= needs TOPIC=', APPLY, PATCH='0001')

    def test_without_what_it_needs(self):
        self.identity()
        write(self.topics / 'upper/series', '0001-upper.patch development\n')
        write(self.topics / 'upper/0001-upper.patch', UPPER)
        write(self.topics / 'order', 'demo\nupper needs: demo\n')
        self.refuses('upper/.* does not apply .*upper goes on top of demo: apply that first', APPLY, TOPIC='upper')

    def test_where_it_does_not_fit(self):
        self.identity()
        self.edit(self.mine / 'mm/memory.c', 'four', '4')
        self.mine_git('commit', '-qam', 'other')
        self.start = self.mine_git('rev-parse', 'HEAD')
        self.refuses('does not apply .*; nothing was changed in', APPLY)
        self.assertEqual(self.mine_git('status', '--porcelain'), '')

    def test_file_that_is_there_already(self):
        self.identity()
        write(self.mine / 'mm/whole.c', 'int mine;\n')
        self.mine_git('add', 'mm/whole.c')
        self.mine_git('commit', '-qm', 'mine')
        self.start = self.mine_git('rev-parse', 'HEAD')
        self.refuses('0002-test.patch: does not apply .mm/whole.c: already exists in index', APPLY)


if __name__ == '__main__':
    main()
