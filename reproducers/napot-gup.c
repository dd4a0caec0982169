// SPDX-License-Identifier: GPL-2.0-only
/*
 * Problem: get_user_pages() of a 64 kB hugetlb page returns the first small page for every address in it.  process_vm_readv(),
 * O_DIRECT, io_uring and KVM read wrong data there, and their writes overwrite the first page.
 * Right: each address gives its own page.
 * Affected: riscv64 CPUs with Svnapot, since 6.10; GUP-fast since 6.9.  Other architectures with 64 kB hugetlb pages
 * run the same test.
 * Fix: mm/gup: get the page of the address from a PTE of a NAPOT range.
 * Changes the pool of 64 kB pages while it runs.
 */
#include "repro.h"

#define SIZE (64 * 1024UL)
#define POOL "/sys/kernel/mm/hugepages/hugepages-64kB/nr_hugepages"

static long before;

static void restore(void)
{
	put_number(POOL, before);
}

/* Read or write the word at @p by get_user_pages(); in /proc where the kernel has no process_vm_readv(). */
static void by_gup(bool write, char *p, unsigned long *value)
{
	struct iovec local = { value, sizeof(*value) }, remote = { p, sizeof(*value) };
	static int mem = -1;
	ssize_t n;

	n = write ? process_vm_writev(getpid(), &local, 1, &remote, 1, 0) :
		    process_vm_readv(getpid(), &local, 1, &remote, 1, 0);
	if (n < 0 && errno == ENOSYS) {
		if (mem < 0)
			mem = open("/proc/self/mem", O_RDWR);
		n = write ? pwrite(mem, value, sizeof(*value), (unsigned long)p) :
			    pread(mem, value, sizeof(*value), (unsigned long)p);
	}
	if (n != sizeof(*value))
		cannot(write ? "process_vm_writev()" : "process_vm_readv()");
}

int main(int argc, char **argv)
{
	unsigned long nr, wrong_reads = 0, wrong_writes = 0, value, page;
	char *p;

	begin(argc, argv, RESIZES_POOL, true);
	nr = SIZE / page_size;
	before = read_number(POOL, "");
	if (before < 0 || nr < 2)
		no_feature("hugetlb pages of 64 kB that have several pages");
	atexit(restore);
	put_number(POOL, before + 1);
	/* 16 is the logarithm of 64 kB */
	p = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | 16 << MFD_HUGE_SHIFT,
		 -1, 0);
	if (p == MAP_FAILED)
		cannot("mmap() of a 64 kB hugetlb page");
	for (page = 0; page < nr; page++)
		*(unsigned long *)(p + page * page_size) = 100 + page;
	for (page = 0; page < nr; page++) {
		by_gup(false, p + page * page_size, &value);
		wrong_reads += value != 100 + page;
	}
	for (page = 0; page < nr; page++) {
		value = 200 + page;
		by_gup(true, p + page * page_size, &value);
	}
	for (page = 0; page < nr; page++)
		wrong_writes += *(unsigned long *)(p + page * page_size) != 200 + page;
	munmap(p, SIZE);
	printf("%lu of %lu pages read wrong, %lu have not what was written to them\n", wrong_reads, nr, wrong_writes);
	if (wrong_reads || wrong_writes)
		finish(WRONG, "get_user_pages() uses the wrong page");
	finish(RIGHT, "each of %lu pages is read and written", nr);
}
