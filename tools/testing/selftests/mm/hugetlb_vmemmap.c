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
 * folios have been optimized and restored.  demand measures FEW_TIMES or, with ROUNDS=n,
 * n times, at most TIMES.  With COLD=1 in the environment, the caller says that no folio
 * has been optimized since the kernel booted: the first one allocates the pages that all
 * folios share, and fault expects to see that allocation fail.
 * UNPLUG in the environment is a command that has the movable memory blocks removed.
 *
 * Lines "figure NAME VALUE UNIT" have what was measured.
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
#define PROBES		TRACING "/kprobe_events"
#define MEMORY		"/sys/devices/system/memory/"
#define PAGE_IDLE	"/sys/kernel/mm/page_idle/bitmap"
#define SPLIT		"/sys/kernel/debug/split_huge_pages"
#define NODES		"/sys/devices/system/node/node*/"
/* cycles in a row that may optimize no folio */
#define IDLE		1000
/* migrations, folios given back while the pool shrinks, and poisoned then, that are enough */
#define MIGRATIONS	50
#define SHRINKS		20
#define POISONS		20
/* pages that become tail pages beside a look at them that are enough */
#define TAKEN		10
/* measurements of a time without ROUNDS, and at most */
#define FEW_TIMES	9
#define TIMES		31
/* folios that an mmap() is measured with */
#define DEMAND		512
#define NO_MEMORY	"no memory for folios of this size"
#define KPF_HUGE	BIT_ULL(17)
#define KPF_HWPOISON	BIT_ULL(19)
#define KPF_PGTABLE	BIT_ULL(26)
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

/* trace_mount() has mounted tracefs, probe_flushes() has made a probe */
static bool mounted, probed;

static bool trace_mount(void)
{
	if (access(TRACING "/instances", F_OK)) {
		if (mount("none", TRACING, "tracefs", 0, NULL))
			return false;
		mounted = true;
	}
	return true;
}

static void trace_stop(void)
{
	try_write_file(INSTANCE "/events/enable", "0");
	rmdir(INSTANCE);
	if (probed)
		try_write_file(PROBES, "-:hugetlb_vmemmap/flush");
	probed = false;
	if (mounted)
		umount(TRACING);
	mounted = false;
}

/* Trace an event in this thread; trace_stop() undoes it, also when this fails. */
static bool trace_start(const char *event)
{
	char path[PATH_MAX], filter[64];

	if (!trace_mount())
		return false;
	/* a test that was killed may have left it */
	try_write_file(INSTANCE "/events/enable", "0");
	rmdir(INSTANCE);
	if (mkdir(INSTANCE, 0700))
		return false;
	snprintf(path, sizeof(path), INSTANCE "/events/%s/filter", event);
	snprintf(filter, sizeof(filter), "common_pid == %ld", syscall(__NR_gettid));
	if (try_write_file(path, filter))
		return false;
	snprintf(path, sizeof(path), INSTANCE "/events/%s/enable", event);
	return !try_write_file(path, "1");
}

/* Trace the expedited grace periods that this thread waits for. */
static bool trace_waits(void)
{
	return trace_start("rcu/rcu_exp_grace_period");
}

/* How many lines that have both texts were traced since the last call. */
static unsigned long traced(const char *event, const char *text)
{
	unsigned long n = 0;
	char line[512];
	FILE *f = fopen(INSTANCE "/trace", "r");
	int fd;

	if (!f)
		ksft_exit_fail_perror(INSTANCE "/trace");
	while (fgets(line, sizeof(line), f))
		n += strstr(line, event) && strstr(line, text);
	fclose(f);
	/* empties it */
	fd = open(INSTANCE "/trace", O_WRONLY | O_TRUNC);
	if (fd < 0)
		ksft_exit_fail_perror(INSTANCE "/trace");
	close(fd);
	return n;
}

/* How many grace periods the thread has waited for since the last call. */
static unsigned long traced_waits(void)
{
	return traced(": rcu_exp_grace_period:", " snap");
}

/* Something that was measured at most TIMES times, in microseconds. */
struct times {
	unsigned long us[TIMES];
	unsigned int nr;
};

static void add_time(struct times *t, unsigned long long ns)
{
	if (t->nr < TIMES)
		t->us[t->nr++] = ns / 1000;
}

static unsigned long sum(const struct times *t)
{
	unsigned long all = 0;

	for (unsigned int i = 0; i < t->nr; i++)
		all += t->us[i];
	return all;
}

static unsigned long median(struct times *t)
{
	qsort(t->us, t->nr, sizeof(t->us[0]), by_value);
	return t->nr ? t->us[t->nr / 2] : 0;
}

#define FIGURE(name, value, unit) \
	TH_LOG("figure %s %lu %s", name, (unsigned long)(value), unit)

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

