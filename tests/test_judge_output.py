#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""harness judge: the files that it leaves, stale results, bad result folders, the command itself."""

import json
import os
import xml.etree.ElementTree as ElementTree
from unittest import mock

from judging import BAD, JudgeTest, kunit_tools, marks
from support import TOP, CommandTest, main, write

from harness.errors import HarnessError
from harness.guest import read_folder
from harness.output import write_files
from harness.result_json import check_result, result_data
from harness.results import read_results

META = {'guest': 'x86_64-series', 'key': 'k' * 64, 'image_sha256': 'i' * 64, 'config_sha256': 'c' * 64, 'tree': 't' * 40, 'compiler': 'gcc 12',
        'qemu': '7.2', 'host': {'cpu': 'x', 'cpus': 2}, 'start': '2026-11-29T04:00:00+00:00', 'seconds': 12.5, 'core_seconds': 20.1,
        'settings': {'SMP': '2'}}


class Written(JudgeTest):
    """result.json, summary.txt and junit.xml of a run."""

    def setUp(self):
        super().setUp()
        write(self.topics / 't/tests', 'kunit:s.one x86_64 FAIL the rule\nkunit:s.two x86_64 PASS\n')
        self.base = self.kunit(self.plan('x86_64', 'test'), BAD)
        self.series = self.kunit(self.plan('x86_64', 'series'))

    def files(self, guest):
        return {path.name for path in guest.path.iterdir()}

    def test_guests_stay_as_they_are(self):
        before = self.files(self.base), self.files(self.series)
        self.judge(0)
        self.assertEqual(before, (self.files(self.base), self.files(self.series)))

    def test_summary_is_what_was_printed(self):
        self.judge(0)
        self.assertEqual((self.results / 'summary.txt').read_text(), self.text)

    def test_result(self):
        self.series.write(**{'meta.json': json.dumps(META), 'job': 'kunit s\n', 'key': META['key'] + '\n'})
        self.judge(0)
        data = self.data()
        guest = next(g for g in data['guests'] if g['guest'] == 'x86_64-series')
        self.assertEqual({name: guest[name] for name in META if name != 'guest'}, {k: v for k, v in META.items() if k != 'guest'})
        self.assertEqual((guest['origin'], guest['job'], guest['stale']), ('known', ['kunit s'], None))
        self.assertEqual(guest['files'], ['job', 'console', 'ktap', 'verdict', 'ended', 'meta.json', 'key'])
        self.assertEqual((data['verb'], data['tree'], data['start'], data['seconds']), ('run', META['tree'], META['start'], 12.5))
        self.assertEqual((data['passed'], data['failed'], data['skipped'], data['stale']), (2, 0, 0, 0))
        case = data['cases'][0]
        self.assertEqual([(c['column'], c['verdict'], c['guest']) for c in case['columns']], [('base', 'FAIL', 'x86_64-test'), ('series', 'PASS', 'x86_64-series')])
        self.assertIn('the rule', case['columns'][0]['assertions'][0])

    def test_unknown_origin(self):
        self.judge(0, '^of unknown origin, without meta.json: x86_64-test x86_64-series$')
        guest = self.data()['guests'][0]
        self.assertEqual((guest['origin'], guest['image_sha256'], guest['seconds']), ('unknown', None, None))

    def test_totals_count_findings(self):
        self.series.append('console', '** 812 printk messages dropped **\n')
        self.judge(1, '^2 passed, 1 failed, 0 skipped$')
        self.assertEqual(self.data()['findings'][0]['fault'], 'lost_messages')

    def test_junit(self):
        self.series.write(console=marks('kunit:s', '[ 1.05] BUG: \x1b[1mx\x00\n'))
        self.judge(1)
        suite = ElementTree.parse(self.results / 'junit.xml').getroot().find('testsuite')
        self.assertEqual((suite.get('tests'), suite.get('failures')), ('3', '3'))
        self.assertIn('SPLAT', suite.find('testcase/failure').get('message'))

    def test_stale(self):
        write(self.results / 'stale', 'x86_64-series\tthe image has changed\n')
        self.judge(1, '^stale: x86_64-series: the image has changed$', r'kunit:s.one .*STALE', '^2 of the failed are STALE',
                   '^0 passed, 3 failed, 0 skipped$')
        self.assertEqual(self.data()['guests'][1]['stale'], 'the image has changed')
        suite = ElementTree.parse(self.results / 'junit.xml').getroot().find('testsuite')
        self.assertEqual((suite.get('errors'), suite.get('failures')), ('2', '1'))

    def test_schema_refuses(self):
        self.judge(0)
        for change, place in (({'passed': -1}, 'passed'), ({'verb': 'fly'}, 'verb'), ({'colour': 'red'}, 'the whole'), ({'guests': [{}]}, 'guests/0')):
            with self.subTest(change), self.assertRaisesRegex(HarnessError, f'does not fit result.schema.json: {place}'):
                check_result({**self.data(), **change})

    def test_jsonschema_missing(self):
        with mock.patch('harness.result_json.jsonschema', None), self.assertRaisesRegex(HarnessError, "missing python3-jsonschema; run"):
            self.judge(0)

    def test_disk_full(self):
        """The files of before stay, and nothing half-written beside them."""
        self.judge(0)
        before = {path.name: path.read_bytes() for path in self.results.iterdir() if path.is_file()}
        results = read_results(self.results, [], self.tools)
        self.judgement.remarks.append('another summary')
        self.assertTrue(result_data(results, self.judgement))
        with mock.patch('pathlib.Path.write_bytes', side_effect=OSError(28, 'No space left on device')), \
                self.assertRaisesRegex(HarnessError, 'cannot write .*: No space left on device; make it writable, or free some space'):
            write_files(results, self.judgement, 'another summary\n')
        self.assertEqual(before, {path.name: path.read_bytes() for path in self.results.iterdir() if path.is_file()})


