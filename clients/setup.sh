#!/bin/sh
# Puts the pinned clients under target/clients: a venv for the SDKs, an npm prefix for the command-line ones.
# Does nothing while the pins stand. Nothing is installed outside that folder, but for a missing python3-venv.
set -eu
cd "$(dirname "$0")/.."
mkdir -p "${CARGO_TARGET_DIR:-target}/clients"
home=$(cd "${CARGO_TARGET_DIR:-target}/clients" && pwd)
cd clients

say() {
    echo "test-clients: $1" >&2
}

# True when folder $1 was completed with the pins $2.
is_current() {
    [ "$(cat "$home/$1/.pins" 2>/dev/null)" = "$2" ]
}

sdks() {
    sh ../scripts/setup.sh python3-venv
    if ! python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))'; then
        say "$(python3 --version) is too old for the SDKs: Python 3.10 or newer must come first in PATH."
        exit 1
    fi
    pins="$(python3 --version) $(cksum requirements.txt)"
    is_current venv "$pins" && return
    say "installing the SDKs of clients/requirements.txt into $home/venv"
    rm -rf "$home/venv"
    python3 -m venv "$home/venv"
    "$home/venv/bin/python" -m pip install --quiet --disable-pip-version-check -r requirements.txt
    echo "$pins" >"$home/venv/.pins"
}

command_line_clients() {
    if ! command -v npm >/dev/null 2>&1; then
        say "npm is missing, so Claude Code, Codex and Gemini CLI are skipped. Install Node.js 20 or newer with npm."
        rm -rf "$home/npm"
        return
    fi
    pins="$(node --version) $(cksum package-lock.json)"
    is_current npm "$pins" && return
    say "installing the clients of clients/package.json into $home/npm"
    rm -rf "$home/npm"
    mkdir -p "$home/npm"
    cp package.json package-lock.json "$home/npm"
    # Without install scripts: those of Gemini CLI's dependencies would fetch headers and compile. Claude Code's
    # own puts the binary that came with its package in place.
    (
        cd "$home/npm"
        npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null
        node node_modules/@anthropic-ai/claude-code/install.cjs
    )
    for client in claude codex gemini; do
        "$home/npm/node_modules/.bin/$client" --version >/dev/null 2>&1 && continue
        say "$client does not start on this machine; its tests are skipped"
        rm -f "$home/npm/node_modules/.bin/$client"
    done
    echo "$pins" >"$home/npm/.pins"
}

sdks
command_line_clients
