// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests for the VMA flags that an mmu_gather's TLB flushes get.
 *
 * The rule, from the comment at the top of include/asm-generic/tlb.h: a flush
 * at tlb_end_vma() gets the flags of that VMA; a flush after tlb_free_vmas(),
 * which covers freed page tables, gets VM_EXEC if any VMA of the gather was
 * executable, and only then.
 *
 * Two suites look at it from both ends:
 *
 *  mmu_gather_flush   what the default tlb_flush() hands to flush_tlb_range()
 *                     for a given sequence of mmu_gather calls. Needs an
 *                     architecture without a tlb_flush() of its own (UML).
 *
 *  mmu_gather_unmap   the state of the gather each time that a real munmap() or
 *                     the relocation of a new stack frees a page table. Needs
 *                     kprobes that can read arguments: arm64, loongarch,
 *                     powerpc, riscv, s390, x86. Their tlb_flush() does not
 *                     look at the flags; the core computes them all the same.
 */
#include <kunit/test.h>
#include <linux/anon_inodes.h>
#include <linux/file.h>
#include <linux/hugetlb.h>
#include <linux/kprobes.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/sched/mm.h>
#include <linux/sizes.h>

#include <asm/tlbflush.h>

static void record_flush_range(struct vm_area_struct *vma, unsigned long start,
			       unsigned long end);
static void record_flush_mm(struct mm_struct *mm);

/*
 * tlb_flush() and tlb_flush_mmu_tlbonly() are static inline functions of
 * asm-generic/tlb.h. With the two primitives replaced before it is included,
 * the copies in this file are the tree's own code up to the call, and the
 * arguments of the call are recorded.
 */
#ifdef _ASM_GENERIC__TLB_H
#define RECORDER_CAME_TOO_LATE
#endif
#undef flush_tlb_range
#undef flush_tlb_mm
#define flush_tlb_range(vma, start, end) record_flush_range(vma, start, end)
#define flush_tlb_mm(mm) record_flush_mm(mm)
#include <asm/tlb.h>
#undef flush_tlb_range
#undef flush_tlb_mm

#include "../internal.h"

#if !defined(tlb_flush) && !defined(CONFIG_MMU_GATHER_NO_RANGE) && \
	!defined(RECORDER_CAME_TOO_LATE)
#define HAVE_DEFAULT_TLB_FLUSH 1
#else
#define HAVE_DEFAULT_TLB_FLUSH 0
#endif

#define MAX_RECORDED 16

/* The arguments of the flush primitives since the test began. */
static struct tlb_recorder {
	unsigned int nr_range;
	unsigned int nr_mm;
	vm_flags_t flags[MAX_RECORDED];
} recorder;

static void __maybe_unused record_flush_range(struct vm_area_struct *vma,
					      unsigned long start,
					      unsigned long end)
{
	if (recorder.nr_range < MAX_RECORDED)
		recorder.flags[recorder.nr_range] = vma->vm_flags;
	recorder.nr_range++;
}

static void __maybe_unused record_flush_mm(struct mm_struct *mm)
{
	recorder.nr_mm++;
}

KUNIT_DEFINE_ACTION_WRAPPER(put_mm, mmput, struct mm_struct *);

/* An address space that nobody runs in, gone with the test. */
static struct mm_struct *__maybe_unused new_mm(struct kunit *test)
{
	struct mm_struct *mm = mm_alloc();

	KUNIT_ASSERT_NOT_NULL(test, mm);
	KUNIT_ASSERT_EQ(test, kunit_add_action_or_reset(test, put_mm, mm), 0);
	return mm;
}

#if HAVE_DEFAULT_TLB_FLUSH

struct flush_ctx {
	struct mmu_gather tlb;
	struct mm_struct *mm;
	unsigned long addr;
};

static int mmu_gather_flush_init(struct kunit *test)
{
	struct flush_ctx *ctx = kunit_kzalloc(test, sizeof(*ctx), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, ctx);
	ctx->mm = new_mm(test);
	ctx->addr = PMD_SIZE;
	/* Whatever the gather does not initialise is set. */
	memset(&ctx->tlb, 0xff, sizeof(ctx->tlb));
	memset(&recorder, 0, sizeof(recorder));
	test->priv = ctx;
	return 0;
}

