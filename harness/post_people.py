# SPDX-License-Identifier: GPL-2.0
"""Recipients: get_maintainer.pl by path, authors of commits in Fixes: tags, people of the discussion, lists."""

import re
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from email.utils import parseaddr
from pathlib import Path

from .errors import HarnessError
from .post_facts import Facts, Mail, fixes_of
from .post_plan import Route

OPTIONS = ('--no-tree', '--no-git', '--no-git-fallback', '--no-fixes', '--no-keywords', '--roles', '--no-rolestats')
# Only the maintainers of the file itself, see security-bugs.rst.
CLOSEST = ('--no-l', '--no-r', '--pattern-depth', '1')
API_LISTS = ('linux-api@vger.kernel.org', 'linux-man@vger.kernel.org')
SECURITY = 'Linux kernel security team <security@kernel.org>'
# Trailers that name a person who has to get the mail.
NAMED = ('Cc', 'Reported-by', 'Suggested-by', 'Co-developed-by')


@dataclass(frozen=True)
class Recipients:
    """To: and Cc: of one mail."""
    to: tuple[str, ...]
    cc: tuple[str, ...]

    def headers(self, prefix: str = '') -> str:
        """The header lines, folded after each address. `prefix` keeps git send-email from seeing them."""
        lines = [f'{prefix}{name}: ' + ',\n\t'.join(who) + '\n' for name, who in (('To', self.to), ('Cc', self.cc)) if who]
        return ''.join(lines)


def address_of(contact: str) -> str:
    return parseaddr(contact)[1].lower()


def unique(contacts: Iterable[str], without: Iterable[str] = ()) -> tuple[str, ...]:
    """The contacts by address, the first of each, without some."""
    left_out = {address_of(contact) for contact in without}
    found: dict[str, str] = {}
    for contact in contacts:
        if address_of(contact) not in left_out:
            found.setdefault(address_of(contact), contact)
    return tuple(found.values())


def union(all_of: Sequence[Recipients]) -> Recipients:
    """The recipients of a cover letter: those of every patch."""
    to = unique(contact for one in all_of for contact in one.to)
    return Recipients(to, unique((contact for one in all_of for contact in one.cc), to))


def get_maintainer(tree: Path, mail: Path, *options: str) -> list[tuple[str, str]]:
    """What scripts/get_maintainer.pl of the tree says of a patch: (contact, role)."""
    done = subprocess.run(['perl', 'scripts/get_maintainer.pl', *OPTIONS, *options, str(mail)], cwd=tree, capture_output=True,
                          text=True, check=False)
    if done.returncode:
        raise HarnessError(f'get_maintainer.pl failed for {mail.name}: {(done.stderr.splitlines() or ["no reason given"])[0]}')
    found = []
    for line in done.stdout.splitlines():
        match = re.fullmatch(r'(.+) \(([a-z ]+)(?::.*)?\)', line)
        if match:
            found.append((match.group(1), match.group(2)))
    return found


def mailmap(tree: Path, contacts: Sequence[str]) -> list[str]:
    """The contacts as .mailmap of the tree has them."""
    if not contacts:
        return []
    done = subprocess.run(['git', '-C', str(tree), 'check-mailmap', '--stdin'], input='\n'.join(contacts) + '\n', capture_output=True,
                          text=True, check=False)
    if done.returncode:
        raise HarnessError(f'git check-mailmap failed: {(done.stderr.splitlines() or ["no reason given"])[0]}')
    return done.stdout.splitlines()


def named_in(mail: Mail) -> list[str]:
    """People and lists of the trailers; stable@ is a note for the stable team and no recipient."""
    values = [value.partition('#')[0].strip() for name in NAMED for value in mail.values(name)]
    return [value for value in values if '@' in value and not address_of(value).startswith('stable')]


def known_people(topic: str, mail: Mail, facts: Facts) -> list[str]:
    """Authors of the commits that the patch fixes, and those who discussed the topic."""
    authors = [facts.commits[name[:12]].author for name, _ in fixes_of(mail) if name[:12] in facts.commits]
    return [person.contact for person in (*authors, *facts.threads.get(topic, [])) if person.address]


def private_recipients(tree: Path, patch: Path) -> Recipients:
    """Maintainers of the files and the security team, and nobody else."""
    found = get_maintainer(tree, patch, *CLOSEST) or get_maintainer(tree, patch, *CLOSEST[:2])
    to = unique(contact for contact, _ in found)
    if not to:
        raise HarnessError(f'get_maintainer.pl found nobody for {patch.name}; ask security@kernel.org whom to write to')
    return Recipients(to, (SECURITY,))


def recipients(tree: Path, patch: Path, topic: str, mail: Mail, facts: Facts, route: Route) -> Recipients:
    """To: the maintainers; Cc: reviewers, people who know the code, and lists. `patch` is the mail that goes out."""
    if route is Route.PRIVATE:
        return private_recipients(tree, patch)
    found = get_maintainer(tree, patch)
    to = unique(contact for contact, role in found if role in ('maintainer', 'supporter'))
    if not to:
        raise HarnessError(f'get_maintainer.pl found nobody for {patch.name}; look at MAINTAINERS')
    people = mailmap(tree, [contact for contact in (*named_in(mail), *known_people(topic, mail, facts)) if '<' in contact])
    lists = [contact for contact in named_in(mail) if '<' not in contact]
    if (topic, mail.subject) in facts.visible:
        lists += API_LISTS
    return Recipients(to, unique([*(contact for contact, role in found if role == 'reviewer'), *people,
                                  *(contact for contact, role in found if 'list' in role), *lists], to))
