// SPDX-License-Identifier: GPL-2.0-only
/*
 * Problem: mremap() moves a part of the memory, finds no memory for a page table, and moves that part back.  The
 * write-protection of userfaultfd is lost there: writes are not reported.
 * Right: memory that a failed mremap() leaves where it was is as write-protected as before.
 * Affected: since 6.13, monitors of processes whose mremap() fails, at the limit of a memory cgroup for example.
 * Fix: mm/mremap: keep uffd-wp bits until the move has succeeded.
 */
#include "repro.h"
#include <sys/mount.h>
#include <sys/stat.h>

#define CGROUPS "/sys/fs/cgroup/"
#define CGROUP CGROUPS "reproducer/"
/* page tables that the move needs, and pages that the limit leaves */
#define TABLES 512
#define SLACK 200

/* The cgroup: where there is no memory, the kernel kills nobody (oom_score_adj) and the call fails. */
static void enter_cgroup(void)
{
	mkdir(CGROUPS, 0755);
	mount("cgroup2", CGROUPS, "cgroup2", 0, NULL);
	put(CGROUPS "cgroup.subtree_control", "+memory");
	if (mkdir(CGROUP, 0755) && errno != EEXIST)
		no_feature("cgroup2, at " CGROUPS);
	if (access(CGROUP "memory.max", W_OK))
		no_feature("memory cgroups of version 2");
	check(put(CGROUP "cgroup.procs", "0"));
	check(put("/proc/self/oom_score_adj", "-1000"));
	if (!access(CGROUP "memory.swap.max", W_OK))
		check(put(CGROUP "memory.swap.max", "0"));
}

/* In a child, which leaves the cgroup when it ends. */
static void fail_to_move(void)
{
	int uffd = open_uffd(UFFD_FEATURE_WP_ASYNC, "UFFD_FEATURE_WP_ASYNC");
	unsigned long step = page_size / 8 * page_size, size = TABLES * step, lost = 0;
	char *from, *to;
	void *ret;
	long max;

	/* a page in each page table; the new place has other offsets in its page tables, which cannot be moved whole */
	from = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	check(from != MAP_FAILED);
	madvise(from, size, MADV_NOHUGEPAGE);
	to = reserve(size + step) + page_size;
	check(!uffd_register(uffd, from, size, UFFDIO_REGISTER_MODE_WP));
	for (unsigned long i = 0; i < size; i += step) {
		from[i] = 0x5a;
		check(!protect(uffd, from + i, page_size, true));
		if (is_written(from + i, page_size))
			finish(CANNOT_SAY, "a write-protected page is reported as written");
	}

	max = read_number(CGROUP "memory.current", "");
	check(max > 0 && put_number(CGROUP "memory.max", max + SLACK * page_size));
	ret = mremap(from, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, to);
	put(CGROUP "memory.max", "max");
	if (ret != MAP_FAILED)
		finish(CANNOT_SAY, "mremap() did not fail at the limit of a memory cgroup");
	check(errno == ENOMEM);
	for (unsigned long i = 0; i < size; i += step)
		lost += is_written(from + i, page_size);
	if (lost)
		finish(WRONG, "%lu of %d pages have lost their write-protection by an mremap() that failed", lost, TABLES);
	finish(RIGHT, "an mremap() that failed leaves the write-protection");
}

int main(int argc, char **argv)
{
	int status;
	pid_t pid;

	begin(argc, argv, "make a memory cgroup while it runs, and log that memory ran out there", true);
	pid = fork();
	check(pid >= 0);
	if (!pid) {
		enter_cgroup();
		fail_to_move();
	}
	check(waitpid(pid, &status, 0) == pid);
	rmdir(CGROUP);
	if (!WIFEXITED(status))
		finish(CANNOT_SAY, "the child was killed: %s", strsignal(WTERMSIG(status)));
	return WEXITSTATUS(status);
}
