// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests for page_set_hwpoison_nolock(), which only a machine check that is about
 * to panic calls.
 *
 * The rule: of a hugetlb folio whose vmemmap is optimized the head is marked, as one whose
 * poisoned pages are unknown, and no tail page is written. Other pages are marked
 * themselves.
 */
#include <kunit/test.h>
#include <linux/hugetlb.h>
#include <linux/memory-failure.h>
#include <linux/mm.h>

static void expect_folio_marked(struct kunit *test, struct folio *folio, unsigned long i)
{
	struct page *page = folio_page(folio, i);

	page_set_hwpoison_nolock(page);
	KUNIT_EXPECT_TRUE_MSG(test, folio_test_hwpoison(folio), "page %lu", i);
	KUNIT_EXPECT_TRUE_MSG(test, folio_test_hugetlb_raw_hwp_unreliable(folio), "page %lu", i);
	KUNIT_EXPECT_EQ_MSG(test, !i, PageHWPoison(page), "page %lu", i);
	folio_clear_hwpoison(folio);
	folio_clear_hugetlb_raw_hwp_unreliable(folio);
}

/* The head, a tail page that can be written, and one that cannot. */
static void optimized(struct kunit *test)
{
	struct folio *folio = NULL;

	if (hugepages_supported())
		folio = alloc_hugetlb_folio_nodemask(&default_hstate, numa_mem_id(), NULL,
						     htlb_alloc_mask(&default_hstate), true);
	if (!folio)
		kunit_skip(test, "no hugetlb folio");
	if (!folio_test_hugetlb_vmemmap_optimized(folio)) {
		folio_put(folio);
		kunit_skip(test, "needs hugetlb_free_vmemmap=on");
	}
	expect_folio_marked(test, folio, 0);
	expect_folio_marked(test, folio, 1);
	expect_folio_marked(test, folio, folio_nr_pages(folio) - 1);
	folio_put(folio);
}

static void other(struct kunit *test)
{
	struct page *page = alloc_page(GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, page);
	page_set_hwpoison_nolock(page);
	KUNIT_EXPECT_TRUE(test, PageHWPoison(page));
	ClearPageHWPoison(page);
	__free_page(page);
}

static struct kunit_case hwpoison_nolock_cases[] = {
	KUNIT_CASE(optimized),
	KUNIT_CASE(other),
	{}
};

static struct kunit_suite hwpoison_nolock_suite = {
	.name = "hwpoison_nolock",
	.test_cases = hwpoison_nolock_cases,
};

kunit_test_suite(hwpoison_nolock_suite);
