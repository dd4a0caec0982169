// SPDX-License-Identifier: GPL-2.0
/*
 * What it costs to unmap what is write-protected through userfaultfd: munmap() and MADV_DONTNEED of
 * shmem, small pages and a large folio mapped by PTEs; truncation and hole punching of hugetlb, and
 * MADV_DONTNEED of it.
 *
 * In a guest under -icount the clock counts instructions: one nanosecond is one. Each figure is the
 * lower quartile of ROUNDS calls.
 *
 * Prints "bench NAME VALUE UNIT" lines.
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

#define ROUNDS 101
#define HUGE (2UL << 20)
#define NR_HUGE 4
#define REGION ((char *)0x200000000000UL)

static long took[ROUNDS];
static int uffd;

static long now(void)
{
	struct timespec ts;

	if (clock_gettime(CLOCK_MONOTONIC, &ts))
		err(1, "clock_gettime");
	return ts.tv_sec * 1000000000L + ts.tv_nsec;
}

static int compare(const void *a, const void *b)
{
	long x = *(const long *)a, y = *(const long *)b;

	return (x > y) - (x < y);
}

static void map(int fd, unsigned long size)
{
	struct uffdio_register arg = {
		.range = { (unsigned long)REGION, size },
		.mode = UFFDIO_REGISTER_MODE_WP,
	};

	if (mmap(REGION, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) != REGION)
		err(1, "mmap");
	if (ioctl(uffd, UFFDIO_REGISTER, &arg))
		err(1, "UFFDIO_REGISTER");
}

static void protect(unsigned long size)
{
	struct uffdio_writeprotect arg = {
		.range = { (unsigned long)REGION, size },
		.mode = UFFDIO_WRITEPROTECT_MODE_WP,
	};

	if (ioctl(uffd, UFFDIO_WRITEPROTECT, &arg))
		err(1, "UFFDIO_WRITEPROTECT");
}

static void touch(unsigned long size, unsigned long step)
{
	unsigned long i;

	for (i = 0; i < size; i += step)
		*(volatile char *)(REGION + i);
}

enum call { DONTNEED, MUNMAP, PUNCH, TRUNCATE };

static void bench(const char *name, unsigned int flags, int large, enum call call)
{
	unsigned long size = flags ? NR_HUGE * HUGE : HUGE;
	unsigned long step = flags ? HUGE : (unsigned long)getpagesize();
	int i, ret = 0, fd = memfd_create(name, flags);

	if (fd < 0 || ftruncate(fd, size))
		err(1, "memfd");
	map(fd, size);
	touch(size, step);
	if (large && madvise(REGION, size, MADV_COLLAPSE))
		err(1, "MADV_COLLAPSE");
	for (i = 0; i < ROUNDS; i++) {
		long before;

		/* splits what is mapped by a huge pmd: touched again, it is mapped by PTEs */
		protect(size);
		touch(size, step);
		before = now();
		switch (call) {
		case DONTNEED:
			ret = madvise(REGION, size, MADV_DONTNEED);
			break;
		case MUNMAP:
			ret = munmap(REGION, size);
			break;
		case PUNCH:
			ret = fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, size);
			break;
		case TRUNCATE:
			ret = ftruncate(fd, 0);
			break;
		}
		took[i] = now() - before;
		if (ret)
			err(1, "%s", name);
		if (call == MUNMAP)
			map(fd, size);
		if (call == TRUNCATE && ftruncate(fd, size))
			err(1, "ftruncate");
	}
	qsort(took, ROUNDS, sizeof(took[0]), compare);
	printf("bench %s %ld instructions\n", name, took[ROUNDS / 4]);
	munmap(REGION, size);
	close(fd);
}

static void set_pool(int nr)
{
	FILE *f = fopen("/proc/sys/vm/nr_hugepages", "w");

	if (!f || fprintf(f, "%d\n", nr) < 0 || fclose(f))
		err(1, "nr_hugepages");
}

int main(void)
{
	struct uffdio_api api = {
		.api = UFFD_API,
		.features = UFFD_FEATURE_WP_HUGETLBFS_SHMEM | UFFD_FEATURE_PAGEFAULT_FLAG_WP,
	};

	uffd = syscall(__NR_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);
	if (uffd < 0 || ioctl(uffd, UFFDIO_API, &api))
		err(1, "userfaultfd");
	bench("wp_dontneed_shmem", 0, 0, DONTNEED);
	bench("wp_dontneed_shmem_large", 0, 1, DONTNEED);
	bench("wp_munmap_shmem", 0, 0, MUNMAP);
	bench("wp_munmap_shmem_large", 0, 1, MUNMAP);
	set_pool(NR_HUGE);
	bench("wp_dontneed_hugetlb", MFD_HUGETLB, 0, DONTNEED);
	bench("wp_punch_hugetlb", MFD_HUGETLB, 0, PUNCH);
	bench("wp_truncate_hugetlb", MFD_HUGETLB, 0, TRUNCATE);
	set_pool(0);
	return 0;
}
