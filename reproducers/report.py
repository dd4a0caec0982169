# SPDX-License-Identifier: GPL-2.0
"""What the reproducers said of each kernel: as a table, as lines below it, and as result.json."""

import re
from dataclasses import dataclass, field
from pathlib import Path

import fixes
import kernels
from guests import Arch, Outcome, Said


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
        for pattern in (r' Debian (\d[\d.]*)-', r'Linux version (\d+\.\d+(?:\.\d+)?)'):
            if found := re.search(pattern, self.version):
                return found.group(1)
        return self.package.kernel_org if self.package else 'unknown'

    @property
    def name(self) -> str:
        """The head of its column."""
        return f'{self.kernel_org} {self.arch.name}'


def cell(kernel: Kernel, fix: fixes.Fix) -> str:
    """What the kernel's column says of the fix."""
    if not fix.reproducer:
        return fix.shown.value
    said = kernel.said.get(fix.reproducer)
    return said.cell if said else 'not run'


def table(all_fixes: list[fixes.Fix], ran: list[Kernel]) -> str:
    """fix x kernel, as a table of Markdown."""
    head = ['fix', *(k.name for k in ran)]
    lines = ['| ' + ' | '.join(head) + ' |', '|---' * len(head) + '|']
    for fix in sorted(all_fixes, key=lambda f: f.topic):
        name = f'`{fix.reproducer}`' if fix.reproducer else fix.name
        waits = '' if fix.subject else ' (no fix yet)'
        lines.append('| ' + ' | '.join([f'{fix.topic}: {name}{waits}', *(cell(k, fix) for k in ran)]) + ' |')
    return '\n'.join(lines) + '\n'


def notes(all_fixes: list[fixes.Fix], ran: list[Kernel]) -> list[str]:
    """A line for each kernel, and for what the table's words leave out."""
    lines = []
    for kernel in ran:
        package = kernel.package
        source = f'{package.name} {package.version} of {package.suite}' if package else kernel.label
        lines.append(f'{kernel.name}: {source}')
        missing: dict[str, list[str]] = {}
        for name, said in kernel.said.items():
            if said.outcome in (Outcome.DIED, Outcome.CANNOT_SAY):
                lines.append(f'{kernel.name}: {name}: {said.outcome.value}: {said.line.removeprefix("cannot say: ")}')
            if said.outcome is Outcome.NO_FEATURE:
                missing.setdefault(said.line.removeprefix('cannot say: '), []).append(name)
            if said.race:
                lines.append(f'{kernel.name}: {name}: {said.race}')
            if said.splat and said.outcome is not Outcome.DIED:
                lines.append(f'{kernel.name}: {name}: the kernel said: {said.splat}')
        lines += [f'{kernel.name}: {line}: {", ".join(names)}' for line, names in missing.items()]
        touched = {f.name: kernel.debian[f.name] for f in all_fixes if kernel.debian.get(f.name, 'no') != 'no'}
        if kernel.debian and not touched:
            lines.append(f'{kernel.name}: Debian\'s patches change none of the files that the fixes change')
        lines += [f'{kernel.name}: Debian\'s patches: {text}' for text in sorted(set(touched.values()))]
    return lines


def must_be_right(all_fixes: list[fixes.Fix], ran: list[Kernel]) -> list[str]:
    """The lines of kernels that have the series and yet are wrong, or say nothing, about one of its fixes."""
    lines = []
    for kernel in ran:
        for fix in all_fixes:
            said = kernel.said.get(fix.reproducer)
            if said and fix.subject and (said.splat or said.outcome not in (Outcome.RIGHT, Outcome.NO_FEATURE)):
                lines.append(f'{kernel.name}: {fix.reproducer}: {said.cell}, with the series: {said.splat or said.line}')
    return lines


def result(all_fixes: list[fixes.Fix], ran: list[Kernel]) -> dict:
    """result.json."""
    def of(said: Said) -> dict:
        return {'outcome': said.outcome.value, 'runs': {o.value: n for o, n in said.runs.items()}, 'line': said.line,
                'race': said.race or None, 'splat': said.splat or None, 'output': said.output}

    return {
        'fixes': [{'topic': f.topic, 'fix': f.name, 'has_patch': bool(f.subject), 'shown': f.shown.value,
                   'reproducer': f.reproducer or None} for f in all_fixes],
        'kernels': [{
            'label': k.label, 'arch': k.arch.name, 'kernel.org': k.kernel_org, 'version': k.version,
            'image_sha256': k.sha256 or None,
            'package': f'{k.package.name}={k.package.version}' if k.package else None,
            'suite': k.package.suite if k.package else None, 'trouble': k.trouble or None, 'debian_patches': k.debian,
            'results': {n: of(s) for n, s in k.said.items()},
        } for k in ran]}
