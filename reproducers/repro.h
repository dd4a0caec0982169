/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Functions that all reproducers share.  "reproducers/join NAME" prints a reproducer with this header in it:
 * one file that gcc builds by itself.  race_util.h of selftests/mm has the same ideas, and is separate on purpose: a
 * selftest is built in a kernel tree, a reproducer against the headers of a distribution, and of any kernel.
 *
 * Exit status: 0 the kernel is right, 1 it is wrong, 2 the program cannot say.  The last line of the output
 * gives the reason.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <linux/fs.h>
#include <linux/types.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

/* Definitions that the distribution's headers may be too old for. */
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#define MADV_GUARD_REMOVE 103
#endif
#ifndef MADV_HWPOISON
#define MADV_HWPOISON 100
#endif
#ifndef MADV_SOFT_OFFLINE
#define MADV_SOFT_OFFLINE 101
#endif
#ifndef MFD_HUGE_SHIFT
#define MFD_HUGE_SHIFT 26
#endif
#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif
#ifndef UFFDIO_REGISTER_MODE_MINOR
#define UFFDIO_REGISTER_MODE_MINOR ((__u64)1 << 2)
#define UFFD_FEATURE_MINOR_SHMEM (1 << 10)
#endif
#ifndef UFFD_FEATURE_WP_HUGETLBFS_SHMEM
#define UFFD_FEATURE_WP_HUGETLBFS_SHMEM (1 << 12)
#endif
#ifndef UFFD_FEATURE_WP_UNPOPULATED
#define UFFD_FEATURE_WP_UNPOPULATED (1 << 13)
#endif
#ifndef UFFDIO_POISON
#define UFFD_FEATURE_POISON (1 << 14)
struct uffdio_poison {
	struct uffdio_range range;
	__u64 mode;
	__s64 updated;
};
#define UFFDIO_POISON _IOWR(UFFDIO, 0x08, struct uffdio_poison)
#endif
#ifndef UFFD_FEATURE_WP_ASYNC
#define UFFD_FEATURE_WP_ASYNC (1 << 15)
#endif
#ifndef UFFDIO_MOVE
#define UFFD_FEATURE_MOVE (1 << 16)
struct uffdio_move {
	__u64 dst, src, len, mode;
	__s64 move;
};
#define UFFDIO_MOVE _IOWR(UFFDIO, 0x05, struct uffdio_move)
#endif
#ifndef PAGEMAP_SCAN
#define PAGE_IS_WRITTEN (1 << 1)
#define PAGE_IS_FILE (1 << 2)
#define PAGE_IS_PRESENT (1 << 3)
#define PAGE_IS_SWAPPED (1 << 4)
#define PM_SCAN_WP_MATCHING (1 << 0)
#define PM_SCAN_CHECK_WPASYNC (1 << 1)
struct page_region {
	__u64 start, end, categories;
};
struct pm_scan_arg {
	__u64 size, flags, start, end, walk_end, vec, vec_len, max_pages;
	__u64 category_inverted, category_mask, category_anyof_mask, return_mask;
};
#define PAGEMAP_SCAN _IOWR('f', 16, struct pm_scan_arg)
#endif

enum status { RIGHT, WRONG, CANNOT_SAY };

/* Not every reproducer calls every function. */
#define UNUSED __attribute__((unused))
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

static int limit_seconds UNUSED = 60;
static unsigned long page_size UNUSED;

UNUSED __attribute__((format(printf, 2, 3), noreturn))
static void finish(enum status status, const char *format, ...)
{
	static const char *const word[] = { "not affected", "AFFECTED", "cannot say" };
	va_list args;

	va_start(args, format);
	printf("%s: ", word[status]);
	vprintf(format, args);
	va_end(args);
	printf("\n");
	exit(status);
}

