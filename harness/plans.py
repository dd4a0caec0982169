# SPDX-License-Identifier: GPL-2.0
"""The plan of each verb."""

import os
import re
import sys

from .arch import TOP, Arch, architectures, find_arch
from .errors import HarnessError, need_text
from .expectations import Expectation, Want, read_tests, select_tests
from .flavours import BENCH, DEFAULT, Flavour, read_flavour
from .mutants import Mutant, select_mutants
from .plan import GuestPlan, Plan, job_of, kernel_name, make_settings, out_folder, result_name
from .stage import run_stage
from .topics import all_patches, bench_variants, check_topic, read_order, read_series, topics_folder

SUITE = 'debug+suite'
# Suites of others, and their categories, of which scripts/outside makes the lists.
OUTSIDE = {'ltp': ['mm', 'hugetlb', 'ipc', 'syscalls'], 'libhugetlbfs': ['functional', 'stress']}
SHARED = 'shared'   # the guest of mutants that share one
NONE = 'none'       # the mutants kernel without a mutant


def qemu_archs(names: list[str]) -> list[Arch]:
    """The architectures of these names; an error if one has no QEMU."""
    archs = [find_arch(name) for name in names]
    able = [name for name, arch in architectures().items() if arch.has_qemu]
    for arch in archs:
        if not arch.has_qemu:
            raise HarnessError(f"unknown ARCH '{arch.name}' for this verb; choose one of: {' '.join(able)}")
    return archs


def _request(verb: str, archs: list[str], **more: object) -> dict[str, object]:
    base = {'verb': verb, 'archs': archs, 'flavour': DEFAULT, 'topic': '', 'test': '', 'mutant': '', 'variants': [],
            'category': '', 'n': 0}
    return {**base, **more}


def _programs(job: list[str]) -> list[str]:
    """The selftest programs of a job, each once."""
    return list(dict.fromkeys(line.split()[1] for line in job if line.startswith('selftest ')))


def _disks(names: set[str], arch: Arch, flavour: Flavour) -> dict[str, str]:
    """DISKS= for a guest of that flavour that runs cases of these topics."""
    topics = read_order(topics_folder())
    tests = read_tests(topics)
    asked = [disk for topic in topics if topic in names for disk in tests.all_disks(topic)]
    disks = dict.fromkeys([*asked, *(flavour.disks if names else ())])
    return {'DISKS': ' '.join(disks)} if disks and arch.has_qemu else {}


def plan_run(archs: list[str], flavour_name: str, topic: str = '', test: str = '') -> Plan:
    """Base and series on each architecture: selftests on base, KUnit on test, both on series."""
    known = [find_arch(name) for name in archs]
    flavour = read_flavour(flavour_name)
    topics = read_order(topics_folder())
    tests = select_tests(topics, flavour_name, topic, test)
    plan = Plan(result_name(flavour_name, topic, test),
                _request('run', archs, flavour=flavour_name, topic=topic, test=test))
    plan.step('tree')
    listed: set[str] = set()
    for arch in known:
        here = [e for e in tests if arch.name in e.archs]
        if not arch.has_qemu:
            here = [e for e in here if e.is_kunit]
        if here:
            _run_on(plan, arch, flavour, here, listed)
    if not plan.guests:
        raise HarnessError(f"no test matches TEST='{test}' TOPIC='{topic}' on {' '.join(archs)}; see topics/*/tests")
    return plan


