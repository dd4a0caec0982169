// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memory that is write-protected through userfaultfd stays write-protected when it is
 * unmapped and mapped again: a page of the page cache must not become writable without
 * the notification.  Guard regions stay, too.
 *
 * The userfaultfd has UFFD_FEATURE_SIGBUS, so that a notification is a SIGBUS.  Each case
 * checks the uffd-wp bit of pagemap, and then whether a write raises the signal.  Reading
 * the bit changes nothing; the signal is the interface that users rely on.
 *
 * race_util.h describes the races.
 */
#define _GNU_SOURCE
#include "kselftest_harness.h"
#include <linux/magic.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include "../pidfd/pidfd.h" /* PIDFD_SELF */
#include "uffd-wp-util.h"

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif

#define FEATURES (UFFD_FEATURE_SIGBUS | UFFD_FEATURE_WP_HUGETLBFS_SHMEM |	\
		  UFFD_FEATURE_PAGEFAULT_FLAG_WP)
#define ASYNC_FEATURES (UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_HUGETLBFS_SHMEM)

/* rounds that have to overlap in migration, and rounds that it runs at most */
#define MIGRATION_OVERLAPS 3
#define MIGRATION_ROUNDS 30
/* CPU seconds in which MADV_GUARD_INSTALL has to return; it takes a small part of one */
#define GUARD_INSTALL_SECONDS 2

/* No hugetlb memory stays behind, and no count is wrong. */
static void expect_hugetlb_use(struct __test_metadata *_metadata, const struct hugetlb_use *before)
{
	const char *changed = hugetlb_use_changed(before);

	EXPECT_EQ(changed, NULL) {
		TH_LOG("%s", changed);
	}
}

FIXTURE(wp)
{
	/* bytes that one entry maps, entries, and bytes of them all */
	unsigned long page_size, nr_pages, size;
	int memfd, uffd, pagemap;
	/* the range registered with uffd, and a shared mapping of the same file, which is not */
	char *area, *alias;
	/* before the test; it may poison a hugetlb page, which is lost */
	struct hugetlb_use use;
	bool poisons;
};

FIXTURE_VARIANT(wp)
{
	/* page size in bytes, or 0 for shmem */
	unsigned long hugetlb;
	int flags;
	/* shmem: one large folio */
	bool large;
};

FIXTURE_VARIANT_ADD(wp, shmem) { .flags = MAP_SHARED };
FIXTURE_VARIANT_ADD(wp, shmem_private) { .flags = MAP_PRIVATE };
FIXTURE_VARIANT_ADD(wp, shmem_large) { .flags = MAP_SHARED, .large = true };
FIXTURE_VARIANT_ADD(wp, hugetlb_64k) { .hugetlb = 64 * KB, .flags = MAP_SHARED };
FIXTURE_VARIANT_ADD(wp, hugetlb_2m) { .hugetlb = 2 * MB, .flags = MAP_SHARED };
FIXTURE_VARIANT_ADD(wp, hugetlb_2m_private) { .hugetlb = 2 * MB, .flags = MAP_PRIVATE };
FIXTURE_VARIANT_ADD(wp, hugetlb_32m) { .hugetlb = 32 * MB, .flags = MAP_SHARED };
FIXTURE_VARIANT_ADD(wp, hugetlb_1g) { .hugetlb = 1024 * MB, .flags = MAP_SHARED };

/*
 * Map @size bytes of a new file twice, and register one of the mappings with a new
 * userfaultfd.  The fixture keeps all of it for unmap_watched().
 */
static void map_watched(struct __test_metadata *_metadata, int memfd, unsigned long size,
			int flags, char **area, char **alias, int *uffd)
{
	ASSERT_GE(memfd, 0);
	ASSERT_EQ(ftruncate(memfd, size), 0);
	*area = reserve_aligned(size);
	*alias = reserve_aligned(size);
	ASSERT_NE(*area, NULL);
	ASSERT_NE(*alias, NULL);
	ASSERT_TRUE(map_file_at(*area, size, memfd, flags));
	ASSERT_TRUE(map_file_at(*alias, size, memfd, MAP_SHARED));
	*uffd = uffd_open_api(FEATURES);
	if (*uffd < 0)
		SKIP(return, "userfaultfd with write-protection of files: %s", strerror(errno));
	ASSERT_EQ(uffd_register(*uffd, *area, size, false, true, false), 0);
}

static void unmap_watched(int memfd, unsigned long size, char *area, char *alias, int uffd)
{
	if (uffd >= 0)
		close(uffd);
	if (area)
		munmap(area, size);
	if (alias)
		munmap(alias, size);
	if (memfd >= 0)
		close(memfd);
	hugetlb_restore_settings();
}

FIXTURE_SETUP(wp)
{
	self->uffd = -1;
	self->memfd = -1;
	read_hugetlb_use(&self->use);
	ASSERT_EQ(catch_faults(), 0);
	self->pagemap = open("/proc/self/pagemap", O_RDONLY);
	ASSERT_GE(self->pagemap, 0);
	if (variant->hugetlb) {
		self->page_size = variant->hugetlb;
		self->nr_pages = self->page_size >= 32 * MB ? 1 : 3;
		/* a private mapping has a reserve of its own */
		if (!pool_grow(self->page_size, 2 * self->nr_pages))
			SKIP(return, "no %lu hugetlb pages of %lu kB", 2 * self->nr_pages,
			     self->page_size / KB);
		self->size = self->nr_pages * self->page_size;
	} else {
		self->page_size = psize();
		self->size = read_pmd_pagesize();
		if (!self->size)
			SKIP(return, "the kernel has no transparent huge pages");
		if (self->size > 32 * MB)
			SKIP(return, "a page table maps %lu MB, too much", self->size / MB);
		self->nr_pages = self->size / self->page_size;
	}
	self->memfd = memfd(variant->hugetlb);
	map_watched(_metadata, self->memfd, self->size, variant->flags, &self->area, &self->alias,
		    &self->uffd);
}

FIXTURE_TEARDOWN(wp)
{
	unmap_watched(self->memfd, self->size, self->area, self->alias, self->uffd);
	if (!self->poisons)
		expect_hugetlb_use(_metadata, &self->use);
}

/* Fill the page cache through the alias; @large: with one large folio. */
static void fill(struct __test_metadata *_metadata, FIXTURE_DATA(wp) * self, bool large)
{
	for (unsigned long i = 0; i < self->nr_pages; i++)
		self->alias[i * self->page_size] = 0x5a;
	if (large && madvise_collapse_retry(self->alias, self->size))
		SKIP(exit(KSFT_SKIP), "MADV_COLLAPSE of a memfd: %s", strerror(errno));
	if (large)
		ASSERT_TRUE(check_huge_shmem(self->alias, self->size, 1, self->size));
}

/* Fill and map the page cache, and write-protect the mapping. */
static void fill_and_protect(struct __test_metadata *_metadata, FIXTURE_DATA(wp) * self,
			     const FIXTURE_VARIANT(wp) * variant)
{
	fill(_metadata, self, variant->large);
	for (unsigned long i = 0; i < self->nr_pages; i++)
		ASSERT_EQ(self->area[i * self->page_size], 0x5a);
	ASSERT_EQ(protect(self->uffd, self->area, self->size, true), 0);
	/* maps a large folio by a page table */
	for (unsigned long i = 0; i < self->nr_pages; i++)
		ASSERT_EQ(self->area[i * self->page_size], 0x5a);
}

static bool is_protected(FIXTURE_DATA(wp) * self, unsigned long i)
{
	return pagemap_get_entry(self->pagemap, self->area + i * self->page_size) & PM_UFFD_WP;
}

static void expect_bits(struct __test_metadata *_metadata, FIXTURE_DATA(wp) * self)
{
	unsigned long lost = 0;

	for (unsigned long i = 0; i < self->nr_pages; i++)
		lost += !is_protected(self, i);
	EXPECT_EQ(lost, 0) {
		TH_LOG("write-protection lost: %lu of %lu have no uffd-wp bit", lost,
		       self->nr_pages);
	}
}

/* All pages are write-protected, and can be read as @content. */
static void expect_protected(struct __test_metadata *_metadata, FIXTURE_DATA(wp) * self,
			     char content)
{
	unsigned long unreadable = 0, wrong = 0, silent = 0;

	expect_bits(_metadata, self);
	for (unsigned long i = 0; i < self->nr_pages; i++) {
		char *page = self->area + i * self->page_size;

		if (read_signal(page))
			unreadable++;
		else
			wrong += *page != content;
	}
	EXPECT_EQ(unreadable, 0);
	EXPECT_EQ(wrong, 0);
	/* again: reading has mapped the pages */
	expect_bits(_metadata, self);
	for (unsigned long i = 0; i < self->nr_pages; i++)
		silent += write_signal(self->area + i * self->page_size) != SIGBUS;
	EXPECT_EQ(silent, 0) {
		TH_LOG("write-protection lost: %lu of %lu writes not notified", silent,
		       self->nr_pages);
	}
}

/* The first @nr pages are not write-protected. */
static void expect_unprotected(struct __test_metadata *_metadata, FIXTURE_DATA(wp) * self,
			       unsigned long nr)
{
	unsigned long stale = 0, notified = 0;

	for (unsigned long i = 0; i < nr; i++)
		stale += is_protected(self, i);
	EXPECT_EQ(stale, 0) {
		TH_LOG("stale: %lu of %lu have the uffd-wp bit", stale, nr);
	}
	for (unsigned long i = 0; i < nr; i++)
		notified += write_signal(self->area + i * self->page_size) != 0;
	EXPECT_EQ(notified, 0) {
		TH_LOG("stale: %lu of %lu writes notified", notified, nr);
	}
}

/* MADV_DONTNEED of mapped pages, then of markers. */
TEST_F(wp, dontneed)
{
	fill_and_protect(_metadata, self, variant);
	for (int i = 0; i < 2; i++) {
		ASSERT_EQ(madvise(self->area, self->size, MADV_DONTNEED), 0);
		expect_bits(_metadata, self);
	}
	expect_protected(_metadata, self, 0x5a);
}

/* Write-protection splits the pmd of a large folio into PTEs. */
TEST_F(wp, protect)
{
	fill(_metadata, self, variant->large);
	for (unsigned long i = 0; i < self->nr_pages; i++)
		ASSERT_EQ(self->area[i * self->page_size], 0x5a);
	if (variant->large)
		ASSERT_TRUE(check_huge_shmem(self->area, self->size, 1, self->size));
	ASSERT_EQ(protect(self->uffd, self->area, self->size, true), 0);
	expect_protected(_metadata, self, 0x5a);
}

/* Write-protect a range without a page table, then fill it. */
TEST_F(wp, unpopulated)
{
	ASSERT_EQ(protect(self->uffd, self->area, self->size, true), 0);
	fill(_metadata, self, variant->large);
	expect_protected(_metadata, self, 0x5a);
}

TEST_F(wp, unpopulated_dontneed)
{
	ASSERT_EQ(protect(self->uffd, self->area, self->size, true), 0);
	ASSERT_EQ(madvise(self->area, self->size, MADV_DONTNEED), 0);
	fill(_metadata, self, variant->large);
	expect_protected(_metadata, self, 0x5a);
}

TEST_F(wp, punch_hole)
{
	fill_and_protect(_metadata, self, variant);
	ASSERT_EQ(fallocate(self->memfd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
			    self->size), 0);
	expect_protected(_metadata, self, 0);
}

TEST_F(wp, unpopulated_punch_hole)
{
	ASSERT_EQ(protect(self->uffd, self->area, self->size, true), 0);
	fill(_metadata, self, variant->large);
	ASSERT_EQ(fallocate(self->memfd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
			    self->size), 0);
	expect_protected(_metadata, self, 0);
}

TEST_F(wp, madv_remove)
{
	if (variant->flags != MAP_SHARED)
		SKIP(return, "MADV_REMOVE is for shared mappings");
	fill_and_protect(_metadata, self, variant);
	ASSERT_EQ(madvise(self->area, self->size, MADV_REMOVE), 0);
	expect_protected(_metadata, self, 0);
}

/* A hole smaller than a page is zeroed, and the page stays. */
TEST_F(wp, punch_part)
{
	fill_and_protect(_metadata, self, variant);
	for (unsigned long i = 0; i < self->nr_pages; i++)
		ASSERT_EQ(fallocate(self->memfd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				    i * self->page_size, self->page_size / 2), 0);
	expect_protected(_metadata, self, 0);
}

TEST_F(wp, truncate_extend)
{
	fill_and_protect(_metadata, self, variant);
	ASSERT_EQ(ftruncate(self->memfd, 0), 0);
	ASSERT_EQ(ftruncate(self->memfd, self->size), 0);
	expect_protected(_metadata, self, 0);
}

/*
 * A new mapping at the same address is not write-protected.  The other half of the old
 * mapping keeps the page table.
 */
TEST_F(wp, munmap)
{
	unsigned long nr = (self->nr_pages + 1) / 2, size = nr * self->page_size;

	fill_and_protect(_metadata, self, variant);
	/* one as a marker */
	ASSERT_EQ(madvise(self->area, self->page_size, MADV_DONTNEED), 0);
	ASSERT_EQ(munmap(self->area, size), 0);
	ASSERT_TRUE(map_file_at(self->area, size, self->memfd, variant->flags));
	ASSERT_EQ(uffd_register(self->uffd, self->area, size, false, true, false), 0);
	expect_unprotected(_metadata, self, nr);
}

TEST_F(wp, unregister)
{
	fill_and_protect(_metadata, self, variant);
	ASSERT_EQ(madvise(self->area, self->page_size, MADV_DONTNEED), 0);
	ASSERT_EQ(uffd_unregister(self->uffd, self->area, self->size), 0);
	ASSERT_EQ(uffd_register(self->uffd, self->area, self->size, false, true, false), 0);
	expect_unprotected(_metadata, self, self->nr_pages);
}

