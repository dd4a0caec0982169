// SPDX-License-Identifier: GPL-2.0-only
/*
 * The kernel detaches page tables while a process runs.  MADV_COLLAPSE of a large folio
 * of the page cache detaches page tables of the caller's mm (try_collapse) and of other
 * mms (retract).  MADV_DONTNEED detaches a table whose entries it all clears (PT_RECLAIM).
 *
 * A page table may only be detached when it is empty, and must not be written to
 * afterwards.  A process can see most violations: it loses a guard region or a poison
 * marker, or the mm's counts of its page tables and anonymous pages are wrong.
 * CONFIG_DEBUG_PTE_DETACH sees more.
 */
#define _GNU_SOURCE
#include "kselftest_harness.h"
#include <linux/membarrier.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include "hugepage_settings.h"
#include "race_util.h"

/* What /proc/self/status has in kB after @name, which ends with a colon; -1 on error. */
static long kb_of(const char *path, const char *name)
{
	FILE *f = fopen(path, "r");
	char line[128];
	long kb = -1;

	if (!f)
		return -1;
	if (check_for_pattern(f, name, line, sizeof(line)))
		sscanf(line + strlen(name), "%ld", &kb);
	fclose(f);
	return kb;
}

/* The page tables of this process in kB, as the kernel counts them; -1 on error. */
static long vm_pte(void)
{
	/* the page table that the stack of a later call may need */
	volatile char stack[64 << 10];

	stack[0] = 0;
	return kb_of("/proc/self/status", "VmPTE:");
}

/*
 * The resident memory that the mm has counted, minus the memory that a walk of its page
 * tables finds, in kB: 0 if the counts are right.
 */
static long rss_error(void)
{
	long counted, mapped;

	/* reading a file may fault in a page of this program */
	do {
		counted = kb_of("/proc/self/status", "VmRSS:");
		mapped = kb_of("/proc/self/smaps_rollup", "Rss:");
	} while (counted != kb_of("/proc/self/status", "VmRSS:"));
	return counted - mapped;
}

FIXTURE(shmem)
{
	unsigned long page_size, pmd_size;
	int memfd;
	/* two mappings of the pmd_size bytes of memfd, at multiples of pmd_size */
	char *shared, *private;
	int uffd, pagemap;
};

/* Leave nothing mapped at @addr, and no page table. */
static bool map_nothing(char *addr, unsigned long size)
{
	return mmap(addr, size, PROT_NONE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0) == addr;
}

static bool map_anon(char *addr, unsigned long size)
{
	return map_file_at(addr, size, -1, MAP_PRIVATE | MAP_ANONYMOUS) &&
	       !madvise(addr, size, MADV_NOHUGEPAGE);
}

/* This mm has as many kB of page tables as @before. */
static void expect_tables(struct __test_metadata *_metadata, long before)
{
	const long after = vm_pte();

	ASSERT_GT(before, 0);
	EXPECT_EQ(after, before) {
		TH_LOG("page-table accounting off: VmPTE %ld kB, was %ld", after, before);
	}
}

/*
 * Unmap the range: this mm has to have as many kB of page tables as @before, when the
 * range was unmapped, too.
 */
static void expect_vm_pte(struct __test_metadata *_metadata, char *addr, unsigned long size,
			  long before)
{
	ASSERT_TRUE(map_nothing(addr, size));
	expect_tables(_metadata, before);
}

/* A page table that a retraction leaves in place is still counted, in the @before kB. */
static void expect_table_counted(struct __test_metadata *_metadata, long before)
{
	const long after = vm_pte();

	ASSERT_GT(before, 0);
	EXPECT_GE(after, before) {
		TH_LOG("a page table that stays is not counted: VmPTE %ld kB, was %ld", after,
		       before);
	}
}

FIXTURE_SETUP(shmem)
{
	char *area;

	ASSERT_EQ(catch_faults(), 0);
	self->uffd = -1;
	self->pagemap = open("/proc/self/pagemap", O_RDONLY);
	ASSERT_GE(self->pagemap, 0);
	self->page_size = psize();
	self->pmd_size = read_pmd_pagesize();
	if (!self->pmd_size)
		SKIP(return, "the kernel has no transparent huge pages");
	self->memfd = memfd_create("pgtable_detach", 0);
	ASSERT_GE(self->memfd, 0);
	ASSERT_EQ(ftruncate(self->memfd, self->pmd_size), 0);

	/*
	 * Page tables of one upper page table, which the address space around them keeps:
	 * VmPTE counts upper page tables, too.
	 */
	area = reserve_aligned(4 * self->pmd_size);
	ASSERT_NE(area, NULL);
	self->shared = area;
	self->private = area + 2 * self->pmd_size;
	ASSERT_TRUE(map_file_at(self->shared, self->pmd_size, self->memfd, MAP_SHARED));
	ASSERT_TRUE(map_file_at(self->private, self->pmd_size, self->memfd, MAP_PRIVATE));

	memset(self->shared, 0x5a, self->pmd_size);
	if (madvise_collapse_retry(self->shared, self->pmd_size))
		SKIP(return, "MADV_COLLAPSE of a memfd: %s", strerror(errno));
}

FIXTURE_TEARDOWN(shmem)
{
	if (self->uffd >= 0)
		close(self->uffd);
	if (self->memfd > 0)
		close(self->memfd);
	hugetlb_restore_settings();
}

/*
 * Map the large folio at @addr by a page table, some entries of it present: a guard
 * region can only be installed in a page table, and removing the region leaves the table.
 */
static int map_by_ptes(char *addr, unsigned long page_size)
{
	if (madvise(addr, page_size, MADV_GUARD_INSTALL) ||
	    madvise(addr, page_size, MADV_GUARD_REMOVE))
		return -1;
	FORCE_READ(addr[8 * page_size]);
	return 0;
}

/*
 * Split the large folio, by punching a page out, and leave the small ones unmapped in
 * @mapping, one of the two, by which the size of the folio is seen.
 */
static bool split_folio_of(FIXTURE_DATA(shmem) * self, char *mapping)
{
	bool split = false;

	/* a reference that something else holds for a moment prevents a split */
	for (int i = 0; i < 10 && !split; i++) {
		if (fallocate(self->memfd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
			      self->page_size) ||
		    madvise(mapping, self->pmd_size, MADV_DONTNEED))
			return false;
		/* maps a folio that is still large by a pmd */
		FORCE_READ(mapping[self->page_size]);
		split = check_huge_shmem(mapping, self->pmd_size, 0, self->pmd_size);
	}
	return split && !madvise(mapping, self->pmd_size, MADV_DONTNEED);
}

struct range {
	char *start;
	unsigned long size;
	int advice;
	unsigned long successes;
};

static void advise(void *data)
{
	struct range *range = data;

	range->successes += !madvise(range->start, range->size, range->advice);
}

/* A race with a child process: what both write to. */
struct shared_race {
	struct race race;
	struct range range;
	/* of the process whose memory the child is to collapse */
	int pidfd;
	/* VmPTE of the first child of fork() */
	long tables;
};

