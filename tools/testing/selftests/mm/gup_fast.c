// SPDX-License-Identifier: GPL-2.0-only
/*
 * get_user_pages_fast() and pin_user_pages_fast() pin the pages that are mapped, and as
 * many as the caller asked for, however long the range is.  They disable interrupts for a
 * bounded time.  They never pin secret memory, nor a page that another thread has freed,
 * moved or reclaimed.
 *
 * gup_test pins pages, and reads them through the pins.  race_util.h describes the races.
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
#include "../../../include/io_uring/mini_liburing.h"
#include "hugepage_settings.h"
#include "race_util.h"

#define FOLL_WRITE	1
#define TRACING		"/sys/kernel/tracing"
#define INSTANCE	TRACING "/instances/gup_fast"
#define EVENTS		INSTANCE "/events/preemptirq/"
/* each reference that is taken unless the refcount is zero */
#define REF_EVENT	INSTANCE "/events/page_ref/page_ref_mod_unless/"
/* leaves that one section with interrupts disabled may take: PTEs, or pmds and puds */
#define SECTION		512
#define SECTION_LARGE	32
/* skip machines where a page table or a huge page maps more */
#define MAX_HUGE_SIZE	(32UL << 20)

static int open_gup_test(void)
{
	return open("/sys/kernel/debug/gup_test", O_RDWR);
}

/* Pin @nr pages for a long time; 0 or -1 with errno. */
static int pin(int gup_test, const char *addr, unsigned long nr, int flags)
{
	struct pin_longterm_test arg = {
		.addr = (unsigned long)addr,
		.size = nr * psize(),
		.flags = flags,
	};

	return ioctl(gup_test, PIN_LONGTERM_TEST_START, &arg);
}

#define PIN_SLOW	PIN_LONGTERM_TEST_FLAG_USE_WRITE
#define PIN_FAST	(PIN_LONGTERM_TEST_FLAG_USE_WRITE | PIN_LONGTERM_TEST_FLAG_USE_FAST)
#define PIN_FAST_READ	PIN_LONGTERM_TEST_FLAG_USE_FAST

/* Copy the pinned pages to @to. */
static int read_pins(int gup_test, char *to)
{
	__u64 arg = (unsigned long)to;

	return ioctl(gup_test, PIN_LONGTERM_TEST_READ, &arg);
}

static void unpin(int gup_test)
{
	ioctl(gup_test, PIN_LONGTERM_TEST_STOP);
}

/* Pages that were pinned since boot, each as often as it was. */
static unsigned long pinned_ever(void)
{
	/* each CPU adds what it has counted */
	try_write_file("/proc/sys/vm/stat_refresh", "1");
	return read_vmstat("nr_foll_pin_acquired");
}

/* Pages that are pinned. */
static unsigned long pinned_now(void)
{
	unsigned long acquired = pinned_ever();

	return acquired - read_vmstat("nr_foll_pin_released");
}

/* An area in which the same huge_size bytes of a file are mapped again and again. */
FIXTURE(range)
{
	unsigned long huge_size, size;
	int gup_test, memfd;
	/* trace_start() has mounted tracefs, and made the instance */
	bool mounted, traced;
	/* pages that a leaf maps, and leaves that a section may take */
	unsigned long leaf, limit;
	char *area;
};

FIXTURE_VARIANT(range)
{
	unsigned int memfd_flags;
	/* mapped by pmds */
	bool large;
};

FIXTURE_VARIANT_ADD(range, small) { .memfd_flags = 0 };
FIXTURE_VARIANT_ADD(range, thp) { .memfd_flags = 0, .large = true };
FIXTURE_VARIANT_ADD(range, hugetlb) { .memfd_flags = MFD_HUGETLB };

static bool map_range(FIXTURE_DATA(range) * self, bool large)
{
	for (unsigned long i = 0; i < self->size; i += self->huge_size) {
		char *huge = self->area + i;

		if (!map_file_at(huge, self->huge_size, self->memfd, MAP_SHARED))
			return false;
		if (large) {
			FORCE_READ(*huge);
			if (madvise_collapse_retry(huge, self->huge_size))
				return false;
		}
		/* writable entries, so that GUP needs no fault */
		if (madvise(huge, self->huge_size, MADV_POPULATE_WRITE))
			return false;
	}
	return true;
}

static void trace_off(void)
{
	try_write_file(EVENTS "enable", "0");
	try_write_file(REF_EVENT "enable", "0");
}

static void trace_stop(FIXTURE_DATA(range) * self)
{
	if (self->traced) {
		trace_off();
		rmdir(INSTANCE);
	}
	if (self->mounted)
		umount(TRACING);
	self->traced = false;
	self->mounted = false;
}

/*
 * Trace this process, with @refs also the references that it takes; trace_stop() undoes
 * it, also when this fails.
 */
static bool trace_start(FIXTURE_DATA(range) * self, bool refs)
{
	char filter[64];

	if (access(TRACING "/instances", F_OK)) {
		if (mount("none", TRACING, "tracefs", 0, NULL))
			return false;
		self->mounted = true;
	}
	/* a test that was killed may have left it */
	trace_off();
	rmdir(INSTANCE);
	if (mkdir(INSTANCE, 0700))
		return false;
	self->traced = true;
	/* Keep the oldest: unpinning may disable interrupts for each page. */
	if (try_write_file(INSTANCE "/options/overwrite", "0") ||
	    try_write_file(INSTANCE "/buffer_size_kb", refs ? "2048" : "256"))
		return false;
	snprintf(filter, sizeof(filter), "common_pid == %d", getpid());
	if (refs && (try_write_file(REF_EVENT "filter", filter) ||
		     try_write_file(REF_EVENT "enable", "1")))
		return false;
	return !try_write_file(EVENTS "irq_disable/filter", filter) &&
	       !try_write_file(EVENTS "irq_enable/filter", filter) &&
	       !try_write_file(EVENTS "enable", "1");
}

