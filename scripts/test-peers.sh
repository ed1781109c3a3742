#!/bin/sh
# Tests the gateway against sipp, Kamailio and baresip, and the simulator against RingCentral's softphone. `make test-peers` sees to the packages first.
set -eu
cd -- "$(dirname -- "$0")/.."
PATH="$PATH:/usr/sbin:/sbin"
export PATH

# sipp sends the packets of a capture through a raw socket.
if [ "$(id -u)" -ne 0 ] && ! getcap "$(command -v sipp)" | grep -q cap_net_raw; then
    echo 'test-peers: sipp may not send captures; run: sudo setcap cap_net_raw+ep "$(command -v sipp)"' >&2
    exit 1
fi

# The softphone of RingCentral, in the version of the lock file.
SOFTPHONE="$PWD/target/peers/softphone"
export SOFTPHONE
mkdir -p "$SOFTPHONE"
cp media-gateway/tests/peers/softphone/package.json media-gateway/tests/peers/softphone/package-lock.json "$SOFTPHONE"
npm ci --prefix "$SOFTPHONE" --ignore-scripts --no-audit --no-fund

set -x
exec cargo test --workspace --locked --test peers -- --ignored --test-threads=1
