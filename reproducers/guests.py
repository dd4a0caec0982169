# SPDX-License-Identifier: GPL-2.0
"""Build the reproducers, boot a kernel image with them, and read what they said."""

import gzip
import hashlib
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections import Counter
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from harness.arch import architectures  # noqa: E402
from harness.errors import HarnessError  # noqa: E402, F401

# A guest whose console stays silent for so long is ended, in seconds.
SILENCE = 180
# Bytes of a guest's swap.
SWAP = 64 << 20
DEATH = re.compile(r'Kernel panic - not syncing.*|kernel BUG at .*|BUG: .*|Oops.*|Internal error: .*|'
                   r'Unable to handle kernel .*|general protection fault.*|Unhandled fault.*')
# The kernel complains, and may go on.
SPLAT = re.compile(r'WARNING: .*|BUG: .*|INFO: rcu.* detected stalls.*|INFO: task .* blocked for more.*')
NO_INITRAMFS = re.compile(r'VFS: Unable to mount root fs|No working init found|Requested init .* failed|'
                          r'Initramfs unpacking failed')


class Trouble(Exception):
    """One line that says what to do."""


class Outcome(Enum):
    """What a reproducer said of a kernel; of several runs the first of these counts."""
    DIED = 'kernel died'
    AFFECTED = 'AFFECTED'
    CANNOT_SAY = 'cannot say'
    NO_FEATURE = 'no such feature'
    RIGHT = 'not affected'


@dataclass(frozen=True)
class Arch:
    """How an architecture is built for and booted."""
    name: str
    debian: str
    flavour: str        # the end of the names of Debian's packages
    compiler: str
    qemu: tuple[str, ...]
    console: str
    magic: tuple[int, bytes]


# Of each architecture with stock kernels: the end of their packages' names, and the magic of an image.
STOCK = {
    'x86_64': ('cloud-amd64', (0x202, b'HdrS')),
    'arm64': ('cloud-arm64', (0x38, b'ARM\x64')),
    'riscv64': ('riscv64', (0x38, b'RSC\x05')),
}


def _arch(name: str) -> Arch:
    """The architecture, as guest/arch describes it."""
    get = architectures()[name].get
    flavour, magic = STOCK[name]
    return Arch(name, get('DEBARCH'), flavour, get('CROSS_PREFIX') + 'gcc',
                (get('QEMU'), '-machine', get('MACHINE'), '-cpu', get('CPU')), get('CONSOLE'), magic)


ARCHES = {name: _arch(name) for name in STOCK if name in architectures()}


@dataclass
class Said:
    """One reproducer on one kernel: the worst of its runs, and how often each outcome was seen."""
    outcome: Outcome
    line: str
    output: list[str] = field(default_factory=list)
    runs: Counter[Outcome] = field(default_factory=Counter)
    race: str = ''
    splat: str = ''

    @property
    def cell(self) -> str:
        """The outcome, with its share of the runs if they differ."""
        return self.outcome.value + (f' ({self.runs[self.outcome]} of {self.runs.total()})' if len(self.runs) > 1 else '')


RACE = re.compile(r'(\d+) attempts, (\d+) overlaps, (\d+) (.*)')
TOO_FEW = re.compile(r'cannot say: too few overlaps: \d+ of (\d+) wanted')


def sum_up(runs: list[Said]) -> Said:
    """All runs of a reproducer as one.  The overlaps that a race wants may come from all of its runs together."""
    races = [found for said in runs for line in said.output if (found := RACE.match(line))]
    attempts, overlaps, bad = (sum(int(found.group(n)) for found in races) for n in (1, 2, 3))
    race = f'{attempts} attempts, {overlaps} overlaps, {bad} {races[0].group(4)}' if races else ''
    for said in runs:
        few = TOO_FEW.match(said.line)
        if few and len(runs) > 1 and not bad and overlaps >= int(few.group(1)):
            said.outcome, said.line = Outcome.RIGHT, f'not affected: {race}, in {len(runs)} runs'
    worst = min(runs, key=lambda s: list(Outcome).index(s.outcome))
    return Said(worst.outcome, worst.line, worst.output, Counter(s.outcome for s in runs), race,
                next((s.splat for s in runs if s.splat), ''))


@dataclass
class Guest:
    """What the console of one guest says."""
    said: dict[str, Said] = field(default_factory=dict)
    version: str = ''
    complete: bool = False


