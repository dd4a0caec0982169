// SPDX-License-Identifier: GPL-2.0-only
/*
 * Problem: a hole is punched at a poisoned hugetlb page that userfaultfd has write-protected.  The kernel drops the
 * write-protection with the poison: a write to the page that is mapped there next is not notified.
 * Right: hole punching keeps the write-protection of a poisoned page, as of any other page.
 * Affected: since 5.19, live migration and snapshots of memory in hugetlb, after a memory failure.
 */
#include "repro.h"

int main(int argc, char **argv)
{
	unsigned long size;
	int uffd, memfd;
	char *p;

	begin(argc, argv, "lose two hugetlb pages, of 2 MB on most machines, until the machine is restarted", true);
	/* SIGBUS is the notification */
	uffd = open_uffd(UFFD_FEATURE_SIGBUS | UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_WP_HUGETLBFS_SHMEM,
			 "userfaultfd write-protection of hugetlb");
	size = hugetlb_pool(6);
	memfd = memfd_create("reproducer", MFD_HUGETLB);
	check(memfd >= 0 && !ftruncate(memfd, 2 * size));
	p = mmap(NULL, 2 * size, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
	check(p != MAP_FAILED);
	check(!uffd_register(uffd, p, 2 * size, UFFDIO_REGISTER_MODE_WP));
	memset(p, 0x5a, 2 * size);
	check(!protect(uffd, p, 2 * size, true));
	hwpoison(p);
	if (read_signal(p) != SIGBUS)
		finish(CANNOT_SAY, "the poisoned page can be read");

	check(!fallocate(memfd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 2 * size));
	/* The healthy page is the control. */
	if (write_signal(p + size) != SIGBUS)
		finish(CANNOT_SAY, "hole punching drops the write-protection of a healthy page, too");
	if (write_signal(p) == SIGBUS)
		finish(RIGHT, "the write-protection outlives the poison");
	finish(WRONG, "a write where a poisoned page was write-protected is not notified");
}
