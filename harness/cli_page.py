# SPDX-License-Identifier: GPL-2.0
"""The command that writes the page of all results."""

import argparse
import os
from pathlib import Path

from .arch import TOP
from .errors import HarnessError, need_text
from .expectations import read_tests
from .page_data import read_all
from .page_stock import read_stock
from .plan import out_folder
from .topics import read_order, topics_folder


def base_tag() -> str:
    """BASE_TAG of base.mk."""
    path = Path(os.environ.get('BASE_MK') or TOP / 'base.mk')
    for line in need_text(path).splitlines():
        if line.startswith('BASE_TAG='):
            return line.partition('=')[2]
    raise HarnessError(f'{path} has no BASE_TAG=')


def do_page(args: argparse.Namespace) -> int:
    """Write the page, and say where it is."""
    # here: the libraries of the page take longer to load than most commands take
    from .page import Page, write_page
    topics = read_order(topics_folder())
    results = (args.results or out_folder() / 'result').absolute()
    here = (args.to or out_folder() / 'report').absolute()
    stock = read_stock(TOP / 'reproducers' if not args.stock else args.stock, topics)
    path = write_page(Page(read_all(results), list(topics), read_tests(topics), stock, base_tag(), here))
    print(f'the page of all results: {path}')
    return 0


def add_commands(commands: 'argparse._SubParsersAction[argparse.ArgumentParser]') -> None:
    """Add the commands of this module."""
    text = ('write out/report/index.html from all of out/result, as it was last judged; make report judges first')
    parser = commands.add_parser('page', help=text, description=text)
    parser.set_defaults(func=do_page)
    for name, where in (('results', 'the folder of the results (OUT=/result)'), ('to', 'the folder of the page (OUT=/report)'),
                        ('stock', 'the folder of fixes.toml and seen.json (reproducers)')):
        parser.add_argument(f'--{name}', type=Path, metavar='DIR', help=where)