/* The leaf entries of one page of a VMA with these flags: zap_pte_range(). */
static void start_page(struct flush_ctx *ctx, struct vm_area_struct *vma,
		       vm_flags_t flags)
{
	vma->vm_mm = ctx->mm;
	vma->vm_start = ctx->addr;
	vma->vm_end = ctx->addr + PAGE_SIZE;
	vm_flags_init(vma, flags);
	tlb_start_vma(&ctx->tlb, vma);
	tlb_remove_tlb_entry(&ctx->tlb, NULL, vma->vm_start);
	ctx->addr += PAGE_SIZE;
}

/* The same, and the end of the VMA. */
static void unmap_page(struct flush_ctx *ctx, vm_flags_t flags)
{
	struct vm_area_struct vma = {};

	start_page(ctx, &vma, flags);
	tlb_end_vma(&ctx->tlb, &vma);
}

/* pte_free_tlb() without a table behind it. */
static void free_table(struct flush_ctx *ctx, unsigned long addr)
{
	tlb_flush_pmd_range(&ctx->tlb, addr, PAGE_SIZE);
	ctx->tlb.freed_tables = 1;
}

static void finish(struct flush_ctx *ctx)
{
	tlb_flush_mmu_tlbonly(&ctx->tlb);
	tlb_finish_mmu(&ctx->tlb);
}

#define RX (VM_READ | VM_EXEC)
#define RW (VM_READ | VM_WRITE)

/* The flags of the @nth flush, which covers freed page tables. */
static void expect_table_flush(struct kunit *test, unsigned int nth,
			       vm_flags_t expected)
{
	KUNIT_EXPECT_EQ_MSG(test, recorder.flags[nth], expected,
			    "flags of the flush that covers freed tables");
}

/* VM_EXEC or 0: the @nth flush, of the leaf entries of one VMA. */
static void expect_leaf_flush(struct kunit *test, unsigned int nth,
			      vm_flags_t expected)
{
	KUNIT_EXPECT_EQ_MSG(test, recorder.flags[nth] & VM_EXEC, expected,
			    "flags of a flush of leaf entries");
}

static void expect_flushes(struct kunit *test, unsigned int ranges,
			   unsigned int mms)
{
	KUNIT_EXPECT_EQ_MSG(test, recorder.nr_range, ranges, "range flushes");
	KUNIT_EXPECT_EQ_MSG(test, recorder.nr_mm, mms, "mm flushes");
}

/* Two VMAs of one page each that share a table, unmapped by one gather. */
static void unmap_two(struct kunit *test, vm_flags_t first, vm_flags_t second,
		      vm_flags_t expected)
{
	struct flush_ctx *ctx = test->priv;

	tlb_gather_mmu(&ctx->tlb, ctx->mm);
	unmap_page(ctx, first);
	unmap_page(ctx, second);
	tlb_free_vmas(&ctx->tlb);
	free_table(ctx, PMD_SIZE);
	finish(ctx);

	expect_flushes(test, 3, 0);
	expect_leaf_flush(test, 0, first & VM_EXEC);
	expect_leaf_flush(test, 1, second & VM_EXEC);
	expect_table_flush(test, 2, expected);
}

static void flush_rx_rw(struct kunit *test)
{
	unmap_two(test, RX, RW, VM_EXEC);
}

static void flush_rw_rx(struct kunit *test)
{
	unmap_two(test, RW, RX, VM_EXEC);
}

/* MIPS: VM_EXEC where no VMA was executable is as wrong as the opposite. */
static void flush_rw_rw(struct kunit *test)
{
	unmap_two(test, RW, RW, 0);
}

static void flush_rx_hugetlb(struct kunit *test)
{
	unmap_two(test, RX, RW | VM_HUGETLB, VM_EXEC);
}

/* Text on huge pages. Only what the VMA is for decides, not how it is mapped. */
static void flush_rw_rx_hugetlb(struct kunit *test)
{
	unmap_two(test, RW, RX | VM_HUGETLB, VM_EXEC);
}

/*
 * A device's memory, whose entries tlb_end_vma() has left pending, as it does with
 * CONFIG_MMU_GATHER_MERGE_VMAS: tlb_free_vmas() flushes them, with their own flags.
 */
