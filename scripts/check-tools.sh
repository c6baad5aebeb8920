#!/bin/sh
# Say which of the tools that building needs are missing, all at once, and how to get them.
set -u
PATH="$PATH:$HOME/.cargo/bin"
missing=0
if ! command -v cargo >/dev/null 2>&1; then
    echo "error: cargo not found. Rust 1.85 or newer is needed: https://rustup.rs" >&2
    missing=1
fi
if ! command -v cc >/dev/null 2>&1; then
    echo "error: no C compiler (cc) found. On Debian: apt-get install gcc libc6-dev" >&2
    missing=1
fi
exit "$missing"
