#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Is a kernel affected?  Boot stock kernels, or KERNEL=, with all reproducers, and print fix x kernel."""

import argparse
import hashlib
import json
import os
import sys
from pathlib import Path
from typing import NoReturn

import fixes
import guests
import kernels
import report
import seen
import stable
from guests import ARCHES, Arch, HarnessError, Trouble
from report import Kernel

SECONDS = 10        # for a race
LONG_SECONDS = 60   # for a race that had too few overlaps

FIXES_MD = """<!-- Made by "reproducers/affected.py --table". -->
# Fixes, and the answers of stock kernels

## Which program shows which bug

{}
## Stock kernels

Debian's newest kernels of each series, in QEMU. **AFFECTED**: the bug is there. no: it is not. -: no such feature, or the
kernel is built without it (Debian's 6.1 for cloud machines has no CONFIG_MEMORY_FAILURE). ?: the program cannot say.
"Shown since" is the first release where the program shows the bug.

{}"""


def say(text: str) -> None:
    """A line on standard error."""
    print(f'affected: {text}', file=sys.stderr)


def examine(kernel: Kernel, names: list[str], initrd: Path, folder: Path, seconds: int, times: int,
            nodes: bool = False) -> None:
    """Run those reproducers; if one of them kills the kernel, go on with the next in a new guest."""
    rest = list(names)
    for number in range(len(names)):
        guest_name = f'{kernel.arch.name}-{kernel.label}-{"+".join(rest)[:40]}-{seconds}-{number}'
        console = folder / f'{guest_name.replace("/", "_")}.console'
        ended = guests.boot(kernel.arch, kernel.image, initrd, rest, seconds, times, console, nodes)
        guest = guests.parse(console.read_text(errors='replace'), ended)
        kernel.version = guest.version or kernel.version
        kernel.said.update(guest.said)
        rest = [n for n in rest if n not in guest.said]
        if not rest:
            return
        if not guest.said:
            break
    raise Trouble(f'{", ".join(rest)} did not run; see {folder}')


def run(kernel: Kernel, todo: list[fixes.Fix], initrd: Path, folder: Path, args: argparse.Namespace) -> None:
    """All reproducers on one kernel; what goes wrong is the kernel's trouble."""
    started = os.times()
    try:
        kernel.sha256 = hashlib.sha256(kernel.image.read_bytes()).hexdigest()
        together = [f.reproducer for f in todo if not f.alone and not f.nodes]
        nodes = [f.reproducer for f in todo if f.nodes]
        for names in [together, nodes, *([f.reproducer] for f in todo if f.alone)]:
            if names:
                examine(kernel, names, initrd, folder, args.seconds, args.times, names == nodes)
        short = [n for n, s in kernel.said.items() if 'too few overlaps' in s.line]
        if short and args.seconds * args.times < LONG_SECONDS:
            for names, two in (([n for n in short if n not in nodes], False), ([n for n in short if n in nodes], True)):
                if names:
                    examine(kernel, names, initrd, folder, LONG_SECONDS, args.times, two)
    except (Trouble, OSError) as trouble:
        kernel.trouble = str(trouble)
        say(f'{kernel.label} {kernel.arch.name}: {trouble}')
        return
    took = [b - a for a, b in zip(started, os.times())]
    print(f'{kernel.label} {kernel.arch.name}: {kernel.version or "no version"}; image {kernel.sha256[:12]}, '
          f'{took[4]:.0f} s, {took[2] + took[3]:.0f} core-seconds', flush=True)


def stock(arch: Arch, archive: kernels.Archive, all_fixes: list[fixes.Fix], images: Path) -> list[Kernel]:
    """Debian's kernels, newest first; one that cannot be had is a line."""
    found = []
    for series in reversed(kernels.SERIES):
        kernel = Kernel(series, arch)
        found.append(kernel)
        try:
            kernel.package = archive.newest(series, arch)
            kernel.label = kernel.package.kernel_org
            kernel.image = guests.plain_image(archive.image(kernel.package), images)
        except kernels.Absent as absent:
            found.pop()
            say(str(absent))
            continue
        except (Trouble, OSError) as trouble:
            kernel.trouble = str(trouble)
            say(f'{kernel.label} {arch.name}: {trouble}')
            continue
        kernel.debian = {f.name: fixes.debian_changes(f, series, kernel.package.version) for f in all_fixes}
    return found


def given(image: Path, images: Path) -> Kernel:
    """A kernel image that the user has; one that is no image is a line."""
    kernel = Kernel('/'.join(image.parts[-2:]), ARCHES['x86_64'])
    try:
        kernel.image = guests.plain_image(image, images)
        kernel.arch = guests.arch_of(image, kernel.image)
    except (Trouble, OSError) as trouble:
        kernel.trouble = str(trouble)
        say(str(trouble))
    return kernel