static void flush_rx_pfnmap(struct kunit *test)
{
	struct flush_ctx *ctx = test->priv;
	struct vm_area_struct vma = {};

	tlb_gather_mmu(&ctx->tlb, ctx->mm);
	unmap_page(ctx, RX);
	start_page(ctx, &vma, RW | VM_PFNMAP);
	tlb_free_vmas(&ctx->tlb);
	free_table(ctx, PMD_SIZE);
	finish(ctx);

	expect_flushes(test, 3, 0);
	expect_leaf_flush(test, 0, VM_EXEC);
	expect_leaf_flush(test, 1, 0);
	expect_table_flush(test, 2, VM_EXEC);
}

/* Each VMA's flush has that VMA's flags, and the page tables' has all. */
static void flush_several_rx(struct kunit *test)
{
	struct flush_ctx *ctx = test->priv;
	unsigned int i;

	tlb_gather_mmu(&ctx->tlb, ctx->mm);
	for (i = 0; i < 4; i++)
		unmap_page(ctx, i & 1 ? RW : RX);
	tlb_free_vmas(&ctx->tlb);
	free_table(ctx, PMD_SIZE);
	finish(ctx);

	expect_flushes(test, 5, 0);
	for (i = 0; i < 4; i++)
		expect_leaf_flush(test, i, i & 1 ? 0 : VM_EXEC);
	expect_table_flush(test, 4, VM_EXEC);
}

/* Too far apart for one free_pgd_range(): two tables, one gather. */
static void flush_rx_gap_rw(struct kunit *test)
{
	struct flush_ctx *ctx = test->priv;

	tlb_gather_mmu(&ctx->tlb, ctx->mm);
	unmap_page(ctx, RX);
	ctx->addr = 4 * PMD_SIZE;
	unmap_page(ctx, RW);
	tlb_free_vmas(&ctx->tlb);
	free_table(ctx, PMD_SIZE);
	free_table(ctx, 4 * PMD_SIZE);
	finish(ctx);

	expect_flushes(test, 3, 0);
	expect_table_flush(test, 2, VM_EXEC);
}

/* Each time that a batch of tables is full there is a flush in between. */
static void flush_many_tables(struct kunit *test)
{
	struct flush_ctx *ctx = test->priv;
	unsigned int i;

	tlb_gather_mmu(&ctx->tlb, ctx->mm);
	unmap_page(ctx, RX);
	unmap_page(ctx, RW);
	tlb_free_vmas(&ctx->tlb);
	for (i = 0; i < 3; i++) {
		free_table(ctx, (i + 1) * PMD_SIZE);
		tlb_flush_mmu_tlbonly(&ctx->tlb);
	}
	free_table(ctx, 4 * PMD_SIZE);
	finish(ctx);

	expect_flushes(test, 6, 0);
	for (i = 2; i < 6; i++)
		expect_table_flush(test, i, VM_EXEC);
}

/* relocate_vma_down() before it named its VMA: no tlb_start_vma() at all. */
static void flush_uninitialised(struct kunit *test)
{
	struct flush_ctx *ctx = test->priv;

	tlb_gather_mmu(&ctx->tlb, ctx->mm);
	free_table(ctx, PMD_SIZE);
	finish(ctx);

	expect_flushes(test, 1, 0);
	expect_table_flush(test, 0, 0);
}

static void flush_single_vma(struct kunit *test)
{
	struct flush_ctx *ctx = test->priv;
	struct vm_area_struct vma = { .vm_mm = ctx->mm };

	vm_flags_init(&vma, RX);
	tlb_gather_mmu_vma(&ctx->tlb, &vma);
	free_table(ctx, PMD_SIZE);
	finish(ctx);

	expect_flushes(test, 1, 0);
	expect_table_flush(test, 0, VM_EXEC);
}

