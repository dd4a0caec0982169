// SPDX-License-Identifier: GPL-2.0-only
/*
 * Problem: fork() drops the guard regions of a shared mapping that was merged with its neighbour when the neighbour
 * got the same name.  The child accesses the memory where the parent gets SIGSEGV.
 * Right: a guard region of a shared mapping is a guard region in the child, too.
 * Affected: since 6.19, processes that name shared anonymous memory, have guard regions in it, and fork.
 * Fix: mm/vma: keep VMA_MAYBE_GUARD when flags change under MADV_GUARD_INSTALL.  Wants CONFIG_ANON_VMA_NAME.
 */
#include "repro.h"

static bool name(char *p, unsigned long size)
{
	return !prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, p, size, "reproducer");
}

int main(int argc, char **argv)
{
	unsigned long size;
	int status;
	pid_t pid;
	char *p;

	begin(argc, argv, NULL, false);
	size = 4 * page_size;
	p = mmap(NULL, 2 * size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	check(p != MAP_FAILED);
	if (!name(p, size) && errno == EINVAL)
		no_feature("PR_SET_VMA_ANON_NAME (CONFIG_ANON_VMA_NAME)");
	if (!name(p, size))
		finish(CANNOT_SAY, "PR_SET_VMA_ANON_NAME: %s", strerror(errno));
	if (madvise(p, page_size, MADV_GUARD_INSTALL))
		finish(CANNOT_SAY, "MADV_GUARD_INSTALL of shared memory: %s", strerror(errno));
	check(name(p + size, size));
	if (read_signal(p) != SIGSEGV)
		finish(CANNOT_SAY, "there is no guard region");

	pid = fork();
	check(pid >= 0);
	if (!pid)
		_exit(read_signal(p));
	check(waitpid(pid, &status, 0) == pid);
	if (!WIFEXITED(status))
		finish(CANNOT_SAY, "the child ended by signal %d", WTERMSIG(status));
	if (WEXITSTATUS(status) == SIGSEGV)
		finish(RIGHT, "the child has the guard region");
	finish(WRONG, "the child reads the page that is a guard region in its parent");
}
