#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""harness page: how the page shows results that are there, absent, stale or bad; its links and its HTML."""

import json
import re
from html.parser import HTMLParser
from unittest import mock
from urllib.parse import unquote, urlsplit

from judging import BAD, GOOD, JudgeTest, kunit_text, marks, section, selftest_text
from support import TOP, CommandTest, main, write

from harness import page, page_plots
from harness.errors import HarnessError
from harness.expectations import read_tests
from harness.page_data import overlaps_of, races, read_all
from harness.page_stock import read_stock
from harness.topics import read_order

FIXES = '''[topics]
t = "Pages are lost & found."
[[fix]]
topic = "t"
subject = "mm: find them"
reproducer = "lost"
[[fix]]
topic = "t"
title = "mm: still lost"
reproducer = "gone"
'''
SEEN = [{'version': '7.3.4', 'arch': 'x86_64', 'package': 'p', 'results': {'lost': 'AFFECTED'}},
        {'version': '6.1.1', 'arch': 'x86_64', 'package': 'p', 'results': {'lost': 'not affected'}}]
VOID = ('meta', 'br', 'wbr', 'path', 'use', 'circle', 'rect', 'line')


class Tags(HTMLParser):
    """The links of a page; an error for a tag that is closed by another."""

    def __init__(self, text):
        super().__init__()
        self.open, self.links, self.ids = [], [], []
        self.feed(text)
        assert not self.open, f'not closed: {self.open}'

    def handle_starttag(self, tag, attrs):
        self.links += [value for name, value in attrs if tag == 'a' and name == 'href']
        self.ids += [value for name, value in attrs if name == 'id']
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            opened = self.open.pop()
            assert opened == tag, f'</{tag}> closes <{opened}>, line {self.getpos()[0]}'


class Pages(JudgeTest):
    """self.all is out/result, self.here the page's folder."""

    def setUp(self):
        super().setUp()
        self.all, self.here, self.stock = self.work / 'result', self.work / 'report', self.work / 'stock'
        write(self.stock / 'fixes.toml', FIXES)
        write(self.stock / 'seen.json', json.dumps(SEEN))
        write(self.topics / 't/tests', 'kunit:s.one x86_64 FAIL the rule\nkunit:s.two x86_64,arm64 PASS\n')

    def folder(self, name, verb):
        """The next guests are of this result."""
        self.results, self.planned = self.all / name, []
        self.request = {'verb': verb, 'archs': ['x86_64'], 'flavour': 'debug'}

    def judged_run(self, status=0, base=BAD, series=GOOD):
        self.folder('debug', 'run')
        self.kunit(self.plan('x86_64', 'test'), base)
        self.kunit(self.plan('x86_64', 'series'), series)
        self.judge(status)

    def page(self):
        topics = read_order(self.topics)
        return page.Page(read_all(self.all), list(topics), read_tests(topics), read_stock(self.stock, topics), 'v1', self.here)

    def html(self, *patterns):
        """The page, without tags or not, has these; its links lead somewhere."""
        path = page.write_page(self.page())
        text = path.read_text()
        tags = Tags(text)
        for link in tags.links:
            parts = urlsplit(link)
            if parts.path:
                log = self.here / unquote(parts.path)
                self.assertTrue(log.is_file(), link)
                self.assertIn(unquote(parts.fragment.removeprefix(':~:text=')), log.read_text(), link)
            elif parts.fragment:
                self.assertIn(parts.fragment, tags.ids)
        self.plain = re.sub(r'\s+', ' ', re.sub(r'<style>.*?</style>|<[^>]*>', ' ', text.replace('<wbr>', ''), flags=re.S))
        for pattern in patterns:
            self.assertRegex(self.plain, pattern)
        return text


