#!/bin/sh
# Starts the example recogniser: PocketSphinx, which carries its model, behind Sidetone's gRPC service.
#
#   examples/pocketsphinx/run.sh [--listen HOST:PORT] [--streams N]
#
# Makes a virtual environment under the target folder the first time, with pinned packages from PyPI.
set -eu
here=$(cd -- "$(dirname -- "$0")" && pwd)
root=$(cd -- "$here/../.." && pwd)
home=${CARGO_TARGET_DIR:-$root/target}/pocketsphinx

if ! cmp -s "$here/requirements.txt" "$home/installed.txt"; then
    command -v python3 >/dev/null || { echo 'pocketsphinx: python3 is missing; install it' >&2; exit 1; }
    rm -rf "$home"
    python3 -m venv "$home" || { echo 'pocketsphinx: no virtual environment; install python3-venv' >&2; exit 1; }
    "$home/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt" >&2
    cp "$here/requirements.txt" "$home/installed.txt"
fi

mkdir -p "$home/stubs"
"$home/bin/python" -m grpc_tools.protoc -I "$root/proto/sidetone/v1" \
    --python_out="$home/stubs" --grpc_python_out="$home/stubs" recogniser.proto
PYTHONPATH="$home/stubs" exec "$home/bin/python" "$here/server.py" "$@"
