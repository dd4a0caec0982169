// SPDX-License-Identifier: GPL-2.0-only
/*
 * Problem: MADV_REMOVE of tracked shmem replaces contents by zeroes, and PAGEMAP_SCAN does not report the page as
 * written.  An incremental dump keeps the old contents.
 * Right: MADV_REMOVE is a write to asynchronous write-protection, as userfaultfd.rst says; so is MADV_DONTNEED of a
 * private mapping's own page.
 * Affected: since 6.7, CRIU and other dumpers that use UFFD_FEATURE_WP_ASYNC.
 * Fix: mm: zapping that loses contents is a write to asynchronous uffd-wp.
 */
#include "repro.h"

#define NR 4

/* The last page of a tracked mapping loses its contents; is that reported? */
static bool reported(int flags, int advice)
{
	int uffd = open_uffd(UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_HUGETLBFS_SHMEM, "UFFD_FEATURE_WP_ASYNC");
	int memfd = memfd_create("reproducer", 0);
	unsigned long size = NR * page_size;
	char *p, *last;
	bool written;

	check(memfd >= 0 && !ftruncate(memfd, size));
	p = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, memfd, 0);
	check(p != MAP_FAILED);
	last = p + size - page_size;
	check(!uffd_register(uffd, p, size, UFFDIO_REGISTER_MODE_WP));
	memset(p, 0x5a, size);
	check(!protect(uffd, p, size, true));
	if (is_written(last, page_size))
		finish(CANNOT_SAY, "PAGEMAP_SCAN reports a page that nobody has written");
	check(!madvise(last, page_size, advice));
	written = is_written(last, page_size);
	if (*last || *p != 0x5a)
		finish(CANNOT_SAY, "the page has not lost its contents");
	munmap(p, size);
	close(memfd);
	close(uffd);
	return written;
}

int main(int argc, char **argv)
{
	bool removed, dropped;

	begin(argc, argv, NULL, false);
	removed = reported(MAP_SHARED, MADV_REMOVE);
	dropped = reported(MAP_PRIVATE, MADV_DONTNEED);
	printf("MADV_REMOVE, shared: %s; MADV_DONTNEED, private: %s\n", removed ? "reported" : "not reported",
	       dropped ? "reported" : "not reported");
	if (removed && dropped)
		finish(RIGHT, "pages with new contents are PAGE_IS_WRITTEN");
	finish(WRONG, "a page with new contents is not PAGE_IS_WRITTEN");
}