def _run_on(plan: Plan, arch: Arch, flavour: Flavour, here: list[Expectation], listed: set[str]) -> None:
    """The guests of one architecture. `listed` has the programs whose cases a guest lists already."""
    def column(variant: str, some: list[Expectation], name: str = '', what: str = '-', more: tuple[str, ...] = ()) -> None:
        if not some:
            return
        plan.step('build', arch.name, flavour.name, variant)
        job = (*job_of([e.case for e in some]), *more) if arch.has_qemu else ()
        disks = _disks({e.topic for e in some if not e.is_kunit}, arch, flavour)
        settings = make_settings(arch, flavour, variant, timeout=600, **disks)
        plan.guest(GuestPlan(f'{arch.name}-{name or variant}', arch.name, variant, job, settings, (what,)))

    kunit = [e for e in here if e.is_kunit]
    selftests = [e for e in here if not e.is_kunit]
    if selftests:
        plan.step('selftests', arch.name, 'tests')
    if arch.has_qemu:
        plan.step('root', arch.name)
    # What follows a splat may say nothing, and a splat is one case's: a case that may have one on base runs alone.
    column('base', [e for e in selftests if not e.may_splat])
    for e in selftests:
        if e.may_splat:
            column('base', [e], name='base-' + e.case.partition(':')[2], what=e.case)
    column('test', [e for e in kunit if e.want is not Want.ABSENT])
    programs = [p for p in _programs(job_of([e.case for e in selftests])) if p not in listed]
    listed.update(programs)
    column('series', here, more=tuple(f'list {p}' for p in programs))


def plan_mutants(flavour_name: str, topic: str = '', mutant: str = '') -> Plan:
    """The mutants kernel without a mutant, with those that share a guest, and with each that wants its own."""
    flavour = read_flavour(flavour_name)
    topics = read_order(topics_folder())
    chosen = [m for m in select_mutants(topics, topic, mutant) if m.here(flavour_name)]
    if not chosen:
        raise HarnessError(f"no mutant of FLAVOUR={flavour_name} matches MUTANT='{mutant}' TOPIC='{topic}'; "
                           'see Caught-by in topics/*/mutants')
    used = {line.arch for m in chosen for line in m.here(flavour_name)}
    archs = [name for name in architectures() if name in used]
    plan = Plan(result_name('mutants', flavour_name, topic, mutant),
                _request('mutants', archs, flavour=flavour_name, topic=topic, mutant=mutant))
    plan.step('tree')
    for arch in archs:
        _mutants_on(plan, find_arch(arch), flavour, [m for m in chosen if m.here(flavour_name, arch)])
    return plan


def _mutants_on(plan: Plan, arch: Arch, flavour: Flavour, mutants: list[Mutant]) -> None:
    def cases(some: list[Mutant]) -> list[str]:
        return [line.case for m in some for line in m.here(flavour.name, arch.name)]

    def add(guest: str, some: list[Mutant], job: list[str], timeout: int) -> None:
        settings = make_settings(arch, flavour, 'mutants', append=f'mm_mutant={guest}', timeout=timeout,
                                 **_disks({m.topic for m in some}, arch, flavour))
        what = ['-'] if guest == NONE else [m.name for m in some]
        plan.guest(GuestPlan(f'{arch.name}-{guest}', arch.name, 'mutants', tuple(job if arch.has_qemu else []),
                             settings, tuple(what)))

    def with_mutants(some: list[Mutant]) -> list[str]:
        return [line for m in some for line in (f'mutant {m.name}', *job_of(cases([m])))]

    plan.step('build', arch.name, flavour.name, 'mutants')
    if _programs(job_of(cases(mutants))):
        plan.step('selftests', arch.name, 'tests')
    if arch.has_qemu:
        plan.step('root', arch.name)
    add(NONE, mutants, job_of(cases(mutants)), 1800)
    own = [m for m in mutants if not arch.has_qemu or m.wants_own_guest(flavour.name, arch.name)]
    shared = [m for m in mutants if m not in own]
    if shared:
        add(SHARED, shared, with_mutants(shared), 1800)
    for m in own:
        add(m.name, [m], with_mutants([m]), 300)


