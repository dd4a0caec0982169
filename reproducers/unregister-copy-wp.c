// SPDX-License-Identifier: GPL-2.0-only
/*
 * Problem: memory is unregistered from a userfaultfd while a thread fills it with write-protected pages.  Pages keep the
 * uffd-wp bit.  An incremental dump that tracks the memory later misses writes to these pages.
 * Right: memory that is not registered has no uffd-wp bits, and a dump reports each write.
 * Affected: since 6.9, programs that unregister memory before their last UFFDIO_COPY or UFFDIO_CONTINUE has returned.
 * Fix: userfaultfd: lock the VMA before UFFDIO_UNREGISTER clears uffd bits.  A race; needs two CPUs.
 */
#include "repro.h"

#define NR 32

struct copier {
	int uffd;
	char *p, *source;
};

static void copy_protected(void *data)
{
	struct copier *c = data;

	for (int i = 0; i < NR; i++) {
		struct uffdio_copy copy = {
			.dst = (unsigned long)c->p + i * page_size,
			.src = (unsigned long)c->source,
			.len = page_size,
			.mode = UFFDIO_COPY_MODE_WP,
		};

		if (ioctl(c->uffd, UFFDIO_COPY, &copy))
			break;
	}
}

/* How many pages of memory that nobody tracks have the bit? */
static int count_bits(char *p)
{
	int bits = 0;

	for (int i = 0; i < NR; i++)
		bits += pagemap_entry(p + i * page_size) >> 57 & 1;
	return bits;
}

/* Write to all pages, have @async track them, and write again: how many does it not report? */
static int count_missed(char *p, int async)
{
	int missed = 0;

	memset(p, 1, NR * page_size);
	check(!uffd_register(async, p, NR * page_size, UFFDIO_REGISTER_MODE_WP));
	memset(p, 2, NR * page_size);
	for (int i = 0; i < NR; i++)
		missed += !is_written(p + i * page_size, page_size);
	check(!uffd_unregister(async, p, NR * page_size));
	return missed;
}

int main(int argc, char **argv)
{
	struct copier c;
	struct race race = { .theirs = copy_protected, .data = &c, .want = 1000 };
	unsigned long bad = 0;
	int async, bits, missed = 0;

	begin(argc, argv, NULL, false);
	c.uffd = open_uffd(UFFD_FEATURE_PAGEFAULT_FLAG_WP, "write-protection by userfaultfd");
	async = open_uffd(UFFD_FEATURE_WP_ASYNC, "asynchronous write-protection by userfaultfd");
	c.p = mmap(NULL, NR * page_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	c.source = mmap(NULL, page_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	check(c.p != MAP_FAILED && c.source != MAP_FAILED);
	madvise(c.p, NR * page_size, MADV_NOHUGEPAGE);
	memset(c.source, 0x5a, page_size);
	/* What the race would leave, without a race: pagemap shows it. */
	check(!uffd_register(c.uffd, c.p, NR * page_size, UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_WP));
	copy_protected(&c);
	if (count_bits(c.p) != NR)
		finish(CANNOT_SAY, "UFFDIO_COPY has not filled the memory, or pagemap does not show the write-protection");
	check(!uffd_unregister(c.uffd, c.p, NR * page_size));
	race_start(&race);
	while (!bad && race_on(&race)) {
		check(!madvise(c.p, NR * page_size, MADV_DONTNEED));
		check(!uffd_register(c.uffd, c.p, NR * page_size, UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_WP));
		race_begin(&race);
		check(!uffd_unregister(c.uffd, c.p, NR * page_size));
		race_end(&race);
		bits = count_bits(c.p);
		if (bits) {
			missed = count_missed(c.p, async);
			printf("%d of %d pages have the bit; a dump misses writes to %d\n", bits, NR, missed);
			bad++;
		}
	}
	race_finish(&race, bad, missed ? "memory that is not registered keeps uffd-wp bits: a dump misses writes" :
		    "memory that is not registered keeps uffd-wp bits");
}
