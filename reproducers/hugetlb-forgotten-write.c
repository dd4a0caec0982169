// SPDX-License-Identifier: GPL-2.0-only
/*
 * Problem: PAGEMAP_SCAN reports a hugetlb page that was written as not written, after MADV_DONTNEED has unmapped it.
 * Right: a page that was written stays PAGE_IS_WRITTEN until it is write-protected again, as for other memory.
 * Affected: since 6.7, CRIU and other dumpers that track writes to shared hugetlb memory.
 * Fix: fs/proc/task_mmu: report unpopulated hugetlb pages as written.  Changes nr_hugepages while it runs.
 */
#include "repro.h"

int main(int argc, char **argv)
{
	unsigned long size;
	int uffd, memfd;
	bool forgotten;
	char *p;

	begin(argc, argv, RESIZES_POOL, true);
	uffd = open_uffd(UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_HUGETLBFS_SHMEM, "UFFD_FEATURE_WP_ASYNC");
	size = hugetlb_pool(4);
	memfd = memfd_create("reproducer", MFD_HUGETLB);
	check(memfd >= 0 && !ftruncate(memfd, 2 * size));
	p = mmap(NULL, 2 * size, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
	check(p != MAP_FAILED);
	check(!uffd_register(uffd, p, 2 * size, UFFDIO_REGISTER_MODE_WP));
	p[0] = p[size] = 1;
	check(!protect(uffd, p, 2 * size, true));
	p[0] = 2;
	if (!is_written(p, size) || is_written(p + size, size))
		finish(CANNOT_SAY, "PAGEMAP_SCAN is wrong before MADV_DONTNEED");
	check(!madvise(p, 2 * size, MADV_DONTNEED));
	forgotten = !is_written(p, size);
	munmap(p, 2 * size);
	close(memfd);
	if (forgotten)
		finish(WRONG, "a written hugetlb page is not PAGE_IS_WRITTEN after MADV_DONTNEED");
	finish(RIGHT, "a written hugetlb page is PAGE_IS_WRITTEN after MADV_DONTNEED");
}
