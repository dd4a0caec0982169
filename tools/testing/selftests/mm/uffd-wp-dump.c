// SPDX-License-Identifier: GPL-2.0-only
/*
 * A dumper of memory tests userfaultfd's write-protection: no write may be lost.
 *
 * Threads do random operations on an area: they write, discard, punch holes, truncate, swap,
 * move, poison, fork and so on.  At the same time, the main thread dumps the area.
 *
 * async: The main thread scans the area with PAGEMAP_SCAN, round by round and in pieces of
 * random size, and copies the pages that the scan reports.  Now and then it stops the other
 * threads for one more round, and the dump then equals the memory, byte for byte.
 *
 * sync: The main thread write-protects the area and takes a snapshot, and a handler resolves
 * notifications.  Until its notification, a page stays as it is in the snapshot.  An operation
 * that replaces contents by itself renews the page's snapshot; if the operation drops the
 * write-protection, it releases the page.  Documentation/admin-guide/mm/userfaultfd.rst has a
 * table of that.
 *
 * In the environment, OPERATIONS=n replaces the CPU time that a case takes, SEED=n repeats the
 * random choices of each thread, and WITHOUT=name,name leaves operations out.
 */
#define _GNU_SOURCE
#include "kselftest_harness.h"
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/mempolicy.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <time.h>
#include "uffd-wp-util.h"

#define FEATURES (UFFD_FEATURE_WP_HUGETLBFS_SHMEM | UFFD_FEATURE_WP_UNPOPULATED |	\
		  UFFD_FEATURE_PAGEFAULT_FLAG_WP)
#define NODE1 "/sys/devices/system/node/node1"
#define MEMORY_FAILURE "/proc/sys/vm/memory_failure_early_kill"

/* CPU time of a case without OPERATIONS; copies of huge pages take most of the second */
#define CASE_MS 900
#define HUGETLB_MS 3000
#define NR_WORKERS 2
#define SMALL_PAGES 64
#define HUGE_PAGES 3
#define SCRATCH_PAGES 4
#define MAX_POISONED 8
#define LOG_SIZE 8

/* kinds of memory, a bit each */
#define ANON 1
#define SHMEM 2
#define EXT4 4
#define HUGETLB 8
#define FILES (SHMEM | EXT4 | HUGETLB)
#define SMALL (ANON | SHMEM | EXT4)
#define FILLED (ANON | SHMEM | HUGETLB)
#define ALL (ANON | FILES)

/* how an operation has left the pages of its range */
enum effect {
	SAME,		/* with their contents, and as write-protected as before */
	RENEWED,	/* with other contents, and as write-protected as before */
	DROPPED,	/* not write-protected any more */
	FAILED,		/* the kernel refused the operation, or did a part of it */
};

/* A page of the area, huge in hugetlb. */
struct page {
	pthread_mutex_t lock;
	/*
	 * Readable when it was copied.  To be compared with the copy: in sync mode from the
	 * snapshot on, and until it is released by a notification or an operation.
	 */
	bool readable, compared, released;
	/* its memory has failed: no scan may report that, see userfaultfd.rst */
	atomic_bool failed;
	/* the last operations that did more than touch it, for the log */
	atomic_uint nr_logged;
	unsigned char logged[LOG_SIZE];
};

/* The case that runs in this process, and its area. */
static struct {
	unsigned int kind;
	bool async, private, thp;
	/* bytes of a page, pages of the area, bytes of the area */
	unsigned long page_size, nr, size;
	int fd, uffd, pagemap, mem;
	/* the registered mapping; a shared mapping of its file; the dump or snapshot */
	char *area, *alias, *copy;
	struct page *pages;
	/* taken after a page's lock: held while a part of the area is cut off or moved away */
	pthread_mutex_t layout;
	/* taken before a page's lock: for reading by operations, for writing by one alone */
	pthread_rwlock_t alone;
	/* posted when @until operations are done */
	sem_t enough;
	atomic_ulong operations, until;
	atomic_bool stop;
	/* pages of which the copy has changed; reports, or notifications */
	atomic_ulong changed, reported;
	/* the first violation, and its page */
	const char *complaint;
	unsigned long complained;
	atomic_uint nr_complaints, nr_poisoned;
	unsigned long poisoned[MAX_POISONED], ksm_run;
} d = {
	.layout = PTHREAD_MUTEX_INITIALIZER,
	.alone = PTHREAD_RWLOCK_WRITER_NONRECURSIVE_INITIALIZER_NP,
};

struct worker {
	struct operation *op;
	pthread_t thread;
	unsigned int seed;
	int fail_nth;
	/* reserved addresses to move to; a page of random bytes; memory for UFFDIO_MOVE */
	char *away, *source, *scratch;
};

