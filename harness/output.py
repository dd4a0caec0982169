# SPDX-License-Identifier: GPL-2.0
"""The summary of a judgement: tables, the reasons of failures, the closing line; and the files of a verb."""

import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from .errors import HarnessError
from .judgement import Benchmark, Cell, Judgement, Row
from .junit import junit_xml
from .result_json import check_result, result_data
from .results import Results
from .verdict import CaseResult, Outcome, Reason, Verdict

# How much of a case's failure the summary has.
MOST_ASSERTIONS = 4
SUFFIX = {Reason.OTHER_ASSERTION: ' (failed differently)', Reason.OTHER_SPLAT: ' (another one)',
          Reason.NOT_ON_BASE: ' (not on base)', Reason.SPLAT_IN_SKIP: ' (in a test that was skipped)', Reason.THEN_PANIC: ', PANIC'}


def table(rows: Sequence[Sequence[object]], heads: Sequence[str]) -> list[str]:
    """Columns, each as wide as it has to be."""
    if not rows:
        return []
    lines = [[str(cell) for cell in row] for row in [heads, *rows]]
    widths = [max(len(line[i]) for line in lines) for i in range(len(heads))]
    return ['  '.join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines]


def reasons(label: str, case: CaseResult) -> Iterator[str]:
    """The assertions by which a case failed: a reader of the log may not have the guest's folder."""
    for block in case.assertions[:MOST_ASSERTIONS] if case.verdict is Verdict.FAIL else ():
        for line in block.splitlines():
            yield f'{label}: {line.strip()}'


def cell_text(cell: Cell) -> str:
    return cell.verdict.value + SUFFIX.get(cell.reason, '')


def notes_of(row: Row) -> str:
    return '; '.join(note for note in (*row.notes, 'STALE' if row.outcome is Outcome.STALE else '') if note)


def run_lines(judgement: Judgement) -> Iterator[str]:
    """The summary of judge_run."""
    yield from table([(row.case, row.arch, *(cell_text(cell) for cell in row.cells), notes_of(row)) for row in judgement.rows],
                     ('case', 'where', 'base', 'series', ''))
    for row in judgement.rows:
        if row.outcome is Outcome.FAILED:
            yield f'not as wanted: {row.case} {row.arch}'
            for cell in row.cells:
                if cell.column == 'series' or cell.reason is not Reason.EXPECTED:
                    yield from reasons(cell.column, cell.result)


def catch_text(row: Row) -> str:
    """The last column of a mutant's row."""
    without, case = row.cell('without'), row.cell('with').result
    verdict = row.verdict.value
    text = {
        Reason.CAUGHT: 'caught',
        Reason.CAUGHT_BY_KERNEL: f'caught by the kernel (the test itself: {case.said.value})',
        Reason.CAUGHT_THEN_PANIC: 'caught by the kernel, which then panicked',
        Reason.CAUGHT_AT_BOOT: f"caught by the kernel as it booted{', which then panicked' if row.verdict is Verdict.PANIC else ''}",
        Reason.NOT_REACHED: '; '.join([verdict, *row.notes]),
        Reason.CLEAN_NOT_PASSED: f'{verdict} (without a mutant: {without.verdict.value} {without.result.note})',
        Reason.SURVIVED: 'SURVIVED',
    }.get(row.reason) or (verdict + SUFFIX.get(row.reason, '') + f' {case.note}').rstrip()
    return f'STALE ({text})' if row.outcome is Outcome.STALE else text


def mutants_lines(judgement: Judgement) -> Iterator[str]:
    """The summary of judge_mutants."""
    yield from table([(row.topic, row.mutant, row.arch, row.case, catch_text(row)) for row in judgement.rows],
                     ('topic', 'mutant', 'where', 'case', ''))
    # once more, where the end of a long log has them
    for row in judgement.rows:
        if row.outcome is not Outcome.PASSED:
            yield f'not caught: {row.mutant} {row.arch} {row.case} {catch_text(row)}'
            yield from reasons('without it', row.cell('without').result)
            yield from reasons('with it', row.cell('with').result)


