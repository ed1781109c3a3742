#!/bin/sh
# Examines the example recogniser in Python, and captions the demo call's beginning with it: also after it was killed in
# mid-call, by the next one in line. `make test-backends` sees to the packages first.
set -eu
cd -- "$(dirname -- "$0")/.."

target=${CARGO_TARGET_DIR:-target}
mkdir -p "$target"
server=
trap 'if [ -n "$server" ]; then kill "$server" 2>/dev/null || :; fi' EXIT INT TERM

# start PORT: starts the server, and waits until it says that it listens.
start() {
    examples/pocketsphinx/run.sh --listen "127.0.0.1:$1" --streams 4 >"$target/pocketsphinx.log" 2>&1 &
    server=$!
    until grep -q '^recogniser: grpc://' "$target/pocketsphinx.log"; do
        if ! kill -0 "$server" 2>/dev/null; then
            cat "$target/pocketsphinx.log" >&2
            exit 1
        fi
        sleep 0.2
    done
}

set -x
cargo test --workspace --locked --test conformance --test backends --no-run
start 50061
RECOGNISER=grpc://127.0.0.1:50061
RECOGNISER_PID=$server
export RECOGNISER RECOGNISER_PID
cargo test --workspace --locked --test conformance -- --ignored --nocapture
# The last one, for it kills the server.
cargo test --workspace --locked --test backends -- --ignored --nocapture
