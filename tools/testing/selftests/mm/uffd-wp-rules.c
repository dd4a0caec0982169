// SPDX-License-Identifier: GPL-2.0-only
/*
 * Walk the table of uffd-wp-rules.h: does each operation keep or drop the write-protection of
 * each kind of memory as the table, and userfaultfd.rst, say?
 *
 * A case is an operation in sync or in async mode, and walks all memory.  For each kind of
 * memory it maps and write-protects some pages, does the operation on a part of them, and
 * looks at these pages in three ways:
 *
 *  bit    the uffd bit of pagemap
 *  scan   PAGEMAP_SCAN: is the page PAGE_IS_WRITTEN?
 *  write  sync: is a write notified?  The userfaultfd has UFFD_FEATURE_SIGBUS, so a
 *         notification is a SIGBUS.  async: is the page reported as written after a write?
 *
 * Bit and scan are asked twice, the second time after the pages were read.  In async mode, a
 * page that has other contents than before has to be reported as written, whatever the table
 * says.  Pages that the operation leaves alone have to stay write-protected.
 *
 * A cell that differs from the table is printed, and fails the case.  Cells that could not be
 * walked here, and cells that cannot be, are printed with the reason.
 */
#define _GNU_SOURCE
#include "kselftest_harness.h"
#include <linux/magic.h>
#include <linux/mempolicy.h>
#include <poll.h>
#include <sys/vfs.h>
#include "uffd-wp-util.h"
#include "uffd-wp-rules.h"

#define COMMON (UFFD_FEATURE_WP_HUGETLBFS_SHMEM | UFFD_FEATURE_WP_UNPOPULATED)
#define SYNC_FEATURES (COMMON | UFFD_FEATURE_SIGBUS | UFFD_FEATURE_PAGEFAULT_FLAG_WP)
#define ASYNC_FEATURES (COMMON | UFFD_FEATURE_WP_ASYNC)
#define SPLIT "/sys/kernel/debug/split_huge_pages"
#define UNPOISON "/sys/kernel/debug/hwpoison/unpoison-pfn"
#define KSM_SCANS 10
#define TRIES 10
#define MAX_STEPS 100
#define NAME_SIZE 32

/* pages of an area; of hugetlb, of pages that are larger, and writes that are tried at most */
#define SMALL_PAGES 4
#define HUGE_PAGES 2
#define LARGE (32 * MB)
#define WRITES 8

/* the first byte of each page; of a page of the file where the mapping has its own; of a copy */
#define CONTENT 0x5a
#define BELOW 0x11
#define COPIED 0x33

/* kinds of memory; hugetlb has one for each size of pages */
static const struct {
	enum memory memory;
	const char *name;
} kinds[] = {
	{ ANON, "anon" }, { ANON_THP, "anon_thp" },
	{ SHMEM, "shmem" }, { SHMEM_THP, "shmem_thp" },
	{ SHMEM_PRIVATE, "shmem_private" }, { SHMEM_OWN, "shmem_own" },
	{ EXT4, "ext4" }, { EXT4_PRIVATE, "ext4_private" }, { EXT4_OWN, "ext4_own" },
	{ HUGETLB, "hugetlb" }, { HUGETLB_PRIVATE, "hugetlb_private" },
	{ HUGETLB_OWN, "hugetlb_own" },
};

/* How an operation went, if it did not fail with an errno, which is positive. */
enum {
	DONE = 0,
	NOT_DONE = -1,	/* this machine or user cannot, see why of the cell */
	FAILED = -2,	/* in another way than with an errno, see why of the cell */
	NEXT_STEP = -3,	/* of an operation in steps: there is nothing to see after this one */
	NO_STEP = -4,	/* of an operation in steps: there is no such step */
};

/* Pages of each of the three ways, as small pages, and writes. */
struct seen {
	unsigned long nr;
	/* before the pages were read, and after */
	unsigned long bits[2], written[2];
	/* with new contents and not reported as written; pages that cannot be read */
	unsigned long unreported, unreadable;
	/* writes that were tried; sync: notified; async: not reported afterwards */
	unsigned long writes, notified, lost;
	/* pages that the operation left alone, and that are not write-protected */
	unsigned long others;
	bool looked;
};

struct cell {
	enum memory memory;
	const struct operation *op;
	bool async;
	char name[NAME_SIZE];
	/* bytes of a page, pages of the area, bytes of the area, and the pages of the operation */
	unsigned long page_size, nr, size, first, end;
	int fd, uffd;
	char *area;
	/* of an operation in steps, from 1 on */
	unsigned int step;
	const char *why;
	/* shared with a child that looks at its own memory */
	struct seen *seen;
};

struct operation {
	const char *name;
	int (*run)(struct cell *cell);
	unsigned long arg;
	/* features of the userfaultfd; a file that says whether kernel and user can do it */
	uint64_t features;
	const char *needs;
	/* the area is a page table's; it is on all pages; on one; it is done in steps */
	bool table, whole, one, steps;
	/* the caller replaces contents and asks for write-protection */
	bool renews;
};

/* The case that runs in this process. */
static struct {
	int pagemap;
	/* cells that were walked, were not done, and cannot be; lines of differences */
	unsigned int walked, not_done, never, differing;
	/* a line for each cell that differs, and for each that was not walked */
	struct lines {
		FILE *stream;
		char *text;
		size_t size;
	} differences, notes;
} t;

static bool is_file(struct cell *c)
{
	return c->memory & FILES;
}

static bool is_hugetlb(struct cell *c)
{
	return c->memory & HUGETLBS;
}

static bool is_thp(struct cell *c)
{
	return c->memory & THPS;
}

static int map_flags(struct cell *c)
{
	return (c->memory & SHARED ? MAP_SHARED : MAP_PRIVATE) | (is_file(c) ? 0 : MAP_ANONYMOUS);
}

static uint64_t features(struct cell *c)
{
	return (c->async ? ASYNC_FEATURES : SYNC_FEATURES) | c->op->features;
}