/* A call that the test rests on has failed; @what names the call. */
#define cannot(what) finish(CANNOT_SAY, "%s: %s", what, strerror(errno))
/* The kernel lacks the feature that has the bug. */
#define no_feature(what) finish(CANNOT_SAY, "no such feature: %s", what)
#define check(condition)				\
	do {						\
		if (!(condition))			\
			cannot(#condition);		\
	} while (0)

/* The harm that most programs with hugetlb pages tell begin(). */
#define RESIZES_POOL "resize the hugetlb pool while it runs"

static __thread sigjmp_buf jump;
static __thread volatile sig_atomic_t jump_set;

UNUSED static void on_fault(int number)
{
	if (!jump_set)
		_exit(128 + number);
	siglongjmp(jump, number);
}

/* exit() runs the functions that put settings back. */
UNUSED static void on_end(int number)
{
	exit(128 + number);
}

/*
 * Every main() calls this first.  @harm: the harm that the program may do to the machine, or to other programs;
 * without --yes, begin() prints it and ends the program.  NULL if only this process can come to harm.  @root: the
 * program needs root.
 */
UNUSED static void begin(int argc, char **argv, const char *harm, bool root)
{
	struct sigaction act = { .sa_handler = on_fault, .sa_flags = SA_NODEFER };
	bool yes = false;

	setvbuf(stdout, NULL, _IOLBF, 0);
	for (int i = 1; i < argc; i++) {
		char *end;

		if (!strcmp(argv[i], "--yes")) {
			yes = true;
			continue;
		}
		limit_seconds = strtol(argv[i], &end, 10);
		if (*end || limit_seconds < 1 || limit_seconds > 86400)
			finish(CANNOT_SAY, "usage: %s [--yes] [SECONDS]", argv[0]);
	}
	if (harm && !yes)
		finish(CANNOT_SAY, "this program may %s; run it with --yes on a test machine", harm);
	if (harm)
		printf("this program may %s\n", harm);
	if (root && geteuid())
		finish(CANNOT_SAY, "run it as root");
	page_size = sysconf(_SC_PAGESIZE);
	check(!sigaction(SIGSEGV, &act, NULL) && !sigaction(SIGBUS, &act, NULL));
	signal(SIGINT, on_end);
	signal(SIGTERM, on_end);
}

/* The signal that reading a byte at @p raises, 0 for none. */
UNUSED static int read_signal(char *p)
{
	int number = sigsetjmp(jump, 1);

	jump_set = 1;
	if (!number)
		(void)*(volatile char *)p;
	jump_set = 0;
	return number;
}

/* The signal that writing a byte at @p raises, 0 for none. */
UNUSED static int write_signal(char *p)
{
	int number = sigsetjmp(jump, 1);

	jump_set = 1;
	if (!number)
		*(volatile char *)p = 1;
	jump_set = 0;
	return number;
}

/* The number in @path, behind @key if there is one; -1 without it. */
UNUSED static long read_number(const char *path, const char *key)
{
	char line[256];
	long value = -1;
	FILE *f = fopen(path, "r");

	while (f && value < 0 && fgets(line, sizeof(line), f))
		if (!strncmp(line, key, strlen(key)))
			value = atol(line + strlen(key));
	if (f)
		fclose(f);
	return value;
}

/* End the program where the kernel panics when memory fails. */
UNUSED static void survive_memory_failure(void)
{
	if (!read_number("/proc/sys/vm/memory_failure_recovery", ""))
		finish(CANNOT_SAY, "the kernel would panic: vm.memory_failure_recovery is 0");
}

/* Poison the page at @p; the kernel may answer by SIGBUS. */
UNUSED static void hwpoison(char *p)
{
	volatile int error = 0;

	survive_memory_failure();
	if (!sigsetjmp(jump, 1)) {
		jump_set = 1;
		error = madvise(p, page_size, MADV_HWPOISON) ? errno : 0;
	}
	jump_set = 0;
	if (error == EINVAL)
		no_feature("MADV_HWPOISON (CONFIG_MEMORY_FAILURE)");
	/* EBUSY, EHWPOISON: poisoned, but still in use */
	if (error && error != EBUSY && error != EHWPOISON)
		finish(CANNOT_SAY, "MADV_HWPOISON: %s", strerror(error));
}

UNUSED static bool put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);
	bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		close(fd);
	return ok;
}

UNUSED static bool put_number(const char *path, unsigned long number)
{
	char text[32];

	snprintf(text, sizeof(text), "%lu", number);
	return put(path, text);
}

/* @size bytes of address space without a mapping, at a multiple of @size. */
UNUSED static char *reserve(unsigned long size)
{
	char *p = mmap(NULL, 2 * size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	check(p != MAP_FAILED);
	return (char *)(((unsigned long)p + size - 1) & ~(size - 1));
}

UNUSED static void map_at(char *p, unsigned long size, int fd, int flags)
{
	if (fd < 0)
		flags |= MAP_ANONYMOUS;
	check(mmap(p, size, PROT_READ | PROT_WRITE, flags | MAP_FIXED, fd, 0) == p);
}

UNUSED static int open_uffd(unsigned long long features, const char *names)
{
	struct uffdio_api api = { .api = UFFD_API, .features = features };
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);

	if (fd < 0 && errno == ENOSYS)
		no_feature("userfaultfd");
	if (fd < 0)
		cannot("userfaultfd()");
	if (ioctl(fd, UFFDIO_API, &api))
		no_feature(names);
	return fd;
}

