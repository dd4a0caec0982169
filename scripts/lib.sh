# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
# Sourced by every script here: where things are, how to fail, how to show progress.
#
# Everything generated is below $OUT. A thing is either there whole or not there: it is made
# beside its place and moved. $OUT/log has the full output of each stage.
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

# die MESSAGE: one line that says what to do, on standard error; the script ends with 1.
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
	[ ${#missing[@]} -eq 0 ] || die "missing ${missing[*]}; run 'scripts/packages run arm64 check' as root"
}

# need_disk MIB [OUT|CACHE]: die unless the file system of $OUT, or $CACHE, has that much free.
need_disk() {
	local free name=${2:-OUT}
	mkdir -p "${!name}"
	free=$(df -Pm "${!name}" | awk 'NR == 2 { print $4 }')
	[ "$free" -ge "$1" ] ||
		die "${!name} has $free MiB free and $1 MiB are needed; free some space or set $name="
}

# stage NAME COMMAND...: run COMMAND with its output in $OUT/log/NAME.log; show that it goes on,
# how long it took, and on failure the last lines of the log. Times also go to $STAGE_TIMES.
stage() {
	local name=$1 start=$SECONDS log pid rc=0 shown=0
	shift
	log=$OUT/log/${name//[ \/]/-}.log
	mkdir -p "$OUT/log"
	# a process group of its own, so that Ctrl-C ends all of it
	set -m
	"$@" >"$log" 2>&1 </dev/null &
	pid=$!
	set +m
	trap 'kill -- -"$pid" 2>/dev/null; exit 130' INT TERM HUP
	while kill -0 "$pid" 2>/dev/null; do
		sleep 1
		if [ $((SECONDS - start - shown)) -ge 30 ]; then
			shown=$((SECONDS - start))
			printf '  %-34s %4ds, %s lines of log\n' "$name" "$shown" "$(wc -l <"$log")"
		fi
	done
	wait "$pid" || rc=$?
	trap - INT TERM HUP
	printf '%-36s %4ds%s\n' "$name" $((SECONDS - start)) "$([ $rc = 0 ] || echo '  FAILED')"
	[ -z "${STAGE_TIMES:-}" ] || printf '%s\t%s\n' $((SECONDS - start)) "$name" >>"$STAGE_TIMES"
	if [ $rc != 0 ]; then
		tail -n 20 "$log" | sed 's/^/  | /'
		printf '  full log: %s\n' "$log"
	fi
	return $rc
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

# mails_of TOPIC [base]: the paths of its patches in order; with "base", those that also apply to the base.
mails_of() {
	series_of "$1" | awk -v folder="$TOPICS/$1" -v only="${2:-}" 'only == "" || $3 == only { print folder "/" $1 }'
}

# needs_of TOPIC: the topics it stacks on.
needs_of() {
	awk -v t="$1" '{ sub(/#.*/, "") } $1 == t && $2 == "needs:" { for (i = 3; i <= NF; i++) print $i }' "$TOPICS/order"
}

# fragments_of FLAVOUR: its files. A flavour is one or more fragments of configs/: kasan, debug+1g.
fragments_of() {
	local part parts
	IFS=+ read -ra parts <<<"$1"
	for part in "${parts[@]}"; do
		[ -f "$TOP/configs/$part" ] || die "unknown flavour '$1'; there is no configs/$part"
		echo "$TOP/configs/$part"
	done
}

# kernel_flavour FLAVOUR: that of the kernel: without the fragments that say something of the guest only.
kernel_flavour() {
	local fragments flavour
	fragments=$(fragments_of "$1")
	# shellcheck disable=SC2086
	flavour=$({ grep -l '^CONFIG_' $fragments || :; } | sed 's,.*/,,' | paste -sd+)
	echo "${flavour:-$1}"
}

# guest_of FLAVOUR: set what its fragments say of the guest, in lines such as "# guest: MEMORY=6144", unless
# the caller's environment does; APPEND= adds to that. HUGETLB is what the kernel's command line says of
# hugetlb.
guest_of() {
	local fragments settings setting name
	fragments=$(fragments_of "$1")
	# shellcheck disable=SC2086
	settings=$(sed -n 's/^# guest: //p' $fragments)
	while IFS= read -r setting; do
		name=${setting%%=*}
		case $name in
		'') ;;
		APPEND) export APPEND="${APPEND:-} ${setting#*=}" ;;
		HUGETLB | MEMORY | HOTPLUG | SMP | MACHINE | CPU | QEMU) [ -n "${!name:-}" ] || export "$name=${setting#*=}" ;;
		*) die "flavour $1: unknown setting '$setting'; a guest has HUGETLB, MEMORY, HOTPLUG, SMP, MACHINE, CPU, QEMU, APPEND" ;;
		esac
	done <<<"$settings"
	HUGETLB=${HUGETLB:-hugepages=16 hugetlb_free_vmemmap=on}
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

# arch_setup ARCH: how that architecture is built: KARCH, CROSS, TARGET, IMAGE, CONSOLE.
arch_setup() {
	local host
	host=$(uname -m)
	one_of ARCH "$1" x86_64 arm64 um
	CROSS=
	case $1 in
	x86_64)
		KARCH=x86_64 TARGET=bzImage IMAGE=arch/x86/boot/bzImage CONSOLE=ttyS0
		[ "$host" = x86_64 ] || CROSS=x86_64-linux-gnu-
		;;
	arm64)
		KARCH=arm64 TARGET=Image IMAGE=arch/arm64/boot/Image CONSOLE=ttyAMA0
		[ "$host" = aarch64 ] || CROSS=aarch64-linux-gnu-
		;;
	um)
		KARCH=um TARGET=linux IMAGE=linux CONSOLE=tty0
		;;
	esac
	export KARCH CROSS TARGET IMAGE CONSOLE
}
