// SPDX-License-Identifier: GPL-2.0-only
/*
 * get_user_pages_fast() and pin_user_pages_fast(): what they pin is what they were
 * asked for, and is what is mapped, however long the range; interrupts are disabled
 * for a bounded time meanwhile; and what must not be pinned is not, whoever frees or
 * protects it at the same time.
 *
 * Pages are pinned by gup_test, and read by it through the pins.  The races print
 * how many rounds they ran, see race_util.h.
 */
#define _GNU_SOURCE
#include "kselftest_harness.h"
#include <linux/memfd.h>
#include <linux/types.h>
#include <mntent.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include "../../../../mm/gup_test.h"
#include "hugepage_settings.h"
#include "race_util.h"

#define FOLL_WRITE	1
#define TRACING		"/sys/kernel/tracing"
#define INSTANCE	TRACING "/instances/gup_fast"
#define EVENTS		INSTANCE "/events/preemptirq/"
/* pages that one section with interrupts disabled may cover */
#define SECTION		512
/* a page table or a huge page is larger than that on some machines */
#define MAX_UNIT	(32UL << 20)

static int open_gup_test(void)
{
	return open("/sys/kernel/debug/gup_test", O_RDWR);
}

/* Pin @nr pages for a long time; 0 or -1 with errno. */
static int pin(int gup_test, const char *p, unsigned long nr, int flags)
{
	struct pin_longterm_test arg = {
		.addr = (unsigned long)p,
		.size = nr * psize(),
		.flags = flags,
	};

	return ioctl(gup_test, PIN_LONGTERM_TEST_START, &arg);
}

#define PIN_SLOW	PIN_LONGTERM_TEST_FLAG_USE_WRITE
#define PIN_FAST	(PIN_LONGTERM_TEST_FLAG_USE_WRITE | PIN_LONGTERM_TEST_FLAG_USE_FAST)

/* Copy what is pinned to @to. */
static int read_pins(int gup_test, char *to)
{
	__u64 arg = (unsigned long)to;

	return ioctl(gup_test, PIN_LONGTERM_TEST_READ, &arg);
}

static void unpin(int gup_test)
{
	ioctl(gup_test, PIN_LONGTERM_TEST_STOP);
}

static unsigned long read_vmstat(const char *name)
{
	size_t len = strlen(name);
	unsigned long value;
	char line[128];
	FILE *f;

	/* have each CPU add its part */
	f = fopen("/proc/sys/vm/stat_refresh", "w");
	if (f) {
		fputs("1", f);
		fclose(f);
	}
	f = fopen("/proc/vmstat", "r");
	while (f && fgets(line, sizeof(line), f)) {
		if (!strncmp(line, name, len) && line[len] == ' ') {
			value = strtoul(line + len, NULL, 10);
			fclose(f);
			return value;
		}
	}
	ksft_exit_fail_msg("no %s in /proc/vmstat\n", name);
}

/* Pages that have ever been pinned, each time counted, and those that still are. */
static unsigned long pinned_ever(void)
{
	return read_vmstat("nr_foll_pin_acquired");
}

static unsigned long pinned_now(void)
{
	unsigned long released = read_vmstat("nr_foll_pin_released");

	return pinned_ever() - released;
}

/* Memory that is one piece of a file mapped again and again. */
FIXTURE(range)
{
	/* bytes of the piece, and of all of them */
	unsigned long unit, size;
	int gup_test, memfd;
	char *p;
};

FIXTURE_VARIANT(range)
{
	unsigned int memfd;
	/* mapped by pmds */
	bool large;
};

FIXTURE_VARIANT_ADD(range, small) { .memfd = 0 };
FIXTURE_VARIANT_ADD(range, thp) { .memfd = 0, .large = true };
FIXTURE_VARIANT_ADD(range, hugetlb) { .memfd = MFD_HUGETLB };

static bool map_range(FIXTURE_DATA(range) * self, bool large)
{
	unsigned long i;

	for (i = 0; i < self->size; i += self->unit) {
		if (!map_memfd(self->p + i, self->unit, self->memfd, MAP_SHARED))
			return false;
		force_read_pages(self->p + i, self->unit / psize(), psize());
		if (large && madvise(self->p + i, self->unit, MADV_COLLAPSE))
			return false;
		/* writable, so that no fault is needed */
		for (unsigned long j = 0; j < self->unit; j += psize())
			__atomic_store_n(self->p + i + j, 1, __ATOMIC_RELAXED);
	}
	return true;
}