def plain_image(image: Path, folder: Path) -> Path:
    """The image as QEMU takes it: unpacked, if gzip or an EFI stub that unpacks itself (CONFIG_EFI_ZBOOT) holds it."""
    try:
        data = image.read_bytes()
    except OSError as error:
        raise Trouble(f'{image}: {error.strerror}; KERNEL= wants a kernel image, such as /boot/vmlinuz-VERSION') from error
    if data[:2] == b'\x1f\x8b':
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise Trouble(f'{image} is cut off or damaged ({error}); fetch it again') from error
    elif data[:2] == b'MZ' and data[4:8] == b'zimg':
        offset, size = struct.unpack_from('<II', data.ljust(16, b'\0'), 8)
        kind = data[24:56].rstrip(b'\0').decode(errors='replace')
        if kind not in ('gzip', 'xz', 'zstd', 'lzma'):
            raise Trouble(f'{image} is packed by {kind!r}, which this program does not unpack; unpack it first')
        need(kind)
        done = subprocess.run([kind, '-dc'], input=data[offset:offset + size], capture_output=True, check=False)
        if done.returncode:
            raise Trouble(f'{image} is cut off or damaged ({kind} cannot unpack it); fetch it again')
        data = done.stdout
    else:
        return image
    plain = folder / f'{hashlib.sha256(str(image.resolve()).encode()).hexdigest()[:16]}.image'
    folder.mkdir(parents=True, exist_ok=True)
    plain.write_bytes(data)
    return plain


def arch_of(image: Path, plain: Path) -> Arch:
    """The architecture of a kernel image, which is unpacked at @plain."""
    with plain.open('rb') as f:
        head = f.read(0x210)
    for arch in ARCHES.values():
        offset, magic = arch.magic
        if head[offset:offset + len(magic)] == magic:
            return arch
    raise Trouble(f'{image} is no kernel image of {", ".join(ARCHES)}; KERNEL= wants a bzImage or an Image')


def need(*tools: str) -> None:
    missing = [t for t in tools if not shutil.which(t)]
    if missing:
        raise Trouble(f'missing {" ".join(missing)}; run "scripts/packages affected ARCH" as root, '
                      f'where ARCH is the one of the kernel: {", ".join(ARCHES)}')


def build(arch: Arch, names: list[str], folder: Path) -> Path:
    """An initramfs with init and the reproducers."""
    need(arch.compiler, 'cpio')
    folder.mkdir(parents=True, exist_ok=True)
    root = Path(tempfile.mkdtemp(prefix='root-', dir=folder))
    try:
        (root / 'bin').mkdir()
        (root / 'dev').mkdir()
        for name in ['init', *names]:
            out = root / 'init' if name == 'init' else root / 'bin' / name
            command = [arch.compiler, '-O1', '-s', '-static', '-pthread', '-o', str(out), str(HERE / f'{name}.c')]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                why = (done.stderr.splitlines() or ['it said nothing'])[0]
                raise Trouble(f'{arch.compiler} does not build reproducers/{name}.c: {why}')
        listing = '\n'.join(str(p.relative_to(root)) for p in sorted(root.rglob('*')))
        initrd = folder / f'{arch.name}.cpio'
        with initrd.open('wb') as f:
            done = subprocess.run(['cpio', '-o', '-H', 'newc', '--owner=0:0', '--quiet'], cwd=root, input=listing.encode(),
                                  stdout=f, stderr=subprocess.PIPE, check=False)
        if done.returncode:
            raise Trouble(f'cpio failed: {done.stderr.decode().strip()}; is {folder} full?')
        return initrd
    finally:
        shutil.rmtree(root)


def two_nodes(arch: Arch) -> list[str]:
    """
    Options of QEMU: half of the memory, and a processor, in each of two NUMA nodes.  A kernel without ACPI does not see
    them, and gets numa=fake=2.  So does riscv64, where QEMU gives each node an interrupt controller, and virtio hangs.
    """
    if arch.name == 'riscv64':
        return []
    return [word for n in range(2) for word in ('-object', f'memory-backend-ram,id=node{n},size=1024M',
                                                '-numa', f'node,nodeid={n},memdev=node{n},cpus={n}')]


def swap_disks(folder: Path) -> list[str]:
    """Options of QEMU: a disk for swap, as NVMe, for which Debian's cloud kernels have a driver, and as virtio."""
    disk = folder / 'swap.img'
    if not disk.exists():
        partial = disk.with_suffix('.partial')
        with partial.open('wb') as f:
            f.truncate(SWAP)
        mkswap = shutil.which('mkswap', path=f'{os.environ["PATH"]}:/sbin:/usr/sbin')
        if not mkswap:
            raise Trouble('missing mkswap; install the package util-linux')
        done = subprocess.run([mkswap, str(partial)], capture_output=True, text=True, check=False)
        if done.returncode:
            raise Trouble(f'mkswap failed: {done.stderr.strip()}; is {folder} full?')
        partial.rename(disk)
    drive = f'file={disk},if=none,format=raw,snapshot=on,file.locking=off'
    return ['-drive', f'{drive},id=nvme', '-device', 'nvme,drive=nvme,serial=swap',
            '-drive', f'{drive},id=virtio', '-device', 'virtio-blk-pci,drive=virtio,serial=swap']