TEST_F(wp, unprotect)
{
	fill_and_protect(_metadata, self, variant);
	ASSERT_EQ(madvise(self->area, self->page_size, MADV_DONTNEED), 0);
	ASSERT_EQ(protect(self->uffd, self->area, self->size, false), 0);
	expect_unprotected(_metadata, self, self->nr_pages);
}

/* The page table with the markers stays when the page cache is collapsed by the alias. */
TEST_F(wp, collapse_elsewhere)
{
	if (variant->hugetlb)
		SKIP(return, "hugetlb is not collapsed");
	fill_and_protect(_metadata, self, variant);
	ASSERT_EQ(madvise(self->area, self->size, MADV_DONTNEED), 0);
	/* small folios again */
	ASSERT_EQ(fallocate(self->memfd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
			    self->size), 0);
	fill(_metadata, self, false);
	if (madvise_collapse_retry(self->alias, self->size))
		SKIP(return, "MADV_COLLAPSE of a memfd: %s", strerror(errno));
	ASSERT_TRUE(check_huge_shmem(self->alias, self->size, 1, self->size));
	expect_protected(_metadata, self, 0x5a);
}

TEST_F(wp, pageout)
{
	unsigned long out = 0;

	if (variant->hugetlb)
		SKIP(return, "hugetlb is not swapped");
	fill_and_protect(_metadata, self, variant);
	/* MADV_PAGEOUT leaves pages alone that are mapped twice */
	ASSERT_EQ(munmap(self->alias, self->size), 0);
	self->alias = NULL;
	ASSERT_EQ(madvise(self->area, self->size, MADV_PAGEOUT), 0);
	for (unsigned long i = 0; i < self->size; i += self->page_size)
		out += !(pagemap_get_entry(self->pagemap, self->area + i) & PM_PRESENT);
	TH_LOG("%lu of %lu pages out", out, self->nr_pages);
	expect_protected(_metadata, self, 0x5a);
	if (__test_passed(_metadata) && !out)
		SKIP(return, "nothing was paged out; is there swap?");
}

static void guard(struct __test_metadata *_metadata, FIXTURE_DATA(wp) * self, int advice)
{
	ASSERT_EQ(madvise(self->area, self->size, advice), 0);
}

/* The CPU time that the child @pid has taken, in ns; 0 on error. */
static unsigned long long cpu_ns(pid_t pid)
{
	struct timespec t;
	clockid_t clock;

	if (clock_getcpuclockid(pid, &clock) || clock_gettime(clock, &t))
		return 0;
	return t.tv_sec * NSEC_PER_SEC + t.tv_nsec;
}

/*
 * Wait for the child @pid, and kill it when it has taken @seconds of CPU time: time for
 * which it waits on a loaded machine does not count.  Only SIGKILL ends every loop in the
 * kernel.  process_madvise() ends when a fatal signal is pending.  restart_syscall() has
 * set TIF_SIGPENDING, though, and complete_signal() makes SIGALRM fatal for such a task
 * only while the task runs on a CPU.
 *
 * Return: whether the child ended without that, with @status as of waitpid().
 */
static bool wait_or_kill(struct __test_metadata *_metadata, pid_t pid, unsigned int seconds,
			 int *status)
{
	struct pollfd child = { .fd = syscall(__NR_pidfd_open, pid, 0), .events = POLLIN };

	ASSERT_GE(child.fd, 0);
	while (poll(&child, 1, 100) == 0)
		if (cpu_ns(pid) >= seconds * NSEC_PER_SEC)
			kill(pid, SIGKILL);
	close(child.fd);
	ASSERT_EQ(waitpid(pid, status, 0), pid);
	return !WIFSIGNALED(*status) || WTERMSIG(*status) != SIGKILL;
}

/*
 * Guard regions in write-protected memory, mapped or not: MADV_GUARD_INSTALL returns, also
 * by process_madvise(), and the memory is write-protected when the guards are removed.
 */
static void guard_install(struct __test_metadata *_metadata, FIXTURE_DATA(wp) * self,
			  const FIXTURE_VARIANT(wp) * variant, bool dontneed)
{
	unsigned long unguarded = 0;
	int status;
	pid_t pid;

	fill_and_protect(_metadata, self, variant);
	if (dontneed)
		ASSERT_EQ(madvise(self->area, self->size, MADV_DONTNEED), 0);
	/* a child makes the call first, because it can be killed */
	pid = fork();
	ASSERT_GE(pid, 0);
	if (!pid) {
		int uffd = uffd_open_api(FEATURES);

		/* fork() does not register the child's VMA */
		if (uffd < 0 || uffd_register(uffd, self->area, self->size, false, true, false) ||
		    protect(uffd, self->area, self->size, true))
			_exit(2);
		if (!dontneed)
			for (unsigned long i = 0; i < self->nr_pages; i++)
				FORCE_READ(self->area[i * self->page_size]);
		if (dontneed) {
			struct iovec iov = { self->area, self->size };

			_exit(syscall(__NR_process_madvise, PIDFD_SELF, &iov, 1,
				      MADV_GUARD_INSTALL, 0) != (long)self->size);
		}
		_exit(!!madvise(self->area, self->size, MADV_GUARD_INSTALL));
	}
	ASSERT_TRUE(wait_or_kill(_metadata, pid, GUARD_INSTALL_SECONDS, &status)) {
		TH_LOG("MADV_GUARD_INSTALL did not come to an end");
	}
	ASSERT_EQ(status, 0);

	guard(_metadata, self, MADV_GUARD_INSTALL);
	for (unsigned long i = 0; i < self->nr_pages; i++)
		unguarded += read_signal(self->area + i * self->page_size) != SIGSEGV;
	EXPECT_EQ(unguarded, 0);
	expect_bits(_metadata, self);
	guard(_metadata, self, MADV_GUARD_REMOVE);
	expect_protected(_metadata, self, 0x5a);
}

TEST_F(wp, guard_install)
{
	if (variant->hugetlb)
		SKIP(return, "hugetlb has no guard regions");
	guard_install(_metadata, self, variant, false);
}

TEST_F(wp, dontneed_guard_install)
{
	if (variant->hugetlb)
		SKIP(return, "hugetlb has no guard regions");
	guard_install(_metadata, self, variant, true);
}

/* Write-protected while guarded. */
TEST_F(wp, guard_protect)
{
	if (variant->hugetlb)
		SKIP(return, "hugetlb has no guard regions");
	fill(_metadata, self, variant->large);
	guard(_metadata, self, MADV_GUARD_INSTALL);
	ASSERT_EQ(protect(self->uffd, self->area, self->size, true), 0);
	ASSERT_EQ(read_signal(self->area), SIGSEGV);
	guard(_metadata, self, MADV_GUARD_REMOVE);
	expect_protected(_metadata, self, 0x5a);
}

/* Guards stay when the write-protection is removed. */
static void guard_unprotect(struct __test_metadata *_metadata, FIXTURE_DATA(wp) * self,
			    bool unregister)
{
	fill(_metadata, self, false);
	guard(_metadata, self, MADV_GUARD_INSTALL);
	ASSERT_EQ(protect(self->uffd, self->area, self->size, true), 0);
	if (unregister) {
		ASSERT_EQ(uffd_unregister(self->uffd, self->area, self->size), 0);
		ASSERT_EQ(uffd_register(self->uffd, self->area, self->size, false, true, false), 0);
	} else {
		ASSERT_EQ(protect(self->uffd, self->area, self->size, false), 0);
	}
	for (unsigned long i = 0; i < self->nr_pages; i++)
		ASSERT_EQ(read_signal(self->area + i * self->page_size), SIGSEGV);
	guard(_metadata, self, MADV_GUARD_REMOVE);
	expect_unprotected(_metadata, self, self->nr_pages);
}

TEST_F(wp, guard_unprotect)
{
	if (variant->hugetlb)
		SKIP(return, "hugetlb has no guard regions");
	guard_unprotect(_metadata, self, false);
}

TEST_F(wp, guard_unregister)
{
	if (variant->hugetlb)
		SKIP(return, "hugetlb has no guard regions");
	guard_unprotect(_metadata, self, true);
}

/* mremap() and fork() keep guards, and drop the write-protection. */
TEST_F(wp, guard_mremap_fork)
{
	char *moved = self->alias;
	int status;
	pid_t pid;

	if (variant->hugetlb)
		SKIP(return, "hugetlb has no guard regions");
	fill(_metadata, self, false);
	guard(_metadata, self, MADV_GUARD_INSTALL);
	ASSERT_EQ(protect(self->uffd, self->area, self->size, true), 0);
	pid = fork();
	ASSERT_GE(pid, 0);
	if (!pid) {
		int pagemap = open("/proc/self/pagemap", O_RDONLY);
		unsigned long wrong = 0;

		for (unsigned long i = 0; i < self->nr_pages; i++) {
			char *page = self->area + i * self->page_size;

			wrong += read_signal(page) != SIGSEGV;
			wrong += !!(pagemap_get_entry(pagemap, page) & PM_UFFD_WP);
		}
		_exit(!!wrong);
	}
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_EQ(status, 0);

	ASSERT_EQ(mremap(self->area, self->size, self->size, MREMAP_MAYMOVE | MREMAP_FIXED, moved),
		  moved);
	self->area = moved;
	self->alias = NULL;
	for (unsigned long i = 0; i < self->nr_pages; i++) {
		ASSERT_EQ(read_signal(self->area + i * self->page_size), SIGSEGV);
		ASSERT_FALSE(is_protected(self, i));
	}
	guard(_metadata, self, MADV_GUARD_REMOVE);
	expect_unprotected(_metadata, self, self->nr_pages);
}

/* Guards stay until their mapping is unmapped. */
TEST_F(wp, guard_truncate)
{
	if (variant->hugetlb)
		SKIP(return, "hugetlb has no guard regions");
	fill(_metadata, self, variant->large);
	guard(_metadata, self, MADV_GUARD_INSTALL);
	ASSERT_EQ(fallocate(self->memfd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
			    self->size), 0);
	ASSERT_EQ(ftruncate(self->memfd, 0), 0);
	ASSERT_EQ(ftruncate(self->memfd, self->size), 0);
	ASSERT_EQ(madvise(self->area, self->size, MADV_DONTNEED), 0);
	for (unsigned long i = 0; i < self->nr_pages; i++)
		ASSERT_EQ(read_signal(self->area + i * self->page_size), SIGSEGV);
	/* the other half keeps the page table */
	ASSERT_EQ(munmap(self->area, self->size / 2), 0);
	ASSERT_TRUE(map_file_at(self->area, self->size / 2, self->memfd, variant->flags));
	for (unsigned long i = 0; i < self->nr_pages / 2; i++)
		ASSERT_EQ(read_signal(self->area + i * self->page_size), 0);
}

/*
 * One page of a large folio that cannot be split is poisoned, and is accessed: the other
 * pages stay write-protected, and guards in the alias stay.
 */
TEST_F(wp, hwpoison)
{
	unsigned long lost = 0, silent = 0, bad = 5, guarded = 7, pfn, healthy;
	uint64_t flags;
	int kpageflags;
	struct iovec iov = { .iov_base = self->area, .iov_len = 1 };
	char *poisoned = self->area + bad * self->page_size, *guard_page;
	int fds[2];

	if (!variant->large)
		SKIP(return, "needs a large folio of shmem");
	if (geteuid())
		SKIP(return, "MADV_HWPOISON is for root");
	self->poisons = variant->hugetlb;
	fill_and_protect(_metadata, self, variant);
	guard_page = self->alias + guarded * self->page_size;
	ASSERT_EQ(madvise(guard_page, self->page_size, MADV_GUARD_INSTALL), 0);
	/* a reference to the first page is one to the folio */
	ASSERT_EQ(pipe(fds), 0);
	ASSERT_EQ(vmsplice(fds[1], &iov, 1, 0), 1);
	pfn = pagemap_get_pfn(self->pagemap, poisoned);
	healthy = pagemap_get_pfn(self->pagemap, self->area);
	if (!madvise_hwpoison(poisoned, self->page_size))
		SKIP(return, "MADV_HWPOISON: %s", strerror(errno));
	kpageflags = open("/proc/kpageflags", O_RDONLY);
	ASSERT_GE(kpageflags, 0);
	ASSERT_EQ(pageflags_get(healthy, kpageflags, &flags), 0);
	close(kpageflags);
	if (!(flags & KPF_THP))
		SKIP(return, "the folio was split");
	ASSERT_EQ(madvise(self->area, self->size, MADV_DONTNEED), 0);
	/* map all but the poisoned page again */
	for (unsigned long i = 0; i < self->nr_pages; i++)
		if (i != bad)
			ASSERT_EQ(read_signal(self->area + i * self->page_size), 0);

	ASSERT_EQ(read_signal(poisoned), SIGBUS);
	for (unsigned long i = 0; i < self->nr_pages; i++)
		lost += i != bad && !is_protected(self, i);
	for (unsigned long i = 0; i < self->nr_pages; i++)
		silent += i != bad && write_signal(self->area + i * self->page_size) != SIGBUS;
	EXPECT_EQ(lost, 0) {
		TH_LOG("write-protection lost: %lu healthy pages have no uffd-wp bit", lost);
	}
	EXPECT_EQ(silent, 0) {
		TH_LOG("write-protection lost: %lu writes to healthy pages not notified", silent);
	}
	EXPECT_EQ(read_signal(guard_page), SIGSEGV) {
		TH_LOG("guard region lost");
	}
	/* a page in use cannot be unpoisoned */
	close(fds[0]);
	close(fds[1]);
	munmap(self->area, self->size);
	munmap(self->alias, self->size);
	close(self->memfd);
	self->area = NULL;
	self->alias = NULL;
	self->memfd = -1;
	if (unpoison_memory(pfn))
		TH_LOG("page %lx stays poisoned", pfn);
}

/*
 * A page is poisoned, and the page that takes its place is still write-protected.  A page
 * of shmem leaves the file when the hole is punched, and the page table by MADV_DONTNEED.
 */
