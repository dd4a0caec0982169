# SPDX-License-Identifier: GPL-2.0
"""topics/order, topics/*/series, topics/*/bench: how topics stack, their patches, limits of benchmarks.

expectations.py has topics/*/tests, mutants.py has topics/*/mutants.
"""

import os
import re
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from .arch import TOP, find_arch
from .errors import HarnessError, need_text, read_text
from .flavours import BENCH, check_flavour


class Kind(Enum):
    """What a patch is for."""
    FIX = 'fix'
    DEVELOPMENT = 'development'
    TEST = 'test'
    DOCUMENTATION = 'documentation'


# What a fix has to say of itself, and what it may say.
FIX_VALUES = {
    'group': r'[a-z][a-z0-9-]*',
    'trigger': r'user|root|none',
    'evidence': r'seen|inspection',
    'case': r'none|(kunit|selftest):\S+',
    'stable': r'none|v?\d+\.\d+(\.\d+)?(-rc\d+)?',
}


@dataclass(frozen=True)
class Topic:
    """A line of topics/order."""
    name: str
    needs: tuple[str, ...]
    folder: Path


@dataclass(frozen=True)
class Patch:
    """A line of a topic's series."""
    topic: str
    file: str
    kind: Kind
    base: bool          # also applied to the base, so that its KUnit tests run there
    values: dict[str, str] = field(default_factory=dict)    # of a fix: group, trigger, evidence, case, stable
    held: bool = False  # not to be posted: it waits for a decision that the cover letter names


@dataclass(frozen=True)
class Limit:
    """A line of a topic's bench: the most that the counted kernel may cost, relative to base or to the series through
    the topic `since`.

    name is NAME, or NAME:OTHER to be compared with OTHER of base, or NAME/NAME for a ratio of two. limit is a number,
    'equal', 'shown' (no limit), or FACTOR*ARCH.
    """
    arch: str
    name: str
    limit: str
    flavour: str = BENCH
    since: str = ''

    @property
    def is_ratio(self) -> bool:
        return '/' in self.name

    @property
    def base(self) -> str:
        """The variant that the figure is compared with."""
        return f'through-{self.since}' if self.since else 'base'


@dataclass(frozen=True)
class Bench:
    """What is counted of a topic, 'series' or 'through-TOPIC', and the limits."""
    topic: str
    counted: str
    limits: tuple[Limit, ...]


def topics_folder() -> Path:
    """The folder of the topics; TOPICS= in the environment points the tests at fixtures."""
    return Path(os.environ.get('TOPICS') or TOP / 'topics')


def read_order(folder: Path) -> dict[str, Topic]:
    """The topics of topics/order by name, in the order in which they stack."""
    topics: dict[str, Topic] = {}
    for number, line in enumerate(need_text(folder / 'order').splitlines(), 1):
        words = line.split('#')[0].split()
        if not words:
            continue
        name, where = words[0], f'topics/order:{number}'
        if len(words) > 1 and (words[1] != 'needs:' or len(words) == 2):
            raise HarnessError(f"{where}: want TOPIC, or TOPIC needs: OTHER ..., and not '{line}'")
        for other in words[2:]:
            if other not in topics:
                raise HarnessError(f"{where}: {name} needs '{other}', which no line above has")
        if name in topics:
            raise HarnessError(f'{where}: {name} is there twice')
        topics[name] = Topic(name, tuple(words[2:]), folder / name)
    if not topics:
        raise HarnessError('topics/order has no topic')
    return topics


def check_topic(topics: dict[str, Topic], name: str) -> None:
    """An error unless the name is '' or a topic's."""
    if name and name not in topics:
        raise HarnessError(f"unknown TOPIC '{name}'; choose one of: {' '.join(topics)}")


