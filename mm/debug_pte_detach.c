// SPDX-License-Identifier: GPL-2.0-only
/*
 * Check that detached PTE tables are empty, and stay empty.
 *
 * Walkers that found a PTE table before it was detached, and that hold
 * rcu_read_lock(), may still walk the page table until RCU frees it. They may
 * lock it, and read it as if it were attached. They do no harm, because the
 * page table has no entries, and because they recheck the pmd before they write
 * one. "Detached page tables" in Documentation/mm/process_addrs.rst has the
 * rule.
 *
 * Each function that detaches calls debug_pte_detach(). A detached page table
 * is freed either by pte_free_defer() or by an mmu_gather, and both call
 * debug_pte_free() after the grace period. If only the latter complains,
 * a walker wrote to a detached page table: the walker locked the page table,
 * and did not check whether it still is attached. An entry that is written and
 * cleared again in between is not seen.
 *
 * The caller's name is kept in ptdesc's pt_index, which is otherwise s390's.
 */
#include <linux/bug.h>
#include <linux/mm.h>
#include <linux/pgtable.h>
#include "debug_pte_detach.h"

/* Index of the first entry that is not pte_none(), or PTRS_PER_PTE. */
static unsigned int first_used(pte_t *table)
{
	unsigned int i = 0;

	while (i < PTRS_PER_PTE && pte_none(ptep_get(table + i)))
		i++;
	return i;
}

/**
 * __debug_pte_detach - a PTE table has just been detached from its pmd
 * @pgtable: the page table
 * @caller: the function that did it, a string that stays
 *
 * Warns if it holds an entry, and remembers @caller for debug_pte_free(). Use
 * debug_pte_detach(@pgtable), which names the function that it is used in.
 * Page tables that are deposited for a huge pmd, or moved to another pmd, are
 * not detached in this sense.
 *
 * Context: The locks of both the pmd and the page table are held since before
 * the pmd was cleared, or nobody else can find either any more, as when
 * free_pgtables() frees the page tables of unmapped VMAs.
 */
void __debug_pte_detach(pgtable_t pgtable, const char *caller)
{
	struct ptdesc *ptdesc = page_ptdesc(pgtable);
	pte_t *table = ptdesc_address(ptdesc);
	unsigned int i;

	/* see what the caller has cleared in lazy MMU mode, too */
	lazy_mmu_mode_pause();
	i = first_used(table);
	lazy_mmu_mode_resume();
	WARN_ONCE(i < PTRS_PER_PTE,
		  "%s() detaches a PTE table that holds an entry: %#llx at %u\n",
		  caller, (u64)pte_val(ptep_get(table + i)), i);
	ptdesc->pt_index = (unsigned long)caller;
	set_bit(PT_detached, &ptdesc->pt_flags.f);
}

/**
 * debug_pte_free - a page table is about to be freed
 * @ptdesc: the page table, of any level
 *
 * Warns if it is a PTE table that was detached and holds an entry, and names
 * the function that detached it.
 *
 * Context: Any; after the RCU grace period.
 */
void debug_pte_free(struct ptdesc *ptdesc)
{
	pte_t *table = ptdesc_address(ptdesc);
	unsigned int i;

	if (!test_and_clear_bit(PT_detached, &ptdesc->pt_flags.f))
		return;
	i = first_used(table);
	WARN_ONCE(i < PTRS_PER_PTE,
		  "a PTE table that %s() detached holds an entry: %#llx at %u\n",
		  (const char *)ptdesc->pt_index, (u64)pte_val(ptep_get(table + i)), i);
	ptdesc->pt_index = 0;
}
