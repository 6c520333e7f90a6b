#!/bin/sh
# Installs what is missing of the named Debian packages: as root by apt-get, else prints the command.
# usage: scripts/setup.sh cmake redis-server postgresql
set -eu
has() {
    case "$1" in
        postgresql) command -v postgres >/dev/null 2>&1 || ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 ;;
        postgresql-client) command -v psql >/dev/null 2>&1 ;;
        # Debian's python3 comes without ensurepip, and then its venv has no pip.
        python3-venv) python3 -c 'import ensurepip, venv' >/dev/null 2>&1 ;;
        # Debian puts it where only root looks.
        haproxy) command -v haproxy >/dev/null 2>&1 || [ -x /usr/sbin/haproxy ] ;;
        *) command -v "$1" >/dev/null 2>&1 ;;
    esac
}
find_missing() {
    missing=""
    for package in "$@"; do
        has "$package" || missing="$missing $package"
    done
}
find_missing "$@"
[ -z "$missing" ] && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "installing:$missing"
    # The servers are started by tests as their own child processes: no system service may come up.
    export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
    log=$(mktemp)
    # shellcheck disable=SC2086
    if ! { apt-get update -q && apt-get install -q -y --no-install-recommends $missing; } >"$log" 2>&1; then
        cat "$log" >&2
        rm -f "$log"
        exit 1
    fi
    rm -f "$log"
    find_missing "$@"
    [ -z "$missing" ] && exit 0
    echo "installed, but something else comes first in PATH that lacks what it brings:$missing" >&2
else
    echo "missing:$missing. Install with:" >&2
    echo "    sudo apt-get update && sudo apt-get install -y --no-install-recommends$missing" >&2
fi
exit 1
