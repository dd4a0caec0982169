// SPDX-License-Identifier: GPL-2.0-only
/*
 * Problem: hwpoison_filter() filters an error in a hugetlb page.  The kernel must do nothing then, but leaves a small
 * page of it marked as failed, or, if the vmemmap is optimized, the whole hugetlb page.
 * Right: after a filtered error no page is marked.
 * Affected: since 6.0, those who test memory failure by hwpoison-inject.  Needs the module hwpoison_inject.
 * Fix: mm/memory-failure: take PG_hwpoison back from a filtered hugetlb folio.
 */
#include "repro.h"
#include <sys/mount.h>

#define DEBUGFS "/sys/kernel/debug"
#define INJECT DEBUGFS "/hwpoison/"
#define KPF_COMPOUND_HEAD 15
#define KPF_HWPOISON 19

static const char *const filters[] = {
	INJECT "corrupt-filter-enable", INJECT "corrupt-filter-flags-mask", INJECT "corrupt-filter-flags-value",
};

/* Other filters, and their values when they are off. */
static const struct {
	const char *path;
	long off;
} others[] = {
	{ INJECT "corrupt-filter-dev-major", UINT32_MAX }, { INJECT "corrupt-filter-dev-minor", UINT32_MAX },
	{ INJECT "corrupt-filter-memcg", 0 },
};

static long before[ARRAY_SIZE(filters)];
static bool mounted;

static void restore(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(filters); i++)
		put_number(filters[i], before[i]);
	if (mounted)
		umount(DEBUGFS);
}

/* Count the pages from @pfn on that are marked as failed, and unpoison them. */
static int failed_pages(unsigned long pfn, unsigned long nr)
{
	int fd = open("/proc/kpageflags", O_RDONLY), found = 0;

	check(fd >= 0);
	for (unsigned long i = 0; i < nr; i++) {
		unsigned long long flags;

		check(pread(fd, &flags, sizeof(flags), (pfn + i) * sizeof(flags)) == sizeof(flags));
		if (flags >> KPF_HWPOISON & 1) {
			put_number(INJECT "unpoison-pfn", pfn + i);
			found++;
		}
	}
	close(fd);
	return found;
}

/* Report an error in a hugetlb page, and free that.  How many of its pages are marked as failed? */
static int report_error(bool filter)
{
	unsigned long size = hugetlb_pool(2), pfn;
	char *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);

	check(p != MAP_FAILED);
	p[0] = 1;
	pfn = pagemap_entry(p) & ((1UL << 55) - 1);
	if (!pfn || failed_pages(pfn, size / page_size))
		finish(CANNOT_SAY, "no healthy hugetlb page");
	check(put_number(filters[0], filter));
	put_number(INJECT "corrupt-pfn", pfn + 1);
	check(put_number(filters[0], 0));
	munmap(p, size);
	put_number(pool_file, 0);
	return failed_pages(pfn, size / page_size);
}

int main(int argc, char **argv)
{
	int failed;

	begin(argc, argv, "resize the hugetlb pool and change the filter of hwpoison-inject while it runs, and lose a hugetlb page",
	      true);
	survive_memory_failure();
	/* no SIGBUS for an error that is not met */
	prctl(PR_MCE_KILL, PR_MCE_KILL_SET, PR_MCE_KILL_LATE, 0, 0);
	mounted = !mount("debugfs", DEBUGFS, "debugfs", 0, NULL);
	if (access(INJECT "corrupt-pfn", W_OK)) {
		if (mounted)
			umount(DEBUGFS);
		no_feature("hwpoison-inject (modprobe hwpoison_inject)");
	}
	for (size_t i = 0; i < ARRAY_SIZE(filters); i++)
		before[i] = read_number(filters[i], "");
	atexit(restore);
	for (size_t i = 0; i < ARRAY_SIZE(others); i++)
		if (!access(others[i].path, R_OK) && read_number(others[i].path, "") != others[i].off)
			finish(CANNOT_SAY, "%s is in use", others[i].path);
	hugetlb_pool(0);
	if (pool_before)
		finish(CANNOT_SAY, "the hugetlb pool is in use; lower nr_hugepages to 0 first");
	/* Errors are for heads of compound pages only; others are filtered. */
	check(put_number(filters[1], 1UL << KPF_COMPOUND_HEAD) && put_number(filters[2], 1UL << KPF_COMPOUND_HEAD));
	if (!report_error(false))
		finish(CANNOT_SAY, "an error that is not filtered marks no page, either");
	failed = report_error(true);
	if (failed)
		finish(WRONG, "a filtered error leaves pages marked as failed: %d", failed);
	finish(RIGHT, "a filtered error leaves no page marked as failed");
}
