# SPDX-License-Identifier: GPL-2.0
"""Which kernels, programs, roots and guests a verb needs; plans.py has a function for each verb.

A plan is a folder out/result/NAME with

    request.json      the verb and its filters: all that the judge has to know
    plan              the steps, a line each, which walk.py executes in order:
                        tree                         out/linux
                        build ARCH FLAVOUR VARIANT   out/kernel/ARCH-FLAVOUR-VARIANT
                        forget ARCH FLAVOUR VARIANT  remove that kernel's vmlinux, which is large
                        selftests ARCH WHAT          static programs: tests, kselftest, bench, ltp, ..
                        root ARCH [kselftest]        out/root/ARCH.cpio
                        guest GUEST [COPY]           out/result/NAME/GUEST[/COPY]
    guests            GUEST ARCH VARIANT WHAT, separated by tabs; a guest with several WHATs has several lines.
                      WHAT is -, or a case, a mutant, a category, a prefix: why the guest is apart from others
    jobs/GUEST.job    the lines that guest/init runs
    jobs/GUEST.settings   KEY=VALUE: the guest itself
"""

import json
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from .arch import Arch, TOP
from .errors import HarnessError, need_text
from .flavours import Flavour

# Settings of a guest, unless its flavour or the caller's environment says otherwise.
DEFAULTS = {'SMP': '2', 'MEMORY': '2048'}
HUGETLB = 'hugepages=16 hugetlb_free_vmemmap=on'
CASE_SECONDS = '60'
# The settings that a flavour or the environment may give.
SETTINGS = ('MEMORY', 'HOTPLUG', 'SMP', 'MACHINE', 'CPU', 'QEMU_VERSION')


def out_folder() -> Path:
    """Everything generated; as in scripts/lib.sh."""
    return Path(os.path.abspath(os.environ.get('OUT') or TOP / 'out'))


@dataclass(frozen=True)
class GuestPlan:
    """One guest. settings has KERNEL= (ARCH FLAVOUR VARIANT), ROOT= (below out/root), APPEND=, TIMEOUT= and
    those of QEMU."""
    name: str
    arch: str
    variant: str
    job: tuple[str, ...]
    settings: dict[str, str]
    what: tuple[str, ...] = ('-',)


@dataclass
class Plan:
    """The steps and guests of one verb."""
    name: str
    request: dict[str, object]
    steps: list[str] = field(default_factory=list)
    guests: list[GuestPlan] = field(default_factory=list)

    def step(self, *words: str) -> None:
        """Add a step, unless the plan has it already."""
        if ' '.join(words) not in self.steps:
            self.steps.append(' '.join(words))

    def guest(self, guest: GuestPlan) -> None:
        """Add a guest and the step that boots it."""
        if any(g.name == guest.name for g in self.guests):
            raise HarnessError(f'two guests of {self.name} have the name {guest.name}; rename one of them')
        self.guests.append(guest)
        self.step('guest', guest.name)

    def folder(self) -> Path:
        return out_folder() / 'result' / self.name

    def write(self) -> None:
        """Write the plan. Results of guests stay: each has a key, and a later plan may have that guest again."""
        folder = self.folder()
        shutil.rmtree(folder / 'jobs', ignore_errors=True)
        (folder / 'jobs').mkdir(parents=True)
        for interrupted in folder.rglob('*.new'):
            if interrupted.is_dir():
                shutil.rmtree(interrupted)
            else:
                interrupted.unlink()
        for name in ('result.json', 'summary.txt', 'stale'):
            (folder / name).unlink(missing_ok=True)
        for guest in self.guests:
            (folder / 'jobs' / f'{guest.name}.job').write_text(''.join(f'{line}\n' for line in guest.job))
            (folder / 'jobs' / f'{guest.name}.settings').write_text(
                ''.join(f'{k}={v}\n' for k, v in sorted(guest.settings.items())))
        rows = ['\t'.join((g.name, g.arch, g.variant, what)) for g in self.guests for what in g.what]
        (folder / 'guests').write_text(''.join(f'{row}\n' for row in rows))
        (folder / 'request.json').write_text(json.dumps(self.request, indent=1) + '\n')
        (folder / 'plan').write_text(''.join(f'{step}\n' for step in self.steps))


def read_plan(name: str) -> Plan:
    """A plan that was written."""
    folder = out_folder() / 'result' / name
    if not (folder / 'plan').is_file():
        raise HarnessError(f'there is no plan {folder}; make the plan first: scripts/harness plan --help')
    plan = Plan(name, json.loads(need_text(folder / 'request.json')), need_text(folder / 'plan').splitlines())
    whats: dict[str, list[str]] = {}
    rows: dict[str, tuple[str, str]] = {}
    for row in need_text(folder / 'guests').splitlines():
        guest, arch, variant, what = row.split('\t')
        rows[guest] = arch, variant
        whats.setdefault(guest, []).append(what)
    for guest, (arch, variant) in rows.items():
        job = need_text(folder / 'jobs' / f'{guest}.job').splitlines()
        lines = need_text(folder / 'jobs' / f'{guest}.settings').splitlines()
        settings = dict(line.split('=', 1) for line in lines)
        plan.guests.append(GuestPlan(guest, arch, variant, tuple(job), settings, tuple(whats[guest])))
    return plan


def make_settings(arch: Arch, flavour: Flavour, variant: str, *, append: str = '', timeout: int = 300,
                  hugetlb: str = HUGETLB, **more: str) -> dict[str, str]:
    """A guest's settings: the environment's, else the flavour's, else `more`, else the defaults.

    APPEND= of flavour and environment add to `append`. HUGETLB= replaces `hugetlb`.
    """
    env = {k: os.environ[k] for k in (*SETTINGS, 'HUGETLB', 'TIMEOUT') if os.environ.get(k)}
    given = {**more, **flavour.settings, **env}
    words = [os.environ.get('APPEND', ''), *flavour.append, append]
    settings = {'KERNEL': kernel_name(arch.name, flavour, variant), 'TIMEOUT': given.pop('TIMEOUT', str(timeout))}
    hugetlb = given.pop('HUGETLB', hugetlb)
    if arch.has_qemu:
        machine = {'MACHINE': arch.get('MACHINE'), 'CPU': arch.get('CPU')}
        settings.update({'ROOT': arch.name, **DEFAULTS, **machine, **given})
        words.insert(0, hugetlb)
    settings['APPEND'] = ' '.join(' '.join(words).split())
    return settings


def kernel_name(arch: str, flavour: Flavour, variant: str) -> str:
    """ARCH FLAVOUR VARIANT, as scripts/kernel has them; the flavour only with the fragments that have options."""
    return f'{arch} {flavour.kernel} {variant}'


def kernel_path(kernel: str) -> Path:
    """The folder of that kernel."""
    return out_folder() / 'kernel' / kernel.replace(' ', '-')


def job_of(cases: list[str]) -> list[str]:
    """The lines of a job that run these cases: a KUnit suite at once, a selftest case by case."""
    lines: dict[str, None] = {}
    seconds = os.environ.get('CASE_SECONDS') or CASE_SECONDS
    for name in cases:
        kind, _, rest = name.partition(':')
        program, _, case = rest.partition('.')
        lines[f'kunit {program}' if kind == 'kunit' else f'selftest {program} {seconds} {case}'] = None
    return list(lines)


def result_name(*parts: str) -> str:
    """NAME of a result: the verb or flavour, and the selection, so that a part never replaces the whole."""
    return '-'.join(part.replace('/', '_') for part in parts if part)
