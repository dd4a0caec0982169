/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Races of two system calls, a round at a time.
 *
 * A race counts its rounds, and the rounds in which the two calls overlapped in
 * time.  It ends when RACE_ENOUGH_OVERLAPS rounds have overlapped, after
 * RACE_SECONDS, or in the round that fails.  With fewer than race.least overlaps it
 * goes on until RACE_MAX_SECONDS: too few overlaps prove nothing, and skip the test.
 *
 * With ROUNDS=n in the environment, a race goes on until n rounds have overlapped,
 * race.least at the least.  A failed round does not end it, nor does the harness.
 *
 * Include kselftest_harness.h before this header.
 */
#ifndef __RACE_UTIL_H__
#define __RACE_UTIL_H__

#include <errno.h>
#include <fcntl.h>
#include <linux/mman.h> /* MADV_GUARD_INSTALL, MADV_COLLAPSE */
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include "vm_util.h"

/* how long a race goes on, in seconds, and how long it waits for enough overlaps */
#define RACE_SECONDS		2
#define RACE_MAX_SECONDS	20
/* rounds that have to overlap if race.least is 0, and rounds that are enough */
#define RACE_MIN_OVERLAPS	100
#define RACE_ENOUGH_OVERLAPS	1000
/* for the harness: longer than any race takes without ROUNDS */
#define RACE_TIMEOUT		50

#define NSEC_PER_SEC		1000000000ULL

static inline unsigned long long now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * NSEC_PER_SEC + t.tv_nsec;
}

static inline void pin_to(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

/*
 * One of the two calls is thread_fn(data), on another CPU: in a thread, or in a child
 * process after race_start_process().  The other is made by the test, between
 * race_begin() and race_end().  Both start together, the test's call later by a random
 * part of the time that thread_fn() takes, so that it meets every part of thread_fn().
 * Time is counted in turns of a loop: a guest's clock may be too coarse.
 */
struct race {
	void (*thread_fn)(void *data);
	void *data;
	/* rounds that have to overlap, if not RACE_MIN_OVERLAPS: for rounds that take long */
	unsigned long least;
	/* failed: rounds that showed the bug; the test counts them */
	unsigned long rounds, overlaps, failed;
	unsigned long long began;
	unsigned int seed;
	/*
	 * The longest wait of the test's call, in turns of wait_for(): at first the median
	 * that thread_fn() took in the first rounds.  See race_adapt().
	 */
	unsigned long turns, max_turns, calibration[15];
	bool pending;
	pthread_t thread;
	pid_t child;
	int cpu;
	/* rounds: let go by the test; of the thread, waited for, started and done */
	atomic_ulong go, ready, started, done;
};

/* The first two CPUs that this task may run on; false if there is only one. */
static inline bool two_cpus(int cpus[2])
{
	cpu_set_t set;
	int n = 0;

	if (sched_getaffinity(0, sizeof(set), &set))
		return false;
	for (int cpu = 0; cpu < CPU_SETSIZE && n < 2; cpu++)
		if (CPU_ISSET(cpu, &set))
			cpus[n++] = cpu;
	return n == 2;
}

/* Stay on one CPU, the first that this task may run on. */
static inline void pin_to_first(void)
{
	int cpus[2] = { 0, 0 };

	two_cpus(cpus);
	pin_to(cpus[0]);
}

/* Wait until @counter is @value, at most @turns; how many turns it took. */
static inline unsigned long wait_for(atomic_ulong *counter, unsigned long value,
				     unsigned long turns)
{
	unsigned long n = 0;

	while (n < turns && atomic_load(counter) != value)
		n++;
	return n;
}

static inline void *race_thread(void *arg)
{
	struct race *r = arg;
	unsigned long round, seen = 0;

	pin_to(r->cpu);
	for (;;) {
		atomic_store(&r->ready, seen + 1);
		while ((round = atomic_load(&r->go)) == seen)
			;
		if (round == -1UL)
			return NULL;
		seen = round;
		atomic_store(&r->started, seen);
		r->thread_fn(r->data);
		atomic_store(&r->done, seen);
	}
}

static inline bool race_prepare(struct race *r)
{
	int cpus[2];

	if (!two_cpus(cpus))
		return false;
	r->cpu = cpus[1];
	r->began = now_ns();
	r->seed = 1;
	pin_to(cpus[0]);
	return true;
}

static inline bool race_start(struct race *r)
{
	if (!race_prepare(r) || pthread_create(&r->thread, NULL, race_thread, r))
		return false;
	/* Its stack is touched, and whatever page tables that takes are there. */
	wait_for(&r->ready, 1, -1UL);
	return true;
}

/*
 * As race_start(), but thread_fn() runs in a child process, which has its own mm.  @r
 * and all that thread_fn() writes to are in memory that both processes share.
 */
static inline bool race_start_process(struct race *r)
{
	if (!race_prepare(r))
		return false;
	r->child = fork();
	if (!r->child) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		race_thread(r);
		_exit(0);
	}
	if (r->child < 0)
		return false;
	wait_for(&r->ready, 1, -1UL);
	return true;
}

