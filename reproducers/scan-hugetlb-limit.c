// SPDX-License-Identifier: GPL-2.0-only
/*
 * Problem: PAGEMAP_SCAN of hugetlb memory with max_pages, where the limit lies inside a huge page, goes on behind
 * that page, and walk_end passes it.  The caller goes on from walk_end, and never hears of a page that was written.
 * Right: a caller that goes on from walk_end is told of every written page, for every max_pages.
 * Affected: since 6.7, CRIU and other dumpers of hugetlb memory.  Changes nr_hugepages while it runs.
 */
#include "repro.h"

#define NR 6

/* All written pages of a new mapping are asked for, @limit small pages a call: how many are never reported? */
static int missed_with(unsigned long size, unsigned long limit)
{
	int uffd = open_uffd(UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_UNPOPULATED | UFFD_FEATURE_WP_HUGETLBFS_SHMEM,
			     "UFFD_FEATURE_WP_ASYNC");
	int memfd = memfd_create("reproducer", MFD_HUGETLB), pagemap = open("/proc/self/pagemap", O_RDONLY);
	int reported[NR] = { 0 }, missed = 0;
	unsigned long at, end;
	char *p;

	check(memfd >= 0 && pagemap >= 0 && !ftruncate(memfd, NR * size));
	p = mmap(NULL, NR * size, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
	check(p != MAP_FAILED);
	for (int i = 0; i < NR; i++)
		p[i * size] = 1;
	check(!uffd_register(uffd, p, NR * size, UFFDIO_REGISTER_MODE_WP));
	check(!protect(uffd, p, NR * size, true));
	for (int i = 0; i < NR; i++)
		p[i * size] = 2;

	at = (unsigned long)p;
	end = at + NR * size;
	for (int calls = 0; at < end && calls < 4 * NR; calls++) {
		struct page_region r[64];
		struct pm_scan_arg arg = {
			.size = sizeof(arg), .flags = PM_SCAN_WP_MATCHING | PM_SCAN_CHECK_WPASYNC,
			.start = at, .end = end, .vec = (unsigned long)r, .vec_len = ARRAY_SIZE(r),
			.max_pages = limit, .category_mask = PAGE_IS_WRITTEN, .return_mask = PAGE_IS_WRITTEN,
		};
		int n = ioctl(pagemap, PAGEMAP_SCAN, &arg);

		if (n < 0)
			cannot("PAGEMAP_SCAN");
		for (int i = 0; i < n; i++)
			for (unsigned long x = r[i].start; x < r[i].end; x += page_size)
				reported[(x - (unsigned long)p) / size] = 1;
		/* a limit below a huge page cannot make progress */
		if (arg.walk_end <= at)
			break;
		at = arg.walk_end;
	}
	for (int i = 0; i < NR; i++)
		missed += !reported[i] && (unsigned long)p + (i + 1) * size <= at;
	munmap(p, NR * size);
	close(memfd);
	close(pagemap);
	close(uffd);
	return missed;
}

int main(int argc, char **argv)
{
	unsigned long size, limits[4];
	int missed = 0, now;

	begin(argc, argv, RESIZES_POOL, true);
	size = hugetlb_pool(NR + 2);
	if (missed_with(size, 0))
		finish(CANNOT_SAY, "written pages are not reported without a limit, either");
	limits[0] = size / page_size;
	limits[1] = limits[0] + limits[0] / 3;
	limits[2] = 2 * limits[0] + 1;
	limits[3] = limits[0] / 2;
	for (unsigned int i = 0; i < ARRAY_SIZE(limits); i++) {
		now = missed_with(size, limits[i]);
		printf("max_pages %lu, huge pages of %lu: %d of %d written pages not reported\n", limits[i], limits[0],
		       now, NR);
		missed += now;
	}
	if (missed)
		finish(WRONG, "PAGEMAP_SCAN passes over written hugetlb pages");
	finish(RIGHT, "all written hugetlb pages are reported");
}
