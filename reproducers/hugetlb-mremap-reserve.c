// SPDX-License-Identifier: GPL-2.0-only
/*
 * Problem: mremap() moves a part of a private hugetlb mapping.  The process then gets SIGBUS when it writes to a page of
 * the rest, although it has reserved all pages: the kernel has forgotten the reservations of the rest.
 * Right: the rest keeps its reservations, and the write takes the page back from a child that shares the page.
 * Affected: since 5.16, processes that move parts of private hugetlb memory.
 * Fix: mm/mremap: keep the hugetlb reservations of memory that does not move.
 * All pages are populated before mremap(), so no reservation is left behind.  Reserves all free hugetlb pages for a
 * moment; run as root, it changes nr_hugepages while it runs.
 */
#include "repro.h"

/* Is there no page at @p in that process? */
static bool is_unmapped(pid_t pid, char *p)
{
	char path[64];
	uint64_t entry;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/pagemap", pid);
	fd = open(path, O_RDONLY);
	check(fd >= 0);
	check(pread(fd, &entry, sizeof(entry), (unsigned long)p / page_size * 8) == sizeof(entry));
	close(fd);
	return !(entry >> 63);
}

static char *map_pages(unsigned long size)
{
	char *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);

	check(p != MAP_FAILED);
	return p;
}

/* Pages of the pool that anybody can have. */
static long available(void)
{
	return read_number("/proc/meminfo", "HugePages_Free:") - read_number("/proc/meminfo", "HugePages_Rsvd:");
}

int main(int argc, char **argv)
{
	char *p, *rest, *to, *others = NULL;
	unsigned long size, nr = 0;
	int number, status;
	bool taken;
	pid_t child;

	begin(argc, argv, "reserve all free hugetlb pages for a moment, and as root resize the pool", false);
	size = hugetlb_pool(2);
	if (read_number("/proc/sys/vm/nr_overcommit_hugepages", ""))
		finish(CANNOT_SAY, "nr_overcommit_hugepages is not 0");
	p = map_pages(2 * size);
	rest = p + size;
	p[0] = rest[0] = 'p';
	to = reserve(size);
	if (mremap(p, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, to) != to) {
		if (errno == EINVAL)
			no_feature("mremap() of hugetlb memory");
		cannot("mremap()");
	}

	child = fork();
	check(child >= 0);
	if (!child) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
	/* The pages that are left are reserved: the write has to take its page from the child. */
	if (available() > 0) {
		nr = available();
		others = map_pages(nr * size);
	}
	if (available() > 0)
		finish(CANNOT_SAY, "not all free hugetlb pages could be reserved");
	number = write_signal(rest);
	taken = is_unmapped(child, rest);
	kill(child, SIGKILL);
	check(waitpid(child, &status, 0) == child);
	munmap(rest, size);
	munmap(to, size);
	if (others)
		munmap(others, nr * size);
	if (number == SIGBUS)
		finish(WRONG, "SIGBUS at a reserved hugetlb page, after mremap() has moved another page of the mapping");
	if (number)
		finish(CANNOT_SAY, "signal %d at the hugetlb page", number);
	if (!taken)
		finish(CANNOT_SAY, "a hugetlb page became free before the write");
	finish(RIGHT, "a reserved hugetlb page can be written after mremap() has moved another page of the mapping");
}
