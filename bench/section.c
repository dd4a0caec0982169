// SPDX-License-Identifier: GPL-2.0
/*
 * The longest section with interrupts disabled in one call of GUP-fast: for 512 small pages, for 262,144, for
 * 4,096 mappings of a THP, and for 64 mappings of a hugetlb page of 1 GiB, for which the guest needs one. See
 * trace.h; only kernels of the flavour bench+irqsoff have the events.
 */
#define _GNU_SOURCE
#include <linux/memfd.h>
#include <linux/types.h>
#include <sys/ioctl.h>

#include "trace.h"
#include "gup_test.h"

#define REGION ((char *)0x300000000000UL)

static int gup_test;
static struct section section = {
	.begin = "irq_disable", .end = "irq_enable", .field = "caller_offs",
	.function = "gup_fast", .except = "gup_fast_only",	/* KUnit's */
};

static void measure(const char *name, unsigned long size)
{
	struct gup_test arg = {
		.addr = (unsigned long)REGION,
		.size = size,
		.nr_pages_per_call = size / sysconf(_SC_PAGESIZE),
		.gup_flags = 1, /* FOLL_WRITE */
	};

	section_start(&section);
	if (ioctl(gup_test, PIN_FAST_BENCHMARK, &arg))
		err(1, "%s", name);
	printf("bench section_%s %ld instructions\n", name, section_stop(&section));
	if (arg.size != size)
		errx(1, "%s: only %llu bytes", name, arg.size);
}

/* The @size bytes of a memfd, mapped @nr times. */
static void bench(const char *name, unsigned int flags, unsigned long size, unsigned long nr, int large)
{
	unsigned long page_size = sysconf(_SC_PAGESIZE), i, j;
	int fd = memfd_create(name, flags);

	if (fd < 0 || ftruncate(fd, size))
		err(1, "memfd");
	for (i = 0; i < nr; i++) {
		char *p = REGION + i * size;

		if (mmap(p, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) != p)
			err(1, "mmap");
		/* one write is enough where there is a large page already */
		for (j = 0; j < (flags || (large && i) ? page_size : size); j += page_size)
			*(volatile char *)(p + j) = 1;
		if (large && madvise(p, size, MADV_COLLAPSE))
			err(1, "MADV_COLLAPSE");
		*(volatile char *)p = 1;
	}
	measure(name, nr * size);
	munmap(REGION, nr * size);
	close(fd);
}

int main(void)
{
	setvbuf(stdout, NULL, _IONBF, 0);
	if (!section_supported(&section))
		return 0;
	gup_test = open("/sys/kernel/debug/gup_test", O_RDWR);
	if (gup_test < 0)
		err(1, "gup_test");
	bench("4k_512", 0, 2UL << 20, 1, 0);
	bench("4k", 0, 2UL << 20, 512, 0);
	bench("thp", 0, 2UL << 20, 4096, 1);
	bench("hugetlb_1g", MFD_HUGETLB | MFD_HUGE_1GB, 1UL << 30, 64, 0);
	return 0;
}