/* Where the pages of the operation begin, and their bytes. */
static char *from(struct cell *c)
{
	return c->area + c->first * c->page_size;
}

static unsigned long len(struct cell *c)
{
	return (c->end - c->first) * c->page_size;
}

static int watch(struct cell *c, char *addr)
{
	return uffd_register(c->uffd, addr, c->size, false, true, false);
}

/* The errno of a system call that has failed, or DONE */
static int done(int ret)
{
	return ret ? errno : DONE;
}

static int not_done(struct cell *c, const char *why)
{
	c->why = why;
	return NOT_DONE;
}

static int failed(struct cell *c, const char *why)
{
	c->why = why;
	return FAILED;
}

/*
 * How many small pages in @size bytes at @addr are PAGE_IS_WRITTEN?  -1UL on error.  @map, or
 * NULL, has an element for each small page.  The elements of pages that are written are set.
 */
static unsigned long map_written(char *addr, unsigned long size, bool *map)
{
	struct page_region vec[16];
	struct pm_scan_arg arg = {
		.size = sizeof(arg),
		.start = (unsigned long)addr,
		.end = (unsigned long)addr + size,
		.vec = (unsigned long)vec,
		.vec_len = ARRAY_SIZE(vec),
		.category_mask = PAGE_IS_WRITTEN,
		.return_mask = PAGE_IS_WRITTEN,
	};
	unsigned long nr = 0;

	for (; arg.start < arg.end; arg.start = arg.walk_end) {
		const long regions = ioctl(t.pagemap, PAGEMAP_SCAN, &arg);

		if (regions < 0 || arg.walk_end <= arg.start)
			return -1UL;
		for (long i = 0; i < regions; i++) {
			const unsigned long pages = (vec[i].end - vec[i].start) / psize();

			nr += pages;
			if (map)
				memset(map + (vec[i].start - (unsigned long)addr) / psize(), true,
				       pages);
		}
	}
	return nr;
}

static unsigned long count_written(char *addr, unsigned long size)
{
	return map_written(addr, size, NULL);
}

/* Write-protect the area, by PAGEMAP_SCAN in async mode. */
static bool protect_area(struct cell *c)
{
	struct pm_scan_arg arg = {
		.size = sizeof(arg),
		.flags = PM_SCAN_WP_MATCHING | PM_SCAN_CHECK_WPASYNC,
		.start = (unsigned long)c->area,
		.end = (unsigned long)c->area + c->size,
		.category_mask = PAGE_IS_WRITTEN,
	};

	if (c->async)
		return ioctl(t.pagemap, PAGEMAP_SCAN, &arg) >= 0;
	return !protect(c->uffd, c->area, c->size, true);
}

/* Read each page of the area. */
static void touch(struct cell *c)
{
	for (unsigned long i = 0; i < c->nr; i++)
		read_signal(c->area + i * c->page_size);
}

/* Try to write to some of the pages. */
static void look_by_writing(struct cell *c, struct seen *s)
{
	const unsigned long pages = c->end - c->first;
	const unsigned long every = pages > WRITES ? pages / WRITES : 1;

	for (unsigned long i = c->first; i < c->end; i += every) {
		char *page = c->area + i * c->page_size;

		s->writes++;
		s->notified += write_signal(page) == SIGBUS;
		if (c->async)
			s->lost += count_bits(t.pagemap, page, psize()) ||
				   count_written(page, psize()) != 1;
	}
}

/* Look at the pages in all ways. */
static void look(struct cell *c, struct seen *s)
{
	const unsigned long before = c->first * c->page_size;
	const unsigned long after = c->size - c->end * c->page_size;
	/* the entries of other pages go with a PMD; see the table */
	const bool others = !is_thp(c) && !c->op->whole;
	bool *reported = calloc(len(c) / psize(), sizeof(*reported));

	s->looked = true;
	s->nr = len(c) / psize();
	s->bits[0] = count_bits(t.pagemap, from(c), len(c));
	s->written[0] = map_written(from(c), len(c), reported);
	for (unsigned long i = c->first; i < c->end; i++) {
		char *page = c->area + i * c->page_size;

		if (read_signal(page))
			s->unreadable++;
		else if (*page != CONTENT)
			s->unreported += !reported[(page - from(c)) / psize()];
	}
	free(reported);
	s->bits[1] = count_bits(t.pagemap, from(c), len(c));
	s->written[1] = count_written(from(c), len(c));
	look_by_writing(c, s);
	if (others)
		s->others = (before + after) / psize() -
			    count_bits(t.pagemap, c->area, before) -
			    count_bits(t.pagemap, c->area + c->size - after, after) +
			    count_written(c->area, before) +
			    count_written(c->area + c->size - after, after);
}

/* The pages of a cell: how many of @nr are write-protected? */
static const char *say(unsigned long nr, unsigned long protected)
{
	return protected == nr ? "kept" : protected ? "partly" : "dropped";
}

static const char *say_write(struct cell *c, const struct seen *s)
{
	if (c->async)
		return s->lost ? "lost" : "reported";
	return s->notified == s->writes ? "notified" : s->notified ? "partly" : "silent";
}

/* Is all of it as the table wants it? */
static bool agrees(struct cell *c, enum answer want, const struct seen *s)
{
	const bool kept = want == KEPT || want == REFUSED;

	if (s->others || s->unreadable || (c->async && (s->lost || s->notified)) ||
	    (c->async && s->unreported && !c->op->renews))
		return false;
	for (int i = 0; i < 2; i++) {
		if (s->bits[i] + s->written[i] != s->nr)
			return false;
		if (want != EITHER && s->bits[i] != (kept ? s->nr : 0))
			return false;
	}
	return c->async || want == EITHER || s->notified == (kept ? s->writes : 0);
}

static const char *answer_name(enum answer answer)
{
	static const char * const names[] = {
		[NEVER] = "never", [KEPT] = "kept", [DROPPED] = "dropped",
		[EITHER] = "either", [REFUSED] = "kept",
	};

	return names[answer];
}

