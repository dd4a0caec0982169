// SPDX-License-Identifier: GPL-2.0
/*
 * Cost to unmap memory that is write-protected through userfaultfd. Of shmem, small pages and a large
 * folio mapped by PTEs: munmap() and MADV_DONTNEED. Of hugetlb: truncation, hole punching and
 * MADV_DONTNEED.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bench.h"

#define ROUNDS 101
#define HUGE (2UL << 20)
#define NR_HUGE 4
#define POOL "/proc/sys/vm/nr_hugepages"
#define REGION ((char *)0x200000000000UL)

static long took[ROUNDS];
static int uffd;

static void map(int fd, unsigned long size)
{
	if (mmap(REGION, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) != REGION)
		err(1, "mmap");
}

/* After MADV_COLLAPSE, which refuses memory that is registered. */
static void watch(unsigned long size)
{
	struct uffdio_register arg = {
		.range = { (unsigned long)REGION, size },
		.mode = UFFDIO_REGISTER_MODE_WP,
	};

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
	watch(size);
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
		if (call == MUNMAP) {
			map(fd, size);
			watch(size);
		}
		if (call == TRUNCATE && ftruncate(fd, size))
			err(1, "ftruncate");
	}
	report(name, took, ROUNDS);
	munmap(REGION, size);
	close(fd);
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
	set_pool(POOL, NR_HUGE);
	bench("wp_dontneed_hugetlb", MFD_HUGETLB, 0, DONTNEED);
	bench("wp_punch_hugetlb", MFD_HUGETLB, 0, PUNCH);
	bench("wp_truncate_hugetlb", MFD_HUGETLB, 0, TRUNCATE);
	set_pool(POOL, 0);
	return 0;
}
