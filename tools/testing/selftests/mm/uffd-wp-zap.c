// SPDX-License-Identifier: GPL-2.0-only
/*
 * What is write-protected through userfaultfd stays so while it is unmapped and
 * mapped again: a page of the page cache must not become writable without the
 * notification.  Guard regions stay, too.
 *
 * userfaultfd is asked for signals, so that a notification is a SIGBUS.  Each case
 * looks at the uffd-wp bit of pagemap and at what a write does.  Only the bit can
 * be seen without changing what is seen, only the signal is what a user relies on.
 *
 * Some races print how many rounds they ran, see race_util.h.
 */
#define _GNU_SOURCE
#include "kselftest_harness.h"
#include <linux/fs.h> /* PAGEMAP_SCAN */
#include <linux/magic.h>
#include <linux/memfd.h>
#include <sys/prctl.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include "../pidfd/pidfd.h" /* PIDFD_SELF */
#include "hugepage_settings.h"
#include "race_util.h"

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif

#define FEATURES (UFFD_FEATURE_SIGBUS | UFFD_FEATURE_WP_HUGETLBFS_SHMEM |	\
		  UFFD_FEATURE_PAGEFAULT_FLAG_WP)
#define ASYNC_FEATURES (UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_HUGETLBFS_SHMEM)
#define KB 1024UL
#define MB (1024 * KB)

/* how many times close_exiting wants to have closed in time */
#define CLOSINGS 20

/* The hugetlb pool of one size, enlarged for a test. */
struct pool {
	unsigned long size, nr;
};

static unsigned long read_pool(unsigned long size, const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), "/sys/kernel/mm/hugepages/hugepages-%lukB/%s", size / KB,
		 name);
	return read_num(path);
}

/* Pages that nobody has, and nobody has reserved. */
static unsigned long pool_available(unsigned long size)
{
	return hugetlb_free_pages(size) - read_pool(size, "resv_hugepages");
}

static void pool_restore(struct pool *pool)
{
	if (pool->size)
		hugetlb_set_nr_pages(pool->size, pool->nr);
	pool->size = 0;
}

/* Have @nr pages available; false if that cannot be, and all is as it was. */
static bool pool_grow(struct pool *pool, unsigned long size, unsigned long nr)
{
	unsigned long sizes[16];
	int nr_sizes = detect_hugetlb_page_sizes(sizes, ARRAY_SIZE(sizes));

	while (nr_sizes > 0 && sizes[nr_sizes - 1] != size)
		nr_sizes--;
	if (!nr_sizes)
		return false;
	if (pool_available(size) >= nr)
		return true;
	/* the pool is root's */
	if (geteuid())
		return false;
	pool->size = size;
	pool->nr = hugetlb_nr_pages(size);
	hugetlb_set_nr_pages(size, pool->nr + nr - pool_available(size));
	if (pool_available(size) >= nr)
		return true;
	pool_restore(pool);
	return false;
}

static int memfd(unsigned long hugetlb)
{
	return memfd_create("uffd-wp-zap", !hugetlb ? 0 :
			    MFD_HUGETLB | __builtin_ctzl(hugetlb) << MFD_HUGE_SHIFT);
}

static int protect(int uffd, char *p, unsigned long size, bool wp)
{
	struct uffdio_writeprotect arg = {
		.range = { (unsigned long)p, size },
		.mode = wp ? UFFDIO_WRITEPROTECT_MODE_WP : 0,
	};

	return ioctl(uffd, UFFDIO_WRITEPROTECT, &arg);
}

FIXTURE(wp)
{
	/* what is mapped by one entry, how many of them, and all of them, in bytes */
	unsigned long unit, nr, size;
	struct pool pool;
	int memfd, uffd, pagemap;
	/* the range that is write-protected, and the same memory, shared and not watched */
	char *p, *other;
};