/* Begin the line of a cell that differs. */
static FILE *differs(struct cell *c, enum answer want)
{
	FILE *f = t.differences.stream;

	t.differing++;
	fprintf(f, "%s: want %s: ", c->name, answer_name(want));
	if (c->op->steps)
		fprintf(f, "step %u: ", c->step);
	return f;
}

/* Compare what was seen in the cell with its row. */
static void judge_seen(struct cell *c, enum answer want)
{
	const struct seen *s = c->seen;
	FILE *f;

	if (agrees(c, want, s))
		return;
	f = differs(c, want);
	fprintf(f, "bit %s, scan %s, write %s", say(s->nr, s->bits[0]),
		say(s->nr, s->nr - s->written[0]), say_write(c, s));
	if (s->bits[1] != s->bits[0] || s->written[1] != s->written[0])
		fprintf(f, "; after a read: bit %s, scan %s", say(s->nr, s->bits[1]),
			say(s->nr, s->nr - s->written[1]));
	if (s->unreadable)
		fprintf(f, "; %lu pages cannot be read", s->unreadable);
	if (c->async && s->unreported && !c->op->renews)
		fprintf(f, "; new contents of %lu pages not reported as written", s->unreported);
	if (s->others)
		fprintf(f, "; %lu other pages not write-protected", s->others);
	fputs("\n", f);
}

/* The operation returned @ret: compare the cell with its row, after a look at it. */
static void judge(struct cell *c, const struct rule *rule, int ret)
{
	const enum answer want = c->async ? rule->async : rule->sync;

	if (want == REFUSED ? ret == rule->error : ret == DONE) {
		if (!c->seen->looked)
			look(c, c->seen);
		judge_seen(c, want);
	} else if (ret == DONE) {
		fprintf(differs(c, want), "succeeded, and should fail: %s\n",
			strerror(rule->error));
	} else {
		fprintf(differs(c, want), "failed: %s\n",
			ret == FAILED ? c->why : strerror(ret));
	}
}

static int op_advise(struct cell *c)
{
	return done(madvise(from(c), len(c), c->op->arg));
}

static int op_punch(struct cell *c)
{
	return done(fallocate(c->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			      c->first * c->page_size, len(c)));
}

/* Remove the pages, from a file, too. */
static int remove_pages(struct cell *c)
{
	return (is_file(c) ? op_punch(c) : DONE) ?: done(madvise(from(c), len(c), MADV_DONTNEED));
}

/* From the first page of the operation to the end; there are no other pages behind it. */
static int op_truncate(struct cell *c)
{
	return done(ftruncate(c->fd, c->first * c->page_size) ?: ftruncate(c->fd, c->size));
}

/* A write to the file that removes the pages from the page cache. */
static int op_direct(struct cell *c)
{
	char *source = mmap(NULL, len(c), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
			    0);
	char path[64];
	ssize_t nr;
	int fd;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", c->fd);
	fd = open(path, O_RDWR | O_DIRECT);
	if (fd < 0 || source == MAP_FAILED)
		return not_done(c, "no O_DIRECT here");
	memset(source, COPIED, len(c));
	nr = pwrite(fd, source, len(c), c->first * c->page_size);
	munmap(source, len(c));
	close(fd);
	if (nr < 0)
		return errno;
	return nr == (ssize_t)len(c) ? DONE : failed(c, "a short write");
}

/* A shared mapping of the file at addresses that fit a PMD; anonymous memory has none. */
static char *map_alias(struct cell *c)
{
	char *alias = reserve_aligned(c->size);

	return alias && map_file_at(alias, c->size, c->fd, MAP_SHARED) ? alias : NULL;
}

static int op_collapse(struct cell *c)
{
	char *alias = is_file(c) ? map_alias(c) : c->area;
	int ret;

	if (!alias)
		return errno;
	/* dirty pages of a file are not collapsed */
	if (c->memory & EXT4S)
		fsync(c->fd);
	ret = done(madvise_collapse_retry(alias, c->size));
	if (is_file(c))
		munmap(alias, c->size);
	if (ret == EINVAL && c->memory & EXT4S)
		return not_done(c, "this file system has no such large folios");
	return ret;
}

/* Is the page at @pfn in a large folio? */
static bool is_large(unsigned long pfn)
{
	int kpageflags = open("/proc/kpageflags", O_RDONLY);
	uint64_t flags = 0;

	if (kpageflags < 0 || pageflags_get(pfn, kpageflags, &flags))
		flags = 0;
	close(kpageflags);
	return flags & (KPF_COMPOUND_HEAD | KPF_COMPOUND_TAIL);
}

static int op_split(struct cell *c)
{
	const unsigned long pfn = pagemap_get_pfn(t.pagemap, c->area);
	char text[64];

	snprintf(text, sizeof(text), "%d,0x%lx,0x%lx,0", getpid(), (unsigned long)c->area,
		 (unsigned long)c->area + c->size);
	for (int i = 0; i < TRIES && is_large(pfn); i++) {
		int fd = open(SPLIT, O_WRONLY), ret;

		if (fd < 0)
			return errno;
		ret = done(write(fd, text, strlen(text)) < 0);
		close(fd);
		if (ret)
			return ret;
	}
	return is_large(pfn) ? EAGAIN : DONE;
}

static bool has_swap(void)
{
	char text[4096] = "";

	return read_file("/proc/swaps", text, sizeof(text)) && strchr(text, '/');
}

static int op_pageout(struct cell *c)
{
	const bool to_file = c->memory & (EXT4 | EXT4_PRIVATE);

	if (!to_file && !has_swap())
		return not_done(c, "there is no swap");
	/* pages that are written to the file are dirty, and those are not reclaimed here */
	if (to_file && fsync(c->fd))
		return errno;
	for (int i = 0; i < TRIES; i++) {
		if (madvise(from(c), len(c), MADV_PAGEOUT))
			return errno;
		if (!count_entries(t.pagemap, from(c), len(c), PM_PRESENT))
			return DONE;
	}
	return not_done(c, "not all was paged out");
}

