// SPDX-License-Identifier: GPL-2.0-only
/*
 * Everything that reaches user memory through get_user_pages() must reach the
 * page that is mapped at the address.  Each page of a folio has contents of its
 * own: read every page through every path and compare, write every other page
 * and look at all of them afterwards.
 *
 * Each test has one path.  It walks through the kinds of memory in one order, so that
 * the first kind that fails ends the test.
 */
#define _GNU_SOURCE
#include "kselftest_harness.h"
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/magic.h>
#include <linux/memfd.h>
#include <linux/mman.h>
#include <mntent.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include "../../../../mm/gup_test.h"
#include "../../../include/io_uring/mini_liburing.h"
#include "hugepage_settings.h"
#include "race_util.h"

/* pages of a folio that are waited on; all pages of a small folio are */
#define MAX_WAITS	16
/* folios: the memory, and the copies of parent and child after a fork */
#define NR_HUGETLB	4
#define FUTEX_SECONDS	20
/* the word of a page that ptrace and futex use */
#define WORD		7
/* where a word has the number of its page, and the largest number */
#define PAGE_POS	14
#define MAX_PAGE	0xffffUL
#define NO_PAGE		(~0U)

enum backing { SMALL, THP, HUGETLB };

/* A kind of memory; size: of the folio in bytes, 0 is the size of a PMD. */
struct kind {
	const char *name;
	enum backing backing;
	unsigned long size;
	bool private;
};

static const struct kind kinds[] = {
	{ .name = "small pages", .backing = SMALL, .size = 64UL << 10 },
	{ .name = "THP of 64 KiB", .backing = THP, .size = 64UL << 10, .private = true },
	{ .name = "THP of a PMD", .backing = THP, .private = true },
	{ .name = "hugetlb of 64 KiB, shared", .backing = HUGETLB, .size = 64UL << 10 },
	{ .name = "hugetlb of 64 KiB, private", .backing = HUGETLB, .size = 64UL << 10,
	  .private = true },
	{ .name = "hugetlb of 2 MiB, shared", .backing = HUGETLB, .size = 2UL << 20 },
	{ .name = "hugetlb of 2 MiB, private", .backing = HUGETLB, .size = 2UL << 20,
	  .private = true },
};

/* Mapped memory of a kind. */
struct memory {
	const struct kind *kind;
	unsigned long size;
	unsigned int nr;	/* its pages */
	int fd;
	char *area;
	char *alias;		/* a shared mapping has a second one */
	char *buf;		/* one page, aligned as O_DIRECT wants it */
};

static bool hugetlb_has_size(unsigned long size)
{
	unsigned long sizes[10];
	int nr = detect_hugetlb_page_sizes(sizes, 10);

	while (nr--)
		if (sizes[nr] == size)
			return true;
	return false;
}

/* Runs in the parent of all tests, whose exit restores the settings. */
static void __attribute__((constructor)) setup_hugepages(void)
{
	const unsigned long sizes[] = { 64UL << 10, 2UL << 20 };
	struct thp_settings settings;

	hugepage_save_settings(thp_available(), hugetlb_available());
	for (int i = 0; i < 2; i++)
		if (hugetlb_has_size(sizes[i]) && hugetlb_free_pages(sizes[i]) < NR_HUGETLB)
			hugetlb_set_nr_pages(sizes[i], hugetlb_nr_pages(sizes[i]) + NR_HUGETLB);
	if (thp_available()) {
		int order = sz2ord(64UL << 10, psize());

		thp_read_settings(&settings);
		settings.thp_enabled = THP_MADVISE;
		settings.hugepages[order].enabled = THP_INHERIT;
		settings.hugepages[sz2ord(read_pmd_pagesize(), psize())].enabled = THP_INHERIT;
		thp_push_settings(&settings);
	}
}

