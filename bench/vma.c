// SPDX-License-Identifier: GPL-2.0
/*
 * Cost of mprotect(), mlock(), munlock() and madvise(MADV_DONTFORK and MADV_DOFORK): of a whole VMA of one
 * page, and of the middle page of a VMA of three, which is split in three and merged again. Memory of a file
 * and anonymous memory. All pages are mapped.
 */
#define _GNU_SOURCE
#include <string.h>
#include <unistd.h>

#include "bench.h"

#define ROUNDS 201
#define REGION ((char *)0x100000000000UL)

static long page_size;

static int make_read_only(char *p)
{
	return mprotect(p, page_size, PROT_READ);
}

static int make_writable(char *p)
{
	return mprotect(p, page_size, PROT_READ | PROT_WRITE);
}

static int lock(char *p)
{
	return mlock(p, page_size);
}

static int unlock(char *p)
{
	return munlock(p, page_size);
}

static int dont_fork(char *p)
{
	return madvise(p, page_size, MADV_DONTFORK);
}

static int do_fork(char *p)
{
	return madvise(p, page_size, MADV_DOFORK);
}

/* Each call, and the call that takes it back. */
static const struct {
	const char *name, *back_name;
	int (*call)(char *p);
	int (*back)(char *p);
} calls[] = {
	{ "mprotect", "mprotect_back", make_read_only, make_writable },
	{ "mlock", "munlock", lock, unlock },
	{ "madvise", "madvise_back", dont_fork, do_fork },
};

static void bench_calls(const char *kind, char *p)
{
	static long there[ROUNDS], back[ROUNDS];
	char name[64];
	unsigned int i;
	int j;

	for (i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		for (j = 0; j < ROUNDS; j++) {
			long before = now();

			if (calls[i].call(p))
				err(1, "%s", calls[i].name);
			there[j] = now() - before;
			before = now();
			if (calls[i].back(p))
				err(1, "%s", calls[i].back_name);
			back[j] = now() - before;
		}
		snprintf(name, sizeof(name), "%s_%s", calls[i].name, kind);
		report(name, there, ROUNDS);
		snprintf(name, sizeof(name), "%s_%s", calls[i].back_name, kind);
		report(name, back, ROUNDS);
	}
}

static void bench_memory(const char *memory, int flags, int fd)
{
	char name[32];

	if (mmap(REGION, 3 * page_size, PROT_READ | PROT_WRITE, flags | MAP_FIXED, fd, 0) != REGION)
		err(1, "mmap");
	memset(REGION, 1, 3 * page_size);
	snprintf(name, sizeof(name), "%s_split", memory);
	bench_calls(name, REGION + page_size);
	/* No neighbours: the calls change the flags of the whole VMA. */
	if (munmap(REGION, page_size) || munmap(REGION + 2 * page_size, page_size))
		err(1, "munmap");
	snprintf(name, sizeof(name), "%s_whole", memory);
	bench_calls(name, REGION + page_size);
	munmap(REGION, 3 * page_size);
}

int main(void)
{
	int fd = memfd_create("vma", 0);

	page_size = sysconf(_SC_PAGESIZE);
	setvbuf(stdout, NULL, _IONBF, 0);
	if (fd < 0 || ftruncate(fd, 3 * page_size))
		err(1, "memfd");
	bench_memory("file", MAP_SHARED, fd);
	bench_memory("anon", MAP_PRIVATE | MAP_ANONYMOUS, -1);
	return 0;
}
