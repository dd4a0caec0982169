#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""The stages of make evidence: parsed, run once for each state of the inputs, and shown as they ended."""

import json
import subprocess
import sys
from pathlib import Path

from support import TOP, CommandTest, main, write

sys.path.insert(0, str(TOP))
# pylint: disable=wrong-import-position
from harness.errors import HarnessError
from harness.evidence import read_stages


class Evidence(CommandTest):
    """A folder of topics with three stages, and a tree with the refs that stages depend on."""

    def setUp(self):
        super().setUp()
        self.topics = self.work / 'topics'
        self.env['TOPICS'] = str(self.topics)
        write(self.topics / 'order', 't\n')
        write(self.topics / 'evidence', '# stages\ngood echo x >>"$OUT/ran" &&\n\techo 3 passed, 0 failed, 0 skipped\nbad false\nthird true\n')
        linux = self.work / 'out/linux'
        linux.mkdir(parents=True)
        for command in (['init', '-q'], ['-c', 'user.name=t', '-c', 'user.email=t@invalid', 'commit', '-q', '--allow-empty', '-m', 'x'],
                        *(['update-ref', f'refs/mm/{name}', 'HEAD'] for name in ('base', 'series', 'mutants'))):
            subprocess.run(['git', '-C', str(linux), *command], check=True)

    def evidence(self, *stages, **env):
        return self.run_command(TOP / 'scripts/harness', 'evidence', *stages, **env)

    def ran(self):
        return len((self.work / 'out/ran').read_text().splitlines())

    def test_table(self):
        status, out, _ = self.evidence()
        self.assertEqual(status, 1)
        self.assertRegex(out, r'(?m)^good +well .*3 passed, 0 failed, 0 skipped$')
        self.assertRegex(out, r'(?m)^bad +status 1 ')
        self.assertRegex(out, r'(?m)^third +well ')

    def test_one_stage(self):
        status, out, _ = self.evidence('good')
        self.assertEqual(status, 0)
        self.assertRegex(out, r'(?m)^bad +not run$')

    def test_good_result_is_kept(self):
        self.evidence('good')
        self.evidence('good')
        self.assertEqual(self.ran(), 1)
        self.evidence('good', FORCE='1')
        self.assertEqual(self.ran(), 2)

    def test_other_inputs(self):
        """A result of other inputs is run again, and until then it is shown as that."""
        self.evidence('good')
        record = self.work / 'out/evidence/good.json'
        record.write_text(json.dumps({**json.loads(record.read_text()), 'inputs': 'former'}))
        _, out, _ = self.evidence('--table')
        self.assertIn('former (others than now)', out)
        self.evidence('good')
        self.assertEqual(self.ran(), 2)

    def test_unknown_stage(self):
        self.refuses("unknown stage 'gone'; choose of: good bad third", TOP / 'scripts/harness', 'evidence', 'gone')

    def test_not_understood(self):
        for text in ('name\n', 'a true\na true\n', 'Upper true\n'):
            write(self.topics / 'evidence', text)
            with self.subTest(text), self.assertRaisesRegex(HarnessError, 'not understood'):
                read_stages(self.topics)

    def test_stages_of_this_repository(self):
        for stage in read_stages(Path(TOP / 'topics')).values():
            with self.subTest(stage.name):
                subprocess.run(['bash', '-n', '-c', stage.command], check=True)


if __name__ == '__main__':
    main()