/* A word names its page, and the round that wrote it; the setup is round 0. */
static unsigned long word_of(unsigned long page, unsigned long round, unsigned long word)
{
	return (round + 1) << (sizeof(long) * 8 - 2) | page << PAGE_POS | word;
}

static void fill_page(char *addr, unsigned int page, unsigned int round)
{
	for (unsigned int i = 0; i < psize() / sizeof(long); i++)
		((unsigned long *)addr)[i] = word_of(page, round, i);
}

/* The page that has these contents in @round, or NO_PAGE. */
static unsigned int page_of(const char *addr, unsigned int round)
{
	const unsigned long *words = (const unsigned long *)addr;
	unsigned int page = words[0] >> PAGE_POS & MAX_PAGE;

	for (unsigned int i = 0; i < psize() / sizeof(long); i++)
		if (words[i] != word_of(page, round, i))
			return NO_PAGE;
	return page;
}

static char *page_at(struct memory *mem, unsigned int page)
{
	return mem->area + page * psize();
}

#define LOG_PAGE(page)	TH_LOG("%s: page %u of %u", mem->kind->name, page, mem->nr)

/* Is all of the memory one folio, at the address that its PFNs want? */
static bool is_one_folio(struct memory *mem)
{
	int orders[NR_ORDERS] = {}, pagemap = open("/proc/self/pagemap", O_RDONLY);
	int flags = open("/proc/kpageflags", O_RDONLY);
	int order = sz2ord(mem->size, psize());
	bool one = pagemap >= 0 && flags >= 0 &&
		!gather_folio_orders(mem->area, mem->size, pagemap, flags, orders,
				     NR_ORDERS) &&
		orders[order] == 1;

	close(pagemap);
	close(flags);
	return one;
}

/* Does the machine have this kind of memory? A folio of one page is no kind of its own. */
static bool has_kind(const struct kind *kind)
{
	if (kind->size && kind->size < 2 * psize())
		return false;
	switch (kind->backing) {
	case THP:
		if (!kind->size || !thp_available())
			return thp_available();
		return thp_supported_orders() & 1UL << sz2ord(kind->size, psize());
	case HUGETLB:
		return hugetlb_has_size(kind->size);
	default:
		return true;
	}
}

/* Map memory of that kind and fill its pages; false, and the reason, if there is no folio. */
static bool map_memory(struct __test_metadata *_metadata, struct memory *mem,
		       const struct kind *kind)
{
	int flags = kind->private ? MAP_PRIVATE : MAP_SHARED;
	unsigned int memfd_flags = 0;

	*mem = (struct memory) { .kind = kind, .fd = -1, .size = kind->size };
	if (!mem->size)
		mem->size = read_pmd_pagesize();
	mem->nr = mem->size / psize();
	if (kind->backing == HUGETLB) {
		if (hugetlb_free_pages(mem->size) < NR_HUGETLB)
			SKIP(return false, "fewer than %d free pages: %s", NR_HUGETLB, kind->name);
		memfd_flags = MFD_HUGETLB |
			(unsigned int)__builtin_ctzl(mem->size) << MFD_HUGE_SHIFT;
	}
	ASSERT_EQ(0, posix_memalign((void **)&mem->buf, psize(), psize()));
	if (kind->backing == THP) {
		flags |= MAP_ANONYMOUS;
	} else {
		mem->fd = memfd_create("gup_content", memfd_flags);
		ASSERT_GE(mem->fd, 0);
		ASSERT_EQ(0, ftruncate(mem->fd, mem->size));
	}
	mem->area = reserve_aligned(mem->size);
	ASSERT_NE(NULL, mem->area);
	ASSERT_TRUE(map_file_at(mem->area, mem->size, mem->fd, flags));
	if (kind->backing == THP)
		ASSERT_EQ(0, madvise(mem->area, mem->size, MADV_HUGEPAGE));
	for (unsigned int i = 0; i < mem->nr; i++)
		fill_page(page_at(mem, i), i, 0);
	if (kind->backing == THP && !is_one_folio(mem))
		SKIP(return false, "no folio: %s", kind->name);
	if (!kind->private) {
		mem->alias = mmap(NULL, mem->size, PROT_READ | PROT_WRITE, MAP_SHARED,
				  mem->fd, 0);
		ASSERT_NE(MAP_FAILED, mem->alias);
	}
	return true;
}

