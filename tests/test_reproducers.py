#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""The reproducers' own rules: the programs, fixes.toml and the files made from it, stable tags."""

import json
import re
import sys

from support import TOP, CommandTest, main, write

REPRODUCERS = TOP / 'reproducers'
sys.path[:0] = [str(REPRODUCERS), str(TOP)]
import fixes  # noqa: E402
import seen  # noqa: E402
import stable  # noqa: E402

AFFECTED = REPRODUCERS / 'affected.py'
PROGRAMS = sorted(p for p in REPRODUCERS.glob('*.c') if p.stem != 'init')


class Table(CommandTest):
    """fixes.toml, the programs and README.md agree."""

    def test_every_fix_has_one_row(self):
        subjects = [f.subject for f in fixes.load() if f.subject]
        self.assertEqual(sorted(subjects), sorted(map(fixes.subject_of, fixes.patches_with_fixes())))

    def test_programs_and_rows(self):
        self.assertEqual([p.stem for p in PROGRAMS], sorted(f.reproducer for f in fixes.load() if f.reproducer))

    def test_withheld_where_a_boundary_is_crossed(self):
        for fix in fixes.load():
            with self.subTest(fix=fix.name):
                self.assertEqual(fix.shown is fixes.Shown.WITHHELD, fix.boundary is fixes.Boundary.YES)
                self.assertTrue(fix.why and fix.case and not (fix.reproducer and fix.reason))

    def test_at_most_a_third_cannot_be_shown(self):
        ours = [f for f in fixes.load() if f.subject]
        self.assertLessEqual(3 * sum(f.shown is fixes.Shown.CANNOT for f in ours), len(ours))

    def test_table_is_of_today(self):
        self.assertTrue(self.does(AFFECTED, '--table') == (REPRODUCERS / 'fixes.md').read_text(),
                        'run "reproducers/affected.py --table >reproducers/fixes.md"')

    def test_stable_tags(self):
        self.says(0, '^stable tags, comments and results agree$', AFFECTED, '--check')

    def test_files_of_a_diff(self):
        diff = '--- a/mm/x.c\n+++ b/mm/x.c\n@@ -1,2 +1,2 @@ static int f(int a)\n-a\n+b\n--- a/mm/y.c\n+++ /dev/null\n'
        self.assertEqual(fixes.touched_by(diff), {'mm/x.c'})

    def test_debian_changes(self):
        known = self.work / 'debian.toml'
        known.write_text('["7.3"]\nversion = "7.3.4-1"\n["7.3".files]\n"mm/ksm.c" = "an export"\n')
        fix, other = (fixes.Fix(topic='t', boundary=fixes.Boundary.NO, why='x', case='x', title='x', files=(path,))
                      for path in ('mm/ksm.c', 'fs/proc/task_mmu.c'))
        self.assertEqual(fixes.debian_changes(fix, '7.3', '7.3.4-1', known), 'mm/ksm.c: an export')
        self.assertEqual(fixes.debian_changes(fix, '7.3', '7.3.9-1', known), 'mm/ksm.c: an export; seen in 7.3.4-1')
        self.assertEqual(fixes.debian_changes(other, '7.3', '7.3.4-1', known), 'no')
        self.assertEqual(fixes.debian_changes(other, '8.0', '8.0-1', known), 'unknown; debian.toml has no 8.0')


class Stable(CommandTest):
    """What --check finds."""

    def setUp(self):
        super().setUp()
        write(self.work / 't/0001-x.patch', 'Subject: [PATCH] mm: a fix\n\nFixes: 0123456789ab ("mm: a bug")\n'
              'Cc: stable@vger.kernel.org\n')
        self.values = {'topic': 't', 'boundary': fixes.Boundary.NO, 'why': 'x', 'case': 'x', 'subject': 'mm: a fix',
                       'reproducer': 'scan-mask', 'since': '6.7'}

    def finds(self, pattern, known='6.7', entries=(), **changes):
        fix = fixes.Fix(**{**self.values, **changes})
        found = stable.disagreements([fix], list(entries), self.work, {'0123456789ab': known} if known else {})
        self.assertRegex('\n'.join(found), pattern)

    @staticmethod
    def entry(version, outcome, arch='x86_64'):
        return {'version': version, 'arch': arch, 'results': {'scan-mask': outcome}}

    def test_agreement(self):
        self.finds('^$', entries=[self.entry('7.3.4', 'AFFECTED'), self.entry('6.1.9', 'no such feature'),
                                  self.entry('6.6.1', 'not affected')])

    def test_tags(self):
        self.finds('stable=6.7, and the first commit of its Fixes: tags is in 6.10', known='6.10')
        self.finds('fixes.toml has no release of 0123456789ab', known='')
        self.finds('has "Cc: stable", and no_stable=', no_stable='x')
        write(self.work / 't/0001-x.patch', 'Subject: [PATCH] mm: a fix\n\nFixes: 0123456789ab ("mm: a bug")\n')
        self.finds('has neither "Cc: stable" nor no_stable=')
        self.finds('^$', no_stable='x')

    def test_results(self):
        older, newer = self.entry('6.1.9', 'AFFECTED'), self.entry('6.12.1', 'not affected')
        self.finds('6.1.9 x86_64 is AFFECTED, and scan-mask is since 6.7', entries=[older])
        self.finds('6.12.1 x86_64 is not affected, and scan-mask is since 6.7', entries=[newer])
        self.finds('^$', entries=[newer], differs='x')
        self.finds('^$', entries=[newer], arches=('arm64',))
        self.finds('nothing differs', differs='x')

    def test_comment(self):
        self.finds('the first comment of scan-mask.c does not say "since 6.8"', known='6.8', since='6.8')
        self.finds('^$', known='6.1', since='6.1', shown_since='6.7')


