// SPDX-License-Identifier: GPL-2.0-only
/*
 * Problem: fork() does not copy private hugetlb pages of 64 kB (arm64): the child reads zeros.
 * fork() takes the page table of the child for a shared one, by a word that still has the place in a file of the
 * memory that the table was before.
 * Right: the child reads the contents of the parent.
 * Affected: kernels since 6.17, and older ones with a backport of 14967a9c7d24.  riscv64
 * has it, too, and by reading x86_64 with pages of 1 GiB.
 * Fix: mm/hugetlb: ask only a PMD table whether it is shared.
 * Changes the pools of 64 kB and 1 GiB pages while it runs.
 */
#include "repro.h"

#define TIMES 50
#define FILE_SIZE (512UL << 10)

static const struct {
	const char *pool;
	unsigned long shift;
} sizes[] = {
	{ "/sys/kernel/mm/hugepages/hugepages-64kB/nr_hugepages", 16 },
	{ "/sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages", 30 },
};

#define NR_SIZES (sizeof(sizes) / sizeof(sizes[0]))

static long before[NR_SIZES];

static void restore(void)
{
	for (unsigned long i = 0; i < NR_SIZES; i++)
		if (before[i] >= 0)
			put_number(sizes[i].pool, before[i]);
}

/*
 * Free memory that had a place in a file, not the first, on this CPU: page tables are made of it.  Pages of other
 * files are movable, and the kernel keeps these apart from page tables.
 */
static void free_file_pages(void)
{
	int fd = syscall(SYS_memfd_secret, 0);
	char *p;

	if (fd < 0)
		no_feature("memfd_secret()");
	check(!ftruncate(fd, FILE_SIZE));
	p = mmap(NULL, FILE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	check(p != MAP_FAILED);
	for (unsigned long i = page_size; i < FILE_SIZE; i += page_size)
		p[i] = 1;
	munmap(p, FILE_SIZE);
	close(fd);
}

/* Does a child see the word that its parent has written? */
static bool child_sees(volatile unsigned long *p, unsigned long value)
{
	int status;
	pid_t pid;

	*p = value;
	free_file_pages();
	pid = fork();
	if (pid < 0)
		cannot("fork()");
	if (!pid)
		_exit(*p == value ? 0 : 42);
	if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status) || (WEXITSTATUS(status) && WEXITSTATUS(status) != 42))
		cannot("a child ended before it had read");
	return !WEXITSTATUS(status);
}

int main(int argc, char **argv)
{
	unsigned long tried = 0, lost = 0;
	cpu_set_t set;

	begin(argc, argv, RESIZES_POOL, true);
	CPU_ZERO(&set);
	CPU_SET(sched_getcpu(), &set);
	sched_setaffinity(0, sizeof(set), &set);
	for (unsigned long i = 0; i < NR_SIZES; i++)
		before[i] = read_number(sizes[i].pool, "");
	atexit(restore);
	for (unsigned long i = 0; i < NR_SIZES; i++) {
		unsigned long size = 1UL << sizes[i].shift, wrong = 0;
		char *p;

		/* 64 kB is no size on kernels with pages of 64 kB, and memory for 1 GiB may be missing */
		if (before[i] < 0)
			continue;
		put_number(sizes[i].pool, before[i] + 2);
		p = mmap(NULL, size, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | sizes[i].shift << MFD_HUGE_SHIFT, -1, 0);
		if (p == MAP_FAILED)
			continue;
		for (unsigned long n = 1; n <= TIMES; n++)
			wrong += !child_sees((unsigned long *)p, n);
		printf("hugetlb pages of %lu kB: %lu of %d children lost the contents\n", size >> 10, wrong, TIMES);
		munmap(p, size);
		tried += TIMES;
		lost += wrong;
	}
	if (!tried)
		no_feature("hugetlb pages of 64 kB or 1 GiB, or memory for one");
	if (lost)
		finish(WRONG, "%lu of %lu children read zeros from private hugetlb memory", lost, tried);
	finish(RIGHT, "%lu children read the contents of private hugetlb memory", tried);
}
