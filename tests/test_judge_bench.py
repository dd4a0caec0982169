#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""harness judge: benchmarks, in instructions of the guest."""

from judging import PANIC, JudgeTest, marks
from support import main, write

from harness.errors import HarnessError


class Bench(JudgeTest):
    """Two benchmarks, on and off, on two architectures."""
    verb = 'bench'

    def setUp(self):
        super().setUp()
        self.request.update(archs=['x86_64', 'arm64'], flavour='bench')
        for arch, variant, on in (('x86_64', 'base', 2000), ('x86_64', 'series', 2000), ('arm64', 'base', 2000), ('arm64', 'series', 2900)):
            self.counted(arch, variant, on, 1000)

    def counted(self, arch, variant, on, off):
        return self.good(self.plan(arch, variant), verdict='ran bench:b 0\ncomplete\n', console=marks('bench:b'),
                         ktap=f'bench on {on} ns\nbench off {off} ns\n')

    def limits(self, status, *patterns, bench):
        write(self.topics / 't/bench', bench + '\n')
        return self.judge(status, *patterns)

    def test_within(self):
        self.limits(0, r'1.0000 +1.01 +within', bench='x86_64 on 1.01')

    def test_over(self):
        self.limits(1, r'1.4500 +1.01 +OVER', bench='arm64 on 1.01')

    def test_few_instructions(self):
        """Ten instructions more a call are no regression, whatever the ratio is."""
        self.counted('x86_64', 'base', 20, 1000)
        self.counted('x86_64', 'series', 30, 1000)
        self.limits(0, r'1.5000 +1.01 +within', bench='x86_64 on 1.01')

    def test_equal(self):
        self.limits(0, 'equal +equal', bench='x86_64 on equal')

    def test_differs(self):
        self.limits(1, 'equal +DIFFERS', bench='arm64 on equal')

    def test_shown(self):
        """A figure without a limit; one that is absent is no figure."""
        self.limits(0, r'1.4500 +shown +shown', bench='arm64 on shown')
        self.limits(1, r'shown +NO-RESULT', bench='arm64 gone shown')

    def test_nobody_ran(self):
        self.limits(1, 'NO-RESULT', bench='x86_64 gone 1.01')

    def test_twice_in_one_guest(self):
        self.counted('x86_64', 'series', 2000, 1000).append('ktap', 'bench on 1 ns\n')
        self.limits(1, 'NO-RESULT', bench='x86_64 on 1.01')

    def test_of_another(self):
        """NAME:OTHER: NAME of the series against OTHER of base."""
        self.limits(0, r'on:off +1000 +2000 +ns +2.0000 +2.1 +within', bench='x86_64 on:off 2.1')
        self.limits(1, r'on:off .* 1.9 +OVER', bench='x86_64 on:off 1.9')

    def test_another_flavour(self):
        """A limit of another flavour is not judged, and alone is none."""
        self.limits(0, '^1 passed', bench='x86_64 on 1.01\nx86_64@bench+1g on 1.01')
        with self.assertRaisesRegex(HarnessError, 'no benchmark .* of FLAVOUR=bench;'):
            self.limits(1, bench='x86_64@bench+1g on 1.01')

    def atomics(self, base, series):
        """What the plugin wrote of two rows."""
        for variant, text in (('base', base), ('series', series)):
            self.counted('x86_64', variant, 2000, 1000).write(atomics=text)

    def test_atomics(self):
        """The plugin writes a line for each call; the most of a row's calls is its figure."""
        self.atomics('8 gup_fast=8\n8\n4\n4\n', '7\n8\n4\n5\n')
        self.limits(0, r'atomics_on +8 +8 +atomics .* equal', bench='x86_64 atomics_on equal')
        self.limits(1, r'atomics_off +4 +5 .* DIFFERS', bench='x86_64 atomics_off equal')

    def test_atomics_of_other_rows(self):
        self.atomics('8\n4\n', '8\n4\n4\n')
        self.limits(1, 'NO-RESULT', bench='x86_64 atomics_on equal')

    def test_ratio_within(self):
        self.limits(0, r'1.5\*x86_64 +within', bench='arm64 on/off 1.5*x86_64')

    def test_ratio_over(self):
        self.limits(1, r'1.4\*x86_64 +OVER', bench='arm64 on/off 1.4*x86_64')

    def test_ratio_nobody_ran(self):
        self.limits(1, 'NO-RESULT', bench='arm64 on/gone 1.4*x86_64')

    def test_ratio_to_absent_architecture(self):
        self.limits(1, 'NO-RESULT', bench='arm64 on/off 1.5*um')

    def test_ratio_to_architecture_not_asked_for(self):
        self.request['archs'] = ['arm64']
        self.limits(1, 'NO-RESULT', bench='arm64 on/off 1.5*x86_64')

    def test_through_nobody_ran(self):
        self.limits(1, 'NO-RESULT', bench='through: t\nx86_64 on 1.01')

    def test_through(self):
        self.counted('x86_64', 'through-t', 2001, 1000)
        self.counted('arm64', 'through-t', 2001, 1000)
        self.limits(0, r'2001 +ns +1.0005 +1.01 +within +1.0000', bench='through: t\nx86_64 on 1.01')

    def test_from(self):
        """The lines after `from:` are compared with the series through a topic, the lines before it with base."""
        self.counted('arm64', 'through-t', 2880, 1000)
        self.counted('x86_64', 'through-t', 1500, 1000)
        bench = 'x86_64 on 1.01\nfrom: t\narm64 on 1.01\narm64 off equal'
        self.limits(0, r'x86_64 +on +2000 +2000 .* 1.01 +within', r'arm64 +on +2880 +2900 .* 1.0069 +1.01 from t +within',
                    r'arm64 +off +1000 +1000 .*equal from t +equal', bench=bench)
        self.assertEqual([row['since'] for row in self.data()['benchmarks']], [None, 't', 't'])
        self.limits(1, r'1.001 from t +OVER', bench=bench.replace('arm64 on 1.01', 'arm64 on 1.001'))

    def test_from_nobody_ran(self):
        self.limits(1, 'NO-RESULT', bench='from: t\narm64 on 1.01')

    def test_through_unknown_topic(self):
        with self.assertRaisesRegex(HarnessError, "unknown topic 'gone'"):
            self.limits(1, bench='through: gone\nx86_64 on 1.01')

    def test_not_understood(self):
        for line in ('x86_64 on', 'x86_64 on fast', 'x86_64@gone on 1.01', 'x86_64 on/off 1.4', 'x86_64 on 1.4*arm64', 'amr64 on 1.01'):
            with self.subTest(line), self.assertRaisesRegex(HarnessError, 'not understood|unknown architecture|unknown flavour'):
                self.limits(1, bench=line)

    def test_no_benchmark(self):
        with self.assertRaisesRegex(HarnessError, "no benchmark of topic ''"):
            self.limits(1, bench='')

    def test_program_failed(self):
        self.counted('x86_64', 'series', 2000, 1000).edit('verdict', 'bench:b 0', 'bench:b 1')
        self.limits(1, 'bench:b ended with 1 in x86_64-series', bench='x86_64 on 1.01')

    def test_panic(self):
        self.counted('x86_64', 'series', 2000, 1000).append('console', PANIC)
        self.limits(1, 'x86_64-series: PANIC', bench='x86_64 on 1.01')

    def test_stale(self):
        (self.results / 'stale').write_text('x86_64-base\tthe image has changed\n')
        self.limits(1, 'STALE', '^0 passed, 2 failed', bench='x86_64 on 1.01')


if __name__ == '__main__':
    main()
