#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""make post: the mails of a topic or a part of it."""

import hashlib
import shutil
import subprocess
import unittest

from posting import POSTER, POSTING, STABLE_FIX, PostingTest
from small_tree import FIX_DATA, LINES, POST
from support import main, write


class Mails(PostingTest):
    """Without KERNEL=: a draft."""

    def test_draft(self):
        cover, fix, test = self.post()
        self.assertIn('Subject: [NOT FOR SENDING PATCH 0/2] mm: a & b\n', cover)
        self.assertIn('\n\nThe letter.\n', cover)
        self.assertIn('NOT FOR SENDING: say KERNEL=', self.confirmed())
        for mail in (cover, fix, test):
            self.assertIn('\nX-To: M <m@example.org>\nX-Cc: R <r@example.org>,\n\t', mail)
            self.assertNotRegex(mail, r'(?m)^(To|Cc): ')
            self.assertIn(f'\nFrom: {POSTER.replace("P. Oster", chr(34) + "P. Oster" + chr(34))}\n', mail)
        for mail in (fix, test):
            self.assertIn(f'\nAssisted-by: LLM sparse\nSigned-off-by: {POSTER}\n---\n', mail)
        self.assertIn('+++ b/mm/whole.c', test)
        self.assertNotIn('base-commit', cover)
        self.assertRegex(cover, r'(?m)^change-id: \d{8}-demo-[0-9a-f]{12}$')

    def test_mails_apply_to_the_base(self):
        self.post()
        mine, _ = self.user_kernel()
        self.git('am', '-q', *sorted(self.folder().glob('000[12]-*.patch')), repo=mine)
        self.assertEqual(self.git('rev-parse', 'HEAD^{tree}', repo=mine), self.git('rev-parse', 'refs/mm/alone/demo^{tree}'))

    def test_recipients(self):
        _, fix, test = self.post()
        # Author by Fixes: and .mailmap, Asker by the thread, lists last; nobody for Left
        self.assertIn('X-Cc: R <r@example.org>,\n\tAuthor <author@new.example.org>,\n\tAsker <asker@example.org>,\n\t'
                      'l@example.org,\n\tany@example.org\n', fix)
        self.assertNotIn('Author', test)
        self.assertNotIn('Left', fix)

    def test_visible(self):
        write(self.topics / 'posting.toml', POSTING + '\n[[visible]]\ntopic = "demo"\nsubject = "fix"\nwhy = "EAGAIN is new."\n')
        cover, fix, test = self.post()
        for mail in (cover, fix):
            self.assertIn('\tlinux-api@vger.kernel.org,\n\tlinux-man@vger.kernel.org\n', mail)
        self.assertNotIn('linux-api', test)
        self.assertIn('EAGAIN is new.', self.confirmed())

    def test_one_patch(self):
        mail, = self.post('-0001', PATCH='1')
        self.assertIn('Subject: [NOT FOR SENDING PATCH] fix\n', mail)
        self.assertIn('---\nSeen on v7.3.4.\nTest: selftest:s.a.\nReproducer shows on stock kernels: AFFECTED: 7.2.1 x86_64; '
                      'not affected:\n6.1.1 arm64.\n\nchange-id: ', mail)

    def test_case_of_a_patch(self):
        text = (self.topics / 'demo/0002-test.patch').read_text()
        write(self.topics / 'demo/0002-test.patch', text.replace('mm/whole.c', 'tools/s.c'))
        (self.repo / 'mm/whole.c').unlink()
        write(self.repo / 'tools/s.c', 'int whole;\n')
        self.assertIn("Test: selftest:s.a, which 'test' adds.\n", self.post('-0001', PATCH='fix')[0])

    def test_stable_rules(self):
        write(self.topics / 'demo/0001-fix.patch', STABLE_FIX)
        self.edit(self.topics / 'demo/series', FIX_DATA, 'fix group=alone trigger=none evidence=inspection case=none stable=6.1')
        self.post('-0001', PATCH='1')
        self.assertIn('no theoretical race', self.confirmed('-0001'))
        self.assertIn('mm-hotfixes', self.confirmed('-0001'))

    def test_stable_size(self):
        old, new = (''.join(f'{sign}{n}\n' for n in range(60)) for sign in ('-', '+new '))
        write(self.topics / 'demo/0001-fix.patch', STABLE_FIX.split('@@')[0] + f'@@ -1,62 +1,62 @@\n one\n{old}{new} two\n')
        self.change_kernel('mm/memory.c', 'one\n' + ''.join(f'{n}\n' for n in range(60)) + 'two\n')
        self.post('-0001', PATCH='1')
        self.assertIn('lines with context; stable-kernel-rules.rst wants at most 100', self.confirmed('-0001'))

    def test_disclosure(self):
        write(self.work / 'said', 'A tool wrote the test.\n')
        self.assertIn('The letter.\n\nA tool wrote the test.\n', self.post(DISCLOSURE=self.work / 'said')[0])

    def test_disclosure_of_one_patch(self):
        write(self.work / 'said', 'A tool wrote the test.\n')
        self.assertIn('arm64.\n\nA tool wrote the test.\n\nchange-id', self.post('-0001', PATCH='1', DISCLOSURE=self.work / 'said')[0])

    def test_disclosure_that_is_not_there(self):
        self.post_refuses('cannot read .*gone', DISCLOSURE=self.work / 'gone')

    def test_without_cover_letter(self):
        (self.topics / 'demo/cover.txt').unlink()
        self.post_refuses('topics/demo/cover.txt is missing')

    def test_cover_letter_without_subject(self):
        write(self.topics / 'demo/cover.txt', 'The letter.\n')
        self.post_refuses("has to start with 'Subject: '")

    def test_no_maintainer(self):
        self.change_kernel('scripts/get_maintainer.pl', '#!/usr/bin/perl\n')
        self.post_refuses('get_maintainer.pl found nobody')

    def test_maintainers_unknown(self):
        self.change_kernel('scripts/get_maintainer.pl', '#!/usr/bin/perl\ndie "no MAINTAINERS\\n";\n')
        self.post_refuses('get_maintainer.pl failed for 0001-fix.patch: no MAINTAINERS')

    def test_earlier_mails_stay(self):
        before = self.post()
        self.change_kernel('scripts/get_maintainer.pl', '#!/usr/bin/perl\n')
        self.refuses('found nobody', POST)
        self.assertEqual([path.read_text() for path in sorted(self.folder().glob('*.patch'))], before)