static void unmap_memory(struct memory *mem)
{
	munmap(mem->area, mem->size);
	if (mem->alias)
		munmap(mem->alias, mem->size);
	if (mem->fd >= 0)
		close(mem->fd);
	free(mem->buf);
}

/* Call @check with memory of each kind that the machine has, and say how many they are. */
static void walk_kinds(struct __test_metadata *_metadata,
		       void (*check)(struct __test_metadata *_metadata, struct memory *mem))
{
	unsigned int walked = 0;

	for (unsigned int i = 0; i < ARRAY_SIZE(kinds); i++) {
		struct memory memory;

		if (!has_kind(&kinds[i]))
			continue;
		if (!map_memory(_metadata, &memory, &kinds[i]))
			return;
		check(_metadata, &memory);
		unmap_memory(&memory);
		walked++;
	}
	TH_LOG("%u of %u kinds of memory", walked, (unsigned int)ARRAY_SIZE(kinds));
}

/* The odd pages must have been written in round 1, and the even ones not. */
static void check_written(struct __test_metadata *_metadata, struct memory *mem)
{
	for (unsigned int i = 0; i < mem->nr; i++) {
		unsigned int page = page_of(page_at(mem, i), i & 1);

		ASSERT_EQ(page, i) LOG_PAGE(i);
	}
}

/* Pin a page each, then all, and compare what gup_test finds in the pages. */
static void check_pins(struct __test_metadata *_metadata, struct memory *mem,
		       unsigned int flags)
{
	int gup_test = open("/sys/kernel/debug/gup_test", O_RDWR);
	char *all = malloc(mem->size);

	if (gup_test < 0)
		SKIP(return, "gup_test: %s", strerror(errno));
	ASSERT_NE(all, NULL);
	for (unsigned int write = 0; write <= PIN_LONGTERM_TEST_FLAG_USE_WRITE; write++) {
		struct pin_longterm_test arg = { .flags = flags | write };
		__u64 to = (unsigned long)all;

		for (unsigned int i = 0; i <= mem->nr; i++) {
			/* at last all pages by one call */
			bool whole = i == mem->nr;
			unsigned int first = whole ? 0 : i;
			unsigned int last = whole ? i - 1 : i;

			arg.addr = (unsigned long)page_at(mem, first);
			arg.size = (last - first + 1) * psize();
			ASSERT_EQ(ioctl(gup_test, PIN_LONGTERM_TEST_START, &arg), 0);
			ASSERT_EQ(ioctl(gup_test, PIN_LONGTERM_TEST_READ, &to), 0);
			ASSERT_EQ(ioctl(gup_test, PIN_LONGTERM_TEST_STOP), 0);
			for (unsigned int j = first; j <= last; j++) {
				ASSERT_EQ(page_of(all + (j - first) * psize(), 0), j)
					TH_LOG("%s: page %u of %u, write %u, all %d",
					       mem->kind->name, j, mem->nr, write, whole);
			}
		}
	}
	free(all);
	close(gup_test);
}

static void check_gup_fast(struct __test_metadata *_metadata, struct memory *mem)
{
	check_pins(_metadata, mem, PIN_LONGTERM_TEST_FLAG_USE_FAST);
}

TEST(by_gup_fast)
{
	walk_kinds(_metadata, check_gup_fast);
}

static void check_gup_slow(struct __test_metadata *_metadata, struct memory *mem)
{
	check_pins(_metadata, mem, 0);
}

TEST(by_gup_slow)
{
	walk_kinds(_metadata, check_gup_slow);
}