static int op_swapin(struct cell *c)
{
	return op_pageout(c) ?: done(madvise(from(c), len(c), MADV_POPULATE_READ));
}

/* Move the folio of the page at @addr to the other node of the first two. */
static int move_page(struct cell *c, char *addr)
{
	void *pages[] = { addr };
	int node, status = -1;

	if (syscall(__NR_move_pages, 0, 1, pages, NULL, &status, 0) || status < 0)
		return not_done(c, "the page has no node");
	node = !status;
	if (syscall(__NR_move_pages, 0, 1, pages, &node, &status, MPOL_MF_MOVE))
		return errno;
	return status == node ? DONE : not_done(c, "the page has not moved");
}

/* By soft offline, which takes the page from the system, if there is only one node. */
static int op_migrate(struct cell *c)
{
	const unsigned long pfn = pagemap_get_pfn(t.pagemap, from(c));
	int ret = EBUSY;

	if (!access("/sys/devices/system/node/node1", F_OK))
		return move_page(c, from(c));
	if (is_thp(c))
		return not_done(c, "soft offline splits a THP, and there is one node");
	if (c->page_size >= LARGE)
		return not_done(c, "a page that is lost is too large");
	if (access(UNPOISON, W_OK))
		return not_done(c, "needs root and CONFIG_HWPOISON_INJECT");
	if (c->memory & EXT4S)
		fsync(c->fd);
	for (int i = 0; i < TRIES && ret == EBUSY; i++)
		ret = done(madvise(from(c), psize(), MADV_SOFT_OFFLINE));
	if (!ret && pagemap_get_pfn(t.pagemap, from(c)) == pfn)
		return not_done(c, "the page has not moved");
	unpoison_memory(pfn);
	return ret;
}

static int op_mprotect(struct cell *c)
{
	return done(mprotect(from(c), len(c), PROT_READ) ?:
		    mprotect(from(c), len(c), PROT_NONE) ?:
		    mprotect(from(c), len(c), PROT_READ | PROT_WRITE));
}

static int op_guard(struct cell *c)
{
	static int status = -1;

	/* v7.3.4 does not return from write-protected memory of a file */
	if (status < 0 && is_file(c))
		status = guard_install_status(features(c), c->area, c->size);
	if (is_file(c) && WIFSIGNALED(status))
		return failed(c, "MADV_GUARD_INSTALL did not come to an end");
	if (madvise(from(c), len(c), MADV_GUARD_INSTALL))
		return errno;
	if (read_signal(from(c)) != SIGSEGV)
		return failed(c, "there is no guard");
	return done(madvise(from(c), len(c), MADV_GUARD_REMOVE));
}

/* Are the pages of the operation one? */
static bool is_merged(struct cell *c)
{
	const unsigned long pfn = pagemap_get_pfn(t.pagemap, from(c));

	for (unsigned long i = 0; i < len(c); i += psize())
		if (pagemap_get_pfn(t.pagemap, from(c) + i) != pfn)
			return false;
	return true;
}

static int op_ksm(struct cell *c)
{
	/* some of the pages are enough */
	if (c->end - c->first > SMALL_PAGES)
		c->end = c->first + SMALL_PAGES;
	if (madvise(from(c), len(c), MADV_MERGEABLE))
		return errno;
	for (int i = 0; i < KSM_SCANS && !is_merged(c); i++)
		if (ksm_start())
			return failed(c, "KSM cannot be started");
	write_num(KSM "run", 0);
	return is_merged(c) ? DONE : not_done(c, "KSM has not merged the pages");
}

static int op_unmerge(struct cell *c)
{
	int ret = op_ksm(c);

	if (!ret)
		ret = done(madvise(from(c), len(c), MADV_UNMERGEABLE));
	return ret ?: is_merged(c) ? failed(c, "the pages are still merged") : DONE;
}

/* UFFDIO_POISON, UFFDIO_ZEROPAGE or UFFDIO_CONTINUE, which have the same argument. */
static int fill_range(struct cell *c, unsigned long request, uint64_t mode)
{
	struct uffdio_zeropage arg = {
		.range = { (unsigned long)from(c), len(c) },
		.mode = mode,
	};

	return done(ioctl(c->uffd, request, &arg));
}

static int op_uffd_poison(struct cell *c)
{
	int ret = done(madvise(from(c), len(c), MADV_DONTNEED)) ?:
		  fill_range(c, UFFDIO_POISON, 0);

	if (!ret && read_signal(from(c)) != SIGBUS)
		return failed(c, "there is no poison");
	return ret ?: done(madvise(from(c), len(c), MADV_DONTNEED));
}

/* Poison pages that are not write-protected, and write-protect them then. */
static int op_poison_protect(struct cell *c)
{
	return done(protect(c->uffd, from(c), len(c), false)) ?:
	       done(madvise(from(c), len(c), MADV_DONTNEED)) ?:
	       fill_range(c, UFFDIO_POISON, 0) ?:
	       done(protect(c->uffd, from(c), len(c), true)) ?:
	       done(madvise(from(c), len(c), MADV_DONTNEED));
}

static int op_hwpoison(struct cell *c)
{
	const unsigned long pfn = pagemap_get_pfn(t.pagemap, from(c));
	int ret;

	if (c->page_size >= LARGE)
		return not_done(c, "a page that is lost is too large");
	if (!madvise_hwpoison(from(c), psize()))
		return errno;
	if (read_signal(from(c)) != SIGBUS && !(c->memory & EXT4S))
		return failed(c, "there is no poison");
	ret = remove_pages(c);
	/* a file system may report lost contents once */
	if (ret == EIO)
		ret = remove_pages(c);
	/* a hugetlb page is lost */
	if (!is_hugetlb(c))
		unpoison_memory(pfn);
	return ret;
}