TEST_F(wp, hwpoison_replaced)
{
	const unsigned long size = self->page_size;
	unsigned long pfn;

	if (variant->large)
		SKIP(return, "see hwpoison");
	if (variant->hugetlb > 32 * MB)
		SKIP(return, "a page that is lost is too large");
	if (geteuid())
		SKIP(return, "MADV_HWPOISON is for root");
	self->poisons = variant->hugetlb;
	fill_and_protect(_metadata, self, variant);
	/* only this mapping has the page */
	ASSERT_EQ(munmap(self->alias, self->size), 0);
	self->alias = NULL;
	pfn = pagemap_get_pfn(self->pagemap, self->area);
	if (!madvise_hwpoison(self->area, psize()))
		SKIP(return, "MADV_HWPOISON: %s", strerror(errno));
	ASSERT_EQ(read_signal(self->area), SIGBUS);
	EXPECT_TRUE(is_protected(self, 0)) {
		TH_LOG("write-protection lost by the poison");
	}
	ASSERT_EQ(fallocate(self->memfd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, size), 0);
	ASSERT_EQ(madvise(self->area, size, MADV_DONTNEED), 0);
	EXPECT_TRUE(is_protected(self, 0)) {
		TH_LOG("write-protection lost with the poison");
	}
	EXPECT_EQ(read_signal(self->area), 0);
	EXPECT_EQ(self->area[0], 0);
	EXPECT_EQ(write_signal(self->area), SIGBUS) {
		TH_LOG("write-protection lost: a write is not notified");
	}
	if (!variant->hugetlb && unpoison_memory(pfn))
		TH_LOG("page %lx stays poisoned", pfn);
}

/* Memory that is unprotected while its page is poisoned stays so when the poison is gone. */
TEST_F(wp, hwpoison_unprotect)
{
	const unsigned long size = self->page_size;
	unsigned long pfn;

	if (variant->large)
		SKIP(return, "see hwpoison");
	if (variant->hugetlb > 32 * MB)
		SKIP(return, "a page that is lost is too large");
	if (geteuid())
		SKIP(return, "MADV_HWPOISON is for root");
	self->poisons = variant->hugetlb;
	fill_and_protect(_metadata, self, variant);
	ASSERT_EQ(munmap(self->alias, self->size), 0);
	self->alias = NULL;
	pfn = pagemap_get_pfn(self->pagemap, self->area);
	if (!madvise_hwpoison(self->area, psize()))
		SKIP(return, "MADV_HWPOISON: %s", strerror(errno));
	ASSERT_EQ(protect(self->uffd, self->area, self->size, false), 0);
	ASSERT_EQ(fallocate(self->memfd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, size), 0);
	ASSERT_EQ(madvise(self->area, size, MADV_DONTNEED), 0);
	expect_unprotected(_metadata, self, 1);
	if (!variant->hugetlb && unpoison_memory(pfn))
		TH_LOG("page %lx stays poisoned", pfn);
}

/* The last page before a multiple of 1 GiB: memory moved there needs two page tables. */
static char *reserve_split(FIXTURE_DATA(wp) * self)
{
	const unsigned long size = 2048 * MB;
	char *addr = reserve_aligned(size);

	return addr ? addr + size / 2 - self->page_size : NULL;
}

/* mremap() fails when it has moved a part, and moves that back. */
TEST_F(wp, mremap_fails)
{
	char *to = reserve_split(self), *now;
	unsigned int failed = 0;

	if (self->nr_pages < 2)
		SKIP(return, "a single page is not moved in parts");
	if (!prepare_failing())
		SKIP(return, "needs root and CONFIG_FAIL_PAGE_ALLOC");
	ASSERT_NE(to, NULL);
	fill_and_protect(_metadata, self, variant);
	/* one as a marker */
	ASSERT_EQ(madvise(self->area, self->page_size, MADV_DONTNEED), 0);
	for (unsigned int nth = 1; ; nth++) {
		const bool injected = mremap_failing(self->area, self->size, to, nth, &now);

		if (now != MAP_FAILED)
			break;
		ASSERT_TRUE(injected);
		failed++;
		expect_bits(_metadata, self);
	}
	TH_LOG("failed %u times", failed);
	ASSERT_GT(failed, 0);
	self->area = now;
	/* where it was moved, it is not registered */
	ASSERT_EQ(uffd_register(self->uffd, self->area, self->size, false, true, false), 0);
	expect_unprotected(_metadata, self, self->nr_pages);
}

/*
 * The old address is mapped as before, and stays write-protected; at the new address
 * nothing is.
 */
TEST_F(wp, mremap_dontunmap)
{
	/* aligned, so that whole page tables might be moved */
	char *old = self->area, *to = reserve_aligned(self->size);

	if (variant->hugetlb)
		SKIP(return, "hugetlb has no MREMAP_DONTUNMAP");
	ASSERT_NE(to, NULL);
	fill_and_protect(_metadata, self, variant);
	/* one as a marker */
	ASSERT_EQ(madvise(self->area, self->page_size, MADV_DONTNEED), 0);
	ASSERT_EQ(mremap(old, self->size, self->size,
			 MREMAP_MAYMOVE | MREMAP_DONTUNMAP | MREMAP_FIXED, to), to);
	expect_protected(_metadata, self, 0x5a);
	self->area = to;
	expect_unprotected(_metadata, self, self->nr_pages);
	self->area = old;
	expect_bits(_metadata, self);
	ASSERT_EQ(munmap(to, self->size), 0);
}

/*
 * A thread punches out or truncates the whole file.  The test compares the last page with
 * its old contents, and exchanges them if they are equal: an exchange that succeeds is a
 * write to a write-protected page without a notification.
 */
struct removal {
	int memfd;
	unsigned long size;
	bool truncate;
};

static void remove_pages(void *data)
{
	struct removal *removal = data;

	if (removal->truncate)
		ftruncate(removal->memfd, 0);
	else
		fallocate(removal->memfd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
			  removal->size);
}

struct exchange {
	unsigned long *word, tag;
	bool done;
};

/* Exchange the word if it still is the tag; the access may raise a signal. */
static void try_exchange(void *data)
{
	struct exchange *exchange = data;

	exchange->done = __sync_bool_compare_and_swap(exchange->word, exchange->tag, 1);
}

FIXTURE(race)
{
	unsigned long page_size, size;
	int memfd, uffd;
	/* as in wp */
	char *area, *alias;
	struct hugetlb_use use;
};

FIXTURE_VARIANT(race)
{
	bool hugetlb;
};

FIXTURE_VARIANT_ADD(race, shmem) { .hugetlb = false };
FIXTURE_VARIANT_ADD(race, hugetlb) { .hugetlb = true };

FIXTURE_SETUP(race)
{
	const unsigned long nr = variant->hugetlb ? 8 : 32;

	self->memfd = -1;
	self->uffd = -1;
	read_hugetlb_use(&self->use);
	ASSERT_EQ(catch_faults(), 0);
	self->page_size = variant->hugetlb ? default_huge_page_size() : psize();
	self->size = nr * self->page_size;
	if (variant->hugetlb && (self->page_size > 32 * MB || !pool_grow(self->page_size, nr)))
		SKIP(return, "no %lu hugetlb pages of at most 32 MB", nr);
	self->memfd = memfd(variant->hugetlb ? self->page_size : 0);
	map_watched(_metadata, self->memfd, self->size, MAP_SHARED, &self->area, &self->alias,
		    &self->uffd);
}

FIXTURE_TEARDOWN(race)
{
	unmap_watched(self->memfd, self->size, self->area, self->alias, self->uffd);
	expect_hugetlb_use(_metadata, &self->use);
}

static void removal_race(struct __test_metadata *_metadata, FIXTURE_DATA(race) * self,
			 bool truncate)
{
	struct removal removal = { self->memfd, self->size, truncate };
	struct race race = { .thread_fn = remove_pages, .data = &removal };
	struct exchange exchange = {
		.word = (unsigned long *)(self->area + self->size - self->page_size),
		.tag = 1,
	};
	unsigned long attempts = 0;

	if (!race_start(&race))
		SKIP(return, "needs two CPUs");
	while (race_on(&race)) {
		exchange.tag += 2;
		exchange.done = false;
		if (truncate)
			ASSERT_EQ(ftruncate(self->memfd, self->size), 0);
		for (unsigned long i = 0; i < self->size; i += self->page_size)
			*(unsigned long *)(self->alias + i) = exchange.tag;
		ASSERT_EQ(protect(self->uffd, self->area, self->size, true), 0);
		/* map the pages, so that the removal has to unmap them */
		for (unsigned long i = 0; i < self->size; i += self->page_size)
			FORCE_READ(self->area[i]);
		race_begin(&race);
		do {
			attempts++;
			fault_signal(try_exchange, &exchange);
		} while (!exchange.done && atomic_load(&race.done) != race.rounds);
		race_end(&race);
		race.failed += exchange.done;
	}
	race_stop(&race);
	TH_LOG("%lu rounds, %lu overlaps, %lu attempts to write, %lu of them not notified",
	       race.rounds, race.overlaps, attempts, race.failed);
	EXPECT_EQ(race.failed, 0) {
		TH_LOG("write-protection lost in %lu rounds", race.failed);
	}
	skip_unless_raced(_metadata, &race);
}

TEST_F_TIMEOUT(race, punch_hole, RACE_TIMEOUT)
{
	removal_race(_metadata, self, false);
}

TEST_F_TIMEOUT(race, truncate, RACE_TIMEOUT)
{
	removal_race(_metadata, self, true);
}

/*
 * A private hugetlb mapping without reservations, which has no hugetlb VMA lock, changes from
 * one userfaultfd to another while a hole is punched in its file.  The removal and
 * UFFDIO_UNREGISTER walk the entries one after the other, under i_mmap_rwsem.  The removal may
 * begin its walk before UFFDIO_UNREGISTER has changed the mode.  UFFDIO_COPY does not wait for
 * that walk, so the removal may come to a page that belongs to the new userfaultfd.
 *
 * The page is the last one.  Many entries, which take nothing but page tables, make both walks
 * long: the removal is likely to wait for UFFDIO_UNREGISTER, and the copy to come in time.
 */
#define SWITCH_PAGES 4096UL

struct switched {
	int from, to;
	char *area, *page, *source;
	unsigned long size, page_size;
	int ret;
};

static void switch_and_copy(void *data)
{
	struct switched *s = data;
	struct uffdio_copy copy = {
		.dst = (unsigned long)s->page,
		.src = (unsigned long)s->source,
		.len = s->page_size,
		.mode = UFFDIO_COPY_MODE_WP,
	};

	s->ret = uffd_unregister(s->from, s->area, s->size) ?:
		 uffd_register(s->to, s->area, s->size, false, true, false) ?:
		 ioctl(s->to, UFFDIO_COPY, &copy);
}

/*
 * A copied page is write-protected until it is removed.  Then it counts as written if the new
 * userfaultfd tracks asynchronously, @async, and else stays write-protected.
 */
static void switch_hugetlb(struct __test_metadata *_metadata, FIXTURE_DATA(race) * self,
			   int from, int to, bool async)
{
	struct switched s = {
		.from = from,
		.to = to,
		.size = SWITCH_PAGES * self->page_size,
		.page_size = self->page_size,
	};
	/* a round walks all entries three times */
	struct race race = { .thread_fn = switch_and_copy, .data = &s, .least = 40 };
	struct removal removal = { .memfd = memfd(self->page_size), .size = s.size };
	int pagemap = open("/proc/self/pagemap", O_RDONLY);
	unsigned long removed = 0;

	ASSERT_GE(pagemap, 0);
	if (!pool_grow(self->page_size, 1))
		SKIP(return, "no free hugetlb page");
	ASSERT_GE(removal.memfd, 0);
	ASSERT_EQ(ftruncate(removal.memfd, s.size), 0);
	s.area = mmap(NULL, s.size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE,
		      removal.memfd, 0);
	ASSERT_NE(s.area, MAP_FAILED);
	s.page = s.area + s.size - s.page_size;
	s.source = mmap(NULL, s.page_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			-1, 0);
	ASSERT_NE(s.source, MAP_FAILED);
	memset(s.source, 0x5a, s.page_size);
	/* markers need page tables, which stay */
	ASSERT_EQ(uffd_register(to, s.area, s.size, false, true, false), 0);
	ASSERT_EQ(protect(to, s.area, s.size, true), 0);
	if (!race_start(&race))
		SKIP(return, "needs two CPUs");
	while (race_on(&race)) {
		uint64_t entry;

		ASSERT_EQ(uffd_unregister(to, s.area, s.size), 0);
		ASSERT_EQ(madvise(s.page, s.page_size, MADV_DONTNEED), 0);
		ASSERT_EQ(uffd_register(from, s.area, s.size, false, true, false), 0);
		race_begin(&race);
		remove_pages(&removal);
		race_end(&race);
		ASSERT_EQ(s.ret, 0);
		entry = pagemap_get_entry(pagemap, s.page);
		removed += !(entry & PM_PRESENT);
		if (async)
			race.failed += (entry & (PM_UFFD_WP | PM_PRESENT)) == PM_UFFD_WP;
		else
			race.failed += !(entry & PM_UFFD_WP) || write_signal(s.page) != SIGBUS;
	}
	race_stop(&race);
	TH_LOG("%lu rounds, %lu overlaps, removed after the copy in %lu, wrong in %lu",
	       race.rounds, race.overlaps, removed, race.failed);
	EXPECT_EQ(race.failed, 0) {
		TH_LOG("%s in %lu rounds", async ? "new contents, not reported as written," :
		       "write-protection lost", race.failed);
	}
	munmap(s.source, s.page_size);
	munmap(s.area, s.size);
	close(removal.memfd);
	close(pagemap);
	skip_unless_raced(_metadata, &race);
}