FIXTURE_SETUP(range)
{
	self->memfd = -1;
	self->gup_test = open_gup_test();
	if (self->gup_test < 0)
		SKIP(return, "gup_test: %s", strerror(errno));
	self->huge_size = variant->memfd_flags ? default_huge_page_size() : read_pmd_pagesize();
	if (!self->huge_size || self->huge_size > MAX_HUGE_SIZE)
		SKIP(return, "no huge pages of at most %lu MB", MAX_HUGE_SIZE >> 20);
	if (variant->memfd_flags && !hugetlb_free_default_pages())
		SKIP(return, "no free hugetlb page");
	self->memfd = memfd_create("gup_fast", variant->memfd_flags);
	ASSERT_GE(self->memfd, 0);
	ASSERT_EQ(ftruncate(self->memfd, self->huge_size), 0);
	self->leaf = 1;
	self->limit = SECTION;
	if (variant->memfd_flags || variant->large) {
		self->leaf = self->huge_size / psize();
		self->limit = SECTION_LARGE;
	}
}

FIXTURE_TEARDOWN(range)
{
	trace_stop(self);
	if (self->area)
		munmap(self->area, self->size);
	if (self->memfd >= 0)
		close(self->memfd);
	if (self->gup_test >= 0)
		close(self->gup_test);
}

/* Sections with interrupts disabled that GUP-fast made, from the trace. */
struct sections {
	unsigned long nr;
	/* microseconds */
	double longest;
	/* references taken: by all sections, and the most by one */
	unsigned long refs, most_refs;
};

/* The test stays on one CPU, so the events are in order. */
static bool trace_read(struct sections *sections)
{
	double began = 0, time = 0;
	unsigned long refs = 0;
	char line[512];
	FILE *f = fopen(INSTANCE "/trace", "r");

	memset(sections, 0, sizeof(*sections));
	if (!f)
		return false;
	while (fgets(line, sizeof(line), f)) {
		/* TASK-PID [CPU] FLAGS TIME: irq_enable: caller=SYMBOL+OFFSET parent=... */
		char *event = strstr(line, ": irq_");

		if (strstr(line, ": page_ref_mod_unless:"))
			refs++;
		if (!event)
			continue;
		for (char *p = event; p > line && p[-1] != ' '; p--)
			time = strtod(p - 1, NULL);
		/* The caller of irq_disable may be a function of the tracer. */
		if (!strncmp(event, ": irq_disable:", 14)) {
			began = time;
			refs = 0;
		} else if (!strncmp(event, ": irq_enable: caller=gup_fast", 29)) {
			sections->nr++;
			if ((time - began) * 1e6 > sections->longest)
				sections->longest = (time - began) * 1e6;
			sections->refs += refs;
			if (refs > sections->most_refs)
				sections->most_refs = refs;
		}
	}
	fclose(f);
	return true;
}

/* Map the area; false if @variant wants THPs and there are none, with errno. */
static bool prepare_range(struct __test_metadata *_metadata, FIXTURE_DATA(range) * self,
			  const FIXTURE_VARIANT(range) * variant, unsigned long nr)
{
	pin_to_first();
	self->size = nr * psize();
	self->area = reserve_aligned(self->size);
	ASSERT_NE(self->area, NULL);
	if (!map_range(self, variant->large)) {
		ASSERT_TRUE(variant->large);
		return false;
	}
	errno = ENOMEM;
	/* the first and the last: each has a VMA of its own */
	for (unsigned long i = 0; variant->large && i < 2; i++)
		if (!check_huge_shmem(self->area + i * (self->size - self->huge_size),
				      self->huge_size, 1, self->huge_size))
			return false;
	return true;
}

/* Pin @nr pages from @first in one call; false if they cannot be traced. */
static bool trace_pins(struct __test_metadata *_metadata, FIXTURE_DATA(range) * self,
		       unsigned int first, unsigned int nr, bool refs,
		       struct sections *sections)
{
	struct gup_test arg = {
		.addr = (unsigned long)self->area + first * psize(),
		.size = nr * (unsigned long)psize(),
		.nr_pages_per_call = nr,
		.gup_flags = FOLL_WRITE,
	};
	unsigned long pinned = pinned_ever();
	int ret;

	if (!trace_start(self, refs))
		return false;
	ret = ioctl(self->gup_test, PIN_FAST_BENCHMARK, &arg);
	trace_off();
	ASSERT_TRUE(trace_read(sections));
	trace_stop(self);
	ASSERT_EQ(ret, 0);
	EXPECT_EQ(pinned_ever() - pinned, nr) {
		TH_LOG("pages pinned, of %u", nr);
	}
	TH_LOG("%u pages: %lu sections with interrupts disabled, the longest %.0f us", nr,
	       sections->nr, sections->longest);
	return true;
}

/* A section with interrupts disabled takes at most self->limit leaves, however many are pinned. */
TEST_F_TIMEOUT(range, irqs_off, RACE_TIMEOUT)
{
	static const unsigned int nrs[] = { 512, 1024, 1536, 4096, 32768 };
	struct sections sections;

	if (!prepare_range(_metadata, self, variant, nrs[ARRAY_SIZE(nrs) - 1]))
		SKIP(return, "no THP of shmem: %s", strerror(errno));
	for (unsigned long i = 0; i < ARRAY_SIZE(nrs); i++) {
		if (!trace_pins(_metadata, self, 0, nrs[i], false, &sections)) {
			ASSERT_TRUE(__test_passed(_metadata));
			SKIP(return, "no events preemptirq:irq_disable and irq_enable");
		}
		/* none: the slow path pinned the pages, or trace_read() misreads the trace */
		EXPECT_GT(sections.nr, 0);
		EXPECT_GE(sections.nr * self->limit * self->leaf, nrs[i]) {
			TH_LOG("interrupts disabled for more than %lu leaves", self->limit);
		}
	}
}

/*
 * The same, for the longest section: it takes at most self->limit references.  A leaf of
 * whatever size takes one, even if the range does not begin with it.
 */
