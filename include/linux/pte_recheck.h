/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _LINUX_PTE_RECHECK_H
#define _LINUX_PTE_RECHECK_H

/*
 * For callers of pte_offset_map_rw_nolock(): is the PTE table that was found
 * still the one that the pmd points to?
 */
#include <linux/mm.h>
#include <linux/pgtable.h>

/**
 * pte_table_attached - is a PTE table still the one that its pmd points to?
 * @pmd: the pmd that the page table was found in
 * @pmdval: what was found there, as pte_offset_map_rw_nolock() gave it
 *
 * A page table that was found without its lock may be detached by the time it
 * is locked. It is empty then, and remains locked and mapped like any other,
 * but nobody must write to it. So whoever locks a page table asks this before
 * anything else, unless something else keeps it attached. See "Detached page
 * tables" in Documentation/mm/process_addrs.rst.
 *
 * Context: The caller holds the page table's lock, taken after @pmdval was
 * read, and what makes it legal to walk here: mmap_lock, VMA lock, or a lock of
 * the rmap. The answer holds until either is dropped.
 * Return: true if the page table is attached.
 */
static inline bool pte_table_attached(pmd_t *pmd, pmd_t pmdval)
{
	return pmd_same(pmdval, pmdp_get_lockless(pmd));
}

/**
 * pte_lock_recheck_nested - lock a PTE table if it still is attached
 * @ptl: the page table's lock
 * @pmd: the pmd that the page table was found in
 * @pmdval: what was found there
 * @subclass: for lockdep, as in spin_lock_nested()
 *
 * @ptl and @pmdval are what pte_offset_map_rw_nolock() gave, and its caller
 * does the pte_unmap(), whatever this returns.
 *
 * Context: As spin_lock(@ptl).
 * Return: true with @ptl held and the page table attached; false without @ptl
 * if it was detached: start over from the pmd.
 */
static inline bool pte_lock_recheck_nested(spinlock_t *ptl, pmd_t *pmd,
					   pmd_t pmdval, int subclass)
	__cond_acquires(true, ptl)
{
	spin_lock_nested(ptl, subclass);
	if (likely(pte_table_attached(pmd, pmdval)))
		return true;
	spin_unlock(ptl);
	return false;
}

/**
 * pte_lock_recheck - lock a PTE table if it still is attached
 * @ptl: the page table's lock
 * @pmd: the pmd that the page table was found in
 * @pmdval: what was found there
 *
 * As pte_lock_recheck_nested(), where no other page table is locked.
 *
 * Context: As spin_lock(@ptl).
 * Return: true with @ptl held and the page table attached; false without @ptl
 * if it was detached: start over from the pmd.
 */
static inline bool pte_lock_recheck(spinlock_t *ptl, pmd_t *pmd, pmd_t pmdval)
	__cond_acquires(true, ptl)
{
	return pte_lock_recheck_nested(ptl, pmd, pmdval, 0);
}

#endif /* _LINUX_PTE_RECHECK_H */
