# SPDX-License-Identifier: GPL-2.0
"""One long command: its output in out/log, signs of life, its times, and the end of its log if it fails."""

import os
import resource
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TextIO

from .plan import out_folder

PROGRESS = 30.0     # seconds between signs of life
LAST = 20           # lines of the log that a failure shows


@dataclass(frozen=True)
class Stage:
    """What became of a command. core_seconds: user and system time of all its processes."""
    name: str
    status: int
    seconds: float
    core_seconds: float
    log: Path


def core_seconds() -> float:
    """User and system time of all children that were waited for."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def clock() -> float:
    """Seconds that pass while nothing runs, too."""
    return os.times().elapsed


def _interrupted(number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt(number)


def _wait(process: subprocess.Popen[bytes], name: str, log: Path, start: float, shown: TextIO) -> int:
    """Wait for it; a signal ends its whole process group."""
    old = {number: signal.signal(number, _interrupted) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        while True:
            try:
                return process.wait(PROGRESS)
            except subprocess.TimeoutExpired:
                lines = log.read_bytes().count(b'\n')
                print(f'  {name:<34} {clock() - start:4.0f}s, {lines} lines of log', file=shown, flush=True)
    except KeyboardInterrupt as stop:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()
        sys.exit(128 + (stop.args[0] if stop.args else signal.SIGINT))
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def run_stage(name: str, command: list[str], shown: TextIO = sys.stdout) -> Stage:
    """Run the command with its output in out/log/NAME.log, and show its progress."""
    log = out_folder() / 'log' / (name.replace(' ', '-').replace('/', '-') + '.log')
    log.parent.mkdir(parents=True, exist_ok=True)
    start, before = clock(), core_seconds()
    with log.open('wb') as output:
        # a process group of its own, so that Ctrl-C ends all of it
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                                   process_group=0)
    status = _wait(process, name, log, start, shown)
    stage = Stage(name, 128 - status if status < 0 else status, clock() - start, core_seconds() - before, log)
    print(f'{name:<44} {stage.seconds:4.0f}s {stage.core_seconds:5.0f} core-s' + ('  FAILED' if stage.status else ''),
          file=shown, flush=True)
    note_times(stage)
    if stage.status:
        for line in log.read_text(errors='replace').splitlines()[-LAST:]:
            print(f'  | {line}', file=shown)
        print(f'  full log: {log}', file=shown, flush=True)
    return stage


def note_times(stage: Stage) -> None:
    """Add a line to $STAGE_TIMES: seconds, core-seconds, name."""
    times = os.environ.get('STAGE_TIMES')
    if times:
        with open(times, 'a', encoding='utf-8') as file:
            file.write(f'{stage.seconds:.1f}\t{stage.core_seconds:.1f}\t{stage.name}\n')


def print_times() -> None:
    """The table of the stages in $STAGE_TIMES."""
    times = Path(os.environ.get('STAGE_TIMES') or out_folder() / 'times')
    rows = [line.split('\t') for line in times.read_text().splitlines()] if times.is_file() else []
    if not rows:
        return
    print('\nseconds  core-seconds  stage')
    for seconds, cores, name in [*rows, [sum(float(r[0]) for r in rows), sum(float(r[1]) for r in rows), 'in all']]:
        print(f'{float(seconds):7.0f}  {float(cores):12.0f}  {name}')
