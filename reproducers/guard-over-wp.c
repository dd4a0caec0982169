// SPDX-License-Identifier: GPL-2.0-only
/*
 * Problem: MADV_GUARD_INSTALL never comes back from a range of shmem that userfaultfd has write-protected.  It spins,
 * until a signal ends the process.
 * Right: MADV_GUARD_INSTALL returns 0, and the pages raise SIGSEGV.
 * Affected: since 6.15, allocators and runtimes with guard regions in memory that a monitor write-protects.
 * Fix: mm/madvise: install guard regions where uffd-wp markers are.
 */
#include "repro.h"

/* The child, which spins until SIGALRM on a kernel with the bug. */
static int install(void)
{
	unsigned long size = 16 * page_size;
	int uffd = open_uffd(UFFD_FEATURE_SIGBUS | UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_WP_HUGETLBFS_SHMEM,
			     "userfaultfd write-protection of shmem");
	int memfd = memfd_create("reproducer", 0);
	char *p;

	check(memfd >= 0 && !ftruncate(memfd, size));
	p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
	check(p != MAP_FAILED);
	if (madvise(p, size, MADV_GUARD_INSTALL))
		no_feature("MADV_GUARD_INSTALL of a file mapping");
	check(!madvise(p, size, MADV_GUARD_REMOVE));
	memset(p, 0x5a, size);
	check(!uffd_register(uffd, p, size, UFFDIO_REGISTER_MODE_WP));
	check(!protect(uffd, p, size, true));
	alarm(limit_seconds < 5 ? limit_seconds : 5);
	check(!madvise(p, size, MADV_GUARD_INSTALL));
	return read_signal(p) == SIGSEGV ? 10 : 11;
}

int main(int argc, char **argv)
{
	int status;
	pid_t pid;

	begin(argc, argv, NULL, false);
	pid = fork();
	check(pid >= 0);
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		_exit(install());
	}
	check(waitpid(pid, &status, 0) == pid);
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
		finish(WRONG, "MADV_GUARD_INSTALL of 16 write-protected pages did not return within 5 seconds");
	if (WIFEXITED(status) && WEXITSTATUS(status) == 10)
		finish(RIGHT, "MADV_GUARD_INSTALL of write-protected pages has installed guards");
	if (WIFEXITED(status) && WEXITSTATUS(status) == 11)
		finish(WRONG, "MADV_GUARD_INSTALL returned 0, and a page is not guarded");
	if (WIFEXITED(status) && WEXITSTATUS(status) == CANNOT_SAY)
		exit(CANNOT_SAY);	/* the child has given the reason */
	finish(CANNOT_SAY, "the child ended with status %#x", status);
}
