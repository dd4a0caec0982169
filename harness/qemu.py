# SPDX-License-Identifier: GPL-2.0
"""The command that runs a guest: QEMU, or the image itself (UML)."""

import os
import re
import shutil
import subprocess
from pathlib import Path

from .arch import Arch
from .errors import HarnessError
from .plan import GuestPlan, kernel_path, out_folder

DISK_TOOLS = {'ext4': ['mkfs.ext4', '-q'], 'xfs': ['mkfs.xfs', '-q'], 'swap': ['mkswap', '-q']}
PORTS = ('ktap', 'verdict')


def kernel_folder(guest: GuestPlan) -> Path:
    return kernel_path(guest.settings['KERNEL'])


def plugin_path(guest: GuestPlan) -> Path | None:
    """The plugin of QEMU that a guest's flavour asks for, as scripts/userspace made it."""
    name = guest.settings.get('PLUGIN')
    return out_folder() / 'plugin' / f'{name}.so' if name else None


def find_tool(name: str, path: str = '') -> str:
    """The path of a program; an error that names the command which installs it."""
    found = shutil.which(name, path=path or None)
    if not found:
        raise HarnessError(f"missing {name}; run 'scripts/packages all' as root")
    return found


def qemu_version(arch: Arch, least: str = '') -> str:
    """The version of an architecture's QEMU; an error if it is older than `least`. '' without QEMU."""
    if not arch.has_qemu:
        return ''
    said = subprocess.run([find_tool(arch.get('QEMU')), '--version'], capture_output=True, text=True, check=False,
                          stdin=subprocess.DEVNULL).stdout
    match = re.search(r'^QEMU emulator version (\S+)', said, re.M)
    version = match.group(1) if match else 'unknown'
    if least and (not match or int(version.split('.')[0]) < int(least)):
        raise HarnessError(f"{arch.get('QEMU')} has version {version}, and this guest wants {least}; put a newer one into PATH")
    return version


def disks_of(guest: GuestPlan) -> list[tuple[str, int]]:
    """(kind, MiB) of DISKS=."""
    disks = []
    for disk in guest.settings.get('DISKS', '').split():
        kind, _, size = disk.partition(':')
        if kind not in DISK_TOOLS or not size.isdigit():
            raise HarnessError(f"unknown disk '{disk}'; want KIND:MIB with a KIND of: {' '.join(DISK_TOOLS)}")
        disks.append((kind, int(size)))
    return disks


