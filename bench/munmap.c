// SPDX-License-Identifier: GPL-2.0
/*
 * Cost of munmap() of 1, 2 and 64 VMAs, and the number of TLB flushes.
 *
 * Each figure is the lower quartile of ROUNDS calls, all pages touched: with 64 VMAs on arm64 between a
 * quarter and a half of the calls are some hundred instructions longer, so that the median moved by
 * 400 between boots of one kernel, and the quartile by 16. Neighbouring VMAs differ in VM_EXEC, so that
 * they are not merged.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "bench.h"

#define ROUNDS 401
#define REGION ((char *)0x100000000000UL)
#define TRACING "/sys/kernel/tracing"

static long page_size;

static void map_vmas(int nr)
{
	int i;

	for (i = 0; i < nr; i++) {
		char *p = REGION + i * page_size;
		int prot = i & 1 ? PROT_READ | PROT_WRITE : PROT_READ | PROT_EXEC;

		if (mmap(p, page_size, prot, MAP_PRIVATE | MAP_ANONYMOUS |
			 MAP_FIXED_NOREPLACE, -1, 0) != p)
			err(1, "mmap");
		*(volatile char *)p;
	}
}

static long unmap_vmas(int nr)
{
	long before = now();

	if (munmap(REGION, nr * page_size))
		err(1, "munmap");
	return now() - before;
}

static void bench_instructions(int nr)
{
	static long took[ROUNDS];
	char name[32];
	int i;

	for (i = 0; i < ROUNDS; i++) {
		map_vmas(nr);
		took[i] = unmap_vmas(nr);
	}
	snprintf(name, sizeof(name), "munmap_%d", nr);
	report(name, took, ROUNDS);
}

static void put(const char *file, const char *text)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), TRACING "/%s", file);
	fd = open(path, O_WRONLY | O_TRUNC);
	if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		err(1, "%s", path);
	close(fd);
}

/* Events in the ring buffer, from the entries line of the trace's header. */
static long events(void)
{
	long entries = -1;
	char line[256];
	FILE *f = fopen(TRACING "/per_cpu/cpu0/stats", "r");

	if (!f)
		err(1, TRACING "/per_cpu/cpu0/stats");
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "entries: %ld", &entries) == 1)
			break;
	fclose(f);
	if (entries < 0)
		errx(1, "no entries line in per_cpu/cpu0/stats");
	return entries;
}

static void bench_flushes(int nr)
{
	char filter[64];
	int i;

	snprintf(filter, sizeof(filter), "common_pid == %d", getpid());
	put("events/tlb/tlb_flush/filter", filter);
	put("trace", "");
	put("events/tlb/tlb_flush/enable", "1");
	for (i = 0; i < 100; i++) {
		map_vmas(nr);
		unmap_vmas(nr);
	}
	put("events/tlb/tlb_flush/enable", "0");
	printf("bench flushes_of_100_munmap_%d %ld flushes\n", nr, events());
}

int main(void)
{
	static const int nrs[] = { 1, 2, 64 };
	unsigned int i;

	page_size = sysconf(_SC_PAGESIZE);
	setvbuf(stdout, NULL, _IONBF, 0);
	for (i = 0; i < sizeof(nrs) / sizeof(nrs[0]); i++)
		bench_instructions(nrs[i]);
	/* Only x86 has the event, and only with FLAVOUR=bench+events. */
	mount("none", TRACING, "tracefs", 0, NULL);
	if (access(TRACING "/events/tlb/tlb_flush", F_OK))
		return 0;
	for (i = 0; i < sizeof(nrs) / sizeof(nrs[0]); i++)
		bench_flushes(nrs[i]);
	return 0;
}
