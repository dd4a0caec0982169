#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""userfaultfd.rst and the selftests uffd-wp-rules and uffd-wp-dump say the same of write-protection.

scripts/uffd-rules makes the table of userfaultfd.rst from uffd-wp-rules.h. The table is read from the patch that adds it.
"""

import re
import runpy
import unittest

from support import TOP, main

MM = TOP / 'tools/testing/selftests/mm'
RULES = runpy.run_path(str(TOP / 'scripts/uffd-rules'))
# The operation of uffd-wp-rules.h that does the same as one of uffd-wp-dump, if it has another name.
SAME = {'soft_offline': 'migrate', 'poison': 'hwpoison', 'fork_unread': 'fork'}
# Operations of uffd-wp-dump that have no row, and why.
OTHERS = {
    'write': 'is what is reported', 'populate_write': 'a write', 'populate_read': 'changes nothing', 'unguard': 'the end of guard',
    'scan_nothing': 'changes nothing',
}
# The memory behind the three effects of an operation of uffd-wp-dump.
MEMORY = ({'SHMEM'}, {'ANON'}, {'SHMEM_PRIVATE', 'SHMEM_OWN'})


def read_document():
    """The table, as it is in the patch."""
    patch, = (TOP / 'topics/uffd-wp-zap').glob('*-Documentation-*.patch')
    lines = [line[1:] for line in patch.read_text().splitlines() if line.startswith('+')]
    start = lines.index('.. list-table:: What happens to the write-protection')
    end = next(i for i in range(start + 3, len(lines)) if lines[i] == '')
    return '\n'.join(lines[start:end]) + '\n'


def read_dumper():
    """The effects of each operation in sync mode, on the memory of MEMORY, or None: SAME, RENEWED or DROPPED."""
    body = (MM / 'uffd-wp-dump.c').read_text().split('static struct operation operations[] = {\n', 1)[1].split('\n};', 1)[0]
    found = {}
    for name, rest in re.findall(r'\{ "(\w+)", ((?:[^{}]|\{[^{}]*\})*)\}', body):
        effects = re.findall(r'[A-Z]+', (re.search(r'\{([^}]*)\}', rest) or ['', ''])[1])
        effects += ['SAME'] * (3 - len(effects))
        kinds = set(re.findall(r'\b(ALL|SMALL|FILES|FILLED|ANON|SHMEM|HUGETLB)\b', rest.split('{')[0]))
        has = (bool(kinds - {'ANON'}), bool(kinds & {'ALL', 'SMALL', 'FILLED', 'ANON'}), bool(kinds - {'ANON'}) and 'only_shared' not in rest)
        found[name] = [effect if there else None for effect, there in zip(effects, has)]
    return found


class Rules(unittest.TestCase):
    """The header, the document, and the dumper."""

    @classmethod
    def setUpClass(cls):
        cls.operations, cls.rules = RULES['read_header']()

    def answers(self, operation, memory):
        """The sync answers of an operation for some kinds of memory, without those that cannot be."""
        return {r.sync for r in self.rules if r.operation == operation and r.memory & memory} - {'NEVER'}

    def test_all_is_read(self):
        text = (MM / 'uffd-wp-rules.h').read_text()
        self.assertEqual(len(self.rules), text.count('{ OP_'))
        self.assertEqual(len(self.operations), text.count('\tOP('))
        self.assertEqual({r.operation for r in self.rules}, set(self.operations))
        self.assertEqual([r for r in self.rules if not r.memory or {r.sync, r.async_} - set(RULES['ANSWERS'])], [])

    def test_document(self):
        self.assertEqual(read_document(), RULES['make_table'](RULES['make_rows'](self.operations, self.rules)))

    def test_others_are_in_the_document(self):
        for operation, (said, same) in self.operations.items():
            with self.subTest(operation=operation):
                self.assertTrue(self.operations[same][0])
                self.assertEqual(same == operation, bool(said))

    def test_every_operation_of_the_dumper_has_a_row(self):
        for name in read_dumper():
            with self.subTest(operation=name):
                self.assertEqual(SAME.get(name, name) in self.operations, name not in OTHERS)

    def test_dumper(self):
        for name, effects in read_dumper().items():
            for effect, memory in zip(effects, MEMORY):
                want = self.answers(SAME.get(name, name), memory) if name not in OTHERS else set()
                if effect is None or not want:
                    continue
                with self.subTest(operation=name, memory=memory):
                    self.assertEqual({effect == 'DROPPED'}, {answer == 'DROPPED' for answer in want})


if __name__ == '__main__':
    main()
