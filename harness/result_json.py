# SPDX-License-Identifier: GPL-2.0
"""result.json: a judgement as data, as result.schema.json describes it."""

import json
from pathlib import Path
from typing import Any

try:
    import jsonschema
except ImportError:
    jsonschema = None

from .errors import HarnessError
from .guest import Guest
from .judgement import Benchmark, Cell, Finding, Judgement, Row
from .results import Planned, Results

SCHEMA = Path(__file__).with_name('result.schema.json')
VERSION = 1
LOGS = ('job', 'console', 'ktap', 'verdict', 'ended', 'smp', 'qemu', 'meta.json', 'key')
META = ('key', 'image_sha256', 'config_sha256', 'tree', 'compiler', 'qemu', 'host', 'start', 'seconds', 'core_seconds',
        'settings')


def check_result(data: object) -> None:
    """An error unless the data are as the schema says."""
    if jsonschema is None:
        raise HarnessError("missing python3-jsonschema; run 'scripts/packages all' as root")
    validator = jsonschema.Draft7Validator(json.loads(SCHEMA.read_text(encoding='utf-8')))
    error = jsonschema.exceptions.best_match(validator.iter_errors(data))
    if error:
        place = '/'.join(str(part) for part in error.absolute_path) or 'the whole'
        raise HarnessError(f'result.json does not fit {SCHEMA.name}: {place}: {error.message}')


def result_data(results: Results, judgement: Judgement) -> dict[str, Any]:
    """The content of result.json."""
    request = results.request
    guests = [_guest(results, planned, guest) for planned, guest in judgement.guests]
    times = [guest['seconds'] for guest in guests if guest['seconds'] is not None]
    starts = [guest['start'] for guest in guests if guest['start'] is not None]
    return {
        'version': VERSION,
        'verb': request.verb,
        'name': results.folder.name,
        'request': {'archs': list(request.archs), 'flavour': request.flavour, 'topic': request.topic,
                    'test': request.test, 'mutant': request.mutant, 'variants': list(request.variants),
                    'category': request.category},
        'tree': _common([g['tree'] for g in guests if g['variant'] == 'series']),
        'host': _common([g['host'] for g in guests]),
        'start': min(starts, default=None),
        'seconds': round(sum(times), 1) if times else None,
        'passed': judgement.passed,
        'failed': judgement.failed,
        'skipped': judgement.skipped,
        'stale': judgement.stale,
        'guests': guests,
        'cases': [_case(row) for row in judgement.rows],
        'benchmarks': [_benchmark(benchmark) for benchmark in judgement.benchmarks],
        'findings': [_finding(finding) for finding in judgement.findings],
        'remarks': judgement.remarks,
    }


def _common(values: list[Any]) -> Any:
    """The one value that all have that are not None; None if they differ."""
    known = [value for value in values if value is not None]
    return known[0] if known and all(value == known[0] for value in known) else None


def _guest(results: Results, planned: Planned, guest: Guest) -> dict[str, Any]:
    folder, meta = guest.folder.path, guest.folder.meta or {}
    job = (folder / 'job').read_text(encoding='utf-8').splitlines() if (folder / 'job').is_file() else []
    return {
        'guest': planned.name, 'arch': planned.arch, 'variant': planned.variant, 'whats': list(planned.whats),
        'state': guest.state.value, 'origin': 'unknown' if guest.folder.meta is None else 'known',
        'stale': results.stale.get(planned.name),
        # an empty string says as little as null
        **{name: meta[name] if meta.get(name) not in (None, '') else None for name in META},
        'job': job, 'files': [name for name in LOGS if (folder / name).is_file()],
    }


def _case(row: Row) -> dict[str, Any]:
    return {'topic': row.topic or None, 'case': row.case, 'arch': row.arch, 'mutant': row.mutant or None,
            'outcome': row.outcome.value, 'verdict': row.verdict.value, 'reason': row.reason.name.lower(),
            'notes': list(row.notes), 'columns': [_cell(cell) for cell in row.cells]}


def _cell(cell: Cell) -> dict[str, Any]:
    result = cell.result
    return {'column': cell.column, 'guest': cell.guest, 'verdict': cell.verdict.value,
            'reason': cell.reason.name.lower(), 'result': result.verdict.value, 'said': result.said.value,
            'why': result.reason.name.lower(), 'note': result.note or None,
            'assertions': list(result.assertions), 'splat': result.splat or None}


def _benchmark(benchmark: Benchmark) -> dict[str, Any]:
    return {'topic': benchmark.topic, 'arch': benchmark.arch, 'name': benchmark.name, 'limit': benchmark.limit,
            'outcome': benchmark.outcome.value, 'reason': benchmark.reason.name.lower(), 'base': benchmark.base,
            'series': benchmark.series, 'whole': benchmark.whole, 'unit': benchmark.unit or None, 'ratio': benchmark.ratio,
            'other_arch': benchmark.other_arch or None, 'other': benchmark.other, 'since': benchmark.since or None}


def _finding(finding: Finding) -> dict[str, Any]:
    return {'guest': finding.guest or None, 'section': finding.section,
            'fault': finding.fault.name.lower() if finding.fault else None, 'text': finding.text}
