# SPDX-License-Identifier: GPL-2.0
"""The commands that plan and walk; __main__.py has them beside those that judge."""

import argparse
import os
import re

from .boot import find_guest, shell_in
from .errors import HarnessError
from .expectations import read_tests
from .flavours import read_flavour
from .plan import out_folder, read_plan
from .plans import plan_of_environment
from .stage import print_times, run_stage
from .topics import check_topic, read_order, topics_folder
from .walk import boot_guests, dry_run, totals, walk, write_record, write_stale

VERBS = ('run', 'mutants', 'bench', 'kselftest', 'boots', 'repeat')


def do_plan(args: argparse.Namespace) -> int:
    plan = plan_of_environment(args.verb, args.arch)
    plan.write()
    print(plan.name)
    return 0


def do_walk(args: argparse.Namespace) -> int:
    plan = read_plan(args.name)
    if os.environ.get('DRY'):
        dry_run(plan)
        return 0
    return walk(plan)


def do_guest(args: argparse.Namespace) -> int:
    boot_guests(read_plan(args.name), args.guest)
    return 0


def do_boot(args: argparse.Namespace) -> int:
    gdb, dry = os.environ.get('GDB', ''), bool(os.environ.get('DRY'))
    if gdb and not gdb.isdigit():
        raise HarnessError(f"GDB='{gdb}': want 1, or the port on which QEMU waits for gdb")
    plan = plan_of_environment('boot', [args.arch])
    plan.write()
    if not dry and (status := walk(plan, with_guests=False)):
        return status
    return shell_in(plan, find_guest(plan, plan.guests[0].name), dry, '1234' if gdb == '1' else gdb)


def do_stage(args: argparse.Namespace) -> int:
    return run_stage(args.name, args.command).status


def do_record(args: argparse.Namespace) -> int:
    stage = run_stage(args.name.replace('-', ' '), args.command)
    closing = re.findall(r'^(\d+) passed, (\d+) failed, (\d+) skipped$', stage.log.read_text(errors='replace'), re.M)
    passed, failed, skipped = (int(n) for n in closing[-1]) if closing else (int(not stage.status), 0, 0)
    if stage.status and not failed:
        failed = 1
    write_record(args.name, stage, (passed, failed, skipped))
    return stage.status


def do_total(args: argparse.Namespace) -> int:
    passed, failed, skipped = totals(args.name)
    print(f'{passed} passed, {failed} failed, {skipped} skipped')
    return 1 if failed or not passed else 0


def do_stale(args: argparse.Namespace) -> int:
    write_stale(read_plan(args.name))
    return 0


def do_planned(_args: argparse.Namespace) -> int:
    """The names of all results that a plan made, but not of boot's, which has none."""
    results = out_folder() / 'result'
    for path in sorted(results.glob('*/plan')) if results.is_dir() else []:
        if path.parent.name != 'boot':
            print(path.parent.name)
    return 0


def do_fragments(args: argparse.Namespace) -> int:
    """The name of a flavour's kernel, then the fragments that make it."""
    flavour = read_flavour(args.flavour)
    print(flavour.kernel)
    print('\n'.join(str(path) for path in read_flavour(flavour.kernel).fragments))
    return 0


def do_programs(args: argparse.Namespace) -> int:
    """The selftest programs that topics/*/tests name."""
    topics = read_order(topics_folder())
    check_topic(topics, args.topic)
    cases = read_tests(topics).expectations
    print('\n'.join(sorted({c.program for c in cases if not c.is_kunit and args.topic in ('', c.topic)})))
    return 0


def do_times(_args: argparse.Namespace) -> int:
    print_times()
    return 0


def add_commands(commands: 'argparse._SubParsersAction[argparse.ArgumentParser]') -> None:
    """Add the commands of this module."""
    def add(name: str, run, text: str) -> argparse.ArgumentParser:
        parser = commands.add_parser(name, help=text, description=text)
        parser.set_defaults(func=run)
        return parser

    plan = add('plan', do_plan, 'write the plan of a verb into out/result/NAME, and print NAME; the filters are TOPIC= TEST= '
               'MUTANT= FLAVOUR= VARIANT= CATEGORY= N= of the environment')
    plan.add_argument('verb', choices=VERBS)
    plan.add_argument('arch', nargs='*')
    walk_ = add('walk', do_walk, 'walk through a plan; FORCE=1 boots guests again that have their result, DRY=1 prints commands')
    walk_.add_argument('name')
    guest = add('guest', do_guest, 'boot guests of a plan; GUESTS= so many at once')
    guest.add_argument('name')
    guest.add_argument('guest', nargs='+', metavar='GUEST[/COPY]')
    boot = add('boot', do_boot, 'a shell in the guest that run has; GDB=1 waits for gdb, DRY=1 prints the command')
    boot.add_argument('arch')
    for name, run, text in (('stage', do_stage, 'run a command with its output in out/log/NAME.log'),
                            ('record', do_record, 'the same, with its counts in out/result/NAME/result.json')):
        stage = add(name, run, text)
        stage.add_argument('name')
        stage.add_argument('command', nargs=argparse.REMAINDER)
    total = add('total', do_total, 'sum the result.json of these names')
    total.add_argument('name', nargs='+')
    stale = add('stale', do_stale, 'note in out/result/NAME/stale which results are not of today')
    stale.add_argument('name')
    add('planned', do_planned, 'list the results that plans made')
    add('fragments', do_fragments, "the name of a flavour's kernel, then its fragments of configs/").add_argument('flavour')
    add('programs', do_programs, 'the selftest programs that topics/*/tests name').add_argument('topic', nargs='?', default='')
    add('times', do_times, 'print the table of the stages in $STAGE_TIMES')
