/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Helpers of the tests of userfaultfd's write-protection: uffd-wp-zap, uffd-wp-dump,
 * uffd-wp-rules.
 *
 * Include kselftest_harness.h before this header.
 */
#ifndef __UFFD_WP_UTIL_H__
#define __UFFD_WP_UTIL_H__

#include <linux/fs.h> /* PAGEMAP_SCAN */
#include <linux/memfd.h>
#include <sys/resource.h>
#include "hugepage_settings.h"
#include "race_util.h"

#define KB 1024UL
#define MB (1024 * KB)
#define KSM "/sys/kernel/mm/ksm/"
#define FAIL "/sys/kernel/debug/fail_page_alloc/"

static inline unsigned long read_pool(unsigned long size, const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), "/sys/kernel/mm/hugepages/hugepages-%lukB/%s", size / KB,
		 name);
	return read_num(path);
}

/* Free pages that are not reserved. */
static inline unsigned long pool_available(unsigned long size)
{
	return hugetlb_free_pages(size) - read_pool(size, "resv_hugepages");
}

/*
 * Have @nr pages of @size available, false if that cannot be.  hugetlb_restore_settings()
 * undoes it, in main() at the latest.
 */
static inline bool pool_grow(unsigned long size, unsigned long nr)
{
	unsigned long sizes[16];
	int nr_sizes = detect_hugetlb_page_sizes(sizes, ARRAY_SIZE(sizes));

	while (nr_sizes > 0 && sizes[nr_sizes - 1] != size)
		nr_sizes--;
	if (!nr_sizes)
		return false;
	/* only root can resize the pool */
	if (pool_available(size) < nr && !geteuid())
		hugetlb_set_nr_pages(size, hugetlb_nr_pages(size) + nr - pool_available(size));
	return pool_available(size) >= nr;
}

#define MAX_POOLS 16

/*
 * Hugetlb memory in use: of each pool, and of this process.  The size of the pools does not
 * matter.
 */
struct hugetlb_use {
	unsigned long process_kb;
	int nr_pools;
	struct {
		unsigned long size, used, reserved, surplus;
	} pools[MAX_POOLS];
};

static inline void read_hugetlb_use(struct hugetlb_use *use)
{
	unsigned long sizes[MAX_POOLS];
	char line[128];
	FILE *f = fopen("/proc/self/status", "r");

	memset(use, 0, sizeof(*use));
	use->nr_pools = detect_hugetlb_page_sizes(sizes, MAX_POOLS);
	for (int i = 0; i < use->nr_pools; i++) {
		use->pools[i].size = sizes[i];
		use->pools[i].used = hugetlb_nr_pages(sizes[i]) - hugetlb_free_pages(sizes[i]);
		use->pools[i].reserved = read_pool(sizes[i], "resv_hugepages");
		use->pools[i].surplus = read_pool(sizes[i], "surplus_hugepages");
	}
	while (f && fgets(line, sizeof(line), f))
		sscanf(line, "HugetlbPages: %lu kB", &use->process_kb);
	if (f)
		fclose(f);
}

/*
 * Call this when the memory of the test is unmapped, and its files are closed.
 *
 * Fewer pages are in use if a process that ended before this one had not given all back.
 *
 * Return: NULL if no more hugetlb memory is in use than @before, else a text about the difference.
 */
static inline const char *hugetlb_use_changed(const struct hugetlb_use *before)
{
	static char text[128];
	struct hugetlb_use now;

	read_hugetlb_use(&now);
	text[0] = 0;
	if (now.process_kb != before->process_kb)
		snprintf(text, sizeof(text), "HugetlbPages: %lu kB, were %lu", now.process_kb,
			 before->process_kb);
	for (int i = 0; i < now.nr_pools && !text[0]; i++) {
		const unsigned long kb = now.pools[i].size / KB;

		if (now.pools[i].used > before->pools[i].used)
			snprintf(text, sizeof(text), "hugetlb pages in use: %lu of %lu kB, were %lu",
				 now.pools[i].used, kb, before->pools[i].used);
		else if (now.pools[i].reserved > before->pools[i].reserved)
			snprintf(text, sizeof(text), "hugetlb pages reserved: %lu of %lu kB, were %lu",
				 now.pools[i].reserved, kb, before->pools[i].reserved);
		else if (now.pools[i].surplus > before->pools[i].surplus)
			snprintf(text, sizeof(text), "surplus hugetlb pages: %lu of %lu kB, were %lu",
				 now.pools[i].surplus, kb, before->pools[i].surplus);
	}
	return text[0] ? text : NULL;
}

