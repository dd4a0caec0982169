// SPDX-License-Identifier: GPL-2.0-only
/*
 * Problem: one page of a large folio of shmem is poisoned, and a process touches it.  All healthy pages of that folio
 * lose their write-protection by userfaultfd: writes to them are not notified.
 * Right: the healthy pages stay write-protected.
 * Affected: since 6.8, live migration and snapshots of memory in shmem with huge pages, after a memory failure.
 * Fix: mm: keep uffd-wp markers of a folio that stays with a poisoned page.
 */
#include "repro.h"

int main(int argc, char **argv)
{
	unsigned long size, nr, lost = 0, silent = 0, bad = 5;
	struct iovec iov = { .iov_len = 1 };
	int uffd, fds[2];
	char *p;

	begin(argc, argv, "lose 2 MB of memory until the machine is restarted", true);
	/* SIGBUS is the notification */
	uffd = open_uffd(UFFD_FEATURE_SIGBUS | UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_WP_HUGETLBFS_SHMEM,
			 "userfaultfd write-protection of shmem");
	size = pmd_size();
	nr = size / page_size;
	p = reserve(size);
	huge_memfd(p, size);
	check(!uffd_register(uffd, p, size, UFFDIO_REGISTER_MODE_WP));
	check(!protect(uffd, p, size, true));
	/* A reference to one page is one to the folio, which cannot be split then. */
	iov.iov_base = p;
	check(!pipe(fds) && vmsplice(fds[1], &iov, 1, 0) == 1);
	hwpoison(p + bad * page_size);
	check(!madvise(p, size, MADV_DONTNEED));
	for (unsigned long i = 0; i < nr; i++)
		if (i != bad)
			check(!read_signal(p + i * page_size));
	for (unsigned long i = 0; i < nr; i++)
		if (i != bad && !(pagemap_entry(p + i * page_size) >> 57 & 1))
			finish(CANNOT_SAY, "page %lu is not write-protected before the poisoned page is touched", i);

	if (read_signal(p + bad * page_size) != SIGBUS)
		finish(CANNOT_SAY, "the poisoned page can be read");
	for (unsigned long i = 0; i < nr; i++)
		lost += i != bad && !(pagemap_entry(p + i * page_size) >> 57 & 1);
	for (unsigned long i = 0; i < nr; i++)
		silent += i != bad && write_signal(p + i * page_size) != SIGBUS;
	if (lost || silent)
		finish(WRONG, "%lu of %lu healthy pages lost the write-protection, %lu writes without a notification",
		       lost, nr - 1, silent);
	finish(RIGHT, "%lu healthy pages are write-protected after the poisoned page was touched", nr - 1);
}