class Seen(CommandTest):
    """seen.json keeps the answers of stock kernels."""

    def save(self, outcome: str, package: str, program: str = 'scan-mask') -> dict[str, str]:
        result = self.work / 'result.json'
        result.write_text(json.dumps({'kernels': [{'kernel.org': '6.12.1', 'arch': 'x86_64', 'package': package, 'trouble': '',
                                                   'results': {program: {'outcome': outcome}}}]}))
        path = self.work / 'seen.json'
        if not path.exists():
            path.write_text('[]')
        seen.save(result, path)
        return json.loads(path.read_text())[0]['results']

    def test_save(self):
        self.assertEqual(self.save('not affected', 'p=1'), {'scan-mask': 'not affected'})
        self.assertEqual(self.save('AFFECTED', 'p=1'), {'scan-mask': 'AFFECTED'})
        self.assertEqual(self.save('not affected', 'p=1'), {'scan-mask': 'AFFECTED'})
        self.assertEqual(self.save('cannot say', 'p=1', 'ksm-wp'), {'ksm-wp': 'cannot say', 'scan-mask': 'AFFECTED'})
        self.assertEqual(self.save('not affected', 'p=2'), {'scan-mask': 'not affected'})

    def test_letters(self):
        """Each letter has the table of its topic; "reproducers/affected.py --letter TOPIC" prints it."""
        all_fixes = fixes.load()
        for topic in fixes.read_order(fixes.TOPICS):
            with self.subTest(topic=topic):
                table = seen.letter_table(topic, all_fixes)
                self.assertIn(table, (TOP / 'topics' / topic / 'cover.txt').read_text())
                self.assertEqual(sorted(line.split()[-1] for line in table.splitlines() if re.match(r' +\d+  ', line)),
                                 sorted(f.reproducer for f in all_fixes if f.topic == topic and f.reproducer))


class Programs(CommandTest):
    """Each program keeps the rules, and stands alone once it is joined."""

    def test_first_comment_and_length(self):
        for program in PROGRAMS:
            with self.subTest(program=program.stem):
                text = program.read_text()
                self.assertLess(len(text.splitlines()), 150)
                for word in ('Problem:', 'Right:', 'Affected:'):
                    self.assertIn(f' * {word} ', text.split('*/')[0])

    def test_joined_programs_compile(self):
        for program in PROGRAMS:
            with self.subTest(program=program.stem):
                joined = self.work / f'{program.stem}.c'
                joined.write_text(self.does(REPRODUCERS / 'join', program.stem))
                self.assertNotIn('repro.h"', joined.read_text())
                self.does('gcc', '-Wall', '-Wextra', '-Werror', '-fsyntax-only', joined)

    def test_join_refuses_an_unknown_name(self):
        self.refuses('NAME is one of: dontunmap-wp fork-hugetlb', REPRODUCERS / 'join', 'nothing')

    def test_harm_wants_yes(self):
        changes = r'hwpoison\(|MADV_SOFT_OFFLINE\)|\bput\(|put_number\(|hugetlb_pool\(|begin\(argc, argv, "'
        harmful = [p for p in PROGRAMS if re.search(changes, p.read_text())]
        self.assertTrue(harmful)
        for program in harmful:
            with self.subTest(program=program.stem):
                self.assertNotIn('begin(argc, argv, NULL', program.read_text())
        for program in sorted(set(PROGRAMS) - set(harmful)):
            with self.subTest(program=program.stem):
                self.assertRegex(program.read_text(), r'begin\(argc, argv, NULL, (true|false)\)')
        self.does('gcc', '-pthread', '-o', self.work / 'x', harmful[0])
        self.says(2, r'this program may .* run it with --yes on a test machine', self.work / 'x')
        self.says(2, r'usage: .* \[--yes\] \[SECONDS\]', self.work / 'x', 'ten')


if __name__ == '__main__':
    main()
