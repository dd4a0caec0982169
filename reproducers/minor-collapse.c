// SPDX-License-Identifier: GPL-2.0-only
/*
 * Problem: MADV_COLLAPSE maps pages of the page cache that are registered for minor faults and were never faulted.
 * The monitor gets no event, and cannot change the contents before the process reads them.
 * Right: the pages stay unmapped.
 * Affected: since 6.1, processes with MADV_COLLAPSE and userfaultfd in MINOR mode on the same shared memory.
 * Fix: mm/khugepaged: MADV_COLLAPSE: do not map what a minor fault is to map.
 */
#include "repro.h"

#define PAGE_IS_THERE (3ULL << 62)	/* of pagemap: present or swapped */

int main(int argc, char **argv)
{
	char *p, *writer, *page;
	unsigned long size;
	int memfd, uffd;

	begin(argc, argv, NULL, false);
	uffd = open_uffd(UFFD_FEATURE_MINOR_SHMEM, "minor faults of shmem");
	size = pmd_size();
	memfd = memfd_create("reproducer", 0);
	check(memfd >= 0 && !ftruncate(memfd, size));
	p = reserve(size);
	writer = reserve(size);
	map_at(p, size, memfd, MAP_SHARED);
	map_at(writer, size, memfd, MAP_SHARED);
	memset(writer, 0x5a, size);
	check(!uffd_register(uffd, p, size, UFFDIO_REGISTER_MODE_MINOR));
	/* the page cache becomes one huge page, which p does not map yet */
	if (collapse(writer, size))
		cannot("MADV_COLLAPSE of a memfd");
	page = p + 100 * page_size;
	if (pagemap_entry(page) & PAGE_IS_THERE)
		finish(CANNOT_SAY, "the page is mapped before the collapse");
	if (madvise(p, size, MADV_COLLAPSE))
		printf("MADV_COLLAPSE of the registered mapping: %s\n", strerror(errno));
	if (pagemap_entry(page) & PAGE_IS_THERE)
		finish(WRONG, "MADV_COLLAPSE has mapped a page whose minor fault nobody has resolved");
	finish(RIGHT, "the page waits for its minor fault");
}