def boot(arch: Arch, image: Path, initrd: Path, names: list[str], seconds: int, times: int, console: Path,
         nodes: bool = False) -> str:
    """
    Boot the image with the reproducers, each so many times, with two NUMA nodes if @nodes; return why the guest was ended
    from here, or ''.
    """
    need(arch.qemu[0])
    console.parent.mkdir(parents=True, exist_ok=True)
    console.write_bytes(b'')
    messages = console.with_suffix('.qemu')
    cmdline = (f'console={arch.console} panic=-1 oops=panic loglevel=7 printk.devkmsg=on '
               f'{"numa=fake=2 " if nodes else ""}SECONDS={seconds} N={times} -- {" ".join(names)}')
    # sockets: the MP table of x86_64, for kernels without ACPI, lists no other processors
    command = [*arch.qemu, '-accel', 'tcg,thread=multi', '-smp', '2,sockets=2,cores=1,threads=1', '-m', '2048',
               *(two_nodes(arch) if nodes else []), '-nodefaults', '-no-reboot', '-display', 'none', '-kernel', str(image), '-initrd', str(initrd), '-serial', f'file:{console}',
               *swap_disks(console.parent), '-append', cmdline]
    with messages.open('wb') as out, subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out,
                                                      stderr=subprocess.STDOUT) as qemu:
        try:
            ended = _wait(qemu, console, SILENCE + seconds)
        finally:
            qemu.kill()
    if not ended and qemu.returncode:
        return f'{arch.qemu[0]} ended with {qemu.returncode}: {messages.read_text(errors="replace").strip()[-200:]}'
    return ended


def _wait(qemu: subprocess.Popen, console: Path, silence: int) -> str:
    """Wait for the end of the guest, or for a console that stays silent."""
    size, since = 0, time.monotonic()
    while qemu.poll() is None:
        if console.stat().st_size != size:
            size, since = console.stat().st_size, time.monotonic()
        if time.monotonic() - since > silence:
            return f'the console was silent for {silence} seconds'
        time.sleep(0.2)
    return ''


def outcome_of(status: str, last: str) -> Outcome:
    """What an exit status and the last line mean."""
    if status == 'stuck':
        return Outcome.DIED
    known = {'0': Outcome.RIGHT, '1': Outcome.AFFECTED}
    if status in known:
        return known[status]
    return Outcome.NO_FEATURE if last.startswith('cannot say: no such feature') else Outcome.CANNOT_SAY


def parse(text: str, ended: str = '') -> Guest:
    """Read the console of a guest that is over.  A kernel that misses what the test rests on is Trouble."""
    guest, running, output, death, splat = Guest(), '', [], '', ''
    runs: dict[str, list[Said]] = {}

    def over(outcome: Outcome, line: str) -> None:
        runs.setdefault(running, []).append(Said(outcome, line, output, splat=splat))

    for line in text.splitlines():
        found = re.search(r'affected: (\w+) ?(.*)', line)
        word, rest = found.groups() if found else ('', '')
        if word == 'missing':
            raise Trouble(f'the kernel has no {rest}')
        if word == 'version':
            guest.version = rest
        elif word == 'begin':
            running, output, splat = rest.strip(), [], ''
        elif word == 'say':
            output.append(rest.removeprefix(running).strip())
        elif word == 'end':
            status = rest.split()[-1]
            last = output[-1] if output else f'ended with status {status} and said nothing'
            if status == 'stuck':
                last = death or 'the program hangs in the kernel, and SIGKILL does not end it'
            over(outcome_of(status, last), last)
            running = ''
        elif word == 'complete':
            guest.complete = True
        else:
            death = death or first(DEATH, line)
            splat = splat or first(SPLAT, line)
    if running and not guest.complete:
        over(Outcome.DIED, death or ended or 'the guest ended without a word')
    guest.said = {name: sum_up(each) for name, each in runs.items()}
    if not guest.complete and not guest.said:
        if NO_INITRAMFS.search(text):
            raise Trouble('the kernel does not start an initramfs (CONFIG_BLK_DEV_INITRD)')
        raise Trouble('the kernel did not come to its init: ' + (death or ended or 'nothing on its console'))
    return guest


def first(pattern: re.Pattern[str], line: str) -> str:
    """What the pattern finds in the line, or ''."""
    found = pattern.search(line)
    return found.group(0) if found else ''
