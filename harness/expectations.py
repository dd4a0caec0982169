# SPDX-License-Identifier: GPL-2.0
"""topics/*/tests: the cases of each topic, and the result that each is expected to have on the base.

Lines are

    CASE PLACE[,PLACE...] WANT [TEXT]     PLACE is ARCH or ARCH@FLAVOUR
    disks: KIND:MIB ...                   disks of the guests
    never: PATTERN REASON                 cases that no guest can run
"""

from dataclasses import dataclass
from enum import Enum

from .arch import find_arch
from .errors import HarnessError, read_text
from .flavours import check_flavour
from .topics import Topic, check_topic


class Want(Enum):
    """The result on the base. On the series every case has to pass, except for SKIP."""
    PASS = 'PASS'
    FAIL = 'FAIL'       # by the assertion that the text names
    RACE = 'RACE'       # passes, or does as the text says
    SPLAT = 'SPLAT'     # the kernel says the text, and may be unusable after it
    WARN = 'WARN'       # the kernel says the text by a WARN() that leaves it usable; judged as SPLAT
    SKIP = 'SKIP'       # the series skips it; the text says why
    ABSENT = 'ABSENT'   # of KUnit: base lacks what the suite calls, so that only the series has the suite; the text says what


OR_FAIL = ' OR FAIL '   # RACE SPLAT text OR FAIL assertion


@dataclass(frozen=True)
class Place:
    """Where a line holds: an architecture, and a flavour or '' for every flavour without a line of its own."""
    arch: str
    flavour: str = ''

    def __str__(self) -> str:
        return f'{self.arch}@{self.flavour}' if self.flavour else self.arch


@dataclass(frozen=True)
class Expectation:
    """A line of topics/*/tests."""
    topic: str
    case: str
    places: tuple[Place, ...]
    want: Want
    text: str

    @property
    def archs(self) -> tuple[str, ...]:
        return tuple(place.arch for place in self.places)

    @property
    def is_kunit(self) -> bool:
        return self.case.startswith('kunit:')

    @property
    def program(self) -> str:
        """The selftest's program or the KUnit suite."""
        return self.case.partition(':')[2].partition('.')[0]

    @property
    def test(self) -> str:
        """The case's name within its program."""
        return self.case.partition('.')[2]

    @property
    def may_splat(self) -> bool:
        """Does the kernel complain of this case on base, or may it?"""
        return bool(self._complaint)

    @property
    def spoils_guest(self) -> bool:
        """May the kernel be unusable after this case ran on base?"""
        return self._complaint == 'SPLAT'

    @property
    def splat(self) -> str:
        """The kernel's words on base, without the word that a RACE has in front of them, and without what may fail instead."""
        return self.text.removeprefix(self._complaint + ' ').partition(OR_FAIL)[0] if self.want is Want.RACE else self.text

    @property
    def assertion_instead(self) -> str:
        """The assertion that may fail on base, in a race in which the kernel may complain as well; '' if there is none."""
        return self.text.partition(OR_FAIL)[2] if self.want is Want.RACE else ''

    @property
    def _complaint(self) -> str:
        """SPLAT, WARN, or '' if the kernel has nothing to say on base."""
        word = self.text.partition(' ')[0] if self.want is Want.RACE else self.want.value
        return word if word in ('SPLAT', 'WARN') else ''


@dataclass(frozen=True)
class Never:
    """A pattern of cases that no guest can run."""
    pattern: str
    reason: str

    @property
    def program(self) -> str:
        return self.pattern.partition(':')[2].partition('.')[0]


