// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests for what a live kernel PTE may change to without
 * break-before-make: the rules of pgattr_oa_change_is_safe(), from R_WHZWS of
 * the Arm ARM.
 */
#include <kunit/test.h>
#include <linux/pgtable.h>
#include <linux/set_memory.h>

#define HERE	0x1000
#define THERE	0x2000

static pteval_t kernel_pte(unsigned long pfn, pteval_t set, pteval_t clear)
{
	return (pte_val(pfn_pte(pfn, PAGE_KERNEL_RO)) | set) & ~clear;
}

struct change {
	const char *what;
	/* bits on top of a read-only kernel entry, and bits less */
	pteval_t old_set, old_clear, new_set, new_clear;
	bool same_page, same_contents, safe;
};

static const struct change changes[] = {
	{ .what = "another page, read-only, same contents",
	  .same_contents = true, .safe = true },
	{ .what = "another page, read-only, other contents" },
	{ .what = "another page, writable",
	  .old_set = PTE_WRITE, .old_clear = PTE_RDONLY,
	  .new_set = PTE_WRITE, .new_clear = PTE_RDONLY, .same_contents = true },
	{ .what = "another page and no longer writable",
	  .old_set = PTE_WRITE, .old_clear = PTE_RDONLY, .same_contents = true },
	{ .what = "another page and writable at once",
	  .new_set = PTE_WRITE, .new_clear = PTE_RDONLY, .same_contents = true },
	{ .what = "another page, hardware may have made it writable",
	  .old_set = PTE_WRITE, .same_contents = true },
	{ .what = "another page, hardware may make it writable",
	  .new_set = PTE_WRITE, .same_contents = true },
	{ .what = "another page, writable without hardware's help",
	  .old_clear = PTE_RDONLY, .new_clear = PTE_RDONLY, .same_contents = true },
	{ .what = "another page and another memory type",
	  .new_set = PTE_ATTRINDX(MT_NORMAL_NC), .new_clear = PTE_ATTRINDX_MASK &
	  ~PTE_ATTRINDX(MT_NORMAL_NC), .same_contents = true },
	{ .what = "another page and executable",
	  .new_clear = PTE_PXN, .same_contents = true },
	{ .what = "another page, one of a contiguous range",
	  .old_set = PTE_CONT, .new_set = PTE_CONT, .same_contents = true },
	{ .what = "another page where there was none",
	  .old_clear = PTE_VALID, .new_set = PTE_WRITE, .new_clear = PTE_RDONLY, .safe = true },
	{ .what = "no page",
	  .old_set = PTE_WRITE, .old_clear = PTE_RDONLY, .new_clear = PTE_VALID, .safe = true },
	{ .what = "no longer writable",
	  .old_set = PTE_WRITE, .old_clear = PTE_RDONLY, .same_page = true, .safe = true },
	{ .what = "writable",
	  .new_set = PTE_WRITE, .new_clear = PTE_RDONLY, .same_page = true, .safe = true },
};

static void oa_change(struct kunit *test)
{
	for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
		const struct change *c = &changes[i];
		pteval_t old = kernel_pte(HERE, c->old_set, c->old_clear);
		pteval_t new = kernel_pte(c->same_page ? HERE : THERE,
					  c->new_set, c->new_clear);

		KUNIT_EXPECT_EQ_MSG(test, c->safe,
				    pgattr_oa_change_is_safe(old, new, c->same_contents),
				    "%s", c->what);
		/* The older rule knows nothing of contents: it allows no other page. */
		if (!c->same_page && old & new & PTE_VALID)
			KUNIT_EXPECT_FALSE_MSG(test, pgattr_change_is_safe(old, new),
					       "%s", c->what);
	}
}

/* The bits that decide whether a page can be written through an entry, and how it is. */
static const pteval_t bits[] = { PTE_WRITE, PTE_RDONLY, PTE_DIRTY, PTE_AF };

/* A valid kernel entry with those of the bits that are set in @which. */
static pteval_t pte_with(unsigned long pfn, unsigned int which)
{
	pteval_t val = kernel_pte(pfn, 0, 0);

	for (size_t i = 0; i < ARRAY_SIZE(bits); i++) {
		val &= ~bits[i];
		if (which & BIT(i))
			val |= bits[i];
	}
	return val;
}

/* Neither software nor hardware can make a page written through the entry. */
static bool never_written(pteval_t val)
{
	return !(val & PTE_WRITE) && (val & PTE_RDONLY);
}

/* All combinations of the bits of both entries, with same and other contents. */
static void oa_bits(struct kunit *test)
{
	const unsigned int nr = BIT(ARRAY_SIZE(bits));

	for (unsigned int i = 0; i < nr * nr; i++) {
		pteval_t old = pte_with(HERE, i % nr), new = pte_with(THERE, i / nr);
		bool safe = i % nr == i / nr && never_written(old);

		KUNIT_EXPECT_EQ_MSG(test, safe, pgattr_oa_change_is_safe(old, new, true),
				    "%016llx -> %016llx, same contents", old, new);
		KUNIT_EXPECT_FALSE_MSG(test, pgattr_oa_change_is_safe(old, new, false),
				       "%016llx -> %016llx, other contents", old, new);
	}
}

static struct kunit_case pgattr_cases[] = {
	KUNIT_CASE(oa_change),
	KUNIT_CASE(oa_bits),
	{}
};

static struct kunit_suite pgattr_suite = {
	.name = "arm64_pgattr",
	.test_cases = pgattr_cases,
};

kunit_test_suite(pgattr_suite);

MODULE_DESCRIPTION("KUnit tests for changes of live kernel page table entries");
MODULE_LICENSE("GPL");
