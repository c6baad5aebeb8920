#!/bin/sh
# Fuzzes each target for so many seconds (ten minutes), or only one. Needs a C++ compiler (for libFuzzer) and stable Rust, no nightly.
#   fuzz/run.sh [SECONDS [TARGET]]
# New inputs go to fuzz/corpus-grown/TARGET, crashes to fuzz/artifacts/TARGET. To keep a crash as a test, copy it to
# fuzz/corpus/TARGET; `cargo test --manifest-path fuzz/Cargo.toml` replays those.
set -eu
seconds=${1:-600}
cd "$(dirname "$0")"
targets=${2:-$(ls corpus)}
host=$(rustc -vV | sed -n 's/^host: //p')

# The instrumentation libFuzzer listens to; these are LLVM's own options, which stable rustc passes on. With --target
# they don't reach build scripts.
export RUSTFLAGS="${RUSTFLAGS:-} -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 --cfg=fuzzing"
bins=
for target in $targets; do
    bins="$bins --bin $target"
done
# shellcheck disable=SC2086
cargo build --release --features engine --target "$host" $bins

for target in $targets; do
    mkdir -p "corpus-grown/$target" "artifacts/$target"
    echo "== $target, $seconds s"
    "target/$host/release/$target" "corpus-grown/$target" "corpus/$target" -dict=http.dict -max_len=2048 -timeout=5 \
        -rss_limit_mb=1024 -max_total_time="$seconds" -print_final_stats=1 -verbosity=0 -artifact_prefix="artifacts/$target/"
done
