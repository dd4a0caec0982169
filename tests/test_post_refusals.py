#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""make post refuses: nobody posts, nothing is disclosed, a security bug, facts that are missing or disagree."""

import sys
import unittest
from pathlib import Path
from tempfile import TemporaryDirectory

from posting import FIXES, POSTING, STABLE_FIX, PostingTest
from small_tree import FIX, POST
from support import TOP, main, write

sys.path.insert(0, str(TOP))
# pylint: disable=wrong-import-position
from harness.errors import HarnessError  # noqa: E402
from harness.post_facts import fixes_of, mail_of, read_facts  # noqa: E402
from harness.post_plan import select  # noqa: E402
from harness.topics import Kind, all_patches, read_order  # noqa: E402


class Poster(PostingTest):
    """Name, sign-off and disclosure have no default."""

    def test_without_identity(self):
        self.post_refuses('does not know who posts', GIT_CONFIG_COUNT='0', cwd=self.work)

    def test_identity_of_the_series(self):
        self.identity('mm series', 'mm-series@invalid')
        self.post_refuses('is nobody; set git config', SIGNED_OFF_BY='mm series <mm-series@invalid>')

    def test_without_sign_off(self):
        self.post_refuses("say SIGNED_OFF_BY='Your Name <address>' if you certify", SIGNED_OFF_BY='')

    def test_sign_off_of_another(self):
        self.post_refuses("is not 'P. Oster <p@example.org>'", SIGNED_OFF_BY='Q <q@example.org>')

    def test_without_disclosure(self):
        self.post_refuses("say ASSISTED_BY='LLM ", ASSISTED_BY='')

    def test_disclosure_of_another_form(self):
        for said in ('none', 'sparse', 'llm', 'LLM <x@example.org>'):
            with self.subTest(said):
                self.post_refuses('does not have the form of coding-assistants.rst', ASSISTED_BY=said)

    def test_disclosure_of_basic_tools(self):
        self.post_refuses('ASSISTED_BY= names gcc', ASSISTED_BY='LLM sparse gcc')


class Held(PostingTest):
    """Patches that wait for a decision."""

    def test_held(self):
        self.edit(self.topics / 'demo/series', '0002-test.patch test base', '0002-test.patch test base held')
        said = 'demo 0002 is held until the decision that topics/demo/cover.txt asks for'
        self.post_refuses(said)
        self.post_refuses(said, GROUP='tests', AFTER='fixes')
        self.post_refuses(said, PATCH='2', AFTER='fixes')
        self.assertIn('Subject: ', self.post('-0001', PATCH='1')[0])
        self.assertIn('held: 0002', self.does(POST, TOPIC='', SIGNED_OFF_BY=''))

    def test_on_top_of_a_held_patch(self):
        self.edit(self.topics / 'demo/series', '0001-fix.patch fix', '0001-fix.patch fix held')
        self.post_refuses('demo tests goes on top of demo 0001, which is held', GROUP='tests', AFTER='fixes')


class Security(PostingTest):
    """Fixes that cross a trust boundary."""

    def test_route_is_not_said(self):
        for boundary in ('yes', 'part'):
            with self.subTest(boundary):
                write(self.repo / 'reproducers/fixes.toml', FIXES)
                self.security(boundary)
                self.post_refuses("'fix' crosses a trust boundary: say ROUTE=private", PATCH='1')

    def test_unknown_route(self):
        self.post_refuses("unknown ROUTE 'secret'; choose one of: private public", ROUTE='secret')

    def test_private_without_reason(self):
        self.post_refuses('no bug here crosses a trust boundary', ROUTE='private')

    def test_private_with_others(self):
        self.security()
        self.post_refuses('for the fixes that cross a trust boundary and no others', ROUTE='private')

    def test_tests_of_a_security_bug(self):
        self.security()
        self.post_refuses("'fix' crosses a trust boundary", GROUP='tests', AFTER='fixes')
        self.post_refuses('and no others', GROUP='tests', AFTER='fixes', ROUTE='private')

    def test_private(self):
        self.security()
        write(self.topics / 'demo/0001-fix.patch', STABLE_FIX)
        mine, _ = self.maintainers_tree()
        mail, = self.post('-0001', PATCH='1', ROUTE='private', KERNEL=mine)
        self.assertIn('\nTo: M <m@example.org>\nCc: Linux kernel security team <security@kernel.org>\n\nWhy.', mail)
        self.assertIn('\nCc: stable@kernel.org\nAssisted-by: ', mail)
        for other in ('vger', 'list@example.org', 'l@example.org', 'asker@', 'shows', 'selftest:'):
            self.assertNotIn(other, mail)
        report = (self.folder('-0001') / 'report.txt').read_text()
        self.assertRegex(report, r'\A\[Remove this section before you send the report.\n To: M <m@example.org>\n')
        for part in ('Problem: fix\n\nWhy.\n', 'Impact: Nobody gains anything.\n', 'Affected: v6.1 to v7.3.4.\n',
                     'Conditions: any user can trigger it; seen on v7.3.4.\n', 'Reproducer: available'):
            self.assertIn(part, report)

    def test_public(self):
        self.security()
        mail, = self.post('-0001', PATCH='1', ROUTE='public')
        self.assertIn('---\nSeen on v7.3.4. A reproducer is available to maintainers who ask for it.\n\nchange-id', mail)
        self.assertIn('Asker', mail)
        self.assertIn("'fix' crosses a trust boundary, and is to be public", self.confirmed('-0001'))
        self.assertFalse((self.folder('-0001') / 'report.txt').exists())