/* In a child: register the area with a userfaultfd of its own, if it is to be, and look. */
static void look_in_child(struct cell *c, bool registered)
{
	t.pagemap = open("/proc/self/pagemap", O_RDONLY);
	if (!registered) {
		c->uffd = uffd_open_api((c->async ? ASYNC_FEATURES : SYNC_FEATURES));
		if (c->uffd < 0 || watch(c, c->area))
			_exit(1);
	}
	look(c, c->seen);
	/* the table of descriptors may be the parent's */
	close(t.pagemap);
	if (!registered)
		close(c->uffd);
	_exit(0);
}

/* Wait for a child that has looked. */
static int wait_child(struct cell *c, pid_t pid)
{
	int status;

	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return errno;
	return status ? failed(c, "the child could not look") : DONE;
}

static int op_fork(struct cell *c)
{
	pid_t pid = fork();

	if (!pid)
		_exit(0);
	return wait_child(c, pid);
}

static int op_fork_child(struct cell *c)
{
	pid_t pid = fork();

	if (!pid)
		look_in_child(c, false);
	return wait_child(c, pid);
}

/* A thread that reads one event, or closes the userfaultfd in its place. */
struct event {
	int uffd;
	bool unread;
	struct uffd_msg msg;
	pthread_t thread;
};

static void *handle_event(void *arg)
{
	struct event *event = arg;
	struct pollfd fd = { .fd = event->uffd, .events = POLLIN };

	if (poll(&fd, 1, -1) != 1)
		return NULL;
	if (event->unread)
		close(event->uffd);
	else if (read(event->uffd, &event->msg, sizeof(event->msg)) < 0)
		event->msg.event = 0;
	return NULL;
}

/* The thread ends, or has nothing to wait for if the operation has failed. */
static void join_event(struct event *event, bool failed)
{
	if (failed)
		pthread_cancel(event->thread);
	pthread_join(event->thread, NULL);
}

static int op_fork_event(struct cell *c)
{
	struct event event = { .uffd = c->uffd };
	int ret = pthread_create(&event.thread, NULL, handle_event, &event);
	pid_t pid;

	if (ret)
		return ret;
	pid = fork();
	if (!pid)
		look_in_child(c, true);
	ret = wait_child(c, pid);
	join_event(&event, pid < 0);
	if (event.msg.event == UFFD_EVENT_FORK)
		close(event.msg.arg.fork.ufd);
	else if (!ret)
		ret = failed(c, "no event was read");
	return ret;
}

static int op_fork_unread(struct cell *c)
{
	struct event event = { .uffd = c->uffd, .unread = true };
	int ret = pthread_create(&event.thread, NULL, handle_event, &event);
	pid_t pid;

	if (ret)
		return ret;
	/* a copy of the file table would keep the userfaultfd open */
	pid = syscall(__NR_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0);
	if (!pid)
		look_in_child(c, false);
	ret = wait_child(c, pid);
	join_event(&event, pid < 0);
	if (pid >= 0)
		c->uffd = -1;
	return ret;
}

static int move_area(struct cell *c, char *to, int flags)
{
	if (!to)
		return not_done(c, "no addresses");
	return done(mremap(c->area, c->size, c->size, MREMAP_MAYMOVE | MREMAP_FIXED | flags,
			   to) != to);
}

static int op_mremap(struct cell *c)
{
	char *to = reserve_aligned(c->size);
	int ret = move_area(c, to, 0);

	if (!ret) {
		c->area = to;
		ret = done(watch(c, to));
	}
	return ret;
}

static int op_mremap_event(struct cell *c)
{
	struct event event = { .uffd = c->uffd };
	char *to = reserve_aligned(c->size);
	int ret = pthread_create(&event.thread, NULL, handle_event, &event);

	if (ret)
		return ret;
	ret = move_area(c, to, 0);
	join_event(&event, ret);
	if (ret)
		return ret;
	c->area = to;
	return event.msg.event == UFFD_EVENT_REMAP ? DONE : failed(c, "no event was read");
}

/* Step n: the nth allocation of a page fails.  The new addresses need two page tables. */
static int op_mremap_fails(struct cell *c)
{
	const unsigned long half = 1024 * MB;
	char *reserved, *now;
	bool injected;

	if (c->nr < 2)
		return not_done(c, "a single page is not moved in parts");
	reserved = reserve_aligned(2 * half);
	if (!reserved)
		return not_done(c, "no addresses");
	injected = mremap_failing(c->area, c->size, reserved + half - c->page_size, c->step, &now);
	/* the page tables as well: the next step has to allocate them again */
	munmap(reserved, 2 * half);
	if (now == MAP_FAILED)
		return injected ? DONE : failed(c, "mremap() failed by itself");
	return injected && c->step < MAX_STEPS ? NEXT_STEP : NO_STEP;
}

static int op_dontunmap(struct cell *c)
{
	return move_area(c, reserve_aligned(c->size), MREMAP_DONTUNMAP);
}

/* To memory that the same userfaultfd has, and that has no pages yet. */
static int op_move(struct cell *c)
{
	char *to = reserve_aligned(c->size);
	struct uffdio_move arg = { .dst = (unsigned long)to, .src = (unsigned long)c->area };
	int ret = EAGAIN;

	if (!to || !map_file_at(to, c->size, -1, MAP_PRIVATE | MAP_ANONYMOUS))
		return errno;
	if (!is_thp(c))
		madvise(to, c->size, MADV_NOHUGEPAGE);
	if (watch(c, to))
		return errno;
	arg.len = c->size;
	for (int i = 0; i < TRIES && ret == EAGAIN; i++) {
		ret = done(ioctl(c->uffd, UFFDIO_MOVE, &arg));
		/* a part may have been moved */
		if (ret && arg.move > 0) {
			arg.dst += arg.move;
			arg.src += arg.move;
			arg.len -= arg.move;
		}
	}
	c->area = to;
	return ret;
}

static int op_move_swapped(struct cell *c)
{
	return op_pageout(c) ?: op_move(c);
}

