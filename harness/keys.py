# SPDX-License-Identifier: GPL-2.0
"""The key of a guest's result: a sha256 of all that the result depends on, and of nothing else.

The key covers the image, the programs of the root that the job uses, the job, the version of QEMU, its plugin, the
settings and the timeouts. A result with today's key and a normal end is today's result.
"""

import hashlib
import re
from pathlib import Path

from .arch import Arch
from .errors import HarnessError, need_text, read_text
from .plan import GuestPlan, out_folder
from .qemu import command_of, kernel_folder, plugin_path, qemu_version

KEY_FORMAT = '1'    # another one makes every result stale


def sha256_of(path: Path) -> str:
    """The sha256 of a file."""
    try:
        with path.open('rb') as file:
            return hashlib.file_digest(file, 'sha256').hexdigest()
    except OSError as error:
        raise HarnessError(f'cannot read {path}: {error.strerror}; build it first, as make run does') from error


def root_entries(guest: GuestPlan) -> dict[str, str]:
    """{path: sha256} of the files in the guest's root, as scripts/root listed them."""
    lines = need_text(out_folder() / 'root' / f'{guest.settings["ROOT"]}.manifest').splitlines()
    return {path: digest for digest, path in (line.split(None, 1) for line in lines)}


def used_of_root(job: tuple[str, ...], entries: dict[str, str]) -> list[str]:
    """'SHA256 PATH' of each file of the root that a job uses; a program that is not there is noted as absent."""
    paths = {'./init', './bin/busybox'}
    for line in job:
        word = line.split()
        if word[0] in ('selftest', 'bench', 'list'):
            paths.add(f'./tests/{word[1]}')
        elif word[0] == 'outside':
            paths |= {path for path in entries if path.startswith('./outside/')}
        elif word[0] == 'suite':
            paths |= {'./bin/bash', *(path for path in entries if path.startswith('./kselftest/'))}
    return [f'{entries.get(path, "absent")} {path}' for path in sorted(paths)]


def key_of(guest: GuestPlan, arch: Arch) -> str:
    """The key of a guest's result, from what lies in out/ now."""
    lines = [f'format {KEY_FORMAT}', f'arch {arch.name}', f'image {sha256_of(kernel_folder(guest) / "image")}',
             f'qemu {qemu_version(arch, guest.settings.get("QEMU_VERSION", ""))}']
    if arch.has_qemu:
        lines += used_of_root(guest.job, root_entries(guest))
    lines += [f'job {line}' for line in guest.job]
    if plugin := plugin_path(guest):
        lines.append(f'plugin {sha256_of(plugin)}')
    # The contents of image, root and plugin are part of the key, their places are not.
    lines += [word.replace(str(kernel_folder(guest)), 'KERNEL').replace(str(out_folder()), 'OUT')
              for word in command_of(guest, arch, Path('FOLDER'))]
    lines += [f'{name} {value}' for name, value in sorted(guest.settings.items()) if name not in ('KERNEL', 'ROOT')]
    return hashlib.sha256('\n'.join(lines).encode()).hexdigest()


def ended_well(folder: Path, arch: Arch) -> bool:
    """Is the result data that a second boot would give as well? Not if the guest or a test in it was ended by a limit,
    and not if the guest stopped before its job was done, unless its kernel panicked."""
    if read_text(folder / 'ended').strip() != 'exit 0':
        return False
    console = read_text(folder / 'console')
    if not arch.has_qemu:
        return 'KTAP version' in console
    verdict = read_text(folder / 'verdict').splitlines()
    if any(re.fullmatch(r'ran \S+ (124|143)', line) for line in verdict):
        return False
    return verdict[-1:] == ['complete'] or 'Kernel panic - not syncing' in console


def is_current(folder: Path, key: str, arch: Arch, any_end: bool = False) -> bool:
    """Has the folder a result with that key? any_end: also one that a limit ended, as `repeat` counts those."""
    if read_text(folder / 'key').strip() != key:
        return False
    return bool(read_text(folder / 'ended')) if any_end else ended_well(folder, arch)
