/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _MM_DEBUG_PTE_DETACH_H
#define _MM_DEBUG_PTE_DETACH_H

#include <linux/mm.h>

/*
 * A flag of ptdesc, in addition to enum pt_flags: no pmd points to this PTE
 * table any more. Only mm/debug_pte_detach.c sets and tests it.
 */
#define PT_detached	PG_workingset
static_assert(!(BIT(PT_detached) & (BIT(PT_kernel) | BIT(PT_reserved))));

#ifdef CONFIG_DEBUG_PTE_DETACH
void __debug_pte_detach(pgtable_t pgtable, const char *caller);
#define debug_pte_detach(pgtable)	__debug_pte_detach(pgtable, __func__)
void debug_pte_free(struct ptdesc *ptdesc);
#else
static inline void debug_pte_detach(pgtable_t pgtable) { }
static inline void debug_pte_free(struct ptdesc *ptdesc) { }
#endif

#endif /* _MM_DEBUG_PTE_DETACH_H */
