#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""scripts/export: the commits of out/linux become topics/ and whole files again, or nothing changes."""

from small_tree import EXPORT, FIX_DATA, TREE, SmallTreeTest
from support import main, write


class ExportTest(SmallTreeTest):
    """With out/linux made."""

    def setUp(self):
        super().setUp()
        self.tree()


class Written(ExportTest):
    """What export writes."""

    def test_data_stays(self):
        before = self.series()
        self.does(EXPORT)
        self.assertEqual([line.split(' ', 1)[1] for line in self.series()], [line.split(' ', 1)[1] for line in before])

    def test_second_export_changes_nothing(self):
        self.does(EXPORT)
        before = self.snapshot()
        self.does(EXPORT)
        self.assertEqual(self.snapshot(), before)

    def test_tree_after_export_gives_the_same(self):
        self.edit_linux('more')
        self.does(EXPORT)
        tree = self.git('rev-parse', 'series^{tree}')
        self.does(TREE)
        self.assertEqual(self.git('rev-parse', 'refs/mm/series^{tree}'), tree)

    def test_data_survives_amend(self):
        self.edit(self.linux / 'mm/whole.c', 'whole', 'amended')
        self.git('commit', '-qa', '--amend', '--no-edit')
        self.does(EXPORT)
        self.assertEqual(self.series()[1].split(' ', 1)[1], 'test base')
        self.assertEqual((self.repo / 'mm/whole.c').read_text(), 'int amended;\n')
        self.does(TREE)

    def test_whole_file_grows(self):
        self.add_linux('touch the whole file', 'mm/whole.c', 'int whole;\nint more;\n')
        self.does(EXPORT)
        self.assertEqual((self.repo / 'mm/whole.c').read_text(), 'int whole;\nint more;\n')
        self.assertIn('+int more;', (self.topics / 'demo/0003-touch-the-whole-file.patch').read_text())
        self.does(TREE)
        self.does(EXPORT)

    def test_whole_file_goes(self):
        self.git('reset', '-q', '--hard', 'HEAD^')
        self.does(EXPORT)
        self.assertFalse((self.repo / 'mm/whole.c').exists())
        self.assertEqual(len(self.series()), 1)
        self.does(TREE)

    def test_whole_file_that_runs(self):
        write(self.linux / 'tools/run.sh', '#!/bin/sh\n')
        (self.linux / 'tools/run.sh').chmod(0o755)
        self.git('add', 'tools/run.sh')
        self.git('commit', '-qm', 'run')
        self.does(EXPORT)
        self.assertTrue(self.snapshot()['tools/run.sh'][1])
        self.does(TREE)

    def test_another_topic(self):
        self.edit_linux('a topic of its own')
        write(self.topics / 'order', 'demo\nother\n')
        self.does(EXPORT, TOPIC='other')
        self.assertIn('\n+SIX\n', (self.topics / 'other/0001-a-topic-of-its-own.patch').read_text())

    def kind_of_new(self, path):
        self.add_linux('new', path, 'text\n')
        self.does(EXPORT)
        return self.series()[-1].split(' ', 1)[1]

    def test_kind_of_new_code(self):
        self.assertEqual(self.kind_of_new('mm/memory.c'), 'development')

    def test_kind_of_new_test(self):
        self.assertEqual(self.kind_of_new('tools/testing/selftests/mm/x.c'), 'test')

    def test_kind_of_new_documentation(self):
        self.assertEqual(self.kind_of_new('Documentation/mm/x.rst'), 'documentation')

    def new_fix(self, message='late\n\nFixes: 123456789abc ("x")', path='mm/memory.c', text='fixed\n'):
        """A new fix below the test patch."""
        self.git('reset', '-q', '--hard', 'HEAD^')
        self.add_linux(message, path, text)

    def test_new_fix_wants_its_data(self):
        self.new_fix()
        status, out, err = self.run_command(EXPORT)
        self.assertEqual(status, 0, out + err)
        self.assertRegex(err, r"^export: 'late' is new: fill in the '\?' of its line in topics/demo/series, make check refuses them\n$")
        self.assertEqual(self.series()[-1], '0002-late.patch fix group=? trigger=? evidence=? case=? stable=?')
        self.refuses(r"topics/demo/series:2: group='\?' does not match", '/usr/bin/python3', '-m', 'harness.series_check')
        self.does(TREE)

    def test_fix_may_add_its_test(self):
        self.new_fix(path='mm/tests/late_kunit.c')
        self.does(EXPORT)
        self.assertTrue((self.repo / 'mm/tests/late_kunit.c').exists())

    def test_fix_may_extend_a_selftest(self):
        self.new_fix(path='tools/testing/selftests/mm/late.c')
        self.does(EXPORT)
        self.assertIn(FIX_DATA, self.series()[0])


class Refused(ExportTest):
    """What export refuses: the repository stays as it was."""

    def setUp(self):
        super().setUp()
        self.before = self.snapshot()

    def tearDown(self):
        self.assertEqual(self.snapshot(), self.before)
        super().tearDown()

    def test_uncommitted_changes(self):
        self.edit(self.linux / 'mm/whole.c', 'whole', 'edit')
        self.refuses('has uncommitted changes', EXPORT)

    def test_no_tree(self):
        self.refuses('there is no out/linux; run make tree', EXPORT, OUT=self.work / 'none')

    def test_fix_after_something_else(self):
        self.edit_linux('late\n\nFixes: 123456789abc ("x")')
        self.refuses("'late' is a fix and comes after 'test'; fixes come first", EXPORT)

    def test_fix_that_adds_a_file(self):
        self.git('reset', '-q', '--hard', 'HEAD^')
        self.add_linux('late\n\nFixes: 123456789abc ("x")', 'mm/late.c', 'int late;\n')
        self.refuses("'late' is a fix and adds mm/late.c; put the file into a patch of its own", EXPORT)

    def test_message_that_a_mail_would_cut(self):
        self.edit_linux('lost\n\n---\nThis part would not survive.')
        self.refuses('does not survive as a mail', EXPORT)

    def test_fixup_that_was_not_squashed(self):
        self.edit_linux('fixup! fix')
        self.refuses('is not squashed yet', EXPORT)

    def test_file_at_a_place_of_this_repository(self):
        self.add_linux('own', 'harness/x.py', 'x\n')
        self.refuses("harness/x.py, added by 'own', is one of this repository's own places", EXPORT)

    def test_unknown_topic(self):
        self.edit_linux('more')
        self.refuses('topic nope is not in topics/order', EXPORT, TOPIC='nope')

    def test_merge(self):
        self.git('checkout', '-q', '-b', 'side', 'HEAD^')
        self.add_linux('side', 'mm/side.c', 'int side;\n')
        self.git('checkout', '-q', 'series')
        self.git('merge', '-q', '--no-edit', 'side')
        self.refuses('has a merge', EXPORT)

    def test_no_commit(self):
        self.git('reset', '-q', '--hard', 'refs/mm/base')
        self.refuses('has no commit on the base', EXPORT)

    def test_other_branch(self):
        self.git('checkout', '-q', '-b', 'other')
        self.refuses("unknown branch checked out in out/linux 'other'", EXPORT)


if __name__ == '__main__':
    main()
