# SPDX-License-Identifier: GPL-2.0
"""What the page shows of out/result: every result folder, and the cases, mutants, benchmarks and races in them.

Only result files count: a result that is absent is None here, and a stale one says so.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from .errors import HarnessError, read_text
from .flavours import DEFAULT
from .result_json import VERSION
from .sections import split_sections

LINKED = ('console', 'ktap')
RACE = re.compile(r'\b(\d+) rounds\b.*?\b(\d+) overlaps\b')
# Of a plan without guests, and of make boot.
NO_RESULT_OF = ('boot',)


@dataclass(frozen=True)
class Result:
    """A folder of out/result. data is result.json; without it `absent` says why."""
    folder: Path
    data: dict[str, Any] = field(repr=False)
    absent: str = ''

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def verb(self) -> str:
        return self.data.get('verb', '')

    @property
    def is_stage(self) -> bool:
        """A check without guests, such as checkpatch."""
        return self.verb == 'stage'

    @property
    def flavour(self) -> str:
        return self.data.get('request', {}).get('flavour', '')

    @property
    def selection(self) -> str:
        """What narrowed the verb; '' if nothing did."""
        request = self.data.get('request', {})
        return ' '.join(f'{name.upper()}={request[name]}' for name in ('topic', 'test', 'mutant', 'category')
                        if request.get(name))

    @property
    def date(self) -> str:
        """Start of the first guest; of a check without guests, the time at which it ended."""
        if self.is_stage:
            ended = datetime.fromtimestamp((self.folder / 'result.json').stat().st_mtime, timezone.utc)
            return f'{ended:%Y-%m-%d %H:%M}'
        return (self.data.get('start') or '')[:16].replace('T', ' ')

    @property
    def stale(self) -> dict[str, str]:
        """{guest: reason}"""
        return {g['guest']: g['stale'] for g in self.data.get('guests', []) if g['stale']}

    @property
    def has_summary(self) -> bool:
        return (self.folder / 'summary.txt').is_file()

    def files_of(self, guest: str) -> tuple[str, ...]:
        """The logs of a guest to link to."""
        known = next((g['files'] for g in self.data.get('guests', []) if g['guest'] == guest), [])
        return tuple(name for name in LINKED if name in known and (self.folder / guest / name).is_file())


def read_result(folder: Path) -> Result:
    """A result folder, whatever is in it."""
    path = folder / 'result.json'
    if not path.is_file():
        return Result(folder, {}, 'not judged: the verb was stopped, or did not boot its guests')
    try:
        data = json.loads(path.read_text(encoding='utf-8'))
    except ValueError as error:
        raise HarnessError(f'{path} is not JSON: {error}; run make report, or the verb again') from error
    if not isinstance(data, dict) or data.get('verb') != 'stage' and data.get('version') != VERSION:
        return Result(folder, {}, 'of another version of the harness; run the verb again')
    return Result(folder, data)


def read_all(folder: Path) -> list[Result]:
    """Every result, by name."""
    folders = sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    return [read_result(path) for path in folders if path.name not in NO_RESULT_OF]


def whole(results: Iterable[Result], verb: str) -> list[Result]:
    """The results of a verb that nothing narrowed, the default flavour first."""
    found = [r for r in results if r.verb == verb and not r.selection]
    return sorted(found, key=lambda r: (r.flavour != DEFAULT, r.name))


@dataclass(frozen=True)
class Tally:
    """Cases of a topic on one architecture."""
    base: dict[str, int]        # {verdict: cases}
    series: dict[str, int]
    wrong: int                  # not as topics/*/tests has it
    stale: int

    @property
    def cases(self) -> int:
        return sum(self.series.values())


def in_order(counts: Counter[str]) -> dict[str, int]:
    """FAIL first, then the other verdicts by number."""
    return dict(sorted(counts.items(), key=lambda item: (item[0] != 'FAIL', -item[1], item[0])))


def tally(rows: list[dict[str, Any]]) -> Tally | None:
    """None of no rows."""
    if not rows:
        return None
    said = {column: in_order(Counter(cell['verdict'] for row in rows for cell in row['columns'] if cell['column'] == column))
            for column in ('base', 'series')}
    outcomes = Counter(row['outcome'] for row in rows)
    return Tally(said['base'], said['series'], outcomes['failed'], outcomes['stale'])


def cases_of(result: Result | None, topic: str, arch: str = '') -> list[dict[str, Any]]:
    """The rows of a topic, of one architecture or of all."""
    rows = result.data['cases'] if result else []
    return [row for row in rows if row['topic'] == topic and arch in ('', row['arch'])]


@dataclass(frozen=True)
class Caught:
    """The mutants of a topic."""
    mutants: int
    caught: int
    stale: int


def caught(rows: list[dict[str, Any]]) -> Caught | None:
    """A mutant counts as caught if every case that it names caught it. None of no rows."""
    if not rows:
        return None
    names = {row['mutant'] for row in rows}
    stale = {row['mutant'] for row in rows if row['outcome'] == 'stale'}
    survived = {row['mutant'] for row in rows if row['outcome'] not in ('passed', 'stale')}
    return Caught(len(names), len(names - survived - stale), len(stale - survived))


@dataclass(frozen=True)
class Race:
    """The rounds of a race on base and on the series. `overlaps` is None if the kernel has no such line."""
    topic: str
    case: str
    arch: str
    rounds: dict[str, int]
    overlaps: dict[str, int]
    verdicts: dict[str, str]
    is_stale: bool


def overlaps_of(ktap: Path) -> dict[str, tuple[int, int]]:
    """{case: (rounds, overlaps)} of the races in a guest's ktap; of a case with several lines, their sums."""
    found = {}
    for name, lines, _ in split_sections(read_text(ktap).splitlines(), ''):
        counts = [(int(m[1]), int(m[2])) for m in map(RACE.search, lines) if m]
        if counts:
            found[name] = sum(c[0] for c in counts), sum(c[1] for c in counts)
    return found


def races(result: Result) -> Iterator[Race]:
    """The cases whose guests tell rounds and overlaps."""
    read: dict[str, dict[str, tuple[int, int]]] = {}
    for row in result.data['cases']:
        rounds, overlaps = {}, {}
        for cell in row['columns']:
            guest = cell['guest']
            if guest not in read:
                read[guest] = overlaps_of(result.folder / guest / 'ktap') if 'ktap' in result.files_of(guest) else {}
            if row['case'] in read[guest]:
                rounds[cell['column']], overlaps[cell['column']] = read[guest][row['case']]
        if overlaps:
            yield Race(row['topic'], row['case'], row['arch'], rounds, overlaps,
                       {cell['column']: cell['verdict'] for cell in row['columns']}, row['outcome'] == 'stale')
