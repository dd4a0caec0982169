/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * For tests of what races with page faults: memory that may fault is touched, and
 * two calls are made to overlap in time.
 *
 * The races print how many rounds they ran, and in how many of them the two
 * calls overlapped in time.  They take SECONDS each, or longer if fewer than
 * OVERLAPS of the rounds have overlapped by then: a race that did not take place
 * proves nothing, and is a skip.  With ROUNDS=n in the environment they go on
 * until that many rounds have overlapped, OVERLAPS at the least.
 */
#ifndef __RACE_UTIL_H__
#define __RACE_UTIL_H__

#include <errno.h>
#include <fcntl.h>
#include <linux/mman.h> /* MADV_GUARD_INSTALL, MADV_COLLAPSE */
#include <linux/userfaultfd.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include "vm_util.h"

#define SECONDS		4
#define MAX_SECONDS	20
#define OVERLAPS	100
/* for the harness; ROUNDS may take long */
#define RACE_TIMEOUT	7200

static __thread sigjmp_buf jump;
static __thread atomic_bool jump_set;

static inline void on_fault(int signal)
{
	if (!jump_set)
		_exit(128 + signal);
	siglongjmp(jump, signal);
}

/* The signal that reading a byte at @p raises, 0 if it can be read. */
static inline int read_signal(char *p)
{
	int signal = sigsetjmp(jump, 1);

	jump_set = 1;
	if (!signal)
		FORCE_READ(*p);
	jump_set = 0;
	return signal;
}

/* The signal that writing a byte at @p raises, 0 if it can be written. */
static inline int write_signal(char *p)
{
	int signal = sigsetjmp(jump, 1);

	jump_set = 1;
	if (!signal)
		__atomic_store_n(p, 1, __ATOMIC_RELAXED);
	jump_set = 0;
	return signal;
}

/* Poison the page at @p; it may be told by SIGBUS.  False if that cannot be done. */
static inline bool hwpoison(char *p, unsigned long size)
{
	bool poisoned = true;

	if (!sigsetjmp(jump, 1)) {
		jump_set = 1;
		poisoned = !madvise(p, size, MADV_HWPOISON) || errno == EBUSY ||
			   errno == EHWPOISON;
	}
	jump_set = 0;
	return poisoned;
}

/* Let read_signal() and write_signal() see what is raised, and hwpoison() go on. */
static inline int catch_faults(void)
{
	struct sigaction act = { .sa_handler = on_fault, .sa_flags = SA_NODEFER };

	return sigaction(SIGSEGV, &act, NULL) ?: sigaction(SIGBUS, &act, NULL);
}

static inline unsigned long long now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ULL + t.tv_nsec;
}

static inline void pin_to(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

/*
 * A race of two calls, a round at a time.  The other call runs in a thread on
 * another CPU; both start together, ours later by a random part of the time
 * that theirs takes, so that ours meets every part of theirs.  Time is counted
 * in turns of a loop: a guest's clock may be too coarse.
 */
struct race {
	void (*theirs)(void *data);
	void *data;
	unsigned long rounds, overlaps;
	unsigned long long began;
	unsigned int seed;
	/* turns of wait_for() that their call takes; the median of the first rounds */
	unsigned long turns, calibration[15];
	bool pending;
	pthread_t thread;
	int cpu;
	/* the round that we let them start, and that they have reached */
	atomic_ulong go, ready, started, done;
};

/* The two CPUs of this task's that races use; false if there is only one. */
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
		r->theirs(r->data);
		atomic_store(&r->done, seen);
	}
}

static inline bool race_start(struct race *r)
{
	int cpus[2];

	if (!two_cpus(cpus))
		return false;
	r->cpu = cpus[1];
	r->began = now_ns();
	r->seed = 1;
	pin_to(cpus[0]);
	if (pthread_create(&r->thread, NULL, race_thread, r))
		return false;
	/* Its stack is touched, and whatever page tables that takes are there. */
	wait_for(&r->ready, 1, -1UL);
	return true;
}

/* ROUNDS of the environment; 0 if it is no number above that. */
static inline unsigned long race_rounds(void)
{
	const char *rounds = getenv("ROUNDS");

	return rounds ? strtoul(rounds, NULL, 10) : 0;
}

/* Is there time for another round? */
static inline bool race_on(struct race *r)
{
	unsigned long rounds = race_rounds();
	unsigned long long seconds = (now_ns() - r->began) / 1000000000;

	if (rounds)
		return r->overlaps < (rounds < OVERLAPS ? OVERLAPS : rounds);
	return seconds < (r->overlaps < OVERLAPS ? MAX_SECONDS : SECONDS);
}

/* Did it take place often enough?  Else the test is to be skipped by this reason. */
static inline const char *not_raced(struct race *r)
{
	static char reason[80];

	if (r->overlaps >= OVERLAPS)
		return NULL;
	snprintf(reason, sizeof(reason), "only %lu of %lu rounds overlapped", r->overlaps,
		 r->rounds);
	return reason;
}

static inline int by_value(const void *a, const void *b)
{
	const unsigned long *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

/* Before and after our call; what lies between them races with theirs. */
static inline void race_begin(struct race *r)
{
	const unsigned long nr = ARRAY_SIZE(r->calibration);

	wait_for(&r->ready, ++r->rounds, -1UL);
	atomic_store(&r->go, r->rounds);
	if (r->rounds <= nr) {
		/* theirs alone, then ours: no race yet */
		r->calibration[r->rounds - 1] = wait_for(&r->done, r->rounds, -1UL);
		if (r->rounds == nr) {
			qsort(r->calibration, nr, sizeof(r->calibration[0]), by_value);
			r->turns = r->calibration[nr / 2] + 1;
		}
	} else {
		/* no counter has this value: all turns are taken */
		wait_for(&r->done, -1UL, rand_r(&r->seed) % r->turns);
	}
	r->pending = atomic_load(&r->done) != r->rounds;
}

static inline void race_end(struct race *r)
{
	/* Theirs had not ended when ours began, and had begun when ours ended. */
	if (r->pending && atomic_load(&r->started) == r->rounds)
		r->overlaps++;
	wait_for(&r->done, r->rounds, -1UL);
}

static inline void race_stop(struct race *r)
{
	wait_for(&r->ready, r->rounds + 1, -1UL);
	atomic_store(&r->go, -1UL);
	pthread_join(r->thread, NULL);
}

/* An address of 2 * @size bytes of address space, rounded up to a multiple of @size. */
static inline char *reserve(unsigned long size)
{
	char *p = mmap(NULL, 2 * size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
		       -1, 0);

	if (p == MAP_FAILED)
		return NULL;
	return (char *)(((unsigned long)p + size - 1) & ~(size - 1));
}

static inline bool map_memfd(char *p, unsigned long size, int memfd, int flags)
{
	return mmap(p, size, PROT_READ | PROT_WRITE, flags | MAP_FIXED, memfd, 0) == p;
}

static inline int open_uffd(unsigned long long features)
{
	struct uffdio_api api = { .api = UFFD_API, .features = features };
	int fd = syscall(__NR_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);

	if (fd >= 0 && ioctl(fd, UFFDIO_API, &api)) {
		close(fd);
		return -1;
	}
	return fd;
}

#endif /* __RACE_UTIL_H__ */