static int op_copy(struct cell *c)
{
	char *source = mmap(NULL, len(c), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
			    0);
	struct uffdio_copy arg = {
		.dst = (unsigned long)from(c),
		.src = (unsigned long)source,
		.len = len(c),
		.mode = c->op->arg,
	};
	int ret;

	if (source == MAP_FAILED)
		return errno;
	for (unsigned long i = 0; i < len(c); i += c->page_size)
		source[i] = COPIED;
	ret = remove_pages(c) ?: done(ioctl(c->uffd, UFFDIO_COPY, &arg));
	munmap(source, len(c));
	return ret;
}

static int op_zeropage(struct cell *c)
{
	return remove_pages(c) ?: fill_range(c, UFFDIO_ZEROPAGE, 0);
}

static int op_continue(struct cell *c)
{
	return done(madvise(from(c), len(c), MADV_DONTNEED)) ?:
	       fill_range(c, UFFDIO_CONTINUE, c->op->arg);
}

static int op_unprotect(struct cell *c)
{
	return done(protect(c->uffd, from(c), len(c), false));
}

static int op_unregister(struct cell *c)
{
	return done(uffd_unregister(c->uffd, c->area, c->size) ?: watch(c, c->area));
}

static int op_munmap(struct cell *c)
{
	if (munmap(c->area, c->size) || !map_file_at(c->area, c->size, c->fd, map_flags(c)))
		return errno;
	return done(watch(c, c->area));
}

static const struct operation operations[NR_OPERATIONS] = {
	[OP_dontneed] = { "dontneed", op_advise, MADV_DONTNEED },
	[OP_pgtable] = { "pgtable", op_advise, MADV_DONTNEED, .table = true, .whole = true },
	[OP_remove] = { "remove", op_advise, MADV_REMOVE },
	[OP_punch] = { "punch", op_punch },
	[OP_truncate] = { "truncate", op_truncate },
	[OP_direct] = { "direct", op_direct },
	[OP_collapse] = { "collapse", op_collapse, .table = true, .whole = true },
	[OP_split] = { "split", op_split, .whole = true, .needs = SPLIT },
	[OP_pageout] = { "pageout", op_pageout },
	[OP_swapin] = { "swapin", op_swapin },
	[OP_migrate] = { "migrate", op_migrate, .one = true },
	[OP_mprotect] = { "mprotect", op_mprotect },
	[OP_guard] = { "guard", op_guard },
	[OP_ksm] = { "ksm", op_ksm, .needs = KSM "run" },
	[OP_unmerge] = { "unmerge", op_unmerge, .needs = KSM "run" },
	[OP_hwpoison] = { "hwpoison", op_hwpoison, .one = true, .needs = UNPOISON },
	[OP_uffd_poison] = { "uffd_poison", op_uffd_poison },
	[OP_poison_protect] = { "poison_protect", op_poison_protect },
	[OP_fork] = { "fork", op_fork, .whole = true },
	[OP_fork_child] = { "fork_child", op_fork_child, .whole = true },
	[OP_fork_unread] = { "fork_unread", op_fork_unread, .whole = true,
			     .features = UFFD_FEATURE_EVENT_FORK },
	[OP_fork_event] = { "fork_event", op_fork_event, .whole = true,
			    .features = UFFD_FEATURE_EVENT_FORK },
	[OP_mremap] = { "mremap", op_mremap, .whole = true },
	[OP_mremap_event] = { "mremap_event", op_mremap_event, .whole = true,
			      .features = UFFD_FEATURE_EVENT_REMAP },
	[OP_mremap_fails] = { "mremap_fails", op_mremap_fails, .whole = true, .steps = true,
			      .needs = FAIL "min-order" },
	[OP_dontunmap] = { "dontunmap", op_dontunmap, .whole = true },
	[OP_move] = { "move", op_move, .whole = true },
	[OP_move_swapped] = { "move_swapped", op_move_swapped, .whole = true },
	[OP_copy] = { "copy", op_copy },
	[OP_copy_wp] = { "copy_wp", op_copy, UFFDIO_COPY_MODE_WP, .renews = true },
	[OP_zeropage] = { "zeropage", op_zeropage },
	[OP_continue] = { "continue", op_continue },
	[OP_continue_wp] = { "continue_wp", op_continue, UFFDIO_CONTINUE_MODE_WP, .renews = true },
	[OP_unprotect] = { "unprotect", op_unprotect },
	[OP_unregister] = { "unregister", op_unregister, .whole = true },
	[OP_munmap] = { "munmap", op_munmap, .whole = true },
};

/* The file of the area, or -1 with why it cannot be had. */
static int open_file(struct cell *c)
{
	char name[] = "uffd-wp-rules.XXXXXX";
	struct statfs fs;
	int fd;

	if (!(c->memory & EXT4S))
		return memfd(is_hugetlb(c) ? c->page_size : 0);
	fd = mkstemp(name);
	if (fd >= 0)
		unlink(name);
	if (fd >= 0 && (fstatfs(fd, &fs) || fs.f_type != EXT4_SUPER_MAGIC)) {
		close(fd);
		fd = -1;
	}
	if (fd < 0)
		not_done(c, "needs a directory on ext4");
	return fd;
}

/* Have a page of CONTENT everywhere, and in a private mapping its own page or the file's. */
static bool fill(struct cell *c)
{
	const bool private = !(c->memory & (SHARED | ANONS));
	char *alias = private ? map_alias(c) : NULL;

	if (private && !alias)
		return false;
	for (unsigned long i = 0; alias && i < c->size; i += c->page_size)
		alias[i] = c->memory & OWN ? BELOW : CONTENT;
	if (alias)
		munmap(alias, c->size);
	for (unsigned long i = 0; i < c->size; i += c->page_size)
		if (c->memory & PRIVATE)
			FORCE_READ(c->area[i]);
		else
			c->area[i] = CONTENT;
	if (!is_thp(c))
		return true;
	return !madvise_collapse_retry(c->area, c->size) &&
	       (is_file(c) ? check_huge_shmem(c->area, c->size, 1, c->size) :
			     check_huge_anon(c->area, c->size, 1, c->size));
}

