#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Plans: which kernels and guests a verb needs, and their jobs and settings."""

import os
import sys
from pathlib import Path
from unittest import mock

from support import TOP, CommandTest, main, write

sys.path.insert(0, str(TOP))

from harness import plans  # noqa: E402
from harness.arch import find_arch  # noqa: E402
from harness.errors import HarnessError  # noqa: E402
from harness.flavours import read_flavour  # noqa: E402
from harness.plan import GuestPlan, make_settings, read_plan  # noqa: E402
from harness.qemu import qemu_command  # noqa: E402

TESTS = '''disks: ext4:64
kunit:s.one x86_64,um PASS
kunit:s.two x86_64,um PASS
selftest:p.a x86_64,arm64 PASS
selftest:p.b x86_64 SPLAT kernel BUG at
selftest:p.c x86_64 WARN the table is full
selftest:q.a x86_64@debug+kasan PASS
'''


class PlanTest(CommandTest):
    """Plans of topics that are fixtures."""

    def setUp(self):
        super().setUp()
        topics = self.work / 'topics'
        write(topics / 'order', 't\nu\n')
        write(topics / 't/tests', TESTS)
        write(topics / 't/series', '0001-a.patch fix group=alone trigger=user evidence=seen case=none stable=7.0\n'
              '0002-b.patch test base\n')
        write(topics / 'u/series', '0001-c.patch documentation\n')
        write(topics / 'u/tests', 'selftest:r.a x86_64 PASS\n')
        write(topics / 't/bench', 'through: t\nx86_64 on 1.01\n')
        patch = mock.patch.dict(os.environ, {**self.env, 'TOPICS': str(topics)}, clear=True)
        patch.start()
        self.addCleanup(patch.stop)

    def mutant(self, name, *caught_by):
        lines = ''.join(f'Caught-by: {line}\n' for line in caught_by)
        write(self.work / f'topics/t/mutants/{name}.patch', f'Subject: [PATCH] mutant: {name}\n\n{lines}')

    @staticmethod
    def guests(plan):
        return {guest.name: guest for guest in plan.guests}


