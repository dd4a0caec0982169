/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Operations that keep or drop the write-protection of userfaultfd, UFFDIO_REGISTER_MODE_WP.
 *
 * One table for two readers: the selftest uffd-wp-rules asks the kernel in each cell, and
 * Documentation/admin-guide/mm/userfaultfd.rst has the same rows.  In sync mode a write to
 * a write-protected page is notified.  In async mode, UFFD_FEATURE_WP_ASYNC, a page that is
 * not write-protected counts as written.
 */
#ifndef __UFFD_WP_RULES_H__
#define __UFFD_WP_RULES_H__

/* Memory, a bit each */
enum memory {
	ANON		= 1 << 0,	/* anonymous, small pages */
	ANON_THP	= 1 << 1,	/* anonymous, mapped by a PMD */
	SHMEM		= 1 << 2,	/* shared mapping of a memfd */
	SHMEM_THP	= 1 << 3,	/* the same, one large folio */
	SHMEM_PRIVATE	= 1 << 4,	/* page of the memfd in a private mapping */
	SHMEM_OWN	= 1 << 5,	/* page of its own that a private mapping has there */
	EXT4		= 1 << 6,	/* the same three of a file on ext4 */
	EXT4_PRIVATE	= 1 << 7,
	EXT4_OWN	= 1 << 8,
	HUGETLB		= 1 << 9,	/* the same three of hugetlb, pages of every size */
	HUGETLB_PRIVATE	= 1 << 10,
	HUGETLB_OWN	= 1 << 11,
};

#define ANONS		(ANON | ANON_THP)
#define SHMEMS		(SHMEM | SHMEM_THP | SHMEM_PRIVATE | SHMEM_OWN)
#define EXT4S		(EXT4 | EXT4_PRIVATE | EXT4_OWN)
#define HUGETLBS	(HUGETLB | HUGETLB_PRIVATE | HUGETLB_OWN)
#define FILES		(SHMEMS | EXT4S | HUGETLBS)
#define SHARED		(SHMEM | SHMEM_THP | EXT4 | HUGETLB)
#define PRIVATE		(SHMEM_PRIVATE | EXT4_PRIVATE | HUGETLB_PRIVATE)
#define OWN		(SHMEM_OWN | EXT4_OWN | HUGETLB_OWN)
#define THPS		(ANON_THP | SHMEM_THP)
#define ALL		(ANONS | FILES)

/* The answer of a row for one mode */
enum answer {
	NEVER,		/* there is no such operation on this memory; the reason says why */
	KEPT,		/* the page is write-protected as before */
	DROPPED,	/* the page is not write-protected, and counts as written */
	EITHER,		/* one of the two */
	REFUSED,	/* the operation fails with an error, and the page is kept */
};

/*
 * The operations: name, name in the document, and for an operation that has none there the
 * one whose rows it has, wherever both can be.
 */
#define OPERATIONS(OP)								\
	OP(dontneed, "``MADV_DONTNEED``", dontneed)				\
	OP(pgtable, NULL, dontneed)						\
	OP(remove, "``MADV_REMOVE``", remove)					\
	OP(punch, "punching a hole", punch)					\
	OP(truncate, "``ftruncate(2)``", truncate)				\
	OP(direct, "``write(2)`` with ``O_DIRECT``", direct)			\
	OP(collapse, "``MADV_COLLAPSE``; of a file by any mapping", collapse)	\
	OP(split, "split of a huge page", split)				\
	OP(pageout, "reclaim, swap", pageout)					\
	OP(swapin, NULL, pageout)						\
	OP(migrate, "migration", migrate)					\
	OP(mprotect, "``mprotect(2)``", mprotect)				\
	OP(guard, "``MADV_GUARD_INSTALL``, then ``MADV_GUARD_REMOVE``", guard)	\
	OP(ksm, "KSM", ksm)							\
	OP(unmerge, NULL, ksm)							\
	OP(hwpoison, "hardware poison, then a new page", hwpoison)		\
	OP(uffd_poison, "``UFFDIO_POISON``, then ``MADV_DONTNEED``", uffd_poison)	\
	OP(poison_protect, "the same, with ``UFFDIO_WRITEPROTECT`` in between", poison_protect)	\
	OP(fork, "``fork(2)``, in the parent", fork)				\
	OP(fork_child, "``fork(2)``, in the child", fork_child)			\
	OP(fork_unread, NULL, fork_child)					\
	OP(fork_event, "``fork(2)`` with the event, in the child", fork_event)	\
	OP(mremap, "``mremap(2)``, at the new address", mremap)			\
	OP(mremap_event, "``mremap(2)`` with the event, at the new address", mremap_event)	\
	OP(mremap_fails, "``mremap(2)`` that fails", mremap_fails)		\
	OP(dontunmap, "``MREMAP_DONTUNMAP``, at the old address", dontunmap)	\
	OP(move, "``UFFDIO_MOVE``, at the new address", move)			\
	OP(move_swapped, NULL, move)						\
	OP(copy, "``UFFDIO_COPY``", copy)					\
	OP(copy_wp, "``UFFDIO_COPY_MODE_WP``", copy_wp)				\
	OP(zeropage, "``UFFDIO_ZEROPAGE``", zeropage)				\
	OP(continue, "``UFFDIO_CONTINUE``", continue)				\
	OP(continue_wp, "``UFFDIO_CONTINUE_MODE_WP``", continue_wp)		\
	OP(unprotect, "``UFFDIO_WRITEPROTECT`` without ``MODE_WP``", unprotect)	\
	OP(unregister, "``UFFDIO_UNREGISTER``, ``munmap(2)``", unregister)	\
	OP(munmap, NULL, unregister)