/* An operation on a range of the area.  Other threads do operations, too. */
struct operation {
	const char *name;
	enum effect (*run)(struct worker *w, char *addr, unsigned long size);
	/* kinds of memory; how often it is chosen; an argument for run() */
	unsigned int kinds, weight, arg;
	/* on shared memory, on anonymous memory, and on a private mapping of a file */
	enum effect effect[3];
	/* may wait for the handler; renews only if no other thread touches the memory */
	bool touches, alone;
	bool to_end, whole, only_shared, only_async, only_sync;
	/* a file that tells whether the kernel has the operation, and whether this user may */
	const char *needs;
	/* in this case: why it is not chosen, how often it was done */
	const char *left_out;
	atomic_ulong done;
};

static unsigned int draw(unsigned int *seed, unsigned int below)
{
	return rand_r(seed) % below;
}

static unsigned long env_num(const char *name)
{
	return getenv(name) ? strtoul(getenv(name), NULL, 10) : 0;
}

static void complain(const char *message, const char *addr)
{
	if (atomic_fetch_add(&d.nr_complaints, 1))
		return;
	d.complained = (addr - d.area) / d.page_size;
	d.complaint = message;
}

static int watch(int uffd, char *addr, unsigned long size)
{
	return uffd_register(uffd, addr, size, false, true, false);
}

static void store(void *addr)
{
	__atomic_fetch_add((unsigned long *)addr, 0x0101010101010101UL, __ATOMIC_RELAXED);
}

/* KSM merges pages that are filled with one byte. */
static void fill(void *addr)
{
	memset(addr, 0x5a, psize());
}

/* What the operation does to the memory of this case. */
static enum effect usual_effect(const struct operation *op)
{
	return op->effect[!d.private ? 0 : d.kind == ANON ? 1 : 2];
}

static enum effect op_write(struct worker *w, char *addr, unsigned long size)
{
	char *word = addr + draw(&w->seed, size / sizeof(long)) * sizeof(long);
	const unsigned int how = draw(&w->seed, 4);

	/* getrandom(): the kernel writes, by copy_to_user() */
	if (!how)
		return getrandom(word, sizeof(long), 0) < 0 ? FAILED : SAME;
	return fault_signal(how > 1 ? store : fill, how > 1 ? word : addr) ? FAILED : SAME;
}

static enum effect op_advise(struct worker *w, char *addr, unsigned long size)
{
	/* collapse also when the registered mapping cannot be collapsed */
	if (w->op->arg == MADV_COLLAPSE && d.alias)
		addr = d.alias;
	return madvise(addr, size, w->op->arg) ? FAILED : usual_effect(w->op);
}

static enum effect op_punch(struct worker *w, char *addr, unsigned long size)
{
	return fallocate(d.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, addr - d.area, size) ?
	       FAILED : usual_effect(w->op);
}

static enum effect op_truncate(struct worker *w, char *addr, unsigned long size)
{
	int ret;

	pthread_mutex_lock(&d.layout);
	ret = ftruncate(d.fd, addr - d.area) | ftruncate(d.fd, d.size);
	pthread_mutex_unlock(&d.layout);
	return ret ? FAILED : usual_effect(w->op);
}

static enum effect op_mprotect(struct worker *w, char *addr, unsigned long size)
{
	int ret = mprotect(addr, size, draw(&w->seed, 2) ? PROT_READ : PROT_NONE);

	pthread_mutex_lock(&d.layout);
	if (mprotect(addr, size, PROT_READ | PROT_WRITE))
		complain("mprotect() failed", addr);
	pthread_mutex_unlock(&d.layout);
	return ret ? FAILED : SAME;
}

static enum effect op_migrate(struct worker *w, char *addr, unsigned long size)
{
	int node = draw(&w->seed, 2), status;

	return syscall(__NR_move_pages, 0, 1, &addr, &node, &status, MPOL_MF_MOVE) ? FAILED : SAME;
}

/* Each takes a page from the system: only now and then, at different times in a case. */
static enum effect op_poison(struct worker *w, char *addr, unsigned long size)
{
	unsigned int i = atomic_load(&d.nr_poisoned);

	if (i >= (d.kind == HUGETLB ? 2 : MAX_POISONED) || draw(&w->seed, 4) ||
	    !atomic_compare_exchange_strong(&d.nr_poisoned, &i, i + 1))
		return FAILED;
	d.poisoned[i] = pagemap_get_pfn(d.pagemap, addr);
	if (w->op->arg == MADV_SOFT_OFFLINE)
		return op_advise(w, addr, d.page_size);
	d.pages[(addr - d.area) / d.page_size].failed = true;
	return madvise_hwpoison(addr, d.page_size) ? usual_effect(w->op) : FAILED;
}

/* UFFDIO_POISON, UFFDIO_ZEROPAGE or UFFDIO_CONTINUE, which have the same argument. */
static enum effect op_fill(struct worker *w, char *addr, unsigned long size)
{
	struct uffdio_zeropage arg = { .range = { (unsigned long)addr, size } };

	madvise(addr, size, MADV_DONTNEED);
	if (!ioctl(d.uffd, w->op->arg, &arg))
		return usual_effect(w->op);
	/*
	 * It stops at a page that is write-protected. In a private mapping of a file, that has
	 * lost its own contents.
	 */
	return d.private && d.kind != ANON && errno == EEXIST ? RENEWED : FAILED;
}