FIXTURE_SETUP(range)
{
	self->memfd = -1;
	self->gup_test = open_gup_test();
	if (self->gup_test < 0)
		SKIP(return, "gup_test: %s", strerror(errno));
	self->unit = variant->memfd ? default_huge_page_size() : read_pmd_pagesize();
	if (!self->unit || self->unit > MAX_UNIT)
		SKIP(return, "no huge pages of at most %lu MB", MAX_UNIT >> 20);
	if (variant->memfd && !hugetlb_free_default_pages())
		SKIP(return, "no free hugetlb page");
	self->memfd = memfd_create("gup_fast", variant->memfd);
	ASSERT_GE(self->memfd, 0);
	ASSERT_EQ(ftruncate(self->memfd, self->unit), 0);
}

FIXTURE_TEARDOWN(range)
{
	if (self->p)
		munmap(self->p, self->size);
	if (self->memfd >= 0)
		close(self->memfd);
	if (self->gup_test >= 0)
		close(self->gup_test);
}

static bool put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_TRUNC);
	bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		close(fd);
	return ok;
}

/* Sections with interrupts disabled that GUP-fast made, from the trace. */
struct sections {
	unsigned long nr;
	/* microseconds */
	double longest;
};

static bool trace_start(void)
{
	char filter[64];

	if (access(TRACING "/instances", F_OK) && mount("none", TRACING, "tracefs", 0, NULL))
		return false;
	if (mkdir(INSTANCE, 0700) && errno != EEXIST)
		return false;
	snprintf(filter, sizeof(filter), "common_pid == %d", getpid());
	return put(EVENTS "irq_disable/filter", filter) &&
	       put(EVENTS "irq_enable/filter", filter) && put(EVENTS "enable", "1");
}

static void trace_stop(void)
{
	put(EVENTS "enable", "0");
	rmdir(INSTANCE);
}

/* Reads one CPU's events, in order: the test stays on one. */
static bool trace_read(struct sections *sections)
{
	double began = 0, time = 0;
	char line[512];
	FILE *f = fopen(INSTANCE "/trace", "r");

	memset(sections, 0, sizeof(*sections));
	if (!f)
		return false;
	while (fgets(line, sizeof(line), f)) {
		/* TASK-PID [CPU] FLAGS TIME: irq_enable: caller=SYMBOL+OFFSET parent=... */
		char *event = strstr(line, ": irq_");

		if (!event)
			continue;
		for (char *p = event; p > line && p[-1] != ' '; p--)
			time = strtod(p - 1, NULL);
		/* Who disables them may be a function that traces that. */
		if (!strncmp(event, ": irq_disable:", 14)) {
			began = time;
		} else if (!strncmp(event, ": irq_enable: caller=gup_fast", 29)) {
			sections->nr++;
			if ((time - began) * 1e6 > sections->longest)
				sections->longest = (time - began) * 1e6;
		}
	}
	fclose(f);
	return true;
}

/*
 * A section with interrupts disabled covers at most 512 pages, whatever was asked for.
 * 1 GiB is mapped page by page for it, which can take longer than a test usually has.
 */