/* Map the area of the cell and fill it; false with why, or with errno. */
static bool map_area(struct cell *c)
{
	const unsigned long pmd = read_pmd_pagesize();

	if (!is_hugetlb(c))
		c->page_size = psize();
	if ((is_thp(c) || c->op->table) && (!pmd || pmd > LARGE)) {
		not_done(c, "no huge pages of at most 32 MB");
		return false;
	}
	c->nr = is_thp(c) || (c->op->table && !is_hugetlb(c)) ? pmd / psize() :
		!is_hugetlb(c) ? SMALL_PAGES : c->page_size < LARGE ? HUGE_PAGES : 1;
	c->size = c->nr * c->page_size;
	/* the first page is left alone, if that can be */
	c->first = !c->op->whole && !is_thp(c) && c->nr > 1;
	c->end = c->op->one ? c->first + 1 : c->nr;
	/* of the file, of the mapping itself, and of a child */
	if (is_hugetlb(c) && !pool_grow(c->page_size, 3 * c->nr)) {
		not_done(c, "the pool has not enough pages");
		return false;
	}
	c->fd = is_file(c) ? open_file(c) : -1;
	c->area = reserve_aligned(c->size);
	if (c->why || !c->area || (is_file(c) && (c->fd < 0 || ftruncate(c->fd, c->size))) ||
	    !map_file_at(c->area, c->size, c->fd, map_flags(c)))
		return false;
	if (!is_hugetlb(c))
		madvise(c->area, c->size, is_thp(c) ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	if (!fill(c))
		return false;
	/* MADV_COLLAPSE refuses a mapping with MADV_NOHUGEPAGE */
	if (!is_hugetlb(c) && c->op->run == op_collapse)
		madvise(c->area, c->size, MADV_HUGEPAGE);
	return true;
}

/* Write-protect the area with a new userfaultfd. */
static bool write_protect(struct cell *c)
{
	c->uffd = uffd_open_api(features(c));
	if (c->uffd < 0 || watch(c, c->area) || !protect_area(c))
		return false;
	/* in sync mode, that has unmapped a THP of a file */
	touch(c);
	return count_bits(t.pagemap, c->area, c->size) == c->size / psize() &&
	       !count_written(c->area, c->size);
}

static void tear_down(struct cell *c)
{
	if (c->uffd >= 0)
		close(c->uffd);
	if (c->area)
		munmap(c->area, c->size);
	if (c->fd >= 0)
		close(c->fd);
}

/* Walk the cell, or a step of it: how did the operation go? */
static int walk(struct cell *c, const struct rule *rule)
{
	int ret = NOT_DONE;

	c->fd = -1;
	c->uffd = -1;
	memset(c->seen, 0, sizeof(*c->seen));
	if (!map_area(c)) {
		not_done(c, c->why ?: strerror(errno));
	} else if (!write_protect(c)) {
		ret = FAILED;
		fprintf(differs(c, KEPT), "not write-protected at first\n");
	} else {
		ret = c->op->run(c);
		/* a shortage says nothing of the rule */
		if (ret == EAGAIN || ret == EBUSY || ret == ENOMEM)
			ret = not_done(c, strerror(ret));
		if (ret >= DONE || ret == FAILED)
			judge(c, rule, ret);
	}
	tear_down(c);
	return ret;
}

/* The row for an operation on @memory; NULL if there is none. */
static const struct rule *find_rule(enum operation_id op, enum memory memory)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(rules); i++)
		if (rules[i].op == op && rules[i].memory & memory)
			return &rules[i];
	return NULL;
}

/* Name a cell by its memory: hugetlb_2m_own. */
static void name_cell(struct cell *c, const char *kind)
{
	const unsigned long kb = c->page_size / KB;
	const int prefix = strlen("hugetlb");

	if (is_hugetlb(c))
		snprintf(c->name, sizeof(c->name), "%.*s_%lu%c%s", prefix, kind,
			 kb < KB ? kb : kb / KB, kb < KB ? 'k' : 'm', kind + prefix);
	else
		snprintf(c->name, sizeof(c->name), "%s", kind);
}

/* Walk the cell of one kind of memory, with hugetlb pages of one size. */
static void walk_memory(enum operation_id op, bool async, unsigned int kind,
			unsigned long hugetlb, struct seen *seen)
{
	const struct rule *rule = find_rule(op, kinds[kind].memory);
	unsigned int step = 0;
	bool walked = false;
	struct cell cell;
	int ret;

	do {
		cell = (struct cell) {
			.memory = kinds[kind].memory,
			.op = &operations[op],
			.async = async,
			.page_size = hugetlb,
			.step = ++step,
			.seen = seen,
		};
		name_cell(&cell, kinds[kind].name);
		ret = walk(&cell, rule);
		walked |= ret >= DONE || ret == FAILED;
	} while (operations[op].steps && (ret == DONE || ret == NEXT_STEP));
	if (walked) {
		t.walked++;
	} else {
		t.not_done++;
		fprintf(t.notes.stream, "not done: %s: %s\n", cell.name,
			cell.why ?: "no step of it");
	}
}

static void cannot_be(const char *name, const char *reason)
{
	t.never++;
	fprintf(t.notes.stream, "cannot be: %s: %s\n", name, reason);
}

/* Walk all cells of an operation in one mode. */
static void walk_all(enum operation_id op, bool async, struct seen *seen)
{
	unsigned long sizes[16];
	const int nr_sizes = detect_hugetlb_page_sizes(sizes, ARRAY_SIZE(sizes));

	for (unsigned int kind = 0; kind < ARRAY_SIZE(kinds); kind++) {
		const struct rule *rule = find_rule(op, kinds[kind].memory);

		if (!async && kinds[kind].memory & EXT4S) {
			cannot_be(kinds[kind].name,
				  "vma_can_userfault() wants vm_uffd_ops in sync mode");
		} else if ((async ? rule->async : rule->sync) == NEVER) {
			cannot_be(kinds[kind].name, rule->reason);
		} else if (!(kinds[kind].memory & HUGETLBS)) {
			walk_memory(op, async, kind, 0, seen);
		} else {
			for (int i = 0; i < nr_sizes; i++)
				/* it takes a second to clear larger ones */
				if (sizes[i] <= LARGE)
					walk_memory(op, async, kind, sizes[i], seen);
		}
	}
}