static struct shared_race *new_shared_race(void)
{
	struct shared_race *r = mmap(NULL, sizeof(*r), PROT_READ | PROT_WRITE,
				     MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	return r == MAP_FAILED ? NULL : r;
}

/* madvise() of memory of the process of pidfd. */
static void advise_process(void *data)
{
	struct shared_race *r = data;
	struct iovec range = { r->range.start, r->range.size };

	r->range.successes += syscall(__NR_process_madvise, r->pidfd, &range, 1,
				      r->range.advice, 0) == (ssize_t)range.iov_len;
}

/* VmPTE in kB while the range is unmapped; the range is mapped again. */
static void count_unmapped(struct __test_metadata *_metadata, FIXTURE_DATA(shmem) * self,
			   long *tables)
{
	ASSERT_TRUE(map_nothing(self->shared, self->pmd_size));
	*tables = vm_pte();
	ASSERT_TRUE(map_file_at(self->shared, self->pmd_size, self->memfd, MAP_SHARED));
}

/*
 * Collapses of @mapping gave up, with some entries cleared, or without a page table.  With
 * the range unmapped the counts are as before, and nothing refers to the folio.  @other is
 * another mapping of the folio.
 */
static void expect_unmapped(struct __test_metadata *_metadata, FIXTURE_DATA(shmem) * self,
			    char *mapping, char *other, long tables)
{
	long error;

	expect_vm_pte(_metadata, mapping, self->pmd_size, tables);
	error = rss_error();
	EXPECT_EQ(error, 0) {
		TH_LOG("a collapse that gave up left VmRSS wrong, by %ld kB", error);
	}
	EXPECT_TRUE(split_folio_of(self, other)) {
		TH_LOG("a collapse that gave up kept a reference to the folio");
	}
}

/* A guard region that madvise() has installed stays, also beside a concurrent collapse. */
TEST_F_TIMEOUT(shmem, guard_install_collapse, RACE_TIMEOUT)
{
	struct range collapse = { self->shared, self->pmd_size, MADV_COLLAPSE, 0 };
	struct race race = { .thread_fn = advise, .data = &collapse };
	unsigned long installed = 0;
	long tables;
	char *guard = self->shared + 100 * self->page_size;

	if (!race_start(&race))
		SKIP(return, "needs two CPUs");
	count_unmapped(_metadata, self, &tables);
	while (race_on(&race)) {
		int ret;

		ASSERT_EQ(map_by_ptes(self->shared, self->page_size), 0);
		race_begin(&race);
		ret = madvise(guard, self->page_size, MADV_GUARD_INSTALL);
		race_end(&race);
		if (ret)
			continue;
		installed++;
		race.failed += read_signal(guard) != SIGSEGV;
		ASSERT_EQ(madvise(guard, self->page_size, MADV_GUARD_REMOVE), 0);
	}
	race_stop(&race);
	TH_LOG("%lu rounds, %lu overlaps, %lu collapses, %lu guards installed, %lu lost",
	       race.rounds, race.overlaps, collapse.successes, installed, race.failed);
	EXPECT_EQ(race.failed, 0) {
		TH_LOG("guard regions lost");
	}
	expect_unmapped(_metadata, self, self->shared, self->private, tables);
	if (skip_unless_raced(_metadata, &race))
		return;
	EXPECT_GT(collapse.successes, 0);
	EXPECT_GT(installed, 0);
}

/* The same calls one after the other: a failure above with success here is a race. */
TEST_F(shmem, guard_install_then_collapse)
{
	char *guard = self->shared + 100 * self->page_size;

	for (int i = 0; i < 200; i++) {
		ASSERT_EQ(map_by_ptes(self->shared, self->page_size), 0);
		if (i & 1) {
			ASSERT_EQ(madvise_collapse_retry(self->shared, self->pmd_size), 0);
			ASSERT_TRUE(check_huge_shmem(self->shared, self->pmd_size, 1,
						     self->pmd_size));
		}
		ASSERT_EQ(madvise(guard, self->page_size, MADV_GUARD_INSTALL), 0);
		if (!(i & 1))
			madvise(self->shared, self->pmd_size, MADV_COLLAPSE);
		ASSERT_EQ(read_signal(guard), SIGSEGV);
		ASSERT_EQ(madvise(guard, self->page_size, MADV_GUARD_REMOVE), 0);
	}
}

/* The same if another process collapses the memory of this one. */
TEST_F_TIMEOUT(shmem, guard_install_process_collapse, RACE_TIMEOUT)
{
	char *guard = self->shared + 100 * self->page_size;
	struct shared_race *r = new_shared_race();
	unsigned long installed = 0;
	long tables;

	ASSERT_NE(r, NULL);
	r->range = (struct range){ self->shared, self->pmd_size, MADV_COLLAPSE, 0 };
	r->pidfd = syscall(__NR_pidfd_open, getpid(), 0);
	ASSERT_GE(r->pidfd, 0);
	r->race.thread_fn = advise_process;
	r->race.data = r;
	if (geteuid())
		SKIP(return, "process_madvise() of another process is root's");
	if (!race_start_process(&r->race))
		SKIP(return, "needs two CPUs");
	count_unmapped(_metadata, self, &tables);
	while (race_on(&r->race)) {
		int ret;

		ASSERT_EQ(map_by_ptes(self->shared, self->page_size), 0);
		race_begin(&r->race);
		ret = madvise(guard, self->page_size, MADV_GUARD_INSTALL);
		race_end(&r->race);
		if (ret)
			continue;
		installed++;
		r->race.failed += read_signal(guard) != SIGSEGV;
		ASSERT_EQ(madvise(guard, self->page_size, MADV_GUARD_REMOVE), 0);
	}
	race_stop(&r->race);
	close(r->pidfd);
	TH_LOG("%lu rounds, %lu overlaps, %lu collapses, %lu guards installed, %lu lost",
	       r->race.rounds, r->race.overlaps, r->range.successes, installed, r->race.failed);
	EXPECT_EQ(r->race.failed, 0) {
		TH_LOG("guard regions lost");
	}
	expect_unmapped(_metadata, self, self->shared, self->private, tables);
	if (skip_unless_raced(_metadata, &r->race))
		return;
	EXPECT_GT(r->range.successes, 0);
	EXPECT_GT(installed, 0);
}

static bool split_folio(FIXTURE_DATA(shmem) * self)
{
	if (!split_folio_of(self, self->shared))
		return false;
	self->shared[0] = 0x5a;
	return !madvise(self->shared, self->pmd_size, MADV_DONTNEED);
}

/* A page table whose entries can all be faulted in again is given up for a huge page. */
TEST_F(shmem, retract)
{
	long before;

	if (!split_folio(self))
		SKIP(return, "the large folio was not split");
	ASSERT_EQ(madvise(self->private, self->pmd_size, MADV_DONTNEED), 0);
	FORCE_READ(self->shared[self->page_size]);
	before = vm_pte();
	ASSERT_GT(before, 0);
	ASSERT_EQ(madvise_collapse_retry(self->private, self->pmd_size), 0);
	EXPECT_LT(vm_pte(), before) {
		TH_LOG("page table kept");
	}
	FORCE_READ(self->shared[self->page_size]);
	EXPECT_TRUE(check_huge_shmem(self->shared, self->pmd_size, 1, self->pmd_size)) {
		TH_LOG("not mapped as a huge page");
	}
}

/*
 * A poisoned page stays poisoned when userfaultfd has left, and when the page
 * cache below it is collapsed, by this mapping or by another.
 */
static void poison_collapse(struct __test_metadata *_metadata, FIXTURE_DATA(shmem) * self,
			    unsigned long index, char *collapsed)
{
	char *poisoned = self->shared + index * self->page_size;
	char *good = self->shared + 50 * self->page_size;
	long tables;
	int ret;

	self->uffd = uffd_open_api(UFFD_FEATURE_MINOR_SHMEM | UFFD_FEATURE_POISON);
	if (self->uffd < 0)
		SKIP(return, "userfaultfd with MINOR_SHMEM and POISON: %s", strerror(errno));

	if (!split_folio(self))
		SKIP(return, "the large folio was not split");
	ASSERT_EQ(uffd_register(self->uffd, self->shared, self->pmd_size, false, false, true), 0);
	ASSERT_EQ(uffd_poison(self->uffd, poisoned, self->page_size), 0);
	ASSERT_EQ(uffd_unregister(self->uffd, self->shared, self->pmd_size), 0);
	ASSERT_EQ(read_signal(poisoned), SIGBUS);
	ASSERT_EQ(read_signal(good), 0);

	tables = vm_pte();
	ret = madvise_collapse_retry(collapsed, self->pmd_size);
	TH_LOG("MADV_COLLAPSE: %s", ret ? strerror(errno) : "success");
	/* Whatever it returned: the page cache must have been collapsed. */
	ASSERT_EQ(madvise_collapse_retry(self->private, self->pmd_size), 0);
	ASSERT_TRUE(check_huge_shmem(self->private, self->pmd_size, 1, self->pmd_size));

	ASSERT_EQ(read_signal(good), 0);
	ASSERT_EQ(read_signal(poisoned), SIGBUS) {
		TH_LOG("poison lost: stale data can be read");
	}
	expect_table_counted(_metadata, tables);
}

TEST_F(shmem, poison_collapse)
{
	poison_collapse(_metadata, self, 100, self->shared);
}

TEST_F(shmem, poison_collapse_first)
{
	poison_collapse(_metadata, self, 0, self->shared);
}

TEST_F(shmem, poison_collapse_last)
{
	poison_collapse(_metadata, self, self->pmd_size / self->page_size - 1, self->shared);
}

TEST_F(shmem, poison_retract)
{
	poison_collapse(_metadata, self, 100, self->private);
}

TEST_F(shmem, poison_retract_first)
{
	poison_collapse(_metadata, self, 0, self->private);
}

TEST_F(shmem, poison_retract_last)
{
	poison_collapse(_metadata, self, self->pmd_size / self->page_size - 1, self->private);
}

/*
 * A collapse that gives up because of an entry leaves the counts of the mm as they were,
 * and no reference to the folio.
 */
static void refused_collapse(struct __test_metadata *_metadata, FIXTURE_DATA(shmem) * self)
{
	const long tables = vm_pte();
	long error;

	ASSERT_GT(tables, 0);
	ASSERT_EQ(rss_error(), 0);
	ASSERT_NE(madvise(self->shared, self->pmd_size, MADV_COLLAPSE), 0);
	EXPECT_EQ(vm_pte(), tables) {
		TH_LOG("VmPTE %ld kB, was %ld", vm_pte(), tables);
	}
	error = rss_error();
	EXPECT_EQ(error, 0) {
		TH_LOG("the refused collapse left VmRSS wrong, by %ld kB", error);
	}
	/* only a folio without a stray reference can be split */
	EXPECT_TRUE(split_folio_of(self, self->private)) {
		TH_LOG("the refused collapse kept a reference to the folio");
	}
}

TEST_F(shmem, guard_refused_collapse)
{
	char *guard = self->shared + (self->pmd_size - self->page_size);

	ASSERT_EQ(madvise(guard, self->page_size, MADV_GUARD_INSTALL), 0);
	for (char *page = self->shared; page < guard; page += self->page_size)
		FORCE_READ(*page);
	refused_collapse(_metadata, self);
	EXPECT_EQ(read_signal(guard), SIGSEGV);
}

/* A private copy of the last page is in the way. */
TEST_F(shmem, cow_refused_collapse)
{
	const unsigned long last = self->pmd_size - self->page_size;

	ASSERT_TRUE(map_file_at(self->shared, self->pmd_size, self->memfd, MAP_PRIVATE));
	ASSERT_EQ(map_by_ptes(self->shared, self->page_size), 0);
	self->shared[last] = 0x77;
	for (unsigned long i = 0; i < last; i += self->page_size)
		FORCE_READ(self->shared[i]);
	refused_collapse(_metadata, self);
}

/*
 * The page table of the file's pages has an entry of a neighbouring VMA, too: it stays
 * when the page cache is collapsed by another mapping.
 */
static void border_retract(struct __test_metadata *_metadata, FIXTURE_DATA(shmem) * self,
			   char *file, unsigned long size, char *neighbour)
{
	ASSERT_TRUE(map_file_at(file, size, self->memfd, MAP_SHARED));
	ASSERT_TRUE(map_anon(neighbour, self->page_size));
	*neighbour = 0x77;
	FORCE_READ(file[8 * self->page_size]);
	ASSERT_EQ(madvise_collapse_retry(self->private, self->pmd_size), 0);
	ASSERT_TRUE(check_huge_shmem(self->private, self->pmd_size, 1, self->pmd_size));
	EXPECT_TRUE(pagemap_is_populated(self->pagemap, neighbour)) {
		TH_LOG("the neighbour's page was unmapped");
	}
	EXPECT_EQ(*neighbour, 0x77);
}

/* The mapping of the file ends a page before the page table does. */
TEST_F(shmem, border_retract_short)
{
	const unsigned long size = self->pmd_size - self->page_size;

	if (!split_folio(self))
		SKIP(return, "the large folio was not split");
	ASSERT_TRUE(map_nothing(self->shared, self->pmd_size));
	border_retract(_metadata, self, self->shared, size, self->shared + size);
}

/* The mapping of the file begins a page after the page table does. */
TEST_F(shmem, border_retract_unaligned)
{
	char *area = reserve_aligned(2 * self->pmd_size);

	ASSERT_NE(area, NULL);
	if (!split_folio(self))
		SKIP(return, "the large folio was not split");
	border_retract(_metadata, self, area + self->page_size, self->pmd_size, area);
}

/*
 * mprotect() divides the mapping while MADV_COLLAPSE has dropped mmap_lock: the page table
 * then has an entry of a neighbouring VMA, and stays.
 */
TEST_F_TIMEOUT(shmem, border_collapse, RACE_TIMEOUT)
{
	struct range collapse = { self->shared, self->pmd_size, MADV_COLLAPSE, 0 };
	struct race race = { .thread_fn = advise, .data = &collapse };
	char *last = self->shared + self->pmd_size - self->page_size;
	long tables;

	if (!race_start(&race))
		SKIP(return, "needs two CPUs");
	count_unmapped(_metadata, self, &tables);
	ASSERT_EQ(madvise(last, self->page_size, MADV_GUARD_INSTALL), 0);
	while (race_on(&race)) {
		int ret;

		FORCE_READ(self->shared[8 * self->page_size]);
		race_begin(&race);
		ret = mprotect(last, self->page_size, PROT_READ);
		race_end(&race);
		ASSERT_EQ(ret, 0);
		race.failed += read_signal(last) != SIGSEGV;
		ASSERT_EQ(mprotect(last, self->page_size, PROT_READ | PROT_WRITE), 0);
	}
	race_stop(&race);
	TH_LOG("%lu rounds, %lu overlaps, %lu collapses, %lu lost", race.rounds, race.overlaps,
	       collapse.successes, race.failed);
	EXPECT_EQ(race.failed, 0) {
		TH_LOG("guard region of a neighbour lost");
	}
	EXPECT_EQ(collapse.successes, 0);
	expect_unmapped(_metadata, self, self->shared, self->private, tables);
	skip_unless_raced(_metadata, &race);
}

/* Page tables that were detached are freed by RCU, and the kernel checks them then. */
static void wait_for_freed_tables(void)
{
	/* callbacks of the first grace period have run when the second has ended */
	for (int i = 0; i < 2; i++)
		syscall(__NR_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0);
}

/*
 * mremap() moves a poisoned page to a page table that a collapse by another process may
 * retract: the page table has no entry yet.  The old address is a page off a PMD's, so
 * that entries are moved, and not the page table; the new address is a PMD's.
 */
TEST_F_TIMEOUT(shmem, mremap_retract, RACE_TIMEOUT)
{
	const unsigned long page_size = self->page_size, hole = 300 * page_size;
	const unsigned long size = self->pmd_size;
	char *area = reserve_aligned(2 * size), *src = area + page_size, *dst = self->shared;
	struct shared_race *r = new_shared_race();
	unsigned long refused = 0;
	long tables, error;

	ASSERT_NE(area, NULL);
	ASSERT_NE(r, NULL);
	self->uffd = uffd_open_api(UFFD_FEATURE_MINOR_SHMEM | UFFD_FEATURE_POISON);
	if (self->uffd < 0)
		SKIP(return, "userfaultfd with MINOR_SHMEM and POISON: %s", strerror(errno));
	r->range = (struct range){ self->private, size, MADV_COLLAPSE, 0 };
	r->race.thread_fn = advise;
	r->race.data = &r->range;
	if (!race_start_process(&r->race))
		SKIP(return, "needs two CPUs");
	/* upper page tables, which stay */
	ASSERT_TRUE(map_anon(src, page_size));
	*src = 1;
	ASSERT_TRUE(map_nothing(area, 2 * size));
	ASSERT_TRUE(map_nothing(dst, size));
	tables = vm_pte();
	while (race_on(&r->race)) {
		/* small folios again, for a collapse that retracts */
		ASSERT_EQ(fallocate(self->memfd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				    hole, page_size), 0);
		ASSERT_TRUE(map_file_at(src, size, self->memfd, MAP_SHARED));
		ASSERT_EQ(uffd_register(self->uffd, src, page_size, false, false, true), 0);
		ASSERT_EQ(uffd_poison(self->uffd, src, page_size), 0);
		ASSERT_EQ(uffd_unregister(self->uffd, src, page_size), 0);
		ASSERT_TRUE(map_nothing(dst, size));
		race_begin(&r->race);
		if (mremap(src, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, dst) != dst)
			refused++;
		race_end(&r->race);
		r->race.failed += read_signal(dst) != SIGBUS;
	}
	race_stop(&r->race);
	wait_for_freed_tables();
	TH_LOG("%lu rounds, %lu overlaps, %lu collapses, %lu moves refused, %lu lost",
	       r->race.rounds, r->race.overlaps, r->range.successes, refused, r->race.failed);
	EXPECT_EQ(refused, 0);
	EXPECT_EQ(r->race.failed, 0) {
		TH_LOG("poison lost by mremap(): stale data can be read");
	}
	ASSERT_TRUE(map_nothing(area, 2 * size));
	expect_vm_pte(_metadata, dst, size, tables);
	error = rss_error();
	EXPECT_EQ(error, 0) {
		TH_LOG("a move left VmRSS wrong, by %ld kB", error);
	}
	if (skip_unless_raced(_metadata, &r->race))
		return;
	EXPECT_GT(r->range.successes, 0);
}

/* Does a child count as many page tables as the first one, which met no retraction? */
static bool counts_as_first(struct shared_race *r)
{
	const long tables = vm_pte();

	if (!r->tables)
		r->tables = tables;
	return tables > 0 && tables == r->tables;
}

/*
 * fork() copies a page table that a collapse by another process may retract in the child,
 * as long as it has no entry.  A kernel that copies no page table here loses the poison
 * without a race.
 */
TEST_F_TIMEOUT(shmem, fork_retract, RACE_TIMEOUT)
{
	enum { KEPT, LOST, MISCOUNTED };
	const unsigned long hole = 300 * self->page_size;
	char *poisoned = self->shared + 100 * self->page_size;
	struct shared_race *r = new_shared_race();
	unsigned long refused = 0, miscounted = 0;

	ASSERT_NE(r, NULL);
	self->uffd = uffd_open_api(UFFD_FEATURE_MINOR_SHMEM | UFFD_FEATURE_POISON);
	if (self->uffd < 0)
		SKIP(return, "userfaultfd with MINOR_SHMEM and POISON: %s", strerror(errno));
	ASSERT_EQ(madvise(self->shared, self->pmd_size, MADV_DONTNEED), 0);
	ASSERT_EQ(uffd_register(self->uffd, self->shared, self->pmd_size, false, false, true), 0);
	ASSERT_EQ(uffd_poison(self->uffd, poisoned, self->page_size), 0);
	ASSERT_EQ(uffd_unregister(self->uffd, self->shared, self->pmd_size), 0);
	r->range = (struct range){ self->private, self->pmd_size, MADV_COLLAPSE, 0 };
	r->race.thread_fn = advise;
	r->race.data = &r->range;
	if (!race_start_process(&r->race))
		SKIP(return, "needs two CPUs");
	while (race_on(&r->race)) {
		int status;
		pid_t pid;

		ASSERT_EQ(fallocate(self->memfd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				    hole, self->page_size), 0);
		race_begin(&r->race);
		pid = fork();
		if (!pid) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			wait_for(&r->race.done, r->race.rounds, -1UL);
			if (read_signal(poisoned) != SIGBUS)
				_exit(LOST);
			_exit(counts_as_first(r) ? KEPT : MISCOUNTED);
		}
		race_end(&r->race);
		if (pid < 0) {
			refused++;
			r->race.failed++;
			continue;
		}
		ASSERT_EQ(waitpid(pid, &status, 0), pid);
		if (WIFEXITED(status) && WEXITSTATUS(status) == MISCOUNTED)
			miscounted++;
		else
			r->race.failed += !WIFEXITED(status) || WEXITSTATUS(status) != KEPT;
	}
	race_stop(&r->race);
	TH_LOG("%lu rounds, %lu overlaps, %lu collapses, %lu forks refused, %lu failed",
	       r->race.rounds, r->race.overlaps, r->range.successes, refused, r->race.failed);
	EXPECT_EQ(refused, 0) {
		TH_LOG("fork() failed for a page table that was retracted");
	}
	EXPECT_EQ(r->race.failed, refused) {
		TH_LOG("poison lost by fork(): stale data can be read");
	}
	EXPECT_EQ(miscounted, 0) {
		TH_LOG("VmPTE is off in %lu children", miscounted);
	}
	if (skip_unless_raced(_metadata, &r->race))
		return;
	EXPECT_GT(r->range.successes, 0);
}

