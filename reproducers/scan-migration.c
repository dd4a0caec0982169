// SPDX-License-Identifier: GPL-2.0-only
/*
 * Problem: PAGEMAP_SCAN with PM_SCAN_WP_MATCHING meets pages under migration.  It does not take the right to write from
 * them, and they come back without write-protection: they are reported as written though nobody has written to them.
 * Right: a page that PAGEMAP_SCAN has write-protected is reported again after a write only.
 * Affected: since 6.7, incremental dumpers: pages are dumped once more than needed.  Needs two NUMA nodes.
 * Fix: fs/proc/task_mmu: PAGEMAP_SCAN: write-protect pages under migration.
 */
#include "repro.h"

#ifndef MPOL_MF_MOVE
#define MPOL_MF_MOVE 2
#endif
#define NR 64

struct pages {
	char *p;
	void *each[NR];
	int nodes[NR], status[NR];
	int error;
};

/* Move all pages to the other node. */
static void move(void *data)
{
	struct pages *pages = data;
	int node = !pages->nodes[0];

	for (int i = 0; i < NR; i++)
		pages->nodes[i] = node;
	pages->error = syscall(SYS_move_pages, 0, NR, pages->each, pages->nodes, pages->status, MPOL_MF_MOVE) < 0 ? errno : 0;
}

static bool moved(const struct pages *pages)
{
	return !pages->error && pages->status[0] == pages->nodes[0];
}

int main(int argc, char **argv)
{
	static struct pages pages;
	struct race race = { .theirs = move, .data = &pages, .want = 200 };
	struct page_region region;
	unsigned long size, bad = 0, moves = 0;
	int uffd;

	begin(argc, argv, NULL, false);
	if (access("/sys/devices/system/node/node1", F_OK))
		no_feature("a second NUMA node");
	size = NR * page_size;
	uffd = open_uffd(UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_UNPOPULATED, "UFFD_FEATURE_WP_ASYNC");
	pages.p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	check(pages.p != MAP_FAILED);
	madvise(pages.p, size, MADV_NOHUGEPAGE);
	for (int i = 0; i < NR; i++)
		pages.each[i] = pages.p + i * page_size;
	check(!uffd_register(uffd, pages.p, size, UFFDIO_REGISTER_MODE_WP));
	memset(pages.p, 0x5a, size);
	for (int i = 0; i < 2; i++) {
		move(&pages);
		if (!moved(&pages))
			finish(CANNOT_SAY, "move_pages() to node %d: %s", pages.nodes[0], strerror(pages.error ?: -pages.status[0]));
	}
	race_start(&race);
	while (!bad && race_on(&race)) {
		memset(pages.p, 0x5a, size);
		race_begin(&race);
		pagemap_scan(pages.p, size, &region, 1, PM_SCAN_WP_MATCHING | PM_SCAN_CHECK_WPASYNC, PAGE_IS_WRITTEN);
		race_end(&race);
		/* The scan has to report all pages as one region, and write-protects them. */
		if (region.start != (unsigned long)pages.p || region.end != region.start + size)
			finish(CANNOT_SAY, "PAGEMAP_SCAN does not report pages that were written");
		bad += is_written(pages.p, size);
		moves += moved(&pages);
	}
	if (!bad && moves < race.rounds / 2)
		finish(CANNOT_SAY, "move_pages() moved pages in %lu of %lu rounds", moves, race.rounds);
	race_finish(&race, bad, "pages are reported as written that nobody has written to");
}