/*
 * Pages are removed while their range changes from asynchronous tracking, to which the
 * removal is a write, to write-protection with notifications.  A page that the latter has
 * write-protected stays write-protected.
 */
TEST_F_TIMEOUT(race, switch_mode, RACE_TIMEOUT)
{
	struct removal removal = { self->memfd, self->size, false };
	struct race race = { .thread_fn = remove_pages, .data = &removal };
	int pagemap = open("/proc/self/pagemap", O_RDONLY);
	int async = uffd_open_api(ASYNC_FEATURES);

	ASSERT_GE(pagemap, 0);
	if (async < 0)
		SKIP(return, "userfaultfd with WP_ASYNC: %s", strerror(errno));
	if (variant->hugetlb) {
		/* UFFDIO_WRITEPROTECT of hugetlb memory would wait for the removal */
		switch_hugetlb(_metadata, self, async, self->uffd, false);
		close(pagemap);
		close(async);
		return;
	}
	if (!race_start(&race))
		SKIP(return, "needs two CPUs");
	while (race_on(&race)) {
		unsigned long lost = 0;
		int ret;

		ASSERT_EQ(uffd_unregister(self->uffd, self->area, self->size), 0);
		ASSERT_EQ(uffd_register(async, self->area, self->size, false, true, false), 0);
		for (unsigned long i = 0; i < self->size; i += self->page_size)
			__atomic_store_n(self->area + i, 1, __ATOMIC_RELAXED);
		ASSERT_EQ(protect(async, self->area, self->size, true), 0);
		race_begin(&race);
		ret = uffd_unregister(async, self->area, self->size) ?:
		      uffd_register(self->uffd, self->area, self->size, false, true, false) ?:
		      protect(self->uffd, self->area, self->size, true);
		race_end(&race);
		ASSERT_EQ(ret, 0);
		for (unsigned long i = 0; i < self->size; i += self->page_size)
			lost += !(pagemap_get_entry(pagemap, self->area + i) & PM_UFFD_WP);
		race.failed += !!lost;
	}
	race_stop(&race);
	TH_LOG("%lu rounds, %lu overlaps, write-protection lost in %lu", race.rounds,
	       race.overlaps, race.failed);
	EXPECT_EQ(race.failed, 0) {
		TH_LOG("write-protection lost in %lu rounds", race.failed);
	}
	close(pagemap);
	close(async);
	skip_unless_raced(_metadata, &race);
}

/* The other way round: asynchronous tracking has copied the page, and the removal is a write. */
TEST_F_TIMEOUT(race, switch_async, RACE_TIMEOUT)
{
	int async = uffd_open_api(ASYNC_FEATURES);

	if (!variant->hugetlb)
		SKIP(return, "for hugetlb");
	if (async < 0)
		SKIP(return, "userfaultfd with WP_ASYNC: %s", strerror(errno));
	switch_hugetlb(_metadata, self, self->uffd, async, true);
	close(async);
}

/* A thread that fills memory with write-protected pages, until UFFDIO_COPY fails. */
struct copier {
	int uffd;
	char *area, *source;
	unsigned long size, page_size, copied;
};

static void copy_protected(void *data)
{
	struct copier *c = data;

	c->copied = 0;
	for (unsigned long i = 0; i < c->size; i += c->page_size) {
		struct uffdio_copy copy = {
			.dst = (unsigned long)c->area + i,
			.src = (unsigned long)c->source,
			.len = c->page_size,
			.mode = UFFDIO_COPY_MODE_WP,
		};

		if (ioctl(c->uffd, UFFDIO_COPY, &copy))
			break;
		c->copied++;
	}
}

/*
 * Memory is unregistered while UFFDIO_COPY fills it with write-protected pages.  No uffd bit
 * stays: it would hide writes from a userfaultfd that tracks the memory later.
 */
TEST_F_TIMEOUT(race, unregister_copy, RACE_TIMEOUT)
{
	struct copier copier = {
		.uffd = self->uffd,
		.area = self->area,
		.size = self->size,
		.page_size = self->page_size,
	};
	struct race race = {
		.thread_fn = copy_protected,
		.data = &copier,
		/* copying huge pages takes long */
		.least = variant->hugetlb ? 20 : 0,
	};
	struct removal removal = { .memfd = self->memfd, .size = self->size };
	int pagemap = open("/proc/self/pagemap", O_RDONLY);

	ASSERT_GE(pagemap, 0);
	copier.source = mmap(NULL, self->page_size, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(copier.source, MAP_FAILED);
	memset(copier.source, 0x5a, self->page_size);
	ASSERT_EQ(uffd_unregister(self->uffd, self->area, self->size), 0);
	if (!race_start(&race))
		SKIP(return, "needs two CPUs");
	while (race_on(&race)) {
		int ret;

		/* UFFDIO_COPY wants a hole */
		remove_pages(&removal);
		ASSERT_EQ(uffd_register(self->uffd, self->area, self->size, false, true, false), 0);
		race_begin(&race);
		ret = uffd_unregister(self->uffd, self->area, self->size);
		race_end(&race);
		ASSERT_EQ(ret, 0);
		/* all was copied if unregistering began later */
		if (!race.pending)
			ASSERT_EQ(copier.copied, self->size / self->page_size);
		race.failed += count_bits(pagemap, self->area, self->size) != 0;
	}
	race_stop(&race);
	TH_LOG("%lu rounds, %lu overlaps, uffd bits left in %lu", race.rounds, race.overlaps,
	       race.failed);
	EXPECT_EQ(race.failed, 0) {
		TH_LOG("stale: uffd bits in memory that is not registered, in %lu rounds",
		       race.failed);
	}
	munmap(copier.source, self->page_size);
	close(pagemap);
	skip_unless_raced(_metadata, &race);
}

static void dontneed(void *data)
{
	struct iovec *range = data;

	madvise(range->iov_base, range->iov_len, MADV_DONTNEED);
}

/*
 * An empty page table is freed while its range is write-protected: if UFFDIO_WRITEPROTECT
 * returns 0, then all of the range is.
 */
TEST_F_TIMEOUT(race, protect_reclaimed, RACE_TIMEOUT)
{
	const unsigned long size = read_pmd_pagesize();
	char *area = reserve_aligned(size);
	struct iovec range = { area, size };
	/* the table is freed in a small part of the time: few rounds overlap, and they suffice */
	struct race race = { .thread_fn = dontneed, .data = &range, .least = 20 };
	int pagemap = open("/proc/self/pagemap", O_RDONLY);

	if (variant->hugetlb)
		SKIP(return, "page tables of hugetlb are not freed");
	if (!size || size > 32 * MB)
		SKIP(return, "a page table maps %lu MB, too much", size / MB);
	ASSERT_GE(pagemap, 0);
	ASSERT_NE(area, NULL);
	ASSERT_EQ(ftruncate(self->memfd, size), 0);
	ASSERT_TRUE(map_file_at(area, size, self->memfd, MAP_SHARED));
	ASSERT_EQ(uffd_register(self->uffd, area, size, false, true, false), 0);
	if (!race_start(&race))
		SKIP(return, "needs two CPUs");
	while (race_on(&race)) {
		int ret;

		/* a page table without entries */
		ASSERT_EQ(protect(self->uffd, area, size, true), 0);
		ASSERT_EQ(protect(self->uffd, area, size, false), 0);
		race_begin(&race);
		ret = protect(self->uffd, area, size, true);
		race_end(&race);
		ASSERT_EQ(ret, 0);
		race.failed += count_bits(pagemap, area, size) != size / psize();
	}
	race_stop(&race);
	TH_LOG("%lu rounds, %lu overlaps, not write-protected in %lu", race.rounds,
	       race.overlaps, race.failed);
	EXPECT_EQ(race.failed, 0) {
		TH_LOG("UFFDIO_WRITEPROTECT has not write-protected in %lu rounds", race.failed);
	}
	close(pagemap);
	munmap(area, size);
	skip_unless_raced(_metadata, &race);
}

/* A thread that only reads, with PAGEMAP_SCAN: it holds the lock of a hugetlb VMA. */
struct scanner {
	int pagemap;
	struct pm_scan_arg arg;
	struct page_region region;
};

static void scan_written(void *data)
{
	struct scanner *scanner = data;

	for (int i = 0; i < 50; i++)
		ioctl(scanner->pagemap, PAGEMAP_SCAN, &scanner->arg);
}

/*
 * Asynchronous tracking of hugetlb: pages are removed that are in the page cache, and that
 * the tracked mapping has as markers only, while the mapping is scanned.  The removal is a
 * write to each.
 */
TEST_F_TIMEOUT(race, scan_remove, RACE_TIMEOUT)
{
	struct scanner scanner = {
		.pagemap = open("/proc/self/pagemap", O_RDONLY),
		.arg = {
			.size = sizeof(scanner.arg),
			.start = (unsigned long)self->area,
			.end = (unsigned long)self->area + self->size,
			.vec = (unsigned long)&scanner.region,
			.vec_len = 1,
			.category_mask = PAGE_IS_WRITTEN,
			.return_mask = PAGE_IS_WRITTEN,
		},
	};
	struct removal removal = { .memfd = self->memfd, .size = self->size };
	struct race race = { .thread_fn = scan_written, .data = &scanner };
	int async = uffd_open_api(ASYNC_FEATURES);

	ASSERT_GE(scanner.pagemap, 0);
	if (async < 0)
		SKIP(return, "userfaultfd with WP_ASYNC: %s", strerror(errno));
	ASSERT_EQ(uffd_unregister(self->uffd, self->area, self->size), 0);
	ASSERT_EQ(uffd_register(async, self->area, self->size, false, true, false), 0);
	if (!race_start(&race))
		SKIP(return, "needs two CPUs");
	while (race_on(&race)) {
		for (unsigned long i = 0; i < self->size; i += self->page_size)
			self->area[i] = 1;
		ASSERT_EQ(protect(async, self->area, self->size, true), 0);
		ASSERT_EQ(madvise(self->area, self->size, MADV_DONTNEED), 0);
		race_begin(&race);
		remove_pages(&removal);
		race_end(&race);
		race.failed += count_bits(scanner.pagemap, self->area, self->size) != 0;
	}
	race_stop(&race);
	TH_LOG("%lu rounds, %lu overlaps, not reported as written in %lu", race.rounds,
	       race.overlaps, race.failed);
	EXPECT_EQ(race.failed, 0) {
		TH_LOG("new contents, not reported as written, in %lu rounds", race.failed);
	}
	close(scanner.pagemap);
	close(async);
	skip_unless_raced(_metadata, &race);
}

/* A page that soft offline migrates. */
struct migrated {
	char *page;
	int ret;
};

static void migrate_page(void *data)
{
	struct migrated *m = data;

	m->ret = madvise(m->page, psize(), MADV_SOFT_OFFLINE);
}

/*
 * Asynchronous tracking of shmem: PAGEMAP_SCAN write-protects a page while it is migrated.
 * Nobody writes to it then: it is write-protected afterwards.
 */
TEST_F_TIMEOUT(race, scan_migrate, RACE_TIMEOUT)
{
	struct migrated m = { .page = self->area };
	struct race race = { .thread_fn = migrate_page, .data = &m };
	struct page_region region;
	struct pm_scan_arg arg = {
		.size = sizeof(arg),
		.flags = PM_SCAN_WP_MATCHING | PM_SCAN_CHECK_WPASYNC,
		.start = (unsigned long)self->area,
		.end = (unsigned long)self->area + psize(),
		.vec = (unsigned long)&region,
		.vec_len = 1,
		.category_mask = PAGE_IS_WRITTEN,
		.return_mask = PAGE_IS_WRITTEN,
	};
	int async = uffd_open_api(ASYNC_FEATURES), pagemap;
	unsigned long pfn, migrated = 0;
	int reported;

	if (async < 0)
		SKIP(return, "userfaultfd with WP_ASYNC: %s", strerror(errno));
	if (variant->hugetlb)
		SKIP(return, "soft offline takes pages from the pool");
	if (access("/sys/kernel/debug/hwpoison/unpoison-pfn", W_OK))
		SKIP(return, "needs root and CONFIG_HWPOISON_INJECT");
	pagemap = open("/proc/self/pagemap", O_RDONLY);
	ASSERT_GE(pagemap, 0);
	ASSERT_EQ(uffd_unregister(self->uffd, self->area, self->size), 0);
	ASSERT_EQ(uffd_register(async, self->area, self->size, false, true, false), 0);
	if (!race_start(&race))
		SKIP(return, "needs two CPUs");
	while (race_on(&race)) {
		self->area[0] = 1;
		pfn = pagemap_get_pfn(pagemap, self->area);
		race_begin(&race);
		reported = ioctl(pagemap, PAGEMAP_SCAN, &arg);
		race_end(&race);
		if (!m.ret) {
			migrated++;
			ASSERT_EQ(unpoison_memory(pfn), 0);
		}
		ASSERT_EQ(reported, 1);
		race.failed += count_bits(pagemap, self->area, psize()) != 1;
	}
	race_stop(&race);
	TH_LOG("%lu rounds, %lu overlaps, %lu migrations, not write-protected in %lu",
	       race.rounds, race.overlaps, migrated, race.failed);
	EXPECT_EQ(race.failed, 0) {
		TH_LOG("PAGEMAP_SCAN has not write-protected in %lu rounds", race.failed);
	}
	close(pagemap);
	close(async);
	if (migrated < RACE_MIN_OVERLAPS && __test_passed(_metadata))
		SKIP(return, "only %lu pages were migrated", migrated);
	skip_unless_raced(_metadata, &race);
}

/* A private mapping of a hugetlb file. */
struct private {
	char *area;
	unsigned long page_size, nr;
};

/* Page faults at all pages but the first, in the lock of the mapping. */
static void fault_private(void *data)
{
	struct private *private = data;
	const unsigned long size = private->page_size;

	for (unsigned long i = 1; i < private->nr; i++)
		private->area[i * size] = 1;
	madvise(private->area + size, (private->nr - 1) * size, MADV_DONTNEED);
}

/*
 * A page is removed from the file.  A private mapping maps this page, and its lock is held
 * by page faults at other pages.
 */
TEST_F_TIMEOUT(race, remove_private, RACE_TIMEOUT)
{
	struct private private = { .page_size = self->page_size, .nr = 3 };
	struct race race = { .thread_fn = fault_private, .data = &private };
	const unsigned long size = private.nr * private.page_size;
	int pagemap = open("/proc/self/pagemap", O_RDONLY);

	if (!variant->hugetlb)
		SKIP(return, "for the lock of a hugetlb mapping");
	if (!pool_grow(self->page_size, private.nr))
		SKIP(return, "no %lu hugetlb pages", private.nr);
	ASSERT_GE(pagemap, 0);
	ASSERT_EQ(uffd_unregister(self->uffd, self->area, self->size), 0);
	private.area = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE, self->memfd, 0);
	ASSERT_NE(private.area, MAP_FAILED);
	if (!race_start(&race))
		SKIP(return, "needs two CPUs");
	while (race_on(&race)) {
		self->area[0] = 1;
		FORCE_READ(private.area[0]);
		race_begin(&race);
		ASSERT_EQ(fallocate(self->memfd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
				    self->page_size), 0);
		race_end(&race);
		race.failed += pagemap_is_populated(pagemap, private.area);
	}
	race_stop(&race);
	TH_LOG("%lu rounds, %lu overlaps, still mapped in %lu", race.rounds, race.overlaps,
	       race.failed);
	EXPECT_EQ(race.failed, 0) {
		TH_LOG("a page that was removed is still mapped in %lu rounds", race.failed);
	}
	munmap(private.area, size);
	close(pagemap);
	skip_unless_raced(_metadata, &race);
}