/*
 * The signal that reading @addr raises in a descendant of this process, @generations
 * from here; -1 if there is no descendant.
 */
static int fork_read_signal(char *addr, int generations)
{
	pid_t pid = fork();
	int status;

	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		_exit(generations > 1 ? fork_read_signal(addr, generations - 1) :
					read_signal(addr));
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		return -1;
	return WEXITSTATUS(status);
}

/* The userfaultfd of a child, as the event says that its parent's has read; or -1. */
static void *child_uffd(void *data)
{
	int *fd = data;
	struct pollfd uffd = { .fd = *fd, .events = POLLIN };
	struct uffd_msg msg;

	*fd = -1;
	if (poll(&uffd, 1, -1) == 1 &&
	    read(uffd.fd, &msg, sizeof(msg)) == sizeof(msg) && msg.event == UFFD_EVENT_FORK)
		*fd = msg.arg.fork.ufd;
	return NULL;
}

/* A child inherits the poison, and keeps it when the page cache is collapsed. */
TEST_F(shmem, poison_fork_retract)
{
	enum { KEPT, NOT_COPIED, NOT_COLLAPSED, NOT_READABLE, LOST };
	char *poisoned = self->shared + 100 * self->page_size, byte = 0;
	int go[2], fd, status;
	pthread_t thread;
	pid_t pid;

	/* write-protection, for fork() to copy page tables */
	self->uffd = uffd_open_api(UFFD_FEATURE_MINOR_SHMEM | UFFD_FEATURE_POISON |
			       UFFD_FEATURE_EVENT_FORK | UFFD_FEATURE_PAGEFAULT_FLAG_WP |
			       UFFD_FEATURE_WP_HUGETLBFS_SHMEM);
	if (self->uffd < 0)
		SKIP(return, "userfaultfd with POISON, EVENT_FORK, and WP and MINOR of shmem: %s",
		     strerror(errno));
	if (!split_folio(self))
		SKIP(return, "the large folio was not split");
	ASSERT_EQ(uffd_register(self->uffd, self->shared, self->pmd_size, false, true, true), 0);
	ASSERT_EQ(uffd_poison(self->uffd, poisoned, self->page_size), 0);
	ASSERT_EQ(pipe(go), 0);

	fd = self->uffd;
	ASSERT_EQ(pthread_create(&thread, NULL, child_uffd, &fd), 0);
	pid = fork();
	ASSERT_GE(pid, 0);
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (read(go[0], &byte, 1) != 1 || read_signal(poisoned) != SIGBUS)
			_exit(NOT_COPIED);
		if (madvise_collapse_retry(self->private, self->pmd_size) ||
		    !check_huge_shmem(self->private, self->pmd_size, 1, self->pmd_size))
			_exit(NOT_COLLAPSED);
		if (read_signal(poisoned + self->page_size))
			_exit(NOT_READABLE);
		_exit(read_signal(poisoned) == SIGBUS ? KEPT : LOST);
	}
	ASSERT_EQ(pthread_join(thread, NULL), 0);
	ASSERT_GE(fd, 0);
	ASSERT_EQ(uffd_unregister(fd, self->shared, self->pmd_size), 0);
	close(fd);
	ASSERT_EQ(write(go[1], &byte, 1), 1);
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	ASSERT_TRUE(WIFEXITED(status));
	ASSERT_NE(WEXITSTATUS(status), LOST) {
		TH_LOG("poison lost: stale data can be read");
	}
	ASSERT_EQ(WEXITSTATUS(status), KEPT);
}

