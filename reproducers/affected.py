#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Is a kernel affected?  Boot stock kernels, or KERNEL=, with all reproducers, and print fix x kernel."""

import argparse
import hashlib
import json
import os
import re
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import fixes
import guests
import kernels
from guests import ARCHES, Arch, Outcome, Said, Trouble

SECONDS = 10        # for a race
LONG_SECONDS = 60   # for a race that had too few overlaps


@dataclass
class Kernel:
    """A kernel image, and what the reproducers said on it."""
    label: str
    arch: Arch
    image: Path | None = None
    package: kernels.Package | None = None
    trouble: str = ''
    sha256: str = ''
    version: str = ''
    said: dict[str, Said] = field(default_factory=dict)
    debian: dict[str, str] = field(default_factory=dict)

    @property
    def kernel_org(self) -> str:
        """The version of kernel.org, as the kernel itself says."""
        found = re.search(r' Debian (\d[\d.]*)-', self.version) or re.search(r'Linux version (\d+\.\d+(?:\.\d+)?)', self.version)
        return found.group(1) if found else self.package.kernel_org if self.package else 'unknown'


def examine(kernel: Kernel, names: list[str], initrd: Path, folder: Path, seconds: int) -> None:
    """Run those reproducers; if one of them kills the kernel, go on with the next in a new guest."""
    rest = list(names)
    for number in range(len(names)):
        console = folder / f'{kernel.arch.name}-{kernel.label.replace("/", "_")}-{"+".join(rest)[:40]}-{seconds}-{number}.console'
        ended = guests.boot(kernel.arch, kernel.image, initrd, rest, seconds, console)
        guest = guests.parse(console.read_text(errors='replace'), ended)
        kernel.version = guest.version or kernel.version
        kernel.said.update(guest.said)
        rest = [n for n in rest if n not in guest.said]
        if not rest:
            return
        if not guest.said:
            break
    raise Trouble(f'{", ".join(rest)} did not run; see {folder}')


def run(kernel: Kernel, todo: list[fixes.Fix], initrd: Path, folder: Path, seconds: int) -> None:
    """All reproducers on one kernel; what goes wrong is the kernel's trouble."""
    started = time.monotonic()
    try:
        kernel.sha256 = hashlib.sha256(kernel.image.read_bytes()).hexdigest()
        together = [f.reproducer for f in todo if not f.alone]
        for names in [together, *([f.reproducer] for f in todo if f.alone)]:
            if names:
                examine(kernel, names, initrd, folder, seconds)
        short = [n for n, s in kernel.said.items() if 'too few overlaps' in s.line]
        if short and seconds < LONG_SECONDS:
            examine(kernel, short, initrd, folder, LONG_SECONDS)
    except (Trouble, OSError) as trouble:
        kernel.trouble = str(trouble)
        print(f'affected: {kernel.label} {kernel.arch.name}: {trouble}', file=sys.stderr)
        return
    print(f'{kernel.label} {kernel.arch.name}: {kernel.version or "no version"}; image {kernel.sha256[:12]}, '
          f'{time.monotonic() - started:.0f} s', flush=True)


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
        except Trouble as trouble:
            kernel.trouble = str(trouble)
            print(f'affected: {kernel.label} {arch.name}: {trouble}', file=sys.stderr)
            continue
        kernel.debian = {f.name: fixes.debian_changes(f, series, kernel.package.version) for f in all_fixes}
    return found


def given(image: Path, images: Path) -> Kernel:
    """A kernel image that the user has; one that is no image is a line."""
    kernel = Kernel(image.name, ARCHES['x86_64'])
    try:
        kernel.image = guests.plain_image(image, images)
        kernel.arch = guests.arch_of(image, kernel.image)
    except Trouble as trouble:
        kernel.trouble = str(trouble)
        print(f'affected: {trouble}', file=sys.stderr)
    return kernel


def table(all_fixes: list[fixes.Fix], ran: list[Kernel]) -> str:
    """fix x kernel, as a table of Markdown."""
    head = ['fix', *(f'{k.kernel_org} {k.arch.name}' for k in ran)]
    lines = ['| ' + ' | '.join(head) + ' |', '|---' * len(head) + '|']
    for fix in sorted(all_fixes, key=lambda f: f.topic):
        def cell(kernel: Kernel, fix: fixes.Fix = fix) -> str:
            if not fix.reproducer:
                return fix.shown.value
            said = kernel.said.get(fix.reproducer)
            return said.outcome.value if said else 'not run'
        name = f'`{fix.reproducer}`' if fix.reproducer else fix.name
        lines.append('| ' + ' | '.join([f'{fix.topic}: {name}', *(cell(k) for k in ran)]) + ' |')
    return '\n'.join(lines) + '\n'