class Parts(PostingTest):
    """GROUP=, PATCH=, AFTER=."""

    def test_what_goes_where(self):
        self.two_fixes()
        said = self.does(POST, TOPIC='')
        self.assertRegex(said, r'demo +GROUP=pair +2 +mm-unstable')
        self.assertRegex(said, r'demo +GROUP=tests +1 ')

    def test_without_topic(self):
        self.post_refuses('say whose: TOPIC= is missing', TOPIC='', PATCH='1')

    def test_unknown_topic(self):
        self.post_refuses("unknown TOPIC 'nope'", TOPIC='nope')

    def test_unknown_group(self):
        self.two_fixes()
        self.post_refuses("unknown GROUP 'nope' of demo; choose one of: pair fixes development tests documentation", GROUP='nope')

    def test_group_alone(self):
        self.post_refuses('go out one by one; say PATCH=', GROUP='alone')

    def test_group_and_patch(self):
        self.post_refuses('exclude each other', GROUP='fixes', PATCH='1')

    def test_unknown_patch(self):
        self.post_refuses("PATCH='7' names 0 patches", PATCH='7')

    def test_patch_of_a_group(self):
        self.two_fixes()
        self.post_refuses('demo 0001 goes together with 0002; say GROUP=pair', PATCH='1')

    def test_group(self):
        self.two_fixes()
        write(self.topics / 'demo/cover-pair.txt', 'Subject: mm: two\n\nBoth.\n')
        cover, _, second = self.post('-pair', GROUP='pair')
        self.assertIn('PATCH 0/2] mm: two\n', cover)
        self.assertIn('Found by code inspection; not seen on v7.3.4.\n', second)
        self.assertIn('No program shows it: The window is small.\n', second)

    def test_part_with_the_letter_of_the_topic(self):
        self.two_fixes()
        self.assertIn('its patches 1 2, here 1 to 2.', self.post('-fixes', GROUP='fixes')[0].replace('\n', ' '))

    def test_needs_another(self):
        self.two_fixes('alone')
        self.post_refuses("demo 0002 goes on top of: 0001; post those first, then say AFTER='0001'", PATCH='2')

    def test_after_nothing_known(self):
        self.post_refuses("AFTER= names 'nope'; choose of: 0001 tests fixes", PATCH='1', AFTER='nope')

    def test_after_another(self):
        self.two_fixes('alone')
        mail, = self.post('-0002', PATCH='2', AFTER='0001')
        self.assertIn('This applies on top of:\n  fix\n', mail)
        self.assertRegex(mail, r'(?m)^prerequisite-patch-id: [0-9a-f]{40}$')

    def test_prerequisite_patch_id(self):
        self.two_fixes('alone')
        mail, = self.post('-0002', PATCH='2', AFTER='fixes')
        commit = self.git('rev-list', '--reverse', 'refs/mm/base..refs/mm/series').splitlines()[0]
        patch = self.git('diff-tree', '-p', commit)
        done = subprocess.run(['git', 'patch-id', '--stable'], input=patch + '\n', capture_output=True, text=True, check=True)
        self.assertIn(f'prerequisite-patch-id: {done.stdout.split()[0]}\n', mail)

    def test_tests_need_the_fixes(self):
        self.post_refuses('demo tests goes on top of: 0001', GROUP='tests')


