# SPDX-License-Identifier: GPL-2.0
"""junit.xml: a judgement for CI systems. kunit_junit knows fewer outcomes than there are here."""

import re
import xml.etree.ElementTree as ElementTree

from .judgement import Judgement, Row
from .verdict import Outcome

# Characters that XML cannot have, not even escaped; a kernel log may.
NOT_XML = re.compile('[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]')


def _text(text: str) -> str:
    return NOT_XML.sub('\ufffd', text)


# The element of an outcome, and the attribute of the suite that counts it. STALE neither passed nor failed.
TAGS = {Outcome.FAILED: ('failure', 'failures'), Outcome.STALE: ('error', 'errors'),
        Outcome.SKIPPED: ('skipped', 'skipped'), Outcome.KNOWN: ('skipped', 'skipped')}


def _add(suite: ElementTree.Element, group: str, name: str, outcome: Outcome, message: str, details: str = '') -> None:
    """One test case."""
    case = ElementTree.SubElement(suite, 'testcase', classname=_text(group), name=_text(name))
    if outcome in TAGS:
        tag, counter = TAGS[outcome]
        ElementTree.SubElement(case, tag, message=_text(message)).text = _text(details)
        suite.set(counter, str(int(suite.get(counter, '0')) + 1))


def _row(suite: ElementTree.Element, row: Row) -> None:
    details = [f'{cell.column}: {cell.verdict.value} ({cell.reason.value}) in {cell.guest}' for cell in row.cells]
    details += [text for cell in row.cells for text in cell.result.assertions]
    group = '.'.join(part for part in (row.arch, row.topic, row.mutant) if part)
    message = '; '.join([f'{row.verdict.value}: {row.reason.value}', *(note for note in row.notes if note)])
    _add(suite, group, row.case, row.outcome, message, '\n'.join(details))


def junit_xml(name: str, judgement: Judgement) -> bytes:
    """The XML of a judgement: a test case for each row, each benchmark and each finding."""
    suites = ElementTree.Element('testsuites')
    suite = ElementTree.SubElement(suites, 'testsuite', name=name, failures='0', errors='0', skipped='0')
    for row in judgement.rows:
        _row(suite, row)
    for benchmark in judgement.benchmarks:
        message = f'{benchmark.reason.value}: base {benchmark.base}, series {benchmark.series}, limit {benchmark.limit}'
        _add(suite, f'{benchmark.arch}.{benchmark.topic}', benchmark.name, benchmark.outcome, message)
    for number, finding in enumerate(judgement.findings, 1):
        _add(suite, finding.guest or 'topics', f'finding {number}', Outcome.FAILED, finding.text)
    suite.set('tests', str(len(suite)))
    ElementTree.indent(suites)
    return ElementTree.tostring(suites, encoding='utf-8', xml_declaration=True) + b'\n'