class Parser(argparse.ArgumentParser):
    """Bad arguments are one line."""

    def error(self, message: str) -> NoReturn:
        say(f'{message}; see {self.prog} --help')
        sys.exit(1)


def arguments() -> argparse.Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument('--arch', nargs='+', choices=list(ARCHES), default=['x86_64'], help='of the stock kernels')
    parser.add_argument('--kernel', nargs='+', type=Path, default=[], help='images to examine instead of stock kernels')
    parser.add_argument('--only', nargs='+', default=[], metavar='NAME', help='these reproducers')
    parser.add_argument('--seconds', type=int, default=SECONDS, help='for a race')
    parser.add_argument('--times', type=int, default=1, metavar='N', help='run each reproducer so many times')
    parser.add_argument('--with-series', action='store_true', help='fail if a bug is there that the series fixes')
    parser.add_argument('--save', action='store_true', help='put the stock kernels of the last run into seen.json')
    parser.add_argument('--check', action='store_true', help='do stable tags and the results of stock kernels agree?')
    parser.add_argument('--table', action='store_true', help='print reproducers/fixes.md')
    parser.add_argument('--letter', metavar='TOPIC', help='print the table for the letter of that topic')
    args = parser.parse_args()
    if args.times < 1 or args.seconds < 1:
        parser.error(f'N={args.times} and --seconds {args.seconds} must be 1 or more')
    return args


def chosen(all_fixes: list[fixes.Fix], only: list[str]) -> list[fixes.Fix]:
    """The fixes with a reproducer that is wanted."""
    todo = [f for f in all_fixes if f.reproducer and (not only or f.reproducer in only)]
    unknown = set(only) - {f.reproducer for f in todo}
    if unknown:
        raise Trouble(f'unknown reproducer {", ".join(sorted(unknown))}; see reproducers/')
    return todo


def run_all(args: argparse.Namespace, all_fixes: list[fixes.Fix], todo: list[fixes.Fix], folder: Path) -> list[Kernel]:
    """Find the kernels, build the programs, and run them on each kernel."""
    images = folder / 'images'
    if args.kernel:
        ran = [given(p, images) for p in args.kernel]
    else:
        cache = os.environ.get('CACHE') or f'{os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"}/linux-mm-series'
        archive = kernels.Archive(Path(cache).resolve())
        ran = [k for name in args.arch for k in stock(ARCHES[name], archive, all_fixes, images)]
        if not ran:
            raise Trouble('Debian has none of these kernels; give an image with KERNEL=')
    usable = [k for k in ran if not k.trouble]
    initrds = {name: guests.build(ARCHES[name], [f.reproducer for f in todo], folder)
               for name in sorted({k.arch.name for k in usable})}
    for kernel in usable:
        run(kernel, todo, initrds[kernel.arch.name], folder / 'console', args)
    return ran


def main() -> int:
    args = arguments()
    all_fixes = fixes.load()
    folder = Path(os.environ.get('OUT') or fixes.HERE.parent / 'out').resolve() / 'affected'
    if args.save:
        seen.save(folder / 'result.json')
        return 0
    if args.table:
        print(FIXES_MD.format(fixes.table(all_fixes), seen.table(all_fixes)), end='')
        return 0
    if args.letter:
        print(seen.letter_table(args.letter, all_fixes), end='')
        return 0
    if args.check:
        lines = stable.disagreements(all_fixes)
        print('\n'.join(lines) or 'stable tags, comments and results agree')
        return 1 if lines else 0
    todo = chosen(all_fixes, args.only)
    folder.mkdir(parents=True, exist_ok=True)
    for name in ('table.md', 'result.json'):
        (folder / name).unlink(missing_ok=True)
    ran = run_all(args, all_fixes, todo, folder)
    text = report.table(all_fixes, ran) + ''.join(f'\n- {n}' for n in report.notes(all_fixes, ran)) + '\n'
    (folder / 'table.md').write_text(text)
    (folder / 'result.json').write_text(json.dumps(report.result(all_fixes, ran), indent=1) + '\n')
    print(f'\n{text}\n{folder}/result.json')
    wrong = report.must_be_right(all_fixes, ran) if args.with_series else []
    for line in wrong:
        say(line)
    return 1 if wrong or any(k.trouble for k in ran) else 0


if __name__ == '__main__':
    try:
        sys.exit(main())
    except (Trouble, HarnessError, OSError) as error:
        say(str(error))
        sys.exit(1)
    except KeyboardInterrupt:
        say('interrupted; there is no result')
        sys.exit(130)