TEST_F_TIMEOUT(range, irqs_off, 120)
{
	static const unsigned int nrs[] = { 512, 1024, 1536, 4096, 262144 };
	struct sections sections;
	int cpus[2];

	/* any CPU will do */
	cpus[0] = 0;
	two_cpus(cpus);
	pin_to(cpus[0]);
	self->size = 262144UL * psize();
	self->p = reserve(self->size);
	ASSERT_NE(self->p, NULL);
	if (!map_range(self, variant->large)) {
		ASSERT_TRUE(variant->large);
		SKIP(return, "no THP of shmem: %s", strerror(errno));
	}
	/* the first and the last: each has a VMA of its own */
	for (unsigned long i = 0; variant->large && i < 2; i++)
		if (!check_huge_shmem(self->p + i * (self->size - self->unit), self->unit, 1,
				      self->unit))
			SKIP(return, "no THP of shmem");
	for (unsigned long i = 0; i < ARRAY_SIZE(nrs); i++) {
		struct gup_test arg = {
			.addr = (unsigned long)self->p,
			.size = nrs[i] * (unsigned long)psize(),
			.nr_pages_per_call = nrs[i],
			.gup_flags = FOLL_WRITE,
		};
		unsigned long pinned = pinned_ever();
		int ret;

		if (!trace_start()) {
			trace_stop();
			ASSERT_TRUE(__test_passed(_metadata));
			SKIP(return, "no events preemptirq:irq_disable and irq_enable");
		}
		ret = ioctl(self->gup_test, PIN_FAST_BENCHMARK, &arg);
		put(EVENTS "enable", "0");
		ASSERT_TRUE(trace_read(&sections));
		trace_stop();
		ASSERT_EQ(ret, 0);
		EXPECT_EQ(pinned_ever() - pinned, nrs[i]) {
			TH_LOG("pages pinned, of %u", nrs[i]);
		}
		TH_LOG("%u pages: %lu sections with interrupts disabled, the longest %.0f us",
		       nrs[i], sections.nr, sections.longest);
		/* without any, it was the slow path, or the trace is not understood */
		EXPECT_GT(sections.nr, 0);
		EXPECT_GE(sections.nr * SECTION, nrs[i]) {
			TH_LOG("interrupts disabled for more than %u pages", SECTION);
		}
	}
}

/*
 * What is pinned is what is mapped: ranges that begin and end beside the edges of page
 * tables and of chunks, with pages that are not there and pages that are read-only in
 * between, read through fast pins, through slow ones, and by the mapping.
 */
FIXTURE(content)
{
	unsigned long size, pmd;
	/* what each page begins with */
	unsigned long *tags;
	int gup_test;
	char *p, *copy;
};

FIXTURE_SETUP(content)
{
	self->gup_test = open_gup_test();
	if (self->gup_test < 0)
		SKIP(return, "gup_test: %s", strerror(errno));
	self->pmd = read_pmd_pagesize();
	if (!self->pmd || self->pmd > MAX_UNIT / 4)
		SKIP(return, "no huge pages of at most %lu MB", MAX_UNIT >> 22);
	self->size = 4 * self->pmd;
	self->p = reserve(self->size);
	ASSERT_NE(self->p, NULL);
	self->tags = calloc(self->size / psize(), sizeof(self->tags[0]));
	ASSERT_NE(self->tags, NULL);
	self->copy = mmap(NULL, self->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			  -1, 0);
	ASSERT_NE(self->copy, MAP_FAILED);
	ASSERT_EQ(mmap(self->p, self->size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0), self->p);
	/* The second and the fourth are THPs. */
	madvise(self->p, self->size, MADV_NOHUGEPAGE);
	for (unsigned long i = 0; i < self->size / psize(); i++) {
		self->tags[i] = i + 1;
		*(unsigned long *)(self->p + i * psize()) = self->tags[i];
	}
	for (unsigned long i = self->pmd; i < self->size; i += 2 * self->pmd) {
		madvise(self->p + i, self->pmd, MADV_HUGEPAGE);
		if (madvise(self->p + i, self->pmd, MADV_COLLAPSE) ||
		    !check_huge_anon(self->p + i, self->pmd, 1, self->pmd))
			SKIP(return, "no THP: %s", strerror(errno));
	}
}

FIXTURE_TEARDOWN(content)
{
	if (self->p)
		munmap(self->p, self->size);
	if (self->copy)
		munmap(self->copy, self->size);
	free(self->tags);
	if (self->gup_test >= 0)
		close(self->gup_test);
}

/*
 * None are pinned when none are asked for.  The range begins with a page table, and
 * what is mapped ends within it: who walks past the range stops there, unharmed.
 */
TEST_F(content, nothing)
{
	unsigned long before, pinned;

	ASSERT_EQ(munmap(self->p + self->pmd / 2, self->pmd / 2), 0);
	for (int asked = 1; asked >= 0; asked--) {
		pinned = -1UL;
		/* Others may pin meanwhile, but not every time. */
		for (int i = 0; i < 10 && pinned != asked; i++) {
			struct gup_test arg = {
				.addr = (unsigned long)self->p,
				.size = asked ? psize() : self->pmd,
				.nr_pages_per_call = asked,
				.gup_flags = FOLL_WRITE,
			};

			before = pinned_ever();
			ASSERT_EQ(ioctl(self->gup_test, PIN_FAST_BENCHMARK, &arg), 0);
			pinned = pinned_ever() - before;
		}
		EXPECT_EQ(pinned, asked) {
			TH_LOG("%lu pages pinned when %s asked for", pinned,
			       asked ? "one was" : "none were");
		}
	}
}

