/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The longest section between two events of preemptirq in this thread, in nanoseconds, of which -icount makes
 * instructions. A histogram trigger takes the time from the first event to the second. The triggers themselves run
 * in the section: some hundred instructions.
 *
 * A kernel without these events has no figure: see section_supported().
 */
#ifndef TRACE_H
#define TRACE_H

#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "bench.h"

#define TRACING "/sys/kernel/tracing"
#define EVENTS TRACING "/events/preemptirq/"

struct section {
	/* the events that begin and end it, such as irq_disable and irq_enable */
	const char *begin, *end;
	/*
	 * The field of the second event that has an address in functions whose names begin with @function, but not with
	 * @except. Rare paths that the compiler puts elsewhere (.cold) do not count.
	 */
	const char *field, *function, *except;
	/* offsets from _stext, between which these functions are */
	unsigned long first, last;
	/* what removes the triggers; without the first byte, what sets them */
	char begin_trigger[128], end_trigger[256];
};

static inline void put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_APPEND);

	if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		err(1, "%s: %s", path, text);
	close(fd);
}

static inline void put_trigger(const char *event, const char *text)
{
	char path[128];

	snprintf(path, sizeof(path), EVENTS "%s/trigger", event);
	put(path, text);
}

static inline int is_function_of(const struct section *s, const char *name, char type)
{
	return (type | 32) == 't' && !strncmp(name, s->function, strlen(s->function)) &&
	       !(s->except && !strncmp(name, s->except, strlen(s->except))) && !strstr(name, ".cold");
}

static inline void find_functions(struct section *s)
{
	unsigned long addr, stext = 0, after = 0;
	char type, name[256], line[512];
	FILE *f = fopen("/proc/kallsyms", "r");

	if (!f)
		err(1, "/proc/kallsyms");
	s->first = -1UL;
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx %c %255s", &addr, &type, name) != 3)
			continue;
		if (!strcmp(name, "_stext"))
			stext = addr;
		if (after && addr > s->last)
			s->last = addr;
		after = is_function_of(s, name, type);
		if (after && addr < s->first)
			s->first = addr;
	}
	fclose(f);
	if (!stext || !s->last)
		errx(1, "no _stext or %s in /proc/kallsyms", s->function);
	s->first -= stext;
	s->last -= stext;
}

/* Mounts tracefs, if the kernel has it. */
static inline int section_supported(const struct section *s)
{
	char path[128];

	if (access(TRACING "/events", F_OK))
		mount("none", TRACING, "tracefs", 0, NULL);
	snprintf(path, sizeof(path), EVENTS "%s", s->begin);
	return !access(path, F_OK);
}

static inline void section_start(struct section *s)
{
	if (!s->last)
		find_functions(s);
	snprintf(s->begin_trigger, sizeof(s->begin_trigger),
		 "!hist:keys=common_pid:ts0=common_timestamp if common_pid == %d", getpid());
	snprintf(s->end_trigger, sizeof(s->end_trigger),
		 "!hist:keys=common_pid:off=common_timestamp-$ts0:onmax($off).save(%s) "
		 "if common_pid == %d && %s >= %lu && %s < %lu", s->field, getpid(), s->field, s->first, s->field, s->last);
	put_trigger(s->begin, s->begin_trigger + 1);
	put_trigger(s->end, s->end_trigger + 1);
}

/* The greatest "max:" of the histogram, or 0. */
static inline long section_stop(struct section *s)
{
	char path[128], line[512], *max;
	long value, most = 0;
	FILE *f;

	snprintf(path, sizeof(path), EVENTS "%s/hist", s->end);
	f = fopen(path, "r");
	if (!f)
		err(1, "%s", path);
	while (fgets(line, sizeof(line), f)) {
		max = strstr(line, "max:");
		if (max && sscanf(max, "max: %ld", &value) == 1 && value > most)
			most = value;
	}
	fclose(f);
	put_trigger(s->end, s->end_trigger);
	put_trigger(s->begin, s->begin_trigger);
	return most;
}

#endif
