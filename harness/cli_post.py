# SPDX-License-Identifier: GPL-2.0
"""`post`: mails of a topic, or of a part of it, in out/post/. Sends nothing."""

import argparse
import os
import re
from pathlib import Path

from .commits import SERIES_EMAIL, SERIES_NAME
from .errors import HarnessError, need_text
from .expectations import read_tests
from .output import table
from .post_facts import check_patches, mail_of, read_facts
from .post_mails import target_of
from .post_make import Posting, make, make_tree, own_kernel, poster_kernel
from .post_plan import check_held, check_route, crossing, number_of, parts, select
from .post_repo import Poster, read_git
from .topics import Topic, check_topic, read_order, topics_folder

# coding-assistants.rst: "Basic development tools (git, gcc, make, editors) should not be listed."
BASIC_TOOLS = ('git', 'gcc', 'make', 'vim', 'vi', 'emacs', 'nano')
SETTINGS = {
    'topic': 'the topic', 'group': 'a group of fixes, or fixes, development, tests, documentation',
    'patch': 'one patch: its number, or a part of its name', 'kernel': "the maintainers' tree that the mails are to apply to",
    'after': 'the parts and topics that were posted before, and that this one goes on top of', 'version': '2 for a second version',
    'previous': 'the folder of the mails of the version before', 'route': 'of a bug that crosses a trust boundary: private or public',
    'signed_off_by': 'your name and address as in git config: you certify the origin of the patches',
    'assisted_by': "the tools that had a part in the patches: 'LLM [TOOL] ...'", 'disclosure': 'a file: which tool did what'}


def read_poster(where: Path, signed_off_by: str, assisted_by: str) -> Poster:
    """Who posts. Nothing of it has a default: it is the poster who certifies and discloses."""
    name, email = read_git(where, 'config', 'user.name'), read_git(where, 'config', 'user.email')
    if not name or not email:
        raise HarnessError('git does not know who posts; run: git config --global user.name ... and user.email ...')
    if name == SERIES_NAME or email == SERIES_EMAIL or email.endswith(('.invalid', '@invalid')) or '@' not in email:
        raise HarnessError(f"'{name} <{email}>' is nobody; set git config user.name and user.email to your own name and address")
    if not signed_off_by:
        raise HarnessError("say SIGNED_OFF_BY='Your Name <address>' if you certify the Developer's Certificate of Origin "
                           '(submitting-patches.rst)')
    if signed_off_by != f'{name} <{email}>':
        raise HarnessError(f"SIGNED_OFF_BY='{signed_off_by}' is not '{name} <{email}>', whom git config names; only you can sign off for "
                           'yourself')
    if not assisted_by:
        raise HarnessError("say ASSISTED_BY='LLM [TOOL] ...': the tools that had a part in these patches (coding-assistants.rst)")
    words = assisted_by.split()
    if words[:1] != ['LLM'] or not all(re.fullmatch(r'\w[\w.+-]*', word) for word in words):
        raise HarnessError(f"ASSISTED_BY='{assisted_by}' does not have the form of coding-assistants.rst: LLM [TOOL] ...")
    basic = [word for word in words if word in BASIC_TOOLS]
    if basic:
        raise HarnessError(f"ASSISTED_BY= names {basic[0]}; coding-assistants.rst wants no basic development tools there")
    return Poster(name, email, ' '.join(words))


def read_version(version: str, previous: str) -> tuple[int, list[Path]]:
    """VERSION= and the mails of PREVIOUS=."""
    if not re.fullmatch(r'[1-9]\d?', version):
        raise HarnessError(f"VERSION='{version}' is not a number")
    if (int(version) > 1) != bool(previous):
        raise HarnessError('a second version needs VERSION=2 and PREVIOUS=, the folder of the mails of the first')
    mails = [path for path in sorted(Path(previous).glob('*.patch')) if '0000-' not in path.name] if previous else []
    if previous and not mails:
        raise HarnessError(f'PREVIOUS={previous} has no *.patch; point it at the mails of the version before')
    return int(version), mails


def print_plan(topics: dict[str, Topic], chosen: list[Topic]) -> None:
    """What goes where."""
    facts, rows = read_facts(topics_folder()), []
    for topic in chosen:
        for part in parts(topic):
            mails = [mail_of(topics, patch) for patch in part.patches]
            held = ' '.join(number_of(patch) for patch in part.patches if patch.held)
            option = f'PATCH={part.name}' if part.name.isdecimal() else f'GROUP={part.name}'
            rows.append((topic.name, option, len(mails), target_of(part, mails), 'ROUTE=' if crossing(topics, part, facts) else '',
                         f'held: {held}' if held else mails[0].subject if len(mails) == 1 else ''))
    print('\n'.join(table(rows, ('topic', 'part', 'patches', 'for', 'security', ''))))


def do_post(args: argparse.Namespace) -> int:
    """Check what was said, make the mails, print what the poster has to confirm."""
    folder = topics_folder()
    topics = read_order(folder)
    check_topic(topics, args.topic)
    if not args.topic and (args.group or args.patch):
        raise HarnessError("say whose: TOPIC= is missing; make post without settings prints what goes where")
    if not args.topic:
        print_plan(topics, list(topics.values()))
        return 0
    part = select(topics[args.topic], args.group, args.patch)
    check_held(part)
    poster = read_poster(Path(args.kernel or '.'), args.signed_off_by, args.assisted_by)
    facts = read_facts(folder)
    check_patches(topics, part.patches, read_tests(topics), facts)
    route = check_route(topics, part, facts, args.route)
    version, previous = read_version(args.version or '1', args.previous)
    disclosure = need_text(Path(args.disclosure)) if args.disclosure else ''
    if args.kernel:
        kernel = poster_kernel(Path(args.kernel))
        make_tree()
    else:
        kernel = own_kernel(args.linux)
    posting = Posting(topics, part, facts, route, poster, kernel, args.linux, args.out / part.folder, args.after, version, previous,
                      disclosure)
    args.out.mkdir(parents=True, exist_ok=True)
    said = make(posting)
    for path in sorted(posting.folder.glob('*.[pt][ax]t*')):
        print(path)
    print('Before you send it, with git send-email --suppress-cc=body, confirm:' if kernel.own else 'Confirm:')
    print(''.join(f'- {line}\n' for line in said), end='')
    return 0


def add_commands(commands: 'argparse._SubParsersAction[argparse.ArgumentParser]') -> None:
    """Add the commands of this module."""
    parser = commands.add_parser('post', help='mails of a topic, never sent', description=__doc__)
    parser.set_defaults(func=do_post)
    parser.add_argument('--linux', type=Path, required=True, help='out/linux')
    parser.add_argument('--out', type=Path, required=True, help='the folder that gets a folder for the posting')
    for name, text in SETTINGS.items():
        parser.add_argument(f'--{name.replace("_", "-")}', default=os.environ.get(name.upper(), ''), help=f'{text}; {name.upper()}=')