/* ROUNDS of the environment; 0 without it, or if it is no number above that. */
static inline unsigned long race_rounds(void)
{
	const char *rounds = getenv("ROUNDS");

	return rounds ? strtoul(rounds, NULL, 10) : 0;
}

/*
 * With ROUNDS, have the harness wait for tests of RACE_TIMEOUT without a limit.  For
 * main(), before test_harness_run().
 */
static inline void race_adjust_timeouts(void)
{
	struct __fixture_metadata *f;
	struct __test_metadata *t;

	if (!race_rounds())
		return;
	for (f = __fixture_list; f; f = f->next)
		for (t = f->tests; t; t = t->next)
			if (t->timeout == RACE_TIMEOUT)
				t->timeout = -1;
}

static inline unsigned long race_least(const struct race *r)
{
	return r->least ? r->least : RACE_MIN_OVERLAPS;
}

/* Is there to be another round? */
static inline bool race_on(struct race *r)
{
	const unsigned long rounds = race_rounds(), least = race_least(r);
	const unsigned long long seconds = (now_ns() - r->began) / NSEC_PER_SEC;

	if (rounds)
		return r->overlaps < (rounds < least ? least : rounds);
	if (r->failed)
		return false;
	if (r->overlaps < least)
		return seconds < RACE_MAX_SECONDS;
	return r->overlaps < RACE_ENOUGH_OVERLAPS && seconds < RACE_SECONDS;
}

/*
 * Skip the test if fewer than r->least rounds overlapped and nothing has failed.  Counts
 * that only a race raises are to be checked after this.
 *
 * Return: whether the test is skipped.
 */
static inline bool skip_unless_raced(struct __test_metadata *_metadata, struct race *r)
{
	if (r->overlaps >= race_least(r) || !__test_passed(_metadata))
		return false;
	SKIP(return true, "only %lu of %lu rounds overlapped", r->overlaps, r->rounds);
}

static inline int by_value(const void *a, const void *b)
{
	const unsigned long *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

/*
 * thread_fn() may take less time in a race than alone, or on a machine that has warmed
 * up.  Shorten the wait if thread_fn() had ended before the test's call began, and else
 * lengthen it by a quarter of that, so that one round of five comes too late, and the
 * others meet every part of thread_fn().
 */
static inline void race_adapt(struct race *r)
{
	if (!r->pending)
		r->turns -= r->turns > 1 ? (r->turns + 7) / 8 : 0;
	else if (r->turns < r->max_turns)
		r->turns += (r->turns + 31) / 32;
}

/* Before and after the call of the test that races with thread_fn(). */
static inline void race_begin(struct race *r)
{
	const unsigned long nr = ARRAY_SIZE(r->calibration);

	wait_for(&r->ready, ++r->rounds, -1UL);
	atomic_store(&r->go, r->rounds);
	if (r->rounds <= nr) {
		/* one call after the other: no race yet */
		r->calibration[r->rounds - 1] = wait_for(&r->done, r->rounds, -1UL);
		if (r->rounds == nr) {
			qsort(r->calibration, nr, sizeof(r->calibration[0]), by_value);
			r->turns = r->calibration[nr / 2] + 1;
			r->max_turns = 2 * r->turns;
		}
		r->pending = false;
	} else {
		/* no counter has this value: all turns are taken */
		wait_for(&r->done, -1UL, rand_r(&r->seed) % r->turns);
		r->pending = atomic_load(&r->done) != r->rounds;
		race_adapt(r);
	}
}

static inline void race_end(struct race *r)
{
	/* thread_fn() had not ended when the test's call began, and had begun when that ended */
	if (r->pending && atomic_load(&r->started) == r->rounds)
		r->overlaps++;
	wait_for(&r->done, r->rounds, -1UL);
}

static inline void race_stop(struct race *r)
{
	wait_for(&r->ready, r->rounds + 1, -1UL);
	atomic_store(&r->go, -1UL);
	if (r->child)
		waitpid(r->child, NULL, 0);
	else
		pthread_join(r->thread, NULL);
}

#endif /* __RACE_UTIL_H__ */
