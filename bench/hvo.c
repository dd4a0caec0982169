// SPDX-License-Identifier: GPL-2.0
/*
 * Cost to grow the pool by 512 hugetlb folios of 2 MiB, and to shrink it again, with and without
 * optimizing their vmemmap. "on" is the same as "off" where the kernel has no such thing. Only the
 * instructions of this process count: waiting for a grace period costs none.
 */
#define _GNU_SOURCE
#include <unistd.h>

#include "bench.h"

#define ROUNDS 9
#define NR_HUGE 512
#define POOL "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"
#define SYSCTL "/proc/sys/vm/hugetlb_optimize_vmemmap"

static long ran(void)
{
	struct timespec ts;

	if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts))
		err(1, "clock_gettime");
	return ts.tv_sec * 1000000000L + ts.tv_nsec;
}

static int pool(void)
{
	FILE *f = fopen(POOL, "r");
	int nr;

	if (!f || fscanf(f, "%d", &nr) != 1)
		err(1, "%s", POOL);
	fclose(f);
	return nr;
}

static void bench(int on)
{
	long grow[ROUNDS], shrink[ROUNDS], before;
	int i;

	if (access(SYSCTL, F_OK) == 0)
		set_pool(SYSCTL, on);
	for (i = 0; i < ROUNDS; i++) {
		before = ran();
		set_pool(POOL, NR_HUGE);
		grow[i] = ran() - before;
		if (pool() != NR_HUGE)
			errx(1, "no memory for %d folios", NR_HUGE);
		before = ran();
		set_pool(POOL, 0);
		shrink[i] = ran() - before;
	}
	report(on ? "hvo_on_grow" : "hvo_off_grow", grow, ROUNDS);
	report(on ? "hvo_on_shrink" : "hvo_off_shrink", shrink, ROUNDS);
}

int main(void)
{
	bench(0);
	bench(1);
	return 0;
}
