# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
# Sourced after lib.sh: how a stored patch and its whole files become a commit, and back.

# The committer of out/linux, so that the same topics give the same commits everywhere.
SERIES_NAME='mm series'
SERIES_EMAIL='mm-series@invalid'

# git without the user's configuration: what it prints depends on this repository alone.
plain_git() {
	GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null git -c core.abbrev=12 "$@"
}

# parse_line SERIES-LINE: sets PATCH_FILE, PATCH_TEST (yes or empty) and PATCH_PATHS.
parse_line() {
	local word
	read -r PATCH_FILE rest <<<"$1"
	PATCH_TEST='' PATCH_PATHS=()
	for word in $rest; do
		case $word in
		'[test]') PATCH_TEST=yes ;;
		*) PATCH_PATHS+=("$word") ;;
		esac
	done
	export PATCH_FILE PATCH_TEST PATCH_PATHS
}

# commit_mail REPO PARENT MAIL [PATH...]: make the commit that MAIL and the whole files PATH (below
# the folder that holds topics/) are, on PARENT; print its id. Works on an index of its own: no
# branch, work tree or index of REPO changes. Context has to match exactly; offsets are allowed.
# With SERIES_COMMITTER=yes the committer is fixed, otherwise the user's own.
commit_mail() {
	local repo=$1 parent=$2 mail=$3 work path mode blob tree
	shift 3
	work=$(mktemp -d)
	# shellcheck disable=SC2064
	trap "rm -rf '$work'" RETURN
	[ -f "$mail" ] || { echo "no such patch: $mail" >&2; return 1; }
	plain_git -C "$repo" mailinfo -b "$work/msg" "$work/patch" <"$mail" >"$work/info" ||
		{ echo "not a mail: $mail" >&2; return 1; }
	field() { sed -n "s/^$1: //p" "$work/info"; }
	[ -n "$(field Email)" ] && [ -n "$(field Subject)" ] ||
		{ echo "no From: or Subject: in $mail" >&2; return 1; }
	{ field Subject; echo; cat "$work/msg"; } >"$work/message"

	export GIT_INDEX_FILE=$work/index
	git -C "$repo" read-tree "$parent" || { unset GIT_INDEX_FILE; return 1; }
	if [ -s "$work/patch" ] && grep -q '^diff --git' "$work/patch"; then
		if ! git -C "$repo" apply --cached --whitespace=nowarn "$work/patch" >"$work/why" 2>&1; then
			unset GIT_INDEX_FILE
			echo "${mail##*/} does not apply: $(head -n 1 "$work/why")" >&2
			return 1
		fi
	fi
	for path; do
		if [ ! -f "$FILES/$path" ]; then
			unset GIT_INDEX_FILE
			echo "${mail##*/} names $path, and there is no such file" >&2
			return 1
		fi
		if [ -n "$(git -C "$repo" ls-files -- "$path")" ]; then
			unset GIT_INDEX_FILE
			echo "${mail##*/} adds $path, which exists already" >&2
			return 1
		fi
		mode=100644
		[ ! -x "$FILES/$path" ] || mode=100755
		blob=$(git -C "$repo" hash-object -w --no-filters "$FILES/$path")
		git -C "$repo" update-index --add --cacheinfo "$mode,$blob,$path"
	done
	tree=$(git -C "$repo" write-tree)
	unset GIT_INDEX_FILE
	(
		GIT_AUTHOR_NAME=$(field Author) GIT_AUTHOR_EMAIL=$(field Email) GIT_AUTHOR_DATE=$(field Date)
		export GIT_AUTHOR_NAME GIT_AUTHOR_EMAIL GIT_AUTHOR_DATE
		if [ "${SERIES_COMMITTER:-}" = yes ]; then
			export GIT_COMMITTER_NAME=$SERIES_NAME GIT_COMMITTER_EMAIL=$SERIES_EMAIL
			export GIT_COMMITTER_DATE=$GIT_AUTHOR_DATE
		fi
		git -C "$repo" commit-tree "$tree" -p "$parent" -F "$work/message"
	)
}

# format_mail REPO COMMIT [PATH...]: the commit as a git format-patch mail, limited to PATH if given.
format_mail() {
	local repo=$1 commit=$2
	shift 2
	plain_git -C "$repo" format-patch -1 --stdout --zero-commit --no-signature --no-numbered \
		--no-renames --stat=72 --always --no-notes --no-base "$commit" -- "$@"
}

# slug SUBJECT: the way format-patch names files.
slug() {
	printf '%s' "$1" | tr -cs 'A-Za-z0-9._' '-' | sed -e 's/^-//' -e 's/-$//' -e 's/\.$//' | cut -c1-52 | sed 's/[-.]$//'
}

FILES=$(dirname "$TOPICS")
