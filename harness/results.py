# SPDX-License-Identifier: GPL-2.0
"""The result folder of a verb, as the plan has left it, and the guests in it.

  request.json  the verb and its selection
  guests        GUEST ARCH VARIANT WHAT, by tabs: WHAT is '-', a case, a mutant, a category or a prefix;
                a guest that has several of them has several lines
  stale         GUEST REASON, by a tab: guests whose result is not of today's inputs
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

from .arch import Arch, find_arch
from .errors import HarnessError, need_text, read_text
from .flavours import DEFAULT, check_flavour
from .guest import Folder, Guest, load_guest, read_folder
from .ktap import KunitTools
from .splats import Rule
from .verdict import Outcome

VERBS = ('run', 'mutants', 'kselftest', 'bench', 'boots', 'repeat')
COMMON = '-'


@dataclass(frozen=True)
class Request:
    """All that the judge has to know of a call of a verb."""
    verb: str
    archs: tuple[str, ...]
    flavour: str = DEFAULT
    topic: str = ''
    test: str = ''
    mutant: str = ''
    variants: tuple[str, ...] = ()
    category: str = ''
    n: int = 0      # of repeat: how often each guest runs


@dataclass(frozen=True)
class Planned:
    """A guest of the plan. `whats` has the cases, mutants or categories that it is for; COMMON for all others."""
    name: str
    arch: str
    variant: str
    whats: tuple[str, ...]
    is_planned: bool = True


@dataclass
class Results:
    """A result folder, and the means to judge its guests."""
    folder: Path
    request: Request
    planned: list[Planned]
    stale: dict[str, str]
    rules: list[Rule]
    tools: KunitTools
    _folders: dict[str, Folder] = field(default_factory=dict)
    _guests: dict[tuple[str, str, bool], Guest] = field(default_factory=dict)

    def find(self, arch: str, variant: str, what: str = COMMON) -> Planned:
        """The guest for this. One that the plan lacks has a name, and no result."""
        for planned in self.planned:
            if (planned.arch, planned.variant) == (arch, variant) and what in planned.whats:
                return planned
        name = '-'.join([arch, variant] + ([what] if what != COMMON else []))
        return Planned(name.replace('/', '-'), arch, variant, (what,), False)

    def has(self, arch: str, variant: str, what: str = COMMON) -> bool:
        return self.find(arch, variant, what).is_planned

    def arch(self, planned: Planned) -> Arch:
        return find_arch(planned.arch)

    def read(self, planned: Planned) -> Folder:
        """The files of a guest; read once."""
        if planned.name not in self._folders:
            self._folders[planned.name] = read_folder(self.folder / planned.name, self.rules)
        return self._folders[planned.name]

    def guest(self, planned: Planned, mutant: str = '', with_tests: bool = True) -> Guest:
        """The guest, judged once."""
        key = (planned.name, mutant, with_tests)
        if key not in self._guests:
            tools = self.tools if with_tests else None
            self._guests[key] = load_guest(self.read(planned), self.arch(planned), tools, mutant)
        return self._guests[key]

    def outcome(self, outcome: Outcome, *guests: str) -> Outcome:
        """The outcome of a row of these guests: nothing of a stale guest counts as today's."""
        return Outcome.STALE if any(name in self.stale for name in guests) else outcome


def _strings(value: object, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
        raise HarnessError(f'{where} is not a list of strings; run the verb again')
    return tuple(value)


def read_request(path: Path) -> Request:
    """request.json, checked."""
    try:
        data = json.loads(need_text(path))
    except ValueError as error:
        raise HarnessError(f'{path} is not JSON: {error}; run the verb again') from error
    if not isinstance(data, dict) or data.get('verb') not in VERBS:
        raise HarnessError(f"{path}: its verb is not one of: {' '.join(VERBS)}")
    words = {name: data.get(name) or '' for name in ('topic', 'test', 'mutant', 'category')}
    flavour = data.get('flavour') or DEFAULT
    if not all(isinstance(word, str) for word in [*words.values(), flavour]):
        raise HarnessError(f'{path}: topic, test, mutant, category and flavour have to be strings')
    check_flavour(flavour, str(path))
    archs = _strings(data.get('archs', []), f'{path}: archs')
    for arch in archs:
        find_arch(arch, str(path))
    copies = data.get('n') or 0
    if not isinstance(copies, int):
        raise HarnessError(f'{path}: n has to be a number')
    return Request(data['verb'], archs, flavour, n=copies, variants=_strings(data.get('variants') or [], f'{path}: variants'), **words)


def read_planned(path: Path) -> list[Planned]:
    """The file `guests`: one Planned for each guest, with all its lines."""
    found: dict[str, Planned] = {}
    for number, line in enumerate(need_text(path).splitlines(), 1):
        words = line.split('\t')
        if len(words) != 4 or not all(words) or '/' in words[0]:
            raise HarnessError(f'{path}:{number}: want GUEST, ARCH, VARIANT and WHAT with tabs between; run the verb again')
        name, arch, variant, what = words
        find_arch(arch, f'{path}:{number}')
        before = found.get(name, Planned(name, arch, variant, ()))
        if (before.arch, before.variant) != (arch, variant):
            raise HarnessError(f'{path}:{number}: {name} has another architecture or variant above; run the verb again')
        found[name] = Planned(name, arch, variant, (*before.whats, what))
    return list(found.values())


def read_stale(path: Path) -> dict[str, str]:
    """The file `stale`; absent if every result is of today's inputs."""
    stale = {}
    for line in read_text(path).splitlines():
        guest, _, reason = line.partition('\t')
        stale[guest] = reason or 'its inputs have changed'
    return stale


def read_results(folder: Path, rules: list[Rule], tools: KunitTools) -> Results:
    """Read a result folder, without its guests."""
    if not folder.is_dir():
        raise HarnessError(f'no results in {folder}; run the verb first')
    return Results(folder, read_request(folder / 'request.json'), read_planned(folder / 'guests'),
                   read_stale(folder / 'stale'), rules, tools)