static enum effect op_copy(struct worker *w, char *addr, unsigned long size)
{
	struct uffdio_copy arg = { (unsigned long)addr, (unsigned long)w->source, d.page_size,
				   w->op->arg };

	if (d.fd >= 0)
		op_punch(w, addr, d.page_size);
	madvise(addr, d.page_size, MADV_DONTNEED);
	return ioctl(d.uffd, UFFDIO_COPY, &arg) ? FAILED : usual_effect(w->op);
}

/* Pages that are write-protected at their old address, and swapped out if there is swap. */
static enum effect op_move(struct worker *w, char *addr, unsigned long size)
{
	const unsigned long len = size < SCRATCH_PAGES * psize() ? size : SCRATCH_PAGES * psize();
	struct uffdio_move arg = { (unsigned long)addr, (unsigned long)w->scratch, len };

	madvise(w->scratch, len, MADV_DONTNEED);
	for (unsigned long i = 0; i < len; i += psize())
		memcpy(w->scratch + i, w->source, psize());
	protect(d.uffd, w->scratch, len, true);
	if (draw(&w->seed, 4))
		madvise(w->scratch, len, MADV_PAGEOUT);
	madvise(addr, len, MADV_DONTNEED);
	return ioctl(d.uffd, UFFDIO_MOVE, &arg) ? FAILED : usual_effect(w->op);
}

/*
 * Move the range away and back, and register it again; MREMAP_DONTUNMAP leaves a mapping
 * behind instead.  Half of the time an allocation fails, if the kernel can inject that.  The
 * layout lock keeps new mappings away from addresses that are free for a moment.
 */
static enum effect op_mremap(struct worker *w, char *addr, unsigned long size)
{
	const int flags = MREMAP_MAYMOVE | MREMAP_FIXED;
	char *to = w->away + (addr - d.area), nth = '1' + draw(&w->seed, 6);
	bool moved, ok = true;

	pthread_mutex_lock(&d.layout);
	if (draw(&w->seed, 2))
		pwrite(w->fail_nth, &nth, 1, 0);
	moved = mremap(addr, size, size, flags | w->op->arg, to) == to;
	pwrite(w->fail_nth, "0", 1, 0);
	if (moved && !w->op->arg)
		ok = mremap(to, size, size, flags, addr) == addr && !watch(d.uffd, addr, size);
	if (moved)
		mmap(to, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	pthread_mutex_unlock(&d.layout);
	if (!ok)
		complain("cannot move the memory back", addr);
	return moved ? usual_effect(w->op) : SAME;
}

/* Has a child, with @flags of clone(), uffd bits that no userfaultfd resolves? */
static bool child_has_bits(char *addr, unsigned long size, unsigned long flags)
{
	const pid_t pid = syscall(__NR_clone, flags | SIGCHLD, 0, 0, 0, 0);
	int status = 0, bits = 0, pagemap;

	if (!pid) {
		pagemap = open("/proc/self/pagemap", O_RDONLY);
		for (unsigned long i = 0; i < size; i += psize())
			bits |= !!(pagemap_get_entry(pagemap, addr + i) & PM_UFFD_WP);
		/* the table of descriptors may be the parent's */
		close(pagemap);
		_exit(bits);
	}
	if (pid > 0)
		waitpid(pid, &status, 0);
	return WIFEXITED(status) && WEXITSTATUS(status) == 1;
}

/* The child has a copy of the descriptor that op_fork_unread() closes: not at the same time. */
static enum effect op_fork(struct worker *w, char *addr, unsigned long size)
{
	pthread_mutex_lock(&d.layout);
	if (child_has_bits(addr, size, 0))
		complain("a child has uffd bits", addr);
	pthread_mutex_unlock(&d.layout);
	return SAME;
}

static void *close_on_event(void *arg)
{
	struct pollfd uffd = { .fd = *(int *)arg, .events = POLLIN };

	poll(&uffd, 1, -1);
	close(uffd.fd);
	return NULL;
}

/* Fork with memory of another userfaultfd, which is closed before its event is read. */
static enum effect op_fork_unread(struct worker *w, char *addr, unsigned long size)
{
	int uffd = uffd_open_api(FEATURES | UFFD_FEATURE_EVENT_FORK);
	enum effect effect = FAILED;
	pthread_t thread;
	char *page;

	pthread_mutex_lock(&d.layout);
	page = mmap(NULL, psize(), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (!watch(uffd, page, psize()) && !protect(uffd, page, psize(), true) &&
	    !pthread_create(&thread, NULL, close_on_event, &uffd)) {
		effect = SAME;
		if (child_has_bits(page, psize(), CLONE_FILES))
			complain("an unread fork event leaves uffd bits in the child", d.area);
		pthread_join(thread, NULL);
	} else {
		close(uffd);
	}
	munmap(page, psize());
	pthread_mutex_unlock(&d.layout);
	return effect;
}

/* A page cannot be both present and swapped: the scan must not protect any page. */
static enum effect op_scan_nothing(struct worker *w, char *addr, unsigned long size)
{
	struct pm_scan_arg arg = {
		.size = sizeof(arg),
		.flags = PM_SCAN_WP_MATCHING,
		.start = (unsigned long)addr,
		.end = (unsigned long)addr + size,
		.category_mask = PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
	};