/*
 * A poisoned page of a shared mapping is poisoned in the child and the grandchild, too,
 * while userfaultfd watches the mapping and when userfaultfd has left.
 */
static void poison_fork(struct __test_metadata *_metadata, int uffd, char *area,
			unsigned long size, char *poisoned, unsigned long page_size, bool missing)
{
	ASSERT_EQ(uffd_register(uffd, area, size, missing, false, !missing), 0);
	ASSERT_EQ(uffd_poison(uffd, poisoned, page_size), 0);
	ASSERT_EQ(read_signal(poisoned), SIGBUS);
	ASSERT_EQ(fork_read_signal(poisoned, 1), SIGBUS) {
		TH_LOG("poison lost by fork(): stale data can be read");
	}
	ASSERT_EQ(uffd_unregister(uffd, area, size), 0);
	ASSERT_EQ(read_signal(poisoned), SIGBUS);
	ASSERT_EQ(fork_read_signal(poisoned, 2), SIGBUS) {
		TH_LOG("poison lost by the second fork(): stale data can be read");
	}
}

/* Unmap the range; false if this mm did not count one page table for it. */
static bool unmap_one_table(char *addr, unsigned long size)
{
	const long before = vm_pte(), table = size / psize() * sizeof(uint64_t) / 1024;

	return map_nothing(addr, size) && vm_pte() == before - table;
}

/*
 * Three VMAs share a page table.  A child gets the entries of the first two VMAs.  The
 * child does not inherit the third VMA, and gets no entry of it.
 */
TEST_F(shmem, neighbour_fork)
{
	enum { KEPT, POISON_LOST, DATA_LOST, COPIED, MISCOUNTED };
	const unsigned long page_size = self->page_size, size = self->pmd_size;
	char *file = self->shared + page_size, *poisoned = self->shared + 100 * page_size;
	char *last = self->shared + size - page_size;
	int status;
	pid_t pid;

	self->uffd = uffd_open_api(UFFD_FEATURE_MINOR_SHMEM | UFFD_FEATURE_POISON);
	if (self->uffd < 0)
		SKIP(return, "userfaultfd with MINOR_SHMEM and POISON: %s", strerror(errno));
	ASSERT_TRUE(map_nothing(self->shared, size));
	ASSERT_TRUE(map_anon(self->shared, page_size));
	*self->shared = 0x77;
	ASSERT_TRUE(map_file_at(file, size - 2 * page_size, self->memfd, MAP_SHARED));
	ASSERT_EQ(uffd_register(self->uffd, file, size - 2 * page_size, false, false, true), 0);
	ASSERT_EQ(uffd_poison(self->uffd, poisoned, page_size), 0);
	ASSERT_EQ(uffd_unregister(self->uffd, file, size - 2 * page_size), 0);
	ASSERT_TRUE(map_anon(last, page_size));
	ASSERT_EQ(madvise(last, page_size, MADV_GUARD_INSTALL), 0);
	ASSERT_EQ(madvise(last, page_size, MADV_DONTFORK), 0);

	pid = fork();
	ASSERT_GE(pid, 0);
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (read_signal(poisoned) != SIGBUS)
			_exit(POISON_LOST);
		if (read_signal(self->shared) || *self->shared != 0x77)
			_exit(DATA_LOST);
		/* nothing is mapped at the last page here */
		if (!map_anon(last, page_size) || read_signal(last))
			_exit(COPIED);
		_exit(unmap_one_table(self->shared, size) ? KEPT : MISCOUNTED);
	}
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	ASSERT_TRUE(WIFEXITED(status));
	ASSERT_NE(WEXITSTATUS(status), POISON_LOST) {
		TH_LOG("poison lost by fork(): stale data can be read");
	}
	ASSERT_NE(WEXITSTATUS(status), COPIED) {
		TH_LOG("fork() copied an entry of a neighbouring VMA");
	}
	ASSERT_EQ(WEXITSTATUS(status), KEPT);
	/* and the parent has what it had */
	EXPECT_EQ(read_signal(poisoned), SIGBUS);
	EXPECT_EQ(read_signal(last), SIGSEGV);
	EXPECT_EQ(*self->shared, 0x77);
}

static void poison_fork_shmem(struct __test_metadata *_metadata, FIXTURE_DATA(shmem) * self,
			      bool missing)
{
	self->uffd = uffd_open_api(UFFD_FEATURE_POISON | (missing ? 0 : UFFD_FEATURE_MINOR_SHMEM));
	if (self->uffd < 0)
		SKIP(return, "userfaultfd with POISON, and MINOR of shmem: %s", strerror(errno));
	ASSERT_EQ(madvise(self->shared, self->pmd_size, MADV_DONTNEED), 0);
	poison_fork(_metadata, self->uffd, self->shared, self->pmd_size,
		    self->shared + 100 * self->page_size, self->page_size, missing);
}

TEST_F(shmem, poison_fork_minor)
{
	poison_fork_shmem(_metadata, self, false);
}

TEST_F(shmem, poison_fork_missing)
{
	poison_fork_shmem(_metadata, self, true);
}

TEST_F(shmem, poison_fork_hugetlb)
{
	unsigned long size = default_huge_page_size();
	char *area;

	if (!hugetlb_setup_default(1))
		SKIP(return, "no hugetlb page");
	close(self->memfd);
	self->memfd = memfd_create("pgtable_detach", MFD_HUGETLB);
	if (self->memfd < 0)
		SKIP(return, "memfd_create() with MFD_HUGETLB: %s", strerror(errno));
	ASSERT_EQ(ftruncate(self->memfd, size), 0);
	area = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, self->memfd, 0);
	if (area == MAP_FAILED)
		SKIP(return, "a mapping of a hugetlb page: %s", strerror(errno));
	area[0] = 0x5a;
	ASSERT_EQ(madvise(area, size, MADV_DONTNEED), 0);
	self->uffd = uffd_open_api(UFFD_FEATURE_POISON | UFFD_FEATURE_MINOR_HUGETLBFS);
	if (self->uffd < 0)
		SKIP(return, "userfaultfd with POISON and MINOR of hugetlbfs: %s",
		     strerror(errno));
	poison_fork(_metadata, self->uffd, area, size, area, size, false);
	ASSERT_EQ(munmap(area, size), 0);
}

