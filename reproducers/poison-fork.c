// SPDX-License-Identifier: GPL-2.0-only
/*
 * Problem: fork() drops the poison markers of a shared mapping.  The child reads older data where the parent gets
 * SIGBUS.
 * Right: a page that UFFDIO_POISON has poisoned raises SIGBUS in the child, too.
 * Affected: since 6.6, processes that fork with a shared mapping registered for missing or minor faults.
 * Fix: mm: copy poison markers of shared mappings at fork().
 */
#include "repro.h"

int main(int argc, char **argv)
{
	int memfd, uffd, status;
	unsigned long size;
	char *p, *poisoned;
	pid_t pid;

	begin(argc, argv, NULL, false);
	uffd = open_uffd(UFFD_FEATURE_MINOR_SHMEM | UFFD_FEATURE_POISON, "UFFDIO_POISON and minor faults of shmem");
	size = 16 * page_size;
	memfd = memfd_create("reproducer", 0);
	check(memfd >= 0 && !ftruncate(memfd, size));
	p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
	check(p != MAP_FAILED);
	memset(p, 0x5a, size);
	check(!madvise(p, size, MADV_DONTNEED));
	poisoned = p + 5 * page_size;
	check(!uffd_register(uffd, p, size, UFFDIO_REGISTER_MODE_MINOR));
	check(!uffd_poison(uffd, poisoned, page_size));
	if (read_signal(poisoned) != SIGBUS)
		finish(CANNOT_SAY, "the page was not poisoned");

	pid = fork();
	check(pid >= 0);
	if (!pid)
		_exit(read_signal(poisoned));
	check(waitpid(pid, &status, 0) == pid);
	if (!WIFEXITED(status))
		finish(CANNOT_SAY, "the child ended by signal %d", WTERMSIG(status));
	if (WEXITSTATUS(status) == SIGBUS)
		finish(RIGHT, "the page is poisoned in the child");
	finish(WRONG, "the child reads the page that is poisoned in its parent");
}
