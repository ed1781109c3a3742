# shellcheck shell=sh
# Finds a Chromium or Chrome and its WebDriver. To be sourced.
#
# CHROME and CHROMEDRIVER name them, where they are set; otherwise they are looked for by their usual names.
# Each has to answer `--version`: on Ubuntu, /usr/bin/chromium-browser may be a stub that only asks for a snap.

find_chrome() {
    first_that_runs "${CHROME-}" chromium chromium-browser google-chrome google-chrome-stable
}

find_chromedriver() {
    first_that_runs "${CHROMEDRIVER-}" chromedriver chromium.chromedriver \
        /usr/lib/chromium/chromedriver /usr/lib/chromium-browser/chromedriver
}

# The path of the first program that runs; the first argument, if not empty, is the only one asked.
first_that_runs() {
    if [ -n "$1" ]; then
        set -- "$1"
    fi
    for program; do
        if [ -n "$program" ] && "$program" --version >/dev/null 2>&1; then
            command -v -- "$program"
            return
        fi
    done
    return 1
}
