#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""harness: the parsers of topics/, configs/ and guest/arch/; `harness list`."""

import contextlib
import sys
import tempfile
import shutil
import unittest
from pathlib import Path

from support import TOP, CommandTest, main, write

sys.path.insert(0, str(TOP))

from harness.arch import architectures, find_arch, read_arch  # noqa: E402
from harness.errors import HarnessError  # noqa: E402
from harness.expectations import Want, read_tests, select_tests  # noqa: E402
from harness.flavours import read_flavour  # noqa: E402
from harness.mutants import other_flavours, read_mutants, select_mutants  # noqa: E402
from harness.topics import (Kind, all_patches, bench_variants, parse_patch, read_bench, read_order, read_series,  # noqa: E402
                            topics_folder)

FIX = 'group=alone trigger=user evidence=seen case=selftest:p.f.v.a stable=6.12'


class TopicsTest(unittest.TestCase):
    """self.folder is a topics folder with the topic t."""

    def setUp(self):
        self.folder = Path(tempfile.mkdtemp(prefix='mm-topics-'))
        self.addCleanup(shutil.rmtree, self.folder)
        write(self.folder / 'order', 't\n')

    def topics(self):
        return read_order(self.folder)

    def file(self, name, *lines):
        write(self.folder / name, '\n'.join(lines) + '\n')

    @contextlib.contextmanager
    def refused(self, pattern):
        """The block raises an error with a message of one line."""
        with self.assertRaisesRegex(HarnessError, pattern) as caught:
            yield
        self.assertEqual(len(str(caught.exception).splitlines()), 1)


class Order(TopicsTest):
    def test_order(self):
        self.file('order', '# how they stack', 'u', '', 't needs: u # because')
        topics = self.topics()
        self.assertEqual(list(topics), ['u', 't'])
        self.assertEqual(topics['t'].needs, ('u',))

    def test_bad_lines(self):
        for lines, pattern in ((['t needs: u'], "t needs 'u', which no line above has"), (['t', 't'], 'is there twice'),
                               (['t on u'], 'want TOPIC, or TOPIC needs: OTHER'), (['t needs:'], 'want TOPIC, or TOPIC needs: OTHER'),
                               (['# none'], 'has no topic')):
            with self.subTest(lines), self.refused(pattern):
                self.file('order', *lines)
                self.topics()

    def test_no_order(self):
        (self.folder / 'order').unlink()
        with self.refused('cannot read .*order: No such file'):
            self.topics()


class Series(TopicsTest):
    def test_lines(self):
        self.file('t/series', '# a fix first', f'0001-a.patch fix {FIX}', '0002-b.patch test base', '0003-c.patch development',
                  '0004-d.patch documentation')
        patches = all_patches(self.topics())
        self.assertEqual([p.kind for p in patches], [Kind.FIX, Kind.TEST, Kind.DEVELOPMENT, Kind.DOCUMENTATION])
        self.assertEqual([p.base for p in patches], [False, True, False, False])
        self.assertEqual(patches[0].values['trigger'], 'user')
        self.assertFalse(any(p.held for p in patches))

    def test_held(self):
        for line, base in ((f'a.patch fix held {FIX}', False), ('a.patch test base held', True), ('a.patch development held', False)):
            with self.subTest(line):
                patch = parse_patch('t', line, 'topics/t/series:1')
                self.assertEqual((patch.held, patch.base), (True, base))

    def test_bad_lines(self):
        for line, pattern in (('a.patch', 'want FILE KIND'), ('a.patch [test] mm/x.c', 'want FILE KIND'), ('a.patch bugfix', 'with a KIND of: fix development test documentation'),
                              (f'a.patch fix {FIX} color=red', "'color=red' is not understood"),
                              (f'a.patch fix {FIX} group=alone', "'group=alone' is not understood"),
                              ('a.patch test group=alone', 'other patches have none'),
                              ('a.patch test held base', "'base' is not understood"),
                              ('a.patch test held held', "'held' is not understood"),
                              (f'a.patch fix {FIX.replace("user", "anyone")}', "trigger='anyone' does not match"),
                              (f'a.patch fix {FIX.replace("seen", "rumour")}', "evidence='rumour' does not match"),
                              (f'a.patch fix {FIX.replace("6.12", "lately")}', "stable='lately' does not match"),
                              (f'a.patch fix {FIX.replace("selftest:p.f.v.a", "p")}', "case='p' does not match"),
                              ('a.patch fix group=alone', 'a fix without trigger=')):
            with self.subTest(line), self.refused(pattern):
                parse_patch('t', line, 'topics/t/series:1')

    def test_no_series(self):
        with self.refused('cannot read .*t/series'):
            read_series(self.topics()['t'])