/*
 * MADV_DONTNEED of all that a page table maps frees the table, and so does
 * MADV_COLLAPSE: only one of them may.
 */
static void dontneed_collapse(struct __test_metadata *_metadata, FIXTURE_DATA(shmem) * self,
			      char *mapping, int flags)
{
	struct range collapse = { mapping, self->pmd_size, MADV_COLLAPSE, 0 };
	struct race race = { .thread_fn = advise, .data = &collapse };
	char *other = mapping == self->shared ? self->private : self->shared;
	long tables;

	if (!race_start(&race))
		SKIP(return, "needs two CPUs");
	ASSERT_TRUE(map_nothing(mapping, self->pmd_size));
	tables = vm_pte();
	ASSERT_TRUE(map_file_at(mapping, self->pmd_size, self->memfd, flags));
	if (self->uffd >= 0)
		ASSERT_EQ(uffd_register(self->uffd, mapping, self->pmd_size, true, false,
					false), 0);
	while (race_on(&race)) {
		ASSERT_EQ(map_by_ptes(mapping, self->page_size), 0);
		race_begin(&race);
		madvise(mapping, self->pmd_size, MADV_DONTNEED);
		race_end(&race);
		ASSERT_EQ(mapping[self->pmd_size - 1], 0x5a);
	}
	race_stop(&race);
	TH_LOG("%lu rounds, %lu overlaps, %lu collapses", race.rounds, race.overlaps,
	       collapse.successes);
	expect_unmapped(_metadata, self, mapping, other, tables);
	if (skip_unless_raced(_metadata, &race))
		return;
	EXPECT_GT(collapse.successes, 0);
}

TEST_F_TIMEOUT(shmem, dontneed_collapse, RACE_TIMEOUT)
{
	dontneed_collapse(_metadata, self, self->shared, MAP_SHARED);
}

/*
 * The same of a private mapping that userfaultfd watches, where MADV_COLLAPSE
 * may find the page table gone after it has taken the lock.
 */
TEST_F_TIMEOUT(shmem, dontneed_collapse_uffd, RACE_TIMEOUT)
{
	self->uffd = uffd_open_api(0);
	if (self->uffd < 0)
		SKIP(return, "userfaultfd: %s", strerror(errno));
	dontneed_collapse(_metadata, self, self->private, MAP_PRIVATE);
}

/* Another process faults pages of the file in while its page tables are retracted. */
TEST_F_TIMEOUT(shmem, fault_retract, RACE_TIMEOUT)
{
	unsigned long collapsed = 0;
	struct {
		atomic_ulong touched, looked;
		atomic_bool stop;
	} *progress = mmap(NULL, self->page_size, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	unsigned long nr = self->pmd_size / self->page_size;
	unsigned char vec[nr];
	struct race race = { };
	int cpus[2], status;
	pid_t pid;

	ASSERT_NE(progress, MAP_FAILED);
	if (!two_cpus(cpus))
		SKIP(return, "needs two CPUs");
	pid = fork();
	ASSERT_GE(pid, 0);
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		pin_to(cpus[1]);
		while (!atomic_load(&progress->stop)) {
			for (unsigned long i = 1; i < nr; i += 17) {
				if (self->shared[i * self->page_size] != 0x5a)
					_exit(1);
				atomic_fetch_add(&progress->touched, 1);
				if (mincore(self->shared, self->pmd_size, vec))
					_exit(2);
				atomic_fetch_add(&progress->looked, 1);
			}
		}
		_exit(0);
	}
	pin_to(cpus[0]);
	race.began = now_ns();
	while (race_on(&race)) {
		unsigned long before;

		/* Small folios again, all but the first as they were. */
		ASSERT_EQ(fallocate(self->memfd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
				    self->page_size), 0);
		before = atomic_load(&progress->looked);
		race.rounds++;
		if (madvise(self->shared, self->pmd_size, MADV_COLLAPSE))
			continue;
		collapsed++;
		race.overlaps += atomic_load(&progress->looked) != before;
	}
	atomic_store(&progress->stop, true);
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	TH_LOG("%lu rounds, %lu collapses, %lu overlaps, %lu faults or reads, %lu mincore",
	       race.rounds, collapsed, race.overlaps, atomic_load(&progress->touched),
	       atomic_load(&progress->looked));
	EXPECT_EQ(status, 0) {
		TH_LOG("the other process saw wrong data (%x)", status);
	}
	skip_unless_raced(_metadata, &race);
}

/* exec() of this program with this argument ends at once. */
#define ENDS_AT_ONCE "ends-at-once"

/* A process with a page table that another process detaches; it ends when it is told to. */
struct victim {
	pid_t pid;
	/* a byte that is written here ends it */
	int go;
};

/* Map some pages of the memfd by small folios. */
static bool touch_pages(FIXTURE_DATA(shmem) * self)
{
	for (unsigned long i = self->page_size; i < self->pmd_size; i += 64 * self->page_size)
		FORCE_READ(self->shared[i]);
	return true;
}

/* Map the large folio by a page table. */
static bool touch_large(FIXTURE_DATA(shmem) * self)
{
	return !map_by_ptes(self->shared, self->page_size);
}

/* Start a victim that calls @touch, and wait until it has; false if that failed. */
static bool start_victim(FIXTURE_DATA(shmem) * self, struct victim *victim,
			 bool (*touch)(FIXTURE_DATA(shmem) *), bool exec)
{
	int go[2], ready[2];
	char byte = 0;
	bool ok;

	if (pipe(go) || pipe(ready))
		return false;
	victim->pid = fork();
	if (!victim->pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(go[1]);
		if (!touch(self) || write(ready[1], &byte, 1) != 1 || read(go[0], &byte, 1) != 1)
			_exit(1);
		if (exec) {
			execl("/proc/self/exe", "pgtable_detach", ENDS_AT_ONCE, NULL);
			_exit(2);
		}
		_exit(0);
	}
	close(go[0]);
	close(ready[1]);
	victim->go = go[1];
	ok = victim->pid > 0 && read(ready[0], &byte, 1) == 1;
	close(ready[0]);
	return ok;
}

/* Let a victim end, and wait for that; its status, or -1. */
static int end_victim(struct victim *victim)
{
	char byte = 0;
	int status = -1;

	if (write(victim->go, &byte, 1) != 1 || waitpid(victim->pid, &status, 0) != victim->pid)
		status = -1;
	close(victim->go);
	return status;
}

/*
 * A process ends, by exit() or exec(), while another process collapses the page cache and
 * retracts its page table.  The kernel checks the counts of an mm that it frees.
 */
static void victim_retract(struct __test_metadata *_metadata, FIXTURE_DATA(shmem) * self,
			   bool exec)
{
	struct shared_race *r = new_shared_race();
	struct victim victim;

	ASSERT_NE(r, NULL);
	ASSERT_EQ(madvise(self->shared, self->pmd_size, MADV_DONTNEED), 0);
	r->range = (struct range){ self->private, self->pmd_size, MADV_COLLAPSE, 0 };
	r->race.thread_fn = advise;
	r->race.data = &r->range;
	r->race.least = 50;
	if (!race_start_process(&r->race))
		SKIP(return, "needs two CPUs");
	while (race_on(&r->race)) {
		/* small folios again */
		ASSERT_EQ(fallocate(self->memfd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
				    self->page_size), 0);
		ASSERT_TRUE(start_victim(self, &victim, touch_pages, exec));
		race_begin(&r->race);
		r->race.failed += end_victim(&victim) != 0;
		race_end(&r->race);
	}
	race_stop(&r->race);
	TH_LOG("%lu rounds, %lu overlaps, %lu collapses, %lu failed", r->race.rounds,
	       r->race.overlaps, r->range.successes, r->race.failed);
	EXPECT_EQ(r->race.failed, 0) {
		TH_LOG("the process did not end as it should");
	}
	if (skip_unless_raced(_metadata, &r->race))
		return;
	EXPECT_GT(r->range.successes, 0);
}

TEST_F_TIMEOUT(shmem, exit_retract, RACE_TIMEOUT)
{
	victim_retract(_metadata, self, false);
}

TEST_F_TIMEOUT(shmem, exec_retract, RACE_TIMEOUT)
{
	victim_retract(_metadata, self, true);
}

/* The same of process_madvise(), which may be the last user of the mm. */
TEST_F_TIMEOUT(shmem, exit_process_collapse, RACE_TIMEOUT)
{
	struct shared_race r = {
		.range = { self->shared, self->pmd_size, MADV_COLLAPSE, 0 },
		.race = { .thread_fn = advise_process, .data = &r },
	};
	struct victim victim;

	if (geteuid())
		SKIP(return, "process_madvise() of another process is root's");
	if (!race_start(&r.race))
		SKIP(return, "needs two CPUs");
	while (race_on(&r.race)) {
		ASSERT_TRUE(start_victim(self, &victim, touch_large, false));
		r.pidfd = syscall(__NR_pidfd_open, victim.pid, 0);
		ASSERT_GE(r.pidfd, 0);
		race_begin(&r.race);
		r.race.failed += end_victim(&victim) != 0;
		race_end(&r.race);
		close(r.pidfd);
	}
	race_stop(&r.race);
	TH_LOG("%lu rounds, %lu overlaps, %lu collapses, %lu failed", r.race.rounds,
	       r.race.overlaps, r.range.successes, r.race.failed);
	EXPECT_EQ(r.race.failed, 0) {
		TH_LOG("the process did not end as it should");
	}
	EXPECT_TRUE(split_folio_of(self, self->private)) {
		TH_LOG("a collapse kept a reference to the folio");
	}
	if (skip_unless_raced(_metadata, &r.race))
		return;
	EXPECT_GT(r.range.successes, 0);
}

