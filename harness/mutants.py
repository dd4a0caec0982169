# SPDX-License-Identifier: GPL-2.0
"""topics/*/mutants: patches that put a bug back, and the cases that have to catch each."""

import re
from dataclasses import dataclass

from .errors import HarnessError, need_text
from .expectations import Place, parse_place
from .flavours import DEFAULT
from .topics import Topic, check_topic


@dataclass(frozen=True)
class CaughtBy:
    """A 'Caught-by: PLACE CASE: [SPLAT|WARN|SPOILS|BOOT] TEXT' line.

    With SPLAT or WARN the kernel has to say the text, otherwise an assertion. After a SPLAT the kernel may be
    unusable, after a WARN it is not. After SPOILS it goes on with wrong counts or the like. With BOOT the kernel says
    the text as it boots, before the case, and may die then: the case only has to pass without the mutant.
    """
    place: Place
    case: str
    text: str
    is_splat: bool
    spoils_guest: bool
    at_boot: bool = False

    @property
    def flavour(self) -> str:
        return self.place.flavour or DEFAULT

    @property
    def arch(self) -> str:
        return self.place.arch


@dataclass(frozen=True)
class Mutant:
    """A patch of topics/TOPIC/mutants."""
    topic: str
    name: str
    file: str
    caught_by: tuple[CaughtBy, ...]

    def here(self, flavour: str, arch: str = '') -> list[CaughtBy]:
        """The lines for guests of that flavour, and of that architecture if there is one given."""
        return [c for c in self.caught_by if c.flavour == flavour and arch in ('', c.arch)]

    def wants_own_guest(self, flavour: str, arch: str) -> bool:
        """A mutant that leaves the kernel unusable or wrong cannot be followed by another."""
        return any(c.spoils_guest for c in self.here(flavour, arch))


def parse_caught_by(place: str, case: str, said: str, where: str) -> CaughtBy:
    """The parts of a Caught-by line."""
    word, _, rest = said.partition(' ')
    has_word = word in ('SPLAT', 'WARN', 'SPOILS', 'BOOT') and bool(rest)
    return CaughtBy(parse_place(place, where), case, rest if has_word else said, has_word and word != 'SPOILS',
                    has_word and word != 'WARN', has_word and word == 'BOOT')


def parse_mutant(topic: str, file: str, text: str, where: str) -> Mutant:
    """The name and the Caught-by lines of a mutant's patch."""
    name = re.search(r'^Subject: .*mutant: (\S+)', text, re.M)
    lines = re.findall(r'^Caught-by: (\S+) (\S+): (.+)$', text, re.M)
    if not name or not lines or len(re.findall('^caught-by:', text, re.M | re.I)) != len(lines):
        raise HarnessError(f"{where}: want 'Subject: mutant: NAME' and 'Caught-by: ARCH CASE: assertion'")
    return Mutant(topic, name.group(1), file, tuple(parse_caught_by(*line, where) for line in lines))


def read_mutants(topics: dict[str, Topic]) -> list[Mutant]:
    """The mutants of all topics, in order."""
    mutants: list[Mutant] = []
    for topic in topics.values():
        folder = topic.folder / 'mutants'
        for path in sorted(folder.iterdir()) if folder.is_dir() else []:
            where = f'topics/{topic.name}/mutants/{path.name}'
            mutant = parse_mutant(topic.name, path.name, need_text(path), where)
            if any(m.name == mutant.name for m in mutants):
                raise HarnessError(f'{where}: there is another mutant {mutant.name}')
            mutants.append(mutant)
    return mutants


def select_mutants(topics: dict[str, Topic], topic: str = '', mutant: str = '') -> list[Mutant]:
    """The mutants of a topic, of a name, or both; an error if there is none."""
    check_topic(topics, topic)
    found = [m for m in read_mutants(topics) if topic in ('', m.topic) and mutant in ('', m.name)]
    if not found:
        raise HarnessError(f"no mutant matches MUTANT='{mutant}' TOPIC='{topic}'; see topics/*/mutants")
    return found


def other_flavours(mutants: list[Mutant], flavour: str) -> dict[str, list[str]]:
    """{flavour: [mutant]} of the Caught-by lines of other flavours."""
    others: dict[str, list[str]] = {}
    for mutant in mutants:
        for line in mutant.caught_by:
            names = others.setdefault(line.flavour, [])
            if line.flavour != flavour and mutant.name not in names:
                names.append(mutant.name)
    return {name: names for name, names in others.items() if names}