FIXTURE_VARIANT(wp)
{
	/* its page size in bytes, or 0 for shmem */
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

static int collapse(char *p, unsigned long size)
{
	int ret;

	for (int i = 0; i < 10; i++) {
		ret = madvise(p, size, MADV_COLLAPSE);
		if (!ret || errno != EAGAIN)
			break;
	}
	return ret;
}

FIXTURE_SETUP(wp)
{
	self->uffd = -1;
	self->memfd = -1;
	ASSERT_EQ(catch_faults(), 0);
	self->pagemap = open("/proc/self/pagemap", O_RDONLY);
	ASSERT_GE(self->pagemap, 0);
	if (variant->hugetlb) {
		self->unit = variant->hugetlb;
		self->nr = self->unit >= 32 * MB ? 1 : 3;
		/* a private mapping has a reserve of its own */
		if (!pool_grow(&self->pool, self->unit, 2 * self->nr))
			SKIP(return, "no %lu hugetlb pages of %lu kB", 2 * self->nr,
			     self->unit / KB);
		self->size = self->nr * self->unit;
	} else {
		self->unit = psize();
		self->size = read_pmd_pagesize();
		if (!self->size)
			SKIP(return, "the kernel has no transparent huge pages");
		if (self->size > 32 * MB)
			SKIP(return, "a page table maps %lu MB, too much", self->size / MB);
		self->nr = self->size / self->unit;
	}
	self->memfd = memfd(variant->hugetlb);
	ASSERT_GE(self->memfd, 0);
	ASSERT_EQ(ftruncate(self->memfd, self->size), 0);
	self->p = reserve(self->size);
	self->other = reserve(self->size);
	ASSERT_NE(self->p, NULL);
	ASSERT_NE(self->other, NULL);
	ASSERT_TRUE(map_memfd(self->p, self->size, self->memfd, variant->flags));
	ASSERT_TRUE(map_memfd(self->other, self->size, self->memfd, MAP_SHARED));
	self->uffd = open_uffd(FEATURES);
	if (self->uffd < 0)
		SKIP(pool_restore(&self->pool); return,
		     "userfaultfd with write-protection of files: %s", strerror(errno));
	ASSERT_EQ(uffd_register(self->uffd, self->p, self->size, false, true, false), 0);
}

FIXTURE_TEARDOWN(wp)
{
	if (self->uffd >= 0)
		close(self->uffd);
	if (self->p)
		munmap(self->p, self->size);
	if (self->other)
		munmap(self->other, self->size);
	if (self->memfd >= 0)
		close(self->memfd);
	pool_restore(&self->pool);
}

/* Fill the page cache through the other mapping, which is left unmapped if it is to be. */
static void fill(struct __test_metadata *_metadata, FIXTURE_DATA(wp) * self, bool large)
{
	for (unsigned long i = 0; i < self->nr; i++)
		self->other[i * self->unit] = 0x5a;
	if (large && collapse(self->other, self->size))
		SKIP(exit(KSFT_SKIP), "MADV_COLLAPSE of a memfd: %s", strerror(errno));
	if (large)
		ASSERT_TRUE(check_huge_shmem(self->other, self->size, 1, self->size));
}

/* Map what is in the page cache, and write-protect it. */
static void fill_and_protect(struct __test_metadata *_metadata, FIXTURE_DATA(wp) * self,
			     const FIXTURE_VARIANT(wp) * variant)
{
	fill(_metadata, self, variant->large);
	for (unsigned long i = 0; i < self->nr; i++)
		ASSERT_EQ(self->p[i * self->unit], 0x5a);
	ASSERT_EQ(protect(self->uffd, self->p, self->size, true), 0);
	/* A page table that maps small parts of a large folio. */
	for (unsigned long i = 0; i < self->nr; i++)
		ASSERT_EQ(self->p[i * self->unit], 0x5a);
}

static bool is_protected(FIXTURE_DATA(wp) * self, unsigned long i)
{
	return pagemap_get_entry(self->pagemap, self->p + i * self->unit) & PM_UFFD_WP;
}

static void expect_bits(struct __test_metadata *_metadata, FIXTURE_DATA(wp) * self)
{
	unsigned long lost = 0;

	for (unsigned long i = 0; i < self->nr; i++)
		lost += !is_protected(self, i);
	EXPECT_EQ(lost, 0) {
		TH_LOG("write-protection lost: %lu of %lu have no uffd-wp bit", lost, self->nr);
	}
}

/* All is write-protected, and can be read: as @content. */
static void expect_protected(struct __test_metadata *_metadata, FIXTURE_DATA(wp) * self,
			     char content)
{
	unsigned long unreadable = 0, wrong = 0, silent = 0;

	expect_bits(_metadata, self);
	for (unsigned long i = 0; i < self->nr; i++) {
		char *p = self->p + i * self->unit;

		if (read_signal(p))
			unreadable++;
		else
			wrong += *p != content;
	}
	EXPECT_EQ(unreadable, 0);
	EXPECT_EQ(wrong, 0);
	/* Mapped by reading. */
	expect_bits(_metadata, self);
	for (unsigned long i = 0; i < self->nr; i++)
		silent += write_signal(self->p + i * self->unit) != SIGBUS;
	EXPECT_EQ(silent, 0) {
		TH_LOG("write-protection lost: %lu of %lu writes not notified", silent, self->nr);
	}
}

/* The first @nr are not write-protected. */
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
		notified += write_signal(self->p + i * self->unit) != 0;
	EXPECT_EQ(notified, 0) {
		TH_LOG("stale: %lu of %lu writes notified", notified, nr);
	}
}

/* MADV_DONTNEED, of what is mapped and of what has markers only. */
TEST_F(wp, dontneed)
{
	fill_and_protect(_metadata, self, variant);
	for (int i = 0; i < 2; i++) {
		ASSERT_EQ(madvise(self->p, self->size, MADV_DONTNEED), 0);
		expect_bits(_metadata, self);
	}
	expect_protected(_metadata, self, 0x5a);
}

/* As soon as they are write-protected, large folios mapped by the pmd are mapped by ptes. */
TEST_F(wp, protect)
{
	fill(_metadata, self, variant->large);
	for (unsigned long i = 0; i < self->nr; i++)
		ASSERT_EQ(self->p[i * self->unit], 0x5a);
	if (variant->large)
		ASSERT_TRUE(check_huge_shmem(self->p, self->size, 1, self->size));
	ASSERT_EQ(protect(self->uffd, self->p, self->size, true), 0);
	expect_protected(_metadata, self, 0x5a);
}

/* What is not mapped is write-protected when it comes, without a page table at first. */
TEST_F(wp, unpopulated)
{
	ASSERT_EQ(protect(self->uffd, self->p, self->size, true), 0);
	fill(_metadata, self, variant->large);
	expect_protected(_metadata, self, 0x5a);
}

TEST_F(wp, unpopulated_dontneed)
{
	ASSERT_EQ(protect(self->uffd, self->p, self->size, true), 0);
	ASSERT_EQ(madvise(self->p, self->size, MADV_DONTNEED), 0);
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
	ASSERT_EQ(protect(self->uffd, self->p, self->size, true), 0);
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
	ASSERT_EQ(madvise(self->p, self->size, MADV_REMOVE), 0);
	expect_protected(_metadata, self, 0);
}

