// SPDX-License-Identifier: GPL-2.0-only
/*
 * Problem: MADV_COLLAPSE, or khugepaged, frees a page table that has a poison marker.  The page that was lost can
 * be read again, and has older data.
 * Right: a page that UFFDIO_POISON has poisoned raises SIGBUS until it is unmapped.
 * Affected: since 6.6, hypervisors that use UFFDIO_POISON to keep a page lost after a migration, with guest memory
 * in shmem.
 * Fix: mm/khugepaged: do not retract a page table that is not empty.
 */
#include "repro.h"

int main(int argc, char **argv)
{
	unsigned long size;
	char *p, *other, *poisoned;
	int memfd, uffd;

	begin(argc, argv, NULL, false);
	size = pmd_size();
	uffd = open_uffd(UFFD_FEATURE_MINOR_SHMEM | UFFD_FEATURE_POISON, "UFFDIO_POISON and minor faults of shmem");
	p = reserve(size);
	other = reserve(size);
	memfd = huge_memfd(p, size);
	split_folio(memfd, p, size);
	map_at(other, size, memfd, MAP_PRIVATE);
	poisoned = p + 100 * page_size;
	check(!uffd_register(uffd, p, size, UFFDIO_REGISTER_MODE_MINOR));
	check(!uffd_poison(uffd, poisoned, page_size));
	/* The marker stays when userfaultfd has left. */
	check(!uffd_unregister(uffd, p, size));
	if (read_signal(poisoned) != SIGBUS)
		finish(CANNOT_SAY, "the page was not poisoned");
	check(!read_signal(poisoned + page_size));

	if (collapse(other, size))
		cannot("MADV_COLLAPSE");
	if (read_signal(poisoned) == SIGBUS)
		finish(RIGHT, "the page is poisoned after MADV_COLLAPSE of another mapping");
	finish(WRONG, "the poisoned page reads %#x after MADV_COLLAPSE of another mapping", *poisoned);
}