FIXTURE(rules)
{
	struct seen *seen;
	unsigned long ksm_run, zero_pages;
};

FIXTURE_VARIANT(rules)
{
	enum operation_id op;
};

#define OPERATION_VARIANT(name, text, same) FIXTURE_VARIANT_ADD(rules, name) { .op = OP_##name };
OPERATIONS(OPERATION_VARIANT)

FIXTURE_SETUP(rules)
{
	const struct operation *op = &operations[variant->op];

	if (op->needs && access(op->needs, W_OK))
		SKIP(return, "needs root and %s", op->needs);
	ASSERT_EQ(catch_faults(), 0);
	/* MADV_PAGEOUT leaves pages alone that are in the LRU batch of another CPU */
	pin_to_first();
	t.pagemap = open("/proc/self/pagemap", O_RDONLY);
	ASSERT_GE(t.pagemap, 0);
	t.differences.stream = open_memstream(&t.differences.text, &t.differences.size);
	t.notes.stream = open_memstream(&t.notes.text, &t.notes.size);
	ASSERT_TRUE(t.differences.stream && t.notes.stream);
	self->seen = mmap(NULL, psize(), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
			  0);
	ASSERT_NE(self->seen, MAP_FAILED);
	if (op->run == op_mremap_fails)
		ASSERT_TRUE(prepare_failing());
	if (op->run == op_ksm || op->run == op_unmerge) {
		self->ksm_run = read_num(KSM "run");
		self->zero_pages = read_num(KSM "use_zero_pages");
		write_num(KSM "use_zero_pages", 0);
	}
}

FIXTURE_TEARDOWN(rules)
{
	const struct operation *op = &operations[variant->op];

	if (op->run == op_ksm || op->run == op_unmerge) {
		ksm_stop();
		write_num(KSM "run", self->ksm_run);
		write_num(KSM "use_zero_pages", self->zero_pages);
	}
	hugetlb_restore_settings();
}

static void print_lines(struct __test_metadata *_metadata, struct lines *lines)
{
	char *rest = NULL;

	fflush(lines->stream);
	for (char *line = strtok_r(lines->text, "\n", &rest); line;
	     line = strtok_r(NULL, "\n", &rest))
		TH_LOG("%s", line);
}

static void run_case(struct __test_metadata *_metadata, enum operation_id op, bool async,
		     struct seen *seen)
{
	int uffd = uffd_open_api((async ? ASYNC_FEATURES : SYNC_FEATURES) |
				 operations[op].features);

	if (uffd < 0)
		SKIP(return, "userfaultfd with these features: %s", strerror(errno));
	close(uffd);
	walk_all(op, async, seen);
	print_lines(_metadata, &t.notes);
	TH_LOG("cells: %u walked, %u not done, %u cannot be; differences: %u", t.walked,
	       t.not_done, t.never, t.differing);
	EXPECT_EQ(t.differing, 0) {
		print_lines(_metadata, &t.differences);
	}
	if (__test_passed(_metadata) && !t.walked)
		SKIP(return, "no cell could be walked");
}

TEST_F_TIMEOUT(rules, sync, 50)
{
	run_case(_metadata, variant->op, false, self->seen);
}

TEST_F_TIMEOUT(rules, async, 50)
{
	run_case(_metadata, variant->op, true, self->seen);
}

/* Does a row say the same as the row of another operation?  NEVER goes with everything. */
static bool same_answer(enum answer one, enum answer other)
{
	return one == other || one == NEVER || other == NEVER;
}

/*
 * Each operation has one row for each kind of memory, and a row that is NEVER has a reason.
 * An operation that the document leaves out has the answers of one that it has.
 */
TEST(table)
{
#define OPERATION_SAME(name, text, same) [OP_##name] = OP_##same,
	static const enum operation_id sames[] = { OPERATIONS(OPERATION_SAME) };

	for (unsigned int op = 0; op < NR_OPERATIONS; op++) {
		ASSERT_NE(operations[op].run, NULL);
		for (unsigned int kind = 0; kind < ARRAY_SIZE(kinds); kind++) {
			const struct rule *rule = find_rule(op, kinds[kind].memory);
			const struct rule *same = find_rule(sames[op], kinds[kind].memory);
			unsigned int rows = 0;

			for (unsigned int i = 0; i < ARRAY_SIZE(rules); i++)
				rows += rules[i].op == op && rules[i].memory & kinds[kind].memory;
			ASSERT_EQ(rows, 1) {
				TH_LOG("%u rows: %s, %s", rows, operations[op].name,
				       kinds[kind].name);
			}
			EXPECT_TRUE(same && same_answer(rule->sync, same->sync) &&
				    same_answer(rule->async, same->async)) {
				TH_LOG("another answer: %s, %s", operations[op].name,
				       kinds[kind].name);
			}
		}
	}
	for (unsigned int i = 0; i < ARRAY_SIZE(rules); i++) {
		const struct rule *rule = &rules[i];

		EXPECT_EQ(rule->sync == NEVER && rule->async == NEVER, !!rule->reason);
		EXPECT_EQ(rule->sync == REFUSED || rule->async == REFUSED, !!rule->error);
		EXPECT_EQ(rule->sync == NEVER && rule->async == NEVER, !rule->called);
	}
}

int main(int argc, char **argv)
{
	/* the settings are restored here after a case that was killed */
	if (!geteuid())
		hugetlb_save_settings();
	return test_harness_run(argc, argv);
}