/* A hole smaller than a page is zeroes written to it, and the page stays. */
TEST_F(wp, punch_part)
{
	fill_and_protect(_metadata, self, variant);
	for (unsigned long i = 0; i < self->nr; i++)
		ASSERT_EQ(fallocate(self->memfd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				    i * self->unit, self->unit / 2), 0);
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
 * A new mapping at the same address has nothing of the old one.  The other half
 * of the old one keeps the page table.
 */
TEST_F(wp, munmap)
{
	unsigned long nr = (self->nr + 1) / 2, size = nr * self->unit;

	fill_and_protect(_metadata, self, variant);
	/* one as a marker */
	ASSERT_EQ(madvise(self->p, self->unit, MADV_DONTNEED), 0);
	ASSERT_EQ(munmap(self->p, size), 0);
	ASSERT_TRUE(map_memfd(self->p, size, self->memfd, variant->flags));
	ASSERT_EQ(uffd_register(self->uffd, self->p, size, false, true, false), 0);
	expect_unprotected(_metadata, self, nr);
}

TEST_F(wp, unregister)
{
	fill_and_protect(_metadata, self, variant);
	ASSERT_EQ(madvise(self->p, self->unit, MADV_DONTNEED), 0);
	ASSERT_EQ(uffd_unregister(self->uffd, self->p, self->size), 0);
	ASSERT_EQ(uffd_register(self->uffd, self->p, self->size, false, true, false), 0);
	expect_unprotected(_metadata, self, self->nr);
}

TEST_F(wp, unprotect)
{
	fill_and_protect(_metadata, self, variant);
	ASSERT_EQ(madvise(self->p, self->unit, MADV_DONTNEED), 0);
	ASSERT_EQ(protect(self->uffd, self->p, self->size, false), 0);
	expect_unprotected(_metadata, self, self->nr);
}

/* The page table that has the markers stays when the page cache is collapsed elsewhere. */
TEST_F(wp, collapse_elsewhere)
{
	if (variant->hugetlb)
		SKIP(return, "hugetlb is not collapsed");
	fill_and_protect(_metadata, self, variant);
	ASSERT_EQ(madvise(self->p, self->size, MADV_DONTNEED), 0);
	/* small folios again */
	ASSERT_EQ(fallocate(self->memfd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
			    self->size), 0);
	fill(_metadata, self, false);
	if (collapse(self->other, self->size))
		SKIP(return, "MADV_COLLAPSE of a memfd: %s", strerror(errno));
	ASSERT_TRUE(check_huge_shmem(self->other, self->size, 1, self->size));
	expect_protected(_metadata, self, 0x5a);
}

TEST_F(wp, pageout)
{
	unsigned long out = 0;

	if (variant->hugetlb)
		SKIP(return, "hugetlb is not swapped");
	fill_and_protect(_metadata, self, variant);
	/* what is mapped twice is not paged out */
	ASSERT_EQ(munmap(self->other, self->size), 0);
	self->other = NULL;
	ASSERT_EQ(madvise(self->p, self->size, MADV_PAGEOUT), 0);
	for (unsigned long i = 0; i < self->nr; i++)
		out += !(pagemap_get_entry(self->pagemap, self->p + i * self->unit) & PM_PRESENT);
	TH_LOG("%lu of %lu pages out", out, self->nr);
	expect_protected(_metadata, self, 0x5a);
	if (__test_passed(_metadata) && !out)
		SKIP(return, "nothing was paged out; is there swap?");
}

static void guard(struct __test_metadata *_metadata, FIXTURE_DATA(wp) * self, int advice)
{
	ASSERT_EQ(madvise(self->p, self->size, advice), 0);
}

/*
 * Guard regions where memory is write-protected, mapped or not: MADV_GUARD_INSTALL,
 * also by process_madvise(), comes to an end, and when the guards are removed what
 * was write-protected is.
 */
static void guard_install(struct __test_metadata *_metadata, FIXTURE_DATA(wp) * self,
			  const FIXTURE_VARIANT(wp) * variant, bool dontneed)
{
	unsigned long unguarded = 0;
	int status;
	pid_t pid;

	fill_and_protect(_metadata, self, variant);
	if (dontneed)
		ASSERT_EQ(madvise(self->p, self->size, MADV_DONTNEED), 0);
	/* the child is there to be killed */
	pid = fork();
	ASSERT_GE(pid, 0);
	if (!pid) {
		int uffd = open_uffd(FEATURES);

		/* The child's VMA is not watched, the fork left that out. */
		if (uffd < 0 || uffd_register(uffd, self->p, self->size, false, true, false) ||
		    protect(uffd, self->p, self->size, true))
			_exit(2);
		if (!dontneed)
			for (unsigned long i = 0; i < self->nr; i++)
				FORCE_READ(self->p[i * self->unit]);
		alarm(10);
		if (dontneed) {
			struct iovec iov = { self->p, self->size };

			_exit(syscall(__NR_process_madvise, PIDFD_SELF, &iov, 1,
				      MADV_GUARD_INSTALL, 0) != (long)self->size);
		}
		_exit(!!madvise(self->p, self->size, MADV_GUARD_INSTALL));
	}
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	ASSERT_FALSE(WIFSIGNALED(status)) {
		TH_LOG("MADV_GUARD_INSTALL did not come to an end");
	}
	ASSERT_EQ(WEXITSTATUS(status), 0);

	guard(_metadata, self, MADV_GUARD_INSTALL);
	for (unsigned long i = 0; i < self->nr; i++)
		unguarded += read_signal(self->p + i * self->unit) != SIGSEGV;
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
	ASSERT_EQ(protect(self->uffd, self->p, self->size, true), 0);
	ASSERT_EQ(read_signal(self->p), SIGSEGV);
	guard(_metadata, self, MADV_GUARD_REMOVE);
	expect_protected(_metadata, self, 0x5a);
}

/* No longer write-protected: the guards stay. */
static void guard_unprotect(struct __test_metadata *_metadata, FIXTURE_DATA(wp) * self,
			    bool unregister)
{
	fill(_metadata, self, false);
	guard(_metadata, self, MADV_GUARD_INSTALL);
	ASSERT_EQ(protect(self->uffd, self->p, self->size, true), 0);
	if (unregister) {
		ASSERT_EQ(uffd_unregister(self->uffd, self->p, self->size), 0);
		ASSERT_EQ(uffd_register(self->uffd, self->p, self->size, false, true, false), 0);
	} else {
		ASSERT_EQ(protect(self->uffd, self->p, self->size, false), 0);
	}
	for (unsigned long i = 0; i < self->nr; i++)
		ASSERT_EQ(read_signal(self->p + i * self->unit), SIGSEGV);
	guard(_metadata, self, MADV_GUARD_REMOVE);
	expect_unprotected(_metadata, self, self->nr);
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

/* Guards go along with mremap() and fork(), the write-protection does not. */
TEST_F(wp, guard_mremap_fork)
{
	char *moved = self->other;
	int status;
	pid_t pid;

	if (variant->hugetlb)
		SKIP(return, "hugetlb has no guard regions");
	fill(_metadata, self, false);
	guard(_metadata, self, MADV_GUARD_INSTALL);
	ASSERT_EQ(protect(self->uffd, self->p, self->size, true), 0);
	pid = fork();
	ASSERT_GE(pid, 0);
	if (!pid) {
		int pagemap = open("/proc/self/pagemap", O_RDONLY);
		unsigned long wrong = 0;

		for (unsigned long i = 0; i < self->nr; i++) {
			char *p = self->p + i * self->unit;

			wrong += read_signal(p) != SIGSEGV;
			wrong += !!(pagemap_get_entry(pagemap, p) & PM_UFFD_WP);
		}
		_exit(!!wrong);
	}
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_EQ(status, 0);

	ASSERT_EQ(mremap(self->p, self->size, self->size, MREMAP_MAYMOVE | MREMAP_FIXED, moved),
		  moved);
	self->p = moved;
	self->other = NULL;
	for (unsigned long i = 0; i < self->nr; i++) {
		ASSERT_EQ(read_signal(self->p + i * self->unit), SIGSEGV);
		ASSERT_FALSE(is_protected(self, i));
	}
	guard(_metadata, self, MADV_GUARD_REMOVE);
	expect_unprotected(_metadata, self, self->nr);
}

/* Guards stay until what they guard is unmapped. */
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
	ASSERT_EQ(madvise(self->p, self->size, MADV_DONTNEED), 0);
	for (unsigned long i = 0; i < self->nr; i++)
		ASSERT_EQ(read_signal(self->p + i * self->unit), SIGSEGV);
	/* the other half keeps the page table */
	ASSERT_EQ(munmap(self->p, self->size / 2), 0);
	ASSERT_TRUE(map_memfd(self->p, self->size / 2, self->memfd, variant->flags));
	for (unsigned long i = 0; i < self->nr / 2; i++)
		ASSERT_EQ(read_signal(self->p + i * self->unit), 0);
}

/*
 * One page of a large folio is poisoned, the folio cannot be split, and somebody
 * touches that page: the others, and what guards them elsewhere, stay as they are.
 */
TEST_F(wp, hwpoison)
{
	unsigned long lost = 0, silent = 0, bad = 5, guarded = 7, pfn, healthy;
	uint64_t flags;
	int kpageflags;
	struct iovec iov = { .iov_base = self->p, .iov_len = 1 };
	char *poisoned = self->p + bad * self->unit, *other;
	int fds[2];

	if (!variant->large)
		SKIP(return, "needs a large folio of shmem");
	if (geteuid())
		SKIP(return, "MADV_HWPOISON is for root");
	fill_and_protect(_metadata, self, variant);
	other = self->other + guarded * self->unit;
	ASSERT_EQ(madvise(other, self->unit, MADV_GUARD_INSTALL), 0);
	/* a reference to the first page is one to the folio */
	ASSERT_EQ(pipe(fds), 0);
	ASSERT_EQ(vmsplice(fds[1], &iov, 1, 0), 1);
	pfn = pagemap_get_pfn(self->pagemap, poisoned);
	healthy = pagemap_get_pfn(self->pagemap, self->p);
	if (!hwpoison(poisoned, self->unit))
		SKIP(return, "MADV_HWPOISON: %s", strerror(errno));
	kpageflags = open("/proc/kpageflags", O_RDONLY);
	ASSERT_GE(kpageflags, 0);
	ASSERT_EQ(pageflags_get(healthy, kpageflags, &flags), 0);
	close(kpageflags);
	if (!(flags & KPF_THP))
		SKIP(return, "the folio was split");
	ASSERT_EQ(madvise(self->p, self->size, MADV_DONTNEED), 0);
	/* mapped again, but for the poisoned one */
	for (unsigned long i = 0; i < self->nr; i++)
		if (i != bad)
			ASSERT_EQ(read_signal(self->p + i * self->unit), 0);

	ASSERT_EQ(read_signal(poisoned), SIGBUS);
	for (unsigned long i = 0; i < self->nr; i++)
		lost += i != bad && !is_protected(self, i);
	for (unsigned long i = 0; i < self->nr; i++)
		silent += i != bad && write_signal(self->p + i * self->unit) != SIGBUS;
	EXPECT_EQ(lost, 0) {
		TH_LOG("write-protection lost: %lu healthy pages have no uffd-wp bit", lost);
	}
	EXPECT_EQ(silent, 0) {
		TH_LOG("write-protection lost: %lu writes to healthy pages not notified", silent);
	}
	EXPECT_EQ(read_signal(other), SIGSEGV) {
		TH_LOG("guard region lost");
	}
	/* what is used cannot be unpoisoned */
	close(fds[0]);
	close(fds[1]);
	munmap(self->p, self->size);
	munmap(self->other, self->size);
	close(self->memfd);
	self->p = NULL;
	self->other = NULL;
	self->memfd = -1;
	if (unpoison_memory(pfn))
		TH_LOG("page %lx stays poisoned", pfn);
}

/*
 * A thread punches out or truncates the whole file, while the last page is
 * compared with what was written before, and exchanged if it is still that: such
 * an exchange is a write to a write-protected page that was not notified.
 */
struct removal {
	int memfd;
	unsigned long size;
	bool truncate;
};

static void remove_pages(void *data)
{
	struct removal *r = data;

	if (r->truncate)
		ftruncate(r->memfd, 0);
	else
		fallocate(r->memfd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, r->size);
}

/* 1 if @word was @tag and is not any more, 0 if it was not, -1 on a signal. */
static int exchange(unsigned long *word, unsigned long tag)
{
	int ret = -1;

	if (!sigsetjmp(jump, 1)) {
		jump_set = 1;
		ret = __sync_bool_compare_and_swap(word, tag, 1);
	}
	jump_set = 0;
	return ret;
}

FIXTURE(race)
{
	unsigned long unit, size;
	struct pool pool;
	int memfd, uffd;
	char *p, *other;
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
	ASSERT_EQ(catch_faults(), 0);
	self->unit = variant->hugetlb ? default_huge_page_size() : psize();
	self->size = nr * self->unit;
	if (variant->hugetlb && (self->unit > 32 * MB || !pool_grow(&self->pool, self->unit, nr)))
		SKIP(return, "no %lu hugetlb pages of at most 32 MB", nr);
	self->memfd = memfd(variant->hugetlb ? self->unit : 0);
	ASSERT_GE(self->memfd, 0);
	ASSERT_EQ(ftruncate(self->memfd, self->size), 0);
	self->p = reserve(self->size);
	self->other = reserve(self->size);
	ASSERT_NE(self->p, NULL);
	ASSERT_NE(self->other, NULL);
	ASSERT_TRUE(map_memfd(self->p, self->size, self->memfd, MAP_SHARED));
	ASSERT_TRUE(map_memfd(self->other, self->size, self->memfd, MAP_SHARED));
	self->uffd = open_uffd(FEATURES);
	if (self->uffd < 0)
		SKIP(pool_restore(&self->pool); return,
		     "userfaultfd with write-protection of files: %s", strerror(errno));
	ASSERT_EQ(uffd_register(self->uffd, self->p, self->size, false, true, false), 0);
}

FIXTURE_TEARDOWN(race)
{
	if (self->uffd >= 0)
		close(self->uffd);
	if (self->p)
		munmap(self->p, self->size);
	if (self->other)
		munmap(self->other, self->size);
	if (self->memfd >= 0)
		close(self->memfd);
	pool_restore(&self->pool);
}

static void removal_race(struct __test_metadata *_metadata, FIXTURE_DATA(race) * self,
			 bool truncate)
{
	struct removal removal = { self->memfd, self->size, truncate };
	struct race race = { .theirs = remove_pages, .data = &removal };
	unsigned long *last = (unsigned long *)(self->p + self->size - self->unit);
	unsigned long tag = 1, attempts = 0, violations = 0;

	if (!race_start(&race))
		SKIP(return, "needs two CPUs");
	while (race_on(&race)) {
		tag += 2;
		if (truncate)
			ASSERT_EQ(ftruncate(self->memfd, self->size), 0);
		for (unsigned long i = 0; i < self->size; i += self->unit)
			*(unsigned long *)(self->other + i) = tag;
		ASSERT_EQ(protect(self->uffd, self->p, self->size, true), 0);
		/* mapped, so that there is something to unmap */
		for (unsigned long i = 0; i < self->size; i += self->unit)
			FORCE_READ(self->p[i]);
		race_begin(&race);
		do {
			attempts++;
			if (exchange(last, tag) == 1) {
				violations++;
				break;
			}
		} while (atomic_load(&race.done) != race.rounds);
		race_end(&race);
	}
	race_stop(&race);
	TH_LOG("%lu rounds, %lu overlaps, %lu attempts to write, %lu of them not notified",
	       race.rounds, race.overlaps, attempts, violations);
	EXPECT_EQ(violations, 0) {
		TH_LOG("write-protection lost in %lu rounds", violations);
	}
	if (__test_passed(_metadata) && not_raced(&race))
		SKIP(return, "%s", not_raced(&race));
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
 * Asynchronous tracking becomes write-protection with notifications while pages are
 * removed: what was protected by the latter stays so, though a removal began when it
 * was a write to the former.
 */
TEST_F_TIMEOUT(race, switch_mode, RACE_TIMEOUT)
{
	struct removal removal = { self->memfd, self->size, false };
	struct race race = { .theirs = remove_pages, .data = &removal };
	int pagemap = open("/proc/self/pagemap", O_RDONLY);
	int async = open_uffd(ASYNC_FEATURES);
	unsigned long violations = 0;

	if (variant->hugetlb)
		SKIP(return, "registration waits for the removal, which may drop what it protects");
	ASSERT_GE(pagemap, 0);
	if (async < 0)
		SKIP(return, "userfaultfd with WP_ASYNC: %s", strerror(errno));
	if (!race_start(&race))
		SKIP(return, "needs two CPUs");
	while (race_on(&race)) {
		unsigned long lost = 0;
		int ret;

		ASSERT_EQ(uffd_unregister(self->uffd, self->p, self->size), 0);
		ASSERT_EQ(uffd_register(async, self->p, self->size, false, true, false), 0);
		for (unsigned long i = 0; i < self->size; i += self->unit)
			__atomic_store_n(self->p + i, 1, __ATOMIC_RELAXED);
		ASSERT_EQ(protect(async, self->p, self->size, true), 0);
		race_begin(&race);
		ret = uffd_unregister(async, self->p, self->size) ?:
		      uffd_register(self->uffd, self->p, self->size, false, true, false) ?:
		      protect(self->uffd, self->p, self->size, true);
		race_end(&race);
		ASSERT_EQ(ret, 0);
		for (unsigned long i = 0; i < self->size; i += self->unit)
			lost += !(pagemap_get_entry(pagemap, self->p + i) & PM_UFFD_WP);
		violations += !!lost;
	}
	race_stop(&race);
	TH_LOG("%lu rounds, %lu overlaps, write-protection lost in %lu", race.rounds,
	       race.overlaps, violations);
	EXPECT_EQ(violations, 0) {
		TH_LOG("write-protection lost in %lu rounds", violations);
	}
	close(pagemap);
	close(async);
	if (__test_passed(_metadata) && not_raced(&race))
		SKIP(return, "%s", not_raced(&race));
}

/*
 * A process that has @self->other tracked asynchronously, by a userfaultfd that is this
 * process's as much: they share their files.  It puts that into @uffd, which is shared
 * memory, -1 if it failed, and stops.
 */
static pid_t fork_tracked(FIXTURE_DATA(race) * self, int *uffd)
{
	/* takes a while to be torn down, and lies below, so that it is torn down before */
	const unsigned long ballast = 4 * MB;
	int status;
	pid_t pid;
	char *p;

	*uffd = -1;
	pid = syscall(__NR_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0);
	if (!pid) {
		int fd = open_uffd(ASYNC_FEATURES);

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (unsigned long i = 0; i < self->size; i += self->unit)
			FORCE_READ(self->other[i]);
		p = mmap(NULL, ballast, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (p != MAP_FAILED && p < self->other && !madvise(p, ballast, MADV_NOHUGEPAGE) &&
		    !uffd_register(fd, self->other, self->size, false, true, false) &&
		    !protect(fd, self->other, self->size, true)) {
			memset(p, 1, ballast);
			*uffd = fd;
		}
		raise(SIGSTOP);
		_exit(1);
	}
	if (pid > 0 && (waitpid(pid, &status, WUNTRACED) != pid || !WIFSTOPPED(status)))
		return -1;
	return pid;
}

/* Wait until @pid, which was killed, has let its memory go; it takes longer to tear it down. */
static bool wait_exiting(pid_t pid)
{
	unsigned long pages = 1;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/statm", pid);
	while (pages) {
		FILE *f = fopen(path, "r");
		bool ok = f && fscanf(f, "%lu", &pages) == 1;

		if (f)
			fclose(f);
		if (!ok)
			return false;
	}
	return true;
}

/*
 * A userfaultfd is closed, and pages are removed from the file that it tracked, while
 * the memory of the process is torn down: the removal must not ask what was freed.
 * Only KASAN sees who does.
 */
TEST_F_TIMEOUT(race, close_exiting, RACE_TIMEOUT)
{
	struct removal removal = { self->memfd, self->size, false };
	struct race race = { .began = now_ns() };
	int *uffd = mmap(NULL, psize(), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int async = open_uffd(ASYNC_FEATURES);

	ASSERT_NE(uffd, MAP_FAILED);
	if (async < 0)
		SKIP(return, "userfaultfd with WP_ASYNC: %s", strerror(errno));
	close(async);
	/* A round takes long, and nearly all of them overlap. */
	while ((race_rounds() || race.overlaps < CLOSINGS) && race_on(&race)) {
		pid_t pid, ended;
		int status;

		race.rounds++;
		for (unsigned long i = 0; i < self->size; i += self->unit)
			__atomic_store_n(self->other + i, 1, __ATOMIC_RELAXED);
		pid = fork_tracked(self, uffd);
		ASSERT_GT(pid, 0);
		ASSERT_EQ(kill(pid, SIGKILL), 0);
		ASSERT_GE(*uffd, 0);
		ASSERT_TRUE(wait_exiting(pid));
		/* closed before it has ended, or just then */
		ended = waitpid(pid, &status, WNOHANG);
		close(*uffd);
		remove_pages(&removal);
		race.overlaps += !ended;
		if (!ended)
			ASSERT_EQ(waitpid(pid, &status, 0), pid);
		ASSERT_TRUE(WIFSIGNALED(status));
	}
	TH_LOG("%lu rounds, %lu overlaps", race.rounds, race.overlaps);
	if (race.overlaps < CLOSINGS)
		SKIP(return, "only %lu of %lu rounds overlapped", race.overlaps, race.rounds);
}

/*
 * Asynchronous tracking: what PAGEMAP_SCAN does not report as written since it was
 * write-protected is what it was.
 */
FIXTURE(async)
{
	unsigned long unit, nr, size;
	struct pool pool;
	int memfd, uffd, pagemap;
	char *p;
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
	ASSERT_EQ(catch_faults(), 0);
	self->pagemap = open("/proc/self/pagemap", O_RDONLY);
	ASSERT_GE(self->pagemap, 0);
	self->unit = variant->hugetlb ? default_huge_page_size() : psize();
	self->nr = 4;
	self->size = self->nr * self->unit;
	if (variant->hugetlb &&
	    (self->unit > 32 * MB || !pool_grow(&self->pool, self->unit, 2 * self->nr)))
		SKIP(return, "no %lu hugetlb pages of at most 32 MB", 2 * self->nr);
	self->memfd = memfd(variant->hugetlb ? self->unit : 0);
	ASSERT_GE(self->memfd, 0);
	ASSERT_EQ(ftruncate(self->memfd, self->size), 0);
	self->p = reserve(self->size);
	ASSERT_NE(self->p, NULL);
	ASSERT_TRUE(map_memfd(self->p, self->size, self->memfd, variant->flags));
	self->uffd = open_uffd(ASYNC_FEATURES);
	if (self->uffd < 0)
		SKIP(pool_restore(&self->pool); return,
		     "userfaultfd with WP_ASYNC: %s", strerror(errno));
	ASSERT_EQ(uffd_register(self->uffd, self->p, self->size, false, true, false), 0);
	for (unsigned long i = 0; i < self->nr; i++)
		self->p[i * self->unit] = 0x5a;
	ASSERT_EQ(protect(self->uffd, self->p, self->size, true), 0);
}

FIXTURE_TEARDOWN(async)
{
	if (self->uffd >= 0)
		close(self->uffd);
	if (self->p)
		munmap(self->p, self->size);
	if (self->memfd >= 0)
		close(self->memfd);
	pool_restore(&self->pool);
}

/* Is unit @i reported as written?  Negative on error. */
static int written(FIXTURE_DATA(async) * self, unsigned long i)
{
	struct page_region region = { };
	struct pm_scan_arg arg = {
		.size = sizeof(arg),
		.start = (unsigned long)self->p + i * self->unit,
		.end = (unsigned long)self->p + (i + 1) * self->unit,
		.vec = (unsigned long)&region,
		.vec_len = 1,
		.category_mask = PAGE_IS_WRITTEN,
		.return_mask = PAGE_IS_WRITTEN,
	};

	return ioctl(self->pagemap, PAGEMAP_SCAN, &arg);
}

/* What was written stays written when it is unmapped, what was not does not become so. */
TEST_F(async, dontneed_written)
{
	if (variant->flags != MAP_SHARED)
		SKIP(return, "see dontneed_private");
	self->p[0] = 1;
	ASSERT_EQ(written(self, 0), 1);
	ASSERT_EQ(written(self, 1), 0);
	ASSERT_EQ(madvise(self->p, self->size, MADV_DONTNEED), 0);
	EXPECT_EQ(written(self, 1), 0);
	EXPECT_EQ(written(self, 0), 1) {
		TH_LOG("the write is forgotten");
	}
}

/* A private mapping loses its own pages, and gets those of the file. */
TEST_F(async, dontneed_private)
{
	if (variant->flags != MAP_PRIVATE)
		SKIP(return, "see dontneed_written");
	ASSERT_EQ(written(self, 0), 0);
	ASSERT_EQ(madvise(self->p, self->unit, MADV_DONTNEED), 0);
	EXPECT_EQ(written(self, 0), 1) {
		TH_LOG("new contents, not reported as written");
	}
	EXPECT_EQ(written(self, 1), 0);
	EXPECT_EQ(self->p[0], 0);
	EXPECT_EQ(self->p[self->unit], 0x5a);
}

/* The same of what was swapped out. */
TEST_F(async, pageout_dontneed_private)
{
	if (variant->flags != MAP_PRIVATE || variant->hugetlb)
		SKIP(return, "for pages of a private mapping that can be swapped");
	ASSERT_EQ(madvise(self->p, self->size, MADV_PAGEOUT), 0);
	if (!pagemap_is_swapped(self->pagemap, self->p))
		SKIP(return, "nothing was paged out; is there swap?");
	ASSERT_EQ(written(self, 0), 0);
	ASSERT_EQ(madvise(self->p, self->unit, MADV_DONTNEED), 0);
	EXPECT_EQ(written(self, 0), 1) {
		TH_LOG("new contents, not reported as written");
	}
	EXPECT_EQ(written(self, 1), 0);
}

/* What is removed from the file has new contents. */
static void removed_written(struct __test_metadata *_metadata, FIXTURE_DATA(async) * self,
			    bool truncate)
{
	ASSERT_EQ(written(self, self->nr - 1), 0);
	if (truncate) {
		ASSERT_EQ(ftruncate(self->memfd, self->size - self->unit), 0);
		ASSERT_EQ(ftruncate(self->memfd, self->size), 0);
	} else {
		ASSERT_EQ(madvise(self->p + self->size - self->unit, self->unit, MADV_REMOVE), 0);
	}
	EXPECT_EQ(written(self, self->nr - 1), 1) {
		TH_LOG("new contents, not reported as written");
	}
	EXPECT_EQ(self->p[self->size - self->unit], 0);
	EXPECT_EQ(written(self, self->nr - 1), 1);
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

/* What nobody has touched, and has no page table, and cannot be write-protected in part. */
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

	ASSERT_EQ(munmap(self->p, self->size), 0);
	/* nothing else is so near that it has a page table with an entry for this */
	self->p = reserve(1024 * MB);
	ASSERT_NE(self->p, NULL);
	ASSERT_TRUE(map_memfd(self->p, self->size, self->memfd, variant->flags));
	ASSERT_EQ(uffd_register(self->uffd, self->p, self->size, false, true, false), 0);
	arg.start = (unsigned long)self->p;
	arg.end = (unsigned long)self->p + self->unit;
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
 * The owner of a hugetlb reserve writes, the pool is empty: it takes back the page
 * that it shares with a child. Another child has an entry of its own there, which
 * is none of the owner's business.
 */
FIXTURE(cow)
{
	unsigned long unit;
	struct pool pool;
	int memfd;
	char *p;
	/* between us and the first child */
	atomic_int *stage;
	pid_t child;
};

FIXTURE_SETUP(cow)
{
	if (geteuid())
		SKIP(return, "the hugetlb pool is root's");
	ASSERT_EQ(catch_faults(), 0);
	self->memfd = -1;
	self->unit = default_huge_page_size();
	if (!self->unit || self->unit > 32 * MB || !pool_grow(&self->pool, self->unit, 2))
		SKIP(return, "no 2 hugetlb pages of at most 32 MB");
	if (read_pool(self->unit, "nr_overcommit_hugepages"))
		SKIP(pool_restore(&self->pool); return, "the pool may be overcommitted");
	/* the tests resize it */
	self->pool.nr = self->pool.size ? self->pool.nr : hugetlb_nr_pages(self->unit);
	self->pool.size = self->unit;
	self->stage = mmap(NULL, psize(), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
			   -1, 0);
	ASSERT_NE(self->stage, MAP_FAILED);
	self->memfd = memfd(self->unit);
	ASSERT_GE(self->memfd, 0);
	ASSERT_EQ(ftruncate(self->memfd, self->unit), 0);
	self->p = mmap(NULL, self->unit, PROT_READ | PROT_WRITE, MAP_PRIVATE, self->memfd, 0);
	ASSERT_NE(self->p, MAP_FAILED);
	self->p[0] = 'p';
}

FIXTURE_TEARDOWN(cow)
{
	if (self->child > 0) {
		kill(self->child, SIGKILL);
		waitpid(self->child, NULL, 0);
	}
	if (self->p)
		munmap(self->p, self->unit);
	if (self->memfd >= 0)
		close(self->memfd);
	pool_restore(&self->pool);
}

static bool has_ended(pid_t pid)
{
	siginfo_t info = { };

	return !waitid(P_PID, pid, &info, WEXITED | WNOHANG | WNOWAIT) && info.si_pid == pid;
}

static void stage_wait(atomic_int *stage, int value)
{
	while (atomic_load(stage) != value)
		sched_yield();
}

/* A child that shares our page, and does nothing. */
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

static bool is_unmapped(int pagemap, char *p)
{
	unsigned long long entry;

	return pread(pagemap, &entry, sizeof(entry), (unsigned long)p / psize() * sizeof(entry)) ==
	       sizeof(entry) && !(entry & PM_PRESENT);
}

/* Write, with an empty pool, to the page that we share with that child. */
static void take_back(struct __test_metadata *_metadata, FIXTURE_DATA(cow) * self, pid_t sharer)
{
	int pagemap = open_pagemap(sharer);
	bool taken;

	ASSERT_GE(pagemap, 0);
	self->p[0] = 'w';
	taken = is_unmapped(pagemap, self->p);
	close(pagemap);
	kill(sharer, SIGKILL);
	ASSERT_EQ(waitpid(sharer, NULL, 0), sharer);
	ASSERT_TRUE(taken) {
		TH_LOG("the page was not taken back");
	}
}

/* False if others have reserved pages of it. */
static bool empty_pool(unsigned long unit)
{
	hugetlb_set_nr_pages(unit, hugetlb_nr_pages(unit) - hugetlb_free_pages(unit));
	return !hugetlb_free_pages(unit);
}

/* The child installs its entry by @install, and finds SIGBUS there after the write. */
static void own_entry(struct __test_metadata *_metadata, FIXTURE_DATA(cow) * self,
		      bool (*install)(char *p, unsigned long size))
{
	pid_t sharer;
	int status;

	self->child = fork();
	ASSERT_GE(self->child, 0);
	if (!self->child) {
		int signal;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		/* its own page */
		self->p[0] = 'c';
		if (!install(self->p, self->unit))
			_exit(4);
		atomic_store(self->stage, 1);
		stage_wait(self->stage, 2);
		signal = read_signal(self->p);
		_exit(signal == SIGBUS ? 0 : signal ? 2 : 1);
	}
	while (atomic_load(self->stage) != 1) {
		if (waitpid(self->child, &status, WNOHANG) == self->child) {
			self->child = 0;
			ASSERT_EQ(status, 4 << 8) {
				TH_LOG("the child died (%x)", status);
			}
			SKIP(return, "the child could not have its entry");
		}
		sched_yield();
	}
	sharer = fork_sharer();
	ASSERT_GE(sharer, 0);
	if (!empty_pool(self->unit)) {
		kill(sharer, SIGKILL);
		SKIP(return, "others have reserved hugetlb pages");
	}
	take_back(_metadata, self, sharer);
	/* so that what the child finds is not an empty pool */
	hugetlb_set_nr_pages(self->unit, hugetlb_nr_pages(self->unit) + 2);
	if (!hugetlb_free_pages(self->unit))
		SKIP(return, "no free hugetlb page for the child");
	atomic_store(self->stage, 2);
	ASSERT_EQ(waitpid(self->child, &status, 0), self->child);
	self->child = 0;
	EXPECT_EQ(status, 0) {
		TH_LOG("the child's own entry is lost (%x)", status);
	}
}

static bool install_poison(char *p, unsigned long size)
{
	struct uffdio_poison poison = { .range = { (unsigned long)p, size } };
	int uffd = open_uffd(UFFD_FEATURE_POISON);

	/* The marker stays when userfaultfd has left. */
	return uffd >= 0 && !madvise(p, size, MADV_DONTNEED) &&
	       !uffd_register(uffd, p, size, true, false, false) &&
	       !ioctl(uffd, UFFDIO_POISON, &poison) && !uffd_unregister(uffd, p, size);
}

static bool install_hwpoison(char *p, unsigned long size)
{
	return hwpoison(p, psize());
}

TEST_F(cow, poison_marker)
{
	own_entry(_metadata, self, install_poison);
}

TEST_F(cow, hwpoison)
{
	own_entry(_metadata, self, install_hwpoison);
}

/*
 * The child's page is being migrated when the owner writes: before and after the
 * write, in three rounds.  In each round the child goes on only if it has its page.
 */
TEST_F_TIMEOUT(cow, migration, 120)
{
	unsigned long i, overlaps = 0, pfns[30];
	int status, pagemap;

	self->child = fork();
	ASSERT_GE(self->child, 0);
	if (!self->child) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		self->p[0] = 'c';
		for (i = 0; ; i++) {
			atomic_store(self->stage, 4 * i + 1);
			stage_wait(self->stage, 4 * i + 2);
			if (madvise(self->p, psize(), MADV_SOFT_OFFLINE) && errno != EBUSY)
				_exit(2);
			atomic_store(self->stage, 4 * i + 3);
			/* the pool is to be enlarged before we look */
			stage_wait(self->stage, 4 * i + 4);
			if (self->p[0] != 'c')
				_exit(1);
		}
	}
	pagemap = open_pagemap(self->child);
	ASSERT_GE(pagemap, 0);
	for (i = 0; ; i++) {
		bool migrating = false;
		pid_t sharer;

		while (atomic_load(self->stage) != (int)(4 * i + 1)) {
			if (waitpid(self->child, &status, WNOHANG) == self->child) {
				self->child = 0;
				TH_LOG("%lu rounds, %lu overlaps", i, overlaps);
				if (WEXITSTATUS(status) == 2)
					SKIP(return, "MADV_SOFT_OFFLINE failed");
				ASSERT_EQ(status, -1) {
					TH_LOG("the child's own entry is lost (%x)", status);
				}
			}
			sched_yield();
		}
		if (overlaps >= 3 || i == ARRAY_SIZE(pfns))
			break;
		sharer = fork_sharer();
		ASSERT_GE(sharer, 0);
		if (!empty_pool(self->unit)) {
			kill(sharer, SIGKILL);
			SKIP(return, "others have reserved hugetlb pages");
		}
		pfns[i] = pagemap_get_pfn(pagemap, self->p);
		atomic_store(self->stage, 4 * i + 2);
		while (!migrating && atomic_load(self->stage) == (int)(4 * i + 2) &&
		       !has_ended(self->child))
			migrating = is_unmapped(pagemap, self->p);
		take_back(_metadata, self, sharer);
		overlaps += migrating && atomic_load(self->stage) == (int)(4 * i + 2);
		while (atomic_load(self->stage) != (int)(4 * i + 3) &&
		       !has_ended(self->child))
			sched_yield();
		hugetlb_set_nr_pages(self->unit, hugetlb_nr_pages(self->unit) + 2);
		atomic_store(self->stage, 4 * i + 4);
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
 * The file's pages are thrown out of the page cache, by O_DIRECT writes or by
 * punching a hole, while somebody faults them in again by another mapping: guard
 * regions stay.
 */
struct reader {
	char *p;
	unsigned long size, unit;
	atomic_ulong passes;
	atomic_bool stop;
};

static void *read_pages(void *data)
{
	struct reader *r = data;

	while (!atomic_load(&r->stop)) {
		for (unsigned long i = 0; i < r->size; i += r->unit)
			FORCE_READ(r->p[i]);
		atomic_fetch_add(&r->passes, 1);
	}
	return NULL;
}

/* @direct: a second descriptor of @fd for O_DIRECT, or -1 to punch a hole. */
static void guard_race(struct __test_metadata *_metadata, int fd, int direct)
{
	unsigned long lost = 0, unit = psize(), size = 16 * unit;
	struct reader reader = { .size = size, .unit = unit };
	struct race race = { .began = now_ns() };
	char *buffer, *guarded;
	pthread_t thread;

	ASSERT_EQ(catch_faults(), 0);
	ASSERT_EQ(posix_memalign((void **)&buffer, unit, size), 0);
	memset(buffer, 0x5a, size);
	ASSERT_EQ(pwrite(fd, buffer, size, 0), size);
	reader.p = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
	ASSERT_NE(reader.p, MAP_FAILED);
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
		/* a pass that began and ended meanwhile */
		race.overlaps += atomic_load(&reader.passes) - passes >= 2;
		race.rounds++;
		for (unsigned long i = 0; i < size; i += unit)
			gone += read_signal(guarded + i) != SIGSEGV;
		lost += !!gone;
	}
	atomic_store(&reader.stop, true);
	ASSERT_EQ(pthread_join(thread, NULL), 0);
	TH_LOG("%lu rounds, %lu overlaps, guard regions lost in %lu", race.rounds,
	       race.overlaps, lost);
	EXPECT_EQ(lost, 0) {
		TH_LOG("guard regions lost");
	}
	if (__test_passed(_metadata) && not_raced(&race))
		SKIP(return, "%s", not_raced(&race));
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

TEST_HARNESS_MAIN