class Tests(TopicsTest):
    def lines(self, *lines, flavour='debug'):
        self.file('t/tests', *lines)
        return read_tests(self.topics()).of_flavour(flavour)

    def test_line(self):
        line, = self.lines('selftest:p.f.v.a  x86_64,arm64  FAIL guards lost')
        self.assertEqual((line.case, line.archs, line.want, line.text), ('selftest:p.f.v.a', ('x86_64', 'arm64'), Want.FAIL, 'guards lost'))
        self.assertEqual((line.program, line.test), ('p', 'f.v.a'))

    def test_flavour_instead_of_general_line(self):
        lines = ('kunit:s.one x86_64,arm64 PASS', 'kunit:s.one x86_64@debug+kasan SKIP too slow')
        self.assertEqual([(e.archs, e.want) for e in self.lines(*lines, flavour='debug+kasan')],
                         [(('arm64',), Want.PASS), (('x86_64',), Want.SKIP)])
        self.assertEqual([(e.archs, e.want) for e in self.lines(*lines)], [(('x86_64', 'arm64'), Want.PASS)])

    def test_splats(self):
        found = self.lines('selftest:p.a x86_64 SPLAT the text', 'selftest:p.b x86_64 RACE SPLAT the text',
                           'selftest:p.c x86_64 WARN the text', 'selftest:p.d x86_64 RACE WARN the text',
                           'selftest:p.e x86_64 RACE the text', 'selftest:p.f x86_64 FAIL SPLAT text')
        self.assertEqual([e.may_splat for e in found], [True, True, True, True, False, False])
        self.assertEqual([e.spoils_guest for e in found], [True, True, False, False, False, False])
        self.assertEqual({e.splat for e in found[:5]}, {'the text'})

    def test_bad_lines(self):
        for lines, pattern in ((['kunit:s.one x86_64'], 'topics/t/tests:1: want CASE ARCH'), (['kunit:s.one x86_64 FAIL'], 'want CASE ARCH'),
                               (['kunit:s.one x86_64 PASS always'], 'want CASE ARCH'), (['kunit:s.one x86_64 FLY high'], 'want CASE ARCH'),
                               (['selftest:p.a x86_64 ABSENT f() is new'], 'ABSENT is for KUnit'),
                               (['s.one x86_64 PASS'], 'is not kunit:SUITE.CASE'),
                               (['kunit:s.one x86_64 PASS', 'kunit:s.one arm64,x86_64 PASS'], 'tests:2: kunit:s.one is listed twice for x86_64'),
                               (['kunit:s.one amr64 PASS'], "unknown architecture 'amr64'; choose one of: arm64 riscv64 um x86_64"),
                               (['kunit:s.one x86_64@debug+kasann PASS'], r"unknown flavour 'debug\+kasann'; there is no configs/kasann"),
                               (['kunit:s.one x86_64@ PASS'], "unknown flavour ''"),
                               (['never: selftest:p.*'], 'want never: PATTERN REASON')):
            with self.subTest(lines), self.refused(pattern):
                self.lines(*lines)

    def test_disks(self):
        self.file('order', 't', 'u')
        self.file('t/tests', 'disks: ext4:128 swap:128')
        self.file('u/tests', 'disks: xfs:320 ext4:128')
        tests = read_tests(self.topics())
        self.assertEqual(tests.all_disks(), ['ext4:128', 'swap:128', 'xfs:320'])
        self.assertEqual(tests.all_disks('u'), ['xfs:320', 'ext4:128'])

    def test_select(self):
        self.file('t/tests', 'kunit:s.one x86_64 PASS', 'kunit:s.two x86_64 PASS')
        self.assertEqual([e.case for e in select_tests(self.topics(), 'debug', test='two')], ['kunit:s.two'])
        for arguments, pattern in (({'test': 'gone'}, "TEST='gone'"), ({'topic': 'gone'}, "unknown TOPIC 'gone'"),
                                   ({'flavour': 'gone'}, "unknown flavour 'gone'")):
            with self.subTest(arguments), self.refused(pattern):
                select_tests(self.topics(), **{'flavour': 'debug', **arguments})