/*
 * Asynchronous tracking: a page that PAGEMAP_SCAN does not report as written has the
 * contents that it had when it was write-protected.
 */
FIXTURE(async)
{
	unsigned long page_size, nr_pages, size;
	int memfd, uffd, pagemap;
	char *area;
	struct hugetlb_use use;
};

FIXTURE_VARIANT(async)
{
	bool hugetlb;
	int flags;
};

FIXTURE_VARIANT_ADD(async, shmem) { .flags = MAP_SHARED };
FIXTURE_VARIANT_ADD(async, shmem_private) { .flags = MAP_PRIVATE };
FIXTURE_VARIANT_ADD(async, hugetlb) { .hugetlb = true, .flags = MAP_SHARED };
FIXTURE_VARIANT_ADD(async, hugetlb_private) { .hugetlb = true, .flags = MAP_PRIVATE };

FIXTURE_SETUP(async)
{
	self->memfd = -1;
	self->uffd = -1;
	read_hugetlb_use(&self->use);
	ASSERT_EQ(catch_faults(), 0);
	/* MADV_PAGEOUT leaves pages alone that are in the LRU batch of another CPU */
	pin_to_first();
	self->pagemap = open("/proc/self/pagemap", O_RDONLY);
	ASSERT_GE(self->pagemap, 0);
	self->page_size = variant->hugetlb ? default_huge_page_size() : psize();
	self->nr_pages = 4;
	self->size = self->nr_pages * self->page_size;
	if (variant->hugetlb &&
	    (self->page_size > 32 * MB || !pool_grow(self->page_size, 2 * self->nr_pages)))
		SKIP(return, "no %lu hugetlb pages of at most 32 MB", 2 * self->nr_pages);
	self->memfd = memfd(variant->hugetlb ? self->page_size : 0);
	ASSERT_GE(self->memfd, 0);
	ASSERT_EQ(ftruncate(self->memfd, self->size), 0);
	self->area = reserve_aligned(self->size);
	ASSERT_NE(self->area, NULL);
	ASSERT_TRUE(map_file_at(self->area, self->size, self->memfd, variant->flags));
	self->uffd = uffd_open_api(ASYNC_FEATURES);
	if (self->uffd < 0)
		SKIP(return, "userfaultfd with WP_ASYNC: %s", strerror(errno));
	ASSERT_EQ(uffd_register(self->uffd, self->area, self->size, false, true, false), 0);
	for (unsigned long i = 0; i < self->nr_pages; i++)
		self->area[i * self->page_size] = 0x5a;
	ASSERT_EQ(protect(self->uffd, self->area, self->size, true), 0);
}

FIXTURE_TEARDOWN(async)
{
	if (self->uffd >= 0)
		close(self->uffd);
	if (self->area)
		munmap(self->area, self->size);
	if (self->memfd >= 0)
		close(self->memfd);
	hugetlb_restore_settings();
	expect_hugetlb_use(_metadata, &self->use);
}

/* Is page @i reported as written?  Negative on error. */
static int written(FIXTURE_DATA(async) * self, unsigned long i)
{
	struct page_region region = { };
	struct pm_scan_arg arg = {
		.size = sizeof(arg),
		.start = (unsigned long)self->area + i * self->page_size,
		.end = (unsigned long)self->area + (i + 1) * self->page_size,
		.vec = (unsigned long)&region,
		.vec_len = 1,
		.category_mask = PAGE_IS_WRITTEN,
		.return_mask = PAGE_IS_WRITTEN,
	};

	return ioctl(self->pagemap, PAGEMAP_SCAN, &arg);
}

/* MADV_DONTNEED changes for no page whether it is reported as written. */
TEST_F(async, dontneed_written)
{
	if (variant->flags != MAP_SHARED)
		SKIP(return, "see dontneed_private");
	self->area[0] = 1;
	ASSERT_EQ(written(self, 0), 1);
	ASSERT_EQ(written(self, 1), 0);
	ASSERT_EQ(madvise(self->area, self->size, MADV_DONTNEED), 0);
	EXPECT_EQ(written(self, 1), 0);
	EXPECT_EQ(written(self, 0), 1) {
		TH_LOG("the write is forgotten");
	}
}

/* A private mapping loses its own pages, and maps the pages of the file again. */
TEST_F(async, dontneed_private)
{
	if (variant->flags != MAP_PRIVATE)
		SKIP(return, "see dontneed_written");
	ASSERT_EQ(written(self, 0), 0);
	ASSERT_EQ(madvise(self->area, self->page_size, MADV_DONTNEED), 0);
	EXPECT_EQ(written(self, 0), 1) {
		TH_LOG("new contents, not reported as written");
	}
	EXPECT_EQ(written(self, 1), 0);
	EXPECT_EQ(self->area[0], 0);
	EXPECT_EQ(self->area[self->page_size], 0x5a);
}

/* As dontneed_private, for pages that were swapped out. */
TEST_F(async, pageout_dontneed_private)
{
	if (variant->flags != MAP_PRIVATE || variant->hugetlb)
		SKIP(return, "for pages of a private mapping that can be swapped");
	ASSERT_EQ(madvise(self->area, self->size, MADV_PAGEOUT), 0);
	if (!pagemap_is_swapped(self->pagemap, self->area))
		SKIP(return, "nothing was paged out; is there swap?");
	ASSERT_EQ(written(self, 0), 0);
	ASSERT_EQ(madvise(self->area, self->page_size, MADV_DONTNEED), 0);
	EXPECT_EQ(written(self, 0), 1) {
		TH_LOG("new contents, not reported as written");
	}
	EXPECT_EQ(written(self, 1), 0);
}

/* A page whose contents are lost to poison has new contents, whatever becomes of the entry. */
TEST_F(async, hwpoison)
{
	unsigned long pfn;

	if (variant->hugetlb)
		SKIP(return, "see wp.*.hwpoison_replaced");
	if (geteuid())
		SKIP(return, "MADV_HWPOISON is for root");
	ASSERT_EQ(written(self, 0), 0);
	pfn = pagemap_get_pfn(self->pagemap, self->area);
	if (!madvise_hwpoison(self->area, self->page_size))
		SKIP(return, "MADV_HWPOISON: %s", strerror(errno));
	EXPECT_EQ(read_signal(self->area), SIGBUS);
	EXPECT_EQ(written(self, 0), 1) {
		TH_LOG("lost contents, not reported as written");
	}
	ASSERT_EQ(fallocate(self->memfd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
			    self->page_size), 0);
	EXPECT_EQ(written(self, 0), 1) {
		TH_LOG("a hole, not reported as written");
	}
	ASSERT_EQ(madvise(self->area, self->page_size, MADV_DONTNEED), 0);
	EXPECT_EQ(written(self, 0), 1) {
		TH_LOG("new contents, not reported as written");
	}
	EXPECT_EQ(written(self, 1), 0);
	if (unpoison_memory(pfn))
		TH_LOG("page %lx stays poisoned", pfn);
}

/* A page that was removed from the file has new contents. */
static void removed_written(struct __test_metadata *_metadata, FIXTURE_DATA(async) * self,
			    bool truncate)
{
	const unsigned long last = self->size - self->page_size;

	ASSERT_EQ(written(self, self->nr_pages - 1), 0);
	if (truncate) {
		ASSERT_EQ(ftruncate(self->memfd, last), 0);
		ASSERT_EQ(ftruncate(self->memfd, self->size), 0);
	} else {
		ASSERT_EQ(madvise(self->area + last, self->page_size, MADV_REMOVE), 0);
	}
	EXPECT_EQ(written(self, self->nr_pages - 1), 1) {
		TH_LOG("new contents, not reported as written");
	}
	EXPECT_EQ(self->area[last], 0);
	EXPECT_EQ(written(self, self->nr_pages - 1), 1);
	EXPECT_EQ(written(self, 0), 0);
}

TEST_F(async, madv_remove)
{
	if (variant->flags != MAP_SHARED)
		SKIP(return, "MADV_REMOVE is for shared mappings");
	removed_written(_metadata, self, false);
}

TEST_F(async, truncate)
{
	removed_written(_metadata, self, true);
}

/* A range without a page table is unpopulated, and PAGEMAP_SCAN can write-protect it. */
TEST_F(async, unpopulated)
{
	struct page_region region = { };
	struct pm_scan_arg arg = {
		.size = sizeof(arg),
		.flags = PM_SCAN_WP_MATCHING | PM_SCAN_CHECK_WPASYNC,
		.vec = (unsigned long)&region,
		.vec_len = 1,
		.max_pages = 1,
		.category_mask = PAGE_IS_WRITTEN,
		.return_mask = PAGE_IS_WRITTEN,
	};

	ASSERT_EQ(munmap(self->area, self->size), 0);
	/* no mapping is so near that it shares a page table with this one */
	self->area = reserve_aligned(1024 * MB);
	ASSERT_NE(self->area, NULL);
	ASSERT_TRUE(map_file_at(self->area, self->size, self->memfd, variant->flags));
	ASSERT_EQ(uffd_register(self->uffd, self->area, self->size, false, true, false), 0);
	arg.start = (unsigned long)self->area;
	arg.end = (unsigned long)self->area + self->page_size;
	EXPECT_EQ(written(self, 0), 1) {
		TH_LOG("unpopulated, not reported as written");
	}
	ASSERT_GE(ioctl(self->pagemap, PAGEMAP_SCAN, &arg), 0);
	EXPECT_EQ(written(self, 0), variant->hugetlb);
	arg.max_pages = 0;
	ASSERT_GE(ioctl(self->pagemap, PAGEMAP_SCAN, &arg), 0);
	EXPECT_EQ(written(self, 0), 0);
}

/*
 * PAGEMAP_SCAN with PM_SCAN_WP_MATCHING, as a dumper calls it: each call goes on from the
 * walk_end of the one before.  For every range and every limit the calls get to the end, and
 * no write is lost: each written page is reported, and a page that is not reported is
 * still PAGE_IS_WRITTEN afterwards.
 */
#define SCAN_UNITS 4UL

FIXTURE(scan)
{
	/* bytes of a huge page or of a page table, of all, and small pages in all */
	unsigned long unit, size, nr_pages;
	int memfd, uffd, pagemap;
	char *area;
	/* of each small page: how often it was reported, and its pagemap entry afterwards */
	unsigned int *reported;
	uint64_t *entries;
};

FIXTURE_VARIANT(scan)
{
	bool hugetlb, large, hole;
};

FIXTURE_VARIANT_ADD(scan, ptes) { };
FIXTURE_VARIANT_ADD(scan, ptes_hole) { .hole = true };
FIXTURE_VARIANT_ADD(scan, thp) { .large = true };
FIXTURE_VARIANT_ADD(scan, hugetlb) { .hugetlb = true };
FIXTURE_VARIANT_ADD(scan, hugetlb_hole) { .hugetlb = true, .hole = true };

FIXTURE_SETUP(scan)
{
	self->memfd = -1;
	self->uffd = -1;
	self->pagemap = open("/proc/self/pagemap", O_RDONLY);
	ASSERT_GE(self->pagemap, 0);
	self->unit = variant->hugetlb ? default_huge_page_size() : read_pmd_pagesize();
	if (!self->unit || self->unit > 32 * MB)
		SKIP(return, "no huge pages of at most 32 MB");
	if (variant->hugetlb && !pool_grow(self->unit, SCAN_UNITS))
		SKIP(return, "no %lu hugetlb pages", SCAN_UNITS);
	self->size = SCAN_UNITS * self->unit;
	self->nr_pages = self->size / psize();
	self->reported = calloc(self->nr_pages, sizeof(*self->reported));
	self->entries = calloc(self->nr_pages, sizeof(*self->entries));
	ASSERT_NE(self->reported, NULL);
	ASSERT_NE(self->entries, NULL);
	if (!variant->large) {
		self->memfd = memfd(variant->hugetlb ? self->unit : 0);
		ASSERT_GE(self->memfd, 0);
		ASSERT_EQ(ftruncate(self->memfd, self->size), 0);
	}
	self->uffd = uffd_open_api(ASYNC_FEATURES | UFFD_FEATURE_WP_UNPOPULATED);
	if (self->uffd < 0)
		SKIP(return, "userfaultfd with WP_ASYNC: %s", strerror(errno));
}

