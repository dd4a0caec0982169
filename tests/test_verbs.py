#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Verbs from the plan to the result: scripts/run, mutants, report. Tree, kernels, programs and QEMU are stubs."""

import json
import shutil
from pathlib import Path

from judging import kunit_tools
from support import TOP, CommandTest, main, write

# A guest that runs the KUnit suite s with one case, which passes, or fails if $FAILS names its kernel; with a mutant it
# fails, too.
QEMU = r'''#!/bin/bash
[ "$1" != --version ] || { echo "QEMU emulator version 7.2.22 (Debian)"; exit; }
while [ $# -gt 0 ]; do
	case $1 in
	-kernel) kernel=$(cat "$2") ;;
	file,id=ktap,path=*) ktap=${1#*path=} ;;
	file,id=verdict,path=*) verdict=${1#*path=} ;;
	file:*) console=${1#file:} ;;
	esac
	shift
done
echo "$kernel" >>"$OUT/boots"
echo "cpus 2" >"$verdict"
name=
while read -r word argument _; do
	[ "$word" != mutant ] || { name=$argument/; continue; }
	case "$kernel$name" in $FAILS | *mutants?*) failed=not\  said='    # one: EXPECTATION FAILED at mm/x.c:1\nthe rule\n' ;; *) failed='' said='' ;; esac
	printf '[ 1.0] mm: begin %skunit:s\n[ 1.1] mm: end %skunit:s\n' "$name" "$name" >>"$console"
	printf "#### begin ${name}kunit:s\nKTAP version 1\n1..1\n    KTAP version 1\n    # Subtest: s\n    1..1\n$said    ${failed}ok 1 one\n${failed}ok 1 s\n#### end ${name}kunit:s\n" >>"$ktap"
	echo "ran ${name}kunit:s 0" >>"$verdict"
done <"${verdict%verdict}job"
echo complete >>"$verdict"
'''
STUBS = {
    'tree': 'exit 0',
    'userspace': 'exit 0',
    'root': 'mkdir -p "$OUT/root"; : >"$OUT/root/$1.cpio"; echo "1  ./init" >"$OUT/root/$1.manifest"',
    'kernel': '[ "$1" != --stamp ] || { cat "$OUT/source"; exit; }; d=$OUT/kernel/$1-$2-$3; mkdir -p "$d"; '
              'echo "$*" >"$d/image"; cat "$OUT/source" >"$d/stamp"',
}


class Verbs(CommandTest):
    """A topic with one KUnit case that fails on base."""

    def setUp(self):
        super().setUp()
        self.top, self.out = self.work / 'top', self.work / 'out'
        for name in ('scripts', 'harness', 'guest', 'configs'):
            shutil.copytree(TOP / name, self.top / name, ignore=shutil.ignore_patterns('__pycache__'))
        shutil.copy(TOP / 'base.mk', self.top)
        for name, text in STUBS.items():
            write(self.top / 'scripts' / name, f'#!/bin/sh\n{text}\n')
        self.stub('qemu-system-x86_64', QEMU)
        write(self.out / 'source', 'one\n')
        (self.out / 'linux/tools/testing').mkdir(parents=True)
        (self.out / 'linux/tools/testing/kunit').symlink_to(Path(kunit_tools().parser.__file__).parent)
        topics = self.work / 'topics'
        write(topics / 'order', 't\n')
        write(topics / 't/tests', 'kunit:s.one x86_64 FAIL the rule\n')
        write(topics / 't/series', '')
        write(topics / 't/mutants/0001-m.patch', 'Subject: [PATCH] mutant: m\n\nCaught-by: x86_64 kunit:s.one: the rule\n')
        write(self.top / 'reproducers/fixes.toml', '[topics]\nt = "A bug."\n')
        write(self.top / 'reproducers/seen.json', '[]')
        self.env.update(TOPICS=str(topics), FAILS='*test')

    def script(self, name):
        return self.top / 'scripts' / name

    def boots(self):
        path = self.out / 'boots'
        return path.read_text().splitlines() if path.exists() else []

    def result(self, name):
        return json.loads((self.out / 'result' / name / 'result.json').read_text())

    def test_run(self):
        self.says(0, r'^kunit:s.one +x86_64 +FAIL +PASS$', self.script('run'), 'x86_64')
        self.assertEqual(self.boots(), ['x86_64 debug test', 'x86_64 debug series'])
        result = self.result('debug')
        self.assertEqual((result['passed'], result['failed'], result['skipped']), (1, 0, 0))
        self.assertEqual([guest['origin'] for guest in result['guests']], ['known', 'known'])

    def test_run_again(self):
        self.does(self.script('run'), 'x86_64')
        self.says(0, '^1 passed, 0 failed, 0 skipped$', self.script('run'), 'x86_64')
        self.assertEqual(len(self.boots()), 2)

    def test_run_that_fails(self):
        self.says(1, r'^kunit:s.one +x86_64 +PASS +PASS .*want FAIL', self.script('run'), 'x86_64', FAILS='none')
        self.assertEqual(self.result('debug')['failed'], 1)

    def test_kernel_that_does_not_build(self):
        write(self.script('kernel'), '#!/bin/sh\necho no space left\nexit 1\n')
        self.says(1, r'^  \| no space left$', self.script('run'), 'x86_64')
        self.assertFalse((self.out / 'result/debug/result.json').exists())

    def test_dry_run(self):
        out = self.does(self.script('run'), 'x86_64', DRY='1')
        self.assertEqual(out.count('qemu-system-x86_64 '), 2)
        self.assertEqual(self.boots(), [])

    def test_mutants(self):
        self.says(0, '^1 of 1 mutants caught', self.script('mutants'))
        self.assertEqual(self.result('mutants-debug')['passed'], 1)

    def test_report(self):
        self.does(self.script('run'), 'x86_64')
        self.does(self.script('mutants'))
        boots = len(self.boots())
        self.says(0, '^== mutants-debug$', self.script('report'))
        self.assertEqual(len(self.boots()), boots)
        self.assertIn('<b>1</b> of 1 mutants caught', (self.out / 'report/index.html').read_text())

    def test_report_of_another_source(self):
        self.does(self.script('run'), 'x86_64')
        write(self.out / 'source', 'two\n')
        self.says(1, "^stale: x86_64-series: the kernel x86_64 debug series is not of today's", self.script('report'))
        self.assertIn('Stale: 2 of 2 guests', (self.out / 'report/index.html').read_text())
        self.assertEqual(len(self.boots()), 2)

    def test_repeat(self):
        self.says(0, '^Every case said the same each time', self.script('repeat'), 'x86_64', N='2')
        self.assertEqual(len(self.boots()), 8)
        self.does(self.script('repeat'), 'x86_64', N='3')
        self.assertEqual(len(self.boots()), 12)


if __name__ == '__main__':
    main()