/* Pages that an optimized folio of @size bytes saves. */
static unsigned long saved_by(unsigned long size)
{
	unsigned long pages = size / psize() * STRUCT_PAGE / psize();

	return pages ? pages - 1 : 0;
}

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
	self->saved = saved_by(self->size);
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
	if (!error) {
		EXPECT_EQ(2, hugetlb_nr_pages(self->size) - self->lost)
			TH_LOG("folios after one was given up");
		expect_saved(_metadata, self, 2);
	}
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

/* How many memory blocks are movable. */
static size_t movable_blocks(void)
{
	size_t movable = 0;
	glob_t blocks;

	if (glob(MEMORY "memory[0-9]*", 0, NULL, &blocks))
		return 0;
	for (size_t i = 0; i < blocks.gl_pathc; i++)
		movable += movable_block(blocks.gl_pathv[i]);
	globfree(&blocks);
	return movable;
}

/* The number in a file of /sys/devices/system/memory, which has no 0x. */
static unsigned long read_hex(const char *path)
{
	char text[32];

	if (!read_file(path, text, sizeof(text)))
		ksft_exit_fail_perror(path);
	return strtoul(text, NULL, 16);
}

/* Take memory blocks offline and online again, one after the other. */
static void *offline_blocks(void *arg)
{
	struct walker *w = arg;
	char path[PATH_MAX];
	glob_t blocks;

	if (glob(MEMORY "memory[0-9]*", 0, NULL, &blocks))
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
	const size_t movable = movable_blocks();
	unsigned long taken;
	bool all;

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
	unsigned long nr, small;

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
	small = nr * (self->size / MB(2)) * saved_by(MB(2));

	snprintf(path, sizeof(path), "/sys/kernel/mm/hugepages/hugepages-%lukB/demote",
		 self->size >> 10);
	snprintf(text, sizeof(text), "%lu", nr);
	ASSERT_EQ(0, try_write_file(path, text));
	EXPECT_EQ(small, self->before - memmap_pages())
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
	struct race race = { .began = now_ns(), .least = SHRINKS };

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
	skip_unless_raced(_metadata, &race);
}

/* Wait until folios that were freed by a worker of the kernel are gone. */
static void wait_for_empty_pool(FIXTURE_DATA(hvo) * self)
{
	const unsigned long long patience = now_ns() + RACE_MAX_SECONDS * NSEC_PER_SEC;

	while ((hugetlb_nr_pages(self->size) > self->lost || memmap_pages() != self->before) &&
	       now_ns() < patience)
		sched_yield();
}

/* Does the clock tick with CONFIG_HZ?  Then a short time is 0 or a whole tick. */
static bool clock_ticks(void)
{
	struct timespec ts;

	return clock_getres(CLOCK_MONOTONIC, &ts) || ts.tv_sec || ts.tv_nsec > 1000000;
}

/* A counter of the pool, by the name of its file. */
static unsigned long pool_counter(FIXTURE_DATA(hvo) * self, const char *name)
{
	unsigned long value;
	char path[PATH_MAX];

	snprintf(path, sizeof(path), POOLS "%lukB/%s", self->size >> 10, name);
	if (read_sysfs(path, &value))
		ksft_exit_fail_perror(path);
	return value;
}

/* The counters of the nodes, where there are nodes, add up to those of the pool. */
static void expect_node_sums(struct __test_metadata *_metadata, FIXTURE_DATA(hvo) * self)
{
	static const char *const names[] = {
		"nr_hugepages", "free_hugepages", "surplus_hugepages",
	};
	char pattern[PATH_MAX];
	glob_t files;

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		unsigned long all = 0, value;

		snprintf(pattern, sizeof(pattern), NODES "hugepages/hugepages-%lukB/%s",
			 self->size >> 10, names[i]);
		if (glob(pattern, 0, NULL, &files))
			continue;
		for (size_t j = 0; j < files.gl_pathc; j++) {
			ASSERT_EQ(0, read_sysfs(files.gl_pathv[j], &value));
			all += value;
		}
		globfree(&files);
		EXPECT_EQ(pool_counter(self, names[i]), all)
			TH_LOG("%s of all nodes", names[i]);
	}
}