/* Pages of [first, first + nr) that are not what was written; -1 if they cannot be pinned. */
static long wrong_pages(FIXTURE_DATA(content) * self, unsigned long first, unsigned long nr,
			int flags)
{
	char *p = self->p + first * psize();
	long wrong = 0;

	if (pin(self->gup_test, p, nr, flags))
		return -1;
	memset(self->copy, 0xff, nr * psize());
	if (read_pins(self->gup_test, self->copy))
		wrong = -1;
	for (unsigned long i = 0; wrong >= 0 && i < nr; i++)
		wrong += memcmp(self->copy + i * psize(), p + i * psize(), psize()) ||
			 *(unsigned long *)(self->copy + i * psize()) != self->tags[first + i];
	unpin(self->gup_test);
	return wrong;
}

static void check_ranges(struct __test_metadata *_metadata, FIXTURE_DATA(content) * self)
{
	const unsigned long all = self->size / psize(), table = all / 4;
	const unsigned long firsts[] = { 0, 1, SECTION - 1, table - 1, table + 1 };
	const unsigned long nrs[] = { 1, 2, SECTION - 1, SECTION, SECTION + 1, table - 1, table,
				      table + 1, 2 * table, 3 * table - 1, all };

	for (unsigned long i = 0; i < ARRAY_SIZE(firsts); i++) {
		for (unsigned long j = 0; j < ARRAY_SIZE(nrs); j++) {
			unsigned long nr = nrs[j] < all - firsts[i] ? nrs[j] : all - firsts[i];

			EXPECT_EQ(wrong_pages(self, firsts[i], nr, PIN_FAST), 0) {
				TH_LOG("%lu pages from %lu: the fast pins are others", nr,
				       firsts[i]);
			}
			EXPECT_EQ(wrong_pages(self, firsts[i], nr, PIN_SLOW), 0);
		}
	}
}

TEST_F(content, populated)
{
	check_ranges(_metadata, self);
}

/* Each time again: pinning them has them populated. */
TEST_F(content, holes)
{
	const unsigned long pages = self->size / psize();
	const unsigned long holes[] = { 0, 1, SECTION - 1, SECTION, SECTION + 1, pages / 2 - 1,
					pages / 2, pages - 1 };

	for (unsigned long i = 0; i < ARRAY_SIZE(holes); i++) {
		char *hole = self->p + holes[i] * psize();

		self->tags[holes[i]] = 0;
		ASSERT_EQ(madvise(hole, psize(), MADV_DONTNEED), 0);
		EXPECT_EQ(wrong_pages(self, 0, pages, PIN_FAST), 0) {
			TH_LOG("a hole at %lu: the fast pins are others", holes[i]);
		}
		ASSERT_EQ(madvise(hole, psize(), MADV_DONTNEED), 0);
		EXPECT_EQ(wrong_pages(self, 1, pages - 1, PIN_FAST), 0) {
			TH_LOG("a hole at %lu: the fast pins are others", holes[i]);
		}
	}
}

/* What is pinned before a page that cannot be does not stay pinned. */
TEST_F(content, read_only)
{
	const unsigned long pages = self->size / psize();
	const unsigned long edges[] = { 0, SECTION - 1, SECTION, SECTION + 1, pages - 1 };
	const unsigned long before = pinned_now();

	for (unsigned long i = 0; i < ARRAY_SIZE(edges); i++) {
		char *p = self->p + edges[i] * psize();

		ASSERT_EQ(mprotect(p, psize(), PROT_READ), 0);
		EXPECT_EQ(wrong_pages(self, 0, pages, PIN_FAST), -1) {
			TH_LOG("a page that is read-only was pinned for writing");
		}
		EXPECT_EQ(errno, EFAULT);
		ASSERT_EQ(mprotect(p, psize(), PROT_READ | PROT_WRITE), 0);
	}
	EXPECT_EQ(wrong_pages(self, 0, pages, PIN_FAST), 0);
	EXPECT_EQ(pinned_now(), before) {
		TH_LOG("pages stay pinned");
	}
}

