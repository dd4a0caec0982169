#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""harness judge: mutants, each of which the case that it names has to catch."""

from judging import BAD, GOOD, PANIC, WARNING, JudgeTest, kunit_text, marks, section
from support import main, write

from harness.errors import HarnessError


class MutantsTest(JudgeTest):
    """The mutant m, which the first case of a suite has to catch by 'the rule'."""
    verb = 'mutants'

    def setUp(self):
        super().setUp()
        write(self.topics / 't/tests', 'kunit:s.one x86_64 FAIL the rule\n')
        self.mutant('m', 'the rule')
        self.clean = self.kunit(self.plan('x86_64', 'mutants', name='x86_64-none'))

    def mutant(self, name, text, place='x86_64', topic='t'):
        write(self.topics / topic / f'mutants/{name}.patch',
              f'Subject: [PATCH] mutant: {name}\n\nCaught-by: {place} kunit:s.one: {text}\n')

    def guest_of(self, name, **cases):
        """A guest that chooses one mutant after the other, with the results of each."""
        for mutant in cases:
            guest = self.plan('x86_64', 'mutants', mutant, f'x86_64-{name}')
        return self.good(guest, verdict=''.join(f'ran {m}/kunit:s 0\n' for m in cases) + 'complete\n',
                         console=''.join(marks(f'{m}/kunit:s') for m in cases),
                         ktap=''.join(section(f'{m}/kunit:s', kunit_text(text)) for m, text in cases.items()))


class Single(MutantsTest):
    """One mutant in its guest."""

    def test_caught(self):
        self.guest_of('m', m=BAD)
        self.judge(0, '^1 of 1 mutants caught', '^1 passed, 0 failed, 0 skipped$')
        self.assertEqual(self.data()['cases'][0]['reason'], 'caught')

    def test_clean_guest_fails(self):
        self.guest_of('m', m=BAD)
        self.kunit(self.clean, GOOD.replace('ok 2', 'not ok 2'))
        self.judge(1, 'without a mutant: kunit:s.two FAIL')

    def test_clean_case_fails(self):
        self.guest_of('m', m=BAD)
        self.kunit(self.clean, BAD)
        self.judge(1, r'NO-RESULT \(without a mutant: FAIL')

    def test_survives(self):
        self.guest_of('m', m=GOOD)
        self.judge(1, 'SURVIVED', '^0 of 1 mutants caught')

    def test_another_assertion(self):
        self.guest_of('m', m=BAD.replace('the rule', 'another rule'))
        self.judge(1, 'failed differently', '^with it: another rule')

    def test_hangs(self):
        self.guest_of('m', m=BAD).write(ended='timeout\n')
        self.judge(1, 'TIMEOUT')

    def test_skips(self):
        self.guest_of('m', m=GOOD.replace('1 one', '1 one # SKIP no'))
        self.judge(1, r'kunit:s.one +SKIP')

    def test_clean_guest_panics(self):
        self.guest_of('m', m=BAD)
        self.clean.append('console', PANIC)
        self.judge(1, 'without a mutant: PANIC')

    def test_never_chosen(self):
        """Init could not choose it: its sections are nobody's."""
        self.guest_of('m', m=BAD).write(ktap=section('absent/kunit:s', kunit_text(BAD)),
                                        verdict='absent mutant:m\nran absent/kunit:s 0\ncomplete\n')
        self.judge(1, r'kunit:s.one +NO-RESULT not in this guest')

    def test_uml(self):
        """One mutant a guest, and no sections."""
        self.mutant('m', 'the rule', 'um')
        self.request['archs'], self.planned = ['um'], []
        for name, what, text in (('um-none', '-', GOOD), ('um-m', 'm', BAD)):
            self.plan('um', 'mutants', what, name).write(ended='exit 0\n', console=kunit_text(text))
        self.judge(0, '^1 of 1 mutants caught')


class Kernel(MutantsTest):
    """The kernel has to complain of the mutant."""

    def setUp(self):
        super().setUp()
        self.mutant('m', 'SPLAT the table is full')
        self.guest = self.guest_of('m', m=GOOD)

    def complain(self, text=WARNING):
        self.guest.write(console=marks('m/kunit:s', text))

    def test_survives(self):
        self.judge(1, 'SURVIVED')

    def test_caught(self):
        self.complain()
        self.judge(0, r'caught by the kernel \(the test itself: PASS\)', '^1 of 1 mutants caught')

    def test_caught_by_warning(self):
        self.mutant('m', 'WARN the table is full')
        self.complain()
        self.judge(0, '^1 of 1 mutants caught')

    def test_panics_then(self):
        self.complain()
        self.guest.append('console', PANIC)
        self.judge(0, 'which then panicked')

    def test_panics_in_the_suite(self):
        """KUnit has not printed a result then."""
        self.guest.write(console=f'[ 1.0] mm: begin m/kunit:s\n{WARNING}{PANIC}', verdict='', ktap='#### begin m/kunit:s\n')
        self.judge(0, 'which then panicked')
        self.guest.edit('console', 'is full', 'is empty')
        self.judge(1, 'kunit:s.one +PANIC')

    def test_panics_after_another(self):
        self.complain(WARNING.replace('is full', 'is empty'))
        self.guest.append('console', PANIC)
        self.judge(1, 'kunit:s.one +PANIC')

    def test_another(self):
        self.complain(WARNING.replace('is full', 'is empty'))
        self.judge(1, r'kunit:s.one +SPLAT \(another one\)')

    def test_in_skipped_test(self):
        self.guest = self.guest_of('m', m=GOOD.replace('1 one', '1 one # SKIP no'))
        self.complain()
        self.judge(1, 'in a test that was skipped')

    def test_named_assertion_is_not_enough(self):
        self.guest = self.guest_of('m', m=BAD.replace('the rule', 'SPLAT the table is full'))
        self.judge(1, 'failed differently')