FIXTURE_TEARDOWN(scan)
{
	if (self->uffd >= 0)
		close(self->uffd);
	if (self->area)
		munmap(self->area, self->size);
	if (self->memfd >= 0)
		close(self->memfd);
	free(self->reported);
	free(self->entries);
	hugetlb_restore_settings();
}

/* A new mapping, registered and not write-protected: all of it counts as written. */
static void map_written(struct __test_metadata *_metadata, FIXTURE_DATA(scan) * self,
			const FIXTURE_VARIANT(scan) * variant)
{
	if (self->area)
		ASSERT_EQ(munmap(self->area, self->size), 0);
	/* no mapping is so near that it shares a page table with this one */
	self->area = reserve_aligned(1024 * MB);
	ASSERT_NE(self->area, NULL);
	ASSERT_TRUE(map_file_at(self->area, self->size, self->memfd,
				variant->large ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED));
	if (!variant->hole)
		for (unsigned long i = 0; i < self->nr_pages; i++)
			self->area[i * psize()] = 1;
	if (variant->large && madvise_collapse_retry(self->area, self->size))
		SKIP(exit(KSFT_SKIP), "MADV_COLLAPSE: %s", strerror(errno));
	ASSERT_EQ(uffd_register(self->uffd, self->area, self->size, false, true, false), 0);
}

/* Scan @start to @end, at most @max_pages and @vec_len regions a call: do all calls advance? */
static bool scan_range(FIXTURE_DATA(scan) * self, unsigned long start, unsigned long end,
		       unsigned long flags, unsigned long max_pages, unsigned long vec_len)
{
	struct page_region *vec = calloc(vec_len, sizeof(*vec));
	struct pm_scan_arg arg = {
		.size = sizeof(arg),
		.flags = flags,
		.start = (unsigned long)self->area + start,
		.end = (unsigned long)self->area + end,
		.vec = (unsigned long)vec,
		.vec_len = vec_len,
		.max_pages = max_pages,
		.category_mask = PAGE_IS_WRITTEN,
		.return_mask = PAGE_IS_WRITTEN,
	};

	memset(self->reported, 0, self->nr_pages * sizeof(*self->reported));
	while (vec && arg.start < arg.end) {
		long nr = ioctl(self->pagemap, PAGEMAP_SCAN, &arg);

		for (long i = 0; i < nr; i++)
			for (unsigned long at = vec[i].start; at < vec[i].end; at += psize())
				self->reported[(at - (unsigned long)self->area) / psize()]++;
		if (nr < 0 || arg.walk_end <= arg.start || arg.walk_end > arg.end)
			break;
		arg.start = arg.walk_end;
	}
	free(vec);
	return arg.start >= arg.end;
}

/*
 * All pages were written: scan from @start to @end.  @exact: the scan can write-protect what
 * it reports, and reports it once.
 */
static void expect_scanned(struct __test_metadata *_metadata, FIXTURE_DATA(scan) * self,
			   unsigned long start, unsigned long end, unsigned long max_pages,
			   bool exact)
{
	unsigned long missed = 0, lost = 0, again = 0;

	EXPECT_TRUE(scan_range(self, start, end, PM_SCAN_WP_MATCHING | PM_SCAN_CHECK_WPASYNC,
			       max_pages, 8)) {
		TH_LOG("a call did not advance: max_pages %lu, range %#lx-%#lx", max_pages, start,
		       end);
	}
	ASSERT_TRUE(read_entries(self->pagemap, self->area, self->size, self->entries));
	for (unsigned long i = 0; i < self->nr_pages; i++) {
		const bool in_range = i * psize() >= start && i * psize() < end;
		const bool written = !(self->entries[i] & PM_UFFD_WP);

		missed += in_range && !self->reported[i];
		lost += !written && !self->reported[i];
		again += in_range && (written || self->reported[i] > 1);
	}
	EXPECT_EQ(missed, 0) {
		TH_LOG("passed over: %lu pages, max_pages %lu, range %#lx-%#lx", missed, max_pages,
		       start, end);
	}
	EXPECT_EQ(lost, 0) {
		TH_LOG("write lost: %lu pages, max_pages %lu, range %#lx-%#lx", lost, max_pages,
		       start, end);
	}
	if (exact) {
		EXPECT_EQ(again, 0) {
			TH_LOG("reported and not write-protected: %lu pages, max_pages %lu", again,
			       max_pages);
		}
	}
}

TEST_F(scan, max_pages)
{
	const unsigned long unit = self->unit / psize();
	const unsigned long limits[] = { 0, unit, unit + unit / 3, 2 * unit + 1, unit - 1,
					 unit / 2, 1 };

	for (unsigned long i = 0; i < ARRAY_SIZE(limits); i++) {
		map_written(_metadata, self, variant);
		expect_scanned(_metadata, self, 0, self->size, limits[i],
			       !variant->hugetlb || !limits[i] || limits[i] >= unit);
	}
}

/* The range begins and ends within a huge page or page table. */
TEST_F(scan, unaligned)
{
	const unsigned long offsets[] = { psize(), self->unit / 2, self->unit - psize() };
	const unsigned long limits[] = { 0, self->unit / psize() };

	for (unsigned long i = 0; i < ARRAY_SIZE(offsets); i++) {
		for (unsigned long j = 0; j < ARRAY_SIZE(limits); j++) {
			map_written(_metadata, self, variant);
			expect_scanned(_metadata, self, offsets[i], self->size - offsets[i],
				       limits[j], !variant->hugetlb);
		}
	}
	/* within one huge page */
	map_written(_metadata, self, variant);
	expect_scanned(_metadata, self, psize(), 2 * psize(), 0, !variant->hugetlb);
}

/* Every other page is written: more regions than the kernel collects at a time. */
TEST_F(scan, regions)
{
	const unsigned long lens[] = { 1, 3, self->nr_pages };
	unsigned long wrong;

	if (variant->hugetlb || variant->large || variant->hole)
		SKIP(return, "for small pages");
	map_written(_metadata, self, variant);
	ASSERT_EQ(protect(self->uffd, self->area, self->size, true), 0);
	for (unsigned long i = 0; i < self->nr_pages; i += 2)
		self->area[i * psize()] = 2;
	for (unsigned long i = 0; i < ARRAY_SIZE(lens); i++) {
		EXPECT_TRUE(scan_range(self, 0, self->size, 0, 0, lens[i]));
		wrong = 0;
		for (unsigned long j = 0; j < self->nr_pages; j++)
			wrong += self->reported[j] != !(j % 2);
		EXPECT_EQ(wrong, 0) {
			TH_LOG("not reported once: %lu pages, vec_len %lu", wrong, lens[i]);
		}
	}
}

/* Without output, too, only pages that match the masks are write-protected. */
TEST_F(scan, mask)
{
	struct pm_scan_arg arg = {
		.size = sizeof(arg),
		.flags = PM_SCAN_WP_MATCHING | PM_SCAN_CHECK_WPASYNC,
	};
	const struct {
		unsigned long mask, inverted, anyof;
		bool matches;
	} masks[] = {
		{ .mask = PAGE_IS_SWAPPED },
		{ .anyof = PAGE_IS_SWAPPED },
		{ .mask = PAGE_IS_WRITTEN | PAGE_IS_PFNZERO },
		{ .mask = PAGE_IS_WRITTEN, .inverted = PAGE_IS_WRITTEN },
		{ .mask = PAGE_IS_WRITTEN, .matches = true },
		{ .matches = true },
	};

	for (unsigned long i = 0; i < ARRAY_SIZE(masks); i++) {
		unsigned long protected;

		map_written(_metadata, self, variant);
		arg.start = (unsigned long)self->area;
		arg.end = arg.start + self->size;
		arg.category_mask = masks[i].mask;
		arg.category_inverted = masks[i].inverted;
		arg.category_anyof_mask = masks[i].anyof;
		ASSERT_EQ(ioctl(self->pagemap, PAGEMAP_SCAN, &arg), 0);
		EXPECT_EQ(arg.walk_end, arg.end);
		protected = count_bits(self->pagemap, self->area, self->size);
		EXPECT_EQ(protected, masks[i].matches ? self->nr_pages : 0) {
			TH_LOG("masks %lu: %lu of %lu pages are write-protected", i, protected,
			       self->nr_pages);
		}
	}
}

/* How far own_entry(), or a round of migration, has come: values of stage below. */
enum stage {
	STAGE_INIT,
	/* the child has its own page or entry */
	STAGE_CHILD_READY,
	/* migration: the child may migrate its page */
	STAGE_MIGRATE,
	/* migration: the child's call has returned */
	STAGE_MIGRATED,
	/* the parent has written, and the pool has free pages: the child looks */
	STAGE_CHECK,
};

/*
 * The owner of a hugetlb reserve writes while the pool is empty: the kernel takes back the
 * page that the owner shares with a child, the sharer.  Another child has an entry of its
 * own at that address, which must stay.
 */
FIXTURE(cow)
{
	unsigned long page_size;
	int memfd;
	char *area;
	/* shared with the child that has its own entry */
	atomic_int *stage;
	pid_t child;
	/* before the test; it may poison a page, which is lost */
	struct hugetlb_use use;
	bool poisons;
};

FIXTURE_SETUP(cow)
{
	if (geteuid())
		SKIP(return, "the hugetlb pool is root's");
	ASSERT_EQ(catch_faults(), 0);
	self->memfd = -1;
	read_hugetlb_use(&self->use);
	self->page_size = default_huge_page_size();
	if (!self->page_size || self->page_size > 32 * MB || !pool_grow(self->page_size, 2))
		SKIP(return, "no 2 hugetlb pages of at most 32 MB");
	if (read_pool(self->page_size, "nr_overcommit_hugepages"))
		SKIP(return, "the pool may be overcommitted");
	self->stage = mmap(NULL, psize(), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
			   -1, 0);
	ASSERT_NE(self->stage, MAP_FAILED);
	self->memfd = memfd(self->page_size);
	ASSERT_GE(self->memfd, 0);
	ASSERT_EQ(ftruncate(self->memfd, self->page_size), 0);
	self->area = mmap(NULL, self->page_size, PROT_READ | PROT_WRITE, MAP_PRIVATE,
			  self->memfd, 0);
	ASSERT_NE(self->area, MAP_FAILED);
	self->area[0] = 'p';
}

FIXTURE_TEARDOWN(cow)
{
	if (self->child > 0) {
		kill(self->child, SIGKILL);
		waitpid(self->child, NULL, 0);
	}
	if (self->area)
		munmap(self->area, self->page_size);
	if (self->memfd >= 0)
		close(self->memfd);
	hugetlb_restore_settings();
	if (!self->poisons)
		expect_hugetlb_use(_metadata, &self->use);
}

static bool has_ended(pid_t pid)
{
	siginfo_t info = { };

	return !waitid(P_PID, pid, &info, WEXITED | WNOHANG | WNOWAIT) && info.si_pid == pid;
}

static void stage_wait(atomic_int *stage, enum stage value)
{
	while (atomic_load(stage) != (int)value)
		sched_yield();
}

/* Start a child that shares the page of the owner, and sleeps. */
static pid_t fork_sharer(void)
{
	pid_t pid = fork();

	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
	return pid;
}

static int open_pagemap(pid_t pid)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/pagemap", pid);
	return open(path, O_RDONLY);
}

/* Unlike pagemap_get_entry(), this is for processes that may have ended. */
static bool is_unmapped(int pagemap, char *addr)
{
	const off_t offset = (unsigned long)addr / psize() * sizeof(uint64_t);
	uint64_t entry;

	return pread(pagemap, &entry, sizeof(entry), offset) == sizeof(entry) &&
	       !(entry & PM_PRESENT);
}

/* Write to the page that @sharer shares: was the page taken back?  The pool is empty. */
static bool take_back(struct __test_metadata *_metadata, FIXTURE_DATA(cow) * self, pid_t sharer)
{
	int pagemap = open_pagemap(sharer);
	bool taken;

	ASSERT_GE(pagemap, 0);
	self->area[0] = 'w';
	taken = is_unmapped(pagemap, self->area);
	close(pagemap);
	kill(sharer, SIGKILL);
	ASSERT_EQ(waitpid(sharer, NULL, 0), sharer);
	return taken;
}

/* Take all free pages from the pool; false if other processes have reserved some. */
static bool empty_pool(unsigned long size)
{
	hugetlb_set_nr_pages(size, hugetlb_nr_pages(size) - hugetlb_free_pages(size));
	return !hugetlb_free_pages(size);
}

enum child_status { CHILD_OK, CHILD_READABLE, CHILD_WRONG_SIGNAL, CHILD_CANNOT };

/* The child installs its entry by @install, and has to get SIGBUS there after the write. */
static void own_entry(struct __test_metadata *_metadata, FIXTURE_DATA(cow) * self,
		      bool (*install)(char *addr, unsigned long size))
{
	pid_t sharer;
	int status;

	self->child = fork();
	ASSERT_GE(self->child, 0);
	if (!self->child) {
		int signal;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		/* its own page */
		self->area[0] = 'c';
		if (!install(self->area, self->page_size))
			_exit(CHILD_CANNOT);
		atomic_store(self->stage, STAGE_CHILD_READY);
		stage_wait(self->stage, STAGE_CHECK);
		signal = read_signal(self->area);
		_exit(signal == SIGBUS ? CHILD_OK : signal ? CHILD_WRONG_SIGNAL : CHILD_READABLE);
	}
	while (atomic_load(self->stage) != STAGE_CHILD_READY) {
		if (waitpid(self->child, &status, WNOHANG) == self->child) {
			self->child = 0;
			ASSERT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == CHILD_CANNOT) {
				TH_LOG("the child died (%x)", status);
			}
			SKIP(return, "the child could not have its entry");
		}
		sched_yield();
	}
	sharer = fork_sharer();
	ASSERT_GE(sharer, 0);
	if (!empty_pool(self->page_size)) {
		kill(sharer, SIGKILL);
		SKIP(return, "others have reserved hugetlb pages");
	}
	ASSERT_TRUE(take_back(_metadata, self, sharer)) {
		TH_LOG("the page was not taken back");
	}
	/* an empty pool would raise SIGBUS, too */
	hugetlb_set_nr_pages(self->page_size, hugetlb_nr_pages(self->page_size) + 2);
	if (!hugetlb_free_pages(self->page_size))
		SKIP(return, "no free hugetlb page for the child");
	atomic_store(self->stage, STAGE_CHECK);
	ASSERT_EQ(waitpid(self->child, &status, 0), self->child);
	self->child = 0;
	EXPECT_EQ(status, 0) {
		TH_LOG("the child's own entry is lost (%x)", status);
	}
}

