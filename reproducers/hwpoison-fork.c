// SPDX-License-Identifier: GPL-2.0-only
/*
 * Problem: a page of a file fails while a process maps it.  fork() does not give the failed page to the child: the
 * child reads what the file system has there now, without an error.
 * Right: the child gets SIGBUS at the failed page, as its parent does.
 * Affected: since 2.6.32, programs that fork() and rely on the error of memory that has failed.
 * Fix: mm: copy hwpoison entries of shared mappings at fork().
 */
#include "repro.h"
#include <sys/mount.h>

/* A file of two pages that nobody has written: the kernel can drop such a page, and make it again. */
static int open_file(void)
{
	char dir[] = "/tmp/reproducer-XXXXXX", path[64];
	int fd, error;

	check(mkdtemp(dir));
	if (mount("reproducer", dir, "ramfs", 0, NULL)) {
		rmdir(dir);
		cannot("mount of a ramfs");
	}
	snprintf(path, sizeof(path), "%s/file", dir);
	fd = open(path, O_RDWR | O_CREAT, 0600);
	error = errno;
	umount2(dir, MNT_DETACH);
	rmdir(dir);
	errno = error;
	check(fd >= 0 && !ftruncate(fd, 2 * page_size));
	return fd;
}

static char *map(int fd)
{
	char *p = mmap(NULL, 2 * page_size, PROT_READ, MAP_SHARED, fd, 0);

	check(p != MAP_FAILED);
	return p;
}

/* The signal that a child gets when it reads at @p, 0 for none. */
static int child_signal(char *p)
{
	pid_t pid = fork();
	int status;

	check(pid >= 0);
	if (!pid)
		_exit(read_signal(p));
	check(waitpid(pid, &status, 0) == pid && WIFEXITED(status));
	return WEXITSTATUS(status);
}

int main(int argc, char **argv)
{
	int got, fd;
	char *p;

	begin(argc, argv, "lose a page of memory until the machine is restarted", true);
	fd = open_file();
	p = map(fd);
	check(!read_signal(p) && !read_signal(p + page_size));
	hwpoison(p);
	if (read_signal(p) != SIGBUS)
		finish(CANNOT_SAY, "the poisoned page can be read");
	if (read_signal(map(fd)))
		finish(CANNOT_SAY, "the file system keeps the poisoned page");
	if (child_signal(p + page_size))
		finish(CANNOT_SAY, "a child cannot read the healthy page");
	got = child_signal(p);
	if (got == SIGBUS)
		finish(RIGHT, "a child gets SIGBUS at the failed page");
	finish(WRONG, "a child reads at the failed page, and gets %s", got ? strsignal(got) : "no error");
}