UNUSED static int uffd_register(int uffd, char *p, unsigned long size, unsigned long long mode)
{
	struct uffdio_register arg = { .range = { (unsigned long)p, size }, .mode = mode };

	return ioctl(uffd, UFFDIO_REGISTER, &arg);
}

UNUSED static int uffd_unregister(int uffd, char *p, unsigned long size)
{
	struct uffdio_range range = { (unsigned long)p, size };

	return ioctl(uffd, UFFDIO_UNREGISTER, &range);
}

UNUSED static int protect(int uffd, char *p, unsigned long size, bool wp)
{
	struct uffdio_writeprotect arg = {
		.range = { (unsigned long)p, size },
		.mode = wp ? UFFDIO_WRITEPROTECT_MODE_WP : 0,
	};

	return ioctl(uffd, UFFDIO_WRITEPROTECT, &arg);
}

UNUSED static int uffd_poison(int uffd, char *p, unsigned long size)
{
	struct uffdio_poison arg = { .range = { (unsigned long)p, size } };

	return ioctl(uffd, UFFDIO_POISON, &arg);
}

/* The pagemap entry of the page at @p; bit 57 is the uffd bit. */
UNUSED static uint64_t pagemap_entry(char *p)
{
	int fd = open("/proc/self/pagemap", O_RDONLY);
	uint64_t entry;

	check(fd >= 0);
	check(pread(fd, &entry, sizeof(entry), (unsigned long)p / page_size * 8) == sizeof(entry));
	close(fd);
	return entry;
}

/* PAGEMAP_SCAN of @size bytes at @p, into @len regions at @vec. */
UNUSED static long pagemap_scan(char *p, unsigned long size, struct page_region *vec, int len,
				unsigned long flags, unsigned long mask)
{
	static int fd = -1;
	struct pm_scan_arg arg = {
		.size = sizeof(arg), .flags = flags, .start = (unsigned long)p,
		.end = (unsigned long)p + size, .vec = (unsigned long)vec, .vec_len = len,
		.category_mask = mask, .return_mask = PAGE_IS_WRITTEN,
	};
	long ret;

	if (fd < 0)
		fd = open("/proc/self/pagemap", O_RDONLY);
	ret = ioctl(fd, PAGEMAP_SCAN, &arg);
	if (ret < 0 && errno == ENOTTY)
		no_feature("PAGEMAP_SCAN");
	if (ret < 0)
		cannot("PAGEMAP_SCAN");
	return ret;
}

/* Is the first page of @size bytes at @p reported as written? */
UNUSED static bool is_written(char *p, unsigned long size)
{
	struct page_region region;

	return pagemap_scan(p, size, &region, 1, 0, PAGE_IS_WRITTEN) == 1;
}

UNUSED static unsigned long pmd_size(void)
{
	long size = read_number("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size", "");

	if (size <= 0)
		no_feature("transparent huge pages");
	return size;
}

/* Collapse @size bytes of shmem at @p; retried where the kernel says EAGAIN. */
UNUSED static int collapse(char *p, unsigned long size)
{
	int ret;

	for (int i = 0; i < 20; i++) {
		ret = madvise(p, size, MADV_COLLAPSE);
		if (!ret || errno != EAGAIN)
			break;
	}
	return ret;
}

/* A memfd of one huge page, and one small page of it punched out: small folios again, none mapped at @p. */
UNUSED static void split_folio(int memfd, char *p, unsigned long size)
{
	check(!fallocate(memfd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, page_size));
	p[0] = 0x5a;
	check(!madvise(p, size, MADV_DONTNEED));
}

/* A memfd of one huge page, which is mapped at @p by a pmd. */
UNUSED static int huge_memfd(char *p, unsigned long size)
{
	int memfd = memfd_create("reproducer", 0);

	check(memfd >= 0 && !ftruncate(memfd, size));
	map_at(p, size, memfd, MAP_SHARED);
	memset(p, 0x5a, size);
	if (collapse(p, size))
		no_feature("MADV_COLLAPSE of a memfd");
	return memfd;
}

/* The pool of the default size of hugetlb pages: its folder in sysfs, and how many pages it had. */
static char pool_file[128] UNUSED;
static long pool_before UNUSED = -1;

UNUSED static void pool_restore(void)
{
	if (pool_before >= 0)
		put_number(pool_file, pool_before);
}

