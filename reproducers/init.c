// SPDX-License-Identifier: GPL-2.0-only
/*
 * init of the guests of "make affected".  It runs the reproducers that its arguments name, one by one.  Their output
 * goes through the kernel log: no line is torn, and the kernel's own lines are in order with the output.
 *
 *   affected: missing FILESYSTEM: REASON
 *   affected: version TEXT	of /proc/version
 *   affected: begin NAME	N times for each NAME, if the command line of the kernel has N=
 *   affected: say NAME TEXT
 *   affected: end NAME STATUS	the exit status; 128 and more: ended by a signal; "stuck": not even SIGKILL ends it
 *   affected: complete
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SECONDS "10"	/* for a race, without SECONDS= on the command line of the kernel */
#define LIMIT 35	/* for a reproducer, in seconds beside those */

static int kmsg;

/* One record of the kernel log, as an error, which the console shows. */
static void say(const char *format, ...)
{
	char text[900];
	va_list args;
	int n = sprintf(text, "<3>affected: ");

	va_start(args, format);
	vsnprintf(text + n, sizeof(text) - n, format, args);
	va_end(args);
	if (write(kmsg, text, strlen(text)) < 0)
		perror("/dev/kmsg");
}

static void mounted(const char *type, const char *where)
{
	mkdir(where, 0755);
	if (mount(type, where, type, 0, NULL) && errno != EBUSY)
		say("missing %s: %s", type, strerror(errno));
}

/* Swap, if the kernel has a driver for one of the disks. */
static void swap_on(void)
{
	static const char *const disks[] = { "/dev/nvme0n1", "/dev/vda" };

	for (int n = 0; n < 2; n++)
		if (!swapon(disks[n], 0))
			return;
}

static time_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec;
}

/* Pass what the reproducer prints on, until it ends or its time is over. */
static void pass_on(const char *name, int fd, time_t end)
{
	struct pollfd from = { .fd = fd, .events = POLLIN };
	char line[800];
	size_t used = 0;
	char c;

	while (now() < end) {
		if (poll(&from, 1, 500) <= 0)
			continue;
		if (read(fd, &c, 1) != 1)
			break;
		if (c != '\n' && used < sizeof(line) - 1) {
			line[used++] = c;
			continue;
		}
		line[used] = 0;
		say("say %s %s", name, line);
		used = 0;
	}
}

static void say_version(void)
{
	char version[512];
	FILE *f = fopen("/proc/version", "r");

	if (f && fgets(version, sizeof(version), f)) {
		version[strcspn(version, "\n")] = 0;
		say("version %s", version);
	}
	if (f)
		fclose(f);
}

static void run(const char *name)
{
	time_t end = now() + atoi(getenv("SECONDS") ?: SECONDS) + LIMIT;
	int fds[2], status = 0;
	char path[128];
	pid_t pid;

	say("begin %s", name);
	snprintf(path, sizeof(path), "/bin/%s", name);
	if (pipe2(fds, O_CLOEXEC))
		return;
	pid = fork();
	if (!pid) {
		setpgid(0, 0);
		dup2(fds[1], 1);
		dup2(fds[1], 2);
		execl(path, name, "--yes", getenv("SECONDS") ?: SECONDS, NULL);
		_exit(127);
	}
	close(fds[1]);
	pass_on(name, fds[0], end);
	close(fds[0]);
	if (now() >= end)
		kill(-pid, SIGKILL);
	end = now() + 5;
	while (waitpid(pid, &status, WNOHANG) != pid) {
		if (now() >= end) {
			say("end %s stuck", name);
			return;
		}
		usleep(10000);
	}
	say("end %s %d", name, WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
	/* children that the reproducer has left behind */
	while (waitpid(-1, &status, WNOHANG) > 0)
		;
}

int main(int argc, char **argv)
{
	mkdir("/dev", 0755);
	mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
	mknod("/dev/kmsg", S_IFCHR | 0600, 1 << 8 | 11);
	kmsg = open("/dev/kmsg", O_WRONLY);
	say("cpus %ld", sysconf(_SC_NPROCESSORS_ONLN));
	mounted("proc", "/proc");
	mounted("sysfs", "/sys");
	mounted("tmpfs", "/tmp");
	say_version();
	swap_on();
	if (chdir("/tmp"))
		say("missing /tmp: %s", strerror(errno));
	for (int i = 1; i < argc; i++)
		for (int n = atoi(getenv("N") ?: "1"); n > 0; n--)
			run(argv[i]);
	say("complete");
	sync();
	/* x86_64 has no ACPI poweroff in every guest; QEMU runs with -no-reboot */
	reboot(RB_AUTOBOOT);
	for (;;)
		pause();
}