static void check_vmsplice(struct __test_metadata *_metadata, struct memory *mem)
{
	int pipe_fds[2];

	ASSERT_EQ(pipe(pipe_fds), 0);
	for (unsigned int i = 0; i < mem->nr; i++) {
		struct iovec iov = { page_at(mem, i), psize() };

		ASSERT_EQ(vmsplice(pipe_fds[1], &iov, 1, 0), psize());
		ASSERT_EQ(read(pipe_fds[0], mem->buf, psize()), psize());
		ASSERT_EQ(page_of(mem->buf, 0), i) LOG_PAGE(i);
	}
	close(pipe_fds[0]);
	close(pipe_fds[1]);
}

TEST(by_vmsplice)
{
	walk_kinds(_metadata, check_vmsplice);
}

static void check_process_vm_readv(struct __test_metadata *_metadata, struct memory *mem)
{
	for (unsigned int i = 0; i < mem->nr; i++) {
		struct iovec local = { mem->buf, psize() }, remote = { page_at(mem, i), psize() };

		ssize_t len = process_vm_readv(getpid(), &local, 1, &remote, 1, 0);

		if (len < 0 && errno != EFAULT)
			SKIP(return, "process_vm_readv and _writev: %s", strerror(errno));
		ASSERT_EQ(len, psize());
		ASSERT_EQ(page_of(mem->buf, 0), i) LOG_PAGE(i);
	}
}

TEST(by_process_vm_readv)
{
	walk_kinds(_metadata, check_process_vm_readv);
}

static void check_process_vm_writev(struct __test_metadata *_metadata, struct memory *mem)
{
	for (unsigned int i = 1; i < mem->nr; i += 2) {
		struct iovec local = { mem->buf, psize() }, remote = { page_at(mem, i), psize() };
		ssize_t len;

		fill_page(mem->buf, i, 1);
		len = process_vm_writev(getpid(), &local, 1, &remote, 1, 0);
		if (len < 0 && errno != EFAULT)
			SKIP(return, "process_vm_readv and _writev: %s", strerror(errno));
		ASSERT_EQ(len, psize());
	}
	check_written(_metadata, mem);
}

TEST(by_process_vm_writev)
{
	walk_kinds(_metadata, check_process_vm_writev);
}

static void check_proc_mem_read(struct __test_metadata *_metadata, struct memory *mem)
{
	int fd = open("/proc/self/mem", O_RDONLY);

	ASSERT_GE(fd, 0);
	for (unsigned int i = 0; i < mem->nr; i++) {
		ASSERT_EQ(pread(fd, mem->buf, psize(), (unsigned long)page_at(mem, i)), psize());
		ASSERT_EQ(page_of(mem->buf, 0), i) LOG_PAGE(i);
	}
	close(fd);
}

TEST(by_proc_mem_read)
{
	walk_kinds(_metadata, check_proc_mem_read);
}

static void check_proc_mem_write(struct __test_metadata *_metadata, struct memory *mem)
{
	int fd = open("/proc/self/mem", O_RDWR);

	ASSERT_GE(fd, 0);
	for (unsigned int i = 1; i < mem->nr; i += 2) {
		fill_page(mem->buf, i, 1);
		ASSERT_EQ(pwrite(fd, mem->buf, psize(), (unsigned long)page_at(mem, i)), psize());
	}
	close(fd);
	check_written(_metadata, mem);
}

TEST(by_proc_mem_write)
{
	walk_kinds(_metadata, check_proc_mem_write);
}

/* A file without a name in @dir that reads and writes without the page cache; or -1. */
static int open_direct_in(const char *dir)
{
	struct statfs fs;
	int fd = open(dir, O_TMPFILE | O_RDWR | O_DIRECT, 0600);

	/* tmpfs takes O_DIRECT, and copies through the page cache */
	if (fd >= 0 && (fstatfs(fd, &fs) || fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC)) {
		close(fd);
		return -1;
	}
	return fd;
}

