// SPDX-License-Identifier: GPL-2.0
/*
 * How long MADV_COLLAPSE keeps preemption disabled to detach a page table: the longest section of
 * try_collapse_pte_mapped_thp(), for a page table of 512 entries and for an empty one. The series holds pml for all of
 * this section, so a thread that wants pml waits as long. Base clears the entries under ptl, and takes pml after that.
 * See trace.h; only kernels of the flavour bench+preemptoff have the events.
 */
#define _GNU_SOURCE
#include "trace.h"

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#define MADV_GUARD_REMOVE 103
#endif

#define ROUNDS 31
#define SIZE (2UL << 20)
#define REGION ((char *)0x200000000000UL)

static long took[ROUNDS];
static struct section section = {
	.begin = "preempt_disable", .end = "preempt_enable", .field = "parent_offs",
	.function = "try_collapse_pte_mapped_thp",
};

static void advise(char *p, unsigned long size, int advice, const char *what)
{
	if (madvise(p, size, advice))
		err(1, "%s", what);
}

/* A timer interrupt may lengthen a section: one figure a round, of which report() takes the lower quartile. */
static void bench(const char *name, int touch)
{
	const long page_size = sysconf(_SC_PAGESIZE);
	int i;

	for (i = 0; i < ROUNDS; i++) {
		advise(REGION, page_size, MADV_GUARD_INSTALL, "MADV_GUARD_INSTALL");
		advise(REGION, page_size, MADV_GUARD_REMOVE, "MADV_GUARD_REMOVE");
		/* a fault maps all of a large folio that it can */
		if (touch)
			*(volatile char *)REGION;
		section_start(&section);
		advise(REGION, SIZE, MADV_COLLAPSE, "MADV_COLLAPSE");
		took[i] = section_stop(&section);
		if (!took[i])
			errx(1, "%s: no section was seen", name);
	}
	report(name, took, ROUNDS);
}

int main(void)
{
	int memfd = memfd_create("pml", 0);

	setvbuf(stdout, NULL, _IONBF, 0);
	if (!section_supported(&section))
		return 0;
	if (memfd < 0 || ftruncate(memfd, SIZE))
		err(1, "memfd");
	if (mmap(REGION, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED_NOREPLACE, memfd, 0) != REGION)
		err(1, "mmap");
	memset(REGION, 1, SIZE);
	advise(REGION, SIZE, MADV_COLLAPSE, "MADV_COLLAPSE");
	bench("pml_no_ptes", 0);
	bench("pml_all_ptes", 1);
	return 0;
}
