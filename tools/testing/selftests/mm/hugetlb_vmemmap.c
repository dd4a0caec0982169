// SPDX-License-Identifier: GPL-2.0-only
/*
 * HugeTLB Vmemmap Optimization (HVO) frees pages of the vmemmap and restores them, shows
 * the same struct pages to user space, and tolerates concurrent walkers of the vmemmap.
 *
 * The tests run for each hugetlb size of the kernel, on every architecture with HVO.
 * They count the freed and restored pages exactly, by nr_memmap_pages and
 * nr_memmap_boot_pages of /proc/vmstat.  A folio whose struct pages fit in one page
 * cannot be optimized: nothing is freed, and all else holds.
 *
 * churn and offline take RACE_SECONDS or, with ROUNDS=n in the environment, until n
 * folios have been optimized and restored.  With COLD=1 in the environment, the caller
 * says that no folio has been optimized since the kernel booted: the first one allocates
 * the pages that all folios share, and fault expects to see that allocation fail.
 */
#define _GNU_SOURCE
#include "kselftest_harness.h"
#include <glob.h>
#include <linux/limits.h>
#include <linux/memfd.h>
#include <linux/mempolicy.h>
#include <sys/auxv.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include "hugepage_settings.h"
#include "race_util.h"

#define SYSCTL		"/proc/sys/vm/hugetlb_optimize_vmemmap"
#define FAIL		"/sys/kernel/debug/fail_page_alloc/"
#define HWPOISON	"/sys/kernel/debug/hwpoison/"
#define POOLS		"/sys/kernel/mm/hugepages/hugepages-"
#define OVERCOMMITS	POOLS "*/nr_overcommit_hugepages"
#define TRACING		"/sys/kernel/tracing"
#define INSTANCE	TRACING "/instances/hugetlb_vmemmap"
#define GP_EVENT	INSTANCE "/events/rcu/rcu_exp_grace_period/"
/* cycles in a row that may optimize no folio */
#define IDLE		1000
/* migrations, folios given back while the pool shrinks, and poisoned then, that are enough */
#define MIGRATIONS	50
#define SHRINKS		20
#define POISONS		20
/* measurements of a time, and folios that an mmap() is measured with */
#define TIMES		31
#define DEMAND		512
#define NO_MEMORY	"no memory for folios of this size"
#define KPF_HUGE	BIT_ULL(17)
#define KPF_HWPOISON	BIT_ULL(19)
#define MB(n)		((unsigned long)(n) << 20)
/* sizeof(struct page) wherever HVO exists */
#define STRUCT_PAGE	64

/* architectures that select HVO */
#if defined(__x86_64__) || defined(__aarch64__) || defined(__loongarch64) || \
	(defined(__riscv) && __riscv_xlen == 64)
#define HAVE_HVO	1
#else
#define HAVE_HVO	0
#endif

/* Pages that hold struct pages. */
static unsigned long memmap_pages(void)
{
	return read_vmstat("nr_memmap_pages") + read_vmstat("nr_memmap_boot_pages");
}

/* Settings that tests change, as they were before the first test. */
static const char *const changed[] = {
	SYSCTL, FAIL "min-order", FAIL "ignore-gfp-wait", FAIL "verbose",
	HWPOISON "corrupt-filter-enable", HWPOISON "corrupt-filter-flags-mask",
	HWPOISON "corrupt-filter-flags-value",
};

static char saved_texts[ARRAY_SIZE(changed)][32];

/* How many folios of each size may be surplus. */
static glob_t overcommits;
static char saved_overcommits[16][32];

static void save_setting(const char *path, char text[32])
{
	if (!read_file(path, text, 32))
		text[0] = 0;
}

static void save_settings(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(changed); i++)
		save_setting(changed[i], saved_texts[i]);
	if (glob(OVERCOMMITS, 0, NULL, &overcommits))
		overcommits.gl_pathc = 0;
	if (overcommits.gl_pathc > ARRAY_SIZE(saved_overcommits))
		ksft_exit_fail_msg("more than %zu sizes\n", ARRAY_SIZE(saved_overcommits));
	for (size_t i = 0; i < overcommits.gl_pathc; i++)
		save_setting(overcommits.gl_pathv[i], saved_overcommits[i]);
}

/* trace_start() has mounted tracefs */
static bool mounted;

static void trace_stop(void)
{
	try_write_file(GP_EVENT "enable", "0");
	rmdir(INSTANCE);
	if (mounted)
		umount(TRACING);
	mounted = false;
}

/*
 * Trace the expedited grace periods that this thread waits for; trace_stop() undoes it,
 * also when this fails.
 */
static bool trace_start(void)
{
	char filter[64];

	if (access(TRACING "/instances", F_OK)) {
		if (mount("none", TRACING, "tracefs", 0, NULL))
			return false;
		mounted = true;
	}
	/* a test that was killed may have left it */
	try_write_file(GP_EVENT "enable", "0");
	rmdir(INSTANCE);
	snprintf(filter, sizeof(filter), "common_pid == %ld", syscall(__NR_gettid));
	return !mkdir(INSTANCE, 0700) && !try_write_file(GP_EVENT "filter", filter) &&
	       !try_write_file(GP_EVENT "enable", "1");
}

/* How many grace periods the thread has waited for since the last call. */
static unsigned long traced_waits(void)
{
	unsigned long n = 0;
	char line[512];
	FILE *f = fopen(INSTANCE "/trace", "r");
	int fd;

	if (!f)
		ksft_exit_fail_perror(INSTANCE "/trace");
	while (fgets(line, sizeof(line), f))
		n += strstr(line, ": rcu_exp_grace_period:") && strstr(line, " snap");
	fclose(f);
	/* empties it */
	fd = open(INSTANCE "/trace", O_WRONLY | O_TRUNC);
	if (fd < 0)
		ksft_exit_fail_perror(INSTANCE "/trace");
	close(fd);
	return n;
}

static void restore_settings(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(changed); i++)
		if (saved_texts[i][0])
			try_write_file(changed[i], saved_texts[i]);
	for (size_t i = 0; i < overcommits.gl_pathc; i++)
		if (saved_overcommits[i][0])
			try_write_file(overcommits.gl_pathv[i], saved_overcommits[i]);
	trace_stop();
	hugetlb_restore_settings();
}

FIXTURE(hvo)
{
	char pool[PATH_MAX];		/* nr_hugepages of this size */
	unsigned long saved;		/* pages that an optimized folio saves */
	unsigned long before;		/* memmap_pages() of an empty pool */
	unsigned long lost;		/* folios that failed in earlier tests */
	unsigned long size;		/* of a folio, in bytes */
	unsigned int nr;		/* of folios to work with */
	int kpageflags, kpagecount, pagemap;
};

FIXTURE_VARIANT(hvo)
{
	unsigned long size;
};

FIXTURE_VARIANT_ADD(hvo, 64k)
{
	.size = 64 << 10,
};

FIXTURE_VARIANT_ADD(hvo, 1m)
{
	.size = MB(1),
};

FIXTURE_VARIANT_ADD(hvo, 2m)
{
	.size = MB(2),
};

FIXTURE_VARIANT_ADD(hvo, 32m)
{
	.size = MB(32),
};

FIXTURE_VARIANT_ADD(hvo, 512m)
{
	.size = MB(512),
};

FIXTURE_VARIANT_ADD(hvo, 1g)
{
	.size = MB(1024),
};

/*
 * Ask for a pool of @nr folios, beside those that memory failure keeps in use; how many
 * there are.
 */
static unsigned long set_pool(FIXTURE_DATA(hvo) * self, unsigned long nr)
{
	hugetlb_set_nr_pages(self->size, nr + self->lost);
	return hugetlb_nr_pages(self->size) - self->lost;
}

