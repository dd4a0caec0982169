// SPDX-License-Identifier: GPL-2.0-only
/*
 * Problem: fork() drops a guard region of a shared mapping if another thread changes the VMA while the region is
 * installed, here by mprotect(), or if the VMA is merged with its neighbour by a name.  The child accesses the memory
 * where the parent gets SIGSEGV.
 * Right: a guard region of a shared mapping is a guard region in the child, too.
 * Affected: since 6.19, processes with guard regions in shared memory that they protect, lock, split or name, and that
 * fork.
 * Fix: mm/vma: keep VMA_MAYBE_GUARD when flags change under MADV_GUARD_INSTALL.  A race, which needs two CPUs; with
 * CONFIG_ANON_VMA_NAME, first without a race.
 */
#include "repro.h"

static void install(void *data)
{
	madvise(data, page_size, MADV_GUARD_INSTALL);
}

/* The signal that reading the page raises in a child. */
static int child_signal(char *p)
{
	pid_t pid = fork();
	int status;

	check(pid >= 0);
	if (!pid)
		_exit(read_signal(p));
	check(waitpid(pid, &status, 0) == pid);
	if (!WIFEXITED(status))
		finish(CANNOT_SAY, "the child ended by signal %d", WTERMSIG(status));
	return WEXITSTATUS(status);
}

static bool name(char *p, unsigned long size)
{
	return !prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, p, size, "reproducer");
}

/* Two neighbours get the same name, so that they become one VMA; the first has a guard region. */
static void merge_by_name(void)
{
	const unsigned long size = 4 * page_size;
	char *p = mmap(NULL, 2 * size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	check(p != MAP_FAILED);
	if (!name(p, size)) {
		printf("no merge by a name: PR_SET_VMA_ANON_NAME: %s\n", strerror(errno));
		return;
	}
	check(!madvise(p, page_size, MADV_GUARD_INSTALL));
	check(name(p + size, size));
	check(read_signal(p) == SIGSEGV);
	if (child_signal(p) != SIGSEGV)
		finish(WRONG, "guard region lost by fork() after a merge by a name");
}

int main(int argc, char **argv)
{
	struct race race = { .theirs = install, .want = 200 };
	unsigned long size, lost = 0, installed = 0;
	char *area, *guard;
	int memfd;

	begin(argc, argv, NULL, false);
	size = 16 * page_size;
	area = reserve(size);
	guard = area + 10 * page_size;
	race.data = guard;
	memfd = memfd_create("reproducer", 0);
	check(memfd >= 0 && !ftruncate(memfd, size));
	map_at(area, size, memfd, MAP_SHARED);
	if (madvise(guard, page_size, MADV_GUARD_INSTALL))
		no_feature("MADV_GUARD_INSTALL of a file mapping");
	if (child_signal(guard) != SIGSEGV)
		finish(WRONG, "guard region lost by fork() without a race");
	merge_by_name();

	race_start(&race);
	while (!lost && race_on(&race)) {
		/* a new VMA, which never had a guard region */
		map_at(area, size, memfd, MAP_SHARED);
		race_begin(&race);
		check(!mprotect(area, size, PROT_READ));
		race_end(&race);
		if (read_signal(guard) != SIGSEGV)
			continue;
		installed++;
		lost += child_signal(guard) != SIGSEGV;
	}
	printf("%lu guard regions installed\n", installed);
	if (!installed)
		finish(CANNOT_SAY, "MADV_GUARD_INSTALL installed no guard region");
	race_finish(&race, lost, "guard regions lost by fork()");
}