TEST_F_TIMEOUT(range, refs, RACE_TIMEOUT)
{
	const unsigned long section = self->limit * self->leaf;
	const struct {
		unsigned long first, nr;
	} ranges[] = { { 0, SECTION }, { 0, 2 * SECTION }, { 1, 4 * section - 1 } };
	struct sections sections;

	if (!prepare_range(_metadata, self, variant, 4 * section))
		SKIP(return, "no THP of shmem: %s", strerror(errno));
	if (access(TRACING "/events", F_OK) == 0 && access(TRACING "/events/page_ref", F_OK))
		SKIP(return, "no events page_ref:*");
	for (unsigned long i = 0; i < ARRAY_SIZE(ranges); i++) {
		unsigned long first = ranges[i].first, nr = ranges[i].nr;

		if (!trace_pins(_metadata, self, first, nr, true, &sections)) {
			ASSERT_TRUE(__test_passed(_metadata));
			SKIP(return, "no events preemptirq:irq_* and page_ref:page_ref_mod_unless");
		}
		TH_LOG("%lu references, at most %lu in a section", sections.refs,
		       sections.most_refs);
		EXPECT_LE(sections.most_refs, self->limit) {
			TH_LOG("interrupts disabled for more than %lu leaves", self->limit);
		}
		EXPECT_EQ(sections.refs, (first + nr - 1) / self->leaf - first / self->leaf + 1) {
			TH_LOG("a leaf takes more than one reference");
		}
	}
}

/* mappings of one huge page that one call pins, until a signal ends it */
#define NR_KILLED	4096UL

/* A fatal signal ends a call after the section in which it comes, however much is left. */
FIXTURE(killed)
{
	unsigned long huge_size;
	int gup_test, memfd;
};

FIXTURE_SETUP(killed)
{
	self->memfd = -1;
	self->gup_test = open_gup_test();
	if (self->gup_test < 0)
		SKIP(return, "gup_test: %s", strerror(errno));
	self->huge_size = default_huge_page_size();
	if (!self->huge_size || self->huge_size > MAX_HUGE_SIZE)
		SKIP(return, "no huge pages of at most %lu MB", MAX_HUGE_SIZE >> 20);
	if (!hugetlb_free_default_pages())
		SKIP(return, "no free hugetlb page");
	self->memfd = memfd_create("gup_fast", MFD_HUGETLB);
	ASSERT_GE(self->memfd, 0);
	ASSERT_EQ(ftruncate(self->memfd, self->huge_size), 0);
}

FIXTURE_TEARDOWN(killed)
{
	if (self->memfd >= 0)
		close(self->memfd);
	if (self->gup_test >= 0)
		close(self->gup_test);
}

/* Map the huge page again and again, write a byte to @ready, and pin all in one call. */
static void map_and_pin(FIXTURE_DATA(killed) * self, int ready)
{
	const unsigned long size = NR_KILLED * self->huge_size;
	struct gup_test arg = {
		.size = size,
		.nr_pages_per_call = size / psize(),
		.gup_flags = FOLL_WRITE,
	};
	char *area = reserve_aligned(size);

	for (unsigned long i = 0; i < size; i += self->huge_size)
		if (!area || !map_file_at(area + i, self->huge_size, self->memfd, MAP_SHARED) ||
		    madvise(area + i, self->huge_size, MADV_POPULATE_WRITE))
			_exit(KSFT_FAIL);
	arg.addr = (unsigned long)area;
	if (write(ready, "", 1) != 1)
		_exit(KSFT_FAIL);
	_exit(ioctl(self->gup_test, PIN_FAST_BENCHMARK, &arg) ? KSFT_FAIL : KSFT_PASS);
}

/*
 * Kill a child in its call.  Returns the pages that it had pinned when the signal had been
 * sent, and in @pinned all that it pinned; 0 if it pinned none.
 */
static unsigned long kill_in_call(struct __test_metadata *_metadata, FIXTURE_DATA(killed) * self,
				  int cpu, unsigned long *pinned)
{
	const unsigned long before = pinned_ever();
	unsigned long at_kill;
	siginfo_t ended = { };
	int ready[2];
	pid_t pid;
	char byte;

	ASSERT_EQ(pipe(ready), 0);
	pid = fork();
	ASSERT_GE(pid, 0);
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		pin_to(cpu);
		map_and_pin(self, ready[1]);
	}
	close(ready[1]);
	ASSERT_EQ(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	/*
	 * The kernel adds the pins of a huge page to this count at once.  pinned_ever()
	 * would wait until the child's CPU enables interrupts.
	 */
	do {
		ASSERT_EQ(waitid(P_PID, pid, &ended, WEXITED | WNOHANG | WNOWAIT), 0);
		at_kill = read_vmstat("nr_foll_pin_acquired");
	} while (at_kill == before && !ended.si_pid);
	ASSERT_EQ(kill(pid, SIGKILL), 0);
	at_kill = read_vmstat("nr_foll_pin_acquired") - before;
	ASSERT_EQ(waitpid(pid, NULL, 0), pid);
	*pinned = pinned_ever() - before;
	return at_kill;
}

TEST_F_TIMEOUT(killed, pin, RACE_TIMEOUT)
{
	const unsigned long leaf = self->huge_size / psize();
	const unsigned long held = pinned_now();
	unsigned long at_kill = 0, pinned;
	bool in_time = false;
	int cpus[2];

	if (!two_cpus(cpus))
		SKIP(return, "needs two CPUs");
	pin_to(cpus[0]);
	/* The call has to have more than a section before it when it is killed. */
	for (int i = 0; i < 5 && !in_time; i++) {
		at_kill = kill_in_call(_metadata, self, cpus[1], &pinned);
		in_time = at_kill && at_kill + SECTION_LARGE * leaf < NR_KILLED * leaf;
	}
	if (!in_time)
		SKIP(return, "the call ended before the signal came");
	TH_LOG("%lu of %lu pages pinned when the signal had been sent, %lu after that", at_kill,
	       NR_KILLED * leaf, pinned - at_kill);
	EXPECT_LE(pinned - at_kill, SECTION_LARGE * leaf) {
		TH_LOG("a fatal signal does not end the call");
	}
	EXPECT_EQ(pinned_now(), held) {
		TH_LOG("pages stay pinned");
	}
}

/*
 * GUP pins the mapped pages: fast pins, slow pins and the mapping give the same contents.
 * Ranges begin and end beside the edges of page tables and of sections, and have
 * unpopulated and read-only pages in them.
 */
FIXTURE(content)
{
	unsigned long size, pmd_size;
	/* the first word of each page */
	unsigned long *tags;
	int gup_test;
	char *area, *copy;
};

