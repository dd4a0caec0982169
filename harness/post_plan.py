# SPDX-License-Identifier: GPL-2.0
"""Which patches of a topic are posted together, and on top of which others.

A topic has parts: the fixes that go alone, each by its number; the groups of fixes; and all fixes, development, tests and
documentation. A patch that has to be applied before a part is a prerequisite of the part.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

from .errors import HarnessError
from .post_facts import Facts, mail_of, verdict_of
from .topics import Kind, Patch, Topic, read_series

# submitting-patches.rst: "only post say 15 or so at a time"
MOST_PATCHES = 15
# The parts that are not groups of fixes.
KINDS = {'fixes': Kind.FIX, 'development': Kind.DEVELOPMENT, 'tests': Kind.TEST, 'documentation': Kind.DOCUMENTATION}


class Route(Enum):
    """To whom a posting goes: NORMAL has no bug that crosses a trust boundary."""
    NORMAL = ''
    PUBLIC = 'public'
    PRIVATE = 'private'


@dataclass(frozen=True)
class Part:
    """Patches of a topic that are posted together, in their order."""
    topic: Topic
    name: str                   # '' for the whole topic
    patches: tuple[Patch, ...]

    @property
    def folder(self) -> str:
        return f'{self.topic.name}-{self.name}' if self.name else self.topic.name


def number_of(patch: Patch) -> str:
    """The number in the file's name."""
    return patch.file.partition('-')[0]


def label_of(patch: Patch) -> str:
    """The smallest part that has the patch."""
    if patch.kind is Kind.FIX:
        return number_of(patch) if patch.values['group'] == 'alone' else patch.values['group']
    return next(name for name, kind in KINDS.items() if kind is patch.kind)


def groups_of(patches: Sequence[Patch]) -> list[str]:
    """The groups of fixes, in order."""
    return list(dict.fromkeys(p.values['group'] for p in patches if p.kind is Kind.FIX and p.values['group'] != 'alone'))


def _by_number(topic: Topic, patches: Sequence[Patch], wanted: str) -> Part:
    """PATCH=: a number, or a part of one name."""
    if wanted.isdecimal():
        found = [p for p in patches if number_of(p) == wanted.zfill(4)]
    else:
        found = [p for p in patches if wanted in p.file]
    if len(found) != 1:
        raise HarnessError(f"PATCH='{wanted}' names {len(found)} patches of {topic.name}; see topics/{topic.name}/series")
    group = found[0].values.get('group', 'alone')
    if group != 'alone':
        others = [number_of(p) for p in patches if p.values.get('group') == group and p is not found[0]]
        raise HarnessError(f"{topic.name} {number_of(found[0])} goes together with {' '.join(others)}; say GROUP={group}")
    return Part(topic, number_of(found[0]), tuple(found))


def select(topic: Topic, group: str, patch: str) -> Part:
    """The part that GROUP= or PATCH= names, or the whole topic."""
    patches = read_series(topic)
    if group and patch:
        raise HarnessError('GROUP= and PATCH= exclude each other; say one of them')
    if patch:
        return _by_number(topic, patches, patch)
    if not group:
        return Part(topic, '', tuple(patches))
    if group == 'alone':
        raise HarnessError(f"the fixes with group=alone go out one by one; say PATCH= with a number of topics/{topic.name}/series")
    if group in KINDS:
        found = [p for p in patches if p.kind is KINDS[group]]
    else:
        found = [p for p in patches if p.values.get('group') == group]
    if not found:
        raise HarnessError(f"unknown GROUP '{group}' of {topic.name}; choose one of: {' '.join([*groups_of(patches), *KINDS])}")
    return Part(topic, group, tuple(found))


def parts(topic: Topic) -> list[Part]:
    """The parts of a topic, the smallest first: what goes where."""
    patches = read_series(topic)
    alone = [Part(topic, number_of(p), (p,)) for p in patches if p.values.get('group') == 'alone']
    names = [*groups_of(patches), *(name for name, kind in KINDS.items()
                                    if kind is not Kind.FIX and any(p.kind is kind for p in patches))]
    return alone + [select(topic, name, '') for name in names]


def candidates(topics: dict[str, Topic], part: Part) -> list[Patch]:
    """The patches that may have to be applied before a part: earlier fixes for fixes, else all that are below."""
    own = read_series(part.topic)
    before = [p for p in own[:own.index(part.patches[0])] if p not in part.patches]
    if all(p.kind is Kind.FIX for p in part.patches):
        return before
    return [p for name in part.topic.needs for p in read_series(topics[name])] + before


