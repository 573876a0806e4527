#!/usr/bin/env bash
# Requests per second and CPU time per request of "hello" over HTTP/1 keep-alive: hyper on boucle
# beside hyper on tokio's current_thread runtime, by the twins compare/src/bin/hello_*.rs.
# The server has core 0, wrk core 1; in one line wrk is as it comes, with its own two threads and ten
# connections, and either may run where the system likes. The rounds of the two alternate; the ratio
# is the median of those of each pair of rounds, which saw the same machine.
#
#   benches/http.sh [rounds] [seconds per round]      15 rounds of one second by default
#   BOUCLE=path TOKIO=path benches/http.sh            measures these binaries, builds nothing
set -euo pipefail
cd "$(dirname "$0")/.."
rounds=${1:-15} seconds=${2:-1}
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
    "$2" <"$dir/stdin" >"$dir/$1" 2>/dev/null 9>&- &
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

# `round SERVER HOW COMMAND...` adds to a file requests per second, and microseconds of CPU per request.
round() {
    local server=$1 how=$2 url before after
    shift 2
    url=$(sed -n 's/^listening on //p' "$dir/$server")
    before=$(ticks "$server")
    "$@" "-d${seconds}s" "$url/" >"$dir/wrk"
    after=$(ticks "$server")
    if grep -E 'Non-2xx|Socket errors' "$dir/wrk" >&2; then exit 1; fi
    awk -v ticks=$((after - before)) -v hz="$(getconf CLK_TCK)" '
        / requests in / { requests = $1 }
        /^Requests\/sec:/ { print $2, ticks / hz * 1e6 / requests }' "$dir/wrk" >>"$dir/$server.$how"
}

median() { sort -n | awk '{ a[NR] = $1 } END { print a[int((NR + 1) / 2)] }'; }

# `compare WHAT COLUMN HOW`: medians of both, and of the ratios of the pairs.
compare() {
    local column='{ print $k }'
    printf '  %-15s boucle %9.1f   tokio %9.1f   ratio %.3f\n' "$1" \
        "$(awk -v "k=$2" "$column" "$dir/boucle.$3" | median)" \
        "$(awk -v "k=$2" "$column" "$dir/tokio.$3" | median)" \
        "$(paste "$dir/boucle.$3" "$dir/tokio.$3" | awk -v "k=$2" '{ print $k / $(k + 2) }' | median)"
}

# `measure WHAT CORES HOW COMMAND...`
measure() {
    local what=$1 cores=$2 how=$3 n order server
    shift 3
    for server in boucle tokio; do taskset -acp "$cores" "${pid[$server]}" >"$dir/pinned"; done
    for n in $(seq "$rounds"); do
        # Who goes first changes, too.
        order=(boucle tokio)
        [ $((n % 2)) = 0 ] && order=(tokio boucle)
        for server in "${order[@]}"; do round "$server" "$how" "$@"; done
    done
    echo "$what, medians of $rounds rounds:"
    compare "requests/s" 1 "$how"
    compare "CPU us/request" 2 "$how"
}

start boucle "$BOUCLE"
start tokio "$TOKIO"
for connections in 64 10 4; do
    measure "$connections connections" 0 "$connections" taskset -c 1 wrk -t1 "-c$connections"
done
measure "as wrk comes, on any core" "0-$(($(nproc) - 1))" any wrk
