// SPDX-License-Identifier: GPL-2.0-only
/*
 * Problem: a process forks, and its userfaultfd is closed before somebody has read the fork event.  The child is not
 * registered, but its pages have the uffd-wp bit.  A dumper that tracks the child later misses writes.
 * Right: the child has no uffd-wp bits.
 * Affected: since 5.19, children of processes with UFFD_FEATURE_EVENT_FORK, as in post-copy migration of containers.
 * Fix: userfaultfd: clear the uffd bits of a child whose fork event is not read.
 */
#include "repro.h"

#define NR 4

static int uffd;
static atomic_bool seen;

static void *close_on_event(void *data)
{
	struct pollfd event = { .fd = uffd, .events = POLLIN };

	atomic_store(&seen, poll(&event, 1, -1) == 1 && event.revents & POLLIN);
	close(uffd);
	return data;
}

int main(int argc, char **argv)
{
	unsigned long size;
	pthread_t thread;
	int memfd, status;
	pid_t pid;
	char *p;

	begin(argc, argv, NULL, true);
	size = NR * page_size;
	uffd = open_uffd(UFFD_FEATURE_EVENT_FORK | UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_WP_HUGETLBFS_SHMEM,
			 "fork events and write-protection of shmem by userfaultfd");
	memfd = memfd_create("reproducer", 0);
	check(memfd >= 0 && !ftruncate(memfd, size));
	p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
	check(p != MAP_FAILED);
	check(!uffd_register(uffd, p, size, UFFDIO_REGISTER_MODE_WP));
	memset(p, 0x5a, size);
	check(!protect(uffd, p, size, true));
	if (!(pagemap_entry(p) >> 57 & 1))
		finish(CANNOT_SAY, "pagemap does not show the write-protection");

	check(!pthread_create(&thread, NULL, close_on_event, NULL));
	/* With a copy of the file table the userfaultfd would stay open, and fork() would wait. */
	pid = syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0);
	check(pid >= 0);
	if (!pid) {
		int bits = 0;

		for (int i = 0; i < NR; i++)
			bits += pagemap_entry(p + i * page_size) >> 57 & 1;
		_exit(bits);
	}
	pthread_join(thread, NULL);
	check(waitpid(pid, &status, 0) == pid && WIFEXITED(status));
	if (!atomic_load(&seen))
		finish(CANNOT_SAY, "there was no fork event");
	if (WEXITSTATUS(status))
		finish(WRONG, "%d of %d pages of a child that is not registered are write-protected",
		       WEXITSTATUS(status), NR);
	finish(RIGHT, "the child has no uffd-wp bits");
}