static bool install_poison(char *addr, unsigned long size)
{
	int uffd = uffd_open_api(UFFD_FEATURE_POISON);

	/* The marker outlives the registration. */
	return uffd >= 0 && !madvise(addr, size, MADV_DONTNEED) &&
	       !uffd_register(uffd, addr, size, true, false, false) &&
	       !uffd_poison(uffd, addr, size) && !uffd_unregister(uffd, addr, size);
}

static bool install_hwpoison(char *addr, unsigned long size)
{
	return madvise_hwpoison(addr, psize());
}

TEST_F(cow, poison_marker)
{
	own_entry(_metadata, self, install_poison);
}

TEST_F(cow, hwpoison)
{
	self->poisons = true;
	own_entry(_metadata, self, install_hwpoison);
}

/* The child of migration: migrate its page in each round, and check that it stays. */
static void migrate_pages_of_child(FIXTURE_DATA(cow) * self)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	self->area[0] = 'c';
	for (;;) {
		atomic_store(self->stage, STAGE_CHILD_READY);
		stage_wait(self->stage, STAGE_MIGRATE);
		if (madvise(self->area, psize(), MADV_SOFT_OFFLINE) && errno != EBUSY)
			_exit(CHILD_CANNOT);
		atomic_store(self->stage, STAGE_MIGRATED);
		stage_wait(self->stage, STAGE_CHECK);
		if (self->area[0] != 'c')
			_exit(CHILD_READABLE);
	}
}

/*
 * The owner writes while the child's page is being migrated: a round overlaps if the
 * child's entry is a migration entry before the write, and the child is still in its call
 * afterwards.  In each round the child goes on only if it has its page.
 */
TEST_F_TIMEOUT(cow, migration, RACE_TIMEOUT)
{
	unsigned long i, overlaps = 0, pfns[MIGRATION_ROUNDS];
	int status, pagemap;

	self->poisons = true;
	self->child = fork();
	ASSERT_GE(self->child, 0);
	if (!self->child)
		migrate_pages_of_child(self);
	pagemap = open_pagemap(self->child);
	ASSERT_GE(pagemap, 0);
	for (i = 0; ; i++) {
		bool migrating = false, taken;
		pid_t sharer;

		while (atomic_load(self->stage) != STAGE_CHILD_READY) {
			if (waitpid(self->child, &status, WNOHANG) == self->child) {
				self->child = 0;
				TH_LOG("%lu rounds, %lu overlaps", i, overlaps);
				if (WIFEXITED(status) && WEXITSTATUS(status) == CHILD_CANNOT)
					SKIP(return, "MADV_SOFT_OFFLINE failed");
				ASSERT_EQ(status, -1) {
					TH_LOG("the child's own entry is lost (%x)", status);
				}
			}
			sched_yield();
		}
		if (overlaps >= MIGRATION_OVERLAPS || i == ARRAY_SIZE(pfns))
			break;
		sharer = fork_sharer();
		ASSERT_GE(sharer, 0);
		if (!empty_pool(self->page_size)) {
			kill(sharer, SIGKILL);
			SKIP(return, "others have reserved hugetlb pages");
		}
		pfns[i] = pagemap_get_pfn(pagemap, self->area);
		atomic_store(self->stage, STAGE_MIGRATE);
		while (!migrating && atomic_load(self->stage) == STAGE_MIGRATE &&
		       !has_ended(self->child))
			migrating = is_unmapped(pagemap, self->area);
		/* the owner may get the page that a completed migration has left in the pool */
		taken = take_back(_metadata, self, sharer);
		overlaps += migrating && taken && atomic_load(self->stage) == STAGE_MIGRATE;
		while (atomic_load(self->stage) != STAGE_MIGRATED && !has_ended(self->child))
			sched_yield();
		hugetlb_set_nr_pages(self->page_size, hugetlb_nr_pages(self->page_size) + 2);
		atomic_store(self->stage, STAGE_CHECK);
	}
	kill(self->child, SIGKILL);
	ASSERT_EQ(waitpid(self->child, &status, 0), self->child);
	self->child = 0;
	TH_LOG("%lu rounds, %lu overlaps", i, overlaps);
	while (i--)
		if (unpoison_memory(pfns[i]))
			TH_LOG("page %lx stays out of use", pfns[i]);
	if (!overlaps)
		SKIP(return, "no round overlapped");
}

/*
 * mremap() of a part of a private hugetlb mapping: the rest keeps its reservations.
 *
 * A kernel that forgets them leaks a reservation for each page of the rest that is not
 * populated.  So a case populates the rest first, and ends if the reservations are
 * forgotten.  It leaks none this way, and the next case finds the pool as it was.
 */
#define RESV_PAGES 4

FIXTURE(resv)
{
	unsigned long page_size, size;
	/* the mapping, and addresses to move to */
	char *area, *to;
	/* before the test: reserved pages of the pool, and all counts */
	unsigned long reserved;
	struct hugetlb_use use;
};

FIXTURE_VARIANT(resv)
{
	/* the pages that are moved */
	unsigned long first, nr;
};

FIXTURE_VARIANT_ADD(resv, head) { .first = 0, .nr = 2 };
FIXTURE_VARIANT_ADD(resv, middle) { .first = 1, .nr = 2 };
FIXTURE_VARIANT_ADD(resv, tail) { .first = 2, .nr = 2 };
FIXTURE_VARIANT_ADD(resv, whole) { .first = 0, .nr = RESV_PAGES };

FIXTURE_SETUP(resv)
{
	ASSERT_EQ(catch_faults(), 0);
	read_hugetlb_use(&self->use);
	self->page_size = default_huge_page_size();
	self->size = RESV_PAGES * self->page_size;
	if (!self->size || self->page_size > 32 * MB || !pool_grow(self->page_size, RESV_PAGES))
		SKIP(return, "no %d hugetlb pages of at most 32 MB", RESV_PAGES);
	/* a page that is unmapped then gives no reservation back */
	if (read_pool(self->page_size, "surplus_hugepages"))
		SKIP(return, "the pool has surplus pages");
	self->reserved = read_pool(self->page_size, "resv_hugepages");
}

FIXTURE_TEARDOWN(resv)
{
	if (self->area)
		munmap(self->area, self->size);
	if (self->to)
		munmap(self->to, self->size);
	hugetlb_restore_settings();
	expect_hugetlb_use(_metadata, &self->use);
}

/* Pages that are reserved since the test began. */
static long reserved(FIXTURE_DATA(resv) * self)
{
	return read_pool(self->page_size, "resv_hugepages") - self->reserved;
}

static bool is_moved(const FIXTURE_VARIANT(resv) * variant, unsigned long page)
{
	return page - variant->first < variant->nr;
}

/* Map all pages.  Memory that is moved to self->to needs another page table. */
static void map_reserved(struct __test_metadata *_metadata, FIXTURE_DATA(resv) * self)
{
	self->area = mmap(NULL, self->size, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
	ASSERT_NE(self->area, MAP_FAILED);
	self->to = reserve_aligned(1024 * MB);
	ASSERT_NE(self->to, NULL);
	ASSERT_EQ(reserved(self), RESV_PAGES);
}

static void unmap_reserved(struct __test_metadata *_metadata, FIXTURE_DATA(resv) * self)
{
	ASSERT_EQ(munmap(self->area, self->size), 0);
	ASSERT_EQ(munmap(self->to, self->size), 0);
	self->area = NULL;
	self->to = NULL;
	EXPECT_EQ(reserved(self), 0) {
		TH_LOG("%ld reservations are left", reserved(self));
	}
}

/* Write to the pages that will be moved, or to the others. */
static void write_pages(struct __test_metadata *_metadata, FIXTURE_DATA(resv) * self,
			const FIXTURE_VARIANT(resv) * variant, bool moved)
{
	for (unsigned long i = 0; i < RESV_PAGES; i++)
		ASSERT_TRUE(is_moved(variant, i) != moved ||
			    !write_signal(self->area + i * self->page_size));
}

/* Move the pages; each keeps its distance from the start. */
static void move_part(struct __test_metadata *_metadata, FIXTURE_DATA(resv) * self,
		      const FIXTURE_VARIANT(resv) * variant)
{
	const unsigned long start = variant->first * self->page_size;
	const unsigned long size = variant->nr * self->page_size;

	ASSERT_EQ(mremap(self->area + start, size, size, MREMAP_MAYMOVE | MREMAP_FIXED,
			 self->to + start), self->to + start);
}

/* A page that is unmapped gives its reservation back, if the mapping has reservations. */
static void move_written(struct __test_metadata *_metadata, FIXTURE_DATA(resv) * self,
			 const FIXTURE_VARIANT(resv) * variant)
{
	const long rest = RESV_PAGES - variant->nr;

	map_reserved(_metadata, self);
	write_pages(_metadata, self, variant, false);
	write_pages(_metadata, self, variant, true);
	ASSERT_EQ(reserved(self), 0);
	move_part(_metadata, self, variant);
	ASSERT_EQ(reserved(self), 0);
	for (unsigned long i = 0; i < RESV_PAGES; i++)
		ASSERT_TRUE(is_moved(variant, i) ||
			    !madvise(self->area + i * self->page_size, self->page_size,
				     MADV_DONTNEED));
	ASSERT_EQ(reserved(self), rest) {
		TH_LOG("reservations of the rest are lost: %ld of %ld are left", reserved(self),
		       rest);
	}
	write_pages(_metadata, self, variant, false);
	EXPECT_EQ(reserved(self), 0);
	unmap_reserved(_metadata, self);
}

TEST_F(resv, written)
{
	move_written(_metadata, self, variant);
}

TEST_F(resv, unwritten)
{
	move_written(_metadata, self, variant);
	map_reserved(_metadata, self);
	move_part(_metadata, self, variant);
	ASSERT_EQ(reserved(self), RESV_PAGES) {
		TH_LOG("reserved after mremap(): %ld of %d", reserved(self), RESV_PAGES);
	}
	/* pages at both places take their own reservations */
	ASSERT_EQ(write_signal(self->to + variant->first * self->page_size), 0);
	EXPECT_EQ(reserved(self), RESV_PAGES - 1);
	ASSERT_EQ(munmap(self->to + variant->first * self->page_size,
			 variant->nr * self->page_size), 0);
	EXPECT_EQ(reserved(self), RESV_PAGES - (long)variant->nr);
	write_pages(_metadata, self, variant, false);
	EXPECT_EQ(reserved(self), 0);
	unmap_reserved(_metadata, self);
}

/* Pages keep their contents or their reservations when mremap() fails. */
TEST_F(resv, fails)
{
	const unsigned long start = variant->first * self->page_size;
	const unsigned long size = variant->nr * self->page_size;
	char *now = MAP_FAILED;
	unsigned int failed = 0, nth = 1, tries = 0;
	bool injected = true;

	if (!prepare_failing())
		SKIP(return, "needs root and CONFIG_FAIL_PAGE_ALLOC");
	map_reserved(_metadata, self);
	/* the last page that is moved is not populated */
	write_pages(_metadata, self, variant, false);
	for (unsigned long i = 0; i < variant->nr - 1; i++)
		ASSERT_EQ(write_signal(self->area + start + i * self->page_size), 0);
	while (injected) {
		/* another address each time: it has no page table yet */
		char *to = reserve_aligned(1024 * MB);

		ASSERT_NE(to, NULL);
		injected = mremap_failing(self->area + start, size, to, nth, &now);
		ASSERT_TRUE(injected || now == to);
		failed += now == MAP_FAILED;
		ASSERT_EQ(reserved(self), 1) {
			TH_LOG("reserved after mremap() that %s: %ld of 1",
			       now == to ? "succeeded" : "failed", reserved(self));
		}
		if (now == MAP_FAILED)
			nth++;
		if (now == MAP_FAILED || !injected)
			continue;
		/* The kernel can do without some pages, of slabs; it may not need them again. */
		if (++tries % 16 == 0)
			nth++;
		ASSERT_EQ(mremap(to, size, size, MREMAP_MAYMOVE | MREMAP_FIXED,
				 self->area + start), self->area + start);
	}
	TH_LOG("failed %u times", failed);
	EXPECT_GT(failed, 0);
	for (unsigned long i = 0; i < variant->nr - 1; i++)
		EXPECT_EQ(now[i * self->page_size], 1);
	ASSERT_EQ(munmap(now, size), 0);
	unmap_reserved(_metadata, self);
}

/*
 * O_DIRECT writes, or punching a hole, remove pages from the page cache while a thread
 * faults them in by another mapping: guard regions stay.
 */
struct reader {
	char *area;
	unsigned long size;
	atomic_ulong passes;
	atomic_bool stop;
};

static void *read_pages(void *data)
{
	struct reader *reader = data;

	while (!atomic_load(&reader->stop)) {
		force_read_pages(reader->area, reader->size / psize(), psize());
		atomic_fetch_add(&reader->passes, 1);
	}
	return NULL;
}

/* @direct: a second descriptor of @fd for O_DIRECT, or -1 to punch a hole. */
static void guard_race(struct __test_metadata *_metadata, int fd, int direct)
{
	const unsigned long size = 16 * psize();
	struct reader reader = { .size = size };
	struct race race = { .began = now_ns() };
	char *buffer, *guarded;
	pthread_t thread;

	ASSERT_EQ(catch_faults(), 0);
	ASSERT_EQ(posix_memalign((void **)&buffer, psize(), size), 0);
	memset(buffer, 0x5a, size);
	ASSERT_EQ(pwrite(fd, buffer, size, 0), size);
	reader.area = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
	ASSERT_NE(reader.area, MAP_FAILED);
	guarded = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
	ASSERT_NE(guarded, MAP_FAILED);
	ASSERT_EQ(pthread_create(&thread, NULL, read_pages, &reader), 0);
	while (race_on(&race)) {
		unsigned long passes, gone = 0;

		ASSERT_EQ(pwrite(fd, buffer, size, 0), size);
		ASSERT_EQ(madvise(guarded, size, MADV_GUARD_INSTALL), 0);
		passes = atomic_load(&reader.passes);
		if (direct >= 0) {
			ASSERT_EQ(pwrite(direct, buffer, size, 0), size);
		} else {
			ASSERT_EQ(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
					    size), 0);
		}
		/* one of these passes began and ended during the removal */
		race.overlaps += atomic_load(&reader.passes) - passes >= 2;
		race.rounds++;
		for (unsigned long i = 0; i < size; i += psize())
			gone += read_signal(guarded + i) != SIGSEGV;
		race.failed += !!gone;
	}
	atomic_store(&reader.stop, true);
	ASSERT_EQ(pthread_join(thread, NULL), 0);
	TH_LOG("%lu rounds, %lu overlaps, guard regions lost in %lu", race.rounds,
	       race.overlaps, race.failed);
	EXPECT_EQ(race.failed, 0) {
		TH_LOG("guard regions lost");
	}
	skip_unless_raced(_metadata, &race);
}

