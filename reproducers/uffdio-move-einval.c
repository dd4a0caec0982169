// SPDX-License-Identifier: GPL-2.0-only
/*
 * Problem: UFFDIO_MOVE returns -EINVAL for valid arguments, if MADV_DONTNEED frees the page table of the destination
 * at the same time.
 * Right: the page is moved, and dropped by MADV_DONTNEED or not; or the ioctl returns -EAGAIN.
 * Affected: since 6.14 on x86_64, later elsewhere (where PT_RECLAIM is); garbage collectors and memory compactors that
 * use UFFDIO_MOVE.
 * Fix: userfaultfd: UFFDIO_MOVE: try again when a page table is freed.  A race; needs two CPUs.
 */
#include "repro.h"

struct range {
	char *p;
	unsigned long size;
};

static void zap(void *data)
{
	struct range *r = data;

	madvise(r->p, r->size, MADV_DONTNEED);
}

int main(int argc, char **argv)
{
	struct range dst;
	struct race race = { .theirs = zap, .data = &dst, .want = 4000 };
	unsigned long invalid = 0, moved = 0;
	char *src;
	int uffd;

	begin(argc, argv, NULL, false);
	uffd = open_uffd(UFFD_FEATURE_MOVE, "UFFDIO_MOVE");
	dst.size = pmd_size();
	dst.p = reserve(dst.size);
	src = reserve(dst.size);
	map_at(src, dst.size, -1, MAP_PRIVATE);
	map_at(dst.p, dst.size, -1, MAP_PRIVATE);
	check(!madvise(src, dst.size, MADV_NOHUGEPAGE) && !madvise(dst.p, dst.size, MADV_NOHUGEPAGE));
	check(!uffd_register(uffd, dst.p, dst.size, UFFDIO_REGISTER_MODE_MISSING));
	race_start(&race);
	while (!invalid && race_on(&race)) {
		struct uffdio_move move = {
			.src = (unsigned long)src, .dst = (unsigned long)dst.p, .len = page_size,
		};
		struct uffdio_zeropage zero = { .range = { (unsigned long)dst.p, page_size } };
		int ret;

		src[0] = 1;
		/* A page table at the destination, for the other thread to free. */
		check(!ioctl(uffd, UFFDIO_ZEROPAGE, &zero));
		check(!madvise(dst.p, page_size, MADV_DONTNEED));
		race_begin(&race);
		ret = ioctl(uffd, UFFDIO_MOVE, &move);
		if (ret && errno == EINVAL)
			invalid++;
		else if (!ret)
			moved++;
		race_end(&race);
		check(!madvise(dst.p, dst.size, MADV_DONTNEED));
	}
	printf("%lu moved\n", moved);
	if (!moved)
		finish(CANNOT_SAY, "UFFDIO_MOVE moved nothing");
	race_finish(&race, invalid, "UFFDIO_MOVE: EINVAL for valid arguments");
}
