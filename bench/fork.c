// SPDX-License-Identifier: GPL-2.0
/*
 * Cost of fork(), in the parent: of a process without PTE markers; of one with 1 GiB of shared memory that is
 * registered with userfaultfd, MISSING or MINOR; of both after one page got a poison marker. All pages of the
 * memory are mapped by PTEs. A kernel that skips the page tables of such memory is fast and loses the marker.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

#ifndef UFFDIO_POISON
#define _UFFDIO_POISON 0x08
struct uffdio_poison {
	struct uffdio_range range;
	__u64 mode;
	__s64 updated;
};
#define UFFDIO_POISON _IOWR(UFFDIO, _UFFDIO_POISON, struct uffdio_poison)
#endif

#define ROUNDS 101
#define SIZE (1UL << 30)
#define NR_VMAS 64
#define REGION ((char *)0x100000000000UL)
#define SHARED ((char *)0x200000000000UL)

static long page_size;
static long took[ROUNDS];
static int memfd;

static void bench_fork(const char *name, int rounds)
{
	int i;

	for (i = 0; i < rounds; i++) {
		long before = now();
		pid_t pid = fork();

		if (!pid)
			_exit(0);
		took[i] = now() - before;
		if (pid < 0 || waitpid(pid, NULL, 0) != pid)
			err(1, "fork");
	}
	report(name, took, rounds);
}

/* Half of the VMAs are anonymous memory, half are the memfd; neighbours differ, so that they are not merged. */
static void map_vmas(void)
{
	int i;

	for (i = 0; i < NR_VMAS; i++) {
		char *p = REGION + i * page_size;
		int flags = i & 1 ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS;

		if (mmap(p, page_size, PROT_READ | PROT_WRITE, flags | MAP_FIXED_NOREPLACE, i & 1 ? memfd : -1, 0) != p)
			err(1, "mmap");
		*(volatile char *)p = 1;
	}
}

static int watch(unsigned long mode)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register arg = { .range = { (unsigned long)SHARED, SIZE }, .mode = mode };
	int uffd = syscall(__NR_userfaultfd, O_CLOEXEC);

	if (uffd < 0 || ioctl(uffd, UFFDIO_API, &api) || ioctl(uffd, UFFDIO_REGISTER, &arg))
		err(1, "userfaultfd");
	return uffd;
}

static void poison_last_page(int uffd)
{
	char *last = SHARED + SIZE - page_size;
	struct uffdio_poison arg = { .range = { (unsigned long)last, page_size } };

	if (madvise(last, page_size, MADV_DONTNEED))
		err(1, "MADV_DONTNEED");
	if (ioctl(uffd, UFFDIO_POISON, &arg))
		err(1, "UFFDIO_POISON");
}

int main(void)
{
	unsigned long i;
	int uffd;

	page_size = sysconf(_SC_PAGESIZE);
	setvbuf(stdout, NULL, _IONBF, 0);
	memfd = memfd_create("fork", 0);
	if (memfd < 0 || ftruncate(memfd, SIZE))
		err(1, "memfd");
	bench_fork("fork_small", ROUNDS);
	map_vmas();
	bench_fork("fork_vmas", ROUNDS);
	if (mmap(SHARED, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED_NOREPLACE, memfd, 0) != SHARED)
		err(1, "mmap");
	for (i = 0; i < SIZE; i += page_size)
		*(volatile char *)(SHARED + i) = 1;
	bench_fork("fork_1g_shared", ROUNDS);
	uffd = watch(UFFDIO_REGISTER_MODE_MISSING);
	bench_fork("fork_1g_missing", ROUNDS);
	close(uffd);
	uffd = watch(UFFDIO_REGISTER_MODE_MINOR);
	bench_fork("fork_1g_minor", ROUNDS);
	poison_last_page(uffd);
	bench_fork("fork_1g_minor_poison", 5);
	/* the marker stays */
	close(uffd);
	watch(UFFDIO_REGISTER_MODE_MISSING);
	bench_fork("fork_1g_missing_poison", 5);
	return 0;
}
