#!/usr/bin/env bash
# Requests per second and CPU time per request of "hello" over HTTP/1 keep-alive: hyper on boucle
# beside hyper on tokio's current_thread runtime, by the twins compare/src/bin/hello_*.rs.
# Server on core 0, wrk on core 1. The rounds of the two alternate, so that both see the same machine;
# where others use it too, the CPU time is what to look at.
#
#   benches/http.sh [rounds] [seconds per round]      5 rounds of 3 seconds by default
#   BOUCLE=path TOKIO=path benches/http.sh            measures these binaries, builds nothing
set -euo pipefail
cd "$(dirname "$0")/.."
rounds=${1:-5} seconds=${2:-3}
target=${CARGO_TARGET_DIR:-target}

command -v taskset >/dev/null || { echo "SKIPPED: there is no taskset" >&2; exit 0; }
command -v wrk >/dev/null || apt-get install -y -qq wrk >/dev/null 2>&1 ||
    { echo "SKIPPED: there is no wrk, and it cannot be installed" >&2; exit 0; }

if [ -z "${BOUCLE:-}" ]; then
    cargo build --quiet --release -p boucle-compare --bin hello_boucle
    BOUCLE=$target/release/hello_boucle
fi
if [ -z "${TOKIO:-}" ]; then
    cargo build --quiet --release -p boucle-compare --bin hello_tokio
    TOKIO=$target/release/hello_tokio
fi

dir=$(mktemp -d)
mkfifo "$dir/stdin"
exec 9<>"$dir/stdin"
declare -A pid
# The servers end when their stdin does; whatever happens, they do not outlive this script.
trap 'exec 9>&-; kill "${pid[@]}" 2>/dev/null || true; rm -rf "$dir"' EXIT

# Starts a server, and waits until it says where it listens.
start() {
    taskset -c 0 "$2" <"$dir/stdin" >"$dir/$1" 2>/dev/null 9>&- &
    pid[$1]=$!
    for _ in $(seq 100); do
        grep -q '^listening on ' "$dir/$1" && return
        sleep 0.05
    done
    echo "$2 does not listen" >&2
    exit 1
}

# What a server has used of its core, user and system, in clock ticks.
ticks() { awk '{ print $14 + $15 }' "/proc/${pid[$1]}/stat"; }

# One round: requests per second, and microseconds of CPU per request.
round() {
    local url before after
    url=$(sed -n 's/^listening on //p' "$dir/$1")
    before=$(ticks "$1")
    taskset -c 1 wrk -t1 "-c$2" "-d${seconds}s" "$url/" >"$dir/wrk"
    after=$(ticks "$1")
    if grep -E 'Non-2xx|Socket errors' "$dir/wrk" >&2; then exit 1; fi
    sed -n 's/^Requests\/sec: *//p' "$dir/wrk" >>"$dir/$1.$2.rate"
    awk -v ticks=$((after - before)) -v hz="$(getconf CLK_TCK)" \
        '/ requests in / { print ticks / hz * 1e6 / $1 }' "$dir/wrk" >>"$dir/$1.$2.cost"
}

median() { sort -n "$dir/$1" | awk '{ a[NR] = $1 } END { print a[int((NR + 1) / 2)] }'; }

compare() {
    awk -v what="$1" -v b="$(median "boucle.$2")" -v t="$(median "tokio.$2")" 'BEGIN {
        printf "  %-16s boucle %8.1f   tokio %8.1f   ratio %.3f\n", what, b, t, b / t
    }'
}

start boucle "$BOUCLE"
start tokio "$TOKIO"
for connections in 64 4; do
    for n in $(seq "$rounds"); do
        # Who goes first changes, too.
        order=(boucle tokio)
        [ $((n % 2)) = 0 ] && order=(tokio boucle)
        for server in "${order[@]}"; do round "$server" "$connections"; done
    done
    echo "$connections connections, medians of $rounds rounds:"
    compare "requests/s" "$connections.rate"
    compare "CPU us/request" "$connections.cost"
done