/* Writing to a file through a pin that stays is what file systems cannot track. */
FIXTURE(longterm)
{
	unsigned long pmd;
	int gup_test, fd;
	char *p;
};

FIXTURE_VARIANT(longterm)
{
	const char *type;
};

FIXTURE_VARIANT_ADD(longterm, ext4) { .type = "ext4" };
FIXTURE_VARIANT_ADD(longterm, xfs) { .type = "xfs" };

/* A file without a name on a file system of that type, wherever it is mounted; or -1. */
static int open_on(const char *type)
{
	FILE *mounts = setmntent("/proc/self/mounts", "r");
	struct mntent *mount;
	int fd = -1;

	if (!mounts)
		return -1;
	while (fd < 0 && (mount = getmntent(mounts)))
		if (!strcmp(mount->mnt_type, type))
			fd = open(mount->mnt_dir, O_TMPFILE | O_RDWR, 0600);
	endmntent(mounts);
	return fd;
}

FIXTURE_SETUP(longterm)
{
	self->fd = -1;
	self->gup_test = open_gup_test();
	if (self->gup_test < 0)
		SKIP(return, "gup_test: %s", strerror(errno));
	self->pmd = read_pmd_pagesize();
	if (!self->pmd || self->pmd > MAX_UNIT)
		SKIP(return, "no huge pages of at most %lu MB", MAX_UNIT >> 20);
	self->fd = open_on(variant->type);
	if (self->fd < 0)
		SKIP(return, "no %s that can be written to is mounted", variant->type);
	self->p = reserve(self->pmd);
	ASSERT_NE(self->p, NULL);
}

FIXTURE_TEARDOWN(longterm)
{
	if (self->p)
		munmap(self->p, self->pmd);
	if (self->fd >= 0)
		close(self->fd);
	if (self->gup_test >= 0)
		close(self->gup_test);
}

static void expect_refused(struct __test_metadata *_metadata, FIXTURE_DATA(longterm) * self,
			   unsigned long nr)
{
	EXPECT_EQ(pin(self->gup_test, self->p, nr, PIN_FAST), -1) {
		TH_LOG("pages of a file pinned for writing, for a long time");
		unpin(self->gup_test);
	}
	EXPECT_EQ(errno, EFAULT);
}

TEST_F(longterm, small)
{
	ASSERT_EQ(ftruncate(self->fd, psize()), 0);
	ASSERT_TRUE(map_memfd(self->p, psize(), self->fd, MAP_SHARED));
	__atomic_store_n(self->p, 1, __ATOMIC_RELAXED);
	expect_refused(_metadata, self, 1);
}

TEST_F(longterm, large)
{
	char *content = calloc(1, self->pmd);

	ASSERT_NE(content, NULL);
	/* in one go, so that the file system may use one large folio */
	ASSERT_EQ(write(self->fd, content, self->pmd), self->pmd);
	free(content);
	ASSERT_TRUE(map_memfd(self->p, self->pmd, self->fd, MAP_SHARED));
	/* The first access writes: it maps the folio by a pmd that is writable. */
	__atomic_store_n(self->p, 1, __ATOMIC_RELAXED);
	if (!check_huge_file(self->p, self->pmd, 1, self->pmd))
		SKIP(return, "no large folio of the file, mapped by a pmd");
	expect_refused(_metadata, self, self->pmd / psize());
	expect_refused(_metadata, self, 1);
}

/* pages that races pin */
#define NR_RACE		16UL

/*
 * Memory that is pinned while something is done to it: a THP, or small pages on both
 * sides of where one page table ends, and one section with interrupts disabled.
 */
FIXTURE(race)
{
	/* bytes of p, other and moved; where in them what is pinned begins, and what is freed */
	unsigned long size, at, freed;
	int gup_test, pagemap;
	char *p, *other, *moved, *copy;
};

FIXTURE_VARIANT(race)
{
	bool large;
};

FIXTURE_VARIANT_ADD(race, small) { };
FIXTURE_VARIANT_ADD(race, thp) { .large = true };