/* The flags that one gather saw do not carry over to the next. */
static void flush_next_gather(struct kunit *test)
{
	struct flush_ctx *ctx = test->priv;

	tlb_gather_mmu(&ctx->tlb, ctx->mm);
	unmap_page(ctx, RX);
	tlb_free_vmas(&ctx->tlb);
	free_table(ctx, PMD_SIZE);
	finish(ctx);
	tlb_gather_mmu(&ctx->tlb, ctx->mm);
	unmap_page(ctx, RW);
	tlb_free_vmas(&ctx->tlb);
	free_table(ctx, PMD_SIZE);
	finish(ctx);

	expect_flushes(test, 4, 0);
	expect_table_flush(test, 1, VM_EXEC);
	expect_table_flush(test, 3, 0);
}

/* exit_mmap(): one flush of everything, flags play no part. */
static void flush_fullmm(struct kunit *test)
{
	struct flush_ctx *ctx = test->priv;

	tlb_gather_mmu_fullmm(&ctx->tlb, ctx->mm);
	unmap_page(ctx, RX);
	unmap_page(ctx, RW);
	tlb_free_vmas(&ctx->tlb);
	free_table(ctx, PMD_SIZE);
	finish(ctx);

	expect_flushes(test, 0, 1);
}

static struct kunit_case mmu_gather_flush_cases[] = {
	KUNIT_CASE(flush_rx_rw),
	KUNIT_CASE(flush_rw_rx),
	KUNIT_CASE(flush_rw_rw),
	KUNIT_CASE(flush_rx_hugetlb),
	KUNIT_CASE(flush_rw_rx_hugetlb),
	KUNIT_CASE(flush_rx_pfnmap),
	KUNIT_CASE(flush_several_rx),
	KUNIT_CASE(flush_rx_gap_rw),
	KUNIT_CASE(flush_many_tables),
	KUNIT_CASE(flush_uninitialised),
	KUNIT_CASE(flush_single_vma),
	KUNIT_CASE(flush_next_gather),
	KUNIT_CASE(flush_fullmm),
	{}
};

static struct kunit_suite mmu_gather_flush_suite = {
	.name = "mmu_gather_flush",
	.init = mmu_gather_flush_init,
	.test_cases = mmu_gather_flush_cases,
};

kunit_test_suite(mmu_gather_flush_suite);

#elif defined(RECORDER_CAME_TOO_LATE)

static void flush_not_recorded(struct kunit *test)
{
	kunit_skip(test, "asm-generic/tlb.h was included before the recorder");
}

static struct kunit_case mmu_gather_flush_cases[] = {
	KUNIT_CASE(flush_not_recorded),
	{}
};

static struct kunit_suite mmu_gather_flush_suite = {
	.name = "mmu_gather_flush",
	.test_cases = mmu_gather_flush_cases,
};

kunit_test_suite(mmu_gather_flush_suite);

#endif /* HAVE_DEFAULT_TLB_FLUSH */

#if defined(CONFIG_KPROBES) && defined(CONFIG_HAVE_FUNCTION_ARG_ACCESS_API) && \
	defined(CONFIG_MMU_GATHER_TABLE_FREE) && defined(CONFIG_64BIT)

/*
 * The work of the gathers of one mm. The probes run with preemption off in the
 * context of the thread that unmaps, which is the test's own: no lock.
 */
static struct unmap_probe {
	struct mm_struct *mm;
	/* page tables queued, and how many of them for a VM_EXEC flush */
	unsigned int tables;
	unsigned int tables_exec;
	/* gathers finished, and the last one's range, extended by each flush */
	unsigned int finished;
	bool freed_tables;
	bool exec;
	unsigned long start;
	unsigned long end;
} probe;

static struct mmu_gather *probed_gather(struct pt_regs *regs)
{
	struct mmu_gather *tlb;

	tlb = (struct mmu_gather *)regs_get_kernel_argument(regs, 0);
	return READ_ONCE(probe.mm) == tlb->mm ? tlb : NULL;
}

/* The flush that covers this table, be it the next one, gets these flags. */
static int probe_remove_table(struct kprobe *p, struct pt_regs *regs)
{
	struct mmu_gather *tlb = probed_gather(regs);

	if (tlb) {
		probe.tables++;
		probe.tables_exec += tlb->vma_exec;
	}
	return 0;
}

static int probe_finish(struct kprobe *p, struct pt_regs *regs)
{
	struct mmu_gather *tlb = probed_gather(regs);

	if (tlb) {
		probe.finished++;
		probe.freed_tables = tlb->freed_tables;
		probe.exec = tlb->vma_exec;
		probe.start = tlb->start;
		probe.end = tlb->end;
	}
	return 0;
}

