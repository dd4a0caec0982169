#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""harness figures: times and instructions in one table."""

import json

from support import TOP, CommandTest, main, write

BENCHMARK = {'topic': 't', 'arch': 'arm64', 'name': 'lookup', 'limit': '1.002', 'outcome': 'passed', 'reason': 'expected', 'base': 1000,
             'series': 1011, 'whole': 1011, 'unit': 'instructions', 'ratio': 1.011, 'other_arch': None, 'other': None, 'since': 'gup-fast'}


class Figures(CommandTest):
    """A run with two architectures, and a benchmark."""

    def setUp(self):
        super().setUp()
        self.results = self.work / 'out/result'
        guests = (('x86_64', 'base', 100), ('x86_64', 'series', 150), ('arm64', 'series', 380))
        write(self.results / 'run/guests', ''.join(f'{arch}-{variant}\t{arch}\t{variant}\t-\n' for arch, variant, _ in guests))
        for arch, variant, value in guests:
            write(self.results / f'run/{arch}-{variant}/ktap',
                  f'# x.c:9:demand:figure fault {value} us\n# x.c:9:demand:no figure of fault\n#### end\n')
        self.result('run')
        self.result('bench', [BENCHMARK])

    def result(self, name, benchmarks=(), failed=0):
        write(self.results / f'{name}/result.json',
              json.dumps({'passed': 2, 'failed': failed, 'skipped': 0, 'benchmarks': list(benchmarks)}))

    def figures(self, **env):
        return self.run_command(TOP / 'scripts/harness', 'figures', 'run', 'bench', **env)

    def test_table(self):
        status, out, _ = self.figures()
        self.assertEqual(status, 0)
        self.assertRegex(out, r'(?m)^figure +unit +before +x86_64 before +x86_64 series +x86_64 ratio +arm64 before ')
        self.assertRegex(out, r'(?m)^fault +us +v7.3.4 +100 +150 +1.5000 +- +380$')
        self.assertRegex(out, r'(?m)^lookup +instructions +through gup-fast +- +- +1000 +1011 +1.0110$')
        self.assertRegex(out, r'(?m)^bench: 2 passed, 0 failed, 0 skipped$')

    def test_a_failure_is_told(self):
        self.result('bench', [BENCHMARK], failed=1)
        status, out, _ = self.figures()
        self.assertEqual(status, 1)
        self.assertRegex(out, r'(?m)^bench: 2 passed, 1 failed, 0 skipped$')

    def test_twice_in_one_guest(self):
        write(self.results / 'run/x86_64-base/ktap', 'figure fault 1 us\nfigure fault 2 us\n')
        self.assertRegex(self.figures()[1], r'(?m)^fault +us +v7.3.4 +- +150 ')

    def test_verb_that_has_not_ended(self):
        (self.results / 'run/result.json').unlink()
        self.refuses('no .*/run/result.json; run the verb first', TOP / 'scripts/harness', 'figures', 'run', 'bench')

    def test_no_figures(self):
        for guest in ('x86_64-base', 'x86_64-series', 'arm64-series'):
            write(self.results / f'run/{guest}/ktap', '')
        self.result('bench')
        self.refuses('have no figures', TOP / 'scripts/harness', 'figures', 'run', 'bench')


if __name__ == '__main__':
    main()