def make_disks(guest: GuestPlan, folder: Path) -> None:
    """The disk images of a guest."""
    for kind, size in disks_of(guest):
        image = folder / f'{kind}.img'
        with image.open('wb') as file:
            file.truncate(size << 20)
        tool, *options = DISK_TOOLS[kind]
        done = subprocess.run([find_tool(tool, f'{os.environ["PATH"]}:/sbin:/usr/sbin'), *options, str(image)],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode:
            raise HarnessError(f'{tool} failed: {" ".join(done.stdout.split())}; is there space in {folder}?')


def kernel_command_line(guest: GuestPlan, arch: Arch) -> str:
    """What the kernel and guest/init are told."""
    words = f'console={arch.get("CONSOLE")} panic=-1 oops=panic kunit.autorun=0 kunit.enable=1 mm.end={arch.get("END")}'
    return f'{words} {guest.settings.get("APPEND", "")}'.rstrip()


def um_command(guest: GuestPlan) -> list[str]:
    """UML runs KUnit as it boots; its console has the KTAP."""
    return [str(kernel_folder(guest) / 'image'), 'mem=256M', 'console=tty', 'kunit.enable=1', 'kunit.autorun=1',
            'kunit_shutdown=halt', 'panic=-1', *guest.settings.get('APPEND', '').split()]


def initrd_of(guest: GuestPlan, folder: Path) -> tuple[list[str], list[str]]:
    """The words for the initrd, of QEMU's command line and of the kernel's.

    With INITRD_AT= it lies at that address, and only the kernel's command line says where.
    """
    initrd, address = folder / 'initrd', guest.settings.get('INITRD_AT')
    if not address:
        return ['-initrd', str(initrd)], []
    # The key of a result, and DRY=1, ask for the command before there is an initrd.
    size = str(initrd.stat().st_size) if initrd.is_file() else 'SIZE'
    return ['-device', f'loader,file={initrd},addr={address},force-raw=on'], [f'initrd={address},{size}']


def monitor_of(guest: GuestPlan, folder: Path) -> list[str]:
    """With MONITOR=: the guest talks to QEMU's monitor by the port of that name, which is the other end of a socket."""
    if not guest.settings.get('MONITOR'):
        return []
    path = folder / 'monitor'
    return ['-chardev', f'socket,id=monitor,path={path},server=on,wait=off', '-mon', 'chardev=monitor,mode=readline',
            '-chardev', f'socket,id=monitor-port,path={path}', '-device', 'virtserialport,chardev=monitor-port,name=monitor']


def memory_of(guest: GuestPlan) -> tuple[str, list[str]]:
    """The words for the memory: what follows -machine MACHINE, and the others.

    A guest with INITRD_AT= may have more memory than the host: what the guest does not touch is not reserved.
    """
    memory, hotplug = int(guest.settings['MEMORY']), int(guest.settings.get('HOTPLUG', 0))
    words = ['-m', f'{memory}M,maxmem={memory + hotplug}M']
    if not guest.settings.get('INITRD_AT'):
        return '', words
    return ',memory-backend=memory', [*words, '-object', f'memory-backend-ram,id=memory,size={memory}M,reserve=off']


def qemu_command(guest: GuestPlan, arch: Arch, folder: Path, *, append: str = '', console: str = '') -> list[str]:
    """QEMU's command line; files are in `folder`. console: the device of -serial, the file by default."""
    s = guest.settings
    # The same everywhere: the overlaps of a race, and a guest's time, do not depend on KVM in the host.
    accel = ['-accel', 'tcg,thread=multi']
    if s.get('ICOUNT'):
        # One thread and a clock that counts instructions: the same figures on any machine.
        accel = ['-icount', 'shift=0,sleep=off', '-accel', 'tcg,thread=single']
    smp, hotplug = s['SMP'], int(s.get('HOTPLUG', 0))
    backend, memory = memory_of(guest)
    initrd, more = initrd_of(guest, folder)
    command = [arch.get('QEMU'), '-machine', s['MACHINE'] + backend, '-cpu', s['CPU'], *accel,
               # The MP table that x86_64 boots with has one processor a socket.
               '-smp', f'{smp},sockets={smp},cores=1,threads=1', *memory,
               '-nodefaults', '-no-reboot', '-display', 'none',
               '-kernel', str(kernel_folder(guest) / 'image'), *initrd,
               '-device', 'virtio-serial-pci']
    for port in PORTS:
        command += ['-chardev', f'file,id={port},path={folder / port}', '-device', f'virtserialport,chardev={port},name={port}']
    if hotplug:
        device = ',id=virtio-mem' if s.get('MONITOR') else ''
        command += ['-object', f'memory-backend-ram,id=hotplug,size={hotplug}M',
                    '-device', f'virtio-mem-pci,memdev=hotplug,requested-size={hotplug}M{device}']
    command += monitor_of(guest, folder)
    for kind, _ in disks_of(guest):
        command += ['-drive', f'file={folder}/{kind}.img,if=none,format=raw,id={kind}',
                    '-device', f'virtio-blk-pci,drive={kind},serial={kind}']
    if plugin := plugin_path(guest):
        command += ['-plugin', f'{plugin},map={kernel_folder(guest)}/System.map,out={folder}/{plugin.stem}']
    line = ' '.join([kernel_command_line(guest, arch), *more, append]).rstrip()
    return [*command, '-serial', console or f'file:{folder}/console', '-append', line]


def command_of(guest: GuestPlan, arch: Arch, folder: Path, **more: str) -> list[str]:
    """The command that runs a guest with its files in that folder."""
    return qemu_command(guest, arch, folder, **more) if arch.has_qemu else um_command(guest)