FIXTURE_SETUP(content)
{
	self->gup_test = open_gup_test();
	if (self->gup_test < 0)
		SKIP(return, "gup_test: %s", strerror(errno));
	self->pmd_size = read_pmd_pagesize();
	if (!self->pmd_size || self->pmd_size > MAX_HUGE_SIZE / 4)
		SKIP(return, "no huge pages of at most %lu MB", MAX_HUGE_SIZE >> 22);
	self->size = 4 * self->pmd_size;
	self->area = reserve_aligned(self->size);
	ASSERT_NE(self->area, NULL);
	self->tags = calloc(self->size / psize(), sizeof(self->tags[0]));
	ASSERT_NE(self->tags, NULL);
	self->copy = mmap(NULL, self->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			  -1, 0);
	ASSERT_NE(self->copy, MAP_FAILED);
	ASSERT_TRUE(map_file_at(self->area, self->size, -1, MAP_PRIVATE | MAP_ANONYMOUS));
	/* the second and the fourth pmd map THPs */
	madvise(self->area, self->size, MADV_NOHUGEPAGE);
	for (unsigned long i = 0; i < self->size / psize(); i++) {
		self->tags[i] = i + 1;
		*(unsigned long *)(self->area + i * psize()) = self->tags[i];
	}
	for (unsigned long i = self->pmd_size; i < self->size; i += 2 * self->pmd_size) {
		madvise(self->area + i, self->pmd_size, MADV_HUGEPAGE);
		if (madvise_collapse_retry(self->area + i, self->pmd_size) ||
		    !check_huge_anon(self->area + i, self->pmd_size, 1, self->pmd_size))
			SKIP(return, "no THP: %s", strerror(errno));
	}
}

FIXTURE_TEARDOWN(content)
{
	if (self->area)
		munmap(self->area, self->size);
	if (self->copy)
		munmap(self->copy, self->size);
	free(self->tags);
	if (self->gup_test >= 0)
		close(self->gup_test);
}

/*
 * No page is pinned when the caller asks for none.  The range begins with a page table,
 * and the mapping ends within that: a walk past the range stops there.
 */
