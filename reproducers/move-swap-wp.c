// SPDX-License-Identifier: GPL-2.0-only
/*
 * Problem: UFFDIO_MOVE moves a page that is swapped out, and takes the uffd-wp bit of the source along.  PAGEMAP_SCAN
 * does not report the new contents at the destination as written, and an incremental dump misses them.
 * Right: what UFFDIO_MOVE moves is written at its destination, swapped out or not.
 * Affected: since 6.8, users of UFFDIO_MOVE that also track writes.  Needs swap.
 * Fix: userfaultfd: UFFDIO_MOVE: clear the uffd bit of a swap entry.
 */
#include "repro.h"

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif
#define NR 8

static char *map(unsigned long size)
{
	char *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	check(p != MAP_FAILED);
	madvise(p, size, MADV_NOHUGEPAGE);
	return p;
}

/* How many of the moved pages are not reported as written? */
static int unreported(bool swapped)
{
	int uffd = open_uffd(UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_UNPOPULATED | UFFD_FEATURE_MOVE,
			     "UFFDIO_MOVE, UFFD_FEATURE_WP_ASYNC");
	unsigned long size = NR * page_size;
	char *src = map(size), *dst = map(size);
	struct uffdio_move move = { .dst = (unsigned long)dst, .src = (unsigned long)src, .len = size };
	int out = 0, missed = 0;

	check(!uffd_register(uffd, src, size, UFFDIO_REGISTER_MODE_WP));
	check(!uffd_register(uffd, dst, size, UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_WP));
	memset(src, 0x5a, size);
	check(!protect(uffd, src, size, true));
	if (swapped) {
		for (int i = 0; i < 20 && out < NR; i++) {
			check(!madvise(src, size, MADV_PAGEOUT));
			out = 0;
			for (int j = 0; j < NR; j++)
				out += pagemap_entry(src + j * page_size) >> 62 & 1;
		}
		if (!out)
			finish(CANNOT_SAY, "nothing was swapped out; is there swap?");
	}
	check(!ioctl(uffd, UFFDIO_MOVE, &move));
	for (int i = 0; i < NR; i++)
		missed += !is_written(dst + i * page_size, page_size);
	close(uffd);
	return missed;
}

int main(int argc, char **argv)
{
	int missed;

	begin(argc, argv, NULL, false);
	/* without CPUs between which pages wait for the LRU */
	pin_to(sched_getcpu());
	if (unreported(false))
		finish(CANNOT_SAY, "moved pages that are present are not reported, either");
	missed = unreported(true);
	if (missed)
		finish(WRONG, "%d of %d pages that UFFDIO_MOVE has moved are not PAGE_IS_WRITTEN", missed, NR);
	finish(RIGHT, "pages that UFFDIO_MOVE has moved are PAGE_IS_WRITTEN");
}
