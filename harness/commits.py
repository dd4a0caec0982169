# SPDX-License-Identifier: GPL-2.0
"""Stored mails become commits, without a work tree.

    python3 -m harness.commits REPO PARENT MAIL...

puts the commits of the mails on PARENT and prints the id of each. Context has to match exactly; offsets are
allowed. If a mail cannot be applied, nothing but "MAIL: REASON" is printed, on standard error. No branch, index or work
tree of REPO changes. With SERIES_COMMITTER=yes the committer is fixed, so that the same mails give the same ids
everywhere; otherwise the committer is the user.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

SERIES_NAME = 'mm series'
SERIES_EMAIL = 'mm-series@invalid'
EMPTY_TREE = '4b825dc642cb6eb9a060e54bf8d69288fbee4904'
# What git prints must depend on the repository alone. commit-tree is the exception: it needs the user's name.
PLAIN = {'GIT_CONFIG_GLOBAL': '/dev/null', 'GIT_CONFIG_SYSTEM': '/dev/null'}


class MailError(Exception):
    """A mail that is no commit; the message is the reason."""


@dataclass(frozen=True)
class Mail:
    """What git mailinfo says of a mail."""
    author: str
    email: str
    date: str
    message: bytes
    patch: bytes


@dataclass
class Repository:
    """A git repository in which objects are made. `work` is a scratch folder."""
    path: str
    work: Path
    trees: dict[str, dict[str, tuple[str, str, str]]] = field(default_factory=dict)

    def git(self, *args: str, data: bytes = b'', **env: str) -> bytes:
        """The output of a git command that has to succeed."""
        done = self.try_git(*args, data=data, **env)
        if done.returncode:
            raise MailError(first_line(done.stderr) or f'git {args[0]} failed')
        return done.stdout

    def try_git(self, *args: str, data: bytes = b'', **env: str) -> subprocess.CompletedProcess[bytes]:
        """A git command that may fail."""
        command = ['git', '-C', self.path, '-c', 'safe.directory=*', *args]
        return subprocess.run(command, input=data, capture_output=True, check=False, env={**os.environ, **env})

    def read_tree(self, tree: str) -> dict[str, tuple[str, str, str]]:
        """The entries of one tree object by name: (mode, type, id)."""
        if tree not in self.trees:
            entries = {}
            for line in self.git('ls-tree', '-z', tree).decode('utf-8', 'surrogateescape').split('\0')[:-1]:
                what, name = line.split('\t', 1)
                mode, kind, oid = what.split(' ')
                entries[name] = (mode, kind, oid)
            self.trees[tree] = entries
        return self.trees[tree]

    def edit_tree(self, tree: str, changes: dict[str, tuple[str, str] | None]) -> str:
        """The tree with other blobs, (mode, id) by path, or None for a file that goes. '' if nothing is left."""
        entries = dict(self.read_tree(tree))
        below: dict[str, dict[str, tuple[str, str] | None]] = {}
        for path, blob in changes.items():
            name, _, rest = path.partition('/')
            if rest:
                below.setdefault(name, {})[rest] = blob
            elif blob:
                entries[name] = (blob[0], 'blob', blob[1])
            else:
                entries.pop(name, None)
        for name, inner in below.items():
            old = entries.get(name, ('', 'tree', EMPTY_TREE))
            oid = self.edit_tree(old[2] if old[1] == 'tree' else EMPTY_TREE, inner)
            if oid:
                entries[name] = ('040000', 'tree', oid)
            else:
                entries.pop(name, None)
        if not entries:
            return ''
        text = ''.join(f'{mode} {kind} {oid}\t{name}\0' for name, (mode, kind, oid) in entries.items())
        oid = self.git('mktree', '-z', data=text.encode('utf-8', 'surrogateescape')).decode().strip()
        self.trees[oid] = entries
        return oid


def first_line(text: bytes) -> str:
    """The first line of what git said, without "error: "."""
    lines = text.decode('utf-8', 'replace').splitlines()
    return lines[0].removeprefix('error: ').removeprefix('fatal: ') if lines else ''


def read_mail(repo: Repository, path: Path) -> Mail:
    """Split a mail into message and patch."""
    if not path.is_file():
        raise MailError('no such patch')
    done = repo.try_git('mailinfo', '-b', str(repo.work / 'message'), str(repo.work / 'patch'), data=path.read_bytes(), **PLAIN)
    if done.returncode:
        raise MailError('not a mail')
    info = dict(line.split(': ', 1) for line in done.stdout.decode('utf-8', 'replace').splitlines() if ': ' in line)
    if not info.get('Email') or not info.get('Subject'):
        raise MailError('no From: or Subject:')
    message = f'{info["Subject"]}\n\n'.encode() + (repo.work / 'message').read_bytes()
    return Mail(info.get('Author', ''), info['Email'], info.get('Date', ''), message, (repo.work / 'patch').read_bytes())


def touched(repo: Repository, patch: bytes) -> list[str]:
    """The paths that a patch changes."""
    done = repo.try_git('apply', '--numstat', '-z', data=patch, **PLAIN)
    if done.returncode:
        raise MailError(f'does not apply ({first_line(done.stderr)})')
    return [line.split('\t', 2)[2] for line in done.stdout.decode('utf-8', 'surrogateescape').split('\0')[:-1]]


def apply(repo: Repository, parent: str, patch: bytes) -> dict[str, tuple[str, str] | None]:
    """The blobs that a patch changes, applied to an index that has the paths of the patch and no others."""
    paths = touched(repo, patch)
    index = repo.work / 'index'
    before = repo.git('--literal-pathspecs', 'ls-tree', '-z', '--full-tree', parent, '--', *paths)
    results = []
    # git ignores the lines that a hunk has beyond its count: applied with the lines counted again, it has to give the same
    for recount in ((), ('--recount',)):
        index.unlink(missing_ok=True)
        env = {'GIT_INDEX_FILE': str(index), **PLAIN}
        repo.git('read-tree', '--empty', **env)
        repo.git('update-index', '-z', '--index-info', data=before, **env)
        done = repo.try_git('apply', '--cached', '--whitespace=nowarn', *recount, data=patch, **env)
        if done.returncode and not recount:
            raise MailError(f'does not apply ({first_line(done.stderr)})')
        results.append(None if done.returncode else repo.git('ls-files', '-s', '-z', **env))
    if results[0] != results[1]:
        raise MailError('a hunk does not have the lines that it counts')
    after: dict[str, tuple[str, str] | None] = {path: None for path in paths}
    for line in results[0].decode('utf-8', 'surrogateescape').split('\0')[:-1]:
        what, path = line.split('\t', 1)
        mode, oid, _ = what.split(' ')
        after[path] = (mode, oid)
    return after


def commit(repo: Repository, parent: str, path: Path) -> str:
    """Make the commit of one mail; return its id."""
    mail = read_mail(repo, path)
    tree = repo.git('rev-parse', f'{parent}^{{tree}}').decode().strip()
    if any(line.startswith((b'diff ', b'--- ', b'@@ ')) for line in mail.patch.splitlines()):
        tree = repo.edit_tree(tree, apply(repo, parent, mail.patch)) or EMPTY_TREE
    env = {'GIT_AUTHOR_NAME': mail.author, 'GIT_AUTHOR_EMAIL': mail.email, 'GIT_AUTHOR_DATE': mail.date}
    if os.environ.get('SERIES_COMMITTER') == 'yes':
        env |= {'GIT_COMMITTER_NAME': SERIES_NAME, 'GIT_COMMITTER_EMAIL': SERIES_EMAIL, 'GIT_COMMITTER_DATE': mail.date}
    return repo.git('commit-tree', tree, '-p', parent, '-F', '-', data=mail.message, **env).decode().strip()


def main() -> int:
    """Put the mails of the command line on a commit."""
    parser = argparse.ArgumentParser(prog='harness.commits', description=__doc__.splitlines()[0])
    parser.add_argument('repo', help='a git repository')
    parser.add_argument('parent', help='the commit below the first mail')
    parser.add_argument('mails', nargs='*', type=Path, metavar='MAIL', help='a stored patch')
    args = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory() as work:
            repo, tip, ids = Repository(args.repo, Path(work)), args.parent, []
            for mail in args.mails:
                try:
                    tip = commit(repo, tip, mail)
                except MailError as error:
                    print(f'{mail.name}: {error}', file=sys.stderr)
                    return 1
                ids.append(tip)
    except OSError as error:
        print(f'cannot write to {tempfile.gettempdir()}: {error.strerror}; free some space or set TMPDIR=', file=sys.stderr)
        return 1
    print(*ids, sep='\n')
    return 0


if __name__ == '__main__':
    sys.exit(main())