/* The size of a page; the pool has at least @nr free pages, until the program ends. */
UNUSED static unsigned long hugetlb_pool(long nr)
{
	long kb = read_number("/proc/meminfo", "Hugepagesize:");

	if (kb <= 0)
		no_feature("hugetlb");
	if (kb > 32 * 1024)
		finish(CANNOT_SAY, "hugetlb pages of %ld kB are too large for this program", kb);
	snprintf(pool_file, sizeof(pool_file), "/sys/kernel/mm/hugepages/hugepages-%ldkB/nr_hugepages", kb);
	if (pool_before < 0) {
		pool_before = read_number(pool_file, "");
		atexit(pool_restore);
	}
	put_number(pool_file, pool_before + nr);
	if (read_number("/proc/meminfo", "HugePages_Free:") - read_number("/proc/meminfo", "HugePages_Rsvd:") < nr)
		finish(CANNOT_SAY, "no %ld free hugetlb pages", nr);
	return kb * 1024;
}

/*
 * A race of two calls, a round at a time.  theirs() runs in a thread on another CPU.  Both calls start together,
 * ours later by a random part of the time that theirs takes, so that ours meets every part of theirs.
 */
struct race {
	void (*theirs)(void *data);
	void *data;
	/* as many rounds have to overlap before the kernel can be called right */
	unsigned long want;
	unsigned long rounds, overlaps, turns;
	time_t began;
	unsigned int seed;
	bool pending;
	pthread_t thread;
	int cpu;
	/* the round that theirs may start, waits for, has started, has done */
	atomic_ulong go, ready, started, done;
};

UNUSED static void pin_to(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

UNUSED static unsigned long wait_for(atomic_ulong *counter, unsigned long value, unsigned long turns)
{
	unsigned long n = 0;

	while (n < turns && atomic_load(counter) != value)
		n++;
	return n;
}

UNUSED static time_t seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec;
}

UNUSED static void *race_thread(void *arg)
{
	struct race *r = arg;
	unsigned long seen = 0;

	pin_to(r->cpu);
	for (;;) {
		unsigned long round;

		atomic_store(&r->ready, seen + 1);
		while ((round = atomic_load(&r->go)) == seen)
			;
		if (round == -1UL)
			return NULL;
		seen = round;
		atomic_store(&r->started, seen);
		r->theirs(r->data);
		atomic_store(&r->done, seen);
	}
}

UNUSED static void race_start(struct race *r)
{
	cpu_set_t set;
	int cpus[2], n = 0;

	check(!sched_getaffinity(0, sizeof(set), &set));
	for (int cpu = 0; cpu < CPU_SETSIZE && n < 2; cpu++)
		if (CPU_ISSET(cpu, &set))
			cpus[n++] = cpu;
	if (n < 2)
		finish(CANNOT_SAY, "a race needs two CPUs");
	r->cpu = cpus[1];
	r->began = seconds();
	r->seed = 1;
	pin_to(cpus[0]);
	check(!pthread_create(&r->thread, NULL, race_thread, r));
	wait_for(&r->ready, 1, -1UL);
}

/* Is another round wanted, and is there time for it? */
UNUSED static bool race_on(struct race *r)
{
	return r->overlaps < r->want && seconds() - r->began < limit_seconds;
}

/* Before and after our call, which races with theirs. */
UNUSED static void race_begin(struct race *r)
{
	wait_for(&r->ready, ++r->rounds, -1UL);
	atomic_store(&r->go, r->rounds);
	if (r->rounds <= 8) {
		/* theirs alone: how long does it take, at least? */
		unsigned long turns = wait_for(&r->done, r->rounds, -1UL) + 1;

		r->turns = r->rounds == 1 || turns < r->turns ? turns : r->turns;
	} else {
		/* no counter has this value: all turns are taken */
		wait_for(&r->done, -1UL, rand_r(&r->seed) % (r->turns + 1));
	}
	r->pending = atomic_load(&r->done) != r->rounds;
}

UNUSED static void race_end(struct race *r)
{
	r->overlaps += r->pending && atomic_load(&r->started) == r->rounds;
	wait_for(&r->done, r->rounds, -1UL);
}

/* The end of a race: @bad rounds, of which one is enough, were @what. */
UNUSED __attribute__((noreturn))
static void race_finish(struct race *r, unsigned long bad, const char *what)
{
	printf("%lu attempts, %lu overlaps, %lu %s\n", r->rounds, r->overlaps, bad, what);
	if (bad)
		finish(WRONG, "%s", what);
	if (r->overlaps < r->want)
		finish(CANNOT_SAY, "too few overlaps: %lu of %lu wanted", r->overlaps, r->want);
	finish(RIGHT, "none of %lu overlaps: %s", r->overlaps, what);
}
