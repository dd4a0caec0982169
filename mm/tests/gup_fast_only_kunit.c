// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests for get_user_pages_fast_only(), which user space cannot call.
 *
 * The rule, from the comments of get_user_pages_fast_only() and gup_fast() in mm/gup.c:
 * the function neither faults pages in nor sleeps, callers may have disabled interrupts,
 * and it returns the pages before the first one that it cannot get. Between two sections
 * with interrupts disabled, the other variants of GUP-fast may sleep; this one may not.
 */
#include <kunit/test.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/sizes.h>

#include "../internal.h"

/* More than two sections of GUP-fast, and more than one page table of 4K pages. */
#define NR_PAGES	1100

struct fast_only {
	unsigned long addr;
	struct page *pages[NR_PAGES], *slow[NR_PAGES];
};

static int gup_fast_only_init(struct kunit *test)
{
	struct fast_only *ctx = kunit_kzalloc(test, sizeof(*ctx), GFP_KERNEL);
	const unsigned long size = NR_PAGES * PAGE_SIZE;
	int err;

	if (!ctx)
		return -ENOMEM;
	err = kunit_attach_mm();
	if (err)
		return err;
	ctx->addr = vm_mmap(NULL, 0, size, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, 0);
	if (IS_ERR_VALUE(ctx->addr))
		return ctx->addr;
	/* small pages: a leaf for each */
	if (IS_ENABLED(CONFIG_TRANSPARENT_HUGEPAGE)) {
		err = do_madvise(current->mm, ctx->addr, size, MADV_NOHUGEPAGE);
		if (err)
			return err;
	}
	test->priv = ctx;
	return __mm_populate(ctx->addr, size, 0);
}

static void put_pages(struct page **pages, int nr)
{
	for (int i = 0; i < nr; i++)
		put_page(pages[i]);
}

/* Get all pages for writing; the first @expected come back, and are the mapped ones. */
static void expect_pages(struct kunit *test, int expected)
{
	struct fast_only *ctx = test->priv;
	int nr, slow, wrong = 0;

	nr = get_user_pages_fast_only(ctx->addr, NR_PAGES, FOLL_WRITE, ctx->pages);
	KUNIT_EXPECT_EQ_MSG(test, nr, expected, "pages");
	if (nr <= 0)
		return;
	slow = get_user_pages_unlocked(ctx->addr, nr, ctx->slow, FOLL_WRITE);
	KUNIT_EXPECT_EQ_MSG(test, slow, nr, "pages by the slow path");
	for (int i = 0; i < min(nr, slow); i++)
		wrong += ctx->pages[i] != ctx->slow[i];
	KUNIT_EXPECT_EQ_MSG(test, wrong, 0, "other pages than the slow path gets");
	put_pages(ctx->slow, slow);
	put_pages(ctx->pages, nr);
}

static void all(struct kunit *test)
{
	expect_pages(test, NR_PAGES);
}

/* A walk past the empty range ends at a hole in the same page table. */
static void nothing(struct kunit *test)
{
	struct fast_only *ctx = test->priv;
	unsigned long addr = ctx->addr;
	int nr;

	if ((addr + 8 * PAGE_SIZE) >> PMD_SHIFT != addr >> PMD_SHIFT)
		addr = ALIGN(addr, PMD_SIZE);
	KUNIT_ASSERT_EQ(test, do_madvise(current->mm, addr + 8 * PAGE_SIZE, PAGE_SIZE,
					 MADV_DONTNEED), 0);
	nr = get_user_pages_fast_only(addr, 0, FOLL_WRITE, ctx->pages);
	KUNIT_EXPECT_EQ_MSG(test, nr, 0, "pages when none were asked for");
	if (nr > 0)
		put_pages(ctx->pages, nr);
}

/* A page that is not there ends the walk, and stays away. */
static void hole(struct kunit *test)
{
	static const int holes[] = { NR_PAGES - 1, 1025, 1024, 513, 512, 511, 1, 0 };
	struct fast_only *ctx = test->priv;

	for (int i = 0; i < ARRAY_SIZE(holes); i++) {
		KUNIT_ASSERT_EQ(test, do_madvise(current->mm,
						 ctx->addr + holes[i] * PAGE_SIZE,
						 PAGE_SIZE, MADV_DONTNEED), 0);
		expect_pages(test, holes[i]);
		expect_pages(test, holes[i]);
	}
}

static void unmapped(struct kunit *test)
{
	struct fast_only *ctx = test->priv;

	KUNIT_ASSERT_EQ(test, vm_munmap(ctx->addr + 600 * PAGE_SIZE,
					(NR_PAGES - 600) * PAGE_SIZE), 0);
	expect_pages(test, 600);
}

/* The caller has disabled interrupts, and finds them disabled. */
static void irqs_off(struct kunit *test)
{
	struct fast_only *ctx = test->priv;
	unsigned long flags;
	bool disabled;
	int nr;

	local_irq_save(flags);
	nr = get_user_pages_fast_only(ctx->addr, NR_PAGES, FOLL_WRITE, ctx->pages);
	disabled = irqs_disabled();
	local_irq_restore(flags);
	KUNIT_EXPECT_TRUE_MSG(test, disabled, "interrupts were enabled");
	KUNIT_EXPECT_EQ_MSG(test, nr, NR_PAGES, "pages");
	put_pages(ctx->pages, nr);
}

static struct kunit_case gup_fast_only_cases[] = {
	KUNIT_CASE(all),
	KUNIT_CASE(nothing),
	KUNIT_CASE(hole),
	KUNIT_CASE(unmapped),
	KUNIT_CASE(irqs_off),
	{}
};

static struct kunit_suite gup_fast_only_suite = {
	.name = "gup_fast_only",
	.init = gup_fast_only_init,
	.test_cases = gup_fast_only_cases,
};

kunit_test_suite(gup_fast_only_suite);
