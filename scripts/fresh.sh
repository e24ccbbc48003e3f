#!/usr/bin/env bash
# fresh.sh REMEDY FOLDER COMMAND...: runs a generator and fails when it changes anything in the folder.
set -euo pipefail
remedy=$1 folder=$2
shift 2
before=$(mktemp -d)
trap 'rm -rf "$before"' EXIT
cp -R "$folder" "$before/was"
"$@" >/dev/null
if ! diff -r "$before/was" "$folder"; then
	echo "$folder is stale: run \`$remedy\` and commit what it changes" >&2
	exit 1
fi
