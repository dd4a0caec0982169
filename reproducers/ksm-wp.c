// SPDX-License-Identifier: GPL-2.0-only
/*
 * Problem: KSM merges pages that userfaultfd has write-protected, and drops the write-protection.  A write to a
 * merged page is not notified.
 * Right: KSM leaves such a page alone or keeps the protection; either way a write is notified.
 * Affected: since 5.7, background snapshots of guests with mem-merge=on, which is QEMU's default.
 * Changes the settings of KSM and leaves KSM stopped.
 */
#include "repro.h"

#define KSM "/sys/kernel/mm/ksm/"
#define NR 16
#define CONTROL 4	/* pages without protection, which show that KSM works */

static char *p;
static atomic_bool written;

static void *writer(void *data)
{
	*(volatile char *)(p + 3 * page_size + 8) = 9;
	atomic_store(&written, true);
	return data;
}

static int protected_pages(void)
{
	int n = 0;

	for (int i = 0; i < NR; i++)
		n += pagemap_entry(p + i * page_size) >> 57 & 1;
	return n;
}

/* Are the pages from @first to before @end one page?  Needs root: others do not see page frame numbers. */
static bool merged(int first, int end)
{
	const uint64_t pfn = (1ULL << 55) - 1;
	uint64_t one = pagemap_entry(p + first * page_size) & pfn;

	for (int i = first; i < end; i++)
		if ((pagemap_entry(p + i * page_size) & pfn) != one)
			return false;
	return true;
}

int main(int argc, char **argv)
{
	struct pollfd event = { .events = POLLIN };
	struct uffd_msg msg;
	pthread_t thread;
	int before, after;

	begin(argc, argv, "stop KSM, and change its settings", true);
	event.fd = open_uffd(UFFD_FEATURE_PAGEFAULT_FLAG_WP, "userfaultfd write-protection");
	p = mmap(NULL, (NR + CONTROL) * page_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	check(p != MAP_FAILED);
	madvise(p, (NR + CONTROL) * page_size, MADV_NOHUGEPAGE);
	memset(p, 0x5a, NR * page_size);
	memset(p + NR * page_size, 0x77, CONTROL * page_size);
	check(!uffd_register(event.fd, p, NR * page_size, UFFDIO_REGISTER_MODE_WP));
	check(!protect(event.fd, p, NR * page_size, true));
	before = protected_pages();
	if (before != NR)
		finish(CANNOT_SAY, "%d of %d pages are write-protected", before, NR);
	if (madvise(p, (NR + CONTROL) * page_size, MADV_MERGEABLE))
		no_feature("KSM");
	/* Kernels without one of these settings need none. */
	put(KSM "use_zero_pages", "0");
	put(KSM "advisor_mode", "none");
	put(KSM "smart_scan", "0");
	if (!put(KSM "pages_to_scan", "2000") || !put(KSM "sleep_millisecs", "5") || !put(KSM "run", "1"))
		cannot("KSM");
	/* All pages that KSM wants to merge: if it leaves the protected ones alone, only the control's. */
	for (int i = 0; i < 200 && !(merged(0, NR) && merged(NR, NR + CONTROL)); i++)
		usleep(20000);
	put(KSM "run", "0");
	after = protected_pages();
	printf("%d of %d pages write-protected before, %d after KSM, which has%s merged them\n", before, NR, after,
	       merged(0, NR) ? "" : " not");
	if (!merged(NR, NR + CONTROL))
		finish(CANNOT_SAY, "KSM has merged nothing");

	check(!pthread_create(&thread, NULL, writer, NULL));
	if (poll(&event, 1, 3000) != 1 || read(event.fd, &msg, sizeof(msg)) != sizeof(msg)) {
		if (atomic_load(&written))
			finish(WRONG, "a write to a write-protected page was not notified after KSM merged it");
		finish(CANNOT_SAY, "the write neither was notified nor went through");
	}
	check(!protect(event.fd, p, NR * page_size, false));
	pthread_join(thread, NULL);
	if (after != NR)
		finish(WRONG, "%d of %d pages lost the write-protection", NR - after, NR);
	finish(RIGHT, "a write was notified after KSM had run");
}
