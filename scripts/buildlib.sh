# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
# Sourced by the scripts that build something of a kernel tree. The caller holds out/build/lock: out/src is one
# folder, which is switched between commits.

# lock_source: wait for out/src, which lib.sh's switch_source changes; the lock ends with the script.
lock_source() {
	mkdir -p "$OUT/build"
	exec 9>"$OUT/build/lock"
	flock 9
}

# use_ccache: depend mode, in which a miss costs no second run of the preprocessor.
use_ccache() {
	export CCACHE_DIR=$CACHE/ccache CCACHE_BASEDIR=$OUT CCACHE_NOHASHDIR=1 CCACHE_DEPEND=1
}

# configure OBJECT FRAGMENT...: $OBJECT/.config is allnoconfig with the fragments, by $OUT/src, $KARCH and $CROSS.
# Every line of a fragment has to be so in the result. A line for an option that this source does not have (the
# series' own, on base) is marked "# if there". .config is written only if it changes, so that make builds
# nothing again.
configure() {
	local object=$1 src=$OUT/src
	shift
	cat "$@" >"$object/fragment"
	sed 's/[[:space:]]*# if there$//' "$object/fragment" >"$object/fragment.plain"
	(cd "$src" && ARCH=$KARCH CROSS_COMPILE=$CROSS KCONFIG_CONFIG="$object/.config.new" \
		scripts/kconfig/merge_config.sh -m -Q -O "$object" kernel/configs/tiny-base.config kernel/configs/tiny.config "$object/fragment.plain")
	make -s -C "$src" O="$object" ARCH="$KARCH" CROSS_COMPILE="$CROSS" CC="ccache ${CROSS}gcc" HOSTCC="ccache gcc" \
		KCONFIG_ALLCONFIG="$object/.config.new" KCONFIG_CONFIG="$object/.config.all" allnoconfig
	"$TOP/scripts/took" "$object/fragment" "$object/.config.all" "$src"
	cmp -s "$object/.config.all" "$object/.config" || cp "$object/.config.all" "$object/.config"
}

# built_objects OBJECT: the objects in that folder, a path a line.
built_objects() {
	(cd "$1" && find . -name '.*.o.cmd' | sed -nE 's,^\./(.*)/\.([^/]*)\.cmd$,\1/\2,p' | sort)
}

# uapi_headers: the folder of $OUT/src's uapi headers for $KARCH. They are installed once for each state of them.
uapi_headers() {
	local src=$OUT/src id dest
	id=$(git -C "$src" rev-parse HEAD:include/uapi "HEAD:arch/$SRCARCH" HEAD:scripts | sha256sum | cut -c1-16)
	dest=$OUT/build/$KARCH-uapi-$id
	if [ ! -e "$dest/installed" ]; then
		mkdir -p "$dest"
		make -s -C "$src" O="$dest" ARCH="$KARCH" HOSTCC="ccache gcc" -j"$JOBS" headers_install >&2
		touch "$dest/installed"
	fi
	echo "$dest/usr/include"
}

# build_programs OBJECT PROGRAM...: static programs of $OUT/src's tools/testing/selftests/mm into $OBJECT/mm, with that
# source's uapi headers.
build_programs() {
	local object=$1 src=$OUT/src headers
	shift
	mkdir -p "$object/mm"
	headers=$(uapi_headers)
	rm -f "${@/#/$object/mm/}"
	make -C "$src/tools/testing/selftests/mm" OUTPUT="$object/mm" ARCH="$KARCH" CROSS_COMPILE="$CROSS" CC="${CROSS}gcc" \
		KHDR_INCLUDES="-isystem $headers" EXTRA_CFLAGS="-static -O2" -j"$JOBS" "${@/#/$object/mm/}"
	git -C "$src" clean -fdxq tools/testing
}