/* The same in the working directory, or else wherever a file system is mounted. */
static int open_direct(void)
{
	FILE *mounts = setmntent("/proc/self/mounts", "r");
	int fd = open_direct_in(".");
	struct mntent *mount;

	if (!mounts)
		return fd;
	while (fd < 0 && (mount = getmntent(mounts)))
		fd = open_direct_in(mount->mnt_dir);
	endmntent(mounts);
	return fd;
}

static void check_direct_write(struct __test_metadata *_metadata, struct memory *mem)
{
	int fd = open_direct();

	if (fd < 0)
		SKIP(return, "no file system with O_DIRECT that can be written to");
	for (unsigned int i = 0; i < mem->nr; i++) {
		ASSERT_EQ(pwrite(fd, page_at(mem, i), psize(), 0), psize());
		ASSERT_EQ(pread(fd, mem->buf, psize(), 0), psize());
		ASSERT_EQ(page_of(mem->buf, 0), i) LOG_PAGE(i);
	}
	close(fd);
}

TEST(by_direct_write)
{
	walk_kinds(_metadata, check_direct_write);
}

static void check_direct_read(struct __test_metadata *_metadata, struct memory *mem)
{
	int fd = open_direct();

	if (fd < 0)
		SKIP(return, "no file system with O_DIRECT that can be written to");
	for (unsigned int i = 1; i < mem->nr; i += 2) {
		fill_page(mem->buf, i, 1);
		ASSERT_EQ(pwrite(fd, mem->buf, psize(), 0), psize());
		ASSERT_EQ(pread(fd, page_at(mem, i), psize(), 0), psize());
	}
	close(fd);
	check_written(_metadata, mem);
}

TEST(by_direct_read)
{
	walk_kinds(_metadata, check_direct_read);
}

/* Read or write @len bytes of buffer 0 of @ring at @addr; the result of the request. */
static int fixed_io(struct io_uring *ring, int opcode, int fd, char *addr, unsigned int len)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
	struct io_uring_cqe *cqe;
	int ret;

	if (!sqe)
		return -EBUSY;
	memset(sqe, 0, sizeof(*sqe));
	sqe->opcode = opcode;
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

/* Unpin the pages now: the end of the ring would unpin them later. */
static void end_fixed_io(struct io_uring *ring)
{
	syscall(__NR_io_uring_register, ring->ring_fd, IORING_UNREGISTER_BUFFERS, NULL, 0);
	io_uring_queue_exit(ring);
}

static void check_io_uring_write_fixed(struct __test_metadata *_metadata, struct memory *mem)
{
	struct iovec iov = { mem->area, mem->size };
	struct io_uring ring;
	int pipe_fds[2];

	if (io_uring_queue_init(1, &ring, 0))
		SKIP(return, "io_uring: %s", strerror(errno));
	ASSERT_EQ(io_uring_register_buffers(&ring, &iov, 1), 0);
	ASSERT_EQ(pipe(pipe_fds), 0);
	for (unsigned int i = 0; i < mem->nr; i++) {
		ASSERT_EQ(fixed_io(&ring, IORING_OP_WRITE_FIXED, pipe_fds[1], page_at(mem, i),
				   psize()), psize());
		ASSERT_EQ(read(pipe_fds[0], mem->buf, psize()), psize());
		ASSERT_EQ(page_of(mem->buf, 0), i) LOG_PAGE(i);
	}
	end_fixed_io(&ring);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
}

TEST(by_io_uring_write_fixed)
{
	walk_kinds(_metadata, check_io_uring_write_fixed);
}

