# SPDX-License-Identifier: GPL-2.0
"""Boot one guest of a plan. Its result is a folder that appears whole:

    job      the lines that guest/init ran        smp        the number of processors
    console  the kernel's log                     verdict    guest/init's own words
    ktap     the output of the tests              ended      "exit STATUS" or "timeout"
    qemu     QEMU's own messages                  key        see keys.py
    meta.json   kernel, configuration, series, compiler, QEMU, host, job, settings, times

Nothing is judged here.
"""

import json
import os
import platform
import select
import shlex
import shutil
import signal
import subprocess
from datetime import datetime, timezone
from pathlib import Path

from .arch import Arch, find_arch
from .errors import HarnessError, read_text
from .keys import is_current, key_of, sha256_of
from .plan import GuestPlan, Plan, out_folder
from .qemu import command_of, find_tool, kernel_folder, make_disks, qemu_version
from .stage import clock

PATIENCE = 5   # seconds between the signals that end a guest


def find_guest(plan: Plan, name: str) -> GuestPlan:
    """The guest of that name."""
    for guest in plan.guests:
        if guest.name == name:
            return guest
    raise HarnessError(f"unknown guest '{name}'; {plan.folder()}/guests has: {' '.join(g.name for g in plan.guests)}")


def result_folder(plan: Plan, guest: GuestPlan, copy: str = '') -> Path:
    return plan.folder() / guest.name / copy


def need_image(guest: GuestPlan) -> None:
    if not (kernel_folder(guest) / 'image').is_file():
        raise HarnessError(f'no kernel {kernel_folder(guest)}/image; build it first, as make run does')


def make_initrd(guest: GuestPlan, folder: Path) -> None:
    """The guest's root, and the job behind it."""
    root = out_folder() / 'root' / f'{guest.settings["ROOT"]}.cpio'
    if not root.is_file():
        raise HarnessError(f'no root {root}; run scripts/root {guest.arch}')
    job = subprocess.run([find_tool('cpio'), '-o', '-H', 'newc', '--owner=0:0', '--quiet'], input=b'job\n', cwd=folder,
                         capture_output=True, check=False)
    if job.returncode:
        raise HarnessError(f'cpio failed: {" ".join(job.stderr.decode().split())}')
    (folder / 'initrd').write_bytes(root.read_bytes() + job.stdout)


def prepare(guest: GuestPlan, arch: Arch, folder: Path) -> None:
    """The files that a guest's command wants."""
    need_image(guest)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in ('console', 'ktap', 'verdict', 'qemu'):
        (folder / name).touch()
    if arch.has_qemu:
        (folder / 'job').write_text(''.join(f'{line}\n' for line in guest.job))
        (folder / 'smp').write_text(guest.settings['SMP'] + '\n')
        make_initrd(guest, folder)
        make_disks(guest, folder)


def wait_limited(pid: int, seconds: float) -> bool:
    """Wait for a child to end, but not to be reaped. False if it did not."""
    fd = os.pidfd_open(pid)
    try:
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        return bool(poll.poll(seconds * 1000))
    finally:
        os.close(fd)


def run_limited(command: list[str], limit: float, output: Path) -> tuple[str, float]:
    """Run it; how it ended: 'exit STATUS', or 'timeout' if the limit ended it and nobody else did; and its core-seconds."""
    with output.open('wb') as file:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT)
    in_time = wait_limited(process.pid, limit)
    for number in () if in_time else (signal.SIGTERM, signal.SIGKILL):
        os.kill(process.pid, number)
        if wait_limited(process.pid, PATIENCE):
            break
    # the times of this child only: other guests may run beside it
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    rc = process.returncode
    return f'exit {128 - rc if rc < 0 else rc}' if in_time else 'timeout', usage.ru_utime + usage.ru_stime


