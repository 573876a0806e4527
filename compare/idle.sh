#!/usr/bin/env bash
# Idle connections must cost nothing but memory, and little of that: with 10 000 of them, a server
# makes no system call in five seconds and holds at most 2.5 KiB for each.
#
# usage: compare/idle.sh [KIND]     a server of compare/src/bin/net, boucle unless told
set -euo pipefail
cd "$(dirname "$0")/.."

kind=${1:-boucle}
connections=10000
most_bytes=2560
seconds=5
patience=60

fail() {
    echo "idle.sh: FAILED: $*" >&2
    exit 1
}

command -v strace >/dev/null || {
    echo "idle.sh: SKIPPED, NOTHING WAS TESTED: there is no strace here" >&2
    exit 0
}
# Both ends keep some files of their own.
ulimit -Sn "$(ulimit -Hn)"
[[ $(ulimit -n) == unlimited ]] || (($(ulimit -n) >= connections + 100)) ||
    fail "$connections connections need more open files than the hard limit, $(ulimit -Hn)"

cargo build --quiet --release -p boucle-compare --bin net
net=${CARGO_TARGET_DIR:-target}/release/net
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# The server and, below, the other end leave when their stdin ends, so at the latest with this shell.
coproc SERVER { exec "$net" serve "$kind" 0; }
server=$SERVER_PID
answer() { read -r -t "$patience" -u "${SERVER[0]}" "$1" || fail "the server does not answer"; }
resident() { awk '/^VmRSS:/ { print $2 * 1024 }' "/proc/$server/status"; }

answer address
before=$(resident)
exec {other_end}> >("$net" connect "$address" "$connections" >/dev/null)
for ((tries = patience * 10; ; tries--)); do
    echo accepted >&"${SERVER[1]}"
    answer accepted
    ((accepted < connections)) || break
    ((tries > 0)) || fail "only $accepted of $connections connections were accepted"
    sleep 0.1
done
sleep 1
after=$(resident)

# Attaching interrupts the wait that each thread is in, and so makes calls of its own: what comes
# within the first second is not the server's doing.
status=0
timeout --signal=INT $((seconds + 1)) strace -f -ttt -o "$log" -p "$server" 2>/dev/null || status=$?
((status == 124)) || fail "strace ended by itself with $status: may it attach to other processes?"
[[ -s $log ]] || fail "strace did not even see the server wait"
calls=$(awk 'NR == 1 { start = $2 } $2 > start + 1 && !/<detached/' "$log")

bytes=$(((after - before) / connections))
echo "$kind, $connections idle connections: $bytes bytes resident each," \
    "$(grep -c . <<<"$calls" || true) system calls in $seconds s"
[[ -z $calls ]] || fail "an idle server makes system calls:"$'\n'"$(head -20 <<<"$calls")"
((bytes <= most_bytes)) || fail "$bytes bytes for an idle connection, at most $most_bytes"
