// SPDX-License-Identifier: GPL-2.0-only
/*
 * Problem: MADV_COLLAPSE destroys a guard region that another thread installs at the same time.  MADV_GUARD_INSTALL
 * has returned 0, and the page that should raise SIGSEGV can be read and written.
 * Right: a guard region that MADV_GUARD_INSTALL has installed raises SIGSEGV until it is removed.
 * Affected: since 6.15, allocators and runtimes that guard shared memory which khugepaged or MADV_COLLAPSE collapses.
 * Fix: mm/khugepaged: keep a page table locked until it is detached.  A race; needs two CPUs.
 */
#include "repro.h"

struct range {
	char *p;
	unsigned long size;
};

static void collapse_range(void *data)
{
	struct range *r = data;

	madvise(r->p, r->size, MADV_COLLAPSE);
}

int main(int argc, char **argv)
{
	struct range range;
	struct race race = { .theirs = collapse_range, .data = &range, .want = 200 };
	unsigned long lost = 0, installed = 0;
	char *guard;

	begin(argc, argv, NULL, false);
	range.size = pmd_size();
	range.p = reserve(range.size);
	huge_memfd(range.p, range.size);
	guard = range.p + 100 * page_size;
	if (madvise(range.p, page_size, MADV_GUARD_INSTALL))
		no_feature("MADV_GUARD_INSTALL of a file mapping");
	check(!madvise(range.p, page_size, MADV_GUARD_REMOVE));
	race_start(&race);
	while (!lost && race_on(&race)) {
		int ret;

		/* The large folio, mapped by a page table, some entries of which are present. */
		check(!madvise(range.p, page_size, MADV_GUARD_INSTALL));
		check(!madvise(range.p, page_size, MADV_GUARD_REMOVE));
		check(!read_signal(range.p + 8 * page_size));
		race_begin(&race);
		ret = madvise(guard, page_size, MADV_GUARD_INSTALL);
		race_end(&race);
		if (ret)
			continue;
		installed++;
		lost += read_signal(guard) != SIGSEGV;
		check(!madvise(guard, page_size, MADV_GUARD_REMOVE));
	}
	printf("%lu guard regions installed\n", installed);
	race_finish(&race, lost, "guard regions lost by a collapse");
}