class Facts(PostingTest):
    """Facts that are missing or disagree."""

    def test_unknown_commit(self):
        self.edit(self.topics / 'posting.toml', '[commits.123456789abc]', '[commits.123456789abd]')
        self.post_refuses("Fixes: 123456789abc of 'fix' is not known")

    def test_another_subject(self):
        self.edit(self.topics / 'posting.toml', 'subject = "x"', 'subject = "y"')
        self.post_refuses("has another subject than topics/posting.toml: 'y'")

    def test_tag_that_is_not_understood(self):
        write(self.topics / 'demo/0001-fix.patch', FIX.replace('123456789abc ("x")', '1234 (x)'))
        self.post_refuses(r"'Fixes: 1234 \(x\)' of 'fix' is not understood")

    def test_author_without_a_source(self):
        self.edit(self.topics / 'posting.toml', 'seen = "https://lore.kernel.org/x"', '')
        self.post_refuses('topics/posting.toml: Author has no seen')

    def test_author_without_an_address(self):
        self.edit(self.topics / 'posting.toml', 'address = "author@old.example.org"', '')
        self.post_refuses('topics/posting.toml: Author has no address')

    def test_no_toml(self):
        write(self.topics / 'posting.toml', '[commits')
        self.post_refuses('posting.toml: ')

    def test_fix_without_verdict(self):
        self.edit(self.repo / 'reproducers/fixes.toml', 'subject = "fix"', 'subject = "other"')
        self.post_refuses("has no entry for 'fix' of demo; say there whether the bug crosses a trust boundary")

    def test_fix_of_another_part_without_verdict(self):
        self.edit(self.repo / 'reproducers/fixes.toml', 'subject = "fix"', 'subject = "other"')
        self.post_refuses("has no entry for 'fix' of demo", GROUP='tests')
        self.post_refuses("has no entry for 'fix' of demo", TOPIC='')

    def test_verdict_of_another_form(self):
        self.security('perhaps')
        self.post_refuses("boundary of 'fix' is 'perhaps'; want no, yes or part")

    def test_verdict_without_reason(self):
        self.edit(self.repo / 'reproducers/fixes.toml', 'why = "Nobody gains anything."', '')
        self.post_refuses('reproducers/fixes.toml: fix has no why')

    def test_seen_by_a_case_that_passes(self):
        self.edit(self.topics / 'demo/series', 'case=selftest:s.a', 'case=selftest:s.b')
        self.post_refuses('evidence=seen wants case= to be one that does not pass on base')

    def test_seen_and_never_triggered(self):
        self.edit(self.topics / 'demo/series', 'trigger=user', 'trigger=none')
        self.post_refuses('evidence=seen and trigger=none contradict')

    def test_fix_without_tag(self):
        write(self.topics / 'demo/0001-fix.patch', FIX.replace('Fixes: 123456789abc ("x")\n', ''))
        self.post_refuses("is a fix and has no 'Fixes:'")


class Stored(unittest.TestCase):
    """The facts of the series itself."""

    def setUp(self):
        self.topics = read_order(TOP / 'topics')
        self.facts = read_facts(TOP / 'topics')
        self.mails = [(patch, mail_of(self.topics, patch)) for patch in all_patches(self.topics)]

    def test_commits(self):
        tags = {name: subject for _, mail in self.mails for name, subject in fixes_of(mail)}
        self.assertEqual(tags, {name: commit.subject for name, commit in self.facts.commits.items()})

    def test_subjects(self):
        known = {(patch.topic, mail.subject) for patch, mail in self.mails}
        self.assertEqual(set(self.facts.visible) - known, set())
        fixes = {(patch.topic, mail.subject) for patch, mail in self.mails if patch.kind is Kind.FIX}
        self.assertEqual(set(self.facts.verdicts), fixes)

    def test_threads(self):
        self.assertEqual(set(self.facts.threads), set(self.topics))

    def test_letters_of_groups(self):
        for path in (TOP / 'topics').glob('*/cover-*.txt'):
            with self.subTest(path.name):
                select(self.topics[path.parent.name], path.stem.removeprefix('cover-'), '')
                self.assertTrue(path.read_text().startswith('Subject: '))

    def test_person_who_left(self):
        with TemporaryDirectory() as folder:
            write(Path(folder) / 'reproducers/fixes.toml', '')
            write(Path(folder) / 'topics/posting.toml', POSTING.replace('left = "CREDITS"', ''))
            with self.assertRaisesRegex(HarnessError, 'Left has no address'):
                read_facts(Path(folder) / 'topics')


if __name__ == '__main__':
    main()