class Mutants(TopicsTest):
    def mutant(self, name, *lines, subject='[PATCH] mutant: '):
        self.file(f't/mutants/{name}.patch', f'Subject: {subject}{name}', '', *lines)

    def test_caught_by(self):
        self.mutant('m', 'Caught-by: x86_64 kunit:s.one: the rule', 'Caught-by: arm64 kunit:s.one: SPLAT the table is full',
                    'Caught-by: x86_64@debug+kasan kunit:s.one: KASAN')
        mutant, = read_mutants(self.topics())
        self.assertEqual([(c.arch, c.text, c.is_splat) for c in mutant.here('debug')],
                         [('x86_64', 'the rule', False), ('arm64', 'the table is full', True)])
        self.assertEqual(other_flavours([mutant], 'debug'), {'debug+kasan': ['m']})

    def test_own_guest(self):
        for said, own, is_splat in (('the rule', False, False), ('SPLAT the table is full', True, True),
                                    ('WARN the table is full', False, True), ('SPOILS the rule', True, False),
                                    ('BOOT the table is full', True, True)):
            with self.subTest(said):
                self.mutant('m', f'Caught-by: x86_64 kunit:s.one: {said}')
                mutant, = read_mutants(self.topics())
                line, = mutant.caught_by
                self.assertEqual((line.is_splat, line.text), (is_splat, said[said.index('the '):]))
                self.assertEqual(mutant.wants_own_guest('debug', 'x86_64'), own)
                self.assertFalse(mutant.wants_own_guest('debug', 'arm64'))

    def test_bad_headers(self):
        good = 'Caught-by: x86_64 kunit:s.one: the rule'
        for lines, subject in (([], '[PATCH] mutant: '), ([good, 'Caught-By: arm64 kunit:s.one'], '[PATCH] mutant: '), ([good], '[PATCH] ')):
            with self.subTest(lines=lines, subject=subject), self.refused('topics/t/mutants/m.patch: want .Subject: mutant: NAME'):
                self.mutant('m', *lines, subject=subject)
                read_mutants(self.topics())

    def test_unknown_place(self):
        self.mutant('m', 'Caught-by: amr64 kunit:s.one: the rule')
        with self.refused("unknown architecture 'amr64'"):
            read_mutants(self.topics())

    def test_same_name(self):
        self.mutant('m', 'Caught-by: x86_64 kunit:s.one: the rule')
        write(self.folder / 't/mutants/n.patch', (self.folder / 't/mutants/m.patch').read_text())
        with self.refused('there is another mutant m'):
            read_mutants(self.topics())

    def test_select_by_both(self):
        self.mutant('m', 'Caught-by: x86_64 kunit:s.one: the rule')
        self.file('order', 't', 'u')
        self.assertEqual([m.name for m in select_mutants(self.topics(), 't', 'm')], ['m'])
        with self.refused("no mutant matches MUTANT='m' TOPIC='u'"):
            select_mutants(self.topics(), 'u', 'm')


class Bench(TopicsTest):
    def test_variants(self):
        self.file('order', 't', 'u', 'v')
        self.file('t/bench', '# limits', 'through: t', 'x86_64 on 1.01')
        self.file('u/bench', 'arm64 on/off 1.5*x86_64')
        self.assertEqual(bench_variants(self.topics()), ['base', 'through-t', 'series'])
        self.assertEqual(bench_variants(self.topics(), 't'), ['base', 'through-t', 'series'])
        self.assertEqual(bench_variants(self.topics(), 'v'), ['base'])
        self.assertEqual(read_bench(self.topics(), self.topics()['u']).limits[0].limit, '1.5*x86_64')


class Flavours(TopicsTest):
    """configs/ of a test."""

    def test_settings_of_several_fragments(self):
        self.file('one', '# guest: MEMORY=1', '# guest: SMP=2', '# guest: APPEND=b')
        self.file('two', '# guest: MEMORY=9', '# guest: APPEND=c')
        flavour = read_flavour('one+two', self.folder)
        self.assertEqual((flavour.settings, flavour.append), ({'MEMORY': '1', 'SMP': '2'}, ('b', 'c')))

    def test_kernel_has_the_fragments_with_options(self):
        self.file('one', '# guest: MEMORY=1')
        self.file('three', 'CONFIG_A=y')
        self.file('four', 'CONFIG_A=y')
        self.assertEqual(read_flavour('three+one+four', self.folder).kernel, 'three+four')
        self.assertEqual(read_flavour('one', self.folder).kernel, 'one')

    def test_bad_flavours(self):
        self.file('odd', '# guest: COLOUR=red')
        for name, pattern in (('odd', "flavour odd: unknown setting 'COLOUR=red'"), ('odd+six', "unknown flavour 'odd.six'; there is no configs/six"),
                              ('../order', 'unknown flavour'), ('', 'unknown flavour')):
            with self.subTest(name), self.refused(pattern):
                read_flavour(name, self.folder)


