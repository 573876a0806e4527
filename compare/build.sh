#!/usr/bin/env bash
# How many crates a runtime is, and how long a clean build takes: a Markdown table.
#
# Each contestant is the one dependency of an empty crate in a folder that goes in the end. Crates
# are counted as cargo builds them here, the contestant included, build scripts' and macros' own
# dependencies too, the empty crate not. Seconds are the best of three (RUNS) clean `cargo build`s,
# downloads not included; of the whole, so with the empty crate and cargo's own start. The machine
# should have nothing else to do.
set -euo pipefail

runs=${RUNS:-3}
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# A crate that comes from the registry, as a user has it, is never built incrementally.
export CARGO_INCREMENTAL=0
# Neither a target folder nor flags of the caller's are to matter.
unset CARGO_TARGET_DIR RUSTFLAGS CARGO_BUILD_RUSTFLAGS CARGO_ENCODED_RUSTFLAGS RUSTC_WRAPPER
export CARGO_TERM_COLOR=never

# Name in the table | dependencies
contestants=(
  "boucle|boucle = { path = \"$root\" }"
  "boucle, \`net\`|boucle = { path = \"$root\", features = [\"net\"] }"
  'its two dependencies alone|futures-lite = { version = "2", default-features = false }\npin-project-lite = "0.2"'
  'pollster|pollster = "1"'
  'futures-lite|futures-lite = "2"'
  'tokio, `rt` and `time`|tokio = { version = "1", features = ["rt", "time"] }'
  'zruntime|zruntime = "*"'
  'futures|futures = "0.3"'
  'smol|smol = "2"'
)

# The best time of clean builds with these arguments, in seconds.
best() {
  local best= from took
  for _ in $(seq "$runs"); do
    rm -rf target
    from=$(date +%s%N)
    cargo build --offline --quiet "$@"
    took=$(( ($(date +%s%N) - from) / 1000000 ))
    if [ -z "$best" ] || [ "$took" -lt "$best" ]; then best=$took; fi
  done
  rm -rf target
  printf '%d.%02d' $((best / 1000)) $((best % 1000 / 10))
}

echo "$(rustc --version), $(nproc) processors, $(date +%F)"
echo
echo '| | version | crates | debug build | release build |'
echo '|---|---|---|---|---|'
for contestant in "${contestants[@]}"; do
  name=${contestant%%|*}
  mkdir -p "$work/scratch/src"
  cd "$work/scratch"
  : > src/lib.rs
  printf '[package]\nname = "scratch"\nversion = "0.0.0"\nedition = "2021"\n\n[workspace]\n\n[dependencies]\n%b\n' \
    "${contestant#*|}" > Cargo.toml
  if ! cargo fetch --quiet 2> "$work/error"; then
    echo "| $name | not to be had: $(head -1 "$work/error") | | | |"
  else
    # The first line is the empty crate; `(*)` and `(proc-macro)` are marks.
    tree=$(cargo tree --offline -e normal,build --prefix none | sed 1d | awk 'NF { print $1, $2 }')
    crates=$(sort -u <<< "$tree" | wc -l)
    version=$(head -1 <<< "$tree" | cut -d' ' -f2)
    debug=$(best)
    release=$(best --release)
    echo "| $name | $version | $crates | $debug s | $release s |"
  fi
  cd "$work"
  rm -rf scratch
done
