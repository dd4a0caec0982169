// SPDX-License-Identifier: GPL-2.0-only
/*
 * Problem: a process unmaps a hugetlb page while root lowers nr_hugepages to 0.  The page stays in the pool:
 * nr_hugepages, free_hugepages and surplus_hugepages are 1, and another write of 0 does not change that.
 * Right: nr_hugepages is 0 when nobody uses a page any more.
 * Affected: since 5.13 at each shrinking (since 3.15 at times); machines that give hugetlb memory back.
 * Fix: mm/hugetlb: make remaining folios surplus before dropping the lock.  A race; needs two CPUs.
 * Changes nr_hugepages and vm.hugetlb_optimize_vmemmap while it runs.
 */
#include "repro.h"

#define NR 64
#define HVO "/proc/sys/vm/hugetlb_optimize_vmemmap"

struct user {
	char *p;
	unsigned long size;
	long full;
	bool met;
	atomic_bool ready, shrinking;
};

static long hvo_before = -1;

static void hvo_restore(void)
{
	if (hvo_before >= 0)
		put_number(HVO, hvo_before);
}

/* Give the page back as soon as the pool is smaller. */
static void *unmap_when_smaller(void *data)
{
	struct user *u = data;
	bool smaller;

	atomic_store(&u->ready, true);
	do
		smaller = read_number(pool_file, "") < u->full;
	while (!smaller && atomic_load(&u->shrinking));
	munmap(u->p, u->size);
	u->met = smaller && atomic_load(&u->shrinking);
	return NULL;
}

int main(int argc, char **argv)
{
	struct race race = { .want = 20 };
	unsigned long size, stayed = 0;

	begin(argc, argv, "resize the hugetlb pool, and change vm.hugetlb_optimize_vmemmap while it runs", true);
	size = hugetlb_pool(0);
	if (pool_before)
		finish(CANNOT_SAY, "the hugetlb pool is in use; lower nr_hugepages to 0 first");
	/* Restoring the vmemmap of each page takes longer, and the window is wider. */
	hvo_before = read_number(HVO, "");
	atexit(hvo_restore);
	put_number(HVO, 1);
	race.began = seconds();
	while (!stayed && race_on(&race)) {
		struct user u = { .size = size };
		pthread_t thread;

		atomic_store(&u.shrinking, true);
		put_number(pool_file, NR);
		u.full = read_number(pool_file, "");
		if (u.full < 2)
			finish(CANNOT_SAY, "no memory for hugetlb pages");
		u.p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
		check(u.p != MAP_FAILED);
		u.p[0] = 1;
		check(!pthread_create(&thread, NULL, unmap_when_smaller, &u));
		while (!atomic_load(&u.ready))
			sched_yield();
		put_number(pool_file, 0);
		atomic_store(&u.shrinking, false);
		pthread_join(thread, NULL);
		race.rounds++;
		race.overlaps += u.met;
		put_number(pool_file, 0);
		stayed += read_number(pool_file, "") > 0;
	}
	/* A page that stayed is the pool's again if the pool grows. */
	put_number(pool_file, NR);
	race_finish(&race, stayed, "hugetlb pages stayed after nr_hugepages = 0");
}
