// SPDX-License-Identifier: GPL-2.0
/*
 * Cost to collapse a large folio of a memfd: MADV_COLLAPSE where PTEs map the folio, and the
 * retraction of the page tables of 1 and of 16 more mappings when small folios are collapsed.
 * Also page faults, which lock page tables: of a page that is not there, and of a write to the zero
 * page.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#define MADV_GUARD_REMOVE 103
#endif

#define ROUNDS 101
#define SIZE (2UL << 20)
#define NR_MAPS 17
#define REGION ((char *)0x100000000000UL)

static long page_size;
static long took[ROUNDS];
static int memfd;

static void advise(char *p, unsigned long size, int advice, const char *what)
{
	if (madvise(p, size, advice))
		err(1, "%s", what);
}

static char *map(int i)
{
	return REGION + i * SIZE;
}

/* A page table at @p; if @touch, with all entries: a fault maps all of a large folio that it can. */
static void map_by_ptes(char *p, int touch)
{
	advise(p, page_size, MADV_GUARD_INSTALL, "MADV_GUARD_INSTALL");
	advise(p, page_size, MADV_GUARD_REMOVE, "MADV_GUARD_REMOVE");
	if (touch)
		*(volatile char *)p;
}

static void bench_collapse(const char *name, int touch)
{
	int i;

	for (i = 0; i < ROUNDS; i++) {
		long before;

		map_by_ptes(map(0), touch);
		before = now();
		advise(map(0), SIZE, MADV_COLLAPSE, "MADV_COLLAPSE");
		took[i] = now() - before;
	}
	report(name, took, ROUNDS);
}

/* Collapse small folios that are mapped @maps times by this mm, each time by a page table. */
static void bench_retract(const char *name, int maps)
{
	int i, j;

	for (i = 0; i < ROUNDS; i++) {
		long before;

		/* Unmap the memory that a huge pmd maps, and split the folio. */
		if (fallocate(memfd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, page_size))
			err(1, "fallocate");
		for (j = 0; j < maps; j++)
			*(volatile char *)(map(j) + page_size);
		before = now();
		advise(map(0), SIZE, MADV_COLLAPSE, "MADV_COLLAPSE");
		took[i] = now() - before;
	}
	report(name, took, ROUNDS);
}

static void bench_faults(void)
{
	char *p = mmap(map(NR_MAPS), SIZE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	int i;

	if (p == MAP_FAILED)
		err(1, "mmap");
	advise(p, SIZE, MADV_NOHUGEPAGE, "MADV_NOHUGEPAGE");
	/* The page table stays. */
	*(volatile char *)(p + SIZE - 1) = 1;
	for (i = 0; i < ROUNDS; i++) {
		long before = now();

		*(volatile char *)(p + i * page_size);
		took[i] = now() - before;
	}
	report("fault_read", took, ROUNDS);
	for (i = 0; i < ROUNDS; i++) {
		long before = now();

		*(volatile char *)(p + i * page_size) = 1;
		took[i] = now() - before;
	}
	report("fault_write_zero_page", took, ROUNDS);
	for (i = 0; i < ROUNDS; i++) {
		long before = now();

		*(volatile char *)(p + (ROUNDS + i) * page_size) = 1;
		took[i] = now() - before;
	}
	report("fault_write", took, ROUNDS);
}

int main(void)
{
	int i;

	page_size = sysconf(_SC_PAGESIZE);
	memfd = memfd_create("collapse", 0);
	if (memfd < 0 || ftruncate(memfd, SIZE))
		err(1, "memfd");
	for (i = 0; i < NR_MAPS; i++)
		if (mmap(map(i), SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED_NOREPLACE, memfd, 0) != map(i))
			err(1, "mmap");
	memset(map(0), 1, SIZE);
	/* Guard regions leave a flag on the vma that keeps its page tables: the retractions first. */
	bench_retract("retract_1", 2);
	bench_retract("retract_16", 17);
	bench_collapse("collapse_no_ptes", 0);
	bench_collapse("collapse_all_ptes", 1);
	bench_faults();
	return 0;
}
