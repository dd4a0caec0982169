# SPDX-License-Identifier: GPL-2.0
# The verbs. "make help" lists them, and "All settings" in README.md has the variables. Each prints what it runs; output of
# long stages is in out/log/.

ARCH ?= x86_64
export TOPIC TEST MUTANT VARIANT KERNEL PATCH VERSION KERNEL_SRC OUT CACHE JOBS CATEGORY TARGETS LTP LIBHUGETLBFS FLAVOUR N GUESTS FORCE DRY GDB STAGE
# Of make post alone.
export GROUP AFTER PREVIOUS ROUTE SIGNED_OFF_BY ASSISTED_BY DISCLOSURE

SHELL := bash
O := $(if $(OUT),$(OUT),out)
ifneq ($(words $(O)),1)
$(error OUT='$(OUT)' has a space in it, which the kernel's make cannot have)
endif
override O := $(abspath $(O))
export STAGE_TIMES := $(O)/times

# Those whose guests are QEMU's, and all, UML last.
QEMU_ARCHS := $(sort $(notdir $(shell grep -l '^QEMU=' guest/arch/*)))
ARCHS := $(QEMU_ARCHS) $(filter-out $(QEMU_ARCHS),$(notdir $(wildcard guest/arch/*)))
# Those that make check runs on base and series; it runs the mutants of all.
CHECK_ARCHS := $(filter-out $(notdir $(shell grep -l '^CHECK=mutants' guest/arch/*)),$(ARCHS))

.NOTPARALLEL:
.PHONY: affected run check evidence tree export apply boot kselftest mutants bench repeat report post help clean \
	distclean start check-start check-static check-guests check-mutants check-lint check-total

help:		## this list
	@sed -n 's/^\([a-z]*\):.*## /  make \1	/p' Makefile | expand -t 20

start:
	@case ' $(QEMU_ARCHS) ' in *' $(ARCH) '*) ;; *) \
		echo "make: unknown ARCH '$(ARCH)'; choose one of: $(QEMU_ARCHS)" >&2; exit 1;; esac
	@mkdir -p $(O) && : >$(STAGE_TIMES)

# No kernel is built, and no tree is needed.
affected: start	## [KERNEL=/boot/vmlinuz-.. [VARIANT=series]] [N=1]: which bugs stock kernels, or KERNEL, have
	scripts/packages affected $(ARCH)
	reproducers/affected.py --arch $(ARCH) $(if $(KERNEL),--kernel "$(KERNEL)") $(if $(N),--times "$(N)") \
		$(if $(filter series,$(VARIANT)),--with-series)

run: start	## build base and series, boot them, run the series' tests on both, print the table
	scripts/packages $(ARCH) um
	scripts/run $(ARCH) um
	@scripts/times

# Everything, whatever the environment says.
check evidence repeat: override TOPIC :=
check evidence repeat: override TEST :=
check evidence repeat: override MUTANT :=
check evidence repeat: override FLAVOUR :=
check evidence repeat: override APPEND :=
check evidence repeat: override TIMEOUT :=
check evidence repeat: override CASE_SECONDS :=
check evidence repeat: override SPLATS :=
check evidence repeat: override MEMORY :=
check evidence repeat: override SMP :=
check evidence repeat: override HOTPLUG :=
check evidence repeat: override MACHINE :=
check evidence repeat: override CPU :=
check evidence repeat: override HUGETLB :=
check evidence repeat: override DRY :=

# The results of check, each in out/result/NAME. An earlier run's do not count.
LINTS := compare arm mips vma_tests git_am
CHECKS := tests series roundtrip checkpatch debug mutants-debug $(LINTS:%=lint-%)

# In this order; "make -k check" goes on after a part that failed. Guests before lint, which uses the configuration and
# dependencies of their builds.
check: check-static check-guests check-mutants check-lint	## everything that must hold before a change lands
	@scripts/times

check-start: start
	scripts/packages all check
	rm -f $(CHECKS:%=$(O)/result/%/result.json)

check-static: check-start
	scripts/harness stage shellcheck shellcheck $$(grep -lE -d skip '^#!.*sh$$|^# shellcheck shell' scripts/* tests/* guest/init guest/outside .ci/run)
	scripts/harness stage tree scripts/tree
	rc=0; \
	scripts/harness record tests tests/all || rc=1; \
	scripts/harness record series /usr/bin/python3 -m harness.series_check || rc=1; \
	scripts/harness record roundtrip tests/test_roundtrip.py || rc=1; \
	scripts/harness record checkpatch scripts/lint checkpatch || rc=1; \
	exit $$rc

check-guests: check-start
	scripts/run $(CHECK_ARCHS)

check-mutants: check-start
	scripts/mutants

check-lint: check-start
	rc=0; for what in $(LINTS); do scripts/harness record lint-$$what scripts/lint $$what || rc=1; done; exit $$rc

check-total:
	@scripts/harness total $(CHECKS)

# The stages are in topics/evidence. A stage that ended well on today's inputs is not run again.
evidence: start	## [STAGE=..]: what is too slow for check: other flavours, long races, benchmarks; table of its stages
	scripts/packages all bots $(QEMU_ARCHS:%=%-suite)
	scripts/harness evidence $(STAGE)

tree:		## out/linux: the base and one commit per patch, all files checked out
	scripts/tree checkout

export:		## write the commits of out/linux back to topics/ and the whole files
	scripts/export

apply:		## KERNEL=/path [TOPIC=..] [PATCH=..]: commits on your own git tree, or nothing
	scripts/apply

boot: start	## [VARIANT=base|series] [FLAVOUR=..] [GDB=1] [DRY=1]: a shell in the guest
	scripts/packages $(ARCH)
	scripts/boot $(ARCH)

kselftest: start	## [TARGETS=ltp LTP=..|TARGETS=libhugetlbfs LIBHUGETLBFS=..] [VARIANT=..] [CATEGORY=..]: the tree's own mm suite, a guest per category
	scripts/packages $(ARCH) $(if $(filter mm,$(or $(TARGETS),mm)),$(ARCH)-suite,outside)
	scripts/kselftest $(ARCH)
	@scripts/times

mutants: start	## [MUTANT=..] [FLAVOUR=..]: every mutant must be caught by the case it names, on every architecture
	scripts/packages all
	scripts/mutants
	@scripts/times

bench: start	## base against series in guest instructions; ARCH=arm64 is compared with x86_64
	scripts/packages x86_64 $(ARCH)
	scripts/bench $(sort x86_64 $(ARCH))
	@scripts/times

repeat: start	## [N=10]: each guest of check so many times, alone; which cases do not say the same each time
	scripts/packages all
	scripts/repeat $(if $(filter command% environment%,$(origin ARCH)),$(ARCH),$(CHECK_ARCHS))
	@scripts/times

report:		## judge all that is in out/result again, without a boot; out/report/index.html
	scripts/packages report
	scripts/report

post:		## [TOPIC=.. [GROUP=..|PATCH=..] [KERNEL=..]]: what goes where; mails in out/post/, never sent
	scripts/post

# OUT= may be a folder that has other things.
made_here = @[ ! -e $(O) ] || [ -e $(O)/tree.lock ] || [ -e $(O)/affected ] || \
	{ echo "make: $(O) is not a folder that make tree has made; remove it yourself" >&2; exit 1; }

clean:		## remove what was built; keep out/linux
	$(made_here)
	rm -rf $(O)/build $(O)/kernel $(O)/root $(O)/user $(O)/result $(O)/log $(O)/lint $(O)/post $(O)/report $(O)/affected $(O)/times $(O)/plugin $(O)/litmus

distclean:	## remove out/, also commits in out/linux that were not exported
	$(made_here)
	rm -rf $(O)
