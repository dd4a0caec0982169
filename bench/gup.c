// SPDX-License-Identifier: GPL-2.0
/*
 * Cost to pin, and to get, 262,144 pages by GUP-fast in calls of 1, of 512 and of all: small
 * pages, THPs, hugetlb pages of 2 MiB and of 1 GiB, for which the guest needs one. A piece of memory is
 * mapped again and again until it is that many pages. "unaligned" calls, of 512 pages, begin 100 pages after the
 * first page: each of them meets two THPs. The clock is gup_test's own, around the calls alone: a
 * microsecond, which is a thousand instructions, is the smallest that it tells.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/memfd.h>
#include <linux/types.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "bench.h"
#include "gup_test.h"

#define ROUNDS 5
#define REGION ((char *)0x300000000000UL)
#define SIZE (1UL << 30)
#define POOL "/proc/sys/vm/nr_hugepages"

static int gup_test;

static void bench(const char *kind, const char *call, unsigned long command, unsigned int nr, unsigned long offset)
{
	const unsigned long size = offset ? SIZE - nr * sysconf(_SC_PAGESIZE) : SIZE;
	long took[ROUNDS];
	char name[64];
	int i;

	for (i = 0; i < ROUNDS; i++) {
		struct gup_test arg = {
			.addr = (unsigned long)REGION + offset,
			.size = size,
			.nr_pages_per_call = nr,
			.gup_flags = 1, /* FOLL_WRITE */
		};

		if (ioctl(gup_test, command, &arg))
			err(1, "%s of %s", call, kind);
		if (arg.size != size)
			errx(1, "%s of %s: only %llu bytes", call, kind, arg.size);
		took[i] = arg.get_delta_usec * 1000;
	}
	snprintf(name, sizeof(name), "%s_%s%s_%u", call, kind, offset ? "_unaligned" : "", nr);
	report(name, took, ROUNDS);
}

static void bench_kind(const char *kind, unsigned int flags, unsigned long size, int large)
{
	static const unsigned int nrs[] = { 1, 512, 262144 };
	long page_size = sysconf(_SC_PAGESIZE);
	int fd = memfd_create(kind, flags);
	unsigned long i;

	if (fd < 0 || ftruncate(fd, size))
		err(1, "memfd");
	for (i = 0; i < SIZE; i += size)
		if (mmap(REGION + i, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) != REGION + i)
			err(1, "mmap");
	for (i = 0; i < SIZE; i += page_size)
		*(volatile char *)(REGION + i) = 1;
	for (i = 0; large && i < SIZE; i += size)
		if (madvise(REGION + i, size, MADV_COLLAPSE))
			err(1, "MADV_COLLAPSE");
	for (i = 0; i < SIZE; i += page_size)
		*(volatile char *)(REGION + i) = 1;
	for (i = 0; i < sizeof(nrs) / sizeof(nrs[0]); i++) {
		bench(kind, "pin", PIN_FAST_BENCHMARK, nrs[i], 0);
		bench(kind, "get", GUP_FAST_BENCHMARK, nrs[i], 0);
	}
	bench(kind, "pin", PIN_FAST_BENCHMARK, 512, 100 * page_size);
	bench(kind, "get", GUP_FAST_BENCHMARK, 512, 100 * page_size);
	munmap(REGION, SIZE);
	close(fd);
}

int main(void)
{
	setvbuf(stdout, NULL, _IONBF, 0);
	gup_test = open("/sys/kernel/debug/gup_test", O_RDWR);
	if (gup_test < 0)
		err(1, "gup_test");
	bench_kind("4k", 0, 2UL << 20, 0);
	bench_kind("thp", 0, 2UL << 20, 1);
	set_pool(POOL, 1);
	bench_kind("hugetlb_2m", MFD_HUGETLB | MFD_HUGE_2MB, 2UL << 20, 0);
	set_pool(POOL, 0);
	bench_kind("hugetlb_1g", MFD_HUGETLB | MFD_HUGE_1GB, SIZE, 0);
	return 0;
}
