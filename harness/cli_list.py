# SPDX-License-Identifier: GPL-2.0
"""`list`: the entries of topics/, configs/ and guest/arch/, a line each, for shell."""

import argparse
import os
from collections.abc import Callable, Iterator

from .arch import architectures
from .expectations import read_tests, select_tests
from .flavours import DEFAULT, read_flavour
from .mutants import select_mutants
from .topics import Topic, bench_variants, check_topic, read_order, read_series, topics_folder


def list_archs(_: argparse.Namespace) -> Iterator[str]:
    """names of the architectures"""
    yield from architectures()


def list_topics(_: argparse.Namespace) -> Iterator[str]:
    """topics in the order in which they stack"""
    yield from read_order(topics_folder())


def list_needs(args: argparse.Namespace) -> Iterator[str]:
    """the topics that TOPIC= stacks on"""
    for topic in _chosen(args):
        yield from topic.needs


def list_series(args: argparse.Namespace) -> Iterator[str]:
    """TOPIC FILE KIND base|- NAME=VALUE... by tabs"""
    for topic in _chosen(args):
        for patch in read_series(topic):
            yield '\t'.join([patch.topic, patch.file, patch.kind.value,
                             'base' if patch.base else '-', *(f'{k}={v}' for k, v in patch.values.items())])


def list_tests(args: argparse.Namespace) -> Iterator[str]:
    """CASE ARCH,... of a flavour"""
    for line in select_tests(read_order(topics_folder()), args.flavour, args.topic, args.test):
        yield f"{line.case} {','.join(line.archs)}"


def list_disks(args: argparse.Namespace) -> Iterator[str]:
    """KIND:MIB of the disks that the tests want"""
    topics = read_order(topics_folder())
    check_topic(topics, args.topic)
    yield from read_tests(topics).all_disks(args.topic)


def list_mutants(args: argparse.Namespace) -> Iterator[str]:
    """TOPIC MUTANT ARCH CASE TEXT by tabs, a line for each Caught-by of a flavour"""
    for mutant in select_mutants(read_order(topics_folder()), args.topic, args.mutant):
        for line in mutant.here(args.flavour):
            yield '\t'.join((mutant.topic, mutant.name, line.arch, line.case, line.text))


def list_bench(args: argparse.Namespace) -> Iterator[str]:
    """the variants of kernels that benchmarks run on"""
    yield from bench_variants(read_order(topics_folder()), args.topic)


def list_fragments(args: argparse.Namespace) -> Iterator[str]:
    """the files of a flavour in configs/"""
    yield from (str(path) for path in read_flavour(args.flavour).fragments)


def list_kernel_flavour(args: argparse.Namespace) -> Iterator[str]:
    """the flavour of a flavour's kernel: the fragments with options"""
    yield read_flavour(args.flavour).kernel


LISTS: dict[str, Callable[[argparse.Namespace], Iterator[str]]] = {
    'archs': list_archs, 'topics': list_topics, 'needs': list_needs, 'series': list_series, 'tests': list_tests,
    'disks': list_disks, 'mutants': list_mutants, 'bench': list_bench, 'fragments': list_fragments,
    'kernel-flavour': list_kernel_flavour}


def _chosen(args: argparse.Namespace) -> list[Topic]:
    """The topic of --topic, or all."""
    topics = read_order(topics_folder())
    check_topic(topics, args.topic)
    return [topic for topic in topics.values() if args.topic in ('', topic.name)]


def do_list(args: argparse.Namespace) -> int:
    """Print a list; nothing of it if there is an error."""
    lines = list(LISTS[args.what](args))
    print(''.join(f'{line}\n' for line in lines), end='')
    return 0


def add_commands(commands: 'argparse._SubParsersAction[argparse.ArgumentParser]') -> None:
    """Add the commands of this module."""
    parser = commands.add_parser('list', help='list topics, patches, tests, mutants ... for shell', description=__doc__,
                                 formatter_class=argparse.RawDescriptionHelpFormatter,
                                 epilog='\n'.join(f'{name:16}{function.__doc__}' for name, function in LISTS.items()) + '\n')
    parser.set_defaults(func=do_list)
    parser.add_argument('what', choices=LISTS, metavar='WHAT', help=', '.join(LISTS))
    for name, default in (('topic', ''), ('test', ''), ('mutant', ''), ('flavour', DEFAULT)):
        parser.add_argument(f'--{name}', default=os.environ.get(name.upper()) or default,
                            help=f'{name.upper()}= of the environment' + (f', or {default}' if default else ''))
