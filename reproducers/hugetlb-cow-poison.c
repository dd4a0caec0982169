// SPDX-License-Identifier: GPL-2.0-only
/*
 * Problem: the owner of a private hugetlb mapping writes to a page that it shares with a child, and the pool is
 * empty.  The kernel takes the page back from the owner's children, and clears entries of other pages, too: here the
 * poison marker of another child, which then reads zeroes.
 * Right: an entry that does not map the page that is taken back stays as it is.
 * Affected: users of private hugetlb mappings that fork.  Entries of poisoned pages (UFFDIO_POISON,
 * since 6.6; memory failure) and of pages under migration are lost.
 * Fix: mm/hugetlb: leave other entries alone when a COW takes a page back.  Changes nr_hugepages while it runs.
 */
#include "repro.h"

static atomic_int *stage;

/* A child with a poison marker of its own; the exit status reports that page after the owner's write. */
static int poisoned_child(char *p, unsigned long size)
{
	int uffd = open_uffd(UFFD_FEATURE_POISON, "UFFDIO_POISON"), found;

	check(!madvise(p, size, MADV_DONTNEED));
	check(!uffd_register(uffd, p, size, UFFDIO_REGISTER_MODE_MISSING));
	if (uffd_poison(uffd, p, size))
		no_feature("UFFDIO_POISON of hugetlb");
	check(!uffd_unregister(uffd, p, size));
	atomic_store(stage, 1);
	while (atomic_load(stage) != 2)
		sched_yield();
	found = read_signal(p);
	return found == SIGBUS ? 10 : found ? 11 : 12;
}

int main(int argc, char **argv)
{
	unsigned long size, available;
	pid_t child, sharer;
	int status, memfd;
	char *p;

	begin(argc, argv, "resize the hugetlb pool and empty it for a moment", true);
	size = hugetlb_pool(2);
	if (read_number("/proc/sys/vm/nr_overcommit_hugepages", ""))
		finish(CANNOT_SAY, "nr_overcommit_hugepages is not 0");
	stage = mmap(NULL, page_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	check(stage != MAP_FAILED);
	memfd = memfd_create("reproducer", MFD_HUGETLB);
	check(memfd >= 0 && !ftruncate(memfd, size));
	p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE, memfd, 0);
	check(p != MAP_FAILED);
	p[0] = 'p';

	child = fork();
	check(child >= 0);
	if (!child) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		fflush(stdout);
		pool_before = -1;
		_exit(poisoned_child(p, size));
	}
	while (atomic_load(stage) != 1) {
		if (waitpid(child, &status, WNOHANG) == child)
			exit(CANNOT_SAY);	/* the child has given the reason */
		sched_yield();
	}
	sharer = fork();
	check(sharer >= 0);
	if (!sharer) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
	/* An empty pool: the owner's write has to take the page from the sharer. */
	available = read_number("/proc/meminfo", "HugePages_Free:");
	put_number(pool_file, read_number(pool_file, "") - available);
	if (read_number("/proc/meminfo", "HugePages_Free:"))
		finish(CANNOT_SAY, "the hugetlb pool could not be emptied");
	p[0] = 'w';
	kill(sharer, SIGKILL);
	check(waitpid(sharer, &status, 0) == sharer);
	/* The pool is not empty when the child looks. */
	put_number(pool_file, read_number(pool_file, "") + 2);
	if (read_number("/proc/meminfo", "HugePages_Free:") < 1)
		finish(CANNOT_SAY, "no free hugetlb page for the child");
	atomic_store(stage, 2);
	check(waitpid(child, &status, 0) == child);
	munmap(p, size);
	close(memfd);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 10)
		finish(RIGHT, "the child's page is poisoned after the owner's write");
	if (WIFEXITED(status) && WEXITSTATUS(status) == 12)
		finish(WRONG, "the child reads its poisoned page after the owner's write");
	finish(CANNOT_SAY, "the child ended with status %#x", status);
}