class Kernels(PostingTest):
    """KERNEL=."""

    def tree_with(self, text):
        """The maintainers' tree, with another mm/memory.c."""
        write(self.kernel / 'mm/memory.c', text)
        mine, _ = self.maintainers_tree()
        write(self.kernel / 'mm/memory.c', LINES)
        return mine

    def with_index(self, number, old, new):
        """The stored patch with the ids of its blobs, which git am -3 wants."""
        ids = [hashlib.sha1(f'blob {len(text)}\0{text}'.encode()).hexdigest() for text in (old, new)]
        path, = (self.topics / 'demo').glob(f'000{number}-*.patch')
        self.edit(path, '--- a/mm/memory.c', f'index {ids[0]}..{ids[1]} 100644\n--- a/mm/memory.c')

    def test_mails_for_a_tree(self):
        mine, head = self.maintainers_tree()
        cover, fix, _ = self.post(KERNEL=mine)
        self.assertIn('Subject: [PATCH 0/2] mm: a & b\n', cover)
        self.assertIn('\nTo: M <m@example.org>\nCc: R <r@example.org>,\n', fix)
        self.assertIn(f'\n---\nbase-commit: {head}\nchange-id: ', cover)
        self.assertEqual(self.git('rev-parse', 'HEAD', repo=mine), head)
        self.assertEqual(self.git('status', '--porcelain', repo=mine), '')

    def test_three_way(self):
        mine = self.tree_with(LINES.replace('six', 'Six'))
        self.with_index(1, LINES, LINES.replace('four', 'FOUR'))
        text = (self.topics / 'demo/0001-fix.patch').read_text().replace('@@ -3,3 +3,3 @@', '@@ -3,4 +3,4 @@') + ' six\n'
        write(self.topics / 'demo/0001-fix.patch', text)
        self.assertIn('-four\n+FOUR\n five\n Six\n', self.post('-0001', PATCH='1', KERNEL=mine)[0])

    def test_prerequisite_is_merged(self):
        self.two_fixes('alone')
        mine = self.tree_with(LINES.replace('four', 'FOUR'))
        self.assertNotIn('prerequisite', self.post('-0002', PATCH='2', KERNEL=mine)[0])

    def test_merged_already(self):
        mine = self.tree_with(LINES.replace('four', 'FOUR'))
        self.with_index(1, LINES, LINES.replace('four', 'FOUR'))
        self.post_refuses('has demo/0001-fix.patch already', PATCH='1', KERNEL=mine)

    def test_does_not_apply(self):
        self.post_refuses('demo/0001-fix.patch does not apply', KERNEL=self.tree_with('another\n'))

    def test_conflict(self):
        self.with_index(1, LINES, LINES.replace('four', 'FOUR'))
        self.post_refuses(r'demo/0001-fix.patch does not apply: CONFLICT .* in mm/memory.c', PATCH='1',
                          KERNEL=self.tree_with(LINES.replace('four', 'vier')))

    def test_head_that_nobody_has(self):
        mine, _ = self.user_kernel()
        self.post_refuses('no remote branch and no tag of .* has its HEAD', KERNEL=mine)

    def test_no_tree(self):
        self.post_refuses('is not a git tree with a commit', KERNEL=self.topics)

    def test_no_kernel(self):
        mine, _ = self.maintainers_tree()
        self.git('rm', '-q', 'Kbuild', repo=mine)
        self.git('commit', '-qm', 'no kernel', repo=mine)
        self.post_refuses('is not a kernel source tree', KERNEL=mine)


