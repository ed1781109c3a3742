#!/bin/sh
# Installs the missing ones of the packages that Sidetone needs, on Debian and Ubuntu.
#
#   scripts/deps.sh build         to build and run it
#   scripts/deps.sh build test    to test it, too
#   scripts/deps.sh build peers   to test it against other people's SIP software
#   scripts/deps.sh build backends   to test it with the example recogniser
#
# Nothing happens if nothing is missing. Elsewhere than on Debian and Ubuntu it only says what is missing.
set -eu
cd -- "$(dirname -- "$0")/.."
. scripts/browser.sh

say() { printf '%s\n' "$*" >&2; }

fail() {
    say "$@"
    exit 1
}

# need PACKAGE REASON CHECK...: notes the package as missing unless the check succeeds.
need() {
    package=$1
    reason=$2
    shift 2
    if "$@" >/dev/null 2>&1; then
        return
    fi
    packages="$packages $package"
    list="$list
  $package: $reason"
}

has() { command -v -- "$1"; }

has_opus() { has pkg-config && pkg-config --exists opus; }

has_certificates() { [ -s /etc/ssl/certs/ca-certificates.crt ] || [ -s /etc/pki/tls/certs/ca-bundle.crt ]; }

# Daemons live where a user's PATH does not always look.
has_sbin() { PATH="$PATH:/usr/sbin:/sbin" has "$1"; }

has_module() { ls /usr/lib/"$1" /usr/lib/*/"$1" 2>/dev/null | grep -q .; }

has_venv() { has python3 && python3 -c 'import venv, ensurepip'; }

# Ubuntu's package of Chromium is an empty one that asks for a snap, and snaps do not run everywhere.
is_ubuntu() { [ -r /etc/os-release ] && grep -q '^ID=ubuntu$' /etc/os-release; }

look() {
    packages=
    list=
    for purpose; do
        case $purpose in
        build)
            need g++ 'compiles whisper.cpp and SQLite' has c++
            need cmake 'configures the build of whisper.cpp' has cmake
            need pkg-config 'finds the Opus library' has pkg-config
            need libopus-dev 'decodes the audio of calls' has_opus
            need ca-certificates 'checks the identity of servers' has_certificates
            ;;
        test)
            need chromium 'shows the page in the browser test' find_chrome
            need chromium-driver 'steers Chromium in the browser test' find_chromedriver
            ;;
        peers)
            need sip-tester 'calls the gateway in the tests with peers' has sipp
            need kamailio 'is their registrar and proxy' has_sbin kamailio
            need kamailio-tls-modules 'lets Kamailio speak TLS' has_module kamailio/modules/tls.so
            need nodejs 'runs the softphone of RingCentral' has node
            need npm 'installs it' has npm
            need baresip-core 'calls the gateway with Opus and SRTP' has_module baresip/modules/srtp.so
            ;;
        backends)
            need python3-venv 'runs the example recogniser, whose packages come from PyPI' has_venv
            ;;
        *)
            fail "deps: there is no purpose \"$purpose\"; say build, build test, build peers or build backends"
            ;;
        esac
    done
}

check_rust() {
    if ! has cargo >/dev/null; then
        if [ -x "$HOME/.cargo/bin/cargo" ]; then
            fail "deps: Rust is installed, but cargo is not on the PATH; run: . \"\$HOME/.cargo/env\""
        fi
        fail 'deps: Rust is missing; install it as https://rustup.rs says'
    fi
    case " $* " in
    *' test '*)
        for component in fmt clippy; do
            cargo $component --version >/dev/null 2>&1 ||
                fail "deps: cargo $component is missing; run: rustup component add rustfmt clippy"
        done
        ;;
    esac
}

# The words to put before a command that only root may run.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        return
    fi
    has sudo >/dev/null ||
        fail "deps: sudo is missing; as root, run: apt-get install --no-install-recommends$packages"
    # Where nobody can type a password, sudo must not wait for one.
    if [ -t 0 ]; then echo sudo; else echo 'sudo -n'; fi
}

check_rust "$@"
look "$@"
if [ -z "$packages" ]; then
    exit 0
fi

say "deps: these packages are missing:$list"
has apt-get >/dev/null || fail 'deps: this is neither Debian nor Ubuntu; install them under the names that they have here'
if is_ubuntu; then
    case $packages in
    *chromium*)
        fail 'deps: Ubuntu has no Chromium package. Install Google Chrome (https://www.google.com/chrome) and the
ChromeDriver of the same version (https://googlechromelabs.github.io/chrome-for-testing), or: snap install chromium.
What is not on the PATH is named by the variables CHROME and CHROMEDRIVER.'
        ;;
    esac
fi

root=$(as_root)
say "deps: installing them with apt-get${root:+ through sudo}"
# Package lists that are out of date may still do.
$root apt-get update -q >&2 || say 'deps: the package lists could not be updated; going on with the old ones'
# shellcheck disable=SC2086 # Both are lists of words.
$root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends \
    -o DPkg::Lock::Timeout=300 $packages >&2 || fail "deps: apt-get failed; see above. The packages are:$packages"

look "$@"
[ -z "$packages" ] || fail "deps: these are installed and do not run; start them by hand to see why:$list"
