#!/bin/sh
# Puts the pinned clients under target/clients: a venv for the SDKs, an npm prefix for the command-line ones.
# Does nothing while the pins stand. Nothing is installed outside that folder, but for a missing python3-venv.
# usage: clients/setup.sh [sdks | clis]
#
# The command-line clients are left out where nobody can have them: without npm, with an old Node.js, without a network.
# target/clients/not-run then says which and why, run.sh repeats it behind its results, and their tests are skipped. Where
# npm is there and they cannot be installed or started for any other reason, that is a failure.
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

# Writes down that no command-line client is tested, because of $1.
leave_out() {
    rm -rf "$home/npm"
    echo "claude codex gemini: $1" >"$home/not-run"
    say "NOT RUN: Claude Code, Codex and Gemini CLI: $1"
}

has_clients() {
    for client in claude codex gemini; do
        [ -x "$home/npm/node_modules/.bin/$client" ] || return 1
    done
}

command_line_clients() {
    rm -f "$home/not-run"
    if ! command -v npm >/dev/null 2>&1; then
        leave_out "npm is missing. Install Node.js 20 or newer with npm."
        return
    fi
    if ! node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)'; then
        leave_out "Node.js $(node --version) is too old. Install 20 or newer."
        return
    fi
    pins="$(node --version) $(cksum package-lock.json)"
    is_current npm "$pins" && has_clients && return
    say "installing the clients of clients/package.json into $home/npm"
    rm -rf "$home/npm"
    mkdir -p "$home/npm"
    cp package.json package-lock.json "$home/npm"
    # Without install scripts: those of Gemini CLI's dependencies would fetch headers and compile. Claude Code's
    # own puts the binary that came with its package in place.
    if ! (cd "$home/npm" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null 2>npm.log); then
        cat "$home/npm/npm.log" >&2
        if grep -Eq "npm (error|ERR!) code ($no_network)\$" "$home/npm/npm.log"; then
            leave_out "npm reaches no registry from here."
            return
        fi
        say "the command-line clients cannot be installed"
        exit 1
    fi
    (cd "$home/npm" && node node_modules/@anthropic-ai/claude-code/install.cjs)
    for client in claude codex gemini; do
        "$home/npm/node_modules/.bin/$client" --version >/dev/null 2>"$home/npm/npm.log" && continue
        cat "$home/npm/npm.log" >&2
        say "$client is installed and does not start. (npm leaves a client's binary out silently when its download fails: try again.)"
        exit 1
    done
    echo "$pins" >"$home/npm/.pins"
}
# What npm calls it when nobody answers.
no_network="ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|EHOSTUNREACH|ERR_SOCKET_TIMEOUT"

case "${1:-all}" in
    sdks) sdks ;;
    clis) command_line_clients ;;
    *)
        sdks
        command_line_clients
        ;;
esac
