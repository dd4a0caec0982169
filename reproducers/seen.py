# SPDX-License-Identifier: GPL-2.0
"""seen.json: the results of stock kernels that the repository keeps, and their tables in fixes.md and in the letters."""

import json
import re
from pathlib import Path

import fixes
from guests import Outcome, Trouble

SEEN = fixes.HERE / 'seen.json'
LETTER = {Outcome.AFFECTED.value: 'A', Outcome.RIGHT.value: '-', Outcome.NO_FEATURE.value: '.', Outcome.CANNOT_SAY.value: '?',
          Outcome.DIED.value: 'D'}
SHORT = {Outcome.AFFECTED.value: '**AFFECTED**', Outcome.RIGHT.value: 'no', Outcome.NO_FEATURE.value: '-',
         Outcome.CANNOT_SAY.value: '?', Outcome.DIED.value: '**died**'}
LETTER_HEAD = """\
Debian's stock kernels, in QEMU; x86_64, arm64, riscv64 in this order. A is
affected, - is not, ? cannot say. A dot lacks what the program needs; blank
was not run. The programs are in reproducers/; "make affected" runs them."""


def numbers(version: str) -> tuple[int, ...]:
    """A version that can be compared."""
    return tuple(int(n) for n in re.findall(r'\d+', version))


def load(path: Path = SEEN) -> list[dict]:
    """One entry for each kernel: version, arch, package, results."""
    return json.loads(path.read_text()) if path.exists() else []


def save(result: Path, path: Path = SEEN) -> None:
    """Add the stock kernels of a result.json; they take the place of older ones of the same series and architecture.

    Of the same package, results of other programs stay, and AFFECTED stays: that a race was lost once is proof, that it was
    not lost is none.
    """
    def place(entry: dict) -> tuple:
        return entry['arch'], numbers(entry['version'])[:2]

    if not result.exists():
        raise Trouble(f'there is no {result}; run make affected first')
    known = {place(e): e for e in load(path)}
    for kernel in json.loads(result.read_text())['kernels']:
        if kernel['package'] and not kernel['trouble']:
            entry = {'version': kernel['kernel.org'], 'arch': kernel['arch'], 'package': kernel['package'],
                     'results': {n: r['outcome'] for n, r in sorted(kernel['results'].items())}}
            old = known.get(place(entry))
            if old and old['package'] == entry['package']:
                proof = {n: w for n, w in old['results'].items() if w == Outcome.AFFECTED.value}
                entry['results'] = dict(sorted({**old['results'], **entry['results'], **proof}.items()))
            known[place(entry)] = entry
    ordered = sorted(known.values(), key=lambda e: (e['arch'] != 'x86_64', e['arch'], [-n for n in numbers(e['version'])]))
    path.write_text(json.dumps(ordered, indent=1) + '\n')


def table(all_fixes: list[fixes.Fix], path: Path = SEEN) -> str:
    """Reproducer x stock kernel."""
    entries = load(path)
    lines = ['| reproducer | shown since | ' + ' | '.join(f'{e["version"]} {e["arch"]}' for e in entries) + ' |',
             '|---' * (len(entries) + 2) + '|']
    for fix in sorted((f for f in all_fixes if f.reproducer), key=lambda f: f.topic):
        words = [SHORT.get(e['results'].get(fix.reproducer, ''), 'not run') for e in entries]
        lines.append(f'| `{fix.reproducer}` | {fix.shown_since or fix.since} | ' + ' | '.join(words) + ' |')
    return '\n'.join(lines) + '\n'


def letter_table(topic: str, all_fixes: list[fixes.Fix], path: Path = SEEN) -> str:
    """Program x stock kernel, for the letter of a topic: a letter for each of x86_64, arm64 and riscv64; '' without programs."""
    entries = load(path)
    versions = sorted({numbers(e['version'])[:2] for e in entries}, reverse=True)
    newest = {v: max((e['version'] for e in entries if numbers(e['version'])[:2] == v), key=numbers) for v in versions}
    lines = [(int(patch.name[:4]), fix.reproducer) for fix in all_fixes
             if fix.topic == topic and fix.reproducer and fix.subject and (patch := fix.patch())]

    def cell(version: tuple[int, ...], program: str) -> str:
        known = {e['arch']: e['results'].get(program, '') for e in entries if numbers(e['version'])[:2] == version}
        return ' '.join(LETTER.get(known.get(arch, ''), ' ') for arch in ('x86_64', 'arm64', 'riscv64'))

    rows = [['patch', *(newest[v] for v in versions), 'program'],
            ['-----', *('-' * len(newest[v]) for v in versions), '-------'],
            *([f'{number:5}', *(cell(v, program) for v in versions), program] for number, program in sorted(lines))]
    widths = [5, *(max(5, len(newest[v])) for v in versions), 0]
    table = '\n'.join('  ' + '  '.join(word.ljust(width) for word, width in zip(row, widths)).rstrip() for row in rows)
    return f'{LETTER_HEAD}\n\n{table}\n' if lines else ''
