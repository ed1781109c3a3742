#!/bin/sh
# Checks the format, lints, and runs every test. `make test` sees to the packages first.
set -eu
cd -- "$(dirname -- "$0")/.."

# The browser test reads these two.
. scripts/browser.sh
if ! CHROME=$(find_chrome) || ! CHROMEDRIVER=$(find_chromedriver); then
    echo 'test: there is no Chromium with its ChromeDriver; run: make test' >&2
    exit 1
fi
export CHROME CHROMEDRIVER

set -x
cargo fmt --all --check
cargo clippy --workspace --all-targets --locked -- -D warnings
cargo test --workspace --locked
