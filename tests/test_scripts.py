#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Bad input to the scripts: names, tools, packages, disk, configuration."""

from support import TOP, CommandTest, main, write

RUN, MUTANTS = TOP / 'scripts/run', TOP / 'scripts/mutants'


class Names(CommandTest):
    """Names that do not exist."""

    def test_unknown_topic(self):
        self.refuses("unknown TOPIC 'nope'; choose one of: ", RUN, 'um', TOPIC='nope')

    def test_unknown_arch(self):
        self.refuses("unknown architecture 'nope'; choose one of: arm64 riscv64 um x86_64", RUN, 'nope')

    def test_arch_without_qemu(self):
        self.refuses("unknown ARCH 'um' for this verb; choose one of: arm64 riscv64 x86_64", TOP / 'scripts/kselftest', 'um')

    def test_unknown_flavour(self):
        self.refuses(r"unknown flavour 'debug\+nope'; there is no configs/nope", RUN, 'um', FLAVOUR='debug+nope')

    def test_unknown_test(self):
        self.refuses("no test matches TEST='nope'", RUN, 'um', TEST='nope')

    def test_test_of_another_arch(self):
        self.refuses("no test matches TEST='hvo.2m.saved' .* on um", RUN, 'um', TEST='hvo.2m.saved')

    def test_mutant_of_another_flavour(self):
        self.refuses("no mutant of FLAVOUR=debug matches MUTANT='hvo-tag-reset'", MUTANTS, MUTANT='hvo-tag-reset')

    def test_mutant_of_another_topic(self):
        self.refuses("no mutant matches MUTANT='hvo-unstaged' TOPIC='vma-flags'", MUTANTS, MUTANT='hvo-unstaged', TOPIC='vma-flags')

    def test_unknown_variant(self):
        self.refuses("unknown VARIANT 'nope'; choose one of: base series", TOP / 'scripts/boot', 'x86_64', VARIANT='nope')
        self.refuses("unknown VARIANT 'nope'; choose one of: base series", TOP / 'scripts/kselftest', 'x86_64', VARIANT='nope')

    def test_unknown_targets(self):
        self.refuses("unknown TARGETS 'net'; choose one of: mm ltp libhugetlbfs", TOP / 'scripts/kselftest', 'x86_64', TARGETS='net')

    def test_repeat_of_no_number(self):
        self.refuses("N='x' is not a number", TOP / 'scripts/repeat', 'um', N='x')

    def test_plan_that_is_not_there(self):
        self.refuses('there is no plan .*/gone; make the plan first', TOP / 'scripts/walk', 'gone')

    def test_unknown_arch_to_make(self):
        self.says(2, "unknown ARCH 'nope'; choose one of: arm64 riscv64 x86_64", 'make', '-s', 'run', 'ARCH=nope')

    def test_post_without_topic(self):
        self.refuses('say whose: TOPIC= is missing', TOP / 'scripts/post', GROUP='fixes')
        self.assertIn('PATCH=0003', self.does(TOP / 'scripts/post'))

    def test_refusals_leave_nothing(self):
        self.refuses("unknown TOPIC 'nope'", RUN, 'um', TOPIC='nope')
        self.assertFalse((self.work / 'out').exists())


class Folders(CommandTest):
    """OUT=."""

    def test_distclean_of_a_folder_that_is_not_ours(self):
        mine = self.work / 'mine'
        mine.mkdir()
        self.says(2, 'is not a folder that make tree has made', 'make', '-s', 'distclean', f'OUT={mine}')
        self.assertTrue(mine.is_dir())

    def test_clean_after_affected(self):
        write(self.work / 'mine/affected/result.json', '{}')
        self.does('make', '-s', 'clean', f'OUT={self.work}/mine')
        self.assertFalse((self.work / 'mine/affected').exists())

    def test_relative_out(self):
        self.does('bash', '-c', f'cd {self.work}; OUT=x; . {TOP}/scripts/lib.sh; [ "$OUT" = "{self.work}/x" ]')

    def test_out_with_a_space(self):
        self.refuses('has a space in it', 'bash', '-c', f'OUT="/tmp/a b"; . {TOP}/scripts/lib.sh')


class Tools(CommandTest):
    """Packages, tools, disk space."""

    def test_packages_of_nothing(self):
        self.refuses('usage: packages', TOP / 'scripts/packages')

    def test_packages_of_the_report(self):
        self.stub('dpkg-query', '#!/bin/sh\nexit 1\n')
        self.stub('id', '#!/bin/sh\necho 1000\n')
        self.refuses('sudo apt-get install .* python3-jinja2 python3-matplotlib$', TOP / 'scripts/packages', 'report')

    def test_packages_of_an_unknown_arch(self):
        self.refuses("unknown ARCH 'nope'", TOP / 'scripts/packages', 'nope')

    def test_missing_packages_without_root(self):
        self.stub('dpkg-query', '#!/bin/sh\n')
        self.stub('id', '#!/bin/sh\necho 1000\n')
        self.refuses('run: sudo apt-get install .*qemu-system-x86', TOP / 'scripts/packages', 'x86_64')

    def test_packages_of_affected(self):
        self.stub('dpkg-query', '#!/bin/sh\n')
        self.stub('id', '#!/bin/sh\necho 1000\n')
        self.refuses('recommends cpio gcc libc6-dev python3 qemu-system-x86$', TOP / 'scripts/packages', 'affected', 'x86_64')

    def test_missing_tool(self):
        self.refuses('missing no-such-tool', 'bash', '-c', f'. {TOP}/scripts/lib.sh; tools no-such-tool')

    def test_full_disk(self):
        self.stub('df', '#!/bin/sh\necho "Filesystem 1M-blocks Used Available Capacity Mounted"; echo "x 100 99 1 99% /"\n')
        kernel = self.work / 'kernel'
        write(kernel / 'Makefile', 'VERSION = 7\nPATCHLEVEL = 3\nSUBLEVEL = 4\n')
        write(kernel / 'mm/memory.c', '')
        write(self.work / 'topics/order', 'demo\n')
        write(self.work / 'topics/demo/series', '')
        self.refuses('1 MiB free and 8000 MiB are needed', TOP / 'scripts/tree', KERNEL_SRC=kernel, TOPICS=self.work / 'topics')
        self.assertFalse((self.work / 'out/linux').exists())


class Configuration(CommandTest):
    """scripts/took: every line of a fragment holds in the final configuration."""

    def setUp(self):
        super().setUp()
        write(self.work / 'fragment', 'CONFIG_A=y\nCONFIG_B=n\nCONFIG_C=y # if there\n')
        write(self.work / 'kernel/Kconfig', 'config A\n')

    def took(self, config):
        write(self.work / 'config', config)
        return TOP / 'scripts/took', self.work / 'fragment', self.work / 'config', self.work / 'kernel'

    def test_took(self):
        self.does(*self.took('CONFIG_A=y\n# CONFIG_B is not set\n'))

    def test_line_that_did_not_take(self):
        self.refuses('did not take: CONFIG_A=y', *self.took('CONFIG_A=m\n'))

    def test_option_that_is_there_and_did_not_take(self):
        write(self.work / 'kernel/Kconfig', 'config C\n')
        self.refuses('did not take: CONFIG_C=y', *self.took('CONFIG_A=y\n'))

    def test_option_that_must_be_off(self):
        self.refuses('did not take: CONFIG_B=n', *self.took('CONFIG_A=y\nCONFIG_B=y\n'))


if __name__ == '__main__':
    main()