/* Optimize folios that are added to the pool, or not. */
static void set_hvo(bool on)
{
	write_num(SYSCTL, on);
}

static int try_write_num(const char *path, unsigned long num)
{
	char text[32];

	snprintf(text, sizeof(text), "%lu", num);
	return try_write_file(path, text);
}

/* Can pages be poisoned by tests, and be given back afterwards? */
static bool can_unpoison(void)
{
	return !access(HWPOISON "unpoison-pfn", W_OK);
}

/* Give back a poisoned page: 0 or -errno. */
static int unpoison(unsigned long pfn)
{
	return try_write_num(HWPOISON "unpoison-pfn", pfn);
}

#if defined(__aarch64__)
/* Was HVO asked for when the kernel booted? */
static bool asked_at_boot(void)
{
	static const char name[] = "hugetlb_free_vmemmap=";
	char cmdline[4096], *value;

	if (read_file("/proc/cmdline", cmdline, sizeof(cmdline)) <= 0)
		ksft_exit_fail_perror("/proc/cmdline");
	value = strstr(cmdline, name);
	return value && !strchr("0nNfF", value[sizeof(name) - 1]) &&
	       strncasecmp(value + sizeof(name) - 1, "of", 2);
}

/*
 * Without BBM level 3, folios in memory that is there at boot cannot be optimized if
 * HVO was not requested then.  Is that so?
 */
static bool too_late(FIXTURE_DATA(hvo) * self)
{
	unsigned long nr, saved;

	if (psize() != 4096 || !self->saved || asked_at_boot())
		return false;
	nr = set_pool(self, 1);
	saved = self->before - memmap_pages();
	set_pool(self, 0);
	return nr && !saved;
}
#else
static bool too_late(FIXTURE_DATA(hvo) * self)
{
	return false;
}
#endif

FIXTURE_SETUP(hvo)
{
	unsigned long sizes[16], most;
	int n = detect_hugetlb_page_sizes(sizes, 16), found = 0;

	if (geteuid())
		SKIP(return, "needs root");
	for (int i = 0; i < n; i++)
		found |= sizes[i] == variant->size;
	if (!found)
		SKIP(return, "no hugetlb folios of this size");

	if (access(SYSCTL, F_OK)) {
		/* hugetlb is there, and the architecture frees its vmemmap */
		ASSERT_FALSE(HAVE_HVO) TH_LOG("HVO is there");
		SKIP(return, "no HVO");
	}

	self->size = variant->size;
	self->saved = self->size / psize() * STRUCT_PAGE / psize();
	if (self->saved)
		self->saved--;
	snprintf(self->pool, sizeof(self->pool),
		 POOLS "%lukB/nr_hugepages", self->size >> 10);

	ASSERT_LE(0, self->kpageflags = open("/proc/kpageflags", O_RDONLY));
	ASSERT_LE(0, self->kpagecount = open("/proc/kpagecount", O_RDONLY));
	ASSERT_LE(0, self->pagemap = open("/proc/self/pagemap", O_RDONLY));

	for (int i = 0; i < n; i++)
		hugetlb_set_nr_pages(sizes[i], 0);
	self->before = memmap_pages();
	self->lost = hugetlb_nr_pages(self->size);

	/* a quarter of the free memory, at most 64 folios */
	most = sysconf(_SC_AVPHYS_PAGES) * psize() / 4 / self->size;
	self->nr = most < 2 ? 2 : most > 64 ? 64 : most;
	/* The kernel may refuse that, if no memory could ever be optimized. */
	try_write_num(SYSCTL, 1);
	if (too_late(self))
		SKIP(return, "boot with hugetlb_free_vmemmap=on");
	set_hvo(true);
}

FIXTURE_TEARDOWN(hvo)
{
	set_pool(self, 0);
	restore_settings();
}

/* The pool has @nr optimized folios: is that what the memmap says? */
static void expect_saved(struct __test_metadata *_metadata, FIXTURE_DATA(hvo) * self,
			 unsigned long nr)
{
	EXPECT_EQ(nr * self->saved, self->before - memmap_pages())
		TH_LOG("pages saved by %lu folios", nr);
}

/* With HVO, each folio frees all vmemmap pages but one, and gets them back. */
TEST_F(hvo, saved)
{
	unsigned long nr;

	for (int i = 0; i < 4; i++) {
		nr = set_pool(self, self->nr);
		if (!nr && __test_passed(_metadata))
			SKIP(return, NO_MEMORY);
		ASSERT_LT(0, nr);
		expect_saved(_metadata, self, nr);

		nr = set_pool(self, nr / 2);
		expect_saved(_metadata, self, nr);

		EXPECT_EQ(0, set_pool(self, 0));
		expect_saved(_metadata, self, 0);
	}
}

/* Without HVO nothing is freed, and folios optimized before get their pages back. */
TEST_F(hvo, off)
{
	unsigned long nr = set_pool(self, 1), all;

	if (!nr)
		SKIP(return, NO_MEMORY);
	set_hvo(false);
	all = set_pool(self, self->nr);
	expect_saved(_metadata, self, nr);
	TH_LOG("%lu folios, one of them optimized", all);

	EXPECT_EQ(0, set_pool(self, 0));
	expect_saved(_metadata, self, 0);
}

static char *map_folio(FIXTURE_DATA(hvo) * self, int prot, int flags)
{
	int shift = __builtin_ctzl(self->size);
	char *folio = mmap(NULL, self->size, PROT_READ | PROT_WRITE | prot,
			   MAP_ANONYMOUS | MAP_HUGETLB | flags | shift << MAP_HUGE_SHIFT, -1, 0);

	return folio == MAP_FAILED ? NULL : folio;
}

#if defined(__aarch64__)
#define MTE_GRANULE	16
#ifndef HWCAP2_MTE
#define HWCAP2_MTE	BIT_ULL(18)
#endif
#ifndef PROT_MTE
#define PROT_MTE	0x20
#endif

/* PROT_MTE where there is MTE. */
static int prot_tags(void)
{
	return getauxval(AT_HWCAP2) & HWCAP2_MTE ? PROT_MTE : 0;
}

/* The tag of granule @i: neighbours differ, and none is 0. */
static unsigned long tag_of(unsigned long i)
{
	return 1 + i % 15;
}

/* Give each granule of memory mapped by PROT_MTE its tag. */
static void set_tags(void *p, unsigned long size)
{
	for (unsigned long i = 0; i < size / MTE_GRANULE; i++) {
		unsigned long addr = (unsigned long)p + i * MTE_GRANULE;

		asm volatile(".arch armv8.5-a+memtag\n"
			     "stg	%0, [%0]"
			     : : "r"(addr | tag_of(i) << 56) : "memory");
	}
}

/* Granules that do not have their tag. */
static unsigned long wrong_tags(void *p, unsigned long size)
{
	unsigned long wrong = 0;

	for (unsigned long i = 0; i < size / MTE_GRANULE; i++) {
		unsigned long addr = (unsigned long)p + i * MTE_GRANULE, tagged = addr;

		asm volatile(".arch armv8.5-a+memtag\n"
			     "ldg	%0, [%1]"
			     : "+r"(tagged) : "r"(addr) : "memory");
		wrong += tagged >> 56 != tag_of(i);
	}
	return wrong;
}
#else
static int prot_tags(void)
{
	return 0;
}

static void set_tags(void *p, unsigned long size)
{
}

static unsigned long wrong_tags(void *p, unsigned long size)
{
	return 0;
}
#endif

/* Read flags and counts of a folio's pages, as user space sees them. */
static bool read_pages(FIXTURE_DATA(hvo) * self, unsigned long pfn,
		       uint64_t *flags, uint64_t *counts)
{
	size_t len = self->size / psize() * sizeof(*flags);

	return pread(self->kpageflags, flags, len, pfn * 8) == (ssize_t)len &&
	       pread(self->kpagecount, counts, len, pfn * 8) == (ssize_t)len;
}

