#!/usr/bin/env bash
# test.sh [-race]: all tests of the product, in go test's own words. What this machine cannot run is said first; under
# CI=true nothing may be left out.
set -euo pipefail
race=${1:-}
missing=()
[ -n "$race" ] || missing+=("the race detector: no C compiler (install gcc, or set CC)")
command -v git >/dev/null || missing+=("everything about Git: no git")
if command -v git >/dev/null && ! [ -x "$(git --exec-path)/git-http-backend" ]; then
	missing+=("Git over HTTP: this git has no git-http-backend")
fi
if [ ${#missing[@]} -gt 0 ]; then
	printf 'left out on this machine: %s\n' "${missing[@]}" >&2
	if [ "${CI:-}" = true ]; then
		echo "CI leaves nothing out: install what is missing" >&2
		exit 1
	fi
fi
export DEVCLUSTER=$PWD/bin/devcluster TOWPATHD=$PWD/bin/towpathd TOW=$PWD/bin/tow
# Packages run one after the other on two cores: each starts clusters, servers and child processes of its own, and their
# deadlines are meant for a machine that is not doing everything at once.
exec go test $race -count=1 -p 2 -timeout 20m ./... ./gen/...