def plan_bench(archs: list[str], topic: str = '', flavour_name: str = BENCH) -> Plan:
    """Benchmarks in a guest whose clock counts instructions, on base and on what each topic's limits are of."""
    known = qemu_archs(archs)
    topics = read_order(topics_folder())
    flavour = read_flavour(flavour_name)
    programs = flavour.settings.get('BENCH', '').split() or sorted(source.stem for source in (TOP / 'bench').glob('*.c'))
    job = tuple(f'bench {program}' for program in programs)
    plan = Plan(result_name(flavour_name, topic), _request('bench', archs, flavour=flavour_name, topic=topic))
    plan.step('tree')
    for arch in known:
        plan.step('selftests', arch.name, 'bench')
        if 'PLUGIN' in flavour.settings:
            plan.step('selftests', arch.name, 'plugin')
        plan.step('root', arch.name)
        for counted in bench_variants(topics, topic, flavour_name):
            variant = counted
            if counted.startswith('through-'):
                through = list(topics)[:list(topics).index(counted.removeprefix('through-')) + 1]
                variant = f'prefix-{sum(len(read_series(topics[t])) for t in through)}'
            plan.step('build', arch.name, flavour_name, variant)
            settings = make_settings(arch, flavour, variant, timeout=900, SMP='1', MEMORY='6144', ICOUNT='yes',
                                     hugetlb='hugepagesz=1G hugepages=1 hugetlb_free_vmemmap=on')
            plan.guest(GuestPlan(f'{arch.name}-{counted}', arch.name, counted, job, settings))
    return plan


def _tree_categories() -> list[str]:
    """The categories of run_vmtests.sh, which out/linux has."""
    if run_stage('tree', [str(TOP / 'scripts' / 'tree')], sys.stderr).status:
        raise HarnessError('the categories are in out/linux, and make tree failed; see above')
    script = out_folder() / 'linux/tools/testing/selftests/mm/run_vmtests.sh'
    return sorted(set(re.findall(r'CATEGORY="([a-z_0-9-]*)"', need_text(script))) - {''})


def plan_kselftest(arch_name: str, variants: list[str], category: str = '', targets: str = 'mm') -> Plan:
    """The tree's own mm suite, or one of others: a guest for each category."""
    [arch] = qemu_archs([arch_name])
    categories = OUTSIDE[targets] if targets in OUTSIDE else _tree_categories()
    if category and category not in categories:
        raise HarnessError(f"unknown CATEGORY '{category}'; choose one of: {' '.join(categories)}")
    root, word = ('kselftest', 'suite') if targets == 'mm' else (targets, 'outside')
    flavour = read_flavour(SUITE)
    both = variants == ['base', 'series']
    plan = Plan(result_name('kselftest', '' if targets == 'mm' else targets, '' if both else '-'.join(variants), category),
                _request('kselftest', [arch_name], variants=variants, category=category))
    plan.step('tree')
    plan.step('selftests', arch.name, root)
    plan.step('root', arch.name, root)
    for variant in variants:
        plan.step('build', arch.name, SUITE, variant)
        for each in [category] if category else categories:
            settings = make_settings(arch, flavour, variant, timeout=1900, MEMORY='3072', DISKS='swap:256', ROOT=f'{arch.name}-{root}',
                                     hugetlb='hugetlb_free_vmemmap=on')
            plan.guest(GuestPlan(f'{arch.name}-{variant}-{each}', arch.name, variant, (f'{word} {each} 1800',), settings,
                                 (each,)))
    return plan


def plan_boots(arch_name: str) -> Plan:
    """Every prefix of the series, a patch more each time: each has to build, boot and end."""
    [arch] = qemu_archs([arch_name])
    flavour = read_flavour(DEFAULT)
    plan = Plan('prefixes', _request('boots', [arch_name]))
    plan.step('tree')
    plan.step('root', arch.name)
    for number in range(1, len(all_patches(read_order(topics_folder()))) + 1):
        variant = f'prefix-{number}'
        plan.step('build', arch.name, DEFAULT, variant)
        plan.guest(GuestPlan(f'{arch.name}-{variant}', arch.name, variant, (),
                             make_settings(arch, flavour, variant, timeout=120, hugetlb=''), (variant,)))
        plan.step('forget', *kernel_name(arch.name, flavour, variant).split())
    return plan