class Run(PlanTest):
    """make run."""

    def test_guests(self):
        guests = self.guests(plans.plan_run(['x86_64', 'um'], 'debug'))
        self.assertEqual(list(guests), ['x86_64-base', 'x86_64-base-p.b', 'x86_64-base-p.c', 'x86_64-test',
                                        'x86_64-series', 'um-test', 'um-series'])

    def test_jobs(self):
        guests = self.guests(plans.plan_run(['x86_64', 'um'], 'debug'))
        self.assertEqual(guests['x86_64-base'].job, ('selftest p 60 a', 'selftest r 60 a'))
        self.assertEqual(guests['x86_64-test'].job, ('kunit s',))
        self.assertEqual(guests['um-series'].job, ())

    def test_a_case_that_splats_on_base_has_its_own_guest(self):
        guests = self.guests(plans.plan_run(['x86_64'], 'debug'))
        for case in 'b', 'c':
            guest = guests[f'x86_64-base-p.{case}']
            self.assertEqual((guest.job, guest.what), ((f'selftest p 60 {case}',), (f'selftest:p.{case}',)))

    def test_a_suite_that_base_lacks_runs_on_the_series_only(self):
        write(self.work / 'topics/u/tests', 'kunit:new.a x86_64 ABSENT f() is new\n')
        guests = self.guests(plans.plan_run(['x86_64'], 'debug'))
        self.assertNotIn('kunit new', guests['x86_64-test'].job)
        self.assertIn('kunit new', guests['x86_64-series'].job)

    def test_programs_list_their_cases_once(self):
        plan = plans.plan_run(['x86_64', 'arm64'], 'debug')
        listed = [line for guest in plan.guests for line in guest.job if line.startswith('list ')]
        self.assertEqual(sorted(listed), ['list p', 'list r'])
        self.assertEqual(self.guests(plan)['x86_64-series'].job[-2:], ('list p', 'list r'))

    def test_steps(self):
        plan = plans.plan_run(['x86_64', 'um'], 'debug')
        self.assertEqual(plan.steps[:5], ['tree', 'selftests x86_64 tests', 'root x86_64', 'build x86_64 debug base',
                                          'guest x86_64-base'])
        self.assertEqual(plan.steps.count('build x86_64 debug base'), 1)

    def test_a_selection_has_a_name_of_its_own(self):
        plan = plans.plan_run(['x86_64'], 'debug', 't', 'p.a')
        self.assertEqual(plan.name, 'debug-t-p.a')
        self.assertEqual([g.name for g in plan.guests], ['x86_64-base', 'x86_64-series'])

    def test_flavour(self):
        guests = self.guests(plans.plan_run(['x86_64'], 'debug+kasan', 't', 'q.'))
        self.assertEqual(guests['x86_64-base'].settings['KERNEL'], 'x86_64 debug+kasan base')

    def test_disks_of_the_topics_that_run(self):
        guests = self.guests(plans.plan_run(['x86_64'], 'debug'))
        self.assertEqual(guests['x86_64-series'].settings['DISKS'], 'ext4:64')
        self.assertNotIn('DISKS', guests['x86_64-test'].settings)
        self.assertNotIn('DISKS', self.guests(plans.plan_run(['x86_64'], 'debug', 'u'))['x86_64-base'].settings)

    def test_case_seconds(self):
        with mock.patch.dict(os.environ, CASE_SECONDS='7200'):
            self.assertIn('selftest p 7200 a', plans.plan_run(['arm64'], 'debug').guests[0].job)

    def test_nothing_to_run(self):
        with self.assertRaisesRegex(HarnessError, "no test matches TEST='p.b' TOPIC='' on arm64"):
            plans.plan_run(['arm64'], 'debug', test='p.b')

    def test_what_an_interrupted_run_left_goes(self):
        plan = plans.plan_run(['um'], 'debug')
        write(self.work / 'out/result/debug/um-test.new/console', '')
        write(self.work / 'out/result/debug/result.json.new', '')
        write(self.work / 'out/result/debug/x86_64-base/ended', 'exit 0')
        with mock.patch.dict(os.environ, OUT=str(self.work / 'out')):
            plan.write()
        left = {path.name for path in (self.work / 'out/result/debug').iterdir()}
        self.assertEqual(left, {'x86_64-base', 'jobs', 'guests', 'plan', 'request.json'})

    def test_written_and_read(self):
        plan = plans.plan_run(['x86_64', 'um'], 'debug')
        with mock.patch.dict(os.environ, OUT=str(self.work / 'out')):
            plan.write()
            again = read_plan('debug')
        self.assertEqual((again.steps, again.guests, again.request), (plan.steps, plan.guests, plan.request))


class Mutants(PlanTest):
    """make mutants."""

    def test_mutants_that_tests_catch_share_a_guest(self):
        self.mutant('m', 'x86_64 kunit:s.one: the rule')
        self.mutant('n', 'x86_64 selftest:p.a: lost')
        guests = self.guests(plans.plan_mutants('debug'))
        self.assertEqual(list(guests), ['x86_64-none', 'x86_64-shared'])
        self.assertEqual(guests['x86_64-shared'].job, ('mutant m', 'kunit s', 'mutant n', 'selftest p 60 a'))
        self.assertEqual(guests['x86_64-shared'].what, ('m', 'n'))

    def test_a_warning_leaves_the_guest_usable(self):
        self.mutant('m', 'x86_64 kunit:s.one: WARN the table is full')
        self.mutant('n', 'x86_64 selftest:p.a: lost')
        self.assertEqual(list(self.guests(plans.plan_mutants('debug'))), ['x86_64-none', 'x86_64-shared'])

    def test_a_splat_spoils_the_guest(self):
        self.mutant('m', 'x86_64 kunit:s.one: SPLAT kernel BUG at')
        self.mutant('n', 'x86_64 selftest:p.a: lost')
        guests = self.guests(plans.plan_mutants('debug'))
        self.assertEqual(list(guests), ['x86_64-none', 'x86_64-shared', 'x86_64-m'])
        self.assertEqual(guests['x86_64-m'].job, ('mutant m', 'kunit s'))
        self.assertIn('mm_mutant=m', guests['x86_64-m'].settings['APPEND'])

    def test_uml_has_a_guest_for_each(self):
        self.mutant('m', 'um kunit:s.one: the rule')
        self.mutant('n', 'um kunit:s.one: the rule')
        guests = self.guests(plans.plan_mutants('debug'))
        self.assertEqual(list(guests), ['um-none', 'um-m', 'um-n'])
        self.assertEqual(guests['um-m'].settings['APPEND'], 'mm_mutant=m')

    def test_the_kernel_without_a_mutant_runs_all_cases(self):
        self.mutant('m', 'x86_64 kunit:s.one: the rule', 'x86_64 selftest:p.a: lost')
        self.assertEqual(self.guests(plans.plan_mutants('debug'))['x86_64-none'].job, ('kunit s', 'selftest p 60 a'))

    def test_topic_and_mutant_both_narrow(self):
        self.mutant('m', 'x86_64 kunit:s.one: the rule')
        with self.assertRaisesRegex(HarnessError, "no mutant matches MUTANT='m' TOPIC='u'"):
            plans.plan_mutants('debug', 'u', 'm')

    def test_another_flavour(self):
        self.mutant('m', 'x86_64@debug+kasan kunit:s.one: SPLAT KASAN')
        with self.assertRaisesRegex(HarnessError, 'no mutant of FLAVOUR=debug'):
            plans.plan_mutants('debug')
        self.assertEqual(plans.plan_mutants('debug+kasan').name, 'mutants-debug+kasan')