static char *map_anon(unsigned long size, bool large)
{
	char *p = reserve(size);

	if (!p || mmap(p, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
		       -1, 0) != p)
		return NULL;
	madvise(p, size, large ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	return p;
}

FIXTURE_SETUP(race)
{
	self->gup_test = open_gup_test();
	if (self->gup_test < 0)
		SKIP(return, "gup_test: %s", strerror(errno));
	self->size = read_pmd_pagesize();
	if (!self->size || self->size > MAX_UNIT)
		SKIP(return, "no huge pages of at most %lu MB", MAX_UNIT >> 20);
	self->freed = self->size;
	if (!variant->large) {
		self->at = self->size - NR_RACE / 2 * psize();
		self->size *= 2;
		/* not all that a page table maps: it would be freed, too */
		self->freed = NR_RACE * psize();
	}
	self->pagemap = open("/proc/self/pagemap", O_RDONLY);
	ASSERT_GE(self->pagemap, 0);
	self->p = map_anon(self->size, variant->large);
	ASSERT_NE(self->p, NULL);
	*self->p = 1;
	if (variant->large && !check_huge_anon(self->p, self->size, 1, self->size))
		SKIP(return, "no THP");
	self->other = map_anon(self->size, variant->large);
	self->moved = map_anon(self->size, variant->large);
	self->copy = map_anon(NR_RACE * psize(), false);
	ASSERT_NE(self->other, NULL);
	ASSERT_NE(self->moved, NULL);
	ASSERT_NE(self->copy, NULL);
	madvise(self->copy, NR_RACE * psize(), MADV_DONTFORK);
	madvise(self->other, self->size, MADV_DONTFORK);
}

FIXTURE_TEARDOWN(race)
{
	if (self->gup_test >= 0)
		close(self->gup_test);
}

static void write_tags(char *p, long tag)
{
	for (unsigned long i = 0; i < NR_RACE; i++)
		__atomic_store_n((long *)(p + i * psize()), tag, __ATOMIC_RELAXED);
}

static bool is_huge(int pagemap, char *p)
{
	struct page_region region;
	struct pm_scan_arg arg = {
		.size = sizeof(arg),
		.start = (uintptr_t)p,
		.end = (uintptr_t)p + psize(),
		.vec = (uintptr_t)&region,
		.vec_len = 1,
		.category_mask = PAGE_IS_HUGE,
		.return_mask = PAGE_IS_HUGE,
	};

	return ioctl(pagemap, PAGEMAP_SCAN, &arg) == 1;
}

/* Pages among what is pinned that do not hold @tag, nor 0 if @zero. */
static unsigned long other_tags(FIXTURE_DATA(race) * self, long tag, bool zero)
{
	unsigned long other = 0;

	if (read_pins(self->gup_test, self->copy))
		return NR_RACE;
	for (unsigned long i = 0; i < NR_RACE; i++) {
		long found = *(long *)(self->copy + i * psize());

		other += found != tag && !(zero && !found);
	}
	return other;
}

static void report_race(struct __test_metadata *_metadata, struct race *race,
			unsigned long violations, const char *what)
{
	race_stop(race);
	TH_LOG("%lu rounds, %lu overlaps, in %lu %s", race->rounds, race->overlaps, violations,
	       what);
	EXPECT_EQ(violations, 0) {
		TH_LOG("%s in %lu rounds", what, violations);
	}
	if (__test_passed(_metadata) && not_raced(race))
		SKIP(return, "%s", not_raced(race));
}

/*
 * Pin what is tagged, while @theirs is done to it.  With @keeps what is pinned has to
 * stay what is mapped, and is tagged once more; else it may have been freed, but
 * must not be another's.  It is made clean by MADV_FREE before if @lazyfree.
 */
static void race_pins(struct __test_metadata *_metadata, FIXTURE_DATA(race) * self,
		      const FIXTURE_VARIANT(race) * variant, void (*theirs)(void *data),
		      bool keeps, bool lazyfree, const char *what)
{
	struct race race = { .theirs = theirs, .data = self };
	char *pinned = self->p + self->at;
	unsigned long violations = 0;
	long tag = 0;

	if (!race_start(&race))
		SKIP(return, "needs two CPUs");
	while (race_on(&race)) {
		int ret;

		/* large again, if it was split */
		madvise(self->p, self->size, MADV_DONTNEED);
		madvise(self->other, self->size, MADV_DONTNEED);
		write_tags(pinned, ++tag);
		/* no memory for a THP just now: not a round */
		if (variant->large && !is_huge(self->pagemap, self->p))
			continue;
		if (lazyfree)
			madvise(self->p, self->size, MADV_FREE);
		race_begin(&race);
		ret = pin(self->gup_test, pinned, NR_RACE, PIN_FAST);
		race_end(&race);
		ASSERT_EQ(ret, 0);
		if (keeps)
			write_tags(pinned, ++tag);
		violations += other_tags(self, tag, !keeps) != 0;
		unpin(self->gup_test);
	}
	report_race(_metadata, &race, violations, what);
}

static void fork_child(void *data)
{
	pid_t pid = fork();

	if (!pid)
		_exit(0);
	if (pid > 0)
		waitpid(pid, NULL, 0);
}

/* Who writes after fork() gets a copy of what is shared; of what is pinned the child does. */
TEST_F_TIMEOUT(race, fork, RACE_TIMEOUT)
{
	race_pins(_metadata, self, variant, fork_child, true, false, "pins lost to a fork()");
}

/* Free pages, and use them for something else on the same CPU. */
static void free_and_refill(void *data)
{
	FIXTURE_DATA(race) * self = data;

	madvise(self->p + self->at, self->freed, MADV_DONTNEED);
	write_tags(self->other + self->at, -1);
}

/* What was freed and is another's by now must not be pinned. */
TEST_F_TIMEOUT(race, free, RACE_TIMEOUT)
{
	race_pins(_metadata, self, variant, free_and_refill, false, false, "freed pages pinned");
}

/* Move what maps pages, a page table or a pmd, and map others by it where it is now. */
static void move_and_refill(void *data)
{
	FIXTURE_DATA(race) * self = data;
	char *moved = self->moved + self->at;

	if (mremap(self->p, self->size, self->size,
		   MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, self->moved) != self->moved)
		ksft_exit_fail_perror("mremap");
	madvise(moved, NR_RACE * psize(), MADV_DONTNEED);
	write_tags(moved, -1);
}

/* What is mapped elsewhere by now was never mapped here. */
TEST_F_TIMEOUT(race, move, RACE_TIMEOUT)
{
	race_pins(_metadata, self, variant, move_and_refill, false, false,
		  "pages of another address pinned");
}

static void page_out(void *data)
{
	FIXTURE_DATA(race) * self = data;

	madvise(self->p, self->size, MADV_PAGEOUT);
}

/* What is reclaimed is not pinned, what is pinned is not reclaimed.  No swap is needed. */
TEST_F_TIMEOUT(race, reclaim, RACE_TIMEOUT)
{
	race_pins(_metadata, self, variant, page_out, true, true, "reclaimed pages pinned");
}

static void unmap_page(void *data)
{
	munmap(data, psize());
}

/* Secret memory is never pinned, not while its last user unmaps it either. */
FIXTURE(secret)
{
	int gup_test;
	char *p;
};

FIXTURE_SETUP(secret)
{
	self->gup_test = open_gup_test();
	if (self->gup_test < 0)
		SKIP(return, "gup_test: %s", strerror(errno));
	self->p = reserve(psize());
	ASSERT_NE(self->p, NULL);
}

FIXTURE_TEARDOWN(secret)
{
	if (self->gup_test >= 0)
		close(self->gup_test);
}

TEST_F_TIMEOUT(secret, unmap, RACE_TIMEOUT)
{
	struct race race = { .theirs = unmap_page, .data = self->p };
	unsigned long violations = 0;

	if (!race_start(&race))
		SKIP(return, "needs two CPUs");
	while (race_on(&race)) {
		int fd = syscall(__NR_memfd_secret, 0);

		if (fd < 0) {
			race_stop(&race);
			SKIP(return, "memfd_secret: %s", strerror(errno));
		}
		ASSERT_EQ(ftruncate(fd, psize()), 0);
		ASSERT_TRUE(map_memfd(self->p, psize(), fd, MAP_SHARED));
		__atomic_store_n(self->p, 1, __ATOMIC_RELAXED);
		/* The mapping is the last user. */
		close(fd);
		race_begin(&race);
		/* to read: to write, nothing without a mapping is pinned */
		if (!pin(self->gup_test, self->p, 1, PIN_LONGTERM_TEST_FLAG_USE_FAST)) {
			violations++;
			unpin(self->gup_test);
		}
		race_end(&race);
	}
	report_race(_metadata, &race, violations, "secret pages pinned");
}

TEST_HARNESS_MAIN