FIXTURE(file)
{
	unsigned long page_size, pmd_size;
	int fd;
	/* two mappings of the pmd_size bytes of fd, at multiples of pmd_size */
	char *mapping, *alias;
	/* the page that fail_memory() has taken */
	unsigned long failed_pfn;
};

/* A file on a disk, in the current directory. */
FIXTURE_SETUP(file)
{
	ASSERT_EQ(catch_faults(), 0);
	self->page_size = psize();
	self->pmd_size = read_pmd_pagesize();
	if (!self->pmd_size)
		SKIP(return, "the kernel has no transparent huge pages");
	self->fd = open(".", O_TMPFILE | O_RDWR, 0600);
	if (self->fd < 0)
		SKIP(return, "O_TMPFILE in the current directory: %s", strerror(errno));
	ASSERT_EQ(ftruncate(self->fd, self->pmd_size), 0);
	self->mapping = reserve_aligned(self->pmd_size);
	self->alias = reserve_aligned(self->pmd_size);
	ASSERT_NE(self->mapping, NULL);
	ASSERT_NE(self->alias, NULL);
	ASSERT_TRUE(map_file_at(self->mapping, self->pmd_size, self->fd, MAP_SHARED));
	ASSERT_TRUE(map_file_at(self->alias, self->pmd_size, self->fd, MAP_SHARED));
	memset(self->mapping, 0x5a, self->pmd_size);
	ASSERT_EQ(fsync(self->fd), 0);
}

FIXTURE_TEARDOWN(file)
{
	if (self->mapping)
		munmap(self->mapping, self->pmd_size);
	if (self->alias)
		munmap(self->alias, self->pmd_size);
	close(self->fd);
	/* without CONFIG_HWPOISON_INJECT the page stays lost */
	if (self->failed_pfn)
		unpoison_memory(self->failed_pfn);
}

/*
 * A page whose memory fails while it is dirty: the written data is lost, and reading
 * the page where it was mapped raises SIGBUS.  Everywhere else the file's older data can
 * be read.  NULL if that cannot be had here.
 */
static char *fail_memory(struct __test_metadata *_metadata, FIXTURE_DATA(file) * self)
{
	unsigned long offset = 100 * self->page_size;
	char *poisoned = self->mapping + offset, byte;
	unsigned long pfn;
	int pagemap;

	if (geteuid())
		SKIP(return NULL, "MADV_HWPOISON is root's");
	*poisoned = 0x5b;
	pagemap = open("/proc/self/pagemap", O_RDONLY);
	pfn = pagemap_get_pfn(pagemap, poisoned);
	close(pagemap);
	if (!madvise_hwpoison(poisoned, self->page_size))
		SKIP(return NULL, "MADV_HWPOISON of a file's page: %s", strerror(errno));
	self->failed_pfn = pfn;
	EXPECT_EQ(read_signal(poisoned), SIGBUS);
	/* tells of the error once; all other pages are clean then */
	fsync(self->fd);
	if (pread(self->fd, &byte, 1, offset) != 1 || byte != 0x5a)
		SKIP(return NULL, "the file system keeps the page: %s", strerror(errno));
	return poisoned;
}

/* The page raises SIGBUS also when the page cache is collapsed by another mapping. */
TEST_F(file, hwpoison_retract)
{
	char *poisoned = fail_memory(_metadata, self);
	long tables;

	if (!poisoned)
		return;
	tables = vm_pte();
	if (madvise_collapse_retry(self->alias, self->pmd_size))
		SKIP(return, "MADV_COLLAPSE of a file: %s", strerror(errno));
	ASSERT_TRUE(check_huge_file(self->alias, self->pmd_size, 1, self->pmd_size));

	ASSERT_EQ(read_signal(poisoned + self->page_size), 0);
	ASSERT_EQ(read_signal(poisoned), SIGBUS) {
		TH_LOG("hwpoison lost: stale data can be read");
	}
	expect_table_counted(_metadata, tables);
}

/* The page raises SIGBUS also in a child and in a grandchild. */
TEST_F(file, hwpoison_fork)
{
	char *poisoned = fail_memory(_metadata, self);

	if (!poisoned)
		return;
	ASSERT_EQ(fork_read_signal(poisoned + self->page_size, 1), 0);
	ASSERT_EQ(fork_read_signal(poisoned, 1), SIGBUS) {
		TH_LOG("hwpoison lost by fork(): stale data can be read");
	}
	ASSERT_EQ(fork_read_signal(poisoned, 2), SIGBUS);
}

FIXTURE(guard)
{
	unsigned long page_size, size;
	/* size bytes of memfd are mapped shared at area */
	int memfd;
	char *area;
};

/* A system call that changes, splits or merges the VMA at @area; 0 on success. */
FIXTURE_VARIANT(guard)
{
	int (*change)(char *area, unsigned long size);
	/* divide the area into two VMAs first */
	bool merge;
};

static int change_mprotect(char *area, unsigned long size)
{
	return mprotect(area, size, PROT_READ);
}

static int change_mlock(char *area, unsigned long size)
{
	return mlock2(area, size, MLOCK_ONFAULT);
}

static int change_madvise(char *area, unsigned long size)
{
	return madvise(area, size, MADV_DONTDUMP);
}

/* The range that stays gets a new VMA, the last page keeps the old VMA. */
static int change_split(char *area, unsigned long size)
{
	return munmap(area + size - psize(), psize());
}

/* mprotect() splits a part off in the same way. */
static int change_mprotect_split(char *area, unsigned long size)
{
	return mprotect(area + size - psize(), psize(), PROT_READ);
}

/* The second half of the area becomes like the first, and part of its VMA. */
static int change_merge(char *area, unsigned long size)
{
	return mprotect(area + size / 2, size / 2, PROT_READ | PROT_WRITE);
}

FIXTURE_VARIANT_ADD(guard, mprotect) { .change = change_mprotect };
FIXTURE_VARIANT_ADD(guard, mlock) { .change = change_mlock };
FIXTURE_VARIANT_ADD(guard, madvise) { .change = change_madvise };
FIXTURE_VARIANT_ADD(guard, split) { .change = change_split };
FIXTURE_VARIANT_ADD(guard, mprotect_split) { .change = change_mprotect_split };
FIXTURE_VARIANT_ADD(guard, merge) { .change = change_merge, .merge = true };

FIXTURE_SETUP(guard)
{
	ASSERT_EQ(catch_faults(), 0);
	self->page_size = psize();
	self->size = 16 * self->page_size;
	self->memfd = memfd_create("pgtable_detach", 0);
	ASSERT_GE(self->memfd, 0);
	ASSERT_EQ(ftruncate(self->memfd, self->size), 0);
	self->area = reserve_aligned(self->size);
	ASSERT_NE(self->area, NULL);
}

FIXTURE_TEARDOWN(guard)
{
	close(self->memfd);
}

/*
 * A child inherits the guard region of a shared mapping that another thread changes
 * while the region is installed.
 */
TEST_F_TIMEOUT(guard, fork, RACE_TIMEOUT)
{
	struct range guard = { self->area + 10 * self->page_size, self->page_size,
			       MADV_GUARD_INSTALL, 0 };
	struct race race = { .thread_fn = advise, .data = &guard };

	if (!race_start(&race))
		SKIP(return, "needs two CPUs");
	while (race_on(&race)) {
		unsigned long installed = guard.successes;

		/* a new VMA: none of its pages ever was in a guard region */
		ASSERT_TRUE(map_file_at(self->area, self->size, self->memfd, MAP_SHARED));
		if (variant->merge)
			ASSERT_EQ(mprotect(self->area + self->size / 2, self->size / 2,
					   PROT_READ), 0);
		race_begin(&race);
		ASSERT_EQ(variant->change(self->area, self->size), 0);
		race_end(&race);
		/* locked memory takes no guard region */
		if (guard.successes == installed)
			continue;
		ASSERT_EQ(read_signal(guard.start), SIGSEGV);
		race.failed += fork_read_signal(guard.start, 1) != SIGSEGV;
	}
	race_stop(&race);
	TH_LOG("%lu rounds, %lu overlaps, %lu guards installed, %lu lost", race.rounds,
	       race.overlaps, guard.successes, race.failed);
	EXPECT_EQ(race.failed, 0) {
		TH_LOG("guard regions lost by fork()");
	}
	if (skip_unless_raced(_metadata, &race))
		return;
	EXPECT_GT(guard.successes, 0);
}

/* A VMA with a guard region gets the name of its neighbour, and is merged with it. */
TEST(guard_name_merge_fork)
{
	const unsigned long size = 4 * psize();
	char *area;

	ASSERT_EQ(catch_faults(), 0);
	area = mmap(NULL, 2 * size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(area, MAP_FAILED);
	if (prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, area, size, "left"))
		SKIP(return, "PR_SET_VMA_ANON_NAME: %s", strerror(errno));
	ASSERT_EQ(madvise(area, psize(), MADV_GUARD_INSTALL), 0);
	ASSERT_EQ(fork_read_signal(area, 1), SIGSEGV);
	ASSERT_EQ(prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, area + size, size, "left"), 0);
	ASSERT_EQ(read_signal(area), SIGSEGV);
	ASSERT_EQ(fork_read_signal(area, 1), SIGSEGV) {
		TH_LOG("guard regions lost by fork()");
	}
}