class Others(PlanTest):
    """bench, prefixes, repeat, boot."""

    def test_bench(self):
        plan = plans.plan_bench(['x86_64'])
        self.assertEqual([(g.name, g.variant, g.settings['KERNEL']) for g in plan.guests],
                         [('x86_64-base', 'base', 'x86_64 bench base'), ('x86_64-through-t', 'through-t', 'x86_64 bench prefix-2'),
                          ('x86_64-series', 'series', 'x86_64 bench series')])
        self.assertEqual((plan.guests[0].settings['SMP'], plan.guests[0].settings['ICOUNT']), ('1', 'yes'))

    def test_bench_of_a_flavour(self):
        """A flavour may name programs, and a plugin, which is built then."""
        write(self.work / 'topics/t/bench', 'through: t\nx86_64@bench+atomics on 1.01\n')
        plan = plans.plan_bench(['x86_64'], flavour_name='bench+atomics')
        self.assertEqual({guest.job for guest in plan.guests}, {('bench gup',)})
        self.assertIn('selftests x86_64 plugin', plan.steps)
        self.assertEqual(plan.guests[0].settings['KERNEL'], 'x86_64 bench base')

    def test_bench_from_a_topic(self):
        write(self.work / 'topics/t/bench', 'from: t\nx86_64 on 1.01\n')
        self.assertEqual([g.variant for g in plans.plan_bench(['x86_64']).guests], ['base', 'through-t', 'series'])

    def test_prefixes(self):
        plan = plans.plan_boots('x86_64')
        self.assertEqual([g.what for g in plan.guests], [('prefix-1',), ('prefix-2',), ('prefix-3',)])
        self.assertEqual(plan.steps[-1], 'forget x86_64 debug prefix-3')

    def test_repeat(self):
        self.mutant('m', 'x86_64 kunit:s.one: the rule')
        plan = plans.plan_repeat(['um', 'x86_64'], 2)
        self.assertIn('mutants-debug-x86_64-shared', self.guests(plan))
        rounds = [step for step in plan.steps if step.startswith('guest debug-um-series')]
        self.assertEqual(rounds, ['guest debug-um-series 1', 'guest debug-um-series 2'])
        builds = [i for i, step in enumerate(plan.steps) if not step.startswith('guest ')]
        self.assertEqual(builds, list(range(len(builds))), 'builds come before guests')

    def test_repeat_of_one_architecture(self):
        self.mutant('m', 'x86_64 kunit:s.one: the rule')
        plan = plans.plan_repeat(['um'], 1)
        self.assertEqual({g.arch for g in plan.guests}, {'um'})
        self.assertFalse([step for step in plan.steps if 'x86_64' in step])

    def test_boot(self):
        self.assertEqual(plans.plan_boot('x86_64', 'base', 'debug').guests[0].settings['KERNEL'], 'x86_64 debug base')