def parse_patch(topic: str, line: str, where: str) -> Patch:
    """FILE KIND [base] [held] [name=value ...]"""
    words = line.split()
    kinds = {kind.value: kind for kind in Kind}
    if len(words) < 2 or words[1] not in kinds:
        raise HarnessError(f"{where}: want FILE KIND [base] [held] [name=value ...], with a KIND of: {' '.join(kinds)}")
    kind, rest = kinds[words[1]], words[2:]
    base = rest[:1] == ['base']
    held = rest[base:][:1] == ['held']
    values: dict[str, str] = {}
    for word in rest[base + held:]:
        name, _, value = word.partition('=')
        if kind is not Kind.FIX or name not in FIX_VALUES or name in values:
            raise HarnessError(f"{where}: '{word}' is not understood; a fix has {' '.join(n + '=' for n in FIX_VALUES)}, "
                               'other patches have none')
        if not re.fullmatch(FIX_VALUES[name], value):
            raise HarnessError(f"{where}: {name}='{value}' does not match {FIX_VALUES[name]}")
        values[name] = value
    missing = [name for name in FIX_VALUES if kind is Kind.FIX and name not in values]
    if missing:
        raise HarnessError(f'{where}: a fix without {missing[0]}=')
    return Patch(topic, words[0], kind, base, values, held)


def read_series(topic: Topic) -> list[Patch]:
    """The patches of a topic, in order."""
    patches = []
    for number, line in enumerate(need_text(topic.folder / 'series').splitlines(), 1):
        if line.split('#')[0].strip():
            patches.append(parse_patch(topic.name, line.split('#')[0], f'topics/{topic.name}/series:{number}'))
    return patches


def all_patches(topics: dict[str, Topic]) -> list[Patch]:
    """The patches of all topics, in the order in which they are applied."""
    return [patch for topic in topics.values() for patch in read_series(topic)]


def read_bench(topics: dict[str, Topic], topic: Topic) -> Bench:
    """The limits of a topic's benchmarks; a topic without a bench file has none.

    'through: TOPIC' says what is counted, and 'from: TOPIC' what the lines after it are compared with.
    """
    counted, since, limits = 'series', '', []
    for number, line in enumerate(read_text(topic.folder / 'bench').splitlines(), 1):
        words, where = line.split(), f'topics/{topic.name}/bench:{number}'
        if not words or words[0].startswith('#'):
            continue
        if words[0] in ('through:', 'from:') and len(words) == 2:
            if words[1] not in topics:
                raise HarnessError(f"{where}: unknown topic '{words[1]}'; topics/order has: {' '.join(topics)}")
            if words[0] == 'from:':
                since = words[1]
            else:
                counted = 'through-' + words[1]
        elif len(words) == 3:
            limits.append(_limit(words, where, since))
        else:
            raise HarnessError(f'{where}: not understood: {line}')
    return Bench(topic.name, counted, tuple(limits))


def _limit(words: list[str], where: str, since: str) -> Limit:
    """ARCH[@FLAVOUR] NAME LIMIT, checked."""
    arch, _, flavour = words[0].partition('@')
    limit = Limit(arch, *words[1:], flavour or BENCH, since)
    find_arch(limit.arch, where)
    check_flavour(limit.flavour, where)
    want = r'(\d+(?:\.\d+)?)\*(\S+)' if limit.is_ratio else r'equal|shown|\d+(\.\d+)?'
    match = re.fullmatch(want, limit.limit)
    if not match or limit.name.count('/') > 1:
        raise HarnessError(f"{where}: not understood: '{limit.limit}'; want NAME or NAME:OTHER and a number, equal or shown, "
                           'or NAME/NAME and FACTOR*ARCH')
    if limit.is_ratio:
        find_arch(match.group(2), where)
    return limit


def bench_variants(topics: dict[str, Topic], wanted: str = '', flavour: str = BENCH) -> list[str]:
    """The variants that benchmarks of a topic, or of all, are counted on: base first; with a limit, the whole series, too."""
    check_topic(topics, wanted)
    variants = ['base']
    for topic in topics.values():
        bench = read_bench(topics, topic)
        limits = [limit for limit in bench.limits if limit.flavour == flavour and wanted in ('', topic.name)]
        for variant in [*(limit.base for limit in limits), *([bench.counted] if limits else [])]:
            if variant not in variants:
                variants.append(variant)
    if len(variants) > 1 and 'series' not in variants:
        variants.append('series')
    return variants
