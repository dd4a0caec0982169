// SPDX-License-Identifier: GPL-2.0
/*
 * The longest section with interrupts disabled in one call of GUP-fast: for 512 small pages, for 262,144, for
 * 4,096 mappings of a THP, and for 64 mappings of a hugetlb page of 1 GiB, for which the guest needs one. A
 * histogram trigger takes the time from irq_disable to the irq_enable of a gup_fast function, in nanoseconds, of
 * which -icount makes instructions. The trigger itself runs in the section: some hundred instructions.
 *
 * A kernel without these events, as all but those of the flavour bench+irqsoff, has no figure.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/memfd.h>
#include <linux/types.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <unistd.h>

#include "bench.h"
#include "gup_test.h"

#define REGION ((char *)0x300000000000UL)
#define TRACING "/sys/kernel/tracing"
#define EVENTS TRACING "/events/preemptirq/"

static int gup_test;

static void put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_APPEND);

	if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		err(1, "%s: %s", path, text);
	close(fd);
}

/* A function of mm/gup.c; not the rare paths that the compiler puts elsewhere, nor KUnit's gup_fast_only. */
static int is_gup_fast(const char *name, char type)
{
	return (type | 32) == 't' && !strncmp(name, "gup_fast", 8) && strncmp(name, "gup_fast_only", 13) &&
	       !strstr(name, ".cold");
}

/* Offsets from _stext between which all functions gup_fast*() are. */
static void find_gup_fast(unsigned long *first, unsigned long *last)
{
	unsigned long addr, stext = 0, after = 0;
	char type, name[256], line[512];
	FILE *f = fopen("/proc/kallsyms", "r");

	if (!f)
		err(1, "/proc/kallsyms");
	*first = -1UL;
	*last = 0;
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx %c %255s", &addr, &type, name) != 3)
			continue;
		if (!strcmp(name, "_stext"))
			stext = addr;
		if (after && addr > *last)
			*last = addr;
		after = is_gup_fast(name, type);
		if (after && addr < *first)
			*first = addr;
	}
	fclose(f);
	if (!stext || !*last)
		errx(1, "no _stext or gup_fast in /proc/kallsyms");
	*first -= stext;
	*last -= stext;
}

/* The greatest "max:" of the histogram. */
static long longest(void)
{
	char line[512], *max;
	long value, most = 0;
	FILE *f = fopen(EVENTS "irq_enable/hist", "r");

	if (!f)
		err(1, EVENTS "irq_enable/hist");
	while (fgets(line, sizeof(line), f)) {
		max = strstr(line, "max:");
		if (max && sscanf(max, "max: %ld", &value) == 1 && value > most)
			most = value;
	}
	fclose(f);
	return most;
}

static void measure(const char *name, unsigned long size)
{
	struct gup_test arg = {
		.addr = (unsigned long)REGION,
		.size = size,
		.nr_pages_per_call = size / sysconf(_SC_PAGESIZE),
		.gup_flags = 1, /* FOLL_WRITE */
	};
	unsigned long first, last;
	char start[128], stop[256];

	find_gup_fast(&first, &last);
	snprintf(start, sizeof(start), "hist:keys=common_pid:ts0=common_timestamp if common_pid == %d", getpid());
	snprintf(stop, sizeof(stop), "hist:keys=common_pid:off=common_timestamp-$ts0:onmax($off).save(caller_offs) "
		 "if common_pid == %d && caller_offs >= %lu && caller_offs < %lu", getpid(), first, last);
	put(EVENTS "irq_disable/trigger", start);
	put(EVENTS "irq_enable/trigger", stop);
	if (ioctl(gup_test, PIN_FAST_BENCHMARK, &arg))
		err(1, "%s", name);
	printf("bench section_%s %ld instructions\n", name, longest());
	memmove(stop + 1, stop, strlen(stop) + 1);
	stop[0] = '!';
	put(EVENTS "irq_enable/trigger", stop);
	memmove(start + 1, start, strlen(start) + 1);
	start[0] = '!';
	put(EVENTS "irq_disable/trigger", start);
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
	if (access(TRACING "/events", F_OK))
		mount("none", TRACING, "tracefs", 0, NULL);
	if (access(EVENTS, F_OK))
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
