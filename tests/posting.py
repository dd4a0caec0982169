# SPDX-License-Identifier: GPL-2.0
"""A small tree whose topic can be posted: maintainers, authors, verdicts, and a poster."""

import shutil
import subprocess
import tempfile
from pathlib import Path

from small_tree import FIX, FIX_DATA, HEAD, POST, SmallTreeTest
from support import write

MAINTAINERS = '''#!/usr/bin/perl
my %say = map { $_ => 1 } @ARGV;
print "M <m\\@example.org> (maintainer:MM)\\n";
print "R <r\\@example.org> (reviewer:MM)\\n" unless $say{"--no-r"};
print "l\\@example.org (open list:MM)\\nany\\@example.org (open list)\\n" unless $say{"--no-l"};
'''
POSTING = '''[commits.123456789abc]
subject = "x"
name = "Author"
address = "author@old.example.org"
seen = "https://lore.kernel.org/x"

[[thread]]
topic = "demo"
name = "Asker"
address = "asker@example.org"
seen = "MAINTAINERS"

[[thread]]
topic = "demo"
name = "Left"
left = "CREDITS"
seen = "https://lore.kernel.org/y"
'''
FIXES = '''[[fix]]
topic = "demo"
subject = "fix"
boundary = "no"
why = "Nobody gains anything."
reproducer = "shows"

[[fix]]
topic = "demo"
subject = "second"
boundary = "no"
why = "Nor here."
reason = "The window is small."
'''
SEEN = '''[{"version": "7.2.1", "arch": "x86_64", "results": {"shows": "AFFECTED"}},
{"version": "6.1.1", "arch": "arm64", "results": {"shows": "not affected"}}]
'''
SECOND = HEAD + '''second

Why.

Fixes: 123456789abc ("x")
---
diff --git a/mm/memory.c b/mm/memory.c
--- a/mm/memory.c
+++ b/mm/memory.c
@@ -3,4 +3,4 @@
 three
 FOUR
-five
+FIVE
 six
'''
POSTER = 'P. Oster <p@example.org>'


class PostingTest(SmallTreeTest):
    """The topic demo with all that make post wants.

    The tests of a class share the base kernel, and the tree that the first of them makes: that takes longest.
    """
    shared: Path

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.shared = Path(tempfile.mkdtemp(prefix='mm-test-'))
        cls.addClassCleanup(shutil.rmtree, cls.shared, ignore_errors=True)

    def setUp(self):
        super().setUp()
        write(self.kernel / 'scripts/get_maintainer.pl', MAINTAINERS)
        write(self.kernel / 'MAINTAINERS', 'none\n')
        write(self.kernel / '.mailmap', 'Author <author@new.example.org> <author@old.example.org>\n')
        write(self.topics / 'demo/cover.txt', 'Subject: mm: a & b\n\nThe letter.\n')
        write(self.topics / 'demo/tests', 'selftest:s.a x86_64 FAIL the rule\nselftest:s.b x86_64 PASS\n')
        write(self.topics / 'posting.toml', POSTING)
        write(self.repo / 'reproducers/fixes.toml', FIXES)
        write(self.repo / 'reproducers/seen.json', SEEN)
        self.identity('P. Oster', 'p@example.org')
        self.env |= {'TOPIC': 'demo', 'SIGNED_OFF_BY': POSTER, 'ASSISTED_BY': 'LLM sparse', 'KERNEL_SRC': str(self.shared / 'kernel')}
        if not (self.shared / 'kernel').exists():
            shutil.copytree(self.kernel, self.shared / 'kernel')
        if (self.shared / 'linux').exists():
            shutil.copytree(self.shared / 'linux', self.linux)

    def tearDown(self):
        if self.linux.exists() and not (self.shared / 'linux').exists() and self.env['KERNEL_SRC'] != str(self.kernel):
            shutil.copytree(self.linux, self.shared / 'linux')
        super().tearDown()

    def change_kernel(self, path, text):
        """A base of this test's own, with another file."""
        write(self.kernel / path, text)
        self.env['KERNEL_SRC'] = str(self.kernel)
        shutil.rmtree(self.linux, ignore_errors=True)

    def identity(self, name, email):
        self.env |= {'GIT_CONFIG_COUNT': '2', 'GIT_CONFIG_KEY_0': 'user.name', 'GIT_CONFIG_VALUE_0': name,
                     'GIT_CONFIG_KEY_1': 'user.email', 'GIT_CONFIG_VALUE_1': email}

    def folder(self, part=''):
        return self.work / 'out/post' / f'demo{part}'

    def post(self, part='', **env):
        """The mails that post writes for a part, in order."""
        self.does(POST, **env)
        return [path.read_text() for path in sorted(self.folder(part).glob('*.patch'))]

    def post_refuses(self, pattern, **env):
        """It fails with one line and leaves nothing."""
        self.refuses(pattern, POST, **env)
        left = self.work / 'out/post'
        self.assertEqual(list(left.iterdir()) if left.exists() else [], [])

    def confirmed(self, part=''):
        return (self.folder(part) / 'confirm.txt').read_text()

    def two_fixes(self, group='pair'):
        """A second fix, which changes lines next to the first."""
        first = FIX_DATA.replace('group=alone', f'group={group}')
        second = FIX_DATA.replace('group=alone', f'group={group}').replace('evidence=seen', 'evidence=inspection')
        write(self.topics / 'demo/series', f'0001-fix.patch {first}\n0002-second.patch {second}\n0003-test.patch test base\n')
        (self.topics / 'demo/0002-test.patch').rename(self.topics / 'demo/0003-test.patch')
        write(self.topics / 'demo/0002-second.patch', SECOND)

    def security(self, boundary='yes'):
        self.edit(self.repo / 'reproducers/fixes.toml', 'boundary = "no"\nwhy = "Nobody', f'boundary = "{boundary}"\nwhy = "Nobody')

    def maintainers_tree(self):
        """A kernel whose HEAD others have."""
        mine, head = self.user_kernel()
        subprocess.run(['git', '-C', mine, 'tag', 'v7.3.4'], check=True, env=self.env)
        return mine, head


STABLE_FIX = FIX.replace('---\ndiff', 'Cc: stable@vger.kernel.org\nCc: list@example.org\n---\ndiff')
