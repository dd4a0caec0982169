# SPDX-License-Identifier: GPL-2.0
"""What was measured, in one table: times that selftests print, and the instructions of make bench.

A selftest prints 'figure NAME VALUE UNIT'. RESULT is a folder of out/result with guests of base and of the series, BENCH
one of make bench.
"""

import argparse
import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .errors import HarnessError, need_text, read_text
from .output import table
from .plan import out_folder
from .results import read_planned

FIGURE = re.compile(r'\bfigure (\S+) (-?\d+) (\S+)$')
COLUMNS = ('base', 'series')

# (name, unit, what the first column is of) -> {(arch, column): value}
Figures = dict[tuple[str, str, str], dict[tuple[str, str], int]]


def figures_of(lines: Iterable[str]) -> dict[tuple[str, str], int]:
    """(name, unit) -> value of one guest. A figure that comes twice has no value: which of the two is meant?"""
    found: dict[tuple[str, str], int] = {}
    twice = set()
    for match in filter(None, map(FIGURE.search, lines)):
        key = match.group(1), match.group(3)
        twice |= {key} & found.keys()
        found[key] = int(match.group(2))
    return {key: value for key, value in found.items() if key not in twice}


def read_times(folder: Path) -> Figures:
    """The figures in the ktap of each guest of base and of the series."""
    figures: Figures = {}
    for planned in read_planned(folder / 'guests'):
        if planned.variant in COLUMNS:
            for (name, unit), value in figures_of(read_text(folder / planned.name / 'ktap').splitlines()).items():
                figures.setdefault((name, unit, 'v7.3.4'), {})[planned.arch, planned.variant] = value
    return figures


def read_counts(result: dict[str, Any]) -> Figures:
    """The benchmarks of a result.json that compare two kernels."""
    figures: Figures = {}
    for row in result['benchmarks']:
        before = f'through {row["since"]}' if row['since'] else 'v7.3.4'
        for column in COLUMNS:
            if row[column] is not None:
                figures.setdefault((row['name'], row['unit'] or '', before), {})[row['arch'], column] = row[column]
    return figures


def rows_of(figures: Figures) -> tuple[list[list[object]], list[str]]:
    """The rows of the table, and its heads."""
    archs = sorted({arch for values in figures.values() for arch, _ in values}, reverse=True)
    heads = ['figure', 'unit', 'before', *(f'{arch} {column}' for arch in archs for column in ('before', 'series', 'ratio'))]
    rows = []
    for (name, unit, before), values in figures.items():
        row: list[object] = [name, unit, before]
        for arch in archs:
            base, series = (values.get((arch, column)) for column in COLUMNS)
            row += ['-' if base is None else base, '-' if series is None else series,
                    f'{series / base:.4f}' if base and series and base > 0 else '']
        rows.append(row)
    return rows, heads


def read_result(folder: Path) -> dict[str, Any]:
    """result.json of a folder; an error if the verb has not ended."""
    if not (folder / 'result.json').is_file():
        raise HarnessError(f'no {folder}/result.json; run the verb first')
    return json.loads(need_text(folder / 'result.json'))


def do_figures(args: argparse.Namespace) -> int:
    """Print the table, and what of the two results was not as wanted."""
    folders = [out_folder() / 'result' / name for name in (args.result, args.bench)]
    results = [read_result(folder) for folder in folders]
    rows, heads = rows_of({**read_times(folders[0]), **read_counts(results[1])})
    if not rows:
        raise HarnessError(f'{folders[0]} and {folders[1]} have no figures')
    sys.stdout.writelines(f'{line}\n' for line in table(rows, heads))
    for folder, result in zip(folders, results):
        print(f'{folder.name}: {result["passed"]} passed, {result["failed"]} failed, {result["skipped"]} skipped')
    return int(any(result['failed'] for result in results))


def add_commands(commands: Any) -> None:
    """Add the command to the parser of __main__.py."""
    parser = commands.add_parser('figures', help='times that selftests print and instructions of make bench, in one table')
    parser.add_argument('result')
    parser.add_argument('bench')
    parser.set_defaults(func=do_figures)