class Content(Pages):
    """What the page says."""

    def test_nothing(self):
        """No figure without a result."""
        self.html('absent cases on base', 'absent mutants', 'absent benchmarks', 'Absent: no result in out/result. make run makes it',
                  'out/result has no result')

    def test_run(self):
        self.judged_run()
        self.html('1 of 2 cases do not pass on base, 0 skipped', '2 of 2 cases pass on the series, 0 skipped', 't Pages are lost &amp; found. 1 1 FAIL 1 PASS 2 PASS',
                  'Nothing, in 1 results', 'absent no case no case base 1 FAIL 1 PASS series 2 PASS')

    def test_links_to_the_logs_of_the_guest(self):
        self.judged_run()
        links = Tags(self.html()).links
        self.assertIn('../result/debug/x86_64-test/console#:~:text=begin%20kunit%3As', links)
        self.assertIn('../result/debug/x86_64-series/ktap#:~:text=begin%20kunit%3As', links)

    def test_log_that_is_gone(self):
        self.judged_run()
        (self.results / 'x86_64-test/ktap').unlink()
        self.assertNotIn('x86_64-test/ktap', self.html())

    def test_unexpected(self):
        self.judged_run(1, series=BAD)
        self.html('1 of 2 cases pass on the series', '1 FAIL 1 PASS 1 not as expected',
                  'Not as expected debug case .* kunit:s.one x86_64 FAIL console ktap the rule FAIL console ktap the rule not as expected series: want PASS')
        self.assertNotIn('Nothing, in', self.plain)

    def test_fault_of_a_guest(self):
        self.judged_run()
        self.plan('x86_64', 'series').append('console', '[ 9.0] WARNING: mm/x.c:1 at late\n')
        self.judge(1)
        self.html('Faults that belong to no case .*WARNING: mm/x.c:1')

    def test_stale(self):
        self.judged_run()
        write(self.results / 'stale', 'x86_64-series\tthe kernel is of yesterday\n')
        self.judge(1)
        self.html('2 of 2 cases pass on the series, 0 skipped, 2 stale', 'Stale: 1 of 2 guests', 'x86_64-series: the kernel is of yesterday',
                  '1 of 2 guests stale')

    def test_not_judged(self):
        write(self.all / 'bench/request.json', '{}')
        self.html('bench absent: not judged')

    def test_other_version(self):
        write(self.all / 'bench/result.json', '{"version": 0, "verb": "bench"}')
        self.html('bench absent: of another version', 'Absent: no result in out/result. make bench makes it')

    def test_check_without_guests(self):
        write(self.all / 'tests/result.json', '{"verb": "stage", "name": "tests", "passed": 5, "failed": 1, "skipped": 2}')
        self.html('tests 5 1 2 not compared')

    def test_narrowed_run(self):
        """It is not the whole: the totals do not take it."""
        self.judged_run()
        self.results.rename(self.all / 'debug-t')
        path = self.all / 'debug-t/result.json'
        path.write_text(path.read_text().replace('"topic": "",', '"topic": "t",'))
        self.html('absent cases on base', r'debug-t \(TOPIC=t\)')

    def test_repeat(self):
        """Its rows have as many columns as the case had different verdicts."""
        def row(case, *said):
            return {'topic': None, 'mutant': None, 'case': case, 'arch': 'um', 'outcome': 'failed', 'reason': 'unexpected', 'notes': [],
                    'columns': [{'column': f'{n} of 3 copies', 'guest': f'um-series/{n}', 'verdict': word} for n, word in said]}
        rows = [row('kunit:s.a', (1, 'PASS'), (2, 'FAIL')), row('kunit:s.b', (1, 'PASS'), (1, 'FAIL'), (1, 'SPLAT'))]
        write(self.all / 'repeat/result.json', json.dumps({'version': 1, 'verb': 'repeat', 'request': {}, 'guests': [], 'cases': rows,
                                                           'findings': [], 'passed': 0, 'failed': 2, 'skipped': 0, 'start': None}))
        self.html('repeat kunit:s.a um: PASS 1 of 3 copies FAIL 2 of 3 copies kunit:s.b um: PASS 1 of 3 copies FAIL 1 of 3 copies SPLAT 1 of 3')

    def test_stock(self):
        self.html('1 of 2 bugs with a program are seen on stock kernels, 1 not run', 'lost t: mm: find them AFFECTED no',
                  r'gone t: mm: still lost \(no fix yet: the series has this bug, too\) not run not run')

    def test_text_is_escaped(self):
        self.judged_run(1, series=BAD.replace('the rule', '<script>the rule'))
        self.assertNotIn('<script', self.html('&lt;script&gt;the rule'))

    def test_stands_alone(self):
        """Nothing is loaded, and nothing runs."""
        self.judged_run()
        self.assertNotRegex(self.html(), r'<script|<link|<img|@import|url\(|src=|onclick')


class Mutants(Pages):
    """Two mutants of the case one."""

    def test_mutants(self):
        for name in ('a', 'b'):
            write(self.topics / f't/mutants/{name}.patch', f'Subject: [PATCH] mutant: {name}\n\nCaught-by: x86_64 kunit:s.one: the rule\n')
        self.folder('mutants-debug', 'mutants')
        self.kunit(self.plan('x86_64', 'mutants', name='x86_64-none'))
        for name, said in (('a', BAD), ('b', GOOD)):
            guest = self.plan('x86_64', 'mutants', name)
            self.good(guest, verdict=f'ran {name}/kunit:s 0\ncomplete\n', console=marks(f'{name}/kunit:s'),
                      ktap=section(f'{name}/kunit:s', kunit_text(said)))
        self.judge(1)
        self.html('1 of 2 mutants caught', 'mutants-debug .* b kunit:s.one x86_64 PASS console ktap PASS console ktap survived')
        write(self.results / 'stale', 'x86_64-mutants-a\tanother kernel\n')
        self.judge(1)
        self.html('0 of 2 mutants caught, 1 stale', 't .* 0 of 2 caught 1 stale')


