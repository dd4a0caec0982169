# SPDX-License-Identifier: GPL-2.0
"""Walk through a plan, a stage for each step. A guest that has its result already is not booted again."""

import itertools
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from .arch import TOP, find_arch
from .boot import boot_guest, find_guest, result_folder
from .errors import HarnessError, read_text
from .keys import is_current, key_of
from .plan import GuestPlan, Plan, kernel_path, out_folder
from .qemu import command_of
from .stage import Stage, run_stage

SCRIPTS = TOP / 'scripts'


def stage_of(plan: Plan, step: str) -> tuple[str, list[str]]:
    """The name and the command of a step."""
    word = step.split()
    if word[0] == 'tree':
        return 'tree', [str(SCRIPTS / 'tree')]
    if word[0] == 'build' and len(word) == 4:
        return step, [str(SCRIPTS / 'kernel'), *word[1:]]
    if word[0] == 'selftests' and len(word) == 3:
        return step, [str(SCRIPTS / 'userspace'), *word[1:]]
    if word[0] == 'root' and len(word) in (2, 3):
        return step, [str(SCRIPTS / 'root'), *word[1:]]
    if word[0] == 'forget' and len(word) == 4:
        kernel = kernel_path(' '.join(word[1:]))
        return step, ['rm', '-f', str(kernel / 'vmlinux'), str(kernel / 'System.map')]
    if word[0] == 'guest' and len(word) in (2, 3):
        return f'{step} of {plan.name}', [str(SCRIPTS / 'guest'), plan.name, '/'.join(word[1:])]
    if word[0] == 'guests':
        name = f'{len(word) - 1} guests of {plan.name} from {word[1].partition("/")[0]}'
        return name, [str(SCRIPTS / 'guest'), plan.name, *word[1:]]
    raise HarnessError(f"{plan.folder()}/plan: '{step}' is not a step; make the plan again")


def dry_run(plan: Plan) -> None:
    """Print the commands instead of running them; for a guest that of QEMU."""
    for step in plan.steps:
        word = step.split()
        if word[0] == 'guest':
            guest = find_guest(plan, word[1])
            folder = result_folder(plan, guest, *word[2:])
            print(shlex.join(command_of(guest, find_arch(guest.arch), folder.with_name(folder.name + '.new'))))
        else:
            print(shlex.join(stage_of(plan, step)[1]))


def guests_at_once() -> int:
    """GUESTS=: how many guests may run beside one another."""
    text = os.environ.get('GUESTS') or '1'
    if not text.isdigit() or int(text) < 1:
        raise HarnessError(f"GUESTS='{text}': want a number of guests that run at once")
    return int(text)


def grouped(steps: list[str]) -> list[str]:
    """With GUESTS=, guests that follow one another in a plan are one step."""
    if guests_at_once() == 1:
        return steps
    result: list[str] = []
    for is_guest, group in itertools.groupby(steps, lambda step: step.startswith('guest ')):
        members = list(group)
        if is_guest and len(members) > 1:
            members = [' '.join(['guests', *('/'.join(step.split()[1:]) for step in members)])]
        result += members
    return result


def walk(plan: Plan, with_guests: bool = True) -> int:
    """Execute the steps in order; the status of the first that fails."""
    for step in grouped(plan.steps):
        if not with_guests and step.startswith('guest'):
            continue
        status = run_stage(*stage_of(plan, step)).status
        if status:
            return status
    (plan.folder() / 'stale').unlink(missing_ok=True)
    return 0


def boot_guests(plan: Plan, names: list[str]) -> None:
    """Boot guests, named GUEST or GUEST/COPY, as many at once as GUESTS= says."""
    def boot(name: str) -> None:
        guest, _, copy = name.partition('/')
        boot_guest(plan, find_guest(plan, guest), copy, force=bool(os.environ.get('FORCE')))
    with ThreadPoolExecutor(guests_at_once()) as pool:
        for done in [pool.submit(boot, name) for name in names]:
            done.result()


