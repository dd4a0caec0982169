# SPDX-License-Identifier: GPL-2.0
"""The plots of the page: SVG by matplotlib, narrow enough for a phone. Colours are CSS variables of the page."""

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

try:
    import matplotlib
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
except ImportError:
    matplotlib = None

from .errors import HarnessError
from .page_data import Race

WIDTH, ROW, EDGES = 3.8, 0.3, 0.75     # inches
ABOVE, BELOW = 0.2, 0.16                # of a row: its label, and its line with the marks
# matplotlib wants colours, the page has variables: each stands for one.
COLOURS = {'#010101': 'var(--ink)', '#020202': 'var(--dim)', '#030303': 'var(--line)', '#040404': 'var(--base)',
           '#050505': 'var(--series)'}
INK, DIM, LINE, BASE, SERIES = COLOURS
# Of a verdict in a race's row: the mark and its size. Every other verdict has a cross.
MARKS = {'PASS': ('o', 5), 'SKIP': ('D', 4.5)}
STYLE = {'svg.fonttype': 'none', 'svg.hashsalt': 'page', 'font.size': 8.5, 'font.family': 'sans-serif', 'text.color': INK,
         'axes.edgecolor': LINE, 'axes.labelcolor': DIM, 'xtick.color': DIM, 'xtick.labelcolor': DIM}


@dataclass(frozen=True)
class Plot:
    """A plot and its name."""
    title: str
    svg: str


def svg_of(figure: 'Figure', title: str) -> str:
    """The <svg> alone, with the page's colours, as wide as there is room, with a name for screen readers."""
    out = io.StringIO()
    figure.savefig(out, format='svg', transparent=True, metadata={'Date': None, 'Creator': None, 'Format': None, 'Type': None})
    text = out.getvalue()
    text = text[text.index('<svg'):]
    text = re.sub(r'<metadata>.*?</metadata>', '', text, flags=re.S)
    for colour, variable in COLOURS.items():
        text = text.replace(colour, variable)
    text = re.sub(r"font: [^;\"]*?([\d.]+px)[^;\"]*", r'font: \1 sans-serif', text)
    # ids are those of one file, and the page has several
    prefix = re.sub(r'\W', '-', title)
    text = re.sub(r'(id="|href="#|url\(#)', lambda m: m[0] + prefix + '-', text)
    text = re.sub(r'(<svg [^>]*?) height="[\d.]+pt"', r'\1', text, count=1)
    text = re.sub(r'(<svg [^>]*?) width="[\d.]+pt"', rf'\1 role="img" aria-label="{title}"', text, count=1)
    return text


def panel(title: str, labels: Sequence[str], draw: Callable[['Axes'], Any], xlabel: str) -> Plot:
    """A panel with a row for each label; the label is above its row's line, where a phone has room for it."""
    if matplotlib is None:
        raise HarnessError("missing python3-matplotlib; run 'scripts/packages report' as root")
    with matplotlib.rc_context(STYLE):
        height = ROW * len(labels) + EDGES
        figure = Figure(figsize=(WIDTH, height))
        axes = figure.add_axes((0.03, 0.5 / height, 0.94, 1 - EDGES / height))
        axes.set_ylim(len(labels) - 0.4, -0.7)
        axes.set_yticks([])
        for name in ('left', 'right', 'top'):
            axes.spines[name].set_visible(False)
        axes.grid(axis='x', color=LINE, linewidth=0.6)
        axes.set_axisbelow(True)
        axes.set_xlabel(xlabel)
        draw(axes)
        for row, label in enumerate(labels):
            axes.axhline(row + BELOW, color=LINE, linewidth=0.6, zorder=0)
            axes.text(0, row - ABOVE, label, transform=axes.get_yaxis_transform(), va='center', fontsize=7.5)
        return Plot(title, svg_of(figure, title))


def race_plot(arch: str, races: Sequence[Race]) -> Plot:
    """Overlaps of each race: on base up to the first failure, or all of them; on the series all."""
    def draw(axes: 'Axes') -> None:
        axes.set_xscale('symlog', linthresh=1)
        for row, race in enumerate(races):
            # side by side if base and series have the same
            for column, colour, shift in (('base', BASE, -0.07), ('series', SERIES, 0.07)):
                if column not in race.overlaps:
                    continue
                marker, size = MARKS.get(race.verdicts[column], ('X', 6.5))
                axes.plot([race.overlaps[column]], [row + BELOW + shift], marker=marker, color=colour,
                          markersize=size, linestyle='none', clip_on=False, fillstyle='none' if race.is_stale else 'full')
        most = max((n for race in races for n in race.overlaps.values()), default=1)
        ticks = [0] + [10 ** n for n in range(len(str(most)) + 1)]
        axes.set_xticks(ticks, [f'{n:,}' for n in ticks])
        axes.minorticks_off()
        axes.set_xlim(-0.2, max(most, 10) * 1.3)
    return panel(f'races on {arch}', [short(race.case) for race in races], draw, 'overlaps')


def short(case: str) -> str:
    """A case's name without its kind, which the plots have no room for."""
    return case.partition(':')[2] or case


def has_point(benchmark: dict[str, Any]) -> bool:
    """Is it a ratio of series to base, with a limit?"""
    return benchmark['ratio'] is not None and benchmark['other_arch'] is None and benchmark['limit'] not in ('equal', 'shown')


def bench_plot(title: str, benchmarks: Sequence[dict[str, Any]]) -> Plot:
    """Instructions of the series in percent of base, less 100, and the limit of each."""
    def draw(axes: 'Axes') -> None:
        for row, benchmark in enumerate(benchmarks):
            percent, limit = 100 * (benchmark['ratio'] - 1), 100 * (float(benchmark['limit']) - 1)
            is_over = benchmark['outcome'] == 'failed'
            axes.plot([0, percent], [row + BELOW] * 2, color=SERIES, linewidth=2)
            axes.plot([percent], [row + BELOW], marker='X' if is_over else 'o', color=BASE if is_over else SERIES, markersize=5.5,
                      clip_on=False, fillstyle='none' if benchmark['outcome'] == 'stale' else 'full')
            axes.plot([limit], [row + BELOW], marker='|', color=DIM, markersize=10, markeredgewidth=1.6, clip_on=False)
        axes.axvline(0, color=DIM, linewidth=0.8)
        axes.xaxis.set_major_formatter(lambda value, _: f'{value:+.3g}' if value else '0')
        axes.margins(x=0.06)
    names = [benchmark['name'] + (f' from {benchmark["since"]}' if benchmark['since'] else '') for benchmark in benchmarks]
    return panel(title, names, draw, 'instructions against base, percent')
