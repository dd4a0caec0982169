# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
# Sourced after lib.sh: how a stored patch and its whole files become a commit, and back.

# The committer of out/linux, so that the same topics give the same commits everywhere.
SERIES_NAME='mm series'
SERIES_EMAIL='mm-series@invalid'

# git without the user's configuration: what it prints depends on this repository alone.
plain_git() {
	GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null git -c core.abbrev=12 -c safe.directory='*' "$@"
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
# the folder that holds topics/) are, on PARENT; print its id, or fail and print why. Works on an
# index of its own: no branch, work tree or index of REPO changes. Context has to match exactly;
# offsets are allowed. With SERIES_COMMITTER=yes the committer is fixed, otherwise the user's own.
commit_mail() {
	local repo=$1 parent=$2 mail=$3 work
	shift 3
	work=$(mktemp -d) || { printf '%s' "${mail##*/}: no folder in ${TMPDIR:-/tmp}"; return 1; }
	if commit_mail_in "$work" "$repo" "$parent" "$mail" "$@" 2>"$work/errors"; then
		rm -rf "$work"
		return 0
	fi
	printf '%s' "${mail##*/}: $(head -n 1 "$work/errors")"
	rm -rf "$work"
	return 1
}

# In a subshell, so that the index of its own ends with it. Called in a condition, where set -e does
# nothing: each step says what to do when it fails.
commit_mail_in() (
	work=$1 repo=$2 parent=$3 mail=$4
	shift 4
	refuse() {
		echo "$*" >&2
		exit 1
	}
	field() { sed -n "s/^$1: //p" "$work/info"; }
	[ -f "$mail" ] || refuse "no such patch"
	plain_git -C "$repo" mailinfo -b "$work/msg" "$work/patch" <"$mail" >"$work/info" || refuse "not a mail"
	[ -n "$(field Email)" ] && [ -n "$(field Subject)" ] || refuse "no From: or Subject:"
	{ field Subject; echo; cat "$work/msg"; } >"$work/message"

	export GIT_INDEX_FILE=$work/index
	git -C "$repo" read-tree "$parent" || exit 1
	if grep -qE '^(diff |--- |@@ )' "$work/patch"; then
		plain_git -C "$repo" apply --cached --whitespace=nowarn "$work/patch" 2>"$work/why" ||
			refuse "does not apply ($(sed -n '1s/^[a-z]*: //p' "$work/why"))"
		# git ignores what a hunk has beyond the lines that it counts
		tree=$(git -C "$repo" write-tree) && git -C "$repo" read-tree "$parent" || exit 1
		plain_git -C "$repo" apply --cached --recount --whitespace=nowarn "$work/patch" 2>/dev/null &&
			[ "$(git -C "$repo" write-tree)" = "$tree" ] || refuse "a hunk does not have the lines that it counts"
	fi
	for path; do
		[ -f "$FILES/$path" ] || refuse "it names $path, and there is no such file"
		[ -z "$(git -C "$repo" ls-files -- "$path")" ] || refuse "it adds $path, which exists already"
		mode=100644
		[ ! -x "$FILES/$path" ] || mode=100755
		blob=$(git -C "$repo" hash-object -w --no-filters "$FILES/$path") &&
			git -C "$repo" update-index --add --cacheinfo "$mode,$blob,$path" || exit 1
	done
	tree=$(git -C "$repo" write-tree) || exit 1
	GIT_AUTHOR_NAME=$(field Author) GIT_AUTHOR_EMAIL=$(field Email) GIT_AUTHOR_DATE=$(field Date)
	export GIT_AUTHOR_NAME GIT_AUTHOR_EMAIL GIT_AUTHOR_DATE
	if [ "${SERIES_COMMITTER:-}" = yes ]; then
		export GIT_COMMITTER_NAME=$SERIES_NAME GIT_COMMITTER_EMAIL=$SERIES_EMAIL GIT_COMMITTER_DATE=$GIT_AUTHOR_DATE
	fi
	git -C "$repo" commit-tree "$tree" -p "$parent" -F "$work/message"
)

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