def suite_lines(judgement: Judgement) -> Iterator[str]:
    """The summary of judge_suite."""
    guests = []
    for planned, guest in judgement.guests:
        counts = Counter(case.verdict.value for case in guest.cases.values())
        guests.append((planned.name, guest.state.value, ' '.join(f'{n} {verdict}' for verdict, n in sorted(counts.items()))))
    yield from table(guests, ('guest', 'state', 'results'))
    for _, guest in judgement.guests:
        for name, case in guest.cases.items():
            if not case.is_good:
                yield f'{guest.name}: {name} {case.verdict.value} {case.note}'.rstrip()
    new = [row for row in judgement.rows if row.reason is Reason.NEW]
    if new:
        yield 'New on the series:'
        cells = [(row.cell('base').result, row.cell('series').result) for row in new]
        yield from table([(row.cell('series').guest, row.case, *(suite_text(result) for result in both))
                          for row, both in zip(new, cells)], ('guest', 'case', 'base', 'series'))


def suite_text(result: CaseResult) -> str:
    return 'absent' if result.reason is Reason.NOT_IN_GUEST else result.verdict.value


def boots_lines(judgement: Judgement) -> Iterator[str]:
    """The summary of judge_boots."""
    yield from table([(row.cells[0].guest, row.verdict.value, notes_of(row)) for row in judgement.rows],
                     ('guest', 'state', ''))


def bench_text(benchmark: Benchmark) -> str:
    if benchmark.outcome is Outcome.STALE:
        return 'STALE'
    words = {Reason.NOT_IN_GUEST: 'NO-RESULT', Reason.OVER_LIMIT: 'OVER', Reason.UNEXPECTED: 'DIFFERS'}
    return words.get(benchmark.reason) or {'equal': 'equal', 'shown': 'shown'}.get(benchmark.limit, 'within')


def bench_lines(judgement: Judgement) -> Iterator[str]:
    """The summary of judge_bench."""
    def row(b: Benchmark) -> tuple[object, ...]:
        ratio = f'{b.ratio:.4f}' if b.ratio is not None else ''
        unit = b.unit if b.other is None else f'{b.other_arch} {b.other:.4f}'
        whole = f'{b.whole / b.base:.4f}' if b.base and b.whole else ''
        limit = f'{b.limit} from {b.since}' if b.since else b.limit
        return b.arch, b.name, b.base or '-', b.series or '-', unit, ratio, limit, bench_text(b), whole
    yield from table([row(b) for b in judgement.benchmarks],
                     ('where', 'benchmark', 'base', 'series', 'unit', 'ratio', 'limit', '', 'whole series'))


def repeat_lines(judgement: Judgement) -> Iterator[str]:
    """The table of the cases that did not say the same each time."""
    rows = []
    for row in judgement.rows:
        if row.outcome is not Outcome.PASSED:
            said = ', '.join(f'{cell.verdict.value} {cell.column.partition(" ")[0]}' for cell in row.cells)
            places = ' '.join(cell.guest for cell in row.cells)
            rows.append((row.mutant, row.case, row.arch, said, places, ' '.join(row.notes)))
    yield from table(rows, ('mutant', 'case', 'where', 'verdicts', 'for example', ''))
    if not rows:
        yield 'Every case said the same each time.'


LINES = {'run': run_lines, 'mutants': mutants_lines, 'kselftest': suite_lines, 'boots': boots_lines, 'bench': bench_lines,
         'repeat': repeat_lines}


def summary(verb: str, judgement: Judgement) -> str:
    """The text that is printed, and summary.txt."""
    lines = list(LINES[verb](judgement))
    lines += dict.fromkeys(finding.text for finding in judgement.findings)
    lines += judgement.remarks
    unknown = [planned.name for planned, guest in judgement.guests if guest.folder.exists and guest.folder.meta is None]
    if unknown:
        lines.append(f'of unknown origin, without meta.json: {" ".join(unknown)}')
    if judgement.stale:
        lines.append(f'{judgement.stale} of the failed are STALE: their inputs have changed; run the verb again')
    lines.append(f'{judgement.passed} passed, {judgement.failed} failed, {judgement.skipped} skipped')
    return '\n'.join(lines) + '\n'


def write_files(results: Results, judgement: Judgement, text: str) -> None:
    """summary.txt, result.json, junit.xml in the result folder: all of them, or none is replaced."""
    data = result_data(results, judgement)
    check_result(data)
    contents = {'summary.txt': text.encode(), 'result.json': (json.dumps(data, indent=1) + '\n').encode(),
                'junit.xml': junit_xml(results.folder.name, judgement)}
    written: list[tuple[Path, Path]] = []
    try:
        for name, content in contents.items():
            new = results.folder / f'{name}.new'
            written.append((new, results.folder / name))
            new.write_bytes(content)
        for new, path in written:
            os.replace(new, path)
    except OSError as error:
        for new, _ in written:
            new.unlink(missing_ok=True)
        raise HarnessError(f'cannot write {results.folder}: {error.strerror}; make it writable, or free some space') from error
