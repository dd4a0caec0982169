/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _MM_PGTABLE_MARKERS_H
#define _MM_PGTABLE_MARKERS_H

#include <linux/mm.h>
#include <linux/pgtable.h>
#include "debug_pte_detach.h"

/*
 * A flag of ptdesc, in addition to enum pt_flags: this PTE table may have guard
 * markers, poison markers or hwpoison entries. No page fault could make these
 * again, and no flag of the VMA tells reliably whether there are any: poison
 * outlives the registration of userfaultfd, memory_failure() leaves its entries
 * in any VMA, and the flags of a VMA change without the page table lock.
 *
 * Code that writes such an entry, or copies or moves entries from another page
 * table, sets the flag first, under the page table lock. In VMAs that are not
 * retracted, unuse_pte() (they have an anon_vma) and fork() (they have no file) need
 * not. The flag is never cleared: it ends with the page table. So a holder of the
 * page table lock that finds the flag clear knows that no VMA that may be retracted
 * has such an entry. If page tables share a ptdesc, the flag may be due to another.
 *
 * uffd-wp markers do not count: they exist only while the VMA is registered, see
 * userfaultfd_protected(). Nor do hugetlb's entries.
 */
#define PT_has_markers	PG_owner_2
static_assert(!(BIT(PT_has_markers) &
		(BIT(PT_kernel) | BIT(PT_reserved) | BIT(PT_detached))));

static inline unsigned long *pte_table_flags(pmd_t *pmd)
{
	return &page_ptdesc(pmd_page(pmdp_get(pmd)))->pt_flags.f;
}

/**
 * pte_table_has_markers - may a PTE table have PTE markers or hwpoison entries?
 * @pmd: the pmd that points to the page table
 *
 * Context: The caller holds the page table's lock, and @pmd was checked under it.
 * Return: false if it has none that matters, see PT_has_markers. Always true on m68k
 * with Motorola's MMU, where pmd_page() is a dummy.
 */
static inline bool pte_table_has_markers(pmd_t *pmd)
{
	if (IS_ENABLED(CONFIG_MMU_MOTOROLA))
		return true;
	return test_bit(PT_has_markers, pte_table_flags(pmd));
}

/**
 * pte_table_set_markers - note that a PTE table gets PTE markers or hwpoison entries
 * @pmd: the pmd that points to the page table
 *
 * Context: The caller holds the page table's lock, and @pmd was checked under it,
 * from here until the entry is written. Does not sleep.
 */
static inline void pte_table_set_markers(pmd_t *pmd)
{
	if (!pte_table_has_markers(pmd))
		set_bit(PT_has_markers, pte_table_flags(pmd));
}

/**
 * pte_table_inherit_markers - note that entries of one PTE table come to another
 * @dst: the pmd that points to the page table that gets the entries
 * @src: the pmd that points to the page table that has them
 *
 * Context: As pte_table_set_markers(), with the locks of both page tables.
 */
static inline void pte_table_inherit_markers(pmd_t *dst, pmd_t *src)
{
	if (unlikely(pte_table_has_markers(src)))
		pte_table_set_markers(dst);
}

#endif /* _MM_PGTABLE_MARKERS_H */