static void check_io_uring_read_fixed(struct __test_metadata *_metadata, struct memory *mem)
{
	struct iovec iov = { mem->area, mem->size };
	struct io_uring ring;
	int pipe_fds[2];

	if (io_uring_queue_init(1, &ring, 0))
		SKIP(return, "io_uring: %s", strerror(errno));
	ASSERT_EQ(io_uring_register_buffers(&ring, &iov, 1), 0);
	ASSERT_EQ(pipe(pipe_fds), 0);
	for (unsigned int i = 1; i < mem->nr; i += 2) {
		fill_page(mem->buf, i, 1);
		ASSERT_EQ(write(pipe_fds[1], mem->buf, psize()), psize());
		ASSERT_EQ(fixed_io(&ring, IORING_OP_READ_FIXED, pipe_fds[0], page_at(mem, i),
				   psize()), psize());
	}
	end_fixed_io(&ring);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
	check_written(_metadata, mem);
}

TEST(by_io_uring_read_fixed)
{
	walk_kinds(_metadata, check_io_uring_read_fixed);
}

/*
 * Stay on one CPU, and free pages there that had a place in a file.  The next page
 * tables are likely to be some of them, and fork() must not take what they say for a
 * share count.  Pages of other files are movable, and the kernel keeps these apart from
 * page tables.
 */
static void free_file_pages(struct __test_metadata *_metadata)
{
	const unsigned long size = 2UL << 20;
	int fd = syscall(__NR_memfd_secret, 0);
	char *addr;

	pin_to_first();
	if (fd < 0)
		SKIP(return, "memfd_secret: %s", strerror(errno));
	ASSERT_EQ(0, ftruncate(fd, size));
	addr = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, addr);
	for (unsigned long i = psize(); i < size; i += psize())
		addr[i] = 1;
	munmap(addr, size);
	close(fd);
}

/* In the tracee: exit with 0 if only WORD of the odd pages is of round 1. */
static void check_poked(struct memory *mem)
{
	for (unsigned int i = 0; i < mem->nr; i++) {
		unsigned long *words = (unsigned long *)page_at(mem, i);

		if (words[WORD] != word_of(i, i & 1, WORD))
			_exit(1);
		words[WORD] = word_of(i, 0, WORD);
		if (page_of(page_at(mem, i), 0) != i)
			_exit(2);
	}
	_exit(0);
}

static void check_ptrace(struct __test_metadata *_metadata, struct memory *mem)
{
	int status;
	pid_t pid;

	free_file_pages(_metadata);
	pid = fork();
	if (!pid) {
		if (ptrace(PTRACE_TRACEME, 0, NULL, NULL))
			_exit(3);
		raise(SIGSTOP);
		check_poked(mem);
	}
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	ASSERT_TRUE(WIFSTOPPED(status));
	for (unsigned int i = 0; i < mem->nr; i++) {
		char *word = page_at(mem, i) + WORD * sizeof(long);

		unsigned long seen = ptrace(PTRACE_PEEKDATA, pid, word, NULL);

		EXPECT_EQ(seen, word_of(i, 0, WORD)) LOG_PAGE(i);
		if (i & 1) {
			long ret = ptrace(PTRACE_POKEDATA, pid, word, word_of(i, 1, WORD));

			EXPECT_EQ(ret, 0);
		}
	}
	ASSERT_EQ(ptrace(PTRACE_CONT, pid, NULL, NULL), 0);
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	ASSERT_TRUE(WIFEXITED(status));
	ASSERT_EQ(WEXITSTATUS(status), 0);
}

TEST(by_ptrace)
{
	walk_kinds(_metadata, check_ptrace);
}

/* A child of fork() has the same contents, in private memory, too. */
static void check_fork(struct __test_metadata *_metadata, struct memory *mem)
{
	int status;
	pid_t pid;

	free_file_pages(_metadata);
	pid = fork();
	ASSERT_GE(pid, 0);
	if (!pid) {
		for (unsigned int i = 0; i < mem->nr; i++)
			if (page_of(page_at(mem, i), 0) != i)
				_exit(1);
		_exit(0);
	}
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	ASSERT_TRUE(WIFEXITED(status));
	ASSERT_EQ(WEXITSTATUS(status), 0) {
		TH_LOG("%s: contents lost in a child", mem->kind->name);
	}
}