/* Struct pages look the same with and without HVO, and not like hugetlb afterwards. */
TEST_F_TIMEOUT(hvo, content, RACE_TIMEOUT)
{
	unsigned long n = self->size / psize(), pfn, differ = 0, wrong = 0, left = 0;
	unsigned long n_folios;
	const uint64_t tail = KPF_HUGE | KPF_COMPOUND_TAIL;
	uint64_t *flags[2], *counts[2];
	char *p;

	for (int hvo = 0; hvo < 2; hvo++) {
		ASSERT_NE(NULL, flags[hvo] = calloc(n, 8));
		ASSERT_NE(NULL, counts[hvo] = calloc(n, 8));

		set_hvo(hvo);
		n_folios = set_pool(self, 1);
		if (!n_folios && __test_passed(_metadata))
			SKIP(return, NO_MEMORY);
		ASSERT_EQ(1, n_folios);
		ASSERT_NE(NULL, p = map_folio(self, 0, MAP_PRIVATE));
		memset(p, 1, self->size);
		pfn = pagemap_get_pfn(self->pagemap, p);
		ASSERT_NE(-1UL, pfn);
		ASSERT_TRUE(read_pages(self, pfn, flags[hvo], counts[hvo]));
		EXPECT_EQ(hvo * self->saved, self->before - memmap_pages());

		ASSERT_TRUE(flags[hvo][0] & KPF_COMPOUND_HEAD);
		for (unsigned long i = 1; i < n; i++) {
			wrong += (flags[hvo][i] & tail) != tail;
			wrong += counts[hvo][i] != 1;
		}
		EXPECT_EQ(0, wrong) TH_LOG("tail pages, HVO %s", hvo ? "on" : "off");

		ASSERT_EQ(0, munmap(p, self->size));
		EXPECT_EQ(0, set_pool(self, 0));
	}

	for (unsigned long i = 0; i < n; i++)
		differ += flags[0][i] != flags[1][i] || counts[0][i] != counts[1][i];
	EXPECT_EQ(0, differ) TH_LOG("of %lu pages look different with HVO", n);

	ASSERT_TRUE(read_pages(self, pfn, flags[0], counts[0]));
	for (unsigned long i = 0; i < n; i++)
		left += !!(flags[0][i] & KPF_HUGE);
	EXPECT_EQ(0, left) TH_LOG("of %lu pages are hugetlb's afterwards", n);

	for (int hvo = 0; hvo < 2; hvo++) {
		free(flags[hvo]);
		free(counts[hvo]);
	}
}

/*
 * Copy to an optimized folio, page by page: for a child that writes, and to migrate.
 * With MTE, tags are copied, too.
 */
TEST_F_TIMEOUT(hvo, copy, RACE_TIMEOUT)
{
	unsigned long differ = 0, tags = 0, n = self->size / sizeof(n), pfn, *p;
	int status, error = EOPNOTSUPP, prot = prot_tags();
	pid_t pid;

	if (set_pool(self, 3) < 3)
		SKIP(return, NO_MEMORY);
	ASSERT_NE(NULL, p = (unsigned long *)map_folio(self, prot, MAP_PRIVATE));
	for (unsigned long i = 0; i < n; i++)
		p[i] = i;
	if (prot)
		set_tags(p, self->size);

	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		p[0]++;
		for (unsigned long i = 1; i < n; i++)
			differ += p[i] != i;
		if (prot)
			tags = wrong_tags(p, self->size);
		_exit((differ ? 1 : 0) | (tags ? 2 : 0));
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status) TH_LOG("the child's copy");

	/* Soft offline migrates the folio; set_pool() below frees the old one. */
	pfn = pagemap_get_pfn(self->pagemap, (char *)(p + n / 2));
	if (can_unpoison())
		error = madvise(p + n / 2, psize(), MADV_SOFT_OFFLINE) ? errno : 0;
	if (!error)
		EXPECT_EQ(0, unpoison(pfn));
	if (error != EINVAL && error != EOPNOTSUPP)
		EXPECT_EQ(0, error) TH_LOG("MADV_SOFT_OFFLINE");
	for (unsigned long i = 0; i < n; i++)
		differ += p[i] != i;
	EXPECT_EQ(0, differ) TH_LOG("after the migration");
	if (prot) {
		EXPECT_EQ(0, wrong_tags(p, self->size))
			TH_LOG("tags after the migration");
	}
	TH_LOG("%s tags", prot ? "with" : "without");

	ASSERT_EQ(0, munmap(p, self->size));
	EXPECT_EQ(0, set_pool(self, 0));
	expect_saved(_metadata, self, 0);
	if (error && __test_passed(_metadata))
		SKIP(return, "needs CONFIG_HWPOISON_INJECT, and soft offline enabled");
}

struct walker {
	FIXTURE_DATA(hvo) * self;
	atomic_bool *stop;
	atomic_ulong turns, dumps, wrong, lost, pfn;
	pthread_t thread;
	bool often;
};

/* How often churn() has filled the pool. */
static atomic_ulong cycles;

/* The first page frame that a zone spans. */
static unsigned long first_pfn(void)
{
	unsigned long first = -1UL, pfn;
	char line[256];
	FILE *f = fopen("/proc/zoneinfo", "r");

	if (!f)
		ksft_exit_fail_perror("/proc/zoneinfo");
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, " start_pfn: %lu", &pfn) == 1 && pfn && pfn < first)
			first = pfn;
	fclose(f);
	return first;
}

/* Read flags and counts of all pages; count the reads that saw hugetlb pages. */
static void *walk_pfns(void *arg)
{
	struct walker *w = arg;
	static uint64_t buf[1 << 10];
	const off_t start = first_pfn() * sizeof(*buf);
	off_t offset = start;

	while (!atomic_load(w->stop)) {
		ssize_t len = pread(w->self->kpagecount, buf, sizeof(buf), offset);

		if (len > 0)
			len = pread(w->self->kpageflags, buf, sizeof(buf), offset);
		if (len <= 0) {
			offset = start;
			continue;
		}
		offset += len;
		for (size_t i = 0; i < len / sizeof(*buf); i++) {
			if (buf[i] & KPF_HUGE) {
				atomic_fetch_add(&w->turns, 1);
				break;
			}
		}
	}
	return NULL;
}

/* A file that has the kernel's page tables, or -1. */
static int open_page_tables(void)
{
	int fd = open("/sys/kernel/debug/kernel_page_tables", O_RDONLY | O_CLOEXEC);

	return fd >= 0 ? fd : open("/sys/kernel/debug/page_tables/kernel",
				   O_RDONLY | O_CLOEXEC);
}

/* Compact memory, and dump the kernel's page tables if it lets us. */
static void *compact(void *arg)
{
	struct walker *w = arg;
	static char buf[1 << 16];

	while (!atomic_load(w->stop)) {
		int fd = open_page_tables();

		try_write_file("/proc/sys/vm/compact_memory", "1");
		if (fd >= 0) {
			while (!atomic_load(w->stop) && read(fd, buf, sizeof(buf)) > 0)
				;
			close(fd);
			atomic_fetch_add(&w->dumps, 1);
		}
		atomic_fetch_add(&w->turns, 1);
	}
	return NULL;
}

/* How many pages of a folio mapped at @p do not look like a hugetlb folio's. */
static unsigned long wrong_pages(FIXTURE_DATA(hvo) * self, char *p, uint64_t *flags,
				 uint64_t *counts)
{
	const uint64_t head = KPF_HUGE | KPF_COMPOUND_HEAD, tail = KPF_HUGE | KPF_COMPOUND_TAIL;
	unsigned long pfn = pagemap_get_pfn(self->pagemap, p), wrong = 0;

	if (!read_pages(self, pfn, flags, counts))
		return -1UL;
	for (unsigned long i = 0; i < self->size / psize(); i++)
		wrong += (flags[i] & (head | tail)) != (i ? tail : head) || counts[i] != 1;
	return wrong;
}

