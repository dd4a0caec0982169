#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""userfaultfd.rst and the selftest uffd-wp-dump say the same of write-protection in sync mode.

The table of userfaultfd.rst is read from the patch that adds it, and the operations from the selftest.
"""

import re
import unittest

from support import TOP, main

# The operations that do what a row of the table says, with "dropped" or "kept" for all of them; for a row without one, the reason.
ROWS = {
    '``MADV_DONTNEED``, page of the file': {'dontneed'},
    '``MADV_DONTNEED``, own page of a private mapping': 'private files run in async mode only',
    '``MADV_REMOVE``, punching a hole, ``ftruncate(2)``': {'remove', 'punch', 'truncate'},
    'reclaim, swap, split of huge pages': {'pageout', 'swapin'},
    'migration, collapse of huge pages': {'migrate', 'soft_offline', 'collapse'},
    'KSM, own page of a private mapping': {'ksm', 'unmerge'},
    'hardware poison': {'poison'},
    '``MADV_GUARD_INSTALL``, then ``MADV_GUARD_REMOVE``': {'guard', 'unguard'},
    '``mremap(2)``, at the new address; ``fork(2)``, in the child': {'mremap'},
    '``mremap(2)`` that fails': 'uffd-wp-zap has it, wp.*.mremap_fails: an allocation has to fail',
    '``UFFDIO_COPY`` and ``UFFDIO_CONTINUE`` without the mode for it, ``UFFDIO_ZEROPAGE``': {'copy', 'continue', 'zeropage'},
    '``UFFDIO_UNREGISTER``, ``munmap(2)``': 'ends the area; uffd-wp-zap has munmap and unregister',
}
# Operations of which the table says nothing, and where userfaultfd.rst has them, or why it need not.
OTHERS = {
    'write': 'is what is reported', 'populate_write': 'a write', 'populate_read': 'changes nothing', 'mprotect': 'changes nothing',
    'fork': 'changes nothing in the parent', 'fork_unread': 'changes nothing in the parent', 'scan_nothing': 'changes nothing',
    'uffd_poison': 'drops nothing: a marker beside the bit', 'copy_wp': 'the caller asks for write-protection',
    'move': 'text below the table: anonymous memory', 'dontunmap': 'text below the table',
}


def read_table():
    """Each row of the table: operation, sync, async."""
    patch, = (TOP / 'topics/uffd-wp-zap').glob('*-Documentation-*.patch')
    text = '\n'.join(line[1:] for line in patch.read_text().splitlines() if line.startswith('+'))
    table = text.split('.. list-table:: What happens to the write-protection of a page of a file\n', 1)[1].split('\n``mremap(2)`` with', 1)[0]
    return [[' '.join(cell.split()) for cell in re.split(r'\n     - ', row)] for row in re.split(r'\n   \* - ', table)[2:]]


def read_operations():
    """The effect of each operation on shared memory: SAME, RENEWED or DROPPED."""
    source = (TOP / 'tools/testing/selftests/mm/uffd-wp-dump.c').read_text()
    body = source.split('static struct operation operations[] = {\n', 1)[1].split('\n};', 1)[0]
    found = re.findall(r'\{ "(\w+)", ((?:[^{}]|\{[^{}]*\})*)\}', body)
    return {name: (re.search(r'\{ (\w+)', rest) or [None, 'SAME'])[1] for name, rest in found}


class Rules(unittest.TestCase):
    """The two tables."""

    def test_every_row_is_known(self):
        self.assertEqual([row[0] for row in read_table()], list(ROWS))

    def test_every_operation_is_known(self):
        named = [name for row in ROWS.values() if isinstance(row, set) for name in row]
        self.assertEqual(sorted(named + list(OTHERS)), sorted(read_operations()))

    def test_sync(self):
        operations = read_operations()
        for name, sync, _ in read_table():
            with self.subTest(row=name):
                self.assertRegex(sync, '^(kept|dropped)')
                for operation in ROWS[name] if isinstance(ROWS[name], set) else ():
                    self.assertEqual(operations[operation] == 'DROPPED', sync.startswith('dropped'), operation)


if __name__ == '__main__':
    main()