def git_tree(variant: str) -> str:
    """The id of the source tree of a variant, '' if out/linux is not there."""
    linux = out_folder() / 'linux'
    if not (linux / '.git').exists():
        return ''
    commit = f'refs/mm/{variant}'.replace('/through-', '/topics/')
    if variant.startswith('prefix-'):
        number = int(variant.removeprefix('prefix-'))
        commits = subprocess.run(['git', '-C', str(linux), 'rev-list', '--reverse', 'refs/mm/base..refs/mm/series'],
                                 capture_output=True, text=True, check=True).stdout.split()
        commit = commits[number - 1]
    return subprocess.run(['git', '-C', str(linux), 'rev-parse', '-q', '--verify', f'{commit}^{{tree}}'],
                          capture_output=True, text=True, check=True).stdout.strip()


def host() -> dict[str, object]:
    """The machine that ran the guest."""
    models = [line.partition(':')[2].strip() for line in read_text(Path('/proc/cpuinfo')).splitlines()
              if line.startswith('model name')]
    return {'cpu': models[0] if models else platform.processor(), 'cpus': len(os.sched_getaffinity(0)),
            'machine': platform.machine(), 'kernel': platform.release()}


def meta_of(guest: GuestPlan, arch: Arch, key: str, command: list[str]) -> dict[str, object]:
    """What a result is of."""
    kernel = kernel_folder(guest)
    config = kernel / 'config'
    return {'guest': guest.name, 'arch': guest.arch, 'variant': guest.variant, 'what': list(guest.what), 'key': key,
            'kernel': guest.settings['KERNEL'], 'image_sha256': sha256_of(kernel / 'image'),
            'config_sha256': sha256_of(config) if config.is_file() else '', 'tree': git_tree(guest.variant),
            'compiler': read_text(kernel / 'compiler').strip(),
            'qemu': qemu_version(arch), 'host': host(), 'job': list(guest.job), 'settings': guest.settings,
            'command': command}


def boot_guest(plan: Plan, guest: GuestPlan, copy: str = '', force: bool = False) -> bool:
    """Boot it, unless its result is there and is today's. False if the result was kept."""
    arch = find_arch(guest.arch)
    need_image(guest)
    key = key_of(guest, arch)
    folder = result_folder(plan, guest, copy)
    if not force and is_current(folder, key, arch, any_end=bool(copy)):
        print(f'{guest.name}: kept, nothing that it depends on has changed', flush=True)
        return False
    new = folder.with_name(folder.name + '.new')
    try:
        prepare(guest, arch, new)
        command = command_of(guest, arch, new)
        meta = meta_of(guest, arch, key, command)
        start, started = clock(), datetime.now(timezone.utc)
        output = new / ('qemu' if arch.has_qemu else 'console')
        ended, cores = run_limited(command, float(guest.settings['TIMEOUT']), output)
        meta.update(start=started.isoformat(timespec='seconds'), seconds=round(clock() - start, 1),
                    core_seconds=round(cores, 1), ended=ended)
        for path in (new / 'initrd', new / 'monitor', *new.glob('*.img')):
            path.unlink(missing_ok=True)
        (new / 'ended').write_text(ended + '\n')
        (new / 'key').write_text(key + '\n')
        (new / 'meta.json').write_text(json.dumps(meta, indent=1) + '\n')
        shutil.rmtree(folder, ignore_errors=True)
        new.rename(folder)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    print(f'{guest.name}: {ended} after {meta["seconds"]} s, {meta["core_seconds"]} core-seconds', flush=True)
    return True


def shell_in(plan: Plan, guest: GuestPlan, dry: bool, gdb: str) -> int:
    """A guest with a shell on this terminal. gdb: '' or the port on which QEMU waits for a debugger."""
    arch = find_arch(guest.arch)
    folder = result_folder(plan, guest)
    wait = ['-S', '-gdb', f'tcp::{gdb}'] if gdb else []
    if gdb:
        vmlinux = kernel_folder(guest) / 'vmlinux'
        native = platform.machine() == arch.get('HOST')
        print(f"{'gdb' if native else 'gdb-multiarch'} {vmlinux} -ex 'target remote :{gdb}'", flush=True)

    def command() -> list[str]:
        return [*command_of(guest, arch, folder, append='mm.shell', console='mon:stdio'), *wait]
    if dry:
        print(shlex.join(command()))
        return 0
    prepare(guest, arch, folder)
    try:
        return subprocess.run(command(), check=False).returncode
    finally:
        shutil.rmtree(folder)
