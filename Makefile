# SPDX-License-Identifier: GPL-2.0
# The verbs. "make help" lists them. Each prints what it runs; output of long stages is in out/log/.
#
#   ARCH=x86_64|arm64  TOPIC=..  TEST=..  VARIANT=base|series  KERNEL=/path  PATCH=..  KERNEL_SRC=/path
#   FLAVOUR=debug+..  MUTANT=..  CATEGORY=..  OUT=/path  CACHE=/path  JOBS=..

ARCH ?= x86_64
export TOPIC TEST MUTANT VARIANT KERNEL PATCH VERSION KERNEL_SRC OUT CACHE JOBS CATEGORY TARGETS FLAVOUR

SHELL := bash
O := $(if $(OUT),$(OUT),out)
ifneq ($(words $(O)),1)
$(error OUT='$(OUT)' has a space in it, which the kernel's make cannot have)
endif
override O := $(abspath $(O))
export STAGE_TIMES := $(O)/times

.PHONY: run check evidence tree export apply boot kselftest mutants bench post help clean distclean \
	check-arch packages-run packages-check check-scripts check-series check-lint check-guests

help:		## this list
	@sed -n 's/^\([a-z]*\):.*## /  make \1	/p' Makefile | expand -t 20

check-arch:
	@case '$(ARCH)' in x86_64|arm64) ;; *) \
		echo "make: unknown ARCH '$(ARCH)'; choose x86_64 or arm64" >&2; exit 1;; esac
	@mkdir -p $(O) && : >$(STAGE_TIMES)

packages-run:
	scripts/packages run $(if $(filter arm64,$(ARCH)),arm64)

packages-check:
	scripts/packages run arm64 check

run: check-arch packages-run	## build base and series, boot them, run the series' tests on both, print the table
	scripts/run $(ARCH) um
	@scripts/times

# Everything, whatever the environment says.
check evidence: override TOPIC :=
check evidence: override TEST :=
check evidence: override MUTANT :=
check evidence: override FLAVOUR :=
check evidence: override APPEND :=
check evidence: override TIMEOUT :=
check evidence: override CASE_SECONDS :=
check evidence: override SPLATS :=

check: check-arch packages-check check-scripts check-series check-lint check-guests	## everything that must hold before a change lands
	@scripts/times

check-scripts: packages-check
	shellcheck $(filter-out scripts/report,$(wildcard scripts/*)) tests/run guest/init .ci/run
	. scripts/lib.sh && stage tree scripts/tree
	for test in tests/test_*.py; do [ $$test = tests/test_roundtrip.py ] || $$test || exit 1; done
	tests/run

check-series: packages-check check-scripts
	/usr/bin/python3 -m harness.series_check
	tests/test_roundtrip.py
	. scripts/lib.sh && stage checkpatch scripts/lint checkpatch

# Guests first: lint uses their builds' configuration and dependencies.
check-guests: packages-check check-series
	scripts/run x86_64 arm64 um
	scripts/mutants

check-lint: packages-check check-guests
	. scripts/lib.sh && for what in compare arm mips vma_tests; do stage "lint $$what" scripts/lint $$what; done

# Races that have rounds go on until they have had so many.
ROUNDS = APPEND=ROUNDS=$(1) CASE_SECONDS=7200 TIMEOUT=7200

# The last two stages want QEMU 10, which Debian 12 has not: what went before has been printed by then.
evidence: check-arch packages-check	## what is too slow for check: other flavours, the benchmarks
	scripts/prefixes $(ARCH)
	FLAVOUR=debug+kasan+rcu_strict scripts/run x86_64
	FLAVOUR=debug+nr_cpus_2 scripts/run x86_64
	FLAVOUR=debug+kasan+rcu_strict scripts/mutants
	FLAVOUR=debug+nr_cpus_2 scripts/mutants
	FLAVOUR=debug+1g TEST=1g scripts/run x86_64 arm64
	FLAVOUR=debug+hotplug TEST=offline scripts/run x86_64 arm64
	FLAVOUR=debug+hvo_off TEST=not_asked scripts/run arm64
	FLAVOUR=debug+hvo_cold TEST=2m.fault scripts/run arm64
	$(call ROUNDS,10000) SMP=4 MEMORY=4096 TEST=hvo.2m.churn scripts/run arm64
	$(call ROUNDS,10000) FLAVOUR=debug+bbml3 TEST=hvo.2m scripts/run arm64
	$(call ROUNDS,10000) FLAVOUR=debug+16k TEST=hvo.32m scripts/run arm64
	$(call ROUNDS,10000) FLAVOUR=debug+64k TEST=hvo.512m scripts/run arm64
	$(call ROUNDS,10000) FLAVOUR=debug+mte TEST=hvo.2m scripts/run arm64
	$(call ROUNDS,10000) FLAVOUR=debug+kasan+numa TEST=hvo.2m scripts/run arm64
	$(call ROUNDS,100000) TEST=guard_install_collapse scripts/run x86_64 arm64
	scripts/bench x86_64 arm64
	$(call ROUNDS,10000) FLAVOUR=debug+mte+kasan_hw_tags TEST=hvo.2m scripts/run arm64
	FLAVOUR=debug+mte+kasan_hw_tags scripts/mutants
	@scripts/times

tree:		## out/linux: the base and one commit per patch, all files checked out
	scripts/tree checkout

export:		## write the commits of out/linux back to topics/ and the whole files
	scripts/export

apply:		## KERNEL=/path [TOPIC=..] [PATCH=..]: commits on your own git tree, or nothing
	scripts/apply

boot: check-arch packages-run	## [VARIANT=base|series] [FLAVOUR=..]: a shell in the guest
	scripts/boot $(ARCH)

kselftest: check-arch packages-run	## TARGETS=mm [VARIANT=..] [CATEGORY=..]: the tree's own mm suite, a guest per category
	scripts/kselftest $(ARCH)
	@scripts/times

packages-guests:
	scripts/packages run arm64

mutants: check-arch packages-guests	## [MUTANT=..] [FLAVOUR=..]: every mutant must be caught by the case it names, on both architectures
	scripts/mutants
	@scripts/times

bench: check-arch packages-run	## base against series in guest instructions; ARCH=arm64 is compared with x86_64
	scripts/bench x86_64 $(filter arm64,$(ARCH))
	@scripts/times

post:		## TOPIC=..: numbered mails in out/post/, never sent
	scripts/post

# OUT= may be a folder that has other things.
made_here = @[ ! -e $(O) ] || [ -e $(O)/tree.lock ] || { echo "make: $(O) is not a folder that make tree has made; remove it yourself" >&2; exit 1; }

clean:		## remove what was built; keep out/linux
	$(made_here)
	rm -rf $(O)/build $(O)/kernel $(O)/root $(O)/user $(O)/result $(O)/log $(O)/lint $(O)/post $(O)/times

distclean:	## remove out/, also commits in out/linux that were not exported
	$(made_here)
	rm -rf $(O)
