# SPDX-License-Identifier: GPL-2.0
"""A git repository of its own in which a posting is put together: nothing is written to the kernel trees.

It borrows the objects of out/linux and of the poster's kernel, and checks out the files of the patches only.
"""

import os
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .commits import PLAIN
from .errors import HarnessError
from .post_plan import Route

# Files that get_maintainer.pl and git check-mailmap read.
ALWAYS = ('/MAINTAINERS', '/.mailmap', '/scripts/get_maintainer.pl')


@dataclass(frozen=True)
class Poster:
    """The person who posts, and what they say of the tools that had a part in the patches."""
    name: str
    email: str
    assisted_by: str

    @property
    def contact(self) -> str:
        return f'{self.name} <{self.email}>'

    @property
    def environment(self) -> dict[str, str]:
        return {f'GIT_{role}_{what}': value for role in ('AUTHOR', 'COMMITTER')
                for what, value in (('NAME', self.name), ('EMAIL', self.email))}


def reason_of(done: 'subprocess.CompletedProcess[str]') -> str:
    """What a git command said: the first conflict, or else the first line."""
    lines = [line for line in (done.stderr + done.stdout).splitlines() if not line.startswith(('Applying: ', 'hint: ', 'warning: '))]
    first = next((line for line in lines if line.startswith('CONFLICT')), (lines or ['no reason given'])[0])
    return first.removeprefix('error: ').removeprefix('fatal: ')


def read_git(repo: Path, *args: str) -> str:
    """What git says of a tree of the poster's, with their configuration; '' if it fails."""
    done = subprocess.run(['git', '-C', str(repo), *args], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ''


@dataclass(frozen=True)
class Scratch:
    """The repository, with a work tree in `path`."""
    path: Path

    def try_git(self, *args: str, data: str | None = None, **env: str) -> 'subprocess.CompletedProcess[str]':
        """A git command that may fail, without the poster's configuration."""
        command = ['git', '-C', str(self.path), '-c', 'core.abbrev=12', '-c', 'core.hooksPath=/dev/null', '-c', 'safe.directory=*', *args]
        return subprocess.run(command, input=data, capture_output=True, text=True, check=False, env={**os.environ, **PLAIN, **env})

    def git(self, *args: str, data: str | None = None, **env: str) -> str:
        """A git command that has to succeed."""
        done = self.try_git(*args, data=data, **env)
        if done.returncode:
            raise HarnessError(f'git {args[0]} failed in {self.path}: {reason_of(done)}')
        return done.stdout.strip()

    def checkout(self, commit: str, files: Sequence[str]) -> None:
        """A work tree of the commit with these files and no others, besides those that ALWAYS names."""
        self.git('config', 'core.sparseCheckout', 'true')
        (self.path / '.git/info').mkdir(exist_ok=True)
        (self.path / '.git/info/sparse-checkout').write_text('\n'.join([*ALWAYS, *(f'/{file}' for file in files)]) + '\n')
        self.git('checkout', '-q', '-f', '--detach', commit)

    @property
    def head(self) -> str:
        return self.git('rev-parse', 'HEAD')

    def apply(self, mail: Path, three_way: bool) -> str:
        """Apply a stored mail: the id of its commit, or '' if the tree has the change already."""
        before, nobody = self.head, {'GIT_COMMITTER_NAME': 'x', 'GIT_COMMITTER_EMAIL': 'x@invalid'}
        done = self.try_git('am', *(['-3'] if three_way else []), '--keep-non-patch', str(mail), **nobody)
        if done.returncode:
            self.git('am', '--abort', **nobody)
            raise HarnessError(f'{mail.parent.name}/{mail.name} does not apply: {reason_of(done)}')
        after = self.head
        return after if after != before else ''

    def commit(self, tree: str, parent: str, message: str, poster: Poster) -> str:
        return self.git('commit-tree', tree, '-p', parent, '-F', '-', data=message, **poster.environment)

    def tree_of(self, commit: str) -> str:
        return self.git('rev-parse', f'{commit}^{{tree}}')

    def patch_id(self, commit: str) -> str:
        """The id by which `prerequisite-patch-id:` names a patch."""
        return self.git('patch-id', '--stable', data=self.git('diff-tree', '-p', '--no-renames', commit) + '\n').split(' ')[0]


def make_scratch(path: Path, sources: Sequence[Path]) -> Scratch:
    """A repository that borrows the objects of others."""
    path.mkdir(parents=True)
    scratch = Scratch(path)
    scratch.git('init', '-q')
    scratch.git('config', 'gc.auto', '0')
    objects = []
    for source in sources:
        found = read_git(source, 'rev-parse', '--path-format=absolute', '--git-path', 'objects')
        if not found:
            raise HarnessError(f'{source} is not a git tree')
        objects.append(found)
        shallow = Path(read_git(source, 'rev-parse', '--path-format=absolute', '--git-path', 'shallow'))
        if shallow.is_file():
            with (path / '.git/shallow').open('a', encoding='ascii') as file:
                file.write(shallow.read_text(encoding='ascii'))
    (path / '.git/objects/info/alternates').write_text('\n'.join(objects) + '\n')
    return scratch


def private_message(message: str) -> str:
    """No mail may reach a list by a trailer: stable-kernel-rules.rst names an address that delivers to nobody."""
    message = re.sub(r'^Cc: <?stable@vger\.kernel\.org>?', 'Cc: stable@kernel.org', message, flags=re.M)
    return re.sub(r'^Cc: (?!stable@kernel\.org).*\n', '', message, flags=re.M)


def sign(scratch: Scratch, commits: Sequence[str], below: str, poster: Poster, route: Route) -> list[str]:
    """The commits again, with the poster as author, the disclosure and the sign-off."""
    made = []
    for commit in commits:
        message = scratch.git('log', '-1', '--format=%B', commit) + '\n'
        if route is Route.PRIVATE:
            message = private_message(message)
        message = scratch.git('interpret-trailers', '--trailer', f'Assisted-by: {poster.assisted_by}', '--trailer',
                              f'Signed-off-by: {poster.contact}', data=message)
        below = scratch.commit(scratch.tree_of(commit), below, message, poster)
        made.append(below)
    return made


def range_before(scratch: Scratch, mails: Sequence[Path], below: str) -> str:
    """The commits of an earlier version, as a range for git format-patch --range-diff."""
    scratch.git('checkout', '-q', '-f', '--detach', below)
    tip = ''
    for mail in mails:
        tip = scratch.apply(mail, True) or tip
    if not tip:
        raise HarnessError('PREVIOUS= has mails that change nothing; point it at the folder of the version before')
    return f'{below}..{tip}'
