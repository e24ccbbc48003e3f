#!/usr/bin/env bash
# build-devcluster.sh LDFLAGS: builds bin/devcluster and says how far it is. The first build compiles all of Kubernetes, which is
# minutes without a word from the compiler otherwise.
set -euo pipefail
ldflags=$1
export GOWORK=off
total=$(go list -C devcluster -deps . | wc -l)
echo "building the Kubernetes control plane from $total packages (the first time: about 10 minutes on 2 cores, then cached)"
go build -C devcluster -buildvcs=false -v -ldflags "$ldflags" -o ../bin/devcluster . 2>&1 | awk -v total="$total" '
	/^[A-Za-z0-9_.~\/-]+$/ {
		n++
		# Packages that are cached are not named, so this counts what there is to do, and jumps to the end.
		if (n % 50 == 0) { printf "  %d of at most %d packages compiled\n", n, total; fflush() }
		next
	}
	{ print; fflush() }'