@dataclass(frozen=True)
class Tests:
    """All of topics/*/tests."""
    expectations: tuple[Expectation, ...]
    never: tuple[Never, ...]
    disks: dict[str, tuple[str, ...]]   # by topic: KIND:MIB

    def of_flavour(self, flavour: str, topic: str = '') -> list[Expectation]:
        """The lines that hold in guests of a flavour, with the places of that flavour only."""
        lines = [e for e in self.expectations if topic in ('', e.topic)]
        special = {(e.case, p.arch) for e in lines for p in e.places if p.flavour == flavour}
        found = []
        for line in lines:
            here = tuple(p for p in line.places
                         if p.flavour == flavour or not p.flavour and (line.case, p.arch) not in special)
            if here:
                found.append(Expectation(line.topic, line.case, here, line.want, line.text))
        return found

    def select(self, flavour: str, topic: str = '', test: str = '') -> list[Expectation]:
        """The lines of a flavour, narrowed to a topic and to cases with `test` in their name."""
        return [e for e in self.of_flavour(flavour) if topic in ('', e.topic) and test in e.case]

    def all_disks(self, topic: str = '') -> list[str]:
        """The disks that a topic, or all topics, ask for, each once."""
        return list(dict.fromkeys(d for t, disks in self.disks.items() if topic in ('', t) for d in disks))


def parse_place(text: str, where: str) -> Place:
    """ARCH or ARCH@FLAVOUR, of something that exists."""
    arch, at, flavour = text.partition('@')
    find_arch(arch, where)
    if at:
        check_flavour(flavour, where)
    return Place(arch, flavour)


def parse_expectation(topic: str, line: str, where: str) -> Expectation:
    """CASE PLACES WANT [TEXT]"""
    words = line.split(None, 3)
    wants = {want.value: want for want in Want}
    if len(words) < 3 or words[2] not in wants or (words[2] != 'PASS') != (len(words) == 4):
        raise HarnessError(f'{where}: want CASE ARCH[@FLAVOUR][,...] PASS, or FAIL or RACE and the assertion, '
                           'or [RACE] SPLAT or [RACE] WARN and the message of the kernel, or SKIP or ABSENT and the reason')
    if words[2] == Want.ABSENT.value and not words[0].startswith('kunit:'):
        raise HarnessError(f'{where}: ABSENT is for KUnit; selftests run on base, too')
    if not words[0].startswith(('kunit:', 'selftest:')) or '.' not in words[0]:
        raise HarnessError(f"{where}: '{words[0]}' is not kunit:SUITE.CASE or selftest:PROGRAM.CASE")
    places = tuple(parse_place(place, where) for place in words[1].split(','))
    return Expectation(topic, words[0], places, wants[words[2]], words[3].strip() if len(words) == 4 else '')


def read_tests(topics: dict[str, Topic]) -> Tests:
    """Read topics/*/tests of all topics."""
    lines, never, disks, seen = [], [], {}, set()
    for topic in topics.values():
        for number, line in enumerate(read_text(topic.folder / 'tests').splitlines(), 1):
            where = f'topics/{topic.name}/tests:{number}'
            words = line.split(None, 2)
            if not words or line.startswith('#'):
                continue
            if words[0] == 'disks:':
                disks[topic.name] = disks.get(topic.name, ()) + tuple(line.split()[1:])
            elif words[0] == 'never:':
                if len(words) != 3:
                    raise HarnessError(f'{where}: want never: PATTERN REASON')
                never.append(Never(words[1], words[2]))
            else:
                expectation = parse_expectation(topic.name, line, where)
                for place in expectation.places:
                    if (expectation.case, place) in seen:
                        raise HarnessError(f'{where}: {expectation.case} is listed twice for {place}')
                    seen.add((expectation.case, place))
                lines.append(expectation)
    return Tests(tuple(lines), tuple(never), disks)


def select_tests(topics: dict[str, Topic], flavour: str, topic: str = '', test: str = '') -> list[Expectation]:
    """As Tests.select(), with an error if the topic is unknown or nothing matches."""
    check_topic(topics, topic)
    check_flavour(flavour)
    found = read_tests(topics).select(flavour, topic, test)
    if not found:
        raise HarnessError(f"no test matches TEST='{test}' TOPIC='{topic}'; TEST has to be part of a case's name in "
                           f'topics/*/tests, in a line that holds for FLAVOUR={flavour}')
    return found