/* Nanoseconds that a fault takes that allocates a folio; expect @saved pages saved. */
static unsigned long long time_fault(struct __test_metadata *_metadata, FIXTURE_DATA(hvo) * self,
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
	return took;
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
	const unsigned long reserved = pool_counter(self, "resv_hugepages");
	const unsigned long rounds = race_rounds() ? race_rounds() : FEW_TIMES;
	struct times grow = {}, mapping = {}, fault[2] = {};
	unsigned long waited[3] = {}, waits, nr;
	unsigned long long began;
	char *p, path[PATH_MAX];
	bool traced;

	nr = sysconf(_SC_AVPHYS_PAGES) * psize() / 4 / self->size;
	nr = nr < 2 ? 2 : nr > DEMAND ? DEMAND : nr;
	snprintf(path, sizeof(path), POOLS "%lukB/nr_overcommit_hugepages", self->size >> 10);
	if (try_write_num(path, nr))
		SKIP(return, "no overcommit of this size");
	if (set_pool(self, nr) < nr)
		SKIP(return, NO_MEMORY);
	ASSERT_EQ(0, set_pool(self, 0));
	traced = trace_waits();
	if (traced)
		traced_waits();

	while (grow.nr < rounds && grow.nr < TIMES && waited[1] <= 2 && waited[2] <= 1) {
		began = now_ns();
		ASSERT_EQ(nr, set_pool(self, nr));
		add_time(&grow, now_ns() - began);
		waited[0] += traced ? traced_waits() : 0;
		expect_saved(_metadata, self, nr);
		ASSERT_EQ(0, set_pool(self, 0));
		if (traced)
			traced_waits();

		began = now_ns();
		p = mmap(NULL, nr * self->size, prot, flags, -1, 0);
		add_time(&mapping, now_ns() - began);
		waits = traced ? traced_waits() : 0;
		waited[1] = waits > waited[1] ? waits : waited[1];
		ASSERT_NE(MAP_FAILED, p);
		expect_saved(_metadata, self, nr);
		EXPECT_EQ(nr, pool_counter(self, "surplus_hugepages"))
			TH_LOG("surplus folios of an mmap()");
		EXPECT_EQ(nr + reserved, pool_counter(self, "resv_hugepages"))
			TH_LOG("folios reserved by an mmap()");
		EXPECT_EQ(nr + reserved, hugetlb_free_pages(self->size))
			TH_LOG("free folios of an mmap()");
		expect_node_sums(_metadata, self);
		ASSERT_EQ(0, munmap(p, nr * self->size));
		wait_for_empty_pool(self);
		expect_saved(_metadata, self, 0);
		EXPECT_EQ(0, pool_counter(self, "surplus_hugepages"))
			TH_LOG("surplus folios after munmap()");
		EXPECT_EQ(reserved, pool_counter(self, "resv_hugepages"))
			TH_LOG("reserved folios after munmap()");
		expect_node_sums(_metadata, self);
		if (traced)
			traced_waits();

		for (int hvo = 0; hvo < 2; hvo++) {
			set_hvo(hvo);
			add_time(&fault[hvo], time_fault(_metadata, self, hvo * self->saved));
			waits = traced ? traced_waits() : 0;
			waited[2] = waits > waited[2] ? waits : waited[2];
			expect_saved(_metadata, self, 0);
		}
	}
	if (clock_ticks())
		TH_LOG("the clock ticks as rarely as CONFIG_HZ: only the means say something");
	TH_LOG("microseconds, mean of %u: grow by %lu %lu, mmap of %lu %lu", grow.nr, nr,
	       sum(&grow) / grow.nr, nr, sum(&mapping) / grow.nr);
	TH_LOG("microseconds, mean of %u: fault with HVO %lu, without %lu", grow.nr,
	       sum(&fault[1]) / grow.nr, sum(&fault[0]) / grow.nr);
	FIGURE("folios", nr, "folios");
	FIGURE("grow", median(&grow), "us");
	FIGURE("mmap", median(&mapping), "us");
	FIGURE("fault_hvo", median(&fault[1]), "us");
	FIGURE("fault", median(&fault[0]), "us");
	FIGURE("mmap_waits", waited[1], "grace-periods");
	FIGURE("fault_waits", waited[2], "grace-periods");
	if (traced && waited[0]) {
		TH_LOG("grace periods: %lu for %u pools, at most %lu an mmap(), %lu a fault",
		       waited[0], grow.nr, waited[1], waited[2]);
		EXPECT_LE(waited[1], 2) TH_LOG("grace periods that an mmap() waited for");
		EXPECT_LE(waited[2], 1) TH_LOG("grace periods that a fault waited for");
	} else if (self->saved) {
		TH_LOG("grace periods are not counted: %s", traced ?
		       "they are not expedited" : "needs CONFIG_RCU_TRACE");
	}
	/* sums: see clock_ticks() */
	EXPECT_LE(sum(&mapping), 2 * sum(&grow))
		TH_LOG("mmap() of as many folios as the pool grew by");
}

/* A movable memory block, and how many folios of the size lie in it. */
struct block {
	char state[PATH_MAX];
	unsigned long pfn, folios;
};

static unsigned long folios_in(FIXTURE_DATA(hvo) * self, const struct block *block,
			       unsigned long pages)
{
	unsigned long folios = 0;
	uint64_t *flags = calloc(pages, 8);

	if (!flags || pread(self->kpageflags, flags, pages * 8, block->pfn * 8) < 0)
		ksft_exit_fail_perror("kpageflags");
	for (unsigned long i = 0; i < pages; i += self->size / psize())
		folios += (flags[i] & (KPF_HUGE | KPF_COMPOUND_HEAD)) ==
			  (KPF_HUGE | KPF_COMPOUND_HEAD);
	free(flags);
	return folios;
}