TEST_F(content, nothing)
{
	unsigned long before, pinned;

	ASSERT_EQ(munmap(self->area + self->pmd_size / 2, self->pmd_size / 2), 0);
	for (unsigned long asked = 1; asked != -1UL; asked--) {
		pinned = -1UL;
		/* Other processes may pin pages, but not in every attempt. */
		for (int i = 0; i < 10 && pinned != asked; i++) {
			struct gup_test arg = {
				.addr = (unsigned long)self->area,
				.size = asked ? psize() : self->pmd_size,
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

/* Pages of [first, first + nr) with other contents than their tags; -1 if not pinned. */
static long wrong_pages(FIXTURE_DATA(content) * self, unsigned long first, unsigned long nr,
			int flags)
{
	char *addr = self->area + first * psize();
	long wrong = 0;

	if (pin(self->gup_test, addr, nr, flags))
		return -1;
	memset(self->copy, 0xff, nr * psize());
	if (read_pins(self->gup_test, self->copy))
		wrong = -1;
	for (unsigned long i = 0; wrong >= 0 && i < nr; i++)
		wrong += memcmp(self->copy + i * psize(), addr + i * psize(), psize()) ||
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

/* Pinning populates a hole, so each pin has a new one. */
TEST_F(content, holes)
{
	const unsigned long pages = self->size / psize();
	const unsigned long holes[] = { 0, 1, SECTION - 1, SECTION, SECTION + 1, pages / 2 - 1,
					pages / 2, pages - 1 };

	for (unsigned long i = 0; i < ARRAY_SIZE(holes); i++) {
		char *hole = self->area + holes[i] * psize();

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

/* When a page cannot be pinned, those before it do not stay pinned. */
TEST_F(content, read_only)
{
	const unsigned long pages = self->size / psize();
	const unsigned long edges[] = { 0, SECTION - 1, SECTION, SECTION + 1, pages - 1 };
	const unsigned long before = pinned_now();

	for (unsigned long i = 0; i < ARRAY_SIZE(edges); i++) {
		char *edge = self->area + edges[i] * psize();

		ASSERT_EQ(mprotect(edge, psize(), PROT_READ), 0);
		EXPECT_EQ(wrong_pages(self, 0, pages, PIN_FAST), -1) {
			TH_LOG("a page that is read-only was pinned for writing");
		}
		EXPECT_EQ(errno, EFAULT);
		ASSERT_EQ(mprotect(edge, psize(), PROT_READ | PROT_WRITE), 0);
	}
	EXPECT_EQ(wrong_pages(self, 0, pages, PIN_FAST), 0);
	EXPECT_EQ(pinned_now(), before) {
		TH_LOG("pages stay pinned");
	}
}

/*
 * Pages that a child shares are pinned for reading: the pins are of pages that stay the
 * parent's, and see what the parent writes later.
 */
TEST_F(content, shared)
{
	const unsigned long pages = self->size / psize();
	unsigned long wrong = 0;
	int go[2], status;
	pid_t pid;
	char byte;

	ASSERT_EQ(pipe(go), 0);
	pid = fork();
	ASSERT_GE(pid, 0);
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(go[1]);
		_exit(read(go[0], &byte, 1) != 0);
	}
	close(go[0]);
	ASSERT_EQ(pin(self->gup_test, self->area, pages, PIN_FAST_READ), 0);
	for (unsigned long i = 0; i < pages; i++)
		*(unsigned long *)(self->area + i * psize()) = ~self->tags[i];
	memset(self->copy, 0, self->size);
	ASSERT_EQ(read_pins(self->gup_test, self->copy), 0);
	for (unsigned long i = 0; i < pages; i++)
		wrong += *(unsigned long *)(self->copy + i * psize()) != ~self->tags[i];
	EXPECT_EQ(wrong, 0) {
		TH_LOG("%lu of %lu pins are of pages that the child has", wrong, pages);
	}
	unpin(self->gup_test);
	close(go[1]);
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_EQ(status, 0);
}

/* FOLL_GET: GUP gets all pages, and puts its references when one of them is read-only. */
TEST_F(content, get)
{
	const unsigned long pages = self->size / psize();
	char *last = self->area + (pages - 1) * psize();
	struct gup_test arg;

	for (int writable = 1; writable >= 0; writable--) {
		if (!writable) {
			ASSERT_EQ(mprotect(last, psize(), PROT_READ), 0);
		}
		for (unsigned long first = 0; first < SECTION; first += SECTION / 2 - 1) {
			arg = (struct gup_test) {
				.addr = (unsigned long)self->area + first * psize(),
				.size = self->size - first * psize(),
				.nr_pages_per_call = pages - first,
				.gup_flags = FOLL_WRITE,
			};
			ASSERT_EQ(ioctl(self->gup_test, GUP_FAST_BENCHMARK, &arg), 0);
			EXPECT_EQ(arg.size, self->size - first * psize());
		}
	}
	ASSERT_EQ(mprotect(last, psize(), PROT_READ | PROT_WRITE), 0);
	/* A page with more references than its mappings cannot be collapsed. */
	for (unsigned long i = 0; i < self->size; i += 2 * self->pmd_size) {
		ASSERT_EQ(madvise(self->area + i, self->pmd_size, MADV_HUGEPAGE), 0);
		EXPECT_EQ(madvise_collapse_retry(self->area + i, self->pmd_size), 0) {
			TH_LOG("references are left");
		}
	}
}

/* Write @len bytes at @addr, in the registered buffer, to @fd; bytes written or -errno. */
static int write_fixed(struct io_uring *ring, int fd, const char *addr, unsigned int len)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
	struct io_uring_cqe *cqe;
	int ret;

	if (!sqe)
		return -EBUSY;
	memset(sqe, 0, sizeof(*sqe));
	sqe->opcode = IORING_OP_WRITE_FIXED;
	sqe->fd = fd;
	sqe->addr = (unsigned long)addr;
	sqe->len = len;
	ret = io_uring_submit(ring);
	if (ret < 0)
		return ret;
	ret = io_uring_wait_cqe(ring, &cqe);
	if (ret < 0)
		return ret;
	ret = cqe->res;
	io_uring_cqe_seen(ring);
	return ret;
}

static int unregister_buffers(struct io_uring *ring)
{
	return syscall(__NR_io_uring_register, ring->ring_fd, IORING_UNREGISTER_BUFFERS, NULL, 0);
}

/*
 * io_uring registers a buffer of many sections, which neither begins nor ends with a page,
 * and reads the right pages.  A buffer with a hole is refused, and none of its pages stays
 * pinned.
 */
TEST_F(content, registered)
{
	struct iovec iov = { self->area + 8, self->size - 16 };
	const unsigned long pages = self->size / psize();
	const unsigned long holes[] = { pages - 1, SECTION, SECTION - 1, 0 };
	const unsigned long before = pinned_now();
	struct io_uring ring;
	int memfd, ret;

	if (io_uring_queue_init(1, &ring, 0))
		SKIP(return, "io_uring: %s", strerror(errno));
	memfd = memfd_create("gup_fast", 0);
	ASSERT_GE(memfd, 0);
	ASSERT_EQ(io_uring_register_buffers(&ring, &iov, 1), 0);
	EXPECT_GT(pinned_now(), before);
	EXPECT_EQ(write_fixed(&ring, memfd, iov.iov_base, iov.iov_len), iov.iov_len);
	EXPECT_EQ(pread(memfd, self->copy, iov.iov_len, 0), iov.iov_len);
	EXPECT_EQ(memcmp(self->copy, iov.iov_base, iov.iov_len), 0) {
		TH_LOG("io_uring reads other pages");
	}
	ASSERT_EQ(unregister_buffers(&ring), 0);
	EXPECT_EQ(pinned_now(), before) {
		TH_LOG("pages stay pinned");
	}
	for (unsigned long i = 0; i < ARRAY_SIZE(holes); i++) {
		ASSERT_EQ(munmap(self->area + holes[i] * psize(), psize()), 0);
		ret = io_uring_register_buffers(&ring, &iov, 1);
		EXPECT_EQ(ret < 0 ? errno : 0, EFAULT) {
			TH_LOG("a buffer with a hole at %lu was registered", holes[i]);
		}
		EXPECT_EQ(pinned_now(), before) {
			TH_LOG("pages stay pinned");
		}
	}
	io_uring_queue_exit(&ring);
	close(memfd);
}

/* One hugetlb page of a pud: ranges inside it, and from one mapping of it to the next. */
FIXTURE(gigantic)
{
	FIXTURE_DATA(content) content;
	char *maps;
	int memfd;
};

FIXTURE_SETUP(gigantic)
{
	const unsigned long size = 1UL << 30;

	self->memfd = -1;
	self->content.gup_test = open_gup_test();
	if (self->content.gup_test < 0)
		SKIP(return, "gup_test: %s", strerror(errno));
	self->content.pmd_size = read_pmd_pagesize();
	if (!self->content.pmd_size || self->content.pmd_size > MAX_HUGE_SIZE / 4)
		SKIP(return, "no huge pages of at most %lu MB", MAX_HUGE_SIZE >> 22);
	self->memfd = memfd_create("gup_fast", MFD_HUGETLB | MFD_HUGE_1GB);
	if (self->memfd < 0 || ftruncate(self->memfd, size))
		SKIP(return, "no hugetlb pages of 1 GB: %s", strerror(errno));
	self->maps = reserve_aligned(2 * size);
	ASSERT_NE(self->maps, NULL);
	for (int i = 0; i < 2; i++)
		if (!map_file_at(self->maps + i * size, size, self->memfd, MAP_SHARED))
			SKIP(return, "no hugetlb page of 1 GB: %s", strerror(errno));
	/* the end of the first mapping and the beginning of the second */
	self->content.size = 4 * self->content.pmd_size;
	self->content.area = self->maps + size - self->content.size / 2;
	self->content.tags = calloc(self->content.size / psize(), sizeof(unsigned long));
	ASSERT_NE(self->content.tags, NULL);
	self->content.copy = mmap(NULL, self->content.size, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(self->content.copy, MAP_FAILED);
	for (unsigned long i = 0; i < self->content.size / psize(); i++) {
		self->content.tags[i] = i + 1;
		*(unsigned long *)(self->content.area + i * psize()) = i + 1;
	}
}

FIXTURE_TEARDOWN(gigantic)
{
	if (self->maps)
		munmap(self->maps, 2UL << 30);
	if (self->content.copy)
		munmap(self->content.copy, self->content.size);
	free(self->content.tags);
	if (self->memfd >= 0)
		close(self->memfd);
	if (self->content.gup_test >= 0)
		close(self->content.gup_test);
}

TEST_F_TIMEOUT(gigantic, populated, RACE_TIMEOUT)
{
	const unsigned long before = pinned_now();

	check_ranges(_metadata, &self->content);
	EXPECT_EQ(pinned_now(), before) {
		TH_LOG("pages stay pinned");
	}
}

/* File systems cannot track writes through a long-term pin: such a pin is refused. */
FIXTURE(longterm)
{
	unsigned long pmd_size;
	int gup_test, fd;
	char *area;
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
	self->pmd_size = read_pmd_pagesize();
	if (!self->pmd_size || self->pmd_size > MAX_HUGE_SIZE)
		SKIP(return, "no huge pages of at most %lu MB", MAX_HUGE_SIZE >> 20);
	self->fd = open_on(variant->type);
	if (self->fd < 0)
		SKIP(return, "no %s that can be written to is mounted", variant->type);
	self->area = reserve_aligned(self->pmd_size);
	ASSERT_NE(self->area, NULL);
}

FIXTURE_TEARDOWN(longterm)
{
	if (self->area)
		munmap(self->area, self->pmd_size);
	if (self->fd >= 0)
		close(self->fd);
	if (self->gup_test >= 0)
		close(self->gup_test);
}

static void expect_refused(struct __test_metadata *_metadata, FIXTURE_DATA(longterm) * self,
			   unsigned long nr)
{
	const unsigned long before = pinned_now();

	EXPECT_EQ(pin(self->gup_test, self->area, nr, PIN_FAST), -1) {
		TH_LOG("pages of a file pinned for writing, for a long time");
		unpin(self->gup_test);
	}
	EXPECT_EQ(errno, EFAULT);
	EXPECT_EQ(pinned_now(), before) {
		TH_LOG("pages stay pinned");
	}
}

TEST_F(longterm, small)
{
	ASSERT_EQ(ftruncate(self->fd, psize()), 0);
	ASSERT_TRUE(map_file_at(self->area, psize(), self->fd, MAP_SHARED));
	__atomic_store_n(self->area, 1, __ATOMIC_RELAXED);
	expect_refused(_metadata, self, 1);
}

TEST_F(longterm, large)
{
	char *content = calloc(1, self->pmd_size);

	ASSERT_NE(content, NULL);
	/* in one go, so that the file system may use one large folio */
	ASSERT_EQ(write(self->fd, content, self->pmd_size), self->pmd_size);
	free(content);
	ASSERT_TRUE(map_file_at(self->area, self->pmd_size, self->fd, MAP_SHARED));
	/* The first access writes: it maps the folio by a pmd that is writable. */
	__atomic_store_n(self->area, 1, __ATOMIC_RELAXED);
	if (!check_huge_file(self->area, self->pmd_size, 1, self->pmd_size))
		SKIP(return, "no large folio of the file, mapped by a pmd");
	expect_refused(_metadata, self, self->pmd_size / psize());
	expect_refused(_metadata, self, 1);
}

/* pages that races pin */
#define NR_RACE		16UL

/*
 * Memory that is pinned while something is done to it: a THP, or small pages on both
 * sides of where one page table ends.
 */
FIXTURE(race)
{
	/* of area, refill and moved, in bytes */
	unsigned long size;
	/* in them: where the pinned pages begin, and how many bytes are freed */
	unsigned long offset, freed;
	int gup_test, pagemap;
	/* with get, the pages are not pinned, but in this pipe */
	int pipe[2];
	bool get;
	char *area, *refill, *moved, *copy;
};

FIXTURE_VARIANT(race)
{
	bool large;
};

FIXTURE_VARIANT_ADD(race, small) { };
FIXTURE_VARIANT_ADD(race, thp) { .large = true };

static char *map_anon(unsigned long size, bool large)
{
	char *addr = reserve_aligned(size);

	if (!addr || !map_file_at(addr, size, -1, MAP_PRIVATE | MAP_ANONYMOUS))
		return NULL;
	madvise(addr, size, large ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	return addr;
}

static void setup_race(struct __test_metadata *_metadata, FIXTURE_DATA(race) * self, bool large)
{
	self->gup_test = open_gup_test();
	if (self->gup_test < 0)
		SKIP(return, "gup_test: %s", strerror(errno));
	self->size = read_pmd_pagesize();
	if (!self->size || self->size > MAX_HUGE_SIZE)
		SKIP(return, "no huge pages of at most %lu MB", MAX_HUGE_SIZE >> 20);
	self->freed = self->size;
	if (!large) {
		self->offset = self->size - NR_RACE / 2 * psize();
		self->size *= 2;
		/* less than a page table maps: the table would be freed, too */
		self->freed = NR_RACE * psize();
	}
	self->pagemap = open("/proc/self/pagemap", O_RDONLY);
	ASSERT_GE(self->pagemap, 0);
	self->area = map_anon(self->size, large);
	ASSERT_NE(self->area, NULL);
	*self->area = 1;
	if (large && !check_huge_anon(self->area, self->size, 1, self->size))
		SKIP(return, "no THP");
	self->refill = map_anon(self->size, large);
	self->moved = map_anon(self->size, large);
	self->copy = map_anon(NR_RACE * psize(), false);
	ASSERT_NE(self->refill, NULL);
	ASSERT_NE(self->moved, NULL);
	ASSERT_NE(self->copy, NULL);
	madvise(self->copy, NR_RACE * psize(), MADV_DONTFORK);
	madvise(self->refill, self->size, MADV_DONTFORK);
}

FIXTURE_SETUP(race)
{
	setup_race(_metadata, self, variant->large);
}

FIXTURE_TEARDOWN(race)
{
	if (self->gup_test >= 0)
		close(self->gup_test);
}

static void write_tags(char *addr, long tag)
{
	for (unsigned long i = 0; i < NR_RACE; i++)
		__atomic_store_n((long *)(addr + i * psize()), tag, __ATOMIC_RELAXED);
}

static bool is_huge(int pagemap, char *addr)
{
	struct page_region region;
	struct pm_scan_arg arg = {
		.size = sizeof(arg),
		.start = (uintptr_t)addr,
		.end = (uintptr_t)addr + psize(),
		.vec = (uintptr_t)&region,
		.vec_len = 1,
		.category_mask = PAGE_IS_HUGE,
		.return_mask = PAGE_IS_HUGE,
	};

	return ioctl(pagemap, PAGEMAP_SCAN, &arg) == 1;
}

/* Pin the pages, or have vmsplice() take references (FOLL_GET); 0 or -1 with errno. */
static int grab(FIXTURE_DATA(race) * self, char *addr)
{
	struct iovec iov = { addr, NR_RACE * psize() };

	if (!self->get)
		return pin(self->gup_test, addr, NR_RACE, PIN_FAST);
	/* the pipe has room; a call ends where GUP ends */
	while (iov.iov_len) {
		ssize_t len = vmsplice(self->pipe[1], &iov, 1, SPLICE_F_NONBLOCK);

		if (len <= 0)
			return -1;
		iov.iov_base += len;
		iov.iov_len -= len;
	}
	return 0;
}

/* Copy the grabbed pages; with @get, that also drops the references. */
static int read_grabbed(FIXTURE_DATA(race) * self)
{
	size_t done = 0;

	if (!self->get)
		return read_pins(self->gup_test, self->copy);
	while (done < NR_RACE * psize()) {
		ssize_t len = read(self->pipe[0], self->copy + done, NR_RACE * psize() - done);

		if (len <= 0)
			return -1;
		done += len;
	}
	return 0;
}

/* Grabbed pages that do not hold @tag, nor 0 if @zero. */
static unsigned long wrong_tags(FIXTURE_DATA(race) * self, long tag, bool zero)
{
	unsigned long wrong = 0;

	if (read_grabbed(self))
		return NR_RACE;
	for (unsigned long i = 0; i < NR_RACE; i++) {
		long found = *(long *)(self->copy + i * psize());

		wrong += found != tag && !(zero && !found);
	}
	return wrong;
}

static void report_race(struct __test_metadata *_metadata, struct race *race, const char *failure)
{
	race_stop(race);
	TH_LOG("%lu rounds, %lu overlaps, in %lu %s", race->rounds, race->overlaps, race->failed,
	       failure);
	EXPECT_EQ(race->failed, 0) {
		TH_LOG("%s in %lu rounds", failure, race->failed);
	}
	skip_unless_raced(_metadata, race);
}

/*
 * Pin tagged pages while the thread does @thread_fn to them.  With @keeps the pinned
 * pages have to stay the mapped ones, which are tagged once more.  Else the pages may
 * have been freed, but must not hold the tags of new owners.  With @lazyfree, MADV_FREE
 * makes them clean before.
 */
static void race_pins(struct __test_metadata *_metadata, FIXTURE_DATA(race) * self,
		      bool large, void (*thread_fn)(void *data), bool keeps, bool lazyfree,
		      const char *failure)
{
	/* a round with a new THP takes many times as long */
	struct race race = { .thread_fn = thread_fn, .data = self, .least = large ? 50 : 0 };
	const unsigned long before = pinned_now();
	char *pinned = self->area + self->offset;
	long tag = 0;

	if (!race_start(&race))
		SKIP(return, "needs two CPUs");
	while (race_on(&race)) {
		int ret;

		/* a new THP, if the last was split */
		madvise(self->area, self->size, MADV_DONTNEED);
		madvise(self->refill, self->size, MADV_DONTNEED);
		write_tags(pinned, ++tag);
		/* without memory for a THP there is no round */
		if (large && !is_huge(self->pagemap, self->area))
			continue;
		if (lazyfree)
			madvise(self->area, self->size, MADV_FREE);
		race_begin(&race);
		ret = grab(self, pinned);
		race_end(&race);
		ASSERT_EQ(ret, 0);
		if (keeps)
			write_tags(pinned, ++tag);
		race.failed += wrong_tags(self, tag, !keeps) != 0;
		if (!self->get)
			unpin(self->gup_test);
	}
	/* also those that GUP-fast has dropped, and left to the slow path */
	EXPECT_EQ(pinned_now(), before) {
		TH_LOG("pages stay pinned");
	}
	report_race(_metadata, &race, failure);
}

static void fork_child(void *data)
{
	pid_t pid = fork();

	if (!pid)
		_exit(0);
	if (pid > 0)
		waitpid(pid, NULL, 0);
}

/* A pinned page stays the parent's: fork() copies it for the child. */
TEST_F_TIMEOUT(race, fork, RACE_TIMEOUT)
{
	race_pins(_metadata, self, variant->large, fork_child, true, false,
		  "pins lost to a fork()");
}

/* Free pages, and use them for something else on the same CPU. */
static void free_and_refill(void *data)
{
	FIXTURE_DATA(race) * self = data;

	madvise(self->area + self->offset, self->freed, MADV_DONTNEED);
	write_tags(self->refill + self->offset, -1);
}

/* A page that was freed and has a new owner must not be pinned. */
TEST_F_TIMEOUT(race, free, RACE_TIMEOUT)
{
	race_pins(_metadata, self, variant->large, free_and_refill, false, false,
		  "freed pages pinned");
}

/* Move the page table or the pmd, and map other pages by it at its new address. */
static void move_and_refill(void *data)
{
	FIXTURE_DATA(race) * self = data;
	char *moved = self->moved + self->offset;

	if (mremap(self->area, self->size, self->size,
		   MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, self->moved) != self->moved)
		ksft_exit_fail_perror("mremap");
	madvise(moved, NR_RACE * psize(), MADV_DONTNEED);
	write_tags(moved, -1);
}

/* Pages that were mapped at the new address only must not be pinned. */
TEST_F_TIMEOUT(race, move, RACE_TIMEOUT)
{
	race_pins(_metadata, self, variant->large, move_and_refill, false, false,
		  "pages of another address pinned");
}

static void page_out(void *data)
{
	FIXTURE_DATA(race) * self = data;

	madvise(self->area, self->size, MADV_PAGEOUT);
}

/* A page is either pinned or reclaimed.  Lazily freed pages need no swap. */
TEST_F_TIMEOUT(race, reclaim, RACE_TIMEOUT)
{
	race_pins(_metadata, self, variant->large, page_out, true, true,
		  "reclaimed pages pinned");
}

/* A THP that is split while it is pinned. */
FIXTURE(split)
{
	FIXTURE_DATA(race) race;
};

FIXTURE_SETUP(split)
{
	setup_race(_metadata, &self->race, true);
}

FIXTURE_TEARDOWN(split)
{
	if (self->race.gup_test >= 0)
		close(self->race.gup_test);
}

static void split_thp(void *data)
{
	FIXTURE_DATA(race) * self = data;

	/* advice on a part of a THP splits it */
	madvise(self->area, self->size / 2, MADV_COLD);
}

/*
 * A pin keeps a THP from being split, or is of the pages after the split.  The kernel
 * warns of a pin that is taken after the split has found none.
 */
TEST_F_TIMEOUT(split, pin, RACE_TIMEOUT)
{
	race_pins(_metadata, &self->race, true, split_thp, true, false, "pins lost to a split");
}

/*
 * A page table that mremap() moves as a whole: one that a pmd refers to, or one of pmds,
 * that a pud refers to.
 */
FIXTURE(table)
{
	FIXTURE_DATA(race) race;
};

FIXTURE_VARIANT(table)
{
	bool pud;
	/* by FOLL_GET instead of FOLL_PIN */
	bool get;
};

FIXTURE_VARIANT_ADD(table, pmd) { };
FIXTURE_VARIANT_ADD(table, pud) { .pud = true };
FIXTURE_VARIANT_ADD(table, pmd_get) { .get = true };
FIXTURE_VARIANT_ADD(table, pud_get) { .pud = true, .get = true };

FIXTURE_SETUP(table)
{
	FIXTURE_DATA(race) * race = &self->race;

	race->pipe[0] = -1;
	race->pipe[1] = -1;
	race->gup_test = open_gup_test();
	if (race->gup_test < 0)
		SKIP(return, "gup_test: %s", strerror(errno));
	race->get = variant->get;
	if (race->get) {
		ASSERT_EQ(pipe(race->pipe), 0);
		/* room for all pages, so that vmsplice() need not wait */
		ASSERT_GE(fcntl(race->pipe[0], F_SETPIPE_SZ, 2 * NR_RACE * psize()),
			  NR_RACE * psize());
	}
	race->size = read_pmd_pagesize();
	/* a page table of pmds has as many entries as one of PTEs */
	if (variant->pud)
		race->size *= race->size / psize();
	if (!race->size || race->size > 1UL << 30)
		SKIP(return, "a page table maps more than 1 GB");
	race->area = map_anon(race->size, false);
	race->refill = map_anon(race->size, false);
	race->moved = map_anon(race->size, false);
	race->copy = map_anon(NR_RACE * psize(), false);
	ASSERT_NE(race->area, NULL);
	ASSERT_NE(race->refill, NULL);
	ASSERT_NE(race->moved, NULL);
	ASSERT_NE(race->copy, NULL);
}

FIXTURE_TEARDOWN(table)
{
	for (int i = 0; i < 2; i++)
		if (self->race.pipe[i] >= 0)
			close(self->race.pipe[i]);
	if (self->race.gup_test >= 0)
		close(self->race.gup_test);
}

/* Pages that were mapped at the new address only must not be pinned. */
TEST_F_TIMEOUT(table, move, RACE_TIMEOUT)
{
	race_pins(_metadata, &self->race, false, move_and_refill, false, false,
		  "pages of another address pinned");
}

/* As move_and_refill(), and move the page table back, without those other pages. */
static void move_and_return(void *data)
{
	FIXTURE_DATA(race) * self = data;

	move_and_refill(self);
	madvise(self->moved, NR_RACE * psize(), MADV_DONTNEED);
	if (mremap(self->moved, self->size, self->size,
		   MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, self->area) != self->area)
		ksft_exit_fail_perror("mremap");
}

TEST_F_TIMEOUT(table, move_back, RACE_TIMEOUT)
{
	race_pins(_metadata, &self->race, false, move_and_return, false, false,
		  "pages of another address pinned");
}

static void unmap_page(void *data)
{
	munmap(data, psize());
}

/* Secret memory is never pinned, not even while its last user unmaps it. */
FIXTURE(secret)
{
	int gup_test;
	char *area;
};

FIXTURE_SETUP(secret)
{
	self->gup_test = open_gup_test();
	if (self->gup_test < 0)
		SKIP(return, "gup_test: %s", strerror(errno));
	self->area = reserve_aligned(psize());
	ASSERT_NE(self->area, NULL);
}

FIXTURE_TEARDOWN(secret)
{
	if (self->gup_test >= 0)
		close(self->gup_test);
}

TEST_F_TIMEOUT(secret, unmap, RACE_TIMEOUT)
{
	struct race race = { .thread_fn = unmap_page, .data = self->area };
	const unsigned long before = pinned_now();

	if (!race_start(&race))
		SKIP(return, "needs two CPUs");
	while (race_on(&race)) {
		int fd = syscall(__NR_memfd_secret, 0);

		if (fd < 0) {
			race_stop(&race);
			SKIP(return, "memfd_secret: %s", strerror(errno));
		}
		ASSERT_EQ(ftruncate(fd, psize()), 0);
		ASSERT_TRUE(map_file_at(self->area, psize(), fd, MAP_SHARED));
		__atomic_store_n(self->area, 1, __ATOMIC_RELAXED);
		/* The mapping is the last user. */
		close(fd);
		race_begin(&race);
		/* for reading: for writing, GUP refuses pages without a mapping */
		if (!pin(self->gup_test, self->area, 1, PIN_LONGTERM_TEST_FLAG_USE_FAST)) {
			race.failed++;
			unpin(self->gup_test);
		}
		race_end(&race);
	}
	EXPECT_EQ(pinned_now(), before) {
		TH_LOG("pages stay pinned");
	}
	report_race(_metadata, &race, "secret pages pinned");
}

int main(int argc, char **argv)
{
	race_adjust_timeouts();
	return test_harness_run(argc, argv);
}
