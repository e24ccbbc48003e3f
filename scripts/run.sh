#!/usr/bin/env bash
# run.sh: a cluster, towpathd and the example application, all on loopback and all in the folder .towpath (or $TOWPATH_HOME).
# Ctrl-C stops what it started; a second run continues with the same state. With KUBECONFIG set, that cluster is used instead.
set -euo pipefail
home=${TOWPATH_HOME:-$PWD/.towpath}
mkdir -p "$home"
export TOW_CONFIG=$home/tow.yaml
pids=()
audit=()

say() { printf '%s\n' "$*"; }
stop() {
	trap - EXIT INT TERM
	# Last started, first stopped. Each ends cleanly on TERM.
	for ((i = ${#pids[@]} - 1; i >= 0; i--)); do
		kill -TERM "${pids[i]}" 2>/dev/null || true
		wait "${pids[i]}" 2>/dev/null || true
	done
	say "stopped; the state is kept in $home"
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# start NAME LOG READY-FILE COMMAND...: starts a process in a session of its own, so that a Ctrl-C reaches it through us, in
# order, and waits until it says it is ready.
start() {
	local name=$1 log=$2 ready=$3 began=$SECONDS
	shift 3
	rm -f "$ready"
	setsid "$@" >>"$log" 2>&1 </dev/null &
	pids+=($!)
	local pid=$!
	while [ ! -s "$ready" ]; do
		if ! kill -0 "$pid" 2>/dev/null; then
			say "$name did not start; the end of $log:"
			tail -n 15 "$log"
			exit 1
		fi
		sleep 0.1
	done
	say "$name is up ($((SECONDS - began)) s)"
}

if [ -n "${KUBECONFIG:-}" ]; then
	kubeconfig=$KUBECONFIG
	say "using the cluster of KUBECONFIG"
else
	start "the Kubernetes control plane" "$home/cluster.log" "$home/cluster.ready" \
		bin/devcluster up --dir "$home/cluster" --ready-file "$home/cluster.ready"
	kubeconfig=$(cat "$home/cluster.ready")
	audit=(--audit-log "default=$home/cluster/audit.log") # names who made a change
fi
start towpathd "$home/towpathd.log" "$home/towpathd.ready" \
	bin/towpathd serve --data-dir "$home/data" --kubeconfig "$kubeconfig" --ready-file "$home/towpathd.ready" \
	"${audit[@]}" ${TOWPATH_SERVE_FLAGS:-}
# shellcheck disable=SC1090 # written by towpathd
. "$home/towpathd.ready"

bin/tow login --server "$TOWPATH_GRPC" --token-file "$TOWPATH_ADMIN_TOKEN_FILE" >/dev/null
if ! bin/tow env get shop/dev >/dev/null 2>&1; then
	say "deploying the example, examples/shop, to shop/dev"
	bin/tow app create shop --owner teams/shop >/dev/null
	bin/tow env create shop/dev --type development >/dev/null
	bin/tow deploy -e shop/dev --message "the example" --variable CURRENCY=EUR --wait -f examples/shop
fi

cat <<TEXT

  portal       http://$TOWPATH_HTTP
  token        $(cat "$TOWPATH_ADMIN_TOKEN_FILE")
  repository   git clone http://tow:\$(cat $TOWPATH_ADMIN_TOKEN_FILE)@$TOWPATH_HTTP/git/deployments.git
  kubeconfig   $kubeconfig

  In another terminal, first:  export TOW_CONFIG=$TOW_CONFIG KUBECONFIG=$kubeconfig PATH=$PWD/bin:\$PATH
  Then try:

    tow status -e shop/dev
    tow set LOG_LEVEL=debug -e shop/dev -w api --wait
    kubectl -n shop-dev patch service api --type=json -p '[{"op":"add","path":"/spec/ports/-","value":{"name":"extra","port":80}}]'
    tow drift list -e shop/dev && tow drift revert -e shop/dev --yes
    tow rollback -e shop/dev --to 1 --wait --yes

  Ctrl-C stops; \`make run\` continues.
TEXT
# Ends when one of them ends, or by a signal.
wait -n "${pids[@]}" || true
say "a process ended by itself; see the logs in $home"
exit 1