def plan_repeat(archs: list[str], copies: int) -> Plan:
    """Each guest of check's plans, so many times, alone: one round of all guests after another."""
    if copies < 1:
        raise HarnessError(f'N={copies}: a guest runs at least once')
    parts = [plan_run(archs, DEFAULT), plan_mutants(DEFAULT)]
    plan = Plan('repeat', _request('repeat', archs, n=copies))
    for part in parts:
        for step in part.steps:
            if not step.startswith('guest ') and step.split()[1:2] in ([], *([a] for a in archs)):
                plan.step(step)
        plan.guests += [GuestPlan(f'{part.name}-{g.name}', g.arch, g.variant, g.job, g.settings, g.what)
                        for g in part.guests if g.arch in archs]
    for copy in range(1, copies + 1):
        for guest in plan.guests:
            plan.step('guest', guest.name, str(copy))
    return plan


def plan_boot(arch_name: str, variant: str, flavour_name: str) -> Plan:
    """A guest as run has it, with a shell."""
    [arch] = qemu_archs([arch_name])
    if variant not in ('base', 'series'):
        raise HarnessError(f"unknown VARIANT '{variant}'; choose one of: base series")
    flavour = read_flavour(flavour_name)
    topics = read_order(topics_folder())
    plan = Plan('boot', _request('boot', [arch_name], flavour=flavour_name, variants=[variant]))
    for step in (['tree'], ['build', arch.name, flavour.name, variant], ['selftests', arch.name, 'tests'], ['root', arch.name]):
        plan.step(*step)
    settings = make_settings(arch, flavour, variant, **_disks(set(topics), arch, flavour))
    plan.guest(GuestPlan(f'{arch.name}-{variant}', arch.name, variant, (), settings))
    return plan


def plan_of_environment(verb: str, archs: list[str]) -> Plan:
    """The plan of a verb with the filters of the environment: TOPIC= TEST= MUTANT= FLAVOUR= VARIANT= CATEGORY= N=."""
    def env(name: str) -> str:
        return os.environ.get(name) or ''
    flavour = env('FLAVOUR') or DEFAULT
    if verb != 'mutants' and not archs:
        raise HarnessError(f'usage: plan {verb} ARCH...')
    if verb in ('kselftest', 'boots', 'boot') and len(archs) != 1:
        raise HarnessError(f'usage: plan {verb} ARCH')
    if env('N') and not env('N').isdigit():
        raise HarnessError(f"N='{env('N')}' is not a number")
    if verb == 'kselftest':
        if env('VARIANT') not in ('', 'base', 'series'):
            raise HarnessError(f"unknown VARIANT '{env('VARIANT')}'; choose one of: base series")
        if env('TARGETS') not in ('', 'mm', *OUTSIDE):
            raise HarnessError(f"unknown TARGETS '{env('TARGETS')}'; choose one of: {' '.join(['mm', *OUTSIDE])}")
    check_topic(read_order(topics_folder()), env('TOPIC'))
    plans = {
        'run': lambda: plan_run(archs, flavour, env('TOPIC'), env('TEST')),
        'mutants': lambda: plan_mutants(flavour, env('TOPIC'), env('MUTANT')),
        'bench': lambda: plan_bench(archs, env('TOPIC'), env('FLAVOUR') or BENCH),
        'kselftest': lambda: plan_kselftest(archs[0], [env('VARIANT')] if env('VARIANT') else ['base', 'series'],
                                            env('CATEGORY'), env('TARGETS') or 'mm'),
        'boots': lambda: plan_boots(archs[0]),
        'repeat': lambda: plan_repeat(archs, int(env('N') or 10)),
        'boot': lambda: plan_boot(archs[0], env('VARIANT') or 'series', flavour),
    }
    return plans[verb]()