class BadFolder(JudgeTest):
    """A result folder that nothing can be judged from."""

    def setUp(self):
        super().setUp()
        self.good(self.plan('x86_64', 'series'))

    def refused(self, pattern, **files):
        write(self.results / 'request.json', json.dumps(self.request))
        write(self.results / 'guests', 'x86_64-series\tx86_64\tseries\t-\n')
        for name, text in files.items():
            write(self.results / name, text)
        with self.assertRaisesRegex(HarnessError, pattern) as caught:
            read_results(self.results, [], self.tools)
        self.assertEqual(len(str(caught.exception).splitlines()), 1)

    def test_request(self):
        for text, pattern in (('{', 'is not JSON'), ('[]', 'its verb is not one of'), ('{"verb": "fly"}', 'its verb is not one of'),
                              ('{"verb": "run", "archs": ["vax"]}', "unknown architecture 'vax'"), ('{"verb": "run", "archs": "um"}', 'not a list of strings'),
                              ('{"verb": "run", "flavour": "gone"}', "unknown flavour 'gone'"), ('{"verb": "run", "topic": 1}', 'have to be strings')):
            with self.subTest(text):
                self.refused(pattern, **{'request.json': text})

    def test_guests(self):
        for text, pattern in (('x86_64-series x86_64 series -\n', 'guests:1: want GUEST, ARCH, VARIANT and WHAT'), ('g\tvax\tseries\t-\n', "unknown architecture 'vax'"),
                              ('../g\tum\tseries\t-\n', 'want GUEST, ARCH'), ('g\tum\tseries\ta\ng\tum\tbase\tb\n', 'g has another architecture or variant above')):
            with self.subTest(text):
                self.refused(pattern, guests=text)

    def test_missing(self):
        with self.assertRaisesRegex(HarnessError, 'no results in .*/gone; run the verb first'):
            read_results(self.work / 'gone', [], self.tools)
        with self.assertRaisesRegex(HarnessError, 'cannot read .*/request.json: No such file'):
            read_results(self.results, [], self.tools)

    def test_meta(self):
        for text, pattern in (('{', 'meta.json is not JSON'), ('[]', 'meta.json is not an object')):
            write(self.results / 'x86_64-series/meta.json', text)
            with self.subTest(text), self.assertRaisesRegex(HarnessError, pattern):
                read_folder(self.results / 'x86_64-series', [])


class Command(CommandTest):
    """`harness judge NAME` as scripts call it, on the fixture folders' guests."""

    def setUp(self):
        super().setUp()
        parser = kunit_tools().parser
        self.kunit = os.path.dirname(parser.__file__)

    def harness(self, *arguments):
        return TOP / 'scripts/harness', 'judge', *arguments, '--kunit', self.kunit

    def test_unknown_name(self):
        self.refuses('^harness: no results in .*/gone; run the verb first', *self.harness('gone'))

    def test_no_kernel(self):
        self.refuses('^harness: no kunit_parser.py in .*; run make tree', TOP / 'scripts/harness', 'judge', 'debug')

    def test_no_name(self):
        self.says(2, '^usage: harness judge', TOP / 'scripts/harness', 'judge')

    def test_judged(self):
        folder = self.work / 'out/result/debug'
        for guest in ('test', 'series'):
            write(folder / f'um-{guest}/ended', 'exit 0\n')
            write(folder / f'um-{guest}/console', 'KTAP version 1\n1..1\n    KTAP version 1\n    # Subtest: s\n    1..1\n    ok 1 one\nok 1 s\n')
        write(folder / 'request.json', '{"verb": "run", "archs": ["um"]}')
        write(folder / 'guests', 'um-test\tum\ttest\t-\num-series\tum\tseries\t-\n')
        write(self.work / 'topics/order', 't\n')
        write(self.work / 'topics/t/tests', 'kunit:s.one um PASS\n')
        self.env['TOPICS'] = str(self.work / 'topics')
        self.says(0, '^1 passed, 0 failed, 0 skipped$', *self.harness('debug'))
        self.assertEqual(json.loads((folder / 'result.json').read_text())['passed'], 1)
        write(self.work / 'topics/t/tests', 'kunit:s.one um FAIL it\n')
        self.says(1, '^0 passed, 1 failed, 0 skipped$', *self.harness('debug'))


if __name__ == '__main__':
    main()