class Versions(PostingTest):
    """VERSION=2 and b4."""

    def second(self, **env):
        self.post(**env)
        shutil.copytree(self.folder(), self.work / 'first', ignore=shutil.ignore_patterns('tree'))
        write(self.topics / 'demo/0001-fix.patch', STABLE_FIX.replace('+FOUR', '+Four'))
        self.does(POST, VERSION='2', PREVIOUS=self.work / 'first', **env)
        return sorted(self.folder().glob('*.patch'))

    def test_second_version(self):
        cover, fix, _ = (path.read_text() for path in self.second())
        self.assertIn('[NOT FOR SENDING PATCH v2 1/2] fix\n', fix)
        self.assertIn('\nRange-diff against v1:\n1:  ', cover)
        self.assertIn('+Four', cover)
        ids = [line for mail in (cover, (self.work / 'first/0000-cover-letter.patch').read_text()) for line in mail.splitlines()
               if line.startswith('change-id: ')]
        self.assertEqual(ids[0], ids[1])

    def test_version_without_the_first(self):
        self.post_refuses('needs VERSION=2 and PREVIOUS=', VERSION='2')
        self.post_refuses('needs VERSION=2 and PREVIOUS=', PREVIOUS=self.work)

    def test_no_version(self):
        self.post_refuses("VERSION='x' is not a number", VERSION='x')

    def test_empty_first(self):
        self.post_refuses('has no .*patch; point it at', VERSION='2', PREVIOUS=self.topics)

    @unittest.skipUnless(shutil.which('b4'), 'b4 is not installed')
    def test_b4_reads_the_mails(self):
        self.post()
        mails = ''.join(path.read_text() for path in sorted(self.folder().glob('*.patch')))
        (self.work / 'am').mkdir()
        done = subprocess.run(['b4', '--offline-mode', 'am', '-m', '-', '-o', str(self.work / 'am')], input=mails, text=True,
                              capture_output=True, check=False, env=self.env | {'HOME': str(self.work)}, cwd=self.work)
        self.assertEqual(done.returncode, 0, done.stderr)
        mine, _ = self.user_kernel()
        self.git('am', '-q', *(self.work / 'am').glob('*.mbx'), repo=mine)
        self.assertEqual(self.git('rev-parse', 'HEAD^{tree}', repo=mine), self.git('rev-parse', 'refs/mm/alone/demo^{tree}'))

    @unittest.skipUnless(shutil.which('b4'), 'b4 is not installed')
    def test_b4_takes_the_branch(self):
        cover = self.post()[0]
        change = next(line for line in cover.splitlines() if line.startswith('change-id: '))
        tree = self.folder() / 'tree'
        self.git('checkout', '-q', 'b4/demo', repo=tree)
        said = self.does('b4', '--offline-mode', 'prep', '--show-info', cwd=tree, HOME=self.work)
        self.assertIn(f'cover-subject: mm: a & b\n{change}\nrevision: 1\n', said)
        self.assertEqual(said.count('\ncommit-'), 2)


if __name__ == '__main__':
    main()
