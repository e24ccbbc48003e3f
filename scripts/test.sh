#!/usr/bin/env bash
# test.sh [-race]: all tests of the product, in go test's own words. What this machine cannot run is said first; under
# CI=true nothing may be left out.
set -euo pipefail
race=${1:-}
missing=() skips=()
[ -n "$race" ] || missing+=("the race detector: no C compiler (install gcc, or set CC)")
if ! command -v chromium >/dev/null; then
	missing+=("the portal in a real browser: no chromium (install it from your distribution)")
	skips+=('^TestInABrowser')
elif [ -z "$(ls .build/axe-core/axe-*.min.js 2>/dev/null)" ]; then
	missing+=("the portal's accessibility: no axe-core, for want of npm (install npm from your distribution, then make axe)")
	skips+=('^TestInABrowserAxe')
fi
if ! command -v curl >/dev/null || ! command -v jq >/dev/null; then
	missing+=("what the documentation tells people to type: no curl or no jq (install both from your distribution)")
	skips+=('^TestPages$')
fi
if ! [ -x "$(git --exec-path)/git-http-backend" ]; then
	echo "this git has no git-http-backend, which the tests of Git over HTTP need: install all of git" >&2
	exit 1
fi
if [ ${#missing[@]} -gt 0 ]; then
	printf 'left out on this machine: %s\n' "${missing[@]}" >&2
	if [ "${CI:-}" = true ]; then
		echo "CI leaves nothing out: install what is missing" >&2
		exit 1
	fi
fi
export DEVCLUSTER=$PWD/bin/devcluster
# Two packages at a time, as there are cores: each starts clusters, servers and child processes of its own, and their deadlines
# are meant for a machine that is not doing everything at once.
status=0
# run SKIPPED ARGUMENTS... runs go test and goes on.
run() {
	local skip
	skip=$(IFS='|'; echo "${skips[*]}${1:+${skips[*]:+|}$1}")
	shift
	go test -count=1 -p 2 -timeout 20m ${skip:+-skip "$skip"} "$@" || status=$?
}
# A browser and the pages of the documentation run many processes, which the race detector makes three to five times as slow and
# tells nothing about: the server behind them is raced by all other tests.
documentation=github.com/towpath-dev/towpath/internal/docstest
mapfile -t packages < <(go list ./... ./gen/... | grep -vx "$documentation")
run '^TestInABrowser' $race "${packages[@]}"
run '' -run '^TestInABrowser' ./internal/portal ./internal/app
run '' "$documentation"
exit $status