	return ioctl(d.pagemap, PAGEMAP_SCAN, &arg) < 0 ? FAILED : SAME;
}

static struct operation operations[] = {
	{ "write", op_write, ALL, 50, .touches = true },
	{ "populate_write", op_advise, ALL, 3, MADV_POPULATE_WRITE, .touches = true },
	{ "populate_read", op_advise, ALL, 8, MADV_POPULATE_READ, .touches = true },
	{ "swapin", op_advise, SMALL, 3, MADV_WILLNEED, .touches = true },
	{ "pageout", op_advise, SMALL, 6, MADV_PAGEOUT },
	{ "dontneed", op_advise, ALL, 8, MADV_DONTNEED, { SAME, DROPPED, RENEWED } },
	{ "remove", op_advise, FILES, 3, MADV_REMOVE, { RENEWED }, .alone = true,
	  .only_shared = true },
	{ "punch", op_punch, FILES, 6, 0, { RENEWED, SAME, RENEWED }, .alone = true },
	{ "truncate", op_truncate, FILES, 2, 0, { RENEWED, SAME, RENEWED }, .alone = true,
	  .to_end = true },
	{ "collapse", op_advise, SMALL, 2, MADV_COLLAPSE, .whole = true },
	{ "mprotect", op_mprotect, ALL, 4 },
	{ "guard", op_advise, SMALL, 3, MADV_GUARD_INSTALL, { SAME, DROPPED, RENEWED } },
	{ "unguard", op_advise, SMALL, 6, MADV_GUARD_REMOVE },
	{ "ksm", op_advise, ANON, 1, MADV_MERGEABLE, .whole = true, .needs = KSM "run" },
	{ "unmerge", op_advise, ANON, 1, MADV_UNMERGEABLE, .whole = true, .needs = KSM "run" },
	{ "migrate", op_migrate, ALL, 4, .needs = NODE1 },
	{ "soft_offline", op_poison, FILLED, 1, MADV_SOFT_OFFLINE, .needs = MEMORY_FAILURE },
	{ "poison", op_poison, FILLED, 1, MADV_HWPOISON, { SAME, DROPPED },
	  .needs = MEMORY_FAILURE },
	{ "uffd_poison", op_fill, FILLED, 2, UFFDIO_POISON, { SAME, DROPPED, RENEWED } },
	{ "zeropage", op_fill, ANON | SHMEM, 2, UFFDIO_ZEROPAGE, { DROPPED, DROPPED, RENEWED } },
	{ "continue", op_fill, SHMEM | HUGETLB, 3, UFFDIO_CONTINUE, { DROPPED },
	  .only_shared = true },
	{ "copy", op_copy, FILLED, 3, 0, { DROPPED, DROPPED, DROPPED } },
	{ "copy_wp", op_copy, FILLED, 2, UFFDIO_COPY_MODE_WP, { RENEWED, RENEWED, RENEWED },
	  .only_sync = true },
	{ "move", op_move, ANON, 4, 0, { SAME, DROPPED } },
	{ "mremap", op_mremap, ALL, 2, 0, { DROPPED, DROPPED, DROPPED } },
	{ "dontunmap", op_mremap, SMALL, 2, MREMAP_DONTUNMAP, { SAME, DROPPED, RENEWED } },
	{ "fork", op_fork, ALL, 1 },
	{ "fork_unread", op_fork_unread, ANON, 1 },
	{ "scan_nothing", op_scan_nothing, ALL, 2, .only_async = true },
};

#define for_each_operation(op) \
	for (struct operation *op = operations; op < operations + ARRAY_SIZE(operations); op++)

/*
 * Read a page through /proc/self/mem, which no mprotect() keeps out.  Memory that is cut off or
 * moved away is back when the layout lock is free.
 *
 * Return: a buffer of the calling thread, or NULL if the page cannot be read.
 */
static char *read_page(unsigned long i)
{
	static __thread char *buffer;
	const off_t at = (off_t)(unsigned long)d.area + i * d.page_size;
	ssize_t nr;

	if (!buffer)
		buffer = malloc(d.page_size);
	nr = pread(d.mem, buffer, d.page_size, at);
	if (nr != d.page_size) {
		pthread_mutex_lock(&d.layout);
		nr = pread(d.mem, buffer, d.page_size, at);
		pthread_mutex_unlock(&d.layout);
	}
	return nr == d.page_size ? buffer : NULL;
}

/* Is the page, as read_page() has read it, as in the dump or snapshot? */
static bool is_copied(unsigned long i, const char *now)
{
	return d.pages[i].readable == !!now &&
	       (!now || !memcmp(now, d.copy + i * d.page_size, d.page_size));
}

static void copy_page(unsigned long i)
{
	char *now = read_page(i);

	if (is_copied(i, now))
		return;
	d.changed++;
	d.pages[i].readable = now;
	if (now)
		memcpy(d.copy + i * d.page_size, now, d.page_size);
}

/* Passes over a page that cannot be read now: in async mode only if its memory has failed. */
static void check_page(unsigned long i, const char *message)
{
	char *now = d.pages[i].compared ? read_page(i) : NULL;

	if (d.pages[i].compared && !is_copied(i, now) &&
	    (d.async ? now || !d.pages[i].failed : now && d.pages[i].readable))
		complain(message, d.area + i * d.page_size);
}

static void release_page(unsigned long i)
{
	d.pages[i].released = true;
	d.pages[i].compared = false;
}

static void copy_reported(unsigned long start, unsigned long end)
{
	start -= (unsigned long)d.area;
	end -= (unsigned long)d.area;
	for (unsigned long i = start / d.page_size; i * d.page_size < end; i++) {
		d.reported++;
		copy_page(i);
	}
}

/* Scan from @start to @end with random limits, and go on from walk_end. */
static void scan_piece(unsigned long start, unsigned long end, unsigned int *seed)
{
	struct page_region vec[8];
	struct pm_scan_arg arg = {
		.size = sizeof(arg),
		.flags = PM_SCAN_WP_MATCHING | PM_SCAN_CHECK_WPASYNC,
		.start = start,
		.end = end,
		.vec = (unsigned long)vec,
		.category_mask = PAGE_IS_WRITTEN,
		.return_mask = PAGE_IS_WRITTEN,
	};
	long nr;

	for (; arg.start < end; arg.start = arg.walk_end) {
		arg.vec_len = 1 + draw(seed, ARRAY_SIZE(vec));
		arg.max_pages = draw(seed, 2) ? 0 : 1 + draw(seed, d.size / psize());
		nr = ioctl(d.pagemap, PAGEMAP_SCAN, &arg);
		if (nr < 0 && errno == EPERM) {
			/* a part is moved away; the call does not return what it has found */
			pthread_mutex_lock(&d.layout);
			nr = ioctl(d.pagemap, PAGEMAP_SCAN, &arg);
			pthread_mutex_unlock(&d.layout);
			copy_reported(arg.start, end);
		}
		for (long i = 0; i < nr; i++)
			copy_reported(vec[i].start, vec[i].end);
		if (nr < 0 || arg.walk_end <= arg.start) {
			complain(nr < 0 ? "PAGEMAP_SCAN failed" : "a scan does not advance",
				 (char *)(unsigned long)arg.start);
			return;
		}
	}
}

static void scan_round(unsigned int *seed)
{
	const unsigned long start = (unsigned long)d.area, nr = d.size / psize();

	for (unsigned long page = 0, next; page < nr; page = next) {
		next = page + 1 + draw(seed, nr);
		if (next > nr)
			next = nr;
		scan_piece(start + page * psize(), start + next * psize(), seed);
	}
	/* no report says that a guard or poison has gone */
	for (unsigned long i = 0; i < d.nr; i++)
		if (!d.pages[i].readable)
			copy_page(i);
}

static void check_pages(const char *message)
{
	for (unsigned long i = 0; i < d.nr; i++) {
		pthread_mutex_lock(&d.pages[i].lock);
		check_page(i, message);
		pthread_mutex_unlock(&d.pages[i].lock);
	}
}

/* Scan while @nr operations go on, then once more while none does, and compare. */
static void epoch_async(unsigned long nr, unsigned int *seed)
{
	d.until = d.operations + nr;
	do {
		scan_round(seed);
	} while (d.operations < d.until && !d.complaint);
	pthread_rwlock_wrlock(&d.alone);
	scan_round(seed);
	check_pages("the dump differs from memory: a write was lost");
	pthread_rwlock_unlock(&d.alone);
}

/* Write-protect and copy all pages, and compare them @nr operations later. */
static void epoch_sync(unsigned long nr)
{
	for (unsigned long i = 0; i < d.nr; i++) {
		pthread_mutex_lock(&d.pages[i].lock);
		d.pages[i].compared = false;
		/* a thread that unprotects the page from now on also releases the page */
		d.pages[i].released = false;
		pthread_mutex_unlock(&d.pages[i].lock);
	}
	pthread_mutex_lock(&d.layout);
	if (protect(d.uffd, d.area, d.size, true))
		complain("UFFDIO_WRITEPROTECT failed", d.area);
	pthread_mutex_unlock(&d.layout);
	for (unsigned long i = 0; i < d.nr; i++) {
		pthread_mutex_lock(&d.pages[i].lock);
		if (!d.pages[i].released)
			copy_page(i);
		d.pages[i].compared = !d.pages[i].released && d.pages[i].readable;
		pthread_mutex_unlock(&d.pages[i].lock);
	}
	d.until = d.operations + nr;
	while (d.operations < d.until && !d.complaint)
		sem_wait(&d.enough);
	check_pages("changed without a notification");
}

/* A write is notified: until now, the page must be as in the snapshot. */
static void resolve(unsigned long addr)
{
	struct uffdio_range range = { addr & ~(d.page_size - 1), d.page_size };
	const unsigned long i = (addr - (unsigned long)d.area) / d.page_size;
	/* not in the area: a page that op_move() has left protected */
	pthread_mutex_t *lock = i < d.nr ? &d.pages[i].lock : &d.layout;

	pthread_mutex_lock(lock);
	if (i < d.nr) {
		check_page(i, "changed before the notification");
		release_page(i);
		d.reported++;
	}
	/* the page may have been moved away: wake the thread to try again */
	if (protect(d.uffd, (char *)range.start, range.len, false))
		ioctl(d.uffd, UFFDIO_WAKE, &range);
	pthread_mutex_unlock(lock);
}

static void *handle_events(void *arg)
{
	struct pollfd fds[] = { { d.uffd, POLLIN }, { *(int *)arg, POLLIN } };
	struct uffd_msg msg;

	while (poll(fds, ARRAY_SIZE(fds), -1) > 0 && !fds[1].revents)
		while (read(d.uffd, &msg, sizeof(msg)) == sizeof(msg))
			resolve(msg.arg.pagefault.address);
	return NULL;
}

/* Do the operation on the pages @first to @end. */
static void do_operation(struct worker *w, unsigned long first, unsigned long end, bool alone)
{
	/* a thread that waits for the handler must not hold a lock that the handler takes */
	const bool lock = !d.async && !w->op->touches;
	enum effect effect;

	for (unsigned long i = first; i < end; i++) {
		if (lock)
			pthread_mutex_lock(&d.pages[i].lock);
		if (!w->op->touches)
			d.pages[i].logged[d.pages[i].nr_logged++ % LOG_SIZE] = w->op - operations;
	}
	effect = w->op->run(w, d.area + first * d.page_size, (end - first) * d.page_size);
	w->op->done += effect != FAILED;
	/*
	 * Others may map a page of a file before it goes, which drops the write-protection.
	 * In hugetlb any fault or UFFDIO_WRITEPROTECT in the mapping keeps the page mapped.
	 */
	if (effect == RENEWED && w->op->alone && (!alone || d.kind == HUGETLB))
		effect = DROPPED;
	if (effect == FAILED)
		effect = usual_effect(w->op) == SAME ? SAME : DROPPED;
	for (unsigned long i = first; lock && i < end; i++) {
		if (effect == DROPPED)
			release_page(i);
		else if (effect == RENEWED && d.pages[i].compared)
			copy_page(i);
		pthread_mutex_unlock(&d.pages[i].lock);
	}
}

static struct operation *choose(unsigned int *seed)
{
	unsigned int total = 0, at;