/*
 * Take folios from the pool when there are any, look at their pages, and have pages
 * of theirs pinned.
 */
static void *use_folios(void *arg)
{
	struct walker *w = arg;
	unsigned long size = w->self->size;
	uint64_t *flags = calloc(size / psize(), 8), *counts = calloc(size / psize(), 8);
	int fds[2];

	if (!flags || !counts || pipe2(fds, O_CLOEXEC))
		return NULL;
	while (!atomic_load(w->stop)) {
		char *p = map_folio(w->self, 0, MAP_SHARED | MAP_POPULATE);
		struct iovec iov;
		char byte;

		if (!p)
			continue;
		iov = (struct iovec) { p + size / 2, 1 };
		p[size / 2] = 1;
		atomic_fetch_add(&w->wrong, wrong_pages(w->self, p, flags, counts));
		if (vmsplice(fds[1], &iov, 1, 0) == 1 && read(fds[0], &byte, 1) == 1)
			atomic_fetch_add(&w->turns, 1);
		munmap(p, size);
	}
	close(fds[0]);
	close(fds[1]);
	free(flags);
	free(counts);
	return NULL;
}

/*
 * Have folios soft-offlined: one is migrated to another of the pool and given
 * up.  Its page is given back at once, so that no memory is lost.  Only a few
 * are soft-offlined, in the cycles 1, 2, 4, 8 ... of churn(), so that the others
 * have most of the time, unless it is to be done often.
 */
static void *soft_offline(void *arg)
{
	struct walker *w = arg;
	unsigned long size = w->self->size, pfn;

	while (!atomic_load(w->stop) && (w->often || atomic_load(&w->turns) < w->self->nr / 8)) {
		char *p;

		if (!w->often && atomic_load(&cycles) < 1UL << atomic_load(&w->turns)) {
			sched_yield();
			continue;
		}
		p = map_folio(w->self, 0, MAP_SHARED | MAP_POPULATE);
		if (!p)
			continue;
		pfn = pagemap_get_pfn(w->self->pagemap, p + size / 2);
		if (!madvise(p + size / 2, psize(), MADV_SOFT_OFFLINE)) {
			atomic_fetch_add(&w->turns, 1);
			if (unpoison(pfn))
				atomic_fetch_add(&w->lost, 1);
		}
		munmap(p, size);
	}
	return NULL;
}

#define NODE1	"/sys/devices/system/node/node1"

/* Have folios migrated between the nodes 0 and 1, to and fro. */
static void *move_nodes(void *arg)
{
	struct walker *w = arg;
	unsigned long size = w->self->size;

	while (!atomic_load(w->stop)) {
		char *p = map_folio(w->self, 0, MAP_SHARED | MAP_POPULATE);
		void *page = p;
		int status;

		if (!p)
			continue;
		for (int i = 0; i < 4; i++) {
			int node = i % 2;

			status = -1;
			if (!syscall(__NR_move_pages, 0, 1, &page, &node, &status,
				     MPOL_MF_MOVE) && status == node)
				atomic_fetch_add(&w->turns, 1);
		}
		munmap(p, size);
	}
	return NULL;
}

/* Can pages be soft-offlined, and given back?  MADV_SOFT_OFFLINE of no page tells. */
static bool can_soft_offline(FIXTURE_DATA(hvo) * self)
{
	return self->nr >= 8 && !madvise(NULL, 0, MADV_SOFT_OFFLINE) && can_unpoison();
}

/* How many of the walkers have had a turn. */
static size_t walkers_there(const struct walker *walkers, size_t nr)
{
	size_t there = 0;

	for (size_t i = 0; i < nr; i++)
		there += !!atomic_load(&walkers[i].turns);
	return there;
}

/*
 * How many folios are optimized by now, of a size of which they can be; of others,
 * how many there are.
 */
static unsigned long optimized(FIXTURE_DATA(hvo) * self, unsigned long nr)
{
	unsigned long pages = memmap_pages();

	if (!self->saved)
		return nr;
	return pages < self->before ? (self->before - pages) / self->saved : 0;
}

/*
 * Fill the pool and wait until all @walkers have had a turn, RACE_MAX_SECONDS at most.
 * Then let the pool grow and shrink beside them, for RACE_SECONDS or until ROUNDS folios
 * have saved pages of the memmap and given them back.  With @each_time, the first walker
 * has a turn whenever the pool is full.
 *
 * Return: how many folios the walkers took from the pool.
 */
static unsigned long churn(struct __test_metadata *_metadata, FIXTURE_DATA(hvo) * self,
			   struct walker *walkers, size_t nr, bool each_time)
{
	const unsigned long rounds = race_rounds();
	unsigned long folios = 0, seen = 0, taken = 0, idle = 0, turn, got, full, left;
	const unsigned long long patience = now_ns() + RACE_MAX_SECONDS * NSEC_PER_SEC;
	unsigned long long end = 0;

	atomic_store(&cycles, 0);
	do {
		got = set_pool(self, self->nr);
		full = optimized(self, got);
		atomic_fetch_add(&cycles, 1);
		turn = atomic_load(&walkers[0].turns);
		while ((walkers_there(walkers, nr) < nr ||
			(each_time && atomic_load(&walkers[0].turns) == turn)) &&
		       now_ns() < patience)
			sched_yield();
		if (!end)
			end = now_ns() + RACE_SECONDS * NSEC_PER_SEC;
		left = hugetlb_nr_pages(self->size) - self->lost;
		taken += got > left ? got - left : 0;
		/* folios that walkers use stay, and are counted in a later cycle */
		left = set_pool(self, 0);
		left = optimized(self, left);
		seen += got;
		if (full > left) {
			folios += full - left;
			idle = 0;
		} else {
			idle++;
		}
	} while (rounds ? folios < rounds && idle < IDLE : now_ns() < end);
	EXPECT_LT(idle, IDLE) TH_LOG("no folio was optimized in %u cycles", IDLE);
	EXPECT_LT(0, folios);
	TH_LOG("%lu of %lu folios optimized and restored in %lu cycles, %lu taken by others",
	       folios, seen, atomic_load(&cycles), taken);
	return taken;
}

static void start_walkers(FIXTURE_DATA(hvo) * self, struct walker *walkers, size_t nr,
			  void *(*const *walks)(void *), atomic_bool *stop)
{
	for (size_t i = 0; i < nr; i++) {
		walkers[i].self = self;
		walkers[i].stop = stop;
		if (pthread_create(&walkers[i].thread, NULL, walks[i], &walkers[i]))
			ksft_exit_fail_msg("no thread\n");
	}
}

/* Stop the walkers; have all of them had a turn? */
static bool stop_walkers(struct walker *walkers, size_t nr, atomic_bool *stop)
{
	atomic_store(stop, true);
	for (size_t i = 0; i < nr; i++)
		pthread_join(walkers[i].thread, NULL);
	return walkers_there(walkers, nr) == nr;
}

