#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""harness judge: guests that ran several times."""

from judging import BAD, GOOD, WARNING, Guest, JudgeTest, kunit_text, marks, section
from support import main, write


class Repeat(JudgeTest):
    """Three copies of a base guest with two cases."""
    verb = 'repeat'

    def setUp(self):
        super().setUp()
        self.request['n'] = 3
        self.expect('FAIL the rule')
        self.plan('x86_64', 'test')
        self.copies = [self.copy(str(number), BAD) for number in (1, 2, 3)]

    def expect(self, want):
        write(self.topics / 't/tests', f'kunit:s.one x86_64 {want}\nkunit:s.two x86_64 PASS\n')

    def copy(self, number, cases, name='x86_64-test'):
        return self.kunit(Guest(self.results / name / number), cases)

    def test_same(self):
        self.judge(0, '^Every case said the same each time', '^3 passed, 0 failed, 0 skipped$')

    def test_another_verdict(self):
        self.copy('2', GOOD)
        self.judge(1, r'kunit:s.one +x86_64 +FAIL 2, PASS 1 +x86_64-test/1 x86_64-test/2$', '^2 passed, 1 failed')

    def test_another_assertion(self):
        self.copy('3', BAD.replace('the rule', 'another rule'))
        self.judge(1, 'kunit:s.one +x86_64 +FAIL 2, FAIL 1')

    def test_figures_may_differ(self):
        for number, rounds in (('1', 5), ('2', 6), ('3', 7)):
            self.copy(number, BAD.replace('the rule', f'{rounds} lost'))
        self.judge(0, '^3 passed, 0 failed')

    def test_race(self):
        self.expect('RACE the rule')
        self.copy('2', GOOD)
        self.judge(0, 'kunit:s.one +x86_64 +FAIL 2, PASS 1 .* RACE$', '^2 passed, 0 failed')

    def test_race_on_the_series_is_none(self):
        self.expect('RACE the rule')
        self.planned = []
        self.plan('x86_64', 'series')
        for number, cases in (('1', GOOD), ('2', BAD), ('3', GOOD)):
            self.copy(number, cases, 'x86_64-series')
        self.judge(1, 'kunit:s.one +x86_64 +PASS 2, FAIL 1', '^2 passed, 1 failed')

    def test_timeout_of_a_guest(self):
        self.copies[1].write(ended='timeout\n')
        self.judge(1, 'the guest +x86_64 +PASS 2, TIMEOUT 1')

    def test_timeout_each_time(self):
        for copy in self.copies:
            copy.write(ended='timeout\n')
        self.judge(1, 'the guest +x86_64 +TIMEOUT 3')

    def test_absent_copy(self):
        self.request['n'] = 4
        self.judge(1, 'the guest +x86_64 +PASS 3, NO-RESULT 1')

    def test_splat_outside_of_cases(self):
        self.copies[2].append('console', WARNING)
        self.judge(1, 'the guest +x86_64 +PASS 2, PASS 1')

    def test_mutants(self):
        self.planned = []
        self.plan('x86_64', 'mutants', 'm', 'x86_64-shared')
        self.plan('x86_64', 'mutants', 'n', 'x86_64-shared')
        for number in ('1', '2', '3'):
            cases = {'m': BAD, 'n': GOOD if number == '3' else BAD}
            self.good(Guest(self.results / 'x86_64-shared' / number), console=''.join(marks(f'{m}/kunit:s') for m in cases),
                      verdict=''.join(f'ran {m}/kunit:s 0\n' for m in cases) + 'complete\n',
                      ktap=''.join(section(f'{m}/kunit:s', kunit_text(text)) for m, text in cases.items()))
        self.judge(1, '^n +kunit:s.one +x86_64 +FAIL 2, PASS 1', '^4 passed, 1 failed')

    def test_n_that_is_none(self):
        self.request['n'] = 'x'
        with self.assertRaisesRegex(Exception, 'n has to be a number'):
            self.judge(1)


if __name__ == '__main__':
    main()