FIXTURE(anon)
{
	unsigned long page_size, pmd_size;
	/* pmd_size bytes each, at multiples of pmd_size */
	char *area, *src;
	int uffd, pagemap;
};

FIXTURE_SETUP(anon)
{
	char *area;

	self->uffd = -1;
	self->pagemap = open("/proc/self/pagemap", O_RDONLY);
	ASSERT_GE(self->pagemap, 0);
	self->page_size = psize();
	self->pmd_size = read_pmd_pagesize();
	if (!self->pmd_size)
		SKIP(return, "the kernel has no transparent huge pages");
	/* page tables of one upper page table, which the address space around them keeps */
	area = reserve_aligned(4 * self->pmd_size);
	ASSERT_NE(area, NULL);
	self->area = area;
	self->src = area + 2 * self->pmd_size;
	ASSERT_TRUE(map_anon(area, self->pmd_size));
	*area = 1;
	ASSERT_TRUE(map_nothing(area, self->pmd_size));
}

FIXTURE_TEARDOWN(anon)
{
	if (self->uffd >= 0)
		close(self->uffd);
	close(self->pagemap);
}

/*
 * Unmap both areas: this mm has to have as many kB of anonymous pages as @before, plus
 * those that the stack and the C library may have taken since.  A page whose entry was
 * written to a freed page table is counted for ever.
 */
static void expect_rss_anon(struct __test_metadata *_metadata, FIXTURE_DATA(anon) * self,
			    unsigned long before)
{
	unsigned long after;

	ASSERT_TRUE(map_nothing(self->area, self->pmd_size));
	ASSERT_TRUE(map_nothing(self->src, self->pmd_size));
	after = rss_anon();
	EXPECT_LE(after, before + 32 * self->page_size / 1024) {
		TH_LOG("anonymous pages lost: RssAnon %lu kB, was %lu", after, before);
	}
}

/*
 * MADV_DONTNEED of all but the first or last page of a page table: the neighbouring VMA
 * that has this page keeps it, and its guard region.
 */
static void border_dontneed(struct __test_metadata *_metadata, FIXTURE_DATA(anon) * self,
			    char *area, char *neighbour)
{
	const unsigned long size = self->pmd_size - self->page_size;

	for (int guard = 0; guard < 2; guard++) {
		ASSERT_TRUE(map_anon(area, size));
		ASSERT_TRUE(map_anon(neighbour, self->page_size));
		/* a VMA of its own */
		ASSERT_EQ(madvise(neighbour, self->page_size, MADV_DONTFORK), 0);
		*neighbour = 0x77;
		if (guard)
			ASSERT_EQ(madvise(neighbour, self->page_size, MADV_GUARD_INSTALL), 0);
		memset(area, 1, size);
		ASSERT_EQ(madvise(area, size, MADV_DONTNEED), 0);
		ASSERT_FALSE(pagemap_is_populated(self->pagemap, area));
		if (guard) {
			EXPECT_EQ(read_signal(neighbour), SIGSEGV);
		} else {
			EXPECT_EQ(*neighbour, 0x77) {
				TH_LOG("the neighbour's page was unmapped");
			}
		}
	}
}

TEST_F(anon, border_dontneed_first)
{
	ASSERT_EQ(catch_faults(), 0);
	border_dontneed(_metadata, self, self->area + self->page_size, self->area);
}

TEST_F(anon, border_dontneed_last)
{
	ASSERT_EQ(catch_faults(), 0);
	border_dontneed(_metadata, self, self->area,
			self->area + self->pmd_size - self->page_size);
}

/*
 * UFFDIO_MOVE into a page table that MADV_DONTNEED frees meanwhile: the page is
 * moved, and dropped by MADV_DONTNEED or not, and the ioctl does not fail for it.
 */
TEST_F_TIMEOUT(anon, dontneed_uffdio_move, RACE_TIMEOUT)
{
	unsigned long moved = 0, dropped = 0, invalid = 0, otherwise = 0, torn = 0, anon;
	struct range zap = { .size = self->pmd_size, .advice = MADV_DONTNEED };
	struct race race = { .thread_fn = advise, .data = &zap };
	char *src = self->src, *dst = self->area;
	long tables;

	self->uffd = uffd_open_api(UFFD_FEATURE_MOVE);
	if (self->uffd < 0)
		SKIP(return, "userfaultfd with MOVE: %s", strerror(errno));
	if (!race_start(&race))
		SKIP(return, "needs two CPUs");
	anon = rss_anon();
	tables = vm_pte();
	ASSERT_TRUE(map_anon(src, self->pmd_size));
	ASSERT_TRUE(map_anon(dst, self->pmd_size));
	ASSERT_EQ(uffd_register(self->uffd, dst, self->pmd_size, true, false, false), 0);
	zap.start = dst;
	while (race_on(&race)) {
		struct uffdio_move move = {
			.src = (unsigned long)src,
			.dst = (unsigned long)dst,
			.len = self->page_size,
		};
		struct uffdio_zeropage zero = { .range = { (unsigned long)dst, self->page_size } };
		int ret;

		src[0] = 1;
		/* A page table at dst, for the other to free. */
		ASSERT_EQ(ioctl(self->uffd, UFFDIO_ZEROPAGE, &zero), 0);
		ASSERT_EQ(madvise(dst, self->page_size, MADV_DONTNEED), 0);
		race_begin(&race);
		ret = ioctl(self->uffd, UFFDIO_MOVE, &move);
		race_end(&race);
		if (ret) {
			*(errno == EINVAL ? &invalid : &otherwise) += 1;
			race.failed++;
			continue;
		}
		moved++;
		/* Moved and still there, or moved and dropped. */
		if (!pagemap_is_populated(self->pagemap, dst)) {
			dropped++;
		} else if (dst[0] != 1) {
			torn++;
			race.failed++;
		}
		ASSERT_EQ(madvise(dst, self->pmd_size, MADV_DONTNEED), 0);
	}
	race_stop(&race);
	TH_LOG("%lu rounds, %lu overlaps, %lu moved, of them %lu dropped, %lu torn", race.rounds,
	       race.overlaps, moved, dropped, torn);
	TH_LOG("%lu not valid, %lu failed otherwise", invalid, otherwise);
	EXPECT_EQ(invalid, 0) {
		TH_LOG("UFFDIO_MOVE said EINVAL of valid arguments");
	}
	EXPECT_EQ(otherwise, 0);
	EXPECT_EQ(torn, 0);
	expect_rss_anon(_metadata, self, anon);
	expect_tables(_metadata, tables);
	if (skip_unless_raced(_metadata, &race))
		return;
	EXPECT_GT(moved, 0);
}

/* UFFDIO_ZEROPAGE or UFFDIO_COPY, from @src, of one page; 0, or -1 with errno. */
static int fill_page(int uffd, char *dst, char *src, unsigned long page_size)
{
	struct uffdio_copy copy = {
		.dst = (unsigned long)dst,
		.src = (unsigned long)src,
		.len = page_size,
	};
	struct uffdio_zeropage zero = { .range = { (unsigned long)dst, page_size } };

	return src ? ioctl(uffd, UFFDIO_COPY, &copy) : ioctl(uffd, UFFDIO_ZEROPAGE, &zero);
}

/*
 * MADV_DONTNEED frees the page table that UFFDIO_ZEROPAGE or UFFDIO_COPY fills.  Nothing
 * else maps a page there, so the ioctl must not say that there is one.
 */
static void dontneed_fill(struct __test_metadata *_metadata, FIXTURE_DATA(anon) * self,
			  char *src, const char *name)
{
	struct range zap = { .size = self->pmd_size, .advice = MADV_DONTNEED };
	struct race race = { .thread_fn = advise, .data = &zap };
	unsigned long mapped = 0, again = 0, otherwise = 0, anon;
	char *dst = self->area;
	long tables;

	self->uffd = uffd_open_api(0);
	if (self->uffd < 0)
		SKIP(return, "userfaultfd: %s", strerror(errno));
	if (!race_start(&race))
		SKIP(return, "needs two CPUs");
	anon = rss_anon();
	tables = vm_pte();
	if (src) {
		ASSERT_TRUE(map_anon(src, self->page_size));
		*src = 1;
	}
	ASSERT_TRUE(map_anon(dst, self->pmd_size));
	ASSERT_EQ(uffd_register(self->uffd, dst, self->pmd_size, true, false, false), 0);
	zap.start = dst;
	while (race_on(&race)) {
		int ret;

		/* a page table at dst, for MADV_DONTNEED to free */
		ASSERT_EQ(fill_page(self->uffd, dst, NULL, self->page_size), 0);
		ASSERT_EQ(madvise(dst, self->page_size, MADV_DONTNEED), 0);
		race_begin(&race);
		ret = fill_page(self->uffd, dst, src, self->page_size);
		race_end(&race);
		if (!ret)
			mapped++;
		else if (errno == EAGAIN)
			again++;
		else if (errno == EEXIST)
			race.failed++;
		else
			otherwise++;
		ASSERT_EQ(madvise(dst, self->pmd_size, MADV_DONTNEED), 0);
	}
	race_stop(&race);
	TH_LOG("%lu rounds, %lu overlaps, %lu mapped, %lu EAGAIN, %lu EEXIST, %lu otherwise",
	       race.rounds, race.overlaps, mapped, again, race.failed, otherwise);
	EXPECT_EQ(race.failed, 0) {
		TH_LOG("%s said EEXIST of a page that is not there", name);
	}
	EXPECT_EQ(otherwise, 0);
	expect_rss_anon(_metadata, self, anon);
	expect_tables(_metadata, tables);
	if (skip_unless_raced(_metadata, &race))
		return;
	EXPECT_GT(mapped, 0);
}

