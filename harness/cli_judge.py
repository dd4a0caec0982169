# SPDX-License-Identifier: GPL-2.0
"""The command that judges."""

import argparse
import os
from pathlib import Path

from .arch import TOP
from .judge_bench import judge_bench
from .judge_boots import judge_boots
from .judge_mutants import judge_mutants
from .judge_repeat import judge_repeat
from .judge_run import judge_run
from .judge_suite import judge_suite
from .judgement import Judgement, stale_findings
from .ktap import KunitTools
from .output import summary, write_files
from .plan import read_plan
from .plans import plan_of_environment
from .results import Results, read_results
from .splats import read_rules
from .topics import read_order, topics_folder
from .walk import dry_run, walk

JUDGES = {'run': judge_run, 'mutants': judge_mutants, 'kselftest': judge_suite, 'bench': judge_bench, 'boots': judge_boots,
          'repeat': judge_repeat}


def out_folder() -> Path:
    """Everything generated."""
    return Path(os.environ.get('OUT') or TOP / 'out').absolute()


def judge(results: Results) -> Judgement:
    """Judge the guests of a result folder; write nothing."""
    judgement = JUDGES[results.request.verb](results, read_order(topics_folder()))
    judgement.add_findings(stale_findings(results))
    return judgement


def do_judge(args: argparse.Namespace) -> int:
    """Judge, print and write the summary."""
    tools = KunitTools(args.kunit or out_folder() / 'linux' / 'tools' / 'testing' / 'kunit')
    results = read_results((args.results or out_folder() / 'result') / args.name, read_rules(), tools)
    judgement = judge(results)
    text = summary(results.request.verb, judgement)
    write_files(results, judgement, text)
    print(text, end='')
    return 0 if judgement.is_good else 1


def do_verb(args: argparse.Namespace) -> int:
    """Plan, walk and judge in one process: a signal that ends it ends the walk, too. DRY=1: print the commands."""
    plan = plan_of_environment(args.verb, args.arch)
    if os.environ.get('DRY'):
        dry_run(plan)
        return 0
    plan.write()
    args.name = plan.name
    return walk(read_plan(plan.name)) or do_judge(args)


def add_commands(commands: 'argparse._SubParsersAction[argparse.ArgumentParser]') -> None:
    """Add the commands of this module."""
    text = ("judge the guests of out/result/NAME, print the summary, and leave it there with result.json and junit.xml; "
            'exit 0 if something passed and nothing failed')
    parser = commands.add_parser('judge', help=text, description=text)
    parser.set_defaults(func=do_judge)
    parser.add_argument('name', metavar='NAME', help='a folder that a plan has made')
    parser.add_argument('--results', type=Path, metavar='DIR', help='the folder of the results (OUT=/result)')
    parser.add_argument('--kunit', type=Path, metavar='DIR',
                        help="a kernel's tools/testing/kunit, for its KTAP parser (OUT=/linux/tools/testing/kunit)")
    text = 'plan a verb as plan does, walk through it and judge it, in one process; DRY=1 prints commands'
    parser = commands.add_parser('verb', help=text, description=text)
    parser.set_defaults(func=do_verb, results=None, kunit=None)
    parser.add_argument('verb', choices=tuple(JUDGES))
    parser.add_argument('arch', nargs='*')
