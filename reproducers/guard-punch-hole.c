// SPDX-License-Identifier: GPL-2.0-only
/*
 * Problem: punching a hole into a file removes guard regions from mappings of the file, if another mapping reads the
 * file at the same time.
 * Right: a guard region stays until it is unmapped, or MADV_GUARD_REMOVE removes it.
 * Affected: since 6.15, programs that guard parts of a shared file mapping.  Truncation and O_DIRECT writes do the
 * same.
 * Fix: mm: guard regions end only with their mapping.  A race; needs two CPUs.
 */
#include "repro.h"

#define NR 16

struct reader {
	char *p;
	atomic_ulong passes;
	atomic_bool stop;
};

static void *read_pages(void *data)
{
	struct reader *r = data;

	while (!atomic_load(&r->stop)) {
		for (unsigned long i = 0; i < NR; i++)
			(void)*(volatile char *)(r->p + i * page_size);
		atomic_fetch_add(&r->passes, 1);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	struct race race = { .want = 300 };
	struct reader reader = { .p = NULL };
	unsigned long lost = 0, size;
	pthread_t thread;
	char *guarded;
	int fd;

	begin(argc, argv, NULL, false);
	size = NR * page_size;
	fd = memfd_create("reproducer", 0);
	check(fd >= 0 && !ftruncate(fd, size));
	reader.p = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
	guarded = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
	check(reader.p != MAP_FAILED && guarded != MAP_FAILED);
	if (madvise(guarded, size, MADV_GUARD_INSTALL))
		no_feature("MADV_GUARD_INSTALL of a file mapping");
	check(!pthread_create(&thread, NULL, read_pages, &reader));
	race.began = seconds();
	while (!lost && race_on(&race)) {
		unsigned long passes = atomic_load(&reader.passes);

		check(!madvise(guarded, size, MADV_GUARD_INSTALL));
		check(!fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, size));
		/* a pass that began and ended during these calls */
		race.overlaps += atomic_load(&reader.passes) - passes >= 2;
		race.rounds++;
		for (unsigned long i = 0; i < NR; i++)
			lost += read_signal(guarded + i * page_size) != SIGSEGV;
	}
	atomic_store(&reader.stop, true);
	pthread_join(thread, NULL);
	race_finish(&race, lost, "guard regions lost by punching a hole");
}
