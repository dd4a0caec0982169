# SPDX-License-Identifier: GPL-2.0
"""Puts a posting together: commits on the base, mails with recipients and notes, a branch for b4. Sends nothing."""

import json
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from .arch import TOP
from .errors import HarnessError
from .post_facts import Facts, Mail, mail_of
from .post_mails import change_id, confirmations, cover_of, fix_note, footer, insert, private_report
from .post_people import Recipients, recipients, union
from .post_plan import Part, Route, check_after, check_held, prerequisites
from .post_repo import Poster, Scratch, make_scratch, range_before, read_git, sign
from .topics import Kind, Patch, Topic

BRANCH = 'post'
MAGIC = '--- b4-submit-tracking ---\n# This section is used internally by b4 prep for tracking purposes.\n'


@dataclass(frozen=True)
class Kernel:
    """The tree that the mails are made for. `public` is the commit that base-commit: may name."""
    path: Path
    commit: str
    public: str
    own: bool       # the poster's tree, by KERNEL=: the mails may go out


@dataclass
class Posting:
    """What make post was asked for, and where it puts it."""
    topics: dict[str, Topic]
    part: Part
    facts: Facts
    route: Route
    poster: Poster
    kernel: Kernel
    linux: Path
    folder: Path
    after: str = ''
    version: int = 1
    previous: Sequence[Path] = ()
    disclosure: str = ''
    needed: list[Patch] = field(default_factory=list)

    def stored(self, patch: Patch) -> Path:
        return self.topics[patch.topic].folder / patch.file

    def mail(self, patch: Patch) -> Mail:
        return mail_of(self.topics, patch)


def poster_kernel(path: Path) -> Kernel:
    """KERNEL=: its commit, which others have to have as well."""
    commit = read_git(path, 'rev-parse', '-q', '--verify', 'HEAD^{commit}')
    if not commit:
        raise HarnessError(f'{path} is not a git tree with a commit')
    top = Path(read_git(path, 'rev-parse', '--show-toplevel') or path)
    if not read_git(top, 'ls-tree', commit, 'mm/memory.c', 'Kbuild').count('\n'):
        raise HarnessError(f'{path} is not a kernel source tree')
    if not read_git(top, 'for-each-ref', '--count=1', f'--contains={commit}', 'refs/remotes', 'refs/tags'):
        raise HarnessError(f'no remote branch and no tag of {path} has its HEAD; check out the commit of the maintainers\' tree that '
                           'base-commit can name')
    return Kernel(top, commit, commit, True)


def own_kernel(linux: Path) -> Kernel:
    """out/linux: its base is a commit that others have only if it comes from the stable tree."""
    make_tree()
    commit = read_git(linux, 'rev-parse', 'refs/mm/base')
    upstream = linux / '.git/mm-upstream-commit'
    return Kernel(linux, commit, upstream.read_text(encoding='ascii').strip() if upstream.is_file() else '', False)


def make_tree() -> None:
    """Make out/linux, or have it up to date."""
    done = subprocess.run([str(TOP / 'scripts/tree')], capture_output=True, text=True, check=False)
    if done.returncode:
        raise HarnessError((done.stderr.splitlines() or ['scripts/tree failed'])[-1])


def try_apply(scratch: Scratch, base: str, posting: Posting, patches: Sequence[Patch]) -> bool:
    """Do the patches apply in that order, with exact context, to the base?"""
    files = sorted({file for patch in patches for file in posting.mail(patch).files})
    index = {'GIT_INDEX_FILE': str(scratch.path / '.git/try-index')}
    Path(index['GIT_INDEX_FILE']).unlink(missing_ok=True)
    entries = scratch.git('--literal-pathspecs', 'ls-tree', '--full-tree', base, '--', *files)
    scratch.git('update-index', '--index-info', data=entries + '\n' if entries else '', **index)
    return all(scratch.try_git('apply', '--cached', '--whitespace=nowarn', str(posting.stored(patch)), **index).returncode == 0
               for patch in patches)


def applies_as_is(scratch: Scratch, posting: Posting) -> bool:
    """Does the part apply to the poster's kernel without its prerequisites?"""
    try:
        for patch in posting.part.patches:
            scratch.apply(posting.stored(patch), True)
    except HarnessError:
        return False
    finally:
        scratch.git('reset', '-q', '--hard', posting.kernel.commit)
    return True


def build(scratch: Scratch, posting: Posting) -> tuple[list[str], str]:
    """Apply prerequisites and patches: the commits of the patches, and the commit below them.

    posting.needed becomes the prerequisites that the kernel does not have yet.
    """
    base = read_git(posting.linux, 'rev-parse', 'refs/mm/base')
    needed = prerequisites(posting.topics, posting.part, lambda patches: try_apply(scratch, base, posting, patches))
    files = {file for patch in (*needed, *posting.part.patches) for file in posting.mail(patch).files}
    scratch.checkout(posting.kernel.commit, sorted(files))
    fixes = all(patch.kind is Kind.FIX for patch in posting.part.patches)
    if posting.kernel.own and fixes and applies_as_is(scratch, posting):
        needed = []
    check_held(posting.part, needed)
    posting.needed = [patch for patch in needed if scratch.apply(posting.stored(patch), posting.kernel.own)]
    check_after(posting.part, posting.needed, posting.after)
    below, made = scratch.head, []
    for patch in posting.part.patches:
        commit = scratch.apply(posting.stored(patch), posting.kernel.own)
        if not commit:
            raise HarnessError(f'{posting.kernel.path} has {patch.topic}/{patch.file} already; leave it out by PATCH= or GROUP=')
        made.append(commit)
    return made, below


