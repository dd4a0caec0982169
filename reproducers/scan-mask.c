// SPDX-License-Identifier: GPL-2.0-only
/*
 * Problem: PAGEMAP_SCAN with PM_SCAN_WP_MATCHING and without an output buffer write-protects pages that the masks
 * leave out.  Such a page no longer is PAGE_IS_WRITTEN: its write is lost to the next dump.
 * Right: with and without a buffer only pages that match are write-protected.
 * Affected: since 6.7, dumpers that use PM_SCAN_WP_MATCHING without a buffer.
 */
#include "repro.h"

#define NR 8
#define WRITTEN 0xf0	/* the upper half of the pages is written, and so anonymous */

static int uffd, memfd;

/* Scan for PAGE_IS_FILE and write-protect the matches; return the pages that are PAGE_IS_WRITTEN then, a bit a page. */
static unsigned int written_after(bool buffer)
{
	unsigned long size = NR * page_size;
	struct page_region r[NR];
	unsigned int bits = 0;
	long n;
	char *p;

	p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE, memfd, 0);
	check(p != MAP_FAILED);
	check(!uffd_register(uffd, p, size, UFFDIO_REGISTER_MODE_WP));
	for (int i = 0; i < NR; i++)
		check(!read_signal(p + i * page_size));
	check(!protect(uffd, p, size, true));
	for (int i = NR / 2; i < NR; i++)
		p[i * page_size] = 2;

	pagemap_scan(p, size, buffer ? r : NULL, buffer ? NR : 0, PM_SCAN_WP_MATCHING | PM_SCAN_CHECK_WPASYNC,
		     PAGE_IS_FILE);
	n = pagemap_scan(p, size, r, NR, 0, PAGE_IS_WRITTEN);
	for (long i = 0; i < n; i++)
		for (unsigned long x = r[i].start; x < r[i].end; x += page_size)
			bits |= 1u << (x - (unsigned long)p) / page_size;
	munmap(p, size);
	return bits;
}

int main(int argc, char **argv)
{
	unsigned int with, without;

	begin(argc, argv, NULL, false);
	uffd = open_uffd(UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_UNPOPULATED | UFFD_FEATURE_WP_HUGETLBFS_SHMEM,
			 "UFFD_FEATURE_WP_ASYNC");
	memfd = memfd_create("reproducer", 0);
	check(memfd >= 0 && !ftruncate(memfd, NR * page_size));
	for (int i = 0; i < NR; i++)
		check(pwrite(memfd, "x", 1, i * page_size) == 1);
	with = written_after(true);
	without = written_after(false);
	printf("written pages left: %#x with a buffer, %#x without, right is %#x\n", with, without, WRITTEN);
	if (with != WRITTEN)
		finish(CANNOT_SAY, "a scan with a buffer is wrong, too");
	if (without != WRITTEN)
		finish(WRONG, "a scan without a buffer write-protects pages that do not match");
	finish(RIGHT, "only pages that match are write-protected");
}
