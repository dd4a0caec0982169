# SPDX-License-Identifier: GPL-2.0
"""guest/arch/NAME: the only list of architectures.

A file has assignments that sh can source: NAME=VALUE, a line each, the value quoted as sh quotes.
"""

import functools
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

from .errors import HarnessError, need_text

TOP = Path(__file__).resolve().parent.parent
FOLDER = TOP / 'guest' / 'arch'
REQUIRED = ('KARCH', 'TARGET', 'IMAGE', 'CONSOLE')


@dataclass(frozen=True)
class Arch:
    """One architecture. `settings` has every assignment of its file, by the name that sh sees."""
    name: str
    settings: dict[str, str] = field(repr=False, hash=False, compare=False)

    def get(self, name: str) -> str:
        """A setting, or '' if the file does not assign it."""
        return self.settings.get(name, '')

    @property
    def has_qemu(self) -> bool:
        """False for UML: the kernel is a program, and its console carries the KTAP."""
        return bool(self.get('QEMU'))


def read_arch(path: Path) -> Arch:
    """Parse one file of guest/arch/."""
    settings = {}
    for number, line in enumerate(need_text(path).splitlines(), 1):
        if not line.strip() or line.lstrip().startswith('#'):
            continue
        match = re.fullmatch(r'([A-Z][A-Z0-9_]*)=(.*)', line.rstrip())
        try:
            words = shlex.split(match.group(2), comments=True) if match else None
        except ValueError:
            words = None
        if match is None or words is None or len(words) > 1:
            raise HarnessError(f"{path}:{number}: want NAME=VALUE, one word or quoted, and not '{line}'")
        settings[match.group(1)] = words[0] if words else ''
    missing = [name for name in REQUIRED if not settings.get(name)]
    if missing:
        raise HarnessError(f'{path}: {missing[0]}= is missing')
    return Arch(path.name, settings)


@functools.cache
def architectures(folder: Path = FOLDER) -> dict[str, Arch]:
    """All architectures by name, sorted. Read once a process."""
    files = sorted(p for p in folder.glob('*') if p.is_file()) if folder.is_dir() else []
    if not files:
        raise HarnessError(f'no architecture in {folder}; there has to be one file for each')
    return {path.name: read_arch(path) for path in files}


def find_arch(name: str, where: str = '', folder: Path = FOLDER) -> Arch:
    """The architecture of that name; `where` is the place in a file that names it."""
    known = architectures(folder)
    if name not in known:
        place = f'{where}: ' if where else ''
        raise HarnessError(f"{place}unknown architecture '{name}'; choose one of: {' '.join(known)}")
    return known[name]