class Plots(Pages):
    """Races and benchmarks."""

    def need_matplotlib(self):
        if page_plots.matplotlib is None:
            self.skipTest("python3-matplotlib is not installed; 'scripts/packages report' does it")

    def race(self):
        """A race that base loses after 3 overlaps, in 2 lines, and the series does not lose in 90."""
        write(self.topics / 't/tests', 'selftest:p.global.a x86_64 RACE lost\n')
        self.folder('debug', 'run')
        lost = '# x.c:1:a:5 rounds, 1 overlaps\n# x.c:1:a:6 rounds, 9 lost, 2 overlaps\n# x.c:1:a:Expected lost (1) == 0 (0)\n'
        listed = '# FIXTURE VARIANT TEST\n' + '-' * 80 + '\n%-20s %-25s %s\n' % ('global', '', 'a')
        for variant, word, said in (('base', 'not ok', lost), ('series', 'ok', '# x.c:1:a:100 rounds, 90 overlaps\n')):
            self.good(self.plan('x86_64', variant), verdict=f'ran selftest:p.global.a {word != "ok":d}\nran list:p 4\ncomplete\n',
                      console=marks('selftest:p.global.a') + marks('list:p'),
                      ktap=section('list:p', listed) + section('selftest:p.global.a', selftest_text('global.a', word, said)))
        self.judge(0)

    def test_overlaps(self):
        self.race()
        race, = races(read_all(self.all)[0])
        self.assertEqual((race.rounds, race.overlaps), ({'base': 11, 'series': 100}, {'base': 3, 'series': 90}))
        self.assertEqual(race.verdicts, {'base': 'FAIL', 'series': 'PASS'})

    def test_overlaps_of_no_file(self):
        self.assertEqual(overlaps_of(self.work / 'gone'), {})

    def test_race_plot(self):
        self.need_matplotlib()
        self.race()
        text = self.html('races on x86_64 .* p.global.a')
        self.assertIn('aria-label="races on x86_64"', text)
        self.assertRegex(text, r'<svg [^>]*viewBox')
        self.assertNotRegex(text, r'#0[1-5]0[1-5]0[1-5]')

    def bench(self, *limits):
        self.folder('bench', 'bench')
        self.request['flavour'] = 'bench'
        write(self.topics / 't/bench', ''.join(f'{limit}\n' for limit in limits))
        for variant, value in (('base', 2000), ('series', 2100)):
            self.good(self.plan('x86_64', variant), verdict='ran bench:b 0\ncomplete\n', console=marks('bench:b'),
                      ktap=f'bench on {value} insn\nbench off 1000 insn\n')

    def test_bench(self):
        self.need_matplotlib()
        self.bench('x86_64 on 1.06', 'x86_64 off 1.01', 'x86_64 off equal')
        self.judge(0)
        self.html(r'\+5.0% instructions in the worst benchmark; 3 within their limits, 0 over', r'at most \+5.0%', 't on x86_64',
                  't x86_64 on 2,000 2,100 1.0500 1.06 within')

    def test_bench_over_and_absent(self):
        self.need_matplotlib()
        self.bench('x86_64 on 1.01', 'x86_64 gone 1.01')
        self.judge(1)
        self.html('0 within their limits, 1 over, 1 absent', '1 over the limit 1 absent', 't x86_64 gone 1.01 absent')

    def test_stale_bench(self):
        """It is neither within its limits nor the worst."""
        self.need_matplotlib()
        self.bench('x86_64 on 1.06')
        self.judge(0)
        write(self.results / 'stale', 'x86_64-series\tanother kernel\n')
        self.judge(1)
        self.html('0 within their limits, 0 over, 1 stale', 't x86_64 on 2,000 2,100 1.0500 1.06 stale')
        self.assertNotIn('in the worst benchmark;', self.plain)

    def test_plots_without_matplotlib(self):
        self.race()
        with mock.patch.object(page_plots, 'matplotlib', None), self.assertRaisesRegex(HarnessError, "scripts/packages report"):
            self.html()


class Bad(Pages):
    """Bad input."""

    def test_result_that_is_not_json(self):
        write(self.all / 'debug/result.json', '{')
        with self.assertRaisesRegex(HarnessError, 'debug/result.json is not JSON: .*; run make report'):
            self.html()

    def test_topic_without_a_sentence(self):
        write(self.stock / 'fixes.toml', '[topics]\nu = "x"\n')
        with self.assertRaisesRegex(HarnessError, "lacks 't'; add the bug that it fixes"):
            self.html()

    def test_old_page_stays(self):
        write(self.here / 'index.html', 'old')
        write(self.all / 'debug/result.json', '{')
        self.assertRaises(HarnessError, self.html)
        self.assertEqual([path.name for path in self.here.iterdir()], ['index.html'])

    def test_without_jinja2(self):
        with mock.patch.object(page, 'jinja2', None), self.assertRaisesRegex(HarnessError, 'scripts/packages report'):
            self.html()


class Command(CommandTest):
    """harness page, with the topics and fixes of the repository."""

    def test_page(self):
        self.does(TOP / 'scripts/harness', 'page')
        self.assertIn('absent', (self.work / 'out/report/index.html').read_text())

    def test_bad_result(self):
        write(self.work / 'out/result/debug/result.json', '[]x')
        self.refuses('^harness: .*is not JSON', TOP / 'scripts/harness', 'page')


if __name__ == '__main__':
    main()
