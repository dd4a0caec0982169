// SPDX-License-Identifier: GPL-2.0-only
/*
 * Problem: while a hugetlb file is truncated, a page fault can map a page that userfaultfd has write-protected as
 * writable, without a notification.  The page still has its contents, and a write to it succeeds.
 * Right: a write to a write-protected page is notified, for as long as the page has its contents.
 * Affected: since 6.1, live migration and snapshots of memory in hugetlb files that others truncate.
 * Fix: hugetlbfs: keep uffd-wp markers when a file is truncated.  A race; needs two CPUs.
 * Changes nr_hugepages while it runs.
 */
#include "repro.h"

#define NR 8

struct file {
	int fd;
};

static void truncate_file(void *data)
{
	struct file *f = data;

	if (ftruncate(f->fd, 0))
		perror("ftruncate");
}

/* True if @word was @tag and has been exchanged: a write that was not notified. */
static bool exchange(unsigned long *word, unsigned long tag)
{
	bool done = false;

	if (!sigsetjmp(jump, 1)) {
		jump_set = 1;
		done = __sync_bool_compare_and_swap(word, tag, 1);
	}
	jump_set = 0;
	return done;
}

int main(int argc, char **argv)
{
	struct file file;
	struct race race = { .theirs = truncate_file, .data = &file, .want = 100 };
	unsigned long unit, tag = 1, silent = 0, *last;
	char *p, *other;
	int uffd;

	begin(argc, argv, RESIZES_POOL, true);
	/* SIGBUS is the notification */
	uffd = open_uffd(UFFD_FEATURE_SIGBUS | UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_WP_HUGETLBFS_SHMEM,
			 "userfaultfd write-protection of hugetlb");
	unit = hugetlb_pool(NR);
	file.fd = memfd_create("reproducer", MFD_HUGETLB);
	check(file.fd >= 0 && !ftruncate(file.fd, NR * unit));
	p = reserve(NR * unit);
	other = reserve(NR * unit);
	map_at(p, NR * unit, file.fd, MAP_SHARED);
	map_at(other, NR * unit, file.fd, MAP_SHARED);
	check(!uffd_register(uffd, p, NR * unit, UFFDIO_REGISTER_MODE_WP));
	last = (unsigned long *)(p + (NR - 1) * unit);
	race_start(&race);
	while (!silent && race_on(&race)) {
		tag += 2;
		check(!ftruncate(file.fd, NR * unit));
		for (unsigned long i = 0; i < NR; i++)
			*(unsigned long *)(other + i * unit) = tag;
		check(!protect(uffd, p, NR * unit, true));
		for (unsigned long i = 0; i < NR; i++)
			check(!read_signal(p + i * unit));
		race_begin(&race);
		do {
			if (exchange(last, tag)) {
				silent++;
				break;
			}
		} while (atomic_load(&race.done) != race.rounds);
		race_end(&race);
	}
	munmap(p, NR * unit);
	munmap(other, NR * unit);
	close(file.fd);
	race_finish(&race, silent, "writes to a write-protected page without a notification");
}