static struct kprobe unmap_probes[] = {
	{ .symbol_name = "tlb_remove_table", .pre_handler = probe_remove_table },
	{ .symbol_name = "tlb_finish_mmu", .pre_handler = probe_finish },
};

/* A region that no other VMA of the test's mm shares a page table with. */
#define REGION (round_down(TASK_SIZE / 2, PUD_SIZE))

static int mmu_gather_unmap_init(struct kunit *test)
{
	int i, err;

	memset(&probe, 0, sizeof(probe));
	for (i = 0; i < ARRAY_SIZE(unmap_probes); i++) {
		struct kprobe *p = &unmap_probes[i];

		/* registration leaves its traces in these two */
		p->addr = NULL;
		p->flags = 0;
		err = register_kprobe(p);
		if (err) {
			while (i--)
				unregister_kprobe(&unmap_probes[i]);
			return err;
		}
	}
	return kunit_attach_mm();
}

static void mmu_gather_unmap_exit(struct kunit *test)
{
	int i;

	WRITE_ONCE(probe.mm, NULL);
	for (i = 0; i < ARRAY_SIZE(unmap_probes); i++)
		unregister_kprobe(&unmap_probes[i]);
}

static void map_at(struct kunit *test, struct file *file, unsigned long addr,
		   unsigned long len, unsigned long prot, unsigned long flags)
{
	unsigned long ret;

	ret = vm_mmap(file, addr, len, prot,
		      MAP_PRIVATE | MAP_FIXED_NOREPLACE | flags, 0);
	KUNIT_ASSERT_EQ(test, ret, addr);
}

static void map_page(struct kunit *test, unsigned long addr, unsigned long prot)
{
	map_at(test, NULL, addr, PAGE_SIZE, prot, MAP_ANONYMOUS | MAP_POPULATE);
}

/* munmap() all of it with one gather that the probes watch. */
static void unmap_region_probed(struct kunit *test, unsigned long len)
{
	WRITE_ONCE(probe.mm, current->mm);
	KUNIT_ASSERT_EQ(test, vm_munmap(REGION, len), 0);
	WRITE_ONCE(probe.mm, NULL);

	KUNIT_ASSERT_EQ_MSG(test, probe.finished, 1, "gathers");
	KUNIT_ASSERT_TRUE_MSG(test, probe.freed_tables, "no table was freed");
	KUNIT_EXPECT_LT_MSG(test, probe.start, probe.end, "empty range");
}

/* All flushes that cover freed tables have VM_EXEC, or none has. */
static void expect_tables_exec(struct kunit *test, bool expected)
{
	KUNIT_EXPECT_EQ_MSG(test, probe.tables_exec,
			    expected ? probe.tables : 0,
			    "page tables freed for a VM_EXEC flush");
	KUNIT_EXPECT_EQ_MSG(test, probe.exec, expected,
			    "VM_EXEC of the last flush");
}

/* The first page of the region and the one at @offset bytes from it. */
static void munmap_two(struct kunit *test, unsigned long first,
		       unsigned long offset, unsigned long second,
		       bool expected)
{
	map_page(test, REGION, first);
	map_page(test, REGION + offset, second);
	unmap_region_probed(test, offset + PAGE_SIZE);

	KUNIT_EXPECT_GE_MSG(test, probe.tables, 1, "page tables");
	expect_tables_exec(test, expected);
}

static void munmap_rx_rw(struct kunit *test)
{
	munmap_two(test, PROT_READ | PROT_EXEC, PAGE_SIZE,
		   PROT_READ | PROT_WRITE, true);
}

static void munmap_rw_rx(struct kunit *test)
{
	munmap_two(test, PROT_READ | PROT_WRITE, PAGE_SIZE,
		   PROT_READ | PROT_EXEC, true);
}

/* A page in between keeps the two from being merged. */
static void munmap_rw_rw(struct kunit *test)
{
	munmap_two(test, PROT_READ | PROT_WRITE, 2 * PAGE_SIZE,
		   PROT_READ | PROT_WRITE, false);
}

