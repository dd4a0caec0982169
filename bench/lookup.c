// SPDX-License-Identifier: GPL-2.0
/*
 * Cost to look up 512 pages in the page cache, small ones and those of a large folio: by mincore() of a
 * mapping that nobody has touched, which takes a reference of each folio and drops it again, and by
 * reading a byte of each page. A call is shorter than a tick of the clock, so the lower quartile is of
 * calls without one.
 */
#define _GNU_SOURCE
#include <string.h>
#include <unistd.h>

#include "bench.h"

#define ROUNDS 101
#define NR_PAGES 512
#define REGION ((char *)0x100000000000UL)

static long page_size;
static unsigned long size;

/* At the same address in each kernel, and with a page table of its own. */
static char *map(int memfd)
{
	if (mmap(REGION, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED_NOREPLACE, memfd, 0) != REGION)
		err(1, "mmap");
	return REGION;
}

/* Put the pages into one folio that is as large as they are together. */
static void collapse(int memfd)
{
	char *p = map(memfd);

	*(volatile char *)p = 1;
	if (madvise(p, size, MADV_COLLAPSE))
		err(1, "MADV_COLLAPSE");
	munmap(p, size);
}

static void bench_mincore(const char *name, int memfd)
{
	static unsigned char resident[NR_PAGES];
	long took[ROUNDS], before;
	char *p = map(memfd);
	int i, j;

	for (i = 0; i < ROUNDS; i++) {
		before = now();
		if (mincore(p, size, resident))
			err(1, "mincore");
		took[i] = now() - before;
		for (j = 0; j < NR_PAGES; j++)
			if (!(resident[j] & 1))
				errx(1, "%s: page %d is not there", name, j);
	}
	report(name, took, ROUNDS);
	munmap(p, size);
}

static void bench_read(const char *name, int memfd)
{
	long took[ROUNDS], before;
	char byte;
	int i, j;

	for (i = 0; i < ROUNDS; i++) {
		before = now();
		for (j = 0; j < NR_PAGES; j++)
			if (pread(memfd, &byte, 1, j * page_size) != 1)
				err(1, "pread");
		took[i] = now() - before;
	}
	report(name, took, ROUNDS);
}

int main(void)
{
	int memfd = memfd_create("lookup", 0), i;

	page_size = sysconf(_SC_PAGESIZE);
	size = NR_PAGES * page_size;
	if (memfd < 0 || ftruncate(memfd, size))
		err(1, "memfd");
	for (i = 0; i < NR_PAGES; i++)
		if (pwrite(memfd, "x", 1, i * page_size) != 1)
			err(1, "pwrite");
	bench_mincore("lookup_mincore", memfd);
	bench_read("lookup_read", memfd);
	collapse(memfd);
	bench_mincore("lookup_mincore_large", memfd);
	bench_read("lookup_read_large", memfd);
	return 0;
}