/* Optimize and restore while others look at pages, move them and use folios. */
TEST_F_TIMEOUT(hvo, churn, RACE_TIMEOUT)
{
	void *(*const walks[])(void *) = { walk_pfns, compact, use_folios, soft_offline };
	struct walker walkers[ARRAY_SIZE(walks)] = {};
	size_t nr = ARRAY_SIZE(walks);
	atomic_bool stop = false;
	int page_tables;
	bool all;

	if (!set_pool(self, 1))
		SKIP(return, NO_MEMORY);
	if (!can_soft_offline(self))
		nr--;
	start_walkers(self, walkers, nr, walks, &stop);
	churn(_metadata, self, walkers, nr, false);
	all = stop_walkers(walkers, nr, &stop);

	TH_LOG("%lu looks at pages of hugetlb's, %lu compactions, %lu dumps",
	       atomic_load(&walkers[0].turns), atomic_load(&walkers[1].turns),
	       atomic_load(&walkers[1].dumps));
	TH_LOG("%lu folios used, %lu soft-offlined%s", atomic_load(&walkers[2].turns),
	       atomic_load(&walkers[3].turns),
	       nr < ARRAY_SIZE(walks) ? ": cannot be, or too few are in the pool" : "");
	EXPECT_EQ(0, atomic_load(&walkers[2].wrong))
		TH_LOG("pages of folios in use that do not look like hugetlb's");
	EXPECT_EQ(0, atomic_load(&walkers[3].lost)) TH_LOG("pages that stay poisoned");
	page_tables = open_page_tables();
	if (page_tables >= 0) {
		EXPECT_LT(0, atomic_load(&walkers[1].dumps)) TH_LOG("dumps of page tables");
		close(page_tables);
	}
	EXPECT_EQ(0, set_pool(self, 0));
	expect_saved(_metadata, self, 0);
	if (!all && __test_passed(_metadata))
		SKIP(return, "not all of the others were there meanwhile");
}

/* The memory blocks all of whose pages can be moved, so that it can be removed. */
static bool movable_block(const char *block)
{
	char path[PATH_MAX], zones[64];

	snprintf(path, sizeof(path), "%s/valid_zones", block);
	return read_file(path, zones, sizeof(zones)) > 0 && !strncmp(zones, "Movable", 7);
}

/* Take memory blocks offline and online again, one after the other. */
static void *offline_blocks(void *arg)
{
	struct walker *w = arg;
	char path[PATH_MAX];
	glob_t blocks;

	if (glob("/sys/devices/system/memory/memory[0-9]*", 0, NULL, &blocks))
		return NULL;
	while (!atomic_load(w->stop)) {
		for (size_t i = 0; i < blocks.gl_pathc && !atomic_load(w->stop); i++) {
			if (!movable_block(blocks.gl_pathv[i]))
				continue;
			snprintf(path, sizeof(path), "%s/state", blocks.gl_pathv[i]);
			if (try_write_file(path, "offline"))
				continue;
			atomic_fetch_add(&w->turns, 1);
			if (try_write_file(path, "online_movable"))
				ksft_exit_fail_perror(path);
		}
	}
	globfree(&blocks);
	return NULL;
}

/* Optimize and restore while the memory that folios are in goes offline. */
TEST_F_TIMEOUT(hvo, offline, RACE_TIMEOUT)
{
	void *(*const walks[])(void *) = { offline_blocks };
	struct walker walkers[ARRAY_SIZE(walks)] = {};
	atomic_bool stop = false;
	unsigned long taken;
	size_t movable = 0;
	glob_t blocks;
	bool all;

	if (!glob("/sys/devices/system/memory/memory[0-9]*", 0, NULL, &blocks)) {
		for (size_t i = 0; i < blocks.gl_pathc; i++)
			movable += movable_block(blocks.gl_pathv[i]);
		globfree(&blocks);
	}
	if (!movable)
		SKIP(return, "no memory block is movable");
	if (!set_pool(self, 1))
		SKIP(return, NO_MEMORY);

	start_walkers(self, walkers, ARRAY_SIZE(walks), walks, &stop);
	taken = churn(_metadata, self, walkers, ARRAY_SIZE(walks), true);
	all = stop_walkers(walkers, ARRAY_SIZE(walks), &stop);
	TH_LOG("%zu blocks, offline %lu times", movable, atomic_load(&walkers[0].turns));
	EXPECT_EQ(0, set_pool(self, 0));
	expect_saved(_metadata, self, 0);
	if (!(all && taken) && __test_passed(_metadata))
		SKIP(return, "no memory with a folio of the pool went offline");
}

/* Split folios in the pool to ones of 2 MiB: restored, and optimized again. */
TEST_F(hvo, demote)
{
	char path[PATH_MAX], text[32];
	unsigned long nr, small, sum;

	snprintf(path, sizeof(path), "/sys/kernel/mm/hugepages/hugepages-%lukB/demote_size",
		 self->size >> 10);
	if (access(path, F_OK))
		SKIP(return, "no smaller size");
	if (self->size <= MB(2) || try_write_file(path, "2M"))
		SKIP(return, "cannot be split to 2M");

	nr = set_pool(self, 2);
	if (!nr)
		SKIP(return, NO_MEMORY);
	expect_saved(_metadata, self, nr);
	small = MB(2) / psize() * STRUCT_PAGE / psize();
	small = small ? small - 1 : 0;
	sum = nr * (self->size / MB(2)) * small;

	snprintf(path, sizeof(path), "/sys/kernel/mm/hugepages/hugepages-%lukB/demote",
		 self->size >> 10);
	snprintf(text, sizeof(text), "%lu", nr);
	ASSERT_EQ(0, try_write_file(path, text));
	EXPECT_EQ(sum, self->before - memmap_pages())
		TH_LOG("pages saved by folios of 2M");
	EXPECT_EQ(0, set_pool(self, 0));
	hugetlb_set_nr_pages(MB(2), 0);
	expect_saved(_metadata, self, 0);
}

/* Ask for a pool of @nr folios, and let the @nth allocation fail: was there one? */
static bool set_pool_failing(FIXTURE_DATA(hvo) * self, int fd, unsigned long nr,
			     unsigned int nth)
{
	char text[32];

	snprintf(text, sizeof(text), "%u", nth);
	if (pwrite(fd, text, strlen(text), 0) <= 0)
		ksft_exit_fail_perror("fail-nth");
	snprintf(text, sizeof(text), "%lu", nr + self->lost);
	try_write_file(self->pool, text);
	memset(text, 0, sizeof(text));
	if (pread(fd, text, sizeof(text) - 1, 0) <= 0 || pwrite(fd, "0", 1, 0) != 1)
		ksft_exit_fail_perror("fail-nth");
	return !strtol(text, NULL, 10);
}

/*
 * Allocations fail in turn when the pool grows, and when it shrinks: nothing is
 * lost.  fail_page_alloc does not fail allocations of folios.  Where PMDs map the
 * vmemmap, the PMDs of more and more folios are split.
 */
TEST_F_TIMEOUT(hvo, fault, RACE_TIMEOUT)
{
	unsigned long failed[3] = {}, most;
	int fd;

	if (!self->saved)
		SKIP(return, "nothing is allocated for folios of this size");
	if (try_write_file(FAIL "min-order", "0") || try_write_file(FAIL "ignore-gfp-wait", "N") ||
	    try_write_file(FAIL "verbose", "0"))
		SKIP(return, "needs CONFIG_FAIL_PAGE_ALLOC");
	/* Without HVO: the first optimized folio allocates the page that all share. */
	set_hvo(false);
	if (set_pool(self, 4) < 4)
		SKIP(return, NO_MEMORY);
	ASSERT_EQ(0, set_pool(self, 0));
	set_hvo(true);
	ASSERT_LE(0, fd = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC));

	for (int restore = 0; restore < 2; restore++) {
		for (unsigned int nth = 1; ; nth++) {
			bool one;

			ASSERT_EQ(restore ? 4 : 0, set_pool(self, restore ? 4 : 0));
			one = set_pool_failing(self, fd, restore ? 0 : 4, nth);

			/* folios that could not be restored are surplus */
			set_pool(self, 4);
			ASSERT_EQ(0, set_pool(self, 0));
			expect_saved(_metadata, self, 0);
			if (!one)
				break;
			failed[restore]++;
		}
	}

	most = sysconf(_SC_AVPHYS_PAGES) * psize() / 2 / self->size;
	for (unsigned long nr = self->nr; nr < most; nr += self->nr)
		failed[2] += set_pool_failing(self, fd, nr, 1);
	EXPECT_EQ(0, set_pool(self, 0));
	expect_saved(_metadata, self, 0);

	TH_LOG("%lu allocations failed to grow the pool, %lu to shrink it, %lu to grow it further",
	       failed[0], failed[1], failed[2]);
	EXPECT_LT(0, failed[1]);
	if (getenv("COLD")) {
		EXPECT_LT(0, failed[0])
			TH_LOG("of what all folios share");
	}