/* The two movable blocks that most folios lie in; false if there are no two. */
static bool fullest_blocks(FIXTURE_DATA(hvo) * self, struct block most[2], unsigned long pages)
{
	glob_t blocks;

	memset(most, 0, 2 * sizeof(most[0]));
	if (glob(MEMORY "memory[0-9]*", 0, NULL, &blocks))
		return false;
	for (size_t i = 0; i < blocks.gl_pathc; i++) {
		struct block block = {};
		char path[PATH_MAX];

		if (!movable_block(blocks.gl_pathv[i]))
			continue;
		snprintf(path, sizeof(path), "%s/phys_index", blocks.gl_pathv[i]);
		snprintf(block.state, sizeof(block.state), "%s/state", blocks.gl_pathv[i]);
		block.pfn = read_hex(path) * pages;
		block.folios = folios_in(self, &block, pages);
		if (block.folios > most[0].folios) {
			most[1] = most[0];
			most[0] = block;
		} else if (block.folios > most[1].folios) {
			most[1] = block;
		}
	}
	globfree(&blocks);
	return most[1].folios;
}

/* What it took to take blocks offline. */
struct offlines {
	struct times times;
	unsigned long waits, failed, folios;
};

/*
 * Take two blocks offline in turn, and online again, TIMES times, with @nr folios in the
 * pool that are in use, or free.  Free ones in the block are dissolved; others are migrated
 * to new ones, which are optimized if @hvo says so.
 */
static void take_offline(struct __test_metadata *_metadata, FIXTURE_DATA(hvo) * self,
			 struct offlines *off, unsigned long nr, bool hvo, bool in_use)
{
	const unsigned long pages = read_hex(MEMORY "block_size_bytes") / psize();
	struct block blocks[2];

	if (!fullest_blocks(self, blocks, pages))
		return;
	for (int i = 0; i < TIMES; i++) {
		struct block *block = &blocks[i % 2];
		unsigned long folios = folios_in(self, block, pages), kept, waits;
		unsigned long long began;
		int ret;

		traced_waits();
		began = now_ns();
		ret = try_write_file(block->state, "offline");
		began = now_ns() - began;
		waits = traced_waits();
		ASSERT_EQ(0, ret ? 0 : try_write_file(block->state, "online_movable"));
		off->failed += !!ret;
		kept = hugetlb_nr_pages(self->size) - self->lost;
		if (!ret) {
			add_time(&off->times, began);
			off->folios += folios;
			off->waits = waits > off->waits ? waits : off->waits;
			EXPECT_EQ(in_use ? nr : nr - folios, kept)
				TH_LOG("folios after a block with %lu %s went offline", folios,
				       in_use ? "in use" : "free ones");
			expect_saved(_metadata, self, hvo ? kept : 0);
		}
		if (!in_use)
			ASSERT_EQ(nr, set_pool(self, nr));
	}
}

/*
 * Memory blocks full of folios go offline, with HVO and without: free folios are dissolved,
 * and wait for no grace period; folios in use are migrated to new ones, and wait for at most
 * one each.  All pages are saved as long as the new folios are there.
 */
TEST_F_TIMEOUT(hvo, demand_offline, 600)
{
	static const char *const names[2][2] = {
		{ "offline_free", "offline_free_hvo" }, { "offline_used", "offline_used_hvo" },
	};
	struct offlines offlines[2][2] = {};
	const size_t movable = movable_blocks();
	unsigned long nr, done = 0;

	if (!movable || !self->saved)
		SKIP(return, "no memory block is movable, or nothing is saved");
	if (!trace_waits())
		SKIP(return, "needs CONFIG_RCU_TRACE");
	/* all of the movable memory, and some more */
	nr = movable * (read_hex(MEMORY "block_size_bytes") / self->size) + 32;
	for (int hvo = 0; hvo < 2; hvo++) {
		for (int in_use = 0; in_use < 2; in_use++) {
			struct offlines *off = &offlines[in_use][hvo];
			char *p = NULL;

			set_hvo(hvo);
			if (set_pool(self, nr) < nr)
				SKIP(return, NO_MEMORY);
			if (in_use) {
				p = mmap(NULL, nr * self->size, PROT_READ | PROT_WRITE,
					 MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB |
					 __builtin_ctzl(self->size) << MAP_HUGE_SHIFT, -1, 0);
				ASSERT_NE(MAP_FAILED, p);
				for (unsigned long i = 0; i < nr; i++)
					p[i * self->size] = 1;
			}
			take_offline(_metadata, self, off, nr, hvo, in_use);
			if (p)
				ASSERT_EQ(0, munmap(p, nr * self->size));
			EXPECT_EQ(0, set_pool(self, 0));
			expect_saved(_metadata, self, 0);
			if (!off->times.nr)
				continue;
			done++;
			TH_LOG("%s: %u times, %lu failed, %lu folios at a time", names[in_use][hvo],
			       off->times.nr, off->failed, off->folios / off->times.nr);
			FIGURE(names[in_use][hvo], median(&off->times), "us");
			TH_LOG("figure %s_folios %lu folios", names[in_use][hvo],
			       off->folios / off->times.nr);
			TH_LOG("figure %s_waits %lu grace-periods", names[in_use][hvo], off->waits);
		}
	}
	EXPECT_LE(offlines[0][1].waits, offlines[0][0].waits)
		TH_LOG("grace periods, at most, while free folios were dissolved");
	if (offlines[1][1].times.nr)
		EXPECT_LE(offlines[1][1].waits,
			  offlines[1][0].waits + read_hex(MEMORY "block_size_bytes") / self->size)
			TH_LOG("grace periods, at most, while folios in use were migrated");
	if (done < 4 && __test_passed(_metadata))
		SKIP(return, "no two movable blocks had folios, or they could not go offline");
}

