#!/bin/sh
# Runs the fuzz targets, each for FUZZ_SECONDS (60), starting from the committed corpus.
#
#   scripts/fuzz.sh              all of them
#   scripts/fuzz.sh sdp codec    some
#
# Installs the nightly compiler and cargo-fuzz if they are missing. What the fuzzer finds out on its way is kept under
# the target folder, so that the next run goes on from there; an input that breaks something is kept in fuzz/artifacts.
set -eu
cd -- "$(dirname -- "$0")/.."

seconds=${FUZZ_SECONDS:-60}
grown=${CARGO_TARGET_DIR:-target}/fuzz-corpus

if ! rustup run nightly rustc --version >/dev/null 2>&1; then
    echo 'fuzz: installing the nightly compiler, which the fuzzer needs' >&2
    rustup toolchain install nightly --profile minimal
fi
if ! cargo fuzz --version >/dev/null 2>&1; then
    echo 'fuzz: installing cargo-fuzz' >&2
    cargo install cargo-fuzz --locked
fi

[ $# -gt 0 ] || set -- $(cargo +nightly fuzz list)
failed=
for target; do
    echo "fuzz: $target, $seconds seconds" >&2
    mkdir -p "$grown/$target"
    cargo +nightly fuzz run "$target" "$grown/$target" "fuzz/corpus/$target" -- \
        -max_total_time="$seconds" -max_len=4096 -timeout=10 -print_final_stats=1 || failed="$failed $target"
done
if [ -n "$failed" ]; then
    echo "fuzz: broken:$failed" >&2
    echo 'fuzz: mend it, and copy the input from fuzz/artifacts to fuzz/corpus, so that make test replays it' >&2
    exit 1
fi