#if defined(__x86_64__)
	EXPECT_LT(0, failed[0]) TH_LOG("of pages of heads");
#endif
	close(fd);
}

struct user {
	FIXTURE_DATA(hvo) * self;
	char *folio;			/* a mapped folio of the pool */
	unsigned long full;		/* folios in the pool before it shrinks */
	atomic_bool ready, shrinking;
	bool overlap;			/* given back while the pool shrank */
	pthread_t thread;
};

/* Give the folio back as soon as the pool has become smaller. */
static void *unmap_when_smaller(void *arg)
{
	struct user *user = arg;
	bool smaller;

	atomic_store(&user->ready, true);
	do {
		smaller = hugetlb_nr_pages(user->self->size) - user->self->lost < user->full;
	} while (!smaller && atomic_load(&user->shrinking));
	munmap(user->folio, user->self->size);
	user->overlap = smaller && atomic_load(&user->shrinking);
	return NULL;
}

/* A folio that is given back while the pool shrinks does not stay in the pool. */
TEST_F_TIMEOUT(hvo, shrink, RACE_TIMEOUT)
{
	struct race race = { .began = now_ns() };

	while (race.overlaps < SHRINKS && !race.failed &&
	       now_ns() - race.began < RACE_MAX_SECONDS * NSEC_PER_SEC) {
		struct user user = { .self = self, .shrinking = true };

		user.full = set_pool(self, self->nr);
		if (user.full < 2)
			break;
		ASSERT_NE(NULL, user.folio = map_folio(self, 0, MAP_PRIVATE));
		user.folio[0] = 1;
		ASSERT_EQ(0, pthread_create(&user.thread, NULL, unmap_when_smaller, &user));
		while (!atomic_load(&user.ready))
			sched_yield();
		hugetlb_set_nr_pages(self->size, 0);
		atomic_store(&user.shrinking, false);
		pthread_join(user.thread, NULL);

		race.rounds++;
		race.overlaps += user.overlap;
		race.failed += !!set_pool(self, 0);
	}
	if (!race.rounds)
		SKIP(return, NO_MEMORY);
	TH_LOG("%lu rounds, in %lu a folio was given back while the pool shrank", race.rounds,
	       race.overlaps);
	EXPECT_EQ(0, race.failed) TH_LOG("folios that stay");

	/* A folio that stayed is not lost: it belongs to the pool when that grows. */
	set_pool(self, self->nr);
	EXPECT_EQ(0, set_pool(self, 0));
	expect_saved(_metadata, self, 0);
	skip_unless_raced(_metadata, &race, SHRINKS);
}

/* Wait until folios that were freed by a worker of the kernel are gone. */
static void wait_for_empty_pool(FIXTURE_DATA(hvo) * self)
{
	const unsigned long long patience = now_ns() + RACE_MAX_SECONDS * NSEC_PER_SEC;

	while ((hugetlb_nr_pages(self->size) > self->lost || memmap_pages() != self->before) &&
	       now_ns() < patience)
		sched_yield();
}

/* Microseconds that a fault takes that allocates a folio; expect @saved pages saved. */
static unsigned long time_fault(struct __test_metadata *_metadata, FIXTURE_DATA(hvo) * self,
				unsigned long saved)
{
	char *p = map_folio(self, 0, MAP_PRIVATE | MAP_NORESERVE);
	unsigned long long began = now_ns(), took;

	ASSERT_NE(NULL, p);
	p[0] = 1;
	took = now_ns() - began;
	EXPECT_EQ(saved, self->before - memmap_pages()) TH_LOG("pages saved after a fault");
	ASSERT_EQ(0, munmap(p, self->size));
	wait_for_empty_pool(self);
	return took / 1000;
}

/*
 * Folios are allocated on demand, and save as many pages as those of the pool.  An mmap()
 * of many waits for at most two grace periods, not for one a folio, and takes at most
 * twice the time in which the pool grows by as many.  A page fault waits for at most one.
 */
TEST_F_TIMEOUT(hvo, demand, RACE_TIMEOUT)
{
	const int prot = PROT_READ | PROT_WRITE;
	const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB |
			  __builtin_ctzl(self->size) << MAP_HUGE_SHIFT;
	unsigned long grow = 0, mapping = 0, fault[2] = {}, waited[3] = {}, waits, nr;
	unsigned long long began;
	char *p, path[PATH_MAX];
	bool traced;
	int times = 0;

	nr = sysconf(_SC_AVPHYS_PAGES) * psize() / 4 / self->size;
	nr = nr < 2 ? 2 : nr > DEMAND ? DEMAND : nr;
	snprintf(path, sizeof(path), POOLS "%lukB/nr_overcommit_hugepages", self->size >> 10);
	if (try_write_num(path, nr))
		SKIP(return, "no overcommit of this size");
	if (set_pool(self, nr) < nr)
		SKIP(return, NO_MEMORY);
	ASSERT_EQ(0, set_pool(self, 0));
	traced = trace_start();
	if (traced)
		traced_waits();

	while (times < TIMES && waited[1] <= 2 && waited[2] <= 1) {
		began = now_ns();
		ASSERT_EQ(nr, set_pool(self, nr));
		grow += (now_ns() - began) / 1000;
		waited[0] += traced ? traced_waits() : 0;
		expect_saved(_metadata, self, nr);
		ASSERT_EQ(0, set_pool(self, 0));
		if (traced)
			traced_waits();

		began = now_ns();
		p = mmap(NULL, nr * self->size, prot, flags, -1, 0);
		mapping += (now_ns() - began) / 1000;
		waits = traced ? traced_waits() : 0;
		waited[1] = waits > waited[1] ? waits : waited[1];
		ASSERT_NE(MAP_FAILED, p);
		expect_saved(_metadata, self, nr);
		ASSERT_EQ(0, munmap(p, nr * self->size));
		wait_for_empty_pool(self);
		expect_saved(_metadata, self, 0);
		if (traced)
			traced_waits();

		for (int hvo = 0; hvo < 2; hvo++) {
			set_hvo(hvo);
			fault[hvo] += time_fault(_metadata, self, hvo * self->saved);
			waits = traced ? traced_waits() : 0;
			waited[2] = waits > waited[2] ? waits : waited[2];
			expect_saved(_metadata, self, 0);
		}
		times++;
	}
	/* sums: a clock may tick as rarely as CONFIG_HZ */
	TH_LOG("microseconds, mean of %d: grow by %lu %lu, mmap of %lu %lu", times, nr,
	       grow / times, nr, mapping / times);
	TH_LOG("microseconds, mean of %d: fault with HVO %lu, without %lu", times,
	       fault[1] / times, fault[0] / times);
	if (traced && waited[0]) {
		TH_LOG("grace periods: %lu for %d pools, at most %lu an mmap(), %lu a fault",
		       waited[0], times, waited[1], waited[2]);
		EXPECT_LE(waited[1], 2) TH_LOG("grace periods that an mmap() waited for");
		EXPECT_LE(waited[2], 1) TH_LOG("grace periods that a fault waited for");
	} else if (self->saved) {
		TH_LOG("grace periods are not counted: %s", traced ?
		       "they are not expedited" : "needs CONFIG_RCU_TRACE");
	}
	EXPECT_LE(mapping, 2 * grow)
		TH_LOG("mmap() of as many folios as the pool grew by");
}

