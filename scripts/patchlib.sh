# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
# Sourced after lib.sh: how stored patches become commits, and back.

# The committer of out/linux, so that the same topics give the same commits everywhere.
export SERIES_NAME='mm series' SERIES_EMAIL='mm-series@invalid'

# git without the user's configuration: its output depends on this repository alone.
plain_git() {
	GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null git -c core.abbrev=12 -c safe.directory='*' "$@"
}

# commits REPO PARENT MAIL...: put the commits of the mails on PARENT and print the id of each, or fail and print
# "MAIL: REASON". No branch, work tree or index of REPO changes.
commits() {
	PYTHONPATH=$TOP PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 -m harness.commits "$@" 2>&1
}

# format_mail REPO COMMIT: the commit as a git format-patch mail.
format_mail() {
	plain_git -C "$1" format-patch -1 --stdout --zero-commit --no-signature --no-numbered \
		--no-renames --stat=72 --always --no-notes --no-base "$2"
}

# slug SUBJECT: the way format-patch names files.
slug() {
	printf '%s' "$1" | tr -cs 'A-Za-z0-9._' '-' | sed -e 's/^-//' -e 's/-$//' -e 's/\.$//' | cut -c1-52 | sed 's/[-.]$//'
}

# own_path PATH: is that one of the places of this repository, and not of the kernel?
own_path() {
	case $1 in
	*/*) [[ ${1%%/*} =~ ^(scripts|harness|topics|configs|guest|bench|tests|reproducers|HOWTO|out|\.ci)$ ]] ;;
	*) true ;;
	esac
}

# The folder of the whole files: each is at its kernel path there.
FILES=$(dirname "$TOPICS")

# whole_files REPO COMMIT: the files that COMMIT has and the base has not, as "MODE BLOB<tab>PATH".
whole_files() {
	plain_git -C "$1" diff-tree -r --no-renames --diff-filter=A refs/mm/base "$2" |
		awk -F'\t' '{ split($1, old, " "); print old[2] " " old[4] "\t" $2 }'
}

# differs REPO MODE BLOB PATH: is the whole file PATH absent, or another than the blob?
differs() {
	local mode=100644
	[ -f "$FILES/$4" ] || return 0
	[ ! -x "$FILES/$4" ] || mode=100755
	[ "$mode" != "$2" ] || [ "$(git -C "$1" hash-object --no-filters "$FILES/$4")" != "$3" ]
}