class Settings(PlanTest):
    """What flavours and the environment say of a guest."""

    def setUp(self):
        super().setUp()
        self.configs = self.work / 'configs'
        write(self.configs / 'odd', '# guest: COLOUR=red\n')
        write(self.configs / 'one', '# guest: MEMORY=1\n# guest: SMP=2\n# guest: APPEND=b\n')
        write(self.configs / 'two', '# guest: MEMORY=9\n# guest: APPEND=c\n# guest: HUGETLB=x=1\n')
        for name in ('three', 'four'):
            write(self.configs / name, 'CONFIG_A=y\n')

    def settings(self, flavour, **env):
        with mock.patch.dict(os.environ, env):
            return make_settings(find_arch('x86_64'), read_flavour(flavour, self.configs), 'series')

    def test_unknown_setting(self):
        with self.assertRaisesRegex(HarnessError, "flavour odd: unknown setting 'COLOUR=red'"):
            read_flavour('odd', self.configs)

    def test_a_kernel_is_of_the_fragments_with_options(self):
        self.assertEqual(read_flavour('three+one+four+two', self.configs).kernel, 'three+four')

    def test_without_any_it_has_the_name_given(self):
        self.assertEqual(read_flavour('one', self.configs).kernel, 'one')

    def test_fragment_that_is_not_there(self):
        with self.assertRaisesRegex(HarnessError, r"unknown flavour 'three\+six'; there is no configs/six"):
            read_flavour('three+six', self.configs)

    def test_several_fragments_and_the_environment(self):
        settings = self.settings('one+two', SMP='3', APPEND='a')
        self.assertEqual((settings['MEMORY'], settings['SMP'], settings['APPEND']), ('1', '3', 'x=1 a b c'))

    def test_defaults(self):
        settings = self.settings('three')
        self.assertEqual((settings['MEMORY'], settings['SMP'], settings['MACHINE'], settings['CPU']), ('2048', '2', 'pc', 'max'))
        self.assertEqual(settings['APPEND'], 'hugepages=16 hugetlb_free_vmemmap=on')

    def test_hugetlb_of_the_environment(self):
        self.assertEqual(self.settings('two', HUGETLB='y=2')['APPEND'], 'y=2 c')


class Qemu(PlanTest):
    """QEMU's command line."""

    def command(self, folder='/f', **settings):
        flavour = read_flavour('debug')
        arch = find_arch('arm64')
        guest = GuestPlan('g', 'arm64', 'series', (), make_settings(arch, flavour, 'series', **settings))
        return ' '.join(qemu_command(guest, arch, Path(folder)))

    def test_initrd(self):
        line = self.command()
        self.assertIn(' -machine virt,gic-version=3 ', line)
        self.assertIn(' -m 2048M,maxmem=2048M -nodefaults ', line)
        self.assertIn('/image -initrd /f/initrd -device virtio-serial-pci ', line)
        self.assertNotIn('initrd=', line)

    def test_initrd_at_an_address(self):
        """The loader of QEMU puts it there, and only the kernel's command line says so."""
        write(self.work / 'initrd', 'x' * 5)
        line = self.command(self.work, INITRD_AT='0x800000000', MEMORY='32768', HOTPLUG='1')
        self.assertIn(f' -device loader,file={self.work}/initrd,addr=0x800000000,force-raw=on ', line)
        self.assertRegex(line, ' -append .* initrd=0x800000000,5$')
        self.assertNotIn(' -initrd ', line)
        self.assertIn(' -machine virt,gic-version=3,memory-backend=memory ', line)
        self.assertIn(' -m 32768M,maxmem=32769M -object memory-backend-ram,id=memory,size=32768M,reserve=off ', line)

    def test_initrd_that_is_not_there_yet(self):
        """A key does not depend on the size: the key has what the guest uses of the initrd."""
        self.assertRegex(self.command(INITRD_AT='0x800000000'), ' initrd=0x800000000,SIZE$')

    def test_monitor(self):
        """Both ends of a socket: QEMU's monitor, and a port of the guest."""
        line = self.command(MONITOR='yes', HOTPLUG='1')
        self.assertIn(' virtio-mem-pci,memdev=hotplug,requested-size=1M,id=virtio-mem ', line)
        self.assertIn(' -chardev socket,id=monitor,path=/f/monitor,server=on,wait=off -mon chardev=monitor,mode=readline '
                      '-chardev socket,id=monitor-port,path=/f/monitor -device virtserialport,chardev=monitor-port,name=monitor ', line)
        self.assertNotIn('monitor', self.command(HOTPLUG='1'))

    def test_initrd_of_32_gib(self):
        """The flavour's settings come before those of 16k."""
        settings = make_settings(find_arch('arm64'), read_flavour('debug+initrd_32g+16k+va36'), 'series')
        self.assertEqual((settings['MEMORY'], settings['SMP'], settings['INITRD_AT'], settings['KERNEL']),
                         ('32768', '2', '0x800000000', 'arm64 debug+16k+va36 series'))


if __name__ == '__main__':
    main()
