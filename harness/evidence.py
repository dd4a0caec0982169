# SPDX-License-Identifier: GPL-2.0
"""The stages of make evidence: topics/evidence has a name and a command for each.

out/evidence/NAME.json says how a stage ended, when, and on which inputs: the trees of base, series and mutants, the
command, and the files here that guests depend on. A stage that ended well on today's inputs is not run again.
"""

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .arch import TOP
from .errors import HarnessError, need_text, read_text
from .output import table
from .plan import out_folder
from .stage import run_stage
from .topics import topics_folder

# What the results of a stage depend on, besides the trees: programs, guests and what is expected of them.
INPUTS = ('bench/**/*.[ch]', 'configs/*', 'guest/**/*', 'reproducers/*.c', 'topics/*/tests', 'topics/*/bench')


@dataclass(frozen=True)
class EvidenceStage:
    """A line of topics/evidence."""
    name: str
    command: str


def read_stages(folder: Path) -> dict[str, EvidenceStage]:
    """The stages by name, in the order in which they run. A line that begins with a blank continues the one before."""
    stages: dict[str, EvidenceStage] = {}
    text = re.sub(r'\n[ \t]+(?=\S)', ' ', need_text(folder / 'evidence'))
    for line in text.splitlines():
        if not line or line.startswith('#'):
            continue
        name, _, command = line.partition(' ')
        if not re.fullmatch(r'[a-z0-9][\w.+-]*', name) or not command.strip() or name in stages:
            raise HarnessError(f"topics/evidence: not understood, or there twice: '{line}'")
        stages[name] = EvidenceStage(name, command.strip())
    return stages


def _output(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise HarnessError(f'{" ".join(command)}: {done.stderr.strip()}; run make tree')
    return done.stdout


def inputs() -> str:
    """The trees, and the files of INPUTS as they are now, as one digest."""
    trees = _output('git', '-C', str(out_folder() / 'linux'), 'rev-parse',
                    *(f'refs/mm/{name}^{{tree}}' for name in ('base', 'series', 'mutants')))
    files = sorted(path for pattern in INPUTS for path in TOP.glob(pattern) if path.is_file())
    digest = hashlib.sha256(trees.encode())
    for path in files:
        digest.update(f'{path.relative_to(TOP)} '.encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:12]


def _record(name: str) -> Path:
    return out_folder() / 'evidence' / f'{name}.json'


def read_record(name: str) -> dict[str, Any] | None:
    """How the stage ended, or None."""
    text = read_text(_record(name))
    return json.loads(text) if text else None


def run_evidence(stage: EvidenceStage, key: str) -> None:
    """Run one stage and write its record, unless there is one of today's inputs that is good."""
    old = read_record(stage.name)
    if old and old['inputs'] == key and old['command'] == stage.command and not old['status'] and not os.environ.get('FORCE'):
        return
    _record(stage.name).parent.mkdir(parents=True, exist_ok=True)
    _record(stage.name).unlink(missing_ok=True)
    print(f'{stage.name}: {stage.command}', flush=True)
    os.environ['OUT'] = str(out_folder())
    done = run_stage(f'evidence {stage.name}', ['bash', '-c', f'cd "$1" && {stage.command}', 'bash', str(TOP)])
    record = {**asdict(stage), 'status': done.status, 'seconds': round(done.seconds), 'core_seconds': round(done.core_seconds),
              'ended': time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime()), 'inputs': key,
              'closing': _closing(done.log)}
    _record(stage.name).write_text(json.dumps(record, indent=1) + '\n')


def _closing(log: Path) -> str:
    """The last line of counts in a stage's log, or ''."""
    return (re.findall(r'(?m)^\d+ passed, \d+ failed.*$', log.read_text(errors='replace')) or [''])[-1]


def do_evidence(args: argparse.Namespace) -> int:
    """Run the stages of these names, or all, and print the table of all."""
    stages = read_stages(topics_folder())
    unknown = [name for name in args.stage if name not in stages]
    if unknown:
        raise HarnessError(f"unknown stage '{unknown[0]}'; choose of: {' '.join(stages)}")
    key = inputs()
    if not args.table:
        for name in args.stage or stages:
            run_evidence(stages[name], key)
    records = {name: read_record(name) for name in stages}
    sys.stdout.writelines(line + '\n' for line in table([_row(name, records[name], key) for name in stages],
                          ('stage', 'ended', 'when', 'inputs', 'minutes', 'core-s', '')))
    chosen = [records[name] for name in args.stage or stages]
    return int(not all(record and not record['status'] for record in chosen))


def _row(name: str, record: dict[str, Any] | None, key: str) -> tuple[object, ...]:
    if record is None:
        return name, 'not run', '', '', '', '', ''
    state = 'well' if not record['status'] else f'status {record["status"]}'
    return (name, state, record['ended'], record['inputs'] if record['inputs'] == key else f'{record["inputs"]} (others than now)',
            f'{record["seconds"] / 60:.1f}', record['core_seconds'], record['closing'])


def add_commands(commands: Any) -> None:
    """Add the command to the parser of __main__.py."""
    parser = commands.add_parser('evidence', help='run the stages of topics/evidence that have no good result on these inputs')
    parser.add_argument('--table', action='store_true', help='run nothing, print the table')
    parser.add_argument('stage', nargs='*')
    parser.set_defaults(func=do_evidence)
