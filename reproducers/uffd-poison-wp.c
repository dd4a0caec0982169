// SPDX-License-Identifier: GPL-2.0-only
/*
 * Problem: UFFDIO_WRITEPROTECT returns 0 and passes over a page that UFFDIO_POISON has poisoned.  When the poison is
 * removed, the page of the file is mapped there writable, and a write is not notified.
 * Right: the page is write-protected when its poison is gone.
 * Affected: since 6.6, monitors of virtual machines that emulate failed memory, and give it back to the guest later.
 * Fix: mm: let poison of UFFDIO_POISON remember the uffd-wp protection.
 */
#include "repro.h"

int main(int argc, char **argv)
{
	unsigned long size;
	int uffd, memfd;
	char *p;

	begin(argc, argv, NULL, false);
	size = 2 * page_size;
	/* SIGBUS is the notification */
	uffd = open_uffd(UFFD_FEATURE_SIGBUS | UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_WP_HUGETLBFS_SHMEM |
			 UFFD_FEATURE_POISON, "userfaultfd write-protection of shmem, and UFFDIO_POISON");
	memfd = memfd_create("reproducer", 0);
	check(memfd >= 0 && !ftruncate(memfd, size) && pwrite(memfd, "old", 3, 0) == 3);
	p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
	check(p != MAP_FAILED);
	check(!uffd_register(uffd, p, size, UFFDIO_REGISTER_MODE_WP));
	check(!uffd_poison(uffd, p, page_size));
	if (read_signal(p) != SIGBUS)
		finish(CANNOT_SAY, "the page is not poisoned");

	check(!protect(uffd, p, size, true));
	if (write_signal(p + page_size) != SIGBUS)
		finish(CANNOT_SAY, "a write to a write-protected page is not notified");
	check(!madvise(p, page_size, MADV_DONTNEED));
	if (read_signal(p) || *p != 'o')
		finish(CANNOT_SAY, "the page is still poisoned");
	if (write_signal(p) != SIGBUS)
		finish(WRONG, "a write to the page is not notified after its poison is gone");
	finish(RIGHT, "the page is write-protected after its poison is gone");
}