def notes(all_fixes: list[fixes.Fix], ran: list[Kernel]) -> list[str]:
    """A line for each kernel, and for what the table's words leave out."""
    lines = []
    for kernel in ran:
        what = f'{kernel.kernel_org} {kernel.arch.name}'
        package = kernel.package
        source = f'{package.name} {package.version} of {package.suite}' if package else kernel.label
        lines.append(f'{what}: {source}')
        for name, said in kernel.said.items():
            if said.outcome in (Outcome.DIED, Outcome.CANNOT_SAY):
                lines.append(f'{what}: {name}: {said.outcome.value}: {said.line.removeprefix("cannot say: ")}')
            if said.race:
                lines.append(f'{what}: {name}: {said.race}')
        touched = {f.name: kernel.debian[f.name] for f in all_fixes if kernel.debian.get(f.name, 'no') != 'no'}
        if kernel.debian and not touched:
            lines.append(f'{what}: Debian\'s patches change none of the files that the fixes change')
        lines += [f'{what}: Debian\'s patches: {text}' for text in sorted(set(touched.values()))]
    return lines


def result(all_fixes: list[fixes.Fix], ran: list[Kernel]) -> dict:
    """result.json."""
    return {
        'fixes': [{'topic': f.topic, 'fix': f.name, 'shown': f.shown.value, 'reproducer': f.reproducer or None}
                  for f in all_fixes],
        'kernels': [{
            'label': k.label, 'arch': k.arch.name, 'kernel.org': k.kernel_org, 'version': k.version,
            'image_sha256': k.sha256 or None,
            'package': f'{k.package.name}={k.package.version}' if k.package else None,
            'suite': k.package.suite if k.package else None, 'trouble': k.trouble or None, 'debian_patches': k.debian,
            'results': {n: {'outcome': s.outcome.value, 'line': s.line, 'race': s.race or None, 'output': s.output} for n, s in k.said.items()},
        } for k in ran]}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--arch', nargs='+', choices=list(ARCHES), default=['x86_64'], help='of the stock kernels')
    parser.add_argument('--kernel', nargs='+', type=Path, default=[], help='images to examine instead of stock kernels')
    parser.add_argument('--only', nargs='+', default=[], metavar='NAME', help='these reproducers')
    parser.add_argument('--seconds', type=int, default=SECONDS, help='for a race')
    parser.add_argument('--none-affected', action='store_true', help='fail unless no kernel is affected')
    parser.add_argument('--table', action='store_true', help='print the table of reproducers/README.md')
    return parser.parse_args()


def main() -> int:
    args = arguments()
    all_fixes = fixes.load()
    if args.table:
        print(fixes.table(all_fixes), end='')
        return 0
    todo = [f for f in all_fixes if f.reproducer and (not args.only or f.reproducer in args.only)]
    unknown = set(args.only) - {f.reproducer for f in todo}
    if unknown:
        raise Trouble(f'unknown reproducer {", ".join(sorted(unknown))}; see reproducers/')
    folder = Path(os.environ.get('OUT') or fixes.HERE.parent / 'out').resolve() / 'affected'
    cache = Path(os.environ.get('CACHE') or Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache') / 'linux-mm-series')
    folder.mkdir(parents=True, exist_ok=True)
    images = folder / 'images'
    if args.kernel:
        ran = [given(p, images) for p in args.kernel]
    else:
        archive = kernels.Archive(cache.resolve())
        ran = [k for name in args.arch for k in stock(ARCHES[name], archive, all_fixes, images)]
    usable = [k for k in ran if not k.trouble]
    initrds = {name: guests.build(ARCHES[name], [f.reproducer for f in todo], folder)
               for name in sorted({k.arch.name for k in usable})}
    for kernel in usable:
        run(kernel, todo, initrds[kernel.arch.name], folder / 'console', args.seconds)
    text = table(all_fixes, ran) + ''.join(f'\n- {n}' for n in notes(all_fixes, ran)) + '\n'
    (folder / 'table.md').write_text(text)
    (folder / 'result.json').write_text(json.dumps(result(all_fixes, ran), indent=1) + '\n')
    print(f'\n{text}\n{folder}/result.json')
    bad = [s for k in ran for s in k.said.values() if s.outcome in (Outcome.AFFECTED, Outcome.DIED)]
    return 1 if any(k.trouble for k in ran) or args.none_affected and bad else 0


if __name__ == '__main__':
    try:
        sys.exit(main())
    except (Trouble, OSError) as error:
        print(f'affected: {error}', file=sys.stderr)
        sys.exit(1)