def prerequisites(topics: dict[str, Topic], part: Part, applies: Callable[[list[Patch]], bool]) -> list[Patch]:
    """The patches that a part is applied on. Fixes need those without which they do not apply: applies() tries that.

    Other parts are made on top of everything below, whether it touches the same lines or not.
    """
    below = candidates(topics, part)
    if not all(p.kind is Kind.FIX for p in part.patches) or not below:
        return below
    files = {file for p in part.patches for file in mail_of(topics, p).files}
    needed: list[Patch] = []
    for patch in reversed(below):
        touched = set(mail_of(topics, patch).files)
        if touched & files:
            needed.insert(0, patch)
            files |= touched
    for patch in list(reversed(needed)):
        fewer = [p for p in needed if p is not patch]
        if applies([*fewer, *part.patches]):
            needed = fewer
    return needed


def check_after(part: Part, needed: Sequence[Patch], after: str) -> None:
    """An error unless AFTER= names every part that the posting goes on top of."""
    said, known = set(after.split()), [*part.topic.needs, *map(label_of, read_series(part.topic)), *KINDS]
    if said - set(known):
        raise HarnessError(f"AFTER= names '{min(said - set(known))}'; choose of: {' '.join(dict.fromkeys(known))}")
    missing: dict[str, None] = {}
    for patch in needed:
        other = patch.topic != part.topic.name
        names = {patch.topic} if other else {label_of(patch), 'fixes' if patch.kind is Kind.FIX else ''}
        if not names & said:
            missing[patch.topic if other else label_of(patch)] = None
    if missing:
        what = ' '.join(filter(None, (part.topic.name, part.name)))
        raise HarnessError(f"{what} goes on top of: {' '.join(missing)}; post those first, then say "
                           f"AFTER='{' '.join([*after.split(), *missing])}'")


def check_held(part: Part, needed: Sequence[Patch] = ()) -> None:
    """An error if a patch of the part, or one that it goes on top of, is held."""
    held = next((p for p in (*part.patches, *needed) if p.held), None)
    if not held:
        return
    name, until = f'{held.topic} {number_of(held)}', f'held until the decision that topics/{held.topic}/cover.txt asks for'
    if held in part.patches:
        raise HarnessError(f'{name} is {until}; post other patches by PATCH= or GROUP=')
    what = ' '.join(filter(None, (part.topic.name, part.name)))
    raise HarnessError(f'{what} goes on top of {name}, which is {until}')


def crossing(topics: dict[str, Topic], part: Part, facts: Facts) -> list[str]:
    """The subjects of bugs that cross a trust boundary and that the part fixes, or triggers by a test."""
    patches = list(part.patches)
    if any(p.kind is Kind.TEST for p in patches):
        patches += [p for p in read_series(part.topic) if p.kind is Kind.FIX and p.values['case'] != 'none' and p not in patches]
    mails = [(p, mail_of(topics, p)) for p in patches if p.kind is Kind.FIX]
    return [mail.subject for patch, mail in mails if verdict_of(patch, mail, facts).crosses]


def check_route(topics: dict[str, Topic], part: Part, facts: Facts, said: str) -> Route:
    """An error unless ROUTE= fits the bugs of the part."""
    if said not in ('', 'public', 'private'):
        raise HarnessError(f"unknown ROUTE '{said}'; choose one of: private public")
    subjects = crossing(topics, part, facts)
    if not subjects:
        if said == 'private':
            raise HarnessError('no bug here crosses a trust boundary; regular bugs are handled in public: leave out ROUTE=')
        return Route.NORMAL
    if not said:
        raise HarnessError(f"'{subjects[0]}' crosses a trust boundary: say ROUTE=private (maintainers and security@kernel.org only), or "
                           'ROUTE=public if the bug is public or to be treated as public; read security-bugs.rst first')
    fixed = [mail_of(topics, patch).subject for patch in part.patches if patch.kind is Kind.FIX]
    if said == 'private' and not (len(fixed) == len(part.patches) and set(fixed) <= set(subjects)):
        raise HarnessError('ROUTE=private is for the fixes that cross a trust boundary and no others; post those by GROUP= or PATCH=')
    return Route(said)
