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

/* Has the line in @path this word? */
static bool has_word(const char *path, const char *word)
{
	char line[256] = "";
	FILE *f = fopen(path, "r");

	if (f && !fgets(line, sizeof(line), f))
		line[0] = 0;
	if (f)
		fclose(f);
	return strstr(line, word);
}

static bool had_memory;

/* Leave the cgroup, and remove it. */
static void leave_cgroup(void)
{
	put(CGROUPS "cgroup.procs", "0");
	rmdir(CGROUP);
	if (!had_memory)
		put(CGROUPS "cgroup.subtree_control", "-memory");
}

/* Enter a cgroup.  Where there is no memory, the kernel kills nobody (oom_score_adj), and the call fails. */
static void enter_cgroup(void)
{
	if (read_number("/proc/sys/vm/panic_on_oom", "") == 2)
		finish(CANNOT_SAY, "the kernel would panic: vm.panic_on_oom is 2");
	/* nobody else sees a mount of this program */
	check(!unshare(CLONE_NEWNS) && !mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
	mkdir(CGROUPS, 0755);
	if (access(CGROUPS "cgroup.controllers", R_OK) && mount("cgroup2", CGROUPS, "cgroup2", 0, NULL))
		no_feature("cgroup2");
	had_memory = has_word(CGROUPS "cgroup.subtree_control", "memory");
	put(CGROUPS "cgroup.subtree_control", "+memory");
	atexit(leave_cgroup);
	check(!mkdir(CGROUP, 0755) || errno == EEXIST);
	if (access(CGROUP "memory.max", W_OK))
		no_feature("memory cgroups of version 2");
	check(put(CGROUP "cgroup.procs", "0"));
	check(put("/proc/self/oom_score_adj", "-1000"));
	if (!access(CGROUP "memory.swap.max", W_OK))
		check(put(CGROUP "memory.swap.max", "0"));
}

int main(int argc, char **argv)
{
	unsigned long step, size, lost = 0;
	char *from, *to;
	int uffd, error;
	void *ret;
	long max;

	begin(argc, argv, "make a memory cgroup while it runs, and log that memory ran out there", true);
	enter_cgroup();
	step = page_size / 8 * page_size;
	size = TABLES * step;
	uffd = open_uffd(UFFD_FEATURE_WP_ASYNC, "UFFD_FEATURE_WP_ASYNC");
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
	error = errno;
	put(CGROUP "memory.max", "max");
	if (ret != MAP_FAILED)
		finish(CANNOT_SAY, "mremap() did not fail at the limit of a memory cgroup");
	if (error != ENOMEM)
		finish(CANNOT_SAY, "mremap(): %s", strerror(error));
	for (unsigned long i = 0; i < size; i += step)
		lost += is_written(from + i, page_size);
	if (lost)
		finish(WRONG, "%lu of %d pages have lost their write-protection by an mremap() that failed", lost, TABLES);
	finish(RIGHT, "an mremap() that failed leaves the write-protection");
}