FIXTURE(guard)
{
	int fd, direct;
};

FIXTURE_SETUP(guard)
{
	self->fd = -1;
	self->direct = -1;
}

FIXTURE_TEARDOWN(guard)
{
	if (self->direct >= 0)
		close(self->direct);
	if (self->fd >= 0)
		close(self->fd);
}

TEST_F_TIMEOUT(guard, direct_write, RACE_TIMEOUT)
{
	char name[] = "uffd-wp-zap.XXXXXX";
	struct statfs fs;

	self->fd = mkstemp(name);
	if (self->fd < 0)
		SKIP(return, "no file in this directory: %s", strerror(errno));
	self->direct = open(name, O_RDWR | O_DIRECT);
	unlink(name);
	if (self->direct < 0 || fstatfs(self->fd, &fs) || fs.f_type == TMPFS_MAGIC)
		SKIP(return, "needs O_DIRECT: run it in a directory on a disk");
	guard_race(_metadata, self->fd, self->direct);
}

TEST_F_TIMEOUT(guard, punch_hole, RACE_TIMEOUT)
{
	self->fd = memfd(0);
	ASSERT_GE(self->fd, 0);
	guard_race(_metadata, self->fd, -1);
}

/* UFFDIO_MOVE: a moved page is new to the destination, and not write-protected. */
FIXTURE(move)
{
	unsigned long size;
	int uffd, pagemap;
	char *src, *dst;
};

FIXTURE_VARIANT(move)
{
	bool async;
};

FIXTURE_VARIANT_ADD(move, sync) { };
FIXTURE_VARIANT_ADD(move, async) { .async = true };

static char *map_anon(unsigned long size)
{
	char *addr = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return addr == MAP_FAILED || madvise(addr, size, MADV_NOHUGEPAGE) ? NULL : addr;
}

FIXTURE_SETUP(move)
{
	self->size = 4 * psize();
	ASSERT_EQ(catch_faults(), 0);
	/* MADV_PAGEOUT leaves pages alone that are in the LRU batch of another CPU */
	pin_to_first();
	self->pagemap = open("/proc/self/pagemap", O_RDONLY);
	ASSERT_GE(self->pagemap, 0);
	self->src = map_anon(self->size);
	self->dst = map_anon(self->size);
	ASSERT_NE(self->src, NULL);
	ASSERT_NE(self->dst, NULL);
	self->uffd = uffd_open_api((variant->async ? ASYNC_FEATURES : FEATURES) |
				   UFFD_FEATURE_WP_UNPOPULATED | UFFD_FEATURE_MOVE);
	if (self->uffd < 0)
		SKIP(return, "userfaultfd with UFFDIO_MOVE: %s", strerror(errno));
	ASSERT_EQ(uffd_register(self->uffd, self->src, self->size, false, true, false), 0);
	ASSERT_EQ(uffd_register(self->uffd, self->dst, self->size, true, true, false), 0);
	memset(self->src, 0x5a, self->size);
	ASSERT_EQ(protect(self->uffd, self->src, self->size, true), 0);
}

FIXTURE_TEARDOWN(move)
{
	if (self->uffd >= 0)
		close(self->uffd);
	munmap(self->src, self->size);
	munmap(self->dst, self->size);
	close(self->pagemap);
}

static void move_protected(struct __test_metadata *_metadata, FIXTURE_DATA(move) * self)
{
	struct uffdio_move arg = {
		.dst = (unsigned long)self->dst,
		.src = (unsigned long)self->src,
		.len = self->size,
	};
	unsigned long stale, notified = 0;

	ASSERT_EQ(ioctl(self->uffd, UFFDIO_MOVE, &arg), 0);
	stale = count_bits(self->pagemap, self->dst, self->size);
	EXPECT_EQ(stale, 0) {
		TH_LOG("stale: %lu pages have the uffd-wp bit of the source", stale);
	}
	for (unsigned long i = 0; i < self->size; i += psize())
		notified += write_signal(self->dst + i) != 0;
	EXPECT_EQ(notified, 0) {
		TH_LOG("stale: %lu writes notified", notified);
	}
}

TEST_F(move, present)
{
	move_protected(_metadata, self);
}

TEST_F(move, swapped)
{
	ASSERT_EQ(madvise(self->src, self->size, MADV_PAGEOUT), 0);
	for (unsigned long i = 0; i < self->size; i += psize())
		if (!pagemap_is_swapped(self->pagemap, self->src + i))
			SKIP(return, "not all was paged out; is there swap?");
	move_protected(_metadata, self);
}

/*
 * A userfaultfd is closed without the fork event being read: the child is not registered, and
 * its entries have no uffd bit, which would hide its writes from its own userfaultfd.
 */
struct fork_child {
	int uffd;
	/* of the child: bits that it has, and writes that its own userfaultfd does not see */
	unsigned long stale, unseen;
	bool event, done;
};

static void *close_on_event(void *data)
{
	struct fork_child *shared = data;
	struct pollfd event = { .fd = shared->uffd, .events = POLLIN };

	shared->event = poll(&event, 1, -1) == 1 && (event.revents & POLLIN);
	close(shared->uffd);
	return NULL;
}

static void check_child(struct fork_child *shared, char *area, unsigned long size)
{
	int pagemap = open("/proc/self/pagemap", O_RDONLY), uffd = uffd_open_api(ASYNC_FEATURES);

	if (pagemap < 0 || uffd < 0)
		_exit(1);
	shared->stale = count_bits(pagemap, area, size);
	memset(area, 1, size);
	if (uffd_register(uffd, area, size, false, true, false))
		_exit(1);
	memset(area, 2, size);
	shared->unseen = count_bits(pagemap, area, size);
	shared->done = true;
	_exit(0);
}

TEST(fork_event_unread)
{
	const unsigned long size = 4 * psize();
	struct fork_child *shared = mmap(NULL, psize(), PROT_READ | PROT_WRITE,
					 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int fd = memfd(0), status;
	pthread_t thread;
	char *area;
	pid_t pid;

	ASSERT_NE(shared, MAP_FAILED);
	ASSERT_GE(fd, 0);
	ASSERT_EQ(ftruncate(fd, size), 0);
	area = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_NE(area, MAP_FAILED);
	shared->uffd = uffd_open_api(UFFD_FEATURE_EVENT_FORK | UFFD_FEATURE_WP_HUGETLBFS_SHMEM |
				     UFFD_FEATURE_PAGEFAULT_FLAG_WP);
	if (shared->uffd < 0)
		SKIP(return, "fork events of userfaultfd: %s", strerror(errno));
	ASSERT_EQ(uffd_register(shared->uffd, area, size, false, true, false), 0);
	memset(area, 0x5a, size);
	ASSERT_EQ(protect(shared->uffd, area, size, true), 0);
	/* what poll() wants */
	ASSERT_EQ(fcntl(shared->uffd, F_SETFL, O_NONBLOCK), 0);
	ASSERT_EQ(pthread_create(&thread, NULL, close_on_event, shared), 0);
	/* a copy of the file table would keep the userfaultfd open */
	pid = syscall(__NR_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0);
	ASSERT_GE(pid, 0);
	if (!pid)
		check_child(shared, area, size);
	ASSERT_EQ(pthread_join(thread, NULL), 0);
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	ASSERT_TRUE(shared->event);
	ASSERT_TRUE(shared->done);
	EXPECT_EQ(shared->stale, 0) {
		TH_LOG("stale: %lu pages of the child have the uffd-wp bit", shared->stale);
	}
	EXPECT_EQ(shared->unseen, 0) {
		TH_LOG("%lu writes of the child are not reported", shared->unseen);
	}
}

/* KSM merges pages that are write-protected: merging is no write, and a write is notified. */
#define KSM_SCANS 10

FIXTURE(ksm)
{
	unsigned long size, zero_pages, run;
	int uffd, pagemap;
	char *area;
};

FIXTURE_VARIANT(ksm)
{
	bool async, zero;
};

FIXTURE_VARIANT_ADD(ksm, sync) { };
FIXTURE_VARIANT_ADD(ksm, async) { .async = true };
FIXTURE_VARIANT_ADD(ksm, zero) { .zero = true };

FIXTURE_SETUP(ksm)
{
	self->uffd = -1;
	if (geteuid() || access(KSM "run", W_OK))
		SKIP(return, "needs root and CONFIG_KSM");
	ASSERT_EQ(catch_faults(), 0);
	self->run = read_num(KSM "run");
	self->zero_pages = read_num(KSM "use_zero_pages");
	self->size = 16 * psize();
	self->pagemap = open("/proc/self/pagemap", O_RDONLY);
	ASSERT_GE(self->pagemap, 0);
	self->area = map_anon(self->size);
	ASSERT_NE(self->area, NULL);
	self->uffd = uffd_open_api((variant->async ? ASYNC_FEATURES : FEATURES) |
				   UFFD_FEATURE_WP_UNPOPULATED);
	if (self->uffd < 0)
		SKIP(return, "userfaultfd with write-protection: %s", strerror(errno));
	ASSERT_EQ(uffd_register(self->uffd, self->area, self->size, false, true, false), 0);
	memset(self->area, variant->zero ? 0 : 0x5a, self->size);
	ASSERT_EQ(protect(self->uffd, self->area, self->size, true), 0);
}

FIXTURE_TEARDOWN(ksm)
{
	if (self->uffd >= 0)
		close(self->uffd);
	if (self->area) {
		ksm_stop();
		write_num(KSM "run", self->run);
		write_num(KSM "use_zero_pages", self->zero_pages);
		munmap(self->area, self->size);
	}
}

/* Are all pages one? */
static bool is_merged(FIXTURE_DATA(ksm) * self)
{
	const unsigned long pfn = pagemap_get_pfn(self->pagemap, self->area);

	for (unsigned long i = 0; i < self->size; i += psize())
		if (pagemap_get_pfn(self->pagemap, self->area + i) != pfn)
			return false;
	return true;
}

TEST_F(ksm, merge)
{
	const unsigned long nr = self->size / psize();
	unsigned long wrong = 0;

	write_num(KSM "use_zero_pages", variant->zero);
	ASSERT_EQ(madvise(self->area, self->size, MADV_MERGEABLE), 0);
	for (int i = 0; i < KSM_SCANS && !is_merged(self); i++)
		ASSERT_EQ(ksm_start(), 0);
	write_num(KSM "run", 0);
	if (!is_merged(self))
		SKIP(return, "KSM has not merged the pages");
	EXPECT_EQ(count_bits(self->pagemap, self->area, self->size), nr) {
		TH_LOG("write-protection lost by merging");
	}
	for (unsigned long i = 0; i < self->size; i += psize())
		wrong += write_signal(self->area + i) != (variant->async ? 0 : SIGBUS);
	EXPECT_EQ(wrong, 0) {
		TH_LOG("write-protection lost: %lu writes not notified", wrong);
	}
	EXPECT_EQ(count_bits(self->pagemap, self->area, self->size), variant->async ? 0 : nr);
}

/* The pages get their own copies again when merging is undone, which is no write either. */
TEST_F(ksm, unmerge)
{
	write_num(KSM "use_zero_pages", variant->zero);
	ASSERT_EQ(madvise(self->area, self->size, MADV_MERGEABLE), 0);
	for (int i = 0; i < KSM_SCANS && !is_merged(self); i++)
		ASSERT_EQ(ksm_start(), 0);
	if (!is_merged(self))
		SKIP(return, "KSM has not merged the pages");
	ASSERT_EQ(madvise(self->area, self->size, MADV_UNMERGEABLE), 0);
	ASSERT_FALSE(is_merged(self));
	EXPECT_EQ(count_bits(self->pagemap, self->area, self->size), self->size / psize()) {
		TH_LOG("write-protection lost by unmerging");
	}
}

int main(int argc, char **argv)
{
	race_adjust_timeouts();
	/*
	 * A fixture whose setup fails is not torn down, nor is one of a test that is killed:
	 * this process restores the hugetlb pools when it exits.  Only root changes them.
	 */
	if (!geteuid())
		hugetlb_save_settings();
	return test_harness_run(argc, argv);
}