/* An empty memfd of pages of @hugetlb bytes, or of shmem if that is 0. */
static inline int memfd(unsigned long hugetlb)
{
	return memfd_create("uffd-wp", !hugetlb ? 0 :
			    MFD_HUGETLB | __builtin_ctzl(hugetlb) << MFD_HUGE_SHIFT);
}

static inline int protect(int uffd, char *addr, unsigned long size, bool wp)
{
	struct uffdio_writeprotect arg = {
		.range = { (unsigned long)addr, size },
		.mode = wp ? UFFDIO_WRITEPROTECT_MODE_WP : 0,
	};

	return ioctl(uffd, UFFDIO_WRITEPROTECT, &arg);
}

/* The pagemap entries of @size bytes at @addr. */
static inline bool read_entries(int pagemap, char *addr, unsigned long size, uint64_t *entries)
{
	const ssize_t bytes = size / psize() * sizeof(*entries);

	return pread(pagemap, entries, bytes,
		     (unsigned long)addr / psize() * sizeof(*entries)) == bytes;
}

/* How many small pages in @size bytes at @addr have @bit in pagemap?  -1UL on error. */
static inline unsigned long count_entries(int pagemap, char *addr, unsigned long size,
					  uint64_t bit)
{
	uint64_t *entries = calloc(size / psize(), sizeof(*entries));
	unsigned long nr = -1UL;

	if (entries && read_entries(pagemap, addr, size, entries)) {
		nr = 0;
		for (unsigned long i = 0; i < size / psize(); i++)
			nr += !!(entries[i] & bit);
	}
	free(entries);
	return nr;
}

/* How many small pages in @size bytes at @addr have the uffd-wp bit?  -1UL on error. */
static inline unsigned long count_bits(int pagemap, char *addr, unsigned long size)
{
	return count_entries(pagemap, addr, size, PM_UFFD_WP);
}

/*
 * MADV_GUARD_INSTALL in memory that a userfaultfd with @features has write-protected, by a
 * child: its CPU time can be limited.  SIGKILL, which the limit sends, ends every loop in
 * the kernel.
 *
 * Return: the status as of waitpid().  It has a signal if the call did not come to an end.
 */
static inline int guard_install_status(uint64_t features, char *addr, unsigned long size)
{
	const struct rlimit limit = { 1, 1 };
	int status = 0, uffd;
	pid_t pid = fork();

	if (!pid) {
		uffd = uffd_open_api(features);
		if (setrlimit(RLIMIT_CPU, &limit) ||
		    uffd_register(uffd, addr, size, false, true, false) ||
		    protect(uffd, addr, size, true))
			_exit(1);
		_exit(!!madvise(addr, size, MADV_GUARD_INSTALL));
	}
	waitpid(pid, &status, 0);
	return status;
}

/* Let allocations of pages fail by fail-nth; false without root or CONFIG_FAIL_PAGE_ALLOC. */
static inline bool prepare_failing(void)
{
	if (access(FAIL "min-order", W_OK))
		return false;
	write_file(FAIL "min-order", "0", 2);
	write_file(FAIL "ignore-gfp-wait", "N", 2);
	write_file(FAIL "verbose", "0", 2);
	return true;
}

/*
 * mremap() to @to while the @nth allocation of a page fails.  @now gets the value
 * that mremap() returns.  Was there such an allocation?
 */
static inline bool mremap_failing(char *from, unsigned long size, char *to, unsigned int nth,
				  char **now)
{
	int fail_nth = open("/proc/thread-self/fail-nth", O_RDWR);
	char text[32];

	snprintf(text, sizeof(text), "%u", nth);
	if (fail_nth < 0 || pwrite(fail_nth, text, strlen(text), 0) <= 0)
		ksft_exit_fail_perror("fail-nth");
	*now = mremap(from, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, to);
	memset(text, 0, sizeof(text));
	if (pread(fail_nth, text, sizeof(text) - 1, 0) <= 0 || pwrite(fail_nth, "0", 1, 0) != 1)
		ksft_exit_fail_perror("fail-nth");
	close(fail_nth);
	return !strtol(text, NULL, 10);
}

#endif /* __UFFD_WP_UTIL_H__ */