/* How many pages of the folio at @pfn are poisoned; give them back. */
static unsigned long unpoison_folio(FIXTURE_DATA(hvo) * self, unsigned long pfn,
				    uint64_t *flags, uint64_t *counts)
{
	const unsigned long n = self->size / psize();
	unsigned long poisoned = 0;

	if (!read_pages(self, pfn, flags, counts))
		return -1UL;
	for (unsigned long i = 0; i < n; i++) {
		if (!(flags[i] & KPF_HWPOISON))
			continue;
		poisoned++;
		/* all pages of a hugetlb folio show the flag of the head */
		if (!(flags[i] & KPF_HUGE) || !i)
			unpoison(pfn + i);
	}
	return poisoned;
}

/*
 * Errors that hwpoison_filter() filters leave no trace, in folios that are in use and in
 * free ones.  hwpoison-inject asks the filter for the head page, and memory_failure() for
 * the page itself: only heads are let through, and the error is in a tail page.
 */
TEST_F(hvo, filtered)
{
	const unsigned long n = self->size / psize();
	uint64_t *flags = calloc(n, 8), *counts = calloc(n, 8);
	unsigned long pfn;
	char *p;

	ASSERT_NE(NULL, flags);
	ASSERT_NE(NULL, counts);
	if (!can_unpoison())
		SKIP(return, "needs CONFIG_HWPOISON_INJECT");
	if (set_pool(self, 2) < 2)
		SKIP(return, NO_MEMORY);
	ASSERT_EQ(0, try_write_num(HWPOISON "corrupt-filter-flags-mask", KPF_COMPOUND_HEAD));
	ASSERT_EQ(0, try_write_num(HWPOISON "corrupt-filter-flags-value", KPF_COMPOUND_HEAD));

	ASSERT_NE(NULL, p = map_folio(self, 0, MAP_PRIVATE));
	p[0] = 1;
	pfn = pagemap_get_pfn(self->pagemap, p);
	for (int in_use = 1; in_use >= 0; in_use--) {
		if (!in_use)
			ASSERT_EQ(0, munmap(p, self->size));
		ASSERT_EQ(0, try_write_num(HWPOISON "corrupt-filter-enable", 1));
		EXPECT_EQ(0, try_write_num(HWPOISON "corrupt-pfn", pfn + n / 2));
		ASSERT_EQ(0, try_write_num(HWPOISON "corrupt-filter-enable", 0));
		EXPECT_EQ(0, unpoison_folio(self, pfn, flags, counts))
			TH_LOG("poisoned pages of a folio %s", in_use ? "in use" : "of the pool");
		expect_saved(_metadata, self, 2);
	}

	/* Without the filter there is one. */
	EXPECT_EQ(0, try_write_num(HWPOISON "corrupt-pfn", pfn + n / 2));
	EXPECT_EQ(1, unpoison_folio(self, pfn, flags, counts));
	EXPECT_EQ(0, set_pool(self, 0));
	EXPECT_EQ(0, unpoison_folio(self, pfn, flags, counts)) TH_LOG("pages that stay poisoned");
	expect_saved(_metadata, self, 0);
	free(flags);
	free(counts);
}

static void poison_page(void *pfn)
{
	try_write_num(HWPOISON "corrupt-pfn", *(unsigned long *)pfn);
}

/* An error is reported in a free folio while the folio leaves the pool. */
TEST_F_TIMEOUT(hvo, poison, RACE_TIMEOUT)
{
	const unsigned long n = self->size / psize();
	uint64_t *flags = calloc(n, 8), *counts = calloc(n, 8);
	unsigned long page, poisoned = 0, lost = 0;
	struct race race = { .thread_fn = poison_page, .data = &page };
	char *p;

	ASSERT_NE(NULL, flags);
	ASSERT_NE(NULL, counts);
	if (!can_unpoison())
		SKIP(return, "needs CONFIG_HWPOISON_INJECT");
	if (set_pool(self, 4) < 4)
		SKIP(return, NO_MEMORY);
	if (!race_start(&race))
		SKIP(return, "needs two CPUs");
	while (race_on(&race)) {
		ASSERT_EQ(4, set_pool(self, 4));
		ASSERT_NE(NULL, p = map_folio(self, 0, MAP_PRIVATE));
		p[0] = 1;
		page = pagemap_get_pfn(self->pagemap, p) + n / 2;
		ASSERT_EQ(0, munmap(p, self->size));

		race_begin(&race);
		hugetlb_set_nr_pages(self->size, 0);
		race_end(&race);

		set_pool(self, 0);
		poisoned += unpoison_folio(self, page - n / 2, flags, counts);
		lost += unpoison_folio(self, page - n / 2, flags, counts);
	}
	race_stop(&race);
	TH_LOG("%lu rounds, %lu of them raced, %lu pages poisoned and given back", race.rounds,
	       race.overlaps, poisoned);
	EXPECT_LT(0, poisoned);
	EXPECT_EQ(0, lost) TH_LOG("pages that stay poisoned");
	EXPECT_EQ(0, set_pool(self, 0));
	expect_saved(_metadata, self, 0);
	free(flags);
	free(counts);
	skip_unless_raced(_metadata, &race, POISONS);
}

/*
 * Two pages of a folio that a file keeps are reported, and one of them again.  The folio
 * stays in use, and optimized, after the file is gone.  When the pages are given back, the
 * folio is restored and freed, and none of its pages is poisoned.
 */
TEST_F(hvo, poison_twice)
{
	const unsigned long n = self->size / psize();
	const unsigned int shift = __builtin_ctzl(self->size);
	uint64_t *flags = calloc(n, 8), *counts = calloc(n, 8);
	unsigned long pfn;
	int fd;
	char *p;

	ASSERT_NE(NULL, flags);
	ASSERT_NE(NULL, counts);
	if (!can_unpoison())
		SKIP(return, "needs CONFIG_HWPOISON_INJECT");
	if (set_pool(self, 2) < 2)
		SKIP(return, NO_MEMORY);
	fd = memfd_create("hugetlb_vmemmap", MFD_HUGETLB | shift << MFD_HUGE_SHIFT);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ftruncate(fd, self->size));
	p = mmap(NULL, self->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, p);
	p[0] = 1;
	pfn = pagemap_get_pfn(self->pagemap, p);
	ASSERT_EQ(0, munmap(p, self->size));

	EXPECT_EQ(0, try_write_num(HWPOISON "corrupt-pfn", pfn + n / 2));
	EXPECT_EQ(-EHWPOISON, try_write_num(HWPOISON "corrupt-pfn", pfn + n - 1))
		TH_LOG("another page of the folio");
	EXPECT_EQ(-EHWPOISON, try_write_num(HWPOISON "corrupt-pfn", pfn + n / 2))
		TH_LOG("the same page again");
	expect_saved(_metadata, self, 2);

	close(fd);
	EXPECT_EQ(1, set_pool(self, 0)) TH_LOG("folios that stay in use");
	expect_saved(_metadata, self, 1);
	EXPECT_EQ(n, unpoison_folio(self, pfn, flags, counts)) TH_LOG("pages of a poisoned folio");
	EXPECT_EQ(0, set_pool(self, 0));
	expect_saved(_metadata, self, 0);
	EXPECT_EQ(0, unpoison_folio(self, pfn, flags, counts)) TH_LOG("pages that stay poisoned");
	free(flags);
	free(counts);
}

/*
 * alloc_contig_range() takes memory with free folios of the pool: others replace them, they
 * are restored, and all counts are exact.  A folio of 1 GiB is allocated while every other
 * folio of nearly all memory is in the pool, so that no GiB is free.
 */