def kernel_is_stale(plan: Plan, kernel: str) -> bool:
    """Was the kernel made from another source, configuration or compiler than today's?"""
    done = subprocess.run([str(SCRIPTS / 'kernel'), '--stamp', *kernel.split()], capture_output=True, text=True,
                          check=False)
    if done.returncode:
        raise HarnessError(f'{plan.name}: {done.stderr.strip()}')
    return done.stdout != read_text(kernel_path(kernel) / 'stamp')


def stale_reason(plan: Plan, guest: GuestPlan) -> str:
    """Why the result of a guest is not of today's programs, job and settings; '' if it is."""
    arch, folder = find_arch(guest.arch), result_folder(plan, guest)
    copies = [folder]
    if plan.request['verb'] == 'repeat':
        copies = [folder / str(copy) for copy in range(1, int(str(plan.request['n'])) + 1)]
    try:
        key = key_of(guest, arch)
    except HarnessError as error:
        return str(error)
    if all(is_current(copy, key, arch, any_end=True) for copy in copies):
        return ''
    return 'the result is absent, or of another kernel, program, job or setting'


def stale_guests(plan: Plan) -> dict[str, str]:
    """{guest: reason} of results that are not of today's inputs, without building anything."""
    stale: dict[str, str] = {}
    kernels = {kernel: kernel_is_stale(plan, kernel) for kernel in sorted({g.settings['KERNEL'] for g in plan.guests})}
    for guest in plan.guests:
        kernel = guest.settings['KERNEL']
        if kernels[kernel]:
            stale[guest.name] = f'the kernel {kernel} is not of today\'s source, configuration and compiler'
        elif reason := stale_reason(plan, guest):
            stale[guest.name] = reason
    return stale


def write_stale(plan: Plan) -> None:
    """Note stale results where the judge sees them."""
    rows = stale_guests(plan).items()
    path = plan.folder() / 'stale'
    path.unlink(missing_ok=True)
    if rows:
        path.write_text(''.join(f'{guest}\t{reason}\n' for guest, reason in rows))


def write_record(name: str, stage: Stage, counts: tuple[int, int, int]) -> None:
    """out/result/NAME of a stage without guests."""
    folder = out_folder() / 'result' / name
    folder.mkdir(parents=True, exist_ok=True)
    passed, failed, skipped = counts
    record = {'verb': 'stage', 'name': name, 'passed': passed, 'failed': failed, 'skipped': skipped,
              'seconds': round(stage.seconds, 1), 'core_seconds': round(stage.core_seconds, 1), 'log': str(stage.log)}
    (folder / 'result.json').write_text(json.dumps(record, indent=1) + '\n')
    (folder / 'summary.txt').write_text(f'{name}: {passed} passed, {failed} failed, {skipped} skipped; see {stage.log}\n')


def not_passed(name: str, result: dict[str, Any]) -> Iterator[str]:
    """A line for each case of a result that did not pass, and for each finding: all that the end of a long log has to say."""
    for case in result.get('cases', []):
        if case['outcome'] != 'passed':
            cells = ((cell['column'], cell['verdict'], cell['reason'], cell['splat'] or cell['note']) for cell in case['columns'])
            said = '; '.join(' '.join(str(word) for word in words if word) for words in cells)
            yield ' '.join(word for word in (f'{name}:', case['outcome'], case['mutant'], case['case'], case['arch']) if word) + f': {said}'
    for finding in result.get('findings', []):
        yield ' '.join(word for word in (f'{name}:', finding['guest'], finding['section'], finding['fault'], finding['text']) if word)


def totals(names: list[str]) -> tuple[int, int, int]:
    """Passed, failed and skipped of the results of these names. One that is not there has failed."""
    passed = failed = skipped = 0
    for name in names:
        path: Path = out_folder() / 'result' / name / 'result.json'
        if not path.is_file():
            print(f'{name}: no result', file=sys.stderr)
            failed += 1
            continue
        result = json.loads(path.read_text())
        for line in not_passed(name, result):
            print(line)
        if result['failed'] and 'cases' not in result:
            print(f"{name}: {result['failed']} failed")
        passed, failed, skipped = (total + result[word] for total, word in
                                   ((passed, 'passed'), (failed, 'failed'), (skipped, 'skipped')))
    return passed, failed, skipped
