/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Shared by the benchmarks. In a guest under -icount the clock counts instructions: one nanosecond
 * is one. Each figure is the lower quartile of some calls; "bench NAME VALUE UNIT" lines are the result.
 */
#ifndef BENCH_H
#define BENCH_H

#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

static inline long now(void)
{
	struct timespec ts;

	if (clock_gettime(CLOCK_MONOTONIC, &ts))
		err(1, "clock_gettime");
	return ts.tv_sec * 1000000000L + ts.tv_nsec;
}

static inline int by_value(const void *a, const void *b)
{
	long x = *(const long *)a, y = *(const long *)b;

	return (x > y) - (x < y);
}

static inline void report(const char *name, long *took, int rounds)
{
	qsort(took, rounds, sizeof(took[0]), by_value);
	printf("bench %s %ld instructions\n", name, took[rounds / 4]);
}

static inline void set_pool(const char *path, int nr)
{
	FILE *f = fopen(path, "w");

	if (!f || fprintf(f, "%d\n", nr) < 0 || fclose(f))
		err(1, "%s", path);
}

#endif