TEST_F_TIMEOUT(hvo, contig, RACE_TIMEOUT)
{
	const unsigned long giant = MB(1024);
	unsigned long sizes[16], nr, kept, saved, giants;
	int n = detect_hugetlb_page_sizes(sizes, 16);
	bool found = false;
	char *p;

	for (int i = 0; i < n; i++)
		found |= sizes[i] == giant;
	if (!found || self->size >= giant)
		SKIP(return, "no folios of 1 GiB that others can make room for");
	saved = giant / psize() * STRUCT_PAGE / psize() - 1;

	nr = set_pool(self, sysconf(_SC_AVPHYS_PAGES) / 16 * 15 * psize() / self->size);
	if (nr * self->size < 3 * giant)
		SKIP(return, "needs memory for three folios of 1 GiB");
	p = mmap(NULL, nr * self->size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS |
		 MAP_HUGETLB | __builtin_ctzl(self->size) << MAP_HUGE_SHIFT, -1, 0);
	ASSERT_NE(MAP_FAILED, p);
	for (unsigned long i = 0; i < nr; i++)
		p[i * self->size] = 1;
	for (unsigned long i = 0; i < nr; i += 2)
		ASSERT_EQ(0, madvise(p + i * self->size, self->size, MADV_REMOVE));
	/* the folios that are still in use, which then are free ones of the pool */
	kept = set_pool(self, nr / 2);
	ASSERT_EQ(0, munmap(p, nr * self->size));
	EXPECT_EQ(nr / 2, kept);
	expect_saved(_metadata, self, kept);

	hugetlb_set_nr_pages(giant, 1);
	giants = hugetlb_nr_pages(giant);
	TH_LOG("%lu of %lu folios kept, %lu of 1 GiB allocated", kept, nr, giants);
	EXPECT_EQ(kept, hugetlb_nr_pages(self->size) - self->lost);
	EXPECT_EQ(kept * self->saved + giants * saved, self->before - memmap_pages())
		TH_LOG("pages saved with a folio of 1 GiB");
	hugetlb_set_nr_pages(giant, 0);
	EXPECT_EQ(0, set_pool(self, 0));
	expect_saved(_metadata, self, 0);
	if (!giants && __test_passed(_metadata))
		SKIP(return, "no contiguous memory");
}

/*
 * The pool shrinks and grows while its folio is migrated, between two nodes, or else by
 * soft offline: then it is empty, and can be filled.  It has one folio, so that each
 * migration finds no free one and allocates a temporary one.  Gigantic folios are not
 * allocated for a migration, so there are four.
 */
TEST_F_TIMEOUT(hvo, migrate, RACE_TIMEOUT)
{
	const bool nodes = !access(NODE1, F_OK);
	void *(*const walks[])(void *) = { nodes ? move_nodes : soft_offline };
	struct walker walkers[ARRAY_SIZE(walks)] = { { .often = true } };
	unsigned long surplus = 0, resized = 0, nr;
	const unsigned long long end = now_ns() + RACE_MAX_SECONDS * NSEC_PER_SEC;
	atomic_bool stop = false;
	char path[PATH_MAX];

	nr = set_pool(self, self->size > MB(2) ? 4 : 1);
	if (!nr)
		SKIP(return, NO_MEMORY);
	if (!nodes && self->size > MB(2))
		SKIP(return, "would lose too much memory");
	if (!nodes && !can_soft_offline(self))
		SKIP(return, "soft offline needs CONFIG_HWPOISON_INJECT, and memory");
	snprintf(path, sizeof(path), "/sys/kernel/mm/hugepages/hugepages-%lukB/surplus_hugepages",
		 self->size >> 10);
	start_walkers(self, walkers, 1, walks, &stop);
	while (atomic_load(&walkers[0].turns) < MIGRATIONS && now_ns() < end) {
		set_pool(self, nr);
		set_pool(self, 0);
		resized++;
	}
	stop_walkers(walkers, 1, &stop);
	TH_LOG("%lu folios migrated %s, the pool resized %lu times",
	       atomic_load(&walkers[0].turns), nodes ? "between nodes" : "on their node", resized);
	EXPECT_EQ(0, atomic_load(&walkers[0].lost)) TH_LOG("pages that stay poisoned");

	EXPECT_EQ(0, set_pool(self, 0));
	ASSERT_EQ(0, read_sysfs(path, &surplus));
	EXPECT_EQ(0, surplus) TH_LOG("surplus pages that are not there");
	EXPECT_EQ(nr, set_pool(self, nr));
	EXPECT_EQ(0, set_pool(self, 0));
	expect_saved(_metadata, self, 0);
	if (atomic_load(&walkers[0].turns) < MIGRATIONS && __test_passed(_metadata))
		SKIP(return, "too few folios were migrated");
}

#if defined(__aarch64__)
/* Does the kernel say, in the part of its log that @kmsg has not read, @text? */
static bool said(int kmsg, const char *text)
{
	bool found = false;
	char line[8192];
	ssize_t len;

	while ((len = read(kmsg, line, sizeof(line) - 1)) > 0 || errno == EPIPE) {
		if (len <= 0)
			continue;
		line[len] = 0;
		found |= !!strstr(line, text);
	}
	return found;
}

/*
 * HVO was not requested when the kernel booted.  With pages of 4 KiB and without BBM level
 * 3, memory that is there cannot be optimized.  The kernel says so when HVO is enabled, or
 * refuses it if no memory can be added.
 */
TEST(not_asked)
{
	unsigned long before, during;
	const unsigned long nr = 4;
	bool warned, enabled;
	int ret, kmsg;

	if (geteuid())
		SKIP(return, "needs root");
	if (psize() != 4096)
		SKIP(return, "the vmemmap is always mapped by pages");
	if (asked_at_boot())
		SKIP(return, "asked for when the kernel booted");
	ASSERT_EQ(0, access(SYSCTL, F_OK)) TH_LOG("HVO is there");

	hugetlb_set_nr_pages(MB(2), 0);
	before = memmap_pages();
	set_hvo(false);
	kmsg = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	ASSERT_LE(0, kmsg);
	ASSERT_EQ(0, lseek(kmsg, 0, SEEK_END));
	ret = try_write_num(SYSCTL, 1);
	warned = said(kmsg, "only memory that is added from now on can be optimized");
	enabled = read_num(SYSCTL);
	if (ret)
		EXPECT_EQ(-EOPNOTSUPP, ret) TH_LOG("enabling HVO");
	EXPECT_EQ(!ret, enabled);

	hugetlb_set_nr_pages(MB(2), nr);
	EXPECT_EQ(nr, hugetlb_nr_pages(MB(2)));
	during = memmap_pages();
	hugetlb_set_nr_pages(MB(2), 0);
	TH_LOG("HVO %s%s, %lu pages saved by %lu folios", enabled ? "enabled" : "refused",
	       warned ? " with a warning" : "", before - during, nr);
	EXPECT_EQ(enabled && !warned, before > during)
		TH_LOG("HVO saves pages, or is refused or warned of");
	EXPECT_EQ(before, memmap_pages());

	/* It is on: that is no reason to refuse, or to warn again. */
	if (enabled) {
		EXPECT_EQ(0, try_write_num(SYSCTL, 1));
		EXPECT_FALSE(said(kmsg, "only memory that is added")) TH_LOG("a second warning");
	}
	close(kmsg);
	restore_settings();
}
#endif

int main(int argc, char **argv)
{
	race_adjust_timeouts();
	if (!geteuid()) {
		/*
		 * A fixture whose setup fails is not torn down, nor is one of a test that
		 * is killed: this process restores the settings when it exits.
		 */
		hugetlb_save_settings();
		save_settings();
		atexit(restore_settings);
	}
	return test_harness_run(argc, argv);
}
