# SPDX-License-Identifier: GPL-2.0
"""out/report/index.html: one static page of all results, by jinja2 from page.html and page.css."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

try:
    import jinja2
except ImportError:
    jinja2 = None

from .arch import architectures
from .errors import HarnessError, need_text
from .expectations import Tests
from .flavours import DEFAULT
from .page_data import Caught, Race, Result, Tally, cases_of, caught, races, tally, whole
from .page_plots import Plot, bench_plot, has_point, race_plot
from .page_stock import Stock

# The columns of the verbs that have the same in every row.
TABLES = {'run': ('base', 'series'), 'kselftest': ('base', 'series'), 'mutants': ('without the mutant', 'with it')}
TEMPLATE, STYLE = (Path(__file__).with_name(name) for name in ('page.html', 'page.css'))


@dataclass(frozen=True)
class Place:
    """A topic on one architecture. Without a tally: is there a case that should have run?"""
    tally: Tally | None
    has_cases: bool


@dataclass(frozen=True)
class Costs:
    """The benchmarks of a topic."""
    within: int
    over: int
    stale: int
    absent: int
    worst: float | None     # the highest ratio of series to base


def find_costs(benchmarks: Sequence[dict[str, Any]]) -> Costs | None:
    """None of no benchmarks."""
    if not benchmarks:
        return None
    absent = [b for b in benchmarks if b['reason'] == 'not_in_guest' and b['outcome'] != 'stale']
    return Costs(sum(b['outcome'] == 'passed' for b in benchmarks),
                 sum(b['outcome'] == 'failed' for b in benchmarks) - len(absent),
                 sum(b['outcome'] == 'stale' for b in benchmarks), len(absent),
                 max((b['ratio'] for b in benchmarks if has_point(b) and b['outcome'] != 'stale'), default=None))


class Page:
    """All that the template asks for."""

    def __init__(self, results: list[Result], topics: Sequence[str], tests: Tests, stock: Stock, base: str, here: Path):
        self.results, self.topics, self.stock, self.base, self.here = results, list(topics), stock, base, here
        self.tests, self.tables = tests, TABLES
        self.archs = list(architectures())
        self.runs, self.mutants, self.bench = (whole(results, verb) for verb in ('run', 'mutants', 'bench'))

    @property
    def run(self) -> Result | None:
        """make run, of the default flavour."""
        return next((result for result in self.runs if result.flavour == DEFAULT), None)

    @property
    def mutant_rows(self) -> list[dict[str, Any]]:
        """Of all flavours: a mutant may be caught in a guest of one flavour only."""
        return [row for result in self.mutants for row in result.data['cases']]

    @property
    def benchmarks(self) -> list[dict[str, Any]]:
        return [row for result in self.bench for row in result.data['benchmarks']]

    def place(self, result: Result | None, topic: str, arch: str) -> Place:
        """A cell of the table of topics and architectures."""
        flavour = result.flavour if result else DEFAULT
        expected = any(line.topic == topic and arch in line.archs for line in self.tests.of_flavour(flavour))
        return Place(tally(cases_of(result, topic, arch)), expected)

    def tally(self, topic: str) -> Tally | None:
        return tally(cases_of(self.run, topic))

    def total(self) -> Tally | None:
        return tally(self.run.data['cases'] if self.run else [])

    def caught(self, topic: str = '') -> Caught | None:
        return caught([row for row in self.mutant_rows if topic in ('', row['topic'])])

    def costs(self, topic: str = '') -> Costs | None:
        return find_costs([b for b in self.benchmarks if topic in ('', b['topic'])])

    def unexpected(self) -> list[tuple[Result, list[dict[str, Any]]]]:
        """The rows of each result that failed."""
        return [(result, rows) for result in self.results
                if (rows := [row for row in result.data.get('cases', []) if row['outcome'] == 'failed'])]

    def findings(self) -> list[tuple[Result, str]]:
        """The faults that belong to no case, apart from those that the list of stale guests has."""
        return [(result, finding['text']) for result in self.results for finding in result.data.get('findings', [])
                if finding['fault'] or finding['guest'] not in result.stale]

    def race_plots(self) -> list[Plot]:
        """A plot for each architecture that ran races."""
        found: list[Race] = list(races(self.run)) if self.run else []
        return [race_plot(arch, chosen) for arch in self.archs if (chosen := [r for r in found if r.arch == arch])]

    def bench_plots(self) -> list[Plot]:
        """A plot for each topic and architecture."""
        plots = []
        for topic in self.topics:
            for arch in self.archs:
                chosen = [b for b in self.benchmarks if (b['topic'], b['arch']) == (topic, arch) and has_point(b)]
                if chosen:
                    plots.append(bench_plot(f'{topic} on {arch}', chosen))
        return plots

    def link(self, result: Result, guest: str, file: str, section: str = '') -> str:
        """A link to a log; to the section in it, where the browser can."""
        path = quote(os.path.relpath(result.folder / guest / file, self.here))
        return path + (f"#:~:text={quote('begin ' + section, safe='').replace('-', '%2D')}" if section else '')


def section_of(row: dict[str, Any], cell: dict[str, Any]) -> str:
    """The section of a guest's logs that has the case: a KUnit suite is one. UML's console has no sections."""
    if row['arch'] == 'um':
        return ''
    name = row['case'].rpartition('.')[0] if row['case'].startswith('kunit:') else row['case']
    return f"{row['mutant']}/{name}" if cell['column'] == 'with' else name


def why(cell: dict[str, Any]) -> str:
    """Why a case failed: the kernel's first complaint, or the message of its first assertion, which comes last."""
    if cell['result'] in ('SPLAT', 'PANIC') and cell['splat']:
        return cell['splat'].splitlines()[-1]
    lines = [line.strip() for block in cell['assertions'][:1] for line in block.splitlines() if line.strip()]
    return re.sub(r'^#?\s*[\w.-]+\.c:\d+:\w+:', '', lines[-1]) if lines else cell['note'] or ''


def breakable(name: str) -> 'jinja2.utils.markupsafe.Markup':
    """A case's name, which a narrow column breaks behind a dot or colon."""
    markup = jinja2.utils.markupsafe.Markup
    return markup('<wbr>').join(re.split(r'(?<=[.:])', name))


def render(page: Page) -> str:
    """The HTML of the page."""
    if jinja2 is None:
        raise HarnessError("missing python3-jinja2; run 'scripts/packages report' as root")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters['why'] = why
    environment.globals['section_of'] = section_of
    environment.filters['breakable'] = breakable
    template = environment.from_string(need_text(TEMPLATE))
    return template.render(page=page, style=need_text(STYLE))


def write_page(page: Page) -> Path:
    """index.html in the page's folder: all of it, or the old one stays."""
    text = render(page)
    path, new = page.here / 'index.html', page.here / 'index.html.new'
    try:
        page.here.mkdir(parents=True, exist_ok=True)
        new.write_text(text, encoding='utf-8')
        os.replace(new, path)
    except OSError as error:
        new.unlink(missing_ok=True)
        raise HarnessError(f'cannot write {path}: {error.strerror}; make it writable, or free some space') from error
    return path