#define OPERATION_ENUM(name, text, same)	OP_##name,
enum operation_id { OPERATIONS(OPERATION_ENUM) NR_OPERATIONS };

/* A row: kinds of memory and their name in the document, which has no rows that are NEVER. */
struct rule {
	enum operation_id op;
	unsigned int memory;
	const char *called;
	enum answer sync, async;
	/* of REFUSED */
	int error;
	/* of NEVER: why */
	const char *reason;
	/* the document adds this to an answer; the test does not ask it */
	const char *sync_but, *async_but;
};

/* A THP of a file is one that is mapped by a PMD, which write-protection splits in sync mode. */
#define FILE_THP	"THP of a file"
#define OWN_PAGE	"own page of a private mapping"
#define FILE_PAGE	"page of a file"

static const struct rule rules[] = {
	{ OP_dontneed, ANONS, "anonymous", DROPPED, DROPPED },
	{ OP_dontneed, (SHARED | PRIVATE) & ~SHMEM_THP, FILE_PAGE, KEPT, KEPT },
	{ OP_dontneed, SHMEM_THP, FILE_THP, KEPT, DROPPED },
	{ OP_dontneed, OWN, OWN_PAGE, KEPT, DROPPED },

	/* MADV_DONTNEED of all that a page table maps: the table is freed if it is empty then */
	{ OP_pgtable, ANON, "anonymous", DROPPED, DROPPED },
	{ OP_pgtable, SHMEM | SHMEM_PRIVATE | EXT4 | EXT4_PRIVATE, FILE_PAGE, KEPT, KEPT },
	{ OP_pgtable, SHMEM_OWN | EXT4_OWN, OWN_PAGE, KEPT, DROPPED },
	{ OP_pgtable, THPS, NULL, NEVER, NEVER,
	  .reason = "a PMD maps it: see dontneed" },
	{ OP_pgtable, HUGETLBS, NULL, NEVER, NEVER,
	  .reason = "__unmap_hugepage_range() frees no page table" },

	{ OP_remove, SHARED, "page of a file, shared", KEPT, DROPPED,
	  .sync_but = "; dropped if it is mapped when it is removed from the file" },
	{ OP_remove, PRIVATE | OWN, NULL, NEVER, NEVER,
	  .reason = "madvise_remove() wants a shared mapping" },
	{ OP_remove, ANONS, NULL, NEVER, NEVER,
	  .reason = "madvise_remove() wants a file" },

	{ OP_punch, SHARED | PRIVATE, FILE_PAGE, KEPT, DROPPED,
	  .sync_but = "; dropped if it is mapped when it is removed from the file" },
	{ OP_punch, SHMEM_OWN | EXT4_OWN, OWN_PAGE, KEPT, KEPT },
	{ OP_punch, HUGETLB_OWN, "own page of hugetlb", KEPT, DROPPED },
	{ OP_punch, ANONS, NULL, NEVER, NEVER, .reason = "there is no file" },

	{ OP_truncate, FILES, "page of a file, own page", KEPT, DROPPED,
	  .sync_but = "; dropped if it is mapped when it is removed from the file" },
	{ OP_truncate, ANONS, NULL, NEVER, NEVER, .reason = "there is no file" },

	{ OP_direct, EXT4 | EXT4_PRIVATE, FILE_PAGE, NEVER, DROPPED },
	{ OP_direct, EXT4_OWN, OWN_PAGE, NEVER, KEPT },
	{ OP_direct, SHMEMS, NULL, NEVER, NEVER,
	  .reason = "shmem_file_write_iter() writes to the page cache" },
	{ OP_direct, HUGETLBS, NULL, NEVER, NEVER,
	  .reason = "hugetlbfs_file_operations have no write_iter" },
	{ OP_direct, ANONS, NULL, NEVER, NEVER, .reason = "there is no file" },

	{ OP_collapse, ANON, "anonymous", REFUSED, REFUSED, .error = EINVAL },
	{ OP_collapse, ANON_THP | ((SHMEMS | EXT4S) & ~OWN), "THP, page of a file", KEPT, KEPT },
	{ OP_collapse, SHMEM_OWN | EXT4_OWN, OWN_PAGE, KEPT, KEPT },
	{ OP_collapse, HUGETLBS, NULL, NEVER, NEVER,
	  .reason = "collapse_possible() says no for VM_HUGETLB" },

	{ OP_split, ANON_THP, "anonymous", KEPT, KEPT },
	{ OP_split, SHMEM_THP, FILE_THP, KEPT, DROPPED },
	{ OP_split, ALL & ~THPS, NULL, NEVER, NEVER, .reason = "no THP" },

	{ OP_pageout, ANONS, "anonymous", KEPT, KEPT },
	{ OP_pageout, (SHMEMS | EXT4S) & ~(SHMEM_THP | OWN), FILE_PAGE, KEPT, KEPT },
	{ OP_pageout, SHMEM_THP, FILE_THP, KEPT, DROPPED },
	{ OP_pageout, SHMEM_OWN | EXT4_OWN, OWN_PAGE, KEPT, KEPT },
	{ OP_pageout, HUGETLBS, NULL, NEVER, NEVER, .reason = "hugetlb is not reclaimed" },

	/* the same, after a read */
	{ OP_swapin, ALL & ~(SHMEM_THP | HUGETLBS), "all", KEPT, KEPT },
	{ OP_swapin, SHMEM_THP, FILE_THP, KEPT, DROPPED },
	{ OP_swapin, HUGETLBS, NULL, NEVER, NEVER, .reason = "hugetlb is not reclaimed" },

	{ OP_migrate, ALL, "all", KEPT, KEPT },

	{ OP_mprotect, ALL, "all", KEPT, KEPT },

	{ OP_guard, ANONS, "anonymous", DROPPED, DROPPED },
	{ OP_guard, SHMEMS | EXT4S, "page of a file, own page", KEPT, DROPPED },
	{ OP_guard, HUGETLBS, NULL, NEVER, NEVER,
	  .reason = "is_valid_guard_vma() says no for VM_HUGETLB" },

	{ OP_ksm, ANONS, "anonymous", KEPT, KEPT },
	{ OP_ksm, SHMEM_OWN | EXT4_OWN, OWN_PAGE, KEPT, KEPT },
	{ OP_ksm, SHARED | PRIVATE, NULL, NEVER, NEVER,
	  .reason = "KSM merges anonymous folios only" },
	{ OP_ksm, HUGETLB_OWN, NULL, NEVER, NEVER,
	  .reason = "ksm_compatible() says no for VM_HUGETLB" },

	{ OP_unmerge, ANONS | SHMEM_OWN | EXT4_OWN, "all", KEPT, KEPT },
	{ OP_unmerge, SHARED | PRIVATE | HUGETLB_OWN, NULL, NEVER, NEVER,
	  .reason = "see ksm" },

	{ OP_hwpoison, ANONS, "anonymous", DROPPED, DROPPED },
	{ OP_hwpoison, FILES, "page of a file, own page", KEPT, DROPPED,
	  .sync_but = "; dropped if ``swapoff(2)`` finds the poison",
	  .async_but = "; kept in the swap cache, and if the page was clean and is on disk" },

	{ OP_uffd_poison, ANONS, "anonymous", DROPPED, DROPPED },
	{ OP_uffd_poison, SHMEM | SHMEM_PRIVATE | HUGETLB | HUGETLB_PRIVATE, FILE_PAGE,
	  REFUSED, REFUSED, .error = EEXIST },
	{ OP_uffd_poison, SHMEM_THP, FILE_THP, REFUSED, DROPPED, .error = EEXIST },
	{ OP_uffd_poison, SHMEM_OWN | HUGETLB_OWN, OWN_PAGE, REFUSED, DROPPED, .error = EEXIST },
	{ OP_uffd_poison, EXT4S, NULL, NEVER, NEVER,
	  .reason = "mfill_get_vma() wants vm_uffd_ops, which ext4 has not" },

	{ OP_poison_protect, ANONS, "anonymous", DROPPED, DROPPED },
	{ OP_poison_protect, SHMEMS | HUGETLBS, "page of a file, own page", KEPT, DROPPED },
	{ OP_poison_protect, EXT4S, NULL, NEVER, NEVER, .reason = "see uffd_poison" },

	{ OP_fork, ALL, "all", KEPT, KEPT },

	{ OP_fork_child, ALL, "all", DROPPED, DROPPED },

	/* UFFD_FEATURE_EVENT_FORK, and the userfaultfd is closed before the event is read */
	{ OP_fork_unread, ALL, "all", DROPPED, DROPPED },

	{ OP_fork_event, ALL & ~SHMEM_THP, "anonymous, page of a file, own page", KEPT, KEPT },
	{ OP_fork_event, SHMEM_THP, FILE_THP, KEPT, DROPPED },

	{ OP_mremap, ALL, "all", DROPPED, DROPPED },

	{ OP_mremap_event, ALL, "all", KEPT, KEPT },

	{ OP_mremap_fails, ALL & ~SHMEM_THP, "anonymous, page of a file, own page", KEPT, KEPT },
	{ OP_mremap_fails, SHMEM_THP, FILE_THP, KEPT, EITHER },

	{ OP_dontunmap, ANONS, "anonymous", DROPPED, DROPPED },
	{ OP_dontunmap, SHMEMS | EXT4S, "page of a file, own page", KEPT, DROPPED },
	{ OP_dontunmap, HUGETLBS, NULL, NEVER, NEVER,
	  .reason = "check_prep_vma() says no for VM_DONTEXPAND" },

	{ OP_move, ANONS, "anonymous", DROPPED, DROPPED },
	{ OP_move, FILES, NULL, NEVER, NEVER,
	  .reason = "validate_move_areas() wants anonymous memory" },

	{ OP_move_swapped, ANONS, "anonymous", DROPPED, DROPPED },
	{ OP_move_swapped, FILES, NULL, NEVER, NEVER, .reason = "see move" },

	{ OP_copy, ALL & ~EXT4S, "all", DROPPED, DROPPED },
	{ OP_copy, EXT4S, NULL, NEVER, NEVER, .reason = "see uffd_poison" },

	{ OP_copy_wp, ALL & ~EXT4S, "all", KEPT, KEPT },
	{ OP_copy_wp, EXT4S, NULL, NEVER, NEVER, .reason = "see uffd_poison" },

	{ OP_zeropage, ANONS | SHMEM | SHMEM_THP, "anonymous, page of a file", DROPPED, DROPPED },
	{ OP_zeropage, SHMEM_PRIVATE | SHMEM_OWN, "private mapping", REFUSED, DROPPED,
	  .error = EEXIST },
	{ OP_zeropage, EXT4S, NULL, NEVER, NEVER, .reason = "see uffd_poison" },
	{ OP_zeropage, HUGETLBS, NULL, NEVER, NEVER,
	  .reason = "mfill_atomic_hugetlb() has no zero page" },

	{ OP_continue, SHMEMS | HUGETLBS, "all", DROPPED, DROPPED },
	{ OP_continue, ANONS, NULL, NEVER, NEVER,
	  .reason = "mfill_get_vma() wants get_folio_noalloc(), which anon_uffd_ops has not" },
	{ OP_continue, EXT4S, NULL, NEVER, NEVER, .reason = "see uffd_poison" },

	{ OP_continue_wp, SHMEMS | HUGETLBS, "all", KEPT, KEPT },
	{ OP_continue_wp, ANONS | EXT4S, NULL, NEVER, NEVER, .reason = "see continue" },

	{ OP_unprotect, ALL, "all", DROPPED, DROPPED },

	{ OP_unregister, ALL, "all", DROPPED, DROPPED },

	{ OP_munmap, ALL, "all", DROPPED, DROPPED },
};

#endif /* __UFFD_WP_RULES_H__ */