def branch_for_b4(scratch: Scratch, posting: Posting, commits: Sequence[str], below: str, cover: str, change: str) -> None:
    """A branch that b4 prep takes for one of its own: a commit with the cover letter, then the patches."""
    tracking = {'series': {'revision': posting.version, 'change-id': change, 'prefixes': []}}
    text = cover or f'{posting.mail(posting.part.patches[0]).subject}\n'
    tip = scratch.commit(scratch.tree_of(below), below, f'{text}\n{MAGIC}{json.dumps(tracking, indent=2)}\n', posting.poster)
    for commit in commits:
        tip = scratch.commit(scratch.tree_of(commit), tip, scratch.git('log', '-1', '--format=%B', commit) + '\n', posting.poster)
    scratch.git('branch', '-f', f'b4/{posting.part.folder}', tip)


def format_mails(scratch: Scratch, posting: Posting, below: str, tip: str, cover: str, before: str, folder: Path) -> list[Path]:
    """git format-patch: one mail a patch, and the cover letter from the branch's description."""
    scratch.git('branch', '-f', BRANCH, tip)
    options = ['--subject-prefix=PATCH' if posting.kernel.own else '--subject-prefix=NOT FOR SENDING PATCH', '--no-cover-letter']
    if cover:
        scratch.git('config', f'branch.{BRANCH}.description', cover)
        options[1:] = ['--cover-letter', '--cover-from-description=subject']
    if posting.version > 1:
        options += [f'-v{posting.version}', f'--range-diff={before}']
    scratch.git('format-patch', '-q', '--thread=shallow', '--no-renames', '--no-signature', '--stat=72', *options, '-o', str(folder),
                f'{below}..{BRANCH}', **posting.poster.environment)
    return sorted(folder.glob('*.patch'))


def address(scratch: Scratch, posting: Posting, mails: Sequence[Path], end: str) -> Recipients:
    """Give each mail its recipients and its note, and the first one the series' footer. Return the recipients of all."""
    prefix = '' if posting.kernel.own else 'X-'
    patches, cover = mails[-len(posting.part.patches):], mails[:-len(posting.part.patches)]
    everybody = []
    for patch, path in zip(posting.part.patches, patches, strict=True):
        mail = posting.mail(patch)
        who = recipients(scratch.path, path, patch.topic, mail, posting.facts, posting.route)
        everybody.append(who)
        note = fix_note(posting.topics, patch, posting.facts) if patch.kind is Kind.FIX else ''
        if not cover:
            note = '\n'.join(filter(None, (note, posting.disclosure, end)))
        insert(path, who.headers(prefix), note, '')
    for path in cover:
        insert(path, union(everybody).headers(prefix), '', end)
    return union(everybody)


def make(posting: Posting) -> list[str]:
    """Make the folder of the posting; return what the poster has to confirm."""
    new = posting.folder.with_name(posting.folder.name + '.new')
    shutil.rmtree(new, ignore_errors=True)
    try:
        said = _fill(posting, new)
        shutil.rmtree(posting.folder, ignore_errors=True)
        new.rename(posting.folder)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return said


def _fill(posting: Posting, new: Path) -> list[str]:
    """Everything in a folder that takes its place when it is complete."""
    cover = cover_of(posting.part, posting.disclosure)
    scratch = make_scratch(new / 'tree', list(dict.fromkeys((posting.kernel.path, posting.linux))))
    made, below = build(scratch, posting)
    tip = scratch.head
    before = range_before(scratch, posting.previous, below) if posting.previous else ''
    scratch.git('checkout', '-q', '-f', '--detach', tip)
    signed = sign(scratch, made, below, posting.poster, posting.route)
    earlier = ''.join(path.read_text(encoding='utf-8') for path in sorted(posting.previous[0].parent.glob('*.patch'))) \
        if posting.previous else ''
    change = change_id(posting.part, earlier, date.today().strftime('%Y%m%d'))
    branch_for_b4(scratch, posting, signed, below, cover, change)
    mails = format_mails(scratch, posting, below, signed[-1], cover, before, new)
    commits = read_git(scratch.path, 'rev-list', '--reverse', f'{posting.kernel.commit}..{below}').split()
    ids = [(posting.mail(patch).subject, scratch.patch_id(commit)) for patch, commit in zip(posting.needed, commits, strict=True)]
    who = address(scratch, posting, mails, footer(ids, posting.kernel.public, change))
    said = confirmations(posting.topics, posting.part, posting.facts, posting.route, posting.disclosure)
    if not posting.kernel.own:
        said.insert(0, 'NOT FOR SENDING: say KERNEL=, the tree of the maintainers that the mails are to apply to.')
    (new / 'confirm.txt').write_text(''.join(f'- {line}\n' for line in said), encoding='utf-8')
    if posting.route is Route.PRIVATE:
        (new / 'report.txt').write_text(private_report(posting.topics, posting.part, posting.facts, who, mails), encoding='utf-8')
    return said
