# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
# Sourced by every script here: where things are, and how to fail.
#
# Everything generated is below $OUT. A thing is either there whole or not there: it is made
# beside its place and moved. $OUT/log has the output of each stage (harness/stage.py).
set -euo pipefail
export LC_ALL=C
# What the caller's make, or a git hook, would hand to the kernel's make and to git.
unset MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE

TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
OUT=$(realpath -ms "${OUT:-$TOP/out}")
CACHE=${CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/linux-mm-series}
export LINUX=$OUT/linux
JOBS=${JOBS:-$(($(nproc) + 1))}
# The topics' own folder; tests/ points this at fixtures.
TOPICS=${TOPICS:-$TOP/topics}
[[ $OUT != *[[:space:]]* ]] || { echo "OUT=$OUT has a space in it, which the kernel's make cannot have" >&2; exit 1; }
# shellcheck source=base.mk
. "${BASE_MK:-$TOP/base.mk}"

# die MESSAGE: print one line, with the remedy, on standard error; the script ends with 1.
die() {
	printf '%s: %s\n' "${0##*/}" "$*" >&2
	exit 1
}

# one_of WHAT VALUE CHOICE...: die unless VALUE is one of the choices.
one_of() {
	local what=$1 value=$2 choice
	shift 2
	for choice; do
		[ "$value" = "$choice" ] && return 0
	done
	die "unknown $what '$value'; choose one of: $*"
}

# tools TOOL...: die with the one line that installs what is missing.
tools() {
	local tool missing=()
	for tool; do
		command -v "$tool" >/dev/null || missing+=("$tool")
	done
	[ ${#missing[@]} -eq 0 ] || die "missing ${missing[*]}; run 'scripts/packages all check' as root"
}

# need_disk MIB [OUT|CACHE]: die unless the file system of $OUT, or $CACHE, has that much free.
need_disk() {
	local free name=${2:-OUT}
	mkdir -p "${!name}"
	free=$(df -Pm "${!name}" | awk 'NR == 2 { print $4 }')
	[ "$free" -ge "$1" ] ||
		die "${!name} has $free MiB free and $1 MiB are needed; free some space or set $name="
}

# topics: the topics in the order in which they stack.
topics() {
	sed -e 's/#.*//' -e '/^[[:space:]]*$/d' -e 's/[[:space:]].*//' "$TOPICS/order"
}

# check_topic NAME: die unless the topic exists.
check_topic() {
	local all
	mapfile -t all < <(topics)
	one_of TOPIC "$1" "${all[@]}"
}

# series_of TOPIC: its series lines without comments: FILE KIND [base] [name=value ...]. harness/topics.py
# checks them; scripts/tree and scripts/export also go on with lines that are not filled in yet.
series_of() {
	sed -e 's/#.*//' -e '/^[[:space:]]*$/d' "$TOPICS/$1/series"
}

# mails_of TOPIC [base]: the paths of its patches in order; with "base", only patches that also apply to the base.
mails_of() {
	series_of "$1" | awk -v folder="$TOPICS/$1" -v only="${2:-}" 'only == "" || $3 == only { print folder "/" $1 }'
}

# needs_of TOPIC: the topics it stacks on.
needs_of() {
	awk -v t="$1" '{ sub(/#.*/, "") } $1 == t && $2 == "needs:" { for (i = 3; i <= NF; i++) print $i }' "$TOPICS/order"
}

# new_source: out/src as a work tree of out/linux that has no files yet. The caller holds the lock of out/build.
new_source() {
	rm -rf "$OUT/src"
	git -C "$LINUX" worktree prune
	git -C "$LINUX" worktree add -q --no-checkout --detach "$OUT/src" refs/mm/base
	# out/linux may be sparse, and a new work tree is what that is
	git -C "$OUT/src" config --worktree core.sparseCheckout false
}

# switch_source COMMIT: check out COMMIT in out/src, the folder that kernels are built from. The caller holds the lock
# of out/build. scripts/tree fills out/src at first; after that only this function writes there. Edits by others are lost.
switch_source() {
	[ -e "$OUT/src/.git" ] || new_source
	git -C "$OUT/src" checkout -q -f --detach "$1"
}

# arch_setup ARCH: what guest/arch/ARCH says, and CROSS, which is CROSS_COMPILE= on this host.
arch_setup() {
	local archs
	mapfile -t archs < <(cd "$TOP/guest/arch" && ls)
	one_of ARCH "$1" "${archs[@]}"
	# shellcheck source=guest/arch/x86_64
	. "$TOP/guest/arch/$1"
	CROSS=
	[ "$(uname -m)" = "$HOST" ] || CROSS=$CROSS_PREFIX
	export KARCH SRCARCH CROSS TARGET IMAGE
}
