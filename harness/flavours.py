# SPDX-License-Identifier: GPL-2.0
"""configs/: a flavour is one or more fragments, joined by '+'."""

import re
from dataclasses import dataclass
from pathlib import Path

from .arch import TOP
from .errors import HarnessError, need_text

CONFIGS = TOP / 'configs'
DEFAULT = 'debug'
BENCH = 'bench'     # of the kernels that instructions are counted on
# BENCH: the programs of bench/ that `bench` runs, in place of all. PLUGIN: a plugin of QEMU, of bench/plugin.
SETTINGS = ('HUGETLB', 'MEMORY', 'HOTPLUG', 'SMP', 'MACHINE', 'CPU', 'QEMU_VERSION', 'BENCH', 'PLUGIN', 'INITRD_AT', 'MONITOR')


@dataclass(frozen=True)
class Flavour:
    """Its fragments, and the settings of a guest that '# guest: NAME=VALUE' lines of theirs ask for."""
    name: str
    fragments: tuple[Path, ...]
    settings: dict[str, str]
    append: tuple[str, ...]
    disks: tuple[str, ...]      # KIND:MIB, besides those of the topics' tests
    kernel: str     # the flavour of the kernel: only the fragments with CONFIG_ lines


def check_flavour(name: str, where: str = '', folder: Path = CONFIGS) -> tuple[Path, ...]:
    """The fragments of a flavour; an error if one is not there."""
    for part in name.split('+'):
        if not re.fullmatch(r'[\w.-]+', part) or not (folder / part).is_file():
            place = f'{where}: ' if where else ''
            raise HarnessError(f"{place}unknown flavour '{name}'; there is no configs/{part}")
    return tuple(folder / part for part in name.split('+'))


def read_flavour(name: str, folder: Path = CONFIGS) -> Flavour:
    """Read a flavour's fragments. The first fragment that has a setting decides it; APPEND= and DISKS= add up."""
    fragments = check_flavour(name, folder=folder)
    settings, append, disks, with_options = {}, [], [], []
    for path in fragments:
        text = need_text(path)
        if re.search(r'^CONFIG_', text, re.M):
            with_options.append(path.name)
        for setting in re.findall(r'^# guest: (.*)$', text, re.M):
            key, equals, value = setting.partition('=')
            if key == 'APPEND' and equals:
                append.append(value)
            elif key == 'DISKS' and equals:
                disks.extend(value.split())
            elif key in SETTINGS and equals:
                settings.setdefault(key, value)
            else:
                raise HarnessError(f"flavour {name}: unknown setting '{setting}'; "
                                   f"a guest has {', '.join(SETTINGS)}, APPEND, DISKS")
    return Flavour(name, fragments, settings, tuple(append), tuple(disks), '+'.join(with_options) or name)
