#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""scripts/post: numbered mails with a cover letter."""

from small_tree import POST, SmallTreeTest
from support import main, write

MAINTAINERS = '''#!/usr/bin/perl
my %say = map { $_ => 1 } @ARGV;
print "M <m\\@invalid>\\n" unless $say{"--no-m"};
print "l\\@invalid\\n" unless $say{"--no-l"};
'''


class PostTest(SmallTreeTest):
    """With a kernel that knows its maintainers, and a poster."""

    def setUp(self):
        super().setUp()
        write(self.kernel / 'scripts/get_maintainer.pl', MAINTAINERS)
        (self.kernel / 'scripts/get_maintainer.pl').chmod(0o755)
        write(self.topics / 'demo/cover.txt', 'Subject: mm: a & b\n\nThe letter.\n')
        self.env |= {'GIT_CONFIG_COUNT': '2', 'GIT_CONFIG_KEY_0': 'user.name', 'GIT_CONFIG_VALUE_0': 'P',
                     'GIT_CONFIG_KEY_1': 'user.email', 'GIT_CONFIG_VALUE_1': 'p@invalid', 'TOPIC': 'demo'}

    def post(self, **env):
        """The mails that post writes, in order."""
        self.does(POST, **env)
        return [p.read_text() for p in sorted((self.work / 'out/post/demo').glob('*.patch'))]

    def test_mails(self):
        cover, fix, test = self.post()
        self.assertIn('Subject: [PATCH 0/2] mm: a & b\n', cover)
        self.assertIn('\nThe letter.\n', cover)
        for mail in (cover, fix, test):
            self.assertIn('\nTo: M <m@invalid>\nCc: l@invalid\n', mail)
        for mail in (fix, test):
            self.assertIn('\nSigned-off-by: P <p@invalid>\n', mail)
            self.assertIn('From: P <p@invalid>\n', mail)
        self.assertIn('+++ b/mm/whole.c', test)

    def test_second_version(self):
        self.assertIn('[PATCH v2 1/2] fix', self.post(VERSION='2')[1])

    def test_mails_apply_to_the_base(self):
        self.post()
        mine, _ = self.user_kernel()
        self.git('am', '-q', *sorted((self.work / 'out/post/demo').glob('*-000[12]-*.patch')),
                 *sorted((self.work / 'out/post/demo').glob('000[12]-*.patch')), repo=mine)
        self.assertEqual(self.git('rev-parse', 'HEAD^{tree}', repo=mine), self.git('rev-parse', 'refs/mm/alone/demo^{tree}'))

    def test_without_topic(self):
        self.refuses('say which', POST, TOPIC='')

    def test_unknown_topic(self):
        self.refuses("unknown TOPIC 'nope'", POST, TOPIC='nope')

    def test_without_identity(self):
        self.refuses('does not know who posts', POST, GIT_CONFIG_COUNT='0', cwd=self.work)

    def test_without_cover_letter(self):
        (self.topics / 'demo/cover.txt').unlink()
        self.refuses('topics/demo/cover.txt is missing', POST)

    def test_cover_letter_without_subject(self):
        write(self.topics / 'demo/cover.txt', 'The letter.\n')
        self.refuses("has to start with 'Subject: '", POST)

    def test_no_maintainer(self):
        write(self.kernel / 'scripts/get_maintainer.pl', '#!/usr/bin/perl\n')
        self.refuses('get_maintainer.pl found nobody', POST)


if __name__ == '__main__':
    main()