	for_each_operation(op)
		total += op->left_out ? 0 : op->weight;
	at = draw(seed, total);
	for_each_operation(op) {
		if (!op->left_out && at < op->weight)
			return op;
		at -= op->left_out ? 0 : op->weight;
	}
	return operations;
}

static void *work(void *arg)
{
	struct worker *w = arg;

	w->fail_nth = open("/proc/thread-self/fail-nth", O_RDWR);
	while (!d.stop && !d.complaint) {
		unsigned long first = draw(&w->seed, d.nr), end = first + 1;
		bool alone;

		w->op = choose(&w->seed);
		if (w->op->whole || !draw(&w->seed, 12))
			first = 0;
		if (!first || w->op->to_end)
			end = d.nr;
		else if (draw(&w->seed, 2))
			end += draw(&w->seed, 1 + draw(&w->seed, d.nr - first));
		alone = w->op->alone && !d.async && draw(&w->seed, 4);
		if (alone)
			pthread_rwlock_wrlock(&d.alone);
		else
			pthread_rwlock_rdlock(&d.alone);
		do_operation(w, first, end, alone);
		pthread_rwlock_unlock(&d.alone);
		if (++d.operations == d.until)
			sem_post(&d.enough);
	}
	sem_post(&d.enough);
	close(w->fail_nth);
	return NULL;
}

FIXTURE(dump)
{
	int pool;
	struct hugetlb_use use;
};

FIXTURE_VARIANT(dump)
{
	unsigned int kind;
	bool private, thp;
};

FIXTURE_VARIANT_ADD(dump, anon) { .kind = ANON, .private = true };
FIXTURE_VARIANT_ADD(dump, anon_thp) { .kind = ANON, .private = true, .thp = true };
FIXTURE_VARIANT_ADD(dump, shmem) { .kind = SHMEM };
FIXTURE_VARIANT_ADD(dump, shmem_thp) { .kind = SHMEM, .thp = true };
FIXTURE_VARIANT_ADD(dump, shmem_private) { .kind = SHMEM, .private = true };
FIXTURE_VARIANT_ADD(dump, ext4) { .kind = EXT4 };
FIXTURE_VARIANT_ADD(dump, ext4_private) { .kind = EXT4, .private = true };
FIXTURE_VARIANT_ADD(dump, hugetlb) { .kind = HUGETLB };
FIXTURE_VARIANT_ADD(dump, hugetlb_private) { .kind = HUGETLB, .private = true };

/* A file for the area, or -1. */
static int open_file(unsigned int kind)
{
	char name[] = "uffd-wp-dump.XXXXXX";
	struct statfs fs;
	int fd;

	if (kind != EXT4)
		return memfd_create("uffd-wp-dump", kind == HUGETLB ? MFD_HUGETLB : 0);
	fd = mkstemp(name);
	unlink(name);
	return fstatfs(fd, &fs) || fs.f_type != EXT4_SUPER_MAGIC ? -1 : fd;
}

/* Reserve addresses, all with the same alignment.  Small areas lie in two page tables. */
static char *reserve(void)
{
	const unsigned long pmd = psize() / sizeof(long) * psize();
	char *addr = reserve_aligned(d.kind == HUGETLB ? 4 * d.page_size : 2 * pmd);

	return addr && d.kind != HUGETLB && !d.thp ? addr + pmd - d.size / 2 : addr;
}

static struct operation *find(const char *name)
{
	for_each_operation(op)
		if (!strcmp(op->name, name))
			return op;
	return NULL;
}

/* Does MADV_GUARD_INSTALL end? */
static bool guard_install_ends(void)
{
	const int status = guard_install_status(FEATURES | (d.async ? UFFD_FEATURE_WP_ASYNC : 0),
						d.area, d.size);

	if (WIFEXITED(status) && WEXITSTATUS(status))
		find("guard")->left_out = "no guard regions";
	return !WIFSIGNALED(status);
}

/* Choose the operations of this case, and print those that this machine or user has not. */
static void choose_operations(struct __test_metadata *_metadata)
{
	char *list = strdup(getenv("WITHOUT") ?: ""), swaps[4096] = "";

	for_each_operation(op)
		if (!(op->kinds & d.kind) || (op->only_shared && d.private) ||
		    (op->only_async && !d.async) || (op->only_sync && d.async))
			op->left_out = "";
		else if (op->needs && access(op->needs, W_OK))
			op->left_out = op->needs;
	for (char *name = strtok(list, ","); name; name = strtok(NULL, ","))
		if (find(name) && !find(name)->left_out)
			find(name)->left_out = "WITHOUT";
	if (!find("guard")->left_out)
		EXPECT_TRUE(guard_install_ends()) {
			TH_LOG("violation: MADV_GUARD_INSTALL did not come to an end");
			find("guard")->left_out = "does not end";
		}
	if (!prepare_failing())
		TH_LOG("left out: failing mremap(): " FAIL);
	if (!read_file("/proc/swaps", swaps, sizeof(swaps)) || !strchr(swaps, '/'))
		TH_LOG("left out: swap");
	for_each_operation(op)
		if (op->left_out && *op->left_out)
			TH_LOG("left out: %s: %s", op->name, op->left_out);
}

FIXTURE_SETUP(dump)
{
	read_hugetlb_use(&self->use);
	d.kind = variant->kind;
	d.private = variant->private;
	d.thp = variant->thp;
	d.page_size = d.kind == HUGETLB ? default_huge_page_size() : psize();
	d.nr = d.kind == HUGETLB ? HUGE_PAGES : d.thp ? read_pmd_pagesize() / psize() : SMALL_PAGES;
	d.size = d.nr * d.page_size;
	if (!d.size || d.size > 64 * MB)
		SKIP(return, "no huge pages of at most 16 MB");
	/* each page twice, for a private mapping, and some that are poisoned */
	self->pool = 2 * d.nr + 3;
	if (d.kind == HUGETLB && (geteuid() || !hugetlb_setup_default(self->pool)))
		SKIP(return, "no %d hugetlb pages", self->pool);
	ASSERT_EQ(catch_faults(), 0);
	d.pagemap = open("/proc/self/pagemap", O_RDONLY);
	d.mem = open("/proc/self/mem", O_RDONLY);
	ASSERT_TRUE(d.pagemap >= 0 && d.mem >= 0);
	d.area = reserve();
	d.fd = d.kind == ANON ? -1 : open_file(d.kind);
	if (d.kind == EXT4 && d.fd < 0)
		SKIP(return, "run it in a directory on ext4");
	ASSERT_TRUE(d.area && (d.kind == ANON || !ftruncate(d.fd, d.size)));
	/* mremap() of a part of a private hugetlb mapping leaks the reservations of the rest */
	ASSERT_TRUE(map_file_at(d.area, d.size, d.fd, (d.private ? MAP_PRIVATE : MAP_SHARED) |
				(d.kind == HUGETLB && d.private ? MAP_NORESERVE : 0) |
				(d.kind == ANON ? MAP_ANONYMOUS : 0)));
	if (d.kind != HUGETLB)
		madvise(d.area, d.size, d.thp ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	if (d.kind != ANON)
		d.alias = mmap(NULL, d.size, PROT_READ | PROT_WRITE, MAP_SHARED, d.fd, 0);
	d.copy = calloc(1, d.size);
	d.pages = calloc(d.nr, sizeof(*d.pages));
	ASSERT_TRUE(d.alias != MAP_FAILED && d.copy && d.pages);
	for (unsigned long i = 0; i < d.nr; i++)
		d.pages[i] = (struct page) { PTHREAD_MUTEX_INITIALIZER, true, true };
	sem_init(&d.enough, 0, 0);
}

FIXTURE_TEARDOWN(dump)
{
	const char *changed;

	while (d.nr_poisoned)
		unpoison_memory(d.poisoned[--d.nr_poisoned]);
	if (d.kind != HUGETLB)
		return;
	munmap(d.area, d.size);
	munmap(d.alias, d.size);
	close(d.fd);
	/* no failure: memory that fails is lost */
	changed = hugetlb_use_changed(&self->use);
	if (changed)
		TH_LOG("%s", changed);
	hugetlb_restore_settings();
}

static void start_worker(struct __test_metadata *_metadata, struct worker *w)
{
	const unsigned long len = SCRATCH_PAGES * psize();

	w->away = reserve();
	w->source = malloc(d.page_size);
	w->scratch = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_TRUE(w->away && w->source && w->scratch != MAP_FAILED);
	for (unsigned long i = 0; i < d.page_size; i++)
		w->source[i] = rand_r(&w->seed);
	madvise(w->scratch, len, MADV_NOHUGEPAGE);
	ASSERT_EQ(watch(d.uffd, w->scratch, len), 0);
	ASSERT_EQ(pthread_create(&w->thread, NULL, work, w), 0);
}

static void report(struct __test_metadata *_metadata, unsigned int seed)
{
	const struct page *page = &d.pages[d.complained];
	const unsigned int nr = page->nr_logged;

	TH_LOG("seed %u: operations %lu, pages changed %lu, pages reported %lu", seed,
	       d.operations, d.changed, d.reported);
	for_each_operation(op)
		if (!op->left_out && !op->done)
			TH_LOG("never succeeded: %s", op->name);
	EXPECT_EQ(d.nr_complaints, 0) {
		TH_LOG("violation: %s: page %lu", d.complaint, d.complained);
		for (unsigned int i = nr < LOG_SIZE ? 0 : nr - LOG_SIZE; i < nr; i++)
			TH_LOG("... after %s", operations[page->logged[i % LOG_SIZE]].name);
	}
	if (__test_passed(_metadata) && !d.changed)
		SKIP(return, "NO-RESULT: no page was changed");
}

static void run_case(struct __test_metadata *_metadata, bool async)
{
	unsigned int first = env_num("SEED") ?: (time(NULL) * 31 + getpid()) % 1000000 + 1;
	const unsigned long target = env_num("OPERATIONS");
	clock_t cpu_ms;
	struct worker workers[NR_WORKERS] = { };
	unsigned int seed = first;
	pthread_t handler;
	int quit[2];

	d.async = async;
	d.uffd = uffd_open_api(FEATURES | (async ? UFFD_FEATURE_WP_ASYNC : 0));
	if (d.uffd < 0)
		SKIP(return, "userfaultfd with this write-protection: %s", strerror(errno));
	ASSERT_EQ(watch(d.uffd, d.area, d.size), 0);
	TH_LOG("seed %u", first);
	choose_operations(_metadata);
	if (!find("ksm")->left_out) {
		d.ksm_run = read_num(KSM "run");
		write_num(KSM "run", 1);
	}
	ASSERT_EQ(pipe(quit), 0);
	ASSERT_EQ(pthread_create(&handler, NULL, handle_events, &quit[0]), 0);
	for (int i = 0; i < NR_WORKERS; i++) {
		workers[i].seed = first + i + 1;
		start_worker(_metadata, &workers[i]);
	}
	cpu_ms = d.kind == HUGETLB ? HUGETLB_MS : CASE_MS;
	do {
		const unsigned long nr = 1 + draw(&seed, d.kind == HUGETLB ? 30 : 100);

		if (async)
			epoch_async(nr, &seed);
		else
			epoch_sync(nr);
	} while (!d.complaint && (target ? d.operations < target :
				  clock() / (CLOCKS_PER_SEC / 1000) < cpu_ms));
	d.stop = true;
	for (int i = 0; i < NR_WORKERS; i++)
		pthread_join(workers[i].thread, NULL);
	if (async)
		epoch_async(0, &seed);
	else
		check_pages("changed without a notification");
	close(quit[1]);
	pthread_join(handler, NULL);
	if (!find("ksm")->left_out) {
		ksm_stop();
		write_num(KSM "run", d.ksm_run);
	}
	report(_metadata, first);
}

TEST_F_TIMEOUT(dump, async, 60)
{
	run_case(_metadata, true);
}

TEST_F_TIMEOUT(dump, sync, 60)
{
	if (variant->kind == EXT4)
		SKIP(return, "ext4 has no notifications");
	run_case(_metadata, false);
}

int main(int argc, char **argv)
{
	/* the settings are restored here after a case that was killed */
	if (!geteuid())
		hugetlb_save_settings();
	for (struct __fixture_metadata *f = __fixture_list; f && env_num("OPERATIONS"); f = f->next)
		for (struct __test_metadata *t = f->tests; t; t = t->next)
			t->timeout = -1;
	return test_harness_run(argc, argv);
}