static void munmap_rx_gap_rw(struct kunit *test)
{
	munmap_two(test, PROT_READ | PROT_EXEC, 3 * PMD_SIZE,
		   PROT_READ | PROT_WRITE, true);
	KUNIT_EXPECT_GE_MSG(test, probe.tables, 2, "page tables");
}

/* Executable VMAs and others in turns. The last one is not executable. */
static void munmap_several_rx(struct kunit *test)
{
	unsigned int i;

	for (i = 0; i < 4; i++)
		map_page(test, REGION + i * PAGE_SIZE,
			 i & 1 ? PROT_READ | PROT_WRITE : PROT_READ | PROT_EXEC);
	unmap_region_probed(test, 4 * PAGE_SIZE);

	KUNIT_EXPECT_GE_MSG(test, probe.tables, 1, "page tables");
	expect_tables_exec(test, true);
}

KUNIT_DEFINE_ACTION_WRAPPER(put_file, fput, struct file *);

/* A device's memory, which the zero page stands for. */
static int map_pfn(struct file *file, struct vm_area_struct *vma)
{
	return remap_pfn_range(vma, vma->vm_start, page_to_pfn(ZERO_PAGE(0)),
			       PAGE_SIZE, vma->vm_page_prot);
}

static const struct file_operations pfn_fops = {
	.mmap = map_pfn,
};

/*
 * tlb_free_vmas() flushes the entries of a PFNMAP VMA that are still pending, and
 * the page tables after that.
 */
static void munmap_rx_pfnmap(struct kunit *test)
{
	struct file *file = anon_inode_getfile("mmu_gather_kunit", &pfn_fops, NULL,
					       O_RDWR);

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, file);
	KUNIT_ASSERT_EQ(test, kunit_add_action_or_reset(test, put_file, file), 0);
	map_page(test, REGION, PROT_READ | PROT_EXEC);
	map_at(test, file, REGION + PAGE_SIZE, PAGE_SIZE, PROT_READ, 0);
	unmap_region_probed(test, 2 * PAGE_SIZE);

	KUNIT_EXPECT_GE_MSG(test, probe.tables, 1, "page tables");
	expect_tables_exec(test, true);
}

/* A page with the flags @small, and a huge page with the flags @huge after it. */
static void munmap_hugetlb(struct kunit *test, unsigned long small, unsigned long huge)
{
#ifdef CONFIG_HUGETLBFS
	unsigned long size = huge_page_size(&default_hstate);
	struct file *file;
	int log = huge_page_shift(&default_hstate);

	if (size != PMD_SIZE)
		kunit_skip(test, "the default huge page is not a PMD leaf");
	if (!default_hstate.free_huge_pages)
		kunit_skip(test, "no free huge page: boot with hugepages=4");

	file = hugetlb_file_setup("mmu_gather_kunit", size,
				  mk_vma_flags(VMA_NORESERVE_BIT),
				  HUGETLB_ANONHUGE_INODE, log);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, file);
	KUNIT_ASSERT_EQ(test, kunit_add_action_or_reset(test, put_file, file), 0);
	map_page(test, REGION, small);
	map_at(test, file, REGION + size, size, huge, MAP_POPULATE);
	unmap_region_probed(test, 2 * size);

	expect_tables_exec(test, true);
#else
	kunit_skip(test, "CONFIG_HUGETLBFS is off");
#endif
}

static void munmap_rx_hugetlb(struct kunit *test)
{
	munmap_hugetlb(test, PROT_READ | PROT_EXEC, PROT_READ | PROT_WRITE);
}

static void munmap_rw_rx_hugetlb(struct kunit *test)
{
	munmap_hugetlb(test, PROT_READ | PROT_WRITE, PROT_READ | PROT_EXEC);
}

/*
 * More page tables than one batch holds, so that there is a flush in between,
 * long after the last tlb_start_vma().
 */
