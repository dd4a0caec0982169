// SPDX-License-Identifier: GPL-2.0-only
/*
 * Problem: mremap() with MREMAP_DONTUNMAP of shmem takes the write-protection from the old address, which stays mapped
 * and registered with userfaultfd.  A write to the same page of the file is not notified there.
 * Right: what was write-protected stays write-protected at the old address.
 * Affected: since 5.19, monitors of processes that move memory so, as garbage collectors do.
 * Fix: mm/mremap: leave uffd-wp markers where MREMAP_DONTUNMAP leaves a file.
 */
#include "repro.h"

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif
#define NR 4

int main(int argc, char **argv)
{
	int uffd, memfd, silent = 0;
	unsigned long size;
	char *p;

	begin(argc, argv, NULL, false);
	size = NR * page_size;
	/* SIGBUS is the notification */
	uffd = open_uffd(UFFD_FEATURE_SIGBUS | UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_WP_HUGETLBFS_SHMEM,
			 "userfaultfd write-protection of shmem");
	memfd = memfd_create("reproducer", 0);
	check(memfd >= 0 && !ftruncate(memfd, size));
	p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
	check(p != MAP_FAILED);
	check(!uffd_register(uffd, p, size, UFFDIO_REGISTER_MODE_WP));
	memset(p, 0x5a, size);
	check(!protect(uffd, p, size, true));
	if (write_signal(p) != SIGBUS)
		finish(CANNOT_SAY, "a write to a write-protected page is not notified");

	check(mremap(p, size, size, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL) != MAP_FAILED);
	for (int i = 0; i < NR; i++) {
		if (p[i * page_size] != 0x5a)
			finish(CANNOT_SAY, "the old address does not map the file");
		silent += write_signal(p + i * page_size) != SIGBUS;
	}
	if (silent)
		finish(WRONG, "%d of %d writes at the old address are not notified", silent, NR);
	finish(RIGHT, "writes at the old address are notified");
}
