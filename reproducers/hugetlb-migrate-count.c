// SPDX-License-Identifier: GPL-2.0-only
/*
 * Problem: root lowers nr_hugepages while a hugetlb page is being migrated.  surplus_hugepages stays 1 without a
 * page, and the pool of that size can never grow again.
 * Right: surplus_hugepages is 0 when nobody uses a page, and the pool grows.
 * Affected: since 4.16, machines that resize their hugetlb pool; soft offline, compaction and NUMA balancing migrate.
 * Fix: mm/hugetlb: do not count temporary folios of a migration.  A race; needs two CPUs.
 */
#include "repro.h"

#define ROUNDS 300

struct page {
	char *p;
	unsigned long migrated;
};

/* Soft offline is the plainest way to migrate a page. */
static void soft_offline(void *data)
{
	struct page *page = data;

	page->migrated += !madvise(page->p, page_size, MADV_SOFT_OFFLINE);
}

int main(int argc, char **argv)
{
	struct page page = { .migrated = 0 };
	struct race race = { .theirs = soft_offline, .data = &page, .want = 200 };
	char surplus_file[sizeof(pool_file) + 8];
	unsigned long size, failed = 0;
	long surplus = 0;

	begin(argc, argv, "take 300 pages of 4 kB out of use and spoil the hugetlb pool until the next boot", true);
	size = hugetlb_pool(0);
	if (pool_before)
		finish(CANNOT_SAY, "the hugetlb pool is in use; lower nr_hugepages to 0 first");
	if (madvise(NULL, 0, MADV_SOFT_OFFLINE))
		no_feature("MADV_SOFT_OFFLINE (CONFIG_MEMORY_FAILURE)");
	strcpy(surplus_file, pool_file);
	strcpy(strrchr(surplus_file, '/'), "/surplus_hugepages");
	race_start(&race);
	/* until so many pages are out of use that no hugetlb page can be made */
	while (surplus <= 0 && failed < 10 && race.rounds < ROUNDS && race_on(&race)) {
		unsigned long migrated = page.migrated;

		/* The only page of the pool: the migration needs another one. */
		put_number(pool_file, 1);
		page.p = mmap(NULL, size, PROT_READ | PROT_WRITE,
			      MAP_SHARED | MAP_ANONYMOUS | MAP_HUGETLB | MAP_POPULATE, -1, 0);
		if (page.p == MAP_FAILED)
			break;
		race_begin(&race);
		put_number(pool_file, 0);
		race_end(&race);
		munmap(page.p, size);
		put_number(pool_file, 0);
		surplus = read_number(surplus_file, "");
		failed = page.migrated == migrated ? failed + 1 : 0;
	}
	put_number(pool_file, 1);
	printf("%lu pages migrated; nr_hugepages %ld after 1 was written\n", page.migrated,
	       read_number(pool_file, ""));
	if (!page.migrated && read_number("/proc/meminfo", "HardwareCorrupted:") <= 0)
		finish(CANNOT_SAY, "MADV_SOFT_OFFLINE migrated nothing");
	race_finish(&race, surplus > 0, "surplus hugetlb pages that do not exist");
}