static void munmap_many_tables(struct kunit *test)
{
	unsigned long nr = MAX_TABLE_BATCH + 8, i;

	if (nr * PAGE_SIZE > SZ_256M)
		kunit_skip(test, "a batch holds %lu MiB of page tables",
			   nr * PAGE_SIZE / SZ_1M);

	map_at(test, NULL, REGION, nr * PMD_SIZE, PROT_READ | PROT_EXEC,
	       MAP_ANONYMOUS | MAP_NORESERVE);
	/* The table below a huge page is not freed through the gather. */
	if (IS_ENABLED(CONFIG_TRANSPARENT_HUGEPAGE))
		KUNIT_ASSERT_EQ(test, do_madvise(current->mm, REGION,
						 nr * PMD_SIZE,
						 MADV_NOHUGEPAGE), 0);
	for (i = 0; i < nr; i++)
		KUNIT_ASSERT_EQ(test, __mm_populate(REGION + i * PMD_SIZE,
						    PAGE_SIZE, 0), 0);
	map_page(test, REGION + nr * PMD_SIZE, PROT_READ | PROT_WRITE);
	unmap_region_probed(test, nr * PMD_SIZE + PAGE_SIZE);

	KUNIT_EXPECT_GE_MSG(test, probe.tables, nr, "page tables");
	expect_tables_exec(test, true);
}

/* The next munmap() starts from nothing. */
static void munmap_next_gather(struct kunit *test)
{
	munmap_two(test, PROT_READ | PROT_EXEC, PAGE_SIZE,
		   PROT_READ | PROT_EXEC, true);
	memset(&probe, 0, sizeof(probe));
	munmap_two(test, PROT_READ | PROT_WRITE, 2 * PAGE_SIZE,
		   PROT_READ | PROT_WRITE, false);
}

/* Relocate a stack as setup_arg_pages() does, on an mm that never runs. */
static void relocate_stack(struct kunit *test, bool exec)
{
	struct mm_struct *mm = new_mm(test);
	struct vm_area_struct *vma;
	unsigned long top;
	struct page *page;
	long pinned;
	int err;

	mm->task_size = TASK_SIZE;
	KUNIT_ASSERT_EQ(test, create_init_stack_vma(mm, &vma, &top), 0);

	mmap_write_lock(mm);
	if (exec)
		vm_flags_set(vma, VM_EXEC);
	else
		vm_flags_clear(vma, VM_EXEC);
	pinned = get_user_pages_remote(mm, round_down(top, PAGE_SIZE), 1,
				       FOLL_WRITE, &page, NULL);
	WRITE_ONCE(probe.mm, mm);
	/* Not a multiple of PMD_SIZE, which would move the table and free none. */
	err = pinned == 1 ? relocate_vma_down(vma, 4 * PMD_SIZE + PAGE_SIZE) :
			    -EFAULT;
	WRITE_ONCE(probe.mm, NULL);
	mmap_write_unlock(mm);
	if (pinned == 1)
		put_page(page);

	KUNIT_ASSERT_EQ(test, err, 0);
	KUNIT_ASSERT_EQ_MSG(test, probe.finished, 1, "gathers");
	KUNIT_ASSERT_TRUE_MSG(test, probe.freed_tables, "no table was freed");
	expect_tables_exec(test, exec);
}

static void relocate_exec_stack(struct kunit *test)
{
	relocate_stack(test, true);
}

static void relocate_noexec_stack(struct kunit *test)
{
	relocate_stack(test, false);
}

static struct kunit_case mmu_gather_unmap_cases[] = {
	KUNIT_CASE(munmap_rx_rw),
	KUNIT_CASE(munmap_rw_rx),
	KUNIT_CASE(munmap_rw_rw),
	KUNIT_CASE(munmap_rx_gap_rw),
	KUNIT_CASE(munmap_several_rx),
	KUNIT_CASE(munmap_rx_pfnmap),
	KUNIT_CASE(munmap_rx_hugetlb),
	KUNIT_CASE(munmap_rw_rx_hugetlb),
	KUNIT_CASE_SLOW(munmap_many_tables),
	KUNIT_CASE(munmap_next_gather),
	KUNIT_CASE(relocate_exec_stack),
	KUNIT_CASE(relocate_noexec_stack),
	{}
};

static struct kunit_suite mmu_gather_unmap_suite = {
	.name = "mmu_gather_unmap",
	.init = mmu_gather_unmap_init,
	.exit = mmu_gather_unmap_exit,
	.test_cases = mmu_gather_unmap_cases,
};

kunit_test_suite(mmu_gather_unmap_suite);

#endif /* kprobes with access to arguments */