TEST(by_fork)
{
	walk_kinds(_metadata, check_fork);
}

static long futex(char *word, int op, unsigned long value, unsigned long value2, char *to)
{
	return syscall(SYS_futex, word, op, value, value2, to, 0);
}

struct waiter {
	char *word;
	long result;
};

static void *wait_for_wake(void *arg)
{
	struct waiter *waiter = arg;
	__u32 value = *(__u32 *)waiter->word;

	waiter->result = futex(waiter->word, FUTEX_WAIT, value, 0, NULL) ? -errno : 0;
	return NULL;
}

/*
 * Does a thread wait at @word, or does one come within FUTEX_SECONDS? Moving a waiter
 * from @word to @word wakes nobody and counts it.
 */
static bool somebody_waits(char *word)
{
	struct timespec now, end;

	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_sec += FUTEX_SECONDS;
	do {
		if (futex(word, FUTEX_REQUEUE, 0, 1, word) == 1)
			return true;
		sched_yield();
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while (now.tv_sec < end.tv_sec);
	return false;
}

/* A thread that waits is woken through the other mapping of its page, and of no other page. */
static void check_futex(struct __test_metadata *_metadata, struct memory *mem)
{
	unsigned int step = mem->nr <= MAX_WAITS ? 1 : mem->nr / MAX_WAITS - 1;
	const unsigned long at = WORD * sizeof(long);

	/* a private futex is known by its address */
	if (!mem->alias)
		return;
	for (unsigned int i = 0; i < mem->nr; i += step) {
		struct waiter waiter = { .word = page_at(mem, i) + at };
		pthread_t thread;

		ASSERT_EQ(pthread_create(&thread, NULL, wait_for_wake, &waiter), 0);
		ASSERT_TRUE(somebody_waits(mem->alias + i * psize() + at));
		for (unsigned int j = 0; j < mem->nr; j++) {
			if (j == i)
				continue;
			ASSERT_EQ(futex(mem->alias + j * psize() + at, FUTEX_WAKE, 1, 0, NULL), 0)
				TH_LOG("%s: page %u woke the waiter of page %u",
				       mem->kind->name, j, i);
		}
		ASSERT_EQ(futex(mem->alias + i * psize() + at, FUTEX_WAKE, 1, 0, NULL), 1);
		ASSERT_EQ(pthread_join(thread, NULL), 0);
		ASSERT_EQ(waiter.result, 0);
	}
}

TEST(by_futex)
{
	walk_kinds(_metadata, check_futex);
}

/* The pages of a folio have consecutive PFNs; a PFN of any memory is there once. */
static void check_pagemap(struct __test_metadata *_metadata, struct memory *mem)
{
	int fd = open("/proc/self/pagemap", O_RDONLY);
	unsigned long first, pfn;

	ASSERT_GE(fd, 0);
	first = pagemap_get_pfn(fd, mem->area);
	if (!first)
		SKIP(return, "pagemap shows no PFNs");
	for (unsigned int i = 0; i < mem->nr; i++) {
		pfn = pagemap_get_pfn(fd, page_at(mem, i));
		if (mem->kind->backing == SMALL) {
			for (unsigned int j = 0; j < i; j++) {
				unsigned long other = pagemap_get_pfn(fd, page_at(mem, j));

				ASSERT_NE(other, pfn);
			}
		} else {
			ASSERT_EQ(pfn, first + i) LOG_PAGE(i);
		}
		if (mem->alias) {
			FORCE_READ(mem->alias[i * psize()]);
			ASSERT_EQ(pagemap_get_pfn(fd, mem->alias + i * psize()), pfn);
		}
	}
	close(fd);
}

TEST(by_pagemap)
{
	walk_kinds(_metadata, check_pagemap);
}

TEST_HARNESS_MAIN