/*
 * Have the CPUs give the free pages that they keep for themselves back to the zone of @pfn,
 * which is free: soft offline of a free page does that.  False where it cannot be done.
 */
static bool drain_lists(unsigned long pfn)
{
	char text[32];

	snprintf(text, sizeof(text), "0x%lx", pfn * psize());
	if (try_write_file(MEMORY "soft_offline_page", text))
		return false;
	unpoison(pfn);
	return true;
}

/* A page frame number that was this process's, and is free. */
static unsigned long freed_page(void)
{
	char *p = mmap(NULL, psize(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int pagemap = open("/proc/self/pagemap", O_RDONLY);
	unsigned long pfn;

	if (p == MAP_FAILED || pagemap < 0)
		ksft_exit_fail_perror("mmap or pagemap");
	p[0] = 1;
	pfn = pagemap_get_pfn(pagemap, p);
	close(pagemap);
	munmap(p, psize());
	return pfn;
}

struct look {
	int idle;			/* PAGE_IDLE */
	unsigned long pfn;
	atomic_bool begun, done;
	pthread_t thread;
};

/* Look whether a page is idle: the kernel takes a reference of the page. */
static void *look_at_page(void *arg)
{
	struct look *look = arg;
	uint64_t bits;

	atomic_store(&look->begun, true);
	if (pread(look->idle, &bits, sizeof(bits), look->pfn / 64 * 8) < 0)
		ksft_exit_fail_perror(PAGE_IDLE);
	atomic_store(&look->done, true);
	return NULL;
}

/*
 * Map small pages that are a whole folio's memory, at @region.
 *
 * Return: the first page frame number, or 0.
 */
static unsigned long map_small_pages(FIXTURE_DATA(hvo) * self, char *region)
{
	const unsigned long n = self->size / psize();
	unsigned long pfn;
	uint64_t flags;
	char text[128];

	if (mmap(region, self->size, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != region)
		ksft_exit_fail_perror("mmap");
	/* a split replaces pages that are all zeroes by the zero page */
	for (unsigned long i = 0; i < n; i++)
		region[i * psize()] = 1;
	if (madvise_collapse_retry(region, self->size))
		return 0;
	snprintf(text, sizeof(text), "%d,0x%lx,0x%lx", getpid(), (unsigned long)region,
		 (unsigned long)region + self->size);
	try_write_file(SPLIT, text);
	pfn = pagemap_get_pfn(self->pagemap, region);
	if (pfn == -1UL || pfn % n ||
	    pagemap_get_pfn(self->pagemap, region + self->size - psize()) != pfn + n - 1 ||
	    pread(self->kpageflags, &flags, sizeof(flags), (pfn + n - 1) * 8) != sizeof(flags) ||
	    flags & (KPF_COMPOUND_HEAD | KPF_COMPOUND_TAIL))
		return 0;
	return pfn;
}

/*
 * A page is freed, and becomes a tail page of a folio in the pool, while page_idle takes a
 * reference of the page.
 */
TEST_F_TIMEOUT(hvo, taken, RACE_TIMEOUT)
{
	const unsigned long long end = now_ns() + RACE_MAX_SECONDS * NSEC_PER_SEC;
	unsigned long rounds = 0, taken = 0, beside = 0, nr;
	atomic_ulong nobody = 0;
	char *region, *last;
	unsigned int seed = 1;
	uint64_t flags;
	int idle;

	if (self->size != read_pmd_pagesize() || access(SPLIT, W_OK))
		SKIP(return, "needs THPs of this size, and a file that splits them");
	if (!can_unpoison())
		SKIP(return, "needs CONFIG_HWPOISON_INJECT");
	idle = open(PAGE_IDLE, O_RDONLY | O_CLOEXEC);
	if (idle < 0)
		SKIP(return, "needs CONFIG_IDLE_PAGE_TRACKING");
	nr = sysconf(_SC_AVPHYS_PAGES) * psize() / 4 / self->size;
	if (set_pool(self, nr) < nr)
		SKIP(return, NO_MEMORY);
	ASSERT_EQ(0, set_pool(self, 0));
	ASSERT_NE(NULL, region = reserve_aligned(self->size));
	last = region + self->size - psize();

	while (taken < TAKEN && now_ns() < end) {
		struct look look = { .idle = idle };

		look.pfn = map_small_pages(self, region);
		if (!look.pfn)
			continue;
		look.pfn += self->size / psize() - 1;
		rounds++;
		ASSERT_EQ(0, madvise(region, last - region, MADV_DONTNEED));
		ASSERT_EQ(0, pthread_create(&look.thread, NULL, look_at_page, &look));
		while (!atomic_load(&look.begun))
			;
		wait_for(&nobody, 1, rand_r(&seed) % 20000);
		ASSERT_EQ(0, madvise(last, psize(), MADV_DONTNEED));
		/* without it, the pool does not take the page, which is counted */
		drain_lists(look.pfn - 1);
		set_pool(self, nr);
		ASSERT_EQ(sizeof(flags),
			  pread(self->kpageflags, &flags, sizeof(flags), look.pfn * 8));
		if (flags & KPF_HUGE) {
			taken++;
			beside += !atomic_load(&look.done);
		}
		pthread_join(look.thread, NULL);
		set_pool(self, 0);
	}
	TH_LOG("in %lu of %lu rounds the pool took the page, in %lu of them beside the look at it",
	       taken, rounds, beside);
	EXPECT_EQ(0, set_pool(self, 0));
	expect_saved(_metadata, self, 0);
	close(idle);
	if (taken < TAKEN && __test_passed(_metadata))
		SKIP(return, "the pool took the page too rarely");
}

#define ORDERS	16

/* Free blocks of each order, of all zones. */
static void free_blocks(unsigned long blocks[ORDERS])
{
	FILE *f = fopen("/proc/buddyinfo", "r");
	char line[512], *text, *end;

	if (!f)
		ksft_exit_fail_perror("/proc/buddyinfo");
	memset(blocks, 0, ORDERS * sizeof(blocks[0]));
	while (fgets(line, sizeof(line), f)) {
		text = strstr(line, "zone");
		if (!text)
			continue;
		/* the name of the zone */
		text += strcspn(text, " ");
		text += strspn(text, " ");
		text += strcspn(text, " ");
		for (int order = 0; order < ORDERS; order++) {
			unsigned long nr = strtoul(text, &end, 10);

			if (end == text)
				break;
			blocks[order] += nr;
			text = end;
		}
	}
	fclose(f);
}

/*
 * What HVO saves is free memory: as many pages more are free with a pool that is optimized
 * than with one that is not.  The blocks that they come back in are shown.
 */
TEST_F(hvo, buddy)
{
	unsigned long blocks[2][ORDERS], nr;
	long pages = 0;

	if (!self->saved)
		SKIP(return, "nothing is saved");
	nr = sysconf(_SC_AVPHYS_PAGES) * psize() / 4 / self->size;
	nr = nr < 2 ? 2 : nr > DEMAND ? DEMAND : nr;
	for (int hvo = 0; hvo < 2; hvo++) {
		set_hvo(hvo);
		if (set_pool(self, nr) < nr)
			SKIP(return, NO_MEMORY);
		expect_saved(_metadata, self, hvo * nr);
		if (!drain_lists(freed_page()))
			SKIP(return, "needs soft offline, for pages that the CPUs keep");
		free_blocks(blocks[hvo]);
		ASSERT_EQ(0, set_pool(self, 0));
	}
	for (int order = 0; order < ORDERS; order++) {
		long more = blocks[1][order] - blocks[0][order];

		pages += more * (1L << order);
		if (more)
			TH_LOG("figure order_%d %ld blocks", order, more);
	}
	TH_LOG("%ld more free pages, and %lu saved by %lu folios", pages, nr * self->saved, nr);
	/* Other memory comes and goes, and CPUs keep some pages for themselves. */
	EXPECT_LE(nr * self->saved / 2, pages) TH_LOG("pages that are free");
	EXPECT_LE(pages, nr * self->saved * 3 / 2) TH_LOG("pages that are free");
}

/*
 * Trace the TLB flushes of this thread for HVO.  The kernel's function may be inlined, and
 * is there only where folios are remapped in stages.
 */
static bool probe_flushes(void)
{
	if (!trace_mount())
		return false;
	try_write_file(PROBES, "-:hugetlb_vmemmap/flush");
	probed = !try_write_file(PROBES, "p:hugetlb_vmemmap/flush vmemmap_batch_flush");
	return probed && trace_start("hugetlb_vmemmap/flush");
}

/*
 * The TLBs are flushed for all folios together: twice to optimize them, once more if PMDs
 * were split, and twice to restore them.  That is how many calls there are: the one after
 * PMDs were split is always made, and does nothing if none was.
 */
TEST_F(hvo, flushes)
{
	unsigned long grow, shrink;

	if (!self->saved)
		SKIP(return, "nothing is remapped");
	if (!probe_flushes())
		SKIP(return, "needs CONFIG_KPROBE_EVENTS, and stages");
	for (unsigned long nr = 1; nr <= self->nr; nr *= 8) {
		traced(": flush:", "");
		if (set_pool(self, nr) < nr)
			SKIP(return, NO_MEMORY);
		grow = traced(": flush:", "");
		expect_saved(_metadata, self, nr);
		ASSERT_EQ(0, set_pool(self, 0));
		shrink = traced(": flush:", "");
		TH_LOG("%lu folios: %lu calls to optimize, %lu to restore", nr, grow, shrink);
		EXPECT_EQ(3, grow) TH_LOG("TLB flushes to optimize %lu folios", nr);
		EXPECT_EQ(2, shrink) TH_LOG("TLB flushes to restore %lu folios", nr);
	}
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

/*
 * An error is reported in a page while the pool gives its folio back or, with @grow, while
 * the page is free and the pool takes it.  The page is given back once, and completely.
 */
static void race_poison(struct __test_metadata *_metadata, FIXTURE_DATA(hvo) * self, bool grow)
{
	const unsigned long n = self->size / psize();
	uint64_t *flags = calloc(n, 8), *counts = calloc(n, 8);
	unsigned long page, poisoned = 0, lost = 0;
	struct race race = { .thread_fn = poison_page, .data = &page, .least = POISONS };
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
		if (grow)
			ASSERT_EQ(0, set_pool(self, 0));

		/* when it grows, the pool takes the blocks that it gave back last */
		race_begin(&race);
		hugetlb_set_nr_pages(self->size, grow ? 4 + self->lost : 0);
		race_end(&race);

		set_pool(self, 0);
		poisoned += unpoison_folio(self, page - n / 2, flags, counts);
		lost += unpoison_folio(self, page - n / 2, flags, counts);
		/* a folio that was poisoned in the pool is free only now */
		set_pool(self, 0);
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
	skip_unless_raced(_metadata, &race);
}

/* An error is reported in a free folio while the folio leaves the pool. */
TEST_F_TIMEOUT(hvo, poison, RACE_TIMEOUT)
{
	race_poison(_metadata, self, false);
}

/* An error is reported in a free page while the page becomes one of a folio. */
TEST_F_TIMEOUT(hvo, poison_free, RACE_TIMEOUT)
{
	race_poison(_metadata, self, true);
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
	unsigned long sizes[16], nr, kept, saved, giants, waits;
	int n = detect_hugetlb_page_sizes(sizes, 16);
	bool found = false, traced = trace_waits();
	unsigned long long took;
	char *p;

	for (int i = 0; i < n; i++)
		found |= sizes[i] == giant;
	if (!found || self->size >= giant)
		SKIP(return, "no folios of 1 GiB that others can make room for");
	saved = saved_by(giant);

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

	if (traced)
		traced_waits();
	took = now_ns();
	hugetlb_set_nr_pages(giant, 1);
	took = now_ns() - took;
	waits = traced ? traced_waits() : 0;
	giants = hugetlb_nr_pages(giant);
	TH_LOG("%lu of %lu folios kept, %lu of 1 GiB allocated", kept, nr, giants);
	FIGURE("contig", took / 1000, "us");
	FIGURE("contig_waits", waits, "grace-periods");
	/* once a folio that is replaced, and a few times a GiB, when LRU caches are drained */
	EXPECT_LE(waits, kept + 4 * nr * self->size / giant)
		TH_LOG("grace periods that a contiguous allocation waited for");
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
	unsigned long surplus = 0, resized = 0, used = read_vmstat("nr_hugetlb"), nr;
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
	expect_node_sums(_metadata, self);
	EXPECT_EQ(used, read_vmstat("nr_hugetlb")) TH_LOG("pages in use of /proc/vmstat");
	EXPECT_EQ(nr, set_pool(self, nr));
	expect_saved(_metadata, self, nr);
	expect_node_sums(_metadata, self);
	EXPECT_EQ(0, set_pool(self, 0));
	expect_saved(_metadata, self, 0);
	if (atomic_load(&walkers[0].turns) < MIGRATIONS && __test_passed(_metadata))
		SKIP(return, "too few folios were migrated");
}

/* Folios of @size that the command line asks for. */
static unsigned long asked_folios(unsigned long size)
{
	unsigned long of = default_huge_page_size(), nr = 0;
	char cmdline[4096], *word, *end;

	if (read_file("/proc/cmdline", cmdline, sizeof(cmdline)) <= 0)
		ksft_exit_fail_perror("/proc/cmdline");
	for (word = strtok(cmdline, " \n"); word; word = strtok(NULL, " \n")) {
		if (!strncmp(word, "hugepagesz=", 11)) {
			of = strtoul(word + 11, &end, 0);
			of <<= *end == 'G' ? 30 : *end == 'M' ? 20 : *end == 'K' ? 10 : 0;
		} else if (!strncmp(word, "hugepages=", 10) && of == size) {
			nr = strtoul(word + 10, NULL, 0);
		}
	}
	return nr;
}

/*
 * The pools of the command line save pages, and give them back.  For a guest in which
 * nobody has changed the pools.
 */
TEST(boot)
{
	unsigned long sizes[16], saved = 0, pools = 0, before, after, nr;
	int n = detect_hugetlb_page_sizes(sizes, 16);

	if (geteuid())
		SKIP(return, "needs root");
	if (access(SYSCTL, F_OK)) {
		ASSERT_FALSE(HAVE_HVO) TH_LOG("HVO is there");
		SKIP(return, "no HVO");
	}
	if (!read_num(SYSCTL))
		SKIP(return, "HVO is off");
	for (int i = 0; i < n; i++) {
		nr = hugetlb_nr_pages(sizes[i]);
		if (nr != asked_folios(sizes[i]))
			SKIP(return, "%lu folios of %lu kB, the command line asks for %lu", nr,
			     sizes[i] >> 10, asked_folios(sizes[i]));
		TH_LOG("%lu folios of %lu kB", nr, sizes[i] >> 10);
		pools += nr;
		saved += nr * saved_by(sizes[i]);
	}
	if (!pools)
		SKIP(return, "needs hugepages= on the command line");

	before = memmap_pages();
	for (int i = 0; i < n; i++) {
		hugetlb_set_nr_pages(sizes[i], 0);
		EXPECT_EQ(0, hugetlb_nr_pages(sizes[i]));
	}
	after = memmap_pages();
	EXPECT_EQ(saved, after - before) TH_LOG("pages saved by the pools of the command line");

	/* Their memory can be used: for folios again, which save as much. */
	nr = asked_folios(MB(2));
	hugetlb_set_nr_pages(MB(2), nr);
	EXPECT_EQ(nr, hugetlb_nr_pages(MB(2)));
	EXPECT_EQ(nr * saved_by(MB(2)), after - memmap_pages());
	hugetlb_set_nr_pages(MB(2), 0);
	EXPECT_EQ(after, memmap_pages());
	restore_settings();
}

/* Page tables that /proc/vmstat counts, less those that /proc/kpageflags shows. */
static long counted_tables(int kpageflags)
{
	static uint64_t flags[1 << 13];
	unsigned long counted, again, seen;
	off_t offset;
	ssize_t len;

	do {
		seen = 0;
		/* CPUs add what they have counted for themselves */
		try_write_num("/proc/sys/vm/stat_refresh", 1);
		counted = read_vmstat("nr_page_table_pages");
		for (offset = 0; ; offset += len) {
			len = pread(kpageflags, flags, sizeof(flags), offset);
			if (len <= 0)
				break;
			for (size_t i = 0; i < len / sizeof(flags[0]); i++)
				seen += !!(flags[i] & KPF_PGTABLE);
		}
		try_write_num("/proc/sys/vm/stat_refresh", 1);
		again = read_vmstat("nr_page_table_pages");
	} while (counted != again);
	return counted - seen;
}

/* The memory that movable blocks are of is removed: page tables and vmemmap stay counted. */
TEST(removed)
{
	const unsigned long long patience = now_ns() + RACE_MAX_SECONDS * NSEC_PER_SEC;
	const char *unplug = getenv("UNPLUG");
	const size_t movable = movable_blocks();
	unsigned long memmap;
	int kpageflags;
	long tables;

	if (geteuid())
		SKIP(return, "needs root");
	if (!unplug || !movable)
		SKIP(return, "needs movable memory, and UNPLUG to have it removed");
	ASSERT_LE(0, kpageflags = open("/proc/kpageflags", O_RDONLY));
	/* folios in that memory, where the vmemmap can be remapped */
	try_write_num(SYSCTL, 1);
	hugetlb_set_nr_pages(MB(2), 64);
	hugetlb_set_nr_pages(MB(2), 0);

	tables = counted_tables(kpageflags);
	memmap = memmap_pages() - movable * (read_hex(MEMORY "block_size_bytes") / psize() *
					     STRUCT_PAGE / psize());
	ASSERT_EQ(0, system(unplug));
	while ((movable_blocks() || memmap_pages() != memmap) && now_ns() < patience)
		sched_yield();
	ASSERT_EQ(0, movable_blocks()) TH_LOG("movable blocks that were not removed");
	EXPECT_EQ(memmap, memmap_pages()) TH_LOG("pages of the vmemmap after memory was removed");
	EXPECT_EQ(tables, counted_tables(kpageflags))
		TH_LOG("page tables that are counted, less those that are there");
	TH_LOG("%zu blocks removed, %ld page tables more counted than there are", movable, tables);
	close(kpageflags);
	restore_settings();
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