class Boot(MutantsTest):
    """The kernel has to complain of the mutant as it boots, before it can run a case."""
    NO_INIT = '[ 1.9] Kernel panic - not syncing: VFS: Unable to mount root fs\n'

    def setUp(self):
        super().setUp()
        self.mutant('m', 'BOOT the table is full')
        self.guest = self.plan('x86_64', 'mutants', 'm', 'x86_64-m')

    def dies(self, said, ended='exit 0\n'):
        """A guest whose kernel says this, and that does not get to init."""
        self.guest.write(ended=ended, job='kunit s\n', verdict='', ktap='', console=said)

    def test_panics_then(self):
        self.dies(WARNING + self.NO_INIT)
        self.judge(0, 'caught by the kernel as it booted, which then panicked', '^1 of 1 mutants caught')
        self.assertEqual(self.data()['cases'][0]['reason'], 'caught_at_boot')

    def test_boots_then(self):
        self.guest_of('m', m=GOOD).write(console=WARNING + marks('m/kunit:s'))
        self.judge(0, 'caught by the kernel as it booted$', '^1 of 1 mutants caught')

    def test_survives(self):
        self.guest_of('m', m=GOOD)
        self.judge(1, 'SURVIVED')

    def test_panics_of_something_else(self):
        self.dies(self.NO_INIT)
        self.judge(1, 'kunit:s.one +PANIC; see')

    def test_another_complaint(self):
        self.dies(WARNING.replace('is full', 'is empty') + WARNING + self.NO_INIT)
        self.judge(1, 'kunit:s.one +PANIC; see')

    def test_complains_in_the_case(self):
        """That is not as it boots."""
        self.guest_of('m', m=GOOD).write(console=marks('m/kunit:s', WARNING))
        self.judge(1, r'kunit:s.one +SPLAT \(another one\)')

    def test_hangs(self):
        self.dies(WARNING, ended='timeout\n')
        self.judge(1, 'kunit:s.one +TIMEOUT')

    def test_did_not_start(self):
        self.dies('', ended='exit 1\n')
        self.judge(1, 'kunit:s.one +NO-RESULT')

    def test_clean_case_fails(self):
        self.kunit(self.clean, BAD)
        self.dies(WARNING + self.NO_INIT)
        self.judge(1, r'NO-RESULT \(without a mutant: FAIL')


class Shared(MutantsTest):
    """A guest of two mutants: the results of m are not those of n."""

    def setUp(self):
        super().setUp()
        self.mutant('n', 'the rule')

    def test_both_caught(self):
        self.guest_of('shared', m=BAD, n=BAD)
        self.judge(0, '^2 of 2 mutants caught')

    def test_second_survives(self):
        self.guest_of('shared', m=BAD, n=GOOD)
        self.judge(1, r't +n +x86_64 +kunit:s.one +SURVIVED', '^not caught: n x86_64 kunit:s.one SURVIVED$')

    def test_first_survives(self):
        self.guest_of('shared', m=GOOD, n=BAD)
        self.judge(1, r't +m +x86_64 +kunit:s.one +SURVIVED')

    def test_hangs(self):
        self.guest_of('shared', m=BAD, n=BAD).write(ended='timeout\n')
        self.judge(1, '^0 of 2 mutants caught')

    def test_kernel_complains_of_second(self):
        guest = self.guest_of('shared', m=BAD, n=BAD)
        guest.write(console=marks('m/kunit:s') + marks('n/kunit:s', WARNING))
        self.judge(1, r't +n +x86_64 +kunit:s.one +SPLAT', r't +m +x86_64 +kunit:s.one +caught$')


class Selection(MutantsTest):
    """TOPIC= and MUTANT= narrow, both at once."""

    def setUp(self):
        super().setUp()
        write(self.topics / 'order', 't\nu\n')
        self.mutant('k', 'the rule', topic='u')
        self.guest_of('shared', m=BAD, k=BAD)

    def test_all(self):
        self.judge(0, '^2 of 2 mutants caught')

    def test_topic(self):
        self.request['topic'] = 'u'
        self.judge(0, r'^1 of 1 mutants caught', r'^u +k ')

    def test_mutant(self):
        self.request['mutant'] = 'm'
        self.judge(0, r'^1 of 1 mutants caught', r'^t +m ')

    def test_mutant_of_another_topic(self):
        self.request.update(topic='u', mutant='m')
        with self.assertRaisesRegex(HarnessError, "no mutant matches MUTANT='m' TOPIC='u'"):
            self.judge(1)

    def test_other_flavour(self):
        self.mutant('m', 'the rule', 'x86_64@debug+kasan')
        self.judge(0, '^1 of 1 mutants caught', r'^not run here: m; FLAVOUR=debug\+kasan runs them')

    def test_nothing_of_flavour(self):
        self.request['flavour'] = 'debug+kasan'
        with self.assertRaisesRegex(HarnessError, r'no mutant of FLAVOUR=debug\+kasan matches'):
            self.judge(1)


if __name__ == '__main__':
    main()
