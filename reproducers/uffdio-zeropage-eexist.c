// SPDX-License-Identifier: GPL-2.0-only
/*
 * Problem: UFFDIO_ZEROPAGE, COPY, CONTINUE and POISON return -EEXIST although there is no page, if MADV_DONTNEED
 * frees the page table at the same time.
 * Right: the page is mapped, and dropped by MADV_DONTNEED or not; or the ioctl returns -EAGAIN.
 * Affected: since 6.14 by MADV_DONTNEED, which frees page tables since then; since 6.11 by a collapse of shmem.  Monitors
 * take -EEXIST for a page that is there, and drop its data or its poison.
 * Fix: userfaultfd: return -EAGAIN if the page table was freed.  A rare race; needs two CPUs.
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
	struct race race = { .theirs = zap, .data = &dst, .want = 100000 };
	unsigned long exists = 0, mapped = 0;
	int uffd;

	begin(argc, argv, NULL, false);
	uffd = open_uffd(0, "userfaultfd");
	dst.size = pmd_size();
	dst.p = reserve(dst.size);
	map_at(dst.p, dst.size, -1, MAP_PRIVATE);
	check(!madvise(dst.p, dst.size, MADV_NOHUGEPAGE));
	check(!uffd_register(uffd, dst.p, dst.size, UFFDIO_REGISTER_MODE_MISSING));
	race_start(&race);
	while (!exists && race_on(&race)) {
		struct uffdio_zeropage zero = { .range = { (unsigned long)dst.p, page_size } };
		int ret;

		/* A page table, for the other thread to free. */
		check(!ioctl(uffd, UFFDIO_ZEROPAGE, &zero));
		check(!madvise(dst.p, page_size, MADV_DONTNEED));
		race_begin(&race);
		ret = ioctl(uffd, UFFDIO_ZEROPAGE, &zero);
		if (ret && errno == EEXIST)
			exists++;
		else if (!ret)
			mapped++;
		race_end(&race);
		check(!madvise(dst.p, dst.size, MADV_DONTNEED));
	}
	printf("%lu mapped\n", mapped);
	if (!mapped)
		finish(CANNOT_SAY, "UFFDIO_ZEROPAGE mapped nothing");
	race_finish(&race, exists, "UFFDIO_ZEROPAGE: EEXIST without a page");
}