class Architectures(TopicsTest):
    """guest/arch/."""

    def test_all(self):
        self.assertEqual({name: arch.has_qemu for name, arch in architectures().items()}, {'arm64': True, 'riscv64': True, 'um': False, 'x86_64': True})

    def test_bad_files(self):
        good = ('KARCH=x', "TARGET='b'", 'IMAGE=i', 'CONSOLE=c')
        self.file('good', '# comment', *good, 'PACKAGES="a b"')
        self.assertEqual(read_arch(self.folder / 'good').get('PACKAGES'), 'a b')
        for lines, pattern in ((good[1:], 'KARCH= is missing'), ((*good, 'echo x'), "bad:5: want NAME=VALUE"),
                               ((*good, 'A=b c'), 'want NAME=VALUE'), ((*good, "A='b"), 'want NAME=VALUE')):
            with self.subTest(lines), self.refused(pattern):
                self.file('bad', *lines)
                read_arch(self.folder / 'bad')

    def test_unknown(self):
        with self.refused("topics/t/tests:1: unknown architecture 'vax'; choose one of: arm64 riscv64 um x86_64"):
            find_arch('vax', 'topics/t/tests:1')


class Repository(unittest.TestCase):
    """The topics of this repository are well-formed."""

    def test_topics(self):
        topics = read_order(topics_folder())
        self.assertTrue(all(read_series(topic) for topic in topics.values()))
        self.assertTrue(read_tests(topics).expectations)
        self.assertTrue(read_mutants(topics))
        self.assertIn('base', bench_variants(topics))

    def test_flavours(self):
        for path in (TOP / 'configs').iterdir():
            with self.subTest(path.name):
                read_flavour(path.name)


class List(CommandTest):
    """`harness list`, for shell."""

    def setUp(self):
        super().setUp()
        write(self.work / 'topics/order', 'u\nt needs: u\n')
        write(self.work / 'topics/u/series', '0001-a.patch test base\n')
        write(self.work / 'topics/t/series', f'0001-b.patch fix {FIX}\n')
        write(self.work / 'topics/t/tests', 'disks: swap:128\nkunit:s.one x86_64,arm64 PASS\n')
        self.env['TOPICS'] = str(self.work / 'topics')

    def test_lists(self):
        values = '\t'.join(FIX.split())
        for what, lines in (('topics', 'u\nt\n'), ('needs', 'u\n'), ('disks', 'swap:128\n'), ('tests', 'kunit:s.one x86_64,arm64\n'),
                            ('series', f'u\t0001-a.patch\ttest\tbase\nt\t0001-b.patch\tfix\t-\t{values}\n'),
                            ('archs', 'arm64\nriscv64\num\nx86_64\n'), ('bench', 'base\n'), ('kernel-flavour', 'debug\n')):
            with self.subTest(what):
                self.assertEqual(self.does(TOP / 'scripts/harness', 'list', what), lines)

    def test_from_any_folder(self):
        status, out, err = self.run_command(TOP / 'scripts/harness', 'list', 'topics', cwd=self.work)
        self.assertEqual((status, out, err), (0, 'u\nt\n', ''))

    def test_bad_input(self):
        self.refuses("harness: unknown TOPIC 'gone'", TOP / 'scripts/harness', 'list', 'series', '--topic', 'gone')
        write(self.work / 'topics/t/tests', 'kunit:s.one amr64 PASS\n')
        self.refuses("harness: topics/t/tests:1: unknown architecture 'amr64'", TOP / 'scripts/harness', 'list', 'tests')

    def test_usage(self):
        self.says(2, '^usage: harness list', TOP / 'scripts/harness', 'list', 'nothing')
        self.says(2, '^usage: harness', TOP / 'scripts/harness', 'fly')
        self.says(0, '^usage: harness judge', TOP / 'scripts/harness', 'judge', '--help')


if __name__ == '__main__':
    main()
