/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _LINUX_PTE_RECHECK_H
#define _LINUX_PTE_RECHECK_H

/*
 * For callers of pte_offset_map_rw_nolock(): is the PTE table that was found
 * still the one that the pmd points to?
 */
#include <linux/mm.h>
#include <linux/pgtable.h>

#ifdef CONFIG_MMU
/**
 * pte_table_attached - is a PTE table still the one that its pmd points to?
 * @pmd: the pmd that the page table was found in
 * @pmdval: the value of @pmd then, as pte_offset_map_rw_nolock() returned it
 *
 * A page table that was found without its lock may be detached by the time it
 * is locked. It is empty then, and remains locked and mapped like any other,
 * but nobody must write to it. Code that locks a page table calls this function
 * first, unless something else keeps the page table attached. See "Detached page
 * tables" in Documentation/mm/process_addrs.rst.
 *
 * Context: The caller holds the page table's lock, taken after @pmdval was
 * read, and a lock that allows the walk: mmap_lock, VMA lock, or a lock of the
 * rmap. The answer holds until either is dropped.
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
 * @pmdval: the value of @pmd then
 * @subclass: for lockdep, as in spin_lock_nested()
 *
 * pte_offset_map_rw_nolock() has returned @ptl and @pmdval. Its caller calls
 * pte_unmap(), whatever this function returns.
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
 * @pmdval: the value of @pmd then
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
#endif /* CONFIG_MMU */

#endif /* _LINUX_PTE_RECHECK_H */