TEST_F_TIMEOUT(anon, dontneed_uffdio_zeropage, RACE_TIMEOUT)
{
	dontneed_fill(_metadata, self, NULL, "UFFDIO_ZEROPAGE");
}

TEST_F_TIMEOUT(anon, dontneed_uffdio_copy, RACE_TIMEOUT)
{
	dontneed_fill(_metadata, self, self->src, "UFFDIO_COPY");
}

/*
 * UFFDIO_ZEROPAGE or UFFDIO_MOVE maps the first page of a page table.  MADV_DONTNEED drops
 * all other pages, which are a neighbouring VMA.  The page stays, and so does the page table.
 */
static void neighbour_fill(struct __test_metadata *_metadata, FIXTURE_DATA(anon) * self,
			   bool move)
{
	char *dst = self->area, *neighbour = dst + self->page_size, *src = self->src;
	struct range zap = { neighbour, self->pmd_size - self->page_size, MADV_DONTNEED, 0 };
	struct race race = { .thread_fn = advise, .data = &zap };
	unsigned long anon;
	long tables;

	self->uffd = uffd_open_api(move ? UFFD_FEATURE_MOVE : 0);
	if (self->uffd < 0)
		SKIP(return, "userfaultfd%s: %s", move ? " with MOVE" : "", strerror(errno));
	if (!race_start(&race))
		SKIP(return, "needs two CPUs");
	anon = rss_anon();
	tables = vm_pte();
	ASSERT_TRUE(map_anon(src, self->page_size));
	ASSERT_TRUE(map_anon(dst, self->pmd_size));
	/* the registered page is a VMA of its own */
	ASSERT_EQ(uffd_register(self->uffd, dst, self->page_size, true, false, false), 0);
	while (race_on(&race)) {
		struct uffdio_move arg = {
			.src = (unsigned long)src,
			.dst = (unsigned long)dst,
			.len = self->page_size,
		};
		int ret;

		*src = 1;
		*neighbour = 1;
		ASSERT_EQ(madvise(dst, self->page_size, MADV_DONTNEED), 0);
		race_begin(&race);
		ret = move ? ioctl(self->uffd, UFFDIO_MOVE, &arg) :
			     fill_page(self->uffd, dst, NULL, self->page_size);
		race_end(&race);
		race.failed += ret || !pagemap_is_populated(self->pagemap, dst) || *dst != move;
	}
	race_stop(&race);
	TH_LOG("%lu rounds, %lu overlaps, %lu lost", race.rounds, race.overlaps, race.failed);
	EXPECT_EQ(race.failed, 0) {
		TH_LOG("a page was lost beside MADV_DONTNEED of its neighbours");
	}
	expect_rss_anon(_metadata, self, anon);
	expect_tables(_metadata, tables);
	skip_unless_raced(_metadata, &race);
}

TEST_F_TIMEOUT(anon, neighbour_uffdio_zeropage, RACE_TIMEOUT)
{
	neighbour_fill(_metadata, self, false);
}

TEST_F_TIMEOUT(anon, neighbour_uffdio_move, RACE_TIMEOUT)
{
	neighbour_fill(_metadata, self, true);
}

struct poisoner {
	int uffd;
	char *addr;
	unsigned long page_size;
	/* in this round, and in all */
	bool poisoned;
	unsigned long successes;
};

/* UFFDIO_POISON fails as long as the page is mapped. */
static void poison_unmapped(void *data)
{
	struct poisoner *p = data;

	for (int i = 0; i < 50 && !p->poisoned; i++)
		p->poisoned = !uffd_poison(p->uffd, p->addr, p->page_size);
	p->successes += p->poisoned;
}

/*
 * MADV_DONTNEED empties a page table and drops its lock, and userfaultfd poisons the page at
 * @index.  MADV_DONTNEED then looks at all entries again, and keeps the page table.
 *
 * MADV_DONTNEED drops the lock early where its mmu_gather is full.  While dirty pages of a
 * file wait for their flush, a gather has two batches.  The two hold 4 pages more than a page
 * table maps.  With 4 anonymous pages before the file, the gather is full at the last entry
 * of the page table; with more anonymous pages, a few entries earlier.
 */
static void dontneed_poison(struct __test_metadata *_metadata, FIXTURE_DATA(anon) * self,
			    unsigned long index)
{
	const unsigned long page_size = self->page_size, size = self->pmd_size;
	struct poisoner poisoner = { .page_size = page_size };
	struct race race = { .thread_fn = poison_unmapped, .data = &poisoner, .least = 20 };
	char *file = self->src, *before = file - 8 * page_size;
	int memfd = memfd_create("pgtable_detach", 0);
	unsigned long anon;
	long tables;

	ASSERT_EQ(catch_faults(), 0);
	ASSERT_GE(memfd, 0);
	ASSERT_EQ(ftruncate(memfd, size), 0);
	self->uffd = uffd_open_api(UFFD_FEATURE_POISON);
	if (self->uffd < 0)
		SKIP(return, "userfaultfd with POISON: %s", strerror(errno));
	if (!race_start(&race))
		SKIP(return, "needs two CPUs");
	anon = rss_anon();
	tables = vm_pte();
	ASSERT_TRUE(map_anon(before, 8 * page_size));
	ASSERT_TRUE(map_file_at(file, size, memfd, MAP_SHARED));
	ASSERT_EQ(madvise(file, size, MADV_NOHUGEPAGE), 0);
	/* page faults do not wait for userfaultfd: the file has all pages */
	memset(file, 0x5a, size);
	ASSERT_EQ(uffd_register(self->uffd, file, size, true, false, false), 0);
	poisoner.uffd = self->uffd;
	poisoner.addr = file + index * page_size;
	while (race_on(&race)) {
		const unsigned long nr_anon = 4 + race.rounds % 4;
		char *first = file - nr_anon * page_size;
		int ret;

		ASSERT_EQ(madvise(first, nr_anon * page_size, MADV_POPULATE_WRITE), 0);
		ASSERT_EQ(madvise(file, size, MADV_POPULATE_WRITE), 0);
		poisoner.poisoned = false;
		race_begin(&race);
		ret = madvise(first, nr_anon * page_size + size, MADV_DONTNEED);
		race_end(&race);
		ASSERT_EQ(ret, 0);
		if (poisoner.poisoned)
			race.failed += read_signal(poisoner.addr) != SIGBUS;
		ASSERT_EQ(madvise(file, size, MADV_DONTNEED), 0);
	}
	race_stop(&race);
	close(memfd);
	TH_LOG("%lu rounds, %lu overlaps, %lu pages poisoned, %lu lost", race.rounds,
	       race.overlaps, poisoner.successes, race.failed);
	EXPECT_EQ(race.failed, 0) {
		TH_LOG("poison lost: stale data can be read");
	}
	/* with the address space around the anonymous pages, so that their page table goes */
	ASSERT_TRUE(map_nothing(self->area, 3 * size));
	expect_rss_anon(_metadata, self, anon);
	expect_tables(_metadata, tables);
	if (skip_unless_raced(_metadata, &race))
		return;
	EXPECT_GT(poisoner.successes, 0);
}

TEST_F_TIMEOUT(anon, dontneed_poison_first, RACE_TIMEOUT)
{
	dontneed_poison(_metadata, self, 0);
}

TEST_F_TIMEOUT(anon, dontneed_poison_last, RACE_TIMEOUT)
{
	dontneed_poison(_metadata, self, self->pmd_size / self->page_size - 1);
}

static void write_page(void *data)
{
	*(char *)data = 1;
}

/*
 * A write fault on an entry that is present and not writable, while
 * MADV_DONTNEED frees the page table: it must not write into that.
 */
static void dontneed_write(struct __test_metadata *_metadata, FIXTURE_DATA(anon) * self,
			   bool soft_dirty)
{
	struct race race = { .thread_fn = write_page, .data = self->area };
	unsigned long kept = 0, anon;
	long before;

	if (!race_start(&race))
		SKIP(return, "needs two CPUs");
	ASSERT_TRUE(map_nothing(self->area, self->pmd_size));
	anon = rss_anon();
	before = vm_pte();
	ASSERT_TRUE(map_anon(self->area, self->pmd_size));
	while (race_on(&race)) {
		if (soft_dirty) {
			self->area[0] = 1;
			clear_softdirty();
		} else {
			/* maps the zero page */
			ASSERT_EQ(self->area[0], 0);
		}
		race_begin(&race);
		madvise(self->area, self->pmd_size, MADV_DONTNEED);
		race_end(&race);
		kept += self->area[0];
		ASSERT_EQ(madvise(self->area, self->pmd_size, MADV_DONTNEED), 0);
	}
	race_stop(&race);
	TH_LOG("%lu rounds, %lu overlaps, %lu writes came last", race.rounds, race.overlaps, kept);
	expect_vm_pte(_metadata, self->area, self->pmd_size, before);
	expect_rss_anon(_metadata, self, anon);
	skip_unless_raced(_metadata, &race);
}

TEST_F_TIMEOUT(anon, dontneed_write_zero_page, RACE_TIMEOUT)
{
	dontneed_write(_metadata, self, false);
}

TEST_F_TIMEOUT(anon, dontneed_write_clear_refs, RACE_TIMEOUT)
{
	if (!softdirty_supported())
		SKIP(return, "the kernel has no soft-dirty bit");
	dontneed_write(_metadata, self, true);
}

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], ENDS_AT_ONCE))
		return 0;
	race_adjust_timeouts();
	return test_harness_run(argc, argv);
}
