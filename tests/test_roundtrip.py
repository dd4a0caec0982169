#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""The series itself: tree and export go round, topics apply alone, and git am gives what tree makes.

Wants out/linux, as scripts/tree makes it from today's topics/.
"""

import os
import shutil
import subprocess
import sys

from support import TOP, CommandTest, main

sys.path.insert(0, str(TOP))
# pylint: disable=wrong-import-position
from harness.topics import Kind, read_order, read_series  # noqa: E402

OUT = os.environ.get('OUT') or str(TOP / 'out')
LINUX = f'{OUT}/linux'
ORDER = read_order(TOP / 'topics')
OWN = ('scripts', 'harness', 'topics', 'configs', 'guest', 'bench', 'tests', 'reproducers', 'HOWTO', '.ci')


def mails(name, fixes_only=False):
    """The paths of a topic's patches."""
    topic = ORDER[name]
    return [topic.folder / p.file for p in read_series(topic) if p.kind is Kind.FIX or not fixes_only]


class RoundtripTest(CommandTest):
    """self.am is a work tree of out/linux at the base, with the files that the series touches and no others."""

    def setUp(self):
        super().setUp()
        self.env |= {'OUT': OUT, 'GIT_COMMITTER_NAME': 'x', 'GIT_COMMITTER_EMAIL': 'x@invalid',
                     'GIT_CONFIG_COUNT': '2', 'GIT_CONFIG_KEY_0': 'user.name', 'GIT_CONFIG_VALUE_0': 'x',
                     'GIT_CONFIG_KEY_1': 'user.email', 'GIT_CONFIG_VALUE_1': 'x@invalid'}
        self.am = self.work / 'am'

    def git(self, *args, repo=None):
        return self.does('git', '-C', repo or LINUX, *args).strip()

    def tree_of(self, commit, repo=None):
        return self.git('rev-parse', f'{commit}^{{tree}}', repo=repo)

    def at_base(self):
        """Make the work tree, at the base."""
        self.git('worktree', 'add', '-q', '--no-checkout', '--detach', self.am, 'refs/mm/base')
        self.addCleanup(self.remove_worktree)
        files = self.git('diff', '--name-only', 'refs/mm/base', 'refs/mm/series').splitlines()
        patterns = [f'/{path}' for path in files] + ['/Makefile', '/Kbuild', '/mm/memory.c']
        self.git('sparse-checkout', 'set', '--no-cone', *patterns, repo=self.am)
        self.git('checkout', '-q', '--force', '--detach', 'refs/mm/base', repo=self.am)

    def apply_mails(self, *files):
        """git am, which is given up whole where a mail does not apply: the next call starts afresh."""
        try:
            self.git('am', '-q', *files, repo=self.am)
        except AssertionError:
            subprocess.run(['git', '-C', self.am, 'am', '--abort'], check=True, env=self.env)
            raise

    def remove_worktree(self):
        shutil.rmtree(self.am, ignore_errors=True)
        subprocess.run(['git', '-C', LINUX, 'worktree', 'prune'], check=True, env=self.env)


class GoesRound(RoundtripTest):
    """tree, then export."""

    def whole_files(self):
        """The files of the repository that are at a kernel path."""
        files = self.does('git', '-C', TOP, 'ls-files').splitlines()
        return sorted(path for path in files if '/' in path and path.split('/', 1)[0] not in OWN)

    def test_whole_files_are_those_of_the_series(self):
        added = self.git('diff', '--no-renames', '--diff-filter=A', '--name-only', 'refs/mm/base', 'refs/mm/series')
        self.assertEqual(self.whole_files(), sorted(added.splitlines()))

    def test_tree_then_export_changes_nothing(self):
        copy = self.work / 'copy'
        shutil.copytree(TOP / 'topics', copy / 'topics')
        for path in self.whole_files():
            (copy / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(TOP / path, copy / path)
        shutil.copytree(copy, self.work / 'before')
        inputs = self.work / 'inputs'
        shutil.copy2(f'{LINUX}/.git/mm-inputs', inputs)
        # export asks the next tree to make everything again, which is for the copy only
        self.addCleanup(shutil.copy2, inputs, f'{LINUX}/.git/mm-inputs')
        self.does(TOP / 'scripts/export', TOPICS=copy / 'topics')
        self.does('diff', '-r', self.work / 'before', copy)


class Applies(RoundtripTest):
    """apply and plain git am on the base."""

    def setUp(self):
        super().setUp()
        self.at_base()

    def test_apply_gives_the_series(self):
        self.does(TOP / 'scripts/apply', KERNEL=self.am)
        self.assertEqual(self.tree_of('HEAD', self.am), self.tree_of('refs/mm/series'))
        there = self.git('rev-parse', 'HEAD', repo=self.am)
        self.refuses('does not apply .*; nothing was changed in', TOP / 'scripts/apply', KERNEL=self.am)
        self.assertEqual(self.git('rev-parse', 'HEAD', repo=self.am), there)
        self.assertEqual(self.git('status', '--porcelain', repo=self.am), '')


def topic_test(name):
    """Plain git am of a topic's stored mails, on the topics that it needs, gives the tree that is built."""
    def test(self):
        for part in (*ORDER[name].needs, name):
            self.apply_mails(*mails(part))
        self.assertEqual(self.tree_of('HEAD', self.am), self.tree_of(f'refs/mm/alone/{name}'))
    return test


def fixes_test(name):
    """Plain git am of a topic's fixes, without the topics that it needs."""
    def test(self):
        fixes = mails(name, fixes_only=True)
        if not fixes:
            self.skipTest('no fix in this topic')
        self.apply_mails(*fixes)
        self.assertEqual(self.git('rev-list', '--count', 'refs/mm/base..HEAD', repo=self.am), str(len(fixes)))
    return test


def groups_test(name):
    """Each group of a topic's fixes goes without the other groups."""
    def test(self):
        patches = [p for p in read_series(ORDER[name]) if p.kind is Kind.FIX]
        groups = {}
        for patch in patches:
            group = patch.values['group']
            groups.setdefault(patch.file if group == 'alone' else group, []).append(ORDER[name].folder / patch.file)
        for group, files in groups.items():
            with self.subTest(group):
                self.does('git', '-C', self.am, 'reset', '-q', '--hard', 'refs/mm/base')
                self.apply_mails(*files)
    return test


for _name in ORDER:
    _id = _name.replace('-', '_')
    setattr(Applies, f'test_am_{_id}', topic_test(_name))
    setattr(Applies, f'test_am_fixes_{_id}', fixes_test(_name))
    setattr(Applies, f'test_am_groups_{_id}', groups_test(_name))


if __name__ == '__main__':
    main()
